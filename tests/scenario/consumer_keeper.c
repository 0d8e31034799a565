/*
 * The callback of weir_consumer_on_partition() on real threads: it blocks, and nobody else waits; nothing runs before
 * its answer; and the close waits for it. What it decides is in tests/sim/consumer_keeper.c.
 */
#include "tests/scenario/scene.h"
#include <pthread.h>

enum { MESSAGES = 200, FIRST = 50 };

static _Atomic uint64_t answered, released, floors, last_floor, inside, early, refused;
static _Atomic(pthread_t) thread;
static struct weir_subject *watched;

static int keep(struct weir_partition_news *news, void *user, struct weir_error *error)
{
    if (atomic_fetch_add(&inside, 1) > 0)
        atomic_fetch_add(&watched->wrong, 1);
    if (news->event == WEIR_PARTITION_TAKEN) {
        atomic_store(&thread, pthread_self());
        weir_test_sleep_us(300000);
        early += atomic_load(&watched->started);
        atomic_store(&answered, 1);
        news->offset = FIRST;
    } else {
        atomic_fetch_add(&floors, 1);
        atomic_store(&last_floor, (uint64_t)news->offset);
        /* Handlers go on while a floor is written. */
        if (!weir_test_reaches(&released, 1))
            atomic_fetch_add(&watched->wrong, 1);
        struct weir_error closing;
        refused += weir_consumer_close(watched->consumer, &closing) == WEIR_STATE;
        weir_test_sleep_us(20000);
    }
    atomic_fetch_sub(&inside, 1);
    return news->event == WEIR_PARTITION_TAKEN ? WEIR_PARTITION_MOVED : 0;
}

static enum weir_outcome on_message(struct weir_subject *subject, struct weir_message *message)
{
    bool right = atomic_load(&answered) == 1 && weir_message_offset(message) >= FIRST &&
                 weir_message_epoch(message) == 1 && !pthread_equal(pthread_self(), atomic_load(&thread));
    atomic_fetch_add(&subject->wrong, !right);
    return WEIR_ACK;
}

Test(consumer_keeper, blocks_on_a_thread_of_its_own_and_is_waited_for_by_the_close)
{
    struct weir_scene scene;
    weir_scene_set(&scene, 1, on_message, NULL);
    scene.subject.on_partition = keep;
    watched = &scene.subject;
    weir_scene_put_many(&scene, 0, MESSAGES, 20);
    WEIR_SCENE_START(&scene, "weir.workers", "2");
    WEIR_SCENE_UNTIL(atomic_load(&floors) == 1);
    WEIR_SCENE_UNTIL(atomic_load(&scene.subject.ended) == MESSAGES - FIRST);
    WEIR_SCENE_UNTIL(weir_scene_committed(&scene, 1) == MESSAGES);
    cr_assert_eq(atomic_load(&floors), 1, "it was called while it was inside");
    atomic_store(&released, 1);
    cr_assert_eq(weir_subject_close(&scene.subject), WEIR_OK, "%s", scene.subject.closed_error.text);
    cr_assert_eq(atomic_load(&inside), 0u, "the close did not wait");
    uint64_t told = atomic_load(&floors);
    cr_assert_eq(atomic_load(&last_floor), (uint64_t)MESSAGES, "the last floor was not told");
    cr_assert_eq(atomic_load(&early), 0u);
    cr_assert_eq(atomic_load(&refused), told, "close was called by the callback, and not refused");
    cr_assert_eq(atomic_load(&scene.subject.wrong), 0u);
    weir_subject_destroy(&scene.subject);
    cr_assert_eq(atomic_load(&floors), told, "it was called after the close");
    weir_scene_clear(&scene);
}
