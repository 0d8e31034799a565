/*
 * The messages of a ledger, partition by partition, as the walk of chaos.c keeps them.
 *
 * Messages are sorted by topic, partition, offset; a lane is the run of one partition in them.
 */
#ifndef WEIR_TESTS_CHAOS_LANES_H
#define WEIR_TESTS_CHAOS_LANES_H

#include "actors/map.h"
#include "tests/support/chaos.h"

enum { WEIR_CHAOS_TENURES_MAX = 4096 };

struct weir_chaos_message {
    uint64_t topic_hash;
    int64_t offset;
    int32_t partition;
    uint32_t finishes;
    uint32_t running;
    uint32_t class; /* enum weir_chaos_class */
    bool excused;   /* a stranger's commit passed over it */
    bool letter;
    bool ended;         /* some run of it has */
    uint64_t output_ns; /* when what it emitted first was in its topic; UINT64_MAX: never */
};

struct weir_chaos_tenure {
    uint32_t process;
    uint64_t epoch;
};

/* One partition. */
struct weir_chaos_lane {
    uint64_t topic_hash;
    int32_t partition;
    struct weir_chaos_message *messages;
    size_t count, emitted;
    int64_t floor; /* last commit; -1: none */
    struct weir_map map;
    bool has_map, strange; /* strange: a stranger's commit came, none of ours since */
    int64_t passed;        /* below it V1 has been checked */
    int64_t work_floor;    /* the highest floor so far: what progress is measured by */
    int64_t started;       /* the highest offset that any run has had so far; -1: none */
    struct weir_chaos_tenure *tenures;
    size_t tenure_count;
    uint32_t owner;
    uint64_t waiting_ns; /* since when a disturbance left it without an owner; 0: it did not */
};

struct weir_chaos_lanes {
    struct weir_chaos_message *messages;
    struct weir_chaos_lane *lanes;
    size_t message_count, lane_count;
};

/** Of all that was produced, by EMIT. False where memory is short; to be deinited all the same. */
bool weir_chaos_lanes_init(struct weir_chaos_lanes *lanes, const struct weir_ledger *ledger);
void weir_chaos_lanes_deinit(struct weir_chaos_lanes *lanes);

/** NULL where there is none. Lent. */
struct weir_chaos_lane *weir_chaos_lane_of(const struct weir_chaos_lanes *lanes, uint64_t topic_hash,
                                           int32_t partition);
struct weir_chaos_message *weir_chaos_message_of(const struct weir_chaos_lanes *lanes,
                                                 const struct weir_ledger_record *record);
/** Index of the lane's first message at or above an offset. */
size_t weir_chaos_place_of(const struct weir_chaos_lane *lane, int64_t offset);

#endif
