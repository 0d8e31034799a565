/**
 * An assignment, within the two files that carry it out.
 *
 *   control_rebalance.c  events and their answers, epochs, gates
 *   control_positions.c  where each partition begins
 *
 * All of it is control's.
 */
#ifndef WEIR_ACTORS_CONTROL_REBALANCE_H
#define WEIR_ACTORS_CONTROL_REBALANCE_H

#include "actors/control.h"
#include "actors/partition.h"

#define WEIR_CONTROL_MS_NS           1000000ull
#define WEIR_CONTROL_FAILED_RETRY_MS 10000 /* until a FAILED partition is looked at again */

static inline bool weir_control_is_assigned(const struct weir_partition *partition)
{
    return atomic_load_explicit(&partition->assigned, memory_order_relaxed);
}

/* Not before `delay_ms` from now is this partition's request tried again. */
static inline void weir_control_put_off(struct weir_control *control, struct weir_partition *partition,
                                        uint64_t delay_ms)
{
    partition->control.retry_ns = control->now_ns + delay_ms * WEIR_CONTROL_MS_NS;
}

static inline bool weir_control_is_due(const struct weir_control *control, const struct weir_partition *partition,
                                       enum weir_control_state state)
{
    return partition->control.state == state && weir_control_is_assigned(partition) &&
           partition->control.retry_ns <= control->now_ns;
}

/* Let its actor pull. Not while an event is open: after the answer it is sought, and opened then (R5). */
static inline void weir_control_open_gate(struct weir_control *control, struct weir_partition *partition)
{
    if (control->phase == WEIR_PHASE_NONE && control->closing == WEIR_CLOSING_NO)
        weir_partition_open(partition);
}

/* control_positions.c */
/** Of a partition that waits for it: what the keeper says. */
void weir_control_hear(struct weir_control *control, struct weir_partition *partition);
/** Ask Kafka whatever partitions wait for. */
void weir_control_request(struct weir_control *control);

#endif
