/* A line: one loop's connection to one node, its handshake, the fence check, and the operations on it.
 *
 * An operation has one deadline, from its submission on: connecting, the handshake, sending and asking anew all use up the same
 * time. Only what has passed it when the socket brings it forward gets its whole time once more: timers run behind the
 * sockets, so then the host was late to look. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/random.h"
#include "cache/redis.h"
#include "cache/redis_notify.h"
#include "cache/redis_reply.h"

#define FENCE_CHECK_MS 1000
#define REPLACE_MS 1000 /* without a fence to refuse a server that is none: no more than one connection in this time */
#define AGAIN_MAX 4     /* an operation is asked at most so often anew: only a broken server wants it more often */

static void problem(mp_line *line, const char *text) { mp_redis_problem(line->redis, text); }

/* An operation ends without an answer, and perhaps without having been sent. Takes over the error. */
static void fail(mp_line *line, mp_op *op, bool sent, pond_error *error) {
    if (op->kind == MP_RELEASE || (op->kind == MP_LEASE && sent)) mp_doubt_remember(line, &op->key, op->token);
    mp_op_end(op, MP_FAILED, error);
}

/* ---- the breaker ---- */

static void deadline_passed(mp_line *line) {
    if (line->patient) return;
    pond_error *opened = mp_breaker_late(&line->node->breaker, mp_loop_now(line->loop), line->node->address.shown);
    if (opened) problem(line, pond_error_message(opened));
    pond_error_free(opened);
}

/* Whatever the server said, it was there in time. */
void mp_line_heard(mp_line *line, const mp_cmd *cmd) {
    if (!cmd->is_late && mp_breaker_answered(&line->node->breaker)) problem(line, "");
}

static void probe_failed(mp_line *line) {
    if (!line->patient) mp_breaker_lost(&line->node->breaker, mp_loop_now(line->loop));
}

/* Who waits behind it has a deadline of their own. */
static void late_own(mp_cmd *cmd) { probe_failed(MP_OF(cmd, mp_request, cmd)->line); }

static void pinged(mp_cmd *cmd, redisReply *r, pond_error *error) {
    mp_request *q = MP_OF(cmd, mp_request, cmd);
    (void)error;
    if (r) mp_line_heard(q->line, cmd);
    mp_reply_free(r);
    mp_request_free(q);
}

/* Where the line has a connection, by a command that anybody may run; else by the handshake of a new one. */
static void probe(mp_line *line) {
    if (mp_conn_state_of(line->conn) != MP_CONN_READY) {
        mp_conn_retry(line->conn);
        return;
    }
    mp_request *q = mp_request_new(line, NULL);
    if (!q) return;
    q->cmd.done = pinged;
    q->cmd.late = late_own;
    mp_buf_reset(&line->scratch);
    mp_buf_text(&line->scratch, "*1\r\n$4\r\nPING\r\n");
    mp_request_send_own(line, q);
}

/* The breaker is open: the operation ends at once, but for those of a write under way, which others rely on: they are tried all
 * the same. */
static bool turned_away(mp_line *line, mp_op *op) {
    if (mp_breaker_closed(&line->node->breaker)) return false;
    if (op->kind == MP_END || (op->kind == MP_BEGIN && op->again)) return false;
    bool is_due;
    pond_error *why = mp_breaker_refuse(&line->node->breaker, mp_loop_now(line->loop), &is_due);
    if (is_due) probe(line);
    fail(line, op, op->resent, why);
    return true;
}

/* ---- the fence ---- */

static void go_on(mp_line *line);
static void send_waiting(mp_line *line);

static pond_error *fence_problem(mp_line *line, const redisReply *r) {
    const char *at = line->node->address.shown;
    if (r->type == REDIS_REPLY_ERROR) {
        if (strstr(r->str, "NOPERM") || strstr(r->str, "no permissions") ||
            strstr(r->str, "The user executing the script"))
            return mp_error_new_retriable(
                POND_ECACHE, 0,
                "cache %s: the cache's user may not run INFO, or EVAL on mp:*: grant +info +eval "
                "+evalsha ~mp:*, or set fence=off",
                at);
        return mp_command_error(r, &line->node->address);
    }
    if (r->type == REDIS_REPLY_ARRAY && r->elements >= 2 && r->element[1] &&
        r->element[1]->type == REDIS_REPLY_STRING) {
        if (strcmp(r->element[1]->str, "noinfo") == 0)
            return mp_error_new_retriable(POND_ECACHE, 0,
                                          "cache %s: its INFO lacks run_id, role or master_replid: set fence=off", at);
        return mp_error_new(POND_ECACHE, "cache %s: the server is a %.20s: connect to its master", at,
                            r->element[1]->str);
    }
    return mp_error_new(POND_EPROTOCOL, "cache %s: the fence check gave an answer of another form than the protocol's",
                        at);
}

