/* The operations of the memory: cache. Each sets the reply and what goes with it, as the script of the same name does in Redis
 * (cache/lua). */
#include <string.h>

#include "base/error.h"
#include "cache/memory_private.h"
#include "model/freshness.h"

/* Entries; the shard's lock is held. */

static inline mp_mitem *find(mp_mshard *s, const mp_key *key, uint64_t stamp, int64_t now_ms, mp_node *out) {
    if (stamp == MP_MSTAMP_UNKNOWN) return NULL;
    for (int c = 0; c < MP_MCLASSES; c++) {
        mp_mitem *entry = mp_mpool_find(&s->pools[c], key);
        if (!entry) continue;
        if (!mp_mentry_over(entry, now_ms) && (!stamp || mp_mentry_stamp(entry) == stamp)) return entry;
        mp_mpool_take(&s->pools[c], entry, out);
        return NULL; /* a key is in one pool only */
    }
    return NULL;
}

mp_mitem *mp_mfind(mp_mshard *s, const mp_key *key, uint64_t stamp, int64_t now_ms, mp_node *out) {
    return find(s, key, stamp, now_ms, out);
}

void mp_mdrop(mp_mshard *s, const mp_key *key, mp_node *out) {
    for (int c = 0; c < MP_MCLASSES; c++) {
        mp_mitem *entry = mp_mpool_find(&s->pools[c], key);
        if (entry) mp_mpool_take(&s->pools[c], entry, out);
    }
}

static bool surely_fresh(const mp_mitem *entry, int64_t early_refresh, int64_t now_ms) {
    return mp_surely_fresh(early_refresh, entry->expires - now_ms, mp_mentry_age(entry).load_ms);
}

static pond_value *hit(mp_mshard *s, const mp_key *key, uint64_t stamp, int64_t early_refresh, int64_t now_ms,
                       mp_node *out) {
    mp_mitem *entry = find(s, key, stamp, now_ms, out);
    if (!entry || entry->expires <= now_ms) return NULL;
    if (early_refresh && (entry->marks & MP_MENTRY_AGED) && !surely_fresh(entry, early_refresh, now_ms)) return NULL;
    mp_mentry_touch(entry);
    return pond_value_ref(mp_mentry_value(entry)); /* NULL if it has tags */
}

pond_value *mp_memory_peek(mp_cache *cache, mp_shared *shared, const mp_key *key, int64_t early_refresh,
                           int64_t now_ms) {
    mp_memory *m = mp_memory_of(cache);
    mp_mshard *s = mp_mshard_of(m, key);
    uint64_t stamp = mp_mstamp(shared, key, now_ms);
    mp_node out;
    mp_list_init(&out);
    mp_mlock(s);
    pond_value *value = hit(s, key, stamp, early_refresh, now_ms, &out);
    if (mp_list_empty(&out)) {
        pthread_mutex_unlock(&s->lock);
    } else {
        mp_munlock(m, s);
        mp_mfree_entries(&out);
    }
    return value;
}

/* What stands for the first bytes of an envelope: which entry it is. (Another may come to lie in its place, of the same age: it
 * then counts as absent too, which costs a load.) */
static void name_entry(const mp_mitem *entry, mp_op *op) {
    op->rejected_len = sizeof entry + sizeof entry->expires;
    memcpy(op->rejected, &entry, sizeof entry);
    memcpy(op->rejected + sizeof entry, &entry->expires, sizeof entry->expires);
}

static bool is_rejected(const mp_mitem *entry, const mp_op *op) {
    return op->rejected_len == sizeof entry + sizeof entry->expires &&
           memcmp(op->rejected, &entry, sizeof entry) == 0 &&
           memcmp(op->rejected + sizeof entry, &entry->expires, sizeof entry->expires) == 0;
}

