/*
 * Goal: with weir.delivery=exactly-once, readers of committed messages see the output of each message once, and a dead
 * letter instead for those that died, whatever happens to processes and brokers.
 * Method: members emit one output a message; they are killed, stopped, added and sent away, and the broker is killed,
 * in the middle of the work, and some of it in the middle of a transaction. In the end the topics are read as any
 * consumer with isolation.level=read_committed reads them. The same with the group protocol of KIP-848, where
 * librdkafka has it for good (2.12.0 and later).
 */
#include "tests/once/scene.h"
#include <stdio.h>

enum { MESSAGES = 20000, KEYS = 400, WORK_US = 3000, DEAD_EVERY = 97 };

static void set(struct weir_once *once, const char *scene, uint64_t work_us)
{
    weir_once_set(once, scene, MESSAGES, KEYS, work_us, DEAD_EVERY);
}

static void start_two(struct weir_once *once)
{
    weir_once_start(once, 0);
    weir_once_start(once, 1);
}

/* ---- what happens to processes ---- */

/* Some of them in the middle of a transaction. */
static void kill_some(struct weir_once *once)
{
    start_two(once);
    for (unsigned kill = 0; kill < 6; kill++) {
        weir_once_await(once, (kill + 1) * 10);
        if (kill % 3 == 1)
            weir_once_stop_in_transaction(once, kill % 2);
        weir_once_kill(once, kill % 2);
        weir_once_start(once, kill % 2);
    }
    struct weir_once_ledger ledger = weir_once_judge(once);
    cr_assert_gt(ledger.aborted, 0u, "no kill has left a transaction open");
}

/* Stopped in a transaction for longer than its session: others have its partitions when it goes on where it was. */
static void let_some_sleep(struct weir_once *once)
{
    start_two(once);
    for (unsigned stop = 0; stop < 3; stop++) {
        weir_once_await(once, (stop + 1) * 20);
        const struct weir_member_board *other = once->members[(stop + 1) % 2].board;
        uint64_t rebalances = atomic_load(&other->rebalances);
        weir_once_stop_in_transaction(once, stop % 2);
        WEIR_BROKER_UNTIL(atomic_load(&other->partitions) == WEIR_ONCE_PARTITIONS ||
                          atomic_load(&other->rebalances) > rebalances + 1);
        weir_once_continue(once, stop % 2);
    }
    struct weir_once_ledger ledger = weir_once_judge(once);
    cr_assert_gt(ledger.aborted + ledger.refused + ledger.fenced, 0u, "no zombie was refused anything");
}

/* Who leaves finishes what it has pulled: that must not be all there is. */
static void come_and_go(struct weir_once *once)
{
    once->window = "100";
    start_two(once);
    for (unsigned round = 0; round < 4; round++) {
        weir_once_await(once, (round + 1) * 15);
        weir_once_start(once, 2 + round % 2);
        weir_once_await(once, (round + 1) * 15 + 7);
        weir_once_leave(once, round % 2);
        weir_once_start(once, round % 2);
        weir_once_leave(once, 2 + round % 2);
    }
    weir_once_judge(once);
}

/* ---- scenes ---- */

Test(exactly_once, nothing_is_seen_twice_when_nothing_goes_wrong)
{
    struct weir_once once;
    set(&once, "calm", 0);
    start_two(&once);
    struct weir_once_ledger ledger = weir_once_judge(&once);
    cr_assert_gt(ledger.letters, 0u);
    weir_once_clear(&once);
}

Test(exactly_once, nothing_is_seen_twice_or_lost_when_processes_are_killed)
{
    struct weir_once once;
    set(&once, "killed", WORK_US);
    kill_some(&once);
    weir_once_clear(&once);
}

Test(exactly_once, nothing_is_seen_twice_or_lost_when_named_instances_are_killed)
{
    struct weir_once once;
    set(&once, "named-killed", WORK_US);
    once.instance = "instance-";
    kill_some(&once);
    weir_once_clear(&once);
}

Test(exactly_once, nothing_is_seen_twice_or_lost_when_a_process_sleeps_and_wakes_as_a_zombie)
{
    struct weir_once once;
    set(&once, "zombies", WORK_US);
    let_some_sleep(&once);
    weir_once_clear(&once);
}

/* It sleeps until the broker has given its transaction up, and its producer is fenced. */
Test(exactly_once, nothing_is_seen_twice_or_lost_when_a_transaction_times_out)
{
    struct weir_once once;
    weir_broker_start("--set transaction.abort.timed.out.transaction.cleanup.interval.ms=1000");
    set(&once, "timed-out", WORK_US);
    start_two(&once);
    weir_once_await(&once, 30);
    weir_once_stop_in_transaction(&once, 0);
    WEIR_BROKER_UNTIL(!weir_once_transaction_stays(&once));
    weir_once_continue(&once, 0);
    struct weir_once_ledger ledger = weir_once_judge(&once);
    cr_assert_gt(ledger.aborted, 0u);
    cr_assert_gt(ledger.fenced, 0u, "whose transaction has timed out was not told");
    weir_once_clear(&once);
    weir_broker_stop();
}

Test(exactly_once, nothing_is_seen_twice_or_lost_when_processes_come_and_go)
{
    struct weir_once once;
    set(&once, "come-and-go", WORK_US);
    come_and_go(&once);
    weir_once_clear(&once);
}

Test(exactly_once, nothing_is_seen_twice_or_lost_when_the_broker_dies_and_comes_back)
{
    struct weir_once once;
    weir_broker_start("");
    set(&once, "broker-killed", WORK_US);
    start_two(&once);
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

/* ---- by the group protocol of the broker ---- */

#if RD_KAFKA_VERSION >= 0x020c00ff

/* With it these times are the broker's to say. */
static const char QUICK_SESSIONS[] = "--set group.consumer.min.heartbeat.interval.ms=100 "
                                     "--set group.consumer.heartbeat.interval.ms=200 "
                                     "--set group.consumer.min.session.timeout.ms=2000 "
                                     "--set group.consumer.session.timeout.ms=3000";

static void set_kip848(struct weir_once *once, const char *scene)
{
    weir_broker_start(QUICK_SESSIONS);
    set(once, scene, WORK_US);
    once->is_kip848 = true;
}

static void clear_kip848(struct weir_once *once)
{
    weir_once_clear(once);
    weir_broker_stop();
}

Test(exactly_once, nothing_is_seen_twice_or_lost_when_processes_are_killed_under_the_protocol_of_the_broker)
{
    struct weir_once once;
    set_kip848(&once, "kip848-killed");
    kill_some(&once);
    clear_kip848(&once);
}

Test(exactly_once, nothing_is_seen_twice_or_lost_when_a_process_is_a_zombie_under_the_protocol_of_the_broker)
{
    struct weir_once once;
    set_kip848(&once, "kip848-zombies");
    let_some_sleep(&once);
    clear_kip848(&once);
}

Test(exactly_once, nothing_is_seen_twice_or_lost_when_processes_come_and_go_under_the_protocol_of_the_broker)
{
    struct weir_once once;
    set_kip848(&once, "kip848-come-and-go");
    come_and_go(&once);
    clear_kip848(&once);
}

#endif
