/*
 * How many bytes does a message in flight take, a key that has one waiting, and a key that has none any more?
 *
 * Messages that a raw loop keeps are the floor of what any consumer on librdkafka can have by reference.
 *
 * Slopes between few and many, each in a process of its own, so that what does not depend on their number falls out.
 * All that a topic holds is in flight, and little is fetched ahead: what librdkafka keeps would count as well.
 * Payloads of 100 B are among the bytes.
 *
 * Thread: main.
 */
#include "bench/lab.h"
#include <stdio.h>
#include <string.h>

#define FEW            12000
#define MANY           120000
#define TEXT(value)    AS_TEXT(value)
#define AS_TEXT(value) #value
#define SETTINGS                                                                             \
    "--set", "weir.window.messages.max=20000", "--set", "weir.memory.bytes.max=4G", "--set", \
        "weir.window.bytes.max=1G", "--set", "queued.min.messages=1000", "--set", "queued.max.messages.kbytes=1024"

static const struct weir_bench_about ABOUT = {
    .name = "memory",
    .question = "How many bytes does a message in flight take, a live key, and a key that has been?",
    .messages = 120000,
    .runs = 5,
};

static double resident(const struct weir_bench_sample *sample)
{
    return weir_bench_sample_number(sample, "resident_bytes");
}

static void slope(const char *what, const struct weir_bench_trial *few, const struct weir_bench_trial *many,
                  double count)
{
    double values[WEIR_BENCH_RUNS_MAX];
    size_t runs = weir_bench_differences(many, few, resident, values);
    for (size_t i = 0; i < runs; i++)
        values[i] /= count;
    fprintf(stderr, "  %-44s %8.0f\n", what, weir_bench_median(values, runs));
}

int main(int argc, char **argv)
{
    static struct weir_bench_trial trials[8];
    static struct weir_bench_topic topics[4];
    struct weir_bench_lab lab;
    char names[4][96];
    weir_bench_lab_open(&lab, &ABOUT, argc, argv);
    for (size_t i = 0; i < 4; i++) {
        topics[i] = (struct weir_bench_topic){
            .partitions = 12, .messages = i % 2 ? MANY : FEW, .value_size = 100, .keys = i / 2 ? 0 : 1000};
        weir_bench_lab_topic(&lab, &topics[i], names[i], sizeof names[i]);
    }
    for (size_t i = 0; i < 6; i++) {
        static const char *const labels[] = {"few in flight", "many in flight", "all handled"};
        trials[i] =
            (struct weir_bench_trial){.arm = "weir", .label = labels[i % 3], .topic = &topics[i / 3 * 2 + (i % 3 > 0)]};
        const char *const words[] = {"--mode", "hold", "--in-flight", i % 3 ? TEXT(MANY) : TEXT(FEW), SETTINGS};
        if (i % 3 < 2)
            memcpy(trials[i].words, words, sizeof words);
    }
    for (size_t i = 6; i < 8; i++) {
        trials[i] = trials[i - 6];
        trials[i].arm = "raw";
    }
    weir_bench_lab_run(&lab, trials, 8);
    fprintf(stderr, "\nresident bytes each, medians of %zu runs\n", trials[0].count);
    slope("message in flight, 1,000 keys", &trials[0], &trials[1], MANY - FEW);
    slope("the same kept by the raw loop", &trials[6], &trials[7], MANY - FEW);
    slope("key with a message waiting", &trials[3], &trials[4], MANY - FEW);
    slope("key whose messages have all been handled", &trials[2], &trials[5], MANY);
    return 0;
}
