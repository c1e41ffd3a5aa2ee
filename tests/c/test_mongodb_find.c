/* Queries on the mongodb: store, on a real replica set: the vectors of tests/spec/find.json without and with declared indexes,
 * queries by the thousand against model/match alone, and collections that somebody else has made. */
#include "mongodb_store.h"

#include "find_cases.h"

#include "model/fold.h"
#include "store/mongodb_json.h"
#include "store/mongodb_query.h"

/* Writes them past the store. */
static void fill(fixture *f, const documents *docs) {
    enum { AT_ONCE = 1000 };
    bson_error_t why;
    mongoc_collection_t *to = mongoc_client_get_collection(f->other, f->name, docs->collection);
    for (size_t from = 0; from < docs->count; from += AT_ONCE) {
        const bson_t *some[AT_ONCE];
        size_t n = docs->count - from < AT_ONCE ? docs->count - from : AT_ONCE;
        for (size_t i = 0; i < n; i++) {
            const document *d = &docs->all[from + i];
            const mp_document_name name = {docs->collection, d->id, strlen(d->id)};
            bson_t *doc = bson_new();
            bson_append_utf8(doc, "_id", -1, d->id, -1);
            ok(mp_mongodb_bson(doc, &name, d->doc, d->len, e));
            some[i] = doc;
        }
        if (!mongoc_collection_insert_many(to, some, n, NULL, NULL, &why)) fail_msg("%s", why.message);
        for (size_t i = 0; i < n; i++) bson_destroy((bson_t *)some[i]);
    }
    mongoc_collection_destroy(to);
}

/* ---- the vectors ---- */

static void the_vectors(void **state) {
    fixture *f = *state;
    documents many = films(1), few = nasty();
    fill(f, &many);
    fill(f, &few);
    check_vectors(f->store);
    declare_all(f->store);
    check_vectors(f->store);
    documents_free(&many);
    documents_free(&few);
}

/* ---- queries by the thousand ---- */

static void thousands_of_queries(void **state) {
    fixture *f = *state;
    const char *given = getenv("MILLPOND_TEST_SEED"), *rounds = getenv("MILLPOND_TEST_ROUNDS");
    size_t count = rounds ? strtoul(rounds, NULL, 10) : 1;
    seed = given ? strtoull(given, NULL, 10) : 20240601;
    documents many = films(1), few = nasty(), all = mixed(400);
    const place places[] = {PLACE(&many, film_fields), PLACE(&few, nasty_fields), PLACE(&all, mixed_fields)};
    const size_t counts[] = {500 * count / FEWER, 400 * count / FEWER, 400 * count / FEWER};
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
    documents_free(&many);
    documents_free(&few);
    documents_free(&all);
}

/* ---- search ---- */

/* The classes of the regular expression against model/fold, for every code point that has others. */
static void every_letter_is_found_in_every_case(void **state) {
    fixture *f = *state;
    documents letters = {.collection = "letters", .all = calloc(6000, sizeof(document))};
    uint32_t variants[MP_FOLD_VARIANTS_MAX];
    assert_non_null(letters.all);
    for (uint32_t code = 1; code < 0x1f000; code++) {
        if (code >= 0xd800 && code < 0xe000) continue;
        if (mp_fold_variants(code, variants) < 2 && !(code >= 0x21 && code < 0x7f)) continue;
        char text[80], utf8[4];
        size_t n = mp_fold_put(utf8, code);
        bool escape = code == '"' || code == '\\';
        int len = snprintf(text, sizeof text, "{\"s\":\"<%s%.*s>\"}", escape ? "\\" : "", (int)n, utf8);
        document *d = &letters.all[letters.count++];
        assert_true(letters.count < 6000);
        snprintf(d->id, sizeof d->id, "%05x", code);
        d->doc = strdup(text);
        d->len = (size_t)len;
    }
    fill(f, &letters);
    assert_true(letters.count > 2700);
    for (size_t i = 0; i < letters.count; i += i < 100 ? 1 : 7) { /* a term of two, so that a wrong class cannot hide */
        mp_buf text;
        mp_buf_init(&text);
        mp_buf_text(&text, "{\"search\":");
        const char *s = strchr(letters.all[i].doc, '<');
        mp_buf_printf(&text, "\"%.*s\",\"search_in\":\"s\",\"limit\":10}", (int)(strrchr(s, '"') - s), s);
        mp_query *q = taken_by(free_bounds(), text.data);
        page want = expected(&letters, q), got = find(f->store, "letters", q);
        if (got.code != POND_OK) fail_msg("%s: %s", text.data, got.error);
        assert_true(want.total > 0);
        assert_string_equal(got.data.data, want.data.data);
        mp_buf_free(&want.data);
        mp_buf_free(&got.data);
        mp_query_free(q);
        mp_buf_free(&text);
    }
    documents_free(&letters);
}

