/*
 * A client of the in-memory cluster: its table of functions, the events it hands over, its end.
 *
 * Events wait in one list in the order they happened. While a rebalance event is open those behind it still come; there
 * is never a second one, for the next thing the group asks of the client is looked at after the answer
 * (member.c).
 *
 * Thread: the simulation's. Calls of the control thread are checked to come from worker 0, or from outside the workers.
 *
 * Invariants
 *   1. `rebalance` is the one rebalance event that is queued or open; `open` says that it has been handed over.
 *   2. CLOSED is queued when the group has been left and every request and produced message has been answered.
 */
#include "actors/kafka_fake/internal.h"
#include "runtime/check.h"
#include "runtime/worker.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct weir_kafka_ops ops;

struct weir_fake_client *weir_fake_client_of(struct weir_kafka *kafka)
{
    WEIR_CHECK(kafka->ops == &ops);
    return WEIR_CONTAINER(kafka, struct weir_fake_client, kafka);
}

static const struct weir_fake_client *client_of(const struct weir_kafka *kafka)
{
    return weir_fake_client_of((struct weir_kafka *)(uintptr_t)kafka);
}

bool weir_fake_client_is_gone(const struct weir_fake_client *client)
{
    return client->crashed || client->destroyed;
}

uint64_t weir_fake_blocked_until(const struct weir_fake_client *client, bool coordinator)
{
    const struct weir_fake_cluster *cluster = client->cluster;
    uint64_t until_ns = client->partitioned_until_ns;
    if (cluster->broker_down_until_ns > until_ns)
        until_ns = cluster->broker_down_until_ns;
    if (coordinator && cluster->coordinator_down_until_ns > until_ns)
        until_ns = cluster->coordinator_down_until_ns;
    return until_ns > weir_fake_now(cluster) ? until_ns : 0;
}

uint64_t weir_fake_lane(struct weir_fake_client *client, uint64_t *lane_ns, uint64_t delay_ns)
{
    uint64_t now_ns = weir_fake_now(client->cluster);
    uint64_t due_ns = now_ns + delay_ns;
    if (due_ns <= *lane_ns)
        due_ns = *lane_ns + 1;
    *lane_ns = due_ns;
    return due_ns - now_ns;
}

void weir_fake_control_call(struct weir_fake_client *client, const char *what)
{
    struct weir_worker *worker = weir_worker_current();
    if (worker && weir_worker_number(worker) != WEIR_WORKER_CONTROL)
        weir_fake_violate(client->cluster, "client %u: %s on worker %u, must be on the control worker", client->number,
                          what, weir_worker_number(worker));
    if (weir_fake_client_is_gone(client) || !client->started || client->closed)
        weir_fake_violate(client->cluster, "client %u: %s when it is %s", client->number, what,
                          client->destroyed  ? "destroyed"
                          : client->crashed  ? "crashed"
                          : !client->started ? "not started"
                                             : "closed");
}

/* ---- events ---- */

unsigned weir_fake_calls_out;

static void wake(struct weir_fake_client *client)
{
    if (!client->started || weir_fake_client_is_gone(client))
        return;
    weir_fake_calls_out++;
    client->listener->wake(client->listener);
    weir_fake_calls_out--;
}

static void on_spurious_wake(void *argument)
{
    struct weir_fake_client *client = argument;
    if (!client->closed) {
        client->cluster->counts.spurious_wakes++;
        wake(client);
    }
}

struct fake_note *weir_fake_note(struct weir_fake_client *client, const struct weir_kafka_event *event)
{
    struct fake_note *note = weir_fake_allocate(sizeof *note);
    note->event = *event;
    note->text = event->text ? weir_fake_copy_text(event->text) : NULL;
    note->event.text = note->text;
    note->offsets = weir_fake_allocate(event->count * sizeof *note->offsets);
    for (size_t i = 0; i < event->count; i++) {
        note->offsets[i] = event->offsets[i];
        note->offsets[i].topic = weir_fake_intern(client->cluster, event->offsets[i].topic);
        if (event->offsets[i].metadata)
            note->offsets[i].metadata = weir_fake_copy_text(event->offsets[i].metadata);
    }
    note->event.offsets = note->offsets;
    *client->notes_end = note;
    client->notes_end = &note->next;
    if (weir_fake_roll(client->cluster, client->cluster->faults.spurious_wake))
        weir_fake_after(client->cluster, weir_fake_latency(client->cluster), on_spurious_wake, NULL, client);
    wake(client);
    return note;
}

