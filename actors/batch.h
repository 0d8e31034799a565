/*
 * Batches: what a batch handler is given. Each is a roaming actor that gathers keys with a private run each, goes out,
 * and comes back as one mail.
 *
 *   gathering   made by the partition actor whose key came first, filled by the actors that live on its worker. It has
 * a timer, and what comes for it finds it through `open` out         full, or its linger is over: dispatched as key
 * actors are. Its keys are OUT back        its mail comes to the partition that made it, which hands each key to its
 * own partition, and frees it
 *
 * Scope `key` has a batch for each key, `partition` one open batch a partition, `any` one open batch a worker and
 * priority: all partitions in it live on that worker, so whoever touches it while it gathers does so in that worker's
 * steps, and there is no lock; and none of a lower priority goes out with those of a higher one.
 *
 * Invariants
 *   M1. A batch that is there has a key, and each key in it has a run of one message or more. Gathering keys are
 *       GATHERING, those of a batch that is out are OUT; both know their batch.
 *   M2. A message joins when it could be started: first in its key's queue, or behind others that join; at most once,
 *       when its offset has been committed. In its turn it starts only in an open epoch (P3), so that no batch holds
 *       runs of two epochs of a partition.
 *   M3. At a drain and at the end of an epoch the keys of that partition leave: a gathering batch by
 *       weir_batch_leave(), one in the run queue by weir_batch_take_back(). The others of the batch stay in it.
 *   M4. A batch never has more than batch.messages.max messages; and more than batch.bytes.max only with one.
 *   M5. The linger counts from the first message that joined; none that joins later moves it.
 *
 * Bound: no more batches than key actors, which the windows bound. Where there is no memory for one, its key waits
 * parked.
 */
#ifndef WEIR_ACTORS_BATCH_H
#define WEIR_ACTORS_BATCH_H

#include "actors/key.h"
#include <weir/batch.h>

struct weir_consumer;

#define WEIR_BATCH_UNSAID UINT8_MAX /* the outcome of a message of which its handler has said nothing */

struct weir_batch {
    struct weir_actor actor;          /* run queue's */
    struct weir_partition *partition; /* that made it */
    struct weir_batch **open;         /* where it is found while it gathers; NULL: scope key, nowhere */
    struct weir_key_list keys;        /* in the order in which they joined */
    uint32_t count;                   /* messages in the runs of its keys */
    uint64_t bytes;                   /* of these */
    struct weir_timer timer;          /* armed while it gathers */
    struct weir_mail mail;            /* the hand-back */

    struct weir_message **messages; /* in its turn: those that started, in a room of the worker's */
    size_t started_count;
};

/** Room for the batches of a consumer that has a batch handler. WEIR_NO_MEMORY if there is none. */
int weir_batches_init(struct weir_consumer *consumer);
void weir_batches_deinit(struct weir_consumer *consumer);

/** Take a READY key in. False where memory is short: it stays READY. Owner. */
bool weir_batch_join(struct weir_key *key);
/** A message was appended to a GATHERING key: take it in too, if it may and there is room, behind those that could not
 *  join before. Owner. */
void weir_batch_extend(struct weir_key *key);
/** A GATHERING key leaves its batch; it stays GATHERING, in no list. Owner. */
void weir_batch_leave(struct weir_key *key);
/** Nothing more will come for the batch of this GATHERING key: let it go. Owner. */
void weir_batch_hurry(struct weir_key *key);

/** For weir_worker_withdraw(): does this actor, a batch, have keys of `partition`? */
bool weir_batch_has_keys_of(const struct weir_actor *actor, const void *partition);
/** A batch that was withdrawn: hand back the keys of `partition`, and dispatch what is left. Owner. */
void weir_batch_take_back(struct weir_actor *actor, struct weir_partition *partition);
/** A batch has come back from its turn. The partition that made it. */
void weir_batch_take(struct weir_batch *batch);

/** The turn: run the handler over all that may start, hand the batch back. Worker. */
void weir_batch_turn(struct weir_actor *actor, struct weir_worker *worker);

#endif
