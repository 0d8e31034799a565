/*
 * The in-memory producer: where messages land, what is reported of them, and how they fail.
 */
#include "tests/sim/fake_probe.h"
#include "tests/support/test.h"
#include <stdio.h>
#include <string.h>

static const struct weir_fake_member member = {.group = "g", .topics = "orders", .cooperative = true};

static void check_clean(struct stage *stage)
{
    cr_assert_eq(weir_fake_violations(stage->cluster), 0, "%s", weir_fake_violation(stage->cluster, 0));
}

static struct stage begin(struct probe *probe, uint64_t seed)
{
    struct stage stage = probe_stage(seed, 4);
    probe_start(probe, &stage, &member);
    cr_assert_not_null(probe_wait(probe, WEIR_KAFKA_ASSIGN, 1));
    return stage;
}

static void end(struct stage *stage, struct probe *probe)
{
    probe_close(probe);
    check_clean(stage);
    probe_stage_end(stage);
}

/* `number` is also the opaque. */
static int produce(struct probe *probe, const char *topic, const char *key, uintptr_t number,
                   enum weir_kafka_error *error)
{
    char value[16];
    int size = snprintf(value, sizeof value, "%d", (int)number);
    struct weir_kafka_produce message = {.topic = topic,
                                         .key = key,
                                         .key_size = key ? strlen(key) : 0,
                                         .value = value,
                                         .value_size = (size_t)size,
                                         .timestamp_ms = -1};
    return probe->kafka->ops->produce(probe->kafka, &message, (void *)number, error);
}

static const struct probe_event *report_of(struct probe *probe, uintptr_t number, unsigned *times)
{
    const struct probe_event *found = NULL;
    *times = 0;
    for (size_t i = 0; i < probe->event_count; i++) {
        if (probe->events[i].kind == WEIR_KAFKA_DELIVERED && probe->events[i].opaque == (void *)number) {
            found = &probe->events[i];
            (*times)++;
        }
    }
    return found;
}

/* Produce one and run to its report. */
static enum weir_kafka_error deliver(struct probe *probe, const char *topic, uintptr_t number)
{
    enum weir_kafka_error error = WEIR_KAFKA_NONE;
    cr_assert_eq(produce(probe, topic, "k", number, &error), 0);
    unsigned times = 0;
    for (int ms = 0; ms < 60000 && times == 0; ms++) {
        probe_run(probe, PROBE_MS);
        report_of(probe, number, &times);
    }
    cr_assert_eq(times, 1);
    return report_of(probe, number, &times)->error;
}

static int64_t records_in(struct stage *stage, const char *topic)
{
    int64_t count = 0;
    for (int32_t i = 0; i < weir_fake_topic_partitions(stage->cluster, topic); i++)
        count += weir_fake_log_end(stage->cluster, topic, i);
    return count;
}

Test(fake_produce, messages_of_a_key_land_in_one_partition_in_the_order_sent)
{
    for (uint64_t seed = 0; seed < 10; seed++) {
        struct probe probe;
        struct stage stage = begin(&probe, seed);
        enum weir_kafka_error error;
        for (uintptr_t i = 1; i <= 60; i++) {
            char key[8];
            snprintf(key, sizeof key, "k%d", (int)(i % 5));
            cr_assert_eq(produce(&probe, "orders", key, i, &error), 0);
        }
        probe_run(&probe, PROBE_SECOND);
        cr_assert_eq(probe_count(&probe, WEIR_KAFKA_DELIVERED), 60);
        cr_assert_eq(records_in(&stage, "orders"), 60);
        int last[5] = {0}, places[5] = {-1, -1, -1, -1, -1};
        for (int32_t partition = 0; partition < 4; partition++) {
            struct weir_fake_record record;
            for (int64_t at = 0; weir_fake_read(stage.cluster, "orders", partition, at, &record); at++) {
                int key = ((const char *)record.key)[1] - '0', number = 0;
                for (size_t i = 0; i < record.value_size; i++)
                    number = number * 10 + ((const char *)record.value)[i] - '0';
                cr_assert_gt(number, last[key]);
                cr_assert(places[key] == -1 || places[key] == partition);
                last[key] = number;
                places[key] = partition;
            }
        }
        end(&stage, &probe);
    }
}