static void note_free(struct fake_note *note)
{
    for (size_t i = 0; i < note->event.count; i++)
        free((void *)(uintptr_t)note->offsets[i].metadata);
    free(note->offsets);
    free(note->text);
    free(note);
}

struct event_timer {
    struct weir_fake_client *client;
    uint64_t number;
};

/* An event that nobody answers keeps the member from polling, and the coordinator removes it. */
static void on_event_unanswered(void *argument)
{
    struct event_timer timer = *(struct event_timer *)argument;
    free(argument);
    struct weir_fake_client *client = timer.client;
    if (client->rebalance && client->rebalance_number == timer.number && !weir_fake_client_is_gone(client))
        weir_fake_group_remove(client->group, client->member_id, true);
}

static void check_debt(const struct weir_fake_client *client)
{
    if (client->owes_close)
        weir_fake_violate(client->cluster, "client %u: an assign left partitions out, and no close followed",
                          client->number);
}

void weir_fake_rebalance_note(struct weir_fake_client *client, enum weir_kafka_event_kind kind,
                              const struct fake_set *set)
{
    WEIR_CHECK(!client->rebalance);
    check_debt(client);
    struct weir_fake_counts *counts = &client->cluster->counts;
    *(kind == WEIR_KAFKA_ASSIGN   ? &counts->assigns
      : kind == WEIR_KAFKA_REVOKE ? &counts->revokes
                                  : &counts->losses) += 1;
    weir_fake_queues_pause(client);
    struct weir_kafka_offset *offsets = weir_fake_allocate(set->count * sizeof *offsets);
    for (size_t i = 0; i < set->count; i++)
        offsets[i] = (struct weir_kafka_offset){
            .topic = set->items[i].topic, .partition = set->items[i].partition, .offset = -1, .leader_epoch = -1};
    struct weir_kafka_event event = {
        .kind = kind, .cooperative = client->cooperative, .offsets = offsets, .count = set->count};
    client->rebalance_number++;
    client->open = false;
    client->rebalance = weir_fake_note(client, &event);
    free(offsets);
    if (kind == WEIR_KAFKA_ASSIGN) {
        for (size_t i = 0; i < set->count; i++)
            weir_fake_set_add(&client->owned, set->items[i].topic, set->items[i].partition);
    }
    struct event_timer *timer = weir_fake_allocate(sizeof *timer);
    *timer = (struct event_timer){client, client->rebalance_number};
    weir_fake_after(client->cluster, client->cluster->settings.rebalance_timeout_ns, on_event_unanswered, free, timer);
}

static void hand_over(struct weir_fake_client *client, struct fake_note *note)
{
    if (note == client->rebalance) {
        if (note->event.kind == WEIR_KAFKA_REVOKE && client->lost)
            note->event.kind = WEIR_KAFKA_LOST; /* it happened while the event waited */
        client->open = true;
    }
    if (note->event.kind == WEIR_KAFKA_CLOSED)
        client->closed = true;
    client->handing = note;
    weir_fake_calls_out++;
    client->listener->event(client->listener, &note->event);
    weir_fake_calls_out--;
    client->handing = NULL;
    if (note != client->rebalance) /* which it was, and is no more, if it was answered within the call */
        note_free(note);
}

static struct fake_note *take_note(struct weir_fake_client *client)
{
    struct fake_note *note = client->notes;
    if (!note)
        return NULL;
    client->notes = note->next;
    if (!client->notes)
        client->notes_end = &client->notes;
    note->next = NULL;
    return note;
}

static unsigned fake_poll(struct weir_kafka *kafka, unsigned count_max)
{
    struct weir_fake_client *client = weir_fake_client_of(kafka);
    if (client->closed && !client->destroyed)
        return 0;
    weir_fake_control_call(client, "poll");
    if (client->polling)
        weir_fake_violate(client->cluster, "client %u: poll within an event", client->number);
    if (client->polling || weir_fake_client_is_gone(client) || !client->started)
        return 0;
    client->polling = true;
    unsigned count = 0;
    struct fake_note *note;
    while (count < count_max && !client->crashed && (note = take_note(client)) != NULL) {
        hand_over(client, note);
        count++;
    }
    client->polling = false;
    return count;
}

