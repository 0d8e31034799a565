/*
 * Fuzzer of the configuration. Goal: no file and no value crashes the reader, gets a half-set option in, or gets a
 * control character or more than one line into an error.
 *
 * The first byte of an input chooses what the rest is:
 *   f  a configuration file
 *   s  lines of name=value, each set
 *   r  three lines: topics, dead letter topic, group; then the rules between options
 *
 * Left out is what is the C library's and librdkafka's to answer for: expressions with braces, back references or many
 * repetitions, whose cost doubles with each, and plugins, which are loaded.
 */
#include "actors/config/table.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define TEXT_SIZE_MAX      8192
#define REQUIRE(condition) ((condition) ? (void)0 : abort())

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct weir_error error;

static void require_sentence(int code)
{
    REQUIRE(code < 0 && (int)error.code == code);
    REQUIRE(error.text[0] != '\0' && memchr(error.text, '\0', sizeof error.text));
    for (const char *text = error.text; *text != '\0'; text++)
        REQUIRE((unsigned char)*text >= ' ');
}

/* What was accepted reads back, and is accepted again to the same effect. */
static void require_stable(struct weir_config *config, const char *name)
{
    const char *value = weir_config_get(config, name);
    REQUIRE(value);
    if (weir_config_is_secret(name))
        return;
    char *first = strdup(value);
    REQUIRE(first && weir_config_set(config, name, first, &error) == 0);
    REQUIRE(strcmp(weir_config_get(config, name), first) == 0);
    free(first);
}

static void set(struct weir_config *config, char *line)
{
    char *value = strchr(line, '=');
    if (!value)
        return;
    *value++ = '\0';
    struct weir_options before = *weir_config_options(config);
    int code = weir_config_set(config, line, value, &error);
    if (code == 0) {
        require_stable(config, line);
        return;
    }
    require_sentence(code);
    REQUIRE(memcmp(&before, weir_config_options(config), sizeof before) == 0);
}

static void set_lines(struct weir_config *config, char *text)
{
    for (char *line; (line = strsep(&text, "\n"));)
        set(config, line);
}

static void load(struct weir_config *config, const uint8_t *data, size_t size)
{
    char path[64];
    int file = memfd_create("weir-fuzz", MFD_CLOEXEC);
    REQUIRE(file >= 0 && write(file, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    int code = weir_config_load(config, path, &error);
    if (code != 0)
        require_sentence(code);
    close(file);
}

static void require_rules(const struct weir_config *config)
{
    const struct weir_options *options = weir_config_options(config);
    REQUIRE(options->topics[0] != '\0' && options->workers >= 1);
    REQUIRE(options->held_messages_max >= 1 && options->held_messages_max <= options->window_messages_max);
    REQUIRE(options->window_bytes_max <= options->memory_bytes_max && options->retry_base_ms <= options->retry_max_ms);
    REQUIRE(options->dlq_topic[0] != '\0' || options->held_policy == WEIR_HELD_WAIT);
}

/* What parts have of their own applies over what holds for all, and stays within its rules. */
static void require_parts(const struct weir_config *config)
{
    const char *part;
    for (enum weir_scope scope = 0; scope < WEIR_SCOPES; scope++) {
        for (size_t index = 0; (part = weir_config_part(config, scope, index)); index++) {
            struct weir_options options = *weir_config_options(config);
            weir_config_apply(config, scope, part, &options);
            REQUIRE(!weir_config_topic_fault(part) && options.retry_base_ms <= options.retry_max_ms);
            REQUIRE(options.retry_factor >= 1.0 && (scope != WEIR_SCOPE_CLASS || index < WEIR_CLASSES_MAX));
        }
    }
}

static void finish(struct weir_config *config)
{
    int code = weir_config_finish(config, &error);
    if (code != 0) {
        require_sentence(code);
        return;
    }
    require_rules(config);
    require_parts(config);
    struct weir_config *copy = weir_config_copy(config);
    REQUIRE(copy && weir_config_finish(copy, &error) == 0);
    for (size_t index = 0; index < WEIR_OPTION_COUNT; index++)
        if (weir_option_table[index].kind != WEIR_OPTION_SECTION)
            REQUIRE(strcmp(weir_config_get(copy, weir_option_table[index].name),
                           weir_config_get(config, weir_option_table[index].name)) == 0);
    weir_config_destroy(copy);
}

static void set_rules(struct weir_config *config, char *text)
{
    static const char *const NAMES[] = {"weir.topics", "weir.dlq.topic", "group.id"};
    for (size_t index = 0; index < 3 && text; index++)
        (void)weir_config_set(config, NAMES[index], strsep(&text, "\n"), &error);
    finish(config);
}

static bool is_left_out(const char *text)
{
    for (const char *at = text; (at = strchr(at, '\\')); at += at[1] != '\0' ? 2 : 1)
        if (at[1] >= '1' && at[1] <= '9')
            return true;
    const char *expression = strchr(text, '^');
    unsigned repetitions = 0;
    for (const char *at = expression; at && *at != '\0'; at++)
        repetitions += *at == '+' || *at == '*' || *at == '?';
    return strcasestr(text, "plugin") || repetitions > 8 || (expression && strchr(expression, '{'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char text[TEXT_SIZE_MAX + 1];
    if (size < 2 || size > TEXT_SIZE_MAX)
        return -1;
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    if (is_left_out(text))
        return -1;
    struct weir_config *config = weir_config_create();
    REQUIRE(config);
    if (data[0] == 'f')
        load(config, data + 1, size - 1);
    else if (data[0] == 's')
        set_lines(config, text);
    else
        set_rules(config, text);
    if (data[0] != 'r')
        finish(config);
    weir_config_destroy(config);
    return 0;
}
