/*
 * Does Weir keep its three bounds on this machine: memory under a backlog, messages in flight, no-op throughput?
 *
 * (a) A handler that takes 100 ms before a backlog of 2 GB: resident memory stays below weir.memory.bytes.max + 64 MiB,
 *     fetching stops while nothing can be taken, and nothing is fetched twice.
 * (b) 10 ms x 1,000 and 100 ms x 10,000 in flight: at least 0.95 of the ceiling, in flight / latency, as far as bare
 *     calls of that latency reach it in the same minute. Both shares of the plain quotient are printed.
 * (c) A handler that does nothing: at least 0.7 of the rate of a librdkafka batch loop, runs alternating.
 *
 * Every run is a process of its own, on a real broker. Standard output gets a JSON line a bound, standard error the
 * rest; the exit status is 1 if a bound is missed.
 */
#include "bench/smoke.h"
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB               1048576.0
#define MEMORY_VALUE_SIZE 10240u
#define MEMORY_KEYS       1000u /* 1,000 at a time, 100 ms each: slower than any broker */
#define MEMORY_FIXED_MIB  64.0
#define FETCHED_ONCE_MAX  1.1  /* of what the topic holds: the protocol's share, and no second time */
#define FETCHED_AFTER_MAX 16.0 /* MiB while nothing can be taken: queues filling up to their brim */
#define SHARE_MIN         0.95
#define RATIO_MIN         0.7

/* What is asked for on the command line. */
struct settings {
    const char *bootstrap, *only;
    uint64_t backlog_mb, memory_mb, messages, runs, workers;
    char *const *set; /* NAME=VALUE, passed on to the arms */
    size_t set_count;
};

/* An arm with its arguments and what --set says. */
static struct weir_bench_result run_arm_with(const struct settings *settings, const char *const *arguments,
                                             unsigned seconds_max)
{
    const char *all[32 + 2 * WEIR_BENCH_SETS_MAX];
    size_t count = 0;
    for (; arguments[count]; count++)
        all[count] = arguments[count];
    for (size_t i = 0; i < settings->set_count; i++) {
        all[count++] = "--set";
        all[count++] = settings->set[i];
    }
    all[count] = NULL;
    return weir_bench_arm(all, seconds_max);
}

static void print_help(void)
{
    puts("bench-smoke: does Weir keep its three bounds on this machine: memory under a backlog, messages in flight,\n"
         "no-op throughput?\n"
         "\n"
         "Usage: bench-smoke --bootstrap HOST:PORT [OPTIONS]\n"
         "\n"
         "  --bootstrap HOST:PORT  a real Kafka; topics weir-bench-* are made and filled once\n"
         "  --only NAME            memory, flight or noop\n"
         "  --backlog-mb N         backlog before the slow handler, in MB (16..16384, default 2048)\n"
         "  --memory-mb N          weir.memory.bytes.max of that run, in MiB (8..4096, default 64)\n"
         "  --messages N           messages of the no-op runs (100000..20000000, default 2000000)\n"
         "  --runs N               runs a bound (1..16, default 5; memory has one a handler)\n"
         "  --workers N            worker threads (1..64, default 2)\n"
         "  --set NAME=VALUE       an option of the consumers, besides those a question needs (8 at most)\n"
         "  --help                 this text\n"
         "\n"
         "Standard output gets a JSON line a bound. Exit status: 0 all bounds kept, 1 one missed, 2 bad usage.");
}

/* ---- (a) ---- */

static struct weir_bench_result memory_run(const struct settings *settings, const struct weir_bench_topic *topic,
                                           bool blocking)
{
    char messages[24], memory[24], workers[16];
    snprintf(messages, sizeof messages, "%llu", (unsigned long long)topic->messages);
    snprintf(memory, sizeof memory, "%llu", (unsigned long long)settings->memory_mb * 1048576u);
    snprintf(workers, sizeof workers, "%llu", blocking ? 4ull : (unsigned long long)settings->workers);
    const char *const arguments[] = {"--arm",
                                     "memory",
                                     "--bootstrap",
                                     settings->bootstrap,
                                     "--topic",
                                     topic->name,
                                     "--partitions",
                                     "12",
                                     "--messages",
                                     messages,
                                     "--memory-bytes",
                                     memory,
                                     "--latency-ms",
                                     "100",
                                     "--workers",
                                     workers,
                                     "--seconds",
                                     blocking ? "12" : "120",
                                     "--blocking",
                                     blocking ? "1" : "0",
                                     NULL};
    return run_arm_with(settings, arguments, 240);
}

