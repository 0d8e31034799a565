/*
 * What must neither be counted twice nor passed over: holes at the end of the log, the bound on held messages, attempts
 * of an overloaded handler, the price of a dead letter; that a gate, once open, is made use of; and which commit ends
 * the wait of a process that has slept. One process each.
 */
#include "actors/consumer.h"
#include "runtime/system.h"
#include "tests/sim/consumer_own.h"
#include "tests/support/test.h"
#include <weir/log.h>

#define SECOND WEIR_WORLD_SECOND

static struct weir_own own;
static enum weir_outcome answer;                /* of the first runs */
static unsigned answer_runs, retry_runs, asked; /* how many they are; how many then ask for a retry; runs so far */
static uint64_t delay_ms;                       /* 0: as the options have it */
static uint64_t awake_ns; /* the first run from then on notes how many commits had been carried out */
static uint64_t commits_before_run;

static uint64_t commits_of(struct weir_world *world)
{
    return weir_fake_counts(weir_world_cluster(world))->commits_applied;
}

static enum weir_outcome on_message(struct weir_message *message, void *user)
{
    uint64_t run;
    struct weir_world *world = weir_world_of(user);
    if (awake_ns > 0 && weir_simulation_now_ns(weir_world_simulation(world)) >= awake_ns) {
        awake_ns = 0;
        commits_before_run = commits_of(world);
    }
    weir_own_begin(message, user, &run);
    enum weir_outcome outcome = asked < answer_runs ? answer : asked < answer_runs + retry_runs ? WEIR_RETRY : WEIR_ACK;
    asked++;
    weir_world_end(user, run, outcome);
    return outcome == WEIR_RETRY && delay_ms > 0 ? weir_retry_after(message, delay_ms, "not now") : outcome;
}

static struct weir_world *make(const char *const *options, unsigned messages, enum weir_outcome outcome, unsigned runs)
{
    weir_log_set(NULL, NULL, 0);
    own = (struct weir_own){on_message, options};
    answer = outcome;
    answer_runs = runs;
    asked = retry_runs = 0;
    delay_ms = awake_ns = 0;
    return weir_world_create(&(struct weir_world_settings){.seed = 11,
                                                           .partitions = 1,
                                                           .null_keys = 1000,
                                                           .messages = messages,
                                                           .driver = &weir_own_driver,
                                                           .driver_data = &own});
}

Test(counts, what_comes_behind_a_hole_at_the_end_of_the_log_is_not_passed_over)
{
    struct weir_world *world = make(NULL, 10, WEIR_ACK, 0);
    weir_fake_append_hole(weir_world_cluster(world), "orders", 0, 3);
    weir_world_start(world);
    weir_world_run(world, 10 * SECOND);
    cr_assert_eq(weir_fake_committed(weir_world_cluster(world), "group", "orders", 0).offset, 13);
    for (unsigned count = 0; count < 3; count++)
        weir_world_append(world, "orders", 0, -1);
    cr_assert(weir_world_run_until_finished(world, 60 * SECOND));
    cr_assert_eq(weir_world_tally(world)->runs, 13);
    weir_own_close_world(world);
}

Test(counts, held_messages_close_the_intake_at_their_bound)
{
    static const char *const options[] = {"weir.held.messages.max",
                                          "5",
                                          "weir.held.policy",
                                          "wait",
                                          "weir.pull.messages.max",
                                          "1",
                                          "weir.window.messages.max",
                                          "200",
                                          NULL};
    struct weir_world *world = make(options, 200, WEIR_RETRY, 200);
    delay_ms = 3600 * 1000;
    weir_world_start(world);
    weir_world_run(world, 60 * SECOND);
    uint64_t runs = weir_world_tally(world)->runs; /* a few are on their way while the first come back */
    cr_assert_geq(runs, 5);
    cr_assert_lt(runs, 50, "%llu messages are held", (unsigned long long)runs);
    answer_runs = 0;
    cr_assert(weir_world_run_until_finished(world, 3 * 3600 * SECOND));
    weir_own_close_world(world);
}

Test(counts, an_overloaded_handler_costs_a_message_no_attempt)
{
    static const char *const options[] = {"weir.retry.attempts.max", "3", NULL};
    struct weir_world *world = make(options, 1, WEIR_OVERLOADED, 10);
    retry_runs = 2;
    weir_world_start(world);
    cr_assert(weir_world_run_until_finished(world, 3600 * SECOND));
    cr_assert_eq(weir_world_tally(world)->letters, 0, "its attempts were spent");
    cr_assert_eq(weir_world_tally(world)->runs, 10 + 2 + 1);
    weir_own_close_world(world);
}

