/*
 * Pulling and routing: from librdkafka's queue of a partition to its key actors. Runs in the partition actor's turn.
 *
 * A pull is bounded by the credit, passes the gate (P2), and says where it ended before it lets go of the gate: so
 * control, which takes the gate away, knows what will be taken in. That is done in the same turn, message after
 * message, as each is handed out (partition_shortcut.c). All that a message needs is reserved before it is pulled (P5).
 */
#include "actors/batch.h"
#include "actors/consumer.h"
#include "actors/partition.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include <stddef.h>
#include <string.h>

#define PULL_SHORT 64 /* messages, where they are run at once: what of them lies about stays in the nearest cache */

/* ---- routing ---- */

static struct weir_key *new_key(struct weir_partition *partition)
{
    struct weir_key *key = weir_key_pool_take(&partition->key_pool, partition);
    partition->key_count++;
    return key;
}

static void free_key(struct weir_partition *partition, struct weir_key *key)
{
    WEIR_CHECK(key->count == 0 && key->state == WEIR_KEY_READY && !key->timer.armed && !key->held);
    if (key->in_table)
        weir_key_table_remove(&partition->keys, key);
    if (partition->lane == key)
        partition->lane = NULL;
    partition->key_count--;
    weir_key_pool_give(&partition->key_pool, key);
}

static void hash_key(const struct weir_message *message, struct weir_route *route)
{
    route->hash = (uint32_t)weir_key_hash(message->key, message->key_size);
    route->is_hashed = true;
}

void weir_partition_aim(const struct weir_partition *partition, const struct weir_message *message,
                        struct weir_route *route)
{
    const struct weir_options *options = partition->consumer->options;
    bool spread = !message->key && options->null_keys == WEIR_NULL_KEYS_SPREAD;
    *route = (struct weir_route){.kind = WEIR_ROUTE_BY_BYTES};
    if (options->ordering == WEIR_ORDERING_NONE || (options->ordering == WEIR_ORDERING_KEY && spread)) {
        route->kind = WEIR_ROUTE_ALONE;
    } else if (options->ordering == WEIR_ORDERING_PARTITION || !message->key) {
        route->kind = WEIR_ROUTE_LANE;
    } else if (partition->keys.count > 0) { /* else the hash may never be asked for */
        hash_key(message, route);
        weir_key_table_prefetch(&partition->keys, route->hash);
    }
}

void weir_partition_look_up(const struct weir_partition *partition, const struct weir_message *message,
                            struct weir_route *route)
{
    if (route->kind == WEIR_ROUTE_LANE)
        route->key = partition->lane;
    if (route->kind != WEIR_ROUTE_BY_BYTES || partition->keys.count == 0)
        return;
    if (!route->is_hashed)
        hash_key(message, route);
    route->key = weir_key_table_find(&partition->keys, route->hash, message->key, message->key_size);
}

void weir_partition_find_route(const struct weir_partition *partition, const struct weir_message *message,
                               struct weir_route *route)
{
    weir_partition_aim(partition, message, route);
    weir_partition_look_up(partition, message, route);
}

struct weir_key *weir_partition_join_key(struct weir_partition *partition, struct weir_message *message,
                                         const struct weir_route *route)
{
    struct weir_key *key = route->key ? route->key : new_key(partition);
    weir_key_append(key, message);
    if (key->held) {
        partition->held++;
        partition->held_writing += weir_key_is_writing(key);
    }
    if (route->key)
        return key;
    if (route->kind == WEIR_ROUTE_LANE)
        partition->lane = key;
    if (route->kind != WEIR_ROUTE_BY_BYTES)
        return key;
    key->hash = route->is_hashed ? route->hash : (uint32_t)weir_key_hash(message->key, message->key_size);
    weir_key_table_insert(&partition->keys, key); /* after the append: its bytes are the last message's */
    return key;
}

static void park(struct weir_partition *partition, struct weir_key *key)
{
    weir_key_move(key, WEIR_KEY_PARKED);
    weir_key_list_append(&partition->parked, key);
}

