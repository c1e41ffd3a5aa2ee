#include "virtual/virtual.h"

#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/random.h"

static _Atomic int64_t now = VIRTUAL_START;
static _Atomic uint64_t state;

void virtual_begin(uint64_t seed) {
    mp_hash("", 0); /* draws its secret once a process, which no test shall notice */
    atomic_store(&now, VIRTUAL_START);
    atomic_store(&state, seed);
}

int64_t virtual_now(void) { return atomic_load(&now); }

void virtual_move_to(int64_t ms) {
    int64_t was = atomic_load(&now);
    while (was < ms && !atomic_compare_exchange_weak(&now, &was, ms)) continue;
}

void virtual_pass(int64_t ms) { atomic_fetch_add(&now, ms); }

/* ---- base/clock.h ---- */

int64_t mp_clock_ms(void) { return virtual_now(); }

int64_t mp_clock_after(int64_t ms) {
    int64_t at = virtual_now();
    return ms > INT64_MAX - at ? INT64_MAX : at + (ms > 0 ? ms : 0);
}

int64_t mp_clock_wall_ms(void) { return virtual_now(); }

/* ---- base/random.h ---- */

static uint64_t next(void) { /* splitmix64 */
    uint64_t z = atomic_fetch_add(&state, 0x9e3779b97f4a7c15u) + 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void mp_random_bytes(void *out, size_t n) {
    for (char *at = out; n > 0;) {
        uint64_t bytes = next();
        size_t some = n < sizeof bytes ? n : sizeof bytes;
        memcpy(at, &bytes, some);
        at += some;
        n -= some;
    }
}

uint32_t mp_random_below(uint32_t bound) { return (uint32_t)(((next() >> 32) * bound) >> 32); }
