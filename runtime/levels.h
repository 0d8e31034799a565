/*
 * Levels: which of several queues the next actor is taken from. Level 0 goes before level 1, and so on; but each level
 * below the first is sure of a share of what starts, so that none waits for ever.
 *
 * The share is kept by an account a level. While something waits at a level, each unit of work that starts at another
 * one earns it `share_percent` points; a unit of its own, started while a higher level waits, costs it 100 less that.
 * Who has saved up the price of a unit goes before higher levels. So of all units that start while it waits
 * share_percent in a hundred are its own, whatever the number of units in a turn; and who is first there sees at most
 * (100 - share_percent) / share_percent units of others before it, once its level has earned what it had overdrawn.
 *
 * Invariants
 *   L1. Where only one level waits, it is taken: nobody is held back for nothing.
 *   L2. What a level has saved or overdrawn is forgotten when it goes while nothing higher waits: it pays no old debts
 *       in the next rush, and spends no old savings.
 *   L3. A unit is paid for when it is taken, not when it is over: threads that take at the same time do not all spend
 *       the same savings. What turns out to be more than one unit is charged after the turn.
 *
 * Thread: whoever has it: a worker its own, the threads of a pool theirs under its lock. Cost: some additions a level.
 */
#ifndef WEIR_RUNTIME_LEVELS_H
#define WEIR_RUNTIME_LEVELS_H

#include <stdbool.h>
#include <stdint.h>

#define WEIR_LEVELS_MAX 8

struct weir_levels {
    unsigned count;                 /* 1: there is nothing to choose from */
    unsigned share_percent;         /* of each level but the first; count - 1 of them are 50 at most together */
    int64_t saved[WEIR_LEVELS_MAX]; /* points; below 0: overdrawn */
};

/* Of the turn that was taken last. */
struct weir_level_turn {
    unsigned level;
    unsigned waiting; /* the levels that waited as it was taken, as bits */
    uint32_t units;   /* that it has done: 1, unless it says otherwise */
};

void weir_levels_init(struct weir_levels *levels, unsigned count, unsigned share_percent);

/** Of the levels that wait, as bits and not none: the one whose turn it is. */
unsigned weir_levels_choose(const struct weir_levels *levels, unsigned waiting);

/** A turn of this level begins, chosen or not, while these waited: it is charged with a unit. */
void weir_levels_begin(struct weir_levels *levels, unsigned level, unsigned waiting, struct weir_level_turn *turn);

/** The turn is over: charge its units beyond the first. */
void weir_levels_settle(struct weir_levels *levels, struct weir_level_turn *turn);

/** `units` have been done at `level` without being taken from a queue, while these levels waited. */
void weir_levels_charge(struct weir_levels *levels, unsigned level, unsigned waiting, uint32_t units);

/** The levels above this one, as bits. */
static inline unsigned weir_levels_above(unsigned level)
{
    return (1u << level) - 1;
}

#endif
