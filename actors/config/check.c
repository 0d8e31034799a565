/*
 * What must hold of texts and between options, and what is derived from others.
 *
 * Thread: any, one at a time.
 *
 * Order of weir_config_finish(): first what is missing, then pairs that contradict each other as the user wrote them,
 * then what is derived; so a derived value never is the cause of an error.
 */
#include "runtime/check.h"
#include "actors/config/table.h"
#include "actors/dlq.h"
#include "actors/journal.h"
#include "runtime/memory.h"
#include <ctype.h>
#include <inttypes.h>
#include <regex.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    TOPIC_SIZE_MAX = 249, /* Kafka's */
    WORKERS_MAX = 256,
    POLL_INTERVAL_DEFAULT_MS = 300000 /* librdkafka's */
};

#define OFFSET(field) offsetof(struct weir_options, field)

/* ---- topics ---- */

static bool is_topic_character(char character)
{
    return isalnum((unsigned char)character) || character == '.' || character == '_' || character == '-';
}

/* Kafka's rule for a topic's name; the reason if it is broken, else NULL. */
const char *weir_config_topic_fault(const char *topic)
{
    size_t size = strlen(topic);
    if (size == 0)
        return "a name is empty";
    if (size > TOPIC_SIZE_MAX)
        return "a name is longer than 249 characters";
    if (strcmp(topic, ".") == 0 || strcmp(topic, "..") == 0)
        return "\".\" and \"..\" are no names";
    for (; *topic != '\0'; topic++)
        if (!is_topic_character(*topic))
            return "a name may hold letters, digits, '.', '_' and '-' only (an expression begins with ^)";
    return NULL;
}

static const char *expression_fault(const char *expression, char *text, size_t size)
{
    regex_t compiled;
    int code = regcomp(&compiled, expression, REG_EXTENDED | REG_NOSUB);
    if (code == 0) {
        regfree(&compiled);
        return NULL;
    }
    regerror(code, &compiled, text, size);
    return text;
}

/* Move items of a list separated by commas together, without the blanks around them. */
static void strip_blanks(char *list)
{
    char *to = list;
    for (char *from = list; *from != '\0';) {
        from += strspn(from, " \t");
        size_t size = strcspn(from, ",");
        size_t kept = size;
        while (kept > 0 && (from[kept - 1] == ' ' || from[kept - 1] == '\t'))
            kept--;
        memmove(to, from, kept);
        to += kept;
        from += size;
        if (*from == ',')
            *to++ = *from++;
    }
    *to = '\0';
}

/* Is `item` (of `size` characters) in the list again, after itself? */
static bool is_repeated(const char *item, size_t size)
{
    for (const char *other = item + size; *other == ',';) {
        other++;
        size_t other_size = strcspn(other, ",");
        if (other_size == size && memcmp(other, item, size) == 0)
            return true;
        other += other_size;
    }
    return false;
}

static const char *item_fault(const char *item, char *text, size_t size)
{
    return item[0] == '^' ? expression_fault(item, text, size) : weir_config_topic_fault(item);
}

/* Check one item; `item` is NUL-terminated for the time being. */
static int check_item(const char *name, const char *item, bool repeated, struct weir_error *error)
{
    char text[128], shown[96];
    const char *fault = repeated ? "it is named twice" : item_fault(item, text, sizeof text);
    if (!fault)
        return 0;
    return weir_error_set(error, WEIR_INVALID, "%s: topic \"%s\": %s", name,
                          weir_config_show(item, shown, sizeof shown), fault);
}

int weir_option_check_topics(const char *name, char *value, struct weir_error *error)
{
    strip_blanks(value);
    if (value[0] == '\0')
        return weir_error_set(error, WEIR_INVALID, "%s: no topic is named", name);
    for (char *item = value;; item++) {
        size_t size = strcspn(item, ",");
        bool repeated = is_repeated(item, size);
        char end = item[size];
        item[size] = '\0';
        int code = check_item(name, item, repeated, error);
        item[size] = end;
        if (code != 0)
            return code;
        item += size;
        if (end == '\0')
            return 0;
    }
}

/* "name=value" or "name!=value" */
int weir_option_check_header(const char *name, char *value, struct weir_error *error)
{
    const char *sign = strchr(value, '=');
    bool has_name = sign && sign > value && !(sign == value + 1 && *value == '!');
    if (*value == '\0' || has_name)
        return 0;
    char shown[96];
    return weir_error_set(error, WEIR_INVALID, "%s=%s: must be NAME=VALUE or NAME!=VALUE", name,
                          weir_config_show(value, shown, sizeof shown));
}

