/*
 * Actors, their scheduling, and the step of a worker. See worker.h for the contract; threads and sleep are in system.c.
 *
 * Wake-up without loss (W2). A sender makes its mail or state visible, passes a full fence, reads `wake`. A worker sets
 * `wake` to running, passes a full fence, then the turn reads mail and state. Whichever fence comes first, either the
 * worker sees the mail or the sender sees `running` and leaves `notified` behind.
 *
 * Who may free a resident. The turn that takes a mail may run before its sender has read `wake`; the owner must not
 * free the resident in between. A sender that is a worker of the same system says which resident it is sending to in
 * its `sends_to`, other threads count themselves in the resident; weir_resident_is_idle looks at both.
 *
 * Stealing (decided by turn times, since a stolen turn costs cache misses at both ends, and a wake-up microseconds):
 * another worker's actor is taken if turns there take STEAL_TURN_NS or longer and those that wait add up to
 * STEAL_BACKLOG_NS, or if the turn under way has lasted STUCK_TURN_NS. Busy workers offer by the same measure: before
 * each slice of turns they wake one sleeper; a thief that sees more wakes the next.
 */
#include "runtime/check.h"
#include "runtime/worker_internal.h"
#include <weir/message.h>

enum wake_state { WAKE_IDLE = 0, WAKE_SCHEDULED, WAKE_RUNNING, WAKE_NOTIFIED };

#define SLICE_NS           1000u   /* of short turns, between two readings of the clock */
#define SLICE_MAX          16      /* turns; when they turn long of a sudden, this many pass before it is seen */
#define AVERAGE_WEIGHT     8       /* the average moves by 1/8 of the difference */
#define AVERAGE_START_NS   50000u  /* unknown turns are offered; short ones soon show */
#define AVERAGE_SAMPLE_MAX 100000u /* one outlier (a page fault, a preempted thread) counts no more */

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
    atomic_init(&resident->wake, WAKE_IDLE);
    atomic_init(&resident->outside_senders, 0);
    weir_mailbox_init(&resident->mailbox, mailbox_messages_max, mailbox_bytes_max);
}

