/*
 * The kit's ledger: every run, answer, dead letter and commit, checked as it happens; <weir/testkit.h> lists the checks
 * at weir_testkit_verdict(). See internal.h.
 */
#include "actors/map.h"
#include "runtime/check.h"
#include "testkit/internal.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void weir_kit_violate(struct weir_testkit *kit, const char *format, ...)
{
    if (kit->violation_count++ > 0)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(kit->violation, sizeof kit->violation, format, arguments);
    va_end(arguments);
    weir_kit_trace(kit, "BROKEN: %s", kit->violation);
}

const char *weir_kit_outcome_name(enum weir_outcome outcome)
{
    static const char *const names[] = {"ack", "skip", "retry", "dead", "overloaded", "later", "escalate"};
    return (size_t)outcome < WEIR_COUNT(names) ? names[outcome] : "nothing known";
}

bool weir_kit_is_over(const struct weir_testkit_message *message)
{
    return message->finished || message->letter;
}

/* ---- messages ---- */

static struct kit_lane *lane_of(struct weir_testkit *kit, const struct kit_log *log, const void *key, size_t key_size)
{
    uint64_t hash = weir_key_hash(key, key_size) ^ (uintptr_t)log->partition * UINT64_C(0x9e3779b97f4a7c15);
    struct kit_lane **bucket = &kit->lanes[hash % KIT_LANE_BUCKETS];
    for (struct kit_lane *lane = *bucket; lane; lane = lane->next) {
        if (lane->log == log && (lane->key == NULL) == (key == NULL) && lane->key_size == key_size &&
            (key_size == 0 || memcmp(lane->key, key, key_size) == 0))
            return lane;
    }
    struct kit_lane *lane = weir_kit_allocate(sizeof *lane);
    *lane = (struct kit_lane){
        .next = *bucket, .log = log, .key = key ? weir_kit_copy(key, key_size) : NULL, .key_size = key_size};
    return *bucket = lane;
}

/* What the configuration makes of a message with this key: NULL for one that is in no order. */
static struct kit_lane *choose_lane(struct weir_testkit *kit, const struct kit_log *log, const void *key,
                                    size_t key_size)
{
    const struct weir_options *options = weir_config_options(kit->config);
    if (options->ordering == WEIR_ORDERING_NONE ||
        (options->ordering == WEIR_ORDERING_KEY && !key && options->null_keys == WEIR_NULL_KEYS_SPREAD))
        return NULL;
    if (options->ordering == WEIR_ORDERING_PARTITION)
        return lane_of(kit, log, NULL, 0);
    return lane_of(kit, log, key, key_size);
}

/* In the order of its lane: what was written in a transaction is known when that is committed, and others may have been
 * sent meanwhile. */
static void enter_lane(struct weir_testkit_message *message)
{
    struct weir_testkit_message **link = &message->lane->produced;
    while (*link && (*link)->offset > message->offset)
        link = &(*link)->before;
    message->before = *link;
    *link = message;
}

void weir_kit_sent(struct weir_testkit *kit, struct kit_log *log, int64_t offset,
                   const struct weir_testkit_record *record)
{
    struct weir_testkit_message *message = weir_kit_allocate(sizeof *message);
    message->kit = kit;
    message->log = log;
    message->offset = offset;
    message->lane = choose_lane(kit, log, record->key, record->key_size);
    if (message->lane)
        enter_lane(message);
    while ((int64_t)log->count <= offset) { /* T3 */
        log->messages = weir_kit_grow(log->messages, log->count, &log->capacity, sizeof(struct weir_testkit_message *));
        log->messages[log->count++] = NULL;
    }
    WEIR_CHECK(log->messages[offset] == NULL);
    log->messages[offset] = message;
    kit->sent++;
}

/* ---- checks at the beginning of a run ---- */

static void check_alone(struct weir_testkit *kit, const struct weir_testkit_message *message, unsigned process)
{
    for (size_t i = 0; i < kit->open_count; i++) {
        const struct weir_testkit_message *other = kit->open[i].message;
        if (other->lane == message->lane && other->runs[kit->open[i].run].process == process && !other->letter)
            weir_kit_violate(kit, "%s/%d at %" PRId64 " starts while offset %" PRId64 " of its key is being handled",
                             message->log->topic, (int)message->log->partition, message->offset, other->offset);
    }
}

