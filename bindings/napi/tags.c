/* Tags: JavaScript knows a set by its number, and the calls that take one. Number 0 is no tags. */
#include "addon.h"

static const pond_tags *tags_at(const mpn_pond *p, uint32_t place) { return mpn_table_at(&p->tags, place); }
static const pond_policy *policy_at(const mpn_pond *p, uint32_t place) { return mpn_table_at(&p->policies, place); }

void mpn_tags_end(mpn_pond *p) {
    for (uint32_t i = 1; i < p->tags.used; i++) pond_tags_free(mpn_table_take(&p->tags, i));
    mpn_table_free(&p->tags);
}

/* tags(policy, [tag...]) -> its number */
static napi_value tags(napi_env napi, napi_callback_info info) {
    napi_value args[2], out = NULL;
    uint32_t policy = 0, place = 0;
    mpn_texts names;
    mpn_pond *p = mpn_args(napi, info, 2, args);
    if (!p || !mpn_uint_get(napi, args[0], &policy) || !mpn_texts_get(napi, args[1], &names)) return NULL;
    pond_tags *made = NULL;
    pond_error *error = NULL;
    int rc = pond_tags_new(&made, p->core, policy_at(p, policy), (const char *const *)names.data, names.lens, names.n,
                           &error);
    mpn_texts_free(&names);
    if (rc != POND_OK) return mpn_throw(p->env, error);
    if (made && !(place = mpn_table_add(&p->tags, made))) {
        pond_tags_free(made);
        return mpn_throw_code(napi, POND_ENOMEM, "no memory");
    }
    napi_create_uint32(napi, place, &out);
    return out;
}

/* freeTags(number): no call takes it any more (the core keeps what is under way) */
static napi_value free_tags(napi_env napi, napi_callback_info info) {
    napi_value args[1];
    size_t n = 1;
    uint32_t place = 0;
    mpn_pond *p = NULL;
    if (napi_get_cb_info(napi, info, &n, args, NULL, (void **)&p) != napi_ok) return NULL;
    if (mpn_uint_get(napi, args[0], &place)) pond_tags_free(mpn_table_take(&p->tags, place));
    return NULL;
}

typedef int (*start_fn)(pond *, pond_queue *, const char *, size_t, const pond_policy *, const pond_tags *, uint64_t,
                        pond_value **, pond_request **, pond_error **);

static napi_value start(napi_env napi, napi_callback_info info, start_fn call) {
    napi_value args[4];
    mpn_text key;
    uint32_t policy = 0, user = 0, set = 0;
    mpn_pond *p = mpn_args(napi, info, 4, args);
    if (!p || !mpn_uint_get(napi, args[1], &policy) || !mpn_uint_get(napi, args[2], &user) ||
        !mpn_uint_get(napi, args[3], &set) || !mpn_text_get(napi, args[0], &key)) {
        return NULL;
    }
    pond_value *now = NULL;
    pond_error *error = NULL;
    int rc =
        call(p->core, p->queue, key.data, key.len, policy_at(p, policy), tags_at(p, set), user, &now, NULL, &error);
    mpn_text_free(&key);
    return mpn_started(p, rc, now, error);
}

/* fetchTagged(key, policy, user, tags), lookupTagged(key, policy, user, tags) */
static napi_value fetch(napi_env napi, napi_callback_info info) { return start(napi, info, pond_fetch_tagged_start); }
static napi_value lookup(napi_env napi, napi_callback_info info) { return start(napi, info, pond_lookup_tagged_start); }

/* What takes keys, and tags: an invalidation, or a write. */
static napi_value change(napi_env napi, napi_callback_info info, bool write) {
    napi_value args[4];
    mpn_texts keys;
    uint32_t policy = 0, user = 0, set = 0;
    mpn_pond *p = mpn_args(napi, info, 4, args);
    if (!p || !mpn_uint_get(napi, args[1], &policy) || !mpn_uint_get(napi, args[2], &user) ||
        !mpn_uint_get(napi, args[3], &set) || !mpn_texts_get(napi, args[0], &keys)) {
        return NULL;
    }
    const char *const *data = (const char *const *)keys.data;
    const pond_policy *at = policy_at(p, policy);
    pond_error *error = NULL;
    int rc = write
                 ? pond_write_start(p->core, p->queue, data, keys.lens, keys.n, at, tags_at(p, set), user, NULL, &error)
                 : pond_invalidate_tagged_start(p->core, p->queue, data, keys.lens, keys.n, at, tags_at(p, set), user,
                                                &error);
    mpn_texts_free(&keys);
    return mpn_started(p, rc, NULL, error);
}

/* invalidateTagged(keys, policy, user, tags), write(keys, policy, user, tags) */
static napi_value invalidate(napi_env napi, napi_callback_info info) { return change(napi, info, false); }
static napi_value write_(napi_env napi, napi_callback_info info) { return change(napi, info, true); }

#define METHOD(name, function)                                                                                         \
    { name, NULL, function, NULL, NULL, NULL, napi_default, NULL }
const napi_property_descriptor mpn_tag_methods[] = {
    METHOD("tags", tags),           METHOD("freeTags", free_tags),          METHOD("fetchTagged", fetch),
    METHOD("lookupTagged", lookup), METHOD("invalidateTagged", invalidate), METHOD("write", write_),
};
const size_t mpn_tag_method_count = sizeof mpn_tag_methods / sizeof *mpn_tag_methods;
