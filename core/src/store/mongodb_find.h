/* Queries on MongoDB: pages, totals, plans and indexes. */
#ifndef MP_STORE_MONGODB_FIND_H
#define MP_STORE_MONGODB_FIND_H

#include "base/buf.h"
#include "model/query.h"
#include "store/mongodb_pool.h"

/* Each is one call; as the functions of mp_store_vt. `most`: bytes that a page may have. */
int mp_mongodb_find(mp_mongodb_pool *pool, const char *collection, const mp_query *query, int64_t most, mp_buf *out,
                    size_t *count, pond_error **err);
int mp_mongodb_count(mp_mongodb_pool *pool, const char *collection, const mp_query *query, int64_t *total,
                     pond_error **err);
int mp_mongodb_plan(mp_mongodb_pool *pool, const char *collection, const mp_query *query, mp_buf *out,
                    pond_error **err);
int mp_mongodb_index(mp_mongodb_pool *pool, const char *collection, const mp_query_sort *field, pond_error **err);

/* {collation: {locale: "simple"}}: what every statement has. */
void mp_mongodb_collation(bson_t *to);
/* That and {maxTimeMS: what is left}: what every read has. */
void mp_mongodb_options(const mp_mongodb_call *call, bson_t *to);

#endif
