/*
 * Workers as threads: each invariant of worker.h, W1 to W6, by a test that would see it broken.
 *
 * Turns note what is wrong in counters; the test's own thread asserts.
 */
#include "runtime/check.h"
#include "runtime/random.h"
#include "tests/support/dies.h"
#include "tests/support/wait.h"
#include "tests/unit/running.h"
#include <pthread.h>
#include <sched.h>
#include <uv.h>
#include <weir/message.h>

static struct weir_system *world;
static _Atomic uint64_t wrong, done_count;

static void finish(void)
{
    weir_test_system_end(world);
    cr_assert_eq(atomic_load(&wrong), 0);
}

/* ---- W1 and W2: residents under notifies from everywhere ---- */

#define RESIDENTS 6
#define NOTIFIERS 3

struct meter {
    struct weir_resident resident;
    _Atomic uint64_t produced, seen;
    _Atomic uint32_t inside;
    uint64_t turns; /* plain on purpose: only turns touch it, and ThreadSanitizer watches */
};

static struct meter meters[RESIDENTS];
static unsigned notifies_each;

static void meter_turn(struct weir_actor *actor, struct weir_worker *worker)
{
    struct meter *meter = (struct meter *)(void *)actor;
    bool alone = atomic_fetch_add(&meter->inside, 1) == 0;
    if (!alone || worker != meter->resident.home || weir_worker_current() != worker)
        atomic_fetch_add(&wrong, 1);
    meter->turns++;
    atomic_store(&meter->seen, atomic_load(&meter->produced));
    if (meter->turns % 64 == 0)
        sched_yield(); /* notifies while running */
    atomic_fetch_sub(&meter->inside, 1);
}

static void *notify_all(void *argument)
{
    struct weir_random random;
    weir_random_init(&random, (uint64_t)(uintptr_t)argument);
    for (unsigned i = 0; i < notifies_each; i++) {
        struct meter *meter = &meters[weir_random_below(&random, RESIDENTS)];
        atomic_fetch_add_explicit(&meter->produced, 1, memory_order_relaxed);
        weir_resident_notify(&meter->resident);
        if (weir_random_below(&random, 1000) == 0)
            weir_test_sleep_us((unsigned)weir_random_below(&random, 200)); /* let the workers fall asleep */
    }
    return NULL;
}

Test(worker, residents_run_at_home_one_at_a_time_and_no_notify_is_lost)
{
    pthread_t threads[NOTIFIERS];
    notifies_each = weir_test_scaled(100000);
    world = weir_test_system(3);
    for (unsigned i = 0; i < RESIDENTS; i++)
        weir_resident_init(&meters[i].resident, weir_system_worker(world, i % 4), meter_turn, 1, 1);
    for (unsigned i = 0; i < NOTIFIERS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, notify_all, (void *)(uintptr_t)(i + 1)), 0);
    for (unsigned i = 0; i < NOTIFIERS; i++)
        pthread_join(threads[i], NULL);
    uint64_t produced = 0;
    for (unsigned i = 0; i < RESIDENTS; i++) {
        uint64_t expected = atomic_load(&meters[i].produced);
        cr_assert(weir_test_reaches(&meters[i].seen, expected), "resident %u saw %llu of %llu", i,
                  (unsigned long long)meters[i].seen, (unsigned long long)expected);
        produced += expected;
    }
    cr_assert_eq(produced, (uint64_t)NOTIFIERS * notifies_each);
    weir_system_stop(world);
    for (unsigned i = 0; i < RESIDENTS; i++) {
        cr_assert(weir_resident_is_idle(&meters[i].resident));
        cr_assert(meters[i].turns > 0);
    }
    finish();
}

/* ---- W5: a chain of hops between sleeping workers; one lost wake-up stops it ---- */

#define HOPPERS 4

struct hopper {
    struct weir_resident resident;
    struct weir_mail ball; /* lies with one of them at a time, but the node is the sender's */
};

static struct hopper hoppers[HOPPERS];
static uint64_t hops_max;

