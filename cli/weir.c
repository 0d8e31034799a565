/*
 * The `weir` command: finds the command by its name. Thread: main.
 */
#include "cli/cli.h"
#include "cli/demo.h"
#include <stdio.h>
#include <string.h>

static const struct weir_cli_command DEMO = {
    .name = "demo",
    .summary = "Weir beside a poll loop, on a Kafka that is built in: nothing to install or start.",
    .run = weir_cli_demo,
};

static const struct weir_cli_command *const COMMANDS[] = {
    &weir_cli_run_command, &DEMO, &weir_cli_check_command, &weir_cli_options_command, &weir_cli_docs_command,
};

enum { COMMAND_COUNT = sizeof COMMANDS / sizeof COMMANDS[0] };

static void print_help(void)
{
    puts("Usage: weir COMMAND [ARGUMENT]...\n"
         "       weir --help | --version\n"
         "\n"
         "Per-key actors over Kafka, with backpressure.\n"
         "\n"
         "Commands:");
    for (size_t index = 0; index < COMMAND_COUNT; index++)
        printf("  %-10s %s\n", COMMANDS[index]->name, COMMANDS[index]->summary);
    printf("  %-10s %s\n", "help", "Show this help, or that of a command.");
    puts("\n'weir COMMAND --help' says more about one. Exit status: 0 it worked, 1 it failed, 2 wrong usage.");
}

static const struct weir_cli_command *find_command(const char *name)
{
    for (size_t index = 0; index < COMMAND_COUNT; index++)
        if (strcmp(COMMANDS[index]->name, name) == 0)
            return COMMANDS[index];
    return NULL;
}

static int unknown_command(const char *name)
{
    const char *names[COMMAND_COUNT + 2] = {"help"};
    for (size_t index = 0; index < COMMAND_COUNT; index++)
        names[index + 1] = COMMANDS[index]->name;
    const char *nearest = weir_cli_nearest(name, names);
    return nearest ? weir_cli_usage_error(NULL, "there is no command %s; did you mean %s?", name, nearest)
                   : weir_cli_usage_error(NULL, "there is no command %s", name);
}

static int unknown_option(const char *name)
{
    static const char *const NAMES[] = {"--help", "--version", NULL};
    const char *nearest = weir_cli_nearest(name, NAMES);
    return nearest ? weir_cli_usage_error(NULL, "there is no option %s; did you mean %s?", name, nearest)
                   : weir_cli_usage_error(NULL, "there is no option %s", name);
}

static int print_version(void)
{
    printf("weir %s (librdkafka %s)\n", weir_version(), weir_librdkafka_version());
    return weir_cli_finish_output();
}

static int dispatch(int argc, char **argv)
{
    const struct weir_cli_command *command = find_command(argv[0]);
    return command ? command->run(argc, argv) : unknown_command(argv[0]);
}

/* `weir help COMMAND` is `weir COMMAND --help`. */
static int give_help(int argc, char **argv)
{
    if (argc > 1 && argv[1][0] != '-')
        return dispatch(2, (char *[]){argv[1], (char[]){"--help"}, NULL});
    print_help();
    return weir_cli_finish_output();
}

static bool is_one_of(const char *word, const char *long_name, const char *letter)
{
    return strcmp(word, long_name) == 0 || strcmp(word, letter) == 0;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return weir_cli_usage_error(NULL, "which command?");
    if (is_one_of(argv[1], "--version", "-V"))
        return print_version();
    if (is_one_of(argv[1], "--help", "-h") || strcmp(argv[1], "help") == 0)
        return give_help(argc - 1, argv + 1);
    if (argv[1][0] == '-')
        return unknown_option(argv[1]);
    return dispatch(argc - 1, argv + 1);
}