static bool text_at(const redisReply *r, size_t i, size_t min, size_t max) {
    return i < r->elements && r->element[i] && r->element[i]->type == REDIS_REPLY_STRING && r->element[i]->len >= min &&
           r->element[i]->len <= max;
}

static void fence_answered(mp_cmd *cmd, redisReply *r, pond_error *error) {
    mp_request *q = MP_OF(cmd, mp_request, cmd);
    mp_line *line = q->line;
    int64_t sent = cmd->sent;
    (void)error;
    if (r) mp_line_heard(line, cmd);
    mp_request_free(q);
    line->fence_asked = false;
    if (!r) return; /* the connection went, with everything on it */
    if (r->type == REDIS_REPLY_ARRAY && r->elements == 4 && text_at(r, 0, MP_FENCE_LEN, MP_FENCE_LEN) &&
        text_at(r, 1, 1, MP_RUN_ID_MAX) && text_at(r, 2, 1, MP_RUN_ID_MAX)) {
        memcpy(line->fence, r->element[0]->str, MP_FENCE_LEN);
        mp_fence_learn(&line->node->fence, line->fence, r->element[1]->str, r->element[2]->str, sent);
        if (mp_conn_state_of(line->conn) == MP_CONN_HANDSHAKE) go_on(line);
        else if (mp_conn_state_of(line->conn) == MP_CONN_READY) send_waiting(line);
    } else {
        mp_conn_drop(line->conn,
                     fence_problem(line, r)); /* with what was sent behind it: nothing may be judged by no fence */
    }
    mp_reply_free(r);
}

/* With the script's text, always: a NOSCRIPT would leave what was sent behind it to the old fence's judgement. What carries the fence that
 * the line knows goes before it. */
static bool ask_fence(mp_line *line) {
    mp_puts_send(line);
    if (line->fence_asked) return true;
    mp_request *q = mp_request_new(line, NULL);
    if (!q) return false;
    mp_fence_args args;
    int64_t now = mp_loop_now(line->loop);
    mp_fence_ask(&line->node->fence, now, &args);
    mp_buf *out = &line->scratch;
    mp_buf_reset(out);
    mp_command_script(out, MP_SCRIPT_fence, true, 1, 4);
    mp_command_arg(out, "mp:f", 4);
    mp_command_arg(out, args.next, MP_FENCE_LEN);
    mp_command_arg(out, args.run, strlen(args.run));
    mp_command_arg(out, args.replid, strlen(args.replid));
    mp_command_arg(out, args.left, args.left_len);
    q->cmd.done = fence_answered;
    q->cmd.late = late_own;
    if (!mp_request_send_own(line, q)) return false;
    line->fence_asked = true;
    line->fence_doubted = false;
    line->fence_sent = now;
    return true;
}

/* ---- operations ---- */

static void send_op(mp_line *line, mp_op *op, int64_t deadline, bool with_text, unsigned again);
static void submit(mp_line *line, mp_op *op, int64_t deadline);
static void answered(mp_cmd *cmd, redisReply *r, pond_error *error);
static void late(mp_cmd *cmd);

/* The deadline of an operation that goes on. */
static int64_t on_time(const mp_line *line, const mp_op *op, int64_t deadline) {
    int64_t now = mp_loop_now(line->loop);
    return deadline >= now ? deadline : now + op->timeout_ms;
}

static bool replaceable(mp_line *line) {
    int64_t now = mp_loop_now(line->loop);
    if (mp_conn_state_of(line->conn) != MP_CONN_READY || now - line->replaced < REPLACE_MS) return false;
    line->replaced = now;
    return true;
}

bool mp_line_replaced(mp_line *line, const mp_op *op, mp_cmd *cmd, redisReply *r) {
    bool error = r && r->type == REDIS_REPLY_ERROR;
    if (!error || mp_remedy_of(r) != MP_REMEDY_RECONNECT || op->resent || !replaceable(line)) return false;
    pond_error *why = mp_command_error(r, &line->node->address);
    mp_reply_free(r);
    mp_conn_replace(line->conn, cmd, why);
    return true;
}

