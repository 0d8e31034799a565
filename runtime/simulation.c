/*
 * The simulator: see simulation.h.
 *
 * Thread: the one that calls it; nothing here is shared.
 *
 * Invariants
 *   S1. All choices come from `random`, and it is drawn from in an order that depends on the seed and on the calls
 * only: never on addresses, real time or uninitialised memory. S2. Time never goes back, and moves only in jump(),
 * weir_simulation_advance() and by the step time. S3. What is chosen goes into the hash: kind, place and time.
 *
 * The choice is uniform among the places that have something to do, each a worker or the queue of events, so a worker
 * with much to do may wait long while others run: orders that real threads show seldom come up often here.
 */
#include "runtime/simulation.h"
#include "runtime/check.h"
#include "runtime/worker_internal.h"

#define START_NS        1000000000u   /* 1 s */
#define WALL_EPOCH_MS   1700000000000 /* virtual wall clock at virtual time 0 */
#define HASH_START      0x9e3779b97f4a7c15u
#define EVENTS_PER_STEP 1

struct event {
    struct weir_timer timer;
    struct weir_simulation *simulation;
    weir_simulation_event *call;
    void *argument;
    struct event *next, **link; /* all that are queued, to be freed with the simulation */
};

/* Something that can happen now: a worker's step, or an event (worker NULL). */
struct place {
    struct weir_worker *worker;
    uint64_t system_number;
};

struct weir_simulation {
    struct weir_seam seam;
    struct weir_random random;
    uint64_t now_ns, step_ns_max;
    unsigned short_percent;
    struct weir_system *systems, **systems_end; /* in the order of creation */
    struct place *places;                       /* of the choice under way */
    size_t room;                                /* in it: for events, and for every worker */
    struct weir_timers events;
    struct event *event_list;
    weir_simulation_observer *observer;
    void *observer_argument;
    uint64_t steps, hash;
};

/* ---- the seam ---- */

static struct weir_simulation *simulation_of(const struct weir_seam *seam)
{
    return WEIR_CONTAINER(seam, struct weir_simulation, seam);
}

static uint64_t virtual_now_ns(const struct weir_seam *seam)
{
    return simulation_of(seam)->now_ns;
}

static int64_t virtual_wall_ms(const struct weir_seam *seam)
{
    return WALL_EPOCH_MS + (int64_t)(simulation_of(seam)->now_ns / 1000000u);
}

static uint64_t virtual_entropy(const struct weir_seam *seam)
{
    return weir_random_next(&simulation_of(seam)->random);
}

/* ---- life ---- */

/* For more places to choose from. */
static bool make_room(struct weir_simulation *simulation, size_t more)
{
    size_t room = simulation->room + more;
    struct place *places = weir_memory_resize(simulation->places, room * sizeof *places);
    if (!places)
        return false;
    simulation->places = places;
    simulation->room = room;
    return true;
}

struct weir_simulation *weir_simulation_create(uint64_t seed)
{
    struct weir_simulation *simulation = weir_memory_allocate_zeroed(1, sizeof *simulation);
    if (!simulation)
        return NULL;
    simulation->seam = (struct weir_seam){virtual_now_ns, virtual_wall_ms, virtual_entropy};
    simulation->now_ns = START_NS;
    simulation->systems_end = &simulation->systems;
    simulation->hash = HASH_START;
    weir_random_init(&simulation->random, seed);
    weir_timers_init(&simulation->events);
    if (!make_room(simulation, 1)) {
        weir_memory_free(simulation);
        return NULL;
    }
    return simulation;
}

void weir_simulation_destroy(struct weir_simulation *simulation)
{
    if (!simulation)
        return;
    for (struct weir_system *system = simulation->systems, *next; system; system = next) {
        next = system->next;
        weir_system_destroy(system);
    }
    for (struct event *event = simulation->event_list, *next; event; event = next) {
        next = event->next;
        weir_memory_free(event);
    }
    weir_memory_free(simulation->places);
    weir_memory_free(simulation);
}

struct weir_system *weir_simulation_system(struct weir_simulation *simulation, unsigned workers, unsigned pool_threads)
{
    struct weir_system *system = weir_system_build(workers, pool_threads, &simulation->seam, true, NULL);
    if (!system)
        return NULL;
    if (!make_room(simulation, system->worker_count)) {
        weir_system_destroy(system);
        return NULL;
    }
    for (unsigned i = 0; i < system->worker_count; i++)
        system->workers[i]->short_percent = simulation->short_percent;
    *simulation->systems_end = system;
    simulation->systems_end = &system->next;
    return system;
}

