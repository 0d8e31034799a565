/*
 * F1 of chaos.h: batches, and the order of each key's messages in them. Two walks over the runs that were in batches:
 * batch by batch, and key by key within each assignment.
 *
 * Thread: any.
 */
#include "tests/support/chaos.h"
#include <inttypes.h>
#include <stdlib.h>

enum { PENDING_MAX = 1024, BATCH_MAX = 512 };

struct judge {
    const struct weir_chaos_terms *terms;
    struct weir_chaos_result *result;
    struct weir_chaos_runs runs, letters;
};

/* ---- batch by batch ---- */

static int by_batch(const void *a, const void *b)
{
    const struct weir_chaos_run *left = a, *right = b;
    int order = WEIR_CHAOS_COMPARE(left->record->process, right->record->process);
    if (!order)
        order = WEIR_CHAOS_COMPARE(left->record->number, right->record->number);
    return order ? order : WEIR_CHAOS_COMPARE(left->place, right->place);
}

static bool same_batch(const struct weir_ledger_record *a, const struct weir_ledger_record *b)
{
    return a->process == b->process && a->number == b->number;
}

struct batch {
    const struct weir_ledger_record *starts[BATCH_MAX];
    size_t count;
    uint64_t done, failed; /* by their ends */
};

/* One message against another of the same batch, which stands before it. */
static void check_pair(struct judge *judge, const struct weir_ledger_record *before,
                       const struct weir_ledger_record *after, bool adjacent, bool *interrupted)
{
    bool same_lane = weir_chaos_compare_lane(before, after) == 0, same_key = weir_chaos_compare_key(before, after) == 0;
    if (same_lane && before->note != after->note)
        weir_chaos_blame(judge->result,
                         "batch %" PRIu32 " of process %" PRIu32 " straddles assignments: partition %" PRId32
                         " of epochs %" PRIu64 " and %" PRIu64,
                         after->number, after->process, after->partition, before->note, after->note);
    if ((judge->terms->batches == WEIR_SCOPE_KEY && !same_key) ||
        (judge->terms->batches == WEIR_SCOPE_PARTITION && !same_lane))
        weir_chaos_blame(judge->result,
                         "batch %" PRIu32 " of process %" PRIu32 " is beyond its scope: partition %" PRId32
                         " offset %" PRId64 " and partition %" PRId32 " offset %" PRId64,
                         after->number, after->process, before->partition, before->offset, after->partition,
                         after->offset);
    if (same_key && before->offset >= after->offset)
        weir_chaos_blame(judge->result,
                         "batch %" PRIu32 " of process %" PRIu32 ": partition %" PRId32 " offset %" PRId64
                         " lies behind offset %" PRId64 " of its key",
                         after->number, after->process, after->partition, after->offset, before->offset);
    if (same_key && !adjacent && *interrupted)
        weir_chaos_blame(judge->result,
                         "batch %" PRIu32 " of process %" PRIu32 ": partition %" PRId32 " offsets %" PRId64
                         " and %" PRId64 " are of one key, and do not lie side by side",
                         after->number, after->process, after->partition, before->offset, after->offset);
    *interrupted |= !same_key;
}

static void check_batch(struct judge *judge, const struct batch *batch)
{
    struct weir_chaos_seen *seen = &judge->result->seen;
    bool of_partitions = false;
    for (size_t index = 1; index < batch->count; index++) {
        bool interrupted = false;
        for (size_t before = index; before-- > 0;)
            check_pair(judge, batch->starts[before], batch->starts[index], before + 1 == index, &interrupted);
        of_partitions |= weir_chaos_compare_lane(batch->starts[0], batch->starts[index]) != 0;
    }
    seen->batches++;
    seen->batches_of_many += batch->count > 1;
    seen->batches_partly += batch->done > 0 && batch->failed > 0;
    seen->batches_of_partitions += of_partitions;
    if (batch->count > seen->batch_messages_max)
        seen->batch_messages_max = batch->count;
}

static void add_to_batch(struct judge *judge, struct batch *batch, const struct weir_ledger_record *record)
{
    bool done = record->outcome == WEIR_ACK || record->outcome == WEIR_SKIP;
    if (record->kind == WEIR_LEDGER_END) {
        batch->done += done;
        batch->failed += !done;
    } else if (batch->count < BATCH_MAX) {
        batch->starts[batch->count++] = record;
    } else {
        weir_chaos_blame(judge->result, "a batch has more than %d messages: the harness cannot keep them", BATCH_MAX);
    }
}

static void walk_batches(struct judge *judge)
{
    struct batch *batch = calloc(1, sizeof *batch);
    if (!batch) {
        weir_chaos_blame(judge->result, "memory was short: batches were not judged");
        return;
    }
    qsort(judge->runs.all, judge->runs.count, sizeof *judge->runs.all, by_batch);
    for (size_t index = 0; index < judge->runs.count; index++) {
        const struct weir_ledger_record *record = judge->runs.all[index].record;
        if (record->number == 0) {
            weir_chaos_blame(judge->result, "partition %" PRId32 ": offset %" PRId64 " ran in no batch",
                             record->partition, record->offset);
            continue;
        }
        add_to_batch(judge, batch, record);
        bool last = index + 1 == judge->runs.count || !same_batch(record, judge->runs.all[index + 1].record);
        if (last) {
            check_batch(judge, batch);
            batch->count = 0;
            batch->done = batch->failed = 0;
        }
    }
    free(batch);
}

