/*
 * Dead letters: what comes through unchanged, what is ours, and that nothing grows.
 * Method: letters composed from chosen sources; headers looked up byte by byte. The record behind `native` is a table.
 */
#include "actors/dlq.h"
#include "runtime/memory.h"
#include "tests/support/test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct weir_kafka_header user_headers[] = {
    {"traceparent", "00-abc", 6}, {"empty", "", 0}, {"none", NULL, 0}, {"twice", "a", 1}, {"twice", "b", 1},
};

static struct weir_dlq_source source(void)
{
    return (struct weir_dlq_source){
        .headers = user_headers,
        .header_count = 5,
        .topic = "orders",
        .group = "billing",
        .application = "billing-service",
        .host = "node-3",
        .partition = 7,
        .offset = 123456789012,
        .timestamp_ms = 1700000000123,
        .key = "key",
        .key_size = 3,
        .value = "value",
        .value_size = 5,
        .attempts = 10,
        .cause = WEIR_DLQ_ATTEMPTS,
        .reason = "HTTP 503",
        .first_failure_wall_ms = 1700000000123,
        .last_failure_wall_ms = 1700003600999,
    };
}

static struct weir_dlq_letter compose(const struct weir_dlq_source *from, enum weir_dlq_profile profile, bool stripped)
{
    struct weir_dlq_letter letter;
    cr_assert_eq(weir_dlq_compose(&letter, from, "{topic}.dlq", profile, stripped), 0);
    return letter;
}

static size_t count_of(const struct weir_dlq_letter *letter, const char *name)
{
    size_t count = 0;
    for (size_t index = 0; index < letter->produce.header_count; index++)
        count += strcmp(letter->produce.headers[index].name, name) == 0;
    return count;
}

/* The header of that name, which must be there once. */
static const struct weir_kafka_header *only(const struct weir_dlq_letter *letter, const char *name)
{
    cr_assert_eq(count_of(letter, name), 1, "%s: %zu times", name, count_of(letter, name));
    size_t index = 0;
    while (strcmp(letter->produce.headers[index].name, name) != 0)
        index++;
    return &letter->produce.headers[index];
}

static void expect_bytes(const struct weir_dlq_letter *letter, const char *name, const void *bytes, size_t size)
{
    const struct weir_kafka_header *header = only(letter, name);
    cr_assert_eq(header->value_size, size, "%s: %zu bytes", name, header->value_size);
    cr_assert_eq(memcmp(header->value, bytes, size), 0, "%s: %.*s", name, (int)size, (const char *)header->value);
}

static void expect_text(const struct weir_dlq_letter *letter, const char *name, const char *text)
{
    expect_bytes(letter, name, text, strlen(text));
}

Test(dlq, message_comes_through_unchanged)
{
    struct weir_dlq_source from = source();
    struct weir_dlq_letter letter = compose(&from, WEIR_DLQ_KIP1191, false);
    cr_assert_str_eq(letter.produce.topic, "orders.dlq");
    cr_assert_eq(letter.produce.key, from.key);
    cr_assert_eq(letter.produce.key_size, 3);
    cr_assert_eq(letter.produce.value, from.value);
    cr_assert_eq(letter.produce.value_size, 5);
    cr_assert_eq(letter.produce.timestamp_ms, from.timestamp_ms);
    for (size_t index = 0; index < 5; index++) {
        cr_assert_str_eq(letter.produce.headers[index].name, user_headers[index].name);
        cr_assert_eq(letter.produce.headers[index].value, user_headers[index].value);
        cr_assert_eq(letter.produce.headers[index].value_size, user_headers[index].value_size);
    }
    weir_dlq_letter_deinit(&letter);
    cr_assert_null(letter.memory);
}

Test(dlq, tombstones_and_null_keys_stay_what_they_are)
{
    struct weir_dlq_source from = source();
    from.key = from.value = NULL;
    from.key_size = from.value_size = 0;
    struct weir_dlq_letter letter = compose(&from, WEIR_DLQ_KIP1191, false);
    cr_assert_null(letter.produce.key);
    cr_assert_null(letter.produce.value);
    weir_dlq_letter_deinit(&letter);
    from.key = from.value = "";
    letter = compose(&from, WEIR_DLQ_KIP1191, false);
    cr_assert_not_null(letter.produce.key);
    cr_assert_not_null(letter.produce.value);
    weir_dlq_letter_deinit(&letter);
}

static void expect_ours(const struct weir_dlq_letter *letter)
{
    expect_text(letter, "weir.dlq.reason", "attempts");
    expect_text(letter, "weir.dlq.first.failure", "2023-11-14T22:13:20.123Z");
    expect_text(letter, "weir.dlq.last.failure", "2023-11-14T23:13:20.999Z");
    expect_text(letter, "weir.dlq.host", "node-3");
    expect_text(letter, "weir.dlq.application", "billing-service");
    cr_assert_eq(count_of(letter, "weir.dlq.stripped"), 0);
}

