#include "model/match.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <yyjson.h>

#include "model/fold.h"

enum { DEPTH_MOST = 1000 }; /* SQLite's own JSON functions take no more */

static mp_matched parse(mp_slice doc, yyjson_doc **out, yyjson_val **root) {
    yyjson_read_err why;
    *out = yyjson_read_opts((char *)doc.data, doc.len, 0, NULL, &why);
    if (!*out) return why.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION ? MP_MATCH_NOMEM : MP_MATCH_DAMAGED;
    *root = yyjson_doc_get_root(*out);
    if (yyjson_is_obj(*root)) return MP_MATCH_YES;
    yyjson_doc_free(*out);
    return MP_MATCH_DAMAGED;
}

static yyjson_val *member(yyjson_val *object, mp_slice name) { return yyjson_obj_getn(object, name.data, name.len); }

/* ---- values and their ranks ---- */

static yyjson_val *wrapped(yyjson_val *v, const char *name) {
    yyjson_val *inner = yyjson_obj_get(v, name);
    return inner && yyjson_is_str(inner) ? inner : NULL;
}

static yyjson_val *date_text(yyjson_val *v) {
    yyjson_val *date = yyjson_obj_get(v, "$date");
    return date && yyjson_is_obj(date) ? wrapped(date, "$numberLong") : NULL;
}

/* NULL stands for a missing value, which is null. */
static mp_rank rank_of(yyjson_val *v) {
    switch (yyjson_get_type(v)) {
    case YYJSON_TYPE_BOOL: return MP_RANK_BOOL;
    case YYJSON_TYPE_NUM: return MP_RANK_NUMBER;
    case YYJSON_TYPE_STR: return MP_RANK_STRING;
    case YYJSON_TYPE_ARR: return MP_RANK_ARRAY;
    case YYJSON_TYPE_OBJ: return date_text(v) ? MP_RANK_DATE : wrapped(v, "$oid") ? MP_RANK_OID : MP_RANK_OBJECT;
    default: return MP_RANK_NULL;
    }
}

/* A number is its nearest double and what that lacks: two numbers compare exactly by the one, then the other. */
typedef struct number {
    double near;
    int rest;
} number;

static number of_integer(int64_t n) {
    double near = (double)n;
    return (number){near, (int)((__int128)n - (__int128)near)};
}

static number of_real(double x) { return (number){x == 0 ? 0 : x, 0}; }

static number number_of(yyjson_val *v) {
    if (yyjson_is_sint(v)) return of_integer(yyjson_get_sint(v));
    if (yyjson_is_uint(v)) {
        uint64_t u = yyjson_get_uint(v);
        return u <= INT64_MAX ? of_integer((int64_t)u) : of_real((double)u);
    }
    return of_real(yyjson_get_real(v));
}

static int order_numbers(number a, number b) {
    if (a.near != b.near) return a.near < b.near ? -1 : 1;
    return (a.rest > b.rest) - (a.rest < b.rest);
}

static mp_slice text_of(yyjson_val *v) { return (mp_slice){yyjson_get_str(v), yyjson_get_len(v)}; }
static int64_t date_of(yyjson_val *v) { return strtoll(yyjson_get_str(date_text(v)), NULL, 10); }
static int order_integers(int64_t a, int64_t b) { return (a > b) - (a < b); }

/* The value against a reading of the same rank. */
static int order(yyjson_val *v, const mp_query_reading *r) {
    switch (r->rank) {
    case MP_RANK_NUMBER: return order_numbers(number_of(v), r->is_real ? of_real(r->real) : of_integer(r->integer));
    case MP_RANK_STRING: return mp_slice_order(text_of(v), r->text);
    case MP_RANK_OID: return mp_slice_order(text_of(wrapped(v, "$oid")), r->text);
    case MP_RANK_BOOL: return order_integers(yyjson_get_bool(v), r->integer);
    case MP_RANK_DATE: return order_integers(date_of(v), r->integer);
    default: return 0; /* null is null */
    }
}

/* ---- candidates ---- */

/* Called for each candidate; true ends the walk with true. */
typedef bool (*visitor)(yyjson_val *v, void *ctx);

