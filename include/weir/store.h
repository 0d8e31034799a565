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
    WEIR_MARK_NEW = 0,  /* marked, in this transaction: write the effect, and commit both */
    WEIR_MARK_DONE = 1, /* its effect, or that of an earlier copy, has been committed: roll back, answer WEIR_ACK */
    WEIR_MARK_BUSY = 2  /* only of <weir/inbox.h>: another copy is being handled; answer WEIR_OVERLOADED */
};

/** What a handler answers after a mark that is not WEIR_MARK_NEW, once it has rolled back. */
static inline enum weir_outcome weir_mark_outcome(int mark)
{
    if (mark == WEIR_MARK_DONE)
        return WEIR_ACK;
    if (mark == WEIR_MARK_BUSY)
        return WEIR_OVERLOADED;
    /* What is no fault of the message's burns no attempt; what is wrong in the program must not go on for ever. */
    return mark == WEIR_STALE || mark == WEIR_SYSTEM || mark == WEIR_NO_MEMORY || mark == WEIR_FULL ? WEIR_OVERLOADED
                                                                                                    : WEIR_RETRY;
}

/* ---- inboxes: copies that a producer has sent ---- */

/**
 * The id that its producer has given a message, for an inbox: the number of bytes, and where they are, which may be in
 * the message; 0 if it has none. Copies of a message have the same id, other messages of the partition another.
 *
 * Thread: the handler's.    Must not block.
 */
typedef size_t weir_inbox_id(struct weir_message *message, void *user, const void **id);

/** A longer id is refused. */
#define WEIR_INBOX_ID_BYTES_MAX 512

/** How an inbox tells copies: by `header` or by `id`, one of the two. */
struct weir_inbox_settings {
    const char *header; /* the id is the value of this header; copied. NULL: `id` tells it */
    weir_inbox_id *id;  /* NULL: `header` names it */
    void *user;         /* the callback's */
    uint64_t window_ms; /* how far apart copies may come, at least; from 1 */
};

/** What an inbox has seen since it was made. */
struct weir_inbox_stats {
    uint64_t fresh;      /* messages with an id that was not there */
    uint64_t copies;     /* and with one that was, as a copy has or the message itself, come again */
    uint64_t without_id; /* messages without an id, each taken as new */
    uint64_t forgotten;  /* <weir/inbox.h>: ids that went before their time, for want of room */
};

#ifdef __cplusplus
}
#endif
#endif
