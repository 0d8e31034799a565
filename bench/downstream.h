/*
 * A simulated downstream for benches: takes messages from handlers, finishes each exactly `latency_ns` later.
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

struct weir_bench_downstream *weir_bench_downstream_start(uint64_t latency_ns, unsigned lanes);
/** From a handler: it answers WEIR_LATER then, or WEIR_OVERLOADED where this was false. */
bool weir_bench_downstream_submit(struct weir_bench_downstream *downstream, struct weir_message *message);
/** Messages finished so far, of those handed over, and the sum of how late they were. Thread: any. */
uint64_t weir_bench_downstream_finished(const struct weir_bench_downstream *downstream);
uint64_t weir_bench_downstream_late_ns(const struct weir_bench_downstream *downstream);
uint64_t weir_bench_downstream_refused(const struct weir_bench_downstream *downstream); /* WEIR_STALE and the like */
/** End the thread; what is left in the lanes is left. After the consumer has closed. */
void weir_bench_downstream_stop(struct weir_bench_downstream *downstream);

#endif
