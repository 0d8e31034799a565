/*
 * Waiting for other threads, bounded: a test that waits for what never comes fails instead of hanging.
 *
 * The bound is far above anything that a loaded machine or valgrind takes; no test measures time.
 */
#ifndef WEIR_TESTS_WAIT_H
#define WEIR_TESTS_WAIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define WEIR_TEST_WAIT_MS 60000

static inline void weir_test_sleep_us(unsigned duration_us)
{
    struct timespec duration = {duration_us / 1000000, (long)(duration_us % 1000000) * 1000};
    nanosleep(&duration, NULL);
}

/* True when `counter` has reached `value`; false after WEIR_TEST_WAIT_MS. Acquire: what led to it is seen. */
static inline bool weir_test_reaches(_Atomic uint64_t *counter, uint64_t value)
{
    for (unsigned i = 0; i < WEIR_TEST_WAIT_MS * 10; i++) {
        if (atomic_load_explicit(counter, memory_order_acquire) >= value)
            return true;
        weir_test_sleep_us(100);
    }
    return false;
}

#endif
