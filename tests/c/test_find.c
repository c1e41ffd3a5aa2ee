/* Queries on the sqlite: store: the vectors of tests/spec/find.json without and with declared indexes, queries by the thousand
 * against model/match alone, and databases that somebody else has written. */
#include "find_data.h"

#include <pthread.h>
#include <stdatomic.h>

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
    int code = s->vt->find(s, collection, q, &p.data, &err);
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
    if (p.code != code || strstr(p.error, says) == NULL) fail_msg("%s: %d '%s' instead of %d '%s'", text, p.code, p.error, code, says);
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

static void fill_both(fixture *f) {
    documents many = films(1), few = nasty();
    fill(f, &many);
    fill(f, &few);
    documents_free(&many);
    documents_free(&few);
}

static void the_vectors_by_scan(void **state) {
    fixture *f = *state;
    fill_both(f);
    check_vectors(f->store);
    check_vectors(f->store); /* by statements that are prepared already */
}

static void the_vectors_by_index(void **state) {
    fixture *f = *state;
    fill_both(f);
    check_vectors(f->store);
    declare_all(f->store);
    check_vectors(f->store);
    sql(f, "ANALYZE"); /* then SQLite plans otherwise */
    check_vectors(f->store);
    assert_true(atoi(sql(f, "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'mp:%'")) > 20);
}

/* ---- queries by the thousand ---- */

static uint64_t seed;

static uint32_t dice(uint32_t below) {
    seed += 0x9e3779b97f4a7c15u; /* splitmix64 */
    uint64_t x = seed;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((x ^ (x >> 31)) % below);
}

/* Scalars of all types, and operands that stand for one or several of them. */
static const char *const scalars[] = {
    "null", "true", "false", "0", "-0.0", "1", "2", "3", "10", "10.0", "10.5", "-3", "0.1", "0.30000000000000004", "1e300", "-1e300",
    "5e-324", "9007199254740991", "9007199254740992", "9007199254740993", "9.007199254740992e15", "9223372036854775807",
    "9223372036854775808", "-9223372036854775808", "9.223372036854776e18", "9223372036854774784", "1e19",
    "\"\"", "\"0\"", "\"10\"", "\"10.0\"", "\"1e1\"", "\"null\"", "\"true\"", "\"red\"", "\"Red\"", "\"red shoes\"", "\"\u00e9\"",
    "\"\U0001d4b3\"", "\"\uffff\"", "\"2020-01-01\"", "\"2020-01-01T00:00:00Z\"", "\"2020-06-15T12:00:00+02:00\"",
    "\"507f1f77bcf86cd799439011\"", "\"507F1F77BCF86CD799439011\"", "\"it's\"", "\"$gt\"", "\"a,b\"", "\" a\"",
};
static const char *const stored_only[] = {
    "{\"$date\":{\"$numberLong\":\"1577836800000\"}}", "{\"$date\":{\"$numberLong\":\"0\"}}", "{\"$date\":{\"$numberLong\":\"-1\"}}",
    "{\"$oid\":\"507f1f77bcf86cd799439011\"}", "{\"$oid\":\"507f1f77bcf86cd799439012\"}",
};
static const char *const asked_only[] = {
    "{\"number\":10}", "{\"number\":\"1e1\"}", "{\"string\":\"10\"}", "{\"string\":\"red\"}", "{\"bool\":true}", "{\"date\":0}",
    "{\"date\":\"2020-01-01\"}", "{\"oid\":\"507f1f77bcf86cd799439011\"}", "\"1970-01-01\"", "\"4\"", "\"9007199254740992.0\"",
};
#define SOME(list) list[dice(sizeof list / sizeof list[0])]

static const char *const film_fields[] = {"Title", "US Gross", "Production Budget", "Release Date", "MPAA Rating", "Running Time min",
                                          "Distributor", "Major Genre", "Director", "IMDB Rating", "IMDB Votes", "missing", "id"};
static const char *const nasty_fields[] = {"x", "s", "a", "a.b", "a.b.c", "n", "two words", "limit", "page.no", "page", "tags",
                                           "where", "Größe", "o'b`c;--", "missing", "id"};
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

