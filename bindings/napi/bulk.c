/* Bulk: fetch_many and set_many. JavaScript is handed the number of a batch and its keys, says what it has of them, and ends it once. An
 * answer to one that is gone (the pond was closed meanwhile) does nothing. */
#include <string.h>
#include "addon.h"

/* [number, [key...]] */
napi_value mpn_batch_js(mpn_pond *p, pond_batch *batch) {
    napi_env napi = p->env->napi;
    napi_value out = NULL, number, keys;
    size_t n = pond_batch_count(batch);
    uint32_t place = mpn_table_add(&p->batches, batch);
    bool ok =
        place && napi_create_array_with_length(napi, 2, &out) == napi_ok &&
        napi_create_uint32(napi, place, &number) == napi_ok && napi_set_element(napi, out, 0, number) == napi_ok &&
        napi_create_array_with_length(napi, n, &keys) == napi_ok && napi_set_element(napi, out, 1, keys) == napi_ok;
    for (size_t i = 0; ok && i < n; i++) {
        size_t len;
        const char *key = pond_batch_key(batch, i, &len);
        napi_value text = mpn_string_js(napi, key, len);
        ok = text && napi_set_element(napi, keys, (uint32_t)i, text) == napi_ok;
    }
    if (ok) return out;
    if (place) mpn_table_take(&p->batches, place);
    pond_batch_fail(batch, POND_ENOMEM, "no memory to run the loader");
    return NULL;
}

void mpn_batches_end(mpn_pond *p) {
    for (uint32_t i = 1; i < p->batches.used; i++) {
        pond_batch *batch = mpn_table_take(&p->batches, i);
        if (batch) pond_batch_fail(batch, POND_ECLOSED, "the pond was closed while its loader ran");
    }
    mpn_table_free(&p->batches);
}

/* fetchMany(keys, policy, user, tags) */
static napi_value fetch_many(napi_env napi, napi_callback_info info) {
    napi_value args[4];
    mpn_texts keys;
    uint32_t policy = 0, user = 0, set = 0;
    mpn_pond *p = mpn_args(napi, info, 4, args);
    if (!p || !mpn_uint_get(napi, args[1], &policy) || !mpn_uint_get(napi, args[2], &user) ||
        !mpn_uint_get(napi, args[3], &set) || !mpn_texts_get(napi, args[0], &keys)) {
        return NULL;
    }
    pond_error *error = NULL;
    int rc = pond_fetch_many_start(p->core, p->queue, (const char *const *)keys.data, keys.lens, keys.n,
                                   mpn_table_at(&p->policies, policy), mpn_table_at(&p->tags, set), user, NULL, &error);
    mpn_texts_free(&keys);
    return mpn_started(p, rc, NULL, error);
}

/* The place of a call's batch. */
static bool place_of(napi_env napi, napi_callback_info info, size_t n, napi_value *args, mpn_pond **p,
                     uint32_t *place) {
    return napi_get_cb_info(napi, info, &n, args, NULL, (void **)p) == napi_ok && mpn_uint_get(napi, args[0], place);
}

/* batchValue(batch, index, kind, text or bytes, flags): what is wrong with it, the call ends with */
static napi_value batch_value(napi_env napi, napi_callback_info info) {
    napi_value args[5];
    mpn_pond *p = NULL;
    uint32_t place = 0, i = 0, kind = 0, flags = 0;
    if (!place_of(napi, info, 5, args, &p, &place) || !mpn_uint_get(napi, args[1], &i) ||
        !mpn_uint_get(napi, args[2], &kind) || !mpn_uint_get(napi, args[4], &flags)) {
        return NULL;
    }
    pond_batch *batch = mpn_table_at(&p->batches, place);
    if (!batch) return NULL;
    if (kind == MPN_BYTES) {
        void *data = NULL;
        size_t len = 0;
        if (napi_get_buffer_info(napi, args[3], &data, &len) == napi_ok)
            pond_batch_value(batch, i, len ? data : "", len, POND_BYTES, flags);
        return NULL;
    }
    mpn_text text;
    if (!mpn_text_get(napi, args[3], &text)) return NULL;
    pond_batch_value(batch, i, text.data, text.len, kind == MPN_TEXT ? POND_TEXT : POND_JSON, flags);
    mpn_text_free(&text);
    return NULL;
}

/* batchDone(batch): of what nothing was said is not there */
static napi_value batch_done(napi_env napi, napi_callback_info info) {
    napi_value args[1];
    mpn_pond *p = NULL;
    uint32_t place = 0;
    if (!place_of(napi, info, 1, args, &p, &place)) return NULL;
    pond_batch *batch = mpn_table_take(&p->batches, place);
    if (batch) pond_batch_done(batch);
    return NULL;
}