static void memory_lines(struct weir_bench_report *report, const struct settings *settings, const char *handler,
                         const struct weir_bench_result *result)
{
    char name[48];
    double resident = weir_bench_number(result, "resident_max") / MIB;
    snprintf(name, sizeof name, "memory, %s handler", handler);
    weir_bench_bound(report, name, resident, "<=", (double)settings->memory_mb + MEMORY_FIXED_MIB, "MiB", &resident, 1);
    fprintf(stderr,
            "  %s: %.0f messages in %.1f s; resident %.0f MiB before, %.0f MiB at most; in flight %.1f MiB at most; "
            "%.0f pauses; %.1f MiB fetched\n",
            handler, weir_bench_number(result, "handled"), weir_bench_number(result, "seconds"),
            weir_bench_number(result, "resident_before") / MIB, resident,
            weir_bench_number(result, "in_flight_bytes_max") / MIB, weir_bench_number(result, "pauses"),
            weir_bench_number(result, "fetched_bytes") / MIB);
}

static void memory(struct weir_bench_report *report, const struct settings *settings)
{
    char name[64];
    uint64_t messages = settings->backlog_mb * 1000000u / MEMORY_VALUE_SIZE;
    snprintf(name, sizeof name, "weir-bench-memory-%llu", (unsigned long long)messages);
    struct weir_bench_topic topic = {name, 12, messages, MEMORY_VALUE_SIZE, MEMORY_KEYS};
    weir_bench_topic_fill(settings->bootstrap, &topic);

    struct weir_bench_result later = memory_run(settings, &topic, false);
    memory_lines(report, settings, "later", &later);
    if ((uint64_t)weir_bench_number(&later, "handled") < messages)
        weir_bench_die("memory: the handler has seen %.0f of %llu messages", weir_bench_number(&later, "handled"),
                       (unsigned long long)messages);
    double twice = weir_bench_number(&later, "again");
    double once = weir_bench_number(&later, "fetched_bytes") / ((double)messages * MEMORY_VALUE_SIZE);
    weir_bench_bound(report, "handled twice, later handler", twice, "<=", 0, "", &twice, 1);
    weir_bench_bound(report, "fetched / held by the topic", once, "<=", FETCHED_ONCE_MAX, "", &once, 1);

    struct weir_bench_result blocking = memory_run(settings, &topic, true);
    memory_lines(report, settings, "blocking", &blocking);
    double after = weir_bench_number(&blocking, "fetched_after") / MIB;
    weir_bench_bound(report, "fetched while it blocks", after, "<=", FETCHED_AFTER_MAX, "MiB", &after, 1);
}

/* ---- (b) ---- */

/* Weir and the bare calls take turns, so that both have the machine's good and bad seconds. */
static void flight_of(struct weir_bench_report *report, const struct settings *settings,
                      const struct weir_bench_topic *topic, const char *latency_ms, const char *in_flight)
{
    char name[64], messages[24], workers[16];
    double shares[WEIR_BENCH_RUNS_MAX];
    snprintf(messages, sizeof messages, "%llu", (unsigned long long)topic->messages);
    snprintf(workers, sizeof workers, "%llu", (unsigned long long)settings->workers);
    const char *arguments[] = {"--arm",
                               "bare",
                               "--bootstrap",
                               settings->bootstrap,
                               "--topic",
                               topic->name,
                               "--partitions",
                               "10",
                               "--messages",
                               messages,
                               "--latency-ms",
                               latency_ms,
                               "--in-flight",
                               in_flight,
                               "--workers",
                               workers,
                               "--seconds",
                               "4",
                               NULL};
    for (uint64_t run = 0; run < settings->runs; run++) {
        arguments[1] = "bare";
        struct weir_bench_result bare = weir_bench_arm(arguments, 60);
        arguments[1] = "flight";
        struct weir_bench_result result = run_arm_with(settings, arguments, 120);
        double ceiling = weir_bench_number(&bare, "rate"), rate = weir_bench_number(&result, "rate");
        shares[run] = rate / ceiling;
        fprintf(stderr,
                "  %s ms x %s: %.0f messages/s, %.3f of in flight / latency; bare calls %.0f/s, %.3f of it; %.0f in "
                "flight; %.2f us of CPU each\n",
                latency_ms, in_flight, rate, weir_bench_number(&result, "share"), ceiling,
                weir_bench_number(&bare, "share"), weir_bench_number(&result, "in_flight_mean"),
                weir_bench_number(&result, "cpu_ns_each") / 1e3);
    }
    snprintf(name, sizeof name, "share of ceiling, %s ms x %s", latency_ms, in_flight);
    weir_bench_bound(report, name, weir_bench_median(shares, settings->runs), ">=", SHARE_MIN, "", shares,
                     settings->runs);
}

