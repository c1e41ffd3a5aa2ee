#include "store/sqlite_pool.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fork.h"
#include "base/list.h"
#include "base/quote.h"
#include "store/sqlite_commits.h"

enum { LOOK_MS = 100, FORK_WAIT_MS = 100, TURN_WAIT_MS = 1000 };

/* What belongs to one process. */
typedef struct crew {
    const char *broken; /* why no call can be served, or NULL */
    pthread_mutex_t lock;
    pthread_cond_t returned; /* a connection came back, or the right to open one */
    pthread_cond_t turn;     /* the writer is done */
    mp_sqlite_conn *idle;    /* the last one used is first: its caches are warm */
    unsigned open;           /* connections, idle or lent, or just being opened */
    bool writing;
} crew;

struct mp_sqlite_pool {
    mp_node node; /* in `process` */
    char *path;
    unsigned max;
    bool relaxed;
    int64_t timeout_ms;
    _Atomic(crew *) crew;       /* NULL: a child's, to be made */
    mp_sqlite_commits *commits; /* NULL: nobody asks for them, or a child's */
};

/* The address. */

static int bad_path(pond_error **err, const char *path, const char *why) {
    char shown[MP_QUOTE_MAX];
    return mp_fail(err, POND_EURL, "store: the path %s of the sqlite: address %s", mp_quote(shown, path, strlen(path)),
                   why);
}

static int no_memory(pond_error **err, const char *path) {
    return mp_fail(err, POND_ENOMEM, "sqlite:%s: no memory", path);
}

/* The folder of `path`, without links and dots, into *out. */
static int find_folder(char **out, const char *path, pond_error **err) {
    const char *slash = strrchr(path, '/');
    char *folder = slash == NULL ? strdup(".") : slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
    if (folder == NULL) return no_memory(err, path);
    struct stat st;
    int why = 0, rc = POND_OK;
    *out = realpath(folder, NULL);
    if (*out == NULL || stat(*out, &st) != 0) why = errno;
    else if (!S_ISDIR(st.st_mode)) why = ENOTDIR;
    if (why == ENOMEM) rc = no_memory(err, path);
    else if (why != 0) {
        char shown[MP_QUOTE_MAX], file[MP_QUOTE_MAX];
        rc = mp_fail(err, POND_EURL, "store: sqlite: cannot make or open %s: its folder %s cannot be used: %s",
                     mp_quote(file, path, strlen(path)), mp_quote(shown, folder, strlen(folder)), strerror(why));
    }
    free(folder);
    if (rc == POND_OK) return POND_OK;
    free(*out);
    *out = NULL;
    return rc;
}

/* An absolute path, since connections are opened later too and the process may have changed its directory by then. */
static int resolve(char **out, const char *path, pond_error **err) {
    char *folder = NULL, *whole = NULL;
    int rc = find_folder(&folder, path, err);
    if (rc != POND_OK) return rc;
    const char *slash = strrchr(path, '/');
    int len = asprintf(&whole, "%s/%s", strcmp(folder, "/") == 0 ? "" : folder, slash != NULL ? slash + 1 : path);
    free(folder);
    if (len < 0) return no_memory(err, path);
    struct stat st;
    if (stat(whole, &st) == 0 && S_ISDIR(st.st_mode)) {
        free(whole);
        return bad_path(err, path, "is a folder: name a file in it");
    }
    *out = whole;
    return POND_OK;
}

static int check_path(char **out, const char *path, pond_error **err) {
    size_t len = strlen(path);
    if (len == 0) return mp_fail(err, POND_EURL, "store: the address sqlite: names no file: write sqlite:shop.db");
    if (strcmp(path, ":memory:") == 0) {
        *out = strdup(path);
        return *out != NULL ? POND_OK : no_memory(err, path);
    }
    if (strncmp(path, "//", 2) == 0)
        return bad_path(err, path, "begins with two slashes: write sqlite:shop.db or sqlite:/var/lib/shop.db");
    if (strncmp(path, "file:", 5) == 0) return bad_path(err, path, "is a URI: write the file's path");
    if (path[0] == ':') return bad_path(err, path, "begins with a colon, but is not :memory:");
    if (strchr(path, '?') != NULL) return bad_path(err, path, "has a ?: sqlite: takes no parameters");
    if (path[len - 1] == '/') return bad_path(err, path, "is a folder: name a file in it");
    return resolve(out, path, err);
}

/* The crew. */

static crew *crew_new(void) {
    crew *c = calloc(1, sizeof *c);
    if (c == NULL) return NULL;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->returned, &monotonic);
    pthread_cond_init(&c->turn, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return c;
}

