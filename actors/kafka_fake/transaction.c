/*
 * Transactions, as the transaction coordinator, the brokers and a client's transactional producer have them.
 *
 *   fencing     who makes a producer under a name ends what others have open under it; they are told that they are
 *               fatal at their next request
 *   isolation   records of an open transaction hide all behind them from readers (the last stable offset), those of an
 *               aborted one are skipped; each end takes an offset of every partition written to, for the control record
 *   offsets     count when the transaction is committed, and make those of their partitions unreadable until it has
 *               ended; they are refused to who is no member with the generation of now
 *   time-out    a transaction that is open for too long is aborted, and its producer fenced
 *
 * Thread: the simulation's.
 */
#include "actors/kafka_fake/internal.h"
#include "runtime/memory.h"
#include <stdlib.h>
#include <string.h>

enum kind { BEGIN, OFFSETS, COMMIT, ABORT };

struct request {
    struct weir_fake_client *client;
    enum kind kind;
    uint64_t tag;
    struct weir_kafka_offset *offsets;
    size_t count;
    uint64_t deadline_ns;
    uint64_t member_id;
    int32_t generation;
    bool reads_late; /* member and generation are read as it leaves, not as it is asked for */
    enum weir_kafka_error error;
    const char *text; /* static */
};

/* ---- what is kept ---- */

static void request_free(void *argument)
{
    struct request *request = argument;
    weir_fake_offsets_free(request->offsets, request->count);
    free(request);
}

void weir_fake_transactions_free(struct weir_fake_cluster *cluster)
{
    for (struct fake_transaction *transaction = cluster->transactions, *next; transaction; transaction = next) {
        next = transaction->next;
        weir_fake_offsets_free(transaction->offsets, transaction->offset_count);
        free(transaction->writes);
        free(transaction);
    }
    for (struct fake_producer_name *name = cluster->producer_names, *next; name; name = next) {
        next = name->next;
        free(name);
    }
}

static struct fake_producer_name *name_of(struct weir_fake_client *client)
{
    struct fake_producer_name *name = client->cluster->producer_names;
    while (name && name->text != client->transactional_id)
        name = name->next;
    if (name)
        return name;
    name = weir_fake_allocate(sizeof *name);
    *name = (struct fake_producer_name){.next = client->cluster->producer_names, .text = client->transactional_id};
    return client->cluster->producer_names = name;
}

/* ---- isolation ---- */

static bool first_write(const struct fake_transaction *transaction, const char *topic, int32_t partition,
                        int64_t *offset)
{
    for (size_t i = 0; i < transaction->write_count; i++) {
        const struct fake_write *write = &transaction->writes[i];
        if (write->partition != partition || strcmp(write->topic, topic) != 0)
            continue;
        *offset = write->offset;
        return true;
    }
    return false;
}

int64_t weir_fake_stable_end(const struct weir_fake_cluster *cluster, const char *topic, int32_t partition)
{
    int64_t end = weir_fake_log_end(cluster, topic, partition), offset;
    for (const struct fake_transaction *transaction = cluster->transactions; transaction;
         transaction = transaction->next) {
        if (transaction->state == FAKE_TRANSACTION_OPEN && first_write(transaction, topic, partition, &offset) &&
            offset < end)
            end = offset;
    }
    return end;
}

bool weir_fake_record_is_aborted(const struct weir_fake_record *record)
{
    return record->transaction && record->transaction->state == FAKE_TRANSACTION_ABORTED;
}

bool weir_fake_read_committed(const struct weir_fake_cluster *cluster, const char *topic, int32_t partition,
                              int64_t offset, struct weir_fake_record *record)
{
    int64_t end = weir_fake_stable_end(cluster, topic, partition);
    while (weir_fake_read(cluster, topic, partition, offset, record) && record->offset < end) {
        if (!weir_fake_record_is_aborted(record))
            return true;
        offset = record->offset + 1;
    }
    return false;
}

bool weir_fake_offset_is_unstable(const struct fake_group *group, const char *topic, int32_t partition)
{
    for (const struct fake_transaction *transaction = group->cluster->transactions; transaction;
         transaction = transaction->next) {
        if (transaction->state != FAKE_TRANSACTION_OPEN || transaction->group != group)
            continue;
        for (size_t i = 0; i < transaction->offset_count; i++) {
            if (transaction->offsets[i].partition == partition && transaction->offsets[i].topic == topic)
                return true;
        }
    }
    return false;
}

/* ---- the end of a transaction ---- */

