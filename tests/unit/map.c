/*
 * The map on chosen cases: what it says, how small it is, and what a reader makes of texts that are not one.
 * Method: exact inputs, decoded again; random ones are in map_property.c, forged ones in map_forged.c.
 */
#include "actors/map.h"
#include "actors/map_wire.h"
#include "runtime/memory.h"
#include "tests/support/test.h"
#include <stdlib.h>
#include <string.h>

static const struct weir_map_log here = {.cluster_hash = UINT64_C(0x1122334455667788), .leader_epoch = 7};

/* Encode with room for `size_max` and decode again. Returns the text's length. */
static size_t round_trip(int64_t floor, int64_t next, const struct weir_map_offset *unfinished, size_t count,
                         const struct weir_map_witness *witness, size_t size_max, struct weir_map *map, int64_t *end)
{
    static char text[WEIR_MAP_SIZE_MAX];
    size_t length = weir_map_encode(floor, next, unfinished, count, &here, witness, text, size_max, end);
    cr_assert_eq(strlen(text), length);
    cr_assert_lt(length, size_max);
    cr_assert_eq(weir_map_decode(text, length, floor, &here, map), length > 0 ? WEIR_MAP_VALID : WEIR_MAP_NONE);
    return length;
}

Test(map, checksum_is_crc32c)
{
    uint32_t crc = UINT32_MAX;
    for (const char *digit = "123456789"; *digit; digit++)
        crc = weir_map_crc_byte(crc, (uint8_t)*digit);
    cr_assert_eq(~crc, 0xe3069283u); /* the check value that the algorithm's catalogues give */
}

Test(map, base64_is_the_standard_one)
{
    char text[64];
    struct weir_map_writer writer;
    cr_assert(weir_map_writer_init(&writer, text, sizeof text));
    for (const char *byte = "\xfb\xff\xfe?>"; *byte; byte++)
        weir_map_writer_byte(&writer, (uint8_t)*byte);
    weir_map_writer_finish(&writer);
    /* Five bytes are six characters and four bits; what follows is the checksum. */
    cr_assert_eq(strncmp(text, "weir1:+//+Pz", 12), 0, "%s", text);
}

Test(map, partition_in_order_needs_none)
{
    struct weir_map_offset unfinished[100];
    for (int index = 0; index < 100; index++)
        unfinished[index] = (struct weir_map_offset){.offset = 500 + index, .attempts = 3};
    char text[4000] = "old";
    int64_t end = -1;
    cr_assert_eq(weir_map_encode(500, 600, unfinished, 100, &here, NULL, text, sizeof text, &end), 0);
    cr_assert_str_eq(text, "");
    cr_assert_eq(end, 500);
    cr_assert_eq(weir_map_encode(500, 500, NULL, 0, &here, NULL, text, sizeof text, &end), 0);
    cr_assert_eq(end, 500);
}

Test(map, says_what_is_finished_and_what_is_not)
{
    const struct weir_map_offset unfinished[] = {{100, 2}, {103, 0}, {104, 65535}, {200, 1}};
    const struct weir_map_witness witness = {.offset = 101, .checksum = 0xdeadbeef};
    struct weir_map map;
    int64_t end;
    round_trip(100, 300, unfinished, 4, &witness, 4000, &map, &end);
    cr_assert_eq(end, 300);
    cr_assert_eq(map.floor, 100);
    cr_assert_eq(map.end, 300);
    cr_assert_eq(map.count, 4);
    cr_assert_eq(map.witness.offset, 101);
    cr_assert_eq(map.witness.checksum, 0xdeadbeef);
    cr_assert_eq(map.log.cluster_hash, here.cluster_hash);
    cr_assert_eq(map.log.leader_epoch, 7);
    for (int64_t offset = 95; offset < 310; offset++) {
        bool listed = offset == 100 || offset == 103 || offset == 104 || offset == 200;
        cr_assert_eq(weir_map_is_finished(&map, offset), offset >= 100 && offset < 300 && !listed);
    }
    cr_assert_eq(weir_map_attempts(&map, 100), 2);
    cr_assert_eq(weir_map_attempts(&map, 103), 0);
    cr_assert_eq(weir_map_attempts(&map, 104), 65535);
    cr_assert_eq(weir_map_attempts(&map, 200), 1);
    cr_assert_eq(weir_map_attempts(&map, 150), 0);
    weir_map_deinit(&map);
    weir_map_deinit(&map); /* a second time is harmless */
}

