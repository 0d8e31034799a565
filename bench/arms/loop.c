/*
 * Arm: a raw loop that consumes, and produces each message again to a topic that is made for it. One thread, one member
 * of a group, librdkafka and nothing else. --mode says what it promises:
 *
 *   plain         at least once: an idempotent producer; each second it waits for what is on its way, and commits
 *   transactions  exactly once: each INTERVAL_NS, or before the producer's queue is full, it commits a transaction with
 *                 the group's offsets in it
 *
 * Time runs from the first message taken to the last that counts: acknowledged, or its transaction committed. The fetch
 * settings are those of the Weir arm.
 *
 * Thread: main.
 */
#include "bench/arms/arm.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH         1024
#define LIMIT_SECONDS 240
#define CALL_MS       60000
#define INTERVAL_NS   100000000u  /* as weir.transaction.interval.ms */
#define COMMIT_NS     1000000000u /* as weir.commit.interval.ms */
#define OPEN_MAX      90000u      /* messages: queue.buffering.max.messages is 100,000 */

static struct loop {
    struct weir_bench_job job;
    bool transactions;
    char outputs[64];
    rd_kafka_t *consumer, *producer;
    rd_kafka_topic_t *topic;
    rd_kafka_queue_t *queue;
    int64_t *next; /* by partition: what is to be committed; -1: nothing */
    uint64_t taken, acknowledged, committed, commits;
    uint64_t open; /* messages since the last commit */
    uint64_t committed_ns;
} loop;

static void check(rd_kafka_error_t *error, const char *what)
{
    if (error)
        weir_bench_die("%s: %s", what, rd_kafka_error_string(error));
}

static void on_report(rd_kafka_t *client, const rd_kafka_message_t *message, void *user)
{
    if (message->err)
        weir_bench_die("a message could not be sent: %s", rd_kafka_err2str(message->err));
    loop.acknowledged++;
}

/* ---- clients ---- */

static rd_kafka_t *client_of(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
    char words[256];
    rd_kafka_t *client = rd_kafka_new(type, conf, words, sizeof words);
    if (!client)
        weir_bench_die("no client: %s", words);
    return client;
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char words[256];
    if (rd_kafka_conf_set(conf, name, value, words, sizeof words) != RD_KAFKA_CONF_OK)
        weir_bench_die("%s", words);
}

static void open_consumer(const char *group)
{
    const char *const properties[][2] = {
        {"bootstrap.servers", loop.job.bootstrap},
        {"group.id", group},
        {"auto.offset.reset", "earliest"},
        {"enable.auto.commit", "false"},
        {"enable.auto.offset.store", "false"},
        {"isolation.level", loop.transactions ? "read_committed" : "read_uncommitted"},
        {"log_level", "3"},
        {NULL, NULL},
    };
    rd_kafka_conf_t *conf = weir_bench_conf(properties);
    for (size_t i = 0; weir_bench_arm_fetch[i][0]; i++)
        set(conf, weir_bench_arm_fetch[i][0], weir_bench_arm_fetch[i][1]);
    loop.consumer = client_of(RD_KAFKA_CONSUMER, conf);
    rd_kafka_poll_set_consumer(loop.consumer);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, loop.job.topic, RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t fault = rd_kafka_subscribe(loop.consumer, list);
    if (fault)
        weir_bench_die("subscribe: %s", rd_kafka_err2str(fault));
    rd_kafka_topic_partition_list_destroy(list);
    loop.queue = rd_kafka_queue_get_consumer(loop.consumer);
}

static void open_producer(const char *name)
{
    const char *const properties[][2] = {
        {"bootstrap.servers", loop.job.bootstrap},
        {"enable.idempotence", "true"},
        {"log_level", "3"},
        {NULL, NULL},
    };
    rd_kafka_conf_t *conf = weir_bench_conf(properties);
    if (loop.transactions)
        set(conf, "transactional.id", name);
    rd_kafka_conf_set_dr_msg_cb(conf, on_report);
    loop.producer = client_of(RD_KAFKA_PRODUCER, conf);
    loop.topic = rd_kafka_topic_new(loop.producer, loop.outputs, NULL);
    if (loop.transactions) {
        check(rd_kafka_init_transactions(loop.producer, CALL_MS), "init_transactions");
        check(rd_kafka_begin_transaction(loop.producer), "begin_transaction");
    }
}

/* ---- a message ---- */

static void send_one(const rd_kafka_message_t *message)
{
    while (rd_kafka_produce(loop.topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, message->payload, message->len,
                            message->key, message->key_len, NULL) != 0) {
        rd_kafka_resp_err_t fault = rd_kafka_last_error();
        if (fault != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            weir_bench_die("produce: %s", rd_kafka_err2str(fault));
        rd_kafka_poll(loop.producer, 10);
    }
    loop.next[message->partition] = message->offset + 1;
    loop.taken++;
    loop.open++;
}

static bool take_batch(void)
{
    static rd_kafka_message_t *batch[BATCH];
    ssize_t count = rd_kafka_consume_batch_queue(loop.queue, 0, batch, BATCH);
    for (ssize_t i = 0; i < count; i++) {
        if (!batch[i]->err)
            send_one(batch[i]);
        rd_kafka_message_destroy(batch[i]);
    }
    return count > 0;
}

/* ---- a commit ---- */

static rd_kafka_topic_partition_list_t *offsets(void)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(loop.job.partitions);
    for (int partition = 0; partition < loop.job.partitions; partition++)
        if (loop.next[partition] >= 0)
            rd_kafka_topic_partition_list_add(list, loop.job.topic, partition)->offset = loop.next[partition];
    return list;
}

