/*
 * V2 and V3 of chaos.h: order and overlaps of each key's runs. The runs are sorted by key, then by place in the ledger,
 * and each key is walked once with the runs that are open.
 */
#include "tests/support/chaos.h"
#include <inttypes.h>
#include <stdlib.h>

enum { OPEN_MAX = 256 };

/* How long after it has been woken, or told of a loss, a process may still begin or carry on runs of what it had. */
#define BELATED_NS 10000000000ull

struct judge {
    const struct weir_chaos_terms *terms;
    struct weir_chaos_result *result;
    struct weir_chaos_runs runs, letters, fates; /* fates: GONE and EVENT */
};

static bool has_letter(const struct judge *judge, const struct weir_ledger_record *record)
{
    return weir_chaos_has(&judge->letters, record);
}

/* ---- overlaps ---- */

static bool is_gone(const struct judge *judge, const struct weir_chaos_run *open, size_t place)
{
    for (size_t index = 0; index < judge->fates.count && judge->fates.all[index].place < place; index++) {
        const struct weir_chaos_run *fate = &judge->fates.all[index];
        bool ends = fate->record->kind == WEIR_LEDGER_GONE ||
                    (fate->record->kind == WEIR_LEDGER_EVENT && fate->record->outcome == WEIR_EVENT_KILL);
        if (ends && fate->place > open->place && fate->record->process == open->record->process)
            return true;
    }
    return false;
}

/* Was the process stopped, or had it lost its partitions, around this time? */
static bool has_lost(const struct judge *judge, uint32_t process, uint64_t at_ns)
{
    uint64_t stopped_ns = UINT64_MAX;
    for (size_t index = 0; index < judge->fates.count; index++) {
        const struct weir_ledger_record *fate = judge->fates.all[index].record;
        if (fate->kind != WEIR_LEDGER_EVENT || fate->process != process)
            continue;
        if (fate->outcome == WEIR_EVENT_STOP)
            stopped_ns = fate->monotonic_ns;
        if (fate->outcome == WEIR_EVENT_CONTINUE) {
            if (stopped_ns <= at_ns && at_ns < fate->monotonic_ns + BELATED_NS)
                return true;
            stopped_ns = UINT64_MAX;
        }
        if (fate->outcome == WEIR_EVENT_LOST && fate->monotonic_ns < at_ns + BELATED_NS &&
            at_ns < fate->monotonic_ns + BELATED_NS)
            return true;
    }
    return stopped_ns <= at_ns;
}

struct open {
    struct weir_chaos_run run;
    bool counted;
};

static void classify(struct judge *judge, struct open *open, const struct weir_ledger_record *start)
{
    const struct weir_ledger_record *record = open->run.record;
    open->counted = true;
    if (record->process != start->process && has_lost(judge, record->process, start->monotonic_ns)) {
        judge->result->overlaps_involuntary++;
    } else if (record->process != start->process &&
               start->monotonic_ns - record->monotonic_ns >= judge->terms->drain_ms * 1000000) {
        judge->result->stragglers++;
    } else {
        judge->result->overlaps++;
        weir_chaos_blame(judge->result,
                         "partition %" PRId32 ": offset %" PRId64 " (process %" PRIu32 ") started while offset %" PRId64
                         " (process %" PRIu32 ") of its key was running, for %" PRIu64 " ms by then",
                         start->partition, start->offset, start->process, record->offset, record->process,
                         (start->monotonic_ns - record->monotonic_ns) / 1000000);
    }
}

/* ---- order ---- */

/* The last start of a key, in one epoch of one process. */
struct latest {
    const struct weir_ledger_record *record;
    bool over, ended;
};

struct walk {
    struct open open[OPEN_MAX];
    size_t open_count;
    struct latest latest[OPEN_MAX]; /* the oldest makes room */
    size_t latest_count;
};

static struct latest *latest_of(struct walk *walk, const struct weir_ledger_record *record)
{
    for (size_t index = 0; index < walk->latest_count && index < OPEN_MAX; index++)
        if (walk->latest[index].record->process == record->process && walk->latest[index].record->note == record->note)
            return &walk->latest[index];
    return NULL;
}

static void check_order(struct judge *judge, struct walk *walk, const struct weir_ledger_record *start)
{
    if (start->number > 0)
        return; /* in a batch: F1 */
    struct latest *latest = latest_of(walk, start);
    if (!latest) {
        walk->latest[walk->latest_count++ % OPEN_MAX] = (struct latest){.record = start};
        return;
    }
    bool back = start->offset < latest->record->offset;
    bool early = start->offset > latest->record->offset && !latest->over &&
                 !(latest->ended && has_letter(judge, latest->record));
    if (back || early) {
        judge->result->out_of_order++;
        weir_chaos_blame(judge->result,
                         "partition %" PRId32 ": offset %" PRId64 " started %s offset %" PRId64
                         " of its key (process %" PRIu32 ", epoch %" PRIu64 ")",
                         start->partition, start->offset, back ? "after" : "before the end of", latest->record->offset,
                         start->process, start->note);
    }
    *latest = (struct latest){.record = start};
}

