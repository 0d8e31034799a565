/*
 * Brokers that die, come back, stand still for less and for more than the session time-out, or lose the lead, while
 * members work.
 */
#include "tests/chaos/families.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void start_all(struct weir_scene *scene, const char *const *settings)
{
    for (unsigned member = 0; member < scene->size.members; member++)
        weir_scene_start(scene, member, settings);
    WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, weir_scene_finished(scene) > scene->stage.produced / 20);
}

/* What was fetched ahead may carry the members over a broker's absence: some more afterwards. And until a commit has
 * told of something, or each disturbance would have all before it come again. */
static void work_on(struct weir_scene *scene, uint64_t count)
{
    int64_t committed = weir_stage_committed(&scene->stage);
    weir_scene_produce(scene, count);
    uint64_t finished = weir_scene_finished(scene);
    WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, weir_scene_finished(scene) > finished);
    WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, weir_stage_committed(&scene->stage) > committed);
}

static void stand_still(struct weir_scene *scene, const char *broker, uint64_t duration_ms)
{
    char command[64];
    snprintf(command, sizeof command, "pause %s", broker);
    weir_scene_broker(scene, command);
    weir_scene_sleep(scene, duration_ms);
    snprintf(command, sizeof command, "resume %s", broker);
    weir_scene_broker_back(scene, command);
}

/* ---- one broker ---- */

static void disturb_broker(struct weir_scene *scene, unsigned round)
{
    if (round % 3 == 0) {
        weir_scene_broker(scene, "kill");
        weir_scene_sleep(scene, weir_scene_below(scene, 2000));
        weir_scene_broker_back(scene, "restart");
    } else {
        stand_still(scene, "1", round % 3 == 1 ? 500 + weir_scene_below(scene, 1500) : 5000);
    }
}

void weir_scenario_broker(struct weir_scene *scene)
{
    weir_scene_set(scene);
    const char *const *settings = WEIR_SCENE_SETTINGS(scene, "session.timeout.ms", "3000");
    uint64_t part = scene->size.messages / (scene->size.disturbances + 1);
    weir_scene_produce(scene, scene->size.messages - part * scene->size.disturbances);
    start_all(scene, settings);
    weir_scene_watch(scene, true);
    for (unsigned round = 0; round < scene->size.disturbances; round++) {
        disturb_broker(scene, round);
        work_on(scene, part);
    }
    weir_scene_finish(scene, 90000);
    weir_scene_judge(scene);
}

/* ---- three brokers ---- */

/* The broker that coordinates the group: the leader of the partition of __consumer_offsets that its name falls to. */
static int coordinator_of(const char *group)
{
    char text[256];
    uint32_t hash = 0;
    for (const char *letter = group; *letter; letter++)
        hash = 31 * hash + (unsigned char)*letter; /* Java's */
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", weir_broker_bootstrap(), text, sizeof text);
    rd_kafka_t *kafka = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    cr_assert_not_null(kafka, "%s", text);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(kafka, "__consumer_offsets", NULL);
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t error = rd_kafka_metadata(kafka, 0, topic, &metadata, WEIR_BROKER_WAIT_MS);
    cr_assert_eq(error, RD_KAFKA_RESP_ERR_NO_ERROR, "%s", rd_kafka_err2str(error));
    const struct rd_kafka_metadata_topic *found = &metadata->topics[0];
    int32_t number = (int32_t)((hash & 0x7fffffff) % (uint32_t)found->partition_cnt);
    int leader = -1;
    for (int index = 0; index < found->partition_cnt; index++)
        if (found->partitions[index].id == number)
            leader = found->partitions[index].leader;
    rd_kafka_metadata_destroy(metadata);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(kafka);
    return leader;
}

static void disturb_brokers(struct weir_scene *scene, unsigned round, const char *const *settings)
{
    char broker[16], command[32];
    unsigned last = scene->size.members - 1;
    int coordinator = coordinator_of(scene->stage.group.text);
    cr_assert_geq(coordinator, 1, "the group has no coordinator");
    if (round % 2 == 0) { /* stopped in the middle of a revoke, which a member's coming brings about */
        snprintf(broker, sizeof broker, "%d", coordinator);
        unsigned revokes = weir_member_log_count(&scene->members[0], "revoking");
        weir_scene_start(scene, last, settings);
        WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, weir_member_log_count(&scene->members[0], "revoking") > revokes);
        stand_still(scene, broker, 4000);
        weir_scene_leave(scene, last);
        return;
    }
    unsigned victim = 1 + (unsigned)weir_scene_below(scene, 3);
    snprintf(command, sizeof command, "kill %u", victim);
    weir_scene_broker(scene, command); /* its partitions get other leaders */
    weir_scene_sleep(scene, 2000 + weir_scene_below(scene, 2000));
    snprintf(command, sizeof command, "restart %u", victim);
    weir_scene_broker_back(scene, command);
}

void weir_scenario_leaders(struct weir_scene *scene)
{
    weir_broker_start("--brokers 3");
    weir_scene_set(scene);
    const char *const *settings =
        WEIR_SCENE_SETTINGS(scene, "session.timeout.ms", "6000", "topic.metadata.refresh.interval.ms", "2000");
    uint64_t part = scene->size.messages / (scene->size.disturbances + 1);
    atomic_store(&scene->settings.long_every, 100); /* so that a revoke takes its time */
    atomic_store(&scene->settings.long_ms, 1000);
    weir_scene_produce(scene, scene->size.messages - part * scene->size.disturbances);
    for (unsigned member = 0; member + 1 < scene->size.members; member++)
        weir_scene_start(scene, member, settings);
    WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, weir_scene_finished(scene) > 0);
    weir_scene_watch(scene, true);
    for (unsigned round = 0; round < scene->size.disturbances; round++) {
        disturb_brokers(scene, round, settings);
        work_on(scene, part);
    }
    weir_scene_finish(scene, 90000);
    weir_scene_judge(scene);
}
