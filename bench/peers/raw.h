/*
 * The floor: librdkafka as fast as one thread can have it. Partition queues, batches of 1,024, no commits, no order to
 * keep but the log's.
 *
 * Thread: main.
 */
#ifndef WEIR_BENCH_RAW_H
#define WEIR_BENCH_RAW_H

#include "bench/common.h"

struct weir_bench_raw {
    const char *bootstrap, *topic;
    int partitions;
    uint64_t messages;                /* to take, from the beginning; UINT64_MAX: until `stop` says so */
    const char *const (*settings)[2]; /* NULL-terminated; NULL: librdkafka's defaults */
    bool at_end;                      /* begin at the end of the log instead */
    void (*on_message)(const rd_kafka_message_t *message, void *user); /* NULL: nothing is done with it */
    bool (*stop)(void *user);                                          /* asked where nothing came; NULL: never */
    void *user;
    bool keep; /* messages are not destroyed: how much memory do they take? */
};

struct weir_bench_raw_result {
    uint64_t messages;        /* from the end of the first round that brought any */
    double seconds;           /* from there to the last */
    uint64_t handled, cpu_ns; /* in all */
};

/** Dies where the messages do not come within two minutes. */
struct weir_bench_raw_result weir_bench_raw_loop(const struct weir_bench_raw *raw);

#endif
