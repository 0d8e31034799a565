/*
 * Outputs: messages that a handler emits, which belong to the message that it handles.
 *
 *     static enum weir_outcome on_order(struct weir_message *message, void *user)
 *     {
 *         struct weir_output invoice = {.topic = "invoices", .key = weir_message_key(message),
 *                                       .key_size = weir_message_key_size(message), .value = text, .value_size = size};
 *         return weir_emit(message, &invoice) == 0 ? WEIR_ACK : weir_retry(message, "no place for the invoice");
 *     }
 *
 * They are kept until the run ends. By ack or skip they are sent, and the message is finished when the broker has
 * acknowledged the last of them; until then its key waits. By any other outcome they are dropped. See docs/outputs.md.
 */
#ifndef WEIR_OUTPUT_H
#define WEIR_OUTPUT_H

#include <stddef.h>
#include <stdint.h>
#include <weir/export.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weir_message;

/** A header of an output. Names may repeat. */
struct weir_output_header {
    const char *name;  /* NUL-terminated */
    const void *value; /* NULL: null */
    size_t value_size; /* in bytes */
};

/** A message to be sent. What is left out is 0: {.topic = "t", .value = v, .value_size = n} is enough. */
struct weir_output {
    const char *topic;                        /* NUL-terminated */
    const void *key;                          /* NULL: null; a size of 0 with an address is an empty key */
    const void *value;                        /* NULL: null, a tombstone */
    size_t key_size;                          /* in bytes */
    size_t value_size;                        /* in bytes */
    int64_t timestamp_ms;                     /* since the Unix epoch; 0: the time of sending */
    const struct weir_output_header *headers; /* in the order in which they are written */
    size_t header_count;                      /* 0: none */
    int has_partition;                        /* 0: the key chooses, by librdkafka's `partitioner` */
    int32_t partition;                        /* where has_partition is not 0 */
};

/**
 * Add an output to the run of `message` that is under way. Everything is copied.
 *
 * Bounds:    weir.output.messages.max and weir.output.bytes.max a message. What is kept counts against the window and
 *            against weir.memory.bytes.max until the broker has acknowledged it.
 * Thread:    the handler's; after WEIR_LATER whoever holds the handle, before it is finished, one at a time a message.
 * Blocks:    never.
 * Ordering:  outputs of a message are sent in the order emitted; those of a key's next message after they have been
 *            acknowledged.
 * Errors:    WEIR_INVALID for what could never be sent (no or no legal topic, a negative partition or timestamp, a
 *            size without bytes, a header without name), WEIR_FULL at a bound, WEIR_NO_MEMORY, WEIR_STALE if the
 *            partition was revoked meanwhile. The output is then not added, and a line in the log says why, at most
 *            one a second. Do not answer WEIR_ACK as if it were.
 * Cost:      one allocation, and a copy.
 */
WEIR_MUST_CHECK WEIR_EXPORT int weir_emit(struct weir_message *message, const struct weir_output *output);

#ifdef __cplusplus
}
#endif
#endif
