/*
 * How near to its ceiling, in flight / latency, is a consumer whose handler waits for something?
 *
 * Messages have keys of their own, so that order allows what is in flight. `bare` is the same calls with nothing
 * between them, which is what the machine allows just then; `flight` is Weir with a handler that answers later; `block`
 * is Weir with handlers that sleep on threads of their own. Peers sleep on what they have: goroutines, tasks,
 * threads.
 *
 * Thread: main.
 */
#include "bench/lab.h"
#include <stdio.h>
#include <string.h>

#define SECONDS           "4"
#define TOPIC_SECONDS     12   /* of the ceiling: what bare and flight read while they warm up and measure */
#define BLOCK_THREADS_MAX 1000 /* of Weir */
#define THREADS_MAX       1000 /* of a JVM that we would ask for */

static const struct {
    const char *name;
    uint64_t latency_us, in_flight;
} CASES[] = {
    {"0.1msx10", 100, 10},        {"0.1msx100", 100, 100},        {"1msx10", 1000, 10},
    {"1msx100", 1000, 100},       {"10msx100", 10000, 100},       {"10msx1000", 10000, 1000},
    {"100msx1000", 100000, 1000}, {"100msx10000", 100000, 10000}, {"100msx100000", 100000, 100000},
};

static const char *const PEERS[] = {"franz-go", "java", "rust-rdkafka", NULL};

static const char *const ARMS[] = {"bare", "flight", "block", "franz-go", "rust", "parallel-consumer"};

static void print_cases(FILE *file)
{
    fputs("\nCases for --only:", file);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++)
        fprintf(file, " %s", CASES[i].name);
    fputs("\nArms: bare flight block franz-go rust parallel-consumer; --messages bounds topics only\n", file);
}

static const struct weir_bench_about ABOUT = {
    .name = "latency",
    .question = "How near to its ceiling, in flight / latency, is a consumer whose handler waits for something?",
    .messages = 20000000,
    .runs = 5,
    .peers = PEERS,
    .print_rows = print_cases,
};

static bool can(const char *arm, uint64_t in_flight)
{
    if (strcmp(arm, "block") == 0)
        return in_flight <= BLOCK_THREADS_MAX;
    return strcmp(arm, "parallel-consumer") != 0 || in_flight <= THREADS_MAX;
}

static void run_case(const struct weir_bench_lab *lab, size_t number)
{
    static struct weir_bench_trial trials[WEIR_BENCH_TRIALS_MAX];
    char name[96], latency[24], in_flight[24], title[96];
    double ceiling = (double)CASES[number].in_flight * 1e6 / (double)CASES[number].latency_us;
    uint64_t wanted = (uint64_t)(ceiling * TOPIC_SECONDS);
    size_t count = 0;
    if (wanted > lab->messages) {
        fprintf(stderr, "%s: left out: needs a topic of %llu messages, see --messages\n", CASES[number].name,
                (unsigned long long)wanted);
        return;
    }
    struct weir_bench_topic topic = {.partitions = 10, .messages = wanted, .value_size = 100};
    weir_bench_lab_topic(lab, &topic, name, sizeof name);
    snprintf(latency, sizeof latency, "%llu", (unsigned long long)CASES[number].latency_us);
    snprintf(in_flight, sizeof in_flight, "%llu", (unsigned long long)CASES[number].in_flight);
    for (size_t i = 0; i < sizeof ARMS / sizeof ARMS[0]; i++) {
        if (!weir_bench_lab_wants(lab, ARMS[i]) || !can(ARMS[i], CASES[number].in_flight))
            continue;
        struct weir_bench_trial *trial = &trials[count++];
        if (i < 2)
            *trial = (struct weir_bench_trial){
                .words = {"--latency-us", latency, "--in-flight", in_flight, "--seconds", SECONDS}};
        else
            *trial = (struct weir_bench_trial){.messages = wanted / 3,
                                               .words = {"--work-us", latency, "--in-flight", in_flight}};
        trial->arm = ARMS[i];
        trial->topic = &topic;
        if (strcmp(ARMS[i], "block") == 0) {
            trial->arm = "weir";
            trial->label = "block";
            trial->words[4] = "--mode";
            trial->words[5] = "block";
        }
    }
    weir_bench_lab_run(lab, trials, count);
    snprintf(title, sizeof title, "%s: ceiling %.0f messages/s", CASES[number].name, ceiling);
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