static void commit_transaction(const rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_consumer_group_metadata_t *member = rd_kafka_consumer_group_metadata(loop.consumer);
    check(rd_kafka_send_offsets_to_transaction(loop.producer, list, member, CALL_MS), "send_offsets_to_transaction");
    check(rd_kafka_commit_transaction(loop.producer, CALL_MS), "commit_transaction");
    check(rd_kafka_begin_transaction(loop.producer), "begin_transaction");
    rd_kafka_consumer_group_metadata_destroy(member);
}

static void commit(void)
{
    rd_kafka_topic_partition_list_t *list = offsets();
    if (loop.transactions) {
        commit_transaction(list);
    } else {
        rd_kafka_resp_err_t fault = rd_kafka_flush(loop.producer, CALL_MS);
        if (!fault)
            fault = rd_kafka_commit(loop.consumer, list, 0);
        if (fault)
            weir_bench_die("commit: %s", rd_kafka_err2str(fault));
    }
    rd_kafka_topic_partition_list_destroy(list);
    loop.committed = loop.taken;
    loop.open = 0;
    loop.commits++;
}

static bool is_due(uint64_t now_ns)
{
    bool last = loop.taken >= loop.job.messages && loop.committed < loop.job.messages;
    if (loop.open == 0)
        return false;
    if (!loop.transactions)
        return now_ns - loop.committed_ns >= COMMIT_NS;
    return last || loop.open >= OPEN_MAX || now_ns - loop.committed_ns >= INTERVAL_NS;
}

static uint64_t done(void)
{
    return loop.transactions ? loop.committed : loop.acknowledged;
}

/* ---- the whole ---- */

static void run(void)
{
    uint64_t begin_ns = 0, now_ns, give_up_ns = weir_bench_now_ns() + LIMIT_SECONDS * 1000000000ull;
    loop.committed_ns = weir_bench_now_ns();
    while (done() < loop.job.messages) {
        bool some = take_batch();
        now_ns = weir_bench_now_ns();
        if (begin_ns == 0 && loop.taken > 0)
            begin_ns = now_ns;
        if (is_due(now_ns)) {
            commit();
            loop.committed_ns = weir_bench_now_ns();
        }
        rd_kafka_poll(loop.producer, 0);
        if (now_ns > give_up_ns)
            weir_bench_die("loop: %" PRIu64 " of %" PRIu64 " messages within %d s", done(), loop.job.messages,
                           LIMIT_SECONDS);
        if (!some)
            weir_bench_sleep_until_ns(now_ns + 100000);
    }
    char version[96], settings[128];
    snprintf(version, sizeof version, "librdkafka %s, %s", rd_kafka_version_str(), WEIR_BENCH_ALLOCATOR);
    snprintf(settings, sizeof settings, "one thread, batches of %d, %s, fetch settings of the Weir arm", BATCH,
             loop.transactions ? "a transaction each 100 ms" : "flushed and committed each second");
    weir_bench_job_say(&loop.job, done(), (double)(weir_bench_now_ns() - begin_ns) / 1e9, version, settings);
    weir_bench_job_say_number("handled", (double)loop.taken);
    weir_bench_job_say_number("commits", (double)loop.commits);
}

int main(int argc, char **argv)
{
    char name[64];
    weir_bench_job_read(&loop.job, argc, argv);
    loop.transactions = strcmp(loop.job.mode, "transactions") == 0;
    loop.next = malloc((size_t)loop.job.partitions * sizeof *loop.next);
    if (!loop.next)
        weir_bench_die("memory is too short for %d partitions", loop.job.partitions);
    memset(loop.next, 0xff, (size_t)loop.job.partitions * sizeof *loop.next);
    snprintf(name, sizeof name, "weir-bench-loop-%d-%" PRIu64, (int)getpid(), weir_bench_now_ns());
    weir_bench_outputs_make(loop.job.bootstrap, loop.job.partitions, loop.outputs, sizeof loop.outputs);
    open_producer(name);
    open_consumer(name);
    run();
    rd_kafka_queue_destroy(loop.queue);
    rd_kafka_consumer_close(loop.consumer);
    rd_kafka_destroy(loop.consumer);
    rd_kafka_topic_destroy(loop.topic);
    rd_kafka_destroy(loop.producer);
    free(loop.next);
    weir_bench_outputs_delete(loop.job.bootstrap, loop.outputs);
    weir_bench_job_say_end();
    return 0;
}
