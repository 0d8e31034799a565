/*
 * Runs chaos scenarios, each in a child process, and says in one line of JSON for each what came of it.
 *
 * Usage: test-chaos [--minutes N] [--scenario NAME]... [--seed N] [--report FILE] [--progress DESCRIPTOR] [--list]
 *   Without --minutes each scenario runs once, in its short form. With it they run in their long form, one after the
 *   other and from the start again with new seeds, until the time is up.
 *   --seed: of the first round; the scenario's choices follow from it. What processes make of them does not.
 *   --report: the table between the markers of FILE is written anew.
 *
 * The last line is "N passed, M failed". Thread: one.
 */
#include "tests/chaos/scenario.h"
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SCENARIOS_MAX = 64 };

struct options {
    unsigned minutes;
    uint64_t seed;
    const char *report;
    const char *wanted[SCENARIOS_MAX];
    size_t wanted_count;
};

/* One scenario over all its runs. */
struct line {
    const struct weir_scenario *scenario;
    struct weir_chaos_result sum;
    uint64_t seed; /* of the first run, or of the one that failed */
};

static struct weir_chaos_result *shared; /* the child writes, we read */
static FILE *progress;

/* ---- assertions outside of a test framework ---- */

/* In the child: what fails an assertion ends the run; its members end with it. */
_Noreturn void weir_test_fail(const char *file, int line, const char *condition, const char *format, ...)
{
    char text[384];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(stderr, "%s:%d: %s:%s\n", file, line, condition, text);
    weir_subject_show_log();
    if (shared)
        weir_chaos_blame(shared, "%s:%d: %s:%s", file, line, condition, text);
    _exit(1);
}

/* ---- one run ---- */

static uint64_t now_s(void)
{
    return weir_broker_now_ms() / 1000;
}

static _Noreturn void run_child(const struct weir_scenario *scenario, const struct options *options, uint64_t seed,
                                pid_t parent)
{
    static struct weir_scene scene;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    scene.scenario = scenario;
    scene.large = options->minutes > 0;
    scene.size = scene.large ? scenario->large : scenario->small;
    scene.seed = seed;
    scene.result = shared;
    scenario->run(&scene);
    weir_broker_stop();
    _exit(shared->ok ? 0 : 1);
}

/* A scenario that failed may have left the shared broker stopped or dead. */
static void mend_broker(void)
{
    const char *control = getenv("WEIR_TEST_KAFKA_CONTROL");
    char command[1024];
    if (!control)
        return;
    snprintf(command, sizeof command, "%s restart >/dev/null 2>&1", control);
    if (system(command) != 0)
        fprintf(stderr, "the broker could not be restarted\n");
}

static void await_child(pid_t child, uint64_t limit_s)
{
    uint64_t until_s = now_s() + limit_s;
    int status;
    while (waitpid(child, &status, WNOHANG) == 0) {
        weir_broker_pause_briefly();
        if (now_s() >= until_s && limit_s > 0) {
            weir_chaos_blame(shared, "the run took longer than %" PRIu64 " s", limit_s);
            kill(child, SIGKILL); /* and with it, its members */
            waitpid(child, &status, 0);
            break;
        }
    }
    bool clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!clean && shared->ok)
        weir_chaos_blame(shared, "the run ended with wait status %d", status);
    if (!clean)
        mend_broker();
}

static void run_once(struct line *line, const struct options *options, uint64_t seed)
{
    const struct weir_scenario *scenario = line->scenario;
    const struct weir_scenario_size *size = options->minutes > 0 ? &scenario->large : &scenario->small;
    *shared = (struct weir_chaos_result){.ok = true};
    fprintf(stderr, "== %s, seed %" PRIu64 "\n", scenario->name, seed);
    pid_t parent = getpid(), child = fork();
    if (child == 0)
        run_child(scenario, options, seed, parent);
    if (child < 0)
        weir_chaos_blame(shared, "fork failed");
    else
        await_child(child, 4ull * size->seconds + 60);
    shared->runs = 1;
    if (line->sum.ok)
        line->seed = line->sum.runs == 0 || !shared->ok ? seed : line->seed;
    weir_chaos_add(&line->sum, shared);
    fprintf(progress, "chaos: %s, seed %" PRIu64 ": %s%s\n", scenario->name, seed,
            shared->ok ? "ok" : "FAILED: ", shared->text);
    fflush(progress);
}

