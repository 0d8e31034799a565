/*
 * Kafka in memory: the second implementation of actors/kafka.h, for the simulator.
 *
 * A cluster holds topics, logs, groups and committed offsets. Each client of it is one group member with its producer,
 * behind the same table of functions as the real one. It behaves as brokers and librdkafka do in what Weir depends on,
 * the unpleasant parts included; how often those happen is said by struct weir_fake_faults. Every answer comes after a
 * delay of virtual time, and all choices come from the simulation's seed.
 *
 * Thread: the simulation's, between and within its steps. Nothing here is locked.
 *
 * Invariants
 *   F1. K1 to K5 of kafka.h hold whatever faults are on: faults change what is answered and when, never whether.
 *   F2. The fake's own memory comes from malloc and a failure there aborts, so that weir_memory_fail_after() hits the
 *       code under test only. Calls of the door that may answer WEIR_NO_MEMORY ask weir_memory_allocate() once, and
 *       answer so when it fails; they have then done nothing.
 *   F3. A caller that breaks the contract is not stopped: the violation is counted and described, and tests read it.
 *   F4. The same seed and the same calls give the same run: no address and no clock of the machine decides anything.
 *
 * What it models of librdkafka 2.0.2, beyond the contract
 *   - Before a rebalance event is queued every assigned partition is paused: what was prefetched is dropped, and
 *     fetching goes on at the position of the application, or where the last seek pointed if nothing was pulled since.
 *     With purge_ahead that position has moved past records nobody was given. Pulls give nothing until the answer.
 *   - Dropped records stay in the queue as husks until the next pull: the queue does not count as empty, so no edge
 *     comes for new ones. Whoever opens a partition pulls once without being woken.
 *   - A member leaves the group only by closing. One that was fenced finds out later, and rejoins after LOST. A queued
 *     REVOKE turns into LOST if that happens first.
 *   - A commit asked for during a join mostly waits, and goes out with the generation that the join leads to; else it
 *     crosses the rebalance, see commit_race.
 *   - Cooperative: REVOKE of what moves, then ASSIGN of what came, then a second join that gives away what was revoked.
 *     ASSIGN may be empty. Eager: REVOKE of all, then ASSIGN of all.
 *
 * Life: weir_fake_destroy() frees clients too, those that crashed among them. No step of the simulation may run after
 * it; the simulation itself may be destroyed before or after.
 */
#ifndef WEIR_ACTORS_KAFKA_FAKE_H
#define WEIR_ACTORS_KAFKA_FAKE_H

#include "actors/kafka.h"

struct weir_simulation;
struct weir_fake_cluster;

/* Functions of callers (wake, event) that are being called. Inside them the fake is in the middle of something: nobody
 * else may be let in. */
extern unsigned weir_fake_calls_out;

/* ---- the cluster ---- */

/* Sizes and times; weir_fake_settings_default() gives sensible ones. */
struct weir_fake_settings {
    uint64_t latency_ns_min, latency_ns_max; /* one way, of each request and answer */
    uint64_t slow_ns_max;                    /* on top, of what the fault `slow` hits */
    uint64_t park_ns_max;                    /* how late a parked commit is applied */
    uint64_t request_timeout_ns;             /* then a request is answered as retriable */
    uint64_t delivery_timeout_ns;            /* the same of produced messages */
    uint64_t transaction_timeout_ns;         /* then an open transaction is aborted, and its producer fenced */
    uint64_t heartbeat_ns;                   /* within this a member learns what the coordinator wants of it */
    uint64_t session_timeout_ns;             /* a silent member is fenced */
    uint64_t rebalance_timeout_ns;           /* a member that leaves an event unanswered is fenced */
    uint64_t join_delay_ns;                  /* the first rebalance of an empty group waits so long for others */
    uint64_t metadata_ns_max;                /* within this clients see new partitions and topics */
    uint64_t statistics_ns;                  /* between STATISTICS events; 0: none */
    uint32_t fetch_messages_max;             /* one fetch brings 1 .. this many */
    uint32_t queued_messages_max;            /* a partition's prefetch, overshot by one fetch */
    uint64_t queued_bytes_max;
    uint32_t produce_queue_max; /* messages that a client's producer holds */
    size_t message_bytes_max;   /* of key and value: the client refuses what is larger */
    size_t offset_metadata_bytes_max;
    bool auto_create; /* producing to an unknown topic creates it */
    int32_t auto_create_partitions;
};

