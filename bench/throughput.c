/*
 * How many messages a second go through a handler that does nothing, and what does each cost in processor time?
 *
 * A case is a topic and an ordering; in each Weir, the raw loop and the peers take turns. Sizes, partitions and
 * orderings are varied one at a time, from 100 bytes, 12 partitions, 100,000 keys, order of keys.
 *
 * Thread: main.
 */
#include "bench/lab.h"
#include <stdio.h>
#include <string.h>

#define KEYS          100000u
#define CASE_BYTES    400000000u /* of values; large messages are fewer, so that the topic fits the page cache */
#define JAVA_MESSAGES 300000u    /* some seconds of the slow ones; rates do not need more */

static const struct {
    const char *name, *title, *ordering;
    size_t value_size;
    int partitions;
    bool peers; /* what follows orders nothing but keys, or needs no second look */
} CASES[] = {
    {"100B", "100 B, 12 partitions, order of keys", "key", 100, 12, true},
    {"1KB", "1 KB, 12 partitions, order of keys", "key", 1000, 12, true},
    {"10KB", "10 KB, 12 partitions, order of keys", "key", 10000, 12, true},
    {"1-partition", "100 B, 1 partition, order of keys", "key", 100, 1, true},
    {"100-partitions", "100 B, 100 partitions, order of keys", "key", 100, 100, true},
    {"partition-order", "100 B, 12 partitions, order of partitions", "partition", 100, 12, false},
    {"no-order", "100 B, 12 partitions, no order", "none", 100, 12, false},
};

static const char *const PEERS[] = {"franz-go", "java", "rust-rdkafka", NULL};

static const char *const ARMS[] = {
    "raw",      "weir", "raw-defaults", "raw-glibc",         "raw-glibc-defaults",
    "franz-go", "rust", "java",         "parallel-consumer", "parallel-consumer-unordered"};

static void print_cases(FILE *file)
{
    fputs("\nCases for --only:", file);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++)
        fprintf(file, " %s", CASES[i].name);
    fputs("\nArms:", file);
    for (size_t i = 0; i < sizeof ARMS / sizeof ARMS[0]; i++)
        fprintf(file, " %s", ARMS[i]);
    fputc('\n', file);
}

static const struct weir_bench_about ABOUT = {
    .name = "throughput",
    .question = "How many messages a second go through a handler that does nothing, and what does each cost?",
    .messages = 2000000,
    .runs = 5,
    .peers = PEERS,
    .print_rows = print_cases,
};

static bool is_slow(const char *arm)
{
    return strncmp(arm, "parallel-consumer", strlen("parallel-consumer")) == 0;
}

static void run_case(const struct weir_bench_lab *lab, size_t number)
{
    static struct weir_bench_trial trials[WEIR_BENCH_TRIALS_MAX];
    char name[96], ordering[48];
    size_t count = 0;
    uint64_t most = CASE_BYTES / CASES[number].value_size;
    struct weir_bench_topic topic = {.partitions = CASES[number].partitions,
                                     .messages = lab->messages < most ? lab->messages : most,
                                     .value_size = CASES[number].value_size,
                                     .keys = KEYS};
    weir_bench_lab_topic(lab, &topic, name, sizeof name);
    snprintf(ordering, sizeof ordering, "weir.ordering=%s", CASES[number].ordering);
    for (size_t i = 0; i < sizeof ARMS / sizeof ARMS[0] && (i < 2 || CASES[number].peers); i++) {
        if (!weir_bench_lab_wants(lab, ARMS[i]))
            continue;
        struct weir_bench_trial *trial = &trials[count++];
        *trial = (struct weir_bench_trial){.arm = ARMS[i], .topic = &topic};
        if (is_slow(ARMS[i]) && topic.messages > JAVA_MESSAGES)
            trial->messages = JAVA_MESSAGES;
        if (strcmp(ARMS[i], "weir") == 0) {
            trial->words[0] = "--set";
            trial->words[1] = ordering;
        }
    }
    weir_bench_lab_run(lab, trials, count);
    weir_bench_lab_table(CASES[number].title, trials, count);
}

int main(int argc, char **argv)
{
    struct weir_bench_lab lab;
    size_t run = 0;
    weir_bench_lab_open(&lab, &ABOUT, argc, argv);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++)
        if (!lab.only || strcmp(lab.only, CASES[i].name) == 0) {
            run_case(&lab, i);
            run++;
        }
    if (run == 0)
        weir_bench_die("--only %s: no such case; see --help", lab.only);
    return 0;
}
