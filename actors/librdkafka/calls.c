/*
 * The calls of librdkafka that wait for a broker.
 *
 * Thread: the helper's.
 *
 * A call is made of tries of CALL_MS each until CALL_MS_MAX have passed; once the client is being closed the try under
 * way is the last, and what has not begun fails. What fails only because it came too early (no coordinator yet, a
 * leader that moves) is tried again.
 */
#include "actors/librdkafka/client.h"
#include <string.h>
#include <time.h>

enum {
    CALL_MS = 2000,
    CALL_MS_MAX = 10000,
    PAUSE_MS = 50, /* between tries that fail at once */
};

static uint64_t deadline_after(unsigned ms)
{
    return weir_rdkafka_now_ns() + (uint64_t)ms * 1000000;
}

/* Wait a little, less if the client is closed meanwhile. False: no further try. */
static bool may_try_again(struct weir_rdkafka *client, uint64_t deadline_ns)
{
    struct weir_rdkafka_requests *requests = &client->requests;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += PAUSE_MS * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    pthread_mutex_lock(&requests->lock);
    int waited = 0;
    while (!requests->closing && waited == 0)
        waited = pthread_cond_timedwait(&requests->changed, &requests->lock, &until);
    bool may = !requests->closing;
    pthread_mutex_unlock(&requests->lock);
    return may && weir_rdkafka_now_ns() < deadline_ns;
}

static bool is_closing(struct weir_rdkafka *client)
{
    pthread_mutex_lock(&client->requests.lock);
    bool closing = client->requests.closing;
    pthread_mutex_unlock(&client->requests.lock);
    return closing;
}

static bool is_passing(rd_kafka_resp_err_t code)
{
    return weir_rdkafka_failure(code) == WEIR_KAFKA_RETRIABLE && code != RD_KAFKA_RESP_ERR__DESTROY;
}

static bool any_passing(const rd_kafka_topic_partition_list_t *list)
{
    for (int index = 0; index < list->cnt; index++)
        if (is_passing(list->elems[index].err))
            return true;
    return false;
}

static void replace(rd_kafka_topic_partition_list_t **list, rd_kafka_topic_partition_list_t *by)
{
    rd_kafka_topic_partition_list_destroy(*list);
    *list = by;
}

/* ---- committed offsets ---- */

/* Each try has a list of its own: librdkafka's update of one that has results already would leak them. */
static void fetch_committed(struct weir_rdkafka *client, struct weir_rdkafka_request *request)
{
    /* An offset that a transaction is about to change is not told until that has ended; and it may be ours, whose end
     * waits behind this call. */
    uint64_t deadline_ns = deadline_after(client->transactions.id ? 0 : CALL_MS_MAX);
    do {
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_copy(request->list);
        request->error = rd_kafka_committed(client->rk, list, CALL_MS);
        if (!is_passing(request->error) && !any_passing(list)) {
            replace(&request->list, list);
            return;
        }
        if (!request->error)
            request->error = RD_KAFKA_RESP_ERR__TIMED_OUT;
        rd_kafka_topic_partition_list_destroy(list);
    } while (may_try_again(client, deadline_ns));
}

/* ---- watermarks ---- */

static rd_kafka_topic_partition_list_t *with_offset(const rd_kafka_topic_partition_list_t *list, int64_t offset)
{
    rd_kafka_topic_partition_list_t *copy = rd_kafka_topic_partition_list_copy(list);
    for (int index = 0; index < copy->cnt; index++)
        copy->elems[index].offset = offset;
    return copy;
}

