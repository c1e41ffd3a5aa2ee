/* What a query means for one document: conditions on every shape of it, the order of all types, what is shown. */
#include "query_support.h"

#include "model/match.h"

static const mp_slice some_id = {"d", 1};

static mp_slice slice(const char *text) { return (mp_slice){text, strlen(text)}; }

static bool matched(const char *query, const char *doc) {
    mp_query *q = taken(query);
    mp_matched m = mp_match(q, some_id, slice(doc));
    if (m != MP_MATCH_YES && m != MP_MATCH_NO) fail_msg("%s of %s: %d", query, doc, m);
    mp_query_free(q);
    return m == MP_MATCH_YES;
}

static void yes(const char *query, const char *doc) {
    if (!matched(query, doc)) fail_msg("%s does not find %s", query, doc);
}

static void no(const char *query, const char *doc) {
    if (matched(query, doc)) fail_msg("%s finds %s", query, doc);
}

/* ---- conditions ---- */

#define DATE(ms) "{\"$date\":{\"$numberLong\":\"" #ms "\"}}"
#define OID "{\"$oid\":\"507f1f77bcf86cd799439011\"}"

static void types_keep_apart(void **state) {
    static const char *const docs[] = {"{}",
                                       "{\"a\":null}",
                                       "{\"a\":10}",
                                       "{\"a\":\"10\"}",
                                       "{\"a\":\"10.0\"}",
                                       "{\"a\":true}",
                                       "{\"a\":\"true\"}",
                                       "{\"a\":\"null\"}",
                                       "{\"a\":" DATE(1577836800000) "}",
                                       "{\"a\":\"2020-01-01\"}",
                                       "{\"a\":" OID "}",
                                       "{\"a\":\"507f1f77bcf86cd799439011\"}",
                                       "{\"a\":{\"k\":10}}",
                                       "{\"a\":[]}",
                                       "{\"a\":1}"};
    enum { DOCS = sizeof docs / sizeof docs[0] };
    static const struct row {
        const char *query, *found; /* one character a document */
    } rows[] = {
        {"a=10", "..YY..........."},
        {"a[ne]=10", "YY..YYYYYYYYYYY"},
        {"a=1e1", "..Y............"},
        {"a=10.0", "..Y.Y.........."},
        {"{\"a\":10.0}", "..YY..........."},
        {"{\"a\":{\"eq\":{\"number\":10}}}", "..Y............"},
        {"{\"a\":{\"eq\":{\"string\":\"10\"}}}", "...Y..........."},
        {"a=true", ".....YY........"},
        {"{\"a\":{\"eq\":{\"bool\":true}}}", ".....Y........."},
        {"a=null", "YY.....Y......."},
        {"{\"a\":null}", "YY.....Y......."},
        {"{\"a\":{\"eq\":{\"string\":\"null\"}}}", ".......Y......."},
        {"a=2020-01-01", "........YY....."},
        {"a[eq][date]=2020-01-01", "........Y......"},
        {"a=2020-01-01T01:00:00%2B01:00", "........Y......"},
        {"a=507f1f77bcf86cd799439011", "..........YY..."},
        {"a=507F1F77BCF86CD799439011", "..........Y...."},
        {"a[eq][oid]=507F1F77BCF86CD799439011", "..........Y...."},
        {"a[gte]=10", "..Y............"},
        {"a[gt]=0", "..Y...........Y"},
        {"a[lt]=2", "..............Y"},
        {"{\"a\":{\"gte\":{\"string\":\"10\"}}}", "...YY.YY.Y.Y..."},
        {"a[gte]=2020-01-01", "......YYYY.Y..."}, /* texts, and instants */
        {"a[gte][date]=0", "........Y......"},
        {"a[lt][date]=0", "..............."},
        {"a[in]=10,true", "..YY.YY........"},
        {"a[ne]=10&a[ne]=true", "YY..Y..YYYYYYYY"},
        {"{\"a\":[]}", "..............."},
        {"{\"a\":{\"ne\":[]}}", "YYYYYYYYYYYYYYY"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char found[DOCS + 1] = "";
        for (size_t k = 0; k < DOCS; k++) found[k] = matched(rows[i].query, docs[k]) ? 'Y' : '.';
        if (strcmp(found, rows[i].found) != 0)
            fail_msg("%s finds\n%s instead of\n%s", rows[i].query, found, rows[i].found);
    }
}

static void numbers_are_exact(void **state) {
    yes("a=9007199254740993", "{\"a\":9007199254740993}");
    no("a=9007199254740993", "{\"a\":9007199254740992}");
    no("a=9007199254740993", "{\"a\":9007199254740992.0}");
    yes("a=9007199254740992", "{\"a\":9007199254740992.0}");
    yes("a[lt]=9007199254740993", "{\"a\":9007199254740992.0}");
    yes("a[gt]=9007199254740992", "{\"a\":9007199254740993}");
    no("a[gt]=9007199254740992", "{\"a\":9007199254740992.0}");
    yes("a=9223372036854775807", "{\"a\":9223372036854775807}");
    no("a=9223372036854775807", "{\"a\":9223372036854775808}");
    yes("a[lt]=9223372036854775808", "{\"a\":9223372036854775807}");
    yes("a=9223372036854775808", "{\"a\":9.223372036854775807e18}");
    no("a=9223372036854775807", "{\"a\":9.223372036854775807e18}"); /* that is 2^63 */
    yes("a=-9223372036854775808", "{\"a\":-9223372036854775808}");
    yes("a=-9223372036854775808", "{\"a\":-9.223372036854775808e18}");
    no("a[gt]=-9223372036854775808", "{\"a\":-9223372036854775808}");
    yes("a[gt]=-9223372036854775808", "{\"a\":-9223372036854775807}");
    yes("a=0", "{\"a\":-0.0}");
    yes("a=-0.0", "{\"a\":0}");
    no("a[lt]=0", "{\"a\":-0.0}");
    yes("a=0.1", "{\"a\":0.1}");
    no("a=0.3", "{\"a\":0.30000000000000004}");
    yes("a[gt]=0", "{\"a\":5e-324}");
    yes("a[lt]=1e308", "{\"a\":1e300}");
    yes("a=18446744073709551615", "{\"a\":18446744073709551615}"); /* past int64 both are the nearest double */
    yes("a=18446744073709551616", "{\"a\":18446744073709551615}");
    yes("a=1e400", "{\"a\":\"1e400\"}"); /* only that text */
}

static void lists_match_by_their_elements(void **state) {
    yes("a=1", "{\"a\":[1,2]}");
    no("a=1", "{\"a\":[[1]]}");
    no("a[ne]=1", "{\"a\":[1,2]}");
    yes("a[ne]=3", "{\"a\":[1,2]}");
    no("a=null", "{\"a\":[]}");
    yes("a[ne]=null", "{\"a\":[]}");
    yes("a=null", "{\"a\":[null]}");
    yes("a[gt]=1&a[lt]=2", "{\"a\":[0,5]}"); /* each condition on its own */
    no("a[gt]=1&a[lt]=2", "{\"a\":[2,5]}");
    yes("a.b=1", "{\"a\":[{\"b\":1},{\"b\":2}]}");
    yes("a.b=1", "{\"a\":{\"b\":[1]}}");
    no("a.b=1", "{\"a\":[[{\"b\":1}]]}"); /* elements that are no objects give nothing */
    yes("a.b=null", "{\"a\":5}");
    yes("a.b=null", "{\"a\":null}");
    yes("a.b=null", "{}");
    yes("a.b=null", "{\"a\":{}}");
    no("a.b=null", "{\"a\":[]}");
    no("a.b=null", "{\"a\":[5]}");
    no("a.b=null", "{\"a\":[null]}");
    yes("a.b=null", "{\"a\":[5,{}]}");
    yes("a.b=null", "{\"a\":[{\"b\":1},{}]}");
    no("a.b=null", "{\"a\":[{\"b\":[]}]}");
    yes("a.b.c=1", "{\"a\":[{\"b\":[{\"c\":1}]}]}");
    no("a.b.c=1", "{\"a\":[{\"b\":[[{\"c\":1}]]}]}");
    yes("a.b.c=null", "{\"a\":[{\"b\":1}]}");
    yes("a.b.c.d.e.f.g.h=1", "{\"a\":{\"b\":{\"c\":{\"d\":{\"e\":{\"f\":{\"g\":{\"h\":1}}}}}}}}");
    /* Dates and ObjectIds are scalars, however they are written. */
    yes("a.b=null", "{\"a\":" OID "}");
    no("a.b=null", "{\"a\":[" OID "," DATE(5) "]}");
    yes("a=507f1f77bcf86cd799439011", "{\"a\":[" OID "]}");
    no("a[gte]=0", "{\"a\":" DATE(5) "}");
    yes("a[eq][date]=-1", "{\"a\":" DATE(-1) "}");
    /* What only resembles one is an object. */
    no("a[eq][date]=5", "{\"a\":{\"$date\":5}}");
    no("a=507f1f77bcf86cd799439011", "{\"a\":{\"$oid\":5}}");
}

static void the_id_is_a_text(void **state) {
    static const struct row {
        const char *query, *id;
        bool found;
    } rows[] = {{"id=10", "10", true},      {"id=10", "10.0", false},
                {"id[gt]=10", "9", false},  {"id[gt][string]=10", "9", true},
                {"id[ne]=10", "10", false}, {"id[ne]=10", "x", true},
                {"_id=x", "x", true},       {"id[in]=a,b", "b", true},
                {"id=null", "null", true},  {"id[ne]=null", "x", true},
                {"id[lt]=b", "a", true},    {"id[lte]=b", "b", true},
                {"id[gte]=b", "a", false},  {"{\"id\":{\"eq\":{\"number\":1}}}", "1", false},
                {"id=x", "X", false},       {"{\"id\":[]}", "x", false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        mp_query *q = taken(rows[i].query);
        /* A member of that name is not the id. */
        mp_matched m = mp_match(q, slice(rows[i].id), slice("{\"id\":\"x\",\"_id\":\"x\"}"));
        if (m != (rows[i].found ? MP_MATCH_YES : MP_MATCH_NO)) fail_msg("%s of %s: %d", rows[i].query, rows[i].id, m);
        mp_query_free(q);
    }
}

static void search_looks_into_texts(void **state) {
    yes("search=RED+shoes", "{\"name\":\"shoes, reddish\"}");
    yes("search=red+shoes", "{\"name\":\"red\",\"description\":[\"of\",\"Shoes\"]}");
    no("search=red+shoes", "{\"name\":\"red\",\"other\":\"shoes\"}");
    no("search=10", "{\"name\":10}");
    yes("search=10", "{\"name\":\"no. 10\"}");
    yes("{\"search\":10}", "{\"name\":\"no. 10\"}");
    no("search=red", "{\"name\":{\"t\":\"red\"}}");
    no("search=red", "{\"name\":[[\"red\"]]}");
    yes("search=stra%C3%9Fe", "{\"name\":\"STRA\xe1\xba\x9e"
                              "E\"}");
    no("search=strasse", "{\"name\":\"Stra\xc3\x9f"
                         "e\"}");
    yes("search=red&search_in=a.b", "{\"a\":[{\"b\":\"x\"},{\"b\":[\"Red\"]}]}");
    yes("search=%25_", "{\"name\":\"100%_\"}");
    yes("search=red&name=Red", "{\"name\":\"Red\"}");
    no("search=red&name=red", "{\"name\":\"Red\"}");
    yes("search=++", "{}"); /* no term, no search */
}

/* ---- order ---- */

static int sort_key(const char *query, const char *id, const char *doc, mp_buf *out) {
    mp_query *q = taken(query);
    mp_matched m = mp_match_sort_key(q, slice(id), slice(doc), out);
    mp_query_free(q);
    return m;
}

static int order_of(const char *query, const char *doc, const char *than) {
    mp_buf one, two;
    mp_buf_init(&one);
    mp_buf_init(&two);
    assert_int_equal(sort_key(query, "m", doc, &one), MP_MATCH_YES);
    assert_int_equal(sort_key(query, "m", than, &two), MP_MATCH_YES);
    int way = mp_slice_order((mp_slice){one.data, one.len}, (mp_slice){two.data, two.len});
    mp_buf_free(&one);
    mp_buf_free(&two);
    return (way > 0) - (way < 0);
}

/* The values of `a`, each smaller than the next; those that follow a NULL are equal to the one before it. */
static void every_type_has_its_place(void **state) {
    static const char *const values[] = {"[]",
                                         "null",
                                         NULL,
                                         "[null]",
                                         "-1e300",
                                         "-9223372036854775808",
                                         NULL,
                                         "-9.223372036854775808e18",
                                         "-9223372036854775807",
                                         "-10.5",
                                         "-3",
                                         "-5e-324",
                                         "0",
                                         NULL,
                                         "-0.0",
                                         NULL,
                                         "0.0",
                                         "5e-324",
                                         "0.1",
                                         "1",
                                         NULL,
                                         "1.0",
                                         "9007199254740991",
                                         "9007199254740992",
                                         NULL,
                                         "9007199254740992.0",
                                         "9007199254740993",
                                         "9007199254740994",
                                         NULL,
                                         "9007199254740994.0",
                                         "9223372036854775295",
                                         "9223372036854775807",
                                         "9223372036854775808",
                                         NULL,
                                         "9.223372036854775808e18",
                                         "1e300",
                                         "\"\"",
                                         "\"\\u0001\"",
                                         "\" a\"",
                                         "\"10\"",
                                         "\"9\"",
                                         "\"Z\"",
                                         "\"a\"",
                                         "\"a\\u0001\"",
                                         "\"a b\"",
                                         "\"ab\"",
                                         "\"z\"",
                                         "\"\xc3\xa9\"",
                                         "\"\xef\xbf\xbf\"",
                                         "\"\xf0\x9d\x92\xb3\"",
                                         "{}",
                                         "{\"a\":1}",
                                         "{\"a\":1,\"b\":null}",
                                         "{\"a\":2}",
                                         "{\"b\":1}",
                                         "{\"a\":\"x\"}",
                                         "{\"a\":{}}",
                                         "{\"a\":[]}",
                                         "{\"a\":true}",
                                         "[[]]",
                                         "[[null]]",
                                         "[[1]]",
                                         "[[1,0]]",
                                         "[[2]]",
                                         "[[\"x\"]]",
                                         OID,
                                         "{\"$oid\":\"507f1f77bcf86cd799439012\"}",
                                         "false",
                                         "true",
                                         "{\"$date\":{\"$numberLong\":\"-9223372036854775808\"}}",
                                         DATE(-1),
                                         DATE(0),
                                         DATE(1577836800000)};
    enum { VALUES = sizeof values / sizeof values[0] };
    size_t steps = 0;
    const char *before = NULL;
    for (size_t i = 0; i < VALUES; i++) {
        bool same = values[i] == NULL;
        if (same) i++;
        if (before) {
            char one[200], two[200];
            snprintf(one, sizeof one, "{\"a\":%s}", before);
            snprintf(two, sizeof two, "{\"a\":%s}", values[i]);
            int up = order_of("sort=a", one, two), down = order_of("sort=-a", one, two);
            if (up != (same ? 0 : -1)) fail_msg("%s and %s: %d", before, values[i], up);
            if (down != (same ? 0 : 1)) fail_msg("%s and %s, down: %d", before, values[i], down);
            steps++;
        }
        before = values[i];
    }
    assert_true(steps > 60);
    assert_int_equal(order_of("sort=a", "{}", "{\"a\":null}"), 0);
    assert_int_equal(order_of("sort=a.b", "{\"a\":5}", "{}"), 0);
}

static void lists_sort_by_their_end(void **state) {
    assert_int_equal(order_of("sort=a", "{\"a\":[5,1]}", "{\"a\":2}"), -1);
    assert_int_equal(order_of("sort=-a", "{\"a\":[5,1]}", "{\"a\":2}"), -1); /* by 5 */
    assert_int_equal(order_of("sort=a", "{\"a\":[\"x\",1]}", "{\"a\":1}"), 0);
    assert_int_equal(order_of("sort=a", "{\"a\":[1,[0]]}", "{\"a\":1}"), 0);
    assert_int_equal(order_of("sort=-a", "{\"a\":[1,[0]]}", "{\"a\":[[0]]}"), 0);
    assert_int_equal(order_of("sort=a.b", "{\"a\":[{\"b\":3},{\"b\":1}]}", "{\"a\":{\"b\":1}}"), 0);
    assert_int_equal(order_of("sort=a.b", "{\"a\":[{\"b\":3},{}]}", "{}"), 0);
    assert_int_equal(order_of("sort=a.b", "{\"a\":[{\"b\":3},7]}", "{}"),
                     0); /* an element that is no object gives null */
    assert_int_equal(order_of("sort=a.b", "{\"a\":[{\"b\":3}," OID "]}", "{}"), 0);
    assert_int_equal(order_of("sort=a.b", "{\"a\":[]}", "{}"), 0);          /* and so does an empty list on the way */
    assert_int_equal(order_of("sort=a.b", "{\"a\":{\"b\":[]}}", "{}"), -1); /* but at the end it is less than null */
    assert_int_equal(order_of("sort=a.b", "{\"a\":[[{\"b\":3}]]}", "{}"), 0);
}

static void several_fields_and_the_id(void **state) {
    mp_buf one, two;
    mp_buf_init(&one);
    mp_buf_init(&two);
    assert_int_equal(order_of("sort=a,-b", "{\"a\":1,\"b\":1}", "{\"a\":1,\"b\":2}"), 1);
    assert_int_equal(order_of("sort=a,-b", "{\"a\":\"x\",\"b\":1}", "{\"a\":\"xy\",\"b\":0}"), -1);
    assert_int_equal(order_of("sort=-a,b", "{\"a\":\"x\",\"b\":1}", "{\"a\":\"xy\",\"b\":0}"), 1);
    assert_int_equal(sort_key("sort=a", "x1", "{}", &one), MP_MATCH_YES);
    assert_int_equal(sort_key("sort=a", "x10", "{}", &two), MP_MATCH_YES);
    assert_true(memcmp(one.data, two.data, one.len) < 0);
    mp_buf_reset(&one);
    mp_buf_reset(&two);
    assert_int_equal(sort_key("sort=a,-id", "x1", "{}", &one), MP_MATCH_YES);
    assert_int_equal(sort_key("sort=a,-id", "x10", "{}", &two), MP_MATCH_YES);
    assert_true(memcmp(one.data, two.data, one.len) > 0);
    static const struct row {
        const char *query, *doc;
        mp_matched want;
    } rows[] = {
        {"sort=a,b", "{\"a\":[1],\"b\":[2]}", MP_MATCH_SORT_ARRAYS},
        {"sort=a,b", "{\"a\":[],\"b\":[]}", MP_MATCH_SORT_ARRAYS},
        {"sort=a,b", "{\"a\":[1],\"b\":2}", MP_MATCH_YES},
        {"sort=a.b,a.c", "{\"a\":[{\"b\":1}]}", MP_MATCH_SORT_ARRAYS}, /* both pass through one */
        {"sort=a.b,a.c", "{\"a\":{\"b\":[1],\"c\":1}}", MP_MATCH_YES},
        {"sort=a.b,c", "{\"a\":5,\"c\":[1]}", MP_MATCH_YES},
        {"sort=a,b", "{\"a\":{\"b\":[1]},\"b\":[1]}", MP_MATCH_YES},
        {"sort=a,b", "[]", MP_MATCH_DAMAGED},
        {"sort=a,b", "", MP_MATCH_DAMAGED},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        mp_buf_reset(&one);
        if (sort_key(rows[i].query, "x", rows[i].doc, &one) != (int)rows[i].want)
            fail_msg("%s of %s", rows[i].query, rows[i].doc);
    }
    mp_buf_free(&one);
    mp_buf_free(&two);
}

/* ---- what is shown ---- */

static void shows(const char *fields, const char *doc, const char *want) {
    char text[300];
    mp_buf out;
    mp_buf_init(&out);
    snprintf(text, sizeof text, "fields=%s", fields);
    mp_query *q = taken(text);
    assert_int_equal(mp_match_project(q, some_id, slice(doc), &out), MP_MATCH_YES);
    if (strcmp(out.data, want) != 0) fail_msg("%s of %s: %s instead of %s", fields, doc, out.data, want);
    mp_query_free(q);
    mp_buf_free(&out);
}

static void fields_show_what_they_name(void **state) {
    shows("b,a", "{\"a\":1,\"x\":2,\"b\":null}", "{\"id\":\"d\",\"a\":1,\"b\":null}"); /* in the document's order */
    shows("id", "{\"a\":1,\"id\":5,\"_id\":6,\"_mpv\":7}", "{\"id\":\"d\"}");
    shows("missing", "{\"a\":1}", "{\"id\":\"d\"}");
    shows("a.b", "{\"a\":{\"b\":1,\"c\":2}}", "{\"id\":\"d\",\"a\":{\"b\":1}}");
    shows("a.b", "{\"a\":{\"c\":2}}", "{\"id\":\"d\",\"a\":{}}");
    shows("a.b", "{\"a\":5}", "{\"id\":\"d\"}");
    shows("a.b", "{\"a\":" OID "}", "{\"id\":\"d\"}");
    shows("a", "{\"a\":" OID "}", "{\"id\":\"d\",\"a\":" OID "}");
    shows("a.b", "{\"a\":[{\"b\":1},5,{\"c\":1},null,[{\"b\":2},6]," DATE(5) "]}",
          "{\"id\":\"d\",\"a\":[{\"b\":1},{},[{\"b\":2}]]}");
    shows("a.b", "{\"a\":[]}", "{\"id\":\"d\",\"a\":[]}");
    shows("a.b,a", "{\"a\":{\"b\":1,\"c\":2}}", "{\"id\":\"d\",\"a\":{\"b\":1,\"c\":2}}");
    shows("a.b.c,a.d", "{\"a\":{\"b\":[{\"c\":1,\"x\":1}],\"d\":{\"e\":[]},\"x\":1}}",
          "{\"id\":\"d\",\"a\":{\"b\":[{\"c\":1}],\"d\":{\"e\":[]}}}");
    shows("x.b", "{\"a\":{\"b\":1},\"b\":1}", "{\"id\":\"d\"}"); /* the whole way counts */
    shows("n", "{\"n\":1.50}", "{\"id\":\"d\",\"n\":1.50}");     /* as it is spelled */
    shows("n", "{\"n\":123456789012345678901234567890}", "{\"id\":\"d\",\"n\":123456789012345678901234567890}");
}

static void the_id_is_escaped(void **state) {
    mp_buf out;
    mp_buf_init(&out);
    mp_query *q = taken("fields=x");
    assert_int_equal(mp_match_project(q, slice("a\"b\\c\n"), slice("{\"x\":\"\xc3\xa9\\u0007\"}"), &out), MP_MATCH_YES);
    assert_string_equal(out.data, "{\"id\":\"a\\\"b\\\\c\\n\",\"x\":\"\xc3\xa9\\u0007\"}");
    mp_query_free(q);
    mp_buf_free(&out);
}

/* ---- what is no document ---- */

static void damage_is_said(void **state) {
    static const char *const docs[] = {
        "",           " ",          "{", "[]", "5", "null", "{\"a\":1}x", "{\"a\":\"\xff\"}", "{\"a\":\"\\ud800\"}",
        "{\"a\":1,}", "{\"a\":NaN}"};
    mp_buf out;
    mp_buf_init(&out);
    mp_query *q = taken("a=1&sort=a&fields=a");
    for (size_t i = 0; i < sizeof docs / sizeof docs[0]; i++) {
        if (mp_match(q, some_id, slice(docs[i])) != MP_MATCH_DAMAGED) fail_msg("%s", docs[i]);
        assert_int_equal(mp_match_sort_key(q, some_id, slice(docs[i]), &out), MP_MATCH_DAMAGED);
        assert_int_equal(mp_match_project(q, some_id, slice(docs[i]), &out), MP_MATCH_DAMAGED);
    }
    assert_int_equal(out.len, 0);
    assert_int_equal(mp_match(q, some_id, (mp_slice){NULL, 0}), MP_MATCH_DAMAGED);
    mp_query_free(q);
    mp_buf_free(&out);
}

/* Depth costs no stack. */
static void depth_is_bounded(void **state) {
    enum { DEEP = 200000 };
    static const char *const kinds[][2] = {{"[", "]"}, {"{\"a\":", "}"}, {"[{\"a\":", "}]"}};
    for (size_t i = 0; i < 3; i++) {
        mp_buf doc, out;
        mp_buf_init(&doc);
        mp_buf_init(&out);
        mp_buf_text(&doc, "{\"a\":");
        for (int n = 0; n < DEEP; n++) mp_buf_text(&doc, kinds[i][0]);
        mp_buf_text(&doc, "1");
        for (int n = 0; n < DEEP; n++) mp_buf_text(&doc, kinds[i][1]);
        mp_buf_text(&doc, "}");
        mp_query *q = taken("a.a.a.a.a.a.a.a=1&sort=a&fields=a.a.a.a.a.a.a.a&search=x&search_in=a.a");
        const mp_slice text = {doc.data, doc.len};
        assert_int_equal(mp_match(q, some_id, text), MP_MATCH_NO);
        assert_int_equal(mp_match_sort_key(q, some_id, text, &out), MP_MATCH_YES);
        assert_true(out.len < 1000 * 16);
        mp_buf_reset(&out);
        assert_int_equal(mp_match_project(q, some_id, text, &out), MP_MATCH_YES);
        mp_query_free(q);
        mp_buf_free(&doc);
        mp_buf_free(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_keep_apart),
        cmocka_unit_test(numbers_are_exact),
        cmocka_unit_test(lists_match_by_their_elements),
        cmocka_unit_test(the_id_is_a_text),
        cmocka_unit_test(search_looks_into_texts),
        cmocka_unit_test(every_type_has_its_place),
        cmocka_unit_test(lists_sort_by_their_end),
        cmocka_unit_test(several_fields_and_the_id),
        cmocka_unit_test(fields_show_what_they_name),
        cmocka_unit_test(the_id_is_escaped),
        cmocka_unit_test(damage_is_said),
        cmocka_unit_test(depth_is_bounded),
    };
    return cmocka_run_group_tests_name("match", tests, NULL, NULL);
}