Test(map, one_straggler_behind_millions_takes_a_few_dozen_characters)
{
    const struct weir_map_offset straggler = {987654321, 4};
    const struct weir_map_witness witness = {.offset = straggler.offset + 1, .checksum = 1};
    struct weir_map map;
    int64_t end;
    size_t length = round_trip(straggler.offset, straggler.offset + 2000000, &straggler, 1, &witness, 4000, &map, &end);
    cr_assert_leq(length, 48, "%zu characters", length);
    cr_assert_eq(map.end, straggler.offset + 2000000);
    cr_assert_eq(map.count, 1);
    cr_assert_eq(weir_map_attempts(&map, straggler.offset), 4);
    weir_map_deinit(&map);
}

Test(map, hundred_stragglers_among_millions_fit_easily)
{
    struct weir_map_offset unfinished[100];
    for (int index = 0; index < 100; index++)
        unfinished[index] =
            (struct weir_map_offset){.offset = INT64_C(5000000000) + index * INT64_C(77777), .attempts = 5};
    struct weir_map map;
    int64_t end, next = unfinished[99].offset + 9000000;
    size_t length = round_trip(unfinished[0].offset, next, unfinished, 100, NULL, 4000, &map, &end);
    cr_assert_leq(length, 800, "%zu characters", length);
    cr_assert_eq(end, next);
    cr_assert_eq(map.count, 100);
    for (int index = 0; index < 100; index++)
        cr_assert_eq(weir_map_attempts(&map, unfinished[index].offset), 5);
    weir_map_deinit(&map);
}

/* Half of all offsets, without pattern: no text of 3,999 characters can tell more than 23,958 of them apart. */
static size_t coin_flips(struct weir_map_offset *unfinished, int64_t floor, int64_t next)
{
    uint64_t state = 88172645463325252u;
    size_t count = 0;
    for (int64_t offset = floor; offset < next; offset++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        if (offset == floor || state & 1)
            unfinished[count++] = (struct weir_map_offset){.offset = offset};
    }
    return count;
}

Test(map, dense_window_takes_a_bit_an_offset)
{
    enum { SPAN = 40000 };
    struct weir_map_offset *unfinished = malloc(SPAN * sizeof *unfinished);
    cr_assert_not_null(unfinished);
    size_t count = coin_flips(unfinished, 1000, 1000 + SPAN);
    const struct weir_map_witness witness = {.offset = -1};
    struct weir_map map;
    int64_t end;
    round_trip(1000, 1000 + SPAN, unfinished, count, &witness, 4000, &map, &end);
    cr_assert_geq(end - 1000, 23600, "%lld offsets", (long long)(end - 1000)); /* 98.5 % of what is possible */
    weir_map_deinit(&map);
    round_trip(1000, 1000 + SPAN, unfinished, count, &witness, 4096, &map, &end);
    cr_assert_geq(end - 1000, 24000, "%lld offsets", (long long)(end - 1000));
    weir_map_deinit(&map);
    free(unfinished);
}