static void a_search_means_what_it_says(void **state) {
    static const char *const nasty_terms[] = {
        ".*", "^red$", "[a-z]",   "(",     ")", "\\", "\\E", "\\Q.", "(?i)x", "a{2}",  "a|b", "$",   "*", "+", "?", "-",
        "]",  "[^a]",  "(*UTF8)", "\\x41", "#", "/",  "'",   "_",    "%",     "a.b*c", "\\d", "(?#", "{", "}"};
    fixture *f = *state;
    char text[200], doc[200], id[8], want[8];
    for (size_t i = 0; i < sizeof nasty_terms / sizeof nasty_terms[0]; i++) {
        mp_buf json;
        mp_buf_init(&json);
        mp_buf_json(&json, nasty_terms[i], strlen(nasty_terms[i]));
        snprintf(doc, sizeof doc, "{\"s\":%s,\"n\":%zu}", json.data, i);
        snprintf(id, sizeof id, "%02zu", i);
        put(f->store, "terms", id, doc);
        mp_buf_free(&json);
    }
    for (size_t i = 0; i < sizeof nasty_terms / sizeof nasty_terms[0]; i++) {
        mp_buf json;
        mp_buf_init(&json);
        mp_buf_json(&json, nasty_terms[i], strlen(nasty_terms[i]));
        snprintf(text, sizeof text, "{\"search\":%s,\"search_in\":\"s\",\"where\":{\"n\":%zu}}", json.data, i);
        snprintf(want, sizeof want, "%02zu", i);
        finds(f->store, "terms", text, 1, want);
        mp_buf_free(&json);
    }
    finds(f->store, "terms", "search=.*&search_in=s", 1, "00");
    finds(f->store, "terms", "search=%5E&search_in=s", 2, "01 17"); /* ^red$ and [^a] */
    char longest[300] = "{\"search_in\":\"s\",\"search\":\"";
    size_t len = strlen(longest);
    memset(longest + len, 'k', MP_QUERY_SEARCH_MAX); /* each a class of three */
    strcpy(longest + len + MP_QUERY_SEARCH_MAX, "\"}");
    finds(f->store, "terms", longest, 0, "");
}

/* ---- collections of others ---- */

