#include "model/keyname.h"

#include <stdio.h>
#include <string.h>

/* Behind its type: "{ns:3}". */
static char *shard_tag(char *at, const mp_key *key) {
    *at++ = '{';
    memcpy(at, key->name, key->ns_len + 1u);
    at += key->ns_len + 1u;
    if (key->shard >= 100) *at++ = (char)('0' + key->shard / 100);
    if (key->shard >= 10) *at++ = (char)('0' + key->shard / 10 % 10);
    *at++ = (char)('0' + key->shard % 10);
    *at++ = '}';
    return at;
}

static size_t behind(char *out, mp_part part, const mp_key *key) {
    static const char *const types[] = {"mp:b:", "mp:bl:", "mp:i:"};
    const char *type = types[part == MP_PART_VALUE ? 0 : part == MP_PART_LEASE ? 1 : 2];
    size_t len = strlen(type);
    memcpy(out, type, len);
    char *at = shard_tag(out + len, key);
    len = key->len - key->ns_len - 1u;
    memcpy(at, key->name + key->ns_len + 1, len);
    at[len] = 0;
    return (size_t)(at - out) + len;
}

size_t mp_keyname(char *out, mp_part part, const mp_key *key) {
    if (key->shards) return behind(out, part, key);
    memcpy(out, "mp:?:{", 6);
    out[3] = (char)part;
    memcpy(out + 6, key->name, key->len);
    out[6 + key->len] = '}';
    out[7 + key->len] = 0;
    return 7 + (size_t)key->len;
}

size_t mp_keyname_tag_intent(char *out, const mp_key *tag) {
    memcpy(out, "mp:gw:{", 7);
    memcpy(out + 7, tag->name, tag->len);
    memcpy(out + 7 + tag->len, "}", 2);
    return 8 + (size_t)tag->len;
}

size_t mp_keyname_shard(char *out, mp_shard_part part, const mp_key *key) {
    memcpy(out, "mp:?:", 5);
    out[3] = (char)part;
    char *end = shard_tag(out + 5, key);
    *end = 0;
    return (size_t)(end - out);
}

size_t mp_keyname_sessions(char *out, const mp_key *key, int64_t day) {
    memcpy(out, "mp:o:", 5);
    char *end = shard_tag(out + 5, key);
    return (size_t)(end - out) + (size_t)sprintf(end, ":%lld", (long long)day);
}
