/*
 * The insides of the in-memory Kafka: what its files share. See kafka_fake.h for what it is.
 *
 *   cluster.c  the cluster: memory, names, events, chance, windows without a broker, violations
 *   log.c      topics, logs, records
 *   group.c    the coordinator: members, rounds of rebalancing, committed offsets
 *   assign.c   who gets which partitions
 *   client.c   a client: table, events and their order, answers to rebalances, closing
 *   member.c   a client as a member of its group: joining, losing, finding out
 *   fetch.c    partition queues, prefetch, records given out
 *   request.c  the four requests
 *   produce.c  the producer
 *   transaction.c  its transactions, and what they hide from readers
 *
 * Names are interned by the cluster, so that two names are equal when their pointers are.
 */
#ifndef WEIR_ACTORS_KAFKA_FAKE_INTERNAL_H
#define WEIR_ACTORS_KAFKA_FAKE_INTERNAL_H

#include "actors/kafka_fake/kafka_fake.h"
#include "runtime/random.h"
#include <regex.h>

#define FAKE_VIOLATIONS_KEPT 32
#define FAKE_MS              UINT64_C(1000000)

typedef weir_fake_action fake_action;

/* ---- small things ---- */

void *weir_fake_allocate(size_t size); /* zeroed; aborts where memory is short */
void *weir_fake_copy_bytes(const void *bytes, size_t size);
char *weir_fake_copy_text(const char *text);
void *weir_fake_grow(void *items, size_t count, size_t *capacity, size_t item_size); /* room for one more */

struct fake_place { /* a partition by name; `topic` is interned */
    const char *topic;
    int32_t partition;
};

struct fake_set {
    struct fake_place *items; /* in the order added */
    size_t count, capacity;
};

bool weir_fake_set_has(const struct fake_set *set, const char *topic, int32_t partition);
void weir_fake_set_add(struct fake_set *set, const char *topic, int32_t partition); /* unless it is in */
void weir_fake_set_remove(struct fake_set *set, const char *topic, int32_t partition);
void weir_fake_set_copy(struct fake_set *to, const struct fake_set *from); /* replaces */
void weir_fake_set_clear(struct fake_set *set);                            /* frees */

struct fake_subscription {
    const char **names; /* interned */
    regex_t *patterns;  /* of those that begin with ^ */
    size_t name_count, pattern_count;
};

void weir_fake_subscription_init(struct fake_subscription *subscription, struct weir_fake_cluster *cluster,
                                 const char *topics);
void weir_fake_subscription_deinit(struct fake_subscription *subscription);
bool weir_fake_subscription_has(const struct fake_subscription *subscription, const char *topic);

/* ---- the cluster ---- */

struct fake_event { /* something that the simulation will call back for */
    struct fake_event *previous, *next;
    struct weir_fake_cluster *cluster;
    fake_action *action, *drop;
    void *argument;
};

struct fake_name {
    struct fake_name *next;
    char text[];
};

struct fake_log {
    struct weir_fake_record **records; /* ascending */
    size_t count, capacity;
    int64_t start, end;
    int64_t end_highest; /* ever, in any topic of this name */
};

struct fake_topic {
    struct fake_topic *next; /* in order of creation */
    const char *name;
    struct fake_log *logs;
    int32_t partition_count;
    int32_t partition_count_highest; /* logs there are: a deleted topic keeps its emptied ones */
    bool exists, denied;
    size_t message_bytes_max; /* 0: none but the cluster's */
};

enum fake_transaction_state { FAKE_TRANSACTION_OPEN, FAKE_TRANSACTION_COMMITTED, FAKE_TRANSACTION_ABORTED };

struct fake_write {
    const char *topic; /* interned */
    int32_t partition;
    int64_t offset;
    void *opaque; /* there until the client has been told how the transaction ended */
};

