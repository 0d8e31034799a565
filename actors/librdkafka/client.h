/*
 * Inside the real door to Kafka: what its files share. Nobody outside this folder includes it.
 *
 *   client.c       life of the consumer client, poll, the order of closing
 *   settings.c     librdkafka's properties: ours, the user's, and those that must be
 *   group.c        ASSIGN, REVOKE, LOST and their answers
 *   fetch.c        partition queues, pulls, records
 *   requests.c     requests and the helper thread for calls that wait for a broker
 *   commit.c       commits, and the joins that they must not meet
 *   calls.c        those calls
 *   seek.c         seeking, also where librdkafka's own seek is refused
 *   producer.c     the producer, and its replacement after a fatal error
 *   transaction.c  the transactional one, and the calls around its transactions
 *   failure.c      librdkafka's errors as ours
 *   versions.c     versions that do harm with a setting in use
 *   metadata.c     what the client has heard of topics and of the cluster
 *
 * Threads: control, unless a field says otherwise. librdkafka's threads only ever run the wake functions.
 */
#ifndef WEIR_ACTORS_KAFKA_LIBRDKAFKA_H
#define WEIR_ACTORS_KAFKA_LIBRDKAFKA_H

#include "actors/kafka.h"
#include "runtime/check.h"
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>

enum weir_rdkafka_phase {
    WEIR_RDKAFKA_NEW,
    WEIR_RDKAFKA_RUNNING,
    WEIR_RDKAFKA_LEAVING,  /* close() was called: the group is being left */
    WEIR_RDKAFKA_FLUSHING, /* left; the producer's messages are on their way */
    WEIR_RDKAFKA_CLOSED,   /* CLOSED was handed over */
};

/* ---- group ---- */

struct weir_rdkafka_group {
    rd_kafka_event_t *open;                    /* librdkafka's REBALANCE event that waits for the caller's answer */
    enum weir_kafka_event_kind open_kind;      /* ASSIGN, REVOKE or LOST while is_open */
    bool is_over;                              /* librdkafka has had its last answer, see G4 */
    bool is_cooperative;                       /* as the open event was announced, and is to be answered */
    bool is_open;                              /* true with open == NULL: a LOST of our own making */
    bool was_assigned;                         /* librdkafka has had an assignment, be it an empty one */
    rd_kafka_event_t *waiting;                 /* arrived while another one was open, or memory was short */
    rd_kafka_topic_partition_list_t *assigned; /* what the caller owns, by its answers, and where each was last
                                                  told to start; -1: not yet */
};

/* ---- requests ---- */

enum weir_rdkafka_job {
    WEIR_RDKAFKA_JOB_COMMITTED,
    WEIR_RDKAFKA_JOB_WATERMARKS,
    WEIR_RDKAFKA_JOB_SEEK,
    WEIR_RDKAFKA_JOB_METADATA, /* of ours: number of partitions of list->elems[0].topic */
    WEIR_RDKAFKA_JOB_DESTROY,  /* of ours: a producer that has been given up */
    WEIR_RDKAFKA_JOB_BEGIN,    /* of a transaction, like the others */
    WEIR_RDKAFKA_JOB_OFFSETS,
    WEIR_RDKAFKA_JOB_COMMIT,
    WEIR_RDKAFKA_JOB_ABORT,
};

struct weir_rdkafka_request {
    struct weir_rdkafka_request *next;
    enum weir_rdkafka_job job;
    uint64_t tag;
    rd_kafka_topic_partition_list_t *list; /* results go into its elements */
    rd_kafka_topic_partition_list_t *high; /* WATERMARKS: log ends */
    rd_kafka_resp_err_t error;             /* of the whole */
    uint64_t try_ns, deadline_ns;          /* SEEK: when to try again, and for how long; 0: not tried yet */
    int32_t partition_count;               /* METADATA: result, or -1 */
    rd_kafka_t *producer;                  /* DESTROY */
    rd_kafka_t *rk;                        /* of a transaction: its producer, lent */
    bool is_made;                          /* BEGIN: that producer has been made ready */
    enum weir_kafka_error kafka_error;     /* of a transaction: the result, and librdkafka's words */
    char words[256];
};

struct weir_rdkafka_commit {
    struct weir_rdkafka_commit *next;
    uint64_t tag;
    rd_kafka_topic_partition_list_t *list; /* as asked, then as answered */
    rd_kafka_resp_err_t error;             /* of the whole */
    bool is_sent;                          /* false: waits for the end of a join */
    bool is_done;
};

