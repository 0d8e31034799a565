/*
 * Closing at any time: before the first turn, in the middle of an assignment or a revocation, twice, after a fatal
 * error of the client, while a process has been asleep. It always ends, in bounded time, and loses nothing.
 */
#include "actors/consumer.h"
#include "runtime/system.h"
#include "tests/sim/consumer_own.h"
#include "tests/support/test.h"
#include "tests/support/world.h"
#include <weir/log.h>

#define SECOND WEIR_WORLD_SECOND

static const struct weir_world_chances mixed = {
    .skip = 20, .retry = 80, .dead = 30, .overloaded = 30, .later = 150, .poison = 5};

static const struct weir_fake_faults rough = {.slow = 100,
                                              .commit_applied_error = 50,
                                              .commit_lost = 50,
                                              .commit_parked = 0,
                                              .fetch_committed_error = 100,
                                              .watermarks_error = 100,
                                              .seek_error = 50,
                                              .purge_ahead = 300,
                                              .short_pull = 200,
                                              .produce_error = 100,
                                              .produce_queue_full = 100};

struct act { /* what is done to a consumer at a time */
    struct weir_world_process *process;
    unsigned what;
};

static void on_act(void *argument)
{
    struct act act = *(struct act *)argument;
    free(argument);
    if (act.what == 1)
        weir_fake_client_fatal(weir_world_kafka(act.process));
    weir_world_stop(act.process);
}

static void act_after(struct weir_world *world, uint64_t delay_ns, struct act act)
{
    struct act *copy = malloc(sizeof *copy);
    cr_assert_not_null(copy);
    *copy = act;
    weir_fake_after(weir_world_cluster(world), delay_ns, on_act, free, copy);
}

/* Close process 0 at a time that the seed chooses, while process 1 goes on. */
static void close_at_some_time(uint64_t seed, unsigned what, uint64_t within_ns, uint64_t close_ns_max)
{
    struct weir_world *world = weir_world_create(&(struct weir_world_settings){.seed = seed,
                                                                               .messages = 150,
                                                                               .chances = mixed,
                                                                               .faults = rough,
                                                                               .later_ns_max = 2 * SECOND,
                                                                               .driver = &weir_world_consumer});
    struct weir_random random;
    weir_random_init(&random, seed);
    struct weir_world_process *process = weir_world_start(world);
    act_after(world, weir_random_below(&random, within_ns), (struct act){process, what});
    weir_world_run(world, weir_random_below(&random, within_ns));
    weir_world_start(world);
    bool finished = weir_world_run_until_finished(world, 900 * SECOND);
    bool closed = weir_world_close(world, close_ns_max);
    struct weir_world_verdict verdict = weir_world_verdict(world);
    cr_assert(verdict.ok, "seed %llu: %s", (unsigned long long)seed, verdict.text);
    cr_assert(finished, "seed %llu: not finished after 900 s", (unsigned long long)seed);
    cr_assert(closed, "seed %llu: not closed in time", (unsigned long long)seed);
    weir_world_destroy(world);
}

Test(closing, comes_at_any_time_and_ends)
{
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    for (uint64_t seed = 1; seed <= weir_test_scaled(150); seed++)
        close_at_some_time(seed, 0, seed % 2 ? SECOND / 5 : 5 * SECOND, 60 * SECOND);
}

Test(closing, follows_a_fatal_error_of_the_client_at_any_time)
{
    weir_log_set(NULL, NULL, 0);
    for (uint64_t seed = 1; seed <= weir_test_scaled(150); seed++)
        close_at_some_time(seed, 1, seed % 2 ? SECOND / 5 : 5 * SECOND, 60 * SECOND);
}

static enum weir_outcome ack(struct weir_message *message, void *user)
{
    (void)message;
    (void)user;
    return WEIR_ACK;
}

/* An ASSIGN that comes when the group is being left already, which is a matter of microseconds: leaving is done by hand
 * here, as control does it. Nothing is read any more then. */
Test(closing, does_not_wait_for_positions_of_an_assignment_that_came_too_late)
{
    static const struct weir_own own = {ack, NULL};
    struct weir_world *world = weir_world_create(
        &(struct weir_world_settings){.seed = 1, .messages = 10, .driver = &weir_own_driver, .driver_data = &own});
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    struct weir_world_process *process = weir_world_start(world);
    struct weir_control *control = &weir_own_consumer()->control;
    while (control->phase != WEIR_PHASE_ASSIGN)
        cr_assert(weir_simulation_step(weir_world_simulation(world)));
    weir_fake_coordinator_down(weir_world_cluster(world), 60 * SECOND);
    cr_assert_eq(weir_own_consumer()->kafka->ops->close(weir_own_consumer()->kafka, 1000), 0);
    weir_world_stop(process);
    control->closing = WEIR_CLOSING_LEAVE;
    uint64_t begun_ns = weir_simulation_now_ns(weir_world_simulation(world));
    while (control->phase == WEIR_PHASE_ASSIGN)
        cr_assert(weir_simulation_step(weir_world_simulation(world)));
    uint64_t took_ns = weir_simulation_now_ns(weir_world_simulation(world)) - begun_ns;
    cr_assert_lt(took_ns, SECOND, "answered after %llu ms", (unsigned long long)(took_ns / 1000000));
    cr_assert(weir_world_close(world, 100 * SECOND));
    weir_world_destroy(world);
}

