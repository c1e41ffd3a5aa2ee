#include "store/sqlite_journal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fork.h"
#include "base/quote.h"
#include "base/random.h"
#include "store/sqlite_transact.h"

enum { APPLICATION = 0x6d706a31, /* "mpj1": whose file it is, and in which form */ LOG_BYTES = 4 << 20 };

static const char journal[] = "the journal of write=behind"; /* what errors call it */

/* `place` is the order in which they came. Who was written again while the store got it goes to the end. */
static const char *const tables[] = {
    "CREATE TABLE IF NOT EXISTS space(id INTEGER PRIMARY KEY, ns TEXT NOT NULL UNIQUE, shards INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS waiting(place INTEGER PRIMARY KEY, shard INTEGER NOT NULL, key BLOB NOT NULL, "
    "version INTEGER NOT NULL, first INTEGER NOT NULL, newest INTEGER NOT NULL, fence BLOB, state INTEGER, codec "
    "INTEGER, value BLOB, UNIQUE(shard, key))",
    "CREATE INDEX IF NOT EXISTS waiting_place ON waiting(shard, place)",
    "CREATE TABLE IF NOT EXISTS sums(shard INTEGER NOT NULL, key BLOB NOT NULL, member BLOB NOT NULL, by INTEGER NOT "
    "NULL, PRIMARY KEY(shard, key, member)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS dead(ms INTEGER NOT NULL, n INTEGER NOT NULL, shard INTEGER NOT NULL, key BLOB NOT "
    "NULL, version INTEGER NOT NULL, first INTEGER NOT NULL, newest INTEGER NOT NULL, why BLOB NOT NULL, state "
    "INTEGER, codec INTEGER, value BLOB, PRIMARY KEY(ms, n))",
    "CREATE INDEX IF NOT EXISTS dead_shard ON dead(shard, ms, n)",
    "CREATE TABLE IF NOT EXISTS dead_sums(ms INTEGER NOT NULL, n INTEGER NOT NULL, member BLOB NOT NULL, by INTEGER "
    "NOT NULL, PRIMARY KEY(ms, n, member)) WITHOUT ROWID",
};

int mp_jno_memory(pond_error **err) { return mp_fail(err, POND_ENOMEM, "no memory for %s", journal); }

/* ---- statements ---- */

static int failed(mp_journal *j, pond_error **err) { return mp_sqlite_fail(err, j->conn, journal, NULL, 0); }

static int bind_value(sqlite3_stmt *to, int at, const pond_value *value) {
    size_t len = 0;
    const char *data = pond_value_data(value, &len);
    int rc = sqlite3_bind_int(to, at, pond_value_state(value));
    if (rc == SQLITE_OK) rc = sqlite3_bind_int(to, at + 1, value->codec);
    return rc == SQLITE_OK ? sqlite3_bind_blob64(to, at + 2, data, len, SQLITE_STATIC) : rc;
}

static int bind_all(sqlite3_stmt *to, const char *types, va_list args) {
    int rc = SQLITE_OK;
    for (int at = 1; *types && rc == SQLITE_OK; types++, at++) {
        if (*types == 'i') {
            rc = sqlite3_bind_int64(to, at, va_arg(args, int64_t));
        } else if (*types == 'b') {
            const void *bytes = va_arg(args, const void *);
            rc = sqlite3_bind_blob64(to, at, bytes, va_arg(args, size_t), SQLITE_STATIC);
        } else {
            rc = bind_value(to, at, va_arg(args, const pond_value *));
            at += 2;
        }
    }
    return rc;
}

static int ask(mp_journal *j, sqlite3_stmt **out, pond_error **err, const char *sql, const char *types, va_list args) {
    int rc = mp_sqlite_prepare_named(j->conn, journal, sql, out, err);
    if (rc == POND_OK && bind_all(*out, types, args) != SQLITE_OK) {
        rc = failed(j, err);
        mp_sqlite_done(*out);
    }
    return rc;
}

int mp_jask(mp_journal *j, sqlite3_stmt **out, pond_error **err, const char *sql, const char *types, ...) {
    va_list args;
    va_start(args, types);
    int rc = ask(j, out, err, sql, types, args);
    va_end(args);
    return rc;
}

int mp_jstep(mp_journal *j, sqlite3_stmt *statement, bool *row, pond_error **err) {
    int step = sqlite3_step(statement);
    *row = step == SQLITE_ROW;
    return step == SQLITE_ROW || step == SQLITE_DONE ? POND_OK : failed(j, err);
}

