/*
 * Goal: commits tell the truth about gaps. After a restart come those messages that were not finished, and no others;
 * after a kill at most what was in flight, what was finished since the last acknowledged commit, and what did not fit
 * into its map.
 * Method: rules put chosen messages off for a day, so that they hold the floor down while everything else is finished;
 * a second consumer of the group then shows what it is given. What the group has committed is read back and decoded
 * here, independently of the consumer that acts on it.
 */
#include "actors/map.h"
#include "tests/broker/stage.h"
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DAY_MS = 24 * 60 * 60 * 1000 };

/* ---- three messages of ten thousand ---- */

enum { MESSAGES = 10000, KEYS = 2000, PARTITIONS = 4, HELD = 3 };

static const char *const held_values[HELD] = {"17", "4242", "7001"};

static bool is_held(const struct weir_message *message)
{
    bool held = false;
    for (size_t index = 0; index < HELD; index++)
        held |= weir_message_value_size(message) == strlen(held_values[index]) &&
                memcmp(weir_message_value(message), held_values[index], strlen(held_values[index])) == 0;
    return held;
}

/* Only later messages of their keys wait behind them. */
static enum weir_outcome put_off(struct weir_subject *subject, struct weir_message *message)
{
    return is_held(message) ? weir_retry_after(message, DAY_MS, "put off by the test") : WEIR_ACK;
}

struct later {
    struct weir_later handles[HELD];
    _Atomic unsigned count;
};

static enum weir_outcome give_out(struct weir_subject *subject, struct weir_message *message)
{
    struct later *later = subject->user;
    if (!is_held(message))
        return WEIR_ACK;
    unsigned place = atomic_fetch_add(&later->count, 1);
    if (place < HELD)
        later->handles[place] = weir_message_later(message);
    else
        atomic_fetch_add(&subject->wrong, 1);
    return place < HELD ? WEIR_LATER : WEIR_ACK;
}

struct second_run {
    uint32_t attempts_min;
    _Atomic uint64_t held, others;
};

static enum weir_outcome see_again(struct weir_subject *subject, struct weir_message *message)
{
    struct second_run *run = subject->user;
    atomic_fetch_add(is_held(message) ? &run->held : &run->others, 1);
    if (is_held(message) && weir_message_attempt(message) < run->attempts_min)
        atomic_fetch_add(&subject->wrong, 1);
    return WEIR_ACK;
}

/* What must come again: the held messages and those of their keys behind them. */
static uint64_t behind(const struct weir_stage *stage)
{
    uint64_t count = 0;
    for (uint64_t number = 0; number < stage->produced; number++)
        for (size_t index = 0; index < HELD; index++) {
            uint64_t held = strtoull(held_values[index], NULL, 10);
            count += number > held && number % KEYS == held % KEYS;
        }
    return count;
}

static void check_second_run(struct weir_stage *stage, uint32_t attempts_min)
{
    struct second_run run = {.attempts_min = attempts_min};
    struct weir_subject subject = {.ledger = stage->ledger, .rule = see_again, .user = &run};
    const uint64_t expected = HELD + behind(stage);
    weir_subject_start(&subject, WEIR_STAGE_SETTINGS(stage, "weir.window.messages.max", "8192"));
    WEIR_BROKER_UNTIL(weir_subject_stats(&subject).counters.acked >= expected);
    WEIR_BROKER_UNTIL(weir_stage_committed(stage) == MESSAGES); /* so nothing more can come */
    cr_assert_eq(weir_subject_close(&subject), WEIR_OK, "%s", subject.closed_error.text);
    struct weir_stats stats = weir_subject_stats(&subject);
    cr_assert_eq(atomic_load(&run.held), (uint64_t)HELD);
    cr_assert_eq(atomic_load(&run.others), behind(stage));
    cr_assert_eq(stats.counters.consumed, expected);
    cr_assert_gt(stats.counters.restored, 1000u, "the map left nothing out of the second run");
    cr_assert_eq(atomic_load(&subject.wrong), 0u);
    cr_assert(weir_subject_adds_up(&subject));
    weir_subject_destroy(&subject);
}

