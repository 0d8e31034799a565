/*
 * An inbox in memory: messages that their producer has sent more than once are handled once, for as long as this
 * process lives and its memory lasts. Library weir-inbox, pkg-config weir-inbox.
 *
 *     static enum weir_outcome on_message(struct weir_message *message, void *user)
 *     {
 *         int mark = weir_inbox_begin(inbox, message, &error);
 *         if (mark != WEIR_MARK_NEW)
 *             return weir_mark_outcome(mark);
 *         return weir_inbox_end(inbox, message, handle(message));
 *     }
 *
 * It is for what a producer's retries bring shortly one after the other. What must hold over a crash or a rebalance
 * needs the inbox of a database: weir_sqlite_inbox(), weir_postgres_inbox().
 */
#ifndef WEIR_INBOX_H
#define WEIR_INBOX_H

#include <weir/store.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weir_inbox;

/**
 * bytes_max: of memory for ids, from 4096. When it is full the ids that were finished first are forgotten.
 * window_ms of the settings: an id is kept so long after its message was finished.
 *
 * Ownership: the caller's: weir_inbox_destroy(), after the consumer's close. NULL is fine there.
 * Thread:    any.
 * Errors:    NULL with `error`: WEIR_INVALID, WEIR_NO_MEMORY.
 */
WEIR_EXPORT struct weir_inbox *weir_inbox_create(const struct weir_inbox_settings *settings, size_t bytes_max,
                                                 struct weir_error *error);
WEIR_EXPORT void weir_inbox_destroy(struct weir_inbox *inbox);

/**
 * Before a message is handled. WEIR_MARK_NEW asks for weir_inbox_end(), everything else for weir_mark_outcome().
 *
 * Returns:  enum weir_mark, or a code.
 * Thread:   the handler's.    Blocks: never.
 * Ordering: copies of one key wait for each other by the key's order. One of another key is WEIR_MARK_BUSY while the
 *           first is being handled: answered WEIR_OVERLOADED, it comes again after a backoff.
 * Errors:   WEIR_FULL where the messages being handled alone fill the memory; WEIR_INVALID for an id longer than
 *           WEIR_INBOX_ID_BYTES_MAX; WEIR_NO_MEMORY.
 * Cost:     a lock, a hash of the id, an allocation.
 */
WEIR_MUST_CHECK WEIR_EXPORT int weir_inbox_begin(struct weir_inbox *inbox, struct weir_message *message,
                                                 struct weir_error *error);

/**
 * After it was handled, with its outcome, which is returned: only WEIR_ACK and WEIR_SKIP mark its id as done. For
 * WEIR_LATER whoever has the handle calls it again, before he finishes the handle, with the outcome.
 *
 * Thread: the handler's, or whoever has the handle.    Blocks: never.
 */
WEIR_EXPORT enum weir_outcome weir_inbox_end(struct weir_inbox *inbox, struct weir_message *message,
                                             enum weir_outcome outcome);

/** Thread: any. */
WEIR_EXPORT struct weir_inbox_stats weir_inbox_stats_of(struct weir_inbox *inbox);
/** Bytes in use now. Thread: any. */
WEIR_EXPORT size_t weir_inbox_bytes(struct weir_inbox *inbox);

#ifdef __cplusplus
}
#endif
#endif
