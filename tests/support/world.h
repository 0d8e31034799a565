/*
 * A world for simulation tests of a whole consumer: an in-memory Kafka, processes that consume from it, a handler whose
 * answers a seed decides, and a ledger of all that happened, with verdicts over it.
 *
 *     struct weir_world *world = weir_world_create(&settings);      topics and messages are there
 *     struct weir_world_process *process = weir_world_start(world); one or several
 *     weir_world_disturb(world, 60 * SECOND, 20, WEIR_WORLD_ALL);   crashes, separations, rebalances, ...
 *     weir_world_run_until_finished(world, 600 * SECOND);
 *     weir_world_close(world, 60 * SECOND);
 *     struct weir_world_verdict verdict = weir_world_verdict(world);
 *
 * What a process runs is said by a driver: the consumer itself, or the plain member of the tests of the in-memory
 * Kafka. A driver tells the ledger of every run of a handler by weir_world_begin(), which also decides its outcome, and
 * weir_world_end().
 *
 * Checked at every start of a run
 *   - the message was produced, with that key, and this process holds its partition;
 *   - no other run of its key is under way in this process;
 *   - if it never ran before: every lower message of its key is over, that is acked or skipped with all of its outputs
 *     in their topic, or dead-lettered; or, at most once, may have died with a process that held the partition;
 *   - within one assignment: it is not below what its key has run, and what has finished does not run again.
 * Checked after every step of the simulation
 *   - what lies in the topics of outputs was emitted, with its key, by a run that ended in ack or skip;
 *   - what the group has committed is not above the lowest message that is not over;
 *   - all that must hold inside the consumers, see audit.h.
 * Checked in the end
 *   - no message is lost: it is over, or a later consumer would get it: at or above the committed offset, and not
 *     finished by the map in its metadata;
 *   - exactly once: no output and no letter is seen twice, none of a message that has the other, and the outputs of a
 *     message are of one run;
 *   - nobody broke the contract of actors/kafka.h.
 *
 * Memory: from malloc, as the in-memory Kafka's, so that injected failures hit the code under test only. A process that
 * crashed is freed by its driver's `abandon`; without one its consumer stays, reachable, until the program ends.
 *
 * Thread: the simulation's.
 */
#ifndef WEIR_TESTS_WORLD_H
#define WEIR_TESTS_WORLD_H

#include "actors/kafka_fake/kafka_fake.h"
#include "runtime/simulation.h"
#include "tests/support/audit.h"
#include <weir/batch.h>
#include <weir/consumer.h>
#include <weir/message.h>

#define WEIR_WORLD_PROCESSES_MAX 64
#define WEIR_WORLD_TOPICS_MAX    4
#define WEIR_WORLD_SECOND        UINT64_C(1000000000)

struct weir_world;
struct weir_world_process;

/* What runs in a process. */
struct weir_world_driver {
    void *(*create)(struct weir_world_process *process); /* takes the process's kafka; NULL fails the world */
    void (*start)(void *consumer);
    void (*stop)(void *consumer); /* asks it to close */
    bool (*is_closed)(void *consumer);
    void (*destroy)(void *consumer); /* closed, or never started */
    void (*abandon)(void *consumer); /* crashed: only free memory, call nobody. May be NULL */
    /* Does the metadata of a commit say that `offset`, at or above the committed one, is finished? NULL: never. */
    bool (*map_has_finished)(const struct weir_kafka_offset *committed, int64_t offset);
    /* Does all hold that must between two steps? See audit.h. NULL: not asked. */
    bool (*audit)(struct weir_audit *audit, void *consumer, char *text, size_t text_size);
};

/* The consumer itself. Its driver_data: option names and values, ended by NULL, or NULL. */
extern const struct weir_world_driver weir_world_consumer;
/* Drivers of consumers that are made otherwise differ by their `create` only: one that calls
 * weir_world_consumer_create(). */
#define WEIR_WORLD_CONSUMER_DRIVER(create_)                                                        \
    {                                                                                              \
        .create = (create_), .start = weir_world_consumer_start, .stop = weir_world_consumer_stop, \
        .is_closed = weir_world_consumer_is_closed, .destroy = weir_world_consumer_destroy,        \
        .map_has_finished = weir_world_map_says, .audit = weir_world_consumer_audit,               \
    }
