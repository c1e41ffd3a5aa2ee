#include "model/match.h"

#include <stdlib.h>
#include <string.h>

#include <yyjson.h>

#include "model/fold.h"

/* What lies deeper is neither sorted by nor shown. No document of ours does (MP_DOCUMENT_DEPTH), and SQLite's own JSON
 * functions take no more either. */
enum { DEPTH_MOST = 1000 };

static mp_matched parse(mp_slice doc, yyjson_read_flag flags, yyjson_doc **out, yyjson_val **root) {
    yyjson_read_err why;
    *out = yyjson_read_opts((char *)doc.data, doc.len, flags, NULL, &why); /* without INSITU the text is only read */
    if (!*out) return why.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION ? MP_MATCH_NOMEM : MP_MATCH_DAMAGED;
    *root = yyjson_doc_get_root(*out);
    if (yyjson_is_obj(*root)) return MP_MATCH_YES;
    yyjson_doc_free(*out);
    return MP_MATCH_DAMAGED;
}

/* ---- values and their ranks ---- */

static yyjson_val *wrapped(yyjson_val *v, const char *name, size_t len) {
    yyjson_val *inner = yyjson_obj_getn(v, name, len);
    return inner && yyjson_is_str(inner) ? inner : NULL;
}

static yyjson_val *oid_text(yyjson_val *v) { return wrapped(v, "$oid", 4); }

static yyjson_val *date_text(yyjson_val *v) {
    yyjson_val *date = yyjson_obj_getn(v, "$date", 5);
    return date && yyjson_is_obj(date) ? wrapped(date, "$numberLong", 11) : NULL;
}

/* NULL stands for a missing value, which is null. */
static mp_rank rank_of(yyjson_val *v) {
    switch (yyjson_get_type(v)) {
    case YYJSON_TYPE_BOOL: return MP_RANK_BOOL;
    case YYJSON_TYPE_NUM: return MP_RANK_NUMBER;
    case YYJSON_TYPE_STR: return MP_RANK_STRING;
    case YYJSON_TYPE_ARR: return MP_RANK_ARRAY;
    case YYJSON_TYPE_OBJ: return date_text(v) ? MP_RANK_DATE : oid_text(v) ? MP_RANK_OID : MP_RANK_OBJECT;
    default: return MP_RANK_NULL;
    }
}

/* An object with members: dates and ObjectIds are scalars, however they are written. */
static bool is_object(yyjson_val *v) { return yyjson_is_obj(v) && rank_of(v) == MP_RANK_OBJECT; }

/* What stands there, or NULL. The document itself is an object whatever it holds. */
static yyjson_val *top_member(yyjson_val *root, mp_slice name) { return yyjson_obj_getn(root, name.data, name.len); }
static yyjson_val *member(yyjson_val *v, mp_slice name) { return is_object(v) ? top_member(v, name) : NULL; }

/* A number is its nearest double and what that lacks: two numbers compare exactly by the one, then the other. */
typedef struct number {
    double near;
    int rest;
} number;

static number of_integer(int64_t n) {
    double near = (double)n;
    return (number){near, (int)((__int128)n - (__int128)near)};
}

static number of_real(double x) { return (number){x == 0 ? 0 : x, 0}; } /* -0 is 0 */

static number number_of(yyjson_val *v) {
    if (yyjson_is_sint(v)) return of_integer(yyjson_get_sint(v));
    if (!yyjson_is_uint(v)) return of_real(yyjson_get_real(v));
    uint64_t u = yyjson_get_uint(v);
    return u <= INT64_MAX ? of_integer((int64_t)u) : of_real((double)u);
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
    case MP_RANK_OID: return mp_slice_order(text_of(oid_text(v)), r->text);
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
        yyjson_val *below = member(v, parts[0]);
        return below ? candidates(below, parts + 1, n - 1, visit, ctx) : visit(NULL, ctx);
    }
    yyjson_arr_foreach(v, i, max, e) {
        if (n == 0 ? visit(e, ctx) : is_object(e) && candidates(e, parts, n, visit, ctx)) return true;
    }
    return false;
}

static bool field_candidates(yyjson_val *root, const mp_query_path *path, visitor visit, void *ctx) {
    yyjson_val *v = top_member(root, path->parts[0]);
    return v ? candidates(v, path->parts + 1, path->part_count - 1, visit, ctx) : visit(NULL, ctx);
}

