/* Queries on SQLite: what model/match.h says of a document, asked of every row by a function of ours, and of an index
 * first where one was declared. Each call is one read transaction on a connection that is lent for it. */
#ifndef MP_STORE_SQLITE_FIND_H
#define MP_STORE_SQLITE_FIND_H

#include "base/buf.h"
#include "model/query.h"
#include "store/sqlite_conn.h"

/* Each as the function of mp_store_vt; `most`: bytes that a page may have. */
int mp_sqlite_find(mp_sqlite_conn *conn, const char *collection, const mp_query *query, int64_t most, mp_buf *out,
                   size_t *count, pond_error **err);
int mp_sqlite_count(mp_sqlite_conn *conn, const char *collection, const mp_query *query, int64_t *total,
                    pond_error **err);
int mp_sqlite_plan(mp_sqlite_conn *conn, const char *collection, const mp_query *query, mp_buf *out, pond_error **err);
int mp_sqlite_index(mp_sqlite_conn *conn, const char *collection, const mp_query_sort *field, pond_error **err);
/* The functions that the statements call; once per connection. SQLite's result code. */
int mp_sqlite_functions(sqlite3 *db);

#endif