static void ids_in_queries(void **state) {
    fixture *f = *state;
    insert(f, "films", "{\"_id\":{\"$numberInt\":\"2\"},\"a\":1}");
    insert(f, "films", "{\"_id\":{\"$numberLong\":\"10\"},\"a\":1}");
    insert(f, "films", "{\"_id\":\"10\",\"a\":1}");
    insert(f, "films", "{\"_id\":{\"$oid\":\"507f1f77bcf86cd799439011\"},\"a\":1,\"id\":\"mine\",\"_mpv\":7}");
    insert(f, "films", "{\"_id\":{\"$date\":{\"$numberLong\":\"0\"}},\"a\":1}");
    insert(f, "films", "{\"_id\":{\"x\":1.5},\"a\":1}");
    page p = find_text(f->store, "films", "a=1");
    assert_int_equal(p.total, 6);
    assert_string_equal(p.data.data,
                        "[{\"id\":2,\"a\":1},{\"id\":10,\"a\":1},{\"id\":\"10\",\"a\":1},{\"id\":{\"x\":1.5},\"a\":1},"
                        "{\"id\":\"507f1f77bcf86cd799439011\",\"a\":1},"
                        "{\"id\":{\"$date\":{\"$numberLong\":\"0\"}},\"a\":1}]");
    mp_buf_free(&p.data);
    static const char *const queries[][2] = {
        {"id=10&fields=id", "[{\"id\":10},{\"id\":\"10\"}]"},
        {"_id=10&fields=id", "[{\"id\":10},{\"id\":\"10\"}]"},
        {"{\"id\":{\"eq\":{\"string\":\"10\"}},\"fields\":\"id\"}", "[{\"id\":\"10\"}]"},
        {"id[in]=2,507f1f77bcf86cd799439011&fields=id", "[{\"id\":2},{\"id\":\"507f1f77bcf86cd799439011\"}]"},
        {"id[gt]=2&fields=id", "[{\"id\":10}]"},
        {"id=mine", "[]"},
        {"fields=id&sort=-id&limit=2",
         "[{\"id\":{\"$date\":{\"$numberLong\":\"0\"}}},{\"id\":\"507f1f77bcf86cd799439011\"}]"},
    };
    for (size_t i = 0; i < sizeof queries / sizeof queries[0]; i++) {
        p = find_text(f->store, "films", queries[i][0]);
        if (p.code != POND_OK) fail_msg("%s: %s", queries[i][0], p.error);
        assert_string_equal(p.data.data, queries[i][1]);
        mp_buf_free(&p.data);
    }
}

static void a_collation_changes_nothing(void **state) {
    fixture *f = *state;
    command(f, "{\"create\":\"soft\",\"collation\":{\"locale\":\"en\",\"strength\":1}}");
    insert(f, "soft", "{\"_id\":\"1\",\"x\":\"a\"}");
    insert(f, "soft", "{\"_id\":\"2\",\"x\":\"A\"}");
    insert(f, "soft", "{\"_id\":\"3\",\"x\":\"b\"}");
    for (int round = 0; round < 2; round++) {
        finds(f->store, "soft", "x=a", 1, "1");
        finds(f->store, "soft", "x[gte]=a", 2, "1 3");
        finds(f->store, "soft", "sort=x", 3, "2 1 3");
        finds(f->store, "soft", "id=%C3%A1", 0, "");
        declare(f->store, "soft", "x");
    }
    assert_string_equal(index_used(f->store, "soft", "x=a"), "x_1__id_1"); /* of the same collation as the query */
}

/* Numbers, and strings, that JSON does not know. */
static void hostile_documents(void **state) {
    fixture *f = *state;
    insert(f, "odd", "{\"_id\":\"1\",\"x\":{\"$numberDouble\":\"NaN\"}}");
    insert(f, "odd", "{\"_id\":\"2\",\"x\":{\"$numberDouble\":\"Infinity\"}}");
    insert(f, "odd", "{\"_id\":\"3\",\"x\":{\"$numberDecimal\":\"10\"}}");
    insert(f, "odd", "{\"_id\":\"4\",\"x\":{\"$regularExpression\":{\"pattern\":\"a\",\"options\":\"\"}}}");
    insert(f, "odd", "{\"_id\":\"5\",\"x\":{\"$binary\":{\"base64\":\"\",\"subType\":\"00\"}}}");
    insert(f, "odd", "{\"_id\":\"6\",\"x\":{\"$minKey\":1}}");
    insert(f, "odd", "{\"_id\":\"7\",\"x\":{\"$timestamp\":{\"t\":1,\"i\":1}}}");
    insert(f, "odd", "{\"_id\":\"8\",\"x\":{\"$where\":\"sleep(1000)\"}}");
    insert(f, "odd", "{\"_id\":\"9\",\"x\":{\"$code\":\"f()\"}}");
    finds(f->store, "odd", "x=10", 1, "3");
    finds(f->store, "odd", "x[gt]=1e300", 1, "2");
    finds(f->store, "odd", "x=null", 0, "");
    finds(f->store, "odd", "search=a&search_in=x", 0, "");
    finds(f->store, "odd", "sort=x", 9, "6 1 3 2 8 5 7 4 9");
    page p = find_text(f->store, "odd", "fields=x&limit=2");
    assert_string_equal(
        p.data.data,
        "[{\"id\":\"1\",\"x\":{\"$numberDouble\":\"NaN\"}},{\"id\":\"2\",\"x\":{\"$numberDouble\":\"Infinity\"}}]");
    mp_buf_free(&p.data);
}