void weir_simulation_crash(struct weir_simulation *simulation, struct weir_system *system)
{
    (void)simulation;
    system->is_crashed = true;
}

void weir_simulation_stall(struct weir_simulation *simulation, struct weir_worker *worker, uint64_t duration_ns)
{
    worker->stalled_until_ns = simulation->now_ns + duration_ns;
}

void weir_simulation_advance(struct weir_simulation *simulation, uint64_t duration_ns)
{
    simulation->now_ns += duration_ns;
}

void weir_simulation_set_step_time(struct weir_simulation *simulation, uint64_t step_ns_max)
{
    simulation->step_ns_max = step_ns_max;
}

void weir_simulation_set_short_turns(struct weir_simulation *simulation, unsigned percent)
{
    simulation->short_percent = percent;
}

void weir_simulation_observe(struct weir_simulation *simulation, weir_simulation_observer *observer, void *argument)
{
    simulation->observer = observer;
    simulation->observer_argument = argument;
}

/* ---- events ---- */

static void forget(struct event *event)
{
    *event->link = event->next;
    if (event->next)
        event->next->link = event->link;
    weir_memory_free(event);
}

static void on_event(struct weir_timer *timer)
{
    struct event *event = WEIR_CONTAINER(timer, struct event, timer);
    weir_simulation_event *call = event->call;
    void *argument = event->argument;
    forget(event); /* before the call, which may free what it likes */
    call(argument);
}

int weir_simulation_after(struct weir_simulation *simulation, uint64_t delay_ns, weir_simulation_event *event,
                          void *argument)
{
    struct event *queued = weir_memory_allocate(sizeof *queued);
    if (!queued)
        return WEIR_NO_MEMORY;
    *queued = (struct event){.simulation = simulation, .call = event, .argument = argument};
    queued->next = simulation->event_list;
    queued->link = &simulation->event_list;
    if (queued->next)
        queued->next->link = &queued->next;
    simulation->event_list = queued;
    weir_timer_init(&queued->timer, on_event);
    weir_timers_arm(&simulation->events, &queued->timer, simulation->now_ns + delay_ns);
    return 0;
}

/* ---- choice ---- */

static bool is_stalled(const struct weir_simulation *simulation, const struct weir_worker *worker)
{
    return worker->stalled_until_ns > simulation->now_ns;
}

static bool is_event_due(const struct weir_simulation *simulation)
{
    return weir_timers_next_due_ns(&simulation->events) <= simulation->now_ns;
}

static bool is_ready(const struct weir_simulation *simulation, const struct weir_worker *worker)
{
    return !worker->in_step && !is_stalled(simulation, worker) &&
           (weir_worker_has_own_work(worker) || weir_timers_next_due_ns(&worker->timers) <= simulation->now_ns ||
            weir_worker_sees_victim(worker, simulation->now_ns));
}

/* Find the places, in the simulation's array, and count them. An event is the first, if any is due. */
static uint64_t find_places(struct weir_simulation *simulation)
{
    struct place *place = simulation->places;
    uint64_t system_number = 0;
    if (is_event_due(simulation))
        *place++ = (struct place){NULL, 0};
    for (struct weir_system *system = simulation->systems; system; system = system->next, system_number++)
        for (unsigned i = 0; i < system->worker_count && !system->is_crashed; i++)
            if (is_ready(simulation, system->workers[i]))
                *place++ = (struct place){system->workers[i], system_number};
    return (uint64_t)(place - simulation->places);
}