void weir_world_consumer_start(void *consumer);
void weir_world_consumer_stop(void *consumer);
bool weir_world_consumer_is_closed(void *consumer);
void weir_world_consumer_destroy(void *consumer);
bool weir_world_map_says(const struct weir_kafka_offset *committed, int64_t offset);
bool weir_world_consumer_audit(struct weir_audit *audit, void *consumer, char *text, size_t text_size);
/** A configuration of a process with options as above; the caller's. For drivers. */
struct weir_config *weir_world_configure(const struct weir_world_process *process, const char *const *options);
/** The consumer of a process, with one of these handlers, whose user is the process, and with options as above. */
struct weir_consumer *weir_world_consumer_create(struct weir_world_process *process, weir_handler *handler,
                                                 weir_batch_handler *batch_handler, const char *const *options);
/** Emit the outputs of a run from number `first` to below `end`. False: its partition has left, and nothing counts. */
bool weir_world_emit(struct weir_world_process *process, struct weir_message *message, uint64_t run, unsigned first,
                     unsigned end);

/* How often, in thousandths of the runs; the rest is acked. */
struct weir_world_chances {
    uint16_t skip, retry, dead, overloaded, later;
    uint16_t poison; /* thousandths of the messages: each run of them asks for a retry */
};

#define WEIR_WORLD_OUTPUTS     ".out" /* what is added to a topic's name for the outputs of its messages */
#define WEIR_WORLD_OUTPUTS_MAX 3

struct weir_world_settings {
    uint64_t seed;
    const char *topics;                /* separated by commas, at most 4; NULL: "orders" */
    int32_t partitions;                /* of each; 0: 4 */
    unsigned keys;                     /* distinct ones a topic; 0: 20 */
    uint16_t null_keys;                /* thousandths of the messages: no key, no order */
    uint16_t outputs;                  /* thousandths of the messages: their runs emit some */
    unsigned messages;                 /* appended at the beginning */
    const char *group;                 /* NULL: "group" */
    const char *letters;               /* what is added to a topic's name for its dead letters; NULL: ".dlq" */
    const char *instance_prefix;       /* static membership: followed by the process's number; NULL: dynamic */
    bool eager;                        /* else cooperative */
    bool floor_unchecked;              /* at most once: commits run ahead */
    bool exactly_once;                 /* and what is written is seen once, by readers of what is committed */
    uint16_t preempt;                  /* thousandths, see preempt.h */
    bool trace;                        /* say on standard error what happens */
    unsigned workers;                  /* of each process's system; 0: 2 */
    unsigned pool_threads;             /* likewise; 0: handlers run on the workers */
    unsigned short_percent;            /* how often turns count as short: handlers run in their partition's turn */
    uint64_t later_ns_max;             /* 0: 50 ms */
    struct weir_world_chances chances; /* of handlers */
    struct weir_fake_faults faults;    /* of the cluster */
    const struct weir_fake_settings *cluster; /* NULL: the default */
    const struct weir_world_driver *driver;
    const void *driver_data; /* the driver's own */
};

/** Build it. Ownership: the caller's, weir_world_destroy(), which ends what still runs without asking. */
struct weir_world *weir_world_create(const struct weir_world_settings *settings);
void weir_world_destroy(struct weir_world *world);

struct weir_simulation *weir_world_simulation(struct weir_world *world);
struct weir_fake_cluster *weir_world_cluster(struct weir_world *world);
const struct weir_world_settings *weir_world_settings(const struct weir_world *world);

/* ---- what happens ---- */

void weir_world_produce(struct weir_world *world, unsigned count); /* now, keys and partitions by the seed */
void weir_world_produce_during(struct weir_world *world, uint64_t duration_ns, unsigned count);
/** Append one message of key number `key` (-1: none). Returns its offset. */
int64_t weir_world_append(struct weir_world *world, const char *topic, int32_t partition, int key);
/** Retention takes what is below `offset`: no verdict asks for it any more. */
void weir_world_truncate(struct weir_world *world, const char *topic, int32_t partition, int64_t offset);

struct weir_world_process *weir_world_start(struct weir_world *world);
void weir_world_stop(struct weir_world_process *process);
void weir_world_crash(struct weir_world_process *process);
size_t weir_world_alive(const struct weir_world *world);                /* started, not asked to stop, not crashed */
struct weir_world_process *weir_world_choose(struct weir_world *world); /* one of these, or NULL */