static void hopper_turn(struct weir_actor *actor, struct weir_worker *worker)
{
    struct hopper *hopper = (struct hopper *)(void *)actor;
    for (struct weir_mail *mail = weir_mailbox_take(&hopper->resident.mailbox); mail; mail = mail->next) {
        uint64_t hops = atomic_fetch_add_explicit(&done_count, 1, memory_order_acq_rel) + 1;
        if (hops >= hops_max)
            return;
        if (weir_random_below(weir_worker_random(worker), 4) == 0)
            weir_test_sleep_us((unsigned)weir_random_below(weir_worker_random(worker), 40)); /* others fall asleep */
        weir_resident_send(&hoppers[weir_random_below(weir_worker_random(worker), HOPPERS)].resident, &hopper->ball);
        return; /* one ball only: its node is in use from here on */
    }
}

Test(worker, no_wake_up_is_lost_between_sleeping_workers)
{
    static struct weir_mail first;
    hops_max = weir_test_scaled(20000);
    world = weir_test_system(3);
    for (unsigned i = 0; i < HOPPERS; i++)
        weir_resident_init(&hoppers[i].resident, weir_system_worker(world, i), hopper_turn, 1, 1);
    weir_resident_send(&hoppers[0].resident, &first);
    cr_assert(weir_test_reaches(&done_count, hops_max), "the chain stopped after %llu hops",
              (unsigned long long)done_count);
    uint64_t wakes = 0;
    for (unsigned i = 0; i < 4; i++)
        wakes += atomic_load(&weir_worker_stats(weir_system_worker(world, i))->wakes);
    cr_assert_gt(wakes, hops_max / 100, "hardly anybody slept: the test checks nothing");
    finish();
}

/* ---- W3: roaming actors, freed by their owner as soon as they are back ---- */

struct owner {
    struct weir_resident resident;
    uint64_t left, out, back; /* plain on purpose */
    bool is_done;
};

struct roamer {
    struct weir_actor actor;
    struct weir_mail mail;
    struct owner *owner;
    uint64_t number, value; /* plain on purpose: written by owner and turn, never at once */
};

static struct owner owners[3];
static uint64_t roamers_each, spin_rounds;

static void roamer_turn(struct weir_actor *actor, struct weir_worker *worker)
{
    struct roamer *roamer = (struct roamer *)(void *)actor;
    if (weir_worker_current() != worker || weir_worker_number(worker) == WEIR_WORKER_CONTROL ||
        weir_worker_index() + 1 != (int)weir_worker_number(worker))
        atomic_fetch_add(&wrong, 1);
    for (volatile uint64_t i = 0; i < spin_rounds; i++)
        ;
    roamer->value = ~roamer->value;
    weir_resident_send(&roamer->owner->resident, &roamer->mail);
}

static void owner_turn(struct weir_actor *actor, struct weir_worker *worker)
{
    struct owner *owner = (struct owner *)(void *)actor;
    for (struct weir_mail *mail = weir_mailbox_take(&owner->resident.mailbox), *next; mail; mail = next) {
        next = mail->next;
        struct roamer *roamer = WEIR_CONTAINER(mail, struct roamer, mail);
        if (roamer->value != ~roamer->number)
            atomic_fetch_add(&wrong, 1);
        owner->back++;
        free(roamer);
    }
    while (owner->left > 0 && owner->out - owner->back < 1500) { /* more than a ring holds */
        struct roamer *roamer = malloc(sizeof *roamer);
        if (!roamer)
            abort();
        *roamer = (struct roamer){.actor.turn = roamer_turn, .owner = owner, .number = owner->out, .value = owner->out};
        owner->left--;
        owner->out++;
        weir_worker_dispatch(worker, &roamer->actor);
    }
    if (owner->left == 0 && owner->out == owner->back && !owner->is_done) {
        owner->is_done = true;
        atomic_fetch_add_explicit(&done_count, 1, memory_order_release);
    }
}

