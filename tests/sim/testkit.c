/*
 * The test kit, seen as its user sees it: what becomes of messages, letters, commits and time. tests/sim/testkit.h has
 * the handler.
 */
#include "tests/sim/testkit.h"
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* ---- the scene ---- */

struct timed {
    struct scene *scene;
    struct weir_later later;
};

static void finish_timed(void *argument)
{
    struct timed *timed = argument;
    int result = weir_later_finish(timed->later, WEIR_ACK);
    timed->scene->finished += result == 0;
    timed->scene->stale += result == WEIR_STALE;
    free(timed);
}

static enum weir_outcome finish_in(struct scene *scene, struct weir_message *message, long delay_ms)
{
    struct timed *timed = malloc(sizeof *timed);
    cr_assert_not_null(timed);
    *timed = (struct timed){scene, weir_message_later(message)};
    expect_ok(weir_testkit_after(scene->kit, delay_ms, finish_timed, timed, error));
    return WEIR_LATER;
}

enum weir_outcome weir_scene_handle(struct weir_message *message, void *user)
{
    struct scene *scene = user;
    char text[32] = "";
    snprintf(text, sizeof text, "%.*s", (int)weir_message_value_size(message),
             (const char *)weir_message_value(message));
    scene->calls++;
    if (strcmp(text, "skip") == 0)
        return WEIR_SKIP;
    if (strcmp(text, "dead") == 0)
        return weir_dead(message, "no such customer");
    if (strcmp(text, "overloaded") == 0)
        return scene->calls == 1 ? WEIR_OVERLOADED : WEIR_ACK;
    if (strcmp(text, "bare") == 0)
        return weir_message_attempt(message) == 1 ? WEIR_LATER : WEIR_ACK;
    if (strcmp(text, "odd") == 0)
        return weir_message_attempt(message) == 1 ? (enum weir_outcome)17 : WEIR_ACK;
    if (strncmp(text, "retry ", 6) == 0) {
        uint32_t times = (uint32_t)atoi(text + 6);
        return times > 0 && weir_message_attempt(message) > times ? WEIR_ACK : weir_retry(message, "try again");
    }
    if (strncmp(text, "later ", 6) == 0)
        return finish_in(scene, message, atol(text + 6));
    if (strcmp(text, "keep") == 0) {
        scene->kept[scene->kept_count++ % 64] = weir_message_later(message);
        return WEIR_LATER;
    }
    return WEIR_ACK;
}

struct scene *weir_scene_create(uint64_t seed, const char *const *options)
{
    struct scene *scene = calloc(1, sizeof *scene);
    struct weir_config *config = weir_config_create();
    struct weir_error error = {0};
    cr_assert(scene && config);
    for (; options && options[0]; options += 2)
        cr_assert_eq(weir_config_set(config, options[0], options[1], &error), 0, "%s", error.text);
    scene->kit = weir_testkit_create(config, weir_scene_handle, scene, seed, &error);
    cr_assert_not_null(scene->kit, "%s", error.text);
    weir_config_destroy(config);
    return scene;
}

void weir_scene_destroy(struct scene *scene)
{
    weir_testkit_destroy(scene->kit);
    free(scene);
}

const struct weir_testkit_message *weir_scene_send(struct scene *scene, const char *key, const char *value)
{
    struct weir_error error = {0};
    struct weir_testkit_record record = {
        .key = key, .key_size = key ? strlen(key) : 0, .value = value, .value_size = value ? strlen(value) : 0};
    const struct weir_testkit_message *message = weir_testkit_send(scene->kit, &record, &error);
    cr_assert_not_null(message, "%s", error.text);
    return message;
}

struct weir_testkit_run weir_scene_run(const struct weir_testkit_message *message, size_t index)
{
    struct weir_testkit_run run = {0};
    cr_assert_eq(weir_testkit_message_run(message, index, &run), 1, "there is no run %zu", index);
    return run;
}

/* ---- outcomes ---- */

