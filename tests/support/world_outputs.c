/*
 * Outputs in the world: what the runs of a message emit, and that what they emitted comes to lie in its topic as it
 * must. See world.h for the checks.
 *
 * A message emits the same each time it runs; each run writes its number into the value, so that an output tells which
 * run it is of.
 */
#include "runtime/check.h"
#include "tests/support/world_internal.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

unsigned weir_world_outputs(const struct weir_world_process *process, uint64_t number)
{
    const struct weir_world *world = process->world;
    if (number == UINT64_MAX)
        return 0;
    const struct world_run *run = &world->runs[number];
    return run->log->messages[run->offset].outputs_wanted;
}

uint8_t weir_world_outputs_wanted(const struct weir_world *world, const struct world_log *log, int64_t offset)
{
    struct weir_random random;
    weir_random_init(&random, world->settings.seed ^ (uint64_t)(log - world->logs) << 48 ^ (uint64_t)offset << 8 ^
                                  UINT64_C(0x0e317));
    bool emits = weir_random_below(&random, 1000) < world->settings.outputs;
    return emits ? (uint8_t)(1 + weir_random_below(&random, WEIR_WORLD_OUTPUTS_MAX)) : 0;
}

void weir_world_output(const struct weir_world_process *process, uint64_t number, unsigned index,
                       struct weir_world_output *output)
{
    const struct weir_world *world = process->world;
    const struct world_run *run = &world->runs[number];
    const struct world_message *message = &run->log->messages[run->offset];
    snprintf(output->topic, sizeof output->topic, "%s" WEIR_WORLD_OUTPUTS, run->log->topic);
    snprintf(output->key, sizeof output->key, "k%d", message->key);
    output->has_key = message->key >= 0;
    snprintf(output->value, sizeof output->value, "%d %" PRId64 " %u %" PRIu64, (int)run->log->partition, run->offset,
             index, number);
}

void weir_world_epoch(struct weir_world_process *process, uint64_t epoch)
{
    process->epoch = epoch;
}

/* ---- what lies in the topics ---- */

static bool key_fits(const struct world_message *message, const struct weir_fake_record *record)
{
    char key[16];
    int size = snprintf(key, sizeof key, "k%d", message->key);
    return message->key < 0
               ? record->key == NULL
               : record->key && record->key_size == (size_t)size && memcmp(record->key, key, (size_t)size) == 0;
}

static void take_output(struct weir_world *world, const char *topic, const struct weir_fake_record *record)
{
    char text[96] = "";
    int partition;
    int64_t offset;
    unsigned index;
    uint64_t number;
    size_t size = record->value_size < sizeof text ? record->value_size : sizeof text - 1;
    memcpy(text, record->value ? record->value : "", record->value ? size : 0);
    if (sscanf(text, "%d %" SCNd64 " %u %" SCNu64, &partition, &offset, &index, &number) != 4 ||
        number >= world->run_count) {
        weir_world_violate(world, "an output of %s that nobody has emitted: \"%s\"", topic, text);
        return;
    }
    const struct world_run *run = &world->runs[number];
    struct world_message *message = &run->log->messages[run->offset];
    if (strcmp(run->log->topic, topic) != 0 || run->log->partition != partition || run->offset != offset ||
        index >= message->outputs_wanted || !key_fits(message, record)) {
        weir_world_violate(world, "output %u of %s/%d@%" PRId64 " is not what its run emitted", index, topic, partition,
                           offset);
        return;
    }
    if (run->open || (run->outcome != WEIR_ACK && run->outcome != WEIR_SKIP))
        weir_world_violate(world, "%s/%d@%" PRId64 ": output %u of a run that %s is in its topic", topic, partition,
                           offset, index, run->open ? "has not ended" : "has failed");
    weir_world_trace(world, NULL, "%s/%d@%" PRId64 ": output %u of run %" PRIu64 " is in its topic", topic, partition,
                     offset, index, number);
    bool was_over = weir_world_is_over(message);
    if (world->settings.exactly_once && ((message->outputs_there >> index) & 1))
        weir_world_violate(world, "%s/%d@%" PRId64 ": output %u is there twice", topic, partition, offset, index);
    if (world->settings.exactly_once && message->outputs_run != 0 && message->outputs_run != number + 1)
        weir_world_violate(world, "%s/%d@%" PRId64 ": outputs of two runs are there", topic, partition, offset);
    if (world->settings.exactly_once && message->letter)
        weir_world_violate(world, "%s/%d@%" PRId64 ": an output of a dead message is there", topic, partition, offset);
    message->outputs_run = number + 1;
    world->tally.outputs++;
    world->tally.outputs_again += (message->outputs_there >> index) & 1;
    message->outputs_there |= (uint8_t)(1u << index);
    world->tally.over += weir_world_is_over(message) && !was_over;
}

void weir_world_written(void *argument, struct weir_kafka *kafka, void *opaque, const char *topic, int32_t partition,
                        int64_t offset)
{
    struct weir_world *world = argument;
    struct weir_fake_record record;
    WEIR_CHECK(weir_fake_read(world->cluster, topic, partition, offset, &record) && record.offset == offset);
    for (size_t i = 0; i < world->topic_count; i++) {
        size_t size = strlen(world->topics[i]);
        if (strcmp(topic, world->letters[i]) == 0)
            weir_world_take_letter(world, world->topics[i], &record);
        else if (strncmp(topic, world->topics[i], size) == 0 && strcmp(topic + size, WEIR_WORLD_OUTPUTS) == 0)
            take_output(world, world->topics[i], &record);
    }
}
