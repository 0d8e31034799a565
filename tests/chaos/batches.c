/*
 * Handlers of batches, with messages that fail beside others that do not, while members come, go and are killed: each
 * key keeps its order, what did not fail does not run again, and no batch straddles two assignments.
 */
#include "tests/chaos/families.h"
#include <inttypes.h>
#include <stdio.h>

enum { FAILS_PERCENT = 10, DEAD_EVERY = 300 };

static void churn_batches(struct weir_scene *scene, enum weir_chaos_scope scope, const char *name)
{
    const struct weir_chaos_seen *seen = &scene->result->seen;
    weir_scene_set(scene);
    scene->terms.batches = scope;
    atomic_store(&scene->settings.kind, WEIR_MEMBER_BATCHES);
    atomic_store(&scene->settings.fails_percent, FAILS_PERCENT);
    atomic_store(&scene->settings.dead_every, DEAD_EVERY);
    scene->letter_reason = "dead";
    weir_churn(scene,
               WEIR_SCENE_SETTINGS(scene, "weir.batch.scope", name, "weir.batch.messages.max", "20",
                                   "weir.batch.linger.ms", "50"),
               90000);
    weir_scene_judge(scene);
    fprintf(stderr,
            "%" PRIu64 " batches, %" PRIu64 " of more than one message, %" PRIu64 " failed partly, %" PRIu64
            " of several partitions, the largest of %" PRIu64 "\n",
            seen->batches, seen->batches_of_many, seen->batches_partly, seen->batches_of_partitions,
            seen->batch_messages_max);
    WEIR_SCENE_REQUIRE(scene, 4 * seen->batches_of_many > seen->batches && seen->batches_partly >= 50,
                       "vacuous: of %" PRIu64 " batches %" PRIu64 " had more than one message, and %" PRIu64
                       " failed partly",
                       seen->batches, seen->batches_of_many, seen->batches_partly);
    WEIR_SCENE_REQUIRE(scene, scope != WEIR_SCOPE_ANY || seen->batches_of_partitions >= 50,
                       "vacuous: %" PRIu64 " batches had messages of several partitions", seen->batches_of_partitions);
    WEIR_SCENE_REQUIRE(scene, scene->letter_count > 0, "vacuous: no message of a batch has died");
}

void weir_scenario_batches_key(struct weir_scene *scene)
{
    churn_batches(scene, WEIR_SCOPE_KEY, "key");
}

void weir_scenario_batches_any(struct weir_scene *scene)
{
    churn_batches(scene, WEIR_SCOPE_ANY, "any");
}