struct fake_transaction {
    struct fake_transaction *next; /* the cluster's, ended ones too */
    struct weir_fake_client *client;
    struct fake_group *group;
    enum fake_transaction_state state;
    bool doomed; /* can only be aborted */
    struct fake_write *writes;
    size_t write_count, write_capacity;
    struct weir_kafka_offset *offsets; /* pending */
    size_t offset_count;
};

struct fake_producer_name {
    struct fake_producer_name *next;
    const char *text; /* interned */
    uint64_t epoch;   /* of the producer that may use it */
};

struct weir_fake_cluster {
    struct weir_simulation *simulation;
    struct weir_random random;
    struct weir_fake_settings settings;
    struct weir_fake_faults faults;
    struct weir_fake_counts counts;
    char *id;
    struct fake_event *events;
    struct fake_name *names;
    struct fake_topic *topics;
    struct fake_group *groups;
    struct weir_fake_client *clients;
    struct fake_transaction *transactions;
    struct fake_producer_name *producer_names;
    uint64_t broker_down_until_ns, coordinator_down_until_ns;
    uint64_t coordinator_outages; /* numbers them */
    uint64_t commit_version;
    uint64_t violation_count;
    char *violations[FAKE_VIOLATIONS_KEPT];
    weir_fake_written *on_written; /* NULL: nobody asks */
    void *on_written_user;
};

const char *weir_fake_intern(struct weir_fake_cluster *cluster, const char *text);
/* With metadata of their own, topics interned, and no errors. */
struct weir_kafka_offset *weir_fake_offsets_copy(struct weir_fake_cluster *cluster,
                                                 const struct weir_kafka_offset *offsets, size_t count);
void weir_fake_offsets_free(struct weir_kafka_offset *offsets, size_t count);
uint64_t weir_fake_now(const struct weir_fake_cluster *cluster);
bool weir_fake_roll(struct weir_fake_cluster *cluster, uint16_t thousandths);
uint64_t weir_fake_between(struct weir_fake_cluster *cluster, uint64_t low, uint64_t high); /* both included */
uint64_t weir_fake_latency(struct weir_fake_cluster *cluster);
void weir_fake_violate(struct weir_fake_cluster *cluster, const char *format, ...) WEIR_FORMAT(2, 3);

/* ---- log.c ---- */

struct fake_topic *weir_fake_topic(const struct weir_fake_cluster *cluster, const char *name); /* that exists */
struct fake_log *weir_fake_log(const struct weir_fake_cluster *cluster, const char *name, int32_t partition);
int64_t weir_fake_end_highest(const struct weir_fake_cluster *cluster, const char *name, int32_t partition);
size_t weir_fake_log_find(const struct fake_log *log, int64_t offset); /* index of the first at or above */
struct weir_fake_record *weir_fake_record_copy(const struct weir_fake_record *record);
void weir_fake_record_drop(struct weir_fake_record *record); /* overwrites it first */
/* By key, as clients do. The topic must exist. */
int32_t weir_fake_choose_partition(struct weir_fake_cluster *cluster, const struct weir_kafka_produce *produce);
void weir_fake_topics_free(struct weir_fake_cluster *cluster);

/* ---- group.c ---- */

enum fake_group_state { FAKE_GROUP_EMPTY, FAKE_GROUP_PREPARING, FAKE_GROUP_STABLE };

struct fake_member {
    struct fake_member *next; /* ascending in id: ids are drawn, so members come in no order of theirs */
    uint64_t id;
    struct weir_fake_client *client; /* NULL: a ghost */
    const char *instance;            /* interned, or NULL */
    bool joined;                     /* in the round under way */
    struct fake_set claims;          /* cooperative: what it held when it joined */
    struct fake_set target;          /* what it was given */
    struct fake_subscription ghost_subscription;
    const struct fake_subscription *subscription;
};

struct fake_commit {
    struct fake_commit *next;
    struct fake_place place;
    int64_t offset;
    int32_t leader_epoch;
    char *metadata; /* never NULL */
};

