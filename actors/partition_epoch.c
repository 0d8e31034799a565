/*
 * Epochs of a partition: how one begins, drains and ends, and the map on its way in and out.
 *
 *   begin   the tracker starts at the committed floor, with the map that came with it
 *   finish  (close) nothing is pulled; all that was pulled runs; done when only held messages are left
 *   drain   (revoke) what has not started is purged: its content is freed, its offset stays unfinished in the tracker,
 *           so that the last commit tells the truth. Keys that wait for a worker are taken back: those of partitions
 *           that stay may keep the workers busy for long. Done when nothing runs and no dead letter or output is on
 *           its way
 *   end     the tracker is emptied. Messages that a worker, a holder of a handle or the producer still has become
 *           stragglers: they stay in their keys, and those keys start nothing, until they are back
 *
 * The map on the way in. Nothing is dropped as finished before the witness has been seen with the right checksum: it is
 * the lowest finished message above the floor, so it comes first. If it is missing or differs, the map is void as a
 * whole: redelivery, never loss. It is looked for in all of a pull before any of that is taken in, so that as a rule
 * the attempts that the map tells of are not believed before either. Where it is not among what was pulled first, they
 * are: to wait for it would give a message that always fails more runs after each crash. A map of another log then
 * makes messages before its witness die after fewer runs than they may have, and that is all.
 */
#include "actors/batch.h"
#include "actors/consumer.h"
#include "actors/output.h"
#include "actors/partition.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include <stddef.h>
#include <string.h>

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

/* ---- the map on its way in ---- */

static void void_map(struct weir_partition *partition, const char *why)
{
    char number[16];
    struct weir_log_field fields[2];
    weir_log(WEIR_LOG_WARN, weir_partition_fields(partition, number, fields), 2,
             "the map of the last commit is void (%s): finished messages above offset %lld come again", why,
             (long long)weir_tracker_floor(&partition->tracker));
    partition->map_active = false;
    partition->once.told_end = weir_tracker_floor(&partition->tracker);
    weir_map_deinit(&partition->map);
}

static bool is_witness(const struct weir_map *map, const struct weir_record *record)
{
    return record->offset == map->witness.offset &&
           weir_map_checksum(record->key, record->key_size, record->value, record->value_size, record->timestamp_ms) ==
               map->witness.checksum;
}

void weir_partition_prove_map(struct weir_partition *partition, const struct weir_record *records, uint32_t count)
{
    const struct weir_map *map = &partition->map;
    uint32_t index = 0;
    while (index < count && (records[index].kind != WEIR_RECORD_MESSAGE || records[index].offset < map->witness.offset))
        index++;
    if (index == count)
        return; /* it is still to come */
    partition->map_verified = is_witness(map, &records[index]);
    if (!partition->map_verified)
        void_map(partition, records[index].offset > map->witness.offset ? "its witness is not in the log"
                                                                        : "its witness differs");
}

bool weir_partition_was_finished(struct weir_partition *partition, const struct weir_record *record, uint32_t *attempts)
{
    const struct weir_map *map = &partition->map;
    if (record->offset >= map->end) {
        partition->map_active = false;
        weir_map_deinit(&partition->map);
        return false;
    }
    bool finished = partition->map_verified && weir_map_is_finished(map, record->offset);
    if (!finished) {
        *attempts = weir_map_attempts(map, record->offset);
        return false;
    }
    struct weir_message *before = partition->tracker.tail;
    if (weir_tracker_lacks_witness(before, record->offset))
        weir_tracker_set_witness(
            before, record->offset,
            weir_map_checksum(record->key, record->key_size, record->value, record->value_size, record->timestamp_ms));
    return true;
}

/* ---- the map on its way out ---- */

/* While the map read back has not been pulled through, the part of it that the tracker does not know yet still stands
 * and is told again. Returns the new count; *next is moved up to how far the list then speaks. */
static size_t tell_restored(const struct weir_partition *partition, struct weir_map_offset *list, size_t count,
                            size_t room, int64_t *next)
{
    const struct weir_map *map = &partition->map;
    if (!partition->map_active || map->end <= *next)
        return count;
    size_t index = 0;
    while (index < map->count && map->unfinished[index].offset < *next)
        index++;
    bool told = index < map->count && map->unfinished[index].offset == *next;
    if (count == 0 && !told)
        list[count++] = (struct weir_map_offset){*next, 0}; /* a map begins at its floor: at worst it comes once more */
    for (; index < map->count; index++) {
        if (count == room) {
            *next = map->unfinished[index].offset;
            return count;
        }
        list[count++] = map->unfinished[index];
    }
    *next = map->end;
    return count;
}

static struct weir_map_witness as_witness(const struct weir_message *message)
{
    return (struct weir_map_witness){message->offset, weir_map_checksum(message->key, message->key_size, message->value,
                                                                        message->value_size, message->timestamp_ms)};
}

