/*
 * Transactions. See transaction.h. Runs on the control thread only.
 */
#include "actors/transaction.h"
#include "actors/consumer.h"
#include "actors/control.h"
#include "actors/output.h"
#include "actors/partition.h"
#include "runtime/check.h"
#include "runtime/log.h"

#define MS_NS          1000000ull
#define AGAIN_MS       50 /* a request that came too early is made again */
#define BACKOFF_MS     100
#define BACKOFF_MS_MAX 2000
#define SENDING_MS_MAX 10000 /* below the 15 s after which brokers give a transaction up */

/* ---- states ---- */

static const char *const state_names[WEIR_TRANSACTION_STATES] = {"idle",   "begin", "sending", "offsets",
                                                                 "commit", "abort", "wait",    "fall"};

#define BIT(state) (1u << WEIR_TRANSACTION_##state)
static const uint8_t legal_moves[WEIR_TRANSACTION_STATES] = {
    [WEIR_TRANSACTION_IDLE] = BIT(BEGIN),
    [WEIR_TRANSACTION_BEGIN] = BIT(SENDING) | BIT(ABORT) | BIT(FALL) | BIT(IDLE),
    [WEIR_TRANSACTION_SENDING] = BIT(OFFSETS) | BIT(ABORT) | BIT(IDLE),
    [WEIR_TRANSACTION_OFFSETS] = BIT(COMMIT) | BIT(ABORT) | BIT(FALL) | BIT(IDLE),
    [WEIR_TRANSACTION_COMMIT] = BIT(IDLE) | BIT(ABORT) | BIT(FALL),
    [WEIR_TRANSACTION_ABORT] = BIT(WAIT) | BIT(FALL) | BIT(IDLE),
    [WEIR_TRANSACTION_WAIT] = BIT(BEGIN) | BIT(IDLE),
    [WEIR_TRANSACTION_FALL] = BIT(IDLE),
};

static void move(struct weir_control *control, enum weir_transaction_state state)
{
    struct weir_transaction *transaction = &control->transaction;
    WEIR_CHECK(legal_moves[transaction->state] & (1u << state));
    weir_log(WEIR_LOG_DEBUG, WEIR_NO_FIELDS, "transaction: %s -> %s (%zu offsets, %llu messages in flight)",
             state_names[transaction->state], state_names[state], control->commit.offsets.count,
             (unsigned long long)transaction->in_flight);
    transaction->state = state;
    transaction->tag = 0;
    transaction->retry_ns = 0;
    transaction->is_aborted = false;
}

bool weir_transaction_is_idle(const struct weir_control *control)
{
    return control->transaction.state == WEIR_TRANSACTION_IDLE;
}

/* ---- what is in it ---- */

static bool is_in(const struct weir_partition *partition)
{
    return partition->control.in_collect && partition->control.owes_result;
}

/* Each output of each message of each partition's batch. */
#define EACH_EMISSION(emission, control)                                                                      \
    WEIR_EACH_PARTITION (partition_, control)                                                                 \
        for (struct weir_message *message_ = is_in(partition_) ? partition_->snapshot.batch : NULL; message_; \
             message_ = weir_partition_batch_next(message_))                                                  \
            for (struct weir_emission *emission = message_->outputs->first; emission; emission = emission->next)

/* Does it still belong to the epoch that it is of? Else it is not sent again. */
static bool is_ours(const struct weir_partition *partition)
{
    return partition->snapshot.epoch == partition->control.epoch && partition->control.order != WEIR_ORDER_END;
}

/* ---- its size ---- */

uint64_t weir_transaction_room(const struct weir_control *control)
{
    uint64_t max = control->consumer->options->transaction_messages_max, room = control->transaction.room;
    return room > 0 && room < max ? room : max;
}

