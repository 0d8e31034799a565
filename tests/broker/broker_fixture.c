/* See broker_fixture.h. Every client here is made for one call and destroyed before it returns. */
#include "tests/broker/broker_fixture.h"
#include "tests/support/test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char own_bootstrap[256]; /* "": the shared cluster is in use */
static char own_control[512];
static size_t batch_size; /* 0: librdkafka's own */

static const char *environment(const char *name)
{
    const char *value = getenv(name);
    cr_assert(value != NULL && value[0] != '\0', "%s is not set: run these tests by ./dev test broker", name);
    return value;
}

/* Run a shell command; its first line of output goes to `line`. Fails the test when the command fails. */
static void shell(const char *command, char *line, size_t size)
{
    FILE *output = popen(command, "r");
    cr_assert_not_null(output);
    if (!fgets(line, (int)size, output))
        line[0] = '\0';
    line[strcspn(line, "\n")] = '\0';
    char rest[256];
    while (fgets(rest, sizeof rest, output))
        ;
    int status = pclose(output);
    cr_assert_eq(status, 0, "%s: status %d", command, status);
}

const char *weir_broker_bootstrap(void)
{
    return own_bootstrap[0] ? own_bootstrap : environment("WEIR_TEST_BOOTSTRAP");
}

void weir_broker_control(const char *command)
{
    char line[1024], ignored[256];
    const char *control = own_bootstrap[0] ? own_control : environment("WEIR_TEST_KAFKA_CONTROL");
    snprintf(line, sizeof line, "%s %s", control, command);
    shell(line, ignored, sizeof ignored);
}

void weir_broker_start(const char *options)
{
    char line[1024];
    cr_assert_eq(own_bootstrap[0], '\0', "this test has a cluster of its own already");
    snprintf(own_control, sizeof own_control, "%s --name test-%d", environment("WEIR_TEST_KAFKA"), (int)getpid());
    snprintf(line, sizeof line, "%s start --owner %d %s", own_control, (int)getpid(), options);
    shell(line, own_bootstrap, sizeof own_bootstrap);
    cr_assert_neq(own_bootstrap[0], '\0', "%s named no address", line);
}

void weir_broker_stop(void)
{
    if (!own_bootstrap[0])
        return;
    weir_broker_control("stop");
    own_bootstrap[0] = '\0';
}

uint64_t weir_broker_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void weir_broker_pause_briefly(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
}

struct weir_broker_name weir_broker_name(const char *stem)
{
    static unsigned count;
    struct weir_broker_name name;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(name.text, sizeof name.text, "%s-%llx-%d-%u", stem, (unsigned long long)now.tv_sec, (int)getpid(),
             ++count);
    return name;
}

/* ---- clients ---- */

static void configure(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char text[256];
    cr_assert_eq(rd_kafka_conf_set(conf, name, value, text, sizeof text), RD_KAFKA_CONF_OK, "%s", text);
}

static rd_kafka_conf_t *configuration(void)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    configure(conf, "bootstrap.servers", weir_broker_bootstrap());
    configure(conf, "allow.auto.create.topics", "false");
    configure(conf, "log_level", "3");
    return conf;
}

static rd_kafka_t *client(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
    char text[256];
    rd_kafka_t *kafka = rd_kafka_new(type, conf, text, sizeof text);
    cr_assert_not_null(kafka, "%s", text);
    return kafka;
}

static rd_kafka_t *reader_of(const char *group, const char *isolation)
{
    rd_kafka_conf_t *conf = configuration();
    configure(conf, "group.id", group);
    configure(conf, "enable.auto.commit", "false");
    configure(conf, "enable.auto.offset.store", "false");
    configure(conf, "auto.offset.reset", "error");
    configure(conf, "isolation.level", isolation);
    configure(conf, "enable.partition.eof", "true");
    configure(conf, "fetch.wait.max.ms", "10");
    return client(RD_KAFKA_CONSUMER, conf);
}

static rd_kafka_t *reader(const char *group)
{
    return reader_of(group, "read_committed");
}

/* ---- administration ---- */

struct admin {
    rd_kafka_t *kafka;
    rd_kafka_queue_t *queue;
    rd_kafka_AdminOptions_t *options;
    rd_kafka_event_t *event; /* the answer */
};

