#include "model/query.h"

#include <stdlib.h>

#include "model/query_private.h"
#include "model/sha256.h"

/* A query and what only this file and its canonical text know of it. */
typedef struct whole {
    mp_query query; /* first: the two are one pointer */
    mp_arena arena;
    mp_slice canonical, total;
} whole;

int mp_query_no_memory(mp_query_build *b) { return mp_fail(b->err, POND_ENOMEM, "no memory for a query"); }

int mp_query_add(mp_query_build *b, const mp_query_key_path *path, mp_query_type own_type, mp_query_value value) {
    mp_query_entry *entry = mp_arena_take(b->arena, 1, sizeof *entry);
    if (entry == NULL) return mp_query_no_memory(b);
    *entry = (mp_query_entry){.order = b->count++, .path = *path, .own_type = own_type, .value = value};
    *b->last = entry;
    b->last = &entry->next;
    return POND_OK;
}

bool mp_query_path_make(mp_query_build *b, mp_slice name, mp_query_path *out) {
    size_t count = 1, from = 0, n = 0;
    for (size_t i = 0; i < name.len; i++) count += name.data[i] == '.';
    mp_slice whole_name = mp_arena_copy(b->arena, name.data, name.len);
    char *parts_text = (char *)mp_arena_copy(b->arena, name.data, name.len).data;
    mp_slice *parts = mp_arena_take(b->arena, count, sizeof *parts);
    if (parts == NULL) return false;
    for (size_t i = 0; i <= name.len; i++) {
        if (i < name.len && name.data[i] != '.') continue;
        parts_text[i] = 0;
        parts[n++] = (mp_slice){parts_text + from, i - from};
        from = i + 1;
    }
    *out = (mp_query_path){whole_name, parts, count, mp_slice_is(name, MP_SLICE("id"))};
    return true;
}

/* --- groups ----------------------------------------------------------------------------------------------------- */

static int path_order(const mp_query_key_path *a, const mp_query_key_path *b) {
    if (a->target != b->target) return a->target < b->target ? -1 : 1;
    if (a->where != b->where) return a->where ? 1 : -1;
    int way = mp_slice_order(a->field, b->field);
    if (way != 0) return way;
    if (a->op != b->op) return a->op < b->op ? -1 : 1;
    return (a->type > b->type) - (a->type < b->type);
}

static int by_path(const void *x, const void *y) {
    const mp_query_entry *a = *(mp_query_entry *const *)x, *b = *(mp_query_entry *const *)y;
    int way = path_order(&a->path, &b->path);
    return way != 0 ? way : (a->order > b->order) - (a->order < b->order);
}

static int check_group(mp_query_build *b, mp_query_group *g) {
    char shown[MP_QUERY_SHOWN];
    int last = -1;
    g->values = 0;
    for (size_t i = 0; i < g->count; i++) {
        const mp_query_entry *entry = g->entries[i];
        g->values += entry->value.kind != MP_VALUE_NOTHING;
        if (entry->path.index < 0) continue;
        if (entry->path.index <= last)
            return MP_REFUSE(b, "bad_operator", "%s: the places of a list must rise: write []",
                             mp_query_path_show(shown, g->path));
        last = entry->path.index;
    }
    return POND_OK;
}

/* --- the whole -------------------------------------------------------------------------------------------------- */

static int finish(mp_query_build *b, const mp_query_draft *drafts, whole *out) {
    for (int total = 0; total < 2; total++) {
        mp_buf_reset(&b->scratch);
        mp_query_write(&b->scratch, &out->query, drafts, total);
        if (b->scratch.failed) return mp_query_no_memory(b);
        *(total ? &out->total : &out->canonical) = mp_arena_copy(b->arena, b->scratch.data, b->scratch.len);
    }
    return b->arena->failed ? mp_query_no_memory(b) : POND_OK;
}

