/*
 * Setting and getting options and properties. Every option of the table is tried, so that a new one is tested by
 * being there.
 */
#include "actors/config/table.h"
#include "runtime/check.h"
#include "tests/support/test.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static struct weir_config *config;
static struct weir_error error;

static void begin(void)
{
    config = weir_config_create();
    cr_assert_not_null(config);
}

static void finish(void)
{
    weir_config_destroy(config);
}

static void accept(const char *name, const char *value, const char *shown)
{
    memset(&error, 0, sizeof error);
    int code = weir_config_set(config, name, value, &error);
    cr_assert_eq(code, 0, "%s=%s: %s", name, value, error.text);
    cr_assert_str_eq(weir_config_get(config, name), shown, "%s=%s came back as %s", name, value,
                     weir_config_get(config, name));
}

static void refuse(const char *name, const char *value)
{
    const char *was = weir_config_get(config, name);
    char before[256];
    snprintf(before, sizeof before, "%s", was ? was : "(none)");
    struct weir_options options = *weir_config_options(config);
    memset(&error, 0, sizeof error);
    cr_assert_eq(weir_config_set(config, name, value, &error), WEIR_INVALID, "%s=%s was accepted", name, value);
    cr_assert_eq(error.code, WEIR_INVALID);
    cr_assert_neq(error.text[0], '\0');
    const char *is = weir_config_get(config, name);
    cr_assert_str_eq(is ? is : "(none)", before, "%s=%s was refused, but changed the value", name, value);
    cr_assert(memcmp(&options, weir_config_options(config), sizeof options) == 0);
}

static bool says(const char *part)
{
    return strstr(error.text, part) != NULL;
}

Test(config_set, every_option_shows_its_default_and_accepts_it)
{
    begin();
    unsigned tried = 0;
    for (size_t index = 0; index < WEIR_OPTION_COUNT; index++) {
        const struct weir_option *option = &weir_option_table[index];
        char text[WEIR_OPTION_VALUE_SIZE];
        if (option->kind == WEIR_OPTION_SECTION)
            continue;
        const char *fallback = weir_option_fallback(option, text);
        cr_assert_str_eq(weir_config_get(config, option->name), fallback, "%s", option->name);
        if (fallback[0] != '\0' || !option->check)
            accept(option->name, fallback, fallback);
        tried++;
    }
    cr_assert_gt(tried, 30u);
    finish();
}

static void number_text(char text[32], uint64_t number)
{
    snprintf(text, 32, "%" PRIu64, number);
}

Test(config_set, every_number_is_accepted_at_its_bounds_and_refused_beyond_them)
{
    begin();
    unsigned tried = 0;
    for (size_t index = 0; index < WEIR_OPTION_COUNT; index++) {
        const struct weir_option *option = &weir_option_table[index];
        char text[32];
        if (option->kind != WEIR_OPTION_NUMBER)
            continue;
        number_text(text, option->min);
        accept(option->name, text, text);
        number_text(text, option->max);
        accept(option->name, text, text);
        number_text(text, option->max + 1);
        refuse(option->name, text);
        cr_assert(says(option->name) && says(text) && says(".."), "%s", error.text);
        if (option->min > 0) {
            number_text(text, option->min - 1);
            refuse(option->name, text);
        }
        tried++;
    }
    cr_assert_gt(tried, 20u);
    finish();
}

Test(config_set, every_choice_takes_its_words_and_no_other)
{
    begin();
    unsigned tried = 0;
    for (size_t index = 0; index < WEIR_OPTION_COUNT; index++) {
        const struct weir_option *option = &weir_option_table[index];
        char words[128], *rest = words;
        if (option->kind != WEIR_OPTION_CHOICE)
            continue;
        snprintf(words, sizeof words, "%s", option->choices);
        int number = 0;
        for (char *word; (word = strsep(&rest, "|"));) {
            accept(option->name, word, word);
            int field = *(const int *)(const void *)((const char *)weir_config_options(config) + option->offset);
            cr_assert_eq(field, number++, "%s=%s", option->name, word);
            tried++;
        }
        refuse(option->name, "");
        refuse(option->name, "no-such-word");
        cr_assert(says(option->choices), "%s", error.text);
        refuse(option->name, option->choices);
    }
    cr_assert_gt(tried, 15u);
    finish();
}

