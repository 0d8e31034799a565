/*
 * librdkafka's opinion of all properties together, asked of scratch clients that know no broker.
 *
 * Thread: any. Nothing is connected. What librdkafka checks only here: rules between properties, such as session and
 * poll time-outs, and certificates and keys, which it reads.
 */
#include "actors/config/config.h"
#include "actors/librdkafka/client.h"

/* Take out what would make a client reach out: brokers, a ticket for Kerberos; and what it says at its start. */
static void quiet(rd_kafka_conf_t *conf)
{
    char words[64];
    (void)rd_kafka_conf_set(conf, "bootstrap.servers", NULL, words, sizeof words);
    (void)rd_kafka_conf_set(conf, "sasl.kerberos.kinit.cmd", "", words, sizeof words);
    rd_kafka_conf_set_log_cb(conf, NULL);
}

static int try_client(rd_kafka_type_t type, const rd_kafka_conf_t *conf, struct weir_error *error)
{
    char words[256] = "";
    rd_kafka_conf_t *scratch = rd_kafka_conf_dup(conf);
    quiet(scratch);
    rd_kafka_t *rk = rd_kafka_new(type, scratch, words, sizeof words);
    if (rk) {
        rd_kafka_destroy(rk);
        return 0;
    }
    rd_kafka_conf_destroy(scratch);
    return weir_error_set(error, WEIR_KAFKA, "librdkafka: %s", words);
}

int weir_kafka_check_config(const struct weir_config *config, struct weir_error *error)
{
    int code = weir_rdkafka_check_version(rd_kafka_version() >> 8, config, error);
    if (code)
        return code;
    struct weir_kafka *kafka = weir_kafka_librdkafka_create(config, error);
    if (!kafka)
        return WEIR_KAFKA;
    const struct weir_rdkafka *client = weir_rdkafka_of(kafka);
    code = try_client(RD_KAFKA_CONSUMER, client->conf, error);
    if (code == 0)
        code = try_client(RD_KAFKA_PRODUCER, client->producers.conf, error);
    kafka->ops->destroy(kafka);
    return code;
}
