/*
 * A system's threads: their loops, sleep and wake-up, watchdog, start and end. What a worker does in a step is in
 * worker.c.
 *
 * Sleep without lost wake-ups (W5). A worker sets `sleeping`, passes a full fence, looks once more at what others can
 * put on it, and only then blocks. Others push, pass a full fence and read `sleeping`. Whichever fence comes first,
 * either the sleeper sees the push or the pusher sees `sleeping`; it takes the flag back by an exchange, and who took
 * it writes the eventfd (uv_async_send). So a wake-up costs one write at most, and none while the worker is awake. What
 * the worker's own uv callbacks put on it while it sleeps is found by on_before_block.
 *
 * Life of a loop: opened with the system, so that its users can prepare handles; run by its worker's thread; users'
 * handles are closed by that thread as it ends; wake_up and alarm stay until the system is destroyed, because other
 * threads may still send to residents until then.
 */
#include "runtime/check.h"
#include "runtime/log.h"
#include "runtime/worker_internal.h"
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CLOSE_ROUNDS_MAX 100 /* of the loop, for close callbacks that open and close further handles */
#define CLOSE_WAIT_MS    100 /* a round, for requests under way (a name being resolved) */
#define MS_TO_NS(ms)     ((uint64_t)(ms)*1000000u)

static int fail(struct weir_error *error, enum weir_code code, const char *format, ...) WEIR_FORMAT(3, 4);
static int fail(struct weir_error *error, enum weir_code code, const char *format, ...)
{
    if (!error)
        return code;
    va_list arguments;
    va_start(arguments, format);
    error->code = code;
    vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    return code;
}

/* ---- sleep and wake-up ---- */

/* Take the flag of a sleeper; true if there was one, who then is to be woken, or is awake if it is the caller. */
static bool take_sleeping(struct weir_worker *worker)
{
    if (atomic_exchange_explicit(&worker->sleeping, 0, memory_order_seq_cst) == 0)
        return false;
    if (worker->number != WEIR_WORKER_CONTROL)
        atomic_fetch_sub_explicit(&worker->system->sleepers, 1, memory_order_relaxed);
    return true;
}

void weir_worker_wake(struct weir_worker *worker)
{
    if (atomic_load_explicit(&worker->sleeping, memory_order_relaxed) && take_sleeping(worker))
        uv_async_send(&worker->wake_up);
}

bool weir_system_wake_thief(struct weir_system *system, unsigned not_number)
{
    unsigned count = system->home_end - 1;
    for (unsigned i = 0; i < count; i++) {
        struct weir_worker *worker = system->workers[1 + (not_number + i) % count];
        if (worker->number == not_number || !atomic_load_explicit(&worker->sleeping, memory_order_relaxed))
            continue;
        if (take_sleeping(worker)) {
            uv_async_send(&worker->wake_up);
            return true;
        }
    }
    return false;
}

static void on_wake_up(uv_async_t *wake_up)
{
    (void)wake_up; /* that the loop returned is all */
}

static void on_alarm(uv_timer_t *alarm)
{
    ((struct weir_worker *)alarm->data)->alarm_due_ns = UINT64_MAX;
}

/* Have the loop return when the next timer of the heap is due, rounded up to ms. */
static void set_alarm(struct weir_worker *worker, uint64_t now_ns)
{
    uint64_t due_ns = weir_timers_next_due_ns(&worker->timers);
    if (due_ns == worker->alarm_due_ns)
        return;
    worker->alarm_due_ns = due_ns;
    if (due_ns == UINT64_MAX) {
        uv_timer_stop(&worker->alarm);
        return;
    }
    uv_update_time(&worker->loop);
    uv_timer_start(&worker->alarm, on_alarm, (due_ns - now_ns) / 1000000u + 1, 0);
}

/* Called by the loop as the last thing before it blocks. The callbacks of this iteration, the alarm's and users' timers
 * among them, ran after sleep_in_loop looked: they may have scheduled actors and armed timers here, for which nobody
 * else will wake this worker. */
static void on_before_block(uv_prepare_t *prepare)
{
    struct weir_worker *worker = prepare->data;
    uint64_t now_ns = weir_worker_refresh_now(worker);
    if (weir_worker_has_own_work(worker) || weir_timers_next_due_ns(&worker->timers) <= now_ns)
        uv_stop(&worker->loop); /* poll without blocking, then return */
    else
        set_alarm(worker, now_ns);
}

