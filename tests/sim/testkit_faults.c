/*
 * The test kit: what goes wrong in it, and its verdicts over many seeds. tests/sim/testkit.h has the handler.
 */
#include "testkit/internal.h"
#include "tests/sim/testkit.h"
#include <stdio.h>
#include <string.h>

/* ---- faults by name ---- */

Test(testkit_faults, refused_commits_are_made_up_for_when_they_end)
{
    struct scene *scene = weir_scene_create(1, NULL);
    expect_ok(weir_testkit_run_ms(scene->kit, 5000, error)); /* the first positions are committed */
    expect_ok(weir_testkit_set_fault(scene->kit, WEIR_TESTKIT_COMMITS_REFUSED, 1000, error));
    weir_scene_send(scene, "a", "ack");
    expect_ok(weir_testkit_run_ms(scene->kit, 60000, error));
    cr_assert_eq(weir_testkit_committed(scene->kit, NULL, 0), 0);
    expect_ok(weir_testkit_set_fault(scene->kit, WEIR_TESTKIT_COMMITS_REFUSED, 0, error));
    expect_ok(weir_testkit_set_fault(scene->kit, WEIR_TESTKIT_COMMITS_UNSURE, 1000, error));
    expect_ok(weir_testkit_run_ms(scene->kit, 60000, error));
    cr_assert_eq(weir_testkit_committed(scene->kit, NULL, 0), 1);
    weir_scene_destroy(scene);
}

Test(testkit_faults, refused_letters_hold_only_their_key)
{
    static const enum weir_testkit_fault refusals[] = {WEIR_TESTKIT_PRODUCE_ERRORS, WEIR_TESTKIT_PRODUCE_DENIED,
                                                       WEIR_TESTKIT_PRODUCE_TOO_LARGE};
    for (size_t i = 0; i < 3; i++) {
        struct scene *scene = weir_scene_create(2, NULL);
        expect_ok(weir_testkit_set_fault(scene->kit, refusals[i], 1000, error));
        const struct weir_testkit_message *dead = weir_scene_send(scene, "a", "dead");
        const struct weir_testkit_message *behind = weir_scene_send(scene, "a", "ack");
        const struct weir_testkit_message *other = weir_scene_send(scene, "b", "ack");
        expect_ok(weir_testkit_run_ms(scene->kit, 30000, error));
        cr_assert_eq(weir_testkit_message_state(dead), WEIR_TESTKIT_WAITING);
        cr_assert_eq(weir_testkit_message_runs(behind), 0);
        cr_assert_eq(weir_testkit_message_state(other), WEIR_TESTKIT_ACKED);
        expect_ok(weir_testkit_set_fault(scene->kit, refusals[i], 0, error));
        expect_ok(weir_testkit_run_until_over(scene->kit, 600000, error));
        cr_assert_eq(weir_testkit_message_state(dead), WEIR_TESTKIT_DEAD);
        weir_scene_destroy(scene);
    }
}

Test(testkit_faults, an_unsure_letter_may_come_twice_and_counts_once)
{
    struct scene *scene = weir_scene_create(3, NULL);
    expect_ok(weir_testkit_set_fault(scene->kit, WEIR_TESTKIT_PRODUCE_UNSURE, 1000, error));
    const struct weir_testkit_message *dead = weir_scene_send(scene, "a", "dead");
    expect_ok(weir_testkit_run_ms(scene->kit, 60000, error));
    expect_ok(weir_testkit_finish(scene->kit, 60000, error));
    cr_assert_eq(weir_testkit_message_state(dead), WEIR_TESTKIT_DEAD);
    cr_assert_gt(weir_testkit_letters(scene->kit), 1);
    struct weir_testkit_record first, letter;
    cr_assert_eq(weir_testkit_letter(scene->kit, 0, &first), 1);
    cr_assert_eq(weir_testkit_message_letter(dead, &letter), 1);
    cr_assert_eq(first.offset, letter.offset);
    weir_scene_destroy(scene);
}

Test(testkit_faults, redelivered_messages_do_not_run_again)
{
    struct scene *scene = weir_scene_create(4, NULL);
    expect_ok(weir_testkit_set_fault(scene->kit, WEIR_TESTKIT_REDELIVERY, 1000, error));
    expect_ok(weir_testkit_set_fault(scene->kit, WEIR_TESTKIT_SLOW_BROKER, 500, error));
    for (unsigned number = 0; number < 50; number++) {
        weir_scene_send(scene, "a", "ack");
        expect_ok(weir_testkit_run_ms(scene->kit, 100, error));
    }
    expect_ok(weir_testkit_run_until_over(scene->kit, 60000, error));
    struct weir_stats stats = {0};
    weir_consumer_stats(weir_testkit_consumer(scene->kit), &stats, sizeof stats);
    cr_assert_gt(stats.counters.redelivered_dropped, 0);
    cr_assert_eq(scene->calls, 50);
    weir_scene_destroy(scene);
}

