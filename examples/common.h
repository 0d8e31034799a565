/*
 * What the examples share, so that each can be about one idea: configuration from arguments, and a run to the end.
 * hello.c does without, and shows what is in here.
 */
#ifndef EXAMPLES_COMMON_H
#define EXAMPLES_COMMON_H

#include <weir/weir.h>

/* An option of one example: `--name VALUE`. */
struct example_option {
    const char *name, *help;
    const char **value; /* holds the default, gets the argument */
};

struct example {
    const char *name;
    const char *about;                    /* for --help */
    const char *const (*settings)[2];     /* configuration of its own: name and value, ends with NULL; may be NULL */
    const struct example_option *options; /* ends with a name of NULL; may be NULL */
};

/* The configuration that arguments ask for. Prints help or what is wrong, and then ends the process. */
struct weir_config *example_configure(int argc, char **argv, const struct example *example);

/* `text` as a number of least .. greatest; prints what is wrong and ends the process otherwise. */
long example_number(const char *option, const char *text, long least, long greatest);

/* Create a consumer, run it until SIGINT or SIGTERM, destroy it. Returns the process's exit status. */
int example_run(const struct weir_config *config, weir_handler *handler, void *user);
/* The same, with a handler of batches. */
int example_run_batches(const struct weir_config *config, weir_batch_handler *handler, void *user);

/* The same, and `prepare` is called with the consumer before it starts; what it returns but 0 ends the program. */
typedef int example_prepare(struct weir_consumer *consumer, void *user, struct weir_error *error);
int example_run_prepared(const struct weir_config *config, weir_handler *handler, void *user, example_prepare *prepare);

#endif
