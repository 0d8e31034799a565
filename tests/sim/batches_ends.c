/*
 * Batches when something ends or stands still: an epoch, the consumer, a partition, the downstream; and at most once.
 */
#include "runtime/memory.h"
#include "tests/sim/batches_play.h"
#include "tests/support/test.h"
#include <stdio.h>
#include <string.h>

/* ---- the end of an epoch ---- */

static bool is_revoking(const struct weir_consumer *of)
{
    return of->control.phase == WEIR_PHASE_REVOKE_DRAIN || of->control.phase == WEIR_PHASE_REVOKE_COMMIT;
}

/* A second member takes half of the partitions: how long that takes to be answered. */
static uint64_t revocation_ns(void)
{
    const struct weir_consumer *first = play.consumer;
    struct weir_simulation *simulation = weir_world_simulation(play.world);
    weir_world_start(play.world);
    while (!is_revoking(first))
        cr_assert(weir_simulation_step(simulation));
    uint64_t begun_ns = weir_simulation_now_ns(simulation);
    while (is_revoking(first))
        cr_assert(weir_simulation_step(simulation));
    return weir_simulation_now_ns(simulation) - begun_ns;
}

static void revoke_while_it_gathers(const char *scope)
{
    const char *its[] = {"weir.batch.scope", scope, "weir.batch.linger.ms", "30000", NULL};
    play_make(its, NULL, 2);
    play_start();
    play_append(0, 0, 3);
    play_append(1, 1, 3);
    weir_world_run(play.world, SECOND);
    cr_assert_eq(play.batches, 0);
    uint64_t took_ns = revocation_ns();
    cr_assert_eq(play.batches, 0, "it was run for the revocation");
    cr_assert_lt(took_ns, SECOND, "%llu ms: it was waited for", (unsigned long long)(took_ns / MS));
    weir_world_run(play.world, 100 * SECOND);
    cr_assert_eq(weir_world_tally(play.world)->finished, 6);
    cr_assert_eq(weir_world_tally(play.world)->runs, 6);
    cr_assert_eq(play.batches, 2, "%s", play.told);
    play_close();
}

Test(batch, that_gathers_gives_back_its_messages_at_a_revocation)
{
    revoke_while_it_gathers("partition");
    revoke_while_it_gathers("key");
}

Test(batch, of_any_messages_gives_back_those_of_the_partition_that_leaves_and_no_others)
{
    revoke_while_it_gathers("any");
}

Test(batch, that_gathers_when_its_partition_is_lost_never_runs)
{
    static const char *const its[] = {"weir.batch.linger.ms", "20000", NULL};
    play_make(its, NULL, 1);
    struct weir_world_process *process = play_start();
    play_append(0, 0, 3);
    weir_world_run(play.world, SECOND);
    uint64_t epoch = weir_consumer_find(play.consumer, "orders", 0)->epoch;
    weir_fake_client_fence(weir_world_kafka(process));
    weir_world_run(play.world, 10 * SECOND);
    cr_assert_gt(weir_consumer_find(play.consumer, "orders", 0)->epoch, epoch);
    play_append(0, 0, 2);
    weir_world_run(play.world, 60 * SECOND);
    cr_assert_str_eq(play.told, "0.1 1.1 2.1 3.1 4.1 | ");
    play_close();
}

static struct weir_world_process *slow; /* whose handlers keep its worker for 50 ms; NULL: none */

static void take_long(void)
{
    if (slow)
        weir_simulation_stall(weir_world_simulation(play.world), weir_system_worker(weir_world_system(slow), 1),
                              50 * MS);
}

/* Hundreds of batches wait for the only worker, for 20 s; then a member joins. */
Test(batch, that_waits_for_a_worker_is_taken_back_at_a_revocation)
{
    static const char *const its[] = {"weir.batch.scope",
                                      "any",
                                      "weir.batch.messages.max",
                                      "3",
                                      "weir.window.messages.max",
                                      "200",
                                      "weir.batch.linger.ms",
                                      "10",
                                      NULL};
    play_make(its, NULL, 6);
    slow = play_start();
    play.meanwhile = take_long;
    for (int32_t partition = 0; partition < 6; partition++)
        play_append(partition, -1, 200);
    while (play.batches < 20)
        cr_assert(weir_simulation_step(weir_world_simulation(play.world)));
    uint64_t took_ns = revocation_ns();
    cr_assert_lt(took_ns, SECOND / 2, "%llu ms", (unsigned long long)(took_ns / MS));
    cr_assert_lt(play.batches, 200, "nearly all had run");
    slow = NULL;
    weir_world_run(play.world, 100 * SECOND);
    cr_assert_eq(weir_world_tally(play.world)->finished, 1200);
    cr_assert_eq(weir_world_tally(play.world)->duplicates, 0);
    play_close();
}

