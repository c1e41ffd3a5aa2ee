/* Statements of SQLite's that are about no collection, and several of them as one. `what` is the table that errors name. */
#ifndef MP_STORE_SQLITE_TRANSACT_H
#define MP_STORE_SQLITE_TRANSACT_H

#include "store/sqlite_pool.h"

/* mp_sqlite_done ends it. */
int mp_sqlite_prepare_named(mp_sqlite_conn *conn, const char *what, const char *sql, sqlite3_stmt **out,
                            pond_error **err);
/* A statement without rows. */
int mp_sqlite_run(mp_sqlite_conn *conn, const char *what, const char *sql, pond_error **err);

typedef int mp_sqlite_body(mp_sqlite_conn *conn, void *ctx, pond_error **err);
/* All of `body` or nothing, on a connection that writes. */
int mp_sqlite_transact(mp_sqlite_pool *pool, const char *what, mp_sqlite_body *body, void *ctx, pond_error **err);

#endif
