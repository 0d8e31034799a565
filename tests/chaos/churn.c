/*
 * Members that come, go in order, and are killed, one about every second, while some handlers take long, some fail at
 * first and some messages die. After the disturbances all are left alone until everything is done.
 */
#include "tests/chaos/families.h"
#include <stdlib.h>

enum { LONG_EVERY = 4000, FAILS_PERCENT = 2, DEAD_EVERY = 500, ALIVE_MIN = 2 };

/* Some member in the wanted state; -1: none. */
static int some_member(struct weir_scene *scene, bool running)
{
    unsigned begin = (unsigned)weir_scene_below(scene, scene->size.members);
    for (unsigned step = 0; step < scene->size.members; step++) {
        unsigned member = (begin + step) % scene->size.members;
        if (weir_scene_runs(scene, member) == running && scene->left_ms[member] == 0)
            return (int)member;
    }
    return -1;
}

static unsigned count_working(const struct weir_scene *scene)
{
    unsigned count = 0;
    for (unsigned member = 0; member < scene->size.members; member++)
        count += weir_scene_runs(scene, member) && scene->left_ms[member] == 0;
    return count;
}

static void reap_all(struct weir_scene *scene)
{
    for (unsigned member = 0; member < scene->size.members; member++)
        if (scene->left_ms[member] > 0 && weir_scene_reap(scene, member))
            scene->left_ms[member] = 0;
}

/* One thing happens. True: it was a disturbance. */
static bool disturb(struct weir_scene *scene, const char *const *settings)
{
    uint64_t what = weir_scene_below(scene, 100);
    int idle = some_member(scene, false), busy = some_member(scene, true);
    reap_all(scene);
    if (idle >= 0 && !weir_scene_runs(scene, (unsigned)idle) && (what < 50 || count_working(scene) <= ALIVE_MIN)) {
        weir_scene_start(scene, (unsigned)idle, settings);
        return false;
    }
    if (busy < 0 || count_working(scene) <= ALIVE_MIN)
        return false;
    if (what % 2 || scene->kills == 0)
        weir_scene_kill(scene, (unsigned)busy);
    else
        weir_scene_dismiss(scene, (unsigned)busy);
    return true;
}

void weir_churn(struct weir_scene *scene, const char *const *settings, uint64_t limit_ms)
{
    weir_scene_produce(scene, scene->size.messages / 2);
    for (unsigned member = 0; member < scene->size.members; member++)
        weir_scene_start(scene, member, settings);
    WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, weir_scene_finished(scene) > 0);
    weir_scene_watch(scene, true);
    weir_scene_produce(scene, scene->size.messages - scene->size.messages / 2);
    unsigned disturbances = 0;
    uint64_t until_ms = weir_broker_now_ms() + 1000ull * scene->size.seconds;
    while (weir_broker_now_ms() < until_ms || disturbances < scene->size.disturbances) {
        weir_scene_sleep(scene, 500 + weir_scene_below(scene, 1000));
        disturbances += disturb(scene, settings);
    }
    WEIR_SCENE_REQUIRE(scene, scene->kills > 0, "vacuous: nobody was killed");
    weir_scene_finish(scene, limit_ms);
}

/* Large: 45 s of a long handler outlive every drain. */
void weir_scenario_churn(struct weir_scene *scene)
{
    weir_scene_set(scene);
    atomic_store(&scene->settings.fails_percent, FAILS_PERCENT);
    atomic_store(&scene->settings.dead_every, DEAD_EVERY);
    atomic_store(&scene->settings.long_every, LONG_EVERY);
    atomic_store(&scene->settings.long_ms, scene->large ? 45000 : 7000);
    scene->terms.stall_ms_max += scene->large ? 45000 : 7000; /* the last message may be a long one */
    /* A handler of 45 s holds up all partitions of its worker, and may begin anew with the next owner. */
    weir_churn(scene, WEIR_SCENE_SETTINGS(scene, "weir.window.messages.max", "64"), scene->large ? 300000 : 90000);
    weir_scene_judge(scene);
}
