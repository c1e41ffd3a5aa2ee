#include "cache/memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/error.h"
#include "cache/memory_lease.h"
#include "cache/memory_pool.h"

/* The time is an argument everywhere, every operation ends before submit returns, and no lock is held while `done` or
 * free() runs. A thread holds one shard's lock at a time.
 *
 * The bytes are divided: nine tenths for values (with the leases and this structure), one tenth for absences. Neither can
 * push out the other, so who asks for random ids reaches the absences only. Both bounds hold over all shards together:
 * a value may be much larger than a shard's share, and then every shard gives up a little for it. */
enum { VALUES, ABSENCES, CLASSES };

#define ABSENCES_SHARE 10      /* one part in so many of the bytes */
#define LARGEST_SHARE 8        /* a larger part for one entry is refused: too much would have to go for it */
#define CROWDED_SHARE 4        /* of what a class may take, for its small queues: room for one of the largest */
#define LEASES_SHARE 16        /* leases may take a part at most, */
#define LEASES_KEPT_SHARE 128  /* a part is kept free for them, or they would push out values as they come and go, */
#define LEASES_KEPT_LEAST 3072 /* and for a shard so many bytes */
#define LEASE_BYTES 160        /* of one, about, with its part of the table */
#define LEASES_LEAST 32        /* of a shard */
#define FEW_SHARDS 16
#define MANY_SHARDS 64 /* from MANY_FROM bytes on */
#define MANY_FROM (64ll << 20)
#define EVICT_BATCH 16 /* under one lock */
#define LINE 64

typedef struct shard {
    _Alignas(LINE) pthread_mutex_t lock;
    mp_mpool pools[CLASSES];
    mp_mleases leases;
    int64_t leases_told;
} shard;

typedef struct memory {
    mp_cache base;
    int64_t max, fixed; /* the bound, and what this structure takes of it */
    int64_t limits[CLASSES];
    int64_t leases_kept;
    int64_t largest; /* entry */
    uint32_t shards; /* power of two */
    unsigned shift;  /* hash >> shift is the shard */
    _Alignas(LINE) mp_mtotal totals[CLASSES];
    _Atomic int64_t lease_bytes;
    _Atomic uint32_t turn; /* which shard is next to give something up */
    shard shard[];
} memory;

typedef struct memory_link {
    mp_link base;
    memory *cache;
    mp_loop *loop;
} memory_link;

static const mp_cache_vt vt;

static memory *memory_of(mp_cache *cache) { return (memory *)cache; }
static memory_link *link_of(mp_link *link) { return (memory_link *)link; }
static shard *shard_of(memory *m, const mp_key *key) { return &m->shard[key->hash >> m->shift]; }
static void lock(shard *s) { pthread_mutex_lock(&s->lock); }

/* What a holder of the lock has changed is counted before it lets go. */
static void unlock(memory *m, shard *s) {
    for (int c = 0; c < CLASSES; c++) mp_mpool_tell(&s->pools[c], &m->totals[c]);
    int64_t leases = mp_mleases_bytes(&s->leases);
    if (leases != s->leases_told)
        atomic_fetch_add_explicit(&m->lease_bytes, leases - s->leases_told, memory_order_relaxed);
    s->leases_told = leases;
    pthread_mutex_unlock(&s->lock);
}

static void free_entries(mp_node *entries) {
    mp_node *node;
    while ((node = mp_list_shift(entries))) mp_mentry_free(MP_OF(node, mp_mitem, link));
}

/* Room. */

static int64_t load(const _Atomic int64_t *bytes) { return atomic_load_explicit(bytes, memory_order_relaxed); }

static bool too_much(const memory *m, int class) {
    int64_t bytes = load(&m->totals[class].bytes);
    if (class == VALUES) {
        int64_t leases = load(&m->lease_bytes);
        bytes += m->fixed + (leases > m->leases_kept ? leases : m->leases_kept);
    }
    return bytes > m->limits[class];
}

/* In turn, but rather the shard that was just added to where that one has more entries: so they stay alike. Counted in
 * entries, not in bytes, or one large value would cost all its neighbours. */
static shard *next_to_give(memory *m, int class, shard *own) {
    uint32_t turn = atomic_fetch_add_explicit(&m->turn, 1, memory_order_relaxed);
    shard *next = &m->shard[turn & (m->shards - 1)];
    if (!own) return next;
    uint32_t theirs = atomic_load_explicit(&next->pools[class].entries, memory_order_relaxed);
    return atomic_load_explicit(&own->pools[class].entries, memory_order_relaxed) >= theirs ? own : next;
}

