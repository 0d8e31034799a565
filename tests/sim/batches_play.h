/*
 * One process whose handler takes batches, in exact virtual time: what batches.c and batches_ends.c play, and what they
 * look at. Functions assert.
 */
#ifndef WEIR_TESTS_BATCHES_PLAY_H
#define WEIR_TESTS_BATCHES_PLAY_H

#include "actors/consumer.h"
#include "tests/support/world_batches.h"

#define SECOND WEIR_WORLD_SECOND
#define MS     (SECOND / 1000)
#define HOUR   "3600000"

typedef enum weir_outcome answer(struct weir_message *message);

struct batches_play {
    struct weir_world *world;
    struct weir_consumer *consumer; /* the last */
    const char *const *options;     /* of the next world */
    answer *rule;                   /* what becomes of a message; NULL: acked */
    void (*meanwhile)(void);        /* called in the handler; NULL: nothing */
    char told[1 << 16];             /* batches as they ran: "0.1 1.1 | 0.2 | ": offset, attempt */
    unsigned pool_threads;          /* of the next world */
    bool tells_partitions;          /* "1/0.1 ": with its partition */
    unsigned batches;
    uint64_t ran_ns[64]; /* when each began */
    struct weir_world_driver driver;
};

extern struct batches_play play;

/* A world of its own, without a process. */
struct weir_world *play_make(const char *const *options, answer *rule, int32_t partitions);
/* A process that has its partitions and nothing to do. */
struct weir_world_process *play_start(void);
void play_append(int32_t partition, int key, unsigned count);
void play_tell(struct weir_batch *batch); /* into `told`: for a handler of the test's own */
void play_close(void);                    /* and every message is accounted for */
int64_t play_committed(void);             /* of partition 0 */
struct weir_stats play_stats(struct weir_consumer *consumer);

#endif
