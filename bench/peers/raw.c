/*
 * The peer of the no-op arm: librdkafka as fast as one thread can have it. Partition queues, batches of 1,024, no
 * commits, no order to keep but the log's, and nothing done with a message.
 *
 * Thread: main.
 */
#include "bench/smoke.h"
#include <stdlib.h>

#define BATCH         1024
#define LIMIT_SECONDS 120

static rd_kafka_t *client(const struct weir_bench_arm_options *options)
{
    const char *const properties[][2] = {
        {"bootstrap.servers", options->bootstrap},
        {"group.id", "weir-bench-raw"},
        {"enable.auto.commit", "false"},
        {"enable.auto.offset.store", "false"},
        {"log_level", "3"},
        {NULL, NULL},
    };
    char words[256];
    rd_kafka_conf_t *conf = weir_bench_conf(properties);
    for (size_t i = 0; weir_bench_fetch_settings[i][0]; i++)
        if (rd_kafka_conf_set(conf, weir_bench_fetch_settings[i][0], weir_bench_fetch_settings[i][1], words,
                              sizeof words) != RD_KAFKA_CONF_OK)
            weir_bench_die("%s", words);
    rd_kafka_t *consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, words, sizeof words);
    if (!consumer)
        weir_bench_die("no consumer: %s", words);
    rd_kafka_poll_set_consumer(consumer);
    return consumer;
}

static rd_kafka_queue_t **assign(rd_kafka_t *consumer, const struct weir_bench_arm_options *options)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(options->partitions);
    rd_kafka_queue_t **queues = calloc((size_t)options->partitions, sizeof(rd_kafka_queue_t *));
    if (!queues)
        weir_bench_die("memory is too short for %d queues", options->partitions);
    for (int32_t partition = 0; partition < options->partitions; partition++) {
        rd_kafka_topic_partition_list_add(list, options->topic, partition)->offset = RD_KAFKA_OFFSET_BEGINNING;
        queues[partition] = rd_kafka_queue_get_partition(consumer, options->topic, partition);
        rd_kafka_queue_forward(queues[partition], NULL);
    }
    rd_kafka_resp_err_t fault = rd_kafka_assign(consumer, list);
    if (fault)
        weir_bench_die("assign: %s", rd_kafka_err2str(fault));
    rd_kafka_topic_partition_list_destroy(list);
    return queues;
}

/* One round over all queues; returns how many messages came. */
static uint64_t round_of(rd_kafka_queue_t **queues, int partitions, rd_kafka_message_t **batch)
{
    uint64_t taken = 0;
    for (int i = 0; i < partitions; i++) {
        ssize_t count = rd_kafka_consume_batch_queue(queues[i], 0, batch, BATCH);
        for (ssize_t j = 0; j < count; j++) {
            taken += !batch[j]->err;
            rd_kafka_message_destroy(batch[j]);
        }
    }
    return taken;
}

int weir_bench_raw_arm(const struct weir_bench_arm_options *options)
{
    static rd_kafka_message_t *batch[BATCH];
    uint64_t cpu_ns = weir_bench_cpu_ns(), begin_ns = 0, begin = 0, handled = 0;
    uint64_t give_up_ns = weir_bench_now_ns() + LIMIT_SECONDS * 1000000000ull;
    rd_kafka_t *consumer = client(options);
    rd_kafka_queue_t **queues = assign(consumer, options);
    while (handled < options->messages) {
        uint64_t taken = round_of(queues, options->partitions, batch);
        handled += taken;
        if (handled > 0 && begin_ns == 0) {
            begin_ns = weir_bench_now_ns();
            begin = handled;
        }
        if (taken > 0)
            continue;
        rd_kafka_message_t *event = rd_kafka_consumer_poll(consumer, 0); /* the client's own events */
        if (event)
            rd_kafka_message_destroy(event);
        if (weir_bench_now_ns() > give_up_ns)
            weir_bench_die("raw: %llu of %llu messages within %d s", (unsigned long long)handled,
                           (unsigned long long)options->messages, LIMIT_SECONDS);
        weir_bench_sleep_until_ns(weir_bench_now_ns() + 100000);
    }
    weir_bench_say("rate", (double)(handled - begin) / ((double)(weir_bench_now_ns() - begin_ns) / 1e9));
    weir_bench_say("cpu_ns_each", (double)(weir_bench_cpu_ns() - cpu_ns) / (double)handled);
    weir_bench_say("handled", (double)handled);
    for (int i = 0; i < options->partitions; i++)
        rd_kafka_queue_destroy(queues[i]);
    free(queues);
    rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
    return 0;
}
