/* Requests through the real door to Kafka: commits and what is read back, log ends, and that each is answered once. */
#include "tests/support/kafka_driver.h"
#include "tests/support/mock.h"
#include "tests/support/test.h"
#include <stdio.h>
#include <string.h>

static const char TOPIC[] = "orders";

/* A member that owns all partitions of TOPIC, 10 messages each, all pulled. */
static struct weir_driver *settle(struct weir_mock *mock, int partitions, const char *const *settings)
{
    weir_mock_topic_create(mock, TOPIC, partitions);
    for (int32_t partition = 0; partition < partitions; partition++)
        weir_mock_produce_many(mock, TOPIC, partition, 0, 10, 3);
    struct weir_driver *driver = weir_driver_create(weir_mock_bootstrap(mock), "g", TOPIC, settings);
    WEIR_DRIVER_UNTIL(driver, driver->record_count == 10u * (unsigned)partitions);
    return driver;
}

static int commit(struct weir_driver *driver, int32_t partition, int64_t offset, const char *metadata, uint64_t tag)
{
    struct weir_kafka_offset commit = {.topic = TOPIC,
                                       .partition = partition,
                                       .offset = offset,
                                       .metadata = metadata,
                                       .metadata_size = metadata ? strlen(metadata) : 0,
                                       .leader_epoch = -1};
    return driver->kafka->ops->commit(driver->kafka, &commit, 1, tag);
}

static const struct weir_kafka_offset *find(const struct weir_driver_event *event, int32_t partition)
{
    for (size_t index = 0; index < event->event.count; index++)
        if (event->offsets[index].partition == partition)
            return &event->offsets[index];
    cr_assert_fail("partition %d is not in the answer", (int)partition);
    return NULL;
}

/* Goal: offset and metadata of a commit come back from the broker as they were written, partition by partition.
 * Method: one of 3,000 characters, one without metadata, one partition never committed. */
Test(kafka_requests, a_commit_is_read_back_with_its_metadata)
{
    struct weir_mock *mock = weir_mock_create(1);
    struct weir_driver *driver = settle(mock, 3, NULL);
    char metadata[3001];
    memset(metadata, 'm', sizeof metadata - 1);
    metadata[sizeof metadata - 1] = '\0';
    struct weir_kafka_offset commits[] = {{.topic = TOPIC,
                                           .partition = 0,
                                           .offset = 4,
                                           .metadata = metadata,
                                           .metadata_size = sizeof metadata - 1,
                                           .leader_epoch = -1},
                                          {.topic = TOPIC, .partition = 2, .offset = 7, .leader_epoch = -1}};
    cr_assert_eq(driver->kafka->ops->commit(driver->kafka, commits, 2, 11), 0);
    struct weir_driver_event *committed = weir_driver_await_tag(driver, WEIR_KAFKA_COMMITTED, 11);
    cr_assert_eq(committed->event.error, WEIR_KAFKA_NONE);
    cr_assert_eq(committed->event.count, 2);
    cr_assert_eq(find(committed, 0)->error, WEIR_KAFKA_NONE);
    cr_assert_eq(find(committed, 2)->offset, 7);

    struct weir_kafka_offset wanted[] = {
        {.topic = TOPIC, .partition = 0}, {.topic = TOPIC, .partition = 1}, {.topic = TOPIC, .partition = 2}};
    cr_assert_eq(driver->kafka->ops->fetch_committed(driver->kafka, wanted, 3, 12), 0);
    struct weir_driver_event *fetched = weir_driver_await_tag(driver, WEIR_KAFKA_FETCHED, 12);
    cr_assert_eq(fetched->event.error, WEIR_KAFKA_NONE);
    cr_assert_eq(fetched->event.count, 3);
    cr_assert_eq(find(fetched, 0)->offset, 4);
    cr_assert_not_null(find(fetched, 0)->metadata);
    cr_assert_str_eq(find(fetched, 0)->metadata, metadata);
    cr_assert_eq(find(fetched, 1)->offset, -1);
    cr_assert_eq(find(fetched, 2)->offset, 7);
    cr_assert(!find(fetched, 2)->metadata || find(fetched, 2)->metadata_size == 0);
    weir_driver_destroy(driver);
    cr_assert_eq(weir_mock_committed(mock, "g", TOPIC, 0, metadata, sizeof metadata), 4);
    weir_mock_destroy(mock);
}

