/*
 * Transactions: how a commit is sent with weir.delivery=exactly-once. Control's; see control_commit.c for what a commit
 * is, and partition_once.c for what partitions put into it.
 *
 * A commit's offsets go into one transaction with all that the messages finished by them have to write: outputs, dead
 * letters. Each partition has chosen its batch in the same turn in which it said floor and map, so that the two agree.
 *
 * States (one setter; legal moves in transaction.c)
 *   IDLE       none is open
 *   BEGIN      the producer is being made ready, and the transaction opened
 *   SENDING    messages are with the producer, or wait for a place there
 *   OFFSETS    all are written; the offsets are on their way into the transaction
 *   COMMIT     is being committed: from now on only the broker knows
 *   ABORT      is being aborted
 *   WAIT       was aborted; the same is sent again after a while
 *   FALL       the producer has failed for good; what was with it comes back
 *
 *   X1. One transaction a client; no handler runs for it, and nobody but control produces into it.
 *   X2. What is aborted for no message's fault is sent again as it was, less what belongs to an epoch that has ended.
 *       No handler runs again for that.
 *   X3. A message that the broker never takes dissolves the transaction: its partition is told, takes it out and burns
 *       an attempt, and the next commit is chosen anew.
 *       Where a batch was refused as a whole, or librdkafka names no message, the same is sent again one by one.
 *   X4. A producer that is fenced or fatal ends every epoch: what is committed is read again, and a new producer made.
 *   X5. A transaction that could not be sent within its time is not sent again as it is, or it never might be: the next
 *       ones are smaller, and grow again with each that is committed.
 *   X6. A batch that was chosen is given back to its partition exactly once: committed, or not.
 */
#ifndef WEIR_ACTORS_TRANSACTION_H
#define WEIR_ACTORS_TRANSACTION_H

#include "actors/kafka.h"
#include "actors/message.h"

struct weir_control;

enum weir_transaction_state {
    WEIR_TRANSACTION_IDLE = 0,
    WEIR_TRANSACTION_BEGIN,
    WEIR_TRANSACTION_SENDING,
    WEIR_TRANSACTION_OFFSETS,
    WEIR_TRANSACTION_COMMIT,
    WEIR_TRANSACTION_ABORT,
    WEIR_TRANSACTION_WAIT,
    WEIR_TRANSACTION_FALL,
    WEIR_TRANSACTION_STATES
};

struct weir_transaction {
    enum weir_transaction_state state;
    uint64_t tag;                   /* of the request under way; 0 none */
    uint64_t retry_ns, deadline_ns; /* WAIT, or a request to be made again; of sending */
    uint64_t failures;              /* aborts in a row */
    uint64_t in_flight;             /* messages with the producer */
    uint64_t room;                  /* messages of the next one, see X5 */
    bool unsent;                    /* some are to be given to it */
    bool careful;                   /* it goes one by one when it is sent again: one of a batch is to blame for it */
    bool one_by_one;                /* SENDING: it does */
    bool refused;                   /* a message was, for good */
    bool is_aborted;                /* ABORT: the broker has said so, and messages have yet to come back */
    bool too_slow;                  /* it is aborted for X5 */
    bool giving_up;                 /* not again: who waits for its end has waited long enough */
    enum weir_kafka_error
        topic_error;             /* the offsets were refused for the sake of a source topic; NONE: they were not */
    enum weir_kafka_error error; /* that the commit ends with, if the transaction is not tried again */
};

/** How many messages it may finish, over all partitions. */
uint64_t weir_transaction_room(const struct weir_control *control);
/** Send the commit that control has composed. Its end comes to weir_control_on_committed(). */
void weir_transaction_start(struct weir_control *control);
/** Move what can move. */
void weir_transaction_step(struct weir_control *control);
void weir_transaction_on_answer(struct weir_control *control, const struct weir_kafka_event *event);
void weir_transaction_on_delivered(struct weir_control *control, struct weir_delivery *delivery,
                                   enum weir_kafka_error error);
bool weir_transaction_is_idle(const struct weir_control *control);
/** Abort it if it can be, and do not send it again. */
void weir_transaction_give_up(struct weir_control *control);
/** The client has closed: nothing of it comes any more. */
void weir_transaction_end(struct weir_control *control);

#endif
