/*
 * Goal: at-most-once. No message runs twice, whatever happens to the process; what a kill costs is no more than what
 * was pulled, and where partitions are given up in order it costs nothing.
 * Method: members are killed and replaced; the ledger counts the runs of each message.
 */
#include "tests/broker/stage.h"
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum { PARTITIONS = 4, MESSAGES = 6000, KEYS = 300, WINDOW = 64, KILLS = 2, RUN_US = 1000 };

/* Short where members are killed; long where losing a partition would be the machine's fault, not Weir's. */
static const char *const *settings_for(const struct weir_stage *stage, const char *session_ms)
{
    static const char *settings[64];
    const char *const *given =
        WEIR_STAGE_SETTINGS(stage, "weir.delivery", "at-most-once", "weir.window.messages.max", "64",
                            "session.timeout.ms", session_ms, "heartbeat.interval.ms", "100");
    size_t count = 0;
    while (given[count]) {
        settings[count] = given[count];
        count++;
    }
    settings[count] = NULL;
    return settings;
}

/* How many messages never ran; any that ran twice fails the test. */
static uint64_t count_lost(const struct weir_stage *stage)
{
    uint8_t *runs = calloc(PARTITIONS, MESSAGES);
    uint64_t started = 0;
    cr_assert_not_null(runs);
    cr_assert_eq(weir_ledger_overflow(stage->ledger), 0u);
    for (size_t index = 0; index < weir_ledger_count(stage->ledger); index++) {
        const struct weir_ledger_record *record = weir_ledger_at(stage->ledger, index);
        if (!record || record->kind != WEIR_LEDGER_START)
            continue;
        cr_assert_eq(runs[record->partition * MESSAGES + record->offset]++, 0,
                     "partition %d offset %" PRId64 " ran twice", record->partition, record->offset);
        started++;
    }
    free(runs);
    cr_assert_gt(started, 0u, "nothing ran");
    return stage->produced - started;
}

/* Those that ran did so in the order of their key. (The ledger's verdict asks for the end of the one before, which a
 * kill takes away.) */
static void check_order(const struct weir_stage *stage)
{
    struct {
        uint64_t key_hash;
        int64_t offset;
    } latest[KEYS] = {{0, 0}};
    for (size_t index = 0, place; index < weir_ledger_count(stage->ledger); index++) {
        const struct weir_ledger_record *record = weir_ledger_at(stage->ledger, index);
        if (!record || record->kind != WEIR_LEDGER_START)
            continue;
        for (place = 0; latest[place].key_hash != 0 && latest[place].key_hash != record->key_hash; place++)
            cr_assert_lt(place + 1, (size_t)KEYS, "there are more keys than were produced");
        cr_assert(latest[place].key_hash == 0 || latest[place].offset < record->offset,
                  "offset %" PRId64 " ran after offset %" PRId64 " of its key", record->offset, latest[place].offset);
        latest[place].key_hash = record->key_hash;
        latest[place].offset = record->offset;
    }
}

Test(broker_once, no_message_runs_twice_across_kills)
{
    struct weir_stage stage;
    struct weir_member member;
    weir_stage_set(&stage, PARTITIONS, 4 * MESSAGES);
    weir_stage_produce(&stage, MESSAGES, KEYS);
    weir_member_init(&member);
    atomic_store(&member.board->sleep_us, RUN_US);
    for (uint64_t kill = 0; kill <= KILLS; kill++) {
        weir_member_start(&member, &stage, -1, settings_for(&stage, "1500"));
        if (kill < KILLS) {
            WEIR_BROKER_UNTIL(atomic_load(&member.board->finished) > (kill + 1) * MESSAGES / 4);
            weir_member_kill(&member, &stage);
        }
    }
    WEIR_BROKER_UNTIL(weir_stage_committed(&stage) == MESSAGES);
    weir_member_signal(&member, SIGTERM);
    weir_member_join(&member, &stage);
    cr_assert_eq(member.board->code, WEIR_OK, "%s", member.board->error.text);
    cr_assert_eq(member.board->stats.counters.lost_at_most_once, 0u);
    uint64_t lost = count_lost(&stage), bound = KILLS * PARTITIONS * WINDOW;
    fprintf(stderr, "%d messages, %d kills, %" PRIu64 " lost, bound %" PRIu64 "\n", MESSAGES, KILLS, lost, bound);
    cr_assert_gt(lost, 0u, "nothing was committed before it ran");
    cr_assert_leq(lost, bound);
    struct weir_ledger_verdict overlap = weir_ledger_no_overlap(stage.ledger);
    cr_assert(overlap.ok, "%s", overlap.text);
    check_order(&stage);
    weir_member_deinit(&member);
    weir_stage_clear(&stage);
}

/* One member joins under work, and goes again. True if no partition was lost in between: librdkafka lets a commit cross
 * a JoinGroup now and then, is refused, and gives everything up at once. */
static bool join_and_go(void)
{
    struct weir_stage stage;
    struct weir_member stays, goes;
    weir_stage_set(&stage, PARTITIONS, 4 * MESSAGES);
    weir_stage_produce(&stage, MESSAGES, KEYS);
    weir_member_init(&stays);
    weir_member_init(&goes);
    atomic_store(&stays.board->sleep_us, RUN_US);
    atomic_store(&goes.board->sleep_us, RUN_US);
    weir_member_start(&stays, &stage, -1, settings_for(&stage, "10000"));
    WEIR_BROKER_UNTIL(atomic_load(&stays.board->finished) > MESSAGES / 8);
    weir_member_start(&goes, &stage, -1, settings_for(&stage, "10000"));
    WEIR_BROKER_UNTIL(atomic_load(&goes.board->finished) > MESSAGES / 8);
    weir_member_signal(&goes, SIGTERM);
    weir_member_join(&goes, &stage);
    cr_assert_lt(weir_ledger_count_finished(stage.ledger), (uint64_t)MESSAGES, "all was done before it went");
    WEIR_BROKER_UNTIL(weir_stage_committed(&stage) == MESSAGES);
    weir_member_signal(&stays, SIGTERM);
    weir_member_join(&stays, &stage);
    bool in_order = weir_member_log_count(&stays, " lost ") + weir_member_log_count(&goes, " lost ") == 0;
    uint64_t told = stays.board->stats.counters.lost_at_most_once + goes.board->stats.counters.lost_at_most_once;
    uint64_t lost = count_lost(&stage);
    if (lost != told || (in_order && lost > 0)) {
        weir_member_show_log(&stays);
        weir_member_show_log(&goes);
    }
    cr_assert_eq(lost, told, "%" PRIu64 " lost, and %" PRIu64 " counted", lost, told);
    cr_assert(!in_order || lost == 0, "%" PRIu64 " lost although all was given up in order", lost);
    if (in_order)
        weir_stage_check_strictly(&stage);
    weir_member_deinit(&stays);
    weir_member_deinit(&goes);
    weir_stage_clear(&stage);
    return in_order;
}

Test(broker_once, partitions_given_up_in_order_cost_nothing)
{
    bool in_order = false;
    for (int tries = 0; tries < 4 && !in_order; tries++)
        in_order = join_and_go();
    cr_assert(in_order, "a partition was lost each time");
}
