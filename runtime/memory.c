/*
 * Allocation with an optional fault: see memory.h.
 *
 * The countdown is UINT64_MAX outside of tests, so that the cost of the fault is one relaxed load.
 */
#include "runtime/memory.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define NEVER UINT64_MAX

static _Atomic uint64_t passes_left = NEVER;

void weir_memory_fail_after(uint64_t count)
{
    atomic_store_explicit(&passes_left, count, memory_order_relaxed);
}

/* Count this allocation; true if it is the one to fail. Several threads may count: exactly one of them fails. */
static bool is_chosen_to_fail(void)
{
    uint64_t left = atomic_load_explicit(&passes_left, memory_order_relaxed);
    while (__builtin_expect(left != NEVER, 0)) {
        uint64_t next = left == 0 ? NEVER : left - 1;
        if (!atomic_compare_exchange_weak_explicit(&passes_left, &left, next, memory_order_relaxed,
                                                   memory_order_relaxed))
            continue;
        if (left > 0)
            return false;
        errno = ENOMEM;
        return true;
    }
    return false;
}

void *weir_memory_allocate(size_t size)
{
    return is_chosen_to_fail() ? NULL : malloc(size ? size : 1);
}

void *weir_memory_allocate_zeroed(size_t count, size_t size)
{
    if (size > 0 && count > SIZE_MAX / size) /* here, because a sanitizer's calloc would end the process */
        return NULL;
    return is_chosen_to_fail() ? NULL : calloc(count ? count : 1, size ? size : 1);
}

void *weir_memory_resize(void *memory, size_t size)
{
    return is_chosen_to_fail() ? NULL : realloc(memory, size ? size : 1);
}

char *weir_memory_copy_text(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = weir_memory_allocate(size);
    return copy ? memcpy(copy, text, size) : NULL;
}

void weir_memory_free(void *memory)
{
    free(memory);
}
