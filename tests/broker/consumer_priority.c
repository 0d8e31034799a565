/*
 * Goal: on a real Kafka, messages of a topic with a higher priority pass a backlog of a lower one, which keeps its
 * share meanwhile; nothing is lost and each key keeps its order, also when partitions move in the midst of it. Method:
 * one ledger for both topics. Its records stand in the order in which runs began, so shares are counted in it.
 */
#include "tests/broker/stage.h"
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { PARTITIONS = 4, LOWS = 12000, HIGHS = 2000, KEYS = 400 };

static struct weir_stage low, high;
static char topics[256], priority[160];
static _Atomic unsigned work_us;

static enum weir_outcome work(struct weir_subject *subject, struct weir_message *message)
{
    (void)subject;
    (void)message;
    usleep(atomic_load(&work_us));
    return WEIR_ACK;
}

static void set(void)
{
    weir_stage_set(&low, PARTITIONS, 4 * (LOWS + HIGHS));
    weir_stage_set(&high, PARTITIONS, 0);
    high.ledger = low.ledger;
    snprintf(topics, sizeof topics, "%s,%s", low.topic.text, high.topic.text);
    snprintf(priority, sizeof priority, "weir.topic.%s.priority", high.topic.text);
    weir_stage_produce(&low, LOWS, KEYS);
}

static void clear(void)
{
    high.ledger = NULL;
    weir_stage_clear(&high);
    weir_stage_clear(&low);
}

static void require(struct weir_ledger_verdict verdict, const char *what)
{
    if (!verdict.ok)
        weir_subject_show_log();
    cr_assert(verdict.ok, "%s: %s", what, verdict.text);
    cr_assert_gt(verdict.checked, 0u);
}

static uint64_t committed(void)
{
    int64_t offsets[PARTITIONS], sum = weir_stage_committed(&low);
    weir_broker_committed_all(low.group.text, high.topic.text, PARTITIONS, offsets);
    for (int32_t partition = 0; partition < PARTITIONS; partition++)
        sum += offsets[partition] > 0 ? offsets[partition] : 0;
    return (uint64_t)sum;
}

static void check(void)
{
    cr_assert_eq(weir_ledger_count_kind(low.ledger, WEIR_LEDGER_EMIT), LOWS + HIGHS);
    require(weir_ledger_no_loss(low.ledger, NULL, 0), "no loss");
    require(weir_ledger_key_order(low.ledger), "order of each key");
    cr_assert_eq(committed(), LOWS + HIGHS);
}

/* Runs of the low topic that began after the first and before the last of the high one. */
static uint64_t lows_among_highs(uint64_t *highs)
{
    uint64_t hash = weir_ledger_hash(high.topic.text, strlen(high.topic.text)), lows = 0, at_last = 0;
    *highs = 0;
    for (size_t index = 0; index < weir_ledger_count(low.ledger); index++) {
        const struct weir_ledger_record *record = weir_ledger_at(low.ledger, index);
        if (!record || record->kind != WEIR_LEDGER_START)
            continue;
        if (record->topic_hash == hash) {
            ++*highs;
            at_last = lows;
        } else if (*highs > 0) {
            lows++;
        }
    }
    return at_last;
}

/* How many of the low topic ran while the high one's burst did: with and without priorities. */
static uint64_t burst(const char *blocking_threads, const char *value, uint64_t *highs)
{
    set();
    struct weir_subject subject = {.ledger = low.ledger, .rule = work};
    weir_subject_start(&subject, WEIR_STAGE_SETTINGS(&low, "weir.topics", topics, "weir.blocking.threads",
                                                     blocking_threads, "weir.workers", "2", priority, value));
    WEIR_BROKER_UNTIL(atomic_load(&subject.ended) > 1000);
    weir_stage_produce(&high, HIGHS, KEYS);
    WEIR_BROKER_UNTIL(weir_subject_stats(&subject).counters.acked == LOWS + HIGHS);
    cr_assert_eq(weir_subject_close(&subject), WEIR_OK, "%s", subject.closed_error.text);
    cr_assert(weir_subject_adds_up(&subject));
    check();
    require(weir_ledger_no_overlap(low.ledger), "no overlap");
    require(weir_ledger_duplicates(low.ledger, 0), "exactly once");
    uint64_t lows = lows_among_highs(highs);
    cr_assert_eq(*highs, (uint64_t)HIGHS);
    weir_subject_destroy(&subject);
    clear();
    return lows;
}

/* Runs are what is scarce, and not what has been fetched. */
static void pass(const char *blocking_threads, unsigned us)
{
    atomic_store(&work_us, us);
    uint64_t highs, with = burst(blocking_threads, "1", &highs), without = burst(blocking_threads, "0", &highs);
    fprintf(stderr,
            "while %" PRIu64 " of a high priority ran, %" PRIu64 " of the low one began; without priorities %" PRIu64
            "\n",
            highs, with, without);
    /* Its share is a ninth of theirs; more begin while the next of the burst are fetched. */
    cr_assert_geq(with, highs / 9 / 2, "the low topic did not have its share");
    cr_assert_lt(with, highs, "the burst did not go first");
    cr_assert_gt(without, 2 * with, "without priorities it went first as well");
}

Test(broker_priority, a_burst_passes_a_backlog_on_threads_that_may_block)
{
    pass("8", 3000);
}

Test(broker_priority, a_burst_passes_a_backlog_on_workers)
{
    pass("0", 1000);
}

Test(broker_priority, nothing_is_lost_while_partitions_of_both_move)
{
    set();
    atomic_store(&work_us, 1000);
    struct weir_subject first = {.ledger = low.ledger, .rule = work}, second = first;
    weir_subject_start(&first,
                       WEIR_STAGE_SETTINGS(&low, "weir.topics", topics, "weir.blocking.threads", "4", priority, "1"));
    WEIR_BROKER_UNTIL(atomic_load(&first.ended) > 1000);
    weir_stage_produce(&high, HIGHS, KEYS);
    weir_subject_start(&second,
                       WEIR_STAGE_SETTINGS(&low, "weir.topics", topics, "weir.blocking.threads", "4", priority, "1"));
    WEIR_BROKER_UNTIL(atomic_load(&second.ended) > 500);
    int code = weir_subject_close(&first);
    cr_assert(code == WEIR_OK || code == WEIR_UNFINISHED, "%s", first.closed_error.text);
    WEIR_BROKER_UNTIL(committed() == LOWS + HIGHS);
    cr_assert_eq(weir_subject_close(&second), WEIR_OK, "%s", second.closed_error.text);
    check();
    require(weir_ledger_no_overlap(low.ledger), "no overlap");
    cr_assert_gt(weir_subject_stats(&second).rebalances, 0u);
    weir_subject_destroy(&first);
    weir_subject_destroy(&second);
    clear();
}
