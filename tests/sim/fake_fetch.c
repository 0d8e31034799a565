/*
 * The in-memory partition queues: what is given out, when somebody is woken, and what a rebalance does to a prefetch.
 */
#include "tests/sim/fake_probe.h"
#include "tests/support/test.h"
#include <stdio.h>
#include <string.h>

#define MANY 512

static const struct weir_fake_member member = {.group = "g", .topics = "orders", .cooperative = true};

static void check_clean(struct stage *stage)
{
    cr_assert_eq(weir_fake_violations(stage->cluster), 0, "%s", weir_fake_violation(stage->cluster, 0));
}

/* A stage with one partition of `count` records, and a probe that is assigned it. */
static struct stage begin(struct probe *probe, uint64_t seed, int count)
{
    struct stage stage = probe_stage(seed, 1);
    probe_fill(&stage, "orders", 0, count);
    probe_start(probe, &stage, &member);
    cr_assert_not_null(probe_wait(probe, WEIR_KAFKA_ASSIGN, 1));
    return stage;
}

static void end(struct stage *stage, struct probe *probe)
{
    check_clean(stage);
    probe_close(probe);
    check_clean(stage);
    probe_stage_end(stage);
}

static const struct probe_event *seek(struct probe *probe, int64_t offset, uint64_t tag)
{
    struct weir_kafka_offset to = probe_offset("orders", 0, offset, NULL);
    cr_assert_eq(probe->kafka->ops->seek(probe->kafka, &to, 1, tag), 0);
    unsigned times = 0;
    for (int ms = 0; ms < 60000 && times == 0; ms++) {
        probe_run(probe, PROBE_MS);
        probe_tagged(probe, tag, &times);
    }
    cr_assert_eq(times, 1);
    return probe_tagged(probe, tag, &times);
}

/* Pull for so long, a millisecond at a time, and append to `offsets`. */
static unsigned pull_for(struct probe *probe, uint64_t duration_ns, int64_t *offsets, unsigned count)
{
    for (uint64_t ns = 0; ns < duration_ns; ns += PROBE_MS) {
        probe_run(probe, PROBE_MS);
        count += probe_pull(probe, 0, &offsets[count], MANY - count);
    }
    return count;
}

Test(fake_fetch, records_come_whole_and_in_order_and_the_end_is_told_once)
{
    struct probe probe;
    struct stage stage = begin(&probe, 1, 100);
    const char header_value[] = "h";
    struct weir_kafka_header headers[] = {{"trace", header_value, 1}, {"null", NULL, 0}};
    weir_fake_append(stage.cluster, 0,
                     &(struct weir_kafka_produce){
                         .topic = "orders", .value = "", .timestamp_ms = 1234, .headers = headers, .header_count = 2});
    int64_t next = 0;
    unsigned ends = 0;
    for (int ms = 0; ms < 2000; ms++) {
        probe_run(&probe, PROBE_MS);
        struct weir_record records[8];
        unsigned count = probe.kafka->ops->pull(probe_queue(&probe, 0)->queue, records, 8);
        for (unsigned i = 0; i < count; i++) {
            cr_assert_eq(records[i].offset, next);
            if (records[i].kind == WEIR_RECORD_EOF) {
                cr_assert_eq(next, 101);
                ends++;
            } else if (next < 100) {
                char key[16], value[16];
                snprintf(key, sizeof key, "k%d", (int)(next % 7));
                snprintf(value, sizeof value, "v%d", (int)next);
                cr_assert_eq(records[i].key_size, strlen(key));
                cr_assert_arr_eq(records[i].key, key, strlen(key));
                cr_assert_eq(records[i].value_size, strlen(value));
                cr_assert_arr_eq(records[i].value, value, strlen(value));
                next++;
            } else {
                struct weir_kafka_header header;
                cr_assert_null(records[i].key);
                cr_assert_not_null(records[i].value);
                cr_assert_eq(records[i].value_size, 0);
                cr_assert_eq(records[i].timestamp_ms, 1234);
                cr_assert(probe.kafka->ops->record_header(probe.kafka, records[i].native, 0, &header));
                cr_assert_str_eq(header.name, "trace");
                cr_assert_eq(header.value_size, 1);
                cr_assert(probe.kafka->ops->record_header(probe.kafka, records[i].native, 1, &header));
                cr_assert_null(header.value);
                cr_assert_not(probe.kafka->ops->record_header(probe.kafka, records[i].native, 2, &header));
                next++;
            }
            probe.kafka->ops->record_free(probe.kafka, records[i].native);
        }
    }
    cr_assert_eq(next, 101);
    cr_assert_eq(ends, 1);
    end(&stage, &probe);
}

