/*
 * Levels: shares, counted unit by unit, and that nothing is held back for nothing. Invariants L1 to L3 of levels.h, and
 * what a pool makes of them.
 */
#include "runtime/levels.h"
#include "runtime/memory.h"
#include "runtime/pool.h"
#include "runtime/system.h"
#include "runtime/worker_internal.h"
#include "tests/support/test.h"
#include "tests/support/wait.h"

enum { UNITS = 100000 };

static uint64_t done[WEIR_LEVELS_MAX];

/* Let turns of these sizes begin, one after the other, while all that is in `waiting` waits. */
static void run(struct weir_levels *levels, unsigned waiting, const uint32_t *sizes, uint64_t units)
{
    for (uint64_t count = 0; count < units;) {
        struct weir_level_turn turn;
        unsigned level = weir_levels_choose(levels, waiting);
        weir_levels_begin(levels, level, waiting, &turn);
        turn.units = sizes[level];
        weir_levels_settle(levels, &turn);
        done[level] += sizes[level];
        count += sizes[level];
    }
}

static void expect_shares(unsigned count, unsigned share, const uint32_t *sizes, uint64_t slack)
{
    struct weir_levels levels;
    weir_levels_init(&levels, count, share);
    memset(done, 0, sizeof done);
    run(&levels, (1u << count) - 1, sizes, UNITS);
    uint64_t all = 0;
    for (unsigned level = 0; level < count; level++)
        all += done[level];
    for (unsigned level = 1; level < count; level++) {
        uint64_t due = all * share / 100;
        cr_assert(done[level] + slack >= due && done[level] <= due + slack,
                  "%u levels, %u percent: level %u had %llu of %llu units", count, share, level,
                  (unsigned long long)done[level], (unsigned long long)all);
    }
    cr_assert_geq(done[0] + slack * count, all - all * share * (count - 1) / 100);
}

Test(levels, give_each_lower_one_its_share_to_the_unit_while_all_wait)
{
    static const uint32_t ones[WEIR_LEVELS_MAX] = {1, 1, 1, 1, 1, 1, 1, 1};
    const unsigned wanted = weir_test_scaled(50), step = wanted < 50 ? 50 / wanted : 1;
    for (unsigned count = 2; count <= WEIR_LEVELS_MAX; count++)
        for (unsigned share = 1; share * (count - 1) <= 50; share += step)
            expect_shares(count, share, ones, count);
}

Test(levels, give_the_same_shares_where_turns_are_of_different_sizes)
{
    static const uint32_t low_is_long[] = {1, 64, 64}, high_is_long[] = {64, 1, 7}, all_are_long[] = {500, 64, 3};
    expect_shares(2, 10, low_is_long, 64);
    expect_shares(3, 10, low_is_long, 128);
    expect_shares(2, 10, high_is_long, 64);
    expect_shares(3, 20, high_is_long, 128);
    expect_shares(3, 5, all_are_long, 600);
}

Test(levels, take_what_alone_waits)
{
    struct weir_levels levels;
    struct weir_level_turn turn;
    weir_levels_init(&levels, 3, 10);
    for (unsigned level = 0; level < 3; level++) {
        for (unsigned index = 0; index < 1000; index++) {
            cr_assert_eq(weir_levels_choose(&levels, 1u << level), level);
            weir_levels_begin(&levels, level, 1u << level, &turn);
        }
    }
}

/* Turns until the lower of two goes. */
static unsigned turns_before(struct weir_levels *levels)
{
    struct weir_level_turn turn;
    unsigned count = 0;
    for (; weir_levels_choose(levels, 3) == 0; count++)
        weir_levels_begin(levels, 0, 3, &turn);
    return count;
}

Test(levels, let_the_first_of_a_lower_one_wait_for_a_known_number_of_others)
{
    for (unsigned share = 1; share <= 50; share++) {
        struct weir_levels levels;
        weir_levels_init(&levels, 2, share);
        cr_assert_eq(turns_before(&levels), (100 - share + share - 1) / share, "%u percent", share);
    }
}

