/*
 * Filters and rates as a handler and its user see them: what is not handled and how it is counted, what waits and for
 * how long, that only its key waits, and that order and promises hold.
 */
#include "tests/sim/testkit.h"
#include <stdbool.h>
#include <stdio.h>
#include <weir/filter.h>
#include <weir/log.h>

static struct weir_testkit *kit;
static struct {
    char order[4096]; /* values as they were handled, "1 2 " */
    unsigned runs;
    bool fail_once;
} handled;

static enum weir_outcome handle(struct weir_message *message, void *user)
{
    (void)user;
    handled.runs++;
    if (handled.fail_once && weir_message_attempt(message) == 1)
        return WEIR_RETRY;
    snprintf(handled.order + strlen(handled.order), sizeof handled.order - strlen(handled.order), "%.*s ",
             (int)weir_message_value_size(message), (const char *)weir_message_value(message));
    return WEIR_ACK;
}

static int not_odd(struct weir_message *message, void *user)
{
    unsigned *calls = user;
    ++*calls;
    return ((const char *)weir_message_value(message))[0] % 2 == 0;
}

static unsigned predicate_calls;

static int prepare(struct weir_consumer *consumer, void *user, struct weir_error *outer)
{
    (void)user;
    expect_refusal(weir_consumer_filter(consumer, NULL, NULL, error), WEIR_INVALID, "function is NULL");
    int result = weir_consumer_filter(consumer, not_odd, &predicate_calls, outer);
    expect_refusal(weir_consumer_filter(consumer, not_odd, NULL, error), WEIR_STATE, "once");
    return result;
}

static void set_up_prepared(const char *const *options, weir_testkit_prepare *function)
{
    struct weir_config *config = weir_config_create();
    for (; options && options[0]; options += 2)
        expect_ok(weir_config_set(config, options[0], options[1], error));
    memset(&handled, 0, sizeof handled);
    predicate_calls = 0;
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    kit = weir_testkit_create_prepared(config, handle, NULL, function, 13, NULL);
    cr_assert_not_null(kit);
    weir_config_destroy(config);
    expect_ok(weir_testkit_run_ms(kit, 5000, error));
}

static void set_up(const char *const *options)
{
    set_up_prepared(options, NULL);
}

static const struct weir_testkit_message *put(const char *topic, const char *key, const char *value, const char *header,
                                              const char *header_value, int64_t timestamp_ms)
{
    struct weir_testkit_header one = {header, header_value, header_value ? strlen(header_value) : 0};
    struct weir_testkit_record record = {.topic = topic,
                                         .key = key,
                                         .key_size = key ? strlen(key) : 0,
                                         .value = value,
                                         .value_size = strlen(value),
                                         .timestamp_ms = timestamp_ms,
                                         .headers = &one,
                                         .header_count = header ? 1 : 0};
    const struct weir_testkit_message *message = weir_testkit_send(kit, &record, NULL);
    cr_assert_not_null(message);
    return message;
}

static const struct weir_testkit_message *send(const char *key, const char *value)
{
    return put(NULL, key, value, NULL, NULL, 0);
}

static void wait_ms(int64_t ms)
{
    expect_ok(weir_testkit_run_ms(kit, ms, error));
}

static struct weir_stats stats(void)
{
    struct weir_stats stats;
    weir_consumer_stats(weir_testkit_consumer(kit), &stats, sizeof stats);
    return stats;
}

/* The wall clock of the kit: that of a message sent now. */
static int64_t wall_ms(void)
{
    struct weir_testkit_record record;
    const struct weir_testkit_message *message = put(NULL, "clock", "0", NULL, NULL, 0);
    int64_t now_ms = 0;
    for (int64_t offset = 0; weir_testkit_read(kit, "messages", 0, offset, &record); offset++)
        now_ms = record.timestamp_ms;
    cr_assert_not_null(message);
    cr_assert_gt(now_ms, 0);
    return now_ms;
}

