#define _GNU_SOURCE
#include "store/sqlite_commits.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fork.h"
#include "base/list.h"
#include "store/sqlite_pool.h"

enum {
    INDEX_REGION = 32 * 1024, /* in which SQLite maps the WAL-index */
    CHECKPOINT_PAGES = 1000   /* as SQLite has it where nobody hooks */
};

struct mp_sqlite_commits {
    mp_node node; /* in `all` */
    unsigned refs;
    char *path;
    dev_t dev;
    ino_t ino;
    mp_sqlite_conn *conn; /* does nothing else: SQLite removes the WAL-index with the last one */
    void *page;           /* of the WAL-index, or NULL */
    mp_shared *shared;
};

/* Changes only within mp_sqlite_enter, for which a fork waits. */
static struct {
    pthread_mutex_t lock;
    mp_node list;
} all = {PTHREAD_MUTEX_INITIALIZER, {&all.list, &all.list}};

static mp_sqlite_commits *of_node(mp_node *n) { return MP_OF(n, mp_sqlite_commits, node); }

/* ---- the two ways ---- */

static bool is_wal(sqlite3 *db) {
    sqlite3_stmt *statement = NULL;
    bool wal = sqlite3_prepare_v2(db, "PRAGMA journal_mode", -1, &statement, NULL) == SQLITE_OK &&
               sqlite3_step(statement) == SQLITE_ROW &&
               strcmp((const char *)sqlite3_column_text(statement, 0), "wal") == 0;
    sqlite3_finalize(statement);
    return wal;
}

static size_t page_size(void) { return (size_t)sysconf(_SC_PAGESIZE); }

