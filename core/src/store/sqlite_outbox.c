#include "store/sqlite_outbox.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "store/sqlite_transact.h"

/* One row of millpond_outbox_owner says who delivers, and until when it may be believed to. */
static const char *const tables[] = {
    "CREATE TABLE IF NOT EXISTS millpond_outbox(seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, key TEXT NOT "
    "NULL, "
    "event TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS millpond_outbox_owner(one INTEGER PRIMARY KEY CHECK(one = 0), owner BLOB NOT NULL, "
    "until INTEGER NOT NULL)",
};

static const char outbox[] = "millpond_outbox";

static int failed(pond_error **err, const mp_sqlite_conn *conn) { return mp_sqlite_fail(err, conn, outbox, NULL, 0); }

static int prepared(mp_sqlite_conn *conn, const char *sql, sqlite3_stmt **out, pond_error **err) {
    return mp_sqlite_prepare_named(conn, outbox, sql, out, err);
}

static int make_tables(mp_sqlite_conn *conn, void *ctx, pond_error **err) {
    (void)ctx;
    int rc = mp_sqlite_run(conn, outbox, tables[0], err);
    return rc == POND_OK ? mp_sqlite_run(conn, outbox, tables[1], err) : rc;
}

int mp_sqlite_outbox_prepare(mp_sqlite_pool *pool, pond_error **err) {
    return mp_sqlite_transact(pool, outbox, make_tables, NULL, err);
}

int mp_sqlite_outbox_add(mp_sqlite_conn *conn, const mp_change *change, pond_error **err) {
    sqlite3_stmt *statement;
    int rc = prepared(conn, "INSERT INTO millpond_outbox(id, key, event) VALUES (?1, ?2, ?3)", &statement, err);
    if (rc != POND_OK) return rc;
    const mp_event_text *e = change->event;
    int done = sqlite3_bind_text(statement, 1, e->id, -1, SQLITE_STATIC);
    if (done == SQLITE_OK) done = sqlite3_bind_text(statement, 2, e->key, -1, SQLITE_STATIC);
    if (done == SQLITE_OK) done = sqlite3_bind_text(statement, 3, e->text, (int)e->len, SQLITE_STATIC);
    if (done == SQLITE_OK) done = sqlite3_step(statement);
    if (done != SQLITE_DONE) rc = failed(err, conn);
    mp_sqlite_done(statement);
    return rc;
}

/* ---- delivery ---- */

typedef struct claim {
    const uint8_t *owner;
    int64_t hold_ms;
    mp_outbox *out;
    size_t n;
} claim;

/* Mine, or nobody's any more: mine from now on. */
static int own(mp_sqlite_conn *conn, const claim *c, bool *mine, pond_error **err) {
    sqlite3_stmt *statement;
    int rc = prepared(
        conn,
        "INSERT INTO millpond_outbox_owner(one, owner, until) VALUES (0, ?1, ?2) ON CONFLICT(one) DO UPDATE SET "
        "owner = excluded.owner, until = excluded.until WHERE owner = excluded.owner OR until < ?3 OR until > ?2",
        &statement, err);
    if (rc != POND_OK) return rc;
    int64_t now = mp_clock_wall_ms();
    int done = sqlite3_bind_blob(statement, 1, c->owner, 16, SQLITE_STATIC);
    if (done == SQLITE_OK) done = sqlite3_bind_int64(statement, 2, now + c->hold_ms);
    if (done == SQLITE_OK) done = sqlite3_bind_int64(statement, 3, now);
    if (done == SQLITE_OK) done = sqlite3_step(statement);
    if (done != SQLITE_DONE) rc = failed(err, conn);
    *mine = rc == POND_OK && sqlite3_changes(conn->db) > 0;
    mp_sqlite_done(statement);
    return rc;
}

static char *column(sqlite3_stmt *statement, int i, size_t *len) {
    const char *text = (const char *)sqlite3_column_text(statement, i);
    *len = (size_t)sqlite3_column_bytes(statement, i);
    char *copy = text ? malloc(*len + 1) : NULL;
    if (copy) memcpy(copy, text, *len + 1);
    return copy;
}

