/*
 * A ledger: what the handlers of several threads and processes did, in a file that outlives a SIGKILL.
 *
 * The file is preallocated and mapped shared; a write is an atomic index, a copy and a seal, so what was written before
 * a process died is in the page cache and is read by whoever opens the file next. Records of different processes may go
 * into one ledger; their order is the order of the indexes. A record's time is read before its index is taken: so what
 * comes about by an END, a commit for instance, is later than the times of all records that stand before it.
 *
 * Writers
 *   EMIT    a message was produced and the broker has acknowledged it: topic, partition, offset, key
 *   START   a run of the handler begins: written before it does anything
 *   END     that run is over, with its outcome: written before the outcome is given to Weir (before the handler
 *           returns, or before weir_later_finish), for the key's next message may start at once
 *   LETTER  a dead letter was read back, with the coordinates of its original
 *   GONE    a process has ended (written by the one who waited for it): its open runs are over
 *   EVENT   something was done to a process or a broker, or a process has noticed that it lost partitions
 *   STATE_* the state of a key was made, given to a run, ended
 *   OUTPUT  what a message has emitted was read back, with the coordinates and the key of that message, and the
 * process, the epoch and the attempt of the run; its time is that of the broker's append
 *
 * Verdicts hold for as many messages as they have checked, and fail when they have checked nothing, when a record did
 * not fit, or when a violation was found; `text` then says the first.
 *
 * Thread: writers any; verdicts any, they see what was sealed before. Allocates by malloc, not by runtime/memory.h, so
 * that a test may let Weir's own allocations fail.
 * Bound:  records_max; a record beyond it is dropped and counted, and no verdict passes any more.
 */
#ifndef WEIR_TESTS_LEDGER_H
#define WEIR_TESTS_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <weir/message.h>

enum weir_ledger_kind {
    WEIR_LEDGER_EMIT = 1,
    WEIR_LEDGER_START,
    WEIR_LEDGER_END,
    WEIR_LEDGER_LETTER,
    WEIR_LEDGER_GONE,
    WEIR_LEDGER_EVENT,
    WEIR_LEDGER_STATE_MADE,
    WEIR_LEDGER_STATE_SEEN,
    WEIR_LEDGER_STATE_ENDED,
    WEIR_LEDGER_OUTPUT,
};

/* EVENT: what. Those of a process name it; those of brokers have process 0. */
enum weir_ledger_event {
    WEIR_EVENT_KILL = 1, /* about to be sent SIGKILL */
    WEIR_EVENT_STOP,     /* about to be sent SIGSTOP */
    WEIR_EVENT_CONTINUE, /* about to be sent SIGCONT */
    WEIR_EVENT_LEAVE,    /* about to be sent SIGTERM */
    WEIR_EVENT_LOST,     /* it was told that its partitions were taken away */
    WEIR_EVENT_REVOKE,   /* it was asked to give partitions back */
    WEIR_EVENT_BROKER,   /* a broker was killed, stopped or continued */
    WEIR_EVENT_OTHER,    /* another disturbance: an offset moved, a topic made anew */
    WEIR_EVENT_CRASH,    /* it has ended by a fault of its own */
    WEIR_EVENT_WATCH,    /* from here on progress is expected while there is work */
    WEIR_EVENT_UNWATCH,  /* from here on it is not */
};

struct weir_ledger_record {
    uint64_t topic_hash; /* weir_ledger_hash of the name */
    uint64_t key_hash;   /* weir_ledger_hash of the key's bytes; see weir_ledger_key_hash for null keys */
    int64_t offset;
    uint64_t note;         /* the test's own: a sequence number, a checksum; weir_subject's runs: the epoch */
    uint64_t monotonic_ns; /* filled in by the write but for OUTPUT; one clock for all processes */
    uint32_t process;      /* filled in by the write: pid; GONE, EVENT, OUTPUT: that of the process it is about */
    int32_t partition;
    uint32_t attempt;       /* START, END, OUTPUT; STATE_SEEN: runs that had seen it before; else see `number` */
    uint16_t kind, outcome; /* enum weir_ledger_kind; END: enum weir_outcome; EVENT: enum weir_ledger_event */
    uint32_t number;        /* EMIT: the test's own. START, END: of the batch in its process, 0: none. STATE_*: of the
                               state in its process; MADE and ENDED have the number of the thread in `attempt`, from 1, 0:
                               none that runs handlers */
    uint32_t sealed;        /* filled in by the write, last */
};

struct weir_ledger;

