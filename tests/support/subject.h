/*
 * A consumer under test: its configuration as a list, a handler that keeps a ledger around a rule of the test's own,
 * and the log lines that it wrote.
 *
 * The handler writes START, asks the rule, and writes END with the outcome before it returns it; after WEIR_LATER
 * whoever finishes the handle writes END first (weir_subject_finish does both).
 *
 * Thread: the functions the test's own; the rule runs on workers, several at a time, and must not use assertions:
 *         it counts what is wrong in `wrong`, which weir_subject_close looks at.
 * Errors: a consumer that cannot be created or started ends the process with its sentence: nothing could be tested.
 */
#ifndef WEIR_TESTS_SUBJECT_H
#define WEIR_TESTS_SUBJECT_H

#include "tests/support/ledger.h"
#include <stdatomic.h>
#include <weir/consumer.h>

struct weir_subject;
typedef enum weir_outcome weir_subject_rule(struct weir_subject *subject, struct weir_message *message);

struct weir_subject {
    /* set before start */
    struct weir_ledger *ledger; /* NULL: none is kept */
    weir_subject_rule *rule;    /* NULL: WEIR_ACK */
    void *user;
    weir_stats_callback *on_stats;                 /* NULL: none; called with `user` */
    weir_partition_callback *on_partition;         /* likewise */
    void (*prepare)(struct weir_subject *subject); /* before start; NULL: nothing */
    weir_batch_handler *batch_handler; /* NULL: none. Else in place of rule and ledger; its user: the subject */
    bool stops_on_signals;

    struct weir_consumer *consumer;
    _Atomic uint64_t started, ended; /* runs */
    _Atomic uint64_t wrong;          /* what the rule has found to be wrong */
    int closed_code;                 /* of the last close */
    struct weir_error closed_error;
};

/** Create without starting. settings: name, value, name, value, ..., NULL; later ones win. */
void weir_subject_create(struct weir_subject *subject, const char *const *settings);
/** Create and start. */
void weir_subject_start(struct weir_subject *subject, const char *const *settings);
/** Close, keep code and sentence, and return the code; the consumer is still there for its statistics. */
int weir_subject_close(struct weir_subject *subject);
void weir_subject_destroy(struct weir_subject *subject);

struct weir_stats weir_subject_stats(const struct weir_subject *subject);
/** Statistics of one partition; all zero, size too, while it is not known. */
struct weir_partition_stats weir_subject_partition(const struct weir_subject *subject, const char *topic,
                                                   int32_t partition);

/** Write END and finish a handle. What weir_later_finish returns. Thread: any. */
int weir_subject_finish(struct weir_subject *subject, struct weir_later later, enum weir_outcome outcome);

/** The same for who may be late: `end`, made while the message was sure to be there, says what to write. */
struct weir_ledger_record weir_subject_end_of(const struct weir_message *message, enum weir_outcome outcome);
int weir_subject_finish_known(struct weir_subject *subject, struct weir_later later,
                              const struct weir_ledger_record *end);

/** Does consumed = acked + skipped + dead-lettered + handed back hold, as it must after a close? */
bool weir_subject_adds_up(const struct weir_subject *subject);

/* ---- the log ---- */

/** From now on keep the lines of this process's log (info and worse) instead of showing them. */
void weir_subject_keep_log(void);
/** How many kept lines contain these words, in the text or in the value of a field. */
unsigned weir_subject_log_count(const char *words);
/** Write all that was kept to standard error. */
void weir_subject_show_log(void);

#endif
