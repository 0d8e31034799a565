/*
 * Transactions: the transactional producer, and the calls that make, open and end them.
 *
 * Threads: control, but for weir_rdkafka_transact(), which is the helper's: librdkafka's calls wait for the
 * coordinator.
 *
 * Invariants
 *   T1. One transactional producer at a time, made at the first begin. It is acks=all and idempotent as the other, and
 *       its messages come back by the same way.
 *   T2. Its name is the instance's where group.instance.id is set, so that a process that is started again ends what
 *       the one before it has left open; else it is drawn, and brokers end that by time-out. It stays the client's for
 *       life: a new producer ends what the one before it has left open.
 *   T3. librdkafka purges what is on its way when a transaction is aborted, and waits until it has been reported:
 *       control goes on polling while the helper waits.
 *   T4. Member and generation of the group are read as the offsets are sent.
 */
#include "actors/config/config.h"
#include "actors/librdkafka/client.h"
#include "runtime/log.h"
#include "runtime/memory.h"
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

enum { CALL_MS = 2000, NAME_SIZE = 400 };

/* ---- settings ---- */

static int draw_name(char *name, size_t size, const char *group)
{
    uint64_t draw[2];
    if (getrandom(draw, sizeof draw, 0) != sizeof draw)
        return WEIR_SYSTEM;
    snprintf(name, size, "weir-%.200s-%016llx%016llx", group, (unsigned long long)draw[0], (unsigned long long)draw[1]);
    return 0;
}

int weir_rdkafka_transactions_set(struct weir_rdkafka *client, const struct weir_config *config,
                                  struct weir_error *error)
{
    char name[NAME_SIZE];
    const char *group = weir_config_kafka_get(config, "group.id");
    const char *instance = weir_config_kafka_get(config, "group.instance.id");
    if (weir_config_options(config)->delivery != WEIR_EXACTLY_ONCE)
        return 0;
    group = group ? group : "";
    if (instance && instance[0] != '\0')
        snprintf(name, sizeof name, "weir-%.180s-%.180s", group, instance);
    else if (draw_name(name, sizeof name, group) != 0)
        return weir_error_set(error, WEIR_SYSTEM, "no random number for the name of the transactional producer");
    client->transactions.id = weir_memory_copy_text(name);
    return client->transactions.id ? 0 : weir_error_set(error, WEIR_NO_MEMORY, "no memory for the Kafka client");
}

void weir_rdkafka_transactions_deinit(struct weir_rdkafka *client)
{
    weir_memory_free(client->transactions.id);
}

/* ---- the calls, helper ---- */

static void take_error(struct weir_rdkafka_request *request, rd_kafka_error_t *error)
{
    request->kafka_error = WEIR_KAFKA_NONE;
    if (!error)
        return;
    enum weir_kafka_error kind = weir_rdkafka_commit_failure(rd_kafka_error_code(error));
    snprintf(request->words, sizeof request->words, "%s", rd_kafka_error_string(error));
    if (rd_kafka_error_is_fatal(error))
        kind = WEIR_KAFKA_FATAL;
    else if (rd_kafka_error_txn_requires_abort(error))
        kind = kind == WEIR_KAFKA_GENERATION || kind == WEIR_KAFKA_METADATA_TOO_LARGE ? kind : WEIR_KAFKA_ABORT;
    else if (rd_kafka_error_is_retriable(error))
        kind = WEIR_KAFKA_RETRIABLE;
    request->kafka_error = kind == WEIR_KAFKA_NONE ? WEIR_KAFKA_OTHER : kind;
    rd_kafka_error_destroy(error);
}

static void begin(struct weir_rdkafka_request *request)
{
    if (!request->is_made)
        take_error(request, rd_kafka_init_transactions(request->rk, CALL_MS));
    request->is_made |= request->kafka_error == WEIR_KAFKA_NONE;
    if (request->is_made)
        take_error(request, rd_kafka_begin_transaction(request->rk));
}

