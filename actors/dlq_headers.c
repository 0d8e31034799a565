/*
 * The headers of a dead letter, one table. See dlq_headers.h. Thread: any; no state.
 *
 * Invariants
 *   1. A name stands in the table once, so a letter carries it once.
 *   2. What is under weir.dlq. belongs to every profile: a reader of Weir's own tools needs one format only, and an
 *      older header of ours is recognised whatever profile it was written with.
 *   3. No value is longer than its source, and those that users' code supplies are cut to WEIR_DLQ_TEXT_SIZE_MAX.
 */
#include "actors/dlq_headers.h"
#include "runtime/check.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    KIP1191 = 1 << WEIR_DLQ_KIP1191,
    SPRING = 1 << WEIR_DLQ_SPRING,
    KARAFKA = 1 << WEIR_DLQ_KARAFKA,
    CONNECT = 1 << WEIR_DLQ_CONNECT,
    ALL = KIP1191 | SPRING | KARAFKA | CONNECT,
};

const char *weir_dlq_cause_name(enum weir_dlq_cause cause)
{
    static const char *const names[] = {
        [WEIR_DLQ_DEAD] = "dead",       [WEIR_DLQ_ATTEMPTS] = "attempts",   [WEIR_DLQ_DEADLINE] = "deadline",
        [WEIR_DLQ_HELD] = "held",       [WEIR_DLQ_ABANDONED] = "abandoned", [WEIR_DLQ_CRASH] = "crash",
        [WEIR_DLQ_EXPIRED] = "expired", [WEIR_DLQ_STALE] = "stale",
    };
    return (size_t)cause < WEIR_COUNT(names) ? names[cause] : "unknown";
}

/* What stands for the handler's words where it gave none. */
static const char *cause_sentence(enum weir_dlq_cause cause)
{
    switch (cause) {
    case WEIR_DLQ_DEAD:
        return "the handler declared it dead and gave no reason";
    case WEIR_DLQ_ATTEMPTS:
        return "it failed as often as retry.attempts.max allows; the handler gave no reason";
    case WEIR_DLQ_DEADLINE:
        return "it failed for longer than retry.deadline.ms allows; the handler gave no reason";
    case WEIR_DLQ_HELD:
        return "held.messages.max was reached and it had failed most often; the handler gave no reason";
    case WEIR_DLQ_ABANDONED:
        return "it was not finished within later.deadline.ms";
    case WEIR_DLQ_CRASH:
        return "the process ended while its handler ran, as often as crash.attempts.max allows";
    case WEIR_DLQ_EXPIRED:
        return "it is older than filter.ttl.ms allows";
    case WEIR_DLQ_STALE:
        return "it is older than what its key has had";
    default:
        return "unknown";
    }
}

/* `size`, or less: at most `size_max` bytes of UTF-8, not cut within a character. */
static size_t cut_text(const char *text, size_t size, size_t size_max)
{
    if (size <= size_max)
        return size;
    size_t cut = size_max;
    /* A character has at most three continuation bytes; more of them are no UTF-8, and then any place is as good. */
    while (cut > 0 && size_max - cut < 4 && ((unsigned char)text[cut] & 0xc0) == 0x80)
        cut--;
    return size_max - cut < 4 ? cut : size_max;
}

/* ---- values ---- */

typedef void value_function(struct weir_dlq_value *value, const struct weir_dlq_facts *facts);

static void set_text(struct weir_dlq_value *value, const char *text, size_t size_max)
{
    if (text)
        *value = (struct weir_dlq_value){.data = text, .size = cut_text(text, strlen(text), size_max)};
}

/* Text that is left out when empty, as host and application are where nobody named them. */
static void set_optional(struct weir_dlq_value *value, const char *text)
{
    if (text && text[0] != '\0')
        set_text(value, text, WEIR_DLQ_TEXT_SIZE_MAX);
}

static void set_number(struct weir_dlq_value *value, int64_t number)
{
    value->data = value->scratch;
    value->size = (size_t)snprintf((char *)value->scratch, sizeof value->scratch, "%" PRId64, number);
}

