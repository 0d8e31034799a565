/*
 * Goal: each call by which the door to Kafka gets something from librdkafka or the system fails once, is said with its
 * reason, and leaves nothing behind; a consumer that cannot start closes with that reason.
 * Method: settings that librdkafka refuses only when it makes a client; a stack that no thread can have. No broker.
 *
 * Not here: librdkafka's own threads. Where it gets none it ends the process by itself (docs/librdkafka.md).
 */
#include "actors/config/config.h"
#include "actors/librdkafka/client.h"
#include "tests/support/test.h"
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <weir/weir.h>

static struct weir_error error;

static struct weir_config *configure(const char *name, const char *value)
{
    struct weir_config *config = weir_config_create();
    cr_assert_eq(weir_config_set(config, "weir.topics", "a", &error), 0);
    cr_assert_eq(weir_config_set(config, name, value, &error), 0, "%s", error.text);
    return config;
}

static struct weir_kafka *create(const char *name, const char *value)
{
    struct weir_config *config = configure(name, value);
    struct weir_kafka *kafka = weir_kafka_librdkafka_create(config, &error);
    cr_assert_not_null(kafka, "%s", error.text);
    weir_config_destroy(config);
    return kafka;
}

static void on_wake(struct weir_kafka_listener *listener) {}

static struct weir_kafka_listener listener = {.wake = on_wake};

/* No thread can be made until the attributes that are returned are set again. */
static pthread_attr_t refuse_threads(void)
{
    pthread_attr_t before, attributes;
    cr_assert_eq(pthread_getattr_default_np(&before), 0);
    cr_assert_eq(pthread_attr_init(&attributes), 0);
    cr_assert_eq(pthread_attr_setstacksize(&attributes, (size_t)1 << 46), 0);
    cr_assert_eq(pthread_setattr_default_np(&attributes), 0);
    pthread_attr_destroy(&attributes);
    return before;
}

Test(kafka_refused, a_helper_that_gets_no_thread_is_an_error_of_start)
{
    struct weir_kafka *kafka = create("group.id", "g");
    pthread_attr_t before = refuse_threads();
    int code = weir_rdkafka_requests_start(weir_rdkafka_of(kafka), &error);
    pthread_setattr_default_np(&before);
    cr_assert_eq(code, WEIR_SYSTEM);
    cr_assert(strstr(error.text, "helper thread"), "%s", error.text);
    kafka->ops->destroy(kafka);
}

Test(kafka_refused, a_client_without_a_group_is_an_error_of_start)
{
    struct weir_kafka *kafka = create("client.id", "nobody");
    cr_assert_eq(kafka->ops->start(kafka, &listener, &error), WEIR_KAFKA);
    cr_assert(strstr(error.text, "group.id"), "%s", error.text);
    kafka->ops->destroy(kafka);
}

/* Names that weir.topics would not have taken: here one of them stands twice. */
Test(kafka_refused, a_subscription_that_librdkafka_does_not_take_is_an_error_of_start)
{
    struct weir_kafka *kafka = create("group.id", "g");
    rd_kafka_topic_partition_list_add(weir_rdkafka_of(kafka)->topics, "a", RD_KAFKA_PARTITION_UA);
    cr_assert_eq(kafka->ops->start(kafka, &listener, &error), WEIR_KAFKA);
    cr_assert(strstr(error.text, "subscribing to weir.topics: "), "%s", error.text);
    cr_assert_eq(kafka->ops->start(kafka, &listener, &error), WEIR_STATE, "it can only be destroyed");
    kafka->ops->destroy(kafka);
}

/* The message is not sent and may be tried again: nothing says that the next producer is refused as well. */
Test(kafka_refused, a_producer_that_librdkafka_does_not_make_keeps_the_message_with_its_sender)
{
    struct weir_kafka *kafka = create("message.timeout.ms", "1"); /* less than our linger.ms */
    enum weir_kafka_error kafka_error = WEIR_KAFKA_NONE;
    const struct weir_kafka_produce produce = {.topic = "a", .timestamp_ms = -1};
    for (unsigned times = 0; times < 2; times++) {
        cr_assert_eq(kafka->ops->produce(kafka, &produce, NULL, &kafka_error), WEIR_KAFKA);
        cr_assert_eq(kafka_error, WEIR_KAFKA_RETRIABLE);
    }
    const struct weir_rdkafka *client = weir_rdkafka_of(kafka);
    cr_assert_eq(client->producers.accepted, 0u);
    cr_assert_gt(client->producers.failed_ns, 0u);
    kafka->ops->destroy(kafka);
}

static enum weir_outcome never(struct weir_message *message, void *user)
{
    return WEIR_ACK;
}

/* What was right when the consumer was made is gone when it starts: a folder of certificates. */
Test(kafka_refused, a_consumer_whose_client_cannot_be_made_closes_with_the_reason)
{
    char folder[] = "/tmp/weir-test-XXXXXX";
    cr_assert_not_null(mkdtemp(folder));
    struct weir_config *config = configure("ssl.ca.location", folder);
    cr_assert_eq(weir_config_set(config, "security.protocol", "ssl", &error), 0);
    cr_assert_eq(weir_config_set(config, "group.id", "g", &error), 0);
    cr_assert_eq(weir_config_set(config, "bootstrap.servers", "127.0.0.1:1", &error), 0);
    struct weir_consumer *consumer = weir_consumer_create(config, never, NULL, &error);
    rmdir(folder);
    cr_assert_not_null(consumer, "%s", error.text);
    cr_assert_eq(weir_consumer_run(consumer, &error), WEIR_KAFKA);
    cr_assert(strstr(error.text, "no Kafka consumer: "), "%s", error.text);
    weir_consumer_destroy(consumer);
    weir_config_destroy(config);
}
