/*
 * What becomes of a run: a message is finished, waits for another run, or dies.
 *
 *   acked, skipped     its outputs are sent, and the key waits for the broker's reports (partition_output.c). Without
 *                      outputs, and when all are in the log, the offset leaves the tracker, the content is freed, the
 *                      key goes on
 *   retry, overloaded  the key waits on its timer; only this key (partition_retry.c)
 *   dead               the dead letter is sent; the key waits for the broker's report (partition_letter.c)
 *   later              the key waits for the answer
 *
 * Results of an older epoch are counted and dropped here; they change nothing of the present one.
 */
#include "actors/partition_finish.h"
#include "actors/consumer.h"
#include "actors/output.h"
#include "runtime/check.h"
#include <stddef.h>

#define COPY_OUT_MS      1000 /* a shorter wait is not worth the copy */
#define LATER_WARN_LIMIT 8    /* messages named in one sweep */

/* A message that is in no key any more. One that was abandoned is its holder's to read until the late answer has come,
 * which frees it. */
static void free_or_leave(struct weir_partition *partition, struct weir_message *message)
{
    if (weir_message_has_holder(message)) {
        message->orphan = true;
        partition->orphans++;
    } else {
        weir_partition_free_message(partition, message);
    }
}

static void finish(struct weir_partition *partition, struct weir_message *message)
{
    weir_tracker_finish(&partition->tracker, message);
    partition->finished++;
    partition->changed = true;
}

/* A message that is in no key any more has its terminal outcome. */
void weir_partition_finish_message(struct weir_partition *partition, struct weir_message *message)
{
    if (message->crashes > 0)
        weir_partition_suspect_is_finished(partition, message);
    finish(partition, message);
    free_or_leave(partition, message);
}

/* The message behind `before`, the first where that is NULL, has its terminal outcome. */
void weir_partition_finish_after(struct weir_partition *partition, struct weir_key *key, struct weir_message *before)
{
    weir_partition_finish_message(partition, before ? weir_key_take_after(key, before) : weir_key_shift(key));
}

/* What a filter has left out. */
static void count_filtered(struct weir_partition *partition, const struct weir_message *message)
{
    if (message->outcome == WEIR_SKIP)
        weir_partition_count(partition, filtered, 1);
    if (message->filtered == WEIR_FILTERED_EXPIRED)
        weir_partition_count(partition, expired, 1);
    if (message->filtered == WEIR_FILTERED_STALE)
        weir_partition_count(partition, stale, 1);
}

void weir_partition_count_end(struct weir_partition *partition, const struct weir_message *message,
                              enum weir_outcome outcome)
{
    bool filtered = message->filtered != WEIR_FILTERED_NOT;
    if (outcome == WEIR_DEAD)
        weir_partition_count(partition, dead_lettered, 1);
    else if (filtered)
        count_filtered(partition, message);
    else if (outcome == WEIR_ACK)
        weir_partition_count(partition, acked, 1);
    else
        weir_partition_count(partition, skipped, 1);
    partition->successes += outcome != WEIR_DEAD && !filtered; /* else no handler has succeeded */
}

void weir_partition_finish_with(struct weir_partition *partition, struct weir_key *key, struct weir_message *before,
                                enum weir_outcome outcome)
{
    weir_partition_count_end(partition, before ? before->next : key->first, outcome);
    weir_partition_finish_after(partition, key, before);
}

/* The first message of a READY key is out with a handle. From now on, as the list is in the order of this time. */
static void await_answer(struct weir_partition *partition, struct weir_key *key)
{
    key->first->given_out_ms = weir_ms_of(weir_partition_now_ns(partition));
    weir_partition_enter_list(partition, key, WEIR_KEY_LATER);
}

/* Dead at once: the handler has said so, or a filter, which burns no attempt. */
static void give_up(struct weir_partition *partition, struct weir_key *key)
{
    struct weir_message *message = key->first;
    if (message->filtered == WEIR_FILTERED_NOT) {
        weir_partition_burn_attempt(partition, message);
        weir_partition_die(partition, key, WEIR_DLQ_DEAD);
        return;
    }
    count_filtered(partition, message);
    weir_partition_note_failure(partition, message);
    weir_partition_die(partition, key, message->filtered == WEIR_FILTERED_EXPIRED ? WEIR_DLQ_EXPIRED : WEIR_DLQ_STALE);
}

/* A filter lets the message wait, and so its key: not held, no attempt burnt. */
static void wait_for_place(struct weir_partition *partition, struct weir_key *key)
{
    uint64_t delay_ms = key->first->delay_ms;
    weir_partition_count(partition, delayed, 1);
    if (delay_ms >= COPY_OUT_MS)
        weir_partition_copy_out(partition, key->first);
    weir_partition_enter_list(partition, key, WEIR_KEY_DELAYED);
    weir_partition_arm(partition, key, delay_ms);
}

