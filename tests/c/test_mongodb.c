/* The store behind mongodb: addresses, on a real replica set: documents, ids, addresses, processes. */
#include "mongodb_store.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sys/wait.h>

#include "store/mongodb_id.h"
#include "store/mongodb_json.h"
#include "store/mongodb_pool.h"

/* ---- documents ---- */

static void documents_come_back_as_they_were(void **state) {
    static const char *const docs[] = {
        "{}",
        "{\"a\":1,\"b\":-1,\"c\":2147483648,\"d\":9223372036854775807,\"e\":-9223372036854775808}",
        "{\"a\":1.5,\"b\":-0.0,\"c\":5.0,\"d\":1e-7,\"e\":0.1,\"f\":1e300,\"g\":123456789012345680000.0}",
        "{\"a\":null,\"b\":true,\"c\":false,\"d\":\"\",\"e\":[],\"f\":{}}",
        "{\"a\":[1,[2,[3,{\"b\":[]}]],null,\"x\"],\"b\":{\"c\":{\"d\":{\"e\":1}}}}",
        "{\"\":1,\"two "
        "words\":2,\"a.b\":3,\"\u00e9\":4,\"o'b`c;--\":5,\"nested\":{\"$gt\":1,\"$where\":\"x\",\"\":0,\"_id\":1,"
        "\"id\":2,\"_mpv\":3}}",
        "{\"s\":\"\\\"\\\\ \\n\\t\\u0001 \u00e9 \u65e5\u672c \U0001d4b3\"}",
        "{\"a\":{\"$oid\":\"507f1f77bcf86cd799439011\"},\"b\":{\"$date\":{\"$numberLong\":\"-1\"}},"
        "\"c\":{\"$numberDecimal\":\"0.10\"},\"d\":{\"$binary\":{\"base64\":\"AAEC/w==\",\"subType\":\"80\"}},"
        "\"e\":{\"$regularExpression\":{\"pattern\":\"^a\\\"\",\"options\":\"i\"}},\"f\":{\"$timestamp\":{\"t\":1,"
        "\"i\":4294967295}},"
        "\"g\":{\"$minKey\":1},\"h\":{\"$maxKey\":1},\"i\":{\"$undefined\":true},\"j\":{\"$symbol\":\"s\"},"
        "\"k\":{\"$code\":\"f()\"},\"l\":{\"$code\":\"f()\",\"$scope\":{\"x\":1,\"y\":[{\"$oid\":"
        "\"507f1f77bcf86cd799439011\"}]}},"
        "\"m\":{\"$dbPointer\":{\"$ref\":\"c\",\"$id\":{\"$oid\":\"507f1f77bcf86cd799439011\"}}},"
        "\"n\":{\"$numberDouble\":\"NaN\"},\"o\":{\"$numberDouble\":\"-Infinity\"},\"p\":[{\"$date\":{\"$numberLong\":"
        "\"0\"}}]}",
    };
    fixture *f = *state;
    for (size_t i = 0; i < sizeof docs / sizeof docs[0]; i++) {
        char want[2000];
        put(f->store, "films", "x", docs[i]);
        snprintf(want, sizeof want, "{\"id\":\"x\"%s%s", docs[i][1] == '}' ? "" : ",", docs[i] + 1);
        assert_string_equal(get(f->store, "films", "x"), want);
        put(f->store, "films", "x", want); /* with its id, as a program that changes it gives it back */
        assert_string_equal(get(f->store, "films", "x"), want);
    }
}