Test(config_set, numbers_are_plain_decimals_within_64_bits)
{
    begin();
    static const char *const WRONG[] = {"",
                                        " 5",
                                        "5 ",
                                        "+5",
                                        "-5",
                                        "0x10",
                                        "5.0",
                                        "5e2",
                                        "k",
                                        "five",
                                        "5 ms",
                                        "99999999999999999999",
                                        "18446744073709551616",
                                        "5kk",
                                        "5MB",
                                        "5ks",
                                        "\xff"};
    for (size_t index = 0; index < WEIR_COUNT(WRONG); index++)
        refuse("weir.window.bytes.max", WRONG[index]);
    accept("weir.window.messages.max", "007", "7");
    finish();
}

Test(config_set, bytes_take_binary_units)
{
    begin();
    accept("weir.window.bytes.max", "64M", "67108864");
    accept("weir.window.bytes.max", "64MiB", "67108864");
    accept("weir.window.bytes.max", "512k", "524288");
    accept("weir.window.bytes.max", "512K", "524288");
    accept("weir.window.bytes.max", "2KiB", "2048");
    accept("weir.window.bytes.max", "3GiB", "3221225472");
    accept("weir.memory.bytes.max", "1T", "1099511627776");
    refuse("weir.memory.bytes.max", "17T");
    refuse("weir.memory.bytes.max", "16777216T"); /* 2^64 */
    refuse("weir.window.bytes.max", "5s");
    cr_assert(says("64M"), "%s", error.text);
    finish();
}

Test(config_set, times_take_units_and_counts_take_none)
{
    begin();
    accept("weir.retry.max.ms", "250ms", "250");
    accept("weir.retry.max.ms", "5s", "5000");
    accept("weir.retry.max.ms", "2m", "120000");
    accept("weir.retry.max.ms", "3h", "10800000");
    accept("weir.retry.max.ms", "1d", "86400000");
    refuse("weir.retry.max.ms", "2d");
    refuse("weir.retry.max.ms", "5M");
    cr_assert(says("ms, s, m, h or d"), "%s", error.text);
    refuse("weir.workers", "2k");
    refuse("weir.window.messages.max", "2s");
    finish();
}

Test(config_set, a_factor_is_read_alike_in_every_locale)
{
    begin();
    accept("weir.retry.factor", "1", "1");
    accept("weir.retry.factor", "1.5", "1.5");
    cr_assert_eq(weir_config_options(config)->retry_factor, 1.5);
    accept("weir.retry.factor", "100.000000", "100.000000");
    static const char *const WRONG[] = {"",    "0.999999", "100.000001", "1,5", "1.",        ".5", "-2",
                                        "nan", "inf",      "1e1",        "2 ",  "1.1234567", "2x"};
    for (size_t index = 0; index < WEIR_COUNT(WRONG); index++)
        refuse("weir.retry.factor", WRONG[index]);
    cr_assert(says("1.0..100.0"), "%s", error.text);
    finish();
}

Test(config_set, topics_are_a_list_of_names_and_expressions)
{
    begin();
    accept("weir.topics", "orders", "orders");
    accept("weir.topics", " orders ,\tpayments", "orders,payments");
    accept("weir.topics", "^orders\\..+$,a_b-C.9", "^orders\\..+$,a_b-C.9");
    cr_assert_str_eq(weir_config_options(config)->topics, "^orders\\..+$,a_b-C.9");
    static const char *const WRONG[] = {"",      "  ",    ",", "a,", ",a",  "a,,b", "a b",        "orders*",
                                        "a,b,a", "a , a", ".", "..", "a/b", "^(",   "caf\xc3\xa9"};
    for (size_t index = 0; index < WEIR_COUNT(WRONG); index++)
        refuse("weir.topics", WRONG[index]);
    finish();
}

Test(config_set, a_topic_has_249_characters_at_most)
{
    begin();
    char name[252];
    memset(name, 'a', 250);
    name[249] = '\0';
    accept("weir.topics", name, name);
    name[249] = 'a';
    name[250] = '\0';
    refuse("weir.topics", name);
    cr_assert(says("249"), "%s", error.text);
    finish();
}

Test(config_set, a_dead_letter_topic_is_a_template_or_empty)
{
    begin();
    accept("weir.dlq.topic", "", "");
    accept("weir.dlq.topic", "dead", "dead");
    accept("weir.dlq.topic", "{group}.{topic}.dlq", "{group}.{topic}.dlq");
    refuse("weir.dlq.topic", "{topic}");
    refuse("weir.dlq.topic", "{nothing}.dlq");
    cr_assert(says("weir.dlq.topic"), "%s", error.text);
    refuse("weir.dlq.topic", "a b");
    finish();
}

