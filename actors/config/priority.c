/*
 * Priorities of topics, and the levels that the runtime knows (runtime/levels.h): the priorities that are in use, the
 * highest first, without gaps. So a consumer whose topics all have the same has one level, and pays for none.
 *
 * Thread: any.
 */
#include "actors/config/table.h"
#include "runtime/levels.h"
#include <inttypes.h>
#include <string.h>

#define LOWER_PERCENT_MAX 50 /* of all lower priorities together: the highest keeps the half */

unsigned weir_config_priority(const struct weir_config *config, const char *topic)
{
    struct weir_options options = config->options;
    weir_config_apply(config, WEIR_SCOPE_TOPIC, topic, &options);
    return (unsigned)options.priority;
}

/* As bits. What an expression takes in only the brokers know: any topic that was named, and others. */
static unsigned used_priorities(const struct weir_config *config)
{
    unsigned used = 0;
    bool any = false;
    for (const char *item = config->options.topics; *item;) {
        char topic[WEIR_SCOPE_NAME_SIZE];
        size_t size = strcspn(item, ",");
        snprintf(topic, sizeof topic, "%.*s", (int)size, item);
        any |= *item == '^';
        used |= 1u << (*item == '^' ? (unsigned)config->options.priority : weir_config_priority(config, topic));
        item += size + (item[size] == ',');
    }
    const char *topic;
    for (size_t index = 0; any && (topic = weir_config_part(config, WEIR_SCOPE_TOPIC, index)); index++)
        used |= 1u << weir_config_priority(config, topic);
    return used;
}

unsigned weir_config_levels(const struct weir_config *config)
{
    unsigned used = used_priorities(config);
    return used ? (unsigned)__builtin_popcount(used) : 1;
}

unsigned weir_config_level(const struct weir_config *config, const char *topic)
{
    return (unsigned)__builtin_popcount(used_priorities(config) >> (weir_config_priority(config, topic) + 1));
}

int weir_priority_check(const struct weir_config *config, struct weir_error *error)
{
    unsigned lower = weir_config_levels(config) - 1;
    uint64_t share = config->options.priority_share_percent;
    if (lower * share <= LOWER_PERCENT_MAX)
        return 0;
    return weir_error_set(error, WEIR_INVALID,
                          "weir.priority.share.percent=%" PRIu64
                          ": there are %u priorities in use, and the lower ones together may have %d percent: must be "
                          "at most %u",
                          share, lower + 1, LOWER_PERCENT_MAX, LOWER_PERCENT_MAX / lower);
}
