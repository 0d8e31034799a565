/*
 * The arms of bench-smoke, and what they share.
 *
 *   smoke.c          options, the three questions, the table
 *   smoke_memory.c   (a) a slow handler before a long backlog: resident memory, what is fetched
 *   smoke_flight.c   (b) so many in flight: how near to the ceiling
 *   smoke_noop.c     (c) a handler that does nothing: messages a second
 *   peers/bare.c     what (b) is compared with: the same calls, and nothing between them
 *   peers/raw.c      what (c) is compared with: a plain batch loop
 */
#ifndef WEIR_BENCH_SMOKE_H
#define WEIR_BENCH_SMOKE_H

#include "bench/common.h"
#include <stdatomic.h>
#include <weir/weir.h>

#define WEIR_BENCH_SETS_MAX 8

/* What an arm is told on its command line. */
struct weir_bench_arm_options {
    const char *bootstrap, *topic;
    int partitions;
    uint64_t messages; /* in the topic */
    uint64_t value_size;
    uint64_t memory_bytes; /* memory: weir.memory.bytes.max */
    uint64_t latency_us;   /* memory, flight: of the handler */
    uint64_t in_flight;    /* flight: messages */
    unsigned workers;
    unsigned seconds;               /* to measure, or at most */
    bool blocking;                  /* memory: the handler sleeps instead of answering later */
    char *set[WEIR_BENCH_SETS_MAX]; /* NAME=VALUE for the consumer, besides what the arm sets */
    size_t set_count;
};

int weir_bench_memory_arm(const struct weir_bench_arm_options *options);
int weir_bench_flight_arm(const struct weir_bench_arm_options *options);
int weir_bench_bare_arm(const struct weir_bench_arm_options *options);
int weir_bench_noop_arm(const struct weir_bench_arm_options *options);
int weir_bench_raw_arm(const struct weir_bench_arm_options *options);

/* What both sides of (c) are told to fetch by: Weir's own defaults for librdkafka 2.0, said to both. */
extern const char *const weir_bench_fetch_settings[][2];

/** A consumer of the arm's topic from its beginning, in a group of its own. `settings` end with NULL. Dies on errors.
 */
struct weir_consumer *weir_bench_consumer(const struct weir_bench_arm_options *options,
                                          const char *const (*settings)[2], weir_handler *handler, void *user);
void weir_bench_consumer_start(struct weir_consumer *consumer);
/** Close without a drain worth waiting for, and free. */
void weir_bench_consumer_stop(struct weir_consumer *consumer);

/* Messages handled, a counter a worker on a cache line of its own. */
#define WEIR_BENCH_WORKERS_MAX 64
struct weir_bench_counter {
    _Alignas(64) _Atomic uint64_t count; /* written by its worker */
};

static inline uint64_t weir_bench_sum(const struct weir_bench_counter *counters)
{
    uint64_t sum = 0;
    for (int i = 0; i < WEIR_BENCH_WORKERS_MAX; i++)
        sum += atomic_load_explicit(&counters[i].count, memory_order_relaxed);
    return sum;
}

/* Count one message on the calling worker: no atomic operation, as each counter has one writer. */
static inline void weir_bench_count(struct weir_bench_counter *counters)
{
    _Atomic uint64_t *count = &counters[weir_worker_index()].count;
    atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1, memory_order_relaxed);
}

#endif
