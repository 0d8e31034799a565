/*
 * What a revocation waits for: handlers that run, and not keys that only wait for a worker behind those of partitions
 * that stay; and a last commit that tells of all that was finished.
 */
#include "actors/consumer.h"
#include "runtime/system.h"
#include "tests/sim/consumer_own.h"
#include "tests/support/test.h"
#include <weir/log.h>

#define SECOND WEIR_WORLD_SECOND

enum { HANDLER_MS = 50, MESSAGES = 200 };

static bool slow; /* handlers keep their worker for HANDLER_MS */

static enum weir_outcome on_message(struct weir_message *message, void *user)
{
    uint64_t run;
    struct weir_world *world = weir_world_of(user);
    weir_own_begin(message, user, &run);
    if (slow)
        weir_simulation_stall(weir_world_simulation(world), message->partition->resident.home,
                              HANDLER_MS * (SECOND / 1000));
    weir_world_end(user, run, WEIR_ACK);
    return WEIR_ACK;
}

static bool is_revoking(const struct weir_consumer *consumer)
{
    return consumer->control.phase == WEIR_PHASE_REVOKE_DRAIN || consumer->control.phase == WEIR_PHASE_REVOKE_COMMIT;
}

static void step_until(struct weir_world *world, const struct weir_consumer *consumer, bool revoking)
{
    struct weir_simulation *simulation = weir_world_simulation(world);
    uint64_t limit_ns = weir_simulation_now_ns(simulation) + 60 * SECOND;
    while (is_revoking(consumer) != revoking) {
        cr_assert_lt(weir_simulation_now_ns(simulation), limit_ns, "%s", revoking ? "nothing is revoked" : "no answer");
        cr_assert(weir_simulation_step(simulation));
    }
}

/* How long the next revocation takes to be answered. */
static uint64_t revocation_ns(struct weir_world *world, const struct weir_consumer *consumer)
{
    step_until(world, consumer, true);
    uint64_t begun_ns = weir_simulation_now_ns(weir_world_simulation(world));
    step_until(world, consumer, false);
    return weir_simulation_now_ns(weir_world_simulation(world)) - begun_ns;
}

/* Goal: a member that gives away some of its partitions does so in the time of some handlers, not of its queue.
 * Method: one worker, handlers of 50 ms, tens of keys in its queue; a second member comes. */
Test(revoke, does_not_wait_for_keys_that_wait_for_a_worker)
{
    static const char *const options[] = {"weir.window.messages.max", "100", NULL};
    static const struct weir_own own = {on_message, options};
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    for (uint64_t seed = 1; seed <= weir_test_scaled(10); seed++) {
        struct weir_world *world = weir_world_create(&(struct weir_world_settings){.seed = seed,
                                                                                   .workers = 1,
                                                                                   .partitions = 6,
                                                                                   .keys = 500,
                                                                                   .messages = MESSAGES,
                                                                                   .driver = &weir_own_driver,
                                                                                   .driver_data = &own});
        slow = true;
        struct weir_world_process *process = weir_world_start(world);
        const struct weir_consumer *consumer = weir_own_consumer();
        while (weir_world_tally(world)->runs < 20)
            cr_assert(weir_simulation_step(weir_world_simulation(world)));
        weir_world_start(world);
        uint64_t queued = weir_worker_queued(weir_system_worker(weir_world_system(process), 1));
        cr_assert_gt(queued, 25u, "seed %llu: %llu wait only", (unsigned long long)seed, (unsigned long long)queued);
        uint64_t took_ns = revocation_ns(world, consumer);
        cr_assert_lt(took_ns, SECOND / 2, "seed %llu: %llu ms", (unsigned long long)seed,
                     (unsigned long long)(took_ns / 1000000));
        slow = false;
        cr_assert(weir_world_run_until_finished(world, 600 * SECOND));
        cr_assert(weir_world_close(world, 60 * SECOND));
        struct weir_world_verdict verdict = weir_world_verdict(world);
        cr_assert(verdict.ok, "seed %llu: %s", (unsigned long long)seed, verdict.text);
        cr_assert_eq(weir_world_tally(world)->duplicates, 0);
        weir_world_destroy(world);
    }
}

/* Has a partition that is about to go not been told of yet in the commit that is collected? */
static bool is_waited_for(const struct weir_control *control)
{
    if (control->phase != WEIR_PHASE_REVOKE_COMMIT || control->commit.state != WEIR_COMMIT_COLLECTING)
        return false;
    WEIR_EACH_PARTITION (partition, control) {
        if (partition->control.in_event && partition->control.in_collect &&
            partition->snapshot_done != control->commit.sequence)
            return true;
    }
    return false;
}

/* Goal: a partition is not given away before its last commit has told of it.
 * Method: just as that commit is collected, its worker goes into a handler of half a second. */
Test(revoke, waits_for_the_last_commit_of_a_partition_whose_worker_is_busy)
{
    static const char *const options[] = {"weir.commit.interval.ms", "60000", NULL};
    static const struct weir_own own = {.handler = on_message, .options = options};
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    for (uint64_t seed = 1; seed <= weir_test_scaled(20); seed++) {
        struct weir_world *world = weir_world_create(&(struct weir_world_settings){
            .seed = seed, .workers = 1, .messages = 200, .driver = &weir_own_driver, .driver_data = &own});
        struct weir_simulation *simulation = weir_world_simulation(world);
        slow = false;
        struct weir_world_process *process = weir_world_start(world);
        const struct weir_control *control = &weir_own_consumer()->control;
        weir_world_run(world, 10 * SECOND);
        weir_world_start(world);
        uint64_t limit_ns = weir_simulation_now_ns(simulation) + 60 * SECOND;
        while (!is_waited_for(control)) {
            cr_assert_lt(weir_simulation_now_ns(simulation), limit_ns, "seed %llu: no last commit",
                         (unsigned long long)seed);
            cr_assert(weir_simulation_step(simulation));
        }
        weir_simulation_stall(simulation, weir_system_worker(weir_world_system(process), 1), SECOND / 2);
        weir_world_produce_during(world, 5 * SECOND, 100);
        cr_assert(weir_world_run_until_finished(world, 600 * SECOND));
        cr_assert(weir_world_close(world, 60 * SECOND));
        struct weir_world_verdict verdict = weir_world_verdict(world);
        cr_assert(verdict.ok, "seed %llu: %s", (unsigned long long)seed, verdict.text);
        cr_assert_eq(weir_world_tally(world)->duplicates, 0, "seed %llu", (unsigned long long)seed);
        weir_world_destroy(world);
    }
}
