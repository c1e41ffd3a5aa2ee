/* From JSON to BSON. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yyjson.h>

#include "base/error.h"
#include "base/quote.h"
#include "model/instant.h"
#include "store/mongodb_json.h"

enum { PATH_SHOWN = 200 };

/* Where a value stands: the member's name, or its index in an array. */
typedef struct place {
    const struct place *up;
    yyjson_val *key;
    size_t index;
} place;

typedef struct packer {
    const mp_document_name *name;
    pond_error **err;
} packer;

/* ---- errors ---- */

static void add_path(mp_buf *buf, const place *at) {
    char shown[MP_QUOTE_MAX];
    if (at == NULL) return;
    add_path(buf, at->up);
    if (at->key == NULL) mp_buf_printf(buf, "[%zu]", at->index);
    else {
        mp_quote(shown, yyjson_get_str(at->key), yyjson_get_len(at->key));
        mp_buf_printf(buf, "%s%.*s", at->up != NULL ? "." : "", (int)strlen(shown) - 2, shown + 1);
    }
}

static int refuse(const packer *p, const place *at, const char *what) {
    char shown[MP_QUOTE_MAX];
    mp_buf path;
    mp_buf_init(&path);
    add_path(&path, at);
    mp_quote(shown, p->name->id, p->name->id_len);
    int rc = mp_fail(p->err, POND_EVALUE, "%.64s %s: %.*s %s", p->name->collection, shown, PATH_SHOWN,
                     path.failed || path.len == 0 ? "the document" : path.data, what);
    mp_buf_free(&path);
    return rc;
}

static int too_much(const packer *p) { return refuse(p, NULL, "is too large: MongoDB takes 16 MiB of BSON"); }

static int done(const packer *p, bool appended) { return appended ? POND_OK : too_much(p); }

/* ---- Extended JSON ---- */

/* Where a value goes: `key` is its name there. */
typedef struct target {
    bson_t *to;
    const char *key;
    int key_len;
} target;

typedef int (*wrapper)(const packer *p, target t, yyjson_val *object, yyjson_val *inner, const place *at);

static bool is_object_of(yyjson_val *v, size_t members) { return yyjson_is_obj(v) && yyjson_obj_size(v) == members; }

/* The text of a value, NUL-terminated and without another NUL; NULL if it is no text. */
static const char *text_of(yyjson_val *v) { return yyjson_get_str(v); }

static bool whole_text(yyjson_val *v, int64_t *out) {
    const char *text = text_of(v);
    char *end;
    if (text == NULL || strspn(text, "-0123456789") != strlen(text) || *text == 0) return false;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return errno == 0 && *end == 0;
}

static int put_oid(const packer *p, target t, yyjson_val *object, yyjson_val *inner, const place *at) {
    const char *hex = text_of(inner);
    bson_oid_t oid;
    if (hex == NULL || !bson_oid_is_valid(hex, yyjson_get_len(inner)))
        return refuse(p, at, "is no ObjectId: $oid is 24 hex digits");
    bson_oid_init_from_string(&oid, hex);
    return done(p, bson_append_oid(t.to, t.key, t.key_len, &oid));
}

static int put_date(const packer *p, target t, yyjson_val *object, yyjson_val *inner, const place *at) {
    int64_t ms;
    bool good = is_object_of(inner, 1) ? whole_text(yyjson_obj_get(inner, "$numberLong"), &ms)
                : yyjson_is_str(inner) ? mp_instant_parse(text_of(inner), yyjson_get_len(inner), &ms)
                                       : yyjson_is_int(inner);
    if (!good)
        return refuse(p, at, "is no date: write {\"$date\":{\"$numberLong\":\"milliseconds\"}}, or RFC 3339 text");
    if (yyjson_is_int(inner)) ms = yyjson_get_sint(inner);
    return done(p, bson_append_date_time(t.to, t.key, t.key_len, ms));
}

static int put_int(const packer *p, target t, yyjson_val *object, yyjson_val *inner, const place *at) {
    int64_t n;
    if (!whole_text(inner, &n) || n < INT32_MIN || n > INT32_MAX)
        return refuse(p, at, "is no integer of 32 bits: $numberInt is its digits, as a string");
    return done(p, bson_append_int32(t.to, t.key, t.key_len, (int32_t)n));
}

static int put_long(const packer *p, target t, yyjson_val *object, yyjson_val *inner, const place *at) {
    int64_t n;
    if (!whole_text(inner, &n))
        return refuse(p, at, "is no integer of 64 bits: $numberLong is its digits, as a string");
    return done(p, bson_append_int64(t.to, t.key, t.key_len, n));
}

