/*
 * Offsets in a PostgreSQL database, in the transactions of your handlers: effects happen once, whatever is redelivered.
 * Library weir-postgres, pkg-config weir-postgres; <weir/store.h> says how a handler uses it.
 *
 * The store has a connection of its own, for taking partitions over and for pruning, and tables, which it makes
 * in the first schema of its search_path: weir_partitions, weir_epochs, weir_marks, weir_ids. Handlers bring their
 * connections, one a thread, to the same database.
 */
#ifndef WEIR_POSTGRES_H
#define WEIR_POSTGRES_H

#include <stdint.h>
#include <weir/store.h>

#ifdef __cplusplus
extern "C" {
#endif

struct pg_conn; /* PGconn of <libpq-fe.h> */
struct weir_consumer;
struct weir_postgres;

/**
 * Connect, make the tables where they are missing.
 *
 * connection: as PQconnectdb() takes it; what it leaves open, time-outs of libpq included, has Weir's defaults (5 s to
 *             connect, 10 s for what the other side does not acknowledge).
 * idle_ms:    how long the transaction of a mark may be idle before the server ends it, and its session: what a stopped
 *             process holds would keep a partition from its next owner. 0: as the server is set up.
 *
 * Ownership: the caller's: weir_postgres_destroy(), after the consumer's close. NULL is fine there.
 * Thread:    any.    Blocks: until connected, or not.
 * Errors:    NULL with `error`: WEIR_SYSTEM with PostgreSQL's words; WEIR_NO_MEMORY.
 */
WEIR_EXPORT struct weir_postgres *weir_postgres_create(const char *connection, uint32_t idle_ms,
                                                       struct weir_error *error);
WEIR_EXPORT void weir_postgres_destroy(struct weir_postgres *store);

/**
 * Let the database decide where this consumer's partitions begin: weir_consumer_on_partition() with this store.
 *
 * Thread: before start.    Errors: WEIR_STATE for a second consumer: each needs a store of its own.
 */
WEIR_MUST_CHECK WEIR_EXPORT int weir_postgres_attach(struct weir_postgres *store, struct weir_consumer *consumer,
                                                     struct weir_error *error);

/**
 * Mark the message as done, in the transaction that is open on `connection`.
 *
 * Returns:   enum weir_mark, or a code; whatever is not WEIR_MARK_NEW asks for a rollback.
 * Ownership: borrows all three for the call.
 * Thread:    the handler's, or whoever holds its handle; `connection` is that thread's own.
 * Blocks:    for one round trip, and while another transaction has the same message.
 * Ordering:  a takeover of the partition waits for this transaction, and what begins after it is refused.
 * Errors:    WEIR_STALE where the partition has been taken over, or left; WEIR_STATE where no transaction is open;
 *            WEIR_SYSTEM with PostgreSQL's words, for serialization failures too: roll back and try again. A connection
 *            that is gone (PQstatus) is yours to reset.
 */
WEIR_MUST_CHECK WEIR_EXPORT int weir_postgres_mark(struct weir_postgres *store, struct pg_conn *connection,
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
WEIR_EXPORT int weir_postgres_inbox(struct weir_postgres *store, const struct weir_inbox_settings *settings,
                                    struct weir_error *error);
/** Counts of all marks so far, also of transactions that were rolled back. Thread: any. */
WEIR_EXPORT struct weir_inbox_stats weir_postgres_inbox_stats(const struct weir_postgres *store);

#ifdef __cplusplus
}
#endif
#endif