Test(fake_fetch, holes_and_compacted_records_are_passed_over)
{
    struct probe probe;
    struct stage stage = probe_stage(2, 1);
    probe_fill(&stage, "orders", 0, 10);
    weir_fake_compact(stage.cluster, "orders", 0, 3);
    weir_fake_append_hole(stage.cluster, "orders", 0, 5);
    probe_fill(&stage, "orders", 0, 2);
    weir_fake_append_hole(stage.cluster, "orders", 0, 1);
    probe_start(&probe, &stage, &member);
    probe_wait(&probe, WEIR_KAFKA_ASSIGN, 1);
    int64_t offsets[MANY];
    unsigned count = pull_for(&probe, PROBE_SECOND, offsets, 0);
    static const int64_t expected[] = {0, 1, 2, 4, 5, 6, 7, 8, 9, 15, 16};
    cr_assert_eq(count, 11);
    cr_assert_arr_eq(offsets, expected, sizeof expected);
    cr_assert_eq(weir_fake_counts(stage.cluster)->eof_records, 1);
    cr_assert_eq(weir_fake_log_end(stage.cluster, "orders", 0), 18);
    struct weir_fake_record record;
    cr_assert(weir_fake_read(stage.cluster, "orders", 0, 10, &record));
    cr_assert_eq(record.offset, 15);
    cr_assert_not(weir_fake_read(stage.cluster, "orders", 0, 17, &record));
    end(&stage, &probe);
}

Test(fake_fetch, a_wake_comes_when_an_empty_queue_fills_and_not_otherwise)
{
    struct probe probe;
    struct stage stage = begin(&probe, 3, 0);
    probe_run(&probe, PROBE_SECOND);
    struct probe_queue *queue = probe_queue(&probe, 0);
    cr_assert_eq(queue->wakes, 1, "the end of an empty log");
    int64_t offsets[MANY];
    probe_pull(&probe, 0, offsets, MANY);
    probe_fill(&stage, "orders", 0, 10);
    probe_run(&probe, PROBE_SECOND);
    cr_assert_eq(queue->wakes, 2);
    struct weir_record record;
    cr_assert_eq(probe.kafka->ops->pull(queue->queue, &record, 1), 1);
    probe.kafka->ops->record_free(probe.kafka, record.native);
    probe_fill(&stage, "orders", 0, 10);
    probe_run(&probe, PROBE_SECOND);
    cr_assert_eq(queue->wakes, 2, "it was not empty");
    cr_assert_eq(probe_pull(&probe, 0, offsets, MANY), 19);
    probe_fill(&stage, "orders", 0, 1);
    probe_run(&probe, PROBE_SECOND);
    cr_assert_eq(queue->wakes, 3);
    end(&stage, &probe);
}

