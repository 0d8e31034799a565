/*
 * See audit.h. Each check returns NULL, or a constant text that says what does not hold.
 */
#include "tests/support/audit.h"
#include "actors/batch.h"
#include "actors/consumer.h"
#include "actors/output.h"
#include "runtime/check.h"
#include <stdio.h>
#include <string.h>

#define WALK_EVERY 4 /* audits */
#define WAKE_IDLE  0 /* as in runtime/worker.c */

#define HOLDS(condition, what) \
    do {                       \
        if (!(condition))      \
            return what;       \
    } while (0)

/* ---- sums ---- */

static const char *check_gate(const struct weir_consumer *consumer, const struct weir_partition *partition)
{
    uint32_t gate = atomic_load_explicit(&partition->gate, memory_order_relaxed);
    HOLDS(gate != WEIR_GATE_PULLING, "a pull goes on between two steps");
    HOLDS(gate == WEIR_GATE_CLOSED || consumer->control.phase == WEIR_PHASE_NONE,
          "a gate is open while a rebalance event is open");
    HOLDS(gate == WEIR_GATE_CLOSED || partition->control.state == WEIR_CONTROL_OPEN,
          "a gate is open that control does not call open");
    return NULL;
}

static const char *check_sums(const struct weir_consumer *consumer, const struct weir_partition *partition)
{
    const struct weir_tracker *tracker = &partition->tracker;
    HOLDS(tracker->count <= consumer->options->window_messages_max, "more in flight than the window");
    HOLDS(partition->state != WEIR_PARTITION_ENDED || tracker->count == 0, "something is tracked without an epoch");
    HOLDS(partition->held_writing <= partition->held, "more held by keys that wait for a broker than held");
    HOLDS(partition->key_count >= partition->out_count, "more keys are out than there are");
    bool empty = tracker->count == 0 && partition->stragglers == 0 && partition->orphans == 0;
    HOLDS(!empty || partition->charged_bytes == 0, "bytes are charged for nothing");
    HOLDS(!empty || atomic_load(&partition->output_bytes) == 0, "bytes are charged for outputs of nothing");
    uint64_t kept = (uint64_t)partition->idle.count + partition->leaving.count + partition->ending.count;
    HOLDS(!empty || partition->key_count == kept, "a key actor without a message or data");
    HOLDS(!empty || partition->keys.count <= kept, "the table has keys without a message or data");
    HOLDS(partition->datas.count >= kept, "keys are kept for data that there is not");
    HOLDS(partition->state != WEIR_PARTITION_ENDED || partition->idle.count == 0, "data outlives its epoch");
    HOLDS(partition->idle.count <= consumer->options->key_state_keys_max, "more idle keys than may be kept");
    HOLDS(tracker->count == 0 || partition->state == WEIR_PARTITION_DRAINING || partition->charged_bytes > 0,
          "messages in flight, and no byte charged");
    return check_gate(consumer, partition);
}

/* ---- the tracker ---- */

static const char *check_tracker(const struct weir_partition *partition)
{
    const struct weir_tracker *tracker = &partition->tracker;
    const struct weir_message *before = NULL;
    uint64_t count = 0;
    for (const struct weir_message *message = tracker->head; message; before = message, message = message->after) {
        HOLDS(message->before == before, "the tracker's links disagree");
        HOLDS(!before || before->offset < message->offset, "the tracker's offsets do not ascend");
        HOLDS(message->epoch == partition->epoch, "the tracker holds a message of another epoch");
        int64_t witness = weir_tracker_witness(message);
        HOLDS(witness < 0 || (witness > message->offset && (!message->after || witness < message->after->offset)),
              "a witness does not lie between its message and the next");
        count++;
    }
    HOLDS(before == tracker->tail && count == tracker->count, "the tracker's count or tail is wrong");
    HOLDS(!tracker->tail || tracker->tail->offset < tracker->next, "the tracker has an offset beyond its next");
    return NULL;
}