struct weir_rdkafka_requests {
    /* shared with the helper, under the lock */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* todo or stop changed; waited for with a time-out on the monotonic clock */
    struct weir_rdkafka_request *todo, **todo_end;
    struct weir_rdkafka_request *done, **done_end;
    bool closing; /* cut calls short: answer with an error instead of trying again */
    bool stop;
    /* control's */
    struct weir_rdkafka_request *ready, **ready_end; /* taken from done, not handed over yet */
    struct weir_rdkafka_request *seeks, **seeks_end; /* not done yet */
    struct weir_rdkafka_commit *commits;             /* outstanding, oldest first */
    _Atomic bool is_joining;                         /* set by librdkafka's threads, taken back by control */
    _Atomic bool has_joined;                         /* a JoinGroup has been sent at some time; likewise */
    size_t outstanding;                              /* requests but for commits that are still to be answered */
    pthread_t thread;
    bool started;
};

/* ---- producer ---- */

struct weir_rdkafka_producer {
    struct weir_rdkafka_producer *next; /* among the retired */
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    rd_kafka_event_t *delivery; /* partly handed over; control's */
    uint64_t purged_ns;         /* control's; 0: never */
    bool is_alone;              /* sends batches of one message */
};

struct weir_rdkafka_producers {
    rd_kafka_conf_t *conf; /* copied for each; constant */
    /* read: somebody is inside produce(). write: replacing, or waiting for those inside */
    pthread_rwlock_t lock;
    _Atomic(struct weir_rdkafka_producer *) current;  /* written under the write lock; NULL: none yet */
    _Atomic(struct weir_rdkafka_producer *) given_up; /* pushed under the write lock, taken by control */
    uint64_t failed_ns;                    /* under the write lock: when the last one was given up; 0: never */
    bool refuse;                           /* under the write lock: closing, nothing more is accepted */
    _Atomic uint64_t accepted;             /* release at produce, acquire at delivery: orders what the caller
                                              wrote to its opaque, which passes through librdkafka's locks */
    struct weir_rdkafka_producer *retired; /* control's: finishing */
    struct weir_rdkafka_producer *alone;   /* control's: for what was refused in a batch; NULL: none yet */
};

struct weir_rdkafka_transactions {
    char *id;                               /* constant; NULL: none are made */
    struct weir_rdkafka_producer *producer; /* control's; NULL: none yet */
    bool is_made;                           /* control's: rd_kafka_init_transactions() has succeeded */
};

/* ---- queues ---- */

struct weir_kafka_queue {
    _Atomic bool busy; /* taken by pull, and by control to keep pulls out; release partners the next acquire */
    rd_kafka_queue_t *queue;
    rd_kafka_t *rk; /* for librdkafka's calls that want it */
    int64_t next;   /* under busy: one past what was pulled last since it was assigned or sought; -1: nothing yet */
    /* control's */
    struct weir_kafka_queue *after;
    struct weir_rdkafka *client;
    void (*wake)(void *argument);
    void *argument;
    _Atomic unsigned
        published; /* release at open, acquire in the wake: the fields above, seen by librdkafka's thread */
    int32_t partition;
    char topic[];
};

/* ---- metadata ---- */

struct weir_rdkafka_topic {
    struct weir_rdkafka_topic *next;
    uint64_t asked_ns; /* 0: never */
    int32_t partition_count;
    bool asking;
    char name[];
};

/* ---- the whole ---- */

struct weir_rdkafka {
    struct weir_kafka kafka;                        /* first: callers hold a pointer to it */
    _Atomic(struct weir_kafka_listener *) listener; /* release at start, acquire in wakes */
    enum weir_rdkafka_phase phase;
    rd_kafka_conf_t *conf;                   /* until start */
    rd_kafka_topic_partition_list_t *topics; /* subscription */
    rd_kafka_t *rk;                          /* the consumer */
    rd_kafka_queue_t *events;                /* its consumer queue, main events forwarded to it */
    struct weir_rdkafka_group group;
    struct weir_rdkafka_requests requests;
    struct weir_rdkafka_producers producers;
    struct weir_rdkafka_transactions transactions;
    struct weir_kafka_queue *queues;
    struct weir_kafka_queue *queues_left; /* closed, see fetch.c */
    struct weir_rdkafka_topic *topics_known;
    unsigned topics_known_count;
    uint64_t metadata_ns; /* when to look for old ones */
    char *cluster_id;
    bool is_fatal;                  /* the consumer raised a fatal error */
    bool is_leaving;                /* LEAVING: librdkafka has been told */
    bool has_left;                  /* LEAVING: librdkafka will not say so */
    uint64_t flush_ns_max;          /* of close */
    uint64_t phase_ns;              /* since when the present phase stands still; see the order of closing */
    struct weir_rdkafka *left_next; /* of those that could not be freed */
};

static inline struct weir_rdkafka *weir_rdkafka_of(struct weir_kafka *kafka)
{
    return WEIR_CONTAINER(kafka, struct weir_rdkafka, kafka);
}

