/*
 * Levels on workers: who goes first among residents and among roaming actors, that nobody waits for ever, and what is
 * taken back and stolen. See runtime/levels.h and runtime/roaming.c; shares are counted in tests/unit/runtime_levels.c.
 */
#include "runtime/check.h"
#include "runtime/simulation.h"
#include "tests/support/test.h"

enum { MANY = 60 };

struct spinner { /* a resident that is scheduled again by each of its turns */
    struct weir_resident resident;
    unsigned turns, turns_max;
};

struct visitor {
    struct weir_actor actor;
    unsigned level;
};

static struct weir_simulation *simulation;
static struct weir_system *the_system;
static struct spinner spinners[MANY];
static struct visitor visitors[2][MANY];
static uint8_t order[4 * MANY]; /* levels of visitors, as they came */
static unsigned came, turns_of_level[2];

static void spin(struct weir_actor *actor, struct weir_worker *worker)
{
    (void)worker;
    struct spinner *spinner = (struct spinner *)(void *)actor;
    turns_of_level[spinner->resident.level]++;
    if (++spinner->turns < spinner->turns_max)
        weir_resident_notify(&spinner->resident);
}

static void visit(struct weir_actor *actor, struct weir_worker *worker)
{
    (void)worker;
    order[came++] = (uint8_t)((struct visitor *)(void *)actor)->level;
}

static void set(unsigned workers)
{
    came = 0;
    memset(turns_of_level, 0, sizeof turns_of_level);
    simulation = weir_simulation_create(11);
    the_system = weir_simulation_system(simulation, workers, 0);
    cr_assert_eq(weir_system_set_levels(the_system, 2, 10), 0);
}

static void add_spinner(unsigned index, unsigned worker, unsigned level, unsigned turns)
{
    spinners[index] = (struct spinner){.turns_max = turns};
    weir_resident_init(&spinners[index].resident, weir_system_worker(the_system, worker), spin, 0, 0);
    weir_resident_set_level(&spinners[index].resident, level);
    weir_resident_notify(&spinners[index].resident);
}

/* Dispatches all visitors of a level. */
struct starter {
    struct weir_resident resident;
    unsigned level;
};

static void start(struct weir_actor *actor, struct weir_worker *worker)
{
    struct starter *starter = (struct starter *)(void *)actor;
    for (unsigned index = 0; index < MANY; index++) {
        visitors[starter->level][index] = (struct visitor){{.turn = visit}, starter->level};
        weir_worker_dispatch_at(worker, &visitors[starter->level][index].actor, starter->level, 1);
    }
}

static void add_starter(struct starter *starter, unsigned worker, unsigned level)
{
    *starter = (struct starter){.level = level};
    weir_resident_init(&starter->resident, weir_system_worker(the_system, worker), start, 0, 0);
    weir_resident_notify(&starter->resident);
}

static void step(unsigned count)
{
    while (count-- > 0 && weir_simulation_step(simulation))
        ;
}

static unsigned count_of(unsigned level, unsigned from, unsigned to)
{
    unsigned count = 0;
    for (unsigned index = from; index < to && index < came; index++)
        count += order[index] == level;
    return count;
}

Test(levels, of_a_worker_are_taken_in_their_order_with_a_share_for_the_lower)
{
    struct starter low, high;
    set(1);
    add_starter(&low, 1, 1);
    add_starter(&high, 1, 0);
    while (weir_simulation_step(simulation))
        ;
    cr_assert_eq(came, 2u * MANY);
    cr_assert_geq(count_of(0, 0, 50), 43u);
    cr_assert(count_of(1, 5, 55) >= 4 && count_of(1, 5, 55) <= 6, "%u of 50", count_of(1, 5, 55));
    weir_simulation_destroy(simulation);
}

Test(levels, let_roaming_actors_of_a_lower_one_run_though_residents_of_a_higher_never_rest)
{
    struct starter low;
    set(1);
    for (unsigned index = 0; index < 5; index++)
        add_spinner(index, 1, 0, 100000);
    add_starter(&low, 1, 1);
    step(3000);
    cr_assert_eq(came, (unsigned)MANY, "%u of %u have run", came, (unsigned)MANY);
    weir_simulation_destroy(simulation);
}

