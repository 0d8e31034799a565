/* The scenarios, each in the file of its family; table.c lists them. */
#ifndef WEIR_TESTS_FAMILIES_H
#define WEIR_TESTS_FAMILIES_H

#include "tests/chaos/scenario.h"

void weir_scenario_churn(struct weir_scene *scene); /* churn.c */

#endif
