/* See invoice.h. */
#include "invoice.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QUANTITY_MAX 1000000

/* What is known of a customer. A message may run again after its handler has acked it, when its invoice could not be
 * written; so the last order can be taken back. */
struct customer {
    int64_t last_offset;
    long total_before, total; /* without the last order, and with it */
};

struct order {
    char item[32];
    long quantity;
};

static void *on_create(struct weir_message *message, void *user)
{
    (void)message, (void)user;
    struct customer *customer = calloc(1, sizeof *customer);
    if (customer)
        customer->last_offset = -1;
    return customer;
}

static void on_destroy(void *state, void *user)
{
    (void)user;
    free(state);
}

int invoice_prepare(struct weir_consumer *consumer, void *user, struct weir_error *error)
{
    static const struct weir_key_state_class customers = {
        .size = sizeof customers, .create = on_create, .destroy = on_destroy, .bytes = sizeof(struct customer)};
    (void)user;
    return weir_consumer_key_state(consumer, &customers, error);
}

/* 0, or -1 for what is no order. A value is bytes, not text: it is copied to get its NUL. */
static int read_order(const struct weir_message *message, struct order *order)
{
    char text[64], end;
    size_t size = weir_message_value_size(message);
    if (size == 0 || size >= sizeof text)
        return -1;
    memcpy(text, weir_message_value(message), size);
    text[size] = '\0';
    return sscanf(text, "%31s %7ld%c", order->item, &order->quantity, &end) == 2 && order->quantity > 0 &&
                   order->quantity <= QUANTITY_MAX
               ? 0
               : -1;
}

static int emit_invoice(struct weir_message *message, const struct order *order, long sum, long total)
{
    char text[128];
    int size = snprintf(text, sizeof text, "%ld %s: %ld cents, %ld in all", order->quantity, order->item, sum, total);
    const struct weir_output invoice = {.topic = "invoices",
                                        .key = weir_message_key(message),
                                        .key_size = weir_message_key_size(message),
                                        .value = text,
                                        .value_size = (size_t)size};
    return weir_emit(message, &invoice);
}

enum weir_outcome invoice_on_order(struct weir_message *message, void *user)
{
    struct shop *shop = user;
    struct order order;
    long cents;
    if (!weir_message_value(message))
        return WEIR_SKIP; /* cancelled */
    if (!weir_message_key(message))
        return weir_dead(message, "an order without a customer");
    if (read_order(message, &order) != 0)
        return weir_dead(message, "not an order: ITEM QUANTITY is wanted");
    struct customer *customer = weir_message_state(message);
    if (!customer)
        return weir_retry(message, "no memory for a customer");
    switch (shop->price(shop, order.item, &cents)) {
    case PRICED:
        break;
    case UNKNOWN_ITEM:
        return weir_dead(message, "no such item");
    default:
        return weir_retry_class(message, "pricing", "the price list does not answer");
    }
    long sum = cents * order.quantity;
    long before = weir_message_offset(message) == customer->last_offset ? customer->total_before : customer->total;
    int code = emit_invoice(message, &order, sum, before + sum);
    if (code != 0)
        return weir_retry(message, weir_code_name(code));
    customer->last_offset = weir_message_offset(message);
    customer->total_before = before;
    customer->total = before + sum;
    return WEIR_ACK;
}
