/*
 * Goal: with weir.delivery=exactly-once, readers of committed messages see the output of each message once, and a dead
 * letter instead for those that died, whatever happens to processes and brokers.
 * Method: members emit one output a message; they are killed, stopped, added and sent away, and the broker is killed,
 * in the middle of the work. In the end the topics are read as any consumer with isolation.level=read_committed reads
 * them.
 */
#include "tests/once/scene.h"
#include <stdio.h>

enum { MESSAGES = 20000, KEYS = 400, WORK_US = 300, DEAD_EVERY = 97 };

Test(exactly_once, nothing_is_seen_twice_when_nothing_goes_wrong)
{
    struct weir_once once;
    weir_once_set(&once, MESSAGES, KEYS, 0, DEAD_EVERY);
    weir_once_start(&once, 0);
    weir_once_start(&once, 1);
    struct weir_once_ledger ledger = weir_once_judge(&once);
    cr_assert_gt(ledger.letters, 0u);
    weir_once_clear(&once);
}

Test(exactly_once, nothing_is_seen_twice_or_lost_when_processes_are_killed)
{
    struct weir_once once;
    weir_once_set(&once, MESSAGES, KEYS, WORK_US, DEAD_EVERY);
    weir_once_start(&once, 0);
    weir_once_start(&once, 1);
    for (unsigned kill = 0; kill < 6; kill++) {
        weir_once_await(&once, (kill + 1) * 10);
        weir_once_kill(&once, kill % 2);
        weir_once_start(&once, kill % 2);
    }
    weir_once_judge(&once);
    weir_once_clear(&once);
}

Test(exactly_once, nothing_is_seen_twice_or_lost_when_named_instances_are_killed)
{
    struct weir_once once;
    weir_once_set(&once, MESSAGES, KEYS, WORK_US, DEAD_EVERY);
    once.instance = "instance-";
    weir_once_start(&once, 0);
    weir_once_start(&once, 1);
    for (unsigned kill = 0; kill < 6; kill++) {
        weir_once_await(&once, (kill + 1) * 10);
        weir_once_kill(&once, kill % 2);
        weir_once_start(&once, kill % 2);
    }
    weir_once_judge(&once);
    weir_once_clear(&once);
}

/* Stopped for longer than its session: others have its partitions when it goes on where it was. */
Test(exactly_once, nothing_is_seen_twice_or_lost_when_a_process_sleeps_and_wakes_as_a_zombie)
{
    struct weir_once once;
    weir_once_set(&once, MESSAGES, KEYS, WORK_US, DEAD_EVERY);
    weir_once_start(&once, 0);
    weir_once_start(&once, 1);
    for (unsigned stop = 0; stop < 3; stop++) {
        weir_once_await(&once, (stop + 1) * 20);
        uint64_t rebalances = atomic_load(&once.members[(stop + 1) % 2].board->rebalances);
        weir_once_stop(&once, stop % 2);
        WEIR_BROKER_UNTIL(atomic_load(&once.members[(stop + 1) % 2].board->partitions) == WEIR_ONCE_PARTITIONS ||
                          atomic_load(&once.members[(stop + 1) % 2].board->rebalances) > rebalances + 1);
        weir_once_continue(&once, stop % 2);
    }
    weir_once_judge(&once);
    weir_once_clear(&once);
}

Test(exactly_once, nothing_is_seen_twice_or_lost_when_processes_come_and_go)
{
    struct weir_once once;
    weir_once_set(&once, MESSAGES, KEYS, WORK_US, DEAD_EVERY);
    weir_once_start(&once, 0);
    weir_once_start(&once, 1);
    for (unsigned round = 0; round < 4; round++) {
        weir_once_await(&once, (round + 1) * 15);
        weir_once_start(&once, 2 + round % 2);
        weir_once_await(&once, (round + 1) * 15 + 7);
        weir_once_leave(&once, round % 2);
        weir_once_start(&once, round % 2);
        weir_once_leave(&once, 2 + round % 2);
    }
    weir_once_judge(&once);
    weir_once_clear(&once);
}

Test(exactly_once, nothing_is_seen_twice_or_lost_when_the_broker_dies_and_comes_back)
{
    struct weir_once once;
    weir_broker_start("");
    weir_once_set(&once, MESSAGES, KEYS, WORK_US, DEAD_EVERY);
    weir_once_start(&once, 0);
    weir_once_start(&once, 1);
    for (unsigned restart = 0; restart < 3; restart++) {
        weir_once_await(&once, (restart + 1) * 20);
        weir_once_restart_broker(&once, 1000 + 1000 * restart);
        if (restart == 1)
            weir_once_kill(&once, 0);
        if (restart == 1)
            weir_once_start(&once, 0);
    }
    weir_once_judge(&once);
    weir_once_clear(&once);
    weir_broker_stop();
}
