/*
 * State for each key, in memory: balances of accounts, from messages whose key is the account and whose value is an
 * amount, such as "-250".
 *
 * Messages of one key come one at a time and in order, so what belongs to one key needs no lock, whichever thread runs
 * the handler. Only the table that leads to it is shared by all keys. It is cut into shards with a lock each, and the
 * lock is held to find an entry, never while it is used. Entries are not moved or freed while the consumer runs.
 *
 * Two things to know before doing this with more than an example:
 *   - A key is a key of its partition: (topic, partition, key) is what Weir serializes, so it is what is looked up.
 *   - A message may come again, after a crash or when its partition has been away. Each entry remembers the last offset
 *     it has seen and skips what is not above it. Memory does not survive the process, though, and what others handled
 *     while the partition was away is not in it: state that must be right for good belongs into a database.
 */
#include "common.h"
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHARDS            64
#define BUCKETS_PER_SHARD 1024
#define KEYS_MAX          1000000 /* the bound: messages of further keys are skipped and counted */

struct account {
    struct account *next;
    int64_t balance, last_offset;
    uint64_t messages;
    int32_t partition;
    size_t key_size;
    char key[];
};

struct shard {
    pthread_mutex_t lock;
    struct account *buckets[BUCKETS_PER_SHARD];
};

struct bank {
    struct shard shards[SHARDS];
    atomic_size_t keys;
    atomic_ullong skipped;
};

/* FNV-1a */
static uint64_t hash(const char *key, size_t size, int32_t partition)
{
    uint64_t value = 14695981039346656037u ^ (uint32_t)partition;
    for (size_t index = 0; index < size; index++)
        value = (value ^ (unsigned char)key[index]) * 1099511628211u;
    return value;
}

static struct account *add_account(struct bank *bank, struct account **bucket, const char *key, size_t key_size,
                                   int32_t partition)
{
    struct account *account = calloc(1, sizeof *account + key_size);
    if (!account)
        return NULL;
    account->last_offset = -1;
    account->partition = partition;
    account->key_size = key_size;
    memcpy(account->key, key, key_size);
    account->next = *bucket;
    *bucket = account;
    atomic_fetch_add(&bank->keys, 1);
    return account;
}

/* The account of a key, made if need be; NULL where memory is short or the bank is full. */
static struct account *find_account(struct bank *bank, const char *key, size_t key_size, int32_t partition)
{
    uint64_t number = hash(key, key_size, partition);
    struct shard *shard = &bank->shards[number % SHARDS];
    struct account **bucket = &shard->buckets[number / SHARDS % BUCKETS_PER_SHARD];
    pthread_mutex_lock(&shard->lock);
    struct account *account = *bucket;
    while (account && (account->partition != partition || account->key_size != key_size ||
                       memcmp(account->key, key, key_size) != 0))
        account = account->next;
    if (!account && atomic_load(&bank->keys) < KEYS_MAX)
        account = add_account(bank, bucket, key, key_size, partition);
    pthread_mutex_unlock(&shard->lock);
    return account;
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
    struct bank *bank = user;
    int64_t amount, offset = weir_message_offset(message);
    if (!weir_message_key(message) || !read_amount(message, &amount))
        return weir_dead(message, "a payment needs an account as key and an amount as value");
    struct account *account =
        find_account(bank, weir_message_key(message), weir_message_key_size(message), weir_message_partition(message));
    if (!account && atomic_load(&bank->keys) < KEYS_MAX)
        return weir_retry(message, "no memory for one more account");
    if (!account || offset <= account->last_offset) {
        atomic_fetch_add(&bank->skipped, 1);
        return WEIR_SKIP;
    }
    account->balance += amount; /* no lock: nobody else has a message of this key now */
    account->messages++;
    account->last_offset = offset;
    return WEIR_ACK;
}

/* After the consumer has gone: print and free. */
static void report(struct bank *bank)
{
    for (size_t index = 0; index < SHARDS * BUCKETS_PER_SHARD; index++) {
        struct account *account = bank->shards[index % SHARDS].buckets[index / SHARDS];
        for (struct account *next; account; account = next) {
            next = account->next;
            printf("%.*s: %" PRId64 " after %" PRIu64 " payments\n", (int)account->key_size, account->key,
                   account->balance, account->messages);
            free(account);
        }
    }
    printf("%zu accounts, %llu payments skipped\n", atomic_load(&bank->keys), atomic_load(&bank->skipped));
}

int main(int argc, char **argv)
{
    static const struct example example = {
        .name = "key_state", .about = "Keep a balance for each key in memory, and print them all at the end."};
    struct weir_config *config = example_configure(argc, argv, &example);
    struct bank *bank = calloc(1, sizeof *bank);
    if (!bank) {
        fprintf(stderr, "no memory for a bank\n");
        weir_config_destroy(config);
        return 1;
    }
    for (size_t index = 0; index < SHARDS; index++)
        pthread_mutex_init(&bank->shards[index].lock, NULL);
    int status = example_run(config, on_payment, bank);
    report(bank);
    for (size_t index = 0; index < SHARDS; index++)
        pthread_mutex_destroy(&bank->shards[index].lock);
    free(bank);
    weir_config_destroy(config);
    return status;
}
