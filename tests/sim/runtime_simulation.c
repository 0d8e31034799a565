/*
 * The simulator: determinism, time, events, and that the orders it tries are many.
 */
#include "runtime/check.h"
#include "runtime/memory.h"
#include "runtime/simulation.h"
#include "tests/support/test.h"
#include <weir/message.h>

#define MS 1000000u

/* ---- a small world: owners on several workers, roaming actors, timers, events ---- */

#define OWNERS  4
#define ROAMERS 8

struct world;

struct roamer {
    struct weir_actor actor;
    struct weir_mail mail;
    struct owner *owner;
    unsigned number;
};

struct owner {
    struct weir_resident resident;
    struct world *world;
    struct weir_timer timer;
    struct roamer roamers[ROAMERS];
    unsigned out, runs, ticks;
};

struct world {
    struct weir_simulation *simulation;
    struct weir_system *system;
    struct owner owners[OWNERS];
    unsigned runs_max, roamed, observed, elsewhere;
    uint64_t trace; /* of the order in which actors ran, told by their own numbers */
};

static void note(struct world *world, uint64_t what)
{
    world->trace = (world->trace ^ what) * 0x100000001b3u;
}

static void roamer_turn(struct weir_actor *actor, struct weir_worker *worker)
{
    struct roamer *roamer = (struct roamer *)(void *)actor;
    struct world *world = roamer->owner->world;
    world->roamed++;
    world->elsewhere += worker != roamer->owner->resident.home;
    note(world,
         1000 + (uint64_t)(roamer->owner - world->owners) * 100 + roamer->number * 10 + weir_worker_number(worker));
    weir_resident_send(&roamer->owner->resident, &roamer->mail);
}

static void on_tick(struct weir_timer *timer)
{
    struct owner *owner = WEIR_CONTAINER(timer, struct owner, timer);
    owner->ticks++;
    weir_resident_notify(&owner->resident);
}

static void owner_turn(struct weir_actor *actor, struct weir_worker *worker)
{
    struct owner *owner = (struct owner *)(void *)actor;
    struct world *world = owner->world;
    cr_assert_eq(worker, owner->resident.home);
    cr_assert_eq(weir_worker_current(), worker);
    for (struct weir_mail *mail = weir_mailbox_take(&owner->resident.mailbox); mail; mail = mail->next)
        owner->out--;
    note(world, (uint64_t)(owner - world->owners));
    if (owner->out > 0 || owner->timer.armed || owner->runs == world->runs_max)
        return;
    owner->runs++;
    for (unsigned i = 0; i < ROAMERS; i++) {
        owner->roamers[i] = (struct roamer){.actor.turn = roamer_turn, .owner = owner, .number = i};
        owner->out++;
        weir_worker_dispatch(worker, &owner->roamers[i].actor);
    }
    weir_timers_arm(weir_worker_timers(worker), &owner->timer,
                    weir_worker_now_ns(worker) + weir_random_below(weir_worker_random(worker), 5 * MS));
}

static void observe(void *argument)
{
    struct world *world = argument;
    world->observed++;
    for (unsigned i = 0; i < OWNERS; i++)
        cr_assert_leq(world->owners[i].out, ROAMERS);
}

static void build(struct world *world, uint64_t seed, unsigned workers, unsigned runs_max)
{
    *world = (struct world){.runs_max = runs_max};
    world->simulation = weir_simulation_create(seed);
    cr_assert_not_null(world->simulation);
    world->system = weir_simulation_system(world->simulation, workers, 0);
    cr_assert_not_null(world->system);
    weir_simulation_observe(world->simulation, observe, world);
    for (unsigned i = 0; i < OWNERS; i++) {
        struct owner *owner = &world->owners[i];
        owner->world = world;
        weir_timer_init(&owner->timer, on_tick);
        weir_resident_init(&owner->resident, weir_system_worker(world->system, 1 + i % workers), owner_turn, 1, 1);
        weir_resident_notify(&owner->resident);
    }
}

static void run_to_the_end(struct world *world)
{
    while (weir_simulation_step(world->simulation))
        cr_assert_lt(weir_simulation_steps(world->simulation), 1000000);
    for (unsigned i = 0; i < OWNERS; i++) {
        cr_assert_eq(world->owners[i].runs, world->runs_max);
        cr_assert_eq(world->owners[i].ticks, world->runs_max);
        cr_assert_eq(world->owners[i].out, 0);
        cr_assert(weir_resident_is_idle(&world->owners[i].resident));
    }
    cr_assert_eq(world->roamed, OWNERS * ROAMERS * world->runs_max);
    cr_assert_eq(world->observed, weir_simulation_steps(world->simulation));
}

/* ---- determinism ---- */

