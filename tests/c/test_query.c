/* Queries: the vectors of tests/spec/canonical.json, what comes in and what is refused with which words, and the normal form
 * that the stores translate. */
#include "query_support.h"

/* --- the shared vectors ----------------------------------------------------------------------------------------- */

static void check_vector(yyjson_val *vector, size_t at) {
    yyjson_val *in = yyjson_obj_get(vector, "in"), *error = yyjson_obj_get(vector, "error");
    bool json = !yyjson_is_str(in);
    size_t len = yyjson_get_len(in);
    char *written = json ? yyjson_val_write(in, 0, &len) : NULL, key[MP_QUERY_KEY_LEN + 1];
    const char *text = json ? written : yyjson_get_str(in);
    mp_query *query;
    pond_error *err;
    int rc = parse(&query, plain(), json, text, len, &err);
    if (error != NULL) {
        if (rc == POND_OK) fail_msg("%zu: %s: taken as %s", at, text, mp_query_canonical(query, NULL));
        if (strcmp(pond_error_reason(err), yyjson_get_str(error)) != 0)
            fail_msg("%zu: %s: %s instead of %s: %s", at, text, pond_error_reason(err), yyjson_get_str(error),
                     pond_error_message(err));
        pond_error_free(err);
    } else {
        if (rc != POND_OK) fail_msg("%zu: %s: %s", at, text, pond_error_message(err));
        assert_string_equal(mp_query_canonical(query, NULL), yyjson_get_str(yyjson_obj_get(vector, "canonical")));
        mp_query_key(query, key);
        assert_string_equal(key, yyjson_get_str(yyjson_obj_get(vector, "sha256")));
        is_stable(plain(), query);
        mp_query_free(query);
    }
    free(written);
}

static void the_shared_vectors(void **state) {
    yyjson_read_err why;
    /* Numbers as they are spelled: 9007199254740993 must come in as that. */
    yyjson_doc *doc =
        yyjson_read_file(POND_TEST_ROOT "/tests/spec/canonical.json", YYJSON_READ_NUMBER_AS_RAW, NULL, &why);
    if (doc == NULL) fail_msg("canonical.json: %s", why.msg);
    yyjson_val *vectors = yyjson_obj_get(yyjson_doc_get_root(doc), "vectors"), *vector;
    size_t i, max;
    yyjson_arr_foreach(vectors, i, max, vector) check_vector(vector, i);
    assert_null(pond_error_reason(NULL));
    assert_int_equal(max, 195);
    yyjson_doc_free(doc);
}

/* The queries of find.json are all understood, and stable; what they find is tested with the stores. */
static void the_shared_finds(void **state) {
    yyjson_doc *doc = yyjson_read_file(POND_TEST_ROOT "/tests/spec/find.json", YYJSON_READ_NUMBER_AS_RAW, NULL, NULL);
    assert_non_null(doc);
    mp_query_bounds *bounds = bounds_of(&(mp_query_options){0});
    size_t i, max, len;
    yyjson_val *vector;
    yyjson_arr_foreach(yyjson_obj_get(yyjson_doc_get_root(doc), "vectors"), i, max, vector) {
        yyjson_val *in = yyjson_obj_get(vector, "query");
        char *text = yyjson_is_str(in) ? strdup(yyjson_get_str(in)) : yyjson_val_write(in, 0, &len);
        mp_query *query = taken_by(bounds, text);
        is_stable(bounds, query);
        mp_query_free(query);
        free(text);
    }
    assert_int_equal(max, 118);
    mp_query_bounds_free(bounds);
    yyjson_doc_free(doc);
}

/* --- what comes in ---------------------------------------------------------------------------------------------- */

