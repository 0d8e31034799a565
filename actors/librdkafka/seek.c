/*
 * Seeking.
 *
 * Thread: control. A seek is a message to librdkafka's main thread, in one line with assign and unassign: that is why
 * it is not given to the helper, where it could come after a later assignment of the same partition and move that.
 * The answer is waited for, as theirs is, but for TRY_MS at most; what comes later still comes in order.
 *
 * librdkafka seeks only what is fetching. Three kinds of partitions are not:
 *   - one that was assigned without a start and is not librdkafka's yet: the seek is its start;
 *   - one whose assignment is not through yet: that passes, so it is tried again for RETRY_NS;
 *   - one that was out of range: it has stopped for good (with auto.offset.reset=error, in every version up to 2.15)
 *     until it is assigned anew.
 * The first, and after RETRY_NS the others, are (re)started:
 *
 *   Cooperative group: it alone is unassigned and assigned.
 *   Eager group: librdkafka takes whole assignments only, and each starts all partitions anew. So all queues are held
 *   first, then every partition is assigned at one past what was pulled from it: nothing pulled comes again and
 *   nothing is left out, only what was fetched ahead is fetched once more.
 *
 * Neither concerns the group: no rebalance follows. But librdkafka would take either for the answer to a rebalance it
 * has just announced, so it is done only while none has been seen and no event waits. If one comes in between, the
 * group goes on before the caller has drained; commits are then refused by generation, and messages may be handled
 * twice.
 */
#include "actors/librdkafka/client.h"
#include "runtime/log.h"

#define PAUSE_NS UINT64_C(20000000)
#define RETRY_NS UINT64_C(500000000)

enum {
    TRY_MS = 250,
    VERSION_2_1_0 = 0x020100, /* without pre-release byte */
};

/* ---- which ---- */

static bool is_stopped(const rd_kafka_topic_partition_t *element)
{
    return element->err == RD_KAFKA_RESP_ERR__STATE || element->err == RD_KAFKA_RESP_ERR__PREV_IN_PROGRESS;
}

/* Those still to be sought; what is not ours is told so. */
static rd_kafka_topic_partition_list_t *stopped_ones(struct weir_rdkafka *client, rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_topic_partition_list_t *stopped = rd_kafka_topic_partition_list_new(list->cnt);
    for (int index = 0; index < list->cnt; index++) {
        rd_kafka_topic_partition_t *element = &list->elems[index];
        if (!is_stopped(element))
            continue;
        if (rd_kafka_topic_partition_list_find(client->group.assigned, element->topic, element->partition))
            rd_kafka_topic_partition_list_add(stopped, element->topic, element->partition)->offset = element->offset;
        else
            element->err = RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST;
    }
    return stopped;
}

static void remove_from(rd_kafka_topic_partition_list_t *list, const rd_kafka_topic_partition_list_t *some)
{
    for (int index = 0; index < some->cnt; index++)
        rd_kafka_topic_partition_list_del(list, some->elems[index].topic, some->elems[index].partition);
}

/* ---- start and restart ---- */

static bool may_restart(struct weir_rdkafka *client)
{
    return !client->is_fatal && rd_kafka_queue_length(client->events) == 0;
}

static void complain(struct weir_rdkafka *client, const char *what, const char *words)
{
    weir_log(WEIR_LOG_WARN, WEIR_FIELDS({"client", rd_kafka_name(client->rk)}), "restarting partitions: %s: %s", what,
             words);
}

static rd_kafka_resp_err_t result_of(struct weir_rdkafka *client, const char *what, rd_kafka_error_t *error)
{
    if (!error)
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    rd_kafka_resp_err_t code = rd_kafka_error_code(error);
    complain(client, what, rd_kafka_error_string(error));
    rd_kafka_error_destroy(error);
    return code;
}

