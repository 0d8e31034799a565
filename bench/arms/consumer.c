/*
 * The Weir consumer of our arms; see consumer.h.
 */
#include "bench/arms/consumer.h"
#include <stdio.h>
#include <unistd.h>

static void set(struct weir_config *config, const char *name, const char *value)
{
    struct weir_error error;
    if (weir_config_set(config, name, value, &error) != 0)
        weir_bench_die("%s", error.text);
}

void weir_bench_arm_group(char *group, size_t size)
{
    snprintf(group, size, "weir-bench-%d-%llu", (int)getpid(), (unsigned long long)weir_bench_now_ns());
}

struct weir_consumer *weir_bench_arm_consumer(const struct weir_bench_job *job, const char *group, unsigned workers,
                                              weir_handler *handler, void *user)
{
    char number[16];
    struct weir_error error;
    struct weir_config *config = weir_config_create();
    if (!config)
        weir_bench_die("memory is too short for a configuration");
    snprintf(number, sizeof number, "%u", workers);
    weir_log_set(NULL, NULL, WEIR_LOG_WARN);
    set(config, "bootstrap.servers", job->bootstrap);
    set(config, "group.id", group);
    set(config, "auto.offset.reset", job->seconds ? "latest" : "earliest");
    set(config, "weir.topics", job->topic);
    set(config, "weir.workers", number);
    set(config, "weir.log.level", "error");
    set(config, "weir.close.drain.ms.max", "500");
    for (size_t i = 0; weir_bench_arm_fetch[i][0]; i++)
        set(config, weir_bench_arm_fetch[i][0], weir_bench_arm_fetch[i][1]);
    for (size_t i = 0; i < job->set_count; i++)
        set(config, job->set[i][0], job->set[i][1]);
    struct weir_consumer *consumer = weir_consumer_create(config, handler, user, &error);
    if (!consumer || weir_consumer_start(consumer, &error) != 0)
        weir_bench_die("%s", error.text);
    weir_config_destroy(config);
    return consumer;
}

void weir_bench_arm_consumer_stop(struct weir_consumer *consumer)
{
    struct weir_error error;
    int code = weir_consumer_close(consumer, &error);
    if (code != 0 && code != WEIR_UNFINISHED) /* the topic may hold more than was asked for */
        weir_bench_die("close: %s", error.text);
    weir_consumer_destroy(consumer);
}
