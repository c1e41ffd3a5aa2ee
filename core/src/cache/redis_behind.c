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
    mp_command_script(out, MP_SCRIPT_wb_get, with_text, 3, 5);
    part(out, MP_PART_VALUE, &op->key);
    part(out, MP_PART_LEASE, &op->key);
    part(out, MP_PART_INTENT, &op->key);
    mp_command_lease_args(out, op, fence);
}

void mp_behind_end_encode(mp_buf *out, const mp_op *op, bool with_text) {
    mp_command_script(out, MP_SCRIPT_wb_end, with_text, 2, 0);
    part(out, MP_PART_VALUE, &op->key);
    part(out, MP_PART_LEASE, &op->key);
}

void mp_behind_inspect_encode(mp_buf *out, const mp_op *op, bool with_text) {
    mp_command_script(out, MP_SCRIPT_wb_inspect, with_text, 3, 0);
    part(out, MP_PART_VALUE, &op->key);
    part(out, MP_PART_INTENT, &op->key);
    part(out, MP_PART_LEASE, &op->key);
}

static void expectation(mp_buf *out, const mp_behind *b) {
    if (b->expect == MP_EXPECT_VERSION) version(out, b->expect_version);
    else mp_command_arg(out, "-", b->expect == MP_EXPECT_ABSENT);
}

/* Value, deltas, base, queue, meta: of all that changes a key's record. */
static void five_keys(mp_buf *out, const mp_key *key) {
    part(out, MP_PART_VALUE, key);
    part(out, MP_PART_INTENT, key);
    shard(out, MP_SHARD_BASE, key);
    shard(out, MP_SHARD_QUEUE, key);
    shard(out, MP_SHARD_META, key);
}

static void yes_or_no(mp_buf *out, bool yes) { mp_command_arg(out, yes ? "1" : "0", 1); }

/* The fence that it was first sent under tells whether the server may have forgotten it since. */
static void increment(mp_buf *out, const mp_op *op, const uint8_t *fence, bool with_text) {
    const mp_behind *b = op->behind;
    mp_command_script(out, MP_SCRIPT_wb_incr, with_text, 7, 9);
    five_keys(out, &op->key);
    sessions(out, &op->key, mp_once_day(b));
    part(out, MP_PART_LEASE, &op->key);
    user_key(out, &op->key);
    mp_command_arg(out, b->member, b->member_len);
    mp_command_number(out, b->by);
    mp_command_arg(out, fence, MP_FENCE_LEN);
    mp_command_number(out, b->most);
    mp_once_args(out, b);
    yes_or_no(out, b->again);
    yes_or_no(out, op->resent && memcmp(op->fence, fence, MP_FENCE_LEN) != 0);
}

static void accept(mp_buf *out, const mp_op *op, const uint8_t *fence, bool with_text) {
    const mp_behind *b = op->behind;
    mp_command_script(out, MP_SCRIPT_wb_put, with_text, 6, 10);
    five_keys(out, &op->key);
    sessions(out, &op->key, mp_once_day(b));
    user_key(out, &op->key);
    mp_command_record_head(out, op);
    mp_command_record_tail(out, op);
    mp_command_arg(out, fence, MP_FENCE_LEN);
    mp_command_number(out, b->most);
    expectation(out, b);
    mp_once_args(out, b);
    mp_command_number(out, b->part);
    yes_or_no(out, b->again);
}

static void accept_all(mp_buf *out, const mp_request *first, size_t count, const uint8_t *fence) {
    const mp_op *op = first->op;
    bool expects = false;
    for (const mp_request *q = first; q; q = q->together) expects |= q->op->behind->expect != MP_EXPECT_ANY;
    mp_command_script(out, MP_SCRIPT_wb_puts, first->evaluated, 4 + 2 * count, 4 + (expects ? 4 : 3) * count);
    shard(out, MP_SHARD_BASE, &op->key);
    shard(out, MP_SHARD_QUEUE, &op->key);
    shard(out, MP_SHARD_META, &op->key);
    sessions(out, &op->key, mp_once_day(op->behind));
    for (const mp_request *q = first; q; q = q->together) part(out, MP_PART_VALUE, &q->op->key);
    for (const mp_request *q = first; q; q = q->together) part(out, MP_PART_INTENT, &q->op->key);
    mp_command_arg(out, fence, MP_FENCE_LEN);
    mp_command_number(out, op->behind->most);
    mp_once_args(out, op->behind);
    for (const mp_request *q = first; q; q = q->together) user_key(out, &q->op->key);
    for (const mp_request *q = first; q; q = q->together) mp_command_record_head(out, q->op);
    for (const mp_request *q = first; q; q = q->together) mp_command_record_tail(out, q->op);
    for (const mp_request *q = expects ? first : NULL; q; q = q->together) expectation(out, q->op->behind);
}

