/*
 * Configuration inside Weir: the options as a plain struct, and librdkafka's properties as a list.
 */
#ifndef WEIR_ACTORS_CONFIG_H
#define WEIR_ACTORS_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <weir/config.h>

enum { WEIR_ORDERING_KEY, WEIR_ORDERING_PARTITION, WEIR_ORDERING_NONE };
enum { WEIR_NULL_KEYS_SPREAD, WEIR_NULL_KEYS_LANE };
enum { WEIR_AT_LEAST_ONCE, WEIR_AT_MOST_ONCE, WEIR_EXACTLY_ONCE };
enum { WEIR_HELD_DEAD, WEIR_HELD_WAIT };
enum { WEIR_FILTER_SKIP, WEIR_FILTER_DEAD };
enum { WEIR_VERSION_NONE, WEIR_VERSION_TIMESTAMP, WEIR_VERSION_HEADER };
enum { WEIR_BREAKER_OVERLOADED_COUNT, WEIR_BREAKER_OVERLOADED_OPEN, WEIR_BREAKER_OVERLOADED_IGNORE };
enum { WEIR_LATER_WAIT, WEIR_LATER_ABANDON };
enum weir_batch_scope { WEIR_BATCH_KEY, WEIR_BATCH_PARTITION, WEIR_BATCH_ANY };
enum { WEIR_RESET_LATEST, WEIR_RESET_EARLIEST, WEIR_RESET_ERROR }; /* auto.offset.reset, which Weir carries out */

/* One field an option, see options.def. Texts are owned by the config they came from. */
struct weir_options {
#define OPTION_SECTION(title)
#define OPTION_NUMBER(name, field, unit, min, max, fallback, sentence) uint64_t field;
#define OPTION_FACTOR(name, field, min, max, fallback, sentence)       double field;
#define OPTION_CHOICE(name, field, choices, fallback, sentence)        int field;
#define OPTION_TEXT(name, field, fallback, check, sentence)            const char *field;
#include "actors/config/options.def"
#undef OPTION_SECTION
#undef OPTION_NUMBER
#undef OPTION_FACTOR
#undef OPTION_CHOICE
#undef OPTION_TEXT
};

/* What may have some options of its own, see scope.c. */
enum weir_scope {
    WEIR_SCOPE_TOPIC, /* weir.topic.NAME.OPTION */
    WEIR_SCOPE_CLASS, /* weir.class.NAME.OPTION: of failures, see weir_retry_class() */
    WEIR_SCOPES
};
#define WEIR_CLASSES_MAX 64

/** Put what was set for this part over `options`; first the topic's, then the class's, which is the closer one. */
void weir_config_apply(const struct weir_config *config, enum weir_scope scope, const char *part,
                       struct weir_options *options);
/** Name `index` of the parts for which something was set, or NULL past the last. Lent, until the next set. */
const char *weir_config_part(const struct weir_config *config, enum weir_scope scope, size_t index);

/** The priority of a topic; how many different ones the topics have, and which of these, from 0 for the highest, it is.
 */
unsigned weir_config_priority(const struct weir_config *config, const char *topic);
unsigned weir_config_levels(const struct weir_config *config);
unsigned weir_config_level(const struct weir_config *config, const char *topic);

/** The options as set so far. Lent. */
const struct weir_options *weir_config_options(const struct weir_config *config);

/** auto.offset.reset as set for librdkafka (default latest, as Kafka's): Weir carries it out itself. */
int weir_config_reset_policy(const struct weir_config *config);

/**
 * What librdkafka may fetch ahead of a partition's window, in bytes: queued.max.messages.kbytes where it is set, else a
 * 64th of memory.bytes.max, but 1 MiB at least and the window at most.
 */
uint64_t weir_config_prefetch_bytes(const struct weir_config *config);

/** A deep copy; NULL where memory is short. */
struct weir_config *weir_config_copy(const struct weir_config *config);

/**
 * What must hold between options, checked when a consumer is created: topics and group.id present, held <= window,
 * drain <= half of max.poll.interval.ms, base <= max, window.bytes.max <= memory.bytes.max, ... The first violation.
 * Also fills in what is derived: workers 0 -> processors, held.messages.max 0 -> half the window (at least 1),
 * held.policy -> wait without a dlq.topic, retry.attempts.max -> 1 for at-most-once.
 */
int weir_config_finish(struct weir_config *config, struct weir_error *error);

/** What must hold besides where the handler takes batches, and what is derived then: batch.messages.max -> the window,
 * if that is less. After weir_config_finish(). */
int weir_config_finish_batches(struct weir_config *config, struct weir_error *error);

/** Is there a broker to connect to: bootstrap.servers, its older name, or librdkafka's mock cluster? WEIR_INVALID if
 * not. Apart from weir_config_finish() because a consumer on an in-memory Kafka needs none. */
int weir_config_check_brokers(const struct weir_config *config, struct weir_error *error);

/** librdkafka's properties in the order set: name and value number `index`, false when there are no more. Lent.
 *  auto.offset.reset is not among them: see weir_config_reset_policy(). */
bool weir_config_kafka_at(const struct weir_config *config, size_t index, const char **name, const char **value);
const char *weir_config_kafka_get(const struct weir_config *config, const char *name); /* NULL: not set */

/** Is this one of librdkafka's properties whose value must never be shown (passwords, keys, tokens)? */
bool weir_config_is_secret(const char *kafka_name);

/** Nearest known option or property to a misspelt name, or NULL if none is near (edit distance <= 3). Static. */
const char *weir_config_nearest(const char *name);

/** The options as a table: for --help (plain text, width 100), and all of docs/options.md. */
void weir_config_write_help(FILE *file);
void weir_config_write_markdown(FILE *file);

/** All of docs/errors.md: the codes, what they mean and what to do. */
void weir_error_write_markdown(FILE *file);

/** Fill an error: a helper for all. Returns `code`. `error` may be NULL. */
int weir_error_set(struct weir_error *error, enum weir_code code, const char *format, ...) WEIR_FORMAT(3, 4);

/** Take off what is left in half of the last character, after a text was cut to a size. */
void weir_error_cut(char *text);

#endif
