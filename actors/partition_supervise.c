/*
 * Supervision from the side of the partition actor: what stops a partition in place.
 *
 * Escalation. A handler said WEIR_ESCALATE: the message stays where it is in its key, and no handler of the partition
 * starts any more, since what is wrong is more than this message. Nothing is lost or burnt: all keys are parked, the
 * pause says `escalated`, and offsets are committed up to where they are. It ends when weir_consumer_resume() is called
 * or the epoch ends: then the message runs again, here or elsewhere. If the whole consumer is to stop, control closes
 * it, with the reason as its error.
 *
 * `escalated` is a word of the partition: set by the owner (and by control for all, once the consumer stops), cleared
 * by whoever resumes and by the owner as an epoch begins. Runs under way end by it as by the breaker: see
 * weir_partition_may_start().
 *
 * Breaker (breaker.h). While it is not closed keys are parked, whatever they wait for; the one that takes the probe is
 * dispatched as a run of one message. A probe that asks for a retry burns no attempt: it was asked for by the breaker.
 * Deadlines of retries are measured by a clock that stands while it is not closed (weir_partition_retry_clock_ns()).
 */
#include "actors/breaker.h"
#include "actors/consumer.h"
#include "actors/partition_finish.h"
#include "runtime/log.h"
#include <stdio.h>

void weir_partition_escalate(struct weir_partition *partition, struct weir_message *message)
{
    bool whole = message->escalation == WEIR_STOP_CONSUMER;
    char text[WEIR_ERROR_TEXT_SIZE], number[16];
    struct weir_log_field fields[2];
    snprintf(text, sizeof text, "%s/%d, offset %lld: its handler stops the %s: %s", partition->topic->name,
             (int)partition->number, (long long)message->offset, whole ? "consumer" : "partition",
             weir_message_reason(message) ? weir_message_reason(message) : "it gave no reason");
    weir_log(WEIR_LOG_ERROR, weir_partition_fields(partition, number, fields), 2, "%s%s", text,
             whole ? "" : "; weir_consumer_resume() lets it go on");
    weir_partition_count(partition, escalations, 1);
    weir_partition_copy_out(partition, message); /* it may wait for long */
    atomic_store_explicit(&partition->escalated, true, memory_order_relaxed);
    weir_partition_set_pause(partition, WEIR_PAUSE_ESCALATED, true);
    if (whole)
        weir_consumer_escalate(partition->consumer, text);
}

/* ---- the breaker ---- */

enum weir_breaker_state weir_partition_breaker(const struct weir_partition *partition)
{
    const struct weir_consumer *consumer = partition->consumer;
    if (!consumer->breaks)
        return WEIR_BREAKER_STATE_CLOSED;
    return (enum weir_breaker_state)(atomic_load_explicit(&consumer->breaker, memory_order_acquire) & 3);
}

/* At most once, what was committed runs in the drain or is lost: then rather against an open breaker. */
static bool must_run(const struct weir_partition *partition)
{
    return partition->state == WEIR_PARTITION_DRAINING;
}

bool weir_partition_breaker_holds(struct weir_partition *partition, struct weir_key *key)
{
    struct weir_consumer *consumer = partition->consumer;
    uint64_t word = atomic_load_explicit(&consumer->breaker, memory_order_acquire);
    key->first->passes = WEIR_PASSES_NOTHING;
    if ((word & 3) == WEIR_BREAKER_STATE_CLOSED)
        return false;
    if (must_run(partition)) {
        key->first->passes = WEIR_PASSES_BREAKER;
        return false;
    }
    uint64_t taken = (word & ~UINT64_C(3)) | WEIR_BREAKER_STATE_PROBING;
    bool had_last = partition->probe != 0 && partition->probe + 1 == word >> 2;
    if ((word & 3) == WEIR_BREAKER_STATE_PROBE && !had_last &&
        atomic_compare_exchange_strong_explicit(&consumer->breaker, &word, taken, memory_order_acq_rel,
                                                memory_order_relaxed)) {
        key->first->passes = WEIR_PASSES_AS_PROBE;
        partition->probe = word >> 2;
        return false;
    }
    return true;
}

void weir_partition_answer_probe(struct weir_partition *partition, struct weir_message *message, enum weir_probe answer)
{
    struct weir_consumer *consumer = partition->consumer;
    message->passes = WEIR_PASSES_NOTHING;
    if (atomic_load_explicit(&consumer->breaker, memory_order_acquire) >> 2 != partition->probe)
        return; /* it took too long: there has been another since */
    atomic_store_explicit(&consumer->breaker_answer, partition->probe << 2 | answer, memory_order_release);
    weir_resident_notify(&consumer->control.resident);
}

/* The breaker's probe has ended. True if that was all: a failure is the downstream's, and burns no attempt. */
bool weir_partition_probe_ended(struct weir_partition *partition, struct weir_message *message,
                                enum weir_outcome outcome)
{
    bool filtered = message->filtered != WEIR_FILTERED_NOT;
    bool succeeded = (outcome == WEIR_ACK || outcome == WEIR_SKIP) && !filtered;
    bool failed = outcome == WEIR_RETRY || outcome == WEIR_OVERLOADED;
    weir_partition_answer_probe(partition, message,
                                succeeded ? WEIR_PROBE_SUCCEEDED
                                : failed  ? WEIR_PROBE_FAILED
                                          : WEIR_PROBE_VOID);
    if (outcome != WEIR_RETRY || partition->consumer->options->delivery == WEIR_AT_MOST_ONCE)
        return false;
    weir_partition_count(partition, retries, 1);
    return true;
}
