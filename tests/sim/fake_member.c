/*
 * See fake_member.h. All of it runs in one event of the simulation a turn, asked for by the wakes.
 *
 * A partition goes ASKING (for the committed offset) -> MARKS (for the log's start, if there is none) -> SEEKING ->
 * OPEN, and back to SEEKING after every rebalance event. Positions it cannot have yet are asked for again after an
 * error.
 */
#include "tests/sim/fake_member.h"
#include "runtime/check.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS           UINT64_C(1000000)
#define PULLED_MAX   6
#define ATTEMPTS_MAX 5

enum phase { ASKING, MARKS, RESTING, SEEKING, OPEN };

struct member;

struct part {
    struct part *next;
    struct member *member;
    char topic[64];
    int32_t partition;
    struct weir_kafka_queue *queue;
    enum phase phase;
    uint64_t tag;  /* of the request under way */
    int64_t at;    /* one past the last pulled; -1: unknown */
    int64_t floor; /* lowest that is not over; -1: unknown */
    int64_t committed;
    struct weir_record pulled[PULLED_MAX]; /* what waits to be run */
    unsigned pulled_count;
    bool running, leaving, gone;
    uint32_t attempt;
    uint64_t run;
};

struct member {
    struct weir_kafka_listener listener; /* first */
    struct weir_world_process *process;
    struct weir_world *world;
    struct weir_kafka *kafka;
    const struct weir_kafka_ops *ops;
    enum member_defect defect;
    struct part *parts;
    bool scheduled, stopping, close_called, closed;
    bool rebalance_open, rebalance_lost, draining;
    uint64_t drain_until_ns;
    uint64_t tag_next, commit_tag; /* 0: none under way */
    uint64_t frees;
};

static void turn_soon(struct member *member, uint64_t delay_ns);

/* ---- events of its own: void when the process has gone ---- */

struct task {
    struct weir_world_process *process;
    struct member *member;
    struct part *part;
    void (*run)(struct member *member, struct part *part);
};

static void on_task(void *argument)
{
    struct task task = *(struct task *)argument;
    free(argument);
    if (!weir_world_is_gone(task.process))
        task.run(task.member, task.part);
}

static void later(struct member *member, uint64_t delay_ns, void (*run)(struct member *, struct part *),
                  struct part *part)
{
    struct task *task = calloc(1, sizeof *task);
    WEIR_CHECK(task != NULL);
    *task = (struct task){member->process, member, part, run};
    weir_fake_after(weir_world_cluster(member->world), delay_ns, on_task, free, task);
}

/* ---- messages ---- */

static void record_free(struct member *member, struct weir_record *record)
{
    member->frees++;
    if (member->defect == MEMBER_FORGETS_TO_FREE && member->frees % 50 == 0)
        return;
    member->ops->record_free(member->kafka, record->native);
    if (member->defect == MEMBER_FREES_TWICE && member->frees % 50 == 0)
        member->ops->record_free(member->kafka, record->native);
}

static void drop_pulled(struct part *part)
{
    for (unsigned i = 0; i < part->pulled_count; i++)
        record_free(part->member, &part->pulled[i]);
    part->pulled_count = 0;
}

static void first_is_over(struct part *part)
{
    record_free(part->member, &part->pulled[0]);
    part->pulled_count--;
    memmove(part->pulled, part->pulled + 1, part->pulled_count * sizeof part->pulled[0]);
    part->floor = part->pulled_count ? part->pulled[0].offset : part->at;
    part->attempt = 0;
    part->running = false;
}

static void run_first(struct member *member, struct part *part);