static void tell_written(struct weir_fake_cluster *cluster, const struct fake_transaction *transaction)
{
    for (size_t i = 0; i < transaction->write_count && cluster->on_written; i++) {
        const struct fake_write *write = &transaction->writes[i];
        cluster->on_written(cluster->on_written_user, &transaction->client->kafka, write->opaque, write->topic,
                            write->partition, write->offset);
    }
}

/* One control record in each partition that it wrote to. */
static void mark_ends(struct weir_fake_cluster *cluster, const struct fake_transaction *transaction)
{
    for (size_t i = 0; i < transaction->write_count; i++) {
        const struct fake_write *write = &transaction->writes[i];
        int64_t first;
        if (first_write(transaction, write->topic, write->partition, &first) && first == write->offset &&
            weir_fake_log(cluster, write->topic, write->partition))
            weir_fake_append_hole(cluster, write->topic, write->partition, 1);
    }
}

static void end(struct weir_fake_cluster *cluster, struct fake_transaction *transaction, bool committed)
{
    if (transaction->state != FAKE_TRANSACTION_OPEN)
        return;
    transaction->state = committed ? FAKE_TRANSACTION_COMMITTED : FAKE_TRANSACTION_ABORTED;
    cluster->counts.transactions_committed += committed;
    cluster->counts.transactions_aborted += !committed;
    if (committed)
        tell_written(cluster, transaction);
    for (size_t i = 0; committed && i < transaction->offset_count; i++)
        weir_fake_group_store(transaction->group, &transaction->offsets[i]);
    mark_ends(cluster, transaction);
}

static void on_timeout(void *argument)
{
    struct fake_transaction *transaction = argument;
    struct weir_fake_client *client = transaction->client;
    if (transaction->state != FAKE_TRANSACTION_OPEN)
        return;
    client->cluster->counts.transactions_expired++;
    end(client->cluster, transaction, false);
    name_of(client)->epoch++;
}

/* Brokers know of it from the first thing that is put into it. */
static void begin_time(struct fake_transaction *transaction)
{
    struct weir_fake_cluster *cluster = transaction->client->cluster;
    if (transaction->write_count == 0 && transaction->offset_count == 0)
        weir_fake_after(cluster, cluster->settings.transaction_timeout_ns, on_timeout, NULL, transaction);
}

/* ---- what is written in one ---- */

void weir_fake_transaction_write(struct fake_transaction *transaction, const char *topic, int32_t partition,
                                 int64_t offset, void *opaque)
{
    struct fake_log *log = weir_fake_log(transaction->client->cluster, topic, partition);
    begin_time(transaction);
    transaction->writes = weir_fake_grow(transaction->writes, transaction->write_count, &transaction->write_capacity,
                                         sizeof *transaction->writes);
    transaction->writes[transaction->write_count++] = (struct fake_write){topic, partition, offset, opaque};
    log->records[log->count - 1]->transaction = transaction;
}

/* ---- carrying out ---- */

static void fail(struct request *request, enum weir_kafka_error error, const char *text)
{
    request->error = error;
    request->text = text;
}

static void do_begin(struct request *request)
{
    struct weir_fake_client *client = request->client;
    struct weir_fake_cluster *cluster = client->cluster;
    struct fake_producer_name *name = name_of(client);
    if (!client->has_producer) {
        for (struct fake_transaction *other = cluster->transactions; other; other = other->next) {
            if (other->client->transactional_id == client->transactional_id)
                end(cluster, other, false);
        }
        client->producer_epoch = ++name->epoch;
        client->has_producer = true;
    }
    if (client->transaction && client->transaction->state == FAKE_TRANSACTION_OPEN)
        return; /* its answer was lost */
    struct fake_transaction *transaction = weir_fake_allocate(sizeof *transaction);
    transaction->client = client;
    transaction->group = client->group;
    transaction->next = cluster->transactions;
    cluster->transactions = transaction;
    client->transaction = transaction;
}

static bool is_too_large(const struct weir_fake_cluster *cluster, const struct request *request)
{
    for (size_t i = 0; i < request->count; i++) {
        const char *metadata = request->offsets[i].metadata;
        if (metadata && strlen(metadata) > cluster->settings.offset_metadata_bytes_max)
            return true;
    }
    return false;
}

/* Of a source topic that may not be committed for; the whole is refused. */
static enum weir_kafka_error topic_refusal(const struct request *request)
{
    for (size_t i = 0; i < request->count; i++) {
        const struct fake_topic *topic = weir_fake_topic(request->client->cluster, request->offsets[i].topic);
        if (!topic)
            return WEIR_KAFKA_UNKNOWN_TOPIC;
        if (topic->denied)
            return WEIR_KAFKA_AUTHORIZATION;
    }
    return WEIR_KAFKA_NONE;
}

