/*
 * Insides of workers and systems, for worker.c, roaming.c, system.c and simulation.c only.
 *
 * Fields are grouped by who writes them; groups that different threads write lie CK_MD_CACHELINE bytes apart.
 */
#ifndef WEIR_RUNTIME_WORKER_INTERNAL_H
#define WEIR_RUNTIME_WORKER_INTERNAL_H

#include "runtime/pool.h"
#include "runtime/run_queue.h"
#include "runtime/stack.h"
#include "runtime/system.h"
#include <pthread.h>
#include <uv.h>

#define WEIR_WORKERS_MAX     256
#define WEIR_POOL_MAX        4096
#define TIMERS_PER_STEP      64
#define ROAMING_PER_STEP     256
#define STEP_NS_MAX          500000u  /* a step starts no further turn of a phase after this time in it */
#define UV_POLL_INTERVAL_NS  1000000u /* while busy */
#define SPIN_NS              10000u   /* before sleep: about what a wake-up of a sleeping thread takes */
#define SPINS_IN_VAIN_MAX    6u       /* one after the other; then every 64th sleep begins with one */
#define STEAL_TURN_NS        1000u    /* shorter turns are cheaper to run where they are than to move */
#define AVERAGE_START_NS     50000u   /* of turns: unknown ones are offered; short ones soon show */
#define STEAL_BACKLOG_NS     30000u   /* less than this is sooner done by the owner than by a thread to be woken */
#define STUCK_TURN_NS        1000000u /* a turn this long says more than the average */
#define WATCHDOG_INTERVAL_MS 10       /* 10 x as long while all sleep */

/* How much one step may do: all by default, one of each in the simulator. */
struct weir_step_limits {
    unsigned timers, residents, roaming;
};

struct weir_worker {
    /* constant */
    struct weir_system *system;
    const struct weir_seam *seam;
    unsigned number;
    struct weir_step_limits limits;
    bool is_simulated;
    bool is_pool; /* number >= home_end: no loop, no timers, no residents, no queue of its own */
    uint8_t level_count;
    struct weir_run_queue *lower; /* of the levels below the first; NULL: there is one level */
    pthread_t thread;

    /* owner */
    struct weir_timers timers;
    struct weir_random random;
    struct weir_actor_list residents[WEIR_LEVELS_MAX]; /* scheduled, by level */
    size_t resident_count;
    unsigned resident_turns;    /* choose the level of the next, where there are several */
    unsigned gave_way;          /* how often roaming actors have, one time after the other, to scheduled residents */
    struct weir_levels levels;  /* of roaming turns here */
    struct weir_pool_turn turn; /* the last that was taken, where there are several levels or a pool */
    uint64_t now_ns;
    uint64_t polled_ns;                          /* when the loop was polled last */
    uint64_t accounted_ns;                       /* up to when busy_ns and idle_ns are written */
    unsigned spins_in_vain, sleeps_without_spin; /* one after the other; still to come */
    bool in_step;                                /* now_ns is fresh */
    bool loop_is_open;                           /* loop and the three handles below are initialised */
    bool users_are_closed;                       /* their handles */
    uv_loop_t loop;
    uv_async_t wake_up;
    uv_prepare_t before_block;
    uv_timer_t alarm;          /* for the timer heap, while the worker sleeps */
    uint64_t alarm_due_ns;     /* UINT64_MAX: off */
    uint64_t stalled_until_ns; /* the simulator's */
    bool may_steal;            /* the simulator's, a choice of the seed */
    unsigned short_percent;    /* the simulator's: how often its turns count as short */

    char apart_1[CK_MD_CACHELINE];
    /* any */
    ck_stack_t inbox;          /* residents that other threads scheduled; linked by actor.next */
    _Atomic uint32_t sleeping; /* 1: sleeps or is about to; who sets it back to 0 owes the wake-up */

