/* Changes of documents that are written behind, on their way to a shard's backlog. Those of one shard that are submitted in the same turn of
 * the loop go as one call of wb_puts.lua, at the end of the turn, which costs the server less than a call for each. As a
 * script is atomic, that is what as many calls, one behind the other, would be; each change has its own answer, and whatever becomes of
 * the call, each goes on by itself. Nobody waits for another turn, and what is submitted while the driver sleeps goes at once, but behind so many
 * calls that the server is busy all the same: there changes are held back until the next answer, and more of them go together. Their time runs
 * meanwhile, so those of a call may have come at different times, and each has its own deadline. */
#include <string.h>

#include "cache/redis.h"
#include "cache/redis_reply.h"

#define TOGETHER_MAX 64 /* of one call: the server does nothing else meanwhile, and Lua has no room for thousands */
#define TOGETHER_BYTES (1 << 20) /* of their values; a larger one goes alone */
#define GATHERED_MAX 256         /* a longer turn is sent in pieces, so that the server works meanwhile */
#define CALLS_MOST 8 /* under way: behind so many, what comes next waits for one of them, and goes with others */

static mp_request *request_of(mp_node *node) { return MP_OF(node, mp_request, cmd.node); }

static bool same_shard(const mp_key *a, const mp_key *b) {
    return a->shard == b->shard && a->shards == b->shards && a->ns_len == b->ns_len &&
           memcmp(a->name, b->name, a->ns_len) == 0;
}

/* Of what is said once in a call, and of its deadline. */
static bool may_go_together(const mp_request *a, const mp_request *b) {
    return !a->op->behind->once && !b->op->behind->once && a->evaluated == b->evaluated &&
           a->op->resent == b->op->resent && a->op->timeout_ms == b->op->timeout_ms &&
           a->cmd.deadline - a->cmd.sent == b->cmd.deadline - b->cmd.sent && a->op->behind->most == b->op->behind->most;
}

static void take_out(mp_request *q) {
    mp_list_remove(&q->cmd.node);
    q->gathered = false;
    q->line->gathered--;
    mp_loop_inflight(q->line->loop, -1);
}

/* ---- the answer ---- */

/* What a server says that is none of ours. */
static redisReply none = {.type = REDIS_REPLY_NIL};

/* `version`: room for one. */
static redisReply *part_of(redisReply *r, size_t i, size_t count, redisReply *version) {
    if (!r || count == 1 || r->type == REDIS_REPLY_ERROR) return r; /* an error is of all of them */
    if (r->type == REDIS_REPLY_STRING && r->len == 8 * count) {
        *version = (redisReply){.type = REDIS_REPLY_STRING, .str = r->str + 8 * i, .len = 8};
        return version;
    }
    return r->type == REDIS_REPLY_ARRAY && r->elements == count && r->element[i] ? r->element[i] : &none;
}

static mp_op *somebody(const mp_request *q) {
    while (q && !q->op) q = q->together;
    return q ? q->op : NULL;
}

static void answered(mp_cmd *cmd, redisReply *r, pond_error *error) {
    mp_request *q = MP_OF(cmd, mp_request, cmd);
    mp_op *op = somebody(q);
    mp_cmd as = *cmd;
    size_t count = 0, i = 0;
    mp_line *line = q->line;
    if (r) mp_line_heard(line, cmd);
    if (op && mp_line_replaced(line, op, cmd, r)) return; /* it will be answered once more */
    line->calls--;
    if (line->gathered) mp_loop_defer(line->loop, &line->send_puts);
    for (const mp_request *one = q; one; one = one->together) count++;
    for (mp_request *next; q; q = next) {
        next = q->together;
        q->cmd.cut = as.cut;
        q->cmd.is_late = as.is_late;
        q->cmd.deadline = as.deadline + q->after;
        redisReply version;
        mp_line_conclude(q, part_of(r, i++, count, &version), error);
    }
    mp_reply_free(r);
}

