/*
 * Handlers that emit: each order becomes an invoice, and a large one an alert as well.
 *
 * What weir_emit() takes belongs to the message that is handled. It is sent when the handler has answered WEIR_ACK, and
 * dropped when it answers anything else: no invoice goes out for an order that failed. The order's offset is committed
 * only after the broker has acknowledged its outputs, and those of one customer, who is the key here, keep their order.
 * After a crash an order may be handled again, and its invoice be written again: the header `order` tells a reader.
 */
#include "common.h"
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LARGE = 1000 };

struct office {
    const char *invoices, *alerts; /* topics */
    atomic_ullong written, failed;
};

/* The amount that the value says, or -1. */
static long amount_of(const struct weir_message *message)
{
    char text[16], *end;
    size_t size = weir_message_value_size(message);
    if (!weir_message_value(message) || size == 0 || size >= sizeof text)
        return -1;
    memcpy(text, weir_message_value(message), size);
    text[size] = '\0';
    long amount = strtol(text, &end, 10);
    return *end == '\0' && amount > 0 ? amount : -1;
}

/* 0, or why it was not taken: the code of weir_emit(). */
static int emit(struct weir_message *message, const char *topic, const char *value)
{
    char order[64];
    int size = snprintf(order, sizeof order, "%" PRId32 "/%" PRId64, weir_message_partition(message),
                        weir_message_offset(message));
    const struct weir_output_header header = {"order", order, (size_t)size};
    const struct weir_output output = {.topic = topic,
                                       .key = weir_message_key(message),
                                       .key_size = weir_message_key_size(message),
                                       .value = value,
                                       .value_size = strlen(value),
                                       .headers = &header,
                                       .header_count = 1};
    return weir_emit(message, &output);
}

static enum weir_outcome on_order(struct weir_message *message, void *user)
{
    struct office *office = user;
    char text[48];
    long amount = amount_of(message);
    if (amount < 0)
        return weir_dead(message, "not an amount");
    snprintf(text, sizeof text, "please pay %ld", amount);
    int result = emit(message, office->invoices, text);
    if (result == 0 && amount >= LARGE)
        result = emit(message, office->alerts, "large order");
    if (result != 0) {
        atomic_fetch_add(&office->failed, 1);
        return weir_retry(message, weir_code_name(result)); /* what it has emitted so far is dropped */
    }
    atomic_fetch_add(&office->written, 1);
    return WEIR_ACK;
}

int main(int argc, char **argv)
{
    static struct office office = {.invoices = "invoices", .alerts = "alerts"};
    static const struct example_option options[] = {{"invoices", "topic of the invoices (invoices)", &office.invoices},
                                                    {"alerts", "topic of the alerts (alerts)", &office.alerts},
                                                    {0}};
    static const struct example example = {
        .name = "emit", .about = "Turn orders, whose values are amounts, into invoices.", .options = options};
    struct weir_config *config = example_configure(argc, argv, &example);
    int status = example_run(config, on_order, &office);
    printf("%llu invoices, %llu tries without\n", atomic_load(&office.written), atomic_load(&office.failed));
    weir_config_destroy(config);
    return status;
}
