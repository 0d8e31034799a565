/* The scenarios, each in the file of its family; table.c lists them. */
#ifndef WEIR_TESTS_FAMILIES_H
#define WEIR_TESTS_FAMILIES_H

#include "tests/chaos/scenario.h"

/* churn.c */
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

#endif
