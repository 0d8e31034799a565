#include <stdio.h>
#include <weir/testkit.h>

static enum weir_outcome count(struct weir_message *message, void *user)
{
    unsigned *counts = user;
    counts[*(const char *)weir_message_value(message) - 'A']++;
    return WEIR_ACK;
}

static int trial(uint64_t seed, void *user, struct weir_error *error)
{
    unsigned counts[26] = {0};
    struct weir_testkit *kit = weir_testkit_create(NULL, count, counts, seed, error);
    (void)user;
    if (!kit)
        return 1;
    for (char letter[] = "A"; letter[0] <= 'Z'; letter[0]++)
        weir_testkit_send_text(kit, NULL, letter, letter, error);
    int failed = weir_testkit_shake(kit, 20000, 4, error) || weir_testkit_run_ms(kit, 20000, error) ||
                 weir_testkit_finish(kit, 600000, error);
    for (int index = 0; index < 26 && !failed; index++) {
        failed = counts[index] == 0; /* at least once: a crash may let it be counted again */
        if (failed)
            snprintf(error->text, sizeof error->text, "%c was not counted", 'A' + index);
    }
    weir_testkit_destroy(kit);
    return failed;
}

int main(void)
{
    return weir_testkit_seeds(50, trial, NULL, NULL);
}
