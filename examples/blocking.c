/*
 * Handlers that block: weir.blocking.threads runs them on threads of their own, as many at a time.
 *
 * A call of a database driver, a write that is synced, a library without callbacks: the thread waits, and only it.
 * Pulls, commits and rebalances go on beside it, and messages of one key still come one at a time and in order. Each
 * thread has a connection of its own here, found by weir_worker_index(), so that no lock is needed around it.
 *
 * Many waits at a time for few threads are examples/async_uv.c's way.
 */
#include "common.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { THREADS_MAX = 256 };

struct connection { /* of one thread */
    unsigned long calls;
};

struct database {
    long call_ms;
    struct connection connections[THREADS_MAX];
    _Atomic long open_calls, most_calls;
};

/* Stands for a call that returns when the other side has answered. */
static void call(struct database *database, struct connection *connection)
{
    long now = atomic_fetch_add(&database->open_calls, 1) + 1, most = atomic_load(&database->most_calls);
    while (now > most && !atomic_compare_exchange_weak(&database->most_calls, &most, now))
        continue;
    struct timespec rest = {database->call_ms / 1000, database->call_ms % 1000 * 1000000};
    while (nanosleep(&rest, &rest) != 0 && errno == EINTR)
        continue;
    atomic_fetch_sub(&database->open_calls, 1);
    connection->calls++;
}

static enum weir_outcome on_message(struct weir_message *message, void *user)
{
    (void)message;
    struct database *database = user;
    int thread = weir_worker_index();
    if (thread < 0 || thread >= THREADS_MAX)
        return weir_retry(message, "more threads than connections: lower weir.blocking.threads");
    call(database, &database->connections[thread]);
    return WEIR_ACK;
}

static void report(const struct database *database)
{
    unsigned long calls = 0, used = 0;
    for (size_t index = 0; index < THREADS_MAX; index++) {
        calls += database->connections[index].calls;
        used += database->connections[index].calls > 0;
    }
    printf("%lu calls over %lu connections, at most %ld at a time\n", calls, used, database->most_calls);
}

int main(int argc, char **argv)
{
    static const char *const settings[][2] = {{"weir.blocking.threads", "32"}, {0}};
    static const char *call_ms = "10";
    static const struct example_option options[] = {
        {"call-ms", "how long a call blocks, in milliseconds, 0 .. 60000 (10)", &call_ms}, {0}};
    static const struct example example = {.name = "blocking",
                                           .about = "Handle each message by a call that blocks, on threads that may.",
                                           .settings = settings,
                                           .options = options};
    struct weir_config *config = example_configure(argc, argv, &example);
    struct database *database = calloc(1, sizeof *database);
    int status = 1;
    if (database) {
        database->call_ms = example_number("call-ms", call_ms, 0, 60000);
        status = example_run(config, on_message, database);
        report(database);
    } else {
        fprintf(stderr, "no memory for connections\n");
    }
    free(database);
    weir_config_destroy(config);
    return status;
}
