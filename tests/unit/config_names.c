/*
 * Names and the nearest of them, checked against the librdkafka that is installed.
 */
#include "actors/config/table.h"
#include "runtime/check.h"
#include "tests/support/test.h"
#include <librdkafka/rdkafka.h>
#include <string.h>

Test(config_names, distance_counts_insertions_deletions_replacements_and_swaps)
{
    cr_assert_eq(weir_config_distance("topics", "topics", 3), 0u);
    cr_assert_eq(weir_config_distance("topcs", "topics", 3), 1u);
    cr_assert_eq(weir_config_distance("toppics", "topics", 3), 1u);
    cr_assert_eq(weir_config_distance("topixs", "topics", 3), 1u);
    cr_assert_eq(weir_config_distance("tpoics", "topics", 3), 1u);
    cr_assert_eq(weir_config_distance("kitten", "sitting", 3), 3u);
    cr_assert_eq(weir_config_distance("", "abc", 3), 3u);
    cr_assert_eq(weir_config_distance("abc", "", 3), 3u);
    cr_assert_eq(weir_config_distance("abcd", "efgh", 3), 4u);
    cr_assert_eq(weir_config_distance("", "", 0), 0u);
}

Test(config_names, distance_of_names_too_long_to_be_any_is_beyond_the_limit)
{
    char name[200];
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    cr_assert_eq(weir_config_distance(name, name, 3), 4u);
    cr_assert_null(weir_config_nearest(name));
    name[64] = '\0';
    cr_assert_eq(weir_config_distance(name, name, 3), 0u);
}

Test(config_names, every_name_is_nearest_to_itself)
{
    unsigned tried = 0;
    for (size_t index = 0; index < WEIR_OPTION_COUNT; index++) {
        if (weir_option_table[index].kind == WEIR_OPTION_SECTION)
            continue;
        cr_assert_str_eq(weir_config_nearest(weir_option_table[index].name), weir_option_table[index].name);
        tried++;
    }
    for (size_t index = 0; weir_config_property_name(index); index++, tried++)
        cr_assert_str_eq(weir_config_nearest(weir_config_property_name(index)), weir_config_property_name(index));
    cr_assert_gt(tried, 100u);
}

Test(config_names, a_slip_is_recognised)
{
    static const struct {
        const char *slip, *meant;
    } SLIPS[] = {
        {"weir.wrkers", "weir.workers"},
        {"weir.window.message.max", "weir.window.messages.max"},
        {"weir.retry.attempt.max", "weir.retry.attempts.max"},
        {"workers", "weir.workers"},
        {"weir.bootstrap.servers", "bootstrap.servers"},
        {"group_id", "group.id"},
        {"sesion.timeout.ms", "session.timeout.ms"},
        {"ssl.ca.locaton", "ssl.ca.location"},
    };
    for (size_t index = 0; index < WEIR_COUNT(SLIPS); index++) {
        const char *nearest = weir_config_nearest(SLIPS[index].slip);
        cr_assert(nearest && strcmp(nearest, SLIPS[index].meant) == 0, "%s: %s", SLIPS[index].slip,
                  nearest ? nearest : "none");
    }
}

Test(config_names, what_is_far_from_all_has_no_nearest)
{
    static const char *const FAR[] = {"", "x", "weir.", "weir.x", "foo", "completely.different.thing"};
    for (size_t index = 0; index < WEIR_COUNT(FAR); index++)
        cr_assert_null(weir_config_nearest(FAR[index]), "%s: %s", FAR[index], weir_config_nearest(FAR[index]));
}

static bool is_known(rd_kafka_conf_t *conf, const char *name)
{
    char words[256];
    return rd_kafka_conf_set(conf, name, "1", words, sizeof words) != RD_KAFKA_CONF_UNKNOWN;
}

Test(config_names, only_properties_that_librdkafka_knows_are_suggested)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    size_t index = 0;
    for (; weir_config_property_name(index); index++)
        cr_assert(is_known(conf, weir_config_property_name(index)), "%s", weir_config_property_name(index));
    cr_assert_gt(index, 80u);
    rd_kafka_conf_destroy(conf);
}

Test(config_names, every_owned_property_is_one_of_librdkafkas)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    const char *name, *reason;
    size_t index = 0;
    for (; weir_config_owned_at(index, &name, &reason); index++)
        cr_assert(is_known(conf, name), "%s", name);
    cr_assert_gt(index, 10u);
    rd_kafka_conf_destroy(conf);
}

Test(config_names, values_are_shown_whole_when_short_and_cut_between_characters_when_long)
{
    char text[12];
    cr_assert_str_eq(weir_config_show("short", text, sizeof text), "short");
    cr_assert_str_eq(weir_config_show("12345678", text, sizeof text), "12345678");
    cr_assert_str_eq(weir_config_show("123456789", text, sizeof text), "12345678...");
    cr_assert_str_eq(weir_config_show("1234567\xc3\xa9", text, sizeof text), "1234567...");
    cr_assert_str_eq(weir_config_show("a\tb\n\x7f", text, sizeof text), "a?b??");
    cr_assert_str_eq(weir_config_show("", text, sizeof text), "");
}
