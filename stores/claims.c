/* See claims.h. Thread: any. */
#include "stores/keep.h"
#include <string.h>
#include <weir/store.h>

struct weir_claim_entry {
    struct weir_claim_entry *next;
    struct weir_claim claim;
    int32_t partition;
    char topic[];
};

static struct weir_claim_entry **bucket_of(struct weir_claims *claims, const char *topic, int32_t partition)
{
    uint32_t hash = 2166136261u ^ (uint32_t)partition;
    for (; *topic != '\0'; topic++)
        hash = (hash ^ (unsigned char)*topic) * 16777619u;
    return &claims->buckets[(hash ^ hash >> 16) % WEIR_CLAIM_BUCKETS];
}

/* Under the lock. */
static struct weir_claim_entry *entry_of(struct weir_claims *claims, const char *topic, int32_t partition)
{
    struct weir_claim_entry *entry = *bucket_of(claims, topic, partition);
    while (entry && (entry->partition != partition || strcmp(entry->topic, topic) != 0))
        entry = entry->next;
    return entry;
}

void weir_claims_init(struct weir_claims *claims)
{
    *claims = (struct weir_claims){0};
    pthread_mutex_init(&claims->lock, NULL);
}

void weir_claims_deinit(struct weir_claims *claims)
{
    for (size_t index = 0; index < WEIR_CLAIM_BUCKETS; index++) {
        for (struct weir_claim_entry *entry = claims->buckets[index], *next; entry; entry = next) {
            next = entry->next;
            weir_store_free(entry);
        }
    }
    pthread_mutex_destroy(&claims->lock);
}

static struct weir_claim_entry *make_entry(struct weir_claims *claims, const char *topic, int32_t partition)
{
    size_t size = strlen(topic) + 1;
    struct weir_claim_entry *entry = weir_store_allocate(sizeof *entry + size);
    if (!entry)
        return NULL;
    struct weir_claim_entry **bucket = bucket_of(claims, topic, partition);
    memcpy(entry->topic, topic, size);
    entry->partition = partition;
    entry->next = *bucket;
    *bucket = entry;
    return entry;
}

bool weir_claims_put(struct weir_claims *claims, const char *topic, int32_t partition, const struct weir_claim *claim)
{
    pthread_mutex_lock(&claims->lock);
    struct weir_claim_entry *entry = entry_of(claims, topic, partition);
    if (!entry)
        entry = make_entry(claims, topic, partition);
    if (entry)
        entry->claim = *claim;
    pthread_mutex_unlock(&claims->lock);
    return entry != NULL;
}

bool weir_claims_find(struct weir_claims *claims, const char *topic, int32_t partition, uint64_t assignment,
                      struct weir_claim *claim)
{
    pthread_mutex_lock(&claims->lock);
    const struct weir_claim_entry *entry = entry_of(claims, topic, partition);
    bool found = entry && entry->claim.assignment == assignment;
    if (found)
        *claim = entry->claim;
    pthread_mutex_unlock(&claims->lock);
    return found;
}

void weir_claims_told(struct weir_claims *claims, const char *topic, int32_t partition, int64_t epoch, int64_t floor)
{
    pthread_mutex_lock(&claims->lock);
    struct weir_claim_entry *entry = entry_of(claims, topic, partition);
    if (entry && entry->claim.epoch == epoch)
        entry->claim.told = floor;
    pthread_mutex_unlock(&claims->lock);
}

void weir_claims_lapse(struct weir_claims *claims, const char *topic, int32_t partition, int64_t epoch)
{
    pthread_mutex_lock(&claims->lock);
    struct weir_claim_entry *entry = entry_of(claims, topic, partition);
    if (entry && entry->claim.epoch == epoch)
        entry->claim.lapsed = true;
    pthread_mutex_unlock(&claims->lock);
}

int weir_claims_look(struct weir_claims *claims, const struct weir_message *message, struct weir_claim *claim,
                     struct weir_error *error)
{
    const char *topic = weir_message_topic(message);
    int32_t partition = weir_message_partition(message);
    if (!weir_claims_find(claims, topic, partition, weir_message_epoch(message), claim))
        return weir_store_fail(
            error, WEIR_STALE,
            "%s/%d: the assignment of this message is over, or its consumer was not attached to this "
            "store",
            topic, (int)partition);
    if (claim->lapsed)
        return weir_store_fail(error, WEIR_STALE, "%s/%d has been taken over", topic, (int)partition);
    return weir_message_offset(message) < claim->floor ? WEIR_MARK_DONE : WEIR_MARK_NEW; /* C2 */
}

int weir_claims_refuse(struct weir_claims *claims, const struct weir_message *message, const struct weir_claim *claim,
                       int64_t epoch, struct weir_error *error)
{
    const char *topic = weir_message_topic(message);
    int32_t partition = weir_message_partition(message);
    weir_claims_lapse(claims, topic, partition, claim->epoch);
    return weir_store_fail(error, WEIR_STALE, "%s/%d has been taken over: epoch %lld instead of %lld", topic,
                           (int)partition, (long long)epoch, (long long)claim->epoch);
}