Test(levels, let_residents_of_a_lower_one_have_turns_though_those_of_a_higher_never_rest)
{
    set(1);
    for (unsigned index = 0; index < 10; index++)
        add_spinner(index, 1, index < 5 ? 0 : 1, 100000);
    step(1000);
    cr_assert(turns_of_level[1] >= 200 && turns_of_level[0] >= 600, "%u and %u turns", turns_of_level[0],
              turns_of_level[1]);
    for (unsigned index = 5; index < 10; index++)
        cr_assert_geq(spinners[index].turns, 40u, "one of the lower had %u turns", spinners[index].turns);
    weir_simulation_destroy(simulation);
}

Test(levels, let_a_resident_of_a_higher_one_that_is_woken_pass_those_that_wait)
{
    set(1);
    for (unsigned index = 1; index < MANY; index++)
        add_spinner(index, 1, 1, 100000);
    step(500);
    add_spinner(0, 1, 0, 1);
    step(2);
    cr_assert_eq(spinners[0].turns, 1u);
    weir_simulation_destroy(simulation);
}

/* ---- taken back ---- */

static struct weir_actor_list withdrawn;

static bool is_even(const struct weir_actor *actor, const void *argument)
{
    const struct visitor *visitor = (const struct visitor *)(const void *)actor;
    (void)argument;
    return (size_t)(visitor - visitors[visitor->level]) % 2 == 0;
}

static void withdraw(struct weir_actor *actor, struct weir_worker *worker)
{
    struct starter low = {.level = 1}, high = {.level = 0};
    (void)actor;
    start(&low.resident.actor, worker);
    start(&high.resident.actor, worker);
    withdrawn = weir_worker_withdraw(worker, is_even, NULL);
}

Test(levels, are_all_taken_back_from_in_their_order)
{
    struct weir_resident resident;
    set(1);
    weir_resident_init(&resident, weir_system_worker(the_system, 1), withdraw, 0, 0);
    weir_resident_notify(&resident);
    while (weir_simulation_step(simulation))
        ;
    cr_assert_eq(withdrawn.count, (size_t)MANY);
    unsigned of_level[2] = {0};
    for (struct weir_actor *actor; (actor = weir_actor_list_take(&withdrawn));) {
        unsigned level = ((struct visitor *)(void *)actor)->level;
        cr_assert_eq((struct visitor *)(void *)actor, &visitors[level][2 * of_level[level]++]);
    }
    cr_assert(of_level[0] == MANY / 2 && of_level[1] == MANY / 2);
    cr_assert_eq(came, (unsigned)MANY, "the others run");
    weir_simulation_destroy(simulation);
}

/* ---- stolen ---- */

/* The first worker is stuck, with what should go first behind it; the other has enough to do of its own. */
Test(levels, are_stolen_from_before_a_worker_takes_of_a_lower_one)
{
    struct starter high, low;
    set(2);
    add_starter(&high, 1, 0);
    step(1);
    weir_simulation_stall(simulation, weir_system_worker(the_system, 1), UINT64_MAX / 2);
    unsigned before = came;
    add_starter(&low, 2, 1);
    step(2 * MANY);
    cr_assert_gt(came - before, (unsigned)MANY);
    /* By the seed it looks at others half of the times. */
    cr_assert_geq(count_of(0, before, before + 40), 12u, "%u of 40 were stolen", count_of(0, before, before + 40));
    const struct weir_worker_stats *stats = weir_worker_stats(weir_system_worker(the_system, 2));
    cr_assert_geq(atomic_load(&stats->steals), 12u);
    weir_simulation_destroy(simulation);
}

Test(levels, may_be_fewer_again_and_a_system_has_one_at_first)
{
    simulation = weir_simulation_create(1);
    the_system = weir_simulation_system(simulation, 2, 3);
    for (unsigned count = 1; count <= WEIR_LEVELS_MAX; count++)
        cr_assert_eq(weir_system_set_levels(the_system, count, 7), 0);
    cr_assert_eq(weir_system_set_levels(the_system, 1, 0), 0);
    came = 0;
    weir_simulation_destroy(simulation);
}
