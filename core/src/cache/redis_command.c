/* Operations to RESP, replies to answers. No connection, no clock but the envelope's creation time. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "cache/explain.h"
#include "cache/redis.h"
#include "cache/redis_reply.h"
#include "model/envelope.h"
#include "model/keyname.h"

/* ---- RESP ---- */

/* In front of `end`. -> its first digit. printf takes longer than all the rest of a command. */
static char *digits_of(char *end, uint64_t n) {
    do *--end = (char)('0' + n % 10);
    while (n /= 10);
    return end;
}

static void header(mp_buf *out, char type, size_t n) {
    char text[24], *end = text + sizeof text, *p = end;
    *--p = '\n';
    *--p = '\r';
    p = digits_of(p, n);
    *--p = type;
    mp_buf_add(out, p, (size_t)(end - p));
}

void mp_command_arg(mp_buf *out, const void *data, size_t len) {
    header(out, '$', len);
    mp_buf_add(out, data, len);
    mp_buf_add(out, "\r\n", 2);
}

void mp_command_number(mp_buf *out, int64_t number) {
    char text[24], *end = text + sizeof text, *p = digits_of(end, number < 0 ? 0 - (uint64_t)number : (uint64_t)number);
    if (number < 0) *--p = '-';
    mp_command_arg(out, p, (size_t)(end - p));
}

void mp_command_script(mp_buf *out, mp_script_id id, bool with_text, size_t nkeys, size_t nargs) {
    header(out, '*', 3 + nkeys + nargs);
    if (with_text) {
        mp_command_arg(out, "EVAL", 4);
        mp_command_arg(out, mp_scripts[id].text, mp_scripts[id].len);
    } else {
        mp_command_arg(out, "EVALSHA", 7);
        mp_command_arg(out, mp_scripts[id].sha, 40);
    }
    mp_command_number(out, (int64_t)nkeys);
}

static void part(mp_buf *out, mp_part which, const mp_key *key) {
    char name[MP_KEYNAME_MAX];
    size_t len = mp_keyname(name, which, key);
    mp_command_arg(out, name, len);
}

/* value, intents, lease: the order of get, fill, begin, end and inspect. */
static void three_keys(mp_buf *out, const mp_key *key) {
    part(out, MP_PART_VALUE, key);
    part(out, MP_PART_INTENT, key);
    part(out, MP_PART_LEASE, key);
}

/* A tag has a generation where a key has its value, and no lease. */
static void tag_keys(mp_buf *out, const mp_key *tag) {
    char name[MP_KEYNAME_MAX];
    part(out, MP_PART_TAG, tag);
    size_t len = mp_keyname_tag_intent(name, tag);
    mp_command_arg(out, name, len);
}

static void write_script(mp_buf *out, mp_script_id script, bool with_text, const mp_op *op) {
    mp_command_script(out, script, with_text, op->tag ? 2 : 3, 4);
    if (op->tag) tag_keys(out, &op->key);
    else three_keys(out, &op->key);
    mp_command_arg(out, op->token, MP_TOKEN_LEN);
}

void mp_command_envelope(mp_buf *out, const mp_op *op, const uint8_t *fence) {
    bool negative = op->value->state == POND_ABSENT, versioned = op->key.shards > 0;
    mp_envelope e = {.flags = (uint8_t)((negative ? MP_ENVELOPE_NEGATIVE : 0) | (versioned ? MP_ENVELOPE_SRCVER : 0)),
                     .codec = op->value->codec,
                     .ntags = op->ntags,
                     .version = versioned ? op->version : 0,
                     .created_ms = (uint64_t)mp_clock_wall_ms(),
                     .grace_ms = (uint32_t)op->keep_ms,
                     .load_ms = op->load_ms,
                     .payload_len = op->value->len,
                     .tags = (const char *)op->generations,
                     .payload = op->value->data};
    memcpy(e.fence, fence, MP_FENCE_LEN);
    size_t size = mp_envelope_size(e.payload_len, e.ntags);
    header(out, '$', size);
    if (mp_buf_reserve(out, size + 2)) {
        mp_envelope_write(out->data + out->len, &e);
        out->len += size;
    }
    mp_buf_add(out, "\r\n", 2);
}