/* ---- keys ---- */

static bool is_current(const struct weir_partition *partition, const struct weir_message *message)
{
    return partition->state != WEIR_PARTITION_ENDED && message->epoch == partition->epoch;
}

/* While it gathers, so that nobody else changes it. */
static const char *check_batch(const struct weir_options *options, const struct weir_batch *batch)
{
    uint64_t count = 0;
    for (const struct weir_key *key = batch->keys.first; key; key = key->list_after) {
        HOLDS(key->batch == batch && key->state == WEIR_KEY_GATHERING, "a batch has a key that is elsewhere");
        HOLDS(options->batch_scope != WEIR_BATCH_KEY || batch->keys.count == 1, "a batch of one key has several");
        HOLDS(options->batch_scope == WEIR_BATCH_ANY || key->partition == batch->partition,
              "a batch of one partition has keys of several");
        HOLDS(key->partition->resident.home == batch->partition->resident.home, "a batch has keys of two workers");
        count += key->run_count;
    }
    HOLDS(count == batch->count && count > 0, "a batch's count is wrong");
    HOLDS(count < options->batch_messages_max, "a batch gathers though it is full");
    HOLDS(count == 1 || batch->bytes < options->batch_bytes_max, "a batch gathers though it has all its bytes");
    return NULL;
}

static const char *check_place(const struct weir_partition *partition, const struct weir_key *key)
{
    bool active = partition->state == WEIR_PARTITION_ACTIVE && is_current(partition, key->first);
    switch ((enum weir_key_state)key->state) {
    case WEIR_KEY_OUT:
        HOLDS(key->run_count > 0 && key->run_count <= key->count, "a run is longer than its key's queue");
        return NULL;
    case WEIR_KEY_GATHERING:
        HOLDS(key->batch != NULL && key->batch->timer.armed, "a key gathers in no batch, or in one that is out");
        HOLDS(key->run_count > 0 && key->run_count <= key->count,
              "a key gathers without a run, or with too long a one");
        HOLDS(!key->held && !key->first->settled, "a key gathers that is held or settled");
        HOLDS(is_current(partition, key->first), "a key gathers for an epoch that is over");
        return check_batch(partition->consumer->options, key->batch);
    case WEIR_KEY_WAITING:
        HOLDS(!active || key->timer.armed, "a key waits without a timer");
        HOLDS(key->held, "a key waits and is not held");
        return NULL;
    case WEIR_KEY_DYING:
        HOLDS(!active || key->timer.armed || key->first->dlq_in_flight || key->first->enrolled,
              "a key dies, and no letter is on its way");
        HOLDS(key->held, "a key dies and is not held");
        return NULL;
    case WEIR_KEY_SENDING:
        HOLDS(key->first->outputs != NULL, "a key sends, and its message has no outputs");
        HOLDS(!active || key->first->enrolled || (key->timer.armed != (key->first->outputs->in_flight > 0)),
              "a key's outputs are neither on their way nor waiting for it, or both");
        return NULL;
    case WEIR_KEY_LATER:
        HOLDS(weir_message_later_state(key->first) != WEIR_LATER_IDLE, "a key waits for an answer nobody can give");
        return NULL;
    case WEIR_KEY_DELAYED:
        HOLDS(!active || key->timer.armed, "a key is delayed without a timer");
        return NULL;
    case WEIR_KEY_PARKED:
    case WEIR_KEY_LEAVING:
    case WEIR_KEY_ENDING:
        return NULL;
    default:
        return "a key that is nowhere";
    }
}

static const char *check_queue(const struct weir_key *key)
{
    const struct weir_message *message = key->first;
    for (uint32_t left = key->count; left > 0; left--, message = message->next) {
        HOLDS(message != NULL && message->owner == key, "a key's queue and its count disagree");
        HOLDS(left > 1 || message == key->last, "a key's queue does not end with its last message");
        HOLDS(left == 1 || message->epoch != message->next->epoch || message->offset < message->next->offset,
              "a key's queue is not in offset order");
    }
    return NULL;
}

