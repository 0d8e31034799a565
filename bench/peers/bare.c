/*
 * The peer of arm (b): as many calls in flight at the same downstream, and nothing else. A thread a lane sleeps until
 * calls have come back and starts as many again: one wake-up, no Kafka, no actors, no offsets. What it reaches of
 * in flight / latency is what this machine allows just then.
 *
 * Threads: main measures; the downstream's finishes; a starter for each lane.
 */
#include "bench/downstream.h"
#include "bench/smoke.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define WARM_NS 1000000000u

struct starter {
    _Alignas(64) _Atomic uint64_t back; /* calls that have come back: written by the downstream */
    _Atomic bool stop;
    struct weir_bench_downstream *downstream;
    unsigned lane;
    int event;
    pthread_t thread;
};

static void wake(const struct starter *starter)
{
    const uint64_t one = 1;
    if (write(starter->event, &one, sizeof one) != (ssize_t)sizeof one)
        weir_bench_die("bare: a wake-up could not be written");
}

static bool come_back(struct weir_later later, unsigned lane, void *user)
{
    struct starter *starter = &((struct starter *)user)[lane];
    /* the first to come back after the starter has looked wakes it; pairs with the exchange in run */
    if (atomic_fetch_add_explicit(&starter->back, 1, memory_order_acq_rel) == 0)
        wake(starter);
    return true;
}

static void start_calls(const struct starter *starter, uint64_t count)
{
    for (; count > 0; count--)
        if (!weir_bench_downstream_call(starter->downstream, starter->lane, (struct weir_later){0}))
            weir_bench_die("bare: more in flight than a lane of the downstream holds");
}

static void *run(void *argument)
{
    struct starter *starter = argument;
    while (!atomic_load_explicit(&starter->stop, memory_order_relaxed)) {
        uint64_t events;
        if (read(starter->event, &events, sizeof events) != (ssize_t)sizeof events)
            weir_bench_die("bare: a wake-up could not be read");
        start_calls(starter, atomic_exchange_explicit(&starter->back, 0, memory_order_acq_rel));
    }
    return NULL;
}

static void measure(const struct weir_bench_downstream *downstream, const struct weir_bench_arm_options *options)
{
    weir_bench_sleep_until_ns(weir_bench_now_ns() + WARM_NS);
    uint64_t begin_ns = weir_bench_now_ns(), begin = weir_bench_downstream_finished(downstream);
    weir_bench_sleep_until_ns(begin_ns + options->seconds * 1000000000ull);
    uint64_t end = weir_bench_downstream_finished(downstream);
    double rate = (double)(end - begin) / ((double)(weir_bench_now_ns() - begin_ns) / 1e9);
    weir_bench_say("rate", rate);
    weir_bench_say("share", rate / ((double)options->in_flight * 1e6 / (double)options->latency_us));
}

int weir_bench_bare_arm(const struct weir_bench_arm_options *options)
{
    struct starter *starters = aligned_alloc(_Alignof(struct starter), options->workers * sizeof *starters);
    if (!starters)
        weir_bench_die("bare: memory is too short");
    memset(starters, 0, options->workers * sizeof *starters);
    struct weir_bench_downstream *downstream =
        weir_bench_downstream_start(options->latency_us * 1000u, options->workers, come_back, starters);
    for (unsigned lane = 0; lane < options->workers; lane++) {
        struct starter *starter = &starters[lane];
        starter->downstream = downstream;
        starter->lane = lane;
        starter->event = eventfd(0, EFD_CLOEXEC);
        atomic_store(&starter->back, options->in_flight / options->workers);
        if (starter->event < 0 || pthread_create(&starter->thread, NULL, run, starter) != 0)
            weir_bench_die("bare: no thread for lane %u", lane);
        wake(starter);
    }
    measure(downstream, options);
    for (unsigned lane = 0; lane < options->workers; lane++) {
        atomic_store(&starters[lane].stop, true);
        wake(&starters[lane]);
        pthread_join(starters[lane].thread, NULL);
    }
    weir_bench_downstream_stop(downstream);
    for (unsigned lane = 0; lane < options->workers; lane++)
        close(starters[lane].event);
    free(starters);
    return 0;
}
