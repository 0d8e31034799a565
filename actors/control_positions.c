/*
 * Where each partition begins: its position is read back from the group, resolved by the policy where the group has
 * none, and asked of the keeper, who may know better; and what stays in a rebalance is sought. What is asked of Kafka
 * for that goes out as one request for all partitions that wait for it.
 */
#include "actors/consumer.h"
#include "actors/control_rebalance.h"
#include "runtime/log.h"
#include <stddef.h>

#define REQUEST_RETRY_MS 300
#define ASK_RETRY_MS     1000
#define NO_POSITION      "no usable committed offset, and auto.offset.reset=error"

/* ---- reading positions ---- */

/* Position known. Where to next depends on whether the event is still open for it. */
static void place(struct weir_control *control, struct weir_partition *partition)
{
    partition->control.retry_ns = 0;
    bool waits = control->phase == WEIR_PHASE_ASSIGN && partition->control.in_event;
    weir_control_move(partition, waits ? WEIR_CONTROL_ANSWER : WEIR_CONTROL_BEGIN);
}

static void fail(struct weir_control *control, struct weir_partition *partition, const char *why)
{
    char number[16];
    struct weir_log_field fields[2];
    weir_log(WEIR_LOG_ERROR, weir_partition_fields(partition, number, fields), 2,
             "%s; the partition is not consumed, looked at again in %d s", why, WEIR_CONTROL_FAILED_RETRY_MS / 1000);
    atomic_store_explicit(&partition->trouble, WEIR_KAFKA_OUT_OF_RANGE, memory_order_relaxed);
    weir_control_put_off(control, partition, WEIR_CONTROL_FAILED_RETRY_MS);
    weir_control_move(partition, WEIR_CONTROL_FAILED);
}

static void drop_map(struct weir_partition *partition)
{
    weir_map_deinit(&partition->control.map);
    partition->control.map = (struct weir_map){0};
    partition->control.has_map = false;
}

static void ask(struct weir_control *control, struct weir_partition *partition)
{
    partition->control.asked = ++control->epoch_next;
    weir_keeper_ask(partition, partition->control.asked, partition->control.position, partition->control.stood);
}

/* Kafka knows a position, or at least that it has none: -1. The keeper may know better. */
static void set_position(struct weir_control *control, struct weir_partition *partition, int64_t position)
{
    partition->control.position = position;
    if (!weir_keeper_is_on(&control->consumer->keeper)) {
        place(control, partition);
        return;
    }
    weir_control_move(partition, WEIR_CONTROL_ASK);
    ask(control, partition);
}

void weir_control_hear(struct weir_control *control, struct weir_partition *partition)
{
    int result;
    int64_t position;
    if (partition->control.asked == 0 && partition->control.retry_ns <= control->now_ns)
        ask(control, partition);
    if (partition->control.asked == 0 || !weir_keeper_answer(partition, partition->control.asked, &result, &position))
        return;
    if (result < 0) {
        partition->control.asked = 0;
        weir_control_put_off(control, partition, ASK_RETRY_MS);
        return;
    }
    if (result == WEIR_PARTITION_MOVED) {
        drop_map(partition);
        partition->control.commit_first = false;
        partition->control.position = position;
    }
    if (partition->control.position >= 0)
        place(control, partition);
    else
        fail(control, partition, NO_POSITION);
}

/* Take the map that came with the floor, if it proves itself. */
static void take_map(struct weir_control *control, struct weir_partition *partition,
                     const struct weir_kafka_offset *offset)
{
    drop_map(partition);
    if (control->consumer->options->delivery == WEIR_AT_MOST_ONCE || !offset->metadata || offset->metadata_size == 0)
        return;
    struct weir_map_log log = {weir_consumer_log_hash(control->consumer, partition->topic->name), -1};
    int verdict =
        weir_map_decode(offset->metadata, offset->metadata_size, offset->offset, &log, &partition->control.map);
    partition->control.has_map = verdict == WEIR_MAP_VALID;
    if (verdict == WEIR_MAP_VALID || verdict == WEIR_MAP_NONE)
        return;
    char number[16];
    struct weir_log_field fields[2];
    weir_log(WEIR_LOG_WARN, weir_partition_fields(partition, number, fields), 2,
             "the metadata of the commit at offset %lld is ignored (%s): finished messages above it come again",
             (long long)offset->offset, verdict < 0 ? weir_code_name(verdict) : weir_map_verdict_name(verdict));
}

