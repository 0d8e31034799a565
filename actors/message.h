/*
 * A message inside Weir: the node by which its partition tracks it, its place in its key's queue, its content, and what
 * its runs have said so far. One allocation from pull to finish.
 *
 * Who touches what
 *   the partition actor owns every message of its partition from pull to free;
 *   the worker that runs it reads the content and writes `outcome`, `delay_ms`, `failure`, `outputs` and `later`,
 *   between dispatch and hand-back (the hand-back's release pairs with the owner's acquire);
 *   the holder of a handle reads the content, adds to `outputs`, and writes the answer by weir_later_finish().
 *
 * Memory is type-stable: chunks of messages are never returned to malloc but recycled through a pool of the process, so
 * that a stale handle finds a message with another generation, never freed memory. The pool's size is the most messages
 * that were ever in flight at a time.
 */
#ifndef WEIR_ACTORS_MESSAGE_H
#define WEIR_ACTORS_MESSAGE_H

#include "actors/dlq.h"
#include "actors/kafka.h"
#include "runtime/check.h"
#include "runtime/mailbox.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <weir/message.h>

struct weir_key;
struct weir_key_data;
struct weir_outputs;
struct weir_partition;
struct weir_segment;

#define WEIR_MESSAGE_OVERHEAD_BYTES 512 /* what a message costs beside its content: this struct, librdkafka's op */
#define WEIR_MESSAGE_REASON_BYTES   255
#define WEIR_MESSAGE_CHUNK          40 /* just 8 KiB, which allocators have a class for */

/* What the producer is given with a dead letter or an output, and what comes back of it. The kind of its mail says in
 * which of them it lies; the owner writes it before it is given away. */
struct weir_delivery {
    struct weir_mail mail; /* to the partition: it was delivered or refused */
    struct weir_partition *partition;
    enum weir_kafka_error error;
};

/* What is known of a message that has failed: most never do, so it is made when the first of it is told. Where memory
 * is too short for that it is not known: the deadline of retries has not begun, and no letter can be sent yet. Owner,
 * but while out the worker's. */
struct weir_failure {
    struct weir_delivery letter; /* the dead letter */
    struct weir_message *message;
    char *reason; /* words, allocated; NULL none */
    uint64_t first_ns;
    int64_t first_wall_ms, last_wall_ms;
    uint16_t overloads; /* WEIR_OVERLOADED in a row */
};

/* What many of are in memory at once, and all of are touched for each message: it is kept small, and in the order in
 * which it is used. */
struct weir_message {
    /* tracker: the partition's unfinished messages in offset order (tracker.h). Owner */
    struct weir_message *before, *after;
    int64_t offset;
    uint32_t witness_distance; /* to the lowest finished message between this one and `after`; 0: none */
    uint32_t witness_checksum;

    struct weir_message *next;  /* in the key's queue */
    struct weir_key *owner;     /* the key actor in whose queue it is; NULL: in none */
    struct weir_key_data *data; /* of its key, once a run has asked for it; see key_data.h. NULL: not yet */

    /* content: constant while anybody but the owner may see it */
    const void *key, *value;
    uint32_t key_size, value_size; /* Kafka counts them in 31 bits */
    int64_t timestamp_ms;
    union {
        void *native;                   /* the record, where it lies in its fetch response */
        struct weir_message_copy *copy; /* what was copied out */
    };
    struct weir_segment *segment; /* of bytes pulled; NULL once copied out */
    uint32_t pulled_ms;           /* when, of the worker's time; only differences of some days count */
    union {
        uint32_t given_out_ms; /* likewise */
        uint32_t due_ms;       /* of one that was put off: not to run before. Owner */
    };

