/*
 * The life of a consumer on its real threads, without a broker: closed by several threads at once, destroyed without a
 * close, stopped before it has started, misused. It ends in any order of calls.
 */
#include "tests/support/test.h"
#include <pthread.h>
#include <signal.h>
#include <weir/consumer.h>
#include <weir/log.h>

#define CLOSERS 4

static enum weir_outcome ack(struct weir_message *message, void *user)
{
    (void)message;
    (void)user;
    return WEIR_ACK;
}

/* That no broker is there is said often. */
static void say_nothing(void *user, enum weir_log_level level, const char *text, const struct weir_log_field *fields,
                        size_t field_count)
{
    (void)user;
    (void)level;
    (void)text;
    (void)fields;
    (void)field_count;
}

static struct weir_consumer *make(void)
{
    static const char *const options[] = {"group.id",          "g",           "weir.topics",  "orders",
                                          "bootstrap.servers", "127.0.0.1:1", "weir.workers", "2"};
    struct weir_error error;
    struct weir_config *config = weir_config_create();
    cr_assert_not_null(config);
    for (size_t index = 0; index < sizeof options / sizeof *options; index += 2)
        cr_assert_eq(weir_config_set(config, options[index], options[index + 1], &error), 0);
    weir_log_set(say_nothing, NULL, WEIR_LOG_ERROR);
    struct weir_consumer *consumer = weir_consumer_create(config, ack, NULL, &error);
    weir_config_destroy(config);
    cr_assert_not_null(consumer, "%s", error.text);
    return consumer;
}

static void *run(void *consumer)
{
    struct weir_error error;
    return weir_consumer_run(consumer, &error) == 0 ? consumer : NULL;
}

static void *close_it(void *consumer)
{
    struct weir_error error;
    return weir_consumer_close(consumer, &error) == 0 ? consumer : NULL;
}

static void *look(void *consumer)
{
    struct weir_stats stats = {0};
    struct weir_partition_stats partitions[4];
    for (int round = 0; round < 1000; round++) {
        weir_consumer_stats(consumer, &stats, sizeof stats);
        weir_consumer_partition_stats(consumer, partitions, sizeof *partitions, 4);
        weir_consumer_pause(consumer, NULL, 0);
        weir_consumer_resume(consumer, NULL, 0);
    }
    return stats.size == sizeof stats ? consumer : NULL;
}

Test(consumer_life, ends_once_when_several_threads_close_what_another_one_runs)
{
    for (unsigned round = 0; round < weir_test_scaled(5); round++) {
        struct weir_consumer *consumer = make();
        struct weir_error error;
        pthread_t runner, watcher, closers[CLOSERS];
        void *result;
        cr_assert_eq(pthread_create(&runner, NULL, run, consumer), 0);
        while (weir_consumer_pause(consumer, NULL, 0) == WEIR_STATE)
            continue; /* not started yet */
        cr_assert_eq(pthread_create(&watcher, NULL, look, consumer), 0);
        for (unsigned index = 0; index < CLOSERS; index++)
            cr_assert_eq(pthread_create(&closers[index], NULL, close_it, consumer), 0);
        for (unsigned index = 0; index < CLOSERS; index++) {
            pthread_join(closers[index], &result);
            cr_assert_eq(result, consumer);
        }
        pthread_join(runner, &result);
        cr_assert_eq(result, consumer);
        pthread_join(watcher, &result);
        cr_assert_eq(result, consumer);
        cr_assert_eq(weir_consumer_close(consumer, &error), 0, "again, and nothing is left to do");
        weir_consumer_destroy(consumer);
    }
}

Test(consumer_life, ends_with_destroy_alone)
{
    struct weir_error error;
    struct weir_consumer *consumer = make();
    cr_assert_eq(weir_consumer_start(consumer, &error), 0);
    weir_consumer_destroy(consumer);
    weir_consumer_destroy(make());
    weir_consumer_destroy(NULL);
}

Test(consumer_life, ends_at_once_when_it_was_stopped_before_it_started)
{
    struct weir_error error;
    struct weir_consumer *consumer = make();
    weir_consumer_stop(consumer);
    weir_consumer_stop(consumer);
    weir_consumer_stop(consumer);
    cr_assert_eq(weir_consumer_close(consumer, &error), WEIR_STATE);
    cr_assert_eq(weir_consumer_run(consumer, &error), 0, "%s", error.text);
    cr_assert_eq(weir_consumer_start(consumer, &error), WEIR_STATE);
    cr_assert_eq(weir_consumer_pause(consumer, "orders", 7), WEIR_INVALID);
    weir_consumer_destroy(consumer);
}

static void *interrupt(void *nothing)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    while (action.sa_handler == SIG_DFL) /* not started yet */
        sigaction(SIGTERM, NULL, &action);
    raise(SIGTERM);
    return nothing;
}

/* The thread is not waited for before the consumer is gone: ThreadSanitizer says whether its handler was. */
Test(consumer_life, ends_by_a_signal_on_a_thread_of_the_program)
{
    struct weir_error error;
    struct weir_consumer *consumer = make();
    pthread_t thread;
    weir_consumer_stop_on_signals(consumer);
    cr_assert_eq(pthread_create(&thread, NULL, interrupt, NULL), 0);
    cr_assert_eq(weir_consumer_run(consumer, &error), 0, "%s", error.text);
    weir_consumer_destroy(consumer);
    pthread_join(thread, NULL);
}
