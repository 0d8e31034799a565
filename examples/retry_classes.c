/*
 * What to answer when it did not work. The question is whether trying again can help, and whose fault it was:
 *
 *   weir_dead(reason)          the message is wrong, and will be tomorrow: to the dead letter queue at once
 *   weir_retry(reason)         this attempt failed, another may not: again after a backoff, so many times
 *   weir_retry_class(name, .)  the same, with the policy of a class of failures: weir.class.NAME.retry.*
 *   weir_retry_after(ms, .)    the same, where the other side has said how long to wait
 *   WEIR_OVERLOADED            the other side has no room: again after a backoff, no attempt burnt
 *   WEIR_SKIP                  not for us; counted apart
 *
 * Only the key of the message waits meanwhile. The reason goes into the log and into the dead letter.
 *
 * The downstream here is a function that fails by rule, so that each class can be seen: values are amounts to charge.
 */
#include "common.h"
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALLS_MAX 2 /* at a time: the downstream's limit */

enum reply { CHARGED, TIMED_OUT, TOO_MANY_REQUESTS, WAIT_A_SECOND, CARD_EXPIRED };

struct shop {
    atomic_int calls;
    atomic_ullong charged, retried, delayed, overloaded, dead, skipped;
};

/* Amounts that end in 7 time out twice, those that end in 3 are told to come back later once, 13 is a dead card. */
static enum reply charge(struct shop *shop, long amount, uint32_t attempt)
{
    enum reply reply = CHARGED;
    if (atomic_fetch_add(&shop->calls, 1) >= CALLS_MAX)
        reply = TOO_MANY_REQUESTS;
    else if (amount == 13)
        reply = CARD_EXPIRED;
    else if (amount % 10 == 7 && attempt <= 2)
        reply = TIMED_OUT;
    else if (amount % 10 == 3 && attempt <= 1)
        reply = WAIT_A_SECOND;
    atomic_fetch_sub(&shop->calls, 1);
    return reply;
}

/* The outcome for a reply: the part that every program has to write for its own downstream. */
static enum weir_outcome classify(struct shop *shop, struct weir_message *message, enum reply reply)
{
    switch (reply) {
    case CHARGED:
        atomic_fetch_add(&shop->charged, 1);
        return WEIR_ACK;
    case TIMED_OUT:
        atomic_fetch_add(&shop->retried, 1);
        return weir_retry_class(message, "timeout", "payment gateway: no answer");
    case WAIT_A_SECOND:
        atomic_fetch_add(&shop->delayed, 1);
        return weir_retry_after(message, 1000, "payment gateway: Retry-After: 1");
    case TOO_MANY_REQUESTS:
        atomic_fetch_add(&shop->overloaded, 1);
        return WEIR_OVERLOADED;
    case CARD_EXPIRED:
    default:
        atomic_fetch_add(&shop->dead, 1);
        return weir_dead(message, "payment gateway: card expired");
    }
}

static enum weir_outcome on_order(struct weir_message *message, void *user)
{
    struct shop *shop = user;
    char text[16], *end;
    size_t size = weir_message_value_size(message);
    if (!weir_message_value(message)) { /* a tombstone: the order was cancelled */
        atomic_fetch_add(&shop->skipped, 1);
        return WEIR_SKIP;
    }
    long amount = 0;
    if (size > 0 && size < sizeof text) {
        memcpy(text, weir_message_value(message), size);
        text[size] = '\0';
        amount = strtol(text, &end, 10);
        amount = *end == '\0' ? amount : 0;
    }
    if (amount <= 0) {
        atomic_fetch_add(&shop->dead, 1);
        return weir_dead(message, "not an amount");
    }
    return classify(shop, message, charge(shop, amount, weir_message_attempt(message)));
}

int main(int argc, char **argv)
{
    /* Options of this program's own: short backoffs suit a gateway that recovers within a second. */
    static const char *const settings[][2] = {{"weir.retry.attempts.max", "5"},
                                              {"weir.retry.base.ms", "50"},
                                              {"weir.retry.max.ms", "1000"},
                                              {"weir.class.timeout.retry.attempts.max", "3"},
                                              {"weir.class.timeout.retry.base.ms", "200"},
                                              {0}};
    static const struct example example = {.name = "retry_classes",
                                           .about = "Charge amounts at a gateway that fails in several ways. Dead ones "
                                                    "go to the topic NAME.dlq.",
                                           .settings = settings};
    struct weir_config *config = example_configure(argc, argv, &example);
    static struct shop shop;
    int status = example_run(config, on_order, &shop);
    printf("%llu charged, %llu skipped, %llu dead; answers on the way: %llu retry, %llu retry after, %llu overloaded\n",
           atomic_load(&shop.charged), atomic_load(&shop.skipped), atomic_load(&shop.dead), atomic_load(&shop.retried),
           atomic_load(&shop.delayed), atomic_load(&shop.overloaded));
    weir_config_destroy(config);
    return status;
}