/* Send the dead letter; on_delivered goes on. */
static void send_letter(struct member *member, struct part *part)
{
    struct weir_record *record = &part->pulled[0];
    char topic[80], partition[16], offset[24];
    snprintf(topic, sizeof topic, "%s%s", part->topic, weir_world_settings(member->world)->letters);
    struct weir_kafka_header headers[] = {
        {"__dlq.errors.partition", partition,
         (size_t)snprintf(partition, sizeof partition, "%d", (int)part->partition)},
        {"__dlq.errors.offset", offset, (size_t)snprintf(offset, sizeof offset, "%lld", (long long)record->offset)}};
    struct weir_kafka_produce produce = {.topic = topic,
                                         .key = record->key,
                                         .key_size = record->key_size,
                                         .value = record->value,
                                         .value_size = record->value_size,
                                         .timestamp_ms = record->timestamp_ms,
                                         .headers = headers,
                                         .header_count = 2};
    enum weir_kafka_error error = WEIR_KAFKA_NONE;
    if (member->ops->produce(member->kafka, &produce, part, &error) != 0)
        later(member, 100 * MS, send_letter, part);
    else if (member->defect == MEMBER_DROPS_LETTERS)
        first_is_over(part);
}

static void on_delivered(struct member *member, const struct weir_kafka_event *event)
{
    struct part *part = event->opaque;
    if (member->defect == MEMBER_DROPS_LETTERS)
        return;
    if (event->error == WEIR_KAFKA_NONE)
        first_is_over(part);
    else if (part->leaving)
        part->running = false; /* whoever comes next sends it */
    else
        later(member, 100 * MS, send_letter, part);
}

static void settle(struct part *part, enum weir_outcome outcome)
{
    struct member *member = part->member;
    switch (outcome) {
    case WEIR_ACK:
    case WEIR_SKIP:
        first_is_over(part);
        break;
    case WEIR_OVERLOADED:
        later(member, 20 * MS, run_first, part);
        break;
    case WEIR_RETRY:
        if (member->defect == MEMBER_GIVES_UP)
            first_is_over(part);
        else if (++part->attempt < ATTEMPTS_MAX)
            later(member, 5 * MS << part->attempt, run_first, part);
        else
            send_letter(member, part);
        break;
    default:
        send_letter(member, part);
        break;
    }
    turn_soon(member, 0);
}

static void on_finish(void *handle, enum weir_outcome outcome)
{
    settle(*(struct part **)handle, outcome);
}

static void run_first(struct member *member, struct part *part)
{
    if (part->leaving && member->defect != MEMBER_HOLDS_ON) { /* not again here */
        part->running = false;
        turn_soon(member, 0);
        return;
    }
    part->running = true;
    const struct weir_record *record = &part->pulled[0];
    enum weir_outcome outcome = weir_world_begin(member->process, part->topic, part->partition, record->offset,
                                                 record->key, record->key_size, part->attempt + 1, &part->run);
    if (outcome == WEIR_LATER) {
        weir_world_later(member->process, part->run, on_finish, &part, sizeof part);
        return;
    }
    weir_world_end(member->process, part->run, outcome);
    settle(part, outcome);
}

/* ---- pulling ---- */

static struct weir_kafka_offset offset_of(const struct part *part, int64_t offset)
{
    return (struct weir_kafka_offset){
        .topic = part->topic, .partition = part->partition, .offset = offset, .leader_epoch = -1};
}

static void ask(struct member *member, struct part *part)
{
    part->tag = member->tag_next++;
    struct weir_kafka_offset offset = offset_of(part, part->at);
    int code = part->phase == ASKING  ? member->ops->fetch_committed(member->kafka, &offset, 1, part->tag)
               : part->phase == MARKS ? member->ops->fetch_watermarks(member->kafka, &offset, 1, part->tag)
                                      : member->ops->seek(member->kafka, &offset, 1, part->tag);
    WEIR_CHECK(code == 0);
}

static void ask_again(struct member *member, struct part *part)
{
    if (!part->gone && part->tag == 0 && part->phase != RESTING && part->phase != OPEN)
        ask(member, part);
}

static void set_position(struct part *part, int64_t offset)
{
    part->at = part->floor = offset;
    part->phase = RESTING;
}