/* Put a resident that has just become scheduled on its home's queue. It may have run and be gone when this returns. */
static void schedule(struct weir_worker *home, struct weir_resident *resident)
{
    if (home == current) {
        weir_actor_list_append(&home->residents, &resident->actor);
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
    weir_timers_init(&worker->timers);
    weir_random_init(&worker->random, system->seam->entropy(system->seam));
    atomic_init(&worker->turn_average_ns, AVERAGE_START_NS);
    return worker->is_pool ? 0 : weir_run_queue_init(&worker->queue); /* W7: nothing is put to it */
}

void weir_worker_deinit(struct weir_worker *worker)
{
    weir_run_queue_deinit(&worker->queue);
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
    return worker->runs_long;
}

const struct weir_worker_stats *weir_worker_stats(const struct weir_worker *worker)
{
    return &worker->stats;
}

struct weir_system *weir_worker_system(const struct weir_worker *worker)
{
    return worker->system;
}

bool weir_worker_has_own_work(const struct weir_worker *worker)
{
    if (worker->is_pool)
        return weir_pool_count(worker->system->pool) > 0;
    return worker->residents.count > 0 || !weir_stack_is_empty(&worker->inbox) ||
           !weir_run_queue_is_empty(&worker->queue);
}

bool weir_worker_has_queued(const struct weir_worker *worker)
{
    return weir_worker_has_own_work(worker);
}

size_t weir_worker_queued(const struct weir_worker *worker)
{
    return worker->queue.waiting.count + weir_run_queue_stealable(&worker->queue);
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

static void begin_turn(struct weir_worker *worker)
{
    atomic_store_explicit(&worker->stats.turn_started_ns, worker->now_ns, memory_order_relaxed);
    weir_counter_add(&worker->stats.turns, 1);
}

static void end_turns(struct weir_worker *worker)
{
    atomic_store_explicit(&worker->stats.turn_started_ns, 0, memory_order_relaxed);
}

static void take_inbox(struct weir_worker *worker)
{
    struct weir_actor *actor = (struct weir_actor *)(void *)weir_stack_take(&worker->inbox);
    while (actor) {
        struct weir_actor *next = actor->next;
        weir_actor_list_append(&worker->residents, actor);
        actor = next;
    }
}

static void run_resident(struct weir_worker *worker, struct weir_resident *resident)
{
    uint32_t state = atomic_exchange_explicit(&resident->wake, WAKE_RUNNING, memory_order_seq_cst);
    WEIR_CHECK(state == WAKE_SCHEDULED);
    ck_pr_fence_atomic_load(); /* the turn's loads come after the exchange; with weir_resident_notify and deliver */
    begin_turn(worker);
    resident->actor.turn(&resident->actor, worker);
    state = WAKE_RUNNING;
    if (atomic_compare_exchange_strong_explicit(&resident->wake, &state, WAKE_IDLE, memory_order_acq_rel,
                                                memory_order_relaxed))
        return;
    WEIR_CHECK(state == WAKE_NOTIFIED);
    atomic_store_explicit(&resident->wake, WAKE_SCHEDULED, memory_order_relaxed); /* only we leave `notified` */
    weir_actor_list_append(&worker->residents, &resident->actor);
}

static bool run_residents(struct weir_worker *worker)
{
    take_inbox(worker);
    size_t left =
        worker->residents.count < worker->limits.residents ? worker->residents.count : worker->limits.residents;
    if (left == 0)
        return false;
    for (uint64_t end_ns = worker->now_ns + STEP_NS_MAX; left > 0 && worker->now_ns <= end_ns; left--) {
        run_resident(worker, (struct weir_resident *)(void *)weir_actor_list_take(&worker->residents));
        weir_worker_refresh_now(worker);
    }
    end_turns(worker);
    return true;
}

/* ---- roaming actors ---- */

void weir_worker_dispatch(struct weir_worker *worker, struct weir_actor *actor)
{
    weir_worker_dispatch_long(worker, actor, 1);
}

void weir_worker_dispatch_long(struct weir_worker *worker, struct weir_actor *actor, unsigned length)
{
    WEIR_CHECK(worker == current);
    WEIR_CHECK(worker->number != WEIR_WORKER_CONTROL && !worker->is_pool); /* W6, W7 */
    if (worker->system->pool)
        weir_pool_put(worker->system->pool, actor, length);
    else
        weir_run_queue_put(&worker->queue, actor);
}

struct weir_actor_list weir_worker_withdraw(struct weir_worker *worker, weir_actor_match *match, const void *argument)
{
    WEIR_CHECK(worker == current);
    if (worker->system->pool)
        return weir_pool_withdraw(worker->system->pool, match, argument);
    return weir_run_queue_withdraw(&worker->queue, match, argument);
}

static uint64_t backlog_ns(const struct weir_worker *worker, uint64_t average_ns)
{
    return weir_run_queue_stealable(&worker->queue) * average_ns;
}

bool weir_worker_is_worth_stealing(const struct weir_worker *victim, uint64_t now_ns)
{
    if (weir_run_queue_stealable(&victim->queue) == 0)
        return false;
    if (victim->is_simulated)
        return true; /* there are no turn times; the seed decides */
    uint64_t average_ns = atomic_load_explicit(&victim->turn_average_ns, memory_order_relaxed);
    if (average_ns >= STEAL_TURN_NS && backlog_ns(victim, average_ns) >= STEAL_BACKLOG_NS)
        return true;
    uint64_t started_ns = atomic_load_explicit(&victim->stats.turn_started_ns, memory_order_relaxed);
    return started_ns != 0 && started_ns + STUCK_TURN_NS < now_ns;
}

/* Another worker that is worth stealing from, or NULL. Starts anywhere, so that thieves spread. */
static struct weir_worker *find_victim(const struct weir_worker *worker, unsigned start, uint64_t now_ns)
{
    const struct weir_system *system = worker->system;
    unsigned count = system->home_end - 1; /* control has nothing to steal, nor has the pool */
    for (unsigned i = 0; i < count; i++) {
        struct weir_worker *victim = system->workers[1 + (start + i) % count];
        if (victim != worker && weir_worker_is_worth_stealing(victim, now_ns))
            return victim;
    }
    return NULL;
}

bool weir_worker_sees_victim(const struct weir_worker *worker, uint64_t now_ns)
{
    return worker->number != WEIR_WORKER_CONTROL && !worker->system->pool &&
           find_victim(worker, worker->number, now_ns) != NULL;
}

static struct weir_actor *steal(struct weir_worker *worker)
{
    if (worker->is_simulated && !worker->may_steal)
        return NULL;
    unsigned start = (unsigned)weir_random_below(&worker->random, worker->system->home_end);
    struct weir_worker *victim = find_victim(worker, start, worker->now_ns);
    struct weir_actor *actor = victim ? weir_run_queue_steal(&victim->queue) : NULL;
    if (!actor)
        return NULL;
    weir_counter_add(&worker->stats.steals, 1);
    if (weir_worker_is_worth_stealing(victim, worker->now_ns))
        weir_system_wake_thief(worker->system, worker->number);
    return actor;
}

/* Wake a sleeper if more waits here than is done soon. Without a fence: a sleeper that is missed here is seen before
 * the next slice, or by the watchdog; what waits is run in any case. */
static void offer(struct weir_worker *worker, uint64_t average_ns)
{
    if (average_ns >= STEAL_TURN_NS && atomic_load_explicit(&worker->system->sleepers, memory_order_relaxed) > 0 &&
        backlog_ns(worker, average_ns) >= STEAL_BACKLOG_NS)
        weir_system_wake_thief(worker->system, worker->number);
}

static void learn(struct weir_worker *worker, uint64_t average_ns, uint64_t sample_ns)
{
    uint64_t sample_max = 16 * average_ns + AVERAGE_SAMPLE_MAX;
    if (sample_ns > sample_max)
        sample_ns = sample_max;
    average_ns = (average_ns * (AVERAGE_WEIGHT - 1) + sample_ns) / AVERAGE_WEIGHT;
    atomic_store_explicit(&worker->turn_average_ns, average_ns, memory_order_relaxed);
}

bool weir_worker_turns_are_short(struct weir_worker *worker)
{
    if (worker->system->pool)
        return false;
    if (worker->is_simulated)
        return worker->short_percent > 0 && weir_random_below(&worker->random, 100) < worker->short_percent;
    return atomic_load_explicit(&worker->turn_average_ns, memory_order_relaxed) < STEAL_TURN_NS;
}

uint64_t weir_worker_ran_at_once(struct weir_worker *worker, uint64_t started_ns, unsigned count)
{
    uint64_t now_ns = weir_worker_refresh_now(worker);
    weir_counter_add(&worker->stats.roaming_turns, count);
    learn(worker, atomic_load_explicit(&worker->turn_average_ns, memory_order_relaxed), (now_ns - started_ns) / count);
    return now_ns;
}

static void run_roaming_actor(struct weir_worker *worker, struct weir_actor *actor)
{
    begin_turn(worker);
    weir_counter_add(&worker->stats.roaming_turns, 1);
    actor->turn(actor, worker); /* the last access, W3 */
}

/* Run up to `count_max` from the own queue, then read the clock once. Returns how many ran. */
static unsigned run_slice(struct weir_worker *worker, uint64_t average_ns, unsigned count_max)
{
    uint64_t started_ns = worker->now_ns;
    unsigned count = 0;
    for (struct weir_actor *actor; count < count_max && (actor = weir_run_queue_take(&worker->queue)); count++)
        run_roaming_actor(worker, actor);
    if (count > 0)
        learn(worker, average_ns, (weir_worker_refresh_now(worker) - started_ns) / count);
    return count;
}

/* Where turns are long the clock is read after each; where they are short, 22 ns are too much for each. */
static unsigned slice_size(uint64_t average_ns, unsigned left)
{
    uint64_t size = SLICE_NS / (average_ns + 1) + 1;
    if (size > SLICE_MAX)
        size = SLICE_MAX;
    return size < left ? (unsigned)size : left;
}

static bool run_stolen(struct weir_worker *worker)
{
    struct weir_actor *actor = steal(worker);
    if (!actor)
        return false;
    uint64_t started_ns = worker->now_ns;
    run_roaming_actor(worker, actor);
    end_turns(worker);
    learn(worker, atomic_load_explicit(&worker->turn_average_ns, memory_order_relaxed),
          weir_worker_refresh_now(worker) - started_ns);
    return true;
}

void weir_worker_run_pooled(struct weir_worker *worker, struct weir_actor *actor)
{
    worker->in_step = true;
    run_roaming_actor(worker, actor);
    end_turns(worker);
    weir_worker_refresh_now(worker);
    worker->in_step = false;
}

/* In the simulator: a thread of the pool waits in its queue otherwise. */
static bool step_pooled(struct weir_worker *worker)
{
    struct weir_actor *actor = weir_pool_try_take(worker->system->pool, &worker->runs_long);
    if (actor)
        weir_worker_run_pooled(worker, actor);
    return actor != NULL;
}

static bool run_roaming(struct weir_worker *worker)
{
    if (worker->number == WEIR_WORKER_CONTROL || worker->system->pool)
        return false; /* W6, W7 */
    unsigned total = 0;
    for (uint64_t end_ns = worker->now_ns + STEP_NS_MAX; total < worker->limits.roaming && worker->now_ns <= end_ns;) {
        uint64_t average_ns = atomic_load_explicit(&worker->turn_average_ns, memory_order_relaxed);
        offer(worker, average_ns);
        unsigned count = run_slice(worker, average_ns, slice_size(average_ns, worker->limits.roaming - total));
        if (count == 0)
            break;
        total += count;
    }
    end_turns(worker);
    return total > 0 || run_stolen(worker);
}

bool weir_worker_step(struct weir_worker *worker)
{
    weir_worker_refresh_now(worker);
    if (worker->is_pool)
        return step_pooled(worker);
    worker->in_step = true;
    bool did = weir_timers_expire(&worker->timers, worker->now_ns, worker->limits.timers) > 0;
    did |= run_residents(worker);
    did |= run_roaming(worker);
    worker->in_step = false;
    return did;
}
