/*
 * Messages: the pool they come from, their content, and the handles of WEIR_LATER.
 *
 * The handle. `later` holds generation << 2 | state. The run that takes the handle arms it; exactly one
 * compare-and-swap can move it from armed to finished, and that one sends the message's only mail. The owner raises the
 * generation before the message runs again or is given back, so an older handle matches nothing: WEIR_STALE.
 *
 *   L1. Whoever moves `later` to finished sends the mail, once; nobody else does.
 *   L2. The owner neither runs nor frees a message whose handle is armed or abandoned: its holder may be reading it.
 * Nor one whose handle is finished before it has taken the mail. Only taking it, and a renewal, end that. L3. Between
 * its compare-and-swap and the end of its notify a thread is counted in `finishers`, so that a consumer is not freed
 * under it.
 *
 * No answer is lost between the holder's thread and the owner's:
 *   - What the answer says is written after the swap and before the push of the mail, which releases it; the owner
 *     reads it after it has taken the mail, which acquires it (stack.h). That the handle is finished it may see before:
 *     then it waits for the mail (take_run, drop_run), and decides nothing by the handle alone.
 *   - The mail makes a turn. The sender pushes, passes a full fence, and reads `wake`; the worker sets `wake` to
 *     running, passes a full fence, and takes the mailbox: one of the two sees the other (worker.c). Where the sender
 *     is the one to schedule, the same holds of the worker's inbox and its `sleeping` (system.c).
 *   - The turn finds its message, as that is neither freed nor run before (L2), and whatever has become of its key:
 * OUT, the hand-back will see `later_answered`; LATER, it is acted on, or dropped as stale; DYING, it was abandoned,
 * and now nobody reads it; in no key any more, it is an orphan. A holder's message is in no other state: what waits,
 *     for a retry or to be run, has been renewed.
 * So between the swap and the mail a message waits for a thread and not for a time. In the simulation, where time does
 * not pass by itself, that thread may need longer than the whole of it.
 */
#include "actors/message.h"
#include "actors/output.h"
#include "actors/partition.h"
#include "runtime/check.h"
#include "runtime/memory.h"
#include <pthread.h>
#include <sched.h>
#include <string.h>

struct weir_message_chunk {
    struct weir_message_chunk *next;
    struct weir_message messages[WEIR_MESSAGE_CHUNK];
};

/* ---- pool ---- */

static pthread_mutex_t recycled_lock = PTHREAD_MUTEX_INITIALIZER;
static struct weir_message_chunk *recycled; /* chunks without an owner; under recycled_lock */

static struct weir_message_chunk *take_chunk(void)
{
    pthread_mutex_lock(&recycled_lock);
    struct weir_message_chunk *chunk = recycled;
    if (chunk)
        recycled = chunk->next;
    pthread_mutex_unlock(&recycled_lock);
    return chunk ? chunk : weir_memory_allocate_zeroed(1, sizeof *chunk);
}

int weir_message_pool_reserve(struct weir_message_pool *pool, uint32_t count)
{
    while (pool->free_count < count) {
        struct weir_message_chunk *chunk = take_chunk();
        if (!chunk)
            return WEIR_NO_MEMORY;
        chunk->next = pool->chunks;
        pool->chunks = chunk;
        for (size_t index = WEIR_MESSAGE_CHUNK; index-- > 0;) {
            chunk->messages[index].next = pool->free;
            pool->free = &chunk->messages[index];
        }
        pool->free_count += WEIR_MESSAGE_CHUNK;
        pool->total_count += WEIR_MESSAGE_CHUNK;
    }
    return 0;
}

void weir_message_pool_deinit(struct weir_message_pool *pool)
{
    WEIR_CHECK(pool->free_count == pool->total_count);
    pthread_mutex_lock(&recycled_lock);
    for (struct weir_message_chunk *chunk = pool->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        chunk->next = recycled;
        recycled = chunk;
    }
    pthread_mutex_unlock(&recycled_lock);
    *pool = (struct weir_message_pool){0};
}

/* ---- content ---- */

static struct weir_kafka *kafka_of(const struct weir_message *message)
{
    return weir_partition_kafka(message->partition);
}

static bool header_at(struct weir_message *message, size_t index, struct weir_kafka_header *header)
{
    if (message->is_copied) {
        if (index >= message->copy->header_count)
            return false;
        *header = message->copy->headers[index];
        return true;
    }
    struct weir_kafka *kafka = kafka_of(message);
    return message->native && kafka->ops->record_header(kafka, message->native, index, header);
}

