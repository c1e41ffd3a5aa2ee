/* Calls to the store from event loops: a job on the pool, whose answer is posted to the lane. */
#ifndef MP_PATTERN_STORE_CALL_H
#define MP_PATTERN_STORE_CALL_H

#include "pattern/call.h"

typedef enum mp_store_kind {
    MP_STORE_CREATE,
    MP_STORE_GET,
    MP_STORE_GET_MANY,
    MP_STORE_PUT,
    MP_STORE_DELETE,
    MP_STORE_PREPARE, /* of a collection */
    MP_STORE_EXPLAIN, /* of a find */
    MP_STORE_DEAD_LIST, /* of a collection, whose dead letters are in the cache; `number` of them, behind ids[0] if there is one */
    MP_STORE_DEAD_ACT /* ids[0] is the letter, `number` what is done with it */
} mp_store_kind;

typedef struct mp_store_args {
    mp_store_kind kind;
    const char *collection; /* the first five */
    const char *const *ids;
    const size_t *lens;
    size_t n;
    const char *doc;
    size_t doc_len;
    int64_t number;
    struct mp_source *subject; /* the last four: the collection or find; a reference is taken */
} mp_store_args;

/* Lane's lock held; arguments were checked and are copied. NULL without memory or threads. */
mp_call *mp_store_call_start(mp_lane *lane, const mp_store_args *args, uint64_t user);

#endif