static void answered(mp_cmd *cmd, redisReply *r, pond_error *error) {
    mp_request *q = MP_OF(cmd, mp_request, cmd);
    mp_line *line = q->line;
    mp_op *op = q->op;
    if (r) mp_line_heard(line, cmd);
    line->confirming -= q->confirms;
    if (!op) { /* nobody waits; a lease that was granted all the same goes back */
        if (!r && q->forgotten) mp_doubt_remember(line, &q->forgotten_key, q->token);
        if (r && q->forgotten && r->type == REDIS_REPLY_ARRAY && r->elements == 3 && r->element[0] &&
            r->element[0]->type == REDIS_REPLY_INTEGER && r->element[0]->integer == 2)
            mp_lease_release(line, &q->forgotten_key, q->token);
        mp_reply_free(r);
        mp_request_free(q);
        return;
    }
    if (r && q->odd) { /* the time was refused, so the value cannot be judged */
        mp_reply_free(r);
        r = q->odd;
        q->odd = NULL;
    }
    if (!mp_line_replaced(line, op, cmd, r)) mp_line_conclude(q, r, error);
}

void mp_line_conclude(mp_request *q, redisReply *r, pond_error *error) {
    mp_line *line = q->line;
    mp_op *op = q->op;
    if (!op) {
        mp_request_free(q);
        return;
    }
    bool lent = mp_is_put(op);
    uint8_t asked_under[MP_FENCE_LEN];
    memcpy(asked_under, q->fence, MP_FENCE_LEN);
    int64_t pttl = q->pttl;
    bool evaluated = q->evaluated;
    unsigned again = q->again + 1u;
    bool cut = q->cmd.cut, waited = q->cmd.is_late;
    int64_t deadline = q->cmd.deadline;
    mp_request_free(q);
    if (!r) {
        /* A server or a proxy that closes idle connections is there all the same; every operation may be repeated. */
        if (cut && !op->resent && op->kind != MP_ADD) {
            op->resent = true;
            /* A generation that was made, and whose tag was invalidated since, must not be made once more. */
            if (op->kind == MP_TAG_MAKE) mp_random_bytes(op->token, MP_TOKEN_LEN);
            submit(line, op, deadline);
        } else {
            if (waited) deadline_passed(line);
            fail(line, op, true, pond_error_ref(error));
        }
        return;
    }
    if (r->type == REDIS_REPLY_ERROR) {
        bool once_more = mp_remedy_of(r) == MP_REMEDY_TEXT && !evaluated;
        pond_error *e = once_more ? NULL : mp_command_error(r, &line->node->address);
        if (!lent) mp_reply_free(r);
        if (op->behind && !op->behind->again)
            mp_once_leave(op->behind); /* it was not applied, so it may go with others again */
        if (e) mp_op_end(op, MP_FAILED, e);
        else send_op(line, op, deadline, true, again);
        return;
    }
    if (op->kind == MP_ACCEPT) op->behind->connection = line->made;
    mp_verdict verdict = lent ? mp_put_decode(op, r) : mp_command_decode(op, r, line->fence, asked_under, pttl);
    if (op->behind && op->behind->verdict == MP_STALE_FENCE) line->fence_doubted = true;
    if (op->kind == MP_EPOCH || op->kind == MP_SUMS) memcpy(op->fence, asked_under, MP_FENCE_LEN);
    /* LEASED, or a generation, under a fence that is no longer in force: the same call again sets it right. */
    bool leased = op->reply == MP_LEASED;
    bool outdated = verdict == MP_ANSWERED && (leased || op->kind == MP_TAG_MAKE) &&
                    memcmp(asked_under, line->fence, MP_FENCE_LEN) != 0;
    if (verdict == MP_ANSWERED && !outdated) {
        mp_once_leave(op->behind);
        op->done(op);
        return;
    }
    pond_value_free(op->value); /* of a refresh */
    op->value = NULL;
    if (again <= AGAIN_MAX) {
        send_op(line, op, deadline, false, again);
    } else {
        if (leased) mp_lease_release(line, &op->key, op->token);
        mp_op_end(op, MP_FAILED,
                  mp_error_new(POND_EPROTOCOL, "cache %s: it gave %d answers that cannot be used, one after the other",
                               line->node->address.shown, AGAIN_MAX + 1));
    }
}

