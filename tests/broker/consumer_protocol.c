/*
 * Goal: what holds of rebalances by the classic protocol holds by the one of KIP-848 (group.protocol=consumer), where
 * the broker assigns and members learn of it by heartbeat: nothing lost, keys in order, no overlap and no duplicates
 * where partitions were given up, few where a member was killed.
 * Method: as in consumer_rebalance.c, on a broker of its own, whose group time-outs are short; they are the broker's to
 * set with this protocol.
 *
 * Only with a librdkafka that has it for good: 2.12.0 and later.
 */
#include <librdkafka/rdkafka.h>
#if RD_KAFKA_VERSION >= 0x020c00ff
#include "tests/broker/stage.h"
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

enum { PARTITIONS = 8, MESSAGES = 12000, KEYS = 400, RUN_US = 2000 };

struct scene {
    struct weir_stage stage;
    struct weir_member first, second;
};

static void prepare(struct weir_member *member)
{
    weir_member_init(member);
    atomic_store(&member->board->sleep_us, RUN_US);
    atomic_store(&member->board->fails_percent, 3);
}

static void set_scene(struct scene *scene)
{
    weir_broker_start("--set group.consumer.min.heartbeat.interval.ms=100 "
                      "--set group.consumer.heartbeat.interval.ms=200 "
                      "--set group.consumer.min.session.timeout.ms=2000 "
                      "--set group.consumer.session.timeout.ms=3000");
    weir_stage_set(&scene->stage, PARTITIONS, 6 * MESSAGES);
    weir_stage_produce(&scene->stage, MESSAGES, KEYS);
    prepare(&scene->first);
    prepare(&scene->second);
}

static void clear_scene(struct scene *scene)
{
    weir_member_deinit(&scene->first);
    weir_member_deinit(&scene->second);
    weir_stage_clear(&scene->stage);
    weir_broker_stop();
}

static void start(struct scene *scene, struct weir_member *member)
{
    weir_member_start(member, &scene->stage, -1,
                      (const char *const[]){"bootstrap.servers",
                                            weir_broker_bootstrap(),
                                            "group.id",
                                            scene->stage.group.text,
                                            "weir.topics",
                                            scene->stage.topic.text,
                                            "auto.offset.reset",
                                            "earliest",
                                            "group.protocol",
                                            "consumer",
                                            "weir.workers",
                                            "4",
                                            "weir.commit.interval.ms",
                                            "200",
                                            "weir.stats.interval.ms",
                                            "50",
                                            "weir.window.messages.max",
                                            "64",
                                            "weir.retry.base.ms",
                                            "2",
                                            "weir.retry.max.ms",
                                            "10",
                                            NULL});
}

static uint64_t done(const struct weir_member *member)
{
    return atomic_load(&member->board->finished);
}

static void leave(struct weir_member *member, const struct scene *scene)
{
    weir_member_signal(member, SIGTERM);
    weir_member_join(member, &scene->stage);
    cr_assert_eq(member->board->code, WEIR_OK, "%s", member->board->error.text);
}

static bool all_finished(const struct scene *scene)
{
    return weir_ledger_count_finished(scene->stage.ledger) == MESSAGES;
}

Test(broker_protocol, a_second_process_joins_and_leaves_under_work_by_the_protocol_of_the_broker)
{
    struct scene scene;
    set_scene(&scene);
    start(&scene, &scene.first);
    WEIR_BROKER_UNTIL(done(&scene.first) > MESSAGES / 10);
    start(&scene, &scene.second);
    WEIR_BROKER_UNTIL(done(&scene.second) > MESSAGES / 10);
    cr_assert_eq(atomic_load(&scene.first.board->partitions), (uint64_t)PARTITIONS / 2);
    leave(&scene.second, &scene);
    cr_assert_not(all_finished(&scene), "all was done before the second one left");
    WEIR_BROKER_UNTIL(all_finished(&scene));
    WEIR_BROKER_UNTIL(atomic_load(&scene.first.board->partitions) == PARTITIONS);
    leave(&scene.first, &scene);
    weir_stage_check_strictly(&scene.stage);
    cr_assert_eq(weir_stage_committed(&scene.stage), MESSAGES);
    clear_scene(&scene);
}

Test(broker_protocol, partitions_of_a_killed_process_are_taken_over_by_the_protocol_of_the_broker)
{
    struct scene scene;
    set_scene(&scene);
    start(&scene, &scene.first);
    start(&scene, &scene.second);
    WEIR_BROKER_UNTIL(done(&scene.first) > MESSAGES / 10 && done(&scene.second) > MESSAGES / 10);
    weir_member_kill(&scene.second, &scene.stage);
    uint64_t bound =
        done(&scene.second) - atomic_load(&scene.second.board->told) + atomic_load(&scene.second.board->in_flight);
    cr_assert_not(all_finished(&scene), "all was done before the second one was killed");
    WEIR_BROKER_UNTIL(all_finished(&scene));
    cr_assert_eq(atomic_load(&scene.first.board->partitions), (uint64_t)PARTITIONS);
    leave(&scene.first, &scene);
    uint64_t duplicates = weir_stage_check(&scene.stage);
    fprintf(stderr, "%" PRIu64 " duplicates, bound %" PRIu64 "\n", duplicates, bound);
    cr_assert_leq(duplicates, bound);
    cr_assert_eq(weir_stage_committed(&scene.stage), MESSAGES);
    clear_scene(&scene);
}

#endif
