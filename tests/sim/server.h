/* The simulated Redis: the Lua of redis/, which runs the very scripts of the protocol in Lua 5.1 under the virtual clock. */
#ifndef SIM_SERVER_H
#define SIM_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include "base/buf.h"
#include "dice.h"

typedef struct server server;

/* Scripts that run in place of the protocol's, by name (see mutants.h and naive/). */
typedef struct server_scripts server_scripts;
struct server_scripts {
    const char *name, *text;
    const server_scripts *next;
};

/* `watched`: it sees to the rules that no reader would notice (redis/watch.lua). `tells`: it is new enough to tell clients of changes. */
server *server_new(dice *d, const server_scripts *replaced, bool watched, bool tells);
void server_free(server *s);

/* One command of connection `conn`, `resp` as a client sends it; the reply is appended to `reply`. What it broke of the rules that only a server
 * sees, or NULL; borrowed until the next command. `words`, if not NULL, gets the command and its answer for people. */
const char *server_execute(server *s, unsigned conn, const char *resp, mp_buf *reply, mp_buf *words);
/* After anything that may have changed keys: the next message that the server sends unasked, to connection `*conn`. False: none. */
bool server_push(server *s, unsigned *conn, mp_buf *message);
void server_expire(server *s); /* what has ended, goes */

/* What was accepted into a backlog since. */
typedef enum server_kind { SERVER_RECORD, SERVER_INCREMENT, SERVER_FOLD, SERVER_DROP } server_kind;
typedef struct server_news {
    server_kind kind;
    mp_buf key,
        record; /* the user's key, NUL-terminated; not of an increment: the envelope. DROP: of what they waited with, or empty */
    int64_t version; /* of an increment, or of the newest one in a fold, or that was dropped */
    int64_t first;   /* of the first one that was dropped */
    int64_t rest;    /* of those that a fold or drop has left, from now on; 0: it has left none */
    unsigned by;
} server_news;
/* False: nothing more, and the buffers are free. At first *news is zero. */
bool server_accepted(server *s, server_news *news);
void server_recall(
    server *s); /* server_accepted gives each record that waits, next, and of increments that do the newest's version */
size_t server_waiting(server *s); /* how many entries do */

void server_save(server *s);
typedef enum server_return { SERVER_EMPTY, SERVER_SAVED, SERVER_PROMOTED } server_return;
/* Another process, with nothing, or with what was saved; or a replica that knows no more than that is promoted. */
void server_restart(server *s, server_return how);
void server_new_replid(server *s);
void server_adopt(server *s, const char *run, const char *replid);
void server_flush_scripts(server *s);
/* A key whose name begins with `prefix` goes; its name, borrowed, or NULL if there is none. */
const char *server_evict(server *s, const char *prefix);

#endif
