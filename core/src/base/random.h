/* Random bytes: tokens (unguessable, from the system) and jitter (cheap). */
#ifndef MP_BASE_RANDOM_H
#define MP_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

void mp_random_bytes(void *out, size_t n); /* getrandom(2); never fails */
uint32_t mp_random_below(uint32_t bound);  /* per-thread generator, for jitter; bound > 0 */

/* At least half of `ms`, at most all of it: for pauses that many may begin at the same time. */
static inline int64_t mp_random_pause(int64_t ms) {
    int64_t half = ms / 2 > INT32_MAX ? INT32_MAX : ms / 2;
    return ms - half + (int64_t)mp_random_below((uint32_t)half + 1);
}

#endif
