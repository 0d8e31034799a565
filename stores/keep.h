/*
 * What the stores are made of, whichever database they speak to: the callback of weir_consumer_on_partition() as a few
 * statements that all of them understand.
 *
 * Tables
 *   weir_partitions   id, consumer_group, topic, partition, log_floor: all below log_floor is done
 *   weir_epochs       id, epoch: raised by each take; share-locked by each mark
 *   weir_marks        id, log_offset, sent_ms: done, at or above the floor
 *   weir_ids          id, message_id, sent_ms: where there is an inbox, the producer's ids of what is done
 *
 * Invariants
 *   S1. A mark's transaction holds the epoch row shared, or locks everybody out as SQLite's do, and commits only under
 *       the epoch that it has read. A take changes that row: when it commits, transactions of older epochs have ended.
 *   S2. Only the present epoch moves the floor and prunes, and only below what its consumer has finished. So a mark
 *       that is missing at or above the floor says that the effect is missing.
 *   S3. A floor never moves back, but at a reset by which the log has become another one.
 *   S4. An id is kept until its partition is finished up to window_ms after it was sent, as the latest message below
 *       the floor tells. So a copy in the window finds it, also if the copy comes once more after a crash.
 *
 * Bound: marks are at most what is finished above the floor: the window, and what else finishes within a second; ids,
 * what was sent within window_ms.
 *
 * Thread: the keeper's for everything but marks, which are any thread's, and what is said to come before the start.
 */
#ifndef WEIR_STORES_KEEP_H
#define WEIR_STORES_KEEP_H

#include "stores/claims.h"
#include "stores/ids.h"
#include <weir/consumer.h>

#define WEIR_SQL_NULL INT64_MIN

struct weir_database;

struct weir_sql_value {
    int64_t number;       /* WEIR_SQL_NULL: null */
    const char *text;     /* if not NULL, it is the value */
    struct weir_id bytes; /* if there are any, they are */
};

/* What is marked. */
struct weir_mark_values {
    struct weir_claim claim;
    int64_t offset, sent_ms;
    struct weir_id id;
};

struct weir_database_ops {
    /* One statement with $1, $2, ... on the store's own connection, and the first columns of its first row. 1: there
     * was one, 0: none, or a code with `error`. */
    int (*query)(struct weir_database *database, const char *sql, const struct weir_sql_value *values, size_t count,
                 int64_t *results, size_t result_count, struct weir_error *error);
    /* On a handler's connection: NEW, DONE or a code. *epoch: the database's, under which that is so. */
    int (*mark)(struct weir_database *database, void *connection, const struct weir_mark_values *values, int64_t *epoch,
                struct weir_error *error);
    const char *const *begin; /* the statements that begin a transaction; ended by NULL */
    const char *hold;         /* SELECT of the epoch of id $1, which no take changes before this transaction ends */
};

/* The first member of each store. */
struct weir_database {
    const struct weir_database_ops *ops;
    struct weir_claims claims;
    struct weir_ids ids;
    struct weir_consumer *consumer; /* that it is attached to; NULL: none */
};

/** Make it tell this store. WEIR_STATE, WEIR_INVALID. Before start. */
int weir_database_attach(struct weir_database *database, struct weir_consumer *consumer, struct weir_error *error);
/** The callback; its user is the database. */
weir_partition_callback weir_database_on_partition;

/* ---- mark.c ---- */

/** Prepare, and free what a store shares with others. */
void weir_database_init(struct weir_database *database, const struct weir_database_ops *ops);
void weir_database_deinit(struct weir_database *database);
/** WEIR_STATE, and what weir_ids_set() says. Before start. */
int weir_database_inbox(struct weir_database *database, const struct weir_inbox_settings *settings,
                        struct weir_error *error);
/** On a handler's connection, in its transaction. enum weir_mark, or a code. */
int weir_database_mark(struct weir_database *database, void *connection, struct weir_message *message,
                       struct weir_error *error);

#endif
