/*
 * Commits, and the joins that they must not meet.
 *
 * A commit goes to librdkafka at once and comes back as its event; but while the group is being joined it waits here.
 * A broker answers the requests of one connection one after the other, and a JoinGroup when all members have come: a
 * commit sent behind it arrives with the generation before, is refused, and librdkafka takes that for the loss of every
 * partition, so that what had been finished and not committed would run again. librdkafka's own automatic commits keep
 * to the same rule; its state is not told to applications, but interceptors hear of every request.
 *
 * Threads: control; the interceptor runs on librdkafka's broker threads.
 *
 * Invariants
 *   C1. `is_joining` is true from the moment a JoinGroup has been sent until the rebalance event that the join leads
 * to. librdkafka sends none while an event waits for its answer, so the next event belongs to it. C2. A commit that
 * waited goes out when the join is over, under the new generation: what was retained is still ours, and so is what the
 * event revokes until that is answered. After LOST it is refused instead (GENERATION).
 *
 * Left over: a commit that passes librdkafka's queue in the moment between its decision to join and the sending. That
 * costs what a loss costs, once; it loses no message.
 */
#include "actors/librdkafka/client.h"
#include "runtime/memory.h"

enum { JOIN_GROUP = 11 }; /* Kafka's number of the request */

/* ---- joins ---- */