static void flight(struct weir_bench_report *report, const struct settings *settings)
{
    /* 100,000 a second for warming up and measuring, and some more */
    struct weir_bench_topic topic = {"weir-bench-flight", 10, 1200000, 100, 0};
    weir_bench_topic_fill(settings->bootstrap, &topic);
    flight_of(report, settings, &topic, "10", "1000");
    flight_of(report, settings, &topic, "100", "10000");
}

/* ---- (c) ---- */

static double noop_run(const struct settings *settings, const struct weir_bench_topic *topic, const char *arm)
{
    char messages[24], workers[16];
    snprintf(messages, sizeof messages, "%llu", (unsigned long long)topic->messages);
    snprintf(workers, sizeof workers, "%llu", (unsigned long long)settings->workers);
    const char *const arguments[] = {
        "--arm", arm,          "--bootstrap", settings->bootstrap, "--topic", topic->name, "--partitions",
        "12",    "--messages", messages,      "--workers",         workers,   NULL};
    struct weir_bench_result result = run_arm_with(settings, arguments, 180);
    fprintf(stderr, "  %s: %.0f messages/s, %.0f ns of CPU each\n", arm, weir_bench_number(&result, "rate"),
            weir_bench_number(&result, "cpu_ns_each"));
    return weir_bench_number(&result, "rate");
}

static void noop(struct weir_bench_report *report, const struct settings *settings)
{
    char name[64];
    double ratios[WEIR_BENCH_RUNS_MAX];
    snprintf(name, sizeof name, "weir-bench-noop-%llu", (unsigned long long)settings->messages);
    struct weir_bench_topic topic = {name, 12, settings->messages, 100, 100000};
    weir_bench_topic_fill(settings->bootstrap, &topic);
    noop_run(settings, &topic, "raw"); /* brings the topic into the page cache; not counted */
    for (uint64_t run = 0; run < settings->runs; run++) {
        double raw = noop_run(settings, &topic, "raw");
        ratios[run] = noop_run(settings, &topic, "noop") / raw;
    }
    weir_bench_bound(report, "no-op rate / raw librdkafka", weir_bench_median(ratios, settings->runs), ">=", RATIO_MIN,
                     "", ratios, settings->runs);
}

/* ---- the command line ---- */

static uint64_t number(const char *name, const char *text, uint64_t min, uint64_t max)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (errno == 0 && end != text && *end == '\0' && text[0] != '-' && value >= min && value <= max)
        return value;
    fprintf(stderr, "bench-smoke: --%s=%s: must be %llu..%llu\n", name, text, (unsigned long long)min,
            (unsigned long long)max);
    exit(2);
}

enum {
    BOOTSTRAP = 1,
    ONLY,
    BACKLOG,
    MEMORY,
    MESSAGES,
    RUNS,
    WORKERS,
    HELP,
    ARM,
    TOPIC,
    PARTITIONS,
    MEMORY_BYTES,
    LATENCY,
    LATENCY_US,
    IN_FLIGHT,
    SECONDS,
    BLOCKING,
    SET,
};

static const struct option OPTIONS[] = {
    {"bootstrap", required_argument, NULL, BOOTSTRAP},
    {"only", required_argument, NULL, ONLY},
    {"backlog-mb", required_argument, NULL, BACKLOG},
    {"memory-mb", required_argument, NULL, MEMORY},
    {"messages", required_argument, NULL, MESSAGES},
    {"runs", required_argument, NULL, RUNS},
    {"workers", required_argument, NULL, WORKERS},
    {"set", required_argument, NULL, SET},
    {"help", no_argument, NULL, HELP},
    /* of arms, which the bench starts by itself */
    {"arm", required_argument, NULL, ARM},
    {"topic", required_argument, NULL, TOPIC},
    {"partitions", required_argument, NULL, PARTITIONS},
    {"memory-bytes", required_argument, NULL, MEMORY_BYTES},
    {"latency-ms", required_argument, NULL, LATENCY},
    {"latency-us", required_argument, NULL, LATENCY_US},
    {"in-flight", required_argument, NULL, IN_FLIGHT},
    {"seconds", required_argument, NULL, SECONDS},
    {"blocking", required_argument, NULL, BLOCKING},
    {NULL, 0, NULL, 0},
};

