/*
 * Key data: what is kept of a key between its messages: the user's state (<weir/key_state.h>), what filters remember
 * (filter.h), the key's bytes, what it counts for. (`enum weir_key_state` is something else: where a key actor stands.)
 *
 * Who touches it
 *   the worker that runs the key makes it, at the first weir_message_state(); while the key is out it is the worker's,
 *   then the partition actor's, as the key itself;
 *   the holder of a handle reads `state` and writes `bytes` through its message, which the owner reads after the
 * answer; the worker that runs its end calls the destructor, and hands it back.
 *
 * Invariants
 *   D1. A key has one at most. It lies in `key->data`, which only who has the key reads or writes; while the key has
 *       messages the table does not look at it (weir_key_table_find).
 *   D2. Its end is dispatched once: when its key is in nobody's hands, and starts nothing until the end is back; or,
 * after an abandonment (it has no key any more), when the holder has answered. D3. One of an ended epoch is not seen by
 * a message of a later one: its key ends it first.
 *
 * The seam for state that outlives the process: `create` is given the message, and the class carries its size.
 */
#ifndef WEIR_ACTORS_KEY_DATA_H
#define WEIR_ACTORS_KEY_DATA_H

#include "runtime/mailbox.h"
#include "runtime/worker.h"
#include <stdbool.h>
#include <stdint.h>
#include <weir/key_state.h>

struct weir_key;
struct weir_partition;

struct weir_key_data {
    struct weir_actor actor; /* its end: a run on a worker */
    struct weir_mail mail;   /* to the partition: the end is over */
    struct weir_partition *partition;
    struct weir_key *key; /* NULL: its message was abandoned. Owner */
    void *state;          /* the user's; NULL: a run has not asked for it */
    bool is_counted;      /* owner: the state is */
    bool has_version;
    int64_t version;      /* filter.h: the newest that a run of the key has had */
    uint64_t rate_due_ns; /* likewise: when the key's next run is due */
    uint64_t epoch;
    uint64_t bytes, bytes_charged; /* the last is the owner's; 0: it has not seen it yet */
    uint64_t idle_since_ns;        /* owner */
    struct weir_key_data *next;    /* owner: of an abandoned message, while it ends */
    size_t key_size;
    char key_bytes[]; /* none where the key is not found by bytes */
};

/* What a partition has of them. Owner, all of it. */
struct weir_key_datas {
    uint64_t count, bytes;         /* all; as charged */
    struct weir_key_data *orphans; /* of abandoned messages, whose end has been dispatched; by next */
};

/** The data of the message's key, made if need be; NULL where memory is short. Worker, in a run of the message. */
struct weir_key_data *weir_key_data_of_run(struct weir_message *message);
/** The end: call the destructor, hand it back. Worker. */
void weir_key_data_turn(struct weir_actor *actor, struct weir_worker *worker);
/** The same, without a worker: where none is left. */
void weir_key_data_destroy(struct weir_key_data *data);

#endif
