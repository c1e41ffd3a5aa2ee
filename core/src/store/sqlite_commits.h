/* How commits to a SQLite database are seen, whoever makes them, and by it what its processes tell each other (engine/shared.h).
 *
 * In WAL mode all processes that have the database open share its WAL-index, whose header changes with every commit (SQLite's
 * file format, "The WAL-Index File Format"): a count of commits, the length of the log, its checksum. A second mapping of that page
 * is read without a call. Elsewhere (a rollback journal, a file that may only be read) PRAGMA data_version is asked, for
 * microseconds.
 *
 * A process has one of these for a database, whatever the number of its ponds. */
#ifndef MP_STORE_SQLITE_COMMITS_H
#define MP_STORE_SQLITE_COMMITS_H

#include "engine/shared.h"
#include "store/sqlite_conn.h"

typedef struct mp_sqlite_commits mp_sqlite_commits;

/* The caller is in mp_sqlite_enter, for all but the two of forks. `path` is absolute and stands for a database that is open. */
int mp_sqlite_commits_open(mp_sqlite_commits **out, const char *path, int64_t timeout_ms, pond_error **err);
/* Takes NULL. */
void mp_sqlite_commits_close(mp_sqlite_commits *c);
mp_shared *mp_sqlite_commits_shared(mp_sqlite_commits *c);

/* What this connection commits is told of, until the end, which takes any connection. `wait_ms` as in mp_shared_commits. */
void mp_sqlite_commits_begin(mp_sqlite_commits *c, mp_sqlite_conn *conn, int64_t wait_ms);
void mp_sqlite_commits_end(mp_sqlite_conn *conn);

/* In the child of a fork, at once. */
void mp_sqlite_commits_forked(void);
/* Later, when all that was inherited is closed: the ponds open their own. */
void mp_sqlite_commits_leave(void);

#endif
