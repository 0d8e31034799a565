/* The end of the real door to Kafka: everything asked is answered, then CLOSED, and destroy does not wait. */
#include "actors/config/config.h"
#include "tests/support/kafka_driver.h"
#include "tests/support/mock.h"
#include "tests/support/test.h"
#include <string.h>

static const char TOPIC[] = "orders";
static const char DEAD[] = "orders.dlq";

static struct weir_mock *cluster(void)
{
    struct weir_mock *mock = weir_mock_create(1);
    weir_mock_topic_create(mock, TOPIC, 3);
    weir_mock_topic_create(mock, DEAD, 1);
    for (int32_t partition = 0; partition < 3; partition++)
        weir_mock_produce_many(mock, TOPIC, partition, 0, 20, 3);
    return mock;
}

static void close_and_wait(struct weir_driver *driver, uint64_t flush_ms)
{
    cr_assert_eq(driver->kafka->ops->close(driver->kafka, flush_ms), 0);
    cr_assert_eq(driver->kafka->ops->close(driver->kafka, flush_ms), WEIR_STATE, "closed twice");
    WEIR_DRIVER_UNTIL(driver, driver->closed);
}

/* Every request of every kind, tags 1 to 4; returns how many were accepted. */
static unsigned ask_everything(struct weir_driver *driver)
{
    const struct weir_kafka_ops *ops = driver->kafka->ops;
    struct weir_kafka_offset offset = {.topic = TOPIC, .partition = 0, .offset = 10, .leader_epoch = -1};
    unsigned accepted = 0;
    accepted += ops->fetch_committed(driver->kafka, &offset, 1, 1) == 0;
    accepted += ops->fetch_watermarks(driver->kafka, &offset, 1, 2) == 0;
    accepted += ops->seek(driver->kafka, &offset, 1, 3) == 0;
    accepted += ops->commit(driver->kafka, &offset, 1, 4) == 0;
    return accepted;
}

static unsigned answers(struct weir_driver *driver)
{
    unsigned count = 0;
    static const enum weir_kafka_event_kind KINDS[] = {WEIR_KAFKA_FETCHED, WEIR_KAFKA_WATERMARKS, WEIR_KAFKA_SOUGHT,
                                                       WEIR_KAFKA_COMMITTED};
    for (unsigned index = 0; index < 4; index++)
        while (weir_driver_take(driver, KINDS[index]))
            count++;
    return count;
}

/* Goal: requests on their way when the client is closed are answered, exactly once each, before CLOSED. */
Test(kafka_close, outstanding_requests_are_answered)
{
    struct weir_mock *mock = cluster();
    struct weir_driver *driver = weir_driver_create(weir_mock_bootstrap(mock), "g", TOPIC, NULL);
    WEIR_DRIVER_UNTIL(driver, driver->record_count == 60);
    unsigned asked = ask_everything(driver) + ask_everything(driver);
    cr_assert_eq(asked, 8);
    close_and_wait(driver, 1000);
    cr_assert_eq(answers(driver), 8);
    cr_assert_eq(ask_everything(driver), 0, "a closed client takes requests");
    cr_assert_eq(weir_driver_take(driver, WEIR_KAFKA_REVOKE)->event.count, 3);
    cr_assert_null(weir_driver_take(driver, WEIR_KAFKA_LOST));
    weir_driver_destroy(driver);
    cr_assert_eq(weir_mock_committed(mock, "g", TOPIC, 0, NULL, 0), 10);
    weir_mock_destroy(mock);
}

/* Goal: the same when no broker answers any more, and what was produced is given back after the time for it. */
Test(kafka_close, everything_is_answered_though_the_broker_is_gone)
{
    struct weir_mock *mock = cluster();
    struct weir_driver *driver = weir_driver_create(weir_mock_bootstrap(mock), "g", TOPIC, NULL);
    WEIR_DRIVER_UNTIL(driver, driver->record_count == 60);
    weir_mock_broker_down(mock, 1);
    struct weir_kafka_produce message = {.topic = DEAD, .value = "v", .value_size = 1, .timestamp_ms = -1};
    enum weir_kafka_error error;
    for (unsigned index = 0; index < 5; index++)
        cr_assert_eq(driver->kafka->ops->produce(driver->kafka, &message, NULL, &error), 0);
    cr_assert_eq(ask_everything(driver), 4);
    for (unsigned turn = 0; turn < 100; turn++)
        weir_driver_turn(driver);
    close_and_wait(driver, 300);
    cr_assert_eq(answers(driver), 4);
    cr_assert_eq(driver->delivered, 5);
    struct weir_driver_event *delivered;
    while ((delivered = weir_driver_take(driver, WEIR_KAFKA_DELIVERED)))
        cr_assert_eq(delivered->event.error, WEIR_KAFKA_RETRIABLE, "%s", delivered->text);
    cr_assert_eq(driver->kafka->ops->produce(driver->kafka, &message, NULL, &error), WEIR_KAFKA);
    weir_driver_destroy(driver);
    weir_mock_destroy(mock);
}

