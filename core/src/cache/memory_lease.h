/* The leases of one shard: who loads which key. Bounded: where too many stand the oldest goes, which is safe (its fill is
 * then refused), and those whose time is over go first. */
#ifndef MP_CACHE_MEMORY_LEASE_H
#define MP_CACHE_MEMORY_LEASE_H

#include "cache/cache.h"
#include "cache/memory_table.h"

typedef struct mp_mleases {
    mp_mtable table;
    mp_node queue; /* the longest granted or renewed first */
    uint32_t most;
    int64_t item_bytes;
} mp_mleases;

/* Somebody who waits for the end of a lease. */
typedef struct mp_mwait {
    mp_node node; /* the lease's */
    mp_loop *loop;
    mp_task told; /* posted to the loop when the lease has ended, or gone to another */
} mp_mwait;

void mp_mleases_init(mp_mleases *leases, uint32_t most);
void mp_mleases_free(mp_mleases *leases);
/* 0: the lease is the token's, now or (again) from now; > 0: another's for so many ms; < 0: no memory. `rests` (not NULL): the caller
 * has a value to serve meanwhile, so that a back-off stops it, too: set if it did. */
int64_t mp_mleases_grant(mp_mleases *leases, const mp_key *key, const uint8_t *token, int64_t lease_ms, bool *rests,
                         int64_t now_ms);
/* All false if the token has no lease on the key. */
bool mp_mleases_renew(mp_mleases *leases, const mp_key *key, const uint8_t *token, int64_t lease_ms, int64_t now_ms);
bool mp_mleases_end(mp_mleases *leases, const mp_key *key, const uint8_t *token, int64_t now_ms);
/* Nobody's from now on; who has a value to serve gets none for so many ms. */
bool mp_mleases_rest(mp_mleases *leases, const mp_key *key, const uint8_t *token, int64_t rest_ms, int64_t now_ms);
/* Whoever's it is. */
void mp_mleases_revoke(mp_mleases *leases, const mp_key *key);
/* False if there is none to wait for. */
bool mp_mleases_await(mp_mleases *leases, const mp_key *key, mp_mwait *wait, int64_t now_ms);
/* What is left of it, 0 if there is none. */
int64_t mp_mleases_left(const mp_mleases *leases, const mp_key *key, int64_t now_ms);
int64_t mp_mleases_bytes(const mp_mleases *leases);

#endif
