/*
 * A user's own tests of a handler, with Criterion: each has a Kafka of its own and minutes of virtual time, and takes
 * about a millisecond.
 *
 *     cc test_charge.c charge.c $(pkg-config --cflags --libs weir-testkit criterion) -o test_charge && ./test_charge
 */
#include "charge.h"
#include <criterion/criterion.h>
#include <string.h>
#include <weir/testkit.h>

/* A gateway that does what the order's text says, and answers "slow" ones after three seconds of virtual time. */
struct test_gateway {
    struct gateway gateway; /* first: one is cast to the other */
    struct weir_testkit *kit;
    struct weir_later pending;
    unsigned calls;
};

static void answer(void *argument)
{
    struct test_gateway *test = argument;
    charge_answered(test->pending, GATEWAY_CHARGED);
}

static enum gateway_answer test_charge(struct gateway *gateway, const char *order, size_t order_size,
                                       struct weir_message *message)
{
    struct test_gateway *test = (struct test_gateway *)gateway;
    test->calls++;
    if (order_size == 4 && memcmp(order, "busy", 4) == 0)
        return weir_message_attempt(message) < 3 ? GATEWAY_BUSY : GATEWAY_CHARGED;
    if (order_size == 3 && memcmp(order, "bad", 3) == 0)
        return GATEWAY_DECLINED;
    if (order_size != 4 || memcmp(order, "slow", 4) != 0)
        return GATEWAY_CHARGED;
    test->pending = weir_message_later(message);
    return weir_testkit_after(test->kit, 3000, answer, test, NULL) == 0 ? GATEWAY_PENDING : GATEWAY_DECLINED;
}

static struct test_gateway test;

static void begin(void)
{
    struct weir_error error = {WEIR_OK, ""};
    test = (struct test_gateway){.gateway = {test_charge}};
    test.kit = weir_testkit_create(NULL, charge, &test.gateway, 1, &error);
    cr_assert_not_null(test.kit, "%s", error.text);
}

static void end(void)
{
    struct weir_error error = {WEIR_OK, ""};
    cr_expect_eq(weir_testkit_verdict(test.kit, &error), 0, "%s", error.text);
    weir_testkit_destroy(test.kit);
}

static const struct weir_testkit_message *send_order(const char *customer, const char *order)
{
    struct weir_error error = {WEIR_OK, ""};
    const struct weir_testkit_message *message = weir_testkit_send_text(test.kit, NULL, customer, order, &error);
    cr_assert_not_null(message, "%s", error.text);
    return message;
}

static void run_until_over(void)
{
    struct weir_error error = {WEIR_OK, ""};
    cr_assert_eq(weir_testkit_run_until_over(test.kit, 600000, &error), 0, "%s", error.text);
}

TestSuite(charge, .init = begin, .fini = end);

Test(charge, waits_two_seconds_for_a_busy_gateway)
{
    const struct weir_testkit_message *order = send_order("ann", "busy");
    run_until_over();
    struct weir_testkit_run runs[3];
    for (size_t index = 0; index < 3; index++)
        cr_assert_eq(weir_testkit_message_run(order, index, &runs[index]), 1);
    cr_assert_eq(runs[0].outcome, WEIR_RETRY);
    cr_assert_eq(runs[1].begin_ms, runs[0].begin_ms + 2000);
    cr_assert_eq(runs[2].outcome, WEIR_ACK);
}

Test(charge, gives_up_a_declined_card_with_its_reason)
{
    const struct weir_testkit_message *order = send_order("ann", "bad");
    run_until_over();
    struct weir_testkit_record letter;
    cr_assert_str_eq(weir_testkit_message_reason(order), "the card was declined");
    cr_assert_eq(weir_testkit_message_letter(order, &letter), 1);
    cr_assert_str_eq(letter.topic, "messages.dlq");
    cr_assert_arr_eq(letter.value, "bad", 3);
}

Test(charge, lets_a_slow_answer_delay_its_customer_only)
{
    const struct weir_testkit_message *slow = send_order("ann", "slow");
    const struct weir_testkit_message *behind = send_order("ann", "fine");
    const struct weir_testkit_message *other = send_order("bob", "fine");
    cr_assert_eq(weir_testkit_run_ms(test.kit, 2000, NULL), 0);
    cr_assert_eq(weir_testkit_message_state(slow), WEIR_TESTKIT_RUNNING);
    cr_assert_eq(weir_testkit_message_runs(behind), 0);
    cr_assert_eq(weir_testkit_message_state(other), WEIR_TESTKIT_ACKED);
    run_until_over();
    cr_assert_eq(weir_testkit_message_state(behind), WEIR_TESTKIT_ACKED);
}

Test(charge, is_asked_again_after_a_crash)
{
    const struct weir_testkit_message *order = send_order("ann", "slow");
    cr_assert_eq(weir_testkit_run_ms(test.kit, 2000, NULL), 0);
    cr_assert_eq(weir_testkit_crash(test.kit, NULL), 0);
    cr_assert_eq(weir_testkit_start(test.kit, NULL), 0);
    run_until_over();
    cr_assert_eq(test.calls, 2);
    cr_assert_eq(weir_testkit_message_runs(order), 2);
}

Test(charge, skips_what_was_cancelled)
{
    const struct weir_testkit_message *order = send_order("ann", NULL);
    run_until_over();
    cr_assert_eq(weir_testkit_message_state(order), WEIR_TESTKIT_SKIPPED);
    cr_assert_eq(test.calls, 0);
}
