/*
 * What a run has emitted is sent when the run has succeeded, and the message is finished when the broker has all of it
 * (output.h).
 *
 * Refused outputs are sent again after output.retry.ms, and the key is held meanwhile; where one never can be sent, the
 * run has failed.
 */
#include "actors/consumer.h"
#include "actors/output.h"
#include "actors/partition_finish.h"
#include "runtime/check.h"
#include <stddef.h>

/* What a run emitted that has failed. */
void weir_partition_drop_outputs(struct weir_partition *partition, struct weir_message *message)
{
    if (!message->outputs)
        return;
    weir_partition_count(partition, outputs_dropped, message->outputs->count);
    weir_outputs_drop(message);
}

/* An output can never be sent: the run has failed, whatever it said. */
void weir_partition_fail_outputs(struct weir_partition *partition, struct weir_key *key)
{
    struct weir_message *message = key->first;
    char words[WEIR_MESSAGE_REASON_BYTES];
    weir_outputs_describe(message->outputs, words, sizeof words);
    weir_partition_warn(partition, "an output can never be sent, its message has failed", message->offset, words);
    weir_partition_drop_outputs(partition, message);
    weir_retry(message, words);
    message->has_delay = false;
    message->settled = false;
    weir_partition_ready(partition, key);
    weir_partition_retry(partition, key);
}

/* Held, as only a key that waits for the broker longer than it should is. */
static void send_later(struct weir_partition *partition, struct weir_key *key)
{
    weir_partition_warn(partition, "an output was not taken, its key is held", key->first->offset, "it is sent again");
    weir_partition_copy_out(partition, key->first);
    weir_partition_hold(partition, key);
    weir_partition_arm(partition, key, partition->consumer->options->output_retry_ms);
}

/* Send what is left of a SENDING key's outputs; when nothing is, its message is finished. */
void weir_partition_send_outputs(struct weir_partition *partition, struct weir_key *key)
{
    struct weir_message *message = key->first;
    uint32_t before = message->outputs->in_flight;
    enum weir_outputs_step step = weir_outputs_send(message);
    partition->outputs_pending += message->outputs->in_flight - before;
    switch (step) {
    case WEIR_OUTPUTS_UNDER_WAY:
        break;
    case WEIR_OUTPUTS_NO_PLACE:
        weir_partition_arm(partition, key, WEIR_OUTPUT_QUEUE_FULL_MS);
        break;
    case WEIR_OUTPUTS_AGAIN:
        send_later(partition, key);
        break;
    case WEIR_OUTPUTS_REFUSED:
        weir_partition_fail_outputs(partition, key);
        break;
    case WEIR_OUTPUTS_WRITTEN:
        weir_partition_ready(partition, key);
        weir_partition_finish_with(partition, key, NULL, message->outputs->outcome);
        break;
    }
}

void weir_partition_take_output(struct weir_partition *partition, struct weir_emission *emission)
{
    struct weir_message *message = emission->message;
    struct weir_key *key = message->owner;
    bool lost, once = partition->consumer->options->delivery == WEIR_AT_MOST_ONCE;
    WEIR_CHECK(partition->outputs_pending > 0 && key && key->first == message && key->state == WEIR_KEY_SENDING);
    partition->outputs_pending--;
    if (weir_outputs_take(emission, once, &lost))
        weir_partition_count(partition, outputs_sent, 1);
    else
        weir_partition_count(partition, output_failures, 1);
    if (lost)
        weir_partition_count(partition, outputs_lost, 1);
    if (message->outputs->in_flight > 0)
        return;
    if (weir_partition_is_stale(partition, message)) {
        weir_partition_ready(partition, key);
        weir_partition_drop_first(partition, key);
    } else {
        weir_partition_send_outputs(partition, key);
    }
    weir_partition_go_on(partition, key); /* a drain does not wait for another try */
}

void weir_partition_send_first(struct weir_partition *partition, struct weir_key *key, enum weir_outcome outcome)
{
    key->first->outputs->outcome = outcome;
    weir_partition_enter_list(partition, key, WEIR_KEY_SENDING);
    weir_partition_send_outputs(partition, key);
}
