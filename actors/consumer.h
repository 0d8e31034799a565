/*
 * A consumer from inside: what its actors share. Owner of each field group stands with it.
 */
#ifndef WEIR_ACTORS_CONSUMER_H
#define WEIR_ACTORS_CONSUMER_H

#include "actors/config/config.h"
#include "actors/control.h"
#include "actors/filter.h"
#include "actors/journal.h"
#include "actors/kafka.h"
#include "actors/keeper.h"
#include "actors/map.h"
#include "actors/partition.h"
#include "actors/retry.h"
#include "runtime/system.h"
#include <ck_md.h>
#include <pthread.h>
#include <weir/consumer.h>
#include <weir/key_state.h>

/* What a worker is running: for the watchdog and for the report of a broken invariant. Written by the worker. */
struct weir_running {
    _Alignas(64) _Atomic(struct weir_partition *) partition; /* NULL: no handler */
    _Atomic int64_t offset;
    _Atomic uint64_t runs;          /* begun so far, while guarded */
    bool guarded;                   /* constant: there is a journal or a deadline */
    struct weir_journal_slot *slot; /* constant; NULL: no journal */
    const struct weir_batch *batch; /* the worker's own: whose handler it is in; NULL: none */
};

/* What control has seen of a worker's run. Control. */
struct weir_watch {
    uint64_t run, ran_ns;
};

struct weir_consumer {
    /* constant after create */
    struct weir_config *config;
    const struct weir_options *options;
    weir_handler *handler;             /* NULL: batch_handler is given messages */
    weir_batch_handler *batch_handler; /* NULL: handler is */
    void *user;
    struct weir_kafka *kafka;
    struct weir_system *system;
    const struct weir_seam *seam;
    bool owns_system;
    struct weir_retry_policy overloaded;
    const char *classes[WEIR_CLASSES_MAX]; /* of failures; the config's */
    uint8_t class_count;
    unsigned level_count; /* of topics' priorities */
    uint64_t segment_bytes, prefetch_bytes, lease_ns_max;
    int reset_policy;       /* WEIR_RESET_* */
    uint32_t scratch_count; /* entries of each scratch */
    const char *group;
    char host[256];
    struct weir_stats_observer {
        weir_stats_callback *callback;
        void *user;
    } observer;
    bool handles_signals;
    struct weir_key_state_class key_state; /* constant after start; create NULL: keys have no state */
    struct weir_journal *journal;          /* NULL: none */
    bool breaks;                           /* there is a circuit breaker */
    struct weir_predicate predicate;
    struct weir_rate rate;                                         /* of all topics together */
    struct weir_rate shares[WEIR_LEVELS_MAX];                      /* of it, of each level but the first */
    void (*on_filtered)(struct weir_message *message, void *user); /* for test kits; NULL: nobody asks. Workers */

    /* shared, atomic */
    _Atomic(struct weir_partition *) partitions; /* append only; control pushes, anybody walks */
    _Atomic uint32_t assigned_count;             /* for the share of memory.bytes.max */
    _Atomic uint64_t transaction_share;          /* exactly once: messages that each partition may put into the next */
    _Atomic uint64_t transaction_left;           /* and that all may together, beyond that */
    _Atomic uint64_t lease_ns;                   /* when control last looked */
    _Atomic bool lease_holds;                    /* false: the process slept; until a commit is acknowledged */
    _Atomic bool user_paused;
    _Atomic bool gives_out; /* handlers keep messages, by WEIR_LATER or by blocking: each is copied out when pulled */
    _Atomic uint32_t stop_requests;
    _Atomic uint32_t signals; /* that asked for a stop; the third ends the process */
    _Atomic bool started, closed;
    _Atomic bool escalated; /* a handler has stopped the consumer */
    _Atomic uint64_t rebalances, commits, commit_failures, stragglers, fetched_bytes;
    _Atomic uint64_t started_ns;
    _Atomic uint64_t emit_logged_ns; /* the last refusal of weir_emit() that was logged; any */
    _Atomic uint64_t alone_round;    /* while suspects have their turns: number of the turn; 0: all may run. Control */
    _Atomic uint64_t breaker;        /* number of the probe << 2 | state, see control_breaker.c */
    _Atomic uint64_t breaker_answer; /* number of the probe << 2 | enum weir_probe. Partitions */
    _Atomic uint64_t breaker_stood_ns; /* how long it has not been closed, all in all. Control */
    _Atomic uint64_t breaker_openings;
    _Atomic(const char *) cluster_id; /* allocated; control sets it once, when known */