static void every_shape_of_a_framework(void **state) {
    /* qs (Express 4, or "extended"), node:querystring (Express 5), FastAPI's dict, Flask's to_dict(flat=False), parse_qs */
    const char *want = "price[gte]=10&price[lt]=20.5&tag=a&tag=b&c[in]=x,y&sort=-price,name&page=2";
    same(want, "{\"price\":{\"gte\":\"10\",\"lt\":\"20.5\"},\"tag\":[\"a\",\"b\"],\"c\":{\"in\":\"x,y\"},\"sort\":\"-"
               "price,name\",\"page\":\"2\"}");
    same(want, "{\"price[gte]\":\"10\",\"price[lt]\":\"20.5\",\"tag\":[\"b\",\"a\"],\"c[in]\":\"x,y\",\"sort\":\"-"
               "price,name\",\"page\":\"2\"}");
    same(want, "{\"price[gte]\":[\"10\"],\"price[lt]\":[\"20.5\"],\"tag\":[\"a\",\"b\"],\"c[in]\":[\"x,y\"],\"sort\":["
               "\"-price,name\"],\"page\":[\"2\"]}");
    same(want, "{\"where\":{\"price[gte]\":10,\"price\":{\"lt\":20.5},\"tag[]\":[\"a\",\"b\"],\"c\":[\"y\",\"x\"]},"
               "\"sort\":[\"-price\",\"name\"],\"page\":2}");
    same("c[in]=a,b&c[in]=c", "{\"c[in]\":[\"a,b\",\"c\"]}");
    same("c[in]=a,b&c[in]=c", "{\"c\":{\"in\":[\"a,b\",\"c\"]}}");
    same("a[0]=x&a[1]=y", "{\"a[0]\":[\"x\"],\"a[1]\":[\"y\"]}");
    same("c[in][]=a,b", "{\"c\":{\"in\":[\"a,b\"]}}");
    same("c[in][string]=10,x", "{\"c[in][string]\":[\"10,x\"]}");
    same("c[in][string]=10&c[in][string]=x", "{\"c[in]\":[{\"string\":\"10\"},\"x\"]}");
    same("where[where]=1&where[a][gt]=2", "{\"where\":{\"where\":1,\"a[gt]\":2}}");
    same("a[0]=x&a[3]=y&a[20]=z", "{\"a[0]\":\"x\",\"a[3]\":\"y\",\"a[20]\":\"z\"}");
    same("", "{\"where\":{}}");
    same("{\"a\":[]}", "{\"a[]\":[]}");
    same("sort[0]=b&sort[1]=a&fields[]=x", "{\"sort\":[\"b\",\"a\"],\"fields\":[\"x\"]}");
    same("sort=&fields=&search=&search_in=", "{\"sort\":[],\"fields\":[],\"search\":\"\",\"search_in\":[]}");
    same("?a=1&&b=2&", "b=2&a=1");
    same("?%3F=1", "{\"?\":1}");
    same("a", "a=");
    same("%61%5B%67te%5d=%31", "a[gte]=1");
    same("a=b=c", "{\"a\":\"b=c\"}");
    same("a=1;b=2", "{\"a\":\"1;b=2\"}");
    same("a+b=c+d", "{\"a b\":\"c d\"}");
    same("_id=5", "id=5");
    same("a=1&a[eq]=1&where[a]=1", "a=1"); /* the same asked thrice */
    same("a[gte]=1&a[gte]=1.0", "a[gte]=1");
    same("a[in]=1&a=1", "a=1");
    is_filter("a=1&a=2&a[in]=2,1", "\"a\":{\"in\":[1,2]}");
    is_filter("a=1&a[in]=2,3", "\"a\":{\"eq\":1,\"in\":[2,3]}");
    is_filter("{\"a\":{\"in\":{\"date\":[0,\"1970-01-01\",\"1000\"]}}}",
              "\"a\":{\"in\":[{\"date\":0},{\"date\":1000}]}");
    is_filter("b=1&a.c=1&a-b=1&a=1&B=1",
              "\"B\":{\"eq\":1},\"a\":{\"eq\":1},\"a-b\":{\"eq\":1},\"a.c\":{\"eq\":1},\"b\":{\"eq\":1}");
}

