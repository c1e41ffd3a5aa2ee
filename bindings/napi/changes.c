/* Changes of a collection's documents. Where JavaScript wants to judge a document it is handed the number of a check and the document, and
 * answers once. An answer to one that is gone (the pond was closed meanwhile) does nothing. */
#include "addon.h"

napi_value mpn_check_js(mpn_pond *p, pond_check *check) {
    napi_env napi = p->env->napi;
    napi_value out = NULL, number, document = mpn_value_js(napi, pond_check_document(check));
    uint32_t place = document ? mpn_table_add(&p->checks, check) : 0;
    if (place && napi_create_array_with_length(napi, 2, &out) == napi_ok &&
        napi_create_uint32(napi, place, &number) == napi_ok && napi_set_element(napi, out, 0, number) == napi_ok &&
        napi_set_element(napi, out, 1, document) == napi_ok) {
        return out;
    }
    if (place) mpn_table_take(&p->checks, place);
    pond_check_fail(check, "no memory to judge the document, or it is too large for a JavaScript string");
    return NULL;
}

void mpn_checks_end(mpn_pond *p) {
    for (uint32_t i = 1; i < p->checks.used; i++) {
        pond_check *check = mpn_table_take(&p->checks, i);
        if (check) pond_check_fail(check, "the pond was closed while the document was judged");
    }
    mpn_table_free(&p->checks);
}

/* change(collection, kind, id or null, text, checked, user): the kinds are pond_change_kind's */
static napi_value change(napi_env napi, napi_callback_info info) {
    napi_value args[6], out = NULL;
    mpn_text id = {0}, text;
    uint32_t place = 0, kind = 0, checked = 0, user = 0;
    napi_valuetype type = napi_null;
    mpn_pond *p = mpn_args(napi, info, 6, args);
    if (!p || !mpn_uint_get(napi, args[0], &place) || !mpn_uint_get(napi, args[1], &kind) ||
        !mpn_uint_get(napi, args[4], &checked) || !mpn_uint_get(napi, args[5], &user)) {
        return NULL;
    }
    napi_typeof(napi, args[2], &type);
    if (type == napi_string && !mpn_text_get(napi, args[2], &id)) return NULL;
    if (mpn_text_get(napi, args[3], &text)) {
        pond_error *error = NULL;
        int rc = pond_collection_change_start(mpn_table_at(&p->collections, place), p->queue, (pond_change_kind)kind,
                                              type == napi_string ? id.data : NULL, id.len, text.data, text.len,
                                              (int)checked, user, NULL, &error);
        mpn_text_free(&text);
        out = mpn_started(p, rc, NULL, error);
    }
    if (type == napi_string) mpn_text_free(&id);
    return out;
}

/* The check of a call, taken out of the table; NULL if it is gone. */
static pond_check *take(napi_env napi, napi_callback_info info, size_t n, napi_value *args, mpn_pond **p) {
    uint32_t place = 0;
    if (napi_get_cb_info(napi, info, &n, args, NULL, (void **)p) != napi_ok || !mpn_uint_get(napi, args[0], &place)) {
        return NULL;
    }
    return mpn_table_take(&(*p)->checks, place);
}

/* checkPass(check) */
static napi_value check_pass(napi_env napi, napi_callback_info info) {
    napi_value args[1];
    mpn_pond *p = NULL;
    pond_check *check = take(napi, info, 1, args, &p);
    if (check) pond_check_pass(check);
    return NULL;
}

/* checkFail(check): why, JavaScript knows */
static napi_value check_fail(napi_env napi, napi_callback_info info) {
    napi_value args[1];
    mpn_pond *p = NULL;
    pond_check *check = take(napi, info, 1, args, &p);
    if (check) pond_check_fail(check, NULL);
    return NULL;
}

#define METHOD(name, function)                                                                                         \
    { name, NULL, function, NULL, NULL, NULL, napi_default, NULL }
const napi_property_descriptor mpn_change_methods[] = {
    METHOD("change", change),
    METHOD("checkPass", check_pass),
    METHOD("checkFail", check_fail),
};
const size_t mpn_change_method_count = sizeof mpn_change_methods / sizeof *mpn_change_methods;
