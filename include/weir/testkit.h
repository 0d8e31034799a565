/*
 * The test kit: a handler under test, on virtual time and a Kafka in memory.
 *
 *     cc test.c $(pkg-config --cflags --libs weir-testkit)
 *
 *     #include <weir/testkit.h>
 *
 *     struct weir_testkit *kit = weir_testkit_create(NULL, on_order, NULL, 1, &error);
 *     const struct weir_testkit_message *order = weir_testkit_send_text(kit, NULL, "key", "value", &error);
 *     weir_testkit_run_until_over(kit, 60000, &error);               a minute at most, which takes a millisecond
 *     weir_testkit_message_state(order) == WEIR_TESTKIT_ACKED        and what else is to hold
 *     weir_testkit_destroy(kit);
 *
 * It is Weir itself that runs: consumer, actors, timers, dead letters, commits, rebalances. Only threads, clock and
 * brokers are simulated. The seed decides every choice, so the same seed and the same calls give the same run. The kit
 * asserts nothing: it answers, and whatever test framework is at hand asserts.
 *
 * libweir-testkit contains all of libweir: a test is linked with it instead of libweir, never with both.
 *
 * In all that follows
 *   Thread:    one, that of the test. Handlers run on it too, within the calls that run time; nothing is locked.
 *   Blocks:    never; what waits is virtual.
 *   Times:     milliseconds of virtual time since the kit was created. Handlers take none.
 *   Errors:    WEIR_INVALID with the argument, its value and what is allowed; WEIR_STATE for a call that must not come
 *              now, or not from inside a handler. `error` may be NULL. Where memory is short the process ends.
 *   Ownership: what the kit returns is lent until weir_testkit_destroy(), unless it says otherwise.
 *
 * What differs from production: weir_worker_loop() is NULL (nothing turns a libuv loop), handlers must not wait for
 * another thread, and handles are finished on the test's thread, by what weir_testkit_after() calls or between two
 * runs.
 */
#ifndef WEIR_TESTKIT_H
#define WEIR_TESTKIT_H

#include <stddef.h>
#include <stdint.h>
#include <weir/consumer.h>
#include <weir/weir.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weir_testkit;
struct weir_testkit_message; /* one that was sent, and what became of it */

/** As a partition: the key chooses. */
#define WEIR_TESTKIT_BY_KEY         (-1)
/** 30 days: the longest time that may be asked for at once. */
#define WEIR_TESTKIT_MS_MAX         INT64_C(2592000000)
/** Bytes of key and value together, and of the headers. */
#define WEIR_TESTKIT_BYTES_MAX      1000000
/** Partitions that a topic has unless weir_testkit_topic() says more. */
#define WEIR_TESTKIT_PARTITIONS     4
/** The most that it may have. */
#define WEIR_TESTKIT_PARTITIONS_MAX 256
/** Topics that the configuration may name. */
#define WEIR_TESTKIT_TOPICS_MAX     64

/* ---- life ---- */

/**
 * A Kafka in memory with the topics that the configuration names, and a consumer of them, started.
 *
 * config:  as in production; what it does not set is set for it: group.id "testkit", weir.topics "messages",
 *          weir.workers 2. NULL: all of that. Brokers are not asked for. auto.offset.reset is always earliest,
 *          weir.crash.journal always off, and only errors are logged where weir.log.level is its default.
 * seed:    decides in which order what may happen at once does happen, and all that is left to chance.
 *
 * Ownership: the caller's, weir_testkit_destroy(). `config` is copied; `handler` and `user` must outlive it.
 * Errors:    NULL with `error`: what weir_consumer_create() would refuse, and more than WEIR_TESTKIT_TOPICS_MAX topics.
 */
WEIR_EXPORT struct weir_testkit *weir_testkit_create(const struct weir_config *config, weir_handler *handler,
                                                     void *user, uint64_t seed, struct weir_error *error);