/* ---- client.c ---- */
void weir_rdkafka_wake(struct weir_rdkafka *client); /* any thread */
void weir_rdkafka_emit(struct weir_rdkafka *client, const struct weir_kafka_event *event);
uint64_t weir_rdkafka_now_ns(void);

/* ---- settings.c ---- */
int weir_rdkafka_settings(struct weir_rdkafka *client, const struct weir_config *config, struct weir_error *error);
bool weir_rdkafka_eof_is_safe(int version);

/* ---- versions.c ---- */
/* WEIR_KAFKA if this version (without the pre-release byte) loses messages with what is set; other harm is logged. */
int weir_rdkafka_check_version(int version, const struct weir_config *config, struct weir_error *error);

/* ---- failure.c ---- */
enum weir_kafka_error weir_rdkafka_failure(rd_kafka_resp_err_t code);
enum weir_kafka_error weir_rdkafka_commit_failure(rd_kafka_resp_err_t code);
/* Does a broker answer so for each message of a batch, be it for one of them? See producer.c, P5. */
bool weir_rdkafka_is_of_batch(rd_kafka_resp_err_t code);

/* ---- group.c: lists ---- */
/* A list of what the offsets name, with offset and, if asked for, metadata. NULL where memory is short. */
rd_kafka_topic_partition_list_t *weir_rdkafka_list(const struct weir_kafka_offset *offsets, size_t count,
                                                   bool with_metadata);
/* The other way: one block, to be freed by weir_memory_free; topics are lent from the list. NULL: memory is short. */
struct weir_kafka_offset *weir_rdkafka_offsets(const rd_kafka_topic_partition_list_t *list, bool with_metadata);

/* ---- group.c: rebalances ---- */
void weir_rdkafka_group_init(struct weir_rdkafka *client);
void weir_rdkafka_group_deinit(struct weir_rdkafka *client);
bool weir_rdkafka_group_take(struct weir_rdkafka *client, rd_kafka_event_t *event); /* true: handed over */
bool weir_rdkafka_group_step(struct weir_rdkafka *client);                          /* what waits; true: handed over */
bool weir_rdkafka_group_lose(struct weir_rdkafka *client); /* LOST of what is still owned; true: handed over */
bool weir_rdkafka_group_is_quiet(const struct weir_rdkafka *client);
/* Those of the list that librdkafka has been given; asks its main thread. */
rd_kafka_topic_partition_list_t *weir_rdkafka_started(struct weir_rdkafka *client,
                                                      const rd_kafka_topic_partition_list_t *list);
bool weir_rdkafka_is_cooperative(struct weir_rdkafka *client); /* asks librdkafka's main thread */
int weir_rdkafka_assign(struct weir_kafka *kafka, const struct weir_kafka_offset *offsets, size_t count);
int weir_rdkafka_unassign(struct weir_kafka *kafka);

/* ---- fetch.c ---- */
struct weir_kafka_queue *weir_rdkafka_queue_open(struct weir_kafka *kafka, const char *topic, int32_t partition,
                                                 void (*wake)(void *argument), void *argument);
void weir_rdkafka_queue_close(struct weir_kafka *kafka, struct weir_kafka_queue *queue);
unsigned weir_rdkafka_pull(struct weir_kafka_queue *queue, struct weir_record *records, unsigned count_max);
void weir_rdkafka_record_free(struct weir_kafka *kafka, void *native);
bool weir_rdkafka_record_header(struct weir_kafka *kafka, void *native, size_t index, struct weir_kafka_header *header);
void weir_rdkafka_queues_deinit(struct weir_rdkafka *client);
struct weir_kafka_queue *weir_rdkafka_queue_find(struct weir_rdkafka *client, const char *topic, int32_t partition);
void weir_rdkafka_queue_hold(struct weir_kafka_queue *queue);    /* until released no pull takes anything */
void weir_rdkafka_queue_release(struct weir_kafka_queue *queue); /* and its owner is woken */
void weir_rdkafka_queue_forget(struct weir_kafka_queue *queue);  /* what was pulled: it has been sought */

/* ---- requests.c ---- */
void weir_rdkafka_requests_init(struct weir_rdkafka *client);
int weir_rdkafka_requests_start(struct weir_rdkafka *client, struct weir_error *error);
void weir_rdkafka_requests_close(struct weir_rdkafka *client);  /* cut calls short */
void weir_rdkafka_requests_deinit(struct weir_rdkafka *client); /* ends the helper */
bool weir_rdkafka_requests_step(struct weir_rdkafka *client);   /* true: an event was handed over */
bool weir_rdkafka_requests_are_done(const struct weir_rdkafka *client);
void weir_rdkafka_request_append(struct weir_rdkafka_request ***end, struct weir_rdkafka_request *request);
struct weir_rdkafka_request *weir_rdkafka_request_take(struct weir_rdkafka_request **first,
                                                       struct weir_rdkafka_request ***end);