static bool is_stopping(const struct weir_worker *worker)
{
    return atomic_load_explicit(&worker->system->stopping, memory_order_acquire);
}

static bool has_reason_to_stay(const struct weir_worker *worker, uint64_t now_ns)
{
    return weir_worker_has_own_work(worker) || weir_timers_next_due_ns(&worker->timers) <= now_ns ||
           is_stopping(worker) || weir_worker_sees_victim(worker, now_ns);
}

static void sleep_in_loop(struct weir_worker *worker)
{
    if (worker->number != WEIR_WORKER_CONTROL)
        atomic_fetch_add_explicit(&worker->system->sleepers, 1, memory_order_relaxed);
    atomic_exchange_explicit(&worker->sleeping, 1, memory_order_seq_cst); /* with schedule in worker.c and stop */
    ck_pr_fence_atomic_load();
    uint64_t now_ns = weir_worker_refresh_now(worker);
    if (!has_reason_to_stay(worker, now_ns)) {
        uv_run(&worker->loop, UV_RUN_ONCE);
        weir_counter_add(&worker->stats.wakes, 1);
    }
    take_sleeping(worker);
}

/* True if work comes within SPIN_NS. */
static bool look_out(struct weir_worker *worker)
{
    uint64_t now_ns = worker->now_ns, end_ns = now_ns + SPIN_NS;
    while (now_ns < end_ns) {
        for (unsigned i = 0; i < 32; i++)
            ck_pr_stall();
        now_ns = weir_worker_refresh_now(worker);
        if (has_reason_to_stay(worker, now_ns))
            return true;
    }
    return false;
}

/* Look out for work before a sleep; true if there is some. In vain that costs as much again as the sleep that it was to
 * spare: each time it was, twice as many sleeps as before go without. */
static bool spin(struct weir_worker *worker)
{
    if (!worker->system->can_spin || worker->number == WEIR_WORKER_CONTROL)
        return false;
    if (worker->sleeps_without_spin > 0) {
        worker->sleeps_without_spin--;
        return false;
    }
    bool found = look_out(worker);
    worker->spins_in_vain = found ? 0 : worker->spins_in_vain + (worker->spins_in_vain < SPINS_IN_VAIN_MAX);
    worker->sleeps_without_spin = (1u << worker->spins_in_vain) - 1;
    return found;
}

/* Add the time since the last account to a counter. */
static void account(struct weir_worker *worker, _Atomic uint64_t *counter)
{
    if (worker->now_ns > worker->accounted_ns)
        weir_counter_add(counter, worker->now_ns - worker->accounted_ns);
    worker->accounted_ns = worker->now_ns;
}

static void idle(struct weir_worker *worker)
{
    account(worker, &worker->stats.busy_ns);
    if (!spin(worker)) {
        sleep_in_loop(worker);
        worker->polled_ns = weir_worker_refresh_now(worker);
    }
    account(worker, &worker->stats.idle_ns);
}

static void poll_loop(struct weir_worker *worker)
{
    uv_run(&worker->loop, UV_RUN_NOWAIT);
    worker->polled_ns = weir_worker_refresh_now(worker);
}

static void run(struct weir_worker *worker)
{
    worker->accounted_ns = worker->polled_ns = weir_worker_refresh_now(worker);
    while (!is_stopping(worker)) {
        if (!weir_worker_step(worker)) {
            idle(worker);
            continue;
        }
        account(worker, &worker->stats.busy_ns);
        if (worker->now_ns - worker->polled_ns >= UV_POLL_INTERVAL_NS)
            poll_loop(worker);
    }
    account(worker, &worker->stats.busy_ns);
}

/* A thread of the pool: it sleeps in the pool's queue. */
static void run_pooled(struct weir_worker *worker)
{
    worker->accounted_ns = weir_worker_refresh_now(worker);
    for (struct weir_actor *actor; (actor = weir_pool_take(worker->system->pool, &worker->turn));) {
        weir_worker_refresh_now(worker);
        account(worker, &worker->stats.idle_ns);
        weir_worker_run_pooled(worker, actor);
        account(worker, &worker->stats.busy_ns);
    }
    weir_worker_refresh_now(worker);
    account(worker, &worker->stats.idle_ns);
}

/* ---- watchdog: control looks at the others ---- */

