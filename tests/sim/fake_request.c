/*
 * The in-memory cluster's requests: committed offsets, watermarks, seeks, commits, and how they fail.
 */
#include "runtime/memory.h"
#include "tests/sim/fake_probe.h"
#include "tests/support/test.h"
#include <string.h>

static const struct weir_fake_member member = {.group = "g", .topics = "orders", .cooperative = true};

static void check_clean(struct stage *stage)
{
    cr_assert_eq(weir_fake_violations(stage->cluster), 0, "%s", weir_fake_violation(stage->cluster, 0));
}

static struct stage begin(struct probe *probe, uint64_t seed, int count)
{
    struct stage stage = probe_stage(seed, 2);
    probe_fill(&stage, "orders", 0, count);
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

static int64_t stored(struct stage *stage, int32_t partition)
{
    return weir_fake_committed(stage->cluster, "g", "orders", partition).offset;
}

Test(fake_request, a_commit_is_read_back_with_its_metadata)
{
    struct probe probe;
    struct stage stage = begin(&probe, 1, 10);
    uint64_t version = weir_fake_commit_version(stage.cluster);
    const struct probe_event *event = probe_commit(&probe, 0, 7, "weir1:abc", 5);
    cr_assert_eq(event->kind, WEIR_KAFKA_COMMITTED);
    cr_assert_eq(event->error, WEIR_KAFKA_NONE);
    cr_assert_eq(event->offsets[0].offset, 7);
    cr_assert_gt(weir_fake_commit_version(stage.cluster), version);
    struct weir_kafka_offset wanted[] = {probe_offset("orders", 0, -1, NULL), probe_offset("orders", 1, -1, NULL)};
    cr_assert_eq(probe.kafka->ops->fetch_committed(probe.kafka, wanted, 2, 6), 0);
    event = probe_wait(&probe, WEIR_KAFKA_FETCHED, 1);
    cr_assert_eq(event->tag, 6);
    cr_assert_eq(event->offsets[0].offset, 7);
    cr_assert_str_eq(event->metadata[0], "weir1:abc");
    cr_assert_eq(event->offsets[0].metadata_size, 9);
    cr_assert_eq(event->offsets[1].offset, -1);
    end(&stage, &probe);
}

Test(fake_request, watermarks_are_the_ends_of_the_log)
{
    struct probe probe;
    struct stage stage = begin(&probe, 2, 10);
    weir_fake_truncate(stage.cluster, "orders", 0, 4);
    struct weir_kafka_offset wanted[] = {probe_offset("orders", 0, -1, NULL), probe_offset("gone", 0, -1, NULL)};
    cr_assert_eq(probe.kafka->ops->fetch_watermarks(probe.kafka, wanted, 2, 6), 0);
    const struct probe_event *event = probe_wait(&probe, WEIR_KAFKA_WATERMARKS, 1);
    cr_assert_eq(event->offsets[0].offset, 4);
    cr_assert_eq(event->offsets[0].high_offset, 10);
    cr_assert_eq(event->offsets[0].error, WEIR_KAFKA_NONE);
    cr_assert_eq(event->offsets[1].error, WEIR_KAFKA_UNKNOWN_TOPIC);
    end(&stage, &probe);
}

Test(fake_request, a_seek_of_what_is_not_assigned_fails)
{
    struct probe probe;
    struct stage stage = begin(&probe, 3, 10);
    struct weir_kafka_offset wanted[] = {probe_offset("orders", 9, 0, NULL), probe_offset("orders", 1, 0, NULL)};
    cr_assert_eq(probe.kafka->ops->seek(probe.kafka, wanted, 2, 6), 0);
    const struct probe_event *event = probe_wait(&probe, WEIR_KAFKA_SOUGHT, 1);
    cr_assert_neq(event->offsets[0].error, WEIR_KAFKA_NONE);
    cr_assert_eq(event->offsets[1].error, WEIR_KAFKA_NONE);
    end(&stage, &probe);
}

Test(fake_request, metadata_above_the_limit_fails_the_whole_and_stores_the_rest)
{
    bool told = false, untold = false;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct probe probe;
        struct stage stage = begin(&probe, seed, 10);
        weir_fake_settings(stage.cluster)->offset_metadata_bytes_max = 8;
        probe_fill(&stage, "orders", 1, 10);
        struct weir_kafka_offset commits[] = {probe_offset("orders", 0, 5, "123456789"),
                                              probe_offset("orders", 1, 6, "12345678")};
        cr_assert_eq(probe.kafka->ops->commit(probe.kafka, commits, 2, 6), 0);
        const struct probe_event *event = probe_wait(&probe, WEIR_KAFKA_COMMITTED, 1);
        cr_assert_eq(event->error, WEIR_KAFKA_METADATA_TOO_LARGE);
        cr_assert_eq(stored(&stage, 0), -1);
        cr_assert_eq(stored(&stage, 1), 6);
        *(event->offsets[0].error ? &told : &untold) = true;
        end(&stage, &probe);
    }
    cr_assert(told && untold);
}

