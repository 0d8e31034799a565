/*
 * The simulated downstream; see downstream.h.
 *
 * Its thread sleeps until the next message is due, but not for less than TICK_MIN_NS, so that it finishes some at once
 * and leaves the processors to what is measured, and not for longer than TICK_MAX_NS, for a message that comes in
 * meanwhile. How late it was on the whole is counted: it is not Weir's.
 */
#include "bench/downstream.h"
#include "bench/common.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#define LANE_SIZE   131072u /* a power of two; pages are taken as they are first used */
#define TICK_MIN_NS 50000u
#define TICK_MAX_NS 200000u

struct call {
    struct weir_later later;
    uint64_t due_ns;
};

struct lane {
    _Alignas(64) _Atomic uint32_t tail; /* written by the worker */
    _Alignas(64) _Atomic uint32_t head; /* written by the downstream */
    struct call calls[LANE_SIZE];
};

struct weir_bench_downstream {
    uint64_t latency_ns;
    unsigned lane_count;
    struct lane *lanes;
    weir_bench_downstream_finish *finish;
    void *user;
    pthread_t thread;
    _Atomic bool stop;
    _Atomic uint64_t finished, late_ns, refused; /* written by the downstream */
};

bool weir_bench_downstream_call(struct weir_bench_downstream *downstream, unsigned number, struct weir_later later)
{
    struct lane *lane = &downstream->lanes[number];
    uint32_t tail = atomic_load_explicit(&lane->tail, memory_order_relaxed);
    /* acquire pairs with the release of finish_due: the place has been read */
    if (tail - atomic_load_explicit(&lane->head, memory_order_acquire) == LANE_SIZE)
        return false;
    lane->calls[tail % LANE_SIZE] = (struct call){later, weir_bench_now_ns() + downstream->latency_ns};
    atomic_store_explicit(&lane->tail, tail + 1, memory_order_release); /* pairs with the acquire of finish_due */
    return true;
}

/* A lane that is full hands out no handle: the handler may answer something else then. */
bool weir_bench_downstream_submit(struct weir_bench_downstream *downstream, struct weir_message *message)
{
    unsigned number = (unsigned)weir_worker_index();
    const struct lane *lane = &downstream->lanes[number];
    if (atomic_load_explicit(&lane->tail, memory_order_relaxed) -
            atomic_load_explicit(&lane->head, memory_order_relaxed) ==
        LANE_SIZE)
        return false;
    return weir_bench_downstream_call(downstream, number, weir_message_later(message));
}

bool weir_bench_downstream_ack(struct weir_later later, unsigned lane, void *user)
{
    return weir_later_finish(later, WEIR_ACK) == 0;
}

/* One writer: a plain addition that others may read. */
static void add(_Atomic uint64_t *counter, uint64_t number)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + number, memory_order_relaxed);
}

/* Finish what is due in a lane; returns when the next is, or UINT64_MAX. */
static uint64_t finish_due(struct weir_bench_downstream *downstream, unsigned number, uint64_t now_ns)
{
    struct lane *lane = &downstream->lanes[number];
    uint32_t head = atomic_load_explicit(&lane->head, memory_order_relaxed);
    uint32_t tail = atomic_load_explicit(&lane->tail, memory_order_acquire); /* pairs with the release of submit */
    for (; head != tail; head++) {
        struct call call = lane->calls[head % LANE_SIZE];
        if (call.due_ns > now_ns)
            return call.due_ns;
        atomic_store_explicit(&lane->head, head + 1, memory_order_release); /* pairs with the acquire of submit */
        add(&downstream->late_ns, now_ns - call.due_ns);
        if (downstream->finish(call.later, number, downstream->user))
            add(&downstream->finished, 1);
        else
            add(&downstream->refused, 1);
    }
    return UINT64_MAX;
}

static void *run(void *argument)
{
    struct weir_bench_downstream *downstream = argument;
    prctl(PR_SET_TIMERSLACK, 1); /* sleeps end when they should, not up to 50 us later */
    while (!atomic_load_explicit(&downstream->stop, memory_order_relaxed)) {
        uint64_t now_ns = weir_bench_now_ns(), next_ns = now_ns + TICK_MAX_NS;
        for (unsigned i = 0; i < downstream->lane_count; i++) {
            uint64_t due_ns = finish_due(downstream, i, now_ns);
            next_ns = due_ns < next_ns ? due_ns : next_ns;
        }
        weir_bench_sleep_until_ns(next_ns > now_ns + TICK_MIN_NS ? next_ns : now_ns + TICK_MIN_NS);
    }
    return NULL;
}

struct weir_bench_downstream *weir_bench_downstream_start(uint64_t latency_ns, unsigned lanes,
                                                          weir_bench_downstream_finish *finish, void *user)
{
    struct weir_bench_downstream *downstream = calloc(1, sizeof *downstream);
    if (downstream)
        downstream->lanes = aligned_alloc(64, lanes * sizeof *downstream->lanes);
    if (!downstream || !downstream->lanes)
        weir_bench_die("memory is too short for a downstream of %u lanes", lanes);
    for (unsigned i = 0; i < lanes; i++) {
        atomic_init(&downstream->lanes[i].tail, 0);
        atomic_init(&downstream->lanes[i].head, 0);
    }
    downstream->latency_ns = latency_ns;
    downstream->lane_count = lanes;
    downstream->finish = finish;
    downstream->user = user;
    int fault = pthread_create(&downstream->thread, NULL, run, downstream);
    if (fault)
        weir_bench_die("no thread for the downstream: %s", strerror(fault));
    return downstream;
}

uint64_t weir_bench_downstream_finished(const struct weir_bench_downstream *downstream)
{
    return atomic_load_explicit(&downstream->finished, memory_order_relaxed);
}

uint64_t weir_bench_downstream_late_ns(const struct weir_bench_downstream *downstream)
{
    return atomic_load_explicit(&downstream->late_ns, memory_order_relaxed);
}

uint64_t weir_bench_downstream_refused(const struct weir_bench_downstream *downstream)
{
    return atomic_load_explicit(&downstream->refused, memory_order_relaxed);
}

void weir_bench_downstream_stop(struct weir_bench_downstream *downstream)
{
    atomic_store_explicit(&downstream->stop, true, memory_order_relaxed);
    pthread_join(downstream->thread, NULL);
    free(downstream->lanes);
    free(downstream);
}
