/*
 * Epochs of a partition: how one begins, drains and ends.
 *
 *   begin   the tracker starts at the committed floor, with the map that came with it
 *   finish  (close) nothing is pulled; all that was pulled runs; done when only held messages are left
 *   drain   (revoke) what has not started is purged: its content is freed, its offset stays unfinished in the tracker,
 *           so that the last commit tells the truth. Keys that wait for a worker are taken back: those of partitions
 *           that stay may keep the workers busy for long. Done when nothing runs and no dead letter or output is on
 *           its way
 *   end     the tracker is emptied. Messages that a worker, a holder of a handle or the producer still has become
 *           stragglers: they stay in their keys, and those keys start nothing, until they are back
 */
#include "actors/batch.h"
#include "actors/consumer.h"
#include "actors/output.h"
#include "actors/partition.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include <stddef.h>

/* ---- purge ---- */

/* Exactly once: in a drain what is enrolled waits for the last commit; at the end control has what is in its batch. */
static bool is_kept(const struct weir_key *key)
{
    return key->partition->state == WEIR_PARTITION_DRAINING ? key->first->enrolled : key->first->in_batch;
}

/* How many of the key's first messages somebody else has. */
static uint32_t in_possession(const struct weir_key *key)
{
    switch (key->state) {
    case WEIR_KEY_OUT:
        return key->run_count;
    case WEIR_KEY_LATER:
        return 1;
    case WEIR_KEY_DYING:
        return key->first->dlq_in_flight || weir_message_has_holder(key->first) || is_kept(key);
    case WEIR_KEY_SENDING:
        return is_kept(key) || key->first->outputs->in_flight > 0;
    default:
        return 0;
    }
}

static bool is_at_most_once(const struct weir_partition *partition)
{
    return partition->consumer->options->delivery == WEIR_AT_MOST_ONCE;
}

static void purge_message(struct weir_partition *partition, struct weir_message *message)
{
    weir_partition_refund(partition, message);
    message->owner = NULL;
    message->next = NULL;
    weir_partition_release(partition, message);
    message->unfinished_only = true;
}

/* Keep the first `keep` messages of the key, purge the others. */
static void truncate(struct weir_partition *partition, struct weir_key *key, uint32_t keep)
{
    struct weir_message *last = NULL, *message = key->first;
    for (uint32_t index = 0; index < keep; index++) {
        last = message;
        if (index + 1 < key->count)
            message = message->next;
    }
    uint32_t rest = key->count - keep;
    for (struct weir_message *next; rest > 0; rest--, message = next) {
        next = message->next;
        purge_message(partition, message);
    }
    key->count = keep;
    key->last = last;
    if (keep == 0)
        key->first = NULL;
}

/* Take from the key what nobody has; free it when nothing is left. */
void weir_partition_purge(struct weir_partition *partition, struct weir_key *key)
{
    uint32_t keep = in_possession(key);
    bool held = key->held;
    if (held)
        weir_partition_unhold(partition, key);
    if (keep == 0 && key->state != WEIR_KEY_READY && key->state != WEIR_KEY_LEAVING && key->state != WEIR_KEY_ENDING) {
        weir_timers_cancel(weir_worker_timers(partition->resident.home), &key->timer);
        weir_partition_leave_list(partition, key);
        weir_key_move(key, WEIR_KEY_READY);
    }
    if (key->count > keep)
        truncate(partition, key, keep);
    if (held && keep > 0)
        weir_partition_hold(partition, key);
    if (keep == 0)
        weir_partition_schedule(partition, key); /* empty: frees it */
}

/* ---- keys that wait for a worker ---- */

/* Called under the lock of a pool, where nobody comes in between: tests/support/preempt.h. */
__attribute__((no_instrument_function)) static bool is_key_of(const struct weir_actor *actor, const void *partition)
{
    return actor->turn == weir_key_turn && WEIR_CONTAINER(actor, const struct weir_key, actor)->partition == partition;
}

/* None of them has been begun, and none can be any more: the epoch is closed to them. */
static void take_back(struct weir_partition *partition)
{
    bool batches = weir_partition_has_batches(partition);
    struct weir_actor_list list =
        weir_worker_withdraw(partition->resident.home, batches ? weir_batch_has_keys_of : is_key_of, partition);
    struct weir_actor *actor;
    while ((actor = weir_actor_list_take(&list))) {
        if (batches)
            weir_batch_take_back(actor, partition);
        else
            weir_partition_take_back(partition, WEIR_CONTAINER(actor, struct weir_key, actor));
    }
}

