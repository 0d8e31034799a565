/*
 * Workers and actors.
 *
 * An actor is anything with a turn function. Two kinds differ in who schedules them:
 *
 *   resident  stays on one worker (its home), has a mailbox that any thread may send to, and is woken by notify.
 *             Partition actors and the control actor.
 *   roaming   is dispatched by its owner, runs one turn on whichever worker takes it, and is handed back by the turn
 *             itself (by a mail to the owner). It is in one place at a time by construction. Key actors.
 *
 * A worker is a step function over a timer heap and two queues, driven by a thread with a libuv loop (system.h) or, one
 * at a time, by the simulator (simulation.h). A step, in this order:
 *   1. fire timers that are due (at most TIMERS_PER_STEP)
 *   2. run each resident actor that was scheduled when the step began, one turn each
 *   3. run up to ROAMING_PER_STEP roaming actors from the own queue; if it is empty, steal one
 * 2 and 3 start no further turn after STEP_NS_MAX in them, so that long turns do not add up; the rest keeps its place.
 *
 * Levels (levels.h). A system may have several: then roaming actors are taken by level, with a share for the lower
 * ones, and residents that are scheduled at a higher one have their turns first (2: as many turns as there were, every
 * other one at the first level). Each worker keeps account of what it runs itself. What goes before what is decided
 * between turns: none is interrupted.
 *
 * Invariants
 *   W1. A resident actor's turn runs on its home only, and never twice at once. States: idle -> scheduled (notify) ->
 *       running -> idle, or -> notified (notify while running) -> scheduled again at the back of the queue.
 *   W2. A notify that comes after a turn has taken its mail is never lost: it makes another turn.
 *   W3. A roaming actor is touched by nobody between dispatch and the turn's own hand-back, except the worker that
 *       runs it; the hand-back is the turn's last access. Or its dispatcher takes it back before anybody has begun it.
 *   W4. Queues are first in first out, so every scheduled actor runs after at most those before it at its level; and
 *       no level waits for ever for another.
 *   W5. A worker that sleeps with an empty queue is woken by whatever is put on it; a sleeping worker is also woken to
 *       steal when another has more than it can run soon.
 *   W6. The control worker (index WEIR_WORKER_CONTROL) runs resident actors only and never steals.
 *   W7. Where the system has a pool (pool.h), roaming actors run on its threads alone, and residents on none of them.
 *       Those threads are workers too, with the numbers after the last home: a step of one runs one roaming actor.
 *
 * Bounds: the run queues are intrusive, so they hold at most the actors that exist: residents are bounded by the
 * partitions, roaming ones by the windows.
 */
#ifndef WEIR_RUNTIME_WORKER_H
#define WEIR_RUNTIME_WORKER_H

#include "runtime/levels.h"
#include "runtime/mailbox.h"
#include "runtime/random.h"
#include "runtime/seam.h"
#include "runtime/timers.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct weir_actor;
struct weir_worker;
struct weir_system;
struct uv_loop_s;

typedef void weir_turn(struct weir_actor *actor, struct weir_worker *worker);

struct weir_actor {
    struct weir_actor *next; /* run queue's, while scheduled */
    weir_turn *turn;
};

/* A list of actors linked by `next`. */
struct weir_actor_list {
    struct weir_actor *first, *last;
    size_t count;
};

static inline void weir_actor_list_append(struct weir_actor_list *list, struct weir_actor *actor)
{
    actor->next = NULL;
    if (list->last)
        list->last->next = actor;
    else
        list->first = actor;
    list->last = actor;
    list->count++;
}

static inline struct weir_actor *weir_actor_list_take(struct weir_actor_list *list)
{
    struct weir_actor *actor = list->first;
    if (!actor)
        return NULL;
    list->first = actor->next;
    if (!list->first)
        list->last = NULL;
    list->count--;
    return actor;
}

struct weir_resident {
    struct weir_actor actor;
    struct weir_worker *home;         /* constant while anybody may notify */
    _Atomic uint32_t wake;            /* enum in worker.c: idle, scheduled, running, notified */
    uint8_t level;                    /* likewise */
    _Atomic uint32_t outside_senders; /* threads in weir_resident_send that are no workers of home's system */
    struct weir_mailbox mailbox;      /* taken by the turn */
};

/* Counters of one worker: written by it, read by any (relaxed). A sleep counts as idle when it is over. */
struct weir_worker_stats {
    _Atomic uint64_t busy_ns, idle_ns;
    _Atomic uint64_t turns;           /* of all actors, */
    _Atomic uint64_t roaming_turns;   /* of roaming ones, and */
    _Atomic uint64_t steals;          /* of those that it took from other workers */
    _Atomic uint64_t wakes;           /* sleeps in the loop that ended */
    _Atomic uint64_t turn_started_ns; /* of the turn under way; 0 between turns: for the watchdog */
};

#define WEIR_WORKER_CONTROL 0 /* index of the control worker in a system; 1 .. N run handlers */

