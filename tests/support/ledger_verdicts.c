/*
 * Verdicts over a ledger: loss, order, overlap and duplicates.
 *
 * Each sorts references to the sealed records into the order it needs and walks them once. The order of what happened
 * is that of the places in the file; clocks are not asked.
 *
 * Thread: any. The ledger's file and its writers are in ledger.c.
 */
#include "tests/support/ledger.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* A record and its place: what sorts and comparisons work on. */
struct entry {
    const struct weir_ledger_record *record;
    size_t place;
    bool first; /* START: the message's first */
};

struct entries {
    struct entry *all;
    size_t count;
    bool failed; /* memory was short */
};

typedef bool entry_filter(const struct weir_ledger_record *record);
typedef int entry_compare(const void *a, const void *b);

static struct entries collect(const struct weir_ledger *ledger, entry_filter *filter, entry_compare *compare)
{
    size_t count = weir_ledger_count(ledger);
    struct entries entries = {.all = malloc((count + 1) * sizeof *entries.all)};
    entries.failed = !entries.all;
    for (size_t i = 0; i < count && entries.all; i++) {
        const struct weir_ledger_record *record = weir_ledger_at(ledger, i);
        if (record && filter(record))
            entries.all[entries.count++] = (struct entry){.record = record, .place = i};
    }
    if (entries.all)
        qsort(entries.all, entries.count, sizeof *entries.all, compare);
    return entries;
}

/* ---- what to collect ---- */

static bool is_emit(const struct weir_ledger_record *record)
{
    return record->kind == WEIR_LEDGER_EMIT;
}

static bool is_letter(const struct weir_ledger_record *record)
{
    return record->kind == WEIR_LEDGER_LETTER;
}

static bool is_gone(const struct weir_ledger_record *record)
{
    return record->kind == WEIR_LEDGER_GONE;
}

static bool is_run(const struct weir_ledger_record *record)
{
    return record->kind == WEIR_LEDGER_START || record->kind == WEIR_LEDGER_END;
}

static bool is_finish(const struct weir_ledger_record *record)
{
    return is_letter(record) ||
           (record->kind == WEIR_LEDGER_END && (record->outcome == WEIR_ACK || record->outcome == WEIR_SKIP));
}

static bool is_start_or_finish(const struct weir_ledger_record *record)
{
    return record->kind == WEIR_LEDGER_START || is_finish(record);
}

/* ---- how to sort ---- */

#define COMPARE(a, b) (((a) > (b)) - ((a) < (b)))

static int compare_partition(const struct weir_ledger_record *a, const struct weir_ledger_record *b)
{
    int order = COMPARE(a->topic_hash, b->topic_hash);
    return order ? order : COMPARE(a->partition, b->partition);
}

static int by_place(const void *a, const void *b)
{
    const struct entry *left = a, *right = b;
    return COMPARE(left->place, right->place);
}

static int by_message(const void *a, const void *b)
{
    const struct entry *left = a, *right = b;
    int order = compare_partition(left->record, right->record);
    if (!order)
        order = COMPARE(left->record->offset, right->record->offset);
    return order ? order : by_place(a, b);
}

static int compare_key(const struct entry *left, const struct entry *right)
{
    int order = compare_partition(left->record, right->record);
    return order ? order : COMPARE(left->record->key_hash, right->record->key_hash);
}

static int by_key(const void *a, const void *b)
{
    int order = compare_key(a, b);
    return order ? order : by_place(a, b);
}

static bool same_message(const struct weir_ledger_record *a, const struct weir_ledger_record *b)
{
    return compare_partition(a, b) == 0 && a->offset == b->offset;
}

static int compare_message(const void *a, const void *b)
{
    const struct weir_ledger_message *left = a, *right = b;
    int order = COMPARE(left->topic_hash, right->topic_hash);
    if (!order)
        order = COMPARE(left->partition, right->partition);
    return order ? order : COMPARE(left->offset, right->offset);
}

/* ---- verdicts ---- */

/* Count a violation; the first one's sentence stays. */
__attribute__((format(printf, 2, 3))) static void violate(struct weir_ledger_verdict *verdict, const char *format, ...)
{
    if (verdict->violations++ > 0)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(verdict->text, sizeof verdict->text, format, arguments);
    va_end(arguments);
}

/* What makes any verdict fail, whatever it found. */
static void conclude(struct weir_ledger_verdict *verdict, const struct weir_ledger *ledger, bool failed)
{
    uint64_t overflow = weir_ledger_overflow(ledger);
    if (failed)
        snprintf(verdict->text, sizeof verdict->text, "memory was short: nothing was checked");
    else if (overflow > 0)
        snprintf(verdict->text, sizeof verdict->text, "%" PRIu64 " records did not fit the ledger", overflow);
    else if (verdict->checked == 0)
        snprintf(verdict->text, sizeof verdict->text, "nothing was checked: the ledger has no records of the kind");
    else if (verdict->violations == 0)
        snprintf(verdict->text, sizeof verdict->text, "holds for %" PRIu64, verdict->checked);
    verdict->ok = !failed && overflow == 0 && verdict->checked > 0 && verdict->violations == 0;
}

