#include "cache/redis_conn.h"

#include <errno.h>
#include <hiredis/async.h>
#include <hiredis/sds.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/random.h"
#include "cache/redis_reply.h"

#define EARLY_FLUSH 128 /* commands: a longer turn is sent in pieces, so that the server works meanwhile (32: 10 % slower on one CPU) */
#define BACKOFF_FIRST_MS 20
#define BACKOFF_LAST_MS 1000
#define UNSENT_MAX (64u << 20)

struct mp_conn {
    mp_loop *loop;
    const mp_address *address;
    int64_t connect_timeout;
    mp_conn_events events;
    mp_conn_state state;

    redisAsyncContext *ctx;
    mp_watch watch;
    bool reading, writing; /* what hiredis wants */
    bool blocked;          /* the socket took not all: wait until it is writable */
    mp_task flush;
    unsigned unflushed;

    mp_node sent;      /* commands without a reply, oldest first */
    mp_timer timer;    /* the earliest deadline, or the connection's */
    int64_t last_read;

    pond_error *why;   /* why it is down */
    int64_t retry_at;
    unsigned failures;
    bool dropping;
    bool busy;          /* hiredis is on the stack: it must not be made to free its context now */
    mp_task drop_later;
};

static mp_conn *of(void *data) { return data; }

static void update_watch(mp_conn *c) {
    bool connecting = c->state == MP_CONN_CONNECTING;
    mp_loop_watch(c->loop, &c->watch, c->reading, c->writing && (c->blocked || connecting));
}

/* ---- hooks that hiredis calls ---- */

static void add_read(void *data) {
    of(data)->reading = true;
    update_watch(data);
}

static void del_read(void *data) {
    of(data)->reading = false;
    update_watch(data);
}

static void add_write(void *data) {
    mp_conn *c = data;
    c->writing = true;
    if (c->state == MP_CONN_CONNECTING || c->blocked) update_watch(c);
    else mp_loop_defer(c->loop, &c->flush); /* once a turn, not once a command */
}

static void del_write(void *data) {
    of(data)->writing = of(data)->blocked = false;
    update_watch(data);
}

static void clean_up(void *data) {
    mp_conn *c = data;
    c->reading = c->writing = c->blocked = false;
    update_watch(c);
    mp_loop_unpost(c->loop, &c->flush);
    c->unflushed = 0;
}

static void handle(mp_conn *c, void (*what)(redisAsyncContext *)) {
    bool outer = c->busy;
    c->busy = true;
    what(c->ctx);
    c->busy = outer;
}

static void run_flush(mp_task *task) {
    mp_conn *c = MP_OF(task, mp_conn, flush);
    c->unflushed = 0;
    if (!c->ctx || !c->writing || c->blocked || c->state == MP_CONN_CONNECTING) return;
    handle(c, redisAsyncHandleWrite);
    if (!c->ctx || !c->writing) return;
    mp_loop_unpost(c->loop, &c->flush); /* hiredis asked again: the socket is full */
    c->blocked = true;
    update_watch(c);
}

static void socket_ready(mp_watch *watch, bool readable, bool writable) {
    mp_conn *c = MP_OF(watch, mp_conn, watch);
    if (writable && c->ctx && c->writing) {
        c->blocked = false;
        handle(c, redisAsyncHandleWrite);
        if (c->ctx && c->writing && c->state != MP_CONN_CONNECTING) {
            mp_loop_unpost(c->loop, &c->flush);
            c->blocked = true;
            update_watch(c);
        }
    }
    if (readable && c->ctx && c->reading) {
        c->last_read = mp_loop_now(c->loop);
        handle(c, redisAsyncHandleRead);
    }
}

/* ---- life ---- */

static void set_why(mp_conn *c, pond_error *why) {
    if (c->why == why) return;
    pond_error_free(c->why);
    c->why = why;
}