static void end(void)
{
    expect_ok(weir_testkit_finish(kit, 3600000, error));
    weir_testkit_destroy(kit);
}

/* ---- predicate and header ---- */

Test(filters, ask_the_predicate_before_the_handler_and_count_apart)
{
    set_up_prepared(NULL, prepare);
    for (unsigned number = 0; number < 8; number++) {
        char value[2] = {(char)('0' + number)};
        send("k", value);
    }
    wait_ms(1000);
    cr_assert_str_eq(handled.order, "0 2 4 6 ");
    cr_assert_eq(predicate_calls, 8);
    cr_assert_eq(stats().counters.acked, 4);
    cr_assert_eq(stats().counters.filtered, 4);
    cr_assert_eq(stats().counters.skipped, 0);
    wait_ms(2000);
    cr_assert_eq(weir_testkit_committed(kit, "messages", 0), 8, "what was filtered is committed");
    end();
}

static void check_headers(const char *rule, const char *order)
{
    const char *const options[] = {"weir.filter.header", rule, NULL};
    set_up(options);
    put(NULL, "k", "1", "type", "order", 0);
    put(NULL, "k", "2", "type", "invoice", 0);
    put(NULL, "k", "3", "type", "", 0);
    put(NULL, "k", "4", "kind", "order", 0);
    put(NULL, "k", "5", NULL, NULL, 0);
    wait_ms(1000);
    cr_assert_str_eq(handled.order, order, "%s: %s", rule, handled.order);
    cr_assert_eq(stats().counters.acked + stats().counters.filtered, 5);
    end();
}

Test(filters, let_pass_by_a_header_that_has_or_has_not_a_value)
{
    check_headers("type=order", "1 ");
    check_headers("type!=order", "2 3 4 5 ");
    check_headers("type=", "3 ");
}

/* ---- time ---- */

Test(filters, skip_what_has_expired)
{
    static const char *const options[] = {"weir.filter.ttl.ms", "10000", NULL};
    set_up(options);
    int64_t now_ms = wall_ms();
    put(NULL, "k", "1", NULL, NULL, now_ms - 10001);
    put(NULL, "k", "2", NULL, NULL, now_ms - 9000);
    put(NULL, "k", "3", NULL, NULL, now_ms + 50000);
    wait_ms(500);
    cr_assert_str_eq(handled.order, "0 2 3 ");
    cr_assert_eq(stats().counters.expired, 1);
    cr_assert_eq(stats().counters.filtered, 1);
    end();
}

Test(filters, dead_letter_what_has_expired_where_that_is_asked_for_by_topic)
{
    static const char *const options[] = {"weir.topics",
                                          "messages,other",
                                          "weir.topic.other.filter.ttl.ms",
                                          "1000",
                                          "weir.topic.other.filter.expired",
                                          "dead",
                                          NULL};
    set_up(options);
    int64_t now_ms = wall_ms();
    const struct weir_testkit_message *fine = put("messages", "k", "1", NULL, NULL, now_ms - 5000);
    const struct weir_testkit_message *old = put("other", "k", "2", NULL, NULL, now_ms - 5000);
    wait_ms(1000);
    cr_assert_eq(weir_testkit_message_state(fine), WEIR_TESTKIT_ACKED);
    cr_assert_eq(weir_testkit_message_state(old), WEIR_TESTKIT_DEAD);
    cr_assert_str_eq(weir_testkit_message_cause(old), "expired");
    cr_assert_not_null(strstr(weir_testkit_message_reason(old), "(weir.filter.ttl.ms=1000)"), "%s",
                       weir_testkit_message_reason(old));
    cr_assert_eq(weir_testkit_message_runs(old), 0);
    cr_assert_eq(stats().counters.expired, 1);
    cr_assert_eq(stats().counters.filtered, 0);
    cr_assert_eq(stats().counters.dead_lettered, 1);
    end();
}