static struct admin admin_open(rd_kafka_admin_op_t operation)
{
    struct admin admin = {.kafka = client(RD_KAFKA_PRODUCER, configuration())};
    char text[256];
    admin.queue = rd_kafka_queue_new(admin.kafka);
    admin.options = rd_kafka_AdminOptions_new(admin.kafka, operation);
    rd_kafka_AdminOptions_set_request_timeout(admin.options, WEIR_BROKER_WAIT_MS, text, sizeof text);
    if (operation != RD_KAFKA_ADMIN_OP_DELETERECORDS)
        rd_kafka_AdminOptions_set_operation_timeout(admin.options, WEIR_BROKER_WAIT_MS / 2, text, sizeof text);
    return admin;
}

static rd_kafka_event_t *admin_answer(struct admin *admin)
{
    admin->event = rd_kafka_queue_poll(admin->queue, WEIR_BROKER_WAIT_MS);
    cr_assert_not_null(admin->event, "no answer to an administrative request");
    cr_assert_eq(rd_kafka_event_error(admin->event), RD_KAFKA_RESP_ERR_NO_ERROR, "%s",
                 rd_kafka_event_error_string(admin->event));
    return admin->event;
}

static void admin_close(struct admin *admin)
{
    rd_kafka_event_destroy(admin->event);
    rd_kafka_AdminOptions_destroy(admin->options);
    rd_kafka_queue_destroy(admin->queue);
    rd_kafka_destroy(admin->kafka);
}

static void check_topic_results(const rd_kafka_topic_result_t *const *results, size_t count)
{
    cr_assert_eq(count, (size_t)1);
    cr_assert_eq(rd_kafka_topic_result_error(results[0]), RD_KAFKA_RESP_ERR_NO_ERROR, "%s: %s",
                 rd_kafka_topic_result_name(results[0]), rd_kafka_topic_result_error_string(results[0]));
}

/* Whether metadata names a leader for so many partitions; -1: whether the topic is unknown. */
static bool topic_has(rd_kafka_t *kafka, const char *topic, int partitions)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_topic_t *handle = rd_kafka_topic_new(kafka, topic, NULL);
    cr_assert_not_null(handle);
    rd_kafka_resp_err_t error = rd_kafka_metadata(kafka, 0, handle, &metadata, WEIR_BROKER_WAIT_MS);
    bool has = false;
    if (!error) {
        const struct rd_kafka_metadata_topic *found = &metadata->topics[0];
        bool known = !found->err;
        has = partitions < 0 ? !known : known && found->partition_cnt == partitions;
        for (int i = 0; known && i < found->partition_cnt; i++)
            has = has && found->partitions[i].leader >= 0;
        rd_kafka_metadata_destroy(metadata);
    }
    rd_kafka_topic_destroy(handle);
    return has;
}

static rd_kafka_NewTopic_t *new_topic(const char *topic, int partitions)
{
    char text[256];
    rd_kafka_NewTopic_t *request = rd_kafka_NewTopic_new(topic, partitions, -1, text, sizeof text);
    cr_assert_not_null(request, "%s", text);
    return request;
}

/* Ownership: takes the request. */
static void create(rd_kafka_NewTopic_t *request, const char *topic, int partitions)
{
    struct admin admin = admin_open(RD_KAFKA_ADMIN_OP_CREATETOPICS);
    rd_kafka_CreateTopics(admin.kafka, &request, 1, admin.options, admin.queue);
    size_t count;
    const rd_kafka_topic_result_t **results =
        rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(admin_answer(&admin)), &count);
    check_topic_results(results, count);
    rd_kafka_NewTopic_destroy(request);
    WEIR_BROKER_UNTIL(topic_has(admin.kafka, topic, partitions));
    admin_close(&admin);
}

void weir_broker_topic_create(const char *topic, int partitions, const char *const *config)
{
    rd_kafka_NewTopic_t *request = new_topic(topic, partitions);
    for (; config && config[0]; config += 2)
        rd_kafka_NewTopic_set_config(request, config[0], config[1]);
    create(request, topic, partitions);
}

void weir_broker_topic_place(const char *topic, int partitions, int32_t broker)
{
    char text[256];
    rd_kafka_NewTopic_t *request = new_topic(topic, partitions);
    for (int32_t partition = 0; partition < partitions; partition++)
        cr_assert_eq(rd_kafka_NewTopic_set_replica_assignment(request, partition, &broker, 1, text, sizeof text),
                     RD_KAFKA_RESP_ERR_NO_ERROR, "%s", text);
    create(request, topic, partitions);
}

