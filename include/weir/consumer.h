/*
 * A consumer: one member of a Kafka consumer group, its partitions, its workers and its handler.
 *
 * Life: create -> start -> (run) -> close -> destroy. weir_consumer_run() does the three in the middle.
 */
#ifndef WEIR_CONSUMER_H
#define WEIR_CONSUMER_H

#include <stdint.h>
#include <weir/batch.h>
#include <weir/config.h>
#include <weir/error.h>
#include <weir/message.h>
#include <weir/stats.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weir_consumer;

/**
 * Check the configuration as a whole and build a consumer. Nothing is sent to a broker yet.
 *
 * Ownership: the caller's, weir_consumer_destroy(). `config` is copied; `handler` and `user` must outlive it.
 * Thread:    any.
 * Errors:    NULL with `error` filled in: WEIR_INVALID, WEIR_NO_MEMORY, WEIR_KAFKA.
 */
WEIR_EXPORT struct weir_consumer *weir_consumer_create(const struct weir_config *config, weir_handler *handler,
                                                       void *user, struct weir_error *error);

/**
 * The same, with a handler that is given batches of messages, see <weir/batch.h>.
 *
 * Errors:    besides, WEIR_INVALID for options that batches cannot bear: weir.crash.journal, which knows one message a
 *            handler; weir.batch.scope=key with weir.ordering=none; more messages a batch than a window has.
 */
WEIR_EXPORT struct weir_consumer *weir_consumer_create_batch(const struct weir_config *config,
                                                             weir_batch_handler *handler, void *user,
                                                             struct weir_error *error);

/**
 * Start the threads and join the group. Returns at once; a broker that is away is waited for, and logged.
 *
 * Thread: any, once.    Blocks: for thread creation only.    Errors: WEIR_STATE, WEIR_SYSTEM, WEIR_KAFKA.
 */
WEIR_EXPORT int weir_consumer_start(struct weir_consumer *consumer, struct weir_error *error);

/**
 * Ask the consumer to close, and return at once. A second call gives up the drain: running handlers are waited for,
 * nothing else.
 *
 * Thread: any, and signal handlers.    Blocks: never.
 */
WEIR_EXPORT void weir_consumer_stop(struct weir_consumer *consumer);

/**
 * Stop, drain for at most weir.close.drain.ms.max, commit, leave the group, end the threads, and say what was left.
 * What waits for a retry when all else is finished is not waited for, nor run any more: it is left.
 *
 * Thread: any but a worker or callback.    Blocks: until closed.
 * Errors: WEIR_UNFINISHED where messages remained (they will be delivered again); WEIR_KAFKA after a fatal error.
 */
WEIR_EXPORT int weir_consumer_close(struct weir_consumer *consumer, struct weir_error *error);

/**
 * start, wait until somebody calls weir_consumer_stop() or a fatal error ends it, close.
 *
 * Thread: any but a worker or callback.    Blocks: until closed.    Errors: those of start and close.
 */
WEIR_EXPORT int weir_consumer_run(struct weir_consumer *consumer, struct weir_error *error);

/**
 * From start to close, SIGINT and SIGTERM call weir_consumer_stop(); a third signal ends the process at once.
 *
 * Thread: before start.
 */
WEIR_EXPORT void weir_consumer_stop_on_signals(struct weir_consumer *consumer);

/** Free a closed or never started consumer. NULL is fine. A started one is closed first.
 *  Thread: any but a worker or callback, where it is refused with a line in the log. */
WEIR_EXPORT void weir_consumer_destroy(struct weir_consumer *consumer);

/**
 * Stop and resume pulling, for one partition or, with topic NULL, all. Handlers of what was pulled go on. The state
 * holds across rebalances. Independent of every other pause, but that resume also ends an escalation
 * (WEIR_PAUSE_ESCALATED): the message that stopped the partition runs again.
 *
 * Thread: any.    Blocks: never.    Errors: WEIR_STATE unless started; WEIR_INVALID for an unknown partition.
 */
WEIR_EXPORT int weir_consumer_pause(struct weir_consumer *consumer, const char *topic, int32_t partition);
WEIR_EXPORT int weir_consumer_resume(struct weir_consumer *consumer, const char *topic, int32_t partition);