/** Make the file (an old one is replaced). NULL with errno. Ownership: the caller's, weir_ledger_close(). */
struct weir_ledger *weir_ledger_create(const char *path, size_t records_max);
/** Map a file that create made, for writing and reading. NULL with errno; EINVAL for a file that is none. */
struct weir_ledger *weir_ledger_open(const char *path);
void weir_ledger_close(struct weir_ledger *ledger); /* the file stays; NULL is fine */

uint64_t weir_ledger_hash(const void *bytes, size_t size);
uint64_t weir_ledger_key_hash(const void *key, size_t size); /* tells NULL from empty */

/** Write one record. `record` without the fields that the write fills in. False when it did not fit. */
bool weir_ledger_write(struct weir_ledger *ledger, const struct weir_ledger_record *record);
bool weir_ledger_emit(struct weir_ledger *ledger, const char *topic, int32_t partition, int64_t offset, const void *key,
                      size_t key_size, uint64_t note);
bool weir_ledger_letter(struct weir_ledger *ledger, const char *topic, int32_t partition, int64_t offset);
bool weir_ledger_gone(struct weir_ledger *ledger, uint32_t process);
bool weir_ledger_event(struct weir_ledger *ledger, enum weir_ledger_event what, uint32_t process);

/* START and END of a run, taken from the message. Inline, so that suites that link no consumer can use the rest. */
static inline struct weir_ledger_record weir_ledger_of(enum weir_ledger_kind kind, const struct weir_message *message)
{
    const char *topic = weir_message_topic(message);
    return (struct weir_ledger_record){
        .topic_hash = weir_ledger_hash(topic, strlen(topic)),
        .key_hash = weir_ledger_key_hash(weir_message_key(message), weir_message_key_size(message)),
        .offset = weir_message_offset(message),
        .partition = weir_message_partition(message),
        .attempt = weir_message_attempt(message),
        .kind = (uint16_t)kind,
    };
}

static inline bool weir_ledger_start(struct weir_ledger *ledger, const struct weir_message *message, uint64_t note)
{
    struct weir_ledger_record record = weir_ledger_of(WEIR_LEDGER_START, message);
    record.note = note;
    return weir_ledger_write(ledger, &record);
}

static inline bool weir_ledger_end(struct weir_ledger *ledger, const struct weir_message *message,
                                   enum weir_outcome outcome)
{
    struct weir_ledger_record record = weir_ledger_of(WEIR_LEDGER_END, message);
    record.outcome = (uint16_t)outcome;
    return weir_ledger_write(ledger, &record);
}

size_t weir_ledger_count(const struct weir_ledger *ledger); /* places taken so far, at most records_max */
uint64_t weir_ledger_overflow(const struct weir_ledger *ledger);
/** The record at a place; NULL while, or for ever if its writer was killed between, it is not sealed. Lent. */
const struct weir_ledger_record *weir_ledger_at(const struct weir_ledger *ledger, size_t index);
/** How many sealed records of this kind there are: for waiting until enough has happened. */
uint64_t weir_ledger_count_kind(const struct weir_ledger *ledger, enum weir_ledger_kind kind);
/** Messages that are finished: END with ack or skip, or LETTER; each counted once. UINT64_MAX where memory is short. */
uint64_t weir_ledger_count_finished(const struct weir_ledger *ledger);

/* ---- verdicts ---- */

struct weir_ledger_verdict {
    bool ok;
    uint64_t checked;    /* messages, or runs, that the verdict is about */
    uint64_t violations; /* for weir_ledger_duplicates: duplicates, which are no violations */
    char text[256];      /* a sentence, with the first violation */
};

/** A produced message, for tests that keep their own list. */
struct weir_ledger_message {
    uint64_t topic_hash;
    int32_t partition;
    int64_t offset;
};

/**
 * No loss: every produced message is finished (END with ack or skip, or LETTER), and no run is of a message that was
 * not produced. `produced` NULL: what EMIT records say.
 */
struct weir_ledger_verdict weir_ledger_no_loss(const struct weir_ledger *ledger,
                                               const struct weir_ledger_message *produced, size_t count);

/**
 * Order of every (topic, partition, key): first starts ascend in offset, and none comes before every lower message of
 * the key that ever started is over: END with ack, skip or dead, or, if it has a LETTER, any END.
 */
struct weir_ledger_verdict weir_ledger_key_order(const struct weir_ledger *ledger);

/** No two runs of a (topic, partition, key) at the same time, in whatever processes. Runs of a process end with it. */
struct weir_ledger_verdict weir_ledger_no_overlap(const struct weir_ledger *ledger);

/**
 * How often a message was finished once more than needed, which at-least-once allows; `ok` when something was checked
 * and there are at most `duplicates_max`.
 */
struct weir_ledger_verdict weir_ledger_duplicates(const struct weir_ledger *ledger, uint64_t duplicates_max);

#endif