static void purge_all(struct weir_partition *partition)
{
    for (struct weir_message *message = partition->tracker.head, *next; message; message = next) {
        next = message->after;
        if (message->owner)
            weir_partition_purge(partition, message->owner);
    }
}

/* What gathers is not waited for with: nothing more will be pulled. */
static void hurry_batches(struct weir_partition *partition)
{
    if (!weir_partition_has_batches(partition))
        return;
    for (struct weir_message *message = partition->tracker.head; message; message = message->after) {
        if (message->owner && message->owner->state == WEIR_KEY_GATHERING)
            weir_batch_hurry(message->owner);
    }
}

/* ---- the orders ---- */

static void begin(struct weir_partition *partition)
{
    WEIR_CHECK(partition->begin.epoch > partition->epoch && partition->begin.epoch <= UINT32_MAX);
    weir_partition_set_state(partition, WEIR_PARTITION_ACTIVE);
    partition->epoch = partition->begin.epoch;
    weir_tracker_init(&partition->tracker, partition->begin.position);
    weir_map_deinit(&partition->map);
    partition->map = partition->begin.map;
    partition->map_active = partition->begin.has_map;
    partition->map_verified = false;
    partition->begin.map = (struct weir_map){0};
    partition->begin.has_map = false;
    partition->finished = partition->finished_told = partition->handed_back_closing = 0;
    partition->once.told_end =
        partition->map_active ? weir_partition_told_end(&partition->map) : partition->begin.position;
    partition->changed = false;
    atomic_store_explicit(&partition->escalated, false, memory_order_relaxed);
    if (partition->consumer->journal)
        weir_partition_expect_suspects(partition);
    weir_partition_set_pause(partition, WEIR_PAUSE_ERROR | WEIR_PAUSE_MEMORY, false);
    weir_partition_set_pause(partition, WEIR_PAUSE_REVOKE, true);
    atomic_store_explicit(&partition->next_shared, partition->tracker.next, memory_order_relaxed);
    atomic_store_explicit(&partition->epoch_shared, partition->epoch, memory_order_release);
    atomic_store_explicit(&partition->open_epoch, partition->epoch, memory_order_release);
    if (!partition->sweep.armed)
        weir_timers_arm(weir_worker_timers(partition->resident.home), &partition->sweep,
                        weir_worker_now_ns(partition->resident.home) + WEIR_PARTITION_SWEEP_NS);
}

static void drain(struct weir_partition *partition)
{
    if (partition->state == WEIR_PARTITION_ENDED || partition->state == WEIR_PARTITION_DRAINING)
        return;
    weir_partition_set_state(partition, WEIR_PARTITION_DRAINING);
    if (is_at_most_once(partition)) {
        hurry_batches(partition);
        return; /* what has been committed runs now or never; the rest stays parked until the end */
    }
    atomic_store_explicit(&partition->open_epoch, 0, memory_order_release);
    take_back(partition);
    purge_all(partition);
}

/* What is left is handed back, or becomes a straggler. */
static void end(struct weir_partition *partition)
{
    if (partition->state == WEIR_PARTITION_ENDED)
        return;
    weir_partition_set_state(partition, WEIR_PARTITION_ENDED);
    atomic_store_explicit(&partition->open_epoch, 0, memory_order_release);
    atomic_store_explicit(&partition->epoch_shared, 0, memory_order_release);
    if (!is_at_most_once(partition)) /* there they are lost, and counted as they come back */
        take_back(partition);
    purge_all(partition);
    for (struct weir_key *key = partition->dying.first; key; key = key->list_after) { /* no letter of an old epoch */
        weir_timers_cancel(weir_worker_timers(partition->resident.home), &key->timer);
        weir_partition_refund(partition, key->first);
    }
    int64_t committed = atomic_load_explicit(&partition->committed, memory_order_acquire);
    bool at_most_once = is_at_most_once(partition);
    uint64_t stragglers = 0, unfinished = partition->tracker.count;
    while (partition->tracker.head) {
        struct weir_message *message = partition->tracker.head;
        weir_tracker_unlink(&partition->tracker, message);
        if (at_most_once && message->offset < committed && !message->owner)
            weir_partition_count(partition, lost_at_most_once, 1);
        weir_partition_count(partition, handed_back, 1);
        if (message->owner)
            stragglers++;
        else
            weir_partition_free_message(partition, message);
    }
    weir_partition_end_data(partition);
    if (atomic_load_explicit(&partition->consumer->stop_requests, memory_order_relaxed) > 0)
        partition->handed_back_closing = unfinished;
    partition->stragglers += stragglers;
    atomic_fetch_add_explicit(&partition->consumer->stragglers, stragglers, memory_order_relaxed);
    if (stragglers > 0) {
        char number[16];
        struct weir_log_field fields[2];
        weir_log(WEIR_LOG_WARN, weir_partition_fields(partition, number, fields), 2,
                 "%llu messages still running as the partition leaves; their results will be dropped",
                 (unsigned long long)stragglers);
    }
    partition->map_active = false;
    weir_partition_set_pause(partition, ~(uint32_t)0, false);
    weir_partition_set_pause(partition, WEIR_PAUSE_REVOKE, true);
    weir_timers_cancel(weir_worker_timers(partition->resident.home), &partition->sweep);
}

