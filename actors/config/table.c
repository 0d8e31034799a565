/*
 * The table of options, and how their values are read and written.
 *
 * Thread: any. Nothing here allocates. Numbers are read digit by digit rather than by strtoull and strtod: those take
 * signs, white space and the locale's decimal point.
 */
#include "actors/config/table.h"
#include "runtime/check.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define FIELD(field) .offset = offsetof(struct weir_options, field)
#define NAME(text)   .name = WEIR_OPTION_PREFIX text

const struct weir_option weir_option_table[WEIR_OPTION_COUNT] = {
#define OPTION_SECTION(title) {.kind = WEIR_OPTION_SECTION, .name = title},
#define OPTION_NUMBER(name_, field, unit_, min_, max_, fallback_, sentence_) \
    {.kind = WEIR_OPTION_NUMBER,                                             \
     NAME(name_),                                                            \
     FIELD(field),                                                           \
     .unit = unit_,                                                          \
     .min = min_,                                                            \
     .max = max_,                                                            \
     .fallback = #fallback_,                                                 \
     .sentence = sentence_},
#define OPTION_FACTOR(name_, field, min_, max_, fallback_, sentence_) \
    {.kind = WEIR_OPTION_FACTOR,                                      \
     NAME(name_),                                                     \
     FIELD(field),                                                    \
     .factor_min = min_,                                              \
     .factor_max = max_,                                              \
     .fallback = #fallback_,                                          \
     .sentence = sentence_},
#define OPTION_CHOICE(name_, field, choices_, fallback_, sentence_) \
    {.kind = WEIR_OPTION_CHOICE,                                    \
     NAME(name_),                                                   \
     FIELD(field),                                                  \
     .choices = choices_,                                           \
     .fallback = #fallback_,                                        \
     .sentence = sentence_},
#define OPTION_TEXT(name_, field, fallback_, check_, sentence_) \
    {.kind = WEIR_OPTION_TEXT,                                  \
     NAME(name_),                                               \
     FIELD(field),                                              \
     .fallback = fallback_,                                     \
     .check = check_,                                           \
     .sentence = sentence_},
#include "actors/config/options.def"
#undef OPTION_SECTION
#undef OPTION_NUMBER
#undef OPTION_FACTOR
#undef OPTION_CHOICE
#undef OPTION_TEXT
};

size_t weir_option_find(const char *name)
{
    for (size_t index = 0; index < WEIR_OPTION_COUNT; index++) {
        const struct weir_option *option = &weir_option_table[index];
        if (option->kind != WEIR_OPTION_SECTION && strcmp(option->name, name) == 0)
            return index;
    }
    return WEIR_OPTION_COUNT;
}

/* ---- choices ---- */

/* Word `index` of "a|b|c" into `text`; false past the last. */
static bool choice_at(const char *choices, int index, char text[WEIR_OPTION_VALUE_SIZE])
{
    for (; index > 0; index--) {
        choices = strchr(choices, '|');
        if (!choices)
            return false;
        choices++;
    }
    size_t size = strcspn(choices, "|");
    WEIR_CHECK(size < WEIR_OPTION_VALUE_SIZE);
    memcpy(text, choices, size);
    text[size] = '\0';
    return true;
}

/* The number of a word, or -1. */
static int choice_index(const char *choices, const char *word)
{
    char text[WEIR_OPTION_VALUE_SIZE];
    for (int index = 0; choice_at(choices, index, text); index++)
        if (strcmp(text, word) == 0)
            return index;
    return -1;
}

/* ---- numbers ---- */

struct suffix {
    const char *text;
    uint64_t factor;
};

static const struct suffix BYTE_SUFFIXES[] = {
    {"k", 1ULL << 10}, {"K", 1ULL << 10},   {"KiB", 1ULL << 10}, {"M", 1ULL << 20},   {"MiB", 1ULL << 20},
    {"G", 1ULL << 30}, {"GiB", 1ULL << 30}, {"T", 1ULL << 40},   {"TiB", 1ULL << 40},
};
static const struct suffix TIME_SUFFIXES[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 60 * 60 * 1000}, {"d", 24 * 60 * 60 * 1000},
};

static bool find_factor(const struct suffix *suffixes, size_t count, const char *text, uint64_t *factor)
{
    for (size_t index = 0; index < count; index++) {
        if (strcmp(suffixes[index].text, text) == 0) {
            *factor = suffixes[index].factor;
            return true;
        }
    }
    return false;
}

/* What a unit lets a number be multiplied with. */
static bool suffix_factor(const char *unit, const char *text, uint64_t *factor)
{
    *factor = 1;
    if (*text == '\0')
        return true;
    if (strcmp(unit, "bytes") == 0)
        return find_factor(BYTE_SUFFIXES, WEIR_COUNT(BYTE_SUFFIXES), text, factor);
    if (strcmp(unit, "ms") == 0)
        return find_factor(TIME_SUFFIXES, WEIR_COUNT(TIME_SUFFIXES), text, factor);
    return false;
}

