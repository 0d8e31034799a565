/*
 * One run of a message: what its filters and its handler say of it, and what the watchdog and the journal are told
 * meanwhile. Inline, as it stands in the two loops that each message goes through (key.c, partition_shortcut.c).
 *
 * Thread: a worker's.
 */
#ifndef WEIR_ACTORS_RUN_H
#define WEIR_ACTORS_RUN_H

#include "actors/consumer.h"

/* The run is counted for the deadline, and written into the journal. */
static inline void weir_run_guard(struct weir_running *running, const struct weir_partition *partition,
                                  const struct weir_message *message)
{
    uint64_t runs = atomic_load_explicit(&running->runs, memory_order_relaxed);
    atomic_store_explicit(&running->runs, runs + 1, memory_order_relaxed);
    if (!running->slot)
        return;
    struct weir_journal_name name = weir_partition_name(partition, message);
    weir_journal_claim(running->slot, &name);
}

/* What the handler says. What it must not answer is turned into a failure, which loses nothing. */
static inline enum weir_outcome weir_run_ask(struct weir_consumer *consumer, struct weir_message *message)
{
    enum weir_outcome outcome = consumer->handler(message, consumer->user);
    bool is_unknown = (int)outcome < WEIR_ACK || outcome > WEIR_ESCALATE;
    if (!is_unknown && outcome != WEIR_LATER)
        return outcome;
    if (weir_message_later_state(message) != WEIR_LATER_IDLE) /* the holder may be giving its reason just now */
        return is_unknown ? WEIR_RETRY : WEIR_LATER;
    return weir_retry(message, is_unknown ? "the handler returned an unknown outcome"
                                          : "the handler returned WEIR_LATER without weir_message_later()");
}

/** One run: filters, then the handler; what they say of the message. On the worker that `running` is of, after
 *  weir_partition_may_start(). */
static inline enum weir_outcome weir_run(struct weir_partition *partition, struct weir_message *message,
                                         struct weir_running *running)
{
    struct weir_consumer *consumer = partition->consumer;
    struct weir_filter *filter = partition->topic->filter;
    enum weir_outcome outcome;
    message->has_delay = false;
    message->retry_class = message->escalation = 0;
    message->filtered = WEIR_FILTERED_NOT;
    if (running->guarded)
        weir_run_guard(running, partition, message);
    weir_running_set(running, partition, message->offset);
    if (!filter || weir_filter_passes(filter, message, &outcome))
        outcome = weir_run_ask(consumer, message);
    else if (consumer->on_filtered && outcome == WEIR_SKIP)
        consumer->on_filtered(message, consumer->user);
    weir_running_set(running, NULL, -1);
    if (running->guarded && running->slot)
        weir_journal_clear(running->slot);
    return outcome;
}

#endif
