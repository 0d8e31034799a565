/*
 * The map, written: which offsets above a committed one are finished, as text for Kafka's commit metadata.
 * Thread: any; no state. Reading it back lives in map_decode.c, base64, checksum and varints in map_wire.c.
 *
 * Text: "weir1:" and the base64 (RFC 4648, no padding) of the body:
 *
 *   cluster hash   8 bytes, little endian; 0: unknown
 *   floor          varint
 *   leader epoch   varint, plus one; 0: unknown
 *   witness        varint, its offset less the floor; 0: none. Otherwise its checksum follows, 4 bytes, little endian
 *   tokens         which offsets from floor + 1 on are finished; the floor itself never is. The last token is STOP
 *   attempts       to the end, for each unfinished offset with attempts, as long as there is room: two varints, the
 *                  offsets' indexes skipped since the last such one, and the attempts (1 .. 65535)
 *   CRC-32C        4 bytes, little endian, of all before it
 *
 * A token is a varint, argument << 2 | kind. The kinds, and when the writer takes them:
 *   ONE   deltas, for what is sparse: a byte an unfinished offset up to 31 finished ones apart, two up to 4,095
 *   RUN   unfinished offsets in a row: a byte or two whatever their number
 *   BITS  where dense: a bit an offset. Taken where eight unfinished offsets lie within 48, so that bits are shorter
 *         than deltas, and carried on as long as no byte of them costs more than the deltas would
 *   STOP  the finished offsets after the last unfinished one that was listed
 *
 * Invariants
 *   M1. What the text claims finished is finished: offsets are listed from the floor up without omission, and where
 *       room ends, the map ends (STOP), before the first unfinished offset that was not listed.
 *   M2. One byte is always kept for STOP, so a text that was begun can always be ended.
 *   M3. At most WEIR_MAP_COUNT_MAX offsets are listed, so that a reader can bound what it allocates.
 *   M4. Time is linear in `count`: each offset is looked at a fixed number of times.
 */
#include "actors/map.h"
#include "actors/map_wire.h"
#include "runtime/check.h"
#include <stdlib.h>

#define BITS_OFFSETS   8  /* so many unfinished offsets ... */
#define BITS_SPAN      48 /* ... within so many make bits shorter than deltas */
#define BITS_ROOM_MIN  8  /* with less room than this a BITS token is not worth beginning */
#define RUN_LENGTH_MIN 24 /* a run that ends BITS: RUN and a new BITS cost less than its bytes */

/* Where the writer stands: what is below `position` has been said. */
struct cursor {
    struct weir_map_writer *writer;
    const struct weir_map_offset *unfinished;
    size_t count, index; /* unfinished[index] is the first at or above `position` */
    int64_t position, next;
};

/* How far unfinished[index] lies above `position`. */
static uint64_t distance(const struct cursor *cursor, size_t index)
{
    int64_t offset = cursor->unfinished[index].offset;
    WEIR_CHECK(offset >= cursor->position);
    return (uint64_t)(offset - cursor->position);
}

/* Do at least `length` unfinished offsets lie in a row from `index` on? They ascend strictly: the last one tells. */
static bool is_run(const struct cursor *cursor, size_t index, size_t length)
{
    return length <= cursor->count - index &&
           cursor->unfinished[index + length - 1].offset - cursor->unfinished[index].offset == (int64_t)(length - 1);
}

static bool list_one(struct cursor *cursor)
{
    struct weir_map_writer *writer = cursor->writer;
    uint64_t gap = distance(cursor, cursor->index);
    if (writer->room < 2 || gap > weir_map_argument_max(writer->room - 1))
        return false;
    weir_map_writer_token(writer, gap, WEIR_MAP_TOKEN_ONE);
    cursor->position = cursor->unfinished[cursor->index++].offset + 1;
    return true;
}

