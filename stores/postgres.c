/*
 * Offsets in PostgreSQL: <weir/postgres.h>.
 *
 * A mark is one statement: it locks the epoch row FOR SHARE, and inserts where the epoch is the claim's. FOR KEY SHARE
 * would not do: against an update that leaves the key alone it may lock, and show, the row as it was before. Read
 * committed, the lock waits for a take that is under way and then shows what it has committed; under the stricter
 * levels the statement then fails as not serializable. A conflicting mark of a transaction under way is waited for,
 * too.
 *
 * Thread: the keeper's for the store's own connection; handlers' for theirs.
 */
#include "stores/keep.h"
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/postgres.h>

#define VALUES_MAX 8

struct weir_postgres {
    struct weir_database database;
    PGconn *connection;
    char idle_ms[16]; /* as text; "" leaves it to the server */
};

static struct weir_postgres *store_of(struct weir_database *database)
{
    return (struct weir_postgres *)database; /* its first member */
}

/* ---- statements ---- */

static int fail(PGconn *connection, const PGresult *result, const char *what, struct weir_error *error)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *words = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    if (state && strcmp(state, "55P03") == 0) /* lock_timeout, which only takes have */
        return weir_store_fail(error, WEIR_SYSTEM,
                               "postgres: transactions of the partition's earlier owner are still open: they end by "
                               "themselves, or by idle_in_transaction_session_timeout");
    return weir_store_fail(error, WEIR_SYSTEM, "postgres: %s: %s (%s)", what,
                           words ? words : PQerrorMessage(connection), state ? state : "no answer");
}

static int64_t number_at(const PGresult *result, int column)
{
    return PQgetisnull(result, 0, column) ? WEIR_SQL_NULL : strtoll(PQgetvalue(result, 0, column), NULL, 10);
}

static int query_on(PGconn *connection, const char *sql, const struct weir_sql_value *values, size_t count,
                    int64_t *results, size_t result_count, struct weir_error *error)
{
    const char *texts[VALUES_MAX];
    char numbers[VALUES_MAX][24];
    int sizes[VALUES_MAX], are_binary[VALUES_MAX];
    for (size_t index = 0; index < count; index++) {
        const struct weir_sql_value *value = &values[index];
        snprintf(numbers[index], sizeof numbers[index], "%lld", (long long)value->number);
        texts[index] = value->bytes.size > 0            ? value->bytes.bytes
                       : value->text                    ? value->text
                       : value->number == WEIR_SQL_NULL ? NULL
                                                        : numbers[index];
        sizes[index] = (int)value->bytes.size; /* of texts it is not looked at */
        are_binary[index] = value->bytes.size > 0;
    }
    PGresult *result = PQexecParams(connection, sql, (int)count, NULL, texts, sizes, are_binary, 0);
    ExecStatusType status = PQresultStatus(result);
    int rows = 0;
    if (status == PGRES_TUPLES_OK && PQntuples(result) > 0) {
        for (size_t index = 0; index < result_count; index++)
            results[index] = number_at(result, (int)index);
        rows = 1;
    } else if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
        rows = fail(connection, result, sql, error);
    }
    PQclear(result);
    return rows;
}

static int query(struct weir_database *database, const char *sql, const struct weir_sql_value *values, size_t count,
                 int64_t *results, size_t result_count, struct weir_error *error)
{
    PGconn *connection = store_of(database)->connection;
    if (PQstatus(connection) != CONNECTION_OK)
        PQreset(connection);
    return query_on(connection, sql, values, count, results, result_count, error);
}

/* ---- marks ---- */

#define HOLD "SELECT epoch FROM weir_epochs WHERE id = $1 FOR SHARE"
#define MARK                                                                                                           \
    "WITH held AS MATERIALIZED (" HOLD "), "                                                                           \
    "marked AS (INSERT INTO weir_marks (id, log_offset, sent_ms) SELECT $1::bigint, $2::bigint, $4::bigint FROM held " \
    "WHERE epoch = $3 ON CONFLICT DO NOTHING RETURNING 1), "                                                           \
    "received AS (INSERT INTO weir_ids (id, message_id, sent_ms) SELECT $1::bigint, $5::bytea, $4::bigint FROM "       \
    "marked WHERE $5::bytea IS NOT NULL ON CONFLICT DO NOTHING RETURNING 1) "                                          \
    "SELECT (SELECT epoch FROM held), (SELECT count(*) FROM marked), (SELECT count(*) FROM received), "                \
    "CASE WHEN $6::text <> '' THEN set_config('idle_in_transaction_session_timeout', $6, true) END"

static int mark(struct weir_database *database, void *connection, const struct weir_mark_values *mark, int64_t *epoch,
                struct weir_error *error)
{
    int64_t results[3];
    const struct weir_sql_value values[] = {{.number = mark->claim.id},
                                            {.number = mark->offset},
                                            {.number = mark->claim.epoch},
                                            {.number = mark->sent_ms},
                                            {.number = WEIR_SQL_NULL, .bytes = mark->id},
                                            {.text = store_of(database)->idle_ms}};
    if (PQtransactionStatus(connection) == PQTRANS_IDLE)
        return weir_store_fail(error, WEIR_STATE, "no transaction is open: BEGIN before weir_postgres_mark()");
    int result = query_on(connection, MARK, values, 6, results, 3, error);
    if (result < 0)
        return result;
    *epoch = results[0];
    return results[1] == 1 && (mark->id.size == 0 || results[2] == 1) ? WEIR_MARK_NEW : WEIR_MARK_DONE;
}

