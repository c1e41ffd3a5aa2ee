#include "store/sqlite_transact.h"

#include <string.h>

int mp_sqlite_prepare_named(mp_sqlite_conn *conn, const char *what, const char *sql, sqlite3_stmt **out,
                            pond_error **err) {
    return mp_sqlite_prepared(conn, sql, strlen(sql), out) == SQLITE_OK ? POND_OK
                                                                        : mp_sqlite_fail(err, conn, what, NULL, 0);
}

int mp_sqlite_run(mp_sqlite_conn *conn, const char *what, const char *sql, pond_error **err) {
    sqlite3_stmt *statement;
    int rc = mp_sqlite_prepare_named(conn, what, sql, &statement, err);
    if (rc != POND_OK) return rc;
    if (sqlite3_step(statement) != SQLITE_DONE) rc = mp_sqlite_fail(err, conn, what, NULL, 0);
    mp_sqlite_done(statement);
    return rc;
}

int mp_sqlite_transact(mp_sqlite_pool *pool, const char *what, mp_sqlite_body *body, void *ctx, pond_error **err) {
    mp_sqlite_conn *conn;
    int rc = mp_sqlite_take(pool, true, &conn, err);
    if (rc != POND_OK) return rc;
    rc = mp_sqlite_run(conn, what, "BEGIN IMMEDIATE", err);
    if (rc == POND_OK) rc = body(conn, ctx, err);
    if (rc == POND_OK) rc = mp_sqlite_run(conn, what, "COMMIT", err);
    if (rc != POND_OK) mp_sqlite_conn_tidy(conn);
    mp_sqlite_give(pool, conn);
    return rc;
}
