/* See scribe.h. */
#include "tests/broker/scribe.h"
#include "tests/broker/broker_fixture.h"
#include "tests/support/test.h"
#include <stdio.h>
#include <string.h>

static void on_delivery(rd_kafka_t *kafka, const rd_kafka_message_t *message, void *opaque)
{
    struct weir_scribe *scribe = opaque;
    (void)kafka;
    scribe->acknowledged += !message->err;
    if (message->err && !scribe->error[0])
        snprintf(scribe->error, sizeof scribe->error, "%s", rd_kafka_message_errstr(message));
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char text[256];
    cr_assert_eq(rd_kafka_conf_set(conf, name, value, text, sizeof text), RD_KAFKA_CONF_OK, "%s", text);
}

static void require(rd_kafka_error_t *error, const char *what)
{
    cr_assert(error == NULL, "%s: %s", what, rd_kafka_error_string(error));
}

void weir_scribe_open(struct weir_scribe *scribe, const char *const *settings)
{
    char text[256];
    bool transactional = false;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    *scribe = (struct weir_scribe){0};
    set(conf, "bootstrap.servers", weir_broker_bootstrap());
    set(conf, "enable.idempotence", "true");
    set(conf, "message.max.bytes", "100000000");
    set(conf, "linger.ms", "5");
    set(conf, "log_level", "3");
    for (; settings && *settings; settings += 2) {
        set(conf, settings[0], settings[1]);
        transactional |= strcmp(settings[0], "transactional.id") == 0;
    }
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_conf_set_opaque(conf, scribe);
    scribe->kafka = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    cr_assert_not_null(scribe->kafka, "%s", text);
    if (transactional)
        require(rd_kafka_init_transactions(scribe->kafka, WEIR_BROKER_WAIT_MS), "init_transactions");
}

void weir_scribe_write(struct weir_scribe *scribe, const char *topic, const struct weir_scribe_record *record)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(record->header_count);
    for (size_t index = 0; index < record->header_count; index++)
        rd_kafka_header_add(headers, record->headers[index].name, -1, record->headers[index].value,
                            (ssize_t)record->headers[index].value_size);
    rd_kafka_resp_err_t code;
    while (
        (code = rd_kafka_producev(scribe->kafka, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(record->partition),
                                  RD_KAFKA_V_KEY((void *)(uintptr_t)record->key, record->key_size),
                                  RD_KAFKA_V_VALUE((void *)(uintptr_t)record->value, record->value_size),
                                  RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_TIMESTAMP(record->timestamp_ms),
                                  RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END)) == RD_KAFKA_RESP_ERR__QUEUE_FULL)
        rd_kafka_poll(scribe->kafka, 100);
    cr_assert_eq(code, RD_KAFKA_RESP_ERR_NO_ERROR, "produce: %s", rd_kafka_err2str(code));
    scribe->written++;
    rd_kafka_poll(scribe->kafka, 0);
}

void weir_scribe_flush(struct weir_scribe *scribe)
{
    rd_kafka_flush(scribe->kafka, WEIR_BROKER_WAIT_MS);
    cr_assert_eq(scribe->acknowledged, scribe->written, "%llu of %llu records acknowledged; %s",
                 (unsigned long long)scribe->acknowledged, (unsigned long long)scribe->written, scribe->error);
}

void weir_scribe_close(struct weir_scribe *scribe)
{
    weir_scribe_flush(scribe);
    rd_kafka_destroy(scribe->kafka);
}

void weir_scribe_begin(struct weir_scribe *scribe)
{
    require(rd_kafka_begin_transaction(scribe->kafka), "begin_transaction");
}

void weir_scribe_commit(struct weir_scribe *scribe)
{
    require(rd_kafka_commit_transaction(scribe->kafka, WEIR_BROKER_WAIT_MS), "commit_transaction");
}

void weir_scribe_abort(struct weir_scribe *scribe)
{
    weir_scribe_flush(scribe); /* so that what is aborted is in the log */
    require(rd_kafka_abort_transaction(scribe->kafka, WEIR_BROKER_WAIT_MS), "abort_transaction");
}
