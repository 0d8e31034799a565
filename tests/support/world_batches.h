/*
 * Batches in the world: a driver whose handler is given batches, and the order that must hold among their runs.
 *
 * In place of the checks of order in world.h, at every start of a run in a batch
 *   - if it never ran before: every lower message of its key is over, or runs in the same batch, before it;
 *   - within one assignment: no lower message of its key that ran is left out that is not over; it is not below what
 * its key has run in an earlier batch, unless it ran itself, and failed; and what has finished does not run again.
 *
 * Thread: the simulation's.
 */
#ifndef WEIR_TESTS_WORLD_BATCHES_H
#define WEIR_TESTS_WORLD_BATCHES_H

#include "tests/support/world.h"

/* The consumer with a batch handler, whose answers the seed decides, a message at a time. Its driver_data: option names
 * and values, ended by NULL, or NULL. */
extern const struct weir_world_driver weir_world_batches;

#define WEIR_WORLD_BATCH_MAX 64 /* messages; runs of larger batches fail the world */

/** All messages of a batch start, in its order: what each is to answer, and the numbers of the runs. */
void weir_world_begin_batch(struct weir_world_process *process, struct weir_batch *batch,
                            enum weir_outcome outcomes[WEIR_WORLD_BATCH_MAX], uint64_t runs[WEIR_WORLD_BATCH_MAX]);

#endif
