/* See ids.h. */
#include "stores/ids.h"
#include <string.h>
#include <time.h>

#define WINDOW_MS_MAX (3660ull * 24 * 60 * 60 * 1000) /* ten years */

int weir_ids_set(struct weir_ids *ids, const struct weir_inbox_settings *settings, struct weir_error *error)
{
    if (!settings || (settings->header != NULL) == (settings->id != NULL))
        return weir_store_fail(error, WEIR_INVALID, "an inbox needs a header or a callback for the id, and not both");
    if (settings->header && settings->header[0] == '\0')
        return weir_store_fail(error, WEIR_INVALID, "the header of an inbox has an empty name");
    if (settings->window_ms == 0 || settings->window_ms > WINDOW_MS_MAX)
        return weir_store_fail(error, WEIR_INVALID, "window_ms=%llu: must be 1..%llu",
                               (unsigned long long)settings->window_ms, (unsigned long long)WINDOW_MS_MAX);
    if (settings->header) {
        size_t size = strlen(settings->header) + 1;
        ids->header = weir_store_allocate(size);
        if (!ids->header)
            return weir_store_fail(error, WEIR_NO_MEMORY, "no memory for the name of a header");
        memcpy(ids->header, settings->header, size);
    }
    ids->callback = settings->id;
    ids->user = settings->user;
    ids->window_ms = settings->window_ms;
    return 0;
}

void weir_ids_deinit(struct weir_ids *ids)
{
    weir_store_free(ids->header);
}

int weir_ids_of(const struct weir_ids *ids, struct weir_message *message, struct weir_id *id, struct weir_error *error)
{
    *id = (struct weir_id){0};
    if (ids->header)
        id->bytes = weir_message_header(message, ids->header, &id->size);
    else
        id->size = ids->callback(message, ids->user, &id->bytes);
    if (!id->bytes)
        id->size = 0;
    if (id->size > WEIR_INBOX_ID_BYTES_MAX)
        return weir_store_fail(error, WEIR_INVALID, "%s/%d at %lld: an id of %zu bytes: must be 1..%d",
                               weir_message_topic(message), (int)weir_message_partition(message),
                               (long long)weir_message_offset(message), id->size, WEIR_INBOX_ID_BYTES_MAX);
    return 0;
}

void weir_ids_count(struct weir_ids *ids, const struct weir_id *id, int mark)
{
    if (mark == WEIR_MARK_NEW && id->size == 0)
        atomic_fetch_add_explicit(&ids->without_id, 1, memory_order_relaxed);
    else if (mark == WEIR_MARK_NEW)
        atomic_fetch_add_explicit(&ids->fresh, 1, memory_order_relaxed);
    else if (mark == WEIR_MARK_DONE)
        atomic_fetch_add_explicit(&ids->copies, 1, memory_order_relaxed);
}

struct weir_inbox_stats weir_ids_stats(const struct weir_ids *ids)
{
    return (struct weir_inbox_stats){.fresh = atomic_load_explicit(&ids->fresh, memory_order_relaxed),
                                     .copies = atomic_load_explicit(&ids->copies, memory_order_relaxed),
                                     .without_id = atomic_load_explicit(&ids->without_id, memory_order_relaxed),
                                     .forgotten = atomic_load_explicit(&ids->forgotten, memory_order_relaxed)};
}

int64_t weir_ids_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t weir_ids_sent_ms(const struct weir_message *message)
{
    int64_t now_ms = weir_ids_now_ms(), sent_ms = weir_message_timestamp_ms(message);
    return sent_ms >= 0 && sent_ms < now_ms ? sent_ms : now_ms;
}
