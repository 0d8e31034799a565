/*
 * Offsets kept in the user's database, beside the effects of his handlers: what <weir/sqlite.h> and <weir/postgres.h>
 * have in common. docs/stores.md has the whole.
 *
 *     begin a transaction of your own
 *     int mark = weir_sqlite_mark(store, database, message, &error);    or weir_postgres_mark()
 *     if (mark != WEIR_MARK_NEW) roll back, and return weir_mark_outcome(mark);
 *     write the effect
 *     commit, and return WEIR_ACK
 *
 * The mark commits with the effect or not at all, so a message that comes again finds it, whatever the consumer group
 * has committed to Kafka.
 */
#ifndef WEIR_STORE_H
#define WEIR_STORE_H

#include <weir/error.h>
#include <weir/message.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What a mark says of its message; below 0 it is an enum weir_code. */
enum weir_mark {
    WEIR_MARK_NEW = 0, /* marked, in this transaction: write the effect, and commit both */
    WEIR_MARK_DONE = 1 /* its effect has been committed before: roll back, and answer WEIR_ACK */
};

/** What a handler answers after a mark that is not WEIR_MARK_NEW, once it has rolled back. */
static inline enum weir_outcome weir_mark_outcome(int mark)
{
    if (mark == WEIR_MARK_DONE)
        return WEIR_ACK;
    /* What is not the message's fault burns no attempt. What is wrong in the program does, or it would go on for ever.
     */
    return mark == WEIR_STALE || mark == WEIR_SYSTEM || mark == WEIR_NO_MEMORY ? WEIR_OVERLOADED : WEIR_RETRY;
}

#ifdef __cplusplus
}
#endif
#endif
