/*
 * Configuration: a set of named values, checked as they are set, and once more as a whole when a consumer is created.
 *
 * Names that begin with "weir." are Weir's own (docs/options.md lists them); every other name is librdkafka's and is
 * passed through, so TLS, SASL and hosted brokers work as librdkafka documents them. librdkafka's properties that
 * Weir owns (enable.auto.commit, enable.auto.offset.store, ...) are refused with the reason.
 */
#ifndef WEIR_CONFIG_H
#define WEIR_CONFIG_H

#include <stddef.h>
#include <weir/error.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weir_config;

/**
 * An empty configuration: every option at its default.
 *
 * Ownership: the caller's; weir_config_destroy() frees it (NULL is fine). A consumer copies what it needs.
 * Thread:    any, one at a time.    Errors: NULL where memory is short.
 */
WEIR_EXPORT struct weir_config *weir_config_create(void);
WEIR_EXPORT void weir_config_destroy(struct weir_config *config);

/**
 * Set one option. Example: weir_config_set(config, "weir.topics", "orders,payments", &error)
 *
 * Errors: WEIR_INVALID with name, value, allowed range and, for an unknown name, the nearest known one; the value
 *         stays as it was. Values of secret properties never appear in an error or a log.
 */
WEIR_EXPORT int weir_config_set(struct weir_config *config, const char *name, const char *value,
                                struct weir_error *error);

/**
 * Read a file: `[kafka]` holds librdkafka's properties, `[weir]` Weir's without the prefix.
 *
 *     [kafka]
 *     bootstrap.servers = localhost:9092
 *     group.id = billing
 *     [weir]
 *     topics = orders
 *
 * Errors: WEIR_INVALID with file, line and what is wrong; WEIR_SYSTEM where it cannot be read. What stood before the
 *         bad line has been set.
 */
WEIR_EXPORT int weir_config_load(struct weir_config *config, const char *path, struct weir_error *error);

/**
 * The value in force as text, or NULL for a name that is unknown or, for librdkafka's, not set.
 *
 * Ownership: lends, until the option is set again. Secrets come back as "[hidden]".
 */
WEIR_EXPORT const char *weir_config_get(const struct weir_config *config, const char *name);

#ifdef __cplusplus
}
#endif
#endif