/** The same for a handler of batches. Each message of a batch has a run of its own in all that is asked below. */
WEIR_EXPORT struct weir_testkit *weir_testkit_create_batch(const struct weir_config *config,
                                                           weir_batch_handler *handler, void *user, uint64_t seed,
                                                           struct weir_error *error);

/**
 * The same, and `prepare` is called with each consumer before it starts, also after a crash or stop: for what
 * <weir/consumer.h> and others want before start, such as weir_consumer_key_state(). `user` is the handler's.
 *
 * Errors: also what `prepare` returned, which is not 0.
 */
typedef int weir_testkit_prepare(struct weir_consumer *consumer, void *user, struct weir_error *error);
WEIR_EXPORT struct weir_testkit *weir_testkit_create_prepared(const struct weir_config *config, weir_handler *handler,
                                                              void *user, weir_testkit_prepare *prepare, uint64_t seed,
                                                              struct weir_error *error);

/** Close the consumer as weir_testkit_stop() does, and free. Handles still out become stale; then what is still due of
 *  weir_testkit_after() is called, so that arguments can be freed. NULL is fine. Called by a handler or such a function
 *  it does nothing. */
WEIR_EXPORT void weir_testkit_destroy(struct weir_testkit *kit);

/** Make a topic, for a weir.topics with an expression; or give one that is there more partitions. Partitions: up to
 *  WEIR_TESTKIT_PARTITIONS_MAX, never fewer than there are. The consumer hears of them within a second. */
WEIR_EXPORT int weir_testkit_topic(struct weir_testkit *kit, const char *topic, int32_t partitions,
                                   struct weir_error *error);

/** The consumer that runs, for its statistics and to pause it, or NULL between a crash or stop and the next start.
 *  Close and destroy are the kit's. */
WEIR_EXPORT struct weir_consumer *weir_testkit_consumer(struct weir_testkit *kit);

/* ---- messages ---- */

/** A header of a record. */
struct weir_testkit_header {
    const char *name;  /* NUL-terminated */
    const void *value; /* NULL: null */
    size_t value_size; /* in bytes */
};

/** A record as it is sent, or as it lies in a topic. */
struct weir_testkit_record {
    const char *topic;    /* to send: NULL for the first of weir.topics */
    int32_t partition;    /* to send: WEIR_TESTKIT_BY_KEY lets the key choose; 0 where nothing is said */
    int64_t offset;       /* to send: not looked at */
    int64_t timestamp_ms; /* since the Unix epoch; to send: 0 for now */
    const void *key;      /* NULL: null */
    const void *value;    /* NULL: null, a tombstone */
    size_t key_size;      /* in bytes */
    size_t value_size;    /* in bytes */
    const struct weir_testkit_header *headers; /* in their order */
    size_t header_count;                       /* 0: none */
};

/**
 * Append a message to a topic, now. Everything is copied.
 *
 * Errors: NULL with `error`: WEIR_INVALID for an unknown topic or partition, a size without bytes, a header without
 *         name, a negative timestamp, more than WEIR_TESTKIT_BYTES_MAX.
 */
WEIR_EXPORT const struct weir_testkit_message *
weir_testkit_send(struct weir_testkit *kit, const struct weir_testkit_record *record, struct weir_error *error);

/** The same for texts: `topic` as above, the partition by key, `key` and `value` NUL-terminated or NULL for null. */
WEIR_EXPORT const struct weir_testkit_message *weir_testkit_send_text(struct weir_testkit *kit, const char *topic,
                                                                      const char *key, const char *value,
                                                                      struct weir_error *error);

/** The message with these coordinates, or NULL if none was sent there. */
WEIR_EXPORT const struct weir_testkit_message *weir_testkit_message(const struct weir_testkit *kit, const char *topic,
                                                                    int32_t partition, int64_t offset);

