/*
 * Allocation: malloc with one place where tests make it fail.
 *
 * Every call may return NULL and every caller handles that. Thread: any.
 */
#ifndef WEIR_RUNTIME_MEMORY_H
#define WEIR_RUNTIME_MEMORY_H

#include <stddef.h>
#include <stdint.h>

void *weir_memory_allocate(size_t size); /* uninitialised */
void *weir_memory_allocate_zeroed(size_t count, size_t size);
void *weir_memory_resize(void *memory, size_t size); /* on failure the old block stays */
char *weir_memory_copy_text(const char *text);       /* NUL-terminated copy */
void weir_memory_free(void *memory);                 /* NULL is fine */

/* Tests only: let the next `count` allocations of the process pass and the one after fail, once.
 * UINT64_MAX: never (the default). */
void weir_memory_fail_after(uint64_t count);

#endif
