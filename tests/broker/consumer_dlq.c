/*
 * Goal: a dead letter is the message, byte for byte, and says where it came from in the words of its profile; nothing
 * is finished before its letter is in the log, whatever the dead letter topic does. Method: letters are read back by a
 * plain consumer and compared with what was produced.
 *
 * Source and dead letter topic have one partition, and where letters are compared the order is the partition's, so that
 * letter N is of message N.
 */
#include "tests/broker/scribe.h"
#include "tests/broker/stage.h"
#include <stdio.h>
#include <unistd.h>

/* ---- messages that are hard to keep whole ---- */

static const struct weir_scribe_header many[] = {
    {"trace", "a", 1}, {"trace", "b", 1},           {"null", NULL, 0},
    {"empty", "", 0},  {"binary", "\0\xff\0\n", 4}, {"trace", "a", 1},
};

#define TEXT(text) (text), sizeof(text) - 1
static const struct weir_scribe_record originals[] = {
    {.key = "customer-1",
     .key_size = 10,
     .value = "order",
     .value_size = 5,
     .timestamp_ms = 1700000000123,
     .headers = many,
     .header_count = sizeof many / sizeof many[0]},
    {.key = "tombstone", .key_size = 9, .timestamp_ms = 1700000000124},
    {.value = "without a key", .value_size = 13, .timestamp_ms = 1700000000125, .headers = many, .header_count = 1},
    {.key = "", .value = "with an empty key", .value_size = 17, .timestamp_ms = 1},
    {.key = "empty value", .key_size = 11, .value = "", .timestamp_ms = 1700000000126},
    {.key = "\0\1\2", .key_size = 3, .value = "\0\xff", .value_size = 2, .timestamp_ms = 1700000000127},
    {.timestamp_ms = 1700000000128},
};
enum { ORIGINALS = sizeof originals / sizeof originals[0], RUNS = 3 };

static void produce_originals(const char *topic)
{
    struct weir_scribe scribe;
    weir_scribe_open(&scribe, NULL);
    for (size_t index = 0; index < ORIGINALS; index++)
        weir_scribe_write(&scribe, topic, &originals[index]);
    weir_scribe_close(&scribe);
}

/* Messages with a value die at once; tombstones after RUNS runs. */
static enum weir_outcome kill_all(struct weir_subject *subject, struct weir_message *message)
{
    if (weir_message_value(message))
        return weir_dead(message, "no such customer");
    return weir_retry(message, "HTTP 503");
}

/* ---- reading letters back ---- */

struct reading {
    const char *profile, *topic, *group; /* that the letters are to name */
    uint64_t count;
};

static void check_bytes(const void *found, size_t found_size, const void *expected, size_t size, const char *what)
{
    cr_assert_eq(found == NULL, expected == NULL, "%s: null where it was not, or the other way", what);
    cr_assert_eq(found_size, size, "%s: %zu bytes, not %zu", what, found_size, size);
    if (size > 0)
        cr_assert_arr_eq(found, expected, size, "%s differs", what);
}

static void check_content(const rd_kafka_message_t *letter, const struct weir_scribe_record *original)
{
    rd_kafka_timestamp_type_t type;
    check_bytes(letter->key, letter->key_len, original->key, original->key_size, "key");
    check_bytes(letter->payload, letter->len, original->value, original->value_size, "value");
    cr_assert_eq(rd_kafka_message_timestamp(letter, &type), original->timestamp_ms);
    cr_assert_eq(type, RD_KAFKA_TIMESTAMP_CREATE_TIME);
}

static rd_kafka_headers_t *headers_of(const rd_kafka_message_t *letter)
{
    rd_kafka_headers_t *headers;
    cr_assert_eq(rd_kafka_message_headers(letter, &headers), RD_KAFKA_RESP_ERR_NO_ERROR);
    return headers;
}

/* The original's, first and in their order. */
static void check_original_headers(rd_kafka_headers_t *headers, const struct weir_scribe_record *original)
{
    for (size_t index = 0; index < original->header_count; index++) {
        const char *name;
        const void *value;
        size_t size;
        cr_assert_eq(rd_kafka_header_get_all(headers, index, &name, &value, &size), RD_KAFKA_RESP_ERR_NO_ERROR);
        cr_assert_str_eq(name, original->headers[index].name);
        check_bytes(value, size, original->headers[index].value, original->headers[index].value_size, name);
    }
}

