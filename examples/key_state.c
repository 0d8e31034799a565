/*
 * State of a key, in memory: balances of accounts, from messages whose key is the account and whose value is an amount,
 * such as "-250".
 *
 * Weir makes a state when a key first asks for it, gives it to each message of that key, one at a time and in order,
 * and destroys it after the key's last message here: so nothing below takes a lock, but to print. How many are kept is
 * bounded (weir.key.state.keys.max a partition, by default 100000).
 *
 * Two things to know before doing this with more than an example:
 *   - A message may come again, after a crash or when its partition has been away. Each state remembers the last offset
 *     it has seen and skips what is not above it.
 *   - The state is memory: it goes when the partition does, and another process begins with none. What must be right
 * for good belongs into a database, written in create and destroy, or with each message.
 */
#include "common.h"
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct account {
    int64_t balance, last_offset;
    uint64_t payments;
    char name[64];
};

static atomic_size_t accounts;
static atomic_ullong skipped;

static void *open_account(struct weir_message *message, void *user)
{
    struct account *account = calloc(1, sizeof *account);
    if (!account)
        return NULL; /* weir_message_state() then returns NULL, too */
    account->last_offset = -1;
    snprintf(account->name, sizeof account->name, "%.*s", (int)weir_message_key_size(message),
             (const char *)weir_message_key(message));
    atomic_fetch_add(&accounts, 1);
    return account;
}

/* The account's key has been idle for long, or its partition goes to somebody else, or the program ends. */
static void close_account(void *state, void *user)
{
    struct account *account = state;
    printf("%s: %" PRId64 " after %" PRIu64 " payments\n", account->name, account->balance, account->payments);
    free(account);
}

/* The whole value as a number; 0 where it is none. */
static int read_amount(const struct weir_message *message, int64_t *amount)
{
    char text[24], *end;
    size_t size = weir_message_value_size(message);
    if (size == 0 || size >= sizeof text)
        return 0;
    memcpy(text, weir_message_value(message), size);
    text[size] = '\0';
    *amount = strtol(text, &end, 10);
    return *end == '\0' && *amount > -1000000000 && *amount < 1000000000;
}

static enum weir_outcome on_payment(struct weir_message *message, void *user)
{
    int64_t amount, offset = weir_message_offset(message);
    if (!weir_message_key(message) || !read_amount(message, &amount))
        return weir_dead(message, "a payment needs an account as key and an amount as value");
    struct account *account = weir_message_state(message);
    if (!account)
        return weir_retry(message, "no memory for one more account");
    if (offset <= account->last_offset) {
        atomic_fetch_add(&skipped, 1);
        return WEIR_SKIP;
    }
    account->balance += amount; /* no lock: nobody else has a message of this key now */
    account->payments++;
    account->last_offset = offset;
    return WEIR_ACK;
}

static int give_accounts(struct weir_consumer *consumer, void *user, struct weir_error *error)
{
    static const struct weir_key_state_class class = {
        .size = sizeof class, .create = open_account, .destroy = close_account, .bytes = sizeof(struct account)};
    return weir_consumer_key_state(consumer, &class, error);
}

int main(int argc, char **argv)
{
    static const struct example example = {
        .name = "key_state", .about = "Keep a balance for each key in memory, and print each when its key goes."};
    struct weir_config *config = example_configure(argc, argv, &example);
    int status = example_run_prepared(config, on_payment, NULL, give_accounts);
    printf("%zu accounts, %llu payments skipped\n", atomic_load(&accounts), atomic_load(&skipped));
    weir_config_destroy(config);
    return status;
}
