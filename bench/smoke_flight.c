/*
 * Arm (b): so many messages in flight, each finished a fixed time later by another thread. How much of the ceiling,
 * in flight / latency, is reached?
 *
 * Every message has a key of its own and the windows together are exactly the number in flight, so the ceiling can only
 * be reached if each place that becomes free is filled again at once. A machine whose processors are taken away for
 * milliseconds does not reach it whatever runs there; peers/bare.c is how much of it can be reached at the time.
 *
 * Thread: main measures.
 */
#include "bench/downstream.h"
#include "bench/smoke.h"

#define WARM_NS       2000000000u
#define START_SECONDS 30
#define SAMPLE_NS     20000000u

struct flight_arm {
    struct weir_bench_downstream *downstream;
};

static enum weir_outcome on_message(struct weir_message *message, void *user)
{
    const struct flight_arm *arm = user;
    return weir_bench_downstream_submit(arm->downstream, message) ? WEIR_LATER : WEIR_OVERLOADED;
}

static void wait_for_first(const struct flight_arm *arm)
{
    uint64_t give_up_ns = weir_bench_now_ns() + START_SECONDS * 1000000000ull;
    while (weir_bench_downstream_finished(arm->downstream) == 0) {
        if (weir_bench_now_ns() > give_up_ns)
            weir_bench_die("flight: no message within %d s", START_SECONDS);
        weir_bench_sleep_until_ns(weir_bench_now_ns() + 1000000);
    }
}

/* Mean of messages in flight until `end_ns`: says whether the windows were full. */
static double mean_in_flight(const struct weir_consumer *consumer, uint64_t end_ns)
{
    double sum = 0;
    uint64_t count = 0;
    for (uint64_t now_ns = weir_bench_now_ns(); now_ns < end_ns; now_ns = weir_bench_now_ns()) {
        struct weir_stats stats;
        weir_consumer_stats(consumer, &stats, sizeof stats);
        sum += (double)stats.in_flight;
        count++;
        weir_bench_sleep_until_ns(now_ns + SAMPLE_NS < end_ns ? now_ns + SAMPLE_NS : end_ns);
    }
    return count ? sum / (double)count : 0;
}

static void measure(const struct flight_arm *arm, const struct weir_bench_arm_options *options,
                    const struct weir_consumer *consumer)
{
    wait_for_first(arm);
    weir_bench_sleep_until_ns(weir_bench_now_ns() + WARM_NS);
    uint64_t begin_ns = weir_bench_now_ns(), cpu_ns = weir_bench_cpu_ns();
    uint64_t begin = weir_bench_downstream_finished(arm->downstream);
    uint64_t late_ns = weir_bench_downstream_late_ns(arm->downstream);
    double in_flight = mean_in_flight(consumer, begin_ns + options->seconds * 1000000000ull);
    uint64_t end = weir_bench_downstream_finished(arm->downstream), end_ns = weir_bench_now_ns();
    if (end >= options->messages)
        weir_bench_die("flight: the topic was read to its end: it must be longer");
    double rate = (double)(end - begin) / ((double)(end_ns - begin_ns) / 1e9);
    weir_bench_say("rate", rate);
    weir_bench_say("share", rate / ((double)options->in_flight * 1e6 / (double)options->latency_us));
    weir_bench_say("in_flight_mean", in_flight);
    weir_bench_say("late_us_mean", (double)(weir_bench_downstream_late_ns(arm->downstream) - late_ns) /
                                       (double)(end - begin + 1) / 1e3);
    weir_bench_say("cpu_ns_each", (double)(weir_bench_cpu_ns() - cpu_ns) / (double)(end - begin + 1));
    weir_bench_say("refused", (double)weir_bench_downstream_refused(arm->downstream));
}

int weir_bench_flight_arm(const struct weir_bench_arm_options *options)
{
    char window[24];
    snprintf(window, sizeof window, "%llu", (unsigned long long)options->in_flight / (unsigned)options->partitions);
    const char *const settings[][2] = {
        {"weir.window.messages.max", window},
        {"weir.window.low.percent", "99"}, /* no hysteresis: a place that becomes free is filled */
        {NULL, NULL},
    };
    struct flight_arm arm = {.downstream = weir_bench_downstream_start(options->latency_us * 1000u, options->workers,
                                                                       weir_bench_downstream_ack, NULL)};
    struct weir_consumer *consumer = weir_bench_consumer(options, settings, on_message, &arm);
    weir_bench_consumer_start(consumer);
    measure(&arm, options, consumer);
    weir_bench_consumer_stop(consumer);
    weir_bench_downstream_stop(arm.downstream);
    return 0;
}
