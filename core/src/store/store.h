/* The interface of a store: JSON documents by id, blocking calls, safe from any thread.
 * `collection` was checked by mp_collection_check, `id` by mp_id_check; documents come and go as JSON objects: out with
 * "id" as the first member, in without it or with the same one. */
#ifndef MP_STORE_STORE_H
#define MP_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include "base/buf.h"
#include "model/config.h"
#include "model/query.h"
#include "model/value.h"

typedef struct mp_store mp_store;

typedef struct mp_store_vt {
    const char *scheme;
    int (*create)(mp_store *store, const char *collection, pond_error **err);
    /* *out: a value (POND_JSON) or the absence. */
    int (*get)(mp_store *store, const char *collection, const char *id, size_t len, pond_value **out, pond_error **err);
    /* n answers in the order asked; on error none is set. Repeated ids are answered each time. */
    int (*get_many)(mp_store *store, const char *collection, const char *const *ids, const size_t *lens, size_t n,
                    pond_value **out, pond_error **err);
    int (*put)(mp_store *store, const char *collection, const char *id, size_t len, const char *doc, size_t doc_len,
               pond_error **err);
    int (*remove)(mp_store *store, const char *collection, const char *id, size_t len, bool *existed, pond_error **err);
    /* No call is under way. */
    void (*close)(mp_store *store);

    /* What documents are written in: POND_JSON, or POND_EJSON where values can be more than JSON knows. */
    pond_codec codec;
    /* Appends the page's documents to `out` as a JSON array: "id" first, then all members or those of query->fields; *count is
     * how many. What it means is said in GUIDE.md; skip and limit are the query's. */
    int (*find)(mp_store *store, const char *collection, const mp_query *query, mp_buf *out, size_t *count,
                pond_error **err);
    /* How many documents match, whatever the page. */
    int (*count)(mp_store *store, const char *collection, const mp_query *query, int64_t *total, pond_error **err);
    /* Makes the index that finds and sorts by one field, if it is not there. */
    int (*index)(mp_store *store, const char *collection, const mp_query_sort *field, pond_error **err);
    /* Appends `"index": name or null, "statement": text` to an open JSON object: how find would go about it. */
    int (*plan)(mp_store *store, const char *collection, const mp_query *query, mp_buf *out, pond_error **err);
} mp_store_vt;

struct mp_store {
    const mp_store_vt *vt;
};

int mp_sqlite_open(mp_store **out, const mp_options *options, pond_error **err);

#endif
