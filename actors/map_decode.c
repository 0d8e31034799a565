/*
 * The map, read: text from a commit's metadata back into unfinished offsets. The layout stands in map.c.
 * Thread: any; no state.
 *
 * The text comes from outside: anybody may write commit metadata. So:
 *   1. Nothing is believed before the checksum is right, and nothing is allocated before the whole structure has been
 *      walked once and counted. The allocation is at most WEIR_MAP_COUNT_MAX offsets (4 MiB).
 *   2. Only what the writer can produce is accepted: shortest varints, offsets ascending and below INT64_MAX, at least
 *      one finished offset, a witness that is finished, no bytes left over.
 *   3. Time is linear in the text, plus the offsets listed.
 */
#include "actors/map.h"
#include "actors/map_wire.h"
#include "runtime/memory.h"
#include <string.h>
#include <xxhash.h>

#define CHECKSUM_VALUE_SIZE_MAX 1024

/* A walk over the tokens. `position` counts from the floor, so that nothing can overflow below `span_max`. */
struct walk {
    struct weir_map_reader reader;
    struct weir_map_offset *unfinished; /* NULL: only count and verify */
    int64_t floor;
    uint64_t position, span_max;
    size_t count;
};

static bool skip_finished(struct walk *walk, uint64_t length)
{
    if (length > walk->span_max - walk->position)
        return false;
    walk->position += length;
    return true;
}

static bool add_unfinished(struct walk *walk, uint64_t length)
{
    if (length > WEIR_MAP_COUNT_MAX - walk->count || length > walk->span_max - walk->position)
        return false;
    for (uint64_t index = 0; walk->unfinished && index < length; index++) {
        walk->unfinished[walk->count + index] =
            (struct weir_map_offset){.offset = walk->floor + (int64_t)(walk->position + index)};
    }
    walk->count += length;
    walk->position += length;
    return true;
}

static bool read_bits(struct walk *walk, uint64_t bytes)
{
    for (; bytes > 0; bytes--) {
        uint8_t bits;
        if (!weir_map_reader_byte(&walk->reader, &bits))
            return false;
        for (unsigned bit = 0; bit < 8; bit++) {
            if (!(bits >> bit & 1 ? add_unfinished(walk, 1) : skip_finished(walk, 1)))
                return false;
        }
    }
    return true;
}

/* One token; *stop is set by the last. */
static bool read_token(struct walk *walk, bool *stop)
{
    uint64_t value;
    if (!weir_map_reader_varint(&walk->reader, &value))
        return false;
    uint64_t argument = value >> 2;
    if (argument > WEIR_MAP_ARGUMENT_MAX)
        return false;
    switch ((enum weir_map_token)(value & 3)) {
    case WEIR_MAP_TOKEN_ONE:
        return skip_finished(walk, argument) && add_unfinished(walk, 1);
    case WEIR_MAP_TOKEN_RUN:
        return add_unfinished(walk, argument + 1);
    case WEIR_MAP_TOKEN_BITS:
        return read_bits(walk, argument + 1);
    default:
        *stop = true;
        return skip_finished(walk, argument);
    }
}

static bool read_attempts(struct walk *walk)
{
    uint64_t index = 0;
    while (walk->reader.position < walk->reader.size) {
        uint64_t skipped, attempts;
        if (!weir_map_reader_varint(&walk->reader, &skipped) || !weir_map_reader_varint(&walk->reader, &attempts) ||
            skipped >= walk->count - index || attempts == 0 || attempts > UINT16_MAX)
            return false;
        index += skipped;
        if (walk->unfinished)
            walk->unfinished[index].attempts = (uint16_t)attempts;
        index++;
    }
    return true;
}

/* Everything after the head, from the reader's place on. The floor is unfinished and has no token. */
static bool walk_body(struct walk *walk, const struct weir_map_reader *reader, struct weir_map_offset *unfinished)
{
    walk->reader = *reader;
    walk->unfinished = unfinished;
    walk->position = walk->count = 0;
    bool stop = false;
    if (!add_unfinished(walk, 1))
        return false;
    while (!stop) {
        if (!read_token(walk, &stop))
            return false;
    }
    return walk->count < walk->position && read_attempts(walk);
}

static bool read_head(struct weir_map_reader *reader, struct weir_map *map)
{
    uint64_t floor, epoch, ahead, checksum = 0;
    if (!weir_map_reader_fixed(reader, sizeof map->log.cluster_hash, &map->log.cluster_hash) ||
        !weir_map_reader_varint(reader, &floor) || !weir_map_reader_varint(reader, &epoch) ||
        !weir_map_reader_varint(reader, &ahead) || floor > INT64_MAX || epoch > (uint64_t)INT32_MAX + 1 ||
        ahead > (uint64_t)INT64_MAX - floor)
        return false;
    if (ahead > 0 && !weir_map_reader_fixed(reader, sizeof map->witness.checksum, &checksum))
        return false;
    map->floor = (int64_t)floor;
    map->log.leader_epoch = (int32_t)((int64_t)epoch - 1);
    map->witness.offset = ahead > 0 ? map->floor + (int64_t)ahead : -1;
    map->witness.checksum = (uint32_t)checksum;
    return true;
}

