/* The store behind sqlite: addresses: documents, tables, names and addresses, with a real file each time. */
#include "sqlite_store.h"

#include <sys/stat.h>

#include "base/clock.h"
#include "store/store_check.h"

/* Documents. */

static void documents_come_and_go(void **state) {
    mp_store *s = ((fixture *)*state)->store;
    create(s, "films");
    create(s, "films"); /* again is fine */
    assert_string_equal(get(s, "films", "0042"), "absent");
    put(s, "films", "0042", " {\"title\": \"Am\\u00e9lie\", \"id\": \"0042\", \"year\": 2001}");
    assert_string_equal(get(s, "films", "0042"), "{\"id\":\"0042\",\"title\":\"Am\xc3\xa9lie\",\"year\":2001}");
    put(s, "films", "0042", "{\"year\":2002}");
    assert_string_equal(get(s, "films", "0042"), "{\"id\":\"0042\",\"year\":2002}");
    put(s, "films", "0043", "{}");
    assert_string_equal(get(s, "films", "0043"), "{\"id\":\"0043\"}");
    assert_true(removed(s, "films", "0042"));
    assert_false(removed(s, "films", "0042"));
    assert_string_equal(get(s, "films", "0042"), "absent");
    assert_string_equal(get(s, "films", "0043"), "{\"id\":\"0043\"}");
    ok(s->vt->remove(s, "films", "0043", 4, NULL, e));
}

static void what_stands_in_the_file(void **state) {
    fixture *f = *state;
    create(f->store, "films");
    put(f->store, "films", "1", "{ \"id\": \"1\", \"a\": \"\\u00e9\" }");
    assert_string_equal(
        sql(f, "SELECT sql FROM sqlite_schema WHERE name = 'films'"),
        "CREATE TABLE \"films\"(id TEXT PRIMARY KEY NOT NULL, doc TEXT NOT NULL CHECK(json_valid(doc)), ver "
        "INTEGER NOT NULL)");
    assert_string_equal(sql(f, "SELECT typeof(id) || typeof(doc) || typeof(ver) || ver || doc FROM films"),
                        "texttextinteger0{\"a\":\"\xc3\xa9\"}");
    assert_string_equal(sql(f, "PRAGMA journal_mode"), "wal");
    sql(f, "UPDATE films SET ver = 7");
    put(f->store, "films", "1", "{\"a\":2}");
    assert_string_equal(sql(f, "SELECT ver || doc FROM films"), "0{\"a\":2}");
    assert_string_equal(sql(f, "SELECT count(*) FROM films"), "1");
    /* another program's change is seen at once */
    sql(f, "UPDATE films SET doc = '{\"a\":3}'");
    assert_string_equal(get(f->store, "films", "1"), "{\"id\":\"1\",\"a\":3}");
    f->store->vt->close(f->store);
    f->store = opened(f->address, "5s");
    assert_string_equal(get(f->store, "films", "1"), "{\"id\":\"1\",\"a\":3}");
}

