/*
 * Partition queues and what is pulled from them.
 *
 * Threads: pull runs on the partition's worker, the wake on a librdkafka thread with the queue's lock held (it only
 * passes the wake on), records are freed and read on any thread, the rest is control's.
 *
 * Invariants
 *   F1. A queue's handle is fetched anew at each assign, and cut from the consumer queue before the partition is
 *       assigned: librdkafka then leaves it apart for good.
 *   F2. A pull never waits: with a time-out librdkafka would wait for a full batch.
 *   F3. Nothing is taken from a queue while `busy` is held by control (seeking by restart, see seek.c). The
 *       owner is woken when it is released.
 *   F4. librdkafka wakes at the edge from empty to non-empty only. A pull that returns less than it was asked for has
 *       seen the queue empty, or control holding it; either way a wake follows.
 *   F5. A closed queue's handle is kept until the partition is assigned again, or the client goes, and drained then:
 *       what lies in the queue holds the partition, and rd_kafka_destroy() waits for a partition for ever once its
 * topic has been deleted. librdkafka adds to a queue until it has seen the unassignment, so draining at the close is
 * not enough. There are as many handles as partitions that were ever owned.
 */
#include "actors/librdkafka/client.h"
#include "runtime/memory.h"
#include <sched.h>
#include <string.h>

enum { BATCH = 128 }; /* 64 are as fast as 4,096; this many pointers on the stack */

/* ---- opening and closing ---- */

static void on_messages(rd_kafka_t *rk, void *opaque)
{
    struct weir_kafka_queue *queue = opaque;
    (void)atomic_load_explicit(&queue->published, memory_order_acquire); /* partner: release in queue_open */
    queue->wake(queue->argument);
}

/* Take out all that lies in it. */
static void drain(rd_kafka_queue_t *queue)
{
    rd_kafka_message_t *messages[BATCH];
    for (ssize_t count = BATCH; count == BATCH;) {
        count = rd_kafka_consume_batch_queue(queue, 0, messages, BATCH);
        for (ssize_t index = 0; index < count; index++)
            rd_kafka_message_destroy(messages[index]);
    }
}

static struct weir_kafka_queue **place_of(struct weir_kafka_queue **link, const char *topic, int32_t partition)
{
    while (*link && !((*link)->partition == partition && strcmp((*link)->topic, topic) == 0))
        link = &(*link)->after;
    return link;
}

/* Let go of the handle that an earlier assignment has left (F5). */
static void forget_left(struct weir_kafka_queue **link)
{
    struct weir_kafka_queue *queue = *link;
    *link = queue->after;
    drain(queue->queue);
    rd_kafka_queue_destroy(queue->queue);
    weir_memory_free(queue);
}

void weir_rdkafka_queues_deinit(struct weir_rdkafka *client)
{
    while (client->queues_left)
        forget_left(&client->queues_left);
}

struct weir_kafka_queue *weir_rdkafka_queue_open(struct weir_kafka *kafka, const char *topic, int32_t partition,
                                                 void (*wake)(void *argument), void *argument)
{
    struct weir_rdkafka *client = weir_rdkafka_of(kafka);
    size_t topic_size = strlen(topic) + 1;
    struct weir_kafka_queue *queue = weir_memory_allocate_zeroed(1, sizeof *queue + topic_size);
    if (!queue)
        return NULL;
    queue->queue = rd_kafka_queue_get_partition(client->rk, topic, partition);
    if (!queue->queue) {
        weir_memory_free(queue);
        return NULL;
    }
    struct weir_kafka_queue **left = place_of(&client->queues_left, topic, partition);
    if (*left)
        forget_left(left);
    queue->rk = client->rk;
    queue->client = client;
    queue->next = -1;
    queue->wake = wake;
    queue->argument = argument;
    queue->partition = partition;
    memcpy(queue->topic, topic, topic_size);
    queue->after = client->queues;
    client->queues = queue;
    rd_kafka_queue_forward(queue->queue, NULL);
    drain(queue->queue); /* what an earlier assignment left is outdated, but while it lies there no edge comes */
    atomic_store_explicit(&queue->published, 1, memory_order_release); /* partner: acquire in on_messages */
    rd_kafka_queue_cb_event_enable(queue->queue, on_messages, queue);
    return queue;
}

