/*
 * The inbox in memory: <weir/inbox.h>. A hash table of ids, and lists in the order in which they will go.
 *
 * Invariants
 *   I1. An entry is in its bucket, and once its message is done in the list `done` too, in the order of finishing.
 *   I2. `bytes` is what table and entries take; it is at most bytes_max.
 *   I3. Entries of messages that are being handled are never forgotten: their bound is what the windows let out.
 *
 * Thread: any; everything under the lock but the ids' own counters.
 */
#include "stores/ids.h"
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <weir/inbox.h>

#define BYTES_MIN        4096
#define BYTES_PER_BUCKET 128 /* of the bound: about an entry each when it is full */

struct entry {
    struct entry *next;  /* in the bucket */
    struct entry *later; /* in the list of those that are done */
    uint64_t hash, done_ms;
    int64_t offset;
    int32_t partition;
    uint32_t id_size;
    bool done;
    char name[]; /* topic with its NUL, then the id */
};

struct weir_inbox {
    pthread_mutex_t lock;
    struct weir_ids ids;
    size_t bytes, bytes_max, bucket_count;
    struct entry **buckets;
    struct entry *first, *last; /* done */
};

/* What an entry is found by. */
struct key {
    const char *topic;
    int32_t partition;
    struct weir_id id;
    uint64_t hash;
};

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t mix(uint64_t hash, const void *bytes, size_t size)
{
    for (const unsigned char *byte = bytes; size > 0; byte++, size--)
        hash = (hash ^ *byte) * 1099511628211u;
    return hash;
}

static struct key key_of(const struct weir_message *message, struct weir_id id)
{
    struct key key = {weir_message_topic(message), weir_message_partition(message), id, 0};
    uint64_t hash = mix(14695981039346656037u, key.topic, strlen(key.topic) + 1);
    hash = mix(mix(hash, &key.partition, sizeof key.partition), id.bytes, id.size);
    key.hash = hash ^ hash >> 29;
    return key;
}

static size_t size_of(const struct key *key)
{
    return sizeof(struct entry) + strlen(key->topic) + 1 + key->id.size;
}

static size_t size_of_entry(const struct entry *entry)
{
    return sizeof *entry + strlen(entry->name) + 1 + entry->id_size;
}

static struct entry **place_of(struct weir_inbox *inbox, const struct key *key)
{
    struct entry **place = &inbox->buckets[key->hash % inbox->bucket_count];
    for (struct entry *entry; (entry = *place); place = &entry->next)
        if (entry->hash == key->hash && entry->partition == key->partition && entry->id_size == key->id.size &&
            strcmp(entry->name, key->topic) == 0 &&
            memcmp(entry->name + strlen(entry->name) + 1, key->id.bytes, key->id.size) == 0)
            break;
    return place;
}

static void unlink_entry(struct weir_inbox *inbox, struct entry *entry)
{
    struct entry **place = &inbox->buckets[entry->hash % inbox->bucket_count];
    while (*place != entry)
        place = &(*place)->next;
    *place = entry->next;
    inbox->bytes -= size_of_entry(entry);
    weir_store_free(entry);
}

static void forget_first(struct weir_inbox *inbox)
{
    struct entry *entry = inbox->first;
    inbox->first = entry->later;
    if (!inbox->first)
        inbox->last = NULL;
    unlink_entry(inbox, entry);
}

/* What is past the window goes; and as much more as `size` needs. */
static bool make_room(struct weir_inbox *inbox, size_t size)
{
    uint64_t now = now_ms();
    while (inbox->first && now - inbox->first->done_ms > inbox->ids.window_ms)
        forget_first(inbox);
    while (inbox->first && inbox->bytes + size > inbox->bytes_max) {
        forget_first(inbox);
        atomic_fetch_add_explicit(&inbox->ids.forgotten, 1, memory_order_relaxed);
    }
    return inbox->bytes + size <= inbox->bytes_max;
}

static int add(struct weir_inbox *inbox, const struct key *key, int64_t offset, struct weir_error *error)
{
    size_t size = size_of(key), topic_size = strlen(key->topic) + 1;
    if (!make_room(inbox, size))
        return weir_store_fail(error, WEIR_FULL, "the messages being handled fill the inbox's %zu bytes",
                               inbox->bytes_max);
    struct entry *entry = weir_store_allocate(size);
    if (!entry)
        return weir_store_fail(error, WEIR_NO_MEMORY, "no memory for an id of %zu bytes", key->id.size);
    memcpy(entry->name, key->topic, topic_size);
    memcpy(entry->name + topic_size, key->id.bytes, key->id.size);
    entry->hash = key->hash;
    entry->partition = key->partition;
    entry->id_size = (uint32_t)key->id.size;
    entry->offset = offset;
    entry->next = inbox->buckets[key->hash % inbox->bucket_count];
    inbox->buckets[key->hash % inbox->bucket_count] = entry;
    inbox->bytes += size;
    return WEIR_MARK_NEW;
}

