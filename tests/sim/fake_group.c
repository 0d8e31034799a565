/*
 * The in-memory coordinator: who is told what, in which order, and who owns what when.
 */
#include "tests/sim/fake_probe.h"
#include "tests/support/test.h"
#include <string.h>

static const struct weir_fake_member cooperative = {.group = "g", .topics = "orders", .cooperative = true};
static const struct weir_fake_member eager = {.group = "g", .topics = "orders"};

static void check_clean(struct stage *stage)
{
    cr_assert_eq(weir_fake_violations(stage->cluster), 0, "%s", weir_fake_violation(stage->cluster, 0));
}

/* Does any partition have two holders? */
static bool overlaps(struct probe **probes, size_t count, int32_t partitions)
{
    for (int32_t partition = 0; partition < partitions; partition++) {
        unsigned holders = 0;
        for (size_t i = 0; i < count; i++)
            holders += weir_fake_client_holds(probes[i]->kafka, "orders", partition);
        if (holders > 1)
            return true;
    }
    return false;
}

Test(fake_group, a_lone_member_gets_every_partition)
{
    struct stage stage = probe_stage(1, 5);
    struct probe probe;
    probe_start(&probe, &stage, &cooperative);
    const struct probe_event *event = probe_wait(&probe, WEIR_KAFKA_ASSIGN, 1);
    cr_assert_not_null(event);
    cr_assert_eq(event->count, 5);
    cr_assert(event->cooperative);
    cr_assert(weir_fake_group_is_stable(stage.cluster, "g"));
    for (int32_t i = 0; i < 5; i++)
        cr_assert(weir_fake_client_holds(probe.kafka, "orders", i));
    cr_assert_not(weir_fake_client_holds(probe.kafka, "orders", 5));
    probe_close(&probe);
    check_clean(&stage);
    probe_stage_end(&stage);
}

Test(fake_group, cooperative_members_move_partitions_without_ever_sharing_one)
{
    for (uint64_t seed = 0; seed < weir_test_scaled(40); seed++) {
        struct stage stage = probe_stage(seed, 6);
        struct probe a, b, c, *all[] = {&a, &b, &c};
        probe_start(&a, &stage, &cooperative);
        probe_wait(&a, WEIR_KAFKA_ASSIGN, 1);
        probe_start(&b, &stage, &cooperative);
        probe_start(&c, &stage, &cooperative);
        for (int ms = 0; ms < 4000; ms++) {
            probes_run(all, 3, PROBE_MS);
            cr_assert_not(overlaps(all, 3, 6), "seed %d", (int)seed);
        }
        for (int i = 0; i < 3; i++)
            cr_assert_eq(probe_held(all[i]), 2, "seed %d", (int)seed);
        const struct probe_event *revoke = probe_find(&a, WEIR_KAFKA_REVOKE, 1);
        cr_assert_not_null(revoke);
        cr_assert_lt(revoke->count, (size_t)6, "a cooperative member keeps its share");
        check_clean(&stage);
        for (int i = 0; i < 3; i++)
            probe_close(all[i]);
        check_clean(&stage);
        probe_stage_end(&stage);
    }
}

Test(fake_group, eager_members_give_everything_back_first)
{
    for (uint64_t seed = 0; seed < weir_test_scaled(20); seed++) {
        struct stage stage = probe_stage(seed, 4);
        struct probe a, b, *all[] = {&a, &b};
        probe_start(&a, &stage, &eager);
        cr_assert_eq(probe_wait(&a, WEIR_KAFKA_ASSIGN, 1)->count, 4);
        probe_start(&b, &stage, &eager);
        for (int ms = 0; ms < 2000; ms++) {
            probes_run(all, 2, PROBE_MS);
            cr_assert_not(overlaps(all, 2, 4));
        }
        const struct probe_event *revoke = probe_find(&a, WEIR_KAFKA_REVOKE, 1);
        cr_assert_not_null(revoke);
        cr_assert_eq(revoke->count, 4);
        cr_assert_not(revoke->cooperative);
        cr_assert_eq(probe_held(&a), 2);
        cr_assert_eq(probe_held(&b), 2);
        probe_close(&a);
        probe_close(&b);
        check_clean(&stage);
        probe_stage_end(&stage);
    }
}