/* The produced set as a sorted list of its own, from the caller's or from EMIT records; NULL where memory is short. */
static struct weir_ledger_message *produced_list(const struct weir_ledger *ledger,
                                                 const struct weir_ledger_message *given, size_t *count)
{
    struct entries emits = {0};
    if (!given) {
        emits = collect(ledger, is_emit, by_place);
        *count = emits.count;
    }
    struct weir_ledger_message *list = emits.failed ? NULL : malloc((*count + 1) * sizeof *list);
    for (size_t i = 0; i < *count && list; i++) {
        if (given)
            list[i] = given[i];
        else
            list[i] = (struct weir_ledger_message){emits.all[i].record->topic_hash, emits.all[i].record->partition,
                                                   emits.all[i].record->offset};
    }
    free(emits.all);
    if (list)
        qsort(list, *count, sizeof *list, compare_message);
    return list;
}

/* The records of one message, and whether one of them finishes it. */
static size_t message_end(const struct entries *entries, size_t begin, bool *finished)
{
    *finished = false;
    size_t end = begin;
    while (end < entries->count && same_message(entries->all[end].record, entries->all[begin].record)) {
        *finished = *finished || is_finish(entries->all[end].record);
        end++;
    }
    return end;
}

/* Both sides ascend by message: walk them side by side. */
static void match(struct weir_ledger_verdict *verdict, const struct entries *runs,
                  const struct weir_ledger_message *list, size_t count)
{
    size_t run = 0;
    for (size_t i = 0; i < count || run < runs->count;) {
        const struct weir_ledger_record *record = run < runs->count ? runs->all[run].record : NULL;
        int order = -1; /* list[i] has no record */
        if (record) {
            struct weir_ledger_message seen = {record->topic_hash, record->partition, record->offset};
            order = i < count ? compare_message(&list[i], &seen) : 1;
        }
        bool finished = false;
        if (order >= 0)
            run = message_end(runs, run, &finished);
        if (order > 0)
            violate(verdict, "partition %" PRId32 " offset %" PRId64 " was handled but never produced",
                    record->partition, record->offset);
        else if (!finished)
            violate(verdict, "partition %" PRId32 " offset %" PRId64 " was produced and %s", list[i].partition,
                    list[i].offset, order < 0 ? "never seen" : "started, but never finished");
        i += order <= 0;
    }
}

struct weir_ledger_verdict weir_ledger_no_loss(const struct weir_ledger *ledger,
                                               const struct weir_ledger_message *produced, size_t count)
{
    struct weir_ledger_verdict verdict = {0};
    struct weir_ledger_message *list = produced_list(ledger, produced, &count);
    struct entries runs = collect(ledger, is_start_or_finish, by_message);
    bool failed = !list || runs.failed;
    if (!failed) {
        verdict.checked = count;
        match(&verdict, &runs, list, count);
    }
    free(runs.all);
    free(list);
    conclude(&verdict, ledger, failed);
    return verdict;
}

