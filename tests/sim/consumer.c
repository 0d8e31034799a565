/*
 * The whole consumer in the simulator: real runtime and actors, an in-memory Kafka with faults, thousands of seeds. The
 * world (tests/support/world.h) checks order, loss, overlaps and the committed floor at every step.
 *
 * A seed that fails is printed with the command that replays it and tells what happens, step by step.
 */
#include "tests/support/test.h"
#include "tests/support/world.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/log.h>

#define SECOND WEIR_WORLD_SECOND

static const struct weir_world_chances mixed = {
    .skip = 20, .retry = 80, .dead = 10, .overloaded = 30, .later = 150, .poison = 5};

static const struct weir_fake_faults rough = {.slow = 50,
                                              .commit_applied_error = 30,
                                              .commit_lost = 30,
                                              .commit_race = 50,
                                              .fetch_committed_error = 50,
                                              .watermarks_error = 50,
                                              .seek_error = 50,
                                              .redelivery = 50,
                                              .purge_ahead = 300,
                                              .error_record = 5,
                                              .short_pull = 200,
                                              .spurious_wake = 50,
                                              .trouble = 20,
                                              .produce_error = 100,
                                              .produce_written_error = 50,
                                              .produce_queue_full = 100};

struct plan {
    const char *name;
    struct weir_world_settings settings;
    unsigned processes, disturbances, kinds;
    bool unfinished_is_fine; /* at most once: what was lost never finishes */
};

/* What a run of seeds has done, so that a test can tell that it tested something. */
struct sum {
    uint64_t checked, runs, duplicates, disturbances, letters, outputs, outputs_again, audits, hash;
};

/* "WEIR_TEST_SEED=7 ./dev test sim --filter NAME", of the test whose function is given. */
static const char *replay_command(const char *function, uint64_t seed)
{
    static char text[192];
    const char *name = strstr(function, "consumer_") == function ? function + strlen("consumer_") : function;
    const char *end = strrchr(name, '_'); /* what the test's macro adds */
    snprintf(text, sizeof text, "to see it: WEIR_TEST_SEED=%llu ./dev test sim --filter %.*s; build/logs/test-sim.log",
             (unsigned long long)seed, (int)(end ? (size_t)(end - name) : strlen(name)), name);
    return text;
}

static void run_seed(const struct plan *plan, const char *function, uint64_t seed, bool trace, struct sum *sum)
{
    struct weir_world_settings settings = plan->settings;
    settings.seed = seed;
    settings.trace = trace;
    settings.short_percent = seed % 2 ? 0 : 50;
    const char *replay = replay_command(function, seed);
    settings.driver = &weir_world_consumer;
    struct weir_world *world = weir_world_create(&settings);
    for (unsigned index = 0; index < plan->processes; index++)
        weir_world_start(world);
    if (plan->disturbances > 0)
        weir_world_disturb(world, 60 * SECOND, plan->disturbances, plan->kinds);
    bool finished = weir_world_run_until_finished(world, 900 * SECOND);
    bool closed = weir_world_close(world, 300 * SECOND);
    struct weir_world_verdict verdict = weir_world_verdict(world);
    const struct weir_world_tally *tally = weir_world_tally(world);
    cr_assert(verdict.ok, "%s: %s; %s", plan->name, verdict.text, replay);
    cr_assert(finished || plan->unfinished_is_fine, "%s: %llu of %llu messages over after 900 s; %s", plan->name,
              (unsigned long long)tally->over, (unsigned long long)tally->produced, replay);
    cr_assert(closed, "%s: not closed after 300 s; %s", plan->name, replay);
    sum->checked += verdict.checked;
    sum->runs += tally->runs;
    sum->duplicates += tally->duplicates;
    sum->disturbances += tally->disturbances;
    sum->letters += tally->letters;
    sum->outputs += tally->outputs;
    sum->outputs_again += tally->outputs_again;
    sum->audits += tally->audits;
    sum->hash = sum->hash * 31 + weir_world_hash(world);
    weir_world_destroy(world);
}

#define run(plan, seeds) run_seeds(plan, __func__, seeds)

