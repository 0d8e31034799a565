/*
 * Stores and inboxes on real threads, over a mock cluster: for the race checkers, and because the simulator has one
 * thread.
 */
#include "tests/scenario/scene.h"
#include "tests/stores/place.h"
#include <stdio.h>
#include <weir/inbox.h>

enum { MESSAGES = 2000, KEYS = 50 };

static struct weir_effects *effects;
static struct weir_inbox *inbox;
static _Atomic uint64_t handled, copies, busy;

static size_t id_of_a_pair(struct weir_message *message, void *user, const void **id)
{
    static _Thread_local int64_t pair;
    pair = weir_message_offset(message) / 2;
    *id = &pair;
    return sizeof pair;
}

static enum weir_outcome through_the_inbox(struct weir_subject *subject, struct weir_message *message)
{
    int mark = weir_inbox_begin(inbox, message, NULL);
    atomic_fetch_add(mark == WEIR_MARK_BUSY ? &busy : mark == WEIR_MARK_DONE ? &copies : &handled, 1);
    if (mark != WEIR_MARK_NEW)
        return weir_mark_outcome(mark);
    if (weir_message_offset(message) % 7 == 0)
        weir_test_sleep_us(1000); /* the other copy comes meanwhile */
    return weir_inbox_end(inbox, message, WEIR_ACK);
}

Test(stores_threads, of_two_copies_at_the_same_time_one_is_handled)
{
    struct weir_scene scene;
    struct weir_inbox_settings settings = {.id = id_of_a_pair, .window_ms = 3600000};
    inbox = weir_inbox_create(&settings, 1 << 20, NULL);
    cr_assert_not_null(inbox);
    weir_scene_set(&scene, 1, through_the_inbox, NULL);
    weir_scene_put_many(&scene, 0, MESSAGES, KEYS);
    WEIR_SCENE_START(&scene, "weir.workers", "4");
    WEIR_SCENE_UNTIL(weir_scene_committed(&scene, 1) == MESSAGES);
    cr_assert_eq(weir_subject_close(&scene.subject), WEIR_OK, "%s", scene.subject.closed_error.text);
    fprintf(stderr, "%d messages: %llu handled, %llu copies, %llu times one waited\n", MESSAGES,
            (unsigned long long)handled, (unsigned long long)copies, (unsigned long long)busy);
    cr_assert_eq(handled, MESSAGES / 2);
    cr_assert_eq(copies, MESSAGES / 2);
    cr_assert_eq(weir_inbox_stats_of(inbox).copies, MESSAGES / 2);
    weir_subject_destroy(&scene.subject);
    weir_inbox_destroy(inbox);
    weir_scene_clear(&scene);
}

static enum weir_outcome into_the_store(struct weir_subject *subject, struct weir_message *message)
{
    int mark;
    return weir_effects_apply(effects, message, 0, &mark);
}

Test(stores_threads, marks_of_many_threads_are_pruned_beside_them)
{
    WEIR_EACH_KIND(kind)
    {
        struct weir_scene scene;
        struct weir_place place;
        struct weir_error error = {0};
        weir_place_set(&place, kind);
        effects = weir_place_open_inbox(&place, id_of_a_pair, 1);
        weir_scene_set(&scene, 2, into_the_store, NULL);
        weir_scene_put_many(&scene, 0, MESSAGES / 2, KEYS);
        weir_scene_put_many(&scene, 1, MESSAGES / 2, KEYS);
        weir_subject_create(&scene.subject,
                            (const char *const[]){"bootstrap.servers", weir_mock_bootstrap(scene.mock), "group.id",
                                                  place.run, "weir.topics", "orders", "auto.offset.reset", "earliest",
                                                  "weir.blocking.threads", "4", "weir.commit.interval.ms", "50", NULL});
        cr_assert_eq(weir_effects_attach(effects, scene.subject.consumer, &error), 0);
        cr_assert_eq(weir_consumer_start(scene.subject.consumer, &error), 0, "%s", error.text);
        WEIR_SCENE_UNTIL(atomic_load(&scene.subject.ended) >= MESSAGES);
        cr_assert_eq(weir_subject_close(&scene.subject), WEIR_OK, "%s", scene.subject.closed_error.text);
        struct weir_effects_count count = weir_effects_count(effects);
        cr_assert(count.effects == MESSAGES / 2 && count.messages == MESSAGES / 2, "%lld effects of %lld messages",
                  (long long)count.effects, (long long)count.messages);
        cr_assert_eq(count.marks, 0, "the close did not wait for the last floor");
        weir_subject_destroy(&scene.subject);
        weir_effects_close(effects);
        weir_scene_clear(&scene);
        weir_place_clear(&place);
    }
}
