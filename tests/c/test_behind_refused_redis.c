/* What the store refuses for now stands before all else that waits, and is more than a batch: the tail goes on all the same, while it rests. */
#include "backlog_ops.h"

#include "pattern/pond.h"

enum { BAD = 24, GOOD = 80, ALL_SHARDS = 40, BATCH = 2 /* as behind conflicts with other writers */ };

static sqlite3 *db;

static int64_t number_of(const char *query) {
    sqlite3_stmt *s = NULL;
    assert_int_equal(sqlite3_prepare_v2(db, query, -1, &s, NULL), SQLITE_OK);
    int64_t n = sqlite3_step(s) == SQLITE_ROW ? sqlite3_column_int64(s, 0) : -1;
    sqlite3_finalize(s);
    return n;
}

static void writes(pond_collection *films, const char *kind, int number) {
    char id[16], text[32];
    snprintf(id, sizeof id, "%s%d", kind, number);
    snprintf(text, sizeof text, "{\"%s\":1}", kind);
    changes(films, POND_REPLACE, id, text);
}

static int64_t letters(pond_collection *films) {
    pond_value *value = NULL;
    assert_int_equal(pond_collection_dead_list(films, NULL, 0, 1, &value, NULL), POND_OK);
    const char *at = strstr(pond_value_data(value, NULL), "\"total\":");
    int64_t n = strtoll(at + strlen("\"total\":"), NULL, 10);
    pond_value_free(value);
    return n;
}

static void flushes(pond_collection *films) {
    pond_error *err = NULL;
    if (pond_collection_flush(films, 60000, &err) != POND_OK) fail_msg("%s", pond_error_message(err));
}

static void the_tail_goes_on(const char *cache) {
    watchdog(110);
    pond *p =
        pond_made(cache, "store", address, "namespace", ns, "command_timeout", "5s", "store_timeout", "20s", NULL);
    pond_collection *films = behind(p, NULL, NULL);
    p->backlogs->batch = p->backlogs->batch_most = BATCH;
    db = shop_open();
    for (int i = 0; i < ALL_SHARDS; i++) writes(films, "good", i); /* they have their epochs now */
    flushes(films);
    sql_on(db, "DELETE FROM films");
    sql_on(
        db,
        "CREATE TRIGGER no BEFORE INSERT ON films WHEN json_extract(new.doc, '$.bad') BEGIN SELECT RAISE(ABORT, 'it is "
        "bad'); END");
    sql_on(db, "BEGIN IMMEDIATE"); /* until all of them wait */
    for (int i = 0; i < BAD; i++) writes(films, "bad", i);
    for (int i = 0; i < GOOD; i++) writes(films, "good", i);
    sql_on(db, "COMMIT");
    for (int64_t until = clock_ms() + 60000; number_of("SELECT count(*) FROM films") < GOOD; rest_ms(1))
        assert_true(clock_ms() < until);
    assert_in_range(letters(films), 0, BAD / 2); /* else each of them was waited for */
    flushes(films);
    assert_int_equal(letters(films), BAD);
    assert_int_equal(number_of("SELECT count(*) FROM films"), GOOD);
    pond_collection_free(films);
    pond_free(p);
    sqlite3_close(db);
}

static void in_redis(void **state) {
    (void)state;
    the_tail_goes_on(redis_url());
}

static void in_a_journal(void **state) {
    (void)state;
    the_tail_goes_on("memory:");
}

int main(void) {
    const struct CMUnitTest tests[] = {CASE(in_redis), CASE(in_a_journal)};
    return cmocka_run_group_tests_name("behind_refused_redis", tests, NULL, NULL);
}
