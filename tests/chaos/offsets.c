/*
 * Offsets and topics that are not as the group left them: commits moved, removed or put beyond the log while the group
 * is down; a group and its metadata carried over to another topic; a topic made anew under its name; partitions added.
 */
#include "tests/chaos/families.h"
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BEYOND = 1000000, PARTITIONS_MAX = 128 };

static void leave_all(struct weir_scene *scene)
{
    for (unsigned member = 0; member < scene->size.members; member++)
        weir_scene_leave(scene, member);
}

static void start_all(struct weir_scene *scene, const char *const *settings)
{
    for (unsigned member = 0; member < scene->size.members; member++)
        weir_scene_start(scene, member, settings);
}

/* ---- commits moved while the group is down ---- */

enum change { LOWER, HIGHER, REMOVED, OUTSIDE, CHANGES };

static enum change change_of(int32_t partition)
{
    return (enum change)(partition % CHANGES);
}

static void remove_commit(const char *group, const char *topic, int32_t partition)
{
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", weir_broker_bootstrap(), text, sizeof text);
    rd_kafka_t *kafka = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    cr_assert_not_null(kafka, "%s", text);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(kafka);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, partition);
    rd_kafka_DeleteConsumerGroupOffsets_t *request = rd_kafka_DeleteConsumerGroupOffsets_new(group, list);
    rd_kafka_DeleteConsumerGroupOffsets(kafka, &request, 1, NULL, queue);
    rd_kafka_event_t *answer = rd_kafka_queue_poll(queue, WEIR_BROKER_WAIT_MS);
    cr_assert_not_null(answer, "no answer to the removal of a commit");
    cr_assert_eq(rd_kafka_event_error(answer), RD_KAFKA_RESP_ERR_NO_ERROR, "%s", rd_kafka_event_error_string(answer));
    rd_kafka_event_destroy(answer);
    rd_kafka_DeleteConsumerGroupOffsets_destroy(request);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(kafka);
}

/* `offsets`: what is committed; gets what is now. */
static void change_commits(struct weir_scene *scene, int64_t *offsets)
{
    const char *group = scene->stage.group.text, *topic = scene->stage.topic.text;
    for (int32_t partition = 0; partition < scene->stage.partitions; partition++) {
        int64_t low, high, *offset = &offsets[partition];
        weir_broker_watermarks(topic, partition, &low, &high);
        enum change change = change_of(partition);
        if (change == LOWER)
            *offset -= 1 + (int64_t)weir_scene_below(scene, (uint64_t)*offset);
        else if (change == HIGHER)
            *offset += 1 + (int64_t)weir_scene_below(scene, (uint64_t)(high - *offset));
        else
            *offset = change == OUTSIDE ? high + BEYOND : -1;
        if (change == REMOVED)
            remove_commit(group, topic, partition);
        else
            weir_broker_commit(group, topic, partition, *offset, WEIR_SCENE_STRANGER);
        weir_scene_other(scene);
    }
}

/* Has the group committed to the end of every partition but those that `error` holds? */
static bool is_done(struct weir_scene *scene, bool holds)
{
    int64_t offsets[PARTITIONS_MAX], low, high;
    bool done = true;
    weir_broker_committed_all(scene->stage.group.text, scene->stage.topic.text, scene->stage.partitions, offsets);
    for (int32_t partition = 0; partition < scene->stage.partitions && done; partition++) {
        if (holds && change_of(partition) >= REMOVED)
            continue;
        weir_broker_watermarks(scene->stage.topic.text, partition, &low, &high);
        done = offsets[partition] == high;
    }
    return done;
}

static void move_offsets(struct weir_scene *scene, const char *policy)
{
    int64_t offsets[PARTITIONS_MAX], after[PARTITIONS_MAX];
    bool holds = strcmp(policy, "error") == 0;
    weir_scene_set(scene);
    scene->terms.policy_skips = strcmp(policy, "latest") == 0;
    scene->terms.unfinished = holds;
    uint64_t third = scene->size.messages / 3;
    weir_scene_produce(scene, third);
    start_all(scene, WEIR_SCENE_SETTINGS(scene, "weir.workers", "4"));
    WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, weir_scene_is_done(scene));
    leave_all(scene);
    weir_scene_produce(scene, third);
    weir_broker_committed_all(scene->stage.group.text, scene->stage.topic.text, scene->stage.partitions, offsets);
    change_commits(scene, offsets);
    start_all(scene, WEIR_SCENE_SETTINGS(scene, "auto.offset.reset", policy));
    weir_scene_watch(scene, !holds);
    WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, is_done(scene, holds));
    weir_scene_produce(scene, scene->size.messages - 2 * third); /* all but the held partitions go on */
    WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, is_done(scene, holds));
    weir_broker_committed_all(scene->stage.group.text, scene->stage.topic.text, scene->stage.partitions, after);
    for (int32_t partition = 0; partition < scene->stage.partitions; partition++)
        WEIR_SCENE_REQUIRE(scene, !holds || change_of(partition) < REMOVED || after[partition] == offsets[partition],
                           "partition %d: its commit %" PRId64 " became %" PRId64 " under auto.offset.reset=error",
                           (int)partition, offsets[partition], after[partition]);
    weir_scene_judge(scene);
}

void weir_scenario_offsets_earliest(struct weir_scene *scene)
{
    move_offsets(scene, "earliest");
}

