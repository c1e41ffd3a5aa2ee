/* What the files of the journal (store/journal.h) share. */
#ifndef MP_STORE_SQLITE_JOURNAL_H
#define MP_STORE_SQLITE_JOURNAL_H

#include "base/list.h"
#include "store/journal.h"
#include "store/sqlite_pool.h"

#define MP_JOURNAL_NUMBERS ((INT64_C(1) << 40) - 2) /* of an epoch, as wb_put.lua counts them */

/* A shard, as far as it is not in the file. */
typedef struct mp_jshard {
    int64_t id; /* in the tables: the namespace's row << 8 | the shard */
    bool in_force;
    int64_t epoch, number; /* of before, and none, until one is in force */
    int64_t waiting;       /* rows */
    bool sums;             /* there may be increments that wait */
    uint8_t owner[MP_JOURNAL_OWNER];
    int64_t owned_until; /* mp_clock_ms; 0: nobody's */
} mp_jshard;

typedef struct mp_jspace {
    struct mp_jspace *next;
    char ns[MP_NS_MAX + 1];
    uint8_t shards;
    mp_jshard shard[];
} mp_jspace;

struct mp_journal {
    mp_node node; /* in the list of the process's */
    unsigned refs;
    uint32_t generation; /* base/fork.h */
    void *cache;
    void (*over)(void *cache);
    char *path;
    mp_sqlite_pool *pool;
    int lock; /* the file, whose lock says that it is ours */
    uint8_t fence[MP_JOURNAL_FENCE];
    _Atomic int unsafe;      /* an errno: the disk has not taken something, and does not say so twice */
    _Atomic int64_t written; /* bytes since the log was last tidied, about */
    /* Of who has entered. */
    mp_sqlite_conn *conn;
    mp_jspace *spaces;
    int64_t place;         /* the last row's */
    int64_t dead_ms, dead; /* the last letter's */
};

/* Runs a statement that has no rows. What it binds follows, as `types` says: i: an int64_t; b: a const void * and a size_t; v: a const pond_value *, as
 * its state, codec and bytes. */
int mp_jrun(mp_journal *j, pond_error **err, const char *sql, const char *types, ...);
/* Binds, but does not step: mp_jstep does, and mp_sqlite_done ends it. */
int mp_jask(mp_journal *j, sqlite3_stmt **out, pond_error **err, const char *sql, const char *types, ...);
/* *row: there is one. */
int mp_jstep(mp_journal *j, sqlite3_stmt *statement, bool *row, pond_error **err);
/* The number in the first column of the only row; 0: there is none, or NULL. */
int mp_jnumber(mp_journal *j, int64_t *out, pond_error **err, const char *sql, const char *types, ...);
/* Either all that is in between or nothing; `rc` is what became of it. */
int mp_jbegin(mp_journal *j, pond_error **err);
int mp_jend(mp_journal *j, int rc, pond_error **err);

/* The shard that the key is in; the namespace gets a row if it has none. */
int mp_jshard_of(mp_journal *j, const mp_key *key, mp_jshard **out, pond_error **err);
void mp_jspaces_free(mp_journal *j);
/* The key without its namespace. */
static inline const char *mp_juser_key(const mp_key *key, size_t *len) {
    *len = key->len - key->ns_len - 1u;
    return key->name + key->ns_len + 1;
}

/* A row of `waiting`. */
typedef struct mp_jrow {
    int64_t place; /* 0: there is none */
    int64_t version;
    int64_t first, newest; /* of its increments; 0: none wait */
    int state;             /* pond_state; -1: there is no record */
    bool old_fence;
} mp_jrow;
int mp_jrow_find(mp_journal *j, const mp_jshard *s, const char *key, size_t len, mp_jrow *out, pond_error **err);
/* The value that stands in three columns: its state, codec and bytes; with its version. NULL without memory, or (*damaged) if it is none. */
pond_value *mp_jvalue(sqlite3_stmt *statement, int column, int64_t version, bool *damaged);
/* Gives a record to the row, or a row to the record. */
int mp_jrecord(mp_journal *j, const mp_jshard *s, mp_jrow *row, const char *key, size_t len, int64_t version,
               const uint8_t *fence, const pond_value *value, pond_error **err);
int mp_jdrop_sums(mp_journal *j, const mp_jshard *s, const char *key, size_t len, pond_error **err);
int mp_jdrop_row(mp_journal *j, const mp_jrow *row, pond_error **err);
/* What the statement has, members and numbers, into `out`; it ends. */
int mp_jsums_read(mp_journal *j, sqlite3_stmt *statement, mp_sums *out, pond_error **err);
int mp_jno_memory(pond_error **err);

#endif
