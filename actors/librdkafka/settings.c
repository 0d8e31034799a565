/*
 * librdkafka's properties for the two clients, in three layers, each over the one before:
 *
 *   1. defaults of ours, where librdkafka's do not suit
 *   2. the user's, as set
 *   3. those that Weir's promises rest on
 *
 * Thread: before start. Nothing is connected here.
 *
 * Fetching. A fetch of 1 MB, 128 KB a partition, costs half the CPU of librdkafka's defaults: pages that were touched
 * are used again instead of faulted in. A larger message still comes through: the broker gives at least one message
 * set whole, whatever the limits. What is fetched ahead of the window is bounded a partition by queued.min.messages
 * and queued.max.messages.kbytes; from 2.2 on a full queue is looked at again after fetch.queue.backoff.ms, before
 * that after up to a second, so there it must hold what is handled in a second.
 */
#include "actors/config/config.h"
#include "actors/librdkafka/client.h"
#include "runtime/log.h"
#include "runtime/memory.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <weir/version.h>

enum {
    VERSION_2_2_0 = 0x020200,
    VERSION_2_13_2 = 0x020d02,
    FETCH_BYTES_MAX = 1048576,
    QUEUED_KBYTES_MIN = 1024,
    QUEUED_KBYTES_MAX = 2097151, /* librdkafka's limit */
    QUEUED_MESSAGE_BYTES = 200,
    QUEUED_MESSAGES_MIN = 1000,
    QUEUED_MESSAGES_MAX = 100000, /* librdkafka's default */
    STATISTICS_MS_MIN = 1000,     /* 1 ms of CPU each with 64 partitions */
};

struct setting {
    const char *name, *value;
};

/* 25 ms: an idle partition holds up the others' next fetch from its broker for as long. 30 s, as in Kafka's own
 * clients: the end of a client waits for a commit that a broker does not answer. */
static const struct setting CONSUMER_DEFAULTS[] = {
    {"client.id", "weir"},
    {"fetch.wait.max.ms", "25"},
    {"socket.timeout.ms", "30000"},
    {"fetch.message.max.bytes", "131072"},
};

static const struct setting CONSUMER_FORCED[] = {
    {"enable.auto.commit", "false"},
    {"enable.auto.offset.store", "false"},
    {"auto.offset.reset", "error"},
};

/* 100 MB: what the source's brokers let in, the client must not refuse; brokers take requests of 100 MiB. */
static const struct setting PRODUCER_DEFAULTS[] = {
    {"client.id", "weir"},
    {"linger.ms", "5"},
    {"message.max.bytes", "100000000"},
};

static const struct setting PRODUCER_FORCED[] = {
    {"enable.idempotence", "true"},
    {"acks", "all"},
};

/*
 * librdkafka warns of each property of the other kind of client and cannot be asked which they are. Names that are in
 * neither table go to both clients.
 */
static const char *const CONSUMER_ONLY[] = {
    "auto.commit.enable",
    "auto.commit.interval.ms",
    "auto.offset.reset",
    "check.crcs",
    "consume.callback.max.messages",
    "coordinator.query.interval.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.protocol.type",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "isolation.level",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "offset.store.method",
    "partition.assignment.strategy",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "session.timeout.ms",
};

static const char *const PRODUCER_ONLY[] = {
    "acks",
    "batch.num.messages",
    "batch.size",
    "compression.codec",
    "compression.level",
    "compression.type",
    "delivery.report.only.error",
    "delivery.timeout.ms",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "linger.ms",
    "message.send.max.retries",
    "message.timeout.ms",
    "partitioner",
    "queue.buffering.backpressure.threshold",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "queuing.strategy",
    "request.required.acks",
    "request.timeout.ms",
    "retries",
    "sticky.partitioning.linger.ms",
    "transaction.timeout.ms",
    "transactional.id",
};

static bool is_among(const char *const *names, size_t count, const char *name)
{
    for (size_t index = 0; index < count; index++)
        if (strcmp(names[index], name) == 0)
            return true;
    return false;
}

/* ---- setting ---- */

/* librdkafka's words may repeat the value: not for secrets. */
static int set(rd_kafka_conf_t *conf, const char *name, const char *value, struct weir_error *error)
{
    char words[256] = "";
    if (rd_kafka_conf_set(conf, name, value, words, sizeof words) == RD_KAFKA_CONF_OK)
        return 0;
    if (weir_config_is_secret(name))
        return weir_error_set(error, WEIR_INVALID, "%s=[hidden]: librdkafka refuses this value", name);
    return weir_error_set(error, WEIR_INVALID, "%s=%s: %s", name, value, words);
}