Test(testkit, tells_each_outcome_apart)
{
    struct scene *scene = weir_scene_create(1, NULL);
    const struct weir_testkit_message *acked = weir_scene_send(scene, "a", "ack");
    const struct weir_testkit_message *skipped = weir_scene_send(scene, "b", "skip");
    const struct weir_testkit_message *dead = weir_scene_send(scene, "c", "dead");
    cr_assert_eq(weir_testkit_message_state(acked), WEIR_TESTKIT_WAITING);
    expect_ok(weir_testkit_run_until_over(scene->kit, 60000, error));
    cr_assert_eq(weir_testkit_message_state(acked), WEIR_TESTKIT_ACKED);
    cr_assert_eq(weir_testkit_message_state(skipped), WEIR_TESTKIT_SKIPPED);
    cr_assert_eq(weir_testkit_message_state(dead), WEIR_TESTKIT_DEAD);
    cr_assert_eq(weir_scene_run(acked, 0).outcome, WEIR_ACK);
    cr_assert_eq(weir_scene_run(skipped, 0).outcome, WEIR_SKIP);
    cr_assert_eq(weir_scene_run(dead, 0).outcome, WEIR_DEAD);
    cr_assert_null(weir_testkit_message_cause(acked));
    cr_assert_null(weir_testkit_message_reason(acked));
    weir_scene_destroy(scene);
}

Test(testkit, tells_each_run_of_a_message_with_its_time)
{
    static const char *const options[] = {"weir.retry.base.ms", "1000", "weir.retry.max.ms", "60000", NULL};
    struct scene *scene = weir_scene_create(2, options);
    const struct weir_testkit_message *message = weir_scene_send(scene, "a", "retry 2");
    expect_ok(weir_testkit_run_until_over(scene->kit, 600000, error));
    cr_assert_eq(weir_testkit_message_runs(message), 3);
    for (size_t index = 0; index < 3; index++) {
        struct weir_testkit_run run = weir_scene_run(message, index);
        cr_assert_eq(run.outcome, index < 2 ? WEIR_RETRY : WEIR_ACK);
        cr_assert_eq(run.attempt, index + 1);
        cr_assert_eq(run.end_ms, run.begin_ms, "a handler takes no time");
        cr_assert_eq(run.consumers, 0);
        cr_assert(index == 0 || run.begin_ms > weir_scene_run(message, index - 1).begin_ms);
    }
    struct weir_testkit_run run;
    cr_assert_eq(weir_testkit_message_run(message, 3, &run), 0);
    cr_assert_eq(weir_testkit_message_run(message, 0, NULL), 0);
    cr_assert_eq(weir_scene_run(message, 2).begin_ms, weir_testkit_now_ms(scene->kit));
    weir_scene_destroy(scene);
}

Test(testkit, takes_what_is_no_outcome_for_a_retry_as_the_consumer_does)
{
    struct scene *scene = weir_scene_create(3, NULL);
    const struct weir_testkit_message *bare = weir_scene_send(scene, "a", "bare");
    const struct weir_testkit_message *odd = weir_scene_send(scene, "b", "odd");
    const struct weir_testkit_message *overloaded;
    expect_ok(weir_testkit_run_until_over(scene->kit, 60000, error));
    cr_assert_eq(weir_scene_run(bare, 0).outcome, WEIR_RETRY);
    cr_assert_eq(weir_scene_run(bare, 1).outcome, WEIR_ACK);
    cr_assert_eq(weir_scene_run(odd, 0).outcome, WEIR_RETRY);
    scene->calls = 0;
    overloaded = weir_scene_send(scene, "c", "overloaded");
    expect_ok(weir_testkit_run_until_over(scene->kit, 60000, error));
    cr_assert_eq(weir_scene_run(overloaded, 0).outcome, WEIR_OVERLOADED);
    cr_assert_eq(weir_scene_run(overloaded, 1).attempt, 1);
    weir_scene_destroy(scene);
}

Test(testkit, keeps_the_order_of_a_key_while_others_go_on)
{
    struct scene *scene = weir_scene_create(4, NULL);
    const struct weir_testkit_message *first = weir_scene_send(scene, "a", "later 5000");
    const struct weir_testkit_message *second = weir_scene_send(scene, "a", "ack");
    const struct weir_testkit_message *other = weir_scene_send(scene, "b", "ack");
    expect_ok(weir_testkit_run_ms(scene->kit, 3000, error));
    cr_assert_eq(weir_testkit_message_state(first), WEIR_TESTKIT_RUNNING);
    cr_assert_eq(weir_scene_run(first, 0).end_ms, -1);
    cr_assert_eq(weir_scene_run(first, 0).outcome, WEIR_LATER);
    cr_assert_eq(weir_testkit_message_runs(second), 0);
    cr_assert_eq(weir_testkit_message_state(other), WEIR_TESTKIT_ACKED);
    expect_ok(weir_testkit_run_until_over(scene->kit, 60000, error));
    cr_assert_eq(weir_scene_run(first, 0).end_ms, weir_scene_run(first, 0).begin_ms + 5000);
    cr_assert_eq(weir_scene_run(first, 0).outcome, WEIR_ACK);
    cr_assert_geq(weir_scene_run(second, 0).begin_ms, weir_scene_run(first, 0).end_ms);
    cr_assert_eq(scene->finished, 1);
    weir_scene_destroy(scene);
}

