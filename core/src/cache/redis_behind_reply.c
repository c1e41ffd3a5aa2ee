/* Replies of the write-behind scripts to answers. What stands in the server is checked byte by byte before it is believed. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/quote.h"
#include "cache/redis.h"
#include "cache/redis_reply.h"
#include "model/json_number.h"

static bool is_text(const redisReply *r) { return r && r->type == REDIS_REPLY_STRING; }

static int64_t version_of(const char *bytes) {
    uint64_t number = 0;
    for (int i = 7; i >= 0; i--) number = number << 8 | (unsigned char)bytes[i];
    return (int64_t)number;
}

/* What a readable envelope holds: the absence, or a value that takes over the reply. */
static pond_value *value_of(redisReply *r, const mp_envelope *e) {
    if (e->flags & MP_ENVELOPE_NEGATIVE) return mp_value_absent();
    return mp_reply_value(r, (pond_codec)e->codec, e->payload, e->payload_len);
}

mp_reply mp_behind_no_memory(mp_op *op, const char *what) {
    op->error = mp_error_new(POND_ENOMEM, "no memory for %s", what);
    return MP_FAILED;
}

/* ---- readers ---- */

mp_reply mp_behind_dirty(mp_op *op, redisReply *r, const uint8_t *fence) {
    if (mp_reply_integer(r, 0) == 7) return MP_UNFOLDED;
    char shown[MP_QUOTE_MAX];
    mp_quote(shown, op->key.name + op->key.ns_len + 1, op->key.len - op->key.ns_len - 1u);
    redisReply *v = r->element[1];
    if (!is_text(v)) return mp_op_odd(op);
    mp_envelope e;
    mp_envelope_state state = mp_envelope_read(v->str, v->len, &e);
    if (state != MP_ENVELOPE_OK) {
        op->error = mp_error_new(POND_EPROTOCOL,
                                 "what was accepted for the key %s and is not in the store yet cannot be read: %s. A "
                                 "worker will put it to the dead letters",
                                 shown, mp_envelope_text(state));
        return MP_FAILED;
    }
    op->version = e.version;
    op->left = INT64_MAX;
    op->value = value_of(v, &e);
    if (op->value != mp_value_absent()) r->element[1] = NULL; /* the value's now */
    return memcmp(e.fence, fence, MP_FENCE_LEN) == 0 ? MP_HIT : MP_DIRTY;
}

/* ---- writers ---- */

static mp_reply accepted_as(mp_op *op, const char *version) {
    op->version = version_of(version);
    op->behind->epoch = op->version >> 40;
    op->behind->verdict = MP_VERDICT_OK;
    return MP_STORED;
}

static mp_reply accepted(mp_op *op, const redisReply *r) {
    mp_behind *b = op->behind;
    if (is_text(r) && r->len == 8) return accepted_as(op, r->str); /* one of several */
    if (r->type != REDIS_REPLY_ARRAY || r->elements < 1) return mp_op_odd(op);
    switch (r->element[0] && r->element[0]->type == REDIS_REPLY_INTEGER ? r->element[0]->integer : INT64_MIN) {
    case 1:
        if (r->elements != 2 || !is_text(r->element[1]) || r->element[1]->len != 8) return mp_op_odd(op);
        return accepted_as(op, r->element[1]->str);
    case 0: b->verdict = MP_OLD_NUMBER; return MP_REFUSED;
    case -1:
        b->epoch = mp_reply_integer(r, 1) > 0 ? mp_reply_integer(r, 1) : 0;
        b->verdict = MP_STALE_FENCE;
        return MP_REFUSED;
    case -2: b->verdict = MP_FULL; return MP_REFUSED;
    case -3: b->verdict = MP_CHANGED; return MP_REFUSED;
    case -4: b->verdict = b->member ? MP_ABSENT : MP_EXISTS; return MP_REFUSED;
    case -5:
        if (!b->member) return mp_op_odd(op);
        b->verdict = MP_FORGOTTEN;
        return MP_REFUSED;
    default: return mp_op_odd(op);
    }
}

mp_verdict mp_put_decode(mp_op *op, const redisReply *r) {
    op->error = NULL;
    op->reply = accepted(op, r);
    return MP_ANSWERED;
}

