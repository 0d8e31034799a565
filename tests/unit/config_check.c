/*
 * What must hold between options, and what is derived.
 */
#include "actors/config/table.h"
#include "tests/support/test.h"
#include <string.h>

static struct weir_config *config;
static struct weir_error error;

/* A configuration that is right, with up to three settings on top. */
static void begin(const char *settings[][2], size_t count)
{
    static const char *const RIGHT[][2] = {
        {"weir.topics", "orders"}, {"group.id", "billing"}, {"bootstrap.servers", "localhost:9092"}};
    config = weir_config_create();
    cr_assert_not_null(config);
    for (size_t index = 0; index < 3; index++)
        cr_assert_eq(weir_config_set(config, RIGHT[index][0], RIGHT[index][1], &error), 0);
    for (size_t index = 0; index < count; index++)
        cr_assert_eq(weir_config_set(config, settings[index][0], settings[index][1], &error), 0, "%s", error.text);
}

#define BEGIN(...) begin((const char *[][2]){__VA_ARGS__}, sizeof((const char *[][2]){__VA_ARGS__}) / sizeof(char *[2]))

static void right(void)
{
    int code = weir_config_finish(config, &error);
    cr_assert_eq(code, 0, "%s", error.text);
    weir_config_destroy(config);
}

/* Refused, with a sentence that has both parts in it. */
static void wrong(const char *part, const char *other)
{
    memset(&error, 0, sizeof error);
    cr_assert_eq(weir_config_finish(config, &error), WEIR_INVALID);
    cr_assert_eq(error.code, WEIR_INVALID);
    cr_assert(strstr(error.text, part) && strstr(error.text, other), "%s", error.text);
    weir_config_destroy(config);
}

Test(config_check, topics_and_a_group_are_required)
{
    begin(NULL, 0);
    right();
    config = weir_config_create();
    wrong("weir.topics", "is not set");
    config = weir_config_create();
    cr_assert_eq(weir_config_set(config, "weir.topics", "orders", &error), 0);
    wrong("group.id", "is not set");
    BEGIN({"group.id", ""});
    wrong("group.id", "is not set");
}

Test(config_check, what_is_held_fits_the_window)
{
    BEGIN({"weir.window.messages.max", "100"}, {"weir.held.messages.max", "100"});
    right();
    BEGIN({"weir.window.messages.max", "100"}, {"weir.held.messages.max", "101"});
    wrong("weir.held.messages.max=101", "weir.window.messages.max=100");
}

Test(config_check, a_window_fits_the_memory_of_all)
{
    BEGIN({"weir.window.bytes.max", "2M"}, {"weir.memory.bytes.max", "2M"});
    right();
    BEGIN({"weir.window.bytes.max", "2M"}, {"weir.memory.bytes.max", "1M"});
    wrong("weir.window.bytes.max=2097152", "weir.memory.bytes.max=1048576");
}

Test(config_check, the_first_backoff_is_at_most_the_last)
{
    BEGIN({"weir.retry.base.ms", "500"}, {"weir.retry.max.ms", "500"});
    right();
    BEGIN({"weir.retry.base.ms", "501"}, {"weir.retry.max.ms", "500"});
    wrong("weir.retry.base.ms=501", "weir.retry.max.ms=500");
    BEGIN({"weir.overloaded.base.ms", "501"}, {"weir.overloaded.max.ms", "500"});
    wrong("weir.overloaded.base.ms=501", "weir.overloaded.max.ms=500");
}

Test(config_check, the_drain_is_at_most_half_the_poll_interval)
{
    BEGIN({"weir.revoke.drain.ms.max", "150000"});
    right();
    BEGIN({"weir.revoke.drain.ms.max", "150001"});
    wrong("weir.revoke.drain.ms.max=150001", "max.poll.interval.ms=300000");
    BEGIN({"max.poll.interval.ms", "60000"}, {"weir.revoke.drain.ms.max", "30001"});
    wrong("weir.revoke.drain.ms.max=30001", "max.poll.interval.ms=60000");
    BEGIN({"max.poll.interval.ms", "60000"}, {"weir.revoke.drain.ms.max", "30000"});
    right();
}

