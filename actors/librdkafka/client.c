/*
 * The real door to Kafka: life of the client, poll, and the order of closing.
 *
 * Threads: control, but for the wake. poll() takes librdkafka's events from the consumer queue, which has the main
 * queue forwarded to it; doing so also keeps max.poll.interval.ms alive, whatever the partitions do.
 *
 * Invariants
 *   L1. The consumer queue is served until it is empty at each poll (or until `count_max`, and then the listener is
 *       woken once more): librdkafka tells of the edge from empty to non-empty only.
 *   L2. Closing goes in one order: leave the group (last REVOKE, its answer) -> every request answered -> no more
 *       produce -> deliveries, failed after the time given -> CLOSED. No step waits; poll comes back to it.
 *   L3. A group that cannot be left (coordinator away, client failed for good) is given up LEAVE_NS after the last
 *       answer: the broker ends the membership by session time-out.
 *   L4. Nothing of librdkafka's outlives rd_kafka_destroy(), which would wait for it for ever: helper, events, queues,
 *       lists, then the client. Records are the caller's duty (K5). The exception is a client that cannot be freed.
 */
#include "actors/librdkafka/client.h"
#include "actors/config/config.h"
#include "runtime/log.h"
#include "runtime/memory.h"
#include "runtime/seam.h"

#define LEAVE_NS UINT64_C(20000000000)

enum { VERSION_2_3_0 = 0x020300, VERSION_2_13_0 = 0x020d00 }; /* without pre-release byte */

uint64_t weir_rdkafka_now_ns(void)
{
    const struct weir_seam *seam = weir_seam_system();
    return seam->now_ns(seam);
}

void weir_rdkafka_wake(struct weir_rdkafka *client)
{
    /* partner: release in start */
    struct weir_kafka_listener *listener = atomic_load_explicit(&client->listener, memory_order_acquire);
    if (listener)
        listener->wake(listener);
}

void weir_rdkafka_emit(struct weir_rdkafka *client, const struct weir_kafka_event *event)
{
    struct weir_kafka_listener *listener = atomic_load_explicit(&client->listener, memory_order_relaxed);
    listener->event(listener, event);
}

/* ---- start ---- */

static void on_event(rd_kafka_t *rk, void *opaque)
{
    weir_rdkafka_wake(opaque);
}

/*
 * What rd_kafka_new() refused is the caller's to free, but before 2.13.0 a late refusal (certificates, threads) has
 * freed the interceptors in it, and nothing tells it from an early one. Leaving it costs some kilobytes; freeing it,
 * the process. The last one is kept in sight of leak checkers.
 */
static void leave_refused(struct weir_rdkafka *client)
{
    static _Atomic(rd_kafka_conf_t *) last;
    if (rd_kafka_version() >> 8 >= VERSION_2_13_0)
        return;
    atomic_store_explicit(&last, client->conf, memory_order_relaxed);
    client->conf = NULL;
}

static int connect_client(struct weir_rdkafka *client, struct weir_error *error)
{
    char words[256] = "";
    client->rk = rd_kafka_new(RD_KAFKA_CONSUMER, client->conf, words, sizeof words);
    if (!client->rk) {
        leave_refused(client);
        return weir_error_set(error, WEIR_KAFKA, "no Kafka consumer: %s", words);
    }
    client->conf = NULL; /* librdkafka's now */
    rd_kafka_resp_err_t code = rd_kafka_poll_set_consumer(client->rk);
    client->events = code ? NULL : rd_kafka_queue_get_consumer(client->rk);
    if (!client->events)
        return weir_error_set(error, WEIR_KAFKA, "no Kafka consumer: %s; is group.id set?", rd_kafka_err2str(code));
    rd_kafka_queue_cb_event_enable(client->events, on_event, client);
    return 0;
}

