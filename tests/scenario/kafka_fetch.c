/* Pulling through the real door to Kafka, on the mock cluster. */
#include "actors/librdkafka/client.h"
#include "tests/support/kafka_driver.h"
#include "tests/support/mock.h"
#include "tests/support/test.h"
#include <stdio.h>
#include <string.h>

static const char TOPIC[] = "orders";

/* Kept messages of a partition must be consecutive from `first`; returns how many there are. */
static unsigned check_order(const struct weir_driver *driver, int32_t partition, int64_t first)
{
    unsigned count = 0;
    for (const struct weir_driver_record *record = driver->records; record; record = record->next) {
        if (record->partition != partition || record->record.kind != WEIR_RECORD_MESSAGE)
            continue;
        cr_assert_eq(record->record.offset, first + count, "partition %d: offset %lld instead of %lld", (int)partition,
                     (long long)record->record.offset, (long long)(first + count));
        count++;
    }
    return count;
}

/* Count of the wakes of a queue that is empty: whatever comes from now on makes one more. So the count is read before
 * it is seen to be empty, and with nothing of the test's own in between; librdkafka wakes at that edge only, and the
 * end of the partition may come at any time. */
static unsigned drained(const struct weir_driver *driver, struct weir_driver_partition *partition)
{
    struct weir_record record;
    unsigned wakes = atomic_load(&partition->wakes);
    while (driver->kafka->ops->pull(partition->queue, &record, 1) > 0) {
        cr_assert_eq(record.kind, WEIR_RECORD_EOF, "there is more than the end in the queue");
        wakes = atomic_load(&partition->wakes);
    }
    return wakes;
}

static const struct weir_driver_record *find_record(const struct weir_driver *driver, enum weir_record_kind kind)
{
    const struct weir_driver_record *record = driver->records;
    while (record && record->record.kind != kind)
        record = record->next;
    return record;
}

/* Goal: records come from the given start, complete, in order, as they were produced.
 * Method: three partitions from offset 5; every key and value compared with what was written. */
Test(kafka_fetch, records_come_in_order_from_the_start_given)
{
    struct weir_mock *mock = weir_mock_create(1);
    weir_mock_topic_create(mock, TOPIC, 3);
    for (int32_t partition = 0; partition < 3; partition++)
        weir_mock_produce_many(mock, TOPIC, partition, 0, 1000, 7);
    struct weir_driver *driver = weir_driver_make(weir_mock_bootstrap(mock), "g", TOPIC, NULL);
    driver->start = 5;
    weir_driver_start(driver);
    WEIR_DRIVER_UNTIL(driver, driver->record_count >= 3 * 995);
    for (int32_t partition = 0; partition < 3; partition++)
        cr_assert_eq(check_order(driver, partition, 5), 995);
    for (const struct weir_driver_record *record = driver->records; record; record = record->next) {
        if (record->record.kind != WEIR_RECORD_MESSAGE)
            continue;
        char key[32], value[32];
        snprintf(key, sizeof key, "key-%lld", (long long)record->record.offset % 7);
        snprintf(value, sizeof value, "value-%lld", (long long)record->record.offset);
        cr_assert_str_eq(record->key, key);
        cr_assert_str_eq(record->value, value);
        cr_assert_eq(record->record.value_size, strlen(value));
        cr_assert_gt(record->record.timestamp_ms, 0);
    }
    weir_driver_destroy(driver);
    weir_mock_destroy(mock);
}

/* Goal: null and empty are told apart, in keys and in values. */
Test(kafka_fetch, null_is_not_empty)
{
    struct weir_mock *mock = weir_mock_create(1);
    weir_mock_topic_create(mock, TOPIC, 1);
    weir_mock_produce(mock, TOPIC, 0, NULL, 0, "v", 1);
    weir_mock_produce(mock, TOPIC, 0, "", 0, "v", 1);
    weir_mock_produce(mock, TOPIC, 0, "k", 1, NULL, 0);
    weir_mock_produce(mock, TOPIC, 0, "k", 1, "", 0);
    struct weir_driver *driver = weir_driver_create(weir_mock_bootstrap(mock), "g", TOPIC, NULL);
    WEIR_DRIVER_UNTIL(driver, driver->record_count == 4);
    const struct weir_driver_record *record = driver->records;
    cr_assert(!record->record.key && record->record.key_size == 0);
    record = record->next;
    cr_assert(record->record.key && record->record.key_size == 0);
    record = record->next;
    cr_assert(!record->record.value && record->record.value_size == 0);
    record = record->next;
    cr_assert(record->record.value && record->record.value_size == 0);
    weir_driver_destroy(driver);
    weir_mock_destroy(mock);
}

