/*
 * A probe: drives one client of the in-memory Kafka by hand, and keeps what it hears.
 *
 * It polls when it is woken and only then, so a wake that is missing shows as an event that never comes. Rebalance
 * events are answered at once, at offset 0, unless `answers` is false.
 */
#ifndef WEIR_TESTS_FAKE_PROBE_H
#define WEIR_TESTS_FAKE_PROBE_H

#include "actors/kafka_fake/kafka_fake.h"
#include "runtime/simulation.h"

#define PROBE_MS         UINT64_C(1000000)
#define PROBE_SECOND     (1000 * PROBE_MS)
#define PROBE_QUEUES     32
#define PROBE_EVENTS_MAX 4096

struct probe_event {
    enum weir_kafka_event_kind kind;
    bool cooperative;
    uint64_t tag, at_ns;
    enum weir_kafka_error error;
    char text[64];
    struct weir_kafka_offset offsets[16];
    char metadata[16][64]; /* cut */
    size_t count;
    void *opaque;
};

struct probe_queue {
    char topic[32];
    int32_t partition;
    struct weir_kafka_queue *queue; /* NULL: free place */
    unsigned wakes;
};

struct probe {
    struct weir_kafka_listener listener; /* first */
    struct weir_simulation *simulation;
    struct weir_kafka *kafka;
    bool answers, woken;
    int64_t assign_at; /* offset for assign; default 0 */
    unsigned wakes;
    struct probe_queue queues[PROBE_QUEUES];
    struct probe_event *events;
    size_t event_count;
};

/* A simulation and a cluster with topic "orders". */
struct stage {
    struct weir_simulation *simulation;
    struct weir_fake_cluster *cluster;
};

struct stage probe_stage(uint64_t seed, int32_t partitions);
void probe_stage_end(struct stage *stage);
/* Append records key "k<i mod 7>", value "v<i>". */
void probe_fill(struct stage *stage, const char *topic, int32_t partition, int count);

void probe_init(struct probe *probe, struct stage *stage, const struct weir_fake_member *member);
void probe_start(struct probe *probe, struct stage *stage, const struct weir_fake_member *member); /* init and start */
void probe_close(struct probe *probe);  /* close, run to CLOSED, destroy */
void probe_deinit(struct probe *probe); /* memory only */

/* Step and poll, for `probes`, for so long. */
void probes_run(struct probe **probes, size_t count, uint64_t duration_ns);
void probe_run(struct probe *probe, uint64_t duration_ns);
/* Run until the client has heard `kind` for the `number`th time (from 1), or 120 s have passed: NULL. */
const struct probe_event *probe_wait(struct probe *probe, enum weir_kafka_event_kind kind, unsigned number);
const struct probe_event *probe_find(const struct probe *probe, enum weir_kafka_event_kind kind, unsigned number);
const struct probe_event *probe_tagged(const struct probe *probe, uint64_t tag, unsigned *times);
unsigned probe_count(const struct probe *probe, enum weir_kafka_event_kind kind);

void probe_answer(struct probe *probe, const struct probe_event *event);
struct probe_queue *probe_queue(struct probe *probe, int32_t partition); /* the open one of "orders", or NULL */
unsigned probe_held(struct probe *probe);                                /* open queues */
/* Pull all that is there, free it, and add it to `offsets` (messages only). Returns how many messages. */
unsigned probe_pull(struct probe *probe, int32_t partition, int64_t *offsets, unsigned count_max);
struct weir_kafka_offset probe_offset(const char *topic, int32_t partition, int64_t offset, const char *metadata);
/* Commit and run to the answer. */
const struct probe_event *probe_commit(struct probe *probe, int32_t partition, int64_t offset, const char *metadata,
                                       uint64_t tag);

#endif