/* ---- answers to rebalance events ---- */

static bool names(const struct weir_kafka_event *event, const char *topic, int32_t partition)
{
    for (size_t i = 0; i < event->count; i++) {
        if (event->offsets[i].partition == partition && strcmp(event->offsets[i].topic, topic) == 0)
            return true;
    }
    return false;
}

static void answered(struct weir_fake_client *client)
{
    if (client->rebalance != client->handing)
        note_free(client->rebalance);
    client->rebalance = NULL;
    client->open = false;
    for (struct weir_kafka_queue *queue = client->queues; queue; queue = queue->next) {
        if (queue->assigned && !queue->open)
            weir_fake_violate(client->cluster, "client %u: queue of %s/%d closed, but the partition stays assigned",
                              client->number, queue->topic, queue->partition);
    }
    weir_fake_queues_resume(client);
    weir_fake_member_settle_soon(client);
}

static void assign_one(struct weir_fake_client *client, const struct weir_kafka_offset *offset)
{
    const char *topic = weir_fake_intern(client->cluster, offset->topic);
    struct weir_kafka_queue *queue = weir_fake_queue_opened(client, topic, offset->partition);
    if (!names(&client->rebalance->event, offset->topic, offset->partition))
        weir_fake_violate(client->cluster, "client %u: assign of %s/%d, which the event does not name", client->number,
                          topic, offset->partition);
    else if (!queue)
        weir_fake_violate(client->cluster, "client %u: assign of %s/%d, whose queue was not opened", client->number,
                          topic, offset->partition);
    else if (queue->assigned)
        weir_fake_violate(client->cluster, "client %u: assign of %s/%d twice", client->number, topic,
                          offset->partition);
    else
        weir_fake_queue_begin(queue, offset->offset);
}

static int fake_assign(struct weir_kafka *kafka, const struct weir_kafka_offset *offsets, size_t count)
{
    struct weir_fake_client *client = weir_fake_client_of(kafka);
    weir_fake_control_call(client, "assign");
    if (!client->open || client->rebalance->event.kind != WEIR_KAFKA_ASSIGN) {
        weir_fake_violate(client->cluster, "client %u: assign answers nothing", client->number);
        return WEIR_STATE;
    }
    client->owes_close = count < client->rebalance->event.count;
    if (count > client->rebalance->event.count)
        weir_fake_violate(client->cluster, "client %u: assign of %zu partitions, the event names %zu", client->number,
                          count, client->rebalance->event.count);
    for (size_t i = 0; i < count; i++)
        assign_one(client, &offsets[i]);
    answered(client);
    return 0;
}

static int fake_unassign(struct weir_kafka *kafka)
{
    struct weir_fake_client *client = weir_fake_client_of(kafka);
    weir_fake_control_call(client, "unassign");
    if (!client->open || client->rebalance->event.kind == WEIR_KAFKA_ASSIGN) {
        weir_fake_violate(client->cluster, "client %u: unassign answers nothing", client->number);
        return WEIR_STATE;
    }
    const struct weir_kafka_event *event = &client->rebalance->event;
    for (size_t i = 0; i < event->count; i++) {
        const struct weir_kafka_offset *offset = &event->offsets[i];
        struct weir_kafka_queue *queue = weir_fake_queue_assigned(client, offset->topic, offset->partition);
        if (queue && queue->open)
            weir_fake_violate(client->cluster, "client %u: unassign before the queue of %s/%d was closed",
                              client->number, offset->topic, offset->partition);
        if (queue)
            weir_fake_queue_end(queue);
        weir_fake_set_remove(&client->owned, offset->topic, offset->partition);
    }
    answered(client);
    return 0;
}

/* ---- life ---- */

static void on_statistics(void *argument)
{
    struct weir_fake_client *client = argument;
    if (weir_fake_client_is_gone(client) || client->closed_queued)
        return;
    weir_fake_note(client,
                   &(struct weir_kafka_event){.kind = WEIR_KAFKA_STATISTICS, .fetched_bytes = client->fetched_bytes});
    weir_fake_after(client->cluster, client->cluster->settings.statistics_ns, on_statistics, NULL, client);
}

