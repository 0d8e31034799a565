/*
 * Goal: the end. A close under load finishes what was pulled, commits it, and gives the partitions to others at once;
 * what cannot finish in time is counted, and comes again. Signals do the same to a process.
 */
#include "tests/broker/stage.h"
#include "tests/support/wait.h"
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

enum { PARTITIONS = 4, MESSAGES = 12000, KEYS = 1000 };

static enum weir_outcome take_a_moment(struct weir_subject *subject, struct weir_message *message)
{
    weir_test_sleep_us(1000);
    return WEIR_ACK;
}

/* Let another consumer, without such a rule, do what was left. */
static void finish_the_rest(const struct weir_stage *stage)
{
    struct weir_subject subject = {.ledger = stage->ledger};
    weir_subject_start(&subject, WEIR_STAGE_SETTINGS(stage, "weir.workers", "2"));
    WEIR_BROKER_UNTIL(weir_stage_committed(stage) == (int64_t)stage->produced);
    cr_assert_eq(weir_subject_close(&subject), WEIR_OK, "%s", subject.closed_error.text);
    weir_subject_destroy(&subject);
}

Test(broker_close, a_close_under_load_finishes_and_commits_all_that_was_pulled)
{
    struct weir_stage stage;
    weir_stage_set(&stage, PARTITIONS, 4 * MESSAGES);
    weir_stage_produce(&stage, MESSAGES, KEYS);
    struct weir_subject subject = {.ledger = stage.ledger, .rule = take_a_moment};
    weir_subject_start(&subject, WEIR_STAGE_SETTINGS(&stage, "weir.window.messages.max", "512",
                                                     "weir.commit.interval.ms", "60000", "weir.commit.messages.max",
                                                     "0")); /* so that only the close commits */
    WEIR_BROKER_UNTIL(weir_subject_stats(&subject).counters.acked > 1000);
    cr_assert_gt(weir_subject_stats(&subject).in_flight, 500u);
    uint64_t began_ms = weir_broker_now_ms();
    cr_assert_eq(weir_subject_close(&subject), WEIR_OK, "%s", subject.closed_error.text);
    struct weir_stats stats = weir_subject_stats(&subject);
    fprintf(stderr, "closed in %" PRIu64 " ms, %" PRIu64 " messages finished\n", weir_broker_now_ms() - began_ms,
            stats.counters.acked);
    cr_assert_eq(stats.counters.handed_back, 0u);
    cr_assert_eq(stats.counters.acked, stats.counters.consumed);
    cr_assert_lt(stats.counters.acked, (uint64_t)MESSAGES, "all was done before the close");
    cr_assert_eq(weir_stage_committed(&stage), (int64_t)stats.counters.acked);
    weir_subject_destroy(&subject);
    finish_the_rest(&stage);
    weir_stage_check_strictly(&stage);
    weir_stage_clear(&stage);
}

Test(broker_close, another_member_has_the_partitions_at_once)
{
    enum { AT_ONCE_MS = 10000 }; /* of a session time-out of 45 s */
    struct weir_stage stage;
    weir_stage_set(&stage, PARTITIONS, 0);
    const char *const *settings = WEIR_STAGE_SETTINGS(&stage, "session.timeout.ms", "45000");
    struct weir_subject leaves = {0}, stays = {0};
    weir_subject_start(&leaves, settings);
    weir_subject_start(&stays, settings);
    WEIR_BROKER_UNTIL(weir_subject_stats(&leaves).partitions == PARTITIONS / 2 &&
                      weir_subject_stats(&stays).partitions == PARTITIONS / 2);
    cr_assert_eq(weir_subject_close(&leaves), WEIR_OK, "%s", leaves.closed_error.text);
    uint64_t began_ms = weir_broker_now_ms();
    WEIR_BROKER_UNTIL(weir_subject_stats(&stays).partitions == PARTITIONS);
    uint64_t took_ms = weir_broker_now_ms() - began_ms;
    fprintf(stderr, "taken over after %" PRIu64 " ms\n", took_ms);
    cr_assert_lt(took_ms, (uint64_t)AT_ONCE_MS, "it waited for the session time-out");
    weir_stage_produce(&stage, 400, 100);
    WEIR_BROKER_UNTIL(weir_subject_stats(&stays).counters.acked == 400);
    cr_assert_eq(weir_subject_close(&stays), WEIR_OK, "%s", stays.closed_error.text);
    weir_subject_destroy(&leaves);
    weir_subject_destroy(&stays);
    weir_stage_clear(&stage);
}

