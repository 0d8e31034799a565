/*
 * `weir docs PAGE`: write a page of docs/ from the table it is about. Thread: main.
 */
#include "actors/config/config.h"
#include "cli/cli.h"
#include <string.h>

static const struct page {
    const char *name;
    void (*write)(FILE *file);
} PAGES[] = {
    {"options", weir_config_write_markdown},
    {"errors", weir_error_write_markdown},
};

static const struct weir_cli_option OPTIONS[] = {{0}};

static int write_page(const char *name)
{
    for (size_t index = 0; index < sizeof PAGES / sizeof PAGES[0]; index++) {
        if (strcmp(PAGES[index].name, name) == 0) {
            PAGES[index].write(stdout);
            return weir_cli_finish_output();
        }
    }
    return weir_cli_usage_error(&weir_cli_docs_command, "there is no page %s: the pages are options and errors", name);
}

static int run(int argc, char **argv)
{
    struct weir_cli_arguments arguments;
    weir_cli_arguments_init(&arguments, &weir_cli_docs_command, argc, argv);
    const char *page = NULL;
    for (;;) {
        switch (weir_cli_next(&arguments)) {
        case WEIR_CLI_OPERAND:
            if (page)
                return weir_cli_usage_error(&weir_cli_docs_command, "one page at a time, but there is also %s",
                                            arguments.value);
            page = arguments.value;
            break;
        case WEIR_CLI_HELP:
            return weir_cli_finish_output();
        case WEIR_CLI_WRONG:
            return WEIR_CLI_USAGE;
        case WEIR_CLI_END:
            return page ? write_page(page) : weir_cli_usage_error(&weir_cli_docs_command, "which page?");
        }
    }
}

const struct weir_cli_command weir_cli_docs_command = {
    .name = "docs",
    .operands = "PAGE",
    .summary = "Write a page of the documentation, in Markdown: options or errors.",
    .details = "",
    .options = OPTIONS,
    .run = run,
};