/* X5: half of what was written. Where that is nothing, no broker was there, and nothing is known. */
static void shrink(struct weir_control *control)
{
    uint64_t written = 0, count = 0, messages = 0;
    EACH_EMISSION(emission, control)
    {
        written += emission->written;
        messages += emission == emission->message->outputs->first;
        count++;
    }
    if (written == 0)
        return;
    control->transaction.too_slow = true;
    control->transaction.room = 1 + messages * written / count / 2;
    weir_log(WEIR_LOG_WARN, WEIR_NO_FIELDS,
             "transaction: of %llu outputs there was time for %llu: smaller ones from now on",
             (unsigned long long)count, (unsigned long long)written);
}

static void grow(struct weir_control *control)
{
    control->transaction.room = 2 * weir_transaction_room(control);
}

/* ---- the end ---- */

/* As the answer to the commit would have been: see control_commit.c, which gives the batches back. */
static void conclude(struct weir_control *control, enum weir_kafka_error error)
{
    struct weir_transaction *transaction = &control->transaction;
    if (transaction->state != WEIR_TRANSACTION_IDLE)
        move(control, WEIR_TRANSACTION_IDLE);
    bool at_once = transaction->refused || transaction->too_slow;
    transaction->giving_up = transaction->unsent = transaction->refused = transaction->too_slow = false;
    transaction->failures = 0;
    transaction->careful = false;
    transaction->topic_error = WEIR_KAFKA_NONE;
    for (size_t index = 0; index < control->commit.offsets.count; index++)
        control->commit.offsets.items[index].error = error;
    weir_control_on_committed(control, &(struct weir_kafka_event){.kind = WEIR_KAFKA_COMMITTED,
                                                                  .tag = control->commit.tag,
                                                                  .error = error,
                                                                  .text = weir_kafka_error_name(error),
                                                                  .offsets = control->commit.offsets.items,
                                                                  .count = control->commit.offsets.count});
    if (at_once)
        control->retry_ns = control->commit.next_ns = control->now_ns; /* another one */
}

/* X4, once nothing is with the producer any more. */
static void fall(struct weir_control *control)
{
    if (control->transaction.in_flight > 0)
        return;
    weir_control_restart(control);
    conclude(control, WEIR_KAFKA_FATAL);
}

/* Has a partition's epoch ended that it has offsets of? They must not be committed any more: others may own them, and
 * the offsets go out with whatever generation this member has by then. */
static bool any_has_ended(struct weir_control *control)
{
    for (size_t index = 0; index < control->commit.offsets.count; index++) {
        const struct weir_kafka_offset *offset = &control->commit.offsets.items[index];
        const struct weir_partition *partition =
            weir_consumer_find(control->consumer, offset->topic, offset->partition);
        if (!is_in(partition) || !is_ours(partition))
            return true;
    }
    return false;
}

/* What matters to the commit. Of an output that was refused its message is told, and nobody else. */
static enum weir_kafka_error as_commit_error(enum weir_kafka_error error)
{
    return error == WEIR_KAFKA_METADATA_TOO_LARGE || error == WEIR_KAFKA_GENERATION ? error : WEIR_KAFKA_RETRIABLE;
}

static void abort_it(struct weir_control *control, enum weir_kafka_error error)
{
    control->transaction.error = as_commit_error(error);
    move(control, WEIR_TRANSACTION_ABORT);
}

static bool any_of_ours(struct weir_control *control)
{
    WEIR_EACH_PARTITION (partition, control) {
        if (is_in(partition) && is_ours(partition))
            return true;
    }
    return false;
}

static bool is_of_topic(enum weir_kafka_error error)
{
    return error == WEIR_KAFKA_AUTHORIZATION || error == WEIR_KAFKA_UNKNOWN_TOPIC;
}

/* A source topic's offsets are refused; whose, is known when they are of one partition. */
static void refused_for_topic(struct weir_control *control, enum weir_kafka_error error)
{
    size_t count = control->commit.offsets.count;
    if (count > 1)
        control->commit.one_by_one = count;
    conclude(control, count > 1 ? WEIR_KAFKA_RETRIABLE : error);
    control->retry_ns = control->commit.next_ns = control->now_ns;
}

