/*
 * See world_batches.h.
 */
#include "tests/support/world_batches.h"
#include "runtime/check.h"
#include "tests/support/world_internal.h"

/* ---- the order ---- */

/* Its last run in this process and assignment, or NULL. */
static const struct world_run *find_run(const struct weir_world *world, const struct world_run *run, int64_t offset)
{
    for (uint64_t number = run->log->messages[offset].last_run; number > 0; number = world->runs[number - 1].before) {
        const struct world_run *before = &world->runs[number - 1];
        if (before->process == run->process && before->assignment == run->assignment)
            return before;
    }
    return NULL;
}

static void check_lower(struct weir_world *world, const struct world_run *run, const struct world_message *message)
{
    const struct world_log *log = run->log;
    for (int64_t lower = message->previous; lower >= 0; lower = log->messages[lower].previous) {
        if (weir_world_is_over(&log->messages[lower]))
            continue;
        const struct world_run *its = find_run(world, run, lower);
        bool beside = its && its->batch == run->batch;
        bool counts = its || (message->starts == 0 && !weir_world_may_be_lost(world, log));
        if (!beside && counts)
            weir_world_violate(world, "%s/%d@%lld: starts in a batch before offset %lld of its key is over", log->topic,
                               (int)log->partition, (long long)run->offset, (long long)lower);
    }
}

static void check_higher(struct weir_world *world, const struct world_run *run, int key)
{
    const struct world_log *log = run->log;
    for (size_t higher = (size_t)run->offset + 1; higher < log->count; higher++) {
        const struct world_run *its = log->messages[higher].key == key ? find_run(world, run, (int64_t)higher) : NULL;
        if (its)
            weir_world_violate(world, "%s/%d@%lld: starts in a batch after offset %lld of its key, and never ran",
                               log->topic, (int)log->partition, (long long)run->offset, (long long)higher);
    }
}

void weir_world_check_batch(struct weir_world *world, const struct world_run *run, const struct world_message *message)
{
    const struct world_run *before = find_run(world, run, run->offset);
    check_lower(world, run, message);
    if (!before)
        check_higher(world, run, message->key);
    else if (before->outcome == WEIR_ACK || before->outcome == WEIR_SKIP || before->outcome == WEIR_DEAD)
        weir_world_violate(world, "%s/%d@%lld: runs again, and did not fail", run->log->topic, (int)run->log->partition,
                           (long long)run->offset);
}

/* ---- the driver ---- */

struct start { /* of a message, asked for before the first begins: see weir_preempt_run_begins() */
    const char *topic;
    int32_t partition;
    int64_t offset;
    const void *key;
    size_t key_size;
    uint32_t attempt;
};

void weir_world_begin_batch(struct weir_world_process *process, struct weir_batch *batch,
                            enum weir_outcome outcomes[WEIR_WORLD_BATCH_MAX], uint64_t runs[WEIR_WORLD_BATCH_MAX])
{
    struct start starts[WEIR_WORLD_BATCH_MAX];
    size_t count = weir_batch_count(batch);
    WEIR_CHECK(count > 0 && count <= WEIR_WORLD_BATCH_MAX);
    for (size_t index = 0; index < count; index++) {
        struct weir_message *message = weir_batch_message(batch, index);
        starts[index] =
            (struct start){weir_message_topic(message), weir_message_partition(message), weir_message_offset(message),
                           weir_message_key(message),   weir_message_key_size(message),  weir_message_attempt(message)};
    }
    process->world->batch = ++process->world->batch_count;
    for (size_t index = 0; index < count; index++) {
        const struct start *start = &starts[index];
        outcomes[index] = weir_world_begin(process, start->topic, start->partition, start->offset, start->key,
                                           start->key_size, start->attempt, &runs[index]);
        if (outcomes[index] == WEIR_LATER)
            outcomes[index] = WEIR_RETRY;
    }
    process->world->batch = 0;
}

/* Half of the batches say all by name, half leave acks to what the handler returns. */
static enum weir_outcome on_batch(struct weir_batch *batch, void *user)
{
    enum weir_outcome outcomes[WEIR_WORLD_BATCH_MAX];
    uint64_t runs[WEIR_WORLD_BATCH_MAX];
    weir_world_begin_batch(user, batch, outcomes, runs);
    for (size_t index = 0; index < weir_batch_count(batch); index++) {
        weir_world_emit(user, weir_batch_message(batch, index), runs[index], 0, weir_world_outputs(user, runs[index]));
        if (outcomes[index] != WEIR_ACK || runs[0] % 2 == 0)
            weir_batch_set(batch, index, outcomes[index]);
    }
    for (size_t index = 0; index < weir_batch_count(batch); index++)
        weir_world_end(user, runs[index], outcomes[index]);
    return runs[0] % 2 == 0 ? WEIR_RETRY : WEIR_ACK;
}

static void *create(struct weir_world_process *process)
{
    return weir_world_consumer_create(process, NULL, on_batch,
                                      weir_world_settings(weir_world_of(process))->driver_data);
}

const struct weir_world_driver weir_world_batches = WEIR_WORLD_CONSUMER_DRIVER(create);