Test(fake_fetch, records_dropped_by_a_seek_keep_the_queue_from_waking)
{
    struct probe probe;
    struct stage stage = begin(&probe, 4, 20);
    probe_run(&probe, PROBE_SECOND);
    struct probe_queue *queue = probe_queue(&probe, 0);
    cr_assert_eq(queue->wakes, 1);
    cr_assert_eq(seek(&probe, 15, 9)->offsets[0].error, WEIR_KAFKA_NONE);
    probe_run(&probe, PROBE_SECOND);
    cr_assert_eq(queue->wakes, 1);
    int64_t offsets[MANY];
    cr_assert_eq(probe_pull(&probe, 0, offsets, MANY), 5);
    cr_assert_eq(offsets[0], 15);
    probe_fill(&stage, "orders", 0, 1);
    probe_run(&probe, PROBE_SECOND);
    cr_assert_eq(queue->wakes, 2);
    end(&stage, &probe);
}

Test(fake_fetch, prefetch_stops_at_its_bounds_and_goes_on_when_pulled)
{
    struct probe probe;
    struct stage stage = probe_stage(5, 1);
    probe_fill(&stage, "orders", 0, 400);
    weir_fake_settings(stage.cluster)->queued_messages_max = 100;
    weir_fake_settings(stage.cluster)->fetch_messages_max = 10;
    probe_start(&probe, &stage, &member);
    probe_run(&probe, 3 * PROBE_SECOND);
    uint64_t fetched = weir_fake_counts(stage.cluster)->records_fetched;
    cr_assert_geq(fetched, 100);
    cr_assert_lt(fetched, 110);
    int64_t offsets[MANY];
    cr_assert_eq(pull_for(&probe, 3 * PROBE_SECOND, offsets, 0), 400);
    end(&stage, &probe);
}

Test(fake_fetch, a_position_outside_the_log_is_an_error_until_sought)
{
    struct probe probe;
    struct stage stage = begin(&probe, 6, 50);
    int64_t offsets[MANY];
    cr_assert_eq(pull_for(&probe, PROBE_SECOND, offsets, 0), 50);
    weir_fake_truncate_end(stage.cluster, "orders", 0, 20);
    probe_fill(&stage, "orders", 0, 10);
    probe_run(&probe, PROBE_SECOND);
    struct weir_record record;
    cr_assert_eq(probe.kafka->ops->pull(probe_queue(&probe, 0)->queue, &record, 1), 1);
    cr_assert_eq(record.kind, WEIR_RECORD_ERROR);
    cr_assert_eq(record.error, WEIR_KAFKA_OUT_OF_RANGE);
    cr_assert(strlen(record.text) > 0);
    probe.kafka->ops->record_free(probe.kafka, record.native);
    probe_run(&probe, PROBE_SECOND);
    cr_assert_eq(probe_pull(&probe, 0, offsets, MANY), 0, "nothing until it is sought");
    weir_fake_truncate(stage.cluster, "orders", 0, 25);
    seek(&probe, 0, 11);
    probe_run(&probe, PROBE_SECOND);
    cr_assert_eq(probe_pull(&probe, 0, offsets, MANY), 0);
    cr_assert_eq(weir_fake_counts(stage.cluster)->out_of_range, 2);
    seek(&probe, 25, 12);
    cr_assert_eq(pull_for(&probe, PROBE_SECOND, offsets, 0), 5);
    cr_assert_eq(offsets[0], 25);
    end(&stage, &probe);
}

Test(fake_fetch, denied_and_missing_topics_are_errors_until_remedied)
{
    struct probe probe;
    struct stage stage = begin(&probe, 7, 5);
    int64_t offsets[MANY];
    cr_assert_eq(pull_for(&probe, PROBE_SECOND, offsets, 0), 5);
    weir_fake_topic_deny(stage.cluster, "orders", true);
    probe_fill(&stage, "orders", 0, 5);
    probe_run(&probe, PROBE_SECOND);
    struct weir_record record;
    cr_assert_eq(probe.kafka->ops->pull(probe_queue(&probe, 0)->queue, &record, 1), 1);
    cr_assert_eq(record.error, WEIR_KAFKA_AUTHORIZATION);
    probe.kafka->ops->record_free(probe.kafka, record.native);
    weir_fake_topic_deny(stage.cluster, "orders", false);
    cr_assert_eq(pull_for(&probe, PROBE_SECOND, offsets, 0), 5);
    weir_fake_settings(stage.cluster)->metadata_ns_max = 60 * PROBE_SECOND; /* the fetch finds out first */
    weir_fake_topic_delete(stage.cluster, "orders", false);
    probe_run(&probe, 50 * PROBE_MS);
    cr_assert_eq(probe.kafka->ops->pull(probe_queue(&probe, 0)->queue, &record, 1), 1);
    cr_assert_eq(record.error, WEIR_KAFKA_UNKNOWN_TOPIC);
    probe.kafka->ops->record_free(probe.kafka, record.native);
    end(&stage, &probe);
}