void weir_partition_finish_at_once(struct weir_partition *partition, struct weir_message *message)
{
    if (weir_partition_is_exactly_once(partition)) {
        weir_partition_enroll(partition, message, (enum weir_outcome)message->outcome);
        return;
    }
    weir_partition_count_end(partition, message, (enum weir_outcome)message->outcome);
    finish(partition, message);
    weir_partition_free_message(partition, message);
}

/* Act on the outcome of the first message of a READY key. */
static void act(struct weir_partition *partition, struct weir_key *key, enum weir_outcome outcome)
{
    bool filtered = key->first->filtered != WEIR_FILTERED_NOT;
    if (filtered || (outcome > WEIR_SKIP && outcome != WEIR_LATER))
        weir_partition_drop_outputs(partition, key->first);
    if (key->first->passes == WEIR_PASSES_AS_PROBE && outcome != WEIR_LATER &&
        weir_partition_probe_ended(partition, key->first, outcome)) {
        weir_partition_wait(partition, key, weir_partition_room_ms(partition, key->first));
        return;
    }
    if (outcome == WEIR_OUTCOME_DELAYED) {
        wait_for_place(partition, key);
        return;
    }
    switch (outcome) {
    case WEIR_ACK:
    case WEIR_SKIP:
        if (weir_partition_is_exactly_once(partition))
            weir_partition_enroll_first(partition, key, outcome);
        else if (key->first->outputs)
            weir_partition_send_first(partition, key, outcome);
        else
            weir_partition_finish_with(partition, key, NULL, outcome);
        break;
    case WEIR_RETRY:
        weir_partition_retry(partition, key);
        break;
    case WEIR_OVERLOADED:
        weir_partition_wait(partition, key, weir_partition_overloaded_ms(partition, key->first));
        break;
    case WEIR_DEAD:
        give_up(partition, key);
        break;
    case WEIR_ESCALATE:
        weir_partition_escalate(partition, key->first);
        break;
    case WEIR_LATER:
        atomic_store_explicit(&partition->consumer->gives_out, true, memory_order_relaxed);
        await_answer(partition, key);
        break;
    }
}

/* One message of a run that came back, whose handle may still be about. The key is READY. */
static void take_run(struct weir_partition *partition, struct weir_key *key)
{
    struct weir_message *message = key->first;
    enum weir_later_state state = weir_message_later_state(message);
    if (state == WEIR_LATER_IDLE || (message->outcome != WEIR_LATER && weir_message_close_handle(message))) {
        act(partition, key, (enum weir_outcome)message->outcome);
    } else if (message->later_answered) {
        enum weir_outcome outcome = weir_message_last_word(message); /* it was here before the hand-back */
        message->later_answered = false;
        weir_message_renew(message);
        act(partition, key, outcome);
    } else {
        act(partition, key, WEIR_LATER); /* its answer is on the way, or will be */
    }
}

void weir_partition_drop_first(struct weir_partition *partition, struct weir_key *key)
{
    struct weir_message *message = weir_key_shift(key);
    weir_partition_count(partition, stale_dropped, 1);
    WEIR_CHECK(partition->stragglers > 0);
    partition->stragglers--;
    free_or_leave(partition, message);
}

/* Drop the message behind the first, which stays where its key is found: what comes of this key waits behind it. */
static void drop_second(struct weir_partition *partition, struct weir_key *key)
{
    struct weir_message *first = weir_key_shift(key);
    weir_partition_drop_first(partition, key);
    first->next = key->first;
    first->owner = key;
    key->first = first;
    if (!key->last)
        key->last = first;
    key->count++;
}

/* A run of an older epoch has come back: its results count no more. The key is READY. */
static void drop_run(struct weir_partition *partition, struct weir_key *key, uint32_t count)
{
    for (; count > 0; count--) {
        struct weir_message *message = key->first;
        if (!message->later_answered && weir_message_later_state(message) != WEIR_LATER_IDLE &&
            (message->outcome == WEIR_LATER || !weir_message_close_handle(message))) {
            for (; count > 1; count--)
                drop_second(partition, key);
            await_answer(partition, key); /* its holder still reads it */
            return;
        }
        message->later_answered = false;
        weir_message_renew(message);
        weir_partition_drop_first(partition, key);
    }
}

/* After a run: the next one, or in a drain nothing more. */
void weir_partition_go_on(struct weir_partition *partition, struct weir_key *key)
{
    bool purge =
        partition->state == WEIR_PARTITION_DRAINING && partition->consumer->options->delivery != WEIR_AT_MOST_ONCE;
    if (purge)
        weir_partition_purge(partition, key);
    else
        weir_partition_schedule(partition, key);
}

