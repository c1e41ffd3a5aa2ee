/* The store behind sqlite: addresses. A collection is a table (id, doc, ver); see sqlite_conn.c for the SQL and
 * sqlite_pool.h for threads and processes. */
#include "store/store.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/error.h"
#include "model/document.h"
#include "store/sqlite_behind.h"
#include "store/sqlite_change.h"
#include "store/sqlite_find.h"
#include "store/sqlite_outbox.h"
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

/* The document in a column of the row where `statement` stands, straight from the page: the row stays until the next
 * step. What has no text there is no document, unless there was no memory. */
static int read_row(mp_sqlite_conn *conn, sqlite3_stmt *statement, int column, const mp_document_name *name,
                    pond_value **out, pond_error **err) {
    const char *doc = (const char *)sqlite3_column_text(statement, column);
    if (doc == NULL && sqlite3_errcode(conn->db) == SQLITE_NOMEM)
        return mp_sqlite_fail(err, conn, name->collection, name->id, name->id_len);
    return mp_document_unpack(name, doc, (size_t)sqlite3_column_bytes(statement, column), out, err);
}

static int get_one(mp_sqlite_conn *conn, const mp_document_name *name, pond_value **out, pond_error **err) {
    sqlite3_stmt *statement;
    int rc = mp_sqlite_statement(conn, name->collection, MP_SQL_GET, &statement, err);
    if (rc != POND_OK) return rc;
    int step = sqlite3_bind_text(statement, 1, name->id, (int)name->id_len, SQLITE_STATIC);
    if (step == SQLITE_OK) step = sqlite3_step(statement);
    if (step == SQLITE_ROW) rc = read_row(conn, statement, 0, name, out, err);
    else if (step == SQLITE_DONE) *out = mp_value_absent();
    else rc = mp_sqlite_fail(err, conn, name->collection, name->id, name->id_len);
    mp_sqlite_done(statement);
    return rc;
}

static int get(mp_store *store, const char *collection, const char *id, size_t len, pond_value **out,
               pond_error **err) {
    const mp_document_name name = {collection, id, len};
    mp_sqlite_conn *conn;
    int rc = mp_sqlite_take(pool_of(store), false, &conn, err);
    if (rc != POND_OK) return rc;
    rc = get_one(conn, &name, out, err);
    mp_sqlite_give(pool_of(store), conn);
    return rc;
}

typedef struct many {
    const char *collection;
    const char *const *ids;
    const size_t *lens;
    size_t n;
    pond_value **out;
} many;

/* The rows that there are, each with its place in the list; a place may come again only in a table of someone else's
 * where ids are not unique: then the first row counts, as it does for one id. */
static int read_rows(mp_sqlite_conn *conn, sqlite3_stmt *statement, const many *m, pond_error **err) {
    int rc = POND_OK, step;
    while (rc == POND_OK && (step = sqlite3_step(statement)) != SQLITE_DONE) {
        if (step != SQLITE_ROW) return mp_sqlite_fail(err, conn, m->collection, NULL, 0);
        size_t at = (size_t)sqlite3_column_int64(statement, 0);
        if (at >= m->n || m->out[at] != mp_value_absent()) continue;
        const mp_document_name name = {m->collection, m->ids[at], m->lens[at]};
        rc = read_row(conn, statement, 1, &name, &m->out[at], err);
    }
    return rc;
}

/* One statement, so one moment: all ids as one JSON array. */
static int get_all(mp_sqlite_conn *conn, const many *m, pond_error **err) {
    sqlite3_stmt *statement;
    int rc = mp_sqlite_statement(conn, m->collection, MP_SQL_GET_MANY, &statement, err);
    if (rc != POND_OK) return rc;
    mp_buf list;
    mp_buf_init(&list);
    mp_buf_text(&list, "[");
    for (size_t i = 0; i < m->n; i++) {
        if (i > 0) mp_buf_text(&list, ",");
        mp_buf_json(&list, m->ids[i], m->lens[i]);
        m->out[i] = mp_value_absent();
    }
    mp_buf_text(&list, "]");
    if (list.failed || list.len > INT_MAX)
        rc = mp_fail(err, POND_ENOMEM, "%.64s: no memory for a list of %zu ids", m->collection, m->n);
    else if (sqlite3_bind_text(statement, 1, list.data, (int)list.len, SQLITE_STATIC) != SQLITE_OK)
        rc = mp_sqlite_fail(err, conn, m->collection, NULL, 0);
    else rc = read_rows(conn, statement, m, err);
    mp_sqlite_done(statement);
    mp_buf_free(&list);
    for (size_t i = 0; i < m->n && rc != POND_OK; i++) pond_value_free(m->out[i]);
    return rc;
}

