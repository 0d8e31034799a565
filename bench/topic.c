/*
 * Topics for benches: made and filled once, recognised by their log ends afterwards.
 *
 * A message's key is "k" and a number, its value is filler. Partitions are dealt out by key, evenly but for a hot one.
 */
#include "bench/common.h"
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REQUEST_MS 10000

rd_kafka_conf_t *weir_bench_conf(const char *const (*properties)[2])
{
    char words[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    for (; (*properties)[0]; properties++)
        if (rd_kafka_conf_set(conf, (*properties)[0], (*properties)[1], words, sizeof words) != RD_KAFKA_CONF_OK)
            weir_bench_die("%s=%s: %s", (*properties)[0], (*properties)[1], words);
    return conf;
}

/* ---- keys ---- */

struct weir_bench_keys {
    const struct weir_bench_topic *topic;
    double *below; /* Zipf: share of all that has this number or a lower one */
};

struct weir_bench_keys *weir_bench_keys_create(const struct weir_bench_topic *topic)
{
    struct weir_bench_keys *keys = calloc(1, sizeof *keys);
    if (keys && topic->zipf > 0)
        keys->below = malloc(topic->keys * sizeof *keys->below);
    if (!keys || (topic->zipf > 0 && (topic->keys == 0 || topic->keys > 1000000 || !keys->below)))
        weir_bench_die("Zipf keys: 1..1000000, and memory for them");
    keys->topic = topic;
    double sum = 0;
    for (uint64_t i = 0; keys->below && i < topic->keys; i++)
        keys->below[i] = sum += pow((double)(i + 1), -topic->zipf);
    for (uint64_t i = 0; keys->below && i < topic->keys; i++)
        keys->below[i] /= sum;
    return keys;
}

uint64_t weir_bench_keys_of(const struct weir_bench_keys *keys, uint64_t number)
{
    uint64_t drawn = weir_bench_mix(1, number), low = 0, high;
    if (keys->topic->keys == 0)
        return number;
    if (!keys->below)
        return drawn % keys->topic->keys;
    double share = (double)(drawn >> 11) / 9007199254740992.0; /* 53 bits */
    for (high = keys->topic->keys - 1; low < high;) {
        uint64_t middle = (low + high) / 2;
        if (keys->below[middle] > share)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

void weir_bench_keys_destroy(struct weir_bench_keys *keys)
{
    free(keys->below);
    free(keys);
}

double weir_bench_key_order_seconds(const struct weir_bench_topic *topic, double work_seconds, double width)
{
    uint64_t *counts = calloc(topic->keys, sizeof *counts), most = 0; /* of topics with keys drawn from a number */
    struct weir_bench_keys *keys = weir_bench_keys_create(topic);
    if (!counts)
        weir_bench_die("memory is too short to count keys");
    for (uint64_t number = 0; number < topic->messages; number++) {
        uint64_t count = ++counts[weir_bench_keys_of(keys, number)];
        most = count > most ? count : most;
    }
    weir_bench_keys_destroy(keys);
    free(counts);
    return work_seconds * fmax((double)most, (double)topic->messages / width);
}

/* ---- topics ---- */

static rd_kafka_t *producer(const char *bootstrap, unsigned batch)
{
    char batch_messages[16];
    snprintf(batch_messages, sizeof batch_messages, "%u", batch ? batch : 10000);
    const char *const properties[][2] = {
        {"bootstrap.servers", bootstrap},
        {"compression.type", "none"},
        {"linger.ms", batch ? "60000" : "50"}, /* a flush does not wait for it */
        {"batch.num.messages", batch_messages},
        {"batch.size", "1000000"},
        {"acks", "1"},
        {"queue.buffering.max.messages", batch ? "2000000" : "200000"}, /* some batches of every partition */
        {"queue.buffering.max.kbytes", batch ? "1048576" : "131072"},
        {"log_level", "3"},
        {NULL, NULL},
    };
    char words[256];
    rd_kafka_conf_t *conf = weir_bench_conf(properties);
    rd_kafka_t *client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, words, sizeof words);
    if (!client)
        weir_bench_die("no producer: %s", words);
    return client;
}

/* Messages that the topic holds, or -1 where it does not exist. */
static int64_t messages_in(rd_kafka_t *client, const struct weir_bench_topic *topic)
{
    int64_t sum = 0;
    for (int32_t partition = 0; partition < topic->partitions; partition++) {
        int64_t low, high;
        if (rd_kafka_query_watermark_offsets(client, topic->name, partition, &low, &high, REQUEST_MS))
            return -1;
        sum += high - low;
    }
    return sum;
}

static bool exists(rd_kafka_t *client, const struct weir_bench_topic *topic)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t fault = rd_kafka_metadata(client, 1, NULL, &metadata, REQUEST_MS);
    if (fault)
        weir_bench_die("no broker answers: %s", rd_kafka_err2str(fault));
    bool found = false;
    for (int i = 0; i < metadata->topic_cnt; i++)
        found = found || (strcmp(metadata->topics[i].topic, topic->name) == 0 &&
                          metadata->topics[i].partition_cnt == topic->partitions);
    rd_kafka_metadata_destroy(metadata);
    return found;
}

static void create(rd_kafka_t *client, const struct weir_bench_topic *topic)
{
    char words[256];
    rd_kafka_NewTopic_t *request = rd_kafka_NewTopic_new(topic->name, topic->partitions, 1, words, sizeof words);
    if (!request)
        weir_bench_die("topic %s: %s", topic->name, words);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    rd_kafka_CreateTopics(client, &request, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, REQUEST_MS);
    const rd_kafka_CreateTopics_result_t *result = event ? rd_kafka_event_CreateTopics_result(event) : NULL;
    if (!result)
        weir_bench_die("topic %s could not be created: no answer", topic->name);
    size_t count;
    const rd_kafka_topic_result_t *const *topics = rd_kafka_CreateTopics_result_topics(result, &count);
    if (count != 1 || rd_kafka_topic_result_error(topics[0]))
        weir_bench_die("topic %s could not be created: %s", topic->name,
                       count == 1 ? rd_kafka_topic_result_error_string(topics[0]) : "no result");
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_NewTopic_destroy(request);
}

static void send_one(rd_kafka_t *client, const struct weir_bench_topic *topic, uint64_t key_number, char *value)
{
    char key[24];
    int key_size = snprintf(key, sizeof key, "k%llu", (unsigned long long)key_number);
    bool is_hot = weir_bench_mix(2, key_number) % 100 < topic->hot_percent;
    int32_t partition = is_hot ? 0 : (int32_t)(key_number % (uint64_t)topic->partitions);
    const rd_kafka_vu_t parts[] = {
        {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = topic->name},
        {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = partition},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {key, (size_t)key_size}},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {value, topic->value_size}},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
    };
    rd_kafka_resp_err_t fault;
    do {
        rd_kafka_error_t *error = rd_kafka_produceva(client, parts, sizeof parts / sizeof parts[0]);
        fault = error ? rd_kafka_error_code(error) : RD_KAFKA_RESP_ERR_NO_ERROR;
        rd_kafka_error_destroy(error); /* NULL is fine */
        if (fault == RD_KAFKA_RESP_ERR__QUEUE_FULL)
            rd_kafka_poll(client, 10);
    } while (fault == RD_KAFKA_RESP_ERR__QUEUE_FULL);
    if (fault)
        weir_bench_die("topic %s: %s", topic->name, rd_kafka_err2str(fault));
}

