/* Producing through the real door to Kafka: what arrives, what is refused, and one DELIVERED for each accepted (K4). */
#include "tests/support/kafka_driver.h"
#include "tests/support/mock.h"
#include "tests/support/test.h"
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char TOPIC[] = "orders";
static const char DEAD[] = "orders.dlq";

static int produce(struct weir_driver *driver, const char *value, void *opaque, enum weir_kafka_error *error)
{
    struct weir_kafka_produce message = {
        .topic = DEAD, .key = "k", .key_size = 1, .value = value, .value_size = strlen(value), .timestamp_ms = -1};
    return driver->kafka->ops->produce(driver->kafka, &message, opaque, error);
}

/* Produce until it is accepted: a producer that has just failed for good is replaced after a second only. */
static void produce_surely(struct weir_driver *driver, const char *value, void *opaque)
{
    enum weir_kafka_error error;
    WEIR_DRIVER_UNTIL(driver, produce(driver, value, opaque, &error) == 0);
}

static struct weir_mock *cluster(int brokers)
{
    struct weir_mock *mock = weir_mock_create(brokers);
    weir_mock_topic_create(mock, TOPIC, 1);
    weir_mock_topic_create(mock, DEAD, 1);
    return mock;
}

static void check_header(struct weir_driver *driver, void *native, size_t index, const char *name, const void *value,
                         size_t size)
{
    struct weir_kafka_header header = {0};
    cr_assert(driver->kafka->ops->record_header(driver->kafka, native, index, &header), "no header %zu", index);
    cr_assert_str_eq(header.name, name);
    cr_assert_eq(header.value_size, size);
    cr_assert_eq(header.value == NULL, value == NULL);
    if (size > 0)
        cr_assert_arr_eq(header.value, value, size);
}

/* Goal: what is sent arrives as it was: key, value, time, headers in order with repeated names and null values.
 * Method: written through the door and read back through it; the caller's memory is overwritten in between. */
Test(kafka_produce, a_message_arrives_with_all_it_carries)
{
    struct weir_mock *mock = cluster(1);
    struct weir_driver *driver = weir_driver_make(weir_mock_bootstrap(mock), "g", DEAD, NULL);
    driver->keep_records = true;
    weir_driver_start(driver);
    char key[] = "key\0with", value[] = "\x01\x00value", name[] = "first", text[] = "a\0b";
    struct weir_kafka_header headers[] = {{name, text, 3}, {"second", NULL, 0}, {"first", "", 0}};
    struct weir_kafka_produce message = {.topic = DEAD,
                                         .key = key,
                                         .key_size = sizeof key,
                                         .value = value,
                                         .value_size = sizeof value,
                                         .timestamp_ms = 1234567890123,
                                         .headers = headers,
                                         .header_count = 3};
    enum weir_kafka_error error;
    int opaque;
    cr_assert_eq(driver->kafka->ops->produce(driver->kafka, &message, &opaque, &error), 0);
    cr_assert_eq(error, WEIR_KAFKA_NONE);
    char key_sent[sizeof key], value_sent[sizeof value];
    memcpy(key_sent, key, sizeof key);
    memcpy(value_sent, value, sizeof value);
    memset(key, 'x', sizeof key);
    memset(value, 'x', sizeof value);
    memset(name, 'x', sizeof name - 1);
    memset(text, 'x', sizeof text);
    struct weir_driver_event *delivered = weir_driver_await(driver, WEIR_KAFKA_DELIVERED);
    cr_assert_eq(delivered->event.error, WEIR_KAFKA_NONE, "%s", delivered->text);
    cr_assert_eq(delivered->event.opaque, (void *)&opaque);

    message = (struct weir_kafka_produce){.topic = DEAD, .timestamp_ms = -1};
    cr_assert_eq(driver->kafka->ops->produce(driver->kafka, &message, NULL, &error), 0);
    WEIR_DRIVER_UNTIL(driver, driver->record_count == 2);
    const struct weir_record *record = &driver->records->record;
    cr_assert_eq(record->key_size, sizeof key);
    cr_assert_arr_eq(record->key, key_sent, sizeof key);
    cr_assert_eq(record->value_size, sizeof value);
    cr_assert_arr_eq(record->value, value_sent, sizeof value);
    cr_assert_eq(record->timestamp_ms, 1234567890123);
    check_header(driver, record->native, 0, "first", "a\0b", 3);
    check_header(driver, record->native, 1, "second", NULL, 0);
    check_header(driver, record->native, 2, "first", "", 0);
    struct weir_kafka_header none;
    cr_assert_not(driver->kafka->ops->record_header(driver->kafka, record->native, 3, &none));
    struct weir_driver_record *bare = driver->records;
    while (bare->record.offset != 1 || bare->record.kind != WEIR_RECORD_MESSAGE)
        bare = bare->next;
    cr_assert(!bare->record.key && !bare->record.value);
    cr_assert_gt(bare->record.timestamp_ms, 1234567890123);
    cr_assert_not(driver->kafka->ops->record_header(driver->kafka, bare->record.native, 0, &none));
    weir_driver_destroy(driver);
    weir_mock_destroy(mock);
}

