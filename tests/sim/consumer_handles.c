/*
 * Handlers that misuse WEIR_LATER, and runs that end in the middle of others: whatever a handler does with a handle,
 * each message is over once, in the order of its key, and nothing is lost.
 */
#include "actors/consumer.h"
#include "runtime/system.h"
#include "tests/sim/consumer_own.h"
#include "tests/support/test.h"
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <weir/consumer.h>
#include <weir/log.h>

#define SECOND WEIR_WORLD_SECOND

static const struct weir_fake_faults rough = {.slow = 50,
                                              .commit_applied_error = 30,
                                              .commit_lost = 30,
                                              .seek_error = 50,
                                              .redelivery = 50,
                                              .purge_ahead = 300,
                                              .short_pull = 200,
                                              .produce_error = 100,
                                              .produce_written_error = 50,
                                              .produce_queue_full = 100};

static void check(struct weir_world *world, struct weir_world_process *process, uint64_t seed)
{
    weir_own_check_finished(world, process, seed, weir_world_run_until_finished(world, 900 * SECOND));
}

/* ---- a run of which a message is answered before the run is over ---- */

static enum weir_outcome answer_every_third_inside(struct weir_message *message, void *user)
{
    uint64_t run;
    weir_own_begin(message, user, &run);
    weir_world_end(user, run, WEIR_ACK);
    if (weir_message_offset(message) % 3 != 2)
        return WEIR_ACK;
    struct weir_later later = weir_message_later(message);
    cr_assert_eq(weir_later_finish(later, WEIR_ACK), 0);
    cr_assert_eq(weir_later_finish(later, WEIR_ACK), WEIR_STALE);
    return WEIR_LATER;
}

Test(handles, may_be_answered_before_the_handler_returns_behind_other_messages_of_the_run)
{
    static const struct weir_own own = {answer_every_third_inside, NULL};
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    for (uint64_t seed = 1; seed <= weir_test_scaled(20); seed++) {
        struct weir_world *world = weir_world_create(&(struct weir_world_settings){
            .seed = seed, .partitions = 1, .keys = 2, .messages = 60, .driver = &weir_own_driver, .driver_data = &own});
        check(world, weir_world_start(world), seed);
        cr_assert_eq(weir_world_tally(world)->runs, 60);
        weir_world_destroy(world);
    }
}

/* ---- every misuse by chance ---- */

struct forgotten { /* a handle that is answered when its run is long over, one way or another */
    struct weir_later later;
    int64_t offset; /* its message is still the holder's to read; -1: not any more */
};

static void answer_forgotten(void *argument)
{
    struct forgotten *forgotten = argument;
    if (forgotten->offset >= 0) {
        char value[64] = "", expected[64];
        const struct weir_message *message = forgotten->later.message;
        snprintf(value, sizeof value, "%.*s", (int)weir_message_value_size(message),
                 (const char *)weir_message_value(message));
        snprintf(expected, sizeof expected, "orders/%d@%lld", (int)weir_message_partition(message),
                 (long long)forgotten->offset);
        cr_assert_str_eq(value, expected);
    }
    weir_later_retry(forgotten->later, "forgotten");
    weir_later_finish(forgotten->later, WEIR_ACK);
    free(argument);
}

static void forget_one(struct weir_world_process *process, struct weir_later later, uint64_t delay_ns, int64_t offset)
{
    struct forgotten *forgotten = malloc(sizeof *forgotten);
    cr_assert_not_null(forgotten);
    forgotten->later = later;
    forgotten->offset = offset;
    weir_fake_after(weir_world_cluster(weir_world_of(process)), delay_ns, answer_forgotten, free, forgotten);
}

static void forget(struct weir_world_process *process, struct weir_later later, uint64_t delay_ns)
{
    forget_one(process, later, delay_ns, -1);
}

static void answer_twice(void *handle, enum weir_outcome outcome)
{
    struct weir_later later = ((struct forgotten *)handle)->later;
    weir_later_finish(later, outcome);
    cr_assert_eq(weir_later_finish(later, WEIR_ACK), WEIR_STALE);
    cr_assert_eq(weir_later_finish(later, WEIR_LATER), WEIR_INVALID);
}

#define UNKNOWN_OUTCOME ((enum weir_outcome)77)

static enum weir_outcome misuse(struct weir_message *message, void *user)
{
    struct weir_world_process *process = user;
    uint64_t seed = weir_world_settings(weir_world_of(process))->seed, run;
    weir_own_begin(message, process, &run);
    struct weir_random random;
    weir_random_init(&random, seed << 32 ^ (uint64_t)weir_message_offset(message) << 8 ^
                                  (uint64_t)weir_message_partition(message) << 24 ^ run);
    struct forgotten handed;

