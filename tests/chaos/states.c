/*
 * States of keys, more of them than may be kept, which also go when they are idle, while members come, go and are
 * killed: each is made and ended once, is seen by one assignment, and is accounted for no longer when it has gone.
 */
#include "tests/chaos/families.h"
#include <inttypes.h>
#include <stdio.h>

enum { FAILS_PERCENT = 3, LATE_EVERY = 20, LATE_MS = 300, IDLE_MS = 400, REST_MS = 1800 };

static void disturb(struct weir_scene *scene, unsigned round, const char *const *settings)
{
    unsigned member = (unsigned)weir_scene_below(scene, scene->size.members);
    if (round % 2)
        weir_scene_leave(scene, member);
    else
        weir_scene_kill(scene, member);
    weir_scene_sleep(scene, weir_scene_below(scene, 500));
    weir_scene_start(scene, member, settings);
}

/* Odd seeds have threads of their own for handlers, and so for the ends of states. In each round all is done before the
 * next begins, and rests for long enough for what is idle to go. */
void weir_scenario_states(struct weir_scene *scene)
{
    const struct weir_chaos_seen *seen = &scene->result->seen;
    weir_scene_set(scene);
    scene->terms.states = true;
    scene->terms.state_idle_ms = IDLE_MS;
    atomic_store(&scene->settings.kind, WEIR_MEMBER_STATES);
    atomic_store(&scene->settings.fails_percent, FAILS_PERCENT);
    atomic_store(&scene->settings.late_every, LATE_EVERY);
    atomic_store(&scene->settings.late_ms, LATE_MS);
    const char *const *settings =
        WEIR_SCENE_SETTINGS(scene, "weir.key.state.idle.ms.max", "400", "weir.key.state.keys.max", "40",
                            "weir.key.state.bytes.max", "16000", "weir.blocking.threads", scene->seed % 2 ? "8" : "0");
    scene->terms.workers = scene->seed % 2 ? 8 : scene->terms.workers;
    uint64_t part = scene->size.messages / scene->size.disturbances;
    for (unsigned member = 0; member < scene->size.members; member++)
        weir_scene_start(scene, member, settings);
    for (unsigned round = 0; round < scene->size.disturbances; round++) {
        uint64_t finished = weir_scene_finished(scene);
        bool last = round + 1 == scene->size.disturbances;
        weir_scene_produce(scene, last ? scene->size.messages - scene->stage.produced : part);
        WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, weir_scene_finished(scene) > finished + part / 4);
        weir_scene_watch(scene, true);
        disturb(scene, round, settings);
        WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, weir_scene_is_done(scene));
        weir_scene_sleep(scene, REST_MS);
    }
    weir_scene_finish(scene, 60000);
    weir_scene_judge(scene);
    fprintf(stderr,
            "%" PRIu64 " states seen by %" PRIu64 " runs, %" PRIu64 " ended, of which %" PRIu64
            " had been idle for long, and %" PRIu64 " were evicted\n",
            seen->states_made, seen->states_seen, seen->states_ended, seen->states_idle,
            scene->sums.key_states_evicted);
    WEIR_SCENE_REQUIRE(scene, scene->sums.key_states_evicted > 0 && seen->states_idle > 0,
                       "vacuous: %" PRIu64 " states were evicted, %" PRIu64 " went for being idle",
                       scene->sums.key_states_evicted, seen->states_idle);
    WEIR_SCENE_REQUIRE(scene, seen->states_ended < seen->states_made && seen->states_seen > 2 * seen->states_made,
                       "vacuous: none of %" PRIu64 " states ended with its process, or %" PRIu64
                       " runs saw them but once",
                       seen->states_made, seen->states_seen);
}
