/* Retry policy: see retry.h. Thread: any; the random numbers are the caller's. */
#include "actors/retry.h"
#include <math.h>

/* The bound grows as a double: it may reach infinity, but not wrap, and whatever is not below the maximum is cut. */
static uint64_t delay_bound_ms(const struct weir_retry_policy *policy, uint32_t attempt)
{
    double bound_ms = (double)policy->base_ms * pow(policy->factor, (double)(attempt > 0 ? attempt - 1 : 0));
    if (!(bound_ms < (double)policy->max_ms)) /* so written, not a number is cut too */
        return policy->max_ms;
    return bound_ms < 0 ? 0 : (uint64_t)bound_ms;
}

uint64_t weir_retry_delay_ms(const struct weir_retry_policy *policy, uint32_t attempt, struct weir_random *random)
{
    uint64_t bound_ms = delay_bound_ms(policy, attempt);
    uint64_t delay_ms = weir_random_below(random, bound_ms < UINT64_MAX ? bound_ms + 1 : bound_ms);
    return delay_ms > 0 ? delay_ms : 1;
}

bool weir_retry_is_spent(const struct weir_retry_policy *policy, uint32_t attempt, uint64_t failing_ms,
                         uint64_t delay_ms)
{
    if (policy->attempts_max != 0 && attempt >= policy->attempts_max)
        return true;
    return policy->deadline_ms != 0 &&
           (failing_ms >= policy->deadline_ms || delay_ms > policy->deadline_ms - failing_ms);
}
