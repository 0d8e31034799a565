/*
 * The consumer as its user sees it: life from create to destroy, pause and resume. Runs on the user's threads; all that
 * touches partitions happens on the control thread and the workers.
 *
 * Order of the end: the control actor closes (group left, nothing in the run queues), the threads end, then whoever
 * called close or destroy is the only one left, and frees. A message that somebody still holds (WEIR_LATER without an
 * answer) keeps its partition and the Kafka client alive for good: that is reported, and safer than freeing under them.
 */
#include "actors/consumer.h"
#include "actors/batch.h"
#include "actors/report.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include "runtime/memory.h"
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MS_NS               1000000ull
#define SESSION_TIMEOUT_MS  45000  /* librdkafka's default */
#define SEGMENT_BYTES       131072 /* our default of fetch.message.max.bytes */
#define SCRATCH_ENTRIES_MAX 32768  /* more than any map can list */

/* ---- topics and partitions. Control, but for find ---- */

/* Of a topic, for each class of failures: what the class says, else what the topic says, else what holds for all. */
static void set_policies(const struct weir_consumer *consumer, struct weir_topic *topic)
{
    for (uint8_t index = 0; index <= consumer->class_count; index++) {
        struct weir_options options = *consumer->options;
        weir_config_apply(consumer->config, WEIR_SCOPE_TOPIC, topic->name, &options);
        if (index > 0)
            weir_config_apply(consumer->config, WEIR_SCOPE_CLASS, consumer->classes[index - 1], &options);
        topic->retry[index] = (struct weir_retry_policy){.attempts_max = (uint32_t)options.retry_attempts_max,
                                                         .base_ms = options.retry_base_ms,
                                                         .max_ms = options.retry_max_ms,
                                                         .factor = options.retry_factor,
                                                         .deadline_ms = options.retry_deadline_ms};
    }
}

struct weir_topic *weir_consumer_topic(struct weir_consumer *consumer, const char *name)
{
    for (struct weir_topic *topic = consumer->topics; topic; topic = topic->next) {
        if (strcmp(topic->name, name) == 0)
            return topic;
    }
    size_t size = strlen(name) + 1;
    struct weir_topic *topic = weir_memory_allocate_zeroed(1, sizeof *topic + size);
    struct weir_retry_policy *retry = weir_memory_allocate(sizeof *retry * (consumer->class_count + 1u));
    if (!topic || !retry || weir_filter_create(consumer, name, &topic->filter) != 0) {
        weir_memory_free(topic);
        weir_memory_free(retry);
        return NULL;
    }
    memcpy(topic->name, name, size);
    topic->retry = retry;
    topic->priority = (uint8_t)weir_config_priority(consumer->config, name);
    topic->level = (uint8_t)weir_config_level(consumer->config, name);
    set_policies(consumer, topic);
    topic->first_count = -1;
    topic->journal_hash = weir_journal_topic(name);
    const struct weir_options *options = consumer->options;
    weir_budget_init(&topic->budget, (uint32_t)options->dlq_budget_burst, (uint32_t)options->dlq_budget_percent,
                     (uint32_t)options->dlq_budget_per_minute, consumer->seam->now_ns(consumer->seam));
    topic->next = consumer->topics;
    consumer->topics = topic;
    return topic;
}

struct weir_partition *weir_consumer_find(const struct weir_consumer *consumer, const char *topic, int32_t number)
{
    struct weir_partition *partition = atomic_load_explicit(&consumer->partitions, memory_order_acquire);
    while (partition && (partition->number != number || strcmp(partition->topic->name, topic) != 0))
        partition = partition->list_next;
    return partition;
}

struct weir_partition *weir_consumer_partition(struct weir_consumer *consumer, const char *name, int32_t number)
{
    struct weir_partition *partition = weir_consumer_find(consumer, name, number);
    if (partition)
        return partition;
    struct weir_topic *topic = weir_consumer_topic(consumer, name);
    if (!topic)
        return NULL;
    unsigned homes = weir_system_home_count(consumer->system);
    unsigned home = 1 + (unsigned)(consumer->control.workers_next++ % homes);
    partition = weir_partition_create(consumer, topic, number, weir_system_worker(consumer->system, home));
    if (!partition)
        return NULL;
    partition->list_next = atomic_load_explicit(&consumer->partitions, memory_order_relaxed);
    atomic_store_explicit(&consumer->partitions, partition, memory_order_release); /* pairs with every walk */
    return partition;
}

