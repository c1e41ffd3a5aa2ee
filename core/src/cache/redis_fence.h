/* The fence (protocol.md, section 4): the name of the server's history. What one process knows of one server, shared by its
 * connections to it. */
#ifndef MP_CACHE_REDIS_FENCE_H
#define MP_CACHE_REDIS_FENCE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include "cache/cache.h"

#define MP_FENCES_LEFT 16
#define MP_RUN_ID_MAX 64

typedef struct mp_fence {
    pthread_mutex_t lock;
    bool known;
    uint8_t now[MP_FENCE_LEN];
    uint8_t left[MP_FENCES_LEFT][MP_FENCE_LEN]; /* never taken again */
    size_t left_count, left_next;
    char run[MP_RUN_ID_MAX + 1], replid[MP_RUN_ID_MAX + 1]; /* of the last answer, and when its request was sent */
    int64_t seen;
} mp_fence;

/* The arguments of fence.lua. */
typedef struct mp_fence_args {
    uint8_t next[MP_FENCE_LEN];
    char run[MP_RUN_ID_MAX + 1], replid[MP_RUN_ID_MAX + 1];
    uint8_t left[MP_FENCES_LEFT * MP_FENCE_LEN];
    size_t left_len;
} mp_fence_args;

void mp_fence_init(mp_fence *fence);
void mp_fence_destroy(mp_fence *fence);
void mp_fence_ask(mp_fence *fence, int64_t now_ms, mp_fence_args *out);
/* The answer to a request that was sent at `sent_ms`. */
void mp_fence_learn(mp_fence *fence, const uint8_t now[MP_FENCE_LEN], const char *run, const char *replid,
                    int64_t sent_ms);

#endif
