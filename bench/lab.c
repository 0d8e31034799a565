/*
 * Arms as programs, alternated; see lab.h. The command line of these benches is read here too.
 */
#include "bench/lab.h"
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARM_SECONDS_MAX 300
#define ARGV_MAX        48

/* Every arm there is. A peer's program is the file `run` in its folder of build/peers. */
static const struct arm {
    const char *name, *program, *peer;
    bool smoke; /* of bench-smoke: fewer options, "name=value" lines */
    const char *words[5];
} ARMS[] = {
    {.name = "weir", .program = "arm-weir"},
    {.name = "weir-emit", .program = "arm-weir", .words = {"--mode", "emit"}},
    {.name = "weir-emit-once",
     .program = "arm-weir",
     .words = {"--mode", "emit", "--set", "weir.delivery=exactly-once"}},
    {.name = "loop", .program = "arm-loop", .words = {"--mode", "plain"}},
    {.name = "loop-once", .program = "arm-loop", .words = {"--mode", "transactions"}},
    {.name = "sleepers", .program = "arm-sleepers"},
    {.name = "rebalance", .program = "arm-rebalance"},
    {.name = "raw", .program = "arm-raw", .words = {"--mode", "ours"}},
    {.name = "raw-defaults", .program = "arm-raw", .words = {"--mode", "defaults"}},
    {.name = "raw-glibc", .program = "arm-raw-glibc", .words = {"--mode", "ours"}},
    {.name = "raw-glibc-defaults", .program = "arm-raw-glibc", .words = {"--mode", "defaults"}},
    {.name = "flight", .program = "bench-smoke", .smoke = true, .words = {"--arm", "flight"}},
    {.name = "bare", .program = "bench-smoke", .smoke = true, .words = {"--arm", "bare"}},
    {.name = "franz-go", .peer = "franz-go"},
    {.name = "parallel-consumer", .peer = "java", .words = {"--mode", "key"}},
    {.name = "parallel-consumer-unordered", .peer = "java", .words = {"--mode", "unordered"}},
    {.name = "java", .peer = "java", .words = {"--mode", "plain"}},
    {.name = "rust", .peer = "rust-rdkafka"},
};

static const struct arm *find_arm(const char *name)
{
    for (size_t i = 0; i < sizeof ARMS / sizeof ARMS[0]; i++)
        if (strcmp(ARMS[i].name, name) == 0)
            return &ARMS[i];
    weir_bench_die("no such arm: %s", name);
}

/* Is `name` one of the words of `list`, which commas part? */
static bool listed(const char *list, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = list; at; at = strchr(at, ','), at = at ? at + 1 : NULL)
        if (strncmp(at, name, length) == 0 && (at[length] == '\0' || at[length] == ','))
            return true;
    return false;
}

/* ---- the command line ---- */

static void print_help(const struct weir_bench_about *about)
{
    printf("usage: ./dev bench %s [OPTION...]\n\n%s\n\n", about->name, about->question);
    printf("  --messages N      messages of a run (1000..50000000, default %llu)\n"
           "  --runs N          alternated runs (1..%d, default %llu)\n"
           "  --only NAME       one row or case\n"
           "  --arms NAME,...   only these arms, where they are alternatives\n"
           "  --help            this text\n\n"
           "Standard output gets a JSON line a run and a result; tables go to standard error.\n",
           (unsigned long long)about->messages, WEIR_BENCH_RUNS_MAX, (unsigned long long)about->runs);
    if (about->print_rows)
        about->print_rows(stdout);
}

/* What the bench's script must build before: one name a line. */
static void print_needed(const struct weir_bench_lab *lab)
{
    for (const char *const *peer = lab->about->peers; peer && *peer; peer++)
        for (size_t i = 0; i < sizeof ARMS / sizeof ARMS[0]; i++)
            if (ARMS[i].peer && strcmp(ARMS[i].peer, *peer) == 0 && weir_bench_lab_wants(lab, ARMS[i].name)) {
                puts(*peer);
                break;
            }
}

