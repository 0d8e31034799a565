/*
 * librdkafka's mock cluster for scenario tests: brokers on loopback inside this process.
 *
 * What it cannot do: it keeps 5 MiB a partition (older batches vanish silently), gives one batch a partition a fetch,
 * and an empty fetch waits fetch.wait.max.ms in full. The first join of a group takes 3 s, later rebalances the session
 * timeout less 1 s: set session.timeout.ms to 3000 or so. Topics are created at first use, with 4 partitions.
 *
 * Every function aborts the test's process with a sentence where the cluster refuses: a broken fixture proves nothing.
 * Thread: any, one at a time.
 */
#ifndef WEIR_TESTS_MOCK_H
#define WEIR_TESTS_MOCK_H

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stddef.h>
#include <stdint.h>

struct weir_mock;

struct weir_mock *weir_mock_create(int brokers);
void weir_mock_destroy(struct weir_mock *mock);

/* "127.0.0.1:port,..." Lent. */
const char *weir_mock_bootstrap(const struct weir_mock *mock);
/* For what is not wrapped here: rd_kafka_mock_*(). Lent. */
rd_kafka_mock_cluster_t *weir_mock_cluster(const struct weir_mock *mock);

void weir_mock_topic_create(struct weir_mock *mock, const char *topic, int partitions);

/* One message, acknowledged when the call returns. partition: RD_KAFKA_PARTITION_UA picks one by key. NULL: null.
 * Returns its offset. */
int64_t weir_mock_produce(struct weir_mock *mock, const char *topic, int32_t partition, const void *key,
                          size_t key_size, const void *value, size_t value_size);

/* The same for texts, with one header. */
void weir_mock_produce_header(struct weir_mock *mock, const char *topic, const char *key, const char *value,
                              const char *name, const char *header);

/* `count` messages with keys "key-<number % keys>" and values "value-<number>", number from `first`; acknowledged when
 * the call returns. The partition is picked by key (UA) or given. */
void weir_mock_produce_many(struct weir_mock *mock, const char *topic, int32_t partition, unsigned first,
                            unsigned count, unsigned keys);

/* Offsets at the ends of a partition. */
int64_t weir_mock_end_offset(struct weir_mock *mock, const char *topic, int32_t partition);

/* What a group has committed there, or -1; the metadata is copied into `metadata` (size of `size`, may be NULL). */
int64_t weir_mock_committed(struct weir_mock *mock, const char *group, const char *topic, int32_t partition,
                            char *metadata, size_t size);

/* Take a broker (1 .. brokers) down, and up again. */
void weir_mock_broker_down(struct weir_mock *mock, int broker);
void weir_mock_broker_up(struct weir_mock *mock, int broker);

/* The next `count` requests of that API (enum below) fail with `error`. */
void weir_mock_fail(struct weir_mock *mock, int16_t api, rd_kafka_resp_err_t error, unsigned count);
void weir_mock_fail_no_more(struct weir_mock *mock, int16_t api);

/* Kafka's numbers of the requests that tests make fail. */
enum {
    WEIR_MOCK_PRODUCE = 0,
    WEIR_MOCK_FETCH = 1,
    WEIR_MOCK_LIST_OFFSETS = 2,
    WEIR_MOCK_METADATA = 3,
    WEIR_MOCK_OFFSET_COMMIT = 8,
    WEIR_MOCK_OFFSET_FETCH = 9,
    WEIR_MOCK_FIND_COORDINATOR = 10,
    WEIR_MOCK_JOIN_GROUP = 11,
    WEIR_MOCK_HEARTBEAT = 12,
    WEIR_MOCK_LEAVE_GROUP = 13,
    WEIR_MOCK_SYNC_GROUP = 14,
    WEIR_MOCK_INIT_PRODUCER_ID = 22,
};

#endif
