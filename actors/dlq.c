/*
 * Dead letters, composed. See dlq.h; which headers there are, and their values, is in dlq_headers.c.
 * Thread: any, one at a time a source (its headers may be parsed on the way).
 *
 * A letter is one block of memory: the header array, then the topic's name and the values that are ours. It is walked
 * twice by the same code, first to measure, then to write, so that the two cannot differ.
 */
#include "actors/dlq.h"
#include "actors/config/config.h"
#include "actors/dlq_headers.h"
#include "runtime/check.h"
#include "runtime/memory.h"
#include <string.h>

#define TOPIC_SIZE_MAX 249 /* Kafka's bound */

/* ---- the topic's name ---- */

static bool is_topic_character(char character)
{
    return (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z') ||
           (character >= '0' && character <= '9') || character == '.' || character == '_' || character == '-';
}

/* A part of the template: a placeholder's text, or one character as it stands. */
struct part {
    const char *text;
    size_t size;      /* of text */
    size_t step;      /* of the template */
    bool placeholder; /* `text` is the value of one */
};

static struct part part_at(const char *template_text, const char *topic, const char *group)
{
    static const char topic_mark[] = "{topic}", group_mark[] = "{group}";
    if (strncmp(template_text, topic_mark, sizeof topic_mark - 1) == 0)
        return (struct part){topic, strlen(topic), sizeof topic_mark - 1, true};
    if (strncmp(template_text, group_mark, sizeof group_mark - 1) == 0)
        return (struct part){group, strlen(group), sizeof group_mark - 1, true};
    return (struct part){template_text, 1, 1, false};
}

static bool is_reserved(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* A group may be called anything; what a topic may not be called becomes an underscore. */
static int expand(char name[TOPIC_SIZE_MAX + 1], const char *template_text, const char *topic, const char *group)
{
    size_t size = 0;
    while (*template_text) {
        struct part part = part_at(template_text, topic, group);
        if (part.size > TOPIC_SIZE_MAX - size)
            return WEIR_INVALID;
        for (size_t index = 0; index < part.size; index++)
            name[size++] = is_topic_character(part.text[index]) ? part.text[index] : '_';
        template_text += part.step;
    }
    name[size] = '\0';
    /* Into the topic it came from, a dead letter would be consumed again for ever. */
    return size == 0 || is_reserved(name) || strcmp(name, topic) == 0 ? WEIR_INVALID : 0;
}

int weir_dlq_check_template(const char *template_text, struct weir_error *error)
{
    if (!template_text || template_text[0] == '\0')
        return 0; /* no dead letter queue */
    if (strcmp(template_text, "{topic}") == 0 || is_reserved(template_text))
        return weir_error_set(
            error, WEIR_INVALID,
            "dead letter topic \"%s\": must differ from the topic it serves and from \".\" and \"..\"; "
            "use for instance {topic}.dlq",
            template_text);
    size_t fixed = 0;
    for (const char *text = template_text; *text;) {
        struct part part = part_at(text, "", "");
        if (!part.placeholder && !is_topic_character(*text))
            return weir_error_set(
                error, WEIR_INVALID,
                "dead letter topic \"%.64s\": '%c' at character %zu; allowed are letters, digits, '.', "
                "'_', '-' and the placeholders {topic} and {group}",
                template_text, *text, (size_t)(text - template_text) + 1);
        fixed += part.size;
        text += part.step;
    }
    if (fixed > TOPIC_SIZE_MAX)
        return weir_error_set(error, WEIR_INVALID,
                              "dead letter topic \"%.64s...\": %zu characters without its placeholders; at most %d",
                              template_text, fixed, TOPIC_SIZE_MAX);
    return 0;
}

/* ---- the letter ---- */

/* A block being measured (headers and text NULL) or written. */
struct builder {
    struct weir_kafka_header *headers;
    size_t header_count;
    char *text;
    size_t text_size;
};

static void add_header(struct builder *builder, const char *name, const void *value, size_t value_size)
{
    if (builder->headers)
        builder->headers[builder->header_count] = (struct weir_kafka_header){name, value, value_size};
    builder->header_count++;
}

/* Copy into the block, with a NUL behind for those who print it. NULL while measuring. */
static const void *add_text(struct builder *builder, const void *data, size_t size)
{
    char *place = NULL;
    if (builder->text) {
        place = builder->text + builder->text_size;
        memcpy(place, data, size);
        place[size] = '\0';
    }
    builder->text_size += size + 1;
    return place;
}

static bool original_header(const struct weir_dlq_source *source, size_t index, struct weir_kafka_header *header)
{
    if (source->native)
        return source->kafka->ops->record_header(source->kafka, source->native, index, header);
    if (index >= source->header_count)
        return false;
    *header = source->headers[index];
    return true;
}

static uint64_t original_headers_size(const struct weir_dlq_source *source)
{
    uint64_t size = 0;
    struct weir_kafka_header header;
    for (size_t index = 0; original_header(source, index, &header); index++)
        size += strlen(header.name) + header.value_size;
    return size;
}

/* The originals first, then ours: readers that look for the last header of a name find ours either way. */
static void add_headers(struct builder *builder, const struct weir_dlq_facts *facts)
{
    struct weir_kafka_header header;
    for (size_t index = 0; !facts->stripped && original_header(facts->source, index, &header); index++) {
        if (!weir_dlq_header_is_ours(header.name, facts->profile))
            add_header(builder, header.name, header.value, header.value_size);
    }
    for (size_t row = 0; row < weir_dlq_header_rows(); row++) {
        struct weir_dlq_value value;
        const char *name = weir_dlq_header_row(row, facts, &value);
        if (name)
            add_header(builder, name, add_text(builder, value.data, value.size), value.size);
    }
}

int weir_dlq_compose(struct weir_dlq_letter *letter, const struct weir_dlq_source *source, const char *template_text,
                     enum weir_dlq_profile profile, bool stripped)
{
    *letter = (struct weir_dlq_letter){0};
    char topic[TOPIC_SIZE_MAX + 1];
    int code = expand(topic, template_text, source->topic, source->group);
    if (code != 0)
        return code;
    struct weir_dlq_facts facts = {source, profile, stripped, stripped ? original_headers_size(source) : 0};
    struct builder measured = {0};
    add_text(&measured, topic, strlen(topic));
    add_headers(&measured, &facts);

    size_t headers_size = measured.header_count * sizeof(struct weir_kafka_header);
    char *memory = weir_memory_allocate(headers_size + measured.text_size);
    if (!memory)
        return WEIR_NO_MEMORY;
    struct builder builder = {.headers = (struct weir_kafka_header *)(void *)memory, .text = memory + headers_size};
    letter->memory = memory;
    letter->produce = (struct weir_kafka_produce){
        .topic = add_text(&builder, topic, strlen(topic)),
        .key = source->key,
        .key_size = source->key_size,
        .value = stripped ? NULL : source->value,
        .value_size = stripped ? 0 : source->value_size,
        .timestamp_ms = source->timestamp_ms,
        .headers = builder.headers,
    };
    add_headers(&builder, &facts);
    WEIR_CHECK(builder.header_count == measured.header_count && builder.text_size == measured.text_size);
    letter->produce.header_count = builder.header_count;
    return 0;
}

void weir_dlq_letter_deinit(struct weir_dlq_letter *letter)
{
    weir_memory_free(letter->memory);
    *letter = (struct weir_dlq_letter){0};
}
