#include "store/sqlite_behind.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "model/document.h"
#include "store/sqlite_transact.h"

/* A document's version stands in its row; that of one that was deleted, beside the table, as long as a Redis may come back that knows no
 * better (TOMB_MS). */
static const char *const tables[] = {
    "CREATE TABLE IF NOT EXISTS millpond_fence(shard TEXT PRIMARY KEY NOT NULL, owner BLOB NOT NULL, term INTEGER NOT "
    "NULL, n INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS millpond_epoch(ns TEXT PRIMARY KEY NOT NULL, epoch INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS millpond_tomb(collection TEXT NOT NULL, id TEXT NOT NULL, ver INTEGER NOT NULL, at "
    "INTEGER "
    "NOT NULL, PRIMARY KEY(collection, id)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS millpond_tomb_at ON millpond_tomb(at)",
};

static const char backlog[] = "millpond_fence"; /* what errors that are about no collection are called by */
static const int64_t TOMB_MS = 7 * 86400000ll, EPOCH_MAX = (1 << 23) - 1;

/* ---- statements ---- */

static int failed(pond_error **err, const mp_sqlite_conn *conn) { return mp_sqlite_fail(err, conn, backlog, NULL, 0); }

static int prepared(mp_sqlite_conn *conn, const char *sql, sqlite3_stmt **out, pond_error **err) {
    return mp_sqlite_prepare_named(conn, backlog, sql, out, err);
}

static int bind(sqlite3_stmt *statement, int at, const char *text, size_t len) {
    return sqlite3_bind_text(statement, at, text, (int)len, SQLITE_STATIC);
}

/* ---- prepare, epoch, own ---- */

static int make_tables(mp_sqlite_conn *conn, void *ctx, pond_error **err) {
    int rc = mp_sqlite_create(conn, ctx, err);
    for (size_t i = 0; rc == POND_OK && i < sizeof tables / sizeof tables[0]; i++)
        rc = mp_sqlite_run(conn, backlog, tables[i], err);
    return rc;
}

int mp_sqlite_behind_prepare(mp_sqlite_pool *pool, const char *collection, pond_error **err) {
    return mp_sqlite_transact(pool, backlog, make_tables, (char *)collection, err);
}

typedef struct epoch_call {
    const char *ns;
    int64_t *epoch;
} epoch_call;

static int next_epoch(mp_sqlite_conn *conn, void *ctx, pond_error **err) {
    const epoch_call *c = ctx;
    sqlite3_stmt *statement;
    int rc = prepared(conn,
                      "INSERT INTO millpond_epoch(ns, epoch) VALUES (?1, 1) ON CONFLICT(ns) DO UPDATE SET epoch = "
                      "epoch + 1 RETURNING epoch",
                      &statement, err);
    if (rc != POND_OK) return rc;
    int step = bind(statement, 1, c->ns, strlen(c->ns));
    if (step == SQLITE_OK) step = sqlite3_step(statement);
    if (step == SQLITE_ROW) {
        *c->epoch = sqlite3_column_int64(statement, 0);
        step = sqlite3_step(statement);
    }
    if (step != SQLITE_DONE) rc = failed(err, conn);
    mp_sqlite_done(statement);
    if (rc == POND_OK && *c->epoch > EPOCH_MAX)
        rc = mp_fail(err, POND_ESTORE, "%.64s: all epochs are used up: move the collection to a new namespace", c->ns);
    return rc;
}

int mp_sqlite_behind_epoch(mp_sqlite_pool *pool, const char *ns, int64_t *epoch, pond_error **err) {
    epoch_call c = {ns, epoch};
    return mp_sqlite_transact(pool, backlog, next_epoch, &c, err);
}

typedef struct owning {
    const uint8_t *owner;
    const char *const *shards;
    size_t n;
} owning;

