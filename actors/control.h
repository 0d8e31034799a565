/*
 * The control actor: one a consumer, on the control thread. It never runs a handler and never blocks.
 *
 *   control.c             the turn, the clock, closing, troubles, statistics
 *   control_rebalance.c   assignments: from an event to open partitions and back
 *   control_positions.c   where each partition begins: read back, resolved, asked for, sought
 *   control_commit.c      commits: collect snapshots, send, act on the answer
 *   control_breaker.c     the circuit breaker
 *   control_guard.c       turns of suspects, the deadline of handlers
 *
 * Everything here is level triggered: each turn looks at states and moves what can move; events and wakes only say that
 * it is time to look. A tick every TICK_MS trusts no edge.
 *
 * States of a partition as control sees it (one setter, weir_control_move; legal moves in control_rebalance.c)
 *   IDLE         not assigned
 *   READ         floor and map are to be read from the group's commits
 *   RESOLVE      no floor: the reset policy is to be resolved to a number
 *   ASK          position known to Kafka: the keeper is asked for its own, where there is one
 *   ANSWER       position known; waits for the answer to the rebalance event
 *   BEGIN        waits for the end of the previous epoch, then for the partition actor to begin this one
 *   COMMIT       waits for the acknowledgement of the first commit, so that the policy is decided once
 *   SEEK         waits to be sought to its position
 *   OPEN         the gate is open
 *   DRAIN        its epoch ends: revoked, or its position fell out of the log
 *   FAILED       the policy is `error`, or the broker refuses: looked at again every WEIR_CONTROL_FAILED_RETRY_MS
 */
#ifndef WEIR_ACTORS_CONTROL_H
#define WEIR_ACTORS_CONTROL_H

#include "actors/breaker.h"
#include "actors/kafka.h"
#include "actors/transaction.h"
#include "runtime/worker.h"

struct weir_consumer;
struct weir_partition;

enum weir_control_state {
    WEIR_CONTROL_IDLE = 0,
    WEIR_CONTROL_READ,
    WEIR_CONTROL_RESOLVE,
    WEIR_CONTROL_ASK,
    WEIR_CONTROL_ANSWER,
    WEIR_CONTROL_BEGIN,
    WEIR_CONTROL_COMMIT,
    WEIR_CONTROL_SEEK,
    WEIR_CONTROL_OPEN,
    WEIR_CONTROL_DRAIN,
    WEIR_CONTROL_FAILED,
    WEIR_CONTROL_STATES
};

/* The rebalance event that is open. */
enum weir_control_phase {
    WEIR_PHASE_NONE = 0,
    WEIR_PHASE_ASSIGN,       /* reading positions */
    WEIR_PHASE_REVOKE_DRAIN, /* running handlers finish */
    WEIR_PHASE_REVOKE_COMMIT /* the last commit is under way */
};

enum weir_control_closing {
    WEIR_CLOSING_NO = 0,
    WEIR_CLOSING_FINISH, /* what was pulled runs to its end */
    WEIR_CLOSING_DRAIN,  /* nothing starts any more, what was held neither; what has begun meanwhile is waited for */
    WEIR_CLOSING_COMMIT, /* the last commit but one */
    WEIR_CLOSING_LEAVE,  /* the group is being left; the last REVOKE comes */
    WEIR_CLOSING_RUNS,   /* left; handlers that still run are waited for */
    WEIR_CLOSING_DONE
};

/* See control_guard.c. */
enum weir_guard_state { WEIR_GUARD_OPEN = 0, WEIR_GUARD_QUIET, WEIR_GUARD_TURN };

enum weir_commit_state { WEIR_COMMIT_IDLE = 0, WEIR_COMMIT_COLLECTING, WEIR_COMMIT_SENT };

/* An array of offsets for requests; grows, is never shrunk. */
struct weir_offsets {
    struct weir_kafka_offset *items;
    size_t count, room;
};

struct weir_control {
    struct weir_resident resident;
    struct weir_consumer *consumer;
    struct weir_kafka_listener listener;
    struct weir_timer tick;

    uint64_t now_ns, looked_ns, stats_ns, lag_ns, watchdog_ns, remind_ns, retry_ns;
    uint64_t tag_next, epoch_next, workers_next;

