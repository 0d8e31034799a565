/*
 * The door to Kafka: one consumer group member and its producer, as a table of functions with two implementations.
 *
 *   librdkafka/   the real one
 *   kafka_fake/   in memory, under the simulator, with faults
 *
 * Everything that may wait for a broker is asynchronous: a request returns at once, its result comes as an event from
 * poll(). Events are handed over on the control thread only.
 *
 * Invariants
 *   K1. wake() of the listener is called, from any thread, whenever poll() may have something to hand over. It may come
 *       too often, never too seldom. poll() is also called by timer.
 *   K2. At most one ASSIGN, REVOKE or LOST event is out at a time. It stays open until answered; while it is open no
 *       partition may be pulled (the caller sees to that), and other events keep coming.
 *   K3. A pull of a partition and a control call (assign, seek) that touches it never overlap: the caller sees to that
 *       by closing partitions before it answers or seeks.
 *   K4. Every request of fetch_committed, fetch_watermarks, seek, commit and transaction_* is answered by exactly one
 * event with its tag, also on failure, also during close; every accepted produce by exactly one DELIVERED. K5. A record
 * stays valid until record_free(), on any thread, whatever happens to its partition; destroy() must come after the last
 * of them.
 *
 * Errors: functions return 0 or a negative enum weir_code; events carry enum weir_kafka_error and a text.
 */
#ifndef WEIR_ACTORS_KAFKA_H
#define WEIR_ACTORS_KAFKA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <weir/error.h>

struct weir_kafka;
struct weir_kafka_queue; /* an assigned partition's fetch queue */

/* What went wrong, as far as anybody acts on it differently. */
enum weir_kafka_error {
    WEIR_KAFKA_NONE = 0,
    WEIR_KAFKA_RETRIABLE,          /* time-out, transport, coordinator moved: try again */
    WEIR_KAFKA_GENERATION,         /* commit by a member that is no longer one: never again with this assignment */
    WEIR_KAFKA_METADATA_TOO_LARGE, /* offset.metadata.max.bytes or the request's size */
    WEIR_KAFKA_TOO_LARGE,          /* message.max.bytes of broker, topic or client */
    WEIR_KAFKA_AUTHORIZATION,
    WEIR_KAFKA_UNKNOWN_TOPIC, /* topic or partition does not exist (any more) */
    WEIR_KAFKA_OUT_OF_RANGE,  /* the position is not in the log */
    WEIR_KAFKA_QUEUE_FULL,    /* the producer's queue: try again after deliveries */
    WEIR_KAFKA_ABORT,         /* the transaction must be aborted; the same may be sent in another one */
    WEIR_KAFKA_FATAL,         /* this client is finished */
    WEIR_KAFKA_OTHER,
};

const char *weir_kafka_error_name(enum weir_kafka_error error);

/* One pulled entry of a partition's queue. */
enum weir_record_kind {
    WEIR_RECORD_MESSAGE = 0,
    WEIR_RECORD_EOF,   /* `offset` is the log's end as fetched: everything below has been handed over */
    WEIR_RECORD_ERROR, /* `error` and `text` say; fetching goes on or not as the error implies */
};

struct weir_record {
    int64_t offset;
    const void *key; /* NULL: null key */
    const void *value;
    size_t key_size, value_size;
    int64_t timestamp_ms; /* -1: none */
    void *native;         /* what record_free and the header calls take; owned by whoever holds the record */
    const char *text;     /* ERROR: lives as long as native */
    enum weir_record_kind kind;
    enum weir_kafka_error error;
};

/* A partition with what a request or event says of it. Which fields count stands with each. */
struct weir_kafka_offset {
    const char *topic;
    int32_t partition;
    int64_t offset;       /* -1: none */
    int64_t high_offset;  /* watermarks: log end */
    const char *metadata; /* text, NUL-terminated; NULL: none */
    size_t metadata_size; /* without the NUL */
    int32_t leader_epoch; /* -1: unknown */
    enum weir_kafka_error error;
};

