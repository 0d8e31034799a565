/*
 * The producer for dead letters and outputs: acks=all, idempotent, made at the first produce.
 *
 * Threads: produce runs anywhere; deliveries, and the end of a producer that has failed for good, are control's.
 *
 * Invariants
 *   P1. `current` is used outside control only under the read lock. Who replaces it holds the write lock; control frees
 *       an old one only after having held the write lock once since, when nobody can be inside it any more.
 *   P2. Every accepted message comes back as exactly one delivery report of librdkafka, and so as one DELIVERED: an old
 *       producer is purged, served until nothing is left in it, and only then destroyed (by the helper: it waits for
 *       librdkafka's threads).
 *   P3. After a producer has failed for good, the next is not made before REPLACE_NS have passed: until then a produce
 *       is refused as RETRIABLE. A cause that stays (no right to idempotent writes) costs one client a second.
 *   P4. What waits in librdkafka is bounded by its queue.buffering.max.messages and .kbytes: then WEIR_FULL.
 *   P5. A broker refuses a batch as a whole, and then every message in it, be it for one that is too large, that has no
 *       key in a compacted topic, or a time that the topic does not take. So none is blamed before it has been refused
 *       alone: it goes out again by a second producer, whose batches are of one message. That one is control's, and
 *       made when it is first needed.
 */
#include "actors/librdkafka/client.h"
#include "runtime/log.h"
#include "runtime/memory.h"

#define REPLACE_NS UINT64_C(1000000000)
#define PURGE_NS   UINT64_C(1000000000)

/* ---- making and replacing ---- */

static void on_event(rd_kafka_t *rk, void *opaque)
{
    weir_rdkafka_wake(opaque);
}

/* NULL, and logged, where librdkafka refuses. */
static rd_kafka_t *connect_client(const rd_kafka_conf_t *settings, bool is_alone, const char *transactional_id)
{
    char words[256] = "";
    rd_kafka_conf_t *conf = rd_kafka_conf_dup(settings);
    if (is_alone)
        WEIR_CHECK(rd_kafka_conf_set(conf, "batch.num.messages", "1", words, sizeof words) == RD_KAFKA_CONF_OK);
    if (transactional_id)
        WEIR_CHECK(rd_kafka_conf_set(conf, "transactional.id", transactional_id, words, sizeof words) ==
                   RD_KAFKA_CONF_OK);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, words, sizeof words);
    if (rk)
        return rk;
    rd_kafka_conf_destroy(conf);
    weir_log(WEIR_LOG_ERROR, WEIR_NO_FIELDS, "no producer for dead letters and outputs: %s", words);
    return NULL;
}

static struct weir_rdkafka_producer *create_with(struct weir_rdkafka *client, bool is_alone,
                                                 const char *transactional_id)
{
    struct weir_rdkafka_producer *producer = weir_memory_allocate_zeroed(1, sizeof *producer);
    if (!producer)
        return NULL;
    producer->is_alone = is_alone || transactional_id; /* in a transaction nothing can be sent by another */
    producer->rk = connect_client(client->producers.conf, is_alone, transactional_id);
    if (!producer->rk) {
        weir_memory_free(producer);
        return NULL;
    }
    producer->queue = rd_kafka_queue_get_main(producer->rk);
    rd_kafka_queue_cb_event_enable(producer->queue, on_event, client);
    return producer;
}

static struct weir_rdkafka_producer *create(struct weir_rdkafka *client, bool is_alone)
{
    return create_with(client, is_alone, NULL);
}

struct weir_rdkafka_producer *weir_rdkafka_producer_create(struct weir_rdkafka *client, const char *transactional_id)
{
    return create_with(client, false, transactional_id);
}

void weir_rdkafka_producer_retire(struct weir_rdkafka *client, struct weir_rdkafka_producer *producer)
{
    producer->next = client->producers.retired;
    client->producers.retired = producer;
}

/* Under the write lock. */
static void give_up(struct weir_rdkafka_producers *producers, struct weir_rdkafka_producer *producer)
{
    atomic_store_explicit(&producers->current, NULL, memory_order_release);
    producers->failed_ns = weir_rdkafka_now_ns();
    producer->next = atomic_load_explicit(&producers->given_up, memory_order_relaxed); /* written by us alone */
    /* partner: the exchange in take_given_up */
    while (!atomic_compare_exchange_weak_explicit(&producers->given_up, &producer->next, producer, memory_order_release,
                                                  memory_order_relaxed))
        ;
}

