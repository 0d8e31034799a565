/*
 * Calls of librdkafka that refuse for a while.
 *
 * The test program defines these functions itself, which the dynamic linker prefers to the library's: a call is refused
 * as often as it was asked for, and then passed on. Programs that link librdkafka statically would not see it.
 * Thread: any.
 */
#ifndef WEIR_TESTS_RDKAFKA_REFUSE_H
#define WEIR_TESTS_RDKAFKA_REFUSE_H

enum weir_rdkafka_call {
    WEIR_RDKAFKA_QUEUE_GET_PARTITION, /* gives NULL */
    WEIR_RDKAFKA_COMMIT_QUEUE,        /* these fail at once, with __STATE */
    WEIR_RDKAFKA_ASSIGN,
    WEIR_RDKAFKA_INCREMENTAL_ASSIGN,
    WEIR_RDKAFKA_INCREMENTAL_UNASSIGN,
    WEIR_RDKAFKA_CALLS
};

/* The next `count` calls are refused. */
void weir_rdkafka_refuse(enum weir_rdkafka_call call, unsigned count);

/* Those of them that have been. */
unsigned weir_rdkafka_refused(enum weir_rdkafka_call call);

#endif
