/* One connection to a SQLite database: how it is opened, the statements that it keeps prepared, and what its errors
 * become. Used by one thread at a time; see sqlite_pool.h. */
#ifndef MP_STORE_SQLITE_CONN_H
#define MP_STORE_SQLITE_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sqlite3.h>

#include <millpond/error.h>
#include "engine/shared.h"
#include "store/store_check.h"

/* Two quotes, every byte doubled, and the NUL. */
#define MP_SQLITE_QUOTED_MAX (2 * MP_COLLECTION_MAX + 3)

typedef enum mp_sqlite_sql {
    MP_SQL_GET,
    MP_SQL_GET_MANY,
    MP_SQL_PUT,
    MP_SQL_REMOVE,
    MP_SQL_CREATE,  /* only if there is none */
    MP_SQL_REPLACE, /* only if there is one */
    MP_SQL_SWAP,    /* only if it is that one */
    MP_SQL_GET_VERSION,
    MP_SQL_FLUSH, /* only if it is older; likewise */
    MP_SQL_FLUSH_DELETE,
    MP_SQL_KINDS
} mp_sqlite_sql;

typedef struct mp_sqlite_table {
    char name[MP_COLLECTION_MAX + 1]; /* empty: unused */
    uint64_t used;                    /* by the connection's own count: the oldest gives way */
    sqlite3_stmt *statements[MP_SQL_KINDS];
} mp_sqlite_table;

/* Another statement that was used lately. */
typedef struct mp_sqlite_kept {
    sqlite3_stmt *statement; /* NULL: unused */
    size_t len;              /* of its text */
    uint64_t used;
} mp_sqlite_kept;

enum { MP_SQLITE_TABLES = 32, MP_SQLITE_KEPT = 64 };

typedef struct mp_sqlite_conn {
    struct mp_sqlite_conn *next; /* the pool's */
    bool writes;                 /* the pool's: its borrower has the writer's turn */
    bool relaxed;
    sqlite3 *db;
    int64_t looked_ms; /* the pool's: when it was last known that the file stands where it should */
    mp_shared *shared; /* sqlite_commits.c's: who is told of a commit, or NULL, */
    void *turn;        /* and by which right */
    uint64_t uses;
    mp_sqlite_table tables[MP_SQLITE_TABLES];
    mp_sqlite_kept kept[MP_SQLITE_KEPT];
} mp_sqlite_conn;

/* `path` is absolute or ":memory:". With `first` the file may be made, and is switched to WAL; later connections never
 * make a file. POND_ESTORE names the path. */
int mp_sqlite_conn_open(mp_sqlite_conn **out, const char *path, bool first, int64_t timeout_ms, pond_error **err);
void mp_sqlite_conn_close(mp_sqlite_conn *conn);
/* Closes a connection that was inherited through fork() while idle: nothing is written, no other's lock is touched. */
void mp_sqlite_conn_close_inherited(mp_sqlite_conn *conn);
/* Rolls back what is still open; false: that has failed (it takes memory). */
bool mp_sqlite_conn_tidy(mp_sqlite_conn *conn);
/* Once: commits without waiting for the disk, and checkpoints by others. False: that has failed (it takes memory). */
bool mp_sqlite_conn_relax(mp_sqlite_conn *conn);
/* Whether its file still stands under its path. */
bool mp_sqlite_conn_moved(const mp_sqlite_conn *conn);

/* A prepared statement, reset and without bindings; borrowed until mp_sqlite_done, or the next call of this. Says what to do
 * if there is no such table, and refuses a table whose name differs in case: to SQLite it is the same table, to a cache it
 * would be another. */
int mp_sqlite_statement(mp_sqlite_conn *conn, const char *collection, mp_sqlite_sql kind, sqlite3_stmt **out,
                        pond_error **err);
void mp_sqlite_done(sqlite3_stmt *statement);
/* The same for any text; the last MP_SQLITE_KEPT stay prepared, so no more than half of that may be in use. SQLite's result code. */
int mp_sqlite_prepared(mp_sqlite_conn *conn, const char *sql, size_t len, sqlite3_stmt **out);
/* CREATE TABLE IF NOT EXISTS, and a look at whether what stands there can be used. */
int mp_sqlite_create(mp_sqlite_conn *conn, const char *collection, pond_error **err);

/* The one place that quotes a name for SQL: "name", inner quotes doubled. */
const char *mp_sqlite_quote(char out[MP_SQLITE_QUOTED_MAX], const char *name);
/* Makes the error of what just failed on `conn`, as "`collection` `id`: SQLite's text"; `id` may be NULL. POND_ESTORE,
 * retriable if the same call may succeed later, or POND_ENOMEM. */
int mp_sqlite_fail(pond_error **err, const mp_sqlite_conn *conn, const char *collection, const char *id, size_t len);
/* POND_ESTORE if this SQLite is too old: `version` as sqlite3_libversion_number() has it. */
int mp_sqlite_version_check(int version, const char *text, pond_error **err);

#endif
