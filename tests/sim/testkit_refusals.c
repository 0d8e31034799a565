/*
 * The test kit: what it refuses, each with a sentence, and that nothing has happened then.
 */
#include "tests/sim/testkit.h"
#include <stdio.h>
#include <string.h>

static enum weir_outcome ack(struct weir_message *message, void *user)
{
    return WEIR_ACK;
}

/* ---- creation ---- */

/* Of a kit with this option. */
static int created(const char *name, const char *value, struct weir_error *error)
{
    struct weir_config *config = weir_config_create();
    struct weir_error unset;
    cr_assert_eq(weir_config_set(config, name, value, &unset), 0, "%s", unset.text);
    struct weir_testkit *kit = weir_testkit_create(config, ack, NULL, 1, error);
    weir_config_destroy(config);
    weir_testkit_destroy(kit);
    return kit ? 0 : error->code;
}

Test(testkit_refusals, of_a_kit_without_handler_or_with_a_configuration_that_cannot_be)
{
    struct weir_error told = {0};
    cr_assert_null(weir_testkit_create(NULL, NULL, NULL, 1, &told));
    cr_assert_eq(told.code, WEIR_INVALID);
    cr_assert_null(weir_testkit_create(NULL, NULL, NULL, 1, NULL));
    expect_refusal(created("weir.topics", "orders,^orders.*", error), WEIR_INVALID, "dead letters");
    char topics[400] = "t0";
    for (int number = 1; number <= WEIR_TESTKIT_TOPICS_MAX; number++)
        sprintf(topics + strlen(topics), ",t%d", number);
    expect_refusal(created("weir.topics", topics, error), WEIR_INVALID, "there are 64 topics already");
    expect_ok(created("weir.topics", "^orders$", error));
}

Test(testkit_refusals, of_topics)
{
    struct scene *scene = weir_scene_create(1, NULL);
    struct weir_testkit *kit = scene->kit;
    expect_refusal(weir_testkit_topic(NULL, "a", 1, error), WEIR_INVALID, "NULL");
    expect_refusal(weir_testkit_topic(kit, NULL, 1, error), WEIR_INVALID, "NULL");
    expect_refusal(weir_testkit_topic(kit, "", 1, error), WEIR_INVALID, "must be 1..249");
    expect_refusal(weir_testkit_topic(kit, "a b", 1, error), WEIR_INVALID, "letters");
    expect_refusal(weir_testkit_topic(kit, "..", 1, error), WEIR_INVALID, "letters");
    expect_refusal(weir_testkit_topic(kit, "a", 0, error), WEIR_INVALID, "partitions=0: must be 1..256");
    expect_refusal(weir_testkit_topic(kit, "a", -1, error), WEIR_INVALID, "partitions=-1");
    expect_refusal(weir_testkit_topic(kit, "a", 257, error), WEIR_INVALID, "partitions=257");
    expect_refusal(weir_testkit_topic(kit, "messages", 3, error), WEIR_INVALID, "must be 4..256");
    weir_scene_send(scene, "a", "dead");
    expect_ok(weir_testkit_run_until_over(kit, 60000, error));
    expect_refusal(weir_testkit_topic(kit, "messages.dlq", 1, error), WEIR_INVALID, "the consumer writes to it");
    weir_scene_destroy(scene);
}

/* ---- messages ---- */

static int sent(struct weir_testkit *kit, const struct weir_testkit_record *record, struct weir_error *error)
{
    return weir_testkit_send(kit, record, error) ? 0 : error->code;
}

