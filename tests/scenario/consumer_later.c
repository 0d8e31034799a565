/*
 * WEIR_LATER: answers from other threads, before the handler has returned, twice, too late, and never.
 *
 * Handles go into a list; the test's own threads, or the test itself, take them from there.
 */
#include "tests/scenario/scene.h"
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { HANDLES_MAX = 4096 };

struct handles {
    pthread_mutex_t lock;
    struct weir_later list[HANDLES_MAX];
    size_t count, taken;
    struct weir_subject *subject;
    _Atomic bool stop;
    _Atomic uint64_t refused; /* answers that were not WEIR_OK */
};

static void give(struct handles *handles, struct weir_later later)
{
    pthread_mutex_lock(&handles->lock);
    if (handles->count < HANDLES_MAX)
        handles->list[handles->count++] = later;
    pthread_mutex_unlock(&handles->lock);
}

static bool take(struct handles *handles, struct weir_later *later)
{
    pthread_mutex_lock(&handles->lock);
    bool found = handles->taken < handles->count;
    if (found)
        *later = handles->list[handles->taken++];
    pthread_mutex_unlock(&handles->lock);
    return found;
}

static size_t given(struct handles *handles)
{
    pthread_mutex_lock(&handles->lock);
    size_t count = handles->count;
    pthread_mutex_unlock(&handles->lock);
    return count;
}

/* ---- from other threads ---- */

enum { MESSAGES = 600, KEYS = 60, THREADS = 3, PARTITIONS = 2 };

static enum weir_outcome give_all(struct weir_subject *subject, struct weir_message *message)
{
    give(subject->user, weir_message_later(message));
    if (weir_message_offset(message) % 3 == 0)
        weir_test_sleep_us(300); /* so that the answer often comes before the return */
    return WEIR_LATER;
}

static void *answer_all(void *argument)
{
    struct handles *handles = argument;
    struct weir_later later;
    while (!atomic_load(&handles->stop)) {
        if (!take(handles, &later)) {
            weir_test_sleep_us(100);
            continue;
        }
        int64_t offset = weir_message_offset(later.message);
        bool again = weir_message_attempt(later.message) > 1;
        enum weir_outcome outcome = offset % 10 == 0 && !again ? WEIR_RETRY : offset % 10 == 1 ? WEIR_SKIP : WEIR_ACK;
        if (weir_subject_finish(handles->subject, later, outcome) != WEIR_OK ||
            weir_later_finish(later, WEIR_ACK) != WEIR_STALE) /* finished before */
            atomic_fetch_add(&handles->refused, 1);
    }
    return NULL;
}

Test(consumer_later, answers_come_from_any_thread_once_and_in_the_order_of_the_keys)
{
    static struct handles handles = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct weir_scene scene;
    pthread_t threads[THREADS];
    weir_scene_set(&scene, PARTITIONS, give_all, &handles);
    handles.subject = &scene.subject;
    for (int32_t partition = 0; partition < PARTITIONS; partition++)
        weir_scene_put_many(&scene, partition, MESSAGES, KEYS);
    for (size_t index = 0; index < THREADS; index++)
        cr_assert_eq(pthread_create(&threads[index], NULL, answer_all, &handles), 0);
    WEIR_SCENE_START(&scene, "weir.retry.base.ms", "2");
    WEIR_SCENE_UNTIL(weir_ledger_count_finished(scene.ledger) == PARTITIONS * MESSAGES);
    cr_assert_eq(weir_subject_close(&scene.subject), WEIR_OK, "%s", scene.subject.closed_error.text);
    atomic_store(&handles.stop, true);
    for (size_t index = 0; index < THREADS; index++)
        pthread_join(threads[index], NULL);
    struct weir_stats stats = weir_subject_stats(&scene.subject);
    cr_assert_eq(stats.counters.skipped, PARTITIONS * MESSAGES / 10u);
    cr_assert_eq(stats.counters.retries, PARTITIONS * MESSAGES / 10u);
    cr_assert_eq(atomic_load(&handles.refused), 0u);
    weir_scene_check(&scene, true);
    weir_scene_clear(&scene);
}

/* ---- misuse ---- */

static enum weir_outcome misuse(struct weir_subject *subject, struct weir_message *message)
{
    if (weir_scene_is(message, "garbage"))
        return (enum weir_outcome)99;
    if (weir_scene_is(message, "negative"))
        return (enum weir_outcome) - 1;
    if (weir_scene_is(message, "no handle"))
        return WEIR_LATER;
    if (weir_scene_is(message, "handle, then ack")) {
        give(subject->user, weir_message_later(message));
        return WEIR_ACK;
    }
    if (weir_scene_is(message, "held") || weir_scene_is(message, "left")) {
        give(subject->user, weir_message_later(message));
        return WEIR_LATER;
    }
    return WEIR_ACK;
}

