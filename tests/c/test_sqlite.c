/* The store behind sqlite: addresses, with a real file each time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "base/clock.h"
#include "store/sqlite_pool.h"
#include "store/store.h"
#include "store/store_check.h"

/* The fixture: a folder, and a store in it. */

typedef struct fixture {
    char dir[200], path[256], address[300];
    mp_store *store;
} fixture;

static int open_at(mp_store **out, const char *address, const char *timeout, const char *max_value, pond_error **err) {
    mp_options options;
    assert_true(mp_options_init(&options));
    assert_int_equal(mp_options_set(&options, MP_SCOPE_POND, "store", address, NULL), POND_OK);
    assert_int_equal(mp_options_set(&options, MP_SCOPE_POND, "store_timeout", timeout, NULL), POND_OK);
    assert_int_equal(mp_options_set(&options, MP_SCOPE_POND, "max_value", max_value, NULL), POND_OK);
    int rc = mp_sqlite_open(out, &options, err);
    mp_options_free(&options);
    return rc;
}

static mp_store *opened(const char *address, const char *timeout) {
    mp_store *store = NULL;
    pond_error *err = NULL;
    if (open_at(&store, address, timeout, "1MiB", &err) != POND_OK) fail_msg("%s", pond_error_message(err));
    return store;
}

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    const char *tmp = getenv("TMPDIR");
    assert_non_null(f);
    snprintf(f->dir, sizeof f->dir, "%.150s/pond-sqlite-XXXXXX", tmp != NULL && *tmp != 0 ? tmp : "/tmp");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/shop.db", f->dir);
    snprintf(f->address, sizeof f->address, "sqlite:%s", f->path);
    f->store = opened(f->address, "5s");
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    static const char *const names[] = {"shop.db", "shop.db-wal", "shop.db-shm", "moved.db", "other"};
    if (f->store != NULL) f->store->vt->close(f->store);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[300];
        snprintf(path, sizeof path, "%s/%s", f->dir, names[i]);
        unlink(path);
    }
    int left = rmdir(f->dir); /* nothing else was made there */
    free(f);
    return left;
}

/* Calls that must succeed. */

