/* What the stores are tested with alike: the vectors of tests/spec/find.json, and queries by the thousand against
 * model/match alone. Included after sqlite_store.h or mongodb_store.h. */
#ifndef FIND_CASES_H
#define FIND_CASES_H

#include "find_data.h"

#include "base/quote.h"
#include "model/match.h"

static const mp_query_bounds *free_bounds(void) {
    static mp_query_bounds *bounds;
    if (bounds == NULL) bounds = bounds_of(&(mp_query_options){.max_limit = "100000"});
    return bounds;
}

/* ---- what a store answers ---- */

typedef struct page {
    int code;
    char reason[32], error[400];
    mp_buf data; /* a JSON array */
    size_t count;
    int64_t total;
} page;

static void note(page *p, int code, pond_error *err) {
    p->code = code;
    const char *reason = pond_error_reason(err);
    snprintf(p->reason, sizeof p->reason, "%s", reason ? reason : "");
    snprintf(p->error, sizeof p->error, "%s", pond_error_message(err));
    pond_error_free(err);
}

static page find(mp_store *s, const char *collection, const mp_query *q) {
    page p = {0};
    pond_error *err = NULL;
    int code = s->vt->find(s, collection, q, &p.data, &p.count, &err);
    if (code == POND_OK) code = s->vt->count(s, collection, q, &p.total, &err);
    if (code != POND_OK) note(&p, code, err);
    return p;
}

static page find_text(mp_store *s, const char *collection, const char *text) {
    mp_query *q = taken_by(free_bounds(), text);
    page p = find(s, collection, q);
    mp_query_free(q);
    return p;
}

/* The ids of a page, joined by spaces. */
static void ids_of(const page *p, mp_buf *out) {
    yyjson_doc *json = yyjson_read(p->data.data, p->data.len, 0);
    if (json == NULL) fail_msg("not JSON: %s", p->data.data);
    yyjson_val *one;
    size_t i, max;
    mp_buf_text(out, "");
    yyjson_arr_foreach(yyjson_doc_get_root(json), i, max, one) {
        const char *id = yyjson_get_str(yyjson_obj_get(one, "id"));
        assert_non_null(id);
        mp_buf_text(out, i > 0 ? " " : "");
        mp_buf_text(out, id);
    }
    yyjson_doc_free(json);
}

static void finds(mp_store *s, const char *collection, const char *text, int64_t total, const char *ids) {
    page p = find_text(s, collection, text);
    if (p.code != POND_OK) fail_msg("%s: %s", text, p.error);
    mp_buf got;
    mp_buf_init(&got);
    ids_of(&p, &got);
    if (strcmp(got.data, ids) != 0 || p.total != total)
        fail_msg("%s: %s (%lld) instead of %s (%lld)", text, got.data, (long long)p.total, ids, (long long)total);
    mp_buf_free(&got);
    mp_buf_free(&p.data);
}

static void find_fails(mp_store *s, const char *collection, const char *text, int code, const char *says) {
    page p = find_text(s, collection, text);
    if (p.code != code || strstr(p.error, says) == NULL)
        fail_msg("%s: %d '%s' instead of %d '%s'", text, p.code, p.error, code, says);
    mp_buf_free(&p.data);
}

/* "index" of the plan: the name, or "". */
static const char *index_used(mp_store *s, const char *collection, const char *text) {
    static char name[400];
    mp_query *q = taken_by(free_bounds(), text);
    mp_buf json;
    mp_buf_init(&json);
    mp_buf_text(&json, "{");
    ok(s->vt->plan(s, collection, q, &json, e));
    mp_buf_text(&json, "}");
    yyjson_doc *doc = yyjson_read(json.data, json.len, 0);
    assert_non_null(doc);
    assert_non_null(yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "statement")));
    const char *index = yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "index"));
    snprintf(name, sizeof name, "%s", index ? index : "");
    yyjson_doc_free(doc);
    mp_buf_free(&json);
    mp_query_free(q);
    return name;
}

/* ---- the vectors ---- */

