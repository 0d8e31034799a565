/* See scenario.h: what all scenarios begin and end with, and what they do to members and brokers. */
#include "tests/chaos/scenario.h"
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RECORDS_EACH = 12, RECORDS_MORE = 200000, TELL_MS = 10000, DRAIN_MS = 5000, WORKERS = 4 };

void weir_scene_set(struct weir_scene *scene)
{
    scene->began_ms = scene->told_ms = weir_broker_now_ms();
    scene->ahead_ns = weir_scene_ahead_ns();
    weir_random_init(&scene->random, scene->seed);
    weir_stage_set(&scene->stage, scene->size.partitions, scene->size.messages * RECORDS_EACH + RECORDS_MORE);
    snprintf(scene->letters, sizeof scene->letters, "%.90s.dlq", scene->stage.topic.text);
    weir_broker_topic_create(scene->letters, 1, NULL);
    atomic_store(&scene->settings.sleep_us, scene->size.work_us);
    atomic_store(&scene->settings.seed, scene->seed);
    scene->terms = (struct weir_chaos_terms){.messages = scene->size.messages,
                                             .disturbances = scene->size.disturbances,
                                             .drain_ms = DRAIN_MS,
                                             .workers = WORKERS,
                                             .stall_ms_max = WEIR_SCENE_STALL_MS_MAX};
    for (unsigned member = 0; member < WEIR_SCENE_MEMBERS_MAX; member++)
        weir_member_init(&scene->members[member]);
}

/* The broker says when it has appended each, on the clock that its commits are stamped by. */
void weir_scene_emit(struct weir_scene *scene)
{
    static const char *const stamped[] = {"message.timestamp.type", "LogAppendTime", NULL};
    snprintf(scene->outputs, sizeof scene->outputs, "%.90s.out", scene->stage.topic.text);
    weir_broker_topic_create(scene->outputs, scene->size.partitions, stamped);
    snprintf(scene->settings.outputs, sizeof scene->settings.outputs, "%s", scene->outputs);
    scene->terms.outputs = true;
}

void weir_scene_produce(struct weir_scene *scene, uint64_t count)
{
    weir_stage_produce(&scene->stage, count, scene->size.keys);
}

/* ---- members ---- */

static void note(struct weir_scene *scene, enum weir_ledger_event what, unsigned member)
{
    weir_ledger_event(scene->stage.ledger, what, (uint32_t)scene->members[member].pid);
}

void weir_scene_start(struct weir_scene *scene, unsigned member, const char *const *settings)
{
    struct weir_member_board *board = scene->members[member].board, *wanted = &scene->settings;
    atomic_store(&board->kind, atomic_load(&wanted->kind));
    atomic_store(&board->sleep_us, atomic_load(&wanted->sleep_us));
    atomic_store(&board->fails_percent, atomic_load(&wanted->fails_percent));
    atomic_store(&board->hold_below, atomic_load(&wanted->hold_below));
    atomic_store(&board->long_every, atomic_load(&wanted->long_every));
    atomic_store(&board->long_ms, atomic_load(&wanted->long_ms));
    atomic_store(&board->long_each, atomic_load(&wanted->long_each));
    atomic_store(&board->late_every, atomic_load(&wanted->late_every));
    atomic_store(&board->late_ms, atomic_load(&wanted->late_ms));
    atomic_store(&board->late_held, atomic_load(&wanted->late_held));
    atomic_store(&board->rest_held, atomic_load(&wanted->rest_held));
    atomic_store(&board->dead_every, atomic_load(&wanted->dead_every));
    atomic_store(&board->poison_every, atomic_load(&wanted->poison_every));
    atomic_store(&board->busy_every, atomic_load(&wanted->busy_every));
    atomic_store(&board->crash_every, atomic_load(&wanted->crash_every));
    atomic_store(&board->seed, atomic_load(&wanted->seed));
    atomic_store(&board->down, atomic_load(&wanted->down));
    atomic_store(&board->escalate, 0);
    atomic_store(&board->resume, 0);
    memcpy(board->outputs, wanted->outputs, sizeof board->outputs);
    atomic_store(&board->breaker, WEIR_BREAKER_CLOSED);
    atomic_store(&board->breaker_openings, 0);
    atomic_store(&board->wrong, 0);
    board->stats = (struct weir_stats){0}; /* of one that is told to go before it has begun */
    scene->left_ms[member] = 0;
    weir_member_start(&scene->members[member], &scene->stage, -1, settings);
}

bool weir_scene_runs(const struct weir_scene *scene, unsigned member)
{
    return scene->members[member].pid != 0;
}

void weir_scene_kill(struct weir_scene *scene, unsigned member)
{
    note(scene, WEIR_EVENT_KILL, member);
    scene->kills++;
    weir_member_kill(&scene->members[member], &scene->stage);
}

