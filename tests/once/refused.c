/*
 * Goal: an output that its topic never takes costs its own message only: that one ends in the dead letter topic, and
 * all others are seen once. Method: some messages emit what is too large, without a key to a compacted topic, to a
 * topic that denies it by an ACL, or to a partition that there is not; brokers refuse batches as a whole, so others
 * emit to those topics what they take.
 */
#include "tests/once/scene.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/output.h>

enum { MESSAGES = 2000, KEYS = 200, LARGE = 30000 };

static struct weir_broker_name out, tight, compacted, denied;

static enum weir_outcome emit_some_wrongly(struct weir_subject *subject, struct weir_message *message)
{
    static const char large[LARGE];
    char text[48];
    int size = snprintf(text, sizeof text, "%d %lld", (int)weir_message_partition(message),
                        (long long)weir_message_offset(message));
    struct weir_output output = {.topic = out.text,
                                 .key = weir_message_key(message),
                                 .key_size = weir_message_key_size(message),
                                 .value = text,
                                 .value_size = (size_t)size};
    if (weir_message_offset(message) % 3 > 0)
        output.topic = weir_message_offset(message) % 3 == 1 ? tight.text : compacted.text;
    switch (weir_message_offset(message) % 400) {
    case 7:
        output.topic = denied.text;
        break;
    case 113:
        output.topic = tight.text;
        output.value = large;
        output.value_size = sizeof large;
        break;
    case 311:
        output.topic = compacted.text;
        output.key = NULL;
        output.key_size = 0;
        break;
    case 221:
        output.topic = out.text;
        output.has_partition = 1;
        output.partition = 99;
        break;
    default:
        break;
    }
    return weir_emit(message, &output) == 0 ? WEIR_ACK : WEIR_RETRY;
}

/* Nobody may write to the topic. */
static void deny(const char *topic)
{
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", weir_broker_bootstrap(), text, sizeof text);
    rd_kafka_t *kafka = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    cr_assert_not_null(kafka, "%s", text);
    rd_kafka_AclBinding_t *acl =
        rd_kafka_AclBinding_new(RD_KAFKA_RESOURCE_TOPIC, topic, RD_KAFKA_RESOURCE_PATTERN_LITERAL, "User:*", "*",
                                RD_KAFKA_ACL_OPERATION_WRITE, RD_KAFKA_ACL_PERMISSION_TYPE_DENY, text, sizeof text);
    cr_assert_not_null(acl, "%s", text);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(kafka);
    rd_kafka_CreateAcls(kafka, &acl, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, WEIR_BROKER_WAIT_MS);
    cr_assert_not_null(event);
    cr_assert_eq(rd_kafka_event_error(event), RD_KAFKA_RESP_ERR_NO_ERROR, "%s", rd_kafka_event_error_string(event));
    size_t count;
    const rd_kafka_acl_result_t **results =
        rd_kafka_CreateAcls_result_acls(rd_kafka_event_CreateAcls_result(event), &count);
    cr_assert(count == 1 && !rd_kafka_acl_result_error(results[0]), "%s",
              rd_kafka_error_string(rd_kafka_acl_result_error(results[0])));
    rd_kafka_event_destroy(event);
    rd_kafka_AclBinding_destroy(acl);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(kafka);
}

struct tally {
    unsigned count[MESSAGES];
    uint64_t again;
};

static void visit(void *user, rd_kafka_message_t *message)
{
    struct tally *tally = user;
    char text[48];
    int partition;
    int64_t offset;
    snprintf(text, sizeof text, "%.*s", (int)message->len, (const char *)message->payload);
    cr_assert_eq(sscanf(text, "%d %" SCNd64, &partition, &offset), 2);
    cr_assert(offset >= 0 && offset < MESSAGES);
    tally->again += tally->count[offset]++ > 0;
}

static void visit_nothing(void *user, rd_kafka_message_t *message)
{
    (void)user, (void)message;
}

Test(exactly_once, an_output_that_its_topic_never_takes_costs_its_own_message_only)
{
    static const char *const small[] = {"max.message.bytes", "10000", NULL};
    static const char *const keyed[] = {"cleanup.policy", "compact", NULL};
    struct weir_stage stage;
    struct tally tally = {0};
    char letters[128];
    weir_broker_start("--set authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer "
                      "--set allow.everyone.if.no.acl.found=true");
    weir_stage_set(&stage, 1, 0);
    out = weir_broker_name("out");
    tight = weir_broker_name("tight");
    compacted = weir_broker_name("compacted");
    denied = weir_broker_name("denied");
    weir_broker_topic_create(out.text, 2, NULL);
    weir_broker_topic_create(tight.text, 1, small);
    weir_broker_topic_create(compacted.text, 1, keyed);
    weir_broker_topic_create(denied.text, 1, NULL);
    snprintf(letters, sizeof letters, "%s.dlq", stage.topic.text);
    weir_broker_topic_create(letters, 1, NULL);
    deny(denied.text);
    weir_stage_produce(&stage, MESSAGES, KEYS);
    struct weir_subject subject = {.rule = emit_some_wrongly};
    weir_subject_start(&subject, WEIR_STAGE_SETTINGS(&stage, "weir.delivery", "exactly-once", "linger.ms", "1",
                                                     "weir.retry.attempts.max", "2", "weir.retry.base.ms", "10",
                                                     "weir.transaction.interval.ms", "50"));
    WEIR_BROKER_UNTIL(weir_stage_committed(&stage) == weir_stage_log_end(&stage));
    struct weir_stats stats = weir_subject_stats(&subject);
    cr_assert_eq(weir_subject_close(&subject), WEIR_OK, "%s", subject.closed_error.text);
    cr_assert(weir_subject_adds_up(&subject));
    weir_subject_destroy(&subject);
    uint64_t seen = weir_broker_read(out.text, visit, &tally) + weir_broker_read(tight.text, visit, &tally) +
                    weir_broker_read(compacted.text, visit, &tally);
    uint64_t dead = weir_broker_read(letters, visit_nothing, NULL);
    fprintf(stderr,
            "exactly once, refused outputs: %d messages, %" PRIu64 " outputs and %" PRIu64 " letters seen, %" PRIu64
            " of them again, %" PRIu64 " refusals\n",
            MESSAGES, seen, dead, tally.again, stats.counters.output_failures);
    cr_assert_eq(tally.again, 0u);
    cr_assert_eq(dead, 4u * (MESSAGES / 400));
    cr_assert_eq(seen, MESSAGES - dead);
    cr_assert_eq(stats.counters.output_failures, 2 * dead);
    weir_stage_clear(&stage);
    weir_broker_stop();
}
