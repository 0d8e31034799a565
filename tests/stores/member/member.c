/*
 * A group member whose handlers write effects into a database, in a process of its own, for tests that kill and stop
 * it.
 *
 * Usage: stores-member BOARD LEDGER MARKS NAME=VALUE...     as tests/broker/member/member.c
 *   stores.kind, stores.location, stores.run, stores.idle   of the database
 *   stores.batch=1                                          the handler is given batches
 *   stores.inbox=1                                          each two offsets in a row have the same id
 *   other names                                             options of the consumer
 * From the board: sleep_us before a transaction, long_ms inside of one in long_every. To it: finished counts new
 * effects, told those that were done before, in_flight those refused by an epoch, late_ms batches. Ledger and marks are
 * not used.
 *
 * Thread: main; handlers on workers.
 */
#include "tests/broker/member/member.h"
#include "tests/stores/effects.h"
#include "tests/support/wait.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct weir_member_board *board;
static bool in_batches;
static struct weir_effects_settings settings = {.window_ms = 3600000};

static _Noreturn void fail(const char *what, const char *why)
{
    fprintf(stderr, "stores-member: %s: %s\n", what, why);
    exit(2);
}

static enum weir_outcome on_message(struct weir_message *message, void *user)
{
    int mark;
    uint64_t sleep_us = atomic_load(&board->sleep_us);
    bool is_long = weir_member_is_one_in(atomic_load(&board->long_every), weir_message_partition(message),
                                         weir_message_offset(message), 1);
    if (sleep_us > 0)
        weir_test_sleep_us((unsigned)sleep_us);
    enum weir_outcome outcome =
        weir_effects_apply(user, message, is_long ? 1000 * (unsigned)atomic_load(&board->long_ms) : 0, &mark);
    if (mark == WEIR_MARK_NEW && outcome == WEIR_ACK)
        atomic_fetch_add(&board->finished, 1);
    else if (mark == WEIR_MARK_DONE)
        atomic_fetch_add(&board->told, 1);
    else if (mark == WEIR_STALE)
        atomic_fetch_add(&board->in_flight, 1);
    return outcome;
}

static enum weir_outcome on_batch(struct weir_batch *batch, void *user)
{
    size_t done;
    uint64_t sleep_us = atomic_load(&board->sleep_us);
    if (sleep_us > 0)
        weir_test_sleep_us((unsigned)sleep_us);
    enum weir_outcome outcome = weir_effects_apply_batch(user, batch, &done);
    if (outcome == WEIR_ACK) {
        atomic_fetch_add(&board->finished, weir_batch_count(batch) - done);
        atomic_fetch_add(&board->told, done);
        atomic_fetch_add(&board->late_ms, 1);
    }
    return outcome;
}

static void show(const struct weir_stats *stats, void *user)
{
    atomic_store(&board->partitions, stats->partitions);
    atomic_store(&board->rebalances, stats->rebalances);
    atomic_store(&board->commits, stats->commits);
}

static size_t id_of_a_pair(struct weir_message *message, void *user, const void **id)
{
    static _Thread_local int64_t pair;
    pair = weir_message_offset(message) / 2;
    *id = &pair;
    return sizeof pair;
}

static bool is_ours(const char *name, const char *value)
{
    if (strcmp(name, "stores.kind") == 0)
        settings.kind = (enum weir_effects_kind)atoi(value);
    else if (strcmp(name, "stores.location") == 0)
        settings.location = value;
    else if (strcmp(name, "stores.run") == 0)
        settings.run = value;
    else if (strcmp(name, "stores.idle") == 0)
        settings.idle_ms = (uint32_t)atoi(value);
    else if (strcmp(name, "stores.batch") == 0)
        in_batches = atoi(value) > 0;
    else if (strcmp(name, "stores.inbox") == 0)
        settings.id = atoi(value) > 0 ? id_of_a_pair : NULL;
    else
        return false;
    return true;
}

static struct weir_config *configure(int count, char **arguments)
{
    struct weir_error error;
    struct weir_config *config = weir_config_create();
    for (int index = 0; index < count; index++) {
        char *equals = strchr(arguments[index], '=');
        if (!equals)
            fail(arguments[index], "NAME=VALUE is expected");
        *equals = '\0';
        if (!is_ours(arguments[index], equals + 1) &&
            weir_config_set(config, arguments[index], equals + 1, &error) != 0)
            fail(arguments[index], error.text);
    }
    return config;
}

/* Told to go before the consumer listens to signals: there is nothing to close. */
static void go_early(int signal_number)
{
    (void)signal_number;
    atomic_store(&board->closed, 1);
    _exit(0);
}

static void let_go_early(void)
{
    sigset_t none;
    signal(SIGTERM, go_early);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL); /* it was blocked until here */
}

int main(int argc, char **argv)
{
    struct weir_error error = {0};
    if (argc < 4)
        return 2;
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(argv[1]), 0);
    if (board == MAP_FAILED)
        fail("the board", "mmap");
    struct weir_config *config = configure(argc - 4, argv + 4);
    struct weir_effects *effects = weir_effects_open(&settings, &error);
    if (!effects)
        fail("the store", error.text);
    struct weir_consumer *consumer = in_batches ? weir_consumer_create_batch(config, on_batch, effects, &error)
                                                : weir_consumer_create(config, on_message, effects, &error);
    if (!consumer || weir_effects_attach(effects, consumer, &error) != 0)
        fail("the consumer", error.text);
    weir_consumer_on_stats(consumer, show, NULL);
    weir_consumer_stop_on_signals(consumer);
    let_go_early();
    atomic_store(&board->started, 1);
    board->code = weir_consumer_run(consumer, &board->error);
    weir_consumer_destroy(consumer);
    weir_effects_close(effects);
    weir_config_destroy(config);
    atomic_store(&board->closed, 1);
    return 0;
}
