/* Codes, their names, and how sentences are written. */
#include "actors/config/config.h"
#include "tests/support/test.h"
#include <string.h>

Test(errors, every_code_has_its_name)
{
    for (int code = WEIR_OK; code >= WEIR_ESCALATED; code--) {
        cr_assert_str_neq(weir_code_name(code), "WEIR_UNKNOWN", "%d", code);
        cr_assert_eq(strncmp(weir_code_name(code), "WEIR_", 5), 0);
        for (int other = WEIR_OK; other > code; other--)
            cr_assert_str_neq(weir_code_name(code), weir_code_name(other));
    }
    cr_assert_str_eq(weir_code_name(WEIR_STALE), "WEIR_STALE");
    cr_assert_str_eq(weir_code_name(WEIR_ESCALATED - 1), "WEIR_UNKNOWN");
    cr_assert_str_eq(weir_code_name(1), "WEIR_UNKNOWN");
}

Test(errors, set_fills_in_code_and_sentence_and_returns_the_code)
{
    struct weir_error error;
    cr_assert_eq(weir_error_set(&error, WEIR_STATE, "started %d times", 2), WEIR_STATE);
    cr_assert_eq(error.code, WEIR_STATE);
    cr_assert_str_eq(error.text, "started 2 times");
    cr_assert_eq(weir_error_set(NULL, WEIR_FULL, "nobody reads %s", "this"), WEIR_FULL);
}

Test(errors, a_sentence_may_be_built_from_the_one_it_replaces)
{
    struct weir_error error;
    weir_error_set(&error, WEIR_INVALID, "inner");
    weir_error_set(&error, WEIR_INVALID, "outer: %s", error.text);
    cr_assert_str_eq(error.text, "outer: inner");
}

Test(errors, a_sentence_is_one_line_without_control_characters)
{
    struct weir_error error;
    weir_error_set(&error, WEIR_INVALID, "topic %s", "a\nb\x1b[31m\x7f \xc3\xa9");
    cr_assert_str_eq(error.text, "topic a?b?[31m? \xc3\xa9");
}

static void fill(char *text, size_t size, const char *tail)
{
    memset(text, 'x', size);
    strcpy(text + size, tail);
}

Test(errors, a_long_sentence_is_cut_between_characters)
{
    struct weir_error error;
    char text[600];
    fill(text, WEIR_ERROR_TEXT_SIZE - 1, "");
    weir_error_set(&error, WEIR_INVALID, "%s", text);
    cr_assert_eq(strlen(error.text), (size_t)WEIR_ERROR_TEXT_SIZE - 1);
    fill(text, WEIR_ERROR_TEXT_SIZE - 1, "y");
    weir_error_set(&error, WEIR_INVALID, "%s", text);
    cr_assert_eq(strlen(error.text), (size_t)WEIR_ERROR_TEXT_SIZE - 1);
    /* A euro sign has three bytes: it goes unless all of them fit. */
    for (size_t room = 1; room <= 4; room++) {
        fill(text, WEIR_ERROR_TEXT_SIZE - 1 - room, "\xe2\x82\xac and more");
        weir_error_set(&error, WEIR_INVALID, "%s", text);
        size_t kept = room >= 3 ? WEIR_ERROR_TEXT_SIZE - 1 : WEIR_ERROR_TEXT_SIZE - 1 - room;
        cr_assert_eq(strlen(error.text), kept, "room %zu: %zu", room, strlen(error.text));
    }
}