/* Many large values in small queues would push out the main ones. Then the small ones give first, wherever they are. */
static bool crowded(const memory *m, int class) {
    return load(&m->totals[class].small) > m->limits[class] / CROWDED_SHARE;
}

/* `keep` was just added to `own`, and may have gone again; it is only compared. */
static void make_room(memory *m, int class, shard *own, const mp_mitem *keep, int64_t now_ms) {
    mp_node out;
    mp_list_init(&out);
    for (uint32_t in_vain = 0; in_vain < 2 * m->shards && too_much(m, class);) {
        bool small_only = in_vain < m->shards && crowded(m, class);
        shard *s = next_to_give(m, class, in_vain ? NULL : own);
        mp_mpool *pool = &s->pools[class];
        int n = 0;
        lock(s);
        while (n < EVICT_BATCH && too_much(m, class) && mp_mpool_evict(pool, small_only, keep, now_ms, &out)) {
            mp_mpool_tell(pool, &m->totals[class]);
            n++;
        }
        unlock(m, s);
        in_vain = n ? 0 : in_vain + 1;
        free_entries(&out);
    }
}

/* Entries; the shard's lock is held. */

/* The entry that is served now, or NULL. What is over goes to `out`. */
static mp_mitem *find(shard *s, const mp_key *key, int64_t now_ms, mp_node *out) {
    for (int c = 0; c < CLASSES; c++) {
        mp_mitem *entry = mp_mpool_find(&s->pools[c], key);
        if (!entry) continue;
        if (entry->expires > now_ms) return entry;
        mp_mpool_take(&s->pools[c], entry, out);
        return NULL; /* a key is in one pool only */
    }
    return NULL;
}

static void drop(shard *s, const mp_key *key, mp_node *out) {
    for (int c = 0; c < CLASSES; c++) {
        mp_mitem *entry = mp_mpool_find(&s->pools[c], key);
        if (entry) mp_mpool_take(&s->pools[c], entry, out);
    }
}

static pond_value *hit(shard *s, const mp_key *key, int64_t now_ms, mp_node *out) {
    mp_mitem *entry = find(s, key, now_ms, out);
    if (!entry) return NULL;
    mp_mentry_touch(entry);
    return pond_value_ref(mp_mentry_value(entry));
}

static pond_value *peek(mp_cache *cache, const mp_key *key, int64_t now_ms) {
    memory *m = memory_of(cache);
    shard *s = shard_of(m, key);
    mp_node out;
    mp_list_init(&out);
    lock(s);
    pond_value *value = hit(s, key, now_ms, &out);
    if (mp_list_empty(&out)) {
        pthread_mutex_unlock(&s->lock);
    } else {
        unlock(m, s);
        free_entries(&out);
    }
    return value;
}

/* The operations. Each sets the reply and what goes with it. Writers are not known yet: an intent will stand beside the
 * lease in the shard, make LEASE answer INDOUBT before it looks at the lease, and make FILL refuse. */

static void fail(mp_op *op, const char *what) {
    op->reply = MP_FAILED;
    op->error = mp_error_new(POND_ENOMEM, "no memory for %s in the memory: cache", what);
}

static void op_get(memory *m, mp_op *op, int64_t now_ms) {
    op->value = peek(&m->base, &op->key, now_ms);
    op->reply = op->value ? MP_HIT : MP_MISSED;
}

/* `reject` speaks of a damaged envelope; there are none here, so what stands is good. */
static void op_lease(memory *m, mp_op *op, int64_t now_ms) {
    shard *s = shard_of(m, &op->key);
    mp_node out;
    int64_t left = 0;
    mp_list_init(&out);
    lock(s);
    op->value = hit(s, &op->key, now_ms, &out);
    if (!op->value) left = mp_mleases_grant(&s->leases, &op->key, op->token, op->lease_ms, now_ms);
    unlock(m, s);
    free_entries(&out);
    if (op->value) {
        op->reply = MP_HIT;
    } else if (left > 0) {
        op->reply = MP_BUSY;
        op->ms = left;
    } else if (left < 0) {
        fail(op, "a lease");
    } else {
        op->reply = MP_LEASED;
        memset(op->fence, 0, sizeof op->fence);
        make_room(m, VALUES, s, NULL, now_ms);
    }
}

static bool can_be_kept(memory *m, const mp_op *op) {
    const pond_value *value = op->value;
    if (!value || value->state == POND_MISS || op->ttl_ms <= 0) return false;
    return mp_mentry_bytes_of(&op->key, value) <= m->largest;
}

