/*
 * What a command is told about configuration: files, and -X on top of them wherever it stands on the command line.
 */
#ifndef WEIR_CLI_SETTINGS_H
#define WEIR_CLI_SETTINGS_H

#include "cli/cli.h"

struct weir_cli_settings {
    const struct weir_cli_command *command;
    struct weir_config *config; /* after weir_cli_settings_build() */
    const char **files, **sets; /* lent from the command line */
    size_t file_count, set_count;
};

/** Room for as many as there are arguments. Returns a status; weir_cli_settings_deinit() in any case. */
int weir_cli_settings_init(struct weir_cli_settings *settings, const struct weir_cli_command *command, int argc);
void weir_cli_settings_deinit(struct weir_cli_settings *settings);

void weir_cli_settings_file(struct weir_cli_settings *settings, const char *path);
void weir_cli_settings_set(struct weir_cli_settings *settings, const char *name_and_value);

/** Load the files in order, then set the rest in order. Returns a status; what is wrong has been said. */
int weir_cli_settings_build(struct weir_cli_settings *settings);

#endif
