/*
 * What is bounded or counted exactly: the window, its bytes, attempts, the dead letter budget; and what a restart
 * keeps: the position that the policy chose, what was finished above the floor. One process each, without faults.
 */
#include "actors/message.h"
#include "runtime/system.h"
#include "tests/sim/consumer_own.h"
#include "tests/support/test.h"
#include <weir/consumer.h>
#include <weir/log.h>

#define SECOND WEIR_WORLD_SECOND

static struct weir_world *make_with_pool(const struct weir_own *own, unsigned messages, unsigned pool_threads)
{
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    return weir_world_create(&(struct weir_world_settings){.seed = 5,
                                                           .partitions = 1,
                                                           .null_keys = 1000,
                                                           .messages = messages,
                                                           .pool_threads = pool_threads,
                                                           .driver = &weir_own_driver,
                                                           .driver_data = own});
}

static struct weir_world *make(const struct weir_own *own, unsigned messages)
{
    return make_with_pool(own, messages, 0);
}

static uint64_t begin(struct weir_message *message, struct weir_world_process *process)
{
    uint64_t run;
    weir_own_begin(message, process, &run);
    return run;
}

static enum weir_outcome end(struct weir_world_process *process, uint64_t run, enum weir_outcome outcome)
{
    weir_world_end(process, run, outcome);
    return outcome;
}

/* ---- the window ---- */

static struct weir_later out[200];
static uint64_t out_run[200];
static unsigned out_count;

static enum weir_outcome give_out(struct weir_message *message, void *user)
{
    out_run[out_count] = begin(message, user);
    out[out_count++] = weir_message_later(message);
    return WEIR_LATER;
}

static void take_back(struct weir_world_process *process, unsigned count)
{
    for (; count > 0; count--) {
        out_count--;
        end(process, out_run[out_count], WEIR_ACK);
        cr_assert_eq(weir_later_finish(out[out_count], WEIR_ACK), 0);
    }
}

Test(bounds, no_more_is_unfinished_than_the_window_allows_and_it_opens_at_the_low_mark)
{
    static const char *const options[] = {"weir.window.messages.max", "10", "weir.window.low.percent", "50", NULL};
    struct weir_world *world = make(&(struct weir_own){give_out, options}, 100);
    struct weir_world_process *process = weir_world_start(world);
    weir_world_run(world, 5 * SECOND);
    cr_assert_eq(out_count, 10);
    take_back(process, 4);
    weir_world_run(world, 5 * SECOND);
    cr_assert_eq(out_count, 6, "above the low mark nothing is pulled");
    take_back(process, 1);
    weir_world_run(world, 5 * SECOND);
    cr_assert_eq(out_count, 10);
    for (unsigned round = 0; round < 100 && !weir_world_is_finished(world); round++) {
        take_back(process, out_count);
        weir_world_run(world, 2 * SECOND);
    }
    cr_assert(weir_world_is_finished(world));
    weir_own_close_world(world);
}

Test(bounds, what_is_given_out_keeps_no_fetch_response_alive)
{
    static const char *const options[] = {"weir.window.messages.max", "10", NULL};
    struct weir_world *world = make(&(struct weir_own){give_out, options}, 100);
    struct weir_world_process *process = weir_world_start(world);
    weir_world_run(world, 5 * SECOND);
    cr_assert_eq(out_count, 10);
    take_back(process, out_count); /* pulled before it was known that messages are given out */
    weir_world_run(world, 5 * SECOND);
    cr_assert_eq(out_count, 10);
    for (unsigned index = 0; index < out_count; index++) {
        cr_assert_null(weir_message_record(out[index].message));
        cr_assert_not_null(weir_message_copied(out[index].message));
    }
    for (unsigned round = 0; round < 100 && !weir_world_is_finished(world); round++) {
        take_back(process, out_count);
        weir_world_run(world, 2 * SECOND);
    }
    cr_assert(weir_world_is_finished(world));
    weir_own_close_world(world);
}

static unsigned lying_in_responses;

static enum weir_outcome block(struct weir_message *message, void *user)
{
    uint64_t run = begin(message, user);
    lying_in_responses += weir_message_record(message) != NULL;
    return end(user, run, WEIR_ACK);
}

Test(bounds, handlers_that_may_block_keep_no_fetch_response_alive)
{
    struct weir_world *world = make_with_pool(&(struct weir_own){block, NULL}, 100, 3);
    weir_world_start(world);
    cr_assert(weir_world_run_until_finished(world, 60 * SECOND));
    cr_assert_eq(weir_world_tally(world)->runs, 100);
    cr_assert_eq(lying_in_responses, 0);
    weir_own_close_world(world);
}

