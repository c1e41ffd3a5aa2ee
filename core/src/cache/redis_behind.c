/* The operations of a write-behind namespace, to RESP. Each script's header (lua/wb_*.lua) says what goes to it. */
#include <string.h>

#include "cache/redis.h"
#include "model/keyname.h"

static void part(mp_buf *out, mp_part which, const mp_key *key) {
    char name[MP_KEYNAME_MAX];
    size_t len = mp_keyname(name, which, key);
    mp_command_arg(out, name, len);
}

static void shard(mp_buf *out, mp_shard_part which, const mp_key *key) {
    char name[MP_KEYNAME_MAX];
    size_t len = mp_keyname_shard(name, which, key);
    mp_command_arg(out, name, len);
}

static void sessions(mp_buf *out, const mp_key *key, int64_t day) {
    char name[MP_KEYNAME_MAX];
    size_t len = mp_keyname_sessions(name, key, day);
    mp_command_arg(out, name, len);
}

static void user_key(mp_buf *out, const mp_key *key) {
    mp_command_arg(out, key->name + key->ns_len + 1, key->len - key->ns_len - 1u);
}

static void version(mp_buf *out, int64_t number) {
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)((uint64_t)number >> 8 * i);
    mp_command_arg(out, bytes, sizeof bytes);
}

void mp_behind_lease_encode(mp_buf *out, const mp_op *op, const uint8_t *fence, bool with_text) {
    mp_command_script(out, MP_SCRIPT_wb_get, with_text, 4, 7);
    part(out, MP_PART_VALUE, &op->key);
    part(out, MP_PART_LEASE, &op->key);
    part(out, MP_PART_INTENT, &op->key);
    shard(out, MP_SHARD_DIRTY, &op->key);
    mp_command_lease_args(out, op, fence);
    user_key(out, &op->key);
    mp_command_number(out, op->ttl_ms);
}

void mp_behind_inspect_encode(mp_buf *out, const mp_op *op, bool with_text) {
    mp_command_script(out, MP_SCRIPT_wb_inspect, with_text, 4, 1);
    part(out, MP_PART_VALUE, &op->key);
    part(out, MP_PART_INTENT, &op->key);
    part(out, MP_PART_LEASE, &op->key);
    shard(out, MP_SHARD_DIRTY, &op->key);
    user_key(out, &op->key);
}

static void slot_arg(mp_buf *out, const mp_behind *b) {
    char slot[MP_BEHIND_SESSION_LEN + 2];
    memcpy(slot, b->session, MP_BEHIND_SESSION_LEN);
    slot[MP_BEHIND_SESSION_LEN] = (char)(b->slot & 0xff);
    slot[MP_BEHIND_SESSION_LEN + 1] = (char)(b->slot >> 8);
    mp_command_arg(out, slot, sizeof slot);
}

/* By what it is known if it is sent again: session, slot, and number. */
static void slot_args(mp_buf *out, const mp_behind *b) {
    slot_arg(out, b);
    mp_command_number(out, b->n);
}

static void expectation(mp_buf *out, const mp_behind *b) {
    if (b->expect == MP_EXPECT_VERSION) version(out, b->expect_version);
    else mp_command_arg(out, "-", b->expect == MP_EXPECT_ABSENT);
}

/* 0: it is not. */
static int64_t cached_ms(const mp_op *op) { return op->ttl_ms > 0 ? op->ttl_ms + op->keep_ms : 0; }

/* Value, lease, deltas, dirty, stream, meta: the order of wb_put, wb_incr and wb_fold. */
static void six_keys(mp_buf *out, const mp_key *key) {
    part(out, MP_PART_VALUE, key);
    part(out, MP_PART_LEASE, key);
    part(out, MP_PART_INTENT, key);
    shard(out, MP_SHARD_DIRTY, key);
    shard(out, MP_SHARD_STREAM, key);
    shard(out, MP_SHARD_META, key);
}

/* The fence that it was first sent under tells whether the server may have forgotten it since. */
static void increment(mp_buf *out, const mp_op *op, const uint8_t *fence, bool with_text) {
    const mp_behind *b = op->behind;
    bool forgotten = op->resent && memcmp(op->fence, fence, MP_FENCE_LEN) != 0;
    mp_command_script(out, MP_SCRIPT_wb_incr, with_text, 7, 8);
    six_keys(out, &op->key);
    sessions(out, &op->key, b->day);
    user_key(out, &op->key);
    mp_command_arg(out, b->member, b->member_len);
    mp_command_number(out, b->by);
    mp_command_arg(out, fence, MP_FENCE_LEN);
    mp_command_number(out, b->most);
    slot_args(out, b);
    mp_command_arg(out, forgotten ? "1" : "0", 1);
}

static void accept(mp_buf *out, const mp_op *op, const uint8_t *fence, bool with_text) {
    const mp_behind *b = op->behind;
    mp_command_script(out, MP_SCRIPT_wb_put, with_text, 7, 8);
    six_keys(out, &op->key);
    sessions(out, &op->key, b->day);
    user_key(out, &op->key);
    mp_command_envelope(out, op, fence);
    mp_command_number(out, cached_ms(op));
    mp_command_arg(out, fence, MP_FENCE_LEN);
    mp_command_number(out, b->most);
    expectation(out, b);
    slot_args(out, b);
}

