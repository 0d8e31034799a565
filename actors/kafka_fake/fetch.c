/*
 * Partition queues of a client: fetching ahead, giving out, and what becomes of the prefetch at seeks and rebalances.
 *
 * A queue is a handle: opened before an assignment, closed before its end, never used again. Fetching goes on while the
 * partition is assigned, positioned, not paused and below its bounds, and rests at the log's end until something is
 * appended. Two positions matter: `app_offset`, one past what was pulled since the last seek, and `next_offset`, where
 * that seek pointed. A pause falls back on the first, or else on the second.
 *
 * Thread: the simulation's.
 *
 * Invariants
 *   1. wake is called when the first record is put into an empty queue without husks, and otherwise only by the fault.
 *   2. A fetch that was sent before a seek, a pause or the end of the assignment brings nothing: its version is old.
 *   3. Natives are kept until the cluster is destroyed, without their content, so that a second free is seen.
 */
#include "actors/kafka_fake/internal.h"
#include <stdlib.h>
#include <string.h>

struct weir_kafka_queue *weir_fake_queue_assigned(const struct weir_fake_client *client, const char *topic,
                                                  int32_t partition)
{
    struct weir_kafka_queue *queue = client->queues;
    while (queue && !(queue->assigned && queue->partition == partition && strcmp(queue->topic, topic) == 0))
        queue = queue->next;
    return queue;
}

struct weir_kafka_queue *weir_fake_queue_opened(const struct weir_fake_client *client, const char *topic,
                                                int32_t partition)
{
    struct weir_kafka_queue *queue = client->queues;
    while (queue && !(queue->open && queue->partition == partition && strcmp(queue->topic, topic) == 0))
        queue = queue->next;
    return queue;
}

/* ---- records ---- */

static struct fake_native *native_make(struct weir_fake_client *client, enum weir_record_kind kind, int64_t offset)
{
    struct fake_native *native = weir_fake_allocate(sizeof *native);
    native->client = client;
    native->kind = kind;
    native->offset = offset;
    native->next = client->natives;
    if (client->natives)
        client->natives->previous = native;
    client->natives = native;
    return native;
}

static void native_empty(struct fake_native *native)
{
    if (native->record)
        weir_fake_record_drop(native->record);
    native->record = NULL;
    if (native->text)
        memset(native->text, 'x', strlen(native->text));
    free(native->text);
    native->text = NULL;
}

/* Of one that was never given out: nobody can have it. */
static void native_free(struct fake_native *native)
{
    if (native->previous)
        native->previous->next = native->next;
    else
        native->client->natives = native->next;
    if (native->next)
        native->next->previous = native->previous;
    native_empty(native);
    free(native);
}

static uint64_t native_bytes(const struct fake_native *native)
{
    return native->record ? native->record->key_size + native->record->value_size + 64 : 64;
}

void weir_fake_record_free(struct weir_kafka *kafka, void *native_pointer)
{
    struct weir_fake_client *client = weir_fake_client_of(kafka);
    struct fake_native *native = native_pointer;
    if (!native || native->client != client || !native->given || native->freed || client->destroyed) {
        weir_fake_violate(client->cluster, "client %u: record_free of %s", client->number,
                          !native                    ? "nothing"
                          : native->client != client ? "another client's record"
                          : native->freed            ? "a record that was freed before"
                          : client->destroyed        ? "a record after destroy"
                                                     : "a record that was not given out");
        return;
    }
    native->freed = true;
    client->outstanding--;
    native_empty(native);
}

bool weir_fake_record_header(struct weir_kafka *kafka, void *native_pointer, size_t index,
                             struct weir_kafka_header *header)
{
    struct weir_fake_client *client = weir_fake_client_of(kafka);
    struct fake_native *native = native_pointer;
    if (!native->given || native->freed || native->client != client) {
        weir_fake_violate(client->cluster, "client %u: header of a record that is not held", client->number);
        return false;
    }
    native->parsed = true;
    if (!native->record || index >= native->record->header_count)
        return false;
    *header = native->record->headers[index];
    return true;
}

