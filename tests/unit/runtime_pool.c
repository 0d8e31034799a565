/*
 * The pool, and workers that have one: invariants O1 and O2 of pool.h, and W7 of worker.h.
 *
 * Turns note what is wrong in counters; the test's own thread asserts.
 */
#include "runtime/system.h"
#include "runtime/worker_internal.h"
#include "tests/support/test.h"
#include "tests/support/wait.h"
#include <pthread.h>
#include <weir/message.h>

enum { POOL_THREADS = 6, ACTORS = 500 };

static _Atomic uint64_t wrong, inside, most_inside, done_count;

Test(pool, is_first_in_first_out_and_ends_for_those_who_wait_too)
{
    struct weir_pool pool;
    struct weir_actor actors[3] = {0};
    struct weir_pool_turn turn = {0};
    weir_pool_init(&pool, POOL_THREADS);
    cr_assert_null(weir_pool_try_take(&pool, &turn));
    for (size_t index = 0; index < 3; index++)
        weir_pool_put(&pool, &actors[index], 0, 1);
    cr_assert_eq(weir_pool_count(&pool), 3);
    cr_assert_eq(weir_pool_take(&pool, &turn), &actors[0]);
    cr_assert_eq(weir_pool_try_take(&pool, &turn), &actors[1]);
    weir_pool_end(&pool);
    cr_assert_null(weir_pool_take(&pool, &turn), "an ended pool hands out nothing, though one is queued");
    cr_assert_eq(weir_pool_count(&pool), 1);
    weir_pool_deinit(&pool);
}

static bool is_it(const struct weir_actor *actor, const void *argument)
{
    return actor == argument;
}

Test(pool, gives_back_what_is_withdrawn_and_keeps_the_rest_in_order)
{
    struct weir_pool pool;
    struct weir_actor actors[3] = {0}, longer[2] = {0};
    weir_pool_init(&pool, 2);
    struct weir_pool_turn turn = {0};
    for (size_t index = 0; index < 3; index++)
        weir_pool_put(&pool, &actors[index], 0, 1);
    struct weir_actor_list list = weir_pool_withdraw(&pool, is_it, &actors[1]);
    cr_assert(list.count == 1 && list.first == &actors[1]);
    cr_assert_eq(weir_pool_count(&pool), 2);
    list = weir_pool_withdraw(&pool, is_it, &actors[1]);
    cr_assert_null(list.first);
    for (size_t index = 0; index < 2; index++)
        weir_pool_put(&pool, &longer[index], 0, 1000);
    list = weir_pool_withdraw(&pool, is_it, &longer[0]);
    cr_assert(list.count == 1 && list.first == &longer[0]);
    cr_assert_eq(weir_pool_try_take(&pool, &turn), &longer[1]);
    cr_assert_eq(weir_pool_try_take(&pool, &turn), &actors[0]);
    cr_assert_eq(weir_pool_try_take(&pool, &turn), &actors[2]);
    weir_pool_deinit(&pool);
}

/* Puts `count` with so much to do. */
static void put(struct weir_pool *pool, struct weir_actor *actors, size_t count, unsigned length)
{
    for (size_t index = 0; index < count; index++)
        weir_pool_put(pool, &actors[index], 0, length);
}

Test(pool, gives_what_has_most_to_do_first_but_to_half_of_its_threads_only)
{
    struct weir_pool pool;
    static struct weir_actor fair[2 * POOL_THREADS], longer[POOL_THREADS];
    struct weir_pool_turn turns[POOL_THREADS] = {0};
    weir_pool_init(&pool, POOL_THREADS);
    put(&pool, fair, 2 * POOL_THREADS, 1);
    put(&pool, longer, POOL_THREADS, 100);
    cr_assert_eq(weir_pool_count(&pool), 3 * POOL_THREADS);
    for (size_t index = 0; index < POOL_THREADS / 2; index++)
        cr_assert_eq(weir_pool_try_take(&pool, &turns[index]), &longer[index]);
    for (size_t index = POOL_THREADS / 2; index < POOL_THREADS; index++)
        cr_assert_eq(weir_pool_try_take(&pool, &turns[index]), &fair[index - POOL_THREADS / 2]);
    cr_assert(turns[0].is_long && !turns[POOL_THREADS - 1].is_long);
    cr_assert_eq(weir_pool_try_take(&pool, &turns[0]), &longer[POOL_THREADS / 2], "its place is free again");
    weir_pool_deinit(&pool);
}

Test(pool, gives_the_longest_before_the_long_and_each_queue_its_turn)
{
    struct weir_pool pool;
    static struct weir_actor many[40], few[40];
    struct weir_pool_turn turn = {0};
    size_t longest = 0, shorter = 0;
    weir_pool_init(&pool, POOL_THREADS);
    put(&pool, few, 40, 10);
    put(&pool, many, 40, 1000);
    for (size_t index = 0; index < 40; index++) {
        struct weir_actor *actor = weir_pool_try_take(&pool, &turn);
        cr_assert(turn.is_long);
        longest += actor >= many && actor < many + 40;
        shorter += actor >= few && actor < few + 40;
    }
    cr_assert_eq(longest + shorter, 40);
    cr_assert_geq(longest, 30);
    cr_assert_gt(shorter, 0);
    weir_pool_deinit(&pool);
}

