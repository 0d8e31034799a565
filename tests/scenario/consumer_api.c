/*
 * The public API as a user has it, on real threads and librdkafka's mock cluster: outcomes, orders, handles from other
 * threads, closing, signals, pauses. What faults do is the simulator's and the broker suite's.
 *
 * Each test counts what its handler saw and fails when that is not everything.
 */
#include "tests/support/mock.h"
#include "tests/support/test.h"
#include "tests/support/wait.h"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <weir/weir.h>

#define MESSAGES_MAX 512

struct desk {
    struct weir_mock *mock;
    struct weir_config *config;
    struct weir_consumer *consumer;
    weir_handler *handler;
    _Atomic uint64_t runs, finished, running, running_most;
    _Atomic int last[MESSAGES_MAX]; /* by key number: last number handled */
    _Atomic uint64_t disorder;
    pthread_mutex_t lock;
    struct weir_later handles[MESSAGES_MAX];
    size_t handle_count;
};

static void set(struct desk *desk, const char *name, const char *value)
{
    struct weir_error error;
    cr_assert_eq(weir_config_set(desk->config, name, value, &error), 0, "%s", error.text);
}

static struct desk *desk_create(int partitions)
{
    struct desk *desk = calloc(1, sizeof *desk);
    cr_assert_not_null(desk);
    pthread_mutex_init(&desk->lock, NULL);
    for (int key = 0; key < MESSAGES_MAX; key++)
        atomic_init(&desk->last[key], -1);
    desk->mock = weir_mock_create(1);
    weir_mock_topic_create(desk->mock, "t", partitions);
    weir_mock_topic_create(desk->mock, "t.dlq", 1);
    desk->config = weir_config_create();
    set(desk, "bootstrap.servers", weir_mock_bootstrap(desk->mock));
    set(desk, "group.id", "g");
    set(desk, "auto.offset.reset", "earliest");
    set(desk, "session.timeout.ms", "6000");
    set(desk, "weir.topics", "t");
    set(desk, "weir.workers", "3");
    set(desk, "weir.retry.base.ms", "5");
    set(desk, "weir.commit.interval.ms", "50");
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    return desk;
}

static enum weir_outcome on_message(struct weir_message *message, void *user)
{
    struct desk *desk = user;
    uint64_t running = atomic_fetch_add(&desk->running, 1) + 1, most = atomic_load(&desk->running_most);
    while (running > most && !atomic_compare_exchange_weak(&desk->running_most, &most, running))
        continue;
    enum weir_outcome outcome = desk->handler(message, desk);
    atomic_fetch_sub(&desk->running, 1);
    atomic_fetch_add(&desk->runs, 1);
    if (outcome == WEIR_ACK || outcome == WEIR_SKIP)
        atomic_fetch_add(&desk->finished, 1);
    return outcome;
}

static void start(struct desk *desk, weir_handler *handler)
{
    struct weir_error error;
    desk->handler = handler;
    desk->consumer = weir_consumer_create(desk->config, on_message, desk, &error);
    cr_assert_not_null(desk->consumer, "%s", error.text);
    cr_assert_eq(weir_consumer_start(desk->consumer, &error), 0, "%s", error.text);
}

static void desk_destroy(struct desk *desk)
{
    weir_consumer_destroy(desk->consumer);
    weir_config_destroy(desk->config);
    weir_mock_destroy(desk->mock);
    pthread_mutex_destroy(&desk->lock);
    free(desk);
}

static void finish(struct desk *desk)
{
    struct weir_error error;
    cr_assert_eq(weir_consumer_close(desk->consumer, &error), 0, "%s", error.text);
    desk_destroy(desk);
}

static struct weir_stats stats_of(const struct desk *desk)
{
    struct weir_stats stats;
    weir_consumer_stats(desk->consumer, &stats, sizeof stats);
    return stats;
}

/* Poll a condition that another thread brings about. */
#define UNTIL(condition)                                      \
    do {                                                      \
        unsigned waited_ = 0;                                 \
        while (!(condition) && waited_++ < WEIR_TEST_WAIT_MS) \
            weir_test_sleep_us(1000);                         \
        cr_assert(condition, "waited too long");              \
    } while (0)

/* "value-<number>" and "key-<number>" of weir_mock_produce_many(). */
static int number_of(const void *data, size_t size)
{
    char text[32];
    snprintf(text, sizeof text, "%.*s", (int)size, (const char *)data);
    const char *dash = strchr(text, '-');
    return dash ? atoi(dash + 1) : -1;
}

static void note_order(struct desk *desk, struct weir_message *message, int lane)
{
    int number = number_of(weir_message_value(message), weir_message_value_size(message));
    if (atomic_exchange(&desk->last[lane], number) >= number)
        atomic_fetch_add(&desk->disorder, 1);
}

