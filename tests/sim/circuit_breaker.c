/*
 * The circuit breaker around a downstream that is down for a while: what it costs in runs and attempts, when work goes
 * on, and that nothing is lost or dead-lettered for it.
 */
#include "tests/sim/testkit.h"
#include <stdbool.h>
#include <stdio.h>
#include <weir/log.h>

enum { MESSAGES = 400, KEYS = 40 };

static struct weir_testkit *kit;
static struct {
    bool down, by_handle;
    enum weir_outcome failure;
    unsigned runs, runs_while_open;
    uint32_t attempt_max;
    unsigned in_flight, in_flight_max_while_open;
} downstream;

static bool is_open(void)
{
    struct weir_stats stats;
    weir_consumer_stats(weir_testkit_consumer(kit), &stats, sizeof stats);
    return stats.breaker != WEIR_BREAKER_CLOSED;
}

static void answer(void *argument)
{
    struct weir_later *later = argument;
    downstream.in_flight--;
    weir_later_finish(*later, downstream.down ? downstream.failure : WEIR_ACK);
    free(later);
}

static bool says(const struct weir_message *message, const char *word)
{
    return weir_message_value_size(message) == strlen(word) &&
           memcmp(weir_message_value(message), word, strlen(word)) == 0;
}

static enum weir_outcome handle(struct weir_message *message, void *user)
{
    (void)user;
    downstream.runs++;
    bool open = is_open();
    downstream.runs_while_open += open;
    if (weir_message_attempt(message) > downstream.attempt_max)
        downstream.attempt_max = weir_message_attempt(message);
    if (says(message, "poison") || (says(message, "twice") && weir_message_attempt(message) <= 2))
        return WEIR_RETRY;
    if (says(message, "bad"))
        return open ? WEIR_DEAD : WEIR_RETRY;
    if (!downstream.by_handle)
        return downstream.down ? downstream.failure : WEIR_ACK;
    struct weir_later *later = malloc(sizeof *later);
    cr_assert_not_null(later);
    *later = weir_message_later(message);
    downstream.in_flight++;
    if (open && downstream.in_flight > downstream.in_flight_max_while_open)
        downstream.in_flight_max_while_open = downstream.in_flight;
    expect_ok(weir_testkit_after(kit, 30, answer, later, error));
    return WEIR_LATER;
}

static char logged[8192];

static void keep(void *user, enum weir_log_level level, const char *text, const struct weir_log_field *fields,
                 size_t field_count)
{
    (void)user, (void)level, (void)fields, (void)field_count;
    snprintf(logged + strlen(logged), sizeof logged - strlen(logged), "%s\n", text);
}

static void set_up(const char *const *options)
{
    static const char *const common[] = {"weir.breaker.failures.percent",
                                         "50",
                                         "weir.retry.attempts.max",
                                         "4",
                                         "weir.retry.base.ms",
                                         "1000",
                                         "weir.retry.max.ms",
                                         "1000",
                                         NULL};
    struct weir_config *config = weir_config_create();
    for (const char *const *option = common; *option; option += 2)
        expect_ok(weir_config_set(config, option[0], option[1], error));
    for (const char *const *option = options; option && *option; option += 2)
        expect_ok(weir_config_set(config, option[0], option[1], error));
    memset(&downstream, 0, sizeof downstream);
    downstream.failure = WEIR_RETRY;
    logged[0] = '\0';
    kit = weir_testkit_create(config, handle, NULL, 11, NULL);
    cr_assert_not_null(kit);
    weir_config_destroy(config);
    weir_log_set(keep, NULL, WEIR_LOG_WARN);
    expect_ok(weir_testkit_run_ms(kit, 5000, error));
}

