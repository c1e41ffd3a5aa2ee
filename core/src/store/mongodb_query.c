#include "store/mongodb_query.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "model/fold.h"

const char *mp_mongodb_field(const mp_query_path *path) { return path->is_id ? "_id" : path->name.data; }

/* An array being written: what comes next has the next index. */
typedef struct list {
    bson_t bson;
    uint32_t next;
    char room[16];
} list;

static const char *next_key(list *l) {
    const char *key;
    bson_uint32_to_string(l->next++, &key, l->room, sizeof l->room);
    return key;
}

/* ---- conditions ---- */

static bool put_reading(bson_t *to, const char *key, const mp_query_reading *r) {
    bson_oid_t oid;
    switch (r->rank) {
    case MP_RANK_NULL: return bson_append_null(to, key, -1);
    case MP_RANK_NUMBER:
        return r->is_real ? bson_append_double(to, key, -1, r->real) : bson_append_int64(to, key, -1, r->integer);
    case MP_RANK_STRING: return bson_append_utf8(to, key, -1, r->text.data, (int)r->text.len);
    case MP_RANK_OID: bson_oid_init_from_string(&oid, r->text.data); return bson_append_oid(to, key, -1, &oid);
    case MP_RANK_BOOL: return bson_append_bool(to, key, -1, r->integer != 0);
    case MP_RANK_DATE: return bson_append_date_time(to, key, -1, r->integer);
    default: return false; /* no operand is of another type */
    }
}

/* {f: {$in: [readings]}}, or $nin */
static bool put_membership(list *all, const mp_query_condition *c) {
    bson_t condition, operators;
    list values = {.next = 0};
    bool ok = bson_append_document_begin(&all->bson, next_key(all), -1, &condition);
    if (!ok) return false;
    ok = bson_append_document_begin(&condition, mp_mongodb_field(&c->path), -1, &operators);
    if (ok) {
        ok = bson_append_array_begin(&operators, c->op == MP_QUERY_ANY_OF ? "$in" : "$nin", -1, &values.bson);
        if (ok) {
            for (size_t i = 0; i < c->reading_count && ok; i++)
                ok = put_reading(&values.bson, next_key(&values), &c->readings[i]);
            ok = bson_append_array_end(&operators, &values.bson) && ok;
        }
        ok = bson_append_document_end(&condition, &operators) && ok;
    }
    return bson_append_document_end(&all->bson, &condition) && ok;
}

static const char *range_operator(mp_query_op op) {
    return op == MP_QUERY_GT ? "$gt" : op == MP_QUERY_GTE ? "$gte" : op == MP_QUERY_LT ? "$lt" : "$lte";
}

/* {f: {$gte: reading}} */
static bool put_range(list *all, const mp_query_condition *c, const mp_query_reading *r) {
    bson_t condition, operators;
    bool ok = bson_append_document_begin(&all->bson, next_key(all), -1, &condition);
    if (!ok) return false;
    ok = bson_append_document_begin(&condition, mp_mongodb_field(&c->path), -1, &operators);
    if (ok) {
        ok = put_reading(&operators, range_operator(c->op), r);
        ok = bson_append_document_end(&condition, &operators) && ok;
    }
    return bson_append_document_end(&all->bson, &condition) && ok;
}

/* {$or: [...]}, which `put` fills; `all` goes on after it. */
static bool put_or(list *all, const void *what, bool (*put)(list *any, const void *what, const void *with),
                   const void *with) {
    bson_t condition;
    list any = {.next = 0};
    if (!bson_append_document_begin(&all->bson, next_key(all), -1, &condition)) return false;
    bool ok = bson_append_array_begin(&condition, "$or", -1, &any.bson);
    if (ok) {
        ok = put(&any, what, with);
        ok = bson_append_array_end(&condition, &any.bson) && ok;
    }
    return bson_append_document_end(&all->bson, &condition) && ok;
}

static bool put_ranges(list *any, const void *what, const void *with) {
    const mp_query_condition *c = what;
    for (size_t i = 0; i < c->reading_count; i++)
        if (!put_range(any, c, &c->readings[i])) return false;
    return true;
}

static bool put_condition(list *all, const mp_query_condition *c) {
    if (c->op == MP_QUERY_ANY_OF || c->op == MP_QUERY_NONE_OF) return put_membership(all, c);
    return c->reading_count == 1 ? put_range(all, c, c->readings) : put_or(all, c, put_ranges, NULL);
}

/* ---- search ---- */

void mp_mongodb_regex(mp_buf *out, mp_slice term) {
    char utf8[4];
    uint32_t variants[MP_FOLD_VARIANTS_MAX];
    for (size_t at = 0; at < term.len;) {
        uint32_t code = mp_fold_next(term.data, term.len, &at);
        size_t n = mp_fold_variants(code, variants);
        if (n > 1) mp_buf_text(out, "[");
        else if (code < 0x80 && ispunct((int)code)) mp_buf_text(out, "\\");
        for (size_t i = 0; i < n; i++) mp_buf_add(out, utf8, mp_fold_put(utf8, variants[i]));
        if (n > 1) mp_buf_text(out, "]");
    }
}