Test(counts, a_dead_letter_is_paid_for_once_however_often_it_is_refused)
{
    static const char *const options[] = {"weir.dlq.budget.burst",
                                          "1",
                                          "weir.dlq.budget.percent",
                                          "0",
                                          "weir.dlq.budget.per.minute",
                                          "1",
                                          "weir.dlq.retry.ms",
                                          "1000",
                                          NULL};
    struct weir_world *world = make(options, 1, WEIR_DEAD, 1);
    struct weir_world_process *process = weir_world_start(world);
    weir_fake_fail(weir_world_kafka(process), WEIR_FAKE_PRODUCE, WEIR_KAFKA_RETRIABLE, 4, false);
    cr_assert(weir_world_run_until_finished(world, 30 * SECOND));
    cr_assert_eq(weir_world_tally(world)->letters, 1);
    weir_own_close_world(world);
}

/* A letter is on its way when its epoch ends, and is refused or not; the message dies again in the next epoch. Returns
 * the letters in the end. */
static int64_t letters_after_a_loss(bool is_refused)
{
    static const char *const options[] = {"weir.dlq.budget.burst",
                                          "1",
                                          "weir.dlq.budget.percent",
                                          "0",
                                          "weir.dlq.budget.per.minute",
                                          "1",
                                          "weir.dlq.retry.ms",
                                          "1000",
                                          NULL};
    struct weir_world *world = make(options, 1, WEIR_DEAD, 2);
    struct weir_simulation *simulation = weir_world_simulation(world);
    struct weir_world_process *process = weir_world_start(world);
    if (is_refused)
        weir_fake_fail(weir_world_kafka(process), WEIR_FAKE_PRODUCE, WEIR_KAFKA_RETRIABLE, 1, false);
    struct weir_partition *partition = NULL;
    while (!partition || partition->dlq_pending == 0) {
        cr_assert(weir_simulation_step(simulation));
        partition = weir_consumer_find(weir_own_consumer(), "orders", 0);
    }
    weir_simulation_stall(simulation, partition->resident.home, 5 * SECOND); /* it hears of the loss and the report */
    weir_fake_client_fence(weir_world_kafka(process));
    weir_world_run(world, 20 * SECOND);
    cr_assert_eq(weir_world_tally(world)->runs, 2);
    int64_t letters = weir_fake_log_end(weir_world_cluster(world), "orders.dlq", 0);
    weir_own_close_world(world);
    return letters;
}

Test(counts, the_place_of_a_dead_letter_that_an_old_epoch_was_refused_is_given_back)
{
    cr_assert_eq(letters_after_a_loss(true), 1);
    cr_assert_eq(letters_after_a_loss(false), 1, "what was sent stays paid");
}

/* ---- the gate ---- */

/* How long the partition stood open at most, with messages in the log and none pulled. */
static uint64_t longest_idle_ns(struct weir_world *world, uint64_t duration_ns)
{
    struct weir_simulation *simulation = weir_world_simulation(world);
    uint64_t end_ns = weir_simulation_now_ns(simulation) + duration_ns, since_ns = end_ns, longest_ns = 0;
    int64_t stands = -1;
    while (weir_simulation_now_ns(simulation) < end_ns) {
        weir_simulation_step(simulation);
        uint64_t now_ns = weir_simulation_now_ns(simulation);
        struct weir_partition *partition = weir_consumer_find(weir_own_consumer(), "orders", 0);
        bool waits = partition && partition->gate == WEIR_GATE_OPEN &&
                     partition->tracker.next < weir_fake_log_end(weir_world_cluster(world), "orders", 0);
        if (!waits || partition->tracker.next != stands)
            since_ns = now_ns;
        stands = waits ? partition->tracker.next : -1;
        if (now_ns - since_ns > longest_ns)
            longest_ns = now_ns - since_ns;
    }
    return longest_ns;
}

Test(gate, is_made_use_of_at_once_when_it_opens)
{
    struct weir_world *world = make(NULL, 50, WEIR_ACK, 0);
    weir_world_start(world);
    uint64_t rebalances = 0;
    for (unsigned round = 0; round < 20; round++) {
        weir_fake_group_rebalance(weir_world_cluster(world), "group");
        weir_world_produce_during(world, 3 * SECOND, 300);
        uint64_t idle_ns = longest_idle_ns(world, 4 * SECOND);
        cr_assert_lt(idle_ns, SECOND / 5, "round %u: %llu ms", round, (unsigned long long)(idle_ns / 1000000));
        rebalances = weir_fake_counts(weir_world_cluster(world))->rebalances;
    }
    cr_assert_geq(rebalances, 20);
    weir_own_close_world(world);
}