/* Under the write lock. */
static bool may_create(const struct weir_rdkafka_producers *producers)
{
    return !producers->refuse &&
           (producers->failed_ns == 0 || weir_rdkafka_now_ns() - producers->failed_ns >= REPLACE_NS);
}

/* Another one than `old` (NULL: any); false where there is none now. */
static bool replace(struct weir_rdkafka *client, struct weir_rdkafka_producer *old)
{
    struct weir_rdkafka_producers *producers = &client->producers;
    pthread_rwlock_wrlock(&producers->lock);
    struct weir_rdkafka_producer *current = atomic_load_explicit(&producers->current, memory_order_relaxed);
    if (current && current == old) {
        give_up(producers, old);
        current = NULL;
    }
    if (!current && may_create(producers)) {
        current = create(client, false);
        if (!current)
            producers->failed_ns = weir_rdkafka_now_ns();
        atomic_store_explicit(&producers->current, current, memory_order_release); /* partner: loads of current */
    }
    pthread_rwlock_unlock(&producers->lock);
    if (old)
        weir_rdkafka_wake(client); /* control finishes the old one */
    return current != NULL;
}

/* ---- produce ---- */

/* 0, or librdkafka's code. */
static rd_kafka_resp_err_t add_headers(rd_kafka_headers_t *list, const struct weir_kafka_produce *produce)
{
    for (size_t index = 0; index < produce->header_count; index++) {
        const struct weir_kafka_header *header = &produce->headers[index];
        rd_kafka_resp_err_t code =
            rd_kafka_header_add(list, header->name, -1, header->value, (ssize_t)header->value_size);
        if (code)
            return code;
    }
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* A producer that has failed for good refuses with the cause of that; to us it is its end, whatever the cause. */
static rd_kafka_resp_err_t code_of(rd_kafka_error_t *error)
{
    if (!error)
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    rd_kafka_resp_err_t code = rd_kafka_error_is_fatal(error) ? RD_KAFKA_RESP_ERR__FATAL : rd_kafka_error_code(error);
    rd_kafka_error_destroy(error);
    return code;
}

/* Takes the headers, NULL for none. */
static rd_kafka_resp_err_t send_parts(rd_kafka_t *rk, const struct weir_kafka_produce *produce,
                                      rd_kafka_headers_t *headers, void *opaque)
{
    const rd_kafka_vu_t parts[] = {
        {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = produce->topic},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {(void *)produce->key, produce->key_size}},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {(void *)produce->value, produce->value_size}},
        {.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = produce->timestamp_ms > 0 ? produce->timestamp_ms : 0},
        {.vtype = RD_KAFKA_VTYPE_PARTITION,
         .u.i32 = produce->has_partition ? produce->partition : RD_KAFKA_PARTITION_UA},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
        {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = opaque},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers}, /* the last, and left out where there are none */
    };
    rd_kafka_resp_err_t code = code_of(rd_kafka_produceva(rk, parts, WEIR_COUNT(parts) - (headers ? 0 : 1)));
    if (code && headers)
        rd_kafka_headers_destroy(headers); /* librdkafka takes it with a message only */
    return code;
}

static rd_kafka_resp_err_t send_message(rd_kafka_t *rk, const struct weir_kafka_produce *produce, void *opaque)
{
    if (produce->header_count == 0)
        return send_parts(rk, produce, NULL, opaque);
    rd_kafka_headers_t *headers = rd_kafka_headers_new(produce->header_count);
    rd_kafka_resp_err_t code = add_headers(headers, produce);
    if (!code)
        return send_parts(rk, produce, headers, opaque);
    rd_kafka_headers_destroy(headers);
    return code;
}

static int result_of(rd_kafka_resp_err_t code, enum weir_kafka_error *kafka_error)
{
    *kafka_error = weir_rdkafka_failure(code);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return 0;
    if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL)
        return WEIR_FULL;
    return code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE || code == RD_KAFKA_RESP_ERR__INVALID_ARG ? WEIR_INVALID
                                                                                                  : WEIR_KAFKA;
}

