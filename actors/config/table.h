/*
 * The options as data: one entry a line of options.def, which everything else reads.
 *
 * Thread: any; the table is constant.
 */
#ifndef WEIR_ACTORS_CONFIG_TABLE_H
#define WEIR_ACTORS_CONFIG_TABLE_H

#include "actors/config/config.h"

#define WEIR_OPTION_PREFIX      "weir."
#define WEIR_OPTION_PREFIX_SIZE (sizeof WEIR_OPTION_PREFIX - 1)
#define WEIR_OPTION_VALUE_SIZE  24 /* a number, factor or choice as text, with NUL */

enum weir_option_kind {
    WEIR_OPTION_SECTION,
    WEIR_OPTION_NUMBER,
    WEIR_OPTION_FACTOR,
    WEIR_OPTION_CHOICE,
    WEIR_OPTION_TEXT,
};

/* Number of entries, sections included. */
enum {
    WEIR_OPTION_COUNT = 0
#define OPTION_SECTION(title)                                          +1
#define OPTION_NUMBER(name, field, unit, min, max, fallback, sentence) +1
#define OPTION_FACTOR(name, field, min, max, fallback, sentence)       +1
#define OPTION_CHOICE(name, field, choices, fallback, sentence)        +1
#define OPTION_TEXT(name, field, fallback, check, sentence)            +1
#include "actors/config/options.def"
#undef OPTION_SECTION
#undef OPTION_NUMBER
#undef OPTION_FACTOR
#undef OPTION_CHOICE
#undef OPTION_TEXT
};

/* Checks a text option: 0, or a code with the sentence. May rewrite `value` in place, never make it longer. */
typedef int weir_option_check(const char *name, char *value, struct weir_error *error);

struct weir_option {
    enum weir_option_kind kind;
    const char *name;         /* with "weir."; of a section its title */
    const char *fallback;     /* default as written in options.def; a choice's is its number */
    const char *sentence;     /* for people */
    size_t offset;            /* of its field in struct weir_options */
    const char *unit;         /* NUMBER */
    uint64_t min, max;        /* NUMBER */
    double factor_min;        /* FACTOR */
    double factor_max;        /* FACTOR */
    const char *choices;      /* CHOICE: "a|b|c" */
    weir_option_check *check; /* TEXT; NULL: anything goes */
};

extern const struct weir_option weir_option_table[WEIR_OPTION_COUNT];

/** Index in the table of the option of that full name, or WEIR_OPTION_COUNT. */
size_t weir_option_find(const char *name);

/** The default as text, as weir_config_get() shows it, into `text`; of a text option the text itself is returned. */
const char *weir_option_fallback(const struct weir_option *option, char text[WEIR_OPTION_VALUE_SIZE]);

/**
 * Parse a number, factor or choice into its field of `options` and, in the form that weir_config_get() shows, `text`.
 *
 * Errors: WEIR_INVALID with name, value and what is allowed; nothing is changed.
 */
int weir_option_parse(const struct weir_option *option, const char *value, struct weir_options *options,
                      char text[WEIR_OPTION_VALUE_SIZE], struct weir_error *error);

/** What is allowed, as in errors and help: "1..256", "1.0..100.0", "key|partition|none", "". */
void weir_option_range(const struct weir_option *option, char *text, size_t size);

/* The checks that options.def names, check.c. */
weir_option_check weir_option_check_topics;
weir_option_check weir_option_check_template;
weir_option_check weir_option_check_header;

/** A value for an error's sentence: cut and without control characters, so that it stays one line. Returns `text`. */
const char *weir_config_show(const char *value, char *text, size_t size);

/** Name `index` of the librdkafka properties that are suggested, or NULL past the end. */
const char *weir_config_property_name(size_t index);

/** Distance of two names in insertions, deletions, replacements and swaps of neighbours, or `limit` + 1 if beyond. */
unsigned weir_config_distance(const char *left, const char *right, unsigned limit);

/* ---- options of a part: of a topic, or of a class of failures, scope.c ---- */

#define WEIR_SCOPE_NAME_SIZE 250 /* Kafka allows 249 characters; with NUL */

/* One that was set: `weir.topic.orders.retry.attempts.max` = "3". */
struct weir_override {
    enum weir_scope scope;
    size_t index; /* of the option in the table */
    char part[WEIR_SCOPE_NAME_SIZE];
    char text[WEIR_OPTION_VALUE_SIZE];
};

/** Does the name begin as one of a part does? */
bool weir_scope_of(const char *name, enum weir_scope *scope);
/** Option `index` that parts of this kind may have of their own, without "weir."; NULL past the last. */
const char *weir_scope_option(enum weir_scope scope, size_t index);
int weir_scope_set(struct weir_config *config, enum weir_scope scope, const char *name, const char *value,
                   struct weir_error *error);
/** What holds for the part, be it the option of all; NULL for no such name. Lent. */
const char *weir_scope_get(const struct weir_config *config, enum weir_scope scope, const char *name);
bool weir_scope_copy(struct weir_config *copy, const struct weir_config *config);    /* false: memory is short */
int weir_scope_check(const struct weir_config *config, struct weir_error *error);    /* of weir_config_finish() */
int weir_priority_check(const struct weir_config *config, struct weir_error *error); /* likewise, priority.c */

/** Kafka's rule for a topic's name: the reason if it is broken, else NULL. check.c */
const char *weir_config_topic_fault(const char *topic);

/* ---- the configuration itself: config.c owns it, check.c completes it ---- */

struct weir_property {
    char *name, *value; /* owned */
};

struct weir_config_value {
    char *text;                         /* TEXT, once set: owned; NULL: the default */
    char small[WEIR_OPTION_VALUE_SIZE]; /* others */
    bool set;                           /* by the user, not by default */
};

struct weir_config {
    struct weir_options options;
    struct weir_config_value values[WEIR_OPTION_COUNT]; /* index as in the table */
    struct weir_property *properties;                   /* librdkafka's, in the order set */
    size_t property_count, property_capacity;
    struct weir_override *overrides; /* in the order set */
    size_t override_count, override_capacity;
    char *reset_text; /* auto.offset.reset as set, owned; NULL: not set */
    int reset_policy;
};

/** Was this field's option set by the user? `offset`: of the field in struct weir_options. */
bool weir_config_is_set(const struct weir_config *config, size_t offset);

/** Put a derived value in place of what is there; `value` must be valid. `offset` as above. */
void weir_config_derive(struct weir_config *config, size_t offset, const char *value);

/* ---- librdkafka's properties, property.c ---- */

#define WEIR_RESET_PROPERTY "auto.offset.reset"

/** Why this property is not the user's to set, or NULL if it is. */
const char *weir_config_owned_reason(const char *name);

/** Property `index` that Weir owns, with the reason; false past the last. */
bool weir_config_owned_at(size_t index, const char **name, const char **reason);

/** WEIR_RESET_* of a value of auto.offset.reset, in librdkafka's and Java's words; -1 for no such value. */
int weir_config_parse_reset(const char *value);

/** WEIR_INVALID for a name that nobody knows, with the nearest one that somebody does. */
int weir_config_unknown(const char *name, const char *what, struct weir_error *error);

#endif