static void set_big_endian(struct weir_dlq_value *value, uint64_t number, size_t size)
{
    value->data = value->scratch;
    value->size = size;
    for (size_t index = 0; index < size; index++)
        value->scratch[index] = (uint8_t)(number >> (8 * (size - 1 - index)));
}

/* RFC 3339 in UTC with milliseconds. Its years are 0000 to 9999: what is outside (a broken clock) becomes the limit. */
static void set_time(struct weir_dlq_value *value, int64_t wall_ms)
{
    const int64_t least_ms = INT64_C(-62167219200000), greatest_ms = INT64_C(253402300799999);
    wall_ms = wall_ms < least_ms ? least_ms : wall_ms > greatest_ms ? greatest_ms : wall_ms;
    int64_t ms = wall_ms % 1000;
    time_t seconds = (time_t)(wall_ms / 1000 - (ms < 0));
    struct tm tm;
    if (!gmtime_r(&seconds, &tm))
        return;
    int length = snprintf((char *)value->scratch, sizeof value->scratch, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ",
                          tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                          (int)(ms < 0 ? ms + 1000 : ms));
    WEIR_CHECK(length > 0 && (size_t)length < sizeof value->scratch);
    value->data = value->scratch;
    value->size = (size_t)length;
}

static void topic(struct weir_dlq_value *value, const struct weir_dlq_facts *facts)
{
    set_text(value, facts->source->topic, SIZE_MAX);
}

static void partition(struct weir_dlq_value *value, const struct weir_dlq_facts *facts)
{
    set_number(value, facts->source->partition);
}

static void partition_int32(struct weir_dlq_value *value, const struct weir_dlq_facts *facts)
{
    set_big_endian(value, (uint64_t)(int64_t)facts->source->partition, 4);
}

static void offset(struct weir_dlq_value *value, const struct weir_dlq_facts *facts)
{
    set_number(value, facts->source->offset);
}

static void offset_int64(struct weir_dlq_value *value, const struct weir_dlq_facts *facts)
{
    set_big_endian(value, (uint64_t)facts->source->offset, 8);
}

static void timestamp_int64(struct weir_dlq_value *value, const struct weir_dlq_facts *facts)
{
    set_big_endian(value, (uint64_t)facts->source->timestamp_ms, 8);
}

static void timestamp_type(struct weir_dlq_value *value, const struct weir_dlq_facts *facts)
{
    set_text(value, facts->source->timestamp_ms >= 0 ? "CreateTime" : "NoTimestampType", SIZE_MAX);
}

static void group(struct weir_dlq_value *value, const struct weir_dlq_facts *facts)
{
    set_text(value, facts->source->group, SIZE_MAX);
}

static void attempts(struct weir_dlq_value *value, const struct weir_dlq_facts *facts)
{
    set_number(value, facts->source->attempts);
}

static void message(struct weir_dlq_value *value, const struct weir_dlq_facts *facts)
{
    const char *reason = facts->source->reason;
    set_text(value, reason && reason[0] != '\0' ? reason : cause_sentence(facts->source->cause),
             WEIR_DLQ_TEXT_SIZE_MAX);
}

static void reason(struct weir_dlq_value *value, const struct weir_dlq_facts *facts)
{
    set_text(value, weir_dlq_cause_name(facts->source->cause), SIZE_MAX);
}

/* Spring's readers expect a class name; ours says who gave up, and why. */
static void fqcn(struct weir_dlq_value *value, const struct weir_dlq_facts *facts)
{
    value->data = value->scratch;
    value->size = (size_t)snprintf((char *)value->scratch, sizeof value->scratch, "weir.dlq.%s",
                                   weir_dlq_cause_name(facts->source->cause));
}

static void stage(struct weir_dlq_value *value, const struct weir_dlq_facts *facts)
{
    set_text(value, "TASK_PUT", SIZE_MAX); /* Connect's name for the step that hands a record to the user's code */
}

