/*
 * Offsets in SQLite: <weir/sqlite.h>.
 *
 * SQLite's writers exclude each other, so a mark's transaction needs no lock on its epoch row: once it has written, no
 * take is in progress, and where it had read the row before another writer changed it, it cannot write any more
 * (SQLITE_BUSY_SNAPSHOT), nor commit.
 *
 * Thread: the keeper's for the store's own connection; handlers' for theirs.
 */
#include "stores/keep.h"
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <weir/sqlite.h>

#define BUSY_MS 5000

struct weir_sqlite {
    struct weir_database database;
    sqlite3 *connection;
};

static struct weir_sqlite *store_of(struct weir_database *database)
{
    return (struct weir_sqlite *)database; /* its first member */
}

/* ---- statements ---- */

static int fail(sqlite3 *connection, const char *path, const char *what, struct weir_error *error)
{
    return weir_store_fail(error, sqlite3_errcode(connection) == SQLITE_NOMEM ? WEIR_NO_MEMORY : WEIR_SYSTEM,
                           "sqlite %s: %s: %s (code %d)", path, what, sqlite3_errmsg(connection),
                           sqlite3_extended_errcode(connection));
}

static int bind(sqlite3_stmt *statement, size_t number, const struct weir_sql_value *value)
{
    char name[24];
    snprintf(name, sizeof name, "$%zu", number);
    int index = sqlite3_bind_parameter_index(statement, name);
    if (value->bytes.size > 0)
        return sqlite3_bind_blob(statement, index, value->bytes.bytes, (int)value->bytes.size, SQLITE_STATIC);
    if (value->text)
        return sqlite3_bind_text(statement, index, value->text, -1, SQLITE_STATIC);
    if (value->number == WEIR_SQL_NULL)
        return sqlite3_bind_null(statement, index);
    return sqlite3_bind_int64(statement, index, value->number);
}

static int step_all(sqlite3_stmt *statement, int64_t *results, size_t result_count, int *rows)
{
    int code;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        for (size_t index = 0; index < result_count && *rows == 0; index++)
            results[index] = sqlite3_column_type(statement, (int)index) == SQLITE_NULL
                                 ? WEIR_SQL_NULL
                                 : sqlite3_column_int64(statement, (int)index);
        *rows = 1;
    }
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

static int query_on(sqlite3 *connection, const char *sql, const struct weir_sql_value *values, size_t count,
                    int64_t *results, size_t result_count, struct weir_error *error)
{
    sqlite3_stmt *statement = NULL;
    int rows = 0, code = sqlite3_prepare_v2(connection, sql, -1, &statement, NULL);
    for (size_t index = 0; index < count && code == SQLITE_OK; index++)
        code = bind(statement, index + 1, &values[index]);
    if (code == SQLITE_OK)
        code = step_all(statement, results, result_count, &rows);
    const char *path = sqlite3_db_filename(connection, NULL);
    int result = code == SQLITE_OK ? rows : fail(connection, path ? path : "", sql, error);
    sqlite3_finalize(statement);
    return result;
}

static int query(struct weir_database *database, const char *sql, const struct weir_sql_value *values, size_t count,
                 int64_t *results, size_t result_count, struct weir_error *error)
{
    return query_on(store_of(database)->connection, sql, values, count, results, result_count, error);
}

/* ---- marks ---- */

#define HOLD "SELECT epoch FROM weir_epochs WHERE id = $1"

/* 1: inserted, 0: it was there, or a code. */
static int insert(sqlite3 *connection, const char *sql, const struct weir_sql_value *values, size_t count,
                  struct weir_error *error)
{
    int result = query_on(connection, sql, values, count, NULL, 0, error);
    return result < 0 ? result : sqlite3_changes(connection) == 1;
}

static int insert_id(sqlite3 *connection, const struct weir_mark_values *mark, struct weir_error *error)
{
    const struct weir_sql_value values[] = {{.number = mark->claim.id}, {.number = mark->sent_ms}, {.bytes = mark->id}};
    int inserted =
        insert(connection, "INSERT INTO weir_ids (id, sent_ms, message_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
               values, 3, error);
    return inserted < 0 ? inserted : inserted == 1 ? WEIR_MARK_NEW : WEIR_MARK_DONE;
}