/* What is left of a partition's records for an application that seeks back after a rebalance, or does not. */
static unsigned pull_around_rebalances(uint64_t seed, bool seeks_back, uint64_t *skipped)
{
    struct probe probe;
    struct stage stage = begin(&probe, seed, 300);
    weir_fake_set_faults(stage.cluster, &(struct weir_fake_faults){.purge_ahead = 500});
    weir_fake_settings(stage.cluster)->fetch_messages_max = 5;
    int64_t offsets[MANY];
    unsigned count = 0, assigns = 1;
    uint64_t tag = 100;
    for (int turn = 0; turn < 300; turn++) {
        probe_run(&probe, PROBE_MS);
        if (turn % 20 == 10)
            weir_fake_group_rebalance(stage.cluster, "g");
        if (probe_count(&probe, WEIR_KAFKA_ASSIGN) > assigns) {
            assigns = probe_count(&probe, WEIR_KAFKA_ASSIGN);
            if (seeks_back)
                seek(&probe, count ? offsets[count - 1] + 1 : 0, tag++);
        }
        struct weir_record records[4];
        unsigned got = probe.kafka->ops->pull(probe_queue(&probe, 0)->queue, records, 4);
        for (unsigned i = 0; i < got; i++) {
            if (records[i].kind == WEIR_RECORD_MESSAGE)
                offsets[count++] = records[i].offset;
            probe.kafka->ops->record_free(probe.kafka, records[i].native);
        }
    }
    for (unsigned i = 1; i < count; i++)
        cr_assert_gt(offsets[i], offsets[i - 1], "seed %d: position %u", (int)seed, i);
    *skipped = weir_fake_counts(stage.cluster)->records_skipped_by_purge;
    unsigned reached = count ? (unsigned)offsets[count - 1] + 1 : 0;
    end(&stage, &probe);
    return reached - count; /* lost */
}

Test(fake_fetch, a_rebalance_event_loses_records_for_whoever_does_not_seek_back)
{
    unsigned lost_in_all = 0;
    for (uint64_t seed = 0; seed < 30; seed++) {
        uint64_t skipped;
        cr_assert_eq(pull_around_rebalances(seed, true, &skipped), 0, "seed %d", (int)seed);
        unsigned lost = pull_around_rebalances(seed, false, &skipped);
        cr_assert_eq(lost, skipped, "seed %d", (int)seed);
        lost_in_all += lost;
    }
    cr_assert_gt(lost_in_all, 0);
}

Test(fake_fetch, without_the_fault_a_rebalance_goes_on_where_the_application_was)
{
    for (uint64_t seed = 0; seed < 10; seed++) {
        struct probe probe;
        struct stage stage = begin(&probe, seed, 40);
        probe_run(&probe, PROBE_SECOND);
        struct weir_record records[10];
        cr_assert_eq(probe.kafka->ops->pull(probe_queue(&probe, 0)->queue, records, 10), 10);
        for (int i = 0; i < 10; i++)
            probe.kafka->ops->record_free(probe.kafka, records[i].native);
        probe.answers = false;
        weir_fake_group_rebalance(stage.cluster, "g");
        while (weir_fake_counts(stage.cluster)->assigns < 2)
            weir_simulation_step(stage.simulation);
        int64_t offsets[MANY];
        cr_assert_eq(probe_pull(&probe, 0, offsets, MANY), 0, "queued, not handed over: no records, and no violation");
        const struct probe_event *event = probe_wait(&probe, WEIR_KAFKA_ASSIGN, 2);
        check_clean(&stage);
        probe_answer(&probe, event);
        probe.answers = true;
        cr_assert_eq(pull_for(&probe, PROBE_SECOND, offsets, 0), 30);
        cr_assert_eq(offsets[0], 10);
        end(&stage, &probe);
    }
}

