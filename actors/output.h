/*
 * Outputs of a message, inside Weir: what its run has emitted, kept with it until it is in the log, or dropped.
 *
 * Who touches them: as the message itself (message.h). While a run is under way, or its handle is out, whoever emits;
 * else the partition actor. Nobody else ever sees those of a message that is not SENDING.
 *
 *   O1. An output is sent only when its run has answered ack or skip, in the epoch that ran it.
 *   O2. The message is finished when no output is left: each is freed when the broker has acknowledged it.
 *   O3. While any is with the producer, the message stays where it is: `in_flight` counts them, and each comes back as
 *       one WEIR_MAIL_OUTPUT.
 *   O4. Every byte of an output is in its partition's `output_bytes` from emit to free.
 *
 * Bound: weir.output.messages.max and weir.output.bytes.max a message; beyond them weir_emit() answers WEIR_FULL.
 */
#ifndef WEIR_ACTORS_OUTPUT_H
#define WEIR_ACTORS_OUTPUT_H

#include "actors/kafka.h"
#include "actors/message.h"
#include <weir/output.h>

#define WEIR_OUTPUT_OVERHEAD_BYTES 512 /* what one costs beside its content: this struct, librdkafka's message */
#define WEIR_OUTPUT_QUEUE_FULL_MS  50  /* the producer's queue drains in this order of time */

/* One output: one block of memory, with all that `produce` points to. */
struct weir_emission {
    struct weir_emission *next;
    struct weir_message *message;
    struct weir_delivery delivery;
    struct weir_kafka_produce produce;
    uint64_t bytes;  /* as charged */
    uint32_t number; /* among those of its message, from 1 */
    bool in_flight;  /* the producer has it */
    bool written;    /* exactly once: it is in the transaction that is open */
    struct weir_kafka_header headers[];
};

struct weir_outputs {
    struct weir_emission *first, **last;
    uint32_t count, emitted; /* in the list; by the run */
    uint32_t in_flight;
    uint64_t bytes;
    enum weir_outcome outcome;       /* that its run gave, and that the message is finished with */
    bool again;                      /* one was refused that is to be sent again after a while */
    struct weir_message *batch_next; /* exactly once: the next message of its batch that has something to write */
    enum weir_kafka_error refusal;   /* of one that can never be sent; NONE: none was */
    uint32_t refused_number;
    char refused_topic[64]; /* cut */
};

/* What is to become of a message whose outputs are sent. */
enum weir_outputs_step {
    WEIR_OUTPUTS_WRITTEN,   /* all are in the log */
    WEIR_OUTPUTS_UNDER_WAY, /* the producer has some: nothing to do until they come back */
    WEIR_OUTPUTS_NO_PLACE,  /* the producer has no place now, and none of these: soon */
    WEIR_OUTPUTS_AGAIN,     /* what is left is to be sent after weir.output.retry.ms */
    WEIR_OUTPUTS_REFUSED,   /* one can never be sent: the run has failed */
};

/** Send what is to be sent. Owner, SENDING only. */
enum weir_outputs_step weir_outputs_send(struct weir_message *message);
/** One has come back from the producer. True if it was acknowledged. `once`: what may be in the log is not sent again,
 *  and *lost says so. Frees it unless it is to be sent again. Owner. */
bool weir_outputs_take(struct weir_emission *emission, bool once, bool *lost);
/** Keep a composed letter as the only output, to be sent in a transaction. WEIR_NO_MEMORY. Owner. */
int weir_outputs_set_letter(struct weir_message *message, const struct weir_kafka_produce *letter);
/** May the same be taken later? Else it is the message's fault. */
bool weir_outputs_is_passing(enum weir_kafka_error error);
void weir_outputs_note_refusal(const struct weir_emission *emission, enum weir_kafka_error error);
/** Words for WEIR_OUTPUTS_REFUSED. */
void weir_outputs_describe(const struct weir_outputs *outputs, char *text, size_t size);
/** Free all: none is with the producer. */
void weir_outputs_drop(struct weir_message *message);

#endif
