/*
 * Partition actors: one a partition that this process owns or has owned. Each pulls its librdkafka queue within its
 * credit, routes messages to key actors, and owns their offsets, window, key table and timers, without a lock.
 *
 *   partition.c           the turn, what other threads ask, life
 *   partition_pull.c      pulling and routing to key actors
 *   partition_shortcut.c  handing out what was pulled, or running it at once
 *   partition_window.c    the window: credit in messages and bytes
 *   partition_finish.c    what becomes of a run: finished, retried, held, dead
 *   partition_supervise.c what stops a partition in place: escalations, the circuit breaker
 *   batch.c               keys that go out together, where the handler takes batches
 *   partition_once.c      exactly once: what waits for its transaction
 *   partition_suspect.c   messages that a process before this one did not survive
 *   partition_data.c      keys kept for the user's state, and the end of that
 *   partition_epoch.c     begin, drain and end of an epoch
 *   partition_map.c       what a commit says, and the map of it that was read back
 *
 * Invariants
 *   P1. Everything in `struct weir_partition` under "owner" is touched by turns and timers on its home worker only: its
 *       own, and where a batch holds keys of several, those of its neighbours there.
 *   P2. A pull happens only with the gate held (open -> pulling -> open). Control closes the gate (open -> closed)
 *       before any call that touches the partition in librdkafka, so K3 holds without asking the partition actor.
 *   P3. Handlers start only for messages whose epoch is `open_epoch`. Control sets that to 0 at a revoke, at once and
 *       from outside, so that a worker stuck in a handler cannot delay it.
 *   P4. What is pulled is in the tracker until it is finished or its epoch ends, or lies above the tracker's `next`
 *       and is taken in in the same turn: the floor cannot pass it.
 *   P5. Every message in a key's queue was paid for with window credit, so appending, handing back, waiting and dying
 *       need no allocation and cannot fail.
 *
 * Orders. Control and a partition actor share two words: `order` (sequence and kind, written by control) and
 * `order_done` (sequence, written by the partition). The latest order wins; each is level, not edge: a partition that
 * missed one sees the next. Data of BEGIN is written before the order and read after it.
 */
#ifndef WEIR_ACTORS_PARTITION_H
#define WEIR_ACTORS_PARTITION_H

#include "actors/breaker.h"
#include "actors/budget.h"
#include "actors/filter.h"
#include "actors/journal.h"
#include "actors/kafka.h"
#include "actors/keeper.h"
#include "actors/key.h"
#include "actors/map.h"
#include "actors/message.h"
#include "actors/retry.h"
#include "actors/tracker.h"
#include "runtime/worker.h"
#include <weir/log.h>
#include <weir/stats.h>

struct weir_consumer;
struct weir_batch;
struct weir_emission;

/* LETTER and OUTPUT: the delivery of one. */
enum weir_partition_mail {
    WEIR_MAIL_KEY = 1,
    WEIR_MAIL_ANSWER,
    WEIR_MAIL_LETTER,
    WEIR_MAIL_OUTPUT,
    WEIR_MAIL_DATA,
    WEIR_MAIL_BATCH
};

enum weir_order {
    WEIR_ORDER_NONE = 0,
    WEIR_ORDER_BEGIN,  /* start the epoch in `begin` */
    WEIR_ORDER_FINISH, /* close: run all that was pulled; done when only held messages are left */
    WEIR_ORDER_DRAIN,  /* revoke: purge what has not started; done when nothing runs */
    WEIR_ORDER_END,    /* end the epoch whatever runs; done at once */
};

enum weir_partition_state {
    WEIR_PARTITION_ENDED = 0, /* no epoch; stragglers of old ones may be left */
    WEIR_PARTITION_ACTIVE,
    WEIR_PARTITION_FINISHING,
    WEIR_PARTITION_DRAINING,
    WEIR_PARTITION_STATES
};