static void on_watchdog(struct weir_timer *timer)
{
    struct weir_system *system = WEIR_CONTAINER(timer, struct weir_system, watchdog);
    struct weir_worker *control = system->workers[WEIR_WORKER_CONTROL];
    uint64_t now_ns = weir_worker_now_ns(control);
    for (unsigned i = 1; i < system->home_end; i++)
        if (weir_worker_is_worth_stealing(system->workers[i], now_ns))
            weir_system_wake_thief(system, i);
    bool all_sleep = atomic_load_explicit(&system->sleepers, memory_order_relaxed) == system->home_end - 1;
    weir_timers_arm(&control->timers, timer, now_ns + MS_TO_NS(WATCHDOG_INTERVAL_MS) * (all_sleep ? 10 : 1));
}

/* ---- loops ---- */

/* What libuv reports is handled; where one of its own small tables cannot grow it ends the process by itself. */
static int open_loop(struct weir_worker *worker, struct weir_error *error)
{
    int result = uv_loop_init(&worker->loop);
    if (result != 0)
        return fail(error, result == UV_ENOMEM ? WEIR_NO_MEMORY : WEIR_SYSTEM,
                    "libuv loop of worker %u could not be opened: %s; check the limit of open files (ulimit -n)",
                    worker->number, uv_strerror(result));
    result = uv_async_init(&worker->loop, &worker->wake_up, on_wake_up);
    if (result != 0) {
        uv_loop_close(&worker->loop);
        return fail(error, result == UV_ENOMEM ? WEIR_NO_MEMORY : WEIR_SYSTEM,
                    "wake-up of worker %u could not be opened: %s; check the limit of open files (ulimit -n)",
                    worker->number, uv_strerror(result));
    }
    uv_timer_init(&worker->loop, &worker->alarm);
    uv_prepare_init(&worker->loop, &worker->before_block);
    worker->alarm.data = worker->before_block.data = worker;
    uv_prepare_start(&worker->before_block, on_before_block); /* first to start is last to run */
    worker->loop_is_open = true;
    return 0;
}

struct walk {
    struct weir_worker *worker;
    unsigned count;
};

static void close_if_users(uv_handle_t *handle, void *argument)
{
    struct walk *walk = argument;
    const struct weir_worker *worker = walk->worker;
    if (handle == (const uv_handle_t *)&worker->wake_up || handle == (const uv_handle_t *)&worker->alarm ||
        handle == (const uv_handle_t *)&worker->before_block || uv_is_closing(handle))
        return;
    walk->count++;
    uv_close(handle, NULL);
}

/* Close what users left on the loop, and wait a bounded time for their requests. */
static void close_users(struct weir_worker *worker)
{
    struct walk walk = {worker, 0};
    worker->users_are_closed = true;
    uv_prepare_stop(&worker->before_block);
    uv_unref((uv_handle_t *)&worker->wake_up); /* so that alive means users' */
    uv_timer_start(&worker->alarm, on_alarm, CLOSE_WAIT_MS, CLOSE_WAIT_MS);
    uv_unref((uv_handle_t *)&worker->alarm);
    uv_walk(&worker->loop, close_if_users, &walk);
    for (unsigned i = 0; i < CLOSE_ROUNDS_MAX && uv_loop_alive(&worker->loop); i++) {
        uv_run(&worker->loop, UV_RUN_ONCE);
        uv_walk(&worker->loop, close_if_users, &walk);
    }
    uv_timer_stop(&worker->alarm);
    if (walk.count == 0)
        return;
    char number[16], count[16];
    snprintf(number, sizeof number, "%u", worker->number);
    snprintf(count, sizeof count, "%u", walk.count);
    weir_log(WEIR_LOG_WARN, WEIR_FIELDS({"worker", number}, {"handles", count}),
             "%u libuv handle(s) were left open on the loop of worker %u and have been closed; close them before the "
             "consumer is closed",
             walk.count, worker->number);
}

