/*
 * Goal: what librdkafka refuses a running consumer is asked for again where that can help, and else closes it with the
 * reason; either way nothing is lost.
 * Method: its calls refuse some times (tests/scenario/rdkafka_refuse.h). One process each.
 */
#include "tests/scenario/rdkafka_refuse.h"
#include "tests/scenario/scene.h"
#include <string.h>

enum { PARTITIONS = 3, EACH = 20, TIMES = 3 };

static void set(struct weir_scene *scene)
{
    weir_scene_set(scene, PARTITIONS, NULL, NULL);
    for (int32_t partition = 0; partition < PARTITIONS; partition++)
        weir_scene_put_many(scene, partition, EACH, 7);
}

/* All of it is finished and committed by whoever runs now. */
static void finish(struct weir_scene *scene)
{
    WEIR_SCENE_UNTIL(weir_scene_committed(scene, PARTITIONS) == PARTITIONS * EACH);
    cr_assert_eq(weir_subject_close(&scene->subject), WEIR_OK, "%s", scene->subject.closed_error.text);
    cr_assert(weir_subject_adds_up(&scene->subject));
    weir_scene_check(scene, false);
    weir_scene_clear(scene);
}

Test(consumer_refused, a_partition_queue_that_is_not_given_is_asked_for_again)
{
    struct weir_scene scene;
    set(&scene);
    weir_rdkafka_refuse(WEIR_RDKAFKA_QUEUE_GET_PARTITION, TIMES);
    WEIR_SCENE_START(&scene, "weir.workers", "2");
    finish(&scene);
    cr_assert_eq(weir_rdkafka_refused(WEIR_RDKAFKA_QUEUE_GET_PARTITION), (unsigned)TIMES);
}

Test(consumer_refused, a_commit_that_fails_at_once_is_made_again)
{
    struct weir_scene scene;
    set(&scene);
    weir_rdkafka_refuse(WEIR_RDKAFKA_COMMIT_QUEUE, TIMES);
    WEIR_SCENE_START(&scene, "weir.workers", "2");
    WEIR_SCENE_UNTIL(weir_scene_committed(&scene, PARTITIONS) == PARTITIONS * EACH);
    cr_assert_eq(weir_rdkafka_refused(WEIR_RDKAFKA_COMMIT_QUEUE), (unsigned)TIMES);
    cr_assert_geq(weir_subject_stats(&scene.subject).commit_failures, (uint64_t)TIMES);
    finish(&scene);
}

/* A consumer that owns what librdkafka does not fetch would stand still for ever. */
static void refuse_assignment(enum weir_rdkafka_call call, const char *strategy)
{
    struct weir_scene scene;
    set(&scene);
    weir_rdkafka_refuse(call, 1);
    WEIR_SCENE_START(&scene, "partition.assignment.strategy", strategy);
    WEIR_SCENE_UNTIL(weir_rdkafka_refused(call) == 1);
    WEIR_SCENE_UNTIL(weir_subject_log_count("closing: ") > 0);
    cr_assert_eq(weir_subject_close(&scene.subject), WEIR_KAFKA);
    cr_assert(strstr(scene.subject.closed_error.text, "refused an assignment"), "%s", scene.subject.closed_error.text);
    weir_subject_destroy(&scene.subject);
    WEIR_SCENE_START(&scene, "partition.assignment.strategy", strategy);
    finish(&scene);
}

Test(consumer_refused, a_refused_assignment_closes_an_eager_member_with_the_reason)
{
    refuse_assignment(WEIR_RDKAFKA_ASSIGN, "range");
}

Test(consumer_refused, a_refused_assignment_closes_a_cooperative_member_with_the_reason)
{
    refuse_assignment(WEIR_RDKAFKA_INCREMENTAL_ASSIGN, "cooperative-sticky");
}

Test(consumer_refused, a_refused_last_revocation_does_not_keep_a_close)
{
    struct weir_scene scene;
    set(&scene);
    WEIR_SCENE_START(&scene, "partition.assignment.strategy", "cooperative-sticky");
    WEIR_SCENE_UNTIL(weir_scene_committed(&scene, PARTITIONS) == PARTITIONS * EACH);
    weir_rdkafka_refuse(WEIR_RDKAFKA_INCREMENTAL_UNASSIGN, 1);
    finish(&scene);
    cr_assert_eq(weir_rdkafka_refused(WEIR_RDKAFKA_INCREMENTAL_UNASSIGN), 1u);
}
