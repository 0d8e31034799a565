/*
 * Fuzzer of the command line. Goal: no arguments make the reader of a command's options go beyond them, loop, or hand
 * out what is not there; -X and a handler's words are refused or taken whole.
 *
 * The first byte of an input chooses the command, the rest is its arguments, one a line. What is printed goes nowhere.
 */
#include "cli/run.h"
#include "cli/settings.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_MAX_OF_INPUT  2048
#define ARGUMENTS_MAX      64
#define REQUIRE(condition) ((condition) ? (void)0 : abort())

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct weir_cli_option OPTIONS[] = {
    {'c', "config", "FILE", ""},   {'X', "set", "NAME=VALUE", ""}, {'s', "stats", NULL, ""},
    {'\0', "handler", "WHAT", ""}, {'n', "count", "N", ""},        {0},
};
static const struct weir_cli_option NONE[] = {{0}};
static const struct weir_cli_command COMMANDS[] = {
    {.name = "fuzzed", .operands = "[FILE]...", .summary = "", .details = "", .options = OPTIONS},
    {.name = "bare", .operands = "", .summary = "", .details = "", .options = NONE},
};
enum { CONFIG, SET, STATS, HANDLER, COUNT_MAX, OPTION_COUNT };

static bool lies_in(const char *value, int argc, char **argv)
{
    for (int index = 1; index < argc; index++)
        if (value >= argv[index] && value <= argv[index] + strlen(argv[index]))
            return true;
    return false;
}

static void try_handler(const char *text)
{
    struct weir_cli_handler handler = {0};
    if (!weir_cli_handler_init(&handler, text))
        return;
    REQUIRE(handler.call && handler.sleep_ms <= 3600000);
    REQUIRE(strncmp(text, "sleep:", 6) == 0 || handler.sleep_ms == 0);
}

/* One argument a turn: never more turns than characters. Returns how it ended. */
static int read_all(const struct weir_cli_command *command, struct weir_cli_settings *settings, int argc, char **argv,
                    size_t turns_max)
{
    struct weir_cli_arguments arguments;
    weir_cli_arguments_init(&arguments, command, argc, argv);
    for (size_t turns = 0;; turns++) {
        REQUIRE(turns <= turns_max);
        arguments.value = NULL;
        int what = weir_cli_next(&arguments);
        if (what == WEIR_CLI_END || what == WEIR_CLI_HELP || what == WEIR_CLI_WRONG) {
            REQUIRE(what != WEIR_CLI_END || arguments.index == argc);
            return what;
        }
        REQUIRE(what == WEIR_CLI_OPERAND || (command->options == OPTIONS && what >= 0 && what < OPTION_COUNT));
        bool has_value = what == WEIR_CLI_OPERAND || OPTIONS[what].argument;
        REQUIRE(has_value == (arguments.value != NULL));
        REQUIRE(!has_value || lies_in(arguments.value, argc, argv));
        if (what == SET)
            weir_cli_settings_set(settings, arguments.value);
        else if (what == HANDLER)
            try_handler(arguments.value);
    }
}

/* Names of librdkafka's would load plugins; expressions are the C library's to answer for. */
static bool is_left_out(const char *text)
{
    return strcasestr(text, "plugin") || strchr(text, '^');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char text[SIZE_MAX_OF_INPUT + 1];
    static char *argv[ARGUMENTS_MAX + 1];
    static FILE *nowhere;
    if (!nowhere) {
        nowhere = fopen("/dev/null", "w");
        REQUIRE(nowhere);
    }
    if (size < 1 || size > SIZE_MAX_OF_INPUT)
        return -1;
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    if (is_left_out(text))
        return -1;
    int argc = 0;
    argv[argc++] = (char[]){"fuzzed"};
    for (char *rest = text, *word; argc < ARGUMENTS_MAX && (word = strsep(&rest, "\n"));)
        argv[argc++] = word;
    argv[argc] = NULL;
    const struct weir_cli_command *command = &COMMANDS[data[0] % 2];
    FILE *output = stdout, *errors = stderr;
    stdout = stderr = nowhere;
    struct weir_cli_settings settings;
    REQUIRE(weir_cli_settings_init(&settings, command, argc) == WEIR_CLI_OK);
    if (read_all(command, &settings, argc, argv, size) == WEIR_CLI_END) {
        int status = weir_cli_settings_build(&settings);
        REQUIRE(status == WEIR_CLI_OK || status == WEIR_CLI_USAGE);
    }
    weir_cli_settings_deinit(&settings);
    stdout = output;
    stderr = errors;
    return 0;
}