uint64_t weir_consumer_log_hash(const struct weir_consumer *consumer, const char *topic)
{
    const char *cluster_id = atomic_load_explicit(&consumer->cluster_id, memory_order_acquire);
    return cluster_id ? weir_map_cluster_hash(cluster_id, topic) : 0;
}

/* ---- create ---- */

static uint64_t kafka_number(const struct weir_config *config, const char *name, uint64_t fallback)
{
    const char *text = weir_config_kafka_get(config, name);
    char *end = NULL;
    unsigned long long value = text ? strtoull(text, &end, 10) : 0;
    return text && end != text && *end == '\0' ? value : fallback;
}

static bool create_arrays(struct weir_consumer *consumer)
{
    unsigned count = weir_system_worker_count(consumer->system), homes = weir_system_home_count(consumer->system);
    uint64_t window = consumer->options->window_messages_max;
    consumer->scratch_count = (uint32_t)(window < SCRATCH_ENTRIES_MAX ? window : SCRATCH_ENTRIES_MAX);
    consumer->running = weir_memory_allocate_zeroed(count, sizeof *consumer->running);
    consumer->scratch = weir_memory_allocate_zeroed(count, sizeof *consumer->scratch);
    consumer->watches = weir_memory_allocate_zeroed(count, sizeof *consumer->watches);
    if (!consumer->running || !consumer->scratch || !consumer->watches)
        return false;
    for (unsigned index = 1; index <= homes; index++) { /* where partitions live */
        /* One more than is filled from the tracker, for the floor that a restored map may add. */
        consumer->scratch[index] =
            weir_memory_allocate_zeroed((size_t)consumer->scratch_count + 1, sizeof **consumer->scratch);
        if (!consumer->scratch[index])
            return false;
    }
    return true;
}

static void set_constants(struct weir_consumer *consumer)
{
    const struct weir_options *options = consumer->options;
    consumer->overloaded = (struct weir_retry_policy){
        .base_ms = options->overloaded_base_ms, .max_ms = options->overloaded_max_ms, .factor = 2.0};
    while (consumer->class_count < WEIR_CLASSES_MAX &&
           (consumer->classes[consumer->class_count] =
                weir_config_part(consumer->config, WEIR_SCOPE_CLASS, consumer->class_count)) != NULL)
        consumer->class_count++;
    consumer->level_count = weir_config_levels(consumer->config);
    weir_rate_init(&consumer->rate, options->rate_messages_per_second, options->rate_burst_ms);
    for (unsigned level = 1; level < consumer->level_count; level++)
        weir_rate_init_share(&consumer->shares[level], &consumer->rate, (unsigned)options->priority_share_percent);
    consumer->segment_bytes = kafka_number(consumer->config, "fetch.message.max.bytes", SEGMENT_BYTES);
    consumer->prefetch_bytes = weir_config_prefetch_bytes(consumer->config);
    consumer->lease_ns_max = kafka_number(consumer->config, "session.timeout.ms", SESSION_TIMEOUT_MS) * MS_NS / 3;
    consumer->reset_policy = weir_config_reset_policy(consumer->config);
    consumer->group = weir_config_kafka_get(consumer->config, "group.id");
    /* A batch keeps what it gathers for as long as its linger. */
    atomic_init(&consumer->gives_out,
                options->blocking_threads > 0 || (consumer->batch_handler && options->batch_linger_ms > 0));
    if (gethostname(consumer->host, sizeof consumer->host - 1) != 0)
        snprintf(consumer->host, sizeof consumer->host, "unknown");
}

/* What guards the process against its handlers; after the arrays. 0 or an error. */
static int create_guards(struct weir_consumer *consumer, struct weir_error *error)
{
    const struct weir_options *options = consumer->options;
    if (options->crash_journal[0] != '\0') {
        consumer->journal =
            weir_journal_open(options->crash_journal, consumer->group, consumer->seam->wall_ms(consumer->seam), error);
        if (!consumer->journal)
            return WEIR_SYSTEM;
    }
    unsigned runners = weir_system_runner_count(consumer->system);
    unsigned before =
        weir_system_worker_count(consumer->system) - runners; /* the runners are the last of the workers */
    for (unsigned index = before; index < before + runners; index++) {
        struct weir_running *running = &consumer->running[index];
        running->slot = consumer->journal ? weir_journal_slot(consumer->journal, index - before + 1) : NULL;
        running->guarded = consumer->journal || options->handler_deadline_ms > 0;
    }
    return 0;
}

