/*
 * Where some keys are hot, how much of what the order of keys allows is reached?
 *
 * 10,000 keys by Zipf on 24 partitions, 10 ms a message, 24 at once; and as many keys drawn evenly, of which half lie
 * in one partition of twelve. Nothing can be faster than the hottest key's messages one after the other, nor than all
 * messages 24 at a time: that bound is computed from the keys that the topic holds. A busy machine lets sleepers
 * oversleep; how long they slept stands in the arm's own line.
 *
 * Thread: main.
 */
#include "bench/lab.h"
#include <stdio.h>
#include <string.h>

#define WORK_US "10000"
#define WIDTH   "24"

static const struct {
    const char *name;
    double zipf;
    int partitions;
    unsigned hot_percent;
} CASES[] = {{"0.8", 0.8, 24, 0}, {"1.0", 1.0, 24, 0}, {"1.2", 1.2, 24, 0}, {"hot-partition", 0, 12, 50}};

static const char *const PEERS[] = {"franz-go", "java", "rust-rdkafka", NULL};

static const char *const ARMS[] = {"weir", "parallel-consumer", "franz-go", "rust"};

static void print_cases(FILE *file)
{
    fputs("\nCases for --only: 0.8 1.0 1.2 (of Zipf) hot-partition\nArms: weir parallel-consumer franz-go rust\n",
          file);
}

static const struct weir_bench_about ABOUT = {
    .name = "skew",
    .question = "Where some keys are hot, how much of what the order of keys allows is reached?",
    .messages = 10000,
    .runs = 5,
    .peers = PEERS,
    .print_rows = print_cases,
};

static void run_case(const struct weir_bench_lab *lab, size_t number)
{
    static struct weir_bench_trial trials[WEIR_BENCH_TRIALS_MAX];
    char name[96], title[96];
    size_t count = 0;
    struct weir_bench_topic topic = {.partitions = CASES[number].partitions,
                                     .messages = lab->messages,
                                     .value_size = 100,
                                     .keys = 10000,
                                     .hot_percent = CASES[number].hot_percent,
                                     .zipf = CASES[number].zipf};
    weir_bench_lab_topic(lab, &topic, name, sizeof name);
    double bound = weir_bench_key_order_seconds(&topic, 0.010, 24);
    for (size_t i = 0; i < sizeof ARMS / sizeof ARMS[0]; i++)
        if (weir_bench_lab_wants(lab, ARMS[i]))
            trials[count++] = (struct weir_bench_trial){
                .arm = ARMS[i],
                .topic = &topic,
                .words = {"--work-us", WORK_US, "--in-flight", WIDTH, i == 0 ? "--mode" : NULL, "block"}};
    weir_bench_lab_run(lab, trials, count);
    snprintf(title, sizeof title, "%s: at most %.0f messages/s", CASES[number].name, (double)topic.messages / bound);
    weir_bench_lab_table(title, trials, count);
}

int main(int argc, char **argv)
{
    struct weir_bench_lab lab;
    weir_bench_lab_open(&lab, &ABOUT, argc, argv);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++)
        if (!lab.only || strcmp(lab.only, CASES[i].name) == 0)
            run_case(&lab, i);
    return 0;
}