static void fill(rd_kafka_t *client, const struct weir_bench_topic *topic)
{
    char *value = malloc(topic->value_size);
    if (!value)
        weir_bench_die("memory is too short for a value of %zu bytes", topic->value_size);
    memset(value, 'v', topic->value_size);
    fprintf(stderr, "producing %llu messages of %zu bytes to %s\n", (unsigned long long)topic->messages,
            topic->value_size, topic->name);
    struct weir_bench_keys *keys = weir_bench_keys_create(topic);
    for (uint64_t number = 0; number < topic->messages; number++)
        send_one(client, topic, weir_bench_keys_of(keys, number), value);
    weir_bench_keys_destroy(keys);
    rd_kafka_resp_err_t fault = rd_kafka_flush(client, 60000);
    if (fault)
        weir_bench_die("topic %s: %s", topic->name, rd_kafka_err2str(fault));
    free(value);
}

/* ---- topics of an arm ---- */

void weir_bench_outputs_make(const char *bootstrap, int partitions, char *name, size_t size)
{
    snprintf(name, size, "weir-bench-outputs-%d-%llu", (int)getpid(), (unsigned long long)weir_bench_now_ns());
    rd_kafka_t *client = producer(bootstrap, 0);
    create(client, &(struct weir_bench_topic){.name = name, .partitions = partitions});
    rd_kafka_destroy(client);
}

void weir_bench_outputs_delete(const char *bootstrap, const char *name)
{
    rd_kafka_t *client = producer(bootstrap, 0);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    rd_kafka_DeleteTopic_t *request = rd_kafka_DeleteTopic_new(name);
    rd_kafka_DeleteTopics(client, &request, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, REQUEST_MS);
    if (!event || rd_kafka_event_error(event))
        fprintf(stderr, "topic %s could not be deleted; it stays until the broker ends\n", name);
    if (event)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_DeleteTopic_destroy(request);
    rd_kafka_destroy(client);
}

/* ---- topics of all arms ---- */

void weir_bench_topic_fill(const char *bootstrap, const struct weir_bench_topic *topic)
{
    rd_kafka_t *client = producer(bootstrap, topic->batch);
    bool found = exists(client, topic);
    if (!found)
        create(client, topic);
    int64_t messages = messages_in(client, topic);
    if (messages <= 0) {
        fill(client, topic);
        messages = messages_in(client, topic);
    }
    if (messages != (int64_t)topic->messages)
        weir_bench_die("topic %s holds %lld messages instead of %llu: delete it, and it will be filled anew",
                       topic->name, (long long)messages, (unsigned long long)topic->messages);
    rd_kafka_destroy(client);
}
