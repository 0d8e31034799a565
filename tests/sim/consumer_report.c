/*
 * What a broken invariant leaves behind: which condition, and the state of the consumer at that moment.
 */
#include "actors/consumer.h"
#include "runtime/check.h"
#include "tests/sim/consumer_own.h"
#include "tests/support/dies.h"
#include "tests/support/test.h"
#include <weir/log.h>

#define SECOND WEIR_WORLD_SECOND

static enum weir_outcome break_an_invariant(struct weir_message *message, void *user)
{
    WEIR_CHECK(weir_message_offset(message) != 5);
    return WEIR_ACK;
}

/* One partition, one lane: the broken one is the sixth message, and the others are finished or wait behind it. */
static void run_until_it_breaks(void)
{
    static const char *const options[] = {"weir.ordering", "partition", NULL};
    static const struct weir_own own = {break_an_invariant, options};
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    struct weir_world *world = weir_world_create(&(struct weir_world_settings){
        .seed = 1, .partitions = 1, .messages = 20, .driver = &weir_own_driver, .driver_data = &own});
    weir_world_start(world);
    weir_world_run(world, 60 * SECOND);
}

Test(report, a_broken_invariant_tells_the_state_of_the_partition)
{
    cr_assert(weir_test_aborts(run_until_it_breaks, "weir_message_offset(message) != 5"));
    cr_assert(weir_test_aborts(run_until_it_breaks, "weir: on worker "));
    cr_assert(weir_test_aborts(run_until_it_breaks, "weir: consumer of group group:"));
    cr_assert(weir_test_aborts(run_until_it_breaks, "partition orders/0: control open, epoch 1, floor 0, next 20,"));
    cr_assert(weir_test_aborts(run_until_it_breaks, " runs orders/0, offset 5"));
}

static void break_without_a_consumer(void)
{
    static const struct weir_own own = {break_an_invariant, NULL};
    struct weir_world *world = weir_world_create(
        &(struct weir_world_settings){.seed = 1, .partitions = 1, .driver = &weir_own_driver, .driver_data = &own});
    weir_world_start(world);
    weir_world_run(world, 10 * SECOND);
    WEIR_CHECK(weir_world_close(world, 60 * SECOND));
    weir_world_destroy(world);
    WEIR_CHECK(!"nobody is left");
}

Test(report, a_consumer_that_is_gone_is_not_reported)
{
    cr_assert(weir_test_aborts(break_without_a_consumer, "nobody is left"));
    cr_assert_not(weir_test_aborts(break_without_a_consumer, "consumer of group"));
}