/* What would be an operator if it were spliced. */
static void operators_in_values(void **state) {
    fixture *f = *state;
    put(f->store, "films", "1", "{\"a\":\"$where\",\"b\":\"{\\\"$gt\\\":\\\"\\\"}\"}");
    put(f->store, "films", "2", "{\"a\":\"x\",\"b\":\"y\",\"c\":{\"d\":1}}");
    finds(f->store, "films", "a=$where", 1, "1");
    finds(f->store, "films", "b={\"$gt\":\"\"}", 1, "1");
    finds(f->store, "films", "a[ne]=$where", 1, "2");
    finds(f->store, "films", "a[in]=$where,$gt", 1, "1");
    finds(f->store, "films", "c={\"d\":1}", 0, "");
    finds(f->store, "films", "a[gte][string]={", 0, "");
    finds(f->store, "films", "sort=a%24b&fields=a%24b,c.d%24", 2, "1 2");
    finds(f->store, "films", "a%24b=1", 0, "");
}

/* ---- pages ---- */

static void pages_have_bounds(void **state) {
    fixture *f = *state;
    mp_store *narrow = NULL;
    char doc[600];
    memset(doc, 'x', sizeof doc);
    memcpy(doc, "{\"a\":\"", 6);
    strcpy(doc + 500, "\"}");
    for (int i = 0; i < 5; i++) {
        char id[12];
        snprintf(id, sizeof id, "%d", i);
        put(f->store, "films", id, doc);
    }
    ok(open_at(&narrow, f->address, "5s", "2KiB", e));
    find_fails(narrow, "films", "", POND_EVALUE, "max_value is 2048 bytes");
    page p = find_text(narrow, "films", "limit=3");
    assert_int_equal(p.code, POND_OK);
    assert_int_equal(p.total, 5);
    mp_buf_free(&p.data);
    finds(narrow, "films", "fields=id", 5, "0 1 2 3 4");
    narrow->vt->close(narrow);
    finds(f->store, "films", "page=2&limit=2", 5, "2 3");
    finds(f->store, "films", "page=7&limit=2", 5, "");
    finds(f->store, "films", "page=10001&limit=100", 5, "");
    finds(f->store, "nothing", "a=1&sort=b", 0, "");
    /* what stands in the buffer already stays */
    mp_query *q = taken_by(free_bounds(), "limit=1&fields=id");
    mp_buf out;
    mp_buf_init(&out);
    mp_buf_text(&out, "{\"data\":");
    size_t count = 0;
    ok(f->store->vt->find(f->store, "films", q, &out, &count, e));
    assert_int_equal(count, 1);
    assert_string_equal(out.data, "{\"data\":[{\"id\":\"0\"}]");
    mp_buf_free(&out);
    mp_query_free(q);
}

