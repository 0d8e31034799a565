/*
 * Outputs, one by one: what is sent and what is not, what waits for whom, and what a refusal does. One process, and the
 * faults that the test says. That nothing is lost under all faults at once is shown by tests/sim/consumer.c.
 */
#include "actors/consumer.h"
#include "actors/output.h"
#include "runtime/memory.h"
#include "tests/sim/consumer_own.h"
#include "tests/support/test.h"
#include <stdio.h>
#include <string.h>
#include <weir/log.h>
#include <weir/output.h>

#define SECOND     WEIR_WORLD_SECOND
#define TEXT(text) .value = (text), .value_size = strlen(text)

static struct weir_own own;
static enum weir_outcome (*rule)(struct weir_message *message);
static char warned[512]; /* the last warning */
static bool eager;       /* of the next world */

static void on_log(void *user, enum weir_log_level level, const char *text, const struct weir_log_field *fields,
                   size_t field_count)
{
    if (level == WEIR_LOG_WARN)
        snprintf(warned, sizeof warned, "%s", text);
}

static enum weir_outcome on_message(struct weir_message *message, void *user)
{
    uint64_t run;
    weir_own_begin(message, user, &run);
    enum weir_outcome outcome = rule(message);
    if (outcome != WEIR_LATER)
        weir_world_end(user, run, outcome);
    return outcome;
}

/* Two keys in one partition, none but this topic, which is made by nobody but the test. */
static struct weir_world *make(enum weir_outcome (*its_rule)(struct weir_message *), const char *const *options,
                               bool at_most_once)
{
    weir_log_set(on_log, NULL, WEIR_LOG_WARN);
    warned[0] = '\0';
    rule = its_rule;
    own = (struct weir_own){on_message, options};
    struct weir_world *world = weir_world_create(&(struct weir_world_settings){.seed = 3,
                                                                               .partitions = 1,
                                                                               .keys = 2,
                                                                               .eager = eager,
                                                                               .floor_unchecked = at_most_once,
                                                                               .driver = &weir_own_driver,
                                                                               .driver_data = &own});
    weir_fake_topic_create(weir_world_cluster(world), "out", 2);
    return world;
}

/* All that lies in the topic: values, in the order of partition 0 and then 1, each with a space behind it. */
static const char *written(struct weir_world *world)
{
    static char text[1024];
    size_t used = 0;
    struct weir_fake_record record;
    for (int32_t partition = 0; partition < 2; partition++) {
        for (int64_t offset = 0; weir_fake_read(weir_world_cluster(world), "out", partition, offset, &record); offset++)
            used += (size_t)snprintf(text + used, sizeof text - used, "%.*s ", (int)record.value_size,
                                     (const char *)record.value);
    }
    text[used] = '\0';
    return text;
}

static int64_t committed(struct weir_world *world)
{
    return weir_fake_committed(weir_world_cluster(world), "group", "orders", 0).offset;
}

/* To partition 0 of the topic. */
static int emit_text(struct weir_message *message, const char *text)
{
    return weir_emit(message, &(struct weir_output){.topic = "out", .has_partition = 1, TEXT(text)});
}

/* ---- what is sent ---- */

static enum weir_outcome emit_each_run(struct weir_message *message)
{
    char text[32];
    snprintf(text, sizeof text, "%d.%u", (int)weir_message_offset(message), weir_message_attempt(message));
    cr_assert_eq(emit_text(message, text), 0);
    switch (weir_message_offset(message)) {
    case 0:
        return weir_message_attempt(message) < 3 ? WEIR_RETRY : WEIR_ACK;
    case 1:
        return weir_dead(message, "no");
    case 2:
        return WEIR_SKIP;
    default:
        return WEIR_ACK;
    }
}

Test(outputs, of_runs_that_failed_are_never_sent_and_those_of_acks_and_skips_are)
{
    struct weir_world *world = make(emit_each_run, NULL, false);
    for (unsigned count = 0; count < 4; count++)
        weir_world_append(world, "orders", 0, 0);
    weir_world_start(world);
    cr_assert(weir_world_run_until_finished(world, 60 * SECOND));
    weir_world_run(world, 5 * SECOND);
    cr_assert_str_eq(written(world), "0.3 2.1 3.1 ");
    struct weir_stats stats = weir_own_stats();
    cr_assert_eq(stats.counters.outputs_sent, 3);
    cr_assert_eq(stats.counters.outputs_dropped, 3);
    cr_assert_eq(stats.counters.output_failures, 0);
    cr_assert_eq(stats.counters.acked, 2);
    cr_assert_eq(stats.counters.skipped, 1);
    cr_assert_eq(stats.in_flight_bytes, 0);
    weir_own_close_world(world);
}

