/* Any bytes as a query string and as an object. What is refused has a reason of the list; what is taken has a normal form in
 * order, and its canonical text, asked again, is itself. */
#include "base/utf8.h"
#include "query_support.h"

static void check_path(const mp_query_path *path) {
    size_t len = path->part_count - 1;
    assert_true(path->part_count >= 1 && path->part_count <= MP_QUERY_PARTS_MAX);
    assert_true(path->name.len <= MP_QUERY_NAME_MAX && strlen(path->name.data) == path->name.len);
    for (size_t i = 0; i < path->part_count; i++) {
        assert_true(path->parts[i].len > 0 && strlen(path->parts[i].data) == path->parts[i].len);
        assert_true(path->parts[i].data[0] != '$');
        len += path->parts[i].len;
    }
    assert_int_equal(len, path->name.len);
    assert_int_equal(path->is_id, strcmp(path->name.data, "id") == 0);
}

static void check_condition(const mp_query_condition *c) {
    check_path(&c->path);
    if (c->op >= MP_QUERY_GT) assert_true(c->reading_count == 1 || c->reading_count == 2);
    assert_true(c->reading_count <= 3 * MP_QUERY_VALUES_MAX);
    for (size_t i = 0; i < c->reading_count; i++) {
        const mp_query_reading *r = &c->readings[i];
        assert_true(i == 0 || c->readings[i - 1].rank <= r->rank);
        if (r->rank == MP_RANK_STRING)
            assert_true(r->text.len <= MP_QUERY_VALUE_MAX && strlen(r->text.data) == r->text.len);
        if (r->rank == MP_RANK_OID) assert_int_equal(strspn(r->text.data, "0123456789abcdef"), 24);
        if (r->rank == MP_RANK_NUMBER && r->is_real) assert_true(r->real - r->real == 0);
    }
}

static void check(const mp_query *q) {
    size_t len, searched = 0;
    const char *canonical = mp_query_canonical(q, &len);
    assert_int_equal(strlen(canonical), len);
    assert_int_equal(mp_utf8_check(canonical, len), len);
    assert_true(q->condition_count <= MP_QUERY_CONDITIONS_MAX && q->sort_count >= 1 &&
                q->sort_count <= MP_QUERY_SORT_MAX + 1);
    for (size_t i = 0; i < q->condition_count; i++) check_condition(&q->conditions[i]);
    for (size_t i = 0; i < q->sort_count; i++) {
        check_path(&q->sort[i].path);
        assert_int_equal(q->sort[i].path.is_id, i + 1 == q->sort_count);
    }
    for (size_t i = 0; i < q->field_count; i++) check_path(&q->fields[i]);
    for (size_t i = 0; i < q->search_in_count; i++) check_path(&q->search_in[i]);
    assert_int_equal(q->term_count > 0, q->search_in_count > 0);
    for (size_t i = 0; i < q->term_count; i++) searched += q->terms[i].len + 1;
    assert_true(q->page >= 1 && q->limit >= 1 && q->limit <= 100 && q->skip <= MP_QUERY_SKIP_MAX);
    /* Folding may make a search longer than what may be asked. */
    if (searched <= MP_QUERY_SEARCH_MAX && len < MP_QUERY_TEXT_MAX) is_stable(plain(), q);
}

static void try(bool json, const char *text, size_t len) {
    mp_query *query;
    pond_error *err;
    if (parse(&query, plain(), json, text, len, &err) == POND_OK) check(query);
    else {
        const char *message = pond_error_message(err);
        assert_int_equal(pond_error_code(err), POND_EQUERY);
        assert_non_null(
            strstr(" bad_field bad_operator bad_type bad_value bad_number bad_page bad_encoding duplicate too_long ",
                   pond_error_reason(err)));
        assert_int_equal(mp_utf8_check(message, strlen(message)), strlen(message));
    }
    mp_query_free(query);
    pond_error_free(err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    try(false, (const char *)data, size);
    try(true, (const char *)data, size);
    return 0;
}
