/* What the tests of the memory: cache share: one operation in one line. */
#ifndef MEMORY_OPS_H
#define MEMORY_OPS_H

#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cache/memory.h"

typedef struct key {
    mp_key key;
    char name[MP_NAME_MAX + 1];
} key;

/* Not returned by value: the key points into itself. */
static inline const mp_key *key_set(key *k, const char *text) {
    mp_key_make(&k->key, k->name, "t", 1, text, strlen(text));
    return &k->key;
}

static inline const mp_key *key_number(key *k, const char *prefix, uint64_t number) {
    char text[64];
    snprintf(text, sizeof text, "%s%llu", prefix, (unsigned long long)number);
    return key_set(k, text);
}

static inline void op_done(mp_op *op) { op->link_private = op; /* seen */ }

/* Tokens are numbers here. */
static inline mp_op run(mp_cache *cache, mp_op_kind kind, const mp_key *k, uint64_t token, int64_t ms,
                        pond_value *value, int64_t now_ms) {
    mp_op op = {.kind = kind, .key = *k, .lease_ms = ms, .ttl_ms = ms, .value = value, .done = op_done};
    memcpy(op.token, &token, sizeof token);
    memset(op.fence, 0xff, sizeof op.fence);
    mp_memory_submit(cache, &op, now_ms);
    assert(op.link_private == &op); /* done was called before submit returned */
    return op;
}

static inline mp_reply get(mp_cache *cache, const mp_key *k, int64_t now_ms) {
    mp_op op = run(cache, MP_GET, k, 0, 0, NULL, now_ms);
    pond_value_free(op.value);
    return op.reply;
}

static inline mp_reply lease(mp_cache *cache, const mp_key *k, uint64_t token, int64_t lease_ms, int64_t now_ms) {
    mp_op op = run(cache, MP_LEASE, k, token, lease_ms, NULL, now_ms);
    if (op.reply == MP_HIT) pond_value_free(op.value);
    pond_error_free(op.error);
    return op.reply;
}

static inline mp_reply fill(mp_cache *cache, const mp_key *k, uint64_t token, pond_value *value, int64_t ttl_ms,
                            int64_t now_ms) {
    mp_op op = run(cache, MP_FILL, k, token, ttl_ms, value, now_ms);
    pond_error_free(op.error);
    return op.reply;
}

/* Lease, then fill with so many bytes, which begin with the key's name. */
static inline mp_reply store(mp_cache *cache, const mp_key *k, size_t len, int64_t ttl_ms, int64_t now_ms) {
    char *data = malloc(len + 1);
    assert(data);
    memset(data, 'x', len);
    memcpy(data, k->name, k->len < len ? k->len : len);
    pond_value *value = mp_value_new(POND_VALUE, POND_BYTES, data, len);
    free(data);
    assert(value);
    mp_reply reply = lease(cache, k, 1, 1000, now_ms);
    if (reply == MP_LEASED) reply = fill(cache, k, 1, value, ttl_ms, now_ms);
    pond_value_free(value);
    return reply;
}

static inline mp_reply store_absence(mp_cache *cache, const mp_key *k, int64_t ttl_ms, int64_t now_ms) {
    mp_reply reply = lease(cache, k, 1, 1000, now_ms);
    return reply == MP_LEASED ? fill(cache, k, 1, mp_value_absent(), ttl_ms, now_ms) : reply;
}

/* As a caller sees it: POND_MISS if there is nothing. A value must begin with its key's name. */
static inline pond_state peeked(mp_cache *cache, const mp_key *k, int64_t now_ms) {
    pond_value *value = cache->vt->peek(cache, NULL, k, 0, now_ms);
    pond_state state = pond_value_state(value);
    if (state == POND_VALUE) {
        size_t len;
        const char *data = pond_value_data(value, &len);
        if (memcmp(data, k->name, k->len < len ? k->len : len) != 0 || data[len] != 0) abort();
    }
    pond_value_free(value);
    return state;
}

/* A number of describe(). */
static inline int64_t described(mp_cache *cache, const char *name) {
    mp_buf json;
    char quoted[32];
    mp_buf_init(&json);
    cache->vt->describe(cache, &json);
    assert(json.data);
    snprintf(quoted, sizeof quoted, "\"%s\": ", name);
    const char *at = strstr(json.data, quoted);
    assert(at);
    int64_t number = atoll(at + strlen(quoted));
    mp_buf_free(&json);
    return number;
}

static inline uint64_t next_random(uint64_t *state) { /* splitmix64 */
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

#endif