static void check_order(struct weir_testkit *kit, const struct weir_testkit_message *message, unsigned process,
                        uint64_t assignment)
{
    const struct kit_log *log = message->log;
    const struct kit_lane *lane = message->lane;
    const struct weir_testkit_message *last = lane->last;
    if (message->run_count == 0 && message->before && !weir_kit_is_over(message->before))
        weir_kit_violate(kit, "%s/%d at %" PRId64 " starts before offset %" PRId64 " of its key is over", log->topic,
                         (int)log->partition, message->offset, message->before->offset);
    if (!last || lane->process != process || lane->assignment != assignment)
        return;
    if (message->offset < last->offset)
        weir_kit_violate(kit, "%s/%d at %" PRId64 " starts after offset %" PRId64 " of its key, in one assignment",
                         log->topic, (int)log->partition, message->offset, last->offset);
    else if (message->offset > last->offset && !weir_kit_is_over(last))
        weir_kit_violate(kit,
                         "%s/%d at %" PRId64 " starts though offset %" PRId64 " of its key, which ran, is not over",
                         log->topic, (int)log->partition, message->offset, last->offset);
}

/* It was acked or skipped by a run of this assignment. */
static bool has_finished_here(const struct weir_testkit_message *message, unsigned process, uint64_t assignment)
{
    for (size_t i = 0; i < message->run_count; i++) {
        const struct kit_run *run = &message->runs[i];
        if (!run->open && run->process == process && run->assignment == assignment && run->unwritten == 0 &&
            (run->outcome == WEIR_ACK || run->outcome == WEIR_SKIP))
            return true;
    }
    return false;
}

static bool is_as_sent(const struct weir_testkit *kit, const struct kit_log *log, const struct weir_message *message)
{
    struct weir_fake_record sent;
    return weir_fake_read(kit->cluster, log->topic, log->partition, message->offset, &sent) &&
           sent.offset == message->offset && sent.key_size == message->key_size &&
           sent.value_size == message->value_size && (sent.key == NULL) == (message->key == NULL) &&
           (sent.key_size == 0 || memcmp(sent.key, message->key, sent.key_size) == 0) &&
           (sent.value_size == 0 || memcmp(sent.value, message->value, sent.value_size) == 0);
}

/* ---- runs ---- */

static struct kit_run *run_begin(struct kit_process *process, struct weir_testkit_message *sent,
                                 const struct weir_message *message)
{
    struct weir_testkit *kit = process->kit;
    const struct kit_log *log = sent->log;
    uint64_t assignment = weir_fake_client_assignments(process->kafka, log->topic, log->partition);
    if (weir_config_options(kit->config)->delivery == WEIR_EXACTLY_ONCE)
        assignment += message->epoch << 16; /* of which a producer that fails begins another */
    if (!weir_fake_client_holds(process->kafka, log->topic, log->partition))
        weir_kit_violate(kit, "%s/%d at %" PRId64 " starts in a consumer that does not hold the partition", log->topic,
                         (int)log->partition, sent->offset);
    if (has_finished_here(sent, process->number, assignment))
        weir_kit_violate(kit, "%s/%d at %" PRId64 " runs again in the assignment that finished it", log->topic,
                         (int)log->partition, sent->offset);
    if (sent->lane) {
        check_alone(kit, sent, process->number);
        if (kit->batch > 0)
            weir_kit_check_batch(kit, sent, process->number, assignment);
        else
            check_order(kit, sent, process->number, assignment);
        sent->lane->last = sent;
        sent->lane->process = process->number;
        sent->lane->assignment = assignment;
    }
    sent->runs = weir_kit_grow(sent->runs, sent->run_count, &sent->run_capacity, sizeof *sent->runs);
    struct kit_run *run = &sent->runs[sent->run_count++];
    *run = (struct kit_run){.begin_ns = weir_simulation_now_ns(kit->simulation),
                            .assignment = assignment,
                            .outcome = WEIR_LATER,
                            .attempt = weir_message_attempt(message),
                            .process = process->number,
                            .batch = kit->batch,
                            .open = true};
    kit->runs++;
    return run;
}

void weir_kit_finished(struct weir_testkit_message *sent, enum weir_outcome outcome)
{
    struct weir_testkit *kit = sent->kit;
    kit->duplicates += sent->finished;
    kit->over += !weir_kit_is_over(sent);
    if (!sent->finished)
        sent->outcome = outcome;
    sent->finished = true;
}