enum { UP_TO_VERSION = 8, BEHIND_FENCE = 24 }; /* the script puts both between */

static mp_envelope record(const mp_op *op) {
    int64_t ms = op->ttl_ms > 0 ? op->ttl_ms + op->keep_ms : 0;
    bool negative = op->value->state == POND_ABSENT;
    return (mp_envelope){.flags =
                             (uint8_t)(MP_ENVELOPE_DIRTY | MP_ENVELOPE_SRCVER | (negative ? MP_ENVELOPE_NEGATIVE : 0)),
                         .codec = op->value->codec,
                         .created_ms = (uint64_t)mp_clock_wall_ms(),
                         .grace_ms = (uint32_t)op->keep_ms,
                         .load_ms = ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms,
                         .payload_len = op->value->len,
                         .payload = op->value->data};
}

void mp_command_record_head(mp_buf *out, const mp_op *op) {
    char head[MP_ENVELOPE_HEAD];
    mp_envelope e = record(op);
    mp_envelope_write_first(head, &e);
    mp_command_arg(out, head, UP_TO_VERSION);
}

void mp_command_record_tail(mp_buf *out, const mp_op *op) {
    char head[MP_ENVELOPE_HEAD];
    mp_envelope e = record(op);
    mp_envelope_write_rest(head, &e);
    header(out, '$', sizeof head - BEHIND_FENCE + e.payload_len);
    mp_buf_add(out, head + BEHIND_FENCE, sizeof head - BEHIND_FENCE);
    mp_buf_add(out, e.payload, e.payload_len);
    mp_buf_add(out, "\r\n", 2);
}

void mp_command_pttl(mp_buf *out, const mp_key *key) {
    mp_buf_add(out, "*2\r\n$4\r\nPTTL\r\n", 14);
    part(out, MP_PART_VALUE, key);
}

void mp_command_lease_args(mp_buf *out, const mp_op *op, const uint8_t *fence) {
    mp_command_arg(out, op->token, MP_TOKEN_LEN);
    mp_command_number(out, op->lease_ms);
    mp_command_arg(out, fence, MP_FENCE_LEN);
    mp_command_arg(out, op->refresh ? "1" : op->rejected_len ? "2" : "0", 1);
    mp_command_arg(out, op->rejected, op->rejected_len);
}