#define ok(call)                                                                                                       \
    do {                                                                                                               \
        pond_error *e_ = NULL, **e = &e_;                                                                              \
        if ((call) != POND_OK) fail_msg("%s: %s", #call, pond_error_message(e_));                                      \
        assert_null(e_);                                                                                               \
    } while (0)

static void create(mp_store *s, const char *collection) { ok(s->vt->create(s, collection, e)); }

static void put(mp_store *s, const char *collection, const char *id, const char *doc) {
    ok(s->vt->put(s, collection, id, strlen(id), doc, strlen(doc), e));
}

/* The document, or "absent"; until the next call of the same thread. */
static const char *get(mp_store *s, const char *collection, const char *id) {
    static _Thread_local char text[4096];
    pond_value *value = NULL;
    ok(s->vt->get(s, collection, id, strlen(id), &value, e));
    if (pond_value_state(value) == POND_ABSENT) snprintf(text, sizeof text, "absent");
    else {
        assert_int_equal(pond_value_codec(value), POND_JSON);
        snprintf(text, sizeof text, "%s", pond_value_data(value, NULL));
    }
    pond_value_free(value);
    return text;
}

static bool removed(mp_store *s, const char *collection, const char *id) {
    bool existed = false;
    ok(s->vt->remove(s, collection, id, strlen(id), &existed, e));
    return existed;
}

/* Runs SQL past the store, as another program would; answers the first value as text. */
static const char *sql(fixture *f, const char *text) {
    static char answer[1000];
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    assert_int_equal(sqlite3_open_v2(f->path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    answer[0] = 0;
    for (const char *rest = text; *rest != 0;) {
        if (sqlite3_prepare_v2(db, rest, -1, &statement, &rest) != SQLITE_OK)
            fail_msg("%s: %s", text, sqlite3_errmsg(db));
        int rc = sqlite3_step(statement);
        if (rc != SQLITE_ROW && rc != SQLITE_DONE) fail_msg("%s: %s", text, sqlite3_errmsg(db));
        if (rc == SQLITE_ROW && sqlite3_column_text(statement, 0) != NULL)
            snprintf(answer, sizeof answer, "%s", (const char *)sqlite3_column_text(statement, 0));
        sqlite3_finalize(statement);
    }
    sqlite3_close(db);
    return answer;
}

/* The error of a call that must fail with `code`, whose text holds `says`. */
static void failed(int rc, pond_error *err, int code, int retriable, const char *says) {
    assert_int_equal(rc, code);
    assert_non_null(err);
    assert_int_equal(pond_error_code(err), code);
    if (strstr(pond_error_message(err), says) == NULL) fail_msg("'%s' was to say '%s'", pond_error_message(err), says);
    if (pond_error_retriable(err) != retriable) fail_msg("retriable is %d: %s", !retriable, pond_error_message(err));
    pond_error_free(err);
}

static void get_fails(mp_store *s, const char *collection, const char *id, int code, int retriable, const char *says) {
    pond_value *value = NULL;
    pond_error *err = NULL;
    int rc = s->vt->get(s, collection, id, strlen(id), &value, &err);
    assert_null(value);
    failed(rc, err, code, retriable, says);
}

static void put_fails(mp_store *s, const char *collection, const char *id, const char *doc, int code, int retriable,
                      const char *says) {
    pond_error *err = NULL;
    int rc = s->vt->put(s, collection, id, strlen(id), doc, strlen(doc), &err);
    failed(rc, err, code, retriable, says);
}

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

/* Locks, threads and processes. */

static void another_program_writes(void **state) {
    fixture *f = *state;
    mp_store *hasty = opened(f->address, "20ms");
    sqlite3 *db = NULL;
    create(f->store, "films");
    put(f->store, "films", "1", "{\"a\":1}");
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE; UPDATE films SET doc = '{\"a\":2}'", NULL, NULL, NULL),
                     SQLITE_OK);
    put_fails(hasty, "films", "1", "{}", POND_ESTORE, 1, "store_timeout");
    assert_string_equal(get(hasty, "films", "1"), "{\"id\":\"1\",\"a\":1}"); /* readers do not wait */
    assert_int_equal(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    assert_string_equal(get(hasty, "films", "1"), "{\"id\":\"1\",\"a\":2}");
    put(hasty, "films", "1", "{\"a\":3}");
    sqlite3_close(db);
    hasty->vt->close(hasty);
}

typedef struct taker {
    pthread_t thread;
    mp_sqlite_pool *pool;
    bool writes;
    int rc;
} taker;

static void *take_and_give(void *arg) {
    taker *t = arg;
    mp_sqlite_conn *conn;
    t->rc = mp_sqlite_take(t->pool, t->writes, &conn, NULL);
    if (t->rc == POND_OK) mp_sqlite_give(t->pool, conn);
    return NULL;
}

static void connections_are_bounded(void **state) {
    fixture *f = *state;
    mp_sqlite_pool *pool = NULL;
    mp_sqlite_conn *conn[2], *more = NULL;
    pond_error *err_of = NULL;
    ok(mp_sqlite_pool_open(&pool, f->path, 2, 20, e));
    ok(mp_sqlite_take(pool, true, &conn[0], e));
    int rc = mp_sqlite_take(pool, true, &more, &err_of);
    failed(rc, err_of, POND_ESTORE, 1, "another write of this process");
    ok(mp_sqlite_take(pool, false, &conn[1], e)); /* a reader is not held up */
    rc = mp_sqlite_take(pool, false, &more, (err_of = NULL, &err_of));
    failed(rc, err_of, POND_ESTORE, 1, "all connections were busy");
    mp_sqlite_give(pool, conn[0]);
    /* the writer's turn does not stay with who found no connection */
    ok(mp_sqlite_take(pool, false, &conn[0], e));
    rc = mp_sqlite_take(pool, true, &more, (err_of = NULL, &err_of));
    failed(rc, err_of, POND_ESTORE, 1, "all connections were busy");
    mp_sqlite_give(pool, conn[0]);
    ok(mp_sqlite_take(pool, true, &conn[0], e));
    mp_sqlite_give(pool, conn[0]);
    mp_sqlite_give(pool, conn[1]);
    mp_sqlite_pool_close(pool);
}

static void who_waits_is_woken(void **state) {
    fixture *f = *state;
    taker takers[6];
    mp_sqlite_conn *conn[2];
    mp_sqlite_pool *pool = NULL;
    ok(mp_sqlite_pool_open(&pool, f->path, 2, 60000, e)); /* longer than the test may take */
    ok(mp_sqlite_take(pool, true, &conn[0], e));
    ok(mp_sqlite_take(pool, false, &conn[1], e));
    for (int i = 0; i < 6; i++) {
        takers[i] = (taker){.pool = pool, .writes = i % 2 == 0, .rc = 1};
        assert_int_equal(pthread_create(&takers[i].thread, NULL, take_and_give, &takers[i]), 0);
    }
    mp_sqlite_give(pool, conn[1]);
    mp_sqlite_give(pool, conn[0]);
    for (int i = 0; i < 6; i++) {
        pthread_join(takers[i].thread, NULL);
        assert_int_equal(takers[i].rc, POND_OK);
    }
    mp_sqlite_pool_close(pool);
}

static void a_transaction_left_open(void **state) {
    fixture *f = *state;
    mp_sqlite_pool *pool = NULL;
    mp_sqlite_conn *conn = NULL;
    create(f->store, "films");
    ok(mp_sqlite_pool_open(&pool, f->path, 1, 1000, e));
    ok(mp_sqlite_take(pool, true, &conn, e));
    assert_int_equal(sqlite3_exec(conn->db, "BEGIN; INSERT INTO films VALUES('1', '{}', 0)", NULL, NULL, NULL),
                     SQLITE_OK);
    mp_sqlite_give(pool, conn);
    put(f->store, "films", "2", "{}"); /* its lock is gone, and so is what it wrote */
    assert_string_equal(get(f->store, "films", "1"), "absent");
    mp_sqlite_pool_close(pool);
}

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
    for (int i = 0; i < 40; i++) {
        char id[16], doc[32], want[48];
        bool existed = false;
        int len = snprintf(id, sizeof id, "%d-%d", w->number, i % 10);
        int doc_len = snprintf(doc, sizeof doc, "{\"n\":%d}", i);
        snprintf(want, sizeof want, "{\"id\":\"%s\",\"n\":%d}", id, i);
        w->wrong += s->vt->put(s, "films", id, (size_t)len, doc, (size_t)doc_len, NULL) != POND_OK;
        w->wrong += !is(s, id, want);
        w->wrong += !is(s, "shared", "{\"id\":\"shared\",\"a\":1}");
        if (i % 4 != 0) continue;
        w->wrong += s->vt->remove(s, "films", id, (size_t)len, &existed, NULL) != POND_OK || !existed;
        w->wrong += !is(s, id, "absent");
    }
    return NULL;
}

static void from_many_threads(mp_store *s) {
    enum { N = 12 }; /* more than there are connections */
    worker workers[N];
    create(s, "films");
    put(s, "films", "shared", "{\"a\":1}");
    for (int i = 0; i < N; i++) {
        workers[i] = (worker){.store = s, .number = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < N; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_int_equal(workers[i].wrong, 0);
    }
}

static void threads(void **state) {
    from_many_threads(((fixture *)*state)->store);
    mp_store *memory = opened("sqlite::memory:", "5s");
    from_many_threads(memory);
    memory->vt->close(memory);
}

typedef struct writer {
    pthread_t thread;
    mp_store *store;
    _Atomic int stop;
    int failures;
} writer;

/* First a, then b: at any moment, a is b or one more. */
static void *write_pairs(void *arg) {
    writer *w = arg;
    for (int i = 1; !w->stop; i++) {
        char doc[32];
        int len = snprintf(doc, sizeof doc, "{\"n\":%d}", i);
        w->failures += w->store->vt->put(w->store, "films", "a", 1, doc, (size_t)len, NULL) != POND_OK;
        w->failures += w->store->vt->put(w->store, "films", "b", 1, doc, (size_t)len, NULL) != POND_OK;
    }
    return NULL;
}

static void many_are_read_at_one_moment(void **state) {
    mp_store *s = ((fixture *)*state)->store;
    enum { N = 200 };
    const char *ids[N];
    size_t lens[N];
    pond_value *values[N];
    writer w = {.store = s};
    create(s, "films");
    put(s, "films", "a", "{\"n\":0}");
    put(s, "films", "b", "{\"n\":0}");
    for (int i = 0; i < N; i++) ids[i] = i == N - 1 ? "b" : i == 0 ? "a" : "none", lens[i] = strlen(ids[i]);
    assert_int_equal(pthread_create(&w.thread, NULL, write_pairs, &w), 0);
    int changes = 0, last = -1;
    for (int round = 0; round < 20000 && changes < 100; round++) {
        ok(s->vt->get_many(s, "films", ids, lens, N, values, e));
        int a = -1, b = -1;
        assert_int_equal(sscanf(pond_value_data(values[0], NULL), "{\"id\":\"a\",\"n\":%d}", &a), 1);
        assert_int_equal(sscanf(pond_value_data(values[N - 1], NULL), "{\"id\":\"b\",\"n\":%d}", &b), 1);
        for (int i = 0; i < N; i++) pond_value_free(values[i]);
        if (a < b || a > b + 1) fail_msg("a is %d when b is %d", a, b);
        changes += a != last;
        last = a;
    }
    w.stop = 1;
    pthread_join(w.thread, NULL);
    assert_int_equal(w.failures, 0);
    assert_true(changes >= 20); /* there was something to see */
}

/* Waits for a child; its exit status. */
static int status_of(pid_t child) {
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

static bool put_ok(mp_store *s, const char *id, const char *doc) {
    return s->vt->put(s, "films", id, strlen(id), doc, strlen(doc), NULL) == POND_OK;
}

static void a_new_file_by_many_processes(void **state) {
    fixture *f = *state;
    enum { N = 6 };
    pid_t children[N];
    char path[300], address[320];
    snprintf(path, sizeof path, "%s/moved.db", f->dir);
    snprintf(address, sizeof address, "sqlite:%s", path);
    for (int i = 0; i < N; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] > 0) continue;
        mp_store *s = NULL;
        char id[16];
        snprintf(id, sizeof id, "%d", i);
        pond_error *err = NULL;
        bool fine = open_at(&s, address, "10s", "1MiB", &err) == POND_OK &&
                    s->vt->create(s, "films", &err) == POND_OK &&
                    s->vt->put(s, "films", id, 1, "{}", 2, &err) == POND_OK;
        if (!fine) print_error("%s\n", pond_error_message(err));
        if (fine) s->vt->close(s);
        _exit(fine ? 0 : 1);
    }
    for (int i = 0; i < N; i++) assert_int_equal(status_of(children[i]), 0);
    mp_store *s = opened(address, "5s");
    for (int i = 0; i < N; i++) {
        char id[16];
        snprintf(id, sizeof id, "%d", i);
        assert_string_not_equal(get(s, "films", id), "absent");
    }
    s->vt->close(s);
}

/* The child says, over a pipe, when it is time for the parent to go on, and the other way round. */
static void signal_on(int fd) {
    if (write(fd, "x", 1) != 1) abort();
}

static void wait_on(int fd) {
    char c;
    if (read(fd, &c, 1) != 1) abort();
}

static int child_life(mp_store *s, int from_parent, int to_parent) {
    if (!is(s, "1", "{\"id\":\"1\",\"by\":\"parent\"}")) return 1;
    if (!put_ok(s, "2", "{\"by\":\"child\"}")) return 2;
    signal_on(to_parent);
    wait_on(from_parent); /* the parent has written, and closed its store: its last connection */
    if (!is(s, "3", "{\"id\":\"3\",\"by\":\"parent\"}")) return 3;
    for (int i = 0; i < 50; i++)
        if (!put_ok(s, "4", "{\"by\":\"child\"}")) return 4;
    signal_on(to_parent);
    wait_on(from_parent); /* the parent has seen it through a new store, and closed that too */
    if (!put_ok(s, "5", "{\"by\":\"child\"}")) return 5;
    pid_t grandchild = fork(); /* and once more from here */
    if (grandchild == 0) _exit(is(s, "5", "{\"id\":\"5\",\"by\":\"child\"}") && put_ok(s, "6", "{}") ? 0 : 1);
    int status;
    if (waitpid(grandchild, &status, 0) != grandchild || !WIFEXITED(status) || WEXITSTATUS(status) != 0) return 6;
    if (!put_ok(s, "7", "{}")) return 7;
    s->vt->close(s);
    return 0;
}

static void a_forked_child_has_its_own_connections(void **state) {
    fixture *f = *state;
    int down[2], up[2];
    assert_int_equal(pipe(down), 0);
    assert_int_equal(pipe(up), 0);
    create(f->store, "films");
    assert_true(put_ok(f->store, "1", "{\"by\":\"parent\"}"));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) _exit(child_life(f->store, down[0], up[1]));
    wait_on(up[0]);
    assert_string_equal(get(f->store, "films", "2"), "{\"id\":\"2\",\"by\":\"child\"}");
    assert_true(put_ok(f->store, "3", "{\"by\":\"parent\"}"));
    f->store->vt->close(f->store);
    signal_on(down[1]);
    wait_on(up[0]);
    f->store = opened(f->address, "5s");
    assert_string_equal(get(f->store, "films", "4"), "{\"id\":\"4\",\"by\":\"child\"}");
    f->store->vt->close(f->store);
    f->store = NULL;
    signal_on(down[1]);
    assert_int_equal(status_of(child), 0);
    f->store = opened(f->address, "5s");
    for (int i = 1; i <= 7; i++) {
        char id[16];
        snprintf(id, sizeof id, "%d", i);
        assert_string_not_equal(get(f->store, "films", id), "absent");
    }
    assert_string_equal(sql(f, "PRAGMA integrity_check"), "ok");
    for (int i = 0; i < 2; i++) close(down[i]), close(up[i]);
}

static void a_child_that_only_closes(void **state) {
    fixture *f = *state;
    create(f->store, "films");
    assert_true(put_ok(f->store, "1", "{}"));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        f->store->vt->close(f->store);
        _exit(0);
    }
    assert_int_equal(status_of(child), 0);
    assert_true(put_ok(f->store, "2", "{}"));
    assert_string_not_equal(get(f->store, "films", "1"), "absent");
    assert_string_equal(sql(f, "SELECT count(*) FROM films"), "2");
}