    unsigned way = weir_message_attempt(message) > 4 ? 0 : (unsigned)weir_random_below(&random, 14);
    switch (way) {
    case 0: /* answered inside, and again from outside */
        handed.later = weir_message_later(message);
        forget(process, handed.later, 1 + weir_random_below(&random, SECOND));
        weir_world_end(process, run, WEIR_ACK);
        weir_later_finish(handed.later, WEIR_ACK);
        return WEIR_LATER;
    case 1:
        handed.later = weir_message_later(message);
        weir_world_end(process, run, WEIR_RETRY);
        weir_later_retry_after(handed.later, 20, "not now");
        return WEIR_LATER;
    case 2: /* taken, not used, and answered from outside */
        forget(process, weir_message_later(message), weir_random_below(&random, 2 * SECOND));
        weir_world_end(process, run, WEIR_ACK);
        return WEIR_ACK;
    case 3: /* taken, and what the handler returns has the last word */
        forget(process, weir_message_later(message), weir_random_below(&random, SECOND / 1000));
        weir_world_end(process, run, WEIR_RETRY);
        return weir_retry(message, "returned");
    case 4:
        weir_later_finish(weir_message_later(message), WEIR_ACK);
        weir_world_end(process, run, WEIR_OVERLOADED);
        return WEIR_OVERLOADED;
    case 5: /* no handle was taken */
        weir_world_end(process, run, WEIR_RETRY);
        return WEIR_LATER;
    case 6:
        weir_world_end(process, run, WEIR_RETRY);
        return UNKNOWN_OUTCOME;
    case 7:
        forget(process, weir_message_later(message), weir_random_below(&random, SECOND));
        weir_world_end(process, run, WEIR_RETRY);
        return UNKNOWN_OUTCOME;
    case 8: /* not answered before its deadline: given up, so that other runs of its key may begin beside it */
        forget_one(process, weir_message_later(message), 15 * SECOND + weir_random_below(&random, 15 * SECOND),
                   weir_message_offset(message));
        weir_world_end(process, run, WEIR_RETRY);
        return WEIR_LATER;
    case 9: /* a good one, finished twice */
        weir_message_later(message);
        handed.later = weir_message_later(message);
        weir_world_later(process, run, answer_twice, &handed, sizeof handed);
        return WEIR_LATER;
    default:
        weir_world_end(process, run, WEIR_ACK);
        return WEIR_ACK;
    }
}

static void misuse_under(const struct weir_own *own, const struct weir_fake_faults *faults, unsigned disturbances,
                         unsigned seeds)
{
    uint64_t letters = 0;
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    for (uint64_t seed = 1; seed <= weir_test_scaled(seeds); seed++) {
        struct weir_world *world =
            weir_world_create(&(struct weir_world_settings){.seed = seed,
                                                            .partitions = 2,
                                                            .keys = 4,
                                                            .messages = 120,
                                                            .later_ns_max = 4 * SECOND, /* below the deadline */
                                                            .faults = *faults,
                                                            .driver = &weir_own_driver,
                                                            .driver_data = own});
        struct weir_world_process *process = weir_world_start(world);
        if (disturbances > 0)
            weir_world_disturb(world, 90 * SECOND, disturbances,
                               WEIR_WORLD_FENCE | WEIR_WORLD_REBALANCE | WEIR_WORLD_JOIN | WEIR_WORLD_SEPARATE);
        check(world, process, seed);
        letters += weir_world_tally(world)->letters;
        weir_world_destroy(world);
    }
    cr_assert_gt(letters, 0);
}

static const char *const abandon[] = {"weir.later.deadline.ms", "5000", "weir.later.policy", "abandon", NULL};

Test(handles, misused_in_every_way_lose_nothing)
{
    static const struct weir_own own = {misuse, abandon};
    misuse_under(&own, &(struct weir_fake_faults){0}, 0, 40);
}

Test(handles, misused_in_every_way_lose_nothing_when_partitions_move)
{
    static const struct weir_own own = {misuse, abandon};
    misuse_under(&own, &rough, 12, 80);
}

/* ---- stragglers ---- */

static unsigned given_out;

/* The first run on another worker is given out, and makes the partition's own sleep until the partition has been lost:
 * it sees the end of the epoch before the run comes back, with messages behind that have not run. */
