/*
 * Does a message cost the same however many keys and partitions there are, and whatever the number of workers?
 *
 * A no-op handler, 100 B, order of keys; one of the three is varied at a time, and the raw loop goes beside it where
 * partitions are, as it has to live with them too.
 *
 * Thread: main.
 */
#include "bench/lab.h"
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *arm, *workers;
    int partitions;
    uint64_t keys;
} CASES[] = {
    {"keys", "weir", "2", 12, 1},
    {"keys", "weir", "2", 12, 1000},
    {"keys", "weir", "2", 12, 100000},
    {"keys", "weir", "2", 12, 10000000},
    {"partitions", "weir", "2", 1, 100000},
    {"partitions", "weir", "2", 12, 100000},
    {"partitions", "weir", "2", 100, 100000},
    {"partitions", "weir", "2", 1000, 100000},
    {"partitions", "raw", "1", 1, 100000},
    {"partitions", "raw", "1", 12, 100000},
    {"partitions", "raw", "1", 100, 100000},
    {"partitions", "raw", "1", 1000, 100000},
    {"workers", "weir", "1", 12, 100000},
    {"workers", "weir", "2", 12, 100000},
};
#define CASE_COUNT (sizeof CASES / sizeof CASES[0])

static void print_cases(FILE *file)
{
    fputs("\nCases for --only: keys partitions workers\n", file);
}

static const struct weir_bench_about ABOUT = {
    .name = "scaling",
    .question = "Does a message cost the same however many keys, partitions and workers there are?",
    .messages = 2000000,
    .runs = 5,
    .print_rows = print_cases,
};

static void run_group(const struct weir_bench_lab *lab, const char *name)
{
    static struct weir_bench_trial trials[WEIR_BENCH_TRIALS_MAX];
    static struct weir_bench_topic topics[WEIR_BENCH_TRIALS_MAX];
    static char names[WEIR_BENCH_TRIALS_MAX][96], labels[WEIR_BENCH_TRIALS_MAX][64];
    size_t count = 0;
    for (size_t i = 0; i < CASE_COUNT; i++) {
        if (strcmp(CASES[i].name, name) != 0)
            continue;
        topics[count] = (struct weir_bench_topic){
            .partitions = CASES[i].partitions, .messages = lab->messages, .value_size = 100, .keys = CASES[i].keys};
        weir_bench_lab_topic(lab, &topics[count], names[count], sizeof names[0]);
        snprintf(labels[count], sizeof labels[0], "%s, %d part., %llu keys, %s w.", CASES[i].arm, CASES[i].partitions,
                 (unsigned long long)CASES[i].keys, CASES[i].workers);
        trials[count] = (struct weir_bench_trial){.arm = CASES[i].arm,
                                                  .label = labels[count],
                                                  .topic = &topics[count],
                                                  .words = {"--workers", CASES[i].workers}};
        count++;
    }
    weir_bench_lab_run(lab, trials, count);
    weir_bench_lab_table(name, trials, count);
}

int main(int argc, char **argv)
{
    static const char *const groups[] = {"keys", "partitions", "workers"};
    struct weir_bench_lab lab;
    weir_bench_lab_open(&lab, &ABOUT, argc, argv);
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        if (!lab.only || strcmp(lab.only, groups[i]) == 0)
            run_group(&lab, groups[i]);
    return 0;
}
