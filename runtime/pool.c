/*
 * The pool's queue: see pool.h. Its threads are run by system.c, their turns by worker.c.
 */
#include "runtime/pool.h"

#define LENGTH_MIN 8 /* with less to do than this there is little to lose */

void weir_pool_init(struct weir_pool *pool, unsigned threads)
{
    *pool = (struct weir_pool){.threads = threads};
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->filled, NULL);
}

void weir_pool_deinit(struct weir_pool *pool)
{
    pthread_cond_destroy(&pool->filled);
    pthread_mutex_destroy(&pool->lock);
}

static void publish_count(struct weir_pool *pool)
{
    /* Relaxed, a hint: nothing hangs on it. */
    atomic_store_explicit(&pool->count, pool->queue.count + pool->long_queue.count, memory_order_relaxed);
}

static bool goes_first(const struct weir_pool *pool, unsigned length)
{
    return pool->threads > 1 && length >= LENGTH_MIN && length > pool->queue.count / pool->threads;
}

void weir_pool_put(struct weir_pool *pool, struct weir_actor *actor, unsigned length)
{
    pthread_mutex_lock(&pool->lock);
    weir_actor_list_append(goes_first(pool, length) ? &pool->long_queue : &pool->queue, actor);
    publish_count(pool);
    bool waited_for = pool->idle_count > 0;
    pthread_mutex_unlock(&pool->lock);
    if (waited_for)
        pthread_cond_signal(&pool->filled); /* O2: who goes to wait after the unlock sees what was put */
}

static void end_turn(struct weir_pool *pool, bool *is_long)
{
    pool->long_count -= *is_long;
    *is_long = false;
}

static struct weir_actor *take(struct weir_pool *pool, bool *is_long)
{
    *is_long = pool->long_queue.first && (pool->long_count < pool->threads / 2 || !pool->queue.first);
    pool->long_count += *is_long;
    struct weir_actor *actor = weir_actor_list_take(*is_long ? &pool->long_queue : &pool->queue);
    publish_count(pool);
    return actor;
}

struct weir_actor *weir_pool_try_take(struct weir_pool *pool, bool *is_long)
{
    pthread_mutex_lock(&pool->lock);
    end_turn(pool, is_long);
    struct weir_actor *actor = take(pool, is_long);
    pthread_mutex_unlock(&pool->lock);
    return actor;
}

struct weir_actor *weir_pool_take(struct weir_pool *pool, bool *is_long)
{
    pthread_mutex_lock(&pool->lock);
    end_turn(pool, is_long);
    while (!pool->queue.first && !pool->long_queue.first && !pool->ended) {
        pool->idle_count++;
        pthread_cond_wait(&pool->filled, &pool->lock);
        pool->idle_count--;
    }
    struct weir_actor *actor = pool->ended ? NULL : take(pool, is_long);
    pthread_mutex_unlock(&pool->lock);
    return actor;
}

static void withdraw(struct weir_actor_list *from, weir_actor_match *match, const void *argument,
                     struct weir_actor_list *matching)
{
    struct weir_actor_list others = {0};
    struct weir_actor *actor;
    while ((actor = weir_actor_list_take(from)))
        weir_actor_list_append(match(actor, argument) ? matching : &others, actor);
    *from = others;
}

struct weir_actor_list weir_pool_withdraw(struct weir_pool *pool, weir_actor_match *match, const void *argument)
{
    struct weir_actor_list matching = {0};
    pthread_mutex_lock(&pool->lock);
    withdraw(&pool->long_queue, match, argument, &matching);
    withdraw(&pool->queue, match, argument, &matching);
    publish_count(pool);
    pthread_mutex_unlock(&pool->lock);
    return matching;
}

void weir_pool_end(struct weir_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->ended = true;
    pthread_mutex_unlock(&pool->lock);
    pthread_cond_broadcast(&pool->filled);
}