static void roam(unsigned workers, uint64_t each, uint64_t rounds)
{
    roamers_each = each;
    spin_rounds = rounds;
    world = weir_test_system(workers);
    for (unsigned i = 0; i < WEIR_COUNT(owners); i++) {
        owners[i].left = each;
        weir_resident_init(&owners[i].resident, weir_system_worker(world, 1 + i % workers), owner_turn, 1, 1);
        weir_resident_notify(&owners[i].resident);
    }
    cr_assert(weir_test_reaches(&done_count, WEIR_COUNT(owners)), "not all came back");
    uint64_t ran = 0;
    for (unsigned i = 0; i <= workers; i++)
        ran += atomic_load(&weir_worker_stats(weir_system_worker(world, i))->roaming_turns);
    const struct weir_worker_stats *control = weir_worker_stats(weir_system_worker(world, WEIR_WORKER_CONTROL));
    cr_assert_eq(atomic_load(&control->roaming_turns), 0, "W6");
    cr_assert_eq(atomic_load(&control->steals), 0, "W6");
    finish();
    cr_assert_eq(ran, WEIR_COUNT(owners) * each);
    for (unsigned i = 0; i < WEIR_COUNT(owners); i++)
        cr_assert_eq(owners[i].back, each);
}

Test(worker, short_roaming_turns_all_come_back_to_their_owner)
{
    roam(4, weir_test_scaled(200000), 0);
}

Test(worker, long_roaming_turns_are_stolen_and_all_come_back)
{
    roam(2, weir_test_scaled(8000), 10000);
}

/* ---- W4: first in, first out ---- */

#define LINE 5000

static struct queuer {
    struct weir_actor actor;
    unsigned number;
} queuers[LINE];
static unsigned queuer_next;

static void queuer_turn(struct weir_actor *actor, struct weir_worker *worker)
{
    (void)worker;
    if (((struct queuer *)(void *)actor)->number != queuer_next++)
        atomic_fetch_add(&wrong, 1);
    if (queuer_next == LINE)
        atomic_store_explicit(&done_count, 1, memory_order_release);
}

static void dispatch_line(struct weir_actor *actor, struct weir_worker *worker)
{
    (void)actor;
    for (unsigned i = 0; i < LINE; i++) {
        queuers[i] = (struct queuer){{.turn = queuer_turn}, i};
        weir_worker_dispatch(worker, &queuers[i].actor);
    }
}

Test(worker, a_single_worker_runs_roaming_actors_in_the_order_of_dispatch)
{
    static struct weir_resident resident;
    world = weir_test_system(1);
    weir_resident_init(&resident, weir_system_worker(world, 1), dispatch_line, 1, 1);
    weir_resident_notify(&resident);
    cr_assert(weir_test_reaches(&done_count, 1));
    finish();
}

/* ---- W4: nobody starves ---- */

static struct weir_resident greedy, modest;
static struct weir_actor endless;
static _Atomic uint64_t greedy_turns, modest_turns, roaming_turns, timer_calls, uv_calls;
static struct weir_timer periodic;
static uv_timer_t uv_periodic;

static void greedy_turn(struct weir_actor *actor, struct weir_worker *worker)
{
    (void)worker;
    if (atomic_fetch_add(&greedy_turns, 1) == 0)
        weir_resident_notify(&modest);
    weir_resident_notify((struct weir_resident *)(void *)actor); /* always again */
}

static void endless_turn(struct weir_actor *actor, struct weir_worker *worker)
{
    atomic_fetch_add(&roaming_turns, 1);
    weir_worker_dispatch(worker, actor); /* always again: its own hand-back */
}

static void on_uv_periodic(uv_timer_t *timer)
{
    atomic_fetch_add(&uv_calls, 1);
    if (timer->loop != weir_worker_loop())
        atomic_fetch_add(&wrong, 1);
}

static void on_periodic(struct weir_timer *timer)
{
    atomic_fetch_add(&timer_calls, 1);
    weir_timers_arm(weir_worker_timers(weir_worker_current()), timer, weir_worker_now_ns(weir_worker_current()) + 1000);
}

static void modest_turn(struct weir_actor *actor, struct weir_worker *worker)
{
    if (atomic_fetch_add(&modest_turns, 1) == 0) {
        endless.turn = endless_turn;
        weir_worker_dispatch(worker, &endless);
        weir_timer_init(&periodic, on_periodic);
        weir_timers_arm(weir_worker_timers(worker), &periodic, 0);
        uv_timer_init(weir_worker_uv(worker), &uv_periodic);
        uv_timer_start(&uv_periodic, on_uv_periodic, 1, 1);
    }
    weir_resident_notify((struct weir_resident *)(void *)actor);
}

