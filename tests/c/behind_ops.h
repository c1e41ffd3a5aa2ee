/* What the tests of the write-behind operations share: a cache with one link, driven here, and each operation in one line. The key is always
 * of the namespace "b" with one shard, so every name is known. */
#ifndef BEHIND_OPS_H
#define BEHIND_OPS_H

#include "support/redis.h"
#include "support/support.h"

#include "base/clock.h"
#include "cache/cache.h"
#include "model/behind.h"
#include "model/envelope.h"

enum { SHARDS = 1, LONG = 600000 };

typedef struct side {
    mp_cache *cache;
    mp_link *link;
    mp_loop *loop;
    uint8_t number;
    int64_t n; /* changes that it has made */
} side;

/* An operation with what it points to. */
typedef struct act {
    mp_op op;
    mp_behind behind;
    mp_behind_entry entry;
    char name[MP_NAME_MAX + 1];
    bool ended;
} act;

static inline void side_open(side *s, const char *url, const char *fence) {
    mp_options options;
    static uint8_t sides;
    assert_true(mp_options_init(&options));
    free(options.cache);
    options.cache = strdup(url);
    options.fence = strcmp(fence, "on") == 0;
    *s = (side){.loop = mp_loop_new(), .number = ++sides};
    assert_int_equal(mp_redis_open(&s->cache, &options, NULL), POND_OK);
    mp_options_free(&options);
    mp_loop_lock(s->loop);
    s->link = s->cache->vt->link_open(s->cache, s->loop);
    assert_non_null(s->link);
}

static inline void side_close(side *s) {
    s->cache->vt->link_close(s->link);
    s->cache->vt->close(s->cache);
    mp_loop_unlock(s->loop);
    mp_loop_free(s->loop);
}

static inline void act_ended(mp_op *op) { ((act *)op)->ended = true; /* the op is the act's first */ }

/* `key` NULL: the shard. Tokens are numbers. */
static inline void act_make(act *a, mp_op_kind kind, const char *key, uint8_t token) {
    *a = (act){.op = {.kind = kind, .lease_ms = LONG, .ttl_ms = LONG, .timeout_ms = 5000, .done = act_ended}};
    if (key) mp_key_make_behind(&a->op.key, a->name, "b", 1, key, strlen(key), SHARDS);
    else mp_key_make_shard(&a->op.key, a->name, "b", 1, SHARDS, 0);
    memset(a->op.token, token, sizeof a->op.token);
    if (kind >= MP_ACCEPT) a->op.behind = &a->behind;
}

static inline mp_reply act_wait(side *s, act *a) {
    while (!a->ended) mp_loop_turn(s->loop, 1000);
    return a->op.reply;
}

static inline mp_reply act_run(side *s, act *a) {
    a->ended = false;
    mp_loop_turn(s->loop, 0); /* it looks at the clock */
    s->link->vt->submit(s->link, &a->op);
    return act_wait(s, a);
}

static inline pond_value *document(const char *text) {
    return text ? mp_value_new(POND_VALUE, POND_JSON, text, strlen(text)) : mp_value_absent();
}

static inline void accept_make(side *s, act *a, const char *key, const char *text) {
    act_make(a, MP_ACCEPT, key, 0);
    a->op.value = document(text);
    a->behind.most = 1000;
    s->n++;
}

/* What it came to: the verdict, with the version if it was accepted. */
static inline mp_behind_verdict accept_run(side *s, act *a, int64_t *version) {
    mp_reply reply = act_run(s, a);
    if (reply == MP_FAILED) fail_msg("%s", pond_error_message(a->op.error));
    assert_true(reply == MP_STORED || reply == MP_REFUSED);
    if (version) *version = a->op.version;
    assert_true((reply == MP_STORED) == (a->behind.verdict == MP_VERDICT_OK));
    return a->behind.verdict;
}

static inline mp_behind_verdict put_expecting(side *s, const char *key, const char *text, mp_expect expect,
                                              int64_t expected, int64_t *version) {
    act a;
    accept_make(s, &a, key, text);
    a.behind.expect = expect;
    a.behind.expect_version = expected;
    mp_behind_verdict verdict = accept_run(s, &a, version);
    pond_value_free(a.op.value);
    return verdict;
}

static inline mp_behind_verdict put(side *s, const char *key, const char *text, int64_t *version) {
    return put_expecting(s, key, text, MP_EXPECT_ANY, 0, version);
}

static inline void increment(side *s, const char *key, const char *member, int64_t by) {
    act a;
    act_make(&a, MP_ACCEPT, key, 0);
    a.behind.member = member;
    a.behind.member_len = strlen(member);
    a.behind.by = by;
    a.behind.most = 1000;
    assert_int_equal(accept_run(s, &a, NULL), MP_VERDICT_OK);
}

