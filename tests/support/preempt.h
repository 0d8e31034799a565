/*
 * Preemption in the simulation. Its events and its workers' steps come one after the other, those of threads between
 * any two instructions of each other: what a step makes visible half done, and what it believes after somebody else has
 * changed it, no order of whole steps shows. So the suite sim has the actors compiled with -finstrument-functions, and
 * wherever one of their functions begins or ends, another worker may make a step, or a test's own event happen. A few
 * are left out that only compute and are called most (meson.build).
 *
 * Not within the functions that Kafka calls (it would be entered twice), nor while a partition is being pulled: control
 * would wait for the end of the pull, which could not come; nor between the decision that a handler starts and its
 * beginning, for nothing can be done about what happens there.
 *
 * Thread: the simulation's. One simulation at a time.
 */
#ifndef WEIR_TESTS_PREEMPT_H
#define WEIR_TESTS_PREEMPT_H

#include <stdbool.h>
#include <stdint.h>

struct weir_simulation;

/** From now on, in thousandths of all beginnings and ends of functions. `event` may be NULL; it is called on no worker,
 *  a third of the times, and may answer handles. */
void weir_preempt_begin(struct weir_simulation *simulation, unsigned permille, void (*event)(void *argument),
                        void *argument);
void weir_preempt_end(void);
/** The handler that is about to start has begun. Of the world's ledger. */
void weir_preempt_run_begins(void);
/** Called by `event`: is whom it comes into about to decide whether a handler may start? */
bool weir_preempt_before_run(void);
/** How often since the beginning, so that a test can see that it has tested something. */
uint64_t weir_preempt_count(void);

#endif
