/*
 * Topics and their logs, as brokers keep them.
 *
 * A deleted topic stays in the list, emptied, so that one of the same name takes its place: offsets begin at 0 again,
 * and clients that still ask by name read the new one from their old position, as they do from a real broker.
 *
 * Thread: the simulation's.
 */
#include "actors/kafka_fake/internal.h"
#include "runtime/check.h"
#include "runtime/simulation.h"
#include <stdlib.h>
#include <string.h>

/* ---- records ---- */

static void copy_header(struct weir_kafka_header *to, const struct weir_kafka_header *from)
{
    to->name = weir_fake_copy_text(from->name);
    to->value = from->value ? weir_fake_copy_bytes(from->value, from->value_size) : NULL;
    to->value_size = from->value_size;
}

/* A copy in blocks of its own, so that reading past an end, or after the free, is seen by sanitizers. */
struct weir_fake_record *weir_fake_record_copy(const struct weir_fake_record *record)
{
    struct weir_fake_record *copy = weir_fake_allocate(sizeof *copy);
    *copy = *record;
    copy->key = record->key ? weir_fake_copy_bytes(record->key, record->key_size) : NULL;
    copy->value = record->value ? weir_fake_copy_bytes(record->value, record->value_size) : NULL;
    copy->headers = weir_fake_allocate(record->header_count * sizeof *copy->headers);
    for (size_t i = 0; i < record->header_count; i++)
        copy_header(&copy->headers[i], &record->headers[i]);
    return copy;
}

/* Overwritten first, so that a read after the free shows even without a sanitizer. */
static void drop_bytes(const void *bytes, size_t size)
{
    if (bytes && size > 0)
        memset((void *)(uintptr_t)bytes, 0xDD, size);
    free((void *)(uintptr_t)bytes);
}

void weir_fake_record_drop(struct weir_fake_record *record)
{
    for (size_t i = 0; i < record->header_count; i++) {
        drop_bytes(record->headers[i].name, strlen(record->headers[i].name));
        drop_bytes(record->headers[i].value, record->headers[i].value_size);
    }
    free(record->headers);
    drop_bytes(record->key, record->key_size);
    drop_bytes(record->value, record->value_size);
    free(record);
}

/* ---- topics ---- */

static struct fake_topic *find_name(const struct weir_fake_cluster *cluster, const char *name)
{
    struct fake_topic *topic = cluster->topics;
    while (topic && strcmp(topic->name, name) != 0)
        topic = topic->next;
    return topic;
}

struct fake_topic *weir_fake_topic(const struct weir_fake_cluster *cluster, const char *name)
{
    struct fake_topic *topic = find_name(cluster, name);
    return topic && topic->exists ? topic : NULL;
}

struct fake_log *weir_fake_log(const struct weir_fake_cluster *cluster, const char *name, int32_t partition)
{
    struct fake_topic *topic = weir_fake_topic(cluster, name);
    return topic && partition >= 0 && partition < topic->partition_count ? &topic->logs[partition] : NULL;
}

int64_t weir_fake_end_highest(const struct weir_fake_cluster *cluster, const char *name, int32_t partition)
{
    struct fake_topic *topic = find_name(cluster, name);
    return topic && partition >= 0 && partition < topic->partition_count_highest ? topic->logs[partition].end_highest
                                                                                 : 0;
}

static struct fake_topic *topic_make(struct weir_fake_cluster *cluster, const char *name)
{
    struct fake_topic **end = &cluster->topics;
    while (*end)
        end = &(*end)->next;
    *end = weir_fake_allocate(sizeof **end);
    (*end)->name = weir_fake_intern(cluster, name);
    return *end;
}

static void topic_resize(struct fake_topic *topic, int32_t partition_count)
{
    if (partition_count > topic->partition_count_highest) {
        topic->logs = realloc(topic->logs, (size_t)partition_count * sizeof *topic->logs);
        WEIR_CHECK(topic->logs != NULL);
        memset(&topic->logs[topic->partition_count_highest], 0,
               (size_t)(partition_count - topic->partition_count_highest) * sizeof *topic->logs);
        topic->partition_count_highest = partition_count;
    }
    topic->partition_count = partition_count;
}

