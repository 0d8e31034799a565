/*
 * The map on random cases. Goal: whatever the offsets and whatever the room, the text is readable and true.
 *
 * Method: sets of several shapes from a seeded generator; each text is decoded, and what it says is compared with what
 * went in, offset by offset: the listed ones are exactly the unfinished ones below `end`, so that nothing unfinished is
 * ever claimed finished.
 */
#include "actors/map.h"
#include "runtime/random.h"
#include "tests/support/test.h"
#include <stdlib.h>
#include <string.h>

#define COUNT_MAX 6000
#define ROUNDS    400

static const struct weir_map_log here = {.cluster_hash = 42, .leader_epoch = 3};

struct sample {
    struct weir_map_offset unfinished[COUNT_MAX];
    size_t count;
    int64_t floor, next;
    struct weir_map_witness witness;
};

/* Offsets to the next unfinished one, by a shape that changes as the set grows. */
static uint64_t draw_gap(struct weir_random *random, unsigned shape)
{
    switch (shape) {
    case 0:
        return 0;
    case 1:
        return weir_random_below(random, 2);
    case 2:
        return weir_random_below(random, 10);
    case 3:
        return weir_random_below(random, 40);
    case 4:
        return weir_random_below(random, 5000);
    default:
        return weir_random_below(random, UINT64_C(1) << weir_random_below(random, 48));
    }
}

static void set_witness(struct sample *sample)
{
    sample->witness = (struct weir_map_witness){.offset = -1};
    int64_t offset = sample->floor + 1;
    for (size_t index = 1; index < sample->count && sample->unfinished[index].offset == offset; index++)
        offset++;
    if (offset < sample->next)
        sample->witness = (struct weir_map_witness){.offset = offset, .checksum = 77};
}

static void draw(struct sample *sample, struct weir_random *random)
{
    sample->count = 1 + weir_random_below(random, COUNT_MAX - 1);
    sample->floor = (int64_t)weir_random_below(random, UINT64_C(1) << weir_random_below(random, 50));
    int64_t offset = sample->floor;
    unsigned shape = 0;
    for (size_t index = 0; index < sample->count; index++) {
        if (index % 64 == 0 || weir_random_below(random, 100) == 0)
            shape = (unsigned)weir_random_below(random, weir_random_below(random, 4) == 0 ? 6 : 5);
        uint16_t attempts = weir_random_below(random, 8) == 0 ? (uint16_t)weir_random_below(random, 65536) : 0;
        sample->unfinished[index] = (struct weir_map_offset){.offset = offset, .attempts = attempts};
        offset += 1 + (int64_t)draw_gap(random, shape);
    }
    sample->next = sample->unfinished[sample->count - 1].offset + 1 + (int64_t)draw_gap(random, shape);
    set_witness(sample);
}

/* Encode with this room, decode, compare. Returns `end`. */
static int64_t verify(const struct sample *sample, size_t size_max)
{
    static char text[WEIR_MAP_SIZE_MAX + 1];
    int64_t end = -1;
    memset(text, '#', size_max + 1);
    size_t length = weir_map_encode(sample->floor, sample->next, sample->unfinished, sample->count, &here,
                                    &sample->witness, text, size_max, &end);
    cr_assert_eq(text[size_max], '#', "wrote past its room of %zu", size_max);
    if (length == 0) {
        cr_assert_eq(end, sample->floor);
        cr_assert(size_max == 0 || text[0] == '\0');
        return end;
    }
    cr_assert_lt(length, size_max);
    cr_assert_eq(strlen(text), length);
    struct weir_map map;
    cr_assert_eq(weir_map_decode(text, length, sample->floor, &here, &map), WEIR_MAP_VALID);
    cr_assert_eq(map.end, end);
    cr_assert(end > sample->floor && end <= sample->next);
    cr_assert_eq(map.witness.offset, sample->witness.offset);
    size_t listed = 0;
    bool attempts_end = false;
    while (listed < sample->count && sample->unfinished[listed].offset < end) {
        cr_assert_lt(listed, map.count, "claims %lld finished", (long long)sample->unfinished[listed].offset);
        cr_assert_eq(map.unfinished[listed].offset, sample->unfinished[listed].offset);
        uint16_t attempts = map.unfinished[listed].attempts;
        cr_assert(attempts == 0 || attempts == sample->unfinished[listed].attempts);
        cr_assert(attempts == 0 || !attempts_end, "attempts are left out from the top");
        attempts_end |= attempts != sample->unfinished[listed].attempts;
        listed++;
    }
    cr_assert_eq(map.count, listed);
    cr_assert(listed < sample->count || end == sample->next || length + 2 >= size_max, "room was left with %zu of %zu",
              listed, sample->count);
    weir_map_deinit(&map);
    return end;
}

Test(map_property, random_sets_come_back_whole)
{
    static struct sample sample;
    struct weir_random random;
    weir_random_init(&random, 20240601);
    for (int round = 0; round < (int)weir_test_scaled(ROUNDS); round++) {
        draw(&sample, &random);
        int64_t end = verify(&sample, WEIR_MAP_SIZE_MAX);
        cr_assert_eq(end, sample.witness.offset < 0 ? sample.floor : sample.next, "round %d", round);
    }
}

Test(map_property, any_room_gives_a_true_map)
{
    static struct sample sample;
    struct weir_random random;
    weir_random_init(&random, 7);
    for (int round = 0; round < (int)weir_test_scaled(ROUNDS); round++) {
        draw(&sample, &random);
        for (int room = 0; room < 20; room++)
            verify(&sample, weir_random_below(&random, 1 + weir_random_below(&random, WEIR_MAP_SIZE_MAX)));
    }
}

/* A bitmap that has to be cut may fall short of deltas by a few bytes, never by more. */
Test(map_property, each_room_up_to_5000_gives_a_true_map_and_more_room_never_says_less)
{
    enum { SLACK = 8 };
    static struct sample sample;
    struct weir_random random;
    weir_random_init(&random, 99);
    for (int round = 0; round < (int)weir_test_scaled(3); round++) {
        draw(&sample, &random);
        int64_t ends[SLACK] = {0};
        for (size_t size_max = 0; size_max <= 5000; size_max++) {
            int64_t end = verify(&sample, size_max);
            cr_assert_geq(end, ends[size_max % SLACK], "round %d, room %zu", round, size_max);
            ends[size_max % SLACK] = end;
        }
        cr_assert_gt(ends[0], sample.floor);
    }
}

Test(map_property, every_damaged_character_is_noticed)
{
    static struct sample sample;
    struct weir_random random;
    weir_random_init(&random, 5);
    for (int round = 0; round < (int)weir_test_scaled(20); round++) {
        draw(&sample, &random);
        char text[600];
        int64_t end;
        size_t length = weir_map_encode(sample.floor, sample.next, sample.unfinished, sample.count, &here,
                                        &sample.witness, text, sizeof text, &end);
        cr_assert_gt(length, 0);
        struct weir_map map;
        for (size_t index = 0; index < length; index++) {
            char kept = text[index];
            for (int byte = 0; byte < 256; byte++) {
                if ((char)byte == kept)
                    continue;
                text[index] = (char)byte;
                cr_assert_neq(weir_map_decode(text, length, sample.floor, &here, &map), WEIR_MAP_VALID,
                              "character %zu as %d", index, byte);
            }
            text[index] = kept;
            cr_assert_neq(weir_map_decode(text, index, sample.floor, &here, &map), WEIR_MAP_VALID, "cut at %zu", index);
        }
    }
}
