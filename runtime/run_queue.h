/*
 * The run queue of a worker's roaming actors: its owner puts at the back, owner and thieves take from the front.
 *
 * A ring of fixed capacity (Concurrency Kit's, one producer, many consumers) that anybody may take from, and behind it
 * a list that is the owner's alone. Only the ring can be stolen from: a thief must not follow links that the owner
 * writes. The ring is large enough that an owner stuck in a long turn leaves work for its thieves.
 *
 * Invariants
 *   Q1. First in, first out: what lies in the list came after all that lies in the ring. While the list holds anything,
 *       new actors go to its end.
 *   Q2. Every actor is taken exactly once: the ring's head moves by compare-and-swap.
 *   Q3. If the ring is empty and the list is not, the owner has not taken since the ring ran out.
 *
 * Bound: the list is intrusive; it holds what exists. Cost: a put and a take by the owner, about 10 ns together.
 */
#ifndef WEIR_RUNTIME_RUN_QUEUE_H
#define WEIR_RUNTIME_RUN_QUEUE_H

#include "runtime/memory.h"
#include "runtime/tsan.h"
#include "runtime/worker.h"
#include <ck_ring.h>
#include <weir/error.h>

#define WEIR_RUN_RING_SIZE 1024 /* slots, one of which stays empty; a power of two */

struct weir_run_queue {
    ck_ring_t ring; /* head: by all who take; tail: by the owner */
    ck_ring_buffer_t *slots;
    struct weir_actor_list waiting; /* owner's */
};

static inline int weir_run_queue_init(struct weir_run_queue *queue)
{
    queue->waiting = (struct weir_actor_list){0};
    ck_ring_init(&queue->ring, WEIR_RUN_RING_SIZE);
    queue->slots = weir_memory_allocate_zeroed(WEIR_RUN_RING_SIZE, sizeof *queue->slots);
    return queue->slots ? 0 : WEIR_NO_MEMORY;
}

static inline void weir_run_queue_deinit(struct weir_run_queue *queue)
{
    weir_memory_free(queue->slots);
}

/* How many can be stolen. Thread: any; a hint to all but the owner. */
static inline unsigned weir_run_queue_stealable(const struct weir_run_queue *queue)
{
    return ck_ring_size(&queue->ring);
}

/* Thread: owner. */
static inline bool weir_run_queue_is_empty(const struct weir_run_queue *queue)
{
    return queue->waiting.count == 0 && weir_run_queue_stealable(queue) == 0;
}

static inline bool weir_run_queue_offer(struct weir_run_queue *queue, struct weir_actor *actor)
{
    WEIR_TSAN_RELEASE(queue);
    ck_pr_fence_release(); /* with the acquire in take: what the owner wrote is seen by who runs the actor */
    return ck_ring_enqueue_spmc(&queue->ring, queue->slots, actor);
}

/* Put at the back. Thread: owner. */
static inline void weir_run_queue_put(struct weir_run_queue *queue, struct weir_actor *actor)
{
    if (queue->waiting.count > 0 || !weir_run_queue_offer(queue, actor))
        weir_actor_list_append(&queue->waiting, actor);
}

/* Take from the front of the ring. Thread: any. */
static inline struct weir_actor *weir_run_queue_steal(struct weir_run_queue *queue)
{
    struct weir_actor *actor = NULL;
    if (!ck_ring_dequeue_spmc(&queue->ring, queue->slots, &actor))
        return NULL;
    ck_pr_fence_acquire(); /* with the release in offer */
    WEIR_TSAN_ACQUIRE(queue);
    return actor;
}

/* Move from the list into the ring what has place. Thread: owner. */
static inline void weir_run_queue_refill(struct weir_run_queue *queue)
{
    while (queue->waiting.first) {
        struct weir_actor *next = queue->waiting.first->next; /* once offered, it may be gone */
        if (!weir_run_queue_offer(queue, queue->waiting.first))
            return;
        queue->waiting.first = next;
        if (--queue->waiting.count == 0)
            queue->waiting.last = NULL;
    }
}

/* Take out all that match, in order; the others stay in theirs. Thread: owner. Cost: a take and a put for each. */
static inline struct weir_actor_list weir_run_queue_withdraw(struct weir_run_queue *queue, weir_actor_match *match,
                                                             const void *argument)
{
    struct weir_actor_list matching = {0}, others = {0};
    struct weir_actor *actor;
    while ((actor = weir_run_queue_steal(queue)) || (actor = weir_actor_list_take(&queue->waiting)))
        weir_actor_list_append(match(actor, argument) ? &matching : &others, actor);
    while ((actor = weir_actor_list_take(&others)))
        weir_run_queue_put(queue, actor);
    return matching;
}

/* Take from the front. Thread: owner. */
static inline struct weir_actor *weir_run_queue_take(struct weir_run_queue *queue)
{
    if (queue->waiting.count > 0 && weir_run_queue_stealable(queue) < WEIR_RUN_RING_SIZE / 2)
        weir_run_queue_refill(queue);
    return weir_run_queue_steal(queue);
}

#endif