static void find(struct handles *handles, const char *value, struct weir_later *later)
{
    bool found = false;
    for (size_t index = handles->count;
         index-- > 0 && !found;) { /* the last first: a message may be another's by now */
        *later = handles->list[index];
        found = weir_scene_is(later->message, value);
    }
    cr_assert(found, "no handle of %s", value);
}

Test(consumer_later, what_a_handler_must_not_do_is_a_failure_and_loses_nothing)
{
    static struct handles handles = {.lock = PTHREAD_MUTEX_INITIALIZER};
    static const char *const values[] = {"garbage", "negative", "no handle", "handle, then ack",
                                         "held",    "left",     "plain"};
    struct weir_scene scene;
    struct weir_later held, left;
    weir_scene_set(&scene, 1, misuse, &handles);
    for (size_t index = 0; index < sizeof values / sizeof *values; index++)
        weir_scene_put(&scene, 0, values[index], values[index]);
    WEIR_SCENE_START(&scene, "weir.retry.attempts.max", "2", "weir.retry.base.ms", "1", "weir.close.drain.ms.max",
                     "100");
    /* garbage, negative and no handle: twice each, and dead */
    WEIR_SCENE_UNTIL(weir_subject_stats(&scene.subject).counters.dead_lettered == 3);
    WEIR_SCENE_UNTIL(weir_subject_stats(&scene.subject).counters.acked == 2 && given(&handles) == 3);
    cr_assert_eq(weir_subject_stats(&scene.subject).counters.retries, 6u);
    cr_assert_eq(weir_scene_letters(&scene), 3);
    find(&handles, "held", &held);
    find(&handles, "left", &left);
    for (size_t index = 0; index < handles.count; index++) /* of the run that then said ack: stale since */
        if (handles.list[index].message != held.message && handles.list[index].message != left.message)
            cr_assert_eq(weir_later_finish(handles.list[index], WEIR_RETRY), WEIR_STALE);
    cr_assert_eq(weir_later_finish(held, WEIR_LATER), WEIR_INVALID);
    cr_assert_eq(weir_later_finish(held, (enum weir_outcome)7), WEIR_INVALID);
    cr_assert_eq(weir_later_finish((struct weir_later){NULL, 0}, WEIR_ACK), WEIR_INVALID);
    cr_assert_eq(weir_subject_finish(&scene.subject, held, WEIR_ACK), WEIR_OK);
    cr_assert_eq(weir_later_finish(held, WEIR_ACK), WEIR_STALE);
    WEIR_SCENE_UNTIL(weir_subject_stats(&scene.subject).counters.acked == 3);

    cr_assert_eq(weir_subject_close(&scene.subject), WEIR_UNFINISHED);
    cr_assert_not_null(strstr(scene.subject.closed_error.text, "1 message"), "%s", scene.subject.closed_error.text);
    cr_assert_eq(weir_later_finish(left, WEIR_ACK), WEIR_STALE); /* after the close */
    cr_assert_eq(weir_scene_committed(&scene, 1), 5);
    cr_assert(weir_subject_adds_up(&scene.subject));
    weir_scene_clear(&scene);
}

/* ---- a deadline ---- */

static enum weir_outcome hold_one(struct weir_subject *subject, struct weir_message *message)
{
    if (!weir_scene_is(message, "held"))
        return WEIR_ACK;
    give(subject->user, weir_message_later(message));
    return WEIR_LATER;
}

Test(consumer_later, past_its_deadline_a_message_is_reported_and_waited_for)
{
    static struct handles handles = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct weir_scene scene;
    weir_scene_set(&scene, 1, hold_one, &handles);
    weir_scene_put(&scene, 0, "a", "held");
    weir_scene_put(&scene, 0, "a", "behind");
    weir_scene_put(&scene, 0, "b", "beside");
    WEIR_SCENE_START(&scene, "weir.later.deadline.ms", "300", "weir.later.policy", "wait");
    WEIR_SCENE_UNTIL(given(&handles) == 1 && weir_subject_stats(&scene.subject).counters.acked == 1);
    WEIR_SCENE_UNTIL(weir_subject_log_count("not finished for too long") > 0);
    cr_assert_eq(weir_subject_stats(&scene.subject).counters.acked, 1u);
    cr_assert_eq(weir_subject_stats(&scene.subject).running, 1u);
    cr_assert_eq(weir_subject_finish(&scene.subject, handles.list[0], WEIR_ACK), WEIR_OK);
    WEIR_SCENE_UNTIL(weir_scene_committed(&scene, 1) == 3);
    cr_assert_eq(weir_subject_close(&scene.subject), WEIR_OK, "%s", scene.subject.closed_error.text);
    weir_scene_check(&scene, true);
    weir_scene_clear(&scene);
}
