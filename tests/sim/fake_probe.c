/* See fake_probe.h. */
#include "tests/sim/fake_probe.h"
#include "runtime/check.h"
#include "tests/support/test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct stage probe_stage(uint64_t seed, int32_t partitions)
{
    struct stage stage = {.simulation = weir_simulation_create(seed)};
    cr_assert_not_null(stage.simulation);
    stage.cluster = weir_fake_create(stage.simulation, "cluster-1", NULL);
    weir_fake_topic_create(stage.cluster, "orders", partitions);
    return stage;
}

void probe_stage_end(struct stage *stage)
{
    weir_fake_destroy(stage->cluster);
    weir_simulation_destroy(stage->simulation);
}

void probe_fill(struct stage *stage, const char *topic, int32_t partition, int count)
{
    for (int i = 0; i < count; i++) {
        char key[16], value[16];
        int key_size = snprintf(key, sizeof key, "k%d", i % 7);
        int value_size = snprintf(value, sizeof value, "v%d", i);
        weir_fake_append(stage->cluster, partition,
                         &(struct weir_kafka_produce){.topic = topic,
                                                      .key = key,
                                                      .key_size = (size_t)key_size,
                                                      .value = value,
                                                      .value_size = (size_t)value_size,
                                                      .timestamp_ms = -1});
    }
}

/* ---- events ---- */

static void on_wake(struct weir_kafka_listener *listener)
{
    struct probe *probe = (struct probe *)listener;
    probe->woken = true;
    probe->wakes++;
}

static void on_event(struct weir_kafka_listener *listener, const struct weir_kafka_event *event)
{
    struct probe *probe = (struct probe *)listener;
    cr_assert_lt(probe->event_count, (size_t)PROBE_EVENTS_MAX);
    cr_assert_leq(event->count, (size_t)16);
    struct probe_event *kept = &probe->events[probe->event_count++];
    *kept = (struct probe_event){.kind = event->kind,
                                 .cooperative = event->cooperative,
                                 .tag = event->tag,
                                 .at_ns = weir_simulation_now_ns(probe->simulation),
                                 .error = event->error,
                                 .count = event->count,
                                 .opaque = event->opaque};
    snprintf(kept->text, sizeof kept->text, "%s", event->text ? event->text : "");
    for (size_t i = 0; i < event->count; i++) {
        kept->offsets[i] = event->offsets[i];
        snprintf(kept->metadata[i], sizeof kept->metadata[i], "%s",
                 event->offsets[i].metadata ? event->offsets[i].metadata : "");
        kept->offsets[i].metadata = kept->metadata[i];
    }
    bool asks = event->kind == WEIR_KAFKA_ASSIGN || event->kind == WEIR_KAFKA_REVOKE || event->kind == WEIR_KAFKA_LOST;
    if (asks && probe->answers)
        probe_answer(probe, kept);
}

static void on_queue_wake(void *argument)
{
    ((struct probe_queue *)argument)->wakes++;
}

static struct probe_queue *place_of(struct probe *probe, const char *topic, int32_t partition)
{
    for (size_t i = 0; i < PROBE_QUEUES; i++) {
        struct probe_queue *queue = &probe->queues[i];
        if (queue->queue && queue->partition == partition && strcmp(queue->topic, topic) == 0)
            return queue;
    }
    return NULL;
}

static void open_queue(struct probe *probe, const struct weir_kafka_offset *offset)
{
    size_t i = 0;
    while (probe->queues[i].queue)
        i++;
    cr_assert_lt(i, (size_t)PROBE_QUEUES);
    struct probe_queue *queue = &probe->queues[i];
    snprintf(queue->topic, sizeof queue->topic, "%s", offset->topic);
    queue->partition = offset->partition;
    queue->wakes = 0;
    queue->queue = probe->kafka->ops->queue_open(probe->kafka, offset->topic, offset->partition, on_queue_wake, queue);
    cr_assert_not_null(queue->queue);
}

void probe_answer(struct probe *probe, const struct probe_event *event)
{
    const struct weir_kafka_ops *ops = probe->kafka->ops;
    struct weir_kafka_offset offsets[16];
    memcpy(offsets, event->offsets, sizeof offsets);
    if (event->kind == WEIR_KAFKA_ASSIGN) {
        for (size_t i = 0; i < event->count; i++) {
            offsets[i].offset = probe->assign_at;
            open_queue(probe, &offsets[i]);
        }
        cr_assert_eq(ops->assign(probe->kafka, offsets, event->count), 0);
        return;
    }
    for (size_t i = 0; i < event->count; i++) {
        struct probe_queue *queue = place_of(probe, offsets[i].topic, offsets[i].partition);
        cr_assert_not_null(queue);
        ops->queue_close(probe->kafka, queue->queue);
        queue->queue = NULL;
    }
    cr_assert_eq(ops->unassign(probe->kafka), 0);
}

/* ---- life ---- */

void probe_init(struct probe *probe, struct stage *stage, const struct weir_fake_member *member)
{
    *probe = (struct probe){.listener = {on_wake, on_event}, .simulation = stage->simulation, .answers = true};
    probe->events = calloc(PROBE_EVENTS_MAX, sizeof *probe->events);
    cr_assert_not_null(probe->events);
    probe->kafka = weir_fake_client_create(stage->cluster, member);
}