/* May the key's first message start now? */
static bool may_go(struct weir_partition *partition, struct weir_key *key)
{
    bool committed = partition->consumer->options->delivery != WEIR_AT_MOST_ONCE ||
                     key->first->offset < atomic_load_explicit(&partition->committed, memory_order_acquire);
    uint64_t now_ns = weir_worker_now_ns(partition->resident.home);
    /* Pairs with the release in control_guard.c: `alone` is cleared before others start. */
    bool kept =
        partition->consumer->journal &&
        (key->first->crashes > 0 || atomic_load_explicit(&partition->consumer->alone_round, memory_order_acquire) != 0);
    return committed && !kept && !weir_partition_is_escalated(partition) &&
           weir_consumer_lease_holds(partition->consumer, now_ns) &&
           (!partition->consumer->breaks ||
            !weir_partition_breaker_holds(partition, key)); /* last: it may take the probe */
}

static void schedule_batched(struct weir_partition *partition, struct weir_key *key)
{
    if (key->state == WEIR_KEY_GATHERING)
        weir_batch_extend(key);
    if (key->state != WEIR_KEY_READY || !weir_partition_settle(partition, key) ||
        (key->data && weir_partition_settle_data(partition, key)))
        return;
    if (key->count == 0)
        free_key(partition, key);
    else if (!may_go(partition, key) || !weir_batch_join(key))
        park(partition, key);
}

void weir_partition_schedule(struct weir_partition *partition, struct weir_key *key)
{
    if (key->state == WEIR_KEY_IDLE && key->count > 0)
        weir_partition_rouse(partition, key);
    if (partition->consumer->batch_handler) {
        schedule_batched(partition, key);
        return;
    }
    if (key->state != WEIR_KEY_READY || (key->data && weir_partition_settle_data(partition, key)))
        return;
    if (key->count == 0) {
        free_key(partition, key);
        return;
    }
    if (!may_go(partition, key)) {
        park(partition, key);
        return;
    }
    const struct weir_options *options = partition->consumer->options;
    uint64_t run = key->count < options->turn_messages_max ? key->count : options->turn_messages_max;
    if (options->delivery == WEIR_AT_MOST_ONCE)
        run = 1; /* what stands behind may not be committed yet */
    if (key->first->passes != WEIR_PASSES_NOTHING)
        run = 1; /* what stands behind does not pass */
    if (key->first->offset <= partition->suspect_last)
        run = weir_partition_clip_run(key, run);
    weir_partition_dispatch(partition, key, run);
}

void weir_partition_dispatch(struct weir_partition *partition, struct weir_key *key, uint64_t run)
{
    key->run_count = (uint16_t)(run < UINT16_MAX ? run : UINT16_MAX);
    key->run_done = 0;
    weir_key_move(key, WEIR_KEY_OUT);
    partition->out_count++;
    weir_worker_dispatch_at(partition->resident.home, &key->actor, partition->level, key->count);
}

void weir_partition_serve_parked(struct weir_partition *partition)
{
    for (uint32_t count = partition->parked.count; count > 0; count--) {
        struct weir_key *key = partition->parked.first;
        weir_partition_leave_list(partition, key);
        weir_key_move(key, WEIR_KEY_READY);
        weir_partition_schedule(partition, key); /* back to the end of the list if it still may not */
    }
}

void weir_partition_track(struct weir_partition *partition, struct weir_message *message)
{
    if (message->offset <= partition->suspect_last)
        weir_partition_suspect(partition, message);
    weir_partition_charge(partition, message);
    weir_tracker_append(&partition->tracker, message);
}

/* ---- pulling ---- */

static void stop_for_trouble(struct weir_partition *partition, const struct weir_record *record, int64_t next)
{
    char number[16];
    struct weir_log_field fields[2];
    weir_log(WEIR_LOG_WARN, weir_partition_fields(partition, number, fields), 2,
             "stopped pulling at offset %lld: %s (%s)", (long long)next, weir_kafka_error_name(record->error),
             record->text ? record->text : "");
    weir_partition_set_pause(partition, WEIR_PAUSE_ERROR, true);
    atomic_store_explicit(&partition->trouble, record->error, memory_order_release);
    weir_resident_notify(&partition->consumer->control.resident);
}

