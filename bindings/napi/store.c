/* The store past the cache: documents by id. Each call takes the number under which its event is waited for, last. */
#include "addon.h"

/* create(collection, user) */
static napi_value create(napi_env napi, napi_callback_info info) {
    napi_value args[2];
    mpn_text collection;
    uint32_t user = 0;
    mpn_pond *p = mpn_args(napi, info, 2, args);
    if (!p || !mpn_uint_get(napi, args[1], &user) || !mpn_text_get(napi, args[0], &collection)) return NULL;
    pond_error *error = NULL;
    int rc = pond_store_create_start(p->core, p->queue, collection.data, user, &error);
    mpn_text_free(&collection);
    return mpn_started(p, rc, NULL, error);
}

typedef int (*by_id_fn)(pond *, pond_queue *, const char *, const char *, size_t, uint64_t, pond_error **);

static napi_value by_id(napi_env napi, napi_callback_info info, by_id_fn call) {
    napi_value args[3];
    mpn_text collection, id;
    uint32_t user = 0;
    mpn_pond *p = mpn_args(napi, info, 3, args);
    if (!p || !mpn_uint_get(napi, args[2], &user) || !mpn_text_get(napi, args[0], &collection)) return NULL;
    napi_value out = NULL;
    if (mpn_text_get(napi, args[1], &id)) {
        pond_error *error = NULL;
        int rc = call(p->core, p->queue, collection.data, id.data, id.len, user, &error);
        mpn_text_free(&id);
        out = mpn_started(p, rc, NULL, error);
    }
    mpn_text_free(&collection);
    return out;
}

/* get(collection, id, user), remove(collection, id, user) */
static napi_value get(napi_env napi, napi_callback_info info) { return by_id(napi, info, pond_store_get_start); }
static napi_value remove_(napi_env napi, napi_callback_info info) { return by_id(napi, info, pond_store_delete_start); }

/* getMany(collection, ids, user) */
static napi_value get_many(napi_env napi, napi_callback_info info) {
    napi_value args[3];
    mpn_text collection;
    mpn_texts ids;
    uint32_t user = 0;
    mpn_pond *p = mpn_args(napi, info, 3, args);
    if (!p || !mpn_uint_get(napi, args[2], &user) || !mpn_text_get(napi, args[0], &collection)) return NULL;
    napi_value out = NULL;
    if (mpn_texts_get(napi, args[1], &ids)) {
        pond_error *error = NULL;
        int rc = pond_store_get_many_start(p->core, p->queue, collection.data, (const char *const *)ids.data, ids.lens,
                                           ids.n, user, &error);
        mpn_texts_free(&ids);
        out = mpn_started(p, rc, NULL, error);
    }
    mpn_text_free(&collection);
    return out;
}

/* put(collection, id, document, user) */
static napi_value put(napi_env napi, napi_callback_info info) {
    napi_value args[4];
    mpn_text text[3];
    uint32_t user = 0;
    mpn_pond *p = mpn_args(napi, info, 4, args);
    if (!p || !mpn_uint_get(napi, args[3], &user)) return NULL;
    napi_value out = NULL;
    int n = 0;
    while (n < 3 && mpn_text_get(napi, args[n], &text[n])) n++;
    if (n == 3) {
        pond_error *error = NULL;
        int rc = pond_store_put_start(p->core, p->queue, text[0].data, text[1].data, text[1].len, text[2].data,
                                      text[2].len, user, &error);
        out = mpn_started(p, rc, NULL, error);
    }
    while (n > 0) mpn_text_free(&text[--n]);
    return out;
}

#define METHOD(name, function)                                                                                         \
    { name, NULL, function, NULL, NULL, NULL, napi_default, NULL }
const napi_property_descriptor mpn_store_methods[] = {
    METHOD("create", create), METHOD("get", get),        METHOD("getMany", get_many),
    METHOD("put", put),       METHOD("remove", remove_),
};
const size_t mpn_store_method_count = sizeof mpn_store_methods / sizeof *mpn_store_methods;
