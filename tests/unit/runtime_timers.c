/*
 * Timers against a model: a plain array from which the earliest is picked by search.
 */
#include "runtime/random.h"
#include "runtime/timers.h"
#include "tests/support/dies.h"
#include "tests/support/test.h"

#define COUNT 300

static struct weir_timers timers;
static struct weir_timer nodes[COUNT];
static struct weir_timer *fired[4 * COUNT];
static unsigned fired_count;

/* The model: when each node is due, and its rank in the order of arming. */
static struct {
    bool armed;
    uint64_t due_ns, rank;
} model[COUNT];
static uint64_t rank_next;

static void record(struct weir_timer *timer)
{
    fired[fired_count++ % (4 * COUNT)] = timer;
}

static void prepare(void)
{
    weir_timers_init(&timers);
    for (unsigned i = 0; i < COUNT; i++) {
        weir_timer_init(&nodes[i], record);
        model[i].armed = false;
    }
    fired_count = 0;
    rank_next = 0;
}

static void arm(unsigned index, uint64_t due_ns)
{
    weir_timers_arm(&timers, &nodes[index], due_ns);
    model[index].armed = true;
    model[index].due_ns = due_ns;
    model[index].rank = rank_next++;
}

static void cancel(unsigned index)
{
    weir_timers_cancel(&timers, &nodes[index]);
    model[index].armed = false;
}

/* Index of the earliest in the model, or -1. */
static int model_first(void)
{
    int first = -1;
    for (int i = 0; i < COUNT; i++)
        if (model[i].armed && (first < 0 || model[i].due_ns < model[first].due_ns ||
                               (model[i].due_ns == model[first].due_ns && model[i].rank < model[first].rank)))
            first = i;
    return first;
}

static void expire_both(uint64_t now_ns, unsigned count_max)
{
    unsigned before = fired_count, count = weir_timers_expire(&timers, now_ns, count_max), expected = 0;
    cr_assert_eq(count, fired_count - before);
    for (int first; expected < count_max && (first = model_first()) >= 0 && model[first].due_ns <= now_ns; expected++) {
        cr_assert_lt(expected, count, "%u fired, the model has more", count);
        cr_assert_eq(fired[(before + expected) % (4 * COUNT)], &nodes[first], "wrong timer at place %u", expected);
        model[first].armed = false;
    }
    cr_assert_eq(count, expected);
}

static void check_same(void)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        cr_assert_eq(nodes[i].armed, model[i].armed, "node %u", i);
        count += model[i].armed;
    }
    int first = model_first();
    cr_assert_eq(timers.count, count);
    cr_assert_eq(weir_timers_next_due_ns(&timers), first < 0 ? UINT64_MAX : model[first].due_ns);
}

Test(timers, random_operations_agree_with_a_model)
{
    struct weir_random random;
    unsigned total = 0;
    for (uint64_t seed = 0; seed < weir_test_scaled(40); seed++) {
        weir_random_init(&random, seed);
        prepare();
        uint64_t now_ns = 0, spread = 1 + weir_random_below(&random, 1000); /* a narrow one makes ties */
        for (unsigned i = 0; i < 2000; i++) {
            unsigned index = (unsigned)weir_random_below(&random, COUNT),
                     choice = (unsigned)weir_random_below(&random, 10);
            if (choice < 6 && !model[index].armed)
                arm(index, now_ns + weir_random_below(&random, spread));
            else if (choice < 8)
                cancel(index);
            else
                expire_both(now_ns += weir_random_below(&random, spread / 4 + 2),
                            1 + (unsigned)weir_random_below(&random, 40));
            if (i % 100 == 0)
                check_same();
        }
        expire_both(UINT64_MAX, COUNT);
        check_same();
        cr_assert_eq(timers.count, 0);
        cr_assert_null(timers.root);
        total += fired_count;
    }
    cr_assert_gt(total, 100, "hardly anything fired: the test checks nothing");
}

