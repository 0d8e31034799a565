/*
 * Batches: gathered, sent out, run, taken back. See batch.h; what becomes of the messages is in partition_batch.c.
 */
#include "actors/batch.h"
#include "actors/consumer.h"
#include "actors/partition.h"
#include "runtime/check.h"
#include "runtime/memory.h"

#define MS_NS 1000000ull

/* ---- room ---- */

int weir_batches_init(struct weir_consumer *consumer)
{
    unsigned count = weir_system_worker_count(consumer->system), runners = weir_system_runner_count(consumer->system);
    size_t room = (size_t)consumer->options->batch_messages_max, places = (size_t)count * consumer->level_count;
    consumer->open_batches = weir_memory_allocate_zeroed(places, sizeof(struct weir_batch *));
    consumer->batch_messages = weir_memory_allocate_zeroed(count, sizeof(struct weir_message **));
    if (!consumer->open_batches || !consumer->batch_messages)
        return WEIR_NO_MEMORY;
    for (unsigned index = count - runners; index < count; index++) {
        consumer->batch_messages[index] = weir_memory_allocate_zeroed(room, sizeof(struct weir_message *));
        if (!consumer->batch_messages[index])
            return WEIR_NO_MEMORY;
    }
    return 0;
}

void weir_batches_deinit(struct weir_consumer *consumer)
{
    for (unsigned index = 0; consumer->batch_messages && index < weir_system_worker_count(consumer->system); index++)
        weir_memory_free(consumer->batch_messages[index]);
    weir_memory_free(consumer->batch_messages);
    weir_memory_free(consumer->open_batches);
}

/* ---- gathering ---- */

static const struct weir_options *options_of(const struct weir_batch *batch)
{
    return batch->partition->consumer->options;
}

static struct weir_worker *home_of(const struct weir_batch *batch)
{
    return batch->partition->resident.home;
}

static uint64_t bytes_of(const struct weir_message *message)
{
    return message->key_size + message->value_size;
}

static bool fits(const struct weir_batch *batch, const struct weir_message *message)
{
    return batch->count == 0 || batch->bytes + bytes_of(message) <= options_of(batch)->batch_bytes_max;
}

static bool is_full(const struct weir_batch *batch)
{
    return batch->count >= options_of(batch)->batch_messages_max || batch->bytes >= options_of(batch)->batch_bytes_max;
}

/* It gathers no longer. */
static void shut(struct weir_batch *batch)
{
    weir_timers_cancel(weir_worker_timers(home_of(batch)), &batch->timer);
    if (batch->open)
        *batch->open = NULL;
    batch->open = NULL;
}

static void dispatch(struct weir_batch *batch)
{
    shut(batch);
    for (struct weir_key *key = batch->keys.first; key; key = key->list_after) {
        weir_key_move(key, WEIR_KEY_OUT);
        key->partition->out_count++;
    }
    weir_worker_dispatch_at(home_of(batch), &batch->actor, batch->partition->level, 1);
}

static void on_linger(struct weir_timer *timer)
{
    dispatch(WEIR_CONTAINER(timer, struct weir_batch, timer));
}

/* Where batches that this key may join are found. */
static struct weir_batch **place_of(const struct weir_key *key)
{
    struct weir_partition *partition = key->partition;
    const struct weir_consumer *consumer = partition->consumer;
    switch ((enum weir_batch_scope)consumer->options->batch_scope) {
    case WEIR_BATCH_PARTITION:
        return &partition->open_batch;
    case WEIR_BATCH_ANY:
        return &consumer->open_batches[weir_worker_number(partition->resident.home) * consumer->level_count +
                                       partition->level];
    default:
        return NULL;
    }
}

static struct weir_batch *open_batch(struct weir_partition *partition, struct weir_batch **place)
{
    struct weir_batch *batch = weir_memory_allocate(sizeof *batch);
    if (!batch)
        return NULL;
    *batch = (struct weir_batch){.actor = {.turn = weir_batch_turn}, .partition = partition, .open = place};
    batch->mail.kind = WEIR_MAIL_BATCH;
    weir_timer_init(&batch->timer, on_linger);
    weir_timers_arm(weir_worker_timers(home_of(batch)), &batch->timer,
                    weir_worker_now_ns(home_of(batch)) + partition->consumer->options->batch_linger_ms * MS_NS);
    if (place)
        *place = batch;
    return batch;
}