static void take_fetched(struct weir_control *control, struct weir_partition *partition,
                         const struct weir_kafka_offset *offset)
{
    if (offset->error != WEIR_KAFKA_NONE) {
        weir_control_put_off(control, partition, REQUEST_RETRY_MS);
    } else if (offset->offset >= 0) {
        take_map(control, partition, offset);
        partition->control.commit_first = false;
        atomic_store_explicit(&partition->committed, offset->offset, memory_order_release);
        set_position(control, partition, offset->offset);
    } else {
        atomic_store_explicit(&partition->committed, -1, memory_order_release);
        partition->control.has_map = false;
        partition->control.retry_ns = 0; /* that was of the READ */
        weir_control_move(partition, WEIR_CONTROL_RESOLVE);
    }
}

void weir_control_on_fetched(struct weir_control *control, const struct weir_kafka_event *event)
{
    if (event->tag != control->read_tag)
        return;
    control->read_tag = 0;
    for (size_t index = 0; index < event->count; index++) {
        const struct weir_kafka_offset *offset = &event->offsets[index];
        struct weir_partition *partition = weir_consumer_find(control->consumer, offset->topic, offset->partition);
        /* Not what was asked for an earlier assignment: others may have committed since. */
        if (partition && partition->control.state == WEIR_CONTROL_READ && partition->control.tag == event->tag)
            take_fetched(control, partition, offset);
    }
    if (event->error != WEIR_KAFKA_NONE)
        weir_log(WEIR_LOG_WARN, WEIR_NO_FIELDS, "reading the group's commits: %s (%s); trying again",
                 weir_kafka_error_name(event->error), event->text ? event->text : "");
}

/* The policy, for a partition without a floor or with one that is not in the log. */
static void resolve(struct weir_control *control, struct weir_partition *partition,
                    const struct weir_kafka_offset *watermarks)
{
    int policy = control->consumer->reset_policy;
    bool appeared = partition->topic->first_count >= 0 && partition->number >= partition->topic->first_count &&
                    atomic_load_explicit(&partition->committed, memory_order_relaxed) < 0;
    if (appeared)
        policy = WEIR_RESET_EARLIEST; /* it is new: nobody can have meant to skip its messages */
    if (policy == WEIR_RESET_ERROR && weir_keeper_is_on(&control->consumer->keeper) && partition->control.stood < 0) {
        set_position(control, partition, -1);
        return;
    }
    if (policy == WEIR_RESET_ERROR) {
        fail(control, partition, NO_POSITION);
        return;
    }
    int64_t position = policy == WEIR_RESET_EARLIEST ? watermarks->offset : watermarks->high_offset;
    char number[16];
    struct weir_log_field fields[2];
    weir_log(WEIR_LOG_INFO, weir_partition_fields(partition, number, fields), 2,
             "no usable committed offset (%lld): starts at offset %lld (%s)",
             (long long)atomic_load_explicit(&partition->committed, memory_order_relaxed), (long long)position,
             appeared                        ? "a new partition starts at its beginning"
             : policy == WEIR_RESET_EARLIEST ? "auto.offset.reset=earliest"
                                             : "auto.offset.reset=latest");
    partition->control.commit_first = true;
    set_position(control, partition, position);
}

