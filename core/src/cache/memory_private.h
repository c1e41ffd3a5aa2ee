/* What the files of the memory: cache share.
 *
 * The time is an argument everywhere, every operation ends before submit returns, and no lock is held while `done` or
 * free() runs. A thread holds one shard's lock at a time.
 *
 * The bytes are divided: nine tenths for values (with leases, intents, generations and this structure), one tenth for absences.
 * Neither can push out the other, so who asks for random ids reaches the absences only. Both bounds hold over all shards
 * together: a value may be much larger than a shard's share, and then every shard gives up a little for it. */
#ifndef MP_CACHE_MEMORY_PRIVATE_H
#define MP_CACHE_MEMORY_PRIVATE_H

#include <pthread.h>
#include "cache/memory.h"
#include "cache/memory_intent.h"
#include "cache/memory_lease.h"
#include "cache/memory_pool.h"

enum { MP_MVALUES, MP_MABSENCES, MP_MCLASSES };

#define MP_MLINE 64

typedef struct mp_mshard {
    _Alignas(MP_MLINE) pthread_mutex_t lock;
    mp_mpool pools[MP_MCLASSES];
    mp_mleases leases;
    mp_mintents intents;
    int64_t told; /* of leases and intents */
} mp_mshard;

typedef struct mp_memory {
    mp_cache base;
    int64_t max, fixed; /* the bound, and what this structure takes of it */
    int64_t limits[MP_MCLASSES];
    int64_t kept;    /* for leases and intents */
    int64_t largest; /* entry */
    uint32_t shards; /* power of two */
    unsigned shift;  /* hash >> shift is the shard */
    _Alignas(MP_MLINE) mp_mtotal totals[MP_MCLASSES];
    _Atomic int64_t aside; /* bytes of leases and intents */
    _Atomic uint32_t turn; /* which shard is next to give something up */
    mp_mshard shard[];
} mp_memory;

static inline mp_memory *mp_memory_of(mp_cache *cache) { return (mp_memory *)cache; }
static inline mp_mshard *mp_mshard_of(mp_memory *m, const mp_key *of) { return &m->shard[of->hash >> m->shift]; }
static inline void mp_mlock(mp_mshard *s) { pthread_mutex_lock(&s->lock); }
/* What a holder of the lock has changed is counted before it lets go. */
void mp_munlock(mp_memory *m, mp_mshard *s);
/* As entries that were taken out are freed: without a lock. */
void mp_mfree_entries(mp_node *entries);
/* `keep` was just added to `own`, and may have gone again; it is only compared. No lock held. */
void mp_mmake_room(mp_memory *m, int class, mp_mshard *own, const mp_mitem *keep, int64_t now_ms);

/* The stamp that an entry of this key must have to count (engine/shared.h): 0: whatever it has, as there are no others to hear of;
 * MP_MSTAMP_UNKNOWN: none does now. */
#define MP_MSTAMP_UNKNOWN 1u
static inline uint64_t mp_mstamp(mp_shared *shared, const mp_key *of, int64_t now_ms) {
    if (!shared) return 0;
    uint64_t stamp = mp_shared_stamp(shared, of->name, of->len, now_ms);
    return stamp ? stamp : MP_MSTAMP_UNKNOWN;
}

/* memory_ops.c: the shard's lock is held. The entry, or NULL; what is over goes to `out`. Past its time it is there for those who ask for
 * it. */
mp_mitem *mp_mfind(mp_mshard *s, const mp_key *key, uint64_t stamp, int64_t now_ms, mp_node *out);
void mp_mdrop(mp_mshard *s, const mp_key *key, mp_node *out);

/* memory_link.c: as the vtable has them. */
mp_link *mp_memory_link_open(mp_cache *cache, mp_loop *loop);
void mp_memory_link_close(mp_link *link);
void mp_memory_link_submit(mp_link *link, mp_op *op);
void mp_memory_link_forget(mp_link *link, mp_op *op);

/* memory_ops.c: no lock held. */
pond_value *mp_memory_peek(mp_cache *cache, mp_shared *shared, const mp_key *key, int64_t early_refresh,
                           int64_t now_ms);
pond_value *mp_memory_peek_tagged(mp_cache *cache, mp_shared *shared, const mp_key *key, const mp_key *tags,
                                  uint8_t ntags, int64_t early_refresh, int64_t now_ms);
/* memory_tag.c. A tag's generation and its intents stand under the tag's name with a NUL before it, which no key has: so the
 * generation is an entry like others, kept as long as it is asked for. */
typedef struct mp_mtag_key {
    mp_key key;
    char name[1 + MP_NAME_MAX + 1];
} mp_mtag_key;
const mp_key *mp_mtag_key_make(mp_mtag_key *out, const mp_key *tag);
bool mp_mtag_get(mp_memory *m, mp_shared *shared, const mp_key *tag, uint8_t generation[MP_TAG_SIZE], int64_t now_ms);
void mp_mtag_make(mp_memory *m, mp_op *op, int64_t now_ms);
/* Lock held; `key` of mp_mtag_key_make. Takes the generation away, or lets it live cut_ms longer at most. */
void mp_mtag_cut(mp_mshard *s, const mp_key *key, uint64_t stamp, int64_t cut_ms, int64_t now_ms, mp_node *out);
/* memory_inspect.c */
void mp_memory_inspect(mp_memory *m, mp_op *op, int64_t now_ms);
/* FAILED, without memory for `what`. */
void mp_memory_fail(mp_op *op, const char *what);

#endif
