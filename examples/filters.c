/*
 * What is not for the handler, without a line of code in it: stock levels, of which only the newest of an article
 * counts. Events of other types are left out by a header, old news by their age, and what was overtaken by its version;
 * and no article's level is written more than so many times a second, because the shop's cache says so.
 *
 * All of it is configuration (weir.filter.*, weir.rate.*); the one rule that is not has a function. What is left out is
 * finished, in the order of its key, and counted apart. What waits for its turn makes only its own key wait.
 */
#include "common.h"
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static atomic_ullong written;

/* Articles that are made up for tests are not stock. */
static int is_real(struct weir_message *message, void *user)
{
    size_t size = weir_message_key_size(message);
    return size < 5 || memcmp(weir_message_key(message), "test-", 5) != 0;
}

static enum weir_outcome on_level(struct weir_message *message, void *user)
{
    atomic_fetch_add(&written, 1);
    printf("%.*s: %.*s\n", (int)weir_message_key_size(message), (const char *)weir_message_key(message),
           (int)weir_message_value_size(message), (const char *)weir_message_value(message));
    fflush(stdout);
    return WEIR_ACK;
}

static int add_filter(struct weir_consumer *consumer, void *user, struct weir_error *error)
{
    return weir_consumer_filter(consumer, is_real, NULL, error);
}

int main(int argc, char **argv)
{
    static const char *const settings[][2] = {
        {"weir.filter.header", "type!=price"},      {"weir.filter.ttl.ms", "1h"},
        {"weir.filter.version", "header"},          {"weir.filter.version.header", "version"},
        {"weir.rate.key.messages.per.second", "5"}, {0}};
    static const struct example example = {
        .name = "filters", .about = "Write the newest stock level of each article.", .settings = settings};
    struct weir_config *config = example_configure(argc, argv, &example);
    int status = example_run_prepared(config, on_level, NULL, add_filter);
    printf("%llu levels written\n", atomic_load(&written));
    weir_config_destroy(config);
    return status;
}
