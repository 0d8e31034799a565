#include "tests/scenario/rdkafka_refuse.h"
#include <dlfcn.h>
#include <librdkafka/rdkafka.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static struct {
    _Atomic unsigned left, refused;
} calls[WEIR_RDKAFKA_CALLS];

void weir_rdkafka_refuse(enum weir_rdkafka_call call, unsigned count)
{
    atomic_store(&calls[call].refused, 0);
    atomic_store(&calls[call].left, count);
}

unsigned weir_rdkafka_refused(enum weir_rdkafka_call call)
{
    return atomic_load(&calls[call].refused);
}

static bool is_refused(enum weir_rdkafka_call call)
{
    unsigned left = atomic_load(&calls[call].left);
    while (left > 0 && !atomic_compare_exchange_weak(&calls[call].left, &left, left - 1))
        ;
    if (left > 0)
        atomic_fetch_add(&calls[call].refused, 1);
    return left > 0;
}

/* The library's own; `function` is the address of a pointer to it. */
static void find(const char *name, void *function)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (!found)
        abort();
    memcpy(function, &found, sizeof found); /* POSIX has them alike, C knows no such conversion */
}

rd_kafka_queue_t *rd_kafka_queue_get_partition(rd_kafka_t *rk, const char *topic, int32_t partition)
{
    if (is_refused(WEIR_RDKAFKA_QUEUE_GET_PARTITION))
        return NULL;
    rd_kafka_queue_t *(*get)(rd_kafka_t *, const char *, int32_t);
    find(__func__, &get);
    return get(rk, topic, partition);
}

rd_kafka_resp_err_t
rd_kafka_commit_queue(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *offsets, rd_kafka_queue_t *queue,
                      void (*callback)(rd_kafka_t *, rd_kafka_resp_err_t, rd_kafka_topic_partition_list_t *, void *),
                      void *opaque)
{
    if (is_refused(WEIR_RDKAFKA_COMMIT_QUEUE))
        return RD_KAFKA_RESP_ERR__STATE;
    rd_kafka_resp_err_t (*commit)(
        rd_kafka_t *, const rd_kafka_topic_partition_list_t *, rd_kafka_queue_t *,
        void (*)(rd_kafka_t *, rd_kafka_resp_err_t, rd_kafka_topic_partition_list_t *, void *), void *);
    find(__func__, &commit);
    return commit(rk, offsets, queue, callback, opaque);
}

rd_kafka_resp_err_t rd_kafka_assign(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *partitions)
{
    if (partitions && is_refused(WEIR_RDKAFKA_ASSIGN))
        return RD_KAFKA_RESP_ERR__STATE;
    rd_kafka_resp_err_t (*assign)(rd_kafka_t *, const rd_kafka_topic_partition_list_t *);
    find(__func__, &assign);
    return assign(rk, partitions);
}

/* Refused for the sake of a partition that librdkafka does not know, so that the error is of its making. */
static rd_kafka_error_t *refuse_unassign(rd_kafka_t *rk)
{
    rd_kafka_error_t *(*unassign)(rd_kafka_t *, const rd_kafka_topic_partition_list_t *);
    find("rd_kafka_incremental_unassign", &unassign);
    rd_kafka_topic_partition_list_t *none = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(none, "unknown", 0);
    rd_kafka_error_t *error = unassign(rk, none);
    rd_kafka_topic_partition_list_destroy(none);
    return error;
}

rd_kafka_error_t *rd_kafka_incremental_assign(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *partitions)
{
    if (is_refused(WEIR_RDKAFKA_INCREMENTAL_ASSIGN))
        return refuse_unassign(rk);
    rd_kafka_error_t *(*assign)(rd_kafka_t *, const rd_kafka_topic_partition_list_t *);
    find(__func__, &assign);
    return assign(rk, partitions);
}

rd_kafka_error_t *rd_kafka_incremental_unassign(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *partitions)
{
    if (is_refused(WEIR_RDKAFKA_INCREMENTAL_UNASSIGN))
        return refuse_unassign(rk);
    rd_kafka_error_t *(*unassign)(rd_kafka_t *, const rd_kafka_topic_partition_list_t *);
    find(__func__, &unassign);
    return unassign(rk, partitions);
}
