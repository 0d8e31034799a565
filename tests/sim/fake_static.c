/*
 * Static members of the simulated Kafka's groups: who restarts within the session takes over what its predecessor had.
 */
#include "tests/sim/fake_probe.h"
#include "tests/support/test.h"

static const struct weir_fake_member cooperative = {.group = "g", .topics = "orders", .cooperative = true};

static void check_clean(struct stage *stage)
{
    cr_assert_eq(weir_fake_violations(stage->cluster), 0, "%s", weir_fake_violation(stage->cluster, 0));
}

Test(fake_group, a_static_member_that_restarts_takes_over_without_a_rebalance)
{
    struct weir_fake_member settled = cooperative;
    settled.instance_id = "one";
    struct stage stage = probe_stage(11, 3);
    struct probe a, b, again, *all[] = {&b, &again};
    probe_start(&a, &stage, &settled);
    probe_start(&b, &stage, &cooperative);
    struct probe *first[] = {&a, &b};
    probes_run(first, 2, 3 * PROBE_SECOND);
    unsigned held = probe_held(&a);
    int32_t generation = weir_fake_group_generation(stage.cluster, "g");
    weir_fake_client_crash(a.kafka);
    probe_start(&again, &stage, &settled);
    probes_run(all, 2, 15 * PROBE_SECOND);
    cr_assert_eq(probe_held(&again), held);
    cr_assert_eq(weir_fake_group_generation(stage.cluster, "g"), generation);
    cr_assert_eq(probe_count(&b, WEIR_KAFKA_REVOKE), 0);
    check_clean(&stage);
    probe_close(&again);
    probe_close(&b);
    probe_deinit(&a);
    probe_stage_end(&stage);
}

Test(fake_group, of_two_with_one_instance_id_the_older_ends)
{
    struct weir_fake_member settled = cooperative;
    settled.instance_id = "one";
    struct stage stage = probe_stage(12, 3);
    struct probe a, b, *all[] = {&a, &b};
    probe_start(&a, &stage, &settled);
    probes_run(all, 1, 3 * PROBE_SECOND);
    probe_start(&b, &stage, &settled);
    probes_run(all, 2, 3 * PROBE_SECOND);
    const struct probe_event *trouble = probe_find(&a, WEIR_KAFKA_TROUBLE, 1);
    cr_assert_not_null(trouble);
    cr_assert_eq(trouble->error, WEIR_KAFKA_FATAL);
    cr_assert_eq(probe_held(&b), 3);
    check_clean(&stage);
    probe_close(&b);
    probe_deinit(&a);
    probe_stage_end(&stage);
}

Test(fake_group, a_static_member_that_closes_is_missed_only_after_its_session)
{
    struct weir_fake_member settled = cooperative;
    settled.instance_id = "one";
    struct stage stage = probe_stage(13, 4);
    struct probe a, b, *all[] = {&a, &b};
    probe_start(&a, &stage, &settled);
    probe_start(&b, &stage, &cooperative);
    probes_run(all, 2, 3 * PROBE_SECOND);
    probe_close(&a);
    probe_run(&b, 8 * PROBE_SECOND);
    cr_assert_eq(probe_held(&b), 2);
    probe_run(&b, 5 * PROBE_SECOND);
    cr_assert_eq(probe_held(&b), 4);
    check_clean(&stage);
    probe_close(&b);
    probe_stage_end(&stage);
}

/* Its successor is given what it had, but what it was to let go of must not stay with nobody. */
Test(fake_group, a_static_member_that_dies_owing_a_join_leaves_no_partition_behind)
{
    struct weir_fake_member settled = cooperative;
    settled.instance_id = "one";
    unsigned owing = 0;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct stage stage = probe_stage(seed, 4);
        struct probe a, b, again, *all[] = {&b, &again};
        probe_start(&a, &stage, &settled);
        probe_wait(&a, WEIR_KAFKA_ASSIGN, 1);
        a.answers = false;
        probe_start(&b, &stage, &cooperative);
        struct probe *first[] = {&a, &b};
        for (int ms = 0; ms < 5000 && !probe_find(&a, WEIR_KAFKA_REVOKE, 1); ms++)
            probes_run(first, 2, PROBE_MS);
        owing += probe_find(&a, WEIR_KAFKA_REVOKE, 1) != NULL;
        weir_fake_client_crash(a.kafka);
        probe_start(&again, &stage, &settled);
        probes_run(all, 2, 5 * PROBE_SECOND);
        cr_assert_eq(probe_held(&again) + probe_held(&b), 4, "seed %d", (int)seed);
        probe_close(&again);
        probe_close(&b);
        probe_deinit(&a);
        check_clean(&stage);
        probe_stage_end(&stage);
    }
    cr_assert_gt(owing, 0);
}