/* One request a broker for all partitions: "earliest" and "latest" are times to Kafka's ListOffsets. */
static rd_kafka_resp_err_t list_offsets(struct weir_rdkafka *client, struct weir_rdkafka_request *request)
{
    rd_kafka_topic_partition_list_t *low = with_offset(request->list, RD_KAFKA_OFFSET_BEGINNING);
    rd_kafka_topic_partition_list_t *high = with_offset(request->list, RD_KAFKA_OFFSET_END);
    rd_kafka_resp_err_t code = rd_kafka_offsets_for_times(client->rk, low, CALL_MS);
    if (!code)
        code = rd_kafka_offsets_for_times(client->rk, high, CALL_MS);
    if (code) {
        rd_kafka_topic_partition_list_destroy(low);
        rd_kafka_topic_partition_list_destroy(high);
        return code;
    }
    replace(&request->list, low);
    replace(&request->high, high);
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* One by one, when one partition's trouble has spoilt the answer for all. */
static void query_each(struct weir_rdkafka *client, struct weir_rdkafka_request *request, uint64_t deadline_ns)
{
    for (int index = 0; index < request->list->cnt; index++) {
        rd_kafka_topic_partition_t *low = &request->list->elems[index], *high = &request->high->elems[index];
        low->err = RD_KAFKA_RESP_ERR__TIMED_OUT;
        if (weir_rdkafka_now_ns() < deadline_ns && !is_closing(client))
            low->err = rd_kafka_query_watermark_offsets(client->rk, low->topic, low->partition, &low->offset,
                                                        &high->offset, CALL_MS);
        high->err = low->err;
        if (low->err)
            low->offset = high->offset = -1;
    }
}

static bool all_known(const rd_kafka_topic_partition_list_t *list)
{
    for (int index = 0; index < list->cnt; index++)
        if (list->elems[index].offset < 0)
            return false;
    return true;
}

static void fetch_watermarks(struct weir_rdkafka *client, struct weir_rdkafka_request *request)
{
    uint64_t deadline_ns = deadline_after(CALL_MS_MAX);
    request->high = with_offset(request->list, -1);
    if (!list_offsets(client, request) && all_known(request->list) && all_known(request->high))
        return;
    query_each(client, request, deadline_ns);
}

/* ---- number of partitions ---- */

static int32_t count_of(const struct rd_kafka_metadata *metadata, const char *topic)
{
    for (int index = 0; index < metadata->topic_cnt; index++)
        if (strcmp(metadata->topics[index].topic, topic) == 0 && !metadata->topics[index].err)
            return metadata->topics[index].partition_cnt;
    return -1;
}

static void ask_metadata(struct weir_rdkafka *client, struct weir_rdkafka_request *request)
{
    const char *name = request->list->elems[0].topic;
    const struct rd_kafka_metadata *metadata;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(client->rk, name, NULL);
    if (!topic)
        return;
    request->error = rd_kafka_metadata(client->rk, 0, topic, &metadata, CALL_MS);
    rd_kafka_topic_destroy(topic);
    if (request->error)
        return;
    request->partition_count = count_of(metadata, name);
    rd_kafka_metadata_destroy(metadata);
}

void weir_rdkafka_call(struct weir_rdkafka *client, struct weir_rdkafka_request *request)
{
    if (request->job >= WEIR_RDKAFKA_JOB_BEGIN) { /* also while the client is closed: what is open must end */
        weir_rdkafka_transact(client, request);
        return;
    }
    if (is_closing(client) && request->job != WEIR_RDKAFKA_JOB_DESTROY) {
        request->error = RD_KAFKA_RESP_ERR__DESTROY;
        return;
    }
    switch (request->job) {
    case WEIR_RDKAFKA_JOB_COMMITTED:
        fetch_committed(client, request);
        break;
    case WEIR_RDKAFKA_JOB_WATERMARKS:
        fetch_watermarks(client, request);
        break;
    case WEIR_RDKAFKA_JOB_METADATA:
        ask_metadata(client, request);
        break;
    case WEIR_RDKAFKA_JOB_SEEK: /* control's, see seek.c */
        break;
    case WEIR_RDKAFKA_JOB_DESTROY:
        rd_kafka_destroy(request->producer);
        request->producer = NULL;
        break;
    default:
        break;
    }
}