Test(fake_produce, headers_nulls_and_timestamps_arrive_as_sent)
{
    struct probe probe;
    struct stage stage = begin(&probe, 1);
    struct weir_kafka_header headers[] = {{"a", "1", 1}, {"b", NULL, 0}};
    struct weir_kafka_produce message = {.topic = "letters", .timestamp_ms = 77, .headers = headers, .header_count = 2};
    enum weir_kafka_error error;
    cr_assert_eq(probe.kafka->ops->produce(probe.kafka, &message, NULL, &error), 0);
    cr_assert_eq(probe_wait(&probe, WEIR_KAFKA_DELIVERED, 1)->error, WEIR_KAFKA_NONE);
    struct weir_fake_record record;
    cr_assert(weir_fake_read(stage.cluster, "letters", 0, 0, &record), "the topic was made for it");
    cr_assert_null(record.key);
    cr_assert_null(record.value);
    cr_assert_eq(record.timestamp_ms, 77);
    cr_assert_eq(record.header_count, 2);
    cr_assert_str_eq(record.headers[0].name, "a");
    cr_assert_null(record.headers[1].value);
    end(&stage, &probe);
}

Test(fake_produce, each_refusal_has_its_name)
{
    struct probe probe;
    struct stage stage = begin(&probe, 2);
    weir_fake_settings(stage.cluster)->auto_create = false;
    cr_assert_eq(deliver(&probe, "nowhere", 1), WEIR_KAFKA_UNKNOWN_TOPIC);
    weir_fake_topic_create(stage.cluster, "closed", 1);
    weir_fake_topic_deny(stage.cluster, "closed", true);
    cr_assert_eq(deliver(&probe, "closed", 2), WEIR_KAFKA_AUTHORIZATION);
    weir_fake_topic_limit(stage.cluster, "orders", 3);
    cr_assert_eq(deliver(&probe, "orders", 3), WEIR_KAFKA_NONE);
    cr_assert_eq(deliver(&probe, "orders", 1000), WEIR_KAFKA_TOO_LARGE);
    weir_fake_settings(stage.cluster)->message_bytes_max = 2;
    enum weir_kafka_error error = WEIR_KAFKA_NONE;
    cr_assert_eq(produce(&probe, "orders", "k", 1001, &error), WEIR_INVALID);
    cr_assert_eq(error, WEIR_KAFKA_TOO_LARGE);
    weir_fake_fail(probe.kafka, WEIR_FAKE_PRODUCE, WEIR_KAFKA_OTHER, 1, true);
    cr_assert_eq(deliver(&probe, "orders", 4), WEIR_KAFKA_OTHER);
    cr_assert_eq(records_in(&stage, "orders"), 2);
    end(&stage, &probe);
}

Test(fake_produce, a_full_queue_takes_more_after_a_report)
{
    struct probe probe;
    struct stage stage = begin(&probe, 3);
    weir_fake_settings(stage.cluster)->produce_queue_max = 3;
    enum weir_kafka_error error = WEIR_KAFKA_NONE;
    for (uintptr_t i = 1; i <= 3; i++)
        cr_assert_eq(produce(&probe, "orders", "k", i, &error), 0);
    cr_assert_eq(produce(&probe, "orders", "k", 4, &error), WEIR_FULL);
    cr_assert_eq(error, WEIR_KAFKA_QUEUE_FULL);
    probe_wait(&probe, WEIR_KAFKA_DELIVERED, 1);
    cr_assert_eq(produce(&probe, "orders", "k", 4, &error), 0);
    probe_run(&probe, PROBE_SECOND);
    cr_assert_eq(probe_count(&probe, WEIR_KAFKA_DELIVERED), 4);
    end(&stage, &probe);
}