/* How often, in thousandths. All zero: a healthy cluster. */
struct weir_fake_faults {
    uint16_t slow;                  /* an answer takes longer */
    uint16_t commit_applied_error;  /* stored, but answered as retriable */
    uint16_t commit_lost;           /* not stored, answered as retriable */
    uint16_t commit_parked;         /* stored late, with the generation of then: may move the offset back. Half of these
                                       are answered as retriable at once, half when they are stored */
    uint16_t commit_race;           /* a commit that crosses a rebalance: GENERATION and LOST instead of retriable */
    uint16_t fetch_committed_error; /* retriable */
    uint16_t watermarks_error;      /* retriable */
    uint16_t seek_error;            /* retriable; half of these have moved the position nevertheless */
    uint16_t redelivery;            /* a fetch begins below the position */
    uint16_t purge_ahead;           /* see above: records are lost to whoever does not seek back */
    uint16_t error_record;          /* a retriable error among the records */
    uint16_t short_pull;            /* a pull gives less than there is (never nothing) */
    uint16_t spurious_wake;         /* of queue and listener */
    uint16_t trouble;               /* a TROUBLE event that means nothing */
    uint16_t produce_error;         /* retriable, not written */
    uint16_t produce_written_error; /* retriable, but written */
    uint16_t produce_too_large;     /* refused by the broker */
    uint16_t produce_unknown_topic;
    uint16_t produce_authorization;
    uint16_t produce_queue_full; /* at the call */
    uint16_t transaction_error;  /* a request is answered as retriable, and not carried out */
    uint16_t transaction_unsure; /* the same, but it was */
    uint16_t transaction_abort;  /* it can only be aborted */
    uint16_t transaction_fatal;  /* the producer is finished; a commit may have been carried out */
};

/* What has happened, so that a test can tell that its faults did occur. */
struct weir_fake_counts {
    uint64_t commits_applied, commits_lost, commits_parked, commits_refused, commits_applied_error;
    uint64_t offsets_moved_back; /* commits of a partition below what was stored */
    uint64_t records_fetched, records_redelivered, records_purged, records_skipped_by_purge;
    uint64_t error_records, eof_records, out_of_range, short_pulls, spurious_wakes;
    uint64_t rebalances, assigns, revokes, losses, members_fenced;
    uint64_t produced, produce_errors, produce_written_errors;
    uint64_t transactions_committed, transactions_aborted, transactions_expired;
    uint64_t requests, request_errors, no_memory;
};

struct weir_fake_settings weir_fake_settings_default(void);

/** Build an empty, healthy cluster. `settings` NULL: the default. Ownership: the caller's, weir_fake_destroy(). */
struct weir_fake_cluster *weir_fake_create(struct weir_simulation *simulation, const char *cluster_id,
                                           const struct weir_fake_settings *settings);
void weir_fake_destroy(struct weir_fake_cluster *cluster);
void weir_fake_set_faults(struct weir_fake_cluster *cluster, const struct weir_fake_faults *faults);
struct weir_fake_settings *weir_fake_settings(struct weir_fake_cluster *cluster); /* lent; changes hold at once */
const struct weir_fake_counts *weir_fake_counts(const struct weir_fake_cluster *cluster);

/** No broker answers, or no coordinator does, for so long from now. */
void weir_fake_broker_down(struct weir_fake_cluster *cluster, uint64_t duration_ns);
void weir_fake_coordinator_down(struct weir_fake_cluster *cluster, uint64_t duration_ns);

