/*
 * xoshiro256** by Blackman and Vigna ("Scrambled Linear Pseudorandom Number Generators", 2018), seeded by splitmix64
 * as its authors advise. Numbers below a bound: multiply and reject (Lemire, "Fast Random Integer Generation in an
 * Interval", 2019).
 */
#include "runtime/random.h"

__extension__ typedef unsigned __int128 wide;

static uint64_t rotate_left(uint64_t value, int count)
{
    return (value << count) | (value >> (64 - count));
}

static uint64_t splitmix64(uint64_t *state)
{
    uint64_t value = *state += 0x9e3779b97f4a7c15u;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
}

void weir_random_init(struct weir_random *random, uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        random->state[i] = splitmix64(&seed);
}

uint64_t weir_random_next(struct weir_random *random)
{
    uint64_t *state = random->state;
    uint64_t result = rotate_left(state[1] * 5, 7) * 9, shifted = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = rotate_left(state[3], 45);
    return result;
}

uint64_t weir_random_below(struct weir_random *random, uint64_t bound)
{
    if (bound == 0)
        return 0;
    wide product = (wide)weir_random_next(random) * bound;
    if ((uint64_t)product < bound) {
        uint64_t rejected = -bound % bound; /* as many low products would make small results likelier */
        while ((uint64_t)product < rejected)
            product = (wide)weir_random_next(random) * bound;
    }
    return (uint64_t)(product >> 64);
}