static enum weir_outcome by_key(struct weir_message *message, void *user)
{
    int key = number_of(weir_message_key(message), weir_message_key_size(message));
    if (key % 5 == 0 && weir_message_attempt(message) == 1)
        return weir_retry(message, "at first always");
    note_order(user, message, key);
    return WEIR_ACK;
}

Test(consumer_api, keeps_the_order_of_keys_across_retries_and_commits_to_the_end)
{
    struct desk *desk = desk_create(2);
    weir_mock_produce_many(desk->mock, "t", RD_KAFKA_PARTITION_UA, 0, 400, 20);
    start(desk, by_key);
    cr_assert(weir_test_reaches(&desk->finished, 400), "%llu finished", (unsigned long long)desk->finished);
    UNTIL(weir_mock_committed(desk->mock, "g", "t", 0, NULL, 0) +
              weir_mock_committed(desk->mock, "g", "t", 1, NULL, 0) ==
          400);
    cr_assert_eq(desk->disorder, 0);
    cr_assert_eq(desk->runs, 480); /* 4 of 20 keys fail once a message */
    struct weir_stats stats = stats_of(desk);
    cr_assert_eq(stats.counters.acked, 400);
    cr_assert_eq(stats.counters.retries, 80);
    cr_assert_eq(stats.in_flight, 0);
    finish(desk);
}

static enum weir_outcome one_lane(struct weir_message *message, void *user)
{
    note_order(user, message, 0);
    weir_test_sleep_us(200);
    return WEIR_ACK;
}

Test(consumer_api, runs_a_partition_as_one_lane_when_told_so)
{
    struct desk *desk = desk_create(1);
    set(desk, "weir.ordering", "partition");
    weir_mock_produce_many(desk->mock, "t", 0, 0, 200, 50);
    start(desk, one_lane);
    cr_assert(weir_test_reaches(&desk->finished, 200));
    cr_assert_eq(desk->disorder, 0);
    cr_assert_eq(desk->running_most, 1);
    finish(desk);
}

static enum weir_outcome takes_a_while(struct weir_message *message, void *user)
{
    (void)message;
    struct desk *desk = user;
    for (unsigned waited = 0; atomic_load(&desk->running_most) < 2 && waited < WEIR_TEST_WAIT_MS; waited++)
        weir_test_sleep_us(1000); /* until another runs beside this one */
    return WEIR_ACK;
}

Test(consumer_api, runs_messages_of_one_key_side_by_side_without_an_order)
{
    struct desk *desk = desk_create(1);
    set(desk, "weir.ordering", "none");
    weir_mock_produce_many(desk->mock, "t", 0, 0, 50, 1);
    start(desk, takes_a_while);
    cr_assert(weir_test_reaches(&desk->finished, 50));
    cr_assert_geq(desk->running_most, 2);
    finish(desk);
}

static void produce_null_keys(struct desk *desk, unsigned count)
{
    for (unsigned number = 0; number < count; number++) {
        char value[32];
        snprintf(value, sizeof value, "value-%u", number);
        weir_mock_produce(desk->mock, "t", 0, NULL, 0, value, strlen(value));
    }
}

Test(consumer_api, spreads_messages_without_a_key_by_default)
{
    struct desk *desk = desk_create(1);
    produce_null_keys(desk, 40);
    start(desk, takes_a_while);
    cr_assert(weir_test_reaches(&desk->finished, 40));
    cr_assert_geq(desk->running_most, 2);
    finish(desk);
}

Test(consumer_api, keeps_messages_without_a_key_in_one_lane_when_told_so)
{
    struct desk *desk = desk_create(1);
    set(desk, "weir.null.keys", "lane");
    produce_null_keys(desk, 60);
    start(desk, one_lane);
    cr_assert(weir_test_reaches(&desk->finished, 60));
    cr_assert_eq(desk->disorder, 0);
    cr_assert_eq(desk->running_most, 1);
    finish(desk);
}

static enum weir_outcome says_nonsense(struct weir_message *message, void *user)
{
    (void)user;
    switch (weir_message_offset(message) % 4) {
    case 0:
        return (enum weir_outcome)77;
    case 1:
        return WEIR_LATER; /* without the handle */
    case 2:
        return weir_dead(message, "said so");
    default:
        return WEIR_SKIP;
    }
}