static int mark(struct weir_database *database, void *connection, const struct weir_mark_values *mark, int64_t *epoch,
                struct weir_error *error)
{
    const struct weir_sql_value values[] = {
        {.number = mark->claim.id}, {.number = mark->offset}, {.number = mark->claim.epoch}, {.number = mark->sent_ms}};
    if (sqlite3_get_autocommit(connection))
        return weir_store_fail(error, WEIR_STATE, "no transaction is open: BEGIN IMMEDIATE before weir_sqlite_mark()");
    int inserted = insert(connection,
                          "INSERT INTO weir_marks (id, log_offset, sent_ms) SELECT $1, $2, $4 FROM weir_epochs "
                          "WHERE id = $1 AND epoch = $3 ON CONFLICT DO NOTHING",
                          values, 4, error);
    *epoch = mark->claim.epoch;
    if (inserted == 1)
        return mark->id.size > 0 ? insert_id(connection, mark, error) : WEIR_MARK_NEW;
    int result = inserted < 0 ? inserted : query_on(connection, HOLD, values, 1, epoch, 1, error);
    return result < 0 ? result : WEIR_MARK_DONE;
}

static const char *const begin[] = {"BEGIN IMMEDIATE", NULL};
static const struct weir_database_ops ops = {.query = query, .mark = mark, .begin = begin, .hold = HOLD};

int weir_sqlite_mark(struct weir_sqlite *store, struct sqlite3 *database, struct weir_message *message,
                     struct weir_error *error)
{
    return weir_database_mark(&store->database, database, message, error);
}

int weir_sqlite_attach(struct weir_sqlite *store, struct weir_consumer *consumer, struct weir_error *error)
{
    return weir_database_attach(&store->database, consumer, error);
}

int weir_sqlite_inbox(struct weir_sqlite *store, const struct weir_inbox_settings *settings, struct weir_error *error)
{
    return weir_database_inbox(&store->database, settings, error);
}

struct weir_inbox_stats weir_sqlite_inbox_stats(const struct weir_sqlite *store)
{
    return weir_ids_stats(&store->database.ids);
}

/* ---- life ---- */

static int make_tables(struct weir_sqlite *store, struct weir_error *error)
{
    static const char *const statements[] = {
        "BEGIN IMMEDIATE",
        "CREATE TABLE IF NOT EXISTS weir_partitions (id INTEGER PRIMARY KEY, consumer_group TEXT NOT NULL, "
        "topic TEXT NOT NULL, partition INTEGER NOT NULL, log_floor INTEGER, UNIQUE (consumer_group, topic, "
        "partition))",
        "CREATE TABLE IF NOT EXISTS weir_epochs (id INTEGER PRIMARY KEY, epoch INTEGER NOT NULL)",
        "CREATE TABLE IF NOT EXISTS weir_marks (id INTEGER NOT NULL, log_offset INTEGER NOT NULL, "
        "sent_ms INTEGER NOT NULL, PRIMARY KEY (id, log_offset)) WITHOUT ROWID",
        "CREATE TABLE IF NOT EXISTS weir_ids (id INTEGER NOT NULL, message_id BLOB NOT NULL, sent_ms INTEGER NOT NULL, "
        "PRIMARY KEY (id, message_id)) WITHOUT ROWID",
        "CREATE INDEX IF NOT EXISTS weir_ids_by_time ON weir_ids (id, sent_ms)",
        "COMMIT",
    };
    for (size_t index = 0; index < sizeof statements / sizeof *statements; index++) {
        int result = query_on(store->connection, statements[index], NULL, 0, NULL, 0, error);
        if (result < 0)
            return result;
    }
    return 0;
}

static int open_database(struct weir_sqlite *store, const char *path, struct weir_error *error)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI | SQLITE_OPEN_FULLMUTEX;
    if (sqlite3_open_v2(path, &store->connection, flags, NULL) != SQLITE_OK)
        return store->connection ? fail(store->connection, path, "open", error)
                                 : weir_store_fail(error, WEIR_NO_MEMORY, "no memory for a SQLite connection");
    const char *file = sqlite3_db_filename(store->connection, NULL);
    if (!file || file[0] == '\0')
        return weir_store_fail(error, WEIR_INVALID,
                               "%s is a database in memory, which handlers cannot open too: name a file", path);
    sqlite3_busy_timeout(store->connection, BUSY_MS);
    return make_tables(store, error);
}

struct weir_sqlite *weir_sqlite_create(const char *path, struct weir_error *error)
{
    struct weir_sqlite *store = weir_store_allocate(sizeof *store);
    if (!store) {
        weir_store_fail(error, WEIR_NO_MEMORY, "no memory for a store");
        return NULL;
    }
    weir_database_init(&store->database, &ops);
    if (open_database(store, path, error) == 0)
        return store;
    weir_sqlite_destroy(store);
    return NULL;
}

void weir_sqlite_destroy(struct weir_sqlite *store)
{
    if (!store)
        return;
    sqlite3_close(store->connection);
    weir_database_deinit(&store->database);
    weir_store_free(store);
}