Test(fake_request, a_commit_may_be_stored_although_it_is_answered_as_failed)
{
    struct probe probe;
    struct stage stage = begin(&probe, 4, 10);
    weir_fake_set_faults(stage.cluster, &(struct weir_fake_faults){.commit_applied_error = 1000});
    cr_assert_eq(probe_commit(&probe, 0, 5, NULL, 6)->error, WEIR_KAFKA_RETRIABLE);
    cr_assert_eq(stored(&stage, 0), 5);
    cr_assert_eq(weir_fake_counts(stage.cluster)->commits_applied_error, 1);
    end(&stage, &probe);
}

Test(fake_request, a_commit_may_be_lost)
{
    struct probe probe;
    struct stage stage = begin(&probe, 5, 10);
    weir_fake_set_faults(stage.cluster, &(struct weir_fake_faults){.commit_lost = 1000});
    cr_assert_eq(probe_commit(&probe, 0, 5, NULL, 6)->error, WEIR_KAFKA_RETRIABLE);
    cr_assert_eq(stored(&stage, 0), -1);
    cr_assert_eq(weir_fake_counts(stage.cluster)->commits_lost, 1);
    end(&stage, &probe);
}

Test(fake_request, a_parked_commit_moves_the_offset_back_later)
{
    bool at_once = false, late = false;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct probe probe;
        struct stage stage = begin(&probe, seed, 10);
        struct weir_kafka_offset commit = probe_offset("orders", 0, 3, NULL);
        weir_fake_set_faults(stage.cluster, &(struct weir_fake_faults){.commit_parked = 1000});
        cr_assert_eq(probe.kafka->ops->commit(probe.kafka, &commit, 1, 6), 0);
        probe_run(&probe, 10 * PROBE_MS);
        weir_fake_set_faults(stage.cluster, &(struct weir_fake_faults){0});
        unsigned times;
        const struct probe_event *event = probe_tagged(&probe, 6, &times);
        *(event ? &at_once : &late) = true;
        cr_assert(!event || event->error == WEIR_KAFKA_RETRIABLE);
        cr_assert_eq(weir_fake_counts(stage.cluster)->commits_parked, 1);
        if (stored(&stage, 0) == -1) { /* else it was parked for a few milliseconds only */
            cr_assert_eq(probe_commit(&probe, 0, 8, NULL, 7)->error, WEIR_KAFKA_NONE);
            probe_run(&probe, 10 * PROBE_SECOND);
            cr_assert_eq(stored(&stage, 0), 3, "seed %d", (int)seed);
            cr_assert_eq(weir_fake_counts(stage.cluster)->offsets_moved_back, 1);
        }
        probe_tagged(&probe, 6, &times);
        cr_assert_eq(times, 1);
        end(&stage, &probe);
    }
    cr_assert(at_once && late);
}

Test(fake_request, a_commit_that_meets_a_join_waits_for_its_end_or_is_refused)
{
    unsigned generations = 0, retriables = 0, waited = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct probe probe;
        struct stage stage = begin(&probe, seed, 10);
        weir_fake_set_faults(stage.cluster, &(struct weir_fake_faults){.commit_race = 500});
        weir_fake_group_rebalance(stage.cluster, "g");
        while (weir_fake_group_generation(stage.cluster, "g") < 2)
            weir_simulation_step(stage.simulation); /* the answer is on its way: the client has the old generation */
        const struct probe_event *event = probe_commit(&probe, 0, 5, NULL, 6);
        generations += event->error == WEIR_KAFKA_GENERATION;
        retriables += event->error == WEIR_KAFKA_RETRIABLE;
        waited += event->error == WEIR_KAFKA_NONE;
        cr_assert_eq(stored(&stage, 0), event->error == WEIR_KAFKA_NONE ? 5 : -1);
        if (event->error == WEIR_KAFKA_GENERATION)
            cr_assert_not_null(probe_wait(&probe, WEIR_KAFKA_LOST, 1));
        probe_run(&probe, 30 * PROBE_SECOND);
        cr_assert_eq(probe_held(&probe), 2, "seed %d: it is a member again", (int)seed);
        end(&stage, &probe);
    }
    cr_assert(generations > 0 && retriables > 0 && waited > 0);
}