/* ---- what came of it ---- */

static void print_text(const char *text)
{
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            putchar('\\');
        putchar((unsigned char)*text < 32 ? ' ' : *text);
    }
}

static void print_line(const struct line *line)
{
    const struct weir_chaos_result *sum = &line->sum;
    printf("{\"scenario\":\"%s\",\"seed\":%" PRIu64 ",\"runs\":%" PRIu64 ",\"messages\":%" PRIu64
           ",\"disturbances\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"out_of_order\":%" PRIu64 ",\"overlaps\":%" PRIu64
           ",\"overlaps_involuntary\":%" PRIu64 ",\"duplicates\":%" PRIu64 ",\"duplicates_bound\":%" PRIu64
           ",\"stragglers\":%" PRIu64 ",\"longest_stall_ms\":%" PRIu64 ",\"recovery_ms\":%" PRIu64
           ",\"close_ms\":%" PRIu64 ",\"ok\":%s",
           line->scenario->name, line->seed, sum->runs, sum->messages, sum->disturbances, sum->lost, sum->out_of_order,
           sum->overlaps, sum->overlaps_involuntary, sum->duplicates, sum->duplicates_bound, sum->stragglers,
           sum->longest_stall_ms, sum->recovery_ms, sum->close_ms, sum->ok ? "true" : "false");
    if (sum->resident_bytes_bound > 0)
        printf(",\"resident_bytes\":%" PRIu64 ",\"resident_bytes_bound\":%" PRIu64, sum->resident_bytes_max,
               sum->resident_bytes_bound);
    if (!sum->ok) {
        printf(",\"why\":\"");
        print_text(sum->text);
        printf("\"");
    }
    printf("}\n");
    fflush(stdout);
}

static const char begin_mark[] = "<!-- chaos:begin -->\n", end_mark[] = "<!-- chaos:end -->\n";

static void write_table(FILE *file, const struct line *lines, size_t count, const struct options *options)
{
    char day[32];
    time_t now = time(NULL);
    strftime(day, sizeof day, "%Y-%m-%d", gmtime(&now));
    fprintf(file, "Written on %s by `./dev test chaos --report`%s.\n\n", day,
            options->minutes > 0 ? " with `--minutes`, in the long forms" : ", in the short forms");
    fprintf(file, "| scenario | runs | messages | disturbances | lost | out of order | overlaps | involuntary ones | "
                  "duplicates | their bound | stragglers | longest stall, ms | recovery, ms | close, ms | verdict |\n"
                  "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|\n");
    for (size_t index = 0; index < count; index++) {
        const struct weir_chaos_result *sum = &lines[index].sum;
        if (sum->runs == 0)
            continue;
        fprintf(file,
                "| %s: %s | %" PRIu64 " | %" PRIu64 " | %" PRIu64 " | %" PRIu64 " | %" PRIu64 " | %" PRIu64
                " | %" PRIu64 " | %" PRIu64 " | %" PRIu64 " | %" PRIu64 " | %" PRIu64 " | %" PRIu64 " | %" PRIu64
                " | %s |\n",
                lines[index].scenario->name, lines[index].scenario->what, sum->runs, sum->messages, sum->disturbances,
                sum->lost, sum->out_of_order, sum->overlaps, sum->overlaps_involuntary, sum->duplicates,
                sum->duplicates_bound, sum->stragglers, sum->longest_stall_ms, sum->recovery_ms, sum->close_ms,
                sum->ok ? "holds" : "fails");
    }
}

