/*
 * WEIR_ESCALATE: a handler stops its partition or the whole consumer. Nothing is lost, burnt or finished by it, and
 * what it stops says so.
 */
#include "tests/sim/testkit.h"
#include <stdbool.h>
#include <stdio.h>
#include <weir/log.h>

static struct weir_testkit *kit;
static struct {
    bool stop, by_handle, bare; /* "stop" messages escalate, in this way */
    enum weir_escalation what;
    unsigned runs;
} rule;

static void answer(void *argument)
{
    struct weir_later *later = argument;
    cr_assert_eq(weir_later_escalate(*later, rule.what, "the ledger is closed"), 0);
    free(later);
}

static enum weir_outcome handle(struct weir_message *message, void *user)
{
    (void)user;
    rule.runs++;
    bool stops = weir_message_value_size(message) == 4 && memcmp(weir_message_value(message), "stop", 4) == 0;
    if (!stops || !rule.stop)
        return WEIR_ACK;
    cr_assert_eq(weir_message_attempt(message), 1, "no attempt is burnt");
    if (rule.bare)
        return WEIR_ESCALATE;
    if (!rule.by_handle)
        return weir_escalate(message, rule.what, "the ledger is closed");
    struct weir_later *later = malloc(sizeof *later);
    cr_assert_not_null(later);
    *later = weir_message_later(message);
    expect_ok(weir_testkit_after(kit, 20, answer, later, error));
    return WEIR_LATER;
}

static char logged[2048];

static void keep(void *user, enum weir_log_level level, const char *text, const struct weir_log_field *fields,
                 size_t field_count)
{
    (void)user, (void)level, (void)fields, (void)field_count;
    snprintf(logged + strlen(logged), sizeof logged - strlen(logged), "%s\n", text);
}

static void set_up(enum weir_escalation what, const char *ordering)
{
    struct weir_config *config = weir_config_create();
    expect_ok(weir_config_set(config, "weir.null.keys", ordering, error));
    memset(&rule, 0, sizeof rule);
    rule.stop = true;
    rule.what = what;
    logged[0] = '\0';
    kit = weir_testkit_create(config, handle, NULL, 5, NULL);
    cr_assert_not_null(kit);
    weir_config_destroy(config);
    weir_log_set(keep, NULL, WEIR_LOG_ERROR);
    expect_ok(weir_testkit_run_ms(kit, 5000, error));
}

static const struct weir_testkit_message *send(int32_t partition, const char *key, const char *value)
{
    struct weir_testkit_record record = {
        .partition = partition, .key = key, .key_size = strlen(key), .value = value, .value_size = strlen(value)};
    const struct weir_testkit_message *message = weir_testkit_send(kit, &record, NULL);
    cr_assert_not_null(message);
    return message;
}

static void wait_ms(int64_t ms)
{
    expect_ok(weir_testkit_run_ms(kit, ms, error));
}

static struct weir_partition_stats partition(int32_t number)
{
    static struct weir_partition_stats all[8];
    size_t count = weir_consumer_partition_stats(weir_testkit_consumer(kit), all, sizeof all[0], 8);
    for (size_t index = 0; index < count && index < 8; index++) {
        if (all[index].partition == number)
            return all[index];
    }
    cr_assert(count == 0 && count > 0, "no such partition");
    return all[0];
}

static void stop_and_resume(void)
{
    const struct weir_testkit_message *before = send(0, "b", "1");
    wait_ms(100);
    const struct weir_testkit_message *stop = send(0, "a", "stop");
    wait_ms(100);
    const struct weir_testkit_message *behind = send(0, "a", "1"), *beside = send(0, "c", "1");
    const struct weir_testkit_message *elsewhere = send(1, "a", "1");
    wait_ms(60000);
    cr_assert_eq(weir_testkit_message_state(before), WEIR_TESTKIT_ACKED);
    cr_assert_eq(weir_testkit_message_state(stop), WEIR_TESTKIT_WAITING);
    cr_assert_eq(weir_testkit_message_runs(stop), 1);
    cr_assert_eq(weir_testkit_message_runs(behind), 0);
    cr_assert_eq(weir_testkit_message_runs(beside), 0, "the whole partition stops");
    cr_assert_eq(weir_testkit_message_state(elsewhere), WEIR_TESTKIT_ACKED);
    cr_assert(partition(0).pause & WEIR_PAUSE_ESCALATED);
    cr_assert_not(partition(1).pause & WEIR_PAUSE_ESCALATED);
    cr_assert_eq(partition(0).counters.escalations, 1);
    cr_assert_eq(weir_testkit_committed(kit, "messages", 0), 1);
    cr_assert_not_null(strstr(logged, "messages/0, offset 1: its handler stops the partition: "), "%s", logged);
    rule.stop = false;
    cr_assert_eq(weir_consumer_resume(weir_testkit_consumer(kit), "messages", 0), 0);
    wait_ms(100);
    cr_assert_eq(weir_testkit_message_state(beside), WEIR_TESTKIT_ACKED);
    cr_assert_eq(weir_testkit_message_state(behind), WEIR_TESTKIT_ACKED);
    cr_assert_eq(partition(0).pause, 0u);
    expect_ok(weir_testkit_finish(kit, 60000, error));
    weir_testkit_destroy(kit);
}

