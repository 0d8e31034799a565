/*
 * The tracker: which offsets of a partition are not finished. Owner: the partition actor.
 *
 * A list of the unfinished messages in offset order, and `next`, one past the last offset pulled. Everything below
 * `next` that is not in the list is finished (or a hole of the log), so its size follows the window, however far ahead
 * other keys have run. The floor, which is what may be committed, is the head's offset, or `next` when the list is
 * empty.
 *
 *   T1. Offsets in the list ascend strictly, and all lie below `next`.
 *   T2. The floor never moves back within an epoch.
 *   T3. The witness of a node is the lowest finished message between it and the next node. It is kept up by a local
 *       rule: a message that finishes behind an unfinished one becomes its witness unless it has one already.
 *
 * Cost: append and remove O(1). The map of a commit is a walk over the list.
 */
#ifndef WEIR_ACTORS_TRACKER_H
#define WEIR_ACTORS_TRACKER_H

#include "actors/map.h"
#include "actors/message.h"
#include "runtime/check.h"

struct weir_tracker {
    struct weir_message *head, *tail;
    int64_t next;
    uint64_t count;
};

static inline void weir_tracker_init(struct weir_tracker *tracker, int64_t next)
{
    *tracker = (struct weir_tracker){.next = next};
}

static inline int64_t weir_tracker_floor(const struct weir_tracker *tracker)
{
    return tracker->head ? tracker->head->offset : tracker->next;
}

/* A message was pulled that is to be handled. */
static inline void weir_tracker_append(struct weir_tracker *tracker, struct weir_message *message)
{
    WEIR_CHECK(message->offset >= tracker->next);
    message->before = tracker->tail;
    message->after = NULL;
    message->witness_distance = 0;
    if (tracker->tail)
        tracker->tail->after = message;
    else
        tracker->head = message;
    tracker->tail = message;
    tracker->next = message->offset + 1;
    tracker->count++;
}

/* Everything below `offset` has been seen: a hole, control records, or a message dropped as finished. */
static inline void weir_tracker_advance(struct weir_tracker *tracker, int64_t offset)
{
    if (offset > tracker->next)
        tracker->next = offset;
}

/* Take a message out. */
static inline void weir_tracker_unlink(struct weir_tracker *tracker, struct weir_message *message)
{
    WEIR_CHECK(tracker->count > 0);
    if (message->before)
        message->before->after = message->after;
    else
        tracker->head = message->after;
    if (message->after)
        message->after->before = message->before;
    else
        tracker->tail = message->before;
    message->before = message->after = NULL;
    tracker->count--;
}

/* The witness of a node; -1: none. */
static inline int64_t weir_tracker_witness(const struct weir_message *message)
{
    return message->witness_distance > 0 ? message->offset + message->witness_distance : -1;
}

/* What lies at `offset` is finished, and behind `before`: may it be its witness? Not over a hole of 2^32 offsets. */
static inline bool weir_tracker_lacks_witness(const struct weir_message *before, int64_t offset)
{
    return before && before->witness_distance == 0 && offset - before->offset <= UINT32_MAX;
}

static inline void weir_tracker_set_witness(struct weir_message *before, int64_t offset, uint32_t checksum)
{
    before->witness_distance = (uint32_t)(offset - before->offset);
    before->witness_checksum = checksum;
}

/* A message is finished, while its content is still there, behind `before`: it may become its witness. */
static inline void weir_tracker_witnesses(struct weir_message *before, const struct weir_message *message)
{
    if (weir_tracker_lacks_witness(before, message->offset))
        weir_tracker_set_witness(before, message->offset,
                                 weir_map_checksum(message->key, message->key_size, message->value, message->value_size,
                                                   message->timestamp_ms));
}

static inline void weir_tracker_finish(struct weir_tracker *tracker, struct weir_message *message)
{
    weir_tracker_witnesses(message->before, message);
    weir_tracker_unlink(tracker, message);
}

/* The next message is finished before it was appended. */
static inline void weir_tracker_pass(struct weir_tracker *tracker, const struct weir_message *message)
{
    WEIR_CHECK(message->offset >= tracker->next);
    weir_tracker_witnesses(tracker->tail, message);
    tracker->next = message->offset + 1;
}

#endif
