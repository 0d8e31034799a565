/*
 * The verdicts of the chaos harness must fail when they should: each test plants one fault into a clean run.
 */
#include "actors/map.h"
#include "tests/unit/chaos_play.h"

Test(chaos_verdicts, a_clean_run_with_a_kill_holds_and_its_duplicates_are_at_their_bound)
{
    struct play play;
    begin(&play);
    killed_run(&play);
    must_hold(&play);
    cr_assert_eq(play.result.messages, (uint64_t)MESSAGES);
    cr_assert_eq(play.result.disturbances, 1u);
    cr_assert_eq(play.result.duplicates, 2u);
    cr_assert_eq(play.result.duplicates_bound, 2u);
    cr_assert_eq(play.result.recovery_ms, 2u);
    cr_assert_eq(play.result.lost + play.result.out_of_order + play.result.overlaps, 0u);
}

Test(chaos_verdicts, a_message_that_was_never_finished_fails)
{
    struct play play;
    begin(&play);
    emit_all(&play);
    event(&play, WEIR_EVENT_OTHER, 0);
    for (int64_t offset = 0; offset < MESSAGES - 1; offset++)
        run(&play, A, offset);
    commit(&play, MESSAGES - 1);
    must_fail(&play, "never finished");
    cr_assert_eq(play.result.lost, 0u); /* it is above the floor: it would come again */
}

Test(chaos_verdicts, a_committed_message_that_was_never_finished_is_lost)
{
    struct play play;
    begin(&play);
    emit_all(&play);
    event(&play, WEIR_EVENT_OTHER, 0);
    for (int64_t offset = 0; offset < MESSAGES; offset++)
        if (offset != 2)
            run(&play, A, offset);
    commit(&play, MESSAGES);
    must_fail(&play, "offset 2 is finished, which it was not");
    cr_assert_eq(play.result.lost, 1u);
}

Test(chaos_verdicts, a_commit_ahead_of_its_message_fails_though_the_message_is_finished_later)
{
    struct play play;
    begin(&play);
    emit_all(&play);
    event(&play, WEIR_EVENT_OTHER, 0);
    run(&play, A, 0);
    start(&play, A, 1);
    commit(&play, 2);
    end(&play, A, 1);
    for (int64_t offset = 2; offset < MESSAGES; offset++)
        run(&play, A, offset);
    commit(&play, MESSAGES);
    must_fail(&play, "offset 1 is finished, which it was not");
}

Test(chaos_verdicts, a_map_that_tells_too_much_fails)
{
    struct play play;
    char text[512];
    int64_t map_end;
    struct weir_map_offset unfinished = {.offset = 0};
    struct weir_map_log log = {7, -1};
    struct weir_map_witness witness = {1, 42};
    begin(&play);
    emit_all(&play);
    event(&play, WEIR_EVENT_OTHER, 0);
    start(&play, A, 0);
    run(&play, A, 1);
    cr_assert_gt(weir_map_encode(0, 4, &unfinished, 1, &log, &witness, text, sizeof text, &map_end), 0u);
    commit(&play, 0);
    play.commits[0].metadata = text; /* tells of 1, 2 and 3; only 1 is finished */
    end(&play, A, 0);
    for (int64_t offset = 2; offset < MESSAGES; offset++)
        run(&play, A, offset);
    commit(&play, MESSAGES);
    must_fail(&play, "offset 2 is finished, which it was not");
    cr_assert_eq(play.result.lost, 2u);
}

Test(chaos_verdicts, a_message_of_a_key_before_the_one_below_fails)
{
    struct play play;
    begin(&play);
    emit_all(&play);
    event(&play, WEIR_EVENT_OTHER, 0);
    run(&play, A, 0);
    run(&play, A, 4); /* 2 is of the same key */
    for (int64_t offset = 1; offset < MESSAGES; offset++)
        if (offset != 4)
            run(&play, A, offset);
    commit(&play, MESSAGES);
    must_fail(&play, "offset 2 started after offset 4");
    cr_assert_eq(play.result.out_of_order, 1u);
}

Test(chaos_verdicts, a_message_that_starts_before_the_retries_of_the_one_below_are_over_fails)
{
    struct play play;
    begin(&play);
    emit_all(&play);
    event(&play, WEIR_EVENT_OTHER, 0);
    start(&play, A, 0);
    put(&play, WEIR_LEDGER_END, A, 0, 1, WEIR_RETRY);
    run(&play, A, 2);
    run(&play, A, 0);
    for (int64_t offset = 1; offset < MESSAGES; offset++)
        if (offset != 2)
            run(&play, A, offset);
    commit(&play, MESSAGES);
    must_fail(&play, "offset 2 started before the end of offset 0");
}