static void parts(mp_buf *out, mp_part which, const mp_request *first) {
    for (const mp_request *q = first; q; q = q->together) part(out, which, &q->op->key);
}

static void accept_all(mp_buf *out, const mp_request *first, size_t count, const uint8_t *fence) {
    const mp_op *op = first->op;
    mp_command_script(out, MP_SCRIPT_wb_puts, first->evaluated, 4 + 3 * count, 2 + 6 * count);
    shard(out, MP_SHARD_DIRTY, &op->key);
    shard(out, MP_SHARD_STREAM, &op->key);
    shard(out, MP_SHARD_META, &op->key);
    sessions(out, &op->key, op->behind->day);
    parts(out, MP_PART_VALUE, first);
    parts(out, MP_PART_LEASE, first);
    parts(out, MP_PART_INTENT, first);
    mp_command_arg(out, fence, MP_FENCE_LEN);
    mp_command_number(out, op->behind->most);
    for (const mp_request *q = first; q; q = q->together) user_key(out, &q->op->key);
    for (const mp_request *q = first; q; q = q->together) slot_arg(out, q->op->behind);
    for (const mp_request *q = first; q; q = q->together) mp_command_number(out, q->op->behind->n);
    for (const mp_request *q = first; q; q = q->together) expectation(out, q->op->behind);
    for (const mp_request *q = first; q; q = q->together) mp_command_number(out, cached_ms(q->op));
    for (const mp_request *q = first; q; q = q->together) mp_command_envelope(out, q->op, fence);
}

void mp_behind_encode_puts(mp_buf *out, const mp_request *first, size_t count, const uint8_t *fence) {
    if (count > 1) accept_all(out, first, count, fence);
    else accept(out, first->op, fence, first->evaluated);
}

static void sums(mp_buf *out, const mp_op *op, bool with_text) {
    const mp_behind *b = op->behind;
    char name[MP_NAME_MAX + 1];
    mp_command_script(out, MP_SCRIPT_wb_sums, with_text, 1 + b->count, 2 * b->count);
    shard(out, MP_SHARD_DIRTY, &op->key);
    for (size_t i = 0; i < b->count; i++) {
        mp_key key = mp_behind_entry_key(name, &op->key, &b->entries[i]);
        part(out, MP_PART_INTENT, &key);
    }
    for (size_t i = 0; i < b->count; i++) {
        mp_command_arg(out, b->entries[i].key, b->entries[i].key_len);
        version(out, b->entries[i].version);
    }
}

static void fold(mp_buf *out, const mp_op *op, bool with_text) {
    const mp_sums *sums = op->behind->sums;
    mp_command_script(out, MP_SCRIPT_wb_fold, with_text, 6, 6 + 2 * sums->n);
    six_keys(out, &op->key);
    user_key(out, &op->key);
    if (op->value) mp_command_envelope(out, op, op->fence);
    else mp_command_arg(out, "", 0);
    mp_command_number(out, cached_ms(op));
    mp_command_arg(out, op->fence, MP_FENCE_LEN);
    version(out, sums->first);
    version(out, sums->newest);
    for (size_t i = 0; i < sums->n; i++) {
        mp_command_arg(out, sums->sum[i].member, sums->sum[i].len);
        mp_command_number(out, sums->sum[i].by);
    }
}

static void ack(mp_buf *out, const mp_op *op, bool with_text) {
    const mp_behind *b = op->behind;
    char name[MP_NAME_MAX + 1];
    mp_command_script(out, MP_SCRIPT_wb_ack, with_text, 2 + 3 * b->count, 3 * b->count);
    shard(out, MP_SHARD_DIRTY, &op->key);
    shard(out, MP_SHARD_STREAM, &op->key);
    for (size_t i = 0; i < b->count; i++) {
        mp_key key = mp_behind_entry_key(name, &op->key, &b->entries[i]);
        part(out, MP_PART_INTENT, &key);
        part(out, MP_PART_VALUE, &key);
        part(out, MP_PART_LEASE, &key);
    }
    for (size_t i = 0; i < b->count; i++) {
        const mp_behind_entry *e = &b->entries[i];
        mp_command_arg(out, e->id, strlen(e->id));
        version(out, e->version);
        mp_command_arg(out, e->key, e->key_len);
    }
}

static void dead(mp_buf *out, const mp_op *op, bool with_text) {
    const mp_behind_entry *e = &op->behind->entries[0];
    char name[MP_NAME_MAX + 1];
    mp_key key = mp_behind_entry_key(name, &op->key, e);
    mp_command_script(out, MP_SCRIPT_wb_dead, with_text, 6, 4);
    shard(out, MP_SHARD_DIRTY, &op->key);
    shard(out, MP_SHARD_STREAM, &op->key);
    part(out, MP_PART_INTENT, &key);
    shard(out, MP_SHARD_DEAD, &op->key);
    part(out, MP_PART_VALUE, &key);
    part(out, MP_PART_LEASE, &key);
    mp_command_arg(out, e->id, strlen(e->id));
    version(out, e->version);
    mp_command_arg(out, e->key, e->key_len);
    mp_command_arg(out, op->behind->error, op->behind->error_len);
}