static enum weir_outcome emit_all_there_is(struct weir_message *message)
{
    static const struct weir_output_header headers[] = {{"a", "1", 1}, {"null", NULL, 0}, {"a", "", 0}};
    const struct weir_output whole = {.topic = "out",
                                      .key = "k\0y",
                                      .key_size = 3,
                                      .value = "v\0",
                                      .value_size = 2,
                                      .timestamp_ms = 1700000000123,
                                      .headers = headers,
                                      .header_count = 3,
                                      .has_partition = 1,
                                      .partition = 1};
    const struct weir_output nulls = {.topic = "out", .has_partition = 1, .partition = 1};
    const struct weir_output empties = {.topic = "out", .key = "", .value = "", .has_partition = 1, .partition = 1};
    cr_assert_eq(weir_emit(message, &whole) + weir_emit(message, &nulls) + weir_emit(message, &empties), 0);
    return WEIR_ACK;
}

Test(outputs, come_into_the_log_as_they_were_emitted)
{
    struct weir_world *world = make(emit_all_there_is, NULL, false);
    struct weir_fake_record record;
    weir_world_append(world, "orders", 0, 0);
    weir_world_start(world);
    weir_world_run(world, 10 * SECOND);
    cr_assert(weir_fake_read(weir_world_cluster(world), "out", 1, 0, &record));
    cr_assert(record.key_size == 3 && memcmp(record.key, "k\0y", 3) == 0);
    cr_assert(record.value_size == 2 && memcmp(record.value, "v\0", 2) == 0);
    cr_assert_eq(record.timestamp_ms, 1700000000123);
    cr_assert_eq(record.header_count, 3);
    cr_assert_str_eq(record.headers[0].name, "a");
    cr_assert(record.headers[0].value_size == 1 && *(const char *)record.headers[0].value == '1');
    cr_assert_str_eq(record.headers[1].name, "null");
    cr_assert_null(record.headers[1].value);
    cr_assert(record.headers[2].value && record.headers[2].value_size == 0);
    cr_assert(weir_fake_read(weir_world_cluster(world), "out", 1, 1, &record));
    cr_assert(!record.key && !record.value && record.header_count == 0 && record.timestamp_ms > 1700000000123);
    cr_assert(weir_fake_read(weir_world_cluster(world), "out", 1, 2, &record));
    cr_assert(record.key && record.value && record.key_size == 0 && record.value_size == 0);
    weir_own_close_world(world);
}

static struct weir_later kept;

static enum weir_outcome give_out(struct weir_message *message)
{
    cr_assert_eq(emit_text(message, "handler"), 0);
    kept = weir_message_later(message);
    return WEIR_LATER;
}

Test(outputs, may_be_emitted_by_whoever_holds_the_handle_until_it_is_finished)
{
    struct weir_world *world = make(give_out, NULL, false);
    weir_world_append(world, "orders", 0, 0);
    struct weir_world_process *process = weir_world_start(world);
    weir_world_run(world, 10 * SECOND);
    cr_assert_str_eq(written(world), "");
    cr_assert_eq(emit_text(kept.message, "holder"), 0);
    weir_world_end(process, 0, WEIR_ACK);
    cr_assert_eq(weir_later_finish(kept, WEIR_ACK), 0);
    weir_world_run(world, 10 * SECOND);
    cr_assert_str_eq(written(world), "handler holder ");
    cr_assert_eq(committed(world), 1);
    weir_own_close_world(world);
}

Test(outputs, of_a_holder_whose_partition_has_left_are_stale_and_none_is_sent)
{
    struct weir_world *world = make(give_out, NULL, false);
    weir_world_append(world, "orders", 0, 0);
    struct weir_world_process *process = weir_world_start(world);
    weir_world_run(world, 10 * SECOND);
    struct weir_later mine = kept;
    weir_fake_client_fence(weir_world_kafka(process));
    weir_world_run(world, 2 * SECOND);
    cr_assert_eq(emit_text(mine.message, "holder"), WEIR_STALE);
    weir_world_end(process, 0, WEIR_ACK);
    cr_assert_eq(weir_later_finish(mine, WEIR_ACK), WEIR_STALE);
    weir_world_run(world, 1 * SECOND);
    cr_assert_str_eq(written(world), "");
    weir_world_crash(process); /* the message is out again */
    weir_world_destroy(world);
}