static void go_down(mp_conn *c) {
    c->ctx = NULL;
    c->state = MP_CONN_DOWN;
    mp_loop_timer_stop(c->loop, &c->timer);
    int64_t pause = BACKOFF_FIRST_MS << (c->failures < 6 ? c->failures : 6);
    if (pause > BACKOFF_LAST_MS) pause = BACKOFF_LAST_MS;
    c->failures++;
    c->retry_at = mp_loop_now(c->loop) + pause / 2 + (int64_t)mp_random_below((uint32_t)(pause / 2) + 1);
    if (!c->why) set_why(c, mp_error_new(POND_ECACHE, "cache %s: the connection was lost", c->address->shown));
    if (c->events.lost) c->events.lost(c->events.owner, c->why);
}

static void on_connect(const redisAsyncContext *ctx, int status) {
    mp_conn *c = ctx->data;
    if (!c || c->dropping) return;
    if (status != REDIS_OK) {
        set_why(c, mp_error_new(POND_ECACHE, "cache %s: %s", c->address->shown, *ctx->errstr ? ctx->errstr : "cannot connect"));
        go_down(c); /* hiredis frees the context */
        return;
    }
    c->state = MP_CONN_HANDSHAKE;
    c->last_read = mp_loop_now(c->loop);
    update_watch(c);
    c->events.connected(c->events.owner);
}

static void on_disconnect(const redisAsyncContext *ctx, int status) {
    mp_conn *c = ctx->data;
    if (!c || c->dropping) return;
    if (status != REDIS_OK && *ctx->errstr)
        set_why(c, mp_error_new(POND_ECACHE, "cache %s: %s", c->address->shown, ctx->errstr));
    go_down(c);
}

static void free_context(mp_conn *c) {
    if (!c->ctx) return;
    c->dropping = true;
    redisAsyncContext *ctx = c->ctx;
    redisAsyncFree(ctx); /* ends every command with a NULL reply; from within a callback it is put off to its end */
    c->dropping = false;
}

static void drop_now(mp_task *task);
static void timed_out(mp_timer *timer);

mp_conn *mp_conn_new(mp_loop *loop, const mp_address *address, int64_t connect_timeout, mp_conn_events events) {
    mp_conn *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->loop = loop;
    c->address = address;
    c->connect_timeout = connect_timeout;
    c->events = events;
    c->flush.run = run_flush;
    c->drop_later.run = drop_now;
    c->timer.fire = timed_out;
    c->watch.ready = socket_ready;
    mp_list_init(&c->sent);
    return c;
}

void mp_conn_drop(mp_conn *c, pond_error *why) {
    if (!c->ctx) {
        pond_error_free(why);
        return;
    }
    set_why(c, why);
    if (c->busy) {
        mp_loop_defer(c->loop, &c->drop_later);
        return;
    }
    free_context(c);
    go_down(c);
}

static void drop_now(mp_task *task) {
    mp_conn *c = MP_OF(task, mp_conn, drop_later);
    if (!c->ctx) return;
    free_context(c);
    go_down(c);
}

void mp_conn_free(mp_conn *c) {
    if (!c) return;
    if (!c->why) set_why(c, mp_error_new(POND_ECLOSED, "the pond is closed"));
    c->events.lost = NULL;
    free_context(c);
    mp_loop_timer_stop(c->loop, &c->timer);
    mp_loop_unpost(c->loop, &c->flush);
    mp_loop_unpost(c->loop, &c->drop_later);
    pond_error_free(c->why);
    free(c);
}

mp_conn_state mp_conn_state_of(const mp_conn *c) { return c->state; }

