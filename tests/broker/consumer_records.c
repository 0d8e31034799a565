/*
 * Goal: whatever a record is made of, the handler sees it as it was produced: codecs, sizes from nothing to 10 MB, null
 * and empty, a thousand headers; and with transactions only what was committed, while commits reach the log's end.
 * Method: each record has its number as a header; the handler compares it with the same record made once more.
 */
#include "tests/broker/scribe.h"
#include "tests/broker/stage.h"
#include <stdio.h>
#include <stdlib.h>

/* ---- records of every kind ---- */

enum { SMALL = 300, LARGE_BYTES = 10000000, HEADERS_MAX = 1000 };
enum { EMPTY_VALUE = SMALL, TOMBSTONE, NO_KEY, EMPTY_KEY, NOTHING, MANY_HEADERS, LARGE, KINDS };

struct sample {
    struct weir_scribe_record record;
    struct weir_scribe_header headers[HEADERS_MAX];
    char key[32], value[64], number[16], texts[HEADERS_MAX][16];
};

static unsigned char large[LARGE_BYTES];

static void fill_large(void)
{
    uint32_t state = 12345;
    for (size_t index = 0; index < LARGE_BYTES; index++) {
        state = state * 1664525 + 1013904223;
        large[index] = (unsigned char)(state >> 24 & (index % 2 ? 0xff : 0x0f)); /* compressible by a quarter or so */
    }
}

static void add_header(struct sample *sample, const char *name, const void *value, size_t value_size)
{
    sample->headers[sample->record.header_count++] = (struct weir_scribe_header){name, value, value_size};
}

static void make(struct sample *sample, unsigned number)
{
    struct weir_scribe_record *record = &sample->record;
    *record = (struct weir_scribe_record){.timestamp_ms = 1700000000000 + number, .headers = sample->headers};
    record->key = sample->key;
    record->key_size = (size_t)snprintf(sample->key, sizeof sample->key, "key-%u", number % 50);
    record->value = sample->value;
    record->value_size = (size_t)snprintf(sample->value, sizeof sample->value, "value of record %u", number);
    add_header(sample, "number", sample->number, (size_t)snprintf(sample->number, sizeof sample->number, "%u", number));
    if (number == EMPTY_VALUE || number == NOTHING)
        record->value_size = 0;
    if (number == TOMBSTONE)
        record->value = NULL, record->value_size = 0;
    if (number == NO_KEY || number == NOTHING)
        record->key = NULL, record->key_size = 0;
    if (number == EMPTY_KEY)
        record->key_size = 0;
    if (number == LARGE)
        record->value = large, record->value_size = LARGE_BYTES;
    for (unsigned index = 1; number == MANY_HEADERS && index < HEADERS_MAX; index++)
        add_header(sample, index % 3 ? "name" : "other", index % 7 ? sample->texts[index] : NULL,
                   index % 7 ? (size_t)snprintf(sample->texts[index], 16, "header %u", index) : 0);
}

static bool same(const void *a, size_t a_size, const void *b, size_t b_size)
{
    return (a == NULL) == (b == NULL) && a_size == b_size && (a_size == 0 || memcmp(a, b, a_size) == 0);
}

static bool is_as_produced(struct weir_message *message, const struct weir_scribe_record *record)
{
    const char *name;
    const void *value;
    size_t size, index = 0;
    bool whole = same(weir_message_key(message), weir_message_key_size(message), record->key, record->key_size) &&
                 same(weir_message_value(message), weir_message_value_size(message), record->value, record->value_size);
    whole = whole && weir_message_timestamp_ms(message) == record->timestamp_ms;
    for (; whole && weir_message_header_at(message, index, &name, &value, &size); index++)
        whole = index < record->header_count && strcmp(name, record->headers[index].name) == 0 &&
                same(value, size, record->headers[index].value, record->headers[index].value_size);
    return whole && index == record->header_count;
}

struct seen {
    _Atomic unsigned count[KINDS];
};

/* On one worker: the sample is used again and again. */
static enum weir_outcome compare(struct weir_subject *subject, struct weir_message *message)
{
    static struct sample sample;
    struct seen *seen = subject->user;
    size_t size = 0;
    const char *text = weir_message_header(message, "number", &size);
    char number_text[16] = "";
    memcpy(number_text, text ? text : "", size < sizeof number_text ? size : 0);
    unsigned number = (unsigned)strtoul(number_text, NULL, 10);
    if (!text || number >= KINDS) {
        atomic_fetch_add(&subject->wrong, 1);
        return WEIR_SKIP;
    }
    make(&sample, number);
    if (is_as_produced(message, &sample.record))
        atomic_fetch_add(&seen->count[number], 1);
    else
        atomic_fetch_add(&subject->wrong, 1);
    /* Some run a second time, from a copy. */
    return number % 5 == 0 && weir_message_attempt(message) == 1 ? WEIR_RETRY : WEIR_ACK;
}

