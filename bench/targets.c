/*
 * Which of the targets does Weir meet? A row is a question, what must hold, what is aimed at, and how it is computed.
 *
 * Rows that compare the same arms share their runs. A row that cannot be measured, as an arm is missing or there is no
 * bench for it yet, says why and counts neither way. Exit status 1 where a must is missed.
 *
 *   targets_rows.c   how each value comes about
 *
 * Thread: main.
 */
#include "bench/targets.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct weir_bench_target ROWS[] = {
    {"noop-raw", "no-op, key order, 100 B: messages/s / raw loop's, same allocator and fetch settings", ">=", 0.9, 1.0,
     weir_bench_target_noop, "raw"},
    {"noop-defaults", "the same / raw loop's with librdkafka's default settings", ">=", 1.2, 1.7,
     weir_bench_target_noop, "raw-defaults"},
    {"noop-franz", "the same / franz-go's with lanes by key", ">=", 0.9, 1.3, weir_bench_target_noop, "franz-go"},
    {"noop-parallel", "the same / parallel-consumer's, KEY, 100 threads", ">=", 30, 50, weir_bench_target_noop,
     "parallel-consumer"},
    {"cpu-above-raw", "ns of CPU a message above the raw loop, same settings, no-op, key order", "<=", 60, 25,
     weir_bench_target_cpu, "raw"},
    {"flight-1ms-100", "share of the ceiling: 1 ms x 100, async", ">=", 0.97, 0.99, weir_bench_target_flight, "1",
     "100"},
    {"flight-10ms-1000", "share of the ceiling: 10 ms x 1,000, async", ">=", 0.97, 0.99, weir_bench_target_flight, "10",
     "1000"},
    {"flight-100ms-10000", "share of the ceiling: 100 ms x 10,000, async", ">=", 0.97, 0.99, weir_bench_target_flight,
     "100", "10000"},
    {"flight-100ms-100000", "share of the ceiling: 100 ms x 100,000, async", ">=", 0.97, 0.99, weir_bench_target_flight,
     "100", "100000"},
    {"blocking-1ms-100", "share of the ceiling: 1 ms x 100, blocking on as many threads", ">=", 0.9, 0.97,
     weir_bench_target_blocking, "1000", "100"},
    {"blocking-10ms-1000", "share of the ceiling: 10 ms x 1,000, blocking on as many threads", ">=", 0.9, 0.97,
     weir_bench_target_blocking, "10000", "1000"},
    {"skew", "Zipf 1.0, 24 partitions, 10k keys, 10 ms, 24 at once: share of what key order allows", ">=", 0.9, 0.98,
     weir_bench_target_skew},
    {"delay-half-load", "p99 at half load / raw loop's with the same handler", "<=", 1.5, 1.1, weir_bench_target_delay},
    {"memory-message", "resident bytes per in-flight message of 100 B, above the payload", "<=", 400, 200,
     weir_bench_target_memory, "1000", "payload"},
    {"memory-key", "resident bytes per live key, its waiting message included", "<=", 600, 300,
     weir_bench_target_memory, "0"},
    {"scaling-keys", "CPU a message, many keys / 1,000 keys", "<=", 2, 1.3, weir_bench_target_keys},
    {"scaling-partitions", "CPU a message, the worst of 1 to 1,000 partitions / the best", "<=", 2, 1.3,
     weir_bench_target_partitions},
    {"poison", "1 % poison: messages/s of healthy ones / without poison", ">=", 0.95, 0.99, weir_bench_target_poison},
    {"exactly-once", "no-op that emits each message: messages/s exactly once / at least once", ">=", 0.5, 0.8,
     weir_bench_target_once},
};
#define ROW_COUNT (sizeof ROWS / sizeof ROWS[0])

static void print_rows(FILE *file)
{
    fputs("\nRows for --only (several with commas between):\n", file);
    for (size_t i = 0; i < ROW_COUNT; i++)
        fprintf(file, "  %-20s %s\n", ROWS[i].name, ROWS[i].question);
}

