/* The seeded choices of a schedule. Apart from the random bytes that the library draws (tests/c/virtual), so that a change in
 * the one does not shift the other. */
#ifndef SIM_DICE_H
#define SIM_DICE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct dice {
    uint64_t state;
} dice;

static inline uint64_t dice_bits(dice *d) { /* splitmix64 */
    uint64_t z = d->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Of one seed, another for each name. */
static inline dice dice_of(uint64_t seed, const char *name) {
    dice d = {.state = seed};
    d.state = dice_bits(&d); /* or the dice of neighbouring seeds would be one sequence, begun at different places */
    for (; *name; name++) d.state = (d.state ^ (unsigned char)*name) * 0x100000001b3u;
    return d;
}

/* 0 .. bound - 1. */
static inline uint32_t dice_below(dice *d, uint32_t bound) {
    return bound ? (uint32_t)(((dice_bits(d) >> 32) * bound) >> 32) : 0;
}

static inline int64_t dice_between(dice *d, int64_t from, int64_t to) {
    return from + dice_below(d, (uint32_t)(to - from + 1));
}

static inline bool dice_chance(dice *d, unsigned per_mille) { return dice_below(d, 1000) < per_mille; }

#endif
