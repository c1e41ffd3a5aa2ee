/* The bound of cached absences in a shared cache: a process caches at most `max` per namespace and negative_ttl, so that
 * random ids cannot push out real values. A count over two halves of the window: O(1) and no list of keys. (memory:
 * bounds them by bytes as well, see cache/memory.) */
#ifndef MP_PATTERN_NEGATIVE_H
#define MP_PATTERN_NEGATIVE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct mp_negative {
    pthread_mutex_t lock;
    int64_t half_began;
    int64_t now_half, last_half;
} mp_negative;

void mp_negative_init(mp_negative *negative);
/* May one more be cached now? Counts it if so. */
bool mp_negative_take(mp_negative *negative, int64_t now_ms, int64_t ttl_ms, int64_t max);

#endif
