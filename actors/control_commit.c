/*
 * Commits: floor and map of every partition that has something new to say, one request in flight at a time.
 *
 *   IDLE        waits for the interval, for commit.messages.max, or for somebody who wants one now
 *   COLLECTING  snapshots are asked of the partition actors; those that do not answer within COLLECT_MS (their worker
 *               is busy) are left to the next commit
 *   SENT        waits for the broker; only its acknowledgement counts
 *
 *   C1. What is committed for a partition is a snapshot of its present epoch.
 *   C2. A snapshot's floor never lies below what has been acknowledged in the same epoch.
 *   C3. The maps of one request take MAPS_BYTES_MAX together at most; who is left out is first in the next one.
 *   C4. Metadata that the broker finds too large is not sent again: floors at once, and less room from then on.
 *   C5. What the last acknowledged commit of an epoch has said is not sent again, unless a commit is needed as such.
 *       A partition may be dirty for what may not show: a burnt attempt of a message that the map does not list.
 *   C6. A forced commit is not done while a partition that is about to go has not answered, as its worker is in a
 *       handler of another one: it is collected again at once, until whoever asked for it has waited for long enough.
 *   C7. A partition that is refused for its topic's sake (denied, deleted) holds up no other: it is left out for
 *       REFUSED_RETRY_MS, but for the last commit of its epoch, which is tried once. A transaction is refused as a
 *       whole: which of them it is shows when each goes alone.
 */
#include "actors/consumer.h"
#include "actors/control.h"
#include "actors/partition.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include "runtime/memory.h"
#include <stddef.h>
#include <string.h>
#include <xxhash.h>

#define MS_NS            1000000ull
#define COLLECT_MS       100
#define MAPS_BYTES_MAX   262144
#define BACKOFF_MS       200
#define BACKOFF_MS_MAX   5000
#define REFUSED_RETRY_MS 10000
#define REFUSED_AT_LAST  UINT64_MAX

/* ---- arrays of offsets ---- */

void weir_offsets_clear(struct weir_offsets *offsets)
{
    offsets->count = 0;
}

struct weir_kafka_offset *weir_offsets_add(struct weir_offsets *offsets, const struct weir_partition *partition)
{
    if (offsets->count == offsets->room) {
        size_t room = offsets->room > 0 ? offsets->room * 2 : 16;
        struct weir_kafka_offset *items = weir_memory_resize(offsets->items, room * sizeof *items);
        if (!items)
            return NULL;
        offsets->items = items;
        offsets->room = room;
    }
    struct weir_kafka_offset *offset = &offsets->items[offsets->count++];
    *offset = (struct weir_kafka_offset){.topic = partition->topic->name,
                                         .partition = partition->number,
                                         .offset = -1,
                                         .high_offset = -1,
                                         .leader_epoch = -1};
    return offset;
}

/* ---- when ---- */

uint64_t weir_control_want_commit(struct weir_control *control)
{
    return ++control->commit.wanted;
}

bool weir_control_is_served(const struct weir_control *control, uint64_t wanted)
{
    return control->commit.served >= wanted;
}

static bool is_exactly_once(const struct weir_control *control)
{
    return control->consumer->options->delivery == WEIR_EXACTLY_ONCE;
}

static bool is_due(struct weir_control *control)
{
    const struct weir_consumer *consumer = control->consumer;
    if (control->commit.wanted > control->commit.served)
        return control->commit.failures == 0 || control->now_ns >= control->retry_ns;
    if (control->now_ns < control->retry_ns)
        return false;
    uint64_t limit = is_exactly_once(control) ? weir_transaction_room(control) : consumer->options->commit_messages_max;
    return control->now_ns >= control->commit.next_ns || consumer->options->delivery == WEIR_AT_MOST_ONCE ||
           (limit > 0 && atomic_load_explicit(&consumer->finished_uncommitted, memory_order_relaxed) >= limit);
}

/* ---- collect ---- */

/* Is what is committed now all that this epoch will say? */
static bool is_last(const struct weir_control *control, const struct weir_partition *partition)
{
    return control->closing >= WEIR_CLOSING_COMMIT ||
           (control->phase == WEIR_PHASE_REVOKE_COMMIT && partition->control.in_event);
}