static void compare(const place *at, mp_store *s, const mp_query *q, const page *want, const char *how) {
    page got = find(s, at->docs->collection, q);
    const char *name = mp_query_canonical(q, NULL);
    if (got.code != want->code) fail_msg("%s %s: %d %s instead of %d", how, name, got.code, got.error, want->code);
    if (got.code == POND_OK) {
        if (strcmp(got.data.data, want->data.data) != 0)
            fail_msg("%s %s:\n%s instead of\n%s", how, name, got.data.data, want->data.data);
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

#define PLACE(docs, names) {docs, names, sizeof names / sizeof names[0]}

static void thousands_of_queries(void **state) {
    fixture *f = *state;
    const char *given = getenv("MILLPOND_TEST_SEED"), *rounds = getenv("MILLPOND_TEST_ROUNDS");
    size_t count = rounds ? strtoul(rounds, NULL, 10) : 1;
    seed = given ? strtoull(given, NULL, 10) : 20240601;
    documents many = films(1), few = nasty(), all = mixed(400);
    const place places[] = {PLACE(&many, film_fields), PLACE(&few, nasty_fields), PLACE(&all, mixed_fields)};
    const size_t counts[] = {100 * count, 400 * count, 400 * count};
    for (size_t i = 0; i < 3; i++) {
        fill(f, places[i].docs);
        some_queries(&places[i], f->store, counts[i], "scan");
        for (size_t k = 0; k < places[i].field_count; k++) {
            char name[80];
            snprintf(name, sizeof name, "-%s", places[i].fields[k]);
            if (dice(3) > 0) declare(f->store, places[i].docs->collection, name + 1);
            else declare(f->store, places[i].docs->collection, name);
        }
        some_queries(&places[i], f->store, counts[i], "index");
    }
    sql(f, "ANALYZE");
    for (size_t i = 0; i < 3; i++) some_queries(&places[i], f->store, counts[i], "index, analysed");
    /* A list comes to a field, and goes: then its index must hold its tongue, and may speak again. */
    assert_string_not_equal(index_used(f->store, "mixed", "q=7"), "");
    document *d = &all.all[7];
    char *before = d->doc;
    d->doc = strdup("{\"q\":[7,{\"z\":1}],\"p\":[],\"d\":[{\"e\":10},{\"e\":\"red\"}]}");
    d->len = strlen(d->doc);
    put(f->store, "mixed", d->id, d->doc);
    assert_string_equal(index_used(f->store, "mixed", "q=7"), "");
    some_queries(&places[2], f->store, counts[2], "index, not plain");
    free(d->doc);
    d->doc = before;
    d->len = strlen(before);
    put(f->store, "mixed", d->id, d->doc);
    assert_string_not_equal(index_used(f->store, "mixed", "q=7"), "");
    some_queries(&places[2], f->store, counts[2], "index, plain again");
    documents_free(&many);
    documents_free(&few);
    documents_free(&all);
}

/* ---- declared indexes ---- */

static void an_index_is_used_where_it_can_be(void **state) {
    fixture *f = *state;
    mp_store *s = f->store;
    static const char *const docs[] = {
        "{\"rating\":7,\"genre\":\"Drama\",\"Rating\":1}", "{\"rating\":8.5,\"genre\":\"Comedy\",\"Rating\":2}",
        "{\"rating\":7,\"genre\":\"Comedy\",\"Rating\":3}", "{\"genre\":null,\"Rating\":[1,2]}",
        "{\"rating\":\"7\",\"genre\":\"drama\",\"Rating\":4}",
    };
    create(s, "films");
    for (size_t i = 0; i < 5; i++) put(s, "films", (char[]){(char)('a' + i), 0}, docs[i]);
    assert_string_equal(index_used(s, "films", "rating=7"), "");
    declare(s, "films", "rating");
    declare(s, "films", "rating"); /* there already */
    assert_string_equal(index_used(s, "films", "rating=7"), "mp:films:rating");
    assert_string_equal(index_used(s, "films", "rating[gte]=7&sort=-rating"), "mp:films:rating");
    assert_string_equal(index_used(s, "films", "sort=rating"), "mp:films:rating");
    assert_string_equal(index_used(s, "films", "rating[ne]=7"), "");
    assert_string_equal(index_used(s, "films", "genre=Drama"), "");
    finds(s, "films", "rating=7", 3, "a c e");
    finds(s, "films", "rating[gte]=7&sort=-rating", 3, "b a c"); /* not the text 7 */
    finds(s, "films", "sort=-rating", 5, "e b a c d");
    finds(s, "films", "sort=rating,-id", 5, "d c a b e");
    finds(s, "films", "sort=rating,-genre", 5, "d a c b e");
    finds(s, "films", "rating=7&genre=Comedy", 1, "c");
    finds(s, "films", "rating[in]=8.5,null", 2, "b d");
    finds(s, "films", "rating=1", 0, "");
    finds(s, "films", "rating[gt]=x", 0, "");
    /* Downwards, and beside a name that differs by a capital only. */
    declare(s, "films", "-genre");
    assert_string_equal(index_used(s, "films", "sort=-genre"), "mp:films:-genre");
    declare(s, "films", "Rating");
    assert_int_equal(atoi(sql(f, "SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND name LIKE 'mp:%'")), 3);
    assert_string_equal(index_used(s, "films", "Rating=2"), ""); /* d has a list there */
    finds(s, "films", "Rating=2", 2, "b d");
    finds(s, "films", "sort=Rating", 5, "a d b c e");
    finds(s, "films", "sort=-genre", 5, "e a b c d");
    put(s, "films", "d", "{}");
    assert_int_equal(strncmp(index_used(s, "films", "Rating=2"), "mp:films:Rating:", 16), 0);
    finds(s, "films", "Rating=2", 1, "b");
    declare(s, "films", "id"); /* the primary key: nothing to do */
}

static void an_index_that_is_not_ours_is_not_believed(void **state) {
    fixture *f = *state;
    mp_store *s = f->store;
    create(s, "films");
    put(s, "films", "a", "{\"n\":1}");
    put(s, "films", "b", "{\"n\":2}");
    sql(f, "CREATE INDEX \"mp:films:n\" ON films(ver)"); /* an older version's, say */
    assert_string_equal(index_used(s, "films", "n=2"), "");
    finds(s, "films", "n=2&sort=n", 1, "b");
    declare(s, "films", "n"); /* made anew */
    assert_string_equal(index_used(s, "films", "n=2"), "mp:films:n");
    finds(s, "films", "n=2&sort=n", 1, "b");
    int version = atoi(sql(f, "PRAGMA schema_version"));
    declare(s, "films", "n");
    assert_int_equal(atoi(sql(f, "PRAGMA schema_version")), version); /* nothing was written */
    sql(f, "DROP INDEX \"mp:films:n\"");
    assert_string_equal(index_used(s, "films", "n=2"), "");
    finds(s, "films", "n=2&sort=n", 1, "b");
    sql(f, "DROP TABLE films");
    find_fails(s, "films", "n=2", POND_ESTORE, "create the collection first");
    create(s, "films");
    finds(s, "films", "n=2", 0, "");
}

static void names_are_text(void **state) {
    fixture *f = *state;
    static const char *const names[] = {"it's", "''", "a`b;--", "x') OR 1=1 --", "%p", "Größe", "a b", "?1", "\xf0\x9d\x92\xb3", "d.it's.'"};
    create(f->store, "o-b.c");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        mp_buf doc, query;
        mp_buf_init(&doc);
        mp_buf_init(&query);
        mp_buf_text(&doc, "{");
        mp_buf_json(&doc, strncmp(names[i], "d.", 2) == 0 ? "d" : names[i], strncmp(names[i], "d.", 2) == 0 ? 1 : strlen(names[i]));
        mp_buf_text(&doc, strncmp(names[i], "d.", 2) == 0 ? ":{\"it's\":{\"'\":7}}}" : ":7}");
        mp_buf_text(&query, "{\"where\":{");
        mp_buf_json(&query, names[i], strlen(names[i]));
        mp_buf_text(&query, ":7},\"sort\":");
        mp_buf_json(&query, names[i], strlen(names[i]));
        mp_buf_text(&query, "}");
        put(f->store, "o-b.c", "a", doc.data);
        put(f->store, "o-b.c", "b", "{\"x\":7}");
        finds(f->store, "o-b.c", query.data, 1, "a");
        declare(f->store, "o-b.c", names[i]);
        finds(f->store, "o-b.c", query.data, 1, "a");
        assert_int_equal(strncmp(index_used(f->store, "o-b.c", query.data), "mp:o-b.c:", 9), 0);
        mp_buf_free(&doc);
        mp_buf_free(&query);
    }
}

/* ---- databases of others ---- */

static void a_table_of_others(void **state) {
    fixture *f = *state;
    mp_store *s = f->store;
    sql(f, "CREATE TABLE things(id TEXT UNIQUE, doc JSON, ver INTEGER DEFAULT 0, owner TEXT, weight REAL);"
           "INSERT INTO things(id, doc) VALUES ('a', ' { \"n\" : 1.50, \"big\": 12345678901234567890123, \"s\": \"\\u00e9\\/\" } '),"
           "('b', '{\"id\":\"other\",\"_mpv\":5,\"n\":1.5}'), ('c', '{\"n\":null}'), ('d', '{}')");
    finds(s, "things", "n=1.5", 2, "a b");
    finds(s, "things", "n=null", 2, "c d");
    finds(s, "things", "s=\xc3\xa9/", 1, "a");
    finds(s, "things", "big[gt]=1e22", 1, "a");
    page p = find_text(s, "things", "n=1.5"); /* as they are spelled, with the row's id */
    assert_string_equal(p.data.data, "[{\"id\":\"a\", \"n\" : 1.50, \"big\": 12345678901234567890123, \"s\": \"\\u00e9\\/\" } ,"
                                     "{\"id\":\"b\",\"n\":1.5}]");
    mp_buf_free(&p.data);
    p = find_text(s, "things", "n=1.5&fields=n,big");
    assert_string_equal(p.data.data, "[{\"id\":\"a\",\"n\":1.50,\"big\":12345678901234567890123},{\"id\":\"b\",\"n\":1.5}]");
    mp_buf_free(&p.data);
    declare(s, "things", "n");
    finds(s, "things", "n=1.5&sort=n", 2, "a b");
    /* A view reads well, and has no index. */
    sql(f, "CREATE VIEW heavy AS SELECT id, doc FROM things WHERE id < 'c'");
    finds(s, "heavy", "n=1.5", 2, "a b");
    finds(s, "heavy", "", 2, "a b");
    /* Names of tables are those of cached keys: capitals count. */
    find_fails(s, "Things", "n=1", POND_EOPTION, "the table is called");
    find_fails(s, "nothing", "n=1", POND_ESTORE, "create the collection first");
}

/* Whatever stands in a row: an error that names it where it is looked at, and never worse. */
static void damaged_rows(void **state) {
    fixture *f = *state;
    mp_store *s = f->store;
    static const struct row {
        const char *value, *says;
    } rows[] = {
        {"'{\"n\":'", "not a JSON object"},
        {"'[1,2]'", "not a JSON object"},
        {"'7'", "not a JSON object"},
        {"''", "not a JSON object"},
        {"NULL", "not a JSON object"},
        {"42", "not a JSON object"},
        {"x'ff00'", "not a JSON object"},
        {"'{\"n\":\"\\ud800\"}'", "not a JSON object"},
        {"'{\"n\":1} x'", "not a JSON object"},
        {"CAST(x'7b226e223a22ff227d' AS TEXT)", "not a JSON object"}, /* not UTF-8 */
    };
    char text[300];
    sql(f, "CREATE TABLE bad(id TEXT PRIMARY KEY, doc, ver DEFAULT 0); INSERT INTO bad(id, doc) VALUES ('a', '{\"n\":1}'), ('z', '{\"n\":2}')");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        snprintf(text, sizeof text, "INSERT OR REPLACE INTO bad(id, doc) VALUES ('row 5', %s)", rows[i].value);
        sql(f, text);
        static const char *const queries[] = {"n=1", "sort=n", "search=x&search_in=n", "fields=n", "limit=3"};
        for (size_t k = 0; k < 5; k++) {
            page p = find_text(s, "bad", queries[k]);
            if (p.code != POND_ESTORE || strstr(p.error, "row 5") == NULL) fail_msg("%s %s: %d %s", rows[i].value, queries[k], p.code, p.error);
            mp_buf_free(&p.data);
        }
        finds(s, "bad", "id[in]=a,z&n=2", 1, "z"); /* who does not look there does not see it */
    }
    sql(f, "UPDATE bad SET doc = '{' WHERE id = 'row 5'");
    pond_error *err = NULL;
    mp_query *q = taken("{\"sort\":\"n\"}");
    int rc = s->vt->index(s, "bad", &q->sort[0], &err);
    failed(rc, err, POND_ESTORE, 0, "\"row 5\": doc is not JSON");
    mp_query_free(q);
    sql(f, "DELETE FROM bad WHERE id = 'row 5'");
    declare(s, "bad", "n");
    finds(s, "bad", "n[gte]=1&sort=-n", 2, "z a");
}