/** Number of threads that run handlers: weir.blocking.threads, or where that is 0 weir.workers. Thread: any. */
WEIR_EXPORT unsigned weir_consumer_workers(const struct weir_consumer *consumer);

/**
 * A snapshot of the whole, and of each partition this process has owned.
 *
 * stats:     filled in up to `stats_size` bytes (pass sizeof).
 * Returns:   the second, the number of partitions known, which may exceed `count_max`.
 * Thread:    any.    Blocks: never.    Cost: some relaxed loads a partition.
 */
WEIR_EXPORT void weir_consumer_stats(const struct weir_consumer *consumer, struct weir_stats *stats, size_t stats_size);
WEIR_EXPORT size_t weir_consumer_partition_stats(const struct weir_consumer *consumer,
                                                 struct weir_partition_stats *partitions, size_t partition_size,
                                                 size_t count_max);

/**
 * Call `callback` every weir.stats.interval.ms.
 *
 * Thread: set before start; called on the control thread, must not block.
 */
typedef void weir_stats_callback(const struct weir_stats *stats, void *user);
WEIR_EXPORT void weir_consumer_on_stats(struct weir_consumer *consumer, weir_stats_callback *callback, void *user);

/* ---- for who keeps the offsets himself, beside the effects of his handlers; docs/stores.md has two that do ---- */

/** What weir_consumer_on_partition() tells of a partition. */
enum weir_partition_event {
    WEIR_PARTITION_TAKEN = 0, /* assigned, nothing of it pulled yet: the callback may say where it begins */
    WEIR_PARTITION_RESET,     /* it begins again, at auto.offset.reset: the log lacks the offset where it stood */
    WEIR_PARTITION_FLOOR,     /* all below `offset` is finished; told as it moves, and each second while it is held */
};

/** What is told, and to TAKEN answered, of one partition. */
struct weir_partition_news {
    enum weir_partition_event event; /* what has happened */
    const char *group;               /* the consumer's group.id */
    const char *topic;               /* NUL-terminated */
    int32_t partition;               /* of that topic */
    uint64_t epoch;                  /* of the assignment: weir_message_epoch() of each of its messages */
    int64_t offset; /* TAKEN: where it would begin, the group's commit or auto.offset.reset; -1 if neither says */
    int64_t stood;  /* RESET: where it stood, which the log lacks; beyond `offset`, the log has become another one */
};

/** An answer to TAKEN. */
enum {
    WEIR_PARTITION_MOVED = 1, /* it begins at `news->offset` */
};

/**
 * Told of partitions, before their first message and as their floors move.
 *
 * Returns:   To TAKEN and RESET: 0, and it begins where it would. To TAKEN only: WEIR_PARTITION_MOVED, and it begins
 *            at `news->offset`, whatever the group has committed; what the commit says of finished messages above it
 *            is not believed either. A negative code with `error` filled in: nothing of it is pulled, and it is asked
 *            again a second later, for as long as the partition stays.
 *            To FLOOR: 0, or a negative code, which is logged; the next one says as much.
 * Ownership: lends `news` and its texts for the call. `error` is never NULL.
 * Thread:    one of its own, one call at a time.
 * Blocks:    as it likes, but partitions wait for each other's calls, and the close for the last one.
 * Ordering:  the last FLOOR of an assignment comes before the next TAKEN of the partition, or not at all. A partition
 *            may have left before it is told that it was TAKEN: then its new owner's TAKEN may have come before, in
 *            another process. Whoever fences by TAKEN must therefore take the partition back when a FLOOR shows that
 *            another one has it and the next FLOOR still comes; else it stands still for good. Effects that were
 *            refused meanwhile are to be answered by WEIR_OVERLOADED, which runs them again.
 * Cost:      a FLOOR for a partition and commit, and one a second where it does not move.
 */
typedef int weir_partition_callback(struct weir_partition_news *news, void *user, struct weir_error *error);

/**
 * Set that callback; NULL: none.
 *
 * Thread: before start.    Errors: weir_consumer_start() refuses it together with weir.delivery=at-most-once.
 */
WEIR_EXPORT void weir_consumer_on_partition(struct weir_consumer *consumer, weir_partition_callback *callback,
                                            void *user);

#ifdef __cplusplus
}
#endif
#endif
