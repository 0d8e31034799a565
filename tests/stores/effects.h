/*
 * Effects in a database: what the handlers of these tests write, in either store's transactions, and how it is counted.
 *
 * An effect is a row of `effects` without any constraint, so that one that happens twice is there twice. Rows of one
 * run have its name, as tests share a PostgreSQL server:
 *   WEIR_TEST_POSTGRES   how it is reached, as PQconnectdb() takes it; set by ./dev test stores
 *
 * Thread: a handler's connection is found by weir_worker_index(); all else is the thread's that opened.
 */
#ifndef WEIR_TESTS_EFFECTS_H
#define WEIR_TESTS_EFFECTS_H

#include "stores/keep.h"
#include <weir/store.h>
#include <weir/weir.h>

enum weir_effects_kind { WEIR_EFFECTS_SQLITE = 0, WEIR_EFFECTS_POSTGRES, WEIR_EFFECTS_KINDS };

struct weir_effects_settings {
    enum weir_effects_kind kind;
    const char *location; /* a file, or how a server is reached */
    const char *run;
    uint32_t idle_ms;  /* PostgreSQL's */
    weir_inbox_id *id; /* NULL: there is no inbox */
    uint64_t window_ms;
};

struct weir_effects;

/** Connect, with the table and a store made where they are missing. NULL with `error`. */
struct weir_effects *weir_effects_open(const struct weir_effects_settings *settings, struct weir_error *error);
void weir_effects_close(struct weir_effects *effects);
/** The store's public functions. */
int weir_effects_attach(struct weir_effects *effects, struct weir_consumer *consumer, struct weir_error *error);
int weir_effects_mark(struct weir_effects *effects, struct weir_message *message, struct weir_error *error);
/** The store, for weir_database_on_partition(). */
struct weir_database *weir_effects_database(struct weir_effects *effects);

/** What a handler does: begin, mark, effect, `wait_us`, commit. An outcome; *mark says what the mark did. */
enum weir_outcome weir_effects_apply(struct weir_effects *effects, struct weir_message *message, unsigned wait_us,
                                     int *mark);
/** The same for a batch, in one transaction. *done: how many had been done before. */
enum weir_outcome weir_effects_apply_batch(struct weir_effects *effects, struct weir_batch *batch, size_t *done);
/** Statements of a test's own, on the connection of this thread. -1: none, or the first column of the first row. */
int64_t weir_effects_ask(struct weir_effects *effects, const char *sql);
/** False: the database refused. */
bool weir_effects_do(struct weir_effects *effects, const char *sql);

struct weir_effects_count {
    int64_t effects, messages; /* rows, and distinct messages among them: equal where nothing happened twice */
    int64_t disordered;        /* effects of a key with a lower number behind a higher one */
    int64_t marks;             /* in the store, of the group with the run's name */
};
struct weir_inbox_stats weir_effects_inbox_stats(const struct weir_effects *effects);
struct weir_effects_count weir_effects_count(struct weir_effects *effects);

#endif