/* ---- for actors ---- */

/** Prepare a resident actor. Thread: before anybody may notify it. */
void weir_resident_init(struct weir_resident *resident, struct weir_worker *home, weir_turn *turn,
                        uint32_t mailbox_messages_max, uint64_t mailbox_bytes_max);

/** Its level, below the count of its system; 0 by itself. Thread: likewise. */
void weir_resident_set_level(struct weir_resident *resident, unsigned level);

/** Make sure that a turn begins after this call. Thread: any, not signal handlers. Cost: one load when it is scheduled
 *  already. */
void weir_resident_notify(struct weir_resident *resident);

/** weir_mailbox_send, then notify. Unlike the two by hand, it may be used where the receiver frees the resident after
 *  this mail: see weir_resident_is_idle. Thread: any, not signal handlers. */
void weir_resident_send(struct weir_resident *resident, struct weir_mail *mail);

/** True when no turn is scheduled or running, no mail is waiting and no weir_resident_send() is under way: once nobody
 *  sends or notifies any more, it may be freed, even by whoever has just received the last mail. Not from within its
 *  own turn, where it is false. Where it is false because of a sender, another turn follows.
 *  Thread: home. Cost: one load a worker. */
bool weir_resident_is_idle(const struct weir_resident *resident);

/** Put a roaming actor at the back of this worker's queue; a sleeping worker may be woken to steal it. With a pool: of
 *  the pool's queue. At the first level.
 *  Thread: worker `worker` (within a turn or timer callback of it). */
void weir_worker_dispatch(struct weir_worker *worker, struct weir_actor *actor);
/** The same at a level, for one that has `length` things to do, one after the other: with a pool those that have most
 * go first, see pool.h. */
void weir_worker_dispatch_at(struct weir_worker *worker, struct weir_actor *actor, unsigned level, unsigned length);

/** For the turn of a roaming actor, where there are several levels: it has done so many units, where it has done more
 *  than one. Thread: worker. */
void weir_worker_weigh(struct weir_worker *worker, uint32_t units);

/** Does something of a higher level than this wait here, or with a pool, in the pool? A hint, and false for level 0.
 *  Thread: worker; with a pool any of the system. */
bool weir_worker_is_outranked(const struct weir_worker *worker, unsigned level);

typedef bool weir_actor_match(const struct weir_actor *actor, const void *argument);

/** Take back, in the order of dispatch at each level, what was dispatched here, matches, and has been begun or stolen
 * by nobody. With a pool: what waits in the pool's queue, whoever dispatched it, so match your own only. Thread: as
 * above. Cost: a take and a put for all that waits. */
struct weir_actor_list weir_worker_withdraw(struct weir_worker *worker, weir_actor_match *match, const void *argument);
/** Have roaming turns here been so short of late that to queue one costs more than to run it? Then who would dispatch
 * an actor may as well do its work at once. Never with a pool; in the simulator the seed decides. Thread: worker. */
bool weir_worker_turns_are_short(struct weir_worker *worker);

/** `count` turns' work of a level was done at once, from `started_ns` until now: the clock is read, what they took is
 *  learnt, and the level is charged with as many units. Returns the time. Thread: worker. */
uint64_t weir_worker_ran_at_once(struct weir_worker *worker, unsigned level, uint64_t started_ns, unsigned count);

/** This worker's time, read at the start of the step, after turns that may have been long, and by
 *  weir_worker_refresh_now(); in callbacks of its uv loop, the time itself. Thread: worker. */
uint64_t weir_worker_now_ns(const struct weir_worker *worker);
uint64_t weir_worker_refresh_now(struct weir_worker *worker);
int64_t weir_worker_wall_ms(const struct weir_worker *worker);

struct weir_timers *weir_worker_timers(struct weir_worker *worker);
struct weir_random *weir_worker_random(struct weir_worker *worker);
unsigned weir_worker_number(const struct weir_worker *worker);      /* index in its system */
struct uv_loop_s *weir_worker_uv(const struct weir_worker *worker); /* NULL in the simulator and in a pool */
bool weir_worker_is_pool(const struct weir_worker *worker);         /* may turns block here? */
bool weir_worker_may_take_long(const struct weir_worker *worker);   /* has the pool given it a long one? */
const struct weir_worker_stats *weir_worker_stats(const struct weir_worker *worker);
struct weir_system *weir_worker_system(const struct weir_worker *worker);

/** The worker whose step the calling thread is in; NULL elsewhere. */
struct weir_worker *weir_worker_current(void);

/** True when other actors wait on this worker: a hint that a long turn should end and come back. Thread: worker. */
bool weir_worker_has_queued(const struct weir_worker *worker);

/** How many roaming actors wait in this worker's queues, or in that of one level: who feeds it can stop where more
 * would only lie about. None with a pool. Thread: worker. */
size_t weir_worker_queued(const struct weir_worker *worker);
size_t weir_worker_queued_at(const struct weir_worker *worker, unsigned level);

#endif