/* Goal: what can never be sent is refused at once, what the broker refuses comes back as what it is, and what is only
 * passing trouble is sent again by librdkafka. */
Test(kafka_produce, refusals_say_why)
{
    struct weir_mock *mock = cluster(1);
    struct weir_driver *driver =
        weir_driver_create(weir_mock_bootstrap(mock), "g", TOPIC, (const char *[]){"message.max.bytes", "2000", NULL});
    static char large[3000];
    memset(large, 'x', sizeof large - 1);
    enum weir_kafka_error error;
    cr_assert_eq(produce(driver, large, NULL, &error), WEIR_INVALID);
    cr_assert_eq(error, WEIR_KAFKA_TOO_LARGE);

    /* Too large in a batch may be another's fault: it counts once it has been refused alone too. */
    weir_mock_fail(mock, WEIR_MOCK_PRODUCE, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, 2);
    produce_surely(driver, "a", NULL);
    struct weir_driver_event *delivered = weir_driver_await(driver, WEIR_KAFKA_DELIVERED);
    cr_assert_eq(delivered->event.error, WEIR_KAFKA_TOO_LARGE, "%s", delivered->text);
    weir_mock_fail(mock, WEIR_MOCK_PRODUCE, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, 1);
    produce_surely(driver, "a", NULL);
    delivered = weir_driver_await(driver, WEIR_KAFKA_DELIVERED);
    cr_assert_eq(delivered->event.error, WEIR_KAFKA_NONE, "%s", delivered->text);
    weir_mock_fail(mock, WEIR_MOCK_PRODUCE, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, 1);
    produce_surely(driver, "b", NULL);
    delivered = weir_driver_await(driver, WEIR_KAFKA_DELIVERED);
    cr_assert_eq(delivered->event.error, WEIR_KAFKA_AUTHORIZATION, "%s", delivered->text);
    cr_assert_not_null(delivered->event.text);
    weir_mock_fail(mock, WEIR_MOCK_PRODUCE, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, 2);
    produce_surely(driver, "c", NULL);
    delivered = weir_driver_await(driver, WEIR_KAFKA_DELIVERED);
    cr_assert_eq(delivered->event.error, WEIR_KAFKA_NONE, "%s", delivered->text);
    cr_assert_eq(weir_mock_end_offset(mock, DEAD, 0), 2);
    weir_driver_destroy(driver);
    weir_mock_destroy(mock);
}

/* Returns how many of 20 were accepted; the others were refused because a producer has just failed. */
static unsigned produce_some(struct weir_driver *driver)
{
    unsigned accepted = 0;
    for (unsigned index = 0; index < 20; index++) {
        enum weir_kafka_error error;
        int code = produce(driver, "a", NULL, &error);
        cr_assert(code == 0 || (code == WEIR_KAFKA && error == WEIR_KAFKA_RETRIABLE), "%d, %s", code,
                  weir_kafka_error_name(error));
        accepted += code == 0;
    }
    return accepted;
}

/* Goal: a producer that fails for good gives everything back, is replaced, and the next one sends.
 * Method: the broker refuses it its identity, first among 20 messages; then no more. */
Test(kafka_produce, a_producer_that_fails_for_good_is_replaced)
{
    struct weir_mock *mock = cluster(1);
    struct weir_driver *driver = weir_driver_create(weir_mock_bootstrap(mock), "g", TOPIC, NULL);
    unsigned accepted = 0;
    /* It may fail before it has taken the first message: then the next one is to fail. */
    for (unsigned round = 0; accepted == 0; round++) {
        cr_assert_lt(round, 10, "no producer takes anything");
        weir_mock_fail(mock, WEIR_MOCK_INIT_PRODUCER_ID, RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, 1);
        accepted = produce_some(driver);
        if (accepted == 0)
            sleep(1); /* none is made so soon after another */
    }
    WEIR_DRIVER_UNTIL(driver, driver->delivered == accepted);
    for (unsigned index = 0; index < accepted; index++) {
        struct weir_driver_event *delivered = weir_driver_take(driver, WEIR_KAFKA_DELIVERED);
        cr_assert(delivered->event.error == WEIR_KAFKA_AUTHORIZATION || delivered->event.error == WEIR_KAFKA_RETRIABLE,
                  "%s", weir_kafka_error_name(delivered->event.error));
    }
    struct weir_driver_event *trouble = weir_driver_await(driver, WEIR_KAFKA_TROUBLE);
    cr_assert_neq(trouble->event.error, WEIR_KAFKA_FATAL, "the client is not finished");
    produce_surely(driver, "b", NULL);
    struct weir_driver_event *delivered = weir_driver_await(driver, WEIR_KAFKA_DELIVERED);
    cr_assert_eq(delivered->event.error, WEIR_KAFKA_NONE, "%s", delivered->text);
    cr_assert_eq(weir_mock_end_offset(mock, DEAD, 0), 1);
    weir_driver_destroy(driver);
    weir_mock_destroy(mock);
}

/* Goal: what is refused because its producer has just failed for good is retriable, whatever the producer's cause.
 * Method: nothing is served, so that the next produce meets the end of its producer before control does. */
