/* See keep.h. */
#include "stores/keep.h"
#include <stddef.h>

#define QUERY(database, sql, error, results, result_count, ...)                                                  \
    (database)->ops->query((database), (sql), (const struct weir_sql_value[]){__VA_ARGS__},                      \
                           sizeof((const struct weir_sql_value[]){__VA_ARGS__}) / sizeof(struct weir_sql_value), \
                           (results), (result_count), (error))
#define NUMBER(value_)     \
    {                      \
        .number = (value_) \
    }
#define TEXT(value_)     \
    {                    \
        .text = (value_) \
    }

static int execute(struct weir_database *database, const char *sql, struct weir_error *error)
{
    return database->ops->query(database, sql, NULL, 0, NULL, 0, error);
}

/* A statement that must find its row. */
static int require(int rows, struct weir_error *error)
{
    return rows != 0 ? rows : weir_store_fail(error, WEIR_SYSTEM, "a row of weir_partitions or weir_epochs is missing");
}

/* ---- take ---- */

/* The row's id, made if it is not there. */
static int identify(struct weir_database *database, const struct weir_partition_news *news, int64_t *id,
                    struct weir_error *error)
{
    int rows = QUERY(database,
                     "INSERT INTO weir_partitions (consumer_group, topic, partition) VALUES ($1, $2, $3) "
                     "ON CONFLICT DO NOTHING",
                     error, NULL, 0, TEXT(news->group), TEXT(news->topic), NUMBER(news->partition));
    if (rows >= 0)
        rows = QUERY(database,
                     "SELECT id FROM weir_partitions WHERE consumer_group = $1 AND topic = $2 AND partition = $3",
                     error, id, 1, TEXT(news->group), TEXT(news->topic), NUMBER(news->partition));
    if (rows == 0)
        return weir_store_fail(error, WEIR_SYSTEM, "a row of weir_partitions was deleted as it was looked for");
    if (rows > 0)
        rows = QUERY(database, "INSERT INTO weir_epochs (id, epoch) VALUES ($1, 0) ON CONFLICT DO NOTHING", error, NULL,
                     0, NUMBER(*id));
    return rows;
}

/* S1: waits here for transactions of older epochs. */
static int raise(struct weir_database *database, struct weir_claim *claim, struct weir_error *error)
{
    return require(QUERY(database, "UPDATE weir_epochs SET epoch = epoch + 1 WHERE id = $1 RETURNING epoch", error,
                         &claim->epoch, 1, NUMBER(claim->id)),
                   error);
}

/* The floor: what is there; else what Kafka says. */
static int settle(struct weir_database *database, struct weir_claim *claim, int64_t offset, struct weir_error *error)
{
    int64_t floor = WEIR_SQL_NULL;
    int rows = require(QUERY(database,
                             "UPDATE weir_partitions SET log_floor = COALESCE(log_floor, $1) WHERE id = $2 "
                             "RETURNING log_floor",
                             error, &floor, 1, NUMBER(offset < 0 ? WEIR_SQL_NULL : offset), NUMBER(claim->id)),
                       error);
    claim->floor = floor == WEIR_SQL_NULL ? -1 : floor;
    return rows;
}

/* The log lacks where it stood. If it ends below that, it is not the log of which the marks tell. */
static int settle_anew(struct weir_database *database, const struct weir_partition_news *news, struct weir_claim *claim,
                       struct weir_error *error)
{
    int rows = 0;
    if (news->offset < news->stood)
        rows = QUERY(database, "DELETE FROM weir_marks WHERE id = $1", error, NULL, 0, NUMBER(claim->id));
    if (rows >= 0)
        rows = QUERY(database, "UPDATE weir_partitions SET log_floor = $1 WHERE id = $2", error, NULL, 0,
                     NUMBER(news->offset), NUMBER(claim->id));
    claim->floor = news->offset;
    return rows;
}

/* S4 */
static int prune_ids(struct weir_database *database, int64_t id, int64_t floor, struct weir_error *error)
{
    int64_t sent_ms = WEIR_SQL_NULL, now_ms = weir_ids_now_ms();
    int rows = QUERY(database, "SELECT max(sent_ms) FROM weir_marks WHERE id = $1 AND log_offset < $2", error, &sent_ms,
                     1, NUMBER(id), NUMBER(floor));
    if (rows < 0 || sent_ms == WEIR_SQL_NULL)
        return rows;
    int64_t until_ms = sent_ms < now_ms ? sent_ms : now_ms;
    return QUERY(database, "DELETE FROM weir_ids WHERE id = $1 AND sent_ms < $2", error, NULL, 0, NUMBER(id),
                 NUMBER(until_ms - (int64_t)database->ids.window_ms));
}