bool weir_fake_record_is_parsed(const void *native)
{
    return ((const struct fake_native *)native)->parsed;
}

/* ---- the prefetch ---- */

static void queue_drop(struct weir_kafka_queue *queue)
{
    while (queue->first) {
        struct fake_native *native = queue->first;
        queue->first = native->queued;
        native_free(native);
        queue->husks = true;
    }
    queue->last = &queue->first;
    queue->queued_count = 0;
    queue->queued_bytes = 0;
}

static void wake_owner(struct weir_kafka_queue *queue)
{
    weir_fake_calls_out++;
    queue->wake(queue->argument);
    weir_fake_calls_out--;
}

static void queue_put(struct weir_kafka_queue *queue, struct fake_native *native)
{
    bool edge = !queue->first && !queue->husks;
    *queue->last = native;
    queue->last = &native->queued;
    queue->queued_count++;
    queue->queued_bytes += native_bytes(native);
    if (edge && queue->open)
        wake_owner(queue);
}

static void put_error(struct weir_kafka_queue *queue, enum weir_kafka_error error, const char *text)
{
    struct fake_native *native = native_make(queue->client, WEIR_RECORD_ERROR, queue->fetch_offset);
    native->error = error;
    native->text = weir_fake_copy_text(text);
    queue->client->cluster->counts.error_records++;
    queue_put(queue, native);
}

static void get_stuck(struct weir_kafka_queue *queue, enum weir_kafka_error error, const char *text)
{
    queue->stuck = true;
    queue->stuck_error = error;
    if (error == WEIR_KAFKA_OUT_OF_RANGE)
        queue->client->cluster->counts.out_of_range++;
    put_error(queue, error, text);
}

/* ---- fetching ---- */

struct fetch {
    struct weir_kafka_queue *queue;
    uint64_t version;
};

static void kick(struct weir_kafka_queue *queue);

/* As far as readers of what is committed see. */
static int64_t end_of(const struct weir_kafka_queue *queue)
{
    return weir_fake_stable_end(queue->client->cluster, queue->topic, queue->partition);
}

static void put_records(struct weir_kafka_queue *queue, const struct fake_log *log)
{
    int64_t end = end_of(queue);
    struct weir_fake_client *client = queue->client;
    struct weir_fake_cluster *cluster = client->cluster;
    size_t index = weir_fake_log_find(log, queue->fetch_offset);
    uint64_t count = weir_fake_between(cluster, 1, cluster->settings.fetch_messages_max);
    for (; count > 0 && index < log->count && log->records[index]->offset < end; count--, index++) {
        if (weir_fake_record_is_aborted(log->records[index])) {
            queue->fetch_offset = log->records[index]->offset + 1;
            continue;
        }
        struct fake_native *native = native_make(client, WEIR_RECORD_MESSAGE, log->records[index]->offset);
        native->record = weir_fake_record_copy(log->records[index]);
        queue->fetch_offset = native->offset + 1;
        client->fetched_bytes += native_bytes(native);
        cluster->counts.records_fetched++;
        queue_put(queue, native);
    }
    if (index == log->count || log->records[index]->offset >= end)
        queue->fetch_offset = end; /* past a hole at the end */
}

static void step_back(struct weir_kafka_queue *queue, const struct fake_log *log)
{
    struct weir_fake_cluster *cluster = queue->client->cluster;
    int64_t back = (int64_t)weir_fake_between(cluster, 1, 8);
    if (back > queue->fetch_offset - log->start)
        back = queue->fetch_offset - log->start;
    queue->fetch_offset -= back;
    cluster->counts.records_redelivered += (uint64_t)back;
}