Test(filters, look_at_the_time_again_before_each_attempt)
{
    static const char *const options[] = {
        "weir.filter.ttl.ms", "10000", "weir.retry.base.ms", "60000", "weir.retry.max.ms", "60000", NULL};
    set_up(options);
    handled.fail_once = true;
    const struct weir_testkit_message *message = send("k", "1");
    wait_ms(120000);
    cr_assert_eq(weir_testkit_message_runs(message), 1);
    cr_assert_eq(stats().counters.expired, 1);
    end();
}

Test(filters, let_a_message_wait_for_its_time_and_only_its_key)
{
    static const char *const options[] = {"weir.filter.not.before.header", "not-before", "weir.held.messages.max", "1",
                                          NULL};
    set_up(options);
    char begins[24];
    snprintf(begins, sizeof begins, "%lld", (long long)wall_ms() + 30000);
    int64_t sent_ms = weir_testkit_now_ms(kit);
    const struct weir_testkit_message *delayed = put(NULL, "a", "1", "not-before", begins, 0);
    const struct weir_testkit_message *behind = send("a", "2"), *beside = send("b", "3");
    put(NULL, "c", "4", "not-before", "soon", 0);
    put(NULL, "c", "5", "not-before", "-5", 0);
    wait_ms(1000);
    cr_assert_str_eq(handled.order, "0 3 4 5 ", "%s", handled.order);
    cr_assert_eq(weir_testkit_message_state(beside), WEIR_TESTKIT_ACKED);
    wait_ms(28500);
    cr_assert_eq(weir_testkit_message_runs(delayed), 0);
    wait_ms(1500);
    cr_assert_str_eq(handled.order, "0 3 4 5 1 2 ", "%s", handled.order);
    struct weir_testkit_run run = weir_scene_run(delayed, 0);
    cr_assert_geq(run.begin_ms - sent_ms, 29990);
    cr_assert_leq(run.begin_ms - sent_ms, 30100);
    cr_assert_eq(run.attempt, 1);
    cr_assert_eq(weir_testkit_message_runs(behind), 1);
    cr_assert_eq(weir_testkit_letters(kit), 0, "what waits is not held: the policy `dead` does not take it");
    end();
}

Test(filters, that_let_a_message_wait_do_not_hold_up_a_close)
{
    static const char *const options[] = {"weir.filter.not.before.header", "not-before", NULL};
    set_up(options);
    char begins[24];
    snprintf(begins, sizeof begins, "%lld", (long long)wall_ms() + 600000);
    const struct weir_testkit_message *delayed = put(NULL, "a", "1", "not-before", begins, 0);
    wait_ms(1000);
    int64_t began_ms = weir_testkit_now_ms(kit);
    expect_refusal(weir_testkit_stop(kit, error), WEIR_UNFINISHED, "1 messages");
    cr_assert_lt(weir_testkit_now_ms(kit) - began_ms, 10000);
    end();
    (void)delayed;
}

/* ---- versions ---- */

static void check_versions(const char *stale)
{
    const char *const options[] = {
        "weir.filter.version", "header", "weir.filter.version.header", "version", "weir.filter.stale", stale, NULL};
    set_up(options);
    put(NULL, "a", "1", "version", "5", 0);
    put(NULL, "a", "2", "version", "4", 0);
    put(NULL, "b", "3", "version", "4", 0);
    put(NULL, "a", "4", "version", "5", 0);
    put(NULL, "a", "5", NULL, NULL, 0);
    put(NULL, "a", "6", "version", "100", 0);
    put(NULL, "a", "7", "version", "99", 0);
    put(NULL, "a", "8", "version", "x", 0);
    wait_ms(1000);
    cr_assert_eq(stats().counters.stale, 2);
    cr_assert_eq(stats().counters.acked, 6);
}