static void close_uv_periodic(struct weir_actor *actor, struct weir_worker *worker)
{
    (void)actor;
    (void)worker;
    uv_close((uv_handle_t *)&uv_periodic, NULL);
    atomic_store_explicit(&done_count, 1, memory_order_release);
}

Test(worker, residents_roaming_actors_timers_and_the_loop_all_get_their_turn)
{
    static struct weir_resident closer;
    world = weir_test_system(1);
    weir_resident_init(&greedy, weir_system_worker(world, 1), greedy_turn, 1, 1);
    weir_resident_init(&modest, weir_system_worker(world, 1), modest_turn, 1, 1);
    weir_resident_init(&closer, weir_system_worker(world, 1), close_uv_periodic, 1, 1);
    weir_resident_notify(&greedy);
    cr_assert(weir_test_reaches(&modest_turns, 1000));
    cr_assert(weir_test_reaches(&roaming_turns, 1000));
    cr_assert(weir_test_reaches(&timer_calls, 100));
    cr_assert(weir_test_reaches(&uv_calls, 3));
    cr_assert(weir_test_reaches(&greedy_turns, 1000));
    weir_resident_notify(&closer);
    cr_assert(weir_test_reaches(&done_count, 1), "an actor put on a busy worker from outside runs");
    finish();
}

/* ---- work that a worker's own uv callbacks make for it, just before its loop would block ---- */

static struct weir_resident chained;
static struct weir_timer chained_timer;
static uv_timer_t chained_uv;

static void on_chained_timer(struct weir_timer *timer)
{
    (void)timer;
    weir_resident_notify(&chained);
}

/* Runs at the start of the loop's iteration: the loop blocks after it, unless somebody looks. */
static void on_chained_uv(uv_timer_t *timer)
{
    struct weir_worker *worker = weir_worker_current();
    (void)timer;
    if (atomic_fetch_add_explicit(&done_count, 1, memory_order_release) % 2 == 0)
        weir_resident_notify(&chained);
    else
        weir_timers_arm(weir_worker_timers(worker), &chained_timer, weir_worker_now_ns(worker) + 10000);
}

static void chained_turn(struct weir_actor *actor, struct weir_worker *worker)
{
    (void)actor;
    if (!chained_uv.loop)
        uv_timer_init(weir_worker_uv(worker), &chained_uv);
    if (atomic_load(&done_count) < 200)
        uv_timer_start(&chained_uv, on_chained_uv, 0, 0);
    else
        uv_close((uv_handle_t *)&chained_uv, NULL);
}

Test(worker, what_its_own_uv_callbacks_schedule_is_run_at_once)
{
    world = weir_test_system(1);
    weir_timer_init(&chained_timer, on_chained_timer);
    weir_resident_init(&chained, weir_system_worker(world, 1), chained_turn, 1, 1);
    weir_resident_notify(&chained);
    cr_assert(weir_test_reaches(&done_count, 200), "the worker slept on what it had to do, after %llu",
              (unsigned long long)done_count);
    finish();
}

/* ---- stealing from an owner that is stuck ---- */

#define VICTIMS 20

static struct weir_actor victims[VICTIMS], blocker;
static int blocked_index = -1;

static void victim_turn(struct weir_actor *actor, struct weir_worker *worker)
{
    (void)actor;
    (void)worker;
    atomic_fetch_add_explicit(&done_count, 1, memory_order_release);
}

/* Does not end before the others have run, which they can only elsewhere. */
static void blocker_turn(struct weir_actor *actor, struct weir_worker *worker)
{
    (void)actor;
    (void)worker;
    if (!weir_test_reaches(&done_count, VICTIMS))
        atomic_fetch_add(&wrong, 1);
    blocked_index = weir_worker_index();
    atomic_fetch_add_explicit(&done_count, 1, memory_order_release);
}

static void dispatch_victims(struct weir_actor *actor, struct weir_worker *worker)
{
    (void)actor;
    blocker.turn = blocker_turn;
    weir_worker_dispatch(worker, &blocker);
    for (unsigned i = 0; i < VICTIMS; i++) {
        victims[i].turn = victim_turn;
        weir_worker_dispatch(worker, &victims[i]);
    }
}

