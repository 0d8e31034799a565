/*
 * Roaming actors on a worker: which is taken, stealing, and running them. See worker.h for the contract.
 *
 * Stealing (decided by turn times, since a stolen turn costs cache misses at both ends, and a wake-up microseconds):
 * another worker's actor is taken if turns there take STEAL_TURN_NS or longer and those that wait add up to
 * STEAL_BACKLOG_NS, or if the turn under way has lasted STUCK_TURN_NS. Busy workers offer by the same measure: before
 * each slice of turns they wake one sleeper; a thief that sees more wakes the next.
 *
 * Levels (levels.h), where there are several. What waits at a level is what is queued there, and residents of that
 * level that are scheduled: they may be about to queue more, so lower levels give way until they have had their turn,
 * GIVE_WAY_MAX times in a row at most. Before it takes of a lower level a worker looks whether others have something of
 * a higher one, and steals that, if turns are long enough for it.
 */
#include "runtime/check.h"
#include "runtime/worker_internal.h"

#define SLICE_NS           1000u   /* of short turns, between two readings of the clock */
#define SLICE_MAX          16      /* turns; when they turn long of a sudden, this many pass before it is seen */
#define AVERAGE_WEIGHT     8       /* the average moves by 1/8 of the difference */
#define AVERAGE_SAMPLE_MAX 100000u /* one outlier (a page fault, a preempted thread) counts no more */
#define GIVE_WAY_MAX       16

/* ---- what waits ---- */

/* How many can be stolen from it. Any. */
static unsigned stealable(const struct weir_worker *worker)
{
    unsigned count = weir_run_queue_stealable(&worker->queue);
    for (unsigned level = 1; level < worker->level_count; level++)
        count += weir_run_queue_stealable(&worker->lower[level - 1]);
    return count;
}

/* The levels at which some can be stolen from it, as bits. Any. */
static unsigned stealable_levels(struct weir_worker *worker)
{
    unsigned levels = 0;
    for (unsigned level = 0; level < worker->level_count; level++)
        levels |= (unsigned)(weir_run_queue_stealable(weir_worker_queue(worker, level)) > 0) << level;
    return levels;
}

static unsigned queued_levels(const struct weir_worker *worker)
{
    unsigned levels = 0;
    for (unsigned level = 0; level < worker->level_count; level++)
        levels |= (unsigned)(weir_worker_queued_at(worker, level) > 0) << level;
    return levels;
}

static unsigned resident_levels(const struct weir_worker *worker)
{
    unsigned levels = 0;
    for (unsigned level = 0; level < WEIR_LEVELS_MAX; level++) /* of those that there are not none is scheduled */
        levels |= (unsigned)(worker->residents[level].count > 0) << level;
    return levels;
}

bool weir_worker_is_outranked(const struct weir_worker *worker, unsigned level)
{
    if (level == 0)
        return false;
    const struct weir_pool *pool = worker->system->pool;
    unsigned waiting = pool ? weir_pool_waiting(pool) : queued_levels(worker) | resident_levels(worker);
    return waiting & weir_levels_above(level);
}

/* ---- stealing ---- */

static uint64_t backlog_ns(const struct weir_worker *worker, uint64_t average_ns)
{
    return stealable(worker) * average_ns;
}