Test(simulation, the_same_seed_gives_the_same_run_and_another_seed_another)
{
    static struct world one, other;
    unsigned seeds = weir_test_scaled(50);
    uint64_t last_trace = 0;
    for (unsigned seed = 0; seed < seeds; seed++) {
        build(&one, seed, 3, 10);
        run_to_the_end(&one);
        struct weir_simulation *kept = one.simulation; /* so that the other gets other addresses */
        build(&other, seed, 3, 10);
        run_to_the_end(&other);
        cr_assert_eq(weir_simulation_hash(kept), weir_simulation_hash(other.simulation), "seed %u", seed);
        cr_assert_eq(weir_simulation_steps(kept), weir_simulation_steps(other.simulation));
        cr_assert_eq(weir_simulation_now_ns(kept), weir_simulation_now_ns(other.simulation));
        cr_assert_eq(one.trace, other.trace);
        cr_assert_neq(one.trace, last_trace, "seed %u runs as the one before", seed);
        cr_assert_gt(one.elsewhere, 0, "nothing was stolen");
        last_trace = one.trace;
        weir_simulation_destroy(kept);
        weir_simulation_destroy(other.simulation);
    }
}

Test(simulation, step_time_changes_times_but_stays_deterministic)
{
    static struct world one, other;
    build(&one, 7, 2, 10);
    weir_simulation_set_step_time(one.simulation, 2000);
    run_to_the_end(&one);
    build(&other, 7, 2, 10);
    weir_simulation_set_step_time(other.simulation, 2000);
    run_to_the_end(&other);
    cr_assert_eq(weir_simulation_hash(one.simulation), weir_simulation_hash(other.simulation));
    cr_assert_eq(weir_simulation_now_ns(one.simulation), weir_simulation_now_ns(other.simulation));
    weir_simulation_destroy(other.simulation);
    build(&other, 7, 2, 10);
    run_to_the_end(&other);
    cr_assert_neq(weir_simulation_now_ns(one.simulation), weir_simulation_now_ns(other.simulation));
    weir_simulation_destroy(one.simulation);
    weir_simulation_destroy(other.simulation);
}

/* ---- orders ---- */

struct racer {
    struct weir_resident resident;
    char name;
};

static char order[8];
static unsigned order_size;

static void race_turn(struct weir_actor *actor, struct weir_worker *worker)
{
    (void)worker;
    order[order_size++] = ((struct racer *)(void *)actor)->name;
}

Test(simulation, every_order_of_three_workers_comes_up)
{
    static const char *const orders[] = {"abc", "acb", "bac", "bca", "cab", "cba"};
    unsigned seen[6] = {0};
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct weir_simulation *simulation = weir_simulation_create(seed);
        struct weir_system *system = weir_simulation_system(simulation, 2, 0);
        struct racer racers[3];
        order_size = 0;
        for (unsigned i = 0; i < 3; i++) {
            racers[i].name = (char)('a' + i);
            weir_resident_init(&racers[i].resident, weir_system_worker(system, i), race_turn, 1, 1);
            weir_resident_notify(&racers[i].resident);
        }
        while (weir_simulation_step(simulation))
            ;
        for (unsigned i = 0; i < 6; i++)
            seen[i] += memcmp(order, orders[i], 3) == 0;
        cr_assert_eq(order_size, 3);
        weir_simulation_destroy(simulation);
    }
    for (unsigned i = 0; i < 6; i++)
        cr_assert_gt(seen[i], 20, "%s came %u times of 300", orders[i], seen[i]);
}

/* Notify while running and after: W2, in every order of sender and receiver. */
struct counter {
    struct weir_resident resident;
    unsigned produced, seen, turns;
    bool again;
};

static void counter_turn(struct weir_actor *actor, struct weir_worker *worker)
{
    struct counter *counter = (struct counter *)(void *)actor;
    (void)worker;
    counter->seen = counter->produced;
    counter->turns++;
    if (counter->again) {
        counter->again = false;
        counter->produced++; /* after the turn has looked */
        weir_resident_notify(&counter->resident);
    }
}

Test(simulation, a_notify_within_the_turn_makes_another_turn)
{
    struct weir_simulation *simulation = weir_simulation_create(1);
    struct weir_system *system = weir_simulation_system(simulation, 1, 0);
    struct counter counter = {.again = true};
    weir_resident_init(&counter.resident, weir_system_worker(system, 1), counter_turn, 1, 1);
    cr_assert(weir_resident_is_idle(&counter.resident));
    weir_resident_notify(&counter.resident);
    weir_resident_notify(&counter.resident);
    cr_assert_not(weir_resident_is_idle(&counter.resident));
    while (weir_simulation_step(simulation))
        ;
    cr_assert_eq(counter.turns, 2, "one for both notifies, one for that in the turn");
    cr_assert_eq(counter.seen, 1);
    weir_simulation_destroy(simulation);
}

