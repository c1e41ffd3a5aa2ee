/* Collections: documents and pages of the store through the cache. JavaScript knows a collection by its number. A query
 * crosses as text (form 0) or JSON (form 1): the core reads it. */
#include "addon.h"

static pond_collection *collection_at(const mpn_pond *p, uint32_t place) {
    return mpn_table_at(&p->collections, place);
}

/* collection(name, [name, value, name, value...]) -> its number */
static napi_value collection(napi_env napi, napi_callback_info info) {
    napi_value args[2], out = NULL;
    mpn_text name;
    mpn_texts pairs;
    mpn_pond *p = mpn_args(napi, info, 2, args);
    if (!p || !mpn_text_get(napi, args[0], &name)) return NULL;
    if (mpn_texts_get(napi, args[1], &pairs)) {
        pond_collection *made = NULL;
        pond_error *error = NULL;
        int rc = pond_collection_new(&made, p->core, name.data, (const char *const *)pairs.data, pairs.n / 2, &error);
        mpn_texts_free(&pairs);
        uint32_t place = rc == POND_OK ? mpn_table_add(&p->collections, made) : 0;
        if (rc != POND_OK) {
            mpn_throw(p->env, error);
        } else if (!place) {
            pond_collection_free(made);
            mpn_throw_code(napi, POND_ENOMEM, "no memory");
        } else {
            napi_create_uint32(napi, place, &out);
        }
    }
    mpn_text_free(&name);
    return out;
}

/* freeCollection(number): nothing of JavaScript's uses it any more (the core keeps what is under way) */
static napi_value free_collection(napi_env napi, napi_callback_info info) {
    napi_value args[1];
    size_t n = 1;
    uint32_t place = 0;
    mpn_pond *p = NULL;
    if (napi_get_cb_info(napi, info, &n, args, NULL, (void **)&p) != napi_ok) return NULL;
    if (mpn_uint_get(napi, args[0], &place)) pond_collection_free(mpn_table_take(&p->collections, place));
    return NULL;
}

/* prepare(collection, user) */
static napi_value prepare(napi_env napi, napi_callback_info info) {
    napi_value args[2];
    uint32_t place = 0, user = 0;
    mpn_pond *p = mpn_args(napi, info, 2, args);
    if (!p || !mpn_uint_get(napi, args[0], &place) || !mpn_uint_get(napi, args[1], &user)) return NULL;
    pond_error *error = NULL;
    int rc = pond_collection_prepare_start(collection_at(p, place), p->queue, user, &error);
    return mpn_started(p, rc, NULL, error);
}

/* flush(collection, milliseconds, user) */
static napi_value flush(napi_env napi, napi_callback_info info) {
    napi_value args[3];
    uint32_t place = 0, user = 0;
    int64_t ms = 0;
    mpn_pond *p = mpn_args(napi, info, 3, args);
    if (!p || !mpn_uint_get(napi, args[0], &place) || napi_get_value_int64(napi, args[1], &ms) != napi_ok ||
        !mpn_uint_get(napi, args[2], &user))
        return NULL;
    pond_error *error = NULL;
    int rc = pond_collection_flush_start(collection_at(p, place), p->queue, ms, user, &error);
    return mpn_started(p, rc, NULL, error);
}

/* increment(collection, id, field, by, user) */
static napi_value increment(napi_env napi, napi_callback_info info) {
    napi_value args[5];
    mpn_text id, member;
    uint32_t place = 0, user = 0;
    int64_t by = 0;
    mpn_pond *p = mpn_args(napi, info, 5, args);
    if (!p || !mpn_uint_get(napi, args[0], &place) || napi_get_value_int64(napi, args[3], &by) != napi_ok ||
        !mpn_uint_get(napi, args[4], &user) || !mpn_text_get(napi, args[1], &id))
        return NULL;
    if (!mpn_text_get(napi, args[2], &member)) {
        mpn_text_free(&id);
        return NULL;
    }
    pond_error *error = NULL;
    int rc = pond_collection_increment_start(collection_at(p, place), p->queue, id.data, id.len, member.data,
                                             member.len, by, user, NULL, &error);
    mpn_text_free(&id);
    mpn_text_free(&member);
    return mpn_started(p, rc, NULL, error);
}

/* deadLetters(collection, act, letter, most, user): act 0 lists so many behind the letter */
static napi_value dead_letters(napi_env napi, napi_callback_info info) {
    napi_value args[5];
    mpn_text letter;
    uint32_t place = 0, act = 0, user = 0;
    int64_t most = 0;
    mpn_pond *p = mpn_args(napi, info, 5, args);
    if (!p || !mpn_uint_get(napi, args[0], &place) || !mpn_uint_get(napi, args[1], &act) ||
        napi_get_value_int64(napi, args[3], &most) != napi_ok || !mpn_uint_get(napi, args[4], &user) ||
        !mpn_text_get(napi, args[2], &letter))
        return NULL;
    pond_collection *c = collection_at(p, place);
    pond_error *error = NULL;
    int rc =
        act ? pond_collection_dead_act_start(c, p->queue, (pond_dead_act)act, letter.data, letter.len, user, &error)
            : pond_collection_dead_list_start(c, p->queue, letter.data, letter.len, most, user, &error);
    mpn_text_free(&letter);
    return mpn_started(p, rc, NULL, error);
}