Test(consumer_api, sends_what_answers_nonsense_to_the_dead_letter_queue)
{
    struct desk *desk = desk_create(1);
    set(desk, "weir.retry.attempts.max", "2");
    weir_mock_produce_many(desk->mock, "t", 0, 0, 40, 40);
    start(desk, says_nonsense);
    UNTIL(stats_of(desk).counters.dead_lettered == 30);
    UNTIL(weir_mock_committed(desk->mock, "g", "t", 0, NULL, 0) == 40);
    cr_assert_eq(stats_of(desk).counters.skipped, 10);
    cr_assert_eq(weir_mock_end_offset(desk->mock, "t.dlq", 0), 30);
    finish(desk);
}

static enum weir_outcome gives_out(struct weir_message *message, void *user)
{
    struct desk *desk = user;
    pthread_mutex_lock(&desk->lock);
    desk->handles[desk->handle_count++] = weir_message_later(message);
    pthread_mutex_unlock(&desk->lock);
    return WEIR_LATER;
}

static size_t handles_of(struct desk *desk)
{
    pthread_mutex_lock(&desk->lock);
    size_t count = desk->handle_count;
    pthread_mutex_unlock(&desk->lock);
    return count;
}

static void *answer_half(void *argument)
{
    struct desk *desk = argument;
    for (size_t index = 0; index < 100; index += 2)
        cr_assert_eq(weir_later_finish(desk->handles[index], WEIR_ACK), 0);
    return NULL;
}

Test(consumer_api, takes_answers_from_other_threads_and_each_handle_once)
{
    struct desk *desk = desk_create(1);
    weir_mock_produce_many(desk->mock, "t", 0, 0, 100, 100);
    start(desk, gives_out);
    UNTIL(handles_of(desk) == 100);
    cr_assert_eq(stats_of(desk).in_flight, 100);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, answer_half, desk), 0);
    for (size_t index = 1; index < 100; index += 2)
        cr_assert_eq(weir_later_finish(desk->handles[index], index % 4 == 1 ? WEIR_SKIP : WEIR_ACK), 0);
    pthread_join(thread, NULL);
    UNTIL(stats_of(desk).in_flight == 0);
    struct weir_stats stats = stats_of(desk);
    cr_assert_eq(stats.counters.acked, 75);
    cr_assert_eq(stats.counters.skipped, 25);
    cr_assert_eq(weir_later_finish(desk->handles[3], WEIR_ACK), WEIR_STALE);
    cr_assert_eq(weir_later_finish(desk->handles[3], WEIR_LATER), WEIR_INVALID);
    struct weir_later old = desk->handles[5];
    finish(desk);
    cr_assert_eq(weir_later_dead(old, "long gone"), WEIR_STALE); /* the consumer does not exist any more */
}

Test(consumer_api, names_what_it_could_not_finish_and_takes_late_answers_as_stale)
{
    struct desk *desk = desk_create(1);
    set(desk, "weir.close.drain.ms.max", "100");
    set(desk, "weir.revoke.drain.ms.max", "100");
    weir_mock_produce_many(desk->mock, "t", 0, 0, 10, 10);
    start(desk, gives_out);
    UNTIL(handles_of(desk) == 10);
    struct weir_later by_offset[10]; /* two workers have given them out in any order */
    for (size_t index = 0; index < 10; index++)
        by_offset[weir_message_offset(desk->handles[index].message)] = desk->handles[index];
    for (size_t offset = 0; offset < 7; offset++)
        cr_assert_eq(weir_later_finish(by_offset[offset], WEIR_ACK), 0);
    struct weir_error error;
    cr_assert_eq(weir_consumer_close(desk->consumer, &error), WEIR_UNFINISHED);
    cr_assert(strstr(error.text, "3 messages") != NULL, "%s", error.text);
    for (size_t offset = 7; offset < 10; offset++)
        cr_assert_eq(weir_later_finish(by_offset[offset], WEIR_ACK), WEIR_STALE);
    cr_assert_eq(weir_mock_committed(desk->mock, "g", "t", 0, NULL, 0), 7);
    desk_destroy(desk);
}

Test(consumer_api, gives_up_a_handle_past_its_deadline_and_goes_on_with_its_key)
{
    struct desk *desk = desk_create(1);
    set(desk, "weir.later.deadline.ms", "50");
    set(desk, "weir.later.policy", "abandon");
    weir_mock_produce_many(desk->mock, "t", 0, 0, 2, 1);
    start(desk, gives_out);
    UNTIL(stats_of(desk).counters.dead_lettered == 2); /* the second ran although nobody answered the first */
    cr_assert_eq(handles_of(desk), 2);
    for (size_t index = 0; index < 2; index++)
        cr_assert_eq(weir_later_finish(desk->handles[index], WEIR_ACK), WEIR_STALE);
    finish(desk);
}

