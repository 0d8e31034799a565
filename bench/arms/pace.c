/*
 * The side of the arm that reads; see pace.h. The one that sends is pace_main.c.
 */
#include "bench/arms/pace.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LATE_NS 10000000000ull

static _Noreturn void become_sender(const struct weir_bench_pace *pace, const struct weir_bench_job *job)
{
    char program[512], partitions[16], rate[24], begin[24], end[24];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - sizeof "arm-pace");
    program[length > 0 ? length : 0] = '\0';
    char *slash = strrchr(program, '/');
    if (slash)
        memcpy(slash + 1, "arm-pace", sizeof "arm-pace");
    snprintf(partitions, sizeof partitions, "%d", job->partitions);
    snprintf(rate, sizeof rate, "%llu", (unsigned long long)job->messages);
    snprintf(begin, sizeof begin, "%llu", (unsigned long long)(pace->begin_ns - WEIR_BENCH_PACE_WARM_NS));
    snprintf(end, sizeof end, "%llu", (unsigned long long)pace->end_ns);
    execl(program, program, job->bootstrap, job->topic, partitions, rate, begin, end, (char *)NULL);
    _exit(127);
}

void weir_bench_pace_start(struct weir_bench_pace *pace, const struct weir_bench_job *job)
{
    pace->begin_ns = weir_bench_now_ns() + WEIR_BENCH_PACE_WARM_NS;
    pace->end_ns = pace->begin_ns + job->seconds * 1000000000ull;
    pace->expected = job->messages * job->seconds;
    pace->child = fork();
    if (pace->child < 0)
        weir_bench_die("fork: %s", strerror(errno));
    if (pace->child == 0)
        become_sender(pace, job);
}

bool weir_bench_pace_counts(const struct weir_bench_pace *pace, const void *value, size_t size)
{
    uint64_t intended_ns = 0;
    memcpy(&intended_ns, value, size < sizeof intended_ns ? size : sizeof intended_ns);
    return intended_ns >= pace->begin_ns && intended_ns < pace->end_ns;
}

bool weir_bench_pace_is_over(const struct weir_bench_pace *pace, uint64_t come)
{
    return come >= pace->expected || weir_bench_now_ns() > pace->end_ns + LATE_NS;
}

void weir_bench_pace_stop(const struct weir_bench_pace *pace)
{
    kill(pace->child, SIGTERM);
    waitpid(pace->child, NULL, 0);
}

void weir_bench_pace_say(const struct weir_bench_pace *pace, const struct weir_bench_delays *delays)
{
    weir_bench_pace_stop(pace);
    weir_bench_delays_say(delays);
    double come = (double)delays->count / (double)pace->expected;
    weir_bench_job_say_number("missing_share", come < 1 ? 1 - come : 0);
}
