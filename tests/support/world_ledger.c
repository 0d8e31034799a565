/*
 * The world's ledger: every run, dead letter and commit, checked as it happens. See world.h for the checks.
 */
#include "runtime/check.h"
#include "tests/support/preempt.h"
#include "tests/support/world_internal.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void weir_world_violate(struct weir_world *world, const char *format, ...)
{
    if (world->violation_count++ > 0)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(world->violation, sizeof world->violation, format, arguments);
    va_end(arguments);
    weir_world_trace(world, NULL, "VIOLATION: %s", world->violation);
}

static void mix(struct weir_world *world, uint64_t value)
{
    uint64_t hash = (world->hash ^ value) * 0x9e3779b97f4a7c15u;
    world->hash = hash ^ (hash >> 29);
}

/* ---- messages ---- */

bool weir_world_is_over(const struct world_message *message)
{
    bool written = message->outputs_there == (1u << message->outputs_wanted) - 1;
    return (message->finished && written) || message->letter || message->exempt;
}

static struct world_message *message_at(const struct world_log *log, int64_t offset)
{
    bool exists = offset >= 0 && (size_t)offset < log->count && log->messages[offset].exists;
    return exists ? &log->messages[offset] : NULL;
}

void weir_world_ledger_produced(struct weir_world *world, struct world_log *log, int64_t offset, int key)
{
    while (log->count <= (size_t)offset) {
        if (log->count == log->capacity) {
            log->capacity = log->capacity ? 2 * log->capacity : 64;
            log->messages = realloc(log->messages, log->capacity * sizeof *log->messages);
            WEIR_CHECK(log->messages != NULL);
        }
        log->messages[log->count++] = (struct world_message){.key = -1, .previous = -1};
    }
    struct world_message *message = &log->messages[offset];
    message->exists = true;
    message->key = key;
    message->outputs_wanted = weir_world_outputs_wanted(world, log, offset);
    message->previous = key < 0 ? -1 : log->lanes[key].produced;
    if (key >= 0)
        log->lanes[key].produced = offset;
    world->tally.produced++;
}

void weir_world_ledger_exempt(struct weir_world *world, struct world_log *log, int64_t below)
{
    log->era++;
    for (int64_t offset = 0; offset < below && (size_t)offset < log->count; offset++) {
        struct world_message *message = &log->messages[offset];
        world->tally.over += message->exists && !weir_world_is_over(message);
        message->exempt = true;
    }
}

/* ---- runs ---- */

static const char *outcome_name(enum weir_outcome outcome)
{
    static const char *const names[] = {"ack", "skip", "retry", "dead", "overloaded", "later"};
    return (size_t)outcome < WEIR_COUNT(names) ? names[outcome] : "nothing known";
}

/* What the run is to answer: by the seed, the message, and how often it has run in all processes. */
static enum weir_outcome decide(const struct weir_world *world, const struct world_log *log, int64_t offset,
                                uint32_t starts, bool may_be_later)
{
    const struct weir_world_chances *chances = &world->settings.chances;
    uint64_t place = world->settings.seed ^ (uint64_t)(log - world->logs) << 48 ^ (uint64_t)offset << 8;
    struct weir_random random;
    weir_random_init(&random, place);
    if (weir_random_below(&random, 1000) < chances->poison)
        return WEIR_RETRY;
    weir_random_init(&random, place ^ (starts << 1 | may_be_later) * UINT64_C(0x632be59bd9b4e019));
    uint64_t draw = weir_random_below(&random, 1000);
    const struct {
        uint16_t chance;
        enum weir_outcome outcome;
    } table[] = {{chances->skip, WEIR_SKIP},
                 {chances->retry, WEIR_RETRY},
                 {chances->dead, WEIR_DEAD},
                 {chances->overloaded, WEIR_OVERLOADED},
                 {may_be_later ? chances->later : 0, WEIR_LATER}};
    for (size_t i = 0; i < WEIR_COUNT(table); i++) {
        if (draw < table[i].chance)
            return table[i].outcome;
        draw -= table[i].chance;
    }
    return WEIR_ACK;
}

