/* See rule.h. */
#include "tests/broker/member/rule.h"
#include "tests/broker/member/late.h"
#include "tests/broker/member/states.h"
#include "tests/support/wait.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <weir/output.h>

enum { DAY_MS = 24 * 60 * 60 * 1000 };

static struct weir_subject *subject;
static struct weir_member_board *board;
static struct weir_member_marks *marks;
static _Atomic uint32_t batches; /* so far */

void weir_rule_init(struct weir_subject *of, struct weir_member_board *shared, struct weir_member_marks *of_topic)
{
    subject = of;
    board = shared;
    marks = of_topic;
}

/* ---- which messages ---- */

static uint64_t load(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static bool is_one_in(const _Atomic uint64_t *every, const struct weir_message *message, uint64_t salt)
{
    return weir_member_is_one_in(load(every), weir_message_partition(message), weir_message_offset(message),
                                 load(&board->seed) + salt);
}

static bool is_late(const struct weir_message *message)
{
    uint64_t every = load(&board->late_every);
    return every > 0 &&
           weir_member_is_late(every, weir_ledger_key_hash(weir_message_key(message), weir_message_key_size(message)));
}

static uint64_t number_of(const struct weir_message *message)
{
    char text[24];
    snprintf(text, sizeof text, "%.*s", (int)weir_message_value_size(message),
             (const char *)weir_message_value(message));
    return strtoull(text, NULL, 10);
}

static bool is_long(const struct weir_message *message)
{
    uint64_t each = load(&board->long_each);
    return is_one_in(&board->long_every, message, 1) ||
           (each > 0 && weir_member_is_one_of_each(each, number_of(message), load(&board->seed)));
}

/* ---- marks ---- */

static struct weir_member_mark *mark_of(const struct weir_message *message)
{
    int32_t partition = weir_message_partition(message);
    int64_t offset = weir_message_offset(message);
    if (!marks)
        return NULL;
    if (partition < marks->partitions && offset < marks->stride)
        return &marks->marks[partition * marks->stride + offset];
    atomic_fetch_add_explicit(&marks->strangers, 1, memory_order_relaxed);
    return NULL;
}

/* Runs of one message follow each other, so load and store need no exchange. */
static void count(_Atomic uint8_t *mark)
{
    uint8_t value = atomic_load_explicit(mark, memory_order_relaxed);
    atomic_store_explicit(mark, value < UINT8_MAX ? value + 1 : value, memory_order_relaxed);
}

/* ---- one message ---- */

/* False where it was not taken; WEIR_STALE is as good, as nothing of this run counts. */
static bool emit(struct weir_message *message)
{
    char text[96];
    if (board->outputs[0] == '\0')
        return true;
    int size = snprintf(text, sizeof text, "%" PRId32 " %" PRId64 " %d %" PRIu64 " %" PRIu32,
                        weir_message_partition(message), weir_message_offset(message), (int)getpid(),
                        weir_message_epoch(message), weir_message_attempt(message));
    const struct weir_output output = {.topic = board->outputs,
                                       .key = weir_message_key(message),
                                       .key_size = weir_message_key_size(message),
                                       .value = text,
                                       .value_size = (size_t)size};
    int result = weir_emit(message, &output);
    return result == 0 || result == WEIR_STALE;
}

uint64_t weir_rule_pause_us(const struct weir_message *message)
{
    return is_long(message) ? 1000 * load(&board->long_ms) : load(&board->sleep_us);
}

/* What is wrong with more than this message. True: *outcome is what comes of it. */
static bool is_stopped(struct weir_message *message, enum weir_outcome *outcome)
{
    uint64_t down = load(&board->down);
    uint64_t escalate =
        load(&board->escalate) > 0 ? atomic_exchange_explicit(&board->escalate, 0, memory_order_relaxed) : 0;
    if (escalate > 0)
        *outcome = weir_escalate(message, (enum weir_escalation)(escalate - 1), "the test has closed the books");
    else if (down == WEIR_DOWN_FAILS)
        *outcome = weir_retry_after(message, WEIR_MEMBER_DOWN_MS, "the downstream is away");
    else if (down == WEIR_DOWN_OVERLOADED)
        *outcome = WEIR_OVERLOADED;
    else
        return false;
    return true;
}

static void crash(const struct weir_message *message)
{
    struct weir_ledger_record end = weir_subject_end_of(message, WEIR_RETRY);
    if (subject->ledger)
        weir_ledger_write(subject->ledger, &end); /* nobody else can say that this run is over */
    abort();
}

/* What is wrong with this message. */
static bool fails(struct weir_message *message, enum weir_outcome *outcome)
{
    if (is_one_in(&board->dead_every, message, 2))
        *outcome = weir_dead(message, "dies by the test");
    else if (is_one_in(&board->poison_every, message, 3))
        *outcome = weir_retry(message, "fails always");
    else if (weir_message_attempt(message) <= WEIR_MEMBER_BUSY_RUNS && is_one_in(&board->busy_every, message, 5))
        *outcome = weir_retry_class(message, "busy", "fails for a while");
    else if (weir_message_offset(message) < atomic_load_explicit(&board->hold_below, memory_order_relaxed))
        *outcome = weir_retry_after(message, DAY_MS, "put off by the test");
    else if (weir_member_fails(weir_message_partition(message), weir_message_offset(message),
                               weir_message_attempt(message), load(&board->fails_percent)))
        *outcome = weir_retry(message, "fails at first");
    else
        return false;
    return true;
}

enum weir_outcome weir_rule_judge(struct weir_message *message)
{
    enum weir_outcome outcome;
    if (!emit(message)) /* runs that fail below as well: theirs are dropped */
        return weir_retry(message, "its output was not taken");
    if (is_one_in(&board->crash_every, message, 4))
        crash(message);
    if (is_stopped(message, &outcome) || fails(message, &outcome))
        return outcome;
    if (is_late(message))
        return weir_late_take(message, WEIR_LATE_SLOW);
    if (load(&board->rest_held))
        return weir_late_take(message, WEIR_LATE_REST);
    struct weir_member_mark *mark = mark_of(message);
    if (mark)
        count(&mark->finishes);
    atomic_fetch_add_explicit(&board->finished, 1, memory_order_relaxed);
    return WEIR_ACK;
}

/* ---- handlers ---- */

enum weir_outcome weir_rule_run(struct weir_subject *unused, struct weir_message *message)
{
    (void)unused;
    struct weir_member_mark *mark = mark_of(message);
    if (mark)
        count(&mark->runs);
    struct weir_member_state *state = weir_states_see(message);
    uint64_t pause_us = weir_rule_pause_us(message);
    if (pause_us > 0)
        weir_test_sleep_us((unsigned)pause_us);
    weir_states_leave(state);
    return weir_rule_judge(message);
}

static void note(const struct weir_message *message, enum weir_ledger_kind kind, uint32_t number,
                 enum weir_outcome outcome)
{
    struct weir_ledger_record record = weir_ledger_of(kind, message);
    record.note = weir_message_epoch(message);
    record.number = number;
    record.outcome = (uint16_t)outcome;
    if (subject->ledger)
        weir_ledger_write(subject->ledger, &record);
}

/* What fails is said by name, and what does not by what is returned. */
enum weir_outcome weir_rule_run_batch(struct weir_batch *batch, void *user)
{
    (void)user;
    uint32_t number = atomic_fetch_add_explicit(&batches, 1, memory_order_relaxed) + 1;
    uint64_t pause_us = 0;
    for (size_t index = 0; index < weir_batch_count(batch); index++) {
        const struct weir_message *message = weir_batch_message(batch, index);
        uint64_t own_us = weir_rule_pause_us(message);
        note(message, WEIR_LEDGER_START, number, WEIR_ACK);
        pause_us = own_us > pause_us ? own_us : pause_us;
    }
    if (pause_us > 0)
        weir_test_sleep_us((unsigned)pause_us);
    for (size_t index = 0; index < weir_batch_count(batch); index++) {
        struct weir_message *message = weir_batch_message(batch, index);
        enum weir_outcome outcome = weir_rule_judge(message);
        note(message, WEIR_LEDGER_END, number, outcome);
        if (outcome != WEIR_ACK)
            weir_batch_set(batch, index, outcome);
    }
    return WEIR_ACK;
}