Test(worker, actors_behind_a_stuck_one_are_run_by_others)
{
    static struct weir_resident resident;
    world = weir_test_system(2);
    weir_resident_init(&resident, weir_system_worker(world, 2), dispatch_victims, 1, 1);
    weir_test_sleep_us(50000); /* the other worker sleeps by now, most likely */
    weir_resident_notify(&resident);
    cr_assert(weir_test_reaches(&done_count, VICTIMS + 1));
    cr_assert_geq(blocked_index, 0);
    finish();
}

static void resident_blocks(struct weir_actor *actor, struct weir_worker *worker)
{
    (void)actor;
    for (unsigned i = 0; i < VICTIMS; i++) {
        victims[i].turn = victim_turn;
        weir_worker_dispatch(worker, &victims[i]);
    }
    if (!weir_test_reaches(&done_count, VICTIMS))
        atomic_fetch_add(&wrong, 1);
    atomic_fetch_add_explicit(&done_count, 1, memory_order_release);
}

Test(worker, actors_behind_a_resident_that_is_stuck_are_run_by_others)
{
    static struct weir_resident resident;
    world = weir_test_system(2);
    weir_resident_init(&resident, weir_system_worker(world, 1), resident_blocks, 1, 1);
    weir_resident_notify(&resident);
    cr_assert(weir_test_reaches(&done_count, VICTIMS + 1));
    finish();
}

/* ---- W6 and contracts ---- */

static struct weir_actor stray;

static void dispatch_here(struct weir_actor *actor, struct weir_worker *worker)
{
    (void)actor;
    weir_worker_dispatch(worker, &stray);
}

static void dispatch_on_control(void)
{
    static struct weir_resident resident;
    world = weir_system_create(1, 0, weir_seam_system(), NULL);
    weir_resident_init(&resident, weir_system_worker(world, WEIR_WORKER_CONTROL), dispatch_here, 1, 1);
    weir_resident_notify(&resident);
    if (weir_system_start(world, NULL) != 0)
        _exit(1);
    weir_test_sleep_us(10000000);
}

static void dispatch_from_outside(void)
{
    world = weir_system_create(1, 0, weir_seam_system(), NULL);
    weir_worker_dispatch(weir_system_worker(world, 1), &stray);
}

Test(worker, dispatch_on_control_or_from_elsewhere_is_a_broken_invariant)
{
    cr_assert(weir_test_aborts(dispatch_on_control, "WEIR_WORKER_CONTROL"));
    cr_assert(weir_test_aborts(dispatch_from_outside, "worker == current"));
}

static _Atomic int control_index = 7, handler_index = 7;
static _Atomic(struct uv_loop_s *) control_loop, handler_loop;

static void ask_control(struct weir_actor *actor, struct weir_worker *worker)
{
    (void)actor;
    (void)worker;
    control_index = weir_worker_index();
    control_loop = weir_worker_loop();
    atomic_fetch_add(&done_count, 1);
}

static void ask_handler(struct weir_actor *actor, struct weir_worker *worker)
{
    (void)actor;
    (void)worker;
    handler_index = weir_worker_index();
    handler_loop = weir_worker_loop();
    atomic_fetch_add(&done_count, 1);
}

Test(worker, handlers_are_told_their_worker_and_loop_and_nobody_else_is)
{
    static struct weir_resident on_control, on_handler;
    world = weir_test_system(2);
    weir_resident_init(&on_control, weir_system_worker(world, 0), ask_control, 1, 1);
    weir_resident_init(&on_handler, weir_system_worker(world, 2), ask_handler, 1, 1);
    weir_resident_notify(&on_control);
    weir_resident_notify(&on_handler);
    cr_assert(weir_test_reaches(&done_count, 2));
    cr_assert_eq(control_index, -1);
    cr_assert_null(control_loop);
    cr_assert_eq(handler_index, 1);
    cr_assert_eq(handler_loop, weir_worker_uv(weir_system_worker(world, 2)));
    cr_assert_eq(weir_worker_index(), -1);
    cr_assert_null(weir_worker_loop());
    cr_assert_null(weir_worker_current());
    finish();
}
