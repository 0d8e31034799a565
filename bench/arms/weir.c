/*
 * Arm: Weir. --mode says what the handler does:
 *
 *   noop    nothing
 *   copied  nothing, but the first message is kept for a while: all that is pulled after it is copied out
 *   spin    keeps the processor busy for --work-us; with --seconds, delays of what arm-pace sends are measured
 *   block   sleeps for --work-us on one of --in-flight threads of their own (weir.blocking.threads)
 *   hold    never finishes: once --in-flight messages are in flight, how much memory is resident?
 *   gap     acks, but for one message a partition, which is finished when --in-flight others have passed it
 *   emit    emits each message, as it is, to a topic that is made for it; a message counts when it is finished: when
 * its output has been acknowledged, or with weir.delivery=exactly-once its transaction
 *
 * --poison-ppm: that many in a million fail at every attempt; only the others are counted.
 *
 * Time runs from the first message handled to the last, looked at every five milliseconds.
 *
 * Thread: main measures; handlers count, each on its worker.
 */
#include "bench/arms/consumer.h"
#include "bench/arms/pace.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>
#include <weir/weir.h>

#define LANES_MAX     1024 /* threads that run handlers */
#define LIMIT_SECONDS 240
#define SAMPLE_NS     5000000u
#define SETTLE_NS     1500000000u

/* One a thread, on cache lines of its own. */
struct lane {
    _Alignas(64) _Atomic uint64_t count; /* written by its worker, as is slept_ns */
    _Atomic uint64_t slept_ns;
    struct weir_bench_delays delays; /* read by main when the consumer has closed */
};

/* gap: one a partition. */
struct straggler {
    _Alignas(64) _Atomic uint64_t seen;
    pthread_mutex_t lock; /* over the rest, which changes once in a span */
    struct weir_later later;
    bool held;
};

static struct arm {
    struct weir_bench_job job;
    char outputs[64]; /* emit: the topic */
    struct weir_bench_pace pace;
    struct straggler *stragglers;
    struct lane lanes[LANES_MAX];
} arm;

/* One writer: a plain addition that others may read. */
static void add(_Atomic uint64_t *counter, uint64_t number)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + number, memory_order_relaxed);
}

static struct lane *count_one(void)
{
    static _Thread_local struct lane *lane;
    if (!lane)
        lane = &arm.lanes[weir_worker_index()];
    add(&lane->count, 1);
    return lane;
}

/* Only the lanes in use: to look at a thousand cold ones each time costs a hundredth of a processor. */
static uint64_t counted(void)
{
    uint64_t sum = 0, lanes = arm.job.workers > arm.job.in_flight ? arm.job.workers : arm.job.in_flight;
    for (unsigned i = 0; i < lanes && i < LANES_MAX; i++)
        sum += atomic_load_explicit(&arm.lanes[i].count, memory_order_relaxed);
    return sum;
}

/* ---- handlers ---- */

static bool is_poison(const struct weir_message *message)
{
    return arm.job.poison_ppm > 0 &&
           weir_bench_mix((uint64_t)weir_message_partition(message), (uint64_t)weir_message_offset(message)) %
                   1000000u <
               arm.job.poison_ppm;
}

static enum weir_outcome noop(struct weir_message *message, void *user)
{
    if (is_poison(message))
        return WEIR_RETRY;
    count_one();
    return WEIR_ACK;
}

/* copied: the first message, for a while. Answered before its run is known to be over, it would not count as kept; and
 * what is of its key waits for it. */
static struct {
    _Atomic bool given, ready;
    struct weir_later later;
} kept;

static enum weir_outcome copied(struct weir_message *message, void *user)
{
    if (atomic_load_explicit(&kept.given, memory_order_relaxed) || atomic_exchange(&kept.given, true))
        return noop(message, user);
    kept.later = weir_message_later(message);
    atomic_store_explicit(&kept.ready, true, memory_order_release); /* pairs with the acquire in answer_kept */
    count_one();
    return WEIR_LATER;
}

static void answer_kept(void)
{
    if (atomic_exchange_explicit(&kept.ready, false, memory_order_acquire))
        weir_later_finish(kept.later, WEIR_ACK);
}

static enum weir_outcome spin(struct weir_message *message, void *user)
{
    weir_bench_spin_us(arm.job.work_us);
    const void *value = weir_message_value(message);
    size_t size = weir_message_value_size(message);
    if (arm.job.seconds == 0)
        count_one();
    else if (weir_bench_pace_counts(&arm.pace, value, size))
        weir_bench_delays_add(&count_one()->delays, value, size);
    return WEIR_ACK;
}