static void ids_that_are_none(void **state) {
    fixture *f = *state;
    mp_store *s = f->store;
    sql(f, "CREATE TABLE loose(id, doc TEXT, ver DEFAULT 0); INSERT INTO loose(id, doc) VALUES (NULL, '{\"n\":1}'), ('b', '{\"n\":2}'), (7, '{\"n\":3}')");
    find_fails(s, "loose", "n=1", POND_ESTORE, "a row without an id");
    finds(s, "loose", "n=2", 1, "b");
    find_fails(s, "loose", "n=3", POND_ESTORE, "\"7\": the id is not a text");
    /* A column that is declared as a number finds its rows by the number's text. */
    sql(f, "CREATE TABLE counted(id INTEGER PRIMARY KEY, doc TEXT, ver DEFAULT 0); INSERT INTO counted(id, doc) VALUES (9, '{\"n\":1}'), (10, '{\"n\":1}')");
    finds(s, "counted", "n=1", 2, "9 10");
    finds(s, "counted", "id=10", 1, "10");
}

static void documents_without_bounds(void **state) {
    fixture *f = *state;
    enum { DEEP = 100000 };
    mp_buf doc;
    mp_buf_init(&doc);
    mp_buf_text(&doc, "{\"a\":");
    for (int i = 0; i < DEEP; i++) mp_buf_text(&doc, "[");
    for (int i = 0; i < DEEP; i++) mp_buf_text(&doc, "]");
    mp_buf_text(&doc, ",\"n\":1}");
    sql(f, "CREATE TABLE deep(id TEXT PRIMARY KEY NOT NULL, doc TEXT, ver DEFAULT 0)");
    documents docs = {.collection = "deep", .count = 1};
    document one = {.id = "a", .doc = doc.data, .len = doc.len};
    docs.all = &one;
    fill(f, &docs);
    finds(f->store, "deep", "n=1&sort=a", 1, "a");
    finds(f->store, "deep", "a.b.c=null&sort=-a.b", 0, "");
    finds(f->store, "deep", "n=1&fields=a.b,n", 1, "a");
    mp_buf_free(&doc);
}

