#include "model/document.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yyjson.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/quote.h"

/* Where a value stands: its key in an object or its index in an array, and so on up to the document. */
typedef struct place {
    const struct place *up;
    yyjson_val *key;
    size_t index;
    unsigned depth;
} place;

typedef struct check {
    const mp_document_name *name;
    pond_error **err;
    bool numbered; /* the id may be an integer */
} check;

enum { PATH_SHOWN = 200, NAME_SHOWN = 64 + 1 + MP_QUOTE_MAX, FEW_MEMBERS = 16 };

/* films "0042" */
static const char *shown(char *out, const mp_document_name *name) {
    char id[MP_QUOTE_MAX];
    snprintf(out, NAME_SHOWN, "%.64s %s", name->collection, mp_quote(id, name->id, name->id_len));
    return out;
}

static void add_path(mp_buf *buf, const place *at) {
    if (at->up == NULL) return;
    add_path(buf, at->up);
    if (buf->len > PATH_SHOWN) return;
    if (at->key == NULL) {
        mp_buf_printf(buf, "[%zu]", at->index);
        return;
    }
    char quoted[MP_QUOTE_MAX];
    mp_quote(quoted, yyjson_get_str(at->key), yyjson_get_len(at->key));
    mp_buf_printf(buf, "%s%.*s", at->up->up != NULL ? "." : "", (int)strlen(quoted) - 2, quoted + 1);
}

static int refuse(const check *c, const place *at, const char *what) {
    char name[NAME_SHOWN];
    mp_buf path;
    mp_buf_init(&path);
    add_path(&path, at);
    bool whole = path.failed || path.len == 0;
    bool cut = !whole && path.len > PATH_SHOWN;
    int rc = mp_fail(c->err, POND_EVALUE, "%s: %.*s%s %s", shown(name, c->name), PATH_SHOWN,
                     whole ? "the document" : path.data, cut ? "..." : "", what);
    mp_buf_free(&path);
    return rc;
}

static int refuse_size(const check *c) {
    char name[NAME_SHOWN];
    return mp_fail(c->err, POND_ENOMEM, "%s: no memory for the document", shown(name, c->name));
}

static bool is(yyjson_val *key, const char *text, size_t len) {
    return yyjson_get_len(key) == len && memcmp(yyjson_get_str(key), text, len) == 0;
}

static bool has_zero(yyjson_val *text) { return memchr(yyjson_get_str(text), 0, yyjson_get_len(text)) != NULL; }

static bool same(yyjson_val *a, yyjson_val *b) { return is(a, yyjson_get_str(b), yyjson_get_len(b)); }

static int by_bytes(const void *a, const void *b) {
    yyjson_val *x = *(yyjson_val *const *)a, *y = *(yyjson_val *const *)b;
    size_t m = yyjson_get_len(x), n = yyjson_get_len(y);
    if (m != n) return m < n ? -1 : 1;
    return memcmp(yyjson_get_str(x), yyjson_get_str(y), n);
}

/* The second of two equal keys in *twice, or NULL. Strangers may choose the keys, so many are sorted, not hashed. */
static bool find_twice(yyjson_val *object, yyjson_val **twice) {
    size_t n = yyjson_obj_size(object), i, max, have = 0;
    yyjson_val *key, *value, *few[FEW_MEMBERS], **keys = few;
    *twice = NULL;
    if (n > FEW_MEMBERS) {
        keys = malloc(n * sizeof *keys);
        if (keys == NULL) return false;
    }
    yyjson_obj_foreach(object, i, max, key, value) {
        for (size_t k = 0; n <= FEW_MEMBERS && k < have && *twice == NULL; k++)
            if (same(keys[k], key)) *twice = key;
        keys[have++] = key;
    }
    if (n > FEW_MEMBERS) {
        qsort(keys, n, sizeof *keys, by_bytes);
        for (size_t k = 1; k < n && *twice == NULL; k++)
            if (same(keys[k - 1], keys[k])) *twice = keys[k];
        free(keys);
    }
    return true;
}

static int check_value(const check *c, yyjson_val *value, const place *at);

static int check_object(const check *c, yyjson_val *object, const place *at) {
    size_t i, max;
    yyjson_val *key, *value, *twice;
    place member = {.up = at, .depth = at->depth + 1};
    if (!find_twice(object, &twice)) return refuse_size(c);
    if (twice != NULL) {
        member.key = twice;
        return refuse(c, &member, "is there twice");
    }
    yyjson_obj_foreach(object, i, max, key, value) {
        member.key = key;
        if (has_zero(key)) return refuse(c, &member, "has a name with U+0000: leave it out");
        int rc = check_value(c, value, &member);
        if (rc != POND_OK) return rc;
    }
    return POND_OK;
}

