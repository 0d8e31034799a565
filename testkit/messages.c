/*
 * What is sent, what is asked of it, and what lies in the topics. See internal.h.
 */
#include "runtime/check.h"
#include "testkit/internal.h"
#include <inttypes.h>
#include <string.h>

/* One is cast to the other: the public header may not show the inner one. */
_Static_assert(sizeof(struct weir_testkit_header) == sizeof(struct weir_kafka_header) &&
                   offsetof(struct weir_testkit_header, name) == offsetof(struct weir_kafka_header, name) &&
                   offsetof(struct weir_testkit_header, value) == offsetof(struct weir_kafka_header, value) &&
                   offsetof(struct weir_testkit_header, value_size) == offsetof(struct weir_kafka_header, value_size),
               "the headers are the same");

/* ---- send ---- */

static int check_bytes(const struct weir_testkit_record *record, struct weir_error *error)
{
    uint64_t size = (uint64_t)(record->key_size < WEIR_TESTKIT_BYTES_MAX ? record->key_size : WEIR_TESTKIT_BYTES_MAX) +
                    record->value_size;
    if (!record->key && record->key_size > 0)
        return weir_error_set(error, WEIR_INVALID, "weir_testkit_send: key_size=%zu, and the key is NULL",
                              record->key_size);
    if (!record->value && record->value_size > 0)
        return weir_error_set(error, WEIR_INVALID, "weir_testkit_send: value_size=%zu, and the value is NULL",
                              record->value_size);
    if (record->key_size > WEIR_TESTKIT_BYTES_MAX || record->value_size > WEIR_TESTKIT_BYTES_MAX ||
        size > WEIR_TESTKIT_BYTES_MAX)
        return weir_error_set(error, WEIR_INVALID,
                              "weir_testkit_send: key_size=%zu, value_size=%zu: together at most %d bytes",
                              record->key_size, record->value_size, WEIR_TESTKIT_BYTES_MAX);
    return 0;
}

static int check_headers(const struct weir_testkit_record *record, struct weir_error *error)
{
    size_t left = WEIR_TESTKIT_BYTES_MAX;
    if (record->header_count > 0 && !record->headers)
        return weir_error_set(error, WEIR_INVALID, "weir_testkit_send: header_count=%zu, and the headers are NULL",
                              record->header_count);
    for (size_t i = 0; i < record->header_count; i++) {
        const struct weir_testkit_header *header = &record->headers[i];
        if (!header->name || (!header->value && header->value_size > 0))
            return weir_error_set(error, WEIR_INVALID, "weir_testkit_send: header %zu: its %s is NULL", i,
                                  header->name ? "value, of a size that is not 0," : "name");
        size_t size = strlen(header->name);
        if (size > left || header->value_size > left - size)
            return weir_error_set(error, WEIR_INVALID, "weir_testkit_send: the headers: together at most %d bytes",
                                  WEIR_TESTKIT_BYTES_MAX);
        left -= size + header->value_size;
    }
    return 0;
}

static int check_record(const struct weir_testkit *kit, const struct weir_testkit_record *record,
                        struct weir_error *error)
{
    if (!kit || !record)
        return weir_error_set(error, WEIR_INVALID, "weir_testkit_send: the %s is NULL", kit ? "record" : "kit");
    const struct kit_topic *topic = weir_kit_topic(kit, record->topic);
    if (!topic)
        return weir_error_set(
            error, WEIR_INVALID,
            "weir_testkit_send: no topic %.100s: weir.topics names it, or weir_testkit_topic() makes it",
            record->topic ? record->topic : "at all");
    if (record->partition < WEIR_TESTKIT_BY_KEY || record->partition >= topic->partition_count)
        return weir_error_set(error, WEIR_INVALID, "weir_testkit_send: partition=%d: must be 0..%d, or -1 by key",
                              (int)record->partition, (int)topic->partition_count - 1);
    if (record->timestamp_ms < 0)
        return weir_error_set(error, WEIR_INVALID,
                              "weir_testkit_send: timestamp_ms=%" PRId64 ": must not be negative, 0 is now",
                              record->timestamp_ms);
    int result = check_bytes(record, error);
    return result == 0 ? check_headers(record, error) : result;
}

/* Where the key leads: the log in which the record has come to lie. */
static int32_t partition_of(struct weir_testkit *kit, const struct weir_testkit_record *record)
{
    if (record->partition != WEIR_TESTKIT_BY_KEY)
        return record->partition;
    int32_t count = weir_kit_topic(kit, record->topic)->partition_count;
    if (!record->key)
        return (int32_t)weir_random_below(&kit->random, (uint64_t)count);
    return (int32_t)(weir_key_hash(record->key, record->key_size) % (uint64_t)count);
}

const struct weir_testkit_message *weir_testkit_send(struct weir_testkit *kit, const struct weir_testkit_record *record,
                                                     struct weir_error *error)
{
    if (check_record(kit, record, error) != 0)
        return NULL;
    const struct kit_topic *topic = weir_kit_topic(kit, record->topic);
    struct weir_kafka_produce produce = {.topic = topic->name,
                                         .key = record->key,
                                         .value = record->value,
                                         .key_size = record->key_size,
                                         .value_size = record->value_size,
                                         .timestamp_ms = record->timestamp_ms > 0 ? record->timestamp_ms : -1,
                                         .headers = (const struct weir_kafka_header *)(const void *)record->headers,
                                         .header_count = record->header_count};
    int32_t partition = partition_of(kit, record);
    struct kit_log *log = topic->logs[partition];
    int64_t offset = weir_fake_append(kit->cluster, partition, &produce);
    weir_kit_sent(kit, log, offset, record);
    return log->messages[offset];
}