int weir_option_check_template(const char *name, char *value, struct weir_error *error)
{
    struct weir_error reason;
    int code = weir_dlq_check_template(value, &reason);
    return code == 0 ? 0 : weir_error_set(error, code, "%s: %s", name, reason.text);
}

/* ---- between options ---- */

static int refuse_order(const char *low, uint64_t low_value, const char *high, uint64_t high_value,
                        struct weir_error *error)
{
    return weir_error_set(error, WEIR_INVALID,
                          "%s=%" PRIu64 " is above %s=%" PRIu64 ": lower the one or raise the other", low, low_value,
                          high, high_value);
}

struct pair {
    size_t low, high; /* offsets of number fields, low <= high */
};

static uint64_t number_at(const struct weir_options *options, size_t offset)
{
    return *(const uint64_t *)(const void *)((const char *)options + offset);
}

static const char *name_at(size_t offset)
{
    for (size_t index = 0; index < WEIR_OPTION_COUNT; index++)
        if (weir_option_table[index].kind != WEIR_OPTION_SECTION && weir_option_table[index].offset == offset)
            return weir_option_table[index].name;
    return "";
}

static int check_pairs(const struct weir_config *config, struct weir_error *error)
{
    const struct weir_options *options = &config->options;
    static const struct pair PAIRS[] = {
        {OFFSET(held_messages_max), OFFSET(window_messages_max)},
        {OFFSET(window_bytes_max), OFFSET(memory_bytes_max)},
        {OFFSET(retry_base_ms), OFFSET(retry_max_ms)},
        {OFFSET(overloaded_base_ms), OFFSET(overloaded_max_ms)},
        {OFFSET(breaker_open_ms), OFFSET(breaker_open_ms_max)},
    };
    for (size_t index = 0; index < WEIR_COUNT(PAIRS); index++) {
        uint64_t low = number_at(options, PAIRS[index].low), high = number_at(options, PAIRS[index].high);
        if (low > high)
            return refuse_order(name_at(PAIRS[index].low), low, name_at(PAIRS[index].high), high, error);
    }
    return 0;
}

/* The group expels a member that answers a revocation later than this. */
static int check_drain(const struct weir_config *config, struct weir_error *error)
{
    const char *text = weir_config_kafka_get(config, "max.poll.interval.ms");
    uint64_t interval_ms = text ? strtoull(text, NULL, 0) : POLL_INTERVAL_DEFAULT_MS;
    if (config->options.revoke_drain_ms_max <= interval_ms / 2)
        return 0;
    return weir_error_set(error, WEIR_INVALID,
                          "weir.revoke.drain.ms.max=%" PRIu64 ": must be at most half of max.poll.interval.ms=%" PRIu64,
                          config->options.revoke_drain_ms_max, interval_ms);
}

static int check_present(const struct weir_config *config, struct weir_error *error)
{
    if (config->options.topics[0] == '\0')
        return weir_error_set(error, WEIR_INVALID, "weir.topics is not set: name the topics to consume");
    const char *group = weir_config_kafka_get(config, "group.id");
    if (!group || group[0] == '\0')
        return weir_error_set(error, WEIR_INVALID, "group.id is not set: name the consumer group");
    return 0;
}

int weir_config_check_brokers(const struct weir_config *config, struct weir_error *error)
{
    static const char *const NAMES[] = {"bootstrap.servers", "metadata.broker.list", "test.mock.num.brokers"};
    for (size_t index = 0; index < WEIR_COUNT(NAMES); index++) {
        const char *value = weir_config_kafka_get(config, NAMES[index]);
        if (value && value[0] != '\0')
            return 0;
    }
    return weir_error_set(error, WEIR_INVALID, "bootstrap.servers is not set: name a broker or more, as host:port");
}

static int check_later(const struct weir_config *config, struct weir_error *error)
{
    if (config->options.later_policy != WEIR_LATER_ABANDON)
        return 0;
    if (config->options.later_deadline_ms == 0)
        return weir_error_set(error, WEIR_INVALID,
                              "weir.later.policy=abandon needs a deadline: set weir.later.deadline.ms above 0");
    return 0;
}

