/*
 * Goal: what handlers emit is in its topic before the offset is committed, in the order of each key, whatever happens
 * to the broker; and what the topic does not take fails the one run that emitted it. Method: outputs are read back by a
 * plain consumer and compared with what was produced.
 */
#include "tests/broker/stage.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <weir/output.h>

enum { MESSAGES = 4000, KEYS = 200, PARTITIONS = 2 };

struct found {
    unsigned count[MESSAGES];
    int64_t last[KEYS];
    uint64_t disorder, again, missing;
};

static void visit(void *user, rd_kafka_message_t *message)
{
    struct found *found = user;
    char text[24];
    snprintf(text, sizeof text, "%.*s", (int)message->len, (const char *)message->payload);
    int64_t number = atoll(text);
    cr_assert(number >= 0 && number < MESSAGES);
    if (found->count[number]++ > 0) {
        found->again++;
        return;
    }
    found->disorder += found->last[number % KEYS] > number;
    found->last[number % KEYS] = number;
}

static struct found read_back(const char *topic)
{
    struct found found = {0};
    weir_broker_read(topic, visit, &found);
    for (int number = 0; number < MESSAGES; number++)
        found.missing += found.count[number] == 0;
    return found;
}

static enum weir_outcome emit_value(struct weir_subject *subject, struct weir_message *message)
{
    const struct weir_output output = {.topic = subject->user,
                                       .key = weir_message_key(message),
                                       .key_size = weir_message_key_size(message),
                                       .value = weir_message_value(message),
                                       .value_size = weir_message_value_size(message)};
    return weir_emit(message, &output) == 0 ? WEIR_ACK : WEIR_RETRY;
}

Test(broker_outputs, are_all_there_and_in_order_when_the_broker_goes_down_and_comes_back)
{
    struct weir_stage stage;
    weir_broker_start("");
    weir_stage_set(&stage, PARTITIONS,
                   10 * MESSAGES); /* all of them may run twice where the broker is slow to be back */
    struct weir_broker_name out = weir_broker_name("out");
    weir_broker_topic_create(out.text, PARTITIONS, NULL);
    weir_stage_produce(&stage, MESSAGES, KEYS);
    struct weir_subject subject = {.ledger = stage.ledger, .rule = emit_value, .user = out.text};
    weir_subject_start(&subject, WEIR_STAGE_SETTINGS(&stage, "linger.ms", "0", "reconnect.backoff.max.ms", "500"));
    WEIR_BROKER_UNTIL(weir_subject_stats(&subject).counters.outputs_sent > MESSAGES / 4);
    weir_broker_control("restart");
    WEIR_BROKER_UNTIL(weir_stage_committed(&stage) == MESSAGES);
    struct weir_stats stats = weir_subject_stats(&subject);
    cr_assert_eq(weir_subject_close(&subject), WEIR_OK, "%s", subject.closed_error.text);
    struct found found = read_back(out.text);
    fprintf(stderr, "%d messages, %" PRIu64 " outputs sent, %" PRIu64 " written again, %" PRIu64 " refused\n", MESSAGES,
            stats.counters.outputs_sent, found.again, stats.counters.output_failures);
    cr_assert_eq(found.missing, 0u);
    cr_assert_eq(found.disorder, 0u);
    weir_stage_check(&stage);
    weir_subject_destroy(&subject);
    weir_stage_clear(&stage);
    weir_broker_stop();
}

static int64_t base_ms; /* of the outputs' timestamps */

/* Every tenth emits something else than its value. */
static enum weir_outcome emit_now_and_then(struct weir_subject *subject, struct weir_message *message,
                                           const struct weir_output *wrong)
{
    const struct weir_output output = {.topic = subject->user,
                                       .key = "k",
                                       .key_size = 1,
                                       .value = weir_message_value(message),
                                       .value_size = weir_message_value_size(message),
                                       .timestamp_ms = base_ms + weir_message_offset(message)};
    bool is_wrong = weir_message_offset(message) % 10 == 5;
    return weir_emit(message, is_wrong ? wrong : &output) == 0 ? WEIR_ACK : WEIR_RETRY;
}

