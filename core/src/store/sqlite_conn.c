#include "store/sqlite_conn.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/quote.h"
#include "store/sqlite_find.h"

/* 3.38: the operator -> and JSON functions in every build. */
enum { OLDEST = 3038000, RELAXED_PAGES = 15360, SQL_MAX = 256 + MP_SQLITE_QUOTED_MAX };

/* %s is the quoted table. Columns are not quoted: SQLite takes "doc" for a text where there is no such column. `ver` is
 * what write-behind orders by; a document that comes another way has none, which is 0. */
static const char *const sql_of[MP_SQL_KINDS] = {
    [MP_SQL_GET] = "SELECT doc FROM %s WHERE id = ?1",
    /* CROSS JOIN: the list first, then the table by its key. 100 films: 48 us; 100 single statements in a transaction: 65;
       IN with 100 parameters: 58. */
    [MP_SQL_GET_MANY] = "SELECT list.key, doc FROM json_each(?1) AS list CROSS JOIN %s AS t ON t.id = list.value",
    [MP_SQL_PUT] = "INSERT INTO %s (id, doc, ver) VALUES (?1, ?2, 0) "
                   "ON CONFLICT (id) DO UPDATE SET doc = excluded.doc, ver = excluded.ver",
    [MP_SQL_REMOVE] = "DELETE FROM %s WHERE id = ?1",
    [MP_SQL_CREATE] = "INSERT INTO %s (id, doc, ver) VALUES (?1, ?2, 0) ON CONFLICT (id) DO NOTHING",
    [MP_SQL_REPLACE] = "UPDATE %s SET doc = ?2, ver = 0 WHERE id = ?1",
    [MP_SQL_SWAP] = "UPDATE %s SET doc = ?2, ver = 0 WHERE id = ?1 "
                    "AND CAST(doc AS BLOB) = CAST(?3 AS BLOB)",
    [MP_SQL_GET_VERSION] = "SELECT doc, ver FROM %s WHERE id = ?1",
    [MP_SQL_FLUSH] = "INSERT INTO %s AS t (id, doc, ver) VALUES (?1, ?3, ?2) "
                     "ON CONFLICT (id) DO UPDATE SET doc = excluded.doc, ver = excluded.ver WHERE t.ver < excluded.ver",
    [MP_SQL_FLUSH_DELETE] = "DELETE FROM %s WHERE id = ?1 AND ver < ?2",
};
static const char create_sql[] = "CREATE TABLE IF NOT EXISTS %s(id TEXT PRIMARY KEY NOT NULL, "
                                 "doc TEXT NOT NULL CHECK(json_valid(doc)), ver INTEGER NOT NULL)";

const char *mp_sqlite_quote(char out[MP_SQLITE_QUOTED_MAX], const char *name) {
    char *to = out, *end = out + MP_SQLITE_QUOTED_MAX - 3; /* room for a doubled byte or the last quote */
    *to++ = '"';
    for (; *name != 0 && to < end; name++) {
        if (*name == '"') *to++ = '"';
        *to++ = *name;
    }
    *to++ = '"';
    *to = 0;
    return out;
}

int mp_sqlite_version_check(int version, const char *text, pond_error **err) {
    if (version >= OLDEST) return POND_OK;
    if (err != NULL)
        *err =
            mp_error_new_retriable(POND_ESTORE, 0,
                                   "SQLite 3.38 or later is needed for sqlite: stores, and this process runs with %s: "
                                   "install a newer libsqlite3",
                                   text);
    return POND_ESTORE;
}

/* May the same call succeed later, without a change to the call or the database? */
static int retriable(int code, int os) {
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL: /* a race for the log's locks that went on for too long */
    case SQLITE_SCHEMA:
    case SQLITE_FULL: /* until someone makes room on the disk */ return 1;
    case SQLITE_CANTOPEN: return os == EMFILE || os == ENFILE || os == ENOMEM || os == EINTR;
    case SQLITE_IOERR: return code != SQLITE_IOERR_CORRUPTFS;
    default: return 0;
    }
}

static int fail(pond_error **err, const mp_sqlite_conn *conn, const char *what) {
    int code = sqlite3_extended_errcode(conn->db), kind = code & 0xff;
    if (kind == SQLITE_NOMEM) return mp_fail(err, POND_ENOMEM, "%s: SQLite has no memory", what);
    if (err == NULL) return POND_ESTORE;
    const char *text = sqlite3_errmsg(conn->db), *more = "";
    int os =
        kind == SQLITE_CANTOPEN || kind == SQLITE_IOERR || kind == SQLITE_FULL ? sqlite3_system_errno(conn->db) : 0;
    if (kind == SQLITE_BUSY) more = ": someone else held its lock for longer than store_timeout";
    else if (kind == SQLITE_ERROR && strncmp(text, "no such table:", 14) == 0)
        more = ": create the collection first, with prepare(), or create() of the store (pond_collection_prepare, "
               "pond_store_create)";
    *err = mp_error_new_retriable(POND_ESTORE, retriable(code, os), "%s: %s%s%s%s (SQLite %d)", what, text, more,
                                  os != 0 ? ": " : "", os != 0 ? strerror(os) : "", code);
    return POND_ESTORE;
}

