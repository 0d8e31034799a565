/* Parts of the real door to Kafka that need no broker. */
#include "actors/config/config.h"
#include "actors/librdkafka/client.h"
#include "runtime/log.h"
#include "runtime/memory.h"
#include "tests/support/test.h"
#include <string.h>

/* Goal: the client's total is read, not a broker's, whatever else the statistics hold. */
Test(kafka_parts, statistics_give_the_total_of_bytes_received)
{
    static const char JSON[] = "{ \"name\": \"a \\\"rx_bytes\\\": 1 }\", \"brokers\":{ \"b\":{ \"rx_bytes\":7, "
                               "\"toppars\":[{\"rx_bytes\":8}] } }, \"rxmsg_bytes\":9, \"rx_bytes\" : 1234567890123 }";
    uint64_t bytes = 0;
    cr_assert(weir_rdkafka_statistics(JSON, &bytes));
    cr_assert_eq(bytes, 1234567890123u);
    cr_assert_not(weir_rdkafka_statistics("{}", &bytes));
    cr_assert_not(weir_rdkafka_statistics("{\"rx_bytes\":null}", &bytes));
    cr_assert_not(weir_rdkafka_statistics("{\"rx_byt", &bytes));
    cr_assert_not(weir_rdkafka_statistics("\"rx_bytes\":5", &bytes));
    cr_assert_not(weir_rdkafka_statistics("", &bytes));
}

/* Goal: every error has a name, and codes that are not known are none of those that somebody acts on. */
Test(kafka_parts, errors_are_named_and_sorted)
{
    for (int error = WEIR_KAFKA_NONE; error <= WEIR_KAFKA_OTHER; error++)
        cr_assert_str_neq(weir_kafka_error_name((enum weir_kafka_error)error), "unknown");
    cr_assert_str_eq(weir_kafka_error_name((enum weir_kafka_error)99), "unknown");
    cr_assert_eq(weir_rdkafka_failure(RD_KAFKA_RESP_ERR_NO_ERROR), WEIR_KAFKA_NONE);
    cr_assert_eq(weir_rdkafka_failure((rd_kafka_resp_err_t)12345), WEIR_KAFKA_OTHER);
    cr_assert_eq(weir_rdkafka_failure(RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE), WEIR_KAFKA_TOO_LARGE);
    cr_assert_eq(weir_rdkafka_commit_failure(RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE), WEIR_KAFKA_METADATA_TOO_LARGE);
    cr_assert_eq(weir_rdkafka_commit_failure(RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION), WEIR_KAFKA_GENERATION);
    cr_assert_eq(weir_rdkafka_failure((rd_kafka_resp_err_t)110), WEIR_KAFKA_GENERATION);       /* FENCED_MEMBER_EPOCH */
    cr_assert_eq(weir_rdkafka_commit_failure((rd_kafka_resp_err_t)113), WEIR_KAFKA_RETRIABLE); /* STALE_MEMBER_EPOCH */
}

static unsigned warnings;

static void count_warnings(void *user, enum weir_log_level level, const char *text, const struct weir_log_field *fields,
                           size_t field_count)
{
    warnings += level == WEIR_LOG_WARN && strncmp(text, "librdkafka ", 11) == 0;
}

/* Goal: a version that loses messages with a setting in use is refused by name, other harm is warned of, and neither
 * where the setting is another or the version is right. */