static int drop_old_tombs(mp_sqlite_conn *conn, pond_error **err) {
    sqlite3_stmt *statement;
    int rc = prepared(conn, "DELETE FROM millpond_tomb WHERE at < ?1", &statement, err);
    if (rc != POND_OK) return rc;
    int step = sqlite3_bind_int64(statement, 1, mp_clock_wall_ms() - TOMB_MS);
    if (step == SQLITE_OK) step = sqlite3_step(statement);
    if (step != SQLITE_DONE) rc = failed(err, conn);
    mp_sqlite_done(statement);
    return rc;
}

static int own(mp_sqlite_conn *conn, void *ctx, pond_error **err) {
    const owning *o = ctx;
    sqlite3_stmt *statement;
    int rc = drop_old_tombs(conn, err);
    for (size_t i = 0; i < o->n && rc == POND_OK; i++) {
        rc = prepared(conn,
                      "INSERT INTO millpond_fence(shard, owner, term, n) VALUES (?1, ?2, 1, 0) ON CONFLICT(shard) DO "
                      "UPDATE SET owner = excluded.owner, term = term + 1",
                      &statement, err);
        if (rc != POND_OK) return rc;
        int step = bind(statement, 1, o->shards[i], strlen(o->shards[i]));
        if (step == SQLITE_OK) step = sqlite3_bind_blob(statement, 2, o->owner, 16, SQLITE_STATIC);
        if (step == SQLITE_OK) step = sqlite3_step(statement);
        if (step != SQLITE_DONE) rc = failed(err, conn);
        mp_sqlite_done(statement);
    }
    return rc;
}

int mp_sqlite_behind_own(mp_sqlite_pool *pool, const uint8_t owner[16], const char *const *shards, size_t n,
                         pond_error **err) {
    owning o = {owner, shards, n};
    return mp_sqlite_transact(pool, backlog, own, &o, err);
}

/* ---- flush ---- */

/* Can it be run at all? */
static bool is_well(const mp_sqlite_conn *conn, const char *sql) {
    sqlite3_stmt *statement = NULL;
    bool well = sqlite3_prepare_v2(conn->db, sql, -1, &statement, NULL) == SQLITE_OK;
    sqlite3_finalize(statement);
    return well;
}

/* What a statement's failure means for the batch. After the error was made. */
static mp_flushed kind_of_failure(const mp_sqlite_conn *conn, int code, const char *sql) {
    switch (code & 0xff) {
    case SQLITE_CONSTRAINT:
    case SQLITE_TOOBIG:
    case SQLITE_MISMATCH: return MP_FLUSH_POISON;
    case SQLITE_ERROR: /* of a trigger or an index on an expression: of this row, unless a table has gone */
        return is_well(conn, sql) ? MP_FLUSH_POISON : MP_FLUSH_FAILED;
    default: return MP_FLUSH_FAILED;
    }
}

/* Written, not only read, as every store does it (store/behind.h); here the transaction's lock alone would do. */
static mp_flushed fences_hold(mp_sqlite_conn *conn, const mp_flush *f, pond_error **err) {
    for (size_t i = 0; i < f->nshards; i++) {
        sqlite3_stmt *statement;
        if (prepared(conn, "UPDATE millpond_fence SET n = n + 1 WHERE shard = ?1 AND owner = ?2", &statement, err) !=
            POND_OK)
            return MP_FLUSH_FAILED;
        int step = bind(statement, 1, f->shards[i], strlen(f->shards[i]));
        if (step == SQLITE_OK) step = sqlite3_bind_blob(statement, 2, f->owner, 16, SQLITE_STATIC);
        if (step == SQLITE_OK) step = sqlite3_step(statement);
        bool holds = step == SQLITE_DONE && sqlite3_changes(conn->db) == 1;
        if (step != SQLITE_DONE) failed(err, conn);
        mp_sqlite_done(statement);
        if (!holds) return step == SQLITE_DONE ? MP_FLUSH_LOST : MP_FLUSH_FAILED;
    }
    return MP_FLUSHED;
}

