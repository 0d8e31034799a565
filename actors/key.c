/*
 * Key actors: table, pool, and the turn in which the user's handler runs.
 */
#include "actors/key.h"
#include "actors/consumer.h"
#include "actors/partition.h"
#include "actors/run.h"
#include "runtime/check.h"
#include "runtime/memory.h"
#include <stddef.h>
#include <string.h>
#include <xxhash.h>

#define TABLE_BUCKETS_MIN 64
#define KEY_CHUNK         63 /* with its link just 8 KiB, which allocators have a class for */

/* ---- states ---- */

static const char *const state_names[WEIR_KEY_STATES] = {"ready",   "gathering", "out",     "parked",
                                                         "waiting", "later",     "dying",   "sending",
                                                         "delayed", "idle",      "leaving", "ending"};

#define BIT(state) (1u << (state))
static const uint16_t legal_moves[WEIR_KEY_STATES] = {
    [WEIR_KEY_READY] = BIT(WEIR_KEY_GATHERING) | BIT(WEIR_KEY_OUT) | BIT(WEIR_KEY_PARKED) | BIT(WEIR_KEY_WAITING) |
                       BIT(WEIR_KEY_LATER) | BIT(WEIR_KEY_DYING) | BIT(WEIR_KEY_SENDING) | BIT(WEIR_KEY_DELAYED) |
                       BIT(WEIR_KEY_IDLE) | BIT(WEIR_KEY_LEAVING),
    [WEIR_KEY_GATHERING] = BIT(WEIR_KEY_OUT) | BIT(WEIR_KEY_READY),
    [WEIR_KEY_OUT] = BIT(WEIR_KEY_READY),
    [WEIR_KEY_PARKED] = BIT(WEIR_KEY_READY),
    [WEIR_KEY_WAITING] = BIT(WEIR_KEY_READY) | BIT(WEIR_KEY_DYING),
    [WEIR_KEY_LATER] = BIT(WEIR_KEY_READY),
    [WEIR_KEY_DYING] = BIT(WEIR_KEY_READY),
    [WEIR_KEY_SENDING] = BIT(WEIR_KEY_READY),
    [WEIR_KEY_DELAYED] = BIT(WEIR_KEY_READY),
    [WEIR_KEY_IDLE] = BIT(WEIR_KEY_READY) | BIT(WEIR_KEY_LEAVING),
    [WEIR_KEY_LEAVING] = BIT(WEIR_KEY_ENDING),
    [WEIR_KEY_ENDING] = BIT(WEIR_KEY_READY),
};

const char *weir_key_state_name(enum weir_key_state state)
{
    return state < WEIR_KEY_STATES ? state_names[state] : "unknown";
}

void weir_key_move(struct weir_key *key, enum weir_key_state state)
{
    WEIR_CHECK(legal_moves[key->state] & BIT(state));
    key->state = (uint8_t)state;
}

/* ---- lists ---- */

void weir_key_list_append(struct weir_key_list *list, struct weir_key *key)
{
    key->list_before = list->last;
    key->list_after = NULL;
    if (list->last)
        list->last->list_after = key;
    else
        list->first = key;
    list->last = key;
    list->count++;
}

void weir_key_list_remove(struct weir_key_list *list, struct weir_key *key)
{
    WEIR_CHECK(list->count > 0);
    if (key->list_before)
        key->list_before->list_after = key->list_after;
    else
        list->first = key->list_after;
    if (key->list_after)
        key->list_after->list_before = key->list_before;
    else
        list->last = key->list_before;
    key->list_before = key->list_after = NULL;
    list->count--;
}

/* ---- table ---- */

uint64_t weir_key_hash(const void *key, size_t key_size)
{
    return key ? XXH3_64bits(key, key_size) : 0x9e3779b97f4a7c15ull;
}

int weir_key_table_init(struct weir_key_table *table)
{
    table->buckets = weir_memory_allocate_zeroed(TABLE_BUCKETS_MIN, sizeof *table->buckets);
    table->bucket_count = TABLE_BUCKETS_MIN;
    table->count = 0;
    return table->buckets ? 0 : WEIR_NO_MEMORY;
}

void weir_key_table_deinit(struct weir_key_table *table)
{
    WEIR_CHECK(table->count == 0);
    weir_memory_free(table->buckets);
    table->buckets = NULL;
}

