/*
 * Keys that wait: for a place, a time, an answer or the broker. Each such state has a list in the partition.
 *
 * Keys that wait for another run or die, or whose outputs were refused, are held: all their messages count, up to
 * held.messages.max. At that bound the policy `dead` gives up the waiting message with most attempts while the budget
 * lasts; `wait` leaves it to the window's pause.
 */
#include "actors/batch.h"
#include "actors/consumer.h"
#include "actors/partition_finish.h"
#include "runtime/check.h"
#include <stddef.h>

static struct weir_key_list *list_of(struct weir_partition *partition, const struct weir_key *key)
{
    switch (key->state) {
    case WEIR_KEY_PARKED:
        return &partition->parked;
    case WEIR_KEY_LATER:
        return &partition->later;
    case WEIR_KEY_DELAYED:
        return &partition->delayed;
    case WEIR_KEY_DYING:
        return &partition->dying;
    case WEIR_KEY_SENDING:
        return &partition->sending;
    case WEIR_KEY_WAITING: {
        uint32_t attempts = key->first->attempts;
        return &partition->waiting[attempts < WEIR_ATTEMPT_BUCKETS ? attempts : WEIR_ATTEMPT_BUCKETS - 1];
    }
    default:
        return NULL;
    }
}

/* Move a READY key into a state with a list. */
void weir_partition_enter_list(struct weir_partition *partition, struct weir_key *key, enum weir_key_state state)
{
    weir_key_move(key, state);
    weir_key_list_append(list_of(partition, key), key);
}

void weir_partition_leave_list(struct weir_partition *partition, struct weir_key *key)
{
    if (key->state != WEIR_KEY_GATHERING) {
        weir_key_list_remove(list_of(partition, key), key);
        return;
    }
    if (key->first->passes == WEIR_PASSES_AS_PROBE)
        weir_partition_answer_probe(partition, key->first, WEIR_PROBE_VOID);
    weir_batch_leave(key);
}

void weir_partition_hold(struct weir_partition *partition, struct weir_key *key)
{
    if (key->held)
        return;
    key->held = true;
    partition->held += key->count;
    if (weir_key_is_writing(key))
        partition->held_writing += key->count;
}

void weir_partition_unhold(struct weir_partition *partition, struct weir_key *key)
{
    if (!key->held)
        return;
    key->held = false;
    WEIR_CHECK(partition->held >= key->count);
    partition->held -= key->count;
    if (weir_key_is_writing(key))
        partition->held_writing -= key->count;
}

void weir_partition_arm(struct weir_partition *partition, struct weir_key *key, uint64_t delay_ms)
{
    weir_timers_cancel(weir_worker_timers(partition->resident.home), &key->timer);
    weir_timers_arm(weir_worker_timers(partition->resident.home), &key->timer,
                    weir_partition_now_ns(partition) + delay_ms * WEIR_MS_NS);
}

/* A DYING, WAITING or SENDING key goes on: no longer held, no timer, in no list. */
void weir_partition_ready(struct weir_partition *partition, struct weir_key *key)
{
    weir_timers_cancel(weir_worker_timers(partition->resident.home), &key->timer);
    weir_partition_leave_list(partition, key);
    weir_partition_unhold(partition, key);
    weir_key_move(key, WEIR_KEY_READY);
}

void weir_partition_enforce_held(struct weir_partition *partition)
{
    const struct weir_options *options = partition->consumer->options;
    if (options->held_policy != WEIR_HELD_DEAD || partition->state != WEIR_PARTITION_ACTIVE ||
        weir_partition_breaker(partition) != WEIR_BREAKER_STATE_CLOSED)
        return;
    /* Begin below the bound, so that the intake need not close while dead letters are on their way; what is dying will
     * make room by itself. */
    uint64_t start = options->held_messages_max - options->held_messages_max / 8;
    while (partition->held - partition->held_writing >= start) {
        struct weir_key *victim = NULL;
        for (size_t bucket = WEIR_ATTEMPT_BUCKETS; bucket-- > 0 && !victim;)
            victim = partition->waiting[bucket].first;
        if (!victim || !*options->dlq_topic ||
            weir_budget_is_spent(&partition->topic->budget, weir_partition_now_ns(partition))) {
            partition->budget_spent = victim != NULL && *options->dlq_topic;
            return;
        }
        weir_partition_ready(partition, victim);
        weir_partition_die(partition, victim, WEIR_DLQ_HELD);
    }
}

/* What waits behind a retry pins fetch responses as well: move it out. */
void weir_partition_copy_out_held(struct weir_partition *partition)
{
    for (size_t bucket = 0; bucket < WEIR_ATTEMPT_BUCKETS; bucket++) {
        for (struct weir_key *key = partition->waiting[bucket].first; key; key = key->list_after) {
            struct weir_message *message = key->first;
            for (uint32_t count = key->count; count > 0; count--, message = message->next)
                weir_partition_copy_out(partition, message);
        }
    }
}