static enum weir_outcome give_out_one(struct weir_message *message, void *user)
{
    struct weir_world *world = weir_world_of(user);
    uint64_t run;
    weir_own_begin(message, user, &run);
    if (weir_worker_index() == 0 || weir_message_offset(message) < 4 || given_out > 0) {
        weir_world_end(user, run, WEIR_ACK);
        return WEIR_ACK;
    }
    given_out++;
    struct forgotten handed = {.later = weir_message_later(message)};
    weir_world_later(user, run, answer_twice, &handed, sizeof handed);
    weir_simulation_stall(weir_world_simulation(world), weir_system_worker(weir_world_system(user), 1), SECOND);
    weir_fake_client_fence(weir_world_kafka(user));
    return WEIR_LATER;
}

Test(handles, of_a_lost_partition_keep_their_key_from_starting_when_it_comes_back)
{
    static const struct weir_own own = {give_out_one, NULL};
    unsigned tested = 0;
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    for (uint64_t seed = 1; seed <= weir_test_scaled(40); seed++) {
        struct weir_world *world = weir_world_create(&(struct weir_world_settings){.seed = seed,
                                                                                   .partitions = 1,
                                                                                   .keys = 2,
                                                                                   .messages = 20,
                                                                                   .later_ns_max = 40 * SECOND,
                                                                                   .driver = &weir_own_driver,
                                                                                   .driver_data = &own});
        given_out = 0;
        check(world, weir_world_start(world), seed);
        tested += given_out > 0;
        weir_world_destroy(world);
    }
    cr_assert_gt(tested, 0);
}

static unsigned reported;

static void count_reports(void *user, enum weir_log_level level, const char *text, const struct weir_log_field *fields,
                          size_t field_count)
{
    (void)user;
    (void)level;
    (void)fields;
    (void)field_count;
    reported += strncmp(text, "given out by WEIR_LATER", 23) == 0;
}

Test(handles, of_a_lost_partition_are_reported_when_they_have_been_out_for_too_long_and_not_before)
{
    static const char *const options[] = {"weir.handler.warn.ms", "20000", NULL};
    static const struct weir_own own = {give_out_one, options};
    unsigned tested = 0;
    for (uint64_t seed = 1; seed <= weir_test_scaled(20); seed++) {
        weir_log_set(count_reports, NULL, WEIR_LOG_WARN);
        struct weir_world *world = weir_world_create(&(struct weir_world_settings){.seed = seed,
                                                                                   .partitions = 1,
                                                                                   .keys = 2,
                                                                                   .later_ns_max = 3600 * SECOND,
                                                                                   .driver = &weir_own_driver,
                                                                                   .driver_data = &own});
        given_out = reported = 0;
        weir_world_start(world);
        weir_world_run(world, 30 * SECOND); /* so that the clock stands above the limit */
        weir_world_produce(world, 20);
        for (unsigned tenth = 0; tenth < 300 && given_out == 0; tenth++)
            weir_world_run(world, SECOND / 10);
        weir_world_run(world, 15 * SECOND);
        const struct weir_partition *partition = weir_consumer_find(weir_own_consumer(), "orders", 0);
        if (given_out > 0 && partition->stragglers == 1 && partition->later.count == 1) {
            cr_assert_eq(reported, 0);
            weir_world_run(world, 15 * SECOND);
            tested += reported > 0;
        }
        weir_world_destroy(world);
    }
    cr_assert_gt(tested, 0);
}

static void answer_once(void *handle, enum weir_outcome outcome)
{
    cr_assert_eq(weir_later_finish(((struct forgotten *)handle)->later, outcome), 0);
}

static enum weir_outcome give_out_each(struct weir_message *message, void *user)
{
    uint64_t run;
    weir_own_begin(message, user, &run);
    struct forgotten handed = {.later = weir_message_later(message)};
    weir_world_later(user, run, answer_once, &handed, sizeof handed);
    given_out++;
    return WEIR_LATER;
}

/* Each is looked for while it is out, many within the millisecond in which they were given out. */
Test(handles, that_are_out_for_less_than_a_millisecond_are_not_taken_for_forgotten)
{
    static const char *const options[] = {"weir.handler.warn.ms", "1000", NULL};
    static const struct weir_own owns[] = {{give_out_each, options}, {give_out_each, abandon}};
    unsigned messages = weir_test_scaled(20000);
    for (size_t index = 0; index < WEIR_COUNT(owns); index++) {
        weir_log_set(count_reports, NULL, WEIR_LOG_WARN);
        struct weir_world *world = weir_world_create(&(struct weir_world_settings){.seed = index + 1,
                                                                                   .partitions = 8,
                                                                                   .keys = 64,
                                                                                   .later_ns_max = SECOND / 1000,
                                                                                   .driver = &weir_own_driver,
                                                                                   .driver_data = &owns[index]});
        given_out = reported = 0;
        weir_world_start(world);
        weir_world_produce_during(world, messages * SECOND / 2000, messages);
        cr_assert(weir_world_run_until_finished(world, 60 * SECOND));
        cr_assert_eq(given_out, messages, "%u were given out", given_out);
        cr_assert_eq(reported, 0u, "%u were taken for forgotten", reported);
        cr_assert_eq(weir_own_stats().counters.dead_lettered, 0u);
        weir_own_close_world(world);
    }
}