static void first_failure(struct weir_dlq_value *value, const struct weir_dlq_facts *facts)
{
    set_time(value, facts->source->first_failure_wall_ms);
}

static void last_failure(struct weir_dlq_value *value, const struct weir_dlq_facts *facts)
{
    set_time(value, facts->source->last_failure_wall_ms);
}

static void host(struct weir_dlq_value *value, const struct weir_dlq_facts *facts)
{
    set_optional(value, facts->source->host);
}

static void application(struct weir_dlq_value *value, const struct weir_dlq_facts *facts)
{
    set_optional(value, facts->source->application);
}

static void stripped(struct weir_dlq_value *value, const struct weir_dlq_facts *facts)
{
    if (facts->stripped)
        set_text(value, "true", SIZE_MAX);
}

static void value_size(struct weir_dlq_value *value, const struct weir_dlq_facts *facts)
{
    if (facts->stripped)
        set_number(value, (int64_t)facts->source->value_size);
}

static void headers_size(struct weir_dlq_value *value, const struct weir_dlq_facts *facts)
{
    if (facts->stripped)
        set_number(value, (int64_t)facts->original_headers_size);
}

/* ---- the table ---- */

static const struct row {
    const char *name;
    int profiles;
    value_function *function;
} rows[] = {
    {"__dlq.errors.topic", KIP1191, topic},
    {"__dlq.errors.partition", KIP1191, partition},
    {"__dlq.errors.offset", KIP1191, offset},
    {"__dlq.errors.group", KIP1191, group},
    {"__dlq.errors.delivery.count", KIP1191, attempts},
    {"__dlq.errors.message", KIP1191, message},

    {"kafka_dlt-original-topic", SPRING, topic},
    {"kafka_dlt-original-partition", SPRING, partition_int32},
    {"kafka_dlt-original-offset", SPRING, offset_int64},
    {"kafka_dlt-original-timestamp", SPRING, timestamp_int64},
    {"kafka_dlt-original-timestamp-type", SPRING, timestamp_type},
    {"kafka_dlt-original-consumer-group", SPRING, group},
    {"kafka_dlt-exception-fqcn", SPRING, fqcn},
    {"kafka_dlt-exception-message", SPRING, message},
    {"kafka_dlt-exception-stacktrace", SPRING, message}, /* C has none, and some readers fail without the header */

    {"source_topic", KARAFKA, topic},
    {"source_partition", KARAFKA, partition},
    {"source_offset", KARAFKA, offset},
    {"source_consumer_group", KARAFKA, group},
    {"source_attempts", KARAFKA, attempts},

    {"__connect.errors.topic", CONNECT, topic},
    {"__connect.errors.partition", CONNECT, partition},
    {"__connect.errors.offset", CONNECT, offset},
    {"__connect.errors.stage", CONNECT, stage},
    {"__connect.errors.exception.message", CONNECT, message},

    {"weir.dlq.reason", ALL, reason},
    {"weir.dlq.first.failure", ALL, first_failure},
    {"weir.dlq.last.failure", ALL, last_failure},
    {"weir.dlq.host", ALL, host},
    {"weir.dlq.application", ALL, application},
    {"weir.dlq.stripped", ALL, stripped},
    {"weir.dlq.original.value.size", ALL, value_size},
    {"weir.dlq.original.headers.size", ALL, headers_size},
};

size_t weir_dlq_header_rows(void)
{
    return WEIR_COUNT(rows);
}

const char *weir_dlq_header_row(size_t row, const struct weir_dlq_facts *facts, struct weir_dlq_value *value)
{
    value->data = NULL;
    if (!(rows[row].profiles & 1 << facts->profile))
        return NULL;
    rows[row].function(value, facts);
    return value->data ? rows[row].name : NULL;
}

bool weir_dlq_header_is_ours(const char *name, enum weir_dlq_profile profile)
{
    for (size_t row = 0; row < WEIR_COUNT(rows); row++) {
        if (rows[row].profiles & 1 << profile && strcmp(rows[row].name, name) == 0)
            return true;
    }
    return false;
}
