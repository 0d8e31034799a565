/*
 * Handlers that emit, by single messages and in batches, some of which fail at first and some die, while members come,
 * go and are killed: what a commit tells of is in the outputs' topic by then, and in order.
 */
#include "tests/chaos/families.h"
#include <inttypes.h>
#include <stdio.h>

enum { FAILS_PERCENT = 5, DEAD_EVERY = 200 };

static void churn_outputs(struct weir_scene *scene, bool batches)
{
    const struct weir_chaos_seen *seen = &scene->result->seen;
    weir_scene_set(scene);
    weir_scene_emit(scene);
    scene->letter_reason = "dead";
    scene->terms.batches = batches ? WEIR_SCOPE_PARTITION : WEIR_SCOPE_NONE;
    atomic_store(&scene->settings.kind, batches ? WEIR_MEMBER_BATCHES : WEIR_MEMBER_PLAIN);
    atomic_store(&scene->settings.fails_percent, FAILS_PERCENT);
    atomic_store(&scene->settings.dead_every, DEAD_EVERY);
    weir_churn(scene,
               WEIR_SCENE_SETTINGS(scene, "linger.ms", "1", "weir.batch.scope", "partition", "weir.batch.messages.max",
                                   "20", "weir.batch.linger.ms", "20"),
               90000);
    weir_scene_judge(scene);
    fprintf(stderr, "%" PRIu64 " outputs, %" PRIu64 " of them again; %" PRIu64 " of failed runs were dropped\n",
            seen->outputs, seen->outputs_again, scene->sums.outputs_dropped);
    WEIR_SCENE_REQUIRE(scene, seen->outputs >= scene->size.messages - scene->letter_count,
                       "vacuous: %" PRIu64 " outputs, %" PRIu64 " letters", seen->outputs, scene->letter_count);
    WEIR_SCENE_REQUIRE(scene, scene->sums.outputs_dropped > 0, "vacuous: no run that has emitted has failed");
    WEIR_SCENE_REQUIRE(scene, seen->outputs_again <= scene->result->duplicates,
                       "%" PRIu64 " outputs came again, and %" PRIu64 " messages", seen->outputs_again,
                       scene->result->duplicates);
    WEIR_SCENE_REQUIRE(scene, !batches || seen->batches_partly > 0, "vacuous: no batch failed partly");
}

void weir_scenario_outputs(struct weir_scene *scene)
{
    churn_outputs(scene, false);
}

void weir_scenario_outputs_batches(struct weir_scene *scene)
{
    churn_outputs(scene, true);
}