Test(broker_restart, three_unfinished_of_ten_thousand_come_again_and_nothing_else)
{
    struct weir_stage stage;
    weir_stage_set(&stage, PARTITIONS, 4 * MESSAGES);
    weir_stage_produce(&stage, MESSAGES, KEYS);
    struct weir_subject subject = {.ledger = stage.ledger, .rule = put_off};
    uint64_t expected = MESSAGES - HELD - behind(&stage);
    weir_subject_start(&subject, WEIR_STAGE_SETTINGS(&stage, "weir.window.messages.max", "8192"));
    WEIR_BROKER_UNTIL(weir_subject_stats(&subject).counters.acked == expected);
    cr_assert_eq(weir_subject_close(&subject), WEIR_UNFINISHED);
    cr_assert_eq(HELD + behind(&stage), 10u); /* 17 has 4 behind it, 4242 has 2, 7001 has 1 */
    cr_assert_not_null(strstr(subject.closed_error.text, "10 messages"), "%s", subject.closed_error.text);
    cr_assert(weir_subject_adds_up(&subject));
    weir_subject_destroy(&subject);
    cr_assert_lt(weir_stage_committed(&stage), MESSAGES);

    check_second_run(&stage, 2); /* the attempt that failed is in the map, too */
    weir_stage_check_strictly(&stage);
    weir_stage_clear(&stage);
}

Test(broker_restart, messages_given_out_by_later_and_not_answered_come_again_after_the_close)
{
    struct weir_stage stage;
    struct later later = {.count = 0};
    weir_stage_set(&stage, PARTITIONS, 4 * MESSAGES);
    weir_stage_produce(&stage, MESSAGES, KEYS);
    struct weir_subject subject = {.ledger = stage.ledger, .rule = give_out, .user = &later};
    weir_subject_start(&subject, WEIR_STAGE_SETTINGS(&stage, "weir.close.drain.ms.max", "300"));
    WEIR_BROKER_UNTIL(weir_subject_stats(&subject).counters.acked == MESSAGES - HELD - behind(&stage));
    cr_assert_eq(atomic_load(&later.count), (unsigned)HELD);
    cr_assert_eq(weir_subject_close(&subject), WEIR_UNFINISHED);
    cr_assert_not_null(strstr(subject.closed_error.text, "10 messages"), "%s", subject.closed_error.text);
    for (size_t index = 0; index < HELD; index++)
        cr_assert_eq(weir_later_finish(later.handles[index], WEIR_ACK), WEIR_STALE);
    cr_assert(weir_subject_adds_up(&subject));
    cr_assert_eq(weir_subject_stats(&subject).stragglers, (uint64_t)HELD);
    weir_subject_destroy(&subject);

    check_second_run(&stage, 1);
    weir_stage_clear(&stage);
}

/* ---- a kill with two million finished above a hundred held ---- */

enum { LOTS = 2000000, MORE = 200000, LANES = 4, HELD_EACH = 25 };

/* Does the commit of this partition say that the offset is finished? */
struct told {
    int64_t floor;
    struct weir_map map; /* end 0: none */
};

static bool is_told(const struct told *told, int64_t offset)
{
    return offset < told->floor || (offset < told->map.end && weir_map_is_finished(&told->map, offset));
}

static void read_told(const struct weir_stage *stage, int32_t partition, struct told *told)
{
    static char metadata[WEIR_MAP_SIZE_MAX];
    *told = (struct told){
        .floor = weir_broker_committed(stage->group.text, stage->topic.text, partition, metadata, sizeof metadata)};
    cr_assert_geq(told->floor, 0);
    struct weir_map_log any = {0, -1};
    int verdict = weir_map_decode(metadata, strlen(metadata), told->floor, &any, &told->map);
    cr_assert_eq(verdict, WEIR_MAP_VALID, "the map of partition %d: %s", (int)partition,
                 weir_map_verdict_name(verdict));
}

struct tally {
    uint64_t finished, told, rerun, rerun_although_told;
};

static const struct weir_member_mark *mark_at(const struct weir_member_marks *marks, int32_t partition, int64_t offset)
{
    return &marks->marks[partition * marks->stride + offset];
}