struct fake_group {
    struct fake_group *next;
    const char *name;
    struct weir_fake_cluster *cluster;
    struct fake_member *members;
    struct fake_commit *commits;
    enum fake_group_state state;
    bool cooperative;
    int32_t generation;
    uint64_t round;         /* of rebalancing, numbered */
    uint64_t hold_until_ns; /* the first round waits for others */
};

struct fake_group *weir_fake_group(struct weir_fake_cluster *cluster, const char *name); /* made when missing */
struct fake_group *weir_fake_group_find(const struct weir_fake_cluster *cluster, const char *name);
struct fake_member *weir_fake_group_member(const struct fake_group *group, uint64_t id);
/* A client's JoinGroup has arrived. */
void weir_fake_group_join(struct fake_group *group, struct weir_fake_client *client, const struct fake_set *claims);
void weir_fake_group_remove(struct fake_group *group, uint64_t member_id, bool fenced);
/* Remove the member when its session time-out has passed, if it is silent then. */
void weir_fake_group_watch_session(struct weir_fake_client *client);
struct fake_commit *weir_fake_group_commit(const struct fake_group *group, const char *topic, int32_t partition);
void weir_fake_group_store(struct fake_group *group, const struct weir_kafka_offset *offset);
void weir_fake_group_forget_topic(struct weir_fake_cluster *cluster, const char *topic);
void weir_fake_groups_free(struct weir_fake_cluster *cluster);

/* ---- assign.c ---- */

/* Fill in the target of every member. */
void weir_fake_assign(struct fake_group *group);

/* ---- client.c ---- */

enum fake_lane { FAKE_LANE_COORDINATOR, FAKE_LANE_SEEK, FAKE_LANE_PRODUCE, FAKE_LANES };

struct fake_note { /* an event on its way to the application */
    struct fake_note *next;
    struct weir_kafka_event event;
    char *text;
    struct weir_kafka_offset *offsets;
};

struct fake_failure { /* set by weir_fake_fail */
    enum weir_kafka_error error;
    unsigned count;
    bool applied;
};

struct fake_topic_seen { /* a client's metadata */
    struct fake_topic_seen *next;
    const char *name;
    int32_t partition_count; /* as the application is told; -1: no such topic */
    int32_t count_joined;    /* as the client's group reckons with */
};

struct weir_fake_client {
    struct weir_kafka kafka; /* first */
    struct weir_fake_client *next;
    struct weir_fake_cluster *cluster;
    struct fake_group *group;
    struct fake_subscription subscription;
    const char *instance;
    bool cooperative;
    unsigned number; /* from 1, for violations */
    struct weir_kafka_listener *listener;
    bool started, closing, left, closed_queued, closed, destroyed, crashed, fatal, polling, connected;

    struct fake_note *notes, **notes_end;
    struct fake_note *rebalance; /* the one that is queued or open; at most one */
    bool open;                   /* it has been handed over */
    struct fake_note *handing;   /* while the listener is in it */
    uint64_t rebalance_number;

    uint64_t member_id; /* 0: none */
    int32_t generation;
    bool joining, rejoin, lost;
    uint64_t join_number;
    struct fake_set owned; /* as the group protocol sees it */
    struct fake_set added; /* to be assigned when the revocation before it has been answered */
    struct fake_topic_seen *seen;

    struct weir_kafka_queue *queues; /* closed ones too, so that misuse is noticed */
    bool paused;                     /* by a rebalance event */
    uint64_t pauses;                 /* so far */
    bool owes_close;                 /* an assignment was answered in part */
    struct fake_native *natives;     /* those freed too, without their content */
    uint64_t outstanding;

    uint64_t partitioned_until_ns, partition_number;
    uint64_t lane_request_ns[FAKE_LANES], lane_answer_ns[FAKE_LANES];
    uint64_t requests_open, commits_open; /* the second: those that hold back a join */
    struct fake_failure failures[WEIR_FAKE_REQUESTS];
    struct fake_produce *produces;
    uint64_t produces_open;
    const char *transactional_id; /* interned; NULL: none */
    bool has_producer, in_transaction;
    uint64_t producer_epoch;
    struct fake_transaction *transaction; /* that it has begun last */
    uint64_t fetched_bytes;
};

