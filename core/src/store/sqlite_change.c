#include "store/sqlite_change.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "model/document.h"
#include "model/json_patch.h"
#include "store/sqlite_outbox.h"

typedef struct ready {
    char *doc; /* to be stored */
    size_t len;
    char *old; /* UPDATE: what it was made of, which has to be there still */
    size_t old_len;
} ready;

/* ---- made ready ---- */

static int too_large(const mp_change *change, size_t len, int64_t most, pond_error **err) {
    return mp_fail(err, POND_EVALUE, "%.64s: a document of %zu bytes is over the limit: max_value is %lld bytes",
                   change->collection, len, (long long)most);
}

/* The row's text as it stands, into r->old; none: it stays NULL. */
static int read_old(mp_sqlite_conn *conn, const mp_change *change, ready *r, pond_error **err) {
    sqlite3_stmt *statement;
    int rc = mp_sqlite_statement(conn, change->collection, MP_SQL_GET, &statement, err);
    if (rc != POND_OK) return rc;
    int step = sqlite3_bind_text(statement, 1, change->id, (int)change->id_len, SQLITE_STATIC);
    if (step == SQLITE_OK) step = sqlite3_step(statement);
    if (step == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(statement, 0);
        r->old_len = (size_t)sqlite3_column_bytes(statement, 0);
        r->old = malloc(r->old_len + 1);
        if (r->old == NULL || (text == NULL && sqlite3_errcode(conn->db) == SQLITE_NOMEM))
            rc = mp_fail(err, POND_ENOMEM, "%.64s: no memory for a document", change->collection);
        else if (text != NULL) memcpy(r->old, text, r->old_len + 1);
    } else if (step != SQLITE_DONE) {
        rc = mp_sqlite_fail(err, conn, change->collection, change->id, change->id_len);
    }
    mp_sqlite_done(statement);
    return rc;
}

/* The document that the patch is for, into r->old: what the caller has, or what stands in the row. */
static int find_old(mp_sqlite_pool *pool, const mp_change *change, ready *r, pond_error **err) {
    if (change->based) {
        if (pond_value_state(change->base) == POND_ABSENT) return POND_OK;
        const char *text = pond_value_data(change->base, &r->old_len);
        r->old = malloc(r->old_len + 1);
        if (r->old == NULL) return mp_fail(err, POND_ENOMEM, "%.64s: no memory for a document", change->collection);
        memcpy(r->old, text, r->old_len + 1);
        return POND_OK;
    }
    mp_sqlite_conn *conn;
    int rc = mp_sqlite_take(pool, false, &conn, err);
    if (rc != POND_OK) return rc;
    rc = read_old(conn, change, r, err);
    mp_sqlite_give(pool, conn);
    return rc;
}

/* From the patch, in r->doc, to the whole document. */
static int patch(mp_sqlite_pool *pool, const mp_change *change, const mp_document_name *name, ready *r,
                 pond_error **err) {
    int rc = find_old(pool, change, r, err);
    if (rc != POND_OK || r->old == NULL) return rc;
    char *whole = NULL;
    size_t len = 0;
    rc = mp_json_patch(name, r->old, r->old_len, r->doc, r->len, &whole, &len, err);
    if (rc != POND_OK) return rc;
    free(r->doc);
    r->doc = whole;
    r->len = len;
    return POND_OK;
}

int mp_sqlite_ready(mp_sqlite_pool *pool, mp_change *change, int64_t most, pond_error **err) {
    const mp_document_name name = {change->collection, change->id, change->id_len};
    if (change->kind == MP_CHANGE_DELETE) return POND_OK;
    if (change->len > (uint64_t)most) return too_large(change, change->len, most, err);
    ready *r = change->ready = calloc(1, sizeof *r);
    if (r == NULL) return mp_fail(err, POND_ENOMEM, "%.64s: no memory for a document", change->collection);
    int rc = mp_document_pack(&name, change->text, change->len, &r->doc, &r->len, err);
    if (rc == POND_OK && change->kind == MP_CHANGE_UPDATE) rc = patch(pool, change, &name, r, err);
    if (rc != POND_OK || (change->kind == MP_CHANGE_UPDATE && r->old == NULL)) return rc;
    if (r->len > (uint64_t)most) return too_large(change, r->len, most, err);
    return mp_document_unpack(&name, r->doc, r->len, &change->document, err);
}

