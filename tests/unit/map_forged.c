/*
 * Maps that somebody else wrote, with a right checksum. Goal: a reader accepts nothing that the writer could not have
 * written, and its memory stays bounded.
 * Method: bodies put together by hand, field by field; one that is right, then each rule broken once.
 */
#include "actors/map.h"
#include "actors/map_wire.h"
#include "runtime/memory.h"
#include "tests/support/test.h"
#include <stdlib.h>
#include <string.h>

static const struct weir_map_log anywhere = {.cluster_hash = 0, .leader_epoch = -1};

struct forgery {
    uint64_t floor, epoch, ahead;
    uint8_t tail[64]; /* from the tokens on */
    size_t tail_size;
};

/* The verdict on that body, and the map where it is valid. */
static int judge(const struct forgery *forgery, struct weir_map *map)
{
    char text[512];
    struct weir_map_writer writer;
    cr_assert(weir_map_writer_init(&writer, text, sizeof text));
    weir_map_writer_fixed(&writer, 42, 8);
    weir_map_writer_varint(&writer, forgery->floor);
    weir_map_writer_varint(&writer, forgery->epoch);
    weir_map_writer_varint(&writer, forgery->ahead);
    if (forgery->ahead > 0)
        weir_map_writer_fixed(&writer, 7, 4);
    for (size_t index = 0; index < forgery->tail_size; index++)
        weir_map_writer_byte(&writer, forgery->tail[index]);
    size_t length = weir_map_writer_finish(&writer);
    return weir_map_decode(text, length, (int64_t)forgery->floor, &anywhere, map);
}

static int verdict_of(const struct forgery *forgery)
{
    struct weir_map map;
    int verdict = judge(forgery, &map);
    if (verdict == WEIR_MAP_VALID)
        weir_map_deinit(&map);
    return verdict;
}

/* One-byte tokens. */
#define ONE(argument)  (uint8_t)((argument) << 2 | WEIR_MAP_TOKEN_ONE)
#define RUN(argument)  (uint8_t)((argument) << 2 | WEIR_MAP_TOKEN_RUN)
#define BITS(argument) (uint8_t)((argument) << 2 | WEIR_MAP_TOKEN_BITS)
#define STOP(argument) (uint8_t)((argument) << 2 | WEIR_MAP_TOKEN_STOP)
#define TAIL(...)      .tail = {__VA_ARGS__}, .tail_size = sizeof((uint8_t[]){__VA_ARGS__})

Test(map_forged, right_body_is_read)
{
    const struct forgery forgery = {
        .floor = 100, .epoch = 8, .ahead = 2, TAIL(ONE(2), RUN(2), BITS(0), 0x82, STOP(5), 1, 9)};
    struct weir_map map;
    cr_assert_eq(judge(&forgery, &map), WEIR_MAP_VALID);
    static const int64_t expected[] = {100, 103, 104, 105, 106, 108, 114};
    cr_assert_eq(map.count, 7);
    for (size_t index = 0; index < 7; index++)
        cr_assert_eq(map.unfinished[index].offset, expected[index]);
    cr_assert_eq(map.end, 120);
    cr_assert_eq(map.log.leader_epoch, 7);
    cr_assert_eq(map.witness.offset, 102);
    cr_assert_eq(map.unfinished[1].attempts, 9);
    weir_map_deinit(&map);
}

