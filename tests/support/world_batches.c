/*
 * See world_batches.h.
 */
#include "tests/support/world_batches.h"
#include "actors/consumer.h"
#include "runtime/check.h"
#include "tests/support/world_internal.h"
#include <stdio.h>
#include <string.h>
#include <weir/output.h>

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

static bool emit(struct weir_world_process *process, struct weir_message *message, uint64_t run)
{
    for (unsigned index = 0; index < weir_world_outputs(process, run); index++) {
        struct weir_world_output text;
        weir_world_output(process, run, index, &text);
        struct weir_output output = {.topic = text.topic,
                                     .key = text.has_key ? text.key : NULL,
                                     .key_size = text.has_key ? strlen(text.key) : 0,
                                     .value = text.value,
                                     .value_size = strlen(text.value)};
        int result = weir_emit(message, &output);
        WEIR_CHECK(result == 0 || result == WEIR_STALE);
        if (result != 0)
            return false;
    }
    return true;
}

/* Half of the batches say all by name, half leave acks to what the handler returns. */
static enum weir_outcome on_batch(struct weir_batch *batch, void *user)
{
    enum weir_outcome outcomes[WEIR_WORLD_BATCH_MAX];
    uint64_t runs[WEIR_WORLD_BATCH_MAX];
    weir_world_begin_batch(user, batch, outcomes, runs);
    for (size_t index = 0; index < weir_batch_count(batch); index++) {
        emit(user, weir_batch_message(batch, index), runs[index]);
        if (outcomes[index] != WEIR_ACK || runs[0] % 2 == 0)
            weir_batch_set(batch, index, outcomes[index]);
    }
    for (size_t index = 0; index < weir_batch_count(batch); index++)
        weir_world_end(user, runs[index], outcomes[index]);
    return runs[0] % 2 == 0 ? WEIR_RETRY : WEIR_ACK;
}

struct weir_consumer *weir_world_batches_create(struct weir_world_process *process, weir_batch_handler *handler,
                                                const char *const *options)
{
    struct weir_config *config = weir_world_configure(process, options);
    struct weir_error error;
    struct weir_consumer *consumer = weir_consumer_create_batch_on(config, handler, process, weir_world_kafka(process),
                                                                   weir_world_system(process), &error);
    if (!consumer)
        fprintf(stderr, "world: %s\n", error.text);
    weir_config_destroy(config);
    return consumer;
}

static void *create(struct weir_world_process *process)
{
    return weir_world_batches_create(process, on_batch, weir_world_settings(weir_world_of(process))->driver_data);
}

static void start(void *consumer)
{
    weir_world_consumer.start(consumer);
}

static void stop(void *consumer)
{
    weir_consumer_stop(consumer);
}

static bool is_closed(void *consumer)
{
    return weir_consumer_is_closed(consumer);
}

static void destroy(void *consumer)
{
    weir_consumer_destroy(consumer);
}

static bool map_has_finished(const struct weir_kafka_offset *committed, int64_t offset)
{
    return weir_world_consumer.map_has_finished(committed, offset);
}

static bool audit(struct weir_audit *audit, void *consumer, char *text, size_t text_size)
{
    return weir_audit_consumer(audit, consumer, text, text_size);
}

const struct weir_world_driver weir_world_batches = {
    .create = create,
    .start = start,
    .stop = stop,
    .is_closed = is_closed,
    .destroy = destroy,
    .map_has_finished = map_has_finished,
    .audit = audit,
};