static int check_array(const check *c, yyjson_val *array, const place *at) {
    size_t i, max;
    yyjson_val *value;
    place element = {.up = at, .depth = at->depth + 1};
    yyjson_arr_foreach(array, i, max, value) {
        element.index = i;
        int rc = check_value(c, value, &element);
        if (rc != POND_OK) return rc;
    }
    return POND_OK;
}

/* Recursion is bounded by MP_DOCUMENT_DEPTH. Also makes doubles of the integers that no store keeps exactly. */
static int check_value(const check *c, yyjson_val *value, const place *at) {
    switch (yyjson_get_type(value)) {
    case YYJSON_TYPE_STR:
        return has_zero(value) ? refuse(c, at, "holds U+0000: SQLite would cut the string there; leave it out")
                               : POND_OK;
    case YYJSON_TYPE_NUM:
        if (yyjson_is_uint(value) && yyjson_get_uint(value) > INT64_MAX)
            yyjson_set_real(value, (double)yyjson_get_uint(value));
        return POND_OK;
    case YYJSON_TYPE_ARR:
    case YYJSON_TYPE_OBJ:
        if (at->depth > MP_DOCUMENT_DEPTH)
            return refuse(c, at, "is nested too deep: a document has at most 180 levels");
        return yyjson_is_obj(value) ? check_object(c, value, at) : check_array(c, value, at);
    default: return POND_OK;
    }
}

static bool is_own_id(const check *c, yyjson_val *id) {
    char digits[24];
    if (yyjson_is_str(id)) return is(id, c->name->id, c->name->id_len);
    if (!c->numbered || !yyjson_is_int(id)) return false;
    int len = snprintf(digits, sizeof digits, "%lld", (long long)yyjson_get_sint(id));
    return (size_t)len == c->name->id_len && memcmp(digits, c->name->id, c->name->id_len) == 0;
}

static int check_root(const check *c, yyjson_val *root, bool *has_id) {
    char name[NAME_SHOWN];
    if (!yyjson_is_obj(root))
        return mp_fail(c->err, POND_EVALUE, "%s: a document is a JSON object, but this is a JSON %s",
                       shown(name, c->name), yyjson_get_type_desc(root));
    place top = {.depth = 1};
    int rc = check_value(c, root, &top);
    if (rc != POND_OK) return rc;
    if (yyjson_obj_get(root, "_mpv") != NULL)
        return mp_fail(c->err, POND_EVALUE, "%s: the member \"_mpv\" is the library's own: leave it out",
                       shown(name, c->name));
    yyjson_val *id = yyjson_obj_get(root, "id");
    *has_id = id != NULL;
    if (id != NULL && !is_own_id(c, id))
        return mp_fail(c->err, POND_EVALUE,
                       "%s: the document's own \"id\" is not that string: give the same one, or none",
                       shown(name, c->name));
    return POND_OK;
}

/* Writes the document without the members that are not its own. */
static char *write_stripped(yyjson_doc *doc, size_t *len) {
    yyjson_mut_doc *copy = yyjson_doc_mut_copy(doc, NULL);
    if (copy == NULL) return NULL;
    yyjson_mut_val *root = yyjson_mut_doc_get_root(copy);
    yyjson_mut_obj_remove_keyn(root, "id", 2);
    yyjson_mut_obj_remove_keyn(root, "_mpv", 4);
    char *text = yyjson_mut_write(copy, 0, len);
    yyjson_mut_doc_free(copy);
    return text;
}

static int pack(check c, const char *text, size_t len, char **out, size_t *out_len) {
    const mp_document_name *name = c.name;
    pond_error **err = c.err;
    yyjson_read_err why;
    /* Without the flag YYJSON_READ_INSITU the text is only read. */
    yyjson_doc *doc = yyjson_read_opts((char *)text, len, 0, NULL, &why);
    if (doc == NULL) {
        char shown_name[NAME_SHOWN];
        if (why.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION) return refuse_size(&c);
        if (text == NULL || len == 0)
            return mp_fail(err, POND_EVALUE, "%s: the document is empty", shown(shown_name, name));
        return mp_fail(err, POND_EVALUE, "%s: the document is not clean JSON at byte %zu: %s", shown(shown_name, name),
                       why.pos, why.msg);
    }
    bool has_id = false;
    int rc = check_root(&c, yyjson_doc_get_root(doc), &has_id);
    if (rc == POND_OK) {
        *out = has_id ? write_stripped(doc, out_len) : yyjson_write(doc, 0, out_len);
        if (*out == NULL) rc = refuse_size(&c);
    }
    yyjson_doc_free(doc);
    return rc;
}

