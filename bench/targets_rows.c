/*
 * How the value of each target comes about; see targets.h. All of it runs arms in turn and computes within a run.
 *
 * Thread: main.
 */
#include "bench/targets.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARTITIONS        12
#define PARALLEL_MESSAGES 1000000u /* enough for a JVM to warm up, and some ten seconds */
#define NOOP_TIMES        5u       /* as many messages as in other rows: some seconds, of which the start is little */

static uint64_t at_most(uint64_t value, uint64_t limit)
{
    return value < limit ? value : limit;
}

/* A value that has none of its own says why: the first trial that misses something. */
static void explain(const struct weir_bench_trial *trials, size_t count, struct weir_bench_values *values)
{
    for (size_t i = 0; i < count; i++)
        if (trials[i].missing[0]) {
            snprintf(values->why, sizeof values->why, "%s: %s", trials[i].arm, trials[i].missing);
            return;
        }
}

/* ---- no-op: one topic and shared runs for all peers ---- */

static struct weir_bench_trial noop[] = {
    {.arm = "weir"},
    {.arm = "raw"},
    {.arm = "raw-defaults"},
    {.arm = "franz-go"},
    {.arm = "parallel-consumer", .words = {"--in-flight", "100"}},
};
#define NOOP_COUNT (sizeof noop / sizeof noop[0])

static bool is_needed(const struct weir_bench_lab *lab, const char *arm)
{
    const struct weir_bench_target *row;
    for (size_t i = 0; (row = weir_bench_target_at(i)); i++)
        if ((row->measure == weir_bench_target_noop || row->measure == weir_bench_target_cpu) &&
            strcmp(row->first, arm) == 0 && weir_bench_target_chosen(lab, row->name))
            return weir_bench_lab_wants(lab, arm);
    return strcmp(arm, "weir") == 0;
}

static void run_noop(const struct weir_bench_lab *lab)
{
    static struct weir_bench_topic topic;
    static char name[96];
    static bool done;
    if (done)
        return;
    done = true;
    topic = (struct weir_bench_topic){
        .partitions = PARTITIONS, .messages = NOOP_TIMES * lab->messages, .value_size = 100, .keys = 100000};
    weir_bench_lab_topic(lab, &topic, name, sizeof name);
    for (size_t i = 0; i < NOOP_COUNT; i++) {
        noop[i].topic = &topic;
        noop[i].left_out = !is_needed(lab, noop[i].arm);
        if (strcmp(noop[i].arm, "parallel-consumer") == 0)
            noop[i].messages = at_most(lab->messages, PARALLEL_MESSAGES);
    }
    weir_bench_lab_run(lab, noop, NOOP_COUNT);
    weir_bench_lab_table("no-op handler, order of keys, 100 B, 12 partitions, 100k keys", noop, NOOP_COUNT);
}

static const struct weir_bench_trial *noop_trial(const char *arm)
{
    for (size_t i = 0; i < NOOP_COUNT; i++)
        if (strcmp(noop[i].arm, arm) == 0)
            return &noop[i];
    weir_bench_die("no such peer of the no-op rows: %s", arm);
}

void weir_bench_target_noop(const struct weir_bench_lab *lab, const struct weir_bench_target *target,
                            struct weir_bench_values *values)
{
    run_noop(lab);
    const struct weir_bench_trial *peer = noop_trial(target->first);
    values->count = weir_bench_ratios(&noop[0], peer, weir_bench_rate, values->runs);
    explain(peer, 1, values);
}

void weir_bench_target_cpu(const struct weir_bench_lab *lab, const struct weir_bench_target *target,
                           struct weir_bench_values *values)
{
    run_noop(lab);
    const struct weir_bench_trial *peer = noop_trial(target->first);
    values->count = weir_bench_differences(&noop[0], peer, weir_bench_cpu_ns_each, values->runs);
    explain(peer, 1, values);
}

/* ---- latency-bound ---- */

/* Against the same calls with nothing between them, in the same run: a machine whose processors are taken away does
 * not reach in flight / latency, whatever runs on it. The share of that plain quotient is noted beside it. */