/* The epoch in force; 0: a higher one is wanted. */
static inline int64_t epoch(side *s, int64_t number) {
    act a;
    act_make(&a, MP_EPOCH, NULL, 0);
    act_run(s, &a); /* for the fence */
    a.behind.epoch = number;
    mp_reply reply = act_run(s, &a);
    assert_true(reply == MP_DONE || reply == MP_REFUSED);
    return reply == MP_DONE ? a.behind.epoch : 0;
}

/* A text of what was answered; it stands until the next call. NULL: nothing. */
static inline const char *shown(pond_value *value) {
    static char text[256];
    if (!value) return NULL;
    if (value->state == POND_ABSENT) return "absent";
    snprintf(text, sizeof text, "%s", value->data);
    pond_value_free(value);
    return text;
}

/* Redis' link says it beside the value, and a memory: has the value itself. */
static inline int64_t version_of(const act *a) {
    return a->op.version || !a->op.value ? a->op.version : a->op.value->version;
}

static inline mp_reply get(side *s, const char *key, const char **text, int64_t *version) {
    act a;
    act_make(&a, MP_GET, key, 0);
    mp_reply reply = act_run(s, &a);
    if (version) *version = version_of(&a);
    if (text) *text = shown(a.op.value);
    else pond_value_free(a.op.value);
    return reply;
}

static inline mp_reply lease(side *s, const char *key, uint8_t token, const char **text, int64_t *version) {
    act a;
    act_make(&a, MP_LEASE, key, token);
    mp_reply reply = act_run(s, &a);
    if (reply == MP_FAILED) fail_msg("%s", pond_error_message(a.op.error));
    if (version) *version = version_of(&a);
    if (text) *text = shown(a.op.value);
    else pond_value_free(a.op.value);
    return reply;
}

/* As a load does it: lease, then fill. The lease must be free. */
static inline mp_reply load(side *s, const char *key, const char *text, int64_t version) {
    act a;
    act_make(&a, MP_LEASE, key, 99);
    assert_int_equal(act_run(s, &a), MP_LEASED);
    uint8_t fence[MP_FENCE_LEN];
    memcpy(fence, a.op.fence, sizeof fence);
    act_make(&a, MP_FILL, key, 99);
    memcpy(a.op.fence, fence, sizeof fence);
    a.op.value = document(text);
    a.op.version = version;
    if (text) a.op.value->version = version;
    mp_reply reply = act_run(s, &a);
    pond_value_free(a.op.value);
    return reply;
}

/* Takes what waits, all of it; mp_behind_clear(&a->behind) frees it. */
static inline size_t take(side *s, act *a) {
    act_make(a, MP_TAKE, NULL, 0);
    a->behind.most = MP_BEHIND_MOST;
    assert_int_equal(act_run(s, a), MP_DONE);
    return a->behind.count;
}

/* As a server evicts that is full: what has no time stays. True: it went. */
static inline bool redis_evict(redisContext *c, const char *key) {
    return redis_number(c, "EVAL %s 1 mp:b:{b:0}%s",
                        "if redis.call('PTTL', KEYS[1]) < 0 then return 0 end return redis.call('DEL', KEYS[1])", key);
}

/* All that waits is gone, as from a server that lost its memory. */
static inline void redis_lose(redisContext *c) {
    redis_do(c, "EVAL %s 3 mp:q:{b:0} mp:d:{b:0} mp:m:{b:0}",
             "for _, key in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do "
             "redis.call('DEL', 'mp:b:{b:0}' .. key, 'mp:i:{b:0}' .. key) end "
             "redis.call('DEL', KEYS[1], KEYS[2]) redis.call('HDEL', KEYS[3], 'head') return 'OK'");
}

/* Does an entry of the key stand in the queue? */
static inline bool redis_queued(redisContext *c, const char *key) {
    redisReply *r = redisCommand(c, "LPOS mp:q:{b:0} %s", key);
    assert_non_null(r);
    bool there = r->type == REDIS_REPLY_INTEGER;
    freeReplyObject(r);
    return there;
}

/* Does a record of the key wait? */
static inline bool redis_record(redisContext *c, const char *key) {
    return redis_number(c, "EVAL %s 2 mp:b:{b:0}%s mp:d:{b:0} %s",
                        "local flags = string.byte(redis.call('GETRANGE', KEYS[1], 3, 3)) or 0 "
                        "return flags > 127 and 1 or redis.call('HEXISTS', KEYS[2], ARGV[1])",
                        key, key);
}

static inline mp_reply ack(side *s, mp_behind_entry *entries, size_t n) {
    act a;
    act_make(&a, MP_ACK, NULL, 0);
    a.behind.entries = entries;
    a.behind.count = n;
    return act_run(s, &a);
}

#endif