static int set_number(rd_kafka_conf_t *conf, const char *name, uint64_t number, struct weir_error *error)
{
    char value[24];
    snprintf(value, sizeof value, "%" PRIu64, number);
    return set(conf, name, value, error);
}

static int set_all(rd_kafka_conf_t *conf, const struct setting *settings, size_t count, struct weir_error *error)
{
    for (size_t index = 0; index < count; index++) {
        int code = set(conf, settings[index].name, settings[index].value, error);
        if (code)
            return code;
    }
    return 0;
}

/* The user's properties, but for those of the other kind of client. */
static int set_users(rd_kafka_conf_t *conf, const struct weir_config *config, const char *const *not_these,
                     size_t not_count, struct weir_error *error)
{
    const char *name, *value;
    for (size_t index = 0; weir_config_kafka_at(config, index, &name, &value); index++) {
        if (is_among(not_these, not_count, name))
            continue;
        int code = set(conf, name, value, error);
        if (code)
            return code;
    }
    return 0;
}

/* ---- what is common ---- */

static enum weir_log_level log_level(int syslog_level)
{
    if (syslog_level <= 3)
        return WEIR_LOG_ERROR;
    if (syslog_level == 4)
        return WEIR_LOG_WARN;
    return syslog_level <= 6 ? WEIR_LOG_INFO : WEIR_LOG_DEBUG;
}

/* librdkafka's threads. It leaves the values of sensitive properties out of its lines by itself. */
static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    weir_log(log_level(level), WEIR_FIELDS({"client", rk ? rd_kafka_name(rk) : ""}, {"facility", facility}),
             "librdkafka: %s", text);
}

/* Hidden properties, for the broker's metrics of client software. No harm if a build does not have them. */
static void set_software(rd_kafka_conf_t *conf)
{
    char version[96], words[64];
    snprintf(version, sizeof version, "%s-librdkafka-%s", WEIR_VERSION, rd_kafka_version_str());
    (void)rd_kafka_conf_set(conf, "client.software.name", "weir", words, sizeof words);
    (void)rd_kafka_conf_set(conf, "client.software.version", version, words, sizeof words);
}

static uint64_t clamp(uint64_t number, uint64_t low, uint64_t high)
{
    return number < low ? low : number > high ? high : number;
}

static int library_version(void)
{
    return rd_kafka_version() >> 8; /* the last byte counts pre-releases */
}

/* ---- consumer ---- */

/*
 * EOF entries tell where the log ends when its last offsets hold no message. From 2.2 to 2.13.1 the batch calls advance
 * librdkafka's position on error entries, EOF among them: after an internal pause it would fetch again from there.
 */
bool weir_rdkafka_eof_is_safe(int version)
{
    return version < VERSION_2_2_0 || version >= VERSION_2_13_2;
}

/* Bounded in bytes by a share of the memory cap, and in messages as well: librdkafka counts their content only, and a
 * small one costs it several times that. */
static int set_queue_bounds(rd_kafka_conf_t *conf, const struct weir_config *config, struct weir_error *error)
{
    uint64_t bytes = weir_config_prefetch_bytes(config), window = weir_config_options(config)->window_messages_max;
    bool is_quick = library_version() >= VERSION_2_2_0;
    int code = is_quick ? set(conf, "fetch.queue.backoff.ms", "10", error) : 0;
    uint64_t messages =
        clamp(is_quick ? window : bytes / QUEUED_MESSAGE_BYTES, QUEUED_MESSAGES_MIN, QUEUED_MESSAGES_MAX);
    if (!code)
        code = set_number(conf, "queued.min.messages", messages, error);
    if (!code)
        code = set_number(conf, "queued.max.messages.kbytes", clamp(bytes / 1024, QUEUED_KBYTES_MIN, QUEUED_KBYTES_MAX),
                          error);
    return code;
}

/* librdkafka wants fetch.max.bytes >= message.max.bytes, which the user may have raised. */
static int set_fetch_bytes(rd_kafka_conf_t *conf, const struct weir_config *config, struct weir_error *error)
{
    const char *message = weir_config_kafka_get(config, "message.max.bytes");
    uint64_t message_bytes = message ? strtoull(message, NULL, 10) : 0;
    return set_number(conf, "fetch.max.bytes", clamp(message_bytes, FETCH_BYTES_MAX, INT32_MAX - 512), error);
}