Test(pool, gives_long_ones_to_all_threads_where_nothing_else_is_queued)
{
    struct weir_pool pool;
    static struct weir_actor longer[POOL_THREADS];
    struct weir_pool_turn turns[POOL_THREADS] = {0};
    weir_pool_init(&pool, POOL_THREADS);
    put(&pool, longer, POOL_THREADS, 100);
    for (size_t index = 0; index < POOL_THREADS; index++)
        cr_assert_eq(weir_pool_try_take(&pool, &turns[index]), &longer[index]);
    weir_pool_deinit(&pool);
}

Test(pool, lets_nothing_go_first_that_has_less_to_do_than_is_queued_for_each_thread)
{
    struct weir_pool pool;
    static struct weir_actor fair[20 * POOL_THREADS], last;
    struct weir_pool_turn turn = {0};
    weir_pool_init(&pool, POOL_THREADS);
    put(&pool, fair, 20 * POOL_THREADS, 1);
    weir_pool_put(&pool, &last, 0, 20);
    for (size_t index = 0; index < 20 * POOL_THREADS; index++)
        cr_assert_eq(weir_pool_try_take(&pool, &turn), &fair[index]);
    cr_assert_eq(weir_pool_try_take(&pool, &turn), &last);
    cr_assert_not(turn.is_long);
    weir_pool_deinit(&pool);
}

static void *take_all(void *argument)
{
    struct weir_pool *pool = argument;
    struct weir_pool_turn turn = {0};
    while (weir_pool_take(pool, &turn))
        atomic_fetch_add(&done_count, 1);
    return NULL;
}

Test(pool, wakes_a_thread_for_each_that_is_put)
{
    static struct weir_actor actors[ACTORS];
    struct weir_pool pool;
    pthread_t threads[POOL_THREADS];
    weir_pool_init(&pool, POOL_THREADS);
    for (size_t index = 0; index < POOL_THREADS; index++)
        cr_assert_eq(pthread_create(&threads[index], NULL, take_all, &pool), 0);
    for (size_t index = 0; index < ACTORS; index++) { /* one at a time, so that threads wait again and again */
        weir_pool_put(&pool, &actors[index], 0, 1);
        cr_assert(weir_test_reaches(&done_count, index / 2), "an actor is queued and nobody comes");
    }
    cr_assert(weir_test_reaches(&done_count, ACTORS));
    weir_pool_end(&pool);
    for (size_t index = 0; index < POOL_THREADS; index++)
        pthread_join(threads[index], NULL);
    cr_assert_eq(atomic_load(&done_count), ACTORS);
    weir_pool_deinit(&pool);
}

/* ---- a system with one ---- */

struct home {
    struct weir_resident resident;
    struct weir_actor actors[POOL_THREADS];
    bool dispatched;
    _Atomic uint64_t turns;
};

static struct home home;

/* Blocks until all threads of the pool are in here, and the home has had turns meanwhile. */
static void block(struct weir_actor *actor, struct weir_worker *worker)
{
    (void)actor;
    uint64_t now = atomic_fetch_add(&inside, 1) + 1, turns = atomic_load(&home.turns);
    if (!weir_worker_is_pool(worker) || weir_worker_current() != worker || weir_worker_loop() != NULL ||
        weir_worker_index() < 0 || weir_worker_index() >= POOL_THREADS)
        atomic_fetch_add(&wrong, 1);
    if (now > atomic_load(&most_inside))
        atomic_store(&most_inside, now);
    if (!weir_test_reaches(&inside, POOL_THREADS) || !weir_test_reaches(&home.turns, turns + 10))
        atomic_fetch_add(&wrong, 1);
    atomic_fetch_add(&done_count, 1);
}

static void home_turn(struct weir_actor *actor, struct weir_worker *worker)
{
    (void)actor;
    if (weir_worker_is_pool(worker))
        atomic_fetch_add(&wrong, 1);
    for (size_t index = 0; !home.dispatched && index < POOL_THREADS; index++) {
        home.actors[index].turn = block;
        weir_worker_dispatch(worker, &home.actors[index]);
    }
    home.dispatched = true;
    atomic_fetch_add(&home.turns, 1);
}

Test(pool, blocks_in_all_its_threads_while_residents_have_their_turns)
{
    struct weir_error error;
    struct weir_system *system = weir_system_create(1, POOL_THREADS, weir_seam_system(), &error);
    cr_assert_not_null(system, "%s", error.text);
    cr_assert_eq(weir_system_worker_count(system), 2u + POOL_THREADS);
    cr_assert_eq(weir_system_home_count(system), 1u);
    cr_assert_eq(weir_system_runner_count(system), (unsigned)POOL_THREADS);
    weir_resident_init(&home.resident, weir_system_worker(system, 1), home_turn, 0, 0);
    cr_assert_eq(weir_system_start(system, &error), 0, "%s", error.text);
    for (unsigned round = 0; atomic_load(&done_count) < POOL_THREADS && round < WEIR_TEST_WAIT_MS; round++) {
        weir_resident_notify(&home.resident);
        weir_test_sleep_us(1000);
    }
    weir_system_stop(system);
    cr_assert_eq(atomic_load(&done_count), (uint64_t)POOL_THREADS);
    cr_assert_eq(atomic_load(&most_inside), (uint64_t)POOL_THREADS);
    cr_assert_eq(atomic_load(&wrong), 0u);
    weir_system_destroy(system);
}

Test(pool, of_too_many_threads_is_refused)
{
    struct weir_error error;
    cr_assert_null(weir_system_create(1, 4097, weir_seam_system(), &error));
    cr_assert_eq(error.code, WEIR_INVALID);
}
