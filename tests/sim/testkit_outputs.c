/*
 * The test kit on what handlers emit: what was written is shown, and a message is over when all of it is.
 */
#include "tests/sim/testkit.h"
#include <stdbool.h>
#include <stdio.h>

#define TEXT(text) .value = (text), .value_size = strlen(text)

static unsigned runs;

/* Two invoices by the key, and one line in a topic that this consumer reads itself, where the value is "order". */
static enum weir_outcome invoice(struct weir_message *message, void *user)
{
    size_t size = weir_message_value_size(message);
    runs++;
    if (size != 5 || memcmp(weir_message_value(message), "order", 5) != 0)
        return WEIR_ACK;
    struct weir_output output = {.topic = "invoices",
                                 .key = weir_message_key(message),
                                 .key_size = weir_message_key_size(message),
                                 TEXT("first")};
    int result = weir_emit(message, &output);
    output.value = "second";
    output.value_size = 6;
    result = result == 0 ? weir_emit(message, &output) : result;
    output = (struct weir_output){.topic = "messages", .has_partition = 1, .partition = 2, TEXT("line")};
    return result == 0 && weir_emit(message, &output) == 0 ? WEIR_ACK : WEIR_RETRY;
}

static struct weir_testkit *make_with(uint64_t seed, const char *delivery)
{
    struct weir_error error = {0};
    struct weir_config *config = weir_config_create();
    cr_assert_not_null(config);
    cr_assert_eq(weir_config_set(config, "weir.delivery", delivery, &error), 0, "%s", error.text);
    struct weir_testkit *kit = weir_testkit_create(config, invoice, NULL, seed, &error);
    weir_config_destroy(config);
    cr_assert_not_null(kit, "%s", error.text);
    runs = 0;
    return kit;
}

static struct weir_testkit *make(uint64_t seed)
{
    return make_with(seed, "at-least-once");
}

static bool is(const struct weir_testkit_record *record, const char *value)
{
    return record->value_size == strlen(value) && memcmp(record->value, value, record->value_size) == 0;
}

Test(testkit_outputs, are_shown_by_topic_and_by_message_and_make_it_over)
{
    struct weir_testkit *kit = make(1);
    struct weir_testkit_record record;
    const struct weir_testkit_message *order = weir_testkit_send_text(kit, NULL, "anna", "order", NULL);
    const struct weir_testkit_message *other = weir_testkit_send_text(kit, NULL, "ben", "else", NULL);
    expect_ok(weir_testkit_run_until_over(kit, 60000, error));
    cr_assert_eq(weir_testkit_message_state(order), WEIR_TESTKIT_ACKED);
    cr_assert_eq(weir_testkit_outputs(kit, NULL), 3);
    cr_assert_eq(weir_testkit_outputs(kit, "invoices"), 2);
    cr_assert_eq(weir_testkit_outputs(kit, "elsewhere"), 0);
    cr_assert_eq(weir_testkit_message_outputs(order), 3);
    cr_assert_eq(weir_testkit_message_outputs(other), 0);
    cr_assert(weir_testkit_output(kit, "invoices", 0, &record) && is(&record, "first"));
    cr_assert(record.key_size == 4 && memcmp(record.key, "anna", 4) == 0);
    cr_assert(weir_testkit_output(kit, "invoices", 1, &record) && is(&record, "second"));
    cr_assert_eq(weir_testkit_output(kit, "invoices", 2, &record), 0);
    cr_assert(weir_testkit_message_output(order, 2, &record) || weir_testkit_message_output(order, 1, &record));
    cr_assert_eq(weir_testkit_message_output(other, 0, &record), 0);
    weir_testkit_destroy(kit);
}

Test(testkit_outputs, into_a_topic_that_is_read_are_messages_too)
{
    struct weir_testkit *kit = make(2);
    const struct weir_testkit_record order = {.key = "anna", .key_size = 4, TEXT("order")};
    cr_assert_not_null(weir_testkit_send(kit, &order, NULL));
    expect_ok(weir_testkit_run_until_over(kit, 60000, error)); /* the line was written before the order was over */
    cr_assert_eq(runs, 2);
    const struct weir_testkit_message *line = weir_testkit_message(kit, "messages", 2, 0);
    cr_assert_eq(weir_testkit_message_state(line), WEIR_TESTKIT_ACKED);
    expect_ok(weir_testkit_finish(kit, 60000, error));
    weir_testkit_destroy(kit);
}

Test(testkit_outputs, that_are_not_written_yet_keep_their_message_from_being_over)
{
    struct weir_testkit *kit = make(3);
    const struct weir_testkit_message *order = weir_testkit_send_text(kit, NULL, "anna", "order", NULL);
    expect_ok(weir_testkit_set_fault(kit, WEIR_TESTKIT_PRODUCE_ERRORS, 1000, error));
    expect_refusal(weir_testkit_run_until_over(kit, 5000, error), WEIR_UNFINISHED, "not over");
    cr_assert_eq(runs, 1);
    cr_assert_eq(weir_testkit_message_state(order), WEIR_TESTKIT_WAITING);
    cr_assert_eq(weir_testkit_committed(kit, NULL, weir_testkit_message_partition(order)), 0);
    expect_ok(weir_testkit_set_fault(kit, WEIR_TESTKIT_PRODUCE_ERRORS, 0, error));
    expect_ok(weir_testkit_finish(kit, 60000, error));
    cr_assert_eq(weir_testkit_message_state(order), WEIR_TESTKIT_ACKED);
    cr_assert_eq(weir_testkit_message_outputs(order), 3);
    weir_testkit_destroy(kit);
}

static int trial(uint64_t seed, void *user, struct weir_error *error)
{
    struct weir_testkit *kit = make(seed);
    for (unsigned count = 0; count < 40; count++) {
        char key[8];
        snprintf(key, sizeof key, "%u", count % 7);
        weir_testkit_send_text(kit, NULL, key, "order", NULL);
    }
    int result = weir_testkit_shake(kit, 30000, 6, error);
    result = result == 0 ? weir_testkit_finish(kit, 600000, error) : result;
    if (result == 0)
        cr_assert_geq(weir_testkit_outputs(kit, "invoices"), 80, "seed %llu", (unsigned long long)seed);
    weir_testkit_destroy(kit);
    return result;
}

Test(testkit_outputs, are_there_after_everything_at_once)
{
    struct weir_error error = {0};
    cr_assert_eq(weir_testkit_seeds(weir_test_scaled(60), trial, NULL, &error), 0, "%s", error.text);
}

static int trial_exactly_once(uint64_t seed, void *user, struct weir_error *error)
{
    struct weir_testkit *kit = make_with(seed, "exactly-once");
    for (unsigned count = 0; count < 40; count++) {
        char key[8];
        snprintf(key, sizeof key, "%u", count % 7);
        weir_testkit_send_text(kit, NULL, key, "order", NULL);
    }
    int result = weir_testkit_shake(kit, 30000, 6, error);
    result = result == 0 ? weir_testkit_finish(kit, 600000, error) : result;
    if (result == 0)
        cr_assert_eq(weir_testkit_outputs(kit, "invoices"), 80, "seed %llu", (unsigned long long)seed);
    weir_testkit_destroy(kit);
    return result;
}

Test(testkit_outputs, are_there_once_after_everything_at_once_where_that_is_asked_for)
{
    struct weir_error error = {0};
    cr_assert_eq(weir_testkit_seeds(weir_test_scaled(60), trial_exactly_once, NULL, &error), 0, "%s", error.text);
}