Test(map, stragglers_below_a_dense_window_cost_it_little)
{
    enum { SPAN = 16384 };
    struct weir_map_offset *unfinished = malloc((SPAN + 50) * sizeof *unfinished);
    cr_assert_not_null(unfinished);
    for (int index = 0; index < 50; index++)
        unfinished[index] = (struct weir_map_offset){.offset = 10 + index * INT64_C(40000)};
    size_t count = 50 + coin_flips(unfinished + 50, 3000000, 3000000 + SPAN);
    struct weir_map map;
    int64_t end;
    size_t length = round_trip(10, 3000000 + SPAN, unfinished, count, NULL, 4000, &map, &end);
    cr_assert_eq(end, 3000000 + SPAN, "one encoding for the whole would not do");
    cr_assert_leq(length, 3100, "%zu characters", length);
    cr_assert_eq(map.count, count);
    weir_map_deinit(&map);
    free(unfinished);
}

Test(map, runs_take_the_same_however_long)
{
    enum { COUNT = 200000 };
    struct weir_map_offset *unfinished = malloc(COUNT * sizeof *unfinished);
    cr_assert_not_null(unfinished);
    for (int index = 0; index < COUNT; index++)
        unfinished[index] = (struct weir_map_offset){.offset = index + (index > 0 ? 1 : 0)};
    struct weir_map map;
    int64_t end;
    size_t length = round_trip(0, COUNT + 1, unfinished, COUNT, NULL, 4000, &map, &end);
    cr_assert_leq(length, 40, "%zu characters", length);
    cr_assert_eq(end, COUNT + 1);
    cr_assert_eq(map.count, COUNT);
    weir_map_deinit(&map);
    free(unfinished);
}

Test(map, lists_no_more_than_a_reader_accepts)
{
    const size_t count = WEIR_MAP_COUNT_MAX + 1000;
    struct weir_map_offset *unfinished = malloc(count * sizeof *unfinished);
    cr_assert_not_null(unfinished);
    for (size_t index = 0; index < count; index++)
        unfinished[index] = (struct weir_map_offset){.offset = (int64_t)(index + (index > 9 ? 5 : 0))};
    struct weir_map map;
    int64_t end;
    round_trip(0, (int64_t)count + 5, unfinished, count, NULL, 4000, &map, &end);
    cr_assert_eq(map.count, WEIR_MAP_COUNT_MAX);
    cr_assert_eq(end, unfinished[WEIR_MAP_COUNT_MAX].offset, "it ends before the first it could not list");
    weir_map_deinit(&map);
    free(unfinished);
}

Test(map, reaches_to_the_end_of_the_offsets)
{
    const struct weir_map_offset high[] = {{INT64_MAX - 100, 0}, {INT64_MAX - 50, 0}, {INT64_MAX - 2, 0}};
    struct weir_map map;
    int64_t end;
    round_trip(INT64_MAX - 100, INT64_MAX, high, 3, NULL, 4000, &map, &end);
    cr_assert_eq(end, INT64_MAX);
    cr_assert_eq(map.unfinished[2].offset, INT64_MAX - 2);
    cr_assert(weir_map_is_finished(&map, INT64_MAX - 1));
    weir_map_deinit(&map);

    /* A gap too long for a token ends the map within the gap; that is true still. */
    const struct weir_map_offset wide[] = {{0, 0}, {INT64_MAX - 1, 0}};
    round_trip(0, INT64_MAX, wide, 2, NULL, 4000, &map, &end);
    cr_assert_eq(map.count, 1);
    cr_assert_eq(end, INT64_C(1) << 61);
    cr_assert_eq(map.end, end);
    weir_map_deinit(&map);
}

Test(map, is_not_written_where_it_would_speak_of_holes_only)
{
    /* 101 .. 199 are holes, the lowest finished message is 200: a map cut before it proves nothing. */
    struct weir_map_offset unfinished[60] = {{100, 0}};
    for (int index = 1; index < 60; index++)
        unfinished[index] = (struct weir_map_offset){.offset = 198 + index * INT64_C(5000000)};
    const struct weir_map_witness witness = {.offset = unfinished[59].offset + 1, .checksum = 9};
    char text[256];
    int64_t end;
    cr_assert_eq(weir_map_encode(100, witness.offset + 5, unfinished, 60, &here, &witness, text, 60, &end), 0);
    cr_assert_eq(end, 100);
    cr_assert_str_eq(text, "");
}