static int put_real(const packer *p, target t, yyjson_val *object, yyjson_val *inner, const place *at) {
    const char *text = text_of(inner);
    double x = 0;
    if (text != NULL && strcmp(text, "NaN") == 0) x = (double)NAN;
    else if (text != NULL && strcmp(text, "Infinity") == 0) x = (double)INFINITY;
    else if (text != NULL && strcmp(text, "-Infinity") == 0) x = -(double)INFINITY;
    else {
        /* The parser of JSON, for strtod heeds the locale. */
        yyjson_val number;
        const char *end = text != NULL ? yyjson_read_number(text, &number, 0, NULL, NULL) : NULL;
        if (end == NULL || *end != 0)
            return refuse(p, at, "is no double: $numberDouble is its digits, NaN, Infinity or -Infinity, as a string");
        x = yyjson_get_num(&number);
    }
    return done(p, bson_append_double(t.to, t.key, t.key_len, x));
}

static int put_decimal(const packer *p, target t, yyjson_val *object, yyjson_val *inner, const place *at) {
    bson_decimal128_t decimal;
    const char *text = text_of(inner);
    if (text == NULL || !bson_decimal128_from_string(text, &decimal))
        return refuse(p, at, "is no decimal: $numberDecimal is its digits, as a string");
    return done(p, bson_append_decimal128(t.to, t.key, t.key_len, &decimal));
}

