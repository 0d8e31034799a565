/*
 * The demo's producer: a quarter of the orders at once, then, from the moment that Weir has begun, half of the others
 * evenly over the run and half in rushes, so that there is something to push back on now and then.
 *
 * The mock broker hands out one batch a partition a fetch, so batches have to be large: hence the linger.
 *
 * Thread: one of its own; delivery reports are served on it. The plan is in demo_plan.c.
 */
#include "cli/demo.h"
#include <string.h>

#define LINGER_MS       "20"
#define TICK_NS         20000000u
#define START_WAIT_NS   8000000000u /* for Weir's first run; then the stream begins without */
#define FLUSH_MS        10000
#define STREAM_SHARE    0.75 /* of the run's time: the rest is for the last of the hottest key */
#define BACKLOG_DIVISOR 4
#define RUSHES          3
#define RUSH_SHARE      0.5 /* of what is not backlog */

static void be_quiet(const rd_kafka_t *client, int level, const char *facility, const char *text)
{
    /* The demo checks results, and the screen has no room for two more clients' logs. */
}

rd_kafka_conf_t *weir_demo_client(const char *bootstrap)
{
    char error[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (rd_kafka_conf_set(conf, "bootstrap.servers", bootstrap, error, sizeof error) != RD_KAFKA_CONF_OK) {
        rd_kafka_conf_destroy(conf);
        return NULL;
    }
    rd_kafka_conf_set_log_cb(conf, be_quiet);
    return conf;
}

static void on_delivery(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque)
{
    struct weir_demo_load *load = opaque;
    struct weir_demo_order *order = message->_private;
    if (message->err) {
        atomic_fetch_add_explicit(&load->failed, 1, memory_order_relaxed);
        return;
    }
    /* relaxed: read after this thread has been joined, but for the counter, which is for display */
    atomic_store_explicit(&order->offset, message->offset, memory_order_relaxed);
    atomic_fetch_add_explicit(&load->acknowledged, 1, memory_order_relaxed);
}

/* Hand one order to the producer; waits while its queue is full. False when it can never be sent. */
static bool send_order(struct weir_demo_load *load, uint32_t id)
{
    struct weir_demo_order *order = &load->plan->orders[id];
    char key[24], value[DEMO_VALUE_SIZE_MAX];
    int key_size = snprintf(key, sizeof key, "customer-%05u", order->key);
    int value_size = snprintf(value, sizeof value, "{\"order\":%u,\"customer\":%u,\"sequence\":%u,\"cents\":%u}", id,
                              order->key, order->sequence, (unsigned)(weir_demo_mix(id, 7) % 100000));
    const rd_kafka_vu_t parts[] = {
        {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = DEMO_TOPIC},
        {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = order->partition},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {key, (size_t)key_size}},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {value, (size_t)value_size}},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
        {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = order},
    };
    rd_kafka_resp_err_t fault;
    do {
        rd_kafka_error_t *error = rd_kafka_produceva(load->producer, parts, sizeof parts / sizeof parts[0]);
        fault = error ? rd_kafka_error_code(error) : RD_KAFKA_RESP_ERR_NO_ERROR;
        rd_kafka_error_destroy(error); /* NULL is fine */
        rd_kafka_poll(load->producer, fault == RD_KAFKA_RESP_ERR__QUEUE_FULL ? 10 : 0);
    } while (fault == RD_KAFKA_RESP_ERR__QUEUE_FULL && !atomic_load_explicit(&load->stop, memory_order_relaxed));
    if (fault) {
        atomic_fetch_add_explicit(&load->failed, 1, memory_order_relaxed);
        snprintf(load->error.text, sizeof load->error.text, "an order could not be produced: %s",
                 rd_kafka_err2str(fault));
    }
    return !fault;
}

/* Wait until Weir runs its first order, or long enough. Returns when the stream begins. */
static uint64_t wait_for_start(struct weir_demo_load *load)
{
    uint64_t give_up = weir_demo_now_ns() + START_WAIT_NS;
    while (!atomic_load_explicit(&load->stop, memory_order_relaxed) && weir_demo_now_ns() < give_up) {
        if (atomic_load_explicit(load->first_ns, memory_order_relaxed))
            break;
        rd_kafka_poll(load->producer, 20);
    }
    return weir_demo_now_ns();
}

/* How many are due by now, if `backlog` were there at `begin_ns`: rush number i comes amid its part of the time. */
static uint32_t due(const struct weir_demo_load *load, uint32_t backlog, uint64_t begin_ns)
{
    double time = (double)(weir_demo_now_ns() - begin_ns) / (load->plan->run_seconds * STREAM_SHARE * 1e9);
    if (time >= 1)
        return load->plan->count;
    double rushes = (double)(uint32_t)(time * RUSHES + 0.5) / RUSHES;
    double share = RUSH_SHARE * rushes + (1 - RUSH_SHARE) * time;
    return backlog + (uint32_t)((load->plan->count - backlog) * share);
}

static void produce(struct weir_demo_load *load)
{
    uint32_t id = 0, backlog = load->plan->count / BACKLOG_DIVISOR;
    while (id < backlog && send_order(load, id))
        id++;
    if (id < backlog)
        return;
    uint64_t begin_ns = wait_for_start(load), tick_ns = begin_ns;
    while (id < load->plan->count && !atomic_load_explicit(&load->stop, memory_order_relaxed)) {
        for (uint32_t end = due(load, backlog, begin_ns); id < end; id++)
            if (!send_order(load, id))
                return;
        rd_kafka_poll(load->producer, 0);
        weir_demo_sleep_until_ns(tick_ns += TICK_NS);
    }
}

static void *run(void *argument)
{
    struct weir_demo_load *load = argument;
    produce(load);
    if (rd_kafka_flush(load->producer, FLUSH_MS) != RD_KAFKA_RESP_ERR_NO_ERROR && !load->error.text[0])
        snprintf(load->error.text, sizeof load->error.text, "orders were not acknowledged within %d s",
                 FLUSH_MS / 1000);
    atomic_store_explicit(&load->done, true, memory_order_release); /* pairs with the acquire of the main loop */
    return NULL;
}

int weir_demo_load_start(struct weir_demo_load *load, struct weir_error *error)
{
    error->code = WEIR_KAFKA;
    rd_kafka_conf_t *conf = weir_demo_client(load->bootstrap);
    if (!conf || rd_kafka_conf_set(conf, "linger.ms", LINGER_MS, error->text, sizeof error->text) ||
        rd_kafka_conf_set(conf, "enable.idempotence", "true", error->text, sizeof error->text)) {
        if (conf)
            rd_kafka_conf_destroy(conf);
        return error->code;
    }
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_conf_set_opaque(conf, load);
    load->producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error->text, sizeof error->text);
    if (!load->producer) {
        rd_kafka_conf_destroy(conf);
        return error->code;
    }
    int fault = pthread_create(&load->thread, NULL, run, load);
    if (fault) {
        snprintf(error->text, sizeof error->text, "no thread for the producer: %s", strerror(fault));
        rd_kafka_destroy(load->producer);
        load->producer = NULL;
        return error->code = WEIR_SYSTEM;
    }
    return 0;
}

void weir_demo_load_join(struct weir_demo_load *load)
{
    if (!load->producer)
        return;
    atomic_store_explicit(&load->stop, true, memory_order_relaxed);
    pthread_join(load->thread, NULL);
    rd_kafka_purge(load->producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    rd_kafka_destroy(load->producer);
    load->producer = NULL;
}