/* ---- other threads ---- */

#define THREADS 2
#define RING    64

/* Handles that were given out, and may have been answered long ago: threads answer them again and again. */
static struct {
    _Atomic(struct weir_message *) message;
    _Atomic uint64_t generation;
} ring[RING];
static _Atomic bool over;
static _Atomic uint64_t answered_ok, answered_stale;
static _Atomic uint64_t calls[THREADS]; /* of each thread: begun and ended, so it is odd while one is under way */

static void *answer_all(void *argument)
{
    _Atomic uint64_t *call = argument;
    for (unsigned index = 0; !over; index = (index + 1) % RING) {
        uint64_t generation = ring[index].generation;
        struct weir_later later = {ring[index].message, generation};
        if (!later.message || ring[index].generation != generation)
            continue;
        (*call)++;
        int result = weir_later_retry_after(later, 1, "answered by another thread");
        if (result == 0)
            answered_ok++;
        else
            answered_stale++;
        (*call)++;
    }
    return NULL;
}

/* The answers are not on virtual time: a thread may lose its processor between taking the right to answer and sending
 * the mail, and 900 s pass meanwhile. That is no answer lost. So wait until each call that is under way has returned.
 */
static void wait_for_calls(void)
{
    for (unsigned index = 0; index < THREADS; index++)
        for (uint64_t call = calls[index]; call % 2 == 1 && calls[index] == call;)
            usleep(100);
}

/* Every answer that was accepted has had its effect within 900 s of its return, whatever real time that takes. So as
 * long as the world is not finished, threads must have answered something since it was last looked at; they can only
 * answer so much. */
static bool finishes(struct weir_world *world)
{
    uint64_t seen = UINT64_MAX;
    while (!weir_world_run_until_finished(world, 900 * SECOND)) {
        wait_for_calls();
        uint64_t accepted = answered_ok;
        if (accepted == seen)
            return false;
        seen = accepted;
    }
    return true;
}

static enum weir_outcome show_to_threads(struct weir_message *message, void *user)
{
    static unsigned next;
    uint64_t run;
    weir_own_begin(message, user, &run);
    if (weir_message_attempt(message) > 3) {
        weir_world_end(user, run, WEIR_ACK);
        return WEIR_ACK;
    }
    weir_world_end(user, run, WEIR_RETRY);
    unsigned index = next++ % RING;
    ring[index].message = NULL;
    struct weir_later later = weir_message_later(message);
    ring[index].generation = later.generation;
    ring[index].message = later.message;
    forget(user, later, SECOND);
    switch (weir_message_offset(message) % 3) {
    case 0:
        return UNKNOWN_OUTCOME;
    case 1:
        return WEIR_LATER;
    default:
        return weir_retry_after(message, 1, "returned, and answered meanwhile perhaps");
    }
}

Test(handles, are_answered_by_several_threads_at_once_in_the_end_of_a_consumer_too)
{
    static const struct weir_own own = {show_to_threads, NULL};
    pthread_t threads[THREADS];
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    for (unsigned index = 0; index < THREADS; index++)
        cr_assert_eq(pthread_create(&threads[index], NULL, answer_all, &calls[index]), 0);
    for (uint64_t seed = 1; seed <= weir_test_scaled(20); seed++) {
        struct weir_world *world = weir_world_create(&(struct weir_world_settings){.seed = seed,
                                                                                   .partitions = 3,
                                                                                   .keys = 30,
                                                                                   .messages = 200,
                                                                                   .driver = &weir_own_driver,
                                                                                   .driver_data = &own});
        struct weir_world_process *process = weir_world_start(world);
        weir_own_check_finished(world, process, seed, finishes(world));
        weir_world_destroy(world);
    }
    over = true;
    for (unsigned index = 0; index < THREADS; index++)
        pthread_join(threads[index], NULL);
    cr_assert_gt(answered_ok + answered_stale, 0);
}
