/*
 * The demo's ledger and plan: what its verdict rests on. Included as source: they are parts of the command, not of the
 * library.
 */
/* NOLINTBEGIN(bugprone-suspicious-include): see above */
#include "cli/demo_ledger.c"
#include "cli/demo_plan.c"
/* NOLINTEND(bugprone-suspicious-include) */
#include "tests/support/test.h"

static const struct weir_demo_options OPTIONS = {.seconds = 20, .messages = 1000, .keys = 50, .seed = 7};

static struct weir_demo_plan plan;
static struct weir_demo_ledger ledger;

static void begin(void)
{
    struct weir_error error;
    cr_assert_eq(weir_demo_plan_init(&plan, &OPTIONS, &error), 0);
    cr_assert_eq(weir_demo_ledger_init(&ledger, &plan, &error), 0);
}

static void finish(void)
{
    weir_demo_ledger_deinit(&ledger);
    weir_demo_plan_deinit(&plan);
}

static void handle(uint32_t id)
{
    weir_demo_ledger_start(&ledger, id);
    weir_demo_ledger_end(&ledger, id, true, false);
}

/* An order whose key has a later one; returns that. */
static uint32_t next_of_key(uint32_t id)
{
    for (uint32_t later = id + 1; later < plan.count; later++)
        if (plan.orders[later].key == plan.orders[id].key)
            return later;
    cr_assert_fail("no later order of the key");
    return 0;
}

Test(demo_plan, the_same_seed_draws_the_same_orders_in_sequence_by_key)
{
    struct weir_demo_plan again;
    struct weir_error error;
    uint32_t next[50] = {0};
    begin();
    cr_assert_eq(weir_demo_plan_init(&again, &OPTIONS, &error), 0);
    cr_assert_eq(plan.count, 1000);
    for (uint32_t id = 0; id < plan.count; id++) {
        cr_assert_eq(plan.orders[id].key, again.orders[id].key);
        cr_assert_lt(plan.orders[id].key, 50);
        cr_assert_eq(plan.orders[id].sequence, next[plan.orders[id].key]++);
    }
    cr_assert_gt(next[0], next[49], "the first key is the hottest");
    weir_demo_plan_deinit(&again);
    finish();
}

Test(demo_plan, some_orders_fail_now_and_then_and_at_least_one_always)
{
    uint32_t poisonous = 0, failing = 0;
    begin();
    for (uint32_t id = 0; id < plan.count; id++) {
        uint32_t failures = weir_demo_failures(&plan, id);
        poisonous += failures == UINT32_MAX;
        failing += failures == 1 || failures == 2;
        cr_assert(failures <= 2 || failures == UINT32_MAX);
    }
    cr_assert_gt(poisonous, 0);
    cr_assert_gt(failing, 0);
    cr_assert_lt(poisonous + failing, plan.count / 2);
    finish();
}

Test(demo_plan, only_a_value_of_ours_has_an_id)
{
    begin();
    cr_assert_eq(weir_demo_order_id(&plan, "{\"order\":12,\"x", 14), 12);
    cr_assert_eq(weir_demo_order_id(&plan, "{\"order\":1000,", 14), -1, "beyond the last");
    cr_assert_eq(weir_demo_order_id(&plan, "{\"order\":12", 11), -1, "cut off");
    cr_assert_eq(weir_demo_order_id(&plan, "{\"order\":,", 10), -1, "no digits");
    cr_assert_eq(weir_demo_order_id(&plan, "{\"order\":99999999999999999999,", 30), -1, "no overflow");
    cr_assert_eq(weir_demo_order_id(&plan, "hello, hello", 12), -1);
    cr_assert_eq(weir_demo_order_id(&plan, NULL, 0), -1);
    finish();
}

Test(demo_plan, a_load_that_the_mock_broker_would_forget_is_refused)
{
    struct weir_demo_options options = {.seconds = 20, .messages = 200000, .keys = 1, .seed = 1};
    struct weir_error error;
    cr_assert_eq(weir_demo_plan_init(&plan, &options, &error), WEIR_INVALID);
    cr_assert_not_null(strstr(error.text, "--messages"), "%s", error.text);
    weir_demo_plan_deinit(&plan);
}

Test(demo_ledger, a_clean_run_adds_up)
{
    uint32_t neither, both;
    begin();
    const uint32_t lost = plan.count / 2;
    for (uint32_t id = 0; id < plan.count; id++) {
        if (id != lost) {
            handle(id);
            continue;
        }
        for (int attempt = 1; attempt <= DEMO_ATTEMPTS_MAX; attempt++) {
            weir_demo_ledger_start(&ledger, id);
            weir_demo_ledger_end(&ledger, id, false, attempt == DEMO_ATTEMPTS_MAX);
        }
    }
    weir_demo_ledger_sum(&ledger, &neither, &both);
    cr_assert_eq(neither, 1, "given up, and its letter not read yet");
    weir_demo_ledger_letter(&ledger, lost, 1);
    weir_demo_ledger_sum(&ledger, &neither, &both);
    cr_assert_eq(neither, 0);
    cr_assert_eq(both, 0);
    cr_assert_eq(ledger.handled, plan.count - 1);
    cr_assert_eq(ledger.letters, 1);
    cr_assert_eq(ledger.letters_wrong, 0);
    cr_assert_eq(ledger.misplaced, 0);
    cr_assert_eq(ledger.overlaps, 0);
    cr_assert_eq(ledger.again, 0);
    finish();
}

Test(demo_ledger, an_order_that_is_left_out_is_missing_and_breaks_its_keys_order)
{
    uint32_t neither, both;
    begin();
    for (uint32_t id = 1; id < plan.count; id++)
        handle(id);
    weir_demo_ledger_sum(&ledger, &neither, &both);
    cr_assert_eq(neither, 1);
    cr_assert_eq(ledger.misplaced, 1);
    finish();
}

Test(demo_ledger, an_order_that_overtakes_a_retry_is_found)
{
    begin();
    weir_demo_ledger_start(&ledger, 0);
    weir_demo_ledger_end(&ledger, 0, false, false);
    handle(next_of_key(0));
    cr_assert_eq(ledger.misplaced, 1);
    cr_assert_eq(ledger.overlaps, 0);
    finish();
}

Test(demo_ledger, two_runs_of_a_key_at_once_are_found)
{
    begin();
    weir_demo_ledger_start(&ledger, 0);
    weir_demo_ledger_start(&ledger, next_of_key(0));
    cr_assert_eq(ledger.overlaps, 1);
    finish();
}

Test(demo_ledger, an_order_that_is_handled_again_is_counted_once_and_said)
{
    begin();
    handle(0);
    handle(0);
    cr_assert_eq(ledger.handled, 1);
    cr_assert_eq(ledger.again, 1);
    finish();
}

Test(demo_ledger, letters_that_match_nothing_given_up_are_wrong)
{
    uint32_t neither, both;
    begin();
    handle(0);
    weir_demo_ledger_letter(&ledger, 0, 0);
    weir_demo_ledger_letter(&ledger, -1, 0);
    weir_demo_ledger_letter(&ledger, 1, DEMO_DLQ_PARTITIONS);
    cr_assert_eq(ledger.letters, 0);
    cr_assert_eq(ledger.letters_wrong, 3);
    weir_demo_ledger_sum(&ledger, &neither, &both);
    cr_assert_eq(both, 0);
    finish();
}