/* C7 */
static bool is_refused(const struct weir_control *control, const struct weir_partition *partition)
{
    uint64_t until_ns = partition->control.refused_until_ns;
    return is_last(control, partition) ? until_ns == REFUSED_AT_LAST : until_ns > control->now_ns;
}

static bool is_part(struct weir_control *control, struct weir_partition *partition)
{
    enum weir_control_state state = (enum weir_control_state)partition->control.state;
    bool has_epoch = state == WEIR_CONTROL_COMMIT || state == WEIR_CONTROL_SEEK || state == WEIR_CONTROL_OPEN ||
                     state == WEIR_CONTROL_DRAIN || state == WEIR_CONTROL_FAILED;
    if (!has_epoch || partition->control.order == WEIR_ORDER_END || partition->control.order == WEIR_ORDER_NONE)
        return false;
    if (is_refused(control, partition))
        return false;
    bool dirty = atomic_exchange_explicit(&partition->dirty, false, memory_order_acq_rel);
    /* Without the lease nothing is finished, so nothing gets dirty: only a commit of what is known brings it back. */
    bool lease_holds = atomic_load_explicit(&control->consumer->lease_holds, memory_order_relaxed);
    partition->control.in_any_case = control->commit.all || state == WEIR_CONTROL_COMMIT || !lease_holds;
    return dirty || partition->control.in_any_case;
}

/* C6 */
static void serve(struct weir_control *control)
{
    if (!control->commit.left_out)
        control->commit.served = control->commit.serving;
}

static uint64_t interval_ms(const struct weir_control *control)
{
    const struct weir_options *options = control->consumer->options;
    return is_exactly_once(control) ? options->transaction_interval_ms : options->commit_interval_ms;
}

/* Exactly once: half of what a transaction takes is shared evenly, so that nobody starves; the other half is theirs who
 * have more. */
static void share_room(struct weir_control *control)
{
    struct weir_consumer *consumer = control->consumer;
    uint64_t assigned = atomic_load_explicit(&consumer->assigned_count, memory_order_relaxed);
    uint64_t room = weir_transaction_room(control), even = room / 2 / (assigned > 0 ? assigned : 1);
    even = even > 0 ? even : 1;
    uint64_t left = even * assigned < room ? room - even * assigned : 0;
    atomic_store_explicit(&consumer->transaction_share, even, memory_order_relaxed);
    atomic_store_explicit(&consumer->transaction_left, left, memory_order_relaxed);
}

static void collect(struct weir_control *control)
{
    size_t count = 0;
    control->commit.serving = control->commit.wanted;
    control->commit.left_out = false;
    atomic_store_explicit(&control->consumer->finished_uncommitted, 0, memory_order_relaxed); /* they may add at once */
    share_room(control);
    control->commit.sequence++;
    WEIR_EACH_PARTITION (partition, control) {
        partition->control.in_collect = is_part(control, partition);
        if (!partition->control.in_collect)
            continue;
        count++;
        partition->control.owes_result = is_exactly_once(control);
        atomic_store_explicit(&partition->snapshot_wanted, control->commit.sequence, memory_order_release);
        weir_resident_notify(&partition->resident);
    }
    control->commit.all = false;
    control->commit.next_ns = control->now_ns + interval_ms(control) * MS_NS;
    if (count == 0) {
        control->commit.served = control->commit.serving; /* nothing new: what is committed says it all */
        return;
    }
    control->commit.collect_until_ns = control->now_ns + COLLECT_MS * MS_NS;
    control->commit.state = WEIR_COMMIT_COLLECTING;
}

static bool has_answered(const struct weir_control *control, const struct weir_partition *partition)
{
    return atomic_load_explicit(&partition->snapshot_done, memory_order_acquire) == control->commit.sequence;
}

static bool all_have_answered(const struct weir_control *control)
{
    WEIR_EACH_PARTITION (partition, control) {
        if (partition->control.in_collect && !has_answered(control, partition))
            return false;
    }
    return true;
}

/* ---- send ---- */

