/*
 * Timers: an intrusive pairing heap, ordered by due time and then by the order of arming.
 *
 * Thread:     owner only. A heap belongs to one worker.
 * Cost:       arm O(1), cancel and expire O(log n) amortised. No allocation: nodes lie in what waits.
 * Bound:      none needed; a timer lies in an object that was bounded before it.
 */
#ifndef WEIR_RUNTIME_TIMERS_H
#define WEIR_RUNTIME_TIMERS_H

#include <stdbool.h>
#include <stdint.h>

struct weir_timer;
typedef void weir_timer_callback(struct weir_timer *timer);

struct weir_timer {
    struct weir_timer *child, *sibling, *previous; /* heap's; previous is NULL iff root or not armed */
    uint64_t due_ns;
    uint64_t armed : 1;
    uint64_t sequence : 63;        /* breaks ties: first armed, first fired */
    weir_timer_callback *callback; /* called by weir_timers_expire, the timer already disarmed */
};

struct weir_timers {
    struct weir_timer *root;
    uint64_t sequence_next;
    uint64_t count;
};

void weir_timers_init(struct weir_timers *timers);
void weir_timer_init(struct weir_timer *timer, weir_timer_callback *callback);
void weir_timers_arm(struct weir_timers *timers, struct weir_timer *timer, uint64_t due_ns); /* must not be armed */
void weir_timers_cancel(struct weir_timers *timers, struct weir_timer *timer);               /* not armed: nothing */

/* Fire what is due at `now_ns`, at most `count_max`, in due order; a callback may arm and cancel. Returns how many. */
unsigned weir_timers_expire(struct weir_timers *timers, uint64_t now_ns, unsigned count_max);

/* UINT64_MAX: none. */
static inline uint64_t weir_timers_next_due_ns(const struct weir_timers *timers)
{
    return timers->root ? timers->root->due_ns : UINT64_MAX;
}

#endif
