/*
 * Effects that happen once: a balance in SQLite, and the offset of each payment, in one transaction.
 *
 * A payment that comes again, after a crash, a rebalance or a reset of the group, finds its mark and changes nothing.
 * SQLite has one writer at a time, so the handlers share one connection, and a lock; postgres.c writes from many
 * threads.
 */
#include "common.h"
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <weir/sqlite.h>

struct ledger {
    pthread_mutex_t lock;
    struct weir_sqlite *store;
    sqlite3 *database;
    sqlite3_stmt *pay; /* the effect: $1 is the account, $2 the amount */
};

static int execute(struct ledger *ledger, const char *sql)
{
    return sqlite3_exec(ledger->database, sql, NULL, NULL, NULL);
}

static int pay(struct ledger *ledger, const struct weir_message *message)
{
    sqlite3_bind_text(ledger->pay, 1, weir_message_key(message), (int)weir_message_key_size(message), SQLITE_STATIC);
    sqlite3_bind_text(ledger->pay, 2, weir_message_value(message), (int)weir_message_value_size(message),
                      SQLITE_STATIC);
    sqlite3_step(ledger->pay);
    return sqlite3_reset(ledger->pay);
}

static enum weir_outcome in_a_transaction(struct ledger *ledger, struct weir_message *message)
{
    struct weir_error error;
    if (execute(ledger, "BEGIN IMMEDIATE") != SQLITE_OK)
        return WEIR_OVERLOADED;
    int mark = weir_sqlite_mark(ledger->store, ledger->database, message, &error);
    if (mark == WEIR_MARK_NEW && pay(ledger, message) == SQLITE_OK && execute(ledger, "COMMIT") == SQLITE_OK)
        return WEIR_ACK;
    execute(ledger, "ROLLBACK"); /* the mark goes with the effect */
    return mark == WEIR_MARK_NEW ? weir_retry(message, sqlite3_errmsg(ledger->database)) : weir_mark_outcome(mark);
}

static enum weir_outcome on_payment(struct weir_message *message, void *user)
{
    struct ledger *ledger = user;
    pthread_mutex_lock(&ledger->lock);
    enum weir_outcome outcome = in_a_transaction(ledger, message);
    pthread_mutex_unlock(&ledger->lock);
    return outcome;
}

static int open_ledger(struct ledger *ledger, const char *path, struct weir_error *error)
{
    ledger->store = weir_sqlite_create(path, error);
    if (!ledger->store)
        return -1;
    if (sqlite3_open(path, &ledger->database) == SQLITE_OK &&
        sqlite3_busy_timeout(ledger->database, 5000) == SQLITE_OK &&
        execute(ledger, "PRAGMA journal_mode = WAL; CREATE TABLE IF NOT EXISTS accounts "
                        "(name TEXT PRIMARY KEY, balance INTEGER NOT NULL, payments INTEGER NOT NULL)") == SQLITE_OK &&
        sqlite3_prepare_v2(ledger->database,
                           "INSERT INTO accounts VALUES ($1, CAST($2 AS INTEGER), 1) ON CONFLICT (name) DO UPDATE "
                           "SET balance = balance + excluded.balance, payments = payments + 1",
                           -1, &ledger->pay, NULL) == SQLITE_OK)
        return 0;
    snprintf(error->text, sizeof error->text, "%s: %s", path, sqlite3_errmsg(ledger->database));
    return -1;
}

static void report(struct ledger *ledger)
{
    sqlite3_stmt *accounts = NULL;
    sqlite3_prepare_v2(ledger->database, "SELECT name, balance, payments FROM accounts ORDER BY name", -1, &accounts,
                       NULL);
    while (sqlite3_step(accounts) == SQLITE_ROW)
        printf("%s: %lld after %lld payments\n", (const char *)sqlite3_column_text(accounts, 0),
               (long long)sqlite3_column_int64(accounts, 1), (long long)sqlite3_column_int64(accounts, 2));
    sqlite3_finalize(accounts);
}

int main(int argc, char **argv)
{
    static const char *path = "ledger.db";
    static const struct example_option options[] = {{"database", "the file of the accounts", &path}, {0}};
    static const struct example example = {.name = "sqlite",
                                           .about =
                                               "Add up payments in SQLite, each of them once, whatever comes again.",
                                           .options = options};
    struct weir_config *config = example_configure(argc, argv, &example);
    struct weir_error error = {0};
    struct ledger ledger = {.lock = PTHREAD_MUTEX_INITIALIZER};
    int status = 1;
    if (open_ledger(&ledger, path, &error) == 0) {
        struct weir_consumer *consumer = weir_consumer_create(config, on_payment, &ledger, &error);
        if (consumer && weir_sqlite_attach(ledger.store, consumer, &error) == 0) {
            weir_consumer_stop_on_signals(consumer);
            status = weir_consumer_run(consumer, &error) != 0;
        }
        weir_consumer_destroy(consumer); /* before the store, which it calls */
        report(&ledger);
    }
    if (status != 0)
        fprintf(stderr, "sqlite: %s\n", error.text);
    sqlite3_finalize(ledger.pay);
    sqlite3_close(ledger.database);
    weir_sqlite_destroy(ledger.store);
    weir_config_destroy(config);
    return status;
}