void weir_broker_topic_grow(const char *topic, int partitions)
{
    char text[256];
    struct admin admin = admin_open(RD_KAFKA_ADMIN_OP_CREATEPARTITIONS);
    rd_kafka_NewPartitions_t *request = rd_kafka_NewPartitions_new(topic, (size_t)partitions, text, sizeof text);
    cr_assert_not_null(request, "%s", text);
    rd_kafka_CreatePartitions(admin.kafka, &request, 1, admin.options, admin.queue);
    size_t count;
    const rd_kafka_topic_result_t **results =
        rd_kafka_CreatePartitions_result_topics(rd_kafka_event_CreatePartitions_result(admin_answer(&admin)), &count);
    check_topic_results(results, count);
    rd_kafka_NewPartitions_destroy(request);
    WEIR_BROKER_UNTIL(topic_has(admin.kafka, topic, partitions));
    admin_close(&admin);
}

void weir_broker_topic_delete(const char *topic)
{
    struct admin admin = admin_open(RD_KAFKA_ADMIN_OP_DELETETOPICS);
    rd_kafka_DeleteTopic_t *request = rd_kafka_DeleteTopic_new(topic);
    rd_kafka_DeleteTopics(admin.kafka, &request, 1, admin.options, admin.queue);
    size_t count;
    const rd_kafka_topic_result_t **results =
        rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(admin_answer(&admin)), &count);
    check_topic_results(results, count);
    rd_kafka_DeleteTopic_destroy(request);
    WEIR_BROKER_UNTIL(topic_has(admin.kafka, topic, -1));
    admin_close(&admin);
}

void weir_broker_topic_trim(const char *topic, int32_t partition, int64_t offset)
{
    struct admin admin = admin_open(RD_KAFKA_ADMIN_OP_DELETERECORDS);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, partition)->offset = offset;
    rd_kafka_DeleteRecords_t *request = rd_kafka_DeleteRecords_new(list);
    rd_kafka_DeleteRecords(admin.kafka, &request, 1, admin.options, admin.queue);
    const rd_kafka_topic_partition_list_t *results =
        rd_kafka_DeleteRecords_result_offsets(rd_kafka_event_DeleteRecords_result(admin_answer(&admin)));
    cr_assert_eq(results->cnt, 1);
    cr_assert_eq(results->elems[0].err, RD_KAFKA_RESP_ERR_NO_ERROR, "%s", rd_kafka_err2str(results->elems[0].err));
    cr_assert_eq(results->elems[0].offset, offset);
    rd_kafka_DeleteRecords_destroy(request);
    rd_kafka_topic_partition_list_destroy(list);
    admin_close(&admin);
}

void weir_broker_watermarks(const char *topic, int32_t partition, int64_t *low, int64_t *high)
{
    rd_kafka_t *kafka = client(RD_KAFKA_PRODUCER, configuration());
    uint64_t deadline_ms = weir_broker_now_ms() + WEIR_BROKER_WAIT_MS;
    rd_kafka_resp_err_t error;
    do { /* a partition that has just been made has no leader for a moment */
        error = rd_kafka_query_watermark_offsets(kafka, topic, partition, low, high, WEIR_BROKER_WAIT_MS);
    } while (error == RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION && weir_broker_now_ms() < deadline_ms);
    cr_assert_eq(error, RD_KAFKA_RESP_ERR_NO_ERROR, "watermarks of %s/%d: %s", topic, (int)partition,
                 rd_kafka_err2str(error));
    rd_kafka_destroy(kafka);
}

/* One past the last record of all, or of those that readers of committed ones may see. */
static int64_t end_of(const char *topic, int32_t partition, const char *isolation)
{
    int64_t low, high;
    rd_kafka_conf_t *conf = configuration();
    configure(conf, "group.id", "weir-broker-ends");
    configure(conf, "isolation.level", isolation);
    rd_kafka_t *kafka = client(RD_KAFKA_CONSUMER, conf);
    rd_kafka_resp_err_t error =
        rd_kafka_query_watermark_offsets(kafka, topic, partition, &low, &high, WEIR_BROKER_WAIT_MS);
    cr_assert_eq(error, RD_KAFKA_RESP_ERR_NO_ERROR, "%s", rd_kafka_err2str(error));
    rd_kafka_destroy(kafka);
    return high;
}

int64_t weir_broker_open_transaction(const char *topic, int32_t partition)
{
    int64_t stable = end_of(topic, partition, "read_committed");
    return stable < end_of(topic, partition, "read_uncommitted") ? stable : -1;
}

/* A broker that has just come back, or is out of breath, coordinates nothing for a moment. */
static rd_kafka_resp_err_t committed(rd_kafka_t *kafka, rd_kafka_topic_partition_list_t *list)
{
    uint64_t deadline_ms = weir_broker_now_ms() + WEIR_BROKER_WAIT_MS;
    rd_kafka_resp_err_t error;
    do {
        error = rd_kafka_committed(kafka, list, WEIR_BROKER_WAIT_MS);
        if (error != RD_KAFKA_RESP_ERR_NOT_COORDINATOR && error != RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE &&
            error != RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS)
            return error;
        weir_broker_pause_briefly();
    } while (weir_broker_now_ms() < deadline_ms);
    return error;
}

