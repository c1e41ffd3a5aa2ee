/* Calls that block: the asynchronous call, and a wait. */
#include "api/check.h"
#include "base/error.h"
#include "pattern/load.h"
#include "pattern/wait.h"

static int read(pond *p, const char *key, size_t len, const pond_policy *policy, const pond_tags *tags,
                pond_loader loader, void *ctx, pond_value **out, pond_error **err) {
    char name[MP_NAME_MAX + 1];
    mp_key k;
    int code = mp_call_check(p, key, len, policy, name, &k, err);
    if (code != POND_OK) return code;
    pond_value *now = mp_peek_tagged(p, policy, &k, tags);
    if (now) {
        *out = now;
        return POND_OK;
    }
    if (loader && mp_load_runs_here(p, &k))
        return mp_fail(err, POND_EDEADLOCK,
                       "the loader of \"%.*s\" asks for the key that it is loading: load it from the store",
                       len > 80 ? 80 : (int)len, key);
    const mp_ask ask = {.policy = policy, .key = &k, .tags = tags, .lookup = !loader};
    return mp_wait_read(p, &ask, false, loader, ctx, out, err);
}

int pond_fetch(pond *p, const char *key, size_t len, const pond_policy *policy, pond_loader loader, void *ctx,
               pond_value **out, pond_error **err) {
    if (!loader || !out) return mp_fail(err, POND_EMISUSE, "pond_fetch: loader or out is NULL");
    return read(p, key, len, policy, NULL, loader, ctx, out, err);
}

int pond_lookup(pond *p, const char *key, size_t len, const pond_policy *policy, pond_value **out, pond_error **err) {
    if (!out) return mp_fail(err, POND_EMISUSE, "pond_lookup: out is NULL");
    return read(p, key, len, policy, NULL, NULL, NULL, out, err);
}

int pond_fetch_tagged(pond *p, const char *key, size_t len, const pond_policy *policy, const pond_tags *tags,
                      pond_loader loader, void *ctx, pond_value **out, pond_error **err) {
    if (!loader || !out) return mp_fail(err, POND_EMISUSE, "pond_fetch_tagged: loader or out is NULL");
    return read(p, key, len, policy, tags, loader, ctx, out, err);
}

int pond_lookup_tagged(pond *p, const char *key, size_t len, const pond_policy *policy, const pond_tags *tags,
                       pond_value **out, pond_error **err) {
    if (!out) return mp_fail(err, POND_EMISUSE, "pond_lookup_tagged: out is NULL");
    return read(p, key, len, policy, tags, NULL, NULL, out, err);
}

pond_value *pond_peek_tagged(pond *p, const char *key, size_t len, const pond_policy *policy, const pond_tags *tags) {
    if (!p || !p->cache->vt->peek) return NULL;
    char name[MP_NAME_MAX + 1];
    mp_key k;
    if (mp_call_check(p, key, len, policy, name, &k, NULL) != POND_OK) return NULL;
    return mp_peek_tagged(p, policy, &k, tags);
}

int pond_invalidate_tagged(pond *p, const char *const *keys, const size_t *lens, size_t n, const pond_policy *policy,
                           const pond_tags *tags, pond_error **err) {
    int code = mp_keys_check(p, keys, lens, n, err);
    if (code != POND_OK || (n == 0 && !tags)) return code;
    return mp_wait_invalidate(p, policy, keys, lens, n, tags, false, err);
}

pond_value *pond_peek(pond *p, const char *key, size_t len, const pond_policy *policy) {
    return pond_peek_tagged(p, key, len, policy, NULL);
}

int pond_invalidate(pond *p, const char *const *keys, const size_t *lens, size_t n, const pond_policy *policy,
                    pond_error **err) {
    return pond_invalidate_tagged(p, keys, lens, n, policy, NULL, err);
}

int pond_explain(pond *p, const char *key, size_t len, const pond_policy *policy, pond_value **out, pond_error **err) {
    if (!out) return mp_fail(err, POND_EMISUSE, "pond_explain: out is NULL");
    char name[MP_NAME_MAX + 1];
    mp_key k;
    int code = mp_call_check(p, key, len, policy, name, &k, err);
    return code == POND_OK ? mp_wait_inspect(p, policy, &k, false, out, err) : code;
}