    /* one a worker */
    struct weir_running *running;
    struct weir_map_offset **scratch;      /* for encoding maps */
    struct weir_batch **open_batches;      /* of scope any, one a level, see batch.h; NULL without a batch handler */
    struct weir_message ***batch_messages; /* a batch that runs: its messages; likewise */

    /* control */
    struct weir_topic *topics;
    struct weir_watch *watches; /* one a worker */
    struct weir_control control;
    struct weir_keeper keeper;

    /* close */
    pthread_mutex_t close_lock;
    pthread_cond_t close_changed;
    enum weir_code close_code;
    char close_text[WEIR_ERROR_TEXT_SIZE];
    char escalation[WEIR_ERROR_TEXT_SIZE]; /* of the first; under close_lock, then constant */

    /* partitions add in each turn, control takes; apart, or what all workers read would leave their caches as often */
    char apart[CK_MD_CACHELINE];
    _Atomic uint64_t finished_uncommitted;
};

/**
 * Build a consumer on a given door to Kafka and a given system (the simulator's, the fake's). Takes `kafka` also on
 * failure; `system` stays the caller's. With both NULL it builds the real ones: weir_consumer_create().
 */
struct weir_consumer *weir_consumer_create_on(const struct weir_config *config, weir_handler *handler, void *user,
                                              struct weir_kafka *kafka, struct weir_system *system,
                                              struct weir_error *error);
struct weir_consumer *weir_consumer_create_batch_on(const struct weir_config *config, weir_batch_handler *handler,
                                                    void *user, struct weir_kafka *kafka, struct weir_system *system,
                                                    struct weir_error *error);
/** Has the group been left and the last commit answered? Any thread. */
bool weir_consumer_is_closed(const struct weir_consumer *consumer);
/** Tell weir_consumer_close() that all is over, and how. Control. */
void weir_consumer_set_closed(struct weir_consumer *consumer, enum weir_code code, const char *text);
/** A handler stops the consumer: control closes it with this sentence. Any thread. */
void weir_consumer_escalate(struct weir_consumer *consumer, const char *text);
/** Find or make. NULL where memory is short. Control. */
struct weir_topic *weir_consumer_topic(struct weir_consumer *consumer, const char *name);
struct weir_partition *weir_consumer_partition(struct weir_consumer *consumer, const char *topic, int32_t number);
/** Only find. Any thread. */
struct weir_partition *weir_consumer_find(const struct weir_consumer *consumer, const char *topic, int32_t number);

/** Identity of a topic's log for its maps; 0 while the cluster id is not known. Any thread. */
uint64_t weir_consumer_log_hash(const struct weir_consumer *consumer, const char *topic);

static inline void weir_running_set(struct weir_running *running, struct weir_partition *partition, int64_t offset)
{
    atomic_store_explicit(&running->offset, offset, memory_order_relaxed);
    /* Release: with weir_control_enforce_deadline(), which must not take this run for the one before. */
    atomic_store_explicit(&running->partition, partition, memory_order_release);
}

static inline bool weir_partition_is_exactly_once(const struct weir_partition *partition)
{
    return partition->consumer->options->delivery == WEIR_EXACTLY_ONCE;
}

/** May handlers start at this time? See "Lease" in docs/architecture.md. */
static inline bool weir_consumer_lease_holds(const struct weir_consumer *consumer, uint64_t now_ns)
{
    /* Acquire: with the release in look_at_clock(). Who sees the time after a sleep sees that the lease has lapsed; and
     * who sees the lease come back sees what was given away meanwhile. */
    uint64_t looked_ns = atomic_load_explicit(&consumer->lease_ns, memory_order_acquire);
    return atomic_load_explicit(&consumer->lease_holds, memory_order_acquire) &&
           (now_ns <= looked_ns || now_ns - looked_ns <= consumer->lease_ns_max);
}

#endif