static void mix(struct weir_simulation *simulation, uint64_t value)
{
    uint64_t hash = (simulation->hash ^ value) * 0xff51afd7ed558ccdu;
    simulation->hash = hash ^ (hash >> 32);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* When a worker can next do something, given that it cannot now. */
static uint64_t next_ns(const struct weir_simulation *simulation, const struct weir_worker *worker)
{
    if (!is_stalled(simulation, worker))
        return weir_timers_next_due_ns(&worker->timers);
    if (weir_worker_has_own_work(worker) || weir_worker_sees_victim(worker, simulation->now_ns))
        return worker->stalled_until_ns;
    uint64_t due_ns = weir_timers_next_due_ns(&worker->timers);
    return due_ns > worker->stalled_until_ns ? due_ns : worker->stalled_until_ns;
}

/* When something can happen next, given that nothing can now; UINT64_MAX: never. */
static uint64_t next_of_all_ns(const struct weir_simulation *simulation)
{
    uint64_t due_ns = weir_timers_next_due_ns(&simulation->events);
    for (struct weir_system *system = simulation->systems; system; system = system->next)
        for (unsigned i = 0; i < system->worker_count && !system->is_crashed; i++)
            due_ns = earlier(due_ns, next_ns(simulation, system->workers[i]));
    return due_ns;
}

static void jump(struct weir_simulation *simulation, uint64_t to_ns)
{
    WEIR_CHECK(to_ns > simulation->now_ns); /* S2, and that is_ready and next_ns agree */
    simulation->now_ns = to_ns;
    mix(simulation, to_ns);
}

/* ---- steps ---- */

static void step_worker(struct weir_simulation *simulation, struct weir_worker *worker)
{
    WEIR_CHECK(weir_worker_current() == NULL); /* steps do not nest, and run on no thread of a system */
    /* A worker with other things to do steals or not; one without was chosen because it can. */
    worker->may_steal = !weir_worker_has_own_work(worker) || weir_random_below(&simulation->random, 2);
    weir_worker_enter(worker);
    weir_worker_step(worker);
    weir_worker_enter(NULL);
    if (simulation->step_ns_max > 0)
        simulation->now_ns += weir_random_below(&simulation->random, simulation->step_ns_max + 1);
}

static void mix_place(struct weir_simulation *simulation, const struct place *place)
{
    mix(simulation, simulation->now_ns);
    mix(simulation, place->worker ? (place->system_number + 1) << 16 | place->worker->number : 0);
}

bool weir_simulation_interleave(struct weir_simulation *simulation)
{
    struct weir_worker *interrupted = weir_worker_current();
    uint64_t events = is_event_due(simulation); /* place 0 */
    uint64_t count = find_places(simulation);
    if (count == events)
        return false;
    struct place place = simulation->places[events + weir_random_below(&simulation->random, count - events)];
    mix_place(simulation, &place);
    weir_worker_enter(NULL);
    step_worker(simulation, place.worker);
    weir_worker_enter(interrupted);
    return true;
}

/* Run one of the `count` places that were found. */
static void run_choice(struct weir_simulation *simulation, uint64_t count)
{
    struct place place = simulation->places[weir_random_below(&simulation->random, count)];
    mix_place(simulation, &place);
    if (place.worker)
        step_worker(simulation, place.worker);
    else
        weir_timers_expire(&simulation->events, simulation->now_ns, EVENTS_PER_STEP);
}

/* A step, an event, or a jump in time that ends at `end_ns` at the latest; false where nothing is left before it. */
static bool step_until(struct weir_simulation *simulation, uint64_t end_ns)
{
    uint64_t count = find_places(simulation);
    if (count == 0) {
        uint64_t to_ns = next_of_all_ns(simulation);
        if (to_ns == UINT64_MAX || simulation->now_ns >= end_ns)
            return false;
        jump(simulation, earlier(to_ns, end_ns));
    } else {
        run_choice(simulation, count);
    }
    simulation->steps++;
    if (simulation->observer)
        simulation->observer(simulation->observer_argument);
    return true;
}

bool weir_simulation_step(struct weir_simulation *simulation)
{
    return step_until(simulation, UINT64_MAX);
}

bool weir_simulation_run(struct weir_simulation *simulation, uint64_t duration_ns, bool (*done)(void *argument),
                         void *argument)
{
    uint64_t end_ns = duration_ns > UINT64_MAX - simulation->now_ns ? UINT64_MAX : simulation->now_ns + duration_ns;
    while (!done || !done(argument))
        if (simulation->now_ns > end_ns || !step_until(simulation, end_ns))
            return false;
    return true;
}

uint64_t weir_simulation_now_ns(const struct weir_simulation *simulation)
{
    return simulation->now_ns;
}

const struct weir_seam *weir_simulation_seam(struct weir_simulation *simulation)
{
    return &simulation->seam;
}

struct weir_random *weir_simulation_random(struct weir_simulation *simulation)
{
    return &simulation->random;
}

uint64_t weir_simulation_steps(const struct weir_simulation *simulation)
{
    return simulation->steps;
}

uint64_t weir_simulation_hash(const struct weir_simulation *simulation)
{
    return simulation->hash;
}
