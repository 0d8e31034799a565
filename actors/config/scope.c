/*
 * Options of a part: of one topic, `weir.topic.NAME.OPTION`, or of one class of failures, `weir.class.NAME.OPTION`. See
 * table.h.
 *
 * Thread: any, one at a time.
 *
 * Names of topics hold dots, so a name is read from its end: it ends with one of the options of SCOPED, and what stands
 * before that is the topic's. No option of SCOPED ends with another.
 */
#include "actors/config/table.h"
#include "runtime/check.h"
#include "runtime/memory.h"
#include <string.h>

static const struct {
    const char *prefix, *what;
} SCOPES[WEIR_SCOPES] = {
    [WEIR_SCOPE_TOPIC] = {"weir.topic.", "topic"},
    [WEIR_SCOPE_CLASS] = {"weir.class.", "class of failures"},
};

#define BIT(scope) (1u << (scope))
#define BOTH       (BIT(WEIR_SCOPE_TOPIC) | BIT(WEIR_SCOPE_CLASS))
static const struct {
    const char *name;
    unsigned scopes;
} SCOPED[] = {
    {"retry.attempts.max", BOTH},
    {"retry.base.ms", BOTH},
    {"retry.factor", BOTH},
    {"retry.max.ms", BOTH},
    {"retry.deadline.ms", BOTH},
    {"filter.ttl.ms", BIT(WEIR_SCOPE_TOPIC)},
    {"filter.expired", BIT(WEIR_SCOPE_TOPIC)},
    {"rate.messages.per.second", BIT(WEIR_SCOPE_TOPIC)},
    {"rate.key.messages.per.second", BIT(WEIR_SCOPE_TOPIC)},
    {"priority", BIT(WEIR_SCOPE_TOPIC)},
};

bool weir_scope_of(const char *name, enum weir_scope *scope)
{
    for (*scope = 0; *scope < WEIR_SCOPES; (*scope)++) {
        if (strncmp(name, SCOPES[*scope].prefix, strlen(SCOPES[*scope].prefix)) == 0)
            return true;
    }
    return false;
}

const char *weir_scope_option(enum weir_scope scope, size_t index)
{
    for (size_t option = 0; option < WEIR_COUNT(SCOPED); option++) {
        if ((SCOPED[option].scopes & BIT(scope)) && index-- == 0)
            return SCOPED[option].name;
    }
    return NULL;
}

/* "a, b and c" of what a part may have. */
static const char *list_options(enum weir_scope scope, char *text, size_t size)
{
    text[0] = '\0';
    const char *name;
    for (size_t index = 0; (name = weir_scope_option(scope, index)); index++) {
        bool last = !weir_scope_option(scope, index + 1);
        size_t used = strlen(text);
        snprintf(text + used, size - used, "%s%s", index == 0 ? "" : last ? " and " : ", ", name);
    }
    return text;
}

/* Split a name with a scope's prefix into the part's name and the option. 0, or WEIR_INVALID. */
static int split(enum weir_scope scope, const char *name, char part[WEIR_SCOPE_NAME_SIZE], size_t *index,
                 struct weir_error *error)
{
    const char *rest = name + strlen(SCOPES[scope].prefix), *option;
    char shown[96], list[256];
    size_t size = strlen(rest);
    for (size_t number = 0; (option = weir_scope_option(scope, number)); number++) {
        size_t option_size = strlen(option);
        if (size <= option_size + 1 || strcmp(rest + size - option_size, option) != 0 ||
            rest[size - option_size - 1] != '.')
            continue;
        size_t part_size = size - option_size - 1;
        snprintf(part, WEIR_SCOPE_NAME_SIZE, "%.*s", (int)part_size, rest);
        const char *fault =
            part_size >= WEIR_SCOPE_NAME_SIZE ? "a name is longer than 249 characters" : weir_config_topic_fault(part);
        if (fault)
            return weir_error_set(error, WEIR_INVALID, "%s: %s", weir_config_show(name, shown, sizeof shown), fault);
        char full[64];
        snprintf(full, sizeof full, WEIR_OPTION_PREFIX "%s", option);
        *index = weir_option_find(full);
        WEIR_CHECK(*index < WEIR_OPTION_COUNT);
        return 0;
    }
    return weir_error_set(error, WEIR_INVALID, "%s: must be %sNAME.OPTION; what a %s may have of its own is %s",
                          weir_config_show(name, shown, sizeof shown), SCOPES[scope].prefix, SCOPES[scope].what,
                          list_options(scope, list, sizeof list));
}

static struct weir_override *find(const struct weir_config *config, enum weir_scope scope, const char *part,
                                  size_t index)
{
    for (size_t number = 0; number < config->override_count; number++) {
        struct weir_override *override = &config->overrides[number];
        if (override->scope == scope && override->index == index && strcmp(override->part, part) == 0)
            return override;
    }
    return NULL;
}

static struct weir_override *append(struct weir_config *config)
{
    if (config->override_count == config->override_capacity) {
        size_t capacity = config->override_capacity ? 2 * config->override_capacity : 8;
        void *overrides = weir_memory_resize(config->overrides, capacity * sizeof *config->overrides);
        if (!overrides)
            return NULL;
        config->overrides = overrides;
        config->override_capacity = capacity;
    }
    return &config->overrides[config->override_count];
}