static void writes_are_synchronous(void **state) {
    fixture *f = *state;
    mp_sqlite_pool *pool = NULL;
    mp_sqlite_conn *conn[2];
    ok(mp_sqlite_pool_open(&pool, f->path, 2, 1000, e));
    for (int i = 0; i < 2; i++) { /* the first connection and a later one */
        sqlite3_stmt *statement = NULL;
        ok(mp_sqlite_take(pool, false, &conn[i], e));
        assert_int_equal(sqlite3_prepare_v2(conn[i]->db, "PRAGMA synchronous", -1, &statement, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
        assert_int_equal(sqlite3_column_int(statement, 0), 2); /* FULL */
        sqlite3_finalize(statement);
    }
    for (int i = 0; i < 2; i++) mp_sqlite_give(pool, conn[i]);
    mp_sqlite_pool_close(pool);
}

static void ids_are_bytes(void **state) {
    mp_store *s = ((fixture *)*state)->store;
    char longest[MP_ID_MAX + 1];
    memset(longest, 'x', MP_ID_MAX);
    longest[MP_ID_MAX] = 0;
    const char *ids[] = {"a", "A",  "\xc3\xa9", "e\xcc\x81", "1", "01",   "1.0",  " ",
                         "'", "\"", "\\",       "a\nb",      "%", "null", longest};
    enum { N = sizeof ids / sizeof ids[0] };
    create(s, "films");
    for (int i = 0; i < N; i++) {
        char doc[32];
        snprintf(doc, sizeof doc, "{\"n\":%d}", i);
        put(s, "films", ids[i], doc);
    }
    for (int i = 0; i < N; i++) {
        char tail[32];
        snprintf(tail, sizeof tail, ",\"n\":%d}", i);
        const char *got = get(s, "films", ids[i]);
        assert_string_equal(got + strlen(got) - strlen(tail), tail);
    }
    assert_string_equal(get(s, "films", "a\nb"), "{\"id\":\"a\\nb\",\"n\":11}");
    assert_string_equal(get(s, "films", "\""), "{\"id\":\"\\\"\",\"n\":9}");
}

static void many_at_once(void **state) {
    mp_store *s = ((fixture *)*state)->store;
    enum { N = 1201 };
    static char texts[N][16];
    static const char *ids[N];
    static size_t lens[N];
    static pond_value *values[N];
    create(s, "films");
    for (int i = 0; i < N; i++) {
        char doc[32];
        int number = (i * 7) % 100; /* in no order, and again and again; every third is absent */
        lens[i] = (size_t)snprintf(texts[i], sizeof texts[i], "id%d", number);
        ids[i] = texts[i];
        snprintf(doc, sizeof doc, "{\"n\":%d}", number);
        if (i < 100 && number % 3 != 0) put(s, "films", ids[i], doc);
    }
    ok(s->vt->get_many(s, "films", ids, lens, N, values, e));
    for (int i = 0; i < N; i++) {
        char want[64];
        int number = (i * 7) % 100;
        snprintf(want, sizeof want, "{\"id\":\"id%d\",\"n\":%d}", number, number);
        if (number % 3 == 0) assert_int_equal(pond_value_state(values[i]), POND_ABSENT);
        else assert_string_equal(pond_value_data(values[i], NULL), want);
        pond_value_free(values[i]);
    }
    ok(s->vt->get_many(s, "films", ids, lens, 0, values, e));
    /* an id is as long as it is said to be */
    const char *one = "id1234";
    size_t three = 3;
    ok(s->vt->get_many(s, "films", &one, &three, 1, values, e));
    assert_string_equal(pond_value_data(values[0], NULL), "{\"id\":\"id1\",\"n\":1}");
    pond_value_free(values[0]);
}

static void one_bad_of_many(void **state) {
    fixture *f = *state;
    const char *ids[] = {"1", "2", "3"};
    size_t lens[] = {1, 1, 1};
    pond_value *values[3] = {NULL, NULL, NULL};
    pond_error *err = NULL;
    create(f->store, "films");
    put(f->store, "films", "1", "{}");
    put(f->store, "films", "2", "{}");
    sql(f, "UPDATE films SET doc = '[]' WHERE id = '2'");
    int rc = f->store->vt->get_many(f->store, "films", ids, lens, 3, values, &err);
    failed(rc, err, POND_ESTORE, 0, "films \"2\"");
    put(f->store, "films", "2", "{}"); /* the read transaction is over, so this goes through */
    ok(f->store->vt->get_many(f->store, "films", ids, lens, 3, values, e));
    for (int i = 0; i < 3; i++) pond_value_free(values[i]);
}

static void bad_documents(void **state) {
    mp_store *s = ((fixture *)*state)->store;
    create(s, "films");
    put_fails(s, "films", "1", "[1]", POND_EVALUE, 0, "films \"1\"");
    put_fails(s, "films", "1", "{\"a\":{\"b\":1,\"b\":2}}", POND_EVALUE, 0, "a.b");
    put_fails(s, "films", "1", "{\"_mpv\":1}", POND_EVALUE, 0, "_mpv");
    put_fails(s, "films", "1", "{\"id\":\"2\"}", POND_EVALUE, 0, "id");
    assert_string_equal(get(s, "films", "1"), "absent");
}

static void large_documents(void **state) {
    fixture *f = *state;
    enum { LIMIT = 1 << 20 };
    char *doc = malloc(LIMIT + 2);
    pond_value *value = NULL;
    pond_error *err = NULL;
    size_t len;
    assert_non_null(doc);
    memset(doc, 'x', LIMIT + 2);
    memcpy(doc, "{\"a\":\"", 6);
    memcpy(doc + LIMIT - 2, "\"}", 2);
    create(f->store, "films");
    ok(f->store->vt->put(f->store, "films", "1", 1, doc, LIMIT, e));
    ok(f->store->vt->get(f->store, "films", "1", 1, &value, e));
    assert_memory_equal(pond_value_data(value, &len), "{\"id\":\"1\",\"a\":\"xxx", 18);
    assert_int_equal(len, LIMIT + 9);
    pond_value_free(value);
    memcpy(doc + LIMIT - 2, "xx\"}", 4);
    int rc = f->store->vt->put(f->store, "films", "2", 1, doc, LIMIT + 2, &err);
    failed(rc, err, POND_EVALUE, 0, "max_value is 1048576");
    /* small as it comes, too large in its normal form: 1e20 is written 100000000000000000000.0 */
    size_t at = 5;
    memcpy(doc, "{\"a\":", 5);
    for (doc[at++] = '['; at + 5 < LIMIT - 2; at += 5) memcpy(doc + at, "1e20,", 5);
    memcpy(doc + at - 1, "]}", 2);
    err = NULL;
    rc = f->store->vt->put(f->store, "films", "2", 1, doc, at + 1, &err);
    failed(rc, err, POND_EVALUE, 0, "max_value is 1048576");
    assert_string_equal(get(f->store, "films", "2"), "absent");
    free(doc);
}

/* Names and tables. */

static void collections(void **state) {
    fixture *f = *state;
    mp_store *s = f->store;
    get_fails(s, "films", "1", POND_ESTORE, 0, "create the collection first");
    put_fails(s, "films", "1", "{}", POND_ESTORE, 0, "create the collection first");
    pond_error *err = NULL;
    bool existed;
    int rc = s->vt->remove(s, "films", "1", 1, &existed, &err);
    failed(rc, err, POND_ESTORE, 0, "create the collection first");
    /* made by another, then dropped, while the statements are prepared */
    create(s, "films");
    put(s, "films", "1", "{}");
    assert_string_equal(get(s, "films", "1"), "{\"id\":\"1\"}");
    sql(f, "DROP TABLE films");
    get_fails(s, "films", "1", POND_ESTORE, 0, "create the collection first");
    put_fails(s, "films", "1", "{}", POND_ESTORE, 0, "create the collection first");
    create(s, "films");
    put(s, "films", "1", "{}");
    assert_string_equal(get(s, "films", "1"), "{\"id\":\"1\"}");
    /* names that are SQL words or need quotes, and more of them than a connection remembers */
    static const char *const names[] = {"select", "a.b", "a-b", "_", "Order.Items-2", "table"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        create(s, names[i]);
        put(s, names[i], "1", "{\"a\":1}");
        assert_string_equal(get(s, names[i], "1"), "{\"id\":\"1\",\"a\":1}");
    }
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 3 * MP_SQLITE_TABLES; i++) {
            char name[16], doc[32], want[48];
            snprintf(name, sizeof name, "c%d", i);
            snprintf(doc, sizeof doc, "{\"n\":%d}", i);
            snprintf(want, sizeof want, "{\"id\":\"1\",\"n\":%d}", i);
            if (round == 0) {
                create(s, name);
                put(s, name, "1", doc);
            }
            assert_string_equal(get(s, name, "1"), want);
        }
}

static void one_table_has_one_name(void **state) {
    mp_store *s = ((fixture *)*state)->store;
    create(s, "films");
    get_fails(s, "Films", "1", POND_EOPTION, 0, "called \"films\"");
    put_fails(s, "FILMS", "1", "{}", POND_EOPTION, 0, "called \"films\"");
    pond_error *err = NULL;
    int rc = s->vt->create(s, "Films", &err);
    failed(rc, err, POND_EOPTION, 0, "called \"films\"");
}

static void names_are_quoted(void **state) {
    char out[MP_SQLITE_QUOTED_MAX], long_name[200];
    assert_string_equal(mp_sqlite_quote(out, "films"), "\"films\"");
    assert_string_equal(mp_sqlite_quote(out, "a\"; DROP TABLE b; --"), "\"a\"\"; DROP TABLE b; --\"");
    memset(long_name, '"', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    assert_int_equal(strlen(mp_sqlite_quote(out, long_name)), MP_SQLITE_QUOTED_MAX - 1);
}

static void tables_of_others(void **state) {
    fixture *f = *state;
    mp_store *s = f->store;
    sql(f, "CREATE TABLE loose(id TEXT PRIMARY KEY, doc, ver)");
    sql(f, "INSERT INTO loose VALUES('1', ' { \"a\" : 1 }', 0), ('2', '{\"id\":\"x\",\"a\":1,\"_mpv\":5}', 0), ('3', "
           "'x', 0), "
           "('4', NULL, 0), ('5', 7, 0), ('6', '[{}]', 0), ('7', x'7b7d', 0), ('8', x'ff00', 0), ('9', '', 0), "
           "('10', CAST(x'7b2261223a22ff227d' AS TEXT), 0)");
    assert_string_equal(get(s, "loose", "1"), "{\"id\":\"1\", \"a\" : 1 }");
    assert_string_equal(get(s, "loose", "2"), "{\"id\":\"2\",\"a\":1}");
    static const char *const bad[] = {"3", "4", "5", "6", "8", "9", "10"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char name[32];
        snprintf(name, sizeof name, "loose \"%s\"", bad[i]);
        get_fails(s, "loose", bad[i], POND_ESTORE, 0, name);
        put(s, "loose", bad[i], "{\"b\":2}"); /* and is mended by a write */
        assert_non_null(strstr(get(s, "loose", bad[i]), "\"b\":2"));
    }
    assert_string_equal(get(s, "loose", "7"), "{\"id\":\"7\"}");
    /* other columns are kept */
    sql(f, "CREATE TABLE wide(id TEXT PRIMARY KEY, doc TEXT, ver INTEGER, note TEXT DEFAULT 'none')");
    sql(f, "INSERT INTO wide VALUES('1', '{}', 0, 'mine')");
    put(s, "wide", "1", "{\"a\":1}");
    assert_string_equal(sql(f, "SELECT note || doc FROM wide"), "mine{\"a\":1}");
    /* tables that are no collections */
    pond_error *err = NULL;
    sql(f, "CREATE TABLE plain(a, b)");
    get_fails(s, "plain", "1", POND_ESTORE, 0, "no such column");
    int rc = s->vt->create(s, "plain", &err);
    failed(rc, err, POND_ESTORE, 0, "no such column");
    sql(f, "CREATE TABLE twice(id TEXT, doc TEXT, ver INTEGER)");
    put_fails(s, "twice", "1", "{}", POND_ESTORE, 0, "UNIQUE");
    /* a rule of theirs */
    sql(f, "CREATE TRIGGER no BEFORE INSERT ON wide WHEN NEW.id = 'no' BEGIN SELECT RAISE(ABORT, 'not this one'); END");
    put_fails(s, "wide", "no", "{}", POND_ESTORE, 0, "wide \"no\": not this one");
}

static void names_and_ids_are_checked(void **state) {
    static const char *const good[] = {"a", "_", "films", "Order.Items-2", "_1", "sqlite", "millpond"};
    static const char *const bad[] = {"",         "1a",   ".a",    "-a",       "a b",         "a/b",
                                      "a?",       "a{b}", "a:b",   "a\"b",     "a'b",         "a;b",
                                      "\xc3\xa9", "a\n",  "a\x7f", "sqlite_a", "SQLite_Stat", "millpond_journal"};
    char longest[MP_COLLECTION_MAX + 2];
    memset(longest, 'x', sizeof longest);
    longest[MP_COLLECTION_MAX + 1] = 0;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) ok(mp_collection_check(good[i], e));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        pond_error *err = NULL;
        if (mp_collection_check(bad[i], &err) == POND_OK) fail_msg("taken: '%s'", bad[i]);
        failed(POND_EOPTION, err, POND_EOPTION, 0, "collection: the name ");
    }
    assert_int_equal(mp_collection_check(NULL, NULL), POND_EOPTION);
    assert_int_equal(mp_collection_check(longest, NULL), POND_EOPTION);
    longest[MP_COLLECTION_MAX] = 0;
    ok(mp_collection_check(longest, e));

    char id[MP_ID_MAX + 1];
    memset(id, 'x', sizeof id);
    ok(mp_id_check("films", id, MP_ID_MAX, e));
    ok(mp_id_check("films", "\xc3\xa9\n{}:/ ", 8, e));
    pond_error *err = NULL;
    int rc = mp_id_check("films", id, MP_ID_MAX + 1, &err);
    failed(rc, err, POND_EKEY, 0, "films: the id \"xxx");
    rc = mp_id_check("films", "", 0, (err = NULL, &err));
    failed(rc, err, POND_EKEY, 0, "empty");
    rc = mp_id_check("films", NULL, 0, (err = NULL, &err));
    failed(rc, err, POND_EKEY, 0, "empty");
    rc = mp_id_check("films", "a\0b", 3, (err = NULL, &err));
    failed(rc, err, POND_EKEY, 0, "U+0000 at byte 1");
    rc = mp_id_check("films", "a\xff", 2, (err = NULL, &err));
    failed(rc, err, POND_EKEY, 0, "UTF-8 at byte 1");
}