void weir_rdkafka_queue_close(struct weir_kafka *kafka, struct weir_kafka_queue *queue)
{
    struct weir_rdkafka *client = weir_rdkafka_of(kafka);
    struct weir_kafka_queue **link = place_of(&client->queues, queue->topic, queue->partition);
    WEIR_CHECK(*link == queue);
    *link = queue->after;
    /* librdkafka calls the wake under the queue's lock, which this takes: after it, no wake is under way. */
    rd_kafka_queue_cb_event_enable(queue->queue, NULL, NULL);
    drain(queue->queue);
    queue->after = client->queues_left;
    client->queues_left = queue;
}

struct weir_kafka_queue *weir_rdkafka_queue_find(struct weir_rdkafka *client, const char *topic, int32_t partition)
{
    return *place_of(&client->queues, topic, partition);
}

/* ---- holding ---- */

static bool try_take(struct weir_kafka_queue *queue)
{
    return !atomic_exchange_explicit(&queue->busy, true, memory_order_acquire); /* partner: give_back */
}

static void give_back(struct weir_kafka_queue *queue)
{
    atomic_store_explicit(&queue->busy, false, memory_order_release); /* partner: try_take */
}

/* A pull in progress ends by itself: it never waits. */
void weir_rdkafka_queue_hold(struct weir_kafka_queue *queue)
{
    while (!try_take(queue))
        sched_yield();
}

void weir_rdkafka_queue_release(struct weir_kafka_queue *queue)
{
    give_back(queue);
    queue->wake(queue->argument);
}

void weir_rdkafka_queue_forget(struct weir_kafka_queue *queue)
{
    weir_rdkafka_queue_hold(queue);
    queue->next = -1;
    give_back(queue);
}

/* ---- pulling ---- */

static void fill_error(struct weir_record *record, rd_kafka_message_t *message)
{
    bool is_end = message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
    *record = (struct weir_record){
        .offset = message->offset,
        .timestamp_ms = -1,
        .native = is_end ? NULL : message,
        .text = is_end ? NULL : rd_kafka_message_errstr(message),
        .kind = is_end ? WEIR_RECORD_EOF : WEIR_RECORD_ERROR,
        .error = is_end ? WEIR_KAFKA_NONE : weir_rdkafka_failure(message->err),
    };
    if (is_end)
        rd_kafka_message_destroy(message);
}

/* text and error are left alone: they count for ERROR only, and each store counts here. */
static void fill(struct weir_record *record, rd_kafka_message_t *message)
{
    rd_kafka_timestamp_type_t type;
    record->offset = message->offset;
    record->key = message->key;
    record->value = message->payload;
    record->key_size = message->key_len;
    record->value_size = message->len;
    record->timestamp_ms = rd_kafka_message_timestamp(message, &type);
    record->native = message;
    record->kind = WEIR_RECORD_MESSAGE;
}

static unsigned pull_batch(struct weir_kafka_queue *queue, struct weir_record *records, unsigned count_max)
{
    rd_kafka_message_t *messages[BATCH];
    ssize_t count = rd_kafka_consume_batch_queue(queue->queue, 0, messages, count_max);
    int64_t next = queue->next;
    for (ssize_t index = 0; index < count; index++) {
        if (__builtin_expect(messages[index]->err != RD_KAFKA_RESP_ERR_NO_ERROR, 0)) {
            fill_error(&records[index], messages[index]);
            continue;
        }
        fill(&records[index], messages[index]);
        next = records[index].offset + 1;
    }
    queue->next = next;
    return count > 0 ? (unsigned)count : 0;
}

unsigned weir_rdkafka_pull(struct weir_kafka_queue *queue, struct weir_record *records, unsigned count_max)
{
    if (!try_take(queue))
        return 0;
    unsigned count = 0;
    while (count < count_max) {
        unsigned wanted = count_max - count < BATCH ? count_max - count : BATCH;
        unsigned got = pull_batch(queue, records + count, wanted);
        count += got;
        if (got < wanted)
            break;
    }
    give_back(queue);
    return count;
}

/* ---- records ---- */

void weir_rdkafka_record_free(struct weir_kafka *kafka, void *native)
{
    if (native)
        rd_kafka_message_destroy(native);
}

bool weir_rdkafka_record_header(struct weir_kafka *kafka, void *native, size_t index, struct weir_kafka_header *header)
{
    rd_kafka_headers_t *headers;
    if (rd_kafka_message_headers(native, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return false;
    return rd_kafka_header_get_all(headers, index, &header->name, &header->value, &header->value_size) ==
           RD_KAFKA_RESP_ERR_NO_ERROR;
}