struct weir_fake_client *weir_fake_client_of(struct weir_kafka *kafka);
bool weir_fake_client_is_gone(const struct weir_fake_client *client); /* crashed or destroyed */
/* Until when the client reaches no broker, or no coordinator; 0: it does. */
uint64_t weir_fake_blocked_until(const struct weir_fake_client *client, bool coordinator);
/* The delay of the next request (or answer) in a lane: none overtakes another. */
uint64_t weir_fake_lane(struct weir_fake_client *client, uint64_t *lane_ns, uint64_t delay_ns);
/* Called by the application, on the control thread: check it. `what` names the call. */
void weir_fake_control_call(struct weir_fake_client *client, const char *what);
/* Queue an event; everything in it is copied. */
struct fake_note *weir_fake_note(struct weir_fake_client *client, const struct weir_kafka_event *event);
void weir_fake_rebalance_note(struct weir_fake_client *client, enum weir_kafka_event_kind kind,
                              const struct fake_set *set);
/* CLOSED, when nothing is open any more. */
void weir_fake_client_close_check(struct weir_fake_client *client);
void weir_fake_client_free(struct weir_fake_client *client);

/* ---- member.c ---- */

/* Do the next thing that the group protocol asks of the client, if no event is in the way. */
void weir_fake_member_settle(struct weir_fake_client *client);
void weir_fake_member_settle_soon(struct weir_fake_client *client);
/* The client finds out that member `member_id`, which it took itself for, is none any more. */
void weir_fake_member_lost(struct weir_fake_client *client, uint64_t member_id);
void weir_fake_member_learns_loss(struct weir_fake_client *client, uint64_t member_id); /* within a heartbeat */
/* The coordinator's answer to a join: the member's target. */
void weir_fake_member_synced(struct fake_group *group, struct fake_member *member);
/* A round has begun: the client is to join, within a heartbeat. */
void weir_fake_member_notice(struct weir_fake_client *client, uint64_t round);
void weir_fake_member_cut_off(struct weir_fake_client *client, uint64_t duration_ns);
void weir_fake_member_outage(struct weir_fake_client *client);      /* of the coordinator, which begins now */
void weir_fake_metadata_refresh(struct weir_fake_cluster *cluster); /* clients will see what has changed */
void weir_fake_metadata_first(struct weir_fake_client *client);     /* at start: what a join reckons with */

/* ---- transaction.c ---- */

/* The log's last record was written in it. */
void weir_fake_transaction_write(struct fake_transaction *transaction, const char *topic, int32_t partition,
                                 int64_t offset, void *opaque);
bool weir_fake_record_is_aborted(const struct weir_fake_record *record);
/* Is the group's offset about to be changed by a transaction? `topic` is interned. */
bool weir_fake_offset_is_unstable(const struct fake_group *group, const char *topic, int32_t partition);
void weir_fake_produces_purge(struct weir_fake_client *client); /* produce.c: all that is on its way fails */
void weir_fake_transactions_free(struct weir_fake_cluster *cluster);
int weir_fake_transaction_begin(struct weir_kafka *kafka, uint64_t tag);
int weir_fake_transaction_offsets(struct weir_kafka *kafka, const struct weir_kafka_offset *offsets, size_t count,
                                  uint64_t tag);
int weir_fake_transaction_commit(struct weir_kafka *kafka, uint64_t tag);
int weir_fake_transaction_abort(struct weir_kafka *kafka, uint64_t tag);

/* ---- fetch.c ---- */

enum { FAKE_POSITION_NONE = -1 };

struct fake_native { /* what a record's `native` points to */
    struct fake_native *previous, *next;
    struct fake_native *queued; /* next in the prefetch */
    struct weir_fake_client *client;
    struct weir_fake_record *record; /* NULL: EOF or error; or freed */
    char *text;
    int64_t offset;
    enum weir_record_kind kind;
    enum weir_kafka_error error;
    bool given, freed, parsed;
};