/* The value of an entry to a reader who knows of op->ntags tags, a new reference; NULL: it cannot be served. */
static pond_value *serve(mp_mitem *entry, mp_op *op, int64_t now_ms) {
    const uint8_t *generations;
    pond_value *value = mp_mentry_tagged(entry, op->ntags, &generations);
    op->left = entry->expires - now_ms;
    op->load_ms = mp_mentry_age(entry).load_ms;
    if (op->left <= 0 && !op->soft && !op->refresh) value = NULL;
    if (value && !op->ntags) return pond_value_ref(value);
    name_entry(entry, op);
    if (value) memcpy(op->generations, generations, (size_t)op->ntags * MP_TAG_SIZE);
    return pond_value_ref(value);
}

/* The operations. */

void mp_memory_fail(mp_op *op, const char *what) {
    op->reply = MP_FAILED;
    op->error = mp_error_new(POND_ENOMEM, "no memory for %s in the memory: cache", what);
}

static void op_get(mp_memory *m, mp_op *op, int64_t now_ms) {
    mp_mshard *s = mp_mshard_of(m, &op->key);
    uint64_t stamp = mp_mstamp(op->shared, &op->key, now_ms);
    mp_node out;
    mp_list_init(&out);
    op->rejected_len = 0;
    mp_mlock(s);
    mp_mitem *entry = mp_mfind(s, &op->key, stamp, now_ms, &out);
    if (entry) mp_mentry_touch(entry);
    if (entry) op->value = serve(entry, op, now_ms);
    mp_munlock(m, s);
    mp_mfree_entries(&out);
    op->reply = op->value ? MP_HIT : MP_MISSED;
}

/* get.lua, and what a client does with its answer: a value that cannot be served is asked for again as one that is rejected, which
 * is done here in one. */
static void lease(mp_mshard *s, mp_op *op, uint64_t stamp, int64_t written_ms, int64_t now_ms, mp_node *out) {
    mp_mitem *entry = mp_mfind(s, &op->key, stamp, now_ms, out);
    if (entry && !op->refresh && is_rejected(entry, op)) entry = NULL;
    if (entry) {
        mp_mentry_touch(entry);
        op->value = serve(entry, op, now_ms);
        op->reply = MP_HIT;
        if (op->value && !op->refresh) return;
    }
    if (mp_mintents_stand(&s->intents, &op->key, now_ms)) written_ms = mp_mintents_left(&s->intents, &op->key, now_ms);
    if (written_ms > 0) {
        op->ms = written_ms;
        op->reply = MP_INDOUBT;
        return;
    }
    bool rests = false, serves = entry && op->refresh;
    int64_t left = mp_mleases_grant(&s->leases, &op->key, op->token, op->lease_ms, serves ? &rests : NULL, now_ms);
    op->reply = rests ? MP_RESTING : left > 0 ? MP_BUSY : left < 0 ? MP_FAILED : MP_LEASED;
    op->ms = left;
}

static void op_lease(mp_memory *m, mp_op *op, int64_t now_ms) {
    mp_mshard *s = mp_mshard_of(m, &op->key);
    mp_node out;
    mp_list_init(&out);
    /* In this order: with a writer's stamp comes the writer. What has no stamp now cannot be cached. */
    uint64_t stamp = mp_mstamp(op->shared, &op->key, now_ms);
    int64_t written_ms = op->shared ? mp_shared_written_ms(op->shared, op->key.name, op->key.len, now_ms) : 0;
    if (stamp == MP_MSTAMP_UNKNOWN && written_ms == 0) written_ms = 1;
    memcpy(op->fence, &stamp, sizeof op->fence);
    mp_mlock(s);
    lease(s, op, stamp, written_ms, now_ms, &out);
    mp_munlock(m, s);
    mp_mfree_entries(&out);
    if (op->value && (op->reply == MP_INDOUBT || op->reply == MP_FAILED)) {
        pond_value_free(op->value);
        op->value = NULL;
    }
    if (op->reply == MP_FAILED) mp_memory_fail(op, "a lease");
    if (op->reply == MP_LEASED) mp_mmake_room(m, MP_MVALUES, s, NULL, now_ms);
}

static bool can_be_kept(mp_memory *m, const mp_op *op) {
    const pond_value *value = op->value;
    if (!value || value->state == POND_MISS || op->ttl_ms <= 0) return false;
    return mp_mentry_bytes_of(&op->key, value, op->ntags, op->soft, op->shared != NULL) <= m->largest;
}

