/* Changes of one document on MongoDB, as the functions of mp_store_vt have them. */
#ifndef MP_STORE_MONGODB_CHANGE_H
#define MP_STORE_MONGODB_CHANGE_H

#include "store/mongodb_pool.h"
#include "store/store.h"

/* `most`: bytes that a document may have. */
int mp_mongodb_ready(mp_mongodb_pool *pool, mp_change *change, int64_t most, pond_error **err);
mp_applied mp_mongodb_apply(mp_mongodb_pool *pool, const mp_change *change, pond_error **err);
void mp_mongodb_discard(mp_change *change);

/* What every write by id has: strings are compared byte by byte, and it waits for the majority. An update has no limit of its time at
 * the server, but what waits for the majority has. */
void mp_mongodb_write_options(const mp_mongodb_call *call, bson_t *options);

#endif