static int fake_start(struct weir_kafka *kafka, struct weir_kafka_listener *listener, struct weir_error *error)
{
    struct weir_fake_client *client = weir_fake_client_of(kafka);
    if (client->started || weir_fake_client_is_gone(client)) {
        weir_fake_violate(client->cluster, "client %u: start twice, or after its end", client->number);
        return WEIR_STATE;
    }
    client->started = true;
    client->listener = listener;
    client->rejoin = true;
    weir_fake_metadata_first(client);
    weir_fake_member_settle_soon(client);
    if (client->cluster->settings.statistics_ns)
        weir_fake_after(client->cluster, client->cluster->settings.statistics_ns, on_statistics, NULL, client);
    return 0;
}

static int32_t fake_partition_count(struct weir_kafka *kafka, const char *topic)
{
    struct weir_fake_client *client = weir_fake_client_of(kafka);
    for (struct fake_topic_seen *seen = client->seen; seen; seen = seen->next) {
        if (strcmp(seen->name, topic) == 0)
            return seen->partition_count;
    }
    return -1;
}

static const char *fake_cluster_id(struct weir_kafka *kafka)
{
    struct weir_fake_client *client = weir_fake_client_of(kafka);
    return client->connected ? client->cluster->id : NULL;
}

static void on_flush_over(void *argument)
{
    struct weir_fake_client *client = argument;
    if (!weir_fake_client_is_gone(client))
        weir_fake_produce_expire(client);
}

static int fake_close(struct weir_kafka *kafka, uint64_t flush_ms_max)
{
    struct weir_fake_client *client = weir_fake_client_of(kafka);
    weir_fake_control_call(client, "close");
    if (client->closing) {
        weir_fake_violate(client->cluster, "client %u: close twice", client->number);
        return WEIR_STATE;
    }
    client->closing = true;
    client->owes_close = false;
    weir_fake_after(client->cluster, flush_ms_max * FAKE_MS, on_flush_over, NULL, client);
    weir_fake_member_settle_soon(client);
    return 0;
}

void weir_fake_client_close_check(struct weir_fake_client *client)
{
    if (!client->left || client->closed_queued || client->requests_open || client->produces_open)
        return;
    client->closed_queued = true;
    if (client->instance)
        weir_fake_group_watch_session(client); /* a static member does not leave: it is missed */
    weir_fake_note(client, &(struct weir_kafka_event){.kind = WEIR_KAFKA_CLOSED});
}

static void fake_destroy(struct weir_kafka *kafka)
{
    struct weir_fake_client *client = weir_fake_client_of(kafka);
    struct weir_fake_cluster *cluster = client->cluster;
    check_debt(client);
    if (client->crashed || client->destroyed || (client->started && !client->closed))
        weir_fake_violate(cluster, "client %u: destroy when it is %s", client->number,
                          client->crashed     ? "crashed"
                          : client->destroyed ? "destroyed"
                                              : "not closed");
    if (client->outstanding > 0)
        weir_fake_violate(cluster, "client %u: destroy with %llu records not freed: the real one would hang",
                          client->number, (unsigned long long)client->outstanding);
    for (struct weir_kafka_queue *queue = client->queues; queue; queue = queue->next) {
        if (queue->open)
            weir_fake_violate(cluster, "client %u: destroy with the queue of %s/%d open", client->number, queue->topic,
                              queue->partition);
    }
    client->destroyed = true;
}

static const struct weir_kafka_ops ops = {
    .start = fake_start,
    .poll = fake_poll,
    .assign = fake_assign,
    .unassign = fake_unassign,
    .queue_open = weir_fake_queue_open,
    .queue_close = weir_fake_queue_close,
    .pull = weir_fake_pull,
    .record_free = weir_fake_record_free,
    .record_header = weir_fake_record_header,
    .fetch_committed = weir_fake_fetch_committed,
    .fetch_watermarks = weir_fake_fetch_watermarks,
    .seek = weir_fake_seek,
    .commit = weir_fake_commit,
    .produce = weir_fake_produce,
    .transaction_begin = weir_fake_transaction_begin,
    .transaction_offsets = weir_fake_transaction_offsets,
    .transaction_commit = weir_fake_transaction_commit,
    .transaction_abort = weir_fake_transaction_abort,
    .partition_count = fake_partition_count,
    .cluster_id = fake_cluster_id,
    .close = fake_close,
    .destroy = fake_destroy,
};

