/*
 * A test of somebody else's handler, built against the installed kit only, as C and as C++, shared and static.
 */
#include <stdio.h>
#include <string.h>
#include <weir/testkit.h>

/* Counts what is said to each letter; the second run of each message succeeds. */
static enum weir_outcome handle(struct weir_message *message, void *user)
{
    ++*(unsigned *)user;
    if (weir_message_value_size(message) == 3 && memcmp(weir_message_value(message), "bad", 3) == 0)
        return weir_dead(message, "it is bad");
    return weir_message_attempt(message) < 2 ? weir_retry(message, "once more") : WEIR_ACK;
}

static int fail(const char *what, const struct weir_error *error)
{
    fprintf(stderr, "%s: %s\n", what, error->text);
    return 1;
}

int main(void)
{
    struct weir_error error = {WEIR_OK, ""};
    unsigned calls = 0;
    struct weir_testkit *kit = weir_testkit_create(NULL, handle, &calls, 1, &error);
    if (!kit)
        return fail("create", &error);
    const struct weir_testkit_message *good = weir_testkit_send_text(kit, NULL, "a", "good", &error);
    const struct weir_testkit_message *bad = weir_testkit_send_text(kit, NULL, "b", "bad", &error);
    if (!good || !bad)
        return fail("send", &error);
    if (weir_testkit_finish(kit, 60000, &error) != 0)
        return fail("finish", &error);
    if (calls != 3 || weir_testkit_message_state(good) != WEIR_TESTKIT_ACKED ||
        strcmp(weir_testkit_message_reason(bad), "it is bad") != 0)
        return 1;
    weir_testkit_destroy(kit);
    printf("weir %s\n", weir_version());
    return 0;
}