void weir_scene_stop(struct weir_scene *scene, unsigned member)
{
    note(scene, WEIR_EVENT_STOP, member);
    weir_member_signal(&scene->members[member], SIGSTOP);
}

void weir_scene_continue(struct weir_scene *scene, unsigned member)
{
    note(scene, WEIR_EVENT_CONTINUE, member);
    weir_member_signal(&scene->members[member], SIGCONT);
}

void weir_scene_dismiss(struct weir_scene *scene, unsigned member)
{
    note(scene, WEIR_EVENT_LEAVE, member);
    scene->left_ms[member] = weir_broker_now_ms();
    weir_member_signal(&scene->members[member], SIGTERM);
}

static void add_counters(struct weir_counters *sum, const struct weir_counters *counters)
{
    uint64_t *to = (uint64_t *)sum;
    const uint64_t *from = (const uint64_t *)counters; /* they are numbers in a row */
    for (size_t index = 0; index < sizeof *sum / sizeof *to; index++)
        to[index] += from[index];
}

static uint64_t count_of(const struct weir_scene *scene, enum weir_ledger_kind kind, uint32_t process)
{
    uint64_t count = 0;
    for (size_t place = 0; place < weir_ledger_count(scene->stage.ledger); place++) {
        const struct weir_ledger_record *record = weir_scene_record(scene, place, kind);
        count += record && record->process == process;
    }
    return count;
}

/* All that were made are ended, nothing is accounted for any more, and the ledger knows as many. */
static void check_states(struct weir_scene *scene, unsigned index, uint32_t process)
{
    const struct weir_stats *stats = &scene->members[index].board->stats;
    uint64_t made = count_of(scene, WEIR_LEDGER_STATE_MADE, process);
    bool even = stats->counters.key_states_created == made && stats->counters.key_states_destroyed == made &&
                stats->key_states == 0 && stats->key_state_bytes == 0;
    if (!even)
        weir_member_show_log(&scene->members[index]);
    WEIR_SCENE_REQUIRE(scene, even,
                       "member %u has made %" PRIu64 " states: it counts %" PRIu64 " made, %" PRIu64
                       " ended, and has %" PRIu64 " of %" PRIu64 " bytes as it closes",
                       index, made, stats->counters.key_states_created, stats->counters.key_states_destroyed,
                       stats->key_states, stats->key_state_bytes);
}

/* What the board says of a member that has closed. */
static void check_code(struct weir_scene *scene, unsigned index)
{
    const struct weir_member_board *board = scene->members[index].board;
    bool escalated = scene->may_escalate && board->code == WEIR_ESCALATED;
    WEIR_SCENE_REQUIRE(scene, board->code == WEIR_OK || board->code == WEIR_UNFINISHED || escalated, "member %u: %s",
                       index, board->error.text);
    WEIR_SCENE_REQUIRE(scene, atomic_load(&board->wrong) == 0,
                       "member %u: %" PRIu64 " states were not as they should be", index, atomic_load(&board->wrong));
    scene->escalated += escalated;
    if (escalated)
        scene->said = board->error;
}

/* It closed in order; that some messages were not finished is no fault. */
static void check_closed(struct weir_scene *scene, unsigned index, uint32_t process, int status)
{
    struct weir_member *member = &scene->members[index];
    const struct weir_member_board *board = member->board;
    bool in_order = status == 0 && atomic_load(&board->closed);
    if (!in_order) {
        weir_member_show_log(member);
        cr_assert_fail("member %u ended with wait status %d, %s a report", index, status,
                       atomic_load(&board->closed) ? "with" : "without");
    }
    check_code(scene, index);
    uint64_t closed_ms = atomic_load(&board->closed_ms);
    uint64_t took_ms =
        scene->left_ms[index] > 0 && closed_ms > scene->left_ms[index] ? closed_ms - scene->left_ms[index] : 0;
    if (took_ms > scene->result->close_ms)
        scene->result->close_ms = took_ms;
    const struct weir_counters *counters = &board->stats.counters;
    uint64_t sum =
        counters->acked + counters->skipped + counters->filtered + counters->dead_lettered + counters->handed_back;
    WEIR_SCENE_REQUIRE(scene, counters->consumed == sum,
                       "member %u has consumed %" PRIu64 " messages, but finished or handed back %" PRIu64, index,
                       counters->consumed, sum);
    if (scene->terms.states)
        check_states(scene, index, process);
    add_counters(&scene->sums, counters);
}