static mp_query *query_of(yyjson_val *in) {
    char *text = yyjson_is_str(in) ? strdup(yyjson_get_str(in)) : yyjson_val_write(in, 0, NULL);
    mp_query *q = taken_by(free_bounds(), text);
    free(text);
    return q;
}

static void check_data(yyjson_val *want, const page *p, const char *name) {
    /* Numbers as a document holds them: in the shortest spelling. */
    char *spelled = yyjson_val_write(want, 0, NULL);
    yyjson_doc *doc = yyjson_read(spelled, strlen(spelled), 0);
    char *text = yyjson_write(doc, 0, NULL);
    if (strcmp(text, p->data.data) != 0) fail_msg("%s: %s instead of %s", name, p->data.data, text);
    free(text);
    yyjson_doc_free(doc);
    free(spelled);
}

static void check_vector(mp_store *s, yyjson_val *vector, size_t at) {
    const char *collection = yyjson_get_str(yyjson_obj_get(vector, "collection"));
    mp_query *q = query_of(yyjson_obj_get(vector, "query"));
    yyjson_val *error = yyjson_obj_get(vector, "error"), *data = yyjson_obj_get(vector, "data"), *one;
    const char *name = mp_query_canonical(q, NULL);
    page p = find(s, collection, q);
    if (error) {
        assert_int_equal(p.code, POND_EQUERY);
        assert_string_equal(p.reason, yyjson_get_str(error));
    } else {
        mp_buf got, want;
        size_t i, max;
        if (p.code != POND_OK) fail_msg("%zu %s: %s", at, name, p.error);
        mp_buf_init(&got);
        mp_buf_init(&want);
        ids_of(&p, &got);
        mp_buf_text(&want, "");
        yyjson_arr_foreach(yyjson_obj_get(vector, "ids"), i, max, one) {
            mp_buf_text(&want, i > 0 ? " " : "");
            mp_buf_text(&want, yyjson_get_str(one));
        }
        if (strcmp(got.data, want.data) != 0) fail_msg("%zu %s:\n%s instead of\n%s", at, name, got.data, want.data);
        assert_int_equal(p.total, atoll(yyjson_get_raw(yyjson_obj_get(vector, "total"))));
        assert_int_equal(q->page, atoll(yyjson_get_raw(yyjson_obj_get(vector, "page"))));
        assert_int_equal((p.total + q->limit - 1) / q->limit, atoll(yyjson_get_raw(yyjson_obj_get(vector, "pages"))));
        if (data) check_data(data, &p, name);
        mp_buf_free(&got);
        mp_buf_free(&want);
    }
    mp_buf_free(&p.data);
    mp_query_free(q);
}

static void check_vectors(mp_store *s) {
    yyjson_doc *json = read_json(POND_TEST_ROOT "/tests/spec/find.json");
    yyjson_val *vector;
    size_t i, max;
    yyjson_arr_foreach(yyjson_obj_get(yyjson_doc_get_root(json), "vectors"), i, max, vector) check_vector(s, vector, i);
    assert_int_equal(max, 118);
    yyjson_doc_free(json);
}

static void declare_path(mp_store *s, const char *collection, const mp_query_path *path, bool descending) {
    const mp_query_sort field = {.path = *path, .descending = descending};
    ok(s->vt->index(s, collection, &field, e));
}

/* An index on everything that the vectors filter or sort by. */
static void declare_all(mp_store *s) {
    yyjson_doc *json = read_json(POND_TEST_ROOT "/tests/spec/find.json");
    yyjson_val *vector;
    size_t i, max;
    yyjson_arr_foreach(yyjson_obj_get(yyjson_doc_get_root(json), "vectors"), i, max, vector) {
        const char *collection = yyjson_get_str(yyjson_obj_get(vector, "collection"));
        mp_query *q = query_of(yyjson_obj_get(vector, "query"));
        for (size_t k = 0; k < q->condition_count; k++) declare_path(s, collection, &q->conditions[k].path, false);
        for (size_t k = 0; k < q->sort_count; k++) declare_path(s, collection, &q->sort[k].path, q->sort[k].descending);
        mp_query_free(q);
    }
    yyjson_doc_free(json);
}