Test(config_check, abandoning_needs_a_deadline_and_a_dead_letter_topic)
{
    BEGIN({"weir.later.policy", "abandon"});
    wrong("weir.later.policy", "weir.later.deadline.ms");
    BEGIN({"weir.later.policy", "abandon"}, {"weir.later.deadline.ms", "5s"});
    right();
    BEGIN({"weir.later.policy", "abandon"}, {"weir.later.deadline.ms", "5s"}, {"weir.dlq.topic", ""});
    wrong("weir.later.policy", "weir.dlq.topic");
}

Test(config_check, without_a_dead_letter_topic_held_messages_wait)
{
    BEGIN({"weir.dlq.topic", ""});
    cr_assert_eq(weir_config_finish(config, &error), 0, "%s", error.text);
    cr_assert_eq(weir_config_options(config)->held_policy, WEIR_HELD_WAIT);
    cr_assert_str_eq(weir_config_get(config, "weir.held.policy"), "wait");
    weir_config_destroy(config);
    BEGIN({"weir.dlq.topic", ""}, {"weir.held.policy", "dead"});
    wrong("weir.held.policy=dead", "weir.dlq.topic");
}

Test(config_check, at_most_once_means_one_attempt)
{
    BEGIN({"weir.delivery", "at-most-once"});
    cr_assert_eq(weir_config_finish(config, &error), 0, "%s", error.text);
    cr_assert_eq(weir_config_options(config)->retry_attempts_max, 1u);
    weir_config_destroy(config);
    BEGIN({"weir.delivery", "at-most-once"}, {"weir.retry.attempts.max", "1"});
    right();
    BEGIN({"weir.delivery", "at-most-once"}, {"weir.retry.attempts.max", "3"});
    wrong("weir.retry.attempts.max=3", "at-most-once");
}

Test(config_check, exactly_once_goes_with_little_else)
{
    BEGIN({"weir.delivery", "exactly-once"});
    right();
    BEGIN({"weir.delivery", "exactly-once"}, {"isolation.level", "read_committed"});
    right();
    BEGIN({"weir.delivery", "exactly-once"}, {"isolation.level", "read_uncommitted"});
    wrong("isolation.level=read_uncommitted", "exactly-once");
    BEGIN({"weir.delivery", "exactly-once"}, {"weir.crash.journal", "/run/weir.journal"});
    wrong("weir.crash.journal=/run/weir.journal", "exactly-once");
    BEGIN({"weir.delivery", "exactly-once"}, {"weir.commit.map.bytes.max", "0"});
    wrong("weir.commit.map.bytes.max=0", "exactly-once");
    BEGIN({"weir.delivery", "exactly-once"}, {"weir.later.policy", "abandon"}, {"weir.later.deadline.ms", "5s"});
    wrong("weir.later.policy=abandon", "exactly-once");
}

Test(config_check, workers_and_held_are_derived_from_processors_and_window)
{
    BEGIN({"weir.window.messages.max", "100"});
    cr_assert_eq(weir_config_finish(config, &error), 0, "%s", error.text);
    const struct weir_options *options = weir_config_options(config);
    cr_assert(options->workers >= 1 && options->workers <= 256);
    cr_assert_str_neq(weir_config_get(config, "weir.workers"), "0");
    cr_assert_eq(options->held_messages_max, 50u);
    cr_assert_str_eq(weir_config_get(config, "weir.held.messages.max"), "50");
    right(); /* a finished one is right, too */
    BEGIN({"weir.window.messages.max", "1"}, {"weir.workers", "3"});
    cr_assert_eq(weir_config_finish(config, &error), 0, "%s", error.text);
    cr_assert_eq(weir_config_options(config)->held_messages_max, 1u);
    cr_assert_eq(weir_config_options(config)->workers, 3u);
    weir_config_destroy(config);
}

/* ---- dead letters that would be consumed again ---- */