/* Against libmongoc's own reading and writing of Extended JSON. */
static void documents_of_others(void **state) {
    fixture *f = *state;
    insert(f, "films",
           "{\"_id\":\"1\",\"i\":{\"$numberInt\":\"7\"},\"l\":{\"$numberLong\":\"7\"},\"d\":{\"$numberDouble\":\"7\"},"
           "\"big\":{\"$numberDouble\":\"1e19\"},\"inf\":{\"$numberDouble\":\"Infinity\"},\"u\":{\"$uuid\":"
           "\"c8edabc3-f738-4ca3-b68d-ab92a91478a3\"},\"t\":{\"$date\":\"2020-01-01T00:00:00Z\"},\"n\":{\"a\":[{\"b\":"
           "null}]}}");
    assert_string_equal(
        get(f->store, "films", "1"),
        "{\"id\":\"1\",\"i\":7,\"l\":7,\"d\":7.0,\"big\":10000000000000000000.0,"
        "\"inf\":{\"$numberDouble\":\"Infinity\"},\"u\":{\"$binary\":{\"base64\":\"yO2rw/c4TKO2jauSqRR4ow==\","
        "\"subType\":\"04\"}},\"t\":{\"$date\":{\"$numberLong\":\"1577836800000\"}},\"n\":{\"a\":[{\"b\":null}]}}");
    /* what is not the document's own is not shown */
    insert(f, "films", "{\"_id\":\"2\",\"id\":\"other\",\"_mpv\":5,\"a\":{\"id\":1,\"_mpv\":2,\"_id\":3}}");
    assert_string_equal(get(f->store, "films", "2"), "{\"id\":\"2\",\"a\":{\"id\":1,\"_mpv\":2,\"_id\":3}}");
    /* what is written is what others read */
    put(f->store, "films", "3",
        "{\"i\":7,\"l\":2147483648,\"d\":7.0,\"e\":1e2,\"t\":{\"$date\":\"2020-01-01T01:00:00+01:00\"},\"m\":{\"$"
        "date\":5},\"u\":"
        "{\"$uuid\":\"c8edabc3-f738-4ca3-b68d-ab92a91478a3\"},\"x\":{\"$numberInt\":\"1\"},\"y\":{\"$numberLong\":"
        "\"2\"},"
        "\"z\":{\"$numberDouble\":\"2.5e0\"},\"huge\":9223372036854775808}");
    assert_string_equal(
        raw(f, "films", "{\"_id\":\"3\"}"),
        "{ \"_id\" : \"3\", \"i\" : { \"$numberInt\" : \"7\" }, \"l\" : { \"$numberLong\" : \"2147483648\" }, \"d\" : "
        "{ "
        "\"$numberDouble\" : \"7.0\" }, \"e\" : { \"$numberDouble\" : \"100.0\" }, \"t\" : { \"$date\" : { "
        "\"$numberLong\" : "
        "\"1577836800000\" } }, \"m\" : { \"$date\" : { \"$numberLong\" : \"5\" } }, \"u\" : { \"$binary\" : { "
        "\"base64\" : "
        "\"yO2rw/c4TKO2jauSqRR4ow==\", \"subType\" : \"04\" } }, \"x\" : { \"$numberInt\" : \"1\" }, \"y\" : { "
        "\"$numberLong\" : \"2\" }, "
        "\"z\" : { \"$numberDouble\" : \"2.5\" }, \"huge\" : { \"$numberDouble\" : \"9223372036854775808.0\" } }");
    /* strings that are not UTF-8 come from drivers that do not look */
    bson_t doc = BSON_INITIALIZER;
    mongoc_collection_t *films = mongoc_client_get_collection(f->other, f->name, "films");
    bson_append_utf8(&doc, "_id", -1, "4", -1);
    bson_append_utf8(&doc, "s", -1, "a\xff\0z", 4);
    bson_t options = BSON_INITIALIZER;
    bson_append_bool(&options, "validate", -1, false);
    assert_true(mongoc_collection_insert_one(films, &doc, &options, NULL, NULL));
    bson_destroy(&options);
    bson_destroy(&doc);
    mongoc_collection_destroy(films);
    assert_string_equal(get(f->store, "films", "4"), "{\"id\":\"4\",\"s\":\"a\xef\xbf\xbd\\u0000z\"}");
}