static void send_offsets(struct weir_rdkafka *client, struct weir_rdkafka_request *request)
{
    rd_kafka_consumer_group_metadata_t *metadata = rd_kafka_consumer_group_metadata(client->rk); /* T4 */
    if (!metadata) {
        request->kafka_error = WEIR_KAFKA_GENERATION;
        return;
    }
    take_error(request, rd_kafka_send_offsets_to_transaction(request->rk, request->list, metadata, CALL_MS));
    rd_kafka_consumer_group_metadata_destroy(metadata);
}

void weir_rdkafka_transact(struct weir_rdkafka *client, struct weir_rdkafka_request *request)
{
    switch (request->job) {
    case WEIR_RDKAFKA_JOB_BEGIN:
        begin(request);
        break;
    case WEIR_RDKAFKA_JOB_OFFSETS:
        send_offsets(client, request);
        break;
    case WEIR_RDKAFKA_JOB_COMMIT:
        take_error(request, rd_kafka_commit_transaction(request->rk, CALL_MS));
        break;
    default:
        take_error(request, rd_kafka_abort_transaction(request->rk, CALL_MS));
        break;
    }
}

/* ---- asking ---- */

static int ask(struct weir_rdkafka *client, enum weir_rdkafka_job job, rd_kafka_topic_partition_list_t *list,
               uint64_t tag)
{
    struct weir_rdkafka_request *request = weir_memory_allocate_zeroed(1, sizeof *request);
    if (!request)
        return WEIR_NO_MEMORY;
    request->job = job;
    request->tag = tag;
    request->list = list;
    request->rk = client->transactions.producer->rk;
    request->is_made = client->transactions.is_made;
    weir_rdkafka_request_send(client, request);
    return 0;
}

/* As long as the group is, and not without a producer. */
static int may_ask(const struct weir_rdkafka *client)
{
    return weir_rdkafka_is_serving(client) && client->transactions.producer ? 0 : WEIR_STATE;
}

int weir_rdkafka_transaction_begin(struct weir_kafka *kafka, uint64_t tag)
{
    struct weir_rdkafka *client = weir_rdkafka_of(kafka);
    if (!client->transactions.producer)
        client->transactions.producer = weir_rdkafka_producer_create(client, client->transactions.id);
    int code = may_ask(client);
    return code ? code : ask(client, WEIR_RDKAFKA_JOB_BEGIN, NULL, tag);
}

int weir_rdkafka_transaction_offsets(struct weir_kafka *kafka, const struct weir_kafka_offset *offsets, size_t count,
                                     uint64_t tag)
{
    struct weir_rdkafka *client = weir_rdkafka_of(kafka);
    int code = may_ask(client);
    if (code)
        return code;
    rd_kafka_topic_partition_list_t *list = weir_rdkafka_list(offsets, count, true);
    if (!list)
        return WEIR_NO_MEMORY;
    code = ask(client, WEIR_RDKAFKA_JOB_OFFSETS, list, tag);
    if (code)
        rd_kafka_topic_partition_list_destroy(list);
    return code;
}

int weir_rdkafka_transaction_commit(struct weir_kafka *kafka, uint64_t tag)
{
    int code = may_ask(weir_rdkafka_of(kafka));
    return code ? code : ask(weir_rdkafka_of(kafka), WEIR_RDKAFKA_JOB_COMMIT, NULL, tag);
}

int weir_rdkafka_transaction_abort(struct weir_kafka *kafka, uint64_t tag)
{
    int code = may_ask(weir_rdkafka_of(kafka));
    return code ? code : ask(weir_rdkafka_of(kafka), WEIR_RDKAFKA_JOB_ABORT, NULL, tag);
}

/* ---- answers ---- */

void weir_rdkafka_transacted(struct weir_rdkafka *client, const struct weir_rdkafka_request *request)
{
    if (request->job == WEIR_RDKAFKA_JOB_BEGIN)
        client->transactions.is_made = request->is_made;
    if (request->kafka_error == WEIR_KAFKA_FATAL) {
        weir_rdkafka_producer_retire(client, client->transactions.producer);
        client->transactions.producer = NULL;
        client->transactions.is_made = false;
    }
    weir_rdkafka_emit(client, &(struct weir_kafka_event){.kind = WEIR_KAFKA_TRANSACTED,
                                                         .tag = request->tag,
                                                         .error = request->kafka_error,
                                                         .text = request->words});
}