void weir_fake_topic_create(struct weir_fake_cluster *cluster, const char *name, int32_t partition_count)
{
    WEIR_CHECK(partition_count > 0 && !weir_fake_topic(cluster, name));
    struct fake_topic *topic = find_name(cluster, name);
    if (!topic)
        topic = topic_make(cluster, name);
    topic_resize(topic, partition_count);
    topic->exists = true;
    topic->denied = false;
    topic->message_bytes_max = 0;
    weir_fake_fetch_unstick(cluster, topic->name);
    weir_fake_metadata_refresh(cluster);
}

static void log_empty(struct fake_log *log)
{
    for (size_t i = 0; i < log->count; i++)
        weir_fake_record_drop(log->records[i]);
    free(log->records);
    *log = (struct fake_log){.end_highest = log->end_highest};
}

void weir_fake_topic_delete(struct weir_fake_cluster *cluster, const char *name, bool keep_offsets)
{
    struct fake_topic *topic = weir_fake_topic(cluster, name);
    WEIR_CHECK(topic != NULL);
    for (int32_t i = 0; i < topic->partition_count; i++)
        log_empty(&topic->logs[i]);
    topic->exists = false;
    if (!keep_offsets)
        weir_fake_group_forget_topic(cluster, topic->name);
    for (int32_t i = 0; i < topic->partition_count; i++)
        weir_fake_fetch_kick(cluster, topic->name, i);
    weir_fake_metadata_refresh(cluster);
}

void weir_fake_topic_add_partitions(struct weir_fake_cluster *cluster, const char *name, int32_t partition_count)
{
    struct fake_topic *topic = weir_fake_topic(cluster, name);
    WEIR_CHECK(topic != NULL && partition_count > topic->partition_count);
    topic_resize(topic, partition_count);
    weir_fake_metadata_refresh(cluster);
}

void weir_fake_topic_deny(struct weir_fake_cluster *cluster, const char *name, bool denied)
{
    struct fake_topic *topic = weir_fake_topic(cluster, name);
    WEIR_CHECK(topic != NULL);
    topic->denied = denied;
    weir_fake_fetch_unstick(cluster, topic->name);
    for (int32_t i = 0; i < topic->partition_count; i++)
        weir_fake_fetch_kick(cluster, topic->name, i);
}

void weir_fake_topic_limit(struct weir_fake_cluster *cluster, const char *name, size_t message_bytes_max)
{
    struct fake_topic *topic = weir_fake_topic(cluster, name);
    WEIR_CHECK(topic != NULL);
    topic->message_bytes_max = message_bytes_max;
}

int32_t weir_fake_topic_partitions(const struct weir_fake_cluster *cluster, const char *name)
{
    struct fake_topic *topic = weir_fake_topic(cluster, name);
    return topic ? topic->partition_count : -1;
}

const char *weir_fake_topic_at(const struct weir_fake_cluster *cluster, size_t index)
{
    const struct fake_topic *topic = cluster->topics;
    while (topic && (!topic->exists || index-- > 0))
        topic = topic->next;
    return topic ? topic->name : NULL;
}

void weir_fake_topics_free(struct weir_fake_cluster *cluster)
{
    while (cluster->topics) {
        struct fake_topic *topic = cluster->topics;
        cluster->topics = topic->next;
        for (int32_t i = 0; i < topic->partition_count_highest; i++)
            log_empty(&topic->logs[i]);
        free(topic->logs);
        free(topic);
    }
}

/* ---- logs ---- */

