/*
 * The keeper: who keeps the offsets beside Kafka, that is the callback of weir_consumer_on_partition(), on a thread of
 * its own, as it may block.
 *
 * Control asks before a partition begins, and tells where its floor stands; answers it fetches. In the simulator, which
 * has no threads, the callback is called at once, by control.
 *
 * Invariants
 *   K1. A partition has one place for a question and one for a floor. What is newer replaces what has not been fetched;
 *       so nothing is allocated here, and the queue's bound is the number of partitions.
 *   K2. A floor is told before a question that came after it.
 *   K3. An answer counts for the epoch that it was asked for, and for no other.
 *   K4. After weir_keeper_stop() the callback is not called any more; floors that were waiting have been told before.
 */
#ifndef WEIR_ACTORS_KEEPER_H
#define WEIR_ACTORS_KEEPER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <weir/consumer.h>

struct weir_partition;

/* A partition's places. All under the keeper's lock. */
struct weir_kept {
    struct weir_partition *next; /* in the queue */
    bool queued, asks, tells, answers;
    enum weir_partition_event event; /* of the question */
    uint64_t epoch, floor_epoch;     /* of the question and its answer; of the floor */
    int64_t offset, stood, floor;    /* the first asked, then answered */
    int result;
};

struct weir_keeper {
    /* constant after start */
    weir_partition_callback *callback; /* NULL: there is no keeper */
    void *user;
    struct weir_consumer *consumer;
    _Atomic bool threaded; /* until stop: two may close at once */

    /* under the lock */
    struct weir_partition *first, *last;
    uint64_t logged_ns; /* so that a database that is away logs once a second */
    bool stopping;

    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static inline bool weir_keeper_is_on(const struct weir_keeper *keeper)
{
    return keeper->callback != NULL;
}

void weir_keeper_init(struct weir_keeper *keeper, struct weir_consumer *consumer);
void weir_keeper_deinit(struct weir_keeper *keeper);
/** With a thread, or without: then control itself calls. Errors: WEIR_SYSTEM. */
int weir_keeper_start(struct weir_keeper *keeper, bool threaded, struct weir_error *error);
/** Wait for the callback and end the thread. Twice is fine, and before start. Not on the keeper's thread. */
void weir_keeper_stop(struct weir_keeper *keeper);
/** Is this the keeper's thread? Any thread. */
bool weir_keeper_is_current(struct weir_keeper *keeper);

/** Ask where `epoch` of this partition is to begin, if not at `offset`; or tell of a reset, from where it `stood` (else
 *  -1). Control is notified of the answer. Control. */
void weir_keeper_ask(struct weir_partition *partition, uint64_t epoch, int64_t offset, int64_t stood);
/** The answer, once: false if there is none yet. *result is the callback's; > 0: *offset is where. Control. */
bool weir_keeper_answer(struct weir_partition *partition, uint64_t epoch, int *result, int64_t *offset);
/** Do not ask what has not been asked yet. Control. */
void weir_keeper_forget(struct weir_partition *partition);
/** An epoch begins, with its floor at `position`. Control. */
void weir_keeper_begin(struct weir_partition *partition, uint64_t epoch, int64_t position);
/** Tell the floor that was told last once more, for this epoch. Control. */
void weir_keeper_remind(struct weir_partition *partition, uint64_t epoch);
/** Tell that all below `floor` is finished, unless that has been told. Control. */
void weir_keeper_tell(struct weir_partition *partition, uint64_t epoch, int64_t floor);

#endif