static void documents_that_are_refused(void **state) {
    static const char *const bad[][2] = {
        {"[]", "JSON object"},
        {"{\"a\":1,\"a\":2}", "twice"},
        {"{\"_mpv\":1}", "_mpv"},
        {"{\"_id\":1}", "\"_id\": it is the document's id"},
        {"{\"id\":\"y\"}", "\"id\""},
        {"{\"id\":{\"$oid\":\"507f1f77bcf86cd799439011\"}}", "\"id\""},
        {"{\"a\":1,\"$set\":{\"a\":1}}", "$set begins with $"},
        {"{\"a\":{\"b\":[0,{\"$oid\":\"xyz\"}]}}", "a.b[1] is no ObjectId"},
        {"{\"a\":{\"$oid\":5}}", "a is no ObjectId"},
        {"{\"a\":{\"$oid\":\"507f1f77bcf86cd799439011\",\"b\":1}}", "a begins as Extended JSON"},
        {"{\"a\":{\"$date\":\"yesterday\"}}", "a is no date"},
        {"{\"a\":{\"$date\":{\"$numberLong\":\"9223372036854775808\"}}}", "a is no date"},
        {"{\"a\":{\"$date\":{\"$numberLong\":\" 1\"}}}", "a is no date"},
        {"{\"a\":{\"$date\":{}}}", "a is no date"},
        {"{\"a\":{\"$date\":1.5}}", "a is no date"},
        {"{\"a\":{\"$numberInt\":\"2147483648\"}}", "32 bits"},
        {"{\"a\":{\"$numberInt\":1}}", "32 bits"},
        {"{\"a\":{\"$numberLong\":\"1e3\"}}", "64 bits"},
        {"{\"a\":{\"$numberLong\":\"\"}}", "64 bits"},
        {"{\"a\":{\"$numberDouble\":\"1,5\"}}", "double"},
        {"{\"a\":{\"$numberDouble\":\"1e999\"}}", "double"},
        {"{\"a\":{\"$numberDecimal\":\"ten\"}}", "decimal"},
        {"{\"a\":{\"$binary\":{\"base64\":\"AAA\",\"subType\":\"00\"}}}", "binary"},
        {"{\"a\":{\"$binary\":{\"base64\":\"A===\",\"subType\":\"00\"}}}", "binary"},
        {"{\"a\":{\"$binary\":{\"base64\":\"AA*=\",\"subType\":\"00\"}}}", "binary"},
        {"{\"a\":{\"$binary\":{\"base64\":\"AAAA\",\"subType\":\"g0\"}}}", "binary"},
        {"{\"a\":{\"$binary\":{\"base64\":\"AAAA\"}}}", "binary"},
        {"{\"a\":{\"$uuid\":\"c8edabc3-f738-4ca3-b68d_ab92a91478a3\"}}", "UUID"},
        {"{\"a\":{\"$uuid\":\"c8edabc3-f738-4ca3-b68d-ab92a91478g3\"}}", "UUID"},
        {"{\"a\":{\"$regularExpression\":{\"pattern\":\"a\"}}}", "regular expression"},
        {"{\"a\":{\"$timestamp\":{\"t\":-1,\"i\":0}}}", "timestamp"},
        {"{\"a\":{\"$code\":\"f\",\"$scope\":1}}", "code"},
        {"{\"a\":{\"$code\":\"f\",\"x\":1}}", "Extended JSON"},
        {"{\"a\":{\"$dbPointer\":{\"$ref\":\"c\",\"$id\":1}}}", "pointer"},
        {"{\"a\":{\"$symbol\":1}}", "symbol"},
        {"{\"a\":{\"$undefined\":false}}", "undefined"},
        {"{\"a\":{\"$minKey\":true}}", "least"},
        {"{\"a\":{\"$maxKey\":null}}", "greatest"},
    };
    fixture *f = *state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        put_fails(f->store, "films", "x", bad[i][0], POND_EVALUE, 0, bad[i][1]);
        put_fails(f->store, "films", "x", bad[i][0], POND_EVALUE, 0, "films \"x\": ");
    }
    assert_string_equal(get(f->store, "films", "x"), "absent");
    /* what only the server refuses */
    command(f, "{\"create\":\"strict\",\"validator\":{\"n\":{\"$type\":\"int\"}}}");
    put_fails(f->store, "strict", "x", "{\"n\":\"no\"}", POND_ESTORE, 0, "validation");
    command(f, "{\"createIndexes\":\"strict\",\"indexes\":[{\"key\":{\"n\":1},\"name\":\"n\",\"unique\":true}]}");
    put(f->store, "strict", "x", "{\"n\":1}");
    put_fails(f->store, "strict", "y", "{\"n\":1}", POND_ESTORE, 0, "duplicate key");
}

