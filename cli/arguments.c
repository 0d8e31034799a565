/*
 * Reading a command line: GNU style, with the nearest name for a misspelt option. Thread: main.
 */
#include "actors/config/table.h"
#include "cli/cli.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct weir_cli_option HELP = {'h', "help", NULL, "Show this help."};

void weir_cli_arguments_init(struct weir_cli_arguments *arguments, const struct weir_cli_command *command, int argc,
                             char **argv)
{
    *arguments = (struct weir_cli_arguments){.command = command, .argc = argc, .argv = argv, .index = 1};
}

int weir_cli_usage_error(const struct weir_cli_command *command, const char *format, ...)
{
    const char *separator = command ? " " : "", *name = command ? command->name : "";
    fprintf(stderr, "weir%s%s: ", separator, name);
    va_list list;
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fprintf(stderr, "\nTry 'weir%s%s --help'.\n", separator, name);
    return WEIR_CLI_USAGE;
}

int weir_cli_failure(const struct weir_cli_command *command, const char *text)
{
    fprintf(stderr, "weir %s: %s\n", command->name, text);
    return WEIR_CLI_FAILED;
}

int weir_cli_finish_output(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return WEIR_CLI_OK;
    fprintf(stderr, "weir: standard output: %s\n", strerror(errno));
    return WEIR_CLI_FAILED;
}

/* ---- help ---- */

static void print_option(const struct weir_cli_option *option)
{
    char text[64];
    int size = option->letter ? snprintf(text, sizeof text, "-%c, --%s", option->letter, option->name)
                              : snprintf(text, sizeof text, "    --%s", option->name);
    if (option->argument)
        snprintf(text + size, sizeof text - (size_t)size, " %s", option->argument);
    printf("  %-28s %s\n", text, option->sentence);
}

void weir_cli_print_help(const struct weir_cli_command *command)
{
    printf("Usage: weir %s%s%s%s\n\n%s\n", command->name, command->options[0].name ? " [OPTION]..." : "",
           command->operands[0] ? " " : "", command->operands, command->summary);
    if (command->details[0])
        printf("\n%s\n", command->details);
    printf("\nOptions:\n");
    for (const struct weir_cli_option *option = command->options; option->name; option++)
        print_option(option);
    print_option(&HELP);
}

static int give_help(const struct weir_cli_arguments *arguments)
{
    weir_cli_print_help(arguments->command);
    return WEIR_CLI_HELP;
}

/* ---- options ---- */

static int wrong(const struct weir_cli_arguments *arguments, const char *what, const char *option)
{
    weir_cli_usage_error(arguments->command, what, option);
    return WEIR_CLI_WRONG;
}

const char *weir_cli_nearest(const char *name, const char *const *names)
{
    unsigned best_distance = 3;
    const char *best = NULL;
    for (; *names; names++) {
        unsigned distance = weir_config_distance(name, *names, 2);
        if (distance < best_distance && distance < strlen(*names)) {
            best_distance = distance;
            best = *names;
        }
    }
    return best;
}

static int unknown_name(const struct weir_cli_arguments *arguments, const char *name)
{
    const char *names[16] = {HELP.name};
    size_t count = 1;
    for (const struct weir_cli_option *option = arguments->command->options; option->name; option++)
        if (count + 1 < sizeof names / sizeof names[0])
            names[count++] = option->name;
    const char *best = weir_cli_nearest(name, names);
    if (best)
        weir_cli_usage_error(arguments->command, "there is no option --%s; did you mean --%s?", name, best);
    else
        weir_cli_usage_error(arguments->command, "there is no option --%s", name);
    return WEIR_CLI_WRONG;
}

/* The argument of an option: what follows in the same word, or else the next word. False if there is none. */
static bool take_value(struct weir_cli_arguments *arguments, const char *attached)
{
    arguments->value = attached;
    if (!attached && arguments->index < arguments->argc)
        arguments->value = arguments->argv[arguments->index++];
    return arguments->value != NULL;
}

/* --name, --name=value or --name value; `text` is behind the dashes. */
static int next_long(struct weir_cli_arguments *arguments, const char *text)
{
    char name[64];
    size_t size = strcspn(text, "=");
    snprintf(name, sizeof name, "%.*s", (int)(size < sizeof name ? size : sizeof name - 1), text);
    const char *attached = text[size] == '=' ? text + size + 1 : NULL;
    if (strcmp(name, HELP.name) == 0 && !attached)
        return give_help(arguments);
    const struct weir_cli_option *options = arguments->command->options;
    for (int index = 0; options[index].name; index++) {
        if (strcmp(options[index].name, name) != 0)
            continue;
        if (!options[index].argument)
            return attached ? wrong(arguments, "option --%s takes no value", name) : index;
        return take_value(arguments, attached) ? index : wrong(arguments, "option --%s needs a value", name);
    }
    return unknown_name(arguments, name);
}

/* -l, -lVALUE, -l VALUE, or several in one word; arguments->letters is at the letter. */
static int next_letter(struct weir_cli_arguments *arguments)
{
    char letter[2] = {*arguments->letters++, '\0'};
    const char *rest = *arguments->letters != '\0' ? arguments->letters : NULL;
    if (!rest)
        arguments->letters = NULL;
    if (letter[0] == HELP.letter)
        return give_help(arguments);
    const struct weir_cli_option *options = arguments->command->options;
    for (int index = 0; options[index].name; index++) {
        if (options[index].letter != letter[0])
            continue;
        if (!options[index].argument)
            return index;
        arguments->letters = NULL;
        return take_value(arguments, rest) ? index : wrong(arguments, "option -%s needs a value", letter);
    }
    return wrong(arguments, "there is no option -%s", letter);
}

int weir_cli_next(struct weir_cli_arguments *arguments)
{
    if (arguments->letters)
        return next_letter(arguments);
    if (arguments->index >= arguments->argc)
        return WEIR_CLI_END;
    const char *word = arguments->argv[arguments->index++];
    if (!arguments->operands_only && strcmp(word, "--") == 0) {
        arguments->operands_only = true;
        return weir_cli_next(arguments);
    }
    if (!arguments->operands_only && word[0] == '-' && word[1] == '-')
        return next_long(arguments, word + 2);
    if (!arguments->operands_only && word[0] == '-' && word[1] != '\0') {
        arguments->letters = word + 1;
        return next_letter(arguments);
    }
    arguments->value = word;
    return WEIR_CLI_OPERAND;
}
