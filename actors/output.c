/*
 * Outputs: emitted, sent, taken back. See output.h; what the partition actor makes of them is in partition_output.c.
 *
 * An output is one block: the struct, its headers, then texts and bytes, walked twice by the same code, first to
 * measure, then to write, so that the two cannot differ.
 */
#include "actors/output.h"
#include "actors/consumer.h"
#include "actors/partition.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include "runtime/memory.h"
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define TOPIC_SIZE_MAX   249 /* Kafka's bound */
#define TOPIC_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
#define SECOND_NS        1000000000ull

/* ---- what is refused ---- */

/* At most once a second a consumer. */
static bool may_log(struct weir_consumer *consumer)
{
    uint64_t now_ns = consumer->seam->now_ns(consumer->seam);
    uint64_t logged_ns = atomic_load_explicit(&consumer->emit_logged_ns, memory_order_relaxed);
    return (logged_ns == 0 || now_ns - logged_ns >= SECOND_NS) &&
           atomic_compare_exchange_strong_explicit(&consumer->emit_logged_ns, &logged_ns, now_ns, memory_order_relaxed,
                                                   memory_order_relaxed);
}

/* It was not added: say why. */
static void log_refusal(const struct weir_message *message, const struct weir_error *error)
{
    char number[16];
    struct weir_log_field fields[2];
    weir_log(WEIR_LOG_WARN, weir_partition_fields(message->partition, number, fields), 2,
             "weir_emit() at offset %lld: %s (%s)", (long long)message->offset, error->text,
             weir_code_name(error->code));
}

static bool is_legal_topic(const char *topic)
{
    size_t size = strnlen(topic, TOPIC_SIZE_MAX + 1);
    return size > 0 && size <= TOPIC_SIZE_MAX && strspn(topic, TOPIC_CHARACTERS) == size && strcmp(topic, ".") != 0 &&
           strcmp(topic, "..") != 0;
}

static int check_headers(const struct weir_output *output, struct weir_error *error)
{
    if (output->header_count > 0 && !output->headers)
        return weir_error_set(error, WEIR_INVALID, "header_count=%zu, and the headers are NULL", output->header_count);
    for (size_t index = 0; index < output->header_count; index++) {
        const struct weir_output_header *header = &output->headers[index];
        if (!header->name)
            return weir_error_set(error, WEIR_INVALID, "header %zu: its name is NULL", index);
        if (!header->value && header->value_size > 0)
            return weir_error_set(error, WEIR_INVALID, "header %.64s: value_size=%zu, and the value is NULL",
                                  header->name, header->value_size);
    }
    return 0;
}

static int check(const struct weir_output *output, struct weir_error *error)
{
    if (!output || !output->topic)
        return weir_error_set(error, WEIR_INVALID, "the %s is NULL", output ? "topic" : "output");
    if (!is_legal_topic(output->topic))
        return weir_error_set(error, WEIR_INVALID,
                              "topic \"%.64s\": must be 1..%d letters, digits, dots, underscores and hyphens",
                              output->topic, TOPIC_SIZE_MAX);
    if (output->has_partition && output->partition < 0)
        return weir_error_set(error, WEIR_INVALID,
                              "partition=%d: must not be negative; without has_partition the key chooses",
                              (int)output->partition);
    if (output->timestamp_ms < 0)
        return weir_error_set(error, WEIR_INVALID, "timestamp_ms=%" PRId64 ": must not be negative, 0 is now",
                              output->timestamp_ms);
    if (!output->key && output->key_size > 0)
        return weir_error_set(error, WEIR_INVALID, "key_size=%zu, and the key is NULL", output->key_size);
    if (!output->value && output->value_size > 0)
        return weir_error_set(error, WEIR_INVALID, "value_size=%zu, and the value is NULL", output->value_size);
    return check_headers(output, error);
}

/* ---- copying ---- */

/* A block being measured (`text` NULL) or written. A size beyond SIZE_MAX stays there. */
struct builder {
    char *text;
    size_t size;
};

/* With a NUL behind, so that what is empty has an address. NULL stays NULL. */
static const void *add(struct builder *builder, const void *data, size_t size)
{
    if (!data)
        return NULL;
    char *place = builder->text ? builder->text + builder->size : NULL;
    if (place) {
        memcpy(place, data, size);
        place[size] = '\0';
    }
    if (__builtin_add_overflow(builder->size, size, &builder->size) ||
        __builtin_add_overflow(builder->size, (size_t)1, &builder->size))
        builder->size = SIZE_MAX;
    return place;
}

static struct weir_kafka_produce build(struct builder *builder, const struct weir_kafka_produce *source,
                                       struct weir_kafka_header *headers)
{
    struct weir_kafka_produce produce = *source;
    produce.topic = add(builder, source->topic, strlen(source->topic));
    produce.key = add(builder, source->key, source->key_size);
    produce.value = add(builder, source->value, source->value_size);
    produce.headers = headers;
    for (size_t index = 0; index < source->header_count; index++) {
        const struct weir_kafka_header *header = &source->headers[index];
        struct weir_kafka_header copied = {.name = add(builder, header->name, strlen(header->name)),
                                           .value = add(builder, header->value, header->value_size),
                                           .value_size = header->value_size};
        if (headers)
            headers[index] = copied;
    }
    return produce;
}