static int subscribe(struct weir_rdkafka *client, struct weir_error *error)
{
    rd_kafka_resp_err_t code = rd_kafka_subscribe(client->rk, client->topics);
    return code ? weir_error_set(error, WEIR_KAFKA, "subscribing to weir.topics: %s", rd_kafka_err2str(code)) : 0;
}

/* After a failure the client can only be destroyed. */
static int start(struct weir_kafka *kafka, struct weir_kafka_listener *listener, struct weir_error *error)
{
    struct weir_rdkafka *client = weir_rdkafka_of(kafka);
    if (client->phase != WEIR_RDKAFKA_NEW)
        return weir_error_set(error, WEIR_STATE, "the Kafka client was started before");
    client->phase = WEIR_RDKAFKA_CLOSED;
    atomic_store_explicit(&client->listener, listener, memory_order_release); /* partner: acquire in wake */
    int code = connect_client(client, error);
    if (!code)
        code = weir_rdkafka_requests_start(client, error);
    if (!code)
        code = subscribe(client, error);
    if (code)
        return code;
    client->phase = WEIR_RDKAFKA_RUNNING;
    weir_rdkafka_metadata_start(client);
    return 0;
}

/* ---- librdkafka's events ---- */

static bool report(struct weir_rdkafka *client, rd_kafka_event_t *event)
{
    bool is_fatal = rd_kafka_event_error_is_fatal(event);
    client->is_fatal |= is_fatal;
    weir_rdkafka_emit(client,
                      &(struct weir_kafka_event){
                          .kind = WEIR_KAFKA_TROUBLE,
                          .error = is_fatal ? WEIR_KAFKA_FATAL : weir_rdkafka_failure(rd_kafka_event_error(event)),
                          .text = rd_kafka_event_error_string(event),
                      });
    return true;
}

static bool count(struct weir_rdkafka *client, rd_kafka_event_t *event)
{
    uint64_t fetched_bytes;
    if (!weir_rdkafka_statistics(rd_kafka_event_stats(event), &fetched_bytes))
        return false;
    weir_rdkafka_emit(client,
                      &(struct weir_kafka_event){.kind = WEIR_KAFKA_STATISTICS, .fetched_bytes = fetched_bytes});
    return true;
}

/* True: it was handed over. */
static bool take(struct weir_rdkafka *client, rd_kafka_event_t *event)
{
    bool handed_over = false;
    switch (rd_kafka_event_type(event)) {
    case RD_KAFKA_EVENT_REBALANCE:
        return weir_rdkafka_group_take(client, event); /* keeps it */
    case RD_KAFKA_EVENT_OFFSET_COMMIT:
        weir_rdkafka_commit_done(client, event);
        break;
    case RD_KAFKA_EVENT_ERROR:
        handed_over = report(client, event);
        break;
    case RD_KAFKA_EVENT_STATS:
        handed_over = count(client, event);
        break;
    default:
        break;
    }
    rd_kafka_event_destroy(event);
    return handed_over;
}

static bool step_events(struct weir_rdkafka *client)
{
    rd_kafka_event_t *event;
    while ((event = rd_kafka_queue_poll(client->events, 0)))
        if (take(client, event))
            return true;
    return false;
}

/* ---- closing ---- */

static int close_client(struct weir_kafka *kafka, uint64_t flush_ms_max)
{
    struct weir_rdkafka *client = weir_rdkafka_of(kafka);
    if (client->phase != WEIR_RDKAFKA_RUNNING)
        return WEIR_STATE;
    client->phase = WEIR_RDKAFKA_LEAVING;
    client->flush_ns_max = flush_ms_max > UINT64_MAX / 2000000 ? UINT64_MAX / 2 : flush_ms_max * 1000000;
    weir_rdkafka_requests_close(client);
    weir_rdkafka_wake(client);
    return 0;
}

/* Tell librdkafka to leave, once no rebalance is open or waits: asked to leave under one it would begin the next at
 * once, and take the answer to the first for that to the second (see group.c). True: it has been told. */
