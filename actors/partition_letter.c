/*
 * Dead letters: composed, paid for from the topic's budget, sent, and the message is finished when the broker has it.
 *
 * Refused: sent again after dlq.retry.ms, and the key is held meanwhile. No budget: likewise. Nothing is skipped.
 */
#include "actors/consumer.h"
#include "actors/output.h"
#include "actors/partition_finish.h"
#include "runtime/check.h"
#include <stddef.h>

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

void weir_partition_refuse_letter(struct weir_partition *partition, struct weir_key *key, enum weir_kafka_error error)
{
    struct weir_message *message = key->first;
    weir_partition_count(partition, dlq_failures, 1);
    if (error == WEIR_KAFKA_TOO_LARGE && !message->stripped &&
        partition->consumer->options->dlq_oversized == WEIR_DLQ_OVERSIZED_STRIP) {
        message->stripped = true;
        weir_partition_bury(partition, key);
        return;
    }
    weir_partition_warn(partition, "dead letter refused, its key is held", message->offset,
                        weir_kafka_error_name(error));
    weir_partition_arm(partition, key, partition->consumer->options->dlq_retry_ms);
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
        weir_partition_arm(partition, key, WEIR_DLQ_QUEUE_FULL_MS);
    else
        weir_partition_refuse_letter(partition, key, WEIR_KAFKA_OTHER);
}

/* Send the dead letter of a DYING key, or see to it that it is tried again. */
void weir_partition_bury(struct weir_partition *partition, struct weir_key *key)
{
    const struct weir_options *options = partition->consumer->options;
    struct weir_message *message = key->first;
    if (!*options->dlq_topic) {
        weir_partition_warn(partition, "dead, but weir.dlq.topic is empty: its key is held", message->offset,
                            weir_message_reason(message) ? weir_message_reason(message)
                                                         : weir_dlq_cause_name((enum weir_dlq_cause)message->cause));
        weir_partition_arm(partition, key, options->dlq_retry_ms);
        return;
    }
    if (!message->dlq_paid) {
        message->dlq_paid = weir_budget_take(&partition->topic->budget, weir_partition_now_ns(partition));
        partition->budget_spent = !message->dlq_paid;
        if (!message->dlq_paid) {
            weir_partition_warn(partition, "the dead letter budget is spent, its key is held", message->offset,
                                weir_dlq_cause_name((enum weir_dlq_cause)message->cause));
            weir_partition_arm(partition, key, options->dlq_retry_ms);
            return;
        }
    }
    if (!weir_message_failure(message)) {
        weir_partition_arm(partition, key, WEIR_DLQ_QUEUE_FULL_MS); /* short of memory: no report could be taken */
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
        message->failure->letter.partition = partition;
        result = kafka->ops->produce(kafka, &letter.produce, &message->failure->letter, &error);
        message->dlq_in_flight = result == 0;
        weir_dlq_letter_deinit(&letter);
    }
    if (result == 0)
        partition->dlq_pending++;
    else if (result == WEIR_FULL || result == WEIR_NO_MEMORY)
        weir_partition_arm(partition, key, WEIR_DLQ_QUEUE_FULL_MS);
    else
        weir_partition_refuse_letter(partition, key, error);
}

/* The first message of a READY or WAITING key is given up. */
void weir_partition_die(struct weir_partition *partition, struct weir_key *key, enum weir_dlq_cause cause)
{
    key->first->cause = (uint8_t)cause;
    weir_partition_enter_list(partition, key, WEIR_KEY_DYING);
    weir_partition_hold(partition, key);
    weir_partition_bury(partition, key);
}

void weir_partition_quarantine(struct weir_partition *partition, struct weir_key *key)
{
    weir_partition_die(partition, key, WEIR_DLQ_CRASH);
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
        weir_partition_ready(partition, key);
        weir_partition_drop_first(partition, key);
        weir_partition_schedule(partition, key);
        return;
    }
    if (error != WEIR_KAFKA_NONE) {
        weir_partition_refuse_letter(partition, key, error);
        weir_partition_go_on(partition, key); /* a drain does not wait for another try */
        return;
    }
    weir_partition_ready(partition, key);
    weir_partition_count(partition, dead_lettered, 1);
    weir_partition_finish_after(partition, key, NULL);
    weir_partition_schedule(partition, key);
}
