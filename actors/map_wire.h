/*
 * The map's wire: bytes as base64 text with a checksum, and varints. What they mean stands in map.c.
 *
 * Writer and reader work on the text in place, byte by byte, so neither needs a buffer of its own. The writer knows its
 * room beforehand and never writes past it: who writes asks for the room first. The reader has verified the text as a
 * whole before the first byte is read, and every read is bounded.
 */
#ifndef WEIR_ACTORS_MAP_WIRE_H
#define WEIR_ACTORS_MAP_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WEIR_MAP_MARK      "weir1:"
#define WEIR_MAP_MARK_SIZE 6
#define WEIR_MAP_CRC_SIZE  4

/* A token is a varint: an argument shifted left by two, and one of these. */
enum weir_map_token {
    WEIR_MAP_TOKEN_ONE = 0, /* `argument` finished offsets, then one unfinished */
    WEIR_MAP_TOKEN_RUN,     /* `argument` + 1 unfinished offsets */
    WEIR_MAP_TOKEN_BITS,    /* `argument` + 1 bytes follow, a bit an offset, lowest first; 1: unfinished */
    WEIR_MAP_TOKEN_STOP,    /* `argument` finished offsets, then the end of what the map speaks about */
};
#define WEIR_MAP_ARGUMENT_MAX ((UINT64_C(1) << 61) - 1)

/** CRC-32C (Castagnoli) continued over one byte; begins and ends with all bits inverted. */
uint32_t weir_map_crc_byte(uint32_t crc, uint8_t byte);

/** Bytes that a varint of `value` takes, 1 .. 10. */
size_t weir_map_varint_size(uint64_t value);

/** Greatest argument of a token that takes at most `size` bytes; `size` >= 1. */
uint64_t weir_map_argument_max(size_t size);

struct weir_map_writer {
    char *text;
    size_t length;  /* characters written */
    size_t room;    /* bytes that still fit, the checksum's left aside */
    uint32_t carry; /* bits not written as a character yet */
    unsigned carry_bits;
    uint32_t crc;
};

/** Begin a text of at most `size_max` - 1 characters. False where not even mark and checksum fit. */
bool weir_map_writer_init(struct weir_map_writer *writer, char *text, size_t size_max);
void weir_map_writer_byte(struct weir_map_writer *writer, uint8_t byte);                 /* room >= 1 */
void weir_map_writer_fixed(struct weir_map_writer *writer, uint64_t value, size_t size); /* little endian */
void weir_map_writer_varint(struct weir_map_writer *writer, uint64_t value);
void weir_map_writer_token(struct weir_map_writer *writer, uint64_t argument, enum weir_map_token token);
size_t weir_map_writer_finish(struct weir_map_writer *writer); /* checksum and NUL; the text's length */

struct weir_map_reader {
    const char *text; /* after the mark */
    size_t size;      /* bytes, the checksum left aside */
    size_t position;
};

/** Begin to read `size` characters that follow the mark. False where they are not base64 with a right checksum. */
bool weir_map_reader_init(struct weir_map_reader *reader, const char *text, size_t size);
bool weir_map_reader_byte(struct weir_map_reader *reader, uint8_t *byte); /* false: at the end */
bool weir_map_reader_fixed(struct weir_map_reader *reader, size_t size, uint64_t *value);
bool weir_map_reader_varint(struct weir_map_reader *reader, uint64_t *value); /* false: cut short, too long, padded */

#endif