/** Where a message stands. */
enum weir_testkit_state {
    WEIR_TESTKIT_WAITING = 0, /* for a run, or for its dead letter or outputs to be written */
    WEIR_TESTKIT_RUNNING,     /* in the handler, or given out by WEIR_LATER and not finished */
    WEIR_TESTKIT_ACKED,       /* over, by WEIR_ACK */
    WEIR_TESTKIT_SKIPPED,     /* over, by WEIR_SKIP */
    WEIR_TESTKIT_DEAD,        /* over: its dead letter is in its topic */
};

/** "waiting", "running", "acked", "skipped", "dead"; "unknown" for others. Static. */
WEIR_EXPORT const char *weir_testkit_state_name(int state);

/** What has become of a message. A message that has run more than once is over with the first ack, skip or letter. What
 *  its run has emitted belongs to an ack or skip: it counts when all of that is written. */
WEIR_EXPORT enum weir_testkit_state weir_testkit_message_state(const struct weir_testkit_message *message);
WEIR_EXPORT const char *weir_testkit_message_topic(const struct weir_testkit_message *message);
WEIR_EXPORT int32_t weir_testkit_message_partition(const struct weir_testkit_message *message);
WEIR_EXPORT int64_t weir_testkit_message_offset(const struct weir_testkit_message *message);

/** One run of the handler. */
struct weir_testkit_run {
    enum weir_outcome outcome; /* as Weir takes it: after WEIR_LATER that of the finish, and until then WEIR_LATER */
    uint32_t attempt;          /* as the handler saw it */
    int64_t begin_ms;          /* of the handler */
    int64_t end_ms;            /* of the handler, or of the finish; -1: not yet */
    unsigned consumers;        /* started before: 0 for the first, 1 after one restart */
};

/** How often the handler has run on it, and run number `index`, from 0; 0 where there is none. */
WEIR_EXPORT size_t weir_testkit_message_runs(const struct weir_testkit_message *message);
WEIR_EXPORT int weir_testkit_message_run(const struct weir_testkit_message *message, size_t index,
                                         struct weir_testkit_run *run);

/* ---- what the consumer has written ---- */

/** Why a message was dead-lettered: the cause as in docs/dlq.md ("dead", "attempts", "deadline", ...), and the words
 *  of the handler or the sentence that stands for them. NULL for one that was not. */
WEIR_EXPORT const char *weir_testkit_message_cause(const struct weir_testkit_message *message);
WEIR_EXPORT const char *weir_testkit_message_reason(const struct weir_testkit_message *message);

/** Its dead letter, the first where there are several: 1, or 0 where there is none. `record` is lent what it points to.
 */
WEIR_EXPORT int weir_testkit_message_letter(const struct weir_testkit_message *message,
                                            struct weir_testkit_record *record);

/** Number of dead letters written, and number `index` of them in the order of writing; 0 where there is none. At least
 *  once: after produce errors and crashes there may be more than messages. */
WEIR_EXPORT size_t weir_testkit_letters(const struct weir_testkit *kit);
WEIR_EXPORT int weir_testkit_letter(const struct weir_testkit *kit, size_t index, struct weir_testkit_record *record);

/**
 * Outputs of handlers (weir_emit()): how many have been written to `topic`, or with NULL to all, and number `index` of
 * them in the order of writing; 0 where there is none.
 *
 * At least once: after produce errors and crashes one may be there more than once, as others see it too.
 * With weir.delivery=exactly-once only those of committed transactions are there, each once.
 */
WEIR_EXPORT size_t weir_testkit_outputs(const struct weir_testkit *kit, const char *topic);
WEIR_EXPORT int weir_testkit_output(const struct weir_testkit *kit, const char *topic, size_t index,
                                    struct weir_testkit_record *record);

/** The same of the outputs of one message, whatever topics and runs. One that was reported as failed before it was
 *  written, as after a crash, is not among them. */
WEIR_EXPORT size_t weir_testkit_message_outputs(const struct weir_testkit_message *message);
WEIR_EXPORT int weir_testkit_message_output(const struct weir_testkit_message *message, size_t index,
                                            struct weir_testkit_record *record);

