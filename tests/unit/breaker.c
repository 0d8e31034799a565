/*
 * The circuit breaker by itself: what opens it, when it lets a probe through, what closes it, how long deadlines stand.
 */
#include "actors/breaker.h"
#include "tests/support/test.h"

#define MS UINT64_C(1000000)

static struct weir_breaker breaker;
static struct weir_breaker_totals totals;
static uint64_t now_ms;

static void begin(uint32_t percent, uint64_t runs_min, bool overloaded)
{
    struct weir_breaker_policy policy = {.percent = percent,
                                         .runs_min = runs_min,
                                         .window_ns = 10000 * MS,
                                         .open_ns = 5000 * MS,
                                         .open_ns_max = 30000 * MS,
                                         .opens_when_overloaded = overloaded};
    now_ms = 1000;
    totals = (struct weir_breaker_totals){0};
    weir_breaker_init(&breaker, &policy, now_ms * MS);
}

/* Time passes, runs end; then it is looked at. */
static bool step(uint64_t ms, uint64_t runs, uint64_t failures, bool taken, enum weir_probe answer)
{
    now_ms += ms;
    totals.runs += runs;
    totals.failures += failures;
    return weir_breaker_step(&breaker, now_ms * MS, &totals, taken, answer);
}

static void quiet(uint64_t ms)
{
    for (uint64_t passed = 0; passed < ms; passed += 50)
        cr_assert_not(step(50, 0, 0, false, WEIR_PROBE_UNDER_WAY), "after %llu ms", (unsigned long long)passed);
}

static void open_it(void)
{
    begin(50, 10, false);
    cr_assert(step(50, 10, 5, false, WEIR_PROBE_UNDER_WAY));
    cr_assert_eq(breaker.state, WEIR_BREAKER_STATE_OPEN);
}

Test(breaker, opens_at_its_share_and_not_below)
{
    begin(50, 10, false);
    cr_assert_not(step(50, 100, 49, false, WEIR_PROBE_UNDER_WAY));
    cr_assert(step(50, 2, 2, false, WEIR_PROBE_UNDER_WAY)); /* 51 of 102 */
    cr_assert_eq(breaker.state, WEIR_BREAKER_STATE_OPEN);
}

Test(breaker, does_not_open_for_too_few_runs)
{
    begin(50, 10, false);
    cr_assert_not(step(50, 9, 9, false, WEIR_PROBE_UNDER_WAY));
    cr_assert(step(50, 1, 0, false, WEIR_PROBE_UNDER_WAY));
}

Test(breaker, forgets_what_is_older_than_its_window)
{
    begin(50, 10, false);
    cr_assert_not(step(50, 9, 9, false, WEIR_PROBE_UNDER_WAY));
    quiet(11000);
    cr_assert_eq(weir_breaker_window(&breaker).runs, 0);
    cr_assert_not(step(50, 9, 9, false, WEIR_PROBE_UNDER_WAY));
    cr_assert_not(step(100000, 9, 9, false, WEIR_PROBE_UNDER_WAY), "also after a long absence");
    quiet(8000);
    cr_assert(step(50, 1, 1, false, WEIR_PROBE_UNDER_WAY), "8 s are within the window");
}

Test(breaker, opens_by_one_overloaded_where_it_is_asked_to)
{
    begin(0, 10, true);
    cr_assert_not(step(50, 100, 100, false, WEIR_PROBE_UNDER_WAY), "failures do not open it");
    totals.overloaded++;
    cr_assert(step(50, 1, 1, false, WEIR_PROBE_UNDER_WAY));
    begin(90, 10, false);
    totals.overloaded++;
    cr_assert_not(step(50, 1, 1, false, WEIR_PROBE_UNDER_WAY));
}

