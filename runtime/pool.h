/*
 * The pool: threads that may block, for roaming actors only.
 *
 * Where a system has one, its workers dispatch roaming actors to it instead of their own run queues, and run residents
 * and timers only: whatever a roaming actor's turn waits for, no resident waits with it. A pool thread has no loop, no
 * timers and no residents, so that a thousand of them cost little more than their stacks.
 *
 * Under one mutex. Turns here block for a tenth of a millisecond or more; what a lock costs is lost in that, and a
 * thread that waits on the condition is woken by exactly one put, so that none is lost and no thread looks in vain.
 *
 * Long actors. One that has more to do, one thing after the other, than is queued for each thread, decides when all is
 * done: were it to wait among the others, each time, threads would stand idle in the end. So those go first, the
 * longest before all, and may take long turns; but on half of the threads at most, so that all others go on as well.
 * They are queued by powers of two of their length, and every fourth that is taken is of one queue after the other.
 *
 * Levels (levels.h). Each has all of these queues for itself; which level is taken from is decided first.
 *
 * Invariants
 *   O1. First in, first out over all workers, within a queue.
 *   O2. While an actor is queued and a thread idle, a wake-up is on its way to that thread.
 *   O3. While one is queued at its level that is not long, at most half of the threads are given long ones.
 *   O4. No queue waits for ever for others.
 *
 * Bound: intrusive, so it holds at most the roaming actors that exist, which the windows bound.
 */
#ifndef WEIR_RUNTIME_POOL_H
#define WEIR_RUNTIME_POOL_H

#include "runtime/levels.h"
#include "runtime/run_queue.h"
#include <pthread.h>

#define WEIR_POOL_LONGS 24 /* queues, by powers of two of the length; the last takes all beyond */

struct weir_pool_level {
    struct weir_actor_list queue;
    struct weir_actor_list longs[WEIR_POOL_LONGS];
    size_t long_queued;
};

/* What a thread has taken, and what became of it: the thread's own. All zero at first. */
struct weir_pool_turn {
    bool is_long;
    struct weir_level_turn level;
};

struct weir_pool {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    unsigned threads;          /* constant */
    struct weir_levels levels; /* under lock, as all below */
    struct weir_pool_level queues[WEIR_LEVELS_MAX];
    unsigned long_running; /* threads that run long actors */
    unsigned long_takes;
    unsigned idle_count; /* threads that wait */
    bool ended;
    /* Written under lock, a hint to any. */
    _Atomic size_t count;     /* of all queues */
    _Atomic unsigned waiting; /* levels at which some are queued, as bits */
};

void weir_pool_init(struct weir_pool *pool, unsigned threads); /* with one level */
void weir_pool_deinit(struct weir_pool *pool);                 /* no thread waits; what is queued stays whose it was */

/** Put at the back of its queue. `length`: how much it has to do, one thing after the other, in units that are alike
 * for all. Thread: any. Blocks: never, but for the lock. */
void weir_pool_put(struct weir_pool *pool, struct weir_actor *actor, unsigned level, unsigned length);

/** Take from the front; NULL where it is empty. `turn`: what the thread took before, which is over, and what it takes
 *  now. Thread: any. */
struct weir_actor *weir_pool_try_take(struct weir_pool *pool, struct weir_pool_turn *turn);

/** The same, waiting for one; NULL once the pool has ended, whatever is queued. Thread: any. Blocks. */
struct weir_actor *weir_pool_take(struct weir_pool *pool, struct weir_pool_turn *turn);

/** Take out all that match, in the order of each queue; the others stay in theirs. Thread: any. Cost: a look at each
 * under the lock. */
struct weir_actor_list weir_pool_withdraw(struct weir_pool *pool, weir_actor_match *match, const void *argument);

/** Have every take return NULL, now and later. Thread: any. */
void weir_pool_end(struct weir_pool *pool);

/** How many are queued: a hint. Thread: any. */
static inline size_t weir_pool_count(const struct weir_pool *pool)
{
    return atomic_load_explicit(&pool->count, memory_order_relaxed);
}

/** The levels at which some are queued, as bits: a hint. Thread: any. */
static inline unsigned weir_pool_waiting(const struct weir_pool *pool)
{
    return atomic_load_explicit(&pool->waiting, memory_order_relaxed);
}

#endif