/* What needs freeing when creation fails or the consumer goes. */
static void free_parts(struct weir_consumer *consumer)
{
    if (consumer->kafka)
        consumer->kafka->ops->destroy(consumer->kafka);
    weir_control_deinit(&consumer->control);
    weir_keeper_deinit(&consumer->keeper);
    for (unsigned index = 0; consumer->scratch && index < weir_system_worker_count(consumer->system); index++)
        weir_memory_free(consumer->scratch[index]);
    weir_memory_free(consumer->scratch);
    weir_batches_deinit(consumer);
    weir_memory_free(consumer->running);
    weir_memory_free(consumer->watches);
    weir_journal_close(consumer->journal);
    for (struct weir_topic *topic = consumer->topics, *next; topic; topic = next) {
        next = topic->next;
        weir_memory_free(topic->retry);
        weir_filter_destroy(topic->filter);
        weir_memory_free(topic);
    }
    weir_memory_free((void *)atomic_load_explicit(&consumer->cluster_id, memory_order_relaxed));
    if (consumer->owns_system && consumer->system)
        weir_system_destroy(consumer->system);
    weir_config_destroy(consumer->config);
    pthread_cond_destroy(&consumer->close_changed);
    pthread_mutex_destroy(&consumer->close_lock);
    weir_memory_free(consumer);
}

/* Everything but the memory of the consumer itself. 0 or an error. */
static int build(struct weir_consumer *consumer, struct weir_error *error)
{
    int result = weir_config_finish(consumer->config, error);
    if (result == 0 && consumer->batch_handler)
        result = weir_config_finish_batches(consumer->config, error);
    if (result != 0)
        return result;
    consumer->options = weir_config_options(consumer->config);
    if (consumer->options->log_level != WEIR_LOG_INFO) /* the default must not undo weir_log_set() */
        weir_log_set_level((enum weir_log_level)consumer->options->log_level);
    if (!consumer->kafka) {
        result = weir_config_check_brokers(consumer->config, error);
        if (result == 0)
            result = weir_kafka_check_config(consumer->config, error);
        if (result != 0)
            return result;
        consumer->kafka = weir_kafka_librdkafka_create(consumer->config, error);
    }
    if (!consumer->kafka)
        return WEIR_KAFKA;
    if (!consumer->system) {
        consumer->owns_system = true;
        consumer->system = weir_system_create((unsigned)consumer->options->workers,
                                              (unsigned)consumer->options->blocking_threads, weir_seam_system(), error);
    }
    if (!consumer->system)
        return WEIR_NO_MEMORY;
    consumer->seam = weir_system_seam(consumer->system);
    set_constants(consumer);
    if (consumer->level_count > 1 && weir_system_set_levels(consumer->system, consumer->level_count,
                                                            (unsigned)consumer->options->priority_share_percent) != 0)
        return weir_error_set(error, WEIR_NO_MEMORY, "no memory for the queues of %u priorities",
                              consumer->level_count);
    if (!create_arrays(consumer) || (consumer->batch_handler && weir_batches_init(consumer) != 0))
        return weir_error_set(error, WEIR_NO_MEMORY, "no memory for %u workers",
                              weir_system_worker_count(consumer->system));
    weir_control_init(&consumer->control, consumer);
    return create_guards(consumer, error);
}

