/*
 * Systems: creation and its failures, threads, timers of a sleeping worker, the end with what users left.
 */
#include "runtime/check.h"
#include "runtime/log.h"
#include "runtime/memory.h"
#include "runtime/system.h"
#include "tests/support/test.h"
#include "tests/support/wait.h"
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

static struct weir_error error;
static struct weir_system *world;
static _Atomic uint64_t done_count;

static unsigned open_descriptors(void)
{
    unsigned count = 0;
    DIR *directory = opendir("/proc/self/fd");
    cr_assert_not_null(directory);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

/* Number of open ones once libuv has opened those that it keeps for the process. */
static unsigned descriptors_at_start(void)
{
    weir_system_destroy(weir_system_create(1, 0, weir_seam_system(), &error));
    return open_descriptors();
}

/* ---- creation ---- */

Test(system, the_number_of_workers_is_checked)
{
    cr_assert_null(weir_system_create(0, 0, weir_seam_system(), &error));
    cr_assert_eq(error.code, WEIR_INVALID);
    cr_assert_str_eq(error.text, "workers=0: must be 1..256");
    cr_assert_null(weir_system_create(257, 0, weir_seam_system(), NULL));
}

Test(system, one_that_is_never_started_is_destroyed_and_leaves_nothing)
{
    unsigned before = descriptors_at_start();
    world = weir_system_create(3, 0, weir_seam_system(), &error);
    cr_assert_not_null(world, "%s", error.text);
    cr_assert_eq(weir_system_worker_count(world), 4);
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(weir_worker_number(weir_system_worker(world, i)), i);
    cr_assert_eq(weir_system_seam(world), weir_seam_system());
    cr_assert_gt(open_descriptors(), before);
    weir_system_stop(world);
    weir_system_destroy(world);
    cr_assert_eq(open_descriptors(), before);
    weir_system_destroy(NULL);
}

Test(system, every_allocation_of_its_creation_may_fail)
{
    unsigned failures = 0;
    unsigned before = descriptors_at_start();
    for (world = NULL; !world && failures < 1000; failures++) {
        weir_memory_fail_after(failures);
        error = (struct weir_error){0};
        world = weir_system_create(2, 0, weir_seam_system(), &error);
        weir_memory_fail_after(UINT64_MAX);
        if (!world) {
            cr_assert_eq(error.code, WEIR_NO_MEMORY, "allocation %u: %s", failures, error.text);
            cr_assert_eq(open_descriptors(), before, "allocation %u left descriptors open", failures);
        }
    }
    cr_assert_eq(failures, 9, "two of the system, two of each worker, and none");
    weir_system_destroy(world);
}

Test(system, a_lack_of_descriptors_is_said_with_its_remedy)
{
    struct rlimit limit = {0};
    unsigned before = descriptors_at_start(), refused = 0;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    for (unsigned extra = 0; extra < 30; extra++) {
        struct rlimit low = {before + extra, limit.rlim_max};
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
        world = weir_system_create(2, 0, weir_seam_system(), &error);
        setrlimit(RLIMIT_NOFILE, &limit);
        if (world) {
            weir_system_destroy(world);
        } else {
            refused++;
            cr_assert_eq(error.code, WEIR_SYSTEM);
            cr_assert_not_null(strstr(error.text, "ulimit -n"), "%s", error.text);
        }
        /* libuv 1.44 itself loses the one of a loop that it fails to open. */
        cr_assert_leq(open_descriptors(), before + refused, "with %u places", extra);
    }
    cr_assert_gt(refused, 3);
}

/* ---- threads ---- */

Test(system, is_started_once)
{
    world = weir_system_create(1, 0, weir_seam_system(), &error);
    cr_assert_eq(weir_system_start(world, &error), 0);
    cr_assert_eq(weir_system_start(world, &error), WEIR_STATE);
    weir_system_stop(world);
    weir_system_stop(world);
    cr_assert_eq(weir_system_start(world, NULL), WEIR_STATE, "nor after its end");
    weir_system_destroy(world);
}

Test(system, a_thread_that_cannot_be_started_is_an_error_and_leaves_none)
{
    pthread_attr_t attributes, before;
    cr_assert_eq(pthread_getattr_default_np(&before), 0);
    pthread_attr_init(&attributes);
    cr_assert_eq(pthread_attr_setstacksize(&attributes, (size_t)1 << 50), 0); /* more than can be mapped */
    cr_assert_eq(pthread_setattr_default_np(&attributes), 0);
    world = weir_system_create(2, 0, weir_seam_system(), &error);
    int result = weir_system_start(world, &error);
    pthread_setattr_default_np(&before);
    cr_assert_eq(result, WEIR_SYSTEM);
    cr_assert_not_null(strstr(error.text, "thread 1 of 3"), "%s", error.text);
    weir_system_destroy(world);
}

static _Atomic int is_blocked[3] = {-1, -1, -1};

static void look_at_mask(struct weir_actor *actor, struct weir_worker *worker)
{
    static const int looked_at[] = {SIGTERM, SIGPIPE, SIGSEGV};
    sigset_t mask;
    (void)actor;
    (void)worker;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    for (int i = 0; i < 3; i++)
        is_blocked[i] = sigismember(&mask, looked_at[i]);
    atomic_store(&done_count, 1);
}

Test(system, its_threads_take_no_signals_but_their_own_faults)
{
    static struct weir_resident resident;
    sigset_t before, after;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    world = weir_system_create(1, 0, weir_seam_system(), &error);
    weir_resident_init(&resident, weir_system_worker(world, 1), look_at_mask, 1, 1);
    weir_resident_notify(&resident);
    cr_assert_eq(weir_system_start(world, &error), 0, "what was put on it before the start runs after it");
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    cr_assert(weir_test_reaches(&done_count, 1));
    cr_assert_eq(is_blocked[0], 1);
    cr_assert_eq(is_blocked[1], 1);
    cr_assert_eq(is_blocked[2], 0);
    cr_assert_eq(sigismember(&after, SIGTERM), sigismember(&before, SIGTERM), "the caller's mask is as before");
    weir_system_stop(world);
    weir_system_destroy(world);
}

/* ---- timers of a worker that sleeps ---- */

struct ring {
    struct weir_timer timer;
    unsigned calls, early;
};

static void on_ring(struct weir_timer *timer)
{
    struct ring *ring = WEIR_CONTAINER(timer, struct ring, timer);
    struct weir_worker *worker = weir_worker_current();
    uint64_t now_ns = weir_worker_now_ns(worker);
    ring->early += now_ns < timer->due_ns;
    if (++ring->calls < 20)
        weir_timers_arm(weir_worker_timers(worker), timer, now_ns + 1500000 + ring->calls * 100000);
    else
        atomic_fetch_add_explicit(&done_count, 1, memory_order_release);
}

static void arm_ring(struct weir_actor *actor, struct weir_worker *worker)
{
    static struct ring rings[3];
    struct ring *ring = &rings[weir_worker_number(worker)];
    (void)actor;
    weir_timer_init(&ring->timer, on_ring);
    weir_timers_arm(weir_worker_timers(worker), &ring->timer, 0);
}

Test(system, timers_wake_control_and_workers_from_sleep_and_never_early)
{
    static struct weir_resident residents[3];
    world = weir_system_create(2, 0, weir_seam_system(), &error);
    for (unsigned i = 0; i < 3; i++) {
        weir_resident_init(&residents[i], weir_system_worker(world, i), arm_ring, 1, 1);
        weir_resident_notify(&residents[i]);
    }
    cr_assert_eq(weir_system_start(world, &error), 0);
    cr_assert(weir_test_reaches(&done_count, 3));
    weir_system_stop(world);
    weir_system_destroy(world);
}

/* ---- the end ---- */

static char last_text[512], last_fields[128];
static unsigned warnings;

static void remember(void *user, enum weir_log_level level, const char *text, const struct weir_log_field *fields,
                     size_t field_count)
{
    (void)user;
    warnings += level == WEIR_LOG_WARN;
    snprintf(last_text, sizeof last_text, "%s", text);
    if (field_count == 2)
        snprintf(last_fields, sizeof last_fields, "%s=%s %s=%s", fields[0].name, fields[0].value, fields[1].name,
                 fields[1].value);
}

static uv_timer_t left_timer;
static uv_idle_t left_idle;
static uv_work_t left_work;
static _Atomic uint64_t work_done;

static void on_left(uv_timer_t *timer)
{
    (void)timer;
}

static void on_left_idle(uv_idle_t *idle)
{
    (void)idle;
}

static void work(uv_work_t *request)
{
    (void)request;
    weir_test_sleep_us(200000);
    atomic_store(&work_done, 1);
}

static void leave_things(struct weir_actor *actor, struct weir_worker *worker)
{
    (void)actor;
    uv_timer_init(weir_worker_uv(worker), &left_timer);
    uv_timer_start(&left_timer, on_left, 100000, 0);
    uv_idle_init(weir_worker_uv(worker), &left_idle);
    uv_idle_start(&left_idle, on_left_idle);
    uv_queue_work(weir_worker_uv(worker), &left_work, work, NULL);
    atomic_store(&done_count, 1);
}

Test(system, handles_and_requests_left_on_a_loop_are_ended_and_named)
{
    static struct weir_resident resident;
    unsigned before = descriptors_at_start();
    weir_log_set(remember, NULL, WEIR_LOG_INFO);
    world = weir_system_create(2, 0, weir_seam_system(), &error);
    weir_resident_init(&resident, weir_system_worker(world, 2), leave_things, 1, 1);
    cr_assert_eq(weir_system_start(world, &error), 0);
    weir_resident_notify(&resident);
    cr_assert(weir_test_reaches(&done_count, 1));
    weir_system_stop(world);
    cr_assert_eq(warnings, 1, "%s", last_text);
    cr_assert_str_eq(last_fields, "worker=2 handles=2");
    cr_assert_eq(atomic_load(&work_done), 1, "its memory is the user's: it must have ended");
    weir_system_destroy(world);
    cr_assert_eq(warnings, 1, "%s", last_text);
    cr_assert_leq(open_descriptors(), before + 2, "but for libuv's thread pool");
}

static void count_turn(struct weir_actor *actor, struct weir_worker *worker)
{
    (void)actor;
    (void)worker;
    atomic_fetch_add(&done_count, 1);
}

Test(system, what_is_sent_after_the_end_is_kept_and_does_nothing)
{
    static struct weir_resident resident;
    static struct weir_mail mail;
    world = weir_system_create(1, 0, weir_seam_system(), &error);
    cr_assert_eq(weir_system_start(world, &error), 0);
    weir_resident_init(&resident, weir_system_worker(world, 1), count_turn, 1, 1);
    weir_system_stop(world);
    weir_resident_send(&resident, &mail);
    cr_assert_eq(weir_mailbox_take(&resident.mailbox), &mail);
    cr_assert_not(weir_resident_is_idle(&resident), "scheduled, though nobody will come");
    cr_assert_eq(atomic_load(&done_count), 0);
    weir_system_destroy(world);
}

/* Sends from outside while the system ends: under the sanitizers this shows a wake-up of a loop that is gone. */
static struct weir_resident target;
static _Atomic uint64_t stop_sending;

static void *notify_until_told(void *argument)
{
    (void)argument;
    while (!atomic_load(&stop_sending)) {
        weir_resident_notify(&target);
        weir_test_sleep_us(20);
    }
    return NULL;
}

Test(system, it_can_end_while_others_still_notify)
{
    for (unsigned i = 0; i < weir_test_scaled(30); i++) {
        pthread_t thread;
        atomic_store(&stop_sending, 0);
        world = weir_system_create(1, 0, weir_seam_system(), &error);
        weir_resident_init(&target, weir_system_worker(world, 1), count_turn, 1, 1);
        cr_assert_eq(weir_system_start(world, &error), 0);
        uint64_t before = atomic_load(&done_count);
        cr_assert_eq(pthread_create(&thread, NULL, notify_until_told, NULL), 0);
        cr_assert(weir_test_reaches(&done_count, before + 3));
        weir_system_stop(world);
        atomic_store(&stop_sending, 1);
        pthread_join(thread, NULL);
        weir_system_destroy(world);
    }
}

/* ---- counters ---- */

Test(system, counters_add_up)
{
    static struct weir_resident resident;
    world = weir_system_create(1, 0, weir_seam_system(), &error);
    weir_resident_init(&resident, weir_system_worker(world, 1), count_turn, 1, 1);
    cr_assert_eq(weir_system_start(world, &error), 0);
    for (unsigned i = 1; i <= 50; i++) {
        weir_resident_notify(&resident);
        cr_assert(weir_test_reaches(&done_count, i));
    }
    weir_system_stop(world);
    const struct weir_worker_stats *stats = weir_worker_stats(weir_system_worker(world, 1));
    cr_assert_eq(atomic_load(&stats->turns), 50);
    cr_assert_eq(atomic_load(&stats->roaming_turns), 0);
    cr_assert_eq(atomic_load(&stats->turn_started_ns), 0);
    cr_assert_gt(atomic_load(&stats->busy_ns), 0);
    cr_assert_gt(atomic_load(&stats->idle_ns), 0);
    weir_system_destroy(world);
}
