/*
 * The common parts of our own arms; see arm.h.
 */
#include "bench/arms/arm.h"
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Weir's own choice where librdkafka is 2.0; said to both sides, so that only what is above it differs. */
const char *const weir_bench_arm_fetch[][2] = {
    {"fetch.wait.max.ms", "25"},       {"fetch.message.max.bytes", "131072"},   {"fetch.max.bytes", "1048576"},
    {"queued.min.messages", "100000"}, {"queued.max.messages.kbytes", "32768"}, {NULL, NULL},
};

static uint64_t number(const char *name)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(optarg, &end, 10);
    if (errno != 0 || end == optarg || *end != '\0' || optarg[0] == '-')
        weir_bench_die("--%s=%s: must be a number", name, optarg);
    return value;
}

static void take_set(struct weir_bench_job *job)
{
    char *equals = strchr(optarg, '=');
    if (!equals || job->set_count + 1 == WEIR_BENCH_ARM_SETS_MAX)
        weir_bench_die("--set %s: must be NAME=VALUE, at most %d times", optarg, WEIR_BENCH_ARM_SETS_MAX - 1);
    *equals = '\0';
    job->set[job->set_count][0] = optarg;
    job->set[job->set_count++][1] = equals + 1;
}

void weir_bench_job_read(struct weir_bench_job *job, int argc, char **argv)
{
    static const struct option options[] = {
        {"bootstrap", required_argument, NULL, 'b'},
        {"topic", required_argument, NULL, 't'},
        {"mode", required_argument, NULL, 'm'},
        {"partitions", required_argument, NULL, 'p'},
        {"messages", required_argument, NULL, 'n'},
        {"keys", required_argument, NULL, 'k'},
        {"work-us", required_argument, NULL, 'w'},
        {"in-flight", required_argument, NULL, 'f'},
        {"poison-ppm", required_argument, NULL, 'P'},
        {"seconds", required_argument, NULL, 's'},
        {"workers", required_argument, NULL, 'W'},
        {"set", required_argument, NULL, 'S'},
        {NULL, 0, NULL, 0},
    };
    int index;
    *job = (struct weir_bench_job){.mode = "", .workers = 2};
    for (int option; (option = getopt_long(argc, argv, "", options, &index)) != -1;) {
        const char *name = options[index].name;
        switch (option) {
        case 'b':
            job->bootstrap = optarg;
            break;
        case 't':
            job->topic = optarg;
            break;
        case 'm':
            job->mode = optarg;
            break;
        case 'p':
            job->partitions = (int)number(name);
            break;
        case 'n':
            job->messages = number(name);
            break;
        case 'k':
            job->keys = number(name);
            break;
        case 'w':
            job->work_us = number(name);
            break;
        case 'f':
            job->in_flight = number(name);
            break;
        case 'P':
            job->poison_ppm = number(name);
            break;
        case 's':
            job->seconds = number(name);
            break;
        case 'W':
            job->workers = (unsigned)number(name);
            break;
        case 'S':
            take_set(job);
            break;
        default:
            exit(2);
        }
    }
    if (!job->bootstrap || !job->topic || job->partitions <= 0 || job->partitions > 10000)
        weir_bench_die("an arm needs --bootstrap, --topic and --partitions (1..10000)");
}

void weir_bench_job_say(const struct weir_bench_job *job, uint64_t messages, double seconds, const char *version,
                        const char *settings)
{
    printf("{\"messages\": %llu, \"seconds\": %.6f, \"cpu_seconds\": %.3f, \"version\": \"%s\", \"settings\": \"%s",
           (unsigned long long)messages, seconds, (double)weir_bench_cpu_ns() / 1e9, version, settings);
    for (size_t i = 0; i < job->set_count; i++)
        printf(" %s=%s", job->set[i][0], job->set[i][1]);
    putchar('"');
}

void weir_bench_job_say_number(const char *name, double value)
{
    printf(", \"%s\": %.9g", name, value);
}

void weir_bench_job_say_end(void)
{
    puts("}");
    fflush(stdout);
}

/* ---- delays ---- */

/* 64 steps to each doubling above 64 us, one a microsecond below. */
static size_t step_of(uint64_t us)
{
    unsigned doublings = 0;
    for (; us >= 128; us /= 2)
        doublings++;
    size_t step = us < 64 ? (size_t)us : 64 * (size_t)(doublings + 1) + (size_t)(us - 64);
    size_t last = sizeof((struct weir_bench_delays *)0)->counts / sizeof(uint64_t) - 1;
    return step < last ? step : last;
}

static double us_of(size_t step)
{
    return step < 64 ? (double)step : (double)((64 + step % 64) * (1ull << (step / 64 - 1)));
}

void weir_bench_delays_add(struct weir_bench_delays *delays, const void *value, size_t size)
{
    uint64_t intended_ns, now_ns = weir_bench_now_ns();
    if (size < sizeof intended_ns)
        weir_bench_die("a value of %zu bytes holds no time", size);
    memcpy(&intended_ns, value, sizeof intended_ns);
    delays->counts[step_of(now_ns > intended_ns ? (now_ns - intended_ns) / 1000 : 0)]++;
    delays->count++;
}

void weir_bench_delays_merge(struct weir_bench_delays *into, const struct weir_bench_delays *from)
{
    for (size_t i = 0; i < sizeof into->counts / sizeof into->counts[0]; i++)
        into->counts[i] += from->counts[i];
    into->count += from->count;
}

static double quantile(const struct weir_bench_delays *delays, double share)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < sizeof delays->counts / sizeof delays->counts[0]; i++) {
        sum += delays->counts[i];
        if ((double)sum >= share * (double)delays->count)
            return us_of(i);
    }
    return 0;
}

void weir_bench_delays_say(const struct weir_bench_delays *delays)
{
    weir_bench_job_say_number("p50_us", quantile(delays, 0.5));
    weir_bench_job_say_number("p99_us", quantile(delays, 0.99));
    weir_bench_job_say_number("p999_us", quantile(delays, 0.999));
}

void weir_bench_spin_us(uint64_t us)
{
    uint64_t end_ns = weir_bench_now_ns() + us * 1000;
    while (weir_bench_now_ns() < end_ns)
        continue;
}
