/* What goes out to JavaScript: values and their kinds. */
#include <string.h>
#include "addon.h"

/* Most values are ASCII, and V8 makes a one-byte string of those six times faster than it decodes UTF-8. */
static bool ascii(const char *text, size_t len) {
    uint64_t seen = 0, word;
    size_t i = 0;
    for (; i + 32 <= len; i += 32) {
        uint64_t four[4];
        memcpy(four, text + i, sizeof four);
        seen |= four[0] | four[1] | four[2] | four[3];
    }
    for (; i + 8 <= len; i += 8) {
        memcpy(&word, text + i, sizeof word);
        seen |= word;
    }
    for (; i < len; i++) seen |= (unsigned char)text[i];
    return (seen & UINT64_C(0x8080808080808080)) == 0;
}

napi_value mpn_string_js(napi_env napi, const char *text, size_t len) {
    napi_value out = NULL;
    napi_status status = ascii(text, len) ? napi_create_string_latin1(napi, text, len, &out)
                                          : napi_create_string_utf8(napi, text, len, &out);
    return status == napi_ok ? out : NULL;
}

enum mpn_kind mpn_value_kind(const pond_value *value) {
    switch (pond_value_state(value)) {
    case POND_ABSENT: return MPN_ABSENT;
    case POND_MISS: return MPN_MISS;
    default: return (enum mpn_kind)pond_value_codec(value);
    }
}

/* A string, a Buffer, or null where there is no value; NULL with an exception pending (a string longer than V8 can hold). */
napi_value mpn_value_js(napi_env napi, const pond_value *value) {
    napi_value out = NULL;
    if (pond_value_state(value) != POND_VALUE) return napi_get_null(napi, &out) == napi_ok ? out : NULL;
    size_t len = 0;
    const char *data = pond_value_data(value, &len);
    if (pond_value_codec(value) != POND_BYTES) return mpn_string_js(napi, data, len);
    return napi_create_buffer_copy(napi, len, data, NULL, &out) == napi_ok ? out : NULL;
}
