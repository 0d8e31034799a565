/*
 * The table of options for people: plain text for --help, Markdown for docs/options.md. Thread: any.
 */
#include "actors/config_table.h"
#include <inttypes.h>
#include <string.h>

enum { WIDTH = 100, INDENT = 8 };

/* "64 MiB" beside 67108864, "30 s" beside 30000: only where it comes out even. Empty otherwise. */
static void humanize(const struct weir_option *option, uint64_t number, char *text, size_t size)
{
    text[0] = '\0';
    if (option->kind != WEIR_OPTION_NUMBER || number == 0)
        return;
    bool bytes = strcmp(option->unit, "bytes") == 0;
    if (!bytes && strcmp(option->unit, "ms") != 0)
        return;
    static const struct scale {
        uint64_t factor;
        const char *unit;
        bool bytes;
    } SCALES[] = {
        {1ULL << 40, "TiB", true}, {1ULL << 30, "GiB", true}, {1ULL << 20, "MiB", true}, {1ULL << 10, "KiB", true},
        {86400000, "d", false},    {3600000, "h", false},     {60000, "min", false},     {1000, "s", false},
    };
    for (size_t index = 0; index < sizeof SCALES / sizeof SCALES[0]; index++) {
        if (SCALES[index].bytes == bytes && number % SCALES[index].factor == 0) {
            snprintf(text, size, "%" PRIu64 " %s", number / SCALES[index].factor, SCALES[index].unit);
            return;
        }
    }
}

/* The default as shown: with its unit where that helps, and `(empty)` for an empty text. */
static void write_default(FILE *file, const struct weir_option *option)
{
    char text[WEIR_OPTION_VALUE_SIZE], human[32];
    const char *fallback = weir_option_fallback(option, text);
    uint64_t number = 0;
    if (option->kind == WEIR_OPTION_NUMBER)
        sscanf(fallback, "%" SCNu64, &number);
    humanize(option, number, human, sizeof human);
    fputs(fallback[0] ? fallback : "(empty)", file);
    if (human[0])
        fprintf(file, " (%s)", human);
}

/* ---- plain text ---- */

static void write_wrapped(FILE *file, const char *sentence)
{
    size_t column = 0;
    while (*sentence != '\0') {
        size_t size = strcspn(sentence, " ");
        if (column == 0 || column + 1 + size > WIDTH) {
            fprintf(file, "%s%*s", column == 0 ? "" : "\n", INDENT, "");
            column = INDENT;
        } else {
            fputc(' ', file);
            column++;
        }
        fwrite(sentence, 1, size, file);
        column += size;
        sentence += size;
        sentence += strspn(sentence, " ");
    }
    fputc('\n', file);
}

void weir_config_write_help(FILE *file)
{
    for (size_t index = 0; index < WEIR_OPTION_COUNT; index++) {
        const struct weir_option *option = &weir_option_table[index];
        if (option->kind == WEIR_OPTION_SECTION) {
            fprintf(file, "%s%s\n", index == 0 ? "" : "\n", option->name);
            continue;
        }
        char range[128];
        weir_option_range(option, range, sizeof range);
        fprintf(file, "    %s = ", option->name);
        write_default(file, option);
        if (range[0])
            fprintf(file, "  [%s%s%s]", range, option->unit ? " " : "", option->unit ? option->unit : "");
        fputc('\n', file);
        write_wrapped(file, option->sentence);
    }
}

/* ---- Markdown ---- */

/* Within a cell '|' must be escaped, in code spans too. */
static void write_cell(FILE *file, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '|')
            fputc('\\', file);
        fputc(*text, file);
    }
}

static void write_row(FILE *file, const struct weir_option *option)
{
    char range[128];
    weir_option_range(option, range, sizeof range);
    fprintf(file, "| `%s` | ", option->name);
    write_default(file, option);
    fputs(" | ", file);
    write_cell(file, range[0] ? range : "text");
    if (option->unit)
        fprintf(file, " %s", option->unit);
    fputs(" | ", file);
    write_cell(file, option->sentence);
    fputs(" |\n", file);
}

void weir_config_write_markdown(FILE *file)
{
    for (size_t index = 0; index < WEIR_OPTION_COUNT; index++) {
        const struct weir_option *option = &weir_option_table[index];
        if (option->kind == WEIR_OPTION_SECTION)
            fprintf(file, "\n## %s\n\n| option | default | values | meaning |\n|---|---|---|---|\n", option->name);
        else
            write_row(file, option);
    }
}