/* Size of the block that takes the content, and the number of headers in it. */
static size_t copy_size(struct weir_message *message, size_t *header_count)
{
    size_t size = sizeof(struct weir_message_copy) + message->key_size + message->value_size + 2;
    struct weir_kafka_header header;
    size_t count = 0;
    for (; header_at(message, count, &header); count++)
        size += sizeof header + strlen(header.name) + 1 + header.value_size + 1;
    *header_count = count;
    return size;
}

/* Append `size` bytes and a NUL (so that an empty value has an address of its own); NULL stays NULL. */
static const void *append(char **end, const void *data, size_t size)
{
    if (!data)
        return NULL;
    char *start = *end;
    memcpy(start, data, size);
    start[size] = '\0';
    *end = start + size + 1;
    return start;
}

int weir_message_copy_out(struct weir_message *message)
{
    if (message->is_copied || !message->native)
        return 0;
    size_t count;
    size_t size = copy_size(message, &count);
    struct weir_message_copy *copy = size <= UINT32_MAX ? weir_memory_allocate(size) : NULL;
    if (!copy)
        return WEIR_NO_MEMORY;
    copy->size_bytes = (uint32_t)size;
    copy->header_count = (uint32_t)count;
    char *end = (char *)&copy->headers[count];
    for (size_t index = 0; index < count; index++) {
        struct weir_kafka_header header;
        WEIR_CHECK(header_at(message, index, &header));
        copy->headers[index].name = append(&end, header.name, strlen(header.name));
        copy->headers[index].value = append(&end, header.value, header.value_size);
        copy->headers[index].value_size = header.value_size;
    }
    message->key = append(&end, message->key, message->key_size);
    message->value = append(&end, message->value, message->value_size);
    WEIR_CHECK(end <= (char *)copy + size);
    kafka_of(message)->ops->record_free(kafka_of(message), message->native);
    message->copy = copy;
    message->is_copied = true;
    return 0;
}

static void forget_failure(struct weir_message *message)
{
    weir_memory_free(message->failure->reason);
    weir_memory_free(message->failure);
    message->failure = NULL;
}

void weir_message_release_content(struct weir_message *message)
{
    if (message->is_copied)
        weir_memory_free(message->copy);
    else if (message->native)
        kafka_of(message)->ops->record_free(kafka_of(message), message->native);
    message->native = NULL;
    message->is_copied = false;
    if (message->failure)
        forget_failure(message);
    if (message->later_reason)
        weir_memory_free(message->later_reason);
    message->later_reason = NULL;
    weir_outputs_drop(message);
    message->key = message->value = NULL;
}

struct weir_failure *weir_message_failure(struct weir_message *message)
{
    if (!message->failure && (message->failure = weir_memory_allocate_zeroed(1, sizeof *message->failure)))
        message->failure->message = message;
    return message->failure;
}

const char *weir_message_topic(const struct weir_message *message)
{
    return weir_partition_topic(message->partition);
}

int32_t weir_message_partition(const struct weir_message *message)
{
    return weir_partition_number(message->partition);
}

int64_t weir_message_offset(const struct weir_message *message)
{
    return message->offset;
}

int64_t weir_message_timestamp_ms(const struct weir_message *message)
{
    return message->timestamp_ms;
}

const void *weir_message_key(const struct weir_message *message)
{
    return message->key;
}

size_t weir_message_key_size(const struct weir_message *message)
{
    return message->key_size;
}

const void *weir_message_value(const struct weir_message *message)
{
    return message->value;
}

size_t weir_message_value_size(const struct weir_message *message)
{
    return message->value_size;
}

uint32_t weir_message_attempt(const struct weir_message *message)
{
    return message->attempts + 1;
}

uint64_t weir_message_epoch(const struct weir_message *message)
{
    return message->epoch;
}

const void *weir_message_header(struct weir_message *message, const char *name, size_t *size)
{
    const void *value = NULL;
    struct weir_kafka_header header;
    for (size_t index = 0; header_at(message, index, &header); index++) {
        if (strcmp(header.name, name) != 0)
            continue;
        value = header.value ? header.value : "";
        if (size)
            *size = header.value ? header.value_size : 0;
    }
    return value;
}

int weir_message_header_at(struct weir_message *message, size_t index, const char **name, const void **value,
                           size_t *value_size)
{
    struct weir_kafka_header header;
    if (!header_at(message, index, &header))
        return 0;
    *name = header.name;
    *value = header.value;
    *value_size = header.value_size;
    return 1;
}

/* ---- outcomes with details ---- */

#define DELAY_MS_MAX (24ull * 60 * 60 * 1000)