static void op_fill(memory *m, mp_op *op, int64_t now_ms) {
    shard *s = shard_of(m, &op->key);
    bool fits = can_be_kept(m, op), mine, added = false;
    int class = fits && op->value->state == POND_ABSENT ? ABSENCES : VALUES;
    int64_t expires = op->ttl_ms > INT64_MAX - now_ms ? INT64_MAX : now_ms + op->ttl_ms;
    mp_mitem *entry = fits ? mp_mentry_new(&op->key, op->value, expires) : NULL; /* before the lock: it copies */
    mp_node out;
    mp_list_init(&out);
    lock(s);
    mine = mp_mleases_end(&s->leases, &op->key, op->token, now_ms);
    if (mine) {
        drop(s, &op->key, &out); /* never two of a key */
        added = entry && mp_mpool_add(&s->pools[class], entry);
        mp_mpool_reap(&s->pools[class], now_ms, &out);
    }
    unlock(m, s);
    if (entry && !added) mp_mentry_free(entry);
    free_entries(&out);
    if (added) {
        op->reply = MP_STORED;
        make_room(m, class, s, entry, now_ms);
    } else if (mine && fits) {
        fail(op, "a value");
    } else {
        op->reply = MP_REFUSED;
    }
}

static void op_renew(memory *m, mp_op *op, int64_t now_ms) {
    shard *s = shard_of(m, &op->key);
    lock(s);
    bool renewed = mp_mleases_renew(&s->leases, &op->key, op->token, op->lease_ms, now_ms);
    unlock(m, s);
    op->reply = renewed ? MP_STORED : MP_REFUSED;
}

static void op_release(memory *m, mp_op *op, int64_t now_ms) {
    shard *s = shard_of(m, &op->key);
    lock(s);
    mp_mleases_end(&s->leases, &op->key, op->token, now_ms);
    unlock(m, s);
    op->reply = MP_DONE;
}

static void op_invalidate(memory *m, mp_op *op) {
    shard *s = shard_of(m, &op->key);
    mp_node out;
    mp_list_init(&out);
    lock(s);
    drop(s, &op->key, &out);
    mp_mleases_revoke(&s->leases, &op->key);
    unlock(m, s);
    free_entries(&out);
    op->reply = MP_DONE;
}

static const char *state_name(const pond_value *value) {
    return !value ? "miss" : value->state == POND_ABSENT ? "absent" : "value";
}

static const char *codec_name(const pond_value *value) {
    switch (value->codec) {
    case POND_JSON: return "json";
    case POND_BYTES: return "bytes";
    case POND_TEXT: return "text";
    case POND_EJSON: return "ejson";
    default: return "none";
    }
}

static void add_number(mp_buf *json, const char *name, bool known, int64_t number) {
    if (known) mp_buf_printf(json, ", \"%s\": %lld", name, (long long)number);
    else mp_buf_printf(json, ", \"%s\": null", name);
}

static void op_inspect(memory *m, mp_op *op, int64_t now_ms) {
    shard *s = shard_of(m, &op->key);
    mp_node out;
    mp_list_init(&out);
    lock(s);
    mp_mitem *entry = find(s, &op->key, now_ms, &out); /* looking is no hit */
    pond_value *value = entry ? pond_value_ref(mp_mentry_value(entry)) : NULL;
    int64_t ttl = entry ? entry->expires - now_ms : 0;
    int64_t lease = mp_mleases_left(&s->leases, &op->key, now_ms);
    unlock(m, s);
    free_entries(&out);

    mp_buf json;
    mp_buf_init(&json);
    mp_buf_printf(&json, "{\"state\": \"%s\", \"codec\": ", state_name(value));
    if (value) mp_buf_printf(&json, "\"%s\"", codec_name(value));
    else mp_buf_text(&json, "null");
    add_number(&json, "bytes", value != NULL, value ? value->len : 0);
    add_number(&json, "ttl_ms", value != NULL, ttl);
    add_number(&json, "lease_ms", lease > 0, lease);
    mp_buf_text(&json, ", \"intents_ms\": null, \"tags\": []}");
    pond_value_free(value);

    op->value = json.failed ? NULL : mp_value_adopt(POND_JSON, json.data, json.len);
    if (json.failed) mp_buf_free(&json);
    if (op->value) op->reply = MP_HIT;
    else fail(op, "an explanation");
}