Test(map, is_not_written_with_a_witness_that_proves_nothing)
{
    const struct weir_map_offset unfinished[] = {{100, 0}, {103, 0}};
    char text[256];
    int64_t end;
    static const int64_t wrong[] = {0, 99, 100, 103, 110, 111};
    for (size_t index = 0; index < sizeof wrong / sizeof *wrong; index++) {
        const struct weir_map_witness witness = {.offset = wrong[index], .checksum = 1};
        cr_assert_eq(weir_map_encode(100, 110, unfinished, 2, &here, &witness, text, sizeof text, &end), 0);
        cr_assert_eq(end, 100);
        cr_assert_str_eq(text, "");
    }
    const struct weir_map_witness last = {.offset = 109, .checksum = 1};
    cr_assert_gt(weir_map_encode(100, 110, unfinished, 2, &here, &last, text, sizeof text, &end), 0);
}

Test(map, belongs_to_one_floor_and_one_log)
{
    const struct weir_map_offset unfinished[] = {{100, 0}, {120, 0}};
    char text[256];
    int64_t end;
    size_t length = weir_map_encode(100, 130, unfinished, 2, &here, NULL, text, sizeof text, &end);
    struct weir_map map;
    cr_assert_eq(weir_map_decode(text, length, 101, &here, &map), WEIR_MAP_MISPLACED);
    cr_assert_eq(weir_map_decode(text, length, 99, &here, &map), WEIR_MAP_MISPLACED);
    cr_assert_eq(weir_map_decode(text, length, -1, &here, &map), WEIR_MAP_MISPLACED);
    const struct weir_map_log other = {.cluster_hash = here.cluster_hash ^ 1, .leader_epoch = 7};
    cr_assert_eq(weir_map_decode(text, length, 100, &other, &map), WEIR_MAP_MISPLACED);
    const struct weir_map_log unknown = {.cluster_hash = 0, .leader_epoch = -1};
    cr_assert_eq(weir_map_decode(text, length, 100, &unknown, &map), WEIR_MAP_VALID);
    weir_map_deinit(&map);
    length = weir_map_encode(100, 130, unfinished, 2, &unknown, NULL, text, sizeof text, &end);
    cr_assert_eq(weir_map_decode(text, length, 100, &here, &map), WEIR_MAP_VALID);
    cr_assert_eq(map.log.leader_epoch, -1);
    weir_map_deinit(&map);
}

Test(map, tells_foreign_metadata_from_damaged)
{
    static const struct {
        const char *text;
        int verdict;
    } cases[] = {
        {"", WEIR_MAP_NONE},
        {"w", WEIR_MAP_FOREIGN},
        {"weir", WEIR_MAP_FOREIGN},
        {"weir1", WEIR_MAP_FOREIGN},
        {"weir:", WEIR_MAP_FOREIGN},
        {"weirdo:AAAA", WEIR_MAP_FOREIGN},
        {"{\"host\":\"a\"}", WEIR_MAP_FOREIGN},
        {"WEIR1:AAAA", WEIR_MAP_FOREIGN},
        {"weir2:AAAA", WEIR_MAP_VERSION},
        {"weir11:AAAA", WEIR_MAP_VERSION},
        {"weir0:", WEIR_MAP_VERSION},
        {"weir1:", WEIR_MAP_DAMAGED},
        {"weir1:A", WEIR_MAP_DAMAGED},
        {"weir1:AAAAAA", WEIR_MAP_DAMAGED},
        {"weir1:AAAAAAA=", WEIR_MAP_DAMAGED},
        {"weir1:\n", WEIR_MAP_DAMAGED},
    };
    struct weir_map map;
    for (size_t index = 0; index < sizeof cases / sizeof *cases; index++) {
        int verdict = weir_map_decode(cases[index].text, strlen(cases[index].text), 0, &here, &map);
        cr_assert_eq(verdict, cases[index].verdict, "%s: %s", cases[index].text, weir_map_verdict_name(verdict));
    }
    cr_assert_eq(weir_map_decode(NULL, 0, 0, &here, &map), WEIR_MAP_NONE);
    cr_assert_str_eq(weir_map_verdict_name(WEIR_MAP_MISPLACED), "misplaced");
    cr_assert_str_eq(weir_map_verdict_name(99), "unknown");
}

