/* What the tests of the mongodb: store share: a database of their own on the replica set of MILLPOND_TEST_MONGODB, a store
 * in it, opened through the plugin as it is shipped, and a client of libmongoc that knows nothing of ours. */
#ifndef MONGODB_STORE_H
#define MONGODB_STORE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <mongoc/mongoc.h>

#include "base/clock.h"
#include "store/mongodb_uri.h"
#include "store/plugin.h"

typedef struct fixture {
    char name[40], address[600];
    mp_store *store;
    mongoc_client_t *other;
} fixture;

#define ok(call)                                                                                                       \
    do {                                                                                                               \
        pond_error *e_ = NULL, **e = &e_;                                                                              \
        if ((call) != POND_OK) fail_msg("%s: %s", #call, pond_error_message(e_));                                      \
        assert_null(e_);                                                                                               \
    } while (0)

/* The error of a call that must fail with `code`, whose text holds `says`. */
static inline void failed(int rc, pond_error *err, int code, int retriable, const char *says) {
    if (rc != code) fail_msg("%d instead of %d: %s", rc, code, pond_error_message(err));
    assert_non_null(err);
    assert_int_equal(pond_error_code(err), code);
    if (strstr(pond_error_message(err), says) == NULL) fail_msg("'%s' was to say '%s'", pond_error_message(err), says);
    if (pond_error_retriable(err) != retriable) fail_msg("retriable is %d: %s", !retriable, pond_error_message(err));
    pond_error_free(err);
}

/* The address with a database, and more options if `more` is not empty ("&a=b"). */
static inline void address_of(char *out, size_t size, const char *database, const char *more) {
    const char *url = getenv("MILLPOND_TEST_MONGODB"), *slash = url != NULL ? strstr(url, "/?") : NULL;
    if (slash == NULL) fail_msg("MILLPOND_TEST_MONGODB is not set: run this by tests/servers/mongodb_server.py");
    else snprintf(out, size, "%.*s/%s%s%s", (int)(slash - url), url, database, slash + 1, more);
}

static inline int open_at(mp_store **out, const char *address, const char *timeout, const char *max_value,
                          pond_error **err) {
    mp_options options;
    assert_true(mp_options_init(&options));
    assert_int_equal(mp_options_set(&options, MP_SCOPE_POND, "store", address, NULL), POND_OK);
    assert_int_equal(mp_options_set(&options, MP_SCOPE_POND, "store_timeout", timeout, NULL), POND_OK);
    assert_int_equal(mp_options_set(&options, MP_SCOPE_POND, "max_value", max_value, NULL), POND_OK);
    setenv("MILLPOND_MONGODB_PLUGIN", POND_TEST_PLUGIN, 1);
    int rc = mp_mongodb_plugin_open(out, &options, err);
    mp_options_free(&options);
    return rc;
}

static inline mp_store *opened(const char *address, const char *timeout) {
    mp_store *store = NULL;
    pond_error *err = NULL;
    if (open_at(&store, address, timeout, "16MiB", &err) != POND_OK) fail_msg("%s", pond_error_message(err));
    return store;
}

static inline int set_up(void **state) {
    static int count;
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    mp_mongodb_init();
    snprintf(f->name, sizeof f->name, "pond_%d_%d", (int)getpid(), count++);
    address_of(f->address, sizeof f->address, f->name, "");
    f->store = opened(f->address, "5s");
    f->other = mongoc_client_new(f->address);
    assert_non_null(f->other);
    mongoc_client_set_error_api(f->other, 2);
    *state = f;
    return 0;
}

static inline int tear_down(void **state) {
    fixture *f = *state;
    f->store->vt->close(f->store);
    mongoc_database_t *database = mongoc_client_get_database(f->other, f->name);
    mongoc_database_drop(database, NULL);
    mongoc_database_destroy(database);
    mongoc_client_destroy(f->other);
    free(f);
    return 0;
}

#define in_a_database(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

/* ---- past the store ---- */

/* A command in Extended JSON, as another program would give it. */
static inline void command(fixture *f, const char *json) {
    bson_error_t why;
    bson_t reply, *doc = bson_new_from_json((const uint8_t *)json, -1, &why);
    if (doc == NULL) fail_msg("%s: %s", json, why.message);
    bool well = mongoc_client_write_command_with_opts(f->other, f->name, doc, NULL, &reply, &why);
    if (!well) fail_msg("%s: %s", json, why.message);
    bson_destroy(&reply);
    bson_destroy(doc);
}

static inline void insert(fixture *f, const char *collection, const char *json) {
    bson_error_t why;
    bson_t *doc = bson_new_from_json((const uint8_t *)json, -1, &why);
    if (doc == NULL) fail_msg("%s: %s", json, why.message);
    mongoc_collection_t *to = mongoc_client_get_collection(f->other, f->name, collection);
    if (!mongoc_collection_insert_one(to, doc, NULL, NULL, &why)) fail_msg("%s: %s", json, why.message);
    mongoc_collection_destroy(to);
    bson_destroy(doc);
}

/* The documents that match, as libmongoc's canonical Extended JSON, joined by spaces. */
static inline const char *raw(fixture *f, const char *collection, const char *filter) {
    static char text[20000];
    bson_error_t why;
    const bson_t *doc;
    size_t len = 0;
    bson_t *match = bson_new_from_json((const uint8_t *)filter, -1, &why), options = BSON_INITIALIZER, sort;
    if (match == NULL) fail_msg("%s: %s", filter, why.message);
    bson_append_document_begin(&options, "sort", -1, &sort);
    bson_append_int32(&sort, "_id", -1, 1);
    bson_append_document_end(&options, &sort);
    mongoc_collection_t *from = mongoc_client_get_collection(f->other, f->name, collection);
    mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(from, match, &options, NULL);
    text[0] = 0;
    while (mongoc_cursor_next(cursor, &doc)) {
        char *json = bson_as_canonical_extended_json(doc, NULL);
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%s", len > 0 ? " " : "", json);
        bson_free(json);
    }
    if (mongoc_cursor_error(cursor, &why)) fail_msg("%s: %s", filter, why.message);
    mongoc_cursor_destroy(cursor);
    mongoc_collection_destroy(from);
    bson_destroy(&options);
    bson_destroy(match);
    return text;
}

/* ---- through the store ---- */

static inline void create(mp_store *s, const char *collection) { ok(s->vt->create(s, collection, e)); }

static inline void put(mp_store *s, const char *collection, const char *id, const char *doc) {
    ok(s->vt->put(s, collection, id, strlen(id), doc, strlen(doc), e));
}

/* The document, or "absent"; until the next call of the same thread. */
static inline const char *get(mp_store *s, const char *collection, const char *id) {
    static _Thread_local char text[20000];
    pond_value *value = NULL;
    ok(s->vt->get(s, collection, id, strlen(id), &value, e));
    if (pond_value_state(value) == POND_ABSENT) snprintf(text, sizeof text, "absent");
    else {
        assert_int_equal(pond_value_codec(value), POND_EJSON);
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

#endif
