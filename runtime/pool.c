/*
 * The pool's queue: see pool.h. Its threads are run by system.c, their turns by worker.c.
 */
#include "runtime/pool.h"
#include "runtime/check.h"

#define LENGTH_MIN 8 /* with less to do than this there is little to lose */
#define IN_TURN    4 /* each so manieth long one is of the queue whose turn it is */

void weir_pool_init(struct weir_pool *pool, unsigned threads)
{
    *pool = (struct weir_pool){.threads = threads};
    weir_levels_init(&pool->levels, 1, 0);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->filled, NULL);
}

void weir_pool_deinit(struct weir_pool *pool)
{
    pthread_cond_destroy(&pool->filled);
    pthread_mutex_destroy(&pool->lock);
}

/* Relaxed, hints: nothing hangs on them. */
static void publish(struct weir_pool *pool)
{
    size_t count = 0;
    unsigned waiting = 0;
    for (unsigned level = 0; level < pool->levels.count; level++) {
        size_t queued = pool->queues[level].queue.count + pool->queues[level].long_queued;
        count += queued;
        waiting |= (unsigned)(queued > 0) << level;
    }
    atomic_store_explicit(&pool->count, count, memory_order_relaxed);
    atomic_store_explicit(&pool->waiting, waiting, memory_order_relaxed);
}

static bool is_long(const struct weir_pool *pool, const struct weir_pool_level *queues, unsigned length)
{
    return pool->threads > 1 && length >= LENGTH_MIN && length > queues->queue.count / pool->threads;
}

/* 8 .. 15 are in the first, 16 .. 31 in the next. */
static struct weir_actor_list *long_queue(struct weir_pool_level *queues, unsigned length)
{
    unsigned number = (unsigned)(__builtin_clz(LENGTH_MIN) - __builtin_clz(length));
    return &queues->longs[number < WEIR_POOL_LONGS ? number : WEIR_POOL_LONGS - 1];
}

void weir_pool_put(struct weir_pool *pool, struct weir_actor *actor, unsigned level, unsigned length)
{
    pthread_mutex_lock(&pool->lock);
    WEIR_CHECK(level < pool->levels.count);
    struct weir_pool_level *queues = &pool->queues[level];
    bool goes_first = is_long(pool, queues, length);
    weir_actor_list_append(goes_first ? long_queue(queues, length) : &queues->queue, actor);
    queues->long_queued += goes_first;
    publish(pool);
    bool waited_for = pool->idle_count > 0;
    pthread_mutex_unlock(&pool->lock);
    if (waited_for)
        pthread_cond_signal(&pool->filled); /* O2: who goes to wait after the unlock sees what was put */
}

static void end_turn(struct weir_pool *pool, struct weir_pool_turn *turn)
{
    pool->long_running -= turn->is_long;
    turn->is_long = false;
    weir_levels_settle(&pool->levels, &turn->level);
}

/* The longest; or, of every few, the next one down from the queue whose turn it is. One is queued. */
static struct weir_actor *take_long(struct weir_pool *pool, struct weir_pool_level *queues)
{
    unsigned takes = ++pool->long_takes;
    unsigned number = takes % IN_TURN == 0 ? takes / IN_TURN % WEIR_POOL_LONGS : WEIR_POOL_LONGS - 1;
    while (!queues->longs[number].first)
        number = number > 0 ? number - 1 : WEIR_POOL_LONGS - 1;
    queues->long_queued--;
    pool->long_running++;
    return weir_actor_list_take(&queues->longs[number]);
}

static struct weir_actor *take(struct weir_pool *pool, struct weir_pool_turn *turn)
{
    unsigned waiting = weir_pool_waiting(pool);
    if (waiting == 0)
        return NULL;
    unsigned level = weir_levels_choose(&pool->levels, waiting);
    weir_levels_begin(&pool->levels, level, waiting, &turn->level);
    struct weir_pool_level *queues = &pool->queues[level];
    turn->is_long = queues->long_queued > 0 && (pool->long_running < pool->threads / 2 || !queues->queue.first);
    struct weir_actor *actor = turn->is_long ? take_long(pool, queues) : weir_actor_list_take(&queues->queue);
    publish(pool);
    return actor;
}

struct weir_actor *weir_pool_try_take(struct weir_pool *pool, struct weir_pool_turn *turn)
{
    pthread_mutex_lock(&pool->lock);
    end_turn(pool, turn);
    struct weir_actor *actor = take(pool, turn);
    pthread_mutex_unlock(&pool->lock);
    return actor;
}

struct weir_actor *weir_pool_take(struct weir_pool *pool, struct weir_pool_turn *turn)
{
    pthread_mutex_lock(&pool->lock);
    end_turn(pool, turn);
    while (weir_pool_waiting(pool) == 0 && !pool->ended) {
        pool->idle_count++;
        pthread_cond_wait(&pool->filled, &pool->lock);
        pool->idle_count--;
    }
    struct weir_actor *actor = pool->ended ? NULL : take(pool, turn);
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
    for (unsigned level = 0; level < pool->levels.count; level++) {
        struct weir_pool_level *queues = &pool->queues[level];
        size_t before = matching.count;
        for (unsigned number = WEIR_POOL_LONGS; number-- > 0;)
            withdraw(&queues->longs[number], match, argument, &matching);
        queues->long_queued -= matching.count - before;
        withdraw(&queues->queue, match, argument, &matching);
    }
    publish(pool);
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
