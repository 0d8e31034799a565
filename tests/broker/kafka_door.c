/* The door to Kafka on a real broker: what the mock cluster cannot show. */
#include "tests/broker/broker_fixture.h"
#include "tests/support/kafka_driver.h"
#include "tests/support/test.h"
#include <stdlib.h>
#include <string.h>

enum { LARGE = 10 * 1000 * 1000, MESSAGES = 2000 };

static void make_small(void *user, size_t index, struct weir_broker_record *record)
{
    *record = (struct weir_broker_record){
        .key = "k", .key_size = 1, .value = "value", .value_size = 5, .partition = (int32_t)(index % 2)};
}

static void make_first(void *user, size_t index, struct weir_broker_record *record)
{
    make_small(user, 0, record);
}

static void produce(struct weir_driver *driver, const char *topic, const char *value, size_t size)
{
    struct weir_kafka_produce message = {
        .topic = topic, .key = "k", .key_size = 1, .value = value, .value_size = size, .timestamp_ms = -1};
    enum weir_kafka_error error;
    cr_assert_eq(driver->kafka->ops->produce(driver->kafka, &message, NULL, &error), 0, "%s",
                 weir_kafka_error_name(error));
    struct weir_driver_event *delivered = weir_driver_await(driver, WEIR_KAFKA_DELIVERED);
    cr_assert_eq(delivered->event.error, WEIR_KAFKA_NONE, "%s", delivered->text);
}

/* Goal: a message ten times as large as every fetch limit goes out and comes through, and so do those around it. */
Test(kafka_door, a_message_of_ten_megabytes_goes_out_and_comes_back)
{
    struct weir_broker_name topic = weir_broker_name("large"), group = weir_broker_name("large");
    weir_broker_topic_create(topic.text, 1, (const char *const[]){"max.message.bytes", "11000000", NULL});
    char *large = malloc(LARGE);
    cr_assert_not_null(large);
    memset(large, 'x', LARGE);
    struct weir_driver *driver = weir_driver_make(weir_broker_bootstrap(), group.text, topic.text, NULL);
    driver->keep_records = true;
    weir_driver_start(driver);
    produce(driver, topic.text, "small", 5);
    produce(driver, topic.text, large, LARGE);
    produce(driver, topic.text, "small", 5);
    WEIR_DRIVER_UNTIL(driver, driver->record_count == 3);
    unsigned seen = 0;
    for (const struct weir_driver_record *record = driver->records; record; record = record->next) {
        if (record->record.kind != WEIR_RECORD_MESSAGE || record->record.value_size != LARGE)
            continue;
        seen++;
        cr_assert_eq(record->record.offset, 1);
        cr_assert_arr_eq(record->record.value, large, LARGE);
    }
    cr_assert_eq(seen, 1);
    weir_driver_destroy(driver);
    weir_broker_topic_delete(topic.text);
    free(large);
}

static bool has_error(const struct weir_driver *driver, enum weir_kafka_error error)
{
    for (const struct weir_driver_record *record = driver->records; record; record = record->next)
        if (record->record.kind == WEIR_RECORD_ERROR && record->record.error == error)
            return true;
    return false;
}

/* Goal: a position that retention has overtaken is reported, the log's start is told, and the partition goes on from
 * there after a seek; in both kinds of groups, and the other partition has everything once.
 * Method: a member starts at 0 of a log that begins at 700. */