/** weir_simulation_after() for tests: injected allocation failures pass it by, and when the cluster is destroyed before
 *  `action(argument)` was called, `drop(argument)` is called instead (NULL: nothing). */
typedef void weir_fake_action(void *argument);
void weir_fake_after(struct weir_fake_cluster *cluster, uint64_t delay_ns, weir_fake_action *action,
                     weir_fake_action *drop, void *argument);

/** Breaches of the contract by callers: how many, and a sentence each of the first ones (NULL beyond). Lent. */
uint64_t weir_fake_violations(const struct weir_fake_cluster *cluster);
const char *weir_fake_violation(const struct weir_fake_cluster *cluster, size_t index);

/* ---- topics ---- */

void weir_fake_topic_create(struct weir_fake_cluster *cluster, const char *topic, int32_t partition_count);
/** Delete: its records are gone; committed offsets too, unless `keep_offsets` (as a restored __consumer_offsets has).
 */
void weir_fake_topic_delete(struct weir_fake_cluster *cluster, const char *topic, bool keep_offsets);
void weir_fake_topic_add_partitions(struct weir_fake_cluster *cluster, const char *topic, int32_t partition_count);
void weir_fake_topic_deny(struct weir_fake_cluster *cluster, const char *topic, bool denied); /* read and write */
void weir_fake_topic_limit(struct weir_fake_cluster *cluster, const char *topic, size_t message_bytes_max);
int32_t weir_fake_topic_partitions(const struct weir_fake_cluster *cluster, const char *topic); /* -1: none such */
const char *weir_fake_topic_at(const struct weir_fake_cluster *cluster, size_t index); /* of those there are; or NULL */

/* A stored record. Lent until the log changes. */
struct weir_fake_record {
    int64_t offset, timestamp_ms;
    void *key, *value; /* NULL: null */
    size_t key_size, value_size;
    struct weir_kafka_header *headers;
    size_t header_count;
    const struct fake_transaction *transaction; /* NULL: none */
};

/** Append. Partition -1: by key, as clients do. Returns the offset. The topic must exist. */
int64_t weir_fake_append(struct weir_fake_cluster *cluster, int32_t partition,
                         const struct weir_kafka_produce *produce);
/** Use up offsets without records, as control records of transactions do. */
void weir_fake_append_hole(struct weir_fake_cluster *cluster, const char *topic, int32_t partition, int64_t count);
/** Take one record out of the log, as compaction does. */
void weir_fake_compact(struct weir_fake_cluster *cluster, const char *topic, int32_t partition, int64_t offset);
/** Retention: the log starts at `offset` from now on. */
void weir_fake_truncate(struct weir_fake_cluster *cluster, const char *topic, int32_t partition, int64_t offset);
/** Unclean leader election: the log ends at `offset` from now on. */
void weir_fake_truncate_end(struct weir_fake_cluster *cluster, const char *topic, int32_t partition, int64_t offset);
int64_t weir_fake_log_start(const struct weir_fake_cluster *cluster, const char *topic, int32_t partition);
int64_t weir_fake_log_end(const struct weir_fake_cluster *cluster, const char *topic, int32_t partition);
/** The first record at or above `offset`; false: none. */
bool weir_fake_read(const struct weir_fake_cluster *cluster, const char *topic, int32_t partition, int64_t offset,
                    struct weir_fake_record *record);

/** The first record at or above `offset` that readers of what is committed see now; false: none. And how far they see.
 */
bool weir_fake_read_committed(const struct weir_fake_cluster *cluster, const char *topic, int32_t partition,
                              int64_t offset, struct weir_fake_record *record);
int64_t weir_fake_stable_end(const struct weir_fake_cluster *cluster, const char *topic, int32_t partition);

/** Called after each record that a client has written, in a transaction when that is committed, with what it was
 * produced with; `opaque` is NULL once that has been reported, as nobody may be there any more. `kafka` is the client.
 */
