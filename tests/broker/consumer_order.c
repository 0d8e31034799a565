/*
 * Goal: the first promise. Messages of a key are handled one at a time and in order, while some of them fail and come
 * again; every message is finished exactly once when nothing is disturbed.
 * Method: all messages are in the ledger when they are acknowledged to the producer; handlers write it around each run.
 */
#include "tests/broker/stage.h"

enum { PARTITIONS = 12, MESSAGES = 20000, KEYS = 500, FAILS_PERCENT = 5 };

static enum weir_outcome fail_now_and_then(struct weir_subject *subject, struct weir_message *message)
{
    bool fails = weir_member_fails(weir_message_partition(message), weir_message_offset(message),
                                   weir_message_attempt(message), FAILS_PERCENT);
    return fails ? weir_retry(message, "fails at first") : WEIR_ACK;
}

/* How many runs the rule above makes fail: computed from what was produced, not from what was handled. */
static uint64_t failures(const struct weir_stage *stage)
{
    uint64_t count = 0;
    for (size_t index = 0; index < weir_ledger_count(stage->ledger); index++) {
        const struct weir_ledger_record *record = weir_ledger_at(stage->ledger, index);
        if (!record || record->kind != WEIR_LEDGER_EMIT)
            continue;
        for (uint32_t attempt = 1; weir_member_fails(record->partition, record->offset, attempt, FAILS_PERCENT);)
            attempt++, count++;
    }
    return count;
}

Test(broker_order, messages_of_a_key_come_in_order_and_once_while_some_fail_and_are_retried)
{
    struct weir_stage stage;
    weir_stage_set(&stage, PARTITIONS, 4 * MESSAGES);
    weir_stage_produce(&stage, MESSAGES, KEYS);
    struct weir_subject subject = {.ledger = stage.ledger, .rule = fail_now_and_then};
    weir_subject_start(&subject, WEIR_STAGE_SETTINGS(&stage, "weir.retry.base.ms", "5", "weir.retry.max.ms", "20"));
    WEIR_BROKER_UNTIL(weir_subject_stats(&subject).counters.acked == MESSAGES);
    cr_assert_eq(weir_subject_close(&subject), WEIR_OK, "%s", subject.closed_error.text);
    weir_stage_check_strictly(&stage);

    struct weir_stats stats = weir_subject_stats(&subject);
    uint64_t expected = failures(&stage);
    cr_assert_gt(expected, MESSAGES / 100u);
    cr_assert_eq(stats.counters.retries, expected);
    cr_assert_eq(atomic_load(&subject.started), MESSAGES + expected);
    cr_assert_eq(stats.counters.consumed, (uint64_t)MESSAGES);
    cr_assert(weir_subject_adds_up(&subject));
    cr_assert_eq(weir_stage_committed(&stage), MESSAGES);
    weir_subject_destroy(&subject);
    weir_stage_clear(&stage);
}
