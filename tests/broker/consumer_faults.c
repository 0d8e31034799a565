/*
 * Goal: faults of brokers and of processes. The broker is killed and comes back, or stands still for less and for more
 * than the session time-out; a member stands still likewise, while another takes over what it had. Nothing is lost,
 * keys stay in order, and work goes on by itself. Method: signals to the broker that all tests share (they run one at a
 * time) and to members.
 */
#include "tests/broker/stage.h"
#include "tests/support/wait.h"
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static void wait_ms(uint64_t duration_ms)
{
    for (uint64_t until_ms = weir_broker_now_ms() + duration_ms; weir_broker_now_ms() < until_ms;)
        weir_broker_pause_briefly();
}

/* ---- the broker ---- */

enum { PARTITIONS = 6, MESSAGES = 9000, KEYS = 300 };

static enum weir_outcome take_a_moment(struct weir_subject *subject, struct weir_message *message)
{
    weir_test_sleep_us(1000);
    return WEIR_ACK;
}

/* Work, let `fault` happen meanwhile, work on; returns the duplicates. */
static uint64_t work_through(void (*fault)(void), const char *session_ms, struct weir_stats *stats)
{
    struct weir_stage stage;
    weir_stage_set(&stage, PARTITIONS, 8 * MESSAGES);
    weir_stage_produce(&stage, MESSAGES / 2, KEYS);
    struct weir_subject subject = {.ledger = stage.ledger, .rule = take_a_moment};
    weir_subject_start(&subject,
                       WEIR_STAGE_SETTINGS(&stage, "session.timeout.ms", session_ms, "weir.window.messages.max", "256",
                                           "reconnect.backoff.max.ms", "1000"));
    WEIR_BROKER_UNTIL(weir_subject_stats(&subject).counters.acked > MESSAGES / 6);
    fault();
    weir_stage_produce(&stage, MESSAGES - MESSAGES / 2, KEYS); /* what was fetched before may all be done by now */
    WEIR_BROKER_UNTIL(weir_ledger_count_finished(stage.ledger) == MESSAGES);
    WEIR_BROKER_UNTIL(weir_stage_committed(&stage) == MESSAGES);
    *stats = weir_subject_stats(&subject);
    cr_assert_eq(weir_subject_close(&subject), WEIR_OK, "%s", subject.closed_error.text);
    cr_assert(weir_subject_adds_up(&subject));
    weir_subject_destroy(&subject);
    uint64_t duplicates = weir_stage_check(&stage);
    fprintf(stderr, "%" PRIu64 " rebalances, %" PRIu64 " commits refused\n", stats->rebalances, stats->commit_failures);
    weir_stage_clear(&stage);
    return duplicates;
}

static void kill_broker(void)
{
    weir_broker_control("kill");
    weir_broker_control("restart");
}

static void stop_broker_briefly(void)
{
    weir_broker_control("pause");
    wait_ms(1500);
    weir_broker_control("resume");
}

static void stop_broker_for_long(void)
{
    weir_broker_control("pause");
    wait_ms(5000);
    weir_broker_control("resume");
}

Test(broker_faults, a_broker_that_is_killed_and_restarted_costs_no_message_and_no_order)
{
    struct weir_stats stats;
    cr_assert_eq(work_through(kill_broker, "30000", &stats), 0u); /* the group outlives the broker */
}

Test(broker_faults, a_broker_that_stands_still_for_less_than_the_session_timeout_costs_nothing)
{
    struct weir_stats stats;
    cr_assert_eq(work_through(stop_broker_briefly, "10000", &stats), 0u);
    cr_assert_eq(stats.rebalances, 1u);
}

Test(broker_faults, a_broker_that_stands_still_for_longer_than_the_session_timeout_is_worked_with_again)
{
    struct weir_stats stats;
    work_through(stop_broker_for_long, "2000", &stats);
}

/* ---- a member ---- */

enum {
    MEMBER_PARTITIONS = 4,
    MEMBER_MESSAGES = 16000,
    MEMBER_KEYS = 40,
    RUN_US = 2000,
    SESSION_MS = 2000,
    WORKERS = 4
};

struct pair {
    struct weir_stage stage;
    struct weir_member sleeper, other;
};

static void start_pair(struct pair *pair)
{
    weir_stage_set(&pair->stage, MEMBER_PARTITIONS, 8 * MEMBER_MESSAGES);
    weir_stage_produce(&pair->stage, MEMBER_MESSAGES, MEMBER_KEYS);
    const char *const *settings =
        WEIR_STAGE_SETTINGS(&pair->stage, "session.timeout.ms", "2000", "heartbeat.interval.ms", "100",
                            "weir.window.messages.max", "256", "weir.commit.interval.ms", "100");
    struct weir_member *members[] = {&pair->sleeper, &pair->other};
    for (size_t index = 0; index < 2; index++) {
        weir_member_init(members[index]);
        atomic_store(&members[index]->board->sleep_us, RUN_US);
        weir_member_start(members[index], &pair->stage, -1, settings);
    }
    WEIR_BROKER_UNTIL(atomic_load(&pair->sleeper.board->partitions) == MEMBER_PARTITIONS / 2 &&
                      atomic_load(&pair->other.board->partitions) == MEMBER_PARTITIONS / 2 &&
                      atomic_load(&pair->sleeper.board->finished) > 200 &&
                      atomic_load(&pair->other.board->finished) > 200);
}

