/*
 * Filters: what becomes of a message before its handler is asked. One a topic, constant but for its rate; NULL where
 * nothing is asked for, so that a consumer without filters pays a branch.
 *
 * Where. On the worker, as the first part of the run, not at the pull. The key's turn has come then, so order is kept
 * by itself, also for what is older than what its key has handled; reading headers is done by many threads and not by
 * the one that owns the partition; each attempt is judged anew; and what is filtered out costs no turn of its own,
 * since a run goes on with the next message after a skip.
 *
 * In this order, the cheap and final first:
 *   header      the last header of that name has (has not) that value        -> skipped
 *   predicate   the user's function                                          -> skipped
 *   time        the timestamp is older than filter.ttl.ms                    -> skipped, or dead (expired)
 *   not before  a header names a time to come                                -> the key waits until then
 *   version     older than what its key has started, by timestamp or header  -> skipped, or dead (stale)
 *   rate        of the consumer, of the topic, of the key                    -> the key waits for its place
 * Places in the consumer's rate are given ahead of time, and then nobody can come before. So a topic of a lower
 * priority is given one a little ahead only, beyond which it has what its share of the rate
 * (weir.priority.share.percent) allows: whoever comes at a higher priority finds the next places free but for those.
 *
 * What waits burns no attempt, is not held (held.messages.max), and stays in the window; only its key waits. A close
 * does not wait for it.
 *
 * What is remembered of a key, its version and its rate, lies in its data (key_data.h), with the bounds of that: a key
 * that was evicted, or whose partition was away, has no version and a full bucket.
 */
#ifndef WEIR_ACTORS_FILTER_H
#define WEIR_ACTORS_FILTER_H

#include "actors/config/config.h"
#include "actors/rate.h"
#include <weir/filter.h>
#include <weir/message.h>

struct weir_consumer;

/* Why a message was not given to its handler. */
enum weir_filtered { WEIR_FILTERED_NOT = 0, WEIR_FILTERED_OUT, WEIR_FILTERED_EXPIRED, WEIR_FILTERED_STALE };

/* Beyond those of the user: the key waits for `delay_ms`, then the message is judged again. */
#define WEIR_OUTCOME_DELAYED ((enum weir_outcome)(WEIR_ESCALATE + 1))

/* Of a consumer: what the user's function is. */
struct weir_predicate {
    weir_filter_function *function; /* NULL: none */
    void *user;
};

struct weir_filter {
    struct weir_consumer *consumer;
    char *header_name, *header_value; /* one block; NULL: any header will do */
    bool header_differs;              /* the value is to be another one */
    uint64_t ttl_ms;
    bool expired_dies, stale_dies;
    const char *not_before_header; /* NULL: none */
    int version;                   /* WEIR_VERSION_* */
    const char *version_header;
    struct weir_rate rate; /* of the topic */
    uint64_t key_interval_ns, burst_ns;
    unsigned level; /* of the topic's priority */
};

/** Of this topic; *filter is NULL where nothing is asked for. 0 or WEIR_NO_MEMORY. Control. */
int weir_filter_create(struct weir_consumer *consumer, const char *topic, struct weir_filter **filter);
void weir_filter_destroy(struct weir_filter *filter);
/** Does it remember something of keys? */
bool weir_filter_keeps(const struct weir_filter *filter);

/** Judge the message whose run begins. True: its handler is to be asked. Else *outcome is WEIR_SKIP, WEIR_DEAD or
 *  WEIR_OUTCOME_DELAYED, and message->filtered says why. Worker. */
bool weir_filter_passes(struct weir_filter *filter, struct weir_message *message, enum weir_outcome *outcome);

#endif
