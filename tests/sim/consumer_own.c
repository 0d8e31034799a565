/*
 * A consumer with the test's own handler in a process of the world: see consumer_own.h.
 */
#include "tests/sim/consumer_own.h"
#include "tests/support/test.h"

static struct weir_consumer *last;

struct weir_consumer *weir_own_consumer(void)
{
    return last;
}

struct weir_stats weir_own_stats(void)
{
    struct weir_stats stats;
    weir_consumer_stats(last, &stats, sizeof stats);
    return stats;
}

enum weir_outcome weir_own_begin(const struct weir_message *message, struct weir_world_process *process, uint64_t *run)
{
    return weir_world_begin(process, weir_message_topic(message), weir_message_partition(message),
                            weir_message_offset(message), weir_message_key(message), weir_message_key_size(message),
                            weir_message_attempt(message), run);
}

void weir_own_check_finished(struct weir_world *world, struct weir_world_process *process, uint64_t seed, bool finished)
{
    weir_world_stop(process);
    weir_world_run(world, 80 * WEIR_WORLD_SECOND); /* those that are about come back */
    bool closed = weir_world_close(world, 300 * WEIR_WORLD_SECOND);
    struct weir_world_verdict verdict = weir_world_verdict(world);
    cr_assert(verdict.ok, "seed %llu: %s", (unsigned long long)seed, verdict.text);
    cr_assert(finished, "seed %llu: not finished after 900 s", (unsigned long long)seed);
    cr_assert(closed, "seed %llu: not closed after 300 s", (unsigned long long)seed);
}

void weir_own_close_world(struct weir_world *world)
{
    bool closed = weir_world_close(world, 60 * WEIR_WORLD_SECOND);
    struct weir_world_verdict verdict = weir_world_verdict(world);
    cr_assert(verdict.ok, "%s", verdict.text);
    cr_assert(closed);
    weir_world_destroy(world);
}

static void *create(struct weir_world_process *process)
{
    const struct weir_own *own = weir_world_settings(weir_world_of(process))->driver_data;
    last = weir_world_consumer_create(process, own->handler, own->batch_handler, own->options);
    if (last)
        weir_consumer_on_partition(last, own->on_partition, process);
    if (last && own->prepare)
        own->prepare(last, process);
    return last;
}

const struct weir_world_driver weir_own_driver = WEIR_WORLD_CONSUMER_DRIVER(create);