static void do_offsets(struct request *request)
{
    struct weir_fake_client *client = request->client;
    const struct fake_member *member = weir_fake_group_member(client->group, request->member_id);
    if (!member || member->client != client || request->generation != client->group->generation) {
        fail(request, WEIR_KAFKA_GENERATION, "illegal generation");
        client->transaction->doomed = true;
    } else if (topic_refusal(request) != WEIR_KAFKA_NONE) {
        fail(request, topic_refusal(request), "refused for its topic");
        client->transaction->doomed = true;
    } else if (is_too_large(client->cluster, request)) {
        fail(request, WEIR_KAFKA_METADATA_TOO_LARGE, "offset metadata too large");
        client->transaction->doomed = true;
    } else {
        begin_time(client->transaction);
        weir_fake_offsets_free(client->transaction->offsets, client->transaction->offset_count);
        client->transaction->offsets = request->offsets;
        client->transaction->offset_count = request->count;
        request->offsets = NULL;
        request->count = 0;
    }
}

static void do_abort(struct weir_fake_client *client)
{
    if (client->transaction)
        end(client->cluster, client->transaction, false);
    weir_fake_produces_purge(client);
}

/* Fenced, by another producer of its name or by the time-out. */
static bool is_fenced(struct weir_fake_client *client)
{
    return client->has_producer && client->producer_epoch != name_of(client)->epoch;
}

static void carry_out(struct request *request)
{
    struct weir_fake_client *client = request->client;
    if (is_fenced(client)) {
        fail(request, WEIR_KAFKA_FATAL, "producer fenced");
        return;
    }
    switch (request->kind) {
    case BEGIN:
        do_begin(request);
        break;
    case OFFSETS:
        if (!client->transaction || client->transaction->doomed)
            fail(request, WEIR_KAFKA_ABORT, "the transaction must be aborted");
        else
            do_offsets(request);
        break;
    case COMMIT:
        if (!client->transaction || client->transaction->doomed)
            fail(request, WEIR_KAFKA_ABORT, "the transaction must be aborted");
        else
            end(client->cluster, client->transaction, true);
        break;
    case ABORT:
        do_abort(client);
        break;
    }
}

/* ---- the way back ---- */

static void after_answer(const struct request *request)
{
    struct weir_fake_client *client = request->client;
    if (request->error == WEIR_KAFKA_FATAL) {
        client->has_producer = false;
        client->transaction = NULL;
        weir_fake_produces_purge(client);
    } else if (request->error == WEIR_KAFKA_NONE && request->kind == BEGIN) {
        client->in_transaction = true;
    }
    if (request->error == WEIR_KAFKA_FATAL ||
        (request->error == WEIR_KAFKA_NONE && (request->kind == COMMIT || request->kind == ABORT)))
        client->in_transaction = false;
}

static void on_answer_arrives(void *argument)
{
    struct request *request = argument;
    struct weir_fake_client *client = request->client;
    uint64_t now_ns = weir_fake_now(client->cluster);
    if (client->partitioned_until_ns > now_ns && now_ns < request->deadline_ns && !weir_fake_client_is_gone(client)) {
        fail(request, WEIR_KAFKA_RETRIABLE, "timed out");
        weir_fake_after(client->cluster, request->deadline_ns - now_ns, on_answer_arrives, request_free, request);
        return;
    }
    client->requests_open--;
    if (!weir_fake_client_is_gone(client)) {
        after_answer(request);
        weir_fake_note(client, &(struct weir_kafka_event){.kind = WEIR_KAFKA_TRANSACTED,
                                                          .tag = request->tag,
                                                          .error = request->error,
                                                          .text = request->text});
        weir_fake_client_close_check(client);
    }
    request_free(request);
}

static void answer(struct request *request, uint64_t delay_ns)
{
    weir_fake_after(request->client->cluster, delay_ns, on_answer_arrives, request_free, request);
}

/* ---- faults ---- */