/* ---- what waits ---- */

static enum weir_outcome emit_offset(struct weir_message *message)
{
    char text[32];
    snprintf(text, sizeof text, "%d", (int)weir_message_offset(message));
    if (weir_message_key_size(message) == 2 && memcmp(weir_message_key(message), "k0", 2) == 0)
        cr_assert_eq(emit_text(message, text), 0);
    return WEIR_ACK;
}

Test(outputs, hold_their_key_and_the_commit_until_the_broker_has_them_and_nobody_else)
{
    struct weir_world *world = make(emit_offset, NULL, false);
    struct weir_world_process *process = weir_world_start(world);
    weir_world_run(world, 5 * SECOND);
    weir_fake_fail(weir_world_kafka(process), WEIR_FAKE_PRODUCE, WEIR_KAFKA_RETRIABLE, 3, false);
    for (unsigned count = 0; count < 20; count++)
        weir_world_append(world, "orders", 0, count % 2);
    weir_world_run(world, 3 * SECOND / 2);
    cr_assert_eq(committed(world), 0);
    cr_assert_eq(weir_own_stats().counters.acked, 10, "another key waits as well");
    cr_assert_eq(weir_own_stats().held, 10);
    weir_world_run(world, 10 * SECOND);
    cr_assert_str_eq(written(world), "0 2 4 6 8 10 12 14 16 18 ");
    cr_assert_eq(committed(world), 20);
    cr_assert_eq(weir_own_stats().counters.output_failures, 3);
    cr_assert_eq(weir_world_tally(world)->runs, 20, "a handler ran again");
    weir_own_close_world(world);
}

static enum weir_outcome emit_three(struct weir_message *message)
{
    cr_assert_eq(emit_text(message, "a") + emit_text(message, "b") + emit_text(message, "c"), 0);
    return WEIR_ACK;
}

Test(outputs, that_were_acknowledged_are_not_sent_again_with_one_that_was_not)
{
    struct weir_world *world = make(emit_three, NULL, false);
    struct weir_world_process *process = weir_world_start(world);
    weir_world_run(world, 5 * SECOND);
    weir_fake_fail(weir_world_kafka(process), WEIR_FAKE_PRODUCE, WEIR_KAFKA_RETRIABLE, 1, false);
    weir_world_append(world, "orders", 0, 0);
    weir_world_run(world, 10 * SECOND);
    cr_assert_str_eq(written(world), "b c a ");
    weir_own_close_world(world);
}

static enum weir_outcome emit_large(struct weir_message *message)
{
    static char value[100000];
    const struct weir_output output = {.topic = "out", .has_partition = 1, .value = value, .value_size = sizeof value};
    cr_assert_eq(weir_emit(message, &output), 0);
    return WEIR_ACK;
}

Test(outputs, count_against_the_window_until_the_broker_has_them)
{
    static const char *const options[] = {"weir.ordering", "none", "weir.window.bytes.max", "1000000", NULL};
    struct weir_world *world = make(emit_large, options, false);
    struct weir_world_process *process = weir_world_start(world);
    weir_world_run(world, 5 * SECOND);
    weir_fake_fail(weir_world_kafka(process), WEIR_FAKE_PRODUCE, WEIR_KAFKA_RETRIABLE, 1000, false);
    for (unsigned count = 0; count < 400; count++)
        weir_world_append(world, "orders", 0, 0);
    weir_world_run(world, 3 * SECOND);
    struct weir_stats stats = weir_own_stats();
    cr_assert(stats.pause & WEIR_PAUSE_WINDOW);
    cr_assert_lt(stats.counters.consumed, 400);
    cr_assert_geq(stats.in_flight_bytes, 1000000);
    weir_fake_fail(weir_world_kafka(process), WEIR_FAKE_PRODUCE, WEIR_KAFKA_NONE, 0, false);
    cr_assert(weir_world_run_until_finished(world, 60 * SECOND));
    weir_world_run(world, 5 * SECOND);
    cr_assert_eq(weir_own_stats().in_flight_bytes, 0);
    cr_assert_eq(committed(world), 400);
    weir_own_close_world(world);
}