void mp_command_encode(mp_buf *out, const mp_op *op, const uint8_t *fence, bool with_text) {
    switch (op->kind) {
    case MP_GET:
        mp_buf_add(out, "*2\r\n$3\r\nGET\r\n", 13);
        part(out, MP_PART_VALUE, &op->key);
        break;
    case MP_LEASE:
        if (op->key.shards) {
            mp_behind_lease_encode(out, op, fence, with_text);
            break;
        }
        mp_command_script(out, MP_SCRIPT_get, with_text, 3, 5);
        three_keys(out, &op->key);
        mp_command_lease_args(out, op, fence);
        break;
    case MP_FILL:
        mp_command_script(out, op->key.shards ? MP_SCRIPT_wb_fill : MP_SCRIPT_fill, with_text, 3, 3);
        three_keys(out, &op->key);
        mp_command_arg(out, op->token, MP_TOKEN_LEN);
        mp_command_envelope(out, op, op->fence);
        mp_command_number(out, op->ttl_ms + op->keep_ms);
        break;
    case MP_RENEW:
        mp_command_script(out, MP_SCRIPT_renew, with_text, 1, 2);
        part(out, MP_PART_LEASE, &op->key);
        mp_command_arg(out, op->token, MP_TOKEN_LEN);
        mp_command_number(out, op->lease_ms);
        break;
    case MP_RELEASE:
        mp_command_script(out, MP_SCRIPT_release, with_text, 1, 2);
        part(out, MP_PART_LEASE, &op->key);
        mp_command_arg(out, op->token, MP_TOKEN_LEN);
        mp_command_number(out, op->lease_ms);
        break;
    case MP_BEGIN:
        write_script(out, MP_SCRIPT_begin, with_text, op);
        mp_command_number(out, op->lease_ms);
        mp_command_arg(out, op->again || op->resent ? "1" : "0", 1);
        mp_command_number(out, op->cut_ms);
        break;
    case MP_END:
        if (op->key.shards) {
            mp_behind_end_encode(out, op, with_text);
            break;
        }
        write_script(out, MP_SCRIPT_end, with_text, op);
        /* Begun in another history of the server: nobody can say that this writer was alone. */
        if (op->value && memcmp(op->fence, fence, MP_FENCE_LEN) == 0) mp_command_envelope(out, op, op->fence);
        else mp_command_arg(out, "", 0);
        mp_command_number(out, op->value ? op->ttl_ms + op->keep_ms : 0);
        mp_command_number(out, op->cut_ms);
        break;
    case MP_TAG_GET:
        mp_buf_text(out, "*2\r\n$3\r\nGET\r\n");
        part(out, MP_PART_TAG, &op->key);
        break;
    case MP_TAG_MAKE:
        mp_command_script(out, MP_SCRIPT_gen, with_text, 2, 4);
        tag_keys(out, &op->key);
        mp_command_arg(out, op->token, MP_TOKEN_LEN);
        mp_command_number(out, op->ttl_ms);
        mp_command_arg(out, fence, MP_FENCE_LEN);
        mp_command_number(out, op->cut_ms);
        break;
    case MP_INSPECT:
        if (op->key.shards) {
            mp_behind_inspect_encode(out, op, with_text);
            break;
        }
        mp_command_script(out, MP_SCRIPT_inspect, with_text, 3, 0);
        three_keys(out, &op->key);
        break;
    case MP_AWAIT: break; /* redis_notify.c */
    case MP_PUBLISH: mp_publish_encode(out, op, with_text); break;
    case MP_PUBLISHED: mp_published_encode(out, with_text); break;
    case MP_ADD:
        mp_buf_text(out, "*8\r\n$4\r\nXADD\r\n");
        mp_command_arg(out, op->key.name, op->key.len);
        mp_command_arg(out, "MAXLEN", 6);
        mp_command_arg(out, "~", 1);
        mp_command_number(out, op->ms);
        mp_command_arg(out, "*", 1);
        mp_command_arg(out, "event", 5);
        mp_command_arg(out, op->value->data, op->value->len);
        break;
    default: mp_behind_encode(out, op, fence, with_text); break;
    }
}

/* ---- replies ---- */

void mp_op_end(mp_op *op, mp_reply reply, pond_error *error) {
    mp_once_leave(op->behind);
    op->reply = reply;
    op->error = error;
    op->done(op);
}

static void reject(mp_op *op, const redisReply *r) {
    op->rejected_len = (uint8_t)(r->len < sizeof op->rejected ? r->len : sizeof op->rejected);
    memcpy(op->rejected, r->str, op->rejected_len);
}

/* Is it past its time, for who asks for none that is? `pttl` of what is stored; < 0: it went, or was filled, just now. If it was not asked
 * for and some readers may have the value longer than others, op->timed says that it must be. */
static bool is_over(mp_op *op, const mp_envelope *e, int64_t pttl) {
    if (e->flags & MP_ENVELOPE_DIRTY) { /* it stays until the store has it */
        op->left = INT64_MAX;
        return false;
    }
    op->load_ms = e->load_ms;
    if (pttl == MP_PTTL_UNKNOWN) return op->timed = e->grace_ms > 0;
    op->left = pttl < 0 ? INT64_MAX : pttl - e->grace_ms;
    return op->left <= 0 && !op->soft && !op->refresh;
}

/* What a stored envelope is to a reader under this fence: a value (the reply is then part of it), the absence, or NULL: a miss;
 * op->rejected_len then says whether it must be named when a lease is asked for. */