/* The group protocol of KIP-848 takes its assignor from the broker and refuses the property. */
static int set_strategy(rd_kafka_conf_t *conf, const struct weir_config *config, struct weir_error *error)
{
    const char *protocol = weir_config_kafka_get(config, "group.protocol");
    if (protocol && strcasecmp(protocol, "consumer") == 0)
        return 0;
    return set(conf, "partition.assignment.strategy", "cooperative-sticky", error);
}

static int consumer_defaults(rd_kafka_conf_t *conf, const struct weir_config *config, struct weir_error *error)
{
    const struct weir_options *options = weir_config_options(config);
    int code = set_all(conf, CONSUMER_DEFAULTS, WEIR_COUNT(CONSUMER_DEFAULTS), error);
    if (!code)
        code = set_queue_bounds(conf, config, error);
    if (!code)
        code = set_fetch_bytes(conf, config, error);
    if (!code)
        code = set_strategy(conf, config, error);
    if (!code)
        code = set_number(conf, "statistics.interval.ms",
                          clamp(options->stats_interval_ms, STATISTICS_MS_MIN, INT32_MAX), error);
    return code;
}

static int consumer(rd_kafka_conf_t *conf, const struct weir_config *config, struct weir_error *error)
{
    int code = consumer_defaults(conf, config, error);
    if (!code)
        code = set_users(conf, config, PRODUCER_ONLY, WEIR_COUNT(PRODUCER_ONLY), error);
    if (!code)
        code = set_all(conf, CONSUMER_FORCED, WEIR_COUNT(CONSUMER_FORCED), error);
    if (!code && weir_config_options(config)->delivery == WEIR_EXACTLY_ONCE)
        code = set(conf, "isolation.level", "read_committed", error);
    if (!code)
        code = set(conf, "enable.partition.eof", weir_rdkafka_eof_is_safe(library_version()) ? "true" : "false", error);
    set_software(conf);
    rd_kafka_conf_set_log_cb(conf, on_log);
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_REBALANCE | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_OFFSET_COMMIT |
                                       RD_KAFKA_EVENT_STATS);
    return code;
}

/* ---- producer ---- */

static int producer(rd_kafka_conf_t *conf, const struct weir_config *config, struct weir_error *error)
{
    int code = set_all(conf, PRODUCER_DEFAULTS, WEIR_COUNT(PRODUCER_DEFAULTS), error);
    /* A message to a topic that there is not holds up its transaction for so long; librdkafka's default is 30 s. */
    if (!code && weir_config_options(config)->delivery == WEIR_EXACTLY_ONCE)
        code = set(conf, "topic.metadata.propagation.max.ms", "5000", error);
    if (!code)
        code = set_users(conf, config, CONSUMER_ONLY, WEIR_COUNT(CONSUMER_ONLY), error);
    if (!code)
        code = set_all(conf, PRODUCER_FORCED, WEIR_COUNT(PRODUCER_FORCED), error);
    if (!code && weir_config_options(config)->delivery == WEIR_EXACTLY_ONCE)
        code = set(conf, "transaction.timeout.ms", "15000", error);
    set_software(conf);
    rd_kafka_conf_set_log_cb(conf, on_log);
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR);
    return code;
}

/* ---- topics ---- */

static int subscribe_to(struct weir_rdkafka *client, const char *topics, struct weir_error *error)
{
    char *copy = weir_memory_copy_text(topics);
    if (!copy)
        return weir_error_set(error, WEIR_NO_MEMORY, "weir.topics: out of memory");
    client->topics = rd_kafka_topic_partition_list_new(4);
    char *rest = copy, *topic;
    while ((topic = strsep(&rest, ",")))
        if (topic[0] != '\0')
            rd_kafka_topic_partition_list_add(client->topics, topic, RD_KAFKA_PARTITION_UA);
    weir_memory_free(copy);
    if (client->topics->cnt == 0)
        return weir_error_set(error, WEIR_INVALID, "weir.topics is not set: name the topics to consume");
    return 0;
}

int weir_rdkafka_settings(struct weir_rdkafka *client, const struct weir_config *config, struct weir_error *error)
{
    client->conf = rd_kafka_conf_new();
    client->producers.conf = rd_kafka_conf_new();
    weir_rdkafka_commits_watch(client);
    int code = consumer(client->conf, config, error);
    if (!code)
        code = producer(client->producers.conf, config, error);
    if (!code)
        code = weir_rdkafka_transactions_set(client, config, error);
    if (!code)
        code = subscribe_to(client, weir_config_options(config)->topics, error);
    return code;
}