Test(testkit_faults, nothing_comes_while_no_broker_answers)
{
    struct scene *scene = weir_scene_create(5, NULL);
    expect_ok(weir_testkit_run_ms(scene->kit, 5000, error));
    expect_ok(weir_testkit_broker_down(scene->kit, 4000, error));
    const struct weir_testkit_message *message = weir_scene_send(scene, "a", "ack");
    expect_ok(weir_testkit_run_ms(scene->kit, 3900, error));
    cr_assert_eq(weir_testkit_message_runs(message), 0);
    expect_ok(weir_testkit_run_until_over(scene->kit, 60000, error));
    cr_assert_geq(weir_scene_run(message, 0).begin_ms, 9000);
    weir_scene_destroy(scene);
}

/* ---- the group ---- */

Test(testkit_faults, a_rebalance_makes_handles_stale_and_their_messages_come_again)
{
    struct scene *scene = weir_scene_create(6, NULL);
    for (int32_t partition = 0; partition < WEIR_TESTKIT_PARTITIONS; partition++) {
        struct weir_testkit_record record = {.partition = partition, .value = "later 20000", .value_size = 11};
        cr_assert_not_null(weir_testkit_send(scene->kit, &record, NULL));
    }
    expect_ok(weir_testkit_run_ms(scene->kit, 1000, error));
    cr_assert_eq(scene->calls, 4);
    expect_ok(weir_testkit_rebalance(scene->kit, 30000, error));
    expect_ok(weir_testkit_run_ms(scene->kit, 25000, error));
    cr_assert_gt(scene->stale, 0);
    cr_assert_gt(scene->finished, 0);
    expect_ok(weir_testkit_run_ms(scene->kit, 60000, error));
    cr_assert_gt(scene->calls, 4);
    expect_ok(weir_testkit_finish(scene->kit, 60000, error));
    weir_scene_destroy(scene);
}

Test(testkit_faults, what_a_fenced_consumer_still_does_is_done_in_vain)
{
    struct scene *scene = weir_scene_create(7, NULL);
    weir_scene_send(scene, "a", "later 20000");
    expect_ok(weir_testkit_run_ms(scene->kit, 1000, error));
    expect_ok(weir_testkit_fence(scene->kit, error));
    expect_ok(weir_testkit_run_ms(scene->kit, 30000, error));
    cr_assert_eq(scene->stale, 1);
    expect_ok(weir_testkit_run_ms(scene->kit, 60000, error));
    cr_assert_gt(scene->calls, 1);
    expect_ok(weir_testkit_finish(scene->kit, 60000, error));
    weir_scene_destroy(scene);
}

Test(testkit_faults, a_crash_loses_nothing_and_its_handles_are_stale)
{
    struct scene *scene = weir_scene_create(8, NULL);
    const struct weir_testkit_message *acked = weir_scene_send(scene, "a", "ack");
    const struct weir_testkit_message *kept = weir_scene_send(scene, "b", "keep");
    expect_ok(weir_testkit_run_ms(scene->kit, 700, error)); /* before the first commit of them */
    cr_assert_eq(scene->kept_count, 1);
    cr_assert_eq(weir_testkit_message_state(kept), WEIR_TESTKIT_RUNNING);
    expect_ok(weir_testkit_crash(scene->kit, error));
    cr_assert_eq(weir_later_finish(scene->kept[0], WEIR_ACK), WEIR_STALE);
    cr_assert_eq(weir_testkit_message_state(kept), WEIR_TESTKIT_WAITING);
    cr_assert_null(weir_testkit_consumer(scene->kit));
    expect_ok(weir_testkit_start(scene->kit, error));
    expect_ok(weir_testkit_run_ms(scene->kit, 20000, error));
    cr_assert_eq(weir_testkit_message_runs(kept), 2);
    cr_assert_eq(weir_scene_run(kept, 1).consumers, 1);
    cr_assert_eq(weir_scene_run(kept, 0).end_ms, -1);
    cr_assert_geq(weir_testkit_message_runs(acked), 1);
    cr_assert_eq(weir_later_finish(scene->kept[1], WEIR_SKIP), 0);
    expect_ok(weir_testkit_finish(scene->kit, 60000, error));
    cr_assert_eq(weir_testkit_message_state(kept), WEIR_TESTKIT_SKIPPED);
    weir_scene_destroy(scene);
}

static void crash_and_start(void *argument)
{
    struct scene *scene = argument;
    expect_ok(weir_testkit_crash(scene->kit, error));
    expect_ok(weir_testkit_start(scene->kit, error));
}