/* Does the key wait for what a close does not wait for? */
static bool is_held(const struct weir_partition *partition, const struct weir_key *key)
{
    return key->state == WEIR_KEY_WAITING || key->state == WEIR_KEY_DELAYED || weir_key_is_writing(key) ||
           (key->state == WEIR_KEY_PARKED &&
            (weir_partition_is_escalated(partition) || weir_partition_breaker(partition) != WEIR_BREAKER_STATE_CLOSED));
}

/* At-most-once leaves parked what is not committed: it can be handed back. */
static bool nothing_runs(const struct weir_partition *partition)
{
    int64_t committed = atomic_load_explicit(&partition->committed, memory_order_acquire);
    for (const struct weir_message *message = partition->tracker.head; message; message = message->after) {
        bool waits = is_at_most_once(partition) && message->offset >= committed;
        const struct weir_key *key = message->owner;
        if (!key || waits || message->enrolled)
            continue;
        bool may_wait = key->state == WEIR_KEY_DELAYED || weir_partition_is_escalated(partition);
        if (!may_wait || !is_held(partition, key))
            return false;
    }
    return true;
}

/* Only messages that wait for a retry, a time or a rate, for a dead letter or outputs that cannot be sent now, or for
 * the end of an escalation or of an open breaker, are left. Stragglers of an older epoch are not in the tracker:
 * nothing is waited for but what stands behind them. */
static bool only_held(const struct weir_partition *partition)
{
    if (partition->dlq_pending > 0 || partition->outputs_pending > 0)
        return false;
    for (const struct weir_message *message = partition->tracker.head; message; message = message->after) {
        if (message->enrolled)
            return false; /* the next transaction finishes it */
        if (!is_held(partition, message->owner))
            return false;
    }
    return true;
}

void weir_partition_take_order(struct weir_partition *partition)
{
    uint64_t word = atomic_load_explicit(&partition->order, memory_order_acquire);
    if (word == partition->order_seen)
        return;
    partition->order_seen = word;
    switch ((enum weir_order)(word & 0xff)) {
    case WEIR_ORDER_NONE:
        break;
    case WEIR_ORDER_BEGIN:
        begin(partition);
        break;
    case WEIR_ORDER_FINISH:
        if (partition->state != WEIR_PARTITION_ACTIVE)
            break;
        weir_partition_set_state(partition, WEIR_PARTITION_FINISHING);
        hurry_batches(partition);
        break;
    case WEIR_ORDER_DRAIN:
        drain(partition);
        break;
    case WEIR_ORDER_END:
        end(partition);
        break;
    }
}

void weir_partition_check_order(struct weir_partition *partition)
{
    uint64_t sequence = partition->order_seen >> 8;
    if (atomic_load_explicit(&partition->order_done, memory_order_relaxed) == sequence)
        return;
    if (partition->state == WEIR_PARTITION_FINISHING && !only_held(partition))
        return;
    if (partition->state == WEIR_PARTITION_DRAINING && !nothing_runs(partition))
        return;
    /* Before the release: who sees the end of an epoch done must not see fewer runs out than there are. */
    atomic_store_explicit(&partition->gauges.out, weir_partition_out(partition), memory_order_relaxed);
    atomic_store_explicit(&partition->order_done, sequence, memory_order_release);
    weir_resident_notify(&partition->consumer->control.resident);
}
