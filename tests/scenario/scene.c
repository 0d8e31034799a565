/* See scene.h. */
#include "tests/scenario/scene.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RECORDS_MAX = 40000, LETTER_PARTITIONS = 4 /* of topics that the mock cluster makes by itself */ };

static const char TOPIC[] = "orders";
static const char LETTERS[] = "orders.dlq";

void weir_scene_set(struct weir_scene *scene, int partitions, weir_subject_rule *rule, void *user)
{
    char path[] = "/tmp/weir-ledger-XXXXXX";
    int file = mkstemp(path);
    cr_assert_geq(file, 0);
    close(file);
    weir_subject_keep_log();
    scene->mock = weir_mock_create(1);
    weir_mock_topic_create(scene->mock, TOPIC, partitions);
    scene->ledger = weir_ledger_create(path, RECORDS_MAX);
    unlink(path);
    cr_assert_not_null(scene->ledger);
    scene->subject = (struct weir_subject){.ledger = scene->ledger, .rule = rule, .user = user};
}

void weir_scene_clear(struct weir_scene *scene)
{
    weir_subject_destroy(&scene->subject);
    weir_mock_destroy(scene->mock);
    weir_ledger_close(scene->ledger);
}

int64_t weir_scene_put(struct weir_scene *scene, int32_t partition, const char *key, const char *value)
{
    size_t key_size = key ? strlen(key) : 0;
    int64_t offset = weir_mock_produce(scene->mock, TOPIC, partition, key, key_size, value, value ? strlen(value) : 0);
    weir_ledger_emit(scene->ledger, TOPIC, partition, offset, key, key_size, 0);
    return offset;
}

void weir_scene_put_many(struct weir_scene *scene, int32_t partition, unsigned count, unsigned keys)
{
    for (unsigned number = 0; number < count; number++) {
        char key[32], value[32];
        snprintf(key, sizeof key, "key-%u", keys > 0 ? number % keys : 0);
        snprintf(value, sizeof value, "%u", number);
        weir_scene_put(scene, partition, keys > 0 ? key : NULL, value);
    }
}

bool weir_scene_is(const struct weir_message *message, const char *value)
{
    size_t size = strlen(value);
    return weir_message_value_size(message) == size && memcmp(weir_message_value(message), value, size) == 0;
}

int64_t weir_scene_committed(struct weir_scene *scene, int partitions)
{
    int64_t sum = 0;
    for (int partition = 0; partition < partitions; partition++) {
        int64_t offset = weir_mock_committed(scene->mock, "billing", TOPIC, partition, NULL, 0);
        sum += offset > 0 ? offset : 0;
    }
    return sum;
}

int64_t weir_scene_letters(struct weir_scene *scene)
{
    int64_t sum = 0;
    for (int partition = 0; partition < LETTER_PARTITIONS; partition++)
        sum += weir_mock_end_offset(scene->mock, LETTERS, partition);
    return sum;
}

/* ---- reading a letter ---- */

static rd_kafka_t *reader(struct weir_scene *scene)
{
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    const char *const settings[][2] = {{"bootstrap.servers", weir_mock_bootstrap(scene->mock)},
                                       {"group.id", "reader"},
                                       {"enable.auto.commit", "false"},
                                       {"fetch.wait.max.ms", "10"}};
    for (size_t index = 0; index < sizeof settings / sizeof *settings; index++)
        rd_kafka_conf_set(conf, settings[index][0], settings[index][1], text, sizeof text);
    rd_kafka_t *kafka = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text);
    cr_assert_not_null(kafka, "%s", text);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(LETTER_PARTITIONS);
    for (int partition = 0; partition < LETTER_PARTITIONS; partition++)
        rd_kafka_topic_partition_list_add(list, LETTERS, partition)->offset = 0;
    cr_assert_eq(rd_kafka_assign(kafka, list), RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_topic_partition_list_destroy(list);
    return kafka;
}

/* The next message; it is there, for somebody has counted. */
static rd_kafka_message_t *next(rd_kafka_t *kafka)
{
    rd_kafka_message_t *message = rd_kafka_consumer_poll(kafka, WEIR_TEST_WAIT_MS);
    cr_assert(message != NULL && !message->err, "no such dead letter");
    return message;
}

static bool has_value(const rd_kafka_message_t *message, const char *value)
{
    return message->len == strlen(value) && memcmp(message->payload, value, message->len) == 0;
}

struct weir_scene_text weir_scene_letter(struct weir_scene *scene, const char *value, const char *header)
{
    struct weir_scene_text found;
    rd_kafka_headers_t *headers;
    const void *bytes;
    size_t size;
    rd_kafka_t *kafka = reader(scene);
    rd_kafka_message_t *message;
    while (!has_value(message = next(kafka), value))
        rd_kafka_message_destroy(message);
    cr_assert_eq(rd_kafka_message_headers(message, &headers), RD_KAFKA_RESP_ERR_NO_ERROR);
    cr_assert_eq(rd_kafka_header_get_last(headers, header, &bytes, &size), RD_KAFKA_RESP_ERR_NO_ERROR, "no %s", header);
    snprintf(found.text, sizeof found.text, "%.*s", (int)size, (const char *)bytes);
    rd_kafka_message_destroy(message);
    rd_kafka_consumer_close(kafka);
    rd_kafka_destroy(kafka);
    return found;
}

/* ---- verdicts ---- */

static void require(struct weir_ledger_verdict verdict, const char *what)
{
    cr_assert(verdict.ok, "%s: %s", what, verdict.text);
}

void weir_scene_check(const struct weir_scene *scene, bool strictly)
{
    require(weir_ledger_no_loss(scene->ledger, NULL, 0), "no loss");
    require(weir_ledger_key_order(scene->ledger), "order of each key");
    if (!strictly)
        return;
    require(weir_ledger_no_overlap(scene->ledger), "no overlap");
    require(weir_ledger_duplicates(scene->ledger, 0), "exactly once");
}
