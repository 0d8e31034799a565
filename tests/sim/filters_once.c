/*
 * Filters with weir.delivery=exactly-once: what is left out by a filter goes into a transaction with its offset,
 * skipped or as a dead letter, and is seen by readers of committed messages accordingly: nothing of the first kind, one
 * letter of the second; and one output of each message that was handled.
 */
#include "tests/sim/testkit.h"
#include <stdbool.h>
#include <stdio.h>
#include <weir/filter.h>
#include <weir/log.h>
#include <weir/output.h>

enum { KEYS = 12, MESSAGES = 160 };

static struct weir_testkit *kit;
static unsigned calls;

/* Emits one message for each that it is given; the first attempt of some fails after that. */
static enum weir_outcome handle(struct weir_message *message, void *user)
{
    (void)user;
    calls++;
    struct weir_output output = {.topic = "done",
                                 .key = weir_message_key(message),
                                 .key_size = weir_message_key_size(message),
                                 .value = weir_message_value(message),
                                 .value_size = weir_message_value_size(message)};
    int result = weir_emit(message, &output);
    if (result != 0 && result != WEIR_STALE)
        return WEIR_DEAD;
    return weir_message_offset(message) % 5 == 2 && weir_message_attempt(message) == 1 ? WEIR_RETRY : WEIR_ACK;
}

static int begin(uint64_t seed, const char *const *options, struct weir_error *error)
{
    struct weir_config *config = weir_config_create();
    int result = weir_config_set(config, "weir.delivery", "exactly-once", error);
    for (; result == 0 && options[0]; options += 2)
        result = weir_config_set(config, options[0], options[1], error);
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    calls = 0;
    kit = result == 0 ? weir_testkit_create(config, handle, NULL, seed, error) : NULL;
    weir_config_destroy(config);
    return kit ? 0 : WEIR_INVALID;
}

static const struct weir_testkit_message *put(const char *key, const char *name, const char *value,
                                              int64_t timestamp_ms)
{
    struct weir_testkit_header header = {name, value, value ? strlen(value) : 0};
    struct weir_testkit_record record = {.key = key,
                                         .key_size = strlen(key),
                                         .value = "value",
                                         .value_size = 5,
                                         .timestamp_ms = timestamp_ms,
                                         .headers = &header,
                                         .header_count = name ? 1 : 0};
    return weir_testkit_send(kit, &record, NULL);
}

/* Of a message that has just been sent. */
static int64_t wall_ms(const struct weir_testkit_message *message)
{
    struct weir_testkit_record record;
    cr_assert_eq(weir_testkit_read(kit, weir_testkit_message_topic(message), weir_testkit_message_partition(message),
                                   weir_testkit_message_offset(message), &record),
                 1);
    return record.timestamp_ms;
}

/* ---- one by one ---- */

Test(filters_once, commit_the_offsets_of_what_was_left_out_though_nothing_is_written)
{
    static const char *const options[] = {"weir.filter.header", "type=order", NULL};
    expect_ok(begin(5, options, error));
    const struct weir_testkit_message *messages[20];
    for (unsigned index = 0; index < 20; index++)
        messages[index] = put("one", "type", "noise", 0);
    expect_ok(weir_testkit_run_ms(kit, 10000, error));
    cr_assert_eq(calls, 0u);
    for (unsigned index = 0; index < 20; index++)
        cr_assert_eq(weir_testkit_message_state(messages[index]), WEIR_TESTKIT_SKIPPED);
    cr_assert_eq(weir_testkit_committed(kit, "messages", weir_testkit_message_partition(messages[0])), 20);
    cr_assert_eq(weir_testkit_outputs(kit, NULL), 0u);
    expect_ok(weir_testkit_finish(kit, 60000, error));
    weir_testkit_destroy(kit);
}

Test(filters_once, write_a_letter_once_with_the_offset_where_that_is_asked_for)
{
    static const char *const options[] = {"weir.filter.ttl.ms", "10000", "weir.filter.expired", "dead", NULL};
    expect_ok(begin(6, options, error));
    const struct weir_testkit_message *fine = put("one", NULL, NULL, 0);
    int64_t now_ms = wall_ms(fine);
    const struct weir_testkit_message *old = put("one", NULL, NULL, now_ms - 60000),
                                      *behind = put("one", NULL, NULL, 0);
    expect_ok(weir_testkit_run_ms(kit, 10000, error));
    cr_assert_eq(weir_testkit_message_state(fine), WEIR_TESTKIT_ACKED);
    cr_assert_eq(weir_testkit_message_state(old), WEIR_TESTKIT_DEAD);
    cr_assert_str_eq(weir_testkit_message_cause(old), "expired");
    cr_assert_eq(weir_testkit_message_runs(old), 0u);
    cr_assert_eq(weir_testkit_message_state(behind), WEIR_TESTKIT_ACKED);
    cr_assert_eq(weir_testkit_letters(kit), 1u);
    cr_assert_eq(weir_testkit_outputs(kit, "done"), 2u);
    cr_assert_eq(weir_testkit_committed(kit, "messages", weir_testkit_message_partition(old)), 3);
    expect_ok(weir_testkit_finish(kit, 60000, error));
    weir_testkit_destroy(kit);
}