static int digit64(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* In place of `text`; false if it is no base64. */
static bool from_base64(const char *text, size_t len, uint8_t *out, size_t *out_len) {
    size_t digits = len;
    *out_len = 0;
    if (len % 4 != 0) return false;
    for (int i = 0; i < 2 && digits > 0 && text[digits - 1] == '='; i++) digits--;
    uint32_t bits = 0;
    for (size_t i = 0; i < digits; i++) {
        int digit = digit64(text[i]);
        if (digit < 0) return false;
        bits = bits << 6 | (uint32_t)digit;
        if (i % 4 != 0) out[(*out_len)++] = (uint8_t)(bits >> (6 - i % 4 * 2));
    }
    return true;
}

static int put_binary(const packer *p, target t, yyjson_val *object, yyjson_val *inner, const place *at) {
    yyjson_val *data = is_object_of(inner, 2) ? yyjson_obj_get(inner, "base64") : NULL;
    const char *base64 = text_of(data), *kind = text_of(yyjson_obj_get(inner, "subType"));
    char *end = NULL;
    unsigned long subtype = kind != NULL && *kind != 0 && strlen(kind) <= 2 ? strtoul(kind, &end, 16) : 0;
    bool good = base64 != NULL && end != NULL && *end == 0;
    uint8_t *bytes = good ? malloc(yyjson_get_len(data) + 1) : NULL;
    size_t len = 0;
    int rc;
    if (good && bytes == NULL)
        return mp_fail(p->err, POND_ENOMEM, "%.64s: no memory for the document", p->name->collection);
    if (!good || !from_base64(base64, yyjson_get_len(data), bytes, &len))
        rc = refuse(p, at, "is no binary: $binary is {\"base64\":\"...\",\"subType\":\"00\"}");
    else if (len > MP_MONGODB_BSON_MAX) rc = too_much(p);
    else rc = done(p, bson_append_binary(t.to, t.key, t.key_len, (bson_subtype_t)subtype, bytes, (uint32_t)len));
    free(bytes);
    return rc;
}

static int put_uuid(const packer *p, target t, yyjson_val *object, yyjson_val *inner, const place *at) {
    const char *text = text_of(inner);
    uint8_t bytes[16] = {0};
    size_t digits = 0;
    bool good = text != NULL && yyjson_get_len(inner) == 36;
    for (size_t i = 0; good && i < 36; i++) {
        char one[2] = {text[i], 0}, *end;
        if (i == 8 || i == 13 || i == 18 || i == 23) good = text[i] == '-';
        else {
            unsigned long digit = strtoul(one, &end, 16);
            good = end == one + 1 && digit < 16;
            bytes[digits / 2] = (uint8_t)(bytes[digits / 2] << 4 | digit);
            digits++;
        }
    }
    if (!good) return refuse(p, at, "is no UUID: $uuid is 32 hex digits with four hyphens");
    return done(p, bson_append_binary(t.to, t.key, t.key_len, BSON_SUBTYPE_UUID, bytes, sizeof bytes));
}

static int put_regex(const packer *p, target t, yyjson_val *object, yyjson_val *inner, const place *at) {
    const char *pattern = text_of(yyjson_obj_get(inner, "pattern")),
               *options = text_of(yyjson_obj_get(inner, "options"));
    if (!is_object_of(inner, 2) || pattern == NULL || options == NULL)
        return refuse(p, at, "is no regular expression: $regularExpression is {\"pattern\":\"...\",\"options\":\"\"}");
    return done(p, bson_append_regex(t.to, t.key, t.key_len, pattern, options));
}

static int put_timestamp(const packer *p, target t, yyjson_val *object, yyjson_val *inner, const place *at) {
    yyjson_val *when = yyjson_obj_get(inner, "t"), *step = yyjson_obj_get(inner, "i");
    if (!is_object_of(inner, 2) || !yyjson_is_uint(when) || !yyjson_is_uint(step) ||
        yyjson_get_uint(when) > UINT32_MAX || yyjson_get_uint(step) > UINT32_MAX)
        return refuse(p, at, "is no timestamp: $timestamp is {\"t\":seconds,\"i\":number}");
    return done(p, bson_append_timestamp(t.to, t.key, t.key_len, (uint32_t)yyjson_get_uint(when),
                                         (uint32_t)yyjson_get_uint(step)));
}

static int put_members(const packer *p, bson_t *to, yyjson_val *object, const place *at);

static int put_code(const packer *p, target t, yyjson_val *object, yyjson_val *inner, const place *at) {
    const char *code = text_of(inner);
    yyjson_val *scope = yyjson_obj_get(object, "$scope");
    if (code == NULL || (scope != NULL && !yyjson_is_obj(scope)))
        return refuse(p, at, "is no code: $code is its text, and $scope, where there is one, an object");
    if (scope == NULL) return done(p, bson_append_code(t.to, t.key, t.key_len, code));
    bson_t variables = BSON_INITIALIZER;
    int rc = put_members(p, &variables, scope, at);
    if (rc == POND_OK) rc = done(p, bson_append_code_with_scope(t.to, t.key, t.key_len, code, &variables));
    bson_destroy(&variables);
    return rc;
}

static int put_pointer(const packer *p, target t, yyjson_val *object, yyjson_val *inner, const place *at) {
    const char *where = text_of(yyjson_obj_get(inner, "$ref"));
    yyjson_val *id = yyjson_obj_get(inner, "$id"), *hex = is_object_of(id, 1) ? yyjson_obj_get(id, "$oid") : NULL;
    bson_oid_t oid;
    if (!is_object_of(inner, 2) || where == NULL || hex == NULL || !yyjson_is_str(hex) ||
        !bson_oid_is_valid(text_of(hex), yyjson_get_len(hex)))
        return refuse(p, at, "is no pointer: $dbPointer is {\"$ref\":\"...\",\"$id\":{\"$oid\":\"...\"}}");
    bson_oid_init_from_string(&oid, text_of(hex));
    return done(p, bson_append_dbpointer(t.to, t.key, t.key_len, where, &oid));
}

static int put_symbol(const packer *p, target t, yyjson_val *object, yyjson_val *inner, const place *at) {
    if (text_of(inner) == NULL) return refuse(p, at, "is no symbol: $symbol is its text");
    return done(p, bson_append_symbol(t.to, t.key, t.key_len, text_of(inner), (int)yyjson_get_len(inner)));
}

static int put_undefined(const packer *p, target t, yyjson_val *object, yyjson_val *inner, const place *at) {
    if (!yyjson_is_true(inner)) return refuse(p, at, "is not undefined: $undefined is true");
    return done(p, bson_append_undefined(t.to, t.key, t.key_len));
}

static int put_minkey(const packer *p, target t, yyjson_val *object, yyjson_val *inner, const place *at) {
    if (!yyjson_is_int(inner)) return refuse(p, at, "is no least key: $minKey is 1");
    return done(p, bson_append_minkey(t.to, t.key, t.key_len));
}

static int put_maxkey(const packer *p, target t, yyjson_val *object, yyjson_val *inner, const place *at) {
    if (!yyjson_is_int(inner)) return refuse(p, at, "is no greatest key: $maxKey is 1");
    return done(p, bson_append_maxkey(t.to, t.key, t.key_len));
}

static const struct form {
    const char *name;
    wrapper put;
} forms[] = {
    {"$oid", put_oid},
    {"$date", put_date},
    {"$numberInt", put_int},
    {"$numberLong", put_long},
    {"$numberDouble", put_real},
    {"$numberDecimal", put_decimal},
    {"$binary", put_binary},
    {"$uuid", put_uuid},
    {"$regularExpression", put_regex},
    {"$timestamp", put_timestamp},
    {"$code", put_code},
    {"$dbPointer", put_pointer},
    {"$symbol", put_symbol},
    {"$undefined", put_undefined},
    {"$minKey", put_minkey},
    {"$maxKey", put_maxkey},
};

/* The form whose name is the object's first; NULL: it is an object like others. */
static const struct form *form_of(yyjson_val *object, yyjson_val **inner) {
    yyjson_obj_iter iter = yyjson_obj_iter_with(object);
    yyjson_val *key = yyjson_obj_iter_next(&iter);
    if (key == NULL || yyjson_get_str(key)[0] != '$') return NULL;
    *inner = yyjson_obj_iter_get_val(key);
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        if (strcmp(forms[i].name, yyjson_get_str(key)) == 0) return &forms[i];
    return NULL;
}

/* ---- JSON ---- */

static int put_number(const packer *p, target t, yyjson_val *v) {
    if (yyjson_is_real(v)) return done(p, bson_append_double(t.to, t.key, t.key_len, yyjson_get_real(v)));
    int64_t n = yyjson_get_sint(v);
    return done(p, n >= INT32_MIN && n <= INT32_MAX ? bson_append_int32(t.to, t.key, t.key_len, (int32_t)n)
                                                    : bson_append_int64(t.to, t.key, t.key_len, n));
}

static int put_elements(const packer *p, bson_t *to, yyjson_val *array, const place *at);

static int put_nested(const packer *p, target t, yyjson_val *v, const place *at) {
    bool array = yyjson_is_arr(v);
    bson_t below;
    if (!(array ? bson_append_array_begin(t.to, t.key, t.key_len, &below)
                : bson_append_document_begin(t.to, t.key, t.key_len, &below)))
        return too_much(p);
    int rc = array ? put_elements(p, &below, v, at) : put_members(p, &below, v, at);
    bool ended = array ? bson_append_array_end(t.to, &below) : bson_append_document_end(t.to, &below);
    return rc == POND_OK ? done(p, ended) : rc;
}

static int put_value(const packer *p, target t, yyjson_val *v, const place *at) {
    yyjson_val *inner = NULL;
    if (t.to->len > MP_MONGODB_BSON_MAX) return too_much(p);
    switch (yyjson_get_type(v)) {
    case YYJSON_TYPE_NULL: return done(p, bson_append_null(t.to, t.key, t.key_len));
    case YYJSON_TYPE_BOOL: return done(p, bson_append_bool(t.to, t.key, t.key_len, yyjson_get_bool(v)));
    case YYJSON_TYPE_NUM: return put_number(p, t, v);
    case YYJSON_TYPE_STR:
        if (yyjson_get_len(v) > MP_MONGODB_BSON_MAX) return too_much(p);
        return done(p, bson_append_utf8(t.to, t.key, t.key_len, yyjson_get_str(v), (int)yyjson_get_len(v)));
    case YYJSON_TYPE_OBJ: {
        const struct form *form = form_of(v, &inner);
        if (form == NULL) return put_nested(p, t, v, at);
        if (yyjson_obj_size(v) != 1 &&
            !(form->put == put_code && yyjson_obj_get(v, "$scope") != NULL && yyjson_obj_size(v) == 2))
            return refuse(p, at, "begins as Extended JSON does, but has more members");
        return form->put(p, t, v, inner, at);
    }
    default: return put_nested(p, t, v, at);
    }
}

static int put_members(const packer *p, bson_t *to, yyjson_val *object, const place *at) {
    size_t i, max;
    yyjson_val *key, *v;
    yyjson_obj_foreach(object, i, max, key, v) {
        const place here = {.up = at, .key = key};
        if (yyjson_get_len(key) > MP_MONGODB_BSON_MAX) return too_much(p);
        /* MongoDB takes it in a new document only, and deeper it takes it always. */
        if (at == NULL && yyjson_get_str(key)[0] == '$')
            return refuse(p, &here, "begins with $, which the name of a document's own member cannot in MongoDB");
        int rc = put_value(p, (target){to, yyjson_get_str(key), (int)yyjson_get_len(key)}, v, &here);
        if (rc != POND_OK) return rc;
    }
    return POND_OK;
}

static int put_elements(const packer *p, bson_t *to, yyjson_val *array, const place *at) {
    size_t i, max;
    yyjson_val *v;
    char room[16];
    yyjson_arr_foreach(array, i, max, v) {
        const place here = {.up = at, .index = i};
        const char *key;
        size_t len = bson_uint32_to_string((uint32_t)i, &key, room, sizeof room);
        int rc = put_value(p, (target){to, key, (int)len}, v, &here);
        if (rc != POND_OK) return rc;
    }
    return POND_OK;
}

int mp_mongodb_bson(bson_t *to, const mp_document_name *name, const char *json, size_t len, pond_error **err) {
    const packer p = {name, err};
    yyjson_doc *doc = yyjson_read(json, len, 0);
    if (doc == NULL) return mp_fail(err, POND_ENOMEM, "%.64s: no memory for the document", name->collection);
    yyjson_val *root = yyjson_doc_get_root(doc);
    int rc;
    if (yyjson_obj_get(root, "_id") != NULL)
        rc = refuse(&p, NULL,
                    "has a member \"_id\": it is the document's id, which is called \"id\" here: leave it out");
    else rc = put_members(&p, to, root, NULL);
    if (rc == POND_OK && to->len > MP_MONGODB_BSON_MAX) rc = too_much(&p);
    yyjson_doc_free(doc);
    return rc;
}