/* If the first fails, so does the second: then it is tried again. */
static rd_kafka_resp_err_t restart_some(struct weir_rdkafka *client, const rd_kafka_topic_partition_list_t *stopped)
{
    rd_kafka_topic_partition_list_t *started = weir_rdkafka_started(client, stopped);
    if (started->cnt > 0)
        result_of(client, "incremental_unassign", rd_kafka_incremental_unassign(client->rk, started));
    rd_kafka_topic_partition_list_destroy(started);
    return result_of(client, "incremental_assign", rd_kafka_incremental_assign(client->rk, stopped));
}

/* Where a partition goes on: where it is sought to, else where its pulls stand, else where it was to start. */
static int64_t start_of(struct weir_rdkafka *client, const rd_kafka_topic_partition_t *owned,
                        const rd_kafka_topic_partition_list_t *stopped)
{
    const rd_kafka_topic_partition_t *sought =
        rd_kafka_topic_partition_list_find((rd_kafka_topic_partition_list_t *)stopped, owned->topic, owned->partition);
    if (sought)
        return sought->offset;
    const struct weir_kafka_queue *queue = weir_rdkafka_queue_find(client, owned->topic, owned->partition);
    return queue && queue->next >= 0 ? queue->next : owned->offset;
}

/* All that have a start; called with the queues held. */
static rd_kafka_topic_partition_list_t *whole_assignment(struct weir_rdkafka *client,
                                                         const rd_kafka_topic_partition_list_t *stopped)
{
    const rd_kafka_topic_partition_list_t *assigned = client->group.assigned;
    rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(assigned->cnt);
    for (int index = 0; index < assigned->cnt; index++) {
        const rd_kafka_topic_partition_t *owned = &assigned->elems[index];
        int64_t start = start_of(client, owned, stopped);
        if (start >= 0)
            rd_kafka_topic_partition_list_add(all, owned->topic, owned->partition)->offset = start;
    }
    return all;
}

static rd_kafka_resp_err_t restart_all(struct weir_rdkafka *client, const rd_kafka_topic_partition_list_t *stopped)
{
    for (struct weir_kafka_queue *queue = client->queues; queue; queue = queue->after)
        weir_rdkafka_queue_hold(queue);
    rd_kafka_topic_partition_list_t *all = whole_assignment(client, stopped);
    rd_kafka_resp_err_t code = rd_kafka_assign(client->rk, all);
    if (code)
        complain(client, "assign", rd_kafka_err2str(code));
    rd_kafka_topic_partition_list_destroy(all);
    for (struct weir_kafka_queue *queue = client->queues; queue; queue = queue->after)
        weir_rdkafka_queue_release(queue);
    return code;
}

