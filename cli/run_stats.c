/*
 * The line of statistics of `weir run --stats`. Thread: control.
 */
#include "cli/run.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const struct {
    uint32_t bit;
    const char *name;
} PAUSES[] = {
    {WEIR_PAUSE_WINDOW, "window"},     {WEIR_PAUSE_HELD, "held"},     {WEIR_PAUSE_USER, "user"},
    {WEIR_PAUSE_BREAKER, "breaker"},   {WEIR_PAUSE_RATE, "rate"},     {WEIR_PAUSE_REVOKE, "revoke"},
    {WEIR_PAUSE_MAP, "map"},           {WEIR_PAUSE_DLQ, "dlq"},       {WEIR_PAUSE_MEMORY, "memory"},
    {WEIR_PAUSE_ERROR, "error"},       {WEIR_PAUSE_OUTPUT, "output"}, {WEIR_PAUSE_ESCALATED, "escalated"},
    {WEIR_PAUSE_PRIORITY, "priority"},
};

/* All partitions' lag; -1 while it is unknown of one. */
static int64_t total_lag(struct weir_cli_stats *stats)
{
    size_t known = weir_consumer_partition_stats(stats->consumer, stats->partitions, sizeof *stats->partitions,
                                                 stats->partition_capacity);
    if (known > stats->partition_capacity) {
        struct weir_partition_stats *larger = realloc(stats->partitions, known * sizeof *larger);
        if (!larger)
            return -1;
        stats->partitions = larger;
        stats->partition_capacity = known;
        known = weir_consumer_partition_stats(stats->consumer, larger, sizeof *larger, known);
        if (known > stats->partition_capacity)
            known = stats->partition_capacity; /* one came meanwhile: it is in the next line */
    }
    int64_t lag = 0;
    for (size_t index = 0; index < known; index++) {
        if (!stats->partitions[index].assigned)
            continue;
        if (stats->partitions[index].lag_messages < 0)
            return -1;
        lag += stats->partitions[index].lag_messages;
    }
    return lag;
}

static uint64_t rate(uint64_t now, uint64_t before, uint64_t elapsed_ms)
{
    return elapsed_ms == 0 ? 0 : (now - before) * 1000 / elapsed_ms;
}

static uint64_t finished(const struct weir_counters *counters)
{
    return counters->acked + counters->skipped + counters->dead_lettered;
}

void weir_cli_stats_print(const struct weir_stats *stats, void *user)
{
    struct weir_cli_stats *own = user;
    const struct weir_counters *now = &stats->counters, *before = &own->last.counters;
    uint64_t elapsed_ms = stats->uptime_ms - own->last.uptime_ms;
    int64_t lag = stats->partitions > 0 ? total_lag(own) : -1;
    flockfile(stderr);
    fprintf(stderr,
            "%" PRIu64 " s: pulled %" PRIu64 "/s, finished %" PRIu64 "/s, in all %" PRIu64 ", in flight %" PRIu64
            ", held %" PRIu64 ", keys %" PRIu64 ", retries %" PRIu64 ", dead %" PRIu64 ", lag ",
            stats->uptime_ms / 1000, rate(now->consumed, before->consumed, elapsed_ms),
            rate(finished(now), finished(before), elapsed_ms), finished(now), stats->in_flight, stats->held,
            stats->key_actors, now->retries, now->dead_lettered);
    if (lag < 0)
        fputs("unknown", stderr);
    else
        fprintf(stderr, "%" PRId64, lag);
    fprintf(stderr, ", partitions %" PRIu32 ", paused %" PRIu32, stats->partitions, stats->partitions_paused);
    for (size_t index = 0; index < sizeof PAUSES / sizeof PAUSES[0]; index++)
        if (stats->pause & PAUSES[index].bit)
            fprintf(stderr, " %s", PAUSES[index].name);
    fputc('\n', stderr);
    funlockfile(stderr);
    own->last = *stats;
}

void weir_cli_stats_deinit(struct weir_cli_stats *stats)
{
    free(stats->partitions);
}
