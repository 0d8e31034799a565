/*
 * State of keys on real threads: the handler and the destructor write to it without a lock, answers come from other
 * threads, few are kept; each that was made is destroyed once.
 */
#include "tests/scenario/scene.h"
#include <pthread.h>
#include <stdlib.h>
#include <weir/key_state.h>

enum { MESSAGES = 3000, KEYS = 40, PARTITIONS = 2 };

struct total {
    uint64_t count; /* plain: who has the key writes it */
};

static _Atomic uint64_t made, ended, counted;

static void *make(struct weir_message *message, void *user)
{
    (void)message;
    (void)user;
    atomic_fetch_add(&made, 1);
    return calloc(1, sizeof(struct total));
}

static void end(void *state, void *user)
{
    (void)user;
    struct total *total = state;
    atomic_fetch_add(&counted, total->count);
    atomic_fetch_add(&ended, 1);
    free(total);
}

static void give_states(struct weir_subject *subject)
{
    static const struct weir_key_state_class class = {sizeof class, make, end, 64, NULL};
    struct weir_error error;
    cr_assert_eq(weir_consumer_key_state(subject->consumer, &class, &error), 0, "%s", error.text);
}

static void *answer(void *argument)
{
    struct weir_later *later = argument;
    ((struct total *)weir_message_state(later->message))->count++;
    weir_later_finish(*later, WEIR_ACK);
    free(later);
    return NULL;
}

static enum weir_outcome add(struct weir_subject *subject, struct weir_message *message)
{
    (void)subject;
    struct total *total = weir_message_state(message);
    if (!total)
        return WEIR_RETRY;
    if (weir_message_offset(message) % 64 != 0) {
        total->count++;
        return WEIR_ACK;
    }
    struct weir_later *later = malloc(sizeof *later);
    pthread_t thread;
    if (!later)
        return WEIR_RETRY;
    *later = weir_message_later(message);
    if (pthread_create(&thread, NULL, answer, later) == 0)
        pthread_detach(thread);
    return WEIR_LATER;
}

static void run(const char *threads)
{
    struct weir_scene scene;
    atomic_store(&made, 0);
    atomic_store(&ended, 0);
    atomic_store(&counted, 0);
    weir_scene_set(&scene, PARTITIONS, add, NULL);
    scene.subject.prepare = give_states;
    scene.subject.ledger = NULL;
    for (int32_t partition = 0; partition < PARTITIONS; partition++)
        weir_scene_put_many(&scene, partition, MESSAGES, KEYS);
    WEIR_SCENE_START(&scene, "weir.key.state.keys.max", "8", "weir.blocking.threads", threads);
    WEIR_SCENE_UNTIL(weir_subject_stats(&scene.subject).counters.acked == PARTITIONS * MESSAGES);
    cr_assert_eq(weir_subject_close(&scene.subject), WEIR_OK, "%s", scene.subject.closed_error.text);
    cr_assert_eq(atomic_load(&counted), PARTITIONS * MESSAGES, "every message is in a state that was destroyed");
    cr_assert_gt(atomic_load(&made), 8u);
    cr_assert_eq(atomic_load(&made), atomic_load(&ended));
    weir_scene_clear(&scene);
}

Test(key_state, is_written_without_a_lock_by_workers_and_holders)
{
    run("0");
}

Test(key_state, is_written_without_a_lock_by_threads_that_may_block)
{
    run("3");
}