/* What somebody asked for in words must not be dropped in silence; a mere default may give way (see derive). */
static int check_dead_letters(const struct weir_config *config, struct weir_error *error)
{
    const struct weir_options *options = &config->options;
    if (options->dlq_topic[0] != '\0')
        return 0;
    if (options->held_policy == WEIR_HELD_DEAD && weir_config_is_set(config, OFFSET(held_policy)))
        return weir_error_set(
            error, WEIR_INVALID,
            "weir.held.policy=dead needs weir.dlq.topic, which is empty: set one, or the policy wait");
    if (options->later_policy == WEIR_LATER_ABANDON)
        return weir_error_set(
            error, WEIR_INVALID,
            "weir.later.policy=abandon needs weir.dlq.topic, which is empty: set one, or the policy wait");
    return 0;
}

static int check_filters(const struct weir_config *config, struct weir_error *error)
{
    const struct weir_options *options = &config->options;
    if (options->filter_version == WEIR_VERSION_HEADER && options->filter_version_header[0] == '\0')
        return weir_error_set(error, WEIR_INVALID,
                              "weir.filter.version=header needs weir.filter.version.header, which is empty: name it");
    bool of_keys = options->filter_version != WEIR_VERSION_NONE || options->rate_key_messages_per_second > 0;
    if (of_keys && options->ordering == WEIR_ORDERING_NONE)
        return weir_error_set(
            error, WEIR_INVALID, "%s: with weir.ordering=none no message has a key; leave one of the two out",
            options->filter_version != WEIR_VERSION_NONE ? "weir.filter.version" : "weir.rate.key.messages.per.second");
    return 0;
}

static int check_journal(const struct weir_config *config, struct weir_error *error)
{
    const struct weir_options *options = &config->options;
    if (options->crash_journal[0] == '\0')
        return 0;
    if (options->delivery == WEIR_AT_MOST_ONCE)
        return weir_error_set(
            error, WEIR_INVALID,
            "weir.crash.journal=%.100s: with weir.delivery=at-most-once no message comes back after a "
            "crash; leave it out",
            options->crash_journal);
    if (options->dlq_topic[0] == '\0')
        return weir_error_set(error, WEIR_INVALID,
                              "weir.crash.journal=%.100s needs weir.dlq.topic, which is empty: set one, or leave the "
                              "journal out",
                              options->crash_journal);
    if (options->blocking_threads > WEIR_JOURNAL_RUNNERS_MAX)
        return weir_error_set(error, WEIR_INVALID,
                              "weir.blocking.threads=%" PRIu64
                              ": must be at most %u with weir.crash.journal, which has "
                              "a place for each handler that runs",
                              options->blocking_threads, WEIR_JOURNAL_RUNNERS_MAX);
    return 0;
}

/* What does not go with weir.delivery=exactly-once. */
static int check_exactly_once(const struct weir_config *config, struct weir_error *error)
{
    const struct weir_options *options = &config->options;
    if (options->delivery != WEIR_EXACTLY_ONCE)
        return 0;
    const char *isolation = weir_config_kafka_get(config, "isolation.level");
    if (isolation && strcmp(isolation, "read_committed") != 0)
        return weir_error_set(
            error, WEIR_INVALID,
            "isolation.level=%.40s: weir.delivery=exactly-once reads what is committed only; leave it "
            "out",
            isolation);
    if (options->later_policy == WEIR_LATER_ABANDON)
        return weir_error_set(
            error, WEIR_INVALID,
            "weir.later.policy=abandon: not with weir.delivery=exactly-once, as who holds the message "
            "may still emit; use the policy wait");
    if (options->crash_journal[0] != '\0')
        return weir_error_set(error, WEIR_INVALID,
                              "weir.crash.journal=%.100s: not with weir.delivery=exactly-once yet; leave it out",
                              options->crash_journal);
    if (options->commit_map_bytes_max == 0)
        return weir_error_set(error, WEIR_INVALID,
                              "weir.commit.map.bytes.max=0: weir.delivery=exactly-once tells by the map what is "
                              "finished; leave it out");
    return 0;
}

static int check_delivery(const struct weir_config *config, struct weir_error *error)
{
    if (config->options.delivery != WEIR_AT_MOST_ONCE || config->options.retry_attempts_max == 1 ||
        !weir_config_is_set(config, OFFSET(retry_attempts_max)))
        return 0;
    return weir_error_set(error, WEIR_INVALID,
                          "weir.retry.attempts.max=%" PRIu64
                          ": weir.delivery=at-most-once runs a message once; leave it out or set 1",
                          config->options.retry_attempts_max);
}

