/*
 * What becomes of a run: a message is finished, waits for another run, or dies.
 *
 *   acked, skipped     its outputs are sent (output.h), and the key waits for the broker's reports: refused ones are
 *                      sent again after output.retry.ms, but where one never can be, the run has failed. Without
 *                      outputs, and when all are in the log, the offset leaves the tracker, the content is freed, the
 *                      key goes on
 *   retry, overloaded  the key waits on its timer; only this key. Its first message is copied out of the fetch response
 *   dead               the dead letter is composed and sent; the key waits for the broker's report. Refused: sent again
 *                      after dlq.retry.ms. No budget: likewise. Nothing is skipped, and no attempt counts meanwhile
 *   later              the key waits for the answer
 *
 * Keys that wait or die, or whose outputs were refused, are held: all their messages count, up to held.messages.max. At
 * that bound the policy `dead` gives up the waiting message with most attempts while the budget lasts; `wait` leaves it
 * to the window's pause.
 *
 * Where a batch has run, outcomes are acted on in the order of the key (weir_partition_settle): see key.h.
 *
 * Results of an older epoch are counted and dropped here; they change nothing of the present one.
 */
#include "actors/batch.h"
#include "actors/consumer.h"
#include "actors/dlq.h"
#include "actors/output.h"
#include "actors/partition.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include <stddef.h>

#define MS_NS             1000000ull
#define COPY_OUT_MS       1000 /* a shorter wait is not worth the copy */
#define DLQ_QUEUE_FULL_MS 50   /* the producer's queue drains in this order of time */
#define LATER_WARN_LIMIT  8    /* messages named in one sweep */

static uint64_t now(const struct weir_partition *partition)
{
    return weir_worker_now_ns(partition->resident.home);
}

static struct weir_key_list *list_of(struct weir_partition *partition, const struct weir_key *key)
{
    switch (key->state) {
    case WEIR_KEY_PARKED:
        return &partition->parked;
    case WEIR_KEY_LATER:
        return &partition->later;
    case WEIR_KEY_DELAYED:
        return &partition->delayed;
    case WEIR_KEY_DYING:
        return &partition->dying;
    case WEIR_KEY_SENDING:
        return &partition->sending;
    case WEIR_KEY_WAITING: {
        uint32_t attempts = key->first->attempts;
        return &partition->waiting[attempts < WEIR_ATTEMPT_BUCKETS ? attempts : WEIR_ATTEMPT_BUCKETS - 1];
    }
    default:
        return NULL;
    }
}

/* Move a READY key into a state with a list. */
static void enter_list(struct weir_partition *partition, struct weir_key *key, enum weir_key_state state)
{
    weir_key_move(key, state);
    weir_key_list_append(list_of(partition, key), key);
}

void weir_partition_leave_list(struct weir_partition *partition, struct weir_key *key)
{
    if (key->state != WEIR_KEY_GATHERING) {
        weir_key_list_remove(list_of(partition, key), key);
        return;
    }
    if (key->first->passes == WEIR_PASSES_AS_PROBE)
        weir_partition_answer_probe(partition, key->first, WEIR_PROBE_VOID);
    weir_batch_leave(key);
}

void weir_partition_hold(struct weir_partition *partition, struct weir_key *key)
{
    if (key->held)
        return;
    key->held = true;
    partition->held += key->count;
    if (weir_key_is_writing(key))
        partition->held_writing += key->count;
}

void weir_partition_unhold(struct weir_partition *partition, struct weir_key *key)
{
    if (!key->held)
        return;
    key->held = false;
    WEIR_CHECK(partition->held >= key->count);
    partition->held -= key->count;
    if (weir_key_is_writing(key))
        partition->held_writing -= key->count;
}

static void arm(struct weir_partition *partition, struct weir_key *key, uint64_t delay_ms)
{
    weir_timers_cancel(weir_worker_timers(partition->resident.home), &key->timer);
    weir_timers_arm(weir_worker_timers(partition->resident.home), &key->timer, now(partition) + delay_ms * MS_NS);
}

/* A DYING, WAITING or SENDING key goes on: no longer held, no timer, in no list. */
static void ready(struct weir_partition *partition, struct weir_key *key)
{
    weir_timers_cancel(weir_worker_timers(partition->resident.home), &key->timer);
    weir_partition_leave_list(partition, key);
    weir_partition_unhold(partition, key);
    weir_key_move(key, WEIR_KEY_READY);
}

/* ---- finished ---- */

/* A message that is in no key any more. One that was abandoned is its holder's to read until the late answer has come,
 * which frees it. */
static void free_or_leave(struct weir_partition *partition, struct weir_message *message)
{
    if (weir_message_has_holder(message)) {
        message->orphan = true;
        partition->orphans++;
    } else {
        weir_partition_free_message(partition, message);
    }
}

static void finish(struct weir_partition *partition, struct weir_message *message)
{
    weir_tracker_finish(&partition->tracker, message);
    partition->finished++;
    partition->changed = true;
}

/* A message that is in no key any more has its terminal outcome. */
static void finish_message(struct weir_partition *partition, struct weir_message *message)
{
    if (message->crashes > 0)
        weir_partition_suspect_is_finished(partition, message);
    finish(partition, message);
    free_or_leave(partition, message);
}

