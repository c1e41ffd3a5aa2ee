#include "model/json_patch.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <yyjson.h>

#include "base/error.h"
#include "base/quote.h"

/* A member of the patch, to be found by its name: strangers may choose the names, so they are sorted, not hashed. */
typedef struct member {
    yyjson_val *key, *value;
    size_t at; /* its place in the patch */
    bool met;  /* the document has it */
} member;

static int order_names(const char *a, size_t a_len, const char *b, size_t b_len) {
    if (a_len != b_len) return a_len < b_len ? -1 : 1;
    return memcmp(a, b, a_len);
}

static int by_name(const void *a, const void *b) {
    const member *x = a, *y = b;
    return order_names(yyjson_get_str(x->key), yyjson_get_len(x->key), yyjson_get_str(y->key), yyjson_get_len(y->key));
}

static int by_place(const void *a, const void *b) {
    const member *x = a, *y = b;
    return (x->at > y->at) - (x->at < y->at);
}

static member *find(member *members, size_t n, yyjson_val *key) {
    const member sought = {.key = key};
    return n > 0 ? bsearch(&sought, members, n, sizeof *members, by_name) : NULL;
}

/* An object that is merged into, not a value of Extended JSON. */
static bool is_plain(yyjson_val *v) {
    if (!yyjson_is_obj(v)) return false;
    yyjson_obj_iter iter = yyjson_obj_iter_with(v);
    yyjson_val *first = yyjson_obj_iter_next(&iter);
    return !first || yyjson_get_len(first) == 0 || yyjson_get_str(first)[0] != '$';
}

static yyjson_mut_val *merge(yyjson_mut_doc *doc, yyjson_val *old, yyjson_val *patch);

static bool add(yyjson_mut_doc *doc, yyjson_mut_val *to, yyjson_val *key, yyjson_mut_val *value) {
    return yyjson_mut_obj_add(to, yyjson_val_mut_copy(doc, key), value); /* false if one of them is NULL */
}

/* What was there, in its order. */
static bool add_old(yyjson_mut_doc *doc, yyjson_mut_val *to, yyjson_val *old, member *members, size_t n) {
    size_t i, max;
    yyjson_val *key, *value;
    yyjson_obj_foreach(old, i, max, key, value) {
        member *m = find(members, n, key);
        if (m) m->met = true;
        if (m && yyjson_is_null(m->value)) continue;
        if (!add(doc, to, key, m ? merge(doc, value, m->value) : yyjson_val_mut_copy(doc, value))) return false;
    }
    return true;
}

static bool add_new(yyjson_mut_doc *doc, yyjson_mut_val *to, member *members, size_t n) {
    qsort(members, n, sizeof *members, by_place);
    for (size_t i = 0; i < n; i++)
        if (!members[i].met && !yyjson_is_null(members[i].value) &&
            !add(doc, to, members[i].key, merge(doc, NULL, members[i].value)))
            return false;
    return true;
}

/* NULL: no memory. The depth is the patch's, which is bounded. */
static yyjson_mut_val *merge(yyjson_mut_doc *doc, yyjson_val *old, yyjson_val *patch) {
    if (!is_plain(patch)) return yyjson_val_mut_copy(doc, patch);
    size_t n = yyjson_obj_size(patch), i, max;
    yyjson_val *key, *value;
    yyjson_mut_val *out = yyjson_mut_obj(doc);
    member *members = calloc(n + 1, sizeof *members);
    bool well = out && members;
    if (well) {
        yyjson_obj_foreach(patch, i, max, key, value) members[i] = (member){.key = key, .value = value, .at = i};
        qsort(members, n, sizeof *members, by_name);
        well = (!is_plain(old) || add_old(doc, out, old, members, n)) && add_new(doc, out, members, n);
    }
    free(members);
    return well ? out : NULL;
}

static int no_memory(const mp_document_name *name, pond_error **err) {
    char id[MP_QUOTE_MAX];
    return mp_fail(err, POND_ENOMEM, "%.64s %s: no memory for the document", name->collection,
                   mp_quote(id, name->id, name->id_len));
}

static int damaged(const mp_document_name *name, pond_error **err) {
    char id[MP_QUOTE_MAX];
    if (err)
        *err = mp_error_new_retriable(POND_ESTORE, 0, "%.64s %s: what stands in the store is not a JSON object",
                                      name->collection, mp_quote(id, name->id, name->id_len));
    return POND_ESTORE;
}

/* Numbers stay as they are spelled. */
static yyjson_doc *read(const char *text, size_t len, bool *memory) {
    yyjson_read_err why;
    yyjson_doc *doc = yyjson_read_opts((char *)text, len, YYJSON_READ_NUMBER_AS_RAW, NULL, &why);
    *memory = doc != NULL || why.code != YYJSON_READ_ERROR_MEMORY_ALLOCATION;
    return doc;
}

int mp_json_patch(const mp_document_name *name, const char *document, size_t len, const char *patch, size_t patch_len,
                  char **out, size_t *out_len, pond_error **err) {
    bool memory[2];
    yyjson_doc *old = read(document, len, &memory[0]), *by = read(patch, patch_len, &memory[1]);
    yyjson_mut_doc *fresh = yyjson_mut_doc_new(NULL);
    int rc = POND_OK;
    if (!memory[0] || !memory[1] || !fresh) rc = no_memory(name, err);
    else if (!yyjson_is_obj(yyjson_doc_get_root(old)) || !by) rc = damaged(name, err);
    if (rc == POND_OK) {
        yyjson_mut_val *root = merge(fresh, yyjson_doc_get_root(old), yyjson_doc_get_root(by));
        yyjson_mut_doc_set_root(fresh, root);
        *out = root ? yyjson_mut_write(fresh, 0, out_len) : NULL;
        if (!*out) rc = no_memory(name, err);
    }
    yyjson_doc_free(old);
    yyjson_doc_free(by);
    yyjson_mut_doc_free(fresh);
    return rc;
}