Test(bounds, bytes_come_back_with_the_messages)
{
    static const char *const options[] = {"weir.window.bytes.max", "16384", NULL};
    struct weir_world *world = make(&(struct weir_own){give_out, options}, 150);
    struct weir_world_process *process = weir_world_start(world);
    weir_world_run(world, 5 * SECOND);
    unsigned filled = out_count; /* a message is charged with what it costs beside its content, too */
    cr_assert_gt(filled, 8);
    cr_assert_lt(filled, 64);
    take_back(process, out_count);
    weir_world_run(world, 5 * SECOND);
    cr_assert_gt(out_count, 8, "%u, and then %u", filled, out_count);
    for (unsigned round = 0; round < 100 && !weir_world_is_finished(world); round++) {
        take_back(process, out_count);
        weir_world_run(world, 2 * SECOND);
    }
    struct weir_stats stats;
    weir_consumer_stats(weir_own_consumer(), &stats, sizeof stats);
    cr_assert_eq(stats.in_flight, 0);
    cr_assert_eq(stats.in_flight_bytes, 0);
    weir_own_close_world(world);
}

/* ---- attempts and the budget ---- */

static enum weir_outcome retry(struct weir_message *message, void *user)
{
    return end(user, begin(message, user), WEIR_RETRY);
}

Test(bounds, a_message_runs_exactly_as_often_as_it_may)
{
    static const char *const options[] = {"weir.retry.attempts.max", "4", NULL};
    struct weir_world *world = make(&(struct weir_own){retry, options}, 30);
    weir_world_start(world);
    cr_assert(weir_world_run_until_finished(world, 600 * SECOND));
    cr_assert_eq(weir_world_tally(world)->letters, 30);
    cr_assert_eq(weir_world_tally(world)->runs, 4 * 30);
    weir_own_close_world(world);
}

static enum weir_outcome dead(struct weir_message *message, void *user)
{
    return end(user, begin(message, user), WEIR_DEAD);
}

Test(bounds, no_more_dead_letters_go_out_than_the_budget_holds)
{
    static const char *const options[] = {"weir.dlq.budget.burst", "5", "weir.dlq.budget.per.minute", "6", NULL};
    struct weir_world *world = make(&(struct weir_own){dead, options}, 40);
    weir_world_start(world);
    weir_world_run(world, 5 * SECOND);
    cr_assert_eq(weir_world_tally(world)->letters, 5);
    weir_world_run(world, 60 * SECOND);
    cr_assert_geq(weir_world_tally(world)->letters, 10);
    cr_assert_leq(weir_world_tally(world)->letters, 12);
    weir_own_close_world(world);
}

/* ---- restarts ---- */

static enum weir_outcome ack(struct weir_message *message, void *user)
{
    return end(user, begin(message, user), WEIR_ACK);
}

Test(restart, goes_on_where_the_policy_had_put_a_consumer_that_crashed_before_its_first_message)
{
    static const char *const options[] = {"auto.offset.reset", "latest", NULL};
    struct weir_world *world = make(&(struct weir_own){ack, options}, 0);
    weir_world_append(world, "orders", 0, 1);
    weir_world_truncate(world, "orders", 0, 1); /* is passed by: the policy says so */
    struct weir_world_process *process = weir_world_start(world);
    weir_world_run(world, 5 * SECOND);
    weir_world_crash(process);
    weir_world_append(world, "orders", 0, 2);
    weir_world_start(world);
    cr_assert(weir_world_run_until_finished(world, 60 * SECOND), "the policy was asked again, and chose another end");
    weir_own_close_world(world);
}

static bool holds_first;

static enum weir_outcome ack_behind_first(struct weir_message *message, void *user)
{
    if (holds_first && weir_message_offset(message) == 0) {
        end(user, begin(message, user), WEIR_RETRY);
        return weir_retry_after(message, 3600 * 1000, "not now");
    }
    return ack(message, user);
}

Test(restart, runs_nothing_again_that_was_finished_above_the_floor)
{
    static const struct weir_own own = {ack_behind_first, NULL};
    struct weir_world *world = make(&own, 100);
    holds_first = true;
    struct weir_world_process *process = weir_world_start(world);
    weir_world_run(world, 5 * SECOND);
    cr_assert_eq(weir_fake_committed(weir_world_cluster(world), "group", "orders", 0).offset, 0);
    weir_world_crash(process);
    holds_first = false;
    weir_world_start(world);
    cr_assert(weir_world_run_until_finished(world, 60 * SECOND));
    weir_world_run(world, 5 * SECOND);
    cr_assert_eq(weir_world_tally(world)->duplicates, 0);
    weir_own_close_world(world);
}

/* ---- partitions that move ---- */