/* The message behind `before`, the first where that is NULL, has its terminal outcome. */
static void finish_after(struct weir_partition *partition, struct weir_key *key, struct weir_message *before)
{
    finish_message(partition, before ? weir_key_take_after(key, before) : weir_key_shift(key));
}

static bool is_stale(const struct weir_partition *partition, const struct weir_message *message)
{
    return partition->state == WEIR_PARTITION_ENDED || message->epoch != partition->epoch;
}

/* What a run emitted that has failed. */
static void drop_outputs(struct weir_partition *partition, struct weir_message *message)
{
    if (!message->outputs)
        return;
    weir_partition_count(partition, outputs_dropped, message->outputs->count);
    weir_outputs_drop(message);
}

/* ---- dead letters ---- */

static void warn(struct weir_partition *partition, const char *what, int64_t offset, const char *why)
{
    if (!weir_partition_log_is_due(partition))
        return;
    char number[16];
    struct weir_log_field fields[2];
    weir_log(WEIR_LOG_WARN, weir_partition_fields(partition, number, fields), 2, "%s, offset %lld: %s", what,
             (long long)offset, why);
}

static void describe(const struct weir_partition *partition, const struct weir_message *message,
                     struct weir_dlq_source *source)
{
    const struct weir_consumer *consumer = partition->consumer;
    const struct weir_message_copy *copy = weir_message_copied(message);
    *source = (struct weir_dlq_source){
        .kafka = consumer->kafka,
        .native = weir_message_record(message),
        .headers = copy ? copy->headers : NULL,
        .header_count = copy ? copy->header_count : 0,
        .topic = partition->topic->name,
        .group = consumer->group,
        .application = consumer->options->application,
        .host = consumer->host,
        .partition = partition->number,
        .offset = message->offset,
        .timestamp_ms = message->timestamp_ms,
        .key = message->key,
        .key_size = message->key_size,
        .value = message->value,
        .value_size = message->value_size,
        .attempts = weir_message_burnt(message) + message->crashes,
        .cause = (enum weir_dlq_cause)message->cause,
        .reason = message->failure->reason,
        .first_failure_wall_ms = message->failure->first_wall_ms,
        .last_failure_wall_ms = message->failure->last_wall_ms,
    };
}

void weir_partition_refund(struct weir_partition *partition, struct weir_message *message)
{
    if (!message->dlq_paid || message->dlq_in_flight)
        return; /* its report says whether it is sent */
    weir_budget_give_back(&partition->topic->budget);
    message->dlq_paid = false;
}

static void bury(struct weir_partition *partition, struct weir_key *key);
static void send_outputs(struct weir_partition *partition, struct weir_key *key);
static void go_on(struct weir_partition *partition, struct weir_key *key);

static void refused(struct weir_partition *partition, struct weir_key *key, enum weir_kafka_error error)
{
    struct weir_message *message = key->first;
    weir_partition_count(partition, dlq_failures, 1);
    if (error == WEIR_KAFKA_TOO_LARGE && !message->stripped &&
        partition->consumer->options->dlq_oversized == WEIR_DLQ_OVERSIZED_STRIP) {
        message->stripped = true;
        bury(partition, key);
        return;
    }
    warn(partition, "dead letter refused, its key is held", message->offset, weir_kafka_error_name(error));
    arm(partition, key, partition->consumer->options->dlq_retry_ms);
}

/* Exactly once it goes out with the transaction. */
static void enroll_letter(struct weir_partition *partition, struct weir_key *key, struct weir_dlq_letter *letter,
                          int result)
{
    if (result == 0) {
        result = weir_outputs_set_letter(key->first, &letter->produce);
        weir_dlq_letter_deinit(letter);
    }
    if (result == 0)
        weir_partition_enroll(partition, key->first, WEIR_DEAD);
    else if (result == WEIR_NO_MEMORY)
        arm(partition, key, DLQ_QUEUE_FULL_MS);
    else
        refused(partition, key, WEIR_KAFKA_OTHER);
}

