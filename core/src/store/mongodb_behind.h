/* Write-behind's side of the MongoDB store (store/behind.h): fences, epochs, versions and tombstones, in collections of the same database
 * whose names begin with millpond_, and _mpv, the version, in each document.
 *
 * An owner has a client and a session of its own from behind_own on: who takes over ends that session first (killSessions), so that a
 * transaction of a worker that died in its midst holds nobody up. */
#ifndef MP_STORE_MONGODB_BEHIND_H
#define MP_STORE_MONGODB_BEHIND_H

#include "store/mongodb_pool.h"
#include "store/store.h"

typedef struct mp_mongodb_behind mp_mongodb_behind;

/* NULL without memory. */
mp_mongodb_behind *mp_mongodb_behind_new(mp_mongodb_pool *pool);
/* Before the pool is closed. Takes NULL. */
void mp_mongodb_behind_free(mp_mongodb_behind *behind);

/* As those of mp_store_vt. */
int mp_mongodb_behind_prepare(mp_mongodb_behind *behind, const char *collection, pond_error **err);
int mp_mongodb_behind_epoch(mp_mongodb_behind *behind, const char *ns, int64_t *epoch, pond_error **err);
int mp_mongodb_behind_own(mp_mongodb_behind *behind, const uint8_t owner[16], const char *const *shards, size_t n,
                          pond_error **err);
mp_flushed mp_mongodb_behind_flush(mp_mongodb_behind *behind, mp_flush *flush, pond_error **err);
int mp_mongodb_behind_get(mp_mongodb_behind *behind, const char *collection, const char *id, size_t len,
                          pond_value **out, int64_t *version, pond_error **err);

#endif