static struct weir_later straggler;

static enum weir_outcome give_out_first(struct weir_message *message, void *user)
{
    uint64_t run;
    weir_own_begin(message, user, &run);
    bool first = straggler.message == NULL;
    weir_world_end(user, run, first ? WEIR_RETRY : WEIR_ACK);
    if (!first)
        return WEIR_ACK;
    straggler = weir_message_later(message);
    return WEIR_LATER;
}

static void run_until_held(struct weir_world *world, struct weir_world_process *process)
{
    for (unsigned s = 0; s < 120 && !weir_fake_client_holds(weir_world_kafka(process), "orders", 0); s++)
        weir_world_run(world, SECOND);
    cr_assert(weir_fake_client_holds(weir_world_kafka(process), "orders", 0));
    weir_world_run(world, 10 * SECOND);
}

/* The partition is lost while a handle is out, another process finishes its message, and the partition comes back. */
Test(closing, does_not_wait_for_handles_of_an_older_epoch)
{
    static const char *const options[] = {"weir.close.drain.ms.max", "30000", NULL};
    static const struct weir_own own = {give_out_first, options};
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    straggler.message = NULL;
    struct weir_world *world = weir_world_create(&(struct weir_world_settings){
        .seed = 1, .partitions = 1, .messages = 20, .driver = &weir_own_driver, .driver_data = &own});
    struct weir_world_process *holder = weir_world_start(world);
    struct weir_consumer *consumer = weir_own_consumer();
    run_until_held(world, holder);
    struct weir_world_process *other = weir_world_start(world);
    weir_world_run(world, 10 * SECOND);
    weir_fake_client_partition(weir_world_kafka(holder), 60 * SECOND);
    run_until_held(world, other);
    cr_assert(weir_world_run_until_finished(world, 60 * SECOND));
    weir_world_stop(other);
    run_until_held(world, holder);
    cr_assert_eq(straggler.message->partition->stragglers, 1);
    weir_world_stop(holder);
    uint64_t begun_ns = weir_simulation_now_ns(weir_world_simulation(world));
    while (!weir_consumer_is_closed(consumer) &&
           weir_simulation_now_ns(weir_world_simulation(world)) < begun_ns + 40 * SECOND)
        weir_simulation_step(weir_world_simulation(world));
    uint64_t took_ns = weir_simulation_now_ns(weir_world_simulation(world)) - begun_ns;
    cr_assert_lt(took_ns, 2 * SECOND, "closed after %llu ms", (unsigned long long)(took_ns / 1000000));
    cr_assert_eq(weir_later_finish(straggler, WEIR_ACK), WEIR_STALE);
    cr_assert(weir_world_close(world, 60 * SECOND));
    struct weir_world_verdict verdict = weir_world_verdict(world);
    cr_assert(verdict.ok, "%s", verdict.text);
    weir_world_destroy(world);
}

static unsigned first_runs; /* of the first message */

static enum weir_outcome fail_first(struct weir_message *message, void *user)
{
    uint64_t run;
    enum weir_outcome outcome = WEIR_ACK;
    weir_own_begin(message, user, &run);
    if (weir_message_offset(message) == 0 && first_runs++ == 0)
        outcome = weir_retry_after(message, 500, "it fails at first");
    weir_world_end(user, run, outcome);
    return outcome;
}

/* A message is held when all others are finished, and its time comes while the last commit is under way. Its run would
 * be waited for by nobody: the next owner might start it beside. */