Test(levels, forget_debts_and_savings_with_the_end_of_a_rush)
{
    struct weir_levels levels;
    struct weir_level_turn turn;
    weir_levels_init(&levels, 2, 10);
    weir_levels_begin(&levels, 1, 3, &turn);
    turn.units = 1000;
    weir_levels_settle(&levels, &turn);
    cr_assert_gt(turns_before(&levels), 8000u, "it was overdrawn");
    weir_levels_begin(&levels, 1, 3, &turn);
    turn.units = 1000;
    weir_levels_settle(&levels, &turn);
    weir_levels_begin(&levels, 1, 2, &turn);
    cr_assert_eq(turns_before(&levels), 9u, "and is no more, as it has gone alone meanwhile");
    weir_levels_begin(&levels, 0, 3, &turn);
    turn.units = 100000;
    weir_levels_settle(&levels, &turn);
    weir_levels_begin(&levels, 1, 2, &turn);
    cr_assert_eq(turns_before(&levels), 9u, "nor has it saved anything up");
}

Test(levels, do_not_earn_while_nothing_of_theirs_waits)
{
    struct weir_levels levels;
    struct weir_level_turn turn;
    weir_levels_init(&levels, 2, 10);
    for (unsigned index = 0; index < 1000; index++)
        weir_levels_begin(&levels, 0, 1, &turn);
    cr_assert_eq(turns_before(&levels), 9u);
}

/* ---- in a pool ---- */

enum { THREADS = 20, ACTORS = 400 };

static struct weir_actor high[ACTORS], low[ACTORS];

static bool is_high(const struct weir_actor *actor)
{
    return actor >= high && actor < high + ACTORS;
}

static void fill(struct weir_pool *pool, unsigned length)
{
    weir_pool_init(pool, THREADS);
    weir_levels_init(&pool->levels, 2, 10);
    for (unsigned index = 0; index < ACTORS; index++)
        weir_pool_put(pool, &low[index], 1, length);
    for (unsigned index = 0; index < ACTORS; index++)
        weir_pool_put(pool, &high[index], 0, length);
}

/* L3: twenty threads take before any of their turns is over. */
Test(levels, of_a_pool_hold_though_many_take_at_the_same_time)
{
    struct weir_pool pool;
    struct weir_pool_turn turns[THREADS] = {0};
    fill(&pool, 1);
    unsigned low_count = 0;
    for (unsigned round = 0; round < 10; round++) {
        unsigned of_round = 0;
        for (unsigned index = 0; index < THREADS; index++)
            of_round += !is_high(weir_pool_try_take(&pool, &turns[index]));
        low_count += of_round;
        cr_assert_leq(of_round, 3u, "round %u gave %u of %u threads to the lower level", round, of_round, THREADS);
    }
    cr_assert(low_count >= 19 && low_count <= 21, "%u of 200 turns", low_count);
    cr_assert_eq(weir_pool_waiting(&pool), 3u);
    weir_pool_deinit(&pool);
}

Test(levels, of_a_pool_go_before_what_is_long)
{
    struct weir_pool pool;
    struct weir_pool_turn turns[THREADS] = {0};
    fill(&pool, 1000);
    for (unsigned index = 0; index < 9; index++)
        cr_assert(is_high(weir_pool_try_take(&pool, &turns[index])));
    cr_assert_not(is_high(weir_pool_try_take(&pool, &turns[9])));
    weir_pool_deinit(&pool);
}

static bool is_any(const struct weir_actor *actor, const void *argument)
{
    (void)actor;
    (void)argument;
    return true;
}

Test(levels, of_a_pool_are_all_withdrawn_from)
{
    struct weir_pool pool;
    struct weir_pool_turn turn = {0};
    fill(&pool, 1);
    struct weir_actor_list list = weir_pool_withdraw(&pool, is_any, NULL);
    cr_assert_eq(list.count, 2u * ACTORS);
    cr_assert_eq(weir_pool_count(&pool), 0u);
    cr_assert_eq(weir_pool_waiting(&pool), 0u);
    cr_assert_null(weir_pool_try_take(&pool, &turn));
    weir_pool_deinit(&pool);
}

/* ---- on real threads ---- */

enum { OWNERS = 6, VISITORS = 40, ROUNDS = 50 };

struct owner;
struct visitor {
    struct weir_actor actor;
    struct weir_mail mail;
    struct owner *owner;
};

