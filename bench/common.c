/*
 * Time, numbers, results and arms of the benches. Topics are in topic.c.
 */
#include "bench/common.h"
#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

uint64_t weir_bench_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void weir_bench_sleep_until_ns(uint64_t due_ns)
{
    struct timespec due = {.tv_sec = (time_t)(due_ns / 1000000000u), .tv_nsec = (long)(due_ns % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR)
        continue;
}

uint64_t weir_bench_cpu_ns(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

uint64_t weir_bench_mix(uint64_t seed, uint64_t number)
{
    uint64_t hash = seed + (number + 1) * 0x9e3779b97f4a7c15u; /* splitmix64 */
    hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9u;
    hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebu;
    return hash ^ (hash >> 31);
}

uint64_t weir_bench_resident_bytes(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long long size, resident = 0;
    if (!file || fscanf(file, "%llu %llu", &size, &resident) != 2)
        resident = 0;
    if (file)
        fclose(file);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* jemalloc's, and glibc's: whichever the program is linked with. */
extern int mallctl(const char *name, void *old, size_t *old_size, void *fresh, size_t fresh_size) __attribute__((weak));

void weir_bench_purge_free_pages(void)
{
    if (mallctl)
        mallctl("arena.4096.purge", NULL, NULL, NULL, 0); /* MALLCTL_ARENAS_ALL */
    else
        malloc_trim(0);
}

static int compare_doubles(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

double weir_bench_median(const double *values, size_t count)
{
    double sorted[WEIR_BENCH_RUNS_MAX];
    if (count == 0 || count > WEIR_BENCH_RUNS_MAX)
        return 0;
    memcpy(sorted, values, count * sizeof *values);
    qsort(sorted, count, sizeof *sorted, compare_doubles);
    return count % 2 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

void weir_bench_die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("bench: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

/* ---- results ---- */

static void print_runs(const struct weir_bench_bound *bound)
{
    for (size_t i = 0; i < bound->run_count; i++)
        printf("%s%.4g", i ? ", " : "", bound->runs[i]);
}

void weir_bench_bound(struct weir_bench_report *report, const char *name, double value, const char *relation,
                      double must, const char *unit, const double *runs, size_t run_count)
{
    if (report->count == WEIR_BENCH_BOUNDS_MAX || run_count > WEIR_BENCH_RUNS_MAX)
        weir_bench_die("too many bounds or runs: raise WEIR_BENCH_BOUNDS_MAX or WEIR_BENCH_RUNS_MAX");
    struct weir_bench_bound *bound = &report->bounds[report->count++];
    *bound = (struct weir_bench_bound){
        .relation = relation, .unit = unit, .value = value, .must = must, .run_count = run_count};
    snprintf(bound->name, sizeof bound->name, "%s", name);
    memcpy(bound->runs, runs, run_count * sizeof *runs);
    bound->ok = run_count > 0 && (relation[0] == '<' ? value <= must : value >= must);
    printf("{\"bound\": \"%s\", \"value\": %.6g, \"must\": \"%s %.6g\", \"unit\": \"%s\", \"runs\": [", name, value,
           relation, must, unit);
    print_runs(bound);
    printf("], \"ok\": %s}\n", bound->ok ? "true" : "false");
    fflush(stdout);
}

bool weir_bench_table(const struct weir_bench_report *report)
{
    bool ok = report->count > 0;
    fprintf(stderr, "\n%-34s %12s  %-14s %-8s\n", "bound", "measured", "must be", "");
    for (size_t i = 0; i < report->count; i++) {
        const struct weir_bench_bound *bound = &report->bounds[i];
        fprintf(stderr, "%-34s %8.4g %-4s %s %6.4g %-4s %s\n", bound->name, bound->value, bound->unit, bound->relation,
                bound->must, bound->unit, bound->ok ? "ok" : "MISSED");
        ok = ok && bound->ok;
    }
    return ok;
}

/* ---- arms ---- */

static pid_t spawn(const char *const *arguments, int *output)
{
    int ends[2];
    if (pipe(ends) != 0)
        weir_bench_die("pipe: %s", strerror(errno));
    fflush(NULL);
    pid_t child = fork();
    if (child < 0)
        weir_bench_die("fork: %s", strerror(errno));
    if (child == 0) {
        char *argv[64] = {(char *)"bench"};
        for (size_t i = 0; arguments[i] && i + 2 < sizeof argv / sizeof argv[0]; i++)
            argv[i + 1] = (char *)arguments[i]; /* execv does not write to them */
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        execv("/proc/self/exe", argv);
        _exit(127);
    }
    close(ends[1]);
    *output = ends[0];
    return child;
}

/* All that the arm writes, until it closes its output. Kills it when it takes too long. */
static size_t read_all(int output, char *text, size_t size, pid_t child, unsigned seconds_max)
{
    uint64_t deadline_ns = weir_bench_now_ns() + seconds_max * 1000000000ull;
    size_t used = 0;
    for (;;) {
        uint64_t now_ns = weir_bench_now_ns();
        struct pollfd ready = {.fd = output, .events = POLLIN};
        if (now_ns >= deadline_ns || poll(&ready, 1, (int)((deadline_ns - now_ns) / 1000000) + 1) == 0) {
            kill(child, SIGKILL);
            waitpid(child, NULL, 0);
            weir_bench_die("an arm took longer than %u s", seconds_max);
        }
        ssize_t got = read(output, text + used, size - 1 - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        used += (size_t)got;
    }
    text[used] = '\0';
    return used;
}

static struct weir_bench_result parse(char *text)
{
    struct weir_bench_result result = {0};
    for (char *rest = text, *line; (line = strsep(&rest, "\n"));) {
        char *equals = strchr(line, '=');
        if (!equals || result.count == sizeof result.numbers / sizeof result.numbers[0])
            continue;
        *equals = '\0';
        snprintf(result.numbers[result.count].name, sizeof result.numbers[0].name, "%s", line);
        result.numbers[result.count++].value = strtod(equals + 1, NULL);
    }
    return result;
}

struct weir_bench_result weir_bench_arm(const char *const *arguments, unsigned seconds_max)
{
    char text[8192];
    int output, status;
    pid_t child = spawn(arguments, &output);
    read_all(output, text, sizeof text, child, seconds_max);
    close(output);
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        weir_bench_die("arm %s failed (wait status 0x%x)", arguments[1] ? arguments[1] : "", (unsigned)status);
    return parse(text);
}

double weir_bench_number(const struct weir_bench_result *result, const char *name)
{
    for (size_t i = 0; i < result->count; i++)
        if (strcmp(result->numbers[i].name, name) == 0)
            return result->numbers[i].value;
    weir_bench_die("an arm did not say %s", name);
}

void weir_bench_say(const char *name, double value)
{
    printf("%s=%.9g\n", name, value);
    fflush(stdout);
}
