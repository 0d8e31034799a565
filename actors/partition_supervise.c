/*
 * Supervision from the side of the partition actor: what stops a partition in place.
 *
 * Escalation. A handler said WEIR_ESCALATE: the message stays first in its key, and no handler of the partition starts
 * any more, since what is wrong is more than this message. Nothing is lost or burnt: all keys are parked, the pause
 * says `escalated`, and offsets are committed up to where they are. It ends when weir_consumer_resume() is called or
 * the epoch ends: then the message runs again, here or elsewhere. If the whole consumer is to stop, control closes it,
 * with the reason as its error.
 *
 * `escalated` is a word of the partition: set by the owner (and by control for all, once the consumer stops), cleared
 * by whoever resumes and by the owner as an epoch begins. Runs under way end by it as by the breaker: see
 * weir_partition_may_start().
 */
#include "actors/consumer.h"
#include "actors/partition.h"
#include "runtime/log.h"
#include <stdio.h>

void weir_partition_escalate(struct weir_partition *partition, struct weir_key *key)
{
    struct weir_message *message = key->first;
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