/* A take that is stopped half way must not keep the next one out; and it does not wait so long that others wait. */
static const char *const begin[] = {"BEGIN ISOLATION LEVEL READ COMMITTED", "SET LOCAL lock_timeout = 1000",
                                    "SET LOCAL idle_in_transaction_session_timeout = 10000", NULL};
static const struct weir_database_ops ops = {.query = query, .mark = mark, .begin = begin, .hold = HOLD};

int weir_postgres_mark(struct weir_postgres *store, struct pg_conn *connection, struct weir_message *message,
                       struct weir_error *error)
{
    return weir_database_mark(&store->database, connection, message, error);
}

int weir_postgres_attach(struct weir_postgres *store, struct weir_consumer *consumer, struct weir_error *error)
{
    return weir_database_attach(&store->database, consumer, error);
}

int weir_postgres_inbox(struct weir_postgres *store, const struct weir_inbox_settings *settings,
                        struct weir_error *error)
{
    return weir_database_inbox(&store->database, settings, error);
}

struct weir_inbox_stats weir_postgres_inbox_stats(const struct weir_postgres *store)
{
    return weir_ids_stats(&store->database.ids);
}

/* ---- life ---- */

/* Only where they are missing: who may use tables need not be allowed to make some. The lock is against others who make
 * them at the same time, which IF NOT EXISTS does not bear. */
static int make_tables(struct weir_postgres *store, struct weir_error *error)
{
    static const char *const statements[] = {
        "BEGIN",
        "SELECT pg_advisory_xact_lock(8387238452)",
        "CREATE TABLE IF NOT EXISTS weir_partitions (id BIGSERIAL PRIMARY KEY, consumer_group TEXT NOT NULL, "
        "topic TEXT NOT NULL, partition INTEGER NOT NULL, log_floor BIGINT, UNIQUE (consumer_group, topic, partition))",
        "CREATE TABLE IF NOT EXISTS weir_epochs (id BIGINT PRIMARY KEY, epoch BIGINT NOT NULL)",
        "CREATE TABLE IF NOT EXISTS weir_marks (id BIGINT NOT NULL, log_offset BIGINT NOT NULL, "
        "sent_ms BIGINT NOT NULL, PRIMARY KEY (id, log_offset))",
        "CREATE TABLE IF NOT EXISTS weir_ids (id BIGINT NOT NULL, message_id BYTEA NOT NULL, sent_ms BIGINT NOT NULL, "
        "PRIMARY KEY (id, message_id))",
        "CREATE INDEX IF NOT EXISTS weir_ids_by_time ON weir_ids (id, sent_ms)",
        "COMMIT",
    };
    int64_t present = 0;
    int result = query_on(store->connection, "SELECT count(to_regclass('weir_ids'))", NULL, 0, &present, 1, error);
    for (size_t index = 0; index < sizeof statements / sizeof *statements && result >= 0 && present == 0; index++)
        result = query_on(store->connection, statements[index], NULL, 0, NULL, 0, error);
    return result < 0 ? result : 0;
}

static void keep_quiet(void *argument, const PGresult *result) {}

static int open_database(struct weir_postgres *store, const char *connection, struct weir_error *error)
{
    static const char *const names[] = {"connect_timeout", "tcp_user_timeout", "fallback_application_name", "dbname",
                                        NULL};
    const char *const values[] = {"5", "10000", "weir", connection, NULL};
    store->connection = PQconnectdbParams(names, values, 1); /* what comes later wins */
    if (!store->connection)
        return weir_store_fail(error, WEIR_NO_MEMORY, "no memory for a PostgreSQL connection");
    if (PQstatus(store->connection) != CONNECTION_OK)
        return weir_store_fail(error, WEIR_SYSTEM, "postgres: %s", PQerrorMessage(store->connection));
    PQsetNoticeReceiver(store->connection, keep_quiet, NULL);
    return make_tables(store, error);
}

struct weir_postgres *weir_postgres_create(const char *connection, uint32_t idle_ms, struct weir_error *error)
{
    struct weir_postgres *store = weir_store_allocate(sizeof *store);
    if (!store) {
        weir_store_fail(error, WEIR_NO_MEMORY, "no memory for a store");
        return NULL;
    }
    weir_database_init(&store->database, &ops);
    if (idle_ms > 0)
        snprintf(store->idle_ms, sizeof store->idle_ms, "%lu", (unsigned long)idle_ms);
    if (open_database(store, connection, error) == 0)
        return store;
    weir_postgres_destroy(store);
    return NULL;
}

void weir_postgres_destroy(struct weir_postgres *store)
{
    if (!store)
        return;
    if (store->connection)
        PQfinish(store->connection);
    weir_database_deinit(&store->database);
    weir_store_free(store);
}
