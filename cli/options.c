/*
 * `weir options`: the table of options. Thread: main.
 */
#include "actors/config/config.h"
#include "cli/cli.h"

static const struct weir_cli_option OPTIONS[] = {{0}};

static int run(int argc, char **argv)
{
    struct weir_cli_arguments arguments;
    weir_cli_arguments_init(&arguments, &weir_cli_options_command, argc, argv);
    switch (weir_cli_next(&arguments)) {
    case WEIR_CLI_HELP:
        return weir_cli_finish_output();
    case WEIR_CLI_WRONG:
        return WEIR_CLI_USAGE;
    case WEIR_CLI_OPERAND:
        return weir_cli_usage_error(&weir_cli_options_command, "takes no argument, but there is %s", arguments.value);
    }
    weir_config_write_help(stdout);
    return weir_cli_finish_output();
}

const struct weir_cli_command weir_cli_options_command = {
    .name = "options",
    .operands = "",
    .summary = "List Weir's options with defaults, ranges and meanings.",
    .details = "",
    .options = OPTIONS,
    .run = run,
};
