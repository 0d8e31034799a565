/* What the examples share: see common.h. Runs on the main thread, before and after the consumer. */
#include "common.h"
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPTIONS_MAX 16

static void print_help(const struct example *example)
{
    printf("usage: %s --topic NAME [OPTION...]\n\n%s\n\n"
           "  --brokers LIST     where the cluster is (localhost:9092)\n"
           "  --topic NAME       what to consume\n"
           "  --group NAME       consumer group (weir-example-%s)\n"
           "  -X NAME=VALUE      any other option of Weir (weir.workers=4) or librdkafka\n",
           example->name, example->about, example->name);
    for (const struct example_option *option = example->options; option && option->name; option++)
        printf("  --%-16s %s (%s)\n", option->name, option->help, *option->value ? *option->value : "none");
    printf("  --help             this text\n");
}

static _Noreturn void refuse(const char *what)
{
    fprintf(stderr, "%s\nTry --help.\n", what);
    exit(2);
}

static void set(struct weir_config *config, const char *name, const char *value)
{
    struct weir_error error;
    if (weir_config_set(config, name, value, &error) != 0)
        refuse(error.text);
}

/* "name=value" */
static void set_pair(struct weir_config *config, char *pair)
{
    char *equals = strchr(pair, '=');
    if (!equals)
        refuse("-X needs NAME=VALUE");
    *equals = '\0';
    set(config, pair, equals + 1);
}

/* The table for getopt_long: ours first, then the example's, whose `val` is its place in its table. */
static void make_options(struct option *options, const struct example *example)
{
    static const struct option ours[] = {
        {"brokers", required_argument, NULL, 'b'},
        {"topic", required_argument, NULL, 't'},
        {"group", required_argument, NULL, 'g'},
        {"help", no_argument, NULL, 'h'},
    };
    size_t count = sizeof ours / sizeof *ours;
    memcpy(options, ours, sizeof ours);
    for (const struct example_option *option = example->options; option && option->name; option++) {
        if (count == OPTIONS_MAX - 1)
            refuse("an example has more options than common.c has room for");
        options[count++] =
            (struct option){option->name, required_argument, NULL, 256 + (int)(option - example->options)};
    }
    options[count] = (struct option){0};
}

static void set_defaults(struct weir_config *config, const struct example *example)
{
    char group[128];
    snprintf(group, sizeof group, "weir-example-%s", example->name);
    set(config, "bootstrap.servers", "localhost:9092");
    set(config, "group.id", group);
    set(config, "auto.offset.reset", "earliest");
    for (const char *const(*setting)[2] = example->settings; setting && (*setting)[0]; setting++)
        set(config, (*setting)[0], (*setting)[1]);
}

struct weir_config *example_configure(int argc, char **argv, const struct example *example)
{
    struct weir_config *config = weir_config_create();
    if (!config)
        refuse("no memory for a configuration");
    set_defaults(config, example);
    struct option options[OPTIONS_MAX];
    make_options(options, example);
    for (int letter; (letter = getopt_long(argc, argv, "X:", options, NULL)) != -1;) {
        switch (letter) {
        case 'b':
            set(config, "bootstrap.servers", optarg);
            break;
        case 't':
            set(config, "weir.topics", optarg);
            break;
        case 'g':
            set(config, "group.id", optarg);
            break;
        case 'X':
            set_pair(config, optarg);
            break;
        case 'h':
            print_help(example);
            weir_config_destroy(config);
            exit(0);
        case '?':
            refuse("unknown or incomplete option");
        default:
            *example->options[letter - 256].value = optarg;
        }
    }
    if (optind < argc)
        refuse("only options are expected");
    return config;
}

long example_number(const char *option, const char *text, long least, long greatest)
{
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (errno == 0 && end != text && *end == '\0' && number >= least && number <= greatest)
        return number;
    fprintf(stderr, "--%s %s: must be %ld..%ld\n", option, text, least, greatest);
    exit(2);
}

/* `consumer` NULL: it could not be created, and `error` says why. */
static int run(struct weir_consumer *consumer, void *user, example_prepare *prepare, struct weir_error error)
{
    if (!consumer) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    weir_consumer_stop_on_signals(consumer);
    int result = prepare ? prepare(consumer, user, &error) : 0;
    if (result == 0)
        result = weir_consumer_run(consumer, &error);
    if (result != 0)
        fprintf(stderr, "%s: %s\n", weir_code_name(result), error.text);
    weir_consumer_destroy(consumer);
    return result == 0 ? 0 : 1;
}

int example_run_prepared(const struct weir_config *config, weir_handler *handler, void *user, example_prepare *prepare)
{
    struct weir_error error = {0};
    struct weir_consumer *consumer = weir_consumer_create(config, handler, user, &error);
    return run(consumer, user, prepare, error);
}

int example_run(const struct weir_config *config, weir_handler *handler, void *user)
{
    return example_run_prepared(config, handler, user, NULL);
}

int example_run_batches(const struct weir_config *config, weir_batch_handler *handler, void *user)
{
    struct weir_error error = {0};
    struct weir_consumer *consumer = weir_consumer_create_batch(config, handler, user, &error);
    return run(consumer, user, NULL, error);
}