    /* From here on nothing is set but zeroed as it is pulled. Each in a byte of its own where others than the owner
     * write or read. */
    bool is_copied;
    uint8_t outcome;                 /* enum weir_outcome of the last run; while out the worker's */
    bool has_delay;                  /* likewise */
    uint8_t later_outcome;           /* of whoever answers the handle: both may be speaking at once */
    bool later_has_delay;            /* likewise */
    uint8_t crashes;                 /* runs that ended a process, up to 255: > 0 is a suspect, partition_suspect.c */
    struct {                         /* owner */
        uint8_t dlq_paid : 1;        /* its place in the dead letter budget is taken */
        uint8_t dlq_in_flight : 1;   /* its dead letter has been produced, the report has not come */
        uint8_t orphan : 1;          /* finished, but an abandoned handle's holder may still be reading it */
        uint8_t later_answered : 1;  /* the answer's mail has come, the run's hand-back has not */
        uint8_t unfinished_only : 1; /* content is gone, only the offset is tracked (drained, to be handed back) */
        uint8_t stripped : 1;        /* its dead letter goes without value */
        uint8_t condemned : 1;       /* a suspect that is not run again */
        uint8_t cause : 4;           /* enum weir_dlq_cause */
        uint8_t enrolled : 1;        /* exactly once: it waits for its transaction, see partition_once.c */
        uint8_t in_batch : 1;        /* likewise: and is in the one that is being composed or sent */
    };

    uint8_t retry_class;      /* of the failure: index in the topic's policies; while out the worker's */
    uint8_t later_class;      /* likewise, of whoever answers the handle */
    uint8_t escalation;       /* enum weir_escalation; while out the worker's */
    uint8_t later_escalation; /* likewise, of whoever answers the handle */
    uint8_t passes;           /* enum weir_passes, constant while it is out. Owner */
    struct {                  /* owner, of one that was run in a batch */
        uint8_t settled : 1;  /* it is acted on when it comes to the head of its key */
        uint8_t put_off : 1;  /* it has failed, and runs again when it is due */
    };
    struct {                  /* of the last run; while out the worker's */
        uint8_t filtered : 2; /* enum weir_filtered */
        uint8_t granted : 1;  /* it waits for a place that a rate has given it */
    };
    struct weir_failure *failure;      /* NULL: it has not failed */
    char *later_reason;                /* words, allocated; NULL none */
    uint32_t delay_ms, later_delay_ms; /* asked for, if has_delay */

    /* What an answer begins with, by a thread that finds nothing of it in its cache. */
    uint32_t epoch;    /* of the partition, which checks that it fits */
    uint32_t attempts; /* runs that were burnt; the run under way is number attempts + 1. Owner */
    struct weir_partition *partition;
    struct weir_mail mail;        /* to the partition: the answer to WEIR_LATER */
    struct weir_outputs *outputs; /* what the run emitted, NULL nothing: output.h */

    /* Last, because it outlives the message: who holds an old handle may look at it at any time. */
    _Atomic uint64_t later; /* generation << 2 | enum weir_later_state; see weir_later_finish() */
};

_Static_assert(sizeof(struct weir_message) <= 200, "each message in flight takes this much");
/* Does it run though the circuit breaker is not closed? See partition_supervise.c. */
enum weir_passes { WEIR_PASSES_NOTHING = 0, WEIR_PASSES_BREAKER, WEIR_PASSES_AS_PROBE };

#define WEIR_LATER_BITS 2 /* of `later`, the lowest, for the state */
#define WEIR_LATER_MASK 3
enum weir_later_state { WEIR_LATER_IDLE = 0, WEIR_LATER_ARMED = 1, WEIR_LATER_FINISHED = 2, WEIR_LATER_ABANDONED = 3 };

/* Runs that were burnt. One that was abandoned is, but its number stays: its holder may ask for it. Owner. */
static inline uint32_t weir_message_burnt(const struct weir_message *message)
{
    return message->attempts + (message->cause == WEIR_DLQ_ABANDONED);
}

/* A message's content on the heap: one block, headers included. */
struct weir_message_copy {
    uint32_t size_bytes, header_count;
    struct weir_kafka_header headers[];
};