static const char *check_key(const struct weir_partition *partition, const struct weir_key *key)
{
    HOLDS(key->partition == partition && key->count > 0 && key->first, "a key of another partition, or an empty one");
    const char *wrong = check_place(partition, key);
    return wrong ? wrong : check_queue(key);
}

static const char *check_keys(const struct weir_partition *partition)
{
    uint64_t out = 0;
    for (const struct weir_message *message = partition->tracker.head; message; message = message->after) {
        const struct weir_key *key = message->owner;
        HOLDS(key || message->unfinished_only || message->enrolled, "a tracked message is in no key's queue");
        if (!key || key->first != message)
            continue;
        const char *wrong = check_key(partition, key);
        if (wrong)
            return wrong;
        out += key->state == WEIR_KEY_OUT;
    }
    HOLDS(partition->stragglers > 0 || out == partition->out_count, "the number of keys out is wrong");
    return NULL;
}

/* ---- the table and the lists ---- */

static const char *check_bucket(const struct weir_key_table *table, uint32_t index, uint32_t *count)
{
    for (const struct weir_key *key = table->buckets[index]; key; key = key->table_next) {
        HOLDS(key->in_table && (key->count > 0 || key->data), "the table has a key that is empty or not of it");
        const void *bytes = key->last ? key->last->key : key->data->key_bytes;
        size_t size = key->last ? key->last->key_size : key->data->key_size;
        HOLDS(key->hash == (uint32_t)weir_key_hash(bytes, size), "the table has a key under other bytes");
        HOLDS((key->hash & (table->bucket_count - 1)) == index, "the table has a key in another bucket");
        HOLDS(weir_key_table_find(table, key->hash, bytes, size) == key, "two keys have the same bytes");
        ++*count;
    }
    return NULL;
}

static const char *check_table(const struct weir_partition *partition)
{
    uint32_t count = 0;
    for (uint32_t index = 0; index < partition->keys.bucket_count; index++) {
        const char *wrong = check_bucket(&partition->keys, index, &count);
        if (wrong)
            return wrong;
    }
    HOLDS(count == partition->keys.count, "the table's count is wrong");
    return NULL;
}

static const char *check_list(const struct weir_key_list *list, enum weir_key_state state, uint64_t *held)
{
    const struct weir_key *before = NULL;
    uint32_t count = 0;
    for (const struct weir_key *key = list->first; key; before = key, key = key->list_after) {
        HOLDS(key->state == state, "a list has a key of another state");
        HOLDS(key->list_before == before, "a list's links disagree");
        *held += key->held ? key->count : 0;
        count++;
    }
    HOLDS(count == list->count && before == list->last, "a list's count or end is wrong");
    return NULL;
}

static const char *check_lists(const struct weir_partition *partition)
{
    uint64_t none = 0, writing = 0, waiting = 0;
    const char *wrong = check_list(&partition->parked, WEIR_KEY_PARKED, &none);
    if (!wrong)
        wrong = check_list(&partition->later, WEIR_KEY_LATER, &none);
    if (!wrong)
        wrong = check_list(&partition->dying, WEIR_KEY_DYING, &writing);
    if (!wrong)
        wrong = check_list(&partition->sending, WEIR_KEY_SENDING, &writing);
    if (!wrong)
        wrong = check_list(&partition->delayed, WEIR_KEY_DELAYED, &none);
    if (!wrong)
        wrong = check_list(&partition->idle, WEIR_KEY_IDLE, &none);
    if (!wrong)
        wrong = check_list(&partition->leaving, WEIR_KEY_LEAVING, &none);
    if (!wrong)
        wrong = check_list(&partition->ending, WEIR_KEY_ENDING, &none);
    for (size_t bucket = 0; bucket < WEIR_ATTEMPT_BUCKETS && !wrong; bucket++)
        wrong = check_list(&partition->waiting[bucket], WEIR_KEY_WAITING, &waiting);
    if (wrong)
        return wrong;
    HOLDS(none == 0, "a parked, given out or idle key is held");
    HOLDS(writing == partition->held_writing, "the number held by keys that wait for a broker is wrong");
    HOLDS(writing + waiting == partition->held, "the number held is wrong");
    return NULL;
}

