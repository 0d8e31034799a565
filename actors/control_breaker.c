/*
 * The circuit breaker as control has it: counts runs by what partitions have published, moves, tells the partitions.
 * Part of the control actor's turn; what it is and when it moves stands in breaker.h, what partitions do by it in
 * partition_supervise.c.
 *
 * One word is shared: number of the probe << 2 | state. All write it by compare-and-swap: control makes all moves but
 * one, PROBE to PROBING, which is made by whichever partition takes the probe. The answer is a word of its own with the
 * probe's number, so that one that comes late is none.
 */
#include "actors/breaker.h"
#include "actors/consumer.h"
#include "actors/control.h"
#include "actors/partition.h"
#include "runtime/log.h"

static uint64_t counter(const struct weir_partition *partition, size_t index)
{
    return atomic_load_explicit(&partition->counters[index], memory_order_relaxed);
}

static struct weir_breaker_totals count(struct weir_control *control)
{
    struct weir_breaker_totals totals = {0};
    WEIR_EACH_PARTITION (partition, control) {
        totals.runs += counter(partition, WEIR_COUNTER(acked)) + counter(partition, WEIR_COUNTER(skipped));
        totals.failures += counter(partition, WEIR_COUNTER(retries));
        totals.overloaded += counter(partition, WEIR_COUNTER(overloaded));
    }
    if (control->consumer->options->breaker_overloaded != WEIR_BREAKER_OVERLOADED_IGNORE)
        totals.failures += totals.overloaded;
    totals.runs += totals.failures;
    return totals;
}

static void tell(struct weir_control *control)
{
    const struct weir_breaker *breaker = &control->breaker;
    /* Pairs with the acquire in weir_partition_breaker(). */
    atomic_store_explicit(&control->consumer->breaker, breaker->probe << 2 | breaker->state, memory_order_release);
    WEIR_EACH_PARTITION (partition, control)
        weir_resident_notify(&partition->resident);
}

static void say(struct weir_control *control, enum weir_breaker_state before, const struct weir_breaker_totals *window)
{
    const struct weir_breaker *breaker = &control->breaker;
    unsigned long long delay_ms = (breaker->until_ns - control->now_ns) / 1000000;
    if (breaker->state == WEIR_BREAKER_STATE_OPEN && before == WEIR_BREAKER_STATE_CLOSED)
        weir_log(
            WEIR_LOG_WARN, WEIR_NO_FIELDS,
            "breaker: closed -> open (of %llu runs in the last %llu ms %llu failed): nothing starts; a probe in %llu "
            "ms",
            (unsigned long long)window->runs, (unsigned long long)(breaker->policy.window_ns / 1000000),
            (unsigned long long)window->failures, delay_ms);
    else if (breaker->state == WEIR_BREAKER_STATE_OPEN)
        weir_log(WEIR_LOG_WARN, WEIR_NO_FIELDS, "breaker: probing -> open (the probe failed); the next in %llu ms",
                 delay_ms);
    else if (breaker->state == WEIR_BREAKER_STATE_CLOSED)
        weir_log(WEIR_LOG_WARN, WEIR_NO_FIELDS, "breaker: probing -> closed (the probe succeeded)");
    else
        weir_log(WEIR_LOG_DEBUG, WEIR_NO_FIELDS, "breaker: %s -> %s", weir_breaker_state_name(before),
                 weir_breaker_state_name(breaker->state));
}

static enum weir_probe read_answer(struct weir_control *control)
{
    uint64_t word = atomic_load_explicit(&control->consumer->breaker_answer, memory_order_acquire);
    return word >> 2 == control->breaker.probe ? (enum weir_probe)(word & 3) : WEIR_PROBE_UNDER_WAY;
}

void weir_control_breaker_init(struct weir_control *control)
{
    struct weir_consumer *consumer = control->consumer;
    const struct weir_options *options = consumer->options;
    struct weir_breaker_policy policy = {
        .percent = (uint32_t)options->breaker_failures_percent,
        .runs_min = options->breaker_runs_min,
        .window_ns = options->breaker_window_ms * 1000000,
        .open_ns = options->breaker_open_ms * 1000000,
        .open_ns_max = options->breaker_open_ms_max * 1000000,
        .opens_when_overloaded = options->breaker_overloaded == WEIR_BREAKER_OVERLOADED_OPEN,
    };
    consumer->breaks = policy.percent > 0 || policy.opens_when_overloaded;
    weir_breaker_init(&control->breaker, &policy, consumer->seam->now_ns(consumer->seam));
}

void weir_control_break(struct weir_control *control)
{
    struct weir_consumer *consumer = control->consumer;
    if (!consumer->breaks)
        return;
    struct weir_breaker *breaker = &control->breaker;
    enum weir_breaker_state before = breaker->state;
    struct weir_breaker_totals totals = count(control);
    uint64_t word = atomic_load_explicit(&consumer->breaker, memory_order_acquire);
    bool taken = (word & 3) == WEIR_BREAKER_STATE_PROBING;
    bool moved = weir_breaker_step(breaker, control->now_ns, &totals, taken, read_answer(control));
    atomic_store_explicit(&consumer->breaker_stood_ns, weir_breaker_stood_ns(breaker, control->now_ns),
                          memory_order_relaxed);
    if (!moved || breaker->state == WEIR_BREAKER_STATE_PROBING)
        return; /* whoever took the probe has written that */
    if (before == WEIR_BREAKER_STATE_CLOSED)
        atomic_fetch_add_explicit(&consumer->breaker_openings, 1, memory_order_relaxed);
    struct weir_breaker_totals window = weir_breaker_window(breaker);
    say(control, before, &window);
    tell(control);
}