/* There is exactly one of this name, and this is its value. */
static void check_header(rd_kafka_headers_t *headers, const char *name, const void *expected, size_t size)
{
    const void *value;
    size_t value_size;
    cr_assert_eq(rd_kafka_header_get(headers, 0, name, &value, &value_size), RD_KAFKA_RESP_ERR_NO_ERROR, "no header %s",
                 name);
    check_bytes(value, value_size, expected, size, name);
    cr_assert_neq(rd_kafka_header_get(headers, 1, name, &value, &value_size), RD_KAFKA_RESP_ERR_NO_ERROR,
                  "%s stands twice", name);
}

static void check_text(rd_kafka_headers_t *headers, const char *name, const char *text)
{
    check_header(headers, name, text, strlen(text));
}

static void check_number(rd_kafka_headers_t *headers, const char *name, int64_t number)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)number);
    check_text(headers, name, text);
}

static void check_big_endian(rd_kafka_headers_t *headers, const char *name, int64_t number, size_t size)
{
    unsigned char bytes[8];
    for (size_t index = 0; index < size; index++)
        bytes[index] = (unsigned char)((uint64_t)number >> 8 * (size - 1 - index));
    check_header(headers, name, bytes, size);
}

/* The headers of the letter's profile. Returns how many there are, with those of every profile. */
static size_t check_profile(const struct reading *reading, rd_kafka_headers_t *headers, int64_t offset,
                            const struct weir_scribe_record *original)
{
    bool retried = original->value == NULL;
    const char *words = retried ? "HTTP 503" : "no such customer";
    int64_t runs = retried ? RUNS : 1;
    size_t count = 0;
    if (strcmp(reading->profile, "kip1191") == 0) {
        check_text(headers, "__dlq.errors.topic", reading->topic);
        check_number(headers, "__dlq.errors.partition", 0);
        check_number(headers, "__dlq.errors.offset", offset);
        check_text(headers, "__dlq.errors.group", reading->group);
        check_number(headers, "__dlq.errors.delivery.count", runs);
        check_text(headers, "__dlq.errors.message", words);
        count = 6;
    } else if (strcmp(reading->profile, "spring") == 0) {
        check_text(headers, "kafka_dlt-original-topic", reading->topic);
        check_big_endian(headers, "kafka_dlt-original-partition", 0, 4);
        check_big_endian(headers, "kafka_dlt-original-offset", offset, 8);
        check_big_endian(headers, "kafka_dlt-original-timestamp", original->timestamp_ms, 8);
        check_text(headers, "kafka_dlt-original-timestamp-type", "CreateTime");
        check_text(headers, "kafka_dlt-original-consumer-group", reading->group);
        check_text(headers, "kafka_dlt-exception-fqcn", retried ? "weir.dlq.attempts" : "weir.dlq.dead");
        check_text(headers, "kafka_dlt-exception-message", words);
        check_text(headers, "kafka_dlt-exception-stacktrace", words);
        count = 9;
    } else if (strcmp(reading->profile, "karafka") == 0) {
        check_text(headers, "source_topic", reading->topic);
        check_number(headers, "source_partition", 0);
        check_number(headers, "source_offset", offset);
        check_text(headers, "source_consumer_group", reading->group);
        check_number(headers, "source_attempts", runs);
        count = 5;
    } else {
        check_text(headers, "__connect.errors.topic", reading->topic);
        check_number(headers, "__connect.errors.partition", 0);
        check_number(headers, "__connect.errors.offset", offset);
        check_text(headers, "__connect.errors.stage", "TASK_PUT");
        check_text(headers, "__connect.errors.exception.message", words);
        count = 5;
    }
    check_text(headers, "weir.dlq.reason", retried ? "attempts" : "dead");
    check_text(headers, "weir.dlq.application", "billing");
    return count + 2;
}

/* Times are those of this test's run: RFC 3339 in UTC. */
static void check_time(rd_kafka_headers_t *headers, const char *name)
{
    const void *value;
    size_t size;
    cr_assert_eq(rd_kafka_header_get(headers, 0, name, &value, &size), RD_KAFKA_RESP_ERR_NO_ERROR, "no header %s",
                 name);
    cr_assert_eq(size, sizeof "2025-01-31T23:59:59.123Z" - 1);
    cr_assert_arr_eq(value, "20", 2);
    cr_assert_eq(((const char *)value)[size - 1], 'Z');
}

