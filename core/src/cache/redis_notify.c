#include "cache/redis_notify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/random.h"
#include "cache/memory_table.h"
#include "cache/redis_reply.h"
#include "model/keyname.h"

#define PATIENCE_MS 160  /* until the server knows of a wait; then its owner asks again by itself */
#define REFUSED_MS 10000 /* a server that will not tell is asked again after this */
#define GREETINGS 3      /* HELLO, SELECT, CLIENT TRACKING */
#define LATE_MAX_MS 8
#define RENEWAL_EARLY(h) ((h) / 60 + 2) /* around the moment when a lease of h ms should be renewed, */
#define RENEWAL_LATE(h) ((h) / 30 + 2)  /* a push means that, and not a fill */

/* One operation that waits. The server is asked how long the lease has left, which is both: whether there still is one, and
 * that its next change is to be told (missing keys are tracked, too). Each push ends the server's memory of it. */
typedef struct wait {
    mp_mitem item; /* in `waits`, by the lease's name in Redis */
    mp_node node;  /* asked or standing */
    mp_cmd cmd;
    mp_notify *notify;
    mp_op *op;     /* NULL: it has ended, only the command's answer is still to come */
    bool sent;     /* the command is under way */
    mp_timer over; /* the lease's time, as far as is known */
    int64_t asked_at, renewal_at;
    int64_t span; /* of the lease, as far as is known */
    char name[];
} wait;
_Static_assert(offsetof(wait, name) <= UINT8_MAX, "item.key_at");

struct mp_notify {
    mp_redis *redis;
    mp_node_entry *node;
    mp_loop *loop;
    mp_conn *conn;
    struct greeting {
        mp_cmd cmd;
        mp_notify *notify;
    } greetings[GREETINGS]; /* one handshake at a time */
    unsigned unanswered;    /* of these */
    mp_mtable waits;
    mp_node asked;    /* the server may not know of them yet; the longest asked first */
    mp_node standing; /* it does */
    mp_timer patience;
    int64_t refused_until;
    mp_buf scratch;
    bool stands; /* the connection, and is counted */
};

/* ---- waits ---- */

static wait *wait_of(mp_mitem *item) { return MP_OF(item, wait, item); }

/* It is the owner's no more. */
static mp_op *detach(wait *w) {
    mp_op *op = w->op;
    mp_list_remove(&w->node);
    mp_loop_timer_stop(w->notify->loop, &w->over);
    mp_mtable_remove(&w->notify->waits, &w->item);
    op->link_private = NULL;
    w->op = NULL;
    if (!w->sent) free(w);
    return op;
}

static void end(wait *w, mp_reply reply) { mp_op_end(detach(w), reply, NULL); }

/* Whoever is told may wait anew. */
static void end_all(mp_node *list, mp_reply reply) {
    mp_node all;
    mp_list_init(&all);
    mp_list_move(&all, list);
    while (!mp_list_empty(&all)) end(MP_OF(all.next, wait, node), reply);
}

static void time_is_over(mp_timer *timer) { end(MP_OF(timer, wait, over), MP_DONE); }

/* A little late, so that not all who wait for it come at one moment. False: no memory. */
static bool ends_in(wait *w, int64_t ms) {
    mp_loop *loop = w->notify->loop;
    return mp_loop_timer_set(loop, &w->over, mp_loop_now(loop) + ms + 1 + (int64_t)mp_random_below(LATE_MAX_MS));
}

static void set_patience(mp_notify *n) {
    if (mp_list_empty(&n->asked)) mp_loop_timer_stop(n->loop, &n->patience);
    else if (!n->patience.place)
        mp_loop_timer_set(n->loop, &n->patience, MP_OF(n->asked.next, wait, node)->asked_at + PATIENCE_MS);
}

