/*
 * A system: one control worker and N workers that run handlers, each a thread with a libuv loop.
 *
 * A worker without work spins for a few microseconds, unless that was in vain of late, then sleeps in its loop until a
 * timer, a handle or a wake-up; a wake-up costs one eventfd write at most. While busy it still polls its loop every
 * UV_POLL_INTERVAL_NS.
 *
 * The control thread looks at the others each WATCHDOG_INTERVAL_MS: a worker stuck in a long turn with actors queued
 * behind it has them offered to sleeping workers (a sweep trusts no edge).
 */
#ifndef WEIR_RUNTIME_SYSTEM_H
#define WEIR_RUNTIME_SYSTEM_H

#include "runtime/worker.h"
#include <weir/error.h>

/** Build the workers (no threads yet). `seam` must outlive the system.
 *  workers:      1 .. 256; the control worker comes on top.
 *  pool_threads: 0, or 1 .. 4096 threads on which roaming actors run and may block; see pool.h.
 *  Errors: NULL with `error`. */
struct weir_system *weir_system_create(unsigned workers, unsigned pool_threads, const struct weir_seam *seam,
                                       struct weir_error *error);

/** Have `count` levels, 1 .. WEIR_LEVELS_MAX, each but the first with this share in percent of what starts: see
 * levels.h. 1: one, as by itself. Before the first start, and while nothing is queued. Errors: WEIR_NO_MEMORY, and
 * there is one. */
int weir_system_set_levels(struct weir_system *system, unsigned count, unsigned share_percent);

/** Start a thread a worker; signals but those of faults are blocked in all of them. Once. Errors: WEIR_STATE,
 * WEIR_SYSTEM, and none is left running. */
int weir_system_start(struct weir_system *system, struct weir_error *error);

/** End the threads after the step each is in, and join them. What is queued stays queued. Uv handles that users left
 *  on a loop are counted, closed and reported by the log. Thread: any but a worker. */
void weir_system_stop(struct weir_system *system);

/** Free a system that was stopped or never started. */
void weir_system_destroy(struct weir_system *system);

unsigned weir_system_worker_count(const struct weir_system *system); /* control and pool included */
unsigned weir_system_home_count(const struct weir_system *system);   /* that have residents, without control: from 1 */
unsigned weir_system_runner_count(const struct weir_system *system); /* that run roaming actors */
struct weir_worker *weir_system_worker(const struct weir_system *system, unsigned index); /* 0 is control */
const struct weir_seam *weir_system_seam(const struct weir_system *system);

#endif