static rd_kafka_resp_err_t try_send(struct weir_rdkafka_producers *producers, const struct weir_kafka_produce *produce,
                                    void *opaque, struct weir_rdkafka_producer **used)
{
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR__FATAL;
    pthread_rwlock_rdlock(&producers->lock);
    *used = atomic_load_explicit(&producers->current, memory_order_acquire); /* partner: release in replace */
    if (*used && !producers->refuse) {
        atomic_fetch_add_explicit(&producers->accepted, 1, memory_order_release); /* partner: acquire in step_one */
        code = send_message((*used)->rk, produce, opaque);
    }
    pthread_rwlock_unlock(&producers->lock);
    return code;
}

/* Control's alone. */
static int produce_in_transaction(struct weir_rdkafka *client, const struct weir_kafka_produce *produce, void *opaque,
                                  enum weir_kafka_error *kafka_error)
{
    const struct weir_rdkafka_producer *producer = client->transactions.producer;
    bool refuses = !producer || client->producers.refuse; /* which control alone changes */
    return result_of(refuses ? RD_KAFKA_RESP_ERR__STATE : send_message(producer->rk, produce, opaque), kafka_error);
}

int weir_rdkafka_produce(struct weir_kafka *kafka, const struct weir_kafka_produce *produce, void *opaque,
                         enum weir_kafka_error *kafka_error)
{
    struct weir_rdkafka *client = weir_rdkafka_of(kafka);
    struct weir_rdkafka_producer *used;
    if (client->transactions.id)
        return produce_in_transaction(client, produce, opaque, kafka_error);
    rd_kafka_resp_err_t code = try_send(&client->producers, produce, opaque, &used);
    if (code == RD_KAFKA_RESP_ERR__FATAL && replace(client, used))
        code = try_send(&client->producers, produce, opaque, &used);
    if (code != RD_KAFKA_RESP_ERR__FATAL)
        return result_of(code, kafka_error);
    *kafka_error = WEIR_KAFKA_RETRIABLE;
    return WEIR_KAFKA;
}

/* ---- deliveries, control ---- */

/* A fatal error is the producer's end, not the message's: the next producer may send it. */
static enum weir_kafka_error delivery_failure(const struct weir_rdkafka_producer *producer, rd_kafka_resp_err_t code)
{
    char words[64];
    if (code != RD_KAFKA_RESP_ERR__FATAL)
        return weir_rdkafka_failure(code);
    enum weir_kafka_error cause = weir_rdkafka_failure(rd_kafka_fatal_error(producer->rk, words, sizeof words));
    return cause == WEIR_KAFKA_AUTHORIZATION ? cause : WEIR_KAFKA_RETRIABLE;
}

/* ---- one at a time (P5), control ---- */

/* The producer for it; NULL where there can be none now. */
static rd_kafka_t *alone(struct weir_rdkafka *client)
{
    struct weir_rdkafka_producers *producers = &client->producers;
    if (!producers->alone && !producers->refuse) /* which control alone changes */
        producers->alone = create(client, true);
    return producers->alone ? producers->alone->rk : NULL;
}

static bool is_suspect(const struct weir_rdkafka_producer *producer, const rd_kafka_message_t *message)
{
    return !producer->is_alone && weir_rdkafka_is_of_batch(message->err);
}

/* librdkafka does not tell the time of a message that has an error. The report is ours, and nobody else reads it. */
static int64_t timestamp_of(const rd_kafka_message_t *message)
{
    rd_kafka_timestamp_type_t type;
    rd_kafka_message_t *report = (rd_kafka_message_t *)message;
    rd_kafka_resp_err_t error = report->err;
    report->err = RD_KAFKA_RESP_ERR_NO_ERROR;
    int64_t timestamp_ms = rd_kafka_message_timestamp(report, &type);
    report->err = error;
    return timestamp_ms;
}

