/* Names of dead letter topics: templates checked when configured, and expanded for each letter. */
#include "actors/dlq.h"
#include "tests/support/test.h"
#include <string.h>

static int expand(const char *template_text, const char *topic, const char *group, char *name)
{
    const struct weir_dlq_source source = {.topic = topic, .group = group};
    struct weir_dlq_letter letter;
    int code = weir_dlq_compose(&letter, &source, template_text, WEIR_DLQ_KIP1191, false);
    if (code == 0)
        strcpy(name, letter.produce.topic);
    weir_dlq_letter_deinit(&letter);
    return code;
}

Test(dlq_topic, placeholders_are_replaced)
{
    static const struct {
        const char *template_text, *topic, *group, *name;
    } cases[] = {
        {"{topic}.dlq", "orders", "g", "orders.dlq"},
        {"dead", "orders", "g", "dead"},
        {"{group}.{topic}.{group}", "orders", "g", "g.orders.g"},
        {"{topic}.dlq", "{group}", "g", "_group_.dlq"},
        {"dlq.{group}", "orders", "billing/eu 1", "dlq.billing_eu_1"},
    };
    for (size_t index = 0; index < sizeof cases / sizeof *cases; index++) {
        char name[256] = "";
        cr_assert_eq(expand(cases[index].template_text, cases[index].topic, cases[index].group, name), 0);
        cr_assert_str_eq(name, cases[index].name);
    }
}

Test(dlq_topic, longest_name_is_accepted_and_no_longer_one)
{
    char topic[256], name[256];
    memset(topic, 't', sizeof topic);
    topic[245] = '\0';
    cr_assert_eq(expand("{topic}.dlq", topic, "g", name), 0);
    cr_assert_eq(strlen(name), 249);
    topic[245] = 't';
    topic[246] = '\0';
    cr_assert_eq(expand("{topic}.dlq", topic, "g", name), WEIR_INVALID);
    cr_assert_eq(expand("{group}", "t", topic, name), 0);
    cr_assert_eq(expand("{group}{group}", "t", topic, name), WEIR_INVALID);
}

Test(dlq_topic, letter_never_goes_back_to_its_own_topic)
{
    char name[256];
    cr_assert_eq(expand("{topic}", "orders", "g", name), WEIR_INVALID);
    cr_assert_eq(expand("dead", "dead", "g", name), WEIR_INVALID);
    cr_assert_eq(expand("{group}", "orders", ".", name), WEIR_INVALID);
    cr_assert_eq(expand("", "orders", "g", name), WEIR_INVALID);
}

Test(dlq_topic, template_is_checked_with_a_sentence)
{
    static const char *const right[] = {"", "{topic}.dlq", "dlq", "{topic}{group}", "a.b_c-d", "{topic}-{topic}"};
    static const struct {
        const char *template_text, *word;
    } wrong[] = {
        {"{topic}", "must differ"}, {".", "must differ"},           {"..", "must differ"}, {"a b", "' '"},
        {"{topics}.dlq", "'{'"},    {"{topic}/dlq", "character 8"}, {"dlq}", "'}'"},       {"d\xc3\xa9", "allowed"},
    };
    struct weir_error error;
    for (size_t index = 0; index < sizeof right / sizeof *right; index++)
        cr_assert_eq(weir_dlq_check_template(right[index], &error), 0, "%s", right[index]);
    cr_assert_eq(weir_dlq_check_template(NULL, &error), 0);
    for (size_t index = 0; index < sizeof wrong / sizeof *wrong; index++) {
        cr_assert_eq(weir_dlq_check_template(wrong[index].template_text, &error), WEIR_INVALID);
        cr_assert_eq(error.code, WEIR_INVALID);
        cr_assert_not_null(strstr(error.text, wrong[index].word), "%s", error.text);
        cr_assert_eq(weir_dlq_check_template(wrong[index].template_text, NULL), WEIR_INVALID);
    }
    char long_name[400];
    memset(long_name, 'x', sizeof long_name);
    long_name[250] = '\0';
    cr_assert_eq(weir_dlq_check_template(long_name, &error), WEIR_INVALID);
    cr_assert_not_null(strstr(error.text, "250"), "%s", error.text);
    long_name[249] = '\0';
    cr_assert_eq(weir_dlq_check_template(long_name, &error), 0);
}