static void end_pair(struct pair *pair)
{
    struct weir_member *members[] = {&pair->sleeper, &pair->other};
    WEIR_BROKER_UNTIL(weir_ledger_count_finished(pair->stage.ledger) == MEMBER_MESSAGES);
    for (size_t index = 0; index < 2; index++) {
        weir_member_signal(members[index], SIGTERM);
        weir_member_join(members[index], &pair->stage);
        cr_assert_eq(members[index]->board->code, WEIR_OK, "%s", members[index]->board->error.text);
    }
}

static void clear_pair(struct pair *pair)
{
    weir_member_deinit(&pair->sleeper);
    weir_member_deinit(&pair->other);
    weir_stage_clear(&pair->stage);
}

static void sleep_for(const struct weir_member *member, uint64_t duration_ms)
{
    weir_member_signal(member, SIGSTOP);
    wait_ms(duration_ms);
    weir_member_signal(member, SIGCONT);
}

Test(broker_faults, a_member_that_sleeps_for_less_than_the_session_timeout_keeps_its_partitions)
{
    struct pair pair;
    start_pair(&pair);
    uint64_t rebalances = atomic_load(&pair.other.board->rebalances);
    sleep_for(&pair.sleeper, SESSION_MS / 2);
    uint64_t finished = atomic_load(&pair.sleeper.board->finished);
    WEIR_BROKER_UNTIL(atomic_load(&pair.sleeper.board->finished) > finished + 200);
    cr_assert_eq(atomic_load(&pair.other.board->rebalances), rebalances);
    end_pair(&pair);
    weir_stage_check_strictly(&pair.stage);
    clear_pair(&pair);
}

/* Runs that the sleeper began after it woke, at `woken_ns`, of messages that the other one had finished by then. */
static uint64_t belated_runs(const struct weir_stage *stage, uint32_t sleeper, uint64_t woken_ns)
{
    uint64_t belated = 0;
    size_t count = weir_ledger_count(stage->ledger);
    uint8_t *finished = calloc(MEMBER_PARTITIONS, MEMBER_MESSAGES);
    cr_assert_not_null(finished);
    for (size_t index = 0; index < count; index++) {
        const struct weir_ledger_record *record = weir_ledger_at(stage->ledger, index);
        if (!record || (record->kind != WEIR_LEDGER_START && record->kind != WEIR_LEDGER_END))
            continue;
        uint8_t *mark = &finished[record->partition * MEMBER_MESSAGES + record->offset];
        if (record->process != sleeper)
            *mark |= record->kind == WEIR_LEDGER_END && record->outcome == WEIR_ACK;
        else if (record->kind == WEIR_LEDGER_START && record->monotonic_ns > woken_ns)
            belated += *mark;
    }
    free(finished);
    return belated;
}

Test(broker_faults, a_member_that_sleeps_for_longer_than_the_session_timeout_does_not_go_on_with_what_others_have_done)
{
    struct pair pair;
    start_pair(&pair);
    uint32_t sleeper = (uint32_t)pair.sleeper.pid;
    weir_member_signal(&pair.sleeper, SIGSTOP);
    WEIR_BROKER_UNTIL(atomic_load(&pair.other.board->partitions) == MEMBER_PARTITIONS);
    uint64_t finished = atomic_load(&pair.other.board->finished);
    WEIR_BROKER_UNTIL(atomic_load(&pair.other.board->finished) > finished + 1000);
    uint64_t woken_ns = weir_broker_now_ms() * 1000000;
    weir_member_signal(&pair.sleeper, SIGCONT);
    WEIR_BROKER_UNTIL(atomic_load(&pair.sleeper.board->partitions) == MEMBER_PARTITIONS / 2 &&
                      atomic_load(&pair.other.board->partitions) == MEMBER_PARTITIONS / 2);
    cr_assert_lt(weir_ledger_count_finished(pair.stage.ledger), (uint64_t)MEMBER_MESSAGES);
    end_pair(&pair);
    cr_assert_gt(weir_member_log_count(&pair.sleeper, "the process slept"), 0u);
    uint64_t duplicates = weir_stage_check(&pair.stage), belated = belated_runs(&pair.stage, sleeper, woken_ns);
    fprintf(stderr, "%" PRIu64 " duplicates, %" PRIu64 " runs begun after the sleep of what others had finished\n",
            duplicates, belated);
    /* A worker looks at the clock every eighth message of a key at the latest: until then it starts what came next. */
    cr_assert_leq(belated, 8u * WORKERS);
    clear_pair(&pair);
}
