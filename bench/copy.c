/*
 * What does it cost a message to be copied out of its fetch response?
 *
 * That is done at the pull where handlers keep messages: from the first WEIR_LATER of a consumer on, or with threads of
 * their own. Here the first message is kept, so that all others are copied, and handled as in the arm beside it, where
 * none is.
 *
 * Thread: main.
 */
#include "bench/lab.h"
#include <stdio.h>

static const size_t SIZES[] = {100, 1000, 10000};
#define BYTES_MAX 400000000u /* of a topic */

static const struct weir_bench_about ABOUT = {
    .name = "copy",
    .question = "What does it cost a message to be copied out of its fetch response?",
    .messages = 1000000,
    .runs = 5,
};

static void run_size(const struct weir_bench_lab *lab, size_t size)
{
    static struct weir_bench_trial trials[2];
    double values[WEIR_BENCH_RUNS_MAX];
    char name[96];
    struct weir_bench_topic topic = {.partitions = 12,
                                     .messages = lab->messages < BYTES_MAX / size ? lab->messages : BYTES_MAX / size,
                                     .value_size = size,
                                     .keys = 100000};
    weir_bench_lab_topic(lab, &topic, name, sizeof name);
    for (size_t i = 0; i < 2; i++)
        trials[i] = (struct weir_bench_trial){.arm = "weir",
                                              .label = i ? "copied out" : "by reference",
                                              .topic = &topic,
                                              .words = {"--mode", i ? "copied" : "noop"}};
    weir_bench_lab_run(lab, trials, 2);
    size_t count = weir_bench_differences(&trials[1], &trials[0], weir_bench_cpu_ns_each, values);
    fprintf(stderr, "  %zu bytes: %.0f ns of CPU a message for its copy, median of %zu runs\n", size,
            weir_bench_median(values, count), count);
}

int main(int argc, char **argv)
{
    struct weir_bench_lab lab;
    weir_bench_lab_open(&lab, &ABOUT, argc, argv);
    for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++)
        run_size(&lab, SIZES[i]);
    return 0;
}