/* An entry that may be stored. It is made before the lock is taken, for that copies. */
typedef struct entry_to_be {
    mp_mitem *entry; /* NULL: it does not fit, or there is no memory */
    int class;
    bool fits;
} entry_to_be;

/* The stamp that came with the lease, or the beginning; 0 where there are none. */
static uint64_t fence_of(const mp_op *op) {
    uint64_t stamp;
    memcpy(&stamp, op->fence, sizeof stamp);
    return !op->shared ? 0 : stamp ? stamp : MP_MSTAMP_UNKNOWN;
}

static entry_to_be make_entry(mp_memory *m, const mp_op *op, int64_t now_ms) {
    entry_to_be e = {.fits = can_be_kept(m, op)};
    int64_t expires = op->ttl_ms > INT64_MAX - now_ms ? INT64_MAX : now_ms + op->ttl_ms;
    if (e.fits) e.class = op->value->state == POND_ABSENT ? MP_MABSENCES : MP_MVALUES;
    mp_mage age = {.keep_ms = (uint32_t)op->keep_ms, .load_ms = op->load_ms};
    if (e.fits)
        e.entry = mp_mentry_new(&op->key, op->value, op->generations, op->ntags, op->soft ? &age : NULL, fence_of(op),
                                expires);
    return e;
}

/* Lock held. */
static bool store(mp_mshard *s, const mp_op *op, entry_to_be e, int64_t now_ms, mp_node *out) {
    mp_mdrop(s, &op->key, out); /* never two of a key */
    bool added = e.entry && mp_mpool_add(&s->pools[e.class], e.entry);
    mp_mpool_reap(&s->pools[e.class], now_ms, out);
    return added;
}

static void op_fill(mp_memory *m, mp_op *op, int64_t now_ms) {
    mp_mshard *s = mp_mshard_of(m, &op->key);
    entry_to_be e = make_entry(m, op, now_ms);
    uint64_t stamp = mp_mstamp(op->shared, &op->key, now_ms); /* another one: somebody elsewhere came between */
    bool mine, added = false;
    mp_node out;
    mp_list_init(&out);
    mp_mlock(s);
    mine = mp_mleases_end(&s->leases, &op->key, op->token, now_ms) &&
           !mp_mintents_exist(&s->intents, &op->key, now_ms) && stamp == fence_of(op) && stamp != MP_MSTAMP_UNKNOWN;
    if (mine) added = store(s, op, e, now_ms, &out);
    mp_munlock(m, s);
    if (e.entry && !added) mp_mentry_free(e.entry);
    mp_mfree_entries(&out);
    if (added) {
        op->reply = MP_STORED;
        mp_mmake_room(m, e.class, s, e.entry, now_ms);
    } else if (mine && e.fits) {
        mp_memory_fail(op, "a value");
    } else {
        op->reply = MP_REFUSED;
    }
}

static void op_renew(mp_memory *m, mp_op *op, int64_t now_ms) {
    mp_mshard *s = mp_mshard_of(m, &op->key);
    mp_mlock(s);
    bool renewed = mp_mleases_renew(&s->leases, &op->key, op->token, op->lease_ms, now_ms);
    mp_munlock(m, s);
    op->reply = renewed ? MP_STORED : MP_REFUSED;
}

static void op_release(mp_memory *m, mp_op *op, int64_t now_ms) {
    mp_mshard *s = mp_mshard_of(m, &op->key);
    mp_mlock(s);
    bool released = op->lease_ms > 0 ? mp_mleases_rest(&s->leases, &op->key, op->token, op->lease_ms, now_ms)
                                     : mp_mleases_end(&s->leases, &op->key, op->token, now_ms);
    mp_munlock(m, s);
    op->reply = released ? MP_DONE : MP_REFUSED;
}

/* Writes. */