static mp_reply installed(mp_op *op, const redisReply *r) {
    if (r->type != REDIS_REPLY_INTEGER) return mp_op_odd(op);
    if (r->integer < 1) {
        op->behind->verdict = MP_STALE_FENCE;
        return MP_REFUSED;
    }
    op->behind->verdict = MP_VERDICT_OK;
    op->behind->epoch = r->integer;
    return MP_DONE;
}

static const char *text_at(const redisReply *r, size_t i) {
    return i < r->elements && is_text(r->element[i]) ? r->element[i]->str : "";
}

static mp_reply opened(mp_op *op, const redisReply *r) {
    if (r->type != REDIS_REPLY_ARRAY || r->elements != 3) return mp_op_odd(op);
    const char *policy = text_at(r, 1), *aof = text_at(r, 2);
    int ns_len = (int)op->key.ns_len;
    if (strncmp(policy, "allkeys", 7) == 0) {
        op->error =
            mp_error_new(POND_EOPTION,
                         "write=behind: the cache's maxmemory-policy is %.20s, so it may evict what is not in the "
                         "store yet: set it to noeviction, or to volatile-lru",
                         policy);
        return MP_FAILED;
    }
    long shards = strtol(text_at(r, 0), NULL, 10);
    if (shards != op->key.shards) {
        op->error = mp_error_new(POND_EOPTION,
                                 "write=behind: %.*s has %ld shards in this cache, and this version uses %u: use the "
                                 "version that began with it, or another namespace",
                                 ns_len, op->key.name, shards, op->key.shards);
        return MP_FAILED;
    }
    op->ms = *aof ? *aof == '1' : -1;
    return MP_DONE;
}

/* ---- the worker ---- */

/* An entry's place, or a letter's "ms-seq". */
static bool take_id(char *out, const redisReply *r) {
    if (!is_text(r) || r->len == 0 || r->len >= MP_BEHIND_ID_MAX || strspn(r->str, "0123456789-") != r->len)
        return false;
    memcpy(out, r->str, r->len + 1);
    return true;
}

/* A record as it stands there; a value takes it out of *of. False: it cannot be read. */
static bool take_record(redisReply **of, const uint8_t *fence, int64_t *version, bool *old_fence, pond_value **value) {
    redisReply *record = *of;
    mp_envelope envelope;
    if (record->len >= 16) *version = version_of(record->str + 8);
    if (mp_envelope_read(record->str, record->len, &envelope) != MP_ENVELOPE_OK) return false;
    *old_fence = memcmp(envelope.fence, fence, MP_FENCE_LEN) != 0;
    *value = value_of(record, &envelope);
    if (*value != mp_value_absent()) *of = NULL; /* the value's now */
    return true;
}

mp_taken mp_behind_take(mp_behind_entry *e, redisReply **of, const uint8_t *fence) {
    redisReply *k = of[1], *record = of[2];
    if (!take_id(e->id, of[0]) || !is_text(k)) return MP_TAKEN_ODD;
    e->large = record && record->type == REDIS_REPLY_INTEGER && record->integer > 0;
    if (record && record->type != REDIS_REPLY_NIL && !is_text(record) && !e->large) return MP_TAKEN_ODD;
    if (!(e->key = malloc(k->len + 1))) return MP_TAKEN_NO_MEMORY;
    memcpy(e->key, k->str, k->len + 1);
    e->key_len = k->len;
    if (!is_text(record)) return MP_TAKEN;
    bool well = take_record(&of[2], fence, &e->version, &e->old_fence, &e->value);
    if (k->len > MP_KEY_MAX) {
        pond_value_free(e->value);
        e->value = NULL;
    }
    e->damaged = !well || k->len > MP_KEY_MAX;
    return MP_TAKEN;
}

mp_reply mp_behind_take_all(mp_op *op, redisReply **from, size_t n, size_t width, mp_take_one *take,
                            const uint8_t *fence) {
    mp_behind *b = op->behind;
    mp_taken how = MP_TAKEN;
    b->entries = n ? calloc(n, sizeof *b->entries) : NULL;
    if (n && !b->entries) how = MP_TAKEN_NO_MEMORY;
    for (b->count = 0; b->count < n && how == MP_TAKEN; b->count++)
        how = take(&b->entries[b->count], from + width * b->count, fence);
    if (how == MP_TAKEN) return MP_DONE;
    mp_behind_clear(b);
    return how == MP_TAKEN_ODD ? mp_op_odd(op) : mp_behind_no_memory(op, "what waits for the store");
}

