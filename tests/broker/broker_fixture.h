/*
 * The real Kafka that the tests of this folder use, and what they need of it besides Weir: topics, records put in and
 * read back, committed offsets, faults.
 *
 * `./dev test broker` starts Kafka and passes
 *   WEIR_TEST_BOOTSTRAP       its address
 *   WEIR_TEST_KAFKA_CONTROL   a command that acts on it: "$WEIR_TEST_KAFKA_CONTROL kill", see ./dev kafka help
 *   WEIR_TEST_KAFKA           the command `./dev kafka`, for clusters of a test's own
 *
 * Nothing here returns an error: what fails, fails the test. Calls block, for at most WEIR_BROKER_WAIT_MS.
 * Thread: the test's own. What is not here: Weir's consumer; the tests make their own.
 */
#ifndef WEIR_TESTS_BROKER_FIXTURE_H
#define WEIR_TESTS_BROKER_FIXTURE_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WEIR_BROKER_WAIT_MS = 60000 };

/** Address of the cluster in use: the shared one, or the test's own after weir_broker_start(). Lent. */
const char *weir_broker_bootstrap(void);

/**
 * Use a cluster of this test's own from now on, for tests that break it or set it up differently. Takes 5 to 12 s.
 * It ends with weir_broker_stop(), and in any case with this process.
 *
 * options: of `./dev kafka start`, as in "--brokers 3 --set log.cleaner.backoff.ms=100"; "" for none.
 */
void weir_broker_start(const char *options);
void weir_broker_stop(void);

/** Act on the cluster in use: "kill", "pause 2", "resume", "restart", "config topic orders max.message.bytes=1000". */
void weir_broker_control(const char *command);

/* ---- topics and groups ---- */

struct weir_broker_name {
    char text[96];
};
/** A name that no other test has. */
struct weir_broker_name weir_broker_name(const char *stem);

/** config: name, value, name, value, ..., NULL; or NULL for none. Returns when the topic can be written. */
void weir_broker_topic_create(const char *topic, int partitions, const char *const *config);
/** The same with all partitions on one broker and no other. */
void weir_broker_topic_place(const char *topic, int partitions, int32_t broker);
void weir_broker_topic_grow(const char *topic, int partitions);
void weir_broker_topic_delete(const char *topic);
/** Delete the records below an offset: what the log's retention does. */
void weir_broker_topic_trim(const char *topic, int32_t partition, int64_t offset);
void weir_broker_watermarks(const char *topic, int32_t partition, int64_t *low, int64_t *high);
/** Where a transaction begins that has not ended, and that readers of committed records do not get past; -1: none. */
int64_t weir_broker_open_transaction(const char *topic, int32_t partition);

/** What a group has committed: the offset, or -1, and its metadata cut to `metadata_size` ("" where none). */
int64_t weir_broker_committed(const char *group, const char *topic, int32_t partition, char *metadata,
                              size_t metadata_size);
/** The offsets of partitions 0 to count - 1, in one request; -1 where there is none. */
void weir_broker_committed_all(const char *group, const char *topic, int32_t count, int64_t *offsets);
/** Commit for a group that has no members. metadata: NULL for none. */
void weir_broker_commit(const char *group, const char *topic, int32_t partition, int64_t offset, const char *metadata);

/* ---- records ---- */

struct weir_broker_record {
    const void *key; /* NULL: null key */
    const void *value;
    size_t key_size, value_size;
    int32_t partition;    /* -1: by the key */
    int64_t timestamp_ms; /* 0: now */
};

/**
 * Put `count` records in, idempotently, and return when all have been acknowledged.
 *
 * make:      fills in record `index`; what it points to must stay until its next call.
 * delivered: told where each ended up, in order of acknowledgement; NULL if nobody cares.
 */
void weir_broker_produce(const char *topic, size_t count,
                         void (*make)(void *user, size_t index, struct weir_broker_record *record),
                         void (*delivered)(void *user, size_t index, int32_t partition, int64_t offset), void *user);

/** What is produced from now on comes in batches of about so many bytes at most; 0: as large as librdkafka likes. */
void weir_broker_batch_size(size_t size);

/** Show every record that the topic holds now, committed transactions only, partition by partition in order. */
uint64_t weir_broker_read(const char *topic, void (*visit)(void *user, rd_kafka_message_t *message), void *user);

/** How many it holds, those of aborted transactions too. */
uint64_t weir_broker_count_all(const char *topic);

/* ---- waiting ---- */

uint64_t weir_broker_now_ms(void);
void weir_broker_pause_briefly(void); /* 10 ms */

/* Wait until a condition holds; fail the test when it does not within WEIR_BROKER_WAIT_MS. */
#define WEIR_BROKER_UNTIL(condition)                                                                \
    do {                                                                                            \
        uint64_t deadline_ms_ = weir_broker_now_ms() + WEIR_BROKER_WAIT_MS;                         \
        while (!(condition)) {                                                                      \
            cr_assert_lt(weir_broker_now_ms(), deadline_ms_, "waited too long for %s", #condition); \
            weir_broker_pause_briefly();                                                            \
        }                                                                                           \
    } while (0)

#endif