static void crew_free(crew *c) {
    pthread_cond_destroy(&c->turn);
    pthread_cond_destroy(&c->returned);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* Closes all that is idle: `close` knows how. */
static void dismiss(crew *c, void (*close)(mp_sqlite_conn *)) {
    for (mp_sqlite_conn *conn; (conn = c->idle) != NULL;) {
        c->idle = conn->next;
        close(conn);
    }
}

static bool is_memory(const mp_sqlite_pool *pool) { return strcmp(pool->path, ":memory:") == 0; }

/* fork(). Whoever is in SQLite, or changes a list of connections or of pools, holds `calls` for reading; a fork waits a little
 * until nobody does. If it waited in vain, SQLite's own locks and lists may be in any state in the child. */

#ifdef PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP
#define CALLS_INITIALIZER PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP /* a fork does not wait behind new calls */
#else
#define CALLS_INITIALIZER PTHREAD_RWLOCK_INITIALIZER
#endif

static pthread_rwlock_t calls = CALLS_INITIALIZER;
static _Thread_local bool held; /* by this thread, which forks */

static struct {
    pthread_mutex_t lock;
    _Atomic uint32_t generation; /* whose the crews are */
    bool useless;                /* see above */
    mp_node pools;
} process = {.lock = PTHREAD_MUTEX_INITIALIZER, .pools = {&process.pools, &process.pools}};

static void before_fork(void) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += FORK_WAIT_MS * 1000000l;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    held = pthread_rwlock_timedwrlock(&calls, &until) == 0;
}

static void after_fork(void) {
    if (held) pthread_rwlock_unlock(&calls);
}

static void after_fork_in_child(void) {
    calls = (pthread_rwlock_t)CALLS_INITIALIZER;
    pthread_mutex_init(&process.lock, NULL);
    process.useless = process.useless || !held;
    if (held) mp_sqlite_commits_forked();
}

__attribute__((constructor)) static void watch_forks(void) {
    pthread_atfork(before_fork, after_fork, after_fork_in_child);
}

/* All pools at once, whichever is used: SQLite counts by file, not by pool. */
static void leave_inherited(void) {
    for (mp_node *n = process.pools.next; n != &process.pools; n = n->next) {
        mp_sqlite_pool *pool = MP_OF(n, mp_sqlite_pool, node);
        crew *parents = atomic_load(&pool->crew);
        if (parents != NULL && !is_memory(pool)) dismiss(parents, mp_sqlite_conn_close_inherited);
        mp_leave_aside(parents);
        atomic_store(&pool->crew, NULL);
        pool->commits = NULL;
    }
    mp_sqlite_commits_leave();
}

static int useless(pond_error **err) {
    if (err != NULL)
        *err = mp_error_new_retriable(
            POND_ESTORE, 0,
            "sqlite: the process forked while a call to SQLite was under way, and its child cannot use "
            "SQLite: fork before the first call, or start the child anew (spawn)");
    return POND_ESTORE;
}

/* `calls` held: nothing of a parent's is among what SQLite has open in this process. */
static int be_this_process(pond_error **err) {
    if (process.useless) return useless(err);
    if (atomic_load(&process.generation) == mp_generation()) return POND_OK;
    pthread_mutex_lock(&process.lock);
    if (atomic_load(&process.generation) != mp_generation()) {
        leave_inherited();
        atomic_store(&process.generation, mp_generation());
    }
    pthread_mutex_unlock(&process.lock);
    return POND_OK;
}

bool mp_sqlite_enter(void) {
    pthread_rwlock_rdlock(&calls);
    if (be_this_process(NULL) == POND_OK) return true;
    pthread_rwlock_unlock(&calls);
    return false;
}

void mp_sqlite_leave(void) { pthread_rwlock_unlock(&calls); }

/* The crew of a pool that was open before the fork. */
static crew *crew_in_child(mp_sqlite_pool *pool) {
    pthread_mutex_lock(&process.lock);
    crew *c = atomic_load(&pool->crew);
    if (c == NULL && (c = crew_new()) != NULL) {
        if (is_memory(pool))
            c->broken =
                "sqlite::memory: stays with the process that opened it, and this one is its child by fork(): open "
                "the pond after the fork";
        atomic_store(&pool->crew, c);
    }
    pthread_mutex_unlock(&process.lock);
    return c;
}

/* `calls` held. This process's crew. */
static int crew_of(mp_sqlite_pool *pool, crew **out, pond_error **err) {
    int rc = be_this_process(err);
    if (rc != POND_OK) return rc;
    *out = atomic_load(&pool->crew);
    if (*out == NULL) *out = crew_in_child(pool);
    return *out != NULL ? POND_OK : no_memory(err, pool->path);
}

