#include "model/query_private.h"

#include <yyjson.h>

#include "base/quote.h"

typedef struct walk {
    mp_query_build *b;
    size_t bytes; /* of names and values so far */
    mp_slice parts[MP_QUERY_KEY_PARTS];
    size_t count,
        spelled;   /* how many there are; how many of them come from the key of a field, not from objects in it */
    bool brackets; /* that key is spelled with brackets */
} walk;

static int refuse_here(walk *w, const char *reason, const char *why) {
    char shown[MP_QUERY_SHOWN];
    return mp_fail_reason(w->b->err, POND_EQUERY, reason, "%s: %s", mp_query_key_show(shown, w->parts, w->count), why);
}

static int measure(walk *w, size_t len) {
    w->bytes += len + 1;
    if (w->bytes <= MP_QUERY_TEXT_MAX) return POND_OK;
    return MP_REFUSE(w->b, "too_long", "the names and values of the query have more than %d bytes", MP_QUERY_TEXT_MAX);
}

/* Its text in the query's memory: the document goes when reading ends. */
static int read_text(walk *w, yyjson_val *from, mp_slice *out) {
    const char *data = yyjson_is_raw(from) ? yyjson_get_raw(from) : yyjson_get_str(from);
    size_t len = yyjson_get_len(from);
    int rc = measure(w, len);
    if (rc != POND_OK) return rc;
    if (memchr(data, 0, len) != NULL) return refuse_here(w, "bad_encoding", "it holds U+0000: leave it out");
    *out = mp_arena_copy(w->b->arena, data, len);
    return out->data != NULL ? POND_OK : mp_query_no_memory(w->b);
}

static int add_scalar(walk *w, const mp_query_key_path *path, mp_query_type type, yyjson_val *from) {
    mp_query_value value = {.kind = MP_VALUE_NULL};
    int rc = POND_OK;
    if (yyjson_is_str(from) || yyjson_is_raw(from)) {
        value.kind = yyjson_is_str(from) ? MP_VALUE_TEXT : MP_VALUE_NUMBER;
        rc = read_text(w, from, &value.text);
    } else {
        if (yyjson_is_bool(from)) value.kind = MP_VALUE_BOOL;
        value.yes = yyjson_is_true(from);
        rc = measure(w, 4);
    }
    return rc == POND_OK ? mp_query_add(w->b, path, type, value) : rc;
}

/* An element: a value, or {"string": "10"}. */
static int add_element(walk *w, const mp_query_key_path *path, yyjson_val *from) {
    mp_query_type type = path->type;
    if (yyjson_is_obj(from) && yyjson_obj_size(from) == 1 && type == MP_TYPE_NONE && path->target == MP_TARGET_FILTER) {
        yyjson_obj_iter iter = yyjson_obj_iter_with(from);
        yyjson_val *key = yyjson_obj_iter_next(&iter);
        type = mp_query_type_of((mp_slice){yyjson_get_str(key), yyjson_get_len(key)});
        if (type != MP_TYPE_NONE) from = yyjson_obj_iter_get_val(key);
    }
    if (yyjson_is_ctn(from))
        return refuse_here(w, "bad_value", "an element of a list is a single value, or {\"type\": value}");
    return add_scalar(w, path, type, from);
}

static int add_list(walk *w, yyjson_val *list) {
    size_t i, max;
    yyjson_val *element;
    mp_query_key_path path;
    int rc = mp_query_key_resolve(w->b, w->parts, w->count, w->spelled, &path);
    if (rc != POND_OK) return rc;
    /* Under a key with brackets it is a parameter that was repeated: Flask and parse_qs write it so. */
    if (!w->brackets || w->count > w->spelled) path.listed = true;
    yyjson_arr_foreach(list, i, max, element) {
        rc = add_element(w, &path, element);
        if (rc != POND_OK) return rc;
    }
    if (max > 0) return POND_OK;
    path.listed = true;
    return mp_query_add(w->b, &path, path.type, (mp_query_value){.kind = MP_VALUE_NOTHING});
}

static int add_value(walk *w, yyjson_val *value);