/* List the run that begins at `position`, or as much of it as the room can express. */
static bool list_run(struct cursor *cursor)
{
    struct weir_map_writer *writer = cursor->writer;
    if (writer->room < 2)
        return false;
    uint64_t length_max = weir_map_argument_max(writer->room - 1) + 1;
    uint64_t length = 0;
    while (length < length_max && cursor->index < cursor->count && distance(cursor, cursor->index) == length) {
        length++;
        cursor->index++;
    }
    weir_map_writer_token(writer, length - 1, WEIR_MAP_TOKEN_RUN);
    cursor->position += (int64_t)length;
    return true;
}

/* Does the bitmap's byte number `byte` pay, unfinished[index] being the first offset in or above it? It does where it
 * is not empty, or where the next four offsets are within four bytes. A run has a token of its own. */
static bool byte_pays(const struct cursor *cursor, size_t index, uint64_t byte)
{
    if (index == cursor->count || (uint64_t)(cursor->next - cursor->position) < 8 * (byte + 1))
        return false;
    uint64_t ahead = distance(cursor, index);
    if (ahead == 8 * byte && is_run(cursor, index, RUN_LENGTH_MIN))
        return false;
    return ahead < 8 * (byte + 1) || (cursor->count - index > 3 && distance(cursor, index + 3) < 8 * (byte + 4));
}

/* Bytes of bitmap that pay from `position` on; 0: deltas are as short. */
static size_t bits_bytes(const struct cursor *cursor)
{
    size_t index = cursor->index;
    if (cursor->writer->room < BITS_ROOM_MIN || cursor->count - index < BITS_OFFSETS ||
        distance(cursor, index + BITS_OFFSETS - 1) >= BITS_SPAN || distance(cursor, index) >= 8)
        return 0;
    size_t bytes = 0;
    while (bytes < cursor->writer->room && byte_pays(cursor, index, bytes)) {
        bytes++;
        while (index < cursor->count && distance(cursor, index) < 8 * bytes)
            index++;
    }
    /* A bitmap that got past the span has paid already; judging it again would cost a second look at all of it. */
    return bytes >= BITS_SPAN / 8 || index - cursor->index > bytes + 1 ? bytes : 0;
}

static bool list_bits(struct cursor *cursor, size_t bytes)
{
    struct weir_map_writer *writer = cursor->writer;
    size_t room = writer->room - 1; /* M2 */
    if (bytes > room - 1)
        bytes = room - 1;
    size_t token_size = weir_map_varint_size((bytes - 1) << 2);
    if (bytes > room - token_size)
        bytes = room - token_size;
    weir_map_writer_token(writer, bytes - 1, WEIR_MAP_TOKEN_BITS);
    for (size_t byte = 0; byte < bytes; byte++) {
        uint8_t bits = 0;
        while (cursor->index < cursor->count && distance(cursor, cursor->index) < 8) {
            bits |= (uint8_t)(1u << distance(cursor, cursor->index));
            cursor->index++;
        }
        weir_map_writer_byte(writer, bits);
        cursor->position += 8;
    }
    return true;
}

/* One token, whichever says most; false when none fits. */
static bool list_some(struct cursor *cursor)
{
    bool at_offset = distance(cursor, cursor->index) == 0;
    if (at_offset && is_run(cursor, cursor->index, RUN_LENGTH_MIN))
        return list_run(cursor);
    size_t bytes = bits_bytes(cursor);
    if (bytes > 0)
        return list_bits(cursor, bytes);
    return at_offset && is_run(cursor, cursor->index, 2) ? list_run(cursor) : list_one(cursor);
}

/* All tokens. Returns how far they speak; the cursor then says how many offsets they list. */
static int64_t list_all(struct cursor *cursor)
{
    while (cursor->index < cursor->count && list_some(cursor))
        continue;
    int64_t limit = cursor->index < cursor->count ? cursor->unfinished[cursor->index].offset : cursor->next;
    WEIR_CHECK(limit >= cursor->position);
    uint64_t finished = (uint64_t)(limit - cursor->position);
    uint64_t finished_max = weir_map_argument_max(cursor->writer->room);
    if (finished > finished_max)
        finished = finished_max;
    weir_map_writer_token(cursor->writer, finished, WEIR_MAP_TOKEN_STOP);
    return cursor->position + (int64_t)finished;
}