/* Replace what stands between the marks. */
static bool report(const struct line *lines, size_t count, const struct options *options)
{
    static char text[1 << 20];
    FILE *file = fopen(options->report, "r+");
    size_t size = file ? fread(text, 1, sizeof text - 1, file) : 0;
    char *begin = strstr(text, begin_mark), *end = strstr(text, end_mark);
    if (!file || size == sizeof text - 1 || !begin || !end || end < begin) {
        fprintf(stderr, "%s: cannot be read, or has no marks to write between\n", options->report);
        return false;
    }
    rewind(file);
    fwrite(text, 1, (size_t)(begin - text) + strlen(begin_mark), file);
    write_table(file, lines, count, options);
    fputs(end, file);
    fflush(file);
    bool whole = !ferror(file) && ftruncate(fileno(file), ftell(file)) == 0;
    fclose(file);
    return whole;
}

/* ---- the whole ---- */

static bool is_wanted(const struct options *options, const char *name)
{
    bool wanted = options->wanted_count == 0;
    for (size_t index = 0; index < options->wanted_count; index++)
        wanted |= strcmp(options->wanted[index], name) == 0;
    return wanted;
}

static size_t choose(const struct options *options, struct line *lines)
{
    size_t count = 0;
    for (const struct weir_scenario *scenario = weir_scenarios; scenario->name; scenario++) {
        bool has_form = (options->minutes > 0 || scenario->small.seconds > 0) &&
                        rd_kafka_version() >= scenario->library_version_min;
        if (count < SCENARIOS_MAX && has_form && is_wanted(options, scenario->name))
            lines[count++] = (struct line){.scenario = scenario, .sum.ok = true, .seed = options->seed};
    }
    return count;
}

static void run_all(struct line *lines, size_t count, const struct options *options)
{
    uint64_t until_s = now_s() + 60ull * options->minutes, seed = options->seed;
    do {
        for (size_t index = 0; index < count; index++, seed++) {
            if (options->minutes > 0 && seed > options->seed && now_s() >= until_s)
                return;
            run_once(&lines[index], options, seed);
        }
    } while (options->minutes > 0 && now_s() < until_s);
}

static struct options parse(int argc, char **argv)
{
    struct options options = {.seed = (uint64_t)time(NULL)};
    progress = stderr;
    for (int index = 1; index < argc; index++) {
        const char *name = argv[index], *value = index + 1 < argc ? argv[index + 1] : NULL;
        if (strcmp(name, "--list") == 0) {
            for (const struct weir_scenario *scenario = weir_scenarios; scenario->name; scenario++)
                printf("%-20s %s\n", scenario->name, scenario->what);
            exit(0);
        }
        if (strcmp(name, "--minutes") == 0 && value)
            options.minutes = (unsigned)strtoul(value, NULL, 10);
        else if (strcmp(name, "--seed") == 0 && value)
            options.seed = strtoull(value, NULL, 10);
        else if (strcmp(name, "--report") == 0 && value)
            options.report = value;
        else if (strcmp(name, "--progress") == 0 && value)
            progress = fdopen((int)strtol(value, NULL, 10), "w");
        else if (strcmp(name, "--scenario") == 0 && value && options.wanted_count < SCENARIOS_MAX)
            options.wanted[options.wanted_count++] = value;
        else
            name = NULL;
        if (!name || !progress) {
            fprintf(stderr, "test-chaos: cannot make sense of '%s'; see the top of tests/chaos/main.c\n", argv[index]);
            exit(2);
        }
        index++;
    }
    return options;
}

int main(int argc, char **argv)
{
    static struct line lines[SCENARIOS_MAX];
    struct options options = parse(argc, argv);
    unsigned passed = 0, failed = 0;
    size_t count = choose(&options, lines);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (count == 0 || shared == MAP_FAILED) {
        fprintf(stderr, "test-chaos: no such scenario in this form and with this librdkafka; --list names all\n");
        return 2;
    }
    run_all(lines, count, &options);
    for (size_t index = 0; index < count; index++) {
        if (lines[index].sum.runs == 0)
            continue;
        print_line(&lines[index]);
        passed += lines[index].sum.ok;
        failed += !lines[index].sum.ok;
    }
    if (options.report && !report(lines, count, &options))
        failed++;
    printf("%u passed, %u failed\n", passed, failed);
    return failed > 0 || passed == 0;
}
