/*
 * A broker that refuses: commits, dead letters, the membership itself. Each time it is said, tried again, and nothing
 * is lost.
 */
#include "tests/scenario/scene.h"

enum { PARTITIONS = 2, EACH = 200, KEYS = 20 };

static enum weir_outcome kill_a_tenth(struct weir_subject *subject, struct weir_message *message)
{
    weir_test_sleep_us(500);
    return weir_message_offset(message) % 10 == 7 ? weir_dead(message, "poison") : WEIR_ACK;
}

static void put_all(struct weir_scene *scene)
{
    for (int32_t partition = 0; partition < PARTITIONS; partition++)
        weir_scene_put_many(scene, partition, EACH, KEYS);
}

Test(consumer_trouble, refused_commits_and_dead_letters_are_sent_again)
{
    struct weir_scene scene;
    weir_scene_set(&scene, PARTITIONS, kill_a_tenth, NULL);
    weir_mock_topic_create(scene.mock, "orders.dlq", 4);
    put_all(&scene);
    weir_mock_fail(scene.mock, WEIR_MOCK_OFFSET_COMMIT, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, 2);
    weir_mock_fail(scene.mock, WEIR_MOCK_OFFSET_COMMIT, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, 2);
    weir_mock_fail(scene.mock, WEIR_MOCK_PRODUCE, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, 3);
    WEIR_SCENE_START(&scene, "weir.dlq.retry.ms", "50");
    WEIR_SCENE_UNTIL(weir_subject_stats(&scene.subject).counters.dead_lettered == PARTITIONS * EACH / 10);
    WEIR_SCENE_UNTIL(weir_scene_committed(&scene, PARTITIONS) == PARTITIONS * EACH);
    struct weir_stats stats = weir_subject_stats(&scene.subject);
    cr_assert_geq(stats.counters.dlq_failures, 3u);
    cr_assert_gt(stats.commit_failures, 0u);
    cr_assert_gt(weir_subject_log_count("dead letter refused"), 0u);
    cr_assert_eq(weir_subject_close(&scene.subject), WEIR_OK, "%s", scene.subject.closed_error.text);
    cr_assert_eq(weir_scene_letters(&scene), PARTITIONS * EACH / 10);
    cr_assert(weir_subject_adds_up(&scene.subject));
    weir_scene_clear(&scene);
}

static enum weir_outcome take_a_moment(struct weir_subject *subject, struct weir_message *message)
{
    weir_test_sleep_us(2000);
    return WEIR_ACK;
}

Test(consumer_trouble, a_member_that_is_expelled_joins_again_and_loses_nothing)
{
    struct weir_scene scene;
    weir_scene_set(&scene, PARTITIONS, take_a_moment, NULL);
    put_all(&scene);
    WEIR_SCENE_START(&scene, "weir.window.messages.max", "16");
    WEIR_SCENE_UNTIL(weir_subject_stats(&scene.subject).counters.acked > EACH / 4);
    weir_mock_fail(scene.mock, WEIR_MOCK_HEARTBEAT, RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, 1);
    WEIR_SCENE_UNTIL(weir_subject_log_count("lost 2 partitions") == 1);
    WEIR_SCENE_UNTIL(weir_ledger_count_finished(scene.ledger) == PARTITIONS * EACH);
    WEIR_SCENE_UNTIL(weir_scene_committed(&scene, PARTITIONS) == PARTITIONS * EACH);
    cr_assert_geq(weir_subject_stats(&scene.subject).rebalances, 3u);
    cr_assert_eq(weir_subject_close(&scene.subject), WEIR_OK, "%s", scene.subject.closed_error.text);
    cr_assert(weir_subject_adds_up(&scene.subject));
    weir_scene_check(&scene, false);
    weir_scene_clear(&scene);
}
