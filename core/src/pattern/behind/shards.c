#include "pattern/behind/shards.h"

void mp_shard_key(const mp_backlog *b, mp_key *key, char name[MP_NAME_MAX + 1], uint8_t shard) {
    mp_key_make_shard(key, name, b->policy->options.namespace, b->policy->ns_len, MP_BACKLOG_SHARDS, shard);
}

mp_op *mp_shards_add(mp_shards *s, mp_op_kind kind, uint8_t shard) {
    size_t at = s->n++;
    mp_op *op = &s->errand[at].op;
    s->shard[at] = shard;
    s->behind[at] = (mp_behind){0};
    *op = (mp_op){.kind = kind, .behind = &s->behind[at], .timeout_ms = s->backlog->policy->options.command_timeout};
    mp_shard_key(s->backlog, &op->key, s->name[at], shard);
    return op;
}

static int look_at_all(mp_shards *s, int code, pond_error **err) {
    for (size_t i = 0; i < s->n; i++) {
        int one = mp_errand_code(&s->errand[i], code == POND_OK ? err : NULL);
        if (code == POND_OK) code = one;
    }
    return code;
}

int mp_shards_send(mp_shards *s, pond_error **err) {
    int code = s->n ? mp_wait_errands_on(s->lane, s->backlog->pond, s->errand, s->n, err) : POND_OK;
    return look_at_all(s, code, err);
}

int mp_shards_begin(mp_shards *s, pond_error **err) {
    return s->n ? mp_wait_errands_begin(&s->sent, s->backlog->pond, s->errand, s->n, err) : POND_OK;
}

int mp_shards_end(mp_shards *s, pond_error **err) {
    return s->sent.call ? look_at_all(s, mp_wait_errands_end(&s->sent, err), err) : POND_OK;
}
