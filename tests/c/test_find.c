/* Queries on the sqlite: store: the vectors of tests/spec/find.json without and with declared indexes, queries by the thousand
 * against model/match alone, and databases that somebody else has written. */
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

int main(void) {
    const struct CMUnitTest tests[] = {
        in_a_file(the_vectors_by_scan),
        in_a_file(the_vectors_by_index),
    };
    return cmocka_run_group_tests_name("find", tests, NULL, NULL);
}