static enum weir_outcome block(struct weir_message *message, void *user)
{
    if (is_poison(message))
        return WEIR_RETRY;
    uint64_t begin_ns = weir_bench_now_ns();
    struct timespec time = {.tv_sec = (time_t)(arm.job.work_us / 1000000u),
                            .tv_nsec = (long)(arm.job.work_us % 1000000u * 1000u)};
    while (nanosleep(&time, &time) != 0 && errno == EINTR)
        continue;
    add(&count_one()->slept_ns, weir_bench_now_ns() - begin_ns);
    return WEIR_ACK;
}

static enum weir_outcome hold(struct weir_message *message, void *user)
{
    weir_message_later(message);
    return WEIR_LATER;
}

/* This message is the partition's straggler now, and the one before has been passed by enough. */
static void straggle(struct straggler *straggler, struct weir_later later)
{
    pthread_mutex_lock(&straggler->lock);
    struct weir_later before = straggler->later;
    bool held = straggler->held;
    straggler->later = later;
    straggler->held = true;
    pthread_mutex_unlock(&straggler->lock);
    if (held)
        weir_later_finish(before, WEIR_ACK);
}

static enum weir_outcome gap(struct weir_message *message, void *user)
{
    struct straggler *straggler = &arm.stragglers[weir_message_partition(message)];
    uint64_t seen = atomic_fetch_add_explicit(&straggler->seen, 1, memory_order_relaxed);
    count_one();
    if (arm.job.in_flight == 0 || seen % arm.job.in_flight != 0)
        return WEIR_ACK;
    straggle(straggler, weir_message_later(message));
    return WEIR_LATER;
}

static enum weir_outcome emit(struct weir_message *message, void *user)
{
    const struct weir_output output = {.topic = arm.outputs,
                                       .key = weir_message_key(message),
                                       .key_size = weir_message_key_size(message),
                                       .value = weir_message_value(message),
                                       .value_size = weir_message_value_size(message)};
    return weir_emit(message, &output) == 0 ? WEIR_ACK : WEIR_RETRY;
}

static void make_stragglers(void)
{
    arm.stragglers = aligned_alloc(64, (size_t)arm.job.partitions * sizeof *arm.stragglers);
    if (!arm.stragglers)
        weir_bench_die("memory is too short for %d partitions", arm.job.partitions);
    memset(arm.stragglers, 0, (size_t)arm.job.partitions * sizeof *arm.stragglers);
    for (int i = 0; i < arm.job.partitions; i++)
        pthread_mutex_init(&arm.stragglers[i].lock, NULL);
}

static const struct {
    const char *name;
    weir_handler *handler;
} MODES[] = {{"noop", noop}, {"copied", copied}, {"spin", spin}, {"block", block},
             {"hold", hold}, {"gap", gap},       {"emit", emit}};

static weir_handler *handler_of(const char *mode)
{
    for (size_t i = 0; i < sizeof MODES / sizeof MODES[0]; i++)
        if (strcmp(MODES[i].name, mode[0] ? mode : "noop") == 0)
            return MODES[i].handler;
    weir_bench_die("--mode %s: noop, copied, spin, block, hold or gap", mode);
}

/* ---- what is measured ---- */

static bool blocks(void)
{
    return strcmp(arm.job.mode, "block") == 0;
}

static bool emits(void)
{
    return strcmp(arm.job.mode, "emit") == 0;
}

static void ask_for_threads(void)
{
    static char count[24];
    if (arm.job.in_flight > LANES_MAX || arm.job.set_count + 1 == WEIR_BENCH_ARM_SETS_MAX)
        weir_bench_die("at most %d threads", LANES_MAX);
    snprintf(count, sizeof count, "%llu", (unsigned long long)arm.job.in_flight);
    arm.job.set[arm.job.set_count][0] = "weir.blocking.threads";
    arm.job.set[arm.job.set_count++][1] = count;
}

static const char *settings_text(void)
{
    static char text[160];
    snprintf(text, sizeof text, "%s handler, %u workers, %llu threads that block, fetch settings said to both sides,",
             arm.job.mode[0] ? arm.job.mode : "noop", arm.job.workers,
             blocks() ? (unsigned long long)arm.job.in_flight : 0ull);
    return text;
}

static void say(uint64_t messages, double seconds)
{
    char version[96];
    snprintf(version, sizeof version, "Weir %s, librdkafka %s, %s", weir_version(), weir_librdkafka_version(),
             WEIR_BENCH_ALLOCATOR);
    weir_bench_job_say(&arm.job, messages, seconds, version, settings_text());
}

/* What a sleep took: a busy machine lets sleepers oversleep, whoever runs them. */
static double slept_us_mean(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < LANES_MAX; i++)
        sum += atomic_load_explicit(&arm.lanes[i].slept_ns, memory_order_relaxed);
    return (double)sum / 1e3 / (double)counted();
}

