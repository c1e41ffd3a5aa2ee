/* Leases in doubt: the question for one, or its return, was never answered. If it stands, nobody loads, and all would wait for its
 * end; so it is given back, on the next connection if there is none now. */
#include <stdlib.h>
#include <string.h>

#include "cache/redis.h"
#include "cache/redis_reply.h"

#define DOUBTS_MAX 256

typedef struct doubt {
    mp_node node;
    mp_key key;
    uint8_t token[MP_TOKEN_LEN];
    char name[];
} doubt;

static doubt *next_doubt(mp_line *line) {
    mp_node *n = mp_list_shift(&line->doubts);
    if (!n) return NULL;
    line->doubt_count--;
    return MP_OF(n, doubt, node);
}

void mp_doubt_remember(mp_line *line, const mp_key *key, const uint8_t *token) {
    doubt *d = line->closing ? NULL : malloc(sizeof *d + key->len);
    if (!d) return;
    if (line->doubt_count == DOUBTS_MAX) free(next_doubt(line)); /* most likely it has ended by its time */
    d->key = *key;
    d->key.name = memcpy(d->name, key->name, key->len);
    memcpy(d->token, token, MP_TOKEN_LEN);
    mp_list_push(&line->doubts, &d->node);
    line->doubt_count++;
}

static void returned(mp_cmd *cmd, redisReply *r, pond_error *error) {
    mp_request *q = MP_OF(cmd, mp_request, cmd);
    (void)error;
    if (!r && q->forgotten) mp_doubt_remember(q->line, &q->forgotten_key, q->token);
    mp_reply_free(r);
    mp_request_free(q);
}

static void late(mp_cmd *cmd) { (void)cmd; }

void mp_lease_release(mp_line *line, const mp_key *key, const uint8_t *token) {
    mp_op op = {.kind = MP_RELEASE, .key = *key};
    memcpy(op.token, token, MP_TOKEN_LEN);
    mp_request *q = mp_request_new(line, NULL);
    if (!q) return;
    mp_buf_reset(&line->scratch);
    mp_command_encode(&line->scratch, &op, line->fence, true);
    q->cmd.done = returned;
    q->cmd.late = late;
    mp_request_forget(q, key, token);
    mp_request_send_own(line, q);
}

void mp_doubts_end(mp_line *line) {
    for (doubt *d; (d = next_doubt(line));) {
        if (!line->closing) mp_lease_release(line, &d->key, d->token);
        free(d);
    }
}