void weir_bench_target_flight(const struct weir_bench_lab *lab, const struct weir_bench_target *target,
                              struct weir_bench_values *values)
{
    static struct weir_bench_trial trials[2];
    char name[96];
    double shares[WEIR_BENCH_RUNS_MAX];
    double ceiling = strtod(target->second, NULL) * 1000 / strtod(target->first, NULL);
    struct weir_bench_topic topic = {.partitions = 10, .messages = (uint64_t)(ceiling * 12), .value_size = 100};
    weir_bench_lab_topic(lab, &topic, name, sizeof name);
    /* librdkafka 2.0 looks at a full queue again after up to a second: it has to hold what is handled meanwhile. */
    bool is_fast = ceiling > 500000;
    /* A worker that sleeps takes its time to wake up, so not too many; one whose processor is taken away holds up all
     * its partitions, so not too few. */
    const char *workers = is_fast ? "10" : "1";
    for (size_t i = 0; i < 2; i++)
        trials[i] = (struct weir_bench_trial){.arm = i ? "flight" : "bare",
                                              .topic = &topic,
                                              .words = {"--latency-ms", target->first, "--in-flight", target->second,
                                                        "--seconds", "4", "--workers", workers,
                                                        is_fast ? "--set" : NULL, "queued.min.messages=200000", "--set",
                                                        "queued.max.messages.kbytes=65536"}};
    weir_bench_lab_run(lab, trials, 2);
    values->count = weir_bench_ratios(&trials[1], &trials[0], weir_bench_rate, values->runs);
    size_t count = weir_bench_each(&trials[1], weir_bench_rate, shares);
    snprintf(values->note, sizeof values->note, "\"of_in_flight_by_latency\": %.4g",
             weir_bench_median(shares, count) / ceiling);
    explain(trials, 2, values);
}

/* Like the rows before it: against as many threads that only sleep. */
void weir_bench_target_blocking(const struct weir_bench_lab *lab, const struct weir_bench_target *target,
                                struct weir_bench_values *values)
{
    static struct weir_bench_trial trials[2];
    char name[96];
    double shares[WEIR_BENCH_RUNS_MAX];
    double ceiling = strtod(target->second, NULL) * 1e6 / strtod(target->first, NULL);
    struct weir_bench_topic topic = {
        .partitions = 10, .messages = at_most(lab->messages, (uint64_t)(ceiling * 3)), .value_size = 100};
    weir_bench_lab_topic(lab, &topic, name, sizeof name);
    for (size_t i = 0; i < 2; i++)
        trials[i] = (struct weir_bench_trial){
            .arm = i ? "weir" : "sleepers",
            .topic = &topic,
            .words = {"--work-us", target->first, "--in-flight", target->second, i ? "--mode" : NULL, "block"}};
    weir_bench_lab_run(lab, trials, 2);
    values->count = weir_bench_ratios(&trials[1], &trials[0], weir_bench_rate, values->runs);
    size_t count = weir_bench_each(&trials[1], weir_bench_rate, shares);
    snprintf(values->note, sizeof values->note, "\"of_in_flight_by_latency\": %.4g",
             weir_bench_median(shares, count) / ceiling);
    explain(trials, 2, values);
}

/* ---- skew ---- */

/* How much longer sleeps were than they should have been: a busy machine lets sleepers oversleep, whoever runs them.
 * What is left of a share when this is taken out stands in the notes; the value is without it. */
static double oversleep(const struct weir_bench_sample *sample, double work_us)
{
    return weir_bench_sample_number(sample, "slept_us_mean") / work_us;
}

void weir_bench_target_skew(const struct weir_bench_lab *lab, const struct weir_bench_target *target,
                            struct weir_bench_values *values)
{
    static struct weir_bench_trial trial;
    char name[96];
    struct weir_bench_topic topic = {
        .partitions = 24, .messages = at_most(lab->messages, 10000), .value_size = 100, .keys = 10000, .zipf = 1.0};
    weir_bench_lab_topic(lab, &topic, name, sizeof name);
    trial = (struct weir_bench_trial){
        .arm = "weir", .topic = &topic, .words = {"--mode", "block", "--work-us", "10000", "--in-flight", "24"}};
    weir_bench_lab_run(lab, &trial, 1);
    double bound = weir_bench_key_order_seconds(&topic, 0.010, 24);
    double slept[WEIR_BENCH_RUNS_MAX];
    for (size_t i = 0; i < trial.count; i++) {
        values->runs[i] = bound / ((double)topic.messages / trial.samples[i].rate);
        slept[i] = values->runs[i] * oversleep(&trial.samples[i], 10000);
    }
    values->count = trial.count;
    snprintf(values->note, sizeof values->note, "\"bound_seconds\": %.3f, \"share_by_sleeps_as_they_were\": %.4g",
             bound, weir_bench_median(slept, values->count));
    explain(&trial, 1, values);
}

/* ---- delay ---- */

static double p99_us(const struct weir_bench_sample *sample)
{
    return weir_bench_sample_number(sample, "p99_us");
}