static void take(int option, struct settings *settings, struct weir_bench_arm_options *arm, const char **arm_name)
{
    switch (option) {
    case BOOTSTRAP:
        settings->bootstrap = arm->bootstrap = optarg;
        break;
    case ONLY:
        settings->only = optarg;
        break;
    case BACKLOG:
        settings->backlog_mb = number("backlog-mb", optarg, 16, 16384);
        break;
    case MEMORY:
        settings->memory_mb = number("memory-mb", optarg, 8, 4096);
        break;
    case MESSAGES:
        settings->messages = arm->messages = number("messages", optarg, 1, 20000000);
        break;
    case RUNS:
        settings->runs = number("runs", optarg, 1, WEIR_BENCH_RUNS_MAX);
        break;
    case WORKERS:
        settings->workers = number("workers", optarg, 1, WEIR_BENCH_WORKERS_MAX);
        arm->workers = (unsigned)settings->workers;
        break;
    case SET:
        if (arm->set_count == WEIR_BENCH_SETS_MAX)
            weir_bench_die("--set: at most %d", WEIR_BENCH_SETS_MAX);
        arm->set[arm->set_count++] = optarg;
        break;
    case HELP:
        print_help();
        exit(0);
    case ARM:
        *arm_name = optarg;
        break;
    case TOPIC:
        arm->topic = optarg;
        break;
    case PARTITIONS:
        arm->partitions = (int)number("partitions", optarg, 1, 1024);
        break;
    case MEMORY_BYTES:
        arm->memory_bytes = number("memory-bytes", optarg, 1048576, 1ull << 40);
        break;
    case LATENCY:
        arm->latency_us = number("latency-ms", optarg, 1, 10000) * 1000;
        break;
    case LATENCY_US:
        arm->latency_us = number("latency-us", optarg, 10, 10000000);
        break;
    case IN_FLIGHT:
        arm->in_flight = number("in-flight", optarg, 1, 1000000);
        break;
    case SECONDS:
        arm->seconds = (unsigned)number("seconds", optarg, 1, 600);
        break;
    case BLOCKING:
        arm->blocking = number("blocking", optarg, 0, 1) != 0;
        break;
    default:
        exit(2);
    }
}

static int run_arm(const char *name, const struct weir_bench_arm_options *options)
{
    static const struct {
        const char *name;
        int (*run)(const struct weir_bench_arm_options *options);
    } arms[] = {{"memory", weir_bench_memory_arm},
                {"flight", weir_bench_flight_arm},
                {"bare", weir_bench_bare_arm},
                {"noop", weir_bench_noop_arm},
                {"raw", weir_bench_raw_arm}};
    for (size_t i = 0; i < sizeof arms / sizeof arms[0]; i++)
        if (strcmp(arms[i].name, name) == 0 && options->topic && options->partitions && options->messages)
            return arms[i].run(options);
    weir_bench_die("--arm %s: unknown, or without --topic, --partitions and --messages", name);
}

int main(int argc, char **argv)
{
    struct settings settings = {
        .backlog_mb = 2048, .memory_mb = 64, .messages = 2000000, .runs = 5, .workers = 2, .only = ""};
    struct weir_bench_arm_options arm = {.workers = 2};
    const char *arm_name = NULL;
    for (int option; (option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1;)
        take(option, &settings, &arm, &arm_name);
    if (!settings.bootstrap || optind < argc) {
        fputs("bench-smoke: give --bootstrap HOST:PORT and no operands; try --help\n", stderr);
        return 2;
    }
    settings.set = arm.set;
    settings.set_count = arm.set_count;
    if (arm_name)
        return run_arm(arm_name, &arm);
    struct weir_bench_report report = {0};
    bool all = settings.only[0] == '\0';
    if (all || strcmp(settings.only, "memory") == 0)
        memory(&report, &settings);
    if (all || strcmp(settings.only, "flight") == 0)
        flight(&report, &settings);
    if (all || strcmp(settings.only, "noop") == 0)
        noop(&report, &settings);
    return weir_bench_table(&report) ? 0 : 1;
}