static void again(struct weir_partition *partition)
{
    partition->control.in_collect = false;
    atomic_store_explicit(&partition->dirty, true, memory_order_release);
}

void weir_control_give_back(struct weir_partition *partition, bool committed)
{
    if (!partition->control.owes_result)
        return;
    partition->control.owes_result = false;
    uint64_t number = atomic_load_explicit(&partition->snapshot_wanted, memory_order_relaxed);
    /* Both pair with the acquires in weir_partition_take_result(): the outputs are the partition's again. */
    if (atomic_load_explicit(&partition->snapshot_done, memory_order_acquire) == number)
        atomic_store_explicit(&partition->batch_result, number << 1 | committed, memory_order_release);
    else
        atomic_store_explicit(&partition->batch_void, number, memory_order_release);
    weir_resident_notify(&partition->resident);
}

/* Give back the batches of those that are not, or no longer, in the commit; or all. */
static void give_back(struct weir_control *control, bool all)
{
    WEIR_EACH_PARTITION (partition, control) {
        if (all || !partition->control.in_collect)
            weir_control_give_back(partition, false);
    }
}

static struct weir_said what_it_says(const struct weir_snapshot *snapshot, bool with_map)
{
    return (struct weir_said){snapshot->epoch, snapshot->floor,
                              with_map ? XXH3_64bits(snapshot->map, snapshot->map_size) : 0};
}

/* C5 */
static bool is_known(const struct weir_partition *partition, const struct weir_said *said)
{
    const struct weir_said *known = &partition->control.acknowledged;
    return !partition->control.in_any_case && known->epoch == said->epoch && known->floor == said->floor &&
           known->map_hash == said->map_hash;
}

/* One partition's part of the request. False: memory is short. */
static bool add(struct weir_control *control, struct weir_partition *partition, size_t *maps_bytes)
{
    const struct weir_snapshot *snapshot = &partition->snapshot;
    weir_keeper_tell(partition, snapshot->epoch, snapshot->floor); /* he commits for himself */
    bool fits = *maps_bytes + snapshot->map_size <= MAPS_BYTES_MAX;
    if (is_exactly_once(control) && !fits) {
        again(partition); /* its batch is what the map tells */
        return true;
    }
    bool with_map = snapshot->map_size > 0 && fits && (!control->commit.floors_only || is_exactly_once(control));
    struct weir_said said = what_it_says(snapshot, with_map);
    if (with_map == (snapshot->map_size > 0) && is_known(partition, &said)) {
        partition->control.in_collect = false;
        return true;
    }
    struct weir_kafka_offset *offset = weir_offsets_add(&control->commit.offsets, partition);
    if (!offset)
        return false;
    partition->control.saying = said;
    partition->control.acknowledged = (struct weir_said){0}; /* until it is, nobody knows what the group has */
    offset->offset = snapshot->floor;
    if (with_map) {
        offset->metadata = snapshot->map;
        offset->metadata_size = snapshot->map_size;
        *maps_bytes += snapshot->map_size;
    } else if (snapshot->map_size > 0) {
        atomic_store_explicit(&partition->dirty, true, memory_order_release); /* C3: first next time */
    }
    return true;
}

/* C3: begin with another partition each time. */
static void add_all(struct weir_control *control)
{
    size_t maps_bytes = 0, index = 0, count = 0;
    WEIR_EACH_PARTITION (partition, control)
        count += partition->control.in_collect;
    for (unsigned round = 0; round < 2; round++) {
        index = 0;
        WEIR_EACH_PARTITION (partition, control) {
            if (!partition->control.in_collect)
                continue;
            bool first_round = index++ >= control->commit.first % (count > 0 ? count : 1);
            if (first_round != (round == 0))
                continue;
            bool answered = has_answered(control, partition);
            bool present = answered && partition->snapshot.epoch == partition->control.epoch; /* C1 */
            bool alone = control->commit.one_by_one > 0 && control->commit.offsets.count > 0;
            control->commit.left_out |= alone && present;
            if (alone || !present || !add(control, partition, &maps_bytes))
                again(partition);
            control->commit.left_out |=
                !answered && (partition->control.in_event || control->closing != WEIR_CLOSING_NO);
        }
    }
    control->commit.first++;
    control->commit.one_by_one -= control->commit.one_by_one > 0;
}