/* True when the fault has seen to it. */
static bool fault_of(struct request *request)
{
    struct weir_fake_client *client = request->client;
    struct weir_fake_cluster *cluster = client->cluster;
    const struct weir_fake_faults *faults = &cluster->faults;
    if (weir_fake_roll(cluster, faults->transaction_error)) {
        fail(request, WEIR_KAFKA_RETRIABLE, "timed out");
    } else if (request->kind != BEGIN && weir_fake_roll(cluster, faults->transaction_unsure)) {
        carry_out(request);
        if (request->error == WEIR_KAFKA_NONE)
            fail(request, WEIR_KAFKA_RETRIABLE, "timed out");
    } else if ((request->kind == OFFSETS || request->kind == COMMIT) && client->transaction &&
               client->transaction->state == FAKE_TRANSACTION_OPEN &&
               weir_fake_roll(cluster, faults->transaction_abort)) {
        client->transaction->doomed = true;
        fail(request, WEIR_KAFKA_ABORT, "the transaction must be aborted");
    } else if (weir_fake_roll(cluster, faults->transaction_fatal)) {
        if (request->kind == COMMIT && weir_fake_between(cluster, 0, 1))
            carry_out(request); /* nobody is told that it was committed */
        fail(request, WEIR_KAFKA_FATAL, "fatal producer error");
    } else {
        return false;
    }
    return true;
}

/* ---- the way there ---- */

static void on_request_arrives(void *argument)
{
    struct request *request = argument;
    struct weir_fake_client *client = request->client;
    struct weir_fake_cluster *cluster = client->cluster;
    uint64_t now_ns = weir_fake_now(cluster), until_ns = weir_fake_blocked_until(client, true);
    if (weir_fake_client_is_gone(client) && weir_fake_between(cluster, 0, 1)) {
        client->requests_open--;
        request_free(request); /* had not left the machine */
        return;
    }
    if (until_ns && until_ns >= request->deadline_ns && !weir_fake_client_is_gone(client)) {
        fail(request, WEIR_KAFKA_RETRIABLE, "timed out");
        answer(request, request->deadline_ns > now_ns ? request->deadline_ns - now_ns : 0);
        return;
    }
    if (until_ns && !weir_fake_client_is_gone(client)) {
        weir_fake_after(cluster, until_ns - now_ns + weir_fake_latency(cluster), on_request_arrives, request_free,
                        request);
        return;
    }
    if (request->reads_late && !weir_fake_client_is_gone(client)) {
        request->member_id = client->member_id;
        request->generation = client->generation;
    }
    if (client->fatal)
        fail(request, WEIR_KAFKA_FATAL, "fatal client error");
    else if (!fault_of(request))
        carry_out(request);
    answer(request, weir_fake_latency(cluster));
}

/* ---- the door ---- */

static const char *misuse(const struct weir_fake_client *client, enum kind kind)
{
    if (!client->transactional_id)
        return "of a client that was not made for it";
    if (kind == BEGIN)
        return client->in_transaction ? "begun in a transaction" : NULL;
    if (!client->in_transaction)
        return "outside of any";
    return kind == COMMIT && client->produces_open > 0 ? "committed with messages on their way" : NULL;
}

static int send_request(struct weir_kafka *kafka, enum kind kind, const struct weir_kafka_offset *offsets, size_t count,
                        uint64_t tag)
{
    struct weir_fake_client *client = weir_fake_client_of(kafka);
    struct weir_fake_cluster *cluster = client->cluster;
    weir_fake_control_call(client, "a transaction");
    if (!client->started || client->closed)
        return WEIR_STATE;
    if (weir_fake_memory_is_short(cluster))
        return WEIR_NO_MEMORY;
    const char *what = misuse(client, kind);
    if (what)
        weir_fake_violate(cluster, "client %u: a transaction %s", client->number, what);
    cluster->counts.requests++;
    client->requests_open++;
    struct request *request = weir_fake_allocate(sizeof *request);
    *request = (struct request){.client = client,
                                .kind = kind,
                                .tag = tag,
                                .offsets = count > 0 ? weir_fake_offsets_copy(cluster, offsets, count) : NULL,
                                .count = count,
                                .deadline_ns = weir_fake_now(cluster) + cluster->settings.request_timeout_ns,
                                .member_id = client->member_id,
                                .generation = client->generation,
                                .reads_late = weir_fake_between(cluster, 0, 1)};
    weir_fake_after(cluster, weir_fake_latency(cluster), on_request_arrives, request_free, request);
    return 0;
}

int weir_fake_transaction_begin(struct weir_kafka *kafka, uint64_t tag)
{
    return send_request(kafka, BEGIN, NULL, 0, tag);
}

int weir_fake_transaction_offsets(struct weir_kafka *kafka, const struct weir_kafka_offset *offsets, size_t count,
                                  uint64_t tag)
{
    return send_request(kafka, OFFSETS, offsets, count, tag);
}

int weir_fake_transaction_commit(struct weir_kafka *kafka, uint64_t tag)
{
    return send_request(kafka, COMMIT, NULL, 0, tag);
}

int weir_fake_transaction_abort(struct weir_kafka *kafka, uint64_t tag)
{
    return send_request(kafka, ABORT, NULL, 0, tag);
}