Test(testkit, sees_handles_that_the_test_itself_finishes)
{
    struct scene *scene = weir_scene_create(5, NULL);
    const struct weir_testkit_message *message = weir_scene_send(scene, "a", "keep");
    expect_ok(weir_testkit_run_ms(scene->kit, 2000, error));
    cr_assert_eq(scene->kept_count, 1);
    cr_assert_eq(weir_message_offset(scene->kept[0].message), 0);
    cr_assert_eq(weir_later_retry_after(scene->kept[0], 30000, "busy"), 0);
    cr_assert_eq(weir_later_finish(scene->kept[0], WEIR_ACK), WEIR_STALE);
    expect_ok(weir_testkit_run_ms(scene->kit, 40000, error));
    cr_assert_eq(weir_scene_run(message, 0).outcome, WEIR_RETRY);
    cr_assert_eq(weir_scene_run(message, 0).end_ms, 2000);
    cr_assert_eq(weir_scene_run(message, 1).begin_ms, 32000);
    cr_assert_eq(weir_later_dead(scene->kept[1], "given up"), 0);
    expect_ok(weir_testkit_run_until_over(scene->kit, 1000, error));
    cr_assert_str_eq(weir_testkit_message_cause(message), "dead");
    cr_assert_str_eq(weir_testkit_message_reason(message), "given up");
    weir_scene_destroy(scene);
}

Test(testkit, makes_handles_stale_that_outlive_their_kit)
{
    struct scene *scene = weir_scene_create(6, NULL);
    struct weir_later kept;
    weir_scene_send(scene, "a", "keep");
    expect_ok(weir_testkit_run_ms(scene->kit, 2000, error));
    kept = scene->kept[0];
    weir_scene_destroy(scene);
    cr_assert_eq(weir_later_finish(kept, WEIR_ACK), WEIR_STALE);
}

Test(testkit, says_what_is_not_over_and_how_it_stands)
{
    struct scene *scene = weir_scene_create(7, NULL);
    weir_scene_send(scene, "a", "ack");
    weir_scene_send(scene, "b", "keep");
    expect_refusal(weir_testkit_run_until_over(scene->kit, 5000, error), WEIR_UNFINISHED,
                   "1 of 2 messages are not over after 5000 ms; the first, messages/0 at 1, is running: 1 runs");
    cr_assert_eq(weir_testkit_now_ms(scene->kit), 5000);
    expect_refusal(weir_testkit_stop(scene->kit, error), WEIR_UNFINISHED, "");
    expect_refusal(weir_testkit_run_until_over(scene->kit, 0, error), WEIR_UNFINISHED, "; no consumer runs");
    weir_scene_destroy(scene);
}

/* ---- what is sent ---- */

static enum weir_outcome check_content(struct weir_message *message, void *user)
{
    size_t size = 0;
    const void *header = weir_message_header(message, "trace", &size);
    cr_assert(header && size == 2 && memcmp(header, "t2", 2) == 0);
    header = weir_message_header(message, "null", &size);
    cr_assert(header && size == 0);
    cr_assert_eq(weir_message_timestamp_ms(message), 1234);
    cr_assert_eq(weir_message_partition(message), 2);
    cr_assert_eq(weir_message_key_size(message), 3);
    cr_assert(weir_message_value(message) && weir_message_value_size(message) == 0);
    ++*(unsigned *)user;
    return WEIR_DEAD;
}

Test(testkit, hands_over_what_was_sent_and_the_letter_has_it_too)
{
    static const struct weir_testkit_header headers[] = {{"trace", "t1", 2}, {"null", NULL, 0}, {"trace", "t2", 2}};
    unsigned calls = 0;
    struct weir_error error = {0};
    struct weir_testkit *kit = weir_testkit_create(NULL, check_content, &calls, 8, &error);
    cr_assert_not_null(kit, "%s", error.text);
    struct weir_testkit_record record = {.topic = "messages",
                                         .partition = 2,
                                         .timestamp_ms = 1234,
                                         .key = "k\0y",
                                         .key_size = 3,
                                         .value = "",
                                         .headers = headers,
                                         .header_count = 3};
    const struct weir_testkit_message *message = weir_testkit_send(kit, &record, &error);
    cr_assert_not_null(message, "%s", error.text);
    cr_assert_eq(weir_testkit_run_until_over(kit, 60000, &error), 0, "%s", error.text);
    cr_assert_eq(calls, 1);
    struct weir_testkit_record letter;
    cr_assert_eq(weir_testkit_message_letter(message, &letter), 1);
    cr_assert_str_eq(letter.topic, "messages.dlq");
    cr_assert(letter.key_size == 3 && memcmp(letter.key, "k\0y", 3) == 0);
    cr_assert(letter.value && letter.value_size == 0);
    cr_assert_eq(letter.timestamp_ms, 1234);
    size_t size = 9;
    cr_assert(memcmp(weir_testkit_header(&letter, "trace", &size), "t2", 2) == 0 && size == 2);
    cr_assert(weir_testkit_header(&letter, "null", &size) && size == 0);
    cr_assert_null(weir_testkit_header(&letter, "none", &size));
    cr_assert_null(weir_testkit_header(&letter, NULL, &size));
    cr_assert_null(weir_testkit_header(NULL, "trace", &size));
    cr_assert_not_null(weir_testkit_header(&letter, "trace", NULL));
    cr_assert_eq(weir_testkit_read(kit, "messages", 2, 0, &letter), 1);
    cr_assert_eq(letter.header_count, 3);
    weir_testkit_destroy(kit);
}

