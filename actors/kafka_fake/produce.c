/*
 * A client's producer: idempotent, so that what arrives does so once and in the order it was sent, and each message is
 * reported once. A report of failure says nothing of whether the message was written, as with the real one after a
 * time-out.
 *
 * Thread: the simulation's; produce() may be called in any worker's step.
 *
 * Invariants
 *   1. produces_open counts the accepted messages without a report queued; CLOSED waits for it to be 0.
 */
#include "actors/kafka_fake/internal.h"
#include <stdlib.h>
#include <string.h>

struct fake_produce {
    struct fake_produce *previous, *next; /* the client's, while it has not been reported */
    struct weir_fake_client *client;
    struct weir_fake_record *record;
    const char *topic;                    /* interned */
    int32_t partition;                    /* -1: by key */
    struct fake_transaction *transaction; /* NULL: none */
    void *opaque;
    uint64_t deadline_ns;
    enum weir_kafka_error error;
    const char *text;
    bool arrived, reported;
    bool in_refused_batch; /* with another that the broker refused */
};

static void produce_free(void *argument)
{
    struct fake_produce *produce = argument;
    weir_fake_record_drop(produce->record);
    free(produce);
}

static void unlink_produce(struct fake_produce *produce)
{
    if (produce->previous)
        produce->previous->next = produce->next;
    else
        produce->client->produces = produce->next;
    if (produce->next)
        produce->next->previous = produce->previous;
}

static void report(struct fake_produce *produce)
{
    struct weir_fake_client *client = produce->client;
    if (produce->reported)
        return;
    produce->reported = true;
    unlink_produce(produce);
    client->produces_open--;
    if (weir_fake_client_is_gone(client))
        return;
    client->cluster->counts.produce_errors += produce->error != WEIR_KAFKA_NONE;
    if (produce->transaction && produce->error != WEIR_KAFKA_NONE)
        produce->transaction->doomed = true;
    weir_fake_note(client, &(struct weir_kafka_event){.kind = WEIR_KAFKA_DELIVERED,
                                                      .error = produce->error,
                                                      .text = produce->text,
                                                      .opaque = produce->opaque});
    weir_fake_client_close_check(client);
}

static void on_report_arrives(void *argument)
{
    struct fake_produce *produce = argument;
    struct weir_fake_client *client = produce->client;
    uint64_t now_ns = weir_fake_now(client->cluster);
    if (client->partitioned_until_ns > now_ns && produce->deadline_ns > now_ns && !produce->reported &&
        !weir_fake_client_is_gone(client)) {
        produce->error = WEIR_KAFKA_RETRIABLE;
        produce->text = "message timed out";
        weir_fake_after(client->cluster, produce->deadline_ns - now_ns, on_report_arrives, produce_free, produce);
        return;
    }
    report(produce);
    produce_free(produce);
}

static void report_after(struct fake_produce *produce, uint64_t delay_ns)
{
    weir_fake_after(produce->client->cluster, delay_ns, on_report_arrives, produce_free, produce);
}

static void answer(struct fake_produce *produce, enum weir_kafka_error error, const char *text)
{
    struct weir_fake_client *client = produce->client;
    produce->error = error;
    produce->text = text;
    report_after(produce, weir_fake_lane(client, &client->lane_answer_ns[FAKE_LANE_PRODUCE],
                                         weir_fake_latency(client->cluster)));
}

/* ---- at the broker ---- */

static size_t record_bytes(const struct weir_fake_record *record)
{
    return record->key_size + record->value_size;
}

/* NONE if the broker would take it. */
static enum weir_kafka_error refusal(const struct fake_produce *produce, const char **text)
{
    struct weir_fake_cluster *cluster = produce->client->cluster;
    const struct fake_topic *topic = weir_fake_topic(cluster, produce->topic);
    if (!topic && cluster->settings.auto_create) {
        weir_fake_topic_create(cluster, produce->topic, cluster->settings.auto_create_partitions);
        topic = weir_fake_topic(cluster, produce->topic);
    }
    if (!topic || produce->partition >= topic->partition_count ||
        weir_fake_roll(cluster, cluster->faults.produce_unknown_topic)) {
        *text = "unknown topic";
        return WEIR_KAFKA_UNKNOWN_TOPIC;
    }
    if (topic->denied || weir_fake_roll(cluster, cluster->faults.produce_authorization)) {
        *text = "topic authorization failed";
        return WEIR_KAFKA_AUTHORIZATION;
    }
    bool too_large = topic->message_bytes_max && record_bytes(produce->record) > topic->message_bytes_max;
    if (too_large || weir_fake_roll(cluster, cluster->faults.produce_too_large)) {
        *text = "message larger than max.message.bytes";
        return WEIR_KAFKA_TOO_LARGE;
    }
    return WEIR_KAFKA_NONE;
}