/* What waits for its time keeps its offset out of transactions, and those behind it in other keys do not. */
Test(filters_once, let_what_waits_for_its_time_be_committed_when_it_is_done)
{
    static const char *const options[] = {"weir.filter.not.before.header", "not-before", NULL};
    expect_ok(begin(7, options, error));
    const struct weir_testkit_message *first = put("one", NULL, NULL, 0);
    char begins[24];
    snprintf(begins, sizeof begins, "%lld", (long long)wall_ms(first) + 20000);
    const struct weir_testkit_message *waits = put("one", "not-before", begins, 0), *behind = put("one", NULL, NULL, 0);
    expect_ok(weir_testkit_run_ms(kit, 10000, error));
    int32_t partition = weir_testkit_message_partition(first);
    cr_assert_eq(weir_testkit_committed(kit, "messages", partition), weir_testkit_message_offset(waits));
    cr_assert_eq(weir_testkit_outputs(kit, "done"), 1u);
    expect_ok(weir_testkit_run_ms(kit, 15000, error));
    cr_assert_eq(weir_testkit_message_state(behind), WEIR_TESTKIT_ACKED);
    cr_assert_eq(weir_testkit_committed(kit, "messages", partition), 3);
    cr_assert_eq(weir_testkit_outputs(kit, "done"), 3u);
    expect_ok(weir_testkit_finish(kit, 60000, error));
    weir_testkit_destroy(kit);
}

/* ---- under seeds ---- */

static const char *stale_policy;
static uint64_t seen_left_out, seen_dead, seen_handled;

/* Each by what became of it, and no more than that of any. What was left out as stale, and its transaction not
 * committed, may be handled by the next consumer, which remembers no version. */
static void check(const struct weir_testkit_message *message, bool is_noise, uint64_t seed)
{
    size_t outputs = weir_testkit_message_outputs(message), runs = weir_testkit_message_runs(message);
    enum weir_testkit_state state = weir_testkit_message_state(message);
    if (is_noise)
        cr_assert(state == WEIR_TESTKIT_SKIPPED && runs == 0, "seed %llu: noise was handled", (unsigned long long)seed);
    struct weir_testkit_record letter;
    size_t letters = (size_t)weir_testkit_message_letter(message, &letter);
    cr_assert(outputs + letters <= (runs > 0 || state == WEIR_TESTKIT_DEAD) &&
                  outputs >= (state == WEIR_TESTKIT_ACKED) && letters == (state == WEIR_TESTKIT_DEAD),
              "seed %llu: %zu outputs, %zu letters of a message that is %s", (unsigned long long)seed, outputs, letters,
              weir_testkit_state_name((int)state));
    seen_left_out += state == WEIR_TESTKIT_SKIPPED;
    seen_dead += state == WEIR_TESTKIT_DEAD;
    seen_handled += state == WEIR_TESTKIT_ACKED;
}

static int trial(uint64_t seed, void *user, struct weir_error *error)
{
    (void)user;
    const char *options[] = {"weir.filter.header",
                             "type!=noise",
                             "weir.filter.version",
                             "header",
                             "weir.filter.version.header",
                             "version",
                             "weir.filter.stale",
                             stale_policy,
                             "weir.filter.not.before.header",
                             "not-before",
                             "weir.rate.messages.per.second",
                             "200",
                             "weir.filter.ttl.ms",
                             "3600000",
                             "weir.filter.expired",
                             "dead",
                             NULL};
    const struct weir_testkit_message *messages[MESSAGES];
    bool is_noise[MESSAGES] = {false};
    int result = begin(seed, options, error);
    if (result != 0)
        return result;
    weir_testkit_run_ms(kit, 3000, NULL);
    int64_t now_ms = 0;
    weir_testkit_shake(kit, 20000, 6, NULL);
    for (unsigned number = 0; number < MESSAGES; number++) {
        char key[16], text[24];
        snprintf(key, sizeof key, "key-%u", (unsigned)weir_testkit_random(kit, KEYS));
        unsigned kind = number == 0 ? 0 : (unsigned)weir_testkit_random(kit, 6);
        is_noise[number] = kind == 1;
        snprintf(text, sizeof text, "%lld",
                 kind == 2 ? (long long)(number + weir_testkit_random(kit, 30))
                           : (long long)now_ms + (long long)weir_testkit_random(kit, 20000));
        messages[number] = kind == 1   ? put(key, "type", "noise", 0)
                           : kind == 2 ? put(key, "version", text, 0)
                           : kind == 3 ? put(key, "not-before", text, 0)
                           : kind == 4 ? put(key, NULL, NULL, now_ms - 7200000)
                                       : put(key, NULL, NULL, 0);
        now_ms = number == 0 ? wall_ms(messages[0]) : now_ms;
        weir_testkit_run_ms(kit, (int64_t)weir_testkit_random(kit, 200), NULL);
    }
    result = weir_testkit_finish(kit, 600000, error);
    for (unsigned number = 0; result == 0 && number < MESSAGES; number++)
        check(messages[number], is_noise[number], seed);
    weir_testkit_destroy(kit);
    return result;
}

static void check_seeds(const char *policy)
{
    stale_policy = policy;
    seen_left_out = seen_dead = seen_handled = 0;
    expect_ok(weir_testkit_seeds(weir_test_scaled(40), trial, NULL, error));
    uint64_t seeds = weir_test_scaled(40);
    cr_assert(seen_left_out > 2 * seeds && seen_dead > 2 * seeds && seen_handled > 25 * seeds,
              "%llu left out, %llu dead, %llu handled", (unsigned long long)seen_left_out,
              (unsigned long long)seen_dead, (unsigned long long)seen_handled);
}

Test(filters_once, skip_and_handle_each_once_whatever_goes_wrong)
{
    check_seeds("skip");
}

Test(filters_once, skip_handle_and_dead_letter_each_once_whatever_goes_wrong)
{
    check_seeds("dead");
}
