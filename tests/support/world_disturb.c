/*
 * What goes wrong around the processes of a world: drawn by its seed, spread over a time. See world.h.
 */
#include "tests/support/world_internal.h"
#include <stdlib.h>

#define MS UINT64_C(1000000)

static const char *const kind_names[] = {"crash",         "stop",      "join",  "separated from the brokers",
                                         "fenced",        "rebalance", "ghost", "no broker",
                                         "no coordinator"};

struct disturbance {
    struct weir_world *world;
    unsigned kind;
    uint64_t until_ns; /* by then its direct effect is over */
    struct weir_world_process *process;
    uint64_t ghost;
};

static void follow_up(const struct disturbance *disturbance, uint64_t delay_ns, weir_fake_action *action)
{
    struct disturbance *next = weir_world_allocate(sizeof *next);
    *next = *disturbance;
    weir_world_after(disturbance->world, delay_ns, action, next);
}

/* Some time, at least a millisecond and at most `ns_max`, that ends before the disturbance must. */
static uint64_t some_time(const struct disturbance *disturbance, uint64_t ns_max)
{
    uint64_t now_ns = weir_simulation_now_ns(disturbance->world->simulation);
    uint64_t left_ns = disturbance->until_ns > now_ns + MS ? disturbance->until_ns - now_ns : MS;
    return MS + weir_random_below(&disturbance->world->random, left_ns < ns_max ? left_ns : ns_max);
}

static void on_restart(void *argument)
{
    struct disturbance disturbance = *(struct disturbance *)argument;
    free(argument);
    const struct weir_world_process *old = disturbance.process;
    if (!old->crashed && !old->destroyed && !disturbance.world->settings.driver->is_closed(old->consumer))
        follow_up(&disturbance, 100 * MS, on_restart); /* it goes when its predecessor has gone */
    else
        weir_world_start_as(disturbance.world, old->instance);
}

static void on_one_fewer(void *argument)
{
    struct disturbance disturbance = *(struct disturbance *)argument;
    free(argument);
    if (weir_world_alive(disturbance.world) > 1)
        weir_world_stop(weir_world_choose(disturbance.world));
}

static void on_ghost_leaves(void *argument)
{
    struct disturbance disturbance = *(struct disturbance *)argument;
    free(argument);
    weir_fake_ghost_leave(disturbance.world->cluster, disturbance.world->settings.group, disturbance.ghost);
}

static void process_disturbed(struct disturbance *disturbance)
{
    struct weir_world *world = disturbance->world;
    struct weir_world_process *process = disturbance->process;
    switch (disturbance->kind) {
    case WEIR_WORLD_CRASH:
        weir_world_crash(process);
        follow_up(disturbance, some_time(disturbance, 2000 * MS), on_restart);
        break;
    case WEIR_WORLD_STOP:
        weir_world_stop(process);
        follow_up(disturbance, some_time(disturbance, 2000 * MS), on_restart);
        break;
    case WEIR_WORLD_SEPARATE:
        weir_fake_client_partition(process->kafka,
                                   some_time(disturbance, 2 * weir_fake_settings(world->cluster)->session_timeout_ns));
        break;
    default:
        weir_fake_client_fence(process->kafka);
        break;
    }
}

static void cluster_disturbed(struct disturbance *disturbance)
{
    struct weir_world *world = disturbance->world;
    switch (disturbance->kind) {
    case WEIR_WORLD_JOIN:
        weir_world_start(world);
        follow_up(disturbance, some_time(disturbance, 10000 * MS), on_one_fewer);
        break;
    case WEIR_WORLD_REBALANCE:
        weir_fake_group_rebalance(world->cluster, world->settings.group);
        break;
    case WEIR_WORLD_GHOST:
        disturbance->ghost = weir_fake_ghost_join(world->cluster, world->settings.group, world->settings.topics);
        follow_up(disturbance, some_time(disturbance, 5000 * MS), on_ghost_leaves);
        break;
    case WEIR_WORLD_NO_BROKER:
        weir_fake_broker_down(world->cluster, some_time(disturbance, 8000 * MS));
        break;
    default:
        weir_fake_coordinator_down(world->cluster, some_time(disturbance, 12000 * MS));
        break;
    }
}

static void on_disturbance(void *argument)
{
    struct disturbance disturbance = *(struct disturbance *)argument;
    free(argument);
    struct weir_world *world = disturbance.world;
    bool needs_process =
        disturbance.kind & (WEIR_WORLD_CRASH | WEIR_WORLD_STOP | WEIR_WORLD_SEPARATE | WEIR_WORLD_FENCE);
    bool needs_place = disturbance.kind & (WEIR_WORLD_CRASH | WEIR_WORLD_STOP | WEIR_WORLD_JOIN);
    if (needs_place && world->process_count + 4 >= WEIR_WORLD_PROCESSES_MAX)
        return;
    disturbance.process = needs_process ? weir_world_choose(world) : NULL;
    if (needs_process && !disturbance.process)
        return;
    world->tally.disturbances++;
    weir_world_trace(world, disturbance.process, "disturbance: %s", kind_names[__builtin_ctz(disturbance.kind)]);
    if (needs_process)
        process_disturbed(&disturbance);
    else
        cluster_disturbed(&disturbance);
}

static unsigned choose_kind(struct weir_world *world, unsigned kinds)
{
    unsigned chosen = 0;
    uint64_t index = weir_random_below(&world->random, (uint64_t)__builtin_popcount(kinds));
    for (unsigned kind = 1; kind <= kinds && !chosen; kind <<= 1) {
        if ((kinds & kind) && index-- == 0)
            chosen = kind;
    }
    return chosen;
}

void weir_world_disturb(struct weir_world *world, uint64_t duration_ns, unsigned count, unsigned kinds)
{
    uint64_t until_ns = weir_simulation_now_ns(world->simulation) + duration_ns;
    for (; count > 0 && kinds; count--) {
        struct disturbance disturbance = {
            .world = world, .kind = choose_kind(world, kinds & WEIR_WORLD_ALL), .until_ns = until_ns};
        follow_up(&disturbance, weir_random_below(&world->random, duration_ns), on_disturbance);
    }
}