static void take(struct part *part, const struct weir_record *record)
{
    struct member *member = part->member;
    if (record->kind == WEIR_RECORD_MESSAGE && record->offset >= part->at) {
        if (part->pulled_count == 0 && !part->running)
            part->floor = record->offset;
        part->at = record->offset + 1;
        part->pulled[part->pulled_count++] = *record;
        return;
    }
    if (record->kind == WEIR_RECORD_EOF && record->offset > part->at) {
        part->at = record->offset;
        if (part->pulled_count == 0)
            part->floor = part->at;
    }
    if (record->kind == WEIR_RECORD_ERROR && record->error == WEIR_KAFKA_OUT_OF_RANGE) {
        part->phase = MARKS; /* the log's start, once what was pulled is over */
        part->tag = 0;
    }
    struct weir_record copy = *record;
    record_free(member, &copy);
}

static void pull(struct part *part)
{
    struct weir_record records[PULLED_MAX];
    while (part->phase == OPEN && part->pulled_count < PULLED_MAX) {
        unsigned count = part->member->ops->pull(part->queue, records, PULLED_MAX - part->pulled_count);
        for (unsigned i = 0; i < count; i++)
            take(part, &records[i]);
        if (count == 0)
            return;
    }
}

static void work(struct member *member, struct part *part)
{
    bool barred = member->rebalance_open && member->defect != MEMBER_PULLS_ALWAYS;
    if (part->phase == OPEN && !barred && part->queue)
        pull(part);
    if (part->phase == MARKS && !part->gone && part->tag == 0 && part->pulled_count == 0 && !barred)
        ask(member, part);
    bool stays = !part->leaving || member->defect == MEMBER_HOLDS_ON;
    while (stays && part->pulled_count > 0 && !part->running) {
        if (member->defect == MEMBER_REORDERS && part->pulled_count > 1) {
            struct weir_record first = part->pulled[0];
            part->pulled[0] = part->pulled[1];
            part->pulled[1] = first;
        }
        run_first(member, part);
    }
}

/* ---- commits ---- */

static int64_t to_commit(const struct part *part)
{
    return part->member->defect == MEMBER_COMMITS_AHEAD ? part->at : part->floor;
}

static void commit(struct member *member)
{
    struct weir_kafka_offset offsets[64];
    size_t count = 0;
    for (struct part *part = member->parts; part && count < 64; part = part->next) {
        bool lost = part->leaving && member->rebalance_lost;
        if (!part->gone && !lost && part->floor >= 0 && to_commit(part) != part->committed)
            offsets[count++] = offset_of(part, to_commit(part));
    }
    if (count == 0 || member->commit_tag)
        return;
    member->commit_tag = member->tag_next++;
    WEIR_CHECK(member->ops->commit(member->kafka, offsets, count, member->commit_tag) == 0);
}

static struct part *part_of(struct member *member, const char *topic, int32_t partition)
{
    struct part *part = member->parts;
    while (part && (part->gone || part->partition != partition || strcmp(part->topic, topic) != 0))
        part = part->next;
    return part;
}

static void on_committed(struct member *member, const struct weir_kafka_event *event)
{
    if (event->tag != member->commit_tag)
        return;
    member->commit_tag = 0;
    for (size_t i = 0; i < event->count && event->error == WEIR_KAFKA_NONE; i++) {
        struct part *part = part_of(member, event->offsets[i].topic, event->offsets[i].partition);
        if (part && event->offsets[i].error == WEIR_KAFKA_NONE)
            part->committed = event->offsets[i].offset;
    }
}

static void on_commit_tick(struct member *member, struct part *part)
{
    if (member->closed)
        return;
    if (!member->rebalance_open)
        commit(member);
    later(member, 150 * MS, on_commit_tick, NULL);
}

/* ---- rebalances ---- */

static void on_queue_wake(void *argument)
{
    turn_soon(((struct part *)argument)->member, 0);
}

