/*
 * The smallest whole consumer: it prints each message.
 *
 *     cc hello.c $(pkg-config --cflags --libs weir) -o hello && ./hello localhost:9092 orders
 */
#include <stdio.h>
#include <string.h>
#include <weir/weir.h>

/* Called on several threads at once, for messages of different keys. */
static enum weir_outcome on_message(struct weir_message *message, void *user)
{
    (void)user;
    const char *value = weir_message_value(message); /* NULL for a tombstone */
    int printed =
        printf("%s/%d at %lld: %.*s\n", weir_message_topic(message), weir_message_partition(message),
               (long long)weir_message_offset(message), (int)weir_message_value_size(message), value ? value : "");
    return printed < 0 ? weir_retry(message, "standard output is closed") : WEIR_ACK;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        int help = argc == 2 && strcmp(argv[1], "--help") == 0;
        fprintf(help ? stdout : stderr, "usage: hello BROKERS TOPIC\nPrint each message of a topic.\n");
        return help ? 0 : 2;
    }
    struct weir_error error = {WEIR_NO_MEMORY, "no memory for a configuration"};
    struct weir_consumer *consumer = NULL;
    struct weir_config *config = weir_config_create();
    if (config && weir_config_set(config, "bootstrap.servers", argv[1], &error) == 0 &&
        weir_config_set(config, "group.id", "weir-hello", &error) == 0 &&
        weir_config_set(config, "auto.offset.reset", "earliest", &error) == 0 &&
        weir_config_set(config, "weir.topics", argv[2], &error) == 0)
        consumer = weir_consumer_create(config, on_message, NULL, &error);
    int failed = !consumer;
    if (consumer) {
        weir_consumer_stop_on_signals(consumer); /* SIGINT and SIGTERM end the run below */
        failed = weir_consumer_run(consumer, &error) != 0;
    }
    if (failed)
        fprintf(stderr, "hello: %s\n", error.text);
    weir_consumer_destroy(consumer);
    weir_config_destroy(config);
    return failed;
}