static uint64_t run_add(struct weir_world *world, struct world_run run)
{
    if (world->run_count == world->run_capacity) {
        world->run_capacity = world->run_capacity ? 2 * world->run_capacity : 256;
        world->runs = realloc(world->runs, world->run_capacity * sizeof *world->runs);
        WEIR_CHECK(world->runs != NULL);
    }
    world->runs[world->run_count] = run;
    world->tally.runs++;
    return world->run_count++;
}

/* No other run of the key is under way, but of a message that was given up and dead-lettered meanwhile. */
static void check_alone(struct weir_world *world, const struct world_run *run, const struct world_lane *lane)
{
    for (size_t i = 0; i < world->process_count; i++) {
        if (!lane->open[i])
            continue;
        const struct world_run *other = &world->runs[lane->open[i] - 1];
        if (world->processes[i] != run->process)
            world->tally.overlaps_elsewhere++;
        else if (!run->log->messages[other->offset].letter && (run->batch == 0 || run->batch != other->batch))
            weir_world_violate(world, "%s/%d@%lld: starts in process %u while offset %lld of its key runs there",
                               run->log->topic, (int)run->log->partition, (long long)run->offset, run->process->number,
                               (long long)other->offset);
    }
}

/* At most once, what was committed and had not run dies with its process, and is never over. */
bool weir_world_may_be_lost(const struct weir_world *world, const struct world_log *log)
{
    for (size_t i = 0; i < world->process_count && world->settings.floor_unchecked; i++) {
        const struct weir_world_process *process = world->processes[i];
        if (process->crashed && weir_fake_client_assignments(process->kafka, log->topic, log->partition) > 0)
            return true;
    }
    return false;
}

/* Brokers may refuse its outputs for good, and then its run has failed though it ended well. */
static bool may_fail_later(const struct weir_world *world, const struct world_message *message)
{
    const struct weir_fake_faults *faults = &world->settings.faults;
    return message->outputs_wanted > 0 &&
           faults->produce_too_large + faults->produce_unknown_topic + faults->produce_authorization > 0;
}

static void check_order(struct weir_world *world, const struct world_run *run, const struct world_message *message,
                        const struct world_lane *lane)
{
    const struct world_log *log = run->log;
    const struct world_last *last = &lane->last[run->process->number];
    if (message->starts == 0 && message->previous >= 0 && !weir_world_is_over(&log->messages[message->previous]) &&
        !weir_world_may_be_lost(world, log))
        weir_world_violate(world, "%s/%d@%lld: starts before offset %lld of its key is over", log->topic,
                           (int)log->partition, (long long)run->offset, (long long)message->previous);
    if (last->assignment != run->assignment)
        return;
    if (run->offset < last->offset)
        weir_world_violate(world, "%s/%d@%lld: starts after offset %lld of its key, in one assignment of process %u",
                           log->topic, (int)log->partition, (long long)run->offset, (long long)last->offset,
                           run->process->number);
    else if (run->offset == last->offset && (last->outcome == WEIR_ACK || last->outcome == WEIR_SKIP) &&
             !may_fail_later(world, message))
        weir_world_violate(world, "%s/%d@%lld: runs again in the assignment that finished it", log->topic,
                           (int)log->partition, (long long)run->offset);
    else if (run->offset > last->offset && !weir_world_is_over(&log->messages[last->offset]))
        weir_world_violate(world, "%s/%d@%lld: starts though offset %lld of its key, which ran here, is not over",
                           log->topic, (int)log->partition, (long long)run->offset, (long long)last->offset);
}

