/* What a field is in SQL: its rank and its value, and the index on both. An index answers only a statement that spells the same
 * expression, so they are spelled here and nowhere else. */
#ifndef MP_STORE_SQLITE_EXPR_H
#define MP_STORE_SQLITE_EXPR_H

#include "base/buf.h"
#include "model/query.h"

/* `text` between two `quote`s, those inside doubled. */
void mp_sqlite_add_quoted(mp_buf *sql, char quote, const char *text, size_t len);
/* R(p): the rank of what stands at the path, ARRAY also if the path leads through one. */
void mp_sqlite_add_rank(mp_buf *sql, const mp_query_path *path);
/* V(p): its value, NULL for objects and arrays. Milliseconds for dates, the digits for ObjectIds. */
void mp_sqlite_add_value(mp_buf *sql, const mp_query_path *path);

/* mp:films:rating, or mp:films:-rating for the one that runs down; with a number where the name has capitals. */
void mp_sqlite_add_index_name(mp_buf *name, const char *collection, const mp_query_path *path, bool descending);
/* The statement that makes it, as sqlite_schema shows it. `rank` and `value` are R(p) and V(p). */
void mp_sqlite_add_index(mp_buf *sql, const char *collection, const mp_query_path *path, bool descending,
                         const mp_buf *rank, const mp_buf *value);

#endif