Test(fake_fetch, a_rebalance_before_the_first_pull_goes_back_to_where_was_sought)
{
    struct probe probe;
    struct stage stage = begin(&probe, 8, 40);
    int64_t offsets[MANY];
    cr_assert_eq(pull_for(&probe, PROBE_SECOND, offsets, 0), 40);
    seek(&probe, 12, 3);
    probe_run(&probe, PROBE_SECOND);
    weir_fake_group_rebalance(stage.cluster, "g");
    probe_wait(&probe, WEIR_KAFKA_ASSIGN, 2);
    cr_assert_eq(pull_for(&probe, PROBE_SECOND, offsets, 0), 28);
    cr_assert_eq(offsets[0], 12);
    end(&stage, &probe);
}

Test(fake_fetch, nothing_is_fetched_while_a_rebalance_event_is_open)
{
    struct probe probe;
    struct stage stage = begin(&probe, 15, 10);
    int64_t offsets[MANY];
    cr_assert_eq(pull_for(&probe, PROBE_SECOND, offsets, 0), 10);
    probe.answers = false;
    weir_fake_group_rebalance(stage.cluster, "g");
    const struct probe_event *event = probe_wait(&probe, WEIR_KAFKA_ASSIGN, 2);
    uint64_t fetched = weir_fake_counts(stage.cluster)->records_fetched;
    unsigned wakes = probe_queue(&probe, 0)->wakes;
    probe_fill(&stage, "orders", 0, 10);
    probe_run(&probe, PROBE_SECOND);
    cr_assert_eq(weir_fake_counts(stage.cluster)->records_fetched, fetched);
    cr_assert_eq(probe_queue(&probe, 0)->wakes, wakes);
    probe_answer(&probe, event);
    probe.answers = true;
    cr_assert_eq(pull_for(&probe, PROBE_SECOND, offsets, 0), 10);
    end(&stage, &probe);
}

Test(fake_fetch, redelivery_brings_records_below_the_position_and_misses_none)
{
    uint64_t redelivered = 0;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct probe probe;
        struct stage stage = begin(&probe, seed, 100);
        weir_fake_set_faults(stage.cluster, &(struct weir_fake_faults){.redelivery = 150});
        weir_fake_settings(stage.cluster)->fetch_messages_max = 10;
        int64_t offsets[MANY], next = 0;
        unsigned count = pull_for(&probe, 2 * PROBE_SECOND, offsets, 0);
        for (unsigned i = 0; i < count; i++) {
            cr_assert_leq(offsets[i], next);
            if (offsets[i] == next)
                next++;
        }
        cr_assert_eq(next, 100);
        redelivered += weir_fake_counts(stage.cluster)->records_redelivered;
        cr_assert_eq(count, 100 + weir_fake_counts(stage.cluster)->records_redelivered);
        weir_fake_set_faults(stage.cluster, &(struct weir_fake_faults){0});
        end(&stage, &probe);
    }
    cr_assert_gt(redelivered, 0);
}

