/*
 * The table of options for people: plain text for --help, Markdown for docs/options.md. Thread: any.
 */
#include "actors/config/table.h"
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

static const char INTRODUCTION[] =
    "# Options\n"
    "\n"
    "<!-- Written by `weir docs options` from actors/config/options.def; do not edit. -->\n"
    "\n"
    "`weir options` prints this list; `weir check FILE` says whether a file is right.\n"
    "\n"
    "## How options are set\n"
    "\n"
    "In the program each option is a name and a text; `weir_config_set()` checks the value and, if it is wrong, says\n"
    "what is allowed:\n"
    "\n"
    "```c\n"
    "weir_config_set(config, \"weir.topics\", \"orders,payments\", &error);\n"
    "weir_config_set(config, \"weir.window.bytes.max\", \"64M\", &error);\n"
    "weir_config_set(config, \"bootstrap.servers\", \"localhost:9092\", &error);\n"
    "```\n"
    "\n"
    "Names that begin with `weir.` are Weir's. Every other name is librdkafka's and passes through, so TLS, SASL and\n"
    "hosted brokers work as librdkafka documents them.\n"
    "\n"
    "In a file, which `weir_config_load()` and the command read, librdkafka's properties stand under `[kafka]` and\n"
    "Weir's, without `weir.`, under `[weir]`:\n"
    "\n"
    "```ini\n"
    "; a comment stands on a line of its own and begins with ; or #\n"
    "[kafka]\n"
    "bootstrap.servers = localhost:9092\n"
    "group.id = billing\n"
    "sasl.password = may hold ; and # and = and anything else\n"
    "[weir]\n"
    "topics = orders, payments\n"
    "retry.max.ms = 5m\n"
    "```\n"
    "\n"
    "A value ends with its line, however long; white space around it does not count, and nothing behind it is a\n"
    "comment. A name set twice in one file, an unknown section and a line that is no setting are errors, and are\n"
    "reported with file and line. What is set later wins: a second file, `weir_config_set()`, or `-X` of the command.\n"
    "\n"
    "Numbers are decimal. A number of bytes may end in `k`, `M`, `G` or `T` (or `KiB`, `MiB`, `GiB`, `TiB`), powers\n"
    "of 1,024; a time in ms may end in `ms`, `s`, `m` (minutes), `h` or `d`.\n"
    "\n"
    "Some options can be set for a part, which they then hold for in place of the option of all:\n"
    "`weir.topic.NAME.OPTION` for one topic, and `weir.class.NAME.OPTION` for the failures that a handler answers by\n"
    "`weir_retry_class(message, \"NAME\", reason)`. A class is closer than a topic, and each option is taken from the\n"
    "closest that has it: with `weir.topic.orders.retry.attempts.max = 3` and `weir.class.busy.retry.base.ms = 5s` a\n"
    "failure of class `busy` in `orders` has both.\n"
    "\n";

static const char CONSTRAINTS[] =
    "\n"
    "## What must hold between options\n"
    "\n"
    "Checked when a consumer is created:\n"
    "\n"
    "- `weir.topics` and `group.id` are set.\n"
    "- `weir.held.messages.max` is at most `weir.window.messages.max`.\n"
    "- `weir.window.bytes.max` is at most `weir.memory.bytes.max`.\n"
    "- `weir.retry.base.ms` is at most `weir.retry.max.ms`, `weir.overloaded.base.ms` at most "
    "`weir.overloaded.max.ms`.\n"
    "- `weir.breaker.open.ms` is at most `weir.breaker.open.ms.max`.\n"
    "- `weir.revoke.drain.ms.max` is at most half of `max.poll.interval.ms`: the group expels members that answer "
    "late.\n"
    "- A topic with options of its own is one of `weir.topics`, unless an expression is there; its `retry.base.ms` is "
    "at\n"
    "  most its `retry.max.ms`, and so is that of a class, also together.\n"
    "- No topic or expression of `weir.topics` takes in a dead letter topic of the same consumer, which would then "
    "eat\n"
    "  its own dead letters. `^orders` takes in `orders.dlq`; `^orders\\.(eu|us)$` does not. Of expressions only "
    "simple\n"
    "  ones are looked into.\n"
    "- `weir.later.policy=abandon` needs `weir.later.deadline.ms` and a dead letter topic.\n"
    "- `weir.filter.version=header` needs `weir.filter.version.header`; with `weir.ordering=none` there are no "
    "versions and\n"
    "  no rates of keys.\n"
    "- `weir.priority.share.percent`, once for each priority in use below the highest, is at most 50 in all.\n"
    "- `weir.held.policy=dead` needs a dead letter topic; without one the default is `wait`.\n"
    "- `weir.delivery=at-most-once` runs a message once: `weir.retry.attempts.max` is 1 or not set.\n"
    "- `weir.delivery=exactly-once` goes with `isolation.level=read_committed` or none, with a map\n"
    "  (`weir.commit.map.bytes.max` above 0), without `weir.crash.journal`, and with `weir.later.policy=wait`.\n";

static const char PROPERTIES[] =
    "\n"
    "## librdkafka's properties\n"
    "\n"
    "`group.id` is required, `bootstrap.servers` too. `auto.offset.reset` (`earliest`, `latest` or `error`; default\n"
    "`latest`) says where a partition without a committed offset begins; Weir carries it out itself. Values of\n"
    "passwords, keys and tokens never appear in errors and logs.\n"
    "\n"
    "These properties are Weir's own, and are refused:\n"
    "\n"
    "| property | why |\n"
    "|---|---|\n";

static void write_parts(FILE *file, enum weir_scope scope, const char *what)
{
    fprintf(file, "- %s may have:", what);
    const char *name;
    for (size_t index = 0; (name = weir_scope_option(scope, index)); index++)
        fprintf(file, "%s `%s`", index == 0 ? "" : ",", name);
    fputs(".\n", file);
}

void weir_config_write_markdown(FILE *file)
{
    fputs(INTRODUCTION, file);
    write_parts(file, WEIR_SCOPE_TOPIC, "A topic");
    write_parts(file, WEIR_SCOPE_CLASS, "A class");
    fputs(CONSTRAINTS, file);
    for (size_t index = 0; index < WEIR_OPTION_COUNT; index++) {
        const struct weir_option *option = &weir_option_table[index];
        if (option->kind == WEIR_OPTION_SECTION)
            fprintf(file, "\n## %s\n\n| option | default | values | meaning |\n|---|---|---|---|\n", option->name);
        else
            write_row(file, option);
    }
    fputs(PROPERTIES, file);
    const char *name, *reason;
    for (size_t index = 0; weir_config_owned_at(index, &name, &reason); index++)
        fprintf(file, "| `%s` | %s |\n", name, reason);
}