/* Half of what the raw loop can do with a handler of 20 us. */
void weir_bench_target_delay(const struct weir_bench_lab *lab, const struct weir_bench_target *target,
                             struct weir_bench_values *values)
{
    static struct weir_bench_trial trials[2], capacity;
    char name[96], other[96];
    struct weir_bench_lab once = *lab;
    struct weir_bench_topic full = {
        .partitions = PARTITIONS, .messages = at_most(lab->messages, 200000), .value_size = 100, .keys = 100000};
    struct weir_bench_topic topic = {.partitions = PARTITIONS, .messages = 1000, .value_size = 100};
    weir_bench_lab_topic(lab, &full, name, sizeof name);
    weir_bench_lab_topic(lab, &topic, other, sizeof other);
    once.runs = 1;
    capacity = (struct weir_bench_trial){.arm = "raw", .topic = &full, .words = {"--work-us", "20"}};
    weir_bench_lab_run(&once, &capacity, 1);
    if (capacity.count == 0) {
        explain(&capacity, 1, values);
        return;
    }
    for (size_t i = 0; i < 2; i++)
        trials[i] =
            (struct weir_bench_trial){.arm = i ? "weir" : "raw",
                                      .topic = &topic,
                                      .messages = (uint64_t)(capacity.samples[0].rate / 2),
                                      .words = {"--work-us", "20", "--seconds", "8", i ? "--mode" : NULL, "spin"}};
    weir_bench_lab_run(lab, trials, 2);
    values->count = weir_bench_ratios(&trials[1], &trials[0], p99_us, values->runs);
    snprintf(values->note, sizeof values->note, "\"rate\": %llu", (unsigned long long)trials[0].messages);
    explain(trials, 2, values);
}

/* ---- memory ---- */

static double resident(const struct weir_bench_sample *sample)
{
    return weir_bench_sample_number(sample, "resident_bytes");
}

static double in_flight(const struct weir_bench_sample *sample)
{
    return sample->messages;
}

/* The slope between few and many in flight, so that what does not depend on them falls out. All that a topic holds is
 * in flight, and little is fetched ahead: what librdkafka keeps would be counted as well. */
void weir_bench_target_memory(const struct weir_bench_lab *lab, const struct weir_bench_target *target,
                              struct weir_bench_values *values)
{
    static const char *const numbers[] = {"12000", "120000"};
    static struct weir_bench_trial trials[2];
    struct weir_bench_topic topics[2];
    char names[2][96];
    double bytes[WEIR_BENCH_RUNS_MAX], messages[WEIR_BENCH_RUNS_MAX];
    for (size_t i = 0; i < 2; i++) {
        topics[i] = (struct weir_bench_topic){.partitions = PARTITIONS,
                                              .messages = strtoull(numbers[i], NULL, 10),
                                              .value_size = 100,
                                              .keys = strtoull(target->first, NULL, 10)};
        weir_bench_lab_topic(lab, &topics[i], names[i], sizeof names[i]);
        trials[i] = (struct weir_bench_trial){
            .arm = "weir",
            .label = i ? "weir-many" : "weir-few",
            .topic = &topics[i],
            .words = {"--mode", "hold", "--in-flight", numbers[i], "--set", "weir.window.messages.max=20000", "--set",
                      "weir.memory.bytes.max=4G", "--set", "weir.window.bytes.max=1G", "--set",
                      "queued.min.messages=1000", "--set", "queued.max.messages.kbytes=1024"}};
    }
    weir_bench_lab_run(lab, trials, 2);
    values->count = weir_bench_differences(&trials[1], &trials[0], resident, bytes);
    weir_bench_differences(&trials[1], &trials[0], in_flight, messages);
    for (size_t i = 0; i < values->count; i++)
        values->runs[i] = bytes[i] / messages[i] - (target->second ? (double)topics[0].value_size : 0);
    explain(trials, 2, values);
}

/* ---- scaling ---- */

static const struct weir_bench_topic SCALES[] = {
    {.partitions = PARTITIONS, .keys = 1000}, {.partitions = PARTITIONS, .keys = 10000000},
    {.partitions = 1, .keys = 100000},        {.partitions = PARTITIONS, .keys = 100000},
    {.partitions = 100, .keys = 100000},      {.partitions = 1000, .keys = 100000},
};

/* Weir and the raw loop on those of SCALES. Trials alternate: Weir on the first, raw on the first, Weir on the second.
 */
static size_t run_scales(const struct weir_bench_lab *lab, size_t first, size_t count, struct weir_bench_trial *trials)
{
    static struct weir_bench_topic topics[sizeof SCALES / sizeof SCALES[0]];
    static char names[sizeof SCALES / sizeof SCALES[0]][96], labels[2 * sizeof SCALES / sizeof SCALES[0]][64];
    for (size_t i = 0; i < count; i++) {
        struct weir_bench_topic *topic = &topics[first + i];
        *topic = SCALES[first + i];
        topic->messages = NOOP_TIMES * lab->messages;
        topic->value_size = 100;
        topic->batch = 200; /* the same for all: a batch costs whoever reads it as much as some messages */
        weir_bench_lab_topic(lab, topic, names[first + i], sizeof names[0]);
        for (size_t j = 0; j < 2; j++) {
            char *label = labels[2 * (first + i) + j];
            snprintf(label, sizeof labels[0], "%s, %d partitions, %llu keys", j ? "raw" : "weir", topic->partitions,
                     (unsigned long long)topic->keys);
            trials[2 * i + j] = (struct weir_bench_trial){.arm = j ? "raw" : "weir", .label = label, .topic = topic};
        }
    }
    weir_bench_lab_run(lab, trials, 2 * count);
    weir_bench_lab_table("no-op handler, order of keys, 100 B", trials, 2 * count);
    return count;
}