enum weir_gate { WEIR_GATE_CLOSED = 0, WEIR_GATE_OPEN, WEIR_GATE_PULLING };

#define WEIR_PULL_MIN           32
#define WEIR_PULL_MAX           256 /* the largest weir.pull.messages.max */
#define WEIR_BACKLOG_MAX        512 /* runs waiting on the worker: what is pulled on top would only get cold */
#define WEIR_ATTEMPT_BUCKETS    16
#define WEIR_PARTITION_SWEEP_NS 1000000000ull /* how often what trusts no edge is looked at */

/* What all partitions of a topic share. Owned by the consumer. */
struct weir_topic {
    struct weir_topic *next;
    struct weir_budget budget;
    uint64_t journal_hash;
    int32_t first_count;             /* partitions it had when this process first saw it; -1 unknown. Control */
    uint8_t priority, level;         /* constant: weir.priority, and its place among those in use, 0 the highest */
    struct weir_filter *filter;      /* NULL: none */
    struct weir_retry_policy *retry; /* constant: [0] for failures without a class, then one a class */
    char name[];
};

/* Bytes pulled one after the other, charged while any message among them is held by reference. About as long as a
 * fetch response, which is what such a message keeps in memory. */
struct weir_segment {
    struct weir_segment *next; /* in the free list */
    uint64_t bytes;
    uint32_t live;
};

/* What a commit says of this partition; filled in by the partition on request, read by control. */
struct weir_snapshot {
    int64_t floor, end;
    uint64_t epoch;
    uint64_t finished; /* since the epoch began */
    uint64_t left_out; /* finished offsets above the floor that the map does not tell of */
    size_t map_size;
    char *map;                  /* map_room bytes, NUL-terminated */
    struct weir_message *batch; /* exactly once: what is to be written with it, by weir_partition_batch_next() */
};

/* What a commit has said of a partition. */
struct weir_said {
    uint64_t epoch; /* 0: nothing is known */
    int64_t floor;
    uint64_t map_hash; /* 0: without a map */
};

struct weir_partition {
    struct weir_resident resident;

    /* constant */
    struct weir_consumer *consumer;
    struct weir_topic *topic;
    int32_t number;
    uint8_t level;                    /* the topic's */
    struct weir_partition *list_next; /* consumer's list, append only */

    /* shared with control */
    _Atomic uint32_t gate;         /* enum weir_gate */
    _Atomic uint64_t open_epoch;   /* handlers may start for it; 0 none */
    _Atomic uint64_t epoch_shared; /* of results that still count */
    _Atomic uint64_t order;        /* sequence << 8 | enum weir_order; control */
    _Atomic uint64_t order_done;   /* sequence; partition */
    _Atomic uint64_t snapshot_wanted, snapshot_done;
    _Atomic uint64_t batch_result;  /* number << 1 | committed, of the last that was given back; control */
    _Atomic uint64_t batch_void;    /* number of the last that control went on without; control */
    _Atomic uint32_t map_room;      /* bytes for the map from now on; control */
    _Atomic bool dirty;             /* a commit would say something new; partition sets, control clears */
    _Atomic int64_t next_shared;    /* valid while the gate is closed */
    _Atomic int64_t committed;      /* acknowledged by the broker; -1 none; control */
    _Atomic int64_t log_end;        /* -1 unknown; control */
    _Atomic uint32_t trouble;       /* enum weir_kafka_error that stopped pulling; partition sets, control clears */
    _Atomic bool user_paused;       /* any */
    _Atomic uint64_t output_bytes;  /* of what handlers have emitted and nobody has acknowledged; any */
    _Atomic bool escalated;         /* no handler starts: see partition_supervise.c; any */
    _Atomic bool assigned;          /* control */
    struct weir_kafka_queue *queue; /* control, while the gate is closed */
    struct {                        /* see partition_suspect.c */
        _Atomic bool waits;         /* a suspect of its waits for a turn; partition */
        _Atomic uint64_t quiet;     /* the last round in which nothing of it ran; partition */
        _Atomic uint64_t turn;      /* number of the last turn that it was given; control */
        _Atomic uint64_t turn_done; /* and of the last that is over; partition */
    } suspects;
    struct {
        uint64_t epoch;
        int64_t position;
        struct weir_map map; /* count 0 and end 0: none */
        bool has_map;
    } begin; /* control, before BEGIN */
    struct weir_snapshot snapshot;
    struct weir_kept kept; /* the keeper's */