/* What was finished before the kill, and what of that the commits tell. */
static void tally_kill(const struct weir_member_marks *marks, const struct told told[LANES], uint8_t *finished,
                       struct tally *tally)
{
    for (int32_t partition = 0; partition < LANES; partition++)
        for (int64_t offset = 0; offset < marks->stride; offset++) {
            bool done = atomic_load(&mark_at(marks, partition, offset)->finishes) > 0;
            bool known = is_told(&told[partition], offset);
            finished[partition * marks->stride + offset] = done;
            cr_assert(done || !known, "partition %d offset %lld is told as finished, and is not", (int)partition,
                      (long long)offset);
            tally->finished += done;
            tally->told += known;
        }
}

/* What of it has run once more. */
static void tally_rerun(const struct weir_member_marks *marks, const struct told told[LANES], const uint8_t *finished,
                        struct tally *tally)
{
    for (int32_t partition = 0; partition < LANES; partition++)
        for (int64_t offset = 0; offset < marks->stride; offset++) {
            uint8_t count = atomic_load(&mark_at(marks, partition, offset)->finishes);
            cr_assert_geq(count, 1, "partition %d offset %lld is lost", (int)partition, (long long)offset);
            bool again = finished[partition * marks->stride + offset] && count > 1;
            tally->rerun += again;
            tally->rerun_although_told += again && is_told(&told[partition], offset);
        }
}

Test(broker_restart, a_kill_costs_no_more_than_what_no_acknowledged_commit_tells)
{
    struct weir_stage stage;
    struct weir_member member;
    struct told told[LANES];
    struct tally tally = {0};
    int marks_descriptor;
    weir_stage_set(&stage, LANES, 0);
    weir_stage_produce(&stage, LOTS + MORE, 0);
    struct weir_member_marks *marks = weir_member_marks_create(LANES, (LOTS + MORE) / LANES, &marks_descriptor);
    uint8_t *finished = calloc((size_t)LANES, (size_t)marks->stride);
    weir_member_init(&member);
    atomic_store(&member.board->hold_below, HELD_EACH);
    /* commits by the interval alone, so that the board's figure for the last but one is right */
    const char *const *settings =
        WEIR_STAGE_SETTINGS(&stage, "weir.commit.interval.ms", "100", "weir.commit.messages.max", "0",
                            "session.timeout.ms", "1500", "weir.log.level", "warn");
    weir_member_start(&member, &stage, marks_descriptor, settings);
    WEIR_BROKER_UNTIL(atomic_load(&member.board->finished) >= LOTS);
    weir_member_kill(&member, &stage);
    uint64_t since = atomic_load(&member.board->finished) - atomic_load(&member.board->told);
    for (int32_t partition = 0; partition < LANES; partition++)
        read_told(&stage, partition, &told[partition]);
    tally_kill(marks, told, finished, &tally);
    cr_assert_geq(tally.finished, (uint64_t)LOTS);
    for (int32_t partition = 0; partition < LANES; partition++)
        cr_assert_eq(told[partition].floor, 0, "the held messages did not hold the floor");

    atomic_store(&member.board->hold_below, 0);
    weir_member_start(&member, &stage, marks_descriptor, settings);
    WEIR_BROKER_UNTIL(weir_stage_committed(&stage) == LOTS + MORE);
    weir_member_signal(&member, SIGTERM);
    weir_member_join(&member, &stage);
    cr_assert_eq(member.board->code, WEIR_OK, "%s", member.board->error.text);
    tally_rerun(marks, told, finished, &tally);
    uint64_t untold = tally.finished - tally.told;
    fprintf(stderr,
            "%" PRIu64 " finished before the kill, of which commits did not tell %" PRIu64 "; run again: %" PRIu64
            "; bound, finished since the commits before: %" PRIu64 "\n",
            tally.finished, untold, tally.rerun, since);
    cr_assert_eq(tally.rerun_although_told, 0u);
    cr_assert_leq(tally.rerun, untold);
    cr_assert_leq(untold, since + LANES); /* a run may have marked its message and not counted it */
    cr_assert_lt(since, tally.finished, "no commit came before the last but one: the bound means nothing");
    cr_assert_gt(tally.told, 0u, "no map told anything");
    cr_assert_eq(atomic_load(&marks->strangers), 0u);
    for (int32_t partition = 0; partition < LANES; partition++)
        weir_map_deinit(&told[partition].map);
    free(finished);
    close(marks_descriptor);
    weir_member_deinit(&member);
    weir_stage_clear(&stage);
}
