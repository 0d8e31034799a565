/*
 * Suspects: messages that were being handled when a process before this one ended. Runs in the partition actor's turn;
 * who knows them is journal.h, who gives turns is control_guard.c.
 *
 * A suspect is known by its place when it is pulled. At the head of its key it is not dispatched but parked; the
 * partition says that one waits, and control gives one turn at a time: it closes a round, in which no other handler of
 * the process starts, waits until every partition has said that nothing of it runs, and lets one partition dispatch its
 * lowest suspect. So a crash during a turn has one cause. A suspect that has survived its run is as any other message,
 * but each further run of it needs a turn again until it is finished.
 *
 * What is condemned (weir_suspect_is_condemned) is not run: it goes to the dead letter queue with cause `crash`.
 *
 * Invariants
 *   S1. A suspect is dispatched by a turn only, as a run of one.
 *   S2. A partition says that it is quiet in a round only when nothing of it runs and it has seen the round: what it
 *       takes after that is parked, since its own reads of the round cannot go back.
 *   S3. Every turn that is given is taken and ends, also when there is nothing left to run (purged meanwhile).
 */
#include "actors/consumer.h"
#include "actors/partition.h"
#include "runtime/check.h"
#include "runtime/log.h"

void weir_partition_expect_suspects(struct weir_partition *partition)
{
    struct weir_journal *journal = partition->consumer->journal;
    uint64_t topic_hash = partition->topic->journal_hash;
    weir_journal_forget_below(journal, topic_hash, partition->number, partition->tracker.next);
    partition->suspect_last = weir_journal_last(journal, topic_hash, partition->number);
}

void weir_partition_suspect(struct weir_partition *partition, struct weir_message *message)
{
    struct weir_journal_name name = weir_partition_name(partition, message);
    struct weir_suspect suspect;
    if (!weir_journal_find(partition->consumer->journal, &name, &suspect))
        return;
    uint64_t attempts_max = partition->consumer->options->crash_attempts_max;
    message->crashes = (uint8_t)(suspect.crashes < UINT8_MAX ? suspect.crashes : UINT8_MAX);
    message->condemned = weir_suspect_is_condemned(&suspect, attempts_max);
    struct weir_failure *failure = weir_message_failure(message);
    if (failure) {
        failure->first_wall_ms = suspect.first_wall_ms;
        failure->last_wall_ms = suspect.last_wall_ms;
    }
    char number[16];
    struct weir_log_field fields[2];
    weir_log(WEIR_LOG_WARN, weir_partition_fields(partition, number, fields), 2,
             "offset %lld: %u crashes of the process while it was handled, %u of them with nothing beside it "
             "(weir.crash.attempts.max=%llu); it %s",
             (long long)message->offset, suspect.crashes, suspect.crashes_alone, (unsigned long long)attempts_max,
             message->condemned ? "is dead" : "will run with nothing beside it");
}

/* A run ends before a suspect (S1). */
uint64_t weir_partition_clip_run(const struct weir_key *key, uint64_t run)
{
    const struct weir_message *message = key->first;
    for (uint64_t count = 1; count < run; count++) {
        message = message->next;
        if (message->crashes > 0)
            return count;
    }
    return run;
}

void weir_partition_suspect_is_finished(struct weir_partition *partition, const struct weir_message *message)
{
    struct weir_journal_name name = weir_partition_name(partition, message);
    if (message->condemned)
        weir_journal_bury(partition->consumer->journal, &name);
    else
        weir_journal_forget(partition->consumer->journal, &name);
}

/* ---- turns ---- */

static void end_turn(struct weir_partition *partition)
{
    partition->suspect_key = NULL;
    atomic_store_explicit(&partition->suspects.turn_done, partition->suspect_turn, memory_order_release);
    weir_resident_notify(&partition->consumer->control.resident);
}