int mp_sqlite_pool_open(mp_sqlite_pool **out, const char *path, unsigned max, int64_t timeout_ms, pond_error **err) {
    char *real = NULL;
    int rc = check_path(&real, path, err);
    if (rc == POND_OK) rc = mp_sqlite_version_check(sqlite3_libversion_number(), sqlite3_libversion(), err);
    if (rc == POND_OK && sqlite3_threadsafe() == 0)
        rc =
            mp_fail(err, POND_ESTORE, "this SQLite was built without threads (SQLITE_THREADSAFE=0) and cannot be used");
    if (rc != POND_OK) {
        free(real);
        return rc;
    }
    mp_sqlite_pool *pool = calloc(1, sizeof *pool);
    crew *c = crew_new();
    if (pool == NULL || c == NULL) rc = no_memory(err, path);
    pthread_rwlock_rdlock(&calls);
    if (rc == POND_OK) rc = be_this_process(err);
    if (rc == POND_OK) rc = mp_sqlite_conn_open(&c->idle, real, true, timeout_ms, err);
    if (rc == POND_OK) {
        pthread_mutex_lock(&process.lock);
        mp_list_push(&process.pools, &pool->node);
        pthread_mutex_unlock(&process.lock);
    }
    pthread_rwlock_unlock(&calls);
    if (rc != POND_OK) {
        if (c != NULL) crew_free(c);
        free(pool);
        free(real);
        return rc;
    }
    c->open = 1;
    pool->path = real;
    pool->max = is_memory(pool) || max < 1 ? 1 : max;
    pool->timeout_ms = timeout_ms;
    atomic_init(&pool->crew, c);
    *out = pool;
    return POND_OK;
}

void mp_sqlite_pool_relax(mp_sqlite_pool *pool) { pool->relaxed = true; }
const char *mp_sqlite_pool_path(const mp_sqlite_pool *pool) { return pool->path; }

/* In a child that cannot use SQLite what was shared with others is not known any more: only the store's calls say why. */
int mp_sqlite_pool_share(mp_sqlite_pool *pool, mp_shared **out, pond_error **err) {
    if (is_memory(pool)) return POND_OK;
    if (!mp_sqlite_enter()) {
        if (*out != NULL) mp_shared_lose(*out);
        return POND_OK;
    }
    int rc = POND_OK;
    if (pool->commits == NULL) rc = mp_sqlite_commits_open(&pool->commits, pool->path, pool->timeout_ms, err);
    if (rc == POND_OK) *out = mp_sqlite_commits_shared(pool->commits);
    mp_sqlite_leave();
    return rc;
}

void mp_sqlite_pool_close(mp_sqlite_pool *pool) {
    if (pool == NULL) return;
    pthread_rwlock_rdlock(&calls);
    bool usable = be_this_process(NULL) == POND_OK;
    crew *c = atomic_load(&pool->crew);
    if (usable) {
        pthread_mutex_lock(&process.lock);
        mp_list_remove(&pool->node);
        pthread_mutex_unlock(&process.lock);
        if (c != NULL) dismiss(c, mp_sqlite_conn_close);
        mp_sqlite_commits_close(pool->commits);
    }
    pthread_rwlock_unlock(&calls);
    if (!usable) {
        mp_leave_aside(pool);
        return;
    }
    if (c != NULL) crew_free(c);
    free(pool->path);
    free(pool);
}

/* Lending. */

static int too_late(const mp_sqlite_pool *pool, pond_error **err, const char *what) {
    return mp_fail(err, POND_ESTORE, "sqlite:%s: %s for longer than store_timeout (%lld ms)", pool->path, what,
                   (long long)pool->timeout_ms);
}

/* Waits until `deadline`, which the first wait of a call sets; false: it is over. Who waits holds up no fork. */
static bool wait_for(mp_sqlite_pool *pool, crew *c, pthread_cond_t *cond, struct timespec *deadline) {
    if (deadline->tv_sec == 0) {
        clock_gettime(CLOCK_MONOTONIC, deadline);
        int64_t ns = deadline->tv_nsec + pool->timeout_ms % 1000 * 1000000;
        deadline->tv_sec += (time_t)(pool->timeout_ms / 1000 + ns / 1000000000);
        deadline->tv_nsec = (long)(ns % 1000000000);
    }
    pthread_rwlock_unlock(&calls);
    bool in_time = pthread_cond_timedwait(cond, &c->lock, deadline) != ETIMEDOUT;
    pthread_mutex_unlock(&c->lock);
    pthread_rwlock_rdlock(&calls);
    pthread_mutex_lock(&c->lock);
    return in_time;
}

