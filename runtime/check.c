/*
 * What happens when an invariant does not hold: one line on standard error, the report hook, abort.
 *
 * Thread: any. The line goes out by write(2), not by the log: the log's callback is the user's and may be what failed.
 */
#include "runtime/check.h"
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef void failure_hook(void *argument);

static _Atomic(failure_hook *) report_hook;
static _Atomic(void *) report_argument;
static atomic_flag failing = ATOMIC_FLAG_INIT;

void weir_check_on_failure(void (*hook)(void *argument), void *argument)
{
    atomic_store_explicit(&report_hook, NULL, memory_order_relaxed);
    atomic_store_explicit(&report_argument, argument, memory_order_relaxed);
    atomic_store_explicit(&report_hook, hook, memory_order_release); /* with the acquire in weir_check_failed */
}

_Noreturn void weir_check_failed(const char *condition, const char *file, int line)
{
    char text[512];
    int size = snprintf(text, sizeof text, "weir: broken invariant: %s (%s:%d); this is a defect of Weir\n", condition,
                        file, line);
    if (size >= (int)sizeof text)
        size = sizeof text - 1;
    if (size > 0 && write(STDERR_FILENO, text, (size_t)size) < 0)
        abort();
    if (!atomic_flag_test_and_set(&failing)) {
        failure_hook *hook = atomic_load_explicit(&report_hook, memory_order_acquire);
        if (hook)
            hook(atomic_load_explicit(&report_argument, memory_order_relaxed));
    }
    abort();
}