/* One thread runs handlers, and is stuck for so long from now. */
static void stick_runner(struct weir_world_process *process, uint64_t duration_ns)
{
    struct weir_system *system = weir_world_system(process);
    weir_simulation_stall(weir_world_simulation(play.world),
                          weir_system_worker(system, weir_system_worker_count(system) - 1), duration_ns);
}

Test(batch, that_waits_for_a_worker_keeps_the_messages_of_partitions_that_stay)
{
    static const char *const its[] = {"weir.batch.scope", "any", "weir.batch.linger.ms", "10", NULL};
    play.pool_threads = 1;
    play_make(its, NULL, 2);
    struct weir_world_process *process = play_start();
    stick_runner(process, 30 * SECOND);
    play_append(0, 0, 3);
    play_append(1, 1, 3);
    weir_world_run(play.world, SECOND);
    cr_assert_lt(revocation_ns(), SECOND);
    weir_world_run(play.world, 15 * SECOND);
    cr_assert(strcmp(play.told, "0/0.1 0/1.1 0/2.1 | ") == 0 || strcmp(play.told, "1/0.1 1/1.1 1/2.1 | ") == 0,
              "the other member: %s", play.told);
    weir_world_run(play.world, 60 * SECOND);
    cr_assert_eq(play.batches, 2, "%s", play.told);
    cr_assert_eq(weir_world_tally(play.world)->finished, 6);
    play_close();
}

/* Nobody tells the batch that its partition was lost: the worker that could take it back is stuck for longer. */
Test(batch, that_waited_for_a_worker_past_its_epoch_never_runs)
{
    static const char *const its[] = {"weir.batch.linger.ms", "10", NULL};
    play.pool_threads = 1;
    play_make(its, NULL, 1);
    struct weir_world_process *process = play_start();
    stick_runner(process, 10 * SECOND);
    play_append(0, 0, 3);
    weir_world_run(play.world, SECOND);
    weir_simulation_stall(weir_world_simulation(play.world), weir_system_worker(weir_world_system(process), 1),
                          20 * SECOND);
    weir_fake_client_fence(weir_world_kafka(process));
    weir_world_run(play.world, 15 * SECOND);
    cr_assert_eq(play.batches, 0, "a batch of an epoch that was lost has run");
    weir_world_run(play.world, 60 * SECOND);
    cr_assert_str_eq(play.told, "0.1 1.1 2.1 | ");
    play_close();
}

/* Of one partition or the other the batch is; what it has finished of both is committed soon, and not at the next time
 * that somebody looks. */
Test(batch, of_any_messages_is_accounted_for_by_all_its_partitions)
{
    static const char *const its[] = {
        "weir.batch.scope", "any", "weir.batch.linger.ms", "5", "weir.commit.interval.ms", "50", NULL};
    play_make(its, NULL, 2);
    play_start();
    for (int64_t round = 1; round <= 10; round++) {
        play_append(0, 0, 1);
        play_append(1, 1, 1);
        weir_world_run(play.world, 370 * MS);
        for (int32_t partition = 0; partition < 2; partition++)
            cr_assert_eq(weir_fake_committed(weir_world_cluster(play.world), "group", "orders", partition).offset,
                         round);
    }
    play_close();
}

Test(batch, that_gathers_goes_out_at_once_when_the_consumer_is_closed)
{
    static const char *const its[] = {"weir.batch.linger.ms", HOUR, NULL};
    static const char *const scopes[] = {"key", "partition", "any"};
    for (size_t index = 0; index < 3; index++) {
        const char *with_scope[] = {"weir.batch.scope", scopes[index], its[0], its[1], NULL};
        play_make(with_scope, NULL, 2);
        play_start();
        play_append(0, 0, 3);
        play_append(1, 1, 3);
        weir_world_run(play.world, 5 * SECOND);
        cr_assert_eq(play.batches, 0);
        cr_assert(weir_world_close(play.world, 5 * SECOND), "the close waits for the linger");
        cr_assert_eq(weir_world_tally(play.world)->finished, 6);
        cr_assert_eq(play_committed(), 3);
        weir_world_destroy(play.world);
    }
}

/* ---- at most once ---- */

