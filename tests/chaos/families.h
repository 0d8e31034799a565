/* The scenarios, each in the file of its family; table.c lists them. */
#ifndef WEIR_TESTS_FAMILIES_H
#define WEIR_TESTS_FAMILIES_H

#include "tests/chaos/scenario.h"

/* churn.c */
/** Produce all, and let members come, go and be killed for `seconds` of the size, and as often as it asks for; then
 *  wait until all is done, for at most `limit_ms`. */
void weir_churn(struct weir_scene *scene, const char *const *settings, uint64_t limit_ms);
void weir_scenario_churn(struct weir_scene *scene);

/* deaths.c */
void weir_scenario_stuck(struct weir_scene *scene);
void weir_scenario_zombie(struct weir_scene *scene);
void weir_scenario_flap(struct weir_scene *scene);
void weir_scenario_revoke(struct weir_scene *scene);

/* brokers.c */
void weir_scenario_broker(struct weir_scene *scene);
void weir_scenario_leaders(struct weir_scene *scene);

/* groups.c */
void weir_scenario_static_cooperative(struct weir_scene *scene);
void weir_scenario_static_eager(struct weir_scene *scene);
void weir_scenario_slow(struct weir_scene *scene);
void weir_scenario_closing(struct weir_scene *scene);
void weir_scenario_protocol(struct weir_scene *scene);

/* offsets.c */
void weir_scenario_offsets_earliest(struct weir_scene *scene);
void weir_scenario_offsets_latest(struct weir_scene *scene);
void weir_scenario_offsets_error(struct weir_scene *scene);
void weir_scenario_mirrored(struct weir_scene *scene);
void weir_scenario_recreated(struct weir_scene *scene);
void weir_scenario_grown(struct weir_scene *scene);

/* many.c */
void weir_scenario_many(struct weir_scene *scene);

/* mirror.c */
void weir_scenario_mirrored_cluster(struct weir_scene *scene);

/* letters.c */
void weir_scenario_letters(struct weir_scene *scene);
void weir_scenario_letters_slow(struct weir_scene *scene);
void weir_scenario_poison(struct weir_scene *scene);

/* batches.c */
void weir_scenario_batches_key(struct weir_scene *scene);
void weir_scenario_batches_any(struct weir_scene *scene);

/* outputs.c */
void weir_scenario_outputs(struct weir_scene *scene);
void weir_scenario_outputs_batches(struct weir_scene *scene);

/* states.c */
void weir_scenario_states(struct weir_scene *scene);

/* filters.c */
void weir_scenario_filters(struct weir_scene *scene);
void weir_scenario_rates(struct weir_scene *scene);

/* supervision.c */
void weir_scenario_outage(struct weir_scene *scene);
void weir_scenario_escalation(struct weir_scene *scene);
void weir_scenario_classes(struct weir_scene *scene);

/* threads.c */
void weir_scenario_blocking(struct weir_scene *scene);
void weir_scenario_crashes(struct weir_scene *scene);

#endif