static bool key_is(const struct world_message *message, const void *key, size_t key_size)
{
    char text[16];
    int size = snprintf(text, sizeof text, "k%d", message->key);
    return message->key < 0 ? key == NULL : key && key_size == (size_t)size && memcmp(key, text, key_size) == 0;
}

enum weir_outcome weir_world_begin(struct weir_world_process *process, const char *topic, int32_t partition,
                                   int64_t offset, const void *key, size_t key_size, uint32_t attempt, uint64_t *number)
{
    weir_preempt_run_begins();
    struct weir_world *world = process->world;
    struct world_log *log = weir_world_log(world, topic, partition);
    struct world_message *message = log ? message_at(log, offset) : NULL;
    *number = UINT64_MAX;
    if (!message || !key_is(message, key, key_size) || attempt == 0) {
        weir_world_violate(world, "%s/%d@%lld: run %u in process %u of what was not produced so", topic, (int)partition,
                           (long long)offset, attempt, process->number);
        return WEIR_ACK;
    }
    if (process->crashed || process->destroyed || !weir_fake_client_holds(process->kafka, topic, partition))
        weir_world_violate(world, "%s/%d@%lld: starts in process %u, which does not hold the partition", topic,
                           (int)partition, (long long)offset, process->number);
    struct world_run run = {.process = process,
                            .log = log,
                            .offset = offset,
                            .assignment = log->era << 32,
                            .open = true,
                            .outcome = WEIR_LATER,
                            .batch = world->batch,
                            .before = message->last_run};
    run.assignment += weir_fake_client_assignments(process->kafka, topic, partition) + (process->epoch << 16);
    if (message->key >= 0) {
        struct world_lane *lane = &log->lanes[message->key];
        check_alone(world, &run, lane);
        if (run.batch > 0)
            weir_world_check_batch(world, &run, message);
        else
            check_order(world, &run, message, lane);
        lane->last[process->number] = (struct world_last){run.assignment, offset, WEIR_LATER};
        lane->open[process->number] = world->run_count + 1;
    }
    enum weir_outcome outcome = decide(world, log, offset, message->starts++, true);
    *number = run_add(world, run);
    message->last_run = *number + 1;
    weir_world_trace(world, process, "runs %s/%d@%lld of key %d: start %u, attempt %u, will answer %s", topic,
                     (int)partition, (long long)offset, message->key, message->starts, attempt, outcome_name(outcome));
    mix(world, (uint64_t)offset << 16 | (uint64_t)process->number << 8 | outcome);
    mix(world, weir_simulation_now_ns(world->simulation));
    return outcome;
}

static void run_over(struct weir_world *world, uint64_t number)
{
    struct world_run *run = &world->runs[number];
    int key = run->log->messages[run->offset].key;
    run->open = false;
    if (key >= 0 && run->log->lanes[key].open[run->process->number] == number + 1)
        run->log->lanes[key].open[run->process->number] = 0;
}

void weir_world_end(struct weir_world_process *process, uint64_t number, enum weir_outcome outcome)
{
    struct weir_world *world = process->world;
    if (number == UINT64_MAX)
        return; /* begin has refused it */
    struct world_run *run = &world->runs[number];
    if (!run->open || run->process != process || outcome == WEIR_LATER) {
        weir_world_violate(world, "process %u: run %llu ends twice, or elsewhere", process->number,
                           (unsigned long long)number);
        return;
    }
    run_over(world, number);
    run->outcome = outcome;
    weir_world_trace(world, process, "ends %s/%d@%lld: %s", run->log->topic, (int)run->log->partition,
                     (long long)run->offset, outcome_name(outcome));
    struct world_message *message = &run->log->messages[run->offset];
    if (message->key >= 0) {
        struct world_last *last = &run->log->lanes[message->key].last[process->number];
        if (last->assignment == run->assignment && last->offset == run->offset)
            last->outcome = outcome;
    }
    mix(world, number << 8 | outcome);
    if (outcome != WEIR_ACK && outcome != WEIR_SKIP)
        return;
    bool was_over = weir_world_is_over(message);
    world->tally.finished += !message->finished;
    world->tally.duplicates += message->finished;
    message->finished = true;
    message->finishes++;
    world->tally.over += weir_world_is_over(message) && !was_over;
}

