/*
 * A minimal caller of actors/kafka.h for the contract tests: it keeps the rules K2 and K3, copies every event, answers
 * rebalances unless told not to, and pulls all open queues, all on the test's own thread. Each driver is one member.
 */
#ifndef WEIR_TESTS_KAFKA_DRIVER_H
#define WEIR_TESTS_KAFKA_DRIVER_H

#include "actors/kafka.h"
#include <stdatomic.h>

enum { WEIR_DRIVER_PARTITIONS = 32, WEIR_DRIVER_METADATA = 3200 };

/* An event and what it lent. */
struct weir_driver_event {
    struct weir_driver_event *next;
    struct weir_kafka_event event; /* offsets, text: our copies */
    struct weir_kafka_offset offsets[WEIR_DRIVER_PARTITIONS];
    char topics[WEIR_DRIVER_PARTITIONS][96];
    char *metadata[WEIR_DRIVER_PARTITIONS];
    char text[256];
};

/* A pulled record, with copies of what may be freed. */
struct weir_driver_record {
    struct weir_driver_record *next;
    struct weir_record record;
    int32_t partition;
    char key[64], value[64]; /* cut */
};

struct weir_driver_partition {
    char topic[96];
    int32_t partition;
    struct weir_kafka_queue *queue;
    _Atomic unsigned wakes;
    bool shut; /* not pulled */
};

struct weir_driver {
    struct weir_kafka_listener listener; /* first */
    struct weir_kafka *kafka;
    _Atomic unsigned wakes;
    struct weir_driver_partition partitions[WEIR_DRIVER_PARTITIONS];
    struct weir_driver_event *events, **events_end;
    struct weir_driver_record *records, **records_end;
    unsigned record_count;
    bool keep_records;  /* natives stay until weir_driver_forget_records */
    bool by_hand;       /* rebalances are answered by the test */
    int64_t start;      /* given to assign for every partition; -1: to be sought */
    unsigned delivered; /* DELIVERED events seen */
    bool closed;        /* CLOSED seen */
};

/* settings: name, value, ..., NULL over bootstrap.servers, group.id, session.timeout.ms=3000. Started. */
struct weir_driver *weir_driver_create(const char *bootstrap, const char *group, const char *topics,
                                       const char *const *settings);
/* The same, before start. */
struct weir_driver *weir_driver_make(const char *bootstrap, const char *group, const char *topics,
                                     const char *const *settings);
void weir_driver_start(struct weir_driver *driver);

/* One round: poll, and pull what is open. */
void weir_driver_turn(struct weir_driver *driver);
/* Close, serve until CLOSED, free records, destroy. */
void weir_driver_destroy(struct weir_driver *driver);
void weir_driver_forget_records(struct weir_driver *driver);

void weir_driver_assign(struct weir_driver *driver, const struct weir_kafka_event *event);
void weir_driver_unassign(struct weir_driver *driver, const struct weir_kafka_event *event);
struct weir_driver_partition *weir_driver_partition(struct weir_driver *driver, const char *topic, int32_t partition);
unsigned weir_driver_owned(const struct weir_driver *driver); /* open queues */

/* Events seen: the first not yet taken of that kind; it is freed with the driver. NULL: none. */
struct weir_driver_event *weir_driver_take(struct weir_driver *driver, enum weir_kafka_event_kind kind);
/* Turn until there is one. */
struct weir_driver_event *weir_driver_await(struct weir_driver *driver, enum weir_kafka_event_kind kind);
struct weir_driver_event *weir_driver_await_tag(struct weir_driver *driver, enum weir_kafka_event_kind kind,
                                                uint64_t tag);

/* Turn until the condition holds; fail the test if it does not within a minute. */
#define WEIR_DRIVER_UNTIL(driver, condition)                                                        \
    do {                                                                                            \
        uint64_t deadline_ms_ = weir_driver_now_ms() + 60000;                                       \
        while (!(condition)) {                                                                      \
            cr_assert_lt(weir_driver_now_ms(), deadline_ms_, "waited too long for %s", #condition); \
            weir_driver_turn(driver);                                                               \
        }                                                                                           \
    } while (0)

uint64_t weir_driver_now_ms(void);

#endif
