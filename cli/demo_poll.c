/*
 * The other side of the comparison: the loop that most consumers are, over the same topic in a group of its own.
 *
 *     poll a message, call the downstream and wait for it, on failure back off and try again, poll the next
 *
 * It does all that Weir's side does, with the same latency, failures and backoff, one message at a time; an order that
 * failed for the last time is given up without a dead letter, which is in its favour.
 *
 * Thread: one of its own.
 */
#include "cli/demo.h"
#include <stdlib.h>
#include <string.h>

static uint64_t backoff_ns(const struct weir_demo_plan *plan, uint32_t id, uint32_t attempt)
{
    uint64_t bound_ns = (uint64_t)DEMO_RETRY_BASE_MS * 1000000u << (attempt - 1);
    return weir_demo_mix(plan->seed + attempt, id) % bound_ns; /* full jitter, as Weir's */
}

/* One order, until it is handled or given up. False when told to stop meanwhile. */
static bool handle(struct weir_demo_poll *poll, uint32_t id)
{
    uint32_t failures = weir_demo_failures(poll->plan, id);
    for (uint32_t attempt = 1; !atomic_load_explicit(&poll->stop, memory_order_relaxed); attempt++) {
        weir_demo_sleep_until_ns(weir_demo_now_ns() + DEMO_LATENCY_MS * 1000000u);
        if (attempt > failures || attempt == DEMO_ATTEMPTS_MAX)
            return true;
        weir_demo_sleep_until_ns(weir_demo_now_ns() + backoff_ns(poll->plan, id, attempt));
    }
    return false;
}

static void take(struct weir_demo_poll *poll, const rd_kafka_message_t *message)
{
    int64_t id = message->err ? -1 : weir_demo_order_id(poll->plan, message->payload, message->len);
    uint32_t handled = atomic_load_explicit(&poll->handled, memory_order_relaxed); /* written by this thread only */
    if (id < 0 || handled == poll->plan->count)
        return;
    if (!atomic_load_explicit(&poll->first_ns, memory_order_relaxed))
        atomic_store_explicit(&poll->first_ns, weir_demo_now_ns(), memory_order_relaxed);
    if (!handle(poll, (uint32_t)id))
        return;
    atomic_store_explicit(&poll->done_ns[handled], weir_demo_now_ns(), memory_order_relaxed);
    /* release: done_ns below `handled` is written; pairs with the acquire of weir_demo_poll_handled_in */
    atomic_store_explicit(&poll->handled, handled + 1, memory_order_release);
}

static void *run(void *argument)
{
    struct weir_demo_poll *poll = argument;
    while (!atomic_load_explicit(&poll->stop, memory_order_relaxed)) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(poll->consumer, 100);
        if (!message)
            continue;
        take(poll, message);
        rd_kafka_message_destroy(message);
    }
    rd_kafka_consumer_close(poll->consumer);
    return NULL;
}

static int fail(struct weir_demo_poll *poll, struct weir_error *error, enum weir_code code)
{
    if (poll->consumer)
        rd_kafka_destroy(poll->consumer);
    poll->consumer = NULL;
    free(poll->done_ns);
    poll->done_ns = NULL;
    return error->code = code;
}

static rd_kafka_t *client(const char *bootstrap, struct weir_error *error)
{
    static const char *const settings[][2] = {
        {"group.id", DEMO_GROUP "-poll-loop"}, {"auto.offset.reset", "earliest"}, {"fetch.wait.max.ms", "10"},
        {"session.timeout.ms", "6000"},        {"enable.auto.commit", "true"},
    };
    rd_kafka_conf_t *conf = weir_demo_client(bootstrap);
    for (size_t i = 0; i < sizeof settings / sizeof settings[0] && conf; i++)
        if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], error->text, sizeof error->text)) {
            rd_kafka_conf_destroy(conf);
            return NULL;
        }
    rd_kafka_t *consumer = conf ? rd_kafka_new(RD_KAFKA_CONSUMER, conf, error->text, sizeof error->text) : NULL;
    if (!consumer && conf)
        rd_kafka_conf_destroy(conf);
    if (consumer)
        rd_kafka_poll_set_consumer(consumer);
    return consumer;
}

int weir_demo_poll_start(struct weir_demo_poll *poll, struct weir_error *error)
{
    poll->done_ns = calloc(poll->plan->count, sizeof *poll->done_ns);
    snprintf(error->text, sizeof error->text, "memory is too short for the poll loop");
    if (!poll->done_ns)
        return error->code = WEIR_NO_MEMORY;
    poll->consumer = client(poll->bootstrap, error);
    if (!poll->consumer)
        return fail(poll, error, WEIR_KAFKA);
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(topics, DEMO_TOPIC, RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t refused = rd_kafka_subscribe(poll->consumer, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    if (refused) {
        snprintf(error->text, sizeof error->text, "the poll loop cannot subscribe: %s", rd_kafka_err2str(refused));
        return fail(poll, error, WEIR_KAFKA);
    }
    int fault = pthread_create(&poll->thread, NULL, run, poll);
    if (fault) {
        snprintf(error->text, sizeof error->text, "no thread for the poll loop: %s", strerror(fault));
        return fail(poll, error, WEIR_SYSTEM);
    }
    error->text[0] = '\0';
    return 0;
}

void weir_demo_poll_join(struct weir_demo_poll *poll)
{
    if (!poll->consumer)
        return;
    atomic_store_explicit(&poll->stop, true, memory_order_relaxed);
    pthread_join(poll->thread, NULL);
    rd_kafka_destroy(poll->consumer);
    poll->consumer = NULL;
}

uint32_t weir_demo_poll_handled_in(const struct weir_demo_poll *poll, uint64_t duration_ns)
{
    uint64_t first_ns = atomic_load_explicit(&poll->first_ns, memory_order_relaxed);
    /* pairs with the release of take */
    uint32_t low = 0, high = atomic_load_explicit(&poll->handled, memory_order_acquire);
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (atomic_load_explicit(&poll->done_ns[middle], memory_order_relaxed) - first_ns <= duration_ns)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}
