/* Levels: see levels.h. */
#include "runtime/levels.h"
#include "runtime/check.h"

#define WHOLE 100 /* percent */

void weir_levels_init(struct weir_levels *levels, unsigned count, unsigned share_percent)
{
    WEIR_CHECK(count >= 1 && count <= WEIR_LEVELS_MAX);
    WEIR_CHECK(count == 1 || (share_percent >= 1 && (count - 1) * share_percent <= WHOLE / 2));
    *levels = (struct weir_levels){.count = count, .share_percent = share_percent};
}

void weir_levels_charge(struct weir_levels *levels, unsigned level, unsigned waiting, uint32_t units)
{
    int64_t share = levels->share_percent;
    for (unsigned other = 1; other < levels->count; other++) {
        if (other != level)
            levels->saved[other] += waiting >> other & 1 ? units * share : 0;
        else if (waiting & weir_levels_above(level))
            levels->saved[level] -= units * (WHOLE - share);
        else
            levels->saved[level] = 0; /* L2 */
    }
}

unsigned weir_levels_choose(const struct weir_levels *levels, unsigned waiting)
{
    WEIR_CHECK(waiting != 0);
    unsigned highest = (unsigned)__builtin_ctz(waiting);
    int64_t price = WHOLE - (int64_t)levels->share_percent;
    for (unsigned level = highest + 1; level < levels->count; level++) {
        if ((waiting >> level & 1) && levels->saved[level] >= price)
            return level;
    }
    return highest;
}

void weir_levels_begin(struct weir_levels *levels, unsigned level, unsigned waiting, struct weir_level_turn *turn)
{
    *turn = (struct weir_level_turn){.level = level, .waiting = waiting, .units = 1};
    weir_levels_charge(levels, level, waiting, 1); /* L3 */
}

void weir_levels_settle(struct weir_levels *levels, struct weir_level_turn *turn)
{
    if (turn->units > 1)
        weir_levels_charge(levels, turn->level, turn->waiting, turn->units - 1);
    turn->units = 1;
}
