/* From BSON to JSON. */
#include "store/mongodb_json.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "model/json_number.h"
#include "store/mongodb_id.h"

enum { DEPTH_MOST = 256 }; /* the server takes 180 levels */

static void put_members(mp_buf *out, bson_iter_t *iter, bool object, int depth, bool *sound);

static void put_text(mp_buf *out, const char *text) { mp_buf_json(out, text, strlen(text)); }

/* As yyjson, which writes SQLite's documents: the shortest digits, with a point or an exponent. */
static void put_double(mp_buf *out, double x) {
    char text[MP_NUMBER_ROOM];
    if (!isfinite(x)) {
        mp_buf_printf(out, "{\"$numberDouble\":\"%s\"}", isnan(x) ? "NaN" : x > 0 ? "Infinity" : "-Infinity");
        return;
    }
    if (x == 0) {
        mp_buf_text(out, signbit(x) ? "-0.0" : "0.0");
        return;
    }
    size_t len = mp_number_print(text, &(mp_number){.is_real = true, .real = x});
    char *plus = strchr(text, '+');
    if (plus != NULL) memmove(plus, plus + 1, len - (size_t)(plus - text)); /* the NUL too */
    mp_buf_text(out, text);
    if (strpbrk(text, ".e") == NULL) mp_buf_text(out, ".0");
}

static void put_base64(mp_buf *out, const uint8_t *data, uint32_t len) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (uint32_t i = 0; i < len; i += 3) {
        uint32_t left = len - i, bits = (uint32_t)data[i] << 16;
        if (left > 1) bits |= (uint32_t)data[i + 1] << 8;
        if (left > 2) bits |= data[i + 2];
        char four[4] = {digits[bits >> 18], digits[bits >> 12 & 63], left > 1 ? digits[bits >> 6 & 63] : '=',
                        left > 2 ? digits[bits & 63] : '='};
        mp_buf_add(out, four, sizeof four);
    }
}

static void put_oid(mp_buf *out, const bson_oid_t *oid) {
    char hex[25];
    bson_oid_to_string(oid, hex);
    mp_buf_printf(out, "{\"$oid\":\"%s\"}", hex);
}

static void put_binary(mp_buf *out, const bson_iter_t *iter) {
    bson_subtype_t kind;
    uint32_t len;
    const uint8_t *data;
    bson_iter_binary(iter, &kind, &len, &data);
    mp_buf_text(out, "{\"$binary\":{\"base64\":\"");
    put_base64(out, data, len);
    mp_buf_printf(out, "\",\"subType\":\"%02x\"}}", (unsigned)kind);
}

static void put_code(mp_buf *out, const bson_iter_t *iter, int depth, bool *sound) {
    uint32_t len, scope_len = 0;
    const uint8_t *scope = NULL;
    bool scoped = bson_iter_type(iter) == BSON_TYPE_CODEWSCOPE;
    const char *code = scoped ? bson_iter_codewscope(iter, &len, &scope_len, &scope) : bson_iter_code(iter, &len);
    mp_buf_text(out, "{\"$code\":");
    mp_buf_json(out, code, len);
    if (scoped) {
        bson_iter_t below;
        mp_buf_text(out, ",\"$scope\":");
        if (bson_iter_init_from_data(&below, scope, scope_len)) put_members(out, &below, true, depth + 1, sound);
        else *sound = false;
    }
    mp_buf_text(out, "}");
}

static void put_decimal(mp_buf *out, const bson_iter_t *iter, bool *sound) {
    char text[BSON_DECIMAL128_STRING];
    bson_decimal128_t decimal;
    if (!bson_iter_decimal128(iter, &decimal)) {
        *sound = false;
        return;
    }
    bson_decimal128_to_string(&decimal, text);
    mp_buf_printf(out, "{\"$numberDecimal\":\"%s\"}", text);
}

/* The types that hardly anybody uses. */
static void put_rare(mp_buf *out, const bson_iter_t *iter, int depth, bool *sound) {
    const char *text, *more;
    const bson_oid_t *oid;
    uint32_t len, when, step;
    switch (bson_iter_type(iter)) {
    case BSON_TYPE_REGEX:
        text = bson_iter_regex(iter, &more);
        mp_buf_text(out, "{\"$regularExpression\":{\"pattern\":");
        put_text(out, text);
        mp_buf_text(out, ",\"options\":");
        put_text(out, more != NULL ? more : "");
        mp_buf_text(out, "}}");
        return;
    case BSON_TYPE_DBPOINTER:
        bson_iter_dbpointer(iter, &len, &text, &oid);
        mp_buf_text(out, "{\"$dbPointer\":{\"$ref\":");
        mp_buf_json(out, text, len);
        mp_buf_text(out, ",\"$id\":");
        put_oid(out, oid);
        mp_buf_text(out, "}}");
        return;
    case BSON_TYPE_SYMBOL:
        text = bson_iter_symbol(iter, &len);
        mp_buf_text(out, "{\"$symbol\":");
        mp_buf_json(out, text, len);
        mp_buf_text(out, "}");
        return;
    case BSON_TYPE_TIMESTAMP:
        bson_iter_timestamp(iter, &when, &step);
        mp_buf_printf(out, "{\"$timestamp\":{\"t\":%" PRIu32 ",\"i\":%" PRIu32 "}}", when, step);
        return;
    case BSON_TYPE_CODE:
    case BSON_TYPE_CODEWSCOPE: put_code(out, iter, depth, sound); return;
    case BSON_TYPE_UNDEFINED: mp_buf_text(out, "{\"$undefined\":true}"); return;
    case BSON_TYPE_MINKEY: mp_buf_text(out, "{\"$minKey\":1}"); return;
    case BSON_TYPE_MAXKEY: mp_buf_text(out, "{\"$maxKey\":1}"); return;
    default: *sound = false;
    }
}

