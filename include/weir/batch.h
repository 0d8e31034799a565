/*
 * Batches: a handler that is given many messages at once, for a bulk insert or one request for all of them.
 *
 *     static enum weir_outcome on_rows(struct weir_batch *batch, void *user)
 *     {
 *         for (size_t index = 0; index < weir_batch_count(batch); index++)
 *             if (!insert_is_made(user, weir_batch_message(batch, index)))
 *                 weir_batch_set(batch, index, weir_dead(weir_batch_message(batch, index), "no row"));
 *         return commit_rows(user) == 0 ? WEIR_ACK : WEIR_RETRY;
 *     }
 *
 * A batch goes out when it has weir.batch.messages.max messages or weir.batch.bytes.max bytes, or when
 * weir.batch.linger.ms have passed since its first message came in. weir.batch.scope says whose messages it may hold:
 * those of one key, of one partition, or any. Messages of one key lie in it one after the other and in offset order,
 * and none of them is in another batch at the same time. See docs/batches.md.
 *
 * Batch and messages belong to Weir, and stay valid until the handler returns.
 */
#ifndef WEIR_BATCH_H
#define WEIR_BATCH_H

#include <stddef.h>
#include <weir/export.h>
#include <weir/message.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weir_batch;

/**
 * What it returns is the outcome of every message that weir_batch_set() has said nothing of. Any but WEIR_LATER: that,
 * or an unknown outcome, is a retry. Messages that fail are run again, those that do not are finished at once.
 *
 * Handlers of different batches run at the same time on several workers: `user` must bear that.
 */
typedef enum weir_outcome weir_batch_handler(struct weir_batch *batch, void *user);

/** How many messages the batch has: 1 or more. Thread: the handler's.    Blocks: never. */
WEIR_EXPORT size_t weir_batch_count(const struct weir_batch *batch);

/**
 * Message `index`, from 0; NULL where there is none. All of <weir/message.h> can be asked of it, and
 * weir_message_state(), of the key of each; weir_emit(), weir_retry(), weir_retry_after() and weir_dead() work on it as
 * ever. weir_message_later() does not: its handle is stale from the start.
 *
 * Ownership: lends.    Thread: the handler's.    Blocks: never.
 */
WEIR_EXPORT struct weir_message *weir_batch_message(const struct weir_batch *batch, size_t index);

/**
 * Say what is to become of message `index`, whatever the handler returns. The last word counts.
 *
 * Thread:    the handler's.    Blocks: never.
 * Errors:    WEIR_INVALID where there is no such message; and for WEIR_LATER or an unknown outcome, which make the
 *            message a failed one: it is retried, and its reason says why.
 */
WEIR_EXPORT int weir_batch_set(struct weir_batch *batch, size_t index, enum weir_outcome outcome);

#ifdef __cplusplus
}
#endif
#endif