/* ---- queries by the thousand ---- */

static uint64_t seed;

/* Under a sanitizer, which makes each several times as long. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { FEWER = 5 };
#else
enum { FEWER = 1 };
#endif

static uint32_t dice(uint32_t below) {
    seed += 0x9e3779b97f4a7c15u; /* splitmix64 */
    uint64_t x = seed;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((x ^ (x >> 31)) % below);
}

/* Scalars of all types, and operands that stand for one or several of them. */
static const char *const scalars[] = {
    "null",
    "true",
    "false",
    "0",
    "-0.0",
    "1",
    "2",
    "3",
    "10",
    "10.0",
    "10.5",
    "-3",
    "0.1",
    "0.30000000000000004",
    "1e300",
    "-1e300",
    "5e-324",
    "9007199254740991",
    "9007199254740992",
    "9007199254740993",
    "9.007199254740992e15",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "9.223372036854776e18",
    "9223372036854774784",
    "1e19",
    "\"\"",
    "\"0\"",
    "\"10\"",
    "\"10.0\"",
    "\"1e1\"",
    "\"null\"",
    "\"true\"",
    "\"red\"",
    "\"Red\"",
    "\"red shoes\"",
    "\"\u00e9\"",
    "\"\U0001d4b3\"",
    "\"\uffff\"",
    "\"2020-01-01\"",
    "\"2020-01-01T00:00:00Z\"",
    "\"2020-06-15T12:00:00+02:00\"",
    "\"507f1f77bcf86cd799439011\"",
    "\"507F1F77BCF86CD799439011\"",
    "\"it's\"",
    "\"$gt\"",
    "\"a,b\"",
    "\" a\"",
};
static const char *const stored_only[] = {
    "{\"$date\":{\"$numberLong\":\"1577836800000\"}}",
    "{\"$date\":{\"$numberLong\":\"0\"}}",
    "{\"$date\":{\"$numberLong\":\"-1\"}}",
    "{\"$oid\":\"507f1f77bcf86cd799439011\"}",
    "{\"$oid\":\"507f1f77bcf86cd799439012\"}",
};
static const char *const asked_only[] = {
    "{\"number\":10}",
    "{\"number\":\"1e1\"}",
    "{\"string\":\"10\"}",
    "{\"string\":\"red\"}",
    "{\"bool\":true}",
    "{\"date\":0}",
    "{\"date\":\"2020-01-01\"}",
    "{\"oid\":\"507f1f77bcf86cd799439011\"}",
    "\"1970-01-01\"",
    "\"4\"",
    "\"9007199254740992.0\"",
};
#define SOME(list) list[dice(sizeof list / sizeof list[0])]

static const char *const film_fields[] = {"Title",       "US Gross",         "Production Budget", "Release Date",
                                          "MPAA Rating", "Running Time min", "Distributor",       "Major Genre",
                                          "Director",    "IMDB Rating",      "IMDB Votes",        "missing",
                                          "id"};
static const char *const nasty_fields[] = {"x",         "s",        "a",       "a.b",  "a.b.c", "n",
                                           "two words", "limit",    "page.no", "page", "tags",  "where",
                                           "Größe",     "o'b`c;--", "missing", "id"};
static const char *const mixed_fields[] = {"p", "q", "P", "d.e", "d.f", "d", "id"};
static const char *const words[] = {"red", "love", "s", "the of", "SHOES", "e", "10", "\u00c9", "no such word"};

