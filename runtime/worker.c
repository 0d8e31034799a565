/*
 * Resident actors, a worker's own things, and its step. See worker.h for the contract; roaming actors are in roaming.c,
 * threads and sleep in system.c.
 *
 * Wake-up without loss (W2). A sender makes its mail or state visible, passes a full fence, reads `wake`. A worker sets
 * `wake` to running, passes a full fence, then the turn reads mail and state. Whichever fence comes first, either the
 * worker sees the mail or the sender sees `running` and leaves `notified` behind.
 *
 * Who may free a resident. The turn that takes a mail may run before its sender has read `wake`; the owner must not
 * free the resident in between. A sender that is a worker of the same system says which resident it is sending to in
 * its `sends_to`, other threads count themselves in the resident; weir_resident_is_idle looks at both.
 */
#include "runtime/check.h"
#include "runtime/worker_internal.h"
#include <weir/message.h>

enum wake_state { WAKE_IDLE = 0, WAKE_SCHEDULED, WAKE_RUNNING, WAKE_NOTIFIED };

/* initial-exec: one instruction instead of a call, also in the shared library. */
static _Thread_local struct weir_worker *current __attribute__((tls_model("initial-exec")));

struct weir_worker *weir_worker_current(void)
{
    return current;
}

void weir_worker_enter(struct weir_worker *worker)
{
    current = worker;
}

/* ---- resident actors ---- */

_Static_assert(offsetof(struct weir_resident, actor) == 0 && offsetof(struct weir_actor, next) == 0 &&
                   offsetof(ck_stack_entry_t, next) == 0,
               "a resident begins as an actor, an actor as a stack entry");

void weir_resident_init(struct weir_resident *resident, struct weir_worker *home, weir_turn *turn,
                        uint32_t mailbox_messages_max, uint64_t mailbox_bytes_max)
{
    resident->actor = (struct weir_actor){.turn = turn};
    resident->home = home;
    resident->level = 0;
    atomic_init(&resident->wake, WAKE_IDLE);
    atomic_init(&resident->outside_senders, 0);
    weir_mailbox_init(&resident->mailbox, mailbox_messages_max, mailbox_bytes_max);
}

void weir_resident_set_level(struct weir_resident *resident, unsigned level)
{
    WEIR_CHECK(level < resident->home->level_count);
    resident->level = (uint8_t)level;
}

/* A scheduled one waits for its turn. Owner. */
static void append(struct weir_worker *worker, struct weir_resident *resident)
{
    weir_actor_list_append(&worker->residents[resident->level], &resident->actor);
    worker->resident_count++;
}

/* Put a resident that has just become scheduled on its home's queue. It may have run and be gone when this returns. */
static void schedule(struct weir_worker *home, struct weir_resident *resident)
{
    if (home == current) {
        append(home, resident);
        return;
    }
    weir_stack_push(&home->inbox, (ck_stack_entry_t *)(void *)resident);
    ck_pr_fence_atomic_load(); /* between the push and reading `sleeping`; with the exchange in sleep_in_loop */
    weir_worker_wake(home);
}

/* The caller has passed a full fence since it wrote what the turn shall see. */
static void announce(struct weir_resident *resident)
{
    struct weir_worker *home = resident->home; /* before the push: after it the resident may be gone */
    uint32_t state = atomic_load_explicit(&resident->wake, memory_order_relaxed);
    do {
        if (state == WAKE_SCHEDULED || state == WAKE_NOTIFIED)
            return;
    } while (!atomic_compare_exchange_weak_explicit(&resident->wake, &state,
                                                    state == WAKE_IDLE ? WAKE_SCHEDULED : WAKE_NOTIFIED,
                                                    memory_order_acq_rel, memory_order_relaxed));
    if (state == WAKE_IDLE)
        schedule(home, resident);
}

void weir_resident_notify(struct weir_resident *resident)
{
    ck_pr_fence_memory(); /* with the exchange in run_resident */
    announce(resident);
}

static void deliver(struct weir_resident *resident, struct weir_mail *mail)
{
    weir_mailbox_send(&resident->mailbox, mail);
    ck_pr_fence_atomic_load(); /* after the push, itself atomic; with the exchange in run_resident */
    announce(resident);
}

void weir_resident_send(struct weir_resident *resident, struct weir_mail *mail)
{
    struct weir_worker *home = resident->home;
    if (current == home) {
        deliver(resident, mail); /* the owner cannot free it meanwhile: it is here */
    } else if (current && current->system == home->system) {
        /* Seen by whoever takes the mail, because the push comes after it. */
        atomic_store_explicit(&current->sends_to, resident, memory_order_relaxed);
        deliver(resident, mail);
        atomic_store_explicit(&current->sends_to, NULL, memory_order_release); /* with is_idle */
    } else {
        atomic_fetch_add_explicit(&resident->outside_senders, 1, memory_order_relaxed);
        deliver(resident, mail);
        atomic_fetch_sub_explicit(&resident->outside_senders, 1, memory_order_release); /* with is_idle */
    }
}