/** Read any topic: the record at `offset`, 1, or 0 where there is none. */
WEIR_EXPORT int weir_testkit_read(const struct weir_testkit *kit, const char *topic, int32_t partition, int64_t offset,
                                  struct weir_testkit_record *record);

/** The last header of that name in a record, or NULL; as weir_message_header(). */
WEIR_EXPORT const void *weir_testkit_header(const struct weir_testkit_record *record, const char *name, size_t *size);

/** The offset that the group has committed for a partition; -1: none, or no such partition. */
WEIR_EXPORT int64_t weir_testkit_committed(const struct weir_testkit *kit, const char *topic, int32_t partition);

/* ---- time ---- */

/** The time that has passed so far. */
WEIR_EXPORT int64_t weir_testkit_now_ms(const struct weir_testkit *kit);

/** Let `duration_ms` pass, 0 .. WEIR_TESTKIT_MS_MAX. Not from inside a handler. Cost: an hour in which nothing happens
 *  takes about 20 ms. */
WEIR_EXPORT int weir_testkit_run_ms(struct weir_testkit *kit, int64_t duration_ms, struct weir_error *error);

/**
 * Let time pass until every message sent is over (acked, skipped, dead-lettered), `duration_ms_max` at most.
 *
 * The commit comes later: weir.commit.interval.ms, or weir_testkit_stop().
 *
 * Errors: WEIR_UNFINISHED with how many are not over, and what the first of them waits for.
 */
WEIR_EXPORT int weir_testkit_run_until_over(struct weir_testkit *kit, int64_t duration_ms_max,
                                            struct weir_error *error);

/** Call `function(argument)` once, in `delay_ms`, 0 .. WEIR_TESTKIT_MS_MAX, between two steps of the consumer: to
 * finish what a handler gave out by WEIR_LATER, as the answer of a downstream would. Also from inside a handler. At the
 * latest weir_testkit_destroy() calls it, and what it asks of the kit is then refused. */
typedef void weir_testkit_function(void *argument);
WEIR_EXPORT int weir_testkit_after(struct weir_testkit *kit, int64_t delay_ms, weir_testkit_function *function,
                                   void *argument, struct weir_error *error);

/* ---- faults ---- */

/** What can strike by chance. */
enum weir_testkit_fault {
    WEIR_TESTKIT_SLOW_BROKER = 0,   /* an answer takes up to half a second longer */
    WEIR_TESTKIT_COMMITS_REFUSED,   /* a commit fails and is to be tried again */
    WEIR_TESTKIT_COMMITS_UNSURE,    /* the same, but it was stored */
    WEIR_TESTKIT_REDELIVERY,        /* the broker hands over again what it handed over before */
    WEIR_TESTKIT_PRODUCE_ERRORS,    /* a dead letter or output is refused and is to be tried again */
    WEIR_TESTKIT_PRODUCE_UNSURE,    /* the same, but it was written */
    WEIR_TESTKIT_PRODUCE_DENIED,    /* one is refused for want of authorization */
    WEIR_TESTKIT_PRODUCE_TOO_LARGE, /* or as too large */
    WEIR_TESTKIT_FAULTS             /* how many there are */
};

/** "slow-broker", ...; NULL for what is no fault. Static. */
WEIR_EXPORT const char *weir_testkit_fault_name(int fault);

/** From now on `fault` strikes in `per_mille` of the cases, 0 (never, the beginning) to 1000 (always). */
WEIR_EXPORT int weir_testkit_set_fault(struct weir_testkit *kit, enum weir_testkit_fault fault, int per_mille,
                                       struct weir_error *error);

/** No broker answers for so long from now. */
WEIR_EXPORT int weir_testkit_broker_down(struct weir_testkit *kit, int64_t duration_ms, struct weir_error *error);

/** Another member joins the group, is given its share of the partitions, does nothing with them, and leaves after
 *  `duration_ms`: two rebalances. A topic of one partition may stay where it is, or go to the other. */