/* batchFail(batch, code, message, box): box.error is what the loader threw */
static napi_value batch_fail(napi_env napi, napi_callback_info info) {
    napi_value args[4];
    mpn_pond *p = NULL;
    uint32_t place = 0;
    int32_t code = 0;
    if (!place_of(napi, info, 4, args, &p, &place)) return NULL;
    pond_batch *batch = mpn_table_take(&p->batches, place);
    if (!batch) return NULL;
    mpn_text text;
    napi_get_value_int32(napi, args[1], &code);
    if (!mpn_text_get(napi, args[2], &text)) {
        pond_batch_fail(batch, code, "the loader failed");
        return NULL;
    }
    mpn_mailbox_drain(p->env->mailbox, napi);
    void *box = mpn_box_new(p->env->mailbox, napi, args[3]);
    if (box) pond_batch_fail_with(batch, code, text.data, p->env->mailbox, box, mpn_box_release);
    else pond_batch_fail(batch, code, text.data);
    mpn_text_free(&text);
    return NULL;
}

/* ---- set_many ---- */

typedef struct entries {
    uint32_t n;
    mpn_text *texts; /* of those that are text */
    const void **data;
    size_t *lens;
    pond_codec *codecs;
} entries;

static void entries_free(entries *e) {
    for (uint32_t i = 0; e->texts && i < e->n; i++)
        if (e->texts[i].data) mpn_text_free(&e->texts[i]);
    free(e->texts);
    free(e->data);
    free(e->lens);
    free(e->codecs);
}

/* One value; false with an exception pending, or because it is none of ours. */
static bool entry_get(napi_env napi, uint32_t kind, napi_value value, entries *e, uint32_t i) {
    if (kind == MPN_ABSENT) return true;
    e->codecs[i] = kind == MPN_BYTES ? POND_BYTES : kind == MPN_TEXT ? POND_TEXT : POND_JSON;
    if (kind == MPN_BYTES) {
        void *data = NULL;
        if (napi_get_buffer_info(napi, value, &data, &e->lens[i]) != napi_ok) return false;
        e->data[i] = e->lens[i] ? data : "";
        return true;
    }
    if (!mpn_text_get(napi, value, &e->texts[i])) {
        e->texts[i].data = NULL;
        return false;
    }
    e->data[i] = e->texts[i].data;
    e->lens[i] = e->texts[i].len;
    return true;
}

/* [kind, text or bytes or nothing, kind, ...] */
static bool entries_get(napi_env napi, napi_value array, uint32_t n, entries *e) {
    *e = (entries){.n = n,
                   .texts = calloc(n + 1, sizeof *e->texts),
                   .data = calloc(n + 1, sizeof *e->data),
                   .lens = calloc(n + 1, sizeof *e->lens),
                   .codecs = calloc(n + 1, sizeof *e->codecs)};
    bool ok = e->texts && e->data && e->lens && e->codecs;
    for (uint32_t i = 0; ok && i < n; i++) {
        napi_value kind, value;
        uint32_t number = 0;
        ok = napi_get_element(napi, array, 2 * i, &kind) == napi_ok &&
             napi_get_element(napi, array, 2 * i + 1, &value) == napi_ok && mpn_uint_get(napi, kind, &number) &&
             entry_get(napi, number, value, e, i);
    }
    if (!ok) entries_free(e);
    return ok;
}

/* setMany(keys, [kind, value, ...], policy, user) */
static napi_value set_many(napi_env napi, napi_callback_info info) {
    napi_value args[4];
    mpn_texts keys;
    entries e;
    uint32_t policy = 0, user = 0;
    mpn_pond *p = mpn_args(napi, info, 4, args);
    if (!p || !mpn_uint_get(napi, args[2], &policy) || !mpn_uint_get(napi, args[3], &user) ||
        !mpn_texts_get(napi, args[0], &keys)) {
        return NULL;
    }
    napi_value out = NULL;
    if (entries_get(napi, args[1], keys.n, &e)) {
        pond_error *error = NULL;
        int rc = pond_set_many_start(p->core, p->queue, (const char *const *)keys.data, keys.lens, e.data, e.lens,
                                     e.codecs, keys.n, mpn_table_at(&p->policies, policy), user, NULL, &error);
        entries_free(&e);
        out = mpn_started(p, rc, NULL, error);
    } else {
        mpn_throw_code(napi, POND_ENOMEM, "no memory for the values"); /* or what is pending already */
    }
    mpn_texts_free(&keys);
    return out;
}

#define METHOD(name, function)                                                                                         \
    { name, NULL, function, NULL, NULL, NULL, napi_default, NULL }
const napi_property_descriptor mpn_bulk_methods[] = {
    METHOD("fetchMany", fetch_many), METHOD("batchValue", batch_value), METHOD("batchDone", batch_done),
    METHOD("batchFail", batch_fail), METHOD("setMany", set_many),
};
const size_t mpn_bulk_method_count = sizeof mpn_bulk_methods / sizeof *mpn_bulk_methods;
