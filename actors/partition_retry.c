/*
 * Attempts: which of them count, and how long a key waits for the next.
 *
 * Only the key waits. Its first message is copied out of the fetch response, so that it does not pin what came with it.
 */
#include "actors/consumer.h"
#include "actors/partition_finish.h"
#include <stddef.h>

void weir_partition_wait(struct weir_partition *partition, struct weir_key *key, uint64_t delay_ms)
{
    weir_partition_copy_out(partition, key->first); /* short of memory: it stays in its fetch response */
    weir_partition_enter_list(partition, key, WEIR_KEY_WAITING);
    weir_partition_hold(partition, key);
    weir_partition_arm(partition, key, delay_ms);
    weir_partition_enforce_held(partition);
}

/* The deadline of retries stands still for this long. */
static void stretch_deadline(struct weir_message *message, uint64_t delay_ms)
{
    if (message->failure && message->failure->first_ns != 0)
        message->failure->first_ns += delay_ms * WEIR_MS_NS;
}

/* The clock of retry deadlines: it stands while the breaker is not closed. */
static uint64_t retry_clock_ns(const struct weir_partition *partition)
{
    return weir_partition_now_ns(partition) -
           atomic_load_explicit(&partition->consumer->breaker_stood_ns, memory_order_relaxed);
}

static uint64_t failing_ms(const struct weir_partition *partition, const struct weir_message *message)
{
    uint64_t first_ns = message->failure ? message->failure->first_ns : 0, clock_ns = retry_clock_ns(partition);
    return first_ns != 0 && clock_ns > first_ns ? (clock_ns - first_ns) / WEIR_MS_NS : 0;
}

void weir_partition_note_failure(struct weir_partition *partition, struct weir_message *message)
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
void weir_partition_burn_attempt(struct weir_partition *partition, struct weir_message *message)
{
    weir_partition_note_failure(partition, message);
    message->attempts++;
    partition->changed = true;
}

/* A run that asked for another one. False: it is given up, for `cause`. */
bool weir_partition_may_retry(struct weir_partition *partition, struct weir_message *message, uint64_t *delay_ms,
                              enum weir_dlq_cause *cause)
{
    const struct weir_retry_policy *policy = &partition->topic->retry[message->retry_class];
    weir_partition_count(partition, retries, 1);
    weir_partition_burn_attempt(partition, message);
    if (message->failure)
        message->failure->overloads = 0;
    *cause = WEIR_DLQ_DEAD;
    if (partition->consumer->options->delivery == WEIR_AT_MOST_ONCE)
        return false; /* one attempt: its offset has been committed */
    *delay_ms = message->has_delay
                    ? message->delay_ms
                    : weir_retry_delay_ms(policy, message->attempts, weir_worker_random(partition->resident.home));
    if (weir_budget_is_spent(&partition->topic->budget, weir_partition_now_ns(partition)))
        stretch_deadline(message, *delay_ms); /* its letter could not be sent */
    *cause =
        policy->attempts_max > 0 && message->attempts >= policy->attempts_max ? WEIR_DLQ_ATTEMPTS : WEIR_DLQ_DEADLINE;
    return !weir_retry_is_spent(policy, message->attempts, failing_ms(partition, message), *delay_ms);
}

void weir_partition_retry(struct weir_partition *partition, struct weir_key *key)
{
    uint64_t delay_ms;
    enum weir_dlq_cause cause;
    if (weir_partition_may_retry(partition, key->first, &delay_ms, &cause))
        weir_partition_wait(partition, key, delay_ms);
    else
        weir_partition_die(partition, key, cause);
}

/* The downstream's fault, not the message's: no attempt is burnt, and the retry deadline stands still for as long as
 * this says that it waits. */
uint64_t weir_partition_room_ms(struct weir_partition *partition, struct weir_message *message)
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

uint64_t weir_partition_overloaded_ms(struct weir_partition *partition, struct weir_message *message)
{
    weir_partition_count(partition, overloaded, 1);
    if (partition->consumer->options->breaker_overloaded == WEIR_BREAKER_OVERLOADED_OPEN)
        weir_resident_notify(&partition->consumer->control.resident);
    return weir_partition_room_ms(partition, message);
}

void weir_partition_key_timer(struct weir_timer *timer)
{
    struct weir_key *key = WEIR_CONTAINER(timer, struct weir_key, timer);
    struct weir_partition *partition = key->partition;
    if (key->state == WEIR_KEY_DYING) {
        weir_partition_bury(partition, key);
        return;
    }
    if (key->state == WEIR_KEY_SENDING) {
        weir_partition_send_outputs(partition, key);
        weir_partition_go_on(partition, key);
        return;
    }
    weir_partition_ready(partition, key);
    weir_partition_schedule(partition, key);
    weir_resident_notify(&partition->resident); /* held messages have become fewer: pulling may go on */
}