/* message: for what it has emitted; NULL where that does not count. */
static void run_end(struct weir_testkit_message *sent, struct kit_run *run, enum weir_outcome outcome,
                    const struct weir_message *message)
{
    struct weir_testkit *kit = sent->kit;
    run->open = false;
    run->outcome = outcome;
    run->end_ns = weir_simulation_now_ns(kit->simulation);
    weir_kit_trace(kit, "%s/%d at %" PRId64 ": run %zu, attempt %u, answers %s", sent->log->topic,
                   (int)sent->log->partition, sent->offset, (size_t)(run - sent->runs) + 1, run->attempt,
                   weir_kit_outcome_name(outcome));
    if (outcome != WEIR_ACK && outcome != WEIR_SKIP)
        return;
    if (message)
        weir_kit_run_emitted(run, message);
    if (run->emitted == 0)
        weir_kit_finished(sent, outcome);
}

/* The handler answered WEIR_LATER: the handle may have been answered already; without one nobody can, and Weir takes it
 * for a retry. */
static void run_given_out(struct weir_testkit_message *sent, struct kit_run *run, struct weir_message *message)
{
    struct weir_testkit *kit = sent->kit;
    if (weir_message_later_state(message) == WEIR_LATER_IDLE) {
        run_end(sent, run, WEIR_RETRY, NULL);
        return;
    }
    run->message = message;
    run->generation = weir_message_later(message).generation; /* taken already: the same again */
    kit->open = weir_kit_grow(kit->open, kit->open_count, &kit->open_capacity, sizeof *kit->open);
    kit->open[kit->open_count++] = (struct kit_open){sent, (size_t)(run - sent->runs)};
    weir_kit_trace(kit, "%s/%d at %" PRId64 ": run %zu is given out", sent->log->topic, (int)sent->log->partition,
                   sent->offset, (size_t)(run - sent->runs) + 1);
}

void weir_kit_filtered(struct weir_message *message, void *user)
{
    const struct kit_process *process = user;
    struct weir_testkit *kit = process->kit;
    struct kit_log *log = weir_kit_log(kit, weir_message_topic(message), weir_message_partition(message));
    int64_t offset = weir_message_offset(message);
    if (!log || offset < 0 || (uint64_t)offset >= log->count)
        return; /* a run of it is a violation, and is told of there */
    struct weir_testkit_message *sent = log->messages[offset];
    weir_kit_trace(kit, "%s/%d at %" PRId64 ": filtered", log->topic, (int)log->partition, offset);
    weir_kit_finished(sent, WEIR_SKIP);
}

struct weir_testkit_message *weir_kit_run_begin(struct kit_process *process, struct weir_message *message, size_t *run)
{
    struct weir_testkit *kit = process->kit;
    struct kit_log *log = weir_kit_log(kit, weir_message_topic(message), weir_message_partition(message));
    int64_t offset = weir_message_offset(message);
    if (!log || offset < 0 || (uint64_t)offset >= log->count || !log->messages[offset] ||
        !is_as_sent(kit, log, message)) {
        weir_kit_violate(kit, "%s/%d at %" PRId64 ": a run of what was not sent so", weir_message_topic(message),
                         (int)weir_message_partition(message), offset);
        return NULL;
    }
    struct weir_testkit_message *sent = log->messages[offset];
    *run = (size_t)(run_begin(process, sent, message) - sent->runs);
    return sent;
}

void weir_kit_run_end(struct weir_testkit_message *sent, size_t run, enum weir_outcome outcome,
                      const struct weir_message *message)
{
    run_end(sent, &sent->runs[run], outcome, message);
}

enum weir_outcome weir_kit_handle(struct weir_message *message, void *user)
{
    struct kit_process *process = user;
    struct weir_testkit *kit = process->kit;
    size_t index;
    struct weir_testkit_message *sent = weir_kit_run_begin(process, message, &index);
    if (!sent)
        return WEIR_ACK;
    kit->in_handler++;
    enum weir_outcome outcome = kit->handler(message, kit->user);
    kit->in_handler--;
    struct kit_run *run = &sent->runs[index];
    if (outcome == WEIR_LATER)
        run_given_out(sent, run, message);
    else
        run_end(sent, run, (int)outcome < WEIR_ACK || outcome > WEIR_ESCALATE ? WEIR_RETRY : outcome, message);
    weir_kit_look_at_handles(kit);
    return outcome;
}

/* ---- handles ---- */

/* Has it been answered? */
static bool take_answer(const struct kit_open *open)
{
    struct kit_run *run = &open->message->runs[open->run];
    uint64_t word = atomic_load_explicit(&run->message->later, memory_order_acquire);
    bool same = word >> 2 == run->generation; /* see actors/message.c */
    if (same && weir_message_later_state(run->message) != WEIR_LATER_FINISHED)
        return false;
    run_end(open->message, run, same ? (enum weir_outcome)run->message->later_outcome : WEIR_LATER,
            same ? run->message : NULL);
    return true;
}