/* Runs of one batch are one run. */
static bool is_one_run(const struct weir_ledger_record *open, const struct weir_ledger_record *start)
{
    return open->process == start->process && open->number > 0 && open->number == start->number;
}

static void walk_start(struct judge *judge, struct walk *walk, const struct weir_chaos_run *start)
{
    check_order(judge, walk, start->record);
    for (size_t index = 0; index < walk->open_count;) {
        if (is_gone(judge, &walk->open[index].run, start->place)) {
            walk->open[index] = walk->open[--walk->open_count];
            continue;
        }
        if (!walk->open[index].counted && !is_one_run(walk->open[index].run.record, start->record))
            classify(judge, &walk->open[index], start->record);
        index++;
    }
    if (walk->open_count < OPEN_MAX)
        walk->open[walk->open_count++] = (struct open){.run = *start};
    else
        weir_chaos_blame(judge->result, "a key has more than %d runs at a time: the harness cannot keep them",
                         OPEN_MAX);
}

static void walk_end(struct walk *walk, const struct weir_ledger_record *end)
{
    for (size_t index = 0; index < walk->open_count; index++) {
        const struct weir_ledger_record *open = walk->open[index].run.record;
        if (open->process == end->process && open->offset == end->offset && open->note == end->note &&
            open->attempt == end->attempt) {
            walk->open[index] = walk->open[--walk->open_count];
            break;
        }
    }
    struct latest *latest = latest_of(walk, end);
    if (!latest || latest->record->offset != end->offset)
        return;
    latest->ended = true;
    latest->over |= end->outcome == WEIR_ACK || end->outcome == WEIR_SKIP || end->outcome == WEIR_DEAD;
}

/* ---- the whole ---- */

static void walk_all(struct judge *judge)
{
    static const struct walk none;
    struct walk walk = none;
    for (size_t index = 0; index < judge->runs.count; index++) {
        const struct weir_chaos_run *run = &judge->runs.all[index];
        if (index == 0 || weir_chaos_compare_key(run->record, run[-1].record) != 0)
            walk.open_count = walk.latest_count = 0;
        if (run->record->kind == WEIR_LEDGER_START)
            walk_start(judge, &walk, run);
        else
            walk_end(&walk, run->record);
    }
}

/* A worker that slept looks at the clock after some messages of a key; see docs/architecture.md, "Lease". */
static void bound_involuntary(struct judge *judge)
{
    enum { BELATED_RUNS = 8 };
    uint64_t losses = 0;
    for (size_t index = 0; index < judge->fates.count; index++) {
        const struct weir_ledger_record *fate = judge->fates.all[index].record;
        losses +=
            fate->kind == WEIR_LEDGER_EVENT && (fate->outcome == WEIR_EVENT_STOP || fate->outcome == WEIR_EVENT_LOST);
    }
    uint64_t bound = losses * judge->terms->workers * BELATED_RUNS;
    if (judge->result->overlaps_involuntary > bound)
        weir_chaos_blame(judge->result,
                         "%" PRIu64 " runs of processes that had lost their partitions met those of the next owner: "
                         "at most %" PRIu64 " for %" PRIu64 " losses",
                         judge->result->overlaps_involuntary, bound, losses);
}

bool weir_chaos_judge_keys(const struct weir_ledger *ledger, const struct weir_chaos_terms *terms,
                           struct weir_chaos_result *result)
{
    struct judge judge = {.terms = terms, .result = result};
    bool whole =
        weir_chaos_collect(ledger, 1 << WEIR_LEDGER_START | 1 << WEIR_LEDGER_END, weir_chaos_by_key, &judge.runs) &&
        weir_chaos_collect(ledger, 1 << WEIR_LEDGER_LETTER, weir_chaos_by_message, &judge.letters) &&
        weir_chaos_collect(ledger, 1 << WEIR_LEDGER_GONE | 1 << WEIR_LEDGER_EVENT, NULL, &judge.fates);
    if (whole) {
        walk_all(&judge);
        bound_involuntary(&judge);
    }
    weir_chaos_runs_deinit(&judge.runs);
    weir_chaos_runs_deinit(&judge.letters);
    weir_chaos_runs_deinit(&judge.fates);
    return whole;
}