static void come_through(const char *codec)
{
    static const char *const config[] = {"max.message.bytes", "12000000", NULL};
    static struct sample sample;
    struct weir_stage stage;
    struct weir_scribe scribe;
    struct seen seen = {0};
    weir_stage_set_on(&stage, 1, 0, config);
    fill_large();
    weir_scribe_open(&scribe, (const char *const[]){"compression.codec", codec, NULL});
    for (unsigned number = 0; number < KINDS; number++) {
        make(&sample, number);
        weir_scribe_write(&scribe, stage.topic.text, &sample.record);
    }
    weir_scribe_close(&scribe);

    struct weir_subject subject = {.rule = compare, .user = &seen};
    weir_subject_start(&subject,
                       WEIR_STAGE_SETTINGS(&stage, "weir.workers", "1", "weir.retry.base.ms", "1",
                                           "weir.window.bytes.max", "1000000")); /* less than the largest message */
    WEIR_BROKER_UNTIL(weir_subject_stats(&subject).counters.acked == KINDS || atomic_load(&subject.wrong) > 0);
    cr_assert_eq(weir_subject_close(&subject), WEIR_OK, "%s", subject.closed_error.text);
    cr_assert_eq(atomic_load(&subject.wrong), 0u);
    for (unsigned number = 0; number < KINDS; number++)
        cr_assert_eq(atomic_load(&seen.count[number]), number % 5 == 0 ? 2u : 1u, "record %u", number);
    weir_subject_destroy(&subject);
    weir_stage_clear(&stage);
}

Test(broker_records, records_of_every_kind_come_through_uncompressed)
{
    come_through("none");
}

Test(broker_records, records_of_every_kind_come_through_gzip)
{
    come_through("gzip");
}

Test(broker_records, records_of_every_kind_come_through_snappy)
{
    come_through("snappy");
}

Test(broker_records, records_of_every_kind_come_through_lz4)
{
    come_through("lz4");
}

Test(broker_records, records_of_every_kind_come_through_zstd)
{
    come_through("zstd");
}

/* ---- transactions ---- */

enum { KEPT = 100, DROPPED = 40 };

static void write_many(struct weir_scribe *scribe, const char *topic, unsigned count, const char *value)
{
    for (unsigned index = 0; index < count; index++)
        weir_scribe_write(scribe, topic,
                          &(struct weir_scribe_record){
                              .key = value, .key_size = strlen(value), .value = value, .value_size = strlen(value)});
}

static enum weir_outcome check_kept(struct weir_subject *subject, struct weir_message *message)
{
    if (weir_message_value_size(message) != 4 || memcmp(weir_message_value(message), "kept", 4) != 0)
        atomic_fetch_add(&subject->wrong, 1);
    return WEIR_ACK;
}

Test(broker_records, aborted_transactions_are_not_seen_and_commits_reach_the_end_of_the_log)
{
    struct weir_stage stage;
    struct weir_scribe scribe;
    struct weir_broker_name id = weir_broker_name("transactional");
    weir_stage_set(&stage, 1, 0);
    weir_scribe_open(&scribe, (const char *const[]){"transactional.id", id.text, NULL});
    for (unsigned round = 0; round < 2; round++) {
        weir_scribe_begin(&scribe);
        write_many(&scribe, stage.topic.text, KEPT, "kept");
        weir_scribe_commit(&scribe);
        weir_scribe_begin(&scribe);
        write_many(&scribe, stage.topic.text, DROPPED, "dropped");
        weir_scribe_abort(&scribe);
    }
    weir_scribe_close(&scribe);
    const int64_t end = 2 * (KEPT + 1 + DROPPED + 1);     /* a control record for each transaction */
    WEIR_BROKER_UNTIL(weir_stage_log_end(&stage) == end); /* the coordinator writes the last one after its answer */

    struct weir_subject subject = {.rule = check_kept};
    weir_subject_start(&subject, WEIR_STAGE_SETTINGS(&stage, "isolation.level", "read_committed"));
    WEIR_BROKER_UNTIL(weir_stage_committed(&stage) == end);
    cr_assert_eq(weir_subject_stats(&subject).counters.acked, 2u * KEPT);
    cr_assert_eq(weir_subject_partition(&subject, stage.topic.text, 0).in_flight, 0u);
    cr_assert_eq(weir_subject_close(&subject), WEIR_OK, "%s", subject.closed_error.text);
    cr_assert_eq(atomic_load(&subject.wrong), 0u);
    weir_subject_destroy(&subject);
    weir_stage_clear(&stage);
}
