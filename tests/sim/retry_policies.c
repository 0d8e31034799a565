/*
 * Retry policies of topics and of classes of failures, as a handler sees them: how often it is asked, and when.
 */
#include "tests/sim/testkit.h"
#include <stdbool.h>

static struct weir_testkit *kit;
static const char *class;
static bool by_handle;

static void answer(void *argument)
{
    struct weir_later *later = argument;
    weir_later_retry_class(*later, class, "no");
    free(later);
}

static enum weir_outcome fail(struct weir_message *message, void *user)
{
    (void)user;
    if (!by_handle)
        return weir_retry_class(message, class, "no");
    struct weir_later *later = malloc(sizeof *later);
    cr_assert_not_null(later);
    *later = weir_message_later(message);
    expect_ok(weir_testkit_after(kit, 1, answer, later, error));
    return WEIR_LATER;
}

/* Runs of one message of this topic until it is dead. */
static size_t count_runs(const char *topic, const char *failure)
{
    class = failure;
    const struct weir_testkit_message *message = weir_testkit_send_text(kit, topic, "k", "v", NULL);
    cr_assert_not_null(message);
    expect_ok(weir_testkit_run_until_over(kit, 600000, error));
    cr_assert_not_null(weir_testkit_message_cause(message));
    return weir_testkit_message_runs(message);
}

static void set_up(void)
{
    static const char *const options[] = {"weir.topics",
                                          "a,b",
                                          "weir.retry.attempts.max",
                                          "4",
                                          "weir.topic.b.retry.attempts.max",
                                          "2",
                                          "weir.class.brief.retry.attempts.max",
                                          "3",
                                          "weir.class.long.retry.attempts.max",
                                          "0",
                                          "weir.class.long.retry.deadline.ms",
                                          "60000",
                                          "weir.class.long.retry.base.ms",
                                          "1000",
                                          "weir.class.long.retry.factor",
                                          "1.0",
                                          NULL};
    struct weir_config *config = weir_config_create();
    for (const char *const *option = options; *option; option += 2)
        expect_ok(weir_config_set(config, option[0], option[1], error));
    kit = weir_testkit_create(config, fail, NULL, 3, NULL);
    cr_assert_not_null(kit);
    weir_config_destroy(config);
}

static void check_counts(void)
{
    set_up();
    cr_assert_eq(count_runs("a", "unknown"), 4);
    cr_assert_eq(count_runs("b", "unknown"), 2);
    cr_assert_eq(count_runs("b", NULL), 2);
    cr_assert_eq(count_runs("a", "brief"), 3);
    cr_assert_eq(count_runs("b", "brief"), 3, "a class is closer than a topic");
    cr_assert_gt(count_runs("b", "long"), 60u, "half a second a run, for a minute");
    weir_testkit_destroy(kit);
}

Test(retry_policies, are_those_of_the_class_of_the_topic_or_of_all)
{
    by_handle = false;
    check_counts();
}

Test(retry_policies, hold_for_what_is_answered_later)
{
    by_handle = true;
    check_counts();
}
