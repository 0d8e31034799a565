/*
 * Exactly once, as a partition sees it: what has ended well waits for the transaction that commits it.
 *
 *   enrolled   its run has ended in ack or skip, or its dead letter is composed. Without anything to write it has left
 *              its key, which goes on; else it is the first of its key, and the key waits (SENDING, DYING). It stays in
 *              the tracker, unfinished, and on credit
 *   in batch   chosen for the commit that is being composed: floor and map of the snapshot count it as finished
 *   finished   control says that the transaction was committed
 *
 *   E1. Batch and snapshot are made in one turn, and a batch holds exactly what its floor and map tell beyond what is
 *       committed. What the map has no room for is not in it.
 *   E2. What a committed map has told is told by every later one; a snapshot that cannot is not given. What lies below
 *       all that is unfinished can always be given: some of the map's room is kept for that, as the same told
 *       from another floor on may be some characters longer.
 *   E3. While a batch is with control, its messages' outputs are control's, and they stay, whatever becomes of the
 *       epoch: a message with outputs whose epoch ends is a straggler until the batch is given back.
 *   E4. A batch is given back by its number, in `batch_result`. One that was chosen too late, after control went on
 *       without it, is void by `batch_void`: a word of its own, as what became of the batch before may not have been
 *       read yet.
 *   E5. None is chosen before the one before it has been given back and that has been read: what was committed would
 *       be sent again.
 */
#include "actors/consumer.h"
#include "actors/output.h"
#include "actors/partition_finish.h"
#include "runtime/check.h"

void weir_partition_enroll(struct weir_partition *partition, struct weir_message *message, enum weir_outcome outcome)
{
    message->outcome = (uint8_t)outcome;
    message->enrolled = true;
    partition->enrolled++;
    partition->changed = true;
}

void weir_partition_enroll_first(struct weir_partition *partition, struct weir_key *key, enum weir_outcome outcome)
{
    weir_partition_enroll(partition, key->first, outcome);
    if (key->first->outputs)
        weir_partition_enter_list(partition, key, WEIR_KEY_SENDING);
    else
        weir_key_shift(key);
}

/* ---- choosing ---- */

struct weir_message *weir_partition_batch_next(const struct weir_message *message)
{
    return message->outputs->batch_next;
}

#define CLAIM_MESSAGES 64

/* Some of what no partition has of itself, or 0. */
static uint64_t claim(struct weir_consumer *consumer)
{
    uint64_t left = atomic_load_explicit(&consumer->transaction_left, memory_order_relaxed), some;
    do {
        some = left < CLAIM_MESSAGES ? left : CLAIM_MESSAGES;
    } while (some > 0 && !atomic_compare_exchange_weak_explicit(&consumer->transaction_left, &left, left - some,
                                                                memory_order_relaxed, memory_order_relaxed));
    return some;
}

/* All that is enrolled, as far as there is room; or only what lies below everything that is not. Returns how many there
 * was no room for. */
static uint64_t choose(struct weir_partition *partition, bool prefix_only)
{
    uint64_t room = atomic_load_explicit(&partition->consumer->transaction_share, memory_order_relaxed), left_out = 0;
    bool open = true;
    if (partition->state == WEIR_PARTITION_DRAINING)
        room = UINT64_MAX; /* now or never */
    for (struct weir_message *message = partition->tracker.head; message; message = message->after) {
        if (message->enrolled && open && room == 0)
            room = claim(partition->consumer);
        message->in_batch = message->enrolled && open && room > 0;
        room -= message->in_batch;
        left_out += message->enrolled && open && !message->in_batch;
        open = open && (message->in_batch || !prefix_only);
    }
    return left_out;
}

static void choose_nothing(struct weir_partition *partition)
{
    for (struct weir_message *message = partition->tracker.head; message; message = message->after)
        message->in_batch = false;
}

/* E1: above the floor only what the map tells of. True if something was cut off. */
static bool cut(struct weir_partition *partition, const struct weir_snapshot *snapshot)
{
    bool is_cut = false;
    for (struct weir_message *message = partition->tracker.tail; message && message->offset >= snapshot->end;
         message = message->before) {
        if (message->offset <= snapshot->floor)
            break;
        is_cut |= message->in_batch;
        message->in_batch = false;
    }
    return is_cut;
}

/* E2 */
static bool tells_all(const struct weir_partition *partition, const struct weir_snapshot *snapshot)
{
    return partition->once.told_end <= snapshot->end || partition->once.told_end <= snapshot->floor;
}

/* One past the highest message that a map tells to be finished. */
int64_t weir_partition_told_end(const struct weir_map *map)
{
    int64_t end = map->end;
    for (size_t index = map->count; index > 0 && map->unfinished[index - 1].offset == end - 1; index--)
        end--;
    return end;
}

/* The batch as a list of those with something to write, and whether there is more to come. */
static void link_batch(struct weir_partition *partition, struct weir_snapshot *snapshot)
{
    struct weir_message **end = &snapshot->batch;
    for (struct weir_message *message = partition->tracker.head; message; message = message->after) {
        partition->changed |= message->enrolled && !message->in_batch;
        if (!message->in_batch || !message->outputs)
            continue;
        *end = message;
        end = &message->outputs->batch_next;
    }
    *end = NULL;
}

