/*
 * A stack that many threads push on and one takes whole, oldest first: Concurrency Kit's ck_stack, with the order that
 * its users want and what ThreadSanitizer must be told.
 *
 * Push is ck_stack_push_upmc with one difference: the link is stored by ck_pr_store_ptr. The tool would else see a
 * plain store that comes after the release that it was told of, when the compare-and-swap fails and the link is set
 * again.
 *
 * Bound: none of its own; entries are intrusive.
 */
#ifndef WEIR_RUNTIME_STACK_H
#define WEIR_RUNTIME_STACK_H

#include "runtime/tsan.h"
#include <ck_stack.h>
#include <stdbool.h>

/* Thread: any. Full fence on machines with total store order, and before later loads where ck_pr_fence_atomic_load
 * follows. */
static inline void weir_stack_push(ck_stack_t *stack, ck_stack_entry_t *entry)
{
    WEIR_TSAN_RELEASE(stack);
    ck_pr_fence_release(); /* with the acquire in take: the entry's content is seen, and was last touched before */
    ck_stack_entry_t *head = ck_pr_load_ptr(&stack->head);
    do {
        ck_pr_store_ptr(&entry->next, head);
        ck_pr_fence_store_atomic();
    } while (!ck_pr_cas_ptr_value(&stack->head, head, entry, &head));
}

/* A hint to any but the taker. */
static inline bool weir_stack_is_empty(const ck_stack_t *stack)
{
    return ck_pr_load_ptr(&stack->head) == NULL;
}

/* All entries, oldest first, linked by next; or NULL. Thread: one at a time. */
static inline ck_stack_entry_t *weir_stack_take(ck_stack_t *stack)
{
    if (weir_stack_is_empty(stack))
        return NULL;
    ck_stack_entry_t *entry = ck_stack_batch_pop_upmc(stack), *oldest = NULL;
    ck_pr_fence_acquire(); /* with the release in push */
    WEIR_TSAN_ACQUIRE(stack);
    while (entry) {
        ck_stack_entry_t *next = entry->next;
        entry->next = oldest;
        oldest = entry;
        entry = next;
    }
    return oldest;
}

#endif