/* {f: {$regex: "..."}} for each field */
static bool put_fields(list *any, const void *what, const void *with) {
    const mp_query *q = what;
    const mp_buf *regex = with;
    bool ok = true;
    for (size_t i = 0; i < q->search_in_count && ok; i++) {
        bson_t condition, operators;
        if (!bson_append_document_begin(&any->bson, next_key(any), -1, &condition)) return false;
        ok = bson_append_document_begin(&condition, mp_mongodb_field(&q->search_in[i]), -1, &operators);
        if (ok) {
            ok = bson_append_utf8(&operators, "$regex", -1, regex->data, (int)regex->len);
            ok = bson_append_document_end(&condition, &operators) && ok;
        }
        ok = bson_append_document_end(&any->bson, &condition) && ok;
    }
    return ok;
}

static bool put_terms(list *all, const mp_query *q) {
    mp_buf regex;
    bool ok = true;
    mp_buf_init(&regex);
    for (size_t i = 0; i < q->term_count && ok; i++) {
        mp_buf_reset(&regex);
        mp_mongodb_regex(&regex, q->terms[i]);
        ok = !regex.failed && put_or(all, q, put_fields, &regex);
    }
    mp_buf_free(&regex);
    return ok;
}

/* ---- the whole ---- */

static bool put_filter(list *all, const mp_query *q) {
    for (size_t i = 0; i < q->condition_count; i++)
        if (!put_condition(all, &q->conditions[i])) return false;
    return put_terms(all, q);
}

bool mp_mongodb_filter(bson_t *to, const mp_query *q) {
    list all = {.next = 0};
    if (q->condition_count == 0 && q->term_count == 0) return true;
    if (!bson_append_array_begin(to, "$and", -1, &all.bson)) return false;
    bool ok = put_filter(&all, q);
    return bson_append_array_end(to, &all.bson) && ok;
}

bool mp_mongodb_sort(bson_t *to, const mp_query *q) {
    for (size_t i = 0; i < q->sort_count; i++)
        if (!bson_append_int32(to, mp_mongodb_field(&q->sort[i].path), -1, q->sort[i].descending ? -1 : 1))
            return false;
    return true;
}

bool mp_mongodb_projection(bson_t *to, const mp_query *q) {
    for (size_t i = 0; i < q->field_count; i++)
        if (!bson_append_int32(to, mp_mongodb_field(&q->fields[i]), -1, 1)) return false;
    return true;
}

/* ---- arrays that two sort fields share ---- */

static size_t shared_parts(const mp_query_path *a, const mp_query_path *b) {
    size_t n = 0;
    if (a->is_id || b->is_id) return 0;
    while (n < a->part_count && n < b->part_count && mp_slice_is(a->parts[n], b->parts[n])) n++;
    return n;
}

/* {"a.b": {$type: "array"}} for the first `parts` of the path */
static bool put_is_array(list *any, const mp_query_path *path, size_t parts) {
    char name[MP_QUERY_NAME_MAX + 1];
    size_t len = 0;
    bson_t condition, operators;
    for (size_t i = 0; i < parts; i++) len += path->parts[i].len + (i > 0);
    memcpy(name, path->name.data, len); /* the parts with dots between them are the name */
    name[len] = 0;
    if (!bson_append_document_begin(&any->bson, next_key(any), -1, &condition)) return false;
    bool ok = bson_append_document_begin(&condition, name, -1, &operators);
    if (ok) {
        ok = bson_append_utf8(&operators, "$type", -1, "array", -1);
        ok = bson_append_document_end(&condition, &operators) && ok;
    }
    return bson_append_document_end(&any->bson, &condition) && ok;
}

/* For each field the most that it shares with one before it, and every shorter piece of that. */
static bool put_shared(list *any, const void *what, const void *with) {
    const mp_query *q = what;
    for (size_t i = 1; i < q->sort_count; i++) {
        size_t most = 0;
        for (size_t k = 0; k < i; k++) {
            size_t n = shared_parts(&q->sort[k].path, &q->sort[i].path);
            if (n > most) most = n;
        }
        for (size_t parts = 1; parts <= most; parts++)
            if (!put_is_array(any, &q->sort[i].path, parts)) return false;
    }
    return true;
}

bool mp_mongodb_shared_arrays(bson_t *to, const mp_query *q, bool *wanted) {
    list all = {.next = 0};
    *wanted = false;
    for (size_t i = 1; i < q->sort_count && !*wanted; i++)
        for (size_t k = 0; k < i && !*wanted; k++) *wanted = shared_parts(&q->sort[k].path, &q->sort[i].path) > 0;
    if (!*wanted) return true;
    if (!bson_append_array_begin(to, "$and", -1, &all.bson)) return false;
    bool ok = put_filter(&all, q) && put_or(&all, q, put_shared, NULL);
    return bson_append_array_end(to, &all.bson) && ok;
}