static void restart(struct weir_rdkafka *client, rd_kafka_topic_partition_list_t *list,
                    const rd_kafka_topic_partition_list_t *stopped)
{
    if (stopped->cnt == 0 || !may_restart(client))
        return;
    rd_kafka_resp_err_t code =
        weir_rdkafka_is_cooperative(client) ? restart_some(client, stopped) : restart_all(client, stopped);
    /* Refused altogether: as stopped as before. */
    for (int index = 0; !code && index < stopped->cnt; index++)
        rd_kafka_topic_partition_list_find(list, stopped->elems[index].topic, stopped->elems[index].partition)->err =
            RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* ---- seek ---- */

/* 2.0.2 takes the time-out's milliseconds for microseconds. */
static int timeout_ms(void)
{
    return rd_kafka_version() >> 8 < VERSION_2_1_0 ? TRY_MS * 1000 : TRY_MS;
}

/* The error of the whole is a time-out; each partition then says for itself that it is in progress. */
static void try_seek(struct weir_rdkafka *client, rd_kafka_topic_partition_list_t *list,
                     rd_kafka_topic_partition_list_t *started)
{
    if (started->cnt == 0)
        return;
    rd_kafka_error_t *error = rd_kafka_seek_partitions(client->rk, started, timeout_ms());
    if (error)
        rd_kafka_error_destroy(error);
    for (int index = 0; index < started->cnt; index++) {
        const rd_kafka_topic_partition_t *result = &started->elems[index];
        rd_kafka_topic_partition_list_find(list, result->topic, result->partition)->err = result->err;
    }
}

/* Pulls begin at the new place: where they stood before counts no more. */
static void note(struct weir_rdkafka *client, const rd_kafka_topic_partition_list_t *list)
{
    for (int index = 0; index < list->cnt; index++) {
        const rd_kafka_topic_partition_t *element = &list->elems[index];
        rd_kafka_topic_partition_t *owned =
            rd_kafka_topic_partition_list_find(client->group.assigned, element->topic, element->partition);
        if (element->err != RD_KAFKA_RESP_ERR_NO_ERROR || !owned)
            continue;
        owned->offset = element->offset;
        struct weir_kafka_queue *queue = weir_rdkafka_queue_find(client, element->topic, element->partition);
        if (queue)
            weir_rdkafka_queue_forget(queue);
    }
}

/* One round; true if none is left. */
static bool try_all(struct weir_rdkafka *client, rd_kafka_topic_partition_list_t *list, bool is_last)
{
    rd_kafka_topic_partition_list_t *stopped = stopped_ones(client, list);
    rd_kafka_topic_partition_list_t *started = weir_rdkafka_started(client, stopped);
    rd_kafka_topic_partition_list_destroy(stopped);
    try_seek(client, list, started);
    note(client, list); /* before a restart, which may concern them all */
    stopped = stopped_ones(client, list);
    if (!is_last)
        remove_from(stopped, started);
    restart(client, list, stopped);
    note(client, list);
    rd_kafka_topic_partition_list_destroy(stopped);
    rd_kafka_topic_partition_list_destroy(started);
    stopped = stopped_ones(client, list);
    bool none_left = stopped->cnt == 0;
    rd_kafka_topic_partition_list_destroy(stopped);
    return none_left;
}

/* Before the first try every partition counts as refused: what is not ours is then found by the same way. */
static void begin(struct weir_rdkafka_request *request, uint64_t now_ns)
{
    request->deadline_ns = now_ns + RETRY_NS;
    for (int index = 0; index < request->list->cnt; index++)
        request->list->elems[index].err = RD_KAFKA_RESP_ERR__STATE;
}

/* True when its result stands. A rebalance puts an end to it: the caller seeks anew when it has answered. */
static bool work_on(struct weir_rdkafka *client, struct weir_rdkafka_request *request)
{
    uint64_t now_ns = weir_rdkafka_now_ns();
    if (request->deadline_ns == 0)
        begin(request, now_ns);
    if (client->phase != WEIR_RDKAFKA_RUNNING || !weir_rdkafka_group_is_quiet(client))
        return true;
    if (now_ns < request->try_ns)
        return false;
    bool is_last = now_ns >= request->deadline_ns;
    request->try_ns = now_ns + PAUSE_NS;
    return try_all(client, request->list, is_last) || is_last;
}

void weir_rdkafka_seek_step(struct weir_rdkafka *client)
{
    struct weir_rdkafka_requests *requests = &client->requests;
    while (requests->seeks && work_on(client, requests->seeks)) {
        struct weir_rdkafka_request *request = weir_rdkafka_request_take(&requests->seeks, &requests->seeks_end);
        weir_rdkafka_request_append(&requests->ready_end, request);
    }
}

int weir_rdkafka_seek(struct weir_kafka *kafka, const struct weir_kafka_offset *offsets, size_t count, uint64_t tag)
{
    struct weir_rdkafka *client = weir_rdkafka_of(kafka);
    struct weir_rdkafka_request *request;
    int code = weir_rdkafka_request_create(client, WEIR_RDKAFKA_JOB_SEEK, offsets, count, tag, &request);
    if (code)
        return code;
    client->requests.outstanding++;
    weir_rdkafka_request_append(&client->requests.seeks_end, request);
    weir_rdkafka_wake(client);
    return 0;
}
