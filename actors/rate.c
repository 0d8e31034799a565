/* Rates: see rate.h. All orders are relaxed: the time guards no other memory. Thread: any. */
#include "actors/rate.h"

#define SECOND_NS UINT64_C(1000000000)

void weir_rate_init(struct weir_rate *rate, uint64_t per_second, uint64_t burst_ms)
{
    atomic_init(&rate->due_ns, 0);
    rate->interval_ns = per_second == 0 ? 0 : per_second < SECOND_NS ? SECOND_NS / per_second : 1;
    rate->burst_ns = burst_ms * 1000000;
}

void weir_rate_init_share(struct weir_rate *share, const struct weir_rate *rate, unsigned percent)
{
    atomic_init(&share->due_ns, 0);
    share->interval_ns = rate->interval_ns * 100 / percent;
    share->burst_ns = rate->burst_ns;
}

/* When the next is due, with no more saved up than may be. */
static uint64_t place_ns(const struct weir_rate *rate, uint64_t due_ns, uint64_t now_ns)
{
    uint64_t saved_ns = now_ns > rate->burst_ns ? now_ns - rate->burst_ns : 0;
    return due_ns > saved_ns ? due_ns : saved_ns;
}

static uint64_t until(uint64_t place, uint64_t now_ns)
{
    return place > now_ns ? place - now_ns : 0;
}

uint64_t weir_rate_wait_ns(const struct weir_rate *rate, uint64_t now_ns)
{
    if (rate->interval_ns == 0)
        return 0;
    return until(place_ns(rate, atomic_load_explicit(&rate->due_ns, memory_order_relaxed), now_ns), now_ns);
}

uint64_t weir_rate_take_ns(struct weir_rate *rate, uint64_t now_ns)
{
    if (rate->interval_ns == 0)
        return 0;
    uint64_t due_ns = atomic_load_explicit(&rate->due_ns, memory_order_relaxed), place;
    do {
        place = place_ns(rate, due_ns, now_ns);
    } while (!atomic_compare_exchange_weak_explicit(&rate->due_ns, &due_ns, place + rate->interval_ns,
                                                    memory_order_relaxed, memory_order_relaxed));
    return until(place, now_ns);
}