Test(testkit_refusals, of_records)
{
    static const struct weir_testkit_header nameless = {NULL, "v", 1}, valueless = {"n", NULL, 1},
                                            large = {"n", "v", WEIR_TESTKIT_BYTES_MAX};
    static const struct {
        struct weir_testkit_record record;
        const char *words;
    } rows[] = {
        {{.topic = "nothing"}, "no topic nothing"},
        {{.topic = ""}, "no topic"},
        {{.partition = 4}, "partition=4: must be 0..3, or -1"},
        {{.partition = -2}, "partition=-2"},
        {{.partition = INT32_MAX}, "partition=2147483647"},
        {{.timestamp_ms = -1}, "timestamp_ms=-1"},
        {{.timestamp_ms = INT64_MIN}, "must not be negative"},
        {{.key_size = 1}, "key_size=1, and the key is NULL"},
        {{.value_size = 1}, "value_size=1, and the value is NULL"},
        {{.value = "v", .value_size = WEIR_TESTKIT_BYTES_MAX + 1}, "together at most 1000000 bytes"},
        {{.key = "k", .key_size = 1, .value = "v", .value_size = WEIR_TESTKIT_BYTES_MAX}, "key_size=1, value_size="},
        {{.key = "k", .key_size = SIZE_MAX, .value = "v", .value_size = SIZE_MAX}, "together at most"},
        {{.header_count = 1}, "the headers are NULL"},
        {{.headers = &nameless, .header_count = 1}, "its name is NULL"},
        {{.headers = &valueless, .header_count = 1}, "its value"},
        {{.headers = &large, .header_count = 1}, "the headers: together"},
    };
    struct scene *scene = weir_scene_create(2, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        expect_refusal(sent(scene->kit, &rows[i].record, error), WEIR_INVALID, rows[i].words);
    expect_refusal(sent(NULL, &rows[0].record, error), WEIR_INVALID, "the kit is NULL");
    expect_refusal(sent(scene->kit, NULL, error), WEIR_INVALID, "the record is NULL");
    cr_assert_null(weir_testkit_send(scene->kit, NULL, NULL));
    cr_assert_null(weir_testkit_send_text(NULL, NULL, "a", "b", NULL));
    cr_assert_null(weir_testkit_message(scene->kit, NULL, 0, 0), "something was sent nevertheless");
    weir_scene_destroy(scene);
}

Test(testkit_refusals, of_the_largest_message_there_are_none)
{
    struct scene *scene = weir_scene_create(3, NULL);
    char *value = calloc(1, WEIR_TESTKIT_BYTES_MAX);
    struct weir_testkit_record record = {.value = value, .value_size = WEIR_TESTKIT_BYTES_MAX};
    const struct weir_testkit_message *message = weir_testkit_send(scene->kit, &record, NULL);
    free(value);
    cr_assert_not_null(message);
    expect_ok(weir_testkit_run_until_over(scene->kit, 60000, error));
    cr_assert_eq(weir_testkit_message_state(message), WEIR_TESTKIT_ACKED);
    weir_scene_destroy(scene);
}

/* ---- time and faults ---- */

static void nothing(void *argument) {}

Test(testkit_refusals, of_times)
{
    static const int64_t bad[] = {-1, INT64_MIN, WEIR_TESTKIT_MS_MAX + 1, INT64_MAX};
    struct scene *scene = weir_scene_create(4, NULL);
    struct weir_testkit *kit = scene->kit;
    for (size_t i = 0; i < 4; i++) {
        expect_refusal(weir_testkit_run_ms(kit, bad[i], error), WEIR_INVALID, "must be 0..2592000000 ms");
        expect_refusal(weir_testkit_run_until_over(kit, bad[i], error), WEIR_INVALID, "duration_ms_max=");
        expect_refusal(weir_testkit_after(kit, bad[i], nothing, NULL, error), WEIR_INVALID, "delay_ms=");
        expect_refusal(weir_testkit_broker_down(kit, bad[i], error), WEIR_INVALID, "duration_ms=");
        expect_refusal(weir_testkit_rebalance(kit, bad[i], error), WEIR_INVALID, "duration_ms=");
        expect_refusal(weir_testkit_shake(kit, bad[i], 1, error), WEIR_INVALID, "duration_ms=");
        expect_refusal(weir_testkit_finish(kit, bad[i], error), WEIR_INVALID, "duration_ms=");
    }
    expect_refusal(weir_testkit_after(kit, 0, NULL, NULL, error), WEIR_INVALID, "the function is NULL");
    cr_assert_eq(weir_testkit_now_ms(kit), 0, "time has passed");
    cr_assert_not_null(weir_testkit_consumer(kit));
    weir_scene_destroy(scene);
}

Test(testkit_refusals, of_faults)
{
    struct scene *scene = weir_scene_create(5, NULL);
    struct weir_testkit *kit = scene->kit;
    expect_refusal(weir_testkit_set_fault(kit, WEIR_TESTKIT_FAULTS, 1, error), WEIR_INVALID, "fault=8: must be 0..7");
    expect_refusal(weir_testkit_set_fault(kit, (enum weir_testkit_fault) - 1, 1, error), WEIR_INVALID, "must be 0..7");
    expect_refusal(weir_testkit_set_fault(kit, WEIR_TESTKIT_REDELIVERY, -1, error), WEIR_INVALID,
                   "redelivery: per_mille=-1: must be 0..1000");
    expect_refusal(weir_testkit_set_fault(kit, WEIR_TESTKIT_REDELIVERY, 1001, error), WEIR_INVALID, "per_mille=1001");
    expect_refusal(weir_testkit_shake(kit, 1000, -1, error), WEIR_INVALID, "events=-1");
    expect_refusal(weir_testkit_shake(kit, 1000, 1001, error), WEIR_INVALID, "must be 0..1000");
    for (int fault = 0; fault < WEIR_TESTKIT_FAULTS; fault++)
        cr_assert_not_null(weir_testkit_fault_name(fault));
    cr_assert_null(weir_testkit_fault_name(-1));
    cr_assert_null(weir_testkit_fault_name(WEIR_TESTKIT_FAULTS));
    weir_scene_destroy(scene);
}

Test(testkit_refusals, of_what_does_not_fit_the_state)
{
    struct scene *scene = weir_scene_create(6, NULL);
    struct weir_testkit *kit = scene->kit;
    expect_refusal(weir_testkit_start(kit, error), WEIR_STATE, "runs already");
    expect_ok(weir_testkit_stop(kit, error));
    expect_refusal(weir_testkit_stop(kit, error), WEIR_STATE, "no consumer runs");
    expect_refusal(weir_testkit_crash(kit, error), WEIR_STATE, "no consumer runs");
    expect_refusal(weir_testkit_fence(kit, error), WEIR_STATE, "no consumer runs");
    expect_ok(weir_testkit_start(kit, error));
    expect_ok(weir_testkit_crash(kit, error));
    weir_scene_destroy(scene);
}

static void try_from_inside(struct scene *scene)
{
    struct weir_testkit *kit = scene->kit;
    expect_refusal(weir_testkit_run_ms(kit, 1, error), WEIR_STATE, "");
    expect_refusal(weir_testkit_run_until_over(kit, 1, error), WEIR_STATE, "");
    expect_refusal(weir_testkit_stop(kit, error), WEIR_STATE, "");
    weir_testkit_destroy(kit); /* does nothing */
    scene->calls++;
}

static void from_a_function(void *argument)
{
    struct scene *scene = argument;
    try_from_inside(scene);
    expect_refusal(weir_testkit_finish(scene->kit, 1, error), WEIR_STATE, "time is running already");
}

static enum weir_outcome from_a_handler(struct weir_message *message, void *user)
{
    struct scene *scene = user;
    struct weir_testkit *kit = scene->kit;
    try_from_inside(scene);
    expect_refusal(weir_testkit_crash(kit, error), WEIR_STATE, "not from inside a handler");
    expect_refusal(weir_testkit_start(kit, error), WEIR_STATE, "not from inside a handler");
    expect_refusal(weir_testkit_fence(kit, error), WEIR_STATE, "not from inside a handler");
    expect_refusal(weir_testkit_rebalance(kit, 1, error), WEIR_STATE, "not from inside a handler");
    expect_refusal(weir_testkit_broker_down(kit, 1, error), WEIR_STATE, "not from inside a handler");
    expect_refusal(weir_testkit_shake(kit, 1, 1, error), WEIR_STATE, "not from inside a handler");
    expect_refusal(weir_testkit_finish(kit, 1, error), WEIR_STATE, "not from inside a handler");
    expect_refusal(weir_testkit_verdict(kit, error), WEIR_STATE, "not from inside a handler");
    expect_refusal(weir_testkit_topic(kit, "t", 1, error), WEIR_STATE, "not from inside a handler");
    return WEIR_ACK;
}

Test(testkit_refusals, of_what_must_not_come_from_inside)
{
    struct scene scene = {0};
    scene.kit = weir_testkit_create(NULL, from_a_handler, &scene, 7, NULL);
    cr_assert_not_null(scene.kit);
    weir_scene_send(&scene, "a", "ack");
    expect_ok(weir_testkit_after(scene.kit, 10, from_a_function, &scene, error));
    expect_ok(weir_testkit_run_ms(scene.kit, 5000, error));
    cr_assert_eq(scene.calls, 2);
    weir_testkit_destroy(scene.kit);
}

static void from_the_end(void *argument)
{
    struct scene *scene = argument;
    try_from_inside(scene);
    expect_refusal(weir_testkit_after(scene->kit, 1, nothing, NULL, error), WEIR_STATE, "is being destroyed");
    expect_refusal(weir_testkit_start(scene->kit, error), WEIR_STATE, "is being destroyed");
    if (scene->kept_count > 0)
        cr_assert_eq(weir_later_finish(scene->kept[0], WEIR_ACK), WEIR_STALE);
}

Test(testkit_refusals, of_what_comes_when_the_kit_goes_which_is_called_once)
{
    struct scene scene = {0};
    scene.kit = weir_testkit_create(NULL, weir_scene_handle, &scene, 9, NULL);
    cr_assert_not_null(scene.kit);
    weir_scene_send(&scene, "a", "keep");
    expect_ok(weir_testkit_after(scene.kit, WEIR_TESTKIT_MS_MAX, from_the_end, &scene, error));
    expect_ok(weir_testkit_after(scene.kit, WEIR_TESTKIT_MS_MAX, from_the_end, &scene, error));
    expect_ok(weir_testkit_run_ms(scene.kit, 2000, error));
    cr_assert_eq(scene.kept_count, 1);
    scene.calls = 0;
    weir_testkit_destroy(scene.kit);
    cr_assert_eq(scene.calls, 2);
}

/* ---- NULL ---- */

Test(testkit_refusals, of_no_kit_and_no_message_at_all)
{
    struct weir_testkit_record record;
    struct weir_testkit_run run;
    expect_refusal(weir_testkit_run_ms(NULL, 1, error), WEIR_INVALID, "the kit is NULL");
    expect_refusal(weir_testkit_run_until_over(NULL, 1, error), WEIR_INVALID, "the kit is NULL");
    expect_refusal(weir_testkit_after(NULL, 1, nothing, NULL, error), WEIR_INVALID, "the kit is NULL");
    expect_refusal(weir_testkit_set_fault(NULL, WEIR_TESTKIT_REDELIVERY, 1, error), WEIR_INVALID, "the kit is NULL");
    expect_refusal(weir_testkit_broker_down(NULL, 1, error), WEIR_INVALID, "the kit is NULL");
    expect_refusal(weir_testkit_rebalance(NULL, 1, error), WEIR_INVALID, "the kit is NULL");
    expect_refusal(weir_testkit_fence(NULL, error), WEIR_INVALID, "the kit is NULL");
    expect_refusal(weir_testkit_crash(NULL, error), WEIR_INVALID, "the kit is NULL");
    expect_refusal(weir_testkit_stop(NULL, error), WEIR_INVALID, "the kit is NULL");
    expect_refusal(weir_testkit_start(NULL, error), WEIR_INVALID, "the kit is NULL");
    expect_refusal(weir_testkit_shake(NULL, 1, 1, error), WEIR_INVALID, "the kit is NULL");
    expect_refusal(weir_testkit_verdict(NULL, error), WEIR_INVALID, "the kit is NULL");
    expect_refusal(weir_testkit_finish(NULL, 1, error), WEIR_INVALID, "the kit is NULL");
    expect_refusal(weir_testkit_seeds(1, NULL, NULL, error), WEIR_INVALID, "the trial is NULL");
    cr_assert_eq(weir_testkit_run_ms(NULL, 1, NULL), WEIR_INVALID);
    weir_testkit_destroy(NULL);
    cr_assert_null(weir_testkit_consumer(NULL));
    cr_assert_null(weir_testkit_message(NULL, NULL, 0, 0));
    cr_assert_eq(weir_testkit_message_state(NULL), WEIR_TESTKIT_WAITING);
    cr_assert_null(weir_testkit_message_topic(NULL));
    cr_assert_eq(weir_testkit_message_partition(NULL), -1);
    cr_assert_eq(weir_testkit_message_offset(NULL), -1);
    cr_assert_eq(weir_testkit_message_runs(NULL), 0);
    cr_assert_eq(weir_testkit_message_run(NULL, 0, &run), 0);
    cr_assert_null(weir_testkit_message_cause(NULL));
    cr_assert_null(weir_testkit_message_reason(NULL));
    cr_assert_eq(weir_testkit_message_letter(NULL, &record), 0);
    cr_assert_eq(weir_testkit_letters(NULL), 0);
    cr_assert_eq(weir_testkit_letter(NULL, 0, &record), 0);
    cr_assert_eq(weir_testkit_read(NULL, "t", 0, 0, &record), 0);
    cr_assert_eq(weir_testkit_committed(NULL, "t", 0), -1);
    cr_assert_eq(weir_testkit_now_ms(NULL), 0);
    cr_assert_eq(weir_testkit_random(NULL, 5), 0);
}

Test(testkit_refusals, of_seeds_none_and_of_reads_outside)
{
    struct scene *scene = weir_scene_create(8, NULL);
    struct weir_testkit_record record;
    weir_scene_send(scene, "a", "ack");
    cr_assert_eq(weir_testkit_read(scene->kit, "messages", 0, 0, &record), 1);
    cr_assert_eq(weir_testkit_read(scene->kit, "messages", 0, 1, &record), 0);
    cr_assert_eq(weir_testkit_read(scene->kit, "messages", 0, -1, &record), 0);
    cr_assert_eq(weir_testkit_read(scene->kit, "messages", -1, 0, &record), 0);
    cr_assert_eq(weir_testkit_read(scene->kit, "messages", 4, 0, &record), 0);
    cr_assert_eq(weir_testkit_read(scene->kit, "nothing", 0, 0, &record), 0);
    cr_assert_eq(weir_testkit_read(scene->kit, NULL, 0, 0, &record), 0);
    cr_assert_eq(weir_testkit_read(scene->kit, "messages", 0, 0, NULL), 0);
    cr_assert_eq(weir_testkit_random(scene->kit, 0), 0);
    cr_assert_lt(weir_testkit_random(scene->kit, 3), 3);
    cr_assert_str_eq(weir_testkit_state_name(WEIR_TESTKIT_DEAD), "dead");
    cr_assert_str_eq(weir_testkit_state_name(5), "unknown");
    cr_assert_str_eq(weir_testkit_state_name(-1), "unknown");
    weir_scene_destroy(scene);
}
