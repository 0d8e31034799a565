/*
 * A consumer with the test's own handler in a process of the world: see consumer_own.h.
 */
#include "tests/sim/consumer_own.h"
#include "actors/consumer.h"
#include "runtime/check.h"
#include <stdio.h>
#include <stdlib.h>

#define MS UINT64_C(1000000)

static void set(struct weir_config *config, const char *name, const char *value)
{
    struct weir_error error;
    if (weir_config_set(config, name, value, &error) == 0)
        return;
    fprintf(stderr, "own driver: %s\n", error.text);
    abort();
}

static void set_number(struct weir_config *config, const char *name, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    set(config, name, text);
}

static struct weir_consumer *last;

struct weir_consumer *weir_own_consumer(void)
{
    return last;
}

static void *create(struct weir_world_process *process)
{
    const struct weir_world_settings *settings = weir_world_settings(weir_world_of(process));
    const struct weir_fake_settings *cluster = weir_fake_settings(weir_world_cluster(weir_world_of(process)));
    const struct weir_own *own = settings->driver_data;
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
    for (const char *const *option = own->options; option && option[0]; option += 2)
        set(config, option[0], option[1]);
    struct weir_error error;
    struct weir_consumer *consumer = weir_consumer_create_on(config, own->handler, process, weir_world_kafka(process),
                                                             weir_world_system(process), &error);
    if (!consumer)
        fprintf(stderr, "own driver: %s\n", error.text);
    weir_config_destroy(config);
    return last = consumer;
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

const struct weir_world_driver weir_own_driver = {
    .create = create,
    .start = start,
    .stop = stop,
    .is_closed = is_closed,
    .destroy = destroy,
    .map_has_finished = map_has_finished,
    .audit = audit,
};