/* Null and empty differ: both sizes are 0, only one has bytes. */
static bool same_bytes(const struct weir_key *found, const void *key, size_t key_size)
{
    const struct weir_message *message = found->last;
    size_t size = message ? message->key_size : found->data->key_size;
    const void *bytes = message ? message->key : found->data->key_bytes;
    return size == key_size && (bytes == NULL) == (key == NULL) && (key_size == 0 || memcmp(bytes, key, key_size) == 0);
}

struct weir_key *weir_key_table_find(const struct weir_key_table *table, uint32_t hash, const void *key,
                                     size_t key_size)
{
    struct weir_key *found = table->buckets[hash & (table->bucket_count - 1)];
    while (found && !(found->hash == hash && same_bytes(found, key, key_size)))
        found = found->table_next;
    return found;
}

static void link_in(struct weir_key_table *table, struct weir_key *key)
{
    struct weir_key **bucket = &table->buckets[key->hash & (table->bucket_count - 1)];
    key->table_next = *bucket;
    *bucket = key;
}

/* Double the buckets. Where memory is short the chains get longer, that is all. */
static void grow(struct weir_key_table *table)
{
    struct weir_key **old = table->buckets;
    uint32_t old_count = table->bucket_count;
    struct weir_key **buckets = weir_memory_allocate_zeroed((size_t)old_count * 2, sizeof *buckets);
    if (!buckets)
        return;
    table->buckets = buckets;
    table->bucket_count = old_count * 2;
    for (uint32_t index = 0; index < old_count; index++) {
        for (struct weir_key *key = old[index], *next; key; key = next) {
            next = key->table_next;
            link_in(table, key);
        }
    }
    weir_memory_free(old);
}

void weir_key_table_insert(struct weir_key_table *table, struct weir_key *key)
{
    if (table->count >= table->bucket_count / 2 && table->bucket_count < 1u << 24)
        grow(table);
    link_in(table, key);
    key->in_table = true;
    table->count++;
}

void weir_key_table_remove(struct weir_key_table *table, struct weir_key *key)
{
    struct weir_key **link = &table->buckets[key->hash & (table->bucket_count - 1)];
    while (*link && *link != key)
        link = &(*link)->table_next;
    WEIR_CHECK(*link == key);
    *link = key->table_next;
    key->in_table = false;
    table->count--;
}

/* ---- pool ---- */

struct weir_key_chunk {
    struct weir_key_chunk *next;
    struct weir_key keys[KEY_CHUNK];
};

int weir_key_pool_reserve(struct weir_key_pool *pool, uint32_t count)
{
    while (pool->free_count < count) {
        struct weir_key_chunk *chunk = weir_memory_allocate(sizeof *chunk);
        if (!chunk)
            return WEIR_NO_MEMORY;
        chunk->next = pool->chunks;
        pool->chunks = chunk;
        for (size_t index = KEY_CHUNK; index-- > 0;) {
            weir_timer_init(&chunk->keys[index].timer, weir_partition_key_timer);
            chunk->keys[index].table_next = pool->free;
            pool->free = &chunk->keys[index];
        }
        pool->free_count += KEY_CHUNK;
    }
    return 0;
}

struct weir_key *weir_key_pool_take(struct weir_key_pool *pool, struct weir_partition *partition)
{
    struct weir_key *key = pool->free;
    WEIR_CHECK(key != NULL);
    pool->free = key->table_next;
    pool->free_count--;
    /* Field by field: what has not been armed needs no zeroing, and the links are written before they are read. */
    key->actor.turn = weir_key_turn;
    key->partition = partition;
    key->first = key->last = NULL;
    key->data = NULL;
    key->count = 0;
    key->state = WEIR_KEY_READY;
    key->in_table = key->held = false;
    return key;
}

void weir_key_pool_give(struct weir_key_pool *pool, struct weir_key *key)
{
    key->table_next = pool->free;
    pool->free = key;
    pool->free_count++;
}

void weir_key_pool_deinit(struct weir_key_pool *pool)
{
    for (struct weir_key_chunk *chunk = pool->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        weir_memory_free(chunk);
    }
    *pool = (struct weir_key_pool){0};
}

/* ---- queue ---- */