/* It is aborted, and nothing of it is with the producer any more. */
static void aborted(struct weir_control *control)
{
    struct weir_transaction *transaction = &control->transaction;
    if (transaction->topic_error != WEIR_KAFKA_NONE) {
        refused_for_topic(control, transaction->topic_error);
        return;
    }
    bool again = !transaction->refused && !transaction->too_slow && !transaction->giving_up &&
                 transaction->error != WEIR_KAFKA_METADATA_TOO_LARGE && any_of_ours(control);
    if (!again) {
        conclude(control, transaction->error);
        return;
    }
    uint64_t backoff_ms = (uint64_t)BACKOFF_MS << (transaction->failures < 5 ? transaction->failures : 5);
    transaction->failures++;
    move(control, WEIR_TRANSACTION_WAIT);
    transaction->retry_ns = control->now_ns + (backoff_ms < BACKOFF_MS_MAX ? backoff_ms : BACKOFF_MS_MAX) * MS_NS;
}

/* ---- sending ---- */

/* X2: leave out what has ended meanwhile. */
static void leave_out_ended(struct weir_control *control)
{
    size_t kept = 0;
    for (size_t index = 0; index < control->commit.offsets.count; index++) {
        struct weir_kafka_offset *offset = &control->commit.offsets.items[index];
        struct weir_partition *partition = weir_consumer_find(control->consumer, offset->topic, offset->partition);
        if (is_in(partition) && is_ours(partition)) {
            control->commit.offsets.items[kept++] = *offset;
        } else {
            partition->control.in_collect = false;
            weir_control_give_back(partition, false);
        }
    }
    control->commit.offsets.count = kept;
}

static void begin_sending(struct weir_control *control)
{
    struct weir_transaction *transaction = &control->transaction;
    WEIR_CHECK(transaction->in_flight == 0);
    move(control, WEIR_TRANSACTION_SENDING);
    transaction->one_by_one = transaction->careful;
    transaction->deadline_ns = control->now_ns + SENDING_MS_MAX * MS_NS;
    transaction->unsent = false;
    EACH_EMISSION(emission, control)
    {
        emission->written = false;
        transaction->unsent = true;
    }
}

/* X3 */
static void blame(struct weir_control *control, const struct weir_emission *emission, enum weir_kafka_error error)
{
    weir_outputs_note_refusal(emission, error);
    control->transaction.refused = true;
}

/* A broker refuses a batch as a whole, be it for one of its messages: which it is shows when each goes alone. */
static void refused_by_broker(struct weir_control *control, const struct weir_emission *emission,
                              enum weir_kafka_error error)
{
    if (control->transaction.one_by_one || is_of_topic(error))
        blame(control, emission, error);
    else
        control->transaction.careful = true;
}

/* False: not now. */
static bool produce(struct weir_control *control, struct weir_emission *emission)
{
    struct weir_transaction *transaction = &control->transaction;
    struct weir_kafka *kafka = control->consumer->kafka;
    enum weir_kafka_error error = WEIR_KAFKA_OTHER;
    emission->in_flight = true;
    int result = kafka->ops->produce(kafka, &emission->produce, &emission->delivery, &error);
    emission->in_flight = result == 0;
    if (result == 0) {
        transaction->in_flight++;
        return !transaction->one_by_one;
    }
    if (result == WEIR_FULL || result == WEIR_NO_MEMORY)
        return false;
    if (!weir_outputs_is_passing(error))
        blame(control, emission, error);
    abort_it(control, error);
    return false;
}

static void pump(struct weir_control *control)
{
    struct weir_transaction *transaction = &control->transaction;
    if (!transaction->unsent || (transaction->one_by_one && transaction->in_flight > 0))
        return;
    EACH_EMISSION(emission, control)
    {
        if (!emission->written && !emission->in_flight && !produce(control, emission))
            return;
    }
    transaction->unsent = false;
}