void weir_partition_suspect_is_back(struct weir_partition *partition, const struct weir_key *key)
{
    if (partition->suspect_key == key)
        end_turn(partition);
}

static void unpark(struct weir_partition *partition, struct weir_key *key)
{
    weir_partition_leave_list(partition, key);
    weir_key_move(key, WEIR_KEY_READY);
}

/* The parked key whose first message is the lowest suspect; those that are condemned are buried on the way. */
static struct weir_key *choose(struct weir_partition *partition)
{
    struct weir_key *lowest = NULL;
    for (struct weir_key *key = partition->parked.first, *next; key; key = next) {
        next = key->list_after;
        if (key->first->crashes == 0)
            continue;
        if (key->first->condemned) {
            unpark(partition, key);
            weir_partition_quarantine(partition, key);
        } else if (!lowest || key->first->offset < lowest->first->offset) {
            lowest = key;
        }
    }
    return lowest;
}

static void take_turn(struct weir_partition *partition, uint64_t turn, struct weir_key *key)
{
    partition->suspect_turn = turn;
    if (!key) {
        end_turn(partition); /* S3 */
        return;
    }
    weir_log(WEIR_LOG_INFO, WEIR_NO_FIELDS, "suspect %s/%d offset %lld runs", partition->topic->name,
             (int)partition->number, (long long)key->first->offset);
    unpark(partition, key);
    partition->suspect_key = key;
    key->first->passes = WEIR_PASSES_BREAKER; /* it may be all there is: no probe could be taken */
    weir_partition_dispatch(partition, key, 1);
}

void weir_partition_serve_suspects(struct weir_partition *partition)
{
    uint64_t turn = atomic_load_explicit(&partition->suspects.turn, memory_order_acquire); /* with give_turn() */
    bool waited = atomic_load_explicit(&partition->suspects.waits, memory_order_relaxed);
    if (partition->suspect_last < 0 && turn == partition->suspect_turn && !waited)
        return;
    struct weir_key *key = choose(partition);
    enum weir_breaker_state breaker = weir_partition_breaker(partition);
    if (weir_partition_is_escalated(partition) || breaker == WEIR_BREAKER_STATE_OPEN ||
        breaker == WEIR_BREAKER_STATE_PROBING ||
        !weir_consumer_lease_holds(partition->consumer, weir_worker_now_ns(partition->resident.home)))
        key = NULL;
    if (turn != partition->suspect_turn) {
        take_turn(partition, turn, key);
        key = choose(partition);
    }
    if (partition->suspect_last < weir_tracker_floor(&partition->tracker))
        partition->suspect_last = -1;
    if (waited == (key != NULL))
        return;
    atomic_store_explicit(&partition->suspects.waits, key != NULL, memory_order_release);
    if (key)
        weir_resident_notify(&partition->consumer->control.resident);
}

/* Is a message about that was taken from its holder, who may be working on it yet? Be it finished, or its letter on its
 * way, or refused. */
static bool any_abandoned(const struct weir_partition *partition)
{
    const struct weir_key *key = partition->dying.first;
    while (key && !weir_message_has_holder(key->first))
        key = key->list_after;
    return key || partition->orphans > 0;
}

void weir_partition_tell_quiet(struct weir_partition *partition)
{
    uint64_t round = atomic_load_explicit(&partition->consumer->alone_round, memory_order_acquire);
    if (round == 0 || round == atomic_load_explicit(&partition->suspects.quiet, memory_order_relaxed))
        return;
    /* What was given out by WEIR_LATER is being worked on, whoever does that; so is what was abandoned. */
    if (partition->out_count > 0 || partition->later.count > 0 || any_abandoned(partition) ||
        weir_partition_ends_data(partition))
        return;
    /* Pairs with control's acquire: the slots of what ran here are clear. */
    atomic_store_explicit(&partition->suspects.quiet, round, memory_order_release);
    weir_resident_notify(&partition->consumer->control.resident);
}
