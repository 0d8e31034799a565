/* The application under test: see charge.h. */
#include "charge.h"

#define BUSY_MS 2000

enum weir_outcome charge(struct weir_message *message, void *user)
{
    struct gateway *gateway = user;
    const char *order = weir_message_value(message);
    if (!order)
        return WEIR_SKIP; /* cancelled */
    switch (gateway->charge(gateway, order, weir_message_value_size(message), message)) {
    case GATEWAY_CHARGED:
        return WEIR_ACK;
    case GATEWAY_BUSY:
        return weir_retry_after(message, BUSY_MS, "the gateway is busy");
    case GATEWAY_PENDING:
        return WEIR_LATER; /* the gateway has taken the handle */
    default:
        return weir_dead(message, "the card was declined");
    }
}

void charge_answered(struct weir_later later, enum gateway_answer answer)
{
    if (answer == GATEWAY_CHARGED)
        weir_later_finish(later, WEIR_ACK); /* stale after a rebalance: then another run charges it */
    else
        weir_later_dead(later, "the card was declined");
}