Test(fake_fetch, short_pulls_errors_and_spurious_wakes_cost_nothing)
{
    struct weir_fake_counts sum = {0};
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct probe probe;
        struct stage stage = begin(&probe, seed, 100);
        weir_fake_set_faults(
            stage.cluster,
            &(struct weir_fake_faults){
                .short_pull = 300, .error_record = 300, .spurious_wake = 300, .trouble = 300, .slow = 300});
        weir_fake_settings(stage.cluster)->fetch_messages_max = 10;
        int64_t offsets[MANY];
        cr_assert_eq(pull_for(&probe, 10 * PROBE_SECOND, offsets, 0), 100);
        for (int i = 0; i < 100; i++)
            cr_assert_eq(offsets[i], i);
        sum.short_pulls += weir_fake_counts(stage.cluster)->short_pulls;
        sum.error_records += weir_fake_counts(stage.cluster)->error_records;
        sum.spurious_wakes += weir_fake_counts(stage.cluster)->spurious_wakes;
        end(&stage, &probe);
    }
    cr_assert(sum.short_pulls && sum.error_records && sum.spurious_wakes);
}

Test(fake_fetch, nothing_comes_while_no_broker_answers)
{
    struct probe probe;
    struct stage stage = begin(&probe, 9, 0);
    probe_run(&probe, PROBE_SECOND);
    weir_fake_broker_down(stage.cluster, 5 * PROBE_SECOND);
    probe_fill(&stage, "orders", 0, 10);
    int64_t offsets[MANY];
    cr_assert_eq(pull_for(&probe, 4900 * PROBE_MS, offsets, 0), 0);
    cr_assert_eq(pull_for(&probe, PROBE_SECOND, offsets, 0), 10);
    weir_fake_client_partition(probe.kafka, 5 * PROBE_SECOND);
    probe_fill(&stage, "orders", 0, 10);
    cr_assert_eq(pull_for(&probe, 4900 * PROBE_MS, offsets, 0), 0);
    cr_assert_eq(pull_for(&probe, PROBE_SECOND, offsets, 0), 10);
    end(&stage, &probe);
}

Test(fake_fetch, a_record_outlives_its_partition)
{
    struct probe probe;
    struct stage stage = begin(&probe, 10, 3);
    probe_run(&probe, PROBE_SECOND);
    struct weir_record records[3];
    cr_assert_eq(probe.kafka->ops->pull(probe_queue(&probe, 0)->queue, records, 3), 3);
    cr_assert_eq(weir_fake_client_outstanding(probe.kafka), 3);
    weir_fake_topic_delete(stage.cluster, "orders", false);
    cr_assert_not_null(probe_wait(&probe, WEIR_KAFKA_REVOKE, 1));
    cr_assert_eq(records[2].value_size, 2);
    cr_assert_arr_eq(records[2].value, "v2", 2);
    for (int i = 0; i < 3; i++)
        probe.kafka->ops->record_free(probe.kafka, records[i].native);
    cr_assert_eq(weir_fake_client_outstanding(probe.kafka), 0);
    end(&stage, &probe);
}

/* ---- what callers must not do ---- */

static void expect_violation(struct stage *stage, const char *words)
{
    uint64_t count = weir_fake_violations(stage->cluster);
    cr_assert_gt(count, 0);
    const char *text = weir_fake_violation(stage->cluster, count - 1);
    cr_assert_not_null(strstr(text, words), "%s", text);
}