Test(dlq, profile_kip1191_is_text)
{
    struct weir_dlq_source from = source();
    struct weir_dlq_letter letter = compose(&from, WEIR_DLQ_KIP1191, false);
    expect_text(&letter, "__dlq.errors.topic", "orders");
    expect_text(&letter, "__dlq.errors.partition", "7");
    expect_text(&letter, "__dlq.errors.offset", "123456789012");
    expect_text(&letter, "__dlq.errors.group", "billing");
    expect_text(&letter, "__dlq.errors.delivery.count", "10");
    expect_text(&letter, "__dlq.errors.message", "HTTP 503");
    expect_ours(&letter);
    cr_assert_eq(letter.produce.header_count, 5 + 6 + 5);
    weir_dlq_letter_deinit(&letter);
}

Test(dlq, profile_spring_has_big_endian_numbers)
{
    struct weir_dlq_source from = source();
    struct weir_dlq_letter letter = compose(&from, WEIR_DLQ_SPRING, false);
    expect_text(&letter, "kafka_dlt-original-topic", "orders");
    expect_bytes(&letter, "kafka_dlt-original-partition", "\x00\x00\x00\x07", 4);
    expect_bytes(&letter, "kafka_dlt-original-offset", "\x00\x00\x00\x1c\xbe\x99\x1a\x14", 8);
    expect_bytes(&letter, "kafka_dlt-original-timestamp", "\x00\x00\x01\x8b\xcf\xe5\x68\x7b", 8);
    expect_text(&letter, "kafka_dlt-original-timestamp-type", "CreateTime");
    expect_text(&letter, "kafka_dlt-original-consumer-group", "billing");
    expect_text(&letter, "kafka_dlt-exception-fqcn", "weir.dlq.attempts");
    expect_text(&letter, "kafka_dlt-exception-message", "HTTP 503");
    expect_text(&letter, "kafka_dlt-exception-stacktrace", "HTTP 503");
    expect_ours(&letter);
    cr_assert_eq(letter.produce.header_count, 5 + 9 + 5);
    weir_dlq_letter_deinit(&letter);
    from.timestamp_ms = -1;
    letter = compose(&from, WEIR_DLQ_SPRING, false);
    expect_bytes(&letter, "kafka_dlt-original-timestamp", "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
    expect_text(&letter, "kafka_dlt-original-timestamp-type", "NoTimestampType");
    weir_dlq_letter_deinit(&letter);
}

Test(dlq, profile_karafka_is_text)
{
    struct weir_dlq_source from = source();
    struct weir_dlq_letter letter = compose(&from, WEIR_DLQ_KARAFKA, false);
    expect_text(&letter, "source_topic", "orders");
    expect_text(&letter, "source_partition", "7");
    expect_text(&letter, "source_offset", "123456789012");
    expect_text(&letter, "source_consumer_group", "billing");
    expect_text(&letter, "source_attempts", "10");
    expect_ours(&letter);
    cr_assert_eq(letter.produce.header_count, 5 + 5 + 5);
    weir_dlq_letter_deinit(&letter);
}

Test(dlq, profile_connect_is_text)
{
    struct weir_dlq_source from = source();
    struct weir_dlq_letter letter = compose(&from, WEIR_DLQ_CONNECT, false);
    expect_text(&letter, "__connect.errors.topic", "orders");
    expect_text(&letter, "__connect.errors.partition", "7");
    expect_text(&letter, "__connect.errors.offset", "123456789012");
    expect_text(&letter, "__connect.errors.stage", "TASK_PUT");
    expect_text(&letter, "__connect.errors.exception.message", "HTTP 503");
    expect_ours(&letter);
    cr_assert_eq(letter.produce.header_count, 5 + 5 + 5);
    weir_dlq_letter_deinit(&letter);
}

Test(dlq, every_cause_has_a_name_and_a_sentence)
{
    static const char *const names[] = {"dead", "attempts", "deadline", "held", "abandoned", "crash"};
    for (int cause = WEIR_DLQ_DEAD; cause <= WEIR_DLQ_CRASH; cause++) {
        struct weir_dlq_source from = source();
        from.cause = (enum weir_dlq_cause)cause;
        from.reason = cause % 2 ? NULL : "";
        struct weir_dlq_letter letter = compose(&from, WEIR_DLQ_KIP1191, false);
        expect_text(&letter, "weir.dlq.reason", names[cause]);
        cr_assert_gt(only(&letter, "__dlq.errors.message")->value_size, 20);
        weir_dlq_letter_deinit(&letter);
    }
    cr_assert_str_eq(weir_dlq_cause_name((enum weir_dlq_cause)99), "unknown");
}

Test(dlq, second_death_replaces_the_headers_of_the_first)
{
    struct weir_dlq_source from = source();
    struct weir_dlq_letter first = compose(&from, WEIR_DLQ_KIP1191, true);
    for (int death = 2; death < 6; death++) {
        struct weir_dlq_source again = source();
        again.headers = first.produce.headers;
        again.header_count = first.produce.header_count;
        again.topic = "orders.dlq";
        again.attempts = (uint32_t)death;
        again.application = NULL;
        again.host = "";
        struct weir_dlq_letter letter = compose(&again, WEIR_DLQ_KIP1191, false);
        char attempts[16];
        snprintf(attempts, sizeof attempts, "%d", death);
        expect_text(&letter, "__dlq.errors.delivery.count", attempts);
        expect_text(&letter, "__dlq.errors.topic", "orders.dlq");
        expect_text(&letter, "weir.dlq.reason", "attempts");
        cr_assert_eq(count_of(&letter, "weir.dlq.application"), 0, "what is not known now is not kept from then");
        cr_assert_eq(count_of(&letter, "weir.dlq.host"), 0);
        cr_assert_eq(count_of(&letter, "weir.dlq.stripped"), 0);
        cr_assert_eq(count_of(&letter, "weir.dlq.original.value.size"), 0);
        cr_assert_eq(letter.produce.header_count, 6 + 3);
        weir_dlq_letter_deinit(&first);
        first = letter;
    }
    weir_dlq_letter_deinit(&first);
}

Test(dlq, all_occurrences_are_replaced_and_no_other_header_is_lost)
{
    static const struct weir_kafka_header headers[] = {
        {"weir.dlq.reason", "x", 1},
        {"a", "1", 1},
        {"__dlq.errors.offset", "1", 1},
        {"__dlq.errors.offset", "2", 1},
        {"b", "2", 1},
        {"__dlq.errors.offset.mine", "3", 1},
        {"weir.dlq.mine", "4", 1},
        {"", "5", 1},
        {"WEIR.DLQ.REASON", "6", 1},
        {"kafka_dlt-original-topic", "7", 1},
        {"a", "8", 1},
        {"weir.dlq.reason", NULL, 0},
    };
    static const char kept[] = "12345678";
    struct weir_dlq_source from = source();
    from.headers = headers;
    from.header_count = sizeof headers / sizeof *headers;
    struct weir_dlq_letter letter = compose(&from, WEIR_DLQ_KIP1191, false);
    for (size_t index = 0; index < sizeof kept - 1; index++)
        cr_assert_eq(*(const char *)letter.produce.headers[index].value, kept[index]);
    cr_assert_eq(letter.produce.header_count, 8 + 6 + 5);
    expect_text(&letter, "__dlq.errors.offset", "123456789012");
    expect_text(&letter, "weir.dlq.reason", "attempts");
    weir_dlq_letter_deinit(&letter);
    letter = compose(&from, WEIR_DLQ_SPRING, false);
    expect_text(&letter, "kafka_dlt-original-topic", "orders");
    cr_assert_eq(count_of(&letter, "__dlq.errors.offset"), 2, "another profile's are the user's");
    weir_dlq_letter_deinit(&letter);
}

Test(dlq, stripped_letter_says_what_is_missing)
{
    struct weir_dlq_source from = source();
    struct weir_dlq_letter letter = compose(&from, WEIR_DLQ_KIP1191, true);
    cr_assert_null(letter.produce.value);
    cr_assert_eq(letter.produce.value_size, 0);
    cr_assert_eq(letter.produce.key, from.key);
    cr_assert_eq(letter.produce.header_count, 6 + 5 + 3);
    expect_text(&letter, "weir.dlq.stripped", "true");
    expect_text(&letter, "weir.dlq.original.value.size", "5");
    expect_text(&letter, "weir.dlq.original.headers.size", "38"); /* 17 + 5 + 4 + 6 + 6 */
    expect_text(&letter, "__dlq.errors.offset", "123456789012");
    weir_dlq_letter_deinit(&letter);
}

/* ---- sizes ---- */

static void expect_cut(const char *character, size_t characters, size_t size_expected)
{
    char text[2048] = "";
    for (size_t index = 0; index < characters; index++)
        strcat(text, character);
    struct weir_dlq_source from = source();
    from.reason = from.host = from.application = text;
    struct weir_dlq_letter letter = compose(&from, WEIR_DLQ_KIP1191, false);
    expect_bytes(&letter, "__dlq.errors.message", text, size_expected);
    expect_bytes(&letter, "weir.dlq.host", text, size_expected);
    expect_bytes(&letter, "weir.dlq.application", text, size_expected);
    weir_dlq_letter_deinit(&letter);
}

Test(dlq, long_texts_are_cut_between_characters)
{
    expect_cut("x", 255, 255);
    expect_cut("x", 256, 255);
    expect_cut("\xc3\xa9", 200, 254);         /* two bytes a character */
    expect_cut("\xe2\x82\xac", 200, 255);     /* three */
    expect_cut("\xf0\x9f\x98\x80", 200, 252); /* four */
    expect_cut("\xf0\x9f\x98\x80", 63, 252);
    expect_cut("\x80", 1000, 255); /* not UTF-8 at all */
}

Test(dlq, times_beyond_the_calendar_become_its_limits)
{
    static const struct {
        int64_t wall_ms;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {-1, "1969-12-31T23:59:59.999Z"},
        {-1000, "1969-12-31T23:59:59.000Z"},
        {951782400000, "2000-02-29T00:00:00.000Z"},
        {INT64_C(253402300799999), "9999-12-31T23:59:59.999Z"},
        {INT64_MAX, "9999-12-31T23:59:59.999Z"},
        {INT64_MIN, "0000-01-01T00:00:00.000Z"},
    };
    for (size_t index = 0; index < sizeof cases / sizeof *cases; index++) {
        struct weir_dlq_source from = source();
        from.first_failure_wall_ms = cases[index].wall_ms;
        struct weir_dlq_letter letter = compose(&from, WEIR_DLQ_KIP1191, false);
        expect_text(&letter, "weir.dlq.first.failure", cases[index].text);
        weir_dlq_letter_deinit(&letter);
    }
}

Test(dlq, greatest_numbers_fit)
{
    struct weir_dlq_source from = source();
    from.partition = INT32_MIN;
    from.offset = INT64_MIN;
    from.attempts = UINT32_MAX;
    struct weir_dlq_letter letter = compose(&from, WEIR_DLQ_KIP1191, false);
    expect_text(&letter, "__dlq.errors.partition", "-2147483648");
    expect_text(&letter, "__dlq.errors.offset", "-9223372036854775808");
    expect_text(&letter, "__dlq.errors.delivery.count", "4294967295");
    weir_dlq_letter_deinit(&letter);
}

/* ---- headers still in their record ---- */

struct record_kafka {
    struct weir_kafka kafka;
    void *native;
    const struct weir_kafka_header *headers;
    size_t count;
};

static bool record_header(struct weir_kafka *kafka, void *native, size_t index, struct weir_kafka_header *header)
{
    struct record_kafka *record = (struct record_kafka *)(void *)kafka;
    cr_assert_eq(native, record->native);
    if (index >= record->count)
        return false;
    *header = record->headers[index];
    return true;
}

Test(dlq, headers_are_read_from_the_record)
{
    static const struct weir_kafka_ops ops = {.record_header = record_header};
    int native;
    struct record_kafka record = {{&ops}, &native, user_headers, 5};
    struct weir_dlq_source from = source();
    from.kafka = &record.kafka;
    from.native = &native;
    from.headers = NULL;
    from.header_count = 0;
    struct weir_dlq_letter letter = compose(&from, WEIR_DLQ_KIP1191, false);
    cr_assert_eq(letter.produce.header_count, 5 + 6 + 5);
    cr_assert_eq(count_of(&letter, "twice"), 2);
    expect_text(&letter, "traceparent", "00-abc");
    weir_dlq_letter_deinit(&letter);
    letter = compose(&from, WEIR_DLQ_KIP1191, true);
    expect_text(&letter, "weir.dlq.original.headers.size", "38");
    weir_dlq_letter_deinit(&letter);
}

Test(dlq, short_memory_is_reported_and_leaves_nothing)
{
    struct weir_dlq_source from = source();
    struct weir_dlq_letter letter;
    weir_memory_fail_after(0);
    int code = weir_dlq_compose(&letter, &from, "{topic}.dlq", WEIR_DLQ_KIP1191, false);
    weir_memory_fail_after(UINT64_MAX);
    cr_assert_eq(code, WEIR_NO_MEMORY);
    cr_assert_null(letter.memory);
    weir_dlq_letter_deinit(&letter);
}

Test(dlq, letter_is_one_block)
{
    struct weir_dlq_source from = source();
    struct weir_dlq_letter letter;
    weir_memory_fail_after(1);
    int code = weir_dlq_compose(&letter, &from, "{topic}.dlq", WEIR_DLQ_KIP1191, false);
    void *unspent = weir_memory_allocate(1);
    weir_memory_fail_after(UINT64_MAX);
    cr_assert_eq(code, 0);
    cr_assert_null(unspent, "the second allocation of all is the one after the letter");
    weir_dlq_letter_deinit(&letter);
}