static pond_value *open_envelope(mp_op *op, redisReply *r, const uint8_t *fence, int64_t pttl) {
    mp_envelope e;
    op->rejected_len = 0;
    mp_envelope_state state = mp_envelope_read(r->str, r->len, &e);
    if (state == MP_ENVELOPE_OK && memcmp(e.fence, fence, MP_FENCE_LEN) != 0) return NULL; /* get.lua deletes it */
    if (state != MP_ENVELOPE_OK || e.ntags != op->ntags || /* other tags: nobody here can say whether they stand */
        is_over(op, &e, pttl)) {
        op->damaged = state != MP_ENVELOPE_OK;
        reject(op, r);
        return NULL;
    }
    op->version = e.flags & MP_ENVELOPE_SRCVER ? e.version : 0;
    if (e.ntags) {
        reject(op, r);
        memcpy(op->generations, e.tags, (size_t)e.ntags * MP_TAG_SIZE);
    }
    if (e.flags & MP_ENVELOPE_NEGATIVE) return mp_value_absent();
    return mp_reply_value(r, (pond_codec)e.codec, e.payload, e.payload_len);
}

/* The generation of a tag, if it was made in the history that this fence names. (Its 25th byte says that its time was cut.) */
static mp_reply open_generation(mp_op *op, const redisReply *r, const uint8_t *fence) {
    if (r->len < MP_TAG_SIZE || memcmp(r->str, fence, MP_FENCE_LEN) != 0) return MP_MISSED;
    memcpy(op->generations, r->str, MP_TAG_SIZE);
    return MP_HIT;
}

int64_t mp_reply_integer(const redisReply *r, size_t i) {
    return i < r->elements && r->element[i] && r->element[i]->type == REDIS_REPLY_INTEGER ? r->element[i]->integer : -1;
}

mp_reply mp_op_odd(mp_op *op) {
    op->error =
        mp_error_new(POND_EPROTOCOL, "the cache gave an answer of another form than the protocol's: is something else "
                                     "writing keys that begin with mp:?");
    return MP_FAILED;
}

/* Takes the value out of the reply of get.lua. */
static pond_value *take_value(mp_op *op, redisReply *r, const uint8_t *fence) {
    redisReply *v = r->element[1];
    if (!v || v->type != REDIS_REPLY_STRING) return NULL;
    pond_value *value = open_envelope(op, v, fence, op->ms);
    if (value && value != mp_value_absent()) r->element[1] = NULL; /* the value's now */
    return value;
}

static mp_verdict decode_lease(mp_op *op, redisReply *r, const uint8_t *fence, const uint8_t *asked_under) {
    if (r->type != REDIS_REPLY_ARRAY || r->elements != 3) {
        op->reply = mp_op_odd(op);
        return MP_ANSWERED;
    }
    op->ms = mp_reply_integer(r, 2);
    const redisReply *v = r->element[1];
    switch (mp_reply_integer(r, 0)) {
    case 1:
        if (!v || v->type != REDIS_REPLY_STRING) break;
        op->value = take_value(op, r, fence);
        if (!op->value) {
            if (!op->rejected_len) reject(op, v); /* another fence came into force between script and check */
            return MP_AGAIN_REJECTING;
        }
        op->reply = MP_HIT;
        return MP_ANSWERED;
    case 2:
        memcpy(op->fence, asked_under, MP_FENCE_LEN);
        op->value = op->refresh ? take_value(op, r, fence) : NULL;
        op->reply = MP_LEASED;
        return MP_ANSWERED;
    case 3:
        op->value = op->refresh ? take_value(op, r, fence) : NULL;
        if (op->ms > MP_LEASE_MAX_MS) op->ms = -1;
        op->reply = MP_BUSY;
        return MP_ANSWERED;
    case 5:
        if (!op->refresh) break;
        op->value = take_value(op, r, fence);
        op->reply = MP_RESTING;
        return MP_ANSWERED;
    case 4: op->reply = MP_INDOUBT; return MP_ANSWERED;
    case 6:
    case 7:
        if (!op->key.shards) break;
        op->reply = mp_behind_dirty(op, r, fence);
        return MP_ANSWERED;
    default: break;
    }
    op->reply = mp_op_odd(op);
    return MP_ANSWERED;
}