bool weir_resident_is_idle(const struct weir_resident *resident)
{
    const struct weir_system *system = resident->home->system;
    if (atomic_load_explicit(&resident->wake, memory_order_acquire) != WAKE_IDLE ||
        !weir_mailbox_is_empty(&resident->mailbox) ||
        atomic_load_explicit(&resident->outside_senders, memory_order_acquire) > 0)
        return false;
    for (unsigned i = 0; i < system->worker_count; i++)
        if (atomic_load_explicit(&system->workers[i]->sends_to, memory_order_acquire) == resident)
            return false;
    return true;
}

/* ---- a worker's own things ---- */

int weir_worker_init(struct weir_worker *worker, struct weir_system *system, unsigned number, bool is_simulated)
{
    *worker = (struct weir_worker){.system = system,
                                   .seam = system->seam,
                                   .number = number,
                                   .is_simulated = is_simulated,
                                   .limits = {TIMERS_PER_STEP, UINT32_MAX, ROAMING_PER_STEP},
                                   .alarm_due_ns = UINT64_MAX};
    if (is_simulated)
        worker->limits = (struct weir_step_limits){1, 1, 1};
    worker->is_pool = number >= system->home_end;
    worker->level_count = 1;
    weir_levels_init(&worker->levels, 1, 0);
    weir_timers_init(&worker->timers);
    weir_random_init(&worker->random, system->seam->entropy(system->seam));
    atomic_init(&worker->turn_average_ns, AVERAGE_START_NS);
    return worker->is_pool ? 0 : weir_run_queue_init(&worker->queue); /* W7: nothing is put to it */
}

static void free_lower(struct weir_worker *worker)
{
    for (unsigned level = 1; level < worker->level_count; level++)
        weir_run_queue_deinit(weir_worker_queue(worker, level));
    weir_memory_free(worker->lower);
    worker->lower = NULL;
    worker->level_count = 1;
    weir_levels_init(&worker->levels, 1, 0);
}

void weir_worker_deinit(struct weir_worker *worker)
{
    free_lower(worker);
    weir_run_queue_deinit(&worker->queue);
}

int weir_worker_set_levels(struct weir_worker *worker, unsigned count, unsigned share_percent)
{
    free_lower(worker);
    if (worker->is_pool || count == 1)
        return 0;
    worker->lower = weir_memory_allocate_zeroed(count - 1, sizeof *worker->lower);
    if (!worker->lower)
        return WEIR_NO_MEMORY;
    for (unsigned level = 1; level < count; level++) {
        if (weir_run_queue_init(&worker->lower[level - 1]) != 0) {
            free_lower(worker);
            return WEIR_NO_MEMORY;
        }
        worker->level_count = (uint8_t)(level + 1); /* so many to free */
    }
    weir_levels_init(&worker->levels, count, share_percent);
    return 0;
}

uint64_t weir_worker_now_ns(const struct weir_worker *worker)
{
    /* Callbacks of the uv loop run between steps, after a sleep of any length. */
    return worker->in_step ? worker->now_ns : worker->seam->now_ns(worker->seam);
}

uint64_t weir_worker_refresh_now(struct weir_worker *worker)
{
    return worker->now_ns = worker->seam->now_ns(worker->seam);
}

int64_t weir_worker_wall_ms(const struct weir_worker *worker)
{
    return worker->seam->wall_ms(worker->seam);
}

struct weir_timers *weir_worker_timers(struct weir_worker *worker)
{
    return &worker->timers;
}

struct weir_random *weir_worker_random(struct weir_worker *worker)
{
    return &worker->random;
}

unsigned weir_worker_number(const struct weir_worker *worker)
{
    return worker->number;
}

struct uv_loop_s *weir_worker_uv(const struct weir_worker *worker)
{
    return worker->loop_is_open ? (struct uv_loop_s *)&worker->loop : NULL;
}

bool weir_worker_is_pool(const struct weir_worker *worker)
{
    return worker->is_pool;
}

bool weir_worker_may_take_long(const struct weir_worker *worker)
{
    return worker->turn.is_long;
}

void weir_worker_weigh(struct weir_worker *worker, uint32_t units)
{
    worker->turn.level.units = units;
}

const struct weir_worker_stats *weir_worker_stats(const struct weir_worker *worker)
{
    return &worker->stats;
}

struct weir_system *weir_worker_system(const struct weir_worker *worker)
{
    return worker->system;
}

bool weir_worker_has_queued(const struct weir_worker *worker)
{
    return weir_worker_has_own_work(worker);
}

size_t weir_worker_queued_at(const struct weir_worker *worker, unsigned level)
{
    const struct weir_run_queue *queue = level == 0 ? &worker->queue : &worker->lower[level - 1];
    return queue->waiting.count + weir_run_queue_stealable(queue);
}

size_t weir_worker_queued(const struct weir_worker *worker)
{
    size_t count = 0;
    for (unsigned level = 0; level < worker->level_count; level++)
        count += weir_worker_queued_at(worker, level);
    return count;
}

