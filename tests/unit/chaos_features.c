/*
 * The verdicts of the chaos harness on features must fail when they should: each test plants one fault into a run that
 * holds. All messages are of partition 3 and of keys a (even offsets) and b.
 */
#include "tests/unit/chaos_play.h"

static void run_rest(struct play *play, int64_t from)
{
    for (int64_t offset = from; offset < MESSAGES; offset++)
        run(play, A, offset);
}

/* ---- F2: states of keys ---- */

static struct weir_ledger_record *state(struct play *play, enum weir_ledger_kind kind, uint32_t number, int64_t offset,
                                        uint32_t attempt)
{
    struct weir_ledger_record *record = put(play, kind, A, offset, 1, 0);
    record->number = number;
    record->attempt = attempt;
    return record;
}

static void begin_states(struct play *play)
{
    begin(play);
    play->terms.states = true;
    emit_all(play);
}

/* A run of key a, or b, that sees its state as the `runs` before have left it. */
static void run_with_state(struct play *play, uint32_t number, int64_t offset, uint32_t runs)
{
    start(play, A, offset);
    state(play, WEIR_LEDGER_STATE_SEEN, number, offset, runs);
    end(play, A, offset);
}

/* States 1 of key a and 2 of key b; what the tests leave to be done from `offset` on. */
static void make_states(struct play *play)
{
    state(play, WEIR_LEDGER_STATE_MADE, 1, 0, 1);
    state(play, WEIR_LEDGER_STATE_MADE, 2, 1, 1);
}

static void see_states(struct play *play, int64_t from, int64_t to)
{
    for (int64_t offset = from; offset < to; offset++)
        run_with_state(play, 1 + (uint32_t)(offset % 2), offset, (uint32_t)(offset / 2));
}

static void end_states(struct play *play)
{
    state(play, WEIR_LEDGER_STATE_ENDED, 1, 0, 1);
    state(play, WEIR_LEDGER_STATE_ENDED, 2, 1, 1);
}

Test(chaos_states, that_are_made_seen_by_each_run_and_ended_hold)
{
    struct play play;
    begin_states(&play);
    play.terms.state_idle_ms = 1000;
    make_states(&play);
    see_states(&play, 0, MESSAGES);
    state(&play, WEIR_LEDGER_STATE_ENDED, 1, 0, 1);
    play.now_ms += 2000;
    state(&play, WEIR_LEDGER_STATE_ENDED, 2, 1, 1);
    conclude(&play);
    must_hold(&play);
    cr_assert_eq(play.result.seen.states_made, 2u);
    cr_assert_eq(play.result.seen.states_ended, 2u);
    cr_assert_eq(play.result.seen.states_idle, 1u);
    cr_assert_eq(play.result.seen.states_seen, (uint64_t)MESSAGES);
}

Test(chaos_states, one_that_is_never_ended_fails_unless_its_process_was_killed)
{
    struct play play;
    begin_states(&play);
    make_states(&play);
    see_states(&play, 0, MESSAGES);
    state(&play, WEIR_LEDGER_STATE_ENDED, 1, 0, 1);
    conclude(&play);
    must_fail(&play, "was never ended");
    begin_states(&play);
    make_states(&play);
    see_states(&play, 0, MESSAGES);
    event(&play, WEIR_EVENT_KILL, A);
    conclude(&play);
    must_hold(&play);
}

Test(chaos_states, one_that_is_ended_twice_fails)
{
    struct play play;
    begin_states(&play);
    make_states(&play);
    see_states(&play, 0, MESSAGES);
    end_states(&play);
    state(&play, WEIR_LEDGER_STATE_ENDED, 2, 1, 1);
    conclude(&play);
    must_fail(&play, "was ended twice");
}

Test(chaos_states, one_that_is_ended_on_another_thread_fails)
{
    struct play play;
    begin_states(&play);
    make_states(&play);
    see_states(&play, 0, MESSAGES);
    state(&play, WEIR_LEDGER_STATE_ENDED, 1, 0, 1);
    state(&play, WEIR_LEDGER_STATE_ENDED, 2, 1, 0);
    conclude(&play);
    must_fail(&play, "on a thread that runs no handlers");
}

Test(chaos_states, one_that_two_epochs_see_fails)
{
    struct play play;
    begin_states(&play);
    make_states(&play);
    see_states(&play, 0, 4);
    put(&play, WEIR_LEDGER_START, A, 4, 2, 0);
    state(&play, WEIR_LEDGER_STATE_SEEN, 1, 4, 2)->note = 2;
    put(&play, WEIR_LEDGER_END, A, 4, 2, WEIR_ACK);
    see_states(&play, 5, MESSAGES);
    end_states(&play);
    conclude(&play);
    must_fail(&play, "of another key or epoch");
}