/* ---- the whole ---- */

static const char *check_floor(struct weir_audit *audit, size_t index, const struct weir_partition *partition)
{
    if (partition->state == WEIR_PARTITION_ENDED)
        return NULL;
    int64_t floor = weir_tracker_floor(&partition->tracker);
    if (audit->seen[index].partition == partition && audit->seen[index].epoch == partition->epoch)
        HOLDS(floor >= audit->seen[index].floor, "the floor went back");
    audit->seen[index].partition = partition;
    audit->seen[index].epoch = partition->epoch;
    audit->seen[index].floor = floor;
    return NULL;
}

static const char *check_walk(struct weir_audit *audit, const struct weir_partition *partition)
{
    audit->walked += partition->tracker.count > 0;
    const char *wrong = check_tracker(partition);
    if (!wrong)
        wrong = check_keys(partition);
    if (!wrong)
        wrong = check_table(partition);
    return wrong ? wrong : check_lists(partition);
}

static const char *check_partition(struct weir_audit *audit, const struct weir_consumer *consumer, size_t index,
                                   const struct weir_partition *partition, bool in_full)
{
    const struct weir_resident *resident = &partition->resident;
    /* A thread of the test's own may be between its mail and the wake-up: once it is not, the wake-up has been. */
    HOLDS(weir_mailbox_is_empty(&resident->mailbox) || atomic_load(&resident->outside_senders) > 0 ||
              atomic_load(&resident->wake) != WAKE_IDLE,
          "an actor has mail and sleeps");
    const char *wrong = check_sums(consumer, partition);
    if (!wrong)
        wrong = check_floor(audit, index, partition);
    if (!wrong && in_full)
        wrong = check_walk(audit, partition);
    return wrong;
}

/* How many partitions the consumer has: new ones are put in front, and none goes before the consumer does. */
static size_t count_partitions(struct weir_audit *audit, const struct weir_partition *first)
{
    if (audit->first == first)
        return audit->count;
    audit->first = first;
    audit->count = 0;
    for (const struct weir_partition *partition = first; partition; partition = partition->list_next)
        audit->count++;
    WEIR_CHECK(audit->count <= WEIR_AUDIT_PARTITIONS_MAX);
    return audit->count;
}

/* Which partition is looked at in full this time, or SIZE_MAX. A walk takes as long as there are messages and buckets,
 * so the more there are the rarer it is; what is broken stays broken. */
static size_t choose_walk(struct weir_audit *audit, size_t count)
{
    audit->turn++;
    if (count == 0 || audit->turn < audit->walk_next)
        return SIZE_MAX;
    audit->walk_next = audit->turn + WALK_EVERY;
    return audit->walks++ % count;
}

bool weir_audit_consumer(struct weir_audit *audit, const struct weir_consumer *consumer, char *text, size_t text_size)
{
    const struct weir_partition *first = atomic_load(&consumer->partitions);
    size_t count = count_partitions(audit, first), index = 0, walked = choose_walk(audit, count);
    for (const struct weir_partition *partition = first; partition; partition = partition->list_next, index++) {
        if (index == walked)
            audit->walk_next += partition->tracker.count / 16 + partition->keys.bucket_count / 32;
        /* from the end, so that each keeps its place */
        const char *wrong = check_partition(audit, consumer, count - 1 - index, partition, index == walked);
        if (!wrong)
            continue;
        snprintf(text, text_size, "audit of %s/%d, epoch %llu: %s", partition->topic->name, (int)partition->number,
                 (unsigned long long)partition->epoch, wrong);
        return false;
    }
    return true;
}
