/*
 * The verdicts of chaos.h but for V2 and V3 (chaos_keys.c). One walk over the ledger in its order, into which the
 * group's commits are merged by their time.
 *
 * Invariants
 *   C1. Messages are sorted by topic, partition, offset; a lane is the run of one partition in them.
 *   C2. What a lane's `told` says is its last commit whose time has come.
 */
#include "tests/support/chaos.h"
#include "actors/map.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TENURES_MAX = 4096, MS_NS = 1000000 };

struct message {
    uint64_t topic_hash;
    int64_t offset;
    int32_t partition;
    uint32_t finishes;
    uint32_t running;
    bool excused; /* a stranger's commit passed over it */
    bool letter;
    bool ended; /* some run of it has */
};

struct tenure {
    uint32_t process;
    uint64_t epoch;
};

/* One partition. */
struct lane {
    uint64_t topic_hash;
    int32_t partition;
    struct message *messages;
    size_t count, emitted;
    int64_t floor; /* last commit; -1: none */
    struct weir_map map;
    bool has_map, strange; /* strange: a stranger's commit came, none of ours since */
    int64_t passed;        /* below it V1 has been checked */
    int64_t work_floor;    /* the highest floor so far: what progress is measured by */
    struct tenure *tenures;
    size_t tenure_count;
    uint32_t owner;
    uint64_t waiting_ns; /* since when a disturbance left it without an owner; 0: it did not */
};

struct judge {
    const struct weir_ledger *ledger;
    const struct weir_chaos_history *history;
    const struct weir_chaos_terms *terms;
    struct weir_chaos_result *result;
    struct message *messages;
    struct lane *lanes;
    size_t message_count, lane_count;
    size_t commit; /* next of the history */
    bool watching, failed;
    uint64_t work;      /* messages above the floors */
    uint64_t quiet_ns;  /* since when no floor advanced although there was work; 0: not so */
    bool broker_away;   /* a broker was disturbed; recovery counts from when progress is expected again */
    uint64_t broker_ns; /* since when an advance is waited for; 0: none is */
};

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

/* ---- messages and lanes ---- */

#define COMPARE(a, b) (((a) > (b)) - ((a) < (b)))

static int compare_lane(uint64_t topic_a, int32_t partition_a, uint64_t topic_b, int32_t partition_b)
{
    int order = COMPARE(topic_a, topic_b);
    return order ? order : COMPARE(partition_a, partition_b);
}

static int by_message(const void *a, const void *b)
{
    const struct message *left = a, *right = b;
    int order = compare_lane(left->topic_hash, left->partition, right->topic_hash, right->partition);
    return order ? order : COMPARE(left->offset, right->offset);
}

static void list_messages(struct judge *judge)
{
    size_t count = weir_ledger_count(judge->ledger);
    judge->messages = calloc(count + 1, sizeof *judge->messages);
    judge->failed |= !judge->messages;
    for (size_t place = 0; place < count && !judge->failed; place++) {
        const struct weir_ledger_record *record = weir_ledger_at(judge->ledger, place);
        if (record && record->kind == WEIR_LEDGER_EMIT)
            judge->messages[judge->message_count++] = (struct message){
                .topic_hash = record->topic_hash, .partition = record->partition, .offset = record->offset};
    }
    if (!judge->failed)
        qsort(judge->messages, judge->message_count, sizeof *judge->messages, by_message);
}

static void list_lanes(struct judge *judge)
{
    judge->lanes = calloc(judge->message_count + 1, sizeof *judge->lanes);
    judge->failed |= !judge->lanes;
    for (size_t index = 0; index < judge->message_count && !judge->failed; index++) {
        struct message *message = &judge->messages[index];
        struct lane *lane = judge->lane_count > 0 ? &judge->lanes[judge->lane_count - 1] : NULL;
        if (!lane || lane->topic_hash != message->topic_hash || lane->partition != message->partition) {
            lane = &judge->lanes[judge->lane_count++];
            *lane = (struct lane){.topic_hash = message->topic_hash,
                                  .partition = message->partition,
                                  .messages = message,
                                  .floor = -1,
                                  .tenures = malloc(TENURES_MAX * sizeof *lane->tenures)};
            judge->failed |= !lane->tenures;
        }
        lane->count++;
    }
}

