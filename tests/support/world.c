/*
 * The world: its topics, its processes, and how it runs. See world.h.
 */
#include "runtime/check.h"
#include "tests/support/preempt.h"
#include "tests/support/world_internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS UINT64_C(1000000)

/* Consumers of crashed processes that nobody frees: reachable, so that they are no leaks. */
static void *volatile graveyard[8192]; /* volatile: nobody reads it, and it must not be optimised away */
static size_t graveyard_count;

void *weir_world_allocate(size_t size)
{
    void *memory = calloc(1, size ? size : 1);
    WEIR_CHECK(memory != NULL);
    return memory;
}

void weir_world_after(struct weir_world *world, uint64_t delay_ns, weir_fake_action *action, void *argument)
{
    weir_fake_after(world->cluster, delay_ns, action, free, argument);
}

/* ---- topics and messages ---- */

static char *join(const char *a, const char *b)
{
    char *text = weir_world_allocate(strlen(a) + strlen(b) + 1);
    strcpy(text, a);
    return strcat(text, b);
}

static void make_topics(struct weir_world *world)
{
    const struct weir_world_settings *settings = &world->settings;
    world->topic_text = join(settings->topics, "");
    char *rest = world->topic_text;
    for (char *name; (name = strsep(&rest, ",")) != NULL;) {
        WEIR_CHECK(world->topic_count < WEIR_WORLD_TOPICS_MAX);
        world->letters[world->topic_count] = join(name, settings->letters);
        world->topics[world->topic_count++] = name;
        weir_fake_topic_create(world->cluster, name, settings->partitions);
        if (settings->outputs > 0) {
            char *outputs = join(name, WEIR_WORLD_OUTPUTS);
            weir_fake_topic_create(world->cluster, outputs, settings->partitions);
            free(outputs);
        }
    }
    world->log_count = world->topic_count * (size_t)settings->partitions;
    world->logs = weir_world_allocate(world->log_count * sizeof *world->logs);
    for (size_t i = 0; i < world->log_count; i++) {
        struct world_log *log = &world->logs[i];
        log->topic = world->topics[i / (size_t)settings->partitions];
        log->partition = (int32_t)(i % (size_t)settings->partitions);
        log->lanes = weir_world_allocate(settings->keys * sizeof *log->lanes);
        for (unsigned key = 0; key < settings->keys; key++)
            log->lanes[key].produced = -1;
    }
}

struct world_log *weir_world_log(struct weir_world *world, const char *topic, int32_t partition)
{
    for (size_t i = 0; i < world->log_count; i++) {
        if (world->logs[i].partition == partition && strcmp(world->logs[i].topic, topic) == 0)
            return &world->logs[i];
    }
    return NULL;
}

int64_t weir_world_append(struct weir_world *world, const char *topic, int32_t partition, int key)
{
    struct world_log *log = weir_world_log(world, topic, partition);
    WEIR_CHECK(log != NULL && key < (int)world->settings.keys);
    char key_text[16], value[320];
    int key_size = snprintf(key_text, sizeof key_text, "k%d", key);
    int value_size = snprintf(value, sizeof value, "%s/%d@%lld", topic, (int)partition,
                              (long long)weir_fake_log_end(world->cluster, topic, partition));
    struct weir_kafka_header header = {"origin", value, (size_t)value_size};
    int64_t offset = weir_fake_append(world->cluster, partition,
                                      &(struct weir_kafka_produce){
                                          .topic = topic,
                                          .key = key < 0 ? NULL : key_text,
                                          .key_size = key < 0 ? 0 : (size_t)key_size,
                                          .value = value,
                                          .value_size = (size_t)value_size,
                                          .timestamp_ms = -1,
                                          .headers = &header,
                                          .header_count = 1,
                                      });
    weir_world_ledger_produced(world, log, offset, key);
    return offset;
}

void weir_world_produce(struct weir_world *world, unsigned count)
{
    const struct weir_world_settings *settings = &world->settings;
    for (; count > 0; count--) {
        const char *topic = world->topics[weir_random_below(&world->random, world->topic_count)];
        bool null_key = weir_random_below(&world->random, 1000) < settings->null_keys;
        int key = null_key ? -1 : (int)weir_random_below(&world->random, settings->keys);
        uint64_t place = null_key ? weir_random_next(&world->random) : (uint64_t)key * 0x9e3779b97f4a7c15u >> 32;
        weir_world_append(world, topic, (int32_t)(place % (uint64_t)settings->partitions), key);
    }
}

static void on_produce(void *argument)
{
    struct weir_world *world = *(struct weir_world **)argument;
    free(argument);
    world->produces_due--;
    weir_world_produce(world, 1);
}