/* Does `letters`, sorted by message, hold one for this message? */
static bool has_letter(const struct entries *letters, const struct weir_ledger_record *record)
{
    size_t low = 0, high = letters->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct weir_ledger_record *letter = letters->all[middle].record;
        int order = compare_partition(letter, record);
        if (!order)
            order = COMPARE(letter->offset, record->offset);
        if (!order)
            return true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

/* Runs are sorted by message: the first START of each is its first. Then sort them by key. */
static void mark_first(struct entries *runs)
{
    bool started = false;
    for (size_t i = 0; i < runs->count; i++) {
        if (i == 0 || !same_message(runs->all[i].record, runs->all[i - 1].record))
            started = false;
        bool start = runs->all[i].record->kind == WEIR_LEDGER_START;
        runs->all[i].first = start && !started;
        started = started || start;
    }
    qsort(runs->all, runs->count, sizeof *runs->all, by_key);
}

/* Where one key stands while its runs are walked. */
struct key_walk {
    const struct weir_ledger_record *latest; /* highest message started so far */
    bool over, ended;                        /* it: finished or dead; ended in whatever way */
};

static void walk_start(struct weir_ledger_verdict *verdict, struct key_walk *walk,
                       const struct weir_ledger_record *record, const struct entries *letters)
{
    verdict->checked++;
    if (walk->latest && record->offset < walk->latest->offset) {
        violate(verdict, "partition %" PRId32 ": offset %" PRId64 " first started after offset %" PRId64 " of its key",
                record->partition, record->offset, walk->latest->offset);
        return;
    }
    if (walk->latest && !walk->over && !(walk->ended && has_letter(letters, walk->latest)))
        violate(verdict,
                "partition %" PRId32 ": offset %" PRId64 " started while offset %" PRId64 " of its key was not over",
                record->partition, record->offset, walk->latest->offset);
    *walk = (struct key_walk){.latest = record};
}

static void walk_end(struct key_walk *walk, const struct weir_ledger_record *record)
{
    if (!walk->latest || record->offset != walk->latest->offset)
        return;
    walk->ended = true;
    walk->over = walk->over || is_finish(record) || record->outcome == WEIR_DEAD;
}

struct weir_ledger_verdict weir_ledger_key_order(const struct weir_ledger *ledger)
{
    struct weir_ledger_verdict verdict = {0};
    struct entries letters = collect(ledger, is_letter, by_message);
    struct entries runs = collect(ledger, is_run, by_message);
    bool failed = letters.failed || runs.failed;
    if (!failed)
        mark_first(&runs);
    struct key_walk walk = {0};
    for (size_t i = 0; i < runs.count && !failed; i++) {
        if (i == 0 || compare_key(&runs.all[i], &runs.all[i - 1]) != 0)
            walk = (struct key_walk){0};
        if (runs.all[i].first)
            walk_start(&verdict, &walk, runs.all[i].record, &letters);
        else if (runs.all[i].record->kind == WEIR_LEDGER_END)
            walk_end(&walk, runs.all[i].record);
    }
    free(runs.all);
    free(letters.all);
    conclude(&verdict, ledger, failed);
    return verdict;
}

/* Had the process of `open` ended before the place? */
static bool is_gone_before(const struct entries *gone, const struct entry *open, size_t place)
{
    for (size_t i = 0; i < gone->count && gone->all[i].place < place; i++)
        if (gone->all[i].place > open->place && gone->all[i].record->process == open->record->process)
            return true;
    return false;
}

static bool ends(const struct weir_ledger_record *end, const struct weir_ledger_record *start)
{
    return end->offset == start->offset && end->process == start->process && end->attempt == start->attempt;
}

struct weir_ledger_verdict weir_ledger_no_overlap(const struct weir_ledger *ledger)
{
    struct weir_ledger_verdict verdict = {0};
    struct entries gone = collect(ledger, is_gone, by_place);
    struct entries runs = collect(ledger, is_run, by_key);
    bool failed = gone.failed || runs.failed;
    const struct entry *open = NULL;
    for (size_t i = 0; i < runs.count && !failed; i++) {
        const struct entry *entry = &runs.all[i];
        if (i == 0 || compare_key(entry, entry - 1) != 0)
            open = NULL;
        if (entry->record->kind == WEIR_LEDGER_END) {
            if (open && ends(entry->record, open->record))
                open = NULL;
            continue;
        }
        verdict.checked++;
        if (open && !is_gone_before(&gone, open, entry->place))
            violate(&verdict,
                    "partition %" PRId32 ": offset %" PRId64 " (process %" PRIu32 ") started while offset %" PRId64
                    " (process %" PRIu32 ") of its key was running",
                    entry->record->partition, entry->record->offset, entry->record->process, open->record->offset,
                    open->record->process);
        open = entry;
    }
    free(runs.all);
    free(gone.all);
    conclude(&verdict, ledger, failed);
    return verdict;
}

/* How many messages are finished, and how many finishes they have. False where memory is short. */
static bool count_finishes(const struct weir_ledger *ledger, uint64_t *messages, uint64_t *finishes)
{
    struct entries entries = collect(ledger, is_finish, by_message);
    *messages = 0;
    *finishes = entries.count;
    for (size_t i = 0; i < entries.count; i++)
        *messages += i == 0 || !same_message(entries.all[i].record, entries.all[i - 1].record);
    free(entries.all);
    return !entries.failed;
}

uint64_t weir_ledger_count_finished(const struct weir_ledger *ledger)
{
    uint64_t messages, finishes;
    return count_finishes(ledger, &messages, &finishes) ? messages : UINT64_MAX;
}

struct weir_ledger_verdict weir_ledger_duplicates(const struct weir_ledger *ledger, uint64_t duplicates_max)
{
    struct weir_ledger_verdict verdict = {0};
    uint64_t finishes;
    bool failed = !count_finishes(ledger, &verdict.checked, &finishes);
    uint64_t duplicates = finishes - verdict.checked;
    if (duplicates > duplicates_max) {
        violate(&verdict, "%" PRIu64 " duplicates: at most %" PRIu64 " allowed", duplicates, duplicates_max);
    }
    conclude(&verdict, ledger, failed);
    verdict.violations = duplicates;
    return verdict;
}
