/*
 * Goal: each allocation of a request, of its answer and of a rebalance may fail once at the real door to Kafka: either
 * the request is refused and nothing comes of it, or it is answered exactly once.
 * Method: a member on the mock cluster; the allocations of one request at a time are counted down.
 */
#include "actors/librdkafka/client.h"
#include "runtime/memory.h"
#include "tests/support/kafka_driver.h"
#include "tests/support/mock.h"
#include "tests/support/test.h"

static const char TOPIC[] = "orders";

enum { ROUNDS = 8 }; /* more than a request and its answer allocate */

static int commit(struct weir_kafka *kafka, const struct weir_kafka_offset *offset, uint64_t tag)
{
    return kafka->ops->commit(kafka, offset, 1, tag);
}

static int read_back(struct weir_kafka *kafka, const struct weir_kafka_offset *offset, uint64_t tag)
{
    return kafka->ops->fetch_committed(kafka, offset, 1, tag);
}

static int watermarks(struct weir_kafka *kafka, const struct weir_kafka_offset *offset, uint64_t tag)
{
    return kafka->ops->fetch_watermarks(kafka, offset, 1, tag);
}

static int seek(struct weir_kafka *kafka, const struct weir_kafka_offset *offset, uint64_t tag)
{
    return kafka->ops->seek(kafka, offset, 1, tag);
}

static void request_each_time_without(struct weir_driver *driver, enum weir_kafka_event_kind kind,
                                      int (*request)(struct weir_kafka *, const struct weir_kafka_offset *, uint64_t))
{
    static uint64_t tag = 100;
    unsigned refused = 0, answered = 0;
    const struct weir_kafka_offset offset = {.topic = TOPIC, .offset = 5, .leader_epoch = -1};
    for (unsigned round = 0; round < ROUNDS; round++, tag++) {
        weir_memory_fail_after(round);
        int code = request(driver->kafka, &offset, tag);
        if (code != 0) {
            cr_assert_eq(code, WEIR_NO_MEMORY);
            refused++;
        } else {
            struct weir_driver_event *answer = weir_driver_await_tag(driver, kind, tag);
            cr_assert_eq(answer->event.error, WEIR_KAFKA_NONE);
            cr_assert_eq(answer->event.count, 1u);
            cr_assert_eq(answer->offsets[0].error, WEIR_KAFKA_NONE);
            answered++;
        }
        weir_memory_fail_after(UINT64_MAX);
    }
    for (unsigned turn = 0; turn < 20; turn++)
        weir_driver_turn(driver);
    cr_assert_null(weir_driver_take(driver, kind), "one was answered twice, or although it had been refused");
    cr_assert_gt(refused, 0u);
    cr_assert_gt(answered, 1u);
}

Test(kafka_memory, a_request_is_refused_or_answered_once_whichever_allocation_fails)
{
    struct weir_mock *mock = weir_mock_create(1);
    weir_mock_topic_create(mock, TOPIC, 1);
    weir_mock_produce_many(mock, TOPIC, 0, 0, 10, 3);
    struct weir_driver *driver = weir_driver_create(weir_mock_bootstrap(mock), "g", TOPIC, NULL);
    WEIR_DRIVER_UNTIL(driver, driver->record_count == 10);
    request_each_time_without(driver, WEIR_KAFKA_COMMITTED, commit);
    request_each_time_without(driver, WEIR_KAFKA_FETCHED, read_back);
    request_each_time_without(driver, WEIR_KAFKA_WATERMARKS, watermarks);
    request_each_time_without(driver, WEIR_KAFKA_SOUGHT, seek);
    weir_driver_destroy(driver);
    weir_mock_destroy(mock);
}

Test(kafka_memory, a_rebalance_waits_until_there_is_memory_to_tell_of_it)
{
    struct weir_mock *mock = weir_mock_create(1);
    weir_mock_topic_create(mock, TOPIC, 1);
    weir_mock_produce_many(mock, TOPIC, 0, 0, 10, 3);
    struct weir_driver *driver = weir_driver_create(weir_mock_bootstrap(mock), "g", TOPIC, NULL);
    const struct weir_rdkafka *client = weir_rdkafka_of(driver->kafka);
    uint64_t deadline_ms = weir_driver_now_ms() + 60000;
    while (!client->group.waiting) {
        weir_memory_fail_after(0);
        weir_driver_turn(driver);
        cr_assert_lt(weir_driver_now_ms(), deadline_ms, "no rebalance has come to wait");
    }
    weir_memory_fail_after(UINT64_MAX);
    cr_assert_not(client->group.is_open);
    cr_assert_eq(driver->record_count, 0u);
    WEIR_DRIVER_UNTIL(driver, driver->record_count == 10);
    cr_assert_eq(weir_driver_owned(driver), 1u);
    weir_driver_destroy(driver);
    weir_mock_destroy(mock);
}

Test(kafka_memory, a_queue_that_cannot_be_opened_is_none)
{
    struct weir_mock *mock = weir_mock_create(1);
    weir_mock_topic_create(mock, TOPIC, 1);
    struct weir_driver *driver = weir_driver_create(weir_mock_bootstrap(mock), "g", TOPIC, NULL);
    weir_memory_fail_after(0);
    cr_assert_null(driver->kafka->ops->queue_open(driver->kafka, TOPIC, 0, NULL, NULL));
    weir_memory_fail_after(UINT64_MAX);
    WEIR_DRIVER_UNTIL(driver, weir_driver_owned(driver) == 1);
    weir_driver_destroy(driver);
    weir_mock_destroy(mock);
}