void weir_world_produce_during(struct weir_world *world, uint64_t duration_ns, unsigned count)
{
    for (; count > 0; count--) {
        struct weir_world **argument = weir_world_allocate(sizeof *argument);
        *argument = world;
        world->produces_due++;
        weir_world_after(world, weir_random_below(&world->random, duration_ns + 1), on_produce, argument);
    }
}

void weir_world_truncate(struct weir_world *world, const char *topic, int32_t partition, int64_t offset)
{
    weir_fake_truncate(world->cluster, topic, partition, offset);
    weir_world_ledger_exempt(world, weir_world_log(world, topic, partition), offset);
}

/* ---- life ---- */

static void fill_in(struct weir_world_settings *settings)
{
    if (!settings->topics)
        settings->topics = "orders";
    if (settings->partitions == 0)
        settings->partitions = 4;
    if (settings->keys == 0)
        settings->keys = 20;
    if (!settings->group)
        settings->group = "group";
    if (!settings->letters)
        settings->letters = ".dlq";
    if (settings->workers == 0)
        settings->workers = 2;
    if (settings->later_ns_max == 0)
        settings->later_ns_max = 50 * MS;
}

/* After every step. */
static void observe(void *argument)
{
    struct weir_world *world = argument;
    char text[256];
    weir_world_ledger_observe(world);
    for (size_t i = 0; i < world->process_count && world->settings.driver->audit; i++) {
        struct weir_world_process *process = world->processes[i];
        if (process->consumer && !process->crashed && !process->destroyed &&
            !world->settings.driver->audit(process->audit, process->consumer, text, sizeof text))
            weir_world_violate(world, "process %u: %s", process->number, text);
    }
}

struct weir_world *weir_world_create(const struct weir_world_settings *settings)
{
    struct weir_world *world = weir_world_allocate(sizeof *world);
    world->settings = *settings;
    fill_in(&world->settings);
    weir_random_init(&world->random, settings->seed ^ 0x5eedu);
    world->simulation = weir_simulation_create(settings->seed);
    WEIR_CHECK(world->simulation != NULL);
    world->cluster = weir_fake_create(world->simulation, "world-1", settings->cluster);
    weir_fake_set_faults(world->cluster, &settings->faults);
    weir_fake_on_written(world->cluster, weir_world_written, world);
    make_topics(world);
    weir_simulation_observe(world->simulation, observe, world);
    weir_simulation_set_short_turns(world->simulation, settings->short_percent);
    weir_world_trace_begin(world);
    weir_world_produce(world, settings->messages);
    if (settings->preempt > 0)
        weir_preempt_begin(world->simulation, settings->preempt, NULL, NULL);
    return world;
}

static void process_bury(struct weir_world_process *process)
{
    const struct weir_world_driver *driver = process->world->settings.driver;
    if (!process->consumer)
        return;
    if (driver->abandon)
        driver->abandon(process->consumer);
    else if (graveyard_count < WEIR_COUNT(graveyard))
        graveyard[graveyard_count++] = process->consumer;
    process->consumer = NULL;
}

void weir_world_destroy(struct weir_world *world)
{
    if (!world)
        return;
    weir_preempt_end();
    weir_world_trace_end(world);
    for (size_t i = 0; i < world->process_count; i++) {
        struct weir_world_process *process = world->processes[i];
        if (!process->destroyed && !process->crashed)
            process_bury(process);
        free(process->audit);
        free(process);
    }
    weir_fake_destroy(world->cluster);
    weir_simulation_destroy(world->simulation);
    for (size_t i = 0; i < world->log_count; i++) {
        free(world->logs[i].messages);
        free(world->logs[i].lanes);
    }
    for (size_t i = 0; i < world->topic_count; i++)
        free(world->letters[i]);
    free(world->logs);
    free(world->topic_text);
    free(world->runs);
    free(world);
}

struct weir_simulation *weir_world_simulation(struct weir_world *world)
{
    return world->simulation;
}

struct weir_fake_cluster *weir_world_cluster(struct weir_world *world)
{
    return world->cluster;
}

const struct weir_world_settings *weir_world_settings(const struct weir_world *world)
{
    return &world->settings;
}

/* ---- processes ---- */

