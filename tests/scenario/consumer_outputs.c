/*
 * Outputs through librdkafka: they arrive as emitted, in the order of their key, once where nothing is refused; what
 * the broker refuses fails the run; handlers on other threads emit too.
 */
#include "tests/scenario/scene.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/output.h>

enum { MESSAGES = 600, KEYS = 30, OUT_PARTITIONS = 3 };

static const char OUT[] = "invoices";

/* Two outputs under the key of the message: its value, and that with a plus. */
static int emit_both(struct weir_message *message)
{
    char text[32];
    int size = snprintf(text, sizeof text, "%.*s+", (int)weir_message_value_size(message),
                        (const char *)weir_message_value(message));
    struct weir_output output = {.topic = OUT,
                                 .key = weir_message_key(message),
                                 .key_size = weir_message_key_size(message),
                                 .value = text,
                                 .value_size = (size_t)size - 1};
    int result = weir_emit(message, &output);
    output.value_size++;
    return result == 0 ? weir_emit(message, &output) : result;
}

static enum weir_outcome emit_and_fail_some(struct weir_subject *subject, struct weir_message *message)
{
    if (emit_both(message) != 0)
        atomic_fetch_add(&subject->wrong, 1);
    bool fails = weir_message_offset(message) % 20 == 3 && weir_message_attempt(message) == 1;
    return fails ? weir_retry_after(message, 20, "HTTP 503") : WEIR_ACK;
}

/* ---- reading back ---- */

struct found {
    unsigned count[2 * MESSAGES]; /* by number, and whether there is a plus */
    int last[KEYS];               /* number of 2 * message + plus that came last; -1: none */
    uint64_t disorder, records;
};

static void note(struct found *found, const rd_kafka_message_t *message)
{
    char text[32];
    snprintf(text, sizeof text, "%.*s", (int)message->len, (const char *)message->payload);
    int number = atoi(text), place = 2 * number + (strchr(text, '+') != NULL), key = number % KEYS;
    cr_assert(number >= 0 && number < MESSAGES);
    if (found->count[place]++ == 0) {
        found->disorder += found->last[key] > place;
        found->last[key] = place;
    }
    found->records++;
}

static void read_back(struct weir_scene *scene, struct found *found)
{
    char text[256];
    int64_t there = 0;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", weir_mock_bootstrap(scene->mock), text, sizeof text);
    rd_kafka_conf_set(conf, "group.id", "reader", text, sizeof text);
    rd_kafka_conf_set(conf, "fetch.wait.max.ms", "10", text, sizeof text);
    rd_kafka_t *kafka = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text);
    cr_assert_not_null(kafka, "%s", text);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(OUT_PARTITIONS);
    for (int partition = 0; partition < OUT_PARTITIONS; partition++) {
        rd_kafka_topic_partition_list_add(list, OUT, partition)->offset = 0;
        there += weir_mock_end_offset(scene->mock, OUT, partition);
    }
    cr_assert_eq(rd_kafka_assign(kafka, list), RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_topic_partition_list_destroy(list);
    *found = (struct found){0};
    memset(found->last, 0xff, sizeof found->last);
    while (found->records < (uint64_t)there) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(kafka, WEIR_TEST_WAIT_MS);
        cr_assert(message != NULL && !message->err);
        note(found, message);
        rd_kafka_message_destroy(message);
    }
    rd_kafka_consumer_close(kafka);
    rd_kafka_destroy(kafka);
}

static void check_each_once(struct weir_scene *scene)
{
    struct found found;
    read_back(scene, &found);
    cr_assert_eq(found.records, 2u * MESSAGES);
    cr_assert_eq(found.disorder, 0u);
    for (unsigned place = 0; place < 2 * MESSAGES; place++)
        cr_assert_eq(found.count[place], 1, "output %u of message %u is there %u times", place % 2, place / 2,
                     found.count[place]);
}

/* ---- tests ---- */

/* One request at a time: the mock cluster does not look at the sequence numbers of a producer without transactions, and
 * so takes the request behind one that it has refused. librdkafka concludes that the first was written too, and reports
 * it as delivered; a broker would have refused both. */
Test(consumer_outputs, arrive_once_and_in_the_order_of_their_key_and_those_of_failed_runs_do_not)
{
    struct weir_scene scene;
    weir_scene_set(&scene, 1, emit_and_fail_some, NULL);
    weir_mock_topic_create(scene.mock, OUT, OUT_PARTITIONS);
    weir_scene_put_many(&scene, 0, MESSAGES, KEYS);
    weir_mock_fail(scene.mock, WEIR_MOCK_PRODUCE, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, 2);
    WEIR_SCENE_START(&scene, "linger.ms", "0", "max.in.flight.requests.per.connection", "1");
    WEIR_SCENE_UNTIL(weir_scene_committed(&scene, 1) == MESSAGES);
    struct weir_stats stats = weir_subject_stats(&scene.subject);
    cr_assert_eq(stats.counters.outputs_sent, 2u * MESSAGES);
    cr_assert_eq(stats.counters.outputs_dropped, 2u * MESSAGES / 20);
    cr_assert_eq(weir_subject_close(&scene.subject), WEIR_OK, "%s", scene.subject.closed_error.text);
    cr_assert(weir_subject_adds_up(&scene.subject));
    check_each_once(&scene);
    weir_scene_check(&scene, true);
    weir_scene_clear(&scene);
}

