/*
 * Fuzzer of single values. Goal: for each option, a value is either refused with one sentence, and then nothing has
 * changed, or it lies within the range that is documented, and what is shown of it means the same.
 *
 * The first byte of an input chooses the option, the rest is its value.
 */
#include "actors/config/table.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define VALUE_SIZE_MAX     1024
#define REQUIRE(condition) ((condition) ? (void)0 : abort())

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require_in_range(const struct weir_option *option, const struct weir_options *options)
{
    const void *field = (const char *)options + option->offset;
    if (option->kind == WEIR_OPTION_NUMBER) {
        uint64_t number = *(const uint64_t *)field;
        REQUIRE(number >= option->min && number <= option->max);
    } else if (option->kind == WEIR_OPTION_FACTOR) {
        double factor = *(const double *)field;
        REQUIRE(isfinite(factor) && factor >= option->factor_min && factor <= option->factor_max);
    } else if (option->kind == WEIR_OPTION_CHOICE) {
        size_t choices = 1;
        for (const char *at = option->choices; *at != '\0'; at++)
            choices += *at == '|';
        REQUIRE(*(const int *)field >= 0 && (size_t) * (const int *)field < choices);
    }
}

static void try_parsed(const struct weir_option *option, const char *value)
{
    struct weir_options options = {0}, again = {0};
    struct weir_error error = {0};
    char text[WEIR_OPTION_VALUE_SIZE] = "", second[WEIR_OPTION_VALUE_SIZE] = "";
    int code = weir_option_parse(option, value, &options, text, &error);
    if (code != 0) {
        REQUIRE(code == WEIR_INVALID && strstr(error.text, option->name));
        REQUIRE(memcmp(&options, &again, sizeof options) == 0);
        return;
    }
    require_in_range(option, &options);
    REQUIRE(memchr(text, '\0', sizeof text) && weir_option_parse(option, text, &again, second, &error) == 0);
    REQUIRE(memcmp(&options, &again, sizeof options) == 0 && strcmp(text, second) == 0);
}

/* A text that is accepted is kept as a text that is accepted, and never grows. */
static void try_text(const struct weir_option *option, const char *value)
{
    struct weir_error error = {0};
    char *text = strdup(value), *again;
    REQUIRE(text);
    if (option->check && option->check(option->name, text, &error) != 0) {
        REQUIRE(error.text[0] != '\0');
        free(text);
        return;
    }
    REQUIRE(strlen(text) <= strlen(value));
    again = strdup(text);
    REQUIRE(again && (!option->check || option->check(option->name, again, &error) == 0));
    REQUIRE(strcmp(text, again) == 0);
    free(again);
    free(text);
}

/* What is the C library's to answer for: expressions whose cost doubles with each repetition. */
static bool is_left_out(const char *text)
{
    unsigned repetitions = 0;
    for (const char *at = text; *at != '\0'; at++)
        repetitions += *at == '+' || *at == '*' || *at == '?' || *at == '{' || *at == '\\';
    return strchr(text, '^') && repetitions > 4;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char value[VALUE_SIZE_MAX + 1];
    if (size < 1 || size > VALUE_SIZE_MAX)
        return -1;
    memcpy(value, data + 1, size - 1);
    value[size - 1] = '\0';
    const struct weir_option *option = &weir_option_table[data[0] % WEIR_OPTION_COUNT];
    if (option->kind == WEIR_OPTION_SECTION || is_left_out(value))
        return -1;
    if (option->kind == WEIR_OPTION_TEXT)
        try_text(option, value);
    else
        try_parsed(option, value);
    return 0;
}
