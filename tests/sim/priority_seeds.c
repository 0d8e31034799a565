/*
 * Priorities between topics under many seeds: whatever happens to processes and brokers, nothing is lost and each key
 * keeps its order. See tests/support/world.h for what is checked.
 */
#include "tests/support/test.h"
#include "tests/support/world_batches.h"
#include <stdio.h>
#include <stdlib.h>
#include <weir/log.h>

#define SECOND WEIR_WORLD_SECOND
#define THREE  "weir.topic.high.priority", "7", "weir.topic.middle.priority", "3"

static const struct weir_world_chances mixed_chances = {
    .skip = 20, .retry = 80, .dead = 10, .overloaded = 30, .later = 100, .poison = 5};
static const struct weir_fake_faults rough = {.slow = 50,
                                              .commit_applied_error = 30,
                                              .commit_lost = 30,
                                              .fetch_committed_error = 50,
                                              .seek_error = 50,
                                              .redelivery = 50,
                                              .purge_ahead = 300,
                                              .short_pull = 200,
                                              .spurious_wake = 50,
                                              .trouble = 20,
                                              .produce_error = 100,
                                              .produce_written_error = 50};

struct sum {
    uint64_t checked, runs, disturbances, audits;
};

static void run_seed(const struct weir_world_settings *settings, uint64_t seed, bool trace, struct sum *sum)
{
    struct weir_world_settings its = *settings;
    its.seed = seed;
    its.trace = trace;
    its.topics = "high,middle,low";
    its.workers = 1 + (unsigned)(seed % 3);
    its.short_percent = seed % 2 ? 0 : 50;
    its.messages /= 2; /* the others while it is disturbed: most of these would be over before */
    struct weir_world *world = weir_world_create(&its);
    weir_world_start(world);
    weir_world_start(world);
    weir_world_produce_during(world, 60 * SECOND, its.messages);
    weir_world_disturb(world, 60 * SECOND, 12,
                       its.floor_unchecked ? WEIR_WORLD_CRASH | WEIR_WORLD_STOP | WEIR_WORLD_REBALANCE
                                           : WEIR_WORLD_ALL);
    bool finished = weir_world_run_until_finished(world, 900 * SECOND);
    bool closed = weir_world_close(world, 300 * SECOND);
    struct weir_world_verdict verdict = weir_world_verdict(world);
    cr_assert(verdict.ok, "seed %llu: %s", (unsigned long long)seed, verdict.text);
    cr_assert(finished || its.floor_unchecked, "seed %llu: not all is over", (unsigned long long)seed);
    cr_assert(closed, "seed %llu: not closed", (unsigned long long)seed);
    sum->checked += verdict.checked;
    sum->runs += weir_world_tally(world)->runs;
    sum->disturbances += weir_world_tally(world)->disturbances;
    sum->audits += weir_world_tally(world)->audits;
    weir_world_destroy(world);
}

static void run_seeds(const char *what, struct weir_world_settings settings, unsigned seeds)
{
    struct sum sum = {0};
    const char *only = getenv("WEIR_TEST_SEED"); /* WEIR_TEST_SEED=7 ./dev test sim --filter NAME */
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    if (!settings.driver)
        settings.driver = &weir_world_consumer;
    for (uint64_t seed = 1; !only && seed <= weir_test_scaled(seeds); seed++)
        run_seed(&settings, seed, false, &sum);
    if (only)
        run_seed(&settings, strtoull(only, NULL, 10), true, &sum);
    cr_assert_gt(sum.checked, 0u);
    cr_assert(settings.floor_unchecked || sum.runs >= sum.checked);
    cr_assert_gt(sum.disturbances, 0u);
    cr_assert_gt(sum.audits, 0u);
    fprintf(stderr, "priorities, %s: %llu messages, %llu runs, %llu disturbances, %llu audits\n", what,
            (unsigned long long)sum.checked, (unsigned long long)sum.runs, (unsigned long long)sum.disturbances,
            (unsigned long long)sum.audits);
}

#define EVERYTHING .messages = 250, .chances = mixed_chances, .faults = rough

Test(priority, loses_nothing_and_keeps_the_order_under_everything_at_once)
{
    static const char *const options[] = {THREE, "weir.priority.share.percent", "5", NULL};
    run_seeds("everything", (struct weir_world_settings){EVERYTHING, .driver_data = options}, 150);
}

Test(priority, loses_nothing_with_small_windows)
{
    static const char *const options[] = {THREE, "weir.window.messages.max", "3", "weir.turn.messages.max",
                                          "1",   "weir.held.messages.max",   "1", NULL};
    run_seeds("small windows", (struct weir_world_settings){EVERYTHING, .driver_data = options}, 60);
}

Test(priority, loses_nothing_with_handlers_on_threads_of_their_own)
{
    static const char *const options[] = {THREE, NULL};
    run_seeds("pool", (struct weir_world_settings){EVERYTHING, .pool_threads = 3, .driver_data = options}, 80);
}

Test(priority, loses_nothing_where_turns_are_interrupted)
{
    static const char *const options[] = {THREE, NULL};
    run_seeds("preempted", (struct weir_world_settings){EVERYTHING, .preempt = 20, .driver_data = options}, 30);
    run_seeds("preempted pool",
              (struct weir_world_settings){EVERYTHING, .preempt = 20, .pool_threads = 2, .driver_data = options}, 30);
}

Test(priority, loses_nothing_of_what_is_written_exactly_once)
{
    static const char *const options[] = {THREE, NULL};
    run_seeds("exactly once",
              (struct weir_world_settings){.messages = 150,
                                           .chances = mixed_chances,
                                           .faults = {.slow = 50, .purge_ahead = 300, .short_pull = 200},
                                           .outputs = 500,
                                           .exactly_once = true,
                                           .driver_data = options},
              60);
}

Test(priority, runs_nothing_twice_at_most_once)
{
    static const char *const options[] = {THREE, "weir.delivery", "at-most-once", NULL};
    run_seeds("at most once",
              (struct weir_world_settings){
                  .messages = 200, .chances = {.skip = 20}, .floor_unchecked = true, .driver_data = options},
              60);
}

Test(priority, loses_nothing_of_batches)
{
    static const char *const options[] = {THREE, "weir.batch.scope",     "any", "weir.batch.messages.max",
                                          "12",  "weir.batch.linger.ms", "300", NULL};
    run_seeds("batches",
              (struct weir_world_settings){.messages = 200,
                                           .chances = {.retry = 100, .dead = 20},
                                           .faults = rough,
                                           .driver = &weir_world_batches,
                                           .driver_data = options},
              60);
}
