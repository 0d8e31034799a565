/*
 * Batches through librdkafka, on real threads: full ones go out, those that are not after their linger; what fails runs
 * again, alone and in the order of its key; two batches never hold the same key at a time.
 */
#include "tests/scenario/scene.h"
#include "tests/support/dies.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/key_state.h>

enum { MESSAGES = 2000, KEYS = 40, PARTITIONS = 2, BATCH_MAX = 50 };

/* Of each key: numbers ascend, and one batch has it at a time. */
static struct {
    _Atomic int inside;
    _Atomic int begun; /* the highest that has started; -1: none */
} keys[PARTITIONS][KEYS];
static _Atomic unsigned acked[PARTITIONS][MESSAGES];
static _Atomic uint64_t batches, larger, failures;

static int number_of(const struct weir_message *message)
{
    char text[16];
    snprintf(text, sizeof text, "%.*s", (int)weir_message_value_size(message),
             (const char *)weir_message_value(message));
    return atoi(text);
}

/* Every 25th message fails at first, and each 100th, which is one of them, in the end. */
static enum weir_outcome answer(struct weir_message *message)
{
    int number = number_of(message);
    if (number % 100 == 0)
        return weir_dead(message, "no");
    if (number % 25 == 0 && weir_message_attempt(message) == 1)
        return weir_retry_after(message, 5, "busy");
    atomic_fetch_add(&acked[weir_message_partition(message)][number], 1);
    return WEIR_ACK;
}

static bool begins(const struct weir_batch *batch, size_t index)
{
    const struct weir_message *message = weir_batch_message(batch, index);
    int partition = (int)weir_message_partition(message), number = number_of(message), key = number % KEYS;
    const struct weir_message *before = index > 0 ? weir_batch_message(batch, index - 1) : NULL;
    bool goes_on = before && weir_message_partition(before) == partition && number_of(before) % KEYS == key;
    bool right = goes_on ? number_of(before) < number : atomic_fetch_add(&keys[partition][key].inside, 1) == 0;
    if (weir_message_attempt(message) > 1)
        return right;
    right &= atomic_load(&keys[partition][key].begun) < number;
    atomic_store(&keys[partition][key].begun, number);
    return right;
}

static enum weir_outcome on_batch(struct weir_batch *batch, void *user)
{
    struct weir_subject *subject = user;
    size_t count = weir_batch_count(batch);
    bool right = count > 0 && count <= BATCH_MAX;
    atomic_fetch_add(&batches, 1);
    atomic_fetch_add(&larger, count > 1);
    for (size_t index = 0; index < count; index++)
        right &= begins(batch, index);
    if (count % 2 == 0)
        weir_test_sleep_us(500);
    for (size_t index = 0; index < count; index++) {
        struct weir_message *message = weir_batch_message(batch, index);
        enum weir_outcome outcome = answer(message);
        atomic_fetch_add(&failures, outcome != WEIR_ACK);
        right &= weir_batch_set(batch, index, outcome) == 0;
        atomic_store(&keys[weir_message_partition(message)][number_of(message) % KEYS].inside, 0);
    }
    atomic_fetch_add(&subject->wrong, !right);
    return WEIR_RETRY; /* all was said by name */
}

static void run(const char *scope, const char *threads)
{
    struct weir_scene scene;
    weir_scene_set(&scene, PARTITIONS, NULL, NULL);
    scene.subject.batch_handler = on_batch;
    for (int partition = 0; partition < PARTITIONS; partition++)
        for (int key = 0; key < KEYS; key++)
            atomic_store(&keys[partition][key].begun, -1);
    for (int partition = 0; partition < PARTITIONS; partition++)
        weir_scene_put_many(&scene, partition, MESSAGES, KEYS);
    WEIR_SCENE_START(&scene, "weir.batch.scope", scope, "weir.batch.messages.max", "50", "weir.batch.linger.ms", "5",
                     "weir.blocking.threads", threads);
    WEIR_SCENE_UNTIL(weir_scene_committed(&scene, PARTITIONS) == (int64_t)PARTITIONS * MESSAGES);
    struct weir_stats stats = weir_subject_stats(&scene.subject);
    cr_assert_eq(stats.counters.acked, (uint64_t)PARTITIONS * (MESSAGES - MESSAGES / 100));
    cr_assert_eq(stats.counters.dead_lettered, (uint64_t)PARTITIONS * MESSAGES / 100);
    cr_assert_eq(stats.counters.retries, (uint64_t)PARTITIONS * (MESSAGES / 25 - MESSAGES / 100));
    cr_assert_eq(weir_subject_close(&scene.subject), WEIR_OK, "%s", scene.subject.closed_error.text);
    cr_assert_eq(atomic_load(&scene.subject.wrong), 0u, "%llu batches were wrong",
                 (unsigned long long)atomic_load(&scene.subject.wrong));
    cr_assert(weir_subject_adds_up(&scene.subject));
    cr_assert_gt(atomic_load(&larger), 0u);
    cr_assert_lt(atomic_load(&batches), (uint64_t)PARTITIONS * MESSAGES + atomic_load(&failures)); /* than runs */
    for (int number = 0; number < PARTITIONS * MESSAGES; number++)
        cr_assert_eq(atomic_load(&acked[number / MESSAGES][number % MESSAGES]), number % MESSAGES % 100 != 0);
    weir_subject_destroy(&scene.subject);
    weir_scene_clear(&scene);
}