static uint64_t number(const char *name, uint64_t min, uint64_t max)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(optarg, &end, 10);
    if (errno == 0 && end != optarg && *end == '\0' && optarg[0] != '-' && value >= min && value <= max)
        return value;
    fprintf(stderr, "bench: --%s=%s: must be %llu..%llu\n", name, optarg, (unsigned long long)min,
            (unsigned long long)max);
    exit(2);
}

static void find_programs(struct weir_bench_lab *lab)
{
    ssize_t length = readlink("/proc/self/exe", lab->programs, sizeof lab->programs - 1);
    if (length <= 0)
        weir_bench_die("/proc/self/exe cannot be read");
    lab->programs[length] = '\0';
    *strrchr(lab->programs, '/') = '\0';
}

void weir_bench_lab_open(struct weir_bench_lab *lab, const struct weir_bench_about *about, int argc, char **argv)
{
    static const struct option options[] = {
        {"bootstrap", required_argument, NULL, 'b'},
        {"messages", required_argument, NULL, 'm'},
        {"runs", required_argument, NULL, 'r'},
        {"only", required_argument, NULL, 'o'},
        {"arms", required_argument, NULL, 'a'},
        {"peers", required_argument, NULL, 'p'},
        {"peers-needed", no_argument, NULL, 'n'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    bool needed = false;
    *lab = (struct weir_bench_lab){.about = about, .messages = about->messages, .runs = about->runs, .peers = ""};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
        switch (option) {
        case 'b':
            lab->bootstrap = optarg;
            break;
        case 'm':
            lab->messages = number("messages", 1000, 50000000);
            break;
        case 'r':
            lab->runs = number("runs", 1, WEIR_BENCH_RUNS_MAX);
            break;
        case 'o':
            lab->only = optarg;
            break;
        case 'a':
            lab->arms = optarg;
            break;
        case 'p':
            lab->peers = optarg;
            break;
        case 'n':
            needed = true;
            break;
        case 'h':
            print_help(about);
            exit(0);
        default:
            exit(2);
        }
    if (needed) {
        print_needed(lab);
        exit(0);
    }
    if (!lab->bootstrap || optind < argc) {
        fprintf(stderr, "bench: give --bootstrap HOST:PORT and no operands; try --help\n");
        exit(2);
    }
    find_programs(lab);
    fprintf(stderr, "%s: %s\n", about->name, about->question);
}

bool weir_bench_lab_wants(const struct weir_bench_lab *lab, const char *arm)
{
    return !lab->arms || listed(lab->arms, arm);
}

void weir_bench_lab_topic(const struct weir_bench_lab *lab, struct weir_bench_topic *topic, char *name, size_t size)
{
    snprintf(name, size, "weir-bench-%llu-%zu-%d-%llu-%.1f-%u-%u", (unsigned long long)topic->messages,
             topic->value_size, topic->partitions, (unsigned long long)topic->keys, topic->zipf, topic->hot_percent,
             topic->batch);
    topic->name = name;
    weir_bench_topic_fill(lab->bootstrap, topic);
}

/* ---- an arm's process ---- */

struct command {
    const char *argv[ARGV_MAX];
    size_t count;
    char program[768], numbers[8][24];
    size_t number_count;
};

static void say(struct command *command, const char *word)
{
    if (command->count + 1 == ARGV_MAX)
        weir_bench_die("an arm's command line is too long: raise ARGV_MAX");
    command->argv[command->count++] = word;
}

static void say_number(struct command *command, const char *name, uint64_t value)
{
    char *text = command->numbers[command->number_count++];
    snprintf(text, sizeof command->numbers[0], "%llu", (unsigned long long)value);
    say(command, name);
    say(command, text);
}

static uint64_t messages_of(const struct weir_bench_trial *trial)
{
    return trial->messages ? trial->messages : trial->topic->messages;
}

static void compose(const struct weir_bench_lab *lab, const struct weir_bench_trial *trial, struct command *command)
{
    const struct arm *arm = find_arm(trial->arm);
    *command = (struct command){0};
    if (arm->peer)
        snprintf(command->program, sizeof command->program, "%s/%s/run", lab->peers, arm->peer);
    else
        snprintf(command->program, sizeof command->program, "%s/%s", lab->programs, arm->program);
    say(command, command->program);
    for (size_t i = 0; arm->words[i]; i++)
        say(command, arm->words[i]);
    say(command, "--bootstrap");
    say(command, lab->bootstrap);
    say(command, "--topic");
    say(command, trial->topic->name);
    say_number(command, "--partitions", (uint64_t)trial->topic->partitions);
    say_number(command, "--messages", arm->smoke ? trial->topic->messages : messages_of(trial));
    if (!arm->smoke)
        say_number(command, "--keys", trial->topic->keys);
    for (size_t i = 0; i < WEIR_BENCH_WORDS_MAX && trial->words[i]; i++)
        say(command, trial->words[i]);
}

static pid_t spawn(const struct command *command, int *output)
{
    int ends[2];
    if (pipe(ends) != 0)
        weir_bench_die("pipe: %s", strerror(errno));
    fflush(NULL);
    pid_t child = fork();
    if (child < 0)
        weir_bench_die("fork: %s", strerror(errno));
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        execv(command->program, (char *const *)command->argv); /* execv does not write to them */
        _exit(127);
    }
    close(ends[1]);
    *output = ends[0];
    return child;
}

/* The end of what an arm writes; false where it takes too long. */
static bool read_end(int output, char *text, size_t size)
{
    uint64_t deadline_ns = weir_bench_now_ns() + ARM_SECONDS_MAX * 1000000000ull;
    size_t used = 0;
    for (;;) {
        uint64_t now_ns = weir_bench_now_ns();
        struct pollfd ready = {.fd = output, .events = POLLIN};
        if (now_ns >= deadline_ns || poll(&ready, 1, (int)((deadline_ns - now_ns) / 1000000) + 1) == 0)
            return false;
        if (used == size - 1) { /* only its end matters */
            memmove(text, text + size / 2, used - size / 2);
            used -= size / 2;
        }
        ssize_t got = read(output, text + used, size - 1 - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        used += (size_t)got;
    }
    while (used > 0 && text[used - 1] == '\n')
        used--;
    text[used] = '\0';
    return true;
}

/* ---- what it said ---- */

/* Where the value of `name` begins, be it "name": value or name=value; NULL where it is not. */
static const char *value_of(const struct weir_bench_sample *sample, const char *name)
{
    char quoted[64];
    snprintf(quoted, sizeof quoted, sample->text[0] == '{' ? "\"%s\":" : "\n%s=", name);
    const char *at = strstr(sample->text, quoted);
    return at ? at + strlen(quoted) : NULL;
}

double weir_bench_sample_number(const struct weir_bench_sample *sample, const char *name)
{
    const char *value = value_of(sample, name);
    return value ? strtod(value, NULL) : NAN;
}

void weir_bench_sample_text(const struct weir_bench_sample *sample, const char *name, char *text, size_t size)
{
    const char *value = value_of(sample, name);
    value = value ? strchr(value, '"') : NULL;
    size_t length = value ? strcspn(value + 1, "\"") : 0;
    snprintf(text, size, "%.*s", (int)length, value ? value + 1 : "");
}

static bool read_sample(struct weir_bench_sample *sample, const struct rusage *usage, const char *output)
{
    const char *last = strrchr(output, '\n');
    last = last ? last + 1 : output;
    double cpu_ns = (double)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1e9 +
                    (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) * 1e3;
    if (last[0] != '{') {
        snprintf(sample->text, sizeof sample->text, "\n%s", output);
        sample->rate = weir_bench_sample_number(sample, "rate");
        sample->cpu_ns_each = weir_bench_sample_number(sample, "cpu_ns_each");
        sample->messages = sample->seconds = NAN;
        return isfinite(sample->rate);
    }
    snprintf(sample->text, sizeof sample->text, "%s", last);
    sample->messages = weir_bench_sample_number(sample, "messages");
    sample->seconds = weir_bench_sample_number(sample, "seconds");
    sample->rate = sample->messages / sample->seconds;
    double handled = weir_bench_sample_number(sample, "handled"); /* before time began to count, too */
    sample->cpu_ns_each = cpu_ns / (isfinite(handled) ? handled : sample->messages);
    return isfinite(sample->rate) && isfinite(sample->cpu_ns_each);
}

/* A peer that could not be built has a file that says why instead of a program. */
static bool is_there(const struct weir_bench_lab *lab, struct weir_bench_trial *trial, const struct command *command)
{
    if (access(command->program, X_OK) == 0)
        return true;
    char path[768], why[128] = "has not been built";
    snprintf(path, sizeof path, "%s/%s/missing", lab->peers, find_arm(trial->arm)->peer);
    FILE *file = find_arm(trial->arm)->peer ? fopen(path, "r") : NULL;
    if (file) {
        if (fgets(why, sizeof why, file))
            why[strcspn(why, "\n")] = '\0';
        fclose(file);
    }
    snprintf(trial->missing, sizeof trial->missing, "%s", why);
    return false;
}

static void print_sample(const struct weir_bench_lab *lab, const struct weir_bench_trial *trial, size_t run)
{
    const struct weir_bench_sample *sample = &trial->samples[trial->count - 1];
    printf("{\"bench\": \"%s\", \"arm\": \"%s\", \"topic\": \"%s\", \"run\": %zu, \"messages_per_second\": %.0f",
           lab->about->name, trial->label ? trial->label : trial->arm, trial->topic->name, run + 1, sample->rate);
    if (isfinite(sample->cpu_ns_each))
        printf(", \"cpu_ns_each\": %.1f", sample->cpu_ns_each);
    if (sample->text[0] == '{')
        printf(", \"said\": %s", sample->text);
    puts("}");
    fflush(stdout);
}

/* False where it took too long, and was ended. */
static bool run_command(const struct command *command, char *output, size_t size, int *status, struct rusage *usage)
{
    int end;
    pid_t child = spawn(command, &end);
    bool in_time = read_end(end, output, size);
    if (!in_time)
        kill(child, SIGKILL);
    close(end);
    if (wait4(child, status, 0, usage) != child)
        weir_bench_die("wait4: %s", strerror(errno));
    return in_time;
}

static void run_once(const struct weir_bench_lab *lab, struct weir_bench_trial *trial, size_t run)
{
    char output[2000]; /* less than a sample holds */
    struct command command;
    struct rusage usage;
    int status;
    compose(lab, trial, &command);
    if (trial->left_out || trial->missing[0] || !is_there(lab, trial, &command))
        return;
    if (!run_command(&command, output, sizeof output, &status, &usage))
        snprintf(trial->missing, sizeof trial->missing, "run %zu took longer than %d s", run + 1, ARM_SECONDS_MAX);
    else if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        snprintf(trial->missing, sizeof trial->missing, "run %zu failed (wait status 0x%x)", run + 1, (unsigned)status);
    else if (!read_sample(&trial->samples[trial->count], &usage, output))
        snprintf(trial->missing, sizeof trial->missing, "run %zu said nothing that can be read", run + 1);
    else {
        trial->count++;
        print_sample(lab, trial, run);
    }
}

/* Once, for nobody: who reads a topic first pays for what the broker has not read, nor compiled, yet. */
static void warm_up(const struct weir_bench_lab *lab, const struct weir_bench_trial *trial)
{
    char output[2000];
    struct command command;
    struct rusage usage;
    int status;
    compose(lab, trial, &command);
    if (!trial->left_out && access(command.program, X_OK) == 0)
        (void)run_command(&command, output, sizeof output, &status, &usage); /* its first run tells what is wrong */
}

void weir_bench_lab_run(const struct weir_bench_lab *lab, struct weir_bench_trial *trials, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (i == 0 || trials[i].topic != trials[i - 1].topic)
            warm_up(lab, &trials[i]);
    for (size_t run = 0; run < lab->runs; run++)
        for (size_t i = 0; i < count; i++)
            run_once(lab, &trials[(run + i) % count], run);
    for (size_t i = 0; i < count; i++)
        if (trials[i].missing[0])
            fprintf(stderr, "%s: not measured: %s\n", trials[i].arm, trials[i].missing);
}

/* ---- values ---- */

double weir_bench_rate(const struct weir_bench_sample *sample)
{
    return sample->rate;
}

double weir_bench_cpu_ns_each(const struct weir_bench_sample *sample)
{
    return sample->cpu_ns_each;
}

size_t weir_bench_each(const struct weir_bench_trial *trial, weir_bench_quantity *quantity, double *values)
{
    for (size_t i = 0; i < trial->count; i++)
        values[i] = quantity(&trial->samples[i]);
    return trial->count;
}

/* A trial that failed once has no further runs, so that equal indexes are of one run. */
size_t weir_bench_ratios(const struct weir_bench_trial *over, const struct weir_bench_trial *under,
                         weir_bench_quantity *quantity, double *values)
{
    size_t count = over->count < under->count ? over->count : under->count;
    for (size_t i = 0; i < count; i++)
        values[i] = quantity(&over->samples[i]) / quantity(&under->samples[i]);
    return count;
}

size_t weir_bench_differences(const struct weir_bench_trial *from, const struct weir_bench_trial *minus,
                              weir_bench_quantity *quantity, double *values)
{
    size_t count = from->count < minus->count ? from->count : minus->count;
    for (size_t i = 0; i < count; i++)
        values[i] = quantity(&from->samples[i]) - quantity(&minus->samples[i]);
    return count;
}

static void print_row(const struct weir_bench_trial *trial, const struct weir_bench_trial *first)
{
    double rates[WEIR_BENCH_RUNS_MAX], costs[WEIR_BENCH_RUNS_MAX], ratios[WEIR_BENCH_RUNS_MAX];
    const char *label = trial->label ? trial->label : trial->arm;
    size_t count = weir_bench_each(trial, weir_bench_rate, rates);
    if (trial->left_out)
        return;
    if (count == 0) {
        fprintf(stderr, "  %-28s not measured: %s\n", label, trial->missing);
        return;
    }
    double low = rates[0], high = rates[0];
    for (size_t i = 1; i < count; i++) {
        low = rates[i] < low ? rates[i] : low;
        high = rates[i] > high ? rates[i] : high;
    }
    weir_bench_each(trial, weir_bench_cpu_ns_each, costs);
    size_t paired = weir_bench_ratios(trial, first, weir_bench_rate, ratios);
    double cost = weir_bench_median(costs, count);
    char text[24] = "-"; /* an arm that does not say it */
    if (isfinite(cost))
        snprintf(text, sizeof text, "%.0f", cost);
    fprintf(stderr, "  %-28s %11.0f %9.2f %10s    %.0f..%.0f\n", label, weir_bench_median(rates, count),
            weir_bench_median(ratios, paired), text, low, high);
}

void weir_bench_lab_table(const char *title, const struct weir_bench_trial *trials, size_t count)
{
    char said[256], settings[512];
    fprintf(stderr, "\n%s\n  %-28s %11s %9s %10s    %s\n", title, "arm", "messages/s", "x first", "CPU ns each",
            "lowest..highest");
    for (size_t i = 0; i < count; i++)
        print_row(&trials[i], &trials[0]);
    for (size_t i = 0; i < count; i++) {
        if (trials[i].count == 0)
            continue;
        weir_bench_sample_text(&trials[i].samples[0], "version", said, sizeof said);
        weir_bench_sample_text(&trials[i].samples[0], "settings", settings, sizeof settings);
        if (said[0])
            fprintf(stderr, "  %s: %s; %s\n", trials[i].label ? trials[i].label : trials[i].arm, said, settings);
    }
}
