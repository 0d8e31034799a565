/*
 * The insides of the world: what its files share. See world.h.
 *
 *   world.c           settings, processes, what is produced, running
 *   world_ledger.c    runs, dead letters, floors, verdicts
 *   world_outputs.c   what runs emit
 *   world_batches.c   runs that begin together
 *   world_disturb.c   what goes wrong around the processes
 *   world_trace.c     what happens, as lines for people
 */
#ifndef WEIR_TESTS_WORLD_INTERNAL_H
#define WEIR_TESTS_WORLD_INTERNAL_H

#include "tests/support/world.h"

struct world_message {
    bool exists, finished, letter, exempt;
    int key;          /* number; -1: none */
    int64_t previous; /* offset of the next lower message of the key; -1: none */
    uint32_t starts, finishes;
    uint8_t outputs_wanted, outputs_there; /* how many; which, as bits */
    uint64_t last_run;                     /* number of the last, plus 1; 0: none */
    uint64_t outputs_run;                  /* number of the run that they are of, plus 1; 0: none is there */
};

struct world_last { /* what a process ran last of a key */
    uint64_t assignment;
    int64_t offset;
    enum weir_outcome outcome;
};

struct world_lane {   /* a key of a partition */
    int64_t produced; /* offset of the last message; -1: none */
    struct world_last last[WEIR_WORLD_PROCESSES_MAX];
    uint64_t open[WEIR_WORLD_PROCESSES_MAX]; /* number of the run under way, plus 1; 0: none */
};

struct world_log {
    const char *topic;
    int32_t partition;
    struct world_message *messages; /* by offset */
    size_t count, capacity;
    int64_t floor;     /* lowest that is not over */
    int64_t committed; /* as seen last */
    uint64_t era;      /* truncations so far */
    struct world_lane *lanes;
};

struct world_run {
    struct weir_world_process *process;
    struct world_log *log;
    int64_t offset;
    uint64_t assignment;
    bool open;
    enum weir_outcome outcome; /* once it is not */
    uint64_t batch;            /* in which it began; 0: alone */
    uint64_t before;           /* number of the message's run before it, plus 1; 0: none */
};

struct weir_world_process {
    struct weir_world *world;
    unsigned number, instance;
    struct weir_kafka *kafka;
    struct weir_system *system;
    void *consumer;
    bool stopping, crashed, destroyed;
    uint64_t epoch; /* of the next run */
    struct weir_audit *audit;
};

struct weir_world {
    struct weir_world_settings settings;
    struct weir_simulation *simulation;
    struct weir_fake_cluster *cluster;
    struct weir_random random;
    char *topic_text, *topics[WEIR_WORLD_TOPICS_MAX], *letters[WEIR_WORLD_TOPICS_MAX];
    size_t topic_count;
    struct world_log *logs; /* topic by topic */
    size_t log_count;
    struct weir_world_process *processes[WEIR_WORLD_PROCESSES_MAX];
    size_t process_count;
    unsigned instance_count;
    unsigned produces_due; /* scheduled, not appended yet */
    bool closing;

    struct world_run *runs;
    size_t run_count, run_capacity;
    uint64_t batch, batch_count; /* whose runs begin just now, 0: none; so far */
    uint64_t commit_version;
    struct weir_world_tally tally;
    uint64_t hash, violation_count;
    char violation[512]; /* the first */
};

void *weir_world_allocate(size_t size); /* zeroed; aborts where memory is short */
void weir_world_after(struct weir_world *world, uint64_t delay_ns, weir_fake_action *action,
                      void *argument); /* frees */
struct world_log *weir_world_log(struct weir_world *world, const char *topic, int32_t partition);
struct weir_world_process *weir_world_start_as(struct weir_world *world, unsigned instance);

/* world_ledger.c */
void weir_world_ledger_produced(struct weir_world *world, struct world_log *log, int64_t offset, int key);
void weir_world_ledger_observe(void *world); /* after every step */
void weir_world_ledger_gone(struct weir_world_process *process);
void weir_world_ledger_exempt(struct weir_world *world, struct world_log *log, int64_t below);
void weir_world_take_letter(struct weir_world *world, const char *topic, const struct weir_fake_record *record);
bool weir_world_is_over(const struct world_message *message);
bool weir_world_may_be_lost(const struct weir_world *world, const struct world_log *log);
/* world_batches.c: in place of the order of runs that are alone */
void weir_world_check_batch(struct weir_world *world, const struct world_run *run, const struct world_message *message);
/* world_outputs.c */
uint8_t weir_world_outputs_wanted(const struct weir_world *world, const struct world_log *log, int64_t offset);
/* A client has written a record, and in a transaction: that was committed. */
void weir_world_written(void *world, struct weir_kafka *kafka, void *opaque, const char *topic, int32_t partition,
                        int64_t offset);
/* world_trace.c: lines of this world, where it is to be traced. process: NULL for nobody in particular. */
void weir_world_trace(const struct weir_world *world, const struct weir_world_process *process, const char *format, ...)
    WEIR_FORMAT(3, 4);
void weir_world_trace_begin(struct weir_world *world); /* takes the consumers' log in as well */
void weir_world_trace_end(const struct weir_world *world);

void weir_world_violate(struct weir_world *world, const char *format, ...) WEIR_FORMAT(2, 3);

#endif