/* Addresses. */

static void bad_address(const char *address, int code, const char *says) {
    mp_store *store = NULL;
    pond_error *err = NULL;
    int rc = open_at(&store, address, "1s", "1MiB", &err);
    assert_null(store);
    failed(rc, err, code, 0, says);
}

static void addresses(void **state) {
    fixture *f = *state;
    char address[400], other[300];
    struct stat st;
    bad_address("sqlite:", POND_EURL, "names no file");
    bad_address("sqlite://shop.db", POND_EURL, "two slashes");
    bad_address("sqlite:///shop.db", POND_EURL, "two slashes");
    bad_address("sqlite:file:shop.db", POND_EURL, "URI");
    bad_address("sqlite::shared:", POND_EURL, "colon");
    bad_address("sqlite:shop.db?mode=ro", POND_EURL, "no parameters");
    bad_address("mongodb://x", POND_EURL, "sqlite:path");
    bad_address("sqlite:/", POND_EURL, "folder");
    snprintf(address, sizeof address, "sqlite:%s", f->dir);
    bad_address(address, POND_EURL, "folder");
    snprintf(address, sizeof address, "sqlite:%s/", f->dir);
    bad_address(address, POND_EURL, "folder");
    snprintf(address, sizeof address, "sqlite:%s/none/shop.db", f->dir);
    bad_address(address, POND_EURL, "/none");
    snprintf(address, sizeof address, "sqlite:%s/none", f->dir);
    assert_int_equal(stat(address + 7, &st), -1);
    /* a file of another kind */
    snprintf(other, sizeof other, "%s/other", f->dir);
    snprintf(address, sizeof address, "sqlite:%s", other);
    FILE *file = fopen(other, "w");
    assert_non_null(file);
    for (int i = 0; i < 200; i++) fputs("this is no database\n", file);
    fclose(file);
    bad_address(address, POND_ESTORE, "file is not a database");
    snprintf(address, sizeof address, "sqlite:%s/shop", other);
    bad_address(address, POND_EURL, "other");
}

