/*
 * A handler under a hundred seeds of crashes, rebalances, outages and refusals, without a test framework: after each,
 * every order is charged or has its dead letter, and no promise of Weir was broken.
 *
 *     cc seeds_charge.c charge.c $(pkg-config --cflags --libs weir-testkit) -o seeds_charge && ./seeds_charge
 */
#include "charge.h"
#include <stdio.h>
#include <string.h>
#include <weir/testkit.h>

#define ORDERS 40

/* A gateway that is busy or declines by chance, and knows how often each order was charged. */
struct fickle_gateway {
    struct gateway gateway; /* first: one is cast to the other */
    struct weir_testkit *kit;
    unsigned charged[ORDERS];
};

static enum gateway_answer fickle_charge(struct gateway *gateway, const char *order, size_t order_size,
                                         struct weir_message *message)
{
    struct fickle_gateway *fickle = (struct fickle_gateway *)gateway;
    unsigned number = 0;
    (void)message;
    for (size_t index = 0; index < order_size; index++)
        number = number * 10 + (unsigned)(order[index] - '0');
    uint64_t draw = weir_testkit_random(fickle->kit, 10);
    if (draw < 2)
        return GATEWAY_BUSY;
    if (draw == 9)
        return GATEWAY_DECLINED;
    fickle->charged[number]++;
    return GATEWAY_CHARGED;
}

/* What the application itself promises: at least once. */
static int every_order_is_charged_or_dead(struct fickle_gateway *fickle,
                                          const struct weir_testkit_message *const *orders, struct weir_error *error)
{
    for (unsigned number = 0; number < ORDERS; number++) {
        enum weir_testkit_state state = weir_testkit_message_state(orders[number]);
        if (fickle->charged[number] > 0 || state == WEIR_TESTKIT_DEAD)
            continue;
        snprintf(error->text, sizeof error->text, "order %u is %s and was never charged", number,
                 weir_testkit_state_name((int)state));
        return 1;
    }
    return 0;
}

static int trial_of(struct fickle_gateway *fickle, struct weir_error *error)
{
    const struct weir_testkit_message *orders[ORDERS];
    for (unsigned number = 0; number < ORDERS; number++) {
        char customer[16], order[16];
        snprintf(customer, sizeof customer, "customer %u", number % 7);
        snprintf(order, sizeof order, "%u", number);
        orders[number] = weir_testkit_send_text(fickle->kit, NULL, customer, order, error);
        if (!orders[number])
            return 1;
    }
    if (weir_testkit_shake(fickle->kit, 30000, 5, error) != 0 || weir_testkit_run_ms(fickle->kit, 30000, error) != 0 ||
        weir_testkit_finish(fickle->kit, 600000, error) != 0)
        return 1;
    return every_order_is_charged_or_dead(fickle, orders, error);
}

static int trial(uint64_t seed, void *user, struct weir_error *error)
{
    struct fickle_gateway fickle = {.gateway = {fickle_charge}};
    (void)user;
    fickle.kit = weir_testkit_create(NULL, charge, &fickle.gateway, seed, error);
    if (!fickle.kit)
        return 1;
    int result = trial_of(&fickle, error);
    weir_testkit_destroy(fickle.kit);
    return result;
}

int main(void)
{
    if (weir_testkit_seeds(100, trial, NULL, NULL) != 0)
        return 1; /* the seed and the reason have been printed */
    printf("100 seeds: every order charged or dead\n");
    return 0;
}
