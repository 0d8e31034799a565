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

/* V2 and V3, in chaos_keys.c. False where memory is short. */
bool weir_chaos_judge_keys(const struct weir_ledger *ledger, const struct weir_chaos_terms *terms,
                           struct weir_chaos_result *result);

#endif
