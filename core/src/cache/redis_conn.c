#include "cache/redis_conn.h"

#include <errno.h>
#include <fcntl.h>
#include <hiredis/sds.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/random.h"
#include "cache/redis_reply.h"
#include "cache/redis_tls.h"

#define EARLY_FLUSH 32 /* commands: a longer turn is sent in pieces, so that the server works meanwhile */
#define BACKOFF_FIRST_MS 20
#define BACKOFF_LAST_MS 1000
#define UNSENT_MAX (64u << 20)
#define REPLY_MAX (257u << 20) /* max_value and an envelope; what is longer is none of ours */
#define ELEMENTS_MAX 5120 /* of an array: one of the protocol's has 5 * MP_BEHIND_MOST + 2 at most (wb_dead_list.lua) */

/* hiredis connects, buffers and parses. Its asynchronous layer is not used: it keeps a list of callbacks beside ours, and gives up
 * (an assertion) when a server answers what nobody asked. */
struct mp_conn {
    mp_loop *loop;
    const mp_address *address;
    int64_t connect_timeout;
    mp_conn_events events;
    mp_conn_state state;

    redisContext *ctx;
    redisContextFuncs funcs;
    mp_tls_session *tls; /* NULL: plain */
    mp_watch watch;
    bool blocked; /* the socket took not all: wait until it is writable */
    mp_task flush;
    unsigned unflushed;

    mp_node sent;                  /* commands without a reply, oldest first */
    mp_timer timer;                /* the earliest deadline, or the connection's */
    int64_t last_read, last_reply; /* a byte; an answer to a command */

    pond_error *why; /* why it is down */
    int64_t retry_at;
    unsigned failures;
    bool busy;   /* somebody walks over `sent` or reads from the context: it must not go down now */
    bool doomed; /* it shall go down as soon as that has ended */
    bool cut;    /* by the other side */
    bool waited; /* connect_timeout passed */
    mp_task drop_later;
};

static void update_watch(mp_conn *c) {
    bool write = c->tls ? mp_tls_wants_write(c->tls) : c->state == MP_CONN_CONNECTING || c->blocked;
    mp_loop_watch(c->loop, &c->watch, c->state > MP_CONN_CONNECTING, write);
}

/* ---- life ---- */

static void set_why(mp_conn *c, pond_error *why) {
    if (c->why == why) return;
    pond_error_free(c->why);
    c->why = why;
}

static void go_down(mp_conn *c) {
    bool stood = c->state == MP_CONN_READY, cut = c->cut && stood, waited = c->waited;
    if (c->state == MP_CONN_CONNECTING || c->state == MP_CONN_SECURING) mp_loop_inflight(c->loop, -1);
    if (c->ctx) {
        mp_loop_watch(c->loop, &c->watch, false, false);
        redisFree(c->ctx);
        mp_tls_session_free(c->tls);
    }
    c->ctx = NULL;
    c->tls = NULL;
    c->state = MP_CONN_DOWN;
    c->doomed = c->blocked = c->cut = c->waited = false;
    c->unflushed = 0;
    mp_loop_timer_stop(c->loop, &c->timer);
    mp_loop_unpost(c->loop, &c->flush);
    mp_loop_unpost(c->loop, &c->drop_later);
    int64_t pause = BACKOFF_FIRST_MS << (c->failures < 6 ? c->failures : 6);
    if (pause > BACKOFF_LAST_MS) pause = BACKOFF_LAST_MS;
    c->failures++;
    c->retry_at = mp_loop_now(c->loop);
    if (!stood) c->retry_at += mp_random_pause(pause);
    pond_error *why = pond_error_ref(c->why);
    if (c->events.lost) c->events.lost(c->events.owner, why, waited);
    mp_node sent; /* whoever is told may send again */
    mp_list_init(&sent);
    mp_list_move(&sent, &c->sent);
    for (mp_node *n; (n = mp_list_shift(&sent));) {
        mp_cmd *cmd = MP_OF(n, mp_cmd, node);
        mp_loop_inflight(c->loop, -1);
        cmd->cut = cut;
        cmd->done(cmd, NULL, why);
    }
    if (c->events.left) c->events.left(c->events.owner, why, waited);
    pond_error_free(why);
}

/* It goes down at the next opportunity; the first reason counts. */
static void doom(mp_conn *c, pond_error *why) {
    if (c->doomed) {
        pond_error_free(why);
        return;
    }
    set_why(c, why);
    c->doomed = true;
    mp_loop_defer(c->loop, &c->drop_later);
}

static void drop_now(mp_task *task) {
    mp_conn *c = MP_OF(task, mp_conn, drop_later);
    if (c->doomed && !c->busy) go_down(c);
}