static struct sum run_seeds(const struct plan *plan, const char *function, unsigned seeds)
{
    struct sum sum = {0};
    const char *only = getenv("WEIR_TEST_SEED");
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    if (only) {
        run_seed(plan, function, strtoull(only, NULL, 10), true, &sum);
        return sum;
    }
    for (uint64_t seed = 1; seed <= weir_test_scaled(seeds); seed++)
        run_seed(plan, function, seed, false, &sum);
    cr_assert_gt(sum.checked, 0);
    cr_assert(plan->unfinished_is_fine || sum.runs >= sum.checked);
    cr_assert_gt(sum.runs, 0);
    cr_assert_gt(sum.audits, sum.checked / 4, "the insides were hardly looked at");
    fprintf(
        stderr,
        "%s: %u seeds, %llu messages, %llu runs, %llu dead letters, %llu outputs, %llu duplicates, %llu disturbances, "
        "%llu audits\n",
        plan->name, weir_test_scaled(seeds), (unsigned long long)sum.checked, (unsigned long long)sum.runs,
        (unsigned long long)sum.letters, (unsigned long long)sum.outputs, (unsigned long long)sum.duplicates,
        (unsigned long long)sum.disturbances, (unsigned long long)sum.audits);
    return sum;
}

Test(consumer, finishes_everything_once_and_in_order_when_nothing_goes_wrong)
{
    struct plan plan = {"quiet", {.messages = 300, .chances = mixed}, 1, 0, 0, false};
    struct sum sum = run(&plan, 150);
    cr_assert_eq(sum.duplicates, 0, "no disturbance, but %llu duplicates", (unsigned long long)sum.duplicates);
    cr_assert_gt(sum.letters, 0);
}

Test(consumer, loses_nothing_under_faults_of_the_brokers)
{
    struct plan plan = {"faults", {.messages = 200, .chances = mixed, .faults = rough}, 2, 0, 0, false};
    run(&plan, 200);
}

Test(consumer, loses_nothing_when_processes_crash_stop_and_join)
{
    struct plan plan = {"churn",
                        {.messages = 300, .chances = mixed, .later_ns_max = 2 * SECOND},
                        2,
                        12,
                        WEIR_WORLD_CRASH | WEIR_WORLD_STOP | WEIR_WORLD_JOIN | WEIR_WORLD_REBALANCE | WEIR_WORLD_GHOST,
                        false};
    cr_assert_gt(run(&plan, 200).disturbances, 0);
}

Test(consumer, loses_nothing_under_everything_at_once)
{
    struct plan plan = {"everything",
                        {.messages = 250, .chances = mixed, .faults = rough, .later_ns_max = 3 * SECOND},
                        3,
                        15,
                        WEIR_WORLD_ALL,
                        false};
    cr_assert_gt(run(&plan, 300).disturbances, 0);
}

Test(consumer, loses_nothing_with_the_eager_protocol)
{
    struct plan plan = {
        "eager", {.messages = 200, .chances = mixed, .faults = rough, .eager = true}, 2, 10, WEIR_WORLD_ALL, false};
    run(&plan, 150);
}

Test(consumer, loses_nothing_as_static_members)
{
    struct plan plan = {"static",
                        {.messages = 200, .chances = mixed, .faults = rough, .instance_prefix = "member-"},
                        2,
                        10,
                        WEIR_WORLD_ALL,
                        false};
    run(&plan, 100);
}

Test(consumer, keeps_its_promises_with_the_smallest_windows)
{
    static const char *const options[] = {"weir.window.messages.max",
                                          "3",
                                          "weir.held.messages.max",
                                          "1",
                                          "weir.held.policy",
                                          "wait",
                                          "weir.turn.messages.max",
                                          "1",
                                          "weir.pull.messages.max",
                                          "1",
                                          NULL};
    struct plan plan = {"small windows, wait",
                        {.messages = 120, .chances = mixed, .faults = rough, .driver_data = options},
                        2,
                        6,
                        WEIR_WORLD_ALL,
                        false};
    run(&plan, 100);
}

Test(consumer, gives_up_held_messages_by_policy_and_loses_none)
{
    static const char *const options[] = {"weir.window.messages.max",
                                          "16",
                                          "weir.held.messages.max",
                                          "4",
                                          "weir.held.policy",
                                          "dead",
                                          "weir.retry.base.ms",
                                          "5000",
                                          "weir.retry.max.ms",
                                          "60000",
                                          "weir.dlq.budget.burst",
                                          "0",
                                          "weir.retry.attempts.max",
                                          "0",
                                          NULL};
    struct weir_world_chances poisonous = {.retry = 50, .poison = 100};
    struct plan plan = {"held dead",
                        {.messages = 200, .chances = poisonous, .driver_data = options},
                        1,
                        4,
                        WEIR_WORLD_CRASH | WEIR_WORLD_REBALANCE,
                        true}; /* poison below the bound is retried for ever */
    cr_assert_gt(run(&plan, 60).letters, 0);
}

