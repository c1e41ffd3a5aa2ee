/* What the processes of test_shared.c do when they are told to: one pond each over one database, and a source outside of it. */
#ifndef SHARED_ACTS_H
#define SHARED_ACTS_H

#include <signal.h>
#include <sqlite3.h>
#include <sys/mman.h>
#include <unistd.h>

#include <millpond/bulk.h>
#include <millpond/change.h>
#include "base/clock.h"
#include "pattern/pond.h"
#include "store/sqlite_commits.h"
#include "store/sqlite_pool.h"
#include "support/other.h"
#include "support/support.h"

/* What loaders read that the database knows nothing of; seen by all processes. */
static _Atomic int *outside;
static char path[128]; /* of the database */

static pond *mine;
static pond_collection *films;
static pond_tags *tag;

static void must(int code, pond_error *err, const char *what) {
    if (code == POND_OK) return;
    fprintf(stderr, "%s: %s\n", what, err ? pond_error_message(err) : "");
    _exit(3);
}

static void open_mine(const char *cache, const char *consistency) {
    char address[160];
    pond_error *err = NULL;
    const char *const options[] = {"search_consistency", consistency};
    const char *tags[] = {"t"};
    const size_t lens[] = {1};
    snprintf(address, sizeof address, "sqlite:%s", path);
    mine = pond_made(cache, "namespace", "n", "store", address, "intent", "3s", NULL);
    must(pond_collection_new(&films, mine, "films", options, 1, &err), err, "collection");
    must(pond_collection_prepare(films, &err), err, "prepare");
    must(pond_tags_new(&tag, mine, NULL, tags, lens, 1, &err), err, "tags");
}

static void close_mine(void) {
    if (!mine) return;
    pond_tags_free(tag);
    pond_collection_free(films);
    must(pond_close(mine, 5000), NULL, "close");
    pond_free(mine);
    mine = NULL;
}

static void say(char *answer, int code, pond_value *value, pond_error *err) {
    if (code != POND_OK) snprintf(answer, OTHER_LINE, "error: %s", err ? pond_error_message(err) : "?");
    else if (pond_value_state(value) == POND_VALUE)
        snprintf(answer, OTHER_LINE, "%s", (const char *)pond_value_data(value, NULL));
    else snprintf(answer, OTHER_LINE, "%s", pond_value_state(value) == POND_ABSENT ? "(absent)" : "(miss)");
    pond_value_free(value);
    pond_error_free(err);
}

static void load_outside(pond_load *load, void *ctx) {
    char text[16];
    int len = snprintf(text, sizeof text, "%d", atomic_load(outside));
    (void)ctx;
    pond_load_value(load, text, (size_t)len, POND_TEXT, 0);
}

/* What a writer does with the source outside: "5", "5 die" once it has written, "5 fail". */
static void write_outside(pond_writing *writing, void *ctx) {
    const char *how = ctx;
    atomic_store(outside, atoi(how));
    if (strstr(how, "die")) raise(SIGKILL);
    if (strstr(how, "through")) {
        char text[16];
        int len = snprintf(text, sizeof text, "%d", atoi(how));
        must(pond_writing_value(writing, 0, text, (size_t)len, POND_TEXT, NULL), NULL, "value");
    }
    pond_write_done(writing);
}

/* As a stranger: a program with SQLite, which knows nothing of us. */
static void sql(const char *text) {
    sqlite3 *db = NULL;
    char *why = NULL;
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) != SQLITE_OK) _exit(4);
    sqlite3_busy_timeout(db, 5000);
    if (sqlite3_exec(db, text, NULL, NULL, &why) != SQLITE_OK) {
        fprintf(stderr, "%s: %s\n", text, why);
        _exit(4);
    }
    sqlite3_close(db);
}

static int die(void *ctx, sqlite3 *db, const char *name, int pages) {
    raise(SIGKILL);
    return SQLITE_OK;
}

static int stop(void *ctx, sqlite3 *db, const char *name, int pages) {
    raise(SIGSTOP);
    return SQLITE_OK;
}

