/* See effects.h. */
#include "tests/stores/effects.h"
#include "tests/support/wait.h"
#include <libpq-fe.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <weir/postgres.h>
#include <weir/sqlite.h>

enum { THREADS_MAX = 256, VALUES_MAX = 8 };

struct connection {
    sqlite3 *sqlite;
    PGconn *postgres;
};

struct weir_effects {
    struct weir_effects_settings settings;
    struct weir_sqlite *sqlite;
    struct weir_postgres *postgres;
    struct connection connections[THREADS_MAX + 1]; /* by thread; the first is of those that run no handlers */
};

/* ---- connections ---- */

static bool connect_sqlite(struct connection *connection, const char *path)
{
    return sqlite3_open(path, &connection->sqlite) == SQLITE_OK &&
           sqlite3_busy_timeout(connection->sqlite, 10000) == SQLITE_OK &&
           sqlite3_exec(connection->sqlite, "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF", NULL, NULL, NULL) ==
               SQLITE_OK;
}

static void keep_quiet(void *argument, const PGresult *result) {}

static bool connect_postgres(struct connection *connection, const char *location)
{
    if (connection->postgres && PQstatus(connection->postgres) != CONNECTION_OK)
        PQreset(connection->postgres);
    else if (!connection->postgres)
        connection->postgres = PQconnectdb(location);
    PQsetNoticeReceiver(connection->postgres, keep_quiet, NULL);
    return PQstatus(connection->postgres) == CONNECTION_OK;
}

/* Of this thread; NULL: it cannot be reached. */
static struct connection *connection_of(struct weir_effects *effects)
{
    struct connection *connection = &effects->connections[weir_worker_index() + 1];
    if (effects->settings.kind == WEIR_EFFECTS_POSTGRES)
        return connect_postgres(connection, effects->settings.location) ? connection : NULL;
    return connection->sqlite || connect_sqlite(connection, effects->settings.location) ? connection : NULL;
}

/* ---- statements: $1, $2, ... are texts ---- */

static bool query_sqlite(sqlite3 *connection, const char *sql, const char *const *texts, int64_t *result)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(connection, sql, -1, &statement, NULL);
    for (int number = 1; texts && texts[number - 1] && code == SQLITE_OK; number++) {
        char name[16];
        snprintf(name, sizeof name, "$%d", number);
        code = sqlite3_bind_text(statement, sqlite3_bind_parameter_index(statement, name), texts[number - 1], -1,
                                 SQLITE_STATIC);
    }
    if (code == SQLITE_OK && (code = sqlite3_step(statement)) == SQLITE_ROW && result)
        *result = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return code == SQLITE_ROW || code == SQLITE_DONE;
}

static bool query_postgres(PGconn *connection, const char *sql, const char *const *texts, int64_t *result)
{
    int count = 0;
    while (texts && texts[count])
        count++;
    PGresult *answer = PQexecParams(connection, sql, count, NULL, texts, NULL, NULL, 0);
    ExecStatusType status = PQresultStatus(answer);
    if (status == PGRES_TUPLES_OK && PQntuples(answer) > 0 && result)
        *result = strtoll(PQgetvalue(answer, 0, 0), NULL, 10);
    /* COMMIT of a transaction that has failed is answered ROLLBACK. */
    bool is_done = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
    if (strcmp(sql, "COMMIT") == 0 && strcmp(PQcmdStatus(answer), "COMMIT") != 0)
        is_done = false;
    PQclear(answer);
    return is_done;
}

static bool query(const struct connection *connection, const char *sql, const char *const *texts, int64_t *result)
{
    if (!connection)
        return false;
    return connection->sqlite ? query_sqlite(connection->sqlite, sql, texts, result)
                              : query_postgres(connection->postgres, sql, texts, result);
}

bool weir_effects_do(struct weir_effects *effects, const char *sql)
{
    return query(connection_of(effects), sql, NULL, NULL);
}

int64_t weir_effects_ask(struct weir_effects *effects, const char *sql)
{
    int64_t result = -1;
    return query(connection_of(effects), sql, NULL, &result) ? result : -1;
}

