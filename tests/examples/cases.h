/*
 * What each example is run with, and what it must have done: one table (cases.c), used by run.c.
 */
#ifndef WEIR_TESTS_EXAMPLES_CASES_H
#define WEIR_TESTS_EXAMPLES_CASES_H

#include "tests/examples/server.h"
#include "tests/support/mock.h"
#include <stdbool.h>

#define EXAMPLE_TOPIC      "orders"
#define EXAMPLE_LETTERS    "orders.dlq"
#define EXAMPLE_PARTITIONS 2

struct weir_example_case {
    const char *name;         /* of the example; several cases may have the same */
    const char *group;        /* that it commits as */
    bool positional;          /* hello: BROKERS TOPIC, no options */
    const char *arguments[8]; /* besides; "@server", "@file", "@postgres": see run.c */
    void (*fill)(struct weir_mock *mock);
    int64_t commits_min; /* stop it when so many messages are committed; 0: all */
    bool ends;           /* by itself, when its work is done */
    int status;          /* that it must end with */
    bool (*check)(const char *output, struct weir_mock *mock, const struct weir_server_counts *counts);
};

extern const struct weir_example_case weir_example_cases[]; /* ends with a name of NULL */

#endif
