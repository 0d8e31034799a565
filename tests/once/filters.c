/*
 * Goal: with weir.delivery=exactly-once what filters leave out is committed past in the transactions of what is
 * handled: of what is skipped a reader of committed messages sees nothing, of what is too old one dead letter, of the
 * rest one output each; also where a consumer is closed in the midst of it and another goes on.
 */
#include "tests/broker/scribe.h"
#include "tests/once/scene.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <weir/output.h>

enum { PARTITIONS = 3, MESSAGES = 6000, KEYS = 90 };
enum kind { WANTED = 0, NOISE, OLD, KINDS };

static struct weir_broker_name out;

static enum kind kind_of(unsigned index)
{
    return index % 4 == 1 ? NOISE : index % 9 == 5 ? OLD : WANTED;
}

static void produce(struct weir_stage *stage)
{
    struct weir_scribe scribe;
    weir_scribe_open(&scribe, NULL);
    for (unsigned index = 0; index < MESSAGES; index++) {
        char key[16], value[16];
        enum kind kind = kind_of(index);
        struct weir_scribe_header type = {"type", kind == NOISE ? "noise" : "order", 5};
        weir_scribe_write(&scribe, stage->topic.text,
                          &(struct weir_scribe_record){
                              .partition = (int32_t)(index % PARTITIONS),
                              .key = key,
                              .key_size = (size_t)snprintf(key, sizeof key, "%u", index % KEYS),
                              .value = value,
                              .value_size = (size_t)snprintf(value, sizeof value, "%u", index),
                              .timestamp_ms = kind == OLD ? ((int64_t)time(NULL) - 7200) * 1000 : 0,
                              .headers = &type,
                              .header_count = 1,
                          });
    }
    weir_scribe_close(&scribe);
}

static enum weir_outcome emit(struct weir_subject *subject, struct weir_message *message)
{
    (void)subject;
    struct weir_output output = {.topic = out.text,
                                 .key = weir_message_key(message),
                                 .key_size = weir_message_key_size(message),
                                 .value = weir_message_value(message),
                                 .value_size = weir_message_value_size(message)};
    return weir_emit(message, &output) == 0 ? WEIR_ACK : WEIR_RETRY;
}

struct tally {
    unsigned count[MESSAGES];
    uint64_t again, of[KINDS];
};

static void visit(void *user, rd_kafka_message_t *message)
{
    struct tally *tally = user;
    char text[16];
    snprintf(text, sizeof text, "%.*s", (int)message->len, (const char *)message->payload);
    unsigned index = (unsigned)atoi(text);
    cr_assert_lt(index, (unsigned)MESSAGES);
    tally->again += tally->count[index]++ > 0;
    tally->of[kind_of(index)]++;
}

static void start(struct weir_subject *subject, const struct weir_stage *stage)
{
    weir_subject_start(subject, WEIR_STAGE_SETTINGS(stage, "weir.delivery", "exactly-once", "linger.ms", "1",
                                                    "weir.filter.header", "type!=noise", "weir.filter.ttl.ms",
                                                    "3600000", "weir.filter.expired", "dead", "weir.dlq.budget.burst",
                                                    "0", "weir.transaction.interval.ms", "50"));
}

Test(exactly_once, what_filters_leave_out_is_committed_with_the_rest_and_seen_as_it_should)
{
    struct weir_stage stage;
    static struct tally outputs, letters;
    char letter_topic[128];
    uint64_t due[KINDS] = {0};
    for (unsigned index = 0; index < MESSAGES; index++)
        due[kind_of(index)]++;
    weir_stage_set(&stage, PARTITIONS, 0);
    out = weir_broker_name("out");
    weir_broker_topic_create(out.text, 2, NULL);
    snprintf(letter_topic, sizeof letter_topic, "%.100s.dlq", stage.topic.text);
    weir_broker_topic_create(letter_topic, 1, NULL);
    produce(&stage);
    struct weir_subject first = {.rule = emit}, second = first;
    start(&first, &stage);
    WEIR_BROKER_UNTIL(weir_stage_committed(&stage) > MESSAGES / 10);
    int code = weir_subject_close(&first);
    cr_assert(code == WEIR_OK || code == WEIR_UNFINISHED, "%s", first.closed_error.text);
    start(&second, &stage);
    WEIR_BROKER_UNTIL(weir_stage_committed(&stage) == MESSAGES);
    cr_assert_eq(weir_subject_close(&second), WEIR_OK, "%s", second.closed_error.text);
    outputs = letters = (struct tally){0};
    weir_broker_read(out.text, visit, &outputs);
    weir_broker_read(letter_topic, visit, &letters);
    struct weir_stats stats[2] = {weir_subject_stats(&first), weir_subject_stats(&second)};
    fprintf(stderr,
            "exactly once, filters: %" PRIu64 " outputs, %" PRIu64 " letters, %" PRIu64 " left out; %" PRIu64
            " seen again\n",
            outputs.of[WANTED], letters.of[OLD], stats[0].counters.filtered + stats[1].counters.filtered,
            outputs.again + letters.again);
    cr_assert_eq(outputs.again + letters.again, 0u);
    cr_assert_eq(outputs.of[WANTED], due[WANTED]);
    cr_assert_eq(outputs.of[NOISE] + outputs.of[OLD], 0u);
    cr_assert_eq(letters.of[OLD], due[OLD]);
    cr_assert_eq(letters.of[NOISE] + letters.of[WANTED], 0u);
    cr_assert_geq(stats[0].counters.filtered + stats[1].counters.filtered, due[NOISE]);
    weir_subject_destroy(&first);
    weir_subject_destroy(&second);
    weir_broker_topic_delete(out.text);
    weir_broker_topic_delete(letter_topic);
    weir_stage_clear(&stage);
}