static int prune(struct weir_database *database, int64_t id, int64_t floor, struct weir_error *error)
{
    int rows = weir_ids_are_on(&database->ids) ? prune_ids(database, id, floor, error) : 0;
    if (rows < 0)
        return rows;
    return QUERY(database, "DELETE FROM weir_marks WHERE id = $1 AND log_offset < $2", error, NULL, 0, NUMBER(id),
                 NUMBER(floor));
}

static int take_inside(struct weir_database *database, const struct weir_partition_news *news, struct weir_claim *claim,
                       struct weir_error *error)
{
    int result = identify(database, news, &claim->id, error);
    if (result >= 0)
        result = raise(database, claim, error);
    if (result >= 0)
        result = news->event == WEIR_PARTITION_RESET ? settle_anew(database, news, claim, error)
                                                     : settle(database, claim, news->offset, error);
    if (result >= 0)
        result = prune(database, claim->id, claim->floor, error);
    return result < 0 ? result : 0;
}

static int begin(struct weir_database *database, struct weir_error *error)
{
    for (const char *const *sql = database->ops->begin; *sql; sql++) {
        int result = execute(database, *sql, error);
        if (result < 0)
            return result;
    }
    return 0;
}

/* In a transaction of its own; then the claim counts. */
static int take(struct weir_database *database, const struct weir_partition_news *news, int64_t *floor,
                struct weir_error *error)
{
    struct weir_claim claim = {.assignment = news->epoch};
    int result = begin(database, error);
    if (result == 0)
        result = take_inside(database, news, &claim, error);
    if (result == 0)
        result = execute(database, "COMMIT", error);
    if (result < 0) {
        execute(database, "ROLLBACK", NULL); /* if there is a transaction, and a connection */
        return result;
    }
    claim.told = *floor = claim.floor;
    if (!weir_claims_put(&database->claims, news->topic, news->partition, &claim))
        return weir_store_fail(error, WEIR_NO_MEMORY, "no memory for a partition that was taken");
    return 0;
}

/* ---- floors ---- */

/* S2 */
static int move_floor(struct weir_database *database, const struct weir_partition_news *news, struct weir_claim *claim,
                      struct weir_error *error)
{
    int rows = begin(database, error);
    int64_t epoch = 0;
    if (rows >= 0)
        rows = require(QUERY(database, database->ops->hold, error, &epoch, 1, NUMBER(claim->id)), error);
    if (rows >= 0 && epoch == claim->epoch)
        rows =
            QUERY(database,
                  "UPDATE weir_partitions SET log_floor = $1 WHERE id = $2 AND (log_floor IS NULL OR log_floor < $1)",
                  error, NULL, 0, NUMBER(news->offset), NUMBER(claim->id));
    if (rows >= 0 && epoch == claim->epoch)
        rows = prune(database, claim->id, news->offset, error);
    if (rows >= 0)
        rows = execute(database, "COMMIT", error);
    if (rows < 0) {
        execute(database, "ROLLBACK", NULL);
        return rows;
    }
    if (epoch != claim->epoch) {
        weir_claims_lapse(&database->claims, news->topic, news->partition, claim->epoch);
        return 0; /* taken over; or, should it be reminded of again, taken back */
    }
    weir_claims_told(&database->claims, news->topic, news->partition, claim->epoch, news->offset);
    return 0;
}

static int tell(struct weir_database *database, const struct weir_partition_news *news, struct weir_error *error)
{
    struct weir_claim claim;
    int64_t floor;
    if (!weir_claims_find(&database->claims, news->topic, news->partition, news->epoch, &claim))
        return 0; /* of an assignment that is over */
    if (claim.lapsed) {
        struct weir_partition_news again = *news;
        again.event = WEIR_PARTITION_TAKEN;
        return take(database, &again, &floor, error); /* C3 */
    }
    return news->offset > claim.told ? move_floor(database, news, &claim, error) : 0;
}

/* ---- the callback ---- */

int weir_database_on_partition(struct weir_partition_news *news, void *user, struct weir_error *error)
{
    struct weir_database *database = user;
    int64_t floor = -1;
    if (news->event == WEIR_PARTITION_FLOOR)
        return tell(database, news, error);
    int result = take(database, news, &floor, error);
    if (result < 0 || news->event == WEIR_PARTITION_RESET || floor < 0)
        return result;
    news->offset = floor;
    return WEIR_PARTITION_MOVED;
}

int weir_database_attach(struct weir_database *database, struct weir_consumer *consumer, struct weir_error *error)
{
    if (!consumer)
        return weir_store_fail(error, WEIR_INVALID, "consumer is NULL: create it first");
    if (database->consumer)
        return weir_store_fail(error, WEIR_STATE,
                               "this store is attached to a consumer already: each needs a store of its own");
    database->consumer = consumer;
    weir_consumer_on_partition(consumer, weir_database_on_partition, database);
    return 0;
}
