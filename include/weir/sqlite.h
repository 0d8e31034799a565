/*
 * Offsets in a SQLite database, in the transactions of your handlers: effects happen once, whatever is redelivered.
 * Library weir-sqlite, pkg-config weir-sqlite; <weir/store.h> says how a handler uses it.
 *
 * The store has a connection of its own, for taking partitions over and for pruning, and tables, which it makes:
 * weir_partitions, weir_epochs, weir_marks, weir_ids. Handlers bring their connections to the same file, one a thread.
 *
 * SQLite lets one connection write at a time: begin with BEGIN IMMEDIATE, set a busy timeout, use journal_mode=WAL, and
 * keep transactions short. A process that is stopped within one stops all writers of the file.
 */
#ifndef WEIR_SQLITE_H
#define WEIR_SQLITE_H

#include <weir/store.h>

#ifdef __cplusplus
extern "C" {
#endif

struct sqlite3;
struct weir_consumer;
struct weir_sqlite;

/**
 * Open the database file, make the tables where they are missing.
 *
 * Ownership: the caller's: weir_sqlite_destroy(), after the consumer's close. NULL is fine there.
 * Thread:    any.    Blocks: while others write, 5 s at most.
 * Errors:    NULL with `error`: WEIR_INVALID for a database in memory, which others cannot open; WEIR_SYSTEM with
 *            SQLite's words; WEIR_NO_MEMORY.
 */
WEIR_EXPORT struct weir_sqlite *weir_sqlite_create(const char *path, struct weir_error *error);
WEIR_EXPORT void weir_sqlite_destroy(struct weir_sqlite *store);

/**
 * Let the database decide where this consumer's partitions begin: weir_consumer_on_partition() with this store.
 *
 * Thread: before start.    Errors: WEIR_STATE for a second consumer: each needs a store of its own.
 */
WEIR_MUST_CHECK WEIR_EXPORT int weir_sqlite_attach(struct weir_sqlite *store, struct weir_consumer *consumer,
                                                   struct weir_error *error);

/**
 * Mark the message as done, in the transaction that is open on `database`.
 *
 * Returns:   enum weir_mark, or a code; whatever is not WEIR_MARK_NEW asks for a rollback.
 * Ownership: borrows all three for the call.
 * Thread:    the handler's, or whoever holds its handle; `database` is that thread's own.
 * Blocks:    as long as the busy timeout of `database` lets it wait for other writers.
 * Errors:    WEIR_STALE where the partition has been taken over, or left; WEIR_STATE where no transaction is open;
 *            WEIR_SYSTEM with SQLite's words, of a locked database for example.
 * Cost:      one statement; one more with an inbox, or where the message is not new.
 */
WEIR_MUST_CHECK WEIR_EXPORT int weir_sqlite_mark(struct weir_sqlite *store, struct sqlite3 *database,
                                                 struct weir_message *message, struct weir_error *error);

/**
 * Let marks recognise copies too: messages of a partition with an id that one of its messages has had before. The id is
 * marked in the same transaction. Another copy that is being handled is waited for, by its key's order or by the
 * database.
 *
 * window_ms: an id is kept until all of its partition up to so much later, by the messages' timestamps, is finished; so
 *            that a consumer that was down does not forget. Timestamps ahead of this machine's clock count as of now.
 *
 * Thread: before start, once.
 * Errors: WEIR_INVALID for a window of 0, or neither or both of header and callback; WEIR_NO_MEMORY. The mark of a
 *         message whose id is longer than WEIR_INBOX_ID_BYTES_MAX is WEIR_INVALID.
 */
WEIR_EXPORT int weir_sqlite_inbox(struct weir_sqlite *store, const struct weir_inbox_settings *settings,
                                  struct weir_error *error);
/** Counts of all marks so far, also of transactions that were rolled back. Thread: any. */
WEIR_EXPORT struct weir_inbox_stats weir_sqlite_inbox_stats(const struct weir_sqlite *store);

#ifdef __cplusplus
}
#endif
#endif
