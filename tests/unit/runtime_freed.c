/*
 * Residents that their owner frees as soon as they are idle, while who has sent to them may still be in that call.
 *
 * The moment between a send's push and its last look at the resident is too short to be hit often; ThreadSanitizer
 * reports the free that is not ordered after it whether it was hit or not.
 */
#include "runtime/check.h"
#include "tests/support/wait.h"
#include "tests/unit/running.h"
#include <sched.h>

static struct weir_system *world;
static _Atomic uint64_t done_count;

#define CYCLES 200

struct mortal {
    struct weir_resident resident;
    struct weir_timer reaper;
    uint64_t received;
};

struct visitor {
    struct weir_actor actor;
    struct weir_mail mail;
    struct mortal *mortal;
};

static struct visitor visitors[64];
static struct weir_resident keeper;
static uint64_t cycles_left;

/* Free it as soon as it is idle; that the sender may still be in its call is the point. */
static void reap(struct weir_timer *timer)
{
    struct mortal *mortal = WEIR_CONTAINER(timer, struct mortal, reaper);
    if (mortal->received < WEIR_COUNT(visitors) || !weir_resident_is_idle(&mortal->resident)) {
        weir_timers_arm(weir_worker_timers(mortal->resident.home), timer, 0);
        return;
    }
    free(mortal);
    weir_resident_notify(&keeper);
}

static void mortal_turn(struct weir_actor *actor, struct weir_worker *worker)
{
    struct mortal *mortal = (struct mortal *)(void *)actor;
    (void)worker;
    for (struct weir_mail *mail = weir_mailbox_take(&mortal->resident.mailbox); mail; mail = mail->next)
        mortal->received++;
}

static void visitor_turn(struct weir_actor *actor, struct weir_worker *worker)
{
    struct visitor *visitor = (struct visitor *)(void *)actor;
    (void)worker;
    for (volatile unsigned i = 0; i < 3000; i++)
        ; /* long enough to be stolen */
    weir_resident_send(&visitor->mortal->resident, &visitor->mail);
}

static void keeper_turn(struct weir_actor *actor, struct weir_worker *worker)
{
    (void)actor;
    if (cycles_left-- == 0) {
        atomic_store_explicit(&done_count, 1, memory_order_release);
        return;
    }
    struct mortal *mortal = calloc(1, sizeof *mortal);
    if (!mortal)
        abort();
    weir_resident_init(&mortal->resident, worker, mortal_turn, 1, 1);
    weir_timer_init(&mortal->reaper, reap);
    weir_timers_arm(weir_worker_timers(worker), &mortal->reaper, 0);
    for (unsigned i = 0; i < WEIR_COUNT(visitors); i++) {
        visitors[i] = (struct visitor){.actor.turn = visitor_turn, .mortal = mortal};
        weir_worker_dispatch(worker, &visitors[i].actor);
    }
}

Test(worker, a_resident_that_is_idle_may_be_freed_though_its_senders_have_not_returned)
{
    cycles_left = weir_test_scaled(CYCLES);
    world = weir_test_system(3);
    weir_resident_init(&keeper, weir_system_worker(world, 1), keeper_turn, 1, 1);
    weir_resident_notify(&keeper);
    cr_assert(weir_test_reaches(&done_count, 1));
    weir_test_system_end(world);
}

/* The same with a sender that is no worker. */
static struct mortal *outside_mortal;
#define OUTSIDE_MAILS 3 /* the later ones find it scheduled */
static struct weir_mail outside_mails[OUTSIDE_MAILS];
static _Atomic uint64_t freed_count;
static struct weir_resident registrar;
static _Atomic(struct mortal *) registered;

static void outside_reap(struct weir_timer *timer)
{
    struct mortal *mortal = WEIR_CONTAINER(timer, struct mortal, reaper);
    if (mortal->received < OUTSIDE_MAILS || !weir_resident_is_idle(&mortal->resident)) {
        weir_timers_arm(weir_worker_timers(mortal->resident.home), timer, 0);
        return;
    }
    free(mortal);
    atomic_fetch_add_explicit(&freed_count, 1, memory_order_release);
}

static void registrar_turn(struct weir_actor *actor, struct weir_worker *worker)
{
    (void)actor;
    struct mortal *mortal = calloc(1, sizeof *mortal);
    if (!mortal)
        abort();
    weir_resident_init(&mortal->resident, worker, mortal_turn, 1, 1);
    weir_timer_init(&mortal->reaper, outside_reap);
    weir_timers_arm(weir_worker_timers(worker), &mortal->reaper, 0);
    atomic_store_explicit(&registered, mortal, memory_order_release);
}

Test(worker, a_resident_may_be_freed_though_an_outside_sender_has_not_returned)
{
    world = weir_test_system(1);
    weir_resident_init(&registrar, weir_system_worker(world, 1), registrar_turn, 1, 1);
    unsigned cycles = weir_test_scaled(2000);
    for (unsigned i = 0; i < cycles; i++) {
        weir_resident_notify(&registrar);
        while (!(outside_mortal = atomic_exchange_explicit(&registered, NULL, memory_order_acquire)))
            sched_yield();
        for (unsigned mail = 0; mail < OUTSIDE_MAILS; mail++)
            weir_resident_send(&outside_mortal->resident, &outside_mails[mail]);
        cr_assert(weir_test_reaches(&freed_count, i + 1));
    }
    weir_test_system_end(world);
}
