/* What the tests of the sqlite: store share: a folder with a store in it, and calls that must succeed or fail in one line. */
#ifndef SQLITE_STORE_H
#define SQLITE_STORE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "store/sqlite_pool.h"
#include "store/store.h"

typedef struct fixture {
    char dir[200], path[256], address[300];
    mp_store *store;
} fixture;

static inline int open_at(mp_store **out, const char *address, const char *timeout, const char *max_value,
                          pond_error **err) {
    mp_options options;
    assert_true(mp_options_init(&options));
    assert_int_equal(mp_options_set(&options, MP_SCOPE_POND, "store", address, NULL), POND_OK);
    assert_int_equal(mp_options_set(&options, MP_SCOPE_POND, "store_timeout", timeout, NULL), POND_OK);
    assert_int_equal(mp_options_set(&options, MP_SCOPE_POND, "max_value", max_value, NULL), POND_OK);
    int rc = mp_sqlite_open(out, &options, err);
    mp_options_free(&options);
    return rc;
}

static inline mp_store *opened(const char *address, const char *timeout) {
    mp_store *store = NULL;
    pond_error *err = NULL;
    if (open_at(&store, address, timeout, "1MiB", &err) != POND_OK) fail_msg("%s", pond_error_message(err));
    return store;
}

static inline int set_up(void **state) {
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

static inline int tear_down(void **state) {
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

static inline void create(mp_store *s, const char *collection) { ok(s->vt->create(s, collection, e)); }

static inline void put(mp_store *s, const char *collection, const char *id, const char *doc) {
    ok(s->vt->put(s, collection, id, strlen(id), doc, strlen(doc), e));
}

/* The document, or "absent"; until the next call of the same thread. */
static inline const char *get(mp_store *s, const char *collection, const char *id) {
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

static inline bool removed(mp_store *s, const char *collection, const char *id) {
    bool existed = false;
    ok(s->vt->remove(s, collection, id, strlen(id), &existed, e));
    return existed;
}

/* Runs SQL past the store, as another program would; answers the first value as text. */
static inline const char *sql(fixture *f, const char *text) {
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
static inline void failed(int rc, pond_error *err, int code, int retriable, const char *says) {
    assert_int_equal(rc, code);
    assert_non_null(err);
    assert_int_equal(pond_error_code(err), code);
    if (strstr(pond_error_message(err), says) == NULL) fail_msg("'%s' was to say '%s'", pond_error_message(err), says);
    if (pond_error_retriable(err) != retriable) fail_msg("retriable is %d: %s", !retriable, pond_error_message(err));
    pond_error_free(err);
}

static inline void get_fails(mp_store *s, const char *collection, const char *id, int code, int retriable,
                             const char *says) {
    pond_value *value = NULL;
    pond_error *err = NULL;
    int rc = s->vt->get(s, collection, id, strlen(id), &value, &err);
    assert_null(value);
    failed(rc, err, code, retriable, says);
}

static inline void put_fails(mp_store *s, const char *collection, const char *id, const char *doc, int code,
                             int retriable, const char *says) {
    pond_error *err = NULL;
    int rc = s->vt->put(s, collection, id, strlen(id), doc, strlen(doc), &err);
    failed(rc, err, code, retriable, says);
}

/* For threads and children, where an assertion cannot fail a test: did it go as it should? In collection films. */
static inline bool is(mp_store *s, const char *id, const char *want) {
    pond_value *value = NULL;
    bool same = s->vt->get(s, "films", id, strlen(id), &value, NULL) == POND_OK &&
                strcmp(pond_value_state(value) == POND_ABSENT ? "absent" : pond_value_data(value, NULL), want) == 0;
    pond_value_free(value);
    return same;
}

static inline bool put_ok(mp_store *s, const char *id, const char *doc) {
    return s->vt->put(s, "films", id, strlen(id), doc, strlen(doc), NULL) == POND_OK;
}

#define in_a_file(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

#endif
