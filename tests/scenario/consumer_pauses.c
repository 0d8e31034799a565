/*
 * What stops the intake, and what keeps it open: the reasons are in the statistics while they hold, and go away.
 */
#include "tests/scenario/scene.h"

static bool is_paused(const struct weir_scene *scene, uint32_t reason)
{
    return weir_subject_stats(&scene->subject).pause & reason;
}

/* ---- the window ---- */

enum { MESSAGES = 100, WINDOW = 10 };

struct desk {
    struct weir_later handles[MESSAGES];
    _Atomic unsigned given, finished;
    _Atomic bool open;
};

/* Messages lie on the desk until the test takes them; the last one blocks its worker. */
static enum weir_outcome put_on_the_desk(struct weir_subject *subject, struct weir_message *message)
{
    struct desk *desk = subject->user;
    if (weir_scene_is(message, "blocks")) {
        while (!atomic_load(&desk->open))
            weir_test_sleep_us(1000);
        return WEIR_ACK;
    }
    /* One partition and one key: places are taken one after the other. */
    desk->handles[atomic_load(&desk->given)] = weir_message_later(message);
    atomic_fetch_add(&desk->given, 1);
    return WEIR_LATER;
}

/* Take what lies there; true when all has been taken. */
static bool take_all(struct weir_scene *scene, struct desk *desk)
{
    for (; atomic_load(&desk->finished) < atomic_load(&desk->given); atomic_fetch_add(&desk->finished, 1))
        cr_assert_eq(weir_subject_finish(&scene->subject, desk->handles[atomic_load(&desk->finished)], WEIR_ACK),
                     WEIR_OK);
    return atomic_load(&desk->finished) == MESSAGES;
}

Test(consumer_pauses, a_full_window_stops_pulling_until_it_drains)
{
    struct weir_scene scene;
    static struct desk desk;
    weir_scene_set(&scene, 1, put_on_the_desk, &desk);
    weir_scene_put_many(&scene, 0, MESSAGES, 1);
    WEIR_SCENE_START(&scene, "weir.window.messages.max", "10", "weir.handler.warn.ms", "200");
    WEIR_SCENE_UNTIL(is_paused(&scene, WEIR_PAUSE_WINDOW));
    struct weir_stats stats = weir_subject_stats(&scene.subject);
    cr_assert_eq(stats.in_flight, (uint64_t)WINDOW);
    cr_assert_eq(stats.counters.consumed, (uint64_t)WINDOW);
    cr_assert_eq(stats.partitions_paused, 1u);
    WEIR_SCENE_UNTIL(take_all(&scene, &desk));
    WEIR_SCENE_UNTIL(weir_subject_stats(&scene.subject).counters.acked == MESSAGES);
    WEIR_SCENE_UNTIL(weir_subject_stats(&scene.subject).pause == 0);
    cr_assert_gt(weir_subject_stats(&scene.subject).counters.pauses, 5u);

    weir_scene_put(&scene, 0, "key", "blocks");
    WEIR_SCENE_UNTIL(weir_subject_log_count("has been in one turn for") > 0); /* the watchdog names the handler */
    cr_assert_gt(weir_subject_log_count("offset 100"), 0u);
    atomic_store(&desk.open, true);
    WEIR_SCENE_UNTIL(weir_scene_committed(&scene, 1) == MESSAGES + 1);
    cr_assert_eq(weir_subject_close(&scene.subject), WEIR_OK, "%s", scene.subject.closed_error.text);
    weir_scene_check(&scene, true);
    weir_scene_clear(&scene);
}

/* ---- poison ---- */

static enum weir_outcome fail_by_name(struct weir_subject *subject, struct weir_message *message)
{
    _Atomic bool *healed = subject->user;
    bool fails = !weir_scene_is(message, "healthy") && !atomic_load(healed);
    return fails ? weir_retry_after(message, 20, "poison") : WEIR_ACK;
}

/* `count` messages of keys of their own that fail, and one behind them that does not. */
static void put_poison(struct weir_scene *scene, unsigned count)
{
    weir_scene_put_many(scene, 0, count, count);
    weir_scene_put(scene, 0, "healthy", "healthy");
}