static void on_assign(struct member *member, const struct weir_kafka_event *event)
{
    struct weir_kafka_offset offsets[64];
    WEIR_CHECK(event->count <= 64);
    for (size_t i = 0; i < event->count; i++) {
        struct part *part = calloc(1, sizeof *part);
        WEIR_CHECK(part != NULL);
        snprintf(part->topic, sizeof part->topic, "%s", event->offsets[i].topic);
        part->member = member;
        part->partition = event->offsets[i].partition;
        part->at = part->floor = part->committed = -1;
        part->queue = member->ops->queue_open(member->kafka, part->topic, part->partition, on_queue_wake, part);
        WEIR_CHECK(part->queue != NULL);
        part->next = member->parts;
        member->parts = part;
        offsets[i] = offset_of(part, -1);
    }
    WEIR_CHECK(member->ops->assign(member->kafka, offsets, event->count) == 0);
    for (size_t i = 0; i < event->count; i++)
        ask(member, part_of(member, offsets[i].topic, offsets[i].partition));
}

/* What is retained goes on from its own position, whatever the client has done with its. */
static void reopen(struct member *member)
{
    member->rebalance_open = false;
    for (struct part *part = member->parts; part; part = part->next) {
        if (part->gone || (part->phase != OPEN && part->phase != RESTING && part->phase != SEEKING))
            continue;
        if (part->phase == OPEN && member->defect == MEMBER_NO_SEEK_BACK)
            continue;
        part->phase = SEEKING;
        ask(member, part);
    }
}

static void let_go(struct member *member)
{
    for (struct part *part = member->parts; part; part = part->next) {
        if (!part->leaving || part->gone)
            continue;
        member->ops->queue_close(member->kafka, part->queue);
        part->queue = NULL;
        part->gone = true;
        if (member->defect != MEMBER_HOLDS_ON)
            drop_pulled(part);
    }
    member->draining = false;
    WEIR_CHECK(member->ops->unassign(member->kafka) == 0);
    reopen(member);
}

static void drain(struct member *member)
{
    for (struct part *part = member->parts; part; part = part->next) {
        if (part->leaving && !part->gone && part->running && member->defect != MEMBER_HOLDS_ON)
            return; /* its run is waited for: the next turn looks again */
    }
    uint64_t now_ns = weir_simulation_now_ns(weir_world_simulation(member->world));
    bool wanted = false;
    for (struct part *part = member->parts; part && !member->rebalance_lost; part = part->next)
        wanted = wanted || (part->leaving && !part->gone && part->floor >= 0 && to_commit(part) != part->committed);
    if ((wanted || member->commit_tag) && now_ns < member->drain_until_ns) {
        commit(member);
        return;
    }
    let_go(member);
}

static void on_drain_tick(struct member *member, struct part *part)
{
    if (!member->draining)
        return;
    turn_soon(member, 0);
    later(member, 10 * MS, on_drain_tick, NULL);
}

static void on_revoke(struct member *member, const struct weir_kafka_event *event)
{
    for (size_t i = 0; i < event->count; i++)
        part_of(member, event->offsets[i].topic, event->offsets[i].partition)->leaving = true;
    member->rebalance_lost = event->kind == WEIR_KAFKA_LOST;
    member->draining = true;
    member->drain_until_ns = weir_simulation_now_ns(weir_world_simulation(member->world)) + 2000 * MS;
    later(member, 10 * MS, on_drain_tick, NULL);
}

static void on_result(struct member *member, const struct weir_kafka_event *event)
{
    struct part *part = member->parts;
    while (part && (part->gone || part->tag != event->tag))
        part = part->next;
    if (!part)
        return; /* of a partition that has gone */
    part->tag = 0;
    const struct weir_kafka_offset *offset = &event->offsets[0];
    if (event->error != WEIR_KAFKA_NONE || offset->error != WEIR_KAFKA_NONE) {
        later(member, 50 * MS, ask_again, part);
        return;
    }
    if (event->kind == WEIR_KAFKA_SOUGHT) {
        part->phase = member->rebalance_open ? RESTING : OPEN;
        return;
    }
    if (event->kind == WEIR_KAFKA_FETCHED && offset->offset < 0) {
        part->phase = MARKS;
        return; /* work() asks */
    }
    set_position(part, offset->offset);
    if (member->rebalance_open)
        return; /* reopen() seeks */
    part->phase = SEEKING;
    ask(member, part);
}

