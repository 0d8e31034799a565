/*
 * What a broken invariant leaves behind: after the line that names the condition, the state of each consumer of the
 * process, its partitions and what its workers run, on standard error.
 *
 * Reads atomics only, allocates nothing and takes no lock, since any thread may have failed anywhere.
 *
 * Bound: WEIR_REPORT_CONSUMERS_MAX consumers; further ones are not reported, and work as well.
 */
#ifndef WEIR_ACTORS_REPORT_H
#define WEIR_ACTORS_REPORT_H

struct weir_consumer;

#define WEIR_REPORT_CONSUMERS_MAX 32

/** From now on this consumer is reported. Thread: any; constant after create, and before its threads start. */
void weir_report_add(struct weir_consumer *consumer);
/** It is about to be freed. Thread: any. */
void weir_report_remove(struct weir_consumer *consumer);

#endif