static yyjson_val undefined; /* an empty array, as a sort sees it: its address says so */

static void sort_candidates(yyjson_val *v, const mp_slice *parts, size_t n, visitor visit, void *ctx) {
    size_t i, max;
    yyjson_val *e;
    if (!yyjson_is_arr(v)) {
        yyjson_val *below = n > 0 ? member(v, parts[0]) : NULL;
        if (below) sort_candidates(below, parts + 1, n - 1, visit, ctx);
        else visit(n == 0 ? v : NULL, ctx);
        return;
    }
    if (yyjson_arr_size(v) == 0) visit(n == 0 ? &undefined : NULL, ctx);
    yyjson_arr_foreach(v, i, max, e) {
        if (n == 0) visit(e, ctx);
        else if (!is_object(e)) visit(NULL, ctx);
        else sort_candidates(e, parts, n, visit, ctx);
    }
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
        bool any = c.path.is_id ? id_satisfies(id, &c) : field_candidates(root, &c.path, satisfies, &c);
        if (any == (c.op == MP_QUERY_NONE_OF)) return false;
    }
    for (size_t t = 0; t < q->term_count; t++) {
        mp_slice term = q->terms[t];
        bool found = false;
        for (size_t f = 0; f < q->search_in_count && !found; f++)
            found = field_candidates(root, &q->search_in[f], contains, &term);
        if (!found) return false;
    }
    return true;
}

