/* The entries of one kind (values or absences) in one shard, and which of them has to go when room is needed.
 *
 * S3-FIFO: Yang, Zhang, Qiu, Yue, Rashmi, "FIFO queues are all you need for cache eviction", SOSP 2023. A new entry
 * waits in a small queue, a tenth of the bytes. If it was asked for again by the time that its turn comes it moves to the
 * main queue, else it goes and only its hash is remembered: a scan passes through the small queue and leaves the main
 * one alone. Who comes back while its hash is remembered goes to the main queue at once. The main queue is a FIFO with
 * second chances. A hit only counts up two bits. */
#ifndef MP_CACHE_MEMORY_POOL_H
#define MP_CACHE_MEMORY_POOL_H

#include <stdatomic.h>
#include "cache/memory_entry.h"

typedef struct mp_mpool {
    mp_mtable table; /* first, so that it shares a line with the shard's lock */
    mp_node small, main;
    int64_t small_bytes, main_bytes;
    uint32_t small_count;
    uint64_t *ghosts; /* sets of four hashes of 16 bits, the newest lowest */
    uint32_t ghost_sets;
    uint64_t evictions;
    int64_t told, small_told; /* of what mp_mpool_tell has told */
    _Atomic uint32_t entries; /* as of then; may be read without the lock */
} mp_mpool;

/* Of all shards together. */
typedef struct mp_mtotal {
    _Atomic int64_t bytes; /* with the tables and what is remembered */
    _Atomic int64_t small; /* of it in small queues */
} mp_mtotal;

void mp_mpool_init(mp_mpool *pool);
/* Frees the entries too. */
void mp_mpool_free(mp_mpool *pool);
mp_mitem *mp_mpool_find(const mp_mpool *pool, const mp_key *key);
/* There is none of that key. false: no memory, not added. */
bool mp_mpool_add(mp_mpool *pool, mp_mitem *entry);
/* Out of the table and its queue, onto `out`. An entry that was in the main queue will return there. */
void mp_mpool_take(mp_mpool *pool, mp_mitem *entry, mp_node *out);
/* Takes the entry that can best be missed, but not `keep`; with `small_only` none of the main queue. false: there is
 * none. */
bool mp_mpool_evict(mp_mpool *pool, bool small_only, const mp_mitem *keep, int64_t now_ms, mp_node *out);
/* Takes up to two entries of each queue, the next ones, if their time is over: what is left behind goes faster than new
 * entries come. */
void mp_mpool_reap(mp_mpool *pool, int64_t now_ms, mp_node *out);
/* Adds what has changed since the last time to the total. */
void mp_mpool_tell(mp_mpool *pool, mp_mtotal *total);

#endif