static void late(mp_cmd *cmd) { mp_line_late(MP_OF(cmd, mp_request, cmd)); }

void mp_line_late(mp_request *q) {
    mp_op *op = q->op;
    if (!op) return;
    mp_line *line = q->line;
    deadline_passed(line);
    mp_line_forget(line, op);
    mp_op_end(op, MP_FAILED,
              mp_error_new(POND_ECACHE, "cache %s: no answer within command_timeout (%lld ms)",
                           line->node->address.shown, (long long)op->timeout_ms));
}

/* The lease was taken in another history of the server: what was loaded under it must not be stored. */
static bool fill_is_void(mp_line *line, mp_op *op) {
    if (op->kind != MP_FILL || memcmp(op->fence, line->fence, MP_FENCE_LEN) == 0) return false;
    mp_lease_release(line, &op->key, op->token);
    mp_op_end(op, MP_REFUSED, NULL);
    return true;
}

/* The store gave it while another history of the server was in force. */
static bool epoch_is_void(const mp_line *line, mp_op *op) {
    if (op->kind != MP_EPOCH || !op->behind->epoch || memcmp(op->fence, line->fence, MP_FENCE_LEN) == 0) return false;
    op->behind->verdict = MP_STALE_FENCE;
    mp_op_end(op, MP_REFUSED, NULL);
    return true;
}

/* The one that an ACCEPT is first sent under; what was put off for a check was not sent. */
static void note_fence(const mp_line *line, mp_op *op) {
    static const uint8_t none[MP_FENCE_LEN];
    bool sent = op->resent && memcmp(op->fence, none, sizeof none) != 0;
    if (op->kind == MP_ACCEPT && !sent) memcpy(op->fence, line->fence, MP_FENCE_LEN);
}

/* What was read for it was so in another history of the server. */
static bool fold_is_void(const mp_line *line, mp_op *op) {
    if (op->kind != MP_FOLD || memcmp(op->fence, line->fence, MP_FENCE_LEN) == 0) return false;
    op->behind->verdict = MP_CHANGED;
    mp_op_end(op, MP_REFUSED, NULL);
    return true;
}

/* ---- how old a value is ---- */

static void late_before(mp_cmd *cmd) { (void)cmd; /* the GET behind it has the same deadline */ }

static void timed(mp_cmd *cmd, redisReply *r, pond_error *error) {
    mp_request *q = MP_OF(cmd, mp_request, cmd), *get = q->timed;
    (void)error;
    mp_request_free(q);
    if (r && get && r->type == REDIS_REPLY_INTEGER) get->pttl = r->integer < 0 ? -1 : r->integer;
    else if (r && get) get->odd = r;
    if (!get || get->odd != r) mp_reply_free(r);
}

/* PTTL goes before the GET: so what is filled in between looks older than it is, and never younger. NULL: it was not sent. */
static mp_request *ask_time(mp_line *line, mp_request *get, const mp_op *op, int64_t deadline) {
    mp_request *q = mp_request_new(line, NULL);
    if (!q) return NULL;
    q->cmd.done = timed;
    q->cmd.late = late_before;
    q->timed = get;
    mp_buf_reset(&line->scratch);
    mp_command_pttl(&line->scratch, &op->key);
    return mp_request_send(line, q, op->timeout_ms, deadline) ? q : NULL;
}

/* Of another connection the server would say that all is well, whatever became of what was accepted on this one. And while one waits,
 * what is sent behind it waits with it. */
static bool confirms_in_vain(const mp_line *line, mp_op *op) {
    if (op->kind != MP_CONFIRM) return false;
    if (!op->behind->connection) return false; /* it only wants to know whether the server can */
    bool lost = op->behind->connection != line->made;
    if (!lost && !line->confirming) return false;
    mp_op_end(op, lost ? MP_REFUSED : MP_BUSY, NULL);
    return true;
}

static void unsent(mp_line *line, mp_op *op, bool again) {
    pond_error *why = mp_conn_up(line->conn);
    fail(line, op, op->resent || again,
         why ? pond_error_ref(why)
             : mp_error_new(POND_EOVERLOAD, "cache %s: more than 64 MiB wait to be sent, or memory is short",
                            line->node->address.shown));
}