static void large_documents(void **state) {
    fixture *f = *state;
    size_t len = 17 * 1024 * 1024;
    char *doc = malloc(len);
    assert_non_null(doc);
    mp_store *wide = NULL;
    ok(open_at(&wide, f->address, "10s", "64MiB", e));
    memset(doc, 'x', len);
    memcpy(doc, "{\"a\":\"", 6);
    memcpy(doc + len - 3, "\"}", 3);
    put_fails(wide, "films", "x", doc, POND_EVALUE, 0, "16 MiB");
    put_fails(f->store, "films", "x", doc, POND_EVALUE, 0, "max_value");
    len = 16 * 1024 * 1024 - 60; /* just below */
    memcpy(doc + len - 3, "\"}", 3);
    put(wide, "films", "x", doc);
    pond_value *value = NULL;
    ok(wide->vt->get(wide, "films", "x", 1, &value, e));
    size_t got;
    pond_value_data(value, &got);
    assert_int_equal(got, len - 1 + strlen("\"id\":\"x\","));
    pond_value_free(value);
    wide->vt->close(wide);
    free(doc);
}

/* ---- ids ---- */

static void texts_of_ids(void **state) {
    static const char *const integers[] = {"0", "7", "-7", "42", "9223372036854775807", "-9223372036854775808"};
    static const char *const strings[] = {"",
                                          "-",
                                          "-0",
                                          "00",
                                          "042",
                                          "+42",
                                          "42.0",
                                          "4 2",
                                          " 42",
                                          "1e1",
                                          "9223372036854775808",
                                          "-9223372036854775809",
                                          "99999999999999999999",
                                          "abc",
                                          "507F1F77BCF86CD799439011",
                                          "507f1f77bcf86cd79943901",
                                          "507f1f77bcf86cd7994390111",
                                          "507f1f77bcf86cd79943901g"};
    for (size_t i = 0; i < sizeof integers / sizeof integers[0]; i++) {
        mp_mongodb_id id = mp_mongodb_id_read(integers[i], strlen(integers[i]));
        assert_int_equal(id.also, MP_ID_INTEGER);
        assert_true(id.integer == strtoll(integers[i], NULL, 10));
    }
    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++)
        assert_int_equal(mp_mongodb_id_read(strings[i], strlen(strings[i])).also, MP_ID_STRING);
    assert_int_equal(mp_mongodb_id_read("507f1f77bcf86cd799439011", 24).also, MP_ID_OID);
}