static void a_child_that_cannot_be_served(void **state) {
    fixture *f = *state;
    mp_sqlite_pool *pool = NULL;
    mp_sqlite_conn *conn = NULL;
    mp_store *memory = opened("sqlite::memory:", "5s");
    create(memory, "films");
    ok(mp_sqlite_pool_open(&pool, f->path, 2, 1000, e));
    ok(mp_sqlite_take(pool, false, &conn, e)); /* a call is under way */
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        pond_value *value = NULL;
        pond_error *err = NULL;
        mp_sqlite_conn *none = NULL;
        int wrong = 0;
        for (int i = 0; i < 2; i++) {
            wrong += mp_sqlite_take(pool, false, &none, &err) != POND_ESTORE || pond_error_retriable(err);
            wrong += strstr(pond_error_message(err), "under way") == NULL;
            pond_error_free(err);
            err = NULL;
            wrong += memory->vt->get(memory, "films", "1", 1, &value, &err) != POND_ESTORE || pond_error_retriable(err);
            wrong += strstr(pond_error_message(err), "fork") == NULL;
            pond_error_free(err);
            err = NULL;
        }
        mp_sqlite_pool_close(pool);
        memory->vt->close(memory);
        _exit(wrong);
    }
    assert_int_equal(status_of(child), 0);
    mp_sqlite_give(pool, conn);
    ok(mp_sqlite_take(pool, true, &conn, e)); /* the parent goes on */
    mp_sqlite_give(pool, conn);
    mp_sqlite_pool_close(pool);
    put(memory, "films", "1", "{}");
    memory->vt->close(memory);
}