/* ---- the hint for long turns ---- */

static bool saw_others, saw_roaming, saw_nothing;
static struct racer first_racer, second_racer;
static struct weir_actor idle_roamer;

static void ignore_turn(struct weir_actor *actor, struct weir_worker *worker)
{
    (void)actor;
    saw_nothing = !weir_worker_has_queued(worker);
}

static void ask_turn(struct weir_actor *actor, struct weir_worker *worker)
{
    if (actor == &first_racer.resident.actor) {
        saw_others = weir_worker_has_queued(worker) && weir_worker_queued(worker) == 0;
        return;
    }
    idle_roamer.turn = ignore_turn;
    weir_worker_dispatch(worker, &idle_roamer);
    saw_roaming = weir_worker_has_queued(worker) && weir_worker_queued(worker) == 1;
}

Test(simulation, a_turn_can_ask_whether_others_wait_on_its_worker)
{
    struct weir_simulation *simulation = weir_simulation_create(1);
    struct weir_worker *worker = weir_system_worker(weir_simulation_system(simulation, 1, 0), 1);
    weir_resident_init(&first_racer.resident, worker, ask_turn, 1, 1);
    weir_resident_init(&second_racer.resident, worker, ask_turn, 1, 1);
    weir_resident_notify(&first_racer.resident);
    weir_resident_notify(&second_racer.resident);
    while (weir_simulation_step(simulation))
        ;
    cr_assert(saw_others);
    cr_assert(saw_roaming);
    cr_assert(saw_nothing);
    weir_simulation_destroy(simulation);
}

/* ---- time and events ---- */

static uint64_t called_ns[8];
static unsigned called_count;

struct call {
    struct weir_simulation *simulation;
    unsigned number;
};

static void on_event(void *argument)
{
    struct call *call = argument;
    order[order_size++] = (char)('0' + call->number);
    called_ns[called_count++] = weir_simulation_now_ns(call->simulation);
    cr_assert_null(weir_worker_current());
    cr_assert_eq(weir_worker_index(), -1);
}

Test(simulation, time_jumps_exactly_to_what_is_next)
{
    struct weir_simulation *simulation = weir_simulation_create(5);
    struct call calls[3] = {{simulation, 0}, {simulation, 1}, {simulation, 2}};
    cr_assert_eq(weir_simulation_now_ns(simulation), 1000 * (uint64_t)MS);
    cr_assert_eq(weir_simulation_after(simulation, 300, on_event, &calls[2]), 0);
    cr_assert_eq(weir_simulation_after(simulation, 100, on_event, &calls[0]), 0);
    cr_assert_eq(weir_simulation_after(simulation, 300, on_event, &calls[1]), 0);
    while (weir_simulation_step(simulation))
        ;
    cr_assert_eq(order_size, 3);
    cr_assert_eq(memcmp(order, "021", 3), 0, "by due time, then as they were queued");
    cr_assert_eq(called_ns[0], 1000 * (uint64_t)MS + 100);
    cr_assert_eq(called_ns[1], 1000 * (uint64_t)MS + 300);
    cr_assert_eq(called_ns[2], 1000 * (uint64_t)MS + 300);
    const struct weir_seam *seam = weir_simulation_seam(simulation);
    cr_assert_eq(seam->now_ns(seam), weir_simulation_now_ns(simulation));
    int64_t wall_ms = seam->wall_ms(seam);
    weir_simulation_advance(simulation, 5 * MS);
    cr_assert_eq(seam->wall_ms(seam), wall_ms + 5, "the wall clock goes with it");
    weir_simulation_destroy(simulation);
}

static bool never(void *argument)
{
    (void)argument;
    return false;
}

static bool has_been_called(void *argument)
{
    (void)argument;
    return called_count > 0;
}

Test(simulation, a_run_ends_when_done_when_time_is_up_or_when_nothing_is_left)
{
    struct weir_simulation *simulation = weir_simulation_create(5);
    struct call calls[2] = {{simulation, 0}, {simulation, 1}};
    cr_assert_eq(weir_simulation_after(simulation, 10 * MS, on_event, &calls[0]), 0);
    cr_assert_eq(weir_simulation_after(simulation, 50 * MS, on_event, &calls[1]), 0);
    cr_assert_not(weir_simulation_run(simulation, 4 * MS, never, NULL));
    cr_assert_eq(weir_simulation_now_ns(simulation), 1004 * (uint64_t)MS, "no jump past the end");
    cr_assert_eq(called_count, 0);
    cr_assert(weir_simulation_run(simulation, 6 * MS, has_been_called, NULL), "what is due at the end still runs");
    cr_assert_eq(weir_simulation_now_ns(simulation), 1010 * (uint64_t)MS);
    cr_assert_not(weir_simulation_run(simulation, UINT64_MAX, NULL, NULL), "until nothing is left");
    cr_assert_eq(called_count, 2);
    cr_assert_not(weir_simulation_step(simulation));
    weir_simulation_destroy(simulation);
}

