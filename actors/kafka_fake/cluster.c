/*
 * The in-memory cluster as a whole: its memory and names, what it asks of the simulation, times without a broker, and
 * the list of what callers did wrong. Topics, groups and clients live in the other kafka_fake_*.c files.
 *
 * Thread: the simulation's.
 *
 * Invariants
 *   1. Every event that the simulation may still call back for is in `events`, so that destroy can free what it
 * carries.
 *   2. An injected allocation failure that hits the simulation's own scheduling is passed on: the next allocation fails
 *      in its place, so that it still hits the code under test.
 */
#include "actors/kafka_fake/internal.h"
#include "runtime/check.h"
#include "runtime/memory.h"
#include "runtime/simulation.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory ---- */

void *weir_fake_allocate(size_t size)
{
    void *memory = calloc(1, size ? size : 1);
    WEIR_CHECK(memory != NULL);
    return memory;
}

void *weir_fake_copy_bytes(const void *bytes, size_t size)
{
    void *copy = weir_fake_allocate(size);
    if (size > 0)
        memcpy(copy, bytes, size);
    return copy;
}

char *weir_fake_copy_text(const char *text)
{
    return weir_fake_copy_bytes(text, strlen(text) + 1);
}

void *weir_fake_grow(void *items, size_t count, size_t *capacity, size_t item_size)
{
    if (count < *capacity)
        return items;
    *capacity = *capacity ? 2 * *capacity : 8;
    items = realloc(items, *capacity * item_size);
    WEIR_CHECK(items != NULL);
    return items;
}

const char *weir_fake_intern(struct weir_fake_cluster *cluster, const char *text)
{
    for (struct fake_name *name = cluster->names; name; name = name->next) {
        if (strcmp(name->text, text) == 0)
            return name->text;
    }
    struct fake_name *name = weir_fake_allocate(sizeof *name + strlen(text) + 1);
    memcpy(name->text, text, strlen(text) + 1);
    name->next = cluster->names;
    cluster->names = name;
    return name->text;
}

void weir_fake_offsets_free(struct weir_kafka_offset *offsets, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free((void *)(uintptr_t)offsets[i].metadata);
    free(offsets);
}

struct weir_kafka_offset *weir_fake_offsets_copy(struct weir_fake_cluster *cluster,
                                                 const struct weir_kafka_offset *offsets, size_t count)
{
    struct weir_kafka_offset *copy = weir_fake_allocate(count * sizeof *copy);
    for (size_t i = 0; i < count; i++) {
        copy[i] = offsets[i];
        copy[i].topic = weir_fake_intern(cluster, offsets[i].topic);
        copy[i].metadata = offsets[i].metadata ? weir_fake_copy_text(offsets[i].metadata) : NULL;
        copy[i].error = WEIR_KAFKA_NONE;
    }
    return copy;
}

/* ---- sets of partitions ---- */

static size_t find(const struct fake_set *set, const char *topic, int32_t partition)
{
    size_t index = 0;
    while (index < set->count && (set->items[index].topic != topic || set->items[index].partition != partition))
        index++;
    return index;
}

bool weir_fake_set_has(const struct fake_set *set, const char *topic, int32_t partition)
{
    return find(set, topic, partition) < set->count;
}

void weir_fake_set_add(struct fake_set *set, const char *topic, int32_t partition)
{
    if (weir_fake_set_has(set, topic, partition))
        return;
    set->items = weir_fake_grow(set->items, set->count, &set->capacity, sizeof *set->items);
    set->items[set->count++] = (struct fake_place){topic, partition};
}

void weir_fake_set_remove(struct fake_set *set, const char *topic, int32_t partition)
{
    size_t index = find(set, topic, partition);
    if (index == set->count)
        return;
    set->count--;
    memmove(&set->items[index], &set->items[index + 1], (set->count - index) * sizeof *set->items);
}

void weir_fake_set_copy(struct fake_set *to, const struct fake_set *from)
{
    if (to == from)
        return;
    weir_fake_set_clear(to);
    for (size_t i = 0; i < from->count; i++)
        weir_fake_set_add(to, from->items[i].topic, from->items[i].partition);
}

void weir_fake_set_clear(struct fake_set *set)
{
    free(set->items);
    *set = (struct fake_set){0};
}

/* ---- subscriptions ---- */