Test(closing, starts_nothing_that_was_held_when_all_else_is_finished)
{
    static const struct weir_own own = {fail_first, NULL};
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    first_runs = 0;
    struct weir_world *world = weir_world_create(&(struct weir_world_settings){
        .seed = 1, .partitions = 1, .messages = 20, .driver = &weir_own_driver, .driver_data = &own});
    struct weir_world_process *process = weir_world_start(world);
    struct weir_consumer *consumer = weir_own_consumer();
    while (first_runs == 0)
        cr_assert(weir_simulation_step(weir_world_simulation(world)));
    weir_world_run(world, SECOND / 20);
    weir_fake_coordinator_down(weir_world_cluster(world), 2 * SECOND);
    weir_world_stop(process);
    uint64_t begun_ns = weir_simulation_now_ns(weir_world_simulation(world));
    while (!weir_consumer_is_closed(consumer) &&
           weir_simulation_now_ns(weir_world_simulation(world)) < begun_ns + 40 * SECOND)
        weir_simulation_step(weir_world_simulation(world));
    uint64_t took_ns = weir_simulation_now_ns(weir_world_simulation(world)) - begun_ns;
    cr_assert_gt(took_ns, SECOND, "nothing was at stake: closed after %llu ms",
                 (unsigned long long)(took_ns / 1000000));
    cr_assert_eq(first_runs, 1u, "it ran %u times", first_runs);
    weir_world_start(world);
    cr_assert(weir_world_run_until_finished(world, 60 * SECOND));
    cr_assert(weir_world_close(world, 60 * SECOND));
    cr_assert_eq(first_runs, 2u);
    struct weir_world_verdict verdict = weir_world_verdict(world);
    cr_assert(verdict.ok, "%s", verdict.text);
    weir_world_destroy(world);
}

/* ---- sleeping ---- */

struct nap {
    struct weir_world *world;
    struct weir_world_process *process;
    uint64_t duration_ns;
    bool only_control;
};

static void on_nap(void *argument)
{
    struct nap nap = *(struct nap *)argument;
    free(argument);
    struct weir_system *system = weir_world_system(nap.process);
    for (unsigned index = 0; index < (nap.only_control ? 1 : weir_system_worker_count(system)); index++)
        weir_simulation_stall(weir_world_simulation(nap.world), weir_system_worker(system, index), nap.duration_ns);
}

Test(sleeping, of_a_process_at_any_time_lets_handlers_start_again)
{
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    for (uint64_t seed = 1; seed <= weir_test_scaled(200); seed++) {
        struct weir_world *world = weir_world_create(&(struct weir_world_settings){
            .seed = seed, .messages = 150, .chances = mixed, .faults = rough, .driver = &weir_world_consumer});
        struct weir_random random;
        weir_random_init(&random, seed);
        if (seed % 2) { /* or else there is nothing committed yet */
            struct weir_world_process *first = weir_world_start(world);
            weir_world_run(world, 4 * SECOND);
            weir_world_stop(first);
            weir_world_run(world, 4 * SECOND);
        }
        struct nap *nap = malloc(sizeof *nap);
        cr_assert_not_null(nap);
        *nap = (struct nap){world, weir_world_start(world), 4 * SECOND, seed % 3 == 0};
        weir_fake_after(weir_world_cluster(world), weir_random_below(&random, SECOND / 5), on_nap, free, nap);
        weir_world_produce_during(world, 20 * SECOND, 50);
        bool finished = weir_world_run_until_finished(world, 900 * SECOND);
        bool closed = weir_world_close(world, 60 * SECOND);
        struct weir_world_verdict verdict = weir_world_verdict(world);
        cr_assert(verdict.ok, "seed %llu: %s", (unsigned long long)seed, verdict.text);
        cr_assert(finished, "seed %llu: not finished after 900 s", (unsigned long long)seed);
        cr_assert(closed, "seed %llu: not closed in time", (unsigned long long)seed);
        weir_world_destroy(world);
    }
}

/* One worker stands still for a while, again and again, so that partition actors and runs are behind what control has
 * decided meanwhile. */
struct dozes {
    struct weir_world *world;
    struct weir_world_process *process;
    struct weir_random random;
    unsigned left;
};

static void on_doze(void *argument)
{
    struct dozes *dozes = argument;
    struct weir_system *system = weir_world_system(dozes->process);
    struct weir_worker *worker = weir_system_worker(system, 1 + (unsigned)weir_random_below(&dozes->random, 2));
    if (dozes->left-- == 0 || weir_world_is_gone(dozes->process))
        return;
    weir_simulation_stall(
        weir_world_simulation(dozes->world), worker,
        weir_random_below(&dozes->random, weir_random_below(&dozes->random, 2) ? SECOND : SECOND / 20));
    switch (weir_random_below(&dozes->random, 8)) {
    case 0:
        weir_fake_client_fence(weir_world_kafka(dozes->process));
        break;
    case 1:
        weir_fake_group_rebalance(weir_world_cluster(dozes->world), "group");
        break;
    default:
        break;
    }
    weir_fake_after(weir_world_cluster(dozes->world), weir_random_below(&dozes->random, SECOND / 2), on_doze, NULL,
                    dozes);
}

