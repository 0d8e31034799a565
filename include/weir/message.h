/*
 * Messages and the outcomes a handler gives them.
 *
 * A handler is a function that is given one message and answers with one outcome:
 *
 *     static enum weir_outcome on_order(struct weir_message *message, void *user)
 *     {
 *         return store_order(user, weir_message_value(message)) == 0 ? WEIR_ACK : WEIR_RETRY;
 *     }
 *
 * Messages of one key come one at a time and in offset order, each new attempt of a message before the next message.
 * Handlers of different keys run at the same time on several workers: `user` must bear that.
 *
 * The message and all that its accessors return belong to Weir, and stay valid until the handler returns; after
 * WEIR_LATER until the handle has been finished.
 */
#ifndef WEIR_MESSAGE_H
#define WEIR_MESSAGE_H

#include <stddef.h>
#include <stdint.h>
#include <weir/export.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weir_message;

/** What a handler says of a message. */
enum weir_outcome {
    WEIR_ACK = 0,    /* handled */
    WEIR_SKIP,       /* deliberately not handled; counted apart, otherwise as WEIR_ACK */
    WEIR_RETRY,      /* failed; run it again after a backoff, at most retry.attempts.max times, then dead */
    WEIR_DEAD,       /* not retryable: to the dead letter queue now */
    WEIR_OVERLOADED, /* the downstream cannot take it now: run it again after a backoff, no attempt is burnt */
    WEIR_LATER,      /* not finished yet: weir_later_finish() will say; take the handle first */
    WEIR_ESCALATE,   /* stop the partition, or the consumer: see weir_escalate() */
};

/**
 * A handler: what is to become of `message`. `user` is what weir_consumer_create() was given.
 *
 * Thread: a worker, or one of weir.blocking.threads.    Blocks: not on a worker.
 * Ordering: messages of one key one at a time and in offset order; of different keys at the same time.
 */
typedef enum weir_outcome weir_handler(struct weir_message *message, void *user);

/**
 * The message's coordinates and content.
 *
 * topic:      NUL-terminated.
 * offset:     the log's; first message of a partition is 0.
 * timestamp:  milliseconds since the Unix epoch, or -1 where the broker gave none.
 * key, value: NULL for a null key and for a tombstone; an empty one is not NULL and has size 0.
 * attempt:    number of this run of the handler, from 1.
 * epoch:      number of the assignment of its partition to this process, from 1; never used twice by a consumer.
 *
 * Ownership: lends.    Thread: the handler's; after WEIR_LATER whoever holds the handle.    Blocks: never.
 */
WEIR_EXPORT const char *weir_message_topic(const struct weir_message *message);
WEIR_EXPORT int32_t weir_message_partition(const struct weir_message *message);
WEIR_EXPORT int64_t weir_message_offset(const struct weir_message *message);
WEIR_EXPORT int64_t weir_message_timestamp_ms(const struct weir_message *message);
WEIR_EXPORT const void *weir_message_key(const struct weir_message *message);
WEIR_EXPORT size_t weir_message_key_size(const struct weir_message *message);
WEIR_EXPORT const void *weir_message_value(const struct weir_message *message);
WEIR_EXPORT size_t weir_message_value_size(const struct weir_message *message);
WEIR_EXPORT uint32_t weir_message_attempt(const struct weir_message *message);
WEIR_EXPORT uint64_t weir_message_epoch(const struct weir_message *message);

/**
 * The last header of that name (Kafka allows several), or NULL.
 *
 * A header with a null value gives a non-NULL pointer and size 0.
 *
 * Ownership: lends.    Thread: as above, one at a time a message.    Blocks: never.
 */
WEIR_EXPORT const void *weir_message_header(struct weir_message *message, const char *name, size_t *size);

/**
 * The header at `index`, in the order of the record; 0 where there is none.
 *
 * Ownership: lends `name` (NUL-terminated) and `value` (NULL if null).
 */
WEIR_EXPORT int weir_message_header_at(struct weir_message *message, size_t index, const char **name,
                                       const void **value, size_t *value_size);

/**
 * WEIR_RETRY with details: `return weir_retry(message, "HTTP 503");`
 *
 * reason:    UTF-8, copied, cut at 255 bytes; goes to the log and, in the end, into the dead letter. May be NULL.
 * delay_ms:  instead of the computed backoff; at most one day.
 *
 * Thread: the handler's.    Blocks: never.
 */