static int read_rows(mp_sqlite_conn *conn, const claim *c, pond_error **err) {
    sqlite3_stmt *statement;
    int rc = prepared(conn, "SELECT seq, id, key, event FROM millpond_outbox ORDER BY seq LIMIT ?1", &statement, err);
    if (rc != POND_OK) return rc;
    int done = sqlite3_bind_int(statement, 1, MP_OUTBOX_MOST);
    if (done == SQLITE_OK)
        while ((done = sqlite3_step(statement)) == SQLITE_ROW && rc == POND_OK) {
            mp_outbox_row *row = &c->out->rows[c->out->n++];
            size_t len;
            row->seq = sqlite3_column_int64(statement, 0);
            row->id = column(statement, 1, &len);
            row->key = column(statement, 2, &len);
            row->text = column(statement, 3, &row->len);
            if (!row->id || !row->key || !row->text) rc = mp_fail(err, POND_ENOMEM, "no memory for an event");
        }
    if (rc == POND_OK && done != SQLITE_DONE) rc = failed(err, conn);
    mp_sqlite_done(statement);
    return rc;
}

/* The first column of the first row as a yes or no. */
static int ask(mp_sqlite_conn *conn, const char *sql, bool *yes, pond_error **err) {
    sqlite3_stmt *statement;
    int rc = prepared(conn, sql, &statement, err);
    if (rc != POND_OK) return rc;
    int step = sqlite3_step(statement);
    *yes = step == SQLITE_ROW && sqlite3_column_int(statement, 0);
    if (step != SQLITE_ROW && step != SQLITE_DONE) rc = failed(err, conn);
    mp_sqlite_done(statement);
    return rc;
}

/* Looked at by readers first: nothing is written where there is nothing to do. No table: nothing was ever told by it. */
static int any(mp_sqlite_pool *pool, bool *yes, pond_error **err) {
    mp_sqlite_conn *conn;
    int rc = mp_sqlite_take(pool, false, &conn, err);
    if (rc != POND_OK) return rc;
    rc = ask(conn, "SELECT 1 FROM sqlite_master WHERE name = 'millpond_outbox_owner'", yes, err);
    if (rc == POND_OK && *yes) rc = ask(conn, "SELECT EXISTS (SELECT 1 FROM millpond_outbox)", yes, err);
    mp_sqlite_give(pool, conn);
    return rc;
}

static int take(mp_sqlite_conn *conn, void *ctx, pond_error **err) {
    claim *c = ctx;
    int rc = own(conn, c, &c->out->mine, err);
    return rc == POND_OK && c->out->mine ? read_rows(conn, c, err) : rc;
}

int mp_sqlite_outbox_take(mp_sqlite_pool *pool, const uint8_t owner[16], int64_t hold_ms, mp_outbox *out,
                          pond_error **err) {
    claim c = {.owner = owner, .hold_ms = hold_ms, .out = out};
    bool yes = false;
    int rc = any(pool, &yes, err);
    if (rc == POND_OK && yes) rc = mp_sqlite_transact(pool, outbox, take, &c, err);
    if (rc != POND_OK) mp_outbox_clear(out);
    return rc;
}

/* Others may go on as soon as there is nothing left, or nobody here to deliver it. */
static int let_go(mp_sqlite_conn *conn, const claim *c, pond_error **err) {
    sqlite3_stmt *statement;
    int rc =
        prepared(conn,
                 "UPDATE millpond_outbox_owner SET until = 0 WHERE owner = ?1 AND (?2 OR NOT EXISTS (SELECT 1 FROM "
                 "millpond_outbox))",
                 &statement, err);
    if (rc != POND_OK) return rc;
    int done = sqlite3_bind_blob(statement, 1, c->owner, 16, SQLITE_STATIC);
    if (done == SQLITE_OK) done = sqlite3_bind_int(statement, 2, c->n == 0);
    if (done == SQLITE_OK) done = sqlite3_step(statement);
    if (done != SQLITE_DONE) rc = failed(err, conn);
    mp_sqlite_done(statement);
    return rc;
}

static int drop(mp_sqlite_conn *conn, void *ctx, pond_error **err) {
    claim *c = ctx;
    sqlite3_stmt *statement;
    int rc = prepared(conn, "DELETE FROM millpond_outbox WHERE seq = ?1", &statement, err);
    if (rc != POND_OK) return rc;
    for (size_t i = 0; i < c->n && rc == POND_OK; i++) {
        int done = sqlite3_bind_int64(statement, 1, c->out->rows[i].seq);
        if (done == SQLITE_OK) done = sqlite3_step(statement);
        if (done != SQLITE_DONE) rc = failed(err, conn);
        sqlite3_reset(statement);
    }
    mp_sqlite_done(statement);
    return rc == POND_OK ? let_go(conn, c, err) : rc;
}

int mp_sqlite_outbox_drop(mp_sqlite_pool *pool, const uint8_t owner[16], const mp_outbox *rows, size_t n,
                          pond_error **err) {
    claim c = {.owner = owner, .out = (mp_outbox *)rows, .n = n};
    return mp_sqlite_transact(pool, outbox, drop, &c, err);
}
