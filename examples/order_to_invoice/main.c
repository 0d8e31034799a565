/* The service: ./order_to_invoice invoice.conf, until SIGINT or SIGTERM. */
#include "invoice.h"
#include <stdio.h>
#include <string.h>

static enum pricing price(struct shop *shop, const char *item, long *cents)
{
    static const struct {
        const char *item;
        long cents;
    } list[] = {{"apple", 50}, {"pear", 65}, {"plum", 20}};
    (void)shop;
    for (size_t index = 0; index < sizeof list / sizeof *list; index++)
        if (strcmp(list[index].item, item) == 0) {
            *cents = list[index].cents;
            return PRICED;
        }
    return UNKNOWN_ITEM;
}

int main(int argc, char **argv)
{
    struct weir_error error = {WEIR_INVALID, "usage: order_to_invoice FILE"};
    struct shop shop = {price};
    struct weir_consumer *consumer = NULL;
    struct weir_config *config = weir_config_create();
    if (argc == 2 && weir_config_load(config, argv[1], &error) == 0)
        consumer = weir_consumer_create(config, invoice_on_order, &shop, &error);
    int failed = !consumer || invoice_prepare(consumer, &shop, &error) != 0;
    if (!failed) {
        weir_consumer_stop_on_signals(consumer);
        failed = weir_consumer_run(consumer, &error) != 0;
    }
    if (failed)
        fprintf(stderr, "order_to_invoice: %s\n", error.text);
    weir_consumer_destroy(consumer);
    weir_config_destroy(config);
    return failed;
}