/* ---- for handlers ---- */

struct uv_loop_s *weir_worker_loop(void)
{
    return current && current->number != WEIR_WORKER_CONTROL ? weir_worker_uv(current) : NULL;
}

int weir_worker_index(void)
{
    if (!current || current->number == WEIR_WORKER_CONTROL)
        return -1;
    return (int)(current->is_pool ? current->number - current->system->home_end : current->number - 1);
}

/* ---- turns ---- */

void weir_worker_take_inbox(struct weir_worker *worker)
{
    struct weir_actor *actor = (struct weir_actor *)(void *)weir_stack_take(&worker->inbox);
    while (actor) {
        struct weir_actor *next = actor->next;
        append(worker, (struct weir_resident *)(void *)actor);
        actor = next;
    }
}

/* Where there are levels, every other turn is that of the first, and the others are of each in turn: so who has just
 * been woken at a higher one waits for few, and nobody for ever. One waits. */
static unsigned choose_level(struct weir_worker *worker)
{
    unsigned turn = worker->resident_turns++, count = worker->level_count;
    unsigned level = turn % 2 == 0 ? 0 : turn / 2 % count;
    while (!worker->residents[level].first)
        level = level + 1 < count ? level + 1 : 0;
    return level;
}

static struct weir_resident *take_resident(struct weir_worker *worker)
{
    unsigned level = worker->level_count > 1 ? choose_level(worker) : 0;
    worker->resident_count--;
    return (struct weir_resident *)(void *)weir_actor_list_take(&worker->residents[level]);
}

static void run_resident(struct weir_worker *worker, struct weir_resident *resident)
{
    uint32_t state = atomic_exchange_explicit(&resident->wake, WAKE_RUNNING, memory_order_seq_cst);
    WEIR_CHECK(state == WAKE_SCHEDULED);
    ck_pr_fence_atomic_load(); /* the turn's loads come after the exchange; with weir_resident_notify and deliver */
    weir_worker_begin_turn(worker);
    resident->actor.turn(&resident->actor, worker);
    state = WAKE_RUNNING;
    if (atomic_compare_exchange_strong_explicit(&resident->wake, &state, WAKE_IDLE, memory_order_acq_rel,
                                                memory_order_relaxed))
        return;
    WEIR_CHECK(state == WAKE_NOTIFIED);
    atomic_store_explicit(&resident->wake, WAKE_SCHEDULED, memory_order_relaxed); /* only we leave `notified` */
    append(worker, resident);
}

static bool run_residents(struct weir_worker *worker)
{
    weir_worker_take_inbox(worker);
    size_t left = worker->resident_count < worker->limits.residents ? worker->resident_count : worker->limits.residents;
    if (left == 0)
        return false;
    for (uint64_t end_ns = worker->now_ns + STEP_NS_MAX; left > 0 && worker->now_ns <= end_ns; left--) {
        run_resident(worker, take_resident(worker));
        weir_worker_refresh_now(worker);
        if (worker->level_count > 1)
            weir_worker_take_inbox(worker); /* who is woken at a higher level goes before those that wait */
    }
    weir_worker_end_turns(worker);
    return true;
}

/* ---- roaming actors ---- */

void weir_worker_dispatch(struct weir_worker *worker, struct weir_actor *actor)
{
    weir_worker_dispatch_at(worker, actor, 0, 1);
}

void weir_worker_dispatch_at(struct weir_worker *worker, struct weir_actor *actor, unsigned level, unsigned length)
{
    WEIR_CHECK(worker == current);
    WEIR_CHECK(worker->number != WEIR_WORKER_CONTROL && !worker->is_pool); /* W6, W7 */
    if (worker->system->pool) {
        weir_pool_put(worker->system->pool, actor, level, length);
        return;
    }
    WEIR_CHECK(level < worker->level_count);
    weir_run_queue_put(weir_worker_queue(worker, level), actor);
}

struct weir_actor_list weir_worker_withdraw(struct weir_worker *worker, weir_actor_match *match, const void *argument)
{
    WEIR_CHECK(worker == current);
    if (worker->system->pool)
        return weir_pool_withdraw(worker->system->pool, match, argument);
    struct weir_actor_list all = weir_run_queue_withdraw(&worker->queue, match, argument);
    for (unsigned level = 1; level < worker->level_count; level++) {
        struct weir_actor_list list = weir_run_queue_withdraw(weir_worker_queue(worker, level), match, argument);
        for (struct weir_actor *actor; (actor = weir_actor_list_take(&list));)
            weir_actor_list_append(&all, actor);
    }
    return all;
}

/* ---- the step ---- */

bool weir_worker_step(struct weir_worker *worker)
{
    weir_worker_refresh_now(worker);
    if (worker->is_pool)
        return weir_worker_step_pooled(worker);
    worker->in_step = true;
    bool did = weir_timers_expire(&worker->timers, worker->now_ns, worker->limits.timers) > 0;
    did |= run_residents(worker);
    did |= weir_worker_run_roaming(worker);
    worker->in_step = false;
    return did;
}