void weir_partition_choose(struct weir_partition *partition, struct weir_snapshot *snapshot, uint64_t number)
{
    snapshot->batch = NULL;
    snapshot->epoch = 0;
    weir_partition_take_result(partition); /* E5: it may have come in this turn */
    WEIR_CHECK(partition->once.number == 0);
    if (partition->state == WEIR_PARTITION_ENDED)
        return;
    bool is_cut = false;
    uint64_t left_out = 0;
    uint32_t map_room = atomic_load_explicit(&partition->map_room, memory_order_relaxed);
    for (unsigned prefix_only = 0; prefix_only < 2; prefix_only++) {
        left_out = choose(partition, prefix_only);
        weir_partition_describe(partition, snapshot, prefix_only ? map_room : map_room - map_room / 8); /* E2 */
        is_cut = cut(partition, snapshot);
        if (tells_all(partition, snapshot))
            break;
        choose_nothing(partition);
        snapshot->epoch = 0;
    }
    bool is_proved = !partition->map_active || partition->map_verified; /* else what proves it is to be pulled */
    weir_partition_set_pause(partition, WEIR_PAUSE_MAP, is_cut && is_proved);
    link_batch(partition, snapshot);
    /* It counts for the next transaction, which is not to wait for its interval where it would be full. */
    atomic_fetch_add_explicit(&partition->consumer->finished_uncommitted, left_out, memory_order_relaxed);
    partition->once.batch = snapshot->batch;
    partition->once.number = number;
    partition->once.epoch = partition->epoch;
}

/* ---- given back: committed, refused, or of an epoch that is over ---- */

/* Committed. */
static void finish_enrolled(struct weir_partition *partition, struct weir_message *message)
{
    struct weir_key *key = message->owner;
    if (message->outputs && message->outcome != WEIR_DEAD)
        weir_partition_count(partition, outputs_sent, message->outputs->count);
    if (key) {
        WEIR_CHECK(key->first == message && weir_key_is_writing(key));
        weir_partition_ready(partition, key);
        weir_partition_finish_with(partition, key, NULL, (enum weir_outcome)message->outcome);
        weir_partition_go_on(partition, key);
    } else {
        weir_partition_count_end(partition, message, (enum weir_outcome)message->outcome);
        weir_partition_finish_message(partition, message);
    }
}

/* Refused: the run has failed, or its letter is held. */
static void disenroll(struct weir_partition *partition, struct weir_message *message)
{
    struct weir_key *key = message->owner;
    enum weir_kafka_error error = message->outputs->refusal;
    WEIR_CHECK(key && key->first == message && weir_key_is_writing(key));
    message->enrolled = false;
    if (key->state == WEIR_KEY_SENDING) {
        weir_partition_count(partition, output_failures, 1);
        weir_partition_fail_outputs(partition, key);
    } else {
        weir_outputs_drop(message);
        weir_partition_refuse_letter(partition, key, error);
    }
    weir_partition_go_on(partition, key);
}

/* Of an epoch that is over. */
static void drop_enrolled(struct weir_partition *partition, struct weir_message *message)
{
    struct weir_key *key = message->owner;
    WEIR_CHECK(key && key->first == message && weir_partition_is_stale(partition, message));
    weir_partition_ready(partition, key);
    weir_partition_drop_first(partition, key);
    weir_partition_go_on(partition, key);
}

static void finish_batch(struct weir_partition *partition)
{
    for (struct weir_message *message = partition->tracker.head, *next; message; message = next) {
        next = message->after;
        if (!message->in_batch)
            continue;
        if (message->offset >= partition->once.told_end)
            partition->once.told_end = message->offset + 1;
        finish_enrolled(partition, message);
    }
}

static void take_back_batch(struct weir_partition *partition)
{
    for (struct weir_message *message = partition->tracker.head, *next; message; message = next) {
        next = message->after;
        if (!message->in_batch)
            continue;
        message->in_batch = false;
        partition->changed = true;
        if (message->outputs && message->outputs->refusal != WEIR_KAFKA_NONE)
            disenroll(partition, message);
    }
}

/* Its epoch has ended: those with something to write are stragglers, the others are gone. */
static void drop_batch(struct weir_partition *partition)
{
    for (struct weir_message *message = partition->once.batch, *next; message; message = next) {
        next = weir_partition_batch_next(message);
        message->in_batch = false;
        drop_enrolled(partition, message);
    }
}

void weir_partition_take_result(struct weir_partition *partition)
{
    /* With the releases in weir_control_give_back(). The void first: behind it lies what became of the batch before. */
    uint64_t void_number = atomic_load_explicit(&partition->batch_void, memory_order_acquire);
    uint64_t result = atomic_load_explicit(&partition->batch_result, memory_order_acquire);
    uint64_t number = partition->once.number;
    bool is_given_back = result >> 1 == number;
    if (number == 0 || (!is_given_back && void_number < number))
        return;
    partition->once.number = 0;
    if (partition->state == WEIR_PARTITION_ENDED || partition->once.epoch != partition->epoch)
        drop_batch(partition);
    else if (is_given_back && (result & 1))
        finish_batch(partition);
    else
        take_back_batch(partition);
    partition->once.batch = NULL;
}
