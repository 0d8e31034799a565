/*
 * What handlers emit (weir_emit()), as it comes to lie in the topics. See internal.h.
 *
 * The Kafka in memory tells of each record that the consumer has written, and by which output. A message is over when
 * all outputs of a run that ended in ack or skip are written; which of them are is kept with the run.
 */
#include "runtime/check.h"
#include "testkit/internal.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- of a run ---- */

void weir_kit_run_emitted(struct kit_run *run, const struct weir_message *message)
{
    run->emitted = message->outputs ? message->outputs->emitted : 0;
    if (run->emitted == 0)
        return;
    run->unwritten = run->emitted;
    run->epoch = message->epoch;
    run->written = weir_kit_allocate(run->emitted * sizeof *run->written);
}

/* The run that is sending: the last of this process and epoch that has emitted, and ended well. */
static struct kit_run *run_of(const struct weir_testkit_message *message, const struct kit_process *process,
                              uint64_t epoch)
{
    for (size_t i = message->run_count; i-- > 0;) {
        struct kit_run *run = &message->runs[i];
        if (run->process == process->number && run->emitted > 0 && run->epoch == epoch)
            return run;
    }
    return NULL;
}

static void note_written(struct weir_testkit_message *message, struct kit_run *run, uint32_t number)
{
    if (!run || number == 0 || number > run->emitted || run->written[number - 1])
        return;
    run->written[number - 1] = true;
    if (--run->unwritten == 0)
        weir_kit_finished(message, run->outcome);
}

/* ---- in the topics ---- */

static void add(struct weir_testkit *kit, struct weir_testkit_message *message, const char *topic, int32_t partition,
                int64_t offset)
{
    kit->written = weir_kit_grow(kit->written, kit->written_count, &kit->written_capacity, sizeof *kit->written);
    kit->written[kit->written_count++] = (struct kit_written){message, topic, partition, offset};
    weir_kit_trace(kit, "%s/%d at %" PRId64 ": an output of %s/%d at %" PRId64, topic, (int)partition, offset,
                   message ? message->log->topic : "nobody known", message ? (int)message->log->partition : -1,
                   message ? message->offset : -1);
}

static struct kit_process *process_of(const struct weir_testkit *kit, const struct weir_kafka *kafka)
{
    struct kit_process *process = kit->processes;
    while (process && process->kafka != kafka)
        process = process->next;
    return process;
}

static struct weir_testkit_message *source_of(const struct weir_testkit *kit, const struct weir_emission *emission)
{
    const struct kit_log *log =
        weir_kit_log(kit, weir_message_topic(emission->message), weir_message_partition(emission->message));
    int64_t offset = weir_message_offset(emission->message);
    return log && offset >= 0 && (uint64_t)offset < log->count ? log->messages[offset] : NULL;
}

/* An output of which nobody knows any more is told from a letter by its headers. */
static bool is_letter(const struct weir_testkit_record *record, const struct weir_delivery *delivery)
{
    return delivery ? delivery->mail.kind == WEIR_MAIL_LETTER
                    : weir_testkit_header(record, "weir.dlq.reason", NULL) != NULL;
}

void weir_kit_on_written(void *user, struct weir_kafka *kafka, void *opaque, const char *topic, int32_t partition,
                         int64_t offset)
{
    struct weir_testkit *kit = user;
    struct weir_delivery *delivery = opaque;
    struct weir_testkit_record record;
    WEIR_CHECK(weir_testkit_read(kit, topic, partition, offset, &record));
    struct kit_log *log = weir_kit_log(kit, topic, partition);
    if (log)
        weir_kit_sent(kit, log, offset, &record); /* the consumer reads what it has written itself */
    if (is_letter(&record, delivery)) {
        if (!log)
            weir_kit_letter(kit, &record);
        return;
    }
    struct weir_emission *emission = delivery ? WEIR_CONTAINER(delivery, struct weir_emission, delivery) : NULL;
    struct weir_testkit_message *message = emission ? source_of(kit, emission) : NULL;
    const struct kit_process *process = process_of(kit, kafka);
    add(kit, message, topic, partition, offset);
    if (message && process)
        note_written(message, run_of(message, process, emission->message->epoch), emission->number);
}

/* ---- what is asked ---- */

static bool fits(const struct kit_written *written, const char *topic, const struct weir_testkit_message *message)
{
    return (!topic || strcmp(written->topic, topic) == 0) && (!message || written->message == message);
}

static size_t count(const struct weir_testkit *kit, const char *topic, const struct weir_testkit_message *message)
{
    size_t found = 0;
    for (size_t i = 0; kit && i < kit->written_count; i++)
        found += fits(&kit->written[i], topic, message);
    return found;
}

static int find(const struct weir_testkit *kit, const char *topic, const struct weir_testkit_message *message,
                size_t index, struct weir_testkit_record *record)
{
    for (size_t i = 0; kit && i < kit->written_count; i++) {
        const struct kit_written *written = &kit->written[i];
        if (fits(written, topic, message) && index-- == 0)
            return weir_testkit_read(kit, written->topic, written->partition, written->offset, record);
    }
    return 0;
}

size_t weir_testkit_outputs(const struct weir_testkit *kit, const char *topic)
{
    return count(kit, topic, NULL);
}

int weir_testkit_output(const struct weir_testkit *kit, const char *topic, size_t index,
                        struct weir_testkit_record *record)
{
    return find(kit, topic, NULL, index, record);
}

size_t weir_testkit_message_outputs(const struct weir_testkit_message *message)
{
    return message ? count(message->kit, NULL, message) : 0;
}

int weir_testkit_message_output(const struct weir_testkit_message *message, size_t index,
                                struct weir_testkit_record *record)
{
    return message ? find(message->kit, NULL, message, index, record) : 0;
}
