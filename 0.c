#include <stdio.h>
#include <weir/testkit.h>

/* The handler: a customer's first order fails once. */
static enum weir_outcome on_order(struct weir_message *message, void *user)
{
    (void)user;
    return weir_message_attempt(message) == 1 ? weir_retry_after(message, 5000, "not yet") : WEIR_ACK;
}

int main(void)
{
    struct weir_error error = {WEIR_OK, ""};
    struct weir_testkit *kit = weir_testkit_create(NULL, on_order, NULL, 1, &error);
    const struct weir_testkit_message *order = weir_testkit_send_text(kit, NULL, "ann", "2 apples", &error);
    struct weir_testkit_run first, second;
    int failed = weir_testkit_run_until_over(kit, 60000, &error) != 0 ||
                 weir_testkit_message_state(order) != WEIR_TESTKIT_ACKED ||
                 !weir_testkit_message_run(order, 0, &first) || !weir_testkit_message_run(order, 1, &second) ||
                 second.begin_ms != first.begin_ms + 5000;
    if (failed)
        fprintf(stderr, "on_order: %s\n", error.text);
    weir_testkit_destroy(kit);
    return failed;
}
