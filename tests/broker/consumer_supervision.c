/*
 * Goal: on a real Kafka a downstream that is away costs no message an attempt too many and none its place: the circuit
 * breaker holds all in place, and lets go when it is back; a handler that stops its partition, or the consumer, stops
 * it before its own message, and nothing is lost.
 * Method: a switch that all handlers look at; the ledger around each run; what the group has committed.
 */
#include "tests/broker/stage.h"
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

enum { PARTITIONS = 6, MESSAGES = 6000, KEYS = 300 };

static _Atomic bool is_down;
static _Atomic uint64_t failed;

static enum weir_outcome ask_downstream(struct weir_subject *subject, struct weir_message *message)
{
    (void)subject;
    usleep(100);
    if (!atomic_load(&is_down))
        return WEIR_ACK;
    atomic_fetch_add(&failed, 1);
    return weir_retry(message, "the downstream is away");
}

static enum weir_outcome ask_overloaded(struct weir_subject *subject, struct weir_message *message)
{
    return ask_downstream(subject, message) == WEIR_ACK ? WEIR_ACK : WEIR_OVERLOADED;
}

static void wait_ms(uint64_t duration_ms)
{
    for (uint64_t until_ms = weir_broker_now_ms() + duration_ms; weir_broker_now_ms() < until_ms;)
        weir_broker_pause_briefly();
}

/* Goes down in the middle, stays down for a while, and comes back. Returns the failed runs while it was open. */
static uint64_t go_down_and_come_back(struct weir_subject *subject)
{
    WEIR_BROKER_UNTIL(atomic_load(&subject->ended) > 300);
    atomic_store(&is_down, true);
    WEIR_BROKER_UNTIL(weir_subject_stats(subject).breaker == WEIR_BREAKER_OPEN);
    wait_ms(200); /* runs that had begun are over */
    cr_assert_lt(weir_subject_stats(subject).counters.acked, (uint64_t)MESSAGES, "there was nothing left to hold");
    uint64_t before = atomic_load(&failed);
    wait_ms(3000);
    uint64_t probes = atomic_load(&failed) - before;
    cr_assert(weir_subject_stats(subject).pause & WEIR_PAUSE_BREAKER || probes > 0);
    atomic_store(&is_down, false);
    WEIR_BROKER_UNTIL(weir_subject_stats(subject).counters.acked == MESSAGES);
    cr_assert_eq(weir_subject_stats(subject).breaker, (uint32_t)WEIR_BREAKER_CLOSED);
    return probes;
}

static void break_and_mend(weir_subject_rule *rule, const char *name, const char *value)
{
    struct weir_stage stage;
    weir_stage_set(&stage, PARTITIONS, 8 * MESSAGES);
    weir_stage_produce(&stage, MESSAGES, KEYS);
    atomic_store(&is_down, false);
    atomic_store(&failed, 0);
    struct weir_subject subject = {.ledger = stage.ledger, .rule = rule};
    weir_subject_start(&subject, WEIR_STAGE_SETTINGS(&stage, name, value, "weir.breaker.window.ms", "1000",
                                                     "weir.breaker.open.ms", "300", "weir.breaker.open.ms.max", "600",
                                                     "weir.retry.base.ms", "50", "weir.retry.max.ms", "100",
                                                     "weir.retry.attempts.max", "20"));
    uint64_t probes = go_down_and_come_back(&subject);
    /* Three seconds of one probe each 300, then 600 ms; and while one is out no other. */
    cr_assert(probes >= 1 && probes <= 10, "%" PRIu64 " runs failed while it was open", probes);
    cr_assert_eq(weir_subject_close(&subject), WEIR_OK, "%s", subject.closed_error.text);
    struct weir_stats stats = weir_subject_stats(&subject);
    fprintf(stderr, "%" PRIu64 " runs failed, %" PRIu64 " of them while it was open; it opened %" PRIu64 " times\n",
            atomic_load(&failed), probes, stats.breaker_openings);
    cr_assert_geq(stats.breaker_openings, 1u);
    cr_assert_eq(stats.counters.dead_lettered, 0u);
    cr_assert(weir_subject_adds_up(&subject));
    cr_assert_eq(weir_stage_committed(&stage), MESSAGES);
    weir_stage_check_strictly(&stage);
    weir_subject_destroy(&subject);
    weir_stage_clear(&stage);
}

Test(broker_supervision, the_breaker_holds_all_in_place_while_most_runs_fail)
{
    break_and_mend(ask_downstream, "weir.breaker.failures.percent", "50");
}

Test(broker_supervision, the_breaker_opens_by_one_word_where_that_is_asked_for)
{
    break_and_mend(ask_overloaded, "weir.breaker.overloaded", "open");
}