bool weir_scene_reap(struct weir_scene *scene, unsigned index)
{
    struct weir_member *member = &scene->members[index];
    int status;
    if (member->pid == 0)
        return true;
    if (waitpid(member->pid, &status, WNOHANG) != member->pid)
        return false;
    uint32_t process = (uint32_t)member->pid;
    weir_ledger_gone(scene->stage.ledger, process);
    member->pid = 0;
    check_closed(scene, index, process, status);
    return true;
}

bool weir_scene_reap_crash(struct weir_scene *scene, unsigned index)
{
    struct weir_member *member = &scene->members[index];
    int status;
    if (member->pid == 0 || waitpid(member->pid, &status, WNOHANG) != member->pid)
        return false;
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
        weir_member_show_log(member);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "member %u ended with wait status %d", index, status);
    note(scene, WEIR_EVENT_CRASH, index);
    weir_ledger_gone(scene->stage.ledger, (uint32_t)member->pid);
    member->pid = 0;
    scene->kills++;
    return true;
}

void weir_scene_down(struct weir_scene *scene, uint64_t down)
{
    atomic_store(&scene->settings.down, down);
    for (unsigned member = 0; member < WEIR_SCENE_MEMBERS_MAX; member++)
        atomic_store(&scene->members[member].board->down, down);
}

void weir_scene_leave(struct weir_scene *scene, unsigned member)
{
    weir_scene_dismiss(scene, member);
    WEIR_SCENE_UNTIL(scene, 2 * WEIR_BROKER_WAIT_MS, weir_scene_reap(scene, member));
}

void weir_scene_broker(struct weir_scene *scene, const char *command)
{
    weir_scene_watch(scene, false);
    weir_ledger_event(scene->stage.ledger, WEIR_EVENT_BROKER, 0);
    weir_broker_control(command);
}

void weir_scene_broker_back(struct weir_scene *scene, const char *command)
{
    weir_broker_control(command);
    weir_scene_watch(scene, true);
}

void weir_scene_other(struct weir_scene *scene)
{
    weir_ledger_event(scene->stage.ledger, WEIR_EVENT_OTHER, 0);
}

void weir_scene_watch(struct weir_scene *scene, bool expected)
{
    weir_ledger_event(scene->stage.ledger, expected ? WEIR_EVENT_WATCH : WEIR_EVENT_UNWATCH, 0);
}

/* ---- time ---- */

uint64_t weir_scene_below(struct weir_scene *scene, uint64_t bound)
{
    return weir_random_below(&scene->random, bound);
}

uint64_t weir_scene_finished(const struct weir_scene *scene)
{
    uint64_t finished = 0;
    for (unsigned member = 0; member < WEIR_SCENE_MEMBERS_MAX; member++)
        finished += atomic_load(&scene->members[member].board->finished);
    return finished;
}

void weir_scene_tell(struct weir_scene *scene)
{
    unsigned running = 0;
    if (weir_broker_now_ms() - scene->told_ms < TELL_MS)
        return;
    scene->told_ms = weir_broker_now_ms();
    for (unsigned member = 0; member < WEIR_SCENE_MEMBERS_MAX; member++)
        running += weir_scene_runs(scene, member);
    fprintf(stderr, "%s: %" PRIu64 " s, %" PRIu64 " of %" PRIu64 " finished, %u members\n", scene->scenario->name,
            (scene->told_ms - scene->began_ms) / 1000, weir_scene_finished(scene), scene->stage.produced, running);
}

void weir_scene_sleep(struct weir_scene *scene, uint64_t duration_ms)
{
    for (uint64_t until_ms = weir_broker_now_ms() + duration_ms; weir_broker_now_ms() < until_ms;)
        weir_broker_pause_briefly();
    weir_scene_tell(scene);
}

bool weir_scene_is_done(const struct weir_scene *scene)
{
    if (weir_scene_finished(scene) + scene->stage.produced / 2 < scene->stage.produced)
        return false; /* cheap, and enough most of the time */
    return weir_stage_committed(&scene->stage) == (int64_t)scene->stage.produced;
}

void weir_scene_finish(struct weir_scene *scene, uint64_t limit_ms)
{
    uint64_t deadline_ms = weir_broker_now_ms() + limit_ms;
    while (!weir_scene_is_done(scene) && weir_broker_now_ms() < deadline_ms)
        weir_scene_sleep(scene, 300);
    weir_scene_watch(scene, false);
    if (!weir_scene_is_done(scene)) {
        weir_chaos_blame(scene->result, "not all was committed within %" PRIu64 " ms", limit_ms);
        for (unsigned member = 0; member < WEIR_SCENE_MEMBERS_MAX; member++)
            if (weir_scene_runs(scene, member))
                weir_member_show_log(&scene->members[member]);
    }
}

/* ---- the end ---- */

