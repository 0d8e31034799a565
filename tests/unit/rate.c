/*
 * Rates by themselves: how many start in a second, how much is saved up, who waits for how long.
 */
#include "actors/rate.h"
#include "runtime/check.h"
#include "tests/support/test.h"
#include <pthread.h>

#define MS     UINT64_C(1000000)
#define SECOND (1000 * MS)

static struct weir_rate rate;

Test(rate, gives_places_at_its_interval_and_each_waits_until_his)
{
    weir_rate_init(&rate, 10, 0);
    for (uint64_t index = 0; index < 50; index++) {
        cr_assert_eq(weir_rate_wait_ns(&rate, 5 * SECOND), index * 100 * MS);
        cr_assert_eq(weir_rate_take_ns(&rate, 5 * SECOND), index * 100 * MS);
    }
    cr_assert_eq(weir_rate_take_ns(&rate, 8 * SECOND), 2 * SECOND, "the places before are given away");
    cr_assert_eq(weir_rate_take_ns(&rate, 60 * SECOND), 0);
    cr_assert_eq(weir_rate_take_ns(&rate, 60 * SECOND), 100 * MS, "nothing is saved up");
}

Test(rate, saves_up_as_much_as_its_burst)
{
    weir_rate_init(&rate, 10, 1000);
    for (unsigned index = 0; index <= 10; index++)
        cr_assert_eq(weir_rate_take_ns(&rate, 60 * SECOND), 0, "place %u", index);
    cr_assert_eq(weir_rate_take_ns(&rate, 60 * SECOND), 100 * MS);
    cr_assert_eq(weir_rate_take_ns(&rate, 61 * SECOND), 0);
}

Test(rate, of_zero_limits_nothing)
{
    weir_rate_init(&rate, 0, 1000);
    for (unsigned index = 0; index < 1000; index++)
        cr_assert_eq(weir_rate_take_ns(&rate, SECOND), 0);
}

enum { THREADS = 4, TAKES = 20000 };

static void *take_many(void *argument)
{
    uint64_t *sum_ns = argument;
    for (unsigned index = 0; index < TAKES; index++)
        *sum_ns += weir_rate_take_ns(&rate, 10 * SECOND) / 1000;
    return NULL;
}

Test(rate, gives_no_place_twice)
{
    pthread_t threads[THREADS];
    uint64_t sums[THREADS] = {0}, sum = 0, expected = 0;
    weir_rate_init(&rate, 1000000, 0);
    for (unsigned index = 0; index < THREADS; index++)
        cr_assert_eq(pthread_create(&threads[index], NULL, take_many, &sums[index]), 0);
    for (unsigned index = 0; index < THREADS; index++) {
        pthread_join(threads[index], NULL);
        sum += sums[index];
    }
    for (uint64_t place = 0; place < THREADS * TAKES; place++)
        expected += place;
    cr_assert_eq(sum, expected, "each of the first places was given to one");
}
