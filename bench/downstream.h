/*
 * A simulated downstream for benches: takes calls, finishes each exactly `latency_ns` later.
 *
 * One lane a worker, a ring with one writer and one reader, so that handlers never wait for each other; one thread
 * takes what is due. As all calls take equally long, a lane is in due order.
 *
 * Bound:  a lane holds LANE_SIZE messages; submit answers false beyond that.
 * Thread: submit on the lane's worker; the downstream's own thread finishes.
 */
#ifndef WEIR_BENCH_DOWNSTREAM_H
#define WEIR_BENCH_DOWNSTREAM_H

#include <stdbool.h>
#include <stdint.h>
#include <weir/weir.h>

struct weir_bench_downstream;

/** What the downstream does with a call that is due, on its own thread. False: nobody wanted it. */
typedef bool weir_bench_downstream_finish(struct weir_later later, unsigned lane, void *user);

struct weir_bench_downstream *weir_bench_downstream_start(uint64_t latency_ns, unsigned lanes,
                                                          weir_bench_downstream_finish *finish, void *user);
/** A call of this lane's worker, of which only the handle matters. False where the lane is full. */
bool weir_bench_downstream_call(struct weir_bench_downstream *downstream, unsigned lane, struct weir_later later);
/** From a handler: it answers WEIR_LATER then, or WEIR_OVERLOADED where this was false. */
bool weir_bench_downstream_submit(struct weir_bench_downstream *downstream, struct weir_message *message);
/** What such messages want of their downstream. */
bool weir_bench_downstream_ack(struct weir_later later, unsigned lane, void *user);
/** Calls finished so far, of those handed over, and the sum of how late they were. Thread: any. */
uint64_t weir_bench_downstream_finished(const struct weir_bench_downstream *downstream);
uint64_t weir_bench_downstream_late_ns(const struct weir_bench_downstream *downstream);
uint64_t weir_bench_downstream_refused(const struct weir_bench_downstream *downstream); /* WEIR_STALE and the like */
/** End the thread; what is left in the lanes is left. After the consumer has closed. */
void weir_bench_downstream_stop(struct weir_bench_downstream *downstream);

#endif