struct weir_kafka_queue {
    struct weir_kafka_queue *next;
    struct weir_fake_client *client;
    const char *topic;
    int32_t partition;
    void (*wake)(void *argument);
    void *argument;
    bool open, assigned, was_assigned;
    struct fake_native *first, **last;
    size_t queued_count;
    uint64_t queued_bytes;
    bool husks;           /* dropped records are still in it */
    int64_t app_offset;   /* one past the last pulled since the last seek, or none */
    int64_t next_offset;  /* where fetching began, or will */
    int64_t fetch_offset; /* how far it has come */
    int64_t eof_offset;   /* of the EOF given last */
    bool fetching;        /* a fetch is on its way */
    bool stuck;           /* an error has been given: nothing until a seek, or until it is remedied */
    enum weir_kafka_error stuck_error;
    uint64_t version; /* fetches of an older one are void */
    unsigned seeks_open;
};

struct weir_kafka_queue *weir_fake_queue_assigned(const struct weir_fake_client *client, const char *topic,
                                                  int32_t partition);
struct weir_kafka_queue *weir_fake_queue_opened(const struct weir_fake_client *client, const char *topic,
                                                int32_t partition);
void weir_fake_queue_begin(struct weir_kafka_queue *queue, int64_t offset); /* assigned */
void weir_fake_queue_end(struct weir_kafka_queue *queue);                   /* unassigned */
void weir_fake_queue_seek(struct weir_kafka_queue *queue, int64_t offset);
void weir_fake_queues_pause(struct weir_fake_client *client);  /* a rebalance event is about to be queued */
void weir_fake_queues_resume(struct weir_fake_client *client); /* it has been answered */
/* Something has changed in a log, or an error is remedied: clients fetch again. */
void weir_fake_fetch_kick(struct weir_fake_cluster *cluster, const char *topic, int32_t partition);
void weir_fake_fetch_unstick(struct weir_fake_cluster *cluster, const char *topic);
void weir_fake_fetch_free(struct weir_fake_client *client);

struct weir_kafka_queue *weir_fake_queue_open(struct weir_kafka *kafka, const char *topic, int32_t partition,
                                              void (*wake)(void *argument), void *argument);
void weir_fake_queue_close(struct weir_kafka *kafka, struct weir_kafka_queue *queue);
unsigned weir_fake_pull(struct weir_kafka_queue *queue, struct weir_record *records, unsigned count_max);
void weir_fake_record_free(struct weir_kafka *kafka, void *native);
bool weir_fake_record_header(struct weir_kafka *kafka, void *native, size_t index, struct weir_kafka_header *header);

/* ---- request.c ---- */

int weir_fake_fetch_committed(struct weir_kafka *kafka, const struct weir_kafka_offset *offsets, size_t count,
                              uint64_t tag);
int weir_fake_fetch_watermarks(struct weir_kafka *kafka, const struct weir_kafka_offset *offsets, size_t count,
                               uint64_t tag);
int weir_fake_seek(struct weir_kafka *kafka, const struct weir_kafka_offset *offsets, size_t count, uint64_t tag);
int weir_fake_commit(struct weir_kafka *kafka, const struct weir_kafka_offset *offsets, size_t count, uint64_t tag);
/* F2: does the injected failure hit this call? */
bool weir_fake_memory_is_short(struct weir_fake_cluster *cluster);
/* Does a failure set by weir_fake_fail hit this one? */
bool weir_fake_failure_take(struct weir_fake_client *client, enum weir_fake_request request,
                            struct fake_failure *failure);

/* ---- produce.c ---- */

int weir_fake_produce(struct weir_kafka *kafka, const struct weir_kafka_produce *produce, void *opaque,
                      enum weir_kafka_error *kafka_error);
void weir_fake_produce_expire(struct weir_fake_client *client); /* closing: what is on its way has failed */
void weir_fake_produce_free(struct weir_fake_client *client);

#endif