Test(consumer, holds_in_place_while_the_budget_for_dead_letters_is_spent)
{
    static const char *const options[] = {
        "weir.dlq.budget.burst", "2", "weir.dlq.budget.percent", "0", "weir.dlq.budget.per.minute", "20", NULL};
    struct weir_world_chances deadly = {.dead = 300};
    struct plan plan = {"budget", {.messages = 80, .chances = deadly, .driver_data = options}, 1, 0, 0, false};
    cr_assert_gt(run(&plan, 40).letters, 0);
}

Test(consumer, loses_nothing_with_handlers_on_threads_of_their_own)
{
    struct plan plan = {"pool",
                        {.messages = 250, .chances = mixed, .faults = rough, .pool_threads = 3, .workers = 1},
                        2,
                        12,
                        WEIR_WORLD_ALL,
                        false};
    cr_assert_gt(run(&plan, 150).disturbances, 0);
}

Test(consumer, runs_nothing_twice_at_most_once)
{
    static const char *const options[] = {"weir.delivery", "at-most-once", NULL};
    struct weir_world_chances chances = {.skip = 20, .dead = 20, .later = 150};
    struct plan plan = {"at most once",
                        {.messages = 200, .chances = chances, .driver_data = options, .floor_unchecked = true},
                        2,
                        10,
                        WEIR_WORLD_CRASH | WEIR_WORLD_STOP | WEIR_WORLD_REBALANCE,
                        true};
    cr_assert_eq(run(&plan, 100).duplicates, 0, "a message was handled twice");
}

/* ---- outputs ---- */

Test(consumer, writes_each_output_once_when_nothing_goes_wrong)
{
    struct plan plan = {"outputs, quiet", {.messages = 200, .outputs = 700, .chances = mixed}, 1, 0, 0, false};
    struct sum sum = run(&plan, 60);
    cr_assert_eq(sum.duplicates, 0);
    cr_assert_gt(sum.outputs, sum.checked / 2);
    cr_assert_eq(sum.outputs_again, 0, "%llu outputs were written twice", (unsigned long long)sum.outputs_again);
}

Test(consumer, loses_no_output_under_everything_at_once)
{
    struct plan plan = {
        "outputs, everything",
        {.messages = 200, .outputs = 700, .chances = mixed, .faults = rough, .later_ns_max = 3 * SECOND},
        3,
        15,
        WEIR_WORLD_ALL,
        false};
    cr_assert_gt(run(&plan, 150).outputs, 0);
}

Test(consumer, loses_nothing_when_outputs_can_never_be_sent)
{
    struct weir_fake_faults faults = rough;
    faults.produce_too_large = 60;
    faults.produce_unknown_topic = 30;
    faults.produce_authorization = 30;
    static const char *const options[] = {"weir.retry.attempts.max", "3", NULL};
    struct plan plan = {"outputs, refused",
                        {.messages = 150, .outputs = 700, .chances = mixed, .faults = faults, .driver_data = options},
                        2,
                        8,
                        WEIR_WORLD_ALL,
                        false};
    struct sum sum = run(&plan, 100);
    cr_assert_gt(sum.outputs, 0);
    cr_assert_gt(sum.letters, 0);
}

Test(consumer, loses_no_output_with_handlers_on_threads_of_their_own)
{
    struct plan plan = {
        "outputs, pool",
        {.messages = 150, .outputs = 700, .chances = mixed, .faults = rough, .pool_threads = 3, .workers = 1},
        2,
        10,
        WEIR_WORLD_ALL,
        false};
    cr_assert_gt(run(&plan, 60).outputs, 0);
}

/* ---- exactly once ---- */

Test(consumer, writes_exactly_once_when_nothing_goes_wrong)
{
    struct plan plan = {"exactly once, quiet",
                        {.messages = 200, .outputs = 600, .chances = mixed, .short_percent = 50, .exactly_once = true},
                        1,
                        0,
                        0,
                        false};
    struct sum sum = run(&plan, 60);
    cr_assert_eq(sum.duplicates, 0);
    cr_assert_gt(sum.outputs, sum.checked / 2);
    cr_assert_gt(sum.letters, 0);
}