Test(map, reader_reports_that_memory_is_short)
{
    const struct weir_map_offset unfinished[] = {{100, 0}, {120, 0}};
    char text[256];
    int64_t end;
    size_t length = weir_map_encode(100, 130, unfinished, 2, &here, NULL, text, sizeof text, &end);
    struct weir_map map;
    weir_memory_fail_after(0);
    int verdict = weir_map_decode(text, length, 100, &here, &map);
    weir_memory_fail_after(UINT64_MAX);
    cr_assert_eq(verdict, WEIR_NO_MEMORY);
    cr_assert_eq(weir_map_decode(text, length, 100, &here, &map), WEIR_MAP_VALID);
    weir_map_deinit(&map);
}

Test(map, writer_allocates_nothing)
{
    const struct weir_map_offset unfinished[] = {{100, 0}, {120, 0}};
    char text[256];
    int64_t end;
    weir_memory_fail_after(0);
    size_t length = weir_map_encode(100, 130, unfinished, 2, &here, NULL, text, sizeof text, &end);
    void *unspent = weir_memory_allocate(1); /* the failure was still to come: nobody had asked */
    weir_memory_fail_after(UINT64_MAX);
    cr_assert_gt(length, 0);
    cr_assert_null(unspent);
}

Test(map, witness_checksum_tells_messages_apart)
{
    char value[5000] = {0};
    uint32_t first = weir_map_checksum("key", 3, value, sizeof value, 1700000000000);
    cr_assert_eq(weir_map_checksum("key", 3, value, sizeof value, 1700000000000), first);
    cr_assert_neq(weir_map_checksum("kez", 3, value, sizeof value, 1700000000000), first);
    cr_assert_neq(weir_map_checksum("key", 3, value, sizeof value - 1, 1700000000000), first);
    cr_assert_neq(weir_map_checksum("key", 3, value, sizeof value, 1700000000001), first);
    value[1023] = 1;
    cr_assert_neq(weir_map_checksum("key", 3, value, sizeof value, 1700000000000), first);
    value[1023] = 0;
    value[1024] = 1; /* beyond the first KiB: not looked at */
    cr_assert_eq(weir_map_checksum("key", 3, value, sizeof value, 1700000000000), first);
    uint32_t null_key = weir_map_checksum(NULL, 0, "v", 1, 0), empty_key = weir_map_checksum("", 0, "v", 1, 0);
    uint32_t null_value = weir_map_checksum("", 0, NULL, 0, 0), empty_value = weir_map_checksum("", 0, "", 0, 0);
    cr_assert_neq(null_key, empty_key);
    cr_assert_neq(null_value, empty_value);
    cr_assert_neq(weir_map_checksum("ab", 2, "c", 1, 0), weir_map_checksum("a", 1, "bc", 2, 0));
}

Test(map, cluster_hash_names_cluster_and_topic)
{
    uint64_t hash = weir_map_cluster_hash("cluster", "topic");
    cr_assert_neq(hash, 0);
    cr_assert_eq(weir_map_cluster_hash("cluster", "topic"), hash);
    cr_assert_neq(weir_map_cluster_hash("cluster", "other"), hash);
    cr_assert_neq(weir_map_cluster_hash("clustertopic", ""), hash);
    cr_assert_eq(weir_map_cluster_hash(NULL, "topic"), 0);
}
