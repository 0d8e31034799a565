/*
 * Did a change make the hot path slower? Weir and the raw loop take turns on one topic, in under two minutes.
 *
 * For anyone who works on that path: run it before and after. It fails only far from the target, as few and short
 * runs on a busy machine prove little; `./dev bench targets --only noop-raw` is the judge.
 *
 * Thread: main.
 */
#include "bench/lab.h"
#include <stdio.h>

#define RATIO_MIN     0.7
#define CPU_ABOVE_MAX 90 /* ns a message: rates swing on a busy machine, this hardly does */

static const struct weir_bench_about ABOUT = {
    .name = "quick",
    .question = "Did a change make the hot path slower? A no-op handler against the raw loop, same settings.",
    .messages = 1000000,
    .runs = 7,
};

int main(int argc, char **argv)
{
    static struct weir_bench_trial trials[2];
    struct weir_bench_lab lab;
    struct weir_bench_report report = {0};
    double values[WEIR_BENCH_RUNS_MAX];
    char name[96];
    weir_bench_lab_open(&lab, &ABOUT, argc, argv);
    struct weir_bench_topic topic = {.partitions = 12, .messages = lab.messages, .value_size = 100, .keys = 100000};
    weir_bench_lab_topic(&lab, &topic, name, sizeof name);
    trials[0] = (struct weir_bench_trial){.arm = "raw", .topic = &topic};
    trials[1] = (struct weir_bench_trial){.arm = "weir", .topic = &topic};
    weir_bench_lab_run(&lab, trials, 2);
    weir_bench_lab_table("100 B, 12 partitions, order of keys", trials, 2);

    size_t count = weir_bench_differences(&trials[1], &trials[0], weir_bench_cpu_ns_each, values);
    weir_bench_bound(&report, "CPU above raw, a message", weir_bench_median(values, count), "<=", CPU_ABOVE_MAX, "ns",
                     values, count);
    count = weir_bench_ratios(&trials[1], &trials[0], weir_bench_rate, values);
    weir_bench_bound(&report, "no-op rate / raw librdkafka", weir_bench_median(values, count), ">=", RATIO_MIN, "",
                     values, count);
    return weir_bench_table(&report) ? 0 : 1;
}