/* Send the dead letter of a DYING key, or see to it that it is tried again. */
static void bury(struct weir_partition *partition, struct weir_key *key)
{
    const struct weir_options *options = partition->consumer->options;
    struct weir_message *message = key->first;
    if (!*options->dlq_topic) {
        warn(partition, "dead, but weir.dlq.topic is empty: its key is held", message->offset,
             weir_message_reason(message) ? weir_message_reason(message)
                                          : weir_dlq_cause_name((enum weir_dlq_cause)message->cause));
        arm(partition, key, options->dlq_retry_ms);
        return;
    }
    if (!message->dlq_paid) {
        message->dlq_paid = weir_budget_take(&partition->topic->budget, now(partition));
        partition->budget_spent = !message->dlq_paid;
        if (!message->dlq_paid) {
            warn(partition, "the dead letter budget is spent, its key is held", message->offset,
                 weir_dlq_cause_name((enum weir_dlq_cause)message->cause));
            arm(partition, key, options->dlq_retry_ms);
            return;
        }
    }
    if (!weir_message_failure(message)) {
        arm(partition, key, DLQ_QUEUE_FULL_MS); /* short of memory: no report could be taken */
        return;
    }
    struct weir_dlq_source source;
    struct weir_dlq_letter letter;
    describe(partition, message, &source);
    int result = weir_dlq_compose(&letter, &source, options->dlq_topic, (enum weir_dlq_profile)options->dlq_profile,
                                  message->stripped);
    if (weir_partition_is_exactly_once(partition)) {
        enroll_letter(partition, key, &letter, result);
        return;
    }
    enum weir_kafka_error error = WEIR_KAFKA_OTHER;
    if (result == 0) {
        struct weir_kafka *kafka = partition->consumer->kafka;
        message->dlq_in_flight = true; /* before: the report may come at once, but as mail */
        message->failure->letter.mail.kind = WEIR_MAIL_LETTER;
        result = kafka->ops->produce(kafka, &letter.produce, &message->failure->letter, &error);
        message->dlq_in_flight = result == 0;
        weir_dlq_letter_deinit(&letter);
    }
    if (result == 0)
        partition->dlq_pending++;
    else if (result == WEIR_FULL || result == WEIR_NO_MEMORY)
        arm(partition, key, DLQ_QUEUE_FULL_MS);
    else
        refused(partition, key, error);
}

/* The first message of a READY or WAITING key is given up. */
static void die(struct weir_partition *partition, struct weir_key *key, enum weir_dlq_cause cause)
{
    key->first->cause = (uint8_t)cause;
    enter_list(partition, key, WEIR_KEY_DYING);
    weir_partition_hold(partition, key);
    bury(partition, key);
}

void weir_partition_quarantine(struct weir_partition *partition, struct weir_key *key)
{
    die(partition, key, WEIR_DLQ_CRASH);
}

void weir_partition_take_letter(struct weir_partition *partition, struct weir_message *message)
{
    struct weir_key *key = message->owner;
    enum weir_kafka_error error = message->failure->letter.error;
    WEIR_CHECK(message->dlq_in_flight && partition->dlq_pending > 0 && key && key->first == message);
    message->dlq_in_flight = false;
    partition->dlq_pending--;
    if (message->epoch != partition->epoch || partition->state == WEIR_PARTITION_ENDED) {
        if (error != WEIR_KAFKA_NONE)
            weir_partition_refund(partition, message);
        ready(partition, key);
        weir_partition_drop_first(partition, key);
        weir_partition_schedule(partition, key);
        return;
    }
    if (error != WEIR_KAFKA_NONE) {
        refused(partition, key, error);
        go_on(partition, key); /* a drain does not wait for another try */
        return;
    }
    ready(partition, key);
    weir_partition_count(partition, dead_lettered, 1);
    finish_after(partition, key, NULL);
    weir_partition_schedule(partition, key);
}

/* ---- waiting ---- */

static void wait_ms(struct weir_partition *partition, struct weir_key *key, uint64_t delay_ms)
{
    weir_partition_copy_out(partition, key->first); /* short of memory: it stays in its fetch response */
    enter_list(partition, key, WEIR_KEY_WAITING);
    weir_partition_hold(partition, key);
    arm(partition, key, delay_ms);
    weir_partition_enforce_held(partition);
}

/* The deadline of retries stands still for this long. */
static void stretch_deadline(struct weir_message *message, uint64_t delay_ms)
{
    if (message->failure && message->failure->first_ns != 0)
        message->failure->first_ns += delay_ms * MS_NS;
}

/* The clock of retry deadlines: it stands while the breaker is not closed. */
static uint64_t retry_clock_ns(const struct weir_partition *partition)
{
    return now(partition) - atomic_load_explicit(&partition->consumer->breaker_stood_ns, memory_order_relaxed);
}

static uint64_t failing_ms(const struct weir_partition *partition, const struct weir_message *message)
{
    uint64_t first_ns = message->failure ? message->failure->first_ns : 0, clock_ns = retry_clock_ns(partition);
    return first_ns != 0 && clock_ns > first_ns ? (clock_ns - first_ns) / MS_NS : 0;
}

static void note_failure(struct weir_partition *partition, struct weir_message *message)
{
    struct weir_failure *failure = weir_message_failure(message);
    if (!failure)
        return; /* short of memory: as if this were not its first failure, and the deadline begins with the next */
    failure->last_wall_ms = weir_worker_wall_ms(partition->resident.home);
    if (failure->first_ns != 0)
        return;
    failure->first_ns = retry_clock_ns(partition) | 1; /* 0 says that it has not failed */
    failure->first_wall_ms = failure->last_wall_ms;
}

/* An attempt that counts, also for the next owner: the map tells of it. */
static void burn_attempt(struct weir_partition *partition, struct weir_message *message)
{
    note_failure(partition, message);
    message->attempts++;
    partition->changed = true;
}