Test(outputs, that_are_refused_close_the_intake_for_a_reason_of_their_own)
{
    static const char *const options[] = {"weir.ordering", "none", "weir.held.messages.max", "5", NULL};
    struct weir_world *world = make(emit_offset, options, false);
    struct weir_world_process *process = weir_world_start(world);
    weir_world_run(world, 5 * SECOND);
    weir_fake_fail(weir_world_kafka(process), WEIR_FAKE_PRODUCE, WEIR_KAFKA_RETRIABLE, 1000, false);
    for (unsigned count = 0; count < 40; count++) {
        weir_world_append(world, "orders", 0, 0);
        weir_world_run(world, SECOND / 5);
    }
    cr_assert_eq(weir_own_stats().pause, WEIR_PAUSE_OUTPUT);
    cr_assert_lt(weir_own_stats().counters.consumed, 40);
    weir_fake_fail(weir_world_kafka(process), WEIR_FAKE_PRODUCE, WEIR_KAFKA_NONE, 0, false);
    cr_assert(weir_world_run_until_finished(world, 60 * SECOND));
    cr_assert_eq(weir_own_stats().counters.dead_lettered, 0, "a message was given up for what brokers refused");
    weir_own_close_world(world);
}

Test(outputs, wait_for_a_place_where_the_producers_queue_is_full)
{
    struct weir_world *world = make(emit_three, NULL, false);
    weir_fake_settings(weir_world_cluster(world))->produce_queue_max = 1;
    for (unsigned count = 0; count < 2; count++)
        weir_world_append(world, "orders", 0, (int)count);
    weir_world_start(world);
    cr_assert(weir_world_run_until_finished(world, 60 * SECOND));
    weir_world_run(world, 10 * SECOND);
    cr_assert_eq(weir_own_stats().counters.outputs_sent, 6);
    cr_assert_eq(weir_own_stats().counters.output_failures, 0);
    cr_assert_eq(strlen(written(world)), 6 * 2);
    weir_own_close_world(world);
}

/* ---- what can never be sent ---- */

static enum weir_outcome emit_to_nowhere(struct weir_message *message)
{
    const struct weir_output nowhere = {.topic = "nowhere", TEXT("x")};
    const struct weir_output beyond = {.topic = "out", .has_partition = 1, .partition = 7, TEXT("x")};
    cr_assert_eq(weir_emit(message, weir_message_offset(message) == 0 ? &nowhere : &beyond), 0);
    return WEIR_ACK;
}

/* Of the letter of the message at this offset, all of which have one partition. */
static const char *letter_reason(struct weir_world *world, int64_t offset)
{
    static char text[256];
    struct weir_fake_record record;
    cr_assert(weir_fake_read(weir_world_cluster(world), "orders.dlq", 0, offset, &record));
    for (size_t index = 0; index < record.header_count; index++) {
        if (strcmp(record.headers[index].name, "__dlq.errors.message") == 0)
            snprintf(text, sizeof text, "%.*s", (int)record.headers[index].value_size,
                     (const char *)record.headers[index].value);
    }
    return text;
}

Test(outputs, that_can_never_be_sent_fail_their_run_and_the_letter_says_which)
{
    static const char *const options[] = {"weir.retry.attempts.max", "3", NULL};
    struct weir_world *world = make(emit_to_nowhere, options, false);
    weir_fake_settings(weir_world_cluster(world))->auto_create = false;
    weir_fake_topic_create(weir_world_cluster(world), "orders.dlq", 1);
    weir_world_append(world, "orders", 0, 0);
    weir_world_append(world, "orders", 0, 0);
    weir_world_start(world);
    weir_world_run(world, 60 * SECOND);
    struct weir_stats stats = weir_own_stats();
    cr_assert_eq(stats.counters.acked, 0);
    cr_assert_eq(stats.counters.retries, 6);
    cr_assert_eq(stats.counters.dead_lettered, 2);
    cr_assert_eq(stats.counters.output_failures, 6);
    cr_assert_eq(stats.in_flight_bytes, 0);
    cr_assert_str_eq(letter_reason(world, 0), "output 1 of 1, to topic nowhere: unknown topic");
    cr_assert_str_eq(letter_reason(world, 1), "output 1 of 1, to topic out: unknown topic");
    cr_assert_eq(committed(world), 2);
    weir_world_destroy(world); /* the world does not know that an ack may come to nothing */
}