Test(fake_request, without_a_coordinator_requests_wait_and_then_time_out)
{
    struct probe probe;
    struct stage stage = begin(&probe, 7, 10);
    weir_fake_coordinator_down(stage.cluster, 3 * PROBE_SECOND);
    uint64_t before_ns = weir_simulation_now_ns(stage.simulation);
    cr_assert_eq(probe_commit(&probe, 0, 5, NULL, 6)->error, WEIR_KAFKA_NONE);
    cr_assert_geq(weir_simulation_now_ns(stage.simulation) - before_ns, 3 * PROBE_SECOND);
    weir_fake_coordinator_down(stage.cluster, 8 * PROBE_SECOND);
    struct weir_kafka_offset wanted = probe_offset("orders", 0, -1, NULL);
    cr_assert_eq(probe.kafka->ops->fetch_watermarks(probe.kafka, &wanted, 1, 8), 0);
    cr_assert_eq(probe_commit(&probe, 0, 6, NULL, 7)->error, WEIR_KAFKA_RETRIABLE);
    unsigned times;
    cr_assert_eq(probe_tagged(&probe, 8, &times)->error, WEIR_KAFKA_NONE, "other brokers answer");
    cr_assert_eq(stored(&stage, 0), 5);
    end(&stage, &probe);
}

Test(fake_request, an_answer_lost_on_the_way_is_a_timeout_of_what_was_done)
{
    unsigned stored_and_failed = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct probe probe;
        struct stage stage = begin(&probe, seed, 10);
        struct weir_kafka_offset commit = probe_offset("orders", 0, 5, NULL);
        cr_assert_eq(probe.kafka->ops->commit(probe.kafka, &commit, 1, 6), 0);
        weir_simulation_run(stage.simulation, PROBE_MS, NULL, NULL);
        weir_fake_client_partition(probe.kafka, 8 * PROBE_SECOND);
        const struct probe_event *event = probe_wait(&probe, WEIR_KAFKA_COMMITTED, 1);
        stored_and_failed += stored(&stage, 0) == 5 && event->error == WEIR_KAFKA_RETRIABLE;
        cr_assert(event->error == WEIR_KAFKA_RETRIABLE || stored(&stage, 0) == 5);
        probe_run(&probe, 10 * PROBE_SECOND);
        end(&stage, &probe);
    }
    cr_assert_gt(stored_and_failed, 0);
}

Test(fake_request, answers_that_a_test_asks_for_are_given)
{
    struct probe probe;
    struct stage stage = begin(&probe, 8, 10);
    weir_fake_fail(probe.kafka, WEIR_FAKE_COMMIT, WEIR_KAFKA_AUTHORIZATION, 2, false);
    weir_fake_fail(probe.kafka, WEIR_FAKE_FETCH_WATERMARKS, WEIR_KAFKA_OTHER, 1, true);
    cr_assert_eq(probe_commit(&probe, 0, 5, NULL, 1)->error, WEIR_KAFKA_AUTHORIZATION);
    cr_assert_eq(probe_commit(&probe, 0, 5, NULL, 2)->offsets[0].error, WEIR_KAFKA_AUTHORIZATION);
    cr_assert_eq(stored(&stage, 0), -1);
    cr_assert_eq(probe_commit(&probe, 0, 5, NULL, 3)->error, WEIR_KAFKA_NONE);
    struct weir_kafka_offset wanted = probe_offset("orders", 0, -1, NULL);
    cr_assert_eq(probe.kafka->ops->fetch_watermarks(probe.kafka, &wanted, 1, 4), 0);
    const struct probe_event *event = probe_wait(&probe, WEIR_KAFKA_WATERMARKS, 1);
    cr_assert_eq(event->error, WEIR_KAFKA_OTHER);
    cr_assert_eq(event->offsets[0].high_offset, 10);
    weir_fake_fail(probe.kafka, WEIR_FAKE_COMMIT, WEIR_KAFKA_OTHER, 1, true);
    cr_assert_eq(probe_commit(&probe, 0, 6, NULL, 5)->error, WEIR_KAFKA_OTHER);
    cr_assert_eq(stored(&stage, 0), 6);
    end(&stage, &probe);
}