/* A run that asked for another one. False: it is given up, for `cause`. */
static bool may_retry(struct weir_partition *partition, struct weir_message *message, uint64_t *delay_ms,
                      enum weir_dlq_cause *cause)
{
    const struct weir_retry_policy *policy = &partition->topic->retry[message->retry_class];
    weir_partition_count(partition, retries, 1);
    burn_attempt(partition, message);
    if (message->failure)
        message->failure->overloads = 0;
    *cause = WEIR_DLQ_DEAD;
    if (partition->consumer->options->delivery == WEIR_AT_MOST_ONCE)
        return false; /* one attempt: its offset has been committed */
    *delay_ms = message->has_delay
                    ? message->delay_ms
                    : weir_retry_delay_ms(policy, message->attempts, weir_worker_random(partition->resident.home));
    if (weir_budget_is_spent(&partition->topic->budget, now(partition)))
        stretch_deadline(message, *delay_ms); /* its letter could not be sent */
    *cause =
        policy->attempts_max > 0 && message->attempts >= policy->attempts_max ? WEIR_DLQ_ATTEMPTS : WEIR_DLQ_DEADLINE;
    return !weir_retry_is_spent(policy, message->attempts, failing_ms(partition, message), *delay_ms);
}

static void retry(struct weir_partition *partition, struct weir_key *key)
{
    uint64_t delay_ms;
    enum weir_dlq_cause cause;
    if (may_retry(partition, key->first, &delay_ms, &cause))
        wait_ms(partition, key, delay_ms);
    else
        die(partition, key, cause);
}

/* The downstream's fault, not the message's: no attempt is burnt, and the retry deadline stands still for as long as
 * this says that it waits. */
static uint64_t room_ms(struct weir_partition *partition, struct weir_message *message)
{
    struct weir_failure *failure = weir_message_failure(message);
    uint16_t overloads = failure ? failure->overloads : 0; /* short of memory: each is the first */
    overloads += overloads < UINT16_MAX;
    if (failure)
        failure->overloads = overloads;
    uint64_t delay_ms = message->has_delay ? message->delay_ms
                                           : weir_retry_delay_ms(&partition->consumer->overloaded, overloads,
                                                                 weir_worker_random(partition->resident.home));
    stretch_deadline(message, delay_ms);
    return delay_ms;
}

static uint64_t overloaded_ms(struct weir_partition *partition, struct weir_message *message)
{
    weir_partition_count(partition, overloaded, 1);
    if (partition->consumer->options->breaker_overloaded == WEIR_BREAKER_OVERLOADED_OPEN)
        weir_resident_notify(&partition->consumer->control.resident);
    return room_ms(partition, message);
}

void weir_partition_key_timer(struct weir_timer *timer)
{
    struct weir_key *key = WEIR_CONTAINER(timer, struct weir_key, timer);
    struct weir_partition *partition = key->partition;
    if (key->state == WEIR_KEY_DYING) {
        bury(partition, key);
        return;
    }
    if (key->state == WEIR_KEY_SENDING) {
        send_outputs(partition, key);
        go_on(partition, key);
        return;
    }
    ready(partition, key);
    weir_partition_schedule(partition, key);
    weir_resident_notify(&partition->resident); /* held messages have become fewer: pulling may go on */
}

void weir_partition_enforce_held(struct weir_partition *partition)
{
    const struct weir_options *options = partition->consumer->options;
    if (options->held_policy != WEIR_HELD_DEAD || partition->state != WEIR_PARTITION_ACTIVE ||
        weir_partition_breaker(partition) != WEIR_BREAKER_STATE_CLOSED)
        return;
    /* Begin below the bound, so that the intake need not close while dead letters are on their way; what is dying will
     * make room by itself. */
    uint64_t start = options->held_messages_max - options->held_messages_max / 8;
    while (partition->held - partition->held_writing >= start) {
        struct weir_key *victim = NULL;
        for (size_t bucket = WEIR_ATTEMPT_BUCKETS; bucket-- > 0 && !victim;)
            victim = partition->waiting[bucket].first;
        if (!victim || !*options->dlq_topic || weir_budget_is_spent(&partition->topic->budget, now(partition))) {
            partition->budget_spent = victim != NULL && *options->dlq_topic;
            return;
        }
        ready(partition, victim);
        die(partition, victim, WEIR_DLQ_HELD);
    }
}

/* ---- outputs ---- */

/* An output can never be sent: the run has failed, whatever it said. */
static void fail(struct weir_partition *partition, struct weir_key *key)
{
    struct weir_message *message = key->first;
    char words[WEIR_MESSAGE_REASON_BYTES];
    weir_outputs_describe(message->outputs, words, sizeof words);
    warn(partition, "an output can never be sent, its message has failed", message->offset, words);
    drop_outputs(partition, message);
    weir_retry(message, words);
    message->has_delay = false;
    message->settled = false;
    ready(partition, key);
    retry(partition, key);
}

/* Held, as only a key that waits for the broker longer than it should is. */
static void send_later(struct weir_partition *partition, struct weir_key *key)
{
    warn(partition, "an output was not taken, its key is held", key->first->offset, "it is sent again");
    weir_partition_copy_out(partition, key->first);
    weir_partition_hold(partition, key);
    arm(partition, key, partition->consumer->options->output_retry_ms);
}

/* What a filter has left out. */
static void count_filtered(struct weir_partition *partition, const struct weir_message *message)
{
    if (message->outcome == WEIR_SKIP)
        weir_partition_count(partition, filtered, 1);
    if (message->filtered == WEIR_FILTERED_EXPIRED)
        weir_partition_count(partition, expired, 1);
    if (message->filtered == WEIR_FILTERED_STALE)
        weir_partition_count(partition, stale, 1);
}