Test(timers, those_due_at_once_fire_in_the_order_of_arming)
{
    prepare();
    for (unsigned i = 0; i < COUNT; i++)
        arm((i * 7) % COUNT, 5);
    cr_assert_eq(weir_timers_expire(&timers, 4, COUNT), 0);
    expire_both(5, COUNT);
    cr_assert_eq(fired_count, COUNT);
}

Test(timers, no_more_than_the_limit_fire_at_a_time)
{
    prepare();
    for (unsigned i = 0; i < 10; i++)
        arm(i, i);
    expire_both(100, 3);
    cr_assert_eq(fired_count, 3);
    cr_assert_eq(weir_timers_next_due_ns(&timers), 3);
    expire_both(100, 100);
    cr_assert_eq(fired_count, 10);
}

Test(timers, cancelling_one_that_is_not_armed_does_nothing)
{
    prepare();
    arm(0, 1);
    weir_timers_cancel(&timers, &nodes[1]);
    cr_assert_eq(timers.count, 1);
    cancel(0);
    cancel(0);
    cr_assert_eq(timers.count, 0);
    cr_assert_eq(weir_timers_next_due_ns(&timers), UINT64_MAX);
}

static void rearm_and_cancel_next(struct weir_timer *timer)
{
    record(timer);
    weir_timers_cancel(&timers, timer + 1);
    if (fired_count < 5)
        weir_timers_arm(&timers, timer, timer->due_ns + 10);
}

Test(timers, a_callback_may_arm_itself_again_and_cancel_another)
{
    prepare();
    weir_timer_init(&nodes[0], rearm_and_cancel_next);
    weir_timers_arm(&timers, &nodes[0], 10);
    weir_timers_arm(&timers, &nodes[1], 10);
    cr_assert_eq(weir_timers_expire(&timers, 10, COUNT), 1, "the second was cancelled by the first");
    cr_assert_not(nodes[1].armed);
    cr_assert_eq(weir_timers_expire(&timers, 1000, COUNT), 4, "again at 20, 30, 40 and 50");
    cr_assert_eq(nodes[0].due_ns, 50);
    cr_assert_eq(timers.count, 0);
}

static void free_itself(struct weir_timer *timer)
{
    fired_count++;
    free(timer);
}

Test(timers, a_callback_may_free_its_timer)
{
    prepare();
    for (unsigned i = 0; i < 50; i++) {
        struct weir_timer *timer = malloc(sizeof *timer);
        cr_assert_not_null(timer);
        weir_timer_init(timer, free_itself);
        weir_timers_arm(&timers, timer, 50 - i);
    }
    cr_assert_eq(weir_timers_expire(&timers, 50, 100), 50);
    cr_assert_eq(fired_count, 50);
}

/* Armed in falling order the heap is a chain, in rising order one node with all others as its children. */
Test(timers, a_million_in_any_order_need_no_stack)
{
    unsigned count = weir_test_scaled(1000000);
    struct weir_timer *many = calloc(count, sizeof *many);
    cr_assert_not_null(many);
    for (int rising = 0; rising < 2; rising++) {
        prepare();
        for (unsigned i = 0; i < count; i++) {
            weir_timer_init(&many[i], record);
            weir_timers_arm(&timers, &many[i], rising ? i : count - i);
        }
        weir_timers_cancel(&timers, &many[rising ? 0 : count - 1]);
        cr_assert_eq(weir_timers_expire(&timers, UINT64_MAX, UINT32_MAX), count - 1);
        cr_assert_eq(timers.count, 0);
    }
    free(many);
}

static void arm_twice(void)
{
    prepare();
    weir_timers_arm(&timers, &nodes[0], 1);
    weir_timers_arm(&timers, &nodes[0], 2);
}

Test(timers, arming_one_that_is_armed_is_a_broken_invariant)
{
    cr_assert(weir_test_aborts(arm_twice, "!timer->armed"));
}
