/*
 * Arm (c): a handler that does nothing, order of keys kept. How many messages a second? Its peer is peers/raw.c.
 *
 * Time runs from the first message handled to the last; processor time is the whole process's from start.
 *
 * Thread: main measures.
 */
#include "bench/peers/raw.h"
#include "bench/smoke.h"

#define LIMIT_SECONDS 120
#define SAMPLE_NS     500000u

struct noop_arm {
    struct weir_bench_counter handled[WEIR_BENCH_WORKERS_MAX];
};

static enum weir_outcome on_message(struct weir_message *message, void *user)
{
    struct noop_arm *arm = user;
    weir_bench_count(arm->handled);
    return WEIR_ACK;
}

int weir_bench_noop_arm(const struct weir_bench_arm_options *options)
{
    static struct noop_arm arm;
    struct weir_consumer *consumer = weir_bench_consumer(options, weir_bench_fetch_settings, on_message, &arm);
    uint64_t begin_ns = 0, begin = 0, now_ns, handled, give_up_ns = weir_bench_now_ns() + LIMIT_SECONDS * 1000000000ull;
    uint64_t cpu_ns = weir_bench_cpu_ns();
    weir_bench_consumer_start(consumer);
    do {
        weir_bench_sleep_until_ns(weir_bench_now_ns() + SAMPLE_NS);
        now_ns = weir_bench_now_ns();
        handled = weir_bench_sum(arm.handled);
        if (handled > 0 && begin_ns == 0) {
            begin_ns = now_ns;
            begin = handled;
        }
        if (now_ns > give_up_ns)
            weir_bench_die("noop: %llu of %llu messages within %d s", (unsigned long long)handled,
                           (unsigned long long)options->messages, LIMIT_SECONDS);
    } while (handled < options->messages);
    weir_bench_say("rate", (double)(handled - begin) / ((double)(now_ns - begin_ns) / 1e9));
    weir_bench_say("cpu_ns_each", (double)(weir_bench_cpu_ns() - cpu_ns) / (double)handled);
    weir_bench_say("handled", (double)handled);
    weir_bench_consumer_stop(consumer);
    return 0;
}

/* The peer of this arm. */
int weir_bench_raw_arm(const struct weir_bench_arm_options *options)
{
    const struct weir_bench_raw raw = {.bootstrap = options->bootstrap,
                                       .topic = options->topic,
                                       .partitions = options->partitions,
                                       .messages = options->messages,
                                       .settings = weir_bench_fetch_settings};
    struct weir_bench_raw_result result = weir_bench_raw_loop(&raw);
    weir_bench_say("rate", (double)result.messages / result.seconds);
    weir_bench_say("cpu_ns_each", (double)result.cpu_ns / (double)result.handled);
    weir_bench_say("handled", (double)result.handled);
    return 0;
}