/* Fields that hold everything but lists and objects, so that an index may speak for each. */
static documents mixed(size_t count) {
    documents out = {.collection = "mixed", .all = calloc(count, sizeof(document))};
    char text[600], id[24];
    for (size_t i = 0; i < count; i++) {
        const char *v[5];
        for (size_t k = 0; k < 5; k++) v[k] = dice(5) == 0 ? SOME(stored_only) : SOME(scalars);
        char below[200], p[100] = "";
        if (dice(4) == 0) snprintf(below, sizeof below, "%s", dice(3) == 0 ? SOME(stored_only) : SOME(scalars));
        else snprintf(below, sizeof below, "{\"e\":%s,\"f\":%s}", v[2], v[3]);
        if (dice(10) > 0) snprintf(p, sizeof p, "\"p\":%s,", v[0]);
        snprintf(text, sizeof text, "{%s\"q\":%s,\"P\":%s,\"d\":%s}", p, dice(2) ? v[1] : "7", v[4], below);
        yyjson_doc *doc = yyjson_read(text, strlen(text), YYJSON_READ_NUMBER_AS_RAW);
        if (doc == NULL) fail_msg("%s", text);
        snprintf(id, sizeof id, "m%zu", i);
        add_document(&out, id, yyjson_doc_get_root(doc));
        yyjson_doc_free(doc);
    }
    return out;
}

typedef struct place {
    const documents *docs;
    const char *const *fields;
    size_t field_count;
} place;

/* A value that some document has there, or one of all types. */
static void add_operand(mp_buf *to, const place *at, const char *field) {
    const document *d = &at->docs->all[dice((uint32_t)at->docs->count)];
    if (strcmp(field, "id") == 0) {
        mp_buf_printf(to, "\"%s\"", d->id);
        return;
    }
    if (dice(3) == 0) {
        mp_buf_text(to, dice(3) == 0 ? SOME(asked_only) : SOME(scalars));
        return;
    }
    yyjson_doc *doc = yyjson_read(d->doc, d->len, YYJSON_READ_NUMBER_AS_RAW);
    yyjson_val *v = yyjson_obj_get(yyjson_doc_get_root(doc), field);
    char *text = v && !yyjson_is_ctn(v) ? yyjson_val_write(v, 0, NULL) : NULL;
    mp_buf_text(to, text ? text : SOME(scalars));
    free(text);
    yyjson_doc_free(doc);
}

static void add_conditions(mp_buf *to, const place *at) {
    static const char *const ops[] = {"eq", "eq", "eq", "in", "in", "ne", "gt", "gte", "lt", "lte", "gte"};
    uint32_t count = dice(4);
    mp_buf_text(to, "\"where\":{");
    for (uint32_t i = 0; i < count; i++) {
        const char *field = at->fields[dice((uint32_t)at->field_count)], *op = SOME(ops);
        bool list = strcmp(op, "in") == 0 || (strcmp(op, "ne") == 0 && dice(3) == 0);
        mp_buf_printf(to, "%s\"%s[%s]\":%s", i > 0 ? "," : "", field, op, list ? "[" : "");
        for (uint32_t k = 0, n = list ? dice(5) : 1; k < n; k++) {
            mp_buf_text(to, k > 0 ? "," : "");
            add_operand(to, at, field);
        }
        mp_buf_text(to, list ? "]" : "");
    }
    mp_buf_text(to, "}");
}

static void add_names(mp_buf *to, const place *at, const char *what, uint32_t count, bool ways) {
    if (count == 0) return;
    mp_buf_printf(to, ",\"%s\":\"", what);
    for (uint32_t i = 0; i < count; i++)
        mp_buf_printf(to, "%s%s%s", i > 0 ? "," : "", ways && dice(2) ? "-" : "",
                      at->fields[dice((uint32_t)at->field_count - (strcmp(what, "search_in") == 0))]);
    mp_buf_text(to, "\"");
}

static mp_query *some_query(const place *at) {
    mp_buf text;
    mp_query *q;
    pond_error *err;
    do { /* what is refused (a range of null, two values for one operator) is another test's business */
        mp_buf_init(&text);
        mp_buf_text(&text, "{");
        add_conditions(&text, at);
        add_names(&text, at, "sort", dice(4), true);
        if (dice(4) == 0) add_names(&text, at, "fields", 1 + dice(3), false);
        if (dice(6) == 0) {
            mp_buf_printf(&text, ",\"search\":\"%s\"", SOME(words));
            add_names(&text, at, "search_in", 1 + dice(2), false);
        }
        mp_buf_printf(&text, ",\"limit\":%u,\"page\":%u}", 1 + dice(30), 1 + dice(3));
        int rc = parse(&q, free_bounds(), true, text.data, text.len, &err);
        pond_error_free(err);
        mp_buf_free(&text);
        if (rc == POND_OK) return q;
    } while (true);
}

