/*
 * Statistics: what a consumer has done and where it stands. Counters only grow; gauges are of this moment.
 *
 * Structs carry their size, so that fields may be added at the end without breaking programs built earlier.
 */
#ifndef WEIR_STATS_H
#define WEIR_STATS_H

#include <stddef.h>
#include <stdint.h>
#include <weir/export.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Why a partition is not pulling, as bits. 0: it pulls. */
enum weir_pause {
    WEIR_PAUSE_WINDOW = 1 << 0,  /* messages or bytes in flight are at their bound (partition's or global) */
    WEIR_PAUSE_HELD = 1 << 1,    /* held messages are at their bound */
    WEIR_PAUSE_USER = 1 << 2,    /* weir_consumer_pause() */
    WEIR_PAUSE_BREAKER = 1 << 3, /* the circuit breaker is open */
    WEIR_PAUSE_RATE = 1 << 4,    /* the window is full, and messages wait for a rate or a time */
    WEIR_PAUSE_REVOKE = 1 << 5,  /* a rebalance is under way, or the partition is not open yet */
    WEIR_PAUSE_MAP = 1 << 6, /* exactly-once: too much that has finished waits for a transaction with room in its map */
    WEIR_PAUSE_DLQ = 1 << 7, /* dead letters are refused, or their budget is spent, and too much waits for them */
    WEIR_PAUSE_MEMORY = 1 << 8,  /* an allocation failed; tried again each second */
    WEIR_PAUSE_ERROR = 1 << 9,   /* the broker refuses this partition (reset policy `error`, authorization, deleted) */
    WEIR_PAUSE_OUTPUT = 1 << 10, /* outputs are refused, and too much waits for them */
    WEIR_PAUSE_ESCALATED = 1 << 11, /* a handler stopped the partition, see weir_escalate() */
    WEIR_PAUSE_PRIORITY = 1 << 12,  /* enough of it waits to be run, and topics of a higher weir.priority go first */
};

/** What has been done so far, by a partition or by all. */
struct weir_counters {
    uint64_t consumed;             /* messages pulled and routed */
    uint64_t consumed_bytes;       /* their keys, values and headers */
    uint64_t acked;                /* finished by WEIR_ACK */
    uint64_t skipped;              /* finished by WEIR_SKIP */
    uint64_t dead_lettered;        /* finished by an acknowledged dead letter */
    uint64_t retries;              /* runs that ended in WEIR_RETRY */
    uint64_t overloaded;           /* runs that ended in WEIR_OVERLOADED */
    uint64_t handed_back;          /* pulled, not finished here: revoked or closed first */
    uint64_t restored;             /* dropped as finished before this epoch, by the map of the commit */
    uint64_t redelivered_dropped;  /* dropped as pulled before in this epoch */
    uint64_t stale_dropped;        /* results that came after their epoch had ended (stragglers) */
    uint64_t dlq_failures;         /* dead letters refused by the broker; each is tried again */
    uint64_t pauses;               /* times pulling stopped for window, held or dlq */
    uint64_t paused_ms;            /* time spent so */
    uint64_t lost_at_most_once;    /* at-most-once: committed, never run */
    uint64_t outputs_sent;         /* acknowledged by the broker */
    uint64_t output_failures;      /* outputs refused by the broker or by librdkafka */
    uint64_t outputs_dropped;      /* emitted by runs that failed, and never sent */
    uint64_t outputs_lost;         /* at-most-once: refused, and not sent again as they may be in the log */
    uint64_t filtered;             /* finished by a filter, without asking the handler */
    uint64_t expired;              /* of them, or of the dead: older than weir.filter.ttl.ms */
    uint64_t stale;                /* likewise: older than what its key has had */
    uint64_t delayed;              /* waits for a time or a rate, see weir.filter.not.before.header and weir.rate.* */
    uint64_t escalations;          /* runs that ended in WEIR_ESCALATE */
    uint64_t key_states_created;   /* states of keys, see key_state.h */
    uint64_t key_states_destroyed; /* of them, for whatever reason */
    uint64_t key_states_evicted;   /* of them, for weir.key.state.keys.max or bytes.max */
};

/** Where one partition stands. */
struct weir_partition_stats {
    size_t size;                   /* of this struct, as the library knows it */
    char topic[250];               /* Kafka allows 249 characters */
    int32_t partition;             /* of that topic */
    int assigned;                  /* 1 while this process owns it */
    uint64_t epoch;                /* number of the assignment, from 1 */
    uint32_t pause;                /* enum weir_pause bits */
    uint32_t priority;             /* of its topic, see weir.priority */
    int64_t next_offset;           /* one past what was last pulled */
    int64_t floor_offset;          /* lowest offset not finished */
    int64_t committed_offset;      /* last the broker acknowledged; -1 if none */
    int64_t lag_messages;          /* log end - floor; -1 if unknown */
    uint64_t in_flight;            /* pulled, not finished */
    uint64_t in_flight_bytes;      /* as charged against the window */
    uint64_t held;                 /* waiting on a timer, and queued behind those */
    uint64_t gap;                  /* finished offsets above the floor */
    uint64_t key_actors;           /* keys that have work */
    uint64_t running;              /* in a handler, or given out by WEIR_LATER */
    uint64_t dlq_pending;          /* dead letters not acknowledged yet */
    uint64_t oldest_ms;            /* age, since it was pulled, of the message at the floor; 0 if none */
    uint64_t key_states;           /* states of keys, of idle ones too */
    uint64_t key_state_bytes;      /* what they count for */
    struct weir_counters counters; /* since this process first owned it */
};

/** Where the circuit breaker stands. */
enum weir_breaker_now {
    WEIR_BREAKER_CLOSED = 0, /* all may run; also where there is none */
    WEIR_BREAKER_OPEN,       /* nothing starts */
    WEIR_BREAKER_PROBING,    /* one message runs, or is waited for that could */
};

/** Where the consumer stands: the sums over its partitions, unless it says otherwise. */
struct weir_stats {
    size_t size;                   /* of this struct, as the library knows it */
    uint64_t uptime_ms;            /* since the start */
    uint32_t partitions;           /* assigned now */
    uint32_t partitions_paused;    /* of them, not pulling */
    uint32_t pause;                /* all partitions' bits together */
    uint64_t in_flight;            /* pulled, not finished */
    uint64_t in_flight_bytes;      /* as charged against windows and memory */
    uint64_t held;                 /* waiting on a timer, and queued behind those */
    uint64_t key_actors;           /* keys that have work */
    uint64_t running;              /* in a handler, or given out by WEIR_LATER */
    uint64_t dlq_pending;          /* dead letters not acknowledged yet */
    uint64_t rebalances;           /* assignments and revocations that the group has made */
    uint64_t commits;              /* acknowledged */
    uint64_t commit_failures;      /* refused, or never answered */
    uint64_t stragglers;           /* runs that outlived their epoch's drain */
    uint64_t fetched_bytes;        /* received from the brokers; 0 until the first librdkafka statistics */
    uint64_t key_states;           /* states of keys, of idle ones too */
    uint64_t key_state_bytes;      /* what they count for */
    uint32_t breaker;              /* enum weir_breaker_now */
    uint64_t breaker_openings;     /* times that it opened */
    struct weir_counters counters; /* of all partitions that this process has owned */
};

#ifdef __cplusplus
}
#endif
#endif
