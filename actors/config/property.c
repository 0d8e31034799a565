/*
 * librdkafka's properties as far as Weir has an opinion: which it owns, and which are secret.
 *
 * Thread: any; everything here is constant.
 *
 * A property is owned when a user's value would break what Weir promises (offsets, ordering, dead letters) or would
 * be overwritten. All others pass through.
 */
#include "actors/config/table.h"
#include "runtime/check.h"
#include <string.h>

struct owned {
    const char *name, *reason;
};

static const struct owned OWNED[] = {
    {"acks", "a dead letter counts once all replicas have it"},
    {"auto.commit.enable", "only finished messages are committed; see weir.commit.interval.ms"},
    {"auto.commit.interval.ms", "use weir.commit.interval.ms"},
    {"consume.callback.max.messages", "messages are pulled in batches of weir.pull.messages.max"},
    {"delivery.report.only.error", "a dead letter is finished by its delivery report"},
    {"enable.auto.commit", "only finished messages are committed; see weir.commit.interval.ms"},
    {"enable.auto.offset.store", "only finished messages are committed; see weir.commit.interval.ms"},
    {"enable.idempotence", "dead letters are always sent by an idempotent producer"},
    {"enable.partition.eof", "the end of a partition is needed to see gaps left by compaction"},
    {"enabled_events", "Weir takes the events it needs"},
    {"enable_sasl_queue", "Weir serves the queues"},
    {"log.queue", "librdkafka's log goes where weir_log_set() sends it"},
    {"offset.store.method", "offsets are kept by the broker"},
    {"offset.store.path", "offsets are kept by the broker"},
    {"offset.store.sync.interval.ms", "offsets are kept by the broker"},
    {"produce.offset.report", "delivery reports are Weir's"},
    {"request.required.acks", "a dead letter counts once all replicas have it"},
    {"statistics.interval.ms", "Weir reads them itself; see weir.stats.interval.ms"},
    {"transaction.timeout.ms", "Weir's transactions keep to 15 s; see weir.transaction.interval.ms"},
    {"transactional.id", "with weir.delivery=exactly-once Weir names its producer itself, by group.instance.id if set"},
};

/* Callbacks and pointers: librdkafka refuses them as text anyway; this says what to use instead. */
static const struct owned POINTERS[] = {
    {"background_event_cb", "callbacks are Weir's"},
    {"closesocket_cb", "callbacks are Weir's"},
    {"connect_cb", "callbacks are Weir's"},
    {"consume_cb", "messages go to the handler given to weir_consumer_create()"},
    {"default_topic_conf", "set the topic's properties by their own names"},
    {"dr_cb", "delivery reports are Weir's"},
    {"dr_msg_cb", "delivery reports are Weir's"},
    {"error_cb", "errors go where weir_log_set() sends them"},
    {"interceptors", "callbacks are Weir's"},
    {"log_cb", "use weir_log_set()"},
    {"msg_order_cmp", "callbacks are Weir's"},
    {"oauthbearer_token_refresh_cb", "set sasl.oauthbearer.method=oidc, which needs none"},
    {"offset_commit_cb", "commits are Weir's"},
    {"opaque", "callbacks are Weir's"},
    {"open_cb", "callbacks are Weir's"},
    {"partitioner_cb", "use partitioner"},
    {"rebalance_cb", "rebalances are Weir's"},
    {"resolve_cb", "callbacks are Weir's"},
    {"socket_cb", "callbacks are Weir's"},
    {"ssl.certificate.verify_cb", "callbacks are Weir's"},
    {"ssl_engine_callback_data", "callbacks are Weir's"},
    {"stats_cb", "use weir_consumer_on_stats()"},
    {"throttle_cb", "callbacks are Weir's"},
};

static const char *find_reason(const struct owned *owned, size_t count, const char *name)
{
    for (size_t index = 0; index < count; index++)
        if (strcmp(owned[index].name, name) == 0)
            return owned[index].reason;
    return NULL;
}

const char *weir_config_owned_reason(const char *name)
{
    const char *reason = find_reason(OWNED, WEIR_COUNT(OWNED), name);
    return reason ? reason : find_reason(POINTERS, WEIR_COUNT(POINTERS), name);
}

bool weir_config_owned_at(size_t index, const char **name, const char **reason)
{
    if (index >= WEIR_COUNT(OWNED))
        return false;
    *name = OWNED[index].name;
    *reason = OWNED[index].reason;
    return true;
}

/* Parts of names rather than names, so that what a newer librdkafka adds, or a misspelt one, is covered too. */
static const char *const SECRET_PARTS[] = {
    "password",    "passwd",  "passphrase",         "secret",       "token",       "credential",
    "ssl.key.pem", "ssl_key", "oauthbearer.config", "keystore.pem", "private.key", "jaas",
};

bool weir_config_is_secret(const char *kafka_name)
{
    if (strcmp(kafka_name, "sasl.oauthbearer.token.endpoint.url") == 0)
        return false;
    for (size_t index = 0; index < WEIR_COUNT(SECRET_PARTS); index++)
        if (strcasestr(kafka_name, SECRET_PARTS[index]))
            return true;
    return false;
}

struct reset {
    const char *word;
    int policy;
};

int weir_config_parse_reset(const char *value)
{
    static const struct reset RESETS[] = {
        {"earliest", WEIR_RESET_EARLIEST}, {"smallest", WEIR_RESET_EARLIEST}, {"beginning", WEIR_RESET_EARLIEST},
        {"latest", WEIR_RESET_LATEST},     {"largest", WEIR_RESET_LATEST},    {"end", WEIR_RESET_LATEST},
        {"error", WEIR_RESET_ERROR},       {"none", WEIR_RESET_ERROR},
    };
    for (size_t index = 0; index < WEIR_COUNT(RESETS); index++)
        if (strcmp(RESETS[index].word, value) == 0)
            return RESETS[index].policy;
    return -1;
}