static rd_kafka_resp_err_t on_request_sent(rd_kafka_t *rk, int sockfd, const char *brokername, int32_t brokerid,
                                           int16_t api_key, int16_t api_version, int32_t correlation_id, size_t size,
                                           void *opaque)
{
    struct weir_rdkafka *client = opaque;
    if (api_key == JOIN_GROUP) {
        atomic_store_explicit(&client->requests.is_joining, true, memory_order_relaxed);
        atomic_store_explicit(&client->requests.has_joined, true, memory_order_relaxed);
    }
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t on_new(rd_kafka_t *rk, const rd_kafka_conf_t *conf, void *opaque, char *words, size_t size)
{
    return rd_kafka_interceptor_add_on_request_sent(rk, "weir", on_request_sent, opaque);
}

void weir_rdkafka_commits_watch(struct weir_rdkafka *client)
{
    /* Fails only for an interceptor that is there already. */
    WEIR_CHECK(rd_kafka_conf_interceptor_add_on_new(client->conf, "weir", on_new, client) ==
               RD_KAFKA_RESP_ERR_NO_ERROR);
}

void weir_rdkafka_commits_joined(struct weir_rdkafka *client)
{
    atomic_store_explicit(&client->requests.is_joining, false, memory_order_relaxed);
}

/* ---- committing ---- */

static void fail(struct weir_rdkafka_commit *commit, rd_kafka_resp_err_t code)
{
    commit->is_done = true;
    commit->error = code;
}

static void send_commit(struct weir_rdkafka *client, struct weir_rdkafka_commit *commit)
{
    rd_kafka_resp_err_t code = rd_kafka_commit_queue(client->rk, commit->list, client->events, NULL, commit);
    commit->is_sent = true;
    if (code)
        fail(commit, code);
}

static void send_waiting(struct weir_rdkafka *client)
{
    if (atomic_load_explicit(&client->requests.is_joining, memory_order_relaxed))
        return;
    for (struct weir_rdkafka_commit *commit = client->requests.commits; commit; commit = commit->next)
        if (!commit->is_sent && !commit->is_done)
            send_commit(client, commit);
}

static void destroy(struct weir_rdkafka_commit *commit)
{
    rd_kafka_topic_partition_list_destroy(commit->list);
    weir_memory_free(commit);
}

int weir_rdkafka_commit(struct weir_kafka *kafka, const struct weir_kafka_offset *offsets, size_t count, uint64_t tag)
{
    struct weir_rdkafka *client = weir_rdkafka_of(kafka);
    if (!weir_rdkafka_is_serving(client))
        return WEIR_STATE;
    if (count == 0)
        return WEIR_INVALID;
    struct weir_rdkafka_commit *commit = weir_memory_allocate_zeroed(1, sizeof *commit);
    if (!commit)
        return WEIR_NO_MEMORY;
    commit->tag = tag;
    commit->list = weir_rdkafka_list(offsets, count, true);
    if (!commit->list) {
        weir_memory_free(commit);
        return WEIR_NO_MEMORY;
    }
    struct weir_rdkafka_commit **end = &client->requests.commits;
    while (*end)
        end = &(*end)->next;
    *end = commit;
    send_waiting(client);
    return 0;
}

/* ---- results ---- */

/* librdkafka's: noted, and handed over by the next step. */
void weir_rdkafka_commit_done(struct weir_rdkafka *client, rd_kafka_event_t *event)
{
    struct weir_rdkafka_commit *commit = client->requests.commits;
    while (commit && commit != rd_kafka_event_opaque(event))
        commit = commit->next;
    if (!commit || commit->is_done)
        return; /* given up before */
    rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(event);
    commit->is_done = true;
    commit->error = rd_kafka_event_error(event);
    if (!list)
        return;
    rd_kafka_topic_partition_list_destroy(commit->list);
    commit->list = rd_kafka_topic_partition_list_copy(list);
}

void weir_rdkafka_commits_lose(struct weir_rdkafka *client)
{
    for (struct weir_rdkafka_commit *commit = client->requests.commits; commit; commit = commit->next)
        if (!commit->is_sent && !commit->is_done)
            fail(commit, RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST);
}

void weir_rdkafka_requests_abandon(struct weir_rdkafka *client)
{
    for (struct weir_rdkafka_commit *commit = client->requests.commits; commit; commit = commit->next)
        if (!commit->is_done)
            fail(commit, RD_KAFKA_RESP_ERR__TIMED_OUT);
}

static bool any_failed(const rd_kafka_topic_partition_list_t *list)
{
    for (int index = 0; index < list->cnt; index++)
        if (list->elems[index].err != RD_KAFKA_RESP_ERR_NO_ERROR)
            return true;
    return false;
}

/* An error that stands with no partition (metadata too large does not) is every partition's. */
static bool answer(struct weir_rdkafka *client, const struct weir_rdkafka_commit *commit)
{
    size_t count = (size_t)commit->list->cnt;
    struct weir_kafka_offset *offsets = weir_rdkafka_offsets(commit->list, false);
    if (!offsets)
        return false;
    enum weir_kafka_error error = weir_rdkafka_commit_failure(commit->error);
    for (size_t index = 0; index < count; index++)
        offsets[index].error = weir_rdkafka_commit_failure(commit->list->elems[index].err);
    if (!any_failed(commit->list))
        weir_rdkafka_spread(offsets, count, error);
    weir_rdkafka_emit(client, &(struct weir_kafka_event){.kind = WEIR_KAFKA_COMMITTED,
                                                         .tag = commit->tag,
                                                         .error = error,
                                                         .text = commit->error ? rd_kafka_err2str(commit->error) : NULL,
                                                         .offsets = offsets,
                                                         .count = count});
    weir_memory_free(offsets);
    return true;
}

bool weir_rdkafka_commits_step(struct weir_rdkafka *client)
{
    send_waiting(client);
    struct weir_rdkafka_commit **link = &client->requests.commits;
    while (*link && !(*link)->is_done)
        link = &(*link)->next;
    struct weir_rdkafka_commit *commit = *link;
    if (!commit)
        return false;
    *link = commit->next; /* first: the listener may commit again, which walks the list */
    if (answer(client, commit)) {
        destroy(commit);
        return true;
    }
    commit->next = client->requests.commits; /* memory is short: once more at the next poll */
    client->requests.commits = commit;
    return false;
}

void weir_rdkafka_commits_deinit(struct weir_rdkafka *client)
{
    while (client->requests.commits) {
        struct weir_rdkafka_commit *commit = client->requests.commits;
        client->requests.commits = commit->next;
        destroy(commit);
    }
}