void weir_key_append(struct weir_key *key, struct weir_message *message)
{
    message->next = NULL;
    message->owner = key;
    if (key->last) {
        WEIR_CHECK(key->last->offset < message->offset || key->last->epoch != message->epoch);
        key->last->next = message;
    } else {
        key->first = message;
    }
    key->last = message;
    key->count++;
}

struct weir_message *weir_key_shift(struct weir_key *key)
{
    struct weir_message *message = key->first;
    WEIR_CHECK(message != NULL && key->count > 0);
    key->first = key->count > 1 ? message->next : NULL;
    if (key->count == 1)
        key->last = NULL;
    message->next = NULL;
    message->owner = NULL;
    key->count--;
    return message;
}

struct weir_message *weir_key_take_after(struct weir_key *key, struct weir_message *before)
{
    struct weir_message *message = before->next;
    WEIR_CHECK(message != NULL && message->owner == key && key->count > 1);
    before->next = message->next;
    if (key->last == message)
        key->last = before;
    message->next = NULL;
    message->owner = NULL;
    key->count--;
    return message;
}

/* ---- the turn ---- */

/* How long a turn may go on before other keys have theirs, and how often the clock is asked. */
#define TURN_NS_MAX 500000
#define LONG_NS_MAX 100000000ull /* of a key that others wait less for than it does for them: see pool.h */
#define CLOCK_EVERY 8

/* A long turn is not to be taken for a handler that runs for too long. */
static uint64_t turn_may_take(const struct weir_partition *partition, const struct weir_worker *worker)
{
    uint64_t warn_ns = partition->consumer->options->handler_warn_ms * 1000000;
    if (!weir_worker_may_take_long(worker) || (warn_ns > 0 && warn_ns < 2 * LONG_NS_MAX))
        return TURN_NS_MAX;
    return LONG_NS_MAX;
}

/* What asks for the clock after each run: it may have blocked, or others wait that go before. */
static bool is_watched(const struct weir_partition *partition, const struct weir_worker *worker)
{
    return weir_worker_is_pool(worker) || partition->level > 0;
}

/* A turn on a thread that may block can be long: it ends when a message of a higher priority waits for a thread. */
static bool gives_way(const struct weir_partition *partition, const struct weir_worker *worker)
{
    return partition->level > 0 && weir_worker_is_pool(worker) && weir_worker_is_outranked(worker, partition->level);
}

/* Of the first `done` messages: those that their handler was asked about. */
static uint32_t count_asked(const struct weir_key *key, uint16_t done)
{
    uint32_t count = 0;
    const struct weir_message *message = key->first;
    for (uint16_t left = done; left > 0; left--) {
        count += message->filtered == WEIR_FILTERED_NOT && message->outcome != WEIR_OUTCOME_DELAYED;
        if (left > 1)
            message = message->next;
    }
    return count;
}

void weir_key_turn(struct weir_actor *actor, struct weir_worker *worker)
{
    struct weir_key *key = WEIR_CONTAINER(actor, struct weir_key, actor);
    struct weir_partition *partition = key->partition;
    struct weir_running *running = &partition->consumer->running[weir_worker_number(worker)];
    struct weir_message *message = key->first;
    uint16_t done = 0;
    uint64_t started_ns = weir_worker_now_ns(worker);
    uint64_t turn_ns_max = turn_may_take(partition, worker);
    unsigned clock_every = is_watched(partition, worker) ? 1 : CLOCK_EVERY;
    while (weir_partition_may_start(partition, message, worker)) {
        message->outcome = (uint8_t)weir_run(partition, message, running);
        done++;
        if (message->outcome > WEIR_SKIP || done == key->run_count ||
            weir_message_later_state(message) != WEIR_LATER_IDLE || message->outputs)
            break; /* the outputs last: while the handle is out they are its holder's */
        if (done % clock_every == 0 &&
            (weir_worker_refresh_now(worker) - started_ns > turn_ns_max || gives_way(partition, worker)))
            break;
        message = message->next;
    }
    key->run_done = done;
    if (partition->consumer->level_count > 1)
        weir_worker_weigh(worker, count_asked(key, done));
    key->mail.kind = WEIR_MAIL_KEY;
    weir_resident_send(&partition->resident, &key->mail); /* W3: the last access */
}
