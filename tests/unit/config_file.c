/*
 * Configuration files: what is read, and that every mistake is reported with file and line.
 */
#include "actors/config/config.h"
#include "tests/support/test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct weir_config *config;
static struct weir_error error;
static char path[64];

/* Load a file of that content; the file is gone afterwards. */
static int load_bytes(const char *content, size_t size)
{
    snprintf(path, sizeof path, "/tmp/weir-config-XXXXXX");
    int descriptor = mkstemp(path);
    cr_assert_geq(descriptor, 0);
    cr_assert_eq(write(descriptor, content, size), (ssize_t)size);
    cr_assert_eq(close(descriptor), 0);
    weir_config_destroy(config);
    config = weir_config_create();
    cr_assert_not_null(config);
    memset(&error, 0, sizeof error);
    int code = weir_config_load(config, path, &error);
    cr_assert_eq(unlink(path), 0);
    return code;
}

static void reads(const char *content)
{
    int code = load_bytes(content, strlen(content));
    cr_assert_eq(code, 0, "%s", error.text);
}

static void is(const char *name, const char *value)
{
    const char *got = weir_config_get(config, name);
    cr_assert(got && strcmp(got, value) == 0, "%s: %s, not %s", name, got ? got : "none", value);
}

static void finish(void)
{
    weir_config_destroy(config);
    config = NULL;
}

/* Refused with WEIR_INVALID, "path:line: " and the part. */
static void fails_bytes(const char *content, size_t size, unsigned line, const char *part)
{
    char place[96];
    cr_assert_eq(load_bytes(content, size), WEIR_INVALID, "%s", content);
    snprintf(place, sizeof place, "%s:%u: ", path, line);
    cr_assert_eq(strncmp(error.text, place, strlen(place)), 0, "%s", error.text);
    cr_assert(strstr(error.text, part), "%s", error.text);
    finish();
}

static void fails(const char *content, unsigned line, const char *part)
{
    fails_bytes(content, strlen(content), line, part);
}

Test(config_file, sections_say_whose_names_they_are)
{
    reads("[kafka]\n"
          "bootstrap.servers = localhost:9092\n"
          "group.id=billing\n"
          "auto.offset.reset = earliest\n"
          "[weir]\n"
          "topics = orders, payments\n"
          "window.bytes.max = 64M\n");
    is("bootstrap.servers", "localhost:9092");
    is("group.id", "billing");
    is("weir.topics", "orders,payments");
    is("weir.window.bytes.max", "67108864");
    cr_assert_eq(weir_config_reset_policy(config), WEIR_RESET_EARLIEST);
    finish();
}

Test(config_file, blanks_comments_and_line_ends_do_not_count)
{
    reads("\xEF\xBB\xBF; a byte order mark, then comments\r\n"
          "# of both kinds\r\n"
          "\r\n"
          "  [weir]  \r\n"
          "\ttopics   :   orders  \r\n"
          "   ; indented\r\n"
          "   workers=3\r\n");
    is("weir.topics", "orders");
    is("weir.workers", "3");
    finish();
}

Test(config_file, a_value_is_taken_as_it_stands)
{
    reads("[kafka]\n"
          "client.id = a;b ; c # d = e : f \"g\" 'h' \\\n"
          "group.id = required username=\"u\" password=\"p\";\n"
          "ssl.ca.location = \xc3\xa9/\xe2\x82\xac.pem");
    is("client.id", "a;b ; c # d = e : f \"g\" 'h' \\");
    is("group.id", "required username=\"u\" password=\"p\";");
    is("ssl.ca.location", "\xc3\xa9/\xe2\x82\xac.pem");
    finish();
}

Test(config_file, a_value_may_be_empty_or_longer_than_any_buffer)
{
    static char content[70000];
    reads("[weir]\ndlq.topic =\n");
    is("weir.dlq.topic", "");
    strcpy(content, "[kafka]\nssl.ca.location = ");
    memset(content + strlen(content), 'x', 65536);
    strcat(content, "\ngroup.id = after\n");
    reads(content);
    cr_assert_eq(strlen(weir_config_get(config, "ssl.ca.location")), 65536u);
    is("group.id", "after");
    for (size_t size = 150; size < 230; size++) { /* around inih's own limit */
        strcpy(content, "[kafka]\nclient.id = ");
        size_t head = strlen(content);
        memset(content + head, 'y', size);
        strcpy(content + head + size, "\n");
        reads(content);
        cr_assert_eq(strlen(weir_config_get(config, "client.id")), size);
    }
    finish();
}

Test(config_file, an_indented_line_is_a_setting_of_its_own)
{
    reads("[kafka]\nclient.id = a\n   group.id = b\n");
    is("client.id", "a");
    is("group.id", "b");
    finish();
}

Test(config_file, a_section_may_come_twice_and_an_empty_file_is_right)
{
    reads("[weir]\nworkers = 1\n[kafka]\ngroup.id = a\n[weir]\ntopics = b\n");
    is("weir.topics", "b");
    reads("");
    reads("; nothing\n\n[weir]\n[kafka]\n");
    finish();
}

