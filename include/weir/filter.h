/*
 * Filters: messages that are not for the handler. Most need no code: weir.filter.* and weir.rate.* in options.md.
 *
 *     static int is_ours(struct weir_message *message, void *user)
 *     {
 *         return weir_message_value_size(message) > 0;
 *     }
 *     weir_consumer_filter(consumer, is_ours, NULL, &error);              before weir_consumer_start()
 */
#ifndef WEIR_FILTER_H
#define WEIR_FILTER_H

#include <weir/error.h>
#include <weir/export.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weir_consumer;
struct weir_message;

/**
 * Is this message to be handled? 0: no; it is finished as by WEIR_SKIP, and counted as filtered.
 *
 * Called where the handler would be, before each run of it: in the order of the key, never beside another run of it.
 * What a handler may do with a message it may do, but give it out by WEIR_LATER. Must not block for long where handlers
 * must not.
 */
typedef int weir_filter_function(struct weir_message *message, void *user);

/**
 * Ask this function before the handler.
 *
 * Ownership: what `user` points to must outlive the consumer.
 * Thread:    before start, once.    Errors: WEIR_STATE once started or called before; WEIR_INVALID without a
 *            function, and for a consumer of batches, which are not filtered.
 */
WEIR_EXPORT int weir_consumer_filter(struct weir_consumer *consumer, weir_filter_function *function, void *user,
                                     struct weir_error *error);

#ifdef __cplusplus
}
#endif
#endif