int64_t weir_broker_committed(const char *group, const char *topic, int32_t partition, char *metadata,
                              size_t metadata_size)
{
    rd_kafka_t *kafka = reader(group);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, partition);
    rd_kafka_resp_err_t error = committed(kafka, list);
    const rd_kafka_topic_partition_t *found = &list->elems[0];
    cr_assert_eq(error, RD_KAFKA_RESP_ERR_NO_ERROR, "committed: %s", rd_kafka_err2str(error));
    cr_assert_eq(found->err, RD_KAFKA_RESP_ERR_NO_ERROR, "committed: %s", rd_kafka_err2str(found->err));
    int64_t offset = found->offset >= 0 ? found->offset : -1;
    if (metadata_size > 0)
        snprintf(metadata, metadata_size, "%.*s", (int)found->metadata_size,
                 found->metadata ? (const char *)found->metadata : "");
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(kafka);
    return offset;
}

void weir_broker_committed_all(const char *group, const char *topic, int32_t count, int64_t *offsets)
{
    rd_kafka_t *kafka = reader(group);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(count);
    for (int32_t partition = 0; partition < count; partition++)
        rd_kafka_topic_partition_list_add(list, topic, partition);
    rd_kafka_resp_err_t error = committed(kafka, list);
    cr_assert_eq(error, RD_KAFKA_RESP_ERR_NO_ERROR, "committed: %s", rd_kafka_err2str(error));
    for (int32_t partition = 0; partition < count; partition++) {
        const rd_kafka_topic_partition_t *found = &list->elems[partition];
        cr_assert_eq(found->err, RD_KAFKA_RESP_ERR_NO_ERROR, "committed: %s", rd_kafka_err2str(found->err));
        offsets[found->partition] = found->offset >= 0 ? found->offset : -1;
    }
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(kafka);
}

void weir_broker_commit(const char *group, const char *topic, int32_t partition, int64_t offset, const char *metadata)
{
    rd_kafka_t *kafka = reader(group);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_t *entry = rd_kafka_topic_partition_list_add(list, topic, partition);
    entry->offset = offset;
    if (metadata) {
        entry->metadata = strdup(metadata); /* freed with the list */
        cr_assert_not_null(entry->metadata);
        entry->metadata_size = strlen(metadata);
    }
    rd_kafka_resp_err_t error = rd_kafka_commit(kafka, list, 0);
    cr_assert_eq(error, RD_KAFKA_RESP_ERR_NO_ERROR, "commit: %s", rd_kafka_err2str(error));
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(kafka);
}

/* ---- records ---- */

struct production {
    size_t count, acknowledged;
    void (*delivered)(void *user, size_t index, int32_t partition, int64_t offset);
    void *user;
    char error[256]; /* the first that went wrong */
};

static void on_delivery(rd_kafka_t *kafka, const rd_kafka_message_t *message, void *opaque)
{
    struct production *production = opaque;
    (void)kafka;
    if (message->err) {
        if (!production->error[0])
            snprintf(production->error, sizeof production->error, "%s", rd_kafka_message_errstr(message));
        return;
    }
    production->acknowledged++;
    if (production->delivered)
        production->delivered(production->user, (size_t)(uintptr_t)message->_private, message->partition,
                              message->offset);
}

static rd_kafka_resp_err_t put(rd_kafka_t *kafka, const char *topic, const struct weir_broker_record *record,
                               size_t index)
{
    return rd_kafka_producev(kafka, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(record->partition),
                             RD_KAFKA_V_KEY((void *)(uintptr_t)record->key, record->key_size),
                             RD_KAFKA_V_VALUE((void *)(uintptr_t)record->value, record->value_size),
                             RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_TIMESTAMP(record->timestamp_ms),
                             RD_KAFKA_V_OPAQUE((void *)(uintptr_t)index), RD_KAFKA_V_END);
}

void weir_broker_batch_size(size_t size)
{
    batch_size = size;
}