static mp_reply taken_in(mp_op *op, redisReply *r, const uint8_t *fence) {
    mp_behind *b = op->behind;
    if (r->type != REDIS_REPLY_ARRAY || r->elements < 4 || r->elements % 3 != 1 || !is_text(r->element[2]))
        return mp_op_odd(op);
    size_t n = (r->elements - 4) / 3;
    b->newest[0] = 0;
    if (r->element[2]->len && !take_id(b->newest, r->element[2])) return mp_op_odd(op);
    b->backlog = mp_reply_integer(r, 0);
    b->epoch = mp_reply_integer(r, 1);
    if (b->backlog < 0 || b->epoch < 0 || mp_reply_integer(r, 3) < 0) return mp_op_odd(op);
    b->increments = mp_reply_integer(r, 3) > 0;
    return mp_behind_take_all(op, r->element + 4, n, 3, mp_behind_take, fence);
}

/* ---- increments ---- */

static bool read_sum(mp_sum *sum, const redisReply *member, const redisReply *text) {
    mp_number n;
    if (!is_text(text) || mp_number_parse(text->str, text->len, &n) != MP_NUMBER_FINITE || n.is_real) return false;
    if (n.integer < -MP_INCREMENT_MOST || n.integer > MP_INCREMENT_MOST) return false;
    *sum = (mp_sum){.len = member->len, .by = n.integer};
    return true;
}

/* The hash of wb_incr.lua. What cannot be read is `damaged`. */
mp_taken mp_behind_take_sums(mp_sums *out, const redisReply *hash) {
    size_t n = hash->elements / 2;
    if (!n) return MP_TAKEN;
    if (!(out->sum = calloc(n, sizeof *out->sum))) return MP_TAKEN_NO_MEMORY;
    for (size_t i = 0; i < n; i++) {
        const redisReply *member = hash->element[2 * i], *text = hash->element[2 * i + 1];
        if (!is_text(member) || !is_text(text)) return MP_TAKEN_ODD;
        mp_sum *sum = &out->sum[out->n];
        if (member->len == 0 && text->len >= 16) {
            out->newest = version_of(text->str);
            out->first = version_of(text->str + 8);
        } else if (member->len && read_sum(sum, member, text)) {
            if (!(sum->member = malloc(member->len + 1))) return MP_TAKEN_NO_MEMORY;
            memcpy(sum->member, member->str, member->len + 1);
            out->n++;
        } else {
            out->damaged = true;
        }
    }
    out->damaged |= out->newest <= 0 || out->first <= 0;
    return MP_TAKEN;
}

static mp_taken take_unfolded(mp_sums *out, redisReply *of, const uint8_t *fence) {
    if (!of || of->type == REDIS_REPLY_NIL) return MP_TAKEN;
    if (of->type != REDIS_REPLY_ARRAY || of->elements != 2) return MP_TAKEN_ODD;
    redisReply *record = of->element[0], *hash = of->element[1];
    if (!hash || hash->type != REDIS_REPLY_ARRAY || hash->elements % 2 != 0) return MP_TAKEN_ODD;
    if (record && record->type != REDIS_REPLY_NIL && !is_text(record)) return MP_TAKEN_ODD;
    if (is_text(record))
        out->damaged = !take_record(&of->element[0], fence, &out->version, &out->old_fence, &out->value);
    return mp_behind_take_sums(out, hash);
}

static mp_reply unfolded(mp_op *op, redisReply *r, const uint8_t *fence) {
    mp_behind *b = op->behind;
    if (r->type != REDIS_REPLY_ARRAY || r->elements != b->count) return mp_op_odd(op);
    b->sums = calloc(b->count + 1, sizeof *b->sums);
    mp_taken how = b->sums ? MP_TAKEN : MP_TAKEN_NO_MEMORY;
    for (size_t i = 0; i < b->count && how == MP_TAKEN; i++) how = take_unfolded(&b->sums[i], r->element[i], fence);
    if (how == MP_TAKEN) return MP_DONE;
    for (size_t i = 0; b->sums && i < b->count; i++) mp_sums_clear(&b->sums[i]);
    free(b->sums);
    b->sums = NULL;
    return how == MP_TAKEN_ODD ? mp_op_odd(op) : mp_behind_no_memory(op, "increments that wait");
}