static bool candidates(yyjson_val *v, const mp_slice *parts, size_t n, visitor visit, void *ctx) {
    size_t i, max;
    yyjson_val *e;
    if (!yyjson_is_arr(v)) {
        if (n == 0) return visit(v, ctx);
        yyjson_val *below = yyjson_is_obj(v) ? member(v, parts[0]) : NULL;
        return below ? candidates(below, parts + 1, n - 1, visit, ctx) : visit(NULL, ctx);
    }
    yyjson_arr_foreach(v, i, max, e) {
        if (n == 0 ? visit(e, ctx) : yyjson_is_obj(e) && candidates(e, parts, n, visit, ctx)) return true;
    }
    return false;
}

static yyjson_val undefined; /* an empty array, as a sort sees it: its address says so */

static bool sort_candidates(yyjson_val *v, const mp_slice *parts, size_t n, visitor visit, void *ctx) {
    size_t i, max;
    yyjson_val *e;
    if (!yyjson_is_arr(v)) {
        if (n == 0) return visit(v, ctx);
        yyjson_val *below = yyjson_is_obj(v) ? member(v, parts[0]) : NULL;
        return below ? sort_candidates(below, parts + 1, n - 1, visit, ctx) : visit(NULL, ctx);
    }
    if (yyjson_arr_size(v) == 0) return visit(n == 0 ? &undefined : NULL, ctx);
    yyjson_arr_foreach(v, i, max, e) {
        if (n == 0) visit(e, ctx);
        else if (!yyjson_is_obj(e)) visit(NULL, ctx);
        else sort_candidates(e, parts, n, visit, ctx);
    }
    return false;
}

/* ---- matching ---- */

static bool holds(mp_query_op op, int order) {
    switch (op) {
    case MP_QUERY_GT: return order > 0;
    case MP_QUERY_GTE: return order >= 0;
    case MP_QUERY_LT: return order < 0;
    case MP_QUERY_LTE: return order <= 0;
    default: return order == 0;
    }
}

static bool satisfies(yyjson_val *v, void *ctx) {
    const mp_query_condition *c = ctx;
    mp_rank rank = rank_of(v);
    for (size_t i = 0; i < c->reading_count; i++)
        if (c->readings[i].rank == rank && holds(c->op, order(v, &c->readings[i]))) return true;
    return false;
}

static bool id_satisfies(mp_slice id, const mp_query_condition *c) {
    for (size_t i = 0; i < c->reading_count; i++)
        if (c->readings[i].rank == MP_RANK_STRING && holds(c->op, mp_slice_order(id, c->readings[i].text))) return true;
    return false;
}

static bool contains(yyjson_val *v, void *ctx) {
    const mp_slice *term = ctx;
    return yyjson_is_str(v) && mp_fold_has(yyjson_get_str(v), yyjson_get_len(v), term->data, term->len);
}

static bool matches(const mp_query *q, mp_slice id, yyjson_val *root) {
    for (size_t i = 0; i < q->condition_count; i++) {
        mp_query_condition c = q->conditions[i];
        bool any = c.path.is_id ? id_satisfies(id, &c) : candidates(root, c.path.parts, c.path.part_count, satisfies, &c);
        if (any == (c.op == MP_QUERY_NONE_OF)) return false;
    }
    for (size_t t = 0; t < q->term_count; t++) {
        mp_slice term = q->terms[t];
        bool found = false;
        for (size_t f = 0; f < q->search_in_count && !found; f++)
            found = candidates(root, q->search_in[f].parts, q->search_in[f].part_count, contains, &term);
        if (!found) return false;
    }
    return true;
}

mp_matched mp_match(const mp_query *q, mp_slice id, mp_slice text) {
    yyjson_doc *doc;
    yyjson_val *root;
    mp_matched parsed = parse(text, &doc, &root);
    if (parsed != MP_MATCH_YES) return parsed;
    bool yes = matches(q, id, root);
    yyjson_doc_free(doc);
    return yes ? MP_MATCH_YES : MP_MATCH_NO;
}

/* ---- sort keys ---- */

