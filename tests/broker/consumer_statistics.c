/*
 * Goal: what a consumer says of itself is so: pauses by the user stop what they name and nothing else, and the counters
 * agree with the ledger, message by message, once it is closed.
 */
#include "tests/broker/stage.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- pause and resume ---- */

enum { EACH = 300, PARTITIONS = 3 };

static uint64_t consumed(const struct weir_subject *subject, const struct weir_stage *stage, int32_t partition)
{
    return weir_subject_partition(subject, stage->topic.text, partition).counters.consumed;
}

static bool is_paused(const struct weir_subject *subject, const struct weir_stage *stage, int32_t partition)
{
    return weir_subject_partition(subject, stage->topic.text, partition).pause & WEIR_PAUSE_USER;
}

Test(broker_statistics, a_partition_that_the_user_pauses_stands_still_and_the_others_go_on)
{
    struct weir_stage stage;
    weir_stage_set(&stage, PARTITIONS, 60 * EACH);
    struct weir_subject subject = {.ledger = stage.ledger};
    const char *const *settings = WEIR_STAGE_SETTINGS(&stage, "session.timeout.ms", "3000");
    weir_subject_create(&subject, settings);
    cr_assert_eq(weir_consumer_pause(subject.consumer, NULL, 0), WEIR_STATE);
    weir_subject_destroy(&subject);
    weir_subject_start(&subject, settings);
    weir_stage_produce(&stage, PARTITIONS * EACH, 0);
    WEIR_BROKER_UNTIL(weir_subject_stats(&subject).counters.acked == PARTITIONS * EACH);

    cr_assert_eq(weir_consumer_pause(subject.consumer, stage.topic.text, 99), WEIR_INVALID);
    cr_assert_eq(weir_consumer_pause(subject.consumer, stage.topic.text, 1), WEIR_OK);
    WEIR_BROKER_UNTIL(is_paused(&subject, &stage, 1));
    weir_stage_produce(&stage, PARTITIONS * EACH, 0);
    WEIR_BROKER_UNTIL(consumed(&subject, &stage, 0) == 2 * EACH && consumed(&subject, &stage, 2) == 2 * EACH);
    cr_assert_eq(consumed(&subject, &stage, 1), (uint64_t)EACH);
    cr_assert(is_paused(&subject, &stage, 1) && !is_paused(&subject, &stage, 0) && !is_paused(&subject, &stage, 2));

    /* It stays paused across a rebalance: another consumer takes some partitions and gives them back. */
    struct weir_subject other = {.ledger = stage.ledger};
    weir_subject_start(&other, settings);
    WEIR_BROKER_UNTIL(weir_subject_stats(&other).partitions > 0 &&
                      weir_subject_stats(&subject).partitions < PARTITIONS);
    bool moved = !weir_subject_partition(&subject, stage.topic.text, 1).assigned;
    cr_assert_eq(weir_subject_close(&other), WEIR_OK, "%s", other.closed_error.text);
    weir_subject_destroy(&other);
    WEIR_BROKER_UNTIL(weir_subject_stats(&subject).partitions == PARTITIONS);
    weir_stage_produce(&stage, PARTITIONS * EACH, 0);
    WEIR_BROKER_UNTIL(weir_subject_partition(&subject, stage.topic.text, 0).floor_offset == 3 * EACH &&
                      weir_subject_partition(&subject, stage.topic.text, 2).floor_offset == 3 * EACH);
    cr_assert(is_paused(&subject, &stage, 1));
    if (!moved) /* else the other consumer, which nobody paused, may have handled it */
        cr_assert_eq(consumed(&subject, &stage, 1), (uint64_t)EACH);
    cr_assert_eq(weir_consumer_resume(subject.consumer, stage.topic.text, 1), WEIR_OK);
    WEIR_BROKER_UNTIL(weir_ledger_count_finished(stage.ledger) == stage.produced);

    /* All at once. */
    cr_assert_eq(weir_consumer_pause(subject.consumer, NULL, 0), WEIR_OK);
    WEIR_BROKER_UNTIL(weir_subject_stats(&subject).partitions_paused == PARTITIONS);
    uint64_t before = weir_subject_stats(&subject).counters.consumed;
    weir_stage_produce(&stage, PARTITIONS * EACH, 0);
    for (unsigned round = 0; round < 50; round++)
        weir_broker_pause_briefly();
    cr_assert_eq(weir_subject_stats(&subject).counters.consumed, before);
    cr_assert_eq(weir_consumer_resume(subject.consumer, NULL, 0), WEIR_OK);
    WEIR_BROKER_UNTIL(weir_ledger_count_finished(stage.ledger) == stage.produced);
    cr_assert_eq(weir_subject_close(&subject), WEIR_OK, "%s", subject.closed_error.text);
    cr_assert(weir_subject_adds_up(&subject));
    weir_subject_destroy(&subject);
    struct weir_ledger_verdict verdict = weir_ledger_duplicates(stage.ledger, 0);
    cr_assert(verdict.ok, "%s", verdict.text);
    weir_stage_clear(&stage);
}

/* ---- counters and ledger ---- */

enum { MESSAGES = 6000, KEYS = 600, DAY_MS = 24 * 60 * 60 * 1000 };

