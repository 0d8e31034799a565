/*
 * F4, F5 and F6 of chaos.h: what filters have left out and what not, how fast runs have started, and which failures
 * have burnt attempts.
 *
 * Thread: any.
 */
#include "tests/support/chaos.h"
#include <inttypes.h>
#include <stdlib.h>

enum { OWNERS_MAX = 64 };

/* How long a run may be late when its place in a rate has come: places are taken up to a second ahead
 * (docs/architecture.md, "Filters and rates"), and a process that stood still starts them all at once. */
#define LATE_NS UINT64_C(1200000000)
#define S_NS    UINT64_C(1000000000)
#define MS_NS   UINT64_C(1000000)

/* By key, process and epoch, then by place. */
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

/* ---- F4: filters ---- */

struct filtering {
    struct weir_chaos_result *result;
    struct weir_chaos_runs emits, starts, ends, letters; /* all by message, but starts by tenure */
};

static int by_message_only(const void *a, const void *b)
{
    return weir_chaos_compare_message(((const struct weir_chaos_run *)a)->record,
                                      ((const struct weir_chaos_run *)b)->record);
}

/* What is nobody's was blamed before. */
static uint32_t class_of(const struct filtering *filtering, const struct weir_ledger_record *record)
{
    struct weir_chaos_run key = {record, 0};
    const struct weir_chaos_run *emit =
        bsearch(&key, filtering->emits.all, filtering->emits.count, sizeof key, by_message_only);
    return emit ? emit->record->number : WEIR_CLASS_WANTED;
}

static void blame_message(struct filtering *filtering, const struct weir_ledger_record *record, const char *what)
{
    weir_chaos_blame(filtering->result, "partition %" PRId32 ": offset %" PRId64 " %s", record->partition,
                     record->offset, what);
}

/* Nothing handled that should have been left out. */
static void check_handled(struct filtering *filtering)
{
    int64_t wanted = -1; /* that has started in this tenure of its key */
    for (size_t index = 0; index < filtering->starts.count; index++) {
        const struct weir_ledger_record *start = filtering->starts.all[index].record;
        if (index == 0 || compare_tenure(start, filtering->starts.all[index - 1].record) != 0)
            wanted = -1;
        switch (class_of(filtering, start)) {
        case WEIR_CLASS_UNWANTED:
            blame_message(filtering, start, "was handled, though a filter is to leave it out");
            break;
        case WEIR_CLASS_EXPIRED:
            blame_message(filtering, start, "was handled, though it is too old");
            break;
        case WEIR_CLASS_STALE:
            if (wanted >= 0 && wanted < start->offset)
                blame_message(filtering, start, "was handled, though its key has had a newer one");
            break;
        default:
            wanted = start->offset > wanted ? start->offset : wanted;
            break;
        }
    }
}

static bool has_end(const struct filtering *filtering, const struct weir_ledger_record *message)
{
    return weir_chaos_has(&filtering->ends, message);
}