static void send_step(struct weir_control *control)
{
    struct weir_transaction *transaction = &control->transaction;
    pump(control);
    if (transaction->state != WEIR_TRANSACTION_SENDING)
        return;
    bool is_late = control->now_ns >= transaction->deadline_ns;
    if (is_late)
        shrink(control);
    if (transaction->giving_up || is_late || any_has_ended(control))
        abort_it(control, WEIR_KAFKA_RETRIABLE);
    else if (!transaction->unsent && transaction->in_flight == 0)
        move(control, WEIR_TRANSACTION_OFFSETS);
}

void weir_transaction_on_delivered(struct weir_control *control, struct weir_delivery *delivery,
                                   enum weir_kafka_error error)
{
    struct weir_transaction *transaction = &control->transaction;
    struct weir_emission *emission = WEIR_CONTAINER(delivery, struct weir_emission, delivery);
    WEIR_CHECK(emission->in_flight && transaction->in_flight > 0);
    emission->in_flight = false;
    emission->written = error == WEIR_KAFKA_NONE;
    transaction->in_flight--;
    if (error != WEIR_KAFKA_NONE && !weir_outputs_is_passing(error))
        refused_by_broker(control, emission, error);
    if (error != WEIR_KAFKA_NONE && transaction->state == WEIR_TRANSACTION_SENDING)
        abort_it(control, error);
    if (transaction->state == WEIR_TRANSACTION_FALL)
        fall(control);
    else if (transaction->is_aborted && transaction->in_flight == 0)
        aborted(control);
}

/* The open transaction has come to need an abort, and no message is named. */
static void on_trouble(struct weir_control *control, enum weir_kafka_error error)
{
    struct weir_transaction *transaction = &control->transaction;
    if (transaction->state != WEIR_TRANSACTION_SENDING)
        return;
    transaction->careful = transaction->careful || is_of_topic(error);
    EACH_EMISSION(emission, control)
    {
        if (emission->in_flight && transaction->one_by_one && is_of_topic(error))
            blame(control, emission, error);
    }
    abort_it(control, error);
}

/* ---- requests ---- */

static int ask(struct weir_control *control, uint64_t tag)
{
    struct weir_kafka *kafka = control->consumer->kafka;
    switch (control->transaction.state) {
    case WEIR_TRANSACTION_BEGIN:
        return kafka->ops->transaction_begin(kafka, tag);
    case WEIR_TRANSACTION_OFFSETS:
        return kafka->ops->transaction_offsets(kafka, control->commit.offsets.items, control->commit.offsets.count,
                                               tag);
    case WEIR_TRANSACTION_COMMIT:
        return kafka->ops->transaction_commit(kafka, tag);
    default:
        return kafka->ops->transaction_abort(kafka, tag);
    }
}

/* Make the request that the state is about, if it is not under way. */
static void request(struct weir_control *control)
{
    struct weir_transaction *transaction = &control->transaction;
    uint64_t tag = control->tag_next + 1;
    if (transaction->tag != 0 || transaction->is_aborted || control->now_ns < transaction->retry_ns)
        return;
    if (ask(control, tag) == 0)
        transaction->tag = control->tag_next = tag;
    else
        transaction->retry_ns = control->now_ns + AGAIN_MS * MS_NS;
}

static void begun(struct weir_control *control, enum weir_kafka_error error)
{
    struct weir_transaction *transaction = &control->transaction;
    if (error == WEIR_KAFKA_NONE && transaction->giving_up)
        abort_it(control, WEIR_KAFKA_RETRIABLE);
    else if (error == WEIR_KAFKA_NONE)
        begin_sending(control);
    else if (transaction->giving_up)
        conclude(control, WEIR_KAFKA_RETRIABLE);
    else
        transaction->retry_ns = control->now_ns + BACKOFF_MS * MS_NS;
}