void probe_start(struct probe *probe, struct stage *stage, const struct weir_fake_member *member)
{
    probe_init(probe, stage, member);
    cr_assert_eq(probe->kafka->ops->start(probe->kafka, &probe->listener, NULL), 0);
}

void probe_deinit(struct probe *probe)
{
    free(probe->events);
    probe->events = NULL;
}

void probe_close(struct probe *probe)
{
    cr_assert_eq(probe->kafka->ops->close(probe->kafka, 1000), 0);
    cr_assert_not_null(probe_wait(probe, WEIR_KAFKA_CLOSED, 1));
    probe->kafka->ops->destroy(probe->kafka);
    probe_deinit(probe);
}

/* ---- running ---- */

static void poll_woken(struct probe *probe)
{
    while (probe->woken && probe->events) {
        probe->woken = false;
        while (probe->kafka->ops->poll(probe->kafka, 2) == 2) {
        }
    }
}

void probes_run(struct probe **probes, size_t count, uint64_t duration_ns)
{
    uint64_t end_ns = weir_simulation_now_ns(probes[0]->simulation) + duration_ns;
    for (;;) {
        for (size_t i = 0; i < count; i++)
            poll_woken(probes[i]);
        uint64_t now_ns = weir_simulation_now_ns(probes[0]->simulation);
        if (now_ns >= end_ns)
            return;
        /* in slices, so that a wake is served within a millisecond of virtual time */
        uint64_t slice_ns = end_ns - now_ns < PROBE_MS ? end_ns - now_ns : PROBE_MS;
        weir_simulation_run(probes[0]->simulation, slice_ns, NULL, NULL);
        if (weir_simulation_now_ns(probes[0]->simulation) == now_ns)
            weir_simulation_advance(probes[0]->simulation, slice_ns); /* nothing is left to happen */
    }
}

void probe_run(struct probe *probe, uint64_t duration_ns)
{
    probes_run(&probe, 1, duration_ns);
}

const struct probe_event *probe_find(const struct probe *probe, enum weir_kafka_event_kind kind, unsigned number)
{
    for (size_t i = 0; i < probe->event_count; i++) {
        if (probe->events[i].kind == kind && --number == 0)
            return &probe->events[i];
    }
    return NULL;
}

const struct probe_event *probe_wait(struct probe *probe, enum weir_kafka_event_kind kind, unsigned number)
{
    for (int ms = 0; ms < 120000 && !probe_find(probe, kind, number); ms++)
        probe_run(probe, PROBE_MS);
    return probe_find(probe, kind, number);
}

const struct probe_event *probe_tagged(const struct probe *probe, uint64_t tag, unsigned *times)
{
    const struct probe_event *found = NULL;
    *times = 0;
    for (size_t i = 0; i < probe->event_count; i++) {
        if (probe->events[i].tag == tag) {
            found = &probe->events[i];
            (*times)++;
        }
    }
    return found;
}

unsigned probe_count(const struct probe *probe, enum weir_kafka_event_kind kind)
{
    unsigned count = 0;
    for (size_t i = 0; i < probe->event_count; i++)
        count += probe->events[i].kind == kind;
    return count;
}

/* ---- queues and requests ---- */

struct probe_queue *probe_queue(struct probe *probe, int32_t partition)
{
    return place_of(probe, "orders", partition);
}

unsigned probe_held(struct probe *probe)
{
    unsigned count = 0;
    for (size_t i = 0; i < PROBE_QUEUES; i++)
        count += probe->queues[i].queue != NULL;
    return count;
}

unsigned probe_pull(struct probe *probe, int32_t partition, int64_t *offsets, unsigned count_max)
{
    struct probe_queue *queue = probe_queue(probe, partition);
    cr_assert_not_null(queue);
    unsigned count = 0;
    struct weir_record records[16];
    for (unsigned got; (got = probe->kafka->ops->pull(queue->queue, records, 16)) > 0;) {
        for (unsigned i = 0; i < got; i++) {
            if (records[i].kind == WEIR_RECORD_MESSAGE) {
                cr_assert_lt(count, count_max);
                offsets[count++] = records[i].offset;
            }
            probe->kafka->ops->record_free(probe->kafka, records[i].native);
        }
    }
    return count;
}

struct weir_kafka_offset probe_offset(const char *topic, int32_t partition, int64_t offset, const char *metadata)
{
    return (struct weir_kafka_offset){.topic = topic,
                                      .partition = partition,
                                      .offset = offset,
                                      .metadata = metadata,
                                      .metadata_size = metadata ? strlen(metadata) : 0,
                                      .leader_epoch = -1};
}

const struct probe_event *probe_commit(struct probe *probe, int32_t partition, int64_t offset, const char *metadata,
                                       uint64_t tag)
{
    struct weir_kafka_offset commit = probe_offset("orders", partition, offset, metadata);
    cr_assert_eq(probe->kafka->ops->commit(probe->kafka, &commit, 1, tag), 0);
    unsigned times = 0;
    for (int ms = 0; ms < 120000 && times == 0; ms++) {
        probe_run(probe, PROBE_MS);
        probe_tagged(probe, tag, &times);
    }
    return probe_tagged(probe, tag, &times);
}