static void append(const struct fake_produce *produce)
{
    const struct weir_fake_record *record = produce->record;
    struct weir_kafka_produce message = {.topic = produce->topic,
                                         .key = record->key,
                                         .value = record->value,
                                         .key_size = record->key_size,
                                         .value_size = record->value_size,
                                         .timestamp_ms = record->timestamp_ms,
                                         .headers = record->headers,
                                         .header_count = record->header_count};
    struct weir_fake_cluster *cluster = produce->client->cluster;
    int32_t partition = produce->partition;
    if (partition < 0)
        partition = weir_fake_choose_partition(cluster, &message);
    int64_t offset = weir_fake_append(cluster, partition, &message);
    cluster->counts.produced++;
    if (produce->transaction)
        weir_fake_transaction_write(produce->transaction, produce->topic, partition, offset, produce->opaque);
    else if (cluster->on_written)
        cluster->on_written(cluster->on_written_user, &produce->client->kafka,
                            produce->reported ? NULL : produce->opaque, produce->topic, partition, offset);
}

void weir_fake_on_written(struct weir_fake_cluster *cluster, weir_fake_written *function, void *user)
{
    cluster->on_written = function;
    cluster->on_written_user = user;
}

static bool is_denied(const struct fake_produce *produce)
{
    const struct fake_topic *topic = weir_fake_topic(produce->client->cluster, produce->topic);
    return topic && topic->denied;
}

/* The partition is not let into the transaction. librdkafka says that this has failed, and not for which message; that
 * one stays where it is until it is purged. */
static void refuse_transaction(struct fake_produce *produce)
{
    struct weir_fake_client *client = produce->client;
    produce->transaction->doomed = true;
    produce->error = WEIR_KAFKA_RETRIABLE;
    produce->text = "message timed out";
    report_after(produce, client->cluster->settings.delivery_timeout_ns);
    if (!weir_fake_client_is_gone(client))
        weir_fake_note(client, &(struct weir_kafka_event){.kind = WEIR_KAFKA_TRANSACTED,
                                                          .error = WEIR_KAFKA_AUTHORIZATION,
                                                          .text = "topic authorization failed"});
}

/* Of a transaction all that is on its way to the topic goes as one batch, which brokers refuse as a whole. Elsewhere
 * the door sends what was refused once more by itself, and what comes up is of this one message. */
static void refuse_batch(const struct fake_produce *produce)
{
    for (struct fake_produce *other = produce->client->produces; other && produce->transaction; other = other->next)
        other->in_refused_batch |=
            !other->arrived && other->transaction == produce->transaction && other->topic == produce->topic;
}

static void arrive(struct fake_produce *produce)
{
    struct weir_fake_cluster *cluster = produce->client->cluster;
    const char *text = NULL;
    produce->arrived = true;
    if (produce->in_refused_batch) {
        answer(produce, WEIR_KAFKA_TOO_LARGE, "one of its batch is too large");
        return;
    }
    if (produce->transaction && produce->transaction->state != FAKE_TRANSACTION_OPEN) {
        answer(produce, WEIR_KAFKA_ABORT, "the transaction has ended");
        return;
    }
    if (produce->transaction && is_denied(produce)) {
        refuse_transaction(produce);
        return;
    }
    enum weir_kafka_error error = refusal(produce, &text);
    if (error == WEIR_KAFKA_TOO_LARGE)
        refuse_batch(produce);
    struct fake_failure failure = {0};
    if (error == WEIR_KAFKA_NONE && weir_fake_failure_take(produce->client, WEIR_FAKE_PRODUCE, &failure)) {
        if (failure.applied)
            append(produce);
        error = failure.error;
        text = "as the test has it";
    } else if (error == WEIR_KAFKA_NONE && weir_fake_roll(cluster, cluster->faults.produce_error)) {
        error = WEIR_KAFKA_RETRIABLE;
        text = "message timed out";
    } else if (error == WEIR_KAFKA_NONE) {
        append(produce);
        if (weir_fake_roll(cluster, cluster->faults.produce_written_error)) {
            cluster->counts.produce_written_errors++;
            error = WEIR_KAFKA_RETRIABLE;
            text = "message timed out";
        }
    }
    answer(produce, error, text);
}