Test(chaos_verdicts, the_next_owner_may_begin_again_below)
{
    struct play play;
    begin(&play);
    emit_all(&play);
    for (int64_t offset = 0; offset < 4; offset++)
        run(&play, A, offset);
    event(&play, WEIR_EVENT_KILL, A);
    put(&play, WEIR_LEDGER_GONE, A, 0, 0, 0);
    for (int64_t offset = 0; offset < MESSAGES; offset++)
        run(&play, B, offset);
    commit(&play, MESSAGES);
    must_hold(&play);
    cr_assert_eq(play.result.duplicates, 4u);
}

/* A's run of 0 is open for `open_ms` when B starts 2, of the same key. */
static void overlapping_run(struct play *play, uint64_t open_ms)
{
    emit_all(play);
    event(play, WEIR_EVENT_OTHER, 0);
    start(play, A, 0);
    play->now_ms += open_ms;
    run(play, B, 0);
    run(play, B, 2);
    end(play, A, 0);
    for (int64_t offset = 1; offset < MESSAGES; offset++)
        if (offset != 2)
            run(play, B, offset);
    commit(play, MESSAGES);
}

Test(chaos_verdicts, two_processes_in_a_key_fail)
{
    struct play play;
    begin(&play);
    overlapping_run(&play, 100);
    must_fail(&play, "of its key was running");
    cr_assert_eq(play.result.overlaps, 1u);
}

Test(chaos_verdicts, a_run_that_outlived_the_drain_is_a_straggler)
{
    struct play play;
    begin(&play);
    overlapping_run(&play, DRAIN_MS + 1);
    must_hold(&play);
    cr_assert_eq(play.result.stragglers, 1u);
    cr_assert_eq(play.result.overlaps, 0u);
}

Test(chaos_verdicts, a_run_of_a_process_that_was_stopped_is_counted_apart)
{
    struct play play;
    begin(&play);
    event(&play, WEIR_EVENT_STOP, A);
    overlapping_run(&play, 100);
    must_hold(&play);
    cr_assert_eq(play.result.overlaps_involuntary, 1u);
    cr_assert_eq(play.result.overlaps, 0u);
}

Test(chaos_verdicts, two_runs_of_a_key_in_one_process_fail_however_long_they_take)
{
    struct play play;
    begin(&play);
    emit_all(&play);
    event(&play, WEIR_EVENT_STOP, A);
    start(&play, A, 0);
    play.now_ms += 2 * DRAIN_MS;
    run(&play, A, 2);
    end(&play, A, 0);
    for (int64_t offset = 1; offset < MESSAGES; offset++)
        if (offset != 2)
            run(&play, A, offset);
    commit(&play, MESSAGES);
    must_fail(&play, "offset 2 started before the end of offset 0");
    cr_assert_eq(play.result.overlaps, 1u);
}

Test(chaos_verdicts, a_duplicate_of_what_a_commit_had_told_fails)
{
    struct play play;
    begin(&play);
    emit_all(&play);
    for (int64_t offset = 0; offset < 4; offset++)
        run(&play, A, offset);
    commit(&play, 4);
    event(&play, WEIR_EVENT_KILL, A);
    put(&play, WEIR_LEDGER_GONE, A, 0, 0, 0);
    for (int64_t offset = 3; offset < MESSAGES; offset++)
        run(&play, B, offset);
    commit(&play, MESSAGES);
    must_fail(&play, "1 duplicates: what was in flight or not told by commits is 0");
}

Test(chaos_verdicts, a_message_finished_twice_by_one_owner_fails)
{
    struct play play;
    begin(&play);
    killed_run(&play);
    run(&play, B, MESSAGES - 1);
    must_fail(&play, "3 duplicates");
}

Test(chaos_verdicts, a_floor_that_stands_still_while_there_is_work_fails)
{
    struct play play;
    begin(&play);
    emit_all(&play);
    event(&play, WEIR_EVENT_WATCH, 0);
    event(&play, WEIR_EVENT_OTHER, 0);
    run(&play, A, 0);
    commit(&play, 1);
    play.now_ms += 31000;
    for (int64_t offset = 1; offset < MESSAGES; offset++)
        run(&play, A, offset);
    commit(&play, MESSAGES);
    must_fail(&play, "no floor advanced for 31");
}

