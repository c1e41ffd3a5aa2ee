#include "cache/memory.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/error.h"
#include "cache/memory_private.h"

#define ABSENCES_SHARE 10      /* one part in so many of the bytes */
#define LARGEST_SHARE 8        /* a larger part for one entry is refused: too much would have to go for it */
#define CROWDED_SHARE 4        /* of what a class may take, for its small queues: room for one of the largest */
#define LEASES_SHARE 16        /* leases may take a part at most, and intents as much, */
#define LEASES_KEPT_SHARE 128  /* a part is kept free for them, or they would push out values as they come and go, */
#define LEASES_KEPT_LEAST 3072 /* and for a shard so many bytes */
#define LEASE_BYTES 160        /* of one, about, with its part of the table */
#define LEASES_LEAST 32        /* of a shard */
#define FEW_SHARDS 16
#define MANY_SHARDS 64 /* from MANY_FROM bytes on */
#define MANY_FROM (64ll << 20)
#define EVICT_BATCH 16 /* under one lock */

void mp_munlock(mp_memory *m, mp_mshard *s) {
    for (int c = 0; c < MP_MCLASSES; c++) mp_mpool_tell(&s->pools[c], &m->totals[c]);
    int64_t aside = mp_mleases_bytes(&s->leases) + mp_mintents_bytes(&s->intents);
    if (aside != s->told) atomic_fetch_add_explicit(&m->aside, aside - s->told, memory_order_relaxed);
    s->told = aside;
    pthread_mutex_unlock(&s->lock);
}

void mp_mfree_entries(mp_node *entries) {
    mp_node *node;
    while ((node = mp_list_shift(entries))) mp_mentry_free(MP_OF(node, mp_mitem, link));
}

/* Room. */

static int64_t load(const _Atomic int64_t *bytes) { return atomic_load_explicit(bytes, memory_order_relaxed); }

static bool too_much(const mp_memory *m, int class) {
    int64_t bytes = load(&m->totals[class].bytes);
    if (class == MP_MVALUES) {
        int64_t aside = load(&m->aside);
        bytes += m->fixed + (aside > m->kept ? aside : m->kept);
    }
    return bytes > m->limits[class];
}

/* In turn, but rather the shard that was just added to where that one has more entries: so they stay alike. Counted in
 * entries, not in bytes, or one large value would cost all its neighbours. */
static mp_mshard *next_to_give(mp_memory *m, int class, mp_mshard *own) {
    uint32_t turn = atomic_fetch_add_explicit(&m->turn, 1, memory_order_relaxed);
    mp_mshard *next = &m->shard[turn & (m->shards - 1)];
    if (!own) return next;
    uint32_t theirs = atomic_load_explicit(&next->pools[class].entries, memory_order_relaxed);
    return atomic_load_explicit(&own->pools[class].entries, memory_order_relaxed) >= theirs ? own : next;
}

/* Many large values in small queues would push out the main ones. Then the small ones give first, wherever they are. */
static bool crowded(const mp_memory *m, int class) {
    return load(&m->totals[class].small) > m->limits[class] / CROWDED_SHARE;
}

void mp_mmake_room(mp_memory *m, int class, mp_mshard *own, const mp_mitem *keep, int64_t now_ms) {
    mp_node out;
    mp_list_init(&out);
    for (uint32_t in_vain = 0; in_vain < 2 * m->shards && too_much(m, class);) {
        bool small_only = in_vain < m->shards && crowded(m, class);
        mp_mshard *s = next_to_give(m, class, in_vain ? NULL : own);
        mp_mpool *pool = &s->pools[class];
        int n = 0;
        mp_mlock(s);
        while (n < EVICT_BATCH && too_much(m, class) && mp_mpool_evict(pool, small_only, keep, now_ms, &out)) {
            mp_mpool_tell(pool, &m->totals[class]);
            n++;
        }
        mp_munlock(m, s);
        in_vain = n ? 0 : in_vain + 1;
        mp_mfree_entries(&out);
    }
}

/* The whole. */

typedef struct sums {
    uint64_t entries, evictions, leases, intents;
    int64_t bytes, negative_bytes;
} sums;

static sums sum_up(mp_memory *m) {
    sums all = {0};
    for (uint32_t i = 0; i < m->shards; i++) {
        mp_mshard *s = &m->shard[i];
        mp_mlock(s);
        for (int c = 0; c < MP_MCLASSES; c++) {
            all.entries += s->pools[c].table.count;
            all.evictions += s->pools[c].evictions;
        }
        all.leases += s->leases.table.count;
        all.intents += s->intents.table.count;
        mp_munlock(m, s);
    }
    all.negative_bytes = load(&m->totals[MP_MABSENCES].bytes);
    all.bytes = m->fixed + load(&m->aside) + load(&m->totals[MP_MVALUES].bytes) + all.negative_bytes;
    return all;
}

