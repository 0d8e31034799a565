/*
 * The dead letter budget: what it lets pass, what it earns, and that several threads cannot cheat it.
 * Method: time is an argument; the concurrent tests count exactly.
 */
#include "actors/budget.h"
#include "tests/support/test.h"
#include <pthread.h>

#define MINUTE_NS UINT64_C(60000000000)
#define THREADS   4

/* Take until it is refused. */
static uint64_t drain(struct weir_budget *budget, uint64_t now_ns)
{
    uint64_t taken = 0;
    while (weir_budget_take(budget, now_ns))
        taken++;
    return taken;
}

Test(budget, starts_with_its_burst_and_then_refuses)
{
    struct weir_budget budget;
    weir_budget_init(&budget, 1000, 10, 60, 5);
    cr_assert_not(weir_budget_is_spent(&budget, 5));
    cr_assert_eq(drain(&budget, 5), 1000);
    cr_assert(weir_budget_is_spent(&budget, 5));
}

Test(budget, trickle_comes_with_time_to_the_nanosecond)
{
    struct weir_budget budget;
    weir_budget_init(&budget, 1000, 0, 60, 0);
    drain(&budget, 0);
    cr_assert(weir_budget_is_spent(&budget, 999999999));
    cr_assert_not(weir_budget_is_spent(&budget, 1000000000), "sixty a minute is one a second");
    cr_assert(weir_budget_take(&budget, 1000000000));
    cr_assert_not(weir_budget_take(&budget, 1999999999));
    cr_assert_eq(drain(&budget, MINUTE_NS), 59);
}

Test(budget, asking_often_loses_nothing)
{
    struct weir_budget budget;
    weir_budget_init(&budget, 100000, 0, 7, 0);
    drain(&budget, 0);
    uint64_t taken = 0;
    for (uint64_t now_ns = 1; now_ns <= MINUTE_NS; now_ns += 1000003) /* each step earns a tenth of a thousandth */
        taken += weir_budget_take(&budget, now_ns);
    taken += drain(&budget, MINUTE_NS);
    cr_assert_eq(taken, 7);
}

Test(budget, cannot_latch_without_any_success)
{
    struct weir_budget budget;
    weir_budget_init(&budget, 1, 0, 1, 0);
    for (uint64_t minute = 0; minute < 1000; minute++) {
        cr_assert(weir_budget_take(&budget, minute * MINUTE_NS), "minute %llu", (unsigned long long)minute);
        cr_assert_not(weir_budget_take(&budget, minute * MINUTE_NS + MINUTE_NS - 1));
    }
}

Test(budget, earns_its_share_of_successes)
{
    struct weir_budget budget;
    weir_budget_init(&budget, 1000, 10, 60, 0);
    drain(&budget, 0);
    weir_budget_earn(&budget, 9);
    cr_assert(weir_budget_is_spent(&budget, 0));
    weir_budget_earn(&budget, 1);
    cr_assert_not(weir_budget_is_spent(&budget, 0));
    weir_budget_earn(&budget, 95);
    cr_assert_eq(drain(&budget, 0), 10);
    weir_budget_earn(&budget, 5); /* what 95 left over was kept */
    cr_assert_eq(drain(&budget, 0), 1);
    struct weir_budget none;
    weir_budget_init(&none, 5, 0, 60, 0);
    drain(&none, 0);
    weir_budget_earn(&none, UINT64_MAX);
    cr_assert(weir_budget_is_spent(&none, 0));
}

Test(budget, never_holds_more_than_its_burst)
{
    struct weir_budget budget;
    weir_budget_init(&budget, 10, 100, UINT32_MAX, 0);
    weir_budget_earn(&budget, UINT64_MAX);
    weir_budget_give_back(&budget);
    cr_assert_eq(drain(&budget, 0), 10);
    weir_budget_earn(&budget, UINT64_MAX);
    cr_assert_eq(drain(&budget, 0), 10);
    cr_assert_eq(drain(&budget, UINT64_MAX / 2), 10, "centuries of the greatest trickle");
    cr_assert_eq(drain(&budget, UINT64_MAX), 10);
    weir_budget_init(&budget, UINT32_MAX, 100, UINT32_MAX, 0);
    weir_budget_earn(&budget, UINT64_MAX);
    cr_assert_eq(atomic_load(&budget.milli), UINT32_MAX * INT64_C(1000));
}