/* ---- the lease ---- */

/* A commit is carried out, and its answer on the way, when all workers fall asleep for longer than the lease. */
static void sleep_on_a_commit(struct weir_world *world, struct weir_world_process *process)
{
    uint64_t commits = commits_of(world);
    for (unsigned count = 0; count < 5; count++)
        weir_world_append(world, "orders", 0, -1);
    while (commits_of(world) == commits)
        cr_assert(weir_simulation_step(weir_world_simulation(world)));
    struct weir_system *system = weir_world_system(process);
    for (unsigned index = 0; index < weir_system_worker_count(system); index++)
        weir_simulation_stall(weir_world_simulation(world), weir_system_worker(system, index), 5 * SECOND);
    awake_ns = weir_simulation_now_ns(weir_world_simulation(world)) + 5 * SECOND;
}

Test(lease, comes_back_with_no_commit_of_before_the_sleep)
{
    struct weir_world *world = make(NULL, 0, WEIR_ACK, 0);
    struct weir_world_process *process = weir_world_start(world);
    weir_world_run(world, 5 * SECOND);
    for (unsigned round = 0; round < 20; round++) {
        sleep_on_a_commit(world, process);
        uint64_t commits = commits_of(world);
        for (unsigned count = 0; count < 20; count++)
            weir_world_append(world, "orders", 0, -1);
        weir_world_run(world, 15 * SECOND);
        cr_assert_eq(awake_ns, 0, "round %u: nothing ran after the sleep", round);
        cr_assert_gt(commits_before_run, commits, "round %u", round);
    }
    weir_own_close_world(world);
}

/* ---- the start ---- */

/* How long it takes from the assignment to an open gate. */
static uint64_t opening_ns(bool committed)
{
    struct weir_world *world = make(NULL, 1, WEIR_ACK, 0);
    struct weir_simulation *simulation = weir_world_simulation(world);
    if (committed)
        weir_fake_set_committed(weir_world_cluster(world), "group",
                                &(struct weir_kafka_offset){.topic = "orders", .offset = 0});
    weir_world_start(world);
    struct weir_partition *partition = NULL;
    while (!(partition = weir_consumer_find(weir_own_consumer(), "orders", 0)))
        cr_assert(weir_simulation_step(simulation));
    uint64_t begun_ns = weir_simulation_now_ns(simulation);
    while (partition->gate == WEIR_GATE_CLOSED)
        cr_assert(weir_simulation_step(simulation));
    uint64_t opened_ns = weir_simulation_now_ns(simulation);
    cr_assert(weir_world_run_until_finished(world, 60 * SECOND));
    weir_own_close_world(world);
    return opened_ns - begun_ns;
}

Test(start, takes_no_longer_than_its_requests)
{
    uint64_t with_ns = opening_ns(true), without_ns = opening_ns(false);
    cr_assert_lt(with_ns, SECOND / 10, "%llu ms", (unsigned long long)(with_ns / 1000000));
    cr_assert_lt(without_ns, SECOND / 5, "%llu ms without a commit", (unsigned long long)(without_ns / 1000000));
}

/* ---- what a pull reserves ---- */

/* Messages that its partition has kept room for, once `messages` of them are handled. */
static uint32_t reserved_after(unsigned messages)
{
    static const char *const options[] = {"weir.window.messages.max", "4096", NULL};
    struct weir_world *world = make(options, messages, WEIR_ACK, 0);
    weir_world_start(world);
    cr_assert(weir_world_run_until_finished(world, 60 * SECOND));
    weir_world_run(world, SECOND);
    struct weir_partition *partition = weir_consumer_find(weir_own_consumer(), "orders", 0);
    uint32_t reserved = partition->message_pool.total_count;
    cr_assert_eq(partition->message_pool.free_count, reserved, "something is still in flight");
    weir_own_close_world(world);
    return reserved;
}

/* Goal: of many partitions most have little to pull, and must not keep room for a whole pull each. */
Test(reserve, grows_with_what_pulls_bring)
{
    uint32_t little = reserved_after(3), much = reserved_after(3000);
    cr_assert_leq(little, 2 * WEIR_PULL_MIN, "room for %u", little);
    cr_assert_gt(much, little, "room for %u only", much);
}
