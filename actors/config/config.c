/*
 * The configuration: options by the table, librdkafka's properties as a list.
 *
 * Thread: any, one at a time.
 *
 * Invariants
 *   1. A set that fails changes nothing: what it needs is allocated and checked first.
 *   2. options' texts point into values[].text or at the table's defaults, never elsewhere.
 *   3. Every property in the list has been accepted by librdkafka, and none is one that Weir owns.
 *   4. The value of a secret leaves by weir_config_kafka_at and weir_config_kafka_get only, and is wiped when freed.
 *
 * Elsewhere: the table and the parsing of values (table.c), checks (check.c), files (file.c),
 * which properties are owned or secret (property.c), help and docs (help.c).
 */
#include "actors/config/table.h"
#include "actors/kafka.h"
#include "runtime/check.h"
#include "runtime/memory.h"
#include <stdlib.h>
#include <string.h>

static const char **text_field(struct weir_options *options, const struct weir_option *option)
{
    return (const char **)(void *)((char *)options + option->offset);
}

static void set_fallback(struct weir_config *config, size_t index)
{
    const struct weir_option *option = &weir_option_table[index];
    struct weir_config_value *value = &config->values[index];
    if (option->kind == WEIR_OPTION_SECTION)
        return;
    if (option->kind == WEIR_OPTION_TEXT) {
        *text_field(&config->options, option) = option->fallback;
        return;
    }
    char text[WEIR_OPTION_VALUE_SIZE];
    const char *fallback = weir_option_fallback(option, text);
    WEIR_CHECK(weir_option_parse(option, fallback, &config->options, value->small, NULL) == 0);
}

struct weir_config *weir_config_create(void)
{
    struct weir_config *config = weir_memory_allocate_zeroed(1, sizeof *config);
    if (!config)
        return NULL;
    for (size_t index = 0; index < WEIR_OPTION_COUNT; index++)
        set_fallback(config, index);
    config->reset_policy = WEIR_RESET_LATEST;
    return config;
}

/* Any value may be a secret to somebody; wiping all costs nothing. */
static void free_wiped(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
    weir_memory_free(text);
}

void weir_config_destroy(struct weir_config *config)
{
    if (!config)
        return;
    for (size_t index = 0; index < WEIR_OPTION_COUNT; index++)
        weir_memory_free(config->values[index].text);
    for (size_t index = 0; index < config->property_count; index++) {
        weir_memory_free(config->properties[index].name);
        free_wiped(config->properties[index].value);
    }
    weir_memory_free(config->properties);
    weir_memory_free(config->overrides);
    weir_memory_free(config->reset_text);
    weir_memory_free(config);
}

static int no_memory(const char *name, struct weir_error *error)
{
    return weir_error_set(error, WEIR_NO_MEMORY, "%s: out of memory; its value stays as it was", name);
}

/* ---- Weir's options ---- */

static int set_text(struct weir_config *config, size_t index, const char *value, struct weir_error *error)
{
    const struct weir_option *option = &weir_option_table[index];
    char *text = weir_memory_copy_text(value);
    if (!text)
        return no_memory(option->name, error);
    int code = option->check ? option->check(option->name, text, error) : 0;
    if (code != 0) {
        weir_memory_free(text);
        return code;
    }
    weir_memory_free(config->values[index].text);
    config->values[index].text = text;
    *text_field(&config->options, option) = text;
    return 0;
}

static int set_option(struct weir_config *config, const char *name, const char *value, struct weir_error *error)
{
    enum weir_scope scope;
    if (weir_scope_of(name, &scope))
        return weir_scope_set(config, scope, name, value, error);
    size_t index = weir_option_find(name);
    if (index == WEIR_OPTION_COUNT)
        return weir_config_unknown(name, "Weir has no such option", error);
    const struct weir_option *option = &weir_option_table[index];
    int code = option->kind == WEIR_OPTION_TEXT
                   ? set_text(config, index, value, error)
                   : weir_option_parse(option, value, &config->options, config->values[index].small, error);
    if (code == 0)
        config->values[index].set = true;
    return code;
}

static size_t index_of_field(size_t offset)
{
    for (size_t index = 0; index < WEIR_OPTION_COUNT; index++)
        if (weir_option_table[index].kind != WEIR_OPTION_SECTION && weir_option_table[index].offset == offset)
            return index;
    WEIR_CHECK(!"a field of struct weir_options is in the table");
    return WEIR_OPTION_COUNT;
}

bool weir_config_is_set(const struct weir_config *config, size_t offset)
{
    return config->values[index_of_field(offset)].set;
}

void weir_config_derive(struct weir_config *config, size_t offset, const char *value)
{
    size_t index = index_of_field(offset);
    WEIR_CHECK(
        weir_option_parse(&weir_option_table[index], value, &config->options, config->values[index].small, NULL) == 0);
}

/* ---- librdkafka's properties ---- */

static struct weir_property *find_property(const struct weir_config *config, const char *name)
{
    for (size_t index = 0; index < config->property_count; index++)
        if (strcmp(config->properties[index].name, name) == 0)
            return &config->properties[index];
    return NULL;
}

static bool reserve_property(struct weir_config *config)
{
    if (config->property_count < config->property_capacity)
        return true;
    size_t capacity = config->property_capacity ? 2 * config->property_capacity : 16;
    void *properties = weir_memory_resize(config->properties, capacity * sizeof *config->properties);
    if (!properties)
        return false;
    config->properties = properties;
    config->property_capacity = capacity;
    return true;
}