Test(testkit, sends_texts_by_key_and_finds_them_by_their_coordinates)
{
    struct scene *scene = weir_scene_create(9, NULL);
    const struct weir_testkit_message *first = weir_testkit_send_text(scene->kit, NULL, "a", "ack", NULL);
    const struct weir_testkit_message *second = weir_testkit_send_text(scene->kit, "messages", "a", NULL, NULL);
    const struct weir_testkit_message *null = weir_testkit_send_text(scene->kit, NULL, NULL, "ack", NULL);
    cr_assert(first && second && null);
    int32_t partition = weir_testkit_message_partition(first);
    cr_assert_eq(weir_testkit_message_partition(second), partition);
    cr_assert_eq(weir_testkit_message_offset(second), 1);
    cr_assert_str_eq(weir_testkit_message_topic(second), "messages");
    cr_assert_eq(weir_testkit_message(scene->kit, "messages", partition, 1), second);
    cr_assert_eq(weir_testkit_message(scene->kit, NULL, partition, 0), first);
    cr_assert_null(weir_testkit_message(scene->kit, "messages", partition, 2000));
    cr_assert_null(weir_testkit_message(scene->kit, "messages", partition, -1));
    cr_assert_null(weir_testkit_message(scene->kit, "messages", WEIR_TESTKIT_PARTITIONS, 0));
    cr_assert_null(weir_testkit_message(scene->kit, "nothing", 0, 0));
    expect_ok(weir_testkit_run_until_over(scene->kit, 60000, error));
    weir_scene_destroy(scene);
}

/* ---- topics, letters, commits ---- */

Test(testkit, makes_the_topics_that_are_named_and_those_an_expression_takes_in)
{
    static const char *const options[] = {"weir.topics", "orders,^pay[a-z]*$", "group.id", "billing", NULL};
    struct scene *scene = weir_scene_create(10, options);
    cr_assert_null(weir_testkit_send_text(scene->kit, "payments", "a", "ack", NULL));
    expect_ok(weir_testkit_topic(scene->kit, "payments", 1, error));
    expect_ok(weir_testkit_topic(scene->kit, "payments", 1, error));
    expect_ok(weir_testkit_topic(scene->kit, "payments", 3, error));
    struct weir_testkit_record record = {.topic = "payments", .partition = 2, .value = "ack", .value_size = 3};
    const struct weir_testkit_message *payment = weir_testkit_send(scene->kit, &record, NULL);
    const struct weir_testkit_message *order = weir_testkit_send_text(scene->kit, "orders", "a", "ack", NULL);
    cr_assert(payment && order);
    expect_ok(weir_testkit_run_until_over(scene->kit, 60000, error));
    expect_ok(weir_testkit_stop(scene->kit, error));
    cr_assert_eq(weir_testkit_committed(scene->kit, "payments", 2), 1);
    cr_assert_eq(weir_testkit_committed(scene->kit, "payments", 3), -1);
    cr_assert_eq(weir_testkit_committed(scene->kit, "nothing", 0), -1);
    weir_scene_destroy(scene);
}

