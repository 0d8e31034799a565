/*
 * Ids of messages, for every inbox: where they come from, and what was counted. And what all libraries here share.
 *
 * Thread: set before start; the rest is any thread's.
 */
#ifndef WEIR_STORES_IDS_H
#define WEIR_STORES_IDS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <weir/store.h>

struct weir_id {
    const void *bytes;
    size_t size; /* 0: none */
};

struct weir_ids {
    char *header; /* NULL: the callback */
    weir_inbox_id *callback;
    void *user;
    uint64_t window_ms; /* 0: there is no inbox */
    _Atomic uint64_t fresh, copies, without_id, forgotten;
};

static inline bool weir_ids_are_on(const struct weir_ids *ids)
{
    return ids->window_ms > 0;
}

int weir_ids_set(struct weir_ids *ids, const struct weir_inbox_settings *settings, struct weir_error *error);
void weir_ids_deinit(struct weir_ids *ids);
/** The id of a message. 0, or WEIR_INVALID for one that is too long. */
int weir_ids_of(const struct weir_ids *ids, struct weir_message *message, struct weir_id *id, struct weir_error *error);
/** What a mark has said of a message with this id. */
void weir_ids_count(struct weir_ids *ids, const struct weir_id *id, int mark);
struct weir_inbox_stats weir_ids_stats(const struct weir_ids *ids);
/** When it was sent, as far as can be told: milliseconds since the Unix epoch, not ahead of the clock. */
int64_t weir_ids_sent_ms(const struct weir_message *message);
int64_t weir_ids_now_ms(void);

/* ---- what the stores share besides ---- */

/** Fill in code and sentence, one line; returns the code. */
int weir_store_fail(struct weir_error *error, enum weir_code code, const char *format, ...) WEIR_FORMAT(3, 4);
void *weir_store_allocate(size_t size); /* zeroed; tests have one of their own, which fails */
void weir_store_free(void *memory);

#endif
