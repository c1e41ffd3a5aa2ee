#include "store/mongodb_patch.h"

#include <stdlib.h>
#include <string.h>

/* A member of the patch, to be found by its name: strangers may choose the names, so they are sorted, not hashed. */
typedef struct member {
    bson_iter_t at;
    size_t place;
    bool met; /* the document has it */
} member;

static int by_name(const void *a, const void *b) {
    return strcmp(bson_iter_key(&((const member *)a)->at), bson_iter_key(&((const member *)b)->at));
}

static int by_place(const void *a, const void *b) {
    const member *x = a, *y = b;
    return (x->place > y->place) - (x->place < y->place);
}

static int name_order(const void *name, const void *b) { return strcmp(name, bson_iter_key(&((const member *)b)->at)); }

static bool inner(const bson_iter_t *iter, bson_t *out) {
    uint32_t len;
    const uint8_t *data;
    if (bson_iter_type(iter) != BSON_TYPE_DOCUMENT) return false;
    bson_iter_document(iter, &len, &data);
    return bson_init_static(out, data, len);
}

/* A document that is merged into; one whose first member's name begins with $ is a value. */
static bool is_plain(const bson_iter_t *iter, bson_t *out) {
    bson_iter_t first;
    if (!inner(iter, out) || !bson_iter_init(&first, out)) return false;
    return !bson_iter_next(&first) || bson_iter_key(&first)[0] != '$';
}

static bool merge(bson_t *to, const bson_t *old, const bson_t *patch, bool top);

/* The value of a patch's member, where the document has `old`, or nothing (NULL). */
static bool put(bson_t *to, const bson_iter_t *old, const bson_iter_t *value) {
    bson_t patch, there, into;
    const char *key = bson_iter_key(value);
    int len = (int)bson_iter_key_len(value);
    if (!is_plain(value, &patch)) return bson_append_iter(to, key, len, value);
    bool plain = old != NULL && is_plain(old, &there);
    return bson_append_document_begin(to, key, len, &into) && merge(&into, plain ? &there : NULL, &patch, false) &&
           bson_append_document_end(to, &into);
}

static bool put_old(bson_t *to, const bson_t *old, member *members, size_t n, bool top) {
    bson_iter_t iter;
    if (!bson_iter_init(&iter, old)) return false;
    while (bson_iter_next(&iter)) {
        const char *key = bson_iter_key(&iter);
        if (top && (strcmp(key, "_id") == 0 || strcmp(key, "_mpv") == 0)) continue;
        member *m = n > 0 ? bsearch(key, members, n, sizeof *members, name_order) : NULL;
        if (m != NULL) m->met = true;
        if (m != NULL && bson_iter_type(&m->at) == BSON_TYPE_NULL) continue;
        if (!(m != NULL ? put(to, &iter, &m->at) : bson_append_iter(to, key, (int)bson_iter_key_len(&iter), &iter)))
            return false;
    }
    return iter.err_off == 0;
}

static bool put_new(bson_t *to, member *members, size_t n) {
    qsort(members, n, sizeof *members, by_place);
    for (size_t i = 0; i < n; i++)
        if (!members[i].met && bson_iter_type(&members[i].at) != BSON_TYPE_NULL && !put(to, NULL, &members[i].at))
            return false;
    return true;
}

/* The depth is the patch's, which is bounded. */
static bool merge(bson_t *to, const bson_t *old, const bson_t *patch, bool top) {
    size_t n = 0;
    bson_iter_t iter;
    member *members = bson_aligned_alloc0(BSON_ALIGNOF(member), (bson_count_keys(patch) + 1) * sizeof *members);
    bool well = bson_iter_init(&iter, patch);
    while (well && bson_iter_next(&iter)) {
        members[n] = (member){.at = iter, .place = n};
        n++;
    }
    qsort(members, n, sizeof *members, by_name);
    well = well && (old == NULL || put_old(to, old, members, n, top)) && put_new(to, members, n);
    bson_free(members);
    return well;
}

bool mp_mongodb_patch(bson_t *to, const bson_t *old, const bson_t *patch) { return merge(to, old, patch, true); }