static bool leave(struct weir_rdkafka *client)
{
    if (client->is_leaving)
        return true;
    if (!weir_rdkafka_group_is_quiet(client))
        return false;
    client->is_leaving = true;
    client->phase_ns = weir_rdkafka_now_ns();
    rd_kafka_error_t *error = rd_kafka_consumer_close_queue(client->rk, client->events);
    if (error) { /* after a fatal error librdkafka does not leave */
        client->has_left = true;
        rd_kafka_error_destroy(error);
    }
    return true;
}

static bool has_left(struct weir_rdkafka *client)
{
    if (client->has_left || rd_kafka_consumer_closed(client->rk))
        return true;
    if (!weir_rdkafka_group_is_quiet(client) || weir_rdkafka_now_ns() - client->phase_ns < LEAVE_NS)
        return false;
    weir_log(WEIR_LOG_WARN, WEIR_FIELDS({"client", rd_kafka_name(client->rk)}),
             "the group could not be left in %u s; its coordinator will notice by session time-out",
             (unsigned)(LEAVE_NS / 1000000000));
    client->has_left = true;
    return true;
}

static bool step_leaving(struct weir_rdkafka *client)
{
    if (!leave(client) || !has_left(client))
        return false;
    /* Once more: what librdkafka told before it was done must not be taken for missing. */
    if (step_events(client) || weir_rdkafka_group_lose(client))
        return true;
    if (!weir_rdkafka_group_is_quiet(client) || client->group.assigned->cnt > 0)
        return false;
    weir_rdkafka_requests_abandon(client);
    if (weir_rdkafka_requests_step(client))
        return true;
    if (!weir_rdkafka_requests_are_done(client))
        return false;
    weir_rdkafka_producers_close(client);
    client->phase = WEIR_RDKAFKA_FLUSHING;
    client->phase_ns = weir_rdkafka_now_ns();
    return false;
}

static bool step_flushing(struct weir_rdkafka *client)
{
    if (weir_rdkafka_now_ns() - client->phase_ns >= client->flush_ns_max)
        weir_rdkafka_producers_purge(client);
    if (weir_rdkafka_producers_step(client))
        return true;
    if (!weir_rdkafka_producers_are_done(client))
        return false;
    client->phase = WEIR_RDKAFKA_CLOSED;
    weir_rdkafka_emit(client, &(struct weir_kafka_event){.kind = WEIR_KAFKA_CLOSED});
    return true;
}

/* ---- poll ---- */

/* One event, or false. The consumer queue comes before the requests: see seek.c. */
static bool step(struct weir_rdkafka *client)
{
    if (client->phase == WEIR_RDKAFKA_NEW || client->phase == WEIR_RDKAFKA_CLOSED)
        return false;
    if (weir_rdkafka_group_step(client) || step_events(client) || weir_rdkafka_requests_step(client) ||
        weir_rdkafka_producers_step(client))
        return true;
    if (client->phase == WEIR_RDKAFKA_LEAVING && step_leaving(client))
        return true;
    return client->phase == WEIR_RDKAFKA_FLUSHING && step_flushing(client);
}

static unsigned poll(struct weir_kafka *kafka, unsigned count_max)
{
    struct weir_rdkafka *client = weir_rdkafka_of(kafka);
    unsigned count = 0;
    while (count < count_max && step(client))
        count++;
    if (count == count_max && client->phase != WEIR_RDKAFKA_CLOSED)
        weir_rdkafka_wake(client);
    weir_rdkafka_metadata_step(client);
    return count;
}

/* ---- end ---- */

/* Before 2.3.0 librdkafka aborts when it frees a cooperative member that has joined and was never assigned anything
 * (its issue 4312): who stops a consumer in its first seconds must not be answered with that. */