/* Store an accepted property, in place of its older value if there is one. */
static int store_property(struct weir_config *config, const char *name, const char *value, struct weir_error *error)
{
    struct weir_property *property = find_property(config, name);
    if (!property && !reserve_property(config))
        return no_memory(name, error);
    char *new_value = weir_memory_copy_text(value);
    char *new_name = property ? NULL : weir_memory_copy_text(name);
    if (!new_value || (!property && !new_name)) {
        free_wiped(new_value);
        weir_memory_free(new_name);
        return no_memory(name, error);
    }
    if (!property) {
        property = &config->properties[config->property_count++];
        *property = (struct weir_property){.name = new_name};
    }
    free_wiped(property->value);
    property->value = new_value;
    return 0;
}

static int set_reset_policy(struct weir_config *config, const char *value, struct weir_error *error)
{
    int policy = weir_config_parse_reset(value);
    if (policy < 0) {
        char shown[64];
        return weir_error_set(error, WEIR_INVALID, WEIR_RESET_PROPERTY "=%s: must be earliest, latest or error",
                              weir_config_show(value, shown, sizeof shown));
    }
    char *text = weir_memory_copy_text(value);
    if (!text)
        return no_memory(WEIR_RESET_PROPERTY, error);
    weir_memory_free(config->reset_text);
    config->reset_text = text;
    config->reset_policy = policy;
    return 0;
}

static int set_property(struct weir_config *config, const char *name, const char *value, struct weir_error *error)
{
    if (strcmp(name, WEIR_RESET_PROPERTY) == 0)
        return set_reset_policy(config, value, error);
    const char *reason = weir_config_owned_reason(name);
    if (reason)
        return weir_error_set(error, WEIR_INVALID, "%s: Weir sets this itself: %s", name, reason);
    int code = weir_kafka_check_property(name, value, error);
    return code != 0 ? code : store_property(config, name, value, error);
}

bool weir_config_kafka_at(const struct weir_config *config, size_t index, const char **name, const char **value)
{
    if (index >= config->property_count)
        return false;
    *name = config->properties[index].name;
    *value = config->properties[index].value;
    return true;
}

const char *weir_config_kafka_get(const struct weir_config *config, const char *name)
{
    const struct weir_property *property = find_property(config, name);
    return property ? property->value : NULL;
}

int weir_config_reset_policy(const struct weir_config *config)
{
    return config->reset_policy;
}

uint64_t weir_config_prefetch_bytes(const struct weir_config *config)
{
    const char *kbytes = weir_config_kafka_get(config, "queued.max.messages.kbytes");
    if (kbytes)
        return strtoull(kbytes, NULL, 10) * 1024; /* librdkafka has checked it */
    const struct weir_options *options = weir_config_options(config);
    uint64_t share = options->memory_bytes_max / 64;
    share = share < options->window_bytes_max ? share : options->window_bytes_max;
    return share > 1048576 ? share : 1048576;
}

/* ---- all of them ---- */

int weir_config_set(struct weir_config *config, const char *name, const char *value, struct weir_error *error)
{
    if (!config || !name || !value)
        return weir_error_set(error, WEIR_INVALID, "weir_config_set: %s is NULL",
                              !config ? "config"
                              : !name ? "name"
                                      : "value");
    if (strncmp(name, WEIR_OPTION_PREFIX, WEIR_OPTION_PREFIX_SIZE) == 0)
        return set_option(config, name, value, error);
    return set_property(config, name, value, error);
}

const char *weir_config_get(const struct weir_config *config, const char *name)
{
    if (!config || !name)
        return NULL;
    if (strcmp(name, WEIR_RESET_PROPERTY) == 0)
        return config->reset_text;
    enum weir_scope scope;
    if (weir_scope_of(name, &scope))
        return weir_scope_get(config, scope, name);
    size_t index = weir_option_find(name);
    if (index == WEIR_OPTION_COUNT) {
        const char *value = weir_config_kafka_get(config, name);
        return value && weir_config_is_secret(name) ? "[hidden]" : value;
    }
    const struct weir_config_value *value = &config->values[index];
    if (weir_option_table[index].kind != WEIR_OPTION_TEXT)
        return value->small;
    return value->text ? value->text : weir_option_table[index].fallback;
}

const struct weir_options *weir_config_options(const struct weir_config *config)
{
    return &config->options;
}

static bool copy_values(struct weir_config *copy, const struct weir_config *config)
{
    for (size_t index = 0; index < WEIR_OPTION_COUNT; index++) {
        copy->values[index] = config->values[index];
        copy->values[index].text = NULL;
        if (!config->values[index].text)
            continue;
        char *text = weir_memory_copy_text(config->values[index].text);
        if (!text)
            return false;
        copy->values[index].text = text;
        *text_field(&copy->options, &weir_option_table[index]) = text;
    }
    return true;
}

static bool copy_properties(struct weir_config *copy, const struct weir_config *config)
{
    for (size_t index = 0; index < config->property_count; index++)
        if (store_property(copy, config->properties[index].name, config->properties[index].value, NULL) != 0)
            return false;
    if (!config->reset_text)
        return true;
    copy->reset_text = weir_memory_copy_text(config->reset_text);
    return copy->reset_text != NULL;
}

struct weir_config *weir_config_copy(const struct weir_config *config)
{
    struct weir_config *copy = weir_memory_allocate_zeroed(1, sizeof *copy);
    if (!copy)
        return NULL;
    copy->options = config->options;
    copy->reset_policy = config->reset_policy;
    if (!copy_values(copy, config) || !copy_properties(copy, config) || !weir_scope_copy(copy, config)) {
        weir_config_destroy(copy);
        return NULL;
    }
    return copy;
}
