/* Loads: JavaScript is handed the number of a load and answers it once, whenever its loader is done. An answer to a load
 * that is gone (the pond was closed meanwhile) does nothing. */
#include "addon.h"

uint32_t mpn_load_add(mpn_pond *p, pond_load *load) {
    uint32_t place = mpn_table_add(&p->loads, load);
    if (!place) pond_load_fail(load, POND_ENOMEM, "no memory to run the loader");
    return place;
}

void mpn_loads_end(mpn_pond *p) {
    for (uint32_t i = 1; i < p->loads.used; i++) {
        pond_load *load = mpn_table_take(&p->loads, i);
        if (load) pond_load_fail(load, POND_ECLOSED, "the pond was closed while its loader ran");
    }
    mpn_table_free(&p->loads);
}

/* The load of a call (load, ...), taken out of the table; NULL if it is gone. */
static pond_load *take(napi_env napi, napi_callback_info info, size_t n, napi_value *args, mpn_pond **out) {
    mpn_pond *p = NULL;
    uint32_t place = 0;
    if (napi_get_cb_info(napi, info, &n, args, NULL, (void **)&p) != napi_ok || !mpn_uint_get(napi, args[0], &place)) {
        return NULL;
    }
    *out = p;
    return mpn_table_take(&p->loads, place);
}

/* loadValue(load, kind, text or bytes, flags) */
static napi_value load_value(napi_env napi, napi_callback_info info) {
    napi_value args[4];
    mpn_pond *p;
    uint32_t kind = 0, flags = 0;
    pond_load *load = take(napi, info, 4, args, &p);
    if (!load) return NULL;
    if (!mpn_uint_get(napi, args[1], &kind) || !mpn_uint_get(napi, args[3], &flags)) {
        pond_load_fail(load, POND_EMISUSE, "the addon was called with wrong arguments");
        return NULL;
    }
    if (kind == MPN_BYTES) {
        void *data = NULL;
        size_t len = 0;
        if (napi_get_buffer_info(napi, args[2], &data, &len) != napi_ok) {
            pond_load_fail(load, POND_EMISUSE, "the addon was called with wrong arguments");
            return NULL;
        }
        pond_load_value(load, len ? data : "", len, POND_BYTES, flags);
        return NULL;
    }
    mpn_text text;
    if (!mpn_text_get(napi, args[2], &text)) {
        pond_load_fail(load, POND_ENOMEM, "no memory for the loader's value");
        return NULL;
    }
    pond_load_value(load, text.data, text.len, kind == MPN_TEXT ? POND_TEXT : POND_JSON, flags);
    mpn_text_free(&text);
    return NULL;
}

/* loadAbsent(load, flags) */
static napi_value load_absent(napi_env napi, napi_callback_info info) {
    napi_value args[2];
    mpn_pond *p;
    uint32_t flags = 0;
    pond_load *load = take(napi, info, 2, args, &p);
    if (!load) return NULL;
    napi_get_value_uint32(napi, args[1], &flags);
    pond_load_absent(load, flags);
    return NULL;
}

/* loadFail(load, code, message, box): box.error is what the loader threw */
static napi_value load_fail(napi_env napi, napi_callback_info info) {
    napi_value args[4];
    mpn_pond *p;
    int32_t code = 0;
    mpn_text text;
    pond_load *load = take(napi, info, 4, args, &p);
    if (!load) return NULL;
    napi_get_value_int32(napi, args[1], &code);
    if (!mpn_text_get(napi, args[2], &text)) {
        pond_load_fail(load, code, "the loader failed");
        return NULL;
    }
    mpn_mailbox_drain(p->env->mailbox, napi);
    void *box = mpn_box_new(p->env->mailbox, napi, args[3]);
    if (box) {
        pond_load_fail_with(load, code, text.data, p->env->mailbox, box, mpn_box_release);
    } else {
        pond_load_fail(load, code, text.data);
    }
    mpn_text_free(&text);
    return NULL;
}

#define METHOD(name, function)                                                                                         \
    { name, NULL, function, NULL, NULL, NULL, napi_default, NULL }
const napi_property_descriptor mpn_load_methods[] = {
    METHOD("loadValue", load_value),
    METHOD("loadAbsent", load_absent),
    METHOD("loadFail", load_fail),
};
const size_t mpn_load_method_count = sizeof mpn_load_methods / sizeof *mpn_load_methods;
