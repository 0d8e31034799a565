/*
 * The kit: its life, its topics, and the processes in it. See internal.h.
 */
#include "actors/report.h"
#include "runtime/check.h"
#include "testkit/internal.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SESSION_MS_DEFAULT    10000
#define POLL_INTERVAL_DEFAULT 300000 /* librdkafka's */
#define CLOSE_MS_BEYOND_DRAIN 600000 /* longer than brokers may be down by chance */
#define HANDLES_COME_BACK_NS  (1000 * KIT_MS_NS)
#define TOPIC_NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
#define TOPIC_NAME_SIZE_MAX   249

/* Consumers that crashed, which nobody can free: reachable, so that they are no leaks. */
static struct kit_grave {
    struct kit_grave *next;
    struct weir_consumer *consumer;
} *volatile graves;

/* ---- small things ---- */

void *weir_kit_allocate(size_t size)
{
    void *memory = calloc(1, size ? size : 1);
    WEIR_CHECK(memory != NULL);
    return memory;
}

void *weir_kit_grow(void *items, size_t count, size_t *capacity, size_t item_size)
{
    if (count < *capacity)
        return items;
    *capacity = *capacity ? 2 * *capacity : 8;
    void *grown = realloc(items, *capacity * item_size);
    WEIR_CHECK(grown != NULL);
    return grown;
}

char *weir_kit_copy(const void *bytes, size_t size)
{
    char *copy = weir_kit_allocate(size + 1);
    if (size > 0)
        memcpy(copy, bytes, size);
    return copy;
}

/* ---- topics ---- */

struct kit_topic *weir_kit_topic(const struct weir_testkit *kit, const char *name)
{
    for (size_t i = 0; i < kit->topic_count; i++) {
        if (!name || strcmp(kit->topics[i].name, name) == 0)
            return (struct kit_topic *)&kit->topics[i];
    }
    return NULL;
}

struct kit_log *weir_kit_log(const struct weir_testkit *kit, const char *name, int32_t partition)
{
    const struct kit_topic *topic = weir_kit_topic(kit, name);
    return topic && partition >= 0 && partition < topic->partition_count ? topic->logs[partition] : NULL;
}

static void topic_grow(struct kit_topic *topic, int32_t partitions)
{
    topic->logs = realloc(topic->logs, (size_t)partitions * sizeof(struct kit_log *));
    WEIR_CHECK(topic->logs != NULL);
    for (; topic->partition_count < partitions; topic->partition_count++) {
        struct kit_log *log = weir_kit_allocate(sizeof *log);
        log->topic = topic->name;
        log->partition = topic->partition_count;
        topic->logs[topic->partition_count] = log;
    }
}