Test(chaos_verdicts, a_floor_may_stand_still_where_nothing_is_left_to_do)
{
    struct play play;
    begin(&play);
    emit_all(&play);
    event(&play, WEIR_EVENT_WATCH, 0);
    event(&play, WEIR_EVENT_OTHER, 0);
    for (int64_t offset = 0; offset < MESSAGES; offset++)
        run(&play, A, offset);
    commit(&play, MESSAGES);
    play.now_ms += 90000;
    event(&play, WEIR_EVENT_UNWATCH, 0);
    must_hold(&play);
    cr_assert_lt(play.result.longest_stall_ms, 100u);
}

Test(chaos_verdicts, a_run_without_its_disturbances_is_vacuous)
{
    struct play play;
    begin(&play);
    killed_run(&play);
    play.terms.disturbances = 2;
    must_fail(&play, "vacuous: 1 disturbances");
}

Test(chaos_verdicts, a_run_with_fewer_messages_than_intended_is_vacuous)
{
    struct play play;
    begin(&play);
    killed_run(&play);
    play.terms.messages = MESSAGES + 1;
    must_fail(&play, "vacuous: 6 messages");
}

Test(chaos_verdicts, a_run_without_commits_is_vacuous)
{
    struct play play;
    begin(&play);
    killed_run(&play);
    play.history.count = 0;
    must_fail(&play, "committed nothing");
}

Test(chaos_verdicts, a_dead_letter_finishes_its_message_and_a_second_one_is_a_duplicate)
{
    struct play play;
    begin(&play);
    emit_all(&play);
    event(&play, WEIR_EVENT_OTHER, 0);
    for (int64_t offset = 0; offset < MESSAGES; offset++) {
        start(&play, A, offset);
        put(&play, WEIR_LEDGER_END, A, offset, 1, offset == 2 ? WEIR_DEAD : WEIR_ACK);
    }
    commit(&play, MESSAGES);
    put(&play, WEIR_LEDGER_LETTER, 1, 2, 0, 0);
    put(&play, WEIR_LEDGER_LETTER, 1, 2, 0, 0);
    must_fail(&play, "1 duplicates");
    cr_assert_eq(play.result.lost, 0u);
}

Test(chaos_verdicts, a_dead_message_without_a_letter_is_lost)
{
    struct play play;
    begin(&play);
    emit_all(&play);
    event(&play, WEIR_EVENT_OTHER, 0);
    for (int64_t offset = 0; offset < MESSAGES; offset++) {
        start(&play, A, offset);
        put(&play, WEIR_LEDGER_END, A, offset, 1, offset == 2 ? WEIR_DEAD : WEIR_ACK);
    }
    commit(&play, MESSAGES);
    must_fail(&play, "offset 2 is finished, which it was not");
}

Test(chaos_verdicts, what_a_strangers_commit_passes_over_is_nobodys_loss)
{
    struct play play;
    begin(&play);
    emit_all(&play);
    run(&play, A, 0);
    commit(&play, 1);
    event(&play, WEIR_EVENT_OTHER, 0);
    commit(&play, 3);
    play.commits[1].stranger = true;
    for (int64_t offset = 3; offset < MESSAGES; offset++)
        run(&play, B, offset);
    commit(&play, MESSAGES);
    must_hold(&play);
}

Test(chaos_verdicts, a_strangers_commit_beyond_the_log_passes_over_nothing)
{
    struct play play;
    begin(&play);
    emit_all(&play);
    run(&play, A, 0);
    commit(&play, 1);
    event(&play, WEIR_EVENT_OTHER, 0);
    commit(&play, 1000);
    play.commits[1].stranger = true;
    for (int64_t offset = 3; offset < MESSAGES; offset++)
        run(&play, B, offset);
    commit(&play, MESSAGES);
    must_fail(&play, "offset 1 is finished, which it was not");
    cr_assert_eq(play.result.lost, 2u);
}

Test(chaos_verdicts, floors_that_move_back_are_counted)
{
    struct play play;
    begin(&play);
    killed_run(&play);
    commit(&play, 2);
    must_hold(&play);
    cr_assert_eq(play.result.moved_back, 1u);
}

Test(chaos_verdicts, sums_keep_the_first_fault_and_the_worst_times)
{
    struct weir_chaos_result sum = {.ok = true}, good = {.ok = true, .runs = 1, .recovery_ms = 7, .duplicates = 2};
    struct weir_chaos_result bad = {.runs = 1, .recovery_ms = 3, .text = "broken"};
    weir_chaos_add(&sum, &good);
    cr_assert(sum.ok);
    weir_chaos_add(&sum, &bad);
    weir_chaos_add(&sum, &good);
    cr_assert_not(sum.ok);
    cr_assert_str_eq(sum.text, "broken");
    cr_assert_eq(sum.runs, 3u);
    cr_assert_eq(sum.recovery_ms, 7u);
    cr_assert_eq(sum.duplicates, 4u);
}
