/*
 * Effects that happen once, on many threads: a balance in PostgreSQL, and the offset of each payment, in one
 * transaction. A payment that comes again finds its mark and changes nothing; sqlite.c says more of that.
 *
 * weir.blocking.threads runs the handlers, each thread with a connection of its own.
 */
#include "common.h"
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <weir/postgres.h>

enum { THREADS_MAX = 64, IDLE_MS = 30000 };

struct ledger {
    const char *server;
    struct weir_postgres *store;
    PGconn *connections[THREADS_MAX]; /* by weir_worker_index() */
};

static int execute(PGconn *connection, const char *sql)
{
    PGresult *result = PQexec(connection, sql);
    ExecStatusType status = PQresultStatus(result);
    PQclear(result);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK ? 0 : -1;
}

/* This thread's; NULL while the server is away. */
static PGconn *connection_of(struct ledger *ledger)
{
    PGconn **connection = &ledger->connections[weir_worker_index()];
    if (!*connection)
        *connection = PQconnectdb(ledger->server);
    else if (PQstatus(*connection) != CONNECTION_OK)
        PQreset(*connection);
    return PQstatus(*connection) == CONNECTION_OK ? *connection : NULL;
}

static int pay(PGconn *connection, const struct weir_message *message)
{
    const char *values[] = {weir_message_key(message), weir_message_value(message)};
    int lengths[] = {(int)weir_message_key_size(message), (int)weir_message_value_size(message)}, binary[] = {1, 1};
    PGresult *result = PQexecParams(connection,
                                    "INSERT INTO accounts VALUES ($1::text, $2::text::bigint, 1) ON CONFLICT (name) DO "
                                    "UPDATE SET balance = accounts.balance + excluded.balance, payments = "
                                    "accounts.payments + 1",
                                    2, NULL, values, lengths, binary, 0);
    ExecStatusType status = PQresultStatus(result);
    PQclear(result);
    return status == PGRES_COMMAND_OK ? 0 : -1;
}

static enum weir_outcome on_payment(struct weir_message *message, void *user)
{
    struct ledger *ledger = user;
    struct weir_error error;
    PGconn *connection = connection_of(ledger);
    if (!connection || execute(connection, "BEGIN") != 0)
        return WEIR_OVERLOADED; /* no fault of the message's */
    int mark = weir_postgres_mark(ledger->store, connection, message, &error);
    if (mark == WEIR_MARK_NEW && pay(connection, message) == 0 && execute(connection, "COMMIT") == 0)
        return WEIR_ACK;
    enum weir_outcome outcome =
        mark == WEIR_MARK_NEW ? weir_retry(message, PQerrorMessage(connection)) : weir_mark_outcome(mark);
    execute(connection, "ROLLBACK"); /* the mark goes with the effect */
    return outcome;
}

static int open_ledger(struct ledger *ledger, struct weir_error *error)
{
    ledger->store = weir_postgres_create(ledger->server, IDLE_MS, error);
    if (!ledger->store)
        return -1;
    PGconn *connection = PQconnectdb(ledger->server);
    int result = execute(connection, "CREATE TABLE IF NOT EXISTS accounts (name TEXT PRIMARY KEY, balance BIGINT NOT "
                                     "NULL, payments BIGINT NOT NULL)");
    if (result != 0)
        snprintf(error->text, sizeof error->text, "%s", PQerrorMessage(connection));
    PQfinish(connection);
    return result;
}

static void report(const struct ledger *ledger)
{
    PGconn *connection = PQconnectdb(ledger->server);
    PGresult *accounts = PQexec(connection, "SELECT name, balance, payments FROM accounts ORDER BY name");
    for (int row = 0; row < PQntuples(accounts); row++)
        printf("%s: %s after %s payments\n", PQgetvalue(accounts, row, 0), PQgetvalue(accounts, row, 1),
               PQgetvalue(accounts, row, 2));
    PQclear(accounts);
    PQfinish(connection);
}

static void close_ledger(struct ledger *ledger)
{
    for (size_t index = 0; index < THREADS_MAX; index++)
        PQfinish(ledger->connections[index]);
    weir_postgres_destroy(ledger->store);
}

int main(int argc, char **argv)
{
    static const char *const settings[][2] = {{"weir.blocking.threads", "8"}, {0}};
    static struct ledger ledger = {.server = "dbname=postgres"};
    static const struct example_option options[] = {
        {"server", "how PostgreSQL is reached, as libpq takes it", &ledger.server}, {0}};
    static const struct example example = {.name = "postgres",
                                           .about =
                                               "Add up payments in PostgreSQL, each of them once, on many threads.",
                                           .settings = settings,
                                           .options = options};
    struct weir_config *config = example_configure(argc, argv, &example);
    example_number("-X weir.blocking.threads", weir_config_get(config, "weir.blocking.threads"), 1, THREADS_MAX);
    struct weir_error error = {0};
    int status = 1;
    if (open_ledger(&ledger, &error) == 0) {
        struct weir_consumer *consumer = weir_consumer_create(config, on_payment, &ledger, &error);
        if (consumer && weir_postgres_attach(ledger.store, consumer, &error) == 0) {
            weir_consumer_stop_on_signals(consumer);
            status = weir_consumer_run(consumer, &error) != 0;
        }
        weir_consumer_destroy(consumer); /* before the store, which it calls */
        report(&ledger);
    }
    if (status != 0)
        fprintf(stderr, "postgres: %s\n", error.text);
    close_ledger(&ledger);
    weir_config_destroy(config);
    return status;
}