int weir_rdkafka_request_create(struct weir_rdkafka *client, enum weir_rdkafka_job job,
                                const struct weir_kafka_offset *offsets, size_t count, uint64_t tag,
                                struct weir_rdkafka_request **created);
void weir_rdkafka_request_send(struct weir_rdkafka *client, struct weir_rdkafka_request *request); /* takes it */
int weir_rdkafka_fetch_committed(struct weir_kafka *kafka, const struct weir_kafka_offset *offsets, size_t count,
                                 uint64_t tag);
int weir_rdkafka_fetch_watermarks(struct weir_kafka *kafka, const struct weir_kafka_offset *offsets, size_t count,
                                  uint64_t tag);
bool weir_rdkafka_is_serving(const struct weir_rdkafka *client);
/* Give the error of the whole to every partition that has none. */
void weir_rdkafka_spread(struct weir_kafka_offset *offsets, size_t count, enum weir_kafka_error error);

/* ---- commit.c ---- */
void weir_rdkafka_commits_watch(struct weir_rdkafka *client);  /* before the client is made */
void weir_rdkafka_commits_joined(struct weir_rdkafka *client); /* a rebalance event has come */
void weir_rdkafka_commits_lose(struct weir_rdkafka *client);   /* it says that all is lost */
bool weir_rdkafka_commits_step(struct weir_rdkafka *client);   /* true: an event was handed over */
void weir_rdkafka_commits_deinit(struct weir_rdkafka *client);
int weir_rdkafka_commit(struct weir_kafka *kafka, const struct weir_kafka_offset *offsets, size_t count, uint64_t tag);
void weir_rdkafka_commit_done(struct weir_rdkafka *client, rd_kafka_event_t *event);
void weir_rdkafka_requests_abandon(struct weir_rdkafka *client); /* commits that librdkafka never answered */

/* ---- calls.c, helper thread ---- */
void weir_rdkafka_call(struct weir_rdkafka *client, struct weir_rdkafka_request *request);

/* ---- seek.c ---- */
int weir_rdkafka_seek(struct weir_kafka *kafka, const struct weir_kafka_offset *offsets, size_t count, uint64_t tag);
void weir_rdkafka_seek_step(struct weir_rdkafka *client);

/* ---- metadata.c ---- */
void weir_rdkafka_metadata_start(struct weir_rdkafka *client);
void weir_rdkafka_metadata_deinit(struct weir_rdkafka *client);
void weir_rdkafka_metadata_step(struct weir_rdkafka *client);
void weir_rdkafka_metadata_done(struct weir_rdkafka *client, const struct weir_rdkafka_request *request);
int32_t weir_rdkafka_partition_count(struct weir_kafka *kafka, const char *topic);
const char *weir_rdkafka_cluster_id(struct weir_kafka *kafka);
bool weir_rdkafka_statistics(const char *json, uint64_t *fetched_bytes);

/* ---- producer.c ---- */
void weir_rdkafka_producers_init(struct weir_rdkafka *client);
void weir_rdkafka_producers_deinit(struct weir_rdkafka *client);
bool weir_rdkafka_producers_step(struct weir_rdkafka *client);  /* true: an event was handed over */
void weir_rdkafka_producers_close(struct weir_rdkafka *client); /* nothing more is accepted */
void weir_rdkafka_producers_purge(struct weir_rdkafka *client); /* what has not arrived yet fails */
bool weir_rdkafka_producers_are_done(struct weir_rdkafka *client);
int weir_rdkafka_produce(struct weir_kafka *kafka, const struct weir_kafka_produce *produce, void *opaque,
                         enum weir_kafka_error *kafka_error);
struct weir_rdkafka_producer *weir_rdkafka_producer_create(struct weir_rdkafka *client, const char *transactional_id);
void weir_rdkafka_producer_retire(struct weir_rdkafka *client, struct weir_rdkafka_producer *producer); /* control */

/* ---- transaction.c ---- */
int weir_rdkafka_transactions_set(struct weir_rdkafka *client, const struct weir_config *config,
                                  struct weir_error *error);
void weir_rdkafka_transactions_deinit(struct weir_rdkafka *client);
void weir_rdkafka_transact(struct weir_rdkafka *client, struct weir_rdkafka_request *request); /* helper */
void weir_rdkafka_transacted(struct weir_rdkafka *client, const struct weir_rdkafka_request *request);
int weir_rdkafka_transaction_begin(struct weir_kafka *kafka, uint64_t tag);
int weir_rdkafka_transaction_offsets(struct weir_kafka *kafka, const struct weir_kafka_offset *offsets, size_t count,
                                     uint64_t tag);
int weir_rdkafka_transaction_commit(struct weir_kafka *kafka, uint64_t tag);
int weir_rdkafka_transaction_abort(struct weir_kafka *kafka, uint64_t tag);

#endif