Test(config_file, a_second_file_goes_on_top_of_the_first)
{
    char first[] = "/tmp/weir-config-XXXXXX", second[] = "/tmp/weir-config-XXXXXX";
    FILE *file = fdopen(mkstemp(first), "w");
    cr_assert_not_null(file);
    fputs("[weir]\nworkers = 1\ntopics = a\n", file);
    fclose(file);
    file = fdopen(mkstemp(second), "w");
    cr_assert_not_null(file);
    fputs("[weir]\nworkers = 2\n", file);
    fclose(file);
    config = weir_config_create();
    cr_assert_eq(weir_config_load(config, first, &error), 0, "%s", error.text);
    cr_assert_eq(weir_config_load(config, second, &error), 0, "%s", error.text);
    is("weir.workers", "2");
    is("weir.topics", "a");
    unlink(first);
    unlink(second);
    finish();
}

Test(config_file, what_stood_before_the_bad_line_is_set_and_nothing_after_it)
{
    const char *content = "[weir]\nworkers = 3\nordering = maybe\nturn.messages.max = 9\n";
    cr_assert_eq(load_bytes(content, strlen(content)), WEIR_INVALID);
    is("weir.workers", "3");
    is("weir.ordering", "key");
    is("weir.turn.messages.max", "64");
    finish();
}

/* ---- mistakes ---- */

Test(config_file, a_wrong_value_is_reported_with_its_line)
{
    fails("[weir]\n\n; comment\nworkers = many\n", 4, "weir.workers=many: must be 0..256");
    fails("[kafka]\nfetch.wait.max.ms = -1\n", 2, "fetch.wait.max.ms=-1");
    fails("[kafka]\nsasl.pasword = hunter2\n", 2, "did you mean sasl.password?");
    cr_assert_null(strstr(error.text, "hunter2"));
}

Test(config_file, unknown_sections_are_refused)
{
    fails("[consumer]\nworkers = 1\n", 1, "[consumer");
    fails("[weir]\nworkers = 1\n[Kafka]\n", 3, "there are [kafka] and [weir]");
    fails("[weird]\n", 1, "is no section");
    fails("[]\n", 1, "is no section");
    fails("[weir\nworkers = 1\n", 1, "no closing ]");
}

Test(config_file, a_setting_outside_any_section_is_refused)
{
    fails("workers = 1\n", 1, "before any section");
}

Test(config_file, a_name_in_the_wrong_section_is_refused)
{
    fails("[weir]\nweir.workers = 1\n", 2, "without \"weir.\"");
    fails("[kafka]\nweir.workers = 1\n", 2, "under [weir]");
    fails("[weir]\ngroup.id = a\n", 2, "did you mean group.id?");
    fails("[kafka]\nworkers = 1\n", 2, "did you mean weir.workers?");
}

Test(config_file, a_name_set_twice_is_refused_with_both_lines)
{
    fails("[weir]\nworkers = 1\nordering = key\nworkers = 2\n", 4, "first in line 2");
    fails("[kafka]\ngroup.id = a\n[weir]\n[kafka]\ngroup.id = a\n", 5, "group.id is set a second time");
}

Test(config_file, a_line_that_is_no_setting_is_refused)
{
    fails("[weir]\nworkers\n", 2, "expected name = value");
    fails("[weir]\nworkers 3\n", 2, "expected name = value");
    fails("[weir]\n= 3\n", 2, "expected name = value");
    fails("[weir]\nwork ;ers = 3\n", 2, "expected name = value");
    fails_bytes("[weir]\nworkers = 3\0\n", 20, 2, "NUL");
}

Test(config_file, a_name_of_any_length_is_refused_in_few_words)
{
    static char content[70000];
    for (size_t size = 180; size < 60000; size += size < 260 ? 1 : 20000) {
        strcpy(content, "[weir]\n");
        memset(content + 7, 'n', size);
        strcpy(content + 7 + size, " = 1\n");
        cr_assert_eq(load_bytes(content, strlen(content)), WEIR_INVALID);
        cr_assert_lt(strlen(error.text), 250u);
        content[7 + size] = '\0'; /* and without a value */
        cr_assert_eq(load_bytes(content, strlen(content)), WEIR_INVALID);
    }
    finish();
}

Test(config_file, a_file_that_cannot_be_read_is_the_systems_error)
{
    config = weir_config_create();
    cr_assert_eq(weir_config_load(config, "/nowhere/weir.ini", &error), WEIR_SYSTEM);
    cr_assert(strstr(error.text, "/nowhere/weir.ini: No such file"), "%s", error.text);
    cr_assert_eq(weir_config_load(config, "/tmp", &error), WEIR_SYSTEM);
    cr_assert(strstr(error.text, "/tmp"), "%s", error.text);
    cr_assert_eq(weir_config_load(config, NULL, &error), WEIR_INVALID);
    cr_assert_eq(weir_config_load(NULL, "/tmp", &error), WEIR_INVALID);
    finish();
}