/* The version of one that was deleted; 0: of none. */
static int tomb_of(mp_sqlite_conn *conn, const char *collection, const char *id, size_t len, int64_t *version,
                   pond_error **err) {
    sqlite3_stmt *statement;
    int rc = prepared(conn, "SELECT ver FROM millpond_tomb WHERE collection = ?1 AND id = ?2", &statement, err);
    *version = 0;
    if (rc != POND_OK) return rc;
    int step = bind(statement, 1, collection, strlen(collection));
    if (step == SQLITE_OK) step = bind(statement, 2, id, len);
    if (step == SQLITE_OK) step = sqlite3_step(statement);
    if (step == SQLITE_ROW) *version = sqlite3_column_int64(statement, 0);
    else if (step != SQLITE_DONE) rc = failed(err, conn);
    mp_sqlite_done(statement);
    return rc;
}

static mp_flushed row_failed(mp_sqlite_conn *conn, const mp_flush *f, const mp_flush_row *row, const char *sql,
                             pond_error **err) {
    int code = sqlite3_extended_errcode(conn->db);
    mp_sqlite_fail(err, conn, f->collection, row->id, row->id_len);
    return kind_of_failure(conn, code, sql);
}

static mp_flushed bury(mp_sqlite_conn *conn, const mp_flush *f, const mp_flush_row *row, pond_error **err) {
    sqlite3_stmt *statement;
    if (prepared(
            conn,
            "INSERT INTO millpond_tomb(collection, id, ver, at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT(collection, id) "
            "DO UPDATE SET ver = max(ver, excluded.ver), at = excluded.at",
            &statement, err) != POND_OK)
        return MP_FLUSH_FAILED;
    int step = bind(statement, 1, f->collection, strlen(f->collection));
    if (step == SQLITE_OK) step = bind(statement, 2, row->id, row->id_len);
    if (step == SQLITE_OK) step = sqlite3_bind_int64(statement, 3, row->version);
    if (step == SQLITE_OK) step = sqlite3_bind_int64(statement, 4, mp_clock_wall_ms());
    if (step == SQLITE_OK) step = sqlite3_step(statement);
    mp_flushed how = step == SQLITE_DONE ? MP_FLUSHED : row_failed(conn, f, row, sqlite3_sql(statement), err);
    mp_sqlite_done(statement);
    return how;
}

/* The row's part: a document that is older than what stands there changes nothing. */
static mp_flushed change_row(mp_sqlite_conn *conn, const mp_flush *f, const mp_flush_row *row, const char *doc,
                             size_t len, pond_error **err) {
    sqlite3_stmt *statement;
    if (mp_sqlite_statement(conn, f->collection, doc ? MP_SQL_FLUSH : MP_SQL_FLUSH_DELETE, &statement, err) != POND_OK)
        return MP_FLUSH_FAILED;
    int step = bind(statement, 1, row->id, row->id_len);
    if (step == SQLITE_OK) step = sqlite3_bind_int64(statement, 2, row->version);
    if (step == SQLITE_OK && doc) step = bind(statement, 3, doc, len);
    if (step == SQLITE_OK) step = sqlite3_step(statement);
    mp_flushed how = step == SQLITE_DONE ? MP_FLUSHED : row_failed(conn, f, row, sqlite3_sql(statement), err);
    mp_sqlite_done(statement);
    return how;
}