static void a_relative_path_stays_what_it_was(void **state) {
    fixture *f = *state;
    char *before = getcwd(NULL, 0);
    mp_sqlite_pool *pool = NULL;
    mp_sqlite_conn *conn[2];
    assert_non_null(before);
    create(f->store, "films");
    put(f->store, "films", "1", "{}");
    assert_int_equal(chdir(f->dir), 0);
    ok(mp_sqlite_pool_open(&pool, "shop.db", 2, 1000, e));
    assert_int_equal(chdir("/"), 0);
    for (int i = 0; i < 2; i++) { /* the second is opened now */
        sqlite3_stmt *statement;
        ok(mp_sqlite_take(pool, false, &conn[i], e));
        ok(mp_sqlite_statement(conn[i], "films", MP_SQL_GET, &statement, e));
    }
    for (int i = 0; i < 2; i++) mp_sqlite_give(pool, conn[i]);
    mp_sqlite_pool_close(pool);
    assert_int_equal(chdir(before), 0);
    free(before);
}

static void in_memory(void **state) {
    mp_store *a = opened("sqlite::memory:", "5s"), *b = opened("sqlite::memory:", "5s");
    create(a, "films");
    put(a, "films", "1", "{\"a\":1}");
    assert_string_equal(get(a, "films", "1"), "{\"id\":\"1\",\"a\":1}");
    get_fails(b, "films", "1", POND_ESTORE, 0, "create the collection first"); /* every pond has its own */
    a->vt->close(a);
    b->vt->close(b);
}

