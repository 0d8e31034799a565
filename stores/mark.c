/* What marks of either database have in common: see keep.h. Thread: any, but what comes before the start. */
#include "stores/keep.h"

void weir_database_init(struct weir_database *database, const struct weir_database_ops *ops)
{
    database->ops = ops;
    weir_claims_init(&database->claims);
}

void weir_database_deinit(struct weir_database *database)
{
    weir_claims_deinit(&database->claims);
    weir_ids_deinit(&database->ids);
}

int weir_database_inbox(struct weir_database *database, const struct weir_inbox_settings *settings,
                        struct weir_error *error)
{
    if (weir_ids_are_on(&database->ids))
        return weir_store_fail(error, WEIR_STATE, "this store has an inbox already");
    return weir_ids_set(&database->ids, settings, error);
}

static int mark(struct weir_database *database, void *connection, struct weir_message *message, struct weir_id *id,
                struct weir_error *error)
{
    struct weir_mark_values values = {.offset = weir_message_offset(message), .sent_ms = weir_ids_sent_ms(message)};
    int64_t epoch = 0;
    int result = weir_claims_look(&database->claims, message, &values.claim, error);
    if (result == WEIR_MARK_NEW && weir_ids_are_on(&database->ids))
        result = weir_ids_of(&database->ids, message, id, error);
    if (result != WEIR_MARK_NEW)
        return result;
    values.id = *id;
    result = database->ops->mark(database, connection, &values, &epoch, error);
    if (result >= 0 && epoch != values.claim.epoch)
        return weir_claims_refuse(&database->claims, message, &values.claim, epoch, error);
    return result;
}

int weir_database_mark(struct weir_database *database, void *connection, struct weir_message *message,
                       struct weir_error *error)
{
    struct weir_id id = {0};
    int result = mark(database, connection, message, &id, error);
    if (weir_ids_are_on(&database->ids) && (result == WEIR_MARK_NEW || id.size > 0))
        weir_ids_count(&database->ids, &id, result);
    return result;
}