Test(filters, skip_what_is_older_than_what_its_key_has_had)
{
    check_versions("skip");
    cr_assert_eq(stats().counters.filtered, 2);
    cr_assert_null(strstr(handled.order, "2 "), "%s", handled.order);
    cr_assert_null(strstr(handled.order, "7 "));
    cr_assert_eq(stats().key_states, 2, "what is remembered of two keys");
    cr_assert_eq(stats().counters.key_states_created, 0, "without states of the user's");
    end();
}

Test(filters, dead_letter_what_is_stale_where_that_is_asked_for)
{
    check_versions("dead");
    cr_assert_eq(weir_testkit_letters(kit), 2);
    end();
}

Test(filters, take_the_timestamp_for_the_version_and_forget_with_the_key)
{
    static const char *const options[] = {"weir.filter.version", "timestamp", "weir.key.state.keys.max", "1", NULL};
    set_up(options);
    int64_t now_ms = wall_ms();
    wait_ms(200);
    put(NULL, "a", "1", NULL, NULL, now_ms);
    wait_ms(200);
    put(NULL, "a", "2", NULL, NULL, now_ms - 1);
    wait_ms(200);
    cr_assert_str_eq(handled.order, "0 1 ");
    put(NULL, "b", "3", NULL, NULL, now_ms); /* there is room for one */
    wait_ms(200);
    put(NULL, "a", "4", NULL, NULL, now_ms - 1);
    wait_ms(200);
    cr_assert_str_eq(handled.order, "0 1 3 4 ", "a is not remembered any more");
    end();
}

Test(filters, do_not_take_a_retry_for_stale)
{
    static const char *const options[] = {"weir.filter.version", "timestamp", NULL};
    set_up(options);
    handled.fail_once = true;
    const struct weir_testkit_message *message = send("k", "1");
    wait_ms(60000);
    cr_assert_eq(weir_testkit_message_runs(message), 2);
    cr_assert_eq(stats().counters.stale, 0);
    end();
}

/* ---- rates ---- */

static void send_many(const char *topic, unsigned count, unsigned keys)
{
    for (unsigned number = 0; number < count; number++) {
        char key[16];
        snprintf(key, sizeof key, "key-%u", number % keys);
        put(topic, key, "v", NULL, NULL, 0);
    }
}

static uint64_t acked_within(int64_t ms)
{
    uint64_t before = stats().counters.acked;
    wait_ms(ms);
    return stats().counters.acked - before;
}

Test(filters, keep_the_rate_of_all_and_start_no_more_whatever_the_number_of_keys)
{
    static const char *const options[] = {"weir.rate.messages.per.second", "50", "weir.topics", "messages,other", NULL};
    set_up(options);
    send_many("messages", 1500, 300);
    send_many("other", 1500, 300);
    wait_ms(2000);
    uint64_t count = acked_within(20000);
    cr_assert_geq(count, 990, "%llu", (unsigned long long)count);
    cr_assert_leq(count, 1010, "%llu", (unsigned long long)count);
    cr_assert_gt(stats().counters.delayed, 100);
    cr_assert_eq(stats().counters.retries, 0);
    end();
    cr_assert_eq(handled.runs, 3000);
}

Test(filters, keep_the_rate_of_a_topic_beside_that_of_all)
{
    static const char *const options[] = {"weir.topics", "messages,other", "weir.topic.other.rate.messages.per.second",
                                          "10", NULL};
    set_up(options);
    send_many("messages", 500, 50);
    send_many("other", 500, 50);
    wait_ms(1000);
    cr_assert_geq(stats().counters.acked, 500, "the other topic is not limited");
    uint64_t count = acked_within(20000);
    cr_assert_geq(count, 195);
    cr_assert_leq(count, 205, "%llu", (unsigned long long)count);
    end();
}

