/*
 * `weir run`: a consumer with a built-in handler, to look into a topic or to try limits with. Thread: main.
 */
#include "cli/run.h"
#include "actors/config/config.h"
#include "cli/settings.h"
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONFIG, SET, HANDLER, COUNT, STATS };
static const struct weir_cli_option OPTIONS[] = {
    [CONFIG] = {'c', "config", "FILE", "Read a configuration file; may be repeated, a later one wins."},
    [SET] = {'X', "set", "NAME=VALUE", "Set an option on top of the files; may be repeated."},
    [HANDLER] = {'H', "handler", "HANDLER", "What to do with messages: print (the default), discard or sleep:MS."},
    [COUNT] = {'n', "count", "NUMBER", "Stop after so many messages; those in flight are finished too."},
    [STATS] = {'s', "stats", NULL, "Print a line of statistics on standard error every weir.stats.interval.ms."},
    {0},
};

struct job {
    struct weir_cli_settings settings;
    struct weir_cli_handler handler;
    struct weir_cli_stats stats;
    bool with_stats;
};

/* ---- the consumer ---- */

static int close_report(const struct job *job, int code, const struct weir_error *error)
{
    int output_error = atomic_load(&job->handler.output_error);
    if (output_error != 0) {
        fprintf(stderr, "weir run: standard output: %s\n", strerror(output_error));
        return WEIR_CLI_FAILED;
    }
    return code == 0 ? WEIR_CLI_OK : weir_cli_failure(&weir_cli_run_command, error->text);
}

static int consume(struct job *job)
{
    struct weir_error error;
    if (weir_config_check_brokers(job->settings.config, &error) != 0)
        return weir_cli_failure(&weir_cli_run_command, error.text);
    weir_log_set(NULL, NULL, (enum weir_log_level)weir_config_options(job->settings.config)->log_level);
    struct weir_consumer *consumer =
        weir_consumer_create(job->settings.config, job->handler.call, &job->handler, &error);
    if (!consumer)
        return weir_cli_failure(&weir_cli_run_command, error.text);
    job->handler.consumer = consumer;
    job->stats.consumer = consumer;
    if (job->with_stats)
        weir_consumer_on_stats(consumer, weir_cli_stats_print, &job->stats);
    weir_consumer_stop_on_signals(consumer);
    signal(SIGPIPE, SIG_IGN); /* a reader that goes away is an error of a write, and ends the run in order */
    int code = weir_consumer_run(consumer, &error);
    weir_consumer_destroy(consumer);
    weir_cli_stats_deinit(&job->stats);
    return close_report(job, code, &error);
}

static int start(struct job *job)
{
    if (job->settings.file_count == 0 && job->settings.set_count == 0)
        return weir_cli_usage_error(&weir_cli_run_command, "what to consume? Give --config FILE or -X NAME=VALUE");
    int status = weir_cli_settings_build(&job->settings);
    return status == WEIR_CLI_OK ? consume(job) : status;
}

/* ---- the command line ---- */

static bool parse_count(const char *text, uint64_t *count)
{
    char *end;
    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    *count = strtoull(text, &end, 10);
    return *end == '\0' && errno == 0 && *count > 0;
}

/* Take one option; a status. */
static int take_option(struct job *job, int option, const char *value)
{
    switch (option) {
    case CONFIG:
        weir_cli_settings_file(&job->settings, value);
        break;
    case SET:
        weir_cli_settings_set(&job->settings, value);
        break;
    case HANDLER:
        if (!weir_cli_handler_init(&job->handler, value))
            return weir_cli_usage_error(
                &weir_cli_run_command, "--handler %s: must be print, discard or sleep:MS with MS of 0..3600000", value);
        break;
    case COUNT:
        if (!parse_count(value, &job->handler.count_max))
            return weir_cli_usage_error(&weir_cli_run_command, "--count %s: must be a number above 0", value);
        break;
    case STATS:
        job->with_stats = true;
        break;
    }
    return WEIR_CLI_OK;
}

static int read_arguments(struct job *job, int argc, char **argv)
{
    struct weir_cli_arguments arguments;
    weir_cli_arguments_init(&arguments, &weir_cli_run_command, argc, argv);
    for (;;) {
        int option = weir_cli_next(&arguments), status;
        switch (option) {
        case WEIR_CLI_OPERAND:
            return weir_cli_usage_error(&weir_cli_run_command, "takes options only, but there is %s", arguments.value);
        case WEIR_CLI_HELP:
            return weir_cli_finish_output();
        case WEIR_CLI_WRONG:
            return WEIR_CLI_USAGE;
        case WEIR_CLI_END:
            return start(job);
        default:
            status = take_option(job, option, arguments.value);
            if (status != WEIR_CLI_OK)
                return status;
        }
    }
}

static int run(int argc, char **argv)
{
    struct job job = {.with_stats = false};
    weir_cli_handler_init(&job.handler, "print");
    int status = weir_cli_settings_init(&job.settings, &weir_cli_run_command, argc);
    if (status == WEIR_CLI_OK)
        status = read_arguments(&job, argc, argv);
    weir_cli_settings_deinit(&job.settings);
    return status;
}

const struct weir_cli_command weir_cli_run_command = {
    .name = "run",
    .operands = "",
    .summary = "Consume topics with a built-in handler: to look into them, or to try limits.",
    .details = "The handler print writes a line a message: topic, partition, offset, timestamp in ms, key and value,\n"
               "separated by tabs; control characters and backslashes are escaped as in C, null is \\N. discard only\n"
               "acknowledges. sleep:MS acknowledges after that long, as if it waited for a slow service.\n"
               "SIGINT and SIGTERM end it in order; a second one gives up what is waiting, a third ends it at once.",
    .options = OPTIONS,
    .run = run,
};