/* Messages that count. */
static uint64_t done(const struct weir_consumer *consumer)
{
    struct weir_stats stats;
    if (!emits())
        return counted();
    weir_consumer_stats(consumer, &stats, sizeof stats);
    return stats.counters.acked;
}

static void measure_rate(const struct weir_consumer *consumer)
{
    uint64_t begin_ns = 0, begin = 0, now_ns, count;
    uint64_t give_up_ns = weir_bench_now_ns() + LIMIT_SECONDS * 1000000000ull;
    do {
        weir_bench_sleep_until_ns(weir_bench_now_ns() + SAMPLE_NS);
        now_ns = weir_bench_now_ns();
        count = done(consumer);
        if (count > 0 && begin_ns == 0) {
            begin_ns = now_ns;
            begin = count;
        }
        if (count > arm.job.messages / 10)
            answer_kept();
        if (now_ns > give_up_ns)
            weir_bench_die("weir: %llu of %llu messages within %d s", (unsigned long long)count,
                           (unsigned long long)arm.job.messages, LIMIT_SECONDS);
    } while (count < arm.job.messages);
    say(count - begin, (double)(now_ns - begin_ns) / 1e9);
    weir_bench_job_say_number("handled", (double)count);
    weir_bench_job_say_number("resident_bytes", (double)weir_bench_resident_bytes());
    struct weir_stats stats;
    weir_consumer_stats(consumer, &stats, sizeof stats);
    if (arm.job.poison_ppm > 0) {
        weir_bench_job_say_number("retries", (double)stats.counters.retries);
        weir_bench_job_say_number("dead_lettered", (double)stats.counters.dead_lettered);
    }
    if (blocks())
        weir_bench_job_say_number("slept_us_mean", slept_us_mean());
    if (emits())
        weir_bench_job_say_number("commits", (double)stats.commits);
}

static void measure_memory(const struct weir_consumer *consumer)
{
    uint64_t begin_ns = weir_bench_now_ns();
    struct weir_stats stats = {0};
    do {
        weir_bench_sleep_until_ns(weir_bench_now_ns() + 10000000u);
        weir_consumer_stats(consumer, &stats, sizeof stats);
        if (weir_bench_now_ns() - begin_ns > 60000000000ull)
            weir_bench_die("weir: %llu of %llu messages in flight within 60 s", (unsigned long long)stats.in_flight,
                           (unsigned long long)arm.job.in_flight);
    } while (stats.in_flight < arm.job.in_flight);
    weir_bench_sleep_until_ns(weir_bench_now_ns() + SETTLE_NS); /* queues are full as well */
    weir_bench_purge_free_pages();
    weir_consumer_stats(consumer, &stats, sizeof stats);
    say(stats.in_flight, (double)(weir_bench_now_ns() - begin_ns) / 1e9);
    weir_bench_job_say_number("resident_bytes", (double)weir_bench_resident_bytes());
}

static void measure_delays(void)
{
    static struct weir_bench_delays delays;
    while (!weir_bench_pace_is_over(&arm.pace, counted()))
        weir_bench_sleep_until_ns(weir_bench_now_ns() + 1000000u);
    weir_bench_sleep_until_ns(weir_bench_now_ns() + 100000000u); /* the last additions */
    for (unsigned i = 0; i < LANES_MAX; i++)
        weir_bench_delays_merge(&delays, &arm.lanes[i].delays);
    say(delays.count, (double)arm.job.seconds);
    weir_bench_pace_say(&arm.pace, &delays);
}

int main(int argc, char **argv)
{
    weir_bench_job_read(&arm.job, argc, argv);
    if (arm.job.workers > LANES_MAX)
        weir_bench_die("at most %d workers", LANES_MAX);
    if (blocks()) {
        ask_for_threads();
        prctl(PR_SET_TIMERSLACK, 1); /* inherited: sleeps end when they should, not up to 50 us later */
    }
    make_stragglers();
    bool holds = strcmp(arm.job.mode, "hold") == 0;
    if (emits())
        weir_bench_outputs_make(arm.job.bootstrap, arm.job.partitions, arm.outputs, sizeof arm.outputs);
    if (arm.job.seconds > 0)
        weir_bench_pace_start(&arm.pace, &arm.job);
    char group[64];
    weir_bench_arm_group(group, sizeof group);
    struct weir_consumer *consumer =
        weir_bench_arm_consumer(&arm.job, group, arm.job.workers, handler_of(arm.job.mode), NULL);
    if (holds)
        measure_memory(consumer);
    else if (arm.job.seconds > 0)
        measure_delays();
    else
        measure_rate(consumer);
    if (!holds) /* what is held is never finished */
        weir_bench_arm_consumer_stop(consumer);
    if (emits())
        weir_bench_outputs_delete(arm.job.bootstrap, arm.outputs);
    weir_bench_job_say_end();
    if (holds)
        _exit(0);
    return 0;
}