/* K4, under every fault at once, with rebalances, separations and a close in the middle. */
Test(fake_request, every_request_is_answered_exactly_once)
{
    static const struct weir_fake_faults faults = {.slow = 100,
                                                   .commit_applied_error = 100,
                                                   .commit_lost = 100,
                                                   .commit_parked = 200,
                                                   .commit_race = 300,
                                                   .fetch_committed_error = 200,
                                                   .watermarks_error = 200,
                                                   .seek_error = 300};
    for (uint64_t seed = 0; seed < weir_test_scaled(60); seed++) {
        struct probe probe;
        struct stage stage = begin(&probe, seed, 50);
        weir_fake_set_faults(stage.cluster, &faults);
        struct weir_random random;
        weir_random_init(&random, seed);
        uint64_t tag = 1, stop = 60 + weir_random_below(&random, 60);
        for (; tag <= stop; tag++) {
            struct weir_kafka_offset offset = probe_offset("orders", 0, (int64_t)weir_random_below(&random, 50), "m");
            const struct weir_kafka_ops *ops = probe.kafka->ops;
            int kind = probe_queue(&probe, 0) ? (int)weir_random_below(&random, 4) : 1;
            int code = kind == 0   ? ops->commit(probe.kafka, &offset, 1, tag)
                       : kind == 1 ? ops->fetch_committed(probe.kafka, &offset, 1, tag)
                       : kind == 2 ? ops->fetch_watermarks(probe.kafka, &offset, 1, tag)
                                   : ops->seek(probe.kafka, &offset, 1, tag);
            cr_assert_eq(code, 0);
            switch (weir_random_below(&random, 12)) {
            case 0:
                weir_fake_group_rebalance(stage.cluster, "g");
                break;
            case 1:
                weir_fake_client_partition(probe.kafka, weir_random_below(&random, 12000) * PROBE_MS);
                break;
            case 2:
                weir_fake_coordinator_down(stage.cluster, weir_random_below(&random, 12000) * PROBE_MS);
                break;
            case 3:
                weir_fake_client_fence(probe.kafka);
                break;
            default:
                probe_run(&probe, weir_random_below(&random, 40) * PROBE_MS);
            }
        }
        cr_assert_eq(probe.kafka->ops->close(probe.kafka, 1000), 0);
        cr_assert_not_null(probe_wait(&probe, WEIR_KAFKA_CLOSED, 1), "seed %d", (int)seed);
        for (uint64_t i = 1; i < tag; i++) {
            unsigned times;
            probe_tagged(&probe, i, &times);
            cr_assert_eq(times, 1, "seed %d: tag %d answered %u times", (int)seed, (int)i, times);
        }
        cr_assert_eq(probe.events[probe.event_count - 1].kind, WEIR_KAFKA_CLOSED);
        probe.kafka->ops->destroy(probe.kafka);
        check_clean(&stage);
        probe_deinit(&probe);
        probe_stage_end(&stage);
    }
}

Test(fake_request, commits_that_cannot_be_meant_are_noticed)
{
    struct probe probe;
    struct stage stage = begin(&probe, 9, 10);
    static const struct {
        int32_t partition;
        int64_t offset;
        const char *words;
    } wrong[] = {{0, 11, "above the log's end"}, {0, -1, "below 0"}, {9, 0, "not assigned"}};
    for (size_t i = 0; i < 3; i++) {
        struct weir_kafka_offset commit = probe_offset("orders", wrong[i].partition, wrong[i].offset, NULL);
        probe.kafka->ops->commit(probe.kafka, &commit, 1, 50 + i);
        cr_assert_eq(weir_fake_violations(stage.cluster), i + 1);
        cr_assert_not_null(strstr(weir_fake_violation(stage.cluster, i), wrong[i].words), "%s",
                           weir_fake_violation(stage.cluster, i));
    }
    struct weir_kafka_offset twice[] = {probe_offset("orders", 0, 1, NULL), probe_offset("orders", 0, 2, NULL)};
    probe.kafka->ops->commit(probe.kafka, twice, 2, 60);
    cr_assert_not_null(strstr(weir_fake_violation(stage.cluster, 3), "twice in a request"));
    probe.answers = false;
    weir_fake_client_fence(probe.kafka);
    const struct probe_event *lost = probe_wait(&probe, WEIR_KAFKA_LOST, 1);
    struct weir_kafka_offset commit = probe_offset("orders", 0, 1, NULL);
    probe.kafka->ops->commit(probe.kafka, &commit, 1, 61);
    cr_assert_not_null(strstr(weir_fake_violation(stage.cluster, 4), "was lost"));
    probe_answer(&probe, lost);
    probe_deinit(&probe);
    probe_stage_end(&stage);
}