static void describe(mp_cache *cache, mp_buf *json) {
    mp_memory *m = mp_memory_of(cache);
    sums all = sum_up(m);
    mp_buf_printf(json,
                  "\"memory\": {\"entries\": %llu, \"bytes\": %lld, \"negative_bytes\": %lld, \"max_bytes\": %lld, "
                  "\"evictions\": %llu, \"leases\": %llu, \"intents\": %llu}",
                  (unsigned long long)all.entries, (long long)all.bytes, (long long)all.negative_bytes,
                  (long long)m->max, (unsigned long long)all.evictions, (unsigned long long)all.leases,
                  (unsigned long long)all.intents);
}

static void measure(mp_cache *cache, int64_t gauges[MP_GAUGES]) {
    mp_memory *m = mp_memory_of(cache);
    sums all = sum_up(m);
    gauges[MP_GAUGE_memory_entries] = (int64_t)all.entries;
    gauges[MP_GAUGE_memory_bytes] = all.bytes;
    gauges[MP_GAUGE_memory_max_bytes] = m->max;
    gauges[MP_GAUGE_memory_evictions] = (int64_t)all.evictions;
}

static void take_all(mp_mpool *pool, mp_node *queue, mp_node *out) {
    while (!mp_list_empty(queue)) mp_mpool_take(pool, MP_OF(queue->next, mp_mitem, link), out);
}

static void clear(mp_cache *cache) {
    mp_memory *m = mp_memory_of(cache);
    mp_node out;
    mp_list_init(&out);
    for (uint32_t i = 0; i < m->shards; i++) {
        mp_mshard *s = &m->shard[i];
        mp_mlock(s);
        for (int c = 0; c < MP_MCLASSES; c++) {
            take_all(&s->pools[c], &s->pools[c].small, &out);
            take_all(&s->pools[c], &s->pools[c].main, &out);
        }
        mp_munlock(m, s);
        mp_mfree_entries(&out);
    }
}

static const mp_cache_vt vt = {
    .scheme = "memory",
    .peek = mp_memory_peek,
    .peek_tagged = mp_memory_peek_tagged,
    .link_open = mp_memory_link_open,
    .link_close = mp_memory_link_close,
    .submit = mp_memory_link_submit,
    .forget = mp_memory_link_forget,
    .describe = describe,
    .measure = measure,
    .clear = clear,
    .close = mp_memory_close,
    .reopen = mp_memory_reopen,
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
    size_t size = sizeof(mp_memory) + shards * sizeof(mp_mshard);
    mp_memory *m = aligned_alloc(MP_MLINE, size);
    if (!m) return NULL;
    memset(m, 0, size);
    m->base.vt = &vt;
    m->max = max;
    m->fixed = (int64_t)size;
    m->limits[MP_MABSENCES] = max / ABSENCES_SHARE;
    m->limits[MP_MVALUES] = max - m->limits[MP_MABSENCES];
    m->kept = max / LEASES_KEPT_SHARE;
    if (m->kept < LEASES_KEPT_LEAST * (int64_t)shards) m->kept = LEASES_KEPT_LEAST * (int64_t)shards;
    m->largest = max / LARGEST_SHARE;
    m->shards = shards;
    m->shift = 64 - (unsigned)__builtin_ctz(shards);
    int64_t leases = max / LEASES_SHARE / LEASE_BYTES / shards;
    if (leases < LEASES_LEAST) leases = LEASES_LEAST;
    if (leases > INT32_MAX) leases = INT32_MAX;
    for (uint32_t i = 0; i < shards; i++) {
        mp_mshard *s = &m->shard[i];
        lock_init(&s->lock);
        for (int c = 0; c < MP_MCLASSES; c++) mp_mpool_init(&s->pools[c]);
        mp_mleases_init(&s->leases, (uint32_t)leases);
        mp_mintents_init(&s->intents, (uint32_t)leases);
    }
    return &m->base;
}

void mp_memory_free(mp_cache *cache) {
    mp_memory *m = mp_memory_of(cache);
    for (uint32_t i = 0; i < m->shards; i++) {
        mp_mshard *s = &m->shard[i];
        for (int c = 0; c < MP_MCLASSES; c++) mp_mpool_free(&s->pools[c]);
        mp_mleases_free(&s->leases);
        mp_mintents_free(&s->intents);
        pthread_mutex_destroy(&s->lock);
    }
    free(m);
}
