/*
 * What the chaos harness judges by: a ledger of all that handlers did, and the history of the group's commits as the
 * broker keeps it. Together they say what was finished when, and what the group had told of it at any moment.
 *
 * The verdicts
 *   V1. No loss: every produced message is finished (an END with ack or skip, or a dead letter read back), or no commit
 *       tells that it is. And at no moment did a commit tell of a message that was not finished yet.
 *   V2. Order: within one epoch of one process, runs of a key start in offset order, each message's after the one
 * before is over. V3. No two runs of a key at a time, in whatever processes. Counted apart, and bounded: where the
 * first run's process had lost its partitions without being asked (stopped, timed out); where the run outlived the
 * drain (straggler). V4. Duplicates: at most, for each time a partition got a new owner, what was finished and not told
 * by the last commit before it, and what was in flight; and what a process that had slept began before it noticed. V5.
 * Progress: some floor advances every so often while there is work and progress is expected. V6. Not vacuous: all that
 * was to be produced was, every message of it was judged, and as many disturbances as intended took place.
 *
 * And where a feature is in use, by the terms
 *   F1. Batches: no batch has messages of two assignments of a partition, nor any that are beyond its scope; those of a
 *       key lie in it side by side and in offset order, and go out when all below them that have started in this
 *       assignment are finished or in it before them, and in no other. This is V2 for batches.
 *   F2. States of keys: each is made once and ended once, unless its process was killed; what runs see is the only one
 *       that their key has, made in their assignment, as the run before has left it. None ends beside a run of its key,
 *       or on a thread that runs no handlers.
 *   F3. Outputs: what is told to be finished by a handler was in the outputs' topic by then. No output is of a run that
 *       failed, and no run has two. In the topic first outputs of a key's messages are in the order of these.
 *   F4. Filters: no message is handled that is not wanted, or too old; one that is stale, only where its key is not
 *       known to have had a newer one; none but the last is missing; and only what is too old has a letter.
 *   F5. Rates: a process, or a key in an assignment, starts no more runs than its rate allows.
 *   F6. Attempts: a failure of all runs, by a downstream that is away, burns at most one attempt of a message for each
 *       assignment in which it was tried; an escalation none.
 *
 * The order of what handlers did is that of the places in the ledger. Commits come with the broker's time in ms; they
 * are taken WEIR_CHAOS_CLOCK_NS later than they say, which can only excuse.
 *
 * Thread: any, once all writers have ended. Allocates by malloc.
 */
#ifndef WEIR_TESTS_CHAOS_H
#define WEIR_TESTS_CHAOS_H

#include "tests/support/ledger.h"

#define WEIR_CHAOS_CLOCK_NS 4000000ull

/* One record of the group's commits, in the broker's order. */
struct weir_chaos_commit {
    uint64_t topic_hash;
    int32_t partition;
    bool stranger;         /* not of a member of ours: messages that it passes over are nobody's loss */
    int64_t offset;        /* -1: the commit was removed; a stranger's beyond the log is as good as that */
    uint64_t monotonic_ns; /* on the ledger's clock */
    char *metadata;        /* NUL-terminated; NULL: none. Owned */
};

struct weir_chaos_history {
    struct weir_chaos_commit *all;
    size_t count;
};

void weir_chaos_history_deinit(struct weir_chaos_history *history);

/* EMIT's `number`: what filters are to make of the message. */
enum weir_chaos_class {
    WEIR_CLASS_WANTED = 0,
    WEIR_CLASS_UNWANTED, /* finished without being handled */
    WEIR_CLASS_EXPIRED,  /* dead without being handled */
    WEIR_CLASS_STALE, /* older than all wanted ones before it in its key: finished, and handled where none is known */
};

/* F1: whose messages a batch may hold. */
enum weir_chaos_scope { WEIR_SCOPE_NONE = 0, WEIR_SCOPE_KEY, WEIR_SCOPE_PARTITION, WEIR_SCOPE_ANY };

/* F5: runs that may start in a second, 0 any; and for how long what was not used may be caught up with. */
struct weir_chaos_rate {
    uint64_t per_second, key_per_second;
    uint64_t burst_ms;
};

/* What was set up, and what is allowed. */
struct weir_chaos_terms {
    uint64_t messages;        /* that were to be produced */
    uint64_t disturbances;    /* that must have taken place */
    uint64_t drain_ms;        /* a run that outlives a voluntary change of owner by this is a straggler */
    uint64_t workers;         /* of a process */
    uint64_t stall_ms_max;    /* see V5 */
    bool policy_skips;        /* auto.offset.reset=latest: what it passes over after a stranger's commit is no loss */
    bool unfinished;          /* not all need to be finished */
    uint64_t duplicates_more; /* beyond V4's bound, for a reason that the scenario knows */
    enum weir_chaos_scope batches; /* F1; SCOPE_NONE: no batches */
    bool states;                   /* F2 */
    uint64_t state_idle_ms;        /* of those, what has been idle for so long may go; 0: any time */
    bool outputs;                  /* F3 */
    bool filters;                  /* F4 */
    struct weir_chaos_rate rate;   /* F5 */
    bool spares_attempts;          /* F6 */
};