static void count_end(struct weir_partition *partition, const struct weir_message *message, enum weir_outcome outcome)
{
    bool filtered = message->filtered != WEIR_FILTERED_NOT;
    if (outcome == WEIR_DEAD)
        weir_partition_count(partition, dead_lettered, 1);
    else if (filtered)
        count_filtered(partition, message);
    else if (outcome == WEIR_ACK)
        weir_partition_count(partition, acked, 1);
    else
        weir_partition_count(partition, skipped, 1);
    partition->successes += outcome != WEIR_DEAD && !filtered; /* else no handler has succeeded */
}

static void finish_with(struct weir_partition *partition, struct weir_key *key, struct weir_message *before,
                        enum weir_outcome outcome)
{
    count_end(partition, before ? before->next : key->first, outcome);
    finish_after(partition, key, before);
}

/* Send what is left of a SENDING key's outputs; when nothing is, its message is finished. */
static void send_outputs(struct weir_partition *partition, struct weir_key *key)
{
    struct weir_message *message = key->first;
    uint32_t before = message->outputs->in_flight;
    enum weir_outputs_step step = weir_outputs_send(message);
    partition->outputs_pending += message->outputs->in_flight - before;
    switch (step) {
    case WEIR_OUTPUTS_UNDER_WAY:
        break;
    case WEIR_OUTPUTS_NO_PLACE:
        arm(partition, key, WEIR_OUTPUT_QUEUE_FULL_MS);
        break;
    case WEIR_OUTPUTS_AGAIN:
        send_later(partition, key);
        break;
    case WEIR_OUTPUTS_REFUSED:
        fail(partition, key);
        break;
    case WEIR_OUTPUTS_WRITTEN:
        ready(partition, key);
        finish_with(partition, key, NULL, message->outputs->outcome);
        break;
    }
}

void weir_partition_take_output(struct weir_partition *partition, struct weir_emission *emission)
{
    struct weir_message *message = emission->message;
    struct weir_key *key = message->owner;
    bool lost, once = partition->consumer->options->delivery == WEIR_AT_MOST_ONCE;
    WEIR_CHECK(partition->outputs_pending > 0 && key && key->first == message && key->state == WEIR_KEY_SENDING);
    partition->outputs_pending--;
    if (weir_outputs_take(emission, once, &lost))
        weir_partition_count(partition, outputs_sent, 1);
    else
        weir_partition_count(partition, output_failures, 1);
    if (lost)
        weir_partition_count(partition, outputs_lost, 1);
    if (message->outputs->in_flight > 0)
        return;
    if (is_stale(partition, message)) {
        ready(partition, key);
        weir_partition_drop_first(partition, key);
    } else {
        send_outputs(partition, key);
    }
    go_on(partition, key); /* a drain does not wait for another try */
}

/* ---- exactly once ---- */

void weir_partition_finish_enrolled(struct weir_partition *partition, struct weir_message *message)
{
    struct weir_key *key = message->owner;
    if (message->outputs && message->outcome != WEIR_DEAD)
        weir_partition_count(partition, outputs_sent, message->outputs->count);
    if (key) {
        WEIR_CHECK(key->first == message && weir_key_is_writing(key));
        ready(partition, key);
        finish_with(partition, key, NULL, (enum weir_outcome)message->outcome);
        go_on(partition, key);
    } else {
        count_end(partition, message, (enum weir_outcome)message->outcome);
        finish_message(partition, message);
    }
}

void weir_partition_disenroll(struct weir_partition *partition, struct weir_message *message)
{
    struct weir_key *key = message->owner;
    enum weir_kafka_error error = message->outputs->refusal;
    WEIR_CHECK(key && key->first == message && weir_key_is_writing(key));
    message->enrolled = false;
    if (key->state == WEIR_KEY_SENDING) {
        weir_partition_count(partition, output_failures, 1);
        fail(partition, key);
    } else {
        weir_outputs_drop(message);
        refused(partition, key, error);
    }
    go_on(partition, key);
}

void weir_partition_drop_enrolled(struct weir_partition *partition, struct weir_message *message)
{
    struct weir_key *key = message->owner;
    WEIR_CHECK(key && key->first == message && is_stale(partition, message));
    ready(partition, key);
    weir_partition_drop_first(partition, key);
    go_on(partition, key);
}

/* ---- what a run said ---- */

/* The first message of a READY key is out with a handle. From now on, as the list is in the order of this time. */
static void await_answer(struct weir_partition *partition, struct weir_key *key)
{
    key->first->given_out_ms = weir_ms_of(now(partition) + MS_NS - 1); /* never overdue too early */
    enter_list(partition, key, WEIR_KEY_LATER);
}

/* Dead at once: the handler has said so, or a filter, which burns no attempt. */
static void give_up(struct weir_partition *partition, struct weir_key *key)
{
    struct weir_message *message = key->first;
    if (message->filtered == WEIR_FILTERED_NOT) {
        burn_attempt(partition, message);
        die(partition, key, WEIR_DLQ_DEAD);
        return;
    }
    count_filtered(partition, message);
    note_failure(partition, message);
    die(partition, key, message->filtered == WEIR_FILTERED_EXPIRED ? WEIR_DLQ_EXPIRED : WEIR_DLQ_STALE);
}

