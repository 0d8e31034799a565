/*
 * The pool's queue: see pool.h. Its threads are run by system.c, their turns by worker.c.
 */
#include "runtime/pool.h"

void weir_pool_init(struct weir_pool *pool)
{
    *pool = (struct weir_pool){0};
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
    atomic_store_explicit(&pool->count, pool->queue.count, memory_order_relaxed); /* a hint: nothing hangs on it */
}

void weir_pool_put(struct weir_pool *pool, struct weir_actor *actor)
{
    pthread_mutex_lock(&pool->lock);
    weir_actor_list_append(&pool->queue, actor);
    publish_count(pool);
    bool waited_for = pool->idle_count > 0;
    pthread_mutex_unlock(&pool->lock);
    if (waited_for)
        pthread_cond_signal(&pool->filled); /* O2: who goes to wait after the unlock sees what was put */
}

static struct weir_actor *take(struct weir_pool *pool)
{
    struct weir_actor *actor = weir_actor_list_take(&pool->queue);
    publish_count(pool);
    return actor;
}

struct weir_actor *weir_pool_try_take(struct weir_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    struct weir_actor *actor = take(pool);
    pthread_mutex_unlock(&pool->lock);
    return actor;
}

struct weir_actor *weir_pool_take(struct weir_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    while (!pool->queue.first && !pool->ended) {
        pool->idle_count++;
        pthread_cond_wait(&pool->filled, &pool->lock);
        pool->idle_count--;
    }
    struct weir_actor *actor = pool->ended ? NULL : take(pool);
    pthread_mutex_unlock(&pool->lock);
    return actor;
}

struct weir_actor_list weir_pool_withdraw(struct weir_pool *pool, weir_actor_match *match, const void *argument)
{
    struct weir_actor_list matching = {0}, others = {0};
    struct weir_actor *actor;
    pthread_mutex_lock(&pool->lock);
    while ((actor = weir_actor_list_take(&pool->queue)))
        weir_actor_list_append(match(actor, argument) ? &matching : &others, actor);
    pool->queue = others;
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