struct weir_kafka *weir_fake_client_create(struct weir_fake_cluster *cluster, const struct weir_fake_member *member)
{
    struct weir_fake_client *client = weir_fake_allocate(sizeof *client);
    client->kafka.ops = &ops;
    client->cluster = cluster;
    client->group = weir_fake_group(cluster, member->group);
    weir_fake_subscription_init(&client->subscription, cluster, member->topics);
    client->instance = member->instance_id ? weir_fake_intern(cluster, member->instance_id) : NULL;
    client->cooperative = member->cooperative;
    client->generation = -1;
    client->notes_end = &client->notes;
    struct weir_fake_client **end = &cluster->clients;
    client->number = 1;
    for (; *end; end = &(*end)->next)
        client->number++;
    *end = client;
    if (member->transactional) { /* a name of its own, or that of its instance */
        char name[96];
        snprintf(name, sizeof name, "producer-%.64s-%u", member->instance_id ? member->instance_id : "",
                 member->instance_id ? 0 : client->number);
        client->transactional_id = weir_fake_intern(cluster, name);
    }
    return &client->kafka;
}

void weir_fake_client_free(struct weir_fake_client *client)
{
    struct fake_note *note;
    while ((note = take_note(client)) != NULL) {
        if (note != client->rebalance)
            note_free(note);
    }
    if (client->rebalance)
        note_free(client->rebalance);
    while (client->seen) {
        struct fake_topic_seen *seen = client->seen;
        client->seen = seen->next;
        free(seen);
    }
    weir_fake_fetch_free(client);
    weir_fake_produce_free(client);
    weir_fake_set_clear(&client->owned);
    weir_fake_set_clear(&client->added);
    weir_fake_subscription_deinit(&client->subscription);
    free(client);
}

void weir_fake_client_crash(struct weir_kafka *kafka)
{
    struct weir_fake_client *client = weir_fake_client_of(kafka);
    client->crashed = true;
    weir_fake_group_watch_session(client);
}

void weir_fake_client_partition(struct weir_kafka *kafka, uint64_t duration_ns)
{
    weir_fake_member_cut_off(weir_fake_client_of(kafka), duration_ns);
}

void weir_fake_client_fence(struct weir_kafka *kafka)
{
    struct weir_fake_client *client = weir_fake_client_of(kafka);
    weir_fake_group_remove(client->group, client->member_id, true);
}

void weir_fake_client_fatal(struct weir_kafka *kafka)
{
    struct weir_fake_client *client = weir_fake_client_of(kafka);
    if (client->fatal || client->closed_queued || weir_fake_client_is_gone(client))
        return;
    client->fatal = true;
    if (!client->paused)
        weir_fake_queues_pause(client);
    weir_fake_group_remove(client->group, client->member_id, false);
    weir_fake_note(client, &(struct weir_kafka_event){
                               .kind = WEIR_KAFKA_TROUBLE, .error = WEIR_KAFKA_FATAL, .text = "fatal client error"});
    weir_fake_member_settle_soon(client);
}

void weir_fake_fail(struct weir_kafka *kafka, enum weir_fake_request request, enum weir_kafka_error error,
                    unsigned count, bool applied)
{
    weir_fake_client_of(kafka)->failures[request] = (struct fake_failure){error, count, applied};
}

bool weir_fake_client_holds(const struct weir_kafka *kafka, const char *topic, int32_t partition)
{
    return weir_fake_queue_assigned(client_of(kafka), topic, partition) != NULL;
}

uint64_t weir_fake_client_assignments(const struct weir_kafka *kafka, const char *topic, int32_t partition)
{
    uint64_t count = 0;
    for (const struct weir_kafka_queue *queue = client_of(kafka)->queues; queue; queue = queue->next)
        count += queue->partition == partition && queue->was_assigned && strcmp(queue->topic, topic) == 0;
    return count;
}

uint64_t weir_fake_client_outstanding(const struct weir_kafka *kafka)
{
    return client_of(kafka)->outstanding;
}

bool weir_fake_client_is_closed(const struct weir_kafka *kafka)
{
    return client_of(kafka)->closed;
}