/* ---- escalation ---- */

enum { STOPS_AT = 200 };

static _Atomic bool is_wrong;
static enum weir_escalation what_stops;

static enum weir_outcome stop_at(struct weir_subject *subject, struct weir_message *message)
{
    (void)subject;
    bool stops = weir_message_partition(message) == 2 && weir_message_offset(message) == STOPS_AT;
    if (stops && atomic_load(&is_wrong))
        return weir_escalate(message, what_stops, "the ledger is closed");
    return WEIR_ACK;
}

static void set_escalation(struct weir_stage *stage, struct weir_subject *subject, enum weir_escalation what)
{
    weir_stage_set(stage, PARTITIONS, 8 * MESSAGES);
    weir_stage_produce(stage, MESSAGES, KEYS);
    int64_t low, high;
    weir_broker_watermarks(stage->topic.text, 2, &low, &high);
    cr_assert_gt(high, STOPS_AT + 100, "the partition is too short for this test");
    atomic_store(&is_wrong, true);
    what_stops = what;
    *subject = (struct weir_subject){.ledger = stage->ledger, .rule = stop_at};
    weir_subject_start(subject, WEIR_STAGE_SETTINGS(stage, "weir.commit.interval.ms", "100"));
}

Test(broker_supervision, a_handler_stops_its_partition_before_its_message_and_the_others_go_on)
{
    struct weir_stage stage;
    struct weir_subject subject;
    set_escalation(&stage, &subject, WEIR_STOP_PARTITION);
    int64_t low, end;
    weir_broker_watermarks(stage.topic.text, 2, &low, &end);
    WEIR_BROKER_UNTIL(weir_subject_stats(&subject).counters.escalations == 1);
    WEIR_BROKER_UNTIL(weir_subject_stats(&subject).counters.acked >= (uint64_t)(MESSAGES - end));
    struct weir_partition_stats stopped = weir_subject_partition(&subject, stage.topic.text, 2);
    cr_assert(stopped.pause & WEIR_PAUSE_ESCALATED);
    wait_ms(1000);
    int64_t committed = weir_broker_committed(stage.group.text, stage.topic.text, 2, NULL, 0);
    cr_assert_leq(committed, STOPS_AT, "its message was passed by");
    cr_assert_eq(weir_subject_stats(&subject).counters.escalations, 1u, "it ran again");
    atomic_store(&is_wrong, false);
    cr_assert_eq(weir_consumer_resume(subject.consumer, stage.topic.text, 2), 0);
    WEIR_BROKER_UNTIL(weir_subject_stats(&subject).counters.acked == MESSAGES);
    cr_assert_eq(weir_subject_close(&subject), WEIR_OK, "%s", subject.closed_error.text);
    cr_assert_eq(weir_stage_committed(&stage), MESSAGES);
    weir_stage_check_strictly(&stage);
    weir_subject_destroy(&subject);
    weir_stage_clear(&stage);
}

Test(broker_supervision, a_handler_stops_the_consumer_and_the_next_goes_on_from_there)
{
    struct weir_stage stage;
    struct weir_subject subject;
    set_escalation(&stage, &subject, WEIR_STOP_CONSUMER);
    WEIR_BROKER_UNTIL(weir_subject_stats(&subject).counters.escalations == 1);
    cr_assert_eq(weir_subject_close(&subject), WEIR_ESCALATED, "%s", subject.closed_error.text);
    cr_assert_not_null(strstr(subject.closed_error.text, "the ledger is closed"), "%s", subject.closed_error.text);
    uint64_t acked = weir_subject_stats(&subject).counters.acked;
    cr_assert_lt(acked, (uint64_t)MESSAGES);
    cr_assert_leq(weir_broker_committed(stage.group.text, stage.topic.text, 2, NULL, 0), STOPS_AT);
    weir_subject_destroy(&subject);
    atomic_store(&is_wrong, false);
    struct weir_subject next = {.ledger = stage.ledger, .rule = stop_at};
    weir_subject_start(&next, WEIR_STAGE_SETTINGS(&stage, "weir.commit.interval.ms", "100"));
    WEIR_BROKER_UNTIL(weir_stage_committed(&stage) == MESSAGES);
    cr_assert_eq(weir_subject_close(&next), WEIR_OK, "%s", next.closed_error.text);
    cr_assert_eq(acked + weir_subject_stats(&next).counters.acked, (uint64_t)MESSAGES, "something ran twice, or not");
    weir_stage_check_strictly(&stage);
    weir_subject_destroy(&next);
    weir_stage_clear(&stage);
}