static bool is_not_to_be_freed(const struct weir_rdkafka *client)
{
    return client->rk && rd_kafka_version() >> 8 < VERSION_2_3_0 && !client->group.was_assigned &&
           atomic_load_explicit(&client->requests.has_joined, memory_order_relaxed);
}

/* Its memory and its threads, which have nothing to do, stay until the process ends; in sight of leak checkers. */
static void leave_behind(struct weir_rdkafka *client)
{
    static _Atomic(struct weir_rdkafka *) left;
    client->left_next = atomic_exchange(&left, client);
    weir_log(WEIR_LOG_INFO, WEIR_NO_FIELDS,
             "librdkafka %s cannot free a member that was never assigned a partition (mended in 2.3.0): its memory "
             "stays until the process ends",
             rd_kafka_version_str());
}

/* False: the client stays, and so must what its threads may look at. */
static bool disconnect(struct weir_rdkafka *client)
{
    if (client->events) {
        rd_kafka_queue_cb_event_enable(client->events, NULL, NULL);
        rd_kafka_queue_destroy(client->events);
    }
    if (is_not_to_be_freed(client)) {
        leave_behind(client);
        return false;
    }
    if (client->rk)
        rd_kafka_destroy_flags(client->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    if (client->conf)
        rd_kafka_conf_destroy(client->conf);
    return true;
}

static void destroy(struct weir_kafka *kafka)
{
    struct weir_rdkafka *client = weir_rdkafka_of(kafka);
    WEIR_CHECK(client->phase == WEIR_RDKAFKA_NEW || client->phase == WEIR_RDKAFKA_CLOSED);
    WEIR_CHECK(!client->queues);
    weir_rdkafka_queues_deinit(client);
    weir_rdkafka_requests_deinit(client);
    weir_rdkafka_group_deinit(client);
    weir_rdkafka_producers_deinit(client);
    weir_rdkafka_transactions_deinit(client);
    weir_rdkafka_metadata_deinit(client);
    if (client->topics)
        rd_kafka_topic_partition_list_destroy(client->topics);
    if (disconnect(client))
        weir_memory_free(client);
}

/* ---- create ---- */

static const struct weir_kafka_ops OPS = {
    .start = start,
    .poll = poll,
    .assign = weir_rdkafka_assign,
    .unassign = weir_rdkafka_unassign,
    .queue_open = weir_rdkafka_queue_open,
    .queue_close = weir_rdkafka_queue_close,
    .pull = weir_rdkafka_pull,
    .record_free = weir_rdkafka_record_free,
    .record_header = weir_rdkafka_record_header,
    .fetch_committed = weir_rdkafka_fetch_committed,
    .fetch_watermarks = weir_rdkafka_fetch_watermarks,
    .seek = weir_rdkafka_seek,
    .commit = weir_rdkafka_commit,
    .produce = weir_rdkafka_produce,
    .transaction_begin = weir_rdkafka_transaction_begin,
    .transaction_offsets = weir_rdkafka_transaction_offsets,
    .transaction_commit = weir_rdkafka_transaction_commit,
    .transaction_abort = weir_rdkafka_transaction_abort,
    .partition_count = weir_rdkafka_partition_count,
    .cluster_id = weir_rdkafka_cluster_id,
    .close = close_client,
    .destroy = destroy,
};

struct weir_kafka *weir_kafka_librdkafka_create(const struct weir_config *config, struct weir_error *error)
{
    struct weir_rdkafka *client = weir_memory_allocate_zeroed(1, sizeof *client);
    if (!client) {
        weir_error_set(error, WEIR_NO_MEMORY, "no memory for the Kafka client");
        return NULL;
    }
    client->kafka.ops = &OPS;
    weir_rdkafka_requests_init(client);
    weir_rdkafka_producers_init(client);
    weir_rdkafka_group_init(client);
    if (weir_rdkafka_settings(client, config, error)) {
        destroy(&client->kafka);
        return NULL;
    }
    return &client->kafka;
}