static struct owner {
    struct weir_resident resident;
    struct visitor visitors[VISITORS];
    unsigned out, rounds;
} owners[OWNERS];

static _Atomic uint64_t visits[3], owners_done;

static void visit(struct weir_actor *actor, struct weir_worker *worker)
{
    struct visitor *visitor = (struct visitor *)(void *)actor;
    atomic_fetch_add(&visits[visitor->owner->resident.level], 1);
    for (volatile unsigned work = 0; work < 2000;)
        work = work + 1;
    weir_worker_weigh(worker, 3);
    weir_resident_send(&visitor->owner->resident, &visitor->mail);
}

static void owner_turn(struct weir_actor *actor, struct weir_worker *worker)
{
    struct owner *owner = (struct owner *)(void *)actor;
    for (struct weir_mail *mail = weir_mailbox_take(&owner->resident.mailbox); mail; mail = mail->next)
        owner->out--;
    if (owner->out > 0 || owner->rounds > ROUNDS)
        return;
    if (++owner->rounds > ROUNDS) {
        atomic_fetch_add(&owners_done, 1);
        return;
    }
    for (unsigned index = 0; index < VISITORS; index++, owner->out++) {
        owner->visitors[index] = (struct visitor){.actor.turn = visit, .owner = owner};
        weir_worker_dispatch_at(worker, &owner->visitors[index].actor, owner->resident.level, 1);
    }
}

static void run_on_threads(unsigned workers, unsigned pool_threads)
{
    struct weir_error error;
    struct weir_system *system = weir_system_create(workers, pool_threads, weir_seam_system(), &error);
    cr_assert_not_null(system, "%s", error.text);
    cr_assert_eq(weir_system_set_levels(system, 3, 10), 0);
    memset(owners, 0, sizeof owners);
    for (unsigned level = 0; level < 3; level++)
        atomic_store(&visits[level], 0);
    atomic_store(&owners_done, 0);
    for (unsigned index = 0; index < OWNERS; index++) {
        struct weir_resident *resident = &owners[index].resident;
        weir_resident_init(resident, weir_system_worker(system, 1 + index % workers), owner_turn, 0, 0);
        weir_resident_set_level(resident, index % 3);
        weir_resident_notify(resident);
    }
    cr_assert_eq(weir_system_start(system, &error), 0, "%s", error.text);
    bool all = weir_test_reaches(&owners_done, OWNERS);
    weir_system_stop(system);
    weir_system_destroy(system);
    cr_assert(all, "not all of %d were done", OWNERS);
    for (unsigned level = 0; level < 3; level++)
        cr_assert_eq(atomic_load(&visits[level]), (uint64_t)OWNERS / 3 * VISITORS * ROUNDS);
}

Test(levels, run_everything_once_on_workers_and_thieves)
{
    run_on_threads(1, 0);
    run_on_threads(3, 0);
}

Test(levels, run_everything_once_on_threads_of_a_pool)
{
    run_on_threads(2, 3);
}

Test(levels, that_there_is_no_memory_for_leave_a_system_with_one)
{
    enum {
        WORKERS = 2,
        COUNT = 3,
        ALLOCATIONS = (WORKERS + 1) * COUNT
    }; /* of each worker: its queues, and two rings */
    struct weir_system *system = weir_system_create(WORKERS, 0, weir_seam_system(), NULL);
    cr_assert_not_null(system);
    for (uint64_t count = 0; count < ALLOCATIONS; count++) {
        weir_memory_fail_after(count);
        int result = weir_system_set_levels(system, COUNT, 10);
        weir_memory_fail_after(UINT64_MAX);
        cr_assert_eq(result, WEIR_NO_MEMORY, "allocation %llu", (unsigned long long)count);
        cr_assert_eq(weir_system_worker(system, 1)->level_count, 1);
    }
    weir_memory_fail_after(ALLOCATIONS);
    cr_assert_eq(weir_system_set_levels(system, COUNT, 10), 0);
    weir_memory_fail_after(UINT64_MAX);
    cr_assert_eq(weir_system_worker(system, 1)->level_count, COUNT);
    weir_system_destroy(system);
}