Test(fake_produce, a_report_of_failure_says_nothing_of_what_was_written)
{
    struct probe probe;
    struct stage stage = begin(&probe, 4);
    weir_fake_set_faults(stage.cluster, &(struct weir_fake_faults){.produce_error = 1000});
    cr_assert_eq(deliver(&probe, "orders", 1), WEIR_KAFKA_RETRIABLE);
    cr_assert_eq(records_in(&stage, "orders"), 0);
    weir_fake_set_faults(stage.cluster, &(struct weir_fake_faults){.produce_written_error = 1000});
    cr_assert_eq(deliver(&probe, "orders", 2), WEIR_KAFKA_RETRIABLE);
    cr_assert_eq(records_in(&stage, "orders"), 1);
    weir_fake_set_faults(stage.cluster, &(struct weir_fake_faults){.produce_too_large = 1000});
    cr_assert_eq(deliver(&probe, "orders", 3), WEIR_KAFKA_TOO_LARGE);
    weir_fake_set_faults(stage.cluster, &(struct weir_fake_faults){.produce_unknown_topic = 1000});
    cr_assert_eq(deliver(&probe, "orders", 4), WEIR_KAFKA_UNKNOWN_TOPIC);
    weir_fake_set_faults(stage.cluster, &(struct weir_fake_faults){.produce_authorization = 1000});
    cr_assert_eq(deliver(&probe, "orders", 5), WEIR_KAFKA_AUTHORIZATION);
    cr_assert_eq(records_in(&stage, "orders"), 1);
    weir_fake_set_faults(stage.cluster, &(struct weir_fake_faults){.produce_queue_full = 1000});
    enum weir_kafka_error error;
    cr_assert_eq(produce(&probe, "orders", "k", 6, &error), 0, "an empty queue takes one");
    cr_assert_eq(produce(&probe, "orders", "k", 7, &error), WEIR_FULL);
    end(&stage, &probe);
}

Test(fake_produce, without_a_broker_messages_wait_and_then_fail)
{
    struct probe probe;
    struct stage stage = begin(&probe, 5);
    weir_fake_broker_down(stage.cluster, 5 * PROBE_SECOND);
    cr_assert_eq(deliver(&probe, "orders", 1), WEIR_KAFKA_NONE);
    weir_fake_broker_down(stage.cluster, 30 * PROBE_SECOND);
    cr_assert_eq(deliver(&probe, "orders", 2), WEIR_KAFKA_RETRIABLE);
    cr_assert_eq(records_in(&stage, "orders"), 1);
    end(&stage, &probe);
}

Test(fake_produce, closing_reports_what_it_cannot_wait_for_as_failed)
{
    struct probe probe;
    struct stage stage = begin(&probe, 6);
    weir_fake_broker_down(stage.cluster, 5 * PROBE_SECOND);
    enum weir_kafka_error error;
    for (uintptr_t i = 1; i <= 5; i++)
        cr_assert_eq(produce(&probe, "orders", "k", i, &error), 0);
    uint64_t before_ns = weir_simulation_now_ns(stage.simulation);
    cr_assert_eq(probe.kafka->ops->close(probe.kafka, 2000), 0);
    cr_assert_not_null(probe_wait(&probe, WEIR_KAFKA_CLOSED, 1));
    cr_assert_lt(weir_simulation_now_ns(stage.simulation) - before_ns, 4 * PROBE_SECOND);
    for (uintptr_t i = 1; i <= 5; i++) {
        unsigned times;
        cr_assert_eq(report_of(&probe, i, &times)->error, WEIR_KAFKA_RETRIABLE);
        cr_assert_eq(times, 1);
    }
    probe_run(&probe, 10 * PROBE_SECOND);
    cr_assert_eq(records_in(&stage, "orders"), 5, "and were written after all");
    probe.kafka->ops->destroy(probe.kafka);
    check_clean(&stage);
    probe_deinit(&probe);
    probe_stage_end(&stage);
}