/* What is cached under the key, or of the tag. Lock held. */
static void invalidate(mp_mshard *s, const mp_op *op, const mp_key *key, uint64_t stamp, int64_t now_ms, mp_node *out) {
    if (op->tag) {
        mp_mtag_cut(s, key, stamp, op->cut_ms, now_ms, out);
        return;
    }
    mp_mdrop(s, key, out);
    mp_mleases_revoke(&s->leases, key);
}

/* Other processes are told, which counts for this one's pages too: a tag whose pages may lag keeps its generation here, if it was the
 * last to change it. */
static void restamp(mp_mshard *s, const mp_key *key, uint64_t was, uint64_t is, int64_t now_ms, mp_node *out) {
    mp_mitem *entry = is ? mp_mfind(s, key, was, now_ms, out) : NULL;
    if (entry) mp_mentry_set_stamp(entry, is);
}

static uint64_t known(uint64_t stamp) { return stamp == MP_MSTAMP_UNKNOWN ? 0 : stamp; }

/* Lock held. */
static void tell_of_begin(mp_mshard *s, mp_op *op, const mp_key *key, uint64_t stamp, bool begun, int64_t now_ms,
                          mp_node *out) {
    int64_t until = op->lease_ms > INT64_MAX - now_ms ? INT64_MAX : now_ms + op->lease_ms;
    uint64_t mark = 0;
    uint64_t is = begun
                      ? mp_shared_begin(op->shared, key->name, key->len, known(stamp), op->again, until, now_ms, &mark)
                      : mp_shared_invalidate(op->shared, key->name, key->len, known(stamp));
    if (op->tag && op->cut_ms > 0) restamp(s, key, stamp, is, now_ms, out);
    memcpy(op->fence, &mark, sizeof op->fence);
}

static void op_begin(mp_memory *m, mp_op *op, int64_t now_ms) {
    mp_mtag_key tag;
    const mp_key *key = op->tag ? mp_mtag_key_make(&tag, &op->key) : &op->key;
    mp_mshard *s = mp_mshard_of(m, key);
    mp_node out;
    mp_list_init(&out);
    memset(op->fence, 0, sizeof op->fence);
    uint64_t stamp = mp_mstamp(op->shared, key, now_ms);
    mp_mlock(s);
    invalidate(s, op, key, stamp, now_ms, &out);
    mp_mbegin begun = mp_mintents_begin(&s->intents, key, op->token, op->again, op->lease_ms, now_ms);
    if (op->shared) tell_of_begin(s, op, key, stamp, begun == MP_MBEGUN, now_ms, &out);
    mp_munlock(m, s);
    mp_mfree_entries(&out);
    if (begun == MP_MBEGIN_CROWDED) {
        op->reply = MP_FAILED;
        op->error =
            mp_error_new(POND_EOVERLOAD, "too many writes are under way for the memory: cache: raise memory_max");
    } else if (begun == MP_MBEGIN_NO_MEMORY) {
        mp_memory_fail(op, "a write");
    } else {
        op->reply = MP_DONE;
        mp_mmake_room(m, MP_MVALUES, s, NULL, now_ms);
    }
}

/* Lock held. `until`: its intent's, 0 if it had none. The stamp that what was written may have; 0: none. */
static uint64_t tell_of_end(mp_mshard *s, mp_op *op, const mp_key *key, uint64_t stamp, int64_t until, int64_t now_ms,
                            mp_node *out) {
    if (until) return mp_shared_end(op->shared, key->name, key->len, fence_of(op), until, now_ms);
    uint64_t is = mp_shared_invalidate(op->shared, key->name, key->len, known(stamp));
    if (op->tag && op->cut_ms > 0) restamp(s, key, stamp, is, now_ms, out);
    return 0;
}

