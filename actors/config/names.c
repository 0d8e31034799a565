/*
 * Names: what a misspelt one was meant to be, and how values are shown.
 *
 * Thread: any; everything here is constant.
 *
 * librdkafka cannot list its properties (its dump leaves out those that are not set), so the names are here: those that
 * a consumer or its dead letters may need in 2.0.2. A newer name passes as well, it is only never suggested.
 */
#include "actors/config/table.h"
#include "runtime/check.h"
#include <string.h>

static const char *const PROPERTIES[] = {
    "allow.auto.create.topics",
    "api.version.request.timeout.ms",
    "auto.offset.reset",
    "batch.num.messages",
    "batch.size",
    "bootstrap.servers",
    "broker.address.family",
    "broker.address.ttl",
    "check.crcs",
    "client.id",
    "client.rack",
    "compression.codec",
    "compression.level",
    "compression.type",
    "connections.max.idle.ms",
    "coordinator.query.interval.ms",
    "debug",
    "delivery.timeout.ms",
    "enable.random.seed",
    "enable.sasl.oauthbearer.unsecure.jwt",
    "enable.ssl.certificate.verification",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.wait.max.ms",
    "group.id",
    "group.instance.id",
    "heartbeat.interval.ms",
    "isolation.level",
    "linger.ms",
    "log.connection.close",
    "log.thread.name",
    "log_level",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "message.copy.max.bytes",
    "message.max.bytes",
    "message.send.max.retries",
    "message.timeout.ms",
    "metadata.broker.list",
    "metadata.max.age.ms",
    "partition.assignment.strategy",
    "partitioner",
    "plugin.library.paths",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "receive.message.max.bytes",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "request.timeout.ms",
    "retries",
    "retry.backoff.ms",
    "sasl.kerberos.keytab",
    "sasl.kerberos.kinit.cmd",
    "sasl.kerberos.min.time.before.relogin",
    "sasl.kerberos.principal",
    "sasl.kerberos.service.name",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.extensions",
    "sasl.oauthbearer.method",
    "sasl.oauthbearer.scope",
    "sasl.oauthbearer.token.endpoint.url",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "session.timeout.ms",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.max.fails",
    "socket.nagle.disable",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "socket.timeout.ms",
    "ssl.ca.certificate.stores",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.cipher.suites",
    "ssl.crl.location",
    "ssl.curves.list",
    "ssl.endpoint.identification.algorithm",
    "ssl.engine.id",
    "ssl.engine.location",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.providers",
    "ssl.sigalgs.list",
    "sticky.partitioning.linger.ms",
    "test.mock.num.brokers",
    "topic.blacklist",
    "topic.metadata.propagation.max.ms",
    "topic.metadata.refresh.fast.interval.ms",
    "topic.metadata.refresh.interval.ms",
    "topic.metadata.refresh.sparse",
};

const char *weir_config_property_name(size_t index)
{
    return index < WEIR_COUNT(PROPERTIES) ? PROPERTIES[index] : NULL;
}

enum { NAME_SIZE_MAX = 64 };

static unsigned smallest(unsigned a, unsigned b, unsigned c)
{
    unsigned smaller = a < b ? a : b;
    return smaller < c ? smaller : c;
}

/* Optimal string alignment, three rows at a time. */
unsigned weir_config_distance(const char *left, const char *right, unsigned limit)
{
    size_t left_size = strlen(left), right_size = strlen(right);
    if (left_size > NAME_SIZE_MAX || right_size > NAME_SIZE_MAX)
        return limit + 1;
    unsigned rows[3][NAME_SIZE_MAX + 1];
    unsigned *before = rows[0], *above = rows[1], *row = rows[2];
    for (size_t x = 0; x <= right_size; x++)
        row[x] = (unsigned)x;
    for (size_t y = 1; y <= left_size; y++) {
        unsigned *oldest = before;
        before = above;
        above = row;
        row = oldest;
        row[0] = (unsigned)y;
        for (size_t x = 1; x <= right_size; x++) {
            bool same = left[y - 1] == right[x - 1];
            row[x] = smallest(above[x] + 1, row[x - 1] + 1, above[x - 1] + !same);
            bool swapped = y > 1 && x > 1 && left[y - 1] == right[x - 2] && left[y - 2] == right[x - 1];
            if (swapped && before[x - 2] + 1 < row[x])
                row[x] = before[x - 2] + 1;
        }
    }
    return row[right_size] <= limit ? row[right_size] : limit + 1;
}

/* A short name may differ in less: "acks" is not near "id". */
static unsigned distance_max(const char *name)
{
    size_t third = (strlen(name) + 1) / 3;
    return third < 3 ? (unsigned)third : 3;
}

const char *weir_config_nearest(const char *name)
{
    bool prefixed = strncmp(name, WEIR_OPTION_PREFIX, WEIR_OPTION_PREFIX_SIZE) == 0;
    const char *bare = prefixed ? name + WEIR_OPTION_PREFIX_SIZE : name;
    unsigned limit = distance_max(bare), best_distance = limit + 1;
    const char *best = NULL;
    /* The prefix counts for nothing but to settle a draw: leaving it out, or adding it, is a mistake like any other. */
    for (size_t index = 0; index < WEIR_OPTION_COUNT; index++) {
        const struct weir_option *option = &weir_option_table[index];
        if (option->kind == WEIR_OPTION_SECTION)
            continue;
        unsigned distance = weir_config_distance(bare, option->name + WEIR_OPTION_PREFIX_SIZE, limit);
        if (distance < best_distance) {
            best_distance = distance;
            best = option->name;
        }
    }
    for (size_t index = 0; index < WEIR_COUNT(PROPERTIES); index++) {
        unsigned distance = weir_config_distance(bare, PROPERTIES[index], limit);
        if (distance < best_distance || (distance == best_distance && distance <= limit && !prefixed && best &&
                                         strncmp(best, WEIR_OPTION_PREFIX, WEIR_OPTION_PREFIX_SIZE) == 0)) {
            best_distance = distance;
            best = PROPERTIES[index];
        }
    }
    return best;
}

int weir_config_unknown(const char *name, const char *what, struct weir_error *error)
{
    char shown[96];
    weir_config_show(name, shown, sizeof shown);
    const char *nearest = weir_config_nearest(name);
    return nearest ? weir_error_set(error, WEIR_INVALID, "%s: %s; did you mean %s?", shown, what, nearest)
                   : weir_error_set(error, WEIR_INVALID, "%s: %s", shown, what);
}

const char *weir_config_show(const char *value, char *text, size_t size)
{
    size_t length = 0;
    for (; value[length] != '\0' && length + 4 < size; length++)
        text[length] = (unsigned char)value[length] < ' ' || value[length] == 0x7f ? '?' : value[length];
    if (value[length] != '\0') {
        text[length] = '\0';
        weir_error_cut(text);
        strcat(text, "...");
        return text;
    }
    text[length] = '\0';
    return text;
}
