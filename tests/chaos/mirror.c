/*
 * A group that is carried over to another cluster, as mirroring tools do it: messages with their keys, values and
 * times, commits with offsets translated, and the metadata of commits as it was. A map that came along speaks of
 * another log: believed there, it would skip messages that the target's group has yet to handle.
 *
 * Partitions differ in what lies in front of the messages, by turns
 *   ALIKE    nothing: same offsets, same witness. Only the hash of the cluster tells one log from the other
 *   AHEAD    the target begins with others: offsets are translated upwards
 *   BEHIND   the source began with others, which its retention took: offsets are translated downwards
 *   MEETING  as many others at the source as at the target: offsets happen to be equal
 */
#include "actors/map.h"
#include "tests/chaos/families.h"
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EARLIER = 50, STUCK = 3, OTHERS_MAX = 40 }; /* of each partition */
enum kind { ALIKE, AHEAD, BEHIND, MEETING, KINDS };

/* A partition: its commit at the source, and how many others lie in front at either side. */
struct lane {
    int64_t others_before, others_after;
    int64_t offset;
    char metadata[4096];
    int64_t witness;
    uint32_t checksum;
    bool matches; /* the target has the witness at its offset */
};

struct record {
    int64_t timestamp_ms;
    int32_t partition;
    char key[24], value[24];
};

struct mirror {
    struct weir_scene *scene;
    struct weir_stage source;
    struct lane *lanes;
    struct record *records;
    size_t count;
    uint64_t told; /* what the maps call finished, so that a reader that believes them skips it */
    /* for the callbacks of a production */
    char key[24], value[24];
    int32_t partition;
    uint64_t begin;
};

static bool is_equal(int32_t partition)
{
    return partition % KINDS == ALIKE || partition % KINDS == MEETING;
}

static void init(struct mirror *mirror, struct weir_scene *scene)
{
    *mirror = (struct mirror){.scene = scene,
                              .lanes = calloc((size_t)scene->size.partitions, sizeof *mirror->lanes),
                              .records = calloc(scene->size.messages, sizeof *mirror->records)};
    cr_assert(mirror->lanes && mirror->records);
    weir_random_init(&scene->random, scene->seed);
    for (int32_t partition = 0; partition < scene->size.partitions; partition++) {
        struct lane *lane = &mirror->lanes[partition];
        int64_t others = 1 + (int64_t)weir_scene_below(scene, OTHERS_MAX);
        enum kind kind = (enum kind)(partition % KINDS);
        lane->others_before = kind == BEHIND || kind == MEETING ? others : 0;
        lane->others_after = kind == AHEAD || kind == MEETING ? others : 0;
    }
}

/* ---- the source ---- */

static void make_other(void *user, size_t index, struct weir_broker_record *record)
{
    struct mirror *mirror = user;
    (void)index;
    record->partition = mirror->partition;
    record->value = "of somebody else";
    record->value_size = strlen(record->value);
}

static void put_others(struct mirror *mirror, int32_t partition, int64_t count)
{
    mirror->partition = partition;
    if (count > 0)
        weir_broker_produce(mirror->source.topic.text, (size_t)count, make_other, NULL, mirror);
}

/* The same number of messages to each partition, so that all floors are known. */
static void make_message(void *user, size_t index, struct weir_broker_record *record)
{
    struct mirror *mirror = user;
    uint64_t number = mirror->begin + index;
    record->partition = (int32_t)(number % (uint64_t)mirror->source.partitions);
    record->key = mirror->key;
    record->key_size =
        (size_t)snprintf(mirror->key, sizeof mirror->key, "key-%" PRIu64, number % mirror->scene->size.keys);
    record->value = mirror->value;
    record->value_size = (size_t)snprintf(mirror->value, sizeof mirror->value, "%" PRIu64, number);
}

static void put_messages(struct mirror *mirror, uint64_t count)
{
    weir_broker_produce(mirror->source.topic.text, count, make_message, NULL, mirror);
    mirror->begin += count;
}