static void check_letter(void *user, rd_kafka_message_t *letter)
{
    struct reading *reading = user;
    cr_assert_lt(letter->offset, ORIGINALS, "there are more letters than messages");
    const struct weir_scribe_record *original = &originals[letter->offset];
    rd_kafka_headers_t *headers = headers_of(letter);
    check_content(letter, original);
    check_original_headers(headers, original);
    size_t count = check_profile(reading, headers, letter->offset, original);
    check_time(headers, "weir.dlq.first.failure");
    check_time(headers, "weir.dlq.last.failure");
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    check_text(headers, "weir.dlq.host", host);
    cr_assert_eq(rd_kafka_header_cnt(headers), original->header_count + count + 3, "headers that nobody asked for");
    reading->count++;
}

/* Let a consumer of its own group kill all messages of `topic`, and compare the letters. */
static void kill_and_compare(struct weir_stage *stage, const char *topic, const char *profile)
{
    struct weir_broker_name group = weir_broker_name("group"), letters;
    struct weir_subject subject = {.rule = kill_all};
    snprintf(letters.text, sizeof letters.text, "%.60s.%s", topic, profile);
    weir_subject_start(&subject, WEIR_STAGE_SETTINGS(stage, "weir.topics", topic, "group.id", group.text,
                                                     "weir.dlq.topic", letters.text, "weir.dlq.profile", profile,
                                                     "weir.ordering", "partition", "weir.retry.attempts.max", "3",
                                                     "weir.retry.base.ms", "1", "weir.application", "billing"));
    WEIR_BROKER_UNTIL(weir_subject_stats(&subject).counters.dead_lettered == ORIGINALS);
    cr_assert_eq(weir_subject_close(&subject), WEIR_OK, "%s", subject.closed_error.text);
    cr_assert(weir_subject_adds_up(&subject));
    weir_subject_destroy(&subject);
    cr_assert_eq(weir_broker_committed(group.text, topic, 0, NULL, 0), ORIGINALS);
    struct reading reading = {.profile = profile, .topic = topic, .group = group.text};
    cr_assert_eq(weir_broker_read(letters.text, check_letter, &reading), (uint64_t)ORIGINALS);
    cr_assert_eq(reading.count, (uint64_t)ORIGINALS);
}

static void dies_as(const char *profile)
{
    struct weir_stage stage;
    char letters[96];
    weir_stage_set(&stage, 1, 0);
    produce_originals(stage.topic.text);
    kill_and_compare(&stage, stage.topic.text, profile);
    snprintf(letters, sizeof letters, "%.60s.%s", stage.topic.text, profile);
    kill_and_compare(&stage, letters, profile); /* a letter that dies again: ours are replaced, not added */
    weir_broker_topic_delete(letters);
    snprintf(letters, sizeof letters, "%.60s.%s.%s", stage.topic.text, profile, profile);
    weir_broker_topic_delete(letters);
    weir_stage_clear(&stage);
}

Test(broker_dlq, letters_are_the_messages_with_the_headers_of_kip_1191)
{
    dies_as("kip1191");
}

Test(broker_dlq, letters_are_the_messages_with_the_headers_of_spring)
{
    dies_as("spring");
}

Test(broker_dlq, letters_are_the_messages_with_the_headers_of_karafka)
{
    dies_as("karafka");
}

Test(broker_dlq, letters_are_the_messages_with_the_headers_of_connect)
{
    dies_as("connect");
}

/* ---- letters that the topic does not take ---- */

enum { SMALL = 300, LARGE_BYTES = 20000 };

struct letters {
    uint64_t whole, stripped, others;
};