enum weir_world_disturbance {
    WEIR_WORLD_CRASH = 1 << 0,    /* and another process starts a little later */
    WEIR_WORLD_STOP = 1 << 1,     /* likewise */
    WEIR_WORLD_JOIN = 1 << 2,     /* one more process; one fewer later */
    WEIR_WORLD_SEPARATE = 1 << 3, /* from the brokers, for up to twice the session */
    WEIR_WORLD_FENCE = 1 << 4,
    WEIR_WORLD_REBALANCE = 1 << 5,
    WEIR_WORLD_GHOST = 1 << 6, /* a member that holds partitions for a while and does nothing */
    WEIR_WORLD_NO_BROKER = 1 << 7,
    WEIR_WORLD_NO_COORDINATOR = 1 << 8,
    WEIR_WORLD_ALL = (1 << 9) - 1
};

/** Let `count` of these `kinds` happen within `duration_ns` from now, and be over by then but for their effects. */
void weir_world_disturb(struct weir_world *world, uint64_t duration_ns, unsigned count, unsigned kinds);

void weir_world_run(struct weir_world *world, uint64_t duration_ns);
/** Run until every message is over. False: not within `duration_ns_max`, or a check failed. */
bool weir_world_run_until_finished(struct weir_world *world, uint64_t duration_ns_max);
/** Stop all processes and run until they are closed; then destroy them. False: one did not close in time. */
bool weir_world_close(struct weir_world *world, uint64_t duration_ns_max);

/* ---- for drivers ---- */

struct weir_world *weir_world_of(const struct weir_world_process *process);
struct weir_kafka *weir_world_kafka(const struct weir_world_process *process);
struct weir_system *weir_world_system(const struct weir_world_process *process);
unsigned weir_world_number(const struct weir_world_process *process); /* from 0 */
bool weir_world_is_gone(const struct weir_world_process *process);    /* crashed, or its consumer was destroyed */

/** A handler starts. Returns what it is to answer, and the number of the run. */
enum weir_outcome weir_world_begin(struct weir_world_process *process, const char *topic, int32_t partition,
                                   int64_t offset, const void *key, size_t key_size, uint32_t attempt, uint64_t *run);
/** It is over: called before the outcome is given to anybody. Not for WEIR_LATER. */
void weir_world_end(struct weir_world_process *process, uint64_t run, enum weir_outcome outcome);
/** It answered WEIR_LATER: end it after a while, and call `finish` with the copied handle (at most 32 bytes) and the
 *  outcome. Not called once the process has crashed. */
typedef void weir_world_finish(void *handle, enum weir_outcome outcome);
void weir_world_later(struct weir_world_process *process, uint64_t run, weir_world_finish *finish, const void *handle,
                      size_t handle_size);

/** How many outputs this run emits, with whatever outcome; and number `index` of them, from 0. */
struct weir_world_output {
    char topic[280], key[16], value[96]; /* NUL-terminated */
    bool has_key;
};
unsigned weir_world_outputs(const struct weir_world_process *process, uint64_t run);
void weir_world_output(const struct weir_world_process *process, uint64_t run, unsigned index,
                       struct weir_world_output *output);
/** Exactly once: number of the epoch that the next run belongs to, of which an assignment may have several. */
void weir_world_epoch(struct weir_world_process *process, uint64_t epoch);

/* ---- verdicts ---- */

struct weir_world_tally {
    uint64_t produced, finished, letters, over; /* messages; over: finished or dead-lettered */
    uint64_t runs, duplicates;                  /* duplicates: ends with ack or skip beyond a message's first */
    uint64_t outputs, outputs_again;            /* in their topics; of these, those that were there already */
    uint64_t crashes, disturbances;
    uint64_t audits;             /* partitions with work that were looked at in full */
    uint64_t overlaps_elsewhere; /* runs of a key while another process still ran it: fenced ones may */
};

struct weir_world_verdict {
    bool ok;
    uint64_t checked;    /* messages */
    uint64_t violations; /* of all checks */
    char text[640];      /* the first, or what was checked */
};

const struct weir_world_tally *weir_world_tally(struct weir_world *world);
bool weir_world_is_finished(const struct weir_world *world); /* every message is over */
/** All checks so far, with those of the end. */
struct weir_world_verdict weir_world_verdict(struct weir_world *world);
/** Of all that happened, so that two runs can be compared. */
uint64_t weir_world_hash(const struct weir_world *world);

#endif
