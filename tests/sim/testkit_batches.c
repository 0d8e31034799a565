/*
 * The test kit on handlers of batches: each message has its runs and its outcome, and the kit's questions hold.
 */
#include "tests/sim/testkit.h"
#include <stdbool.h>

static unsigned batches, largest;

/* "bad" is dead, "again" fails at first, all else is as the batch. */
static enum weir_outcome insert(struct weir_batch *batch, void *user)
{
    size_t count = weir_batch_count(batch);
    (void)user;
    batches++;
    largest = count > largest ? (unsigned)count : largest;
    for (size_t index = 0; index < count; index++) {
        struct weir_message *message = weir_batch_message(batch, index);
        const char *value = weir_message_value(message);
        size_t size = weir_message_value_size(message);
        if (size == 3 && memcmp(value, "bad", 3) == 0)
            weir_batch_set(batch, index, weir_dead(message, "no row"));
        else if (size == 5 && memcmp(value, "again", 5) == 0 && weir_message_attempt(message) == 1)
            weir_batch_set(batch, index, weir_retry_after(message, 1000, "locked"));
    }
    return WEIR_ACK;
}

static struct weir_testkit *make(uint64_t seed, struct weir_error *error)
{
    struct weir_config *config = weir_config_create();
    cr_assert_not_null(config);
    cr_assert_eq(weir_config_set(config, "weir.batch.linger.ms", "100", error), 0);
    struct weir_testkit *kit = weir_testkit_create_batch(config, insert, NULL, seed, error);
    weir_config_destroy(config);
    batches = largest = 0;
    return kit;
}

Test(testkit_batches, show_what_became_of_each_message)
{
    struct weir_error fault = {0};
    struct weir_testkit *kit = make(1, &fault);
    cr_assert_not_null(kit, "%s", fault.text);
    const struct weir_testkit_message *fine = weir_testkit_send_text(kit, NULL, "anna", "fine", NULL);
    const struct weir_testkit_message *again = weir_testkit_send_text(kit, NULL, "anna", "again", NULL);
    const struct weir_testkit_message *bad = weir_testkit_send_text(kit, NULL, "anna", "bad", NULL);
    const struct weir_testkit_message *last = weir_testkit_send_text(kit, NULL, "anna", "fine", NULL);
    expect_ok(weir_testkit_run_until_over(kit, 60000, error));
    cr_assert_eq(weir_testkit_message_state(fine), WEIR_TESTKIT_ACKED);
    cr_assert_eq(weir_testkit_message_state(again), WEIR_TESTKIT_ACKED);
    cr_assert_eq(weir_testkit_message_state(bad), WEIR_TESTKIT_DEAD);
    cr_assert_eq(weir_testkit_message_state(last), WEIR_TESTKIT_ACKED);
    cr_assert_eq(weir_testkit_message_runs(again), 2);
    cr_assert_eq(weir_testkit_message_runs(last), 1);
    cr_assert_str_eq(weir_testkit_message_reason(bad), "no row");
    cr_assert_eq(largest, 4);
    struct weir_testkit_run first = weir_scene_run(again, 0), second = weir_scene_run(again, 1);
    cr_assert_eq(second.begin_ms, first.begin_ms + 1000 + 100); /* its delay, and the linger of its batch */
    expect_ok(weir_testkit_finish(kit, 60000, error));
    weir_testkit_destroy(kit);
    cr_assert_null(weir_testkit_create_batch(NULL, NULL, NULL, 1, &fault));
    cr_assert_not_null(strstr(fault.text, "handler is NULL"));
}

static int trial(uint64_t seed, void *user, struct weir_error *error)
{
    static const char *const values[] = {"fine", "again", "bad"};
    struct weir_testkit *kit = make(seed, error);
    (void)user;
    if (!kit)
        return 1;
    for (unsigned count = 0; count < 60; count++) {
        char key[2] = {(char)('a' + count % 5), '\0'};
        weir_testkit_send_text(kit, NULL, key, values[count * 7 % 3], error);
    }
    int failed = weir_testkit_shake(kit, 20000, 4, error) || weir_testkit_run_ms(kit, 20000, error) ||
                 weir_testkit_finish(kit, 600000, error);
    weir_testkit_destroy(kit);
    return failed;
}

Test(testkit_batches, stand_up_to_many_seeds)
{
    cr_assert_eq(weir_testkit_seeds(weir_test_scaled(40), trial, NULL, NULL), 0);
}
