/* See kafka_driver.h. */
#include "tests/support/kafka_driver.h"
#include "actors/config/config.h"
#include "runtime/check.h"
#include "tests/support/test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t weir_driver_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void nap(void)
{
    struct timespec millisecond = {0, 1000000};
    nanosleep(&millisecond, NULL);
}

/* ---- listener ---- */

static void on_wake(struct weir_kafka_listener *listener)
{
    struct weir_driver *driver = WEIR_CONTAINER(listener, struct weir_driver, listener);
    atomic_fetch_add(&driver->wakes, 1);
}

static void on_messages(void *argument)
{
    struct weir_driver_partition *partition = argument;
    atomic_fetch_add(&partition->wakes, 1);
}

static void copy_offset(struct weir_driver_event *copy, size_t index, const struct weir_kafka_offset *offset)
{
    copy->offsets[index] = *offset;
    snprintf(copy->topics[index], sizeof copy->topics[index], "%s", offset->topic);
    copy->offsets[index].topic = copy->topics[index];
    if (!offset->metadata)
        return;
    cr_assert_eq(strlen(offset->metadata), offset->metadata_size, "metadata is not what its size says");
    copy->metadata[index] = strdup(offset->metadata);
    copy->offsets[index].metadata = copy->metadata[index];
}

static void on_event(struct weir_kafka_listener *listener, const struct weir_kafka_event *event)
{
    struct weir_driver *driver = WEIR_CONTAINER(listener, struct weir_driver, listener);
    cr_assert_not(driver->closed, "event %d after CLOSED", (int)event->kind);
    struct weir_driver_event *copy = calloc(1, sizeof *copy);
    copy->event = *event;
    copy->event.offsets = copy->offsets;
    cr_assert_leq(event->count, WEIR_DRIVER_PARTITIONS, "too many partitions for the driver");
    for (size_t index = 0; index < event->count; index++)
        copy_offset(copy, index, &event->offsets[index]);
    snprintf(copy->text, sizeof copy->text, "%s", event->text ? event->text : "");
    copy->event.text = event->text ? copy->text : NULL;
    *driver->events_end = copy;
    driver->events_end = &copy->next;
    driver->delivered += event->kind == WEIR_KAFKA_DELIVERED;
    driver->closed = event->kind == WEIR_KAFKA_CLOSED;
    if (driver->by_hand)
        return;
    if (event->kind == WEIR_KAFKA_ASSIGN)
        weir_driver_assign(driver, event);
    if (event->kind == WEIR_KAFKA_REVOKE || event->kind == WEIR_KAFKA_LOST)
        weir_driver_unassign(driver, event);
}

/* ---- partitions ---- */

struct weir_driver_partition *weir_driver_partition(struct weir_driver *driver, const char *topic, int32_t partition)
{
    for (unsigned index = 0; index < WEIR_DRIVER_PARTITIONS; index++) {
        struct weir_driver_partition *found = &driver->partitions[index];
        if (found->queue && found->partition == partition && strcmp(found->topic, topic) == 0)
            return found;
    }
    return NULL;
}

unsigned weir_driver_owned(const struct weir_driver *driver)
{
    unsigned count = 0;
    for (unsigned index = 0; index < WEIR_DRIVER_PARTITIONS; index++)
        count += driver->partitions[index].queue != NULL;
    return count;
}

static void open_partition(struct weir_driver *driver, const struct weir_kafka_offset *offset)
{
    struct weir_driver_partition *place = driver->partitions;
    while (place->queue)
        place++;
    cr_assert_lt(place, driver->partitions + WEIR_DRIVER_PARTITIONS, "the driver is full");
    snprintf(place->topic, sizeof place->topic, "%s", offset->topic);
    place->partition = offset->partition;
    place->shut = driver->start < 0;
    atomic_store(&place->wakes, 0);
    place->queue = driver->kafka->ops->queue_open(driver->kafka, offset->topic, offset->partition, on_messages, place);
    cr_assert_not_null(place->queue, "no queue");
}

void weir_driver_assign(struct weir_driver *driver, const struct weir_kafka_event *event)
{
    struct weir_kafka_offset offsets[WEIR_DRIVER_PARTITIONS];
    for (size_t index = 0; index < event->count; index++) {
        open_partition(driver, &event->offsets[index]);
        offsets[index] = event->offsets[index];
        offsets[index].offset = driver->start;
    }
    cr_assert_eq(driver->kafka->ops->assign(driver->kafka, offsets, event->count), 0, "assign failed");
}

void weir_driver_unassign(struct weir_driver *driver, const struct weir_kafka_event *event)
{
    for (size_t index = 0; index < event->count; index++) {
        struct weir_driver_partition *partition =
            weir_driver_partition(driver, event->offsets[index].topic, event->offsets[index].partition);
        cr_assert_not_null(partition, "a partition is taken back that was not owned");
        driver->kafka->ops->queue_close(driver->kafka, partition->queue);
        partition->queue = NULL;
    }
    cr_assert_eq(driver->kafka->ops->unassign(driver->kafka), 0, "unassign failed");
}

/* ---- pulling ---- */

static void copy_text(char *to, size_t size, const void *from, size_t from_size)
{
    size_t kept = from_size < size ? from_size : size - 1;
    if (from)
        memcpy(to, from, kept);
    to[from ? kept : 0] = '\0';
}