/* Keep the handler's words; when memory is short they are lost, the outcome is not. */
static void set_reason(char **place, const char *reason)
{
    weir_memory_free(*place);
    *place = NULL;
    if (!reason || !*reason)
        return;
    size_t size = strnlen(reason, WEIR_MESSAGE_REASON_BYTES);
    while (size == WEIR_MESSAGE_REASON_BYTES && size > 0 && ((unsigned char)reason[size] & 0xc0) == 0x80)
        size--; /* do not cut inside a UTF-8 sequence */
    char *copy = weir_memory_allocate(size + 1);
    if (!copy)
        return;
    memcpy(copy, reason, size);
    copy[size] = '\0';
    *place = copy;
}

static uint32_t bounded_delay_ms(uint64_t delay_ms)
{
    return (uint32_t)(delay_ms < DELAY_MS_MAX ? delay_ms : DELAY_MS_MAX);
}

static void say_why(struct weir_message *message, const char *reason)
{
    struct weir_failure *failure = weir_message_failure(message);
    if (failure)
        set_reason(&failure->reason, reason);
}

enum weir_outcome weir_retry(struct weir_message *message, const char *reason)
{
    say_why(message, reason);
    return WEIR_RETRY;
}

enum weir_outcome weir_retry_class(struct weir_message *message, const char *name, const char *reason)
{
    say_why(message, reason);
    message->retry_class = weir_partition_class(message->partition, name);
    return WEIR_RETRY;
}

enum weir_outcome weir_retry_after(struct weir_message *message, uint64_t delay_ms, const char *reason)
{
    say_why(message, reason);
    message->has_delay = true;
    message->delay_ms = bounded_delay_ms(delay_ms);
    return WEIR_RETRY;
}

enum weir_outcome weir_escalate(struct weir_message *message, enum weir_escalation what, const char *reason)
{
    say_why(message, reason);
    message->escalation = (uint8_t)what;
    return WEIR_ESCALATE;
}

enum weir_outcome weir_dead(struct weir_message *message, const char *reason)
{
    say_why(message, reason);
    return WEIR_DEAD;
}

/* ---- handles ---- */

/* Threads inside weir_later_finish(), striped so that they do not share a cache line, and by the phase in which they
 * came: who waits for them changes it, and waits for those of the one before only, however many come meanwhile. Twice,
 * as a thread may have read the phase long before it is counted. */
#define STRIPES 16
static struct {
    _Alignas(64) _Atomic uint64_t count[2];
} finishers[STRIPES];
static _Atomic unsigned finishers_phase; /* its last bit; written under finishers_lock */
static pthread_mutex_t finishers_lock = PTHREAD_MUTEX_INITIALIZER;

static _Atomic uint64_t *stripe(void)
{
    static _Atomic unsigned stripe_next;
    static _Thread_local unsigned mine;
    if (mine == 0)
        mine = atomic_fetch_add_explicit(&stripe_next, 1, memory_order_relaxed) % STRIPES + 1;
    return &finishers[mine - 1].count[atomic_load_explicit(&finishers_phase, memory_order_relaxed) & 1];
}

void weir_later_quiesce(void)
{
    pthread_mutex_lock(&finishers_lock);
    for (unsigned round = 0; round < 2; round++) {
        unsigned phase = atomic_fetch_add_explicit(&finishers_phase, 1, memory_order_seq_cst) & 1;
        for (size_t index = 0; index < STRIPES; index++) {
            while (atomic_load_explicit(&finishers[index].count[phase], memory_order_acquire) != 0)
                sched_yield(); /* a finish is a few hundred instructions */
        }
    }
    pthread_mutex_unlock(&finishers_lock);
}

/* The letter of a message that is abandoned tells its headers while the holder may ask for them, and they are parsed by
 * whoever asks first. So they are parsed before there is a holder. */
static void parse_headers(struct weir_message *message)
{
    struct weir_kafka_header header;
    if (weir_partition_abandons(message->partition))
        (void)header_at(message, 0, &header);
}

struct weir_later weir_message_later(struct weir_message *message)
{
    uint64_t word = atomic_load_explicit(&message->later, memory_order_relaxed);
    uint64_t generation = word >> WEIR_LATER_BITS;
    if (weir_partition_has_batches(message->partition))
        return (struct weir_later){message, generation}; /* stale from the start: a batch waits for nobody */
    if ((word & WEIR_LATER_MASK) == WEIR_LATER_IDLE) {   /* taking it twice in a run gives the same */
        parse_headers(message);
        /* Nobody else knows this generation yet, so a plain store is enough. */
        atomic_store_explicit(&message->later, generation << WEIR_LATER_BITS | WEIR_LATER_ARMED, memory_order_release);
    }
    return (struct weir_later){message, generation};
}

static bool swap_state(struct weir_message *message, uint64_t generation, enum weir_later_state from,
                       enum weir_later_state to)
{
    uint64_t expected = generation << WEIR_LATER_BITS | from;
    return atomic_compare_exchange_strong_explicit(&message->later, &expected, generation << WEIR_LATER_BITS | to,
                                                   memory_order_acq_rel, memory_order_acquire);
}

