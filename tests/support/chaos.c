/*
 * The verdicts of chaos.h but for V2 and V3 (chaos_keys.c) and those of features, which have files of their own. One
 * walk over the ledger in its order, into which the group's commits are merged by their time.
 *
 * Invariant: what a lane has been told is its last commit whose time has come.
 */
#include "tests/support/chaos_lanes.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MS_NS = 1000000 };

struct judge {
    const struct weir_ledger *ledger;
    const struct weir_chaos_history *history;
    const struct weir_chaos_terms *terms;
    struct weir_chaos_result *result;
    struct weir_chaos_lanes lanes;
    size_t commit; /* next of the history */
    bool watching, failed;
    uint64_t work;      /* messages above the floors */
    uint64_t quiet_ns;  /* since when no floor advanced although there was work; 0: not so */
    bool broker_away;   /* a broker was disturbed; recovery counts from when progress is expected again */
    uint64_t broker_ns; /* since when an advance is waited for; 0: none is */
};

static void at_most(uint64_t *most, uint64_t value)
{
    *most = value > *most ? value : *most;
}

static bool is_told(const struct weir_chaos_lane *lane, int64_t offset)
{
    return offset < lane->floor ||
           (lane->has_map && offset < lane->map.end && weir_map_is_finished(&lane->map, offset));
}

/* Finished, as far as can be known: a dead letter carries no time, so that any end of a run may have been followed by
 * it; and filters leave no trace but the letters of what is too old. */
static bool is_finished(const struct weir_chaos_message *message)
{
    return message->finishes > 0 || (message->letter && (message->ended || message->class == WEIR_CLASS_EXPIRED));
}

/* May a commit of that moment tell so? */
static bool may_be_told(const struct judge *judge, const struct weir_chaos_message *message, uint64_t commit_ns)
{
    if (message->excused || message->class == WEIR_CLASS_UNWANTED || message->class == WEIR_CLASS_STALE)
        return true;
    bool sent = !judge->terms->outputs || message->letter || message->output_ns <= commit_ns;
    return is_finished(message) && sent;
}

/* ---- progress: V5 ---- */

static void count_quiet(struct judge *judge, uint64_t now_ns)
{
    if (judge->quiet_ns > 0 && now_ns > judge->quiet_ns)
        at_most(&judge->result->longest_stall_ms, (now_ns - judge->quiet_ns) / MS_NS);
    judge->quiet_ns = judge->watching && judge->work > 0 ? now_ns : 0;
}

