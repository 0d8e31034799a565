/*
 * Invariants that stay on in release builds.
 *
 * WEIR_CHECK names the condition, the file and the line, calls the report hook (the consumer prints the partition's
 * state there) and aborts: a broken invariant is a defect of Weir, and going on could lose data. Never for bad input.
 */
#ifndef WEIR_RUNTIME_CHECK_H
#define WEIR_RUNTIME_CHECK_H

#include <stddef.h>

#define WEIR_CHECK(condition)                                  \
    do {                                                       \
        if (__builtin_expect(!(condition), 0))                 \
            weir_check_failed(#condition, __FILE__, __LINE__); \
    } while (0)

_Noreturn void weir_check_failed(const char *condition, const char *file, int line);

/* Call `hook(argument)` between the message and the abort, once, on the thread that failed; NULL: none. A check that
 * fails inside the hook aborts at once. Thread: any, but set it before the threads start. */
void weir_check_on_failure(void (*hook)(void *argument), void *argument);

#define WEIR_CONTAINER(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))
#define WEIR_COUNT(array)                     (sizeof(array) / sizeof((array)[0]))

#endif
