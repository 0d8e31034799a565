/*
 * Two topics, one of which goes first: urgent orders pass a backlog of ordinary ones, which keep a tenth of all runs as
 * long as there are urgent ones, and have everything when there are none.
 *
 * It is one option for the topic: weir.topic.NAME.priority. It decides who is next where handlers are what is scarce:
 * here two threads that may block. The order of each key is what it was.
 */
#include "common.h"
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *urgent_topic = "orders.urgent";
static atomic_uint urgent, ordinary, ordinary_before;

static enum weir_outcome on_order(struct weir_message *message, void *user)
{
    const struct timespec work = {.tv_nsec = 5000000};
    nanosleep(&work, NULL);
    if (strcmp(weir_message_topic(message), urgent_topic) == 0) {
        atomic_store(&ordinary_before, atomic_load(&ordinary));
        atomic_fetch_add(&urgent, 1);
    } else {
        atomic_fetch_add(&ordinary, 1);
    }
    return WEIR_ACK;
}

/* Subscribe to the urgent topic as well, and let it go first. */
static int add_urgent(struct weir_config *config)
{
    char topics[512], priority[300];
    struct weir_error error;
    snprintf(topics, sizeof topics, "%s,%s", weir_config_get(config, "weir.topics"), urgent_topic);
    snprintf(priority, sizeof priority, "weir.topic.%s.priority", urgent_topic);
    int code = weir_config_set(config, "weir.topics", topics, &error);
    if (code == 0)
        code = weir_config_set(config, priority, "1", &error);
    if (code != 0)
        fprintf(stderr, "%s\n", error.text);
    return code;
}

int main(int argc, char **argv)
{
    static const char *const settings[][2] = {{"weir.blocking.threads", "2"}, {0}};
    static const struct example_option options[] = {
        {"urgent", "topic that goes first", &urgent_topic},
        {0},
    };
    static const struct example example = {
        .name = "priority", .about = "Handle urgent orders first.", .settings = settings, .options = options};
    struct weir_config *config = example_configure(argc, argv, &example);
    int status = add_urgent(config) == 0 ? example_run(config, on_order, NULL) : 1;
    printf("%u urgent orders, %u others, %u of them before the last urgent one\n", atomic_load(&urgent),
           atomic_load(&ordinary), atomic_load(&ordinary_before));
    weir_config_destroy(config);
    return status;
}
