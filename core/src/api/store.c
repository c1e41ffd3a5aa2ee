/* The store from blocking callers: straight through, in the caller's thread. */
#include "api/check.h"
#include "base/error.h"

int pond_store_create(pond *p, const char *collection, pond_error **err) {
    int code = mp_store_check(p, collection, NULL, NULL, 0, err);
    return code == POND_OK ? p->store->vt->create(p->store, collection, err) : code;
}

int pond_store_get(pond *p, const char *collection, const char *id, size_t len, pond_value **out, pond_error **err) {
    int code = mp_store_check(p, collection, &id, &len, 1, err);
    return code == POND_OK ? p->store->vt->get(p->store, collection, id, len, out, err) : code;
}

int pond_store_get_many(pond *p, const char *collection, const char *const *ids, const size_t *lens, size_t n,
                        pond_value **out, pond_error **err) {
    int code = mp_store_check(p, collection, ids, lens, n, err);
    if (code != POND_OK || n == 0) return code;
    return p->store->vt->get_many(p->store, collection, ids, lens, n, out, err);
}

int pond_store_put(pond *p, const char *collection, const char *id, size_t len, const char *doc, size_t doc_len,
                   pond_error **err) {
    int code = mp_store_check(p, collection, &id, &len, 1, err);
    if (code == POND_OK && !doc) code = mp_fail(err, POND_EMISUSE, "pond_store_put: doc is NULL");
    return code == POND_OK ? p->store->vt->put(p->store, collection, id, len, doc, doc_len, err) : code;
}

int pond_store_delete(pond *p, const char *collection, const char *id, size_t len, int *existed, pond_error **err) {
    bool did = false;
    int code = mp_store_check(p, collection, &id, &len, 1, err);
    if (code == POND_OK) code = p->store->vt->remove(p->store, collection, id, len, &did, err);
    if (code == POND_OK && existed) *existed = did;
    return code;
}
