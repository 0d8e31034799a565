/*
 * Data of keys (key_data.h) from the side of the partition actor: keys that are idle and kept for their data, and its
 * end.
 *
 *     READY ──> IDLE ──────> LEAVING ──> ENDING ──> READY ──> freed, or its next messages run
 *         \___________________/  (of an ended epoch, or a key of one message)
 *
 *   IDLE     no messages; kept in the list `idle`, which is in the order in which they became so. A message makes the
 *            key READY again
 *   LEAVING  its data must end; waits in the list `leaving` until ENDING_MAX others have ended, or the suspects'
 *            round is over
 *   ENDING   a worker runs the destructor
 * A key that is LEAVING or ENDING starts nothing; messages that come wait in its queue.
 *
 * Bounds: key.state.keys.max idle keys; key.state.bytes.max for all data while any key is idle. Busy keys are bounded
 * by the window.
 */
#include "actors/consumer.h"
#include "actors/partition.h"
#include "runtime/check.h"
#include "runtime/memory.h"

#define ENDING_MAX 256 /* destructors queued at a time: a partition that leaves must not hold up handlers of others */

static uint64_t now(const struct weir_partition *partition)
{
    return weir_worker_now_ns(partition->resident.home);
}

static struct weir_key_list *list_of(struct weir_partition *partition, enum weir_key_state state)
{
    return state == WEIR_KEY_IDLE      ? &partition->idle
           : state == WEIR_KEY_LEAVING ? &partition->leaving
                                       : &partition->ending;
}

/* The three lists are entered and left here only. */
static void move(struct weir_partition *partition, struct weir_key *key, enum weir_key_state state)
{
    if (key->state != WEIR_KEY_READY)
        weir_key_list_remove(list_of(partition, (enum weir_key_state)key->state), key);
    weir_key_move(key, state);
    if (state != WEIR_KEY_READY)
        weir_key_list_append(list_of(partition, state), key);
}

/* What it counts for now, as last said by whoever had it. */
static void charge(struct weir_partition *partition, struct weir_key_data *data)
{
    partition->datas.count += data->bytes_charged == 0;
    if (data->state && !data->is_counted) {
        data->is_counted = true;
        weir_partition_count(partition, key_states_created, 1);
    }
    partition->datas.bytes += data->bytes - data->bytes_charged;
    data->bytes_charged = data->bytes;
}

static void free_data(struct weir_partition *partition, struct weir_key_data *data)
{
    WEIR_CHECK(partition->datas.count > 0 && partition->datas.bytes >= data->bytes_charged);
    partition->datas.count--;
    partition->datas.bytes -= data->bytes_charged;
    if (data->state)
        weir_partition_count(partition, key_states_destroyed, 1);
    weir_memory_free(data);
}

/* ---- idle ---- */

static void evict(struct weir_partition *partition)
{
    const struct weir_options *options = partition->consumer->options;
    while (partition->idle.count > options->key_state_keys_max ||
           (partition->datas.bytes > options->key_state_bytes_max && partition->idle.count > 0)) {
        weir_partition_count(partition, key_states_evicted, 1);
        partition->datas.bytes -= partition->idle.first->data->bytes_charged; /* it is as good as gone */
        partition->idle.first->data->bytes_charged = 0;
        move(partition, partition->idle.first, WEIR_KEY_LEAVING);
    }
}

bool weir_partition_settle_data(struct weir_partition *partition, struct weir_key *key)
{
    struct weir_key_data *data = key->data;
    charge(partition, data);
    bool ended = partition->state == WEIR_PARTITION_ENDED || data->epoch != partition->epoch;
    if (!ended && key->count > 0)
        return false;
    if (ended || !(key->in_table || partition->lane == key)) {
        move(partition, key, WEIR_KEY_LEAVING);
    } else {
        data->idle_since_ns = now(partition);
        move(partition, key, WEIR_KEY_IDLE);
        evict(partition);
    }
    weir_partition_serve_leaving(partition);
    return true;
}

