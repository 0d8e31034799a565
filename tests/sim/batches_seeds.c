/*
 * Batches under many seeds: the world's ledger sees that nothing is lost, and that each key keeps its order, whatever
 * the scope, and whatever goes wrong. See tests/support/world_batches.h for what order means among batches.
 */
#include "tests/support/test.h"
#include "tests/support/world_batches.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/log.h>

#define SECOND WEIR_WORLD_SECOND

static const struct weir_world_chances mixed = {.skip = 20, .retry = 120, .dead = 20, .overloaded = 30, .poison = 5};

static const struct weir_fake_faults rough = {.slow = 50,
                                              .commit_applied_error = 30,
                                              .commit_lost = 30,
                                              .commit_race = 50,
                                              .redelivery = 50,
                                              .purge_ahead = 300,
                                              .short_pull = 200,
                                              .spurious_wake = 50,
                                              .produce_error = 100,
                                              .produce_written_error = 50,
                                              .produce_queue_full = 100};

#define SMALL "weir.batch.messages.max", "12", "weir.batch.bytes.max", "100", "weir.batch.linger.ms"
static const char *const of_key[] = {"weir.batch.scope", "key", SMALL, "40", NULL};
static const char *const of_partition[] = {"weir.batch.scope", "partition", SMALL, "300", NULL};
static const char *const of_any[] = {"weir.batch.scope", "any", SMALL, "300", NULL};
static const char *const in_lanes[] = {"weir.batch.scope", "any", "weir.ordering", "partition", SMALL, "0", NULL};
static const char *const at_most_once[] = {
    "weir.batch.scope", "any", "weir.delivery", "at-most-once", SMALL, "50", NULL};

struct sum {
    uint64_t checked, runs, duplicates, letters, outputs, disturbances, audits;
};

static void run_seed(const struct weir_world_settings *settings, unsigned processes, unsigned disturbances,
                     uint64_t seed, bool trace, struct sum *sum)
{
    struct weir_world_settings its = *settings;
    its.seed = seed;
    its.trace = trace;
    its.driver = &weir_world_batches;
    struct weir_world *world = weir_world_create(&its);
    for (unsigned index = 0; index < processes; index++)
        weir_world_start(world);
    weir_world_produce_during(world, 60 * SECOND, its.messages);
    if (disturbances > 0)
        weir_world_disturb(world, 60 * SECOND, disturbances,
                           its.floor_unchecked ? WEIR_WORLD_CRASH | WEIR_WORLD_STOP | WEIR_WORLD_REBALANCE
                                               : WEIR_WORLD_ALL);
    bool finished = weir_world_run_until_finished(world, 900 * SECOND);
    bool closed = weir_world_close(world, 300 * SECOND);
    struct weir_world_verdict verdict = weir_world_verdict(world);
    const struct weir_world_tally *tally = weir_world_tally(world);
    cr_assert(verdict.ok, "seed %llu: %s", (unsigned long long)seed, verdict.text);
    cr_assert(finished || its.floor_unchecked, "seed %llu: %llu of %llu over", (unsigned long long)seed,
              (unsigned long long)tally->over, (unsigned long long)tally->produced);
    cr_assert(closed, "seed %llu: not closed", (unsigned long long)seed);
    sum->checked += verdict.checked;
    sum->runs += tally->runs;
    sum->duplicates += tally->duplicates;
    sum->letters += tally->letters;
    sum->outputs += tally->outputs;
    sum->disturbances += tally->disturbances;
    sum->audits += tally->audits;
    weir_world_destroy(world);
}

static struct sum run(const struct weir_world_settings *settings, unsigned processes, unsigned disturbances,
                      unsigned seeds)
{
    struct sum sum = {0};
    const char *only = getenv("WEIR_TEST_SEED"); /* WEIR_TEST_SEED=7 ./dev test sim --filter NAME */
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    if (only) {
        run_seed(settings, processes, disturbances, strtoull(only, NULL, 10), true, &sum);
        return sum;
    }
    for (uint64_t seed = 1; seed <= weir_test_scaled(seeds); seed++)
        run_seed(settings, processes, disturbances, seed, false, &sum);
    cr_assert_gt(sum.checked, 0);
    cr_assert(settings->floor_unchecked || sum.runs >= sum.checked);
    cr_assert_gt(sum.audits, sum.checked / 8, "the insides were hardly looked at");
    fprintf(stderr, "%llu messages, %llu runs, %llu letters, %llu outputs, %llu duplicates, %llu disturbances\n",
            (unsigned long long)sum.checked, (unsigned long long)sum.runs, (unsigned long long)sum.letters,
            (unsigned long long)sum.outputs, (unsigned long long)sum.duplicates, (unsigned long long)sum.disturbances);
    return sum;
}

static void quiet(const char *const *options)
{
    struct weir_world_settings settings = {.messages = 200, .null_keys = 100, .chances = mixed, .driver_data = options};
    struct sum sum = run(&settings, 1, 0, 40);
    cr_assert_eq(sum.duplicates, 0, "%llu duplicates", (unsigned long long)sum.duplicates);
    cr_assert_gt(sum.letters, 0);
}

Test(batches, of_keys_finish_everything_once_when_nothing_goes_wrong)
{
    quiet(of_key);
}

Test(batches, of_partitions_finish_everything_once_when_nothing_goes_wrong)
{
    quiet(of_partition);
}

Test(batches, of_any_messages_finish_everything_once_when_nothing_goes_wrong)
{
    quiet(of_any);
}

static void disturbed(const char *const *options, uint16_t outputs, unsigned pool_threads)
{
    struct weir_world_settings settings = {.messages = 200,
                                           .null_keys = 50,
                                           .keys = 12,
                                           .outputs = outputs,
                                           .chances = mixed,
                                           .faults = rough,
                                           .pool_threads = pool_threads,
                                           .driver_data = options};
    struct sum sum = run(&settings, 2, 12, 50);
    cr_assert_gt(sum.disturbances, 0);
    cr_assert(outputs == 0 || sum.outputs > 0);
}

Test(batches, of_keys_lose_nothing_under_everything_at_once)
{
    disturbed(of_key, 0, 0);
}

Test(batches, of_partitions_lose_nothing_under_everything_at_once)
{
    disturbed(of_partition, 0, 0);
}

Test(batches, of_any_messages_lose_nothing_under_everything_at_once)
{
    disturbed(of_any, 0, 0);
}

Test(batches, lose_no_output_under_everything_at_once)
{
    disturbed(of_any, 600, 0);
    disturbed(of_key, 600, 0);
}

Test(batches, in_lanes_lose_nothing_under_everything_at_once)
{
    disturbed(in_lanes, 300, 0);
}

Test(batches, lose_nothing_with_handlers_on_threads_of_their_own)
{
    disturbed(of_any, 300, 3);
}

Test(batches, lose_nothing_where_steps_come_between_steps)
{
    struct weir_world_settings settings = {.messages = 150,
                                           .keys = 8,
                                           .outputs = 300,
                                           .chances = mixed,
                                           .faults = rough,
                                           .preempt = 20,
                                           .driver_data = of_any};
    cr_assert_gt(run(&settings, 2, 8, 30).disturbances, 0);
}

Test(batches, run_nothing_twice_at_most_once)
{
    struct weir_world_settings settings = {.messages = 150,
                                           .chances = {.skip = 20, .dead = 20, .retry = 50},
                                           .floor_unchecked = true,
                                           .driver_data = at_most_once};
    struct sum sum = run(&settings, 2, 10, 50);
    cr_assert_eq(sum.duplicates, 0, "a message was handled twice");
}