Test(fake_request, the_cluster_is_known_once_it_has_answered_and_statistics_come_as_asked)
{
    struct stage stage = probe_stage(12, 1);
    weir_fake_settings(stage.cluster)->statistics_ns = PROBE_SECOND;
    probe_fill(&stage, "orders", 0, 10);
    struct probe probe;
    probe_start(&probe, &stage, &member);
    cr_assert_null(probe.kafka->ops->cluster_id(probe.kafka));
    cr_assert_eq(probe.kafka->ops->partition_count(probe.kafka, "orders"), -1);
    probe_run(&probe, 5 * PROBE_SECOND + PROBE_SECOND / 2);
    cr_assert_str_eq(probe.kafka->ops->cluster_id(probe.kafka), "cluster-1");
    cr_assert_eq(probe.kafka->ops->partition_count(probe.kafka, "orders"), 1);
    cr_assert_eq(probe_count(&probe, WEIR_KAFKA_STATISTICS), 5);
    end(&stage, &probe);
}

/* A resident that makes a call of the control thread on whichever worker it lives. */
struct caller {
    struct weir_resident resident; /* first */
    struct probe *probe;
};

static void call_from_turn(struct weir_actor *actor, struct weir_worker *worker)
{
    struct probe *probe = ((struct caller *)actor)->probe;
    probe->kafka->ops->poll(probe->kafka, 1);
}

Test(fake_request, calls_of_the_control_thread_from_another_worker_are_noticed)
{
    struct probe probe;
    struct stage stage = begin(&probe, 13, 10);
    struct weir_system *system = weir_simulation_system(stage.simulation, 1, 0);
    for (unsigned index = 0; index < 2; index++) {
        struct caller caller = {.probe = &probe};
        weir_resident_init(&caller.resident, weir_system_worker(system, index), call_from_turn, 1, 0);
        weir_resident_notify(&caller.resident);
        weir_simulation_run(stage.simulation, PROBE_MS, NULL, NULL);
        cr_assert(weir_resident_is_idle(&caller.resident));
        cr_assert_eq(weir_fake_violations(stage.cluster), index, "only worker 0 is the control worker");
    }
    cr_assert_not_null(strstr(weir_fake_violation(stage.cluster, 0), "poll on worker 1"));
    probe_deinit(&probe);
    probe_stage_end(&stage);
}

static void nothing(void *argument) {}

Test(fake_request, where_memory_is_short_a_request_says_so_and_nothing_comes_of_it)
{
    struct probe probe;
    struct stage stage = begin(&probe, 10, 10);
    struct weir_kafka_offset offset = probe_offset("orders", 0, 5, NULL);
    const struct weir_kafka_ops *ops = probe.kafka->ops;
    weir_memory_fail_after(0);
    cr_assert_eq(ops->commit(probe.kafka, &offset, 1, 1), WEIR_NO_MEMORY);
    weir_memory_fail_after(0);
    cr_assert_eq(ops->fetch_committed(probe.kafka, &offset, 1, 2), WEIR_NO_MEMORY);
    weir_memory_fail_after(0);
    cr_assert_eq(ops->fetch_watermarks(probe.kafka, &offset, 1, 3), WEIR_NO_MEMORY);
    weir_memory_fail_after(0);
    cr_assert_eq(ops->seek(probe.kafka, &offset, 1, 4), WEIR_NO_MEMORY);
    weir_memory_fail_after(0);
    enum weir_kafka_error error;
    struct weir_kafka_produce produce = {.topic = "orders", .timestamp_ms = -1};
    cr_assert_eq(ops->produce(probe.kafka, &produce, NULL, &error), WEIR_NO_MEMORY);
    weir_memory_fail_after(0);
    cr_assert_null(ops->queue_open(probe.kafka, "orders", 0, nothing, NULL));
    size_t heard = probe.event_count;
    probe_run(&probe, 5 * PROBE_SECOND);
    cr_assert_eq(probe.event_count, heard);
    cr_assert_eq(weir_fake_counts(stage.cluster)->no_memory, 6);
    end(&stage, &probe);
}

/* A failure that would hit the simulation's own scheduling hits the next allocation instead. */
Test(fake_request, an_injected_failure_does_not_stop_at_the_fake)
{
    struct probe probe;
    struct stage stage = begin(&probe, 11, 10);
    struct weir_kafka_offset offset = probe_offset("orders", 0, 5, NULL);
    weir_memory_fail_after(1); /* one is the call's own, the next is the simulation's */
    cr_assert_eq(probe.kafka->ops->commit(probe.kafka, &offset, 1, 1), 0);
    void *memory = weir_memory_allocate(1);
    cr_assert_null(memory);
    cr_assert_eq(probe_wait(&probe, WEIR_KAFKA_COMMITTED, 1)->error, WEIR_KAFKA_NONE);
    end(&stage, &probe);
}