static const char *const codecs[] = {"none", "json", "bytes", "text", "ejson"};

static void add_hex(mp_buf *json, const void *data, size_t len) {
    for (size_t i = 0; i < len; i++) mp_buf_printf(json, "%02x", ((const unsigned char *)data)[i]);
}

/* Of what is stored: how long it is fresh, or how long it has not been, and for how long past that it is kept. */
static void describe_time(mp_buf *json, bool known, int64_t left, int64_t keep) {
    if (!known) {
        mp_buf_text(json, ",\"ttl_ms\":null,\"stale_ms\":null,\"keep_ms\":null");
        return;
    }
    mp_buf_printf(json, ",\"ttl_ms\":%lld,", (long long)(left > 0 ? left : 0));
    if (left > 0) mp_buf_text(json, "\"stale_ms\":null");
    else mp_buf_printf(json, "\"stale_ms\":%lld", (long long)-left);
    mp_buf_printf(json, ",\"keep_ms\":%lld", (long long)keep);
}

static mp_reply describe(mp_op *op, const redisReply *r, const uint8_t *fence) {
    if (r->type != REDIS_REPLY_ARRAY || r->elements != (op->key.shards ? 7 : 6)) return mp_op_odd(op);
    const redisReply *v = r->element[0], *l = r->element[2];
    mp_buf json;
    mp_buf_init(&json);
    mp_envelope e;
    mp_envelope_state state = MP_ENVELOPE_SHORT;
    bool there = v && v->type == REDIS_REPLY_STRING;
    if (there) state = mp_envelope_read(v->str, v->len, &e);
    int64_t ttl = mp_reply_integer(r, 1), lease = mp_reply_integer(r, 3), writers = mp_reply_integer(r, 4),
            intents = mp_reply_integer(r, 5);
    int64_t keep = there && state == MP_ENVELOPE_OK ? e.grace_ms : 0;
    bool held = l && l->type == REDIS_REPLY_STRING, rests = held && l->len == 1; /* "-": release.lua */
    if (!there) {
        mp_buf_printf(&json, "{\"state\":\"miss\",\"why\":\"%s\",\"codec\":null,\"bytes\":null",
                      mp_why_nothing(held && !rests, writers > 0));
    } else if (state != MP_ENVELOPE_OK) {
        mp_buf_printf(&json,
                      "{\"state\":\"miss\",\"why\":\"what is stored cannot be read: %s\",\"codec\":null,\"bytes\":%zu",
                      mp_envelope_text(state), v->len);
    } else {
        bool other = memcmp(e.fence, fence, MP_FENCE_LEN) != 0, negative = e.flags & MP_ENVELOPE_NEGATIVE;
        const char *why = other ? "it was stored in a history of the server that was lost (fence)" : NULL;
        mp_buf_printf(&json, "{\"state\":\"%s\",", why ? "miss" : negative ? "absent" : "value");
        if (why) mp_buf_printf(&json, "\"why\":\"%s\",", why);
        mp_buf_printf(&json, "\"codec\":\"%s\",\"bytes\":%u,\"created_ms\":%llu,\"load_ms\":%u", codecs[e.codec],
                      e.payload_len, (unsigned long long)e.created_ms, e.flags & MP_ENVELOPE_DIRTY ? 0 : e.load_ms);
    }
    describe_time(&json, there && ttl >= 0, ttl - keep, keep);
    if (held) {
        mp_buf_printf(&json, ",\"lease_ms\":%lld,\"lease\":\"", (long long)lease);
        if (rests) mp_buf_text(&json, "back-off");
        else add_hex(&json, l->str, l->len < MP_TOKEN_LEN ? l->len : MP_TOKEN_LEN);
        mp_buf_text(&json, "\"");
    } else {
        mp_buf_text(&json, ",\"lease_ms\":null");
    }
    mp_buf_printf(&json, ",\"writers\":%lld", (long long)(writers > 0 ? writers : 0));
    if (writers > 0) mp_buf_printf(&json, ",\"intents_ms\":%lld", (long long)intents);
    else mp_buf_text(&json, ",\"intents_ms\":null");
    mp_buf_text(&json, ",\"tags\":[");
    for (size_t i = 0; state == MP_ENVELOPE_OK && i < e.ntags; i++) {
        mp_buf_text(&json, i ? ",\"" : "\"");
        add_hex(&json, e.tags + i * MP_TAG_SIZE, MP_TAG_SIZE);
        mp_buf_text(&json, "\"");
    }
    mp_buf_text(&json, "],\"fence\":\"");
    add_hex(&json, fence, MP_FENCE_LEN);
    mp_buf_text(&json, "\"");
    if (op->key.shards)
        mp_buf_printf(&json, ",\"shard\":%u,\"dirty\":%s", op->key.shard,
                      mp_reply_integer(r, 6) == 1 ? "true" : "false");
    mp_buf_text(&json, "}");
    if (json.failed) {
        mp_buf_free(&json);
        op->error = mp_error_new(POND_ENOMEM, "no memory to explain a key");
        return MP_FAILED;
    }
    op->value = mp_value_adopt(POND_JSON, json.data, json.len);
    if (op->value) return MP_HIT;
    op->error = mp_error_new(POND_ENOMEM, "no memory to explain a key");
    return MP_FAILED;
}

