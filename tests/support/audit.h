/*
 * An audit of a consumer from inside: what must hold of its partition actors, key actors and trackers between any two
 * steps of the simulation. The checks in actors/ see one operation; this sees the whole.
 *
 *   tracker      offsets ascend, links and count agree, all lie below `next`; within an epoch the floor never goes
 * back; it is never below what this process knows to be committed credit       messages in flight never exceed the
 * window; bytes are charged while, and only while, something is held keys         each tracked message is in the queue
 * of one key actor of its partition, in offset order, and that key is somewhere: out, parked, waiting with a timer,
 * given out, or dying with a letter on its way or a timer table        each key is found by the bytes it really has,
 * and no bytes have two keys lists        each holds keys of its state only; what is held is what waits and dies gates
 * none is open while a rebalance event is open (R1), nor for a partition that control does not call open wake-ups no
 * actor has mail and sleeps
 *
 * Thread: the simulation's, between steps. Cost: every partition's sums each time, and one partition's lists in full
 * now and then: every fourth time at most, the less often the more there is in them.
 */
#ifndef WEIR_TESTS_AUDIT_H
#define WEIR_TESTS_AUDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct weir_consumer;
struct weir_partition;

#define WEIR_AUDIT_PARTITIONS_MAX 256

/* What one consumer's audits remember; zeroed before the first. */
struct weir_audit {
    uint64_t turn; /* audits so far */
    uint64_t walks, walk_next;
    const struct weir_partition *first; /* of the list, when it was counted last */
    size_t count;
    uint64_t walked; /* partitions that were looked at in full, with something in flight */
    struct {
        const struct weir_partition *partition;
        uint64_t epoch;
        int64_t floor;
    } seen[WEIR_AUDIT_PARTITIONS_MAX];
};

/** False when something does not hold; `text` then says what. */
bool weir_audit_consumer(struct weir_audit *audit, const struct weir_consumer *consumer, char *text, size_t text_size);

#endif
