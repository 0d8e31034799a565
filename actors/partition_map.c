/*
 * The map of a partition's finished messages on its way in, as an epoch begins, and on its way out, with the floor, in
 * what a commit says. See map.h for how it is written.
 *
 * On the way in. Nothing is dropped as finished before the witness has been seen with the right checksum: it is
 * the lowest finished message above the floor, so it comes first. If it is missing or differs, the map is void as a
 * whole: redelivery, never loss. It is looked for in all of a pull before any of that is taken in, so that as a rule
 * the attempts that the map tells of are not believed before either. Where it is not among what was pulled first, they
 * are: to wait for it would give a message that always fails more runs after each crash. A map of another log then
 * makes messages before its witness die after fewer runs than they may have, and that is all.
 */
#include "actors/consumer.h"
#include "actors/partition.h"
#include "runtime/log.h"

/* ---- in ---- */

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
        void_map(partition,
                 records[index].offset > map->witness.offset ? "its witness is not in the log" : "its witness differs");
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

/* ---- out ---- */

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

void weir_partition_describe(struct weir_partition *partition, struct weir_snapshot *snapshot, uint32_t room)
{
    const struct weir_consumer *consumer = partition->consumer;
    struct weir_map_offset *list = consumer->scratch[weir_worker_number(partition->resident.home)];
    const struct weir_tracker *tracker = &partition->tracker;
    bool at_most_once = consumer->options->delivery == WEIR_AT_MOST_ONCE;
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
        weir_partition_describe(partition, &partition->snapshot,
                                atomic_load_explicit(&partition->map_room, memory_order_relaxed));
    /* Pairs with control's acquire: it reads the snapshot only after this. */
    atomic_store_explicit(&partition->snapshot_done, wanted, memory_order_release);
    weir_resident_notify(&partition->consumer->control.resident);
}
