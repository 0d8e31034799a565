/*
 * The pool: threads that may block, for roaming actors only.
 *
 * Where a system has one, its workers dispatch roaming actors to it instead of their own run queues, and run residents
 * and timers only: whatever a roaming actor's turn waits for, no resident waits with it. A pool thread has no loop, no
 * timers and no residents, so that a thousand of them cost little more than their stacks.
 *
 * One queue under a mutex. Turns here block for a tenth of a millisecond or more; what a lock costs is lost in that,
 * and a thread that waits on the condition is woken by exactly one put, so that none is lost and no thread looks in
 * vain.
 *
 * Invariants
 *   O1. First in, first out over all workers: no key waits for others than those put before it.
 *   O2. While an actor is queued and a thread idle, a wake-up is on its way to that thread.
 *
 * Bound: intrusive, so it holds at most the roaming actors that exist, which the windows bound.
 */
#ifndef WEIR_RUNTIME_POOL_H
#define WEIR_RUNTIME_POOL_H

#include "runtime/run_queue.h"
#include <pthread.h>

struct weir_pool {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct weir_actor_list queue; /* under lock */
    unsigned idle_count;          /* threads that wait; under lock */
    bool ended;                   /* under lock */
    _Atomic size_t count;         /* of the queue: written under lock; a hint to any */
};

void weir_pool_init(struct weir_pool *pool);
void weir_pool_deinit(struct weir_pool *pool); /* no thread waits; what is queued stays whose it was */

/** Put at the back. Thread: any. Blocks: never, but for the lock. */
void weir_pool_put(struct weir_pool *pool, struct weir_actor *actor);

/** Take from the front; NULL where it is empty. Thread: any. */
struct weir_actor *weir_pool_try_take(struct weir_pool *pool);

/** The same, waiting for one; NULL once the pool has ended, whatever is queued. Thread: any. Blocks. */
struct weir_actor *weir_pool_take(struct weir_pool *pool);

/** Take out all that match, in order; the others stay in theirs. Thread: any. Cost: a look at each under the lock. */
struct weir_actor_list weir_pool_withdraw(struct weir_pool *pool, weir_actor_match *match, const void *argument);

/** Have every take return NULL, now and later. Thread: any. */
void weir_pool_end(struct weir_pool *pool);

/** How many are queued: a hint. Thread: any. */
static inline size_t weir_pool_count(const struct weir_pool *pool)
{
    return atomic_load_explicit(&pool->count, memory_order_relaxed);
}

#endif
