/* Write-behind's side of the SQLite store: fences, epochs, versions, tombstones (store/behind.h). */
#ifndef MP_STORE_SQLITE_BEHIND_H
#define MP_STORE_SQLITE_BEHIND_H

#include "store/sqlite_pool.h"
#include "store/store.h"

int mp_sqlite_behind_prepare(mp_sqlite_pool *pool, const char *collection, pond_error **err);
int mp_sqlite_behind_epoch(mp_sqlite_pool *pool, const char *ns, int64_t *epoch, pond_error **err);
int mp_sqlite_behind_own(mp_sqlite_pool *pool, const uint8_t owner[16], const char *const *shards, size_t n,
                         pond_error **err);
mp_flushed mp_sqlite_behind_flush(mp_sqlite_pool *pool, mp_flush *flush, pond_error **err);
int mp_sqlite_behind_get(mp_sqlite_pool *pool, const char *collection, const char *id, size_t len, pond_value **out,
                         int64_t *version, pond_error **err);

#endif