static bool is_digit(char character)
{
    return character >= '0' && character <= '9';
}

/* Digits at `*text`, which is moved past them; false if there are none or the number is beyond 64 bits. */
static bool take_digits(const char **text, uint64_t *number)
{
    if (!is_digit(**text))
        return false;
    *number = 0;
    for (; is_digit(**text); (*text)++)
        if (__builtin_mul_overflow(*number, 10, number) ||
            __builtin_add_overflow(*number, (uint64_t)(**text - '0'), number))
            return false;
    return true;
}

static bool read_number(const struct weir_option *option, const char *value, uint64_t *number)
{
    uint64_t factor;
    return take_digits(&value, number) && suffix_factor(option->unit, value, &factor) &&
           !__builtin_mul_overflow(*number, factor, number) && *number >= option->min && *number <= option->max;
}

/* "2", "1.5": digits, and perhaps a point and up to six more. */
static bool read_factor(const struct weir_option *option, const char *value, double *factor)
{
    uint64_t whole, fraction = 0, scale = 1;
    if (!take_digits(&value, &whole))
        return false;
    if (*value == '.') {
        const char *start = ++value;
        if (!take_digits(&value, &fraction) || value - start > 6)
            return false;
        for (; start < value; start++)
            scale *= 10;
    }
    *factor = (double)whole + (double)fraction / (double)scale;
    return *value == '\0' && *factor >= option->factor_min && *factor <= option->factor_max;
}

/* ---- values ---- */

static void *field_of(const struct weir_option *option, struct weir_options *options)
{
    return (char *)options + option->offset;
}

void weir_option_range(const struct weir_option *option, char *text, size_t size)
{
    text[0] = '\0';
    if (option->kind == WEIR_OPTION_NUMBER)
        snprintf(text, size, "%" PRIu64 "..%" PRIu64, option->min, option->max);
    else if (option->kind == WEIR_OPTION_FACTOR)
        snprintf(text, size, "%.1f..%.1f", option->factor_min, option->factor_max);
    else if (option->kind == WEIR_OPTION_CHOICE)
        snprintf(text, size, "%s", option->choices);
}

static const char *suffix_hint(const char *unit)
{
    if (strcmp(unit, "bytes") == 0)
        return ", or with a unit such as 64M or 64MiB";
    if (strcmp(unit, "ms") == 0)
        return ", or with a unit: ms, s, m, h or d";
    return "";
}

static int refuse(const struct weir_option *option, const char *value, struct weir_error *error)
{
    const char *unit = option->unit ? option->unit : "";
    char shown[64], range[128];
    weir_config_show(value, shown, sizeof shown);
    weir_option_range(option, range, sizeof range);
    return weir_error_set(error, WEIR_INVALID, "%s=%s: must be %s%s%s%s", option->name, shown, range,
                          unit[0] ? " " : "", unit, suffix_hint(unit));
}

int weir_option_parse(const struct weir_option *option, const char *value, struct weir_options *options,
                      char text[WEIR_OPTION_VALUE_SIZE], struct weir_error *error)
{
    uint64_t number;
    double factor;
    int choice;
    switch (option->kind) {
    case WEIR_OPTION_NUMBER:
        if (!read_number(option, value, &number))
            return refuse(option, value, error);
        *(uint64_t *)field_of(option, options) = number;
        snprintf(text, WEIR_OPTION_VALUE_SIZE, "%" PRIu64, number);
        return 0;
    case WEIR_OPTION_FACTOR:
        if (strlen(value) >= WEIR_OPTION_VALUE_SIZE || !read_factor(option, value, &factor))
            return refuse(option, value, error);
        *(double *)field_of(option, options) = factor;
        memcpy(text, value, strlen(value) + 1);
        return 0;
    case WEIR_OPTION_CHOICE:
        choice = choice_index(option->choices, value);
        if (choice < 0)
            return refuse(option, value, error);
        *(int *)field_of(option, options) = choice;
        memcpy(text, value, strlen(value) + 1);
        return 0;
    case WEIR_OPTION_SECTION:
    case WEIR_OPTION_TEXT:
        break;
    }
    WEIR_CHECK(!"a section or a text is not parsed");
    return WEIR_INVALID;
}

const char *weir_option_fallback(const struct weir_option *option, char text[WEIR_OPTION_VALUE_SIZE])
{
    if (option->kind != WEIR_OPTION_CHOICE)
        return option->fallback;
    WEIR_CHECK(choice_at(option->choices, atoi(option->fallback), text));
    return text;
}
