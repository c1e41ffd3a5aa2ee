/* Keys: what a caller may name, and the one name that stands for (namespace, key) everywhere below. */
#ifndef MP_MODEL_KEY_H
#define MP_MODEL_KEY_H

#include <stddef.h>
#include <stdint.h>
#include <millpond/error.h>

#define MP_NS_MAX 64
#define MP_KEY_MAX 512
#define MP_NAME_MAX (MP_NS_MAX + 1 + MP_KEY_MAX)

/* `name` is "ns:key"; borrowed by whoever is handed one of these. */
typedef struct mp_key {
    const char *name;
    uint32_t len;
    uint16_t ns_len;
    uint8_t shards, shard; /* of a write-behind namespace: how many it has, and which the key is in; 0: none */
    uint64_t hash;         /* mp_hash(name, len) */
} mp_key;

/* POND_EKEY with a sentence that says what is wrong with it, or POND_OK. */
int mp_key_check(const char *key, size_t len, pond_error **err);
/* The same for a tag. */
int mp_tag_check(const char *tag, size_t len, pond_error **err);
/* A user's namespace: 1..64 bytes of UTF-8 without / ? { } : and control characters; POND_EOPTION otherwise. */
int mp_ns_check(const char *ns, pond_error **err);
/* Writes "ns:key" to `out` (MP_NAME_MAX + 1 bytes), NUL-terminated, and points `key` at it; shards 0. */
void mp_key_make(mp_key *key, char *out, const char *ns, size_t ns_len, const char *user_key, size_t len);
/* The same of a write-behind namespace: its shard is CRC16 (Redis Cluster's) of the user's key modulo `shards`, 1..255. */
void mp_key_make_behind(mp_key *key, char *out, const char *ns, size_t ns_len, const char *user_key, size_t len,
                        uint8_t shards);
/* What stands for a shard itself: its user's key is empty, which no user's key is. */
void mp_key_make_shard(mp_key *key, char *out, const char *ns, size_t ns_len, uint8_t shards, uint8_t shard);

#endif