static void lost_patience(mp_timer *timer) {
    mp_notify *n = MP_OF(timer, mp_notify, patience);
    while (!mp_list_empty(&n->asked)) {
        wait *w = MP_OF(n->asked.next, wait, node);
        if (w->asked_at + PATIENCE_MS > mp_loop_now(n->loop)) break;
        end(w, MP_REFUSED);
    }
    set_patience(n);
}

/* An answer that is none: nobody relies on this connection any more. A server that cannot do it, or not for this user, is not
 * asked anew for a while. */
static void refused(mp_notify *n, const redisReply *r) {
    const char *at = n->node->address.shown;
    bool said = r->type == REDIS_REPLY_ERROR;
    pond_error *why = said ? mp_command_error(r, &n->node->address)
                           : mp_error_new(POND_EPROTOCOL, "cache %s: it speaks no RESP3", at);
    if (!said || strncmp(r->str, "NOPERM", 6) == 0 || strncmp(r->str, "NOPROTO", 7) == 0 ||
        strncasecmp(r->str, "ERR unknown", 11) == 0) {
        n->refused_until = mp_loop_now(n->loop) + REFUSED_MS;
        atomic_store(&n->redis->waits, MP_WAITS_POLLED);
        char text[256];
        snprintf(text, sizeof text, "waits for others' loads poll: %s", pond_error_message(why));
        mp_redis_problem(n->redis, text);
    }
    mp_conn_drop(n->conn, why);
}

static void answered(mp_cmd *cmd, redisReply *r, pond_error *error) {
    wait *w = MP_OF(cmd, wait, cmd);
    mp_notify *n = w->notify;
    (void)error;
    w->sent = false;
    if (!w->op) {
        free(w);
    } else if (!r) {
        end(w, MP_REFUSED); /* nothing was told of it yet, so `lost` has left it to this */
    } else if (r->type != REDIS_REPLY_INTEGER) {
        refused(n, r);
    } else if (r->integer == -2) {
        end(w, MP_DONE);
    } else {
        if (r->integer >= 0 && r->integer <= MP_LEASE_MAX_MS) {
            if (w->span < r->integer) w->span = r->integer;
            w->renewal_at = mp_loop_now(n->loop) + r->integer - w->span / 3 * 2;
            ends_in(w, r->integer); /* it has a place among the timers, so it needs no memory */
        }
        mp_list_remove(&w->node);
        mp_list_push(&n->standing, &w->node);
        set_patience(n);
    }
    mp_reply_free(r);
}

static void late(mp_cmd *cmd) { (void)cmd; }

static bool send_scratch(mp_notify *n, mp_cmd *cmd) {
    int64_t timeout_ms = n->redis->command_timeout;
    return !n->scratch.failed &&
           mp_conn_send(n->conn, cmd, n->scratch.data, n->scratch.len, timeout_ms, mp_loop_now(n->loop) + timeout_ms);
}

/* False: it has ended. */
static bool ask(wait *w) {
    mp_notify *n = w->notify;
    w->cmd = (mp_cmd){.done = answered, .late = late};
    mp_list_init(&w->cmd.node);
    mp_buf_reset(&n->scratch);
    mp_buf_text(&n->scratch, "*2\r\n$4\r\nPTTL\r\n");
    mp_command_arg(&n->scratch, w->name, w->item.key_len);
    w->sent = send_scratch(n, &w->cmd);
    if (!w->sent) end(w, MP_REFUSED);
    return w->sent;
}

/* ---- pushes ---- */

/* What comes when the lease was to be renewed is its renewal, most likely: then its owner need not know. */
static bool renewed(const wait *w, int64_t now) {
    return w->renewal_at - RENEWAL_EARLY(w->span) <= now && now <= w->renewal_at + RENEWAL_LATE(w->span);
}

static void changed(mp_notify *n, const char *name, size_t len) {
    mp_mitem *item = mp_mtable_find(&n->waits, (uint32_t)mp_hash(name, len), name, len);
    if (!item) return; /* nobody waits for it any more */
    wait *w = wait_of(item);
    int64_t now = mp_loop_now(n->loop);
    if (w->sent || !renewed(w, now)) {
        end(w, MP_DONE);
        return;
    }
    w->asked_at = now;
    mp_list_remove(&w->node);
    mp_list_push(&n->asked, &w->node);
    if (ask(w)) set_patience(n);
}