static void put_byte(mp_buf *out, unsigned byte) {
    char c = (char)byte;
    mp_buf_add(out, &c, 1);
}

static void put_u64(mp_buf *out, uint64_t n) {
    for (int shift = 56; shift >= 0; shift -= 8) put_byte(out, (unsigned)(n >> shift) & 0xff);
}

static void put_number(mp_buf *out, number n) {
    uint64_t bits;
    memcpy(&bits, &n.near, sizeof bits);
    put_u64(out, bits >> 63 ? ~bits : bits | (uint64_t)1 << 63); /* so negative ones sort first, the larger the earlier */
    put_byte(out, (unsigned)(n.rest + 32768) >> 8);
    put_byte(out, (unsigned)(n.rest + 32768) & 0xff);
}

static void put_text(mp_buf *out, mp_slice text) {
    mp_buf_add(out, text.data, text.len);
    put_byte(out, 0); /* no text holds U+0000 */
}

static void put_value(mp_buf *out, yyjson_val *v, int depth);

/* Objects member by member: type, name, value; arrays are objects whose names are alike. The shorter comes first. */
static void put_members(mp_buf *out, yyjson_val *v, int depth) {
    size_t i, max;
    yyjson_val *name, *e;
    if (depth < DEPTH_MOST && yyjson_is_arr(v)) {
        yyjson_arr_foreach(v, i, max, e) {
            put_byte(out, (unsigned)rank_of(e) + 1);
            put_value(out, e, depth + 1);
        }
    } else if (depth < DEPTH_MOST) {
        yyjson_obj_foreach(v, i, max, name, e) {
            put_byte(out, (unsigned)rank_of(e) + 1);
            put_text(out, text_of(name));
            put_value(out, e, depth + 1);
        }
    }
    put_byte(out, 0);
}

static void put_value(mp_buf *out, yyjson_val *v, int depth) {
    switch (rank_of(v)) {
    case MP_RANK_NUMBER: put_number(out, number_of(v)); break;
    case MP_RANK_STRING: put_text(out, text_of(v)); break;
    case MP_RANK_OID: put_text(out, text_of(wrapped(v, "$oid"))); break;
    case MP_RANK_BOOL: put_byte(out, yyjson_get_bool(v)); break;
    case MP_RANK_DATE: put_u64(out, (uint64_t)date_of(v) + ((uint64_t)1 << 63)); break;
    case MP_RANK_OBJECT:
    case MP_RANK_ARRAY: put_members(out, v, depth); break;
    default: break;
    }
}

/* The smallest or largest key that was seen. */
typedef struct extreme {
    mp_buf *best, *next;
    bool any, largest;
} extreme;

static int order_bytes(const mp_buf *a, const mp_buf *b) {
    return mp_slice_order((mp_slice){a->data, a->len}, (mp_slice){b->data, b->len});
}

static bool consider(yyjson_val *v, void *ctx) {
    extreme *x = ctx;
    mp_buf_reset(x->next);
    put_byte(x->next, v == &undefined ? MP_RANK_UNDEFINED : (unsigned)rank_of(v));
    if (v != &undefined) put_value(x->next, v, 0);
    if (!x->any || (x->largest ? order_bytes(x->next, x->best) > 0 : order_bytes(x->next, x->best) < 0)) {
        mp_buf *swap = x->best;
        x->best = x->next;
        x->next = swap;
    }
    x->any = true;
    return false;
}

/* Is the field an array, or reached through one? */
static bool is_array(yyjson_val *v, const mp_query_path *path) {
    for (size_t i = 0; i < path->part_count; i++) {
        if (yyjson_is_arr(v)) return true;
        v = yyjson_is_obj(v) ? member(v, path->parts[i]) : NULL;
        if (!v) return false;
    }
    return yyjson_is_arr(v);
}

static void put_key(mp_buf *out, const mp_buf *key, bool descending) {
    for (size_t i = 0; i < key->len; i++) put_byte(out, (unsigned char)key->data[i] ^ (descending ? 0xff : 0));
}