enum weir_kafka_event_kind {
    WEIR_KAFKA_ASSIGN,     /* offsets: topic, partition. Answer: assign(). May be empty */
    WEIR_KAFKA_REVOKE,     /* likewise. Answer: unassign() */
    WEIR_KAFKA_LOST,       /* likewise, but others own them already: no commit. Answer: unassign() */
    WEIR_KAFKA_FETCHED,    /* result of fetch_committed: offset, metadata, leader_epoch, error each */
    WEIR_KAFKA_WATERMARKS, /* result of fetch_watermarks: offset is the log's start, high_offset its end, error each */
    WEIR_KAFKA_SOUGHT,     /* result of seek: error each */
    WEIR_KAFKA_COMMITTED,  /* result of commit: error of the whole, and each */
    WEIR_KAFKA_DELIVERED,  /* result of produce: opaque, error, text */
    WEIR_KAFKA_TRANSACTED, /* result of a transaction_ request */
    WEIR_KAFKA_TROUBLE,    /* the client reports error and text; FATAL: it is finished */
    WEIR_KAFKA_STATISTICS, /* fetched_bytes: received from brokers since start */
    WEIR_KAFKA_CLOSED,     /* last event: the group has been left, nothing comes any more */
};

/* Lent for the duration of the listener's call. */
struct weir_kafka_event {
    enum weir_kafka_event_kind kind;
    bool cooperative; /* ASSIGN, REVOKE: incremental (true) or the whole assignment (false) */
    uint64_t tag;     /* of the request answered */
    enum weir_kafka_error error;
    const char *text; /* of the error, or NULL */
    const struct weir_kafka_offset *offsets;
    size_t count;
    void *opaque;
    uint64_t fetched_bytes;
};

struct weir_kafka_listener {
    void (*wake)(struct weir_kafka_listener *listener);                                        /* any thread */
    void (*event)(struct weir_kafka_listener *listener, const struct weir_kafka_event *event); /* control, in poll */
};

struct weir_kafka_header {
    const char *name;  /* NUL-terminated */
    const void *value; /* NULL: null */
    size_t value_size;
};

/* What produce() sends. Everything is copied before it returns. */
struct weir_kafka_produce {
    const char *topic;
    const void *key, *value; /* NULL: null */
    size_t key_size, value_size;
    int64_t timestamp_ms; /* -1: now */
    const struct weir_kafka_header *headers;
    size_t header_count;
    bool has_partition; /* else the key chooses */
    int32_t partition;
};

struct weir_kafka_ops {
    /* Connect and join the group for the topics given at creation. The listener is served from now on. */
    int (*start)(struct weir_kafka *kafka, struct weir_kafka_listener *listener, struct weir_error *error);

    /* Hand over what has happened, at most `count_max` events. Control. Never blocks. Returns how many. */
    unsigned (*poll)(struct weir_kafka *kafka, unsigned count_max);

    /* Answer ASSIGN: partitions with the offset to start at (>= 0), for all that the event named (fewer only if close()
     * follows). -1: assigned, but it must be sought before it is pulled. Queues of these were opened before. Control.
     */
    int (*assign)(struct weir_kafka *kafka, const struct weir_kafka_offset *offsets, size_t count);

    /* Answer REVOKE or LOST. Queues of what it named were closed before. Control. */
    int (*unassign)(struct weir_kafka *kafka);

    /* The fetch queue of a partition that is about to be assigned; `wake(argument)` is called, from any thread, when it
     * goes from empty to non-empty (an edge: not after a partial drain). NULL where memory is short. Control. */
    struct weir_kafka_queue *(*queue_open)(struct weir_kafka *kafka, const char *topic, int32_t partition,
                                           void (*wake)(void *argument), void *argument);
    /* After it returns, wake is not called any more. Nobody may be in pull. Control. */
    void (*queue_close)(struct weir_kafka *kafka, struct weir_kafka_queue *queue);

    /* Take up to `count_max` records that are there. Never blocks. The records become the caller's. Worker. */
    unsigned (*pull)(struct weir_kafka_queue *queue, struct weir_record *records, unsigned count_max);

    /* Any thread. */
    void (*record_free)(struct weir_kafka *kafka, void *native);
    /* Header `index` of a record in order; false: none. Lent until record_free. One thread at a time a record. */
    bool (*record_header)(struct weir_kafka *kafka, void *native, size_t index, struct weir_kafka_header *header);