static int topic_make(struct weir_testkit *kit, const char *name, int32_t partitions, struct weir_error *error)
{
    size_t size = strlen(name);
    if (size == 0 || size > TOPIC_NAME_SIZE_MAX || strspn(name, TOPIC_NAME_CHARACTERS) != size ||
        strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return weir_error_set(error, WEIR_INVALID,
                              "topic \"%.100s\": must be 1..%d letters, digits, dots, underscores and hyphens", name,
                              TOPIC_NAME_SIZE_MAX);
    if (weir_fake_topic_partitions(kit->cluster, name) >= 0)
        return weir_error_set(error, WEIR_INVALID, "topic %.100s: the consumer writes to it", name);
    if (kit->topic_count == WEIR_TESTKIT_TOPICS_MAX)
        return weir_error_set(error, WEIR_INVALID, "topic %.100s: there are %d topics already, and may not be more",
                              name, WEIR_TESTKIT_TOPICS_MAX);
    struct kit_topic *topic = &kit->topics[kit->topic_count++];
    topic->name = weir_kit_copy(name, size);
    weir_fake_topic_create(kit->cluster, name, partitions);
    topic_grow(topic, partitions);
    return 0;
}

int weir_testkit_topic(struct weir_testkit *kit, const char *name, int32_t partitions, struct weir_error *error)
{
    int result = weir_kit_check_outside(kit, "weir_testkit_topic", error);
    if (result != 0)
        return result;
    if (!name)
        return weir_error_set(error, WEIR_INVALID, "weir_testkit_topic: the topic is NULL");
    struct kit_topic *topic = weir_kit_topic(kit, name);
    int32_t least = topic ? topic->partition_count : 1;
    if (partitions < least || partitions > WEIR_TESTKIT_PARTITIONS_MAX)
        return weir_error_set(error, WEIR_INVALID, "topic %.100s: partitions=%d: must be %d..%d", name, (int)partitions,
                              (int)least, WEIR_TESTKIT_PARTITIONS_MAX);
    if (!topic)
        return topic_make(kit, name, partitions, error);
    if (partitions == topic->partition_count)
        return 0;
    weir_fake_topic_add_partitions(kit->cluster, topic->name, partitions);
    topic_grow(topic, partitions);
    return 0;
}

/* Those that weir.topics names; expressions name none. */
static int make_topics(struct weir_testkit *kit, struct weir_error *error)
{
    const char *topics = weir_config_options(kit->config)->topics;
    char *list = weir_kit_copy(topics, strlen(topics)), *rest = list;
    int result = 0;
    for (char *name; result == 0 && (name = strsep(&rest, ",")) != NULL;) {
        if (name[0] != '^')
            result = topic_make(kit, name, WEIR_TESTKIT_PARTITIONS, error);
    }
    free(list);
    return result;
}

/* ---- configuration ---- */

static uint64_t kafka_number(const struct weir_config *config, const char *name, uint64_t fallback)
{
    const char *text = weir_config_kafka_get(config, name);
    return text ? strtoull(text, NULL, 10) : fallback;
}

static int configure(struct weir_testkit *kit, struct weir_error *error)
{
    const struct weir_options *options = weir_config_options(kit->config);
    const struct {
        const char *name, *value;
        bool wanted;
    } rows[] = {
        {"weir.topics", "messages", options->topics[0] == '\0'},
        {"weir.workers", "2", options->workers == 0}, /* not this machine's processors: a seed is to replay elsewhere */
        {"weir.log.level", "error", options->log_level == WEIR_LOG_INFO && !kit->trace},
        {"weir.log.level", "debug", kit->trace},
        {"weir.crash.journal", "", true},
        {"auto.offset.reset", "earliest", true},
        {"group.id", "testkit", !weir_config_kafka_get(kit->config, "group.id")},
        {"session.timeout.ms", "10000", !weir_config_kafka_get(kit->config, "session.timeout.ms")},
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        int result = rows[i].wanted ? weir_config_set(kit->config, rows[i].name, rows[i].value, error) : 0;
        if (result != 0)
            return result;
    }
    kit->unordered_commits = options->delivery == WEIR_AT_MOST_ONCE;
    return 0;
}

static void make_cluster(struct weir_testkit *kit)
{
    struct weir_fake_settings settings = weir_fake_settings_default();
    settings.session_timeout_ns = kafka_number(kit->config, "session.timeout.ms", SESSION_MS_DEFAULT) * KIT_MS_NS;
    settings.rebalance_timeout_ns =
        kafka_number(kit->config, "max.poll.interval.ms", POLL_INTERVAL_DEFAULT) * KIT_MS_NS;
    kit->simulation = weir_simulation_create(kit->seed);
    WEIR_CHECK(kit->simulation != NULL);
    kit->begin_ns = weir_simulation_now_ns(kit->simulation);
    kit->cluster = weir_fake_create(kit->simulation, "testkit", &settings);
    weir_simulation_observe(kit->simulation, weir_kit_observe, kit);
    weir_fake_on_written(kit->cluster, weir_kit_on_written, kit);
}

/* ---- processes ---- */

bool weir_kit_process_start(struct weir_testkit *kit, struct weir_error *error)
{
    const struct weir_options *options = weir_config_options(kit->config);
    struct kit_process *process = weir_kit_allocate(sizeof *process);
    struct weir_fake_member member = {.group = weir_config_kafka_get(kit->config, "group.id"),
                                      .topics = options->topics,
                                      .instance_id = weir_config_kafka_get(kit->config, "group.instance.id"),
                                      .cooperative = true,
                                      .transactional = options->delivery == WEIR_EXACTLY_ONCE};
    process->kit = kit;
    process->number = kit->process_count++;
    process->kafka = weir_fake_client_create(kit->cluster, &member);
    process->system =
        weir_simulation_system(kit->simulation, (unsigned)options->workers, (unsigned)options->blocking_threads);
    WEIR_CHECK(process->system != NULL);
    process->consumer = kit->batch_handler ? weir_consumer_create_batch_on(kit->config, weir_kit_handle_batch, process,
                                                                           process->kafka, process->system, error)
                                           : weir_consumer_create_on(kit->config, weir_kit_handle, process,
                                                                     process->kafka, process->system, error);
    if (!process->consumer) {
        free(process);
        return false;
    }
    process->consumer->on_filtered = weir_kit_filtered;
    if (kit->prepare && kit->prepare(process->consumer, kit->user, error) != 0) {
        weir_consumer_destroy(process->consumer);
        free(process);
        return false;
    }
    process->next = kit->processes;
    kit->processes = kit->process = process;
    weir_kit_trace(kit, "consumer %u starts", process->number);
    int result = weir_consumer_start(process->consumer, error);
    WEIR_CHECK(result == 0); /* of a consumer that is new, on a client in memory */
    return true;
}

void weir_kit_process_crash(struct weir_testkit *kit)
{
    struct kit_process *process = kit->process;
    kit->process = NULL;
    kit->crashes++;
    process->crashed = true;
    weir_kit_trace(kit, "consumer %u crashes", process->number);
    weir_fake_client_crash(process->kafka);
    weir_simulation_crash(kit->simulation, process->system);
    weir_kit_make_stale(kit, process);
}

static bool is_closed(void *argument)
{
    const struct weir_testkit *kit = argument;
    return weir_consumer_is_closed(kit->process->consumer);
}

static int process_stop(struct weir_testkit *kit, struct weir_error *error)
{
    struct kit_process *process = kit->process;
    uint64_t ms_max = weir_config_options(kit->config)->close_drain_ms_max + CLOSE_MS_BEYOND_DRAIN;
    weir_kit_trace(kit, "consumer %u is asked to stop", process->number);
    weir_consumer_stop(process->consumer);
    weir_kit_pass(kit, ms_max * KIT_MS_NS, is_closed);
    if (!is_closed(kit)) {
        weir_kit_process_crash(kit);
        return weir_error_set(error, WEIR_UNFINISHED, "the consumer has not closed after %" PRIu64 " ms: ended",
                              ms_max);
    }
    process->closed = true;
    kit->process = NULL;
    return weir_consumer_close(process->consumer, error);
}

int weir_testkit_stop(struct weir_testkit *kit, struct weir_error *error)
{
    int result = weir_kit_check_idle(kit, "weir_testkit_stop", error);
    if (result != 0)
        return result;
    kit->shake++;
    if (!kit->process)
        return weir_error_set(error, WEIR_STATE, "weir_testkit_stop: no consumer runs");
    return process_stop(kit, error);
}

int weir_testkit_start(struct weir_testkit *kit, struct weir_error *error)
{
    struct weir_error unused;
    int result = weir_kit_check_outside(kit, "weir_testkit_start", error);
    if (result != 0)
        return result;
    if (kit->process)
        return weir_error_set(error, WEIR_STATE, "weir_testkit_start: a consumer runs already");
    error = error ? error : &unused;
    return weir_kit_process_start(kit, error) ? 0 : error->code;
}

struct weir_consumer *weir_testkit_consumer(struct weir_testkit *kit)
{
    return kit && kit->process ? kit->process->consumer : NULL;
}

/* ---- life ---- */

static void bury(struct weir_consumer *consumer)
{
    struct kit_grave *grave = weir_kit_allocate(sizeof *grave);
    weir_report_remove(consumer);
    grave->consumer = consumer;
    grave->next = graves;
    graves = grave;
}

static void free_processes(struct weir_testkit *kit)
{
    for (struct kit_process *process = kit->processes, *next; process; process = next) {
        next = process->next;
        if (process->closed)
            weir_consumer_destroy(process->consumer);
        else
            bury(process->consumer);
        free(process);
    }
}

static void free_topics(struct weir_testkit *kit)
{
    for (size_t i = 0; i < kit->topic_count; i++) {
        struct kit_topic *topic = &kit->topics[i];
        for (int32_t partition = 0; partition < topic->partition_count; partition++)
            free(topic->logs[partition]);
        free(topic->logs);
        free(topic->name);
    }
}

static void kit_free(struct weir_testkit *kit)
{
    free_processes(kit);
    weir_kit_ledger_deinit(kit);
    free_topics(kit);
    if (kit->simulation) {
        weir_fake_destroy(kit->cluster);
        weir_simulation_destroy(kit->simulation);
    }
    weir_config_destroy(kit->config);
    free(kit);
}

void weir_testkit_destroy(struct weir_testkit *kit)
{
    if (!kit || weir_kit_check_idle(kit, "weir_testkit_destroy", NULL) != 0)
        return;
    weir_kit_calm(kit);
    if (kit->process)
        process_stop(kit, NULL);
    weir_kit_make_stale(kit, NULL);
    weir_kit_make_calls(kit);
    weir_kit_pass(kit, HANDLES_COME_BACK_NS, NULL); /* the messages of handles are freed */
    kit_free(kit);
}

/* With one of the two handlers. */
static struct weir_testkit *create(const struct weir_config *config, weir_handler *handler,
                                   weir_batch_handler *batch_handler, void *user, weir_testkit_prepare *prepare,
                                   uint64_t seed, struct weir_error *error)
{
    struct weir_testkit *kit = weir_kit_allocate(sizeof *kit);
    kit->config = config ? weir_config_copy(config) : weir_config_create();
    WEIR_CHECK(kit->config != NULL);
    kit->handler = handler;
    kit->batch_handler = batch_handler;
    kit->user = user;
    kit->prepare = prepare;
    kit->seed = seed;
    const char *trace = getenv("WEIR_TESTKIT_TRACE");
    kit->trace = weir_kit_traces || (trace && *trace && strcmp(trace, "0") != 0);
    kit->letters_end = &kit->letters;
    weir_random_init(&kit->random, seed ^ 0x7e57u);
    if (configure(kit, error) == 0) {
        make_cluster(kit);
        if (make_topics(kit, error) == 0 && weir_kit_process_start(kit, error))
            return kit;
    }
    kit_free(kit);
    return NULL;
}

struct weir_testkit *weir_testkit_create(const struct weir_config *config, weir_handler *handler, void *user,
                                         uint64_t seed, struct weir_error *error)
{
    return weir_testkit_create_prepared(config, handler, user, NULL, seed, error);
}

struct weir_testkit *weir_testkit_create_prepared(const struct weir_config *config, weir_handler *handler, void *user,
                                                  weir_testkit_prepare *prepare, uint64_t seed,
                                                  struct weir_error *error)
{
    if (handler)
        return create(config, handler, NULL, user, prepare, seed, error);
    weir_error_set(error, WEIR_INVALID, "weir_testkit_create: the handler is NULL");
    return NULL;
}

struct weir_testkit *weir_testkit_create_batch(const struct weir_config *config, weir_batch_handler *handler,
                                               void *user, uint64_t seed, struct weir_error *error)
{
    if (handler)
        return create(config, NULL, handler, user, NULL, seed, error);
    weir_error_set(error, WEIR_INVALID, "weir_testkit_create_batch: the handler is NULL");
    return NULL;
}