Test(fake_fetch, misuse_of_queues_and_records_is_noticed)
{
    struct probe probe;
    struct stage stage = begin(&probe, 11, 10);
    const struct weir_kafka_ops *ops = probe.kafka->ops;
    probe_run(&probe, PROBE_SECOND);
    struct weir_kafka_queue *queue = probe_queue(&probe, 0)->queue;
    struct weir_record record;
    cr_assert_eq(ops->pull(queue, &record, 1), 1);
    check_clean(&stage);

    ops->record_free(probe.kafka, record.native);
    ops->record_free(probe.kafka, record.native);
    expect_violation(&stage, "freed before");
    struct weir_kafka_header header;
    cr_assert_not(ops->record_header(probe.kafka, record.native, 0, &header));
    expect_violation(&stage, "not held");

    struct weir_kafka_offset offset = probe_offset("orders", 0, 1, NULL);
    ops->seek(probe.kafka, &offset, 1, 1);
    cr_assert_eq(ops->pull(queue, &record, 1), 0);
    expect_violation(&stage, "while it is sought");
    probe_wait(&probe, WEIR_KAFKA_SOUGHT, 1);

    probe.answers = false;
    weir_fake_group_rebalance(stage.cluster, "g");
    const struct probe_event *event = probe_wait(&probe, WEIR_KAFKA_ASSIGN, 2);
    cr_assert_eq(ops->pull(queue, &record, 1), 0);
    expect_violation(&stage, "while a rebalance event is open");
    cr_assert_eq(ops->unassign(probe.kafka), WEIR_STATE);
    expect_violation(&stage, "unassign answers nothing");
    probe_answer(&probe, event);
    cr_assert_eq(ops->assign(probe.kafka, NULL, 0), WEIR_STATE);
    expect_violation(&stage, "assign answers nothing");

    ops->queue_close(probe.kafka, queue);
    cr_assert_eq(ops->pull(queue, &record, 1), 0);
    expect_violation(&stage, "of a closed queue");
    ops->queue_close(probe.kafka, queue);
    expect_violation(&stage, "closed twice");
    probe_deinit(&probe);
    probe_stage_end(&stage);
}

Test(fake_fetch, misuse_of_answers_is_noticed)
{
    struct stage stage = probe_stage(12, 2);
    struct probe probe;
    probe_start(&probe, &stage, &member);
    const struct weir_kafka_ops *ops = probe.kafka->ops;
    probe.answers = false;
    const struct probe_event *event = probe_wait(&probe, WEIR_KAFKA_ASSIGN, 1);
    cr_assert_eq(ops->assign(probe.kafka, event->offsets, 1), 0);
    cr_assert_eq(weir_fake_violations(stage.cluster), 1);
    expect_violation(&stage, "was not opened");
    ops->start(probe.kafka, &probe.listener, NULL);
    expect_violation(&stage, "start twice");
    ops->destroy(probe.kafka);
    cr_assert_not_null(strstr(weir_fake_violation(stage.cluster, 2), "left partitions out, and no close followed"));
    expect_violation(&stage, "not closed");
    ops->poll(probe.kafka, 1);
    expect_violation(&stage, "poll when it is destroyed");
    probe_deinit(&probe);
    probe_stage_end(&stage);
}

Test(fake_fetch, a_pull_before_the_first_seek_and_an_open_queue_at_unassign_are_noticed)
{
    struct stage stage = probe_stage(13, 1);
    struct probe probe;
    probe_init(&probe, &stage, &member);
    probe.assign_at = -1;
    const struct weir_kafka_ops *ops = probe.kafka->ops;
    ops->start(probe.kafka, &probe.listener, NULL);
    probe_wait(&probe, WEIR_KAFKA_ASSIGN, 1);
    struct weir_record record;
    cr_assert_eq(ops->pull(probe_queue(&probe, 0)->queue, &record, 1), 0);
    expect_violation(&stage, "before it was sought");
    probe.answers = false;
    ops->close(probe.kafka, 0);
    probe_wait(&probe, WEIR_KAFKA_REVOKE, 1);
    ops->unassign(probe.kafka);
    expect_violation(&stage, "before the queue of orders/0 was closed");
    probe_deinit(&probe);
    probe_stage_end(&stage);
}

Test(fake_fetch, records_held_at_destroy_are_noticed)
{
    struct probe probe;
    struct stage stage = begin(&probe, 14, 3);
    probe_run(&probe, PROBE_SECOND);
    struct weir_record record;
    cr_assert_eq(probe.kafka->ops->pull(probe_queue(&probe, 0)->queue, &record, 1), 1);
    check_clean(&stage);
    probe_close(&probe);
    expect_violation(&stage, "1 records not freed");
    probe_stage_end(&stage);
}