void weir_broker_produce(const char *topic, size_t count,
                         void (*make)(void *user, size_t index, struct weir_broker_record *record),
                         void (*delivered)(void *user, size_t index, int32_t partition, int64_t offset), void *user)
{
    struct production production = {.count = count, .delivered = delivered, .user = user};
    rd_kafka_conf_t *conf = configuration();
    configure(conf, "enable.idempotence", "true");
    configure(conf, "linger.ms", "5");
    if (batch_size > 0) {
        char text[32];
        snprintf(text, sizeof text, "%zu", batch_size);
        configure(conf, "batch.size", text);
    }
    rd_kafka_conf_set_opaque(conf, &production);
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_t *kafka = client(RD_KAFKA_PRODUCER, conf);
    for (size_t index = 0; index < count; index++) {
        struct weir_broker_record record = {.partition = -1};
        make(user, index, &record);
        rd_kafka_resp_err_t error;
        while ((error = put(kafka, topic, &record, index)) == RD_KAFKA_RESP_ERR__QUEUE_FULL)
            rd_kafka_poll(kafka, 100);
        cr_assert_eq(error, RD_KAFKA_RESP_ERR_NO_ERROR, "produce: %s", rd_kafka_err2str(error));
        rd_kafka_poll(kafka, 0);
    }
    rd_kafka_flush(kafka, WEIR_BROKER_WAIT_MS);
    cr_assert_eq(production.acknowledged, count, "%zu of %zu records acknowledged; %s", production.acknowledged, count,
                 production.error);
    rd_kafka_destroy(kafka);
}

/* Read a partition from its low to its high watermark of now. EOF says where a transaction's marker ends it. */
static uint64_t read_partition(rd_kafka_t *kafka, const char *topic, int32_t partition,
                               void (*visit)(void *user, rd_kafka_message_t *message), void *user)
{
    int64_t low, high;
    uint64_t count = 0;
    bool more = true;
    rd_kafka_resp_err_t error =
        rd_kafka_query_watermark_offsets(kafka, topic, partition, &low, &high, WEIR_BROKER_WAIT_MS);
    cr_assert_eq(error, RD_KAFKA_RESP_ERR_NO_ERROR, "%s", rd_kafka_err2str(error));
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, partition)->offset = low;
    cr_assert_eq(rd_kafka_assign(kafka, list), RD_KAFKA_RESP_ERR_NO_ERROR);
    uint64_t deadline_ms = weir_broker_now_ms() + WEIR_BROKER_WAIT_MS;
    while (low < high && more) {
        cr_assert_lt(weir_broker_now_ms(), deadline_ms, "reading %s/%d takes too long", topic, (int)partition);
        rd_kafka_message_t *message = rd_kafka_consumer_poll(kafka, 1000);
        if (!message)
            continue;
        if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
            more = false;
        } else {
            cr_assert_eq(message->err, RD_KAFKA_RESP_ERR_NO_ERROR, "%s", rd_kafka_message_errstr(message));
            more = message->offset + 1 < high;
            visit(user, message);
            count++;
        }
        rd_kafka_message_destroy(message);
    }
    rd_kafka_assign(kafka, NULL);
    rd_kafka_topic_partition_list_destroy(list);
    return count;
}

/* Frees the client. */
static uint64_t read_topic(rd_kafka_t *kafka, const char *topic, void (*visit)(void *user, rd_kafka_message_t *message),
                           void *user)
{
    rd_kafka_topic_t *handle = rd_kafka_topic_new(kafka, topic, NULL);
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t error = rd_kafka_metadata(kafka, 0, handle, &metadata, WEIR_BROKER_WAIT_MS);
    cr_assert_eq(error, RD_KAFKA_RESP_ERR_NO_ERROR, "metadata: %s", rd_kafka_err2str(error));
    cr_assert_eq(metadata->topics[0].err, RD_KAFKA_RESP_ERR_NO_ERROR, "%s: %s", topic,
                 rd_kafka_err2str(metadata->topics[0].err));
    uint64_t count = 0;
    for (int32_t partition = 0; partition < metadata->topics[0].partition_cnt; partition++)
        count += read_partition(kafka, topic, partition, visit, user);
    rd_kafka_metadata_destroy(metadata);
    rd_kafka_topic_destroy(handle);
    rd_kafka_consumer_close(kafka);
    rd_kafka_destroy(kafka);
    return count;
}

uint64_t weir_broker_read(const char *topic, void (*visit)(void *user, rd_kafka_message_t *message), void *user)
{
    return read_topic(reader("weir-broker-read"), topic, visit, user);
}

static void visit_nothing(void *user, rd_kafka_message_t *message)
{
    (void)user, (void)message;
}

uint64_t weir_broker_count_all(const char *topic)
{
    return read_topic(reader_of("weir-broker-read", "read_uncommitted"), topic, visit_nothing, NULL);
}
