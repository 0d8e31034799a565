/* What verdicts share: records of a ledger in the orders in which they walk them, and results. See chaos.h. */
#include "tests/support/chaos.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

bool weir_chaos_collect(const struct weir_ledger *ledger, unsigned kinds, int (*compare)(const void *, const void *),
                        struct weir_chaos_runs *runs)
{
    size_t count = weir_ledger_count(ledger);
    *runs = (struct weir_chaos_runs){.all = malloc((count + 1) * sizeof *runs->all)};
    for (size_t place = 0; place < count && runs->all; place++) {
        const struct weir_ledger_record *record = weir_ledger_at(ledger, place);
        if (record && (kinds & 1u << record->kind))
            runs->all[runs->count++] = (struct weir_chaos_run){record, place};
    }
    if (runs->all && compare)
        qsort(runs->all, runs->count, sizeof *runs->all, compare);
    return runs->all != NULL;
}

void weir_chaos_runs_deinit(struct weir_chaos_runs *runs)
{
    free(runs->all);
    *runs = (struct weir_chaos_runs){0};
}

int weir_chaos_compare_lane(const struct weir_ledger_record *a, const struct weir_ledger_record *b)
{
    int order = WEIR_CHAOS_COMPARE(a->topic_hash, b->topic_hash);
    return order ? order : WEIR_CHAOS_COMPARE(a->partition, b->partition);
}

int weir_chaos_compare_key(const struct weir_ledger_record *a, const struct weir_ledger_record *b)
{
    int order = weir_chaos_compare_lane(a, b);
    return order ? order : WEIR_CHAOS_COMPARE(a->key_hash, b->key_hash);
}

int weir_chaos_compare_message(const struct weir_ledger_record *a, const struct weir_ledger_record *b)
{
    int order = weir_chaos_compare_lane(a, b);
    return order ? order : WEIR_CHAOS_COMPARE(a->offset, b->offset);
}

int weir_chaos_by_key(const void *a, const void *b)
{
    const struct weir_chaos_run *left = a, *right = b;
    int order = weir_chaos_compare_key(left->record, right->record);
    return order ? order : WEIR_CHAOS_COMPARE(left->place, right->place);
}

int weir_chaos_by_message(const void *a, const void *b)
{
    const struct weir_chaos_run *left = a, *right = b;
    int order = weir_chaos_compare_message(left->record, right->record);
    return order ? order : WEIR_CHAOS_COMPARE(left->place, right->place);
}

static int without_place(const void *a, const void *b)
{
    return weir_chaos_compare_message(((const struct weir_chaos_run *)a)->record,
                                      ((const struct weir_chaos_run *)b)->record);
}

bool weir_chaos_has(const struct weir_chaos_runs *runs, const struct weir_ledger_record *message)
{
    struct weir_chaos_run key = {message, 0};
    return bsearch(&key, runs->all, runs->count, sizeof key, without_place) != NULL;
}

/* ---- results ---- */

void weir_chaos_history_deinit(struct weir_chaos_history *history)
{
    for (size_t index = 0; index < history->count; index++)
        free(history->all[index].metadata);
    free(history->all);
    *history = (struct weir_chaos_history){0};
}

void weir_chaos_blame(struct weir_chaos_result *result, const char *format, ...)
{
    result->ok = false;
    if (result->text[0])
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(result->text, sizeof result->text, format, arguments);
    va_end(arguments);
}

static void at_most(uint64_t *most, uint64_t value)
{
    *most = value > *most ? value : *most;
}

void weir_chaos_add(struct weir_chaos_result *sum, const struct weir_chaos_result *one)
{
    sum->runs += one->runs;
    sum->messages += one->messages;
    sum->disturbances += one->disturbances;
    sum->lost += one->lost;
    sum->out_of_order += one->out_of_order;
    sum->overlaps += one->overlaps;
    sum->overlaps_involuntary += one->overlaps_involuntary;
    sum->duplicates += one->duplicates;
    sum->duplicates_bound += one->duplicates_bound;
    sum->stragglers += one->stragglers;
    sum->moved_back += one->moved_back;
    at_most(&sum->longest_stall_ms, one->longest_stall_ms);
    at_most(&sum->recovery_ms, one->recovery_ms);
    at_most(&sum->close_ms, one->close_ms);
    at_most(&sum->resident_bytes_max, one->resident_bytes_max);
    at_most(&sum->resident_bytes_bound, one->resident_bytes_bound);
    if (!one->ok)
        weir_chaos_blame(sum, "%s", one->text);
}