/* The mock cluster carries transactions out, without their meaning: nothing is hidden, and no offset is committed. */
Test(consumer_outputs, arrive_in_transactions)
{
    struct weir_scene scene;
    weir_scene_set(&scene, 1, emit_and_fail_some, NULL);
    weir_mock_topic_create(scene.mock, OUT, OUT_PARTITIONS);
    weir_scene_put_many(&scene, 0, MESSAGES, KEYS);
    WEIR_SCENE_START(&scene, "linger.ms", "0", "weir.delivery", "exactly-once", "weir.transaction.interval.ms", "5");
    WEIR_SCENE_UNTIL(weir_subject_stats(&scene.subject).counters.acked == MESSAGES);
    struct weir_stats stats = weir_subject_stats(&scene.subject);
    cr_assert_eq(stats.counters.outputs_sent, 2u * MESSAGES);
    cr_assert_gt(stats.commits, MESSAGES / KEYS - 1);
    cr_assert_eq(weir_subject_close(&scene.subject), WEIR_OK, "%s", scene.subject.closed_error.text);
    cr_assert(weir_subject_adds_up(&scene.subject));
    check_each_once(&scene);
    weir_scene_clear(&scene);
}

/* ---- from other threads ---- */

struct holder {
    struct weir_subject *subject;
    struct weir_later later;
};

static void *emit_and_finish(void *argument)
{
    struct holder *holder = argument;
    weir_test_sleep_us(1000);
    if (emit_both(holder->later.message) != 0)
        atomic_fetch_add(&holder->subject->wrong, 1);
    weir_subject_finish(holder->subject, holder->later, WEIR_ACK);
    free(holder);
    return NULL;
}

static enum weir_outcome hand_over(struct weir_subject *subject, struct weir_message *message)
{
    pthread_t thread;
    struct holder *holder = malloc(sizeof *holder);
    if (!holder)
        return WEIR_RETRY;
    *holder = (struct holder){subject, weir_message_later(message)};
    if (pthread_create(&thread, NULL, emit_and_finish, holder) != 0) {
        free(holder);
        return WEIR_RETRY;
    }
    pthread_detach(thread);
    return WEIR_LATER;
}

Test(consumer_outputs, are_emitted_by_holders_of_handles_on_threads_of_their_own)
{
    struct weir_scene scene;
    weir_scene_set(&scene, 1, hand_over, NULL);
    weir_mock_topic_create(scene.mock, OUT, OUT_PARTITIONS);
    weir_scene_put_many(&scene, 0, MESSAGES, KEYS);
    WEIR_SCENE_START(&scene, "linger.ms", "0");
    WEIR_SCENE_UNTIL(weir_scene_committed(&scene, 1) == MESSAGES);
    cr_assert_eq(weir_subject_close(&scene.subject), WEIR_OK, "%s", scene.subject.closed_error.text);
    check_each_once(&scene);
    weir_scene_check(&scene, true);
    weir_scene_clear(&scene);
}

/* ---- what can never be sent ---- */

static enum weir_outcome emit_what_cannot_be(struct weir_subject *subject, struct weir_message *message)
{
    static char large[20000];
    struct weir_output output = {.topic = OUT, .value = large, .value_size = 10, .has_partition = 1, .partition = 0};
    if (weir_scene_is(message, "7"))
        output.partition = OUT_PARTITIONS;
    if (weir_scene_is(message, "8"))
        output.value_size = sizeof large;
    if (weir_emit(message, &output) != 0)
        atomic_fetch_add(&subject->wrong, 1);
    return WEIR_ACK;
}

Test(consumer_outputs, that_can_never_be_sent_bring_their_message_into_the_dead_letter_topic)
{
    struct weir_scene scene;
    weir_scene_set(&scene, 1, emit_what_cannot_be, NULL);
    weir_mock_topic_create(scene.mock, OUT, OUT_PARTITIONS);
    weir_scene_put_many(&scene, 0, 20, 20);
    WEIR_SCENE_START(&scene, "linger.ms", "0", "message.max.bytes", "10000", "weir.retry.attempts.max", "2",
                     "weir.retry.base.ms", "10");
    WEIR_SCENE_UNTIL(weir_subject_stats(&scene.subject).counters.dead_lettered == 2);
    WEIR_SCENE_UNTIL(weir_scene_committed(&scene, 1) == 20);
    cr_assert_str_eq(weir_scene_letter(&scene, "7", "__dlq.errors.message").text,
                     "output 1 of 1, to topic invoices: unknown topic");
    cr_assert_str_eq(weir_scene_letter(&scene, "8", "__dlq.errors.message").text,
                     "output 1 of 1, to topic invoices: too large");
    cr_assert_str_eq(weir_scene_letter(&scene, "8", "weir.dlq.reason").text, "attempts");
    cr_assert_eq(weir_subject_stats(&scene.subject).counters.outputs_sent, 18u);
    cr_assert_eq(weir_subject_close(&scene.subject), WEIR_OK, "%s", scene.subject.closed_error.text);
    cr_assert_eq(weir_mock_end_offset(scene.mock, OUT, 0), 18);
    weir_scene_clear(&scene);
}