static void what_is_refused_and_how(void **state) {
    static const struct row {
        const char *text, *reason, *says;
    } rows[] = {
        {"price[$gte]=1", "bad_operator", "\"price[$gte]\": write [gte]"},
        {"price[GTE]=1", "bad_operator", "write [gte]"},
        {"price[$where]=1", "bad_operator", "there is no operator \"$where\": write one of eq ne gt gte lt lte in"},
        {"price[string]=1", "bad_operator", "and the type after it"},
        {"price[21]=1", "bad_operator", "0 to 20: write []"},
        {"price[01]=1", "bad_operator", "write []"},
        {"price[1]=1&price[1]=2", "bad_operator", "must rise"},
        {"price[1]=1&price[0]=2", "bad_operator", "must rise"},
        {"price[][gte]=1", "bad_operator", "for a list write []"},
        {"price[eq][0][string]=1", "bad_operator", ""},
        {"where[price][eq][string][0][1]=1", "bad_operator", ""},
        {"a[b][c][d][e][f][g][h]=1", "bad_operator", "\"b\""},
        {"{\"a\":{\"0\":1}}", "bad_operator", "for a list write []"},
        {"{\"a\":{\"\":1}}", "bad_operator", "for a list write []"},
        {"{\"a\":{\"gte\":\"1\",\"2\":true}}", "bad_operator", "\"a[2]\""}, /* what qs makes of a[gte]=1&a=2 */
        {"{\"a\":{\"eq\":{\"21\":1}}}", "bad_operator", "for a list write []"},
        {"{\"a\":{\"eq\":{\"x\":1}}}", "bad_type", "string number bool date oid"},
        {"{\"a\":{\"eq\":{\"string\":{\"x\":1}}}}", "bad_operator", ""},
        {"{\"a\":{\"eq\":{}}}", "bad_value", "the object is empty"},
        {"{\"sort\":{\"a\":1}}", "bad_operator", "where[sort]"},
        {"{\"limit\":{}}", "bad_value", "empty"},
        {"limit[gte]=1", "bad_operator", "where[limit]"},
        {"{\"a\":[1,[2]]}", "bad_value", "single value"},
        {"{\"a\":[\"2\",{\"gte\":\"1\"}]}", "bad_value", "single value"}, /* what qs makes of a=2&a[gte]=1 */
        {"{\"a\":[{\"string\":\"1\",\"number\":1}]}", "bad_value", "single value"},
        {"{\"a\":[{\"string\":[\"1\"]}]}", "bad_value", "single value"},
        {"{\"a\":{\"in\":{\"string\":[{\"string\":\"1\"}]}}}", "bad_value", "single value"},
        {"{\"a[0]\":[1,2]}", "bad_operator", "must rise"},
        {"{\"where\":[1]}", "bad_value", "where[field]"},
        {"{\"where\":null}", "bad_value", "where[field]"},
        {"where[]=1", "bad_field", "is empty"},
        {"[]", "bad_value", "a JSON array"},
        {"[{\"a\":1}]", "bad_value", "a JSON array"},
        {"{\"a\":1", "bad_value", "not clean JSON"},
        {"{\"a\":1,}", "bad_value", "not clean JSON"},
        {"{\"a\":NaN}", "bad_number", "NaN or Infinity at byte 5"},
        {"{\"a\":-Infinity}", "bad_number", "NaN or Infinity"},
        {"{\"a\":\"\\ud800\"}", "bad_encoding", "not clean JSON"},
        {"{\"a\":\"\\u0000\"}", "bad_encoding", "U+0000"},
        {"{\"a\\u0000\":1}", "bad_encoding", "U+0000"},
        {"{\"a\":\"\xff\"}", "bad_encoding", "not clean JSON"},
        {"a=%", "bad_encoding", "two hex digits"},
        {"a=%2", "bad_encoding", "two hex digits"},
        {"a=%zz", "bad_encoding", "two hex digits"},
        {"a%0=1", "bad_encoding", "two hex digits"},
        {"a=\xed\xa0\x80", "bad_encoding", "not UTF-8"},
        {"a=%ED%A0%80", "bad_encoding", "not UTF-8"},
        {"%C0%80=1", "bad_encoding", "not UTF-8"},
        {"a%00b=1", "bad_encoding", "U+0000"},
        {"a[gte=1", "bad_field", "brackets"},
        {"a[gte]x=1", "bad_field", "brackets"},
        {"a[[gte]]=1", "bad_field", "brackets"},
        {"a]b=1", "bad_field", "brackets"},
        {"$a.b=1", "bad_field", "begins with $"},
        {"a.$b=1", "bad_field", "begins with $"},
        {"a.=1", "bad_field", "empty part"},
        {".a=1", "bad_field", "empty part"},
        {"a.0.b=1", "bad_field", "is a number"},
        {"a.1.b=1", "bad_field", "is a number"},
        {"+a=1", "bad_field", "space"},
        {"a+=1", "bad_field", "space"},
        {"a%7F=1", "bad_field", "control"},
        {"a%5C=1", "bad_field", "holds one of"},
        {"a,b=1", "bad_field", "holds one of"},
        {"_mpv=1", "bad_field", "the library's own"},
        {"_mpv.x=1", "bad_field", "the library's own"},
        {"sort=-_mpv", "bad_field", "the library's own"},
        {"fields=a,_mpv", "bad_field", "the library's own"},
        {"search=a&search_in=_mpv", "bad_field", "the library's own"},
        {"_id.x=1", "bad_field", "the id has no parts"},
        {"a.b.c.d.e.f.g.h.i=1", "too_long", "at most 8 parts"},
        {"sort=a.b.c.d.e.f.g.h.i", "too_long", "at most 8 parts"},
        {"sort=-", "bad_field", "is empty"},
        {"sort=a,", "bad_field", "is empty"},
        {"fields=,a", "bad_field", "is empty"},
        {"sort=$natural", "bad_field", "begins with $"},
        {"{\"sort\":null}", "bad_value", "names of fields"},
        {"{\"sort\":[1]}", "bad_value", "names of fields"},
        {"{\"search_in\":true}", "bad_value", "names of fields"},
        {"{\"fields\":[{\"string\":\"a\"}]}", "bad_value", "single value"},
        {"search_in=id", "bad_field", "cannot be searched"},
        {"search_in=a,_id&search=x", "bad_field", "cannot be searched"},
        {"{\"search\":true}", "bad_value", "it takes a text"},
        {"{\"search\":[]}", "bad_value", "empty"},
        {"{\"search\":1e999}", "bad_number", "past the range"},
        {"a=1&a[eq]=2", "duplicate", "\"a\" and \"a[eq]\""},
        {"a=1&where[a]=2", "duplicate", "\"where[a]\""},
        {"a=1&a=2&a[in]=3,4", "duplicate", "different values"},
        {"a[gt]=1&a[gt]=x", "duplicate", "takes one"},
        {"{\"a\":{\"gt\":[]}}", "bad_value", "empty"},
        {"{\"page\":[1,1]}", "duplicate", "takes one value"},
        {"{\"page\":[]}", "bad_page", "empty"},
        {"page=", "bad_page", "\"page\": \"\" is not a whole number from 1 to"},
        {"page=01", "bad_page", "whole number"},
        {"page=+1", "bad_page", "whole number"},
        {"page=1000000000", "bad_page", "whole number"},
        {"page=50002", "bad_page", "ask for less"},
        {"{\"page\":true}", "bad_page", "\"page\": true is not a whole number"},
        {"limit=0", "bad_page", "from 1 to 100"},
        {"limit=1e400", "bad_page", "from 1 to 100"},
        {"{\"limit\":1e999}", "bad_page", "from 1 to 100"},
        {"{\"limit\":9223372036854775807,\"page\":9223372036854775807}", "bad_page", "from 1 to"},
        {"a[eq][oid]=507f1f77bcf86cd79943901", "bad_value", "24 hex digits"},
        {"a[eq][oid]=507f1f77bcf86cd79943901g", "bad_value", "24 hex digits"},
        {"{\"a\":{\"eq\":{\"oid\":1}}}", "bad_value", "24 hex digits"},
        {"{\"a\":{\"eq\":{\"string\":1}}}", "bad_value", "in quotes"},
        {"{\"a\":{\"eq\":{\"number\":true}}}", "bad_number", "true is no number"},
        {"{\"a\":{\"eq\":{\"number\":1e999}}}", "bad_number", "double"},
        {"{\"a\":1e999}", "bad_number", "double"},
        {"{\"a\":{\"eq\":{\"bool\":1}}}", "bad_value", "neither true nor false"},
        {"{\"a\":{\"gt\":{\"bool\":true}}}", "bad_value", "have no order"},
        {"a[gt][bool]=true", "bad_value", "have no order"},
        {"a[gt][date]=1.5", "bad_value", "milliseconds"},
        {"a[gt][date]=1e30", "bad_value", "milliseconds"},
        {"{\"a\":{\"gt\":{\"date\":null}}}", "bad_value", "null is no date"},
        {"a[lt]=1e999", "bad_number", "write [string]"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) refused(rows[i].text, rows[i].reason, rows[i].says);
    refused_by(plain(), false, T("a=x\0y"), "bad_encoding", "U+0000");
    refused_by(plain(), true, T("{\"a\":1}\0"), "bad_value", "not clean JSON");
    refused_by(plain(), true, T(""), "bad_value", "write {}");
}

/* --- operands --------------------------------------------------------------------------------------------------- */

/* The readings of the only condition, as "number 10, string 10". */
static const char *readings(const char *text) {
    static const char *const ranks[] = {
        [MP_RANK_NULL] = "null", [MP_RANK_NUMBER] = "number", [MP_RANK_STRING] = "string",
        [MP_RANK_OID] = "oid",   [MP_RANK_BOOL] = "bool",     [MP_RANK_DATE] = "date"};
    static char out[4096];
    mp_query *query = taken(text);
    size_t n = 0;
    assert_int_equal(query->condition_count, 1);
    const mp_query_condition *c = query->conditions;
    *out = 0;
    for (size_t i = 0; i < c->reading_count; i++) {
        const mp_query_reading *r = &c->readings[i];
        n += (size_t)snprintf(out + n, sizeof out - n, "%s%s", i > 0 ? ", " : "", ranks[r->rank]);
        if (r->rank == MP_RANK_STRING || r->rank == MP_RANK_OID) {
            assert_int_equal(strlen(r->text.data), r->text.len);
            n += (size_t)snprintf(out + n, sizeof out - n, " %s", r->text.data);
        } else if (r->is_real) n += (size_t)snprintf(out + n, sizeof out - n, " real %.17g", r->real);
        else if (r->rank != MP_RANK_NULL) n += (size_t)snprintf(out + n, sizeof out - n, " %" PRId64, r->integer);
    }
    mp_query_free(query);
    return out;
}

static void how_operands_are_read(void **state) {
    static const struct row {
        const char *text, *want;
    } rows[] = {
        {"a=10", "number 10, string 10"},
        {"{\"a\":10}", "number 10, string 10"},
        {"{\"a\":1e1}", "number 10, string 10"},
        {"{\"a\":0.25}", "number real 0.25, string 0.25"},
        {"{\"a\":1E+21}", "number real 1e+21, string 1e+21"},
        {"a=10.0", "number 10, string 10.0"},
        {"a=-0", "number 0, string -0"},
        {"{\"a\":-0.0}", "number 0, string 0"},
        {"{\"a\":1e-400}", "number 0, string 0"},
        {"a[gt]=10.0", "number 10"},
        {"a[gt]=1e-1", "number real 0.10000000000000001"},
        {"a=01234", "string 01234"},
        {"a=1e999", "string 1e999"},
        {"a[gt]=01234", "string 01234"},
        {"a=9223372036854775807", "number 9223372036854775807, string 9223372036854775807"},
        {"a[lt]=-9223372036854775808", "number -9223372036854775808"},
        {"a[lt]=-9223372036854775809",
         "number -9223372036854775808"}, /* the nearest double is whole and within int64 */
        {"a[lt]=9223372036854775808", "number real 9.2233720368547758e+18"},
        {"a[lt]=9007199254740993", "number 9007199254740993"},
        {"a[lt]=9007199254740993.0", "number 9007199254740992"},
        {"a=true", "string true, bool 1"},
        {"{\"a\":false}", "string false, bool 0"},
        {"a[gt]=true", "string true"},
        {"a=null", "null, string null"},
        {"a[ne]=null", "null, string null"},
        {"a[gt]=null", "string null"},
        {"a=2020-01-01", "string 2020-01-01, date 1577836800000"},
        {"a[gte]=2020-01-01T00:00:00.000Z", "string 2020-01-01T00:00:00.000Z, date 1577836800000"},
        {"a[gte]=2020-01-01T00:00Z", "string 2020-01-01T00:00Z, date 1577836800000"},
        {"a=2020-02-30", "string 2020-02-30"},
        {"a=507F1F77BCF86CD799439011", "string 507F1F77BCF86CD799439011, oid 507f1f77bcf86cd799439011"},
        {"a[gt]=507f1f77bcf86cd799439011", "string 507f1f77bcf86cd799439011"},
        /* 24 digits are a number, a string and an ObjectId */
        {"a=123456789012345678901234",
         "number real 1.2345678901234569e+23, string 123456789012345678901234, oid 123456789012345678901234"},
        {"a[gt]=123456789012345678901234", "number real 1.2345678901234569e+23"},
        {"a=x", "string x"},
        {"a=", "string "},
        {"a[eq][string]=10", "string 10"},
        {"a[eq][number]=1e1", "number 10"},
        {"a[eq][bool]=true", "bool 1"},
        {"a[eq][date]=1970-01-01", "date 0"},
        {"a[gt][date]=-1000", "date -1000"},
        {"{\"a\":{\"eq\":{\"date\":1e3}}}", "date 1000"},
        {"a[eq][oid]=507F1F77BCF86CD799439011", "oid 507f1f77bcf86cd799439011"},
        {"a[gt][oid]=507F1F77BCF86CD799439011", "oid 507f1f77bcf86cd799439011"},
        {"a[gt][string]=10", "string 10"},
        {"a[gt][string]=1e999", "string 1e999"},
        {"a[gt][string]=2020-01-01", "string 2020-01-01"},
        {"a[gt][number]=10", "number 10"},
        {"{\"a\":{\"in\":[]}}", ""},
        /* of one type one run, and none twice */
        {"{\"a\":{\"in\":[\"10\",10,\"10.0\",{\"number\":10},{\"string\":\"10\"},\"x\",null,true,2.5]}}",
         "null, number 10, number real 2.5, string 10, string 10.0, string 2.5, string null, string true, string x, "
         "bool 1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(readings(rows[i].text), rows[i].want) != 0)
            fail_msg("%s: '%s' instead of '%s'", rows[i].text, readings(rows[i].text), rows[i].want);
}

/* A wrapper stays only where it changes the reading. */
static void canonical_operands(void **state) {
    is_filter("a[eq][string]=1e999", "\"a\":{\"eq\":\"1e999\"}");
    is_filter("a[gt][string]=1e999", "\"a\":{\"gt\":{\"string\":\"1e999\"}}");
    is_filter("a[gt][string]=true", "\"a\":{\"gt\":\"true\"}");
    is_filter("a[eq][string]=true", "\"a\":{\"eq\":{\"string\":\"true\"}}");
    is_filter("a[gt][string]=507f1f77bcf86cd799439011", "\"a\":{\"gt\":\"507f1f77bcf86cd799439011\"}");
    is_filter("a[eq][string]=507f1f77bcf86cd799439011", "\"a\":{\"eq\":{\"string\":\"507f1f77bcf86cd799439011\"}}");
    is_filter("a[gt][string]=2020-01-01", "\"a\":{\"gt\":{\"string\":\"2020-01-01\"}}");
    is_filter("a[eq][string]=10.0", "\"a\":{\"eq\":{\"string\":\"10.0\"}}");
    is_filter("a[eq][string]=\"x\"", "\"a\":{\"eq\":\"\\\"x\\\"\"}");
    is_filter("a=%7F%1f%C2%80", "\"a\":{\"eq\":\"\x7f\\u001f\xc2\x80\"}");
    is_filter("{\"a\":1152921504606846976}", "\"a\":{\"eq\":1152921504606846976}");
    is_filter("{\"a\":{\"ne\":{\"oid\":\"507F1F77BCF86CD799439011\"}}}",
              "\"a\":{\"ne\":{\"oid\":\"507f1f77bcf86cd799439011\"}}");
}

/* --- the rest of the normal form -------------------------------------------------------------------------------- */

static void the_normal_form(void **state) {
    mp_query *q =
        taken("b.c.d[gt]=1&b.c.d[ne]=2&_id=x&sort=-u.v,w&fields=z,y.x,y&page=3&limit=7&search=B+a&search_in=s,r.t");
    assert_int_equal(q->condition_count, 3);
    assert_string_equal(q->conditions[0].path.name.data, "b.c.d");
    assert_int_equal(q->conditions[0].path.part_count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(q->conditions[0].path.parts[i].len, 1);
        assert_string_equal(q->conditions[0].path.parts[i].data, i == 0 ? "b" : i == 1 ? "c" : "d");
    }
    assert_false(q->conditions[0].path.is_id);
    assert_int_equal(q->conditions[0].op, MP_QUERY_GT);
    assert_int_equal(q->conditions[1].op, MP_QUERY_NONE_OF);
    assert_string_equal(q->conditions[2].path.name.data, "id");
    assert_true(q->conditions[2].path.is_id);
    assert_int_equal(q->conditions[2].op, MP_QUERY_ANY_OF);
    assert_int_equal(q->sort_count, 3);
    assert_string_equal(q->sort[0].path.name.data, "u.v");
    assert_true(q->sort[0].descending);
    assert_false(q->sort[1].descending);
    assert_true(q->sort[2].path.is_id && !q->sort[2].descending);
    assert_int_equal(q->field_count, 3);
    assert_string_equal(q->fields[0].name.data, "id");
    assert_string_equal(q->fields[1].name.data, "y");
    assert_string_equal(q->fields[2].name.data, "z");
    assert_int_equal(q->page, 3);
    assert_int_equal(q->limit, 7);
    assert_int_equal(q->skip, 14);
    assert_int_equal(q->term_count, 2);
    assert_string_equal(q->terms[0].data, "a");
    assert_string_equal(q->terms[1].data, "b");
    assert_int_equal(q->search_in_count, 2);
    assert_string_equal(q->search_in[0].name.data, "r.t");
    assert_string_equal(q->search_in[0].parts[1].data, "t");
    mp_query_free(q);

    q = taken("");
    assert_true(q->condition_count == 0 && q->field_count == 0 && q->term_count == 0 && q->search_in_count == 0);
    assert_true(q->sort_count == 1 && q->sort[0].path.is_id && q->page == 1 && q->limit == 20 && q->skip == 0);
    mp_query_free(q);
    mp_query_free(NULL);

    q = taken("search=+&search_in=x");
    assert_true(q->term_count == 0 && q->search_in_count == 0);
    mp_query_free(q);
}

/* All pages of a question share one total. */
static void the_total(void **state) {
    mp_query *one = taken("a=1&search=x&page=2&limit=5&sort=-a&fields=b"), *other = taken("search=X&where[a]=1");
    char key[MP_QUERY_KEY_LEN + 1], total[MP_QUERY_KEY_LEN + 1];
    size_t len;
    const char *want =
        "q1{\"filter\":{\"a\":{\"eq\":1}},\"search\":{\"in\":[\"description\",\"name\"],\"terms\":[\"x\"]}}";
    assert_string_equal(mp_query_total_canonical(one, &len), want);
    assert_int_equal(len, strlen(want));
    assert_string_equal(mp_query_total_canonical(other, NULL), want);
    mp_query_total_key(one, total);
    mp_query_key(one, key);
    assert_string_not_equal(key, total);
    mp_query_total_key(other, key);
    assert_string_equal(key, total);
    assert_int_equal(strlen(key), 64);
    mp_query_free(one);
    mp_query_free(other);
    one = taken("page=2");
    assert_string_equal(mp_query_total_canonical(one, NULL), "q1{}");
    mp_query_free(one);
}

static void sorting_and_fields(void **state) {
    is_canonical("sort=b,a,-b,id,c", "q1{\"limit\":20,\"page\":1,\"sort\":[\"b\",\"a\",\"id\"]}");
    is_canonical("sort=a&sort=b,c", "q1{\"limit\":20,\"page\":1,\"sort\":[\"a\",\"b\",\"c\",\"id\"]}");
    is_canonical("fields=_id", "q1{\"fields\":[\"id\"],\"limit\":20,\"page\":1,\"sort\":[\"id\"]}");
    is_canonical("fields=a.b.c,a-b,a.b,a.b.c.d,a",
                 "q1{\"fields\":[\"a\",\"a-b\",\"id\"],\"limit\":20,\"page\":1,\"sort\":[\"id\"]}");
    is_canonical("fields=a.b.c,a.b.d&fields=a.b.c",
                 "q1{\"fields\":[\"a.b.c\",\"a.b.d\",\"id\"],\"limit\":20,\"page\":1,\"sort\":[\"id\"]}");
    is_canonical("limit=1e1&page=2.0", "q1{\"limit\":10,\"page\":2,\"sort\":[\"id\"]}");
    is_canonical("page=50001",
                 "q1{\"limit\":20,\"page\":50001,\"sort\":[\"id\"]}"); /* the millionth is the last that is skipped */
}

/* --- bounds ----------------------------------------------------------------------------------------------------- */

static void what_a_collection_allows(void **state) {
    mp_query_bounds *b = bounds_of(&(mp_query_options){.filterable = "price, a.b,_id",
                                                       .sortable = "price",
                                                       .searchable = "name,text",
                                                       .default_limit = "5",
                                                       .max_limit = "7"});
    mp_query *q = taken_by(b, "price=1&a.b=2&id=3&sort=-price,id&search=x&fields=anything&limit=7");
    assert_int_equal(q->limit, 7);
    assert_int_equal(q->search_in_count, 2); /* not given: what is searchable */
    mp_query_free(q);
    q = taken_by(b, "sort=-id&search_in=text");
    assert_int_equal(q->limit, 5);
    is_stable(b, q);
    mp_query_free(q);
    refused_by(b, false, T("a=1"), "bad_field", "does not filter");
    refused_by(b, false, T("a.b.c=1"), "bad_field", "does not filter");
    refused_by(b, false, T("where[pric]=1"), "bad_field", "does not filter");
    refused_by(b, false, T("sort=a.b"), "bad_field", "does not allow");
    refused_by(b, false, T("sort=id,a.b"), "bad_field", "does not allow");
    refused_by(b, false, T("search_in=price"), "bad_field", "does not allow");
    refused_by(b, false, T("limit=8"), "bad_page", "from 1 to 7");
    mp_query_bounds_free(b);

    b = bounds_of(&(mp_query_options){.filterable = "", .sortable = " ", .searchable = "*", .max_limit = "3"});
    q = taken_by(b, "sort=-id&search=x&search_in=a");
    assert_int_equal(q->limit, 3);
    mp_query_free(q);
    refused_by(b, false, T("a=1"), "bad_field", "does not filter");
    refused_by(b, false, T("id=1"), "bad_field", "does not filter");
    refused_by(b, false, T("sort=a"), "bad_field", "does not allow");
    refused_by(b, false, T("search=x"), "bad_field", "search_fields");
    mp_query_bounds_free(b);

    b = bounds_of(&(mp_query_options){.searchable = "a,b", .search_fields = "b"});
    q = taken_by(b, "search=x");
    assert_true(q->search_in_count == 1 && strcmp(q->search_in[0].name.data, "b") == 0);
    mp_query_free(q);
    mp_query_bounds_free(b);
    mp_query_bounds_free(NULL);
}

static void options_that_cannot_be(void **state) {
    static const struct row {
        mp_query_options options;
        const char *says;
    } rows[] = {
        {{.filterable = "a,,b"}, "filterable: the field \"\" is empty"},
        {{.sortable = "-a"}, "sortable: the field \"-a\" begins with -"},
        {{.sortable = "a.$b"}, "begins with $"},
        {{.filterable = "a\xff"}, "filterable: the names are not UTF-8"},
        {{.searchable = "a,id"}, "the id cannot be searched"},
        {{.search_fields = "_id"}, "the id cannot be searched"},
        {{.search_fields = "*"}, "name the fields"},
        {{.searchable = "a", .search_fields = "a,b"}, "search_fields: \"b\" is not in searchable"},
        {{.max_limit = "0"}, "max_limit: \"0\" is not a number from 1 to 100000"},
        {{.max_limit = "100001"}, "from 1 to 100000"},
        {{.max_limit = "9999999999999999999"}, "from 1 to 100000"},
        {{.max_limit = ""}, "max_limit: \"\""},
        {{.max_limit = "-1"}, "max_limit: \"-1\""},
        {{.max_limit = "10", .default_limit = "11"}, "default_limit: \"11\" is not a number from 1 to 10"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        mp_query_bounds *bounds = NULL;
        pond_error *err = NULL;
        assert_int_equal(mp_query_bounds_new(&bounds, &rows[i].options, &err), POND_EOPTION);
        assert_null(bounds);
        if (strstr(pond_error_message(err), rows[i].says) == NULL)
            fail_msg("'%s' was to say '%s'", pond_error_message(err), rows[i].says);
        assert_null(pond_error_reason(err));
        pond_error_free(err);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_shared_vectors),
        cmocka_unit_test(the_shared_finds),
        cmocka_unit_test(every_shape_of_a_framework),
        cmocka_unit_test(what_is_refused_and_how),
        cmocka_unit_test(how_operands_are_read),
        cmocka_unit_test(canonical_operands),
        cmocka_unit_test(the_normal_form),
        cmocka_unit_test(the_total),
        cmocka_unit_test(sorting_and_fields),
        cmocka_unit_test(what_a_collection_allows),
        cmocka_unit_test(options_that_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