static struct lane *lane_of(struct judge *judge, uint64_t topic_hash, int32_t partition)
{
    size_t low = 0, high = judge->lane_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        struct lane *lane = &judge->lanes[middle];
        int order = compare_lane(topic_hash, partition, lane->topic_hash, lane->partition);
        if (order == 0)
            return lane;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* Index of the lane's first message at or above an offset. */
static size_t place_of(const struct lane *lane, int64_t offset)
{
    int64_t guess = lane->count > 0 ? offset - lane->messages[0].offset : 0;
    if (guess >= 0 && (size_t)guess < lane->count && lane->messages[guess].offset == offset)
        return (size_t)guess;
    size_t low = 0, high = lane->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (lane->messages[middle].offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct message *message_of(struct judge *judge, const struct weir_ledger_record *record)
{
    struct lane *lane = lane_of(judge, record->topic_hash, record->partition);
    size_t place = lane ? place_of(lane, record->offset) : 0;
    return lane && place < lane->count && lane->messages[place].offset == record->offset ? &lane->messages[place]
                                                                                         : NULL;
}

static bool is_told(const struct lane *lane, int64_t offset)
{
    return offset < lane->floor ||
           (lane->has_map && offset < lane->map.end && weir_map_is_finished(&lane->map, offset));
}

/* Finished, as far as can be known: a dead letter carries no time, so that any end of a run may have been followed by
 * it. */
static bool is_finished(const struct message *message)
{
    return message->finishes > 0 || (message->letter && message->ended);
}

/* ---- progress: V5 ---- */

static void count_quiet(struct judge *judge, uint64_t now_ns)
{
    if (judge->quiet_ns > 0 && now_ns > judge->quiet_ns)
        at_most(&judge->result->longest_stall_ms, (now_ns - judge->quiet_ns) / MS_NS);
    judge->quiet_ns = judge->watching && judge->work > 0 ? now_ns : 0;
}

static void advance(struct judge *judge, struct lane *lane, uint64_t now_ns)
{
    if (lane->floor <= lane->work_floor)
        return;
    size_t from = place_of(lane, lane->work_floor), to = place_of(lane, lane->floor);
    lane->work_floor = lane->floor;
    to = to < lane->emitted ? to : lane->emitted;
    if (to <= from)
        return;
    judge->work -= to - from;
    count_quiet(judge, now_ns);
    if (judge->broker_ns > 0 && now_ns > judge->broker_ns)
        at_most(&judge->result->recovery_ms, (now_ns - judge->broker_ns) / MS_NS);
    judge->broker_ns = 0;
}

/* ---- commits ---- */

/* When a run of that message next ended with ack or skip, in ms after the commit; negative: it never did. For words. */
static double ended_after_ms(const struct judge *judge, const struct lane *lane, int64_t offset, uint64_t commit_ns)
{
    for (size_t place = 0; place < weir_ledger_count(judge->ledger); place++) {
        const struct weir_ledger_record *record = weir_ledger_at(judge->ledger, place);
        if (record && record->kind == WEIR_LEDGER_END && record->topic_hash == lane->topic_hash &&
            record->partition == lane->partition && record->offset == offset && record->monotonic_ns > commit_ns &&
            (record->outcome == WEIR_ACK || record->outcome == WEIR_SKIP))
            return (double)(record->monotonic_ns - commit_ns) / MS_NS;
    }
    return -1;
}

static void check_told(struct judge *judge, struct lane *lane, const struct weir_chaos_commit *commit)
{
    bool excuses = commit->stranger || (lane->strange && judge->terms->policy_skips);
    int64_t end = lane->has_map && lane->map.end > lane->floor ? lane->map.end : lane->floor;
    for (size_t index = place_of(lane, lane->passed); index < lane->count; index++) {
        struct message *message = &lane->messages[index];
        if (message->offset >= end)
            break;
        if (!is_told(lane, message->offset) || is_finished(message) || message->excused)
            continue;
        message->excused = true; /* or counted: once is enough */
        if (excuses)
            continue;
        judge->result->lost++;
        if (!judge->result->text[0])
            weir_chaos_blame(judge->result,
                             "partition %" PRId32 ": a commit at offset %" PRId64 " tells that offset %" PRId64
                             " is finished, which it was not (%.1f ms later; < 0: never)",
                             lane->partition, lane->floor, message->offset,
                             ended_after_ms(judge, lane, message->offset, commit->monotonic_ns));
        judge->result->ok = false;
    }
    if (lane->floor > lane->passed)
        lane->passed = lane->floor;
}

static void take_commit(struct judge *judge, const struct weir_chaos_commit *commit)
{
    struct lane *lane = lane_of(judge, commit->topic_hash, commit->partition);
    struct weir_map_log any = {0, -1};
    if (!lane)
        return;
    if (lane->has_map)
        weir_map_deinit(&lane->map);
    lane->has_map = false;
    bool beyond = commit->stranger && commit->offset > lane->messages[lane->count - 1].offset + 1;
    judge->result->moved_back += !commit->stranger && !lane->strange && commit->offset < lane->floor;
    lane->floor = beyond ? -1 : commit->offset;
    if (commit->metadata && commit->metadata[0] && !commit->stranger)
        lane->has_map = weir_map_decode(commit->metadata, strlen(commit->metadata), commit->offset, &any, &lane->map) ==
                        WEIR_MAP_VALID;
    check_told(judge, lane, commit);
    lane->strange = commit->stranger || (lane->strange && commit->offset < 0);
    advance(judge, lane, commit->monotonic_ns);
}

static void take_commits(struct judge *judge, uint64_t now_ns)
{
    while (judge->commit < judge->history->count &&
           (now_ns == UINT64_MAX || judge->history->all[judge->commit].monotonic_ns + WEIR_CHAOS_CLOCK_NS <= now_ns))
        take_commit(judge, &judge->history->all[judge->commit++]);
}

/* ---- runs: V4 ---- */

/* Somebody begins with this partition: what may come again now? */
static void bound_duplicates(struct judge *judge, const struct lane *lane)
{
    for (size_t index = place_of(lane, lane->floor); index < lane->count; index++) { /* below it all is told */
        const struct message *message = &lane->messages[index];
        if ((is_finished(message) || message->running > 0) && !is_told(lane, message->offset))
            judge->result->duplicates_bound++;
    }
}

static void take_tenure(struct judge *judge, struct lane *lane, const struct weir_ledger_record *start)
{
    if (lane->waiting_ns > 0 && (lane->owner != start->process || lane->tenure_count == 0)) {
        at_most(&judge->result->recovery_ms, (start->monotonic_ns - lane->waiting_ns) / MS_NS);
        lane->waiting_ns = 0;
    }
    for (size_t index = 0; index < lane->tenure_count; index++)
        if (lane->tenures[index].process == start->process && lane->tenures[index].epoch == start->note)
            return;
    if (lane->tenure_count == TENURES_MAX) {
        weir_chaos_blame(judge->result, "a partition had more than %d owners: the harness cannot keep them",
                         TENURES_MAX);
        return;
    }
    if (lane->tenure_count > 0)
        bound_duplicates(judge, lane);
    lane->tenures[lane->tenure_count++] = (struct tenure){start->process, start->note};
    lane->owner = start->process;
}

static void take_start(struct judge *judge, const struct weir_ledger_record *record)
{
    struct message *message = message_of(judge, record);
    if (!message) {
        judge->result->lost++;
        weir_chaos_blame(judge->result,
                         "partition %" PRId32 ": offset %" PRId64 " was handled, but is none of those produced",
                         record->partition, record->offset);
        return;
    }
    take_tenure(judge, lane_of(judge, record->topic_hash, record->partition), record);
    message->running++;
}

static void take_end(struct judge *judge, const struct weir_ledger_record *record)
{
    struct message *message = message_of(judge, record);
    if (!message)
        return;
    message->running -= message->running > 0;
    message->ended = true;
    if (record->outcome == WEIR_ACK || record->outcome == WEIR_SKIP)
        judge->result->duplicates += message->finishes++ > 0;
}

/* ---- events ---- */

static void leave_lanes(struct judge *judge, const struct weir_ledger_record *event)
{
    for (size_t index = 0; index < judge->lane_count; index++) {
        struct lane *lane = &judge->lanes[index];
        bool work = place_of(lane, lane->work_floor) < lane->emitted;
        if (lane->tenure_count > 0 && lane->owner == event->process && work && lane->waiting_ns == 0)
            lane->waiting_ns = event->monotonic_ns;
    }
}

static void take_event(struct judge *judge, const struct weir_ledger_record *event)
{
    enum { BELATED_RUNS = 8 };
    switch ((enum weir_ledger_event)event->outcome) {
    case WEIR_EVENT_STOP:
        judge->result->duplicates_bound += judge->terms->workers * BELATED_RUNS;
        judge->result->disturbances++;
        leave_lanes(judge, event);
        break;
    case WEIR_EVENT_KILL:
    case WEIR_EVENT_LEAVE:
        judge->result->disturbances++;
        leave_lanes(judge, event);
        break;
    case WEIR_EVENT_LOST:
        judge->result->duplicates_bound += judge->terms->workers;
        break;
    case WEIR_EVENT_BROKER:
        judge->result->disturbances++;
        judge->broker_away = true;
        break;
    case WEIR_EVENT_REVOKE: /* for scenarios to look at */
        break;
    case WEIR_EVENT_OTHER:
        judge->result->disturbances++;
        break;
    case WEIR_EVENT_WATCH:
    case WEIR_EVENT_UNWATCH:
        count_quiet(judge, event->monotonic_ns);
        judge->watching = event->outcome == WEIR_EVENT_WATCH;
        judge->quiet_ns = judge->watching && judge->work > 0 ? event->monotonic_ns : 0;
        if (judge->watching && judge->broker_away) {
            judge->broker_ns = event->monotonic_ns;
            judge->broker_away = false;
        }
        break;
    case WEIR_EVENT_CONTINUE:
        for (size_t index = 0; index < judge->lane_count; index++)
            if (judge->lanes[index].owner == event->process)
                judge->lanes[index].waiting_ns = 0; /* nobody had taken it over */
        break;
    }
}

static void take_emit(struct judge *judge, const struct weir_ledger_record *record)
{
    struct lane *lane = lane_of(judge, record->topic_hash, record->partition);
    lane->emitted++;
    judge->result->messages++;
    judge->work += record->offset >= lane->work_floor; /* its handler may have been quicker than this note of it */
    if (judge->quiet_ns == 0 && judge->watching)
        judge->quiet_ns = record->monotonic_ns;
}

/* ---- the whole ---- */

static void note_letters(struct judge *judge)
{
    for (size_t place = 0; place < weir_ledger_count(judge->ledger); place++) {
        const struct weir_ledger_record *record = weir_ledger_at(judge->ledger, place);
        struct message *message = record && record->kind == WEIR_LEDGER_LETTER ? message_of(judge, record) : NULL;
        if (message && message->letter)
            judge->result->duplicates++;
        if (message)
            message->letter = true;
    }
}

static void walk(struct judge *judge)
{
    for (size_t place = 0; place < weir_ledger_count(judge->ledger); place++) {
        const struct weir_ledger_record *record = weir_ledger_at(judge->ledger, place);
        if (!record || record->kind == WEIR_LEDGER_LETTER || record->kind == WEIR_LEDGER_GONE)
            continue;
        take_commits(judge, record->monotonic_ns);
        if (record->kind == WEIR_LEDGER_EMIT)
            take_emit(judge, record);
        else if (record->kind == WEIR_LEDGER_START)
            take_start(judge, record);
        else if (record->kind == WEIR_LEDGER_END)
            take_end(judge, record);
        else
            take_event(judge, record);
    }
    take_commits(judge, UINT64_MAX);
}

static void check_finished(struct judge *judge)
{
    uint64_t unfinished = 0;
    const struct message *first = NULL;
    for (size_t index = 0; index < judge->message_count; index++) {
        const struct message *message = &judge->messages[index];
        if (message->finishes > 0 || message->letter || message->excused)
            continue;
        first = first ? first : message;
        unfinished++;
    }
    if (unfinished > 0 && !judge->terms->unfinished)
        weir_chaos_blame(judge->result,
                         "%" PRIu64 " messages were never finished, the first partition %" PRId32 " offset %" PRId64,
                         unfinished, first->partition, first->offset);
}

static void check_bounds(struct judge *judge)
{
    struct weir_chaos_result *result = judge->result;
    result->duplicates_bound += judge->terms->duplicates_more;
    if (result->duplicates > result->duplicates_bound)
        weir_chaos_blame(result, "%" PRIu64 " duplicates: what was in flight or not told by commits is %" PRIu64,
                         result->duplicates, result->duplicates_bound);
    if (result->longest_stall_ms > judge->terms->stall_ms_max)
        weir_chaos_blame(result, "no floor advanced for %" PRIu64 " ms although there was work: at most %" PRIu64,
                         result->longest_stall_ms, judge->terms->stall_ms_max);
}

static void check_vacuous(struct judge *judge)
{
    struct weir_chaos_result *result = judge->result;
    uint64_t overflow = weir_ledger_overflow(judge->ledger);
    if (overflow > 0)
        weir_chaos_blame(result, "%" PRIu64 " records did not fit the ledger", overflow);
    if (result->messages == 0 || result->messages != judge->terms->messages)
        weir_chaos_blame(result, "vacuous: %" PRIu64 " messages were judged, %" PRIu64 " were to be produced",
                         result->messages, judge->terms->messages);
    if (result->disturbances == 0 || result->disturbances < judge->terms->disturbances)
        weir_chaos_blame(result, "vacuous: %" PRIu64 " disturbances took place, %" PRIu64 " were intended",
                         result->disturbances, judge->terms->disturbances);
    if (judge->commit == 0 || judge->history->count == 0)
        weir_chaos_blame(result, "vacuous: the group has committed nothing");
}

static void clear(struct judge *judge)
{
    for (size_t index = 0; index < judge->lane_count; index++) {
        if (judge->lanes[index].has_map)
            weir_map_deinit(&judge->lanes[index].map);
        free(judge->lanes[index].tenures);
    }
    free(judge->lanes);
    free(judge->messages);
}

void weir_chaos_judge(const struct weir_ledger *ledger, const struct weir_chaos_history *history,
                      const struct weir_chaos_terms *terms, struct weir_chaos_result *result)
{
    struct judge judge = {.ledger = ledger, .history = history, .terms = terms, .result = result};
    *result = (struct weir_chaos_result){.runs = 1, .ok = true, .close_ms = result->close_ms};
    list_messages(&judge);
    if (!judge.failed)
        list_lanes(&judge);
    if (!judge.failed) {
        note_letters(&judge);
        walk(&judge);
        check_finished(&judge);
        check_bounds(&judge);
        check_vacuous(&judge);
    }
    judge.failed |= !weir_chaos_judge_keys(ledger, terms, result);
    if (judge.failed)
        weir_chaos_blame(result, "memory was short: not all was judged");
    clear(&judge);
}