static enum weir_outcome emit_large(struct weir_subject *subject, struct weir_message *message)
{
    static const char large[8000] = "0";
    const struct weir_output output = {
        .topic = subject->user, .key = "k", .key_size = 1, .value = large, .value_size = sizeof large};
    return emit_now_and_then(subject, message, &output);
}

static enum weir_outcome emit_without_key(struct weir_subject *subject, struct weir_message *message)
{
    const struct weir_output output = {.topic = subject->user, .value = "0", .value_size = 1};
    return emit_now_and_then(subject, message, &output);
}

static enum weir_outcome emit_of_another_age(struct weir_subject *subject, struct weir_message *message)
{
    const struct weir_output output = {
        .topic = subject->user, .key = "k", .key_size = 1, .value = "0", .value_size = 1, .timestamp_ms = 1};
    return emit_now_and_then(subject, message, &output);
}

static void check_time(void *user, rd_kafka_message_t *message)
{
    rd_kafka_timestamp_type_t type;
    char text[24];
    (void)user;
    snprintf(text, sizeof text, "%.*s", (int)message->len, (const char *)message->payload);
    cr_assert_eq(rd_kafka_message_timestamp(message, &type), base_ms + atoll(text), "number %s has another time", text);
}

/* The broker refuses whole batches, so what is wrong is sent among what is not: linger.ms gathers them. */
static void check_refused(const char *setting, const char *value, weir_subject_rule *rule)
{
    enum { SOME = 100 };
    struct weir_stage stage;
    char letters[128];
    int64_t low, high;
    weir_stage_set(&stage, 1, 2 * SOME);
    struct weir_broker_name out = weir_broker_name("out");
    weir_broker_topic_create(out.text, 1, (const char *const[]){setting, value, NULL});
    snprintf(letters, sizeof letters, "%s.dlq", stage.topic.text);
    weir_broker_topic_create(letters, 1, NULL);
    weir_stage_produce(&stage, SOME, SOME);
    base_ms = ((int64_t)time(NULL) - 60) * 1000;
    struct weir_subject subject = {.rule = rule, .user = out.text};
    weir_subject_start(&subject, WEIR_STAGE_SETTINGS(&stage, "weir.retry.attempts.max", "2", "weir.retry.base.ms", "10",
                                                     "linger.ms", "50"));
    WEIR_BROKER_UNTIL(weir_stage_committed(&stage) == SOME);
    struct weir_stats stats = weir_subject_stats(&subject);
    cr_assert_eq(weir_subject_close(&subject), WEIR_OK, "%s", subject.closed_error.text);
    cr_assert(weir_subject_adds_up(&subject));
    weir_subject_destroy(&subject);
    cr_assert_eq(stats.counters.acked, (uint64_t)(SOME - SOME / 10), "%d acked, %d dead", (int)stats.counters.acked,
                 (int)stats.counters.dead_lettered);
    cr_assert_eq(stats.counters.dead_lettered, (uint64_t)(SOME / 10));
    cr_assert_eq(stats.counters.output_failures, 2u * SOME / 10);
    weir_broker_watermarks(out.text, 0, &low, &high);
    cr_assert_eq(high, SOME - SOME / 10);
    cr_assert_eq(weir_broker_read(out.text, check_time, NULL), (uint64_t)(SOME - SOME / 10));
    weir_broker_watermarks(letters, 0, &low, &high);
    cr_assert_eq(high, SOME / 10);
    weir_broker_topic_delete(letters);
    weir_broker_topic_delete(out.text);
    weir_stage_clear(&stage);
}

Test(broker_outputs, that_are_too_large_for_their_topic_fail_only_the_message_they_are_of)
{
    check_refused("max.message.bytes", "4000", emit_large);
}

Test(broker_outputs, without_a_key_to_a_compacted_topic_fail_only_the_message_they_are_of)
{
    check_refused("cleanup.policy", "compact", emit_without_key);
}

Test(broker_outputs, of_a_time_that_their_topic_does_not_take_fail_only_the_message_they_are_of)
{
    check_refused("message.timestamp.before.max.ms", "3600000", emit_of_another_age);
}