static void op_end(mp_memory *m, mp_op *op, int64_t now_ms) {
    mp_mtag_key tag;
    const mp_key *key = op->tag ? mp_mtag_key_make(&tag, &op->key) : &op->key;
    mp_mshard *s = mp_mshard_of(m, key);
    entry_to_be e = make_entry(m, op, now_ms);
    bool added = false;
    mp_node out;
    mp_list_init(&out);
    uint64_t stamp = mp_mstamp(op->shared, key, now_ms);
    int64_t until;
    mp_mlock(s);
    bool alone = mp_mintents_end(&s->intents, key, op->token, now_ms, &until);
    invalidate(s, op, key, stamp, now_ms, &out);
    if (op->shared) {
        stamp = tell_of_end(s, op, key, stamp, until, now_ms, &out);
        alone = alone && stamp;
        if (alone && e.entry) mp_mentry_set_stamp(e.entry, stamp);
    }
    if (alone && e.entry) added = store(s, op, e, now_ms, &out);
    mp_munlock(m, s);
    if (e.entry && !added) mp_mentry_free(e.entry);
    mp_mfree_entries(&out);
    op->reply = added ? MP_STORED : MP_DONE;
    if (added) mp_mmake_room(m, e.class, s, e.entry, now_ms);
}

static void op_tag_get(mp_memory *m, mp_op *op, int64_t now_ms) {
    op->reply = mp_mtag_get(m, op->shared, &op->key, op->generations, now_ms) ? MP_HIT : MP_MISSED;
}

pond_value *mp_memory_peek_tagged(mp_cache *cache, mp_shared *shared, const mp_key *key, const mp_key *tags,
                                  uint8_t ntags, int64_t early_refresh, int64_t now_ms) {
    uint8_t generations[MP_TAGS_MAX][MP_TAG_SIZE], now[MP_TAG_SIZE];
    mp_op op = {.kind = MP_GET, .key = *key, .generations = generations[0], .ntags = ntags, .shared = shared};
    op_get(mp_memory_of(cache), &op, now_ms);
    if (op.value && early_refresh && !mp_surely_fresh(early_refresh, op.left, op.load_ms)) {
        pond_value_free(op.value);
        op.value = NULL;
    }
    for (uint8_t i = 0; i < ntags && op.value; i++) {
        if (mp_mtag_get(mp_memory_of(cache), shared, &tags[i], now, now_ms) &&
            memcmp(now, generations[i], MP_TAG_SIZE) == 0)
            continue;
        pond_value_free(op.value);
        op.value = NULL;
    }
    return op.value;
}

void mp_memory_submit(mp_cache *cache, mp_op *op, int64_t now_ms) {
    mp_memory *m = mp_memory_of(cache);
    op->reply = MP_PENDING;
    op->ms = 0;
    op->error = NULL;
    op->damaged = false;
    if (op->kind != MP_FILL && op->kind != MP_END && op->kind != MP_PUBLISH && op->kind != MP_ADD && !op->behind)
        op->value = NULL;
    switch (op->kind) {
    case MP_GET: op_get(m, op, now_ms); break;
    case MP_LEASE: op_lease(m, op, now_ms); break;
    case MP_FILL: op_fill(m, op, now_ms); break;
    case MP_RENEW: op_renew(m, op, now_ms); break;
    case MP_RELEASE: op_release(m, op, now_ms); break;
    case MP_BEGIN: op_begin(m, op, now_ms); break;
    case MP_END: op_end(m, op, now_ms); break;
    case MP_TAG_GET: op_tag_get(m, op, now_ms); break;
    case MP_TAG_MAKE: mp_mtag_make(m, op, now_ms); break;
    case MP_INSPECT: mp_memory_inspect(m, op, now_ms); break;
    case MP_AWAIT: op->reply = MP_REFUSED; break; /* it takes a link: memory_link.c */
    case MP_PUBLISH: op->reply = MP_DONE; break;  /* there is no other process that could see it */
    case MP_PUBLISHED:
        op->value = mp_value_new(POND_VALUE, POND_JSON, "[]", 2);
        if (op->value) op->reply = MP_HIT;
        else mp_memory_fail(op, "a list");
        break;
    case MP_ADD: op->reply = MP_DONE; break; /* api/open.c refuses such a stream */
    default:
        op->reply = MP_FAILED;
        op->error =
            mp_error_new(POND_EOPTION, "write=behind needs a cache that outlives this process: a memory: cache cannot "
                                       "accept changes, use redis:");
    }
    op->done(op);
}
