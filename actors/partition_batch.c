/*
 * What a batch has said of each of its messages. Outcomes are acted on in the order of the key: see key.h. A message
 * that waits for those before it is settled; one that is to run again is put off.
 */
#include "actors/batch.h"
#include "actors/consumer.h"
#include "actors/output.h"
#include "actors/partition_finish.h"
#include <stddef.h>

/* A message of a batch that is not finished: it is to run again when it is due, or settled. Its attempt is burnt now,
 * as others of its key may stand before it. */
static void put_off_or_settle(struct weir_partition *partition, struct weir_message *message)
{
    uint64_t delay_ms = 0;
    enum weir_dlq_cause cause = WEIR_DLQ_DEAD;
    bool again = true, probed = message->passes == WEIR_PASSES_AS_PROBE &&
                                weir_partition_probe_ended(partition, message, (enum weir_outcome)message->outcome);
    if (message->outcome > WEIR_SKIP)
        weir_partition_drop_outputs(partition, message);
    if (probed)
        delay_ms = weir_partition_room_ms(partition, message);
    else if (message->outcome == WEIR_RETRY)
        again = weir_partition_may_retry(partition, message, &delay_ms, &cause);
    else if (message->outcome == WEIR_OVERLOADED)
        delay_ms = weir_partition_overloaded_ms(partition, message);
    else if (message->outcome == WEIR_ESCALATE)
        weir_partition_escalate(partition, message);
    else
        again = false;
    if (message->outcome == WEIR_DEAD)
        weir_partition_burn_attempt(partition, message);
    message->settled = !again;
    message->put_off = again && message->outcome != WEIR_ESCALATE;
    if (message->settled)
        message->cause = (uint8_t)cause; /* of its letter, if there will be one */
    message->due_ms = weir_ms_of(weir_partition_now_ns(partition) + delay_ms * WEIR_MS_NS);
}

static void take_outcomes(struct weir_partition *partition, struct weir_key *key)
{
    struct weir_message *before = NULL, *message = key->first;
    for (uint32_t left = key->run_done; left > 0; left--) {
        struct weir_message *next = message->next;
        if (message->outcome <= WEIR_SKIP && !message->outputs) {
            if (message->passes == WEIR_PASSES_AS_PROBE)
                weir_partition_probe_ended(partition, message, (enum weir_outcome)message->outcome);
            weir_partition_finish_with(partition, key, before, (enum weir_outcome)message->outcome);
        } else {
            put_off_or_settle(partition, message);
            before = message;
        }
        message = next;
    }
}

void weir_partition_take_batched(struct weir_partition *partition, struct weir_key *key)
{
    weir_partition_come_back(partition, key);
    if (weir_partition_is_stale(partition, key->first))
        weir_partition_drop_stale(partition, key);
    else
        take_outcomes(partition, key);
    weir_partition_go_on(partition, key);
}

/* How long it is until the last of those is due that have failed and may go again together. */
static uint32_t find_due_ms(const struct weir_partition *partition, const struct weir_key *key)
{
    uint64_t now_ns = weir_partition_now_ns(partition), room = partition->consumer->options->batch_messages_max;
    uint32_t longest_ms = 0;
    const struct weir_message *message = key->first;
    for (uint64_t left = key->count < room ? key->count : room; left > 0 && !message->settled;
         left--, message = message->next) {
        int32_t left_ms = message->put_off ? (int32_t)-weir_ms_since(message->due_ms, now_ns) : 0;
        longest_ms = left_ms > 0 && (uint32_t)left_ms > longest_ms ? (uint32_t)left_ms : longest_ms;
    }
    return longest_ms;
}

/* Act on what is settled at the head, and wait for what is not due. */
bool weir_partition_settle(struct weir_partition *partition, struct weir_key *key)
{
    while (key->state == WEIR_KEY_READY && key->count > 0 && key->first->settled) {
        if (key->first->outcome <= WEIR_SKIP)
            weir_partition_send_first(partition, key, (enum weir_outcome)key->first->outcome);
        else
            weir_partition_die(partition, key, (enum weir_dlq_cause)key->first->cause);
    }
    if (key->state != WEIR_KEY_READY || key->count == 0)
        return key->state == WEIR_KEY_READY;
    uint32_t due_ms = find_due_ms(partition, key);
    if (due_ms > 0)
        weir_partition_wait(partition, key, due_ms);
    return key->state == WEIR_KEY_READY;
}