int mp_jrun(mp_journal *j, pond_error **err, const char *sql, const char *types, ...) {
    sqlite3_stmt *statement;
    va_list args;
    va_start(args, types);
    int rc = ask(j, &statement, err, sql, types, args);
    va_end(args);
    if (rc != POND_OK) return rc;
    bool row;
    rc = mp_jstep(j, statement, &row, err);
    mp_sqlite_done(statement);
    return rc;
}

int mp_jnumber(mp_journal *j, int64_t *out, pond_error **err, const char *sql, const char *types, ...) {
    sqlite3_stmt *statement;
    va_list args;
    va_start(args, types);
    int rc = ask(j, &statement, err, sql, types, args);
    va_end(args);
    if (rc != POND_OK) return rc;
    bool row;
    rc = mp_jstep(j, statement, &row, err);
    *out = rc == POND_OK && row ? sqlite3_column_int64(statement, 0) : 0;
    mp_sqlite_done(statement);
    return rc;
}

int mp_jbegin(mp_journal *j, pond_error **err) { return mp_sqlite_run(j->conn, journal, "BEGIN IMMEDIATE", err); }

int mp_jend(mp_journal *j, int rc, pond_error **err) {
    if (rc == POND_OK) rc = mp_sqlite_run(j->conn, journal, "COMMIT", err);
    if (rc != POND_OK) mp_sqlite_conn_tidy(j->conn);
    return rc;
}

/* ---- those that this process has open ---- */

static struct {
    pthread_mutex_t lock;
    mp_node all;
} process = {PTHREAD_MUTEX_INITIALIZER, {&process.all, &process.all}};

static void enter_process(void) {
    mp_unforked_begin();
    pthread_mutex_lock(&process.lock);
}

static void leave_process(void) {
    pthread_mutex_unlock(&process.lock);
    mp_unforked_end();
}

/* A child's copy of the descriptor would hold the lock for as long as the child lives. */
static void after_fork_in_child(void) {
    for (mp_node *n = process.all.next; n != &process.all; n = n->next) close(MP_OF(n, mp_journal, node)->lock);
    mp_list_init(&process.all);
    pthread_mutex_init(&process.lock, NULL);
}

__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(NULL, NULL, after_fork_in_child); }

/* ---- opening ---- */

/* A lock of the open file, on a byte that SQLite has no use for: it goes with the process, and only then. */
static int lock_file(mp_journal *j, pond_error **err) {
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    char shown[MP_QUOTE_MAX];
    mp_quote(shown, j->path, strlen(j->path));
    j->lock = open(j->path, O_RDWR | O_CLOEXEC);
    if (j->lock < 0) return mp_fail(err, POND_EOPTION, "%s %s cannot be opened: %s", journal, shown, strerror(errno));
    if (fcntl(j->lock, F_OFD_SETLK, &whole) == 0) return POND_OK;
    if (errno == EAGAIN || errno == EACCES)
        return mp_fail(err, POND_EOPTION,
                       "%s %s is open in another process: with a memory: cache only one process can write behind, as "
                       "others would not "
                       "see what it has accepted. Give them write=through, or all of them a Redis (cache=redis://...)",
                       journal, shown);
    return mp_fail(err, POND_EOPTION, "%s %s cannot be locked: %s", journal, shown, strerror(errno));
}

static int other_kind(const char *path, pond_error **err) {
    char shown[MP_QUOTE_MAX];
    return mp_fail(err, POND_EOPTION,
                   "%s %s is a file of another kind, or of another version: name another one (journal)", journal,
                   mp_quote(shown, path, strlen(path)));
}

static int make_tables(mp_journal *j, pond_error **err) {
    int64_t application = 0, found = 0;
    int rc = mp_jbegin(j, err);
    if (rc != POND_OK) return rc;
    rc = mp_jnumber(j, &application, err, "PRAGMA application_id", "");
    if (rc == POND_OK) rc = mp_jnumber(j, &found, err, "SELECT count(*) FROM sqlite_schema", "");
    if (rc == POND_OK && application != APPLICATION && (application || found)) rc = other_kind(j->path, err);
    for (size_t i = 0; rc == POND_OK && i < sizeof tables / sizeof tables[0]; i++)
        rc = mp_sqlite_run(j->conn, journal, tables[i], err);
    if (rc == POND_OK && application != APPLICATION)
        rc = mp_sqlite_run(j->conn, journal, "PRAGMA application_id = 1836083761", err);
    return mp_jend(j, rc, err);
}

