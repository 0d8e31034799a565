/*
 * Fuzzer of dead letters. Goal: whatever headers a message has, its letter has them in their order but for older ones
 * of ours, each of ours once; a letter that dies again has as many headers, and nothing that is ours has grown; a topic
 * that is accepted is one that Kafka accepts.
 *
 * An input: profile and cause (1 byte), numbers (8), then texts that end with a zero byte each: template, topic, group,
 * reason, application, host; what is left is headers: a name that ends with a zero byte, a byte with the value's size
 * (255: null), the value. A name of one digit stands for one of ours.
 */
#include "actors/dlq.h"
#include "actors/dlq_headers.h"
#include "runtime/check.h"
#include <stdlib.h>
#include <string.h>

#define INPUT_SIZE_MAX     4096
#define HEADERS_MAX        64
#define REQUIRE(condition) ((condition) ? (void)0 : abort())

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const OURS[] = {
    "__dlq.errors.topic",  "__dlq.errors.offset",         "__dlq.errors.message", "weir.dlq.reason",
    "weir.dlq.host",       "kafka_dlt-original-offset",   "source_topic",         "__connect.errors.topic",
    "weir.dlq.unheard.of", "kafka_dlt-exception-message",
};

static const char *take_text(char **at, const char *end)
{
    char *text = *at, *stop = memchr(text, '\0', (size_t)(end - text));
    *at = stop ? stop + 1 : (char *)end;
    return stop ? text : "";
}

static size_t take_headers(struct weir_kafka_header *headers, char *at, const char *end)
{
    size_t count = 0;
    while (at < end && count < HEADERS_MAX) {
        const char *name = take_text(&at, end);
        if (name[0] >= '0' && name[0] <= '9' && name[1] == '\0')
            name = OURS[name[0] - '0'];
        headers[count] = (struct weir_kafka_header){.name = name};
        if (at < end) {
            size_t size = (uint8_t)*at++, left = (size_t)(end - at);
            headers[count].value = size == 255 ? NULL : at;
            headers[count].value_size = size == 255 ? 0 : size < left ? size : left;
            at += headers[count].value_size;
        }
        count++;
    }
    return count;
}

static size_t count_of(const struct weir_dlq_letter *letter, const char *name)
{
    size_t count = 0;
    for (size_t index = 0; index < letter->produce.header_count; index++)
        count += strcmp(letter->produce.headers[index].name, name) == 0;
    return count;
}

static void require_topic(const char *topic)
{
    size_t size = strlen(topic);
    REQUIRE(size > 0 && size <= 249 && strcmp(topic, ".") != 0 && strcmp(topic, "..") != 0);
    REQUIRE(strspn(topic, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == size);
}

static void require_headers(const struct weir_dlq_source *source, const struct weir_dlq_letter *letter,
                            enum weir_dlq_profile profile, bool stripped)
{
    size_t at = 0;
    for (size_t index = 0; !stripped && index < source->header_count; index++) {
        const struct weir_kafka_header *header = &source->headers[index];
        if (weir_dlq_header_is_ours(header->name, profile))
            continue;
        REQUIRE(at < letter->produce.header_count);
        const struct weir_kafka_header *found = &letter->produce.headers[at++];
        REQUIRE(found->name == header->name && found->value == header->value &&
                found->value_size == header->value_size);
    }
    for (; at < letter->produce.header_count; at++) {
        const struct weir_kafka_header *ours = &letter->produce.headers[at];
        REQUIRE(weir_dlq_header_is_ours(ours->name, profile) && count_of(letter, ours->name) == 1);
        REQUIRE(ours->value && ((const char *)ours->value)[ours->value_size] == '\0');
    }
}

/* The letter is consumed, and dies again in the same way. */
static void require_no_growth(const struct weir_dlq_source *source, const struct weir_dlq_letter *letter,
                              enum weir_dlq_profile profile, bool stripped)
{
    struct weir_dlq_source second = *source;
    second.headers = letter->produce.headers;
    second.header_count = letter->produce.header_count;
    struct weir_dlq_letter again;
    const char *other = strcmp(source->topic, "dead") == 0 ? "dead.too" : "dead"; /* not the topic it comes from */
    REQUIRE(weir_dlq_compose(&again, &second, other, profile, stripped) == 0);
    REQUIRE(again.produce.header_count == letter->produce.header_count);
    require_headers(&second, &again, profile, stripped);
    for (size_t index = 0; !stripped && index < again.produce.header_count; index++)
        REQUIRE(strcmp(again.produce.headers[index].name, letter->produce.headers[index].name) == 0 &&
                again.produce.headers[index].value_size == letter->produce.headers[index].value_size);
    weir_dlq_letter_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char input[INPUT_SIZE_MAX + 1];
    static struct weir_kafka_header headers[HEADERS_MAX];
    if (size < 10 || size > INPUT_SIZE_MAX)
        return -1;
    memcpy(input, data, size);
    input[size] = '\0';
    char *at = input + 9;
    const char *end = input + size;
    int64_t number;
    memcpy(&number, data + 1, sizeof number);
    enum weir_dlq_profile profile = (enum weir_dlq_profile)(data[0] & 3);
    bool stripped = data[0] & 4;
    const char *template_text = take_text(&at, end);
    struct weir_dlq_source source = {.topic = take_text(&at, end), .group = take_text(&at, end), .offset = number};
    source.reason = take_text(&at, end);
    source.application = take_text(&at, end);
    source.host = take_text(&at, end);
    source.partition = (int32_t)number;
    source.timestamp_ms = source.first_failure_wall_ms = source.last_failure_wall_ms = number;
    source.cause = (enum weir_dlq_cause)(data[0] >> 3) % (WEIR_DLQ_ABANDONED + 1);
    source.headers = headers;
    source.header_count = take_headers(headers, at, end);
    struct weir_error error;
    bool may_be = weir_dlq_check_template(template_text, &error) == 0;
    struct weir_dlq_letter letter;
    int code = weir_dlq_compose(&letter, &source, template_text, profile, stripped);
    if (code != 0) {
        REQUIRE(code == WEIR_INVALID);
        return 0;
    }
    if (may_be)
        require_topic(letter.produce.topic);
    require_headers(&source, &letter, profile, stripped);
    require_no_growth(&source, &letter, profile, stripped);
    weir_dlq_letter_deinit(&letter);
    return 0;
}