WEIR_EXPORT int weir_testkit_rebalance(struct weir_testkit *kit, int64_t duration_ms, struct weir_error *error);

/** The coordinator takes the consumer for dead: its partitions are lost without a word, what it still does is done in
 *  vain, and it joins again. WEIR_STATE if none runs. */
WEIR_EXPORT int weir_testkit_fence(struct weir_testkit *kit, struct weir_error *error);

/** The consumer dies as by kill -9: handles still out become stale, nothing is committed. WEIR_STATE if none runs.
 *  Not from inside a handler. Cost: its memory stays until the process ends, as nothing can free it. */
WEIR_EXPORT int weir_testkit_crash(struct weir_testkit *kit, struct weir_error *error);

/** Close it as weir_consumer_close() does, and let time pass until that is done. WEIR_UNFINISHED if messages remained,
 *  WEIR_STATE if none runs. Not from inside a handler or a function of weir_testkit_after(). */
WEIR_EXPORT int weir_testkit_stop(struct weir_testkit *kit, struct weir_error *error);

/** Start it again. After a crash the partitions come when the session of the dead one has run out (session.timeout.ms,
 *  10 s where it is not set). WEIR_STATE if one runs. Not from inside a handler. */
WEIR_EXPORT int weir_testkit_start(struct weir_testkit *kit, struct weir_error *error);

/**
 * Everything at once: for `duration_ms` from now faults strike now and then, and `events` times, at moments that the
 * seed chooses, something happens: a crash and a restart, a rebalance, a fence, no broker for a while. Restarts belong
 * to it, and at the end of it all faults are set to 0.
 *
 * events: 0 .. 1000.
 */
WEIR_EXPORT int weir_testkit_shake(struct weir_testkit *kit, int64_t duration_ms, int events, struct weir_error *error);

/* ---- verdicts and seeds ---- */

/**
 * Has Weir kept its promises so far? Checked at each run: it is of a message that was sent, with its key, in a
 * partition that the consumer holds; no other of its key is under way; those before it in its key are over; what
 * finished does not run again in the same assignment. Checked at each step: nothing is committed past a message that is
 * not over. Checked by this call: what is not over would come again after a restart. With weir.delivery=at-most-once
 * the last two do not hold and are not asked.
 *
 * Errors: WEIR_STATE with what did not hold. Else 0, and `error` gets a sentence with the counts.
 */
WEIR_EXPORT int weir_testkit_verdict(struct weir_testkit *kit, struct weir_error *error);

/** The end of a trial: faults off, start what does not run, run until over within `duration_ms_max`, stop, verdict. 0
 *  with the verdict's sentence, or what failed. Messages that are over and came again may be unfinished at the stop. */
WEIR_EXPORT int weir_testkit_finish(struct weir_testkit *kit, int64_t duration_ms_max, struct weir_error *error);

/** A number from 0 to `bound` - 1, by the seed; 0 for 0. For tests that leave something to chance. */
WEIR_EXPORT uint64_t weir_testkit_random(struct weir_testkit *kit, uint64_t bound);

/** One trial: create a kit with this seed, send, shake, finish, look, destroy. Returns 0, or another value with the
 *  reason in `error`, which is never NULL and empty at first. */
typedef int weir_testkit_trial(uint64_t seed, void *user, struct weir_error *error);

/**
 * Run a trial with the seeds 1 to `count`, and stop at the first that fails.
 *
 * With WEIR_TESTKIT_SEED=N in the environment only seed N is run, and what happens is told on standard error, line by
 * line with its virtual time. (WEIR_TESTKIT_TRACE=1 does that for every kit.)
 *
 * Returns: 0, or what the trial returned; `error` then has the seed, the trial's reason, and how to see it again, which
 *          are also printed on standard error.
 */
WEIR_EXPORT int weir_testkit_seeds(unsigned count, weir_testkit_trial *trial, void *user, struct weir_error *error);

#ifdef __cplusplus
}
#endif
#endif