Test(fake_group, an_event_stays_open_until_answered_and_keeps_the_next_away)
{
    struct stage stage = probe_stage(3, 4);
    struct probe a, b, *all[] = {&a, &b};
    probe_start(&a, &stage, &cooperative);
    a.answers = false;
    const struct probe_event *assign = probe_wait(&a, WEIR_KAFKA_ASSIGN, 1);
    probe_start(&b, &stage, &cooperative);
    probes_run(all, 2, 5 * PROBE_SECOND);
    cr_assert_eq(a.event_count, 1, "a rebalance is due, but an event is open");
    cr_assert_eq(b.event_count, 0, "the round waits for the other");
    probe_answer(&a, assign);
    a.answers = true;
    probes_run(all, 2, 5 * PROBE_SECOND);
    cr_assert_eq(probe_held(&a), 2);
    cr_assert_eq(probe_held(&b), 2);
    check_clean(&stage);
    probe_close(&a);
    probe_close(&b);
    probe_stage_end(&stage);
}

Test(fake_group, other_events_come_while_a_rebalance_event_is_open)
{
    struct stage stage = probe_stage(4, 1);
    struct probe probe;
    probe_start(&probe, &stage, &cooperative);
    probe.answers = false;
    probe_wait(&probe, WEIR_KAFKA_ASSIGN, 1);
    struct weir_kafka_offset offset = probe_offset("orders", 0, -1, NULL);
    cr_assert_eq(probe.kafka->ops->fetch_watermarks(probe.kafka, &offset, 1, 7), 0);
    cr_assert_not_null(probe_wait(&probe, WEIR_KAFKA_WATERMARKS, 1));
    check_clean(&stage);
    probe_deinit(&probe);
    probe_stage_end(&stage);
}

Test(fake_group, a_member_that_never_answers_is_removed_and_told_so)
{
    struct stage stage = probe_stage(5, 4);
    weir_fake_settings(stage.cluster)->rebalance_timeout_ns = 3 * PROBE_SECOND;
    struct probe a, b, *all[] = {&a, &b};
    probe_start(&a, &stage, &cooperative);
    a.answers = false;
    const struct probe_event *assign = probe_wait(&a, WEIR_KAFKA_ASSIGN, 1);
    probe_start(&b, &stage, &cooperative);
    probes_run(all, 2, 2 * PROBE_SECOND);
    cr_assert_eq(probe_held(&b), 0);
    probes_run(all, 2, 6 * PROBE_SECOND);
    cr_assert_eq(probe_held(&b), 4);
    probe_answer(&a, assign);
    a.answers = true;
    cr_assert_eq(probe_wait(&a, WEIR_KAFKA_LOST, 1)->count, 4);
    probes_run(all, 2, 6 * PROBE_SECOND);
    cr_assert_eq(probe_held(&a), 2, "it has come back");
    cr_assert_eq(probe_held(&b), 2);
    check_clean(&stage);
    probe_close(&a);
    probe_close(&b);
    probe_stage_end(&stage);
}

Test(fake_group, the_partitions_of_a_crashed_member_move_after_the_session_timeout)
{
    for (uint64_t seed = 0; seed < 10; seed++) {
        struct stage stage = probe_stage(seed, 4);
        struct probe a, b, *all[] = {&a, &b};
        probe_start(&a, &stage, &cooperative);
        probe_start(&b, &stage, &cooperative);
        probes_run(all, 2, 3 * PROBE_SECOND);
        cr_assert_eq(probe_held(&b), 2);
        weir_fake_client_crash(a.kafka);
        size_t heard = a.event_count;
        unsigned wakes = a.wakes;
        probe_run(&b, 9 * PROBE_SECOND);
        cr_assert_eq(probe_held(&b), 2, "the session has not run out");
        probe_run(&b, 3 * PROBE_SECOND);
        cr_assert_eq(probe_held(&b), 4);
        cr_assert_eq(a.event_count, heard);
        cr_assert_eq(a.wakes, wakes, "the dead are told nothing");
        cr_assert_eq(weir_fake_counts(stage.cluster)->members_fenced, 1);
        probe_close(&b);
        probe_deinit(&a);
        check_clean(&stage);
        probe_stage_end(&stage);
    }
}