Test(fake_produce, what_was_reported_as_failed_is_not_reported_again_when_it_is_written)
{
    struct probe probe;
    struct stage stage = begin(&probe, 7);
    weir_fake_broker_down(stage.cluster, 2 * PROBE_SECOND);
    weir_fake_coordinator_down(stage.cluster, 4 * PROBE_SECOND);
    enum weir_kafka_error error;
    for (uintptr_t i = 1; i <= 5; i++)
        cr_assert_eq(produce(&probe, "orders", "k", i, &error), 0);
    struct weir_kafka_offset commit = probe_offset("orders", 0, 0, NULL);
    cr_assert_eq(probe.kafka->ops->commit(probe.kafka, &commit, 1, 9), 0); /* CLOSED waits for it */
    cr_assert_eq(probe.kafka->ops->close(probe.kafka, 1000), 0);
    cr_assert_not_null(probe_wait(&probe, WEIR_KAFKA_CLOSED, 1));
    cr_assert_geq(weir_simulation_now_ns(stage.simulation), 4 * PROBE_SECOND);
    cr_assert_eq(records_in(&stage, "orders"), 5);
    cr_assert_eq(probe_count(&probe, WEIR_KAFKA_DELIVERED), 5);
    probe.kafka->ops->destroy(probe.kafka);
    check_clean(&stage);
    probe_deinit(&probe);
    probe_stage_end(&stage);
}

Test(fake_produce, what_a_crashed_client_had_sent_may_arrive)
{
    int64_t arrived = 0;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct probe probe;
        struct stage stage = begin(&probe, seed);
        enum weir_kafka_error error;
        for (uintptr_t i = 1; i <= 10; i++)
            cr_assert_eq(produce(&probe, "orders", "k", i, &error), 0);
        weir_fake_client_crash(probe.kafka);
        weir_simulation_run(stage.simulation, PROBE_SECOND, NULL, NULL);
        cr_assert_eq(probe_count(&probe, WEIR_KAFKA_DELIVERED), 0);
        arrived += records_in(&stage, "orders");
        check_clean(&stage);
        probe_deinit(&probe);
        probe_stage_end(&stage);
    }
    cr_assert(arrived > 0 && arrived < 200);
}

/* K4 of the producer, under every fault. */
Test(fake_produce, every_accepted_message_is_reported_exactly_once)
{
    static const struct weir_fake_faults faults = {.slow = 100,
                                                   .produce_error = 100,
                                                   .produce_written_error = 100,
                                                   .produce_too_large = 50,
                                                   .produce_unknown_topic = 50,
                                                   .produce_authorization = 50,
                                                   .produce_queue_full = 100};
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct probe probe;
        struct stage stage = begin(&probe, seed);
        weir_fake_set_faults(stage.cluster, &faults);
        struct weir_random random;
        weir_random_init(&random, seed);
        uint64_t accepted[129] = {0}, reported_as_good = 0;
        for (uintptr_t i = 1; i <= 128; i++) {
            enum weir_kafka_error error;
            accepted[i] = produce(&probe, "orders", i % 3 ? "k" : NULL, i, &error) == 0;
            if (weir_random_below(&random, 30) == 0)
                weir_fake_client_partition(probe.kafka, weir_random_below(&random, 9000) * PROBE_MS);
            if (weir_random_below(&random, 30) == 0)
                weir_fake_broker_down(stage.cluster, weir_random_below(&random, 9000) * PROBE_MS);
            probe_run(&probe, weir_random_below(&random, 20) * PROBE_MS);
        }
        cr_assert_eq(probe.kafka->ops->close(probe.kafka, weir_random_below(&random, 3000)), 0);
        cr_assert_not_null(probe_wait(&probe, WEIR_KAFKA_CLOSED, 1));
        for (uintptr_t i = 1; i <= 128; i++) {
            unsigned times;
            const struct probe_event *report = report_of(&probe, i, &times);
            cr_assert_eq(times, accepted[i], "seed %d, message %d", (int)seed, (int)i);
            reported_as_good += report && report->error == WEIR_KAFKA_NONE;
        }
        cr_assert_leq(reported_as_good, (uint64_t)records_in(&stage, "orders"), "what is said to be written is");
        probe.kafka->ops->destroy(probe.kafka);
        check_clean(&stage);
        probe_deinit(&probe);
        probe_stage_end(&stage);
    }
}