Test(config_check, a_dead_letter_topic_that_is_subscribed_to_is_refused)
{
    BEGIN({"weir.topics", "orders,orders.dlq"});
    wrong("orders.dlq", "consumed again");
    BEGIN({"weir.topics", "orders,dead"}, {"weir.dlq.topic", "dead"});
    wrong("dead", "consumed again");
    BEGIN({"weir.topics", "orders,billing.orders"}, {"weir.dlq.topic", "{group}.{topic}"});
    wrong("billing.orders", "consumed again");
    BEGIN({"weir.topics", "orders,orders.dead"});
    right();
    BEGIN({"weir.topics", "orders,orders.dlq"}, {"weir.dlq.topic", ""});
    right();
}

Test(config_check, an_expression_that_takes_in_its_dead_letters_is_refused)
{
    static const char *const EATERS[] = {"^orders", "^orders\\..*", "^.*", "^orders.+$", "^a,^orders\\.eu"};
    for (size_t index = 0; index < sizeof EATERS / sizeof EATERS[0]; index++) {
        BEGIN({"weir.topics", EATERS[index]});
        wrong("weir.topics", "consumed again");
    }
    BEGIN({"weir.topics", "orders,^.*dlq"});
    wrong("^.*dlq", "orders.dlq");
}

Test(config_check, an_expression_that_leaves_its_dead_letters_out_is_right)
{
    static const char *const LEAVERS[] = {"^orders$", "^orders\\.eu$", "^(orders|payments)$", "^[a-z]+$"};
    for (size_t index = 0; index < sizeof LEAVERS / sizeof LEAVERS[0]; index++) {
        BEGIN({"weir.topics", LEAVERS[index]});
        right();
    }
    BEGIN({"weir.topics", "^orders"}, {"topic.blacklist", "\\.dlq$"});
    right();
    BEGIN({"weir.topics", "^orders"}, {"weir.dlq.topic", "dead.{topic}"});
    right();
}

Test(config_check, a_dead_letter_topic_too_long_for_kafka_is_refused)
{
    char topic[250];
    memset(topic, 'a', 249);
    topic[249] = '\0';
    BEGIN({"weir.topics", topic});
    wrong("weir.dlq.topic", "249");
    topic[245] = '\0'; /* and ".dlq" */
    BEGIN({"weir.topics", topic});
    right();
}

Test(config_check, a_crash_journal_needs_messages_that_come_back_and_a_place_for_dead_letters)
{
    BEGIN({"weir.crash.journal", "/run/weir.journal"});
    right();
    BEGIN({"weir.crash.journal", "/run/weir.journal"}, {"weir.delivery", "at-most-once"});
    wrong("weir.crash.journal=/run/weir.journal", "at-most-once");
    BEGIN({"weir.crash.journal", "/run/weir.journal"}, {"weir.dlq.topic", ""});
    wrong("weir.crash.journal=/run/weir.journal", "weir.dlq.topic");
    BEGIN({"weir.crash.journal", "/run/weir.journal"}, {"weir.blocking.threads", "257"});
    wrong("weir.blocking.threads=257", "weir.crash.journal");
    BEGIN({"weir.blocking.threads", "257"});
    right();
    BEGIN({"weir.delivery", "at-most-once"}, {"weir.handler.deadline.ms", "1000"});
    right();
}

/* The same, where the handler takes batches. */
static void wrong_for_batches(const char *part, const char *other)
{
    memset(&error, 0, sizeof error);
    cr_assert_eq(weir_config_finish(config, &error), 0, "%s", error.text);
    cr_assert_eq(weir_config_finish_batches(config, &error), WEIR_INVALID);
    cr_assert(strstr(error.text, part) && strstr(error.text, other), "%s", error.text);
    weir_config_destroy(config);
}

static void right_for_batches(uint64_t messages_max)
{
    cr_assert_eq(weir_config_finish(config, &error), 0, "%s", error.text);
    cr_assert_eq(weir_config_finish_batches(config, &error), 0, "%s", error.text);
    cr_assert_eq(weir_config_options(config)->batch_messages_max, messages_max);
    weir_config_destroy(config);
}