static void ids_of_all_kinds(void **state) {
    fixture *f = *state;
    mp_store *s = f->store;
    const char *oid = "507f1f77bcf86cd799439011";
    insert(f, "films", "{\"_id\":{\"$numberInt\":\"42\"},\"a\":\"int\"}");
    insert(f, "films", "{\"_id\":{\"$numberLong\":\"-9223372036854775808\"},\"a\":\"long\"}");
    insert(f, "films", "{\"_id\":{\"$numberDouble\":\"7\"},\"a\":\"double\"}");
    insert(f, "films", "{\"_id\":{\"$oid\":\"507f1f77bcf86cd799439011\"},\"a\":\"oid\"}");
    insert(f, "films", "{\"_id\":{\"$numberDouble\":\"7.5\"},\"a\":\"no text\"}");
    insert(f, "films", "{\"_id\":null,\"a\":\"no text\"}");
    insert(f, "films", "{\"_id\":{\"x\":1},\"a\":\"no text\"}");
    assert_string_equal(get(s, "films", "42"), "{\"id\":42,\"a\":\"int\"}");
    assert_string_equal(get(s, "films", "-9223372036854775808"), "{\"id\":-9223372036854775808,\"a\":\"long\"}");
    assert_string_equal(get(s, "films", "7"), "{\"id\":7,\"a\":\"double\"}");
    assert_string_equal(get(s, "films", oid), "{\"id\":\"507f1f77bcf86cd799439011\",\"a\":\"oid\"}");
    static const char *const none[] = {"042", "42.0", "+42", "7.0", "7.5", "null", "507F1F77BCF86CD799439011"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) assert_string_equal(get(s, "films", none[i]), "absent");
    /* a write goes to the document that is there, and its own id as it was shown is fine */
    put(s, "films", "42", "{\"id\":42,\"a\":2}");
    put(s, "films", oid, "{\"id\":\"507f1f77bcf86cd799439011\",\"a\":3}");
    put_fails(s, "films", "42", "{\"id\":43}", POND_EVALUE, 0, "\"id\"");
    assert_string_equal(
        raw(f, "films", "{\"a\":{\"$in\":[2,3]}}"),
        "{ \"_id\" : { \"$numberLong\" : \"42\" }, \"a\" : { \"$numberInt\" : \"2\" } } "
        "{ \"_id\" : { \"$oid\" : \"507f1f77bcf86cd799439011\" }, \"a\" : { \"$numberInt\" : \"3\" } }");
    /* beside a string the others give way */
    insert(f, "films", "{\"_id\":\"42\",\"a\":\"string\"}");
    assert_string_equal(get(s, "films", "42"), "{\"id\":\"42\",\"a\":\"string\"}");
    put(s, "films", "42", "{\"a\":4}");
    assert_string_equal(get(s, "films", "42"), "{\"id\":\"42\",\"a\":4}");
    assert_true(removed(s, "films", "42"));
    assert_string_equal(get(s, "films", "42"), "{\"id\":42,\"a\":2}");
    assert_true(removed(s, "films", "42"));
    assert_string_equal(get(s, "films", "42"), "absent");
    assert_false(removed(s, "films", "42"));
    assert_true(removed(s, "films", oid));
    assert_false(removed(s, "films", oid));
    /* what is new has a string */
    put(s, "films", "42", "{\"a\":5}");
    put(s, "films", oid, "{}");
    assert_string_equal(
        raw(f, "films", "{\"_id\":{\"$type\":\"string\"}}"),
        "{ \"_id\" : \"42\", \"a\" : { \"$numberInt\" : \"5\" } } { \"_id\" : \"507f1f77bcf86cd799439011\" }");
}

static void many_at_once(void **state) {
    enum { N = 2500 };
    fixture *f = *state;
    static const char *ids[N];
    static size_t lens[N];
    static pond_value *out[N];
    static char room[N][8];
    for (int i = 0; i < N; i++) {
        lens[i] = (size_t)snprintf(room[i], sizeof room[i], "%d", i * 7 % N);
        ids[i] = room[i];
    }
    ids[3] = ids[5], lens[3] = lens[5]; /* 35, twice */
    ids[N - 1] = ids[5], lens[N - 1] = lens[5];
    insert(f, "films", "{\"_id\":35,\"a\":\"int\"}");
    insert(f, "films", "{\"_id\":\"35\",\"a\":\"string\"}");
    insert(f, "films", "{\"_id\":2499,\"a\":1}");
    insert(f, "films", "{\"_id\":\"0\",\"a\":2}");
    ok(f->store->vt->get_many(f->store, "films", ids, lens, N, out, e));
    int there = 0;
    for (int i = 0; i < N; i++) {
        const char *want = strcmp(ids[i], "35") == 0     ? "{\"id\":\"35\",\"a\":\"string\"}"
                           : strcmp(ids[i], "2499") == 0 ? "{\"id\":2499,\"a\":1}"
                           : strcmp(ids[i], "0") == 0    ? "{\"id\":\"0\",\"a\":2}"
                                                         : "";
        assert_string_equal(pond_value_data(out[i], NULL), want);
        assert_int_equal(pond_value_state(out[i]), *want ? POND_VALUE : POND_ABSENT);
        there += *want != 0;
        pond_value_free(out[i]);
    }
    assert_int_equal(there, 5);
    ok(f->store->vt->get_many(f->store, "films", ids, lens, 0, out, e));
}

/* ---- collections of others ---- */