static int begin(struct weir_inbox *inbox, const struct key *key, int64_t offset, struct weir_error *error)
{
    make_room(inbox, 0);
    const struct entry *entry = *place_of(inbox, key);
    if (!entry)
        return add(inbox, key, offset, error);
    if (entry->done)
        return WEIR_MARK_DONE;
    return entry->offset == offset ? WEIR_MARK_NEW : WEIR_MARK_BUSY; /* itself: a run that nobody has ended */
}

int weir_inbox_begin(struct weir_inbox *inbox, struct weir_message *message, struct weir_error *error)
{
    struct weir_id id;
    int result = weir_ids_of(&inbox->ids, message, &id, error);
    if (result == 0 && id.size > 0) {
        struct key key = key_of(message, id);
        pthread_mutex_lock(&inbox->lock);
        result = begin(inbox, &key, weir_message_offset(message), error);
        pthread_mutex_unlock(&inbox->lock);
    }
    weir_ids_count(&inbox->ids, &id, result);
    return result;
}

static void end(struct weir_inbox *inbox, const struct key *key, int64_t offset, bool done)
{
    struct entry *entry = *place_of(inbox, key);
    if (!entry || entry->done || entry->offset != offset)
        return;
    if (!done) {
        unlink_entry(inbox, entry);
        return;
    }
    entry->done = true;
    entry->done_ms = now_ms();
    if (inbox->last)
        inbox->last->later = entry;
    else
        inbox->first = entry;
    inbox->last = entry;
}

enum weir_outcome weir_inbox_end(struct weir_inbox *inbox, struct weir_message *message, enum weir_outcome outcome)
{
    struct weir_id id;
    if (outcome == WEIR_LATER || weir_ids_of(&inbox->ids, message, &id, NULL) != 0 || id.size == 0)
        return outcome;
    struct key key = key_of(message, id);
    pthread_mutex_lock(&inbox->lock);
    end(inbox, &key, weir_message_offset(message), outcome == WEIR_ACK || outcome == WEIR_SKIP);
    pthread_mutex_unlock(&inbox->lock);
    return outcome;
}

/* ---- life ---- */

struct weir_inbox_stats weir_inbox_stats_of(struct weir_inbox *inbox)
{
    return weir_ids_stats(&inbox->ids);
}

size_t weir_inbox_bytes(struct weir_inbox *inbox)
{
    pthread_mutex_lock(&inbox->lock);
    size_t bytes = inbox->bytes;
    pthread_mutex_unlock(&inbox->lock);
    return bytes;
}

struct weir_inbox *weir_inbox_create(const struct weir_inbox_settings *settings, size_t bytes_max,
                                     struct weir_error *error)
{
    if (bytes_max < BYTES_MIN) {
        weir_store_fail(error, WEIR_INVALID, "bytes_max=%zu: must be from %d", bytes_max, BYTES_MIN);
        return NULL;
    }
    struct weir_inbox *inbox = weir_store_allocate(sizeof *inbox);
    if (!inbox) {
        weir_store_fail(error, WEIR_NO_MEMORY, "no memory for an inbox");
        return NULL;
    }
    pthread_mutex_init(&inbox->lock, NULL);
    inbox->bytes_max = bytes_max;
    inbox->bucket_count = bytes_max / BYTES_PER_BUCKET;
    inbox->bytes = sizeof *inbox + inbox->bucket_count * sizeof *inbox->buckets;
    inbox->buckets = weir_store_allocate(inbox->bucket_count * sizeof *inbox->buckets);
    if (!inbox->buckets)
        weir_store_fail(error, WEIR_NO_MEMORY, "no memory for an inbox of %zu bytes", bytes_max);
    if (inbox->buckets && weir_ids_set(&inbox->ids, settings, error) == 0)
        return inbox;
    weir_inbox_destroy(inbox);
    return NULL;
}

void weir_inbox_destroy(struct weir_inbox *inbox)
{
    if (!inbox)
        return;
    for (size_t index = 0; inbox->buckets && index < inbox->bucket_count; index++) {
        for (struct entry *entry = inbox->buckets[index], *next; entry; entry = next) {
            next = entry->next;
            weir_store_free(entry);
        }
    }
    weir_store_free(inbox->buckets);
    weir_ids_deinit(&inbox->ids);
    pthread_mutex_destroy(&inbox->lock);
    weir_store_free(inbox);
}