/* What was acknowledged is there after the process was killed, and the file is whole. */
static void killed_in_mid_write(void **state) {
    fixture *f = *state;
    create(f->store, "films");
    f->store->vt->close(f->store);
    f->store = NULL;
    for (int round = 0; round < 5; round++) {
        int up[2];
        assert_int_equal(pipe(up), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            mp_store *s = opened(f->address, "5s");
            for (int i = 0;; i++) {
                char id[32];
                snprintf(id, sizeof id, "%d-%d", round, i);
                if (!put_ok(s, id, "{\"a\":1}")) _exit(1);
                if (write(up[1], &i, sizeof i) != sizeof i) _exit(2);
            }
        }
        int last = -1;
        for (int i = 0; i < 20 + round * 7; i++) assert_int_equal(read(up[0], &last, sizeof last), sizeof last);
        kill(child, SIGKILL);
        assert_int_equal(status_of(child), 1000 + SIGKILL);
        close(up[1]);
        for (int acked; read(up[0], &acked, sizeof acked) == sizeof acked;) last = acked;
        close(up[0]);
        f->store = opened(f->address, "5s");
        for (int i = 0; i <= last; i++) {
            char id[32];
            snprintf(id, sizeof id, "%d-%d", round, i);
            assert_string_not_equal(get(f->store, "films", id), "absent");
        }
        assert_string_equal(sql(f, "PRAGMA integrity_check"), "ok");
        f->store->vt->close(f->store);
        f->store = NULL;
    }
}

#define in_a_file(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

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
        in_a_file(another_program_writes),
        in_a_file(connections_are_bounded),
        in_a_file(who_waits_is_woken),
        in_a_file(a_transaction_left_open),
        in_a_file(threads),
        in_a_file(many_are_read_at_one_moment),
        in_a_file(a_new_file_by_many_processes),
        in_a_file(a_forked_child_has_its_own_connections),
        in_a_file(a_child_that_only_closes),
        in_a_file(a_child_that_cannot_be_served),
        in_a_file(killed_in_mid_write),
    };
    return cmocka_run_group_tests_name("sqlite", tests, NULL, NULL);
}
