/*
 * Handlers that block, on threads of their own: as many at a time as there are threads, and nobody else waits with
 * them.
 */
#include "tests/scenario/scene.h"
#include <stdio.h>

enum { THREADS = 8, MESSAGES = 400, KEYS = 400, FIRST_BLOCK = 4 };

static _Atomic uint64_t inside, together, passed, released;

/* Wait for a while until the counter has that value; a bound far above what anything takes. */
static bool await(_Atomic uint64_t *counter, uint64_t value)
{
    return weir_test_reaches(counter, value);
}

/* The first handlers come back only when all the other messages of the partition, which lie behind them, have been
 * handled and are told of by a commit. The first THREADS handlers of all must be inside together. */
static enum weir_outcome on_message(struct weir_subject *subject, struct weir_message *message)
{
    bool right = weir_worker_index() >= 0 && weir_worker_index() < THREADS && weir_worker_loop() == NULL;
    if (atomic_fetch_add(&together, 1) < THREADS)
        right &= await(&together, THREADS);
    right &= atomic_fetch_add(&inside, 1) < THREADS;
    if (weir_message_offset(message) < FIRST_BLOCK)
        right &= await(&passed, MESSAGES - FIRST_BLOCK) && await(&released, 1);
    else
        atomic_fetch_add(&passed, 1);
    atomic_fetch_sub(&inside, 1);
    atomic_fetch_add(&subject->wrong, !right);
    return WEIR_ACK;
}

Test(consumer_blocking, handlers_block_on_threads_of_their_own_while_pulls_and_commits_go_on)
{
    struct weir_scene scene;
    weir_scene_set(&scene, 1, on_message, NULL);
    weir_scene_put_many(&scene, 0, MESSAGES, KEYS);
    char threads[8];
    snprintf(threads, sizeof threads, "%d", THREADS);
    WEIR_SCENE_START(&scene, "weir.workers", "1", "weir.blocking.threads", threads, "weir.window.messages.max", "50");
    cr_assert_eq(weir_consumer_workers(scene.subject.consumer), (unsigned)THREADS);
    /* The window is smaller than the topic: all this was pulled, and its credit returned, while some block. */
    cr_assert(weir_test_reaches(&passed, MESSAGES - FIRST_BLOCK));
    uint64_t commits = weir_subject_stats(&scene.subject).commits;
    atomic_store(&released, 1);
    WEIR_SCENE_UNTIL(weir_scene_committed(&scene, 1) == MESSAGES);
    cr_assert_gt(commits, 0u, "nothing was committed while handlers blocked");
    cr_assert_eq(weir_subject_close(&scene.subject), WEIR_OK, "%s", scene.subject.closed_error.text);
    cr_assert_eq(atomic_load(&scene.subject.wrong), 0u);
    cr_assert(weir_subject_adds_up(&scene.subject));
    weir_scene_check(&scene, true);
    weir_subject_destroy(&scene.subject);
    weir_scene_clear(&scene);
}
