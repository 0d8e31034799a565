/*
 * Random numbers: xoshiro256** (Blackman and Vigna, 2018), seeded by splitmix64. One owner each; not for secrets.
 */
#ifndef WEIR_RUNTIME_RANDOM_H
#define WEIR_RUNTIME_RANDOM_H

#include <stdint.h>

struct weir_random {
    uint64_t state[4];
};

void weir_random_init(struct weir_random *random, uint64_t seed);
uint64_t weir_random_next(struct weir_random *random);
uint64_t weir_random_below(struct weir_random *random, uint64_t bound); /* 0 .. bound - 1, unbiased; 0 for bound 0 */

#endif