int mp_sqlite_fail(pond_error **err, const mp_sqlite_conn *conn, const char *collection, const char *id, size_t len) {
    char what[MP_COLLECTION_MAX + MP_QUOTE_MAX + 2], shown[MP_QUOTE_MAX] = "";
    snprintf(what, sizeof what, "%.64s%s%s", collection, id != NULL ? " " : "",
             id != NULL ? mp_quote(shown, id, len) : "");
    return fail(err, conn, what);
}

/* Opening. */

/* Only the switch itself can be refused at once, without the busy timeout: several processes may open a new file. */
static int set_wal(mp_sqlite_conn *conn, int64_t timeout_ms) {
    int64_t deadline = mp_clock_ms() + timeout_ms;
    for (int pause = 1;; pause = pause < 50 ? pause * 2 : pause) {
        int rc = sqlite3_exec(conn->db, "PRAGMA journal_mode=WAL", NULL, NULL, NULL);
        if ((rc & 0xff) != SQLITE_BUSY || mp_clock_ms() >= deadline) return rc;
        sqlite3_sleep(pause);
    }
}

/* synchronous=FULL: this is the system of record, so what was acknowledged survives a power cut. WAL with NORMAL loses the
 * last transactions then (though it never breaks the file). It costs one fsync a write; reads cost the same. */
static int set_up(mp_sqlite_conn *conn, bool first, int64_t timeout_ms) {
    int rc = sqlite3_busy_timeout(conn->db, timeout_ms < INT32_MAX ? (int)timeout_ms : INT32_MAX);
    if (rc == SQLITE_OK) rc = sqlite3_exec(conn->db, "PRAGMA synchronous=FULL", NULL, NULL, NULL);
    if (rc == SQLITE_OK && first) rc = set_wal(conn, timeout_ms);
    /* A file that may only be read serves reads; each write says so. */
    if ((rc & 0xff) == SQLITE_READONLY) rc = SQLITE_OK;
    if (rc == SQLITE_OK) rc = mp_sqlite_functions(conn->db);
    /* Does it read at all? A file of another kind is found out here. */
    if (rc == SQLITE_OK) rc = sqlite3_exec(conn->db, "SELECT count(*) FROM sqlite_schema", NULL, NULL, NULL);
    return rc;
}

int mp_sqlite_conn_open(mp_sqlite_conn **out, const char *path, bool first, int64_t timeout_ms, pond_error **err) {
    mp_sqlite_conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL) return mp_fail(err, POND_ENOMEM, "sqlite:%s: no memory for a connection", path);
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE | (first ? SQLITE_OPEN_CREATE : 0);
    int rc = sqlite3_open_v2(path, &conn->db, flags, NULL);
    if (rc == SQLITE_OK) rc = set_up(conn, first, timeout_ms);
    if (rc == SQLITE_OK) {
        *out = conn;
        return POND_OK;
    }
    char what[256 + 8];
    snprintf(what, sizeof what, "sqlite:%s%.250s", strlen(path) > 250 ? "..." : "",
             strlen(path) > 250 ? path + strlen(path) - 250 : path);
    if (conn->db == NULL) rc = mp_fail(err, POND_ENOMEM, "%s: SQLite has no memory", what);
    else rc = fail(err, conn, what);
    mp_sqlite_conn_close(conn);
    return rc;
}

static void finalize(mp_sqlite_table *table) {
    for (int kind = 0; kind < MP_SQL_KINDS; kind++) {
        sqlite3_finalize(table->statements[kind]);
        table->statements[kind] = NULL;
    }
    table->name[0] = 0;
}

void mp_sqlite_conn_close(mp_sqlite_conn *conn) {
    if (conn == NULL) return;
    for (size_t i = 0; i < MP_SQLITE_TABLES; i++) finalize(&conn->tables[i]);
    for (size_t i = 0; i < MP_SQLITE_KEPT; i++) sqlite3_finalize(conn->kept[i].statement);
    sqlite3_close(conn->db);
    free(conn);
}

