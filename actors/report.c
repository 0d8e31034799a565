/*
 * See report.h. Lines are short and go out by write(2) one by one, so that what was written stays where the process
 * fails again.
 */
#include "actors/report.h"
#include "actors/consumer.h"
#include "runtime/check.h"
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static _Atomic(struct weir_consumer *) consumers[WEIR_REPORT_CONSUMERS_MAX];

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (size >= (int)sizeof line)
        size = sizeof line - 1;
    if (size > 0 && write(STDERR_FILENO, line, (size_t)size) < 0)
        return; /* nobody is left to be told */
}

static unsigned long long value(const _Atomic uint64_t *gauge)
{
    return atomic_load_explicit(gauge, memory_order_relaxed);
}

/* The owner's own fields are being written perhaps: what it publishes is as of its last turn. */
static void report_partition(const struct weir_partition *partition)
{
    say("weir:   partition %s/%d: control %s, epoch %llu, floor %lld, next %lld, committed %lld, in flight %llu, held "
        "%llu, out %llu, stragglers %llu, pause 0x%x\n",
        partition->topic->name, (int)partition->number,
        weir_control_state_name((enum weir_control_state)partition->control.state), value(&partition->gauges.epoch),
        (long long)atomic_load_explicit(&partition->gauges.floor, memory_order_relaxed),
        (long long)atomic_load_explicit(&partition->gauges.next, memory_order_relaxed),
        (long long)atomic_load_explicit(&partition->committed, memory_order_relaxed),
        value(&partition->gauges.in_flight), value(&partition->gauges.held), value(&partition->gauges.out),
        value(&partition->gauges.stragglers), atomic_load_explicit(&partition->gauges.pause, memory_order_relaxed));
}

static void report_worker(const struct weir_consumer *consumer, unsigned number)
{
    const struct weir_running *running = &consumer->running[number];
    const struct weir_partition *partition = atomic_load_explicit(&running->partition, memory_order_acquire);
    if (partition)
        say("weir:   worker %u runs %s/%d, offset %lld\n", number - 1, partition->topic->name, (int)partition->number,
            (long long)atomic_load_explicit(&running->offset, memory_order_relaxed));
}

static void report_consumer(const struct weir_consumer *consumer)
{
    say("weir: consumer of group %s:\n", consumer->group);
    for (const struct weir_partition *partition = atomic_load_explicit(&consumer->partitions, memory_order_acquire);
         partition; partition = partition->list_next)
        report_partition(partition);
    for (unsigned number = 1; number < weir_system_worker_count(consumer->system); number++)
        report_worker(consumer, number);
}

static void report(void *unused)
{
    const struct weir_worker *worker = weir_worker_current();
    if (worker && weir_worker_number(worker) == WEIR_WORKER_CONTROL)
        say("weir: on the control thread\n");
    else if (worker)
        say("weir: on worker %u\n", weir_worker_number(worker) - 1);
    for (size_t index = 0; index < WEIR_COUNT(consumers); index++) {
        const struct weir_consumer *consumer = atomic_load_explicit(&consumers[index], memory_order_acquire);
        if (consumer)
            report_consumer(consumer);
    }
}

void weir_report_add(struct weir_consumer *consumer)
{
    weir_check_on_failure(report, NULL);
    for (size_t index = 0; index < WEIR_COUNT(consumers); index++) {
        struct weir_consumer *nobody = NULL;
        if (atomic_compare_exchange_strong_explicit(&consumers[index], &nobody, consumer, memory_order_release,
                                                    memory_order_relaxed)) /* pairs with the acquire in report */
            return;
    }
}

void weir_report_remove(struct weir_consumer *consumer)
{
    for (size_t index = 0; index < WEIR_COUNT(consumers); index++) {
        struct weir_consumer *same = consumer;
        if (atomic_compare_exchange_strong(&consumers[index], &same, NULL))
            return;
    }
}
