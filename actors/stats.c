/*
 * Snapshots of what partitions publish. Any thread; relaxed loads, so figures of one snapshot may be a turn apart.
 */
#include "actors/consumer.h"
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define COUNTERS (sizeof(struct weir_counters) / sizeof(uint64_t))

static uint64_t load(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

/* struct weir_counters is COUNTERS numbers in a row (asserted in partition.c). */
static void load_counters(const struct weir_partition *partition, struct weir_counters *counters)
{
    uint64_t values[COUNTERS];
    for (size_t index = 0; index < COUNTERS; index++)
        values[index] = load(&partition->counters[index]);
    memcpy(counters, values, sizeof values);
}

static void add_counters(struct weir_counters *sum, const struct weir_counters *counters)
{
    uint64_t values[COUNTERS], more[COUNTERS];
    memcpy(values, sum, sizeof values);
    memcpy(more, counters, sizeof more);
    for (size_t index = 0; index < COUNTERS; index++)
        values[index] += more[index];
    memcpy(sum, values, sizeof values);
}

static void read_partition(const struct weir_partition *partition, uint64_t now_ns, struct weir_partition_stats *stats)
{
    uint64_t oldest_ns = load(&partition->gauges.oldest_pulled_ns);
    int64_t log_end = atomic_load_explicit(&partition->log_end, memory_order_relaxed);
    int64_t floor = atomic_load_explicit(&partition->gauges.floor, memory_order_relaxed);
    *stats = (struct weir_partition_stats){
        .size = sizeof *stats,
        .partition = partition->number,
        .assigned = atomic_load_explicit(&partition->assigned, memory_order_relaxed),
        .epoch = load(&partition->gauges.epoch),
        .pause = atomic_load_explicit(&partition->gauges.pause, memory_order_relaxed),
        .priority = partition->topic->priority,
        .next_offset = atomic_load_explicit(&partition->gauges.next, memory_order_relaxed),
        .floor_offset = floor,
        .committed_offset = atomic_load_explicit(&partition->committed, memory_order_relaxed),
        .lag_messages = log_end < 0       ? -1
                        : log_end > floor ? log_end - floor
                                          : 0,
        .in_flight = load(&partition->gauges.in_flight),
        .in_flight_bytes = load(&partition->gauges.in_flight_bytes),
        .held = load(&partition->gauges.held),
        .gap = load(&partition->gauges.gap),
        .key_actors = load(&partition->gauges.key_actors),
        .key_states = load(&partition->gauges.key_states),
        .key_state_bytes = load(&partition->gauges.key_state_bytes),
        .running = load(&partition->gauges.running),
        .dlq_pending = load(&partition->gauges.dlq_pending),
        .oldest_ms = oldest_ns > 0 && now_ns > oldest_ns ? (now_ns - oldest_ns) / 1000000 : 0,
    };
    if (atomic_load_explicit(&partition->trouble, memory_order_relaxed) != WEIR_KAFKA_NONE)
        stats->pause |= WEIR_PAUSE_ERROR;
    snprintf(stats->topic, sizeof stats->topic, "%s", partition->topic->name);
    load_counters(partition, &stats->counters);
}

static const struct weir_partition *first(const struct weir_consumer *consumer)
{
    return atomic_load_explicit(&consumer->partitions, memory_order_acquire);
}

static uint32_t breaker_now(uint64_t state)
{
    return state == WEIR_BREAKER_STATE_CLOSED ? WEIR_BREAKER_CLOSED
           : state == WEIR_BREAKER_STATE_OPEN ? WEIR_BREAKER_OPEN
                                              : WEIR_BREAKER_PROBING;
}

void weir_consumer_stats(const struct weir_consumer *consumer, struct weir_stats *stats, size_t stats_size)
{
    uint64_t now_ns = consumer->seam->now_ns(consumer->seam), started_ns = load(&consumer->started_ns);
    struct weir_stats sum = {
        .size = sizeof sum,
        .uptime_ms = started_ns > 0 ? (now_ns - started_ns) / 1000000 : 0,
        .rebalances = load(&consumer->rebalances),
        .commits = load(&consumer->commits),
        .commit_failures = load(&consumer->commit_failures),
        .stragglers = load(&consumer->stragglers),
        .fetched_bytes = load(&consumer->fetched_bytes),
        .breaker = breaker_now(load(&consumer->breaker) & 3),
        .breaker_openings = load(&consumer->breaker_openings),
    };
    for (const struct weir_partition *partition = first(consumer); partition; partition = partition->list_next) {
        struct weir_partition_stats one;
        read_partition(partition, now_ns, &one);
        add_counters(&sum.counters, &one.counters);
        sum.partitions += one.assigned != 0;
        sum.partitions_paused += one.assigned && one.pause != 0;
        sum.pause |= one.assigned ? one.pause : 0;
        sum.in_flight += one.in_flight;
        sum.in_flight_bytes += one.in_flight_bytes;
        sum.held += one.held;
        sum.key_actors += one.key_actors;
        sum.key_states += one.key_states;
        sum.key_state_bytes += one.key_state_bytes;
        sum.running += one.running;
        sum.dlq_pending += one.dlq_pending;
    }
    memcpy(stats, &sum, stats_size < sizeof sum ? stats_size : sizeof sum);
}

size_t weir_consumer_partition_stats(const struct weir_consumer *consumer, struct weir_partition_stats *partitions,
                                     size_t partition_size, size_t count_max)
{
    uint64_t now_ns = consumer->seam->now_ns(consumer->seam);
    size_t count = 0;
    for (const struct weir_partition *partition = first(consumer); partition; partition = partition->list_next) {
        if (count < count_max) {
            struct weir_partition_stats one;
            read_partition(partition, now_ns, &one);
            memcpy((char *)partitions + count * partition_size, &one,
                   partition_size < sizeof one ? partition_size : sizeof one);
        }
        count++;
    }
    return count;
}
