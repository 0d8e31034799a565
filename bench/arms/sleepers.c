/*
 * Arm: as many threads as are asked for that sleep, again and again, and nothing between: what a machine lets blocking
 * handlers reach of in flight / latency, whoever calls them. Linked and started like the arms that do more.
 *
 * Thread: main measures, the others sleep.
 */
#include "bench/arms/arm.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define SAMPLE_NS 500000u

static struct {
    struct weir_bench_job job;
    _Atomic uint64_t count, slept_ns;
} arm;

static void *sleep_on(void *unused)
{
    struct timespec time = {.tv_sec = (time_t)(arm.job.work_us / 1000000u),
                            .tv_nsec = (long)(arm.job.work_us % 1000000u * 1000u)};
    for (;;) {
        uint64_t begin_ns = weir_bench_now_ns();
        struct timespec rest = time;
        while (nanosleep(&rest, &rest) != 0 && errno == EINTR)
            continue;
        atomic_fetch_add_explicit(&arm.slept_ns, weir_bench_now_ns() - begin_ns, memory_order_relaxed);
        atomic_fetch_add_explicit(&arm.count, 1, memory_order_relaxed);
    }
    return NULL;
}

static void start(void)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 128 * 1024);
    for (uint64_t i = 0; i < arm.job.in_flight; i++) {
        pthread_t thread;
        if (pthread_create(&thread, &attributes, sleep_on, NULL) != 0)
            weir_bench_die("sleepers: thread %llu could not be made", (unsigned long long)i);
        pthread_detach(thread);
    }
    pthread_attr_destroy(&attributes);
}

int main(int argc, char **argv)
{
    uint64_t begin_ns, begin, now_ns, count;
    weir_bench_job_read(&arm.job, argc, argv);
    prctl(PR_SET_TIMERSLACK, 1); /* inherited, as in the arm of Weir */
    start();
    while ((begin = atomic_load(&arm.count)) == 0)
        weir_bench_sleep_until_ns(weir_bench_now_ns() + SAMPLE_NS);
    begin_ns = weir_bench_now_ns();
    do {
        weir_bench_sleep_until_ns(weir_bench_now_ns() + SAMPLE_NS);
        now_ns = weir_bench_now_ns();
        count = atomic_load(&arm.count);
    } while (count < arm.job.messages);
    weir_bench_job_say(&arm.job, count - begin, (double)(now_ns - begin_ns) / 1e9, "nanosleep", "threads that sleep,");
    weir_bench_job_say_number("slept_us_mean", (double)atomic_load(&arm.slept_ns) / 1e3 / (double)count);
    weir_bench_job_say_end();
    fflush(stdout);
    _exit(0); /* the others sleep on */
}