void weir_transaction_on_answer(struct weir_control *control, const struct weir_kafka_event *event)
{
    struct weir_transaction *transaction = &control->transaction;
    if (event->tag == 0)
        on_trouble(control, event->error);
    if (transaction->tag == 0 || event->tag != transaction->tag)
        return;
    transaction->tag = 0;
    if (event->error != WEIR_KAFKA_NONE)
        weir_log(WEIR_LOG_WARN, WEIR_NO_FIELDS, "transaction, %s: %s (%s)", state_names[transaction->state],
                 weir_kafka_error_name(event->error), event->text ? event->text : "");
    bool again = event->error == WEIR_KAFKA_RETRIABLE;
    if (again)
        transaction->retry_ns = control->now_ns + AGAIN_MS * MS_NS;
    if (event->error == WEIR_KAFKA_FATAL) {
        weir_log(
            WEIR_LOG_WARN, WEIR_NO_FIELDS,
            "the transactional producer has failed for good: every epoch ends, and what is committed is read again");
        move(control, WEIR_TRANSACTION_FALL);
        fall(control);
        return;
    }
    switch (transaction->state) {
    case WEIR_TRANSACTION_BEGIN:
        begun(control, event->error);
        break;
    case WEIR_TRANSACTION_OFFSETS:
        if (event->error == WEIR_KAFKA_NONE && !any_has_ended(control))
            move(control, WEIR_TRANSACTION_COMMIT);
        else if (event->error == WEIR_KAFKA_NONE)
            abort_it(control, WEIR_KAFKA_RETRIABLE);
        else if (!again || transaction->giving_up)
            abort_it(control, event->error);
        if (is_of_topic(event->error))
            transaction->topic_error = event->error;
        break;
    case WEIR_TRANSACTION_COMMIT:
        if (event->error == WEIR_KAFKA_NONE) {
            grow(control);
            conclude(control, WEIR_KAFKA_NONE);
        } else if (!again) {
            abort_it(control, event->error);
        }
        break;
    case WEIR_TRANSACTION_ABORT:
        transaction->is_aborted = event->error == WEIR_KAFKA_NONE;
        if (transaction->is_aborted && transaction->in_flight == 0)
            aborted(control);
        else if (!transaction->is_aborted && !again)
            transaction->retry_ns = control->now_ns + AGAIN_MS * MS_NS;
        break;
    default:
        break;
    }
}

/* ---- the step ---- */

void weir_transaction_start(struct weir_control *control)
{
    control->transaction.error = WEIR_KAFKA_RETRIABLE;
    move(control, WEIR_TRANSACTION_BEGIN);
    weir_transaction_step(control);
}

void weir_transaction_give_up(struct weir_control *control)
{
    struct weir_transaction *transaction = &control->transaction;
    if (transaction->state == WEIR_TRANSACTION_IDLE)
        return;
    transaction->giving_up = true;
    if (transaction->state == WEIR_TRANSACTION_WAIT)
        conclude(control, transaction->error);
}

void weir_transaction_end(struct weir_control *control)
{
    if (control->transaction.state == WEIR_TRANSACTION_IDLE)
        return;
    control->transaction.in_flight = 0;
    control->transaction.state = WEIR_TRANSACTION_IDLE;
    conclude(control, WEIR_KAFKA_RETRIABLE);
}

void weir_transaction_step(struct weir_control *control)
{
    struct weir_transaction *transaction = &control->transaction;
    if (transaction->state == WEIR_TRANSACTION_WAIT && control->now_ns >= transaction->retry_ns) {
        leave_out_ended(control);
        if (control->commit.offsets.count == 0) {
            conclude(control, transaction->error);
            return;
        }
        move(control, WEIR_TRANSACTION_BEGIN);
    }
    if (transaction->state == WEIR_TRANSACTION_SENDING)
        send_step(control);
    if (transaction->state == WEIR_TRANSACTION_BEGIN || transaction->state == WEIR_TRANSACTION_OFFSETS ||
        transaction->state == WEIR_TRANSACTION_COMMIT || transaction->state == WEIR_TRANSACTION_ABORT)
        request(control);
}