struct failure {
    rd_kafka_resp_err_t code;
    enum weir_kafka_error error;
};

/* Goal: each class of refused commits comes back as such, for the whole and for the partition, and the next passes. */
Test(kafka_requests, refused_commits_say_why)
{
    static const struct failure FAILURES[] = {
        {RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE, WEIR_KAFKA_METADATA_TOO_LARGE},
        {RD_KAFKA_RESP_ERR_INVALID_COMMIT_OFFSET_SIZE, WEIR_KAFKA_METADATA_TOO_LARGE},
        {RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, WEIR_KAFKA_RETRIABLE},
        {RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, WEIR_KAFKA_AUTHORIZATION},
    };
    struct weir_mock *mock = weir_mock_create(1);
    struct weir_driver *driver = settle(mock, 1, NULL);
    for (uint64_t index = 0; index < sizeof FAILURES / sizeof FAILURES[0]; index++) {
        weir_mock_fail(mock, WEIR_MOCK_OFFSET_COMMIT, FAILURES[index].code, 1);
        cr_assert_eq(commit(driver, 0, 5, "x", index), 0);
        struct weir_driver_event *committed = weir_driver_await_tag(driver, WEIR_KAFKA_COMMITTED, index);
        cr_assert_eq(committed->event.error, FAILURES[index].error, "%d came back as %s", (int)FAILURES[index].code,
                     weir_kafka_error_name(committed->event.error));
        cr_assert_eq(committed->offsets[0].error, FAILURES[index].error);
        cr_assert_not_null(committed->event.text);
    }
    cr_assert_eq(commit(driver, 0, 6, "x", 99), 0);
    cr_assert_eq(weir_driver_await_tag(driver, WEIR_KAFKA_COMMITTED, 99)->event.error, WEIR_KAFKA_NONE);
    weir_driver_destroy(driver);
    cr_assert_eq(weir_mock_committed(mock, "g", TOPIC, 0, NULL, 0), 6);
    weir_mock_destroy(mock);
}

/* Goal: a member that is none any more is told so by its commit, loses its partitions without being asked to commit,
 * and joins again. */
Test(kafka_requests, a_commit_of_an_old_generation_loses_the_assignment)
{
    struct weir_mock *mock = weir_mock_create(1);
    struct weir_driver *driver = settle(mock, 2, NULL);
    weir_mock_fail(mock, WEIR_MOCK_OFFSET_COMMIT, RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, 1);
    cr_assert_eq(commit(driver, 0, 5, NULL, 1), 0);
    cr_assert_eq(weir_driver_await_tag(driver, WEIR_KAFKA_COMMITTED, 1)->event.error, WEIR_KAFKA_GENERATION);
    struct weir_driver_event *lost = weir_driver_await(driver, WEIR_KAFKA_LOST);
    cr_assert_eq(lost->event.count, 2);
    cr_assert_null(weir_driver_take(driver, WEIR_KAFKA_REVOKE));
    WEIR_DRIVER_UNTIL(driver, weir_driver_owned(driver) == 2);
    weir_driver_destroy(driver);
    weir_mock_destroy(mock);
}

/* Goal: log start and end of many partitions in one answer, of one that does not exist its error. */
Test(kafka_requests, watermarks_come_for_each_partition)
{
    struct weir_mock *mock = weir_mock_create(2);
    struct weir_driver *driver = settle(mock, 3, NULL);
    weir_mock_produce_many(mock, TOPIC, 1, 10, 5, 3);
    struct weir_kafka_offset wanted[] = {
        {.topic = TOPIC, .partition = 2}, {.topic = TOPIC, .partition = 0}, {.topic = TOPIC, .partition = 1}};
    cr_assert_eq(driver->kafka->ops->fetch_watermarks(driver->kafka, wanted, 3, 5), 0);
    struct weir_driver_event *event = weir_driver_await_tag(driver, WEIR_KAFKA_WATERMARKS, 5);
    cr_assert_eq(event->event.count, 3);
    for (int32_t partition = 0; partition < 3; partition++) {
        cr_assert_eq(find(event, partition)->error, WEIR_KAFKA_NONE);
        cr_assert_eq(find(event, partition)->offset, 0);
        cr_assert_eq(find(event, partition)->high_offset, partition == 1 ? 15 : 10);
    }
    struct weir_kafka_offset missing[] = {{.topic = TOPIC, .partition = 0}, {.topic = TOPIC, .partition = 7}};
    cr_assert_eq(driver->kafka->ops->fetch_watermarks(driver->kafka, missing, 2, 6), 0);
    event = weir_driver_await_tag(driver, WEIR_KAFKA_WATERMARKS, 6);
    cr_assert_eq(event->event.count, 2);
    cr_assert_eq(find(event, 0)->error, WEIR_KAFKA_NONE);
    cr_assert_eq(find(event, 0)->high_offset, 10);
    cr_assert_neq(find(event, 7)->error, WEIR_KAFKA_NONE);
    weir_driver_destroy(driver);
    weir_mock_destroy(mock);
}