/* Goal: assigned without a start, a partition delivers nothing until it is sought, and then from there.
 * Method: 100 messages lie there; the queue is looked into before the seek; one more is produced after it. */
Test(kafka_fetch, a_partition_without_a_start_waits_to_be_sought)
{
    struct weir_mock *mock = weir_mock_create(1);
    weir_mock_topic_create(mock, TOPIC, 1);
    weir_mock_produce_many(mock, TOPIC, 0, 0, 100, 7);
    struct weir_driver *driver = weir_driver_make(weir_mock_bootstrap(mock), "g", TOPIC, NULL);
    driver->start = -1;
    weir_driver_start(driver);
    WEIR_DRIVER_UNTIL(driver, weir_driver_owned(driver) == 1);
    struct weir_driver_partition *partition = weir_driver_partition(driver, TOPIC, 0);
    struct weir_kafka_offset offset = {.topic = TOPIC, .partition = 0, .offset = 40};
    cr_assert_eq(driver->kafka->ops->seek(driver->kafka, &offset, 1, 77), 0);
    struct weir_driver_event *sought = weir_driver_await_tag(driver, WEIR_KAFKA_SOUGHT, 77);
    cr_assert_eq(sought->event.count, 1);
    cr_assert_eq(sought->event.error, WEIR_KAFKA_NONE);
    cr_assert_eq(sought->offsets[0].error, WEIR_KAFKA_NONE);
    partition->shut = false;
    WEIR_DRIVER_UNTIL(driver, driver->record_count == 60);
    cr_assert_eq(check_order(driver, 0, 40), 60);

    /* And back again, while it is fetching. */
    partition->shut = true;
    weir_driver_forget_records(driver);
    offset.offset = 10;
    cr_assert_eq(driver->kafka->ops->seek(driver->kafka, &offset, 1, 78), 0);
    weir_driver_await_tag(driver, WEIR_KAFKA_SOUGHT, 78);
    partition->shut = false;
    WEIR_DRIVER_UNTIL(driver, driver->record_count == 90);
    cr_assert_eq(check_order(driver, 0, 10), 90);
    weir_driver_destroy(driver);
    weir_mock_destroy(mock);
}

/* Goal: a queue wakes its owner when it goes from empty to non-empty, and only a drained one needs to be.
 * Method: drain, note the count of wakes, produce, wait for one more; four times. */
Test(kafka_fetch, a_drained_queue_wakes_its_owner)
{
    struct weir_mock *mock = weir_mock_create(1);
    weir_mock_topic_create(mock, TOPIC, 1);
    struct weir_driver *driver = weir_driver_create(weir_mock_bootstrap(mock), "g", TOPIC, NULL);
    WEIR_DRIVER_UNTIL(driver, weir_driver_owned(driver) == 1);
    struct weir_driver_partition *partition = weir_driver_partition(driver, TOPIC, 0);
    for (unsigned round = 1; round <= 4; round++) {
        unsigned before = drained(driver, partition);
        partition->shut = true;
        weir_mock_produce_many(mock, TOPIC, 0, 0, 10, 3);
        WEIR_DRIVER_UNTIL(driver, atomic_load(&partition->wakes) > before);
        partition->shut = false;
        WEIR_DRIVER_UNTIL(driver, driver->record_count == 10 * round);
        /* The end of the partition is reported behind what was read. */
        if (weir_rdkafka_eof_is_safe(rd_kafka_version() >> 8))
            WEIR_DRIVER_UNTIL(driver, find_record(driver, WEIR_RECORD_EOF));
        for (unsigned turn = 0; turn < 100; turn++)
            weir_driver_turn(driver);
    }
    weir_driver_destroy(driver);
    weir_mock_destroy(mock);
}

