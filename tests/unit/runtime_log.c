/*
 * The log: level, callback, and the lines of the default sink, caught from standard error.
 */
#include "runtime/log.h"
#include "tests/support/dies.h"
#include "tests/support/test.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>

static int kept_error = -1;

/* Send standard error into a file; give_back() reads what came. */
static FILE *catch_error(void)
{
    FILE *file = tmpfile();
    fflush(stderr);
    kept_error = dup(STDERR_FILENO);
    if (!file || kept_error < 0 || dup2(fileno(file), STDERR_FILENO) < 0)
        abort();
    return file;
}

static size_t give_back(FILE *file, char *text, size_t size)
{
    dup2(kept_error, STDERR_FILENO);
    close(kept_error);
    lseek(fileno(file), 0, SEEK_SET);
    size_t used = weir_test_read_all(fileno(file), text, size);
    fclose(file);
    return used;
}

static char line[16384];

static void log_one(const char *text, const char *name, const char *value)
{
    FILE *file = catch_error();
    weir_log(WEIR_LOG_WARN, WEIR_FIELDS({name, value}), "%s", text);
    give_back(file, line, sizeof line);
}

Test(log, a_line_is_logfmt_where_there_is_no_terminal)
{
    log_one("dead letter refused", "topic", "orders");
    cr_assert_eq(strncmp(line, "time=20", 7), 0, "%s", line);
    cr_assert_not_null(strstr(line, "Z level=warn msg=\"dead letter refused\" topic=orders\n"), "%s", line);
}

Test(log, values_are_quoted_where_logfmt_needs_it)
{
    log_one("x", "a", "two words");
    cr_assert_not_null(strstr(line, " a=\"two words\"\n"), "%s", line);
    log_one("x", "a", "");
    cr_assert_not_null(strstr(line, " a=\"\"\n"), "%s", line);
    log_one("x", "a", "k=v");
    cr_assert_not_null(strstr(line, " a=\"k=v\"\n"), "%s", line);
    log_one("x", "a", "Zürich");
    cr_assert_not_null(strstr(line, " a=Zürich\n"), "%s", line);
}

Test(log, content_cannot_forge_a_line_or_speak_to_the_terminal)
{
    log_one("a\nlevel=error \"b\" \\ \x1b[2J", "key", "x\r\ny\x7f");
    cr_assert_eq(strchr(line, '\n') - line, (long)strlen(line) - 1, "one newline, at the end: %s", line);
    cr_assert_not_null(strstr(line, "a\\nlevel=error \\\"b\\\" \\\\ \\x1b[2J"), "%s", line);
    cr_assert_not_null(strstr(line, "key=\"x\\x0d\\ny\\x7f\""), "%s", line);
}

Test(log, an_endless_value_is_cut_and_the_line_still_ends)
{
    static char value[20000];
    memset(value, 'v', sizeof value - 1);
    log_one(value, "long", value);
    size_t size = strlen(line);
    cr_assert(size > 2000 && size <= 4096, "%zu bytes", size);
    cr_assert_eq(line[size - 1], '\n');
}

Test(log, a_terminal_gets_a_line_for_people)
{
    int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    cr_assert(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    int end = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    cr_assert_geq(end, 0);
    int kept = dup(STDERR_FILENO);
    dup2(end, STDERR_FILENO);
    weir_log(WEIR_LOG_WARN, WEIR_FIELDS({"topic", "orders"}), "paused \x1b[2J");
    dup2(kept, STDERR_FILENO);
    close(kept);
    ssize_t size = read(terminal, line, sizeof line - 1);
    cr_assert_gt(size, 0);
    line[size] = 0;
    cr_assert_null(strstr(line, "time="));
    cr_assert_not_null(strstr(line, " warn: paused \\x1b[2J topic=orders"), "%s", line);
    close(end);
    close(terminal);
}

/* ---- callback and level ---- */

static unsigned calls;
static enum weir_log_level last_level;
static char last_text[256], last_field[256];

static void remember(void *user, enum weir_log_level level, const char *text, const struct weir_log_field *fields,
                     size_t field_count)
{
    calls += user == &calls;
    last_level = level;
    snprintf(last_text, sizeof last_text, "%s", text);
    snprintf(last_field, sizeof last_field, "%s=%s", field_count ? fields[0].name : "",
             field_count ? fields[0].value : "");
}

Test(log, the_callback_gets_sentence_and_fields_of_its_level)
{
    weir_log_set(remember, &calls, WEIR_LOG_WARN);
    weir_log(WEIR_LOG_INFO, WEIR_NO_FIELDS, "not severe enough");
    cr_assert_eq(calls, 0);
    weir_log(WEIR_LOG_ERROR, WEIR_FIELDS({"partition", "7"}), "no %s of %d", "place", 3);
    cr_assert_eq(calls, 1);
    cr_assert_eq(last_level, WEIR_LOG_ERROR);
    cr_assert_str_eq(last_text, "no place of 3");
    cr_assert_str_eq(last_field, "partition=7");
    weir_log_set(remember, &calls, WEIR_LOG_DEBUG);
    weir_log(WEIR_LOG_DEBUG, WEIR_NO_FIELDS, "now it is");
    cr_assert_eq(calls, 2);
    weir_log_set(NULL, NULL, WEIR_LOG_INFO);
    cr_assert(weir_log_is_on(WEIR_LOG_INFO));
    cr_assert_not(weir_log_is_on(WEIR_LOG_DEBUG));
}

/* ---- threads ---- */

static void *log_many(void *argument)
{
    for (unsigned i = 0; i < 500; i++)
        weir_log(WEIR_LOG_INFO, WEIR_FIELDS({"thread", argument}), "a sentence of some length, to be torn apart");
    return NULL;
}

Test(log, lines_of_several_threads_do_not_mix)
{
    static char text[1 << 20];
    static char names[4][2] = {"0", "1", "2", "3"};
    pthread_t threads[4];
    unsigned lines = 0, whole = 0;
    FILE *file = catch_error();
    fcntl(STDERR_FILENO, F_SETFL, O_APPEND); /* threads share the file's position, as with any log file */
    for (int i = 0; i < 4; i++)
        if (pthread_create(&threads[i], NULL, log_many, names[i]) != 0)
            abort();
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    give_back(file, text, sizeof text);
    for (char *rest = text, *one; (one = strsep(&rest, "\n")) && *one; lines++)
        whole += strncmp(one, "time=", 5) == 0 &&
                 strstr(one, " msg=\"a sentence of some length, to be torn apart\" thread=") == strstr(one, " msg");
    cr_assert_eq(lines, 2000);
    cr_assert_eq(whole, 2000);
}