Test(chaos_states, one_that_is_not_as_the_run_before_left_it_fails)
{
    struct play play;
    begin_states(&play);
    make_states(&play);
    see_states(&play, 0, 5);
    run_with_state(&play, 2, 5, 1);
    end_states(&play);
    conclude(&play);
    must_fail(&play, "not as the run before had left it");
}

Test(chaos_states, a_second_one_of_a_key_fails)
{
    struct play play;
    begin_states(&play);
    make_states(&play);
    see_states(&play, 0, 4);
    state(&play, WEIR_LEDGER_STATE_MADE, 3, 4, 1);
    run_with_state(&play, 3, 4, 0);
    run_with_state(&play, 2, 5, 2);
    end_states(&play);
    state(&play, WEIR_LEDGER_STATE_ENDED, 3, 4, 1);
    conclude(&play);
    must_fail(&play, "was made while its key had another");
}

Test(chaos_states, one_that_ends_beside_a_run_fails)
{
    struct play play;
    begin_states(&play);
    make_states(&play);
    see_states(&play, 0, 5);
    start(&play, A, 5);
    state(&play, WEIR_LEDGER_STATE_SEEN, 2, 5, 2);
    end_states(&play);
    end(&play, A, 5);
    conclude(&play);
    must_fail(&play, "was ended beside a run");
}

Test(chaos_states, one_that_is_seen_after_its_end_fails)
{
    struct play play;
    begin_states(&play);
    make_states(&play);
    see_states(&play, 0, 5);
    end_states(&play);
    run_with_state(&play, 2, 5, 2);
    conclude(&play);
    must_fail(&play, "was seen");
}

/* ---- F3: outputs ---- */

static struct weir_ledger_record *output(struct play *play, uint32_t process, int64_t offset, uint64_t at_ms)
{
    struct weir_ledger_record *record = put(play, WEIR_LEDGER_OUTPUT, process, offset, 1, 0);
    record->monotonic_ns = at_ms * 1000000;
    return record;
}

static void begin_outputs(struct play *play)
{
    begin(play);
    play->terms.outputs = true;
    emit_all(play);
    run_rest(play, 0);
    conclude(play);
}

Test(chaos_outputs, that_are_all_there_in_order_and_in_time_hold)
{
    struct play play;
    begin_outputs(&play);
    for (int64_t offset = 0; offset < MESSAGES; offset++)
        output(&play, A, offset, 1001);
    must_hold(&play);
    cr_assert_eq(play.result.seen.outputs, (uint64_t)MESSAGES);
    cr_assert_eq(play.result.seen.outputs_again, 0u);
}

Test(chaos_outputs, one_that_is_missing_fails)
{
    struct play play;
    begin_outputs(&play);
    for (int64_t offset = 0; offset < MESSAGES; offset++)
        if (offset != 3)
            output(&play, A, offset, 1001);
    must_fail(&play, "offset 3");
    cr_assert_gt(play.result.lost, 0u);
}

Test(chaos_outputs, one_that_came_after_the_commit_fails)
{
    struct play play;
    begin_outputs(&play);
    for (int64_t offset = 0; offset < MESSAGES; offset++)
        output(&play, A, offset, offset == 3 ? play.now_ms + 1000 : 1001);
    must_fail(&play, "what it emitted was not in the log");
    cr_assert_eq(play.result.lost, 1u);
}

Test(chaos_outputs, one_of_a_run_that_failed_or_never_ended_fails)
{
    struct play play;
    begin(&play);
    play.terms.outputs = true;
    emit_all(&play);
    start(&play, A, 0);
    put(&play, WEIR_LEDGER_END, A, 0, 1, WEIR_RETRY);
    put(&play, WEIR_LEDGER_START, A, 0, 1, 0)->attempt = 2;
    put(&play, WEIR_LEDGER_END, A, 0, 1, WEIR_ACK)->attempt = 2;
    run_rest(&play, 1);
    conclude(&play);
    output(&play, A, 0, 1001);
    output(&play, A, 0, 1001)->attempt = 2;
    for (int64_t offset = 1; offset < MESSAGES; offset++)
        output(&play, A, offset, 1001);
    must_fail(&play, "has not ended well");
    begin_outputs(&play);
    for (int64_t offset = 0; offset < MESSAGES; offset++)
        output(&play, A, offset, 1001);
    output(&play, B, 5, 1001);
    must_fail(&play, "has not ended well");
}

