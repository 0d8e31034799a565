/*
 * What benches that compare have in common: arms that are programs, alternated runs, JSON lines, tables.
 *
 * A trial is one arm on one topic. A run is each trial once, one after the other; the next run begins with another
 * trial, so that no arm always has the machine's good seconds. Every run is kept and shown, and ratios are made within
 * a run, where the machine was the same for both.
 *
 * An arm is a program of ours (bench/arms), the smoke bench's, or a peer's (bench/peers, built into build/peers). It
 * takes its options from the command line and says what it measured in the last line of its output, one flat JSON
 * object: messages and the seconds that they took, cpu_seconds, version, settings, and what else it knows. What it cost
 * is taken from the kernel's account of the whole process, start and end included, over all messages it has handled:
 * `handled` where it says so, as time may begin to count after the first, else `messages`.
 *
 * Thread: main.
 */
#ifndef WEIR_BENCH_LAB_H
#define WEIR_BENCH_LAB_H

#include "bench/common.h"

#define WEIR_BENCH_WORDS_MAX  16
#define WEIR_BENCH_TRIALS_MAX 12

/* What a bench of this kind is; all of it static. */
struct weir_bench_about {
    const char *name, *question;
    uint64_t messages, runs;    /* unless the command line says otherwise */
    const char *const *peers;   /* that it may run, NULL-terminated; NULL: none */
    void (*print_rows)(FILE *); /* for --help: what --only may name; NULL: nothing */
};

struct weir_bench_lab {
    const struct weir_bench_about *about;
    const char *bootstrap, *only, *arms; /* arms: names with commas between; NULL: all */
    const char *peers;                   /* where they have been built */
    uint64_t messages, runs;
    char programs[512]; /* the folder of our own programs */
};

/* What one run of an arm gave. */
struct weir_bench_sample {
    double messages, seconds, rate; /* as it said itself; rate: messages a second */
    double cpu_ns_each;             /* of the whole process, by the kernel's account */
    char text[2048];                /* its last line, or "name=value" lines */
};

struct weir_bench_trial {
    const char *label; /* NULL: the arm's name */
    const char *arm;
    const struct weir_bench_topic *topic;
    bool left_out;                           /* not asked for: no word about it */
    uint64_t messages;                       /* to handle; 0: all that the topic holds */
    const char *words[WEIR_BENCH_WORDS_MAX]; /* more of its command line, NULL-terminated */
    /* set by weir_bench_lab_run */
    struct weir_bench_sample samples[WEIR_BENCH_RUNS_MAX];
    size_t count;
    char missing[160]; /* why there are no samples, or no more */
};

/** Read the command line, and print the question. `--help` and `--peers-needed` are answered here and end the bench. */
void weir_bench_lab_open(struct weir_bench_lab *lab, const struct weir_bench_about *about, int argc, char **argv);
/** Is this arm among those that --arms named? */
bool weir_bench_lab_wants(const struct weir_bench_lab *lab, const char *arm);
/** Make and fill a topic. `name` is written for it, and must live as long as the topic. */
void weir_bench_lab_topic(const struct weir_bench_lab *lab, struct weir_bench_topic *topic, char *name, size_t size);
/** Run the trials in turn, as often as the lab says. An arm that cannot run says why in `missing`. */
void weir_bench_lab_run(const struct weir_bench_lab *lab, struct weir_bench_trial *trials, size_t count);

/** A number that an arm said; NAN where it did not. */
double weir_bench_sample_number(const struct weir_bench_sample *sample, const char *name);
/** A text that it said; "" where it did not. */
void weir_bench_sample_text(const struct weir_bench_sample *sample, const char *name, char *text, size_t size);

/* What is read from a sample. */
typedef double weir_bench_quantity(const struct weir_bench_sample *sample);
double weir_bench_rate(const struct weir_bench_sample *sample);
double weir_bench_cpu_ns_each(const struct weir_bench_sample *sample);

/** That of each run, into `values`; returns how many. */
size_t weir_bench_each(const struct weir_bench_trial *trial, weir_bench_quantity *quantity, double *values);
/** Quotients, or differences, of two trials run by run. */
size_t weir_bench_ratios(const struct weir_bench_trial *over, const struct weir_bench_trial *under,
                         weir_bench_quantity *quantity, double *values);
size_t weir_bench_differences(const struct weir_bench_trial *from, const struct weir_bench_trial *minus,
                              weir_bench_quantity *quantity, double *values);

/** To standard error: median rate and cost of each trial, and its rate as a multiple of the first's. */
void weir_bench_lab_table(const char *title, const struct weir_bench_trial *trials, size_t count);

#endif
