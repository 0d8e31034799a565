/*
 * The Weir consumer of our arms: made and started, closed and freed. It dies on errors.
 */
#ifndef WEIR_BENCH_ARM_CONSUMER_H
#define WEIR_BENCH_ARM_CONSUMER_H

#include "bench/arms/arm.h"
#include <weir/weir.h>

/** A group name that nobody has had. */
void weir_bench_arm_group(char *group, size_t size);
/** From the topic's beginning, or from its end where the job measures delays (has `seconds`). */
struct weir_consumer *weir_bench_arm_consumer(const struct weir_bench_job *job, const char *group, unsigned workers,
                                              weir_handler *handler, void *user);
void weir_bench_arm_consumer_stop(struct weir_consumer *consumer);

#endif