static int get_many(mp_store *store, const char *collection, const char *const *ids, const size_t *lens, size_t n,
                    pond_value **out, pond_error **err) {
    const many m = {collection, ids, lens, n, out};
    mp_sqlite_conn *conn;
    if (n == 1) return get(store, collection, ids[0], lens[0], out, err);
    int rc = mp_sqlite_take(pool_of(store), false, &conn, err);
    if (rc != POND_OK) return rc;
    rc = get_all(conn, &m, err);
    mp_sqlite_give(pool_of(store), conn);
    return rc;
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
        mp_sqlite_done(statement);
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

/* Queries: a connection is lent for each. */

static int find(mp_store *store, const char *collection, const mp_query *query, mp_buf *out, size_t *count,
                pond_error **err) {
    mp_sqlite_conn *conn;
    int rc = mp_sqlite_take(pool_of(store), false, &conn, err);
    if (rc != POND_OK) return rc;
    rc = mp_sqlite_find(conn, collection, query, ((sqlite_store *)store)->max_value, out, count, err);
    mp_sqlite_give(pool_of(store), conn);
    return rc;
}

static int count(mp_store *store, const char *collection, const mp_query *query, int64_t *total, pond_error **err) {
    mp_sqlite_conn *conn;
    int rc = mp_sqlite_take(pool_of(store), false, &conn, err);
    if (rc != POND_OK) return rc;
    rc = mp_sqlite_count(conn, collection, query, total, err);
    mp_sqlite_give(pool_of(store), conn);
    return rc;
}

static int plan(mp_store *store, const char *collection, const mp_query *query, mp_buf *out, pond_error **err) {
    mp_sqlite_conn *conn;
    int rc = mp_sqlite_take(pool_of(store), false, &conn, err);
    if (rc != POND_OK) return rc;
    rc = mp_sqlite_plan(conn, collection, query, out, err);
    mp_sqlite_give(pool_of(store), conn);
    return rc;
}

static int make_index(mp_store *store, const char *collection, const mp_query_sort *field, pond_error **err) {
    mp_sqlite_conn *conn;
    int rc = mp_sqlite_take(pool_of(store), true, &conn, err);
    if (rc != POND_OK) return rc;
    rc = mp_sqlite_index(conn, collection, field, err);
    mp_sqlite_give(pool_of(store), conn);
    return rc;
}

/* Changes. */

static int ready(mp_store *store, mp_change *change, pond_error **err) {
    return mp_sqlite_ready(pool_of(store), change, ((sqlite_store *)store)->max_value, err);
}

static mp_applied apply(mp_store *store, mp_change *change, pond_error **err) {
    return mp_sqlite_apply(pool_of(store), change, err);
}

static void discard(mp_store *store, mp_change *change) { mp_sqlite_discard(change); }

static int share(mp_store *store, mp_shared **out, pond_error **err) {
    return mp_sqlite_pool_share(pool_of(store), out, err);
}

static int outbox_prepare(mp_store *store, pond_error **err) { return mp_sqlite_outbox_prepare(pool_of(store), err); }

static int outbox_take(mp_store *store, const uint8_t owner[16], int64_t hold_ms, mp_outbox *out, pond_error **err) {
    return mp_sqlite_outbox_take(pool_of(store), owner, hold_ms, out, err);
}

static int outbox_drop(mp_store *store, const uint8_t owner[16], const mp_outbox *rows, size_t n, pond_error **err) {
    return mp_sqlite_outbox_drop(pool_of(store), owner, rows, n, err);
}

static int behind_prepare(mp_store *store, const char *collection, pond_error **err) {
    return mp_sqlite_behind_prepare(pool_of(store), collection, err);
}

static int behind_epoch(mp_store *store, const char *ns, int64_t *epoch, pond_error **err) {
    return mp_sqlite_behind_epoch(pool_of(store), ns, epoch, err);
}

static int behind_own(mp_store *store, const uint8_t owner[16], const char *const *shards, size_t n, pond_error **err) {
    return mp_sqlite_behind_own(pool_of(store), owner, shards, n, err);
}

static mp_flushed behind_flush(mp_store *store, mp_flush *flush, pond_error **err) {
    return mp_sqlite_behind_flush(pool_of(store), flush, err);
}

static int behind_get(mp_store *store, const char *collection, const char *id, size_t len, pond_value **out,
                      int64_t *version, pond_error **err) {
    return mp_sqlite_behind_get(pool_of(store), collection, id, len, out, version, err);
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
    .codec = POND_EJSON, /* documents may hold {"$date": ..} and its kin */
    .find = find,
    .count = count,
    .index = make_index,
    .plan = plan,
    .ready = ready,
    .apply = apply,
    .discard = discard,
    .share = share,
    .outbox_prepare = outbox_prepare,
    .outbox_take = outbox_take,
    .outbox_drop = outbox_drop,
    .behind_prepare = behind_prepare,
    .behind_epoch = behind_epoch,
    .behind_own = behind_own,
    .behind_flush = behind_flush,
    .behind_get = behind_get,
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
