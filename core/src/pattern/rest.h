/* Back-off: a key whose refresh has failed, or is somebody else's business, is not asked about again for a while. A table of fixed size; a
 * key may push out another, whose back-off then starts anew. Guarded by the flight shard that it belongs to. */
#ifndef MP_PATTERN_REST_H
#define MP_PATTERN_REST_H

#include <stdbool.h>
#include <stdint.h>

enum { MP_RESTS = 64 }; /* of a shard */

typedef struct mp_rest {
    uint64_t hash; /* of the key */
    int64_t until;
    uint8_t failures; /* one after the other; 0: somebody else loads */
} mp_rest;

typedef struct mp_rests {
    mp_rest of[MP_RESTS];
} mp_rests;

/* Is the key left alone now? `*failed` (may be NULL): because loads of it have failed. */
bool mp_rest_stands(const mp_rests *rests, uint64_t hash, int64_t now_ms, bool *failed);
/* Somebody else loads it, or has failed to (`failed`), and for so long nobody shall try again. */
void mp_rest_heard(mp_rests *rests, uint64_t hash, int64_t ms, bool failed, int64_t first_ms, int64_t now_ms);
/* A load has failed here: how long everybody waits now. At least half of first_ms, which doubles with each failure, 32-fold at most. */
int64_t mp_rest_failed(mp_rests *rests, uint64_t hash, int64_t first_ms, int64_t now_ms);
void mp_rest_over(mp_rests *rests, uint64_t hash); /* it was loaded */

#endif