Test(testkit_faults, may_be_scheduled)
{
    struct scene *scene = weir_scene_create(9, NULL);
    const struct weir_testkit_message *message = weir_scene_send(scene, "a", "later 10000");
    expect_ok(weir_testkit_after(scene->kit, 3000, crash_and_start, scene, error));
    expect_ok(weir_testkit_run_until_over(scene->kit, 600000, error));
    cr_assert_eq(weir_testkit_message_runs(message), 2);
    cr_assert_eq(scene->stale, 1);
    cr_assert_eq(scene->finished, 1);
    weir_scene_destroy(scene);
}

Test(testkit_faults, a_stop_and_a_start_go_on_where_it_was)
{
    struct scene *scene = weir_scene_create(10, NULL);
    const struct weir_testkit_message *first = weir_scene_send(scene, "a", "ack");
    expect_ok(weir_testkit_run_until_over(scene->kit, 60000, error));
    expect_ok(weir_testkit_stop(scene->kit, error));
    const struct weir_testkit_message *second = weir_scene_send(scene, "a", "ack");
    expect_ok(weir_testkit_run_ms(scene->kit, 5000, error));
    cr_assert_eq(weir_testkit_message_runs(second), 0);
    expect_ok(weir_testkit_start(scene->kit, error));
    expect_ok(weir_testkit_run_until_over(scene->kit, 60000, error));
    cr_assert_eq(weir_testkit_message_runs(first), 1);
    cr_assert_eq(weir_testkit_message_runs(second), 1);
    weir_scene_destroy(scene);
}

/* ---- verdicts and seeds ---- */

static const char *const values[] = {"ack", "skip", "dead", "retry 1", "retry 3", "later 200", "later 9000", "ack"};

static int trial(uint64_t seed, void *user, struct weir_error *error)
{
    struct scene *scene = weir_scene_create(seed, user);
    for (unsigned number = 0; number < 60; number++) {
        char key[16];
        snprintf(key, sizeof key, "key %u", (unsigned)weir_testkit_random(scene->kit, 12));
        weir_testkit_send_text(scene->kit, NULL, key, values[weir_testkit_random(scene->kit, 8)], error);
    }
    int result = weir_testkit_shake(scene->kit, 60000, 8, error);
    if (result == 0)
        result = weir_testkit_run_ms(scene->kit, 60000, error);
    if (result == 0)
        result = weir_testkit_finish(scene->kit, 600000, error);
    weir_scene_destroy(scene);
    return result;
}

Test(testkit_faults, every_promise_holds_under_everything_at_once)
{
    expect_ok(weir_testkit_seeds(weir_test_scaled(100), trial, NULL, error));
}

Test(testkit_faults, every_promise_holds_with_a_pool_and_with_other_orders)
{
    static const char *const pool[] = {"weir.blocking.threads", "3", "weir.workers", "1", NULL};
    static const char *const lane[] = {"weir.ordering", "partition", NULL};
    static const char *const member[] = {"group.instance.id", "one", NULL};
    expect_ok(weir_testkit_seeds(weir_test_scaled(30), trial, (void *)pool, error));
    expect_ok(weir_testkit_seeds(weir_test_scaled(30), trial, (void *)lane, error));
    expect_ok(weir_testkit_seeds(weir_test_scaled(30), trial, (void *)member, error));
}

struct story { /* of a run, to compare two */
    int64_t times[200];
    size_t count;
};

static void tell(uint64_t seed, struct story *story)
{
    struct scene *scene = weir_scene_create(seed, NULL);
    const struct weir_testkit_message *messages[20];
    for (size_t i = 0; i < 20; i++)
        messages[i] = weir_testkit_send_text(scene->kit, NULL, i % 3 ? "a" : "b", values[i % 6], NULL);
    expect_ok(weir_testkit_shake(scene->kit, 20000, 3, error));
    expect_ok(weir_testkit_run_ms(scene->kit, 20000, error));
    expect_ok(weir_testkit_finish(scene->kit, 600000, error));
    for (size_t i = 0; i < 20; i++) {
        for (size_t run = 0; run < weir_testkit_message_runs(messages[i]) && story->count < 200; run++)
            story->times[story->count++] = weir_scene_run(messages[i], run).begin_ms;
    }
    weir_scene_destroy(scene);
}

Test(testkit_faults, the_same_seed_gives_the_same_run)
{
    struct story first = {0}, second = {0}, other = {0};
    tell(7, &first);
    tell(7, &second);
    tell(8, &other);
    cr_assert_geq(first.count, 20);
    cr_assert_arr_eq(&first, &second, sizeof first);
    cr_assert(memcmp(&first, &other, sizeof first) != 0);
}

