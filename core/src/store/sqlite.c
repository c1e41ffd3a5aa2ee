/* The store behind sqlite: addresses. A collection is a table (id, doc, ver); see sqlite_conn.c for the SQL and
 * sqlite_pool.h for threads and processes. */
#include "store/store.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "model/document.h"
#include "store/sqlite_pool.h"

typedef struct sqlite_store {
    mp_store base;
    mp_sqlite_pool *pool;
    int64_t max_value;
} sqlite_store;

static mp_sqlite_pool *pool_of(mp_store *store) { return ((sqlite_store *)store)->pool; }

static int create(mp_store *store, const char *collection, pond_error **err) {
    mp_sqlite_conn *conn;
    int rc = mp_sqlite_take(pool_of(store), true, &conn, err);
    if (rc != POND_OK) return rc;
    rc = mp_sqlite_create(conn, collection, err);
    mp_sqlite_give(pool_of(store), conn);
    return rc;
}

/* Runs `statement` for one id, and leaves it reset. */
static int get_one(mp_sqlite_conn *conn, sqlite3_stmt *statement, const mp_document_name *name, pond_value **out,
                   pond_error **err) {
    int rc;
    sqlite3_bind_text(statement, 1, name->id, (int)name->id_len, SQLITE_STATIC); /* a failure shows in the step */
    switch (sqlite3_step(statement)) {
    case SQLITE_ROW: {
        /* Straight from the page: the row stays until the reset. Without text it is no document, or there is no memory. */
        const char *doc = (const char *)sqlite3_column_text(statement, 0);
        if (doc == NULL && sqlite3_errcode(conn->db) == SQLITE_NOMEM)
            rc = mp_sqlite_fail(err, conn, name->collection, name->id, name->id_len);
        else rc = mp_document_unpack(name, doc, (size_t)sqlite3_column_bytes(statement, 0), out, err);
        break;
    }
    case SQLITE_DONE:
        *out = mp_value_absent();
        rc = POND_OK;
        break;
    default: rc = mp_sqlite_fail(err, conn, name->collection, name->id, name->id_len);
    }
    sqlite3_reset(statement);
    return rc;
}

/* Statement by statement in one read transaction: faster than one statement over json_each, and without its limits. */
static int get_all(mp_sqlite_conn *conn, const char *collection, const char *const *ids, const size_t *lens, size_t n,
                   pond_value **out, pond_error **err) {
    sqlite3_stmt *statement;
    int rc = mp_sqlite_statement(conn, collection, MP_SQL_GET, &statement, err);
    if (rc == POND_OK && n > 1) rc = mp_sqlite_begin(conn, err);
    if (rc != POND_OK) return rc;
    size_t done = 0;
    while (done < n && rc == POND_OK) {
        const mp_document_name name = {collection, ids[done], lens[done]};
        rc = get_one(conn, statement, &name, &out[done], err);
        if (rc == POND_OK) done++;
    }
    if (rc == POND_OK && n > 1) rc = mp_sqlite_commit(conn, err);
    sqlite3_clear_bindings(statement); /* they point to the caller's ids */
    if (rc != POND_OK)                 /* the transaction is rolled back as the connection goes back */
        while (done > 0) pond_value_free(out[--done]);
    return rc;
}

static int get_many(mp_store *store, const char *collection, const char *const *ids, const size_t *lens, size_t n,
                    pond_value **out, pond_error **err) {
    mp_sqlite_conn *conn;
    int rc = mp_sqlite_take(pool_of(store), false, &conn, err);
    if (rc != POND_OK) return rc;
    rc = get_all(conn, collection, ids, lens, n, out, err);
    mp_sqlite_give(pool_of(store), conn);
    return rc;
}

static int get(mp_store *store, const char *collection, const char *id, size_t len, pond_value **out,
               pond_error **err) {
    return get_many(store, collection, &id, &len, 1, out, err);
}

