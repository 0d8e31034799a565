/*
 * The `weir` command: one file a command, all behind the table in weir.c.
 *
 * Exit status: 0 it worked, 1 what was asked for failed or is wrong, 2 the command line is wrong.
 * Results go to standard output, all else to standard error.
 */
#ifndef WEIR_CLI_CLI_H
#define WEIR_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <weir/weir.h>

enum { WEIR_CLI_OK = 0, WEIR_CLI_FAILED = 1, WEIR_CLI_USAGE = 2 };

/* An option of a command. Long ones are --name, a short one -l; with `argument` it takes one. */
struct weir_cli_option {
    char letter;      /* '\0': long only */
    const char *name; /* without the dashes; NULL ends a table */
    const char *argument;
    const char *sentence;
};

/* A command, and what its --help says. */
struct weir_cli_command {
    const char *name, *operands, *summary, *details; /* operands and details may be "" */
    const struct weir_cli_option *options;           /* NULL: the command reads its arguments itself */
    int (*run)(int argc, char **argv);               /* argv[0] is the command's name */
};

extern const struct weir_cli_command weir_cli_run_command, weir_cli_check_command, weir_cli_options_command,
    weir_cli_docs_command;

/* ---- arguments.c: reading a command line, one argument a call ---- */

struct weir_cli_arguments {
    const struct weir_cli_command *command;
    int argc, index;
    char **argv;
    const char *value;   /* of the option just read, or the operand */
    const char *letters; /* rest of a cluster such as -ab */
    bool operands_only;  /* after -- */
};

/* What weir_cli_next() answers besides the index of an option in the command's table. */
enum { WEIR_CLI_OPERAND = -1, WEIR_CLI_END = -2, WEIR_CLI_HELP = -3, WEIR_CLI_WRONG = -4 };

void weir_cli_arguments_init(struct weir_cli_arguments *arguments, const struct weir_cli_command *command, int argc,
                             char **argv);

/** The next option or operand. HELP: --help was asked for and has been printed; WRONG: a sentence has been printed. */
int weir_cli_next(struct weir_cli_arguments *arguments);

/** Print a command's --help to standard output. */
void weir_cli_print_help(const struct weir_cli_command *command);

/** Say what is wrong with a command line and where help is. Returns WEIR_CLI_USAGE. `command` NULL: weir itself. */
int weir_cli_usage_error(const struct weir_cli_command *command, const char *format, ...) WEIR_FORMAT(2, 3);

/** Say why a command failed. Returns WEIR_CLI_FAILED. */
int weir_cli_failure(const struct weir_cli_command *command, const char *text);

/** WEIR_CLI_OK, or WEIR_CLI_FAILED with a sentence if standard output could not be written. For the end of a command.
 */
int weir_cli_finish_output(void);

/** The name that a misspelt one was meant to be, or NULL; `names` ends with NULL. */
const char *weir_cli_nearest(const char *name, const char *const *names);

#endif
