/*
 * A message inside Weir: the node by which its partition tracks it, its place in its key's queue, its content, and what
 * its runs have said so far. One allocation from pull to finish.
 *
 * Who touches what
 *   the partition actor owns every message of its partition from pull to free;
 *   the worker that runs it reads the content and writes `outcome`, `delay_ms`, `reason`, `outputs` and `later`,
 * between dispatch and hand-back (the hand-back's release pairs with the owner's acquire); the holder of a handle reads
 * the content, adds to `outputs`, and writes the answer by weir_later_finish().
 *
 * Memory is type-stable: chunks of messages are never returned to malloc but recycled through a pool of the process, so
 * that a stale handle finds a message with another generation, never freed memory. The pool's size is the most messages
 * that were ever in flight at a time.
 */
#ifndef WEIR_ACTORS_MESSAGE_H
#define WEIR_ACTORS_MESSAGE_H

#include "actors/dlq.h"
#include "actors/kafka.h"
#include "runtime/mailbox.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <weir/message.h>

struct weir_key;
struct weir_outputs;
struct weir_partition;
struct weir_segment;

#define WEIR_MESSAGE_OVERHEAD_BYTES 512 /* what a message costs beside its content: this struct, librdkafka's op */
#define WEIR_MESSAGE_REASON_BYTES   255
#define WEIR_MESSAGE_CHUNK          32

/* What the producer is given with a dead letter or an output, and what comes back of it. The kind of its mail says in
 * which of them it lies; the owner writes it before it is given away. */
struct weir_delivery {
    struct weir_mail mail; /* to the partition: it was delivered or refused */
    enum weir_kafka_error error;
};

struct weir_message {
    /* tracker: the partition's unfinished messages in offset order (tracker.h). Owner */
    struct weir_message *before, *after;
    int64_t offset;
    int64_t witness_offset; /* lowest finished message between this one and `after`; -1 none */
    uint32_t witness_checksum;

    /* runs so far. Owner, but while out the worker's or holder's */
    uint32_t attempts;  /* runs that were burnt; the run under way is number attempts + 1 */
    uint32_t crashes;   /* runs that ended a process: > 0 is a suspect, see partition_suspect.c */
    uint16_t overloads; /* WEIR_OVERLOADED in a row */
    uint8_t outcome;    /* enum weir_outcome of the last run */
    uint8_t later_outcome;
    bool has_delay, later_has_delay;
    bool dlq_paid;        /* owner: its place in the dead letter budget is taken */
    bool dlq_in_flight;   /* owner: its dead letter has been produced, the report has not come */
    bool orphan;          /* owner: finished, but an abandoned handle's holder may still be reading it */
    bool later_answered;  /* owner: the answer's mail has come, the run's hand-back has not */
    bool unfinished_only; /* owner: content is gone, only the offset is still tracked (drained, to be handed back) */
    bool stripped;        /* owner: its dead letter goes without value */
    bool condemned;       /* owner: a suspect that is not run again */
    uint8_t cause;        /* enum weir_dlq_cause */

    struct weir_message *next; /* in the key's queue */
    struct weir_key *owner;    /* the key actor in whose queue it is; NULL: in none */
    struct weir_partition *partition;
    uint64_t epoch;

    /* content: constant while anybody but the owner may see it */
    const void *key, *value;
    size_t key_size, value_size;
    int64_t timestamp_ms;
    void *native;                   /* the record; NULL once copied out */
    struct weir_message_copy *copy; /* what was copied out */
    struct weir_segment *segment;   /* of bytes pulled; NULL once copied out */

    /* Of the run and, apart, of whoever answers its handle: both may be speaking at once. */
    uint64_t delay_ms, later_delay_ms; /* asked for, if has_delay */
    char *reason, *later_reason;       /* words, allocated; NULL none */
    uint64_t pulled_ns, started_later_ns, first_failed_ns;
    int64_t first_failed_wall_ms, last_failed_wall_ms;

    struct weir_mail mail;        /* to the partition: the answer to WEIR_LATER */
    struct weir_delivery letter;  /* the dead letter */
    struct weir_outputs *outputs; /* what the run emitted, NULL nothing: output.h */

    /* Last, because it outlives the message: who holds an old handle may look at it at any time. */
    _Atomic uint64_t later; /* generation << 2 | enum weir_later_state; see weir_later_finish() */
};

enum weir_later_state { WEIR_LATER_IDLE = 0, WEIR_LATER_ARMED = 1, WEIR_LATER_FINISHED = 2, WEIR_LATER_ABANDONED = 3 };

/* Runs that were burnt. One that was abandoned is, but its number stays: its holder may ask for it. Owner. */
static inline uint32_t weir_message_burnt(const struct weir_message *message)
{
    return message->attempts + (message->cause == WEIR_DLQ_ABANDONED);
}

/* A message's content on the heap: one block, headers included. */
struct weir_message_copy {
    size_t size_bytes;
    size_t header_count;
    struct weir_kafka_header headers[];
};

/* Free messages of one owner. */
struct weir_message_pool {
    struct weir_message *free; /* linked by next */
    struct weir_message_chunk *chunks;
    uint32_t free_count, total_count;
};

/** See to it that `count` messages can be taken. WEIR_NO_MEMORY if not. Owner. */
int weir_message_pool_reserve(struct weir_message_pool *pool, uint32_t count);
struct weir_message *weir_message_pool_take(struct weir_message_pool *pool); /* after reserve: never NULL */
void weir_message_pool_give(struct weir_message_pool *pool, struct weir_message *message);
/** Give the chunks back to the process's pool; all messages must have been given back. */
void weir_message_pool_deinit(struct weir_message_pool *pool);

/** Move the content to the heap, so that the fetch response it lies in can be freed. Nobody may be running it.
 *  WEIR_NO_MEMORY: it stays where it is. */
int weir_message_copy_out(struct weir_message *message);
/** Free content (record or copy), reason and outputs. */
void weir_message_release_content(struct weir_message *message);

/** What is to become of a message whose handle was answered: what the answer says, or the run if it returned something
 *  else than WEIR_LATER. Reason and delay are then the message's. Owner, after the answer's mail. */
enum weir_outcome weir_message_last_word(struct weir_message *message);
/** Make handles of the last run stale; the message can run again. Owner, nobody else has it. */
void weir_message_renew(struct weir_message *message);
/** Take the right to answer from the holder of the handle: true if it had not answered. The content stays until it
 *  does. Owner. */
bool weir_message_abandon(struct weir_message *message);
/** Was the handle taken in the last run? And did nobody answer yet? Owner. */
enum weir_later_state weir_message_later_state(const struct weir_message *message);
/** Is somebody else about who reads the message or whose mail is on the way? From the handle's taking until its mail
 *  has been taken in; that the holder has answered meanwhile changes nothing. Owner, no run under way. */
bool weir_message_has_holder(const struct weir_message *message);
/** Close a handle that was taken by a run which then answered otherwise: true if it was still open, false if the
 *  holder has answered too and its mail is on the way. */
bool weir_message_close_handle(struct weir_message *message);

/** Wait until no thread is inside weir_later_finish(). Before memory of a consumer is freed. */
void weir_later_quiesce(void);

#endif