/* ---- the handler ---- */

int weir_effects_mark(struct weir_effects *effects, struct weir_message *message, struct weir_error *error)
{
    struct connection *connection = connection_of(effects);
    if (!connection)
        return WEIR_SYSTEM;
    return connection->sqlite ? weir_sqlite_mark(effects->sqlite, connection->sqlite, message, error)
                              : weir_postgres_mark(effects->postgres, connection->postgres, message, error);
}

static bool write_effect(struct weir_effects *effects, const struct connection *connection,
                         const struct weir_message *message)
{
    char partition[16], offset[24], process[16], key[64], value[32];
    snprintf(partition, sizeof partition, "%d", (int)weir_message_partition(message));
    snprintf(offset, sizeof offset, "%lld", (long long)weir_message_offset(message));
    snprintf(process, sizeof process, "%d", (int)getpid());
    snprintf(key, sizeof key, "%.*s", (int)weir_message_key_size(message), (const char *)weir_message_key(message));
    snprintf(value, sizeof value, "%.*s", (int)weir_message_value_size(message),
             (const char *)weir_message_value(message));
    const char *const texts[] = {effects->settings.run, partition, offset, key, value, process, NULL};
    return query(connection,
                 "INSERT INTO effects (run, partition, log_offset, message_key, message_value, process) "
                 "VALUES ($1, $2, $3, $4, $5, $6)",
                 texts, NULL);
}

enum weir_outcome weir_effects_apply(struct weir_effects *effects, struct weir_message *message, unsigned wait_us,
                                     int *mark)
{
    struct weir_error error;
    struct connection *connection = connection_of(effects);
    bool is_sqlite = effects->settings.kind == WEIR_EFFECTS_SQLITE;
    *mark = WEIR_SYSTEM;
    if (!query(connection, is_sqlite ? "BEGIN IMMEDIATE" : "BEGIN", NULL, NULL))
        return WEIR_OVERLOADED;
    *mark = weir_effects_mark(effects, message, &error);
    bool is_written = *mark == WEIR_MARK_NEW && write_effect(effects, connection, message);
    if (is_written && wait_us > 0)
        weir_test_sleep_us(wait_us);
    if (is_written && query(connection, "COMMIT", NULL, NULL))
        return WEIR_ACK;
    query(connection, "ROLLBACK", NULL, NULL);
    return *mark == WEIR_MARK_NEW ? WEIR_OVERLOADED : weir_mark_outcome(*mark);
}

/* All marks and effects; not NEW: which mark, or what the database refused, asks for a rollback. */
static int write_batch(struct weir_effects *effects, const struct connection *connection, struct weir_batch *batch,
                       size_t *done)
{
    struct weir_error error;
    for (size_t index = 0; index < weir_batch_count(batch); index++) {
        struct weir_message *message = weir_batch_message(batch, index);
        int mark = weir_effects_mark(effects, message, &error);
        if (mark < 0)
            return mark;
        if (mark == WEIR_MARK_NEW && !write_effect(effects, connection, message))
            return WEIR_SYSTEM;
        *done += mark == WEIR_MARK_DONE;
    }
    return WEIR_MARK_NEW;
}

enum weir_outcome weir_effects_apply_batch(struct weir_effects *effects, struct weir_batch *batch, size_t *done)
{
    struct connection *connection = connection_of(effects);
    bool is_sqlite = effects->settings.kind == WEIR_EFFECTS_SQLITE;
    *done = 0;
    if (!query(connection, is_sqlite ? "BEGIN IMMEDIATE" : "BEGIN", NULL, NULL))
        return WEIR_OVERLOADED;
    int mark = write_batch(effects, connection, batch, done);
    if (mark == WEIR_MARK_NEW && query(connection, "COMMIT", NULL, NULL))
        return WEIR_ACK; /* also of what had been done before, and not earlier: its copy may be in this transaction */
    query(connection, "ROLLBACK", NULL, NULL);
    return mark == WEIR_MARK_NEW ? WEIR_OVERLOADED : weir_mark_outcome(mark);
}

/* ---- counts ---- */

