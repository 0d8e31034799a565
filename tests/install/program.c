/*
 * A program of somebody else: built against the installed files only, as C and as C++, shared and static. It sets up a
 * consumer and takes it down again; no broker is needed.
 */
#include <stdio.h>
#include <string.h>
#include <weir/weir.h>

static enum weir_outcome handle(struct weir_message *message, void *user)
{
    (void)message;
    (void)user;
    return WEIR_ACK;
}

static int set(struct weir_config *config, const char *name, const char *value)
{
    struct weir_error error;
    if (weir_config_set(config, name, value, &error) == 0)
        return 0;
    fprintf(stderr, "%s=%s: %s\n", name, value, error.text);
    return 1;
}

int main(void)
{
    struct weir_error error;
    struct weir_config *config = weir_config_create();
    if (!config)
        return 1;
    if (set(config, "bootstrap.servers", "127.0.0.1:1") || set(config, "group.id", "installed") ||
        set(config, "weir.topics", "orders"))
        return 1;
    if (weir_config_set(config, "weir.no.such.option", "1", &error) == 0)
        return 1; /* the library answers, and says no */
    struct weir_consumer *consumer = weir_consumer_create(config, handle, NULL, &error);
    if (!consumer) {
        fprintf(stderr, "weir_consumer_create: %s\n", error.text);
        return 1;
    }
    weir_consumer_destroy(consumer);
    weir_config_destroy(config);
    printf("weir %s\n", weir_version());
    return 0;
}
