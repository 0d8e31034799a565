/*
 * The dead letter budget: see budget.h. Thread: any, without locks.
 *
 * Invariants
 *   B1. 0 <= milli <= burst_milli: every addition is clamped and every taking checked in the same compare-and-swap.
 *   B2. The trickle of any moment is added once: who moves `refilled_ns` from one time to a later one adds what the
 *       trickle earned between those two. It is reckoned from the clock's zero, so that no fraction is lost however
 *       often it is asked.
 *
 * All orders are relaxed: the numbers guard no other memory, and each compare-and-swap is right by itself.
 */
#include "actors/budget.h"
#include "runtime/check.h"

#define LETTER_MILLI INT64_C(1000)

/* A minute has 60,000 ms: in one slice of 60 ms, `per_minute` dead letters a minute earn `per_minute` thousandths. */
#define SLICE_NS UINT64_C(60000000)

/* Thousandths earned by the trickle from the clock's zero to `now_ns`, modulo 2^64: only differences are used. */
static uint64_t trickle_milli(const struct weir_budget *budget, uint64_t now_ns)
{
    return now_ns / SLICE_NS * budget->per_minute + now_ns % SLICE_NS * budget->per_minute / SLICE_NS;
}

static void add(struct weir_budget *budget, uint64_t milli)
{
    int64_t left = atomic_load_explicit(&budget->milli, memory_order_relaxed), sum;
    do {
        WEIR_CHECK(left >= 0 && left <= budget->burst_milli);
        uint64_t place = (uint64_t)(budget->burst_milli - left);
        if (milli == 0 || place == 0)
            return;
        sum = left + (int64_t)(milli < place ? milli : place);
    } while (
        !atomic_compare_exchange_weak_explicit(&budget->milli, &left, sum, memory_order_relaxed, memory_order_relaxed));
}

static void refill(struct weir_budget *budget, uint64_t now_ns)
{
    uint64_t refilled_ns = atomic_load_explicit(&budget->refilled_ns, memory_order_relaxed);
    do {
        if (now_ns <= refilled_ns)
            return; /* another thread's clock was read later */
    } while (!atomic_compare_exchange_weak_explicit(&budget->refilled_ns, &refilled_ns, now_ns, memory_order_relaxed,
                                                    memory_order_relaxed));
    add(budget, trickle_milli(budget, now_ns) - trickle_milli(budget, refilled_ns));
}

void weir_budget_init(struct weir_budget *budget, uint32_t burst, uint32_t share_percent, uint32_t per_minute,
                      uint64_t now_ns)
{
    budget->burst_milli = burst * LETTER_MILLI;
    budget->share_percent = share_percent;
    budget->per_minute = per_minute;
    atomic_init(&budget->milli, budget->burst_milli);
    atomic_init(&budget->refilled_ns, now_ns);
}

void weir_budget_earn(struct weir_budget *budget, uint64_t successes)
{
    uint64_t milli_each = (uint64_t)budget->share_percent * LETTER_MILLI / 100;
    if (milli_each == 0 || budget->burst_milli == 0)
        return;
    uint64_t useful = (uint64_t)budget->burst_milli / milli_each + 1; /* more would overflow and be clamped anyway */
    add(budget, (successes < useful ? successes : useful) * milli_each);
}

bool weir_budget_take(struct weir_budget *budget, uint64_t now_ns)
{
    if (budget->burst_milli == 0)
        return true;
    refill(budget, now_ns);
    int64_t left = atomic_load_explicit(&budget->milli, memory_order_relaxed);
    do {
        if (left < LETTER_MILLI)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&budget->milli, &left, left - LETTER_MILLI, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

void weir_budget_give_back(struct weir_budget *budget)
{
    if (budget->burst_milli != 0)
        add(budget, LETTER_MILLI);
}

bool weir_budget_is_spent(struct weir_budget *budget, uint64_t now_ns)
{
    if (budget->burst_milli == 0)
        return false;
    refill(budget, now_ns);
    return atomic_load_explicit(&budget->milli, memory_order_relaxed) < LETTER_MILLI;
}
