/*
 * Messages at a steady rate, whatever becomes of them (an open loop), each with the time it was meant to be sent at in
 * the first bytes of its value. A process of its own, arm-pace, sends them; an arm that measures delays starts it.
 *
 * The first seconds are for joining and warming up and count for nothing.
 */
#ifndef WEIR_BENCH_PACE_H
#define WEIR_BENCH_PACE_H

#include "bench/arms/arm.h"
#include <sys/types.h>

#define WEIR_BENCH_PACE_WARM_NS 5000000000ull

struct weir_bench_pace {
    pid_t child;
    uint64_t begin_ns, end_ns; /* intended times that count: from, until */
    uint64_t expected;
};

/** Start it: job->messages a second for job->seconds after the warm-up. Before the arm has threads. */
void weir_bench_pace_start(struct weir_bench_pace *pace, const struct weir_bench_job *job);
/** Does a message with this value count? */
bool weir_bench_pace_counts(const struct weir_bench_pace *pace, const void *value, size_t size);
/** All have come, or those that have not are ten seconds late. */
bool weir_bench_pace_is_over(const struct weir_bench_pace *pace, uint64_t come);
/** End the child. */
void weir_bench_pace_stop(const struct weir_bench_pace *pace);
/** Say the delays, and which share never came; ends the child. */
void weir_bench_pace_say(const struct weir_bench_pace *pace, const struct weir_bench_delays *delays);

#endif