mp_matched mp_match(const mp_query *q, mp_slice id, mp_slice text) {
    yyjson_doc *doc;
    yyjson_val *root;
    mp_matched parsed = parse(text, 0, &doc, &root);
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

/* The highest byte first. */
static void put_u64(mp_buf *out, uint64_t n) {
    char bytes[8];
    for (int i = 0; i < 8; i++) bytes[i] = (char)(n >> (56 - 8 * i));
    mp_buf_add(out, bytes, sizeof bytes);
}

static void put_number(mp_buf *out, number n) {
    uint64_t bits;
    memcpy(&bits, &n.near, sizeof bits);
    put_u64(out,
            bits >> 63 ? ~bits : bits | (uint64_t)1 << 63); /* so negative ones come first, the larger the earlier */
    put_byte(out, (unsigned)(n.rest + 0x8000) >> 8);        /* the rest is at most 512 either way */
    put_byte(out, (unsigned)(n.rest + 0x8000) & 0xff);
}

static void put_text(mp_buf *out, mp_slice text) {
    mp_buf_add(out, text.data, text.len);
    put_byte(out, 0); /* no text holds U+0000, so a text sorts before those that begin with it */
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
    case MP_RANK_OID: put_text(out, text_of(oid_text(v))); break;
    case MP_RANK_BOOL: put_byte(out, yyjson_get_bool(v)); break;
    case MP_RANK_DATE: put_u64(out, (uint64_t)date_of(v) ^ (uint64_t)1 << 63); break;
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

static bool consider(yyjson_val *v, void *ctx) {
    extreme *x = ctx;
    if (x->best->failed || x->next->failed) return true;
    mp_buf_reset(x->next);
    if (v == &undefined) put_byte(x->next, MP_RANK_UNDEFINED);
    else {
        put_byte(x->next, (unsigned)rank_of(v));
        put_value(x->next, v, 0);
    }
    int way =
        x->any ? mp_slice_order((mp_slice){x->next->data, x->next->len}, (mp_slice){x->best->data, x->best->len}) : 0;
    if (!x->any || (x->largest ? way > 0 : way < 0)) {
        mp_buf *swap = x->best;
        x->best = x->next;
        x->next = swap;
    }
    x->any = true;
    return false;
}

/* Is the field an array, or reached through one? */
static bool is_array(yyjson_val *root, const mp_query_path *path) {
    yyjson_val *v = top_member(root, path->parts[0]);
    for (size_t i = 1; i < path->part_count && v && !yyjson_is_arr(v); i++) v = member(v, path->parts[i]);
    return yyjson_is_arr(v);
}

static void put_key(mp_buf *out, mp_buf *key, bool descending) {
    for (size_t i = 0; descending && i < key->len; i++) key->data[i] = (char)~key->data[i];
    mp_buf_add(out, key->data, key->len);
}

mp_matched mp_match_sort_key(const mp_query *q, mp_slice id, mp_slice text, mp_buf *out) {
    yyjson_doc *doc;
    yyjson_val *root;
    mp_matched state = parse(text, 0, &doc, &root);
    if (state != MP_MATCH_YES) return state;
    mp_buf one, two;
    mp_buf_init(&one);
    mp_buf_init(&two);
    size_t arrays = 0;
    for (size_t i = 0; i < q->sort_count && !one.failed && !two.failed; i++) {
        const mp_query_sort *s = &q->sort[i];
        extreme x = {.best = &one, .next = &two, .largest = s->descending};
        mp_buf_reset(&one);
        mp_buf_reset(&two);
        if (s->path.is_id) put_text(x.best, id);
        else {
            yyjson_val *v = top_member(root, s->path.parts[0]);
            arrays += is_array(root, &s->path);
            sort_candidates(v, s->path.parts + 1, s->path.part_count - 1, consider, &x);
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

typedef struct projection {
    const mp_query *query;
    mp_buf *out;
    mp_slice trail[MP_QUERY_PARTS_MAX]; /* the members that lead to where we are */
} projection;

static void put_json(mp_buf *out, yyjson_val *v) {
    size_t len;
    char *json = yyjson_val_write(v, 0, &len);
    if (json) mp_buf_add(out, json, len);
    else out->failed = true;
    free(json);
}

/* What the fields say of member `name` at this depth: 0 nothing, 1 something below it, 2 all of it. */
static int wanted(const projection *p, size_t depth, mp_slice name) {
    int answer = 0;
    for (size_t f = 0; f < p->query->field_count; f++) {
        const mp_query_path *path = &p->query->fields[f];
        bool along = !path->is_id && path->part_count > depth && mp_slice_is(path->parts[depth], name);
        for (size_t i = 0; along && i < depth; i++) along = mp_slice_is(path->parts[i], p->trail[i]);
        if (along && path->part_count == depth + 1) return 2;
        if (along) answer = 1;
    }
    return answer;
}

static void project(projection *p, yyjson_val *v, size_t depth, int nest);

static void project_members(projection *p, yyjson_val *object, size_t depth, int nest, bool any) {
    size_t i, max;
    yyjson_val *name, *e;
    yyjson_obj_foreach(object, i, max, name, e) {
        mp_slice key = text_of(name);
        int how = wanted(p, depth, key);
        if (how == 0 || (how == 1 && !yyjson_is_arr(e) && !is_object(e))) continue;
        if (any) mp_buf_text(p->out, ",");
        any = true;
        mp_buf_json(p->out, key.data, key.len);
        mp_buf_text(p->out, ":");
        p->trail[depth] = key;
        if (how == 2) put_json(p->out, e);
        else project(p, e, depth + 1, nest + 1);
    }
}

/* An object or array, as far as the fields below the trail show it. */
static void project(projection *p, yyjson_val *v, size_t depth, int nest) {
    size_t i, max;
    yyjson_val *e;
    bool any = false;
    if (!yyjson_is_arr(v)) {
        mp_buf_text(p->out, "{");
        project_members(p, v, depth, nest, false);
        mp_buf_text(p->out, "}");
        return;
    }
    mp_buf_text(p->out, "[");
    yyjson_arr_foreach(v, i, max, e) {
        if (nest >= DEPTH_MOST || (!yyjson_is_arr(e) && !is_object(e))) continue;
        if (any) mp_buf_text(p->out, ",");
        any = true;
        project(p, e, depth, nest + 1);
    }
    mp_buf_text(p->out, "]");
}

mp_matched mp_match_project(const mp_query *q, mp_slice id, mp_slice text, mp_buf *out) {
    yyjson_doc *doc;
    yyjson_val *root;
    projection p = {.query = q, .out = out};
    mp_matched state = parse(text, YYJSON_READ_NUMBER_AS_RAW, &doc, &root); /* shown as they are spelled */
    if (state != MP_MATCH_YES) return state;
    mp_buf_text(out, "{\"id\":");
    mp_buf_json(out, id.data, id.len);
    project_members(&p, root, 0, 0, true);
    mp_buf_text(out, "}");
    yyjson_doc_free(doc);
    return out->failed ? MP_MATCH_NOMEM : MP_MATCH_YES;
}
