/*
 * The raw batch loop; see raw.h.
 */
#include "bench/peers/raw.h"
#include <stdlib.h>

#define BATCH         1024
#define LIMIT_SECONDS 120

static rd_kafka_t *client(const struct weir_bench_raw *raw)
{
    const char *const properties[][2] = {
        {"bootstrap.servers", raw->bootstrap},
        {"group.id", "weir-bench-raw"},
        {"enable.auto.commit", "false"},
        {"enable.auto.offset.store", "false"},
        {"log_level", "3"},
        {NULL, NULL},
    };
    char words[256];
    rd_kafka_conf_t *conf = weir_bench_conf(properties);
    for (const char *const(*setting)[2] = raw->settings; setting && (*setting)[0]; setting++)
        if (rd_kafka_conf_set(conf, (*setting)[0], (*setting)[1], words, sizeof words) != RD_KAFKA_CONF_OK)
            weir_bench_die("%s", words);
    rd_kafka_t *consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, words, sizeof words);
    if (!consumer)
        weir_bench_die("no consumer: %s", words);
    rd_kafka_poll_set_consumer(consumer);
    return consumer;
}

static rd_kafka_queue_t **assign(rd_kafka_t *consumer, const struct weir_bench_raw *raw)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(raw->partitions);
    rd_kafka_queue_t **queues = calloc((size_t)raw->partitions, sizeof(rd_kafka_queue_t *));
    if (!queues)
        weir_bench_die("memory is too short for %d queues", raw->partitions);
    for (int32_t partition = 0; partition < raw->partitions; partition++) {
        rd_kafka_topic_partition_list_add(list, raw->topic, partition)->offset =
            raw->at_end ? RD_KAFKA_OFFSET_END : RD_KAFKA_OFFSET_BEGINNING;
        queues[partition] = rd_kafka_queue_get_partition(consumer, raw->topic, partition);
        rd_kafka_queue_forward(queues[partition], NULL);
    }
    rd_kafka_resp_err_t fault = rd_kafka_assign(consumer, list);
    if (fault)
        weir_bench_die("assign: %s", rd_kafka_err2str(fault));
    rd_kafka_topic_partition_list_destroy(list);
    return queues;
}

/* One round over all queues; returns how many messages came. */
static uint64_t round_of(rd_kafka_queue_t **queues, const struct weir_bench_raw *raw, rd_kafka_message_t **batch)
{
    uint64_t taken = 0;
    for (int i = 0; i < raw->partitions; i++) {
        ssize_t count = rd_kafka_consume_batch_queue(queues[i], 0, batch, BATCH);
        for (ssize_t j = 0; j < count; j++) {
            taken += !batch[j]->err;
            if (raw->on_message && !batch[j]->err)
                raw->on_message(batch[j], raw->user);
            if (!raw->keep)
                rd_kafka_message_destroy(batch[j]);
        }
    }
    return taken;
}

/* The client's own events, and a short sleep, as nothing came. */
static void idle(rd_kafka_t *consumer)
{
    rd_kafka_message_t *event = rd_kafka_consumer_poll(consumer, 0);
    if (event)
        rd_kafka_message_destroy(event);
    weir_bench_sleep_until_ns(weir_bench_now_ns() + 100000);
}

struct weir_bench_raw_result weir_bench_raw_loop(const struct weir_bench_raw *raw)
{
    static rd_kafka_message_t *batch[BATCH];
    struct weir_bench_raw_result result = {0};
    uint64_t cpu_ns = weir_bench_cpu_ns(), begin_ns = 0, begin = 0;
    uint64_t give_up_ns = weir_bench_now_ns() + LIMIT_SECONDS * 1000000000ull;
    rd_kafka_t *consumer = client(raw);
    rd_kafka_queue_t **queues = assign(consumer, raw);
    while (result.handled < raw->messages) {
        uint64_t taken = round_of(queues, raw, batch);
        result.handled += taken;
        if (result.handled > 0 && begin_ns == 0) {
            begin_ns = weir_bench_now_ns();
            begin = result.handled;
        }
        if (taken > 0)
            continue;
        if (raw->stop && raw->stop(raw->user))
            break;
        if (weir_bench_now_ns() > give_up_ns)
            weir_bench_die("raw: %llu of %llu messages within %d s", (unsigned long long)result.handled,
                           (unsigned long long)raw->messages, LIMIT_SECONDS);
        idle(consumer);
    }
    result.seconds = begin_ns ? (double)(weir_bench_now_ns() - begin_ns) / 1e9 : 0;
    result.messages = result.handled - begin;
    result.cpu_ns = weir_bench_cpu_ns() - cpu_ns;
    for (int i = 0; i < raw->partitions; i++)
        rd_kafka_queue_destroy(queues[i]);
    free(queues);
    rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
    return result;
}