static void advance(struct judge *judge, struct weir_chaos_lane *lane, uint64_t now_ns)
{
    if (lane->floor <= lane->work_floor)
        return;
    size_t from = weir_chaos_place_of(lane, lane->work_floor), to = weir_chaos_place_of(lane, lane->floor);
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
static double ended_after_ms(const struct judge *judge, const struct weir_chaos_lane *lane, int64_t offset,
                             uint64_t commit_ns)
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

static void check_told(struct judge *judge, struct weir_chaos_lane *lane, const struct weir_chaos_commit *commit)
{
    bool excuses = commit->stranger || (lane->strange && judge->terms->policy_skips);
    int64_t end = lane->has_map && lane->map.end > lane->floor ? lane->map.end : lane->floor;
    for (size_t index = weir_chaos_place_of(lane, lane->passed); index < lane->count; index++) {
        struct weir_chaos_message *message = &lane->messages[index];
        if (message->offset >= end)
            break;
        if (!is_told(lane, message->offset) || may_be_told(judge, message, commit->monotonic_ns))
            continue;
        message->excused = true; /* or counted: once is enough */
        if (excuses)
            continue;
        judge->result->lost++;
        if (!judge->result->text[0])
            weir_chaos_blame(judge->result,
                             "partition %" PRId32 ": a commit at offset %" PRId64 " tells that offset %" PRId64
                             " is finished, which it was not (%s%.1f ms later; < 0: never)",
                             lane->partition, lane->floor, message->offset,
                             is_finished(message) ? "what it emitted was not in the log; it ran again " : "",
                             ended_after_ms(judge, lane, message->offset, commit->monotonic_ns));
        judge->result->ok = false;
    }
    if (lane->floor > lane->passed)
        lane->passed = lane->floor;
}

static void take_commit(struct judge *judge, const struct weir_chaos_commit *commit)
{
    struct weir_chaos_lane *lane = weir_chaos_lane_of(&judge->lanes, commit->topic_hash, commit->partition);
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
static void bound_duplicates(struct judge *judge, const struct weir_chaos_lane *lane)
{
    for (size_t index = weir_chaos_place_of(lane, lane->floor); index < lane->count;
         index++) { /* below it all is told */
        const struct weir_chaos_message *message = &lane->messages[index];
        bool begun = message->class != WEIR_CLASS_EXPIRED || message->offset <= lane->started;
        if (begun && (is_finished(message) || message->running > 0) && !is_told(lane, message->offset))
            judge->result->duplicates_bound++;
    }
}

static void take_tenure(struct judge *judge, struct weir_chaos_lane *lane, const struct weir_ledger_record *start)
{
    if (lane->waiting_ns > 0 && (lane->owner != start->process || lane->tenure_count == 0)) {
        at_most(&judge->result->recovery_ms, (start->monotonic_ns - lane->waiting_ns) / MS_NS);
        lane->waiting_ns = 0;
    }
    for (size_t index = 0; index < lane->tenure_count; index++)
        if (lane->tenures[index].process == start->process && lane->tenures[index].epoch == start->note)
            return;
    if (lane->tenure_count == WEIR_CHAOS_TENURES_MAX) {
        weir_chaos_blame(judge->result, "a partition had more than %d owners: the harness cannot keep them",
                         WEIR_CHAOS_TENURES_MAX);
        return;
    }
    if (lane->tenure_count > 0)
        bound_duplicates(judge, lane);
    lane->tenures[lane->tenure_count++] = (struct weir_chaos_tenure){start->process, start->note};
    lane->owner = start->process;
}

static void take_start(struct judge *judge, const struct weir_ledger_record *record)
{
    struct weir_chaos_message *message = weir_chaos_message_of(&judge->lanes, record);
    if (!message) {
        judge->result->lost++;
        weir_chaos_blame(judge->result,
                         "partition %" PRId32 ": offset %" PRId64 " was handled, but is none of those produced",
                         record->partition, record->offset);
        return;
    }
    struct weir_chaos_lane *lane = weir_chaos_lane_of(&judge->lanes, record->topic_hash, record->partition);
    take_tenure(judge, lane, record);
    lane->started = record->offset > lane->started ? record->offset : lane->started;
    message->running++;
}

static void take_end(struct judge *judge, const struct weir_ledger_record *record)
{
    struct weir_chaos_message *message = weir_chaos_message_of(&judge->lanes, record);
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
    for (size_t index = 0; index < judge->lanes.lane_count; index++) {
        struct weir_chaos_lane *lane = &judge->lanes.lanes[index];
        bool work = weir_chaos_place_of(lane, lane->work_floor) < lane->emitted;
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
    case WEIR_EVENT_CRASH:
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
        for (size_t index = 0; index < judge->lanes.lane_count; index++)
            if (judge->lanes.lanes[index].owner == event->process)
                judge->lanes.lanes[index].waiting_ns = 0; /* nobody had taken it over */
        break;
    }
}

static void take_emit(struct judge *judge, const struct weir_ledger_record *record)
{
    struct weir_chaos_lane *lane = weir_chaos_lane_of(&judge->lanes, record->topic_hash, record->partition);
    lane->emitted++;
    judge->result->messages++;
    judge->work += record->offset >= lane->work_floor; /* its handler may have been quicker than this note of it */
    if (judge->quiet_ns == 0 && judge->watching)
        judge->quiet_ns = record->monotonic_ns;
}

/* ---- the whole ---- */

/* What was read back: letters, and outputs, of which the first counts. */
static void take_read_back(struct judge *judge, const struct weir_ledger_record *record)
{
    struct weir_chaos_message *message = weir_chaos_message_of(&judge->lanes, record);
    if (!message)
        return;
    if (record->kind == WEIR_LEDGER_OUTPUT) {
        if (record->monotonic_ns < message->output_ns)
            message->output_ns = record->monotonic_ns;
        return;
    }
    judge->result->duplicates += message->letter;
    message->letter = true;
}

static void note_read_back(struct judge *judge)
{
    for (size_t place = 0; place < weir_ledger_count(judge->ledger); place++) {
        const struct weir_ledger_record *record = weir_ledger_at(judge->ledger, place);
        if (record && (record->kind == WEIR_LEDGER_LETTER || record->kind == WEIR_LEDGER_OUTPUT))
            take_read_back(judge, record);
    }
}

static void take_record(struct judge *judge, const struct weir_ledger_record *record)
{
    switch ((enum weir_ledger_kind)record->kind) {
    case WEIR_LEDGER_EMIT:
        take_emit(judge, record);
        break;
    case WEIR_LEDGER_START:
        take_start(judge, record);
        break;
    case WEIR_LEDGER_END:
        take_end(judge, record);
        break;
    case WEIR_LEDGER_EVENT:
        take_event(judge, record);
        break;
    default: /* of the other verdicts, or looked at before */
        break;
    }
}

static void walk(struct judge *judge)
{
    for (size_t place = 0; place < weir_ledger_count(judge->ledger); place++) {
        const struct weir_ledger_record *record = weir_ledger_at(judge->ledger, place);
        if (!record || record->kind == WEIR_LEDGER_LETTER || record->kind == WEIR_LEDGER_OUTPUT ||
            record->kind == WEIR_LEDGER_GONE)
            continue;
        take_commits(judge, record->monotonic_ns);
        take_record(judge, record);
    }
    take_commits(judge, UINT64_MAX);
}

/* Is there nothing left to be done about it? That of stale ones is for F4 to say. */
static bool is_over(const struct weir_chaos_message *message)
{
    return message->finishes > 0 || message->letter || message->excused || message->class == WEIR_CLASS_UNWANTED ||
           message->class == WEIR_CLASS_STALE;
}

static void check_finished(struct judge *judge)
{
    uint64_t unfinished = 0;
    const struct weir_chaos_message *first = NULL;
    for (size_t index = 0; index < judge->lanes.message_count; index++) {
        const struct weir_chaos_message *message = &judge->lanes.messages[index];
        if (is_over(message))
            continue;
        first = first ? first : message;
        unfinished++;
    }
    if (unfinished > 0 && !judge->terms->unfinished)
        weir_chaos_blame(judge->result,
                         "%" PRIu64 " messages were never finished, the first partition %" PRId32 " offset %" PRId64,
                         unfinished, first->partition, first->offset);
}

/* At the end all is committed, so what a finished message has emitted is there. */
static void check_outputs(struct judge *judge)
{
    for (size_t index = 0; index < judge->lanes.message_count && judge->terms->outputs; index++) {
        const struct weir_chaos_message *message = &judge->lanes.messages[index];
        if (message->finishes == 0 || message->letter || message->output_ns != UINT64_MAX)
            continue;
        judge->result->lost++;
        weir_chaos_blame(judge->result,
                         "partition %" PRId32 ": offset %" PRId64 " was finished, and what it emitted is not there",
                         message->partition, message->offset);
    }
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

static bool judge_features(const struct weir_ledger *ledger, const struct weir_chaos_terms *terms,
                           struct weir_chaos_result *result)
{
    return (!terms->batches || weir_chaos_judge_batches(ledger, terms, result)) &&
           (!terms->states || weir_chaos_judge_states(ledger, terms, result)) &&
           (!terms->outputs || weir_chaos_judge_outputs(ledger, terms, result)) &&
           (!terms->filters || weir_chaos_judge_filters(ledger, terms, result)) &&
           weir_chaos_judge_rates(ledger, terms, result) &&
           (!terms->spares_attempts || weir_chaos_judge_attempts(ledger, terms, result));
}

void weir_chaos_judge(const struct weir_ledger *ledger, const struct weir_chaos_history *history,
                      const struct weir_chaos_terms *terms, struct weir_chaos_result *result)
{
    struct judge judge = {.ledger = ledger, .history = history, .terms = terms, .result = result};
    *result = (struct weir_chaos_result){.runs = 1, .ok = true, .close_ms = result->close_ms};
    judge.failed = !weir_chaos_lanes_init(&judge.lanes, ledger);
    if (!judge.failed) {
        note_read_back(&judge);
        walk(&judge);
        check_finished(&judge);
        check_outputs(&judge);
        check_bounds(&judge);
        check_vacuous(&judge);
    }
    judge.failed |= !weir_chaos_judge_keys(ledger, terms, result) || !judge_features(ledger, terms, result);
    if (judge.failed)
        weir_chaos_blame(result, "memory was short: not all was judged");
    weir_chaos_lanes_deinit(&judge.lanes);
}
