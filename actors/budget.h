/*
 * The dead letter budget: the storm guard that keeps an outage from draining a topic into its dead letter queue.
 *
 * One a source topic, shared by its partition actors. It starts full with `burst`, earns `share_percent` of successes
 * and `per_minute` with time, and never holds more than `burst`. The trickle sees to it that an empty budget cannot
 * latch: with no success at all, dead letters still go out at per_minute.
 *
 * Thread: any; a few atomic operations a call. Unit inside: thousandths of a dead letter.
 */
#ifndef WEIR_ACTORS_BUDGET_H
#define WEIR_ACTORS_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct weir_budget {
    _Atomic int64_t milli;        /* what is left */
    _Atomic uint64_t refilled_ns; /* up to when the trickle has been added */
    int64_t burst_milli;          /* constant; 0: no limit, take always succeeds */
    uint32_t share_percent, per_minute;
};

void weir_budget_init(struct weir_budget *budget, uint32_t burst, uint32_t share_percent, uint32_t per_minute,
                      uint64_t now_ns);
void weir_budget_earn(struct weir_budget *budget, uint64_t successes);
bool weir_budget_take(struct weir_budget *budget, uint64_t now_ns);     /* one dead letter; false: spent */
void weir_budget_give_back(struct weir_budget *budget);                 /* taken, but not sent after all */
bool weir_budget_is_spent(struct weir_budget *budget, uint64_t now_ns); /* a take would fail now */

#endif
