/*
 * `weir check FILE`: is this configuration right? Thread: main.
 *
 * Everything is checked that is checked before a consumer connects, librdkafka's rules between its properties among it.
 */
#include "actors/config/config.h"
#include "actors/kafka.h"
#include "cli/settings.h"
#include <stdio.h>

enum { SET };
static const struct weir_cli_option OPTIONS[] = {
    [SET] = {'X', "set", "NAME=VALUE", "Set an option on top of the files; may be repeated."},
    {0},
};

static int check(struct weir_cli_settings *settings)
{
    if (settings->file_count == 0)
        return weir_cli_usage_error(&weir_cli_check_command, "which file?");
    int status = weir_cli_settings_build(settings);
    if (status != WEIR_CLI_OK)
        return status;
    struct weir_error error;
    struct weir_config *config = settings->config;
    if (weir_config_finish(config, &error) != 0 || weir_config_check_brokers(config, &error) != 0 ||
        weir_kafka_check_config(config, &error) != 0)
        return weir_cli_failure(&weir_cli_check_command, error.text);
    printf("right: group %s, topics %s, %s workers\n", weir_config_get(config, "group.id"),
           weir_config_get(config, "weir.topics"), weir_config_get(config, "weir.workers"));
    return weir_cli_finish_output();
}

static int read_arguments(struct weir_cli_settings *settings, int argc, char **argv)
{
    struct weir_cli_arguments arguments;
    weir_cli_arguments_init(&arguments, &weir_cli_check_command, argc, argv);
    for (;;) {
        switch (weir_cli_next(&arguments)) {
        case SET:
            weir_cli_settings_set(settings, arguments.value);
            break;
        case WEIR_CLI_OPERAND:
            weir_cli_settings_file(settings, arguments.value);
            break;
        case WEIR_CLI_HELP:
            return weir_cli_finish_output();
        case WEIR_CLI_WRONG:
            return WEIR_CLI_USAGE;
        case WEIR_CLI_END:
            return check(settings);
        }
    }
}

static int run(int argc, char **argv)
{
    struct weir_cli_settings settings;
    int status = weir_cli_settings_init(&settings, &weir_cli_check_command, argc);
    if (status == WEIR_CLI_OK)
        status = read_arguments(&settings, argc, argv);
    weir_cli_settings_deinit(&settings);
    return status;
}

const struct weir_cli_command weir_cli_check_command = {
    .name = "check",
    .operands = "FILE...",
    .summary = "Check configuration files as a consumer would; connects to nothing.",
    .details = "Several files are read one after the other, a later one on top of those before.",
    .options = OPTIONS,
    .run = run,
};