static void subscription_add(struct fake_subscription *subscription, struct weir_fake_cluster *cluster,
                             const char *name)
{
    if (name[0] != '^') {
        subscription->names[subscription->name_count++] = weir_fake_intern(cluster, name);
        return;
    }
    int failed = regcomp(&subscription->patterns[subscription->pattern_count], name, REG_EXTENDED | REG_NOSUB);
    if (failed)
        weir_fake_violate(cluster, "subscription to %s: not a regular expression", name);
    else
        subscription->pattern_count++;
}

void weir_fake_subscription_init(struct fake_subscription *subscription, struct weir_fake_cluster *cluster,
                                 const char *topics)
{
    size_t count_max = 1;
    for (const char *at = topics; *at; at++)
        count_max += *at == ',';
    *subscription = (struct fake_subscription){
        .names = weir_fake_allocate(count_max * sizeof *subscription->names),
        .patterns = weir_fake_allocate(count_max * sizeof *subscription->patterns),
    };
    char *copy = weir_fake_copy_text(topics), *rest = copy;
    for (char *name; (name = strsep(&rest, ",")) != NULL;) {
        name += strspn(name, " ");
        name[strcspn(name, " ")] = 0;
        if (*name)
            subscription_add(subscription, cluster, name);
    }
    free(copy);
}

void weir_fake_subscription_deinit(struct fake_subscription *subscription)
{
    for (size_t i = 0; i < subscription->pattern_count; i++)
        regfree(&subscription->patterns[i]);
    free(subscription->patterns);
    free((void *)subscription->names);
    *subscription = (struct fake_subscription){0};
}

bool weir_fake_subscription_has(const struct fake_subscription *subscription, const char *topic)
{
    for (size_t i = 0; i < subscription->name_count; i++) {
        if (subscription->names[i] == topic)
            return true;
    }
    for (size_t i = 0; i < subscription->pattern_count; i++) {
        if (regexec(&subscription->patterns[i], topic, 0, NULL, 0) == 0)
            return true;
    }
    return false;
}

/* ---- time and chance ---- */

uint64_t weir_fake_now(const struct weir_fake_cluster *cluster)
{
    return weir_simulation_now_ns(cluster->simulation);
}

bool weir_fake_roll(struct weir_fake_cluster *cluster, uint16_t thousandths)
{
    return thousandths > 0 && weir_random_below(&cluster->random, 1000) < thousandths;
}

uint64_t weir_fake_between(struct weir_fake_cluster *cluster, uint64_t low, uint64_t high)
{
    return high <= low ? low : low + weir_random_below(&cluster->random, high - low + 1);
}

uint64_t weir_fake_latency(struct weir_fake_cluster *cluster)
{
    uint64_t latency_ns =
        weir_fake_between(cluster, cluster->settings.latency_ns_min, cluster->settings.latency_ns_max);
    if (weir_fake_roll(cluster, cluster->faults.slow))
        latency_ns += weir_fake_between(cluster, 0, cluster->settings.slow_ns_max);
    return latency_ns;
}

static void event_unlink(struct fake_event *event)
{
    if (event->previous)
        event->previous->next = event->next;
    else
        event->cluster->events = event->next;
    if (event->next)
        event->next->previous = event->previous;
}

static void event_fire(void *argument)
{
    struct fake_event event = *(struct fake_event *)argument;
    event_unlink(argument);
    free(argument);
    event.action(event.argument);
}

void weir_fake_after(struct weir_fake_cluster *cluster, uint64_t delay_ns, fake_action *action, fake_action *drop,
                     void *argument)
{
    struct fake_event *event = weir_fake_allocate(sizeof *event);
    *event = (struct fake_event){
        .next = cluster->events, .cluster = cluster, .action = action, .drop = drop, .argument = argument};
    if (cluster->events)
        cluster->events->previous = event;
    cluster->events = event;
    if (weir_simulation_after(cluster->simulation, delay_ns, event_fire, event) == 0)
        return;
    int failed = weir_simulation_after(cluster->simulation, delay_ns, event_fire, event);
    WEIR_CHECK(failed == 0);
    weir_memory_fail_after(0); /* invariant 2 */
}

/* ---- the cluster ---- */