void mp_sqlite_discard(mp_change *change) {
    ready *r = change->ready;
    if (r != NULL) {
        free(r->doc);
        free(r->old);
    }
    free(r);
    pond_value_free(change->document);
    change->ready = NULL;
    change->document = NULL;
}

/* ---- done ---- */

static int run(mp_sqlite_conn *conn, const char *sql) {
    sqlite3_stmt *statement;
    int rc = mp_sqlite_prepared(conn, sql, strlen(sql), &statement);
    if (rc == SQLITE_OK) rc = sqlite3_step(statement);
    if (statement != NULL) sqlite3_reset(statement);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static mp_applied failed(const mp_sqlite_conn *conn, const mp_change *change, pond_error **err) {
    mp_sqlite_fail(err, conn, change->collection, change->id, change->id_len);
    return MP_NOT_APPLIED;
}

static mp_applied change_row(mp_sqlite_conn *conn, const mp_change *change, pond_error **err) {
    static const mp_sqlite_sql kinds[] = {[MP_CHANGE_CREATE] = MP_SQL_CREATE,
                                          [MP_CHANGE_REPLACE] = MP_SQL_REPLACE,
                                          [MP_CHANGE_UPDATE] = MP_SQL_SWAP,
                                          [MP_CHANGE_DELETE] = MP_SQL_REMOVE};
    static const mp_applied unchanged[] = {[MP_CHANGE_CREATE] = MP_THERE_IS_ONE,
                                           [MP_CHANGE_REPLACE] = MP_THERE_IS_NONE,
                                           [MP_CHANGE_UPDATE] = MP_OVERTAKEN,
                                           [MP_CHANGE_DELETE] = MP_THERE_IS_NONE};
    const ready *r = change->ready;
    sqlite3_stmt *statement;
    if (mp_sqlite_statement(conn, change->collection, kinds[change->kind], &statement, err) != POND_OK)
        return MP_NOT_APPLIED;
    int rc = sqlite3_bind_text(statement, 1, change->id, (int)change->id_len, SQLITE_STATIC);
    if (rc == SQLITE_OK && r != NULL) rc = sqlite3_bind_text(statement, 2, r->doc, (int)r->len, SQLITE_STATIC);
    if (rc == SQLITE_OK && change->kind == MP_CHANGE_UPDATE)
        rc = sqlite3_bind_text(statement, 3, r->old, (int)r->old_len, SQLITE_STATIC);
    if (rc == SQLITE_OK) rc = sqlite3_step(statement);
    mp_applied applied = rc == SQLITE_DONE ? MP_APPLIED : failed(conn, change, err);
    if (applied == MP_APPLIED && sqlite3_changes(conn->db) == 0) applied = unchanged[change->kind];
    mp_sqlite_done(statement);
    if (applied == MP_APPLIED && change->event && mp_sqlite_outbox_add(conn, change, err) != POND_OK)
        applied = MP_NOT_APPLIED;
    return applied;
}

/* The lock is waited for first; then the time is looked at, and only then it is written to the disk. */
static mp_applied commit(mp_sqlite_conn *conn, const mp_change *change, pond_error **err) {
    if (change->until != NULL && mp_clock_ms() > atomic_load(change->until)) {
        if (err)
            *err = mp_error_new_retriable(POND_ESTORE, 1,
                                          "%.64s: it took longer than the cache was told (option intent), so nothing "
                                          "was written",
                                          change->collection);
        return MP_NOT_APPLIED;
    }
    int rc = run(conn, "COMMIT");
    if (rc == SQLITE_OK) return MP_APPLIED;
    mp_sqlite_fail(err, conn, change->collection, change->id, change->id_len);
    /* What the disk has of it may be found there after a restart. */
    return (rc & 0xff) == SQLITE_IOERR ? MP_IN_DOUBT : MP_NOT_APPLIED;
}

mp_applied mp_sqlite_apply(mp_sqlite_pool *pool, const mp_change *change, pond_error **err) {
    mp_sqlite_conn *conn;
    if (mp_sqlite_take(pool, true, &conn, err) != POND_OK) return MP_NOT_APPLIED;
    mp_applied applied = run(conn, "BEGIN IMMEDIATE") == SQLITE_OK ? MP_APPLIED : failed(conn, change, err);
    if (applied == MP_APPLIED) applied = change_row(conn, change, err);
    if (applied == MP_APPLIED) applied = commit(conn, change, err);
    if (applied != MP_APPLIED) mp_sqlite_conn_tidy(conn); /* and once more when it is given back */
    mp_sqlite_give(pool, conn);
    return applied;
}