pond_error *mp_conn_up(mp_conn *c) {
    if (c->state != MP_CONN_DOWN) return NULL;
    int64_t now = mp_loop_now(c->loop);
    if (now < c->retry_at) return c->why;
    redisOptions o = {0};
    if (c->address->path) REDIS_OPTIONS_SET_UNIX(&o, c->address->path);
    else REDIS_OPTIONS_SET_TCP(&o, c->address->host, c->address->port);
    o.options |= REDIS_OPT_NOAUTOFREEREPLIES | REDIS_OPT_NO_PUSH_AUTOFREE;
    redisAsyncContext *ctx = redisAsyncConnectWithOptions(&o);
    if (!ctx || ctx->err) {
        set_why(c, mp_error_new(POND_ECACHE, "cache %s: %s", c->address->shown, ctx ? ctx->errstr : "no memory"));
        if (ctx) redisAsyncFree(ctx);
        go_down(c);
        return c->why;
    }
    set_why(c, NULL);
    c->ctx = ctx;
    ctx->c.reader->fn = &mp_reply_functions;
    ctx->data = c;
    ctx->ev.data = c;
    ctx->ev.addRead = add_read;
    ctx->ev.delRead = del_read;
    ctx->ev.addWrite = add_write;
    ctx->ev.delWrite = del_write;
    ctx->ev.cleanup = clean_up;
    c->watch.fd = ctx->c.fd;
    c->watch.events = 0;
    c->state = MP_CONN_CONNECTING;
    redisAsyncSetConnectCallback(ctx, on_connect); /* asks for writability, by which hiredis learns of the connection */
    redisAsyncSetDisconnectCallback(ctx, on_disconnect);
    update_watch(c);
    mp_loop_timer_set(c->loop, &c->timer, now + c->connect_timeout);
    return NULL;
}

void mp_conn_ready(mp_conn *c) {
    c->state = MP_CONN_READY;
    c->failures = 0;
}

/* ---- commands ---- */

static void replied(redisAsyncContext *ctx, void *r, void *data) {
    mp_conn *c = ctx->data;
    mp_cmd *cmd = data;
    mp_list_remove(&cmd->node);
    mp_loop_inflight(c->loop, -1);
    if (r) {
        cmd->done(cmd, r, NULL);
        return;
    }
    if (!c->why)
        set_why(c, mp_error_new(POND_ECACHE, "cache %s: %s", c->address->shown, *ctx->errstr ? ctx->errstr : "the connection was lost"));
    cmd->done(cmd, NULL, c->why);
}

bool mp_conn_send(mp_conn *c, mp_cmd *cmd, const char *resp, size_t len, int64_t timeout_ms) {
    if (!c->ctx || sdslen(c->ctx->c.obuf) > UNSENT_MAX) return false;
    if (redisAsyncFormattedCommand(c->ctx, replied, cmd, resp, len) != REDIS_OK) return false;
    cmd->sent = mp_loop_now(c->loop);
    cmd->deadline = cmd->sent + timeout_ms;
    cmd->is_late = false;
    mp_list_push(&c->sent, &cmd->node);
    mp_loop_inflight(c->loop, 1);
    if (!c->timer.place || cmd->deadline < c->timer.at) mp_loop_timer_set(c->loop, &c->timer, cmd->deadline);
    if (++c->unflushed >= EARLY_FLUSH) {
        mp_loop_unpost(c->loop, &c->flush);
        run_flush(&c->flush);
    }
    return true;
}

/* One timer for all commands: it walks them when the earliest deadline has come, which is at most once per
 * command_timeout while all goes well. */
static void timed_out(mp_timer *timer) {
    mp_conn *c = MP_OF(timer, mp_conn, timer);
    int64_t now = mp_loop_now(c->loop), next = INT64_MAX;
    if (c->state == MP_CONN_CONNECTING) {
        mp_conn_drop(c, mp_error_new(POND_ECACHE, "cache %s: no connection within connect_timeout (%lld ms)", c->address->shown,
                                     (long long)c->connect_timeout));
        return;
    }
    bool silent = false;
    for (mp_node *n = c->sent.next, *after; n != &c->sent; n = after) {
        after = n->next;
        mp_cmd *cmd = MP_OF(n, mp_cmd, node);
        if (cmd->is_late) continue;
        if (cmd->deadline > now) {
            if (cmd->deadline < next) next = cmd->deadline;
            continue;
        }
        cmd->is_late = true;
        if (c->last_read < cmd->sent) silent = true;
        cmd->late(cmd);
    }
    if (silent) /* not a byte since: half-open, stopped or stuck; a new connection may be better */
        mp_conn_drop(c, mp_error_new(POND_ECACHE, "cache %s: no answer within command_timeout", c->address->shown));
    else if (next != INT64_MAX) mp_loop_timer_set(c->loop, &c->timer, next);
}
