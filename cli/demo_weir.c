/*
 * The Weir side of the demo: the consumer, its handler, and the downstream it calls.
 *
 * The handler passes every order to the downstream and answers WEIR_LATER; ten milliseconds later the downstream
 * finishes it. All calls take equally long, so the downstream is a ring in order of arrival and one thread.
 *
 * Invariants
 *   D1. The ring never fills: it has a place for every message that the windows allow. If it did, the handler would
 *       answer WEIR_OVERLOADED.
 *   D2. The ledger's end of a run is written before the handle is finished, for the key's next order may start at once.
 *
 * Thread: handlers on Weir's workers, the downstream on its own, start and stop on the main thread.
 */
#include "cli/demo.h"
#include <stdlib.h>
#include <string.h>

#define RING_SIZE (DEMO_PARTITIONS * DEMO_WINDOW)

struct call {
    struct weir_later later;
    uint64_t due_ns;
    uint32_t id, attempt;
};

struct weir_demo_weir {
    struct weir_demo_ledger *ledger;
    struct weir_consumer *consumer;
    pthread_t thread; /* downstream's */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct call calls[RING_SIZE]; /* from here on guarded by `lock` */
    uint32_t first, count;
    bool stop;
};

/* Take a place in the ring and start the run; false when there is none. */
static bool call_downstream(struct weir_demo_weir *weir, struct weir_message *message, uint32_t id)
{
    pthread_mutex_lock(&weir->lock);
    bool room = weir->count < RING_SIZE;
    if (room) {
        weir_demo_ledger_start(weir->ledger, id);
        weir->calls[(weir->first + weir->count) % RING_SIZE] = (struct call){
            .later = weir_message_later(message),
            .due_ns = weir_demo_now_ns() + DEMO_LATENCY_MS * 1000000u,
            .id = id,
            .attempt = weir_message_attempt(message),
        };
        if (weir->count++ == 0)
            pthread_cond_signal(&weir->changed);
    }
    pthread_mutex_unlock(&weir->lock);
    return room;
}

static enum weir_outcome on_order(struct weir_message *message, void *user)
{
    struct weir_demo_weir *weir = user;
    int64_t id = weir_demo_order_id(weir->ledger->plan, weir_message_value(message), weir_message_value_size(message));
    if (id < 0) {
        weir_demo_ledger_stranger(weir->ledger);
        return weir_dead(message, "not an order of this demo");
    }
    return call_downstream(weir, message, (uint32_t)id) ? WEIR_LATER : WEIR_OVERLOADED;
}

/* The downstream's answer. */
static void answer(struct weir_demo_weir *weir, const struct call *call)
{
    bool handled = call->attempt > weir_demo_failures(weir->ledger->plan, call->id);
    weir_demo_ledger_end(weir->ledger, call->id, handled, call->attempt >= DEMO_ATTEMPTS_MAX);
    /* WEIR_STALE needs no answer: the order comes again, and the ledger counts it twice. */
    if (handled)
        weir_later_finish(call->later, WEIR_ACK);
    else
        weir_later_retry(call->later, "gateway: 503");
}

/* The next call that is due. False when told to stop and nothing is left. */
static bool next_call(struct weir_demo_weir *weir, struct call *call)
{
    pthread_mutex_lock(&weir->lock);
    while (weir->count == 0 && !weir->stop)
        pthread_cond_wait(&weir->changed, &weir->lock);
    bool found = weir->count > 0;
    if (found) {
        *call = weir->calls[weir->first];
        weir->first = (weir->first + 1) % RING_SIZE;
        weir->count--;
    }
    pthread_mutex_unlock(&weir->lock);
    if (found && weir_demo_now_ns() < call->due_ns)
        weir_demo_sleep_until_ns(call->due_ns);
    return found;
}

static void *downstream(void *argument)
{
    struct weir_demo_weir *weir = argument;
    struct call call;
    while (next_call(weir, &call))
        answer(weir, &call);
    return NULL;
}

static int configure(struct weir_config *config, const char *bootstrap, struct weir_error *error)
{
    char window[16], attempts[16], base[16];
    snprintf(window, sizeof window, "%d", DEMO_WINDOW);
    snprintf(attempts, sizeof attempts, "%d", DEMO_ATTEMPTS_MAX);
    snprintf(base, sizeof base, "%d", DEMO_RETRY_BASE_MS);
    const char *const settings[][2] = {
        {"bootstrap.servers", bootstrap},
        {"group.id", DEMO_GROUP},
        {"auto.offset.reset", "earliest"},
        {"session.timeout.ms", "6000"},
        {"fetch.wait.max.ms", "10"}, /* the mock broker holds an empty fetch for all of it */
        {"weir.topics", DEMO_TOPIC},
        {"weir.window.messages.max", window},
        {"weir.retry.attempts.max", attempts},
        {"weir.retry.base.ms", base},
        {"weir.held.policy", "wait"}, /* no dead letter before its attempts are spent: the ledger counts on it */
        {"weir.commit.interval.ms", "500"},
        {"weir.close.drain.ms.max", "10000"},
        {"weir.log.level", "warn"},
    };
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        if (weir_config_set(config, settings[i][0], settings[i][1], error) != 0)
            return error->code;
    return 0;
}

static int start_downstream(struct weir_demo_weir *weir, struct weir_error *error)
{
    int fault = pthread_mutex_init(&weir->lock, NULL);
    if (!fault)
        fault = pthread_cond_init(&weir->changed, NULL);
    if (!fault)
        fault = pthread_create(&weir->thread, NULL, downstream, weir);
    if (fault) {
        snprintf(error->text, sizeof error->text, "no thread for the demo's downstream: %s", strerror(fault));
        return error->code = WEIR_SYSTEM;
    }
    return 0;
}

static void stop_downstream(struct weir_demo_weir *weir)
{
    pthread_mutex_lock(&weir->lock);
    weir->stop = true;
    pthread_cond_signal(&weir->changed);
    pthread_mutex_unlock(&weir->lock);
    pthread_join(weir->thread, NULL);
    pthread_cond_destroy(&weir->changed);
    pthread_mutex_destroy(&weir->lock);
}

struct weir_demo_weir *weir_demo_weir_start(const char *bootstrap, struct weir_demo_ledger *ledger,
                                            struct weir_error *error)
{
    struct weir_demo_weir *weir = calloc(1, sizeof *weir);
    struct weir_config *config = weir_config_create();
    if (!weir || !config) {
        snprintf(error->text, sizeof error->text, "memory is too short for the demo's consumer");
        error->code = WEIR_NO_MEMORY;
    } else if (configure(config, bootstrap, error) == 0) {
        weir->ledger = ledger;
        weir->consumer = weir_consumer_create(config, on_order, weir, error);
    }
    weir_config_destroy(config);
    if (weir && weir->consumer && start_downstream(weir, error) == 0) {
        if (weir_consumer_start(weir->consumer, error) == 0)
            return weir;
        stop_downstream(weir);
    }
    if (weir)
        weir_consumer_destroy(weir->consumer);
    free(weir);
    return NULL;
}

const struct weir_consumer *weir_demo_weir_consumer(const struct weir_demo_weir *weir)
{
    return weir->consumer;
}

int weir_demo_weir_stop(struct weir_demo_weir *weir, struct weir_error *error)
{
    int code = weir_consumer_close(weir->consumer, error);
    stop_downstream(weir); /* after the close: it finishes what the drain waits for */
    weir_consumer_destroy(weir->consumer);
    free(weir);
    return code;
}