static int has_none(mp_journal *j, pond_error **err, const char *table, const char *sql) {
    int64_t wrong = 0;
    char shown[MP_QUOTE_MAX];
    int rc = mp_jnumber(j, &wrong, err, sql, "");
    if (rc != POND_OK || !wrong) return rc;
    return mp_fail(err, POND_EPROTOCOL,
                   "%s %s is damaged: its table %s has rows with a place, key or version that no journal gives",
                   journal, mp_quote(shown, j->path, strlen(j->path)), table);
}

/* No journal has such rows: whoever looked for them would not find them, or could take no epoch above theirs, or name no letter behind them. */
static int check_rows(mp_journal *j, pond_error **err) {
    int rc = has_none(j, err, "waiting",
                      "SELECT count(*) FROM waiting WHERE place <= 0 OR place > (1 << 62) OR typeof(key) <> 'blob' OR "
                      "max(version, newest) >> 40 >= 8388607");
    if (rc != POND_OK) return rc;
    return has_none(
        j, err, "dead",
        "SELECT count(*) FROM dead WHERE ms NOT BETWEEN 0 AND 9999999999999 OR n NOT BETWEEN 0 AND 999999999");
}

static int read_places(mp_journal *j, pond_error **err) {
    sqlite3_stmt *statement;
    bool row;
    int rc = mp_jnumber(j, &j->place, err, "SELECT max(place) FROM waiting", "");
    if (rc == POND_OK) rc = check_rows(j, err);
    if (rc == POND_OK) rc = mp_jask(j, &statement, err, "SELECT ms, n FROM dead ORDER BY ms DESC, n DESC LIMIT 1", "");
    if (rc != POND_OK) return rc;
    rc = mp_jstep(j, statement, &row, err);
    if (rc == POND_OK && row) {
        j->dead_ms = sqlite3_column_int64(statement, 0);
        j->dead = sqlite3_column_int64(statement, 1);
    }
    mp_sqlite_done(statement);
    return rc;
}

/* That the file is there must be on the disk before anything in it counts. */
static void sync_folder(const char *path) {
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : NULL;
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(folder);
}

static void destroy(mp_journal *j) {
    mp_sqlite_pool_close(j->pool);
    if (j->lock >= 0) close(j->lock); /* behind SQLite's: closing any descriptor of a file gives up all its locks */
    mp_jspaces_free(j);
    free(j->path);
    free(j);
}

/* Who opens a journal makes changes to it before anything is read, so others' files are told apart before. What cannot be read here is for the
 * opening itself to complain about. */
static int look_first(const char *path, pond_error **err) {
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    int64_t application = 0, found = 0;
    if (!mp_sqlite_enter()) return POND_OK;
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(db, "SELECT application_id, (SELECT count(*) FROM sqlite_schema) FROM pragma_application_id",
                           -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW) {
        application = sqlite3_column_int64(statement, 0);
        found = sqlite3_column_int64(statement, 1);
    }
    sqlite3_finalize(statement);
    sqlite3_close(db);
    mp_sqlite_leave();
    return application != APPLICATION && (application || found) ? other_kind(path, err) : POND_OK;
}

/* The process's list is locked. */
static mp_journal *find(const char *path) {
    for (mp_node *n = process.all.next; n != &process.all; n = n->next)
        if (strcmp(MP_OF(n, mp_journal, node)->path, path) == 0) return MP_OF(n, mp_journal, node);
    return NULL;
}

static int share(mp_journal **out, mp_journal *known, const void *cache, pond_error **err) {
    char shown[MP_QUOTE_MAX];
    if (known->cache != cache)
        return mp_fail(
            err, POND_EOPTION,
            "%s %s is open in this process with another cache: open all ponds on it with the same name, memory:name",
            journal, mp_quote(shown, known->path, strlen(known->path)));
    known->refs++;
    *out = known;
    return POND_OK;
}

static int begin(mp_journal *j, pond_error **err) {
    int rc = lock_file(j, err);
    if (rc == POND_OK) rc = mp_journal_enter(j, err);
    if (rc != POND_OK) return rc;
    rc = make_tables(j, err);
    if (rc == POND_OK) rc = read_places(j, err);
    mp_journal_leave(j);
    if (rc == POND_OK) sync_folder(j->path);
    return rc;
}