/* More than one answer of the server. */
static void a_large_page(void **state) {
    enum { N = 20, EACH = 1000000 };
    fixture *f = *state;
    mp_store *wide = NULL;
    char *doc = malloc(EACH + 10), id[12];
    assert_non_null(doc);
    memset(doc, 'y', EACH);
    memcpy(doc, "{\"a\":\"", 6);
    strcpy(doc + EACH, "\"}");
    for (int i = 0; i < N; i++) {
        snprintf(id, sizeof id, "%02d", i);
        put(f->store, "films", id, doc);
    }
    ok(open_at(&wide, f->address, "20s", "64MiB", e));
    page p = find_text(wide, "films", "limit=100");
    if (p.code != POND_OK) fail_msg("%s", p.error);
    assert_int_equal(p.data.len, N * (EACH + 2 + strlen("\"id\":\"00\",") + 1) + 1);
    mp_buf_free(&p.data);
    wide->vt->close(wide);
    free(doc);
}

/* ---- indexes and plans ---- */

static void indexes(void **state) {
    fixture *f = *state;
    put(f->store, "films", "1", "{\"a\":1,\"b\":{\"c\":2}}");
    assert_string_equal(index_used(f->store, "films", "a=1"), "_id_"); /* for the order */
    declare(f->store, "films", "a");
    declare(f->store, "films", "a");
    declare(f->store, "films", "-a");
    declare(f->store, "films", "b.c");
    declare(f->store, "films", "id");
    assert_string_equal(index_used(f->store, "films", "a=1"), "a_1__id_1");
    assert_string_equal(index_used(f->store, "films", "sort=-a"), "a_-1__id_1");
    assert_string_equal(index_used(f->store, "films", "b.c[gt]=1&sort=b.c"), "b.c_1__id_1");
    assert_string_equal(index_used(f->store, "films", "sort=-id"), "_id_");
    assert_string_equal(index_used(f->store, "films", "id=1"), "_id_");
    assert_string_equal(index_used(f->store, "films", "c=1&sort=d"), "");
    assert_string_equal(index_used(f->store, "nothing", "a=1"), "");
    declare(f->store, "new", "a"); /* makes the collection too */
    command(f, "{\"createIndexes\":\"named\",\"indexes\":[{\"key\":{\"a\":1,\"_id\":1},\"name\":\"theirs\"}]}");
    declare(f->store, "named", "a");
    assert_string_equal(index_used(f->store, "named", "a=1"), "theirs");
    /* what the server refuses */
    command(f, "{\"create\":\"view\",\"viewOn\":\"films\"}");
    pond_error *err = NULL;
    mp_query *q = taken("sort=a");
    int rc = f->store->vt->index(f->store, "view", &q->sort[0], &err);
    failed(rc, err, POND_ESTORE, 0, "view: ");
    finds(f->store, "view", "a=1", 1, "1");
    mp_query_free(q);
}

/* An index that takes longer than a call may: it is made all the same, and who asks again waits for it. */
static void an_index_that_takes_its_time(void **state) {
    enum { N = 200000 };
    fixture *f = *state;
    documents many = {.collection = "many", .all = calloc(N, sizeof(document))};
    assert_non_null(many.all);
    for (size_t i = 0; i < N; i++) {
        document *d = &many.all[many.count++];
        snprintf(d->id, sizeof d->id, "%zu", i);
        d->doc = malloc(40);
        d->len = (size_t)snprintf(d->doc, 40, "{\"a\":%zu,\"b\":\"%zu\"}", i * 7919 % N, i);
    }
    fill(f, &many);
    mp_store *hasty = opened(f->address, "50ms");
    pond_error *err = NULL;
    mp_query *q = taken("sort=a");
    int rc = hasty->vt->index(hasty, "many", &q->sort[0], &err), tries = 1;
    failed(rc, err, POND_ESTORE, 1, "many: MongoDB did not answer within store_timeout (50 ms)");
    for (int64_t end = mp_clock_ms() + 60000; rc != POND_OK && mp_clock_ms() < end; tries++) {
        rc = hasty->vt->index(hasty, "many", &q->sort[0], (err = NULL, &err));
        assert_true(rc == POND_OK || pond_error_retriable(err));
        pond_error_free(err);
    }
    assert_int_equal(rc, POND_OK);
    print_message("the index was there at call %d\n", tries);
    assert_string_equal(index_used(f->store, "many", "sort=a"), "a_1__id_1");
    mp_query_free(q);
    hasty->vt->close(hasty);
    documents_free(&many);
}