/* Lock held, and dropped while a connection is opened. */
static int lend(mp_sqlite_pool *pool, crew *c, struct timespec *deadline, mp_sqlite_conn **out, pond_error **err) {
    while (c->idle == NULL && c->open >= pool->max)
        if (!wait_for(pool, c, &c->returned, deadline) && c->idle == NULL && c->open >= pool->max)
            return too_late(pool, err, "all connections were busy");
    if (c->idle != NULL) {
        *out = c->idle;
        c->idle = (*out)->next;
        return POND_OK;
    }
    c->open++;
    pthread_mutex_unlock(&c->lock);
    /* It does not make the file, not even as the first of a child: it was there. */
    int rc = mp_sqlite_conn_open(out, pool->path, false, pool->timeout_ms, err);
    pthread_mutex_lock(&c->lock);
    if (rc != POND_OK) {
        c->open--;
        pthread_cond_signal(&c->returned);
    }
    return rc;
}

static void end_turn(crew *c) {
    c->writing = false;
    pthread_cond_signal(&c->turn);
}

/* SQLite itself goes on with a file that was deleted or replaced (restored from a backup): what is written is lost. A look
 * costs about a fifth of a read, so reads look only now and then. */
static bool in_place(mp_sqlite_conn *conn, bool writes) {
    int64_t now = mp_clock_ms();
    if (!writes && now - conn->looked_ms < LOOK_MS) return true;
    if (mp_sqlite_conn_moved(conn)) return false;
    conn->looked_ms = now;
    return true;
}

static int take(mp_sqlite_pool *pool, bool writes, mp_sqlite_conn **out, pond_error **err) {
    crew *c;
    int rc = crew_of(pool, &c, err);
    if (rc != POND_OK) return rc;
    if (c->broken != NULL) {
        if (err != NULL) *err = mp_error_new_retriable(POND_ESTORE, 0, "sqlite:%s: %s", pool->path, c->broken);
        return POND_ESTORE;
    }
    struct timespec deadline = {0};
    pthread_mutex_lock(&c->lock);
    while (writes && c->writing && rc == POND_OK)
        if (!wait_for(pool, c, &c->turn, &deadline) && c->writing)
            rc = too_late(pool, err, "another write of this process was under way");
    if (rc == POND_OK) {
        if (writes) c->writing = true;
        rc = lend(pool, c, &deadline, out, err);
        if (rc == POND_OK) (*out)->writes = writes;
        else if (writes) end_turn(c);
    }
    pthread_mutex_unlock(&c->lock);
    return rc;
}

int mp_sqlite_take(mp_sqlite_pool *pool, bool writes, mp_sqlite_conn **out, pond_error **err) {
    pthread_rwlock_rdlock(&calls); /* until mp_sqlite_give */
    int rc = take(pool, writes, out, err);
    if (rc != POND_OK) {
        pthread_rwlock_unlock(&calls);
        return rc;
    }
    if (!mp_sqlite_conn_tidy(*out) ||
        (pool->relaxed && !mp_sqlite_conn_relax(*out))) { /* left over, see mp_sqlite_give */
        mp_sqlite_give(pool, *out);
        return no_memory(err, pool->path);
    }
    if (in_place(*out, writes)) {
        int64_t wait = pool->timeout_ms < TURN_WAIT_MS ? pool->timeout_ms : TURN_WAIT_MS;
        if (writes && pool->commits != NULL) mp_sqlite_commits_begin(pool->commits, *out, wait);
        return POND_OK;
    }
    mp_sqlite_give(pool, *out);
    if (err != NULL)
        *err =
            mp_error_new_retriable(POND_ESTORE, 0,
                                   "sqlite:%s: the file was removed or replaced while it was open: close the pond, and "
                                   "open it again",
                                   pool->path);
    return POND_ESTORE;
}

/* One that cannot get out of its transaction is closed, which does it; but the one that is the database itself must stay. */
void mp_sqlite_give(mp_sqlite_pool *pool, mp_sqlite_conn *conn) {
    crew *c = atomic_load(&pool->crew);
    bool writes = conn->writes, lost = !mp_sqlite_conn_tidy(conn) && !is_memory(pool);
    mp_sqlite_commits_end(conn);
    if (lost) mp_sqlite_conn_close(conn);
    pthread_mutex_lock(&c->lock);
    if (writes) end_turn(c);
    if (lost) c->open--;
    else {
        conn->next = c->idle;
        c->idle = conn;
    }
    pthread_cond_signal(&c->returned);
    pthread_mutex_unlock(&c->lock);
    pthread_rwlock_unlock(&calls);
}