/* Goal: the end is reported with its offset, behind the last message, where this librdkafka can be trusted with it. */
Test(kafka_fetch, the_end_of_a_partition_is_reported_with_its_offset)
{
    cr_assert(weir_rdkafka_eof_is_safe(0x020002) && weir_rdkafka_eof_is_safe(0x0201ff));
    cr_assert(!weir_rdkafka_eof_is_safe(0x020200) && !weir_rdkafka_eof_is_safe(0x020800));
    cr_assert(!weir_rdkafka_eof_is_safe(0x020d01) && weir_rdkafka_eof_is_safe(0x020d02));
    struct weir_mock *mock = weir_mock_create(1);
    weir_mock_topic_create(mock, TOPIC, 1);
    weir_mock_produce_many(mock, TOPIC, 0, 0, 30, 3);
    struct weir_driver *driver = weir_driver_create(weir_mock_bootstrap(mock), "g", TOPIC, NULL);
    WEIR_DRIVER_UNTIL(driver, driver->record_count == 30);
    if (weir_rdkafka_eof_is_safe(rd_kafka_version() >> 8)) {
        WEIR_DRIVER_UNTIL(driver, find_record(driver, WEIR_RECORD_EOF));
        const struct weir_driver_record *end = find_record(driver, WEIR_RECORD_EOF);
        cr_assert_eq(end->record.offset, 30);
        cr_assert_null(end->record.native);
        unsigned before = 0;
        for (const struct weir_driver_record *record = driver->records; record != end; record = record->next)
            before += record->record.kind == WEIR_RECORD_MESSAGE;
        cr_assert_eq(before, 30, "the end came before a message");
    }
    weir_driver_destroy(driver);
    weir_mock_destroy(mock);
}

/* Make partition 0 out of range, see it reported, seek it, and go on; partition 1 must notice nothing. */
static void check_out_of_range(const char *strategy)
{
    struct weir_mock *mock = weir_mock_create(1);
    weir_mock_topic_create(mock, TOPIC, 2);
    weir_mock_produce_many(mock, TOPIC, 0, 0, 20, 3);
    weir_mock_produce_many(mock, TOPIC, 1, 0, 500, 3);
    struct weir_driver *driver = weir_driver_create(weir_mock_bootstrap(mock), "g", TOPIC,
                                                    (const char *[]){"partition.assignment.strategy", strategy, NULL});
    WEIR_DRIVER_UNTIL(driver, driver->record_count == 520);
    weir_driver_forget_records(driver);
    struct weir_driver_partition *stopped = weir_driver_partition(driver, TOPIC, 0);
    struct weir_driver_partition *other = weir_driver_partition(driver, TOPIC, 1);

    stopped->shut = true;
    struct weir_kafka_offset offset = {.topic = TOPIC, .partition = 0, .offset = 1000};
    cr_assert_eq(driver->kafka->ops->seek(driver->kafka, &offset, 1, 1), 0);
    cr_assert_eq(weir_driver_await_tag(driver, WEIR_KAFKA_SOUGHT, 1)->offsets[0].error, WEIR_KAFKA_NONE);
    stopped->shut = false;
    WEIR_DRIVER_UNTIL(driver, find_record(driver, WEIR_RECORD_ERROR));
    const struct weir_driver_record *trouble = find_record(driver, WEIR_RECORD_ERROR);
    cr_assert_eq(trouble->record.error, WEIR_KAFKA_OUT_OF_RANGE);
    cr_assert_eq(trouble->partition, 0);

    /* The other partition has messages fetched ahead and not pulled when the first is sought back. */
    other->shut = true;
    unsigned wakes = drained(driver, other);
    weir_mock_produce_many(mock, TOPIC, 1, 500, 300, 3);
    WEIR_DRIVER_UNTIL(driver, atomic_load(&other->wakes) > wakes);
    weir_driver_forget_records(driver);
    stopped->shut = true;
    offset.offset = 12;
    cr_assert_eq(driver->kafka->ops->seek(driver->kafka, &offset, 1, 2), 0);
    struct weir_driver_event *sought = weir_driver_await_tag(driver, WEIR_KAFKA_SOUGHT, 2);
    cr_assert_eq(sought->offsets[0].error, WEIR_KAFKA_NONE, "%s", sought->text);
    stopped->shut = other->shut = false;
    WEIR_DRIVER_UNTIL(driver, driver->record_count >= 8 + 300);
    cr_assert_eq(check_order(driver, 0, 12), 8);
    cr_assert_eq(check_order(driver, 1, 500), 300);
    weir_mock_produce_many(mock, TOPIC, 1, 800, 50, 3);
    WEIR_DRIVER_UNTIL(driver, driver->record_count >= 8 + 350);
    cr_assert_eq(check_order(driver, 1, 500), 350);
    weir_driver_destroy(driver);
    weir_mock_destroy(mock);
}