/* The members of the query itself and of its `where`: their keys are fields, and may have brackets. */
static int add_fields(walk *w, yyjson_val *object) {
    size_t i, max, above = w->count, more;
    yyjson_val *key, *value;
    yyjson_obj_foreach(object, i, max, key, value) {
        mp_slice name, parts[MP_QUERY_KEY_PARTS];
        int rc = read_text(w, key, &name);
        if (rc == POND_OK) rc = mp_query_key_split(w->b, (char *)name.data, name.len, parts, &more);
        if (rc != POND_OK) return rc;
        w->brackets = more > 1;
        for (size_t k = 0; k < more && w->count < MP_QUERY_KEY_PARTS; k++) w->parts[w->count++] = parts[k];
        w->spelled = w->count;
        rc = add_value(w, value);
        w->count = above;
        if (rc != POND_OK) return rc;
    }
    return POND_OK;
}

/* One part more for each member. */
static int add_object(walk *w, yyjson_val *object) {
    size_t i, max;
    yyjson_val *key, *value;
    mp_query_key_path path;
    if (w->count == 1 && mp_slice_is(w->parts[0], MP_SLICE("where"))) return add_fields(w, object);
    if (yyjson_obj_size(object) == 0) {
        int rc = mp_query_key_resolve(w->b, w->parts, w->count, w->spelled, &path);
        return rc != POND_OK ? rc : refuse_here(w, "bad_value", "the object is empty: write {\"operator\": value}");
    }
    yyjson_obj_foreach(object, i, max, key, value) {
        mp_slice name;
        int rc = read_text(w, key, &name);
        if (rc != POND_OK) return rc;
        w->parts[w->count++] = name;
        rc = add_value(w, value);
        w->count--;
        if (rc != POND_OK) return rc;
    }
    return POND_OK;
}

/* A path that has all its parts is longer than any right one, so its resolution refuses it: nothing goes deeper. */
static int add_value(walk *w, yyjson_val *value) {
    mp_query_key_path path;
    if (yyjson_is_arr(value)) return add_list(w, value);
    if (yyjson_is_obj(value) && w->count < MP_QUERY_KEY_PARTS) return add_object(w, value);
    int rc = mp_query_key_resolve(w->b, w->parts, w->count, w->spelled, &path);
    return rc == POND_OK ? add_scalar(w, &path, path.type, value) : rc;
}

static int refuse_json(mp_query_build *b, const char *text, size_t len, const yyjson_read_err *why) {
    if (why->code == YYJSON_READ_ERROR_MEMORY_ALLOCATION) return mp_query_no_memory(b);
    const char *at = why->pos < len ? text + why->pos : "";
    size_t left = why->pos < len ? len - why->pos : 0;
    if (left > 0 && *at == '-') at++, left--;
    if ((left >= 3 && memcmp(at, "NaN", 3) == 0) || (left >= 3 && memcmp(at, "Inf", 3) == 0))
        return MP_REFUSE(b, "bad_number", "the query holds NaN or Infinity at byte %zu: no stored number equals it",
                         why->pos);
    return mp_fail_reason(b->err, POND_EQUERY,
                          why->code == YYJSON_READ_ERROR_INVALID_STRING ? "bad_encoding" : "bad_value",
                          "the query is not clean JSON at byte %zu: %s", why->pos, why->msg);
}

int mp_query_read_json(mp_query_build *b, const char *text, size_t len) {
    yyjson_read_err why = {0};
    if (len > MP_QUERY_JSON_MAX)
        return MP_REFUSE(b, "too_long", "the query's JSON has %zu bytes: it has at most %d", len, MP_QUERY_JSON_MAX);
    if (len == 0) return MP_REFUSE(b, "bad_value", "the query is empty: write {} for every document");
    /* Numbers as they are spelled: their rules are our own. Without the flag YYJSON_READ_INSITU the text is only read. */
    yyjson_doc *doc = yyjson_read_opts((char *)text, len, YYJSON_READ_NUMBER_AS_RAW, NULL, &why);
    if (doc == NULL) return refuse_json(b, text, len, &why);
    yyjson_val *root = yyjson_doc_get_root(doc);
    walk w = {.b = b};
    int rc = yyjson_is_obj(root)
                 ? add_fields(&w, root)
                 : MP_REFUSE(b, "bad_value", "a query is an object or a query string, but this is a JSON %s",
                             yyjson_get_type_desc(root));
    yyjson_doc_free(doc);
    return rc;
}