static void pushed(void *owner, const redisReply *r) {
    mp_notify *n = owner;
    if (r->elements != 2 || !r->element[0] || !r->element[1] || r->element[0]->type != REDIS_REPLY_STRING ||
        strcmp(r->element[0]->str, "invalidate") != 0)
        return;
    const redisReply *names = r->element[1];
    if (names->type == REDIS_REPLY_NIL) { /* everything: FLUSHALL, FLUSHDB */
        end_all(&n->standing, MP_DONE);
        end_all(&n->asked, MP_DONE);
        return;
    }
    for (size_t i = 0; names->type == REDIS_REPLY_ARRAY && i < names->elements; i++)
        if (names->element[i] && names->element[i]->type == REDIS_REPLY_STRING)
            changed(n, names->element[i]->str, names->element[i]->len);
}

/* ---- the connection ---- */

static void ask_all(mp_notify *n) {
    mp_node all;
    mp_list_init(&all);
    mp_list_move(&all, &n->asked);
    while (!mp_list_empty(&all)) {
        wait *w = MP_OF(all.next, wait, node);
        mp_list_remove(&w->node);
        mp_list_push(&n->asked, &w->node);
        ask(w);
    }
}

static void greeted(mp_cmd *cmd, redisReply *r, pond_error *error) {
    struct greeting *g = MP_OF(cmd, struct greeting, cmd);
    mp_notify *n = g->notify;
    (void)error;
    if (!r) return;
    /* HELLO's answer is a map where the server speaks RESP3 from now on; without that nothing would be told. */
    bool good = r->type == (g == n->greetings ? REDIS_REPLY_MAP : REDIS_REPLY_STATUS);
    if (!good) {
        refused(n, r);
    } else if (--n->unanswered == 0) {
        mp_conn_ready(n->conn);
        atomic_store(&n->redis->waits, MP_WAITS_PUSHED);
        ask_all(n);
    }
    mp_reply_free(r);
}

/* Sends what stands in `scratch`. */
static bool greet(mp_notify *n) {
    struct greeting *g = &n->greetings[n->unanswered++];
    *g = (struct greeting){.cmd = {.done = greeted, .late = late}, .notify = n};
    mp_list_init(&g->cmd.node);
    return send_scratch(n, &g->cmd);
}

static void connected(void *owner) {
    mp_notify *n = owner;
    const mp_address *a = &n->node->address;
    mp_buf *out = &n->scratch;
    n->unanswered = 0;
    n->stands = true;
    atomic_fetch_add(&n->redis->connections, 1);
    atomic_fetch_add(&n->redis->connects, 1);
    mp_buf_reset(out);
    mp_buf_text(out, a->password ? "*5\r\n" : "*2\r\n");
    mp_command_arg(out, "HELLO", 5);
    mp_command_arg(out, "3", 1);
    if (a->password) {
        const char *user = a->username ? a->username : "default";
        mp_command_arg(out, "AUTH", 4);
        mp_command_arg(out, user, strlen(user));
        mp_command_arg(out, a->password, strlen(a->password));
    }
    bool sent = greet(n);
    if (sent && a->database) {
        mp_buf_reset(out);
        mp_buf_text(out, "*2\r\n");
        mp_command_arg(out, "SELECT", 6);
        mp_command_number(out, a->database);
        sent = greet(n);
    }
    mp_buf_reset(out);
    mp_buf_text(out, "*3\r\n$6\r\nCLIENT\r\n$8\r\nTRACKING\r\n$2\r\nON\r\n");
    if (!sent || !greet(n)) mp_conn_drop(n->conn, mp_error_new(POND_ENOMEM, "no memory to connect to the cache"));
}

