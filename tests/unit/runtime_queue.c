/*
 * The run queue: order across its ring and its list, and thieves.
 */
#include "runtime/random.h"
#include "runtime/run_queue.h"
#include "tests/support/test.h"
#include "tests/support/wait.h"
#include <pthread.h>

#define THIEVES 3

struct item {
    struct weir_actor actor;
    uint64_t number;
    _Atomic uint32_t taken;
};

static struct weir_run_queue queue;

static struct item *make_items(unsigned count)
{
    struct item *items = calloc(count, sizeof *items);
    cr_assert_not_null(items);
    for (unsigned i = 0; i < count; i++)
        items[i].number = i;
    return items;
}

static struct item *item_of(struct weir_actor *actor)
{
    return (struct item *)(void *)actor;
}

Test(run_queue, order_is_kept_across_the_ring_and_the_list_behind_it)
{
    unsigned count = 10 * WEIR_RUN_RING_SIZE, put = 0, taken = 0;
    struct item *items = make_items(count);
    struct weir_random random;
    weir_random_init(&random, 3);
    cr_assert_eq(weir_run_queue_init(&queue), 0);
    cr_assert(weir_run_queue_is_empty(&queue));
    while (taken < count) {
        for (uint64_t n = weir_random_below(&random, 3000); n > 0 && put < count; n--)
            weir_run_queue_put(&queue, &items[put++].actor);
        for (uint64_t n = weir_random_below(&random, 2500); n > 0 && taken < put; n--) {
            struct weir_actor *actor = weir_run_queue_take(&queue);
            cr_assert_not_null(actor);
            cr_assert_eq(item_of(actor)->number, taken);
            taken++;
        }
    }
    cr_assert_null(weir_run_queue_take(&queue));
    cr_assert(weir_run_queue_is_empty(&queue));
    weir_run_queue_deinit(&queue);
    free(items);
}

static bool is_even(const struct weir_actor *actor, const void *argument)
{
    return ((const struct item *)(const void *)actor)->number % 2 == *(const unsigned *)argument;
}

/* Goal: what is withdrawn comes in order, and the rest stays in its own, across the ring and the list behind it. */
Test(run_queue, what_is_withdrawn_is_gone_and_the_rest_keeps_its_order)
{
    unsigned count = 3 * WEIR_RUN_RING_SIZE, even = 0, taken = 0;
    struct item *items = make_items(count);
    cr_assert_eq(weir_run_queue_init(&queue), 0);
    for (unsigned i = 0; i < count; i++)
        weir_run_queue_put(&queue, &items[i].actor);
    struct weir_actor_list list = weir_run_queue_withdraw(&queue, is_even, &even);
    cr_assert_eq(list.count, count / 2);
    for (struct weir_actor *actor; (actor = weir_actor_list_take(&list)); taken++)
        cr_assert_eq(item_of(actor)->number, 2 * taken);
    cr_assert_eq(weir_run_queue_stealable(&queue), WEIR_RUN_RING_SIZE - 1, "thieves find nothing");
    taken = 0;
    for (struct weir_actor *actor; (actor = weir_run_queue_take(&queue)); taken++)
        cr_assert_eq(item_of(actor)->number, 2 * taken + 1);
    cr_assert_eq(taken, count / 2);
    list = weir_run_queue_withdraw(&queue, is_even, &even);
    cr_assert_null(list.first);
    weir_run_queue_deinit(&queue);
    free(items);
}

Test(run_queue, what_does_not_fit_in_the_ring_cannot_be_stolen_but_is_not_lost)
{
    unsigned count = 2 * WEIR_RUN_RING_SIZE, stolen = 0;
    struct item *items = make_items(count);
    cr_assert_eq(weir_run_queue_init(&queue), 0);
    for (unsigned i = 0; i < count; i++)
        weir_run_queue_put(&queue, &items[i].actor);
    for (struct weir_actor *actor; (actor = weir_run_queue_steal(&queue)); stolen++)
        cr_assert_eq(item_of(actor)->number, stolen);
    cr_assert_eq(stolen, WEIR_RUN_RING_SIZE - 1);
    cr_assert_eq(weir_run_queue_stealable(&queue), 0);
    cr_assert_not(weir_run_queue_is_empty(&queue), "the owner still has what waits");
    for (unsigned i = stolen; i < count; i++)
        cr_assert_eq(item_of(weir_run_queue_take(&queue))->number, i);
    cr_assert(weir_run_queue_is_empty(&queue));
    weir_run_queue_deinit(&queue);
    free(items);
}

/* ---- thieves ---- */

static _Atomic uint64_t taken_total, out_of_order;
static uint64_t target;

static void take_note(struct item *item, uint64_t *last)
{
    /* The front moves on only, so what one thread takes has rising numbers. */
    if (item->number + 1 <= *last)
        atomic_fetch_add(&out_of_order, 1);
    *last = item->number + 1;
    atomic_fetch_add_explicit(&item->taken, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&taken_total, 1, memory_order_release);
}

static void *steal_all(void *argument)
{
    uint64_t last = 0;
    (void)argument;
    while (atomic_load(&taken_total) < target) {
        struct weir_actor *actor = weir_run_queue_steal(&queue);
        if (actor)
            take_note(item_of(actor), &last);
        else
            sched_yield();
    }
    return NULL;
}

Test(run_queue, every_actor_is_taken_once_by_owner_or_thief)
{
    unsigned count = weir_test_scaled(400000);
    struct item *items = make_items(count);
    pthread_t threads[THIEVES];
    uint64_t last = 0;
    target = count;
    cr_assert_eq(weir_run_queue_init(&queue), 0);
    for (unsigned i = 0; i < THIEVES; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, steal_all, NULL), 0);
    for (unsigned put = 0; put < count || !weir_run_queue_is_empty(&queue);) {
        for (unsigned i = 0; i < 1500 && put < count; i++)
            weir_run_queue_put(&queue, &items[put++].actor);
        for (unsigned i = 0; i < 700; i++) {
            struct weir_actor *actor = weir_run_queue_take(&queue);
            if (actor)
                take_note(item_of(actor), &last);
        }
    }
    cr_assert(weir_test_reaches(&taken_total, count), "%llu of %u", (unsigned long long)taken_total, count);
    for (unsigned i = 0; i < THIEVES; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < count; i++)
        cr_assert_eq(atomic_load(&items[i].taken), 1, "actor %u", i);
    cr_assert_eq(atomic_load(&out_of_order), 0);
    weir_run_queue_deinit(&queue);
    free(items);
}