static void give_up(struct weir_control *control)
{
    give_back(control, true);
    control->commit.state = WEIR_COMMIT_IDLE;
    control->commit.failures++;
    uint64_t backoff_ms = (uint64_t)BACKOFF_MS << (control->commit.failures < 5 ? control->commit.failures : 5);
    control->retry_ns = control->now_ns + (backoff_ms < BACKOFF_MS_MAX ? backoff_ms : BACKOFF_MS_MAX) * MS_NS;
    atomic_fetch_add_explicit(&control->consumer->commit_failures, 1, memory_order_relaxed);
    WEIR_EACH_PARTITION (partition, control) {
        if (partition->control.in_collect)
            again(partition);
    }
}

static void send(struct weir_control *control)
{
    struct weir_kafka *kafka = control->consumer->kafka;
    weir_offsets_clear(&control->commit.offsets);
    add_all(control);
    give_back(control, false);
    if (control->commit.offsets.count == 0) {
        control->commit.state = WEIR_COMMIT_IDLE;
        serve(control);
        return;
    }
    control->commit.tag = ++control->tag_next;
    if (is_exactly_once(control)) {
        control->commit.state = WEIR_COMMIT_SENT;
        weir_transaction_start(control);
        return;
    }
    int result =
        kafka->ops->commit(kafka, control->commit.offsets.items, control->commit.offsets.count, control->commit.tag);
    if (result == 0)
        control->commit.state = WEIR_COMMIT_SENT;
    else
        give_up(control);
}

/* ---- the answer ---- */

static void acknowledge(struct weir_control *control, struct weir_partition *partition, int64_t floor)
{
    atomic_store_explicit(&partition->committed, floor, memory_order_release);
    partition->control.acknowledged = partition->control.saying;
    if (control->consumer->options->delivery == WEIR_AT_MOST_ONCE)
        weir_resident_notify(&partition->resident); /* messages below the floor may run now */
    if (partition->control.state != WEIR_CONTROL_COMMIT)
        return;
    bool seek = partition->control.seek_first;
    weir_control_move(partition, seek ? WEIR_CONTROL_SEEK : WEIR_CONTROL_OPEN);
    if (!seek && control->closing == WEIR_CLOSING_NO && control->phase == WEIR_PHASE_NONE)
        weir_partition_open(partition);
}

/* C4 */
static void lower_map_room(struct weir_control *control)
{
    WEIR_EACH_PARTITION (partition, control) {
        if (!partition->control.in_collect || partition->snapshot.map_size == 0)
            continue;
        uint32_t room = atomic_load_explicit(&partition->map_room, memory_order_relaxed);
        uint32_t lower = (uint32_t)(partition->snapshot.map_size / 4 * 3);
        atomic_store_explicit(&partition->map_room, lower < room ? lower : room, memory_order_relaxed);
    }
    weir_log(WEIR_LOG_WARN, WEIR_NO_FIELDS,
             "the broker finds the commit's metadata too large: floors only, and smaller maps from now on");
    control->commit.floors_only = true;
}

static void acknowledged(struct weir_control *control)
{
    struct weir_consumer *consumer = control->consumer;
    control->commit.failures = 0;
    control->commit.floors_only = false;
    atomic_fetch_add_explicit(&consumer->commits, 1, memory_order_relaxed);
    if (control->commit.sequence > control->commit.lease_after &&
        !atomic_exchange_explicit(&consumer->lease_holds, true, memory_order_acq_rel)) {
        weir_log(WEIR_LOG_INFO, WEIR_NO_FIELDS, "a commit was acknowledged: handlers start again");
        WEIR_EACH_PARTITION (partition, control)
            weir_resident_notify(&partition->resident);
    }
}

/* Refused for the sake of the partition's topic. */
static bool is_of_topic(enum weir_kafka_error error)
{
    return error == WEIR_KAFKA_AUTHORIZATION || error == WEIR_KAFKA_UNKNOWN_TOPIC;
}