    /* control's own */
    struct {
        uint8_t state; /* enum weir_control_state */
        uint64_t sequence, epoch, tag;
        uint64_t asked; /* the epoch that the keeper was asked for; 0: none */
        enum weir_order order;
        int64_t position; /* to begin at; -1 unknown */
        int64_t stood;    /* the position that the log does not have, so that it begins again; -1 */
        struct weir_map map;
        bool has_map;
        bool in_event;     /* named by the rebalance event that is open */
        bool commit_first; /* its position was decided by the policy: commit it before the first pull */
        bool seek_first;   /* librdkafka does not stand at its position */
        bool in_collect;   /* its snapshot is waited for */
        bool in_any_case;  /* what it says is sent though the group has it already */
        bool owes_result;  /* exactly once: its batch has not been given back */
        bool read_again;   /* exactly once: its epoch ends, and the next begins where the group says */
        bool drain_again;  /* at most once: a commit was under way as its drain began, see is_drained() */
        uint64_t retry_ns, drain_until_ns, refused_until_ns; /* the last: its commit, for its topic's sake */
        struct weir_said saying, acknowledged;               /* by the commit under way; by the last, 0: unknown */
    } control;

    /* owner */
    uint8_t state;
    uint64_t epoch, order_seen;
    struct weir_tracker tracker;
    struct weir_map map; /* read back: what was finished before this epoch */
    bool map_active, map_verified;
    int32_t leader_epoch;
    struct weir_key_table keys;
    struct weir_key *lane; /* the one key of ordering=partition, or of null keys in one lane */
    struct weir_key_pool key_pool;
    struct weir_message_pool message_pool;
    struct weir_segment *segment, *segments_free;
    struct weir_batch *open_batch; /* of scope partition; NULL: none */
    struct weir_key_list parked, later, dying, sending, waiting[WEIR_ATTEMPT_BUCKETS];
    struct weir_key_list delayed;               /* by filters */
    struct weir_key_list idle, leaving, ending; /* see partition_data.c */
    struct weir_key_datas datas;
    uint64_t key_count, out_count, held, orphans, stragglers, dlq_pending, outputs_pending;
    uint64_t held_writing; /* of `held`: those of DYING and SENDING keys, which wait for a broker */
    uint64_t charged_bytes, message_bytes_mean;
    uint32_t pull_next; /* messages that the next pull may ask for, WEIR_PULL_MIN or more */
    uint64_t successes; /* since the budget was last told */
    uint64_t finished, finished_told;
    uint64_t handed_back_closing; /* in the epoch that the close ended */
    uint32_t pause;               /* enum weir_pause bits */
    uint64_t paused_since_ns;
    uint64_t logged_ns; /* last warning, so that a storm logs once a second */
    bool budget_spent, changed;
    uint64_t enrolled, enrolled_told; /* exactly once: so far */
    struct {                          /* see partition_once.c */
        uint64_t number, epoch;       /* of the batch that control has; 0: none */
        struct weir_message *batch;
        int64_t told_end; /* one past the highest message that a commit has told to be finished */
    } once;
    int64_t suspect_last;         /* the highest offset of this epoch that is suspected; -1: none */
    struct weir_key *suspect_key; /* has the turn `suspect_turn`; NULL: none has */
    uint64_t probe;               /* number of the breaker's last that was taken here; 0: none */
    uint64_t suspect_turn;        /* the last that was taken */
    struct weir_timer sweep;