Test(kafka_produce, the_end_of_a_producer_is_not_the_fault_of_a_message)
{
    struct weir_mock *mock = cluster(1);
    struct weir_driver *driver = weir_driver_create(weir_mock_bootstrap(mock), "g", TOPIC, NULL);
    weir_mock_fail(mock, WEIR_MOCK_INIT_PRODUCER_ID, RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, 1);
    enum weir_kafka_error error = WEIR_KAFKA_NONE;
    unsigned accepted = 0;
    while (produce(driver, "a", NULL, &error) == 0) {
        cr_assert_lt(accepted++, 1000, "the producer does not fail");
        usleep(10000);
    }
    cr_assert_eq(error, WEIR_KAFKA_RETRIABLE, "%s", weir_kafka_error_name(error));
    WEIR_DRIVER_UNTIL(driver, driver->delivered == accepted);
    weir_driver_destroy(driver);
    weir_mock_destroy(mock);
}

/* Goal: a full queue says so, and takes more when the broker is back and deliveries have come. */
Test(kafka_produce, a_full_queue_takes_more_after_deliveries)
{
    struct weir_mock *mock = cluster(1);
    struct weir_driver *driver = weir_driver_create(weir_mock_bootstrap(mock), "g", TOPIC,
                                                    (const char *[]){"queue.buffering.max.messages", "3", NULL});
    weir_mock_broker_down(mock, 1);
    unsigned accepted = 0;
    enum weir_kafka_error error = WEIR_KAFKA_NONE;
    while (accepted < 10 && produce(driver, "a", NULL, &error) == 0)
        accepted++;
    cr_assert_eq(accepted, 3);
    cr_assert_eq(error, WEIR_KAFKA_QUEUE_FULL);
    cr_assert_eq(produce(driver, "a", NULL, &error), WEIR_FULL);
    weir_mock_broker_up(mock, 1);
    WEIR_DRIVER_UNTIL(driver, driver->delivered == 3);
    cr_assert_eq(produce(driver, "a", NULL, &error), 0);
    WEIR_DRIVER_UNTIL(driver, driver->delivered == 4);
    struct weir_driver_event *delivered;
    while ((delivered = weir_driver_take(driver, WEIR_KAFKA_DELIVERED)))
        cr_assert_eq(delivered->event.error, WEIR_KAFKA_NONE, "%s", delivered->text);
    weir_driver_destroy(driver);
    weir_mock_destroy(mock);
}

/* ---- many threads ---- */

enum { THREADS = 4, EACH = 300 };

struct sender {
    struct weir_driver *driver;
    pthread_t thread;
    unsigned accepted;
    unsigned char delivered[EACH]; /* control's, once the thread has ended */
};

static void *send_all(void *argument)
{
    struct sender *sender = argument;
    for (unsigned index = 0; index < EACH; index++) {
        enum weir_kafka_error error;
        struct timespec pause = {0, 200000};
        while (produce(sender->driver, "value", &sender->delivered[index], &error) != 0)
            nanosleep(&pause, NULL); /* being replaced */
        sender->accepted++;
    }
    return NULL;
}

/* Goal: any thread may produce while the producer is replaced under it; each accepted message is delivered once.
 * Method: four threads, each message with an opaque of its own; the first producer is refused its identity. */
Test(kafka_produce, threads_may_produce_while_the_producer_is_replaced)
{
    struct weir_mock *mock = cluster(1);
    struct weir_driver *driver = weir_driver_create(weir_mock_bootstrap(mock), "g", TOPIC, NULL);
    weir_mock_fail(mock, WEIR_MOCK_INIT_PRODUCER_ID, RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, 1);
    static struct sender senders[THREADS];
    for (unsigned index = 0; index < THREADS; index++) {
        senders[index].driver = driver;
        cr_assert_eq(pthread_create(&senders[index].thread, NULL, send_all, &senders[index]), 0);
    }
    WEIR_DRIVER_UNTIL(driver, driver->delivered >= THREADS * EACH);
    for (unsigned index = 0; index < THREADS; index++)
        pthread_join(senders[index].thread, NULL);
    for (unsigned turn = 0; turn < 50; turn++)
        weir_driver_turn(driver);
    cr_assert_eq(driver->delivered, THREADS * EACH);
    cr_assert_not_null(weir_driver_take(driver, WEIR_KAFKA_TROUBLE), "no producer was replaced");
    unsigned arrived = 0;
    struct weir_driver_event *delivered;
    while ((delivered = weir_driver_take(driver, WEIR_KAFKA_DELIVERED))) {
        ++*(unsigned char *)delivered->event.opaque;
        arrived += delivered->event.error == WEIR_KAFKA_NONE;
    }
    for (unsigned index = 0; index < THREADS; index++)
        for (unsigned number = 0; number < EACH; number++)
            cr_assert_eq(senders[index].delivered[number], 1, "delivered %u times",
                         (unsigned)senders[index].delivered[number]);
    cr_assert_eq(weir_mock_end_offset(mock, DEAD, 0), arrived);
    weir_driver_destroy(driver);
    weir_mock_destroy(mock);
}