    /* Requests, answered by an event with the tag. The offsets are copied. Control. */
    int (*fetch_committed)(struct weir_kafka *kafka, const struct weir_kafka_offset *offsets, size_t count,
                           uint64_t tag);
    int (*fetch_watermarks)(struct weir_kafka *kafka, const struct weir_kafka_offset *offsets, size_t count,
                            uint64_t tag);
    /* A seek that a rebalance event overtakes is not carried out: it never moves a later assignment. */
    int (*seek)(struct weir_kafka *kafka, const struct weir_kafka_offset *offsets, size_t count, uint64_t tag);
    int (*commit)(struct weir_kafka *kafka, const struct weir_kafka_offset *offsets, size_t count, uint64_t tag);

    /* Send one message with acks=all and idempotence. 0, WEIR_FULL (try again after a DELIVERED), WEIR_NO_MEMORY, or
     * WEIR_INVALID / WEIR_KAFKA for what can never be sent (`error` of the event kinds in *kafka_error); but with
     * RETRIABLE the producer has just failed for good, and the next one may send it. After CLOSED
     * it is refused. Any thread. */
    int (*produce)(struct weir_kafka *kafka, const struct weir_kafka_produce *produce, void *opaque,
                   enum weir_kafka_error *kafka_error);

    /* Transactions, of a client that was made for exactly-once. From begin to the answer of commit or abort one is
     * open; only in between, and after begin has been answered, may be produced, by control. One request at a time.
     *
     * begin    makes a producer if there is none, which ends what an earlier one of its name has left open
     * offsets  of the group, read_committed: they count if and when the transaction is committed. GENERATION: not as
     *          this member of the group
     * commit   after all that was produced has been DELIVERED
     * abort    what has not been delivered comes back as failed, before or after the answer
     *
     * Answered by TRANSACTED with the error: RETRIABLE, ask the same again; ABORT, GENERATION and others, only abort is
     * left; FATAL, the producer is gone with its transaction, and the next begin makes another. A TRANSACTED with
     * the tag 0 says that the open one has come to need an abort, for want of authorization for instance. Control. */
    int (*transaction_begin)(struct weir_kafka *kafka, uint64_t tag);
    int (*transaction_offsets)(struct weir_kafka *kafka, const struct weir_kafka_offset *offsets, size_t count,
                               uint64_t tag);
    int (*transaction_commit)(struct weir_kafka *kafka, uint64_t tag);
    int (*transaction_abort)(struct weir_kafka *kafka, uint64_t tag);

    /* Number of partitions of a topic as the client last heard, or -1. Control. Never blocks. */
    int32_t (*partition_count)(struct weir_kafka *kafka, const char *topic);
    /* Text that identifies the cluster, or NULL while unknown. Lent. Control. Never blocks. */
    const char *(*cluster_id)(struct weir_kafka *kafka);

    /* Leave the group: a last REVOKE comes, to be answered, then DELIVERED for what is on its way (for at most
     * `flush_ms_max`, then failed), then CLOSED. Control. */
    int (*close)(struct weir_kafka *kafka, uint64_t flush_ms_max);

    /* After CLOSED, or before start. Blocks: briefly. */
    void (*destroy)(struct weir_kafka *kafka);
};

struct weir_kafka {
    const struct weir_kafka_ops *ops;
};

/* ---- librdkafka's properties, librdkafka/property.c ---- */

struct weir_config;

/** Would librdkafka take this value? Else WEIR_INVALID with its words, or the nearest name for an unknown one. Secrets
 *  are left out. Thread: any. */
int weir_kafka_check_property(const char *name, const char *value, struct weir_error *error);

/** Would librdkafka build both clients from a finished configuration? Finds what it only checks between properties, and
 *  files it cannot read. WEIR_KAFKA with its words. Connects to nothing. Thread: any. Blocks: some milliseconds. */
int weir_kafka_check_config(const struct weir_config *config, struct weir_error *error);

const char *weir_kafka_library_version(void); /* of the librdkafka that runs. Static. */

/* ---- the real one ---- */

/* Build the two clients from the configuration (weir_config_kafka_*), without connecting. NULL with `error`. */
struct weir_kafka *weir_kafka_librdkafka_create(const struct weir_config *config, struct weir_error *error);

#endif