/* The file is none of the store's, whose word the pool has. */
static int open_pool(mp_journal *j, const char *path, int64_t timeout_ms, pond_error **err) {
    pond_error *why = NULL;
    int rc = mp_sqlite_pool_open(&j->pool, path, 2, timeout_ms, &why);
    if (rc == POND_OK) return POND_OK;
    if (rc == POND_EURL) rc = POND_EOPTION;
    const char *text = pond_error_message(why), *store = "store: ";
    if (strncmp(text, store, strlen(store)) == 0) text += strlen(store);
    if (err) *err = mp_error_new_retriable(rc, pond_error_retriable(why), "%s: %s", journal, text);
    pond_error_free(why);
    return rc;
}

int mp_journal_open(mp_journal **out, const char *path, void *cache, void (*over)(void *cache), int64_t timeout_ms,
                    pond_error **err) {
    mp_journal *j = calloc(1, sizeof *j);
    if (!j) return mp_jno_memory(err);
    j->lock = -1;
    j->refs = 1;
    j->generation = mp_generation();
    j->cache = cache;
    j->over = over;
    mp_random_bytes(j->fence, sizeof j->fence);
    int rc = look_first(path, err);
    if (rc == POND_OK) rc = open_pool(j, path, timeout_ms, err);
    if (rc == POND_OK) {
        mp_sqlite_pool_relax(j->pool);
        j->path = strdup(mp_sqlite_pool_path(j->pool));
        if (!j->path) rc = mp_jno_memory(err);
    }
    if (rc != POND_OK) {
        destroy(j);
        return rc;
    }
    enter_process();
    mp_journal *known = find(j->path);
    rc = known ? share(out, known, cache, err) : begin(j, err);
    if (!known && rc == POND_OK) {
        mp_list_push(&process.all, &j->node);
        *out = j;
    }
    leave_process();
    if (known || rc != POND_OK) destroy(j);
    return rc;
}

mp_journal *mp_journal_ref(mp_journal *j) {
    enter_process();
    j->refs++;
    leave_process();
    return j;
}

void mp_journal_close(mp_journal *j) {
    if (!j) return;
    if (j->generation != mp_generation()) {
        mp_leave_aside(j);
        return;
    }
    enter_process();
    bool last = --j->refs == 0;
    if (last) {
        mp_list_remove(&j->node);
        j->over(j->cache);
        destroy(j); /* within the lock: who opens it next must find it closed */
    }
    leave_process();
}

const uint8_t *mp_journal_fence(const mp_journal *j) { return j->fence; }

/* ---- a turn ---- */

int mp_journal_enter(mp_journal *j, pond_error **err) {
    mp_sqlite_conn *conn;
    int rc = mp_sqlite_take(j->pool, true, &conn, err);
    if (rc == POND_OK) j->conn = conn;
    return rc;
}

void mp_journal_leave(mp_journal *j) {
    mp_sqlite_conn *conn = j->conn;
    j->conn = NULL;
    mp_sqlite_give(j->pool, conn);
}

/* ---- the disk ---- */

/* Everything that is committed stands in the log, or in the file since a checkpoint, which does not empty the log before the file is on
 * the disk. So this is what SQLite's synchronous=FULL does behind a commit, but for all that wait at once, and beside those who write. Once it
 * has failed it does for good: the system tells one caller of what it could not write, and what it has dropped then waits for nobody. */
int mp_journal_sync(mp_journal *j, pond_error **err) {
    size_t len = strlen(j->path);
    char *log = malloc(len + 5);
    if (!log) return mp_jno_memory(err);
    memcpy(log, j->path, len);
    memcpy(log + len, "-wal", 5);
    int fd = open(log, O_RDONLY | O_CLOEXEC);
    free(log);
    int why = fd >= 0 || errno == ENOENT ? 0 : errno;
    if (fd >= 0 && fdatasync(fd) != 0) {
        why = errno;
        atomic_store(&j->unsafe, why);
    }
    if (fd >= 0) close(fd);
    if (!why) why = atomic_load(&j->unsafe);
    return why ? mp_fail(err, POND_ESTORE, "%s: it cannot be written to the disk: %s", journal, strerror(why))
               : POND_OK;
}

static void checkpoint(mp_journal *j, bool alone) {
    mp_sqlite_conn *conn;
    if (mp_sqlite_take(j->pool, alone, &conn, NULL) != POND_OK) return;
    sqlite3_wal_checkpoint_v2(conn->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    mp_sqlite_give(j->pool, conn);
}

/* First most of it beside those who write, then what they have written meanwhile, so that the log begins anew. */
void mp_journal_tidy(mp_journal *j) {
    if (atomic_load_explicit(&j->written, memory_order_relaxed) < LOG_BYTES) return;
    atomic_store_explicit(&j->written, 0, memory_order_relaxed);
    checkpoint(j, false);
    checkpoint(j, true);
}
