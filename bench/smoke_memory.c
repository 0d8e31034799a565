/*
 * Arm (a): a slow handler before a long backlog. How much memory is resident, does fetching stop, is anything fetched
 * twice?
 *
 * `later`: every message takes the latency, thousands at a time; the arm goes on to the end of the backlog, and every
 * message must have come once. `blocking`: the handler sleeps on a few workers, so that nearly nothing is handled, and
 * what is fetched after the first seconds should be nearly nothing too.
 *
 * Thread: main samples; handlers count.
 */
#include "bench/downstream.h"
#include "bench/smoke.h"
#include <stdlib.h>

#define SAMPLE_NS       5000000u
#define SETTLE_NS       4000000000u /* after the first message: the windows and queues are full */
#define START_SECONDS   30
#define BLOCKING_MARGIN 2 /* seconds: statistics come once a second */

struct memory_arm {
    const struct weir_bench_arm_options *options;
    struct weir_bench_downstream *downstream;
    struct weir_bench_counter handled[WEIR_BENCH_WORKERS_MAX];
    _Atomic uint8_t *seen; /* a bit a message: partition x messages + offset */
    _Atomic uint64_t again;
};

/* What the main thread has seen. */
struct samples {
    uint64_t resident_max, in_flight_bytes_max, fetched_settled, handled_settled;
    struct weir_stats stats; /* the last */
};

static void see(struct memory_arm *arm, const struct weir_message *message)
{
    uint64_t bit =
        (uint64_t)weir_message_partition(message) * arm->options->messages + (uint64_t)weir_message_offset(message);
    uint8_t mask = (uint8_t)(1u << (bit % 8));
    if (atomic_fetch_or_explicit(&arm->seen[bit / 8], mask, memory_order_relaxed) & mask)
        atomic_fetch_add_explicit(&arm->again, 1, memory_order_relaxed);
    weir_bench_count(arm->handled);
}

static enum weir_outcome on_message(struct weir_message *message, void *user)
{
    struct memory_arm *arm = user;
    if (arm->options->blocking) {
        see(arm, message);
        weir_bench_sleep_until_ns(weir_bench_now_ns() + arm->options->latency_us * 1000u);
        return WEIR_ACK;
    }
    if (!weir_bench_downstream_submit(arm->downstream, message))
        return WEIR_OVERLOADED;
    see(arm, message);
    return WEIR_LATER;
}

static void sample(const struct weir_consumer *consumer, struct samples *samples)
{
    uint64_t resident = weir_bench_resident_bytes();
    weir_consumer_stats(consumer, &samples->stats, sizeof samples->stats);
    if (resident > samples->resident_max)
        samples->resident_max = resident;
    if (samples->stats.in_flight_bytes > samples->in_flight_bytes_max)
        samples->in_flight_bytes_max = samples->stats.in_flight_bytes;
}

/* Sample until the first message has come. */
static void wait_for_first(const struct memory_arm *arm, const struct weir_consumer *consumer, struct samples *samples)
{
    uint64_t give_up_ns = weir_bench_now_ns() + START_SECONDS * 1000000000ull;
    while (weir_bench_sum(arm->handled) == 0) {
        if (weir_bench_now_ns() > give_up_ns)
            weir_bench_die("memory: no message within %d s", START_SECONDS);
        sample(consumer, samples);
        weir_bench_sleep_until_ns(weir_bench_now_ns() + SAMPLE_NS);
    }
}

static void watch(struct memory_arm *arm, const struct weir_consumer *consumer, struct samples *samples)
{
    wait_for_first(arm, consumer, samples);
    uint64_t begin_ns = weir_bench_now_ns(), end_ns = begin_ns + arm->options->seconds * 1000000000ull;
    for (uint64_t now_ns = begin_ns; now_ns < end_ns && weir_bench_sum(arm->handled) < arm->options->messages;
         now_ns = weir_bench_now_ns()) {
        sample(consumer, samples);
        if (samples->fetched_settled == 0 && now_ns - begin_ns >= SETTLE_NS) {
            samples->fetched_settled = samples->stats.fetched_bytes;
            samples->handled_settled = weir_bench_sum(arm->handled);
        }
        weir_bench_sleep_until_ns(now_ns + SAMPLE_NS);
    }
    weir_bench_say("seconds", (double)(weir_bench_now_ns() - begin_ns) / 1e9);
    for (uint64_t tail_ns = weir_bench_now_ns() + BLOCKING_MARGIN * 1000000000ull; weir_bench_now_ns() < tail_ns;
         weir_bench_sleep_until_ns(weir_bench_now_ns() + SAMPLE_NS))
        sample(consumer, samples); /* the last statistics */
}

int weir_bench_memory_arm(const struct weir_bench_arm_options *options)
{
    char memory[24];
    snprintf(memory, sizeof memory, "%llu", (unsigned long long)options->memory_bytes);
    const char *const settings[][2] = {
        {"weir.memory.bytes.max", memory},
        {NULL, NULL},
    };
    static struct memory_arm arm;
    struct samples samples = {0};
    arm.options = options;
    arm.seen = calloc((uint64_t)options->partitions * options->messages / 8 + 1, 1);
    if (!arm.seen)
        weir_bench_die("memory is too short for a bit a message");
    arm.downstream =
        weir_bench_downstream_start(options->latency_us * 1000u, options->workers, weir_bench_downstream_ack, NULL);
    weir_bench_say("resident_before", (double)weir_bench_resident_bytes());
    struct weir_consumer *consumer = weir_bench_consumer(options, settings, on_message, &arm);
    weir_bench_consumer_start(consumer);
    watch(&arm, consumer, &samples);
    uint64_t handled = weir_bench_sum(arm.handled);
    weir_bench_say("resident_max", (double)samples.resident_max);
    weir_bench_say("in_flight_bytes_max", (double)samples.in_flight_bytes_max);
    weir_bench_say("handled", (double)handled);
    weir_bench_say("handled_after", (double)(handled - samples.handled_settled));
    weir_bench_say("again", (double)atomic_load(&arm.again));
    weir_bench_say("fetched_bytes", (double)samples.stats.fetched_bytes);
    weir_bench_say("fetched_after", (double)(samples.stats.fetched_bytes - samples.fetched_settled));
    weir_bench_say("pauses", (double)samples.stats.counters.pauses);
    weir_bench_consumer_stop(consumer);
    weir_bench_downstream_stop(arm.downstream);
    free((void *)arm.seen);
    return 0;
}
