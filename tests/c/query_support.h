/* What the tests of queries share: taking, refusing, and asking again what a canonical text says. */
#ifndef TEST_QUERY_SUPPORT_H
#define TEST_QUERY_SUPPORT_H

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <yyjson.h>

#include "base/buf.h"
#include "model/query.h"

/* Not every program uses all of them. */
#pragma GCC diagnostic ignored "-Wunused-function"

/* A text with its length, so that it may hold a zero byte. */
#define T(text) text, sizeof(text) - 1

typedef int parse_function(mp_query **, const mp_query_bounds *, const char *, size_t, pond_error **);

static mp_query_bounds *bounds_of(const mp_query_options *options) {
    mp_query_bounds *bounds = NULL;
    pond_error *err = NULL;
    int rc = mp_query_bounds_new(&bounds, options, &err);
    if (rc != POND_OK) fail_msg("%s", pond_error_message(err));
    return bounds;
}

/* What the vectors are made for: every field, and two to search in. */
static const mp_query_bounds *plain(void) {
    static mp_query_bounds *bounds;
    if (bounds == NULL) bounds = bounds_of(&(mp_query_options){.search_fields = "name,description"});
    return bounds;
}

/* Parses a copy that is exactly as long as it is said to be, so that the sanitizer sees a read past the end. */
static int parse(mp_query **out, const mp_query_bounds *bounds, bool json, const char *text, size_t len,
                 pond_error **err) {
    parse_function *function = json ? mp_query_parse_json : mp_query_parse_text;
    char *exact = malloc(len > 0 ? len : 1);
    assert_non_null(exact);
    memcpy(exact, text, len);
    *out = NULL;
    *err = NULL;
    int rc = function(out, bounds, exact, len, err);
    free(exact);
    assert_true((rc == POND_OK) == (*out != NULL) && (rc != POND_OK) == (*err != NULL));
    return rc;
}

/* An object if it begins with a brace, else a query string. */
static mp_query *taken_by(const mp_query_bounds *bounds, const char *text) {
    mp_query *query;
    pond_error *err;
    if (parse(&query, bounds, *text == '{', text, strlen(text), &err) != POND_OK)
        fail_msg("%.200s: %s", text, pond_error_message(err));
    return query;
}

static mp_query *taken(const char *text) { return taken_by(plain(), text); }

static void refused_by(const mp_query_bounds *bounds, bool json, const char *text, size_t len, const char *reason,
                       const char *says) {
    mp_query *query;
    pond_error *err;
    int rc = parse(&query, bounds, json, text, len, &err);
    if (rc == POND_OK) fail_msg("%.200s: taken as %s", text, mp_query_canonical(query, NULL));
    assert_int_equal(rc, POND_EQUERY);
    assert_int_equal(pond_error_code(err), POND_EQUERY);
    assert_false(pond_error_retriable(err));
    if (strcmp(pond_error_reason(err), reason) != 0)
        fail_msg("%.200s: %s: %s", text, pond_error_reason(err), pond_error_message(err));
    if (strstr(pond_error_message(err), says) == NULL) fail_msg("'%s' was to say '%s'", pond_error_message(err), says);
    pond_error_free(err);
}

static void refused(const char *text, const char *reason, const char *says) {
    refused_by(plain(), *text == '{' || *text == '[', text, strlen(text), reason, says);
}

static void is_canonical(const char *text, const char *canonical) {
    mp_query *query = taken(text);
    size_t len;
    assert_string_equal(mp_query_canonical(query, &len), canonical);
    assert_int_equal(len, strlen(canonical));
    mp_query_free(query);
}

/* Just the filter of what comes out. */
static void is_filter(const char *text, const char *filter) {
    char canonical[4096];
    snprintf(canonical, sizeof canonical, "q1{\"filter\":{%s},\"limit\":20,\"page\":1,\"sort\":[\"id\"]}", filter);
    is_canonical(text, canonical);
}

/* Two spellings of one question. */
static void same(const char *one, const char *other) {
    mp_query *a = taken(one), *b = taken(other);
    assert_string_equal(mp_query_canonical(a, NULL), mp_query_canonical(b, NULL));
    mp_query_free(a);
    mp_query_free(b);
}

/* The object that asks for what a canonical text says. */
static void add_member(mp_buf *to, yyjson_val *value, const char *name) {
    char *text = yyjson_val_write(value, 0, NULL);
    assert_non_null(text);
    mp_buf_printf(to, "%s\"%s\":%s", to->data[to->len - 1] == '{' ? "" : ",", name, text);
    free(text);
}

static void add_filter(mp_buf *to, yyjson_val *filter) {
    size_t i, max, k, most;
    yyjson_val *field, *ops, *op, *operand;
    mp_buf_text(to, to->data[to->len - 1] == '{' ? "\"where\":{" : ",\"where\":{");
    yyjson_obj_foreach(filter, i, max, field, ops) {
        mp_buf_text(to, i > 0 ? "," : "");
        mp_buf_json(to, yyjson_get_str(field), yyjson_get_len(field));
        mp_buf_text(to, ":{");
        yyjson_obj_foreach(ops, k, most, op, operand)
            add_member(to, operand, strcmp(yyjson_get_str(op), "nin") == 0 ? "ne" : yyjson_get_str(op));
        mp_buf_text(to, "}");
    }
    mp_buf_text(to, "}");
}

static void add_search(mp_buf *to, yyjson_val *search) {
    size_t i, max;
    yyjson_val *term;
    mp_buf words;
    mp_buf_init(&words);
    mp_buf_text(&words, "");
    yyjson_arr_foreach(yyjson_obj_get(search, "terms"), i, max, term) {
        mp_buf_text(&words, i > 0 ? " " : "");
        mp_buf_add(&words, yyjson_get_str(term), yyjson_get_len(term));
    }
    mp_buf_text(to, to->data[to->len - 1] == '{' ? "\"search\":" : ",\"search\":");
    mp_buf_json(to, words.data, words.len);
    add_member(to, yyjson_obj_get(search, "in"), "search_in");
    mp_buf_free(&words);
}

/* What a canonical text says is understood as the same again. */
static void is_stable(const mp_query_bounds *bounds, const mp_query *query) {
    size_t len, i, max;
    const char *canonical = mp_query_canonical(query, &len);
    yyjson_val *key, *value;
    mp_buf object;
    mp_query *again;
    pond_error *err;
    yyjson_doc *doc = yyjson_read(canonical + 2, len - 2, YYJSON_READ_NUMBER_AS_RAW);
    if (doc == NULL) fail_msg("not JSON: %s", canonical);
    mp_buf_init(&object);
    mp_buf_text(&object, "{");
    yyjson_obj_foreach(yyjson_doc_get_root(doc), i, max, key, value) {
        const char *name = yyjson_get_str(key);
        if (strcmp(name, "filter") == 0) add_filter(&object, value);
        else if (strcmp(name, "search") == 0) add_search(&object, value);
        else add_member(&object, value, name);
    }
    mp_buf_text(&object, "}");
    if (parse(&again, bounds, true, object.data, object.len, &err) != POND_OK)
        fail_msg("%s\n%s\n%s", canonical, object.data, pond_error_message(err));
    assert_string_equal(mp_query_canonical(again, NULL), canonical);
    mp_query_free(again);
    mp_buf_free(&object);
    yyjson_doc_free(doc);
}

#endif