static mp_reply folded(mp_op *op, const redisReply *r) {
    mp_behind *b = op->behind;
    const redisReply *version = r->type == REDIS_REPLY_ARRAY && r->elements == 2 ? r->element[1] : NULL;
    b->verdict = MP_VERDICT_OK;
    if (mp_reply_integer(r, 0) == 1 && is_text(version) && version->len == (op->value ? 8 : 0)) {
        op->version = op->value ? version_of(version->str) : 0;
        return op->value ? MP_STORED : MP_DONE;
    }
    if (r->type != REDIS_REPLY_ARRAY || r->elements < 1 || !r->element[0] ||
        r->element[0]->type != REDIS_REPLY_INTEGER || (r->element[0]->integer != -1 && r->element[0]->integer != -3))
        return mp_op_odd(op);
    b->verdict = r->element[0]->integer == -1 ? MP_STALE_FENCE : MP_CHANGED;
    return MP_REFUSED;
}

static mp_reply acked(mp_op *op, const redisReply *r) {
    mp_behind *b = op->behind;
    if (r->type != REDIS_REPLY_STRING || r->len != b->count) return mp_op_odd(op);
    for (size_t i = 0; i < b->count; i++) b->entries[i].acked = r->str[i] == '1';
    return MP_DONE;
}

static mp_reply owned(mp_op *op, const redisReply *r) {
    if (r->type != REDIS_REPLY_ARRAY || r->elements != 2) return mp_op_odd(op);
    op->ms = mp_reply_integer(r, 1);
    if (mp_reply_integer(r, 0) != 1) return MP_REFUSED;
    return op->lease_ms > 0 ? MP_STORED : MP_DONE;
}

/* One of two, by an integer. */
static mp_reply either(mp_op *op, const redisReply *r, mp_reply one) {
    if (r->type != REDIS_REPLY_INTEGER) return mp_op_odd(op);
    return r->integer == 1 ? one : MP_REFUSED;
}

/* Of its configuration, all that is about its append-only file. */
static mp_reply configured(mp_op *op, const redisReply *r) {
    static const char *const wanted[][2] = {
        {"appendonly", "yes"}, {"appendfsync", "always"}, {"no-appendfsync-on-rewrite", "no"}};
    size_t found = 0;
    if (r->type != REDIS_REPLY_ARRAY && r->type != REDIS_REPLY_MAP) return mp_op_odd(op);
    for (size_t i = 0; i + 1 < r->elements; i += 2)
        for (size_t k = 0; k < 3; k++)
            found += is_text(r->element[i]) && is_text(r->element[i + 1]) &&
                     strcmp(r->element[i]->str, wanted[k][0]) == 0 && strcmp(r->element[i + 1]->str, wanted[k][1]) == 0;
    op->ms = found == 3;
    return MP_DONE;
}

/* WAIT says on how many replicas, WAITAOF on how many disks: its own, and replicas'. */
static mp_reply confirmed(mp_op *op, const redisReply *r) {
    bool two = r->type == REDIS_REPLY_ARRAY && r->elements == 2;
    int64_t count = two ? mp_reply_integer(r, 0) : r->type == REDIS_REPLY_INTEGER ? r->integer : -1;
    if (count < 0 || two != (op->ms == MP_ON_DISK)) return mp_op_odd(op);
    op->ms = count;
    return MP_DONE;
}

mp_reply mp_behind_decode(mp_op *op, redisReply *r, const uint8_t *fence) {
    switch (op->kind) {
    case MP_ACCEPT: return accepted(op, r);
    case MP_EPOCH: return installed(op, r);
    case MP_OWN: return owned(op, r);
    case MP_TAKE: return taken_in(op, r, fence);
    case MP_ACK: return acked(op, r);
    case MP_SUMS: return unfolded(op, r, fence);
    case MP_FOLD: return folded(op, r);
    case MP_DEAD: return either(op, r, MP_STORED);
    case MP_DEAD_LIST: return mp_dead_list_decode(op, r, fence);
    case MP_DEAD_RETRY: return mp_dead_retry_decode(op, r);
    case MP_DEAD_DROP:
        return op->resent ? MP_DONE : either(op, r, MP_DONE); /* the first time it may have been dropped */
    case MP_CONFIRM: return op->ms == MP_AT_ONCE ? configured(op, r) : confirmed(op, r);
    case MP_FORGET: return r->type == REDIS_REPLY_INTEGER ? MP_DONE : mp_op_odd(op);
    case MP_BEHIND_OPEN: return opened(op, r);
    default: return mp_op_odd(op);
    }
}