static void what_cannot_be_ordered_says_so(void **state) {
    fixture *f = *state;
    create(f->store, "films");
    put(f->store, "films", "a", "{\"x\":[1],\"y\":[2],\"z\":1}");
    put(f->store, "films", "b", "{\"x\":1,\"y\":[2],\"z\":[1]}");
    find_fails(f->store, "films", "sort=x,y", POND_EQUERY, "(films \"a\")");
    find_fails(f->store, "films", "id=a&sort=x,y", POND_EQUERY, "(films \"a\")");
    find_fails(f->store, "films", "sort=z,x,y", POND_EQUERY, "sort by one of them");
    finds(f->store, "films", "id=b&sort=x,y", 1, "b");
    finds(f->store, "films", "x=5&sort=x,y", 0, "");
    finds(f->store, "films", "sort=x,id,y", 2, "a b");
}

/* ---- while others write ---- */

typedef struct writer {
    mp_store *store;
    _Atomic bool stop;
    bool well;
} writer;

static void *flip(void *arg) {
    writer *w = arg;
    static const char *const docs[] = {"{\"n\":5}", "{\"n\":[5,6]}", "{\"n\":\"5\"}"};
    w->well = true;
    for (size_t i = 0; !w->stop; i++) w->well &= put_ok(w->store, "flips", docs[i % 3]);
    return NULL;
}

