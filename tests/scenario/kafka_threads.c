/* The real door to Kafka used as Weir uses it: workers pull and free while control rebalances, seeks and restarts. */
#include "tests/support/kafka_driver.h"
#include "tests/support/mock.h"
#include "tests/support/test.h"
#include <pthread.h>
#include <stdio.h>
#include <time.h>

static const char TOPIC[] = "orders";

/* A worker that pulls one partition's queue until told to stop, and checks that offsets come one after the other. */
struct worker {
    struct weir_driver *driver;
    struct weir_driver_partition *partition;
    pthread_t thread;
    _Atomic bool stop;
    _Atomic int64_t next;
    bool broken; /* read after the thread has ended */
    int64_t seen, wanted;
};

static void check(struct worker *worker, const struct weir_record *record)
{
    int64_t next = atomic_load(&worker->next);
    if (record->kind != WEIR_RECORD_MESSAGE || worker->broken)
        return;
    if (record->offset != next) {
        worker->broken = true;
        worker->seen = record->offset;
        worker->wanted = next;
        return;
    }
    atomic_store(&worker->next, next + 1);
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct weir_kafka *kafka = worker->driver->kafka;
    struct weir_record records[64];
    while (!atomic_load(&worker->stop)) {
        unsigned count = kafka->ops->pull(worker->partition->queue, records, 64);
        for (unsigned index = 0; index < count; index++) {
            check(worker, &records[index]);
            kafka->ops->record_free(kafka, records[index].native);
        }
        struct timespec pause = {0, 200000};
        if (count == 0)
            nanosleep(&pause, NULL);
    }
    return NULL;
}

static void start_worker(struct worker *worker, struct weir_driver *driver, int32_t partition)
{
    *worker = (struct worker){.driver = driver, .partition = weir_driver_partition(driver, TOPIC, partition)};
    cr_assert_not_null(worker->partition, "not assigned");
    cr_assert_eq(pthread_create(&worker->thread, NULL, work, worker), 0);
}

static void stop_worker(struct worker *worker)
{
    atomic_store(&worker->stop, true);
    pthread_join(worker->thread, NULL);
    cr_assert_not(worker->broken, "offset %lld came instead of %lld", (long long)worker->seen,
                  (long long)worker->wanted);
}

static void seek(struct weir_driver *driver, int32_t partition, int64_t position, uint64_t tag)
{
    struct weir_kafka_offset offset = {.topic = TOPIC, .partition = partition, .offset = position};
    cr_assert_eq(driver->kafka->ops->seek(driver->kafka, &offset, 1, tag), 0);
    struct weir_driver_event *sought = weir_driver_await_tag(driver, WEIR_KAFKA_SOUGHT, tag);
    cr_assert_eq(sought->offsets[0].error, WEIR_KAFKA_NONE, "%s", weir_kafka_error_name(sought->offsets[0].error));
}

static bool has_error(const struct weir_driver *driver)
{
    for (const struct weir_driver_record *record = driver->records; record; record = record->next)
        if (record->record.kind == WEIR_RECORD_ERROR)
            return true;
    return false;
}

/* Goal: restarting one partition loses and repeats nothing of another one that is pulled all the time.
 * Method: partition 0 is sent out of range and sought back, three times; a worker pulls partition 1, which is written
 * to meanwhile. In an eager group each of these restarts every partition. */
static void check_restarts(const char *strategy)
{
    struct weir_mock *mock = weir_mock_create(1);
    weir_mock_topic_create(mock, TOPIC, 2);
    weir_mock_produce_many(mock, TOPIC, 0, 0, 10, 3);
    weir_mock_produce_many(mock, TOPIC, 1, 0, 2000, 3);
    struct weir_driver *driver = weir_driver_make(
        weir_mock_bootstrap(mock), "g", TOPIC,
        (const char *[]){"partition.assignment.strategy", strategy, "fetch.error.backoff.ms", "50", NULL});
    driver->start = -1; /* the driver pulls nothing by itself */
    weir_driver_start(driver);
    WEIR_DRIVER_UNTIL(driver, weir_driver_owned(driver) == 2);
    seek(driver, 1, 0, 1);
    struct worker worker;
    start_worker(&worker, driver, 1);
    struct weir_driver_partition *first = weir_driver_partition(driver, TOPIC, 0);
    int64_t end = 2000;
    for (unsigned round = 1; round <= 3; round++) {
        seek(driver, 0, 1000, 10 * round);
        first->shut = false;
        WEIR_DRIVER_UNTIL(driver, has_error(driver));
        first->shut = true;
        weir_driver_forget_records(driver);
        weir_mock_produce_many(mock, TOPIC, 1, (unsigned)end, 1000, 3);
        end += 1000;
        seek(driver, 0, 4, 10 * round + 1);
        first->shut = false;
        WEIR_DRIVER_UNTIL(driver, driver->record_count == 6);
        cr_assert_eq(driver->records->record.offset, 4);
        first->shut = true;
        weir_driver_forget_records(driver);
    }
    WEIR_DRIVER_UNTIL(driver, atomic_load(&worker.next) == end);
    stop_worker(&worker);
    weir_driver_destroy(driver);
    weir_mock_destroy(mock);
}

Test(kafka_threads, a_restart_in_an_eager_group_disturbs_no_pull)
{
    check_restarts("roundrobin");
}

Test(kafka_threads, a_restart_in_a_cooperative_group_disturbs_no_pull)
{
    check_restarts("cooperative-sticky");
}

/* Goal: two workers pull a partition each while control commits, asks and seeks the third; nothing is lost or repeated.
 */
Test(kafka_threads, workers_pull_while_control_works)
{
    enum { MESSAGES = 5000 };
    struct weir_mock *mock = weir_mock_create(2);
    weir_mock_topic_create(mock, TOPIC, 3);
    for (int32_t partition = 0; partition < 3; partition++)
        weir_mock_produce_many(mock, TOPIC, partition, 0, MESSAGES, 3);
    struct weir_driver *driver = weir_driver_make(weir_mock_bootstrap(mock), "g", TOPIC, NULL);
    driver->start = -1;
    weir_driver_start(driver);
    WEIR_DRIVER_UNTIL(driver, weir_driver_owned(driver) == 3);
    seek(driver, 0, 0, 1);
    seek(driver, 1, 0, 2);
    struct worker workers[2];
    start_worker(&workers[0], driver, 0);
    start_worker(&workers[1], driver, 1);
    const struct weir_kafka_ops *ops = driver->kafka->ops;
    for (uint64_t round = 1; round <= 20; round++) {
        struct weir_kafka_offset offset = {
            .topic = TOPIC, .partition = 0, .offset = atomic_load(&workers[0].next), .leader_epoch = -1};
        cr_assert_eq(ops->commit(driver->kafka, &offset, 1, round), 0);
        cr_assert_eq(ops->fetch_watermarks(driver->kafka, &offset, 1, round), 0);
        seek(driver, 2, (int64_t)round, 100 + round);
        weir_driver_await_tag(driver, WEIR_KAFKA_COMMITTED, round);
        struct weir_driver_event *watermarks = weir_driver_await_tag(driver, WEIR_KAFKA_WATERMARKS, round);
        cr_assert_eq(watermarks->offsets[0].high_offset, MESSAGES);
    }
    WEIR_DRIVER_UNTIL(driver, atomic_load(&workers[0].next) == MESSAGES && atomic_load(&workers[1].next) == MESSAGES);
    stop_worker(&workers[0]);
    stop_worker(&workers[1]);
    weir_driver_destroy(driver);
    weir_mock_destroy(mock);
}
