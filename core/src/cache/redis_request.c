/* Requests: the commands of a line. Those that have ended are kept for the next ones. */
#include <stdlib.h>
#include <string.h>

#include "cache/redis.h"
#include "cache/redis_reply.h"

#define FREE_MAX 1024

mp_request *mp_request_new(mp_line *line, mp_op *op) {
    mp_request *q = line->free;
    if (q) {
        line->free = q->next_free;
        line->free_count--;
    } else if (!(q = malloc(sizeof *q))) {
        return NULL;
    }
    q->line = line;
    q->op = op;
    q->evaluated = q->confirms = q->gathered = false;
    q->again = 0;
    q->pttl = MP_PTTL_UNKNOWN;
    q->odd = NULL;
    q->timed = q->together = NULL;
    q->forgotten = NULL;
    mp_list_init(&q->cmd.node);
    return q;
}

void mp_request_free(mp_request *q) {
    if (q->op) q->op->link_private = NULL;
    free(q->forgotten);
    mp_reply_free(q->odd);
    mp_line *line = q->line;
    if (line->closing || line->free_count >= FREE_MAX) {
        free(q);
        return;
    }
    q->next_free = line->free;
    line->free = q;
    line->free_count++;
}

void mp_requests_free(mp_line *line) {
    for (mp_request *q = line->free, *next; q; q = next) {
        next = q->next_free;
        free(q);
    }
}

bool mp_request_send(mp_line *line, mp_request *q, int64_t timeout_ms, int64_t deadline) {
    if (!line->scratch.failed &&
        mp_conn_send(line->conn, &q->cmd, line->scratch.data, line->scratch.len, timeout_ms, deadline))
        return true;
    mp_request_free(q);
    return false;
}

bool mp_request_send_own(mp_line *line, mp_request *q) {
    int64_t timeout_ms = line->redis->command_timeout;
    return mp_request_send(line, q, timeout_ms, mp_loop_now(line->loop) + timeout_ms);
}

void mp_request_forget(mp_request *q, const mp_key *key, const uint8_t *token) {
    q->forgotten = malloc(key->len + 1);
    if (!q->forgotten) return;
    memcpy(q->forgotten, key->name, key->len);
    q->forgotten_key = *key;
    q->forgotten_key.name = q->forgotten;
    memcpy(q->token, token, MP_TOKEN_LEN);
}