void weir_world_ledger_gone(struct weir_world_process *process)
{
    struct weir_world *world = process->world;
    for (uint64_t i = 0; i < world->run_count; i++) {
        if (world->runs[i].process == process && world->runs[i].open)
            run_over(world, i);
    }
}

struct later {
    struct weir_world_process *process;
    uint64_t run;
    weir_world_finish *finish;
    unsigned char handle[32];
};

static void on_later(void *argument)
{
    struct later later = *(struct later *)argument;
    free(argument);
    struct weir_world *world = later.process->world;
    if (later.process->crashed)
        return;
    enum weir_outcome outcome = WEIR_ACK;
    if (later.run != UINT64_MAX) {
        const struct world_run *run = &world->runs[later.run];
        outcome = decide(world, run->log, run->offset, run->log->messages[run->offset].starts, false);
    }
    weir_world_end(later.process, later.run, outcome);
    later.finish(later.handle, outcome);
}

void weir_world_later(struct weir_world_process *process, uint64_t run, weir_world_finish *finish, const void *handle,
                      size_t handle_size)
{
    struct weir_world *world = process->world;
    struct later *later = weir_world_allocate(sizeof *later);
    WEIR_CHECK(handle_size <= sizeof later->handle);
    later->process = process;
    later->run = run;
    later->finish = finish;
    memcpy(later->handle, handle, handle_size);
    weir_world_after(world, 1 + weir_random_below(&world->random, world->settings.later_ns_max), on_later, later);
}

/* ---- dead letters ---- */

/* The number in a header, or -1. */
static int64_t number_in(const struct weir_fake_record *record, const char *name)
{
    for (size_t i = 0; i < record->header_count; i++) {
        const struct weir_kafka_header *header = &record->headers[i];
        char text[32];
        if (strcmp(header->name, name) != 0 || !header->value || header->value_size >= sizeof text)
            continue;
        memcpy(text, header->value, header->value_size);
        text[header->value_size] = 0;
        return strtoll(text, NULL, 10);
    }
    return -1;
}

void weir_world_take_letter(struct weir_world *world, const char *topic, const struct weir_fake_record *record)
{
    int64_t partition = number_in(record, "__dlq.errors.partition"), offset = number_in(record, "__dlq.errors.offset");
    struct world_log *log = weir_world_log(world, topic, (int32_t)partition);
    struct world_message *message = log ? message_at(log, offset) : NULL;
    char value[320];
    int size = snprintf(value, sizeof value, "%s/%d@%lld", topic, (int)partition, (long long)offset);
    bool stripped = record->value == NULL;
    if (!message || !key_is(message, record->key, record->key_size) ||
        (!stripped && (record->value_size != (size_t)size || memcmp(record->value, value, (size_t)size) != 0))) {
        weir_world_violate(world, "a dead letter for %s/%d@%lld is none of a message produced so", topic,
                           (int)partition, (long long)offset);
        return;
    }
    if (message->starts == 0)
        weir_world_violate(world, "%s/%d@%lld: dead-lettered, and never ran", topic, (int)partition, (long long)offset);
    world->tally.over += !weir_world_is_over(message);
    if (world->settings.exactly_once && (message->letter || message->outputs_there))
        weir_world_violate(world, "%s/%d@%lld: a letter is there, and %s", topic, (int)partition, (long long)offset,
                           message->letter ? "was before" : "its outputs are");
    world->tally.letters += !message->letter;
    weir_world_trace(world, NULL, "%s/%d@%lld is in the dead letter topic", topic, (int)partition, (long long)offset);
    message->letter = true;
}

/* ---- floors ---- */

