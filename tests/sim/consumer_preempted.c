/*
 * Workers that come in between anywhere: what one has made visible half done, and what it decides by what another may
 * change meanwhile. See tests/support/preempt.h.
 */
#include "actors/consumer.h"
#include "runtime/system.h"
#include "tests/sim/consumer_own.h"
#include "tests/support/preempt.h"
#include "tests/support/test.h"
#include <stdio.h>
#include <weir/log.h>

#define SECOND   WEIR_WORLD_SECOND
#define PERMILLE 20

static void finish(struct weir_world *world)
{
    uint64_t seed = weir_world_settings(world)->seed;
    bool finished = weir_world_run_until_finished(world, 900 * SECOND);
    bool closed = weir_world_close(world, 300 * SECOND);
    struct weir_world_verdict verdict = weir_world_verdict(world);
    cr_assert(verdict.ok, "seed %llu: %s", (unsigned long long)seed, verdict.text);
    cr_assert(finished, "seed %llu: not finished after 900 s", (unsigned long long)seed);
    cr_assert(closed, "seed %llu: not closed after 300 s", (unsigned long long)seed);
    cr_assert_gt(weir_preempt_count(), 0);
}

Test(preempted, runs_are_all_committed_when_a_partition_has_been_drained)
{
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    for (uint64_t seed = 1; seed <= weir_test_scaled(60); seed++) {
        struct weir_world *world = weir_world_create(&(struct weir_world_settings){.seed = seed,
                                                                                   .eager = seed % 3 == 0,
                                                                                   .preempt = PERMILLE,
                                                                                   .short_percent = seed % 2 ? 0 : 50,
                                                                                   .chances = {.later = 500},
                                                                                   .later_ns_max = SECOND,
                                                                                   .driver = &weir_world_consumer});
        weir_world_start(world);
        weir_world_start(world);
        weir_world_produce_during(world, 20 * SECOND, 400);
        weir_world_disturb(world, 20 * SECOND, 8, WEIR_WORLD_JOIN | WEIR_WORLD_STOP | WEIR_WORLD_REBALANCE);
        finish(world);
        cr_assert_eq(weir_world_tally(world)->duplicates, 0, "seed %llu", (unsigned long long)seed);
        weir_world_destroy(world);
    }
}

static enum weir_outcome acks(struct weir_message *message, void *user)
{
    uint64_t run;
    weir_own_begin(message, user, &run);
    weir_world_end(user, run, WEIR_ACK);
    return WEIR_ACK;
}

/* The process sleeps past its session. What it finds out then, and what it knew before, must not be put together: that
 * the partition was its own, and that there is no lease to look after any more. So while a worker that has woken
 * decides whether a handler may start, the others learn of the loss. */
static struct {
    struct weir_world *world;
    uint64_t awake_ns, losses;
    bool told;
} sleeper;

static void learn_of_the_loss(void *argument)
{
    const struct weir_consumer *consumer = argument;
    struct weir_simulation *simulation = weir_world_simulation(sleeper.world);
    if (sleeper.told || !weir_preempt_before_run() || weir_simulation_now_ns(simulation) < sleeper.awake_ns ||
        consumer->assigned_count == 0)
        return;
    unsigned steps = 0;
    while (steps < 500 && consumer->assigned_count > 0 && weir_simulation_interleave(simulation))
        steps++;
    for (steps = 0; steps < 20 && weir_simulation_interleave(simulation);)
        steps++;
    sleeper.told = consumer->assigned_count == 0;
    sleeper.losses += sleeper.told;
}

Test(preempted, processes_that_slept_start_nothing_that_they_have_lost)
{
    static const struct weir_own own = {acks, NULL};
    weir_log_set(NULL, NULL, 0);
    sleeper.losses = 0;
    /* Few seeds bring it about, and which ones depends on how the code was compiled: on, until one has. */
    for (uint64_t seed = 1; seed <= weir_test_scaled(2000) || (sleeper.losses == 0 && seed <= 2000); seed++) {
        struct weir_world *world = weir_world_create(&(struct weir_world_settings){.seed = seed,
                                                                                   .partitions = 1,
                                                                                   .keys = 50,
                                                                                   .messages = 200,
                                                                                   .short_percent = seed % 2 ? 0 : 50,
                                                                                   .driver = &weir_own_driver,
                                                                                   .driver_data = &own});
        struct weir_simulation *simulation = weir_world_simulation(world);
        struct weir_world_process *process = weir_world_start(world);
        sleeper.world = world;
        sleeper.told = false;
        sleeper.awake_ns = UINT64_MAX;
        weir_preempt_begin(simulation, PERMILLE, learn_of_the_loss, weir_own_consumer());
        while (weir_world_tally(world)->runs < 20 + seed % 150)
            weir_simulation_step(simulation);
        struct weir_system *system = weir_world_system(process);
        sleeper.awake_ns = weir_simulation_now_ns(simulation) + 12 * SECOND;
        for (unsigned index = 0; index < weir_system_worker_count(system); index++)
            weir_simulation_stall(simulation, weir_system_worker(system, index), 12 * SECOND);
        weir_fake_client_partition(weir_world_kafka(process), 12 * SECOND);
        finish(world);
        weir_world_destroy(world);
    }
    cr_assert_gt(sleeper.losses, 0);
}