void weir_kit_look_at_handles(struct weir_testkit *kit)
{
    for (size_t i = kit->open_count; i-- > 0;) {
        if (take_answer(&kit->open[i]))
            kit->open[i] = kit->open[--kit->open_count];
    }
}

void weir_kit_make_stale(struct weir_testkit *kit, const struct kit_process *process)
{
    for (size_t i = kit->open_count; i-- > 0;) {
        struct kit_run *run = &kit->open[i].message->runs[kit->open[i].run];
        if (process && run->process != process->number)
            continue;
        weir_later_finish((struct weir_later){run->message, run->generation}, WEIR_RETRY);
        run->open = false; /* and nobody ever answers */
        kit->open[i] = kit->open[--kit->open_count];
    }
}

/* ---- dead letters ---- */

/* Names of the source's coordinates and of the reason, by profile; of numbers in bytes their size. */
static const struct profile {
    const char *topic, *partition, *offset, *reason;
    size_t partition_bytes, offset_bytes; /* 0: text */
} profiles[] = {
    [WEIR_DLQ_KIP1191] = {"__dlq.errors.topic", "__dlq.errors.partition", "__dlq.errors.offset", "__dlq.errors.message",
                          0, 0},
    [WEIR_DLQ_SPRING] = {"kafka_dlt-original-topic", "kafka_dlt-original-partition", "kafka_dlt-original-offset",
                         "kafka_dlt-exception-message", 4, 8},
    [WEIR_DLQ_KARAFKA] = {"source_topic", "source_partition", "source_offset", NULL, 0, 0},
    [WEIR_DLQ_CONNECT] = {"__connect.errors.topic", "__connect.errors.partition", "__connect.errors.offset",
                          "__connect.errors.exception.message", 0, 0},
};

static char *text_in(const struct weir_testkit_record *record, const char *name)
{
    size_t size = 0;
    const void *value = name ? weir_testkit_header(record, name, &size) : NULL;
    return value ? weir_kit_copy(value, size) : NULL;
}

static int64_t number_in(const struct weir_testkit_record *record, const char *name, size_t bytes)
{
    size_t size = 0;
    const unsigned char *value = weir_testkit_header(record, name, &size);
    char text[24] = "";
    if (!value || size >= sizeof text || (bytes > 0 && size != bytes))
        return -1;
    uint64_t number = 0;
    for (size_t i = 0; i < bytes; i++)
        number = number << 8 | value[i];
    memcpy(text, value, size);
    return bytes > 0 ? (int64_t)number : strtoll(text, NULL, 10);
}

static struct weir_testkit_message *source_of(const struct weir_testkit *kit, const struct weir_testkit_record *record,
                                              const struct profile *profile)
{
    char *topic = text_in(record, profile->topic);
    int64_t partition = number_in(record, profile->partition, profile->partition_bytes);
    int64_t offset = number_in(record, profile->offset, profile->offset_bytes);
    const struct kit_log *log =
        topic && partition >= 0 && partition <= INT32_MAX ? weir_kit_log(kit, topic, (int32_t)partition) : NULL;
    free(topic);
    return log && offset >= 0 && (uint64_t)offset < log->count ? log->messages[offset] : NULL;
}

void weir_kit_letter(struct weir_testkit *kit, const struct weir_testkit_record *record)
{
    const struct profile *profile = &profiles[weir_config_options(kit->config)->dlq_profile];
    struct weir_testkit_message *message = source_of(kit, record, profile);
    if (!message) {
        weir_kit_violate(kit, "%s/%d at %" PRId64 ": a dead letter of no message that was sent", record->topic,
                         (int)record->partition, record->offset);
        return;
    }
    struct kit_letter *letter = weir_kit_allocate(sizeof *letter);
    *letter = (struct kit_letter){.topic = weir_kit_copy(record->topic, strlen(record->topic)),
                                  .partition = record->partition,
                                  .offset = record->offset,
                                  .cause = text_in(record, "weir.dlq.reason"),
                                  .reason = text_in(record, profile->reason)};
    *kit->letters_end = letter;
    kit->letters_end = &letter->next;
    kit->letter_count++;
    kit->over += !weir_kit_is_over(message);
    if (!message->letter) {
        message->letter = letter;
        message->dead = !message->finished;
    }
    weir_kit_trace(kit, "%s/%d at %" PRId64 ": its dead letter is in %s/%d at %" PRId64 ": %s", message->log->topic,
                   (int)message->log->partition, message->offset, letter->topic, (int)letter->partition, letter->offset,
                   letter->cause ? letter->cause : "no cause");
}

/* ---- floors ---- */