/* Goal: requests that meet passing trouble are tried again by themselves. */
Test(kafka_requests, passing_trouble_is_tried_again)
{
    struct weir_mock *mock = weir_mock_create(1);
    struct weir_driver *driver = settle(mock, 1, NULL);
    cr_assert_eq(commit(driver, 0, 3, "text", 1), 0);
    weir_driver_await_tag(driver, WEIR_KAFKA_COMMITTED, 1);
    struct weir_kafka_offset wanted = {.topic = TOPIC, .partition = 0};
    weir_mock_fail(mock, WEIR_MOCK_OFFSET_FETCH, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, 2);
    cr_assert_eq(driver->kafka->ops->fetch_committed(driver->kafka, &wanted, 1, 2), 0);
    struct weir_driver_event *fetched = weir_driver_await_tag(driver, WEIR_KAFKA_FETCHED, 2);
    cr_assert_eq(fetched->offsets[0].error, WEIR_KAFKA_NONE, "%s", fetched->text);
    cr_assert_eq(fetched->offsets[0].offset, 3);
    weir_mock_fail(mock, WEIR_MOCK_LIST_OFFSETS, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, 1);
    cr_assert_eq(driver->kafka->ops->fetch_watermarks(driver->kafka, &wanted, 1, 3), 0);
    struct weir_driver_event *watermarks = weir_driver_await_tag(driver, WEIR_KAFKA_WATERMARKS, 3);
    cr_assert_eq(watermarks->offsets[0].error, WEIR_KAFKA_NONE, "%s", watermarks->text);
    cr_assert_eq(watermarks->offsets[0].high_offset, 10);
    weir_driver_destroy(driver);
    weir_mock_destroy(mock);
}

/* Goal: a partition that is not owned cannot be sought, and that is said without waiting. */
Test(kafka_requests, what_is_not_owned_cannot_be_sought)
{
    struct weir_mock *mock = weir_mock_create(1);
    struct weir_driver *driver = settle(mock, 1, NULL);
    struct weir_kafka_offset offsets[] = {{.topic = "other", .partition = 0, .offset = 1}};
    cr_assert_eq(driver->kafka->ops->seek(driver->kafka, offsets, 1, 1), 0);
    cr_assert_eq(weir_driver_await_tag(driver, WEIR_KAFKA_SOUGHT, 1)->offsets[0].error, WEIR_KAFKA_GENERATION);
    cr_assert_eq(driver->kafka->ops->seek(driver->kafka, offsets, 0, 2), WEIR_INVALID);
    weir_driver_destroy(driver);
    weir_mock_destroy(mock);
}

/* Goal: the client tells what it has heard of the cluster, without being waited for. */
Test(kafka_requests, partitions_and_cluster_become_known)
{
    struct weir_mock *mock = weir_mock_create(1);
    struct weir_driver *driver = settle(mock, 3, NULL);
    weir_mock_topic_create(mock, "dead", 5);
    struct weir_kafka *kafka = driver->kafka;
    WEIR_DRIVER_UNTIL(driver, kafka->ops->partition_count(kafka, TOPIC) == 3);
    WEIR_DRIVER_UNTIL(driver, kafka->ops->partition_count(kafka, "dead") == 5);
    WEIR_DRIVER_UNTIL(driver, kafka->ops->cluster_id(kafka));
    cr_assert_str_neq(kafka->ops->cluster_id(kafka), "");
    struct weir_driver_event *statistics = weir_driver_await(driver, WEIR_KAFKA_STATISTICS);
    cr_assert_gt(statistics->event.fetched_bytes, 100);
    weir_driver_destroy(driver);
    weir_mock_destroy(mock);
}
