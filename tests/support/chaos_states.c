/*
 * F2 of chaos.h: states of keys. Two walks: state by state, over its own records; and key by key within each process,
 * over those and the runs of the key.
 *
 * Thread: any.
 */
#include "tests/support/chaos.h"
#include <inttypes.h>
#include <stdlib.h>

enum { MS_NS = 1000000 };

struct judge {
    const struct weir_chaos_terms *terms;
    struct weir_chaos_result *result;
    struct weir_chaos_runs records, events;
};

/* ---- state by state ---- */

static bool is_of_state(const struct weir_ledger_record *record)
{
    return record->kind == WEIR_LEDGER_STATE_MADE || record->kind == WEIR_LEDGER_STATE_SEEN ||
           record->kind == WEIR_LEDGER_STATE_ENDED;
}

/* Those of runs, which have no number of a state, come first in each process. */
static int by_state(const void *a, const void *b)
{
    const struct weir_chaos_run *left = a, *right = b;
    uint32_t left_number = is_of_state(left->record) ? left->record->number : 0;
    uint32_t right_number = is_of_state(right->record) ? right->record->number : 0;
    int order = WEIR_CHAOS_COMPARE(left->record->process, right->record->process);
    if (!order)
        order = WEIR_CHAOS_COMPARE(left_number, right_number);
    return order ? order : WEIR_CHAOS_COMPARE(left->place, right->place);
}

/* Killed, or crashed: what it had ended with it. */
static bool was_killed(const struct judge *judge, uint32_t process)
{
    for (size_t index = 0; index < judge->events.count; index++) {
        const struct weir_ledger_record *event = judge->events.all[index].record;
        if (event->process == process && (event->outcome == WEIR_EVENT_KILL || event->outcome == WEIR_EVENT_CRASH))
            return true;
    }
    return false;
}

struct life {
    const struct weir_ledger_record *made, *ended; /* NULL: not yet */
    uint64_t seen_ns;                              /* when last */
    uint32_t runs;
};

static void blame_state(struct judge *judge, const struct weir_ledger_record *record, const char *what)
{
    weir_chaos_blame(judge->result,
                     "state %" PRIu32 " of process %" PRIu32 " (partition %" PRId32 ", epoch %" PRIu64 ") %s",
                     record->number, record->process, record->partition, record->note, what);
}

static void take_end(struct judge *judge, struct life *life, const struct weir_ledger_record *record)
{
    if (life->ended)
        blame_state(judge, record, "was ended twice");
    if (record->attempt == 0)
        blame_state(judge, record, "was ended on a thread that runs no handlers");
    life->ended = record;
    judge->result->seen.states_ended++;
    judge->result->seen.states_idle +=
        life->seen_ns > 0 && record->monotonic_ns - life->seen_ns >= judge->terms->state_idle_ms * MS_NS;
}

static void take_of_state(struct judge *judge, struct life *life, const struct weir_ledger_record *record)
{
    if (record->kind == WEIR_LEDGER_STATE_MADE) {
        if (life->made)
            blame_state(judge, record, "was made twice");
        life->made = record;
        judge->result->seen.states_made++;
        return;
    }
    if (!life->made || life->made->note != record->note || weir_chaos_compare_key(life->made, record) != 0)
        blame_state(judge, record, "is that of another key or epoch, or was never made");
    if (record->kind == WEIR_LEDGER_STATE_ENDED) {
        take_end(judge, life, record);
        return;
    }
    if (life->ended)
        blame_state(judge, record, "was seen after its end");
    if (record->attempt != life->runs)
        blame_state(judge, record, "was not as the run before had left it");
    life->runs++;
    life->seen_ns = record->monotonic_ns;
    judge->result->seen.states_seen++;
}

static void walk_states(struct judge *judge)
{
    struct life life = {0};
    qsort(judge->records.all, judge->records.count, sizeof *judge->records.all, by_state);
    for (size_t index = 0; index < judge->records.count; index++) {
        const struct weir_ledger_record *record = judge->records.all[index].record;
        if (!is_of_state(record))
            continue;
        take_of_state(judge, &life, record);
        const struct weir_ledger_record *next =
            index + 1 < judge->records.count ? judge->records.all[index + 1].record : NULL;
        if (next && is_of_state(next) && next->process == record->process && next->number == record->number)
            continue;
        if (!life.ended && !was_killed(judge, record->process))
            blame_state(judge, record, "was never ended");
        life = (struct life){0};
    }
}

/* ---- key by key ---- */

static int compare_owner(const struct weir_ledger_record *a, const struct weir_ledger_record *b)
{
    int order = weir_chaos_compare_key(a, b);
    return order ? order : WEIR_CHAOS_COMPARE(a->process, b->process);
}

static int by_owner(const void *a, const void *b)
{
    const struct weir_chaos_run *left = a, *right = b;
    int order = compare_owner(left->record, right->record);
    return order ? order : WEIR_CHAOS_COMPARE(left->place, right->place);
}

struct walk {
    uint32_t alive; /* number of the state that there is; 0: none */
    uint32_t open;  /* runs */
};

static void take_of_key(struct judge *judge, struct walk *walk, const struct weir_ledger_record *record)
{
    switch ((enum weir_ledger_kind)record->kind) {
    case WEIR_LEDGER_START:
        walk->open++;
        break;
    case WEIR_LEDGER_END:
        walk->open -= walk->open > 0;
        break;
    case WEIR_LEDGER_STATE_MADE:
        if (walk->alive != 0)
            blame_state(judge, record, "was made while its key had another");
        walk->alive = record->number;
        break;
    case WEIR_LEDGER_STATE_ENDED:
        if (walk->open > 0)
            blame_state(judge, record, "was ended beside a run of its key");
        walk->alive = 0;
        break;
    default:
        if (walk->alive != record->number)
            blame_state(judge, record, "was seen though its key has another, or none");
        break;
    }
}

static void walk_keys(struct judge *judge)
{
    struct walk walk = {0};
    qsort(judge->records.all, judge->records.count, sizeof *judge->records.all, by_owner);
    for (size_t index = 0; index < judge->records.count; index++) {
        const struct weir_ledger_record *record = judge->records.all[index].record;
        if (index == 0 || compare_owner(record, judge->records.all[index - 1].record) != 0)
            walk = (struct walk){0};
        take_of_key(judge, &walk, record);
    }
}

bool weir_chaos_judge_states(const struct weir_ledger *ledger, const struct weir_chaos_terms *terms,
                             struct weir_chaos_result *result)
{
    struct judge judge = {.terms = terms, .result = result};
    unsigned kinds = 1 << WEIR_LEDGER_START | 1 << WEIR_LEDGER_END | 1 << WEIR_LEDGER_STATE_MADE |
                     1 << WEIR_LEDGER_STATE_SEEN | 1 << WEIR_LEDGER_STATE_ENDED;
    bool whole = weir_chaos_collect(ledger, kinds, NULL, &judge.records) &&
                 weir_chaos_collect(ledger, 1 << WEIR_LEDGER_EVENT, NULL, &judge.events);
    if (whole) {
        walk_states(&judge);
        walk_keys(&judge);
        if (result->seen.states_seen == 0)
            weir_chaos_blame(result, "vacuous: no run has seen a state");
    }
    weir_chaos_runs_deinit(&judge.records);
    weir_chaos_runs_deinit(&judge.events);
    return whole;
}