void mp_conn_drop(mp_conn *c, pond_error *why) {
    if (!c->ctx) {
        pond_error_free(why);
        return;
    }
    doom(c, why);
    drop_now(&c->drop_later);
}

bool mp_conn_doomed(const mp_conn *c) { return c->doomed; }

static void drop_stuck(mp_conn *c) {
    for (mp_node *n = c->sent.next; n != &c->sent; n = n->next) MP_OF(n, mp_cmd, node)->is_late = true;
    mp_conn_drop(c, mp_error_new(POND_ECACHE, "cache %s: no answer within command_timeout", c->address->shown));
}

void mp_conn_drop_silent(mp_conn *c, int64_t since) {
    if (c->ctx && c->last_read <= since) drop_stuck(c);
}

void mp_conn_replace(mp_conn *c, mp_cmd *cmd, pond_error *why) {
    mp_list_push(c->sent.next, &cmd->node); /* the first again */
    mp_loop_inflight(c->loop, 1);
    c->cut = true;
    mp_conn_drop(c, why);
}

static pond_error *context_error(const mp_conn *c) {
    const char *what = c->tls ? mp_tls_problem(c->tls) : ""; /* hiredis has no room for it */
    if (!*what) what = *c->ctx->errstr ? c->ctx->errstr : "the connection was lost";
    bool met_tls = !c->tls && c->state == MP_CONN_HANDSHAKE; /* so it looks where the other side wants TLS */
    return mp_error_new(POND_ECACHE, "cache %s: %s%s", c->address->shown, what,
                        met_tls ? ": is this its TLS port? With TLS the address begins with rediss://" : "");
}

/* ---- writing ---- */

/* hiredis' own, but for the signal that a closed socket raises: a library must not end the program that uses it. */
static ssize_t write_quietly(redisContext *ctx) {
    ssize_t n = send(ctx->fd, ctx->obuf, sdslen(ctx->obuf), MSG_NOSIGNAL);
    if (n >= 0) return n;
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return 0;
    ctx->err = REDIS_ERR_IO;
    snprintf(ctx->errstr, sizeof ctx->errstr, "%s", strerror(errno));
    return -1;
}

/* The deadlines of what is sent now begin now: a host that was busy between its call and its flush has not lost them. */
static void begin_deadlines(mp_conn *c) {
    int64_t now = mp_loop_now(c->loop);
    for (mp_node *n = c->sent.prev; c->unflushed > 0 && n != &c->sent; n = n->prev, c->unflushed--) {
        mp_cmd *cmd = MP_OF(n, mp_cmd, node);
        cmd->deadline += now - cmd->sent;
        cmd->sent = now;
        cmd->unsent = false;
    }
    c->unflushed = 0;
}

static void write_out(mp_conn *c) {
    int done = 0;
    begin_deadlines(c);
    if (redisBufferWrite(c->ctx, &done) != REDIS_OK) {
        c->cut = true;
        doom(c, context_error(c));
        return;
    }
    if (c->blocked != !done) {
        c->blocked = !done;
        update_watch(c);
    }
}

static void run_flush(mp_task *task) {
    mp_conn *c = MP_OF(task, mp_conn, flush);
    if (c->state > MP_CONN_SECURING && !c->blocked && !c->doomed) write_out(c);
}

/* ---- reading ---- */

static pond_error *stray(const mp_conn *c, const redisReply *r) {
    if (r->type == REDIS_REPLY_ERROR) /* as a server does that has too many clients */
        return mp_error_new(POND_ECACHE, "cache %s: %.200s", c->address->shown, r->str);
    return mp_error_new(POND_EPROTOCOL, "cache %s: an answer came that nobody asked for", c->address->shown);
}

static void read_replies(mp_conn *c) {
    c->last_read = mp_loop_now(c->loop);
    if (redisBufferRead(c->ctx) != REDIS_OK) {
        c->cut = true;
        mp_conn_drop(c, context_error(c));
        return;
    }
    c->busy = true;
    while (!c->doomed) { /* whoever gives the connection up does not want what came behind */
        void *reply = NULL;
        if (redisGetReplyFromReader(c->ctx, &reply) != REDIS_OK) {
            bool alert = strstr(c->ctx->errstr, "got \"\\x15\""); /* as a TLS record of that kind begins */
            doom(c, mp_error_new(POND_EPROTOCOL, "cache %s: %s", c->address->shown,
                                 alert ? "it speaks TLS here: write rediss://" : c->ctx->errstr));
            break;
        }
        redisReply *r = reply;
        if (!r) {
            if (c->ctx->reader->len > REPLY_MAX)
                doom(c, mp_error_new(POND_EPROTOCOL, "cache %s: an answer of more than %u bytes", c->address->shown,
                                     REPLY_MAX));
            break;
        }
        if (r->type == REDIS_REPLY_PUSH) {
            if (c->events.pushed) c->events.pushed(c->events.owner, r);
            mp_reply_free(r);
            continue;
        }
        mp_node *n = mp_list_shift(&c->sent);
        if (!n) {
            doom(c, stray(c, r));
            mp_reply_free(r);
            break;
        }
        c->last_reply = c->last_read;
        mp_cmd *cmd = MP_OF(n, mp_cmd, node);
        mp_loop_inflight(c->loop, -1);
        cmd->done(cmd, r, NULL);
    }
    c->busy = false;
    drop_now(&c->drop_later);
}

