/*
 * Messages that fail: a dead letter topic that is not there, or takes nothing of their size; poison that is retried for
 * ever beside messages that are well.
 */
#include "tests/chaos/families.h"
#include <inttypes.h>
#include <stdio.h>

static void start_all(struct weir_scene *scene, const char *const *settings)
{
    for (unsigned member = 0; member < scene->size.members; member++)
        weir_scene_start(scene, member, settings);
}

static uint64_t refused(const struct weir_scene *scene)
{
    uint64_t count = 0;
    for (unsigned member = 0; member < scene->size.members; member++)
        count += weir_member_log_count(&scene->members[member], "dead letter refused");
    return count;
}

/* On a cluster that creates no topics by itself. Progress is expected once letters can go out. */
void weir_scenario_letters(struct weir_scene *scene)
{
    static const char *const tight[] = {"max.message.bytes", "150", NULL};
    char command[256];
    weir_broker_start("--set auto.create.topics.enable=false");
    weir_scene_set(scene);
    weir_broker_topic_delete(scene->letters);
    atomic_store(&scene->settings.dead_every, 20);
    weir_scene_produce(scene, scene->size.messages);
    start_all(scene, WEIR_SCENE_SETTINGS(scene, "weir.dlq.budget.burst", "0", "weir.held.policy", "wait"));
    weir_scene_other(scene); /* missing */
    WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, refused(scene) > 0);
    weir_scene_kill(scene, 0);
    weir_scene_start(scene, 0, WEIR_SCENE_SETTINGS(scene, "weir.dlq.budget.burst", "0", "weir.held.policy", "wait"));
    weir_broker_topic_create(scene->letters, 1, tight);
    weir_scene_other(scene); /* too small */
    weir_scene_sleep(scene, 3000);
    WEIR_SCENE_REQUIRE(scene, !weir_scene_is_done(scene), "all was committed without one dead letter");
    snprintf(command, sizeof command, "config topic %s max.message.bytes=1000000", scene->letters);
    weir_broker_control(command);
    weir_scene_watch(scene, true);
    weir_scene_finish(scene, 60000);
    weir_scene_judge(scene);
}

/* ---- poison ---- */

/* Milliseconds from 10 to 80 percent of what is well. */
static uint64_t work_through(struct weir_scene *scene, uint64_t count)
{
    weir_scene_set(scene);
    weir_scene_produce(scene, count);
    start_all(scene, WEIR_SCENE_SETTINGS(scene, "weir.retry.attempts.max", "0", "weir.retry.base.ms", "100",
                                         "weir.retry.max.ms", "30000", "weir.held.policy", "dead",
                                         "weir.window.messages.max", "1024", "weir.dlq.budget.burst", "100000"));
    WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, weir_scene_finished(scene) > count / 10);
    uint64_t began_ms = weir_broker_now_ms();
    WEIR_SCENE_UNTIL(scene, 600000, weir_scene_finished(scene) > count / 10 * 8);
    return weir_broker_now_ms() - began_ms;
}

/* What is well goes on at 0.9 of its pace beside 1 % of poison. Timing, so that there is no short form. */
void weir_scenario_poison(struct weir_scene *scene)
{
    uint64_t healthy_ms = work_through(scene, scene->size.messages);
    weir_scene_other(scene);
    weir_scene_finish(scene, 60000);
    weir_scene_judge(scene);
    struct weir_chaos_result healthy = *scene->result;
    for (unsigned member = 0; member < WEIR_SCENE_MEMBERS_MAX; member++)
        weir_member_deinit(&scene->members[member]);
    atomic_store(&scene->settings.poison_every, 100);
    uint64_t poisoned_ms = work_through(scene, scene->size.messages);
    weir_scene_other(scene);
    fprintf(stderr, "70 %% took %" PRIu64 " ms without poison, %" PRIu64 " ms beside it\n", healthy_ms, poisoned_ms);
    weir_scene_sleep(scene, 2000);
    scene->terms.unfinished = true; /* poison is retried for ever */
    weir_scene_judge(scene);
    uint64_t retries = 0;
    for (unsigned member = 0; member < scene->size.members; member++)
        retries += scene->members[member].board->stats.counters.retries;
    WEIR_SCENE_REQUIRE(scene, retries > scene->size.messages / 200, "vacuous: %" PRIu64 " runs of poison", retries);
    WEIR_SCENE_REQUIRE(scene, healthy.ok, "%s", healthy.text);
    WEIR_SCENE_REQUIRE(scene, 10 * healthy_ms >= 9 * poisoned_ms,
                       "70 %% took %" PRIu64 " ms without poison and %" PRIu64 " ms beside it", healthy_ms,
                       poisoned_ms);
}