/* What model/match says of all the documents, with nothing of SQL. */
typedef struct found {
    const document *d;
    mp_buf key;
} found;

static int by_key(const void *a, const void *b) {
    const mp_buf *x = &((const found *)a)->key, *y = &((const found *)b)->key;
    return mp_slice_order((mp_slice){x->data, x->len}, (mp_slice){y->data, y->len});
}

static page expected(const documents *docs, const mp_query *q) {
    page p = {0};
    found *all = calloc(docs->count, sizeof *all);
    size_t n = 0;
    for (size_t i = 0; i < docs->count; i++) {
        const document *d = &docs->all[i];
        const mp_slice id = {d->id, strlen(d->id)}, doc = {d->doc, d->len};
        mp_matched m = mp_match(q, id, doc);
        assert_true(m == MP_MATCH_YES || m == MP_MATCH_NO);
        if (m == MP_MATCH_NO) continue;
        all[n].d = d;
        m = mp_match_sort_key(q, id, doc, &all[n++].key);
        if (m == MP_MATCH_SORT_ARRAYS) p.code = POND_EQUERY;
        else assert_int_equal(m, MP_MATCH_YES);
    }
    qsort(all, n, sizeof *all, by_key);
    p.total = (int64_t)n;
    mp_buf_text(&p.data, "[");
    for (size_t i = (size_t)q->skip; i < n && i < (size_t)(q->skip + q->limit); i++) {
        const mp_slice id = {all[i].d->id, strlen(all[i].d->id)}, doc = {all[i].d->doc, all[i].d->len};
        if (i > (size_t)q->skip) mp_buf_text(&p.data, ",");
        if (q->field_count) assert_int_equal(mp_match_project(q, id, doc, &p.data), MP_MATCH_YES);
        else mp_buf_printf(&p.data, "{\"id\":\"%s\"%s%s", all[i].d->id, doc.len > 2 ? "," : "", doc.data + 1);
    }
    mp_buf_text(&p.data, "]");
    for (size_t i = 0; i < n; i++) mp_buf_free(&all[i].key);
    free(all);
    return p;
}

static size_t same_bytes(const char *a, const char *b) {
    size_t n = 0;
    while (a[n] != 0 && a[n] == b[n]) n++;
    return n;
}

static void compare(const place *at, mp_store *s, const mp_query *q, const page *want, const char *how) {
    page got = find(s, at->docs->collection, q);
    const char *name = mp_query_canonical(q, NULL);
    if (got.code != want->code) fail_msg("%s %s: %d %s instead of %d", how, name, got.code, got.error, want->code);
    if (got.code == POND_OK) {
        size_t same = same_bytes(got.data.data, want->data.data), from = same > 200 ? same - 200 : 0;
        if (strcmp(got.data.data, want->data.data) != 0)
            fail_msg("%s %s, at byte %zu:\n%.400s instead of\n%.400s", how, name, same, got.data.data + from,
                     want->data.data + from);
        if (got.total != want->total)
            fail_msg("%s %s: %lld instead of %lld", how, name, (long long)got.total, (long long)want->total);
    } else assert_string_equal(got.reason, "sort_arrays");
    mp_buf_free(&got.data);
}

static void some_queries(const place *at, mp_store *s, size_t count, const char *how) {
    size_t full = 0;
    for (size_t i = 0; i < count; i++) {
        mp_query *q = some_query(at);
        page want = expected(at->docs, q);
        compare(at, s, q, &want, how);
        full += want.total > 0;
        mp_buf_free(&want.data);
        mp_query_free(q);
    }
    assert_true(full > count / 4); /* they do find something */
}

#define PLACE(docs, names)                                                                                             \
    { docs, names, sizeof names / sizeof names[0] }

#endif