/* The first that is neither finished nor about to be. */
static const struct weir_message *first_unfinished(const struct weir_partition *partition)
{
    const struct weir_message *message = partition->tracker.head;
    while (message && message->in_batch)
        message = message->after;
    return message;
}

/* The lowest finished message above the floor: ours, or while nothing of ours is, the one read back. */
static struct weir_map_witness find_witness(const struct weir_partition *partition)
{
    const struct weir_message *message = first_unfinished(partition);
    while (message && message->witness_distance == 0 && !message->in_batch) /* nothing is finished up to the next */
        message = message->after;
    if (message && message->in_batch)
        return as_witness(message);
    if (message)
        return (struct weir_map_witness){weir_tracker_witness(message), message->witness_checksum};
    if (partition->map_active && partition->map.witness.offset >= partition->tracker.next)
        return partition->map.witness;
    return (struct weir_map_witness){-1, 0};
}

/* Finished offsets that the commit will not tell of: what a crash now would bring again. */
static uint64_t count_left_out(const struct weir_tracker *tracker, int64_t end)
{
    if (end >= tracker->next)
        return 0;
    uint64_t unfinished = 0;
    for (const struct weir_message *message = tracker->tail; message && message->offset >= end;
         message = message->before)
        unfinished += !message->in_batch;
    return (uint64_t)(tracker->next - end) - unfinished;
}

void weir_partition_describe(struct weir_partition *partition, struct weir_snapshot *snapshot)
{
    const struct weir_consumer *consumer = partition->consumer;
    struct weir_map_offset *list = consumer->scratch[weir_worker_number(partition->resident.home)];
    const struct weir_tracker *tracker = &partition->tracker;
    bool at_most_once = is_at_most_once(partition);
    snapshot->epoch = partition->state == WEIR_PARTITION_ENDED ? 0 : partition->epoch; /* 0: not to be committed */
    snapshot->finished = partition->finished;
    const struct weir_message *unfinished = first_unfinished(partition);
    snapshot->floor = unfinished ? unfinished->offset : tracker->next;
    if (at_most_once) /* ahead of the handlers, but in a drain no further: what is not committed is handed back */
        snapshot->floor = partition->state == WEIR_PARTITION_DRAINING
                              ? atomic_load_explicit(&partition->committed, memory_order_acquire)
                              : tracker->next;
    if (snapshot->floor < 0)
        snapshot->epoch = 0; /* drained before the first commit */
    snapshot->end = snapshot->floor;
    snapshot->map_size = 0;
    snapshot->left_out = 0;
    snapshot->map[0] = '\0';
    uint32_t room = atomic_load_explicit(&partition->map_room, memory_order_relaxed);
    if (at_most_once || room == 0)
        return;
    size_t count = 0;
    int64_t next = tracker->next;
    for (const struct weir_message *message = unfinished; message; message = message->after) {
        if (message->in_batch)
            continue;
        if (count == consumer->scratch_count) {
            next = message->offset;
            break;
        }
        uint32_t burnt = weir_message_burnt(message);
        list[count++] = (struct weir_map_offset){message->offset, (uint16_t)(burnt < UINT16_MAX ? burnt : UINT16_MAX)};
    }
    struct weir_map_witness witness = find_witness(partition);
    /* A witness of ours must not vouch for a map that its own has not proved yet. */
    bool proved = partition->map_verified || witness.offset == partition->map.witness.offset;
    if (next == tracker->next && proved)
        count = tell_restored(partition, list, count, consumer->scratch_count, &next);
    if (witness.offset >= 0 && witness.offset < next) { /* else nothing finished above the floor could prove the map */
        struct weir_map_log log = {weir_consumer_log_hash(consumer, partition->topic->name), partition->leader_epoch};
        snapshot->map_size = weir_map_encode(snapshot->floor, next, list, count, &log, &witness, snapshot->map,
                                             (size_t)room + 1, &snapshot->end);
    }
    if (snapshot->map_size == 0)
        snapshot->end = snapshot->floor;
    snapshot->left_out = count_left_out(tracker, snapshot->end);
}

void weir_partition_answer_snapshot(struct weir_partition *partition)
{
    uint64_t wanted = atomic_load_explicit(&partition->snapshot_wanted, memory_order_acquire);
    if (wanted == atomic_load_explicit(&partition->snapshot_done, memory_order_relaxed))
        return;
    if (weir_partition_is_exactly_once(partition))
        weir_partition_choose(partition, &partition->snapshot, wanted);
    else
        weir_partition_describe(partition, &partition->snapshot);
    /* Pairs with control's acquire: it reads the snapshot only after this. */
    atomic_store_explicit(&partition->snapshot_done, wanted, memory_order_release);
    weir_resident_notify(&partition->consumer->control.resident);
}