static void old_versions_are_refused(void **state) {
    pond_error *err = NULL;
    int rc = mp_sqlite_version_check(3037002, "3.37.2", &err);
    failed(rc, err, POND_ESTORE, 0, "3.37.2");
    ok(mp_sqlite_version_check(3038000, "3.38.0", e));
    ok(mp_sqlite_version_check(4000000, "4.0.0", e));
}

static void a_file_that_is_replaced(void **state) {
    fixture *f = *state;
    char moved[300];
    snprintf(moved, sizeof moved, "%s/moved.db", f->dir);
    create(f->store, "films");
    put(f->store, "films", "1", "{}");
    assert_int_equal(rename(f->path, moved), 0);
    put_fails(f->store, "films", "1", "{}", POND_ESTORE, 0, "removed or replaced");
    pond_value *value = NULL; /* reads look every 100 ms */
    for (int64_t end = mp_clock_ms() + 10000; mp_clock_ms() < end; pond_value_free(value), value = NULL)
        if (f->store->vt->get(f->store, "films", "1", 1, &value, NULL) != POND_OK) break;
    get_fails(f->store, "films", "1", POND_ESTORE, 0, "removed or replaced");
    assert_int_equal(rename(moved, f->path), 0);
    assert_string_equal(get(f->store, "films", "1"), "{\"id\":\"1\"}");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_a_file(documents_come_and_go),
        in_a_file(what_stands_in_the_file),
        in_a_file(writes_are_synchronous),
        in_a_file(ids_are_bytes),
        in_a_file(many_at_once),
        in_a_file(one_bad_of_many),
        in_a_file(bad_documents),
        in_a_file(large_documents),
        in_a_file(collections),
        in_a_file(one_table_has_one_name),
        cmocka_unit_test(names_are_quoted),
        in_a_file(tables_of_others),
        cmocka_unit_test(names_and_ids_are_checked),
        in_a_file(addresses),
        in_a_file(a_relative_path_stays_what_it_was),
        cmocka_unit_test(in_memory),
        cmocka_unit_test(old_versions_are_refused),
        in_a_file(a_file_that_is_replaced),
    };
    return cmocka_run_group_tests_name("sqlite", tests, NULL, NULL);
}