Test(config_set, a_property_goes_through_librdkafka_and_comes_back_in_order)
{
    begin();
    accept("bootstrap.servers", "a:1,b:2", "a:1,b:2");
    accept("group.id", "billing", "billing");
    accept("fetch.wait.max.ms", "20", "20");
    accept("group.id", "shipping", "shipping"); /* in its old place */
    static const char *const NAMES[] = {"bootstrap.servers", "group.id", "fetch.wait.max.ms"};
    static const char *const VALUES[] = {"a:1,b:2", "shipping", "20"};
    const char *name, *value;
    for (size_t index = 0; index < 3; index++) {
        cr_assert(weir_config_kafka_at(config, index, &name, &value));
        cr_assert_str_eq(name, NAMES[index]);
        cr_assert_str_eq(value, VALUES[index]);
    }
    cr_assert_not(weir_config_kafka_at(config, 3, &name, &value));
    finish();
}

Test(config_set, more_properties_than_fit_the_first_allocation_are_kept)
{
    begin();
    const char *name, *value;
    size_t set = 0;
    for (size_t index = 0; weir_config_property_name(index); index++)
        if (weir_config_set(config, weir_config_property_name(index), "1000", NULL) == 0)
            set += strcmp(weir_config_property_name(index), WEIR_RESET_PROPERTY) != 0;
    cr_assert_gt(set, 40u);
    for (size_t index = 0; index < set; index++) {
        cr_assert(weir_config_kafka_at(config, index, &name, &value));
        cr_assert_str_eq(weir_config_kafka_get(config, name), "1000");
    }
    finish();
}

Test(config_set, librdkafkas_refusal_is_passed_on_in_its_words)
{
    begin();
    refuse("fetch.wait.max.ms", "-3");
    cr_assert(says("fetch.wait.max.ms=-3") && says("0..300000"), "%s", error.text);
    cr_assert_eq(strchr(error.text, '\n'), NULL);
    refuse("security.protocol", "ftp");
    refuse("debug", "everything");
    finish();
}

Test(config_set, what_weir_owns_is_refused_with_the_reason)
{
    begin();
    const char *name, *reason;
    size_t count = 0;
    for (; weir_config_owned_at(count, &name, &reason); count++) {
        refuse(name, "true");
        cr_assert(says(name) && says(reason), "%s", error.text);
    }
    cr_assert_gt(count, 10u);
    refuse("rebalance_cb", "0");
    cr_assert(says("rebalances are Weir's"), "%s", error.text);
    finish();
}

Test(config_set, the_reset_policy_is_weirs_and_not_among_the_properties)
{
    begin();
    const char *name, *value;
    cr_assert_null(weir_config_get(config, "auto.offset.reset"));
    cr_assert_eq(weir_config_reset_policy(config), WEIR_RESET_LATEST);
    static const struct {
        const char *word;
        int policy;
    } WORDS[] = {{"earliest", WEIR_RESET_EARLIEST}, {"smallest", WEIR_RESET_EARLIEST}, {"latest", WEIR_RESET_LATEST},
                 {"largest", WEIR_RESET_LATEST},    {"none", WEIR_RESET_ERROR},        {"error", WEIR_RESET_ERROR}};
    for (size_t index = 0; index < WEIR_COUNT(WORDS); index++) {
        accept("auto.offset.reset", WORDS[index].word, WORDS[index].word);
        cr_assert_eq(weir_config_reset_policy(config), WORDS[index].policy, "%s", WORDS[index].word);
    }
    refuse("auto.offset.reset", "newest");
    cr_assert(says("earliest, latest or error"), "%s", error.text);
    cr_assert_not(weir_config_kafka_at(config, 0, &name, &value));
    finish();
}

/* ---- secrets ---- */

static const char *const SECRETS[] = {"sasl.password",
                                      "ssl.key.password",
                                      "ssl.keystore.password",
                                      "ssl.key.pem",
                                      "sasl.oauthbearer.client.secret",
                                      "sasl.oauthbearer.config"};