/* For those whose time is over; the others of the call have theirs yet. */
static void late(mp_cmd *cmd) {
    mp_request *first = MP_OF(cmd, mp_request, cmd);
    int64_t passed = mp_loop_now(first->line->loop) - cmd->deadline, next = INT64_MAX;
    for (mp_request *q = first; q; q = q->together) {
        if (q->after <= passed) mp_line_late(q);
        else if (q->op && q->after < next) next = q->after;
    }
    if (next == INT64_MAX) return;
    cmd->is_late = false;
    cmd->deadline += next;
    for (mp_request *q = first; q; q = q->together) q->after -= next;
}

/* ---- the call ---- */

static bool share(mp_line *line, mp_request *first) {
    uint8_t part = 1;
    if (!mp_once_take(line, first->op->behind)) return false;
    for (mp_request *q = first->together; q; q = q->together)
        mp_once_share(q->op->behind, first->op->behind->once, part++);
    return true;
}

/* What is sent in the turn in which it came begins now, and of what was held back the time has run. But if it is over, though what it waited for is
 * there, the host was late to look. */
static int64_t deadline_of(const mp_request *q, int64_t now) {
    if (!q->held) return q->cmd.deadline + now - q->cmd.sent;
    return q->cmd.deadline >= now ? q->cmd.deadline : now + q->op->timeout_ms;
}

/* The earliest of theirs, and how long after it each one's is. */
static int64_t set_deadlines(mp_request *first, int64_t now) {
    int64_t earliest = INT64_MAX;
    for (mp_request *q = first; q; q = q->together) {
        q->after = deadline_of(q, now);
        if (q->after < earliest) earliest = q->after;
    }
    for (mp_request *q = first; q; q = q->together) q->after -= earliest;
    return earliest;
}

static void send_together(mp_line *line, mp_request *first, size_t count) {
    int64_t deadline = set_deadlines(first, mp_loop_now(line->loop));
    first->cmd.done = answered;
    first->cmd.late = late;
    bool known = share(line, first);
    mp_buf_reset(&line->scratch);
    if (known) mp_behind_encode_puts(&line->scratch, first, count, line->fence);
    line->calls++;
    if (known && !line->scratch.failed &&
        mp_conn_send(line->conn, &first->cmd, line->scratch.data, line->scratch.len, first->op->timeout_ms, deadline))
        return;
    line->calls--;
    for (mp_request *q = first, *next; q; q = next) {
        next = q->together;
        mp_line_unsendable(q);
    }
}

/* `first`, and what follows it and may go with it. Behind what may not, though it is of the same shard, nothing of that goes first. */
static void send_from(mp_line *line, mp_node *list, mp_request *first) {
    size_t count = 1, bytes = first->op->value->len;
    mp_request *last = first;
    mp_node *n = first->cmd.node.next;
    take_out(first);
    first->together = NULL;
    for (mp_node *after; n != list && count < TOGETHER_MAX; n = after) {
        mp_request *q = request_of(n);
        after = n->next;
        if (!same_shard(&q->op->key, &first->op->key)) continue;
        bytes += q->op->value->len;
        if (!may_go_together(q, first) || bytes > TOGETHER_BYTES) break;
        take_out(q);
        q->together = NULL;
        q->cmd.unsent = false;
        last = last->together = q;
        count++;
    }
    send_together(line, first, count);
}

void mp_puts_send(mp_line *line) {
    mp_node all;
    if (mp_conn_doomed(line->conn)) return; /* mp_puts_end comes */
    mp_list_init(&all);
    mp_list_move(&all, &line->puts);
    mp_loop_timer_stop(line->loop, &line->held);
    while (!mp_list_empty(&all)) send_from(line, &all, request_of(all.next));
}

void mp_puts_send_before(mp_line *line, const mp_op *op) {
    for (mp_node *n = line->puts.next, *after; line->gathered && n != &line->puts; n = after) {
        mp_request *q = request_of(n);
        after = n->next;
        if (q->op->key.hash != op->key.hash || !same_shard(&q->op->key, &op->key)) continue;
        mp_puts_send(line);
        return;
    }
}