static void put_value(mp_buf *out, const bson_iter_t *iter, int depth, bool *sound) {
    bson_iter_t below;
    const char *text;
    uint32_t len;
    switch (bson_iter_type(iter)) {
    case BSON_TYPE_NULL: mp_buf_text(out, "null"); break;
    case BSON_TYPE_BOOL: mp_buf_text(out, bson_iter_bool(iter) ? "true" : "false"); break;
    case BSON_TYPE_INT32: mp_buf_printf(out, "%" PRId32, bson_iter_int32(iter)); break;
    case BSON_TYPE_INT64: mp_buf_printf(out, "%" PRId64, bson_iter_int64(iter)); break;
    case BSON_TYPE_DOUBLE: put_double(out, bson_iter_double(iter)); break;
    case BSON_TYPE_UTF8:
        text = bson_iter_utf8(iter, &len);
        mp_buf_json(out, text, len);
        break;
    case BSON_TYPE_DATE_TIME:
        mp_buf_printf(out, "{\"$date\":{\"$numberLong\":\"%" PRId64 "\"}}", bson_iter_date_time(iter));
        break;
    case BSON_TYPE_OID: put_oid(out, bson_iter_oid(iter)); break;
    case BSON_TYPE_BINARY: put_binary(out, iter); break;
    case BSON_TYPE_DECIMAL128: put_decimal(out, iter, sound); break;
    case BSON_TYPE_DOCUMENT:
    case BSON_TYPE_ARRAY:
        if (depth < DEPTH_MOST && bson_iter_recurse(iter, &below))
            put_members(out, &below, bson_iter_type(iter) == BSON_TYPE_DOCUMENT, depth + 1, sound);
        else *sound = false;
        break;
    default: put_rare(out, iter, depth, sound);
    }
}

static void put_name(mp_buf *out, const bson_iter_t *iter) {
    mp_buf_json(out, bson_iter_key(iter), bson_iter_key_len(iter));
    mp_buf_text(out, ":");
}

static void put_members(mp_buf *out, bson_iter_t *iter, bool object, int depth, bool *sound) {
    bool any = false;
    mp_buf_text(out, object ? "{" : "[");
    while (bson_iter_next(iter)) {
        if (any) mp_buf_text(out, ",");
        any = true;
        if (object) put_name(out, iter);
        put_value(out, iter, depth, sound);
    }
    if (iter->err_off != 0) *sound = false;
    mp_buf_text(out, object ? "}" : "]");
}

bool mp_mongodb_json(mp_buf *out, const bson_t *doc) {
    bson_iter_t iter;
    bool sound = bson_iter_init(&iter, doc);
    if (sound) put_members(out, &iter, true, 1, &sound);
    return sound;
}

static void put_id(mp_buf *out, const bson_iter_t *iter, bool *sound) {
    char room[MP_MONGODB_ID_ROOM];
    size_t len;
    mp_mongodb_kind kind;
    const char *text = mp_mongodb_id_text(iter, room, &len, &kind);
    mp_buf_text(out, "{\"id\":");
    if (kind == MP_ID_INTEGER) mp_buf_add(out, text, len);
    else if (text != NULL) mp_buf_json(out, text, len);
    else put_value(out, iter, 1, sound);
}

bool mp_mongodb_document_json(mp_buf *out, const bson_t *doc) {
    bson_iter_t iter;
    bool sound = true;
    if (!bson_iter_init_find(&iter, doc, "_id")) return false;
    put_id(out, &iter, &sound);
    if (!bson_iter_init(&iter, doc)) return false;
    while (bson_iter_next(&iter)) {
        const char *key = bson_iter_key(&iter);
        if (strcmp(key, "_id") == 0 || strcmp(key, "id") == 0 || strcmp(key, "_mpv") == 0) continue;
        mp_buf_text(out, ",");
        put_name(out, &iter);
        put_value(out, &iter, 1, &sound);
    }
    mp_buf_text(out, "}");
    return sound && iter.err_off == 0;
}