/* ---- bounds and refusals of the call ---- */

#define refused(code, words, ...)                                                               \
    do {                                                                                        \
        struct weir_output output_ = {.topic = "out", ##__VA_ARGS__};                           \
        weir_own_consumer()->emit_logged_ns = 0;                                                \
        cr_assert_eq(weir_emit(message, &output_), (code));                                     \
        cr_assert(strstr(warned, words) && strstr(warned, weir_code_name(code)), "%s", warned); \
    } while (0)

static enum weir_outcome emit_wrongly(struct weir_message *message)
{
    static const struct weir_output_header no_name[] = {{NULL, "x", 1}}, no_value[] = {{"name", NULL, 3}};
    char long_topic[251];
    memset(long_topic, 'a', 250);
    long_topic[250] = '\0';
    cr_assert_eq(weir_emit(NULL, &(struct weir_output){.topic = "out"}), WEIR_INVALID);
    cr_assert_eq(weir_emit(message, NULL), WEIR_INVALID);
    cr_assert_eq(weir_emit(message, &(struct weir_output){0}), WEIR_INVALID);
    const char *const topics[] = {"", ".", "..", "a b", "a/b", "\xc3\xa4", long_topic};
    for (size_t index = 0; index < sizeof topics / sizeof *topics; index++) {
        weir_own_consumer()->emit_logged_ns = 0;
        cr_assert_eq(weir_emit(message, &(struct weir_output){.topic = topics[index]}), WEIR_INVALID);
        cr_assert(strstr(warned, "must be 1..249 letters"), "%s", warned);
    }
    refused(WEIR_INVALID, "partition=-1: must not be negative", .has_partition = 1, .partition = -1);
    refused(WEIR_INVALID, "timestamp_ms=-1: must not be negative", .timestamp_ms = -1);
    refused(WEIR_INVALID, "key_size=5, and the key is NULL", .key_size = 5);
    refused(WEIR_INVALID, "value_size=5, and the value is NULL", .value_size = 5);
    refused(WEIR_INVALID, "header_count=1, and the headers are NULL", .header_count = 1);
    refused(WEIR_INVALID, "header 0: its name is NULL", .headers = no_name, .header_count = 1);
    refused(WEIR_INVALID, "header name: value_size=3, and the value is NULL", .headers = no_value, .header_count = 1);
    refused(WEIR_FULL, "weir.output.bytes.max=4096", .value = "x", .value_size = SIZE_MAX);
    refused(WEIR_FULL, "weir.output.bytes.max=4096", .value = "x", .value_size = SIZE_MAX, .key = "x",
            .key_size = SIZE_MAX);
    refused(WEIR_FULL, "weir.output.bytes.max=4096", .value = warned, .value_size = 4000);
    cr_assert_eq(message->outputs, NULL, "what is refused leaves nothing behind");
    weir_memory_fail_after(0);
    refused(WEIR_NO_MEMORY, "no memory for an output");
    weir_memory_fail_after(1);
    refused(WEIR_NO_MEMORY, "no memory for an output");
    weir_memory_fail_after(UINT64_MAX);
    cr_assert_eq(emit_text(message, "1") + emit_text(message, "2"), 0);
    refused(WEIR_FULL, "weir.output.messages.max=2");
    warned[0] = '\0';
    cr_assert_eq(weir_emit(message, &(struct weir_output){.topic = "out"}), WEIR_FULL);
    cr_assert_str_eq(warned, "", "said twice in a second");
    return WEIR_ACK;
}

Test(outputs, that_are_refused_are_not_added_and_the_log_says_why)
{
    static const char *const options[] = {"weir.output.messages.max", "2", "weir.output.bytes.max", "4096", NULL};
    struct weir_world *world = make(emit_wrongly, options, false);
    weir_world_append(world, "orders", 0, 0);
    weir_world_start(world);
    weir_world_run(world, 10 * SECOND);
    cr_assert_str_eq(written(world), "1 2 ");
    cr_assert_eq(committed(world), 1);
    weir_own_close_world(world);
}

/* ---- the end of an epoch ---- */

static struct weir_fake_settings *network;

/* From now on everything takes so long, the delivery of what is emitted here with it. */
static void slow_down(uint64_t latency_ns)
{
    network->latency_ns_min = network->latency_ns_max = latency_ns;
}

static enum weir_outcome emit_slowly(struct weir_message *message)
{
    if (message->epoch == 1)
        slow_down(2 * SECOND);
    return emit_text(message, "x") == 0 ? WEIR_ACK : WEIR_RETRY;
}

/* A world in which the only message has run, and its output is on its way. */
static struct weir_world_process *emit_and_wait(struct weir_world *world)
{
    network = weir_fake_settings(weir_world_cluster(world));
    struct weir_world_process *process = weir_world_start(world);
    weir_world_append(world, "orders", 0, 0);
    for (unsigned step = 0; weir_world_tally(world)->runs == 0 && step < 1000; step++)
        weir_world_run(world, SECOND / 100);
    weir_world_run(world, SECOND / 100);
    slow_down(SECOND / 1000);
    cr_assert_eq(weir_world_tally(world)->runs, 1);
    cr_assert_str_eq(written(world), "");
    return process;
}

Test(outputs, on_their_way_are_waited_for_when_the_partition_is_revoked)
{
    eager = true; /* a rebalance revokes */
    struct weir_world *world = make(emit_slowly, NULL, false);
    emit_and_wait(world);
    weir_fake_group_rebalance(weir_world_cluster(world), "group");
    weir_world_run(world, 30 * SECOND);
    cr_assert_gt(weir_fake_counts(weir_world_cluster(world))->revokes, 0);
    cr_assert_eq(committed(world), 1);
    cr_assert_eq(weir_world_tally(world)->runs, 1, "its offset was not committed before the answer");
    cr_assert_eq(weir_own_stats().counters.outputs_sent, 1);
    cr_assert_eq(weir_own_stats().counters.stale_dropped, 0);
    weir_own_close_world(world);
}

Test(outputs, that_come_back_after_the_end_of_their_epoch_finish_nothing)
{
    struct weir_world *world = make(emit_slowly, NULL, false);
    struct weir_world_process *process = emit_and_wait(world);
    weir_fake_client_fence(weir_world_kafka(process));
    weir_world_run(world, 60 * SECOND);
    struct weir_stats stats = weir_own_stats();
    cr_assert_eq(weir_world_tally(world)->runs, 2);
    cr_assert_eq(stats.counters.stale_dropped, 1);
    cr_assert_eq(stats.counters.outputs_sent, 2);
    cr_assert_eq(stats.counters.acked, 1);
    cr_assert_eq(committed(world), 1);
    weir_own_close_world(world);
}

/* ---- at most once ---- */

static const char *const at_most_once[] = {"weir.delivery", "at-most-once", NULL};

Test(outputs, at_most_once_are_not_sent_again_when_nobody_knows_whether_they_were_written)
{
    struct weir_world *world = make(emit_three, at_most_once, true);
    struct weir_world_process *process = weir_world_start(world);
    weir_world_run(world, 5 * SECOND);
    weir_fake_fail(weir_world_kafka(process), WEIR_FAKE_PRODUCE, WEIR_KAFKA_RETRIABLE, 1, true);
    weir_world_append(world, "orders", 0, 0);
    weir_world_run(world, 10 * SECOND);
    weir_fake_fail(weir_world_kafka(process), WEIR_FAKE_PRODUCE, WEIR_KAFKA_RETRIABLE, 1, false);
    weir_world_append(world, "orders", 0, 0);
    weir_world_run(world, 10 * SECOND);
    cr_assert_str_eq(written(world), "a b c b c ", "each once, or not at all");
    cr_assert_eq(weir_own_stats().counters.outputs_lost, 2);
    cr_assert_eq(weir_own_stats().counters.outputs_sent, 4);
    cr_assert_eq(weir_own_stats().counters.acked, 2);
    weir_own_close_world(world);
}

Test(outputs, at_most_once_that_can_never_be_sent_bring_a_letter_after_one_run)
{
    struct weir_world *world = make(emit_to_nowhere, at_most_once, true);
    weir_fake_settings(weir_world_cluster(world))->auto_create = false;
    weir_fake_topic_create(weir_world_cluster(world), "orders.dlq", 1);
    weir_world_append(world, "orders", 0, 0);
    weir_world_start(world);
    weir_world_run(world, 20 * SECOND);
    cr_assert_eq(weir_world_tally(world)->runs, 1);
    cr_assert_str_eq(letter_reason(world, 0), "output 1 of 1, to topic nowhere: unknown topic");
    weir_world_destroy(world);
}
