/*
 * Seeking where librdkafka's own seek is refused: a partition that was out of range has stopped for good (with
 * auto.offset.reset=error, in every version up to 2.15), and only a new assignment starts it again.
 *
 * Thread: control.
 *
 * Cooperative group: the partition alone is unassigned and assigned.
 * Eager group: librdkafka takes whole assignments only, and each starts all partitions anew. So all queues are held
 * first, then every partition is assigned at one past what was pulled from it: nothing pulled comes again and nothing
 * is left out, only what was fetched ahead is fetched once more.
 *
 * Neither concerns the group: no rebalance follows. But librdkafka would take either for the answer to a rebalance it
 * has just announced, so it is done only while none has been seen and no event waits. If one comes in between, the
 * group goes on before the caller has drained; commits are then refused by generation, and messages may be handled
 * twice.
 */
#include "actors/kafka_librdkafka.h"
#include "runtime/log.h"

static bool is_stopped(const rd_kafka_topic_partition_t *element)
{
    return element->err == RD_KAFKA_RESP_ERR__STATE || element->err == RD_KAFKA_RESP_ERR__PREV_IN_PROGRESS;
}

/* Those to be restarted, with where to start; what is no longer ours is told so. NULL: none. */
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

void weir_rdkafka_restart(struct weir_rdkafka *client, rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_topic_partition_list_t *stopped = stopped_ones(client, list);
    if (!stopped)
        return;
    if (may_restart(client)) {
        rd_kafka_resp_err_t code =
            weir_rdkafka_is_cooperative(client) ? restart_some(client, stopped) : restart_all(client, stopped);
        for (int index = 0; index < stopped->cnt; index++)
            rd_kafka_topic_partition_list_find(list, stopped->elems[index].topic, stopped->elems[index].partition)
                ->err = code;
    }
    rd_kafka_topic_partition_list_destroy(stopped);
}