/* With one of the two handlers. */
static struct weir_consumer *create(const struct weir_config *config, weir_handler *handler,
                                    weir_batch_handler *batch_handler, void *user, struct weir_kafka *kafka,
                                    struct weir_system *system, struct weir_error *error)
{
    struct weir_consumer *consumer = weir_memory_allocate_zeroed(1, sizeof *consumer);
    struct weir_config *copy = config ? weir_config_copy(config) : NULL;
    if (!consumer || !copy || (!handler && !batch_handler)) {
        weir_error_set(error, consumer && copy ? WEIR_INVALID : WEIR_NO_MEMORY,
                       consumer && copy ? "handler is NULL: a consumer needs one" : "no memory for a consumer");
        if (kafka)
            kafka->ops->destroy(kafka);
        weir_config_destroy(copy);
        weir_memory_free(consumer);
        return NULL;
    }
    consumer->config = copy;
    consumer->handler = handler;
    consumer->batch_handler = batch_handler;
    consumer->user = user;
    consumer->kafka = kafka;
    consumer->system = system;
    atomic_init(&consumer->lease_holds, true);
    pthread_mutex_init(&consumer->close_lock, NULL);
    pthread_cond_init(&consumer->close_changed, NULL);
    weir_keeper_init(&consumer->keeper, consumer);
    if (build(consumer, error) == 0) {
        weir_report_add(consumer);
        return consumer;
    }
    free_parts(consumer);
    return NULL;
}

struct weir_consumer *weir_consumer_create_on(const struct weir_config *config, weir_handler *handler, void *user,
                                              struct weir_kafka *kafka, struct weir_system *system,
                                              struct weir_error *error)
{
    return create(config, handler, NULL, user, kafka, system, error);
}

struct weir_consumer *weir_consumer_create_batch_on(const struct weir_config *config, weir_batch_handler *handler,
                                                    void *user, struct weir_kafka *kafka, struct weir_system *system,
                                                    struct weir_error *error)
{
    return create(config, NULL, handler, user, kafka, system, error);
}

struct weir_consumer *weir_consumer_create(const struct weir_config *config, weir_handler *handler, void *user,
                                           struct weir_error *error)
{
    return weir_consumer_create_on(config, handler, user, NULL, NULL, error);
}

struct weir_consumer *weir_consumer_create_batch(const struct weir_config *config, weir_batch_handler *handler,
                                                 void *user, struct weir_error *error)
{
    return weir_consumer_create_batch_on(config, handler, user, NULL, NULL, error);
}

/* ---- start and stop ---- */

static _Atomic(struct weir_consumer *) signalled; /* the one that SIGINT and SIGTERM stop */
static struct sigaction old_interrupt, old_terminate;

static _Atomic uint32_t on_signal_count; /* threads in on_signal() */

/* The count first and last, both in one order with `signalled`: forget_signals() waits for whoever may have seen it. */
static void on_signal(int signal_number)
{
    atomic_fetch_add(&on_signal_count, 1);
    struct weir_consumer *consumer = atomic_load(&signalled);
    if (consumer && atomic_fetch_add_explicit(&consumer->signals, 1, memory_order_relaxed) >= 2)
        _exit(128 + signal_number);
    if (consumer)
        weir_consumer_stop(consumer);
    atomic_fetch_sub(&on_signal_count, 1);
}

static void watch_signals(struct weir_consumer *consumer)
{
    struct weir_consumer *nobody = NULL;
    if (!atomic_compare_exchange_strong(&signalled, &nobody, consumer)) {
        weir_log(WEIR_LOG_WARN, WEIR_NO_FIELDS, "signals stop another consumer of this process already");
        return;
    }
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    bool watched = sigaction(SIGINT, &action, &old_interrupt) == 0;
    if (watched && sigaction(SIGTERM, &action, &old_terminate) != 0) {
        sigaction(SIGINT, &old_interrupt, NULL);
        watched = false;
    }
    if (watched)
        return;
    atomic_store(&signalled, NULL);
    weir_log(WEIR_LOG_ERROR, WEIR_NO_FIELDS, "signals cannot stop this consumer: %s", strerror(errno));
}

static void forget_signals(struct weir_consumer *consumer)
{
    if (atomic_load(&signalled) != consumer)
        return;
    sigaction(SIGINT, &old_interrupt, NULL);
    sigaction(SIGTERM, &old_terminate, NULL);
    atomic_store(&signalled, NULL);
    while (atomic_load(&on_signal_count) > 0)
        sched_yield();
}

void weir_consumer_stop_on_signals(struct weir_consumer *consumer)
{
    consumer->handles_signals = true;
}

/* The threads, all or none. */
static int start_threads(struct weir_consumer *consumer, struct weir_error *error)
{
    int result = weir_keeper_start(&consumer->keeper, consumer->owns_system, error);
    if (result == 0 && consumer->owns_system)
        result = weir_system_start(consumer->system, error);
    if (result != 0)
        weir_keeper_stop(&consumer->keeper);
    return result;
}

