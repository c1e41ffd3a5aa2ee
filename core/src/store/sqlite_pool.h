/* Connections to one SQLite database, lent to one thread at a time.
 *
 * They are opened when they are first needed, up to a bound; who finds none waits. SQLite has one writer at a time, so
 * writers of this process wait here for their turn, woken and not polling; writers of other processes are waited for by
 * SQLite's busy timeout.
 *
 * fork(): a child may neither use nor just leak what it inherits. SQLite counts the locks of a process in its memory, so
 * a connection that a child opens beside inherited ones would count on locks that only the parent holds, and the
 * parent's last close would delete a log that the child still writes to. So the child's first call closes what it
 * inherited, in all pools, without the checkpoint that belongs to a close, and opens its own. That is safe only if no call
 * was under way when the process forked, so a fork waits for that, up to 100 ms. If it waited in vain, and for :memory:,
 * every call in the child is an error that says so. */
#ifndef MP_STORE_SQLITE_POOL_H
#define MP_STORE_SQLITE_POOL_H

#include <stdbool.h>
#include <stdint.h>
#include "engine/shared.h"
#include "store/sqlite_conn.h"

typedef struct mp_sqlite_pool mp_sqlite_pool;

/* `path` is what follows "sqlite:" in an address. Opens the first connection. POND_EURL: the path cannot be used;
 * POND_ESTORE: SQLite cannot open it. */
int mp_sqlite_pool_open(mp_sqlite_pool **out, const char *path, unsigned max, int64_t timeout_ms, pond_error **err);
/* Every connection was given back. Takes NULL. */
void mp_sqlite_pool_close(mp_sqlite_pool *pool);

/* Its commits are not waited for on the disk any more, and leave the log to who tidies it, up to 64 MiB. Before any other call. */
void mp_sqlite_pool_relax(mp_sqlite_pool *pool);
/* Absolute; the pool's. */
const char *mp_sqlite_pool_path(const mp_sqlite_pool *pool);

/* What the processes that have this database open tell each other; what borrowers that write commit is told of from then on. The
 * pool's. NULL: nobody else can have this database open. Before any call, and again in the child of a fork. */
int mp_sqlite_pool_share(mp_sqlite_pool *pool, mp_shared **out, pond_error **err);

/* Around what uses SQLite without a borrowed connection, and what must not be half done in a fork. False: not entered, as this is the child
 * of a fork that came at a bad time. Not within each other. */
bool mp_sqlite_enter(void);
void mp_sqlite_leave(void);

/* A connection outside any transaction, the caller's own until it is given back, by the same thread. POND_ESTORE: retriable if the time is
 * over before there is one, or before the writer's turn comes; not if the file was removed or replaced (a writer finds
 * out at once, readers within 100 ms). */
int mp_sqlite_take(mp_sqlite_pool *pool, bool writes, mp_sqlite_conn **out, pond_error **err);
void mp_sqlite_give(mp_sqlite_pool *pool, mp_sqlite_conn *conn);

#endif