/* A filter lets the message wait, and so its key: not held, no attempt burnt. */
static void wait_for_place(struct weir_partition *partition, struct weir_key *key)
{
    uint64_t delay_ms = key->first->delay_ms;
    weir_partition_count(partition, delayed, 1);
    if (delay_ms >= COPY_OUT_MS)
        weir_partition_copy_out(partition, key->first);
    enter_list(partition, key, WEIR_KEY_DELAYED);
    arm(partition, key, delay_ms);
}

/* The breaker's probe has ended. True if that was all: a failure is the downstream's, and burns no attempt. */
static bool answer_probe(struct weir_partition *partition, struct weir_message *message, enum weir_outcome outcome)
{
    bool filtered = message->filtered != WEIR_FILTERED_NOT;
    bool succeeded = (outcome == WEIR_ACK || outcome == WEIR_SKIP) && !filtered;
    bool failed = outcome == WEIR_RETRY || outcome == WEIR_OVERLOADED;
    weir_partition_answer_probe(partition, message,
                                succeeded ? WEIR_PROBE_SUCCEEDED
                                : failed  ? WEIR_PROBE_FAILED
                                          : WEIR_PROBE_VOID);
    if (outcome != WEIR_RETRY || partition->consumer->options->delivery == WEIR_AT_MOST_ONCE)
        return false;
    weir_partition_count(partition, retries, 1);
    return true;
}

void weir_partition_finish_at_once(struct weir_partition *partition, struct weir_message *message)
{
    if (weir_partition_is_exactly_once(partition)) {
        weir_partition_enroll(partition, message, (enum weir_outcome)message->outcome);
        return;
    }
    count_end(partition, message, (enum weir_outcome)message->outcome);
    finish(partition, message);
    weir_partition_free_message(partition, message);
}

static void send_first(struct weir_partition *partition, struct weir_key *key, enum weir_outcome outcome)
{
    key->first->outputs->outcome = outcome;
    enter_list(partition, key, WEIR_KEY_SENDING);
    send_outputs(partition, key);
}

static void enroll_first(struct weir_partition *partition, struct weir_key *key, enum weir_outcome outcome)
{
    weir_partition_enroll(partition, key->first, outcome);
    if (key->first->outputs)
        enter_list(partition, key, WEIR_KEY_SENDING);
    else
        weir_key_shift(key);
}

/* Act on the outcome of the first message of a READY key. */
static void act(struct weir_partition *partition, struct weir_key *key, enum weir_outcome outcome)
{
    bool filtered = key->first->filtered != WEIR_FILTERED_NOT;
    if (filtered || (outcome > WEIR_SKIP && outcome != WEIR_LATER))
        drop_outputs(partition, key->first);
    if (key->first->passes == WEIR_PASSES_AS_PROBE && outcome != WEIR_LATER &&
        answer_probe(partition, key->first, outcome)) {
        wait_ms(partition, key, room_ms(partition, key->first));
        return;
    }
    if (outcome == WEIR_OUTCOME_DELAYED) {
        wait_for_place(partition, key);
        return;
    }
    switch (outcome) {
    case WEIR_ACK:
    case WEIR_SKIP:
        if (weir_partition_is_exactly_once(partition))
            enroll_first(partition, key, outcome);
        else if (key->first->outputs)
            send_first(partition, key, outcome);
        else
            finish_with(partition, key, NULL, outcome);
        break;
    case WEIR_RETRY:
        retry(partition, key);
        break;
    case WEIR_OVERLOADED:
        wait_ms(partition, key, overloaded_ms(partition, key->first));
        break;
    case WEIR_DEAD:
        give_up(partition, key);
        break;
    case WEIR_ESCALATE:
        weir_partition_escalate(partition, key->first);
        break;
    case WEIR_LATER:
        atomic_store_explicit(&partition->consumer->gives_out, true, memory_order_relaxed);
        await_answer(partition, key);
        break;
    }
}

/* One message of a run that came back, whose handle may still be about. The key is READY. */
static void take_run(struct weir_partition *partition, struct weir_key *key)
{
    struct weir_message *message = key->first;
    enum weir_later_state state = weir_message_later_state(message);
    if (state == WEIR_LATER_IDLE || (message->outcome != WEIR_LATER && weir_message_close_handle(message))) {
        act(partition, key, (enum weir_outcome)message->outcome);
    } else if (message->later_answered) {
        enum weir_outcome outcome = weir_message_last_word(message); /* it was here before the hand-back */
        message->later_answered = false;
        weir_message_renew(message);
        act(partition, key, outcome);
    } else {
        act(partition, key, WEIR_LATER); /* its answer is on the way, or will be */
    }
}

void weir_partition_drop_first(struct weir_partition *partition, struct weir_key *key)
{
    struct weir_message *message = weir_key_shift(key);
    weir_partition_count(partition, stale_dropped, 1);
    WEIR_CHECK(partition->stragglers > 0);
    partition->stragglers--;
    free_or_leave(partition, message);
}

