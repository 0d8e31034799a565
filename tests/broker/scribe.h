/*
 * A producer for records that the fixture's is too plain for: headers, times, codecs, transactions.
 *
 * Nothing here returns an error: what fails, fails the test. Thread: the test's own.
 */
#ifndef WEIR_TESTS_SCRIBE_H
#define WEIR_TESTS_SCRIBE_H

#include <librdkafka/rdkafka.h>
#include <stddef.h>
#include <stdint.h>

struct weir_scribe_header {
    const char *name;
    const void *value; /* NULL: null */
    size_t value_size;
};

struct weir_scribe_record {
    int32_t partition;
    const void *key, *value; /* NULL: null */
    size_t key_size, value_size;
    int64_t timestamp_ms; /* 0: now */
    const struct weir_scribe_header *headers;
    size_t header_count;
};

struct weir_scribe {
    rd_kafka_t *kafka;
    uint64_t written, acknowledged;
    char error[256]; /* the first that went wrong */
};

/** settings: name, value, ..., NULL over bootstrap.servers; idempotent, large messages allowed. */
void weir_scribe_open(struct weir_scribe *scribe, const char *const *settings);
void weir_scribe_write(struct weir_scribe *scribe, const char *topic, const struct weir_scribe_record *record);
/** Wait until all that was written is acknowledged. */
void weir_scribe_flush(struct weir_scribe *scribe);
void weir_scribe_close(struct weir_scribe *scribe); /* flushes */

/* Transactions, for a scribe with a transactional.id. */
void weir_scribe_begin(struct weir_scribe *scribe);
void weir_scribe_commit(struct weir_scribe *scribe);
void weir_scribe_abort(struct weir_scribe *scribe);

#endif