Test(budget, what_was_not_sent_comes_back)
{
    struct weir_budget budget;
    weir_budget_init(&budget, 2, 0, 60, 0);
    drain(&budget, 0);
    weir_budget_give_back(&budget);
    cr_assert_eq(drain(&budget, 0), 1);
}

Test(budget, older_clock_readings_change_nothing)
{
    struct weir_budget budget;
    weir_budget_init(&budget, 100, 0, 60, MINUTE_NS);
    drain(&budget, MINUTE_NS);
    cr_assert_eq(drain(&budget, 2 * MINUTE_NS), 60);
    cr_assert_eq(drain(&budget, MINUTE_NS), 0);
    cr_assert_eq(drain(&budget, 0), 0);
    cr_assert_eq(drain(&budget, 2 * MINUTE_NS), 0, "the same minute is not earned twice");
}

Test(budget, burst_of_zero_sets_no_limit)
{
    struct weir_budget budget;
    weir_budget_init(&budget, 0, 10, 60, 0);
    for (int index = 0; index < 100000; index++)
        cr_assert(weir_budget_take(&budget, 0));
    weir_budget_earn(&budget, 100);
    weir_budget_give_back(&budget);
    cr_assert_not(weir_budget_is_spent(&budget, 0));
}

/* ---- several threads ---- */

struct party {
    struct weir_budget *budget;
    uint64_t taken, given_back, rounds;
};

static void *take_and_earn(void *argument)
{
    struct party *party = argument;
    for (uint64_t round = 0; round < party->rounds; round++) {
        party->taken += weir_budget_take(party->budget, 0);
        weir_budget_earn(party->budget, 3);
        if (round % 16 == 0 && weir_budget_take(party->budget, 0)) {
            weir_budget_give_back(party->budget);
            party->given_back++;
        }
    }
    return NULL;
}

static void *take_as_time_passes(void *argument)
{
    struct party *party = argument;
    for (uint64_t round = 1; round <= party->rounds; round++)
        party->taken += weir_budget_take(party->budget, round * 1000000);
    return NULL;
}

static uint64_t run_all(void *(*function)(void *), struct weir_budget *budget, uint64_t rounds)
{
    pthread_t threads[THREADS];
    struct party parties[THREADS];
    uint64_t taken = 0;
    for (int index = 0; index < THREADS; index++) {
        parties[index] = (struct party){.budget = budget, .rounds = rounds};
        cr_assert_eq(pthread_create(&threads[index], NULL, function, &parties[index]), 0);
    }
    for (int index = 0; index < THREADS; index++) {
        cr_assert_eq(pthread_join(threads[index], NULL), 0);
        taken += parties[index].taken;
    }
    return taken;
}

Test(budget, threads_take_exactly_what_was_there)
{
    enum { ROUNDS = 50000 };
    struct weir_budget budget;
    weir_budget_init(&budget, 1000000, 10, 60, 0); /* never full again: what is earned is never clamped */
    atomic_store(&budget.milli, 5000 * INT64_C(1000));
    uint64_t taken = run_all(take_and_earn, &budget, ROUNDS);
    uint64_t earned_milli = UINT64_C(3) * 100 * ROUNDS * THREADS;
    cr_assert_eq(taken * 1000 + (uint64_t)atomic_load(&budget.milli), 5000 * UINT64_C(1000) + earned_milli);
    cr_assert_gt(taken, 5000);
}

Test(budget, threads_share_one_trickle)
{
    enum { ROUNDS = 120000 }; /* of a millisecond: two minutes */
    struct weir_budget budget;
    weir_budget_init(&budget, 10000, 0, 600, 0);
    drain(&budget, 0);
    uint64_t taken = run_all(take_as_time_passes, &budget, ROUNDS);
    taken += drain(&budget, ROUNDS * UINT64_C(1000000));
    cr_assert_eq(taken, 1200);
}