static void send_all(void)
{
    for (unsigned number = 0; number < MESSAGES; number++) {
        char key[16];
        snprintf(key, sizeof key, "key-%u", number % KEYS);
        struct weir_testkit_record record = {
            .partition = WEIR_TESTKIT_BY_KEY, .key = key, .key_size = strlen(key), .value = "v", .value_size = 1};
        cr_assert_not_null(weir_testkit_send(kit, &record, NULL));
    }
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

static void end(void)
{
    expect_ok(weir_testkit_finish(kit, 600000, error));
    weir_testkit_destroy(kit);
}

/* An hour without a downstream, then it is there again. */
static void survive(unsigned runs_max)
{
    downstream.down = true;
    send_all();
    wait_ms(3600000);
    cr_assert_eq(stats().counters.dead_lettered, 0);
    cr_assert_eq(stats().counters.acked, 0);
    cr_assert_gt(stats().breaker_openings, 0);
    cr_assert_neq(stats().breaker, (uint32_t)WEIR_BREAKER_CLOSED);
    cr_assert(stats().pause & WEIR_PAUSE_BREAKER);
    cr_assert_leq(downstream.runs, runs_max, "%u runs", downstream.runs);
    cr_assert_leq(downstream.attempt_max, 3u, "attempt %u", downstream.attempt_max);
    downstream.down = false;
    wait_ms(62000); /* the longest delay, and two looks */
    cr_assert_eq(stats().counters.acked, MESSAGES, "%llu acked", (unsigned long long)stats().counters.acked);
    cr_assert_eq(stats().breaker, (uint32_t)WEIR_BREAKER_CLOSED);
    cr_assert_not(stats().pause & WEIR_PAUSE_BREAKER);
    cr_assert_eq(weir_testkit_letters(kit), 0);
    end();
}

Test(circuit_breaker, holds_everything_while_the_downstream_is_down_and_burns_no_attempts)
{
    set_up(NULL);
    survive(40 + 70); /* a run a key before it opens, then a probe a minute */
    cr_assert_not_null(strstr(logged, " failed): nothing starts; a probe in 5000 ms"), "%s", logged);
    cr_assert_not_null(strstr(logged, "probing -> open (the probe failed); the next in 60000 ms"));
    cr_assert_not_null(strstr(logged, "probing -> closed (the probe succeeded)"));
}

Test(circuit_breaker, does_so_for_what_is_answered_later_with_one_probe_at_a_time)
{
    set_up(NULL);
    downstream.by_handle = true;
    survive(40 + 70);
    cr_assert_eq(downstream.in_flight_max_while_open, 1u);
}

Test(circuit_breaker, is_opened_by_an_overloaded_downstream_where_that_is_asked_for)
{
    static const char *const options[] = {"weir.breaker.overloaded", "open", "weir.breaker.failures.percent", "0",
                                          NULL};
    set_up(options);
    downstream.failure = WEIR_OVERLOADED;
    survive(40 + 70);
    cr_assert_eq(downstream.attempt_max, 1u);
}

Test(circuit_breaker, of_nothing_is_asked_for_runs_into_the_attempts)
{
    static const char *const options[] = {"weir.breaker.failures.percent", "0", NULL};
    set_up(options);
    downstream.down = true;
    send_all();
    wait_ms(3600000);
    cr_assert_eq(stats().breaker_openings, 0);
    cr_assert_eq(stats().counters.dead_lettered, MESSAGES, "what the breaker is for");
    end();
}

Test(circuit_breaker, lets_deadlines_stand_still)
{
    static const char *const options[] = {"weir.retry.deadline.ms", "10000", "weir.retry.attempts.max", "0", NULL};
    set_up(options);
    struct weir_testkit_record record = {.key = "twice", .key_size = 5, .value = "twice", .value_size = 5};
    const struct weir_testkit_message *twice = weir_testkit_send(kit, &record, NULL);
    downstream.down = true;
    send_all();
    wait_ms(3600000);
    cr_assert_eq(stats().breaker, (uint32_t)WEIR_BREAKER_OPEN);
    downstream.down = false;
    wait_ms(120000);
    cr_assert_eq(weir_testkit_message_state(twice), WEIR_TESTKIT_ACKED, "it failed for an hour, but for 10 s only");
    end();
}

Test(circuit_breaker, is_not_kept_open_by_a_message_that_always_fails)
{
    set_up(NULL);
    struct weir_testkit_record poison = {.key = "p", .key_size = 1, .value = "poison", .value_size = 6};
    const struct weir_testkit_message *sent = weir_testkit_send(kit, &poison, NULL);
    downstream.down = true;
    send_all();
    wait_ms(100);
    cr_assert(is_open());
    downstream.down = false;
    wait_ms(180000);
    cr_assert_eq(stats().counters.acked, MESSAGES);
    cr_assert_eq(weir_testkit_message_state(sent), WEIR_TESTKIT_DEAD, "by its own attempts, once others go on");
    end();
}

Test(circuit_breaker, is_neither_closed_nor_kept_open_by_a_message_that_is_dead)
{
    static const char *const options[] = {"weir.breaker.open.ms", "1000", "weir.breaker.open.ms.max", "1000", NULL};
    set_up(options);
    downstream.down = true;
    for (unsigned number = 0; number < 3; number++) { /* fail at first, are dead as probes */
        char key[16];
        snprintf(key, sizeof key, "bad-%u", number);
        struct weir_testkit_record bad = {.key = key, .key_size = 5, .value = "bad", .value_size = 3};
        cr_assert_not_null(weir_testkit_send(kit, &bad, NULL));
    }
    send_all();
    wait_ms(100);
    cr_assert(is_open());
    wait_ms(300000);
    cr_assert(is_open());
    cr_assert_leq(downstream.runs, 360u, "%u runs: 300 of them are probes", downstream.runs);
    cr_assert_eq(stats().breaker_openings, 1);
    cr_assert_eq(weir_testkit_letters(kit), 3, "they have been probes");
    downstream.down = false;
    wait_ms(62000);
    cr_assert_eq(stats().counters.acked, MESSAGES);
    end();
}

Test(circuit_breaker, that_is_open_does_not_hold_up_a_close)
{
    set_up(NULL);
    downstream.down = true;
    send_all();
    wait_ms(100);
    cr_assert(is_open());
    int64_t began_ms = weir_testkit_now_ms(kit);
    expect_refusal(weir_testkit_stop(kit, error), WEIR_UNFINISHED, "were not finished");
    cr_assert_lt(weir_testkit_now_ms(kit) - began_ms, 10000, "the drain is 30 s");
    downstream.down = false;
    end();
}

Test(circuit_breaker, finds_a_probe_among_what_comes_while_it_is_open)
{
    set_up(NULL);
    downstream.down = true;
    send_all();
    wait_ms(100);
    cr_assert(is_open());
    expect_ok(weir_testkit_fence(kit, error)); /* all that was pulled is gone with the epoch */
    downstream.down = false;
    wait_ms(120000);
    cr_assert_eq(stats().counters.acked, MESSAGES);
    end();
}

/* ---- under seeds ---- */

static void go_down(void *argument)
{
    downstream.down = argument != NULL;
}

static int trial(uint64_t seed, void *user, struct weir_error *outer)
{
    (void)user;
    struct weir_config *config = weir_config_create();
    expect_ok(weir_config_set(config, "weir.breaker.failures.percent", "50", error));
    expect_ok(weir_config_set(config, "weir.breaker.overloaded", seed % 3 == 0 ? "open" : "count", error));
    expect_ok(weir_config_set(config, "weir.breaker.open.ms", "1000", error));
    memset(&downstream, 0, sizeof downstream);
    downstream.failure = seed % 2 ? WEIR_RETRY : WEIR_OVERLOADED;
    downstream.by_handle = seed % 5 < 2;
    kit = weir_testkit_create(config, handle, NULL, seed, outer);
    weir_config_destroy(config);
    cr_assert_not_null(kit);
    for (unsigned round = 0; round < 4; round++) {
        send_all();
        expect_ok(weir_testkit_after(kit, (int64_t)weir_testkit_random(kit, 20000), go_down, kit, error));
        expect_ok(weir_testkit_after(kit, 20000 + (int64_t)weir_testkit_random(kit, 20000), go_down, NULL, error));
        expect_ok(weir_testkit_shake(kit, 30000, 3, error));
        wait_ms(40000);
    }
    downstream.down = false;
    int result = weir_testkit_finish(kit, 1200000, outer);
    cr_assert_eq(weir_testkit_letters(kit), 0, "seed %llu", (unsigned long long)seed);
    weir_testkit_destroy(kit);
    return result;
}

Test(circuit_breaker, loses_nothing_and_gives_nothing_up_whatever_else_goes_wrong)
{
    expect_ok(weir_testkit_seeds(weir_test_scaled(15), trial, NULL, error));
}
