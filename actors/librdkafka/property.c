/*
 * librdkafka's opinion of a single property, asked of a scratch configuration that is thrown away.
 *
 * Thread: any. No client is made, nothing is connected. All properties together: check.c.
 */
#include "actors/config/table.h"
#include "actors/kafka.h"
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <string.h>

const char *weir_kafka_library_version(void)
{
    return rd_kafka_version_str();
}

/* librdkafka's words may repeat the value, or part of it: of a secret only those are passed on that surely do not. */
static int refuse(const char *name, const char *value, const char *words, struct weir_error *error)
{
    char shown[64];
    if (weir_config_is_secret(name))
        return weir_error_set(error, WEIR_INVALID, "%s=[hidden]: librdkafka %s", name,
                              strstr(words, "not supported in this build") ? "was built without support for it"
                                                                           : "refuses this value");
    return weir_error_set(error, WEIR_INVALID, "%s=%s: %s", name, weir_config_show(value, shown, sizeof shown), words);
}

static void strip_line_end(char *text)
{
    size_t length = strlen(text);
    while (length > 0 && (text[length - 1] == '\n' || text[length - 1] == ' '))
        text[--length] = '\0';
}

int weir_kafka_check_property(const char *name, const char *value, struct weir_error *error)
{
    rd_kafka_conf_t *scratch = rd_kafka_conf_new();
    char words[256] = "";
    rd_kafka_conf_res_t result = rd_kafka_conf_set(scratch, name, value, words, sizeof words);
    rd_kafka_conf_destroy(scratch);
    if (result == RD_KAFKA_CONF_OK)
        return 0;
    if (result == RD_KAFKA_CONF_UNKNOWN) {
        char what[96];
        snprintf(what, sizeof what, "librdkafka %s has no such property", rd_kafka_version_str());
        return weir_config_unknown(name, what, error);
    }
    strip_line_end(words);
    return refuse(name, value, words, error);
}
