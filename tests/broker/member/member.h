/*
 * A member of a consumer group in a process of its own, for tests that kill, stop or add processes.
 *
 * Test and member share a board: a page of memory on which the test says how the handler is to behave, also while it
 * runs, and on which the member says how it stands. What its handlers did is in the ledger, or, where there are too
 * many messages for that, in the marks. All three are inherited descriptors, so that nothing is left behind by whoever
 * dies.
 *
 * Usage: broker-member BOARD LEDGER MARKS NAME=VALUE...     descriptors, -1 for none; options of the consumer
 * SIGTERM closes the consumer in order. Its log goes to standard error.
 */
#ifndef WEIR_TESTS_MEMBER_H
#define WEIR_TESTS_MEMBER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <weir/error.h>
#include <weir/stats.h>

/* What takes the messages. */
enum weir_member_kind {
    WEIR_MEMBER_PLAIN = 0, /* a handler of single messages */
    WEIR_MEMBER_STATES,    /* the same, and each run asks for the state of its key */
    WEIR_MEMBER_BATCHES, /* a handler of batches: a run is that of a batch, and takes as long as its longest message */
};

/* How a downstream that is away shows. */
enum weir_member_down { WEIR_DOWN_NOT = 0, WEIR_DOWN_FAILS, WEIR_DOWN_OVERLOADED };

/* Runs of a busy message that fail, one after the other; and how long after a run that failed by the downstream the
 * next may start. */
enum { WEIR_MEMBER_BUSY_RUNS = 6, WEIR_MEMBER_DOWN_MS = 1500 };

struct weir_member_board {
    /* written by the test */
    _Atomic uint64_t kind;          /* enum weir_member_kind; before the start */
    _Atomic uint64_t sleep_us;      /* how long a run takes */
    _Atomic uint64_t fails_percent; /* share of messages that fail at first, see weir_member_fails */
    _Atomic int64_t hold_below;     /* messages below this offset are put off for a day */
    _Atomic uint64_t long_every;    /* one in so many messages takes long_ms; 0: none */
    _Atomic uint64_t long_ms;
    _Atomic uint64_t long_each;    /* the same by the message's number: just one of each so many in a row; 0: none */
    _Atomic uint64_t late_every;   /* one key in so many is slow: a message of it is finished by WEIR_LATER; 0: none */
    _Atomic uint64_t late_ms;      /* so long after its run has begun, */
    _Atomic uint64_t late_held;    /* and not before this is 0 */
    _Atomic uint64_t rest_held;    /* 1: the other keys are held the same way */
    _Atomic uint64_t dead_every;   /* one in so many dies at its first run; 0: none */
    _Atomic uint64_t poison_every; /* one in so many fails at every run; 0: none */
    _Atomic uint64_t busy_every;   /* one in so many fails WEIR_MEMBER_BUSY_RUNS times, with class "busy"; 0: none */
    _Atomic uint64_t crash_every;  /* one in so many ends the process by abort() at every run; 0: none */
    _Atomic uint64_t seed;         /* for which of them */
    _Atomic uint64_t down;         /* enum weir_member_down: while it is not 0 every run fails so */
    _Atomic uint64_t escalate;     /* 1 + enum weir_escalation: the next run says so, and sets this to 0 */
    _Atomic uint64_t resume;       /* 1: weir_consumer_resume() of all, which sets this to 0 */
    char outputs[128]; /* topic to which each run emits "PARTITION OFFSET PROCESS EPOCH ATTEMPT" under its key; "": none
                        */

    /* written by the member */
    _Atomic uint64_t started;    /* 1: asked to join */
    _Atomic uint64_t partitions; /* assigned */
    _Atomic uint64_t rebalances; /* that it has seen */
    _Atomic uint64_t commits;    /* acknowledged */
    _Atomic uint64_t finished;   /* runs that ended in an ack */
    _Atomic uint64_t in_flight;  /* pulled, not finished */
    _Atomic uint64_t pause;      /* enum weir_pause bits */
    _Atomic uint64_t fetched_bytes;
    _Atomic uint64_t breaker_openings;
    _Atomic uint64_t breaker;   /* enum weir_breaker_now */
    _Atomic uint64_t wrong;     /* states that changed under a run, and the like */
    _Atomic uint64_t told;      /* finished when the acknowledgement before the last but one was seen: told by now */
    _Atomic uint64_t closed_ms; /* monotonic */
    _Atomic uint64_t closed;    /* 1: what follows is filled in */
    int32_t code;
    struct weir_error error;
    struct weir_stats stats;
};

/* What became of one offset, over all processes. Counts stop at 255. */
struct weir_member_mark {
    _Atomic uint8_t runs, finishes;
};

/* Marks of a topic: partition after partition, `stride` offsets each. */
struct weir_member_marks {
    int64_t stride;
    int32_t partitions;
    _Atomic uint32_t strangers; /* messages beyond these bounds */
    struct weir_member_mark marks[];
};

/* Is this message one of `every`, chosen by its coordinates? `salt` tells one choice from another. */
static inline bool weir_member_is_one_in(uint64_t every, int32_t partition, int64_t offset, uint64_t salt)
{
    uint64_t mixed = ((uint64_t)offset * 1024 + (uint64_t)partition + 1) * 0x9e3779b97f4a7c15u + salt;
    mixed ^= mixed >> 31;
    mixed *= 0xbf58476d1ce4e5b9u;
    mixed ^= mixed >> 29;
    mixed *= 0x94d049bb133111ebu;
    return every > 0 && (mixed >> 20) % every == 0;
}

/* Is this key, by weir_ledger_key_hash(), one of those that are slow? */
static inline bool weir_member_is_late(uint64_t every, uint64_t key_hash)
{
    return every > 0 && (key_hash >> 7) % every == 0;
}

/* Is this message, by its number, the one of its `each` that was chosen? Those chosen one after the other have
 * different numbers below `each`, and so different keys where there are as many. */
static inline bool weir_member_is_one_of_each(uint64_t each, uint64_t number, uint64_t seed)
{
    return each > 0 && number % each == (seed + number / each * 37) % each;
}

/* Does this run fail? Of `percent` of the messages, chosen by their coordinates, the first run does, of a third of
 * these the second one too. */
static inline bool weir_member_fails(int32_t partition, int64_t offset, uint32_t attempt, uint64_t percent)
{
    uint64_t mixed = ((uint64_t)offset * 64 + (uint64_t)partition + 1) * 0x9e3779b97f4a7c15u;
    mixed ^= mixed >> 29;
    mixed *= 0xbf58476d1ce4e5b9u;
    mixed ^= mixed >> 32;
    uint32_t failures = mixed % 100 < percent ? (mixed / 100 % 3 == 0 ? 2 : 1) : 0;
    return attempt <= failures;
}

#endif
