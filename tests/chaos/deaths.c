/*
 * Deaths and sleeps of members. What they had finished and no acknowledged commit told is run again, and nothing else;
 * what they had is taken over; one that wakes up after it was given up touches nothing of its successor's.
 */
#include "tests/chaos/families.h"
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

/* ---- a kill with one stuck message at the head of each partition ---- */

/* The first message of each partition is put off for a day; all behind it go on. Killed at some moment of that, once
 * for each disturbance; at the last start nothing is put off any more. */
void weir_scenario_stuck(struct weir_scene *scene)
{
    weir_scene_set(scene);
    weir_scene_produce(scene, scene->size.messages);
    const char *const *settings =
        WEIR_SCENE_SETTINGS(scene, "weir.window.messages.max", "8192", "weir.commit.messages.max", "0",
                            "weir.commit.interval.ms", "100", "session.timeout.ms", "1500");
    atomic_store(&scene->settings.hold_below, 1);
    uint64_t part = scene->size.messages / (scene->size.disturbances + 1);
    for (unsigned round = 0; round < scene->size.disturbances; round++) {
        uint64_t before = weir_scene_finished(scene), more = part / 2 + weir_scene_below(scene, part / 2);
        weir_scene_start(scene, 0, settings);
        WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, weir_scene_finished(scene) >= before + more);
        weir_scene_kill(scene, 0);
        fprintf(stderr, "killed: %" PRIu64 " finished since the commit before the last, %" PRIu64 " in flight\n",
                atomic_load(&scene->members[0].board->finished) - atomic_load(&scene->members[0].board->told),
                atomic_load(&scene->members[0].board->in_flight));
    }
    for (int32_t partition = 0; partition < scene->stage.partitions; partition++)
        WEIR_SCENE_REQUIRE(
            scene, weir_broker_committed(scene->stage.group.text, scene->stage.topic.text, partition, NULL, 0) == 0,
            "partition %d: the stuck message did not hold the floor", (int)partition);
    atomic_store(&scene->settings.hold_below, 0);
    weir_scene_start(scene, 0, settings);
    WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, atomic_load(&scene->members[0].board->partitions) > 0);
    weir_scene_watch(scene, true);
    weir_scene_finish(scene, 60000);
    weir_scene_judge(scene);
    WEIR_SCENE_REQUIRE(scene, 2 * scene->result->duplicates_bound < scene->size.messages,
                       "%" PRIu64 " of %" PRIu64 " may come again: the maps told next to nothing",
                       scene->result->duplicates_bound, scene->size.messages);
}

/* ---- zombies ---- */

static uint64_t partitions_of(const struct weir_scene *scene, unsigned member)
{
    return atomic_load(&scene->members[member].board->partitions);
}

/* Stopped until the other one has all partitions and has worked on them for a while; then it goes on. */
static void sleep_and_wake(struct weir_scene *scene, unsigned sleeper)
{
    unsigned other = 1 - sleeper;
    uint64_t all = (uint64_t)scene->stage.partitions;
    weir_scene_stop(scene, sleeper);
    WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, partitions_of(scene, other) == all);
    weir_scene_sleep(scene, 200 + weir_scene_below(scene, 1500));
    weir_scene_continue(scene, sleeper);
    WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS,
                     partitions_of(scene, sleeper) == all / 2 && partitions_of(scene, other) == all / 2);
}

void weir_scenario_zombie(struct weir_scene *scene)
{
    weir_scene_set(scene);
    const char *const *settings = WEIR_SCENE_SETTINGS(scene, "session.timeout.ms", "2000", "heartbeat.interval.ms",
                                                      "100", "weir.commit.interval.ms", "100");
    weir_scene_produce(scene, scene->size.messages);
    for (unsigned member = 0; member < 2; member++)
        weir_scene_start(scene, member, settings);
    uint64_t half = (uint64_t)scene->stage.partitions / 2;
    WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS,
                     partitions_of(scene, 0) == half && partitions_of(scene, 1) == half &&
                         weir_scene_finished(scene) > 0);
    weir_scene_watch(scene, true);
    for (unsigned round = 0; round < scene->size.disturbances; round++) {
        sleep_and_wake(scene, round % 2);
        weir_scene_sleep(scene, 300);
    }
    WEIR_SCENE_REQUIRE(scene, weir_scene_finished(scene) < scene->stage.produced,
                       "all was done before the last one woke: nothing was at stake");
    weir_scene_finish(scene, 90000);
    weir_scene_judge(scene);
    WEIR_SCENE_REQUIRE(scene, scene->result->moved_back == 0, "%" PRIu64 " commits moved a floor back",
                       scene->result->moved_back);
}

/* ---- one member that comes and goes ---- */

/* Keys on every partition, so that a message passed over shows; as many changes of owner as the time allows. */
void weir_scenario_flap(struct weir_scene *scene)
{
    weir_scene_set(scene);
    const char *const *settings = WEIR_SCENE_SETTINGS(scene, "heartbeat.interval.ms", "100");
    uint64_t rounds = 0, until_ms = weir_broker_now_ms() + 1000ull * scene->size.seconds;
    weir_scene_produce(scene, scene->size.messages / 2);
    for (unsigned member = 0; member + 1 < scene->size.members; member++)
        weir_scene_start(scene, member, settings);
    WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, weir_scene_finished(scene) > 0);
    weir_scene_watch(scene, true);
    weir_scene_produce(scene, scene->size.messages - scene->size.messages / 2);
    unsigned flaps = scene->size.members - 1;
    for (; weir_broker_now_ms() < until_ms || rounds < scene->size.disturbances; rounds++) {
        weir_scene_start(scene, flaps, settings);
        uint64_t patience_ms = weir_broker_now_ms() + 200 + weir_scene_below(scene, 2000);
        while (partitions_of(scene, flaps) == 0 && weir_broker_now_ms() < patience_ms)
            weir_scene_sleep(scene, 10);
        weir_scene_sleep(scene, weir_scene_below(scene, 100));
        weir_scene_leave(scene, flaps);
    }
    uint64_t rebalances = atomic_load(&scene->members[0].board->rebalances);
    fprintf(stderr, "%" PRIu64 " rounds, %" PRIu64 " rebalances seen by the first\n", rounds, rebalances);
    WEIR_SCENE_REQUIRE(scene, rebalances >= scene->size.disturbances / 2, "vacuous: %" PRIu64 " rebalances",
                       rebalances);
    weir_scene_finish(scene, 90000);
    weir_scene_judge(scene);
}