/* A commit of the library's own that the process does not live to tell of, or that it does not come to. */
static void commit_untold(const char *text, int (*instead)(void *, sqlite3 *, const char *, int)) {
    mp_sqlite_pool *pool = NULL;
    mp_sqlite_conn *conn = NULL;
    mp_shared *shared = NULL;
    if (mp_sqlite_pool_open(&pool, path, 1, 5000, NULL) != POND_OK ||
        mp_sqlite_pool_share(pool, &shared, NULL) != POND_OK || mp_sqlite_take(pool, true, &conn, NULL) != POND_OK ||
        conn->turn == NULL)
        _exit(5);
    sqlite3_wal_hook(conn->db, instead, NULL); /* where the library would tell */
    sqlite3_exec(conn->db, text, NULL, NULL, NULL);
    mp_sqlite_give(pool, conn);
    mp_sqlite_pool_close(pool);
}

/* A commit of the library's own with a stranger's right before it, for which it has waited. */
static void commit_beside(const char *own, const char *strangers) {
    mp_sqlite_pool *pool = NULL;
    mp_sqlite_conn *conn = NULL;
    mp_shared *shared = NULL;
    must(mp_sqlite_pool_open(&pool, path, 1, 5000, NULL), NULL, "pool");
    must(mp_sqlite_pool_share(pool, &shared, NULL), NULL, "share");
    must(mp_sqlite_take(pool, true, &conn, NULL), NULL, "take");
    sql(strangers);
    if (!conn->turn || sqlite3_exec(conn->db, own, NULL, NULL, NULL) != SQLITE_OK) _exit(5);
    mp_sqlite_give(pool, conn);
    mp_sqlite_pool_close(pool);
}

static void change(pond_change_kind kind, const char *id, const char *doc, char *answer) {
    pond_value *now = NULL;
    pond_error *err = NULL;
    int code = pond_collection_change(films, kind, id, strlen(id), doc, doc ? strlen(doc) : 0, NULL, NULL, &now, &err);
    if (now || code != POND_OK) say(answer, code, now, err);
}

static int number_in(const char *doc) {
    const char *at = strstr(doc, "\"n\":");
    return at ? atoi(at + 4) : -1;
}

/* Reads document 1 until its n is `last`. What anybody has seen before a read began nobody reads an older one of. */
static void watch(int last, char *answer) {
    char doc[OTHER_LINE];
    unsigned reads = 0;
    for (int n = -1; n < last; reads++) {
        pond_value *value = NULL;
        pond_error *err = NULL;
        int seen = atomic_load(outside);
        int code = pond_collection_get(films, "1", 1, &value, &err);
        say(doc, code, value, err);
        n = number_in(doc);
        if (n < seen) {
            snprintf(answer, OTHER_LINE, "%.200s after %d", doc, seen);
            return;
        }
        while (seen < n && !atomic_compare_exchange_weak(outside, &seen, n)) continue;
    }
    snprintf(answer, OTHER_LINE, "%u", reads);
}

/* Changes it step by step, now and then as a stranger does. */
static void climb(int last, char *answer) {
    char doc[64];
    for (int n = 1; n <= last; n++) {
        snprintf(doc, sizeof doc, "%s{\"id\":\"1\",\"n\":%d}%s", n % 8 ? "" : "UPDATE films SET doc = '", n,
                 n % 8 ? "" : "'");
        if (n % 8 == 0) sql(doc);
        else change(n % 2 ? POND_UPDATE : POND_REPLACE, "1", doc, answer);
    }
}

/* Keys k0.. of this value, of which the caller is the source. */
static void set_many(size_t n, const char *value) {
    static char names[2000][8];
    static const char *keys[2000];
    static const void *data[2000];
    static size_t lens[2000], data_lens[2000];
    static pond_codec codecs[2000];
    pond_error *err = NULL;
    for (size_t i = 0; i < n && i < 2000; i++) {
        lens[i] = (size_t)snprintf(names[i], sizeof names[i], "k%zu", i);
        keys[i] = names[i];
        data[i] = value;
        data_lens[i] = strlen(value);
        codecs[i] = POND_TEXT;
    }
    must(pond_set_many(mine, keys, lens, data, data_lens, codecs, n, NULL, &err), err, "set_many");
}

/* How many of them are cached, with this value. */
static int count_hits(size_t n, const char *value) {
    int hits = 0;
    for (size_t i = 0; i < n; i++) {
        char key[16];
        size_t len = (size_t)snprintf(key, sizeof key, "k%zu", i);
        pond_value *v = pond_peek(mine, key, len, NULL);
        hits += v && strcmp(pond_value_data(v, NULL), value) == 0;
        pond_value_free(v);
    }
    return hits;
}

