/*
 * F3 of chaos.h, but for what commits tell of outputs, which is in chaos.c: whose runs the outputs are of, and their
 * order.
 *
 * Thread: any.
 */
#include "tests/support/chaos.h"
#include <inttypes.h>
#include <stdlib.h>

struct judge {
    struct weir_chaos_result *result;
    struct weir_chaos_runs outputs, ends;
};

/* ---- whose they are ---- */

/* A run: what it was of, and who ran it when. Not by place: a run that burnt no attempt has the next one's name. */
static int compare_run(const struct weir_ledger_record *a, const struct weir_ledger_record *b)
{
    int order = weir_chaos_compare_message(a, b);
    if (!order)
        order = WEIR_CHAOS_COMPARE(a->process, b->process);
    if (!order)
        order = WEIR_CHAOS_COMPARE(a->note, b->note);
    return order ? order : WEIR_CHAOS_COMPARE(a->attempt, b->attempt);
}

static int by_run(const void *a, const void *b)
{
    return compare_run(((const struct weir_chaos_run *)a)->record, ((const struct weir_chaos_run *)b)->record);
}

static bool ended_well(const struct judge *judge, const struct weir_ledger_record *output)
{
    struct weir_chaos_run key = {output, 0};
    const struct weir_chaos_run *first = judge->ends.all, *end = first + judge->ends.count;
    const struct weir_chaos_run *run = bsearch(&key, first, judge->ends.count, sizeof key, by_run);
    if (!run)
        return false;
    while (run > first && compare_run(run[-1].record, output) == 0)
        run--;
    for (; run < end && compare_run(run->record, output) == 0; run++)
        if (run->record->outcome == WEIR_ACK || run->record->outcome == WEIR_SKIP)
            return true;
    return false;
}

static void check_runs(struct judge *judge)
{
    qsort(judge->outputs.all, judge->outputs.count, sizeof *judge->outputs.all, by_run);
    for (size_t index = 0; index < judge->outputs.count; index++) {
        const struct weir_ledger_record *output = judge->outputs.all[index].record;
        bool again = index > 0 && compare_run(output, judge->outputs.all[index - 1].record) == 0;
        bool same = index > 0 && weir_chaos_compare_message(output, judge->outputs.all[index - 1].record) == 0;
        judge->result->seen.outputs++;
        judge->result->seen.outputs_again += same;
        if (again)
            weir_chaos_blame(judge->result,
                             "partition %" PRId32 ": offset %" PRId64 ", attempt %" PRIu32 " of process %" PRIu32
                             " has two outputs",
                             output->partition, output->offset, output->attempt, output->process);
        if (!ended_well(judge, output))
            weir_chaos_blame(judge->result,
                             "partition %" PRId32 ": offset %" PRId64 " has an output of attempt %" PRIu32
                             " of process %" PRIu32 " (epoch %" PRIu64 "), which has not ended well",
                             output->partition, output->offset, output->attempt, output->process, output->note);
    }
}

/* ---- their order ---- */

/* Was there one of the same message before, in the same key? */
static bool is_again(const struct weir_chaos_run *first, const struct weir_chaos_run *run)
{
    for (const struct weir_chaos_run *before = run; before-- > first;)
        if (before->record->offset == run->record->offset)
            return true;
    return false;
}

/* Outputs are read one partition after the other, each in its order, and those of a key lie in one. */
static void check_order(struct judge *judge)
{
    const struct weir_chaos_run *first = NULL, *run = NULL;
    int64_t highest = -1;
    qsort(judge->outputs.all, judge->outputs.count, sizeof *judge->outputs.all, weir_chaos_by_key);
    for (size_t index = 0; index < judge->outputs.count; index++) {
        run = &judge->outputs.all[index];
        if (!first || weir_chaos_compare_key(first->record, run->record) != 0) {
            first = run;
            highest = -1;
        }
        if (run->record->offset < highest && !is_again(first, run)) {
            judge->result->out_of_order++;
            weir_chaos_blame(judge->result,
                             "partition %" PRId32 ": what offset %" PRId64 " emitted lies behind what offset %" PRId64
                             " of its key did",
                             run->record->partition, run->record->offset, highest);
        }
        highest = run->record->offset > highest ? run->record->offset : highest;
    }
}

bool weir_chaos_judge_outputs(const struct weir_ledger *ledger, const struct weir_chaos_terms *terms,
                              struct weir_chaos_result *result)
{
    struct judge judge = {.result = result};
    (void)terms;
    bool whole = weir_chaos_collect(ledger, 1 << WEIR_LEDGER_OUTPUT, NULL, &judge.outputs) &&
                 weir_chaos_collect(ledger, 1 << WEIR_LEDGER_END, by_run, &judge.ends);
    if (whole) {
        check_runs(&judge);
        check_order(&judge);
        if (result->seen.outputs == 0)
            weir_chaos_blame(result, "vacuous: no output was read back");
    }
    weir_chaos_runs_deinit(&judge.outputs);
    weir_chaos_runs_deinit(&judge.ends);
    return whole;
}
