/*
 * State of a key: memory of the user's that belongs to one key, and is given to each run of a message of it.
 *
 *     static void *on_create(struct weir_message *message, void *user) { return calloc(1, sizeof(struct account)); }
 *     static void on_destroy(void *state, void *user) { free(state); }
 *
 *     static const struct weir_key_state_class accounts = {sizeof accounts, on_create, on_destroy, 0, NULL};
 *     weir_consumer_key_state(consumer, &accounts, &error);                    before weir_consumer_start()
 *
 *     struct account *account = weir_message_state(message);                   in the handler
 *
 * No lock is needed: create, the runs of the key's messages and destroy come one after the other, each on whatever
 * thread runs handlers.
 *
 * Its life. It is made when a run of the key first asks for it, and destroyed after the key's last run:
 *   - when the key has had no message for weir.key.state.idle.ms.max;
 *   - when a partition has more idle keys with state than weir.key.state.keys.max, or more bytes of it than
 *     weir.key.state.bytes.max: the key that has been idle for longest goes first. Keys with work never count as idle;
 *     how many they are is bounded by the window;
 *   - when the partition leaves, for whatever reason (rebalance, loss, close, a reset of offsets). A run, or a message
 *     given out by WEIR_LATER, that outlives that is waited for;
 *   - at once, if the message has no key and weir.null.keys is spread: it is a key of its own.
 * A handler of batches asks message by message; those of one key get the same, whatever the scope.
 * (What filters remember of a key, weir.filter.version and weir.rate.key.*, counts as state here.)
 * Retries of a message see the same state. After any of the above, and in another process, a key begins with a fresh
 * one: this is memory, and what must be right for good belongs into a database. Messages may come again
 * (guarantees.md), so whoever counts keeps the last offset with what it counts.
 */
#ifndef WEIR_KEY_STATE_H
#define WEIR_KEY_STATE_H

#include <stddef.h>
#include <weir/error.h>
#include <weir/export.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weir_consumer;
struct weir_message;

/** How states are made and freed. */
struct weir_key_state_class {
    size_t size; /* of this struct: fields may be added at its end */
    /** Make the state of the message's key: topic, partition and key may be read from it. NULL: it failed, and
     *  weir_message_state() returns NULL. Called within it. */
    void *(*create)(struct weir_message *message, void *user);
    /** Free it. Never beside a run of that key, nor before it. On a thread that runs handlers, but for a state that a
     *  close has found under a handle, or under a dead letter or outputs that nobody has acknowledged: that ends in
     *  weir_consumer_destroy(). Must not block for long where handlers must not, and must not call this consumer. */
    void (*destroy)(void *state, void *user);
    size_t bytes; /* what a fresh state counts for, see weir_message_state_resize() */
    void *user;   /* handed to both */
};

/**
 * Give the keys of this consumer state. With weir.ordering=partition a partition is one key.
 *
 * Ownership: `key_class` is copied; what its `user` points to must outlive the consumer.
 * Thread:    before start, once.
 * Errors:    WEIR_INVALID without create or destroy, for an unknown size, and with weir.ordering=none, where no message
 *            has a key. WEIR_STATE once started or called before.
 */
WEIR_EXPORT int weir_consumer_key_state(struct weir_consumer *consumer, const struct weir_key_state_class *key_class,
                                        struct weir_error *error);

/**
 * The state of the message's key, made if need be. NULL where memory is short, create failed or the consumer has no
 * class: answer WEIR_RETRY.
 *
 * Ownership: lends, until the handler returns; after WEIR_LATER until the handle has been finished. A key whose message
 *            passed weir.later.deadline.ms and was abandoned goes on with a fresh state, and the old one stays its
 *            holder's until the late answer.
 * Thread:    the handler's. After WEIR_LATER whoever holds the handle: the same if the handler asked for it before it
 *            passed the handle on, else NULL.
 * Blocks:    never, but for create.
 */
WEIR_EXPORT void *weir_message_state(struct weir_message *message);

/**
 * Say how many bytes the state takes now, for weir.key.state.bytes.max. Weir adds what it needs itself, and the key.
 *
 * Thread: as above.    Errors: WEIR_STATE if weir_message_state() has not given this message one.
 */
WEIR_EXPORT int weir_message_state_resize(struct weir_message *message, size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