static void on_produce_arrives(void *argument)
{
    struct fake_produce *produce = argument;
    struct weir_fake_client *client = produce->client;
    uint64_t now_ns = weir_fake_now(client->cluster);
    uint64_t until_ns = weir_fake_blocked_until(client, false);
    if (weir_fake_client_is_gone(client) && weir_fake_between(client->cluster, 0, 1)) {
        report(produce);
        produce_free(produce); /* had not left the machine */
    } else if (client->fatal) {
        answer(produce, WEIR_KAFKA_FATAL, "fatal client error");
    } else if (until_ns && until_ns >= produce->deadline_ns) {
        produce->error = WEIR_KAFKA_RETRIABLE;
        produce->text = "message timed out";
        report_after(produce, produce->deadline_ns > now_ns ? produce->deadline_ns - now_ns : 0);
    } else if (until_ns) {
        uint64_t delay_ns = weir_fake_lane(client, &client->lane_request_ns[FAKE_LANE_PRODUCE],
                                           until_ns - now_ns + weir_fake_latency(client->cluster));
        weir_fake_after(client->cluster, delay_ns, on_produce_arrives, produce_free, produce);
    } else {
        arrive(produce);
    }
}

/* ---- the door ---- */

/* 0, or what the call answers at once. */
static int refuse(struct weir_fake_client *client, const struct weir_kafka_produce *produce,
                  enum weir_kafka_error *kafka_error)
{
    struct weir_fake_cluster *cluster = client->cluster;
    if (client->fatal || client->closed || weir_fake_client_is_gone(client)) {
        *kafka_error = WEIR_KAFKA_FATAL;
        return WEIR_KAFKA;
    }
    if (produce->key_size + produce->value_size > cluster->settings.message_bytes_max) {
        *kafka_error = WEIR_KAFKA_TOO_LARGE;
        return WEIR_INVALID;
    }
    if (client->produces_open >= cluster->settings.produce_queue_max ||
        (client->produces_open > 0 && weir_fake_roll(cluster, cluster->faults.produce_queue_full))) {
        *kafka_error = WEIR_KAFKA_QUEUE_FULL;
        return WEIR_FULL;
    }
    return weir_fake_memory_is_short(cluster) ? WEIR_NO_MEMORY : 0;
}

static struct fake_produce *produce_make(struct weir_fake_client *client, const struct weir_kafka_produce *message)
{
    struct weir_fake_record record = {.timestamp_ms = message->timestamp_ms,
                                      .key = (void *)(uintptr_t)message->key,
                                      .value = (void *)(uintptr_t)message->value,
                                      .key_size = message->key_size,
                                      .value_size = message->value_size,
                                      .headers = (struct weir_kafka_header *)(uintptr_t)message->headers,
                                      .header_count = message->header_count};
    struct fake_produce *produce = weir_fake_allocate(sizeof *produce);
    produce->client = client;
    produce->record = weir_fake_record_copy(&record);
    produce->topic = weir_fake_intern(client->cluster, message->topic);
    produce->partition = message->has_partition ? message->partition : -1;
    produce->deadline_ns = weir_fake_now(client->cluster) + client->cluster->settings.delivery_timeout_ns;
    produce->next = client->produces;
    if (client->produces)
        client->produces->previous = produce;
    client->produces = produce;
    client->produces_open++;
    return produce;
}

int weir_fake_produce(struct weir_kafka *kafka, const struct weir_kafka_produce *message, void *opaque,
                      enum weir_kafka_error *kafka_error)
{
    struct weir_fake_client *client = weir_fake_client_of(kafka);
    if (!client->started || weir_fake_client_is_gone(client))
        weir_fake_violate(client->cluster, "client %u: produce before start or after the end", client->number);
    if (client->transactional_id && !client->in_transaction)
        weir_fake_violate(client->cluster, "client %u: produce outside of a transaction", client->number);
    enum weir_kafka_error ignored;
    int code = refuse(client, message, kafka_error ? kafka_error : &ignored);
    if (code)
        return code;
    struct fake_produce *produce = produce_make(client, message);
    produce->opaque = opaque;
    produce->transaction = client->transactional_id ? client->transaction : NULL;
    uint64_t delay_ns =
        weir_fake_lane(client, &client->lane_request_ns[FAKE_LANE_PRODUCE], weir_fake_latency(client->cluster));
    weir_fake_after(client->cluster, delay_ns, on_produce_arrives, produce_free, produce);
    return 0;
}

void weir_fake_produces_purge(struct weir_fake_client *client)
{
    while (client->produces) {
        client->produces->error = client->produces->in_refused_batch ? WEIR_KAFKA_TOO_LARGE : WEIR_KAFKA_RETRIABLE;
        client->produces->text = "purged";
        report(client->produces);
    }
}

/* What is reported here may still be written: the events that carry it go on without a report. */
void weir_fake_produce_expire(struct weir_fake_client *client)
{
    while (client->produces) {
        client->produces->error = WEIR_KAFKA_RETRIABLE;
        client->produces->text = "purged in flight at close";
        report(client->produces);
    }
}

void weir_fake_produce_free(struct weir_fake_client *client)
{
    client->produces = NULL; /* each was freed with the event that carried it */
}