Test(consumer_pauses, held_messages_stop_pulling_by_the_policy_wait_until_they_heal)
{
    struct weir_scene scene;
    _Atomic bool healed = false;
    weir_scene_set(&scene, 1, fail_by_name, &healed);
    put_poison(&scene, 30);
    WEIR_SCENE_START(&scene, "weir.held.messages.max", "8", "weir.held.policy", "wait", "weir.window.messages.max",
                     "16", "weir.retry.attempts.max", "0");
    WEIR_SCENE_UNTIL(is_paused(&scene, WEIR_PAUSE_HELD));
    cr_assert_eq(weir_subject_stats(&scene.subject).counters.acked, 0u);
    cr_assert_leq(weir_subject_stats(&scene.subject).in_flight, 16u);
    atomic_store(&healed, true);
    WEIR_SCENE_UNTIL(weir_subject_stats(&scene.subject).counters.acked == 31);
    WEIR_SCENE_UNTIL(weir_subject_stats(&scene.subject).pause == 0);
    cr_assert_eq(weir_subject_close(&scene.subject), WEIR_OK, "%s", scene.subject.closed_error.text);
    weir_scene_check(&scene, true);
    weir_scene_clear(&scene);
}

Test(consumer_pauses, held_messages_never_close_the_intake_by_the_policy_dead)
{
    struct weir_scene scene;
    _Atomic bool healed = false;
    weir_scene_set(&scene, 1, fail_by_name, &healed);
    put_poison(&scene, 100);
    WEIR_SCENE_START(&scene, "weir.held.messages.max", "8", "weir.held.policy", "dead", "weir.window.messages.max",
                     "16", "weir.retry.attempts.max", "0", "weir.dlq.budget.burst", "0");
    WEIR_SCENE_UNTIL(weir_subject_stats(&scene.subject).counters.acked == 1); /* the healthy one, behind all poison */
    uint64_t dead = weir_subject_stats(&scene.subject).counters.dead_lettered;
    cr_assert_geq(dead, 100u - 16, "%llu", (unsigned long long)dead);
    cr_assert_str_eq(weir_scene_letter(&scene, "0", "weir.dlq.reason").text, "held");
    atomic_store(&healed, true);
    WEIR_SCENE_UNTIL(weir_subject_stats(&scene.subject).in_flight == 0);
    WEIR_SCENE_UNTIL(weir_scene_committed(&scene, 1) == 101);
    cr_assert_eq(weir_subject_close(&scene.subject), WEIR_OK, "%s", scene.subject.closed_error.text);
    cr_assert(weir_subject_adds_up(&scene.subject));
    weir_scene_clear(&scene);
}

/* ---- the budget of dead letters ---- */

static enum weir_outcome kill_all(struct weir_subject *subject, struct weir_message *message)
{
    return weir_scene_is(message, "healthy") ? WEIR_ACK : weir_dead(message, "poison");
}

Test(consumer_pauses, a_spent_budget_of_dead_letters_holds_the_rest_and_stops_pulling)
{
    enum { BURST = 5 };
    struct weir_scene scene;
    weir_scene_set(&scene, 1, kill_all, NULL);
    put_poison(&scene, 40);
    WEIR_SCENE_START(&scene, "weir.dlq.budget.burst", "5", "weir.dlq.budget.percent", "0", "weir.dlq.budget.per.minute",
                     "1", "weir.held.messages.max", "8", "weir.window.messages.max", "16", "weir.close.drain.ms.max",
                     "100");
    WEIR_SCENE_UNTIL(is_paused(&scene, WEIR_PAUSE_DLQ));
    WEIR_SCENE_UNTIL(weir_subject_stats(&scene.subject).counters.dead_lettered == BURST);
    cr_assert_gt(weir_subject_log_count("budget is spent"), 0u);
    cr_assert_eq(weir_scene_letters(&scene), BURST);
    cr_assert_eq(weir_subject_stats(&scene.subject).counters.acked, 0u);
    cr_assert_eq(weir_subject_close(&scene.subject), WEIR_UNFINISHED);
    cr_assert(weir_subject_adds_up(&scene.subject));
    cr_assert_leq(weir_scene_letters(&scene), BURST + 1); /* one more is earned in a minute */
    weir_scene_clear(&scene);
}