mp_verdict mp_command_decode(mp_op *op, redisReply *r, const uint8_t *fence, const uint8_t *asked_under, int64_t pttl) {
    mp_verdict verdict = MP_ANSWERED;
    op->error = NULL;
    switch (op->kind) {
    case MP_GET:
        op->reply = MP_MISSED;
        if (r->type == REDIS_REPLY_STRING) {
            op->value = open_envelope(op, r, fence, pttl);
            if (pttl == MP_PTTL_UNKNOWN && op->timed) verdict = MP_AGAIN_TIMED;
            if (op->value) op->reply = MP_HIT;
            if (op->value && op->value != mp_value_absent()) r = NULL; /* the value's now */
        } else if (r->type != REDIS_REPLY_NIL) {
            op->reply = mp_op_odd(op);
        }
        break;
    case MP_LEASE: verdict = decode_lease(op, r, fence, asked_under); break;
    case MP_FILL:
    case MP_RENEW:
        if (r->type != REDIS_REPLY_INTEGER) op->reply = mp_op_odd(op);
        else op->reply = r->integer == 1 ? MP_STORED : MP_REFUSED;
        break;
    case MP_RELEASE:
        if (r->type != REDIS_REPLY_INTEGER) op->reply = mp_op_odd(op);
        else op->reply = r->integer == 1 ? MP_DONE : MP_REFUSED;
        break;
    case MP_PUBLISH: op->reply = r->type == REDIS_REPLY_INTEGER ? MP_DONE : mp_op_odd(op); break;
    case MP_BEGIN:
        memcpy(op->fence, fence, MP_FENCE_LEN); /* in force before the script ran: the check went ahead of it */
        op->reply = r->type == REDIS_REPLY_INTEGER ? MP_DONE : mp_op_odd(op);
        break;
    case MP_END:
        if (r->type != REDIS_REPLY_INTEGER) op->reply = mp_op_odd(op);
        else op->reply = r->integer == 1 ? MP_STORED : MP_DONE;
        break;
    case MP_TAG_GET:
    case MP_TAG_MAKE:
        if (r->type == REDIS_REPLY_STRING) op->reply = open_generation(op, r, fence);
        else if (r->type != REDIS_REPLY_NIL) op->reply = mp_op_odd(op);
        else op->reply = op->kind == MP_TAG_GET ? MP_MISSED : MP_INDOUBT;
        break;
    case MP_INSPECT: op->reply = describe(op, r, fence); break;
    case MP_AWAIT: break; /* redis_notify.c */
    case MP_PUBLISHED: op->reply = mp_published_decode(op, r); break;
    case MP_ADD: op->reply = r->type == REDIS_REPLY_STRING ? MP_DONE : mp_op_odd(op); break;
    default: op->reply = mp_behind_decode(op, r, fence); break;
    }
    mp_reply_free(r);
    return verdict;
}
