/*
 * The insides of the test kit: what its files share. See <weir/testkit.h>.
 *
 *   kit.c        life, topics, processes
 *   time.c       how time passes, and what is called at a moment
 *   messages.c   what is sent, and what is asked of it
 *   ledger.c     runs, dead letters, floors, verdict
 *   outputs.c    what handlers emit
 *   batches.c    runs that begin together
 *   faults.c     what goes wrong
 *   seeds.c      trials over many seeds; lines for people
 *
 * Thread: the test's. Memory comes from malloc, as that of the in-memory Kafka, and where it is short the process ends.
 *
 * Invariants
 *   T1. Only one consumer is alive at a time. What was closed or has crashed stays until the kit goes: the simulation
 *       may hold timers of it.
 *   T2. After each piece of the user's code has run (handler, weir_testkit_after(), the test between two runs) the
 *       open handles are looked at, before any actor takes a step: so no answer is missed.
 *   T3. Logs are written to by the kit and by the consumer, and the kit hears of both, so a message's offset is its
 *       index. In a transaction it hears when that is committed: what was aborted, and control records, leave holes.
 */
#ifndef WEIR_TESTKIT_INTERNAL_H
#define WEIR_TESTKIT_INTERNAL_H

#include "actors/consumer.h"
#include "actors/kafka_fake/kafka_fake.h"
#include "actors/output.h"
#include "runtime/random.h"
#include "runtime/simulation.h"
#include <weir/testkit.h>

#define KIT_MS_NS UINT64_C(1000000)

struct kit_call;
struct kit_lane;
struct kit_log;

struct kit_run {
    uint64_t begin_ns, end_ns;
    uint64_t assignment;
    enum weir_outcome outcome;
    uint32_t attempt;
    unsigned process;
    bool open;                    /* in the handler, or given out and not answered */
    struct weir_message *message; /* while given out */
    uint64_t generation;
    uint32_t emitted, unwritten; /* outputs, once it has ended; those that are not in their topics */
    bool *written;               /* by their number */
    uint64_t epoch;              /* of the message */
    uint64_t batch;              /* in which it began; 0: alone */
};

struct weir_testkit_message {
    struct weir_testkit *kit;
    struct kit_log *log;
    int64_t offset;
    struct kit_lane *lane;               /* NULL: it is in no order */
    struct weir_testkit_message *before; /* in its lane */
    struct kit_run *runs;
    size_t run_count, run_capacity;
    bool finished, dead;       /* dead: its letter came first */
    enum weir_outcome outcome; /* it was finished with */
    struct kit_letter *letter; /* the first */
};

struct kit_lane { /* what is handled in order: a key of a partition, mostly */
    struct kit_lane *next;
    const struct kit_log *log;
    void *key; /* NULL: the partition itself, or null keys */
    size_t key_size;
    struct weir_testkit_message *produced; /* last */
    struct weir_testkit_message *last;     /* ran last, in ... */
    uint64_t assignment;
    unsigned process;
};

struct kit_log {
    const char *topic;
    int32_t partition;
    struct weir_testkit_message **messages; /* by offset */
    size_t count, capacity;
    int64_t floor; /* lowest that is not over */
};

struct kit_topic {
    char *name;
    struct kit_log **logs;
    int32_t partition_count;
};

struct kit_letter {
    struct kit_letter *next;
    char *topic;
    int32_t partition;
    int64_t offset;
    char *cause, *reason;
};

struct kit_written {                      /* an output in its topic */
    struct weir_testkit_message *message; /* of which it is; NULL: unknown */
    const char *topic;                    /* the cluster's own */
    int32_t partition;
    int64_t offset;
};

struct kit_process {
    struct kit_process *next; /* the one before it */
    unsigned number;
    struct weir_testkit *kit;
    struct weir_kafka *kafka;
    struct weir_system *system;
    struct weir_consumer *consumer;
    bool crashed, closed;
};

struct kit_open { /* a run that was given out */
    struct weir_testkit_message *message;
    size_t run;
};

#define KIT_LANE_BUCKETS 1024

struct weir_testkit {
    struct weir_config *config;
    weir_handler *handler;             /* NULL: batch_handler */
    weir_batch_handler *batch_handler; /* NULL: handler */
    void *user;
    weir_testkit_prepare *prepare; /* NULL: nothing */
    uint64_t seed;
    bool trace;
    struct weir_simulation *simulation;
    struct weir_fake_cluster *cluster;
    struct weir_random random;
    uint64_t begin_ns;
    struct kit_process *process, *processes; /* the one that is alive; all */
    unsigned process_count;
    bool running;           /* time is */
    bool closing;           /* the kit is being destroyed */
    struct kit_call *calls; /* of weir_testkit_after(), that are due */
    unsigned in_handler;    /* depth */

