/*
 * Goal: a slow handler in front of a large backlog: memory stays within the byte cap, prefetch and a fixed part; while
 * the window is full nothing is fetched, and when it goes on nothing is fetched a second time, however often.
 * Method: a member in a process of its own, whose resident memory the kernel tells. Values are random, so that what is
 * fetched is as large as what is kept. Handlers sleep all the time: at first for so long that all stands still, then
 * for a little, so that four of them take 13 MB/s, a fraction of what a broker hands out. So windows fill again and
 * again, each time after a quarter of a share has drained, whoever is faster on this machine.
 */
#include "tests/broker/stage.h"
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    PARTITIONS = 4,
    VALUE_BYTES = 10000,
    MESSAGES = 12000,
    MB = 1000000,
    CAP_BYTES = 8 * MB,
    WINDOW_BYTES = 2 * MB,
    PREFETCH_BYTES = 3 * MB, /* queued.max.messages.kbytes follows the window; and one message set */
#ifdef __SANITIZE_ADDRESS__
    FIXED_BYTES = 1000 * MB, /* shadow memory, and what is kept of the freed */
#else
    FIXED_BYTES = 40 * MB, /* program, libraries, threads, the allocator's slack */
#endif
    BLOCKED_US = 4000000,
    SLOW_US = 3000,
    PAUSES_MIN =
        20, /* of a partition, on average; some 200 as a rule, and 1 where handlers are faster than the broker */
};

static void make(void *user, size_t index, struct weir_broker_record *record)
{
    static uint64_t value[VALUE_BYTES / sizeof(uint64_t)];
    static uint64_t state = 88172645463325252u;
    for (size_t word = 0; word < sizeof value / sizeof *value; word++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        value[word] = state;
    }
    record->partition = (int32_t)(index % PARTITIONS);
    record->value = value;
    record->value_size = sizeof value;
}

/* A figure of /proc/PID/status in bytes. */
static uint64_t memory_of(pid_t pid, const char *name)
{
    char path[64], line[256];
    uint64_t kilobytes = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file);
    while (fgets(line, sizeof line, file))
        if (strncmp(line, name, strlen(name)) == 0)
            kilobytes = strtoull(line + strlen(name), NULL, 10);
    fclose(file);
    cr_assert_gt(kilobytes, 0u, "%s has no %s", path, name);
    return kilobytes * 1024;
}

static void wait_ms(uint64_t duration_ms)
{
    for (uint64_t until_ms = weir_broker_now_ms() + duration_ms; weir_broker_now_ms() < until_ms;)
        weir_broker_pause_briefly();
}

/* Bytes fetched, once two statistics of librdkafka in a row say the same (to within heartbeats and the like). */
static uint64_t settled_bytes(const struct weir_member_board *board)
{
    enum { NOISE_BYTES = 20000, STATISTICS_MS = 1200 };
    uint64_t before, now = atomic_load(&board->fetched_bytes), deadline_ms = weir_broker_now_ms() + WEIR_BROKER_WAIT_MS;
    do {
        cr_assert_lt(weir_broker_now_ms(), deadline_ms, "fetching goes on: %" PRIu64 " bytes", now);
        before = now;
        wait_ms(STATISTICS_MS);
        now = atomic_load(&board->fetched_bytes);
    } while (now == 0 || now - before > NOISE_BYTES);
    return now;
}

Test(broker_backpressure, a_full_window_stops_fetching_bounds_memory_and_fetches_nothing_twice)
{
    struct weir_stage stage;
    struct weir_member member;
    const uint64_t log_bytes = (uint64_t)MESSAGES * VALUE_BYTES,
                   bound_bytes = CAP_BYTES + PARTITIONS * PREFETCH_BYTES + FIXED_BYTES;
    weir_stage_set(&stage, PARTITIONS, 0);
    weir_broker_produce(stage.topic.text, MESSAGES, make, NULL, NULL);
    weir_member_init(&member);
    atomic_store(&member.board->sleep_us, BLOCKED_US);
    weir_member_start(&member, &stage, -1,
                      WEIR_STAGE_SETTINGS(&stage, "weir.memory.bytes.max", "8000000", "weir.window.bytes.max",
                                          "2000000", "weir.commit.interval.ms", "1000"));
    WEIR_BROKER_UNTIL(atomic_load(&member.board->pause) & WEIR_PAUSE_WINDOW);
    uint64_t paused_bytes = settled_bytes(member.board);
    cr_assert_gt(paused_bytes, (uint64_t)MB);
    cr_assert_lt(paused_bytes, (uint64_t)CAP_BYTES + PARTITIONS * PREFETCH_BYTES);
    cr_assert(atomic_load(&member.board->pause) & WEIR_PAUSE_WINDOW, "it was not paused while this was measured");

    atomic_store(&member.board->sleep_us, SLOW_US);
    WEIR_BROKER_UNTIL(atomic_load(&member.board->finished) == MESSAGES);
    uint64_t peak_bytes = memory_of(member.pid, "VmHWM:"), fetched_bytes = settled_bytes(member.board);
    weir_member_signal(&member, SIGTERM);
    weir_member_join(&member, &stage);
    const struct weir_counters *counters = &member.board->stats.counters;
    fprintf(stderr,
            "backlog %" PRIu64 " MB, fetched %.1f MB, paused after %.1f MB, %" PRIu64
            " pauses; resident at most %.1f MB, bound %.1f MB\n",
            log_bytes / MB, (double)fetched_bytes / MB, (double)paused_bytes / MB, counters->pauses,
            (double)peak_bytes / MB, (double)bound_bytes / MB);
    cr_assert_eq(counters->acked, (uint64_t)MESSAGES);
    cr_assert_eq(counters->redelivered_dropped, 0u);
    cr_assert_gt(counters->pauses, (uint64_t)PARTITIONS * PAUSES_MIN, "%" PRIu64 " pauses", counters->pauses);
    cr_assert_geq(fetched_bytes, log_bytes);
    cr_assert_lt(fetched_bytes, log_bytes + log_bytes / 50, "something was fetched twice");
    cr_assert_lt(peak_bytes, bound_bytes);
    weir_member_deinit(&member);
    weir_stage_clear(&stage);
}