static struct weir_fake_faults with_transactions(uint16_t fatal)
{
    struct weir_fake_faults faults = rough; /* one message that is refused costs a transaction of many */
    faults.produce_error = faults.produce_written_error = 4;
    faults.transaction_error = 50;
    faults.transaction_unsure = 50;
    faults.transaction_abort = 50;
    faults.transaction_fatal = fatal;
    return faults;
}

Test(consumer, writes_exactly_once_under_faults_of_the_brokers)
{
    struct plan plan = {"exactly once, faults",
                        {.messages = 150,
                         .outputs = 600,
                         .chances = mixed,
                         .faults = with_transactions(10),
                         .short_percent = 50,
                         .exactly_once = true},
                        2,
                        0,
                        0,
                        false};
    cr_assert_gt(run(&plan, 100).outputs, 0);
}

Test(consumer, writes_exactly_once_under_everything_at_once)
{
    struct plan plan = {"exactly once, everything",
                        {.messages = 200,
                         .outputs = 600,
                         .chances = mixed,
                         .faults = with_transactions(10),
                         .later_ns_max = 3 * SECOND,
                         .short_percent = 50,
                         .exactly_once = true},
                        3,
                        15,
                        WEIR_WORLD_ALL,
                        false};
    cr_assert_gt(run(&plan, 150).outputs, 0);
}

Test(consumer, writes_exactly_once_what_can_be_written_and_letters_for_the_rest)
{
    struct weir_fake_faults faults = with_transactions(5);
    faults.produce_too_large = 3;
    faults.produce_unknown_topic = 2;
    faults.produce_authorization = 2;
    static const char *const options[] = {"weir.retry.attempts.max", "3", NULL};
    struct plan plan = {"exactly once, refused",
                        {.messages = 150,
                         .outputs = 600,
                         .chances = mixed,
                         .faults = faults,
                         .short_percent = 50,
                         .exactly_once = true,
                         .driver_data = options},
                        2,
                        8,
                        WEIR_WORLD_ALL,
                        false};
    cr_assert_gt(run(&plan, 100).letters, 0);
}

Test(consumer, writes_exactly_once_with_little_room_for_maps)
{
    static const char *const options[] = {"weir.commit.map.bytes.max", "80", "weir.window.messages.max", "64", NULL};
    struct plan plan = {"exactly once, small maps",
                        {.messages = 250,
                         .outputs = 300,
                         .null_keys = 500,
                         .chances = mixed,
                         .faults = with_transactions(5),
                         .later_ns_max = 3 * SECOND,
                         .short_percent = 50,
                         .exactly_once = true,
                         .driver_data = options},
                        2,
                        10,
                        WEIR_WORLD_ALL,
                        false};
    cr_assert_gt(run(&plan, 100).outputs, 0);
}

Test(consumer, writes_exactly_once_as_static_members_and_with_the_eager_protocol)
{
    static const char *const options[] = {"weir.transaction.messages.max", "20", NULL};
    struct plan plan = {"exactly once, static, eager",
                        {.messages = 200,
                         .outputs = 600,
                         .chances = mixed,
                         .faults = with_transactions(10),
                         .eager = true,
                         .instance_prefix = "member-",
                         .short_percent = 50,
                         .exactly_once = true,
                         .driver_data = options},
                        2,
                        10,
                        WEIR_WORLD_ALL,
                        false};
    cr_assert_gt(run(&plan, 600).outputs, 0);
}

Test(consumer, writes_exactly_once_with_handlers_on_threads_of_their_own)
{
    struct plan plan = {"exactly once, pool",
                        {.messages = 200,
                         .outputs = 600,
                         .chances = mixed,
                         .faults = with_transactions(10),
                         .pool_threads = 3,
                         .workers = 1,
                         .short_percent = 50,
                         .exactly_once = true},
                        2,
                        12,
                        WEIR_WORLD_ALL,
                        false};
    cr_assert_gt(run(&plan, 100).outputs, 0);
}

Test(consumer, replays_a_seed_step_for_step)
{
    struct plan plan = {"replay", {.messages = 150, .chances = mixed, .faults = rough}, 2, 8, WEIR_WORLD_ALL, false};
    struct sum first = {0}, second = {0}, other = {0};
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    run_seed(&plan, __func__, 7, false, &first);
    run_seed(&plan, __func__, 7, false, &second);
    run_seed(&plan, __func__, 8, false, &other);
    cr_assert_eq(first.hash, second.hash);
    cr_assert_neq(first.hash, other.hash);
}
