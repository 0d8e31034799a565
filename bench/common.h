/*
 * What the benches share: time, numbers, results as JSON lines, arms in processes of their own, topics to read from.
 *
 * An arm is a part of a bench that runs in a fresh process, so that allocators, page faults and threads of one do not
 * colour another: the bench executes itself with `--arm NAME` and reads "name=value" lines from its standard output.
 *
 * Thread: main, unless said otherwise.
 */
#ifndef WEIR_BENCH_COMMON_H
#define WEIR_BENCH_COMMON_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

uint64_t weir_bench_now_ns(void);
void weir_bench_sleep_until_ns(uint64_t due_ns);
uint64_t weir_bench_cpu_ns(void); /* of this process, all threads */
uint64_t weir_bench_mix(uint64_t seed, uint64_t number);
uint64_t weir_bench_resident_bytes(void); /* VmRSS, from statm; 0 where it cannot be read */
/** Have the allocator give back the pages that are free: they are what came before, and it keeps them for seconds. */
void weir_bench_purge_free_pages(void);
double weir_bench_median(const double *values, size_t count); /* 0 for none */

/** Say what went wrong and exit with status 1: a bench has nobody to hand an error to. */
_Noreturn void weir_bench_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- results ---- */

#define WEIR_BENCH_RUNS_MAX   16
#define WEIR_BENCH_BOUNDS_MAX 16

/* One bound: what was measured, and what it must be. */
struct weir_bench_bound {
    char name[48];
    const char *relation; /* "<=" or ">=" */
    const char *unit;
    double value, must;
    double runs[WEIR_BENCH_RUNS_MAX];
    size_t run_count;
    bool ok;
};

struct weir_bench_report {
    struct weir_bench_bound bounds[WEIR_BENCH_BOUNDS_MAX];
    size_t count;
};

/** Judge a bound, keep it, and print its JSON line to standard output. A value of no run at all is never ok. */
void weir_bench_bound(struct weir_bench_report *report, const char *name, double value, const char *relation,
                      double must, const char *unit, const double *runs, size_t run_count);
/** The table, to standard error. True when there is a bound and all are kept. */
bool weir_bench_table(const struct weir_bench_report *report);

/* ---- arms ---- */

/* What an arm said of itself: numbers by name. */
struct weir_bench_result {
    struct {
        char name[32];
        double value;
    } numbers[32];
    size_t count;
};

/** Run this program with these arguments (NULL-terminated, without argv[0]). An arm that fails or takes longer than
 *  `seconds_max` is killed and ends the bench. */
struct weir_bench_result weir_bench_arm(const char *const *arguments, unsigned seconds_max);
double weir_bench_number(const struct weir_bench_result *result, const char *name); /* dies when there is none */
/** In an arm: say a number. */
void weir_bench_say(const char *name, double value);

/* ---- topics ---- */

struct weir_bench_topic {
    const char *name;
    int partitions;
    uint64_t messages;
    size_t value_size;
    uint64_t keys;        /* drawn evenly; 0: each message has a key of its own */
    unsigned hot_percent; /* so many of the keys lie in partition 0, whatever the others have */
    double zipf;          /* above 0: key n is drawn as often as 1 / (n + 1) to this power; at most 1,000,000 keys */
    unsigned batch;       /* messages in each batch of the log; 0: what comes within 50 ms, as many as fit */
};

/** The number of the key of each message, in their order: the same in every process. */
struct weir_bench_keys;
struct weir_bench_keys *weir_bench_keys_create(const struct weir_bench_topic *topic);
uint64_t weir_bench_keys_of(const struct weir_bench_keys *keys, uint64_t number);
void weir_bench_keys_destroy(struct weir_bench_keys *keys);
/** Seconds that nothing can beat where a message takes that long: the hottest key's messages one after the other, or
 *  all of them `width` at a time. Of a topic with a number of keys. */
double weir_bench_key_order_seconds(const struct weir_bench_topic *topic, double work_seconds, double width);

/** Make sure that the topic exists and holds exactly that much; it is produced once and found again. */
void weir_bench_topic_fill(const char *bootstrap, const struct weir_bench_topic *topic);

/** A new topic for what an arm emits, with a name of its own; and its end. */
void weir_bench_outputs_make(const char *bootstrap, int partitions, char *name, size_t size);
void weir_bench_outputs_delete(const char *bootstrap, const char *name);

/** A configuration with these properties; NULL-terminated pairs. Dies on a refused one. */
rd_kafka_conf_t *weir_bench_conf(const char *const (*properties)[2]);

#endif