Test(map_forged, each_broken_rule_is_noticed)
{
    static const struct {
        const char *rule;
        struct forgery forgery;
    } cases[] = {
        {"no tokens", {.floor = 1, .tail_size = 0}},
        {"no STOP", {.floor = 1, TAIL(ONE(3))}},
        {"nothing finished", {.floor = 1, TAIL(STOP(0))}},
        {"nothing finished, with a run", {.floor = 1, TAIL(RUN(3), STOP(0))}},
        {"bytes left over", {.floor = 1, TAIL(STOP(3), 0)}},
        {"attempts of zero", {.floor = 1, TAIL(STOP(3), 0, 0)}},
        {"attempts of an offset that is not listed", {.floor = 1, TAIL(STOP(3), 1, 5)}},
        {"attempts above 65535", {.floor = 1, TAIL(STOP(3), 0, 0x80, 0x80, 4)}},
        {"attempts twice", {.floor = 1, TAIL(STOP(3), 0, 5, 0, 5)}},
        {"bits cut short", {.floor = 1, TAIL(BITS(2), 1, 2)}},
        {"a varint longer than need be", {.floor = 1, TAIL(0x8f, 0x00)}},
        {"a varint without end", {.floor = 1, TAIL(0xff, 0xff, 0xff)}},
        {"a varint of more than 64 bits",
         {.floor = 1, TAIL(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02)}},
        {"an argument of more than 61 bits",
         {.floor = 1, TAIL(0x83, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01)}},
        {"a run too long to list", {.floor = 1, TAIL(0x81, 0x80, 0x80, 0x80, 0x40, STOP(1))}},
        {"an end above the greatest offset", {.floor = INT64_MAX - 3, TAIL(STOP(3))}},
        {"an offset above the greatest", {.floor = INT64_MAX - 3, TAIL(ONE(2), STOP(0))}},
        {"bits above the greatest", {.floor = INT64_MAX - 7, TAIL(BITS(0), 0, STOP(0))}},
        {"a floor above the greatest", {.floor = (uint64_t)INT64_MAX + 1, TAIL(STOP(3))}},
        {"a leader epoch of more than 31 bits", {.floor = 1, .epoch = UINT64_C(1) << 32, TAIL(STOP(3))}},
        {"a witness above the greatest offset", {.floor = 1, .ahead = UINT64_MAX, TAIL(STOP(3))}},
        {"a witness that is not finished", {.floor = 1, .ahead = 3, TAIL(ONE(2), STOP(3))}},
        {"a witness above the end", {.floor = 1, .ahead = 4, TAIL(STOP(3))}},
    };
    for (size_t index = 0; index < sizeof cases / sizeof *cases; index++)
        cr_assert_eq(verdict_of(&cases[index].forgery), WEIR_MAP_DAMAGED, "%s", cases[index].rule);
}

Test(map_forged, limits_themselves_are_accepted)
{
    static const struct forgery cases[] = {
        {.floor = INT64_MAX - 3, TAIL(STOP(2))},
        {.floor = INT64_MAX - 3, TAIL(ONE(1), STOP(0))},
        {.floor = 0, .epoch = UINT64_C(1) << 31, TAIL(STOP(1))},
        {.floor = 1, .ahead = 3, TAIL(STOP(3))},
        {.floor = 1, TAIL(STOP(3), 0, 0xff, 0xff, 3)},
    };
    for (size_t index = 0; index < sizeof cases / sizeof *cases; index++)
        cr_assert_eq(verdict_of(&cases[index]), WEIR_MAP_VALID, "case %zu", index);
}

/* The most unfinished offsets that the longest text can list: the reader's memory is bounded by it. */
Test(map_forged, longest_text_takes_bounded_memory)
{
    static char text[WEIR_MAP_SIZE_MAX];
    struct weir_map_writer writer;
    struct weir_map map;
    for (uint64_t count = WEIR_MAP_COUNT_MAX - 1; count <= WEIR_MAP_COUNT_MAX; count++) {
        cr_assert(weir_map_writer_init(&writer, text, sizeof text));
        weir_map_writer_fixed(&writer, 0, 8);                          /* no cluster */
        weir_map_writer_fixed(&writer, 0, 3);                          /* floor, epoch and witness of zero */
        weir_map_writer_token(&writer, count - 1, WEIR_MAP_TOKEN_RUN); /* and the floor: one more */
        weir_map_writer_token(&writer, 1, WEIR_MAP_TOKEN_STOP);
        int verdict = weir_map_decode(text, weir_map_writer_finish(&writer), 0, &anywhere, &map);
        cr_assert_eq(verdict, count < WEIR_MAP_COUNT_MAX ? WEIR_MAP_VALID : WEIR_MAP_DAMAGED);
        if (verdict == WEIR_MAP_VALID)
            weir_map_deinit(&map);
    }
    cr_assert_leq(WEIR_MAP_COUNT_MAX * sizeof *map.unfinished, 4u << 20);
}

Test(map_forged, text_above_the_bound_is_refused_unread)
{
    static char text[WEIR_MAP_SIZE_MAX + 2] = "weir1:";
    memset(text + 6, 'A', sizeof text - 6);
    struct weir_map map;
    cr_assert_eq(weir_map_decode(text, WEIR_MAP_SIZE_MAX + 1, 0, &anywhere, &map), WEIR_MAP_DAMAGED);
}
