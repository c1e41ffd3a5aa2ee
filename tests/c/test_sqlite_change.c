/* Changes of documents on SQLite. */
#include "sqlite_store.h"

#include "change_cases.h"

static sqlite3 *other_program(const fixture *f) {
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    return db;
}

static void run_sql(sqlite3 *db, const char *text) {
    char *why = NULL;
    if (sqlite3_exec(db, text, NULL, NULL, &why) != SQLITE_OK) fail_msg("%s: %s", text, why);
}

static void collections_that_there_are_not(void **state) {
    mp_store *s = ((fixture *)*state)->store;
    for (mp_change_kind kind = MP_CHANGE_CREATE; kind <= MP_CHANGE_DELETE; kind++) {
        outcome o = changed(s, kind, "1", "{}");
        assert_int_equal(o.applied, MP_NOT_APPLIED);
        assert_int_equal(o.code, POND_ESTORE);
        assert_non_null(strstr(o.message, "create the collection first"));
    }
}

/* Another program holds the lock for longer than the intents stand: it is waited for, and then nothing is written. */
static void *let_go(void *arg) {
    struct timespec rest = {.tv_nsec = 300000000};
    nanosleep(&rest, NULL);
    run_sql(arg, "ROLLBACK");
    return NULL;
}

static void the_time_is_looked_at_behind_the_lock(void **state) {
    fixture *f = *state;
    mp_store *s = f->store;
    create(s, "films");
    put(s, "films", "1", "{\"a\":1}");
    sqlite3 *db = other_program(f);
    for (int late = 0; late < 2; late++) {
        pthread_t thread;
        outcome o;
        _Atomic int64_t until = mp_clock_ms() + (late ? 100 : 5000);
        mp_change change = change_of(MP_CHANGE_REPLACE, "1", "{\"a\":2}");
        change.until = &until;
        assert_int_equal(make_ready(s, &change, &o), POND_OK);
        run_sql(db, "BEGIN IMMEDIATE");
        assert_int_equal(pthread_create(&thread, NULL, let_go, db), 0);
        apply_it(s, &change, &o);
        pthread_join(thread, NULL);
        assert_int_equal(o.applied, late ? MP_NOT_APPLIED : MP_APPLIED);
        s->vt->discard(s, &change);
        assert_string_equal(get(s, "films", "1"), "{\"id\":\"1\",\"a\":2}");
        if (!late) put(s, "films", "1", "{\"id\":\"1\",\"a\":2}");
    }
    sqlite3_close(db);
}

static void a_lock_that_is_never_let_go(void **state) {
    fixture *f = *state;
    mp_store *s = opened(f->address, "100ms");
    create(s, "films");
    put(s, "films", "1", "{\"a\":1}");
    sqlite3 *db = other_program(f);
    run_sql(db, "BEGIN IMMEDIATE");
    outcome o = changed(s, MP_CHANGE_UPDATE, "1", "{\"a\":2}");
    assert_int_equal(o.applied, MP_NOT_APPLIED);
    assert_int_equal(o.code, POND_ESTORE);
    assert_int_equal(o.retriable, 1);
    sqlite3_close(db);
    changes(s, MP_CHANGE_UPDATE, "1", "{\"a\":2}");
    s->vt->close(s);
}

/* Rows of other programs: what the patch does not touch stays as they wrote it, `ver` is that of who writes past write-behind. */
static void rows_of_others(void **state) {
    fixture *f = *state;
    mp_store *s = f->store;
    create(s, "films");
    sqlite3 *db = other_program(f);
    run_sql(db,
            "INSERT INTO films VALUES('1', ' { \"a\" : 1.50, \"b\":[ ] } ', 7), ('2', CAST('{\"a\":1}' AS BLOB), 7)");
    outcome o = changed(s, MP_CHANGE_UPDATE, "1", "{\"c\":1}");
    assert_int_equal(o.applied, MP_APPLIED);
    assert_string_equal(get(s, "films", "1"), "{\"id\":\"1\",\"a\":1.50,\"b\":[],\"c\":1}");
    assert_int_equal(changed(s, MP_CHANGE_UPDATE, "2", "{\"c\":1}").applied, MP_APPLIED);
    sqlite3_stmt *rows = NULL;
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT count(*) FROM films WHERE ver = 0", -1, &rows, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(rows), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(rows, 0), 2);
    sqlite3_finalize(rows);
    run_sql(db, "CREATE UNIQUE INDEX one_c ON films(json_extract(doc, '$.c')) WHERE id > '2'");
    assert_int_equal(changed(s, MP_CHANGE_CREATE, "3", "{\"c\":5}").applied, MP_APPLIED);
    o = changed(s, MP_CHANGE_CREATE, "4", "{\"c\":5}");
    assert_int_equal(o.applied, MP_NOT_APPLIED);
    assert_int_equal(o.retriable, 0);
    assert_non_null(strstr(o.message, "UNIQUE"));
    sqlite3_close(db);
}

static void documents_have_a_limit(void **state) {
    fixture *f = *state;
    mp_store *s = NULL;
    char text[3000];
    assert_int_equal(open_at(&s, f->address, "1s", "2KiB", NULL), POND_OK);
    create(s, "films");
    changes(s, MP_CHANGE_CREATE, "1", "{\"a\":1}");
    snprintf(text, sizeof text, "{\"b\":\"%01500d\"}", 1);
    changes(s, MP_CHANGE_UPDATE, "1", text);
    snprintf(text, sizeof text, "{\"c\":\"%01500d\"}", 1); /* together they are too large */
    outcome o = changed(s, MP_CHANGE_UPDATE, "1", text);
    assert_int_equal(o.code, POND_EVALUE);
    assert_non_null(strstr(o.message, "max_value"));
    snprintf(text, sizeof text, "{\"c\":\"%02500d\"}", 1);
    assert_int_equal(changed(s, MP_CHANGE_REPLACE, "1", text).code, POND_EVALUE);
    s->vt->close(s);
}

int main(void) {
#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CHANGE_CASES(T),
        T(collections_that_there_are_not),
        T(the_time_is_looked_at_behind_the_lock),
        T(a_lock_that_is_never_let_go),
        T(rows_of_others),
        T(documents_have_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
