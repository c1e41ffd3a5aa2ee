/* Tags of the memory: cache: as gen.lua and the tag's side of begin.lua and end.lua. A generation is an entry of 25 bytes, the last
 * of which says that its time was cut. It is never handed out, so its bytes may change under the lock. */
#include <string.h>

#include "base/hash.h"
#include "cache/memory_private.h"

#define CUT MP_TAG_SIZE /* the place of that byte */

const mp_key *mp_mtag_key_make(mp_mtag_key *out, const mp_key *tag) {
    out->name[0] = 0;
    memcpy(out->name + 1, tag->name, tag->len);
    out->name[1 + tag->len] = 0;
    out->key = (mp_key){.name = out->name, .len = tag->len + 1, .ns_len = tag->ns_len + 1};
    out->key.hash = mp_hash(out->name, out->key.len);
    return &out->key;
}

static char *bytes_of(mp_mitem *entry) { return (char *)mp_mentry_value(entry)->data; }

bool mp_mtag_get(mp_memory *m, mp_shared *shared, const mp_key *tag, uint8_t generation[MP_TAG_SIZE], int64_t now_ms) {
    mp_mtag_key k;
    const mp_key *key = mp_mtag_key_make(&k, tag);
    uint64_t stamp = mp_mstamp(shared, key, now_ms);
    mp_mshard *s = mp_mshard_of(m, key);
    mp_node out;
    mp_list_init(&out);
    mp_mlock(s);
    mp_mitem *entry = mp_mfind(s, key, stamp, now_ms, &out);
    if (entry) {
        mp_mentry_touch(entry);
        memcpy(generation, bytes_of(entry), MP_TAG_SIZE);
    }
    mp_munlock(m, s);
    mp_mfree_entries(&out);
    return entry != NULL;
}

void mp_mtag_cut(mp_mshard *s, const mp_key *key, uint64_t stamp, int64_t cut_ms, int64_t now_ms, mp_node *out) {
    mp_mitem *entry = cut_ms > 0 ? mp_mfind(s, key, stamp, now_ms, out) : NULL;
    if (!entry) {
        mp_mdrop(s, key, out);
        return;
    }
    bytes_of(entry)[CUT] = 'c';
    if (entry->expires - now_ms > cut_ms) entry->expires = now_ms + cut_ms;
}

static int64_t later(int64_t now_ms, int64_t ms) { return ms > INT64_MAX - now_ms ? INT64_MAX : now_ms + ms; }

/* A generation as it shall be: with the token as its random part, and the fence, which is zero here. NULL = no memory. */
static mp_mitem *new_generation(const mp_key *key, const mp_op *op, bool cut, uint64_t stamp, int64_t now_ms) {
    char bytes[MP_TAG_SIZE + 1] = {0};
    memcpy(bytes + MP_FENCE_LEN, op->token, MP_TOKEN_LEN);
    bytes[CUT] = cut ? 'c' : 0;
    pond_value *value = mp_value_new(POND_VALUE, POND_BYTES, bytes, sizeof bytes);
    mp_mitem *entry =
        value ? mp_mentry_new(key, value, NULL, 0, NULL, stamp, later(now_ms, cut ? op->cut_ms : op->ttl_ms)) : NULL;
    pond_value_free(value);
    return entry;
}

/* Lock held. */
static void make(mp_mshard *s, const mp_key *key, mp_op *op, uint64_t stamp, bool written, int64_t now_ms,
                 mp_node *out) {
    mp_mitem *entry = mp_mfind(s, key, stamp, now_ms, out);
    op->reply = MP_HIT;
    if (entry) {
        mp_mentry_touch(entry);
        memcpy(op->generations, bytes_of(entry), MP_TAG_SIZE);
        if (bytes_of(entry)[CUT] == 0 && entry->expires - now_ms < op->ttl_ms / 2)
            entry->expires = later(now_ms, op->ttl_ms);
        return;
    }
    bool writers = mp_mintents_stand(&s->intents, key, now_ms) || written;
    if ((writers && op->cut_ms == 0) || stamp == MP_MSTAMP_UNKNOWN) {
        op->reply = MP_INDOUBT;
        return;
    }
    entry = new_generation(key, op, writers, stamp, now_ms);
    if (entry && mp_mpool_add(&s->pools[MP_MVALUES], entry)) {
        memcpy(op->generations, bytes_of(entry), MP_TAG_SIZE);
        return;
    }
    if (entry) mp_list_push(out, &entry->link); /* to be freed */
    op->reply = MP_FAILED;
}

void mp_mtag_make(mp_memory *m, mp_op *op, int64_t now_ms) {
    mp_mtag_key k;
    const mp_key *key = mp_mtag_key_make(&k, &op->key);
    mp_mshard *s = mp_mshard_of(m, key);
    /* In this order: with a writer's generation comes the writer. */
    uint64_t stamp = mp_mstamp(op->shared, key, now_ms);
    bool written = op->shared && mp_shared_written_ms(op->shared, key->name, key->len, now_ms) > 0;
    mp_node out;
    mp_list_init(&out);
    mp_mlock(s);
    make(s, key, op, stamp, written, now_ms, &out);
    mp_munlock(m, s);
    mp_mfree_entries(&out);
    if (op->reply == MP_FAILED) mp_memory_fail(op, "a tag");
    else mp_mmake_room(m, MP_MVALUES, s, NULL, now_ms);
}