/* Per run the dearest over the cheapest of every second trial, from `first` on. */
static size_t spread(const struct weir_bench_trial *trials, size_t first, size_t count, double *values)
{
    size_t runs = WEIR_BENCH_RUNS_MAX;
    for (size_t i = first; i < 2 * count; i += 2)
        runs = at_most(runs, trials[i].count);
    for (size_t run = 0; run < runs; run++) {
        double low = INFINITY, high = 0;
        for (size_t i = first; i < 2 * count; i += 2) {
            low = fmin(low, trials[i].samples[run].cpu_ns_each);
            high = fmax(high, trials[i].samples[run].cpu_ns_each);
        }
        values[run] = high / low;
    }
    return runs;
}

void weir_bench_target_keys(const struct weir_bench_lab *lab, const struct weir_bench_target *target,
                            struct weir_bench_values *values)
{
    static struct weir_bench_trial trials[4];
    size_t count = run_scales(lab, 0, 2, trials);
    values->count = weir_bench_ratios(&trials[2], &trials[0], weir_bench_cpu_ns_each, values->runs);
    snprintf(values->note, sizeof values->note, "\"keys_drawn_from\": 10000000, \"messages\": %llu",
             (unsigned long long)lab->messages);
    explain(trials, 2 * count, values);
}

void weir_bench_target_partitions(const struct weir_bench_lab *lab, const struct weir_bench_target *target,
                                  struct weir_bench_values *values)
{
    static struct weir_bench_trial trials[8];
    double raw[WEIR_BENCH_RUNS_MAX];
    size_t count = run_scales(lab, 2, 4, trials);
    values->count = spread(trials, 0, count, values->runs);
    snprintf(values->note, sizeof values->note, "\"raw_loop\": %.3g",
             weir_bench_median(raw, spread(trials, 1, count, raw)));
    explain(trials, 2 * count, values);
}

/* ---- poison ---- */

/* Nine tenths of the topic, so that neither arm's end waits for the last backoff. */
void weir_bench_target_poison(const struct weir_bench_lab *lab, const struct weir_bench_target *target,
                              struct weir_bench_values *values)
{
    static struct weir_bench_trial trials[2];
    static const char *const ppm[] = {"0", "10000"};
    char name[96];
    struct weir_bench_topic topic = {
        .partitions = PARTITIONS, .messages = at_most(lab->messages, 150000), .value_size = 100, .keys = 100000};
    weir_bench_lab_topic(lab, &topic, name, sizeof name);
    for (size_t i = 0; i < 2; i++)
        trials[i] = (struct weir_bench_trial){.arm = "weir",
                                              .label = i ? "weir-poison" : "weir-healthy",
                                              .topic = &topic,
                                              .messages = topic.messages / 10 * 9,
                                              .words = {"--mode", "block", "--work-us", "1000", "--in-flight", "32",
                                                        "--poison-ppm", ppm[i], "--set", "weir.retry.attempts.max=3"}};
    weir_bench_lab_run(lab, trials, 2);
    values->count = weir_bench_ratios(&trials[1], &trials[0], weir_bench_rate, values->runs);
    explain(trials, 2, values);
}

/* ---- exactly once; ./dev bench outputs has the raw loops beside it ---- */

void weir_bench_target_once(const struct weir_bench_lab *lab, const struct weir_bench_target *target,
                            struct weir_bench_values *values)
{
    static struct weir_bench_trial trials[2];
    char name[96];
    struct weir_bench_topic topic = {
        .partitions = PARTITIONS, .messages = at_most(lab->messages, 1000000), .value_size = 100, .keys = 100000};
    weir_bench_lab_topic(lab, &topic, name, sizeof name);
    for (size_t i = 0; i < 2; i++)
        trials[i] = (struct weir_bench_trial){.arm = i ? "weir-emit-once" : "weir-emit", .topic = &topic};
    weir_bench_lab_run(lab, trials, 2);
    weir_bench_lab_table("each message emitted once, 100 B, 12 partitions, 100k keys", trials, 2);
    values->count = weir_bench_ratios(&trials[1], &trials[0], weir_bench_rate, values->runs);
    explain(trials, 2, values);
}