    /* read by anybody, relaxed; written by the owner at the end of a turn */
    struct {
        _Atomic uint64_t epoch, in_flight, in_flight_bytes, held, gap, key_actors, out, running, dlq_pending,
            oldest_pulled_ns, stragglers, key_states, key_state_bytes;
        _Atomic int64_t next, floor;
        _Atomic uint32_t pause;
    } gauges;
    _Atomic uint64_t counters[sizeof(struct weir_counters) / sizeof(uint64_t)];
};

/* ---- for control ---- */

struct weir_partition *weir_partition_create(struct weir_consumer *consumer, struct weir_topic *topic, int32_t number,
                                             struct weir_worker *home);
/** After the workers have ended. False: a message is still held by somebody, and the partition was not freed. */
bool weir_partition_destroy(struct weir_partition *partition);

void weir_partition_order(struct weir_partition *partition, enum weir_order order);
bool weir_partition_order_is_done(const struct weir_partition *partition);
void weir_partition_shut(struct weir_partition *partition); /* closes the gate; waits for a pull under way (µs) */
void weir_partition_open(struct weir_partition *partition);
void weir_partition_wake(void *partition); /* notify; any thread */
/** A dead letter or an output was delivered (NONE) or refused. Control. */
void weir_partition_report(struct weir_delivery *delivery, enum weir_kafka_error error);

/* ---- for messages and key actors ---- */

struct weir_kafka *weir_partition_kafka(const struct weir_partition *partition);
const char *weir_partition_topic(const struct weir_partition *partition);
int32_t weir_partition_number(const struct weir_partition *partition);
uint8_t weir_partition_class(const struct weir_partition *partition, const char *name); /* index in its policies; any */
bool weir_partition_abandons(const struct weir_partition *partition);    /* what is not answered in time. Any */
bool weir_partition_has_batches(const struct weir_partition *partition); /* are messages handled in batches? Any */
bool weir_partition_is_current(const struct weir_partition *partition, uint64_t epoch);     /* any */
void weir_partition_answer(struct weir_partition *partition, struct weir_message *message); /* any */
bool weir_partition_may_start(const struct weir_partition *partition, const struct weir_message *message,
                              const struct weir_worker *worker); /* worker */
void weir_partition_key_timer(struct weir_timer *timer);

/* ---- within partition*.c ---- */

#define WEIR_COUNTER(name)                            (offsetof(struct weir_counters, name) / sizeof(uint64_t))
#define weir_partition_count(partition, name, amount) weir_partition_count_at(partition, WEIR_COUNTER(name), amount)

static inline void weir_partition_count_at(struct weir_partition *partition, size_t counter, uint64_t amount)
{
    _Atomic uint64_t *word = &partition->counters[counter]; /* one writer: load and store need no exchange */
    atomic_store_explicit(word, atomic_load_explicit(word, memory_order_relaxed) + amount, memory_order_relaxed);
}

void weir_partition_set_state(struct weir_partition *partition, enum weir_partition_state state);
/** Runs that are out, of handlers and destructors, and destructors that are due: what a close waits for. */
uint64_t weir_partition_out(const struct weir_partition *partition);
bool weir_partition_log_is_due(struct weir_partition *partition); /* at most once a second a partition */
void weir_partition_warn(struct weir_partition *partition, const char *what, int64_t offset,
                         const char *why); /* when it is due */
const struct weir_log_field *weir_partition_fields(const struct weir_partition *partition, char number[16],
                                                   struct weir_log_field fields[2]);