/* The first of a key has been looked at by who schedules it. */
static bool may_join(const struct weir_key *key, const struct weir_message *message)
{
    const struct weir_partition *partition = key->partition;
    return !message->settled && (partition->consumer->options->delivery != WEIR_AT_MOST_ONCE ||
                                 message->offset < atomic_load_explicit(&partition->committed, memory_order_acquire));
}

/* Take in what follows the run of the key, from `message` on, as far as there is room. */
static void fill(struct weir_batch *batch, struct weir_key *key, const struct weir_message *message)
{
    for (; key->run_count < key->count; message = message->next) {
        if (!may_join(key, message))
            break;
        if (!fits(batch, message)) {
            dispatch(batch);
            return;
        }
        key->run_count++;
        batch->count++;
        batch->bytes += bytes_of(message);
        if (is_full(batch)) {
            dispatch(batch);
            return;
        }
    }
    if (key->partition->state != WEIR_PARTITION_ACTIVE || key->first->passes != WEIR_PASSES_NOTHING)
        weir_batch_hurry(key); /* nothing more will come, or the breaker waits for its probe */
}

bool weir_batch_join(struct weir_key *key)
{
    struct weir_batch **place = place_of(key), *batch = place ? *place : NULL;
    if (batch && !fits(batch, key->first)) {
        dispatch(batch);
        batch = NULL;
    }
    if (!batch)
        batch = open_batch(key->partition, place);
    if (!batch)
        return false;
    key->batch = batch;
    key->run_count = key->run_done = 0;
    weir_key_move(key, WEIR_KEY_GATHERING);
    weir_key_list_append(&batch->keys, key);
    fill(batch, key, key->first);
    return true;
}

void weir_batch_extend(struct weir_key *key)
{
    const struct weir_message *message = key->last;
    if (key->run_count + 1u < key->count) { /* others stand before it that could not join when they came */
        message = key->first;
        for (uint32_t left = key->run_count; left > 0; left--)
            message = message->next;
    }
    fill(key->batch, key, message);
}

/* At the next step, so that what is scheduled in this one comes along. */
void weir_batch_hurry(struct weir_key *key)
{
    struct weir_batch *batch = key->batch;
    struct weir_timers *timers = weir_worker_timers(home_of(batch));
    weir_timers_cancel(timers, &batch->timer);
    weir_timers_arm(timers, &batch->timer, weir_worker_now_ns(home_of(batch)));
}

/* ---- leaving ---- */

static void remove_key(struct weir_batch *batch, struct weir_key *key)
{
    const struct weir_message *message = key->first;
    for (uint32_t left = key->run_count; left > 0; left--) {
        batch->count--;
        batch->bytes -= bytes_of(message);
        if (left > 1)
            message = message->next;
    }
    weir_key_list_remove(&batch->keys, key);
    key->batch = NULL;
}

void weir_batch_leave(struct weir_key *key)
{
    struct weir_batch *batch = key->batch;
    remove_key(batch, key);
    if (batch->keys.count > 0)
        return;
    shut(batch);
    weir_memory_free(batch);
}

/* Called under the lock of a pool, where nobody comes in between: tests/support/preempt.h. */
__attribute__((no_instrument_function)) bool weir_batch_has_keys_of(const struct weir_actor *actor,
                                                                    const void *partition)
{
    if (actor->turn != weir_batch_turn)
        return false;
    const struct weir_key *key = WEIR_CONTAINER(actor, const struct weir_batch, actor)->keys.first;
    while (key && key->partition != partition)
        key = key->list_after;
    return key != NULL;
}