static void send_now(mp_line *line, mp_op *op, int64_t deadline, bool with_text, unsigned again) {
    if (epoch_is_void(line, op) || fold_is_void(line, op) || confirms_in_vain(line, op)) return;
    if (!mp_is_put(op)) mp_puts_send_before(line, op);
    note_fence(line, op);
    mp_request *q = mp_request_new(line, op);
    if (!q) {
        mp_op_end(op, MP_FAILED, mp_error_new(POND_ENOMEM, "no memory for a command"));
        return;
    }
    /* Nobody may be there to hear a NOSCRIPT for a release, and then the lease would stand. */
    with_text = with_text || op->kind == MP_RELEASE || (op->kind == MP_PUBLISH && !op->value);
    memcpy(q->fence, line->fence, MP_FENCE_LEN);
    q->evaluated = with_text;
    q->confirms = op->kind == MP_CONFIRM;
    line->confirming += q->confirms;
    q->again = (uint8_t)again;
    q->cmd.done = answered;
    q->cmd.late = late;
    op->link_private = q;
    deadline = on_time(line, op, deadline);
    if (mp_is_put(op)) {
        mp_puts_add(line, q, deadline);
        return;
    }
    if ((op->kind == MP_ACCEPT || op->kind == MP_DEAD_RETRY) && !mp_once_take(line, op->behind)) {
        mp_line_unsendable(q);
        return;
    }
    bool asks_time = op->kind == MP_GET && (op->soft || op->timed);
    mp_request *before = asks_time ? ask_time(line, q, op, deadline) : NULL;
    if (asks_time && !before) {
        mp_request_free(q);
    } else {
        mp_buf_reset(&line->scratch);
        mp_command_encode(&line->scratch, op, line->fence, with_text);
        if (mp_request_send(line, q, op->timeout_ms, deadline)) return;
        line->confirming -= op->kind == MP_CONFIRM;
        if (before) before->timed = NULL;
    }
    unsent(line, op, again > 0);
}

void mp_line_unsendable(mp_request *q) {
    mp_op *op = q->op;
    bool again = q->again > 0;
    mp_line *line = q->line;
    mp_request_free(q);
    if (op) unsent(line, op, again);
}

/* Operations that wait for the handshake, or on a connection that stands for the fence, stand in a list by their link_private: a small node
 * each. */
typedef struct parked {
    mp_node node;
    mp_op *op;
    int64_t deadline;
    bool stood;
} parked;

static mp_op *unpark(mp_line *line, parked *w) {
    mp_op *op = w->op;
    mp_list_remove(&w->node);
    mp_loop_inflight(line->loop, -1);
    op->link_private = NULL;
    op->parked = false;
    free(w);
    return op;
}

static void park(mp_line *line, mp_op *op, int64_t deadline) {
    parked *w = malloc(sizeof *w);
    if (!w) {
        mp_op_end(op, MP_FAILED, mp_error_new(POND_ENOMEM, "no memory for a command"));
        return;
    }
    w->op = op;
    w->deadline = on_time(line, op, deadline);
    w->stood = mp_conn_state_of(line->conn) == MP_CONN_READY;
    op->link_private = w;
    op->parked = true;
    op->reply = MP_PENDING;
    mp_list_push(&line->waiting, &w->node);
    mp_loop_inflight(line->loop, 1);
    if (!line->timer.place || w->deadline < line->timer.at) mp_loop_timer_set(line->loop, &line->timer, w->deadline);
}

static void park_timeout(mp_timer *timer) {
    mp_line *line = MP_OF(timer, mp_line, timer);
    int64_t now = mp_loop_now(line->loop), next = INT64_MAX;
    for (mp_node *n = line->waiting.next, *after; n != &line->waiting; n = after) {
        after = n->next;
        parked *w = MP_OF(n, parked, node);
        if (w->deadline > now) {
            if (w->deadline < next) next = w->deadline;
            continue;
        }
        const char *what = w->stood ? "answer" : "connection";
        mp_op *op = unpark(line, w);
        deadline_passed(line);
        fail(line, op, op->resent,
             mp_error_new(POND_ECACHE, "cache %s: no %s within command_timeout (%lld ms)", line->node->address.shown,
                          what, (long long)op->timeout_ms));
        after = line->waiting.next; /* the list may have changed under the owner's hands */
        next = INT64_MAX;
    }
    if (next != INT64_MAX && (!timer->place || next < timer->at)) mp_loop_timer_set(line->loop, timer, next);
}