/* ---- up ---- */

static void begin_handshake(mp_conn *c) {
    mp_loop_inflight(c->loop, -1);
    c->state = MP_CONN_HANDSHAKE;
    c->last_read = mp_loop_now(c->loop);
    update_watch(c);
    c->events.connected(c->events.owner);
}

static void secure(mp_conn *c) {
    switch (mp_tls_handshake(c->tls)) {
    case MP_TLS_DONE: begin_handshake(c); break;
    case MP_TLS_WAITS: update_watch(c); break;
    case MP_TLS_FAILED: mp_conn_drop(c, context_error(c)); break;
    }
}

static void begin_tls(mp_conn *c) {
    c->ctx->privctx = c->tls = mp_tls_session_new(c->address->tls, c->address->host, c->watch.fd);
    if (!c->tls) {
        mp_conn_drop(c, mp_error_new(POND_ENOMEM, "cache %s: no memory for TLS", c->address->shown));
        return;
    }
    c->funcs.read = mp_tls_read;
    c->funcs.write = mp_tls_write;
    c->state = MP_CONN_SECURING;
    secure(c);
}

static void connect_done(mp_conn *c) {
    int e = 0, on = 1;
    socklen_t size = sizeof e;
    if (getsockopt(c->watch.fd, SOL_SOCKET, SO_ERROR, &e, &size) != 0) e = errno;
    if (e) {
        mp_conn_drop(c, mp_error_new(POND_ECACHE, "cache %s: %s", c->address->shown, strerror(e)));
        return;
    }
    if (!c->address->path) setsockopt(c->watch.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (c->address->tls) begin_tls(c);
    else begin_handshake(c);
}

/* In TLS a read may have to write, and the reverse; what one read of the socket brought is read to its end. */
static void tls_ready(mp_conn *c) {
    if (c->state == MP_CONN_SECURING) {
        secure(c);
        if (!c->tls || c->state == MP_CONN_SECURING || !mp_tls_has_more(c->tls)) return;
    }
    if (c->blocked && !c->doomed) write_out(c);
    while (c->ctx && !c->doomed) {
        read_replies(c);
        if (!c->tls || !mp_tls_has_more(c->tls)) break;
    }
    if (c->tls) update_watch(c);
}

static void socket_ready(mp_watch *watch, bool readable, bool writable) {
    mp_conn *c = MP_OF(watch, mp_conn, watch);
    if (c->state == MP_CONN_CONNECTING) {
        if (writable) connect_done(c);
    } else if (c->tls) {
        tls_ready(c);
    } else {
        if (writable && c->blocked && !c->doomed) write_out(c);
        if (readable && c->ctx && !c->doomed) read_replies(c);
    }
}

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

void mp_conn_free(mp_conn *c) {
    if (!c) return;
    if (!c->why) set_why(c, mp_error_new(POND_ECLOSED, "the pond is closed"));
    c->events.lost = c->events.left = NULL;
    c->cut = false;
    go_down(c);
    pond_error_free(c->why);
    free(c);
}

mp_conn_state mp_conn_state_of(const mp_conn *c) { return c->state; }

static bool connect_start(mp_conn *c) {
    redisOptions o = {0};
    if (c->address->path) REDIS_OPTIONS_SET_UNIX(&o, c->address->path);
    else REDIS_OPTIONS_SET_TCP(&o, c->address->host, c->address->port);
    o.options |= REDIS_OPT_NONBLOCK | REDIS_OPT_NO_PUSH_AUTOFREE;
    redisContext *ctx = redisConnectWithOptions(&o);
    int number = errno;
    if (!ctx || ctx->err) { /* of a path hiredis leaves the reason to errno */
        const char *reason = !ctx ? "no memory" : *ctx->errstr ? ctx->errstr : strerror(number);
        set_why(c, mp_error_new(POND_ECACHE, "cache %s: %s", c->address->shown, reason));
        redisFree(ctx);
        return false;
    }
    fcntl(ctx->fd, F_SETFD, FD_CLOEXEC);
    c->funcs = *ctx->funcs;
    c->funcs.write = write_quietly;
    ctx->funcs = &c->funcs;
    ctx->reader->fn = &mp_reply_functions;
    ctx->reader->maxelements = ELEMENTS_MAX;
    c->ctx = ctx;
    return true;
}

pond_error *mp_conn_up(mp_conn *c) {
    if (c->doomed) return c->why;
    if (c->state != MP_CONN_DOWN) return NULL;
    int64_t now = mp_loop_now(c->loop);
    if (now < c->retry_at) return c->why;
    if (!connect_start(c)) {
        go_down(c);
        return c->why;
    }
    set_why(c, NULL);
    c->watch.fd = c->ctx->fd;
    c->watch.events = 0;
    c->state = MP_CONN_CONNECTING;
    mp_loop_inflight(c->loop, 1); /* somebody must drive it, also if no call waits for it */
    update_watch(c);
    mp_loop_timer_set(c->loop, &c->timer, now + c->connect_timeout);
    return NULL;
}

void mp_conn_retry(mp_conn *c) {
    c->retry_at = 0;
    mp_conn_up(c);
}

void mp_conn_ready(mp_conn *c) {
    c->state = MP_CONN_READY;
    c->failures = 0;
}

/* ---- commands ---- */

bool mp_conn_send(mp_conn *c, mp_cmd *cmd, const char *resp, size_t len, int64_t timeout_ms, int64_t deadline) {
    if (!c->ctx || c->doomed || sdslen(c->ctx->obuf) > UNSENT_MAX) return false;
    if (redisAppendFormattedCommand(c->ctx, resp, len) != REDIS_OK) {
        doom(c, context_error(c)); /* it wants to be freed after an error, even if only memory was short */
        return false;
    }
    cmd->sent = mp_loop_now(c->loop);
    cmd->timeout = timeout_ms;
    cmd->deadline = deadline;
    cmd->is_late = cmd->cut = false;
    cmd->unsent = true;
    mp_list_push(&c->sent, &cmd->node);
    mp_loop_inflight(c->loop, 1);
    if (!c->timer.place || cmd->deadline < c->timer.at) mp_loop_timer_set(c->loop, &c->timer, cmd->deadline);
    mp_loop_defer(c->loop, &c->flush); /* once a turn, not once a command */
    if (++c->unflushed >= EARLY_FLUSH) run_flush(&c->flush);
    return true;
}

/* One timer for all commands: it walks them when the earliest deadline has come, which is at most once per
 * command_timeout while all goes well. */
static void timed_out(mp_timer *timer) {
    mp_conn *c = MP_OF(timer, mp_conn, timer);
    int64_t now = mp_loop_now(c->loop), next = INT64_MAX;
    if (c->state <= MP_CONN_SECURING) {
        bool connected = c->state == MP_CONN_SECURING;
        c->waited = true;
        mp_conn_drop(
            c, mp_error_new(POND_ECACHE, "cache %s: no %s within connect_timeout (%lld ms)%s", c->address->shown,
                            connected ? "TLS handshake" : "connection", (long long)c->connect_timeout,
                            connected ? ": is this its TLS port? Without TLS the address begins with redis://" : ""));
        return;
    }
    /* A new connection may be better if not a byte came in a command's whole time (half-open, stopped, stuck), if it was the
     * handshake that was not answered (nothing else will be asked, so nothing else would show it), or if no command at all was
     * answered in twice as long. A command that had less time, for some was spent on connecting, does not judge before. */
    bool stuck = false;
    c->busy = true;
    for (mp_node *n = c->sent.next; n != &c->sent; n = n->next) {
        mp_cmd *cmd = MP_OF(n, mp_cmd, node);
        int64_t look = cmd->deadline, judge = cmd->sent + cmd->timeout;
        if (look <= now) {
            int64_t heard = c->last_reply > cmd->sent ? c->last_reply : cmd->sent;
            look = judge > now ? judge : heard + 2 * cmd->timeout;
            stuck =
                stuck || look <= now || (judge <= now && (c->last_read <= cmd->sent || c->state == MP_CONN_HANDSHAKE));
            if (!cmd->is_late) {
                cmd->is_late = true;
                cmd->late(cmd);
                if (!cmd->is_late && cmd->deadline < look) look = cmd->deadline;
            }
        }
        if (look < next) next = look;
    }
    c->busy = false;
    if (stuck) drop_stuck(c);
    else if (c->doomed) drop_now(&c->drop_later);
    else if (next != INT64_MAX && (!timer->place || next < timer->at)) mp_loop_timer_set(c->loop, timer, next);
}