/* Goal: what is on its way is waited for, not failed, while there is time. */
Test(kafka_close, deliveries_are_waited_for)
{
    struct weir_mock *mock = cluster();
    struct weir_driver *driver =
        weir_driver_create(weir_mock_bootstrap(mock), "g", TOPIC, (const char *[]){"linger.ms", "300", NULL});
    WEIR_DRIVER_UNTIL(driver, driver->record_count == 60);
    struct weir_kafka_produce message = {.topic = DEAD, .value = "v", .value_size = 1, .timestamp_ms = -1};
    enum weir_kafka_error error;
    for (unsigned index = 0; index < 5; index++)
        cr_assert_eq(driver->kafka->ops->produce(driver->kafka, &message, NULL, &error), 0);
    close_and_wait(driver, 30000);
    cr_assert_eq(driver->delivered, 5);
    struct weir_driver_event *delivered;
    while ((delivered = weir_driver_take(driver, WEIR_KAFKA_DELIVERED)))
        cr_assert_eq(delivered->event.error, WEIR_KAFKA_NONE, "%s", delivered->text);
    weir_driver_destroy(driver);
    cr_assert_eq(weir_mock_end_offset(mock, DEAD, 0), 5);
    weir_mock_destroy(mock);
}

/* Goal: a client closed at any moment of joining ends, with or without an assignment that nobody has answered yet.
 * Method: closed at once, after some turns, and with an ASSIGN lying there that is answered after close. */
Test(kafka_close, a_client_may_be_closed_while_it_joins)
{
    struct weir_mock *mock = cluster();
    struct weir_driver *driver = weir_driver_create(weir_mock_bootstrap(mock), "g", TOPIC, NULL);
    close_and_wait(driver, 100);
    weir_driver_destroy(driver);

    driver = weir_driver_create(weir_mock_bootstrap(mock), "g", TOPIC, NULL);
    for (unsigned turn = 0; turn < 200; turn++)
        weir_driver_turn(driver);
    close_and_wait(driver, 100);
    weir_driver_destroy(driver);

    driver = weir_driver_create(weir_mock_bootstrap(mock), "g", TOPIC, NULL);
    driver->by_hand = true;
    struct weir_driver_event *assigned = weir_driver_await(driver, WEIR_KAFKA_ASSIGN);
    cr_assert_eq(driver->kafka->ops->close(driver->kafka, 100), 0);
    for (unsigned turn = 0; turn < 200; turn++)
        weir_driver_turn(driver);
    cr_assert_not(driver->closed, "closed with an event open");
    driver->by_hand = false;
    weir_driver_assign(driver, &assigned->event);
    WEIR_DRIVER_UNTIL(driver, driver->closed);
    cr_assert_eq(weir_driver_owned(driver), 0, "what was assigned was never taken back");
    weir_driver_destroy(driver);
    weir_mock_destroy(mock);
}

/* Goal: a client that failed for good says so, and can be closed like any other: what it owned is LOST first.
 * Method: a static member is told that another one has its name. */
Test(kafka_close, a_client_that_failed_for_good_can_be_closed)
{
    struct weir_mock *mock = cluster();
    struct weir_driver *driver =
        weir_driver_create(weir_mock_bootstrap(mock), "g", TOPIC, (const char *[]){"group.instance.id", "one", NULL});
    WEIR_DRIVER_UNTIL(driver, driver->record_count == 60);
    weir_mock_fail(mock, WEIR_MOCK_HEARTBEAT, RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID, 1);
    struct weir_driver_event *trouble;
    WEIR_DRIVER_UNTIL(driver, (trouble = weir_driver_take(driver, WEIR_KAFKA_TROUBLE)) &&
                                  trouble->event.error == WEIR_KAFKA_FATAL);
    cr_assert_str_neq(trouble->text, "");
    unsigned asked = ask_everything(driver);
    close_and_wait(driver, 100);
    cr_assert_eq(answers(driver), asked);
    cr_assert_eq(weir_driver_owned(driver), 0);
    weir_driver_destroy(driver);
    weir_mock_destroy(mock);
}

/* Goal: before start there is nothing to close, and destroy is enough. */
Test(kafka_close, a_client_never_started_is_destroyed)
{
    struct weir_mock *mock = cluster();
    struct weir_driver *driver = weir_driver_make(weir_mock_bootstrap(mock), "g", TOPIC, NULL);
    cr_assert_eq(driver->kafka->ops->close(driver->kafka, 1), WEIR_STATE);
    cr_assert_eq(driver->kafka->ops->poll(driver->kafka, 10), 0);
    cr_assert_eq(ask_everything(driver), 0);
    driver->closed = true;
    weir_driver_destroy(driver);
    weir_mock_destroy(mock);
}

/* Goal: settings that contradict each other are named when the client is started, and it can then be destroyed. */
Test(kafka_close, a_start_that_fails_says_why)
{
    struct weir_mock *mock = cluster();
    struct weir_driver *driver = weir_driver_make(weir_mock_bootstrap(mock), "g", TOPIC,
                                                  (const char *[]){"receive.message.max.bytes", "2000", NULL});
    struct weir_error error = {0};
    cr_assert_eq(driver->kafka->ops->start(driver->kafka, &driver->listener, &error), WEIR_KAFKA);
    cr_assert_eq(error.code, WEIR_KAFKA);
    cr_assert_not_null(strstr(error.text, "receive.message.max.bytes"), "%s", error.text);
    cr_assert_eq(driver->kafka->ops->start(driver->kafka, &driver->listener, &error), WEIR_STATE);
    driver->closed = true;
    weir_driver_destroy(driver);
    weir_mock_destroy(mock);
}