/* document(collection, id, user) */
static napi_value document(napi_env napi, napi_callback_info info) {
    napi_value args[3];
    mpn_text id;
    uint32_t place = 0, user = 0;
    mpn_pond *p = mpn_args(napi, info, 3, args);
    if (!p || !mpn_uint_get(napi, args[0], &place) || !mpn_uint_get(napi, args[2], &user) ||
        !mpn_text_get(napi, args[1], &id)) {
        return NULL;
    }
    pond_value *now = NULL;
    pond_error *error = NULL;
    int rc = pond_collection_get_start(collection_at(p, place), p->queue, id.data, id.len, user, &now, NULL, &error);
    mpn_text_free(&id);
    return mpn_started(p, rc, now, error);
}

typedef int (*by_ids_fn)(pond_collection *, pond_queue *, const char *const *, const size_t *, size_t, uint64_t,
                         pond_error **);

static napi_value by_ids(napi_env napi, napi_callback_info info, by_ids_fn call) {
    napi_value args[3];
    mpn_texts ids;
    uint32_t place = 0, user = 0;
    mpn_pond *p = mpn_args(napi, info, 3, args);
    if (!p || !mpn_uint_get(napi, args[0], &place) || !mpn_uint_get(napi, args[2], &user) ||
        !mpn_texts_get(napi, args[1], &ids)) {
        return NULL;
    }
    pond_error *error = NULL;
    int rc = call(collection_at(p, place), p->queue, (const char *const *)ids.data, ids.lens, ids.n, user, &error);
    mpn_texts_free(&ids);
    return mpn_started(p, rc, NULL, error);
}

/* documents(collection, ids, user), invalidateDocuments(collection, ids, user) */
static napi_value documents(napi_env napi, napi_callback_info info) {
    return by_ids(napi, info, pond_collection_get_many_start);
}
static napi_value invalidate(napi_env napi, napi_callback_info info) {
    return by_ids(napi, info, pond_collection_invalidate_start);
}

typedef struct mpn_query {
    pond_collection *collection;
    mpn_text text;
    pond_query_form form;
    uint32_t user;
} mpn_query;

/* The arguments (collection, form, query, user); NULL, with an exception pending, if they are not that. */
static mpn_pond *query_get(napi_env napi, napi_callback_info info, mpn_query *query) {
    napi_value args[4];
    uint32_t place = 0, form = 0;
    mpn_pond *p = mpn_args(napi, info, 4, args);
    if (!p || !mpn_uint_get(napi, args[0], &place) || !mpn_uint_get(napi, args[1], &form) ||
        !mpn_uint_get(napi, args[3], &query->user) || !mpn_text_get(napi, args[2], &query->text)) {
        return NULL;
    }
    query->collection = collection_at(p, place);
    query->form = (pond_query_form)form;
    return p;
}

/* find(collection, form, query, user) */
static napi_value find(napi_env napi, napi_callback_info info) {
    mpn_query query;
    mpn_pond *p = query_get(napi, info, &query);
    if (!p) return NULL;
    pond_value *now = NULL;
    pond_error *error = NULL;
    int rc = pond_collection_find_start(query.collection, p->queue, query.form, query.text.data, query.text.len,
                                        query.user, &now, NULL, &error);
    mpn_text_free(&query.text);
    return mpn_started(p, rc, now, error);
}

/* explainFind(collection, form, query, user) */
static napi_value explain_find(napi_env napi, napi_callback_info info) {
    mpn_query query;
    mpn_pond *p = query_get(napi, info, &query);
    if (!p) return NULL;
    pond_error *error = NULL;
    int rc = pond_collection_explain_start(query.collection, p->queue, query.form, query.text.data, query.text.len,
                                           query.user, &error);
    mpn_text_free(&query.text);
    return mpn_started(p, rc, NULL, error);
}

#define METHOD(name, function)                                                                                         \
    { name, NULL, function, NULL, NULL, NULL, napi_default, NULL }
const napi_property_descriptor mpn_collection_methods[] = {
    METHOD("collection", collection),
    METHOD("freeCollection", free_collection),
    METHOD("prepare", prepare),
    METHOD("flush", flush),
    METHOD("increment", increment),
    METHOD("deadLetters", dead_letters),
    METHOD("document", document),
    METHOD("documents", documents),
    METHOD("invalidateDocuments", invalidate),
    METHOD("find", find),
    METHOD("explainFind", explain_find),
};
const size_t mpn_collection_method_count = sizeof mpn_collection_methods / sizeof *mpn_collection_methods;
