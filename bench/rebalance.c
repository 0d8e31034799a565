/*
 * How long does a partition go without work when a member joins the group, and when it leaves?
 *
 * Messages keep coming at 10,000 a second; the longest pause of any partition is compared with that of the same seconds
 * without a rebalance, which is what the sender's rate and the machine make of it.
 *
 * Thread: main.
 */
#include "bench/lab.h"
#include <stdio.h>

static const struct weir_bench_about ABOUT = {
    .name = "rebalance",
    .question = "How long does a partition go without work when a member joins the group, and when it leaves?",
    .messages = 10000, /* a second */
    .runs = 5,
};

static double median_of(const struct weir_bench_trial *trial, const char *name)
{
    double values[WEIR_BENCH_RUNS_MAX];
    for (size_t i = 0; i < trial->count; i++)
        values[i] = weir_bench_sample_number(&trial->samples[i], name);
    return weir_bench_median(values, trial->count);
}

int main(int argc, char **argv)
{
    static const int counts[] = {1, 12, 50, 200};
    static struct weir_bench_trial trials[4];
    static struct weir_bench_topic topics[4];
    static char names[4][96];
    struct weir_bench_lab lab;
    weir_bench_lab_open(&lab, &ABOUT, argc, argv);
    for (size_t i = 0; i < 4; i++) {
        topics[i] = (struct weir_bench_topic){.partitions = counts[i], .messages = 1000, .value_size = 100};
        weir_bench_lab_topic(&lab, &topics[i], names[i], sizeof names[i]);
        trials[i] = (struct weir_bench_trial){
            .arm = "rebalance", .topic = &topics[i], .messages = lab.messages, .words = {"--seconds", "12"}};
    }
    weir_bench_lab_run(&lab, trials, 4);
    fprintf(
        stderr,
        "\nlongest time between two messages of a partition, ms: the worst partition (the one at a quarter: it stays)\n"
        "  %10s %20s %20s %20s\n",
        "partitions", "no rebalance", "join", "leave");
    for (size_t i = 0; i < 4; i++)
        fprintf(stderr, "  %10d %11.0f (%6.0f) %11.0f (%6.0f) %11.0f (%6.0f)\n", counts[i],
                median_of(&trials[i], "before_ms_max"), median_of(&trials[i], "before_ms_quarter"),
                median_of(&trials[i], "join_ms_max"), median_of(&trials[i], "join_ms_quarter"),
                median_of(&trials[i], "leave_ms_max"), median_of(&trials[i], "leave_ms_quarter"));
    return trials[0].count > 0 ? 0 : 1;
}