struct weir_world_process *weir_world_start_as(struct weir_world *world, unsigned instance)
{
    const struct weir_world_settings *settings = &world->settings;
    if (world->process_count == WEIR_WORLD_PROCESSES_MAX || world->closing)
        return NULL;
    struct weir_world_process *process = weir_world_allocate(sizeof *process);
    process->world = world;
    process->audit = weir_world_allocate(sizeof *process->audit);
    process->number = (unsigned)world->process_count;
    process->instance = instance;
    char name[64] = "";
    if (settings->instance_prefix)
        snprintf(name, sizeof name, "%s%u", settings->instance_prefix, instance);
    struct weir_fake_member member = {.group = settings->group,
                                      .topics = settings->topics,
                                      .instance_id = *name ? name : NULL,
                                      .cooperative = !settings->eager,
                                      .transactional = settings->exactly_once};
    process->kafka = weir_fake_client_create(world->cluster, &member);
    process->system = weir_simulation_system(world->simulation, settings->workers, settings->pool_threads);
    world->processes[world->process_count++] = process;
    process->consumer = settings->driver->create(process);
    if (!process->consumer) {
        weir_world_violate(world, "process %u: its consumer could not be created", process->number);
        process->destroyed = true;
        return process;
    }
    weir_world_trace(world, process, "starts");
    settings->driver->start(process->consumer);
    return process;
}

struct weir_world_process *weir_world_start(struct weir_world *world)
{
    return weir_world_start_as(world, world->instance_count++);
}

static bool is_alive(const struct weir_world_process *process)
{
    return !process->stopping && !process->crashed && !process->destroyed;
}

void weir_world_stop(struct weir_world_process *process)
{
    if (!is_alive(process))
        return;
    process->stopping = true;
    weir_world_trace(process->world, process, "is asked to stop");
    process->world->settings.driver->stop(process->consumer);
}

void weir_world_crash(struct weir_world_process *process)
{
    if (process->crashed || process->destroyed)
        return;
    process->crashed = true;
    weir_world_trace(process->world, process, "crashes");
    process->world->tally.crashes++;
    weir_fake_client_crash(process->kafka);
    weir_simulation_crash(process->world->simulation, process->system);
    weir_world_ledger_gone(process);
    process_bury(process);
}

size_t weir_world_alive(const struct weir_world *world)
{
    size_t count = 0;
    for (size_t i = 0; i < world->process_count; i++)
        count += is_alive(world->processes[i]);
    return count;
}

struct weir_world_process *weir_world_choose(struct weir_world *world)
{
    size_t alive = weir_world_alive(world);
    uint64_t index = weir_random_below(&world->random, alive);
    for (size_t i = 0; alive > 0 && i < world->process_count; i++) {
        if (is_alive(world->processes[i]) && index-- == 0)
            return world->processes[i];
    }
    return NULL;
}

struct weir_world *weir_world_of(const struct weir_world_process *process)
{
    return process->world;
}

struct weir_kafka *weir_world_kafka(const struct weir_world_process *process)
{
    return process->kafka;
}

struct weir_system *weir_world_system(const struct weir_world_process *process)
{
    return process->system;
}

unsigned weir_world_number(const struct weir_world_process *process)
{
    return process->number;
}

bool weir_world_is_gone(const struct weir_world_process *process)
{
    return process->crashed || process->destroyed;
}

/* ---- running ---- */

void weir_world_run(struct weir_world *world, uint64_t duration_ns)
{
    weir_simulation_run(world->simulation, duration_ns, NULL, NULL);
}

static bool is_finished_or_broken(void *argument)
{
    struct weir_world *world = argument;
    return weir_world_is_finished(world) || world->violation_count > 0 || weir_fake_violations(world->cluster) > 0;
}

bool weir_world_run_until_finished(struct weir_world *world, uint64_t duration_ns_max)
{
    weir_simulation_run(world->simulation, duration_ns_max, is_finished_or_broken, world);
    return weir_world_is_finished(world) && world->violation_count == 0;
}

static bool are_closed(void *argument)
{
    struct weir_world *world = argument;
    for (size_t i = 0; i < world->process_count; i++) {
        const struct weir_world_process *process = world->processes[i];
        if (process->stopping && !process->crashed && !process->destroyed &&
            !world->settings.driver->is_closed(process->consumer))
            return false;
    }
    return true;
}

bool weir_world_close(struct weir_world *world, uint64_t duration_ns_max)
{
    world->closing = true; /* a restart that is still due comes to nothing */
    for (size_t i = 0; i < world->process_count; i++)
        weir_world_stop(world->processes[i]);
    if (!weir_simulation_run(world->simulation, duration_ns_max, are_closed, world))
        return false;
    weir_world_run(world, world->settings.later_ns_max + WEIR_WORLD_SECOND); /* handles that are out come back */
    for (size_t i = 0; i < world->process_count; i++) {
        struct weir_world_process *process = world->processes[i];
        if (process->crashed || process->destroyed)
            continue;
        world->settings.driver->destroy(process->consumer);
        process->consumer = NULL;
        process->destroyed = true;
    }
    return true;
}
