/*
 * The circuit breaker: when the downstream of all handlers is down, hold everything in place instead of burning
 * attempts and filling dead letter queues. Plain state and arithmetic; its one owner is control (control_breaker.c),
 * which counts by what partitions have published, and tells them.
 *
 *     CLOSED   all may run; the last runs are counted, in slots of a tenth of the window
 *     OPEN     nothing starts, until a delay is over
 * PROBE    one message may run, and whoever has one takes it; for 100 ms not he who had the last, so that one with
 *              messages that always fail does not keep it open for all
 *     PROBING  it runs: success closes, failure opens for twice as long, up to a bound. What says nothing of the
 *              downstream (dead, not started, no answer within the delay) makes room for another probe
 *
 * Opened by the share of failed runs in the window, once there are enough of them, or by one WEIR_OVERLOADED where that
 * is asked for.
 */
#ifndef WEIR_ACTORS_BREAKER_H
#define WEIR_ACTORS_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

#define WEIR_BREAKER_SLOTS 10

enum weir_breaker_state {
    WEIR_BREAKER_STATE_CLOSED = 0,
    WEIR_BREAKER_STATE_OPEN,
    WEIR_BREAKER_STATE_PROBE,
    WEIR_BREAKER_STATE_PROBING,
    WEIR_BREAKER_STATES
};

enum weir_probe { WEIR_PROBE_UNDER_WAY = 0, WEIR_PROBE_SUCCEEDED, WEIR_PROBE_FAILED, WEIR_PROBE_VOID };

struct weir_breaker_policy {
    uint32_t percent; /* of failures among the runs of the window that opens it; 0: none does */
    uint64_t runs_min;
    uint64_t window_ns, open_ns, open_ns_max;
    bool opens_when_overloaded;
};

/* Since the beginning. */
struct weir_breaker_totals {
    uint64_t runs, failures, overloaded;
};

struct weir_breaker {
    struct weir_breaker_policy policy;
    enum weir_breaker_state state;
    uint64_t probe;               /* number of the last */
    uint64_t delay_ns;            /* of the next opening */
    uint64_t until_ns;            /* OPEN: to the probe; PROBING: to the next */
    uint64_t opened_ns, stood_ns; /* since when it is not CLOSED; how long it has not been, before */
    struct weir_breaker_totals seen, slots[WEIR_BREAKER_SLOTS];
    uint64_t slot, slot_until_ns; /* number of the one that is being filled */
};

void weir_breaker_init(struct weir_breaker *breaker, const struct weir_breaker_policy *policy, uint64_t now_ns);

/** Move if there is reason to: true if it has moved. `taken`: the probe that was let in has been taken by somebody.
 *  `answer`: of the probe under way. */
bool weir_breaker_step(struct weir_breaker *breaker, uint64_t now_ns, const struct weir_breaker_totals *totals,
                       bool taken, enum weir_probe answer);

/** Runs and failures of the window. */
struct weir_breaker_totals weir_breaker_window(const struct weir_breaker *breaker);
/** How long it has not been closed, all in all: by so much the deadlines of retries stand still. */
uint64_t weir_breaker_stood_ns(const struct weir_breaker *breaker, uint64_t now_ns);
const char *weir_breaker_state_name(enum weir_breaker_state state);

#endif
