/* See chaos_lanes.h. */
#include "tests/support/chaos_lanes.h"
#include <stdlib.h>

static int compare_lane(uint64_t topic_a, int32_t partition_a, uint64_t topic_b, int32_t partition_b)
{
    int order = WEIR_CHAOS_COMPARE(topic_a, topic_b);
    return order ? order : WEIR_CHAOS_COMPARE(partition_a, partition_b);
}

static int by_message(const void *a, const void *b)
{
    const struct weir_chaos_message *left = a, *right = b;
    int order = compare_lane(left->topic_hash, left->partition, right->topic_hash, right->partition);
    return order ? order : WEIR_CHAOS_COMPARE(left->offset, right->offset);
}

static bool list_messages(struct weir_chaos_lanes *lanes, const struct weir_ledger *ledger)
{
    size_t count = weir_ledger_count(ledger);
    lanes->messages = calloc(count + 1, sizeof *lanes->messages);
    for (size_t place = 0; place < count && lanes->messages; place++) {
        const struct weir_ledger_record *record = weir_ledger_at(ledger, place);
        if (record && record->kind == WEIR_LEDGER_EMIT)
            lanes->messages[lanes->message_count++] = (struct weir_chaos_message){.topic_hash = record->topic_hash,
                                                                                  .partition = record->partition,
                                                                                  .offset = record->offset,
                                                                                  .class = record->number,
                                                                                  .output_ns = UINT64_MAX};
    }
    if (lanes->messages)
        qsort(lanes->messages, lanes->message_count, sizeof *lanes->messages, by_message);
    return lanes->messages != NULL;
}

static struct weir_chaos_lane *new_lane(struct weir_chaos_lanes *lanes, struct weir_chaos_message *first)
{
    struct weir_chaos_lane *lane = &lanes->lanes[lanes->lane_count++];
    *lane = (struct weir_chaos_lane){.topic_hash = first->topic_hash,
                                     .partition = first->partition,
                                     .messages = first,
                                     .floor = -1,
                                     .started = -1,
                                     .tenures = malloc(WEIR_CHAOS_TENURES_MAX * sizeof *lane->tenures)};
    return lane->tenures ? lane : NULL;
}

static bool list_lanes(struct weir_chaos_lanes *lanes)
{
    struct weir_chaos_lane *lane = NULL;
    lanes->lanes = calloc(lanes->message_count + 1, sizeof *lanes->lanes);
    if (!lanes->lanes)
        return false;
    for (size_t index = 0; index < lanes->message_count; index++) {
        struct weir_chaos_message *message = &lanes->messages[index];
        if (!lane || lane->topic_hash != message->topic_hash || lane->partition != message->partition)
            lane = new_lane(lanes, message);
        if (!lane)
            return false;
        lane->count++;
    }
    return true;
}

bool weir_chaos_lanes_init(struct weir_chaos_lanes *lanes, const struct weir_ledger *ledger)
{
    *lanes = (struct weir_chaos_lanes){0};
    return list_messages(lanes, ledger) && list_lanes(lanes);
}

void weir_chaos_lanes_deinit(struct weir_chaos_lanes *lanes)
{
    for (size_t index = 0; index < lanes->lane_count; index++) {
        if (lanes->lanes[index].has_map)
            weir_map_deinit(&lanes->lanes[index].map);
        free(lanes->lanes[index].tenures);
    }
    free(lanes->lanes);
    free(lanes->messages);
    *lanes = (struct weir_chaos_lanes){0};
}

struct weir_chaos_lane *weir_chaos_lane_of(const struct weir_chaos_lanes *lanes, uint64_t topic_hash, int32_t partition)
{
    size_t low = 0, high = lanes->lane_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        struct weir_chaos_lane *lane = &lanes->lanes[middle];
        int order = compare_lane(topic_hash, partition, lane->topic_hash, lane->partition);
        if (order == 0)
            return lane;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

size_t weir_chaos_place_of(const struct weir_chaos_lane *lane, int64_t offset)
{
    int64_t guess = lane->count > 0 ? offset - lane->messages[0].offset : 0;
    if (guess >= 0 && (size_t)guess < lane->count && lane->messages[guess].offset == offset)
        return (size_t)guess;
    size_t low = 0, high = lane->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (lane->messages[middle].offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct weir_chaos_message *weir_chaos_message_of(const struct weir_chaos_lanes *lanes,
                                                 const struct weir_ledger_record *record)
{
    struct weir_chaos_lane *lane = weir_chaos_lane_of(lanes, record->topic_hash, record->partition);
    size_t place = lane ? weir_chaos_place_of(lane, record->offset) : 0;
    return lane && place < lane->count && lane->messages[place].offset == record->offset ? &lane->messages[place]
                                                                                         : NULL;
}