size_t weir_fake_log_find(const struct fake_log *log, int64_t offset)
{
    size_t low = 0, high = log->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (log->records[middle]->offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct fake_log *log_must(const struct weir_fake_cluster *cluster, const char *name, int32_t partition)
{
    struct fake_log *log = weir_fake_log(cluster, name, partition);
    WEIR_CHECK(log != NULL);
    return log;
}

static void log_set_end(struct fake_log *log, int64_t end)
{
    log->end = end;
    if (end > log->end_highest)
        log->end_highest = end;
}

/* FNV-1a over the key; without one, by chance. */
int32_t weir_fake_choose_partition(struct weir_fake_cluster *cluster, const struct weir_kafka_produce *produce)
{
    int32_t partition_count = weir_fake_topic(cluster, produce->topic)->partition_count;
    if (!produce->key)
        return (int32_t)weir_random_below(&cluster->random, (uint64_t)partition_count);
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < produce->key_size; i++)
        hash = (hash ^ ((const unsigned char *)produce->key)[i]) * UINT64_C(0x100000001b3);
    return (int32_t)((hash >> 16) % (uint64_t)partition_count);
}

int64_t weir_fake_append(struct weir_fake_cluster *cluster, int32_t partition, const struct weir_kafka_produce *produce)
{
    struct fake_topic *topic = weir_fake_topic(cluster, produce->topic);
    WEIR_CHECK(topic != NULL);
    if (partition < 0)
        partition = weir_fake_choose_partition(cluster, produce);
    struct fake_log *log = log_must(cluster, produce->topic, partition);
    const struct weir_seam *seam = weir_simulation_seam(cluster->simulation);
    struct weir_fake_record record = {
        .offset = log->end,
        .timestamp_ms = produce->timestamp_ms >= 0 ? produce->timestamp_ms : seam->wall_ms(seam),
        .key = (void *)(uintptr_t)produce->key,
        .value = (void *)(uintptr_t)produce->value,
        .key_size = produce->key_size,
        .value_size = produce->value_size,
        .headers = (struct weir_kafka_header *)(uintptr_t)produce->headers,
        .header_count = produce->header_count,
    };
    log->records = weir_fake_grow(log->records, log->count, &log->capacity, sizeof *log->records);
    log->records[log->count++] = weir_fake_record_copy(&record);
    log_set_end(log, log->end + 1);
    weir_fake_fetch_kick(cluster, topic->name, partition);
    return record.offset;
}

void weir_fake_append_hole(struct weir_fake_cluster *cluster, const char *topic, int32_t partition, int64_t count)
{
    struct fake_log *log = log_must(cluster, topic, partition);
    log_set_end(log, log->end + count);
    weir_fake_fetch_kick(cluster, weir_fake_intern(cluster, topic), partition);
}

static void log_remove(struct fake_log *log, size_t first, size_t count)
{
    if (count == 0)
        return;
    for (size_t i = first; i < first + count; i++)
        weir_fake_record_drop(log->records[i]);
    log->count -= count;
    memmove(&log->records[first], &log->records[first + count],
            (log->count - first) * sizeof(struct weir_fake_record *));
}

void weir_fake_compact(struct weir_fake_cluster *cluster, const char *topic, int32_t partition, int64_t offset)
{
    struct fake_log *log = log_must(cluster, topic, partition);
    size_t index = weir_fake_log_find(log, offset);
    if (index < log->count && log->records[index]->offset == offset)
        log_remove(log, index, 1);
}

void weir_fake_truncate(struct weir_fake_cluster *cluster, const char *topic, int32_t partition, int64_t offset)
{
    struct fake_log *log = log_must(cluster, topic, partition);
    WEIR_CHECK(offset >= log->start && offset <= log->end);
    log_remove(log, 0, weir_fake_log_find(log, offset));
    log->start = offset;
    weir_fake_fetch_kick(cluster, weir_fake_intern(cluster, topic), partition);
}

void weir_fake_truncate_end(struct weir_fake_cluster *cluster, const char *topic, int32_t partition, int64_t offset)
{
    struct fake_log *log = log_must(cluster, topic, partition);
    WEIR_CHECK(offset >= log->start && offset <= log->end);
    size_t first = weir_fake_log_find(log, offset);
    log_remove(log, first, log->count - first);
    log->end = offset;
    weir_fake_fetch_kick(cluster, weir_fake_intern(cluster, topic), partition);
}

int64_t weir_fake_log_start(const struct weir_fake_cluster *cluster, const char *topic, int32_t partition)
{
    struct fake_log *log = weir_fake_log(cluster, topic, partition);
    return log ? log->start : 0;
}

int64_t weir_fake_log_end(const struct weir_fake_cluster *cluster, const char *topic, int32_t partition)
{
    struct fake_log *log = weir_fake_log(cluster, topic, partition);
    return log ? log->end : 0;
}

bool weir_fake_read(const struct weir_fake_cluster *cluster, const char *topic, int32_t partition, int64_t offset,
                    struct weir_fake_record *record)
{
    struct fake_log *log = weir_fake_log(cluster, topic, partition);
    size_t index = log ? weir_fake_log_find(log, offset) : 0;
    if (!log || index == log->count)
        return false;
    *record = *log->records[index];
    return true;
}