mp_matched mp_match_sort_key(const mp_query *q, mp_slice id, mp_slice text, mp_buf *out) {
    yyjson_doc *doc;
    yyjson_val *root;
    mp_matched state = parse(text, &doc, &root);
    if (state != MP_MATCH_YES) return state;
    mp_buf one, two;
    mp_buf_init(&one);
    mp_buf_init(&two);
    size_t arrays = 0;
    for (size_t i = 0; i < q->sort_count; i++) {
        const mp_query_sort *s = &q->sort[i];
        mp_buf_reset(&one);
        mp_buf_reset(&two);
        extreme x = {.best = &one, .next = &two, .largest = s->descending};
        if (s->path.is_id) {
            put_text(x.best, id);
        } else {
            arrays += is_array(root, &s->path);
            sort_candidates(root, s->path.parts, s->path.part_count, consider, &x);
        }
        put_key(out, x.best, s->descending);
    }
    if (one.failed || two.failed || out->failed) state = MP_MATCH_NOMEM;
    else if (arrays > 1) state = MP_MATCH_SORT_ARRAYS;
    mp_buf_free(&one);
    mp_buf_free(&two);
    yyjson_doc_free(doc);
    return state;
}

/* ---- projection ---- */

static bool put_json(mp_buf *out, yyjson_val *v) {
    size_t len;
    char *json = yyjson_val_write(v, 0, &len);
    if (!json) return false;
    mp_buf_add(out, json, len);
    free(json);
    return true;
}

/* What the fields say of member `name` at this depth: 0 nothing, 1 something below it, 2 all of it. */
static int wanted(const mp_query *q, const mp_slice *trail, size_t depth, mp_slice name) {
    int answer = 0;
    for (size_t f = 0; f < q->field_count; f++) {
        const mp_query_path *p = &q->fields[f];
        bool along = !p->is_id && p->part_count > depth && mp_slice_is(p->parts[depth], name);
        for (size_t i = 0; along && i < depth; i++) along = mp_slice_is(p->parts[i], trail[i]);
        if (along && p->part_count == depth + 1) return 2;
        if (along) answer = 1;
    }
    return answer;
}

/* Appends `v` as far as the fields below `trail` show it. False: nothing of it is shown, or no memory (out->failed). */
static bool project(const mp_query *q, yyjson_val *v, mp_slice *trail, size_t depth, mp_buf *out, bool first) {
    size_t i, max;
    yyjson_val *name, *e;
    if (yyjson_is_arr(v)) {
        bool any = false;
        mp_buf_text(out, "[");
        yyjson_arr_foreach(v, i, max, e) {
            if (!yyjson_is_obj(e) && !yyjson_is_arr(e)) continue;
            if (any) mp_buf_text(out, ",");
            project(q, e, trail, depth, out, true);
            any = true;
        }
        mp_buf_text(out, "]");
        return true;
    }
    if (!yyjson_is_obj(v)) return false;
    if (first) mp_buf_text(out, "{");
    bool any = !first;
    yyjson_obj_foreach(v, i, max, name, e) {
        mp_slice key = text_of(name);
        int how = wanted(q, trail, depth, key);
        bool scalar = !yyjson_is_obj(e) && !yyjson_is_arr(e);
        if (how == 0 || (how == 1 && scalar)) continue;
        if (any) mp_buf_text(out, ",");
        any = true;
        mp_buf_json(out, key.data, key.len);
        mp_buf_text(out, ":");
        trail[depth] = key;
        if (how == 2) out->failed |= !put_json(out, e);
        else project(q, e, trail, depth + 1, out, true);
    }
    mp_buf_text(out, "}");
    return true;
}

mp_matched mp_match_project(const mp_query *q, mp_slice id, mp_slice text, mp_buf *out) {
    yyjson_doc *doc;
    yyjson_val *root;
    mp_matched state = parse(text, &doc, &root);
    if (state != MP_MATCH_YES) return state;
    mp_slice trail[MP_QUERY_PARTS_MAX];
    mp_buf_text(out, "{\"id\":");
    mp_buf_json(out, id.data, id.len);
    project(q, root, trail, 0, out, false);
    yyjson_doc_free(doc);
    return out->failed ? MP_MATCH_NOMEM : MP_MATCH_YES;
}