Test(drain, lets_running_handlers_finish_so_that_none_runs_beside_another)
{
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    for (uint64_t seed = 1; seed <= weir_test_scaled(60); seed++) {
        struct weir_world *world = weir_world_create(&(struct weir_world_settings){.seed = seed,
                                                                                   .eager = seed % 3 == 0,
                                                                                   .chances = {.later = 500},
                                                                                   .later_ns_max = SECOND,
                                                                                   .driver = &weir_world_consumer});
        weir_world_start(world);
        weir_world_start(world);
        weir_world_produce_during(world, 20 * SECOND, 400);
        weir_world_disturb(world, 20 * SECOND, 8, WEIR_WORLD_JOIN | WEIR_WORLD_STOP | WEIR_WORLD_REBALANCE);
        cr_assert(weir_world_run_until_finished(world, 300 * SECOND));
        cr_assert_eq(weir_world_tally(world)->overlaps_elsewhere, 0, "seed %llu", (unsigned long long)seed);
        cr_assert_eq(weir_world_tally(world)->duplicates, 0, "seed %llu", (unsigned long long)seed);
        weir_own_close_world(world);
    }
}

Test(drain, does_not_wait_for_dead_letters_that_are_refused)
{
    static const char *const options[] = {"weir.dlq.retry.ms", "1", "weir.revoke.drain.ms.max", "20000", NULL};
    static const struct weir_own own = {dead, options};
    weir_log_set(NULL, NULL, 0);
    for (uint64_t seed = 1; seed <= weir_test_scaled(20); seed++) {
        struct weir_world *world = weir_world_create(&(struct weir_world_settings){.seed = seed,
                                                                                   .messages = 40,
                                                                                   .faults = {.produce_error = 1000},
                                                                                   .driver = &weir_own_driver,
                                                                                   .driver_data = &own});
        weir_world_start(world);
        weir_world_run(world, 3 * SECOND);
        struct weir_world_process *second = weir_world_start(world);
        weir_world_run(world, 5 * SECOND);
        unsigned held = 0;
        for (int32_t partition = 0; partition < 4; partition++)
            held += weir_fake_client_holds(weir_world_kafka(second), "orders", partition);
        cr_assert_gt(held, 0, "seed %llu: nothing was given away within 5 s", (unsigned long long)seed);
        weir_fake_set_faults(weir_world_cluster(world), &(struct weir_fake_faults){0});
        cr_assert(weir_world_run_until_finished(world, 60 * SECOND));
        weir_own_close_world(world);
    }
}

/* ---- the lease ---- */

static uint64_t asleep_until_ns, assignments;
static unsigned started_without_lease;

static enum weir_outcome ack_watched(struct weir_message *message, void *user)
{
    struct weir_world *world = weir_world_of(user);
    struct weir_kafka *kafka = weir_world_kafka(user);
    bool woken = asleep_until_ns > 0 && weir_simulation_now_ns(weir_world_simulation(world)) >= asleep_until_ns;
    started_without_lease +=
        woken && weir_fake_client_assignments(kafka, "orders", weir_message_partition(message)) == assignments;
    return ack(message, user);
}

Test(sleeping, past_its_session_a_process_starts_no_handler_before_it_is_a_member_again)
{
    unsigned tested = 0;
    for (uint64_t seed = 1; seed <= weir_test_scaled(40); seed++) {
        static const struct weir_own own = {ack_watched, NULL};
        weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
        struct weir_world *world = weir_world_create(&(struct weir_world_settings){.seed = seed,
                                                                                   .partitions = 1,
                                                                                   .keys = 50,
                                                                                   .messages = 200,
                                                                                   .driver = &weir_own_driver,
                                                                                   .driver_data = &own});
        asleep_until_ns = 0;
        started_without_lease = 0;
        struct weir_world_process *process = weir_world_start(world);
        while (weir_world_tally(world)->runs < 20 + seed)
            weir_simulation_step(weir_world_simulation(world));
        struct weir_system *system = weir_world_system(process);
        for (unsigned index = 0; index < weir_system_worker_count(system); index++)
            weir_simulation_stall(weir_world_simulation(world), weir_system_worker(system, index), 12 * SECOND);
        weir_fake_client_partition(weir_world_kafka(process), 12 * SECOND);
        asleep_until_ns = weir_simulation_now_ns(weir_world_simulation(world)) + 12 * SECOND;
        assignments = weir_fake_client_assignments(weir_world_kafka(process), "orders", 0);
        uint64_t runs = weir_world_tally(world)->runs;
        cr_assert(weir_world_run_until_finished(world, 120 * SECOND));
        cr_assert_eq(started_without_lease, 0, "seed %llu: %u handlers", (unsigned long long)seed,
                     started_without_lease);
        tested += weir_world_tally(world)->runs > runs;
        weir_own_close_world(world);
    }
    cr_assert_gt(tested, 0);
}
