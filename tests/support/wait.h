/*
 * Waiting for other threads, bounded: a test that waits for what never comes fails instead of hanging.
 *
 * The bound is far above anything that a loaded machine or valgrind takes; no test measures time. WEIR_TEST_WAIT_S (60)
 * is for a run in which some are known to wait in vain.
 */
#ifndef WEIR_TESTS_WAIT_H
#define WEIR_TESTS_WAIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#define WEIR_TEST_WAIT_MS weir_test_wait_ms()

static inline unsigned weir_test_wait_ms(void)
{
    const char *seconds = getenv("WEIR_TEST_WAIT_S");
    return seconds ? (unsigned)strtoul(seconds, NULL, 10) * 1000 : 60000;
}

static inline void weir_test_sleep_us(unsigned duration_us)
{
    struct timespec duration = {duration_us / 1000000, (long)(duration_us % 1000000) * 1000};
    nanosleep(&duration, NULL);
}

/* True when `counter` has reached `value`; false after WEIR_TEST_WAIT_MS. Acquire: what led to it is seen. */
static inline bool weir_test_reaches(_Atomic uint64_t *counter, uint64_t value)
{
    for (unsigned i = 0, most = WEIR_TEST_WAIT_MS * 10; i < most; i++) {
        if (atomic_load_explicit(counter, memory_order_acquire) >= value)
            return true;
        weir_test_sleep_us(100);
    }
    return false;
}

#endif