Test(chaos_outputs, two_of_a_run_fail)
{
    struct play play;
    begin_outputs(&play);
    for (int64_t offset = 0; offset < MESSAGES; offset++)
        output(&play, A, offset, 1001);
    output(&play, A, 5, 1001);
    must_fail(&play, "has two outputs");
    cr_assert_eq(play.result.seen.outputs_again, 1u);
}

Test(chaos_outputs, in_another_order_than_their_messages_fail_but_not_when_they_come_again)
{
    struct play play;
    begin_outputs(&play);
    output(&play, A, 2, 1001);
    output(&play, A, 0, 1001);
    for (int64_t offset = 1; offset < MESSAGES; offset++)
        if (offset != 2)
            output(&play, A, offset, 1001);
    must_fail(&play, "lies behind");
    cr_assert_eq(play.result.out_of_order, 1u);
    begin(&play);
    play.terms.outputs = true;
    killed_run(&play);
    output(&play, A, 0, 1001);
    output(&play, A, 1, 1001);
    output(&play, A, 2, 1001);
    for (int64_t offset = 1; offset < MESSAGES; offset++)
        output(&play, B, offset, 1001);
    must_hold(&play);
    cr_assert_eq(play.result.seen.outputs_again, 2u);
}

/* ---- F4: filters ---- */

/* 1 is not wanted, 3 too old, 4 stale; the others are handled. */
static void begin_filters(struct play *play)
{
    static const uint32_t classes[MESSAGES] = {
        [1] = WEIR_CLASS_UNWANTED, [3] = WEIR_CLASS_EXPIRED, [4] = WEIR_CLASS_STALE};
    begin(play);
    play->terms.filters = true;
    for (int64_t offset = 0; offset < MESSAGES; offset++)
        put(play, WEIR_LEDGER_EMIT, 1, offset, 0, 0)->number = classes[offset];
}

static void finish_filters(struct play *play)
{
    run(play, A, 5);
    conclude(play);
    put(play, WEIR_LEDGER_LETTER, 1, 3, 0, 0);
}

Test(chaos_filters, that_leave_out_what_they_should_hold)
{
    struct play play;
    begin_filters(&play);
    run(&play, A, 0);
    run(&play, A, 2);
    finish_filters(&play);
    must_hold(&play);
    cr_assert_eq(play.result.seen.unwanted, 1u);
    cr_assert_eq(play.result.seen.expired, 1u);
    cr_assert_eq(play.result.seen.stale, 1u);
    cr_assert_eq(play.result.duplicates + play.result.lost, 0u);
}

Test(chaos_filters, that_let_through_what_is_not_wanted_fail)
{
    struct play play;
    begin_filters(&play);
    run(&play, A, 0);
    run(&play, A, 1);
    run(&play, A, 2);
    finish_filters(&play);
    must_fail(&play, "offset 1 was handled, though a filter");
}

Test(chaos_filters, that_let_through_what_is_too_old_fail)
{
    struct play play;
    begin_filters(&play);
    run(&play, A, 0);
    run(&play, A, 2);
    run(&play, A, 3);
    finish_filters(&play);
    must_fail(&play, "offset 3 was handled, though it is too old");
}

Test(chaos_filters, that_leave_out_what_is_wanted_fail)
{
    struct play play;
    begin_filters(&play);
    run(&play, A, 0);
    finish_filters(&play);
    must_fail(&play, "offset 2 is finished, which it was not");
}

Test(chaos_filters, that_skip_what_is_to_die_fail)
{
    struct play play;
    begin_filters(&play);
    run(&play, A, 0);
    run(&play, A, 2);
    run(&play, A, 5);
    conclude(&play);
    must_fail(&play, "offset 3 is finished, which it was not");
}

Test(chaos_filters, that_let_through_what_is_stale_fail_unless_the_key_is_new_to_them)
{
    struct play play;
    begin_filters(&play);
    run(&play, A, 0);
    run(&play, A, 2);
    run(&play, A, 4);
    finish_filters(&play);
    must_fail(&play, "offset 4 was handled, though its key has had a newer one");
    begin_filters(&play);
    run(&play, A, 0);
    run(&play, A, 2);
    put(&play, WEIR_LEDGER_START, B, 4, 1, 0);
    put(&play, WEIR_LEDGER_END, B, 4, 1, WEIR_ACK);
    finish_filters(&play);
    judge(&play);
    cr_assert_eq(play.result.seen.stale_handled, 1u);
    cr_assert(strstr(play.result.text, "vacuous") != NULL, "%s", play.result.text); /* nothing was left out as stale */
}