void mp_memory_submit(mp_cache *cache, mp_op *op, int64_t now_ms) {
    memory *m = memory_of(cache);
    op->reply = MP_PENDING;
    op->ms = 0;
    op->error = NULL;
    op->damaged = false;
    if (op->kind != MP_FILL) op->value = NULL;
    switch (op->kind) {
    case MP_GET: op_get(m, op, now_ms); break;
    case MP_LEASE: op_lease(m, op, now_ms); break;
    case MP_FILL: op_fill(m, op, now_ms); break;
    case MP_RENEW: op_renew(m, op, now_ms); break;
    case MP_RELEASE: op_release(m, op, now_ms); break;
    case MP_INVALIDATE: op_invalidate(m, op); break;
    case MP_INSPECT: op_inspect(m, op, now_ms); break;
    }
    op->done(op);
}

/* Links. */

static mp_link *link_open(mp_cache *cache, mp_loop *loop) {
    memory_link *link = malloc(sizeof *link);
    if (!link) return NULL;
    *link = (memory_link){{&vt}, memory_of(cache), loop};
    return &link->base;
}

static void link_close(mp_link *link) { free(link_of(link)); }

static void submit(mp_link *link, mp_op *op) {
    memory_link *l = link_of(link);
    mp_memory_submit(&l->cache->base, op, mp_loop_now(l->loop));
}

static void forget(mp_link *link, mp_op *op) {} /* nothing is ever pending */

/* The whole. */

static void describe(mp_cache *cache, mp_buf *json) {
    memory *m = memory_of(cache);
    uint64_t entries = 0, evictions = 0, leases = 0;
    for (uint32_t i = 0; i < m->shards; i++) {
        shard *s = &m->shard[i];
        lock(s);
        for (int c = 0; c < CLASSES; c++) {
            entries += s->pools[c].table.count;
            evictions += s->pools[c].evictions;
        }
        leases += s->leases.table.count;
        unlock(m, s);
    }
    int64_t negative = load(&m->totals[ABSENCES].bytes);
    int64_t bytes = m->fixed + load(&m->lease_bytes) + load(&m->totals[VALUES].bytes) + negative;
    mp_buf_printf(json,
                  "\"memory\": {\"entries\": %llu, \"bytes\": %lld, \"negative_bytes\": %lld, \"max_bytes\": %lld, "
                  "\"evictions\": %llu, \"leases\": %llu}",
                  (unsigned long long)entries, (long long)bytes, (long long)negative, (long long)m->max,
                  (unsigned long long)evictions, (unsigned long long)leases);
}

static const mp_cache_vt vt = {
    .scheme = "memory",
    .peek = peek,
    .link_open = link_open,
    .link_close = link_close,
    .submit = submit,
    .forget = forget,
    .describe = describe,
    .close = mp_memory_close,
};

static void lock_init(pthread_mutex_t *mutex) {
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
#ifdef __GLIBC__
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP); /* held for less than it takes to sleep and wake */
#endif
    pthread_mutex_init(mutex, &attr);
    pthread_mutexattr_destroy(&attr);
}

mp_cache *mp_memory_new(int64_t max) {
    uint32_t shards = max < MANY_FROM ? FEW_SHARDS : MANY_SHARDS;
    size_t size = sizeof(memory) + shards * sizeof(shard);
    memory *m = aligned_alloc(LINE, size);
    if (!m) return NULL;
    memset(m, 0, size);
    m->base.vt = &vt;
    m->max = max;
    m->fixed = (int64_t)size;
    m->limits[ABSENCES] = max / ABSENCES_SHARE;
    m->limits[VALUES] = max - m->limits[ABSENCES];
    m->leases_kept = max / LEASES_KEPT_SHARE;
    if (m->leases_kept < LEASES_KEPT_LEAST * (int64_t)shards) m->leases_kept = LEASES_KEPT_LEAST * (int64_t)shards;
    m->largest = max / LARGEST_SHARE;
    m->shards = shards;
    m->shift = 64 - (unsigned)__builtin_ctz(shards);
    int64_t leases = max / LEASES_SHARE / LEASE_BYTES / shards;
    for (uint32_t i = 0; i < shards; i++) {
        shard *s = &m->shard[i];
        lock_init(&s->lock);
        for (int c = 0; c < CLASSES; c++) mp_mpool_init(&s->pools[c]);
        mp_mleases_init(&s->leases, leases < LEASES_LEAST ? LEASES_LEAST
                                    : leases > INT32_MAX  ? INT32_MAX
                                                          : (uint32_t)leases);
    }
    return &m->base;
}

void mp_memory_free(mp_cache *cache) {
    memory *m = memory_of(cache);
    for (uint32_t i = 0; i < m->shards; i++) {
        shard *s = &m->shard[i];
        for (int c = 0; c < CLASSES; c++) mp_mpool_free(&s->pools[c]);
        mp_mleases_free(&s->leases);
        pthread_mutex_destroy(&s->lock);
    }
    free(m);
}