void weir_partition_rouse(struct weir_partition *partition, struct weir_key *key)
{
    move(partition, key, WEIR_KEY_READY);
}

void weir_partition_sweep_data(struct weir_partition *partition)
{
    uint64_t limit_ns = partition->consumer->options->key_state_idle_ms_max * 1000000;
    while (limit_ns > 0 && partition->idle.first &&
           now(partition) - partition->idle.first->data->idle_since_ns >= limit_ns)
        move(partition, partition->idle.first, WEIR_KEY_LEAVING);
}

/* ---- the end ---- */

void weir_partition_end_data(struct weir_partition *partition)
{
    while (partition->idle.first)
        move(partition, partition->idle.first, WEIR_KEY_LEAVING);
    weir_partition_serve_leaving(partition);
}

/* The data of an ENDING key is gone. */
static void key_is_back(struct weir_partition *partition, struct weir_key *key)
{
    key->data = NULL;
    move(partition, key, WEIR_KEY_READY);
    weir_partition_schedule(partition, key);
}

static void end_key(struct weir_partition *partition, struct weir_key *key)
{
    free_data(partition, key->data);
    key_is_back(partition, key);
}

void weir_partition_serve_leaving(struct weir_partition *partition)
{
    const struct weir_consumer *consumer = partition->consumer;
    /* A destructor is the user's code as well: a suspect runs with nothing beside it. Whoever closes ends the rest. */
    if ((consumer->journal && atomic_load_explicit(&consumer->alone_round, memory_order_acquire) != 0) ||
        weir_consumer_is_closed(consumer))
        return;
    while (partition->leaving.first && partition->ending.count < ENDING_MAX) {
        struct weir_key *key = partition->leaving.first;
        move(partition, key, WEIR_KEY_ENDING);
        if (key->data->state)
            weir_worker_dispatch_at(partition->resident.home, &key->data->actor, partition->level, 1);
        else
            end_key(partition, key); /* nothing of the user's is in it */
    }
}

static void leave_orphans(struct weir_partition *partition, const struct weir_key_data *data)
{
    struct weir_key_data **link = &partition->datas.orphans;
    while (*link != data)
        link = &(*link)->next;
    *link = data->next;
}

void weir_partition_take_data(struct weir_partition *partition, struct weir_key_data *data)
{
    struct weir_key *key = data->key;
    if (!key)
        leave_orphans(partition, data);
    free_data(partition, data);
    if (!key)
        return;
    key_is_back(partition, key);
    weir_partition_serve_leaving(partition);
}

bool weir_partition_ends_data(const struct weir_partition *partition)
{
    return partition->ending.count > 0 || partition->datas.orphans;
}

/* ---- abandoned ---- */

void weir_partition_detach_data(struct weir_partition *partition, struct weir_key *key)
{
    struct weir_key_data *data = key->data;
    WEIR_CHECK(data && key->first->data == data);
    charge(partition, data);
    data->key = NULL;
    key->data = NULL;
}

void weir_partition_let_data_go(struct weir_partition *partition, struct weir_message *message)
{
    struct weir_key_data *data = message->data;
    message->data = NULL;
    if (data->key)
        return;
    data->next = partition->datas.orphans;
    partition->datas.orphans = data;
    if (!weir_consumer_is_closed(partition->consumer)) {
        weir_worker_dispatch_at(partition->resident.home, &data->actor, partition->level, 1);
        return;
    }
    weir_key_data_destroy(data);
    weir_partition_take_data(partition, data);
}

/* ---- without workers ---- */

void weir_partition_end_data_here(struct weir_partition *partition)
{
    while (partition->idle.first)
        move(partition, partition->idle.first, WEIR_KEY_LEAVING);
    while (partition->leaving.first)
        move(partition, partition->leaving.first, WEIR_KEY_ENDING);
    for (;;) { /* what was dispatched and did not run any more is among them */
        struct weir_key_data *data = partition->ending.first ? partition->ending.first->data : partition->datas.orphans;
        if (!data)
            return;
        if (data->state)
            weir_key_data_destroy(data);
        weir_partition_take_data(partition, data);
    }
}
