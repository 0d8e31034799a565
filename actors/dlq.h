/*
 * Dead letters: what a message becomes that could not be handled.
 *
 * Key, value, timestamp and headers of the original come through unchanged. Ours are added; an older one of the same
 * name is replaced, never appended to, so that a message that dies again does not grow. Names follow KIP-1191
 * (`__dlq.errors.*`, text), with `weir.dlq.*` beside them; profiles write instead what other readers know (FACTS of
 * the formats: docs/dlq.md).
 */
#ifndef WEIR_ACTORS_DLQ_H
#define WEIR_ACTORS_DLQ_H

#include "actors/kafka.h"

enum weir_dlq_profile { WEIR_DLQ_KIP1191 = 0, WEIR_DLQ_SPRING, WEIR_DLQ_KARAFKA, WEIR_DLQ_CONNECT };
enum weir_dlq_oversized { WEIR_DLQ_OVERSIZED_HOLD = 0, WEIR_DLQ_OVERSIZED_STRIP };

/* Why it died: goes into weir.dlq.reason, statistics and logs. */
enum weir_dlq_cause {
    WEIR_DLQ_DEAD = 0,  /* the handler said so */
    WEIR_DLQ_ATTEMPTS,  /* retry.attempts.max spent */
    WEIR_DLQ_DEADLINE,  /* retry.deadline.ms spent */
    WEIR_DLQ_HELD,      /* held.messages.max reached, policy `dead` */
    WEIR_DLQ_ABANDONED, /* later.deadline.ms passed, policy `abandon` */
    WEIR_DLQ_CRASH,     /* its handler took the process down crash.attempts.max times */
    WEIR_DLQ_EXPIRED,   /* older than filter.ttl.ms */
    WEIR_DLQ_STALE      /* older than what its key has had, see filter.version */
};
const char *weir_dlq_cause_name(enum weir_dlq_cause cause);

struct weir_dlq_source {
    struct weir_kafka *kafka; /* for the original headers */
    void *native;             /* the original record; NULL: `headers` were copied out */
    const struct weir_kafka_header *headers;
    size_t header_count;
    const char *topic, *group, *application, *host;
    int32_t partition;
    int64_t offset, timestamp_ms;
    const void *key, *value;
    size_t key_size, value_size;
    uint32_t attempts;
    enum weir_dlq_cause cause;
    const char *reason; /* the handler's words, or NULL */
    int64_t first_failure_wall_ms, last_failure_wall_ms;
};

/* A composed dead letter; one block of memory. */
struct weir_dlq_letter {
    struct weir_kafka_produce produce;
    void *memory;
};

/**
 * Compose the dead letter of `source` for topic `template` ("{topic}" and "{group}" are replaced).
 *
 * stripped: leave out the value and the original headers (dlq.oversized=strip): headers of ours say so.
 * Ownership: lends key, value and original headers from `source`; weir_dlq_letter_deinit() frees the rest.
 * Errors:    WEIR_NO_MEMORY; WEIR_INVALID when the topic's name comes out longer than Kafka's 249 characters.
 */
int weir_dlq_compose(struct weir_dlq_letter *letter, const struct weir_dlq_source *source, const char *template_text,
                     enum weir_dlq_profile profile, bool stripped);
void weir_dlq_letter_deinit(struct weir_dlq_letter *letter);

/** Check a topic template: 0, or WEIR_INVALID with the reason. */
int weir_dlq_check_template(const char *template_text, struct weir_error *error);

#endif