static void one_query_is_one_moment(void **state) {
    fixture *f = *state;
    create(f->store, "films");
    for (int i = 0; i < 50; i++) put(f->store, "films", (char[]){'f', (char)('0' + i / 10), (char)('0' + i % 10), 0}, "{\"n\":1}");
    put(f->store, "films", "flips", "{\"n\":5}");
    declare(f->store, "films", "n");
    writer w = {.store = f->store};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, flip, &w), 0);
    for (int i = 0; i < 500; i++) {
        finds(f->store, "films", "n[in]=5,7&sort=n", 1, "flips");
        finds(f->store, "films", "n[gt]=0&n[lt]=2&limit=1&page=50&sort=n", 50, "f49");
    }
    w.stop = true;
    pthread_join(thread, NULL);
    assert_true(w.well);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_a_file(the_vectors_by_scan),
        in_a_file(the_vectors_by_index),
        in_a_file(thousands_of_queries),
        in_a_file(an_index_is_used_where_it_can_be),
        in_a_file(an_index_that_is_not_ours_is_not_believed),
        in_a_file(names_are_text),
        in_a_file(a_table_of_others),
        in_a_file(damaged_rows),
        in_a_file(ids_that_are_none),
        in_a_file(documents_without_bounds),
        in_a_file(what_cannot_be_ordered_says_so),
        in_a_file(one_query_is_one_moment),
    };
    return cmocka_run_group_tests_name("find", tests, NULL, NULL);
}