Test(config_check, batches_have_messages_that_can_be_together)
{
    begin(NULL, 0);
    right_for_batches(500);
    BEGIN({"weir.batch.scope", "key"}, {"weir.ordering", "none"});
    wrong_for_batches("weir.batch.scope=key", "weir.ordering=none");
    BEGIN({"weir.batch.scope", "any"}, {"weir.ordering", "none"});
    right_for_batches(500);
    BEGIN({"weir.batch.messages.max", "101"}, {"weir.window.messages.max", "100"});
    wrong_for_batches("weir.batch.messages.max=101", "weir.window.messages.max=100");
    BEGIN({"weir.batch.messages.max", "101"}, {"weir.window.messages.max", "100"}, {"weir.batch.scope", "any"});
    right_for_batches(101);
    BEGIN({"weir.window.messages.max", "100"}); /* the default gives way */
    right_for_batches(100);
}

Test(config_check, batches_have_no_crash_journal)
{
    BEGIN({"weir.crash.journal", "/tmp/journal"});
    wrong_for_batches("weir.crash.journal=/tmp/journal", "leave it out");
}

Test(config_check, batches_are_not_filtered)
{
    BEGIN({"weir.filter.ttl.ms", "1000"});
    wrong_for_batches("weir.filter.ttl.ms", "leave it out");
    BEGIN({"weir.topic.orders.rate.messages.per.second", "5"}, {"weir.topics", "orders"});
    wrong_for_batches("weir.rate.messages.per.second", "leave it out");
}

Test(config_check, filters_of_keys_need_keys_and_versions_a_header)
{
    static const char *const cases[][5] = {
        {"weir.filter.version", "header", NULL, NULL, "weir.filter.version.header, which is empty"},
        {"weir.filter.version", "timestamp", "weir.ordering", "none", "weir.filter.version: with weir.ordering=none"},
        {"weir.rate.key.messages.per.second", "5", "weir.ordering", "none", "weir.rate.key.messages.per.second: with"},
        {"weir.breaker.open.ms", "2m", NULL, NULL, "weir.breaker.open.ms.max=60000"},
    };
    for (size_t index = 0; index < sizeof cases / sizeof *cases; index++) {
        struct weir_error reason = {0};
        struct weir_config *bad = weir_config_create();
        cr_assert_not_null(bad);
        cr_assert_eq(weir_config_set(bad, "weir.topics", "orders", NULL), 0);
        cr_assert_eq(weir_config_set(bad, "group.id", "g", NULL), 0);
        cr_assert_eq(weir_config_set(bad, cases[index][0], cases[index][1], NULL), 0);
        if (cases[index][2])
            cr_assert_eq(weir_config_set(bad, cases[index][2], cases[index][3], NULL), 0);
        cr_assert_eq(weir_config_finish(bad, &reason), WEIR_INVALID, "case %zu", index);
        cr_assert_not_null(strstr(reason.text, cases[index][4]), "%s", reason.text);
        weir_config_destroy(bad);
    }
}

Test(config_check, a_rule_of_a_header_has_a_name_and_a_sign)
{
    struct weir_error reason = {0};
    struct weir_config *bad = weir_config_create();
    cr_assert_not_null(bad);
    static const char *const wrong[] = {"type", "=order", "!=order"}, *const right[] = {"a=b", "a!=", "a==", ""};
    for (size_t index = 0; index < 3; index++) {
        cr_assert_eq(weir_config_set(bad, "weir.filter.header", wrong[index], &reason), WEIR_INVALID);
        cr_assert_not_null(strstr(reason.text, "must be NAME=VALUE or NAME!=VALUE"), "%s", reason.text);
    }
    for (size_t index = 0; index < 4; index++)
        cr_assert_eq(weir_config_set(bad, "weir.filter.header", right[index], &reason), 0, "%s", right[index]);
    weir_config_destroy(bad);
}
