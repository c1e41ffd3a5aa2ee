/* The interface of a cache: seven operations on one key each, asynchronous, and the leases that make fills safe.
 * A cache belongs to a pond (a memory: cache to the process); a link is the part of it that one loop drives. */
#ifndef MP_CACHE_CACHE_H
#define MP_CACHE_CACHE_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "engine/loop.h"
#include "model/config.h"
#include "model/key.h"
#include "model/value.h"

#define MP_TOKEN_LEN 16
#define MP_FENCE_LEN 8

typedef struct mp_cache mp_cache;
typedef struct mp_link mp_link;
typedef struct mp_op mp_op;

typedef enum mp_op_kind {
    MP_GET,        /* -> HIT value | MISS (value = NULL; `damaged` if something undecodable stands there) */
    MP_LEASE,      /* get, or be granted the lease: -> HIT value | LEASED fence | BUSY ms | INDOUBT ms */
    MP_FILL,       /* token, fence, value, ttl_ms -> STORED | REFUSED */
    MP_RENEW,      /* token, lease_ms -> STORED | REFUSED */
    MP_RELEASE,    /* token -> DONE */
    MP_INVALIDATE, /* token (fresh) -> DONE */
    MP_INSPECT     /* -> HIT value = JSON object */
} mp_op_kind;

typedef enum mp_reply {
    MP_PENDING = 0,
    MP_HIT,
    MP_MISSED,
    MP_LEASED,
    MP_BUSY,    /* someone loads; `ms` = what is left of the lease */
    MP_INDOUBT, /* someone writes; `ms` = what is left of the intents */
    MP_STORED,
    MP_REFUSED,
    MP_DONE,
    MP_FAILED /* `error` says why: POND_ECACHE, POND_ETIMEOUT, POND_ECLOSED, POND_EPROTOCOL, POND_ENOMEM */
} mp_reply;

/* One operation. The owner sets the upper part, keeps it and what it points to alive until `done` was called, and takes
 * over `value` and `error` then. */
struct mp_op {
    mp_op_kind kind;
    mp_key key;
    uint8_t token[MP_TOKEN_LEN];
    uint8_t fence[MP_FENCE_LEN]; /* in: FILL; out: LEASE */
    int64_t lease_ms, ttl_ms;
    uint32_t load_ms;   /* FILL: how long the load took, for the envelope */
    int64_t timeout_ms; /* of the command */
    uint8_t
        rejected[64]; /* out: GET, in: LEASE: the first bytes of a value that cannot be served and counts as absent */
    uint8_t rejected_len;
    bool damaged;            /* out: GET: because it cannot be decoded */
    pond_value *value;       /* in: FILL (borrowed); out: HIT (the owner's) */
    void (*done)(mp_op *op); /* on the loop's driver, exactly once, perhaps before submit returns */

    mp_reply reply;
    int64_t ms;
    pond_error *error;   /* out: FAILED (the owner's) */
    bool resent, parked; /* the link's own, as is: */
    void *link_private;  /* the link's own */
};

typedef struct mp_cache_vt {
    const char *scheme;
    /* The value or absence of `key` if the answer needs no wait; a new reference, else NULL. NULL where every answer waits.
     * @threads any */
    pond_value *(*peek)(mp_cache *cache, const mp_key *key, int64_t now_ms);
    /* NULL without memory. @threads the loop's */
    mp_link *(*link_open)(mp_cache *cache, mp_loop *loop);
    /* Ends what is pending with FAILED, POND_ECLOSED. @threads the loop's */
    void (*link_close)(mp_link *link);
    /* @threads the loop's */
    void (*submit)(mp_link *link, mp_op *op);
    /* The owner gives `op` up: its `done` is not called any more, and the owner may free it. A lease that is granted to it
     * later is released. @threads the loop's */
    void (*forget)(mp_link *link, mp_op *op);
    /* Appends `"name": {...}` members about the cache as a whole to a JSON object (connections, bytes...).
     * @threads any */
    void (*describe)(mp_cache *cache, mp_buf *json);
    /* No link is open any more. @threads any */
    void (*close)(mp_cache *cache);
} mp_cache_vt;

struct mp_cache {
    const mp_cache_vt *vt;
};
struct mp_link {
    const mp_cache_vt *vt;
};

/* By scheme; `options->cache` was chosen by api/open.c. POND_EURL names the part of the address that cannot be used, and
 * never shows a password. */
int mp_memory_open(mp_cache **out, const mp_options *options, pond_error **err);
int mp_redis_open(mp_cache **out, const mp_options *options, pond_error **err);

#endif
