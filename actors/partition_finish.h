/**
 * What becomes of a run, within the files of a partition that act on it.
 *
 *   partition_finish.c  outcomes, and the end of a message
 *   partition_hold.c    keys that wait: lists, timers, the bound on what they hold
 *   partition_retry.c   attempts, and how long a key waits for the next
 *   partition_letter.c  dead letters
 *   partition_output.c  outputs that a run has emitted
 *   partition_batch.c   what a batch has said of each of its messages
 *
 * All of it is the owner's: it runs in the partition's turns.
 */
#ifndef WEIR_PARTITION_FINISH_H
#define WEIR_PARTITION_FINISH_H

#include "actors/dlq.h"
#include "actors/partition.h"

#define WEIR_MS_NS             1000000ull
#define WEIR_DLQ_QUEUE_FULL_MS 50 /* the producer's queue drains in this order of time */

static inline uint64_t weir_partition_now_ns(const struct weir_partition *partition)
{
    return weir_worker_now_ns(partition->resident.home);
}

/** Is the message of an epoch that is over? */
static inline bool weir_partition_is_stale(const struct weir_partition *partition, const struct weir_message *message)
{
    return partition->state == WEIR_PARTITION_ENDED || message->epoch != partition->epoch;
}

/* partition_hold.c */
/** Move a READY key into a state with a list. */
void weir_partition_enter_list(struct weir_partition *partition, struct weir_key *key, enum weir_key_state state);
void weir_partition_arm(struct weir_partition *partition, struct weir_key *key, uint64_t delay_ms);
/** A DYING, WAITING or SENDING key goes on: no longer held, no timer, in no list. */
void weir_partition_ready(struct weir_partition *partition, struct weir_key *key);
void weir_partition_copy_out_held(struct weir_partition *partition);

/* partition_retry.c */
void weir_partition_note_failure(struct weir_partition *partition, struct weir_message *message);
/** An attempt that counts, also for the next owner: the map tells of it. */
void weir_partition_burn_attempt(struct weir_partition *partition, struct weir_message *message);
/** A run that asked for another one. False: it is given up, for `cause`. */
bool weir_partition_may_retry(struct weir_partition *partition, struct weir_message *message, uint64_t *delay_ms,
                              enum weir_dlq_cause *cause);
/** The downstream's fault, not the message's: how long to wait. No attempt is burnt, and the retry deadline stands
 * still for that long. */
uint64_t weir_partition_room_ms(struct weir_partition *partition, struct weir_message *message);
uint64_t weir_partition_overloaded_ms(struct weir_partition *partition, struct weir_message *message); /* counted */
/** READY: its first message runs again after the delay; or when it may, unless that was its last attempt. */
void weir_partition_wait(struct weir_partition *partition, struct weir_key *key, uint64_t delay_ms);
void weir_partition_retry(struct weir_partition *partition, struct weir_key *key);

/* partition_letter.c */
/** The first message of a READY or WAITING key is given up. */
void weir_partition_die(struct weir_partition *partition, struct weir_key *key, enum weir_dlq_cause cause);
/** Send the dead letter of a DYING key, or see to it that it is tried again. */
void weir_partition_bury(struct weir_partition *partition, struct weir_key *key);
/** It was not taken: the key is held until the next try. */
void weir_partition_refuse_letter(struct weir_partition *partition, struct weir_key *key, enum weir_kafka_error error);

/* partition_output.c */
void weir_partition_drop_outputs(struct weir_partition *partition, struct weir_message *message); /* its run failed */
/** The first message of a READY key, whose run has succeeded and emitted. */
void weir_partition_send_first(struct weir_partition *partition, struct weir_key *key, enum weir_outcome outcome);
/** Send what is left of a SENDING key's outputs; when nothing is, its message is finished. */
void weir_partition_send_outputs(struct weir_partition *partition, struct weir_key *key);
/** One of a SENDING key's can never be sent: the run has failed, whatever it said. */
void weir_partition_fail_outputs(struct weir_partition *partition, struct weir_key *key);

/* partition_once.c */
/** The first message of a READY key is finished by the next transaction. */
void weir_partition_enroll_first(struct weir_partition *partition, struct weir_key *key, enum weir_outcome outcome);

/* partition_supervise.c */
/** The run of the breaker's probe is over. True if that was all: a failure is the downstream's, and burns no attempt.
 */
bool weir_partition_probe_ended(struct weir_partition *partition, struct weir_message *message,
                                enum weir_outcome outcome);

/* partition_finish.c */
void weir_partition_count_end(struct weir_partition *partition, const struct weir_message *message,
                              enum weir_outcome outcome);
/** A message that is in no key any more has its terminal outcome. */
void weir_partition_finish_message(struct weir_partition *partition, struct weir_message *message);
/** The message behind `before`, the first where that is NULL, has its terminal outcome; the second counts it. */
void weir_partition_finish_after(struct weir_partition *partition, struct weir_key *key, struct weir_message *before);
void weir_partition_finish_with(struct weir_partition *partition, struct weir_key *key, struct weir_message *before,
                                enum weir_outcome outcome);
/** A run is back: its key is READY. */
void weir_partition_come_back(struct weir_partition *partition, struct weir_key *key);
/** The run of a READY key, which is of an older epoch. */
void weir_partition_drop_stale(struct weir_partition *partition, struct weir_key *key);
/** After a run: the next one, or in a drain nothing more. */
void weir_partition_go_on(struct weir_partition *partition, struct weir_key *key);

#endif