/* By the message's number, which is its value. */
static enum weir_outcome answer(struct weir_subject *subject, struct weir_message *message)
{
    char text[16] = "";
    memcpy(text, weir_message_value(message), weir_message_value_size(message));
    uint64_t number = strtoull(text, NULL, 10);
    bool again = weir_message_attempt(message) > 1;
    _Atomic uint64_t *overloads = subject->user;
    switch (number % 100) {
    case 0:
        return weir_dead(message, "dies");
    case 1:
    case 2:
        return WEIR_SKIP;
    case 3:
        return again ? WEIR_ACK : weir_retry(message, "fails at first");
    case 4: /* burns no attempt: told from the first by chance */
        return atomic_fetch_add(overloads, 1) % 2 == 0 ? WEIR_OVERLOADED : WEIR_ACK;
    case 5:
        return number >= MESSAGES - 100 ? weir_retry_after(message, DAY_MS, "put off by the test") : WEIR_ACK;
    default:
        return WEIR_ACK;
    }
}

static uint64_t count_ends(const struct weir_stage *stage, enum weir_outcome outcome)
{
    uint64_t count = 0;
    for (size_t index = 0; index < weir_ledger_count(stage->ledger); index++) {
        const struct weir_ledger_record *record = weir_ledger_at(stage->ledger, index);
        count += record && record->kind == WEIR_LEDGER_END && record->outcome == outcome;
    }
    return count;
}

static void check_partitions(const struct weir_subject *subject, const struct weir_stage *stage)
{
    struct weir_stats all = weir_subject_stats(subject);
    struct weir_counters sum = {0};
    for (int32_t partition = 0; partition < PARTITIONS; partition++) {
        struct weir_partition_stats one = weir_subject_partition(subject, stage->topic.text, partition);
        int64_t low, high;
        weir_broker_watermarks(stage->topic.text, partition, &low, &high);
        cr_assert_eq(one.size, sizeof one);
        cr_assert_eq(one.next_offset, high);
        cr_assert_eq(one.committed_offset,
                     weir_broker_committed(stage->group.text, stage->topic.text, partition, NULL, 0));
        sum.consumed += one.counters.consumed;
        sum.consumed_bytes += one.counters.consumed_bytes;
        sum.acked += one.counters.acked;
        sum.dead_lettered += one.counters.dead_lettered;
        sum.handed_back += one.counters.handed_back;
    }
    cr_assert_eq(sum.consumed, all.counters.consumed);
    cr_assert_eq(sum.consumed_bytes, all.counters.consumed_bytes);
    cr_assert_eq(sum.acked, all.counters.acked);
    cr_assert_eq(sum.dead_lettered, all.counters.dead_lettered);
    cr_assert_eq(sum.handed_back, all.counters.handed_back);
}

Test(broker_statistics, counters_agree_with_the_ledger_when_the_consumer_is_closed)
{
    struct weir_stage stage;
    _Atomic uint64_t overloads = 0;
    weir_stage_set(&stage, PARTITIONS, 6 * MESSAGES);
    weir_stage_produce(&stage, MESSAGES, KEYS);
    struct weir_subject subject = {.ledger = stage.ledger, .rule = answer, .user = &overloads};
    weir_subject_start(&subject,
                       WEIR_STAGE_SETTINGS(&stage, "weir.retry.base.ms", "5", "weir.overloaded.base.ms", "5"));
    WEIR_BROKER_UNTIL(weir_subject_stats(&subject).counters.consumed == MESSAGES);
    WEIR_BROKER_UNTIL(weir_subject_stats(&subject).in_flight == 1);
    struct weir_stats running = weir_subject_stats(&subject);
    cr_assert_eq(running.held, 1u);
    cr_assert_eq(running.partitions, (uint32_t)PARTITIONS);
    cr_assert_eq(weir_subject_close(&subject), WEIR_UNFINISHED);

    struct weir_stats stats = weir_subject_stats(&subject);
    const struct weir_counters *counters = &stats.counters;
    cr_assert_eq(counters->consumed, (uint64_t)MESSAGES);
    cr_assert_eq(counters->acked, count_ends(&stage, WEIR_ACK));
    cr_assert_eq(counters->skipped, count_ends(&stage, WEIR_SKIP));
    cr_assert_eq(counters->dead_lettered, count_ends(&stage, WEIR_DEAD));
    cr_assert_eq(counters->retries, count_ends(&stage, WEIR_RETRY));
    cr_assert_eq(counters->overloaded, count_ends(&stage, WEIR_OVERLOADED));
    cr_assert_eq(counters->skipped, MESSAGES / 50u);
    cr_assert_eq(counters->dead_lettered, MESSAGES / 100u);
    cr_assert_gt(counters->overloaded, 0u);
    cr_assert_eq(counters->handed_back, 1u);
    cr_assert_eq(counters->stale_dropped + counters->redelivered_dropped + counters->restored, 0u);
    cr_assert(weir_subject_adds_up(&subject));
    cr_assert_eq(stats.in_flight + stats.held + stats.key_actors + stats.running + stats.dlq_pending, 0u);
    check_partitions(&subject, &stage);
    weir_subject_destroy(&subject);
    char letters[96];
    snprintf(letters, sizeof letters, "%.60s.dlq", stage.topic.text);
    weir_broker_topic_delete(letters);
    weir_stage_clear(&stage);
}
