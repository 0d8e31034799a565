/* The mock cluster, see mock.h. The producer that owns it also writes the messages and asks for offsets. */
#include "tests/support/mock.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WAIT_MS_MAX = 30000 };

struct weir_mock {
    rd_kafka_t *rk;
    rd_kafka_mock_cluster_t *cluster;
};

/* Whether the message just sent was acknowledged, and where it went. */
struct delivery {
    unsigned outstanding, failed;
    int64_t offset;
};

#define REQUIRE(condition, what)                                                                    \
    do {                                                                                            \
        if (!(condition)) {                                                                         \
            fprintf(stderr, "%s:%d: mock cluster: %s: %s\n", __FILE__, __LINE__, what, #condition); \
            abort();                                                                                \
        }                                                                                           \
    } while (0)

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
    struct delivery *delivery = message->_private;
    delivery->outstanding--;
    delivery->failed += message->err != RD_KAFKA_RESP_ERR_NO_ERROR;
    delivery->offset = message->offset;
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char text[256];
    REQUIRE(rd_kafka_conf_set(conf, name, value, text, sizeof text) == RD_KAFKA_CONF_OK, name);
}

struct weir_mock *weir_mock_create(int brokers)
{
    struct weir_mock *mock = calloc(1, sizeof *mock);
    REQUIRE(mock, "memory");
    char text[256], number[16];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    snprintf(number, sizeof number, "%d", brokers);
    set(conf, "test.mock.num.brokers", number);
    set(conf, "linger.ms", "1");
    set(conf, "message.max.bytes", "100000000");
    set(conf, "message.timeout.ms", "20000");
    set(conf, "log_level", "3");
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    mock->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    REQUIRE(mock->rk, text);
    mock->cluster = rd_kafka_handle_mock_cluster(mock->rk);
    REQUIRE(mock->cluster, "no cluster");
    return mock;
}

void weir_mock_destroy(struct weir_mock *mock)
{
    if (!mock)
        return;
    rd_kafka_destroy(mock->rk);
    free(mock);
}

const char *weir_mock_bootstrap(const struct weir_mock *mock)
{
    return rd_kafka_mock_cluster_bootstraps(mock->cluster);
}

rd_kafka_mock_cluster_t *weir_mock_cluster(const struct weir_mock *mock)
{
    return mock->cluster;
}

void weir_mock_topic_create(struct weir_mock *mock, const char *topic, int partitions)
{
    rd_kafka_resp_err_t code = rd_kafka_mock_topic_create(mock->cluster, topic, partitions, 1);
    REQUIRE(code == RD_KAFKA_RESP_ERR_NO_ERROR, rd_kafka_err2str(code));
}

static void send_one(struct weir_mock *mock, const char *topic, int32_t partition, const void *key, size_t key_size,
                     const void *value, size_t value_size, struct delivery *delivery)
{
    rd_kafka_resp_err_t code =
        rd_kafka_producev(mock->rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition),
                          RD_KAFKA_V_KEY(key, key_size), RD_KAFKA_V_VALUE((void *)value, value_size),
                          RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_OPAQUE(delivery), RD_KAFKA_V_END);
    REQUIRE(code == RD_KAFKA_RESP_ERR_NO_ERROR, rd_kafka_err2str(code));
    delivery->outstanding++;
}

static void wait_for(struct weir_mock *mock, const struct delivery *delivery)
{
    rd_kafka_resp_err_t code = rd_kafka_flush(mock->rk, WAIT_MS_MAX);
    REQUIRE(code == RD_KAFKA_RESP_ERR_NO_ERROR, rd_kafka_err2str(code));
    REQUIRE(delivery->outstanding == 0 && delivery->failed == 0, "a message was not acknowledged");
}

int64_t weir_mock_produce(struct weir_mock *mock, const char *topic, int32_t partition, const void *key,
                          size_t key_size, const void *value, size_t value_size)
{
    struct delivery delivery = {0};
    send_one(mock, topic, partition, key, key_size, value, value_size, &delivery);
    wait_for(mock, &delivery);
    return delivery.offset;
}