struct weir_fake_settings weir_fake_settings_default(void)
{
    return (struct weir_fake_settings){
        .latency_ns_min = FAKE_MS / 5,
        .latency_ns_max = 3 * FAKE_MS,
        .slow_ns_max = 500 * FAKE_MS,
        .park_ns_max = 5000 * FAKE_MS,
        .request_timeout_ns = 5000 * FAKE_MS,
        .delivery_timeout_ns = 10000 * FAKE_MS,
        .transaction_timeout_ns = 15000 * FAKE_MS,
        .heartbeat_ns = 300 * FAKE_MS,
        .session_timeout_ns = 10000 * FAKE_MS,
        .rebalance_timeout_ns = 60000 * FAKE_MS,
        .join_delay_ns = 50 * FAKE_MS,
        .metadata_ns_max = 1000 * FAKE_MS,
        .fetch_messages_max = 50,
        .queued_messages_max = 200,
        .queued_bytes_max = 1 << 20,
        .produce_queue_max = 1000,
        .message_bytes_max = 1000000,
        .offset_metadata_bytes_max = 4096,
        .auto_create = true,
        .auto_create_partitions = 1,
    };
}

struct weir_fake_cluster *weir_fake_create(struct weir_simulation *simulation, const char *cluster_id,
                                           const struct weir_fake_settings *settings)
{
    struct weir_fake_cluster *cluster = weir_fake_allocate(sizeof *cluster);
    cluster->simulation = simulation;
    cluster->settings = settings ? *settings : weir_fake_settings_default();
    cluster->id = weir_fake_copy_text(cluster_id);
    weir_random_init(&cluster->random, weir_random_next(weir_simulation_random(simulation)));
    return cluster;
}

static void events_free(struct weir_fake_cluster *cluster)
{
    while (cluster->events) {
        struct fake_event *event = cluster->events;
        cluster->events = event->next;
        if (event->drop)
            event->drop(event->argument);
        free(event);
    }
}

static void names_free(struct weir_fake_cluster *cluster)
{
    while (cluster->names) {
        struct fake_name *name = cluster->names;
        cluster->names = name->next;
        free(name);
    }
}

void weir_fake_destroy(struct weir_fake_cluster *cluster)
{
    if (!cluster)
        return;
    events_free(cluster);
    while (cluster->clients) {
        struct weir_fake_client *client = cluster->clients;
        cluster->clients = client->next;
        weir_fake_client_free(client);
    }
    weir_fake_groups_free(cluster);
    weir_fake_topics_free(cluster);
    weir_fake_transactions_free(cluster);
    names_free(cluster);
    for (size_t i = 0; i < FAKE_VIOLATIONS_KEPT; i++)
        free(cluster->violations[i]);
    free(cluster->id);
    free(cluster);
}

void weir_fake_set_faults(struct weir_fake_cluster *cluster, const struct weir_fake_faults *faults)
{
    cluster->faults = *faults;
}

struct weir_fake_settings *weir_fake_settings(struct weir_fake_cluster *cluster)
{
    return &cluster->settings;
}

const struct weir_fake_counts *weir_fake_counts(const struct weir_fake_cluster *cluster)
{
    return &cluster->counts;
}

void weir_fake_broker_down(struct weir_fake_cluster *cluster, uint64_t duration_ns)
{
    uint64_t until_ns = weir_fake_now(cluster) + duration_ns;
    if (until_ns > cluster->broker_down_until_ns)
        cluster->broker_down_until_ns = until_ns;
}

void weir_fake_coordinator_down(struct weir_fake_cluster *cluster, uint64_t duration_ns)
{
    uint64_t now_ns = weir_fake_now(cluster);
    bool begins = cluster->coordinator_down_until_ns <= now_ns;
    if (now_ns + duration_ns > cluster->coordinator_down_until_ns)
        cluster->coordinator_down_until_ns = now_ns + duration_ns;
    if (!begins)
        return;
    cluster->coordinator_outages++;
    for (struct weir_fake_client *client = cluster->clients; client; client = client->next)
        weir_fake_member_outage(client);
}

/* ---- violations ---- */

void weir_fake_violate(struct weir_fake_cluster *cluster, const char *format, ...)
{
    if (cluster->violation_count++ >= FAKE_VIOLATIONS_KEPT)
        return;
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    cluster->violations[cluster->violation_count - 1] = weir_fake_copy_text(text);
}

uint64_t weir_fake_violations(const struct weir_fake_cluster *cluster)
{
    return cluster->violation_count;
}

const char *weir_fake_violation(const struct weir_fake_cluster *cluster, size_t index)
{
    return index < FAKE_VIOLATIONS_KEPT ? cluster->violations[index] : NULL;
}