/* ---- key by key ---- */

static int compare_tenure(const struct weir_ledger_record *a, const struct weir_ledger_record *b)
{
    int order = weir_chaos_compare_key(a, b);
    if (!order)
        order = WEIR_CHAOS_COMPARE(a->process, b->process);
    return order ? order : WEIR_CHAOS_COMPARE(a->note, b->note);
}

static int by_tenure(const void *a, const void *b)
{
    const struct weir_chaos_run *left = a, *right = b;
    int order = compare_tenure(left->record, right->record);
    return order ? order : WEIR_CHAOS_COMPARE(left->place, right->place);
}

/* A message that has started in this assignment and is not finished. */
struct pending {
    int64_t offset;
    uint32_t batch; /* the last that it was in */
    bool running;
};

struct walk {
    struct pending pending[PENDING_MAX];
    size_t count;
    int64_t highest; /* that has started; -1: none has */
};

static struct pending *pending_of(struct walk *walk, int64_t offset)
{
    for (size_t index = 0; index < walk->count; index++)
        if (walk->pending[index].offset == offset)
            return &walk->pending[index];
    return NULL;
}

static void blame_order(struct judge *judge, const struct weir_ledger_record *start, const char *what, int64_t other)
{
    judge->result->out_of_order++;
    weir_chaos_blame(judge->result,
                     "partition %" PRId32 ": offset %" PRId64 " started in batch %" PRIu32 " %s offset %" PRId64
                     " of its key (process %" PRIu32 ", epoch %" PRIu64 ")",
                     start->partition, start->offset, start->number, what, other, start->process, start->note);
}

/* Every other one that has started and is not finished is below it and in the same batch, or above it and waits. One
 * with a letter may have got that in between. */
static void check_others(struct judge *judge, const struct walk *walk, const struct weir_ledger_record *start)
{
    for (size_t index = 0; index < walk->count; index++) {
        const struct pending *other = &walk->pending[index];
        struct weir_ledger_record of = *start;
        of.offset = other->offset;
        if (other->offset == start->offset || other->batch == start->number)
            continue;
        if (other->running)
            blame_order(judge, start, "beside another batch with", other->offset);
        else if (other->offset < start->offset && !weir_chaos_has(&judge->letters, &of))
            blame_order(judge, start, "before the end of", other->offset);
    }
}

static void walk_start(struct judge *judge, struct walk *walk, const struct weir_ledger_record *start)
{
    struct pending *pending = pending_of(walk, start->offset);
    if (!pending && start->offset <= walk->highest)
        blame_order(judge, start, "after, or again though finished:", walk->highest);
    if (pending && pending->running)
        blame_order(judge, start, "beside itself:", start->offset);
    check_others(judge, walk, start);
    if (!pending && walk->count == PENDING_MAX) {
        weir_chaos_blame(judge->result, "a key has more than %d messages that wait: the harness cannot keep them",
                         PENDING_MAX);
        return;
    }
    if (!pending)
        pending = &walk->pending[walk->count++];
    *pending = (struct pending){.offset = start->offset, .batch = start->number, .running = true};
    walk->highest = start->offset > walk->highest ? start->offset : walk->highest;
}

static void walk_end(struct walk *walk, const struct weir_ledger_record *end)
{
    struct pending *pending = pending_of(walk, end->offset);
    if (!pending)
        return;
    pending->running = false;
    if (end->outcome == WEIR_ACK || end->outcome == WEIR_SKIP || end->outcome == WEIR_DEAD)
        *pending = walk->pending[--walk->count];
}

static void walk_keys(struct judge *judge)
{
    struct walk *walk = calloc(1, sizeof *walk);
    if (!walk) {
        weir_chaos_blame(judge->result, "memory was short: the order of batches was not judged");
        return;
    }
    qsort(judge->runs.all, judge->runs.count, sizeof *judge->runs.all, by_tenure);
    for (size_t index = 0; index < judge->runs.count; index++) {
        const struct weir_ledger_record *record = judge->runs.all[index].record;
        if (index == 0 || compare_tenure(record, judge->runs.all[index - 1].record) != 0) {
            walk->count = 0;
            walk->highest = -1;
        }
        if (record->kind == WEIR_LEDGER_START)
            walk_start(judge, walk, record);
        else
            walk_end(walk, record);
    }
    free(walk);
}

bool weir_chaos_judge_batches(const struct weir_ledger *ledger, const struct weir_chaos_terms *terms,
                              struct weir_chaos_result *result)
{
    struct judge judge = {.terms = terms, .result = result};
    bool whole = weir_chaos_collect(ledger, 1 << WEIR_LEDGER_START | 1 << WEIR_LEDGER_END, NULL, &judge.runs) &&
                 weir_chaos_collect(ledger, 1 << WEIR_LEDGER_LETTER, weir_chaos_by_message, &judge.letters);
    if (whole) {
        walk_batches(&judge);
        walk_keys(&judge);
        if (result->seen.batches == 0)
            weir_chaos_blame(result, "vacuous: no batch ran");
    }
    weir_chaos_runs_deinit(&judge.runs);
    weir_chaos_runs_deinit(&judge.letters);
    return whole;
}
