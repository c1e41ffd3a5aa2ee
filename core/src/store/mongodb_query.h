/* A query's normal form as BSON. Operands stand only as values below operators that are written here, and field names
 * only as keys where no operator can stand, so nothing that a query says can become an operator.
 *
 * All of these append to `to`, which the caller has initialised, and answer false if it grows too large. */
#ifndef MP_STORE_MONGODB_QUERY_H
#define MP_STORE_MONGODB_QUERY_H

#include <stdbool.h>

#include <bson/bson.h>

#include "base/buf.h"
#include "model/query.h"

/* {"$and":[...]}, or nothing if there is no condition. */
bool mp_mongodb_filter(bson_t *to, const mp_query *query);
/* {"a.b":-1,"_id":1} */
bool mp_mongodb_sort(bson_t *to, const mp_query *query);
/* {"a.b":1,"_id":1}; nothing if all fields are wanted. */
bool mp_mongodb_projection(bson_t *to, const mp_query *query);
/* Whether two fields to sort by share their first parts: then the server pairs elements of one array, which has no
 * meaning here, without a word. *wanted: `to` is a filter for a document of the query in which that would happen. */
bool mp_mongodb_shared_arrays(bson_t *to, const mp_query *query, bool *wanted);

/* The regular expression that finds a folded term as a piece of text, whatever the case: code points with others that
 * fold to the same are a class of all of them, by our own table, and nothing is special. Needs no option. */
void mp_mongodb_regex(mp_buf *out, mp_slice term);
/* "_id" for the id. */
const char *mp_mongodb_field(const mp_query_path *path);

#endif