const struct weir_testkit_message *weir_testkit_send_text(struct weir_testkit *kit, const char *topic, const char *key,
                                                          const char *value, struct weir_error *error)
{
    struct weir_testkit_record record = {.topic = topic,
                                         .partition = WEIR_TESTKIT_BY_KEY,
                                         .key = key,
                                         .value = value,
                                         .key_size = key ? strlen(key) : 0,
                                         .value_size = value ? strlen(value) : 0};
    return weir_testkit_send(kit, &record, error);
}

/* ---- what became of it ---- */

const struct weir_testkit_message *weir_testkit_message(const struct weir_testkit *kit, const char *topic,
                                                        int32_t partition, int64_t offset)
{
    const struct kit_log *log = kit ? weir_kit_log(kit, topic, partition) : NULL;
    return log && offset >= 0 && (uint64_t)offset < log->count ? log->messages[offset] : NULL;
}

const char *weir_testkit_state_name(int state)
{
    static const char *const names[] = {"waiting", "running", "acked", "skipped", "dead"};
    return state >= 0 && (size_t)state < WEIR_COUNT(names) ? names[state] : "unknown";
}

enum weir_testkit_state weir_testkit_message_state(const struct weir_testkit_message *message)
{
    if (!message)
        return WEIR_TESTKIT_WAITING;
    if (message->dead)
        return WEIR_TESTKIT_DEAD;
    if (message->finished)
        return message->outcome == WEIR_SKIP ? WEIR_TESTKIT_SKIPPED : WEIR_TESTKIT_ACKED;
    return message->run_count > 0 && message->runs[message->run_count - 1].open ? WEIR_TESTKIT_RUNNING
                                                                                : WEIR_TESTKIT_WAITING;
}

const char *weir_testkit_message_topic(const struct weir_testkit_message *message)
{
    return message ? message->log->topic : NULL;
}

int32_t weir_testkit_message_partition(const struct weir_testkit_message *message)
{
    return message ? message->log->partition : -1;
}

int64_t weir_testkit_message_offset(const struct weir_testkit_message *message)
{
    return message ? message->offset : -1;
}

size_t weir_testkit_message_runs(const struct weir_testkit_message *message)
{
    return message ? message->run_count : 0;
}

int weir_testkit_message_run(const struct weir_testkit_message *message, size_t index, struct weir_testkit_run *run)
{
    if (!message || !run || index >= message->run_count)
        return 0;
    const struct kit_run *from = &message->runs[index];
    uint64_t begin_ns = message->kit->begin_ns;
    *run = (struct weir_testkit_run){
        .outcome = from->outcome,
        .attempt = from->attempt,
        .begin_ms = (int64_t)((from->begin_ns - begin_ns) / KIT_MS_NS),
        .end_ms = from->end_ns > 0 ? (int64_t)((from->end_ns - begin_ns) / KIT_MS_NS) : -1,
        .consumers = from->process,
    };
    return 1;
}

const char *weir_testkit_message_cause(const struct weir_testkit_message *message)
{
    return message && message->letter ? message->letter->cause : NULL;
}

const char *weir_testkit_message_reason(const struct weir_testkit_message *message)
{
    return message && message->letter ? message->letter->reason : NULL;
}

/* ---- topics ---- */

int weir_testkit_read(const struct weir_testkit *kit, const char *topic, int32_t partition, int64_t offset,
                      struct weir_testkit_record *record)
{
    struct weir_fake_record from;
    if (!kit || !topic || !record || offset < 0 || partition < 0 ||
        partition >= weir_fake_topic_partitions(kit->cluster, topic) ||
        !weir_fake_read(kit->cluster, topic, partition, offset, &from) || from.offset != offset)
        return 0;
    *record = (struct weir_testkit_record){.topic = topic,
                                           .partition = partition,
                                           .offset = from.offset,
                                           .timestamp_ms = from.timestamp_ms,
                                           .key = from.key,
                                           .value = from.value,
                                           .key_size = from.key_size,
                                           .value_size = from.value_size,
                                           .headers = (const struct weir_testkit_header *)(const void *)from.headers,
                                           .header_count = from.header_count};
    return 1;
}

size_t weir_testkit_letters(const struct weir_testkit *kit)
{
    return kit ? kit->letter_count : 0;
}

int weir_testkit_letter(const struct weir_testkit *kit, size_t index, struct weir_testkit_record *record)
{
    const struct kit_letter *letter = kit ? kit->letters : NULL;
    for (; letter && index > 0; index--)
        letter = letter->next;
    return letter ? weir_testkit_read(kit, letter->topic, letter->partition, letter->offset, record) : 0;
}

int weir_testkit_message_letter(const struct weir_testkit_message *message, struct weir_testkit_record *record)
{
    const struct kit_letter *letter = message ? message->letter : NULL;
    return letter ? weir_testkit_read(message->kit, letter->topic, letter->partition, letter->offset, record) : 0;
}

const void *weir_testkit_header(const struct weir_testkit_record *record, const char *name, size_t *size)
{
    for (size_t i = record && name ? record->header_count : 0; i-- > 0;) {
        const struct weir_testkit_header *header = &record->headers[i];
        if (strcmp(header->name, name) != 0)
            continue;
        if (size)
            *size = header->value ? header->value_size : 0;
        return header->value ? header->value : "";
    }
    return NULL;
}

int64_t weir_testkit_committed(const struct weir_testkit *kit, const char *topic, int32_t partition)
{
    if (!kit || !weir_kit_log(kit, topic, partition))
        return -1;
    return weir_fake_committed(kit->cluster, weir_config_kafka_get(kit->config, "group.id"),
                               weir_kit_topic(kit, topic)->name, partition)
        .offset;
}