static void fetch_from(struct weir_kafka_queue *queue, const struct fake_log *log)
{
    struct weir_fake_cluster *cluster = queue->client->cluster;
    if (weir_fake_roll(cluster, cluster->faults.error_record))
        put_error(queue, WEIR_KAFKA_RETRIABLE, "broker transport failure");
    if (queue->fetch_offset < log->start || queue->fetch_offset > log->end) {
        get_stuck(queue, WEIR_KAFKA_OUT_OF_RANGE, "fetch position is not in the log");
        return;
    }
    if (weir_fake_roll(cluster, cluster->faults.redelivery))
        step_back(queue, log);
    int64_t end = end_of(queue);
    if (queue->fetch_offset < end) {
        put_records(queue, log);
    } else if (queue->eof_offset != end) {
        queue->eof_offset = end;
        cluster->counts.eof_records++;
        queue_put(queue, native_make(queue->client, WEIR_RECORD_EOF, end));
    }
}

static bool is_at_rest(const struct weir_kafka_queue *queue)
{
    const struct fake_log *log = weir_fake_log(queue->client->cluster, queue->topic, queue->partition);
    int64_t end = log ? end_of(queue) : 0;
    return log && queue->fetch_offset >= end && queue->eof_offset == end;
}

static void on_spurious_wake(void *argument)
{
    struct weir_kafka_queue *queue = argument;
    if (queue->open && !weir_fake_client_is_gone(queue->client)) {
        queue->client->cluster->counts.spurious_wakes++;
        wake_owner(queue);
    }
}

static void fetch_chances(struct weir_kafka_queue *queue)
{
    struct weir_fake_cluster *cluster = queue->client->cluster;
    if (weir_fake_roll(cluster, cluster->faults.spurious_wake))
        weir_fake_after(cluster, weir_fake_latency(cluster), on_spurious_wake, NULL, queue);
    if (weir_fake_roll(cluster, cluster->faults.trouble))
        weir_fake_note(queue->client, &(struct weir_kafka_event){.kind = WEIR_KAFKA_TROUBLE,
                                                                 .error = WEIR_KAFKA_RETRIABLE,
                                                                 .text = "1 of 3 brokers is down"});
}

static void on_fetched(void *argument)
{
    struct fetch fetch = *(struct fetch *)argument;
    struct weir_kafka_queue *queue = fetch.queue;
    struct weir_fake_client *client = queue->client;
    if (queue->version != fetch.version || weir_fake_client_is_gone(client)) {
        free(argument);
        return;
    }
    uint64_t until_ns = weir_fake_blocked_until(client, false);
    if (until_ns) {
        uint64_t delay_ns = until_ns - weir_fake_now(client->cluster) + weir_fake_latency(client->cluster);
        weir_fake_after(client->cluster, delay_ns, on_fetched, free, argument);
        return;
    }
    free(argument);
    queue->fetching = false;
    const struct fake_topic *topic = weir_fake_topic(client->cluster, queue->topic);
    const struct fake_log *log = weir_fake_log(client->cluster, queue->topic, queue->partition);
    if (!log)
        get_stuck(queue, WEIR_KAFKA_UNKNOWN_TOPIC, "unknown topic or partition");
    else if (topic->denied)
        get_stuck(queue, WEIR_KAFKA_AUTHORIZATION, "topic authorization failed");
    else
        fetch_from(queue, log);
    fetch_chances(queue);
    if (queue->version == fetch.version) /* nobody may call back in, but a wake is somebody else's code */
        kick(queue);
}

static void kick(struct weir_kafka_queue *queue)
{
    struct weir_fake_client *client = queue->client;
    const struct weir_fake_settings *settings = &client->cluster->settings;
    if (!queue->assigned || queue->fetching || queue->stuck || queue->fetch_offset < 0 || client->paused ||
        client->fatal || weir_fake_client_is_gone(client) || queue->queued_count >= settings->queued_messages_max ||
        queue->queued_bytes >= settings->queued_bytes_max || is_at_rest(queue))
        return;
    queue->fetching = true;
    struct fetch *fetch = weir_fake_allocate(sizeof *fetch);
    *fetch = (struct fetch){queue, queue->version};
    weir_fake_after(client->cluster, weir_fake_latency(client->cluster), on_fetched, free, fetch);
}