/* Send once more what a report still holds. */
static bool send_alone(struct weir_rdkafka *client, const rd_kafka_message_t *message)
{
    rd_kafka_headers_t *headers = NULL;
    rd_kafka_t *rk = alone(client);
    if (!rk)
        return false;
    bool has_headers = rd_kafka_message_headers(message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR;
    const struct weir_kafka_produce again = {
        .topic = rd_kafka_topic_name(message->rkt),
        .key = message->key,
        .value = message->payload,
        .key_size = message->key_len,
        .value_size = message->len,
        .timestamp_ms = timestamp_of(message),
        .has_partition = true, /* where it was sent the first time */
        .partition = message->partition,
    };
    headers = has_headers ? rd_kafka_headers_copy(headers) : NULL;
    return send_parts(rk, &again, headers, message->_private) == RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* The next message whose fate is known. */
static const rd_kafka_message_t *next_report(struct weir_rdkafka *client, struct weir_rdkafka_producer *producer,
                                             enum weir_kafka_error *error)
{
    const rd_kafka_message_t *message;
    while (producer->delivery && (message = rd_kafka_event_message_next(producer->delivery))) {
        *error = delivery_failure(producer, message->err);
        if (!is_suspect(producer, message))
            return message;
        *error = WEIR_KAFKA_RETRIABLE;
        if (!send_alone(client, message))
            return message;
    }
    return NULL;
}

static bool next_delivery(struct weir_rdkafka *client, struct weir_rdkafka_producer *producer)
{
    enum weir_kafka_error error;
    const rd_kafka_message_t *message = next_report(client, producer, &error);
    if (message) {
        weir_rdkafka_emit(client,
                          &(struct weir_kafka_event){.kind = WEIR_KAFKA_DELIVERED,
                                                     .opaque = message->_private,
                                                     .error = error,
                                                     .text = message->err ? rd_kafka_err2str(message->err) : NULL});
        return true;
    }
    if (producer->delivery)
        rd_kafka_event_destroy(producer->delivery);
    producer->delivery = NULL;
    return false;
}

static void give_up_current(struct weir_rdkafka_producers *producers, struct weir_rdkafka_producer *producer)
{
    if (producers->alone == producer) {
        producers->alone = NULL;
        producer->next = producers->retired;
        producers->retired = producer;
        return;
    }
    pthread_rwlock_wrlock(&producers->lock);
    if (atomic_load_explicit(&producers->current, memory_order_relaxed) == producer)
        give_up(producers, producer);
    pthread_rwlock_unlock(&producers->lock);
}

/* Not FATAL, even if the producer's end: another takes its place. */
static void report(struct weir_rdkafka *client, struct weir_rdkafka_producer *producer, rd_kafka_event_t *event)
{
    enum weir_kafka_error error = weir_rdkafka_failure(rd_kafka_event_error(event));
    if (rd_kafka_event_error_is_fatal(event)) {
        give_up_current(&client->producers, producer);
        error = error == WEIR_KAFKA_AUTHORIZATION ? error : WEIR_KAFKA_OTHER;
    } else if (producer == client->transactions.producer &&
               (rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
                error == WEIR_KAFKA_ABORT)) { /* of the open transaction, not of the connection */
        weir_rdkafka_emit(client, &(struct weir_kafka_event){.kind = WEIR_KAFKA_TRANSACTED,
                                                             .error = error,
                                                             .text = rd_kafka_event_error_string(event)});
        return;
    }
    weir_rdkafka_emit(client, &(struct weir_kafka_event){.kind = WEIR_KAFKA_TROUBLE,
                                                         .error = error,
                                                         .text = rd_kafka_event_error_string(event)});
}

static bool step_one(struct weir_rdkafka *client, struct weir_rdkafka_producer *producer)
{
    (void)atomic_load_explicit(&client->producers.accepted, memory_order_acquire); /* partner: release in try_send */
    rd_kafka_event_t *event;
    while (!next_delivery(client, producer)) {
        if (!(event = rd_kafka_queue_poll(producer->queue, 0)))
            return false;
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR) {
            producer->delivery = event;
            continue;
        }
        bool is_error = rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR;
        if (is_error)
            report(client, producer, event);
        rd_kafka_event_destroy(event);
        if (is_error)
            return true;
    }
    return true;
}

/* ---- the end of a producer, control ---- */

static void purge(struct weir_rdkafka_producer *producer)
{
    uint64_t now_ns = weir_rdkafka_now_ns();
    if (producer->purged_ns != 0 && now_ns - producer->purged_ns < PURGE_NS)
        return;
    producer->purged_ns = now_ns;
    rd_kafka_purge(producer->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
}

static bool is_empty(const struct weir_rdkafka_producer *producer)
{
    return !producer->delivery && rd_kafka_outq_len(producer->rk) == 0;
}

/* Move what was given up to `retired`, once nobody is inside any of it (P1). */
static void take_given_up(struct weir_rdkafka_producers *producers)
{
    /* partner: release in give_up */
    struct weir_rdkafka_producer *first = atomic_exchange_explicit(&producers->given_up, NULL, memory_order_acquire);
    if (!first)
        return;
    pthread_rwlock_wrlock(&producers->lock);
    pthread_rwlock_unlock(&producers->lock);
    while (first) {
        struct weir_rdkafka_producer *producer = first;
        first = producer->next;
        producer->next = producers->retired;
        producers->retired = producer;
    }
}

static rd_kafka_t *take_apart(struct weir_rdkafka_producer *producer)
{
    rd_kafka_t *rk = producer->rk;
    if (producer->delivery)
        rd_kafka_event_destroy(producer->delivery);
    rd_kafka_queue_cb_event_enable(producer->queue, NULL, NULL);
    rd_kafka_queue_destroy(producer->queue);
    weir_memory_free(producer);
    return rk;
}

/* False where memory is short: later. */
static bool destroy_by_helper(struct weir_rdkafka *client, struct weir_rdkafka_producer *producer)
{
    struct weir_rdkafka_request *request = weir_memory_allocate_zeroed(1, sizeof *request);
    if (!request)
        return false;
    request->job = WEIR_RDKAFKA_JOB_DESTROY;
    request->producer = take_apart(producer);
    weir_rdkafka_request_send(client, request);
    return true;
}

static bool step_retired(struct weir_rdkafka *client)
{
    struct weir_rdkafka_producer **link = &client->producers.retired;
    while (*link) {
        struct weir_rdkafka_producer *producer = *link, *next = producer->next;
        purge(producer);
        if (step_one(client, producer))
            return true;
        if (is_empty(producer) && destroy_by_helper(client, producer))
            *link = next;
        else
            link = &producer->next;
    }
    return false;
}

bool weir_rdkafka_producers_step(struct weir_rdkafka *client)
{
    struct weir_rdkafka_producers *producers = &client->producers;
    /* Control alone frees producers, so this pointer stays good without the lock. */
    struct weir_rdkafka_producer *current = atomic_load_explicit(&producers->current, memory_order_acquire);
    struct weir_rdkafka_producer *transactional = client->transactions.producer;
    if ((current && step_one(client, current)) || (producers->alone && step_one(client, producers->alone)) ||
        (transactional && step_one(client, transactional)))
        return true;
    take_given_up(producers);
    return step_retired(client);
}

/* ---- closing ---- */

void weir_rdkafka_producers_close(struct weir_rdkafka *client)
{
    pthread_rwlock_wrlock(&client->producers.lock);
    client->producers.refuse = true;
    pthread_rwlock_unlock(&client->producers.lock);
}

void weir_rdkafka_producers_purge(struct weir_rdkafka *client)
{
    struct weir_rdkafka_producer *current = atomic_load_explicit(&client->producers.current, memory_order_acquire);
    if (current)
        purge(current);
    if (client->producers.alone)
        purge(client->producers.alone);
    if (client->transactions.producer)
        purge(client->transactions.producer);
}

bool weir_rdkafka_producers_are_done(struct weir_rdkafka *client)
{
    struct weir_rdkafka_producers *producers = &client->producers;
    struct weir_rdkafka_producer *current = atomic_load_explicit(&producers->current, memory_order_acquire);
    const struct weir_rdkafka_producer *transactional = client->transactions.producer;
    return (!current || is_empty(current)) && (!producers->alone || is_empty(producers->alone)) &&
           (!transactional || is_empty(transactional)) && !producers->retired &&
           !atomic_load_explicit(&producers->given_up, memory_order_acquire);
}

void weir_rdkafka_producers_init(struct weir_rdkafka *client)
{
    WEIR_CHECK(pthread_rwlock_init(&client->producers.lock, NULL) == 0); /* takes no resources */
}

void weir_rdkafka_producers_deinit(struct weir_rdkafka *client)
{
    struct weir_rdkafka_producers *producers = &client->producers;
    take_given_up(producers);
    struct weir_rdkafka_producer *current = atomic_load_explicit(&producers->current, memory_order_acquire);
    if (current)
        rd_kafka_destroy(take_apart(current));
    if (producers->alone)
        rd_kafka_destroy(take_apart(producers->alone));
    if (client->transactions.producer)
        rd_kafka_destroy(take_apart(client->transactions.producer));
    while (producers->retired) {
        struct weir_rdkafka_producer *producer = producers->retired;
        producers->retired = producer->next;
        rd_kafka_destroy(take_apart(producer));
    }
    if (producers->conf)
        rd_kafka_conf_destroy(producers->conf);
    pthread_rwlock_destroy(&producers->lock);
}