void mp_behind_encode_puts(mp_buf *out, const mp_request *first, size_t count, const uint8_t *fence) {
    if (count > 1) accept_all(out, first, count, fence);
    else accept(out, first->op, fence, first->evaluated);
}

/* Of all entries the one, then of all the other. */
static void parts_of_entries(mp_buf *out, const mp_op *op, const mp_part *parts, size_t n) {
    const mp_behind *b = op->behind;
    char name[MP_NAME_MAX + 1];
    for (size_t p = 0; p < n; p++) {
        for (size_t i = 0; i < b->count; i++) {
            mp_key key = mp_behind_entry_key(name, &op->key, &b->entries[i]);
            part(out, parts[p], &key);
        }
    }
}

static void sums(mp_buf *out, const mp_op *op, bool with_text) {
    static const mp_part parts[] = {MP_PART_INTENT, MP_PART_VALUE};
    const mp_behind *b = op->behind;
    mp_command_script(out, MP_SCRIPT_wb_sums, with_text, 1 + 2 * b->count, 2 * b->count);
    shard(out, MP_SHARD_BASE, &op->key);
    parts_of_entries(out, op, parts, 2);
    for (size_t i = 0; i < b->count; i++) {
        mp_command_arg(out, b->entries[i].key, b->entries[i].key_len);
        version(out, b->entries[i].version);
    }
}

static void fold(mp_buf *out, const mp_op *op, bool with_text) {
    const mp_sums *sums = op->behind->sums;
    mp_command_script(out, MP_SCRIPT_wb_fold, with_text, 6, 6 + 2 * sums->n);
    five_keys(out, &op->key);
    part(out, MP_PART_LEASE, &op->key);
    user_key(out, &op->key);
    if (op->value) {
        mp_command_record_head(out, op);
        mp_command_record_tail(out, op);
    } else {
        mp_command_arg(out, "", 0);
        mp_command_arg(out, "", 0);
    }
    mp_command_arg(out, op->fence, MP_FENCE_LEN);
    version(out, sums->first);
    version(out, sums->newest);
    for (size_t i = 0; i < sums->n; i++) {
        mp_command_arg(out, sums->sum[i].member, sums->sum[i].len);
        mp_command_number(out, sums->sum[i].by);
    }
}

static void ack(mp_buf *out, const mp_op *op, bool with_text) {
    static const mp_part parts[] = {MP_PART_INTENT, MP_PART_VALUE, MP_PART_LEASE};
    const mp_behind *b = op->behind;
    mp_command_script(out, MP_SCRIPT_wb_ack, with_text, 2 + 3 * b->count, 3 * b->count);
    shard(out, MP_SHARD_QUEUE, &op->key);
    shard(out, MP_SHARD_META, &op->key);
    parts_of_entries(out, op, parts, 3);
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
    mp_command_script(out, MP_SCRIPT_wb_dead, with_text, 5, 3);
    part(out, MP_PART_VALUE, &key);
    part(out, MP_PART_LEASE, &key);
    part(out, MP_PART_INTENT, &key);
    shard(out, MP_SHARD_BASE, &op->key);
    shard(out, MP_SHARD_DEAD, &op->key);
    version(out, e->version);
    mp_command_arg(out, e->key, e->key_len);
    mp_command_arg(out, op->behind->error, op->behind->error_len);
}

static void dead_retry(mp_buf *out, const mp_op *op, bool with_text) {
    const mp_behind *b = op->behind;
    const mp_behind_entry *e = &b->entries[0];
    char name[MP_NAME_MAX + 1];
    mp_key key = mp_behind_entry_key(name, &op->key, e);
    mp_command_script(out, MP_SCRIPT_wb_dead_retry, with_text, 8, 7);
    five_keys(out, &key);
    sessions(out, &op->key, mp_once_day(b));
    part(out, MP_PART_LEASE, &key);
    shard(out, MP_SHARD_DEAD, &op->key);
    mp_command_arg(out, e->key, e->key_len);
    mp_command_arg(out, e->id, strlen(e->id));
    version(out, e->version);
    mp_command_number(out, b->most);
    mp_once_args(out, b);
    yes_or_no(out, b->again);
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
        mp_command_script(out, MP_SCRIPT_wb_take, with_text, 3, 4);
        shard(out, MP_SHARD_QUEUE, key);
        shard(out, MP_SHARD_BASE, key);
        shard(out, MP_SHARD_META, key);
        range_args(out, op->behind);
        part(out, MP_PART_VALUE,
             key); /* a shard's key has an empty user key: so this is what all of its values' names begin with */
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