static void finish_later(void *handle, enum weir_outcome outcome)
{
    weir_later_finish(*(struct weir_later *)handle, outcome);
}

static void lose_nothing(const char *const *options, unsigned seeds)
{
    weir_log_set(NULL, NULL, 0);
    for (uint64_t seed = 1; seed <= weir_test_scaled(seeds); seed++) {
        struct weir_world *world = weir_world_create(&(struct weir_world_settings){
            .seed = seed,
            .eager = seed % 3 == 0,
            .preempt = seed % 2 == 0 ? PERMILLE : 4 * PERMILLE,
            .short_percent = seed % 4 < 2 ? 0 : 50,
            .floor_unchecked = options != NULL,
            .chances = {.skip = 50, .retry = 80, .dead = 30, .overloaded = 30, .later = 200, .poison = 5},
            .faults = {.slow = 50,
                       .commit_applied_error = 30,
                       .commit_lost = 30,
                       .commit_race = 100,
                       .seek_error = 50,
                       .redelivery = 50,
                       .purge_ahead = 300,
                       .short_pull = 200,
                       .produce_error = 100,
                       .produce_queue_full = 100},
            .driver = &weir_world_consumer,
            .driver_data = options});
        weir_world_start(world);
        weir_world_start(world);
        weir_world_produce_during(world, 30 * SECOND, 300);
        weir_world_disturb(world, 30 * SECOND, 10, WEIR_WORLD_ALL);
        finish(world);
        weir_world_destroy(world);
    }
}

Test(preempted, workers_lose_nothing)
{
    lose_nothing(NULL, 100);
}

/* ---- a seed replays ---- */

static uint64_t hash_of(uint64_t seed, bool trace)
{
    struct weir_world *world = weir_world_create(&(struct weir_world_settings){.seed = seed,
                                                                               .preempt = 2 * PERMILLE,
                                                                               .trace = trace,
                                                                               .chances = {.retry = 80, .later = 200},
                                                                               .faults = {.slow = 50},
                                                                               .driver = &weir_world_consumer});
    weir_world_start(world);
    weir_world_start(world);
    weir_world_produce_during(world, 20 * SECOND, 100);
    weir_world_disturb(world, 20 * SECOND, 8, WEIR_WORLD_ALL);
    finish(world);
    uint64_t hash = weir_world_hash(world);
    weir_world_destroy(world);
    return hash;
}

Test(preempted, seeds_run_as_they_did_when_they_are_traced)
{
    FILE *errors = stderr, *nowhere = fopen("/dev/null", "w");
    cr_assert_not_null(nowhere);
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    for (uint64_t seed = 1; seed <= weir_test_scaled(20); seed++) {
        uint64_t hash = hash_of(seed, false);
        stderr = nowhere;
        uint64_t traced = hash_of(seed, true);
        stderr = errors;
        cr_assert_eq(hash, traced, "seed %llu", (unsigned long long)seed);
    }
    fclose(nowhere);
}

/* ---- the window ---- */

static uint64_t charged_max;

static enum weir_outcome give_out_for_long(struct weir_message *message, void *user)
{
    uint64_t run;
    weir_own_begin(message, user, &run);
    weir_world_later(user, run, finish_later, &(struct weir_later){message, weir_message_later(message).generation},
                     sizeof(struct weir_later));
    return WEIR_LATER;
}

