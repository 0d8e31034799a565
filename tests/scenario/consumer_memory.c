/*
 * Allocations that fail at any time, with the real door to Kafka: creation says so and leaves nothing behind; a running
 * consumer goes on, or closes with that error and another one goes on. Nothing crashes, nothing is lost.
 *
 * The simulator tries every single allocation; here threads run, and failures come at random.
 */
#include "actors/consumer.h"
#include "runtime/memory.h"
#include "runtime/random.h"
#include "tests/scenario/scene.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* ---- creation ---- */

Test(consumer_memory, a_consumer_that_cannot_be_created_says_so)
{
    unsigned refused = 0, created = 0;
    weir_subject_keep_log();
    for (uint64_t count = 0; created < 3; count++) {
        struct weir_error error = {0};
        struct weir_config *config = weir_config_create();
        cr_assert_eq(weir_config_set(config, "bootstrap.servers", "127.0.0.1:1", &error), 0);
        cr_assert_eq(weir_config_set(config, "group.id", "billing", &error), 0);
        cr_assert_eq(weir_config_set(config, "weir.topics", "orders", &error), 0);
        weir_memory_fail_after(count);
        struct weir_consumer *consumer = weir_consumer_create(config, (weir_handler *)abort, NULL, &error);
        weir_memory_fail_after(UINT64_MAX);
        refused += !consumer;
        created += consumer != NULL; /* the failure came after all allocations, or where it does not matter */
        if (!consumer) {
            cr_assert_neq(error.code, WEIR_OK);
            cr_assert_neq(error.text[0], '\0');
        }
        weir_consumer_destroy(consumer);
        weir_config_destroy(config);
        cr_assert_lt(count, 10000u);
    }
    cr_assert_gt(refused, 10u, "no allocation was made to fail");
}

/* ---- running ---- */

enum { PARTITIONS = 3, EACH = 1500, KEYS = 100, LIVES_MAX = 50 };

static _Atomic bool stop_failing;
static pthread_mutex_t failing = PTHREAD_MUTEX_INITIALIZER; /* who holds it has memory */

static void *fail_now_and_then(void *argument)
{
    struct weir_random random;
    weir_random_init(&random, 42);
    while (!atomic_load(&stop_failing)) {
        pthread_mutex_lock(&failing);
        weir_memory_fail_after(weir_random_below(&random, 40));
        weir_test_sleep_us((unsigned)weir_random_below(&random, 3000));
        weir_memory_fail_after(UINT64_MAX);
        pthread_mutex_unlock(&failing);
        weir_test_sleep_us(20);
    }
    return NULL;
}

/* Without memory for an assignment a consumer closes, says so, and whoever runs it starts another. */
static void replace(struct weir_scene *scene)
{
    pthread_mutex_lock(&failing);
    cr_assert_eq(weir_subject_close(&scene->subject), WEIR_NO_MEMORY, "%s", scene->subject.closed_error.text);
    cr_assert_not_null(strstr(scene->subject.closed_error.text, "no memory"), "%s", scene->subject.closed_error.text);
    cr_assert(weir_subject_adds_up(&scene->subject));
    weir_subject_destroy(&scene->subject);
    WEIR_SCENE_START(scene, "weir.retry.base.ms", "2");
    pthread_mutex_unlock(&failing);
}

/* By the offset and the attempt, so that it is the same in each life. */
static enum weir_outcome answer(struct weir_subject *subject, struct weir_message *message)
{
    int64_t offset = weir_message_offset(message);
    if (offset % 50 == 3)
        return weir_dead(message, "poison");
    if (offset % 20 == 5 && weir_message_attempt(message) == 1)
        return weir_retry(message, "fails at first");
    if (offset % 4 == 0)
        weir_test_sleep_us(200);
    return WEIR_ACK;
}

Test(consumer_memory, a_running_consumer_loses_nothing_while_allocations_fail)
{
    struct weir_scene scene;
    pthread_t thread;
    unsigned lives = 0;
    weir_scene_set(&scene, PARTITIONS, answer, NULL);
    for (int32_t partition = 0; partition < PARTITIONS; partition++)
        weir_scene_put_many(&scene, partition, EACH, KEYS);
    WEIR_SCENE_START(&scene, "weir.retry.base.ms", "2");
    cr_assert_eq(pthread_create(&thread, NULL, fail_now_and_then, NULL), 0);
    WEIR_SCENE_UNTIL(weir_ledger_count_finished(scene.ledger) >= PARTITIONS * (EACH - EACH / 50) ||
                     (weir_consumer_is_closed(scene.subject.consumer) && (replace(&scene), ++lives > LIVES_MAX)));
    atomic_store(&stop_failing, true);
    pthread_join(thread, NULL);
    WEIR_SCENE_UNTIL(weir_scene_committed(&scene, PARTITIONS) == PARTITIONS * EACH ||
                     (weir_consumer_is_closed(scene.subject.consumer) && (replace(&scene), ++lives > LIVES_MAX)));
    int code = weir_subject_close(&scene.subject);
    cr_assert_eq(code, WEIR_OK, "%s", scene.subject.closed_error.text);
    cr_assert(weir_subject_adds_up(&scene.subject));
    cr_assert_leq(lives, (unsigned)LIVES_MAX);
    cr_assert_geq(weir_scene_letters(&scene), PARTITIONS * EACH / 50);
    weir_scene_clear(&scene);
}