static mp_flushed flush_row(mp_sqlite_conn *conn, const mp_flush *f, mp_flush_row *row, pond_error **err) {
    const mp_document_name name = {f->collection, row->id, row->id_len};
    row->stale = false;
    if (row->verify) {
        int64_t tomb;
        if (tomb_of(conn, f->collection, row->id, row->id_len, &tomb, err) != POND_OK) return MP_FLUSH_FAILED;
        row->stale = tomb >= row->version;
        if (row->stale) return MP_FLUSHED;
    }
    if (pond_value_state(row->value) == POND_ABSENT) {
        mp_flushed how = change_row(conn, f, row, NULL, 0, err);
        return how == MP_FLUSHED ? bury(conn, f, row, err) : how;
    }
    char *doc = NULL;
    size_t len = 0, given;
    const char *text = pond_value_data(row->value, &given);
    int rc = mp_document_pack(&name, text, given, &doc, &len, err);
    if (rc != POND_OK) return rc == POND_ENOMEM ? MP_FLUSH_FAILED : MP_FLUSH_POISON;
    mp_flushed how = change_row(conn, f, row, doc, len, err);
    free(doc);
    return how;
}

static mp_flushed flush_all(mp_sqlite_conn *conn, mp_flush *f, pond_error **err) {
    if (mp_sqlite_run(conn, backlog, "BEGIN IMMEDIATE", err) != POND_OK) return MP_FLUSH_FAILED;
    mp_flushed how = fences_hold(conn, f, err);
    for (size_t i = 0; i < f->n && how == MP_FLUSHED; i++) {
        how = flush_row(conn, f, &f->rows[i], err);
        if (how == MP_FLUSH_POISON) f->poison = i;
    }
    if (how == MP_FLUSHED && mp_sqlite_run(conn, backlog, "COMMIT", err) != POND_OK) how = MP_FLUSH_FAILED;
    return how;
}

mp_flushed mp_sqlite_behind_flush(mp_sqlite_pool *pool, mp_flush *flush, pond_error **err) {
    mp_sqlite_conn *conn;
    if (mp_sqlite_take(pool, true, &conn, err) != POND_OK) return MP_FLUSH_FAILED;
    mp_flushed how = flush_all(conn, flush, err);
    if (how != MP_FLUSHED) mp_sqlite_conn_tidy(conn);
    mp_sqlite_give(pool, conn);
    return how;
}

/* ---- get ---- */

static int get(mp_sqlite_conn *conn, const mp_document_name *name, pond_value **out, int64_t *version,
               pond_error **err) {
    sqlite3_stmt *statement;
    int rc = mp_sqlite_statement(conn, name->collection, MP_SQL_GET_VERSION, &statement, err);
    if (rc != POND_OK) return rc;
    int step = bind(statement, 1, name->id, name->id_len);
    if (step == SQLITE_OK) step = sqlite3_step(statement);
    if (step == SQLITE_ROW) {
        const char *doc = (const char *)sqlite3_column_text(statement, 0);
        *version = sqlite3_column_int64(statement, 1);
        rc = doc == NULL && sqlite3_errcode(conn->db) == SQLITE_NOMEM
                 ? failed(err, conn)
                 : mp_document_unpack(name, doc, (size_t)sqlite3_column_bytes(statement, 0), out, err);
    } else if (step == SQLITE_DONE) {
        *out = mp_value_absent();
        rc = tomb_of(conn, name->collection, name->id, name->id_len, version, err);
    } else {
        rc = mp_sqlite_fail(err, conn, name->collection, name->id, name->id_len);
    }
    mp_sqlite_done(statement);
    return rc;
}

/* Row and tombstone of one moment: a delete moves the version from one to the other. */
int mp_sqlite_behind_get(mp_sqlite_pool *pool, const char *collection, const char *id, size_t len, pond_value **out,
                         int64_t *version, pond_error **err) {
    const mp_document_name name = {collection, id, len};
    mp_sqlite_conn *conn;
    int rc = mp_sqlite_take(pool, false, &conn, err);
    if (rc != POND_OK) return rc;
    rc = mp_sqlite_run(conn, backlog, "BEGIN", err);
    if (rc == POND_OK) {
        rc = get(conn, &name, out, version, err);
        mp_sqlite_conn_tidy(conn);
    }
    mp_sqlite_give(pool, conn);
    return rc;
}