    enum weir_control_phase phase;
    bool lost; /* the open REVOKE is a LOST */
    uint64_t phase_until_ns, phase_since_ns, phase_wanted;
    uint64_t read_tag, watermarks_tag, seek_tag; /* of the request under way; 0 none */
    struct weir_offsets request;

    struct {
        enum weir_commit_state state;
        uint64_t sequence, collect_until_ns, next_ns, tag;
        uint64_t wanted, serving, served; /* forced commits: asked for, being done, done */
        uint64_t lease_after;             /* only a commit collected after this one shows that we are still a member */
        bool floors_only, all;
        size_t one_by_one; /* exactly once: so many commits to come are of one partition each; one is refused for its
                              topic */
        bool left_out;     /* of the commit under way: a partition that is about to go; see C6 in control_commit.c */
        uint32_t failures; /* in a row */
        struct weir_offsets offsets;
        size_t first; /* whose map goes in first, so that a full request leaves out another one each time */
    } commit;

    struct weir_transaction transaction; /* exactly once: of the commit that is SENT */

    struct {
        enum weir_guard_state state;
        uint64_t round; /* number of the last that was closed, and of its turn */
        uint64_t until_ns, closed_ns, slice_until_ns, open_until_ns;
        struct weir_partition *partition; /* whose turn it is */
    } guard;
    uint64_t enforced_ns;
    struct weir_breaker breaker;

    enum weir_control_closing closing;
    uint64_t closing_until_ns, closing_wanted;
    bool joined, left; /* the client was started; CLOSED has come */
    enum weir_code close_code;
    char close_text[WEIR_ERROR_TEXT_SIZE];
};

void weir_control_init(struct weir_control *control, struct weir_consumer *consumer);
void weir_control_deinit(struct weir_control *control);
/** Make the first turn happen, which joins the group. Thread: any, once. */
void weir_control_start(struct weir_control *control);
/** End the consumer with an error: closes it without drain. Control. */
void weir_control_fail(struct weir_control *control, enum weir_code code, const char *text);

/* ---- within control*.c ---- */

/* Walk the consumer's partitions. */
#define WEIR_EACH_PARTITION(partition, control)                                            \
    for (struct weir_partition *partition =                                                \
             atomic_load_explicit(&(control)->consumer->partitions, memory_order_acquire); \
         partition; partition = partition->list_next)

void weir_control_move(struct weir_partition *partition, enum weir_control_state state);
const char *weir_control_state_name(enum weir_control_state state);
/** Empty the array. */
void weir_offsets_clear(struct weir_offsets *offsets);
/** Add one; NULL where memory is short. */
struct weir_kafka_offset *weir_offsets_add(struct weir_offsets *offsets, const struct weir_partition *partition);

/* control_positions.c */
void weir_control_on_fetched(struct weir_control *control, const struct weir_kafka_event *event);
void weir_control_on_watermarks(struct weir_control *control, const struct weir_kafka_event *event);
void weir_control_on_sought(struct weir_control *control, const struct weir_kafka_event *event);

/* control_rebalance.c */
void weir_control_on_assign(struct weir_control *control, const struct weir_kafka_event *event);
void weir_control_on_revoke(struct weir_control *control, const struct weir_kafka_event *event);
void weir_control_rebalance(struct weir_control *control); /* move what can move */
/** End every epoch, and begin others where the group says. */
void weir_control_restart(struct weir_control *control);

/* control_breaker.c */
void weir_control_breaker_init(struct weir_control *control); /* the consumer's options are known */
void weir_control_break(struct weir_control *control);        /* move if there is reason to */

/* control_guard.c */
void weir_control_guard(struct weir_control *control); /* move what can move */
void weir_control_enforce_deadline(struct weir_control *control);

/* control_commit.c */
void weir_control_on_committed(struct weir_control *control, const struct weir_kafka_event *event);
uint64_t weir_control_want_commit(struct weir_control *control); /* at once; returns a number to wait for */
bool weir_control_is_served(const struct weir_control *control, uint64_t wanted);
void weir_control_commit(struct weir_control *control);                        /* move what can move */
void weir_control_give_back(struct weir_partition *partition, bool committed); /* exactly once: its batch */

#endif