static void keep(struct weir_driver *driver, struct weir_driver_partition *partition, const struct weir_record *record)
{
    struct weir_driver_record *copy = calloc(1, sizeof *copy);
    copy->record = *record;
    copy->partition = partition->partition;
    if (record->kind == WEIR_RECORD_MESSAGE) {
        copy_text(copy->key, sizeof copy->key, record->key, record->key_size);
        copy_text(copy->value, sizeof copy->value, record->value, record->value_size);
        driver->record_count++;
    } else if (record->kind == WEIR_RECORD_ERROR) {
        snprintf(copy->value, sizeof copy->value, "%s", record->text);
    }
    if (!driver->keep_records) {
        driver->kafka->ops->record_free(driver->kafka, record->native);
        copy->record.native = NULL;
    }
    *driver->records_end = copy;
    driver->records_end = &copy->next;
}

static unsigned pull(struct weir_driver *driver, struct weir_driver_partition *partition)
{
    struct weir_record records[200]; /* more than one batch of librdkafka's, and no multiple */
    unsigned count = driver->kafka->ops->pull(partition->queue, records, WEIR_COUNT(records));
    for (unsigned index = 0; index < count; index++)
        keep(driver, partition, &records[index]);
    return count;
}

void weir_driver_turn(struct weir_driver *driver)
{
    unsigned busy = driver->kafka->ops->poll(driver->kafka, 64);
    for (unsigned index = 0; index < WEIR_DRIVER_PARTITIONS; index++)
        if (driver->partitions[index].queue && !driver->partitions[index].shut)
            busy += pull(driver, &driver->partitions[index]);
    if (busy == 0)
        nap();
}

void weir_driver_forget_records(struct weir_driver *driver)
{
    while (driver->records) {
        struct weir_driver_record *record = driver->records;
        driver->records = record->next;
        driver->kafka->ops->record_free(driver->kafka, record->record.native);
        free(record);
    }
    driver->records_end = &driver->records;
    driver->record_count = 0;
}

/* ---- life ---- */

static struct weir_config *configure(const char *bootstrap, const char *group, const char *topics,
                                     const char *const *settings)
{
    struct weir_error error = {0};
    struct weir_config *config = weir_config_create();
    const char *const basic[] = {
        "bootstrap.servers",     bootstrap, "group.id", group, "weir.topics", topics, "session.timeout.ms", "3000",
        "heartbeat.interval.ms", "300",     NULL};
    for (const char *const *setting = basic; *setting; setting += 2)
        cr_assert_eq(weir_config_set(config, setting[0], setting[1], &error), 0, "%s", error.text);
    for (const char *const *setting = settings; setting && *setting; setting += 2)
        cr_assert_eq(weir_config_set(config, setting[0], setting[1], &error), 0, "%s", error.text);
    return config;
}

struct weir_driver *weir_driver_make(const char *bootstrap, const char *group, const char *topics,
                                     const char *const *settings)
{
    struct weir_error error = {0};
    struct weir_driver *driver = calloc(1, sizeof *driver);
    driver->listener = (struct weir_kafka_listener){.wake = on_wake, .event = on_event};
    driver->events_end = &driver->events;
    driver->records_end = &driver->records;
    struct weir_config *config = configure(bootstrap, group, topics, settings);
    driver->kafka = weir_kafka_librdkafka_create(config, &error);
    cr_assert_not_null(driver->kafka, "%s", error.text);
    weir_config_destroy(config);
    return driver;
}

void weir_driver_start(struct weir_driver *driver)
{
    struct weir_error error = {0};
    cr_assert_eq(driver->kafka->ops->start(driver->kafka, &driver->listener, &error), 0, "%s", error.text);
}

struct weir_driver *weir_driver_create(const char *bootstrap, const char *group, const char *topics,
                                       const char *const *settings)
{
    struct weir_driver *driver = weir_driver_make(bootstrap, group, topics, settings);
    weir_driver_start(driver);
    return driver;
}

static void forget_events(struct weir_driver *driver)
{
    while (driver->events) {
        struct weir_driver_event *event = driver->events;
        driver->events = event->next;
        for (unsigned index = 0; index < WEIR_DRIVER_PARTITIONS; index++)
            free(event->metadata[index]);
        free(event);
    }
}

void weir_driver_destroy(struct weir_driver *driver)
{
    driver->by_hand = false;
    if (!driver->closed) {
        cr_assert_eq(driver->kafka->ops->close(driver->kafka, 1000), 0, "close failed");
        WEIR_DRIVER_UNTIL(driver, driver->closed);
    }
    cr_assert_eq(weir_driver_owned(driver), 0, "closed with partitions");
    weir_driver_forget_records(driver);
    driver->kafka->ops->destroy(driver->kafka);
    forget_events(driver);
    free(driver);
}

/* ---- events ---- */

/* Taken ones stay in the list, with their kind marked. */
enum { TAKEN = 1000 };

struct weir_driver_event *weir_driver_take(struct weir_driver *driver, enum weir_kafka_event_kind kind)
{
    for (struct weir_driver_event *event = driver->events; event; event = event->next) {
        if (event->event.kind != kind)
            continue;
        event->event.kind = (enum weir_kafka_event_kind)TAKEN;
        return event;
    }
    return NULL;
}

struct weir_driver_event *weir_driver_await(struct weir_driver *driver, enum weir_kafka_event_kind kind)
{
    struct weir_driver_event *event;
    WEIR_DRIVER_UNTIL(driver, (event = weir_driver_take(driver, kind)));
    return event;
}

struct weir_driver_event *weir_driver_await_tag(struct weir_driver *driver, enum weir_kafka_event_kind kind,
                                                uint64_t tag)
{
    struct weir_driver_event *event = weir_driver_await(driver, kind);
    cr_assert_eq(event->event.tag, tag, "another request was answered");
    return event;
}