/* ---- emit ---- */

static struct weir_outputs *outputs_of(struct weir_message *message)
{
    if (message->outputs)
        return message->outputs;
    struct weir_outputs *outputs = weir_memory_allocate_zeroed(1, sizeof *outputs);
    if (outputs)
        outputs->last = &outputs->first;
    return message->outputs = outputs;
}

static int append(struct weir_message *message, const struct weir_kafka_produce *source, size_t text_size,
                  uint64_t bytes)
{
    struct weir_outputs *outputs = outputs_of(message);
    size_t headers_size = source->header_count * sizeof(struct weir_kafka_header);
    struct weir_emission *emission = outputs ? weir_memory_allocate(sizeof *emission + headers_size + text_size) : NULL;
    if (!emission)
        return WEIR_NO_MEMORY;
    struct builder builder = {.text = (char *)&emission->headers[source->header_count]};
    *emission = (struct weir_emission){.message = message,
                                       .delivery.mail.kind = WEIR_MAIL_OUTPUT,
                                       .delivery.partition = message->partition,
                                       .produce = build(&builder, source, emission->headers),
                                       .bytes = bytes,
                                       .number = ++outputs->emitted};
    WEIR_CHECK(builder.size == text_size);
    *outputs->last = emission;
    outputs->last = &emission->next;
    outputs->count++;
    outputs->bytes += bytes;
    atomic_fetch_add_explicit(&message->partition->output_bytes, bytes, memory_order_relaxed);
    return 0;
}

static uint64_t overhead(const struct weir_kafka_produce *source)
{
    return (uint64_t)source->header_count * sizeof(struct weir_kafka_header) + WEIR_OUTPUT_OVERHEAD_BYTES;
}

int weir_outputs_set_letter(struct weir_message *message, const struct weir_kafka_produce *letter)
{
    struct builder measured = {0};
    weir_outputs_drop(message);
    build(&measured, letter, NULL);
    int result = append(message, letter, measured.size, overhead(letter) + measured.size);
    if (result == 0)
        message->outputs->first->delivery.mail.kind = WEIR_MAIL_LETTER;
    return result;
}

/* One is cast to the other, as users see the first and the door the second. */
_Static_assert(sizeof(struct weir_output_header) == sizeof(struct weir_kafka_header) &&
                   offsetof(struct weir_output_header, name) == offsetof(struct weir_kafka_header, name) &&
                   offsetof(struct weir_output_header, value) == offsetof(struct weir_kafka_header, value) &&
                   offsetof(struct weir_output_header, value_size) == offsetof(struct weir_kafka_header, value_size),
               "the headers are the same");

static struct weir_kafka_produce source_of(const struct weir_output *output)
{
    return (struct weir_kafka_produce){
        .topic = output->topic,
        .key = output->key,
        .value = output->value,
        .key_size = output->key_size,
        .value_size = output->value_size,
        .timestamp_ms = output->timestamp_ms > 0 ? output->timestamp_ms : -1,
        .headers = (const struct weir_kafka_header *)(const void *)output->headers,
        .header_count = output->header_count,
        .has_partition = output->has_partition != 0,
        .partition = output->partition,
    };
}

static int try_emit(struct weir_message *message, const struct weir_output *output, struct weir_error *error)
{
    int result = check(output, error);
    if (result != 0)
        return result;
    const struct weir_options *options = message->partition->consumer->options;
    uint64_t count = message->outputs ? message->outputs->count : 0;
    uint64_t bytes = message->outputs ? message->outputs->bytes : 0;
    if (count >= options->output_messages_max)
        return weir_error_set(error, WEIR_FULL, "weir.output.messages.max=%" PRIu64 " outputs are kept already",
                              options->output_messages_max);
    struct weir_kafka_produce source = source_of(output);
    struct builder measured = {0};
    build(&measured, &source, NULL);
    /* The bound on bytes is far below where these sums could overflow, but for what was measured. */
    uint64_t more = overhead(&source);
    if (output->header_count > options->output_bytes_max || measured.size > options->output_bytes_max ||
        bytes + more + measured.size > options->output_bytes_max)
        return weir_error_set(error, WEIR_FULL,
                              "an output of %zu bytes, where %" PRIu64
                              " are kept already: weir.output.bytes.max=%" PRIu64,
                              measured.size, bytes, options->output_bytes_max);
    result = append(message, &source, measured.size, more + measured.size);
    return result == 0 ? 0 : weir_error_set(error, result, "no memory for an output of %zu bytes", measured.size);
}