/* Drop the message behind the first, which stays where its key is found: what comes of this key waits behind it. */
static void drop_second(struct weir_partition *partition, struct weir_key *key)
{
    struct weir_message *first = weir_key_shift(key);
    weir_partition_drop_first(partition, key);
    first->next = key->first;
    first->owner = key;
    key->first = first;
    if (!key->last)
        key->last = first;
    key->count++;
}

/* A run of an older epoch has come back: its results count no more. The key is READY. */
static void drop_run(struct weir_partition *partition, struct weir_key *key, uint32_t count)
{
    for (; count > 0; count--) {
        struct weir_message *message = key->first;
        if (!message->later_answered && weir_message_later_state(message) != WEIR_LATER_IDLE &&
            (message->outcome == WEIR_LATER || !weir_message_close_handle(message))) {
            for (; count > 1; count--)
                drop_second(partition, key);
            await_answer(partition, key); /* its holder still reads it */
            return;
        }
        message->later_answered = false;
        weir_message_renew(message);
        weir_partition_drop_first(partition, key);
    }
}

/* After a run: the next one, or in a drain nothing more. */
static void go_on(struct weir_partition *partition, struct weir_key *key)
{
    bool purge =
        partition->state == WEIR_PARTITION_DRAINING && partition->consumer->options->delivery != WEIR_AT_MOST_ONCE;
    if (purge)
        weir_partition_purge(partition, key);
    else
        weir_partition_schedule(partition, key);
}

static void come_back(struct weir_partition *partition, struct weir_key *key)
{
    WEIR_CHECK(key->state == WEIR_KEY_OUT && key->run_done <= key->run_count && partition->out_count > 0);
    partition->out_count--;
    weir_key_move(key, WEIR_KEY_READY);
    if (partition->suspect_key)
        weir_partition_suspect_is_back(partition, key);
    if (key->first->passes == WEIR_PASSES_AS_PROBE && (key->run_done == 0 || is_stale(partition, key->first)))
        weir_partition_answer_probe(partition, key->first, WEIR_PROBE_VOID);
}

void weir_partition_take_back(struct weir_partition *partition, struct weir_key *key)
{
    WEIR_CHECK(key->run_done == 0 && key->first->epoch == partition->epoch);
    come_back(partition, key);
    weir_partition_purge(partition, key);
}

/* The run of a READY key, which is of an older epoch. */
static void drop_stale(struct weir_partition *partition, struct weir_key *key)
{
    if (partition->consumer->options->delivery == WEIR_AT_MOST_ONCE) /* committed, or it would not have gone out */
        weir_partition_count(partition, lost_at_most_once, (uint64_t)(key->run_count - key->run_done));
    drop_run(partition, key, key->run_count);
}

void weir_partition_take_key(struct weir_partition *partition, struct weir_key *key)
{
    come_back(partition, key);
    if (is_stale(partition, key->first)) {
        drop_stale(partition, key);
    } else {
        for (uint32_t done = key->run_done; done > 0; done--)
            take_run(partition, key); /* all but the last were acked or skipped, and leave the key READY */
    }
    go_on(partition, key);
}

/* ---- what a batch said ---- */

/* A message of a batch that is not finished: it is to run again when it is due, or settled. Its attempt is burnt now,
 * as others of its key may stand before it. */
static void put_off_or_settle(struct weir_partition *partition, struct weir_message *message)
{
    uint64_t delay_ms = 0;
    enum weir_dlq_cause cause = WEIR_DLQ_DEAD;
    bool again = true, probed = message->passes == WEIR_PASSES_AS_PROBE &&
                                answer_probe(partition, message, (enum weir_outcome)message->outcome);
    if (message->outcome > WEIR_SKIP)
        drop_outputs(partition, message);
    if (probed)
        delay_ms = room_ms(partition, message);
    else if (message->outcome == WEIR_RETRY)
        again = may_retry(partition, message, &delay_ms, &cause);
    else if (message->outcome == WEIR_OVERLOADED)
        delay_ms = overloaded_ms(partition, message);
    else if (message->outcome == WEIR_ESCALATE)
        weir_partition_escalate(partition, message);
    else
        again = false;
    if (message->outcome == WEIR_DEAD)
        burn_attempt(partition, message);
    message->settled = !again;
    message->put_off = again && message->outcome != WEIR_ESCALATE;
    if (message->settled)
        message->cause = (uint8_t)cause; /* of its letter, if there will be one */
    message->due_ms = weir_ms_of(now(partition) + delay_ms * MS_NS);
}

static void take_outcomes(struct weir_partition *partition, struct weir_key *key)
{
    struct weir_message *before = NULL, *message = key->first;
    for (uint32_t left = key->run_done; left > 0; left--) {
        struct weir_message *next = message->next;
        if (message->outcome <= WEIR_SKIP && !message->outputs) {
            if (message->passes == WEIR_PASSES_AS_PROBE)
                answer_probe(partition, message, (enum weir_outcome)message->outcome);
            finish_with(partition, key, before, (enum weir_outcome)message->outcome);
        } else {
            put_off_or_settle(partition, message);
            before = message;
        }
        message = next;
    }
}