void weir_fake_fetch_kick(struct weir_fake_cluster *cluster, const char *topic, int32_t partition)
{
    for (struct weir_fake_client *client = cluster->clients; client; client = client->next) {
        struct weir_kafka_queue *queue = weir_fake_queue_assigned(client, topic, partition);
        if (queue)
            kick(queue);
    }
}

void weir_fake_fetch_unstick(struct weir_fake_cluster *cluster, const char *topic)
{
    for (struct weir_fake_client *client = cluster->clients; client; client = client->next) {
        for (struct weir_kafka_queue *queue = client->queues; queue; queue = queue->next) {
            if (queue->topic == topic && queue->stuck && queue->stuck_error != WEIR_KAFKA_OUT_OF_RANGE) {
                queue->stuck = false;
                kick(queue);
            }
        }
    }
}

/* ---- positions ---- */

/* Fetch from `offset` on; what is under way or queued is void. */
static void restart(struct weir_kafka_queue *queue, int64_t offset)
{
    queue->version++;
    queue->fetching = false;
    queue->stuck = false;
    queue->eof_offset = FAKE_POSITION_NONE;
    queue->next_offset = queue->fetch_offset = offset;
    queue_drop(queue);
    kick(queue);
}

void weir_fake_queue_begin(struct weir_kafka_queue *queue, int64_t offset)
{
    queue->assigned = queue->was_assigned = true;
    queue->app_offset = FAKE_POSITION_NONE;
    restart(queue, offset);
}

void weir_fake_queue_end(struct weir_kafka_queue *queue)
{
    queue->assigned = false;
    restart(queue, FAKE_POSITION_NONE);
}

void weir_fake_queue_seek(struct weir_kafka_queue *queue, int64_t offset)
{
    queue->app_offset = FAKE_POSITION_NONE;
    restart(queue, offset);
}

/* A batch was being gathered when the pause came: the position has passed it, and it is gone. */
static void purge_ahead(struct weir_kafka_queue *queue)
{
    struct weir_fake_cluster *cluster = queue->client->cluster;
    uint64_t batch = weir_fake_between(cluster, 1, queue->queued_count);
    for (const struct fake_native *native = queue->first; native && batch > 0; native = native->queued, batch--) {
        if (native->kind != WEIR_RECORD_MESSAGE)
            continue;
        queue->app_offset = native->offset + 1;
        cluster->counts.records_skipped_by_purge++;
    }
}

void weir_fake_queues_pause(struct weir_fake_client *client)
{
    struct weir_fake_cluster *cluster = client->cluster;
    client->paused = true;
    client->pauses++;
    for (struct weir_kafka_queue *queue = client->queues; queue; queue = queue->next) {
        if (!queue->assigned)
            continue;
        if (queue->queued_count > 0 && weir_fake_roll(cluster, cluster->faults.purge_ahead))
            purge_ahead(queue);
        cluster->counts.records_purged += queue->queued_count;
        bool stuck = queue->stuck;
        restart(queue, queue->app_offset >= 0 ? queue->app_offset : queue->next_offset);
        queue->stuck = stuck && queue->stuck_error == WEIR_KAFKA_OUT_OF_RANGE;
    }
}

void weir_fake_queues_resume(struct weir_fake_client *client)
{
    if (client->fatal)
        return;
    client->paused = false;
    for (struct weir_kafka_queue *queue = client->queues; queue; queue = queue->next)
        kick(queue);
}

/* ---- the door ---- */

