/*
 * What most tests of the consumer on a real broker begin with: a topic, a group, a ledger, messages whose production is
 * in the ledger, and members of the group in other processes.
 *
 * Nothing here returns an error: what fails, fails the test. Thread: the test's own.
 */
#ifndef WEIR_TESTS_STAGE_H
#define WEIR_TESTS_STAGE_H

#include "tests/broker/broker_fixture.h"
#include "tests/broker/member/member.h"
#include "tests/support/ledger.h"
#include "tests/support/subject.h"
#include "tests/support/test.h"
#include <sys/types.h>

struct weir_stage {
    struct weir_broker_name topic, group;
    int partitions;
    struct weir_ledger *ledger; /* NULL: none */
    int ledger_descriptor;      /* for members; -1: none */
    uint64_t produced;
    size_t value_size; /* of messages to come, at least, and at most WEIR_STAGE_VALUE_SIZE_MAX */
};

enum { WEIR_STAGE_VALUE_SIZE_MAX = 4096 };

/** A new topic, a new group's name, and a ledger of so many records (0: none). Keeps the log, see subject.h. */
void weir_stage_set(struct weir_stage *stage, int partitions, size_t records_max);
/** The same, of a topic with a configuration, see weir_broker_topic_create. */
void weir_stage_set_on(struct weir_stage *stage, int partitions, size_t records_max, const char *const *config);
/** Delete the topic, free the rest. */
void weir_stage_clear(struct weir_stage *stage);

/** `count` more messages, numbered on: key "key-<number % keys>", value "<number>"; keys 0: null keys. To the ledger.
 */
void weir_stage_produce(struct weir_stage *stage, uint64_t count, unsigned keys);

/** The verdicts that hold whatever happens: nothing lost; order of each key. Prints and returns the duplicates. */
uint64_t weir_stage_check(const struct weir_stage *stage);
/** And none of them: no duplicates, no overlapping runs. */
void weir_stage_check_strictly(const struct weir_stage *stage);

/** Sum over all partitions: what the group has committed, and the log's ends. */
int64_t weir_stage_committed(const struct weir_stage *stage);
int64_t weir_stage_log_end(const struct weir_stage *stage);

/* Settings of a consumer on this stage, then those given, which win. */
#define WEIR_STAGE_SETTINGS(stage, ...)               \
    ((const char *const[]){"bootstrap.servers",       \
                           weir_broker_bootstrap(),   \
                           "group.id",                \
                           (stage)->group.text,       \
                           "weir.topics",             \
                           (stage)->topic.text,       \
                           "auto.offset.reset",       \
                           "earliest",                \
                           "session.timeout.ms",      \
                           "6000",                    \
                           "heartbeat.interval.ms",   \
                           "300",                     \
                           "weir.workers",            \
                           "4",                       \
                           "weir.commit.interval.ms", \
                           "200",                     \
                           "weir.stats.interval.ms",  \
                           "50",                      \
                           __VA_ARGS__,               \
                           NULL})

/* ---- members in other processes ---- */

struct weir_member {
    pid_t pid; /* 0: not running */
    struct weir_member_board *board;
    int board_descriptor, log_descriptor;
};

/** Marks for weir_member_start: kept in memory that outlives members. `descriptor` gets what members inherit. */
struct weir_member_marks *weir_member_marks_create(int32_t partitions, int64_t stride, int *descriptor);

/** Prepare; then set what the board's first part is to say. */
void weir_member_init(struct weir_member *member);
void weir_member_deinit(struct weir_member *member);
/** Run it. marks: descriptor or -1. It ends with this process at the latest. Its log is kept, or shown at once where
 *  WEIR_TEST_MEMBER_LOG is set. */
void weir_member_start(struct weir_member *member, const struct weir_stage *stage, int marks,
                       const char *const *settings);
void weir_member_signal(const struct weir_member *member, int signal_number);
/** Wait for its end, note that in the ledger, and return its wait status; -1 when it does not end. */
int weir_member_wait(struct weir_member *member, const struct weir_stage *stage);
/** The same, and fail the test unless it has ended with status 0. */
void weir_member_join(struct weir_member *member, const struct weir_stage *stage);
/** SIGKILL, and wait. */
void weir_member_kill(struct weir_member *member, const struct weir_stage *stage);
/** How many of the lines that it has logged contain these words. */
unsigned weir_member_log_count(const struct weir_member *member, const char *words);
void weir_member_show_log(const struct weir_member *member);

#endif