void weir_scenario_offsets_latest(struct weir_scene *scene)
{
    move_offsets(scene, "latest");
}

void weir_scenario_offsets_error(struct weir_scene *scene)
{
    move_offsets(scene, "error");
}

/* ---- maps of another log ---- */

enum { STUCK = 3, SHIFT_MAX = 50 };

struct copy {
    int64_t offset;
    char metadata[4096];
};

/* Let a group finish all but what stands behind the first STUCK messages of each partition, and keep its commits. */
static void run_before(struct weir_scene *scene, struct weir_stage *before, struct copy *copies)
{
    struct weir_member member;
    weir_stage_set(before, scene->size.partitions, 0);
    weir_stage_produce(before, scene->size.messages, scene->size.keys);
    weir_member_init(&member);
    atomic_store(&member.board->hold_below, STUCK);
    weir_member_start(&member, before, -1,
                      WEIR_STAGE_SETTINGS(before, "weir.commit.interval.ms", "100", "session.timeout.ms", "1500"));
    uint64_t most = scene->size.messages / 10 * 8;
    WEIR_BROKER_UNTIL(atomic_load(&member.board->finished) > most);
    weir_member_signal(&member, SIGTERM);
    weir_member_join(&member, before);
    weir_member_deinit(&member);
    for (int32_t partition = 0; partition < before->partitions; partition++) {
        copies[partition].offset = weir_broker_committed(before->group.text, before->topic.text, partition,
                                                         copies[partition].metadata, sizeof copies[partition].metadata);
        cr_assert_eq(strncmp(copies[partition].metadata, "weir1:", 6), 0, "partition %d has no map", (int)partition);
    }
}

/* The group goes on where its old commits, moved by `shift`, stand on a log that they do not speak of. */
static void run_after(struct weir_scene *scene, const struct copy *copies, int64_t shift, unsigned members)
{
    uint64_t ignored = 0;
    for (int32_t partition = 0; partition < scene->stage.partitions; partition++) {
        weir_broker_commit(scene->stage.group.text, scene->stage.topic.text, partition,
                           copies[partition].offset + shift, copies[partition].metadata);
        weir_scene_other(scene);
    }
    weir_scene_sleep(scene, 20);
    scene->strangers_before_ms = weir_broker_now_ms();
    weir_scene_sleep(scene, 20);
    for (unsigned member = 0; member < members; member++)
        weir_scene_start(scene, member, WEIR_SCENE_SETTINGS(scene, "weir.window.messages.max", "512"));
    weir_scene_watch(scene, true);
    weir_scene_finish(scene, 60000);
    for (unsigned member = 0; member < members; member++)
        ignored += weir_member_log_count(&scene->members[member], "is ignored (") +
                   weir_member_log_count(&scene->members[member], "its witness differs");
    weir_scene_judge(scene);
    WEIR_SCENE_REQUIRE(scene, ignored > 0, "no member has said that it ignores a map");
}

void weir_scenario_mirrored(struct weir_scene *scene)
{
    struct weir_stage before;
    struct copy *copies = calloc(PARTITIONS_MAX, sizeof *copies);
    run_before(scene, &before, copies);
    weir_scene_set(scene);
    scene->stage.group = before.group;
    weir_scene_produce(scene, scene->size.messages); /* the same keys, values and offsets */
    run_after(scene, copies, weir_scene_below(scene, 2) ? 0 : 1 + (int64_t)weir_scene_below(scene, SHIFT_MAX),
              scene->size.members);
    weir_stage_clear(&before);
    free(copies);
}

void weir_scenario_recreated(struct weir_scene *scene)
{
    struct weir_stage before;
    struct copy *copies = calloc(PARTITIONS_MAX, sizeof *copies);
    run_before(scene, &before, copies);
    weir_stage_clear(&before); /* deletes the topic */
    weir_scene_set(scene);
    weir_broker_topic_delete(scene->stage.topic.text);
    scene->stage.topic = before.topic;
    scene->stage.group = before.group;
    weir_broker_topic_create(scene->stage.topic.text, scene->stage.partitions, NULL);
    scene->stage.produced = 1; /* other values at the same offsets */
    weir_scene_produce(scene, scene->size.messages);
    scene->stage.produced--;
    run_after(scene, copies, 0, scene->size.members);
    free(copies);
}

/* ---- partitions added ---- */

void weir_scenario_grown(struct weir_scene *scene)
{
    weir_scene_set(scene);
    uint64_t part = scene->size.messages / (scene->size.disturbances + 1);
    weir_scene_produce(scene, scene->size.messages - part * scene->size.disturbances);
    start_all(scene, WEIR_SCENE_SETTINGS(scene, "topic.metadata.refresh.interval.ms", "500"));
    WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, weir_scene_finished(scene) > 0);
    weir_scene_watch(scene, true);
    for (unsigned round = 0; round < scene->size.disturbances; round++) {
        scene->stage.partitions += 1 + (int)weir_scene_below(scene, 4);
        weir_broker_topic_grow(scene->stage.topic.text, scene->stage.partitions);
        weir_scene_other(scene);
        weir_scene_produce(scene, part); /* before members can have noticed */
        weir_scene_sleep(scene, weir_scene_below(scene, 1500));
    }
    weir_scene_finish(scene, 60000);
    weir_scene_judge(scene);
}