/* "weir", a number and a colon: ours. Anything but number 1 is from a later version. */
static enum weir_map_verdict read_mark(const char *text, size_t size)
{
    if (!text || size == 0)
        return WEIR_MAP_NONE;
    size_t digits = 0;
    if (size < 4 || memcmp(text, WEIR_MAP_MARK, 4) != 0)
        return WEIR_MAP_FOREIGN;
    while (4 + digits < size && text[4 + digits] >= '0' && text[4 + digits] <= '9')
        digits++;
    if (digits == 0 || 4 + digits == size || text[4 + digits] != ':')
        return WEIR_MAP_FOREIGN;
    return digits == 1 && text[4] == WEIR_MAP_MARK[4] ? WEIR_MAP_VALID : WEIR_MAP_VERSION;
}

static bool is_misplaced(const struct weir_map *map, int64_t floor, const struct weir_map_log *log)
{
    return map->floor != floor ||
           (map->log.cluster_hash != 0 && log->cluster_hash != 0 && map->log.cluster_hash != log->cluster_hash);
}

int weir_map_decode(const char *text, size_t size, int64_t floor, const struct weir_map_log *log, struct weir_map *map)
{
    enum weir_map_verdict verdict = read_mark(text, size);
    if (verdict != WEIR_MAP_VALID)
        return verdict;
    struct weir_map read = {0};
    struct weir_map_reader reader;
    if (size > WEIR_MAP_SIZE_MAX ||
        !weir_map_reader_init(&reader, text + WEIR_MAP_MARK_SIZE, size - WEIR_MAP_MARK_SIZE) ||
        !read_head(&reader, &read))
        return WEIR_MAP_DAMAGED;
    struct walk walk = {.floor = read.floor, .span_max = (uint64_t)(INT64_MAX - read.floor)};
    if (!walk_body(&walk, &reader, NULL))
        return WEIR_MAP_DAMAGED;
    if (is_misplaced(&read, floor, log))
        return WEIR_MAP_MISPLACED;
    read.unfinished = weir_memory_allocate(walk.count * sizeof *read.unfinished);
    if (!read.unfinished)
        return WEIR_NO_MEMORY;
    read.count = walk.count;
    read.end = read.floor + (int64_t)walk.position;
    /* The first walk has accepted it all; the second one only fills in. */
    if (!walk_body(&walk, &reader, read.unfinished) ||
        (read.witness.offset >= 0 && !weir_map_is_finished(&read, read.witness.offset))) {
        weir_map_deinit(&read);
        return WEIR_MAP_DAMAGED;
    }
    *map = read;
    return WEIR_MAP_VALID;
}

void weir_map_deinit(struct weir_map *map)
{
    weir_memory_free(map->unfinished);
    *map = (struct weir_map){.witness.offset = -1, .log.leader_epoch = -1};
}

/* The listed offset, or NULL. */
static const struct weir_map_offset *find(const struct weir_map *map, int64_t offset)
{
    size_t low = 0, high = map->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (map->unfinished[middle].offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low < map->count && map->unfinished[low].offset == offset ? &map->unfinished[low] : NULL;
}

bool weir_map_is_finished(const struct weir_map *map, int64_t offset)
{
    return offset >= map->floor && offset < map->end && !find(map, offset);
}

uint16_t weir_map_attempts(const struct weir_map *map, int64_t offset)
{
    const struct weir_map_offset *unfinished = find(map, offset);
    return unfinished ? unfinished->attempts : 0;
}

const char *weir_map_verdict_name(int verdict)
{
    switch (verdict) {
    case WEIR_MAP_VALID:
        return "valid";
    case WEIR_MAP_NONE:
        return "none";
    case WEIR_MAP_FOREIGN:
        return "foreign";
    case WEIR_MAP_DAMAGED:
        return "damaged";
    case WEIR_MAP_VERSION:
        return "version";
    case WEIR_MAP_MISPLACED:
        return "misplaced";
    default:
        return "unknown";
    }
}

/* ---- what proves where a map belongs ---- */

static void store(uint8_t *bytes, uint64_t value)
{
    for (unsigned index = 0; index < 8; index++)
        bytes[index] = (uint8_t)(value >> (8 * index));
}

uint32_t weir_map_checksum(const void *key, size_t key_size, const void *value, size_t value_size, int64_t timestamp_ms)
{
    size_t value_size_read = value_size < CHECKSUM_VALUE_SIZE_MAX ? value_size : CHECKSUM_VALUE_SIZE_MAX;
    uint8_t parts[48]; /* little endian, so that members of a group agree whatever machine they run on */
    store(parts, key && key_size > 0 ? XXH3_64bits(key, key_size) : 0);
    store(parts + 8, value && value_size > 0 ? XXH3_64bits(value, value_size_read) : 0);
    store(parts + 16, key_size);
    store(parts + 24, value_size);
    store(parts + 32, (uint64_t)timestamp_ms);
    store(parts + 40, (key ? 1u : 0u) | (value ? 2u : 0u)); /* null is not empty */
    return (uint32_t)XXH3_64bits(parts, sizeof parts);
}

uint64_t weir_map_cluster_hash(const char *cluster_id, const char *topic)
{
    if (!cluster_id)
        return 0;
    uint64_t hash = XXH3_64bits_withSeed(topic, strlen(topic), XXH3_64bits(cluster_id, strlen(cluster_id)));
    return hash != 0 ? hash : 1;
}
