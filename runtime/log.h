/*
 * Logging inside Weir: a level, a sentence, and fields as name/value pairs.
 *
 *     weir_log(WEIR_LOG_WARN, WEIR_FIELDS({"topic", topic}, {"partition", number}), "dead letter refused: %s", reason);
 *
 * Thread: any. Never on a path that runs once a message.
 */
#ifndef WEIR_RUNTIME_LOG_H
#define WEIR_RUNTIME_LOG_H

#include <stdbool.h>
#include <weir/export.h>
#include <weir/log.h>

void weir_log_set_level(enum weir_log_level level); /* the process's, as weir_log_set() does */
bool weir_log_is_on(enum weir_log_level level);
void weir_log_write(enum weir_log_level level, const struct weir_log_field *fields, size_t field_count,
                    const char *format, ...) WEIR_FORMAT(4, 5);

#define WEIR_FIELDS(...)                          \
    (const struct weir_log_field[]){__VA_ARGS__}, \
        (sizeof((const struct weir_log_field[]){__VA_ARGS__}) / sizeof(struct weir_log_field))
#define WEIR_NO_FIELDS NULL, 0
#define weir_log(level, ...)                    \
    do {                                        \
        if (weir_log_is_on(level))              \
            weir_log_write(level, __VA_ARGS__); \
    } while (0)

#endif