void weir_partition_come_back(struct weir_partition *partition, struct weir_key *key)
{
    WEIR_CHECK(key->state == WEIR_KEY_OUT && key->run_done <= key->run_count && partition->out_count > 0);
    partition->out_count--;
    weir_key_move(key, WEIR_KEY_READY);
    if (partition->suspect_key)
        weir_partition_suspect_is_back(partition, key);
    if (key->first->passes == WEIR_PASSES_AS_PROBE &&
        (key->run_done == 0 || weir_partition_is_stale(partition, key->first)))
        weir_partition_answer_probe(partition, key->first, WEIR_PROBE_VOID);
}

void weir_partition_take_back(struct weir_partition *partition, struct weir_key *key)
{
    WEIR_CHECK(key->run_done == 0 && key->first->epoch == partition->epoch);
    weir_partition_come_back(partition, key);
    weir_partition_purge(partition, key);
}

/* The run of a READY key, which is of an older epoch. */
void weir_partition_drop_stale(struct weir_partition *partition, struct weir_key *key)
{
    if (partition->consumer->options->delivery == WEIR_AT_MOST_ONCE) /* committed, or it would not have gone out */
        weir_partition_count(partition, lost_at_most_once, (uint64_t)(key->run_count - key->run_done));
    drop_run(partition, key, key->run_count);
}

void weir_partition_take_key(struct weir_partition *partition, struct weir_key *key)
{
    weir_partition_come_back(partition, key);
    if (weir_partition_is_stale(partition, key->first)) {
        weir_partition_drop_stale(partition, key);
    } else {
        for (uint32_t done = key->run_done; done > 0; done--)
            take_run(partition, key); /* all but the last were acked or skipped, and leave the key READY */
    }
    weir_partition_go_on(partition, key);
}

void weir_partition_take_answer(struct weir_partition *partition, struct weir_message *message)
{
    if (message->orphan) {
        partition->orphans--;
        message->orphan = false;
        weir_message_renew(message);
        weir_partition_free_message(partition, message);
        return;
    }
    struct weir_key *key = message->owner;
    WEIR_CHECK(key != NULL);
    if (key->state == WEIR_KEY_OUT) {   /* others of its run may stand before it */
        message->later_answered = true; /* the hand-back will see it */
        return;
    }
    WEIR_CHECK(key->first == message);
    if (key->state == WEIR_KEY_DYING) { /* abandoned before: now nobody reads it any more */
        weir_message_renew(message);
        if (weir_partition_is_stale(partition, message) && !message->dlq_in_flight) {
            weir_partition_ready(partition, key);
            weir_partition_drop_first(partition, key);
        }
        weir_partition_go_on(partition, key);
        return;
    }
    weir_partition_leave_list(partition, key);
    weir_key_move(key, WEIR_KEY_READY);
    enum weir_outcome outcome = weir_message_last_word(message);
    weir_message_renew(message);
    if (weir_partition_is_stale(partition, message))
        weir_partition_drop_first(partition, key);
    else
        act(partition, key, outcome);
    weir_partition_go_on(partition, key);
}

static void check_later(struct weir_partition *partition)
{
    const struct weir_options *options = partition->consumer->options;
    uint64_t limit_ms = options->later_deadline_ms > 0 ? options->later_deadline_ms : options->handler_warn_ms;
    if (limit_ms == 0)
        return;
    unsigned named = 0;
    for (struct weir_key *key = partition->later.first, *next; key; key = next) {
        next = key->list_after;
        struct weir_message *message = key->first;
        /* More, as this counts a part of a millisecond as one: never overdue too early. */
        if (weir_ms_since(message->given_out_ms, weir_partition_now_ns(partition)) <= limit_ms)
            return; /* the list is in the order in which they were given out */
        bool abandon = weir_partition_abandons(partition) && !weir_partition_is_stale(partition, message) &&
                       message->outcome == WEIR_LATER;
        if (abandon && weir_message_abandon(message)) {
            weir_partition_leave_list(partition, key);
            weir_key_move(key, WEIR_KEY_READY);
            if (message->data)
                weir_partition_detach_data(partition, key);
            weir_partition_note_failure(
                partition, message); /* the burnt attempt is told by the cause: the holder may be reading */
            partition->changed = true;
            weir_partition_die(partition, key, WEIR_DLQ_ABANDONED);
        } else if (named++ < LATER_WARN_LIMIT) {
            weir_partition_warn(partition, "given out by WEIR_LATER and not finished for too long", message->offset,
                                "weir_later_finish() has not been called");
        }
    }
}

void weir_partition_sweep_finish(struct weir_partition *partition)
{
    check_later(partition);
    weir_partition_copy_out_held(partition);
    weir_partition_enforce_held(partition);
    if (partition->budget_spent)
        partition->budget_spent = weir_budget_is_spent(&partition->topic->budget, weir_partition_now_ns(partition));
}