Test(filters, keep_the_rate_of_each_key)
{
    static const char *const options[] = {"weir.rate.key.messages.per.second", "2", "weir.rate.burst.ms", "0", NULL};
    set_up(options);
    send_many(NULL, 300, 10);
    wait_ms(500);
    uint64_t count = acked_within(10000);
    cr_assert_geq(count, 190);
    cr_assert_leq(count, 210, "%llu: two a second of each of ten keys", (unsigned long long)count);
    end();
}

Test(filters, pause_for_a_rate_when_the_window_is_full_of_what_waits)
{
    static const char *const options[] = {
        "weir.rate.messages.per.second", "1", "weir.window.messages.max", "20", "weir.retry.attempts.max", "1", NULL};
    set_up(options);
    send_many(NULL, 100, 100);
    wait_ms(5000);
    cr_assert(stats().pause & WEIR_PAUSE_RATE);
    cr_assert_eq(stats().in_flight, 20);
    cr_assert_eq(stats().held, 0);
    cr_assert_eq(weir_testkit_letters(kit), 0);
    end();
}

Test(filters, give_each_retry_a_place_of_its_own)
{
    static const char *const options[] = {"weir.rate.messages.per.second",
                                          "10",
                                          "weir.rate.burst.ms",
                                          "0",
                                          "weir.retry.base.ms",
                                          "1",
                                          "weir.retry.max.ms",
                                          "1",
                                          NULL};
    set_up(options);
    handled.fail_once = true;
    send_many(NULL, 100, 100);
    wait_ms(10000);
    cr_assert_leq(handled.runs, 101u);
    wait_ms(11000);
    cr_assert_eq(handled.runs, 200u);
    end();
}

/* ---- under seeds ---- */

static int trial(uint64_t seed, void *user, struct weir_error *outer)
{
    (void)user;
    static const char *const options[] = {"weir.rate.messages.per.second",
                                          "200",
                                          "weir.rate.key.messages.per.second",
                                          "50",
                                          "weir.filter.header",
                                          "type!=noise",
                                          "weir.filter.version",
                                          "header",
                                          "weir.filter.version.header",
                                          "version",
                                          "weir.filter.not.before.header",
                                          "not-before",
                                          "weir.key.state.keys.max",
                                          "5",
                                          NULL};
    struct weir_config *config = weir_config_create();
    for (const char *const *option = options; *option; option += 2)
        expect_ok(weir_config_set(config, option[0], option[1], error));
    memset(&handled, 0, sizeof handled);
    kit = weir_testkit_create(config, handle, NULL, seed, outer);
    weir_config_destroy(config);
    cr_assert_not_null(kit);
    wait_ms(5000);
    int64_t now_ms = wall_ms();
    expect_ok(weir_testkit_shake(kit, 30000, 6, error));
    for (unsigned number = 0; number < 300; number++) {
        char key[16], text[24];
        snprintf(key, sizeof key, "key-%u", (unsigned)weir_testkit_random(kit, 20));
        switch (weir_testkit_random(kit, 4)) {
        case 0:
            put(NULL, key, "v", "type", weir_testkit_random(kit, 2) ? "noise" : "order", 0);
            break;
        case 1:
            snprintf(text, sizeof text, "%u", number + (unsigned)weir_testkit_random(kit, 30));
            put(NULL, key, "v", "version", text, 0);
            break;
        case 2:
            snprintf(text, sizeof text, "%lld", (long long)now_ms + (long long)weir_testkit_random(kit, 40000));
            put(NULL, key, "v", "not-before", text, 0);
            break;
        default:
            send(key, "v");
        }
        wait_ms((int64_t)weir_testkit_random(kit, 200));
    }
    int result = weir_testkit_finish(kit, 600000, outer);
    weir_testkit_destroy(kit);
    return result;
}

Test(filters, lose_nothing_and_keep_the_order_whatever_goes_wrong)
{
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    expect_ok(weir_testkit_seeds(weir_test_scaled(15), trial, NULL, error));
}