typedef void weir_fake_written(void *user, struct weir_kafka *kafka, void *opaque, const char *topic, int32_t partition,
                               int64_t offset);
void weir_fake_on_written(struct weir_fake_cluster *cluster, weir_fake_written *function, void *user);

/* ---- groups ---- */

/** What a group has committed; offset -1: nothing. `metadata` is never NULL here. Lent until the next commit. */
struct weir_kafka_offset weir_fake_committed(const struct weir_fake_cluster *cluster, const char *group,
                                             const char *topic, int32_t partition);
void weir_fake_set_committed(struct weir_fake_cluster *cluster, const char *group,
                             const struct weir_kafka_offset *offset);
uint64_t weir_fake_commit_version(const struct weir_fake_cluster *cluster); /* grows with every stored offset */

/** Start a rebalance for no reason, as a member that restarts does. */
void weir_fake_group_rebalance(struct weir_fake_cluster *cluster, const char *group);
int32_t weir_fake_group_generation(const struct weir_fake_cluster *cluster, const char *group);
bool weir_fake_group_is_stable(const struct weir_fake_cluster *cluster, const char *group);
size_t weir_fake_group_members(const struct weir_fake_cluster *cluster, const char *group);

/** A member that takes its share of partitions, does nothing with them and always answers at once. Returns a handle. */
uint64_t weir_fake_ghost_join(struct weir_fake_cluster *cluster, const char *group, const char *topics);
void weir_fake_ghost_leave(struct weir_fake_cluster *cluster, const char *group, uint64_t ghost);

/* ---- clients ---- */

struct weir_fake_member {
    const char *group;
    const char *topics;      /* separated by commas; one that begins with ^ is a regular expression */
    const char *instance_id; /* static membership; NULL: none */
    bool cooperative;        /* all members of a group alike */
    bool transactional;      /* its producer writes in transactions only */
};

/** A client: destroyed through its table, and its memory freed with the cluster. */
struct weir_kafka *weir_fake_client_create(struct weir_fake_cluster *cluster, const struct weir_fake_member *member);

/** The process dies: it is told nothing any more, what it sent may still arrive, its session runs out. Nothing of its
 *  may call the table again. */
void weir_fake_client_crash(struct weir_kafka *kafka);
/** Cut off from all brokers for so long. */
void weir_fake_client_partition(struct weir_kafka *kafka, uint64_t duration_ns);
/** The coordinator removes it now; it learns that within heartbeat_ns. */
void weir_fake_client_fence(struct weir_kafka *kafka);
/** A fatal error in the client. */
void weir_fake_client_fatal(struct weir_kafka *kafka);

enum weir_fake_request {
    WEIR_FAKE_FETCH_COMMITTED,
    WEIR_FAKE_FETCH_WATERMARKS,
    WEIR_FAKE_SEEK,
    WEIR_FAKE_COMMIT,
    WEIR_FAKE_PRODUCE,
    WEIR_FAKE_REQUESTS
};

/** The next `count` requests of this kind are answered with `error`; `applied`: but they have been carried out. */
void weir_fake_fail(struct weir_kafka *kafka, enum weir_fake_request request, enum weir_kafka_error error,
                    unsigned count, bool applied);

/** Does the client hold the partition: from its answer of ASSIGN to its answer of REVOKE or LOST? */
bool weir_fake_client_holds(const struct weir_kafka *kafka, const char *topic, int32_t partition);
/** Number of the client's assignments of this partition so far. */
uint64_t weir_fake_client_assignments(const struct weir_kafka *kafka, const char *topic, int32_t partition);
/** Has anybody asked for a header of this record? librdkafka parses them then, which two threads may not do at once. */
bool weir_fake_record_is_parsed(const void *native);
uint64_t weir_fake_client_outstanding(const struct weir_kafka *kafka); /* records pulled and not freed */
bool weir_fake_client_is_closed(const struct weir_kafka *kafka);       /* CLOSED has been handed over */

#endif