/* How much of a feature the verdicts have seen, for scenarios to ask for. */
struct weir_chaos_seen {
    uint64_t batches, batches_of_many, batches_partly;  /* of more than one message; partly failed */
    uint64_t batch_messages_max, batches_of_partitions; /* the largest; of more than one partition */
    uint64_t states_made, states_ended, states_idle,
        states_seen; /* idle: ended after state_idle_ms; by how many runs */
    uint64_t outputs, outputs_again;
    uint64_t unwanted, expired, stale, stale_handled; /* messages */
    uint64_t rate_runs_max;                           /* most runs that were judged by one rate */
    uint64_t failures, attempt_max;                   /* runs that failed; the highest attempt */
};

struct weir_chaos_result {
    uint64_t runs, messages, disturbances;
    uint64_t lost, out_of_order;
    uint64_t overlaps, overlaps_involuntary;
    uint64_t duplicates, duplicates_bound;
    uint64_t stragglers;
    uint64_t moved_back; /* commits of members that lowered a floor; for scenarios that allow none */
    uint64_t longest_stall_ms, recovery_ms, close_ms;
    uint64_t resident_bytes_max, resident_bytes_bound; /* of a member; 0: not looked at. The scenario's to fill in */
    struct weir_chaos_seen seen;
    bool ok;
    char text[512]; /* the first thing that is wrong */
};

/** Judge one run. Fills in all but close_ms, which stays. */
void weir_chaos_judge(const struct weir_ledger *ledger, const struct weir_chaos_history *history,
                      const struct weir_chaos_terms *terms, struct weir_chaos_result *result);

/** Note that something is wrong; the first sentence stays. */
__attribute__((format(printf, 2, 3))) void weir_chaos_blame(struct weir_chaos_result *result, const char *format, ...);

/** Add one run's result to those of others: sums, and the worst of each time. */
void weir_chaos_add(struct weir_chaos_result *sum, const struct weir_chaos_result *one);

/* Each in a file of its name. False where memory is short. */
typedef bool weir_chaos_verdict(const struct weir_ledger *ledger, const struct weir_chaos_terms *terms,
                                struct weir_chaos_result *result);
weir_chaos_verdict weir_chaos_judge_keys;     /* V2 and V3 */
weir_chaos_verdict weir_chaos_judge_batches;  /* F1 */
weir_chaos_verdict weir_chaos_judge_states;   /* F2 */
weir_chaos_verdict weir_chaos_judge_outputs;  /* F3, but for what commits tell */
weir_chaos_verdict weir_chaos_judge_filters;  /* F4 */
weir_chaos_verdict weir_chaos_judge_rates;    /* F5 */
weir_chaos_verdict weir_chaos_judge_attempts; /* F6 */

/* ---- what these share: records with their places, in chaos_runs.c ---- */

struct weir_chaos_run {
    const struct weir_ledger_record *record;
    size_t place;
};

struct weir_chaos_runs {
    struct weir_chaos_run *all;
    size_t count;
};

/** Records whose kinds are in `kinds`, by bits 1 << kind, in the order of `compare`, or of their places where that is
 *  NULL. False where memory is short. */
bool weir_chaos_collect(const struct weir_ledger *ledger, unsigned kinds, int (*compare)(const void *, const void *),
                        struct weir_chaos_runs *runs);
void weir_chaos_runs_deinit(struct weir_chaos_runs *runs);

/* By topic and partition, and then by key, or by offset. */
int weir_chaos_compare_lane(const struct weir_ledger_record *a, const struct weir_ledger_record *b);
int weir_chaos_compare_key(const struct weir_ledger_record *a, const struct weir_ledger_record *b);
int weir_chaos_compare_message(const struct weir_ledger_record *a, const struct weir_ledger_record *b);

/* For qsort: by key, or by message, and then by place. */
int weir_chaos_by_key(const void *a, const void *b);
int weir_chaos_by_message(const void *a, const void *b);

/** Is there a record of this message in `runs`, which are by message? */
bool weir_chaos_has(const struct weir_chaos_runs *runs, const struct weir_ledger_record *message);

#define WEIR_CHAOS_COMPARE(a, b) (((a) > (b)) - ((a) < (b)))

#endif