static int64_t count(struct weir_effects *effects, const char *sql)
{
    int64_t result = -1;
    const char *const texts[] = {effects->settings.run, NULL};
    return query(connection_of(effects), sql, texts, &result) ? result : -1;
}

struct weir_effects_count weir_effects_count(struct weir_effects *effects)
{
    return (struct weir_effects_count){
        .effects = count(effects, "SELECT count(*) FROM effects WHERE run = $1"),
        .messages = count(effects, "SELECT count(*) FROM (SELECT DISTINCT partition, log_offset FROM effects "
                                   "WHERE run = $1) AS messages"),
        .disordered =
            count(effects, "SELECT count(*) FROM (SELECT log_offset - lag(log_offset) OVER (PARTITION BY partition, "
                           "message_key ORDER BY id) AS step FROM effects WHERE run = $1) AS steps WHERE step < 0"),
        .marks = count(effects, "SELECT count(*) FROM weir_marks WHERE id IN (SELECT id FROM weir_partitions "
                                "WHERE consumer_group = $1)"),
    };
}

/* ---- life ---- */

#define COLUMNS "run TEXT, partition INTEGER, log_offset BIGINT, message_key TEXT, message_value TEXT, process INTEGER)"

static bool is_there(struct weir_effects *effects)
{
    return weir_effects_ask(effects, "SELECT count(to_regclass('effects'))") == 1;
}

static bool make_table(struct weir_effects *effects)
{
    if (effects->settings.kind == WEIR_EFFECTS_SQLITE)
        return weir_effects_do(effects, "CREATE TABLE IF NOT EXISTS effects (id INTEGER PRIMARY KEY, " COLUMNS);
    /* Others may be making it, which IF NOT EXISTS does not bear. */
    return is_there(effects) || weir_effects_do(effects, "CREATE TABLE effects (id BIGSERIAL PRIMARY KEY, " COLUMNS) ||
           is_there(effects);
}

struct weir_database *weir_effects_database(struct weir_effects *effects)
{
    return effects->sqlite ? (struct weir_database *)effects->sqlite : (struct weir_database *)effects->postgres;
}

int weir_effects_attach(struct weir_effects *effects, struct weir_consumer *consumer, struct weir_error *error)
{
    return effects->sqlite ? weir_sqlite_attach(effects->sqlite, consumer, error)
                           : weir_postgres_attach(effects->postgres, consumer, error);
}

static int set_inbox(struct weir_effects *effects, struct weir_error *error)
{
    struct weir_inbox_settings inbox = {.id = effects->settings.id, .window_ms = effects->settings.window_ms};
    if (!effects->settings.id)
        return 0;
    return effects->sqlite ? weir_sqlite_inbox(effects->sqlite, &inbox, error)
                           : weir_postgres_inbox(effects->postgres, &inbox, error);
}

struct weir_inbox_stats weir_effects_inbox_stats(const struct weir_effects *effects)
{
    return effects->sqlite ? weir_sqlite_inbox_stats(effects->sqlite) : weir_postgres_inbox_stats(effects->postgres);
}

struct weir_effects *weir_effects_open(const struct weir_effects_settings *settings, struct weir_error *error)
{
    struct weir_effects *effects = calloc(1, sizeof *effects);
    if (!effects)
        return NULL;
    effects->settings = *settings;
    if (settings->kind == WEIR_EFFECTS_SQLITE)
        effects->sqlite = weir_sqlite_create(settings->location, error);
    else
        effects->postgres = weir_postgres_create(settings->location, settings->idle_ms, error);
    if ((effects->sqlite || effects->postgres) && make_table(effects) && set_inbox(effects, error) == 0)
        return effects;
    weir_effects_close(effects);
    return NULL;
}

void weir_effects_close(struct weir_effects *effects)
{
    for (size_t index = 0; index <= THREADS_MAX; index++) {
        sqlite3_close(effects->connections[index].sqlite);
        if (effects->connections[index].postgres)
            PQfinish(effects->connections[index].postgres);
    }
    weir_sqlite_destroy(effects->sqlite);
    weir_postgres_destroy(effects->postgres);
    free(effects);
}
