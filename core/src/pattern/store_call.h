/* Calls to the store from event loops: a job on the pool, whose answer is posted to the lane. */
#ifndef MP_PATTERN_STORE_CALL_H
#define MP_PATTERN_STORE_CALL_H

#include "pattern/call.h"

typedef enum mp_store_kind {
    MP_STORE_CREATE,
    MP_STORE_GET,
    MP_STORE_GET_MANY,
    MP_STORE_PUT,
    MP_STORE_DELETE
} mp_store_kind;

/* Lane's lock held; arguments were checked and are copied. NULL without memory or threads. */
mp_call *mp_store_call_start(mp_lane *lane, mp_store_kind kind, const char *collection, const char *const *ids,
                             const size_t *lens, size_t n, const char *doc, size_t doc_len, uint64_t user);

#endif