static bool header_text(rd_kafka_headers_t *headers, const char *name, char *text, size_t size)
{
    const void *value;
    size_t value_size;
    if (rd_kafka_header_get_last(headers, name, &value, &value_size) != RD_KAFKA_RESP_ERR_NO_ERROR ||
        value_size >= size)
        return false;
    memcpy(text, value, value_size);
    text[value_size] = '\0';
    return true;
}

static void note_letter(void *user, rd_kafka_message_t *letter)
{
    struct weir_scene *scene = user;
    rd_kafka_headers_t *headers;
    char topic[256], partition[32], offset[32], reason[64];
    bool whole = rd_kafka_message_headers(letter, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR &&
                 header_text(headers, "__dlq.errors.topic", topic, sizeof topic) &&
                 header_text(headers, "__dlq.errors.partition", partition, sizeof partition) &&
                 header_text(headers, "__dlq.errors.offset", offset, sizeof offset);
    if (whole && !header_text(headers, "weir.dlq.reason", reason, sizeof reason))
        reason[0] = '\0';
    if (whole && scene->letter_reason && strcmp(reason, scene->letter_reason) != 0)
        weir_chaos_blame(scene->result, "partition %s: offset %s is dead for \"%s\", not for \"%s\"", partition, offset,
                         reason, scene->letter_reason);
    scene->letter_count++;
    if (whole)
        weir_ledger_letter(scene->stage.ledger, topic, (int32_t)strtol(partition, NULL, 10), strtoll(offset, NULL, 10));
    else
        weir_chaos_blame(scene->result, "a dead letter does not say whose it is");
}

/* "PARTITION OFFSET PROCESS EPOCH ATTEMPT", see rule.c. */
static void note_output(void *user, rd_kafka_message_t *output)
{
    struct weir_scene *scene = user;
    struct weir_ledger_record record = {.kind = WEIR_LEDGER_OUTPUT,
                                        .topic_hash =
                                            weir_ledger_hash(scene->stage.topic.text, strlen(scene->stage.topic.text)),
                                        .key_hash = weir_ledger_key_hash(output->key, output->key_len)};
    rd_kafka_timestamp_type_t type;
    int64_t time_ms = rd_kafka_message_timestamp(output, &type);
    char text[96];
    snprintf(text, sizeof text, "%.*s", (int)output->len, (const char *)output->payload);
    int count = sscanf(text, "%" SCNd32 " %" SCNd64 " %" SCNu32 " %" SCNu64 " %" SCNu32, &record.partition,
                       &record.offset, &record.process, &record.note, &record.attempt);
    cr_assert(count == 5 && type == RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME, "an output says \"%s\"", text);
    record.monotonic_ns = (uint64_t)(time_ms * 1000000 - scene->ahead_ns);
    cr_assert(weir_ledger_write(scene->stage.ledger, &record), "the ledger is full");
}

const struct weir_ledger_record *weir_scene_record(const struct weir_scene *scene, size_t place,
                                                   enum weir_ledger_kind kind)
{
    const struct weir_ledger_record *record = weir_ledger_at(scene->stage.ledger, place);
    return record && record->kind == kind ? record : NULL;
}

static void close_members(struct weir_scene *scene)
{
    for (unsigned member = 0; member < WEIR_SCENE_MEMBERS_MAX; member++)
        if (weir_scene_runs(scene, member) && scene->left_ms[member] == 0) {
            scene->left_ms[member] = weir_broker_now_ms(); /* the end, no disturbance: the ledger is not told */
            weir_member_signal(&scene->members[member], SIGTERM);
        }
    for (unsigned member = 0; member < WEIR_SCENE_MEMBERS_MAX; member++)
        WEIR_SCENE_UNTIL(scene, 2 * WEIR_BROKER_WAIT_MS, weir_scene_reap(scene, member));
}

void weir_scene_end(struct weir_scene *scene)
{
    scene->is_over = true;
    weir_scene_watch(scene, false);
    close_members(scene);
    weir_broker_read(scene->letters, note_letter, scene);
    if (scene->outputs[0])
        weir_broker_read(scene->outputs, note_output, scene);
}

void weir_scene_judge(struct weir_scene *scene)
{
    struct weir_chaos_history history;
    struct weir_chaos_result before;
    if (!scene->is_over)
        weir_scene_end(scene);
    weir_scene_history(scene->stage.group.text, scene, &history);
    before = *scene->result; /* what the scenario itself found */
    weir_chaos_judge(scene->stage.ledger, &history, &scene->terms, scene->result);
    if (before.text[0]) {
        memcpy(scene->result->text, before.text, sizeof before.text);
        scene->result->ok = false;
    }
    weir_chaos_history_deinit(&history);
    weir_broker_topic_delete(scene->letters);
    if (scene->outputs[0])
        weir_broker_topic_delete(scene->outputs);
    weir_stage_clear(&scene->stage);
}