static void keep_record(void *user, rd_kafka_message_t *message)
{
    struct mirror *mirror = user;
    rd_kafka_timestamp_type_t type;
    cr_assert_lt(mirror->count, mirror->scene->size.messages);
    struct record *record = &mirror->records[mirror->count++];
    record->partition = message->partition;
    record->timestamp_ms = rd_kafka_message_timestamp(message, &type);
    snprintf(record->key, sizeof record->key, "%.*s", (int)message->key_len, (const char *)message->key);
    snprintf(record->value, sizeof record->value, "%.*s", (int)message->len, (const char *)message->payload);
}

static void keep_commit(struct mirror *mirror, int32_t partition)
{
    struct lane *lane = &mirror->lanes[partition];
    struct weir_map_log any = {0, -1};
    struct weir_map map;
    lane->offset = weir_broker_committed(mirror->source.group.text, mirror->source.topic.text, partition,
                                         lane->metadata, sizeof lane->metadata);
    cr_assert_eq(lane->offset, lane->others_before + EARLIER, "partition %d", (int)partition);
    cr_assert_eq(weir_map_decode(lane->metadata, strlen(lane->metadata), lane->offset, &any, &map), WEIR_MAP_VALID,
                 "partition %d has no map", (int)partition);
    mirror->told += (uint64_t)(map.end - map.floor) - map.count;
    lane->witness = map.witness.offset;
    lane->checksum = map.witness.checksum;
    weir_map_deinit(&map);
}

/* Let the group finish all but what stands behind a few messages after the first EARLIER ones of each partition. */
static void run_source(struct mirror *mirror)
{
    struct weir_member member;
    struct weir_stage *source = &mirror->source;
    uint64_t earlier = (uint64_t)EARLIER * (uint64_t)mirror->scene->size.partitions;
    weir_stage_set(source, mirror->scene->size.partitions, 0);
    for (int32_t partition = 0; partition < source->partitions; partition++) {
        int64_t others = mirror->lanes[partition].others_before;
        put_others(mirror, partition, others);
        if (others > 0)
            weir_broker_topic_trim(source->topic.text, partition, others);
    }
    put_messages(mirror, earlier);
    weir_member_init(&member);
    weir_member_start(&member, source, -1,
                      WEIR_STAGE_SETTINGS(source, "weir.commit.interval.ms", "100", "session.timeout.ms", "1500"));
    WEIR_BROKER_UNTIL(atomic_load(&member.board->finished) == earlier);
    atomic_store(&member.board->hold_below, OTHERS_MAX + EARLIER + STUCK);
    put_messages(mirror, mirror->scene->size.messages - earlier);
    uint64_t most = mirror->scene->size.messages / 10 * 8;
    WEIR_BROKER_UNTIL(atomic_load(&member.board->finished) > most);
    weir_member_signal(&member, SIGTERM);
    weir_member_join(&member, source);
    weir_member_deinit(&member);
    weir_broker_read(source->topic.text, keep_record, mirror);
    cr_assert_eq(mirror->count, mirror->scene->size.messages);
    for (int32_t partition = 0; partition < source->partitions; partition++)
        keep_commit(mirror, partition);
    cr_assert_gt(mirror->told, mirror->scene->size.messages / 2, "the maps tell next to nothing");
}

/* ---- the target ---- */

static void make_copy(void *user, size_t index, struct weir_broker_record *record)
{
    struct mirror *mirror = user;
    const struct record *copied = &mirror->records[index];
    record->partition = copied->partition;
    record->timestamp_ms = copied->timestamp_ms;
    record->key = copied->key;
    record->key_size = strlen(copied->key);
    record->value = copied->value;
    record->value_size = strlen(copied->value);
}

static void note_copy(void *user, size_t index, int32_t partition, int64_t offset)
{
    struct mirror *mirror = user;
    const char *key = mirror->records[index].key;
    weir_ledger_emit(mirror->scene->stage.ledger, mirror->source.topic.text, partition, offset, key, strlen(key),
                     index);
}