static void a_collation_changes_nothing(void **state) {
    fixture *f = *state;
    mp_store *s = f->store;
    command(f, "{\"create\":\"soft\",\"collation\":{\"locale\":\"en\",\"strength\":1}}");
    insert(f, "soft", "{\"_id\":\"a\",\"x\":1}");
    assert_string_equal(get(s, "soft", "A"), "absent");
    assert_string_equal(get(s, "soft", "\u00e1"), "absent");
    assert_string_equal(get(s, "soft", "a"), "{\"id\":\"a\",\"x\":1}");
    assert_false(removed(s, "soft", "A"));
    put(s, "soft", "b", "{\"x\":2}");
    put(s, "soft", "b", "{\"x\":3}");
    assert_string_equal(get(s, "soft", "b"), "{\"id\":\"b\",\"x\":3}");
    put_fails(s, "soft", "B", "{}", POND_ESTORE, 0, "duplicate key"); /* to that collection they are the same */
}

static void collections_are_made_once(void **state) {
    fixture *f = *state;
    pond_error *err = NULL;
    create(f->store, "films");
    create(f->store, "films");
    put(f->store, "films", "1", "{}");
    create(f->store, "films");
    assert_string_equal(get(f->store, "films", "1"), "{\"id\":\"1\"}");
    assert_string_equal(get(f->store, "other", "1"), "absent");
    assert_false(removed(f->store, "other", "1"));
    int rc = f->store->vt->create(f->store, "system.nothing", &err);
    failed(rc, err, POND_ESTORE, 0, "system.nothing");
}

/* ---- addresses ---- */

static void bad_address(const char *address, int code, int retriable, const char *says) {
    mp_store *store = NULL;
    pond_error *err = NULL;
    int rc = open_at(&store, address, "1s", "1MiB", &err);
    if (rc == POND_OK) fail_msg("taken: %s", address);
    assert_null(store);
    if (strstr(pond_error_message(err), "s3cr") != NULL) fail_msg("it tells: %s", pond_error_message(err));
    failed(rc, err, code, retriable, says);
}

static void addresses(void **state) {
    static const char *const bad[][2] = {
        {"mongodb://127.0.0.1", "names no database"},
        {"mongodb://127.0.0.1/", "names no database"},
        {"mongodb://127.0.0.1/?replicaSet=rs", "names no database"},
        {"mongodb:", "mongodb: address"},
        {"mongodb:///x", "mongodb: address"},
        {"mongodb+srv://a.b.c,d.e.f/x", "mongodb: address"},
        {"mongodb://127.0.0.1:port/x", "mongodb: address"},
        {"mongodb://127.0.0.1/x?nosuchoption=1", "nosuchoption"},
        {"mongodb://127.0.0.1/x?w=1", "option w"},
        {"mongodb://127.0.0.1/x?w=0", "option w"},
        {"mongodb://127.0.0.1/x?journal=false", "option journal"},
        {"mongodb://127.0.0.1/x?readConcernLevel=local", "option readConcernLevel"},
        {"mongodb://127.0.0.1/x?readPreference=secondary", "option readPreference"},
        {"mongodb://127.0.0.1/x?tls=true&tlsDisableOCSPEndpointCheck=true", "tlsInsecure"},
        {"mongodb://me:s3cr/et@127.0.0.1/x", "%"},
        {"mongodb://me:s3cr%et@127.0.0.1/x", "%"},
        {"mongodb://me:s3cret@127.0.0.1/x?nosuchoption=s3cret", "%"},
        {"mongodb://me:s3cret@127.0.0.1/", "names no database"},
    };
    fixture *f = *state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) bad_address(bad[i][0], POND_EURL, 0, bad[i][1]);
    static const char *const good[] = {"&w=majority", "&readConcernLevel=majority&readPreference=primary",
                                       "&journal=true",
                                       "&appName=mine&connectTimeoutMS=100&maxPoolSize=5&compressors=zlib"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        char address[700];
        address_of(address, sizeof address, f->name, good[i]);
        mp_store *s = opened(address, "5s");
        assert_string_equal(get(s, "films", "1"), "absent");
        s->vt->close(s);
    }
}