static void plans(void **state) {
    fixture *f = *state;
    mp_query *q = taken_by(free_bounds(),
                           "a=10&b[gte]=2020-01-01&c[ne]=x&search=red&search_in=s&sort=-a&fields=a&page=3&limit=5");
    mp_buf json;
    mp_buf_init(&json);
    mp_buf_text(&json, "{");
    ok(f->store->vt->plan(f->store, "films", q, &json, e));
    mp_buf_text(&json, "}");
    assert_string_equal(
        json.data,
        "{\"index\":null,\"statement\":\"{\\\"find\\\":\\\"films\\\",\\\"filter\\\":{\\\"$and\\\":[{\\\"a\\\":{\\\"$"
        "in\\\":[10,\\\"10\\\"]}},"
        "{\\\"$or\\\":[{\\\"b\\\":{\\\"$gte\\\":\\\"2020-01-01\\\"}},{\\\"b\\\":{\\\"$gte\\\":{\\\"$date\\\":{\\\"$"
        "numberLong\\\":\\\"1577836800000\\\"}}}}]},"
        "{\\\"c\\\":{\\\"$nin\\\":[\\\"x\\\"]}},{\\\"$or\\\":[{\\\"s\\\":{\\\"$regex\\\":\\\"[Rr][Ee][Dd]\\\"}}]}]},"
        "\\\"sort\\\":{\\\"a\\\":-1,\\\"_id\\\":1},\\\"projection\\\":{\\\"a\\\":1,\\\"_id\\\":1},\\\"skip\\\":10,"
        "\\\"limit\\\":5,\\\"batchSize\\\":5,"
        "\\\"collation\\\":{\\\"locale\\\":\\\"simple\\\"}}\"}");
    mp_buf_free(&json);
    mp_query_free(q);
}

/* The largest query that the parser takes. */
static void the_largest_query(void **state) {
    fixture *f = *state;
    mp_buf text;
    mp_buf_init(&text);
    mp_buf_text(&text, "{");
    for (int i = 0; i < 32; i++) {
        mp_buf_printf(&text, "%s\"f%02d\":{\"in\":[", i > 0 ? "," : "", i);
        for (int k = 0; k < 70; k++) mp_buf_printf(&text, "%s%d", k > 0 ? "," : "", k + 10);
        mp_buf_text(&text, "]}");
    }
    mp_buf_text(&text, ",\"search\":\"a b c d e f g h i j k l m n o p\",\"search_in\":\"");
    for (int i = 0; i < 64; i++) mp_buf_printf(&text, "%sg%d", i > 0 ? "," : "", i);
    mp_buf_text(&text, "\",\"sort\":\"s1,s2,s3,s4,s5,s6,s7,-s8\"}");
    finds(f->store, "films", text.data, 0, "");
    mp_buf_free(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_a_database(the_vectors),
        in_a_database(thousands_of_queries),
        in_a_database(every_letter_is_found_in_every_case),
        in_a_database(a_search_means_what_it_says),
        in_a_database(ids_in_queries),
        in_a_database(a_collation_changes_nothing),
        in_a_database(hostile_documents),
        in_a_database(operators_in_values),
        in_a_database(pages_have_bounds),
        in_a_database(a_large_page),
        in_a_database(indexes),
        in_a_database(an_index_that_takes_its_time),
        in_a_database(plans),
        in_a_database(the_largest_query),
    };
    return cmocka_run_group_tests_name("mongodb_find", tests, NULL, NULL);
}
