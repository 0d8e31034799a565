/*
 * The Weir consumer of bench-smoke's arms: made, started, stopped.
 */
#include "bench/smoke.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const char *const weir_bench_fetch_settings[][2] = {
    {"fetch.wait.max.ms", "25"},       {"fetch.message.max.bytes", "131072"},   {"fetch.max.bytes", "1048576"},
    {"queued.min.messages", "100000"}, {"queued.max.messages.kbytes", "32768"}, {NULL, NULL},
};

static void set_all(struct weir_config *config, const char *const (*settings)[2])
{
    struct weir_error error;
    for (; settings && (*settings)[0]; settings++)
        if (weir_config_set(config, (*settings)[0], (*settings)[1], &error) != 0)
            weir_bench_die("%s", error.text);
}

/* What the command line adds by --set NAME=VALUE. */
static void set_given(struct weir_config *config, const struct weir_bench_arm_options *options)
{
    for (size_t i = 0; i < options->set_count; i++) {
        char name[128];
        const char *equals = strchr(options->set[i], '=');
        size_t length = equals ? (size_t)(equals - options->set[i]) : 0;
        if (length == 0 || length >= sizeof name)
            weir_bench_die("--set %s: must be NAME=VALUE", options->set[i]);
        memcpy(name, options->set[i], length);
        name[length] = '\0';
        const char *const setting[][2] = {{name, equals + 1}, {NULL, NULL}};
        set_all(config, setting);
    }
}

struct weir_consumer *weir_bench_consumer(const struct weir_bench_arm_options *options,
                                          const char *const (*settings)[2], weir_handler *handler, void *user)
{
    char group[64], workers[16];
    snprintf(group, sizeof group, "weir-bench-%d-%llu", (int)getpid(), (unsigned long long)weir_bench_now_ns());
    snprintf(workers, sizeof workers, "%u", options->workers);
    const char *const common[][2] = {
        {"bootstrap.servers", options->bootstrap},
        {"group.id", group},
        {"auto.offset.reset", "earliest"},
        {"weir.topics", options->topic},
        {"weir.workers", workers},
        {"weir.log.level", "warn"},
        {"weir.close.drain.ms.max", "1000"},
        {NULL, NULL},
    };
    struct weir_error error;
    struct weir_config *config = weir_config_create();
    if (!config)
        weir_bench_die("memory is too short for a configuration");
    weir_log_set(NULL, NULL, WEIR_LOG_WARN);
    set_all(config, common);
    set_all(config, settings);
    set_given(config, options);
    struct weir_consumer *consumer = weir_consumer_create(config, handler, user, &error);
    if (!consumer)
        weir_bench_die("%s", error.text);
    weir_config_destroy(config);
    return consumer;
}

void weir_bench_consumer_start(struct weir_consumer *consumer)
{
    struct weir_error error;
    if (weir_consumer_start(consumer, &error) != 0)
        weir_bench_die("%s", error.text);
}

void weir_bench_consumer_stop(struct weir_consumer *consumer)
{
    struct weir_error error;
    int code = weir_consumer_close(consumer, &error);
    if (code != 0 && code != WEIR_UNFINISHED) /* an arm may end amid its backlog */
        weir_bench_die("close: %s", error.text);
    weir_consumer_destroy(consumer);
}