/* A time in the 32 bits that a message has for one, and how long ago it was: right for some weeks. */
static inline uint32_t weir_ms_of(uint64_t now_ns)
{
    return (uint32_t)(now_ns / 1000000);
}
static inline uint32_t weir_ms_since(uint32_t ms, uint64_t now_ns)
{
    return weir_ms_of(now_ns) - ms;
}

/* Free messages of one owner. */
struct weir_message_pool {
    struct weir_message *free; /* linked by next */
    struct weir_message_chunk *chunks;
    uint32_t free_count, total_count;
};

/** See to it that `count` messages can be taken. WEIR_NO_MEMORY if not. Owner. */
int weir_message_pool_reserve(struct weir_message_pool *pool, uint32_t count);
static inline struct weir_message *
weir_message_pool_take(struct weir_message_pool *pool) /* after reserve: never NULL */
{
    struct weir_message *message = pool->free;
    WEIR_CHECK(message != NULL);
    pool->free = message->next;
    pool->free_count--;
    return message;
}
static inline void weir_message_pool_give(struct weir_message_pool *pool, struct weir_message *message)
{
    message->next = pool->free;
    pool->free = message;
    pool->free_count++;
}
/** Give the chunks back to the process's pool; all messages must have been given back. */
void weir_message_pool_deinit(struct weir_message_pool *pool);

/** Move the content to the heap, so that the fetch response it lies in can be freed. Nobody may be running it.
 *  WEIR_NO_MEMORY: it stays where it is. */
int weir_message_copy_out(struct weir_message *message);
/** Free content (record or copy), what is known of its failures, and outputs. */
void weir_message_release_content(struct weir_message *message);
/** Its copy; NULL while it lies in its fetch response. */
static inline struct weir_message_copy *weir_message_copied(const struct weir_message *message)
{
    return message->is_copied ? message->copy : NULL;
}
/** Its record in the fetch response; NULL once copied out. */
static inline void *weir_message_record(const struct weir_message *message)
{
    return message->is_copied ? NULL : message->native;
}
/** What is known of its failures: found, or made. NULL where memory is short. */
struct weir_failure *weir_message_failure(struct weir_message *message);
/** Why it failed; NULL: nobody said. */
static inline const char *weir_message_reason(const struct weir_message *message)
{
    return message->failure ? message->failure->reason : NULL;
}

/** What is to become of a message whose handle was answered: what the answer says, or the run if it returned something
 *  else than WEIR_LATER. Reason and delay are then the message's. Owner, after the answer's mail. */
enum weir_outcome weir_message_last_word(struct weir_message *message);
/** Make handles of the last run stale; the message can run again. Owner, nobody else has it. */
static inline void weir_message_renew(struct weir_message *message)
{
    uint64_t word = atomic_load_explicit(&message->later, memory_order_relaxed);
    if ((word & WEIR_LATER_MASK) != WEIR_LATER_IDLE)
        atomic_store_explicit(&message->later, ((word >> WEIR_LATER_BITS) + 1) << WEIR_LATER_BITS,
                              memory_order_release);
}
/** Take the right to answer from the holder of the handle: true if it had not answered. The content stays until it
 *  does. Owner. */
bool weir_message_abandon(struct weir_message *message);
/** Was the handle taken in the last run? And did nobody answer yet? Owner. */
static inline enum weir_later_state weir_message_later_state(const struct weir_message *message)
{
    return (enum weir_later_state)(atomic_load_explicit(&message->later, memory_order_acquire) & WEIR_LATER_MASK);
}
/** Is somebody else about who reads the message or whose mail is on the way? From the handle's taking until its mail
 *  has been taken in; that the holder has answered meanwhile changes nothing. Owner, no run under way. */
bool weir_message_has_holder(const struct weir_message *message);
/** Close a handle that was taken by a run which then answered otherwise: true if it was still open, false if the
 *  holder has answered too and its mail is on the way. */
bool weir_message_close_handle(struct weir_message *message);

/** Wait until no thread is inside weir_later_finish(). Before memory of a consumer is freed. */
void weir_later_quiesce(void);

#endif
