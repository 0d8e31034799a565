/* The table of scenarios, ordered by importance. */
#include "tests/chaos/families.h"

const struct weir_scenario weir_scenarios[] = {
    {.name = "churn",
     .what = "members join, leave and are killed, about one a second",
     .small = {.members = 8,
               .partitions = 24,
               .messages = 30000,
               .keys = 3000,
               .work_us = 15000,
               .disturbances = 8,
               .seconds = 20},
     .large = {.members = 14,
               .partitions = 80,
               .messages = 100000,
               .keys = 10000,
               .work_us = 40000,
               .disturbances = 30,
               .seconds = 120},
     .run = weir_scenario_churn},
    {0},
};
