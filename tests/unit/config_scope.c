/*
 * Options of a topic and of a class of failures: what is read, what is refused, and what holds where both say
 * something.
 */
#include "actors/config/table.h"
#include "tests/support/test.h"
#include <stdio.h>
#include <string.h>

static struct weir_config *config;
static struct weir_error error;

static void begin(void)
{
    config = weir_config_create();
    cr_assert_not_null(config);
    cr_assert_eq(weir_config_set(config, "weir.topics", "orders,eu.orders", NULL), 0);
    cr_assert_eq(weir_config_set(config, "group.id", "g", NULL), 0);
}

static void set(const char *name, const char *value)
{
    cr_assert_eq(weir_config_set(config, name, value, &error), 0, "%s", error.text);
}

static void refuse(const char *name, const char *value, const char *words)
{
    memset(&error, 0, sizeof error);
    cr_assert_eq(weir_config_set(config, name, value, &error), WEIR_INVALID, "%s=%s was accepted", name, value);
    cr_assert_not_null(strstr(error.text, words), "\"%s\" lacks %s", error.text, words);
}

static struct weir_options of(const char *topic, const char *class)
{
    struct weir_options options = *weir_config_options(config);
    weir_config_apply(config, WEIR_SCOPE_TOPIC, topic, &options);
    weir_config_apply(config, WEIR_SCOPE_CLASS, class, &options);
    return options;
}

Test(config_scope, each_option_comes_from_the_closest_that_has_it)
{
    begin();
    set("weir.retry.attempts.max", "7");
    set("weir.topic.orders.retry.attempts.max", "3");
    set("weir.topic.eu.orders.retry.base.ms", "2s");
    set("weir.class.http-5xx.retry.base.ms", "5s");
    set("weir.class.http-5xx.retry.factor", "1.5");
    cr_assert_eq(of("orders", "other").retry_attempts_max, 3);
    cr_assert_eq(of("orders", "other").retry_base_ms, 100);
    cr_assert_eq(of("eu.orders", "other").retry_attempts_max, 7);
    cr_assert_eq(of("eu.orders", "other").retry_base_ms, 2000);
    cr_assert_eq(of("eu.orders", "http-5xx").retry_base_ms, 5000);
    cr_assert_eq(of("orders", "http-5xx").retry_attempts_max, 3);
    cr_assert(of("orders", "http-5xx").retry_factor == 1.5);
    cr_assert_str_eq(weir_config_get(config, "weir.topic.orders.retry.attempts.max"), "3");
    cr_assert_str_eq(weir_config_get(config, "weir.topic.orders.retry.max.ms"), "30000", "that of all");
    set("weir.topic.orders.retry.attempts.max", "4");
    cr_assert_eq(of("orders", "").retry_attempts_max, 4, "what is set later wins");
    cr_assert_str_eq(weir_config_part(config, WEIR_SCOPE_TOPIC, 0), "orders");
    cr_assert_str_eq(weir_config_part(config, WEIR_SCOPE_TOPIC, 1), "eu.orders");
    cr_assert_null(weir_config_part(config, WEIR_SCOPE_TOPIC, 2));
    cr_assert_str_eq(weir_config_part(config, WEIR_SCOPE_CLASS, 0), "http-5xx");
    struct weir_config *copy = weir_config_copy(config);
    weir_config_destroy(config);
    config = copy;
    cr_assert_eq(of("orders", "").retry_attempts_max, 4);
    cr_assert_eq(weir_config_finish(config, &error), 0, "%s", error.text);
    weir_config_destroy(config);
}

Test(config_scope, what_no_part_may_have_is_refused_by_name)
{
    begin();
    refuse("weir.topic.orders.retry.atempts.max", "3",
           "what a topic may have of its own is retry.attempts.max, retry.base.ms");
    refuse("weir.topic.orders.workers", "3", "weir.topic.NAME.OPTION");
    refuse("weir.topic.retry.attempts.max", "3", "weir.topic.NAME.OPTION");
    refuse("weir.topic..retry.attempts.max", "3", "weir.topic.NAME.OPTION");
    refuse("weir.topic.a b.retry.attempts.max", "3", "letters, digits");
    refuse("weir.class.busy.window.messages.max", "3", "what a class of failures may have");
    refuse("weir.topic.orders.retry.attempts.max", "many", "weir.topic.orders.retry.attempts.max=many: must be 0..");
    char name[400];
    snprintf(name, sizeof name, "weir.topic.%0300d.retry.base.ms", 0);
    refuse(name, "3", "longer than 249");
    cr_assert_null(weir_config_get(config, "weir.topic.orders.workers"));
    weir_config_destroy(config);
}