static void act(const char *line, char answer[OTHER_LINE]) {
    char verb[32] = "", rest[OTHER_LINE] = "";
    pond_value *value = NULL;
    pond_error *err = NULL;
    if (!line) {
        close_mine();
        return;
    }
    sscanf(line, "%31s %4000[^\n]", verb, rest);
    const char *keys[] = {rest};
    const size_t lens[] = {strlen(rest)};
    char *more = strchr(rest, ' ');
    if (strcmp(verb, "open") == 0) {
        open_mine(*rest ? rest : "memory:shared", "strict");
    } else if (strcmp(verb, "open_bounded") == 0) {
        open_mine("memory:shared", "bounded(2s)");
    } else if (strcmp(verb, "close") == 0) {
        close_mine();
    } else if (strcmp(verb, "get") == 0) {
        int code = pond_collection_get(films, rest, strlen(rest), &value, &err);
        say(answer, code, value, err);
    } else if (strcmp(verb, "find") == 0) {
        int code = pond_collection_find(films, POND_QUERY_TEXT, rest, strlen(rest), &value, &err);
        say(answer, code, value, err);
    } else if (strcmp(verb, "create") == 0 && more) {
        *more = 0;
        change(POND_CREATE, rest, more + 1, answer);
    } else if (strcmp(verb, "replace") == 0 && more) {
        *more = 0;
        change(POND_REPLACE, rest, more + 1, answer);
    } else if (strcmp(verb, "update") == 0 && more) {
        *more = 0;
        change(POND_UPDATE, rest, more + 1, answer);
    } else if (strcmp(verb, "delete") == 0) {
        change(POND_DELETE, rest, NULL, answer);
    } else if (strcmp(verb, "fetch") == 0) {
        int code = pond_fetch(mine, rest, strlen(rest), NULL, load_outside, NULL, &value, &err);
        say(answer, code, value, err);
    } else if (strcmp(verb, "fetch_tagged") == 0) {
        int code = pond_fetch_tagged(mine, rest, strlen(rest), NULL, tag, load_outside, NULL, &value, &err);
        say(answer, code, value, err);
    } else if (strcmp(verb, "peek") == 0) {
        say(answer, POND_OK, pond_peek(mine, rest, strlen(rest), NULL), NULL);
    } else if (strcmp(verb, "invalidate") == 0) {
        must(pond_invalidate(mine, keys, lens, 1, NULL, &err), err, verb);
    } else if (strcmp(verb, "invalidate_tag") == 0) {
        must(pond_invalidate_tagged(mine, NULL, NULL, 0, NULL, tag, &err), err, verb);
    } else if (strcmp(verb, "write") == 0 && more) {
        *more = 0;
        const size_t len[] = {strlen(rest)};
        must(pond_write(mine, keys, len, 1, NULL, tag, write_outside, more + 1, &err), err, verb);
    } else if (strcmp(verb, "set_many") == 0 && more) {
        *more = 0;
        set_many((size_t)atoi(rest), more + 1);
    } else if (strcmp(verb, "count_hits") == 0 && more) {
        *more = 0;
        snprintf(answer, OTHER_LINE, "%d", count_hits((size_t)atoi(rest), more + 1));
    } else if (strcmp(verb, "watch") == 0) {
        watch(atoi(rest), answer);
    } else if (strcmp(verb, "climb") == 0) {
        climb(atoi(rest), answer);
    } else if (strcmp(verb, "sql") == 0) {
        sql(rest);
    } else if (strcmp(verb, "die_untold") == 0) {
        commit_untold(rest, die);
    } else if (strcmp(verb, "stop_untold") == 0) {
        commit_untold(rest, stop);
    } else if (strcmp(verb, "commit_beside") == 0 && strchr(rest, ';')) {
        more = strchr(rest, ';');
        *more = 0;
        commit_beside(rest, more + 1);
    } else if (strcmp(verb, "fork") == 0) {
        other_fork();
    } else if (strcmp(verb, "common") == 0) {
        snprintf(answer, OTHER_LINE, "%s", mine->shared && mp_shared_in_common(mine->shared) ? "yes" : "no");
    } else if (strcmp(verb, "loads") == 0) {
        snprintf(answer, OTHER_LINE, "%llu", (unsigned long long)pond_stat(mine, *rest ? rest : "n/films", "loads"));
    } else {
        snprintf(answer, OTHER_LINE, "what is %s?", verb);
    }
}

#endif