/* Has anybody begun a wanted message of its key that lies before it? */
static bool may_be_stale(const struct filtering *filtering, const struct weir_ledger_record *message)
{
    size_t low = 0, high = filtering->starts.count;
    while (low < high) { /* the first of the key */
        size_t middle = low + (high - low) / 2;
        if (weir_chaos_compare_key(filtering->starts.all[middle].record, message) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < filtering->starts.count; low++) {
        const struct weir_ledger_record *start = filtering->starts.all[low].record;
        if (weir_chaos_compare_key(start, message) != 0)
            return false;
        if (start->offset < message->offset && class_of(filtering, start) == WEIR_CLASS_WANTED)
            return true;
    }
    return false;
}

/* Nothing left out that should have been handled: for what is wanted that is V1. */
static void check_left_out(struct filtering *filtering)
{
    struct weir_chaos_seen *seen = &filtering->result->seen;
    for (size_t index = 0; index < filtering->emits.count; index++) {
        const struct weir_ledger_record *emit = filtering->emits.all[index].record;
        seen->unwanted += emit->number == WEIR_CLASS_UNWANTED;
        seen->expired += emit->number == WEIR_CLASS_EXPIRED;
        if (emit->number != WEIR_CLASS_STALE)
            continue;
        if (has_end(filtering, emit)) {
            seen->stale_handled++;
            continue;
        }
        seen->stale++;
        if (!may_be_stale(filtering, emit))
            blame_message(filtering, emit, "was left out as stale, though none of its key before it was begun");
    }
    for (size_t index = 0; index < filtering->letters.count; index++) {
        const struct weir_ledger_record *letter = filtering->letters.all[index].record;
        if (class_of(filtering, letter) != WEIR_CLASS_EXPIRED)
            blame_message(filtering, letter, "has a dead letter, though it is not too old");
    }
}

bool weir_chaos_judge_filters(const struct weir_ledger *ledger, const struct weir_chaos_terms *terms,
                              struct weir_chaos_result *result)
{
    struct filtering filtering = {.result = result};
    (void)terms;
    bool whole = weir_chaos_collect(ledger, 1 << WEIR_LEDGER_EMIT, weir_chaos_by_message, &filtering.emits) &&
                 weir_chaos_collect(ledger, 1 << WEIR_LEDGER_START, by_tenure, &filtering.starts) &&
                 weir_chaos_collect(ledger, 1 << WEIR_LEDGER_END, weir_chaos_by_message, &filtering.ends) &&
                 weir_chaos_collect(ledger, 1 << WEIR_LEDGER_LETTER, weir_chaos_by_message, &filtering.letters);
    if (whole) {
        check_handled(&filtering);
        check_left_out(&filtering);
        if (result->seen.unwanted == 0 || result->seen.expired == 0 || result->seen.stale == 0)
            weir_chaos_blame(result,
                             "vacuous: %" PRIu64 " messages were to be left out, %" PRIu64 " were too old, %" PRIu64
                             " were left out as stale",
                             result->seen.unwanted, result->seen.expired, result->seen.stale);
    }
    weir_chaos_runs_deinit(&filtering.emits);
    weir_chaos_runs_deinit(&filtering.starts);
    weir_chaos_runs_deinit(&filtering.ends);
    weir_chaos_runs_deinit(&filtering.letters);
    return whole;
}

/* ---- F5: rates ---- */

static int by_process_time(const void *a, const void *b)
{
    const struct weir_ledger_record *left = ((const struct weir_chaos_run *)a)->record;
    const struct weir_ledger_record *right = ((const struct weir_chaos_run *)b)->record;
    int order = WEIR_CHAOS_COMPARE(left->process, right->process);
    return order ? order : WEIR_CHAOS_COMPARE(left->monotonic_ns, right->monotonic_ns);
}

static int compare_process(const struct weir_ledger_record *a, const struct weir_ledger_record *b)
{
    return WEIR_CHAOS_COMPARE(a->process, b->process);
}

/* Each run of each group, in the order in which they started, against a bucket that leaks at the rate. */
static void check_rate(const struct weir_chaos_runs *starts, uint64_t per_second, uint64_t burst_ms,
                       int (*compare_group)(const struct weir_ledger_record *, const struct weir_ledger_record *),
                       struct weir_chaos_result *result)
{
    uint64_t due_ns = 0, runs = 0;
    for (size_t index = 0; index < starts->count; index++) {
        const struct weir_ledger_record *start = starts->all[index].record;
        if (index == 0 || compare_group(start, starts->all[index - 1].record) != 0)
            due_ns = runs = 0;
        if (due_ns > start->monotonic_ns + burst_ms * MS_NS + LATE_NS)
            weir_chaos_blame(result,
                             "process %" PRIu32 " (partition %" PRId32 ", offset %" PRId64 ") is %" PRIu64
                             " ms ahead of its rate of %" PRIu64 " a second after %" PRIu64 " runs",
                             start->process, start->partition, start->offset, (due_ns - start->monotonic_ns) / MS_NS,
                             per_second, runs);
        due_ns = (due_ns > start->monotonic_ns ? due_ns : start->monotonic_ns) + S_NS / per_second;
        if (++runs > result->seen.rate_runs_max)
            result->seen.rate_runs_max = runs;
    }
}

bool weir_chaos_judge_rates(const struct weir_ledger *ledger, const struct weir_chaos_terms *terms,
                            struct weir_chaos_result *result)
{
    const struct weir_chaos_rate *rate = &terms->rate;
    struct weir_chaos_runs starts;
    if (rate->per_second == 0 && rate->key_per_second == 0)
        return true;
    bool whole = weir_chaos_collect(ledger, 1 << WEIR_LEDGER_START, by_tenure, &starts);
    if (whole && rate->key_per_second > 0)
        check_rate(&starts, rate->key_per_second, rate->burst_ms, compare_tenure, result);
    if (whole && rate->per_second > 0) {
        qsort(starts.all, starts.count, sizeof *starts.all, by_process_time);
        check_rate(&starts, rate->per_second, rate->burst_ms, compare_process, result);
    }
    weir_chaos_runs_deinit(&starts);
    return whole;
}

/* ---- F6: attempts ---- */

struct owner {
    uint32_t process;
    uint64_t epoch;
};

/* One message: the assignments in which it has failed. */
struct trials {
    struct owner owners[OWNERS_MAX];
    size_t count;
};

static void note_failure(struct trials *trials, const struct weir_ledger_record *end, struct weir_chaos_result *result)
{
    for (size_t index = 0; index < trials->count; index++)
        if (trials->owners[index].process == end->process && trials->owners[index].epoch == end->note)
            return;
    if (trials->count < OWNERS_MAX)
        trials->owners[trials->count++] = (struct owner){end->process, end->note};
    else
        weir_chaos_blame(result, "a message failed in more than %d assignments: the harness cannot keep them",
                         OWNERS_MAX);
}

static void take_trial(struct trials *trials, const struct weir_ledger_record *record, struct weir_chaos_result *result)
{
    struct weir_chaos_seen *seen = &result->seen;
    if (record->kind == WEIR_LEDGER_END) {
        seen->failures += record->outcome == WEIR_RETRY || record->outcome == WEIR_OVERLOADED;
        if (record->outcome == WEIR_RETRY)
            note_failure(trials, record, result);
        return;
    }
    if (record->attempt > seen->attempt_max)
        seen->attempt_max = record->attempt;
    if (record->attempt > 1 + trials->count)
        weir_chaos_blame(result,
                         "partition %" PRId32 ": offset %" PRId64 " is at its attempt %" PRIu32
                         ", and has failed in %zu assignments (process %" PRIu32 ", epoch %" PRIu64 ")",
                         record->partition, record->offset, record->attempt, trials->count, record->process,
                         record->note);
}

bool weir_chaos_judge_attempts(const struct weir_ledger *ledger, const struct weir_chaos_terms *terms,
                               struct weir_chaos_result *result)
{
    static const struct trials none;
    struct trials trials = none;
    struct weir_chaos_runs runs;
    (void)terms;
    bool whole =
        weir_chaos_collect(ledger, 1 << WEIR_LEDGER_START | 1 << WEIR_LEDGER_END, weir_chaos_by_message, &runs);
    for (size_t index = 0; whole && index < runs.count; index++) {
        const struct weir_ledger_record *record = runs.all[index].record;
        if (index == 0 || weir_chaos_compare_message(record, runs.all[index - 1].record) != 0)
            trials = none;
        take_trial(&trials, record, result);
    }
    weir_chaos_runs_deinit(&runs);
    return whole;
}