static void stands_no_more(mp_notify *n) {
    if (n->stands) atomic_fetch_sub(&n->redis->connections, 1);
    n->stands = false;
}

/* What the server would have told is lost: who relied on it asks again. */
static void lost(void *owner, pond_error *why, bool waited) {
    mp_notify *n = owner;
    (void)why;
    (void)waited;
    stands_no_more(n);
    end_all(&n->standing, MP_DONE);
    end_all(&n->asked, MP_REFUSED);
    set_patience(n);
}

/* ---- from the line ---- */

mp_notify *mp_notify_new(mp_redis *redis, mp_node_entry *node, mp_loop *loop) {
    mp_notify *n = calloc(1, sizeof *n);
    if (!n) return NULL;
    n->redis = redis;
    n->node = node;
    n->loop = loop;
    mp_mtable_init(&n->waits);
    mp_list_init(&n->asked);
    mp_list_init(&n->standing);
    mp_buf_init(&n->scratch);
    n->patience.fire = lost_patience;
    mp_conn_events events = {.owner = n, .connected = connected, .lost = lost, .pushed = pushed};
    n->conn = mp_conn_new(loop, &node->address, redis->connect_timeout, events);
    if (n->conn) return n;
    free(n);
    return NULL;
}

static void close_all(mp_notify *n, mp_node *list) {
    while (!mp_list_empty(list))
        mp_op_end(detach(MP_OF(list->next, wait, node)), MP_FAILED, mp_error_new(POND_ECLOSED, "the pond is closed"));
}

void mp_notify_free(mp_notify *n) {
    if (!n) return;
    n->refused_until = INT64_MAX;
    close_all(n, &n->standing);
    close_all(n, &n->asked);
    mp_loop_timer_stop(n->loop, &n->patience);
    mp_conn_free(n->conn);
    stands_no_more(n);
    mp_mtable_free(&n->waits);
    mp_buf_free(&n->scratch);
    free(n);
}

static wait *make(mp_notify *n, mp_op *op) {
    char name[MP_KEYNAME_MAX];
    size_t len = mp_keyname(name, MP_PART_LEASE, &op->key);
    uint32_t hash = (uint32_t)mp_hash(name, len);
    if (mp_mtable_find(&n->waits, hash, name, len)) return NULL; /* a flight a key, so a wait a key */
    wait *w = calloc(1, sizeof *w + len);
    if (!w) return NULL;
    memcpy(w->name, name, len);
    w->item.hash = hash;
    w->item.key_len = (uint16_t)len;
    w->item.key_at = offsetof(wait, name);
    mp_list_init(&w->node);
    w->notify = n;
    w->over.fire = time_is_over;
    if (ends_in(w, op->ms)) {
        if (mp_mtable_add(&n->waits, &w->item)) return w;
        mp_loop_timer_stop(n->loop, &w->over);
    }
    free(w);
    return NULL;
}

void mp_notify_submit(mp_notify *n, mp_op *op) {
    int64_t now = mp_loop_now(n->loop);
    bool able = now >= n->refused_until && (mp_conn_state_of(n->conn) == MP_CONN_READY || !mp_conn_up(n->conn));
    wait *w = able ? make(n, op) : NULL;
    if (!w) {
        mp_op_end(op, MP_REFUSED, NULL);
        return;
    }
    w->op = op;
    w->span = op->lease_ms;
    w->asked_at = now;
    op->link_private = w;
    op->reply = MP_PENDING;
    op->error = NULL;
    mp_list_push(&n->asked, &w->node);
    if (mp_conn_state_of(n->conn) != MP_CONN_READY || ask(w)) set_patience(n);
}

void mp_notify_forget(mp_notify *n, mp_op *op) {
    if (!op->link_private) return;
    detach(op->link_private);
    set_patience(n);
}

void mp_notify_distrust(mp_notify *n, pond_error *why) {
    if (n) mp_conn_drop(n->conn, pond_error_ref(why));
}
