/*
 * Rates: how many messages a second may start, as a token bucket written down as one time: when the next is due (the
 * "generic cell rate algorithm"). A bucket that has not been asked for a while has saved up `burst_ns` of its rate, no
 * more.
 *
 * Who comes too early is given a place ahead of time, and waits exactly until it: so each waits once, and they start in
 * the order in which they asked. Places are given RESERVE_NS ahead at most, since who goes away does not give his back;
 * beyond that he is told to ask again.
 */
#ifndef WEIR_ACTORS_RATE_H
#define WEIR_ACTORS_RATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define WEIR_RATE_RESERVE_NS UINT64_C(1000000000)

struct weir_rate {
    _Atomic uint64_t due_ns;        /* of the next */
    uint64_t interval_ns, burst_ns; /* constant; interval 0: no limit */
};

void weir_rate_init(struct weir_rate *rate, uint64_t per_second, uint64_t burst_ms);

/** A rate that is this share of another, above 0 percent. */
void weir_rate_init_share(struct weir_rate *share, const struct weir_rate *rate, unsigned percent);

/** How long somebody who asks now would have to wait; 0: not at all. Thread: any. */
uint64_t weir_rate_wait_ns(const struct weir_rate *rate, uint64_t now_ns);

/** Take the next place: how long to wait for it. Thread: any. */
uint64_t weir_rate_take_ns(struct weir_rate *rate, uint64_t now_ns);

#endif
