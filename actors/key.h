/*
 * Key actors: one a key that has work. Made on demand, freed at once when idle, unless they have data to keep
 * (key_data.h).
 *
 * A key actor is a roaming actor of its partition. Its queue belongs to the partition actor; it goes out with a private
 * run, the first `run_count` messages of the queue, and comes back as one mail. Later arrivals are appended behind the
 * run: the worker reads `next` only within the run, the partition writes it only from the run's last message on.
 *
 * States (one setter, weir_key_move; legal moves in key.c)
 *   READY    has messages, is nowhere: about to be dispatched or freed
 *   GATHERING  with its run in a batch that is not full yet (batch.h)
 *   OUT      dispatched, alone or in a batch; a worker runs it or will
 *   PARKED   may not start now (at-most-once before its commit, or the lease has lapsed); in the partition's list
 *   WAITING  its first message waits on the timer for another run
 *   LATER    its first message was given out by WEIR_LATER
 *   DYING    its first message is on its way to the dead letter queue, or waits to be sent there
 *   SENDING  its first message was acked or skipped, and its outputs are on their way, or wait to be sent again
 *   DELAYED  its first message waits on the timer for a time or a rate, see filter.h
 *   IDLE, LEAVING, ENDING   it has data and no work, or data that must end first: see partition_data.c
 *
 * In a consumer with batches outcomes may be mixed within a run. What was acked or skipped is finished, also out of the
 * middle, unless it has outputs; what failed stays where it is and goes again, once the last of its messages is due.
 * The rest is settled: it acts on its outcome when it comes to the head, and no run begins or passes there before.
 *
 * A key whose first message is of an older epoch is a straggler: it keeps its state, and starts nothing until it is
 * back.
 */
#ifndef WEIR_ACTORS_KEY_H
#define WEIR_ACTORS_KEY_H

#include "actors/key_data.h"
#include "actors/message.h"
#include "runtime/timers.h"
#include "runtime/worker.h"

struct weir_running;

enum weir_key_state {
    WEIR_KEY_READY = 0,
    WEIR_KEY_GATHERING,
    WEIR_KEY_OUT,
    WEIR_KEY_PARKED,
    WEIR_KEY_WAITING,
    WEIR_KEY_LATER,
    WEIR_KEY_DYING,
    WEIR_KEY_SENDING,
    WEIR_KEY_DELAYED,
    WEIR_KEY_IDLE,
    WEIR_KEY_LEAVING,
    WEIR_KEY_ENDING,
    WEIR_KEY_STATES
};

struct weir_key {
    struct weir_actor actor; /* run queue's */
    struct weir_partition *partition;
    struct weir_key *table_next;
    struct weir_message *first, *last; /* in offset order; the key's bytes are those of `last`, or of `data` */
    uint32_t hash;
    uint32_t count;
    uint16_t run_count, run_done; /* while OUT the worker's */
    uint8_t state;
    bool in_table;              /* found by its bytes */
    bool held;                  /* its messages count as held */
    struct weir_key_data *data; /* NULL: none. Whoever has the key */
    union {
        struct weir_mail mail; /* OUT, but in a batch: the hand-back */
        struct {
            struct weir_key *list_before, *list_after; /* in other states with a list of the partition's: its links;
                                                          GATHERING, and OUT in a batch: the batch's */
        };
    };
    union {
        struct weir_timer timer;  /* WAITING: next run; DYING, SENDING: next try */
        struct weir_batch *batch; /* GATHERING, and OUT in a batch: where the timer, which is not armed, has a link */
    };
};

_Static_assert(sizeof(struct weir_key) <= 136, "each key that has work takes this much");

/* Doubly linked list of keys by list_before / list_after. */
struct weir_key_list {
    struct weir_key *first, *last;
    uint32_t count;
};
void weir_key_list_append(struct weir_key_list *list, struct weir_key *key);
void weir_key_list_remove(struct weir_key_list *list, struct weir_key *key);

/* The keys of a partition by their bytes: chained hash, never by hash alone. The bytes of a key are those of
 * its last message; without messages those of its data, and without data it is freed, and leaves the table, before
 * anything is looked up again. */
struct weir_key_table {
    struct weir_key **buckets;
    uint32_t bucket_count; /* a power of two */
    uint32_t count;
};
int weir_key_table_init(struct weir_key_table *table);
void weir_key_table_deinit(struct weir_key_table *table);
struct weir_key *weir_key_table_find(const struct weir_key_table *table, uint32_t hash, const void *key,
                                     size_t key_size);
/* Ask for what the next find of this hash, or remove of its key, begins with. */
static inline void weir_key_table_prefetch(const struct weir_key_table *table, uint32_t hash)
{
    __builtin_prefetch(&table->buckets[hash & (table->bucket_count - 1)]);
}
void weir_key_table_insert(struct weir_key_table *table, struct weir_key *key); /* grows when it can */
void weir_key_table_remove(struct weir_key_table *table, struct weir_key *key);
uint64_t weir_key_hash(const void *key, size_t key_size); /* NULL has a hash of its own; a table takes 32 bits */

/* Free key actors of one partition. Chunks go back at deinit. */
struct weir_key_pool {
    struct weir_key *free; /* linked by table_next */
    struct weir_key_chunk *chunks;
    uint32_t free_count;
};
int weir_key_pool_reserve(struct weir_key_pool *pool, uint32_t count);
struct weir_key *weir_key_pool_take(struct weir_key_pool *pool, struct weir_partition *partition);
void weir_key_pool_give(struct weir_key_pool *pool, struct weir_key *key);
void weir_key_pool_deinit(struct weir_key_pool *pool);

/* Does it wait for the broker to take something? */
static inline bool weir_key_is_writing(const struct weir_key *key)
{
    return key->state == WEIR_KEY_DYING || key->state == WEIR_KEY_SENDING;
}

void weir_key_append(struct weir_key *key, struct weir_message *message);
struct weir_message *weir_key_shift(struct weir_key *key); /* take the first message out */
struct weir_message *weir_key_take_after(struct weir_key *key, struct weir_message *before);
void weir_key_move(struct weir_key *key, enum weir_key_state state);
const char *weir_key_state_name(enum weir_key_state state);

/** The turn: run the handler over the run, hand the key back. Worker. */
void weir_key_turn(struct weir_actor *actor, struct weir_worker *worker);

#endif