Test(kafka_parts, versions_that_do_harm_are_named)
{
    static const struct {
        int version;
        const char *name, *value;
        int code;
        unsigned warnings;
    } cases[] = {
        {0x020002, "auto.offset.reset", "latest", 0, 0},
        {0x020100, "auto.offset.reset", "latest", WEIR_KAFKA, 0},
        {0x020100, "auto.offset.reset", "largest", WEIR_KAFKA, 0},
        {0x020200, "client.id", "nothing is said of the reset", WEIR_KAFKA, 0},
        {0x020200, "auto.offset.reset", "earliest", 0, 1},
        {0x020200, "auto.offset.reset", "error", 0, 0},
        {0x020300, "auto.offset.reset", "latest", 0, 0},
        {0x020a00, "auto.offset.reset", "latest", 0, 1},
        {0x020a01, "auto.offset.reset", "latest", 0, 0},
        {0x020f01, "auto.offset.reset", "latest", 0, 0},
    };
    weir_log_set(count_warnings, NULL, WEIR_LOG_WARN);
    for (size_t index = 0; index < WEIR_COUNT(cases); index++) {
        struct weir_error error = {0};
        struct weir_config *config = weir_config_create();
        cr_assert_eq(weir_config_set(config, cases[index].name, cases[index].value, &error), 0, "%s", error.text);
        warnings = 0;
        int code = weir_rdkafka_check_version(cases[index].version, config, &error);
        cr_assert_eq(code, cases[index].code, "case %zu: %s", index, error.text);
        cr_assert_eq(warnings, cases[index].warnings, "case %zu", index);
        if (code)
            cr_assert(strstr(error.text, "auto.offset.reset=latest") && strstr(error.text, "use 2.3.0"), "%s",
                      error.text);
        weir_config_destroy(config);
    }
}

static struct weir_kafka *create(const char *name, const char *value)
{
    struct weir_error error = {0};
    struct weir_config *config = weir_config_create();
    cr_assert_eq(weir_config_set(config, "bootstrap.servers", "127.0.0.1:1", &error), 0, "%s", error.text);
    cr_assert_eq(weir_config_set(config, "group.id", "g", &error), 0, "%s", error.text);
    cr_assert_eq(weir_config_set(config, "weir.topics", "a,b", &error), 0, "%s", error.text);
    cr_assert_eq(weir_config_set(config, name, value, &error), 0, "%s", error.text);
    struct weir_kafka *kafka = weir_kafka_librdkafka_create(config, &error);
    cr_assert_not_null(kafka, "%s", error.text);
    weir_config_destroy(config);
    return kafka;
}

static void refuses_to_start(const char *name, const char *value, const char *and_name, const char *and_value)
{
    struct weir_error error = {0};
    struct weir_config *config = weir_config_create();
    cr_assert_eq(weir_config_set(config, "weir.topics", "a", &error), 0);
    cr_assert_eq(weir_config_set(config, "group.id", "g", &error), 0);
    cr_assert_eq(weir_config_set(config, name, value, &error), 0, "%s", error.text);
    cr_assert_eq(weir_config_set(config, and_name, and_value, &error), 0, "%s", error.text);
    struct weir_kafka *kafka = weir_kafka_librdkafka_create(config, &error);
    cr_assert_not_null(kafka, "%s", error.text);
    struct weir_kafka_listener listener = {0};
    cr_assert_eq(kafka->ops->start(kafka, &listener, &error), WEIR_KAFKA);
    cr_assert(strstr(error.text, "no Kafka consumer: "), "%s", error.text);
    kafka->ops->destroy(kafka);
    weir_config_destroy(config);
}

/* Goal: where librdkafka makes no client, starting says so, and nothing is freed twice. */
Test(kafka_parts, a_client_that_is_refused_early_is_an_error_of_start)
{
    refuses_to_start("session.timeout.ms", "20000", "max.poll.interval.ms", "10000");
}

Test(kafka_parts, a_client_that_is_refused_late_is_an_error_of_start)
{
    refuses_to_start("security.protocol", "ssl", "ssl.ca.location", "/nonexistent");
}

static void check_set(const rd_kafka_conf_t *conf, const char *name, const char *wanted)
{
    char value[256];
    size_t size = sizeof value;
    cr_assert_eq(rd_kafka_conf_get(conf, name, value, &size), RD_KAFKA_CONF_OK, "%s is not there", name);
    cr_assert_str_eq(value, wanted, "%s=%s", name, value);
}

/* Goal: what the promises rest on is set whatever the user says, our defaults give way, and each client is given its
 * own kind of properties. */
