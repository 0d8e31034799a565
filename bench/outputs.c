/*
 * What does exactly-once cost where a handler emits each message once, against at-least-once, and against raw loops of
 * librdkafka that consume and produce?
 *
 * All arms read one topic and write to a new one each. `loop-once` is the named peer: a transaction each 100 ms with
 * the offsets in it, and nothing while it is committed. Exit status 1 where exactly-once has less than RATIO_MIN of the
 * rate of at-least-once.
 *
 * Thread: main.
 */
#include "bench/lab.h"
#include <stdio.h>
#include <string.h>

#define RATIO_MIN 0.5

static const char *const ARMS[] = {"weir-emit", "weir-emit-once", "loop", "loop-once"};
#define ARM_COUNT (sizeof ARMS / sizeof ARMS[0])

static void print_arms(FILE *file)
{
    fputs("\nArms:", file);
    for (size_t i = 0; i < ARM_COUNT; i++)
        fprintf(file, " %s", ARMS[i]);
    fputc('\n', file);
}

static const struct weir_bench_about ABOUT = {
    .name = "outputs",
    .question = "What does exactly-once cost where a handler emits each message once, against at-least-once and raw "
                "loops?",
    .messages = 1000000,
    .runs = 5,
    .print_rows = print_arms,
};

int main(int argc, char **argv)
{
    static struct weir_bench_trial trials[ARM_COUNT];
    struct weir_bench_lab lab;
    struct weir_bench_report report = {0};
    double values[WEIR_BENCH_RUNS_MAX];
    char name[96];
    weir_bench_lab_open(&lab, &ABOUT, argc, argv);
    struct weir_bench_topic topic = {.partitions = 12, .messages = lab.messages, .value_size = 100, .keys = 100000};
    weir_bench_lab_topic(&lab, &topic, name, sizeof name);
    for (size_t i = 0; i < ARM_COUNT; i++)
        trials[i] = (struct weir_bench_trial){
            .arm = ARMS[i], .topic = &topic, .left_out = !weir_bench_lab_wants(&lab, ARMS[i])};
    weir_bench_lab_run(&lab, trials, ARM_COUNT);
    weir_bench_lab_table("each message emitted once, 100 B, 12 partitions, 100k keys, order of keys", trials,
                         ARM_COUNT);
    if (trials[0].left_out || trials[1].left_out)
        return 0;
    size_t count = weir_bench_ratios(&trials[1], &trials[0], weir_bench_rate, values);
    weir_bench_bound(&report, "exactly-once / at-least-once", weir_bench_median(values, count), ">=", RATIO_MIN, "",
                     values, count);
    return weir_bench_table(&report) ? 0 : 1;
}