struct weir_kafka_queue *weir_fake_queue_open(struct weir_kafka *kafka, const char *topic, int32_t partition,
                                              void (*wake)(void *argument), void *argument)
{
    struct weir_fake_client *client = weir_fake_client_of(kafka);
    weir_fake_control_call(client, "queue_open");
    if (weir_fake_memory_is_short(client->cluster))
        return NULL;
    topic = weir_fake_intern(client->cluster, topic);
    if (weir_fake_queue_opened(client, topic, partition))
        weir_fake_violate(client->cluster, "client %u: queue of %s/%d opened twice", client->number, topic, partition);
    struct weir_kafka_queue *queue = weir_fake_allocate(sizeof *queue);
    queue->client = client;
    queue->topic = topic;
    queue->partition = partition;
    queue->wake = wake;
    queue->argument = argument;
    queue->open = true;
    queue->last = &queue->first;
    queue->app_offset = queue->next_offset = queue->fetch_offset = queue->eof_offset = FAKE_POSITION_NONE;
    struct weir_kafka_queue **end = &client->queues;
    while (*end)
        end = &(*end)->next;
    *end = queue;
    return queue;
}

void weir_fake_queue_close(struct weir_kafka *kafka, struct weir_kafka_queue *queue)
{
    struct weir_fake_client *client = weir_fake_client_of(kafka);
    weir_fake_control_call(client, "queue_close");
    if (queue->client != client || !queue->open)
        weir_fake_violate(client->cluster, "client %u: queue of %s/%d closed twice, or by another client",
                          client->number, queue->topic, queue->partition);
    queue->open = false;
    queue_drop(queue);
}

/* Nothing may be pulled now, and the caller is to know. */
static const char *misuse(const struct weir_kafka_queue *queue)
{
    const struct weir_fake_client *client = queue->client;
    if (weir_fake_client_is_gone(client) || client->closed)
        return "of a client that has ended";
    if (!queue->open)
        return "of a closed queue";
    if (client->open)
        return "while a rebalance event is open";
    if (queue->seeks_open > 0)
        return "while it is sought";
    if (queue->assigned && queue->next_offset < 0)
        return "before it was sought";
    return NULL;
}

static void give(struct weir_kafka_queue *queue, struct weir_record *record)
{
    struct fake_native *native = queue->first;
    queue->first = native->queued;
    if (!queue->first)
        queue->last = &queue->first;
    native->queued = NULL;
    queue->queued_count--;
    queue->queued_bytes -= native_bytes(native);
    native->given = true;
    queue->client->outstanding++;
    if (native->kind == WEIR_RECORD_MESSAGE)
        queue->app_offset = native->offset + 1;
    *record = (struct weir_record){.offset = native->offset,
                                   .timestamp_ms = -1,
                                   .native = native,
                                   .text = native->text,
                                   .kind = native->kind,
                                   .error = native->error};
    if (native->record) {
        record->key = native->record->key;
        record->key_size = native->record->key_size;
        record->value = native->record->value;
        record->value_size = native->record->value_size;
        record->timestamp_ms = native->record->timestamp_ms;
    }
}

unsigned weir_fake_pull(struct weir_kafka_queue *queue, struct weir_record *records, unsigned count_max)
{
    struct weir_fake_cluster *cluster = queue->client->cluster;
    const char *what = misuse(queue);
    if (what) {
        weir_fake_violate(cluster, "client %u: pull of %s/%d %s", queue->client->number, queue->topic, queue->partition,
                          what);
        return 0;
    }
    queue->husks = false;
    if (queue->queued_count > 1 && count_max > 1 && weir_fake_roll(cluster, cluster->faults.short_pull)) {
        cluster->counts.short_pulls++;
        uint64_t most = queue->queued_count < count_max ? queue->queued_count : count_max;
        count_max = (unsigned)weir_fake_between(cluster, 1, most - 1);
    }
    unsigned count = 0;
    while (count < count_max && queue->first)
        give(queue, &records[count++]);
    kick(queue);
    return count;
}

void weir_fake_fetch_free(struct weir_fake_client *client)
{
    while (client->natives) {
        struct fake_native *native = client->natives;
        client->natives = native->next;
        native_empty(native);
        free(native);
    }
    while (client->queues) {
        struct weir_kafka_queue *queue = client->queues;
        client->queues = queue->next;
        free(queue);
    }
}
