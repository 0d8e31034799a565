/*
 * A consumer with the test's own handler in a process of the world: see consumer_own.h.
 */
#include "tests/sim/consumer_own.h"
#include "actors/consumer.h"

static struct weir_consumer *last;

struct weir_consumer *weir_own_consumer(void)
{
    return last;
}

static void *create(struct weir_world_process *process)
{
    const struct weir_own *own = weir_world_settings(weir_world_of(process))->driver_data;
    last = weir_world_consumer_create(process, own->handler, own->options);
    if (last)
        weir_consumer_on_partition(last, own->on_partition, process);
    if (last && own->prepare)
        own->prepare(last, process);
    return last;
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