bool weir_worker_is_worth_stealing(const struct weir_worker *victim, uint64_t now_ns)
{
    if (stealable(victim) == 0)
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

/* Of the level whose turn it is. */
static struct weir_actor *steal_from(struct weir_worker *worker, struct weir_worker *victim)
{
    if (worker->level_count == 1)
        return weir_run_queue_steal(&victim->queue);
    unsigned levels = stealable_levels(victim);
    if (levels == 0)
        return NULL;
    unsigned level = weir_levels_choose(&worker->levels, levels);
    struct weir_actor *actor = weir_run_queue_steal(weir_worker_queue(victim, level));
    if (actor)
        weir_levels_begin(&worker->levels, level, levels, &worker->turn.level);
    return actor;
}

static struct weir_actor *steal(struct weir_worker *worker)
{
    if (worker->is_simulated && !worker->may_steal)
        return NULL;
    unsigned start = (unsigned)weir_random_below(&worker->random, worker->system->home_end);
    struct weir_worker *victim = find_victim(worker, start, worker->now_ns);
    struct weir_actor *actor = victim ? steal_from(worker, victim) : NULL;
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

/* ---- levels ---- */

/* The highest level above this one that another worker has something of, and which; `level` itself: nobody has. */
static unsigned find_higher(struct weir_worker *worker, unsigned level, struct weir_worker **victim)
{
    const struct weir_system *system = worker->system;
    bool looks = !worker->is_simulated || worker->may_steal;
    for (unsigned number = 1; looks && number < system->home_end && level > 0; number++) {
        struct weir_worker *other = system->workers[number];
        uint64_t average_ns = atomic_load_explicit(&other->turn_average_ns, memory_order_relaxed);
        if (other == worker || (average_ns < STEAL_TURN_NS && !other->is_simulated))
            continue; /* sooner done there than moved */
        unsigned levels = stealable_levels(other) & weir_levels_above(level);
        if (levels != 0) {
            *victim = other;
            level = (unsigned)__builtin_ctz(levels);
        }
    }
    return level;
}

/* From the own queue, or from that of `victim` if it is nearer to the first level than all that waits here. */
static struct weir_actor *take_at(struct weir_worker *worker, unsigned level, struct weir_worker *victim)
{
    if (!victim)
        return weir_run_queue_take(weir_worker_queue(worker, level));
    struct weir_actor *actor = weir_run_queue_steal(weir_worker_queue(victim, level));
    weir_counter_add(&worker->stats.steals, actor != NULL);
    return actor;
}

/* NULL: nothing is queued; or what is gives way. */
static struct weir_actor *take_by_level(struct weir_worker *worker)
{
    weir_worker_take_inbox(worker);
    unsigned waiting = queued_levels(worker);
    if (waiting == 0)
        return NULL;
    if (worker->gave_way < GIVE_WAY_MAX)
        waiting |= resident_levels(worker);
    unsigned highest = (unsigned)__builtin_ctz(waiting);
    struct weir_worker *victim = NULL;
    waiting |= 1u << find_higher(worker, highest, &victim);
    unsigned level = weir_levels_choose(&worker->levels, waiting);
    struct weir_actor *actor = take_at(worker, level, level < highest ? victim : NULL);
    worker->gave_way = actor ? 0 : worker->gave_way + 1;
    if (actor)
        weir_levels_begin(&worker->levels, level, waiting, &worker->turn.level);
    return actor;
}

/* ---- turns ---- */

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

uint64_t weir_worker_ran_at_once(struct weir_worker *worker, unsigned level, uint64_t started_ns, unsigned count)
{
    uint64_t now_ns = weir_worker_refresh_now(worker);
    weir_counter_add(&worker->stats.roaming_turns, count);
    learn(worker, atomic_load_explicit(&worker->turn_average_ns, memory_order_relaxed), (now_ns - started_ns) / count);
    if (worker->level_count > 1)
        weir_levels_charge(&worker->levels, level, queued_levels(worker) | resident_levels(worker), count);
    return now_ns;
}

static void run_roaming_actor(struct weir_worker *worker, struct weir_actor *actor)
{
    weir_worker_begin_turn(worker);
    weir_counter_add(&worker->stats.roaming_turns, 1);
    actor->turn(actor, worker); /* the last access, W3 */
}

static unsigned run_by_level(struct weir_worker *worker, unsigned count_max)
{
    unsigned count = 0;
    for (struct weir_actor *actor; count < count_max && (actor = take_by_level(worker)); count++) {
        run_roaming_actor(worker, actor);
        weir_levels_settle(&worker->levels, &worker->turn.level);
    }
    return count;
}

static unsigned run_in_order(struct weir_worker *worker, unsigned count_max)
{
    unsigned count = 0;
    for (struct weir_actor *actor; count < count_max && (actor = weir_run_queue_take(&worker->queue)); count++)
        run_roaming_actor(worker, actor);
    return count;
}

/* Run up to `count_max` from the own queue, then read the clock once. Returns how many ran. */
static unsigned run_slice(struct weir_worker *worker, uint64_t average_ns, unsigned count_max)
{
    uint64_t started_ns = worker->now_ns;
    unsigned count = worker->level_count > 1 ? run_by_level(worker, count_max) : run_in_order(worker, count_max);
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
    weir_worker_end_turns(worker);
    if (worker->level_count > 1)
        weir_levels_settle(&worker->levels, &worker->turn.level);
    learn(worker, atomic_load_explicit(&worker->turn_average_ns, memory_order_relaxed),
          weir_worker_refresh_now(worker) - started_ns);
    return true;
}

void weir_worker_run_pooled(struct weir_worker *worker, struct weir_actor *actor)
{
    worker->in_step = true;
    run_roaming_actor(worker, actor);
    weir_worker_end_turns(worker);
    weir_worker_refresh_now(worker);
    worker->in_step = false;
}

bool weir_worker_step_pooled(struct weir_worker *worker)
{
    struct weir_actor *actor = weir_pool_try_take(worker->system->pool, &worker->turn);
    if (actor)
        weir_worker_run_pooled(worker, actor);
    return actor != NULL;
}

bool weir_worker_run_roaming(struct weir_worker *worker)
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
    weir_worker_end_turns(worker);
    if (total > 0)
        return true;
    bool gives_way = worker->level_count > 1 && queued_levels(worker) != 0;
    return !gives_way && run_stolen(worker);
}