int weir_consumer_start(struct weir_consumer *consumer, struct weir_error *error)
{
    if (weir_keeper_is_on(&consumer->keeper) && consumer->options->delivery != WEIR_AT_LEAST_ONCE)
        return weir_error_set(error, WEIR_INVALID,
                              "weir.delivery=%s: the group's commit alone says what may not run again; leave out "
                              "weir_consumer_on_partition()",
                              weir_config_get(consumer->config, "weir.delivery"));
    if (atomic_exchange(&consumer->started, true))
        return weir_error_set(error, WEIR_STATE, "the consumer was started before: create another one");
    uint64_t now_ns = consumer->seam->now_ns(consumer->seam);
    atomic_store_explicit(&consumer->started_ns, now_ns, memory_order_relaxed);
    atomic_store_explicit(&consumer->lease_ns, now_ns, memory_order_relaxed);
    int result = start_threads(consumer, error);
    if (result != 0) {
        atomic_store(&consumer->started, false);
        return result;
    }
    if (consumer->handles_signals)
        watch_signals(consumer);
    weir_control_start(&consumer->control);
    return 0;
}

void weir_consumer_stop(struct weir_consumer *consumer)
{
    /* Control looks at every tick, so a signal handler need not wake it. */
    atomic_fetch_add_explicit(&consumer->stop_requests, 1, memory_order_relaxed);
}

bool weir_consumer_is_closed(const struct weir_consumer *consumer)
{
    return atomic_load_explicit(&consumer->closed, memory_order_acquire);
}

void weir_consumer_set_closed(struct weir_consumer *consumer, enum weir_code code, const char *text)
{
    pthread_mutex_lock(&consumer->close_lock);
    consumer->close_code = code;
    snprintf(consumer->close_text, sizeof consumer->close_text, "%s", text);
    atomic_store_explicit(&consumer->closed, true, memory_order_release);
    pthread_cond_broadcast(&consumer->close_changed);
    pthread_mutex_unlock(&consumer->close_lock);
}

void weir_consumer_escalate(struct weir_consumer *consumer, const char *text)
{
    pthread_mutex_lock(&consumer->close_lock);
    if (!atomic_load_explicit(&consumer->escalated, memory_order_relaxed))
        snprintf(consumer->escalation, sizeof consumer->escalation, "%s", text);
    atomic_store_explicit(&consumer->escalated, true, memory_order_release); /* pairs with control's acquire */
    pthread_mutex_unlock(&consumer->close_lock);
    weir_resident_notify(&consumer->control.resident);
}

static void await_closed(struct weir_consumer *consumer)
{
    pthread_mutex_lock(&consumer->close_lock);
    while (!weir_consumer_is_closed(consumer))
        pthread_cond_wait(&consumer->close_changed, &consumer->close_lock);
    pthread_mutex_unlock(&consumer->close_lock);
}

static uint64_t count_handed_back(const struct weir_consumer *consumer)
{
    uint64_t count = 0;
    for (struct weir_partition *partition = atomic_load(&consumer->partitions); partition;
         partition = partition->list_next)
        count += partition->handed_back_closing;
    return count;
}

/* Threads end, results are told. Called once the control actor has closed. */
static int finish(struct weir_consumer *consumer, struct weir_error *error)
{
    pthread_mutex_lock(&consumer->close_lock); /* one thread runs the consumer, another closes it: both come here */
    weir_keeper_stop(&consumer->keeper);
    if (consumer->owns_system)
        weir_system_stop(consumer->system);
    forget_signals(consumer);
    pthread_mutex_unlock(&consumer->close_lock);
    if (consumer->close_code != WEIR_OK)
        return weir_error_set(error, consumer->close_code, "%s", consumer->close_text);
    uint64_t left = count_handed_back(consumer);
    if (left > 0)
        return weir_error_set(error, WEIR_UNFINISHED, "%llu messages were not finished; they will be delivered again",
                              (unsigned long long)left);
    return 0;
}

/* Is this a thread that the close would wait for? */
static bool is_called_back(struct weir_consumer *consumer)
{
    return weir_worker_current() != NULL || weir_keeper_is_current(&consumer->keeper);
}