int weir_scope_set(struct weir_config *config, enum weir_scope scope, const char *name, const char *value,
                   struct weir_error *error)
{
    struct weir_override fresh = {.scope = scope};
    int code = split(scope, name, fresh.part, &fresh.index, error);
    if (code != 0)
        return code;
    const struct weir_option *option = &weir_option_table[fresh.index];
    struct weir_options parsed;
    struct weir_error reason;
    code = weir_option_parse(option, value, &parsed, fresh.text, &reason);
    if (code != 0) /* which names the option, not the part's */
        return weir_error_set(error, code, "%s%s%s", name, reason.text[0] ? "" : ": ",
                              reason.text + strlen(option->name));
    struct weir_override *override = find(config, scope, fresh.part, fresh.index);
    if (!override && (override = append(config)))
        config->override_count++;
    if (!override)
        return weir_error_set(error, WEIR_NO_MEMORY, "%s: out of memory; its value stays as it was", name);
    *override = fresh;
    return 0;
}

const char *weir_scope_get(const struct weir_config *config, enum weir_scope scope, const char *name)
{
    char part[WEIR_SCOPE_NAME_SIZE];
    size_t index = 0;
    if (split(scope, name, part, &index, NULL) != 0)
        return NULL;
    const struct weir_override *override = find(config, scope, part, index);
    return override ? override->text : config->values[index].small;
}

bool weir_scope_copy(struct weir_config *copy, const struct weir_config *config)
{
    for (size_t number = 0; number < config->override_count; number++) {
        struct weir_override *override = append(copy);
        if (!override)
            return false;
        *override = config->overrides[number];
        copy->override_count++;
    }
    return true;
}

void weir_config_apply(const struct weir_config *config, enum weir_scope scope, const char *part,
                       struct weir_options *options)
{
    for (size_t number = 0; number < config->override_count; number++) {
        const struct weir_override *override = &config->overrides[number];
        char text[WEIR_OPTION_VALUE_SIZE];
        if (override->scope == scope && strcmp(override->part, part) == 0)
            WEIR_CHECK(weir_option_parse(&weir_option_table[override->index], override->text, options, text, NULL) ==
                       0);
    }
}

const char *weir_config_part(const struct weir_config *config, enum weir_scope scope, size_t index)
{
    for (size_t number = 0; number < config->override_count; number++) {
        const struct weir_override *override = &config->overrides[number];
        bool seen = override->scope != scope;
        for (size_t before = 0; before < number && !seen; before++)
            seen =
                config->overrides[before].scope == scope && strcmp(config->overrides[before].part, override->part) == 0;
        if (!seen && index-- == 0)
            return override->part;
    }
    return NULL;
}

/* ---- what must hold ---- */

static bool is_named(const char *topics, const char *topic)
{
    size_t size = strlen(topic);
    for (const char *item = topics; *item; item += strcspn(item, ","), item += *item == ',') {
        if (*item == '^' || (strncmp(item, topic, size) == 0 && (item[size] == ',' || item[size] == '\0')))
            return true; /* what an expression takes in only the brokers know */
    }
    return false;
}

static int check_topic(const struct weir_config *config, const char *topic, struct weir_error *error)
{
    if (is_named(config->options.topics, topic))
        return 0;
    return weir_error_set(error, WEIR_INVALID,
                          "weir.topic.%.100s: weir.topics=%.100s does not name this topic; correct one of the two",
                          topic, config->options.topics);
}

/* Of a topic alone, of a class alone, and of both together. */
static int check_backoff(const struct weir_config *config, const char *topic, const char *class,
                         struct weir_error *error)
{
    struct weir_options options = config->options;
    if (topic)
        weir_config_apply(config, WEIR_SCOPE_TOPIC, topic, &options);
    if (class)
        weir_config_apply(config, WEIR_SCOPE_CLASS, class, &options);
    if (options.retry_base_ms <= options.retry_max_ms)
        return 0;
    return weir_error_set(error, WEIR_INVALID,
                          "%s%.100s%s%s%.100s: retry.base.ms=%llu is above retry.max.ms=%llu: lower the one or raise "
                          "the other",
                          topic ? "weir.topic." : "", topic ? topic : "", topic && class ? " with " : "",
                          class ? "weir.class." : "", class ? class : "", (unsigned long long)options.retry_base_ms,
                          (unsigned long long)options.retry_max_ms);
}

int weir_scope_check(const struct weir_config *config, struct weir_error *error)
{
    int code = 0;
    const char *topic, *class;
    for (size_t index = 0; code == 0 && (topic = weir_config_part(config, WEIR_SCOPE_TOPIC, index)); index++) {
        code = check_topic(config, topic, error);
        if (code == 0)
            code = check_backoff(config, topic, NULL, error);
        for (size_t other = 0; code == 0 && (class = weir_config_part(config, WEIR_SCOPE_CLASS, other)); other++)
            code = check_backoff(config, topic, class, error);
    }
    for (size_t index = 0; code == 0 && (class = weir_config_part(config, WEIR_SCOPE_CLASS, index)); index++) {
        if (index == WEIR_CLASSES_MAX)
            return weir_error_set(error, WEIR_INVALID, "weir.class.%.100s: is one class more than the %d there may be",
                                  class, WEIR_CLASSES_MAX);
        code = check_backoff(config, NULL, class, error);
    }
    return code;
}
