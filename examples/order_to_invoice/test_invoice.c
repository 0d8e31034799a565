/* make check */
#include "invoice.h"
#include <criterion/criterion.h>
#include <string.h>
#include <weir/testkit.h>

/* A price list that knows apples, for 50 cents, and does not answer the first `failures` times. */
struct test_shop {
    struct shop shop; /* first: one is cast to the other */
    unsigned failures, calls;
};

static enum pricing price(struct shop *shop, const char *item, long *cents)
{
    struct test_shop *test = (struct test_shop *)shop;
    if (test->calls++ < test->failures)
        return NO_ANSWER;
    *cents = 50;
    return strcmp(item, "apple") == 0 ? PRICED : UNKNOWN_ITEM;
}

static struct test_shop shop;
static struct weir_testkit *kit;

static void begin(void)
{
    struct weir_error error = {WEIR_OK, ""};
    struct weir_config *config = weir_config_create();
    shop = (struct test_shop){.shop = {price}};
    cr_assert_eq(weir_config_load(config, "invoice.conf", &error), 0, "%s", error.text);
    kit = weir_testkit_create_prepared(config, invoice_on_order, &shop, invoice_prepare, 1, &error);
    cr_assert_not_null(kit, "%s", error.text);
    weir_config_destroy(config);
}

static void end(void)
{
    struct weir_error error = {WEIR_OK, ""};
    cr_expect_eq(weir_testkit_verdict(kit, &error), 0, "%s", error.text);
    weir_testkit_destroy(kit);
}

static const struct weir_testkit_message *order(const char *customer, const char *text)
{
    struct weir_error error = {WEIR_OK, ""};
    const struct weir_testkit_message *message = weir_testkit_send_text(kit, NULL, customer, text, &error);
    cr_assert_not_null(message, "%s", error.text);
    return message;
}

static void run_until_over(void)
{
    struct weir_error error = {WEIR_OK, ""};
    cr_assert_eq(weir_testkit_run_until_over(kit, 600000, &error), 0, "%s", error.text);
}

static void invoice_is(const struct weir_testkit_message *message, const char *text)
{
    struct weir_testkit_record invoice;
    cr_assert_eq(weir_testkit_message_output(message, 0, &invoice), 1, "%s was not written", text);
    cr_assert_eq(invoice.value_size, strlen(text), "%.*s", (int)invoice.value_size, (const char *)invoice.value);
    cr_assert_arr_eq(invoice.value, text, strlen(text), "%.*s", (int)invoice.value_size, (const char *)invoice.value);
    cr_assert_eq(weir_testkit_message_outputs(message), 1);
}

static void dies_of(const char *customer, const char *text, const char *reason)
{
    const struct weir_testkit_message *message = order(customer, text);
    run_until_over();
    cr_assert_eq(weir_testkit_message_state(message), WEIR_TESTKIT_DEAD);
    cr_assert_str_eq(weir_testkit_message_reason(message), reason);
    cr_assert_eq(weir_testkit_message_outputs(message), 0);
}

TestSuite(invoice, .init = begin, .fini = end);

Test(invoice, has_the_total_of_its_own_customer)
{
    const struct weir_testkit_message *first = order("ann", "apple 2"), *other = order("bob", "apple 1");
    const struct weir_testkit_message *second = order("ann", "apple 3");
    run_until_over();
    invoice_is(first, "2 apple: 100 cents, 100 in all");
    invoice_is(other, "1 apple: 50 cents, 50 in all");
    invoice_is(second, "3 apple: 150 cents, 250 in all");
}

Test(invoice, waits_for_a_price_list_that_does_not_answer)
{
    shop.failures = 15; /* more than weir.retry.attempts.max: the class has attempts of its own */
    const struct weir_testkit_message *message = order("ann", "apple 2"), *behind = order("ann", "apple 1");
    run_until_over();
    cr_assert_eq(weir_testkit_message_runs(message), 16);
    invoice_is(message, "2 apple: 100 cents, 100 in all");
    invoice_is(behind, "1 apple: 50 cents, 150 in all");
}

Test(invoice, counts_an_order_once_whose_invoice_is_refused)
{
    cr_assert_eq(weir_testkit_set_fault(kit, WEIR_TESTKIT_PRODUCE_TOO_LARGE, 1000, NULL), 0);
    const struct weir_testkit_message *message = order("ann", "apple 2");
    cr_assert_eq(weir_testkit_run_ms(kit, 500, NULL), 0);
    cr_assert_eq(weir_testkit_set_fault(kit, WEIR_TESTKIT_PRODUCE_TOO_LARGE, 0, NULL), 0);
    run_until_over();
    cr_assert_gt(weir_testkit_message_runs(message), 1);
    invoice_is(message, "2 apple: 100 cents, 100 in all");
}

Test(invoice, is_not_written_for_what_is_no_order)
{
    dies_of("ann", "", "not an order: ITEM QUANTITY is wanted");
    dies_of("ann", "apple", "not an order: ITEM QUANTITY is wanted");
    dies_of("ann", "apple -1", "not an order: ITEM QUANTITY is wanted");
    dies_of("ann", "apple 1 2", "not an order: ITEM QUANTITY is wanted");
    dies_of("ann", "apple 10000000", "not an order: ITEM QUANTITY is wanted");
    dies_of(NULL, "apple 1", "an order without a customer");
    dies_of("ann", "melon 1", "no such item");
}

Test(invoice, is_not_written_for_a_cancelled_order)
{
    const struct weir_testkit_message *message = order("ann", NULL);
    run_until_over();
    cr_assert_eq(weir_testkit_message_state(message), WEIR_TESTKIT_SKIPPED);
}

/* At least once: after a crash an order may have two invoices, but none has none. */
Test(invoice, is_written_whatever_happens)
{
    const struct weir_testkit_message *orders[20];
    struct weir_error error = {WEIR_OK, ""};
    for (int index = 0; index < 20; index++)
        orders[index] = order(index % 2 ? "ann" : "bob", "apple 1");
    cr_assert_eq(weir_testkit_shake(kit, 20000, 4, &error), 0, "%s", error.text);
    cr_assert_eq(weir_testkit_run_ms(kit, 20000, &error), 0, "%s", error.text);
    cr_assert_eq(weir_testkit_finish(kit, 600000, &error), 0, "%s", error.text);
    for (int index = 0; index < 20; index++)
        cr_assert_eq(weir_testkit_message_state(orders[index]), WEIR_TESTKIT_ACKED);
    cr_assert_geq(weir_testkit_outputs(kit, "invoices"), 20);
}