Test(kafka_parts, settings_are_ours_the_users_and_those_that_must_be)
{
    struct weir_kafka *kafka = create("fetch.wait.max.ms", "77");
    const struct weir_rdkafka *client = weir_rdkafka_of(kafka);
    check_set(client->conf, "enable.auto.commit", "false");
    check_set(client->conf, "enable.auto.offset.store", "false");
    check_set(client->conf, "auto.offset.reset", "error");
    check_set(client->conf, "fetch.wait.max.ms", "77");
    check_set(client->conf, "fetch.message.max.bytes", "131072");
    check_set(client->conf, "fetch.max.bytes", "1048576");
    check_set(client->conf, "partition.assignment.strategy", "cooperative-sticky");
    check_set(client->producers.conf, "enable.idempotence", "true");
    check_set(client->producers.conf, "acks", "-1");
    check_set(client->producers.conf, "linger.ms", "5");
    check_set(client->producers.conf, "bootstrap.servers", "127.0.0.1:1");
    cr_assert_eq(client->topics->cnt, 2);
    kafka->ops->destroy(kafka);

    kafka = create("max.partition.fetch.bytes", "4096"); /* another name of fetch.message.max.bytes */
    check_set(weir_rdkafka_of(kafka)->conf, "fetch.message.max.bytes", "4096");
    kafka->ops->destroy(kafka);
    kafka = create("message.max.bytes", "5000000");
    check_set(weir_rdkafka_of(kafka)->conf, "fetch.max.bytes", "5000000");
    check_set(weir_rdkafka_of(kafka)->producers.conf, "message.max.bytes", "5000000");
    kafka->ops->destroy(kafka);
    kafka = create("linger.ms", "123");
    check_set(weir_rdkafka_of(kafka)->conf, "queue.buffering.max.ms", "5");
    check_set(weir_rdkafka_of(kafka)->producers.conf, "linger.ms", "123");
    kafka->ops->destroy(kafka);
}

/* Goal: a text with metadata survives the way to librdkafka's lists and back; no NUL is invented or lost. */
Test(kafka_parts, offsets_pass_through_librdkafkas_lists)
{
    struct weir_kafka_offset offsets[] = {
        {.topic = "a", .partition = 1, .offset = 5, .metadata = "some text", .metadata_size = 9, .leader_epoch = -1},
        {.topic = "b", .partition = 0, .offset = -1, .leader_epoch = -1}};
    rd_kafka_topic_partition_list_t *list = weir_rdkafka_list(offsets, 2, true);
    struct weir_kafka_offset *back = weir_rdkafka_offsets(list, true);
    cr_assert_not_null(back);
    cr_assert_str_eq(back[0].metadata, "some text");
    cr_assert_eq(back[0].metadata_size, 9);
    cr_assert_eq(back[0].offset, 5);
    cr_assert_eq(back[1].offset, -1);
    cr_assert_null(back[1].metadata);
    cr_assert_str_eq(back[1].topic, "b");
    weir_memory_free(back);
    weir_memory_fail_after(0);
    cr_assert_null(weir_rdkafka_offsets(list, true));
    rd_kafka_topic_partition_list_destroy(list);
}

/* Goal: each allocation of the creation may fail; the client is then not there, and nothing is left behind. */
Test(kafka_parts, creation_survives_lack_of_memory)
{
    struct weir_error error = {0};
    struct weir_config *config = weir_config_create();
    cr_assert_eq(weir_config_set(config, "group.id", "g", &error), 0);
    cr_assert_eq(weir_config_set(config, "weir.topics", "a", &error), 0);
    uint64_t count = 0;
    struct weir_kafka *kafka = NULL;
    for (; !kafka; count++) {
        weir_memory_fail_after(count);
        kafka = weir_kafka_librdkafka_create(config, &error);
        if (!kafka)
            cr_assert_eq(error.code, WEIR_NO_MEMORY);
    }
    weir_memory_fail_after(UINT64_MAX);
    cr_assert_geq(count, 3, "nothing was made to fail");
    kafka->ops->destroy(kafka);
    weir_config_destroy(config);
}