Test(fake_group, a_member_cut_off_loses_its_partitions_and_its_commits)
{
    for (uint64_t seed = 0; seed < 10; seed++) {
        struct stage stage = probe_stage(seed, 2);
        struct probe a, b, *all[] = {&a, &b};
        probe_start(&a, &stage, &cooperative);
        probe_wait(&a, WEIR_KAFKA_ASSIGN, 1);
        probe_fill(&stage, "orders", 0, 10);
        weir_fake_client_partition(a.kafka, 12 * PROBE_SECOND);
        probe_start(&b, &stage, &cooperative);
        a.answers = false;
        probes_run(all, 2, 11800 * PROBE_MS);
        cr_assert_eq(probe_held(&b), 2);
        const struct probe_event *lost = probe_find(&a, WEIR_KAFKA_LOST, 1);
        cr_assert_not_null(lost, "the client's own watch has fired");
        cr_assert_eq(lost->count, 2);
        probe_answer(&a, lost);
        a.answers = true;
        probes_run(all, 2, 4 * PROBE_SECOND);
        cr_assert_eq(probe_held(&a), 1, "it has come back");
        check_clean(&stage);
        probe_close(&a);
        probe_close(&b);
        probe_stage_end(&stage);
    }
}

Test(fake_group, a_short_separation_loses_nothing)
{
    struct stage stage = probe_stage(8, 2);
    struct probe probe;
    probe_start(&probe, &stage, &cooperative);
    probe_wait(&probe, WEIR_KAFKA_ASSIGN, 1);
    weir_fake_client_partition(probe.kafka, 5 * PROBE_SECOND);
    probe_run(&probe, 20 * PROBE_SECOND);
    cr_assert_eq(probe_count(&probe, WEIR_KAFKA_LOST), 0);
    cr_assert_eq(probe_held(&probe), 2);
    probe_close(&probe);
    check_clean(&stage);
    probe_stage_end(&stage);
}

Test(fake_group, a_fenced_member_hears_of_it_later_and_its_commits_fail_meanwhile)
{
    struct stage stage = probe_stage(9, 2);
    struct probe probe;
    probe_start(&probe, &stage, &cooperative);
    probe_wait(&probe, WEIR_KAFKA_ASSIGN, 1);
    probe_fill(&stage, "orders", 0, 10);
    weir_fake_settings(stage.cluster)->heartbeat_ns = 100 * PROBE_SECOND; /* it would take long to hear */
    weir_fake_client_fence(probe.kafka);
    uint64_t ghost = weir_fake_ghost_join(stage.cluster, "g", "orders");
    const struct probe_event *commit = probe_commit(&probe, 0, 5, NULL, 77);
    cr_assert_eq(commit->error, WEIR_KAFKA_GENERATION);
    cr_assert_eq(weir_fake_committed(stage.cluster, "g", "orders", 0).offset, -1);
    cr_assert_not_null(probe_wait(&probe, WEIR_KAFKA_LOST, 1), "the refused commit tells it at once");
    weir_fake_ghost_leave(stage.cluster, "g", ghost);
    check_clean(&stage);
    probe_deinit(&probe);
    probe_stage_end(&stage);
}

Test(fake_group, a_queued_revocation_turns_into_a_loss)
{
    struct stage stage = probe_stage(10, 2);
    struct probe a;
    probe_start(&a, &stage, &cooperative);
    probe_wait(&a, WEIR_KAFKA_ASSIGN, 1);
    weir_fake_ghost_join(stage.cluster, "g", "orders");
    for (int ms = 0; ms < 5000 && weir_fake_counts(stage.cluster)->revokes == 0; ms++)
        weir_simulation_run(stage.simulation, PROBE_MS, NULL, NULL); /* nobody polls */
    cr_assert_eq(weir_fake_counts(stage.cluster)->revokes, 1);
    weir_fake_client_fence(a.kafka);
    weir_simulation_run(stage.simulation, PROBE_SECOND, NULL, NULL);
    probe_run(&a, 5 * PROBE_SECOND);
    cr_assert_eq(probe_count(&a, WEIR_KAFKA_REVOKE), 0);
    cr_assert_eq(probe_count(&a, WEIR_KAFKA_LOST), 2, "of what was queued, and of the rest");
    check_clean(&stage);
    probe_close(&a);
    probe_stage_end(&stage);
}

