/*
 * Fuzzer of the map. Goal: no input crashes the reader or makes it accept what breaks its promises, and no set of
 * offsets in any room makes the writer say something untrue.
 *
 * The first byte of an input chooses what the rest is:
 *   text    commit metadata as it comes from a broker
 *   body    the floor (8 bytes) and all of a map's body after it; checksum and base64 are put around it here, since no
 *           fuzzer guesses a checksum. What the reader accepts is written again and must come back the same
 *   offsets room (2 bytes), then gaps between unfinished offsets, one a byte; a byte of 240 and more shifts the next
 */
#include "actors/map.h"
#include "actors/map_wire.h"
#include <stdlib.h>
#include <string.h>

#define OFFSETS_MAX        4096
#define REQUIRE(condition) ((condition) ? (void)0 : abort())

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char text[WEIR_MAP_SIZE_MAX];

/* What every accepted map promises. */
static void require_sound(const struct weir_map *map)
{
    REQUIRE(map->count > 0 && map->count <= WEIR_MAP_COUNT_MAX && map->unfinished[0].offset == map->floor);
    REQUIRE(map->end > map->floor && map->count < (uint64_t)(map->end - map->floor));
    for (size_t index = 1; index < map->count; index++)
        REQUIRE(map->unfinished[index].offset > map->unfinished[index - 1].offset);
    REQUIRE(map->unfinished[map->count - 1].offset < map->end);
    REQUIRE(!weir_map_is_finished(map, map->floor) && !weir_map_is_finished(map, map->end));
    REQUIRE(map->witness.offset == -1 || weir_map_is_finished(map, map->witness.offset));
}

/* Write these and read them back: true for all below `end`, complete where there was room. */
static void require_true(int64_t floor, int64_t next, const struct weir_map_offset *unfinished, size_t count,
                         const struct weir_map_witness *witness, size_t size_max)
{
    const struct weir_map_log log = {.cluster_hash = 1, .leader_epoch = 2};
    int64_t end;
    size_t length = weir_map_encode(floor, next, unfinished, count, &log, witness, text, size_max, &end);
    if (length == 0) {
        REQUIRE(end == floor);
        return;
    }
    REQUIRE(length < size_max && strlen(text) == length && end > floor && end <= next);
    struct weir_map map;
    int verdict = weir_map_decode(text, length, floor, &log, &map);
    if (verdict < 0)
        return; /* memory is short */
    REQUIRE(verdict == WEIR_MAP_VALID && map.end == end);
    require_sound(&map);
    for (size_t index = 0; index < map.count; index++) {
        REQUIRE(map.unfinished[index].offset == unfinished[index].offset);
        REQUIRE(map.unfinished[index].attempts == 0 || map.unfinished[index].attempts == unfinished[index].attempts);
    }
    REQUIRE(map.count == count ? end == next || length + 2 >= size_max : unfinished[map.count].offset >= end);
    weir_map_deinit(&map);
}

static void fuzz_text(const uint8_t *data, size_t size)
{
    const struct weir_map_log log = {.cluster_hash = 0, .leader_epoch = -1};
    struct weir_map map;
    if (weir_map_decode((const char *)data, size, 0, &log, &map) == WEIR_MAP_VALID) {
        require_sound(&map);
        weir_map_deinit(&map);
    }
}

static uint64_t take_bytes(const uint8_t **data, size_t *size, size_t wanted)
{
    uint64_t value = 0;
    for (; wanted > 0 && *size > 0; wanted--, (*size)--)
        value = value << 8 | *(*data)++;
    return value;
}

static void fuzz_body(const uint8_t *data, size_t size)
{
    int64_t floor = (int64_t)(take_bytes(&data, &size, 8) & INT64_MAX);
    struct weir_map_writer writer;
    REQUIRE(weir_map_writer_init(&writer, text, sizeof text));
    weir_map_writer_fixed(&writer, 1, 8);
    weir_map_writer_varint(&writer, (uint64_t)floor);
    for (size_t index = 0; index < size && writer.room > 0; index++)
        weir_map_writer_byte(&writer, data[index]);
    size_t length = weir_map_writer_finish(&writer);
    const struct weir_map_log log = {.cluster_hash = 1, .leader_epoch = -1};
    struct weir_map map;
    if (weir_map_decode(text, length, floor, &log, &map) != WEIR_MAP_VALID)
        return;
    require_sound(&map);
    require_true(map.floor, map.end, map.unfinished, map.count, &map.witness, sizeof text);
    weir_map_deinit(&map);
}

static void fuzz_offsets(const uint8_t *data, size_t size)
{
    static struct weir_map_offset unfinished[OFFSETS_MAX];
    size_t size_max = take_bytes(&data, &size, 2), count = 0;
    int64_t offset = 1000;
    unsigned shift = 0;
    for (size_t index = 0; index < size && count < OFFSETS_MAX; index++) {
        if (data[index] >= 240) {
            shift = (data[index] - 240u) * 3;
            continue;
        }
        unfinished[count++] = (struct weir_map_offset){.offset = offset, .attempts = (uint16_t)(shift * 100)};
        offset += 1 + ((int64_t)data[index] << shift);
        shift = 0;
    }
    require_true(1000, offset, unfinished, count, NULL, size_max);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    switch (data[0] % 3) {
    case 0:
        fuzz_text(data + 1, size - 1);
        break;
    case 1:
        fuzz_body(data + 1, size - 1);
        break;
    default:
        fuzz_offsets(data + 1, size - 1);
        break;
    }
    return 0;
}