    struct kit_topic topics[WEIR_TESTKIT_TOPICS_MAX];
    size_t topic_count;
    struct kit_lane *lanes[KIT_LANE_BUCKETS];
    uint64_t sent, over, runs, duplicates, crashes;
    uint64_t batch, batch_count; /* whose runs begin just now, 0: none; so far */

    struct kit_open *open;
    size_t open_count, open_capacity;
    struct kit_letter *letters, **letters_end;
    size_t letter_count;
    struct kit_written *written;
    size_t written_count, written_capacity;
    uint64_t commit_version_seen;
    bool unordered_commits; /* at most once: commits run ahead */

    struct weir_fake_faults faults;
    uint64_t shake; /* numbers them; what is due of an earlier one is nothing any more */
    uint64_t violation_count;
    char violation[400]; /* the first */
};

/* kit.c */
void *weir_kit_allocate(size_t size);                                               /* zeroed */
void *weir_kit_grow(void *items, size_t count, size_t *capacity, size_t item_size); /* room for one more */
char *weir_kit_copy(const void *bytes, size_t size);                                /* and a NUL */
struct kit_topic *weir_kit_topic(const struct weir_testkit *kit, const char *name); /* NULL: the first */
struct kit_log *weir_kit_log(const struct weir_testkit *kit, const char *topic, int32_t partition);
bool weir_kit_process_start(struct weir_testkit *kit, struct weir_error *error);
void weir_kit_process_crash(struct weir_testkit *kit);

/* time.c */
int weir_kit_check_ms(const char *what, int64_t ms, struct weir_error *error);
int weir_kit_check_outside(const struct weir_testkit *kit, const char *what, struct weir_error *error);
int weir_kit_check_idle(const struct weir_testkit *kit, const char *what, struct weir_error *error);
void weir_kit_pass(struct weir_testkit *kit, uint64_t duration_ns, bool (*done)(void *kit));
void weir_kit_make_calls(struct weir_testkit *kit); /* all that are due, whenever that is: the kit goes */

/* batches.c */
enum weir_outcome weir_kit_handle_batch(struct weir_batch *batch, void *process);
void weir_kit_check_batch(struct weir_testkit *kit, const struct weir_testkit_message *message, unsigned process,
                          uint64_t assignment);

/* ledger.c */
void weir_kit_violate(struct weir_testkit *kit, const char *format, ...) WEIR_FORMAT(2, 3);
/** A run begins: of what was sent, NULL where it was not sent so; `run`: its number among those of its message. */
struct weir_testkit_message *weir_kit_run_begin(struct kit_process *process, struct weir_message *message, size_t *run);
void weir_kit_run_end(struct weir_testkit_message *sent, size_t run, enum weir_outcome outcome,
                      const struct weir_message *message);
enum weir_outcome weir_kit_handle(struct weir_message *message, void *process);
void weir_kit_filtered(struct weir_message *message, void *process); /* finished without a run */
void weir_kit_sent(struct weir_testkit *kit, struct kit_log *log, int64_t offset,
                   const struct weir_testkit_record *record);
void weir_kit_letter(struct weir_testkit *kit, const struct weir_testkit_record *record); /* has been written */
void weir_kit_look_at_handles(struct weir_testkit *kit);                                  /* T2 */
void weir_kit_make_stale(struct weir_testkit *kit, const struct kit_process *process);
void weir_kit_observe(void *kit); /* after every step */
void weir_kit_ledger_deinit(struct weir_testkit *kit);
bool weir_kit_is_over(const struct weir_testkit_message *message);
void weir_kit_finished(struct weir_testkit_message *message, enum weir_outcome outcome); /* by ack or skip */
const char *weir_kit_outcome_name(enum weir_outcome outcome);

/* outputs.c */
void weir_kit_run_emitted(struct kit_run *run, const struct weir_message *message); /* it ends well */
void weir_kit_on_written(void *kit, struct weir_kafka *kafka, void *opaque, const char *topic, int32_t partition,
                         int64_t offset);

/* faults.c */
void weir_kit_calm(struct weir_testkit *kit); /* no faults, and no shaking any more */

/* seeds.c */
extern bool weir_kit_traces; /* a seed is being replayed */
void weir_kit_trace(const struct weir_testkit *kit, const char *format, ...) WEIR_FORMAT(2, 3);

#endif
