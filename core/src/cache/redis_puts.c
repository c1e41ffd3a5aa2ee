/* Changes of documents that are written behind, on their way to a shard's backlog. Those of one shard that are submitted in the same turn of
 * the loop go as one call of wb_puts.lua, at the end of the turn, which costs the server less than a call for each. As a
 * script is atomic, that is what as many calls, one behind the other, would be; each change has its own answer, and whatever becomes of
 * the call, each goes on by itself. Nobody waits for another turn, and what is submitted while the driver sleeps goes at once, but behind so many
 * calls that the server is busy all the same: there changes wait for the next answer, and more of them go together. */
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
        q->cmd.deadline = as.deadline;
        redisReply version;
        mp_line_conclude(q, part_of(r, i++, count, &version), error);
    }
    mp_reply_free(r);
}

static void late(mp_cmd *cmd) {
    mp_puts_send(MP_OF(cmd, mp_request, cmd)->line); /* who waits for it has a deadline, too */
    for (mp_request *q = MP_OF(cmd, mp_request, cmd), *next; q; q = next) {
        next = q->together;
        mp_line_late(q);
    }
}

/* ---- the call ---- */

static bool share(mp_line *line, mp_request *first) {
    uint8_t part = 1;
    if (!mp_once_take(line, first->op->behind)) return false;
    for (mp_request *q = first->together; q; q = q->together)
        mp_once_share(q->op->behind, first->op->behind->once, part++);
    return true;
}

static void send_together(mp_line *line, mp_request *first, size_t count) {
    int64_t waited = line->held ? 0 : mp_loop_now(line->loop) - first->cmd.sent;
    first->cmd.done = answered;
    first->cmd.late = late;
    bool known = share(line, first);
    mp_buf_reset(&line->scratch);
    if (known) mp_behind_encode_puts(&line->scratch, first, count, line->fence);
    line->calls++;
    if (known && !line->scratch.failed &&
        mp_conn_send(line->conn, &first->cmd, line->scratch.data, line->scratch.len, first->op->timeout_ms,
                     first->cmd.deadline + waited))
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
    while (!mp_list_empty(&all)) send_from(line, &all, request_of(all.next));
    line->held = false;
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

static void end_of_turn(mp_task *task) {
    mp_line *line = MP_OF(task, mp_line, send_puts);
    line->held = line->calls >= CALLS_MOST;
    if (!line->held) mp_puts_send(line);
}

void mp_puts_init(mp_line *line) {
    mp_list_init(&line->puts);
    line->send_puts.run = end_of_turn;
}

bool mp_is_put(const mp_op *op) { return op->kind == MP_ACCEPT && !op->behind->member; }

void mp_puts_add(mp_line *line, mp_request *q, int64_t deadline) {
    q->gathered = q->cmd.unsent = true;
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

void mp_puts_end(mp_line *line, pond_error *why) {
    mp_node all;
    mp_list_init(&all);
    mp_list_move(&all, &line->puts);
    mp_loop_unpost(line->loop, &line->send_puts);
    while (!mp_list_empty(&all)) {
        mp_request *q = request_of(all.next);
        take_out(q);
        q->cmd.cut = !line->closing;
        q->cmd.is_late = false;
        mp_line_conclude(q, NULL, why);
    }
}