/* False if the loop is still in use; its memory must then stay. */
static bool close_loop(struct weir_worker *worker)
{
    uv_close((uv_handle_t *)&worker->wake_up, NULL);
    uv_close((uv_handle_t *)&worker->alarm, NULL);
    uv_close((uv_handle_t *)&worker->before_block, NULL);
    int result = UV_EBUSY;
    for (int i = 0; i < 2 && result != 0; i++) { /* twice: a user's uv_stop() may have ended the first */
        uv_run(&worker->loop, UV_RUN_NOWAIT);
        result = uv_loop_close(&worker->loop);
    }
    if (result == 0)
        return true;
    weir_log(
        WEIR_LOG_ERROR, WEIR_NO_FIELDS,
        "loop of worker %u could not be closed: %s: a libuv request on it has not ended after %d ms; its memory is "
        "not freed",
        worker->number, uv_strerror(result), CLOSE_ROUNDS_MAX * CLOSE_WAIT_MS);
    return false;
}

/* ---- threads ---- */

static void *thread_main(void *argument)
{
    struct weir_worker *worker = argument;
    char name[16];
    if (worker->number == WEIR_WORKER_CONTROL)
        snprintf(name, sizeof name, "weir-control");
    else if (worker->is_pool)
        snprintf(name, sizeof name, "weir-pool-%u", worker->number - worker->system->home_end);
    else
        snprintf(name, sizeof name, "weir-%u", worker->number - 1);
    pthread_setname_np(pthread_self(), name);
    weir_worker_enter(worker);
    if (worker->is_pool) {
        run_pooled(worker);
    } else {
        run(worker);
        close_users(worker);
    }
    weir_worker_enter(NULL);
    return NULL;
}

static int start_threads(struct weir_system *system)
{
    for (; system->thread_count < system->worker_count; system->thread_count++) {
        struct weir_worker *worker = system->workers[system->thread_count];
        int result = pthread_create(&worker->thread, NULL, thread_main, worker);
        if (result != 0)
            return result;
    }
    return 0;
}

/* Block signals in the threads to be started, which inherit the mask: they go to the program's own threads. Not those
 * that a thread brings on itself, which would kill without the program's crash handler, nor the profiler's. */
static void block_signals(sigset_t *before)
{
    static const int kept[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGPROF};
    sigset_t blocked;
    sigfillset(&blocked);
    for (size_t i = 0; i < WEIR_COUNT(kept); i++)
        sigdelset(&blocked, kept[i]);
    pthread_sigmask(SIG_BLOCK, &blocked, before);
}

int weir_system_start(struct weir_system *system, struct weir_error *error)
{
    if (system->was_started)
        return fail(error, WEIR_STATE, "the threads were started before; a system is started once");
    system->was_started = true;
    struct weir_worker *control = system->workers[WEIR_WORKER_CONTROL];
    weir_timer_init(&system->watchdog, on_watchdog);
    weir_timers_arm(&control->timers, &system->watchdog, weir_worker_now_ns(control));
    sigset_t before;
    block_signals(&before);
    int result = start_threads(system);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (result == 0)
        return 0;
    unsigned started = system->thread_count;
    weir_system_stop(system);
    return fail(error, WEIR_SYSTEM,
                "thread %u of %u could not be started: %s; lower weir.workers or weir.blocking.threads, or raise the "
                "limit of threads (ulimit -u)",
                started + 1, system->worker_count, strerror(result));
}

void weir_system_stop(struct weir_system *system)
{
    WEIR_CHECK(system->thread_count == 0 || weir_worker_current() == NULL); /* it would wait for itself */
    atomic_store_explicit(&system->stopping, true, memory_order_seq_cst);
    ck_pr_fence_memory(); /* before weir_worker_wake reads `sleeping`; with the exchange in sleep_in_loop */
    if (system->pool)
        weir_pool_end(system->pool);
    for (unsigned i = 0; i < system->thread_count; i++)
        weir_worker_wake(system->workers[i]);
    for (unsigned i = 0; i < system->thread_count; i++)
        pthread_join(system->workers[i]->thread, NULL);
    system->thread_count = 0;
}

/* ---- life ---- */

/* Free a worker whose queue was made. */
static void destroy_worker(struct weir_worker *worker)
{
    bool is_unused = true;
    if (worker->loop_is_open) {
        if (!worker->users_are_closed) /* its thread never ran */
            close_users(worker);
        is_unused = close_loop(worker);
    }
    weir_worker_deinit(worker);
    if (is_unused)
        weir_memory_free(worker);
}

