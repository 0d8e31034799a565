/*
 * Seeking.
 *
 * Thread: control. A seek is a message to librdkafka's main thread, in one line with assign and unassign: that is why
 * it is not given to the helper, where it could come after a later assignment of the same partition and move that.
 * The answer is waited for, as theirs is, but for TRY_MS at most; what comes later still comes in order.
 *
 * librdkafka refuses to seek a partition that is not fetching: one whose assignment is not through yet, which passes,
 * or one that was out of range, which has stopped for good (with auto.offset.reset=error, in every version up to
 * 2.15) until it is assigned anew. So a refused seek is tried again for RETRY_NS, then the partition is restarted:
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
#include "actors/kafka_librdkafka.h"
#include "runtime/log.h"

#define PAUSE_NS UINT64_C(20000000)
#define RETRY_NS UINT64_C(500000000)

enum {
    TRY_MS = 250,
    VERSION_2_1_0 = 0x020100, /* without pre-release byte */
};

/* ---- restart ---- */

static bool is_stopped(const rd_kafka_topic_partition_t *element)
{
    return element->err == RD_KAFKA_RESP_ERR__STATE || element->err == RD_KAFKA_RESP_ERR__PREV_IN_PROGRESS;
}

/* Those not fetching, with where they are to start; what is not ours is told so. NULL: none. */
static rd_kafka_topic_partition_list_t *stopped_ones(struct weir_rdkafka *client, rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_topic_partition_list_t *stopped = NULL;
    for (int index = 0; index < list->cnt; index++) {
        rd_kafka_topic_partition_t *element = &list->elems[index];
        if (!is_stopped(element))
            continue;
        if (!rd_kafka_topic_partition_list_find(client->group.assigned, element->topic, element->partition)) {
            element->err = RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST;
            continue;
        }
        if (!stopped)
            stopped = rd_kafka_topic_partition_list_new(list->cnt);
        rd_kafka_topic_partition_list_add(stopped, element->topic, element->partition)->offset = element->offset;
    }
    return stopped;
}

static void take_results(rd_kafka_topic_partition_list_t *list, const rd_kafka_topic_partition_list_t *some,
                         rd_kafka_resp_err_t code)
{
    for (int index = 0; index < some->cnt; index++)
        rd_kafka_topic_partition_list_find(list, some->elems[index].topic, some->elems[index].partition)->err = code;
}

static bool may_restart(struct weir_rdkafka *client)
{
    return client->phase == WEIR_RDKAFKA_RUNNING && !client->is_fatal && weir_rdkafka_group_is_quiet(client) &&
           rd_kafka_queue_length(client->events) == 0;
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

/* The first may fail because an earlier attempt got no further than it; the second decides. */
static rd_kafka_resp_err_t restart_some(struct weir_rdkafka *client, rd_kafka_topic_partition_list_t *stopped)
{
    result_of(client, "incremental_unassign", rd_kafka_incremental_unassign(client->rk, stopped));
    return result_of(client, "incremental_assign", rd_kafka_incremental_assign(client->rk, stopped));
}

/* Where a partition goes on: where it is sought to, else where its pulls stand, else where it was to start. */
static int64_t start_of(struct weir_rdkafka *client, const rd_kafka_topic_partition_t *owned,
                        rd_kafka_topic_partition_list_t *stopped)
{
    const rd_kafka_topic_partition_t *sought =
        rd_kafka_topic_partition_list_find(stopped, owned->topic, owned->partition);
    if (sought)
        return sought->offset;
    const struct weir_kafka_queue *queue = weir_rdkafka_queue_find(client, owned->topic, owned->partition);
    return queue && queue->next >= 0 ? queue->next : owned->offset;
}

static rd_kafka_resp_err_t restart_all(struct weir_rdkafka *client, rd_kafka_topic_partition_list_t *stopped)
{
    for (struct weir_kafka_queue *queue = client->queues; queue; queue = queue->after)
        weir_rdkafka_queue_hold(queue);
    rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_copy(client->group.assigned);
    for (int index = 0; index < all->cnt; index++)
        all->elems[index].offset = start_of(client, &all->elems[index], stopped);
    rd_kafka_resp_err_t code = rd_kafka_assign(client->rk, all);
    if (code)
        complain(client, "assign", rd_kafka_err2str(code));
    rd_kafka_topic_partition_list_destroy(all);
    for (struct weir_kafka_queue *queue = client->queues; queue; queue = queue->after)
        weir_rdkafka_queue_release(queue);
    return code;
}

static void restart(struct weir_rdkafka *client, rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_topic_partition_list_t *stopped = stopped_ones(client, list);
    if (!stopped)
        return;
    if (may_restart(client)) {
        rd_kafka_resp_err_t code =
            weir_rdkafka_is_cooperative(client) ? restart_some(client, stopped) : restart_all(client, stopped);
        take_results(list, stopped, code);
    }
    rd_kafka_topic_partition_list_destroy(stopped);
}

/* ---- seek ---- */

/* 2.0.2 takes the time-out's milliseconds for microseconds. */
static int timeout_ms(void)
{
    return rd_kafka_version() >> 8 < VERSION_2_1_0 ? TRY_MS * 1000 : TRY_MS;
}

/* The error of the whole is a time-out; each partition then says for itself that it is in progress. */
static void try_seek(struct weir_rdkafka *client, rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_error_t *error = rd_kafka_seek_partitions(client->rk, list, timeout_ms());
    if (error)
        rd_kafka_error_destroy(error);
}

/* Those that were refused because they are not fetching; true if there are any. */
static bool try_stopped(struct weir_rdkafka *client, rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_topic_partition_list_t *stopped = stopped_ones(client, list);
    if (!stopped)
        return false;
    try_seek(client, stopped);
    bool any = false;
    for (int index = 0; index < stopped->cnt; index++) {
        const rd_kafka_topic_partition_t *result = &stopped->elems[index];
        rd_kafka_topic_partition_list_find(list, result->topic, result->partition)->err = result->err;
        any |= is_stopped(result);
    }
    rd_kafka_topic_partition_list_destroy(stopped);
    return any;
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
    if (!try_stopped(client, request->list))
        return true;
    request->try_ns = now_ns + PAUSE_NS;
    if (now_ns < request->deadline_ns)
        return false;
    restart(client, request->list);
    return true;
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

void weir_rdkafka_seek_step(struct weir_rdkafka *client)
{
    struct weir_rdkafka_requests *requests = &client->requests;
    while (requests->seeks && work_on(client, requests->seeks)) {
        struct weir_rdkafka_request *request = weir_rdkafka_request_take(&requests->seeks, &requests->seeks_end);
        note(client, request->list);
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
