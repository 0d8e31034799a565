/*
 * Arm: how long does a partition go without work when a member joins the group, and when it leaves?
 *
 * arm-pace sends all the while. One consumer reads; a third into the measured time a second one joins its group, and at
 * two thirds it is closed. Of each partition the longest time between two handled messages is kept, apart for the three
 * parts: before (what the sender's rate and the machine make of it), join, leave.
 *
 * Thread: main; handlers note times, several of a partition at once, whence the atomics.
 */
#include "bench/arms/consumer.h"
#include "bench/arms/pace.h"
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define PARTS 3

struct partition {
    _Alignas(64) _Atomic uint64_t last_ns;
    _Atomic uint64_t longest_ns[PARTS];
};

static struct arm {
    struct weir_bench_job job;
    struct weir_bench_pace pace;
    struct partition *partitions;
    _Atomic unsigned part;
    _Atomic uint64_t handled;
} arm;

static void keep_longest(_Atomic uint64_t *longest, uint64_t ns)
{
    uint64_t seen = atomic_load(longest);
    while (ns > seen && !atomic_compare_exchange_weak(longest, &seen, ns))
        continue;
}

static enum weir_outcome on_message(struct weir_message *message, void *user)
{
    struct partition *partition = &arm.partitions[weir_message_partition(message)];
    uint64_t now_ns = weir_bench_now_ns(), last_ns = atomic_exchange(&partition->last_ns, now_ns);
    if (now_ns >= arm.pace.begin_ns && last_ns != 0 && now_ns > last_ns)
        keep_longest(&partition->longest_ns[atomic_load(&arm.part)], now_ns - last_ns);
    atomic_fetch_add(&arm.handled, 1);
    return WEIR_ACK;
}

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

/* The longest of all partitions, and that of the one at a quarter: half of them stay with their member. */
static void say_part(const char *name, unsigned part)
{
    char number[48];
    size_t count = (size_t)arm.job.partitions;
    uint64_t *ns = malloc(count * sizeof *ns);
    if (!ns)
        weir_bench_die("memory is too short for %zu times", count);
    for (size_t i = 0; i < count; i++)
        ns[i] = atomic_load(&arm.partitions[i].longest_ns[part]);
    qsort(ns, count, sizeof *ns, compare);
    snprintf(number, sizeof number, "%s_ms_max", name);
    weir_bench_job_say_number(number, (double)ns[count - 1] / 1e6);
    snprintf(number, sizeof number, "%s_ms_quarter", name);
    weir_bench_job_say_number(number, (double)ns[count / 4] / 1e6);
    free(ns);
}

int main(int argc, char **argv)
{
    char group[64], version[96];
    weir_bench_job_read(&arm.job, argc, argv);
    if (arm.job.seconds < PARTS)
        weir_bench_die("arm-rebalance: --seconds must be at least %d", PARTS);
    size_t size = (size_t)arm.job.partitions * sizeof *arm.partitions;
    arm.partitions = aligned_alloc(_Alignof(struct partition), size);
    if (!arm.partitions)
        weir_bench_die("memory is too short for %d partitions", arm.job.partitions);
    for (int i = 0; i < arm.job.partitions; i++)
        arm.partitions[i] = (struct partition){0};
    weir_bench_pace_start(&arm.pace, &arm.job);
    weir_bench_arm_group(group, sizeof group);
    uint64_t third_ns = arm.job.seconds * 1000000000ull / PARTS;
    struct weir_consumer *stays = weir_bench_arm_consumer(&arm.job, group, arm.job.workers, on_message, NULL);
    weir_bench_sleep_until_ns(arm.pace.begin_ns + third_ns);
    atomic_store(&arm.part, 1);
    struct weir_consumer *comes = weir_bench_arm_consumer(&arm.job, group, arm.job.workers, on_message, NULL);
    weir_bench_sleep_until_ns(arm.pace.begin_ns + 2 * third_ns);
    atomic_store(&arm.part, 2);
    weir_bench_arm_consumer_stop(comes);
    weir_bench_sleep_until_ns(arm.pace.end_ns);
    snprintf(version, sizeof version, "Weir %s, librdkafka %s, %s", weir_version(), weir_librdkafka_version(),
             WEIR_BENCH_ALLOCATOR);
    weir_bench_job_say(&arm.job, atomic_load(&arm.handled), (double)arm.job.seconds, version,
                       "no-op handler, a member joins and leaves,");
    say_part("before", 0);
    say_part("join", 1);
    say_part("leave", 2);
    weir_bench_pace_stop(&arm.pace);
    weir_bench_arm_consumer_stop(stays);
    weir_bench_job_say_end();
    return 0;
}
