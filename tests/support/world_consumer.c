/*
 * The world's driver for the consumer itself: see world.h. `driver_data` is NULL, or an array of option names and
 * values, ended by NULL: {"weir.window.messages.max", "64", ..., NULL}.
 *
 * A consumer that crashed is not freed: nothing of it may be called any more, and it stays where it is.
 */
#include "actors/consumer.h"
#include "actors/map.h"
#include "runtime/check.h"
#include "tests/support/world.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/output.h>

#define MS UINT64_C(1000000)

struct handed { /* what comes back when a message is finished later; fits into the world's handle */
    struct weir_later later;
    struct weir_world_process *process;
    uint64_t run;
};

bool weir_world_emit(struct weir_world_process *process, struct weir_message *message, uint64_t run, unsigned first,
                     unsigned end)
{
    for (unsigned index = first; index < end; index++) {
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

static void on_finish(void *handle, enum weir_outcome outcome)
{
    const struct handed *handed = handle;
    weir_world_emit(handed->process, handed->later.message, handed->run, 1,
                    weir_world_outputs(handed->process, handed->run));
    weir_later_finish(handed->later, outcome); /* WEIR_STALE after a revocation: nothing to do */
}

static enum weir_outcome on_message(struct weir_message *message, void *user)
{
    struct weir_world_process *process = user;
    uint64_t run;
    if (weir_world_settings(weir_world_of(process))->exactly_once)
        weir_world_epoch(process, message->epoch);
    enum weir_outcome outcome = weir_world_begin(process, weir_message_topic(message), weir_message_partition(message),
                                                 weir_message_offset(message), weir_message_key(message),
                                                 weir_message_key_size(message), weir_message_attempt(message), &run);
    unsigned outputs = weir_world_outputs(process, run); /* emitted by failing runs as well: they are dropped */
    weir_world_emit(process, message, run, 0, outcome == WEIR_LATER && outputs > 1 ? 1 : outputs);
    if (outcome == WEIR_LATER) {
        struct handed handed = {weir_message_later(message), process, run};
        weir_world_later(process, run, on_finish, &handed, sizeof handed);
    } else {
        weir_world_end(process, run, outcome);
    }
    return outcome;
}

static void set(struct weir_config *config, const char *name, const char *value)
{
    struct weir_error error;
    if (weir_config_set(config, name, value, &error) == 0)
        return;
    fprintf(stderr, "world: %s\n", error.text);
    abort();
}

static void set_number(struct weir_config *config, const char *name, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    set(config, name, text);
}

struct weir_config *weir_world_configure(const struct weir_world_process *process, const char *const *options)
{
    struct weir_world *world = weir_world_of(process);
    const struct weir_world_settings *settings = weir_world_settings(world);
    const struct weir_fake_settings *cluster = weir_fake_settings(weir_world_cluster(world));
    struct weir_config *config = weir_config_create();
    WEIR_CHECK(config != NULL);
    char letters[280];
    snprintf(letters, sizeof letters, "{topic}%s", settings->letters);
    set(config, "group.id", settings->group);
    set(config, "auto.offset.reset", "earliest");
    set_number(config, "session.timeout.ms", cluster->session_timeout_ns / MS);
    set_number(config, "max.poll.interval.ms", cluster->rebalance_timeout_ns / MS);
    set(config, "weir.topics", settings->topics);
    set(config, "weir.dlq.topic", letters);
    set_number(config, "weir.workers", settings->workers);
    set_number(config, "weir.blocking.threads", settings->pool_threads);
    if (settings->exactly_once)
        set(config, "weir.delivery", "exactly-once");
    for (; options && options[0]; options += 2)
        set(config, options[0], options[1]);
    return config;
}

struct weir_consumer *weir_world_consumer_create(struct weir_world_process *process, weir_handler *handler,
                                                 weir_batch_handler *batch_handler, const char *const *options)
{
    struct weir_config *config = weir_world_configure(process, options);
    struct weir_kafka *kafka = weir_world_kafka(process);
    struct weir_system *system = weir_world_system(process);
    struct weir_error error;
    struct weir_consumer *consumer =
        batch_handler ? weir_consumer_create_batch_on(config, batch_handler, process, kafka, system, &error)
                      : weir_consumer_create_on(config, handler, process, kafka, system, &error);
    if (!consumer)
        fprintf(stderr, "world: %s\n", error.text);
    weir_config_destroy(config);
    return consumer;
}

static void *create(struct weir_world_process *process)
{
    return weir_world_consumer_create(process, on_message, NULL,
                                      weir_world_settings(weir_world_of(process))->driver_data);
}

void weir_world_consumer_start(void *consumer)
{
    struct weir_error error;
    if (weir_consumer_start(consumer, &error) == 0)
        return;
    fprintf(stderr, "world: %s\n", error.text);
    abort();
}

void weir_world_consumer_stop(void *consumer)
{
    weir_consumer_stop(consumer);
}

bool weir_world_consumer_is_closed(void *consumer)
{
    return weir_consumer_is_closed(consumer);
}

void weir_world_consumer_destroy(void *consumer)
{
    weir_consumer_destroy(consumer);
}

bool weir_world_map_says(const struct weir_kafka_offset *committed, int64_t offset)
{
    static const struct weir_map_log any = {.leader_epoch = -1};
    struct weir_map map;
    if (weir_map_decode(committed->metadata, committed->metadata_size, committed->offset, &any, &map) != WEIR_MAP_VALID)
        return false;
    bool finished = offset >= map.floor && offset < map.end && weir_map_is_finished(&map, offset);
    weir_map_deinit(&map);
    return finished;
}

bool weir_world_consumer_audit(struct weir_audit *audit, void *consumer, char *text, size_t text_size)
{
    return weir_audit_consumer(audit, consumer, text, text_size);
}

const struct weir_world_driver weir_world_consumer = WEIR_WORLD_CONSUMER_DRIVER(create);