static enum weir_outcome see_the_commit(struct weir_message *message)
{
    cr_assert_lt(weir_message_offset(message), play_committed(), "%lld runs, and is not committed",
                 (long long)weir_message_offset(message));
    return WEIR_ACK;
}

Test(batch, takes_in_what_is_committed_later_behind_what_gathers)
{
    static const char *const its[] = {
        "weir.delivery", "at-most-once", "weir.batch.linger.ms", HOUR, "weir.batch.messages.max", "3", NULL};
    play_make(its, see_the_commit, 1);
    play_start();
    play_append(0, 0, 1);
    weir_world_run(play.world, SECOND);
    play_append(0, 0, 2); /* enough, but not committed as they come */
    weir_world_run(play.world, SECOND);
    cr_assert_eq(play.batches, 0);
    play_append(0, 0, 1);
    weir_world_run(play.world, SECOND);
    cr_assert_str_eq(play.told, "0.1 1.1 2.1 | ");
    cr_assert(weir_world_close(play.world, 60 * SECOND));
    weir_world_destroy(play.world);
}

Test(batch, has_only_what_is_committed_at_most_once)
{
    static const char *const its[] = {"weir.delivery", "at-most-once", "weir.batch.linger.ms", "200", NULL};
    play_make(its, see_the_commit, 1);
    play_start();
    for (unsigned round = 0; round < 20; round++) {
        play_append(0, (int)round % 2, 3);
        weir_world_run(play.world, 77 * MS);
    }
    weir_world_run(play.world, 20 * SECOND);
    cr_assert_eq(weir_world_tally(play.world)->finished, 60);
    cr_assert_lt(play.batches, 60);
    bool closed = weir_world_close(play.world, 60 * SECOND);
    cr_assert(closed);
    weir_world_destroy(play.world);
}

/* ---- what stops a partition, or all ---- */

static enum weir_outcome escalate_once(struct weir_message *message)
{
    bool first = play.batches == 1 && weir_message_offset(message) == 1;
    return first ? weir_escalate(message, WEIR_STOP_PARTITION, "the ledger is closed") : WEIR_ACK;
}

Test(batch, in_which_one_escalates_stops_its_partition_and_finishes_the_others)
{
    static const char *const its[] = {"weir.batch.linger.ms", "10", NULL};
    play_make(its, escalate_once, 1);
    play_start();
    play_append(0, 0, 3);
    weir_world_run(play.world, 20 * SECOND);
    play_append(0, 1, 1);
    weir_world_run(play.world, 20 * SECOND);
    cr_assert_str_eq(play.told, "0.1 1.1 2.1 | ");
    cr_assert_eq(play_stats(play.consumer).counters.acked, 2);
    cr_assert(play_stats(play.consumer).pause & WEIR_PAUSE_ESCALATED);
    cr_assert_eq(play_committed(), 1);
    cr_assert_eq(weir_consumer_resume(play.consumer, "orders", 0), 0);
    weir_world_run(play.world, 20 * SECOND);
    cr_assert_str_eq(play.told, "0.1 1.1 2.1 | 1.1 3.1 | ");
    play_close();
}

static uint64_t down_until_ns;

static enum weir_outcome be_down(struct weir_message *message)
{
    (void)message;
    return weir_simulation_now_ns(weir_world_simulation(play.world)) < down_until_ns ? WEIR_OVERLOADED : WEIR_ACK;
}

Test(batch, is_one_message_while_the_breaker_lets_one_probe_only)
{
    static const char *const its[] = {
        "weir.batch.linger.ms", "100", "weir.breaker.overloaded", "open", "weir.breaker.open.ms", "5000", NULL};
    play_make(its, be_down, 1);
    play_start();
    down_until_ns = weir_simulation_now_ns(weir_world_simulation(play.world)) + 12 * SECOND;
    play_append(0, 0, 4);
    play_append(0, 1, 4);
    weir_world_run(play.world, 3 * SECOND);
    unsigned before = play.batches; /* it opens with the first, or the next that control sees */
    cr_assert(before >= 1 && before <= 3, "%s", play.told);
    play.told[0] = '\0';
    weir_world_run(play.world, 60 * SECOND);
    cr_assert_eq(weir_world_tally(play.world)->finished, 8);
    cr_assert_lt(play.batches, before + 8, "%s", play.told);
    cr_assert(strncmp(play.told, "0.1 | ", 6) == 0 || strncmp(play.told, "4.1 | ", 6) == 0, "%s", play.told);
    cr_assert_eq(play_stats(play.consumer).counters.retries, 0);
    play_close();
}
