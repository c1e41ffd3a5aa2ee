/* Replies about dead letters: what the store would not have, and why. */
#include <stdlib.h>
#include <string.h>

#include "cache/redis.h"
#include "cache/redis_reply.h"

static mp_taken take_increments(mp_behind_entry *e, const redisReply *hash) {
    if (!hash || hash->type != REDIS_REPLY_ARRAY || hash->elements % 2 != 0) return MP_TAKEN_ODD;
    if (hash->elements == 0) return MP_TAKEN;
    if (!(e->increments = calloc(1, sizeof *e->increments))) return MP_TAKEN_NO_MEMORY;
    return mp_behind_take_sums(e->increments, hash);
}

/* There is no record. */
static void alone(mp_behind_entry *e) {
    e->damaged = e->key_len > MP_KEY_MAX || !e->increments || e->increments->damaged;
    if (!e->damaged) e->version = e->increments->newest;
}

static mp_taken take(mp_behind_entry *e, redisReply **of, const uint8_t *fence) {
    const redisReply *why = of[3];
    if (!why || why->type != REDIS_REPLY_STRING || !of[2] || of[2]->type != REDIS_REPLY_STRING) return MP_TAKEN_ODD;
    bool record = of[2]->len > 0;
    redisReply *parts[] = {of[0], of[1], record ? of[2] : NULL};
    mp_taken how = mp_behind_take(e, parts, fence);
    if (record) of[2] = parts[2]; /* it may be the value's now */
    if (how == MP_TAKEN) how = take_increments(e, of[4]);
    if (how != MP_TAKEN) return how;
    if (!record) alone(e);
    if (!(e->why = malloc(why->len + 1))) return MP_TAKEN_NO_MEMORY;
    memcpy(e->why, why->str, why->len + 1);
    e->why_len = why->len;
    return MP_TAKEN;
}

mp_reply mp_dead_list_decode(mp_op *op, redisReply *r, const uint8_t *fence) {
    mp_behind *b = op->behind;
    if (r->type != REDIS_REPLY_ARRAY || r->elements < 2 || (r->elements - 2) % 5 != 0) return mp_op_odd(op);
    size_t n = (r->elements - 2) / 5;
    int64_t more = mp_reply_integer(r, 1);
    b->backlog = mp_reply_integer(r, 0);
    b->more = more == 1;
    if (b->backlog < 0 || more < 0 || (more && !n)) return mp_op_odd(op);
    return mp_behind_take_all(op, r->element + 2, n, 5, take, fence);
}

mp_reply mp_dead_retry_decode(mp_op *op, const redisReply *r) {
    mp_behind *b = op->behind;
    if (r->type != REDIS_REPLY_INTEGER) return mp_op_odd(op);
    switch (r->integer) {
    case 1: b->verdict = MP_VERDICT_OK; return MP_STORED;
    case 0: b->verdict = MP_OLD_NUMBER; return MP_REFUSED;
    case -2: b->verdict = MP_FULL; return MP_REFUSED;
    case -3: b->verdict = MP_CHANGED; return MP_REFUSED;
    case -4: b->verdict = MP_NO_LETTER; return MP_REFUSED;
    default: return mp_op_odd(op);
    }
}
