/* Writes: JavaScript is handed the number of a writing, may say what its keys' values will be, and answers once what came of it. An
 * answer to one that is gone (the pond was closed meanwhile) does nothing. */
#include "addon.h"

uint32_t mpn_writing_add(mpn_pond *p, pond_writing *writing) {
    uint32_t place = mpn_table_add(&p->writings, writing);
    if (!place) pond_write_fail(writing, POND_NOT_WRITTEN, POND_ENOMEM, "no memory to run the writer");
    return place;
}

void mpn_writings_end(mpn_pond *p) {
    for (uint32_t i = 1; i < p->writings.used; i++) {
        pond_writing *writing = mpn_table_take(&p->writings, i);
        if (writing) pond_write_fail(writing, POND_UNKNOWN, POND_ECLOSED, "the pond was closed while its writer ran");
    }
    mpn_table_free(&p->writings);
}

/* The place of a call's writing. */
static bool place_of(napi_env napi, napi_callback_info info, size_t n, napi_value *args, mpn_pond **p,
                     uint32_t *place) {
    return napi_get_cb_info(napi, info, &n, args, NULL, (void **)p) == napi_ok && mpn_uint_get(napi, args[0], place);
}

/* writingValue(writing, index of the key, kind, text or bytes or nothing): kind ABSENT says that there is no such thing any more */
static napi_value writing_value(napi_env napi, napi_callback_info info) {
    napi_value args[4];
    mpn_pond *p = NULL;
    uint32_t place = 0, i = 0, kind = 0;
    if (!place_of(napi, info, 4, args, &p, &place) || !mpn_uint_get(napi, args[1], &i) ||
        !mpn_uint_get(napi, args[2], &kind)) {
        return NULL;
    }
    pond_writing *writing = mpn_table_at(&p->writings, place);
    if (!writing) return NULL;
    pond_error *error = NULL;
    int rc;
    if (kind == MPN_ABSENT) {
        rc = pond_writing_absent(writing, i, &error);
    } else if (kind == MPN_BYTES) {
        void *data = NULL;
        size_t len = 0;
        if (napi_get_buffer_info(napi, args[3], &data, &len) != napi_ok) return NULL;
        rc = pond_writing_value(writing, i, len ? data : "", len, POND_BYTES, &error);
    } else {
        mpn_text text;
        if (!mpn_text_get(napi, args[3], &text)) return NULL;
        rc = pond_writing_value(writing, i, text.data, text.len, kind == MPN_TEXT ? POND_TEXT : POND_JSON, &error);
        mpn_text_free(&text);
    }
    return rc == POND_OK ? NULL : mpn_throw(p->env, error);
}

/* writeDone(writing) */
static napi_value write_done(napi_env napi, napi_callback_info info) {
    napi_value args[1];
    mpn_pond *p = NULL;
    uint32_t place = 0;
    if (!place_of(napi, info, 1, args, &p, &place)) return NULL;
    pond_writing *writing = mpn_table_take(&p->writings, place);
    if (writing) pond_write_done(writing);
    return NULL;
}

/* writeFail(writing, outcome, message, box): box.error is what the writer threw */
static napi_value write_fail(napi_env napi, napi_callback_info info) {
    napi_value args[4];
    mpn_pond *p = NULL;
    uint32_t place = 0, outcome = 0;
    if (!place_of(napi, info, 4, args, &p, &place)) return NULL;
    pond_writing *writing = mpn_table_take(&p->writings, place);
    if (!writing) return NULL;
    mpn_text text;
    if (!mpn_uint_get(napi, args[1], &outcome) || !mpn_text_get(napi, args[2], &text)) {
        pond_write_fail(writing, POND_UNKNOWN, 0, "the writer failed");
        return NULL;
    }
    mpn_mailbox_drain(p->env->mailbox, napi);
    void *box = mpn_box_new(p->env->mailbox, napi, args[3]);
    if (box) {
        pond_write_fail_with(writing, (pond_outcome)outcome, 0, text.data, p->env->mailbox, box, mpn_box_release);
    } else {
        pond_write_fail(writing, (pond_outcome)outcome, 0, text.data);
    }
    mpn_text_free(&text);
    return NULL;
}

#define METHOD(name, function)                                                                                         \
    { name, NULL, function, NULL, NULL, NULL, napi_default, NULL }
const napi_property_descriptor mpn_write_methods[] = {
    METHOD("writingValue", writing_value),
    METHOD("writeDone", write_done),
    METHOD("writeFail", write_fail),
};
const size_t mpn_write_method_count = sizeof mpn_write_methods / sizeof *mpn_write_methods;