/* What waited for the fence on a connection that is gone is sent on the next one, as what was under way is. */
static void end_waiting(mp_line *line, pond_error *why, bool waited) {
    mp_node *n;
    int64_t now = mp_loop_now(line->loop);
    mp_node all;
    mp_list_init(&all);
    mp_list_move(&all, &line->stranded);
    while ((n = mp_list_shift(&all))) {
        parked *w = MP_OF(n, parked, node);
        bool anew = w->stood && !w->op->resent && w->deadline > now && !line->closing;
        int64_t deadline = w->deadline;
        mp_op *op = unpark(line, w);
        if (anew) {
            op->resent = true;
            submit(line, op, deadline);
            continue;
        }
        if (waited) deadline_passed(line);
        fail(line, op, op->resent, pond_error_ref(why));
    }
}

/* Does it carry the fence in force, so that a check under way must end first? A version must not come from a part of the history that the
 * server has lost; all else is judged by the fence when it is answered. */
static bool carries_fence(const mp_op *op) {
    return op->kind == MP_ACCEPT || op->kind == MP_EPOCH || op->kind == MP_FOLD;
}

/* Once a second; and before an epoch, or after a refusal, that was for another fence than the line knows: lines with two of them would
 * take one epoch after the other from each other. */
static bool fence_due(const mp_line *line, const mp_op *op, unsigned again) {
    return (op->kind == MP_EPOCH && !op->behind->epoch && !again) ||
           (line->fence_doubted && (op->kind == MP_ACCEPT || op->kind == MP_FOLD)) ||
           mp_loop_now(line->loop) - line->fence_sent >= FENCE_CHECK_MS;
}

static void send_op(mp_line *line, mp_op *op, int64_t deadline, bool with_text, unsigned again) {
    if (fill_is_void(line, op)) return;
    if (line->redis->fenced && !line->fence_asked && fence_due(line, op, again)) ask_fence(line);
    if (line->fence_asked && carries_fence(op)) park(line, op, deadline);
    else send_now(line, op, deadline, with_text, again);
}

/* The fence is known now, though its answer may have taken so long that the next check is due. */
static void send_waiting(mp_line *line) {
    mp_node *n;
    mp_loop_timer_stop(line->loop, &line->timer);
    while ((n = mp_list_shift(&line->waiting))) {
        parked *w = MP_OF(n, parked, node);
        int64_t deadline = w->deadline;
        mp_op *op = unpark(line, w);
        if (carries_fence(op)) send_now(line, op, deadline, false, 0);
        else send_op(line, op, deadline, false, 0);
    }
}

/* The handshake is done: what waited for it goes out. */
static void go_on(mp_line *line) {
    mp_conn_ready(line->conn);
    problem(line, "");
    mp_doubts_end(line);
    send_waiting(line);
}

static void submit(mp_line *line, mp_op *op, int64_t deadline) {
    op->reply = MP_PENDING;
    op->error = NULL;
    if (turned_away(line, op)) return;
    if (mp_conn_state_of(line->conn) == MP_CONN_READY) {
        send_op(line, op, deadline, false, 0);
        return;
    }
    pond_error *why = mp_conn_up(line->conn);
    if (why) fail(line, op, op->resent, pond_error_ref(why));
    else park(line, op, deadline);
}

void mp_line_submit(mp_line *line, mp_op *op) {
    op->resent = op->parked = op->timed = false;
    submit(line, op, mp_loop_now(line->loop) + op->timeout_ms);
}

void mp_line_forget(mp_line *line, mp_op *op) {
    if (!op->link_private) return;
    mp_once_leave(op->behind);
    if (op->parked) {
        unpark(line, op->link_private);
        if (op->kind == MP_LEASE && op->resent) mp_doubt_remember(line, &op->key, op->token);
        return;
    }
    mp_request *q = op->link_private;
    if (q->gathered) {
        mp_put_forget(q);
        return;
    }
    op->link_private = NULL;
    q->op = NULL;
    if (op->kind == MP_LEASE || op->kind == MP_RELEASE) mp_request_forget(q, &op->key, op->token);
}

bool mp_line_unsent(const mp_line *line, const mp_op *op) {
    if (!op->link_private) return false;
    if (!op->parked) return ((const mp_request *)op->link_private)->cmd.unsent; /* its time begins when it is sent */
    return ((const parked *)op->link_private)->deadline - mp_loop_now(line->loop) > op->timeout_ms / 4 * 3;
}

/* ---- life ---- */