Test(consumer_batches, of_any_messages_run_on_workers_each_key_in_its_order)
{
    run("any", "0");
}

Test(consumer_batches, of_keys_run_on_threads_of_their_own_each_key_in_its_order)
{
    run("key", "6");
}

static enum weir_outcome hang(struct weir_batch *batch, void *user)
{
    (void)user;
    while (weir_batch_count(batch) > 0)
        weir_test_sleep_us(1000);
    return WEIR_ACK;
}

/* In a process of its own, cluster and all: it ends by abort(). */
static void run_with_a_deadline(void)
{
    struct weir_mock *mock = weir_mock_create(1);
    const char *const settings[][2] = {{"bootstrap.servers", weir_mock_bootstrap(mock)},
                                       {"group.id", "billing"},
                                       {"weir.topics", "orders"},
                                       {"auto.offset.reset", "earliest"},
                                       {"weir.workers", "2"},
                                       {"weir.handler.deadline.ms", "200"}};
    struct weir_error error;
    struct weir_config *config = weir_config_create();
    weir_mock_topic_create(mock, "orders", 1);
    for (unsigned count = 0; count < 3; count++)
        weir_mock_produce(mock, "orders", 0, "key", 3, "value", 5);
    for (size_t index = 0; config && index < sizeof settings / sizeof *settings; index++)
        if (weir_config_set(config, settings[index][0], settings[index][1], &error) != 0)
            return;
    struct weir_consumer *consumer = weir_consumer_create_batch(config, hang, NULL, &error);
    if (consumer)
        weir_consumer_run(consumer, &error);
}

Test(consumer_batches, past_the_deadline_of_handlers_end_the_process_and_name_their_first_message)
{
    cr_assert(weir_test_aborts(run_with_a_deadline, "has had the message at offset 0 for"));
}

static void *make_state(struct weir_message *message, void *user)
{
    (void)message;
    return user;
}

static void end_state(void *state, void *user)
{
    (void)state;
    (void)user;
}

Test(consumer_batches, refuse_what_they_cannot_bear)
{
    struct weir_error error = {0};
    struct weir_config *config = weir_config_create();
    cr_assert_not_null(config);
    cr_assert_eq(weir_config_set(config, "bootstrap.servers", "127.0.0.1:1", &error), 0);
    cr_assert_eq(weir_config_set(config, "group.id", "billing", &error), 0);
    cr_assert_eq(weir_config_set(config, "weir.topics", "orders", &error), 0);
    cr_assert_null(weir_consumer_create_batch(config, NULL, NULL, &error));
    cr_assert(error.code == WEIR_INVALID && strstr(error.text, "handler is NULL"), "%s", error.text);
    struct weir_consumer *consumer = weir_consumer_create_batch(config, on_batch, NULL, &error);
    const struct weir_key_state_class states = {.size = sizeof states, .create = make_state, .destroy = end_state};
    cr_assert_not_null(consumer, "%s", error.text);
    cr_assert_eq(weir_consumer_key_state(consumer, &states, &error), 0, "%s", error.text);
    weir_consumer_destroy(consumer);
    cr_assert_eq(weir_config_set(config, "weir.crash.journal", "/tmp/none", &error), 0);
    cr_assert_null(weir_consumer_create_batch(config, on_batch, NULL, &error));
    cr_assert(error.code == WEIR_INVALID && strstr(error.text, "weir.crash.journal=/tmp/none"), "%s", error.text);
    weir_config_destroy(config);
}