static enum weir_outcome acks(struct weir_message *message, void *user)
{
    (void)message;
    (void)user;
    return WEIR_ACK;
}

Test(consumer_api, pulls_nothing_while_the_user_pauses_it)
{
    struct desk *desk = desk_create(1);
    start(desk, acks);
    weir_mock_produce_many(desk->mock, "t", 0, 0, 10, 10);
    cr_assert(weir_test_reaches(&desk->finished, 10));
    cr_assert_eq(weir_consumer_pause(desk->consumer, "t", 99), WEIR_INVALID);
    cr_assert_eq(weir_consumer_pause(desk->consumer, NULL, 0), 0);
    UNTIL(stats_of(desk).pause & WEIR_PAUSE_USER);
    weir_mock_produce_many(desk->mock, "t", 0, 10, 10, 10);
    weir_test_sleep_us(300000); /* time in which a broken pause would pull */
    cr_assert_eq(desk->finished, 10);
    cr_assert_eq(weir_consumer_resume(desk->consumer, NULL, 0), 0);
    cr_assert(weir_test_reaches(&desk->finished, 20));
    finish(desk);
}

static enum weir_outcome always_fails(struct weir_message *message, void *user)
{
    (void)user;
    return weir_retry_after(message, 60000, "not today");
}

Test(consumer_api, says_why_it_does_not_pull)
{
    struct desk *desk = desk_create(1);
    set(desk, "weir.window.messages.max", "8");
    set(desk, "weir.held.messages.max", "4");
    set(desk, "weir.held.policy", "wait");
    weir_mock_produce_many(desk->mock, "t", 0, 0, 50, 50);
    start(desk, always_fails);
    UNTIL(stats_of(desk).pause & WEIR_PAUSE_HELD);
    struct weir_partition_stats partition;
    cr_assert_eq(weir_consumer_partition_stats(desk->consumer, &partition, sizeof partition, 1), 1);
    cr_assert_geq(partition.held, 4);
    cr_assert_leq(partition.in_flight, 8);
    cr_assert_eq(partition.floor_offset, 0);
    struct weir_error error;
    cr_assert_eq(weir_consumer_close(desk->consumer, &error), WEIR_UNFINISHED);
    desk_destroy(desk);
}

Test(consumer_api, closes_on_a_signal)
{
    struct desk *desk = desk_create(1);
    struct weir_error error;
    desk->handler = acks;
    desk->consumer = weir_consumer_create(desk->config, on_message, desk, &error);
    cr_assert_not_null(desk->consumer, "%s", error.text);
    weir_consumer_stop_on_signals(desk->consumer);
    weir_mock_produce_many(desk->mock, "t", 0, 0, 10, 10);
    cr_assert_eq(weir_consumer_start(desk->consumer, &error), 0, "%s", error.text);
    cr_assert(weir_test_reaches(&desk->finished, 10));
    cr_assert_eq(raise(SIGTERM), 0);
    cr_assert_eq(weir_consumer_close(desk->consumer, &error), 0, "%s", error.text);
    cr_assert_eq(weir_mock_committed(desk->mock, "g", "t", 0, NULL, 0), 10);
    desk_destroy(desk);
}

static enum weir_outcome destroys(struct weir_message *message, void *user)
{
    (void)message;
    weir_consumer_destroy(((struct desk *)user)->consumer);
    return WEIR_ACK;
}

Test(consumer_api, is_not_destroyed_by_its_own_handler)
{
    struct desk *desk = desk_create(1);
    weir_mock_produce_many(desk->mock, "t", 0, 0, 3, 3);
    start(desk, destroys);
    cr_assert(weir_test_reaches(&desk->finished, 3));
    finish(desk);
}

Test(consumer_api, refuses_what_it_cannot_do)
{
    struct desk *desk = desk_create(1);
    struct weir_error error;
    cr_assert_null(weir_consumer_create(desk->config, NULL, NULL, &error));
    cr_assert_eq(error.code, WEIR_INVALID);
    struct weir_config *empty = weir_config_create();
    cr_assert_null(weir_consumer_create(empty, acks, NULL, &error));
    cr_assert_eq(error.code, WEIR_INVALID);
    weir_config_destroy(empty);
    desk->consumer = weir_consumer_create(desk->config, acks, NULL, &error);
    cr_assert_eq(weir_consumer_close(desk->consumer, &error), WEIR_STATE);
    cr_assert_eq(weir_consumer_pause(desk->consumer, NULL, 0), WEIR_STATE);
    cr_assert_eq(weir_consumer_start(desk->consumer, &error), 0, "%s", error.text);
    cr_assert_eq(weir_consumer_start(desk->consumer, &error), WEIR_STATE);
    finish(desk); /* before its first assignment */
}