static void handshake_answered(mp_cmd *cmd, redisReply *r, pond_error *error) {
    mp_request *q = MP_OF(cmd, mp_request, cmd);
    mp_line *line = q->line;
    mp_request_free(q);
    (void)error;
    if (r && r->type == REDIS_REPLY_ERROR) mp_conn_drop(line->conn, mp_command_error(r, &line->node->address));
    mp_reply_free(r);
}

static bool handshake_send(mp_line *line) {
    mp_request *q = mp_request_new(line, NULL);
    if (!q) return false;
    q->cmd.done = handshake_answered;
    q->cmd.late = late_own;
    return mp_request_send_own(line, q);
}

/* AUTH, SELECT and the fence check go out in one write; the fence's answer ends the handshake. */
static void connected(void *owner) {
    mp_line *line = owner;
    const mp_address *a = &line->node->address;
    mp_buf *out = &line->scratch;
    bool sent = true;
    line->fence_asked = false;
    for (mp_node *n = line->waiting.next; n != &line->waiting; n = n->next) {
        parked *w = MP_OF(n, parked, node);
        w->deadline = on_time(line, w->op, w->deadline);
    }
    line->stands = true;
    line->made++;
    atomic_fetch_add(&line->redis->connections, 1);
    atomic_fetch_add(&line->redis->connects, 1);
    if (a->password) {
        mp_buf_reset(out);
        mp_buf_text(out, a->username ? "*3\r\n" : "*2\r\n");
        mp_command_arg(out, "AUTH", 4);
        if (a->username) mp_command_arg(out, a->username, strlen(a->username));
        mp_command_arg(out, a->password, strlen(a->password));
        sent = handshake_send(line);
    }
    if (sent && a->database) {
        mp_buf_reset(out);
        mp_buf_text(out, "*2\r\n");
        mp_command_arg(out, "SELECT", 6);
        mp_command_number(out, a->database);
        sent = handshake_send(line);
    }
    if (sent && line->redis->fenced) {
        sent = ask_fence(line);
    } else if (sent) {
        go_on(line);
    }
    if (!sent) mp_conn_drop(line->conn, mp_error_new(POND_ENOMEM, "no memory to connect to the cache"));
    else if (!line->redis->fenced && !mp_breaker_closed(&line->node->breaker)) probe(line); /* nothing was asked yet */
}

static void stands_no_more(mp_line *line) {
    if (line->stands) atomic_fetch_sub(&line->redis->connections, 1);
    line->stands = false;
}

static void strand(mp_line *line) {
    mp_loop_timer_stop(line->loop, &line->timer);
    mp_list_move(&line->stranded, &line->waiting);
    mp_puts_strand(line);
}

static void lost(void *owner, pond_error *why, bool waited) {
    mp_line *line = owner;
    (void)waited;
    stands_no_more(line);
    problem(line, pond_error_message(why));
    mp_notify_distrust(line->notify, why);
    probe_failed(line);
    strand(line);
}

/* What it was sent has been told, or waits for the next one; now what waited behind that. */
static void left(void *owner, pond_error *why, bool waited) {
    mp_line *line = owner;
    end_waiting(line, why, waited);
    mp_puts_end(line, why);
}

bool mp_line_open(mp_line *line, mp_redis *redis, mp_node_entry *node, mp_loop *loop) {
    *line = (mp_line){.redis = redis, .node = node, .loop = loop};
    mp_list_init(&line->waiting);
    mp_list_init(&line->stranded);
    mp_list_init(&line->doubts);
    mp_puts_init(line);
    mp_random_bytes(line->session, sizeof line->session);
    mp_buf_init(&line->scratch);
    line->timer.fire = park_timeout;
    mp_conn_events events = {.owner = line, .connected = connected, .lost = lost, .left = left};
    line->conn = mp_conn_new(loop, &node->address, redis->connect_timeout, events);
    return line->conn != NULL;
}

void mp_line_close(mp_line *line) {
    pond_error *closed = mp_error_new(POND_ECLOSED, "the pond is closed");
    line->closing = true;
    mp_notify_free(line->notify);
    line->notify = NULL;
    mp_conn_free(line->conn);
    stands_no_more(line);
    strand(line);
    left(line, closed, false);
    pond_error_free(closed);
    mp_doubts_end(line);
    mp_requests_free(line);
    mp_once_free(line);
    mp_buf_free(&line->scratch);
}
