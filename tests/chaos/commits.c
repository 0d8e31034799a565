/*
 * The history of a group's commits: the records of __consumer_offsets, which the broker keeps in the order in which it
 * acknowledged them. See scenario.h.
 *
 * Format (Kafka's OffsetCommitKey 0 and 1, OffsetCommitValue 0 to 4; big endian)
 *   key    int16 version, string group, string topic, int32 partition
 *   value  int16 version, int64 offset, [3 and 4: int32 leader epoch,] string metadata, int64 commit time, ...
 * A string is int16 length and bytes; in the flexible version 4 a varint of length + 1. A null value removes the
 * commit.
 *
 * Version 2 of the key is another record, of the group itself (GroupMetadataKey and GroupMetadataValue)
 *   key    int16 version, string group
 *   value  int16 version, string protocol type, int32 generation, ...
 */
#include "tests/chaos/scenario.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct reading {
    const char *group;
    struct weir_chaos_history *history;
    int64_t ahead_ns; /* of the wall clock before the monotonic one */
    uint64_t strangers_before_ns;
};

struct cursor {
    const unsigned char *at, *end;
    bool bad;
};

static uint64_t number(struct cursor *cursor, size_t size)
{
    uint64_t value = 0;
    if ((size_t)(cursor->end - cursor->at) < size) {
        cursor->bad = true;
        return 0;
    }
    for (size_t index = 0; index < size; index++)
        value = value << 8 | *cursor->at++;
    return value;
}

static size_t varint(struct cursor *cursor)
{
    size_t value = 0;
    for (unsigned shift = 0; shift < 35 && !cursor->bad; shift += 7) {
        uint64_t byte = number(cursor, 1);
        value |= (size_t)(byte & 127) << shift;
        if (byte < 128)
            break;
    }
    return value;
}

/* A new string; NULL where there is none. */
static char *text(struct cursor *cursor, bool flexible)
{
    size_t size = flexible ? varint(cursor) - 1 : (size_t)number(cursor, 2);
    if (cursor->bad || (size_t)(cursor->end - cursor->at) < size) {
        cursor->bad = true;
        return NULL;
    }
    char *copy = strndup((const char *)cursor->at, size);
    cr_assert_not_null(copy);
    cursor->at += size;
    return copy;
}

static void keep(struct weir_chaos_history *history, const struct weir_chaos_commit *commit)
{
    if ((history->count & (history->count + 1)) == 0) { /* places: 1, 3, 7, ... */
        void *more = realloc(history->all, (2 * history->count + 1) * sizeof *history->all);
        cr_assert_not_null(more);
        history->all = more;
    }
    history->all[history->count++] = *commit;
}

/* Members write maps, or nothing. */
static bool is_strangers(const char *metadata)
{
    return metadata && strncmp(metadata, "weir1:", 6) != 0 && metadata[0] != '\0';
}

static void take(struct reading *reading, const rd_kafka_message_t *record, const char *topic, int32_t partition)
{
    struct weir_chaos_commit commit = {
        .topic_hash = weir_ledger_hash(topic, strlen(topic)), .partition = partition, .offset = -1, .stranger = true};
    struct cursor value = {record->payload, (const unsigned char *)record->payload + record->len, false};
    rd_kafka_timestamp_type_t type;
    int64_t time_ms = rd_kafka_message_timestamp(record, &type);
    if (record->payload) {
        uint64_t version = number(&value, 2);
        commit.offset = (int64_t)number(&value, 8);
        if (version >= 3)
            number(&value, 4);
        commit.metadata = text(&value, version >= 4);
        time_ms = (int64_t)number(&value, 8);
        cr_assert(version <= 4 && !value.bad, "a commit of version %d that cannot be read", (int)version);
        commit.stranger = is_strangers(commit.metadata);
    }
    commit.monotonic_ns = (uint64_t)(time_ms * 1000000 - reading->ahead_ns);
    commit.stranger |= commit.monotonic_ns < reading->strangers_before_ns;
    keep(reading->history, &commit);
}

static void visit(void *user, rd_kafka_message_t *record)
{
    struct reading *reading = user;
    struct cursor key = {record->key, (const unsigned char *)record->key + record->key_len, false};
    if (!record->key || number(&key, 2) > 1)
        return;
    char *group = text(&key, false), *topic = text(&key, false);
    int32_t partition = (int32_t)number(&key, 4);
    if (!key.bad && strcmp(group, reading->group) == 0)
        take(reading, record, topic, partition);
    free(group);
    free(topic);
}

static int64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Of many readings the one that was interrupted least. What it is out by makes it too small, a commit later. */
int64_t weir_scene_ahead_ns(void)
{
    int64_t ahead_ns = 0, least_ns = INT64_MAX;
    for (unsigned count = 0; count < 100; count++) {
        int64_t before_ns = clock_ns(CLOCK_MONOTONIC), wall_ns = clock_ns(CLOCK_REALTIME);
        int64_t after_ns = clock_ns(CLOCK_MONOTONIC);
        if (after_ns - before_ns >= least_ns)
            continue;
        least_ns = after_ns - before_ns;
        ahead_ns = wall_ns - after_ns;
    }
    return ahead_ns;
}

void weir_scene_history(const char *group, const struct weir_scene *scene, struct weir_chaos_history *history)
{
    *history = (struct weir_chaos_history){0};
    int64_t ahead_ns = weir_scene_ahead_ns(), moved_ns = ahead_ns - scene->ahead_ns;
    if (moved_ns > 1000000 || moved_ns < -1000000)
        fprintf(stderr, "the wall clock was set by %.1f ms meanwhile\n", (double)moved_ns / 1e6);
    struct reading reading = {.group = group,
                              .history = history,
                              .ahead_ns = moved_ns < 0 ? ahead_ns : scene->ahead_ns,
                              .strangers_before_ns = scene->strangers_before_ms * 1000000};
    weir_broker_read("__consumer_offsets", visit, &reading);
}

struct search {
    const char *group;
    uint64_t generation;
};

static void look_for_group(void *user, rd_kafka_message_t *record)
{
    struct search *search = user;
    struct cursor key = {record->key, (const unsigned char *)record->key + record->key_len, false};
    struct cursor value = {record->payload, (const unsigned char *)record->payload + record->len, false};
    if (!record->key || !record->payload || number(&key, 2) != 2)
        return;
    char *group = text(&key, false);
    if (!key.bad && strcmp(group, search->group) == 0) {
        uint64_t version = number(&value, 2);
        free(text(&value, version >= 4));
        uint64_t generation = number(&value, 4);
        cr_assert(version <= 4 && !value.bad, "a group's record of version %d that cannot be read", (int)version);
        if ((int32_t)generation >= 0 && generation > search->generation)
            search->generation = generation;
    }
    free(group);
}

uint64_t weir_scene_generation(const char *group)
{
    struct search search = {.group = group};
    weir_broker_read("__consumer_offsets", look_for_group, &search);
    return search.generation;
}