/* partition_window.c */
uint64_t weir_partition_bytes(const struct weir_partition *partition); /* held in memory, as charged */
void weir_partition_charge(struct weir_partition *partition, struct weir_message *message);
void weir_partition_learn_sizes(struct weir_partition *partition, const struct weir_record *records, uint32_t count);
uint32_t weir_partition_credit(struct weir_partition *partition); /* messages that may be pulled now */
void weir_partition_release(struct weir_partition *partition, struct weir_message *message); /* its content */
void weir_partition_copy_out(struct weir_partition *partition, struct weir_message *message);
void weir_partition_free_message(struct weir_partition *partition, struct weir_message *message);
void weir_partition_set_pause(struct weir_partition *partition, uint32_t bits, bool on);

/* partition_pull.c */
bool weir_partition_pull(struct weir_partition *partition); /* once, and hand it out; true if there may be more */
void weir_partition_track(struct weir_partition *partition, struct weir_message *message); /* the next in the log */
/* Where a message goes. */
struct weir_route {
    struct weir_key *key; /* NULL: nothing of its key is about */
    enum { WEIR_ROUTE_ALONE, WEIR_ROUTE_LANE, WEIR_ROUTE_BY_BYTES } kind;
    uint32_t hash;
    bool is_hashed;
};
/** In two steps, between which others may be joined: where to look, which is asked for ahead; and what is there. */
void weir_partition_aim(const struct weir_partition *partition, const struct weir_message *message,
                        struct weir_route *route);
void weir_partition_look_up(const struct weir_partition *partition, const struct weir_message *message,
                            struct weir_route *route);
void weir_partition_find_route(const struct weir_partition *partition, const struct weir_message *message,
                               struct weir_route *route); /* both */
struct weir_key *weir_partition_join_key(struct weir_partition *partition, struct weir_message *message,
                                         const struct weir_route *route); /* found, or made from the reserve */
void weir_partition_schedule(struct weir_partition *partition,
                             struct weir_key *key); /* READY: dispatch, park or free */
void weir_partition_serve_parked(struct weir_partition *partition);
void weir_partition_dispatch(struct weir_partition *partition, struct weir_key *key, uint64_t run); /* READY */

/* partition_shortcut.c */
void weir_partition_hand_out(struct weir_partition *partition, const struct weir_record *records, uint32_t count);

/* partition_finish.c */
/** Acked or skipped, in the tracker and in no key. */
void weir_partition_finish_at_once(struct weir_partition *partition, struct weir_message *message);
void weir_partition_take_key(struct weir_partition *partition, struct weir_key *key);
void weir_partition_take_back(struct weir_partition *partition, struct weir_key *key); /* nobody has begun its run */
void weir_partition_take_answer(struct weir_partition *partition, struct weir_message *message);
void weir_partition_drop_first(struct weir_partition *partition, struct weir_key *key); /* a straggler's message */
void weir_partition_sweep_finish(struct weir_partition *partition);

/* partition_hold.c */
void weir_partition_hold(struct weir_partition *partition, struct weir_key *key);
void weir_partition_unhold(struct weir_partition *partition, struct weir_key *key);
void weir_partition_leave_list(struct weir_partition *partition, struct weir_key *key); /* that has one */
void weir_partition_enforce_held(struct weir_partition *partition);

/* partition_batch.c */
void weir_partition_take_batched(struct weir_partition *partition, struct weir_key *key); /* out of a batch */
bool weir_partition_settle(struct weir_partition *partition, struct weir_key *key); /* READY: false if no longer */

/* partition_letter.c */
void weir_partition_take_letter(struct weir_partition *partition, struct weir_message *message);
void weir_partition_refund(struct weir_partition *partition, struct weir_message *message); /* no letter will be sent */
void weir_partition_quarantine(struct weir_partition *partition, struct weir_key *key);

/* partition_output.c */
void weir_partition_take_output(struct weir_partition *partition, struct weir_emission *emission);