Test(breaker, lets_one_probe_through_after_its_delay_and_closes_when_that_succeeds)
{
    open_it();
    quiet(4950);
    cr_assert(step(50, 0, 0, false, WEIR_PROBE_UNDER_WAY));
    cr_assert_eq(breaker.state, WEIR_BREAKER_STATE_PROBE);
    quiet(50);
    cr_assert(step(50, 0, 0, false, WEIR_PROBE_UNDER_WAY), "whoever had the last may take it now");
    cr_assert_eq(breaker.probe, 2);
    quiet(60000); /* nobody has a message */
    cr_assert_eq(breaker.probe, 2);
    cr_assert(step(50, 0, 0, true, WEIR_PROBE_UNDER_WAY));
    cr_assert_eq(breaker.state, WEIR_BREAKER_STATE_PROBING);
    cr_assert(step(50, 30, 29, true, WEIR_PROBE_SUCCEEDED));
    cr_assert_eq(breaker.state, WEIR_BREAKER_STATE_CLOSED);
    cr_assert_not(step(50, 9, 9, false, WEIR_PROBE_UNDER_WAY), "what ended before it closed does not count");
}

Test(breaker, waits_for_twice_as_long_after_each_probe_that_fails_up_to_a_bound)
{
    static const uint64_t delays_ms[] = {5000, 10000, 20000, 30000, 30000};
    open_it();
    for (size_t index = 0; index < sizeof delays_ms / sizeof *delays_ms; index++) {
        quiet(delays_ms[index] - 50);
        cr_assert(step(50, 0, 0, false, WEIR_PROBE_UNDER_WAY));
        cr_assert(step(50, 0, 0, true, WEIR_PROBE_FAILED), "taken and answered between two looks");
        cr_assert_eq(breaker.state, WEIR_BREAKER_STATE_OPEN);
    }
    quiet(29950);
    cr_assert(step(50, 0, 0, false, WEIR_PROBE_UNDER_WAY));
    cr_assert(step(50, 0, 0, true, WEIR_PROBE_SUCCEEDED));
    cr_assert(step(50, 10, 10, false, WEIR_PROBE_UNDER_WAY));
    quiet(4950);
    cr_assert(step(50, 0, 0, false, WEIR_PROBE_UNDER_WAY), "the next time it begins with the first delay");
}

Test(breaker, lets_another_through_when_one_says_nothing_or_takes_too_long)
{
    open_it();
    quiet(4950);
    cr_assert(step(50, 0, 0, false, WEIR_PROBE_UNDER_WAY));
    cr_assert(step(50, 0, 0, true, WEIR_PROBE_VOID));
    cr_assert_eq(breaker.state, WEIR_BREAKER_STATE_PROBE);
    cr_assert_eq(breaker.probe, 2);
    cr_assert(step(50, 0, 0, true, WEIR_PROBE_UNDER_WAY));
    for (unsigned passed = 0; passed < 4950; passed += 50)
        cr_assert_not(step(50, 0, 0, true, WEIR_PROBE_UNDER_WAY));
    cr_assert(step(50, 0, 0, true, WEIR_PROBE_UNDER_WAY));
    cr_assert_eq(breaker.state, WEIR_BREAKER_STATE_PROBE);
    cr_assert_eq(breaker.probe, 3);
}

Test(breaker, deadlines_stand_from_its_opening_to_its_closing)
{
    open_it();
    uint64_t opened_ms = now_ms;
    cr_assert_eq(weir_breaker_stood_ns(&breaker, now_ms * MS), 0);
    quiet(4950);
    cr_assert(step(50, 0, 0, false, WEIR_PROBE_UNDER_WAY));
    cr_assert(step(50, 0, 0, true, WEIR_PROBE_FAILED));
    quiet(9950);
    cr_assert(step(50, 0, 0, false, WEIR_PROBE_UNDER_WAY));
    cr_assert_eq(weir_breaker_stood_ns(&breaker, now_ms * MS), (now_ms - opened_ms) * MS);
    cr_assert(step(50, 0, 0, true, WEIR_PROBE_SUCCEEDED));
    uint64_t stood_ns = (now_ms - opened_ms) * MS;
    cr_assert_eq(weir_breaker_stood_ns(&breaker, now_ms * MS), stood_ns);
    cr_assert_eq(weir_breaker_stood_ns(&breaker, (now_ms + 5000) * MS), stood_ns);
}