static struct weir_kafka_offset committed_of(const struct weir_testkit *kit, const struct kit_log *log)
{
    return weir_fake_committed(kit->cluster, weir_config_kafka_get(kit->config, "group.id"), log->topic,
                               log->partition);
}

static void check_floor(struct weir_testkit *kit, struct kit_log *log)
{
    while ((size_t)log->floor < log->count &&
           (!log->messages[log->floor] || weir_kit_is_over(log->messages[log->floor])))
        log->floor++;
    int64_t committed = committed_of(kit, log).offset;
    if (committed > log->floor && (size_t)log->floor < log->count)
        weir_kit_violate(kit, "%s/%d: offset %" PRId64 " is committed, but %" PRId64 " is not over", log->topic,
                         (int)log->partition, committed, log->floor);
}

static void each_log(struct weir_testkit *kit, void (*function)(struct weir_testkit *kit, struct kit_log *log))
{
    for (size_t i = 0; i < kit->topic_count; i++) {
        for (int32_t partition = 0; partition < kit->topics[i].partition_count; partition++)
            function(kit, kit->topics[i].logs[partition]);
    }
}

void weir_kit_observe(void *argument)
{
    struct weir_testkit *kit = argument;
    if (kit->unordered_commits || kit->commit_version_seen == weir_fake_commit_version(kit->cluster))
        return;
    kit->commit_version_seen = weir_fake_commit_version(kit->cluster);
    each_log(kit, check_floor);
}

/* ---- verdict ---- */

static bool map_has_finished(const struct weir_kafka_offset *committed, int64_t offset)
{
    static const struct weir_map_log any = {.leader_epoch = -1};
    struct weir_map map;
    if (weir_map_decode(committed->metadata, committed->metadata_size, committed->offset, &any, &map) != WEIR_MAP_VALID)
        return false;
    bool finished = offset >= map.floor && offset < map.end && weir_map_is_finished(&map, offset);
    weir_map_deinit(&map);
    return finished;
}

static void check_loss(struct weir_testkit *kit, struct kit_log *log)
{
    struct weir_kafka_offset committed = committed_of(kit, log);
    for (size_t i = 0; i < log->count; i++) {
        const struct weir_testkit_message *message = log->messages[i];
        if (!message)
            continue;
        bool comes_again = message->offset >= committed.offset &&
                           (committed.offset < 0 || !map_has_finished(&committed, message->offset));
        if (!weir_kit_is_over(message) && !comes_again)
            weir_kit_violate(
                kit, "%s/%d at %" PRId64 " is lost: not over, and offset %" PRId64 " is committed with \"%.40s\"",
                log->topic, (int)log->partition, message->offset, committed.offset, committed.metadata);
    }
}

int weir_testkit_verdict(struct weir_testkit *kit, struct weir_error *error)
{
    int result = weir_kit_check_outside(kit, "weir_testkit_verdict", error);
    if (result != 0)
        return result;
    weir_kit_look_at_handles(kit);
    if (!kit->unordered_commits)
        each_log(kit, check_loss);
    const char *broken = kit->violation_count > 0 ? kit->violation : weir_fake_violation(kit->cluster, 0);
    if (broken)
        return weir_error_set(error, WEIR_STATE, "a promise is broken: %s", broken);
    weir_error_set(error, WEIR_OK,
                   "%" PRIu64 " messages, %" PRIu64 " over; %" PRIu64 " runs, %" PRIu64 " finished again, %zu dead "
                   "letters, %" PRIu64 " crashes",
                   kit->sent, kit->over, kit->runs, kit->duplicates, kit->letter_count, kit->crashes);
    return 0;
}

/* ---- end ---- */

static void free_messages(struct weir_testkit *kit, struct kit_log *log)
{
    for (size_t i = 0; i < log->count; i++) {
        if (!log->messages[i])
            continue;
        for (size_t run = 0; run < log->messages[i]->run_count; run++)
            free(log->messages[i]->runs[run].written);
        free(log->messages[i]->runs);
        free(log->messages[i]);
    }
    free(log->messages);
}

void weir_kit_ledger_deinit(struct weir_testkit *kit)
{
    each_log(kit, free_messages);
    for (size_t i = 0; i < KIT_LANE_BUCKETS; i++) {
        for (struct kit_lane *lane = kit->lanes[i], *next; lane; lane = next) {
            next = lane->next;
            free(lane->key);
            free(lane);
        }
    }
    for (struct kit_letter *letter = kit->letters, *next; letter; letter = next) {
        next = letter->next;
        free(letter->topic);
        free(letter->cause);
        free(letter->reason);
        free(letter);
    }
    free(kit->open);
    free(kit->written);
}
