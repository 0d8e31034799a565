/* Configuration from the command line; see settings.h. Thread: main. */
#include "cli/settings.h"
#include <stdlib.h>
#include <string.h>

int weir_cli_settings_init(struct weir_cli_settings *settings, const struct weir_cli_command *command, int argc)
{
    *settings = (struct weir_cli_settings){.command = command};
    settings->files = calloc((size_t)argc, sizeof *settings->files);
    settings->sets = calloc((size_t)argc, sizeof *settings->sets);
    settings->config = weir_config_create();
    if (settings->files && settings->sets && settings->config)
        return WEIR_CLI_OK;
    return weir_cli_failure(command, "out of memory");
}

void weir_cli_settings_deinit(struct weir_cli_settings *settings)
{
    free(settings->files);
    free(settings->sets);
    weir_config_destroy(settings->config);
}

void weir_cli_settings_file(struct weir_cli_settings *settings, const char *path)
{
    settings->files[settings->file_count++] = path;
}

void weir_cli_settings_set(struct weir_cli_settings *settings, const char *name_and_value)
{
    settings->sets[settings->set_count++] = name_and_value;
}

static int set(struct weir_cli_settings *settings, const char *name_and_value)
{
    const char *separator = strchr(name_and_value, '=');
    if (!separator || separator == name_and_value)
        return weir_cli_usage_error(settings->command, "-X wants NAME=VALUE"); /* not shown: it may be a secret */
    char *name = strndup(name_and_value, (size_t)(separator - name_and_value));
    if (!name)
        return weir_cli_failure(settings->command, "out of memory");
    struct weir_error error;
    int code = weir_config_set(settings->config, name, separator + 1, &error);
    free(name);
    return code == 0 ? WEIR_CLI_OK : weir_cli_usage_error(settings->command, "%s", error.text);
}

int weir_cli_settings_build(struct weir_cli_settings *settings)
{
    struct weir_error error;
    for (size_t index = 0; index < settings->file_count; index++)
        if (weir_config_load(settings->config, settings->files[index], &error) != 0)
            return weir_cli_failure(settings->command, error.text);
    for (size_t index = 0; index < settings->set_count; index++) {
        int status = set(settings, settings->sets[index]);
        if (status != WEIR_CLI_OK)
            return status;
    }
    return WEIR_CLI_OK;
}
