/*
 * Fuzzer of the map's wire. Goal: no text makes the reader go beyond it, and what one side accepts the other agrees to.
 *
 * The first byte of an input chooses what the rest is:
 *   text    base64 with a checksum, as it follows the mark: what is accepted is written again, byte for byte the same
 *   calls   room (2 bytes), then what to write: a byte says which kind, the next ones the value. All of it reads back
 */
#include "actors/map_wire.h"
#include <stdlib.h>
#include <string.h>

#define TEXT_SIZE_MAX      4096
#define WRITES_MAX         512
#define REQUIRE(condition) ((condition) ? (void)0 : abort())

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_text(const char *text, size_t size)
{
    static char again[TEXT_SIZE_MAX];
    struct weir_map_reader reader;
    struct weir_map_writer writer;
    if (size > sizeof again - WEIR_MAP_MARK_SIZE - 1 || !weir_map_reader_init(&reader, text, size))
        return;
    REQUIRE(weir_map_writer_init(&writer, again, size + WEIR_MAP_MARK_SIZE + 1));
    uint8_t byte;
    size_t count = 0;
    for (; weir_map_reader_byte(&reader, &byte); count++) {
        REQUIRE(writer.room > 0);
        weir_map_writer_byte(&writer, byte);
    }
    REQUIRE(count == reader.size && writer.room == 0);
    REQUIRE(weir_map_writer_finish(&writer) == size + WEIR_MAP_MARK_SIZE);
    REQUIRE(memcmp(again, WEIR_MAP_MARK, WEIR_MAP_MARK_SIZE) == 0);
    REQUIRE(memcmp(again + WEIR_MAP_MARK_SIZE, text, size) == 0);
}

/* A varint from anywhere in a text ends within it, and is the shortest one of its value. */
static void fuzz_varints(const char *text, size_t size)
{
    struct weir_map_reader reader;
    if (!weir_map_reader_init(&reader, text, size))
        return;
    uint64_t value;
    while (reader.position < reader.size) {
        size_t before = reader.position;
        if (!weir_map_reader_varint(&reader, &value))
            return;
        REQUIRE(reader.position - before == weir_map_varint_size(value) && reader.position <= reader.size);
    }
}

struct write {
    uint8_t kind; /* 0 byte, 1 varint, 2 token, else fixed of so many bytes, less 2 */
    uint64_t value;
};

static size_t size_of(const struct write *write)
{
    return write->kind == 0 ? 1 : write->kind < 3 ? weir_map_varint_size(write->value) : write->kind - 2u;
}

static void do_write(struct weir_map_writer *writer, const struct write *write)
{
    if (write->kind == 0)
        weir_map_writer_byte(writer, (uint8_t)write->value);
    else if (write->kind == 1)
        weir_map_writer_varint(writer, write->value);
    else if (write->kind == 2)
        weir_map_writer_token(writer, write->value >> 2, (enum weir_map_token)(write->value & 3));
    else
        weir_map_writer_fixed(writer, write->value, write->kind - 2u);
}

static void require_read(struct weir_map_reader *reader, const struct write *write)
{
    uint64_t value = 0;
    uint8_t byte = 0;
    if (write->kind == 0) {
        REQUIRE(weir_map_reader_byte(reader, &byte) && byte == (uint8_t)write->value);
    } else if (write->kind < 3) {
        REQUIRE(weir_map_reader_varint(reader, &value) && value == write->value);
    } else {
        unsigned bits = 8 * (write->kind - 2u);
        uint64_t mask = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
        REQUIRE(weir_map_reader_fixed(reader, write->kind - 2u, &value) && value == (write->value & mask));
    }
}

static void fuzz_calls(const uint8_t *data, size_t size)
{
    static char text[TEXT_SIZE_MAX];
    static struct write writes[WRITES_MAX];
    if (size < 2)
        return;
    size_t size_max = (data[0] | (size_t)data[1] << 8) % (TEXT_SIZE_MAX + 1), count = 0;
    struct weir_map_writer writer;
    if (!weir_map_writer_init(&writer, text, size_max))
        return;
    for (size_t index = 2; index < size && count < WRITES_MAX; count++) {
        struct write *write = &writes[count];
        unsigned bytes = data[index] >> 4;
        *write = (struct write){.kind = data[index++] % 11};
        for (unsigned byte = 0; byte <= bytes && byte < 8 && index < size; byte++)
            write->value = write->value << 8 | data[index++];
        if (write->kind == 2)
            write->value &= WEIR_MAP_ARGUMENT_MAX << 2 | 3;
        if (size_of(write) > writer.room)
            break;
        do_write(&writer, write);
    }
    size_t length = weir_map_writer_finish(&writer);
    REQUIRE(length < size_max && strlen(text) == length);
    struct weir_map_reader reader;
    REQUIRE(weir_map_reader_init(&reader, text + WEIR_MAP_MARK_SIZE, length - WEIR_MAP_MARK_SIZE));
    for (size_t index = 0; index < count; index++)
        require_read(&reader, &writes[index]);
    uint8_t none;
    REQUIRE(!weir_map_reader_byte(&reader, &none));
    /* One character changed is never accepted. */
    text[WEIR_MAP_MARK_SIZE + count % (length - WEIR_MAP_MARK_SIZE)] ^= 1;
    REQUIRE(!weir_map_reader_init(&reader, text + WEIR_MAP_MARK_SIZE, length - WEIR_MAP_MARK_SIZE));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] % 2 == 0) {
        fuzz_text((const char *)data + 1, size - 1);
        fuzz_varints((const char *)data + 1, size - 1);
    } else {
        fuzz_calls(data + 1, size - 1);
    }
    return 0;
}