static void check_floor(struct weir_world *world, struct world_log *log)
{
    while ((size_t)log->floor < log->count &&
           (!log->messages[log->floor].exists || weir_world_is_over(&log->messages[log->floor])))
        log->floor++;
    int64_t committed = weir_fake_committed(world->cluster, world->settings.group, log->topic, log->partition).offset;
    if (committed != log->committed)
        weir_world_trace(world, NULL, "%s/%d: offset %lld is committed; lowest that is not over: %lld", log->topic,
                         (int)log->partition, (long long)committed, (long long)log->floor);
    log->committed = committed;
    if (committed > log->floor && (size_t)log->floor < log->count)
        weir_world_violate(world, "%s/%d: offset %lld is committed, but %lld is not over", log->topic,
                           (int)log->partition, (long long)committed, (long long)log->floor);
}

void weir_world_ledger_observe(void *argument)
{
    struct weir_world *world = argument;
    if (world->commit_version == weir_fake_commit_version(world->cluster) || world->settings.floor_unchecked)
        return;
    world->commit_version = weir_fake_commit_version(world->cluster);
    for (size_t i = 0; i < world->log_count; i++)
        check_floor(world, &world->logs[i]);
}

/* ---- verdicts ---- */

const struct weir_world_tally *weir_world_tally(struct weir_world *world)
{
    world->tally.audits = 0;
    for (size_t i = 0; i < world->process_count; i++)
        world->tally.audits += world->processes[i]->audit->walked;
    return &world->tally;
}

bool weir_world_is_finished(const struct weir_world *world)
{
    return world->produces_due == 0 && world->tally.over == world->tally.produced;
}

uint64_t weir_world_hash(const struct weir_world *world)
{
    return world->hash ^ weir_simulation_hash(world->simulation);
}

static void check_loss(struct weir_world *world, const struct world_log *log)
{
    struct weir_kafka_offset committed =
        weir_fake_committed(world->cluster, world->settings.group, log->topic, log->partition);
    bool (*has_finished)(const struct weir_kafka_offset *, int64_t) = world->settings.driver->map_has_finished;
    for (int64_t offset = 0; (size_t)offset < log->count; offset++) {
        const struct world_message *message = message_at(log, offset);
        if (!message || weir_world_is_over(message))
            continue;
        bool comes_again =
            offset >= committed.offset && !(committed.offset >= 0 && has_finished && has_finished(&committed, offset));
        if (!comes_again)
            weir_world_violate(world, "%s/%d@%lld is lost: not over, and offset %lld is committed with \"%.40s\"",
                               log->topic, (int)log->partition, (long long)offset, (long long)committed.offset,
                               committed.metadata);
    }
}

struct weir_world_verdict weir_world_verdict(struct weir_world *world)
{
    struct weir_world_verdict verdict = {.checked = world->tally.produced};
    weir_world_ledger_observe(world);
    for (size_t i = 0; i < world->log_count && !world->settings.floor_unchecked; i++)
        check_loss(world, &world->logs[i]);
    verdict.violations = world->violation_count + weir_fake_violations(world->cluster);
    verdict.ok = verdict.violations == 0 && verdict.checked > 0 && world->tally.runs > 0;
    const char *first = world->violation_count ? world->violation : weir_fake_violation(world->cluster, 0);
    if (first)
        snprintf(verdict.text, sizeof verdict.text, "seed %llu: %s", (unsigned long long)world->settings.seed, first);
    else
        snprintf(verdict.text, sizeof verdict.text,
                 "seed %llu: %llu messages, %llu runs, %llu duplicates, %llu dead letters, %llu crashes",
                 (unsigned long long)world->settings.seed, (unsigned long long)world->tally.produced,
                 (unsigned long long)world->tally.runs, (unsigned long long)world->tally.duplicates,
                 (unsigned long long)world->tally.letters, (unsigned long long)world->tally.crashes);
    return verdict;
}