static void check_overtaken(const char *strategy)
{
    struct weir_broker_name topic = weir_broker_name("trim"), group = weir_broker_name("trim");
    weir_broker_topic_create(topic.text, 2, NULL);
    weir_broker_produce(topic.text, MESSAGES, make_small, NULL, NULL);
    weir_broker_topic_trim(topic.text, 0, 700);
    struct weir_driver *driver = weir_driver_create(weir_broker_bootstrap(), group.text, topic.text,
                                                    (const char *[]){"partition.assignment.strategy", strategy, NULL});
    WEIR_DRIVER_UNTIL(driver, has_error(driver, WEIR_KAFKA_OUT_OF_RANGE) && driver->record_count == MESSAGES / 2);
    struct weir_driver_partition *partition = weir_driver_partition(driver, topic.text, 0);
    partition->shut = true;
    struct weir_kafka_offset offset = {.topic = topic.text, .partition = 0};
    cr_assert_eq(driver->kafka->ops->fetch_watermarks(driver->kafka, &offset, 1, 1), 0);
    struct weir_driver_event *watermarks = weir_driver_await_tag(driver, WEIR_KAFKA_WATERMARKS, 1);
    cr_assert_eq(watermarks->offsets[0].error, WEIR_KAFKA_NONE);
    cr_assert_eq(watermarks->offsets[0].offset, 700);
    cr_assert_eq(watermarks->offsets[0].high_offset, MESSAGES / 2);
    offset.offset = watermarks->offsets[0].offset;
    cr_assert_eq(driver->kafka->ops->seek(driver->kafka, &offset, 1, 2), 0);
    struct weir_driver_event *sought = weir_driver_await_tag(driver, WEIR_KAFKA_SOUGHT, 2);
    cr_assert_eq(sought->offsets[0].error, WEIR_KAFKA_NONE, "%s", sought->text);
    partition->shut = false;
    WEIR_DRIVER_UNTIL(driver, driver->record_count == MESSAGES / 2 + MESSAGES / 2 - 700);
    int64_t next[2] = {700, 0};
    for (const struct weir_driver_record *record = driver->records; record; record = record->next)
        if (record->record.kind == WEIR_RECORD_MESSAGE)
            cr_assert_eq(record->record.offset, next[record->partition]++);
    weir_driver_destroy(driver);
    weir_broker_topic_delete(topic.text);
}

Test(kafka_door, a_position_that_was_overtaken_is_reported_and_sought_in_a_cooperative_group)
{
    check_overtaken("cooperative-sticky");
}

Test(kafka_door, a_position_that_was_overtaken_is_reported_and_sought_in_an_eager_group)
{
    check_overtaken("range");
}

/* Goal: metadata above the broker's bound is refused as such and changes nothing; at the bound it is kept. */
Test(kafka_door, metadata_is_refused_above_the_brokers_bound_only)
{
    enum { BOUND = 4096 }; /* offset.metadata.max.bytes, as Kafka sets it */
    struct weir_broker_name topic = weir_broker_name("metadata"), group = weir_broker_name("metadata");
    weir_broker_topic_create(topic.text, 1, NULL);
    weir_broker_produce(topic.text, 10, make_first, NULL, NULL);
    struct weir_driver *driver = weir_driver_create(weir_broker_bootstrap(), group.text, topic.text, NULL);
    WEIR_DRIVER_UNTIL(driver, driver->record_count == 10);
    static char metadata[BOUND + 2], back[BOUND + 2];
    memset(metadata, 'm', BOUND + 1);
    struct weir_kafka_offset commit = {.topic = topic.text,
                                       .partition = 0,
                                       .offset = 5,
                                       .metadata = metadata,
                                       .metadata_size = BOUND + 1,
                                       .leader_epoch = -1};
    cr_assert_eq(driver->kafka->ops->commit(driver->kafka, &commit, 1, 1), 0);
    struct weir_driver_event *committed = weir_driver_await_tag(driver, WEIR_KAFKA_COMMITTED, 1);
    cr_assert_eq(committed->event.error, WEIR_KAFKA_METADATA_TOO_LARGE, "%s", committed->text);
    cr_assert_eq(committed->offsets[0].error, WEIR_KAFKA_METADATA_TOO_LARGE);
    cr_assert_eq(weir_broker_committed(group.text, topic.text, 0, back, sizeof back), -1);
    commit.metadata_size = BOUND;
    cr_assert_eq(driver->kafka->ops->commit(driver->kafka, &commit, 1, 2), 0);
    committed = weir_driver_await_tag(driver, WEIR_KAFKA_COMMITTED, 2);
    cr_assert_eq(committed->event.error, WEIR_KAFKA_NONE, "%s", committed->text);
    cr_assert_eq(weir_broker_committed(group.text, topic.text, 0, back, sizeof back), 5);
    cr_assert_eq(strlen(back), BOUND);
    weir_driver_destroy(driver);
    weir_broker_topic_delete(topic.text);
}
