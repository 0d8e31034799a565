/*
 * What both doors to Kafka have in common: names.
 *
 * Thread: any; everything here is constant.
 */
#include "actors/kafka.h"
#include "runtime/check.h"

static const char *const NAMES[] = {
    [WEIR_KAFKA_NONE] = "none",
    [WEIR_KAFKA_RETRIABLE] = "retriable",
    [WEIR_KAFKA_GENERATION] = "generation",
    [WEIR_KAFKA_METADATA_TOO_LARGE] = "metadata too large",
    [WEIR_KAFKA_TOO_LARGE] = "too large",
    [WEIR_KAFKA_AUTHORIZATION] = "authorization",
    [WEIR_KAFKA_UNKNOWN_TOPIC] = "unknown topic",
    [WEIR_KAFKA_OUT_OF_RANGE] = "out of range",
    [WEIR_KAFKA_QUEUE_FULL] = "queue full",
    [WEIR_KAFKA_ABORT] = "to be aborted",
    [WEIR_KAFKA_FATAL] = "fatal",
    [WEIR_KAFKA_OTHER] = "other",
};

const char *weir_kafka_error_name(enum weir_kafka_error error)
{
    return (size_t)error < WEIR_COUNT(NAMES) && NAMES[error] ? NAMES[error] : "unknown";
}