static void count_letter(void *user, rd_kafka_message_t *letter)
{
    struct letters *letters = user;
    rd_kafka_headers_t *headers = headers_of(letter);
    const void *value;
    size_t size;
    bool stripped = rd_kafka_header_get_last(headers, "weir.dlq.stripped", &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR;
    if (stripped && letter->payload == NULL && letter->key_len == 5) {
        check_text(headers, "weir.dlq.original.value.size", "20000");
        check_text(headers, "weir.dlq.original.headers.size", "6");
        letters->stripped++;
    } else if (!stripped && (letter->len == LARGE_BYTES || (letter->len > 0 && letter->len < 10))) {
        letters->whole++;
    } else {
        letters->others++;
    }
}

/* One large message among small ones, all of which die. */
static void produce_large_among_small(struct weir_stage *stage)
{
    static char large[LARGE_BYTES];
    static const struct weir_scribe_header header = {"trace", "a", 1};
    struct weir_scribe scribe;
    memset(large, 'x', sizeof large);
    weir_scribe_open(&scribe, NULL);
    weir_scribe_write(&scribe, stage->topic.text,
                      &(struct weir_scribe_record){.key = "large",
                                                   .key_size = 5,
                                                   .value = large,
                                                   .value_size = sizeof large,
                                                   .headers = &header,
                                                   .header_count = 1});
    weir_scribe_close(&scribe);
    weir_stage_produce(stage, SMALL, SMALL);
}

static enum weir_outcome kill_at_once(struct weir_subject *subject, struct weir_message *message)
{
    return weir_dead(message, "no such customer");
}

static void create_tight(const struct weir_stage *stage, char letters[96])
{
    static const char *const tight[] = {"max.message.bytes", "4000", NULL};
    snprintf(letters, 96, "%.60s.dlq", stage->topic.text);
    weir_broker_topic_create(letters, 1, tight);
}

Test(broker_dlq, an_oversized_letter_is_held_until_the_topic_takes_it_and_small_ones_go_out)
{
    struct weir_stage stage;
    struct letters found = {0};
    char letters[96], command[256];
    weir_stage_set(&stage, 1, 2 * SMALL);
    produce_large_among_small(&stage);
    create_tight(&stage, letters);
    struct weir_subject subject = {.rule = kill_at_once};
    weir_subject_start(&subject, WEIR_STAGE_SETTINGS(&stage, "weir.dlq.oversized", "hold", "weir.dlq.retry.ms", "100"));
    WEIR_BROKER_UNTIL(weir_subject_stats(&subject).counters.dead_lettered == SMALL);
    WEIR_BROKER_UNTIL(weir_subject_stats(&subject).counters.dlq_failures > 3);
    cr_assert_eq(weir_broker_committed(stage.group.text, stage.topic.text, 0, NULL, 0), 0, "it was passed by");
    cr_assert_eq(weir_subject_stats(&subject).held, 1u);
    cr_assert_gt(weir_subject_log_count("dead letter refused, its key is held"), 0u);
    snprintf(command, sizeof command, "config topic %s max.message.bytes=1000000", letters);
    weir_broker_control(command);
    WEIR_BROKER_UNTIL(weir_subject_stats(&subject).counters.dead_lettered == SMALL + 1);
    cr_assert_eq(weir_subject_close(&subject), WEIR_OK, "%s", subject.closed_error.text);
    cr_assert(weir_subject_adds_up(&subject));
    weir_subject_destroy(&subject);
    cr_assert_eq(weir_broker_read(letters, count_letter, &found), SMALL + 1u);
    cr_assert_eq(found.whole, SMALL + 1u);
    weir_broker_topic_delete(letters);
    weir_stage_clear(&stage);
}

Test(broker_dlq, an_oversized_letter_is_stripped_and_small_ones_beside_it_are_not)
{
    struct weir_stage stage;
    struct letters found = {0};
    char letters[96];
    weir_stage_set(&stage, 1, 2 * SMALL);
    produce_large_among_small(&stage);
    create_tight(&stage, letters);
    struct weir_subject subject = {.rule = kill_at_once};
    weir_subject_start(&subject, WEIR_STAGE_SETTINGS(&stage, "weir.dlq.oversized", "strip"));
    WEIR_BROKER_UNTIL(weir_subject_stats(&subject).counters.dead_lettered == SMALL + 1);
    cr_assert_eq(weir_subject_close(&subject), WEIR_OK, "%s", subject.closed_error.text);
    weir_subject_destroy(&subject);
    cr_assert_eq(weir_broker_read(letters, count_letter, &found), SMALL + 1u);
    cr_assert_eq(found.stripped, 1u);
    cr_assert_eq(found.whole, (uint64_t)SMALL);
    weir_broker_topic_delete(letters);
    weir_stage_clear(&stage);
}