    char apart_2[CK_MD_CACHELINE];
    /* owner writes, any reads */
    struct weir_worker_stats stats;
    _Atomic uint64_t turn_average_ns;               /* of roaming turns, exponentially weighted */
    _Atomic(const struct weir_resident *) sends_to; /* see weir_resident_send */
    struct weir_run_queue queue;                    /* of level 0 */
};

struct weir_system {
    /* constant */
    const struct weir_seam *seam;
    struct weir_worker **workers;
    unsigned worker_count;  /* control and pool included */
    unsigned home_end;      /* workers 1 .. home_end - 1 have residents; the rest are the pool's */
    struct weir_pool *pool; /* NULL: homes run roaming actors themselves */
    bool can_spin;          /* more than one processor */
    struct weir_timer watchdog;

    /* the thread that starts and stops */
    unsigned thread_count; /* running */
    bool was_started;

    /* the simulator's */
    struct weir_system *next;
    bool is_crashed;

    char apart_1[CK_MD_CACHELINE];
    _Atomic bool stopping;
    _Atomic uint32_t sleepers; /* workers but control with sleeping = 1; a hint */
};

static inline void weir_counter_add(_Atomic uint64_t *counter, uint64_t value)
{
    /* One writer: no read-modify-write is needed. Relaxed: statistics. */
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + value, memory_order_relaxed);
}

/* system.c */
struct weir_system *weir_system_build(unsigned workers, unsigned pool_threads, const struct weir_seam *seam,
                                      bool is_simulated, struct weir_error *error);
void weir_worker_wake(struct weir_worker *worker); /* any; the caller's push precedes it by a full fence */
bool weir_system_wake_thief(struct weir_system *system, unsigned not_number);

/* worker.c */
int weir_worker_init(struct weir_worker *worker, struct weir_system *system, unsigned number, bool is_simulated);
void weir_worker_deinit(struct weir_worker *worker);                                            /* all but the loop */
int weir_worker_set_levels(struct weir_worker *worker, unsigned count, unsigned share_percent); /* before start */
void weir_worker_enter(struct weir_worker *worker);      /* the calling thread is this worker's; NULL: no longer */
bool weir_worker_step(struct weir_worker *worker);       /* true if it did anything */
void weir_worker_take_inbox(struct weir_worker *worker); /* owner: residents that others have scheduled */

/* roaming.c */
bool weir_worker_run_roaming(struct weir_worker *worker);                          /* the part of a step */
bool weir_worker_step_pooled(struct weir_worker *worker);                          /* the simulator's, of the pool's */
void weir_worker_run_pooled(struct weir_worker *worker, struct weir_actor *actor); /* a pool thread's step */
bool weir_worker_is_worth_stealing(const struct weir_worker *victim, uint64_t now_ns);
bool weir_worker_sees_victim(const struct weir_worker *worker, uint64_t now_ns); /* any other worth stealing from */

/* The queue of a level. Thread: any, as the queue itself. */
static inline struct weir_run_queue *weir_worker_queue(struct weir_worker *worker, unsigned level)
{
    return level == 0 ? &worker->queue : &worker->lower[level - 1];
}

/* Timers apart. Thread: owner. */
static inline bool weir_worker_has_own_work(const struct weir_worker *worker)
{
    if (worker->is_pool)
        return weir_pool_count(worker->system->pool) > 0;
    return worker->resident_count > 0 || !weir_stack_is_empty(&worker->inbox) ||
           !weir_run_queue_is_empty(&worker->queue) || (worker->lower && weir_worker_queued(worker) > 0);
}

static inline void weir_worker_begin_turn(struct weir_worker *worker)
{
    atomic_store_explicit(&worker->stats.turn_started_ns, worker->now_ns, memory_order_relaxed);
    weir_counter_add(&worker->stats.turns, 1);
}

static inline void weir_worker_end_turns(struct weir_worker *worker)
{
    atomic_store_explicit(&worker->stats.turn_started_ns, 0, memory_order_relaxed);
}

#endif