Test(fake_group, new_partitions_and_topics_are_found_and_assigned)
{
    struct stage stage = probe_stage(14, 2);
    struct weir_fake_member wide = {.group = "g", .topics = "orders, ^pay.*", .cooperative = true};
    struct probe probe;
    probe_start(&probe, &stage, &wide);
    probe_wait(&probe, WEIR_KAFKA_ASSIGN, 1);
    probe_run(&probe, 2 * PROBE_SECOND);
    cr_assert_eq(probe.kafka->ops->partition_count(probe.kafka, "orders"), 2);
    cr_assert_eq(probe.kafka->ops->partition_count(probe.kafka, "payments"), -1);
    weir_fake_topic_add_partitions(stage.cluster, "orders", 5);
    const struct probe_event *event = probe_wait(&probe, WEIR_KAFKA_ASSIGN, 2);
    cr_assert_eq(event->count, 3);
    cr_assert_eq(probe.kafka->ops->partition_count(probe.kafka, "orders"), 5);
    weir_fake_topic_create(stage.cluster, "payments", 1);
    weir_fake_topic_create(stage.cluster, "unrelated", 1);
    event = probe_wait(&probe, WEIR_KAFKA_ASSIGN, 3);
    cr_assert_eq(event->count, 1);
    cr_assert_str_eq(event->offsets[0].topic, "payments");
    probe_close(&probe);
    check_clean(&stage);
    probe_stage_end(&stage);
}

Test(fake_group, a_deleted_topic_is_reported_and_revoked_and_its_offsets_forgotten)
{
    struct stage stage = probe_stage(15, 2);
    struct probe probe;
    probe_start(&probe, &stage, &cooperative);
    probe_wait(&probe, WEIR_KAFKA_ASSIGN, 1);
    probe_fill(&stage, "orders", 1, 5);
    probe_commit(&probe, 1, 3, NULL, 1);
    weir_fake_topic_delete(stage.cluster, "orders", false);
    const struct probe_event *trouble = probe_wait(&probe, WEIR_KAFKA_TROUBLE, 1);
    cr_assert_eq(trouble->error, WEIR_KAFKA_UNKNOWN_TOPIC);
    cr_assert_eq(probe_wait(&probe, WEIR_KAFKA_REVOKE, 1)->count, 2);
    cr_assert_eq(weir_fake_committed(stage.cluster, "g", "orders", 1).offset, -1);
    weir_fake_topic_create(stage.cluster, "orders", 1);
    cr_assert_eq(weir_fake_log_end(stage.cluster, "orders", 0), 0);
    probe_run(&probe, 5 * PROBE_SECOND);
    cr_assert_eq(probe_held(&probe), 1);
    probe_close(&probe);
    check_clean(&stage);
    probe_stage_end(&stage);
}

Test(fake_group, offsets_survive_a_topic_that_is_recreated_if_so_wished)
{
    struct stage stage = probe_stage(16, 1);
    probe_fill(&stage, "orders", 0, 5);
    struct weir_kafka_offset offset = probe_offset("orders", 0, 4, "map");
    weir_fake_set_committed(stage.cluster, "g", &offset);
    weir_fake_topic_delete(stage.cluster, "orders", true);
    weir_fake_topic_create(stage.cluster, "orders", 1);
    struct weir_kafka_offset committed = weir_fake_committed(stage.cluster, "g", "orders", 0);
    cr_assert_eq(committed.offset, 4);
    cr_assert_str_eq(committed.metadata, "map");
    probe_stage_end(&stage);
}

Test(fake_group, a_ghost_takes_its_share_and_gives_it_back)
{
    for (int round = 0; round < 2; round++) {
        struct stage stage = probe_stage(17, 4);
        struct probe probe;
        probe_start(&probe, &stage, round ? &eager : &cooperative);
        probe_wait(&probe, WEIR_KAFKA_ASSIGN, 1);
        uint64_t ghost = weir_fake_ghost_join(stage.cluster, "g", "orders");
        probe_run(&probe, 5 * PROBE_SECOND);
        cr_assert_eq(probe_held(&probe), 2);
        weir_fake_ghost_leave(stage.cluster, "g", ghost);
        probe_run(&probe, 5 * PROBE_SECOND);
        cr_assert_eq(probe_held(&probe), 4);
        probe_close(&probe);
        check_clean(&stage);
        probe_stage_end(&stage);
    }
}

Test(fake_group, a_rebalance_for_no_reason_may_assign_nothing)
{
    struct stage stage = probe_stage(18, 4);
    struct probe probe;
    probe_start(&probe, &stage, &cooperative);
    probe_wait(&probe, WEIR_KAFKA_ASSIGN, 1);
    weir_fake_group_rebalance(stage.cluster, "g");
    const struct probe_event *event = probe_wait(&probe, WEIR_KAFKA_ASSIGN, 2);
    cr_assert_not_null(event);
    cr_assert_eq(event->count, 0);
    probe_close(&probe);
    check_clean(&stage);
    probe_stage_end(&stage);
}