/* Nothing is asked at open, and a call ends in time though nobody is there. */
static void nobody_there(void **state) {
    static const char *const addresses[] = {"mongodb://127.0.0.1:1/x?replicaSet=rs", "mongodb://127.0.0.1:1/x",
                                            "mongodb://no-such-host.invalid:1/x?directConnection=true",
                                            "mongodb+srv://no-such-host.example.invalid/x"};
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
        mp_store *s = opened(addresses[i], "400ms");
        int64_t start = mp_clock_ms();
        get_fails(s, "films", "1", POND_ESTORE, 1, i < 3 ? "films \"1\": no primary" : "looked up");
        int64_t took = mp_clock_ms() - start;
        if (i < 3 && (took < 200 || took > 600)) fail_msg("%lld ms", (long long)took);
        put_fails(s, "films", "1", "{}", POND_ESTORE, 1, "films \"1\"");
        s->vt->close(s);
    }
}

/* ---- the plugin ---- */

static void the_plugin(void **state) {
    mp_options options;
    mp_store *store = NULL;
    pond_error *err = NULL;
    assert_true(mp_options_init(&options));
    assert_int_equal(mp_options_set(&options, MP_SCOPE_POND, "store", "mongodb://127.0.0.1/x", NULL), POND_OK);
    void *object = dlopen(POND_TEST_PLUGIN, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(object);
    mp_store_plugin *open = (mp_store_plugin *)(uintptr_t)dlsym(object, MP_STORE_PLUGIN_NAME);
    assert_non_null(open);
    assert_null(dlsym(object, "mp_mongodb_open"));
    int rc = open("0.0.0-other", &store, &options, &err);
    failed(rc, err, POND_ESTORE, 0, "0.0.0-other");
    err = NULL;
    rc = open(NULL, &store, &options, &err);
    failed(rc, err, POND_ESTORE, 0, "version");
    mp_options_free(&options);
}

/* In a child, for what is found once stays. Its exit code says how it went. */
static int open_with(const char *variable) {
    pid_t child = fork();
    if (child == 0) {
        mp_options options;
        mp_store *store = NULL;
        pond_error *err = NULL;
        mp_options_init(&options);
        mp_options_set(&options, MP_SCOPE_POND, "store", "mongodb://127.0.0.1/x", NULL);
        if (variable != NULL) setenv("MILLPOND_MONGODB_PLUGIN", variable, 1);
        else unsetenv("MILLPOND_MONGODB_PLUGIN");
        int rc = mp_mongodb_plugin_open(&store, &options, &err), how = 1;
        const char *says = pond_error_message(err);
        if (rc == POND_OK) how = 0;
        else if (rc != POND_ESTORE || pond_error_retriable(err)) how = 9;
        else if (strstr(says, "was not found: install") != NULL) how = 2;
        else if (strstr(says, "is something else") != NULL) how = 3;
        else if (strstr(says, "cannot be loaded") != NULL && strstr(says, "libmongoc") != NULL) how = 4;
        _exit(how);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void where_the_plugin_is(void **state) {
    assert_int_equal(open_with(POND_TEST_PLUGIN), 0);
    assert_int_equal(open_with(NULL), 2); /* not beside this program, and not installed */
    assert_int_equal(open_with(""), 2);
    assert_int_equal(open_with("libm.so.6"), 3);
    assert_int_equal(open_with("/no/such/file.so"), 4);
}

/* ---- threads and processes ---- */

typedef struct worker {
    pthread_t thread;
    mp_store *store;
    int number, wrong;
} worker;

static bool is(mp_store *s, const char *id, const char *want) {
    pond_value *value = NULL;
    bool same = s->vt->get(s, "films", id, strlen(id), &value, NULL) == POND_OK &&
                strcmp(pond_value_state(value) == POND_ABSENT ? "absent" : pond_value_data(value, NULL), want) == 0;
    pond_value_free(value);
    return same;
}

static void *work(void *arg) {
    worker *w = arg;
    mp_store *s = w->store;
    for (int i = 0; i < 20; i++) {
        char id[16], doc[32], want[48];
        bool existed = false;
        int len = snprintf(id, sizeof id, "%d-%d", w->number, i % 5);
        int doc_len = snprintf(doc, sizeof doc, "{\"n\":%d}", i);
        snprintf(want, sizeof want, "{\"id\":\"%s\",\"n\":%d}", id, i);
        w->wrong += s->vt->put(s, "films", id, (size_t)len, doc, (size_t)doc_len, NULL) != POND_OK;
        w->wrong +=
            s->vt->put(s, "films", "7", 1, "{\"a\":1}", 7, NULL) != POND_OK; /* all the same, and it may be new */
        w->wrong += !is(s, id, want);
        w->wrong += !is(s, "7", "{\"id\":\"7\",\"a\":1}");
        if (i % 4 != 0) continue;
        w->wrong += s->vt->remove(s, "films", id, (size_t)len, &existed, NULL) != POND_OK || !existed;
        w->wrong += !is(s, id, "absent");
    }
    return NULL;
}

static void threads(void **state) {
    fixture *f = *state;
    worker workers[8];
    for (int i = 0; i < 8; i++) {
        workers[i] = (worker){.store = f->store, .number = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_int_equal(workers[i].wrong, 0);
    }
}

static void calls_wait_their_turn(void **state) {
    fixture *f = *state;
    mp_mongodb_pool *pool = NULL;
    pond_error *err = NULL;
    ok(mp_mongodb_pool_open(&pool, f->address, 1, 200, e));
    /* writes: no look at the primary first, which has a time of its own */
    mp_mongodb_call one = {.pool = pool, .collection = "films", .writes = true, .err = &err}, two = one;
    assert_int_equal(mp_mongodb_begin(&one), POND_OK);
    int64_t start = mp_clock_ms();
    int rc = mp_mongodb_begin(&two);
    int64_t took = mp_clock_ms() - start;
    failed(rc, err, POND_ESTORE, 1, "films: all connections were busy");
    if (took < 190 || took > 400) fail_msg("%lld ms", (long long)took);
    mp_mongodb_end(&two);
    mp_mongodb_end(&one);
    assert_int_equal(mp_mongodb_begin(&two), POND_OK);
    mp_mongodb_end(&two);
    mp_mongodb_pool_close(pool);
}

static void after_a_fork(void **state) {
    fixture *f = *state;
#ifdef __SANITIZE_THREAD__
    skip(); /* it cannot follow the threads that libmongoc starts in a child */
#endif
    put(f->store, "films", "1", "{\"a\":1}");
    pid_t child = fork();
    if (child == 0) {
        worker w = {.store = f->store, .number = 99};
        bool good = is(f->store, "1", "{\"id\":\"1\",\"a\":1}");
        work(&w);
        f->store->vt->close(f->store);
        _exit(good && w.wrong == 0 ? 0 : 1);
    }
    for (int i = 0; i < 20; i++) assert_string_equal(get(f->store, "films", "1"), "{\"id\":\"1\",\"a\":1}");
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_string_equal(get(f->store, "films", "1"), "{\"id\":\"1\",\"a\":1}");
    /* one that is closed in a child before it was used there */
    child = fork();
    if (child == 0) {
        f->store->vt->close(f->store);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_string_equal(get(f->store, "films", "1"), "{\"id\":\"1\",\"a\":1}");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(where_the_plugin_is), /* before any other loads it */
        cmocka_unit_test(the_plugin),
        cmocka_unit_test(texts_of_ids),
        in_a_database(documents_come_back_as_they_were),
        in_a_database(documents_of_others),
        in_a_database(documents_that_are_refused),
        in_a_database(large_documents),
        in_a_database(ids_of_all_kinds),
        in_a_database(many_at_once),
        in_a_database(a_collation_changes_nothing),
        in_a_database(collections_are_made_once),
        in_a_database(addresses),
        cmocka_unit_test(nobody_there),
        in_a_database(threads),
        in_a_database(calls_wait_their_turn),
        in_a_database(after_a_fork),
    };
    return cmocka_run_group_tests_name("mongodb", tests, NULL, NULL);
}
