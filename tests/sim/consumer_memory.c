/*
 * A consumer that is short of memory: each allocation is made to fail once, and then many of them. It may take longer,
 * never lose anything or stand still.
 */
#include "actors/consumer.h"
#include "runtime/memory.h"
#include "tests/support/test.h"
#include "tests/support/world_batches.h"
#include <weir/log.h>

#define SECOND WEIR_WORLD_SECOND

static const struct weir_world_chances mixed = {
    .skip = 20, .retry = 80, .dead = 30, .overloaded = 30, .later = 150, .poison = 5};

static struct weir_world *make(uint64_t seed, unsigned messages)
{
    return weir_world_create(&(struct weir_world_settings){
        .seed = seed, .partitions = 3, .messages = messages, .chances = mixed, .driver = &weir_world_consumer});
}

/* Without memory for an assigned partition a consumer closes, and whoever runs it starts another. */
static void check(struct weir_world *world, uint64_t n)
{
    bool finished = weir_world_run_until_finished(world, 900 * SECOND);
    weir_memory_fail_after(UINT64_MAX);
    if (!finished)
        weir_world_start(world);
    finished = weir_world_run_until_finished(world, 900 * SECOND);
    bool closed = weir_world_close(world, 300 * SECOND);
    struct weir_world_verdict verdict = weir_world_verdict(world);
    cr_assert(verdict.ok, "allocation %llu fails: %s", (unsigned long long)n, verdict.text);
    cr_assert(finished, "allocation %llu fails: not finished after 900 s", (unsigned long long)n);
    cr_assert(closed, "allocation %llu fails: not closed after 300 s", (unsigned long long)n);
}

Test(memory, any_one_allocation_of_a_running_consumer_may_fail)
{
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    for (uint64_t n = 0; n < weir_test_scaled(400); n++) {
        struct weir_world *world = make(3, 60);
        weir_world_start(world);
        weir_memory_fail_after(n);
        check(world, n);
        weir_world_destroy(world);
    }
}

struct shortage {
    struct weir_world *world;
    uint64_t until_ns;
    struct weir_random random;
};

/* While it lasts, one of the next few allocations fails, again and again. */
static void on_shortage(void *argument)
{
    struct shortage *shortage = argument;
    if (weir_simulation_now_ns(weir_world_simulation(shortage->world)) >= shortage->until_ns) {
        weir_memory_fail_after(UINT64_MAX);
        return;
    }
    weir_memory_fail_after(weir_random_below(&shortage->random, 3));
    weir_fake_after(weir_world_cluster(shortage->world), 1 + weir_random_below(&shortage->random, SECOND / 500),
                    on_shortage, NULL, shortage);
}

Test(memory, any_one_allocation_of_a_running_consumer_with_batches_may_fail)
{
    static const char *const options[] = {"weir.batch.linger.ms", "50", "weir.batch.messages.max", "20", NULL};
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    for (uint64_t n = 0; n < weir_test_scaled(250); n++) {
        struct weir_world *world = weir_world_create(&(struct weir_world_settings){.seed = 3,
                                                                                   .partitions = 3,
                                                                                   .messages = 60,
                                                                                   .chances = mixed,
                                                                                   .driver = &weir_world_batches,
                                                                                   .driver_data = options});
        weir_world_start(world);
        weir_memory_fail_after(n);
        check(world, n);
        weir_world_destroy(world);
    }
}

Test(memory, may_be_short_for_a_long_time)
{
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    for (uint64_t seed = 1; seed <= weir_test_scaled(40); seed++) {
        struct weir_world *world = make(seed, 150);
        weir_world_start(world);
        weir_world_produce_during(world, 20 * SECOND, 100);
        weir_world_disturb(world, 20 * SECOND, 4, WEIR_WORLD_REBALANCE | WEIR_WORLD_FENCE | WEIR_WORLD_GHOST);
        struct shortage shortage = {.world = world, .until_ns = 20 * SECOND};
        weir_random_init(&shortage.random, seed);
        on_shortage(&shortage);
        weir_world_run(world, 21 * SECOND);
        check(world, seed);
        weir_world_destroy(world);
    }
}

static enum weir_outcome ack(struct weir_message *message, void *user)
{
    (void)message;
    (void)user;
    return WEIR_ACK;
}

static enum weir_outcome ack_all(struct weir_batch *batch, void *user)
{
    (void)batch;
    (void)user;
    return WEIR_ACK;
}

static void fail_creation(bool with_batches)
{
    struct weir_config *config = weir_config_create();
    struct weir_error error;
    cr_assert_not_null(config);
    cr_assert_eq(weir_config_set(config, "group.id", "g", &error), 0);
    cr_assert_eq(weir_config_set(config, "weir.topics", "orders", &error), 0);
    cr_assert_eq(weir_config_set(config, "bootstrap.servers", "127.0.0.1:1", &error), 0);
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    uint64_t n = 0;
    for (struct weir_consumer *consumer = NULL; !consumer; n++) {
        weir_memory_fail_after(n);
        error = (struct weir_error){0};
        consumer = with_batches ? weir_consumer_create_batch(config, ack_all, NULL, &error)
                                : weir_consumer_create(config, ack, NULL, &error);
        weir_memory_fail_after(UINT64_MAX);
        cr_assert(consumer || error.code == WEIR_NO_MEMORY, "allocation %llu: code %d, %s", (unsigned long long)n,
                  error.code, error.text);
        cr_assert_lt(n, 10000);
        weir_consumer_destroy(consumer);
    }
    cr_assert_gt(n, 10);
    weir_config_destroy(config);
}

Test(memory, any_one_allocation_of_creation_may_fail)
{
    fail_creation(false);
    fail_creation(true);
}
