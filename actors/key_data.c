/*
 * Key data from the side of the handler and of its end: what workers do with it. See key_data.h; what the partition
 * actor does is in partition_data.c.
 */
#include "actors/key_data.h"
#include "actors/consumer.h"
#include "actors/partition.h"
#include "runtime/check.h"
#include "runtime/memory.h"
#include <string.h>

/* Is the calling thread in the run of this message? */
static bool is_in_run(const struct weir_message *message)
{
    const struct weir_worker *worker = weir_worker_current();
    if (!worker)
        return false;
    const struct weir_running *running = &message->partition->consumer->running[weir_worker_number(worker)];
    if (running->batch) /* a handler of batches has no other messages */
        return message->owner && message->owner->batch == running->batch;
    return atomic_load_explicit(&running->partition, memory_order_relaxed) == message->partition &&
           atomic_load_explicit(&running->offset, memory_order_relaxed) == message->offset;
}

struct weir_key_data *weir_key_data_of_run(struct weir_message *message)
{
    struct weir_key *key = message->owner; /* in a run it is this thread's (D1) */
    if (key->data)
        return key->data;
    size_t key_size = key->in_table ? message->key_size : 0;
    struct weir_key_data *data = weir_memory_allocate(sizeof *data + key_size);
    if (!data)
        return NULL;
    *data = (struct weir_key_data){.actor = {.turn = weir_key_data_turn},
                                   .partition = message->partition,
                                   .key = key,
                                   .epoch = message->epoch,
                                   .bytes = sizeof *data + key_size,
                                   .key_size = key_size};
    if (key_size > 0)
        memcpy(data->key_bytes, message->key, key_size);
    data->mail.kind = WEIR_MAIL_DATA;
    key->data = data;
    return data;
}

void *weir_message_state(struct weir_message *message)
{
    if (message->data)
        return message->data->state;
    const struct weir_key_state_class *class = &message->partition->consumer->key_state;
    if (!class->create || !is_in_run(message))
        return NULL;
    struct weir_key_data *data = weir_key_data_of_run(message);
    if (!data)
        return NULL;
    if (!data->state) {
        data->state = class->create(message, class->user);
        data->bytes += data->state ? class->bytes : 0;
    }
    message->data = data->state ? data : NULL;
    return data->state;
}

int weir_message_state_resize(struct weir_message *message, size_t bytes)
{
    struct weir_key_data *data = message->data;
    if (!data)
        return WEIR_STATE;
    data->bytes = sizeof *data + data->key_size + bytes;
    return 0;
}

void weir_key_data_destroy(struct weir_key_data *data)
{
    const struct weir_key_state_class *class = &data->partition->consumer->key_state;
    class->destroy(data->state, class->user);
}

void weir_key_data_turn(struct weir_actor *actor, struct weir_worker *worker)
{
    (void)worker;
    struct weir_key_data *data = WEIR_CONTAINER(actor, struct weir_key_data, actor);
    weir_key_data_destroy(data);
    weir_resident_send(&data->partition->resident, &data->mail); /* W3: the last access */
}

int weir_consumer_key_state(struct weir_consumer *consumer, const struct weir_key_state_class *key_class,
                            struct weir_error *error)
{
    if (atomic_load(&consumer->started) || consumer->key_state.create)
        return weir_error_set(error, WEIR_STATE,
                              "weir_consumer_key_state: once, before weir_consumer_start(); create another consumer");
    if (!key_class || key_class->size != sizeof *key_class)
        return weir_error_set(error, WEIR_INVALID,
                              "weir_consumer_key_state: size=%zu: must be sizeof(struct weir_key_state_class), %zu",
                              key_class ? key_class->size : 0, sizeof *key_class);
    if (!key_class->create || !key_class->destroy)
        return weir_error_set(error, WEIR_INVALID, "weir_consumer_key_state: %s is NULL: a class needs both functions",
                              key_class->create ? "destroy" : "create");
    if (consumer->options->ordering == WEIR_ORDERING_NONE)
        return weir_error_set(error, WEIR_INVALID,
                              "weir.ordering=none: no message has a key whose state could be kept; set key or "
                              "partition, or leave weir_consumer_key_state() out");
    consumer->key_state = *key_class;
    return 0;
}