/* ---- a consumer must not eat its own dead letters ---- */

/* Length of the placeholder at `text`, or 0. */
static size_t placeholder_size(const char *text)
{
    static const char *const PLACEHOLDERS[] = {"{topic}", "{group}"};
    for (size_t index = 0; index < WEIR_COUNT(PLACEHOLDERS); index++)
        if (strncmp(text, PLACEHOLDERS[index], strlen(PLACEHOLDERS[index])) == 0)
            return strlen(PLACEHOLDERS[index]);
    return 0;
}

/* Replace {topic} and {group}; false when the result is longer than a topic's name may be. */
static bool fill_template(const char *template_text, const char *topic, const char *group,
                          char text[TOPIC_SIZE_MAX + 1])
{
    size_t length = 0;
    while (*template_text != '\0') {
        size_t size = placeholder_size(template_text);
        const char *part = size == 0 ? template_text : template_text[1] == 't' ? topic : group;
        size_t part_size = size == 0 ? 1 : strlen(part);
        if (part_size > TOPIC_SIZE_MAX - length)
            return false;
        memcpy(text + length, part, part_size);
        length += part_size;
        template_text += size ? size : 1;
    }
    text[length] = '\0';
    return true;
}

static bool expression_matches(const char *expression, const char *topic)
{
    regex_t compiled;
    if (regcomp(&compiled, expression, REG_EXTENDED | REG_NOSUB) != 0)
        return false;
    bool matches = regexec(&compiled, topic, 0, NULL, 0) == 0;
    regfree(&compiled);
    return matches;
}

/* Is `topic` subscribed to by an item of `list`? The item goes to `text`. */
static bool is_subscribed(const char *list, const char *topic, char *text, size_t size)
{
    for (const char *item = list;; item++) {
        size_t item_size = strcspn(item, ",");
        snprintf(text, size, "%.*s", (int)item_size, item);
        if (text[0] == '^' ? expression_matches(text, topic) : strcmp(text, topic) == 0)
            return true;
        item += item_size;
        if (*item == '\0')
            return false;
    }
}

/* A name that a simple expression surely matches: "^orders\..*" gives "orders.x". False if it has no such easy one. */
static bool sample_of(const char *expression, char *text, size_t size)
{
    size_t length = 0;
    for (const char *from = expression; *from != '\0' && length + 1 < size; from++) {
        if (strchr("|{}()[]", *from))
            return false;
        if (strchr("^$*+?", *from))
            continue;
        if (*from == '.') {
            text[length++] = 'x';
            continue;
        }
        if (*from == '\\' && from[1] != '\0')
            from++;
        text[length++] = *from;
    }
    text[length] = '\0';
    return !weir_config_topic_fault(text) && expression_matches(expression, text);
}

static int check_loop(const struct weir_config *config, const char *item, struct weir_error *error)
{
    char sample[TOPIC_SIZE_MAX + 1], dead[TOPIC_SIZE_MAX + 1], eater[512];
    const struct weir_options *options = &config->options;
    if (item[0] != '^')
        snprintf(sample, sizeof sample, "%s", item);
    else if (weir_config_kafka_get(config, "topic.blacklist") || !sample_of(item, sample, sizeof sample))
        return 0;
    if (!fill_template(options->dlq_topic, sample, weir_config_kafka_get(config, "group.id"), dead))
        return weir_error_set(error, WEIR_INVALID,
                              "weir.dlq.topic=%.100s: gives a name longer than Kafka's 249 characters for topic %.100s",
                              options->dlq_topic, sample);
    if (!is_subscribed(options->topics, dead, eater, sizeof eater))
        return 0;
    return weir_error_set(error, WEIR_INVALID,
                          "weir.topics: \"%.100s\" takes in %.100s, where dead letters of %.100s go, so they would be "
                          "consumed again; change weir.dlq.topic or the expression",
                          eater, dead, sample);
}

/* Call check_loop for each topic or expression. */
static int check_loops(const struct weir_config *config, struct weir_error *error)
{
    if (config->options.dlq_topic[0] == '\0')
        return 0;
    char *topics = weir_memory_copy_text(config->options.topics);
    if (!topics)
        return weir_error_set(error, WEIR_NO_MEMORY, "weir.topics: out of memory");
    int code = 0;
    char *rest = topics;
    for (char *item; code == 0 && (item = strsep(&rest, ","));)
        code = check_loop(config, item, error);
    weir_memory_free(topics);
    return code;
}

