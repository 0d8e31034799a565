/*
 * Logging: one callback for all that Weir and librdkafka have to say.
 *
 * Without one, lines go to standard error: plain where that is a terminal, logfmt elsewhere.
 */
#ifndef WEIR_LOG_H
#define WEIR_LOG_H

#include <stddef.h>
#include <weir/export.h>

#ifdef __cplusplus
extern "C" {
#endif

/** How severe a line is. */
enum weir_log_level { WEIR_LOG_ERROR = 0, WEIR_LOG_WARN, WEIR_LOG_INFO, WEIR_LOG_DEBUG };

/** One structured field of a line, both NUL-terminated. */
struct weir_log_field {
    const char *name;  /* such as "topic" */
    const char *value; /* as text */
};

/**
 * Called for every line at or above the level.
 *
 * Ownership: lends text and fields for the call.    Thread: any, several at once.    Must not block for long.
 */
typedef void weir_log_callback(void *user, enum weir_log_level level, const char *text,
                               const struct weir_log_field *fields, size_t field_count);

/**
 * Set the process's log callback (NULL: the default one) and the least severe level that is passed on.
 *
 * Thread: before start.
 */
WEIR_EXPORT void weir_log_set(weir_log_callback *callback, void *user, enum weir_log_level level);

#ifdef __cplusplus
}
#endif
#endif
