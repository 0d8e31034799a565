/*
 * How long from the time a message should have been sent until it has been handled, at 10, 50 and 80 % of capacity?
 *
 * An open loop: the sender keeps its rate whatever becomes of the messages, and time runs from when each was meant to
 * be sent. The handler keeps a processor busy for 20 us. Capacity is what the raw loop reaches with it, so that both
 * arms have the same rates.
 *
 * Thread: main.
 */
#include "bench/lab.h"
#include <stdio.h>

static const struct weir_bench_about ABOUT = {
    .name = "delay",
    .question = "How long from the time a message should have been sent until it has been handled?",
    .messages = 300000,
    .runs = 5,
};

static double quantile(const struct weir_bench_trial *trial, const char *name)
{
    double values[WEIR_BENCH_RUNS_MAX];
    for (size_t i = 0; i < trial->count; i++)
        values[i] = weir_bench_sample_number(&trial->samples[i], name) / 1000;
    return weir_bench_median(values, trial->count);
}

static void run_load(const struct weir_bench_lab *lab, const struct weir_bench_topic *topic, double capacity,
                     int percent)
{
    static struct weir_bench_trial trials[2];
    for (size_t i = 0; i < 2; i++)
        trials[i] =
            (struct weir_bench_trial){.arm = i ? "weir" : "raw",
                                      .topic = topic,
                                      .messages = (uint64_t)(capacity * percent / 100),
                                      .words = {"--work-us", "20", "--seconds", "8", "--mode", i ? "spin" : "ours"}};
    weir_bench_lab_run(lab, trials, 2);
    fprintf(stderr, "\n%d %% of capacity, %llu messages/s; ms, medians of %zu runs\n  %-8s %8s %8s %8s\n", percent,
            (unsigned long long)trials[0].messages, trials[1].count, "arm", "p50", "p99", "p99.9");
    for (size_t i = 0; i < 2; i++)
        fprintf(stderr, "  %-8s %8.2f %8.2f %8.2f\n", trials[i].arm, quantile(&trials[i], "p50_us"),
                quantile(&trials[i], "p99_us"), quantile(&trials[i], "p999_us"));
}

int main(int argc, char **argv)
{
    static struct weir_bench_trial capacity;
    static const int loads[] = {10, 50, 80};
    struct weir_bench_lab lab;
    char name[96], other[96];
    weir_bench_lab_open(&lab, &ABOUT, argc, argv);
    struct weir_bench_topic full = {.partitions = 12, .messages = lab.messages, .value_size = 100, .keys = 100000};
    struct weir_bench_topic topic = {.partitions = 12, .messages = 1000, .value_size = 100};
    weir_bench_lab_topic(&lab, &full, name, sizeof name);
    weir_bench_lab_topic(&lab, &topic, other, sizeof other);
    capacity = (struct weir_bench_trial){.arm = "raw", .topic = &full, .words = {"--work-us", "20"}};
    struct weir_bench_lab once = lab;
    once.runs = 1;
    weir_bench_lab_run(&once, &capacity, 1);
    for (size_t i = 0; capacity.count > 0 && i < sizeof loads / sizeof loads[0]; i++)
        run_load(&lab, &topic, capacity.samples[0].rate, loads[i]);
    return capacity.count > 0 ? 0 : 1;
}