int weir_emit(struct weir_message *message, const struct weir_output *output)
{
    if (!message)
        return WEIR_INVALID;
    if (!weir_partition_is_current(message->partition, message->epoch))
        return WEIR_STALE;
    struct weir_error error;
    int result = try_emit(message, output, &error);
    if (result != 0 && may_log(message->partition->consumer))
        log_refusal(message, &error);
    return result;
}

/* ---- free ---- */

/* Take `*link` out of the list, and free it. */
static void remove_at(struct weir_outputs *outputs, struct weir_emission **link)
{
    struct weir_emission *emission = *link;
    WEIR_CHECK(!emission->in_flight && outputs->count > 0);
    *link = emission->next;
    if (outputs->last == &emission->next)
        outputs->last = link;
    outputs->count--;
    outputs->bytes -= emission->bytes;
    atomic_fetch_sub_explicit(&emission->message->partition->output_bytes, emission->bytes, memory_order_relaxed);
    weir_memory_free(emission);
}

static void remove_one(struct weir_outputs *outputs, const struct weir_emission *emission)
{
    struct weir_emission **link = &outputs->first;
    while (*link != emission)
        link = &(*link)->next;
    remove_at(outputs, link);
}

void weir_outputs_drop(struct weir_message *message)
{
    struct weir_outputs *outputs = message->outputs;
    if (!outputs)
        return;
    WEIR_CHECK(outputs->in_flight == 0);
    while (outputs->first)
        remove_at(outputs, &outputs->first);
    weir_memory_free(outputs);
    message->outputs = NULL;
}

/* ---- send ---- */

void weir_outputs_note_refusal(const struct weir_emission *emission, enum weir_kafka_error error)
{
    struct weir_outputs *outputs = emission->message->outputs;
    if (outputs->refusal != WEIR_KAFKA_NONE)
        return;
    outputs->refusal = error;
    outputs->refused_number = emission->number;
    snprintf(outputs->refused_topic, sizeof outputs->refused_topic, "%s", emission->produce.topic);
}

bool weir_outputs_is_passing(enum weir_kafka_error error)
{
    return error == WEIR_KAFKA_RETRIABLE || error == WEIR_KAFKA_ABORT || error == WEIR_KAFKA_FATAL ||
           error == WEIR_KAFKA_QUEUE_FULL;
}

/* Give it to the producer. False: not now, or never. */
static bool produce(struct weir_outputs *outputs, struct weir_emission *emission, bool *no_place)
{
    struct weir_kafka *kafka = weir_partition_kafka(emission->message->partition);
    enum weir_kafka_error error = WEIR_KAFKA_OTHER;
    emission->in_flight = true; /* before: its delivery may come at once, but as mail */
    int result = kafka->ops->produce(kafka, &emission->produce, &emission->delivery, &error);
    emission->in_flight = result == 0;
    outputs->in_flight += result == 0;
    if (result == 0)
        return true;
    if (result == WEIR_FULL || result == WEIR_NO_MEMORY)
        *no_place = true;
    else if (weir_outputs_is_passing(error))
        outputs->again = true;
    else
        weir_outputs_note_refusal(emission, error);
    return false;
}

enum weir_outputs_step weir_outputs_send(struct weir_message *message)
{
    struct weir_outputs *outputs = message->outputs;
    bool no_place = false;
    if (outputs->in_flight > 0)
        return WEIR_OUTPUTS_UNDER_WAY;
    if (outputs->refusal == WEIR_KAFKA_NONE && !outputs->again) {
        struct weir_emission *emission = outputs->first;
        while (emission && produce(outputs, emission, &no_place))
            emission = emission->next;
    }
    if (outputs->in_flight > 0)
        return WEIR_OUTPUTS_UNDER_WAY; /* whatever else there is comes when these are back */
    if (outputs->refusal != WEIR_KAFKA_NONE)
        return WEIR_OUTPUTS_REFUSED;
    if (outputs->again) {
        outputs->again = false;
        return WEIR_OUTPUTS_AGAIN;
    }
    return no_place ? WEIR_OUTPUTS_NO_PLACE : WEIR_OUTPUTS_WRITTEN;
}

bool weir_outputs_take(struct weir_emission *emission, bool once, bool *lost)
{
    struct weir_outputs *outputs = emission->message->outputs;
    enum weir_kafka_error error = emission->delivery.error;
    WEIR_CHECK(emission->in_flight && outputs->in_flight > 0);
    emission->in_flight = false;
    outputs->in_flight--;
    *lost = once && error != WEIR_KAFKA_NONE && weir_outputs_is_passing(error);
    if (error == WEIR_KAFKA_NONE || *lost)
        remove_one(outputs, emission);
    else if (weir_outputs_is_passing(error))
        outputs->again = true;
    else
        weir_outputs_note_refusal(emission, error);
    return error == WEIR_KAFKA_NONE;
}

void weir_outputs_describe(const struct weir_outputs *outputs, char *text, size_t size)
{
    snprintf(text, size, "output %u of %u, to topic %s: %s", outputs->refused_number, outputs->emitted,
             outputs->refused_topic, weir_kafka_error_name(outputs->refusal));
}