static void look_at_witness(void *user, rd_kafka_message_t *message)
{
    struct mirror *mirror = user;
    struct lane *lane = &mirror->lanes[message->partition];
    rd_kafka_timestamp_type_t type;
    if (message->offset == lane->witness)
        lane->matches = weir_map_checksum(message->key, message->key_len, message->payload, message->len,
                                          rd_kafka_message_timestamp(message, &type)) == lane->checksum;
}

static int64_t translated(const struct lane *lane)
{
    return lane->offset - lane->others_before + lane->others_after;
}

static void copy_all(struct mirror *mirror)
{
    struct weir_scene *scene = mirror->scene;
    weir_broker_topic_delete(scene->stage.topic.text);
    scene->stage.topic = mirror->source.topic; /* same name, and same group */
    scene->stage.group = mirror->source.group;
    weir_broker_topic_create(scene->stage.topic.text, scene->stage.partitions, NULL);
    scene->stage.produced = mirror->count;
    for (int32_t partition = 0; partition < scene->stage.partitions; partition++) {
        put_others(mirror, partition, mirror->lanes[partition].others_after);
        scene->stage.produced += (uint64_t)mirror->lanes[partition].others_after;
    }
    weir_broker_produce(scene->stage.topic.text, mirror->count, make_copy, note_copy, mirror);
    weir_broker_read(scene->stage.topic.text, look_at_witness, mirror);
    for (int32_t partition = 0; partition < scene->stage.partitions; partition++) {
        const struct lane *lane = &mirror->lanes[partition];
        cr_assert(!is_equal(partition) || (lane->matches && translated(lane) == lane->offset),
                  "partition %d: more than the cluster tells its map from one of this log", (int)partition);
        weir_broker_commit(scene->stage.group.text, scene->stage.topic.text, partition, translated(lane),
                           lane->metadata);
        weir_scene_other(scene);
    }
    weir_scene_sleep(scene, 20);
    scene->strangers_before_ms = weir_broker_now_ms();
    weir_scene_sleep(scene, 20);
}

/* Every message at or above the translated commit has a run, and none below it. That it ended, the judge asks. */
static void check_runs(struct mirror *mirror)
{
    struct weir_scene *scene = mirror->scene;
    uint64_t below = 0, above = 0;
    for (size_t place = 0; place < weir_ledger_count(scene->stage.ledger); place++) {
        const struct weir_ledger_record *record = weir_ledger_at(scene->stage.ledger, place);
        if (!record || record->kind != WEIR_LEDGER_START)
            continue;
        bool passed = record->offset < translated(&mirror->lanes[record->partition]);
        below += passed;
        above += !passed;
    }
    uint64_t wanted = mirror->count - (uint64_t)EARLIER * (uint64_t)scene->stage.partitions;
    WEIR_SCENE_REQUIRE(scene, below == 0, "%" PRIu64 " runs below what the group had committed", below);
    WEIR_SCENE_REQUIRE(scene, above >= wanted,
                       "%" PRIu64 " runs of %" PRIu64 " messages above the translated commits: a map was believed",
                       above, wanted);
}

void weir_scenario_mirrored_cluster(struct weir_scene *scene)
{
    struct mirror mirror;
    uint64_t ignored = 0;
    init(&mirror, scene);
    weir_broker_start("");
    run_source(&mirror);
    weir_broker_stop(); /* from here on the target, which all scenarios share, is in use */
    weir_scene_set(scene);
    copy_all(&mirror);
    for (unsigned member = 0; member < scene->size.members; member++)
        weir_scene_start(scene, member, WEIR_SCENE_SETTINGS(scene, "weir.window.messages.max", "512"));
    weir_scene_watch(scene, true);
    weir_scene_finish(scene, 60000);
    for (unsigned member = 0; member < scene->size.members; member++)
        ignored += weir_member_log_count(&scene->members[member], "is ignored (");
    check_runs(&mirror);
    WEIR_SCENE_REQUIRE(scene, ignored >= (uint64_t)scene->stage.partitions,
                       "members say of %" PRIu64 " maps that they ignore them: there were %d", ignored,
                       scene->stage.partitions);
    weir_scene_judge(scene);
    free(mirror.lanes);
    free(mirror.records);
}