/* What the request as a whole must be tried again for. Where all partitions were refused for their topics, the whole
 * has such an error too. */
static enum weir_kafka_error worst(const struct weir_kafka_event *event)
{
    if (event->error != WEIR_KAFKA_NONE && !is_of_topic(event->error))
        return event->error;
    for (size_t index = 0; index < event->count; index++) {
        if (event->offsets[index].error != WEIR_KAFKA_NONE && !is_of_topic(event->offsets[index].error))
            return event->offsets[index].error;
    }
    return WEIR_KAFKA_NONE;
}

/* C7 */
static void leave_out(struct weir_control *control, struct weir_partition *partition, enum weir_kafka_error error)
{
    char number[16];
    struct weir_log_field fields[2];
    again(partition);
    weir_control_give_back(partition, false);
    control->commit.one_by_one = 0;
    partition->control.refused_until_ns =
        is_last(control, partition) ? REFUSED_AT_LAST : control->now_ns + REFUSED_RETRY_MS * MS_NS;
    weir_log(WEIR_LOG_WARN, weir_partition_fields(partition, number, fields), 2,
             "commit at offset %lld refused: %s; tried again in %d s, and once at the end",
             (long long)partition->snapshot.floor, weir_kafka_error_name(error), REFUSED_RETRY_MS / 1000);
}

/* Of partitions whose epoch has ended meanwhile: what was committed is committed, and nobody is there to hear of it. */
static void give_back_ended(struct weir_control *control)
{
    WEIR_EACH_PARTITION (partition, control)
        weir_control_give_back(partition, true);
}

void weir_control_on_committed(struct weir_control *control, const struct weir_kafka_event *event)
{
    if (control->commit.state != WEIR_COMMIT_SENT || event->tag != control->commit.tag)
        return;
    enum weir_kafka_error error = worst(event);
    bool whole = event->error == WEIR_KAFKA_NONE || is_of_topic(event->error);
    size_t refused = 0;
    for (size_t index = 0; index < event->count && whole; index++) {
        const struct weir_kafka_offset *offset = &event->offsets[index];
        struct weir_partition *partition = weir_consumer_find(control->consumer, offset->topic, offset->partition);
        refused += is_of_topic(offset->error);
        if (!partition || !partition->control.in_collect || partition->snapshot.epoch != partition->control.epoch)
            continue;
        if (is_of_topic(offset->error)) {
            leave_out(control, partition, offset->error);
        } else if (offset->error == WEIR_KAFKA_NONE) {
            partition->control.in_collect = error == WEIR_KAFKA_METADATA_TOO_LARGE;
            acknowledge(control, partition, partition->snapshot.floor);
            weir_control_give_back(partition, true);
        }
    }
    if (error == WEIR_KAFKA_NONE) {
        if (refused > 0)
            atomic_fetch_add_explicit(&control->consumer->commit_failures, 1, memory_order_relaxed);
        if (refused < event->count)
            acknowledged(control);
        give_back_ended(control);
        control->commit.state = WEIR_COMMIT_IDLE;
        serve(control);
        return;
    }
    weir_log(WEIR_LOG_WARN, WEIR_NO_FIELDS, "commit of %zu partitions refused: %s (%s)", control->commit.offsets.count,
             weir_kafka_error_name(error), event->text ? event->text : "");
    if (error == WEIR_KAFKA_METADATA_TOO_LARGE)
        lower_map_room(control);
    give_up(control);
    if (error == WEIR_KAFKA_METADATA_TOO_LARGE)
        control->retry_ns = control->commit.next_ns = control->now_ns; /* floors at once */
    if (error == WEIR_KAFKA_GENERATION || error == WEIR_KAFKA_FATAL)
        control->commit.served = control->commit.serving; /* never with this assignment: a LOST is on its way */
}

void weir_control_commit(struct weir_control *control)
{
    if (control->left)
        return;
    weir_transaction_step(control);
    if (control->commit.state == WEIR_COMMIT_IDLE && is_due(control))
        collect(control);
    if (control->commit.state == WEIR_COMMIT_COLLECTING &&
        (all_have_answered(control) || control->now_ns >= control->commit.collect_until_ns))
        send(control);
}