Test(fake_group, closing_revokes_what_is_held_and_ends_with_closed)
{
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct stage stage = probe_stage(seed, 3);
        struct probe probe;
        probe_start(&probe, &stage, &cooperative);
        probe_run(&probe, seed * 10 * PROBE_MS); /* before, while and after it joins */
        cr_assert_eq(probe.kafka->ops->close(probe.kafka, 100), 0);
        cr_assert_not_null(probe_wait(&probe, WEIR_KAFKA_CLOSED, 1), "seed %d", (int)seed);
        cr_assert_eq(probe.events[probe.event_count - 1].kind, WEIR_KAFKA_CLOSED);
        cr_assert(weir_fake_client_is_closed(probe.kafka));
        cr_assert_eq(probe_held(&probe), 0);
        cr_assert_eq(probe_count(&probe, WEIR_KAFKA_ASSIGN), probe_count(&probe, WEIR_KAFKA_REVOKE));
        probe.kafka->ops->destroy(probe.kafka);
        probe_run(&probe, 20 * PROBE_SECOND);
        cr_assert_eq(weir_fake_group_members(stage.cluster, "g"), 0);
        check_clean(&stage);
        probe_deinit(&probe);
        probe_stage_end(&stage);
    }
}

Test(fake_group, a_coordinator_away_for_longer_than_the_session_costs_the_assignment)
{
    struct stage stage = probe_stage(19, 2);
    struct probe probe;
    probe_start(&probe, &stage, &cooperative);
    probe_wait(&probe, WEIR_KAFKA_ASSIGN, 1);
    weir_fake_coordinator_down(stage.cluster, 5 * PROBE_SECOND);
    probe_run(&probe, 8 * PROBE_SECOND);
    cr_assert_eq(probe_count(&probe, WEIR_KAFKA_LOST), 0);
    weir_fake_coordinator_down(stage.cluster, 15 * PROBE_SECOND);
    probe_run(&probe, 11 * PROBE_SECOND);
    cr_assert_eq(probe_count(&probe, WEIR_KAFKA_LOST), 1);
    cr_assert_eq(probe_held(&probe), 0);
    probe_run(&probe, 30 * PROBE_SECOND);
    cr_assert_eq(probe_held(&probe), 2, "it has joined anew, and the one it was has been removed");
    probe_close(&probe);
    check_clean(&stage);
    probe_stage_end(&stage);
}

Test(fake_group, a_fatal_client_answers_and_closes_without_events)
{
    struct stage stage = probe_stage(20, 2);
    struct probe probe;
    probe_start(&probe, &stage, &cooperative);
    probe_wait(&probe, WEIR_KAFKA_ASSIGN, 1);
    weir_fake_client_fatal(probe.kafka);
    cr_assert_eq(probe_wait(&probe, WEIR_KAFKA_TROUBLE, 1)->error, WEIR_KAFKA_FATAL);
    cr_assert_eq(probe_commit(&probe, 0, 0, NULL, 5)->error, WEIR_KAFKA_FATAL);
    enum weir_kafka_error error = WEIR_KAFKA_NONE;
    struct weir_kafka_produce produce = {.topic = "orders", .timestamp_ms = -1};
    cr_assert_eq(probe.kafka->ops->produce(probe.kafka, &produce, NULL, &error), WEIR_KAFKA);
    cr_assert_eq(error, WEIR_KAFKA_FATAL);
    cr_assert_eq(probe.kafka->ops->close(probe.kafka, 0), 0);
    cr_assert_not_null(probe_wait(&probe, WEIR_KAFKA_CLOSED, 1));
    cr_assert_eq(probe_count(&probe, WEIR_KAFKA_REVOKE), 0);
    check_clean(&stage);
    probe_deinit(&probe);
    probe_stage_end(&stage);
}

Test(fake_group, an_unanswered_event_costs_even_a_lone_member_its_membership)
{
    struct stage stage = probe_stage(21, 2);
    weir_fake_settings(stage.cluster)->rebalance_timeout_ns = 3 * PROBE_SECOND;
    struct probe probe;
    probe_start(&probe, &stage, &cooperative);
    probe.answers = false;
    probe_wait(&probe, WEIR_KAFKA_ASSIGN, 1);
    probe_run(&probe, 2 * PROBE_SECOND);
    cr_assert_eq(weir_fake_group_members(stage.cluster, "g"), 1);
    probe_run(&probe, 2 * PROBE_SECOND);
    cr_assert_eq(weir_fake_group_members(stage.cluster, "g"), 0);
    check_clean(&stage);
    probe_deinit(&probe);
    probe_stage_end(&stage);
}