/* ---- derived values ---- */

/* Processors that this process may run on. */
static unsigned processor_count(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (count < 1)
        return 1;
    return count > WORKERS_MAX ? WORKERS_MAX : (unsigned)count;
}

static void derive_number(struct weir_config *config, size_t offset, uint64_t number)
{
    char text[WEIR_OPTION_VALUE_SIZE];
    snprintf(text, sizeof text, "%" PRIu64, number);
    weir_config_derive(config, offset, text);
}

static void derive(struct weir_config *config)
{
    const struct weir_options *options = &config->options;
    if (options->workers == 0)
        derive_number(config, OFFSET(workers), processor_count());
    if (options->held_messages_max == 0)
        derive_number(config, OFFSET(held_messages_max),
                      options->window_messages_max > 1 ? options->window_messages_max / 2 : 1);
    if (options->dlq_topic[0] == '\0')
        weir_config_derive(config, OFFSET(held_policy), "wait");
    if (options->delivery == WEIR_AT_MOST_ONCE)
        weir_config_derive(config, OFFSET(retry_attempts_max), "1");
}

int weir_config_finish(struct weir_config *config, struct weir_error *error)
{
    typedef int check(const struct weir_config *config, struct weir_error *error);
    static check *const CHECKS[] = {check_present,      check_pairs,   check_drain,      check_later,
                                    check_dead_letters, check_filters, check_journal,    check_delivery,
                                    check_exactly_once, check_loops,   weir_scope_check, weir_priority_check};
    for (size_t index = 0; index < WEIR_COUNT(CHECKS); index++) {
        int code = CHECKS[index](config, error);
        if (code != 0)
            return code;
    }
    derive(config);
    return 0;
}

/* The name of a filter or rate that was set, for all or for a topic; NULL: none. */
static const char *set_filter(const struct weir_config *config)
{
    for (size_t index = 0; index < WEIR_OPTION_COUNT; index++) {
        const struct weir_option *option = &weir_option_table[index];
        bool set = config->values[index].set;
        for (size_t number = 0; number < config->override_count; number++)
            set |= config->overrides[number].index == index;
        if (option->kind != WEIR_OPTION_SECTION && set &&
            (strncmp(option->name, "weir.filter.", 12) == 0 || strncmp(option->name, "weir.rate.", 10) == 0))
            return option->name;
    }
    return NULL;
}

int weir_config_finish_batches(struct weir_config *config, struct weir_error *error)
{
    const struct weir_options *options = &config->options;
    const char *filter = set_filter(config);
    if (filter)
        return weir_error_set(error, WEIR_INVALID,
                              "%s: filters and rates judge one message before its handler, and a batch is not judged; "
                              "leave it out, or use weir_consumer_create()",
                              filter);
    if (options->crash_journal[0] != '\0')
        return weir_error_set(error, WEIR_INVALID,
                              "weir.crash.journal=%.100s: knows one message a handler, and a batch has many; leave it "
                              "out, or use weir_consumer_create()",
                              options->crash_journal);
    if (options->delivery == WEIR_EXACTLY_ONCE)
        return weir_error_set(error, WEIR_INVALID,
                              "weir.delivery=exactly-once: not with a handler of batches yet; use at-least-once, or "
                              "weir_consumer_create()");
    if (options->batch_scope == WEIR_BATCH_KEY && options->ordering == WEIR_ORDERING_NONE)
        return weir_error_set(
            error, WEIR_INVALID,
            "weir.batch.scope=key: with weir.ordering=none each message is by itself, so that a batch "
            "would never have two; take the scope partition or any");
    if (options->batch_scope == WEIR_BATCH_ANY || options->batch_messages_max <= options->window_messages_max)
        return 0;
    if (weir_config_is_set(config, OFFSET(batch_messages_max)))
        return weir_error_set(error, WEIR_INVALID,
                              "weir.batch.messages.max=%" PRIu64 ": must be at most weir.window.messages.max=%" PRIu64
                              ", as no more of a partition are there at a time",
                              options->batch_messages_max, options->window_messages_max);
    derive_number(config, OFFSET(batch_messages_max), options->window_messages_max);
    return 0;
}