/* partition_suspect.c; nothing of it is called without a journal but where it says so */
static inline struct weir_journal_name weir_partition_name(const struct weir_partition *partition,
                                                           const struct weir_message *message)
{
    return (struct weir_journal_name){.topic_hash = partition->topic->journal_hash,
                                      .offset = message->offset,
                                      .timestamp_ms = message->timestamp_ms,
                                      .sizes = weir_journal_sizes(message->key_size, message->value_size),
                                      .partition = partition->number};
}
void weir_partition_expect_suspects(struct weir_partition *partition);                       /* an epoch begins */
void weir_partition_suspect(struct weir_partition *partition, struct weir_message *message); /* pulled */
uint64_t weir_partition_clip_run(const struct weir_key *key, uint64_t run);
void weir_partition_suspect_is_finished(struct weir_partition *partition, const struct weir_message *message);
void weir_partition_suspect_is_back(struct weir_partition *partition, const struct weir_key *key); /* from its run */
void weir_partition_serve_suspects(struct weir_partition *partition);
void weir_partition_tell_quiet(struct weir_partition *partition);

/* partition_supervise.c */
void weir_partition_escalate(struct weir_partition *partition, struct weir_message *message);
static inline bool weir_partition_is_escalated(const struct weir_partition *partition)
{
    return atomic_load_explicit(&partition->escalated, memory_order_relaxed);
}

enum weir_breaker_state weir_partition_breaker(const struct weir_partition *partition); /* any */
/** Not where there is no breaker: may the READY key, which is to be dispatched otherwise, not start? If it is the
 * probe, it has been taken. */
bool weir_partition_breaker_holds(struct weir_partition *partition, struct weir_key *key);
void weir_partition_answer_probe(struct weir_partition *partition, struct weir_message *message,
                                 enum weir_probe answer);

/* partition_data.c; nothing of it is called where no key has data, but where it says so */
/** A READY key with data: true if it is not to run its next message now (it has none, or its data must end first). */
bool weir_partition_settle_data(struct weir_partition *partition, struct weir_key *key);
void weir_partition_rouse(struct weir_partition *partition, struct weir_key *key); /* IDLE, and has a message: READY */
void weir_partition_sweep_data(struct weir_partition *partition);                  /* any */
void weir_partition_serve_leaving(struct weir_partition *partition);
void weir_partition_end_data(struct weir_partition *partition); /* any; the epoch has ended */
void weir_partition_take_data(struct weir_partition *partition, struct weir_key_data *data); /* its end is over */
bool weir_partition_ends_data(const struct weir_partition *partition);                   /* any: is a destructor out? */
void weir_partition_detach_data(struct weir_partition *partition, struct weir_key *key); /* it is abandoned with it */
void weir_partition_let_data_go(struct weir_partition *partition,
                                struct weir_message *message);       /* which has been asked */
void weir_partition_end_data_here(struct weir_partition *partition); /* any; no worker runs any more */

/* partition_once.c */
void weir_partition_enroll(struct weir_partition *partition, struct weir_message *message, enum weir_outcome outcome);
struct weir_message *
weir_partition_batch_next(const struct weir_message *message); /* control too, which has the batch */
void weir_partition_choose(struct weir_partition *partition, struct weir_snapshot *snapshot, uint64_t number);
void weir_partition_take_result(struct weir_partition *partition);
int64_t weir_partition_told_end(const struct weir_map *map);

/* partition_epoch.c */
void weir_partition_purge(struct weir_partition *partition, struct weir_key *key);
void weir_partition_take_order(struct weir_partition *partition);
void weir_partition_check_order(struct weir_partition *partition);

/* partition_map.c */
/** Floor, and map of at most `room` bytes. */
void weir_partition_describe(struct weir_partition *partition, struct weir_snapshot *snapshot, uint32_t room);
void weir_partition_answer_snapshot(struct weir_partition *partition);
/** A map was read back and is not proved yet: look for its witness in what was pulled, before any of it is taken in. */
void weir_partition_prove_map(struct weir_partition *partition, const struct weir_record *records, uint32_t count);
bool weir_partition_was_finished(struct weir_partition *partition, const struct weir_record *record,
                                 uint32_t *attempts);

#endif