/* NULL: there is none. */
static void *map_index(const mp_sqlite_conn *conn) {
    sqlite3_file *file = NULL;
    volatile void *index = NULL;
    if (!is_wal(conn->db) || sqlite3_file_control(conn->db, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK ||
        file == NULL || file->pMethods == NULL || file->pMethods->iVersion < 2 || file->pMethods->xShmMap == NULL ||
        file->pMethods->xShmMap(file, 0, INDEX_REGION, 0, &index) != SQLITE_OK || index == NULL)
        return NULL;
    /* Old size 0: the same page once more, which outlives SQLite's mapping of it. Refused for memory that is one process's own. */
    void *again = mremap((void *)index, 0, page_size(), MREMAP_MAYMOVE);
    return again != MAP_FAILED ? again : NULL;
}

static bool ask(void *ctx, uint64_t *version) {
    static const char sql[] = "PRAGMA data_version";
    mp_sqlite_commits *c = ctx;
    sqlite3_stmt *statement = NULL;
    bool known = false;
    if (!mp_sqlite_enter()) return false;
    if (c->conn != NULL && mp_sqlite_prepared(c->conn, sql, sizeof sql - 1, &statement) == SQLITE_OK) {
        known = sqlite3_step(statement) == SQLITE_ROW;
        if (known) *version = (uint64_t)sqlite3_column_int64(statement, 0);
        sqlite3_reset(statement);
    }
    mp_sqlite_leave();
    return known;
}

static bool gone(void *ctx) {
    const mp_sqlite_commits *c = ctx;
    struct stat st;
    return stat(c->path, &st) != 0 || st.st_ino != c->ino || st.st_dev != c->dev;
}

/* ---- one for a database ---- */

static void free_commits(mp_sqlite_commits *c) {
    mp_shared_close(c->shared);
    if (c->page != NULL) munmap(c->page, page_size());
    mp_sqlite_conn_close(c->conn);
    free(c->path);
    free(c);
}

static int no_memory(pond_error **err, const char *path) {
    return mp_fail(err, POND_ENOMEM, "sqlite:%s: no memory", path);
}

static int make(mp_sqlite_commits **out, const char *path, int64_t timeout_ms, pond_error **err) {
    mp_sqlite_commits *c = calloc(1, sizeof *c);
    if (c == NULL) return no_memory(err, path);
    struct stat st;
    int rc = mp_sqlite_conn_open(&c->conn, path, false, timeout_ms, err);
    if (rc == POND_OK) {
        sqlite3_busy_timeout(c->conn->db, 0); /* a hit waits for nobody */
        c->page = map_index(c->conn);
        if (stat(path, &st) == 0 && !mp_sqlite_conn_moved(c->conn)) { /* else it is gone, and found to be */
            c->dev = st.st_dev;
            c->ino = st.st_ino;
        }
        /* Words 1 to 3: see the format. By the name that SQLite has found behind links: all its names are one file. */
        const mp_commits commits = {.words = c->page != NULL ? (const _Atomic uint64_t *)c->page + 1 : NULL,
                                    .ask = ask,
                                    .gone = gone,
                                    .ctx = c};
        c->path = strdup(path);
        c->shared = c->path != NULL ? mp_shared_open(sqlite3_db_filename(c->conn->db, "main"), &commits) : NULL;
        if (c->shared == NULL) rc = no_memory(err, path);
    }
    if (rc == POND_OK) *out = c;
    else free_commits(c);
    return rc;
}

int mp_sqlite_commits_open(mp_sqlite_commits **out, const char *path, int64_t timeout_ms, pond_error **err) {
    int rc = POND_OK;
    mp_sqlite_commits *found = NULL;
    pthread_mutex_lock(&all.lock);
    for (mp_node *n = all.list.next; n != &all.list; n = n->next)
        if (strcmp(of_node(n)->path, path) == 0 && !gone(of_node(n))) found = of_node(n);
    if (found == NULL && (rc = make(&found, path, timeout_ms, err)) == POND_OK) mp_list_push(&all.list, &found->node);
    if (rc == POND_OK) found->refs++;
    pthread_mutex_unlock(&all.lock);
    *out = found;
    return rc;
}

void mp_sqlite_commits_close(mp_sqlite_commits *c) {
    if (c == NULL) return;
    pthread_mutex_lock(&all.lock);
    bool last = --c->refs == 0;
    if (last) mp_list_remove(&c->node);
    if (last) free_commits(c);
    pthread_mutex_unlock(&all.lock);
}

mp_shared *mp_sqlite_commits_shared(mp_sqlite_commits *c) { return c->shared; }

/* ---- commits of our own ---- */

/* Called by SQLite after each commit to the log: before the checkpoint that may follow, which takes long. */
static int committed(void *ctx, sqlite3 *db, const char *name, int pages) {
    mp_sqlite_conn *conn = ctx;
    mp_shared_committed(conn->shared, conn->turn);
    if (pages >= CHECKPOINT_PAGES) sqlite3_wal_checkpoint_v2(db, name, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    return SQLITE_OK;
}

void mp_sqlite_commits_begin(mp_sqlite_commits *c, mp_sqlite_conn *conn, int64_t wait_ms) {
    conn->shared = c->shared;
    conn->turn = mp_shared_commits(c->shared, wait_ms);
    sqlite3_wal_hook(conn->db, committed, conn);
}

void mp_sqlite_commits_end(mp_sqlite_conn *conn) {
    if (conn->shared != NULL) mp_shared_commits_over(conn->shared, conn->turn);
    conn->shared = NULL;
    conn->turn = NULL;
}

/* ---- forks ---- */

void mp_sqlite_commits_forked(void) {
    pthread_mutex_init(&all.lock, NULL);
    for (mp_node *n = all.list.next; n != &all.list; n = n->next) mp_shared_forked(of_node(n)->shared);
}

void mp_sqlite_commits_leave(void) {
    mp_node *n;
    while ((n = mp_list_shift(&all.list)) != NULL) {
        mp_sqlite_commits *c = of_node(n);
        mp_sqlite_conn_close_inherited(c->conn);
        mp_leave_aside(c);
    }
}