Test(testkit_faults, a_verdict_counts_what_it_has_looked_at)
{
    struct scene *scene = weir_scene_create(11, NULL);
    weir_scene_send(scene, "a", "retry 2");
    weir_scene_send(scene, "b", "dead");
    expect_ok(weir_testkit_run_until_over(scene->kit, 60000, error));
    struct weir_error error = {0};
    cr_assert_eq(weir_testkit_verdict(scene->kit, &error), 0);
    cr_assert_eq(error.code, WEIR_OK);
    cr_assert_str_eq(error.text, "2 messages, 2 over; 4 runs, 0 finished again, 1 dead letters, 0 crashes");
    weir_scene_destroy(scene);
}

Test(testkit_faults, at_most_once_is_not_asked_for_what_it_does_not_promise)
{
    static const char *const options[] = {"weir.delivery", "at-most-once", NULL};
    struct scene *scene = weir_scene_create(12, options);
    weir_scene_send(scene, "a", "keep");
    expect_ok(weir_testkit_run_ms(scene->kit, 5000, error));
    cr_assert_eq(weir_testkit_committed(scene->kit, NULL, 0), 1);
    expect_ok(weir_testkit_crash(scene->kit, error));
    expect_ok(weir_testkit_verdict(scene->kit, error));
    weir_scene_destroy(scene);
}

static int fail_at_three(uint64_t seed, void *user, struct weir_error *error)
{
    ++*(unsigned *)user;
    if (seed == 3)
        snprintf(error->text, sizeof error->text, "the third");
    return seed == 3 ? WEIR_UNFINISHED : 0;
}

static int fail_silently(uint64_t seed, void *user, struct weir_error *error)
{
    return 5;
}

Test(testkit_faults, the_first_seed_that_fails_is_named_and_can_be_seen_again)
{
    unsigned calls = 0;
    struct weir_error error = {0};
    cr_assert_eq(weir_testkit_seeds(10, fail_at_three, &calls, &error), WEIR_UNFINISHED);
    cr_assert_eq(calls, 3);
    cr_assert_str_eq(error.text, "seed 3: the third; to see it: WEIR_TESTKIT_SEED=3");
    setenv("WEIR_TESTKIT_SEED", "3", 1);
    calls = 0;
    cr_assert_eq(weir_testkit_seeds(10, fail_at_three, &calls, NULL), WEIR_UNFINISHED);
    cr_assert_eq(calls, 1);
    setenv("WEIR_TESTKIT_SEED", "three", 1);
    cr_assert_eq(weir_testkit_seeds(10, fail_at_three, &calls, &error), WEIR_INVALID);
    cr_assert_str_eq(error.text, "WEIR_TESTKIT_SEED=three: must be a number");
    setenv("WEIR_TESTKIT_SEED", "", 1);
    cr_assert_eq(weir_testkit_seeds(1, fail_silently, NULL, &error), 5);
    cr_assert(strstr(error.text, "the trial gave no reason") != NULL);
    unsetenv("WEIR_TESTKIT_SEED");
}

/* ---- that the verdict bites: promises broken from outside, by a commit that the consumer did not make ---- */

static void commit(struct scene *scene, int64_t offset)
{
    weir_fake_set_committed(
        scene->kit->cluster, "testkit",
        &(struct weir_kafka_offset){.topic = "messages", .offset = offset, .metadata = "", .leader_epoch = -1});
}

Test(testkit_faults, a_commit_past_what_is_not_over_is_noticed_at_once)
{
    struct scene *scene = weir_scene_create(13, NULL);
    weir_scene_send(scene, "a", "ack");
    weir_scene_send(scene, "b", "keep");
    expect_ok(weir_testkit_run_ms(scene->kit, 1000, error));
    commit(scene, 2);
    expect_refusal(weir_testkit_run_until_over(scene->kit, 60000, error), WEIR_UNFINISHED, "1 of 2");
    cr_assert_lt(weir_testkit_now_ms(scene->kit), 60000, "it went on");
    expect_refusal(weir_testkit_verdict(scene->kit, error), WEIR_STATE,
                   "a promise is broken: messages/0: offset 2 is committed, but 1 is not over");
    expect_refusal(weir_testkit_finish(scene->kit, 1000, error), WEIR_STATE, "a promise is broken");
    weir_scene_destroy(scene);
}

Test(testkit_faults, what_would_not_come_again_is_lost)
{
    struct scene *scene = weir_scene_create(14, NULL);
    weir_scene_send(scene, "a", "keep");
    expect_ok(weir_testkit_run_ms(scene->kit, 1000, error));
    expect_ok(weir_testkit_crash(scene->kit, error));
    commit(scene, 1);
    expect_refusal(weir_testkit_verdict(scene->kit, error), WEIR_STATE,
                   "messages/0 at 0 is lost: not over, and offset 1");
    weir_scene_destroy(scene);
}