void weir_mock_produce_header(struct weir_mock *mock, const char *topic, const char *key, const char *value,
                              const char *name, const char *header)
{
    struct delivery delivery = {.outstanding = 1};
    rd_kafka_resp_err_t code = rd_kafka_producev(
        mock->rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_KEY(key, strlen(key)),
        RD_KAFKA_V_VALUE((void *)value, strlen(value)), RD_KAFKA_V_HEADER(name, header, strlen(header)),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_OPAQUE(&delivery), RD_KAFKA_V_END);
    REQUIRE(code == RD_KAFKA_RESP_ERR_NO_ERROR, rd_kafka_err2str(code));
    wait_for(mock, &delivery);
}

void weir_mock_produce_many(struct weir_mock *mock, const char *topic, int32_t partition, unsigned first,
                            unsigned count, unsigned keys)
{
    struct delivery delivery = {0};
    for (unsigned number = first; number < first + count; number++) {
        char key[32], value[32];
        int key_size = snprintf(key, sizeof key, "key-%u", number % keys);
        int value_size = snprintf(value, sizeof value, "value-%u", number);
        send_one(mock, topic, partition, key, (size_t)key_size, value, (size_t)value_size, &delivery);
    }
    wait_for(mock, &delivery);
}

int64_t weir_mock_end_offset(struct weir_mock *mock, const char *topic, int32_t partition)
{
    int64_t low = -1, high = -1;
    rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(mock->rk, topic, partition, &low, &high, WAIT_MS_MAX);
    REQUIRE(code == RD_KAFKA_RESP_ERR_NO_ERROR, rd_kafka_err2str(code));
    return high;
}

static int64_t read_committed(rd_kafka_t *rk, const char *topic, int32_t partition, char *metadata, size_t size)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_t *element = rd_kafka_topic_partition_list_add(list, topic, partition);
    rd_kafka_resp_err_t code = rd_kafka_committed(rk, list, WAIT_MS_MAX);
    REQUIRE(code == RD_KAFKA_RESP_ERR_NO_ERROR, rd_kafka_err2str(code));
    REQUIRE(element->err == RD_KAFKA_RESP_ERR_NO_ERROR, rd_kafka_err2str(element->err));
    if (metadata) {
        REQUIRE(element->metadata_size < size, "the metadata does not fit");
        if (element->metadata_size > 0)
            memcpy(metadata, element->metadata, element->metadata_size);
        metadata[element->metadata_size] = '\0';
    }
    int64_t offset = element->offset;
    rd_kafka_topic_partition_list_destroy(list);
    return offset >= 0 ? offset : -1;
}

int64_t weir_mock_committed(struct weir_mock *mock, const char *group, const char *topic, int32_t partition,
                            char *metadata, size_t size)
{
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", weir_mock_bootstrap(mock));
    set(conf, "group.id", group);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text);
    REQUIRE(rk, text);
    int64_t offset = read_committed(rk, topic, partition, metadata, size);
    rd_kafka_destroy(rk);
    return offset;
}

void weir_mock_broker_down(struct weir_mock *mock, int broker)
{
    REQUIRE(rd_kafka_mock_broker_set_down(mock->cluster, broker) == RD_KAFKA_RESP_ERR_NO_ERROR, "broker down");
}

void weir_mock_broker_up(struct weir_mock *mock, int broker)
{
    REQUIRE(rd_kafka_mock_broker_set_up(mock->cluster, broker) == RD_KAFKA_RESP_ERR_NO_ERROR, "broker up");
}

void weir_mock_fail(struct weir_mock *mock, int16_t api, rd_kafka_resp_err_t error, unsigned count)
{
    rd_kafka_resp_err_t *errors = malloc(count * sizeof *errors);
    REQUIRE(errors, "memory");
    for (unsigned index = 0; index < count; index++)
        errors[index] = error;
    rd_kafka_mock_push_request_errors_array(mock->cluster, api, count, errors);
    free(errors);
}

void weir_mock_fail_no_more(struct weir_mock *mock, int16_t api)
{
    rd_kafka_mock_clear_request_errors(mock->cluster, api);
}
