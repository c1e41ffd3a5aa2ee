#include "api/check.h"

#include "base/error.h"
#include "store/store_check.h"

int mp_closed(pond_error **err) { return mp_fail(err, POND_ECLOSED, "the pond is closed"); }
int mp_no_memory(pond_error **err) { return mp_fail(err, POND_ENOMEM, "no memory for a call"); }

int mp_open_check(pond *p, pond_error **err) {
    if (!p) return mp_fail(err, POND_EMISUSE, "the pond is NULL");
    return atomic_load_explicit(&p->closed, memory_order_relaxed) ? mp_closed(err) : mp_pond_here(p, err);
}

int mp_call_check(pond *p, const char *key, size_t len, const pond_policy *policy, char name[MP_NAME_MAX + 1],
                  mp_key *out, pond_error **err) {
    int code = mp_open_check(p, err);
    if (code == POND_OK) code = mp_key_check(key, len, err);
    if (code != POND_OK) return code;
    if (!policy) policy = p->defaults;
    mp_key_make(out, name, policy->options.namespace, policy->ns_len, key, len);
    return POND_OK;
}

int mp_keys_check(pond *p, const char *const *keys, const size_t *lens, size_t n, pond_error **err) {
    int code = mp_open_check(p, err);
    if (code == POND_OK && n && (!keys || !lens)) code = mp_fail(err, POND_EMISUSE, "keys or lens is NULL");
    for (size_t i = 0; i < n && code == POND_OK; i++) code = mp_key_check(keys[i], lens[i], err);
    return code;
}

int mp_store_check(pond *p, const char *collection, const char *const *ids, const size_t *lens, size_t n,
                   pond_error **err) {
    int code = mp_open_check(p, err);
    if (code == POND_OK && !p->store)
        code = mp_fail(err, POND_EOPTION,
                       "this pond has no store: open it with store=sqlite:path or store=mongodb://host/database");
    if (code == POND_OK) code = mp_collection_check(collection, err);
    if (code == POND_OK && n && (!ids || !lens)) code = mp_fail(err, POND_EMISUSE, "ids or lens is NULL");
    for (size_t i = 0; i < n && code == POND_OK; i++) code = mp_id_check(collection, ids[i], lens[i], err);
    return code;
}