void weir_control_on_watermarks(struct weir_control *control, const struct weir_kafka_event *event)
{
    if (event->tag != control->watermarks_tag)
        return;
    control->watermarks_tag = 0;
    for (size_t index = 0; index < event->count; index++) {
        const struct weir_kafka_offset *offset = &event->offsets[index];
        struct weir_partition *partition = weir_consumer_find(control->consumer, offset->topic, offset->partition);
        if (!partition)
            continue;
        if (offset->error == WEIR_KAFKA_NONE)
            atomic_store_explicit(&partition->log_end, offset->high_offset, memory_order_relaxed);
        if (partition->control.state != WEIR_CONTROL_RESOLVE || partition->control.tag != event->tag)
            continue;
        if (offset->error == WEIR_KAFKA_NONE)
            resolve(control, partition, offset);
        else
            weir_control_put_off(control, partition, REQUEST_RETRY_MS);
    }
}

void weir_control_on_sought(struct weir_control *control, const struct weir_kafka_event *event)
{
    if (event->tag != control->seek_tag)
        return;
    control->seek_tag = 0;
    for (size_t index = 0; index < event->count; index++) {
        const struct weir_kafka_offset *offset = &event->offsets[index];
        struct weir_partition *partition = weir_consumer_find(control->consumer, offset->topic, offset->partition);
        if (!partition || partition->control.state != WEIR_CONTROL_SEEK || partition->control.tag != event->tag)
            continue; /* another rebalance came in between: it is sought again */
        if (offset->error != WEIR_KAFKA_NONE || event->error != WEIR_KAFKA_NONE) {
            weir_control_put_off(control, partition, REQUEST_RETRY_MS);
            continue;
        }
        partition->control.seek_first = false;
        atomic_store_explicit(&partition->trouble, WEIR_KAFKA_NONE, memory_order_relaxed);
        weir_control_move(partition, WEIR_CONTROL_OPEN);
        weir_control_open_gate(control, partition);
    }
}

/* ---- requests ---- */

typedef int request_fn(struct weir_kafka *kafka, const struct weir_kafka_offset *offsets, size_t count, uint64_t tag);

/* One request for all partitions that wait for it in `state`; another for those that come to wait meanwhile. */
static void request(struct weir_control *control, enum weir_control_state state, request_fn *function, uint64_t *tag)
{
    if (*tag != 0)
        return;
    struct weir_kafka *kafka = control->consumer->kafka;
    uint64_t tag_new = ++control->tag_next;
    weir_offsets_clear(&control->request);
    WEIR_EACH_PARTITION (partition, control) {
        if (!weir_control_is_due(control, partition, state))
            continue;
        struct weir_kafka_offset *offset = weir_offsets_add(&control->request, partition);
        if (!offset)
            break; /* the tick tries again */
        offset->offset = state == WEIR_CONTROL_SEEK ? partition->control.position : -1;
        partition->control.tag = tag_new;
        weir_control_put_off(control, partition, REQUEST_RETRY_MS); /* if the answer leaves it out */
    }
    if (control->request.count == 0)
        return;
    if (function(kafka, control->request.items, control->request.count, tag_new) == 0)
        *tag = tag_new;
}

/* The states in which some partition is due, as bits: in most turns none. */
static unsigned due_states(const struct weir_control *control)
{
    unsigned states = 0;
    WEIR_EACH_PARTITION (partition, control)
        if (weir_control_is_due(control, partition, partition->control.state))
            states |= 1u << partition->control.state;
    return states;
}

void weir_control_request(struct weir_control *control)
{
    const struct weir_kafka_ops *ops = control->consumer->kafka->ops;
    if (control->left)
        return;
    unsigned due = due_states(control);
    if (due & 1u << WEIR_CONTROL_READ)
        request(control, WEIR_CONTROL_READ, ops->fetch_committed, &control->read_tag);
    if (due & 1u << WEIR_CONTROL_RESOLVE)
        request(control, WEIR_CONTROL_RESOLVE, ops->fetch_watermarks, &control->watermarks_tag);
    /* never while an answer is due */
    if (due & 1u << WEIR_CONTROL_SEEK && control->phase == WEIR_PHASE_NONE && control->closing < WEIR_CLOSING_LEAVE)
        request(control, WEIR_CONTROL_SEEK, ops->seek, &control->seek_tag);
}