/* ---- what cannot finish in time ---- */

enum { FEW = 400, LONG_US = 1500000, WORKERS = 4 };

static enum weir_outcome take_long(struct weir_subject *subject, struct weir_message *message)
{
    weir_test_sleep_us(LONG_US);
    return WEIR_ACK;
}

/* Close while four long runs are under way and the rest waits; `stops` before. */
static void close_early(const char *drain_ms, unsigned stops)
{
    struct weir_stage stage;
    char words[32];
    weir_stage_set(&stage, PARTITIONS, 4 * FEW);
    weir_stage_produce(&stage, FEW, FEW);
    struct weir_subject subject = {.ledger = stage.ledger, .rule = take_long};
    weir_subject_start(&subject, WEIR_STAGE_SETTINGS(&stage, "weir.close.drain.ms.max", drain_ms));
    WEIR_BROKER_UNTIL(atomic_load(&subject.started) >= WORKERS &&
                      weir_subject_stats(&subject).counters.consumed == FEW);
    uint64_t began_ms = weir_broker_now_ms();
    for (unsigned index = 0; index < stops; index++)
        weir_consumer_stop(subject.consumer);
    cr_assert_eq(weir_subject_close(&subject), WEIR_UNFINISHED);
    uint64_t took_ms = weir_broker_now_ms() - began_ms, left = weir_subject_stats(&subject).counters.handed_back;
    fprintf(stderr, "closed in %" PRIu64 " ms, %" PRIu64 " of %d left\n", took_ms, left, FEW);
    cr_assert_lt(took_ms, 20000u);
    cr_assert_geq(left, FEW / 2u);
    snprintf(words, sizeof words, "%" PRIu64 " messages", left);
    cr_assert_not_null(strstr(subject.closed_error.text, words), "%s", subject.closed_error.text);
    cr_assert(weir_subject_adds_up(&subject));
    weir_subject_destroy(&subject);
    finish_the_rest(&stage);
    weir_stage_check(&stage);
    struct weir_ledger_verdict overlap = weir_ledger_no_overlap(stage.ledger);
    cr_assert(overlap.ok, "%s", overlap.text);
    weir_stage_clear(&stage);
}

Test(broker_close, what_does_not_finish_within_the_drain_is_counted_and_comes_again)
{
    close_early("300", 0);
}

Test(broker_close, a_second_stop_gives_up_the_drain_and_waits_for_what_runs)
{
    close_early("60000", 2);
}

/* ---- signals ---- */

static void set_signal_scene(struct weir_stage *stage, struct weir_member *member, uint64_t sleep_us)
{
    weir_stage_set(stage, PARTITIONS, 4 * FEW);
    weir_stage_produce(stage, FEW, FEW);
    weir_member_init(member);
    atomic_store(&member->board->sleep_us, sleep_us);
    weir_member_start(member, stage, -1,
                      WEIR_STAGE_SETTINGS(stage, "weir.window.messages.max", "16", "session.timeout.ms", "1500"));
    WEIR_BROKER_UNTIL(weir_ledger_count_kind(stage->ledger, WEIR_LEDGER_START) >= WORKERS);
}

Test(broker_close, an_interrupt_closes_a_process_in_order)
{
    struct weir_stage stage;
    struct weir_member member;
    set_signal_scene(&stage, &member, 5000);
    weir_member_signal(&member, SIGINT);
    weir_member_join(&member, &stage);
    cr_assert_eq(member.board->code, WEIR_OK, "%s", member.board->error.text);
    cr_assert_eq(weir_stage_committed(&stage), (int64_t)member.board->stats.counters.acked);
    cr_assert_lt(member.board->stats.counters.acked, (uint64_t)FEW, "all was done before the signal");
    finish_the_rest(&stage);
    weir_stage_check_strictly(&stage);
    weir_member_deinit(&member);
    weir_stage_clear(&stage);
}

Test(broker_close, a_third_signal_ends_a_process_that_hangs)
{
    struct weir_stage stage;
    struct weir_member member;
    set_signal_scene(&stage, &member, 600000000);
    for (unsigned count = 0; count < 3; count++) {
        weir_member_signal(&member, SIGTERM);
        weir_test_sleep_us(200000); /* signals of one kind that wait are one */
    }
    int status = weir_member_wait(&member, &stage);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 128 + SIGTERM, "wait status %d", status);
    finish_the_rest(&stage);
    weir_stage_check(&stage);
    weir_member_deinit(&member);
    weir_stage_clear(&stage);
}
