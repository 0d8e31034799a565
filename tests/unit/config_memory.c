/*
 * Every allocation made to fail once: nothing is lost, nothing changes, and the code is WEIR_NO_MEMORY.
 */
#include "actors/config/config.h"
#include "runtime/memory.h"
#include "tests/support/test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct weir_config *config;
static struct weir_error error;
static char path[] = "/tmp/weir-config-XXXXXX";

static void prepare(const char *settings[][2], size_t count)
{
    config = weir_config_create();
    cr_assert_not_null(config);
    for (size_t index = 0; index < count; index++)
        cr_assert_eq(weir_config_set(config, settings[index][0], settings[index][1], &error), 0, "%s", error.text);
}

/* Tries `attempt` on a fresh configuration with the first allocation failing, then on another with the second, ...
 * until it succeeds. Returns how often it failed. */
static unsigned fail_each(int (*attempt)(void), const char *settings[][2], size_t setting_count)
{
    for (unsigned count = 0; count < 1000; count++) {
        prepare(settings, setting_count);
        weir_memory_fail_after(count);
        int code = attempt();
        weir_memory_fail_after(UINT64_MAX);
        weir_config_destroy(config);
        if (code == 0)
            return count;
        cr_assert_eq(code, WEIR_NO_MEMORY);
    }
    cr_assert_fail("never succeeds");
    return 0;
}

#define FAIL_EACH(attempt, ...) \
    fail_each(attempt, (const char *[][2]){__VA_ARGS__}, sizeof((const char *[][2]){__VA_ARGS__}) / sizeof(char *[2]))

static int create(void)
{
    struct weir_config *created = weir_config_create();
    weir_config_destroy(created);
    return created ? 0 : WEIR_NO_MEMORY;
}

Test(config_memory, create_fails_whole)
{
    cr_assert_eq(fail_each(create, NULL, 0), 1u);
}

static int set_text(void)
{
    int code = weir_config_set(config, "weir.topics", "orders", &error);
    cr_assert_str_eq(weir_config_get(config, "weir.topics"), code == 0 ? "orders" : "");
    return code;
}

static int replace_text(void)
{
    int code = weir_config_set(config, "weir.topics", "payments", &error);
    cr_assert_str_eq(weir_config_get(config, "weir.topics"), code == 0 ? "payments" : "orders");
    return code;
}

static int set_property(void)
{
    int code = weir_config_set(config, "group.id", "billing", &error);
    const char *value = weir_config_get(config, "group.id");
    cr_assert(code == 0 ? strcmp(value, "billing") == 0 : !value);
    return code;
}

static int replace_property(void)
{
    int code = weir_config_set(config, "group.id", "shipping", &error);
    cr_assert_str_eq(weir_config_get(config, "group.id"), code == 0 ? "shipping" : "billing");
    return code;
}

static int set_reset(void)
{
    int code = weir_config_set(config, "auto.offset.reset", "earliest", &error);
    cr_assert_eq(weir_config_reset_policy(config), code == 0 ? WEIR_RESET_EARLIEST : WEIR_RESET_LATEST);
    return code;
}

Test(config_memory, a_set_that_fails_changes_nothing)
{
    cr_assert_eq(fail_each(set_text, NULL, 0), 1u);
    cr_assert_eq(FAIL_EACH(replace_text, {"weir.topics", "orders"}), 1u);
    cr_assert_eq(fail_each(set_property, NULL, 0), 3u);
    cr_assert_eq(FAIL_EACH(replace_property, {"group.id", "billing"}), 1u);
    cr_assert_eq(fail_each(set_reset, NULL, 0), 1u);
}

static int copy(void)
{
    struct weir_config *made = weir_config_copy(config);
    if (!made)
        return WEIR_NO_MEMORY;
    cr_assert_str_eq(weir_config_get(made, "group.id"), "billing");
    weir_config_destroy(made);
    return 0;
}

Test(config_memory, a_copy_fails_whole)
{
    unsigned failures = FAIL_EACH(copy, {"weir.topics", "orders"}, {"weir.application", "app"}, {"group.id", "billing"},
                                  {"auto.offset.reset", "earliest"});
    cr_assert_eq(failures, 7u); /* itself, two texts, the list, a name and a value, the policy */
}

static int finish(void)
{
    return weir_config_finish(config, &error);
}

Test(config_memory, the_checks_between_options_fail_cleanly)
{
    cr_assert_geq(FAIL_EACH(finish, {"weir.topics", "orders"}, {"group.id", "billing"}), 1u);
}

static int load(void)
{
    return weir_config_load(config, path, &error);
}

Test(config_memory, a_file_is_read_or_refused)
{
    FILE *file = fdopen(mkstemp(path), "w");
    cr_assert_not_null(file);
    fputs("[kafka]\ngroup.id = billing\n[weir]\ntopics = orders\nworkers = 2\n", file);
    cr_assert_eq(fclose(file), 0);
    cr_assert_geq(fail_each(load, NULL, 0), 7u); /* three lines remembered, a property, a text */
    cr_assert(strstr(error.text, path) && strstr(error.text, "out of memory"), "%s", error.text);
    unlink(path);
}
