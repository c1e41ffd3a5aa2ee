/* A side (behind_ops.h) whose operations go to a journal: the link hands them to the lane of a pond on memory:, which this thread drives. */
#ifndef JOURNAL_SIDE_H
#define JOURNAL_SIDE_H

#include <sqlite3.h>
#include <unistd.h>

#include "behind_ops.h"
#include "pattern/pond.h"

static char folder[SHOP_FOLDER], address[SHOP_ADDRESS];
static pond *behind_pond;
static mp_lane *behind_lane;

static void journal_submit(mp_link *link, mp_op *op) {
    (void)link;
    mp_lane_submit(behind_lane, op);
}

static inline void journal_open(side *s) {
    static const mp_cache_vt vt = {.submit = journal_submit};
    static mp_link link = {&vt};
    behind_pond = pond_made("memory:", "store", address, "worker", "off", NULL);
    behind_lane = mp_pond_blocking_lane(behind_pond, NULL);
    assert_non_null(behind_lane);
    *s = (side){.loop = behind_lane->loop, .link = &link};
    mp_lane_lock(behind_lane);
}

static inline void journal_close(side *s) {
    mp_lane_unlock(behind_lane);
    pond_free(behind_pond);
    *s = (side){0};
}

/* One number out of the file, as a stranger reads it. */
static inline int64_t journal_number(const char *sql, const char *key) {
    char path[SHOP_FOLDER + 32];
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    snprintf(path, sizeof path, "%s/shop.db.behind", folder);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    if (key) sqlite3_bind_blob(statement, 1, key, (int)strlen(key), SQLITE_STATIC);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return number;
}

#endif
