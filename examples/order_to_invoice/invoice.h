/*
 * From orders to invoices. An order is a message whose key is the customer and whose value says what and how many, such
 * as "apple 3"; its invoice goes to the topic `invoices`, under the same key, with the customer's total so far:
 *
 *     3 apple: 150 cents, 410 in all
 *
 * Totals are kept in memory, so they begin anew with the process; on_create() is where a database would be asked.
 */
#ifndef INVOICE_H
#define INVOICE_H

#include <weir/weir.h>

enum pricing { PRICED, UNKNOWN_ITEM, NO_ANSWER };

/* Where prices come from. Called by several threads at once; may block where weir.blocking.threads is set. */
struct shop {
    enum pricing (*price)(struct shop *shop, const char *item, long *cents);
};

/* The handler; `user` is a struct shop. */
enum weir_outcome invoice_on_order(struct weir_message *message, void *user);

/* Give the consumer what the handler needs; before it starts. */
int invoice_prepare(struct weir_consumer *consumer, void *user, struct weir_error *error);

#endif
