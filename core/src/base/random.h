/* Random bytes: tokens (unguessable, from the system) and jitter (cheap). */
#ifndef MP_BASE_RANDOM_H
#define MP_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

void mp_random_bytes(void *out, size_t n); /* getrandom(2); never fails */
uint32_t mp_random_below(uint32_t bound);  /* per-thread generator, for jitter; bound > 0 */

#endif