void weir_partition_take_batched(struct weir_partition *partition, struct weir_key *key)
{
    come_back(partition, key);
    if (is_stale(partition, key->first))
        drop_stale(partition, key);
    else
        take_outcomes(partition, key);
    go_on(partition, key);
}

/* How long it is until the last of those is due that have failed and may go again together. */
static uint32_t find_due_ms(const struct weir_partition *partition, const struct weir_key *key)
{
    uint64_t now_ns = now(partition), room = partition->consumer->options->batch_messages_max;
    uint32_t longest_ms = 0;
    const struct weir_message *message = key->first;
    for (uint64_t left = key->count < room ? key->count : room; left > 0 && !message->settled;
         left--, message = message->next) {
        int32_t left_ms = message->put_off ? (int32_t)-weir_ms_since(message->due_ms, now_ns) : 0;
        longest_ms = left_ms > 0 && (uint32_t)left_ms > longest_ms ? (uint32_t)left_ms : longest_ms;
    }
    return longest_ms;
}

/* Act on what is settled at the head, and wait for what is not due. */
bool weir_partition_settle(struct weir_partition *partition, struct weir_key *key)
{
    while (key->state == WEIR_KEY_READY && key->count > 0 && key->first->settled) {
        if (key->first->outcome <= WEIR_SKIP)
            send_first(partition, key, (enum weir_outcome)key->first->outcome);
        else
            die(partition, key, (enum weir_dlq_cause)key->first->cause);
    }
    if (key->state != WEIR_KEY_READY || key->count == 0)
        return key->state == WEIR_KEY_READY;
    uint32_t due_ms = find_due_ms(partition, key);
    if (due_ms > 0)
        wait_ms(partition, key, due_ms);
    return key->state == WEIR_KEY_READY;
}

void weir_partition_take_answer(struct weir_partition *partition, struct weir_message *message)
{
    if (message->orphan) {
        partition->orphans--;
        message->orphan = false;
        weir_message_renew(message);
        weir_partition_free_message(partition, message);
        return;
    }
    struct weir_key *key = message->owner;
    WEIR_CHECK(key != NULL);
    if (key->state == WEIR_KEY_OUT) {   /* others of its run may stand before it */
        message->later_answered = true; /* the hand-back will see it */
        return;
    }
    WEIR_CHECK(key->first == message);
    if (key->state == WEIR_KEY_DYING) { /* abandoned before: now nobody reads it any more */
        weir_message_renew(message);
        if (is_stale(partition, message) && !message->dlq_in_flight) {
            ready(partition, key);
            weir_partition_drop_first(partition, key);
        }
        go_on(partition, key);
        return;
    }
    weir_partition_leave_list(partition, key);
    weir_key_move(key, WEIR_KEY_READY);
    enum weir_outcome outcome = weir_message_last_word(message);
    weir_message_renew(message);
    if (is_stale(partition, message))
        weir_partition_drop_first(partition, key);
    else
        act(partition, key, outcome);
    go_on(partition, key);
}

/* ---- once a second ---- */

static void check_later(struct weir_partition *partition)
{
    const struct weir_options *options = partition->consumer->options;
    uint64_t limit_ms = options->later_deadline_ms > 0 ? options->later_deadline_ms : options->handler_warn_ms;
    if (limit_ms == 0)
        return;
    unsigned named = 0;
    for (struct weir_key *key = partition->later.first, *next; key; key = next) {
        next = key->list_after;
        struct weir_message *message = key->first;
        if (weir_ms_since(message->given_out_ms, now(partition)) < limit_ms)
            return; /* the list is in the order in which they were given out */
        bool abandon =
            weir_partition_abandons(partition) && !is_stale(partition, message) && message->outcome == WEIR_LATER;
        if (abandon && weir_message_abandon(message)) {
            weir_partition_leave_list(partition, key);
            weir_key_move(key, WEIR_KEY_READY);
            if (message->data)
                weir_partition_detach_data(partition, key);
            note_failure(partition, message); /* the burnt attempt is told by the cause: the holder may be reading */
            partition->changed = true;
            die(partition, key, WEIR_DLQ_ABANDONED);
        } else if (named++ < LATER_WARN_LIMIT) {
            warn(partition, "given out by WEIR_LATER and not finished for too long", message->offset,
                 "weir_later_finish() has not been called");
        }
    }
}

/* What waits behind a retry pins fetch responses as well: move it out. */
static void copy_out_held(struct weir_partition *partition)
{
    for (size_t bucket = 0; bucket < WEIR_ATTEMPT_BUCKETS; bucket++) {
        for (struct weir_key *key = partition->waiting[bucket].first; key; key = key->list_after) {
            struct weir_message *message = key->first;
            for (uint32_t count = key->count; count > 0; count--, message = message->next)
                weir_partition_copy_out(partition, message);
        }
    }
}

void weir_partition_sweep_finish(struct weir_partition *partition)
{
    check_later(partition);
    copy_out_held(partition);
    weir_partition_enforce_held(partition);
    if (partition->budget_spent)
        partition->budget_spent = weir_budget_is_spent(&partition->topic->budget, now(partition));
}