Test(fake_group, a_round_that_begins_while_the_last_is_being_told_is_joined_too)
{
    for (uint64_t seed = 0; seed < weir_test_scaled(20); seed++) {
        struct stage stage = probe_stage(seed, 2);
        weir_fake_settings(stage.cluster)->heartbeat_ns = 0; /* it may hear of the next round before its share */
        struct probe probe;
        probe_start(&probe, &stage, &cooperative);
        while (weir_fake_group_generation(stage.cluster, "g") == 0)
            weir_simulation_step(stage.simulation); /* the member's share is on its way */
        weir_fake_group_rebalance(stage.cluster, "g");
        cr_assert_not(weir_fake_group_is_stable(stage.cluster, "g"));
        probe_run(&probe, 5 * PROBE_SECOND); /* far less than the rebalance time-out */
        cr_assert(weir_fake_group_is_stable(stage.cluster, "g"), "seed %d", (int)seed);
        cr_assert_eq(probe_held(&probe), 2);
        probe_close(&probe);
        check_clean(&stage);
        probe_stage_end(&stage);
    }
}

static size_t revoked_from(const struct probe *probe)
{
    size_t count = 0;
    for (size_t i = 0; i < probe->event_count; i++)
        count += probe->events[i].kind == WEIR_KAFKA_REVOKE ? probe->events[i].count : 0;
    return count;
}

Test(fake_group, cooperative_shares_are_sticky)
{
    for (uint64_t seed = 0; seed < weir_test_scaled(10); seed++) {
        struct stage stage = probe_stage(seed, 6);
        struct probe a, b, c, *all[] = {&a, &b, &c};
        probe_start(&a, &stage, &cooperative);
        probe_start(&b, &stage, &cooperative);
        probes_run(all, 2, 3 * PROBE_SECOND);
        size_t before = revoked_from(&a) + revoked_from(&b);
        probe_start(&c, &stage, &cooperative);
        probes_run(all, 3, 5 * PROBE_SECOND);
        cr_assert_eq(revoked_from(&a) + revoked_from(&b) - before, 2, "only what the new one gets is moved");
        cr_assert_eq(probe_held(&c), 2);
        for (int i = 0; i < 3; i++)
            probe_close(all[i]);
        check_clean(&stage);
        probe_stage_end(&stage);
    }
}

/* Random comings and goings: no partition is ever held twice by members that are alive and reachable, and in the end
 * every partition is held. */
Test(fake_group, partitions_have_one_holder_whoever_comes_and_goes)
{
    for (uint64_t seed = 100; seed < 100 + weir_test_scaled(60); seed++) {
        struct stage stage = probe_stage(seed, 7);
        struct weir_random random;
        weir_random_init(&random, seed);
        const struct weir_fake_member *member = seed % 2 ? &cooperative : &eager;
        struct probe probes[4], *all[4];
        for (int i = 0; i < 4; i++) {
            all[i] = &probes[i];
            probe_start(all[i], &stage, member);
        }
        uint64_t ghost = 0;
        for (int turn = 0; turn < 12; turn++) {
            if (ghost)
                weir_fake_ghost_leave(stage.cluster, "g", ghost);
            ghost = weir_random_below(&random, 2) ? weir_fake_ghost_join(stage.cluster, "g", "orders") : 0;
            for (uint64_t ms = weir_random_below(&random, 700); ms > 0; ms--) {
                probes_run(all, 4, PROBE_MS);
                cr_assert_not(overlaps(all, 4, 7), "seed %d", (int)seed);
            }
        }
        if (ghost)
            weir_fake_ghost_leave(stage.cluster, "g", ghost);
        probes_run(all, 4, 10 * PROBE_SECOND);
        unsigned held = 0;
        for (int i = 0; i < 4; i++)
            held += probe_held(all[i]);
        cr_assert_eq(held, 7, "seed %d", (int)seed);
        check_clean(&stage);
        for (int i = 0; i < 4; i++)
            probe_close(all[i]);
        check_clean(&stage);
        probe_stage_end(&stage);
    }
}
