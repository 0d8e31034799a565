/*
 * The small parts of the runtime: checks, allocation faults, random numbers, clocks.
 */
#include "runtime/check.h"
#include "runtime/memory.h"
#include "runtime/random.h"
#include "runtime/seam.h"
#include "tests/support/dies.h"
#include "tests/support/test.h"
#include <stdio.h>

/* ---- check ---- */

static void break_an_invariant(void)
{
    int zero = 0;
    WEIR_CHECK(zero == 1);
}

static void report(void *argument)
{
    fprintf(stderr, "state of %s\n", (const char *)argument);
}

static void break_with_a_hook(void)
{
    static char text[] = "orders/7";
    weir_check_on_failure(report, text);
    break_an_invariant();
}

static void break_again(void *argument)
{
    report(argument);
    break_an_invariant();
}

static void break_within_the_hook(void)
{
    static char text[] = "once";
    weir_check_on_failure(break_again, text);
    break_an_invariant();
}

Test(check, a_broken_invariant_is_named_and_aborts)
{
    cr_assert(weir_test_aborts(break_an_invariant, "zero == 1"));
    cr_assert(weir_test_aborts(break_an_invariant, "runtime_basics.c:"));
    WEIR_CHECK(1 + 1 == 2);
}

Test(check, the_hook_reports_before_the_abort)
{
    cr_assert(weir_test_aborts(break_with_a_hook, "state of orders/7"));
}

Test(check, a_hook_that_breaks_an_invariant_itself_aborts_at_once)
{
    cr_assert(weir_test_aborts(break_within_the_hook, "state of once"));
}

/* ---- memory ---- */

Test(memory, the_chosen_allocation_fails_once)
{
    void *blocks[5];
    weir_memory_fail_after(2);
    for (int i = 0; i < 5; i++)
        blocks[i] = weir_memory_allocate(8);
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(blocks[i] == NULL, i == 2, "allocation %d", i);
        weir_memory_free(blocks[i]);
    }
}

Test(memory, every_kind_of_allocation_can_fail)
{
    weir_memory_fail_after(0);
    cr_assert_null(weir_memory_allocate(1));
    weir_memory_fail_after(0);
    cr_assert_null(weir_memory_allocate_zeroed(1, 1));
    weir_memory_fail_after(0);
    cr_assert_null(weir_memory_copy_text("text"));
    char *text = weir_memory_copy_text("kept");
    cr_assert_str_eq(text, "kept");
    weir_memory_fail_after(0);
    cr_assert_null(weir_memory_resize(text, 1000));
    cr_assert_str_eq(text, "kept", "on failure the old block stays");
    text = weir_memory_resize(text, 1000);
    cr_assert_str_eq(text, "kept");
    weir_memory_free(text);
    weir_memory_free(NULL);
}

Test(memory, a_size_of_zero_is_no_failure)
{
    void *blocks[] = {weir_memory_allocate(0), weir_memory_allocate_zeroed(0, 8), weir_memory_resize(NULL, 0)};
    for (int i = 0; i < 3; i++) {
        cr_assert_not_null(blocks[i]);
        weir_memory_free(blocks[i]);
    }
}

Test(memory, a_product_that_overflows_fails)
{
    volatile size_t huge = SIZE_MAX / 2;
    cr_assert_null(weir_memory_allocate_zeroed(huge, 4));
}

/* ---- random ---- */

Test(random, the_generator_gives_its_published_numbers)
{
    static const uint64_t expected[] = {11520, 0, 1509978240, 1215971899390074240u, 1216172134540287360u};
    struct weir_random random = {{1, 2, 3, 4}};
    for (unsigned i = 0; i < 5; i++)
        cr_assert_eq(weir_random_next(&random), expected[i], "number %u", i);
}

Test(random, the_seeding_gives_its_published_numbers)
{
    struct weir_random random;
    weir_random_init(&random, 1477776061723855037u);
    cr_assert_eq(random.state[0], 1985237415132408290u);
    cr_assert_eq(random.state[1], 2979275885539914483u);
    cr_assert_eq(random.state[2], 13511426838097143398u);
}

Test(random, numbers_below_a_bound_are_uniform)
{
    struct weir_random random;
    unsigned counts[7] = {0};
    weir_random_init(&random, 1);
    for (unsigned i = 0; i < 70000; i++) {
        uint64_t number = weir_random_below(&random, 7);
        cr_assert_lt(number, 7);
        counts[number]++;
    }
    for (unsigned i = 0; i < 7; i++)
        cr_assert(counts[i] > 9600 && counts[i] < 10400, "%u: %u of 70000", i, counts[i]);
    cr_assert_eq(weir_random_below(&random, 0), 0);
    cr_assert_eq(weir_random_below(&random, 1), 0);
}

Test(random, a_huge_bound_is_not_biased_to_its_lower_half)
{
    struct weir_random random;
    unsigned high = 0;
    weir_random_init(&random, 2);
    uint64_t bound = UINT64_MAX / 4 * 3; /* by modulo, numbers below a third of it would come twice as often */
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t number = weir_random_below(&random, bound);
        cr_assert_lt(number, bound);
        high += number >= bound / 2;
    }
    cr_assert(high > 9600 && high < 10400, "%u of 20000 in the upper half", high);
}

/* ---- seam ---- */

Test(seam, the_system_clock_does_not_go_back_and_entropy_varies)
{
    const struct weir_seam *seam = weir_seam_system();
    uint64_t before_ns = seam->now_ns(seam);
    cr_assert_geq(seam->now_ns(seam), before_ns);
    cr_assert_gt(seam->wall_ms(seam), 1600000000000, "after 2020");
    cr_assert_neq(seam->entropy(seam), seam->entropy(seam));
}