/* ---- those that are held back ---- */

static bool wake_at(mp_line *line, int64_t at) {
    mp_timer *timer = &line->held;
    return (timer->place && timer->at <= at) || mp_loop_timer_set(line->loop, timer, at);
}

/* Their time begins at the end of the turn in which they came. False: there is no memory for its end. */
static bool hold_back(mp_line *line) {
    int64_t now = mp_loop_now(line->loop), earliest = INT64_MAX;
    for (mp_node *n = line->puts.prev; n != &line->puts && !request_of(n)->held; n = n->prev) {
        mp_request *q = request_of(n);
        q->cmd.deadline += now - q->cmd.sent;
        q->cmd.sent = now;
        q->held = true;
        if (q->cmd.deadline < earliest) earliest = q->cmd.deadline;
    }
    return earliest == INT64_MAX || wake_at(line, earliest);
}

static void end_of_turn(mp_task *task) {
    mp_line *line = MP_OF(task, mp_line, send_puts);
    if (line->calls < CALLS_MOST || !hold_back(line)) mp_puts_send(line);
}

/* They were not sent, so nothing has become of them. */
static void held_too_long(mp_timer *timer) {
    mp_line *line = MP_OF(timer, mp_line, held);
    int64_t now = mp_loop_now(line->loop), next = INT64_MAX, since = -1;
    if (line->calls < CALLS_MOST) { /* an answer came in this turn, and they go at its end */
        mp_loop_defer(line->loop, &line->send_puts);
        return;
    }
    for (mp_node *n = line->puts.next, *after; n != &line->puts; n = after) {
        after = n->next;
        mp_request *q = request_of(n);
        if (q->held && q->cmd.deadline <= now) {
            if (q->op->timeout_ms <= now - q->cmd.sent && q->cmd.sent > since) since = q->cmd.sent;
            mp_line_late(q);
            after = line->puts.next; /* the list may have changed under the owner's hands */
            next = INT64_MAX;
        } else if (q->held && q->cmd.deadline < next) {
            next = q->cmd.deadline;
        }
    }
    if (next != INT64_MAX && !wake_at(line, next)) mp_puts_send(line);
    if (since >= 0) mp_conn_drop_silent(line->conn, since);
}

void mp_puts_init(mp_line *line) {
    mp_list_init(&line->puts);
    mp_list_init(&line->stranded_puts);
    line->send_puts.run = end_of_turn;
    line->held.fire = held_too_long;
}

bool mp_is_put(const mp_op *op) { return op->kind == MP_ACCEPT && !op->behind->member; }

void mp_puts_add(mp_line *line, mp_request *q, int64_t deadline) {
    q->gathered = q->cmd.unsent = true;
    q->held = false;
    q->cmd.sent = mp_loop_now(line->loop);
    q->cmd.deadline = deadline;
    mp_list_push(&line->puts, &q->cmd.node);
    mp_loop_inflight(line->loop, 1);
    mp_loop_defer(line->loop, &line->send_puts);
    if (++line->gathered >= GATHERED_MAX) mp_puts_send(line);
}

void mp_put_forget(mp_request *q) {
    take_out(q);
    mp_request_free(q);
}

void mp_puts_strand(mp_line *line) {
    mp_list_move(&line->stranded_puts, &line->puts);
    mp_loop_timer_stop(line->loop, &line->held);
}

void mp_puts_end(mp_line *line, pond_error *why) {
    mp_node all;
    mp_list_init(&all);
    mp_list_move(&all, &line->stranded_puts);
    mp_loop_unpost(line->loop, &line->send_puts);
    while (!mp_list_empty(&all)) {
        mp_request *q = request_of(all.next);
        take_out(q);
        q->cmd.cut = !line->closing;
        q->cmd.is_late = false;
        mp_line_conclude(q, NULL, why);
    }
}