static void dead_retry(mp_buf *out, const mp_op *op, bool with_text) {
    const mp_behind *b = op->behind;
    const mp_behind_entry *e = &b->entries[0];
    char name[MP_NAME_MAX + 1];
    mp_key key = mp_behind_entry_key(name, &op->key, e);
    mp_command_script(out, MP_SCRIPT_wb_dead_retry, with_text, 8, 6);
    part(out, MP_PART_VALUE, &key);
    part(out, MP_PART_LEASE, &key);
    part(out, MP_PART_INTENT, &key);
    shard(out, MP_SHARD_DIRTY, &op->key);
    shard(out, MP_SHARD_STREAM, &op->key);
    shard(out, MP_SHARD_DEAD, &op->key);
    sessions(out, &op->key, b->day);
    shard(out, MP_SHARD_META, &op->key);
    mp_command_arg(out, e->key, e->key_len);
    mp_command_arg(out, e->id, strlen(e->id));
    version(out, e->version);
    mp_command_number(out, b->most);
    slot_args(out, b);
}

static void range_args(mp_buf *out, const mp_behind *b) {
    mp_command_arg(out, b->after, strlen(b->after));
    mp_command_number(out, b->most < MP_BEHIND_MOST ? b->most : MP_BEHIND_MOST);
    mp_command_number(out, b->bytes_most);
}

/* Whoever began a write so long ago has ended it. By DEL, which the scripts' user may run as it is: a slot's answers are 40 bytes a day. */
static void forget(mp_buf *out, const mp_op *op) {
    mp_buf_text(out, "*9\r\n$3\r\nDEL\r\n");
    for (int64_t ago = 2; ago <= 9; ago++) sessions(out, &op->key, op->behind->day - ago);
}

void mp_behind_encode(mp_buf *out, const mp_op *op, const uint8_t *fence, bool with_text) {
    const mp_key *key = &op->key;
    switch (op->kind) {
    case MP_ACCEPT: increment(out, op, fence, with_text); break; /* what is none goes by mp_behind_encode_puts */
    case MP_SUMS: sums(out, op, with_text); break;
    case MP_FOLD: fold(out, op, with_text); break;
    case MP_EPOCH:
        mp_command_script(out, MP_SCRIPT_wb_epoch, with_text, 1, 2);
        shard(out, MP_SHARD_META, key);
        mp_command_arg(out, fence, MP_FENCE_LEN);
        mp_command_number(out, op->behind->epoch);
        break;
    case MP_OWN:
        mp_command_script(out, MP_SCRIPT_wb_own, with_text, 1, 2);
        shard(out, MP_SHARD_OWNER, key);
        mp_command_arg(out, op->token, MP_TOKEN_LEN);
        mp_command_number(out, op->lease_ms);
        break;
    case MP_TAKE:
        mp_command_script(out, MP_SCRIPT_wb_take, with_text, 3, 3);
        shard(out, MP_SHARD_STREAM, key);
        shard(out, MP_SHARD_DIRTY, key);
        shard(out, MP_SHARD_META, key);
        range_args(out, op->behind);
        break;
    case MP_ACK: ack(out, op, with_text); break;
    case MP_DEAD: dead(out, op, with_text); break;
    case MP_DEAD_LIST:
        mp_command_script(out, MP_SCRIPT_wb_dead_list, with_text, 1, 3);
        shard(out, MP_SHARD_DEAD, key);
        range_args(out, op->behind);
        break;
    case MP_DEAD_RETRY: dead_retry(out, op, with_text); break;
    case MP_DEAD_DROP:
        mp_buf_text(out, "*3\r\n$4\r\nXDEL\r\n");
        shard(out, MP_SHARD_DEAD, key);
        mp_command_arg(out, op->behind->entries[0].id, strlen(op->behind->entries[0].id));
        break;
    case MP_CONFIRM:
        if (op->ms == MP_AT_ONCE) {
            mp_buf_text(out, "*3\r\n$6\r\nCONFIG\r\n$3\r\nGET\r\n$8\r\n*append*\r\n");
            break;
        }
        mp_buf_text(out,
                    op->ms == MP_ON_DISK ? "*4\r\n$7\r\nWAITAOF\r\n$1\r\n1\r\n$1\r\n0\r\n" : "*3\r\n$4\r\nWAIT\r\n");
        if (op->ms != MP_ON_DISK) mp_command_number(out, op->ms);
        mp_command_number(out, op->lease_ms);
        break;
    case MP_FORGET: forget(out, op); break;
    case MP_BEHIND_OPEN:
        mp_command_script(out, MP_SCRIPT_wb_open, with_text, 1, 1);
        shard(out, MP_SHARD_META, key);
        mp_command_number(out, key->shards);
        break;
    default: break; /* redis_command.c has them */
    }
}
