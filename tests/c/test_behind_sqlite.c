/* Write-behind's side of the SQLite store. */
#include "sqlite_store.h"

#include "behind_cases.h"

/* A row that the table's own rules refuse; and a lock that somebody else holds. */
static void what_the_database_says(void **state) {
    fixture *f = *state;
    mp_store *s = prepared_store(state);
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db,
                                  "CREATE TRIGGER picky BEFORE INSERT ON films WHEN new.id = 'bad' BEGIN SELECT "
                                  "RAISE(ABORT, 'we do not want it'); END",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    owns(s, anna);
    assert_int_equal(flushed_as(s, anna, "bad", EPOCH(1, 1), "\"a\":1", false, NULL), MP_FLUSH_POISON);
    flushes(s, anna, "good", EPOCH(1, 2), "\"a\":1");
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    mp_store *hasty = opened(f->address, "50ms");
    pond_value *value = document("1", "");
    mp_flush_row row = {.id = "1", .id_len = 1, .version = EPOCH(1, 3), .value = value};
    mp_flush flush = flush_of(anna, &row, 1);
    pond_error *err = NULL;
    assert_int_equal(hasty->vt->behind_flush(hasty, &flush, &err), MP_FLUSH_FAILED);
    assert_true(pond_error_retriable(err));
    pond_error_free(err);
    assert_int_equal(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(hasty->vt->behind_flush(hasty, &flush, NULL), MP_FLUSHED);
    hasty->vt->close(hasty);
    pond_value_free(value);
    sqlite3_close(db);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {BEHIND_CASES(CASE), CASE(what_the_database_says)};
    return cmocka_run_group_tests_name("behind_sqlite", tests, NULL, NULL);
}
