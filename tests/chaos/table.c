/* The table of scenarios, ordered by importance. A size: members, partitions, messages, keys, work_us, disturbances,
 * seconds; all zero: there is no such form. */
#include "tests/chaos/families.h"

/* clang-format off */
const struct weir_scenario weir_scenarios[] = {
    {"churn", "members join, leave and are killed, about one a second",
     {8, 24, 30000, 3000, 15000, 8, 20}, {14, 80, 100000, 10000, 40000, 30, 120}, weir_scenario_churn},
    {"stuck", "killed with a stuck message at the head of each partition and all behind it done",
     {1, 4, 100000, 20000, 100, 3, 10}, {1, 12, 600000, 60000, 100, 10, 60}, weir_scenario_stuck},
    {"zombie", "stopped for longer than the session time-out, woken when others work on its partitions",
     {2, 8, 16000, 160, 4000, 2, 15}, {2, 8, 80000, 400, 4000, 10, 80}, weir_scenario_zombie},
    {"broker", "the broker is killed and restarted, stopped and continued under load",
     {3, 12, 12000, 600, 3000, 3, 20}, {4, 24, 60000, 3000, 3000, 12, 100}, weir_scenario_broker},
    {"flap", "one member comes and goes as fast as it can",
     {3, 12, 40000, 2000, 3000, 8, 12}, {4, 24, 300000, 10000, 3000, 40, 90}, weir_scenario_flap},
    {"static-cooperative", "static members bounce, cooperative-sticky",
     {3, 12, 20000, 600, 6000, 4, 12}, {4, 24, 100000, 3000, 6000, 20, 60}, weir_scenario_static_cooperative},
    {"static-eager", "static members bounce, range",
     {3, 12, 20000, 600, 6000, 4, 12}, {4, 24, 100000, 3000, 6000, 20, 60}, weir_scenario_static_eager},
    {"slow", "handlers of 9 s where max.poll.interval.ms is 4 s",
     {2, 8, 4000, 400, 500, 1, 15}, {4, 16, 40000, 4000, 500, 1, 60}, weir_scenario_slow},
    {"leaders", "three brokers: leaders killed, the coordinator stopped during a rebalance",
     {3, 12, 12000, 600, 3000, 2, 30}, {4, 24, 60000, 3000, 3000, 10, 120}, weir_scenario_leaders},
    {"closing", "members are told to go in the middle of their work",
     {4, 12, 30000, 1500, 4000, 6, 10}, {6, 24, 150000, 5000, 4000, 30, 60}, weir_scenario_closing},
    {0},
};
/* clang-format on */