Test(kafka_fetch, a_partition_out_of_range_is_reported_and_can_be_sought_in_a_cooperative_group)
{
    check_out_of_range("cooperative-sticky");
}

Test(kafka_fetch, a_partition_out_of_range_is_reported_and_can_be_sought_in_an_eager_group)
{
    check_out_of_range("range");
}

/* Goal: a message larger than every fetch limit still comes through, and so do those around it. */
Test(kafka_fetch, a_message_larger_than_all_fetch_limits_comes_through)
{
    enum { SIZE = 4 * 1000 * 1000 }; /* the mock keeps 5 MiB; tests/broker has a larger one */
    struct weir_mock *mock = weir_mock_create(1);
    weir_mock_topic_create(mock, TOPIC, 1);
    char *value = malloc(SIZE);
    memset(value, 'x', SIZE);
    struct weir_driver *driver = weir_driver_create(weir_mock_bootstrap(mock), "g", TOPIC, NULL);
    driver->keep_records = true;
    WEIR_DRIVER_UNTIL(driver, weir_driver_owned(driver) == 1);
    weir_mock_produce(mock, TOPIC, 0, "a", 1, "small", 5);
    WEIR_DRIVER_UNTIL(driver, driver->record_count == 1);
    weir_mock_produce(mock, TOPIC, 0, "b", 1, value, SIZE);
    WEIR_DRIVER_UNTIL(driver, driver->record_count == 2);
    weir_mock_produce(mock, TOPIC, 0, "c", 1, "small", 5);
    WEIR_DRIVER_UNTIL(driver, driver->record_count == 3);
    cr_assert_eq(check_order(driver, 0, 0), 3);
    bool seen = false;
    for (const struct weir_driver_record *record = driver->records; record; record = record->next) {
        if (record->record.kind != WEIR_RECORD_MESSAGE || record->record.value_size != SIZE)
            continue;
        seen = true;
        cr_assert_arr_eq(record->record.value, value, SIZE);
    }
    cr_assert(seen);
    free(value);
    weir_driver_destroy(driver);
    weir_mock_destroy(mock);
}

/* Goal: a refused fetch is reported as what it is, and fetching goes on when it is allowed again. */
Test(kafka_fetch, a_refused_fetch_is_reported_and_goes_on_when_allowed)
{
    struct weir_mock *mock = weir_mock_create(1);
    weir_mock_topic_create(mock, TOPIC, 1);
    weir_mock_produce_many(mock, TOPIC, 0, 0, 5, 3);
    struct weir_driver *driver = weir_driver_create(weir_mock_bootstrap(mock), "g", TOPIC, NULL);
    WEIR_DRIVER_UNTIL(driver, driver->record_count == 5);
    weir_mock_fail(mock, WEIR_MOCK_FETCH, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, 3);
    WEIR_DRIVER_UNTIL(driver, find_record(driver, WEIR_RECORD_ERROR));
    cr_assert_eq(find_record(driver, WEIR_RECORD_ERROR)->record.error, WEIR_KAFKA_AUTHORIZATION);
    cr_assert_str_neq(find_record(driver, WEIR_RECORD_ERROR)->value, "");
    weir_mock_fail_no_more(mock, WEIR_MOCK_FETCH);
    weir_mock_produce_many(mock, TOPIC, 0, 5, 5, 3);
    WEIR_DRIVER_UNTIL(driver, driver->record_count == 10);
    cr_assert_eq(check_order(driver, 0, 0), 10);
    weir_driver_destroy(driver);
    weir_mock_destroy(mock);
}
