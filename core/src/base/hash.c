#include "base/hash.h"

#include <pthread.h>
#include <stdatomic.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/random.h"

/* A whole random secret rather than a 64-bit seed: as fast for short keys, and faster past 240 bytes, where XXH3 would
 * otherwise derive a secret from the seed at every call. */
static unsigned char secret[XXH3_SECRET_DEFAULT_SIZE];
static _Atomic int ready;

static void make_secret(void) {
    mp_random_bytes(secret, sizeof secret);
    atomic_store_explicit(&ready, 1, memory_order_release);
}

uint64_t mp_hash(const void *data, size_t len) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (!atomic_load_explicit(&ready, memory_order_acquire)) pthread_once(&once, make_secret);
    return XXH3_64bits_withSecret(data, len, secret, sizeof secret);
}

uint64_t mp_hash_with(const void *data, size_t len, uint64_t seed) { return XXH3_64bits_withSeed(data, len, seed); }
