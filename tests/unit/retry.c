/* Retry policy: the bounds of the backoff at every attempt, and when a message is given up. */
#include "actors/retry.h"
#include "tests/support/test.h"

static struct weir_retry_policy policy(void)
{
    return (struct weir_retry_policy){.attempts_max = 10, .base_ms = 100, .max_ms = 30000, .factor = 2.0};
}

/* The least and greatest of many draws. */
static void draw(const struct weir_retry_policy *retry, uint32_t attempt, uint64_t *least, uint64_t *greatest)
{
    struct weir_random random;
    weir_random_init(&random, 1);
    *least = UINT64_MAX;
    *greatest = 0;
    for (int index = 0; index < 20000; index++) {
        uint64_t delay_ms = weir_retry_delay_ms(retry, attempt, &random);
        *least = delay_ms < *least ? delay_ms : *least;
        *greatest = delay_ms > *greatest ? delay_ms : *greatest;
    }
}

Test(retry, delay_is_spread_over_all_of_a_bound_that_doubles)
{
    struct weir_retry_policy retry = policy();
    static const uint64_t bounds_ms[] = {100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000};
    for (uint32_t attempt = 1; attempt <= 11; attempt++) {
        uint64_t least, greatest, bound_ms = bounds_ms[attempt - 1];
        draw(&retry, attempt, &least, &greatest);
        cr_assert_geq(least, 1);
        cr_assert_leq(least, 1 + bound_ms / 100);
        cr_assert_leq(greatest, bound_ms);
        cr_assert_geq(greatest, bound_ms - bound_ms / 100);
    }
}

Test(retry, huge_attempts_and_factors_stay_at_the_maximum)
{
    struct weir_retry_policy retry = policy();
    static const uint32_t attempts[] = {64, 1025, 1000000, UINT32_MAX};
    for (size_t index = 0; index < sizeof attempts / sizeof *attempts; index++) {
        uint64_t least, greatest;
        retry.factor = 100.0;
        draw(&retry, attempts[index], &least, &greatest);
        cr_assert(greatest <= 30000 && greatest > 29000);
    }
    retry = (struct weir_retry_policy){.base_ms = UINT64_MAX, .max_ms = UINT64_MAX, .factor = 100.0};
    struct weir_random random;
    weir_random_init(&random, 3);
    uint64_t above_half = 0;
    for (int index = 0; index < 1000; index++)
        above_half += weir_retry_delay_ms(&retry, UINT32_MAX, &random) > UINT64_MAX / 2;
    cr_assert(above_half > 400 && above_half < 600, "%llu", (unsigned long long)above_half);
}

Test(retry, factor_of_one_keeps_the_base)
{
    struct weir_retry_policy retry = policy();
    retry.factor = 1.0;
    uint64_t least, greatest;
    draw(&retry, 1000, &least, &greatest);
    cr_assert(greatest <= 100 && greatest > 95);
}

Test(retry, delay_is_never_zero)
{
    struct weir_retry_policy retry = {.base_ms = 1, .max_ms = 1, .factor = 1.0};
    uint64_t least, greatest;
    draw(&retry, 1, &least, &greatest);
    cr_assert_eq(least, 1);
    cr_assert_eq(greatest, 1);
    retry.base_ms = retry.max_ms = 0; /* nothing sets this, but it must not divide or spin */
    draw(&retry, 0, &least, &greatest);
    cr_assert_eq(greatest, 1);
}

Test(retry, gives_up_after_so_many_attempts)
{
    struct weir_retry_policy retry = policy();
    cr_assert_not(weir_retry_is_spent(&retry, 1, 0, 1));
    cr_assert_not(weir_retry_is_spent(&retry, 9, UINT64_MAX, UINT64_MAX));
    cr_assert(weir_retry_is_spent(&retry, 10, 0, 1));
    cr_assert(weir_retry_is_spent(&retry, UINT32_MAX, 0, 1));
    retry.attempts_max = 0;
    cr_assert_not(weir_retry_is_spent(&retry, UINT32_MAX, UINT64_MAX, UINT64_MAX), "no limit, no deadline");
    retry.attempts_max = 1;
    cr_assert(weir_retry_is_spent(&retry, 1, 0, 1));
}

Test(retry, gives_up_when_the_next_run_would_come_after_the_deadline)
{
    struct weir_retry_policy retry = {.deadline_ms = 1000};
    cr_assert_not(weir_retry_is_spent(&retry, 5, 0, 1000));
    cr_assert(weir_retry_is_spent(&retry, 5, 0, 1001));
    cr_assert_not(weir_retry_is_spent(&retry, 5, 999, 1));
    cr_assert(weir_retry_is_spent(&retry, 5, 999, 2));
    cr_assert(weir_retry_is_spent(&retry, 5, 1000, 0));
    cr_assert(weir_retry_is_spent(&retry, 5, 2000, UINT64_MAX));
    cr_assert(weir_retry_is_spent(&retry, 5, UINT64_MAX, UINT64_MAX), "sums that would overflow");
    cr_assert(weir_retry_is_spent(&retry, 5, 1, UINT64_MAX));
}
