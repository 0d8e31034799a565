/*
 * The simulator: the same workers and actors on one thread, with virtual time and a seeded scheduler.
 *
 * At each step it chooses by the seed among the workers that have something to do and runs one step of it (a step may
 * be cut short: a worker in simulation runs one resident and one roaming turn a step, so that interleavings are fine).
 * When nobody has anything to do, time jumps to the next timer or event. The same seed and the same calls give the same
 * run, step for step; weir_simulation_hash() proves it.
 *
 * Events stand for the outside world (an in-memory Kafka answering after a delay, a test that pauses a partition).
 */
#ifndef WEIR_RUNTIME_SIMULATION_H
#define WEIR_RUNTIME_SIMULATION_H

#include "runtime/system.h"

struct weir_simulation;
typedef void weir_simulation_event(void *argument);
typedef void weir_simulation_observer(void *argument); /* after every step: invariants are checked here */

/** Create: `seed` decides everything. The first system's time starts at 1 s. NULL where memory is short. */
struct weir_simulation *weir_simulation_create(uint64_t seed);
void weir_simulation_destroy(struct weir_simulation *simulation); /* its systems too; queued events are dropped */

/** A system of `workers` + 1, and a pool of `pool_threads`, whose steps the simulation runs. Several systems stand for
 *  several processes. The simulation's; NULL where memory is short or `workers` is not 1 .. 256. */
struct weir_system *weir_simulation_system(struct weir_simulation *simulation, unsigned workers, unsigned pool_threads);

/** Take a system out, as a crash does: no step of it runs again. Its memory is freed with the simulation. */
void weir_simulation_crash(struct weir_simulation *simulation, struct weir_system *system);

/** Call `event(argument)` after `delay_ns`, between steps. Returns 0 or WEIR_NO_MEMORY. */
int weir_simulation_after(struct weir_simulation *simulation, uint64_t delay_ns, weir_simulation_event *event,
                          void *argument);

void weir_simulation_observe(struct weir_simulation *simulation, weir_simulation_observer *observer, void *argument);

/** Run one step or one event, or jump in time. False when there is nothing left to do and nothing to wait for. */
bool weir_simulation_step(struct weir_simulation *simulation);

/** Step until `done(argument)`, or `duration_ns` of virtual time has passed, or nothing is left. True if done; `done`
 *  NULL: never. What is due at the very end still runs; time does not jump past it. */
bool weir_simulation_run(struct weir_simulation *simulation, uint64_t duration_ns, bool (*done)(void *argument),
                         void *argument);

/** In the middle of a step, or of an event, let another worker make one, as if it ran on another processor. False: none
 *  has anything to do, or all are in the middle of one themselves. */
bool weir_simulation_interleave(struct weir_simulation *simulation);

/** Let each step take 0 .. `step_ns_max` of virtual time, by the seed. 0, the default: steps take none, and all times
 *  are exact. */
void weir_simulation_set_step_time(struct weir_simulation *simulation, uint64_t step_ns_max);

/** In systems that are made from now on, let roaming turns count as short `percent` times in a hundred, by the seed, so
 *  that their work is done at once where it may be (weir_worker_turns_are_short). 0, the default: never. */
void weir_simulation_set_short_turns(struct weir_simulation *simulation, unsigned percent);

/** Run no step of `worker` for `duration_ns`, as if its thread were stuck or not scheduled. Others may steal from it.
 */
void weir_simulation_stall(struct weir_simulation *simulation, struct weir_worker *worker, uint64_t duration_ns);

/** Virtual time goes on by `duration_ns`: for a turn that takes time. Nobody else runs meanwhile. */
void weir_simulation_advance(struct weir_simulation *simulation, uint64_t duration_ns);

uint64_t weir_simulation_now_ns(const struct weir_simulation *simulation);
const struct weir_seam *weir_simulation_seam(struct weir_simulation *simulation);
struct weir_random *weir_simulation_random(struct weir_simulation *simulation);
uint64_t weir_simulation_steps(const struct weir_simulation *simulation);
uint64_t weir_simulation_hash(const struct weir_simulation *simulation); /* of all choices so far */

#endif