/* False where head and STOP do not fit. */
static bool write_head(struct weir_map_writer *writer, int64_t floor, const struct weir_map_log *log,
                       const struct weir_map_witness *witness)
{
    uint64_t epoch = log->leader_epoch < 0 ? 0 : (uint64_t)log->leader_epoch + 1;
    uint64_t ahead = witness ? (uint64_t)(witness->offset - floor) : 0;
    size_t size = sizeof log->cluster_hash + weir_map_varint_size((uint64_t)floor) + weir_map_varint_size(epoch) +
                  weir_map_varint_size(ahead) + (witness ? sizeof witness->checksum : 0);
    if (writer->room < size + 1)
        return false;
    weir_map_writer_fixed(writer, log->cluster_hash, sizeof log->cluster_hash);
    weir_map_writer_varint(writer, (uint64_t)floor);
    weir_map_writer_varint(writer, epoch);
    weir_map_writer_varint(writer, ahead);
    if (witness)
        weir_map_writer_fixed(writer, witness->checksum, sizeof witness->checksum);
    return true;
}

static void write_attempts(struct weir_map_writer *writer, const struct weir_map_offset *unfinished, size_t listed)
{
    size_t from = 0;
    for (size_t index = 0; index < listed; index++) {
        uint16_t attempts = unfinished[index].attempts;
        if (attempts == 0)
            continue;
        if (weir_map_varint_size(index - from) + weir_map_varint_size(attempts) > writer->room)
            return;
        weir_map_writer_varint(writer, index - from);
        weir_map_writer_varint(writer, attempts);
        from = index + 1;
    }
}

static int compare(const void *key, const void *element)
{
    int64_t offset = *(const int64_t *)key, other = ((const struct weir_map_offset *)element)->offset;
    return offset < other ? -1 : offset > other;
}

/* A witness at the floor, or one that is not finished, proves nothing, and readers would refuse the map. */
static bool is_witness(const struct weir_map_witness *witness, int64_t floor, const struct weir_map_offset *unfinished,
                       size_t count)
{
    return witness->offset > floor && !bsearch(&witness->offset, unfinished, count, sizeof *unfinished, compare);
}

size_t weir_map_encode(int64_t floor, int64_t next, const struct weir_map_offset *unfinished, size_t count,
                       const struct weir_map_log *log, const struct weir_map_witness *witness, char *text,
                       size_t size_max, int64_t *end)
{
    *end = floor;
    if (size_max == 0)
        return 0;
    text[0] = '\0';
    WEIR_CHECK(floor >= 0 && next >= floor);
    if (count == 0 || (uint64_t)count == (uint64_t)(next - floor))
        return 0; /* nothing above the floor is finished: the committed offset says it all */
    WEIR_CHECK(unfinished[0].offset == floor && unfinished[count - 1].offset < next);
    if (witness && witness->offset < 0)
        witness = NULL;
    if (witness && !is_witness(witness, floor, unfinished, count))
        return 0;
    if (count > WEIR_MAP_COUNT_MAX) {
        next = unfinished[WEIR_MAP_COUNT_MAX].offset;
        count = WEIR_MAP_COUNT_MAX;
    }
    struct weir_map_writer writer;
    if (!weir_map_writer_init(&writer, text, size_max < WEIR_MAP_SIZE_MAX ? size_max : WEIR_MAP_SIZE_MAX) ||
        !write_head(&writer, floor, log, witness)) {
        text[0] = '\0';
        return 0;
    }
    struct cursor cursor = {&writer, unfinished, count, 1, floor + 1, next};
    int64_t reach = list_all(&cursor);
    /* Cut so short that it speaks of no finished offset, or, below the witness, of holes only. */
    if ((uint64_t)(reach - floor) == cursor.index || (witness && witness->offset >= reach)) {
        text[0] = '\0';
        return 0;
    }
    write_attempts(&writer, unfinished, cursor.index);
    *end = reach;
    return weir_map_writer_finish(&writer);
}