/* Partitions come and go, and with them each one's share of the bytes. */
static void change_share(void *argument)
{
    struct weir_partition *partition = atomic_load(&weir_own_consumer()->partitions);
    (void)argument;
    if (!partition)
        return;
    uint32_t count = atomic_load(&weir_own_consumer()->assigned_count);
    atomic_store(&weir_own_consumer()->assigned_count, count == 1 ? 64 : 1);
    if (partition->charged_bytes > charged_max)
        charged_max = partition->charged_bytes;
}

Test(preempted, changes_of_the_share_let_no_more_be_pulled_than_the_larger_one)
{
    static const char *const options[] = {"weir.memory.bytes.max", "1048576", "weir.window.bytes.max", "140000", NULL};
    static const struct weir_own own = {give_out_for_long, options};
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    for (uint64_t seed = 1; seed <= weir_test_scaled(20); seed++) {
        struct weir_world *world = weir_world_create(&(struct weir_world_settings){.seed = seed,
                                                                                   .partitions = 1,
                                                                                   .null_keys = 1000,
                                                                                   .messages = 2000,
                                                                                   .later_ns_max = SECOND / 5,
                                                                                   .driver = &weir_own_driver,
                                                                                   .driver_data = &own});
        charged_max = 0;
        weir_preempt_begin(weir_world_simulation(world), 10 * PERMILLE, change_share, NULL);
        weir_world_start(world);
        finish(world);
        weir_world_destroy(world);
        cr_assert(charged_max > 100000 && charged_max < 140000 + 4096, "seed %llu: %llu bytes were charged",
                  (unsigned long long)seed, (unsigned long long)charged_max);
    }
}

/* ---- handles ---- */

#define GIVEN_OUT_MAX 64

static struct weir_later given_out[GIVEN_OUT_MAX];
static unsigned given_out_count;
static uint64_t answered;

static enum weir_outcome give_out_some(struct weir_message *message, void *user)
{
    uint64_t run;
    weir_own_begin(message, user, &run);
    bool gives_out = weir_message_offset(message) % 4 == 0 && weir_message_attempt(message) < 3;
    gives_out &= given_out_count < GIVEN_OUT_MAX / 2;
    weir_world_end(user, run, gives_out ? WEIR_RETRY : WEIR_ACK);
    if (!gives_out)
        return WEIR_ACK;
    struct weir_later later = weir_message_later(message);
    given_out[given_out_count++] = later; /* now: others may have come in between */
    return WEIR_LATER;
}

/* The holder of a handle that was taken from it answers at last, at whatever moment this is. */
static void answer_one(void *unused)
{
    static unsigned calls;
    bool whatever = ++calls % 64 == 0; /* also one that nobody has taken the handle from, nor will */
    (void)unused;
    for (unsigned index = 0; index < given_out_count; index++) {
        struct weir_later later = given_out[index];
        if (weir_message_later_state(later.message) == WEIR_LATER_ARMED && !whatever)
            continue;
        given_out[index] = given_out[--given_out_count];
        answered += weir_later_retry(later, "late") == WEIR_STALE;
        return;
    }
}

Test(preempted, holders_that_answer_late_lose_nothing)
{
    static const char *const options[] = {"weir.later.deadline.ms", "1000", "weir.later.policy", "abandon", NULL};
    static const struct weir_own own = {give_out_some, options};
    uint64_t letters = 0;
    weir_log_set(NULL, NULL, 0);
    answered = 0;
    for (uint64_t seed = 1; seed <= weir_test_scaled(60); seed++) {
        struct weir_world *world =
            weir_world_create(&(struct weir_world_settings){.seed = seed,
                                                            .partitions = 2,
                                                            .keys = 8,
                                                            .messages = 120,
                                                            .faults = {.produce_error = 300, .produce_queue_full = 100},
                                                            .driver = &weir_own_driver,
                                                            .driver_data = &own});
        given_out_count = 0;
        weir_preempt_begin(weir_world_simulation(world), 3 * PERMILLE, answer_one, NULL);
        weir_world_start(world);
        weir_world_disturb(world, 20 * SECOND, 6, WEIR_WORLD_FENCE | WEIR_WORLD_REBALANCE);
        bool finished = weir_world_run_until_finished(world, 900 * SECOND);
        while (given_out_count > 0) /* or their consumers could not be freed */
            weir_later_finish(given_out[--given_out_count], WEIR_ACK);
        cr_assert(finished, "seed %llu: not finished after 900 s", (unsigned long long)seed);
        finish(world);
        letters += weir_world_tally(world)->letters;
        weir_world_destroy(world);
    }
    cr_assert_gt(letters, 0);
    cr_assert_gt(answered, 0);
}