/* What is said with an answer. */
struct answer {
    enum weir_outcome outcome;
    const char *reason, *class;
    const uint64_t *delay_ms;
    enum weir_escalation escalation;
};

static bool is_answer(enum weir_outcome outcome)
{
    return (int)outcome >= WEIR_ACK && outcome <= WEIR_ESCALATE && outcome != WEIR_LATER;
}

/* The one path of every answer. The details are written between the swap and the mail: until the mail has come the
 * owner reads none of them. */
static int finish(struct weir_later later, const struct answer *answer)
{
    if (!is_answer(answer->outcome) || !later.message)
        return WEIR_INVALID;
    _Atomic uint64_t *counter = stripe();
    atomic_fetch_add_explicit(counter, 1, memory_order_acq_rel);
    struct weir_message *message = later.message;
    int result = WEIR_STALE;
    if (swap_state(message, later.generation, WEIR_LATER_ARMED, WEIR_LATER_FINISHED)) {
        set_reason(&message->later_reason, answer->reason);
        message->later_has_delay = answer->delay_ms != NULL;
        message->later_delay_ms = answer->delay_ms ? bounded_delay_ms(*answer->delay_ms) : 0;
        message->later_class = answer->class ? weir_partition_class(message->partition, answer->class) : 0;
        message->later_escalation = (uint8_t)answer->escalation;
        message->later_outcome = (uint8_t)answer->outcome;
        result = weir_partition_is_current(message->partition, message->epoch) ? WEIR_OK : WEIR_STALE;
        weir_partition_answer(message->partition, message);
    } else if (swap_state(message, later.generation, WEIR_LATER_ABANDONED, WEIR_LATER_FINISHED)) {
        message->later_outcome = WEIR_DEAD;
        weir_partition_answer(message->partition, message);
    }
    atomic_fetch_sub_explicit(counter, 1, memory_order_release); /* pairs with weir_later_quiesce() */
    return result;
}

int weir_later_finish(struct weir_later later, enum weir_outcome outcome)
{
    return finish(later, &(struct answer){.outcome = outcome});
}

int weir_later_retry(struct weir_later later, const char *reason)
{
    return finish(later, &(struct answer){.outcome = WEIR_RETRY, .reason = reason});
}

int weir_later_retry_after(struct weir_later later, uint64_t delay_ms, const char *reason)
{
    return finish(later, &(struct answer){.outcome = WEIR_RETRY, .reason = reason, .delay_ms = &delay_ms});
}

int weir_later_retry_class(struct weir_later later, const char *name, const char *reason)
{
    return finish(later, &(struct answer){.outcome = WEIR_RETRY, .reason = reason, .class = name});
}

int weir_later_escalate(struct weir_later later, enum weir_escalation what, const char *reason)
{
    return finish(later, &(struct answer){.outcome = WEIR_ESCALATE, .reason = reason, .escalation = what});
}

int weir_later_dead(struct weir_later later, const char *reason)
{
    return finish(later, &(struct answer){.outcome = WEIR_DEAD, .reason = reason});
}

bool weir_message_has_holder(const struct weir_message *message)
{
    return weir_message_later_state(message) != WEIR_LATER_IDLE; /* which only the owner makes it: by a renewal */
}

enum weir_outcome weir_message_last_word(struct weir_message *message)
{
    if (message->outcome != WEIR_LATER) {
        set_reason(&message->later_reason, NULL);
        return (enum weir_outcome)message->outcome;
    }
    if (message->later_reason && weir_message_failure(message)) {
        weir_memory_free(message->failure->reason);
        message->failure->reason = message->later_reason;
        message->later_reason = NULL;
    }
    message->has_delay = message->later_has_delay;
    message->delay_ms = message->later_delay_ms;
    message->retry_class = message->later_class;
    message->escalation = message->later_escalation;
    return (enum weir_outcome)message->later_outcome;
}

bool weir_message_abandon(struct weir_message *message)
{
    uint64_t generation = atomic_load_explicit(&message->later, memory_order_relaxed) >> WEIR_LATER_BITS;
    return swap_state(message, generation, WEIR_LATER_ARMED, WEIR_LATER_ABANDONED);
}

bool weir_message_close_handle(struct weir_message *message)
{
    uint64_t generation = atomic_load_explicit(&message->later, memory_order_relaxed) >> WEIR_LATER_BITS;
    uint64_t expected = generation << WEIR_LATER_BITS | WEIR_LATER_ARMED;
    return atomic_compare_exchange_strong_explicit(&message->later, &expected, (generation + 1) << WEIR_LATER_BITS,
                                                   memory_order_acq_rel, memory_order_acquire);
}