static void chain(void *argument)
{
    struct call *call = argument;
    called_count++;
    if (called_count < 5)
        cr_assert_eq(weir_simulation_after(call->simulation, 1, chain, call), 0);
}

Test(simulation, an_event_may_queue_the_next_and_queued_ones_are_dropped_at_the_end)
{
    struct weir_simulation *simulation = weir_simulation_create(5);
    struct call call = {simulation, 0};
    cr_assert_eq(weir_simulation_after(simulation, 1, chain, &call), 0);
    cr_assert_eq(weir_simulation_after(simulation, 1000 * (uint64_t)MS, chain, &call), 0);
    cr_assert_not(weir_simulation_run(simulation, MS, never, NULL));
    cr_assert_eq(called_count, 5);
    weir_simulation_destroy(simulation); /* the late one is freed, not called: the leak checker looks */
    cr_assert_eq(called_count, 5);
}

/* ---- crash and stall ---- */

Test(simulation, a_crashed_system_takes_no_further_step_while_others_go_on)
{
    static struct world crashing, living;
    build(&crashing, 11, 2, 10);
    struct weir_system *second = weir_simulation_system(crashing.simulation, 2, 0);
    cr_assert_not_null(second);
    living = (struct world){.simulation = crashing.simulation, .system = second, .runs_max = 10};
    for (unsigned i = 0; i < OWNERS; i++) {
        living.owners[i].world = &living;
        weir_timer_init(&living.owners[i].timer, on_tick);
        weir_resident_init(&living.owners[i].resident, weir_system_worker(second, 1 + i % 2), owner_turn, 1, 1);
        weir_resident_notify(&living.owners[i].resident);
    }
    while (crashing.roamed < 40)
        cr_assert(weir_simulation_step(crashing.simulation));
    weir_simulation_crash(crashing.simulation, crashing.system);
    uint64_t trace = crashing.trace;
    while (weir_simulation_step(crashing.simulation))
        ;
    cr_assert_eq(crashing.trace, trace);
    cr_assert_eq(living.roamed, OWNERS * ROAMERS * 10);
    weir_simulation_destroy(crashing.simulation);
}

Test(simulation, a_stalled_worker_does_nothing_meanwhile_and_others_take_its_roaming_actors)
{
    static struct world world;
    build(&world, 3, 2, 1);
    struct weir_worker *stalled = weir_system_worker(world.system, 1);
    while (weir_worker_stats(stalled)->turns == 0)
        cr_assert(weir_simulation_step(world.simulation));
    unsigned turns = (unsigned)weir_worker_stats(stalled)->turns;
    weir_simulation_stall(world.simulation, stalled, 100 * MS);
    uint64_t until_ns = weir_simulation_now_ns(world.simulation) + 100 * MS;
    weir_simulation_run(world.simulation, 100 * MS - 1, never, NULL);
    cr_assert_eq(weir_worker_stats(stalled)->turns, turns);
    cr_assert_eq(weir_simulation_now_ns(world.simulation), until_ns - 1);
    cr_assert_gt(weir_worker_stats(weir_system_worker(world.system, 2))->steals, 0);
    run_to_the_end(&world);
    cr_assert_gt(weir_worker_stats(stalled)->turns, turns);
    weir_simulation_destroy(world.simulation);
}

/* ---- memory ---- */

Test(simulation, every_allocation_may_fail)
{
    for (unsigned which = 0; which < 2; which++) {
        weir_memory_fail_after(which);
        cr_assert_null(weir_simulation_create(1));
    }
    weir_memory_fail_after(UINT64_MAX);
    struct weir_simulation *simulation = weir_simulation_create(1);
    cr_assert_not_null(simulation);
    weir_memory_fail_after(0);
    struct call call = {simulation, 0};
    cr_assert_eq(weir_simulation_after(simulation, 1, on_event, &call), WEIR_NO_MEMORY);
    unsigned failures = 0;
    struct weir_system *system = NULL;
    for (; !system; failures++) {
        weir_memory_fail_after(failures);
        system = weir_simulation_system(simulation, 2, 0);
        weir_memory_fail_after(UINT64_MAX);
    }
    cr_assert_eq(failures, 10);
    cr_assert_null(weir_worker_uv(weir_system_worker(system, 1)));
    cr_assert_not(weir_simulation_step(simulation), "what failed was not queued");
    weir_simulation_destroy(simulation);
    weir_simulation_destroy(NULL);
}