Test(config_set, a_secret_comes_back_hidden_but_reaches_librdkafka)
{
    begin();
    unsigned accepted = 0;
    for (size_t index = 0; index < WEIR_COUNT(SECRETS); index++) {
        cr_assert(weir_config_is_secret(SECRETS[index]), "%s", SECRETS[index]);
        if (weir_config_set(config, SECRETS[index], "hunter2", &error) != 0) { /* a build without OIDC, for one */
            cr_assert(says("[hidden]") && !says("hunter2"), "%s", error.text);
            continue;
        }
        cr_assert_str_eq(weir_config_get(config, SECRETS[index]), "[hidden]");
        cr_assert_str_eq(weir_config_kafka_get(config, SECRETS[index]), "hunter2");
        accepted++;
    }
    cr_assert_geq(accepted, 4u);
    accept("sasl.username", "alice", "alice");
    cr_assert_not(weir_config_is_secret("sasl.oauthbearer.token.endpoint.url"));
    finish();
}

Test(config_set, a_secret_is_in_no_error)
{
    begin();
    refuse("sasl.pasword", "hunter2");
    cr_assert_not(says("hunter2"), "%s", error.text);
    cr_assert(says("did you mean sasl.password?"), "%s", error.text);
    refuse("weir.sasl.password", "hunter2");
    cr_assert_not(says("hunter2"), "%s", error.text);
    refuse("ssl_key", "hunter2"); /* librdkafka takes no text for it */
    cr_assert_not(says("hunter2"), "%s", error.text);
    finish();
}

/* ---- names and texts that nobody expects ---- */

Test(config_set, an_unknown_name_is_refused_with_the_nearest)
{
    begin();
    refuse("weir.topcs", "a");
    cr_assert(says("did you mean weir.topics?"), "%s", error.text);
    refuse("bootstrp.servers", "a");
    cr_assert(says("did you mean bootstrap.servers?"), "%s", error.text);
    refuse("topics", "a");
    cr_assert(says("did you mean weir.topics?"), "%s", error.text);
    refuse("weir.group.id", "a");
    cr_assert(says("did you mean group.id?"), "%s", error.text);
    refuse("weir.", "a");
    refuse("", "a");
    refuse("What to consume", "a"); /* a section's title is no option */
    refuse("weir.something.else.entirely", "a");
    cr_assert_not(says("did you mean"), "%s", error.text);
    finish();
}

Test(config_set, null_arguments_are_refused)
{
    begin();
    cr_assert_eq(weir_config_set(NULL, "weir.topics", "a", &error), WEIR_INVALID);
    cr_assert_eq(weir_config_set(config, NULL, "a", &error), WEIR_INVALID);
    cr_assert_eq(weir_config_set(config, "weir.topics", NULL, &error), WEIR_INVALID);
    cr_assert_eq(weir_config_set(config, "weir.topcs", "a", NULL), WEIR_INVALID);
    cr_assert_null(weir_config_get(config, NULL));
    cr_assert_null(weir_config_get(NULL, "weir.topics"));
    weir_config_destroy(NULL);
    finish();
}

Test(config_set, an_error_stays_one_short_line_whatever_the_value)
{
    begin();
    char value[4096];
    memset(value, 'x', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    refuse("weir.workers", value);
    cr_assert(says("xxx...") && says("0..256"), "%s", error.text);
    refuse("weir.workers", "1\n2\x1b[31m");
    cr_assert(says("1?2?[31m"), "%s", error.text);
    refuse(value, "1");
    cr_assert_lt(strlen(error.text), 200u);
    finish();
}

Test(config_set, a_copy_stands_on_its_own)
{
    begin();
    accept("weir.topics", "orders", "orders");
    accept("weir.retry.base.ms", "7", "7");
    accept("weir.held.policy", "wait", "wait");
    accept("group.id", "billing", "billing");
    accept("sasl.password", "hunter2", "[hidden]");
    accept("auto.offset.reset", "earliest", "earliest");
    struct weir_config *copy = weir_config_copy(config);
    cr_assert_not_null(copy);
    accept("weir.topics", "payments", "payments");
    accept("group.id", "shipping", "shipping");
    weir_config_destroy(config);
    config = copy;
    cr_assert_str_eq(weir_config_options(copy)->topics, "orders");
    cr_assert_str_eq(weir_config_options(copy)->dlq_topic, "{topic}.dlq");
    cr_assert_eq(weir_config_options(copy)->retry_base_ms, 7u);
    cr_assert_str_eq(weir_config_get(copy, "weir.held.policy"), "wait");
    cr_assert_str_eq(weir_config_kafka_get(copy, "group.id"), "billing");
    cr_assert_str_eq(weir_config_kafka_get(copy, "sasl.password"), "hunter2");
    cr_assert_eq(weir_config_reset_policy(copy), WEIR_RESET_EARLIEST);
    cr_assert_str_eq(weir_config_get(copy, "auto.offset.reset"), "earliest");
    finish();
}
