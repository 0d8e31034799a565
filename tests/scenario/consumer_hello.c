/* The first path through a consumer: messages come whole, are acked, committed, and do not come again. */
#include "tests/scenario/scene.h"
#include <string.h>

enum { PARTITIONS = 3, EACH = 40 };

static enum weir_outcome look(struct weir_subject *subject, struct weir_message *message)
{
    bool right = strcmp(weir_message_topic(message), "orders") == 0 && weir_message_partition(message) < PARTITIONS &&
                 weir_message_attempt(message) == 1 && weir_message_timestamp_ms(message) > 1600000000000 &&
                 weir_message_key_size(message) >= 5 && memcmp(weir_message_key(message), "key-", 4) == 0 &&
                 weir_message_header(message, "none", NULL) == NULL && weir_worker_index() >= 0 &&
                 weir_worker_index() < 2 && weir_worker_loop() != NULL;
    atomic_fetch_add(&subject->wrong, !right);
    return WEIR_ACK;
}

Test(consumer_hello, messages_come_are_committed_and_do_not_come_again)
{
    struct weir_scene scene;
    weir_scene_set(&scene, PARTITIONS, look, NULL);
    for (int32_t partition = 0; partition < PARTITIONS; partition++)
        weir_scene_put_many(&scene, partition, EACH, 7);
    WEIR_SCENE_START(&scene, "weir.workers", "2");
    cr_assert_eq(weir_consumer_workers(scene.subject.consumer), 2u);
    cr_assert_eq(weir_worker_index(), -1);
    cr_assert_null(weir_worker_loop());
    WEIR_SCENE_UNTIL(weir_subject_stats(&scene.subject).counters.acked == PARTITIONS * EACH);
    WEIR_SCENE_UNTIL(weir_scene_committed(&scene, PARTITIONS) == PARTITIONS * EACH);
    cr_assert_eq(weir_subject_close(&scene.subject), WEIR_OK, "%s", scene.subject.closed_error.text);
    cr_assert_eq(atomic_load(&scene.subject.wrong), 0u);
    cr_assert(weir_subject_adds_up(&scene.subject));
    weir_scene_check(&scene, true);

    struct weir_error error;
    cr_assert_eq(weir_consumer_start(scene.subject.consumer, &error), WEIR_STATE);
    weir_subject_destroy(&scene.subject);
    weir_scene_put(&scene, 1, "key-1", "one more");
    WEIR_SCENE_START(&scene, "weir.workers", "2");
    WEIR_SCENE_UNTIL(weir_scene_committed(&scene, PARTITIONS) == PARTITIONS * EACH + 1);
    cr_assert_eq(weir_subject_stats(&scene.subject).counters.consumed, 1u);
    cr_assert_eq(weir_subject_close(&scene.subject), WEIR_OK, "%s", scene.subject.closed_error.text);
    weir_scene_check(&scene, true);
    weir_scene_clear(&scene);
}