int mp_document_pack(const mp_document_name *name, const char *text, size_t len, char **out, size_t *out_len,
                     pond_error **err) {
    return pack((check){.name = name, .err = err}, text, len, out, out_len);
}

int mp_document_pack_numbered(const mp_document_name *name, const char *text, size_t len, char **out, size_t *out_len,
                              pond_error **err) {
    return pack((check){.name = name, .err = err, .numbered = true}, text, len, out, out_len);
}

/* {"id":"...", and what follows the brace of `text`. */
static pond_value *with_id(const mp_document_name *name, const char *text, size_t len, bool empty) {
    mp_buf head;
    mp_buf_init(&head);
    mp_buf_text(&head, "{\"id\":");
    mp_buf_json(&head, name->id, name->id_len);
    mp_buf_text(&head, empty ? "}" : ",");
    size_t rest = empty ? 0 : len - 1;
    char *whole = head.failed ? NULL : malloc(head.len + rest + 1);
    size_t total = head.len + rest;
    if (whole != NULL) {
        memcpy(whole, head.data, head.len);
        memcpy(whole + head.len, text + 1, rest);
        whole[total] = 0;
    }
    mp_buf_free(&head);
    return mp_value_adopt(POND_JSON, whole, total); /* takes NULL */
}

static int damaged(const mp_document_name *name, pond_error **err, const char *what, size_t at) {
    char shown_name[NAME_SHOWN];
    shown(shown_name, name);
    if (err != NULL)
        *err = mp_error_new_retriable(POND_ESTORE, 0, "%s: what stands in the store is not a document: %s at byte %zu",
                                      shown_name, what, at);
    return POND_ESTORE;
}

int mp_document_unpack(const mp_document_name *name, const char *text, size_t len, pond_value **out, pond_error **err) {
    check c = {.name = name, .err = err};
    yyjson_read_err why;
    yyjson_doc *doc = yyjson_read_opts((char *)text, len, YYJSON_READ_NUMBER_AS_RAW, NULL, &why);
    if (doc == NULL) {
        if (why.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION) return refuse_size(&c);
        return damaged(name, err, why.msg, why.pos);
    }
    yyjson_val *root = yyjson_doc_get_root(doc);
    int rc = POND_OK;
    if (!yyjson_is_obj(root)) rc = damaged(name, err, "it is no JSON object", 0);
    else if (yyjson_obj_get(root, "id") == NULL && yyjson_obj_get(root, "_mpv") == NULL) {
        size_t blank = strspn(text, " \t\r\n"); /* it is an object, so this ends at its brace */
        *out = with_id(name, text + blank, len - blank, yyjson_obj_size(root) == 0);
        if (*out == NULL) rc = refuse_size(&c);
    } else {
        size_t stripped_len = 0;
        char *stripped = write_stripped(doc, &stripped_len);
        *out = stripped != NULL ? with_id(name, stripped, stripped_len, stripped_len == 2) : NULL;
        free(stripped);
        if (*out == NULL) rc = refuse_size(&c);
    }
    yyjson_doc_free(doc);
    return rc;
}

int mp_document_id(const char *collection, const char *text, size_t len, char **out, size_t *out_len,
                   pond_error **err) {
    yyjson_read_err why;
    yyjson_doc *doc = yyjson_read_opts((char *)text, len, 0, NULL, &why);
    if (doc == NULL) {
        if (why.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
            return mp_fail(err, POND_ENOMEM, "%.64s: no memory for the document", collection);
        return mp_fail(err, POND_EVALUE, "%.64s: the document is not clean JSON at byte %zu: %s", collection, why.pos,
                       why.msg);
    }
    yyjson_val *root = yyjson_doc_get_root(doc), *id = yyjson_obj_get(root, "id");
    int rc = POND_OK;
    *out = NULL;
    if (!yyjson_is_obj(root))
        rc = mp_fail(err, POND_EVALUE, "%.64s: a document is a JSON object, but this is a JSON %s", collection,
                     yyjson_get_type_desc(root));
    else if (id == NULL) *out_len = 0;
    else if (!yyjson_is_str(id))
        rc = mp_fail(err, POND_EVALUE, "%.64s: the document's \"id\" is a JSON %s: ids are strings", collection,
                     yyjson_get_type_desc(id));
    else if ((*out = malloc(yyjson_get_len(id) + 1)) == NULL)
        rc = mp_fail(err, POND_ENOMEM, "%.64s: no memory for the document", collection);
    if (*out != NULL) {
        *out_len = yyjson_get_len(id);
        memcpy(*out, yyjson_get_str(id), *out_len + 1);
    }
    yyjson_doc_free(doc);
    return rc;
}
