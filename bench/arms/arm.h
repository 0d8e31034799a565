/*
 * What our own arms share: the command line that every arm is given, what a handler does, the line at the end.
 */
#ifndef WEIR_BENCH_ARM_H
#define WEIR_BENCH_ARM_H

#include "bench/common.h"

#define WEIR_BENCH_ARM_SETS_MAX 16

struct weir_bench_job {
    const char *bootstrap, *topic;
    const char *mode; /* of the arm: what kind of handler, or which settings */
    int partitions;
    uint64_t messages; /* to handle, of those that the topic holds */
    uint64_t keys;
    uint64_t work_us;    /* that a message takes */
    uint64_t in_flight;  /* at once, where they take time */
    uint64_t poison_ppm; /* messages in a million that always fail */
    uint64_t seconds;    /* where time ends the arm: delay */
    unsigned workers;
    const char *set[WEIR_BENCH_ARM_SETS_MAX][2]; /* for the client, NULL-terminated */
    size_t set_count;
};

/** Read it; dies on what it does not know. */
void weir_bench_job_read(struct weir_bench_job *job, int argc, char **argv);

/** The last line of an arm, but for its closing brace: an arm may add numbers of its own before the end. */
void weir_bench_job_say(const struct weir_bench_job *job, uint64_t messages, double seconds, const char *version,
                        const char *settings);
void weir_bench_job_say_number(const char *name, double value);
void weir_bench_job_say_end(void);

/* What both sides of a comparison "with the same settings" are told to fetch by. */
extern const char *const weir_bench_arm_fetch[][2];

/* ---- delays ---- */

/* How late messages were: a histogram of two digits and a half, from 1 us to a minute. One writer. */
struct weir_bench_delays {
    uint64_t counts[26 * 64];
    uint64_t count;
};

/** A value begins with the time it was meant to be sent at, as weir_bench_now_ns() of this machine told it. */
void weir_bench_delays_add(struct weir_bench_delays *delays, const void *value, size_t size);
void weir_bench_delays_merge(struct weir_bench_delays *into, const struct weir_bench_delays *from);
/** p50, p99, p99.9 in microseconds, as numbers of the last line. */
void weir_bench_delays_say(const struct weir_bench_delays *delays);

/** Work that keeps a processor busy. */
void weir_bench_spin_us(uint64_t us);

#endif