WEIR_EXPORT enum weir_outcome weir_retry(struct weir_message *message, const char *reason);
WEIR_EXPORT enum weir_outcome weir_retry_after(struct weir_message *message, uint64_t delay_ms, const char *reason);

/**
 * The same, with the backoff, the attempts and the deadline of a class of failures: those of weir.class.NAME.retry.*,
 * see options.md. `return weir_retry_class(message, "http-503", "HTTP 503");`
 *
 * What counts, runs and time since the first failure, counts for the message, whatever the classes of its failures
 * were.
 *
 * name:  one that nothing is configured for is as none.
 */
WEIR_EXPORT enum weir_outcome weir_retry_class(struct weir_message *message, const char *name, const char *reason);

/** WEIR_DEAD with a reason: `return weir_dead(message, "no such customer");` Copied and cut as above. */
WEIR_EXPORT enum weir_outcome weir_dead(struct weir_message *message, const char *reason);

/** What WEIR_ESCALATE stops. */
enum weir_escalation {
    WEIR_STOP_PARTITION = 0, /* this message's */
    WEIR_STOP_CONSUMER,      /* all of it */
};

/**
 * WEIR_ESCALATE with what is to stop and why: `return weir_escalate(message, WEIR_STOP_PARTITION, "the ledger is
 * closed");` For what is wrong with more than this message, and what trying again would make worse.
 *
 * The message is not finished, and no attempt is burnt. A partition that stops starts no handler and pulls nothing
 * (pause WEIR_PAUSE_ESCALATED) until weir_consumer_resume() is called for it, or it leaves this process: then the
 * message runs again. A consumer that stops closes: runs under way are waited for, what was finished is committed, and
 * weir_consumer_run() returns WEIR_ESCALATED with the reason. Runs that have begun go on to their ends.
 *
 * reason:  UTF-8, copied, cut at 255 bytes; goes to the log. May be NULL.
 *
 * Thread: the handler's.    Blocks: never.
 */
WEIR_EXPORT enum weir_outcome weir_escalate(struct weir_message *message, enum weir_escalation what,
                                            const char *reason);

/**
 * A handle for a message that will be finished later. A value: copy it, store it, pass it to another thread.
 */
struct weir_later {
    struct weir_message *message; /* for the accessors above, until the handle is finished */
    uint64_t generation;          /* tells a handle from an older one of the same place */
};

/**
 * Take the handle of a message; the handler then returns WEIR_LATER.
 *
 * Thread: the handler's, at most once a run.    Blocks: never.
 */
WEIR_EXPORT struct weir_later weir_message_later(struct weir_message *message);

/**
 * Finish a message whose handler answered WEIR_LATER, with any outcome but WEIR_LATER.
 *
 * Ownership: the message must not be touched afterwards.
 * Thread:    any, except a signal handler; may come before the handler has returned.    Blocks: never.
 * Ordering:  the key's next message may start before this returns.
 * Errors:    WEIR_STALE if it was finished before, passed its deadline, or its partition was revoked meanwhile (the
 *            message is handled elsewhere; nothing to do). WEIR_INVALID for WEIR_LATER or an unknown outcome.
 * Cost:      one compare-and-swap and one push; wakes at most one worker.
 */
WEIR_EXPORT int weir_later_finish(struct weir_later later, enum weir_outcome outcome);
WEIR_EXPORT int weir_later_retry(struct weir_later later, const char *reason);
WEIR_EXPORT int weir_later_retry_after(struct weir_later later, uint64_t delay_ms, const char *reason);
WEIR_EXPORT int weir_later_retry_class(struct weir_later later, const char *name, const char *reason);
WEIR_EXPORT int weir_later_escalate(struct weir_later later, enum weir_escalation what, const char *reason);
WEIR_EXPORT int weir_later_dead(struct weir_later later, const char *reason);

struct uv_loop_s;

/**
 * The libuv loop of the worker that runs the calling handler, to put timers and sockets on; NULL on other threads,
 * those of weir.blocking.threads among them: a thread that may block turns no loop.
 *
 * Handles on it run on that worker, between handlers: no locks, and nothing that blocks. Close them before the
 * consumer is destroyed.
 *
 * Thread: worker.    Ownership: lends.
 */
WEIR_EXPORT struct uv_loop_s *weir_worker_loop(void);

/** Number of the calling thread among those that run handlers, 0 to weir_consumer_workers() - 1: for what each has of
 * its own, a connection for example. -1 on other threads. */
WEIR_EXPORT int weir_worker_index(void);

#ifdef __cplusplus
}
#endif
#endif
