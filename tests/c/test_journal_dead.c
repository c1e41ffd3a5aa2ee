/* Without a Redis: increments that were put aside alone, as their document could not be read for a while; and a close while the store is locked. */
#include "support/support.h"

#include <sqlite3.h>
#include <unistd.h>

static char folder[SHOP_FOLDER], address[SHOP_ADDRESS], ns[64];
static pond *p;
static pond_collection *films;
static sqlite3 *db;
static size_t others;

static int set_up(void **state) {
    (void)state;
    const char *const options[] = {"write", "behind"};
    watchdog(60);
    others = count_threads();
    shop_make(folder, address);
    snprintf(ns, sizeof ns, "%s", fresh("journal"));
    p = pond_made("memory:", "store", address, "namespace", ns, NULL);
    films = films_made(p, options, 1);
    assert_int_equal(sqlite3_open(address + strlen("sqlite:"), &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    char path[SHOP_ADDRESS + 20];
    static const char *const ends[] = {"", "-wal", "-shm"};
    pond_collection_free(films);
    pond_free(p);
    sqlite3_close(db);
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s.behind%s", address + strlen("sqlite:"), ends[i]);
        unlink(path);
    }
    return shop_remove(folder);
}

static void sql(const char *statement) { assert_int_equal(sqlite3_exec(db, statement, NULL, NULL, NULL), SQLITE_OK); }

static void changes(pond_change_kind kind, const char *doc) {
    pond_error *err = NULL;
    if (pond_collection_change(films, kind, "1", 1, doc, doc ? strlen(doc) : 0, NULL, NULL, NULL, &err) != POND_OK)
        fail_msg("%s", pond_error_message(err));
}

static void counts(const char *member, int64_t by) {
    assert_int_equal(pond_collection_increment(films, "1", 1, member, strlen(member), by, NULL), POND_OK);
}

static void flushes(void) {
    pond_error *err = NULL;
    if (pond_collection_flush(films, 20000, &err) != POND_OK) fail_msg("%s", pond_error_message(err));
}

static void stored(const char *text) {
    pond_value *value = NULL;
    assert_int_equal(pond_store_get(p, "films", "1", 1, &value, NULL), POND_OK);
    assert_string_equal(pond_value_data(value, NULL), text);
    pond_value_free(value);
}

static int act(pond_dead_act what, const char *letter) {
    return pond_collection_dead_act(films, what, letter, strlen(letter), NULL, NULL);
}

/* One letter with both? Where the worker came between them there are two, which go. */
static bool is_one(char letter[48]) {
    pond_value *value = NULL;
    assert_int_equal(pond_collection_dead_list(films, NULL, 0, 10, &value, NULL), POND_OK);
    const char *text = pond_value_data(value, NULL);
    bool one = strstr(text, "\"increments\":{\"m\":-2,\"n\":3}") != NULL;
    if (one && !strstr(text, "\"state\":\"increments\",\"document\":null")) fail_msg("%s", text);
    for (const char *at = text; (at = strstr(at, "\"id\":\"")); at += 6) {
        assert_int_equal(sscanf(at + 6, "%40[0-9-]", letter), 1);
        if (!one) assert_int_equal(act(POND_DEAD_DROP, letter), POND_OK);
    }
    pond_value_free(value);
    return one;
}

/* Accepted, and put aside: the letter's id. */
static void put_aside(char letter[48]) {
    changes(POND_REPLACE, "{\"n\":1}");
    flushes();
    sql("CREATE TABLE kept AS SELECT * FROM films");
    sql("PRAGMA ignore_check_constraints = 1");
    sql("UPDATE films SET doc = 'x'");
    do {
        counts("n", 3);
        counts("m", -2);
        flushes();
    } while (!is_one(letter));
}

static void increments_alone(void **state) {
    (void)state;
    char letter[48];
    put_aside(letter);
    assert_int_equal(act(POND_DEAD_RETRY, letter), POND_ESTORE); /* it cannot be read yet */
    sql("UPDATE films SET doc = (SELECT doc FROM kept)");
    assert_int_equal(act(POND_DEAD_RETRY, letter), POND_OK);
    assert_int_equal(act(POND_DEAD_RETRY, letter), POND_EABSENT);
    films_read(films, "1", "{\"id\":\"1\",\"n\":4,\"m\":-2}");
    flushes();
    stored("{\"id\":\"1\",\"n\":4,\"m\":-2}");
}

static void others_since(void **state) {
    (void)state;
    char letter[48];
    put_aside(letter);
    sql("UPDATE films SET doc = (SELECT doc FROM kept)");
    counts("n", 1);
    assert_int_equal(act(POND_DEAD_RETRY, letter), POND_EDUPLICATE);
    flushes();
    assert_int_equal(act(POND_DEAD_RETRY, letter), POND_EDUPLICATE);
    stored("{\"id\":\"1\",\"n\":2}");
    assert_int_equal(act(POND_DEAD_DROP, letter), POND_OK);
}

static void a_close_keeps_its_time(void **state) {
    (void)state;
    const char *const options[] = {"write", "behind"};
    changes(POND_REPLACE, "{\"n\":1}");
    flushes();
    sql("BEGIN IMMEDIATE");
    changes(POND_REPLACE, "{\"n\":2}");
    rest_ms(300); /* its worker waits */
    int64_t began = clock_ms();
    assert_int_equal(pond_close(p, 100), POND_ETIMEOUT);
    pond_collection_free(films);
    pond_free(p);
    assert_in_range(clock_ms() - began, 0, 2000);
    sql("COMMIT");
    await_threads(others);
    p = pond_made("memory:", "store", address, "namespace", ns, NULL);
    films = films_made(p, options, 1);
    flushes();
    stored("{\"id\":\"1\",\"n\":2}");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {CASE(increments_alone), CASE(others_since), CASE(a_close_keeps_its_time)};
    return cmocka_run_group_tests_name("journal_dead", tests, NULL, NULL);
}