void mp_sqlite_conn_close_inherited(mp_sqlite_conn *conn) {
    sqlite3_db_config(conn->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    mp_sqlite_conn_close(conn);
}

bool mp_sqlite_conn_tidy(mp_sqlite_conn *conn) {
    if (!sqlite3_get_autocommit(conn->db)) sqlite3_exec(conn->db, "ROLLBACK", NULL, NULL, NULL);
    return sqlite3_get_autocommit(conn->db);
}

bool mp_sqlite_conn_relax(mp_sqlite_conn *conn) {
    if (!conn->relaxed)
        conn->relaxed = sqlite3_exec(conn->db, "PRAGMA synchronous=NORMAL", NULL, NULL, NULL) == SQLITE_OK &&
                        sqlite3_wal_autocheckpoint(conn->db, RELAXED_PAGES) == SQLITE_OK;
    return conn->relaxed;
}

bool mp_sqlite_conn_moved(const mp_sqlite_conn *conn) {
    int moved = 0;
    return sqlite3_file_control(conn->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK && moved;
}

/* Statements. */

/* Is there a table that SQLite takes for `collection`? Refuses one that is spelled in another case. */
static int find_table(mp_sqlite_conn *conn, const char *collection, bool *found, pond_error **err) {
    sqlite3_stmt *statement = NULL;
    static const char sql[] =
        "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name = ?1 COLLATE NOCASE";
    int rc = sqlite3_prepare_v2(conn->db, sql, -1, &statement, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_bind_text(statement, 1, collection, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK) rc = sqlite3_step(statement);
    *found = rc == SQLITE_ROW;
    if (rc == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(statement, 0);
        char shown[MP_QUOTE_MAX];
        if (name != NULL && strcmp(name, collection) == 0) rc = POND_OK;
        else
            rc =
                mp_fail(err, POND_EOPTION,
                        "%.64s: the table is called %s, and SQLite does not tell capitals in such names: use that name",
                        collection, mp_quote(shown, name != NULL ? name : "", name != NULL ? strlen(name) : 0));
    } else if (rc == SQLITE_DONE) rc = POND_OK;
    else rc = fail(err, conn, collection);
    sqlite3_finalize(statement);
    return rc;
}

static mp_sqlite_table *table_of(mp_sqlite_conn *conn, const char *collection) {
    mp_sqlite_table *oldest = &conn->tables[0];
    for (size_t i = 0; i < MP_SQLITE_TABLES; i++) {
        mp_sqlite_table *table = &conn->tables[i];
        if (strcmp(table->name, collection) == 0) {
            table->used = ++conn->uses;
            return table;
        }
        if (table->used < oldest->used) oldest = table;
    }
    finalize(oldest);
    snprintf(oldest->name, sizeof oldest->name, "%s", collection);
    oldest->used = ++conn->uses;
    return oldest;
}

int mp_sqlite_statement(mp_sqlite_conn *conn, const char *collection, mp_sqlite_sql kind, sqlite3_stmt **out,
                        pond_error **err) {
    mp_sqlite_table *table = table_of(conn, collection);
    if (table->statements[kind] == NULL) {
        char sql[SQL_MAX], quoted[MP_SQLITE_QUOTED_MAX];
        bool found;
        int rc = find_table(conn, collection, &found, err);
        if (rc != POND_OK) return rc;
        snprintf(sql, sizeof sql, sql_of[kind], mp_sqlite_quote(quoted, collection));
        /* not found: SQLite says so itself */
        rc = sqlite3_prepare_v3(conn->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &table->statements[kind], NULL);
        if (rc != SQLITE_OK) return fail(err, conn, collection);
    }
    *out = table->statements[kind];
    return POND_OK;
}

void mp_sqlite_done(sqlite3_stmt *statement) {
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
}

int mp_sqlite_prepared(mp_sqlite_conn *conn, const char *sql, size_t len, sqlite3_stmt **out) {
    mp_sqlite_kept *oldest = &conn->kept[0];
    for (size_t i = 0; i < MP_SQLITE_KEPT; i++) {
        mp_sqlite_kept *kept = &conn->kept[i];
        if (kept->statement != NULL && kept->len == len && memcmp(sqlite3_sql(kept->statement), sql, len) == 0) {
            kept->used = ++conn->uses;
            *out = kept->statement;
            return SQLITE_OK;
        }
        if (kept->used < oldest->used) oldest = kept;
    }
    sqlite3_finalize(oldest->statement);
    *oldest = (mp_sqlite_kept){.len = len, .used = ++conn->uses};
    int rc = len > INT_MAX
                 ? SQLITE_TOOBIG
                 : sqlite3_prepare_v3(conn->db, sql, (int)len, SQLITE_PREPARE_PERSISTENT, &oldest->statement, NULL);
    *out = oldest->statement;
    return rc;
}

int mp_sqlite_create(mp_sqlite_conn *conn, const char *collection, pond_error **err) {
    char sql[SQL_MAX], quoted[MP_SQLITE_QUOTED_MAX];
    sqlite3_stmt *unused;
    bool found;
    int rc = find_table(conn, collection, &found, err);
    if (rc == POND_OK && !found) {
        snprintf(sql, sizeof sql, create_sql, mp_sqlite_quote(quoted, collection));
        if (sqlite3_exec(conn->db, sql, NULL, NULL, NULL) != SQLITE_OK) rc = fail(err, conn, collection);
    }
    /* A table of someone else's may lack a column, or have no unique id. */
    for (int kind = 0; kind < MP_SQL_KINDS && rc == POND_OK; kind++)
        rc = mp_sqlite_statement(conn, collection, (mp_sqlite_sql)kind, &unused, err);
    return rc;
}
