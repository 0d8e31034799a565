/*
 * The audit: what the broker holds after the consumer has closed, read by a plain client that knows nothing of Weir.
 *
 * Dead letters are matched by their headers (__dlq.errors.topic, .partition, .offset) with what the broker said when
 * the order was produced, and by their value with the order itself.
 *
 * Thread: main.
 */
#include "cli/demo.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEADLINE_NS 10000000000u
#define REQUEST_MS  5000

/* A header as a NUL-terminated text; false when it is missing, null or too long. */
static bool header_text(const rd_kafka_headers_t *headers, const char *name, char *text, size_t size)
{
    const void *value;
    size_t length;
    if (!headers || rd_kafka_header_get_last(headers, name, &value, &length) != RD_KAFKA_RESP_ERR_NO_ERROR || !value ||
        length >= size)
        return false;
    memcpy(text, value, length);
    text[length] = '\0';
    return true;
}

static bool header_number(const rd_kafka_headers_t *headers, const char *name, int64_t *number)
{
    char text[32], *end;
    if (!header_text(headers, name, text, sizeof text))
        return false;
    errno = 0;
    *number = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == '\0';
}

/* The order that a dead letter's headers and value both point at, or -1. */
static int64_t identify(const struct weir_demo_plan *plan, const rd_kafka_message_t *letter,
                        const rd_kafka_headers_t *headers)
{
    char topic[sizeof DEMO_TOPIC + 1];
    int64_t partition, offset;
    if (!header_text(headers, "__dlq.errors.topic", topic, sizeof topic) || strcmp(topic, DEMO_TOPIC) != 0 ||
        !header_number(headers, "__dlq.errors.partition", &partition) ||
        !header_number(headers, "__dlq.errors.offset", &offset))
        return -1;
    int64_t id = weir_demo_order_id(plan, letter->payload, letter->len);
    if (id < 0 || plan->orders[id].partition != partition ||
        atomic_load_explicit(&plan->orders[id].offset, memory_order_relaxed) != offset)
        return -1;
    return id;
}

static void describe(struct weir_demo_audit *audit, const struct weir_demo_plan *plan, const rd_kafka_message_t *letter,
                     const rd_kafka_headers_t *headers, int64_t id)
{
    char reason[80] = "no reason", runs[16] = "?";
    for (size_t i = 0; i < sizeof audit->example / sizeof audit->example[0] && id >= 0; i++) {
        if (audit->example[i][0])
            continue;
        header_text(headers, "__dlq.errors.message", reason, sizeof reason);
        header_text(headers, "__dlq.errors.delivery.count", runs, sizeof runs);
        snprintf(audit->example[i], sizeof audit->example[i], "%s/%d @%lld, order %lld of customer-%05u: %s (%s runs)",
                 DEMO_TOPIC, plan->orders[id].partition,
                 (long long)atomic_load_explicit(&plan->orders[id].offset, memory_order_relaxed), (long long)id,
                 plan->orders[id].key, reason, runs);
        return;
    }
}

static void take_letter(struct weir_demo_audit *audit, struct weir_demo_ledger *ledger,
                        const rd_kafka_message_t *letter)
{
    rd_kafka_headers_t *headers = NULL;
    rd_kafka_message_headers(letter, &headers);
    int64_t id = identify(ledger->plan, letter, headers);
    weir_demo_ledger_letter(ledger, id, letter->partition);
    describe(audit, ledger->plan, letter, headers, id);
}

/* Read every partition of the dead letter topic to its end. */
static bool read_letters(struct weir_demo_audit *audit, struct weir_demo_ledger *ledger, rd_kafka_t *client)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(DEMO_DLQ_PARTITIONS);
    for (int32_t partition = 0; partition < DEMO_DLQ_PARTITIONS; partition++)
        rd_kafka_topic_partition_list_add(list, DEMO_DLQ_TOPIC, partition)->offset = RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_resp_err_t fault = rd_kafka_assign(client, list);
    rd_kafka_topic_partition_list_destroy(list);
    uint64_t deadline_ns = weir_demo_now_ns() + DEADLINE_NS;
    bool ended[DEMO_DLQ_PARTITIONS] = {false};
    int open = DEMO_DLQ_PARTITIONS;
    while (!fault && open > 0 && weir_demo_now_ns() < deadline_ns) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(client, 100);
        if (!message)
            continue;
        if (!message->err) {
            take_letter(audit, ledger, message);
        } else if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF && message->partition < DEMO_DLQ_PARTITIONS &&
                   !ended[message->partition]) {
            ended[message->partition] = true;
            open--;
        }
        rd_kafka_message_destroy(message);
    }
    rd_kafka_assign(client, NULL);
    if (open > 0)
        snprintf(audit->error.text, sizeof audit->error.text, "%s could not be read to its end: %s", DEMO_DLQ_TOPIC,
                 fault ? rd_kafka_err2str(fault) : "no answer in time");
    return open == 0;
}

static bool read_offsets(struct weir_demo_audit *audit, rd_kafka_t *client)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(DEMO_PARTITIONS);
    for (int32_t partition = 0; partition < DEMO_PARTITIONS; partition++)
        rd_kafka_topic_partition_list_add(list, DEMO_TOPIC, partition);
    rd_kafka_resp_err_t fault = rd_kafka_committed(client, list, REQUEST_MS);
    for (int i = 0; i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *partition = &list->elems[i];
        audit->committed[partition->partition] = fault || partition->err ? -1 : partition->offset;
    }
    rd_kafka_topic_partition_list_destroy(list);
    if (fault)
        snprintf(audit->error.text, sizeof audit->error.text, "the group's offsets could not be read: %s",
                 rd_kafka_err2str(fault));
    return !fault;
}

static rd_kafka_t *reader(const char *bootstrap, struct weir_error *error)
{
    static const char *const settings[][2] = {
        {"group.id", DEMO_GROUP}, /* whose offsets are read; it never joins */
        {"enable.auto.commit", "false"},
        {"enable.partition.eof", "true"},
        {"fetch.wait.max.ms", "10"},
    };
    rd_kafka_conf_t *conf = weir_demo_client(bootstrap);
    for (size_t i = 0; i < sizeof settings / sizeof settings[0] && conf; i++)
        if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], error->text, sizeof error->text)) {
            rd_kafka_conf_destroy(conf);
            return NULL;
        }
    rd_kafka_t *client = conf ? rd_kafka_new(RD_KAFKA_CONSUMER, conf, error->text, sizeof error->text) : NULL;
    if (!client && conf)
        rd_kafka_conf_destroy(conf);
    if (client)
        rd_kafka_poll_set_consumer(client);
    return client;
}

void weir_demo_audit_run(struct weir_demo_audit *audit, const char *bootstrap, struct weir_demo_ledger *ledger)
{
    *audit = (struct weir_demo_audit){0};
    rd_kafka_t *client = reader(bootstrap, &audit->error);
    if (!client)
        return;
    audit->letters_read = read_letters(audit, ledger, client);
    audit->offsets_read = read_offsets(audit, client);
    rd_kafka_consumer_close(client);
    rd_kafka_destroy(client);
}
