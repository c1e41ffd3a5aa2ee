/* Changes of one document on SQLite, as the functions of mp_store_vt have them. */
#ifndef MP_STORE_SQLITE_CHANGE_H
#define MP_STORE_SQLITE_CHANGE_H

#include "store/sqlite_pool.h"
#include "store/store.h"

/* `most`: bytes that a document may have. */
int mp_sqlite_ready(mp_sqlite_pool *pool, mp_change *change, int64_t most, pond_error **err);
mp_applied mp_sqlite_apply(mp_sqlite_pool *pool, const mp_change *change, pond_error **err);
void mp_sqlite_discard(mp_change *change);

#endif