void weir_batch_take_back(struct weir_actor *actor, struct weir_partition *partition)
{
    struct weir_batch *batch = WEIR_CONTAINER(actor, struct weir_batch, actor);
    for (struct weir_key *key = batch->keys.first, *next; key; key = next) {
        next = key->list_after;
        if (key->partition != partition)
            continue;
        remove_key(batch, key);
        weir_partition_take_back(partition, key);
    }
    if (batch->keys.count > 0)
        weir_worker_dispatch_at(home_of(batch), &batch->actor, batch->partition->level, 1);
    else
        weir_memory_free(batch);
}

void weir_batch_take(struct weir_batch *batch)
{
    struct weir_key *key;
    while ((key = batch->keys.first)) {
        struct weir_partition *partition = key->partition;
        weir_key_list_remove(&batch->keys, key);
        key->batch = NULL;
        weir_partition_take_batched(partition, key);
        if (partition != batch->partition)
            weir_resident_notify(&partition->resident); /* to account for it, and to pull again */
    }
    weir_memory_free(batch);
}

/* ---- the turn ---- */

/* The messages that may start: of each key as many of its run as there are before the first that may not. */
static void collect(struct weir_batch *batch, struct weir_worker *worker)
{
    for (struct weir_key *key = batch->keys.first; key; key = key->list_after) {
        struct weir_message *message = key->first;
        while (weir_partition_may_start(key->partition, message, worker)) {
            message->outcome = WEIR_BATCH_UNSAID;
            message->has_delay = false;
            message->retry_class = message->escalation = 0;
            batch->messages[batch->started_count++] = message;
            if (++key->run_done == key->run_count)
                break;
            message = message->next;
        }
    }
}

static bool is_answer(enum weir_outcome outcome)
{
    return (int)outcome >= WEIR_ACK && outcome <= WEIR_ESCALATE && outcome != WEIR_LATER;
}

static enum weir_outcome wrong_answer(struct weir_message *message, enum weir_outcome outcome)
{
    return weir_retry(message, outcome == WEIR_LATER ? "WEIR_LATER is no outcome for a message of a batch"
                                                     : "the batch handler gave an unknown outcome");
}

static void run(struct weir_batch *batch, struct weir_running *running)
{
    const struct weir_consumer *consumer = batch->partition->consumer;
    const struct weir_message *first = batch->messages[0];
    if (running->guarded) /* one run, whatever is in it */
        atomic_store_explicit(&running->runs, atomic_load_explicit(&running->runs, memory_order_relaxed) + 1,
                              memory_order_relaxed);
    weir_running_set(running, first->partition, first->offset);
    running->batch = batch;
    enum weir_outcome outcome = consumer->batch_handler(batch, consumer->user);
    running->batch = NULL;
    weir_running_set(running, NULL, -1);
    for (size_t index = 0; index < batch->started_count; index++) {
        struct weir_message *message = batch->messages[index];
        if (message->outcome == WEIR_BATCH_UNSAID)
            message->outcome = (uint8_t)(is_answer(outcome) ? outcome : wrong_answer(message, outcome));
    }
}

void weir_batch_turn(struct weir_actor *actor, struct weir_worker *worker)
{
    struct weir_batch *batch = WEIR_CONTAINER(actor, struct weir_batch, actor);
    struct weir_consumer *consumer = batch->partition->consumer;
    batch->messages = consumer->batch_messages[weir_worker_number(worker)];
    batch->started_count = 0;
    collect(batch, worker);
    if (batch->started_count > 0)
        run(batch, &consumer->running[weir_worker_number(worker)]);
    weir_resident_send(&batch->partition->resident, &batch->mail); /* W3: the last access */
}

/* ---- for handlers ---- */

size_t weir_batch_count(const struct weir_batch *batch)
{
    return batch->started_count;
}

struct weir_message *weir_batch_message(const struct weir_batch *batch, size_t index)
{
    return index < batch->started_count ? batch->messages[index] : NULL;
}

int weir_batch_set(struct weir_batch *batch, size_t index, enum weir_outcome outcome)
{
    struct weir_message *message = weir_batch_message(batch, index);
    if (!message)
        return WEIR_INVALID;
    message->outcome = (uint8_t)(is_answer(outcome) ? outcome : wrong_answer(message, outcome));
    return is_answer(outcome) ? 0 : WEIR_INVALID;
}