static int build(mp_query_build *b, whole *out) {
    const mp_query_group *by_target[MP_TARGET_SEARCH_IN + 1] = {NULL};
    size_t n = 0, count = 0, filters = 0;
    mp_query_entry **entries = mp_arena_take(b->arena, b->count, sizeof *entries);
    mp_query_group *groups = mp_arena_take(b->arena, b->count, sizeof *groups);
    if (groups == NULL) return mp_query_no_memory(b);
    for (mp_query_entry *entry = b->entries; entry != NULL; entry = entry->next) entries[n++] = entry;
    if (n > 1) qsort(entries, n, sizeof *entries, by_path);
    for (size_t from = 0, to; from < n; from = to) {
        for (to = from + 1; to < n && path_order(&entries[from]->path, &entries[to]->path) == 0;) to++;
        groups[count] = (mp_query_group){entries + from, to - from, 0, &entries[from]->path};
        int rc = check_group(b, &groups[count]);
        if (rc != POND_OK) return rc;
        mp_query_target target = groups[count].path->target;
        if (target == MP_TARGET_FILTER) filters++; /* they stand first */
        else by_target[target] = &groups[count];
        count++;
    }
    mp_query_draft *drafts = mp_arena_take(b->arena, filters, sizeof *drafts);
    if (drafts == NULL) return mp_query_no_memory(b);
    int rc = POND_OK;
    for (size_t i = 0; rc == POND_OK && i < filters; i++) rc = mp_query_draft_make(b, &groups[i], &drafts[i]);
    if (rc == POND_OK) rc = mp_query_conditions_make(b, drafts, filters, &out->query);
    if (rc == POND_OK) rc = mp_query_reserved_read(b, by_target, &out->query);
    return rc == POND_OK ? finish(b, drafts, out) : rc;
}

static int parse(mp_query **out, const mp_query_bounds *bounds, int (*read)(mp_query_build *, const char *, size_t),
                 const char *text, size_t len, pond_error **err) {
    whole *made = calloc(1, sizeof *made);
    if (made == NULL) return mp_fail(err, POND_ENOMEM, "no memory for a query");
    mp_query_build b = {.bounds = bounds, .err = err, .arena = &made->arena};
    b.last = &b.entries;
    mp_buf_init(&b.scratch);
    int rc = read(&b, text, len);
    if (rc == POND_OK) rc = build(&b, made);
    mp_buf_free(&b.scratch);
    if (rc != POND_OK) mp_query_free(&made->query);
    else *out = &made->query;
    return rc;
}

int mp_query_parse_text(mp_query **out, const mp_query_bounds *bounds, const char *text, size_t len, pond_error **err) {
    return parse(out, bounds, mp_query_read_text, text, len, err);
}

int mp_query_parse_json(mp_query **out, const mp_query_bounds *bounds, const char *text, size_t len, pond_error **err) {
    return parse(out, bounds, mp_query_read_json, text, len, err);
}

void mp_query_free(mp_query *query) {
    if (query == NULL) return;
    whole *it = (whole *)query;
    mp_arena_free(&it->arena);
    free(it);
}

static const char *text_of(mp_slice text, size_t *len) {
    if (len != NULL) *len = text.len;
    return text.data;
}

const char *mp_query_canonical(const mp_query *query, size_t *len) {
    return text_of(((const whole *)query)->canonical, len);
}

const char *mp_query_total_canonical(const mp_query *query, size_t *len) {
    return text_of(((const whole *)query)->total, len);
}

void mp_query_key(const mp_query *query, char out[MP_QUERY_KEY_LEN + 1]) {
    mp_slice text = ((const whole *)query)->canonical;
    mp_sha256_hex(out, text.data, text.len);
}

void mp_query_total_key(const mp_query *query, char out[MP_QUERY_KEY_LEN + 1]) {
    mp_slice text = ((const whole *)query)->total;
    mp_sha256_hex(out, text.data, text.len);
}