Test(chaos_filters, that_leave_out_as_stale_what_has_none_before_it_fail)
{
    struct play play;
    begin(&play);
    play.terms.filters = true;
    for (int64_t offset = 0; offset < MESSAGES; offset++)
        put(&play, WEIR_LEDGER_EMIT, 1, offset, 0, 0)->number = offset == 0 ? WEIR_CLASS_STALE : WEIR_CLASS_WANTED;
    run_rest(&play, 1);
    conclude(&play);
    must_fail(&play, "offset 0 was left out as stale");
}

Test(chaos_filters, letters_of_what_is_not_too_old_fail)
{
    struct play play;
    begin_filters(&play);
    run(&play, A, 0);
    run(&play, A, 2);
    finish_filters(&play);
    put(&play, WEIR_LEDGER_LETTER, 1, 1, 0, 0);
    must_fail(&play, "offset 1 has a dead letter");
}

/* ---- F5: rates ---- */

Test(chaos_rates, of_processes_and_keys_are_judged_by_when_runs_start)
{
    struct play play;
    for (unsigned round = 0; round < 4; round++) {
        bool fast = round % 2, of_keys = round / 2;
        begin(&play);
        play.terms.rate = (struct weir_chaos_rate){of_keys ? 0 : 1, of_keys ? 1 : 0, 100};
        emit_all(&play);
        for (int64_t offset = 0; offset < MESSAGES; offset++) {
            run(&play, A, offset);
            play.now_ms += fast ? 10 : of_keys ? 500 : 1000;
        }
        conclude(&play);
        if (fast)
            must_fail(&play, "ahead of its rate of 1 a second");
        else
            must_hold(&play);
        cr_assert_eq(play.result.seen.rate_runs_max, of_keys ? MESSAGES / 2u : (uint64_t)MESSAGES);
    }
}

/* ---- F6: attempts ---- */

static void attempt(struct play *play, uint32_t process, uint64_t epoch, uint32_t number, unsigned outcome)
{
    put(play, WEIR_LEDGER_START, process, 0, epoch, 0)->attempt = number;
    put(play, WEIR_LEDGER_END, process, 0, epoch, outcome)->attempt = number;
}

static void begin_attempts(struct play *play)
{
    begin(play);
    play->terms.spares_attempts = true;
    emit_all(play);
}

Test(chaos_attempts, one_burnt_in_each_assignment_holds)
{
    struct play play;
    begin_attempts(&play);
    attempt(&play, A, 1, 1, WEIR_RETRY);
    attempt(&play, A, 1, 2, WEIR_RETRY); /* a probe */
    attempt(&play, A, 1, 2, WEIR_OVERLOADED);
    attempt(&play, A, 2, 2, WEIR_RETRY);
    attempt(&play, B, 1, 3, WEIR_ACK);
    for (int64_t offset = 1; offset < MESSAGES; offset++)
        run(&play, B, offset);
    conclude(&play);
    must_hold(&play);
    cr_assert_eq(play.result.seen.failures, 4u);
    cr_assert_eq(play.result.seen.attempt_max, 3u);
}

Test(chaos_attempts, two_burnt_in_one_assignment_fail)
{
    struct play play;
    begin_attempts(&play);
    attempt(&play, A, 1, 1, WEIR_RETRY);
    attempt(&play, A, 1, 2, WEIR_RETRY);
    attempt(&play, A, 1, 3, WEIR_ACK);
    run_rest(&play, 1);
    conclude(&play);
    must_fail(&play, "at its attempt 3");
}

Test(chaos_attempts, one_burnt_by_an_overload_or_an_escalation_fails)
{
    static const unsigned outcomes[] = {WEIR_OVERLOADED, WEIR_ESCALATE};
    struct play play;
    for (unsigned index = 0; index < 2; index++) {
        begin_attempts(&play);
        attempt(&play, A, 1, 1, outcomes[index]);
        attempt(&play, A, 1, 2, WEIR_ACK);
        run_rest(&play, 1);
        conclude(&play);
        must_fail(&play, "at its attempt 2");
    }
}

/* ---- deaths of their own ---- */

Test(chaos_features, a_crash_is_a_disturbance_and_leaves_what_it_had_for_the_next)
{
    struct play play;
    begin(&play);
    emit_all(&play);
    run(&play, A, 0);
    start(&play, A, 1);
    event(&play, WEIR_EVENT_CRASH, A);
    put(&play, WEIR_LEDGER_GONE, A, 0, 0, 0);
    for (int64_t offset = 0; offset < MESSAGES; offset++)
        run(&play, B, offset);
    commit(&play, MESSAGES);
    must_hold(&play);
    cr_assert_eq(play.result.disturbances, 1u);
    cr_assert_eq(play.result.duplicates, 1u);
    cr_assert_eq(play.result.overlaps, 0u);
}