/* A statement without rows for one id. */
static int change(mp_store *store, mp_sqlite_sql kind, const mp_document_name *name, const char *doc, size_t doc_len,
                  bool *changed, pond_error **err) {
    mp_sqlite_conn *conn;
    sqlite3_stmt *statement;
    int rc = mp_sqlite_take(pool_of(store), true, &conn, err);
    if (rc != POND_OK) return rc;
    rc = mp_sqlite_statement(conn, name->collection, kind, &statement, err);
    if (rc == POND_OK) {
        int done = sqlite3_bind_text(statement, 1, name->id, (int)name->id_len, SQLITE_STATIC);
        if (done == SQLITE_OK && doc != NULL) done = sqlite3_bind_text(statement, 2, doc, (int)doc_len, SQLITE_STATIC);
        if (done == SQLITE_OK) done = sqlite3_step(statement);
        if (done != SQLITE_DONE) rc = mp_sqlite_fail(err, conn, name->collection, name->id, name->id_len);
        else if (changed != NULL) *changed = sqlite3_changes(conn->db) > 0;
        sqlite3_reset(statement);
        sqlite3_clear_bindings(statement);
    }
    mp_sqlite_give(pool_of(store), conn);
    return rc;
}

static int too_large(const mp_document_name *name, size_t len, int64_t max, pond_error **err) {
    return mp_fail(err, POND_EVALUE, "%.64s: a document of %zu bytes is over the limit: max_value is %lld bytes",
                   name->collection, len, (long long)max);
}

static int put(mp_store *store, const char *collection, const char *id, size_t len, const char *doc, size_t doc_len,
               pond_error **err) {
    int64_t max = ((sqlite_store *)store)->max_value;
    const mp_document_name name = {collection, id, len};
    char *packed = NULL;
    size_t packed_len = 0;
    if (doc_len > (uint64_t)max) return too_large(&name, doc_len, max, err);
    int rc = mp_document_pack(&name, doc, doc_len, &packed, &packed_len, err);
    if (rc != POND_OK) return rc;
    /* A number may be longer in its normal form. */
    if (packed_len > (uint64_t)max) rc = too_large(&name, packed_len, max, err);
    else rc = change(store, MP_SQL_PUT, &name, packed, packed_len, NULL, err);
    free(packed);
    return rc;
}

static int remove_one(mp_store *store, const char *collection, const char *id, size_t len, bool *existed,
                      pond_error **err) {
    const mp_document_name name = {collection, id, len};
    return change(store, MP_SQL_REMOVE, &name, NULL, 0, existed, err);
}

static void close_store(mp_store *store) {
    mp_sqlite_pool_close(pool_of(store));
    free(store);
}

static const mp_store_vt vt = {
    .scheme = "sqlite",
    .create = create,
    .get = get,
    .get_many = get_many,
    .put = put,
    .remove = remove_one,
    .close = close_store,
};

int mp_sqlite_open(mp_store **out, const mp_options *options, pond_error **err) {
    static const char scheme[] = "sqlite:";
    const char *address = options->store != NULL ? options->store : "";
    if (strncmp(address, scheme, sizeof scheme - 1) != 0)
        return mp_fail(err, POND_EURL, "store: an address of SQLite is written sqlite:path");
    sqlite_store *store = calloc(1, sizeof *store);
    if (store == NULL) return mp_fail(err, POND_ENOMEM, "store: no memory");
    /* As many as the workers can use, and some for threads that call for themselves. */
    unsigned connections = (unsigned)options->store_threads + 4;
    int rc = mp_sqlite_pool_open(&store->pool, address + sizeof scheme - 1, connections, options->store_timeout, err);
    if (rc != POND_OK) {
        free(store);
        return rc;
    }
    store->base.vt = &vt;
    /* SQLite counts bytes as int. */
    store->max_value = options->max_value < INT_MAX ? options->max_value : INT_MAX;
    *out = &store->base;
    return POND_OK;
}
