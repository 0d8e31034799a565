/*
 * The application under test: a handler that charges orders, through a gateway that may refuse, be busy, or answer
 * later. See test_charge.c and seeds_charge.c for its tests.
 */
#ifndef EXAMPLES_TESTKIT_CHARGE_H
#define EXAMPLES_TESTKIT_CHARGE_H

#include <weir/weir.h>

enum gateway_answer { GATEWAY_CHARGED, GATEWAY_BUSY, GATEWAY_DECLINED, GATEWAY_PENDING };

/* What the handler needs of the outside world; in production it speaks HTTP. After GATEWAY_PENDING it answers once, by
 * charge_answered(). */
struct gateway {
    enum gateway_answer (*charge)(struct gateway *gateway, const char *order, size_t order_size,
                                  struct weir_message *message);
};

/* The handler; its user is the gateway. */
enum weir_outcome charge(struct weir_message *message, void *gateway);
void charge_answered(struct weir_later later, enum gateway_answer answer);

#endif
