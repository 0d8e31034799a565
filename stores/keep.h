/*
 * What the stores are made of, whichever database they speak to: the callback of weir_consumer_on_partition() as a few
 * statements that all of them understand.
 *
 * Tables
 *   weir_partitions   id, consumer_group, topic, partition, log_floor: all below log_floor is done
 *   weir_epochs       id, epoch: raised by each take; share-locked by each mark
 *   weir_marks        id, log_offset: done, at or above the floor
 *
 * Invariants
 *   S1. A mark's transaction holds the epoch row shared, or locks everybody out as SQLite's do, and commits only under
 *       the epoch that it has read. A take changes that row: when it commits, transactions of older epochs have ended.
 *   S2. Only the present epoch moves the floor and prunes, and only below what its consumer has finished. So a mark
 * that is missing at or above the floor says that the effect is missing. S3. A floor never moves back, but at a reset
 * by which the log has become another one.
 *
 * Bound: marks are at most what is finished above the floor: the window, and what else finishes within a second.
 *
 * Thread: the keeper's, for everything here but attach.
 */
#ifndef WEIR_STORES_KEEP_H
#define WEIR_STORES_KEEP_H

#include "stores/claims.h"
#include <weir/consumer.h>

#define WEIR_SQL_NULL INT64_MIN

struct weir_database;

struct weir_sql_value {
    const char *text; /* NULL: the number */
    int64_t number;   /* WEIR_SQL_NULL: null */
};

struct weir_database_ops {
    /* One statement with $1, $2, ... on the store's own connection, and the first columns of its first row. 1: there
     * was one, 0: none, or a code with `error`. */
    int (*query)(struct weir_database *database, const char *sql, const struct weir_sql_value *values, size_t count,
                 int64_t *results, size_t result_count, struct weir_error *error);
    const char *const *begin; /* the statements that begin a transaction; ended by NULL */
    const char *hold;         /* SELECT of the epoch of id $1, which no take changes before this transaction ends */
};

/* The first member of each store. */
struct weir_database {
    const struct weir_database_ops *ops;
    struct weir_claims claims;
    struct weir_consumer *consumer; /* that it is attached to; NULL: none */
};

/** Make it tell this store. WEIR_STATE, WEIR_INVALID. Before start. */
int weir_database_attach(struct weir_database *database, struct weir_consumer *consumer, struct weir_error *error);
/** The callback; its user is the database. */
weir_partition_callback weir_database_on_partition;

/* ---- what the stores share besides ---- */

/** Fill in code and sentence, one line; returns the code. */
int weir_store_fail(struct weir_error *error, enum weir_code code, const char *format, ...) WEIR_FORMAT(3, 4);
void *weir_store_allocate(size_t size); /* zeroed; tests have one of their own, which fails */
void weir_store_free(void *memory);

#endif
