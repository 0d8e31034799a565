/*
 * Handlers of batches: all messages of a batch begin a run each, the handler is called once, and each run ends with
 * what was said of its message. See internal.h.
 */
#include "actors/batch.h"
#include "testkit/internal.h"
#include <inttypes.h>
#include <stdlib.h>

/* Its last run in this consumer and assignment, or NULL. */
static const struct kit_run *last_run(const struct weir_testkit_message *message, unsigned process, uint64_t assignment)
{
    for (size_t i = message->run_count; i-- > 0;) {
        const struct kit_run *run = &message->runs[i];
        if (run->process == process && run->assignment == assignment)
            return run;
    }
    return NULL;
}

/* Lower messages of its key are over, or begin in the same batch; of those that have run here before, none but it may
 * be left out. */
static void check_lower(struct weir_testkit *kit, const struct weir_testkit_message *message, unsigned process,
                        uint64_t assignment)
{
    for (const struct weir_testkit_message *lower = message->before; lower; lower = lower->before) {
        const struct kit_run *run = last_run(lower, process, assignment);
        bool beside = run && run->batch == kit->batch;
        if (!weir_kit_is_over(lower) && !beside && (run || message->run_count == 0))
            weir_kit_violate(kit, "%s/%d at %" PRId64 " starts in a batch before offset %" PRId64 " of its key is over",
                             message->log->topic, (int)message->log->partition, message->offset, lower->offset);
    }
}

/* What has not run here yet comes before all of its key that has. */
static void check_higher(struct weir_testkit *kit, const struct weir_testkit_message *message, unsigned process,
                         uint64_t assignment)
{
    if (last_run(message, process, assignment))
        return;
    for (const struct weir_testkit_message *higher = message->lane->produced; higher != message;
         higher = higher->before) {
        if (last_run(higher, process, assignment))
            weir_kit_violate(kit, "%s/%d at %" PRId64 " starts in a batch after offset %" PRId64 " of its key",
                             message->log->topic, (int)message->log->partition, message->offset, higher->offset);
    }
}

void weir_kit_check_batch(struct weir_testkit *kit, const struct weir_testkit_message *message, unsigned process,
                          uint64_t assignment)
{
    check_lower(kit, message, process, assignment);
    check_higher(kit, message, process, assignment);
}

/* What a message's run has come to: said by name, or with all others. */
static enum weir_outcome outcome_of(const struct weir_message *message, enum weir_outcome outcome)
{
    if (message->outcome != WEIR_BATCH_UNSAID)
        return (enum weir_outcome)message->outcome;
    return (int)outcome < WEIR_ACK || outcome >= WEIR_LATER ? WEIR_RETRY : outcome;
}

enum weir_outcome weir_kit_handle_batch(struct weir_batch *batch, void *user)
{
    struct kit_process *process = user;
    struct weir_testkit *kit = process->kit;
    size_t count = weir_batch_count(batch);
    size_t *runs = weir_kit_allocate(count * sizeof *runs);
    struct weir_testkit_message **sent = weir_kit_allocate(count * sizeof(struct weir_testkit_message *));
    kit->batch = ++kit->batch_count;
    for (size_t i = 0; i < count; i++)
        sent[i] = weir_kit_run_begin(process, weir_batch_message(batch, i), &runs[i]);
    kit->batch = 0;
    kit->in_handler++;
    enum weir_outcome outcome = kit->batch_handler(batch, kit->user);
    kit->in_handler--;
    for (size_t i = 0; i < count; i++) {
        struct weir_message *message = weir_batch_message(batch, i);
        if (sent[i])
            weir_kit_run_end(sent[i], runs[i], outcome_of(message, outcome), message);
    }
    free(sent);
    free(runs);
    return outcome;
}
