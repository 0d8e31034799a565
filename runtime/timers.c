/*
 * Timers: a pairing heap (Fredman, Sedgewick, Sleator and Tarjan, 1986) with two-pass merging.
 *
 * Shape: `child` is a node's first child, `sibling` the next child of the same parent, `previous` the one before it or,
 * for the first child, the parent. The root has neither previous nor sibling.
 *
 * Invariants
 *   T1. No node is due before its parent; of two due at once, the one armed first is not below the other.
 *   T2. A timer is in one heap iff `armed`; all its links are NULL otherwise.
 *   T3. Merging is iterative: a heap that degenerates to a list of siblings costs no stack.
 */
#include "runtime/timers.h"
#include "runtime/check.h"
#include <stddef.h>

static bool is_before(const struct weir_timer *a, const struct weir_timer *b)
{
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->sequence < b->sequence;
}

/* Make one heap of two; either may be NULL, both are roots. */
static struct weir_timer *merge(struct weir_timer *a, struct weir_timer *b)
{
    if (!a || !b)
        return a ? a : b;
    struct weir_timer *parent = is_before(a, b) ? a : b;
    struct weir_timer *child = parent == a ? b : a;
    child->previous = parent;
    child->sibling = parent->child;
    if (child->sibling)
        child->sibling->previous = child;
    parent->child = child;
    return parent;
}

static struct weir_timer *detach(struct weir_timer *root)
{
    root->sibling = root->previous = NULL;
    return root;
}

/* Make one heap of a list of siblings: merge neighbours from left to right, then the pairs from right to left. */
static struct weir_timer *merge_siblings(struct weir_timer *first)
{
    struct weir_timer *pairs = NULL;
    while (first) {
        struct weir_timer *a = first, *b = a->sibling;
        first = b ? b->sibling : NULL;
        struct weir_timer *pair = merge(detach(a), b ? detach(b) : NULL);
        pair->sibling = pairs;
        pairs = pair;
    }
    struct weir_timer *root = NULL;
    while (pairs) {
        struct weir_timer *next = pairs->sibling;
        root = merge(root, detach(pairs));
        pairs = next;
    }
    return root;
}

void weir_timers_init(struct weir_timers *timers)
{
    *timers = (struct weir_timers){0};
}

void weir_timer_init(struct weir_timer *timer, weir_timer_callback *callback)
{
    *timer = (struct weir_timer){.callback = callback};
}

void weir_timers_arm(struct weir_timers *timers, struct weir_timer *timer, uint64_t due_ns)
{
    WEIR_CHECK(!timer->armed);
    timer->child = NULL;
    detach(timer);
    timer->due_ns = due_ns;
    timer->sequence = timers->sequence_next++;
    timer->armed = true;
    timers->root = merge(timers->root, timer);
    timers->count++;
}

/* Take an armed timer out, root or not. */
static void disarm(struct weir_timers *timers, struct weir_timer *timer)
{
    struct weir_timer *children = merge_siblings(timer->child);
    if (timer == timers->root) {
        timers->root = children;
    } else {
        if (timer->previous->child == timer)
            timer->previous->child = timer->sibling;
        else
            timer->previous->sibling = timer->sibling;
        if (timer->sibling)
            timer->sibling->previous = timer->previous;
        timers->root = merge(timers->root, children);
    }
    timer->child = NULL;
    detach(timer);
    timer->armed = false;
    timers->count--;
}

void weir_timers_cancel(struct weir_timers *timers, struct weir_timer *timer)
{
    if (timer->armed)
        disarm(timers, timer);
}

unsigned weir_timers_expire(struct weir_timers *timers, uint64_t now_ns, unsigned count_max)
{
    unsigned count = 0;
    while (count < count_max && timers->root && timers->root->due_ns <= now_ns) {
        struct weir_timer *timer = timers->root;
        disarm(timers, timer);
        count++;
        timer->callback(timer); /* last access: the callback may free it */
    }
    return count;
}