static const char *const PEERS[] = {"franz-go", "java", NULL};

static const struct weir_bench_about ABOUT = {
    .name = "targets",
    .question = "Which of the targets does Weir meet, on this machine, against its peers in the same runs?",
    .messages = 2000000,
    .runs = 5,
    .peers = PEERS,
    .print_rows = print_rows,
};

bool weir_bench_target_chosen(const struct weir_bench_lab *lab, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = lab->only; at; at = strchr(at, ','), at = at ? at + 1 : NULL)
        if (strncmp(at, name, length) == 0 && (at[length] == '\0' || at[length] == ','))
            return true;
    return !lab->only;
}

const struct weir_bench_target *weir_bench_target_at(size_t index)
{
    return index < ROW_COUNT ? &ROWS[index] : NULL;
}

/* ---- results ---- */

struct result {
    const struct weir_bench_target *row;
    struct weir_bench_values values;
    double value;
    bool measured, must, aim;
};

static bool holds(const struct weir_bench_target *row, double value, double bound)
{
    return row->relation[0] == '<' ? value <= bound : value >= bound;
}

static void print_json(const struct result *result)
{
    const struct weir_bench_target *row = result->row;
    printf("{\"target\": \"%s\", \"value\": ", row->name);
    if (result->measured)
        printf("%.4g", result->value);
    else
        printf("null, \"why\": \"%s\"", result->values.why);
    printf(", \"must\": \"%s %g\", \"aim\": \"%s %g\", \"runs\": [", row->relation, row->must, row->relation, row->aim);
    for (size_t i = 0; i < result->values.count; i++)
        printf("%s%.4g", i ? ", " : "", result->values.runs[i]);
    printf("]%s%s}\n", result->values.note[0] ? ", " : "", result->values.note);
    fflush(stdout);
}

static struct result measure(const struct weir_bench_lab *lab, const struct weir_bench_target *row)
{
    struct result result = {.row = row};
    if (row->measure)
        row->measure(lab, row, &result.values);
    else
        snprintf(result.values.why, sizeof result.values.why, "%s", row->why);
    result.measured = result.values.count > 0;
    if (!result.measured && !result.values.why[0])
        snprintf(result.values.why, sizeof result.values.why, "no run gave a value");
    result.value = weir_bench_median(result.values.runs, result.values.count);
    result.must = holds(row, result.value, row->must);
    result.aim = holds(row, result.value, row->aim);
    print_json(&result);
    return result;
}

static const char *verdict(const struct result *result)
{
    if (!result->measured)
        return "not measured";
    return result->aim ? "aim" : result->must ? "must" : "MISSED";
}

static void print_table(const struct result *results, size_t count)
{
    fprintf(stderr, "\n%-20s %10s  %8s %8s  %-12s  %s\n", "target", "median", "must", "aim", "met", "what");
    for (size_t i = 0; i < count; i++) {
        const struct weir_bench_target *row = results[i].row;
        char value[24] = "-";
        if (results[i].measured)
            snprintf(value, sizeof value, "%.3g", results[i].value);
        fprintf(stderr, "%-20s %10s  %2s %5g %2s %5g  %-12s  %s\n", row->name, value, row->relation, row->must,
                row->relation, row->aim, verdict(&results[i]),
                results[i].measured ? row->question : results[i].values.why);
    }
}

int main(int argc, char **argv)
{
    static struct result results[ROW_COUNT];
    struct weir_bench_lab lab;
    size_t count = 0, missed = 0;
    weir_bench_lab_open(&lab, &ABOUT, argc, argv);
    for (size_t i = 0; i < ROW_COUNT; i++)
        if (weir_bench_target_chosen(&lab, ROWS[i].name)) {
            results[count] = measure(&lab, &ROWS[i]);
            missed += results[count].measured && !results[count].must;
            count++;
        }
    if (count == 0)
        weir_bench_die("--only %s: no such row; see --help", lab.only);
    print_table(results, count);
    return missed ? 1 : 0;
}