static void refuse_whole(const char *words)
{
    memset(&error, 0, sizeof error);
    cr_assert_eq(weir_config_finish(config, &error), WEIR_INVALID);
    cr_assert_not_null(strstr(error.text, words), "\"%s\" lacks %s", error.text, words);
    weir_config_destroy(config);
}

Test(config_scope, a_topic_that_is_not_consumed_is_refused)
{
    begin();
    set("weir.topic.ordres.retry.attempts.max", "3");
    refuse_whole("weir.topic.ordres: weir.topics=orders,eu.orders does not name");
    begin();
    set("weir.topics", "^orders$");
    set("weir.topic.ordres.retry.attempts.max", "3");
    cr_assert_eq(weir_config_finish(config, &error), 0, "what an expression takes in is not known here");
    weir_config_destroy(config);
}

Test(config_scope, backoffs_that_contradict_each_other_are_refused_alone_and_together)
{
    begin();
    set("weir.topic.orders.retry.base.ms", "40s");
    refuse_whole("weir.topic.orders: retry.base.ms=40000 is above retry.max.ms=30000");
    begin();
    set("weir.class.slow.retry.base.ms", "40s");
    refuse_whole("weir.class.slow: retry.base.ms=40000");
    begin();
    set("weir.class.slow.retry.base.ms", "20s");
    set("weir.topic.orders.retry.max.ms", "10s");
    refuse_whole("weir.topic.orders with weir.class.slow: retry.base.ms=20000 is above retry.max.ms=10000");
}

Test(config_scope, there_may_be_64_classes)
{
    begin();
    for (unsigned number = 0; number < 64; number++) {
        char name[64];
        snprintf(name, sizeof name, "weir.class.c%u.retry.base.ms", number);
        set(name, "10");
    }
    cr_assert_eq(weir_config_finish(config, &error), 0, "%s", error.text);
    set("weir.class.more.retry.base.ms", "10");
    refuse_whole("one class more than the 64");
}

/* ---- priorities ---- */

Test(config_scope, topics_have_priorities_of_which_those_in_use_are_levels)
{
    begin();
    set("weir.topics", "orders,payments,bulk");
    cr_assert_eq(weir_config_levels(config), 1);
    cr_assert_eq(weir_config_level(config, "bulk"), 0);
    set("weir.priority", "3");
    set("weir.topic.payments.priority", "7");
    set("weir.topic.bulk.priority", "0");
    cr_assert_eq(weir_config_levels(config), 3);
    cr_assert_eq(weir_config_level(config, "payments"), 0);
    cr_assert_eq(weir_config_level(config, "orders"), 1);
    cr_assert_eq(weir_config_level(config, "bulk"), 2);
    cr_assert_eq(weir_config_priority(config, "orders"), 3);
    set("weir.topic.orders.priority", "7");
    cr_assert_eq(weir_config_levels(config), 2, "nobody has 3 any more");
    cr_assert_eq(weir_config_level(config, "bulk"), 1);
    set("weir.topics", "^p.*s$,bulk");
    cr_assert_eq(weir_config_levels(config), 3, "who knows what the expression takes in");
    cr_assert_eq(weir_config_level(config, "pears"), 1);
    cr_assert_eq(weir_config_finish(config, &error), 0, "%s", error.text);
    weir_config_destroy(config);
}

Test(config_scope, priorities_that_cannot_be_are_refused)
{
    begin();
    refuse("weir.priority", "8", "weir.priority=8: must be 0..7");
    refuse("weir.topic.orders.priority", "high", "weir.topic.orders.priority=high: must be 0..7");
    refuse("weir.topic.orders.priority.share.percent", "5", "what a topic may have of its own is");
    refuse("weir.class.slow.priority", "5", "what a class of failures may have");
    refuse("weir.priority.share.percent", "0", "must be 1..50");
    set("weir.topic.ordres.priority", "1");
    refuse_whole("weir.topic.ordres: weir.topics=orders,eu.orders does not name");
    begin();
    set("weir.topics", "a,b,c");
    set("weir.topic.a.priority", "2");
    set("weir.topic.b.priority", "1");
    set("weir.priority.share.percent", "25");
    cr_assert_eq(weir_config_finish(config, &error), 0, "%s", error.text);
    set("weir.priority.share.percent", "26");
    refuse_whole("weir.priority.share.percent=26: there are 3 priorities in use, and the lower ones together may have "
                 "50 percent: must be at most 25");
}
