/* Collections with write=behind over Redis and an SQLite file of their own: what their tests from end to end share. */
#ifndef BACKLOG_OPS_H
#define BACKLOG_OPS_H

#include <sqlite3.h>
#include <unistd.h>

#include "base/clock.h"
#include "pattern/behind/backlog.h"
#include "support/redis.h"
#include "support/support.h"

static char folder[SHOP_FOLDER], address[SHOP_ADDRESS];
static char ns[64];

static inline int set_up(void **state) {
    (void)state;
    shop_make(folder, address);
    snprintf(ns, sizeof ns, "%s", fresh("behind"));
    return 0;
}

static inline int tear_down(void **state) {
    (void)state;
    return shop_remove(folder);
}

static inline pond_collection *behind(pond *p, const char *option, const char *value) {
    const char *const options[] = {"write", "behind", option, value};
    return films_made(p, options, option ? 2 : 1);
}

static inline pond *made(const char *worker) {
    return pond_made(redis_url(), "store", address, "namespace", ns, "worker", worker, "command_timeout", "5s", NULL);
}

static inline int change_as(pond_collection *c, pond_change_kind kind, const char *id, const char *doc,
                            pond_error **err) {
    return pond_collection_change(c, kind, id, strlen(id), doc, doc ? strlen(doc) : 0, NULL, NULL, NULL, err);
}

static inline void changes(pond_collection *c, pond_change_kind kind, const char *id, const char *doc) {
    pond_error *err = NULL;
    if (change_as(c, kind, id, doc, &err) != POND_OK) fail_msg("%s", pond_error_message(err));
}

static inline void refuses(pond_collection *c, pond_change_kind kind, const char *id, const char *doc, int code) {
    pond_error *err = NULL;
    assert_int_equal(change_as(c, kind, id, doc, &err), code);
    pond_error_free(err);
}

static inline bool stored_is(pond *p, const char *id, const char *text) {
    pond_value *value = NULL;
    assert_int_equal(pond_store_get(p, "films", id, strlen(id), &value, NULL), POND_OK);
    bool is = text ? strcmp(pond_value_data(value, NULL), text) == 0 : pond_value_state(value) == POND_ABSENT;
    pond_value_free(value);
    return is;
}

static inline void gets_stored(pond *p, const char *id, const char *text) {
    for (int64_t until = mp_clock_after(10000); !stored_is(p, id, text); usleep(5000))
        if (mp_clock_ms() > until) fail_msg("%s does not get to be %s in the store", id, text ? text : "absent");
}

static inline long long waiting(redisContext *redis) {
    long long n = 0;
    for (int i = 0; i < MP_BACKLOG_SHARDS; i++) n += redis_number(redis, "LLEN mp:q:{%s/films:%d}", ns, i);
    return n;
}

static inline int64_t counted(pond *p, const char *counter) {
    char row[80];
    snprintf(row, sizeof row, "%s/films", ns);
    return pond_stat(p, row, counter);
}

/* ---- as another program has the store ---- */

static inline sqlite3 *shop_open(void) {
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(address + strlen("sqlite:"), &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    return db;
}

static inline void sql_on(sqlite3 *db, const char *text) {
    assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
}

static inline void sql(const char *text) {
    sqlite3 *db = shop_open();
    sql_on(db, text);
    sqlite3_close(db);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