static void doze_through_rebalances(uint64_t seed, bool eager)
{
    struct weir_world *world = weir_world_create(&(struct weir_world_settings){.seed = seed,
                                                                               .chances = mixed,
                                                                               .faults = rough,
                                                                               .eager = eager,
                                                                               .later_ns_max = 3 * SECOND,
                                                                               .driver = &weir_world_consumer});
    struct dozes dozes = {.world = world, .process = weir_world_start(world), .left = 100};
    weir_random_init(&dozes.random, seed);
    on_doze(&dozes);
    weir_world_produce_during(world, 25 * SECOND, 250);
    weir_world_disturb(world, 25 * SECOND, 6, WEIR_WORLD_JOIN | WEIR_WORLD_GHOST);
    bool finished = weir_world_run_until_finished(world, 900 * SECOND);
    bool closed = weir_world_close(world, 60 * SECOND);
    struct weir_world_verdict verdict = weir_world_verdict(world);
    cr_assert(verdict.ok, "seed %llu: %s", (unsigned long long)seed, verdict.text);
    cr_assert(finished, "seed %llu: not finished after 900 s", (unsigned long long)seed);
    cr_assert(closed, "seed %llu: not closed in time", (unsigned long long)seed);
    weir_world_destroy(world);
}

Test(sleeping, of_single_workers_through_rebalances_loses_nothing)
{
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    for (uint64_t seed = 1; seed <= weir_test_scaled(120); seed++)
        doze_through_rebalances(seed, seed % 3 == 0);
}

/* ---- at most once ---- */

Test(at_most_once, loses_nothing_when_partitions_move_in_good_order)
{
    static const char *const options[] = {"weir.delivery", "at-most-once", NULL};
    struct weir_fake_settings slow = weir_fake_settings_default();
    slow.latency_ns_max = SECOND / 5; /* so that most events find a commit under way */
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    for (uint64_t seed = 1; seed <= weir_test_scaled(100); seed++) {
        struct weir_world *world =
            weir_world_create(&(struct weir_world_settings){.seed = seed,
                                                            .cluster = &slow,
                                                            .chances = {.later = seed % 2 ? 100 : 600},
                                                            .keys = seed % 2 ? 20 : 8,
                                                            .later_ns_max = seed % 2 ? SECOND / 20 : SECOND / 4,
                                                            .floor_unchecked = true,
                                                            .driver = &weir_world_consumer,
                                                            .driver_data = options});
        weir_world_start(world);
        weir_world_disturb(world, 20 * SECOND, 12, WEIR_WORLD_JOIN | WEIR_WORLD_REBALANCE | WEIR_WORLD_STOP);
        for (unsigned burst = 0; burst < 20; burst++) { /* between them all is done, but for the commit */
            weir_world_produce(world, 50);
            weir_world_run(world, SECOND);
        }
        bool finished = weir_world_run_until_finished(world, 300 * SECOND);
        bool closed = weir_world_close(world, 60 * SECOND);
        struct weir_world_verdict verdict = weir_world_verdict(world);
        const struct weir_world_tally *tally = weir_world_tally(world);
        cr_assert(verdict.ok, "seed %llu: %s", (unsigned long long)seed, verdict.text);
        cr_assert(finished, "seed %llu: %llu of %llu messages handled", (unsigned long long)seed,
                  (unsigned long long)tally->over, (unsigned long long)tally->produced);
        cr_assert_eq(tally->duplicates, 0);
        cr_assert(closed, "seed %llu: not closed in time", (unsigned long long)seed);
        weir_world_destroy(world);
    }
}

Test(at_most_once, loses_what_was_committed_when_a_process_dies_and_keeps_the_order_of_the_rest)
{
    static const char *const options[] = {"weir.delivery", "at-most-once", NULL};
    uint64_t lost = 0;
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    for (uint64_t seed = 1; seed <= weir_test_scaled(40); seed++) {
        struct weir_world *world = weir_world_create(&(struct weir_world_settings){.seed = seed,
                                                                                   .chances = {.later = 600},
                                                                                   .keys = 4,
                                                                                   .later_ns_max = SECOND,
                                                                                   .floor_unchecked = true,
                                                                                   .driver = &weir_world_consumer,
                                                                                   .driver_data = options});
        weir_world_start(world);
        weir_world_disturb(world, 20 * SECOND, 6, WEIR_WORLD_CRASH);
        weir_world_produce_during(world, 30 * SECOND, 300);
        weir_world_run(world, 120 * SECOND);
        cr_assert(weir_world_close(world, 60 * SECOND), "seed %llu: not closed in time", (unsigned long long)seed);
        struct weir_world_verdict verdict = weir_world_verdict(world);
        cr_assert(verdict.ok, "seed %llu: %s", (unsigned long long)seed, verdict.text);
        cr_assert_eq(weir_world_tally(world)->duplicates, 0);
        lost += weir_world_tally(world)->produced - weir_world_tally(world)->over;
        weir_world_destroy(world);
    }
    cr_assert_gt(lost, 0);
}
