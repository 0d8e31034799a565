/*
 * The pool's queue: see pool.h. Its threads are run by system.c, their turns by worker.c.
 */
#include "runtime/pool.h"

#define LENGTH_MIN 8 /* with less to do than this there is little to lose */
#define IN_TURN    4 /* each so manieth long one is of the queue whose turn it is */

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
    atomic_store_explicit(&pool->count, pool->queue.count + pool->long_queued, memory_order_relaxed);
}

static bool is_long(const struct weir_pool *pool, unsigned length)
{
    return pool->threads > 1 && length >= LENGTH_MIN && length > pool->queue.count / pool->threads;
}

/* 8 .. 15 are in the first, 16 .. 31 in the next. */
static struct weir_actor_list *long_queue(struct weir_pool *pool, unsigned length)
{
    unsigned number = (unsigned)(__builtin_clz(LENGTH_MIN) - __builtin_clz(length));
    return &pool->longs[number < WEIR_POOL_LONGS ? number : WEIR_POOL_LONGS - 1];
}

void weir_pool_put(struct weir_pool *pool, struct weir_actor *actor, unsigned length)
{
    pthread_mutex_lock(&pool->lock);
    bool goes_first = is_long(pool, length);
    weir_actor_list_append(goes_first ? long_queue(pool, length) : &pool->queue, actor);
    pool->long_queued += goes_first;
    publish_count(pool);
    bool waited_for = pool->idle_count > 0;
    pthread_mutex_unlock(&pool->lock);
    if (waited_for)
        pthread_cond_signal(&pool->filled); /* O2: who goes to wait after the unlock sees what was put */
}

static void end_turn(struct weir_pool *pool, bool *runs_long)
{
    pool->long_running -= *runs_long;
    *runs_long = false;
}

/* The longest; or, of every few, the next one down from the queue whose turn it is. One is queued. */
static struct weir_actor *take_long(struct weir_pool *pool)
{
    unsigned takes = ++pool->long_takes;
    unsigned number = takes % IN_TURN == 0 ? takes / IN_TURN % WEIR_POOL_LONGS : WEIR_POOL_LONGS - 1;
    while (!pool->longs[number].first)
        number = number > 0 ? number - 1 : WEIR_POOL_LONGS - 1;
    pool->long_queued--;
    pool->long_running++;
    return weir_actor_list_take(&pool->longs[number]);
}

static struct weir_actor *take(struct weir_pool *pool, bool *runs_long)
{
    *runs_long = pool->long_queued > 0 && (pool->long_running < pool->threads / 2 || !pool->queue.first);
    struct weir_actor *actor = *runs_long ? take_long(pool) : weir_actor_list_take(&pool->queue);
    publish_count(pool);
    return actor;
}

struct weir_actor *weir_pool_try_take(struct weir_pool *pool, bool *runs_long)
{
    pthread_mutex_lock(&pool->lock);
    end_turn(pool, runs_long);
    struct weir_actor *actor = take(pool, runs_long);
    pthread_mutex_unlock(&pool->lock);
    return actor;
}

struct weir_actor *weir_pool_take(struct weir_pool *pool, bool *runs_long)
{
    pthread_mutex_lock(&pool->lock);
    end_turn(pool, runs_long);
    while (!pool->queue.first && pool->long_queued == 0 && !pool->ended) {
        pool->idle_count++;
        pthread_cond_wait(&pool->filled, &pool->lock);
        pool->idle_count--;
    }
    struct weir_actor *actor = pool->ended ? NULL : take(pool, runs_long);
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
    for (unsigned number = WEIR_POOL_LONGS; number-- > 0;)
        withdraw(&pool->longs[number], match, argument, &matching);
    pool->long_queued -= matching.count;
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