/* ---- events ---- */

static void on_event(struct weir_kafka_listener *listener, const struct weir_kafka_event *event)
{
    struct member *member = (struct member *)listener;
    switch (event->kind) {
    case WEIR_KAFKA_ASSIGN:
        member->rebalance_open = true;
        on_assign(member, event);
        reopen(member);
        break;
    case WEIR_KAFKA_REVOKE:
    case WEIR_KAFKA_LOST:
        member->rebalance_open = true;
        on_revoke(member, event);
        break;
    case WEIR_KAFKA_COMMITTED:
        on_committed(member, event);
        break;
    case WEIR_KAFKA_DELIVERED:
        on_delivered(member, event);
        break;
    case WEIR_KAFKA_CLOSED:
        member->closed = true;
        break;
    case WEIR_KAFKA_TROUBLE:
    case WEIR_KAFKA_STATISTICS:
        break;
    default:
        on_result(member, event);
        break;
    }
}

static void turn(struct member *member, struct part *unused)
{
    member->scheduled = false;
    if (member->closed)
        return;
    while (member->ops->poll(member->kafka, 8) == 8) {
    }
    for (struct part *part = member->parts; part && !member->closed; part = part->next) {
        if (!part->gone || member->defect == MEMBER_HOLDS_ON)
            work(member, part);
    }
    if (member->draining)
        drain(member);
    if (member->stopping && !member->close_called) {
        member->close_called = true;
        WEIR_CHECK(member->ops->close(member->kafka, 3000) == 0);
    }
}

static void turn_soon(struct member *member, uint64_t delay_ns)
{
    if (member->scheduled)
        return;
    member->scheduled = true;
    later(member, delay_ns + 10000, turn, NULL);
}

static void on_wake(struct weir_kafka_listener *listener)
{
    turn_soon((struct member *)listener, 0);
}

/* ---- the driver ---- */

static void *member_create(struct weir_world_process *process)
{
    struct member *member = calloc(1, sizeof *member);
    WEIR_CHECK(member != NULL);
    member->listener = (struct weir_kafka_listener){on_wake, on_event};
    member->process = process;
    member->world = weir_world_of(process);
    member->kafka = weir_world_kafka(process);
    member->ops = member->kafka->ops;
    const enum member_defect *defect = weir_world_settings(member->world)->driver_data;
    member->defect = defect ? *defect : MEMBER_SOUND;
    member->tag_next = 1;
    return member;
}

static void member_start(void *consumer)
{
    struct member *member = consumer;
    WEIR_CHECK(member->ops->start(member->kafka, &member->listener, NULL) == 0);
    later(member, 150 * MS, on_commit_tick, NULL);
}

static void member_stop(void *consumer)
{
    struct member *member = consumer;
    member->stopping = true;
    turn_soon(member, 0);
}

static bool member_is_closed(void *consumer)
{
    return ((struct member *)consumer)->closed;
}

static void member_free(struct member *member)
{
    while (member->parts) {
        struct part *part = member->parts;
        member->parts = part->next;
        free(part);
    }
    free(member);
}

static void member_destroy(void *consumer)
{
    struct member *member = consumer;
    for (struct part *part = member->parts; part; part = part->next)
        drop_pulled(part); /* of those that held on */
    member->ops->destroy(member->kafka);
    member_free(member);
}

static void member_abandon(void *consumer)
{
    member_free(consumer);
}

const struct weir_world_driver member_driver = {
    .create = member_create,
    .start = member_start,
    .stop = member_stop,
    .is_closed = member_is_closed,
    .destroy = member_destroy,
    .abandon = member_abandon,
};
