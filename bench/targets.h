/*
 * The rows of bench-targets: what they are, and how their values are computed.
 */
#ifndef WEIR_BENCH_TARGETS_H
#define WEIR_BENCH_TARGETS_H

#include "bench/lab.h"

struct weir_bench_values {
    double runs[WEIR_BENCH_RUNS_MAX];
    size_t count;
    char why[200];  /* where there are none */
    char note[200]; /* more members for the JSON line, or "" */
};

struct weir_bench_target;
typedef void weir_bench_measure(const struct weir_bench_lab *lab, const struct weir_bench_target *target,
                                struct weir_bench_values *values);

struct weir_bench_target {
    const char *name, *question, *relation;
    double must, aim;
    weir_bench_measure *measure; /* NULL: there is no bench yet, see `why` */
    const char *first, *second;  /* what it needs to know: a peer, a latency, a number in flight */
    const char *why;
};

/** Did --only name it, or nothing? */
bool weir_bench_target_chosen(const struct weir_bench_lab *lab, const char *name);
const struct weir_bench_target *weir_bench_target_at(size_t index); /* NULL past the last */

weir_bench_measure weir_bench_target_noop;     /* first: the peer */
weir_bench_measure weir_bench_target_cpu;      /* first: the peer */
weir_bench_measure weir_bench_target_flight;   /* first: ms, second: in flight */
weir_bench_measure weir_bench_target_blocking; /* first: us, second: workers */
weir_bench_measure weir_bench_target_skew;
weir_bench_measure weir_bench_target_delay;
weir_bench_measure weir_bench_target_memory; /* first: keys, 0 for one a message; second: less the payload */
weir_bench_measure weir_bench_target_keys;
weir_bench_measure weir_bench_target_partitions;
weir_bench_measure weir_bench_target_poison;
weir_bench_measure weir_bench_target_once;

#endif
