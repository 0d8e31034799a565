/*
 * Messages that fail: a dead letter topic that is not there, takes nothing of their size, or whose broker stands still;
 * poison that is retried for ever beside messages that are well.
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

/* ---- a broker of dead letters that stands still ---- */

enum { DEAD_EVERY = 20, LETTERS_BROKER = 2, FAILOVER_MS = 4000 };

/* Messages that do not die, of what was produced. */
static uint64_t count_healthy(const struct weir_scene *scene)
{
    uint64_t count = 0;
    for (size_t place = 0; place < weir_ledger_count(scene->stage.ledger); place++) {
        const struct weir_ledger_record *record = weir_ledger_at(scene->stage.ledger, place);
        count += record && record->kind == WEIR_LEDGER_EMIT &&
                 !weir_member_is_one_in(DEAD_EVERY, record->partition, record->offset, scene->seed + 2);
    }
    return count;
}

/* All that does not die finishes while no letter can go out; then the letters do. */
static void work_without_letters(struct weir_scene *scene, uint64_t count)
{
    weir_scene_broker(scene, "pause 2");
    weir_scene_sleep(scene, FAILOVER_MS); /* what else that broker led gets other leaders */
    weir_scene_produce(scene, count);
    uint64_t healthy = count_healthy(scene);
    WEIR_SCENE_REQUIRE(scene, scene->stage.produced - healthy > scene->stage.produced / DEAD_EVERY / 2,
                       "vacuous: %" PRIu64 " of %" PRIu64 " die", scene->stage.produced - healthy,
                       scene->stage.produced);
    WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, weir_ledger_count_finished(scene->stage.ledger) >= healthy);
    weir_scene_sleep(scene, 1000);
    WEIR_SCENE_REQUIRE(scene, weir_stage_committed(&scene->stage) < (int64_t)scene->stage.produced,
                       "all was committed without a letter");
    weir_scene_broker_back(scene, "resume 2");
    WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, weir_scene_is_done(scene));
}

/* Three brokers, of which one has the dead letter topic alone. A key for each message: nobody waits behind a letter. */
void weir_scenario_letters_slow(struct weir_scene *scene)
{
    weir_broker_start("--brokers 3 --set auto.create.topics.enable=false");
    weir_scene_set(scene);
    weir_broker_topic_delete(scene->letters);
    weir_broker_topic_place(scene->letters, 1, LETTERS_BROKER);
    atomic_store(&scene->settings.dead_every, DEAD_EVERY);
    uint64_t part = scene->size.messages / (scene->size.disturbances + 1);
    weir_scene_produce(scene, scene->size.messages - scene->size.disturbances * part);
    start_all(scene, WEIR_SCENE_SETTINGS(scene, "weir.dlq.budget.burst", "0", "weir.held.policy", "wait",
                                         "weir.window.messages.max", "1024", "session.timeout.ms", "6000",
                                         "topic.metadata.refresh.interval.ms", "2000"));
    WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, weir_scene_is_done(scene));
    for (unsigned round = 0; round < scene->size.disturbances; round++)
        work_without_letters(scene, part);
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