Test(testkit, reads_letters_of_every_profile)
{
    static const char *const profiles[] = {"kip1191", "spring", "karafka", "connect"};
    for (size_t i = 0; i < 4; i++) {
        const char *const options[] = {"weir.dlq.profile", profiles[i], "weir.dlq.topic", "graves", NULL};
        struct scene *scene = weir_scene_create(11, options);
        const struct weir_testkit_message *dead = weir_scene_send(scene, "a", "dead");
        const struct weir_testkit_message *spent = weir_scene_send(scene, "b", "retry 0");
        expect_ok(weir_testkit_run_until_over(scene->kit, 3600000, error));
        cr_assert_str_eq(weir_testkit_message_cause(dead), "dead", "%s", profiles[i]);
        cr_assert_str_eq(weir_testkit_message_cause(spent), "attempts");
        if (i == 2)
            cr_assert_null(weir_testkit_message_reason(dead), "karafka's letters have no reason");
        else
            cr_assert_str_eq(weir_testkit_message_reason(dead), "no such customer");
        cr_assert_eq(weir_testkit_letters(scene->kit), 2);
        struct weir_testkit_record letter;
        cr_assert_eq(weir_testkit_letter(scene->kit, 0, &letter), 1);
        cr_assert(letter.value_size == 4 && memcmp(letter.value, "dead", 4) == 0);
        cr_assert_str_eq(letter.topic, "graves");
        cr_assert_eq(weir_testkit_letter(scene->kit, 2, &letter), 0);
        cr_assert_eq(weir_testkit_letter(scene->kit, 0, NULL), 0);
        weir_scene_destroy(scene);
    }
}

Test(testkit, knows_the_orders_that_can_be_configured)
{
    static const char *const orders[][5] = {
        {"weir.ordering", "partition", NULL}, {"weir.ordering", "none", NULL}, {"weir.null.keys", "lane", NULL}};
    for (size_t i = 0; i < 3; i++) {
        struct scene *scene = weir_scene_create(12, orders[i]);
        const struct weir_testkit_message *first = weir_scene_send(scene, i == 2 ? NULL : "a", "later 1000");
        const struct weir_testkit_message *second = weir_scene_send(scene, i == 2 ? NULL : "b", "ack");
        expect_ok(weir_testkit_run_until_over(scene->kit, 60000, error));
        bool in_order = weir_scene_run(second, 0).begin_ms >= weir_scene_run(first, 0).end_ms;
        cr_assert_eq(in_order, i != 1, "%s=%s", orders[i][0], orders[i][1]);
        expect_ok(weir_testkit_verdict(scene->kit, error));
        weir_scene_destroy(scene);
    }
}

Test(testkit, commits_by_the_interval_and_at_the_stop)
{
    struct scene *scene = weir_scene_create(13, NULL);
    weir_scene_send(scene, "a", "ack");
    expect_ok(weir_testkit_run_until_over(scene->kit, 60000, error));
    expect_ok(weir_testkit_run_ms(scene->kit, 10000, error));
    cr_assert_eq(weir_testkit_committed(scene->kit, NULL, 0), 1);
    weir_scene_send(scene, "a", "ack");
    expect_ok(weir_testkit_run_until_over(scene->kit, 60000, error));
    struct weir_stats stats = {0};
    weir_consumer_stats(weir_testkit_consumer(scene->kit), &stats, sizeof stats);
    cr_assert_eq(stats.counters.acked, 2);
    expect_ok(weir_testkit_stop(scene->kit, error));
    cr_assert_eq(weir_testkit_committed(scene->kit, "messages", 0), 2);
    cr_assert_null(weir_testkit_consumer(scene->kit));
    weir_scene_destroy(scene);
}

Test(testkit, runs_handlers_of_a_pool_too)
{
    static const char *const options[] = {"weir.blocking.threads", "3", NULL};
    struct scene *scene = weir_scene_create(14, options);
    for (unsigned number = 0; number < 20; number++)
        weir_testkit_send_text(scene->kit, NULL, number % 2 ? "a" : "b", "ack", NULL);
    expect_ok(weir_testkit_finish(scene->kit, 60000, error));
    cr_assert_eq(scene->calls, 20);
    weir_scene_destroy(scene);
}

static enum weir_outcome look_around(struct weir_message *message, void *user)
{
    struct scene *scene = user;
    cr_assert_null(weir_worker_loop());
    cr_assert_geq(weir_worker_index(), 0);
    if (weir_message_offset(message) == 0) /* a handler may send */
        weir_scene_send(scene, "again", "ack");
    scene->calls++;
    return WEIR_ACK;
}

Test(testkit, lets_handlers_send_and_gives_them_no_loop)
{
    struct scene scene = {0};
    scene.kit = weir_testkit_create(NULL, look_around, &scene, 15, NULL);
    cr_assert_not_null(scene.kit);
    weir_scene_send(&scene, "a", "ack");
    expect_ok(weir_testkit_run_until_over(scene.kit, 60000, error));
    cr_assert_eq(scene.calls, 2);
    weir_testkit_destroy(scene.kit);
}