Test(escalation, stops_the_partition_in_place_until_it_is_resumed)
{
    set_up(WEIR_STOP_PARTITION, "spread");
    stop_and_resume();
    cr_assert_not_null(strstr(logged, "the ledger is closed; weir_consumer_resume()"), "%s", logged);
}

Test(escalation, of_a_bare_outcome_stops_the_partition)
{
    set_up(WEIR_STOP_CONSUMER, "spread");
    rule.bare = true;
    stop_and_resume();
    cr_assert_not_null(strstr(logged, "it gave no reason"), "%s", logged);
}

Test(escalation, may_be_answered_later)
{
    set_up(WEIR_STOP_PARTITION, "lane");
    rule.by_handle = true;
    stop_and_resume();
}

Test(escalation, ends_with_the_epoch)
{
    set_up(WEIR_STOP_PARTITION, "spread");
    const struct weir_testkit_message *stop = send(0, "a", "stop");
    wait_ms(5000);
    rule.stop = false;
    expect_ok(weir_testkit_fence(kit, error));
    wait_ms(60000);
    cr_assert_eq(weir_testkit_message_state(stop), WEIR_TESTKIT_ACKED);
    expect_ok(weir_testkit_finish(kit, 60000, error));
    weir_testkit_destroy(kit);
}

Test(escalation, does_not_hold_up_a_close)
{
    set_up(WEIR_STOP_PARTITION, "spread");
    send(0, "b", "1");
    wait_ms(1000);
    const struct weir_testkit_message *stop = send(0, "a", "stop");
    wait_ms(1000);
    int64_t began_ms = weir_testkit_now_ms(kit);
    expect_refusal(weir_testkit_stop(kit, error), WEIR_UNFINISHED, "1 messages were not finished");
    cr_assert_lt(weir_testkit_now_ms(kit) - began_ms, 10000, "the drain is 30 s");
    cr_assert_eq(weir_testkit_message_state(stop), WEIR_TESTKIT_WAITING);
    rule.stop = false;
    expect_ok(weir_testkit_finish(kit, 60000, error));
    weir_testkit_destroy(kit);
}

Test(escalation, of_the_consumer_closes_it_with_the_reason_and_commits_what_was_finished)
{
    set_up(WEIR_STOP_CONSUMER, "spread");
    const struct weir_testkit_message *done[3] = {send(1, "a", "1"), send(1, "b", "1"), send(0, "b", "1")};
    wait_ms(20);
    const struct weir_testkit_message *stop = send(0, "a", "stop");
    wait_ms(20); /* before the next commit */
    const struct weir_testkit_message *after = send(2, "x", "1");
    wait_ms(20000);
    for (size_t index = 0; index < 3; index++)
        cr_assert_eq(weir_testkit_message_state(done[index]), WEIR_TESTKIT_ACKED);
    cr_assert_eq(weir_testkit_message_runs(after), 0, "nothing starts any more");
    expect_refusal(weir_testkit_stop(kit, error), WEIR_ESCALATED,
                   "messages/0, offset 1: its handler stops the consumer: the ledger is closed");
    cr_assert_eq(weir_testkit_committed(kit, "messages", 1), 2);
    cr_assert_eq(weir_testkit_committed(kit, "messages", 0), 1);
    rule.stop = false;
    expect_ok(weir_testkit_finish(kit, 60000, error));
    cr_assert_eq(weir_testkit_message_state(stop), WEIR_TESTKIT_ACKED);
    weir_testkit_destroy(kit);
}