int weir_consumer_close(struct weir_consumer *consumer, struct weir_error *error)
{
    if (!atomic_load(&consumer->started))
        return weir_error_set(error, WEIR_STATE, "the consumer was never started");
    if (!consumer->owns_system && !weir_consumer_is_closed(consumer))
        return weir_error_set(error, WEIR_STATE, "a simulated consumer is stepped to its close, not waited for");
    if (is_called_back(consumer))
        return weir_error_set(error, WEIR_STATE,
                              "close was called by a handler or callback: call weir_consumer_stop() there");
    if (atomic_load_explicit(&consumer->stop_requests, memory_order_relaxed) == 0)
        weir_consumer_stop(consumer);
    await_closed(consumer);
    return finish(consumer, error);
}

int weir_consumer_run(struct weir_consumer *consumer, struct weir_error *error)
{
    int result = weir_consumer_start(consumer, error);
    if (result != 0)
        return result;
    await_closed(consumer);
    return finish(consumer, error);
}

void weir_consumer_destroy(struct weir_consumer *consumer)
{
    if (!consumer)
        return;
    if (is_called_back(consumer)) {
        weir_log(WEIR_LOG_ERROR, WEIR_NO_FIELDS,
                 "weir_consumer_destroy() was called by a handler or callback, which it would wait for: the consumer "
                 "stays; call weir_consumer_stop() there");
        return;
    }
    if (atomic_load(&consumer->started) && !weir_consumer_is_closed(consumer) && consumer->owns_system) {
        weir_consumer_stop(consumer);
        await_closed(consumer);
    }
    weir_keeper_stop(&consumer->keeper);
    if (consumer->owns_system && atomic_load(&consumer->started))
        weir_system_stop(consumer->system);
    forget_signals(consumer);
    weir_report_remove(consumer);
    weir_later_quiesce();
    bool held = false;
    struct weir_partition *partition = atomic_load(&consumer->partitions);
    for (struct weir_partition *next; partition; partition = next) {
        next = partition->list_next;
        held |= !weir_partition_destroy(partition);
    }
    if (held) {
        weir_log(WEIR_LOG_ERROR, WEIR_NO_FIELDS,
                 "messages given out by WEIR_LATER were never finished: their memory and the Kafka client stay");
        weir_journal_close(consumer->journal); /* no handler runs any more, and the next consumer wants the file */
        consumer->journal = NULL;
        return;
    }
    free_parts(consumer);
}

/* ---- pause and resume ---- */

static void set_paused_of(struct weir_partition *partition, bool paused)
{
    if (!paused)
        atomic_store_explicit(&partition->escalated, false, memory_order_relaxed);
    weir_resident_notify(&partition->resident);
}

static int set_paused(struct weir_consumer *consumer, const char *topic, int32_t number, bool paused)
{
    if (!atomic_load(&consumer->started))
        return WEIR_STATE;
    if (topic) {
        struct weir_partition *partition = weir_consumer_find(consumer, topic, number);
        if (!partition)
            return WEIR_INVALID;
        atomic_store_explicit(&partition->user_paused, paused, memory_order_relaxed);
        set_paused_of(partition, paused);
        return 0;
    }
    atomic_store_explicit(&consumer->user_paused, paused, memory_order_relaxed);
    for (struct weir_partition *partition = atomic_load(&consumer->partitions); partition;
         partition = partition->list_next)
        set_paused_of(partition, paused);
    return 0;
}

int weir_consumer_pause(struct weir_consumer *consumer, const char *topic, int32_t partition)
{
    return set_paused(consumer, topic, partition, true);
}

int weir_consumer_resume(struct weir_consumer *consumer, const char *topic, int32_t partition)
{
    return set_paused(consumer, topic, partition, false);
}

unsigned weir_consumer_workers(const struct weir_consumer *consumer)
{
    return weir_system_runner_count(consumer->system);
}

void weir_consumer_on_stats(struct weir_consumer *consumer, weir_stats_callback *callback, void *user)
{
    consumer->observer = (struct weir_stats_observer){callback, user};
}

void weir_consumer_on_partition(struct weir_consumer *consumer, weir_partition_callback *callback, void *user)
{
    consumer->keeper.callback = callback;
    consumer->keeper.user = user;
}