void weir_system_destroy(struct weir_system *system)
{
    if (!system)
        return;
    WEIR_CHECK(system->thread_count == 0);
    for (unsigned i = 0; system->workers && i < system->worker_count; i++)
        if (system->workers[i])
            destroy_worker(system->workers[i]);
    if (system->pool)
        weir_pool_deinit(system->pool);
    weir_memory_free(system->pool);
    weir_memory_free(system->workers);
    weir_memory_free(system);
}

static int build_worker(struct weir_system *system, unsigned number, bool is_simulated, struct weir_error *error)
{
    struct weir_worker *worker = weir_memory_allocate(sizeof *worker);
    if (!worker || weir_worker_init(worker, system, number, is_simulated) != 0) {
        weir_memory_free(worker);
        return fail(error, WEIR_NO_MEMORY, "no memory for worker %u of %u: %zu bytes", number, system->worker_count,
                    sizeof *worker + WEIR_RUN_RING_SIZE * sizeof(ck_ring_buffer_t));
    }
    system->workers[number] = worker;
    return is_simulated || worker->is_pool ? 0 : open_loop(worker, error);
}

/* Without workers yet; NULL where memory is short. */
static struct weir_system *build_frame(unsigned workers, unsigned pool_threads)
{
    struct weir_system *system = weir_memory_allocate_zeroed(1, sizeof *system);
    if (!system)
        return NULL;
    system->home_end = workers + 1;
    system->workers = weir_memory_allocate_zeroed(workers + 1 + pool_threads, sizeof(struct weir_worker *));
    if (pool_threads > 0)
        system->pool = weir_memory_allocate(sizeof *system->pool);
    if (system->pool)
        weir_pool_init(system->pool, pool_threads);
    if (system->workers && (system->pool || pool_threads == 0)) {
        system->worker_count = workers + 1 + pool_threads;
        return system;
    }
    weir_system_destroy(system);
    return NULL;
}

struct weir_system *weir_system_build(unsigned workers, unsigned pool_threads, const struct weir_seam *seam,
                                      bool is_simulated, struct weir_error *error)
{
    if (workers < 1 || workers > WEIR_WORKERS_MAX) {
        fail(error, WEIR_INVALID, "workers=%u: must be 1..%d", workers, WEIR_WORKERS_MAX);
        return NULL;
    }
    if (pool_threads > WEIR_POOL_MAX) {
        fail(error, WEIR_INVALID, "pool threads=%u: must be 0..%d", pool_threads, WEIR_POOL_MAX);
        return NULL;
    }
    struct weir_system *system = build_frame(workers, pool_threads);
    if (!system) {
        fail(error, WEIR_NO_MEMORY, "no memory for a system of %u workers", workers + pool_threads);
        return NULL;
    }
    system->seam = seam;
    system->can_spin = !is_simulated && uv_available_parallelism() > 1;
    for (unsigned i = 0; i < system->worker_count; i++) {
        if (build_worker(system, i, is_simulated, error) != 0) {
            weir_system_destroy(system);
            return NULL;
        }
    }
    return system;
}

struct weir_system *weir_system_create(unsigned workers, unsigned pool_threads, const struct weir_seam *seam,
                                       struct weir_error *error)
{
    return weir_system_build(workers, pool_threads, seam, false, error);
}

int weir_system_set_levels(struct weir_system *system, unsigned count, unsigned share_percent)
{
    WEIR_CHECK(system->thread_count == 0 && !system->was_started);
    if (system->pool)
        weir_levels_init(&system->pool->levels, count, share_percent);
    for (unsigned i = 0; i < system->worker_count; i++) {
        WEIR_CHECK(!weir_worker_has_own_work(system->workers[i]));
        if (weir_worker_set_levels(system->workers[i], count, share_percent) == 0)
            continue;
        weir_system_set_levels(system, 1, 0);
        return WEIR_NO_MEMORY;
    }
    return 0;
}

unsigned weir_system_worker_count(const struct weir_system *system)
{
    return system->worker_count;
}

unsigned weir_system_home_count(const struct weir_system *system)
{
    return system->home_end - 1;
}

unsigned weir_system_runner_count(const struct weir_system *system)
{
    return system->pool ? system->worker_count - system->home_end : system->home_end - 1;
}

struct weir_worker *weir_system_worker(const struct weir_system *system, unsigned index)
{
    WEIR_CHECK(index < system->worker_count);
    return system->workers[index];
}

const struct weir_seam *weir_system_seam(const struct weir_system *system)
{
    return system->seam;
}