static void take_error(struct weir_partition *partition, const struct weir_record *record, int64_t next)
{
    switch (record->error) {
    case WEIR_KAFKA_OUT_OF_RANGE:
    case WEIR_KAFKA_UNKNOWN_TOPIC:
    case WEIR_KAFKA_AUTHORIZATION:
        stop_for_trouble(partition, record, next);
        return;
    default: /* librdkafka goes on by itself */
        if (weir_partition_log_is_due(partition)) {
            char number[16];
            struct weir_log_field fields[2];
            weir_log(WEIR_LOG_WARN, weir_partition_fields(partition, number, fields), 2, "fetch: %s (%s)",
                     weir_kafka_error_name(record->error), record->text ? record->text : "");
        }
    }
}

/* In the gate: what of a pull control must find when it takes the gate away. */
static void settle(struct weir_partition *partition, const struct weir_record *records, uint32_t count)
{
    int64_t next = partition->tracker.next;
    for (const struct weir_record *record = records; record < records + count; record++) {
        int64_t end = record->offset + (record->kind == WEIR_RECORD_MESSAGE);
        if (record->kind == WEIR_RECORD_ERROR)
            take_error(partition, record, next);
        else if (end > next)
            next = end;
    }
    atomic_store_explicit(&partition->next_shared, next, memory_order_relaxed);
}

/* Nodes and key actors for `count` messages. */
static bool reserve(struct weir_partition *partition, uint32_t count)
{
    bool reserved = weir_message_pool_reserve(&partition->message_pool, count) == 0 &&
                    weir_key_pool_reserve(&partition->key_pool, count) == 0;
    weir_partition_set_pause(partition, WEIR_PAUSE_MEMORY, !reserved);
    return reserved;
}

/* At most twice what came last: a reserve is kept once it is made, and of many partitions most have little to pull. */
static uint32_t next_pull(uint32_t pulled)
{
    if (pulled >= WEIR_PULL_MAX / 2)
        return WEIR_PULL_MAX;
    return pulled > WEIR_PULL_MIN / 2 ? 2 * pulled : WEIR_PULL_MIN;
}

bool weir_partition_pull(struct weir_partition *partition)
{
    struct weir_record records[WEIR_PULL_MAX];
    if (weir_worker_queued_at(partition->resident.home, partition->level) >= WEIR_BACKLOG_MAX)
        return true; /* another turn comes when those have run */
    uint32_t most = partition->pull_next;
    if (most > PULL_SHORT && weir_worker_turns_are_short(partition->resident.home))
        most = PULL_SHORT;
    uint32_t count = weir_partition_credit(partition);
    count = count < most ? count : most;
    if (count == 0 || !reserve(partition, count))
        return false;
    uint32_t gate = WEIR_GATE_OPEN;
    if (!atomic_compare_exchange_strong_explicit(&partition->gate, &gate, WEIR_GATE_PULLING, memory_order_acq_rel,
                                                 memory_order_relaxed)) {
        weir_partition_set_pause(partition, WEIR_PAUSE_REVOKE, true);
        return false;
    }
    weir_partition_set_pause(partition, WEIR_PAUSE_REVOKE, false);
    uint32_t pulled = partition->consumer->kafka->ops->pull(partition->queue, records, count);
    partition->pull_next = next_pull(pulled);
    settle(partition, records, pulled);
    bool stopped = partition->pause & WEIR_PAUSE_ERROR;
    atomic_store_explicit(&partition->gate, stopped ? WEIR_GATE_CLOSED : WEIR_GATE_OPEN, memory_order_release);
    if (pulled == 0)
        return false;
    partition->changed |= partition->consumer->options->delivery == WEIR_AT_MOST_ONCE;
    if (partition->map_active && !partition->map_verified)
        weir_partition_prove_map(partition, records, pulled);
    weir_partition_learn_sizes(partition, records, pulled);
    weir_partition_hand_out(partition, records, pulled);
    return pulled == count;
}
