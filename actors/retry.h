/*
 * Retry policy: when a failed message runs again, and when it is given up.
 *
 * Backoff is exponential with full jitter (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015):
 * uniform in [0, min(max, base x factor^(attempt - 1))], never below 1 ms so that a retry always leaves its turn.
 */
#ifndef WEIR_ACTORS_RETRY_H
#define WEIR_ACTORS_RETRY_H

#include "runtime/random.h"
#include <stdbool.h>
#include <stdint.h>

struct weir_retry_policy {
    uint32_t attempts_max; /* runs in all, the first included; 0: no limit */
    uint64_t base_ms, max_ms;
    double factor;
    uint64_t deadline_ms; /* since the first failure, less the time it stood still; 0: none */
};

/* Delay before the attempt after `attempt` (>= 1) has failed, in ms, >= 1. */
uint64_t weir_retry_delay_ms(const struct weir_retry_policy *policy, uint32_t attempt, struct weir_random *random);

/* Is it given up after `attempt` failed, `failing_ms` after the first failure, if the next would come in `delay_ms`? */
bool weir_retry_is_spent(const struct weir_retry_policy *policy, uint32_t attempt, uint64_t failing_ms,
                         uint64_t delay_ms);

#endif
