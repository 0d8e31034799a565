/*
 * The map's wire: base64 (RFC 4648, standard alphabet, no padding), CRC-32C and varints (LEB128, shortest form only).
 * See map_wire.h. Thread: any; no state of its own.
 */
#include "actors/map_wire.h"
#include "runtime/check.h"
#include <string.h>

/* Four bits at a time: sixteen words of table instead of 256, and still fast enough for a few KiB a second. */
uint32_t weir_map_crc_byte(uint32_t crc, uint8_t byte)
{
    static const uint32_t table[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
        0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    crc ^= byte;
    crc = table[crc & 15] ^ (crc >> 4);
    return table[crc & 15] ^ (crc >> 4);
}

size_t weir_map_varint_size(uint64_t value)
{
    size_t size = 1;
    while (value >>= 7)
        size++;
    return size;
}

uint64_t weir_map_argument_max(size_t size)
{
    return size >= 9 ? WEIR_MAP_ARGUMENT_MAX : (UINT64_C(1) << (7 * size - 2)) - 1;
}

/* ---- write ---- */

bool weir_map_writer_init(struct weir_map_writer *writer, char *text, size_t size_max)
{
    if (size_max < WEIR_MAP_MARK_SIZE + 1)
        return false;
    size_t characters = size_max - 1 - WEIR_MAP_MARK_SIZE;
    size_t bytes = characters / 4 * 3 + characters % 4 * 3 / 4;
    if (bytes < WEIR_MAP_CRC_SIZE)
        return false;
    memcpy(text, WEIR_MAP_MARK, WEIR_MAP_MARK_SIZE);
    *writer = (struct weir_map_writer){
        .text = text, .length = WEIR_MAP_MARK_SIZE, .room = bytes - WEIR_MAP_CRC_SIZE, .crc = UINT32_MAX};
    return true;
}

static void put_character(struct weir_map_writer *writer, uint32_t six_bits)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    writer->text[writer->length++] = alphabet[six_bits & 63];
}

static void put_byte(struct weir_map_writer *writer, uint8_t byte)
{
    writer->carry = writer->carry << 8 | byte;
    writer->carry_bits += 8;
    while (writer->carry_bits >= 6) {
        writer->carry_bits -= 6;
        put_character(writer, writer->carry >> writer->carry_bits);
    }
}

void weir_map_writer_byte(struct weir_map_writer *writer, uint8_t byte)
{
    WEIR_CHECK(writer->room > 0);
    writer->room--;
    writer->crc = weir_map_crc_byte(writer->crc, byte);
    put_byte(writer, byte);
}

void weir_map_writer_fixed(struct weir_map_writer *writer, uint64_t value, size_t size)
{
    for (size_t index = 0; index < size; index++)
        weir_map_writer_byte(writer, (uint8_t)(value >> (8 * index)));
}

void weir_map_writer_varint(struct weir_map_writer *writer, uint64_t value)
{
    for (; value >= 128; value >>= 7)
        weir_map_writer_byte(writer, (uint8_t)(value | 128));
    weir_map_writer_byte(writer, (uint8_t)value);
}

void weir_map_writer_token(struct weir_map_writer *writer, uint64_t argument, enum weir_map_token token)
{
    WEIR_CHECK(argument <= WEIR_MAP_ARGUMENT_MAX);
    weir_map_writer_varint(writer, argument << 2 | (uint64_t)token);
}

size_t weir_map_writer_finish(struct weir_map_writer *writer)
{
    uint32_t crc = ~writer->crc;
    for (size_t index = 0; index < WEIR_MAP_CRC_SIZE; index++)
        put_byte(writer, (uint8_t)(crc >> (8 * index)));
    if (writer->carry_bits > 0)
        put_character(writer, writer->carry << (6 - writer->carry_bits));
    writer->text[writer->length] = '\0';
    return writer->length;
}

/* ---- read ---- */

/* The six bits of a character; -1 for one outside the alphabet. */
static int value_of(char character)
{
    if (character >= 'A' && character <= 'Z')
        return character - 'A';
    if (character >= 'a' && character <= 'z')
        return character - 'a' + 26;
    if (character >= '0' && character <= '9')
        return character - '0' + 52;
    return character == '+' ? 62 : character == '/' ? 63 : -1;
}

/* Byte `index` of the text, whose characters have been verified. */
static uint8_t byte_at(const char *text, size_t index)
{
    size_t part = index % 3;
    const char *pair = text + index / 3 * 4 + part;
    return (uint8_t)(value_of(pair[0]) << (2 + 2 * part) | value_of(pair[1]) >> (4 - 2 * part));
}

/* Only one text may stand for given bytes: the last character's unused bits must be zero. */
static bool is_base64(const char *text, size_t size)
{
    for (size_t index = 0; index < size; index++) {
        if (value_of(text[index]) < 0)
            return false;
    }
    switch (size % 4) {
    case 0:
        return true;
    case 2:
        return (value_of(text[size - 1]) & 15) == 0;
    case 3:
        return (value_of(text[size - 1]) & 3) == 0;
    default:
        return false;
    }
}

bool weir_map_reader_init(struct weir_map_reader *reader, const char *text, size_t size)
{
    size_t bytes = size / 4 * 3 + size % 4 * 3 / 4;
    if (bytes < WEIR_MAP_CRC_SIZE || !is_base64(text, size))
        return false;
    *reader = (struct weir_map_reader){.text = text, .size = bytes - WEIR_MAP_CRC_SIZE};
    uint32_t crc = UINT32_MAX, stored = 0;
    for (size_t index = 0; index < reader->size; index++)
        crc = weir_map_crc_byte(crc, byte_at(text, index));
    for (size_t index = 0; index < WEIR_MAP_CRC_SIZE; index++)
        stored |= (uint32_t)byte_at(text, reader->size + index) << (8 * index);
    return stored == (uint32_t)~crc;
}

bool weir_map_reader_byte(struct weir_map_reader *reader, uint8_t *byte)
{
    if (reader->position == reader->size)
        return false;
    *byte = byte_at(reader->text, reader->position++);
    return true;
}

bool weir_map_reader_fixed(struct weir_map_reader *reader, size_t size, uint64_t *value)
{
    *value = 0;
    for (size_t index = 0; index < size; index++) {
        uint8_t byte;
        if (!weir_map_reader_byte(reader, &byte))
            return false;
        *value |= (uint64_t)byte << (8 * index);
    }
    return true;
}

bool weir_map_reader_varint(struct weir_map_reader *reader, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte;
        if (!weir_map_reader_byte(reader, &byte))
            return false;
        if (shift == 63 && byte > 1)
            return false; /* more than 64 bits */
        *value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return byte != 0 || shift == 0; /* a last byte of zero: longer than need be */
    }
    return false;
}
