/* The fixture itself: a broker suite whose own tools are broken would prove nothing. */
#include "tests/broker/broker_fixture.h"
#include "tests/support/test.h"
#include <stdio.h>
#include <string.h>

struct sample {
    char key[32], value[32];
    uint64_t delivered, read, mismatched;
    int64_t next[3]; /* offset that each partition's next record must have */
};

static void make(void *user, size_t index, struct weir_broker_record *record)
{
    struct sample *sample = user;
    record->key_size = (size_t)snprintf(sample->key, sizeof sample->key, "key-%zu", index % 7);
    record->value_size = (size_t)snprintf(sample->value, sizeof sample->value, "%zu", index);
    record->key = index % 5 == 0 ? NULL : sample->key;
    record->value = sample->value;
    record->partition = (int32_t)(index % 3);
}

static void delivered(void *user, size_t index, int32_t partition, int64_t offset)
{
    struct sample *sample = user;
    sample->delivered++;
    sample->mismatched += partition != (int32_t)(index % 3) || offset != (int64_t)(index / 3);
}

static void visit(void *user, rd_kafka_message_t *message)
{
    struct sample *sample = user;
    char value[32];
    size_t index = (size_t)message->offset * 3 + (size_t)message->partition;
    int size = snprintf(value, sizeof value, "%zu", index);
    sample->read++;
    sample->mismatched += message->offset != sample->next[message->partition]++;
    sample->mismatched += message->len != (size_t)size || memcmp(message->payload, value, message->len) != 0;
    sample->mismatched += (message->key == NULL) != (index % 5 == 0);
}

Test(broker_fixture, what_is_produced_is_read_back_with_keys_values_and_offsets)
{
    struct sample sample = {0};
    struct weir_broker_name topic = weir_broker_name("fixture");
    int64_t low, high;
    weir_broker_topic_create(topic.text, 3, NULL);
    weir_broker_produce(topic.text, 3000, make, delivered, &sample);
    cr_assert_eq(sample.delivered, 3000u);
    cr_assert_eq(weir_broker_read(topic.text, visit, &sample), 3000u);
    cr_assert_eq(sample.read, 3000u);
    cr_assert_eq(sample.mismatched, 0u);
    weir_broker_watermarks(topic.text, 2, &low, &high);
    cr_assert_eq(low, 0);
    cr_assert_eq(high, 1000);
    weir_broker_topic_delete(topic.text);
}

Test(broker_fixture, commits_of_a_group_keep_offset_and_metadata)
{
    struct weir_broker_name topic = weir_broker_name("fixture"), group = weir_broker_name("group");
    char metadata[64];
    weir_broker_topic_create(topic.text, 1, NULL);
    cr_assert_eq(weir_broker_committed(group.text, topic.text, 0, metadata, sizeof metadata), -1);
    weir_broker_commit(group.text, topic.text, 0, 41, "a map");
    cr_assert_eq(weir_broker_committed(group.text, topic.text, 0, metadata, sizeof metadata), 41);
    cr_assert_str_eq(metadata, "a map");
    weir_broker_commit(group.text, topic.text, 0, 42, NULL);
    cr_assert_eq(weir_broker_committed(group.text, topic.text, 0, metadata, sizeof metadata), 42);
    cr_assert_str_eq(metadata, "");
    weir_broker_topic_delete(topic.text);
}

Test(broker_fixture, a_topic_grows_and_loses_its_oldest_records)
{
    struct sample sample = {0};
    struct weir_broker_name topic = weir_broker_name("fixture");
    const char *const config[] = {"retention.ms", "-1", "min.insync.replicas", "1", NULL};
    int64_t low, high;
    weir_broker_topic_create(topic.text, 3, config);
    weir_broker_produce(topic.text, 30, make, NULL, &sample);
    weir_broker_topic_grow(topic.text, 5);
    weir_broker_watermarks(topic.text, 4, &low, &high);
    cr_assert_eq(high, 0);
    weir_broker_topic_trim(topic.text, 1, 4);
    weir_broker_watermarks(topic.text, 1, &low, &high);
    cr_assert_eq(low, 4);
    cr_assert_eq(high, 10);
    weir_broker_topic_delete(topic.text);
}

Test(broker_fixture, records_outlive_a_kill_of_a_test_s_own_broker)
{
    struct sample sample = {0};
    weir_broker_start("--set log.retention.ms=-1");
    weir_broker_topic_create("orders", 3, NULL);
    weir_broker_produce("orders", 300, make, NULL, &sample);
    weir_broker_control("kill");
    weir_broker_control("restart");
    cr_assert_eq(weir_broker_read("orders", visit, &sample), 300u);
    cr_assert_eq(sample.mismatched, 0u);
    weir_broker_stop();
}
