/*
 * The world's driver for the consumer itself, with a handler of the test's own: for handlers that behave as no sensible
 * program does. See tests/support/world.h.
 */
#ifndef WEIR_TESTS_CONSUMER_OWN_H
#define WEIR_TESTS_CONSUMER_OWN_H

#include "tests/support/world.h"
#include <weir/consumer.h>
#include <weir/stats.h>

struct weir_own {                          /* what driver_data points to */
    weir_handler *handler;                 /* its user: the struct weir_world_process that runs it */
    const char *const *options;            /* names and values, ended by NULL; or NULL */
    weir_partition_callback *on_partition; /* its user likewise; NULL: none */
    void (*prepare)(struct weir_consumer *consumer, struct weir_world_process *process); /* before start; or NULL */
    weir_batch_handler *batch_handler; /* in place of `handler`, which is NULL; its user likewise */
};

extern const struct weir_world_driver weir_own_driver;

/** The consumer that was created last. */
struct weir_consumer *weir_own_consumer(void);
struct weir_stats weir_own_stats(void); /* its */

/** weir_world_begin(), of this message. */
enum weir_outcome weir_own_begin(const struct weir_message *message, struct weir_world_process *process, uint64_t *run);

/** Fails the test unless `finished`, and the world closes after 80 s in which all handles come back, and its verdict is
 *  good. */
void weir_own_check_finished(struct weir_world *world, struct weir_world_process *process, uint64_t seed,
                             bool finished);

/** Close the world within a minute, see that its verdict is good, and free it. */
void weir_own_close_world(struct weir_world *world);

#endif
